"""Colour transfer: one photograph takes the colours of another, by the optimal plan between their pixels' colours.

The plan is computed between samples of both pictures, as clouds of points whose distances are not stored; its potential
g extends the map to every pixel. A pixel of colour x goes to the mean of the target colours y_j with weights
proportional to b_j exp((g_j - |x - y_j|^2)/epsilon), which is the barycentric map of the plan where x is a sample.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..progress import progress
from ..transport import NewtonResult, PointCloud, TransportResult, sinkhorn, sinkhorn_newton_sparse
from . import peers
from .report import Figure, Section, chart

__all__ = ["run"]

EPSILON = 5e-3  # a squared distance in the unit cube: colours closer than 0.07 are treated nearly alike
TOL = {"float64": 1e-6, "float32": 1e-4}
SHOWN, SHOWN_EPSILON = 50, 2e-2  # a problem small enough to be drawn; fewer colours lie further apart
LUMA = np.array([0.2126, 0.7152, 0.0722])  # how bright red, green and blue look
PLANE = [0, 2]  # red and blue
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Result = TransportResult[Any]


def run(folder: Path, *, dtype: str = "float64", small: bool = False) -> Section:
    """Transfer the colours of ``flower.jpg`` to ``china.jpg``, both bundled with scikit-learn."""
    samples, stride = (150, 8) if small else (1500, 1)
    source, palette = (_picture(name)[::stride, ::stride] for name in ("china.jpg", "flower.jpg"))
    rng = np.random.default_rng(0)
    x, y = (_sample(picture, samples, rng) for picture in (source, palette))
    tol = TOL[dtype]
    print(f"colour transfer: {samples} x {samples} colours, epsilon {EPSILON:g}, tol {tol:.0e}")

    start = time.perf_counter()
    with progress(mininterval=0.5):
        result = solve(x, y, tol)
    solved = time.perf_counter() - start
    colours, where = np.unique(source.reshape(-1, 3), axis=0, return_inverse=True)
    changed = transfer(colours, y, result)[where.reshape(-1)].reshape(source.shape)
    mapped = time.perf_counter() - start - solved
    print(
        f"  {result.steps} iterations, error {result.error:.2e}, {solved:.2f} s; every pixel mapped in {mapped:.2f} s"
    )
    print(f"  {result.status}")
    plain = solve(x, y, tol, relaxation=1.0)
    newton = sinkhorn_newton_sparse(PointCloud(x, y), epsilon=EPSILON, tol=tol, check_every=1, history=True)
    print(f"  with plain sweeps {plain.steps}, by transport.sinkhorn_newton_sparse {newton.steps} iterations")
    _, seconds = peers.least_time(lambda: solve(x, y, tol))
    peer = peers.pot(squared_distances(x, y), EPSILON, int(plain.steps), tol, seconds)
    print(f"  {peer}")
    few_x, few_y = _thin(x), _thin(y)
    between = solve(few_x, few_y, tol, epsilon=SHOWN_EPSILON)
    failed = [r for r in (result, plain, newton, between) if not r.converged]
    return Section(
        title="Optimal transport: the colours of another picture",
        lead="The temple takes the colours of the flower. A colour is a point in a cube, a picture a cloud of them; "
        "entropic optimal transport finds the cheapest way of turning one cloud into the other. Each colour of the "
        "flower has to be used as often as the flower has it, and most of them are dark: so half of the sky must "
        "turn teal.",
        rows=[
            _photographs(folder, source, palette, changed),
            _clouds(folder, x, y, transfer(x, y, result)),
            _charts(folder, few_x, few_y, {"over-relaxed": result, "plain": plain, "Newton": newton}, between, tol),
        ],
        facts=[
            ("Solved by", f"transport.sinkhorn on clouds of points, over-relaxed sweeps, epsilon {EPSILON:g}"),
            ("Size", f"{samples:,} x {samples:,} colours, sampled from {where.size:,} pixels each"),
            ("Iterations", f"{int(result.steps):,}"),
            ("Other ways", f"{int(plain.steps):,} plain sweeps; {_steps(newton)} by transport.sinkhorn_newton_sparse"),
            ("Error", f"{result.error:.2e}, the L1 norm of what both marginals lack"),
            ("Tolerance", f"{tol:.0e}"),
            ("Cost of the plan", f"{result.transport_cost:.4f}, the mean squared distance that a colour moves"),
            ("Against POT", peer),
            (
                "Seconds",
                f"{seconds:.2f} to solve, {solved:.2f} at the first call, which may compile; {mapped:.2f} to map all "
                f"{len(colours):,} colours of the picture",
            ),
            ("Status", f"{result.status.name}. {result.status}"),
        ],
        status=f"Converged: error {result.error:.1e} after {int(result.steps):,} iterations, tolerance {tol:.0e}.",
        peer=peer,
        failure=str(failed[0].status) if failed else "",
    )


# ---------------------------------------------------------------------------------------------------------------------
# Colours and their map


def _picture(name: str) -> Floats:
    from sklearn.datasets import load_sample_image

    return np.asarray(load_sample_image(name), dtype=np.float64) / 255.0


def _sample(picture: Floats, count: int, rng: np.random.Generator) -> Floats:
    """`count` pixels, from dark to light: the order makes a plan readable and changes nothing else."""
    colours = rng.choice(picture.reshape(-1, 3), count, replace=False)
    return colours[np.argsort(colours @ LUMA)]


def _thin(colours: Floats) -> Floats:
    """A few of them, from the first to the last."""
    return colours[np.linspace(0, len(colours) - 1, SHOWN).round().astype(int)]


def squared_distances(u: Floats, v: Floats) -> Floats:
    """|u_i - v_j|^2, shape (n, m)."""
    return np.sum(u**2, axis=1)[:, None] + np.sum(v**2, axis=1) - 2 * u @ v.T


def solve(x: Floats, y: Floats, tol: float, *, epsilon: float = EPSILON, relaxation: str | float = "auto") -> Result:
    """The transport problem between two samples, with a look at the error after every iteration."""
    settings: dict[str, Any] = {"max_steps": 20_000, "check_every": 1, "history": True}
    return sinkhorn(PointCloud(x, y), epsilon=epsilon, relaxation=relaxation, tol=tol, **settings)


def transfer(colours: Floats, y: Floats, result: Result, *, block: int = 2048) -> Floats:
    """Where `result` takes any `colours`, shape (k, 3), a block at a time."""
    new = np.empty_like(colours)
    for k in range(0, len(colours), block):
        scores = (result.g - squared_distances(colours[k : k + block], y)) / EPSILON
        weights = result.b * np.exp(scores - scores.max(axis=1, keepdims=True))
        new[k : k + block] = weights @ y / weights.sum(axis=1, keepdims=True)
    return new


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def _photographs(folder: Path, source: Floats, palette: Floats, changed: Floats) -> list[Figure]:
    from matplotlib.image import imsave

    for name, picture in (("source", source), ("palette", palette), ("result", changed)):
        imsave(folder / f"{name}.png", np.clip(picture, 0.0, 1.0))
    return [
        Figure("source.png", "A red-roofed temple above a lake, under a pale blue sky", "Source: china.jpg."),
        Figure("palette.png", "An orange flower before dark teal leaves", "Palette: flower.jpg."),
        Figure(
            "result.png",
            "The same temple in teal, with bright red roofs and a sky from teal to orange",
            "Result: every pixel of the source in the colours of the palette.",
        ),
    ]


def _clouds(folder: Path, x: Floats, y: Floats, moved: Floats) -> list[Figure]:
    """The three pictures as points in the cube, each below its picture."""

    def cloud(name: str, points: Floats, alt: str, caption: str) -> Figure:
        return chart(folder, name, lambda figure: _cube(figure, points), alt=alt, caption=caption, size=(4.2, 3.3))

    return [
        cloud(
            "cloud-source",
            x,
            "A long cloud of points along the diagonal of the colour cube, from black to pale blue",
            "Before: the sampled pixels of the source, each at its red, green and blue.",
        ),
        cloud(
            "cloud-palette",
            y,
            "Points along two edges of the colour cube: black to teal, and red to orange",
            "To be reached: the sampled pixels of the palette.",
        ),
        cloud(
            "cloud-result",
            moved,
            "The points of the source, now on a curve through those of the palette",
            "After: the source's points where the plan takes them. Each is a mean of its partners, so the cloud is "
            "thinner than the palette's.",
        ),
    ]


def _cube(figure: Any, points: Floats) -> None:
    cube = figure.add_subplot(projection="3d")
    cube.scatter(*points.T, c=np.clip(points, 0.0, 1.0), s=9, depthshade=False, edgecolors="#88888866", linewidths=0.3)
    for axis, label in (("x", "red"), ("y", "green"), ("z", "blue")):
        cube.set(**{f"{axis}lim": (0, 1), f"{axis}ticks": (0, 0.5, 1), f"{axis}ticklabels": ()})
        getattr(cube, f"set_{axis}label")(label, labelpad=-11)
    cube.set_box_aspect(None, zoom=1.06)
    cube.view_init(elev=24, azim=-50)


def _steps(newton: NewtonResult[Any]) -> str:
    return f"{int(newton.newton_steps):,} Newton steps and {int(newton.sweeps):,} sweeps"


def _charts(
    folder: Path, x: Floats, y: Floats, results: dict[str, Result], between: Result, tol: float
) -> list[Figure]:
    """How each of `results` was reached, and what the plan of the smaller problem `between` looks like."""

    def convergence(figure: Any) -> None:
        ax = plot.convergence(*results.values(), labels=list(results), tol=tol, ax=figure.add_subplot())
        for line, colour in zip(ax.get_lines(), ("C0", "0.55", "C1"), strict=False):
            line.set_color(colour)
        ax.set(xscale="log", xlim=(0.9, None), ylim=(1e-3 * tol, None))
        ax.legend(loc="lower left", fontsize="small", handlelength=1.2, frameon=False)

    return [
        chart(
            folder,
            "convergence",
            convergence,
            alt="Three errors on logarithmic scales fall to the tolerance: Newton's first, that of plain sweeps last",
            caption="The error of the marginals after each iteration, three ways to the same plan. Over-relaxed sweeps "
            "go further than plain ones, once they know how far. Newton steps come down a ladder of larger epsilons, "
            "each with an error of its own; each takes longer than a sweep.",
            size=(4.4, 3.7),
        ),
        chart(
            folder,
            "plan",
            lambda figure: plot.plan(between, ax=figure.add_subplot()),
            alt="A heat map with its mass along the diagonal, and even marginals at its edges",
            caption=f"A plan small enough to be seen: {SHOWN} colours of either picture, both from dark to light, "
            f"epsilon {SHOWN_EPSILON:g}. Along the edges: its sums (filled) and what they should be (lines).",
            size=(4.4, 3.7),
        ),
        chart(
            folder,
            "threads",
            lambda figure: _threads(figure, x, y, between),
            alt="Points in the plane of red and blue; threads lead from each source to its partners in the palette",
            caption="The same plan in the plane of red and blue. A thread leads from each colour of the source (large) "
            "to those of the palette (small) that get a tenth or more of it.",
            size=(4.4, 3.7),
        ),
    ]


def _threads(figure: Any, x: Floats, y: Floats, result: Result) -> None:
    ax = figure.add_subplot()
    plot.matching(x[:, PLANE], y[:, PLANE], result, threshold=0.1, ax=ax)
    for points, colours, size in zip(ax.collections[1:], (x, y), (52, 20), strict=True):
        points.set(facecolors=colours, edgecolors="0.55", linewidths=0.7, sizes=[size])
    ax.get_legend().remove()
    ax.set(xlabel="red", ylabel="blue")
