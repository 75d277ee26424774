"""Distances with a direction: imports of the standard library, and a photograph as terrain to walk on.

From most modules one gets to the others by imports or not at all, and seldom back by as many. Some pairs of modules are
held out, and what points fitted to the others say of them is compared with the truth, and with what no symmetric
distance can do better. Then brightness is height: down is near, up is far, and the ways differ.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..quasimetric import fit
from ..result import ConvergenceWarning
from . import imports, peers
from .report import Figure, Section, Table, chart
from .terrain import costs, lattice, slopes, terrain

__all__ = ["completed", "floor", "guessed", "held_out", "hops", "run", "symmetric"]

DISCOUNT = 0.9
DIM, SHARE = 64, 0.2  # of the points; of the pairs that are held out
HEADS: dict[str, dict[str, Any]] = {
    "IQE, sum": {"components": 8},
    "IQE, maxmean": {"components": 8, "reduction": "maxmean", "max_steps": 300},
    "PQE": {"components": 16, "head": "pqe", "max_steps": 300},
}
INKS = ("#2f6fb5", "#c4571a")  # on a photograph, for light and dark screens
RATES, STEPS = (0.03, 0.1), 200  # of the symmetric fit
PAIR = ("logging", "re")  # whose intervals are drawn
Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


def run(folder: Path, *, dtype: str = "float64", small: bool = False) -> Section:
    """Embed the import graph with several heads, some pairs held out, and then a landscape."""
    modules, D = hops(60 if small else None)
    held = held_out(len(D), SHARE, seed=0)
    out = np.isinf(D)[apart(D)].mean()
    print(f"imports: {len(D)} modules, {out:.1%} of the pairs without a way, {held.mean():.1%} held out")
    found, best = compared(D, held)
    level = floor(D, held)
    kept, spent = peers.least_time(best.distances)
    peer = peers.textbook_iqe(np.asarray(best.points), best.components, np.asarray(kept), spent)
    print(f"  {peer}")
    print(f"  no symmetric distance has less than {level:.4f}")

    heights = terrain(10 if small else 5)
    ways, grid = slopes(heights), lattice(heights.shape)
    places = (grid[0][:, None] * heights.shape[1] + grid[1]).ravel()
    C = costs(ways, places)[:, places]
    walked, seconds = timed(lambda: fit(C, dim=DIM, components=8, discount=None, max_steps=250))
    differ, mistaken = np.abs(C - C.T)[apart(C)].mean(), float(walked.quality(C).mean_error)
    print(f"terrain: {len(C)} places, mean cost {C.mean():.2f}, mean error {mistaken:.2f}, {seconds:.2f} s")

    lesser = float(found["IQE, sum"][0])
    return Section(
        title="Quasimetrics: distances that know where they lead",
        lead="The way to a module of the standard library is not the way back, and often there is none. Points are "
        "fitted to the number of imports between modules, and distances from point to point obey the triangle "
        "inequality, but not symmetry. One pair in five is held out and told by the others. Then a photograph as "
        "terrain, where it is farther up than down.",
        rows=[
            [_heads(folder, found, level), _kept(folder, best, D), _map(folder, best, modules)],
            [_there_and_back(folder, D), *_intervals(folder, best, modules)],
            [*_walks(folder, heights, ways, grid, walked), _costs(folder, walked, C)],
        ],
        table=Table(
            ("Head", "Error, held out", "of the floor", "Imports, mean error", "Reach", "Steps", "Seconds"),
            [(name, *told(numbers, level)) for name, numbers in found.items()],
        ),
        facts=[
            ("Modules", f"{len(D)}, {int((D == 1).sum()):,} imports, at most {int(D[np.isfinite(D)].max())} in a row"),
            ("Pairs", f"{out:.1%} without a way; {held.sum() / (len(D) * (len(D) - 1)):.1%} held out, both directions"),
            (
                "Error",
                f"mean of the squares of {DISCOUNT:g}^d - {DISCOUNT:g}^D, where a pair without a way has the target 0",
            ),
            ("Floor", f"{level:.5f}, the least of all symmetric distances on the pairs held out"),
            (
                "Without points",
                f"the shortest ways over what was observed err by {guessed(completed(D, held), D, held)[0]:.5f}; they "
                f"keep {int((~held & apart(D)).sum()):,} numbers, the points {DIM * len(D):,}",
            ),
            ("Against torch", peer),
            ("Reach", "how likely a held-out pair without a way is the farther one of it and another (AUC)"),
            (
                "Points",
                f"{DIM} coordinates each. The first fit runs until it converges, others for 300 steps; Euclid's stops "
                "where it is best on the pairs held out",
            ),
            (
                "Terrain",
                " x ".join(map(str, heights.shape))
                + f" places, {len(C)} of them embedded, in {int(walked.steps)} steps",
            ),
            (
                "Its costs",
                f"{C[apart(C)].mean():.2f} on average, there and back differ by {differ:.2f}; "
                f"mean error {mistaken:.2f}, {seconds:.2f} s",
            ),
            ("Seconds", "CPU time of the process, with the compilation of kernels, some seconds once on a machine"),
            ("Status", f"{best.status.name}. {best.status}"),
        ],
        status=f"Converged: on imports held out the error is {level / lesser:.0f} times below the least one of any "
        "symmetric distance.",
        peer=peer,
        failure="" if best.converged else str(best.status),
    )


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and its CPU time; a fit that runs out of steps has its points all the same."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        done = work()
    return done, time.process_time() - start


# ---------------------------------------------------------------------------------------------------------------------
# Imports


def hops(most: int | None = None) -> tuple[tuple[str, ...], Floats]:
    """The modules, or the `most` that have the most imports to and from them, and the imports between, (n, n)."""
    modules, edges = imports.graph()
    D = imports.hops(len(modules), edges)
    count = np.bincount(edges.ravel(), minlength=len(modules))
    kept = np.sort(np.argsort(-count, kind="stable")[:most])
    return tuple(modules[k] for k in kept), D[np.ix_(kept, kept)]


def apart(D: Floats) -> Bools:
    """Where a pair is one of two points."""
    return ~np.eye(len(D), dtype=np.bool_)


def held_out(n: int, share: float, *, seed: int) -> Bools:
    """A share of the pairs, each with both of its directions, so that neither tells of the other; shape (n, n)."""
    above = np.triu(np.random.default_rng(seed).random((n, n)) < share, k=1)
    return above | above.T


def floor(D: Floats, held: Bools) -> float:
    """The least discounted error that a symmetric distance can have on these pairs: it says the same both ways."""
    aim = DISCOUNT**D
    return float(np.mean((0.5 * (aim - aim.T))[held] ** 2))


def guessed(d: Floats, D: Floats, held: Bools) -> tuple[float, float, float]:
    """Of the pairs held out: the discounted error, the mean error of those with a way, and the AUC of no way."""
    error = np.mean((DISCOUNT**d - DISCOUNT**D)[held] ** 2)
    finite, out = held & np.isfinite(D), held & np.isinf(D)
    ways = np.sort(d[finite])
    below = np.searchsorted(ways, d[out], side="left") + np.searchsorted(ways, d[out], side="right")
    return float(error), float(np.abs(d[finite] - D[finite]).mean()), float(0.5 * below.mean() / max(1, ways.size))


def compared(D: Floats, held: Bools) -> tuple[dict[str, tuple[float, ...]], Any]:
    """What each head makes of the pairs held out, and its seconds; and the fit of the first."""
    observed = (~held).astype(np.float64)
    found: dict[str, tuple[float, ...]] = {}
    fits = []
    for name, head in HEADS.items():
        result, seconds = timed(functools.partial(fit, D, dim=DIM, weights=observed, **head))
        fits.append(result)
        found[name] = *guessed(np.asarray(result.distances(), dtype=float), D, held), float(result.steps), seconds
    best, seconds = timed(lambda: symmetric(D, held))
    found["Euclid"] = *guessed(best, D, held), float(STEPS * len(RATES)), seconds
    for name, numbers in found.items():
        print(f"  {name}: error {numbers[0]:.4f} on pairs held out, {numbers[-1]:.2f} s")
    return found, fits[0]


def completed(D: Floats, held: Bools) -> Floats:
    """The shortest ways over the observed distances, by Floyd's and Warshall's method: a table, not points."""
    d = np.where(held, np.inf, D)
    for k in range(len(d)):
        d = np.minimum(d, d[:, k, None] + d[k])
    return d


def symmetric(D: Floats, held: Bools, *, dim: int = DIM) -> Floats:
    """Euclidean distances fitted to the same loss by the same method, with what nobody else is given.

    They are those of the step with the least error on the very pairs held out, of several learning rates: with a
    symmetric distance one has to stop early, since both directions of an observed pair pull at one number.
    """
    aim, n = DISCOUNT**D, len(D)
    weights = (~held & apart(D)) / float((~held & apart(D)).sum())
    best, least = np.zeros_like(D), np.inf
    for rate in RATES:
        x = np.random.default_rng(0).normal(0.0, 0.5, (n, dim))
        mean, square = np.zeros_like(x), np.zeros_like(x)
        for k in range(1, STEPS + 1):
            sums = np.sum(x * x, axis=1)
            d = np.sqrt(np.maximum(sums[:, None] + sums - 2.0 * x @ x.T, 1e-12)) * apart(D)
            away = DISCOUNT**d - aim
            error = np.mean(away[held] ** 2)
            if error < least:
                best, least = d, error
            pull = weights * away * DISCOUNT**d / np.where(apart(D), d, 1.0)
            pull = 2.0 * np.log(DISCOUNT) * (pull + pull.T)
            slope = np.sum(pull, axis=1)[:, None] * x - pull @ x
            mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
            x = x - rate * (mean / (1.0 - 0.9**k)) / (np.sqrt(square / (1.0 - 0.999**k)) + 1e-8)
    return best


def told(numbers: tuple[float, ...], level: float) -> tuple[str, ...]:
    """A row of the table."""
    error, mean, area, steps, seconds = numbers
    return f"{error:.5f}", f"{error / level:.3f}", f"{mean:.2f}", f"{area:.5f}", f"{steps:.0f}", f"{seconds:.1f}"


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def _heads(folder: Path, found: dict[str, tuple[float, ...]], level: float) -> Figure:
    """Errors on pairs held out, and the floor."""

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        place = np.arange(len(found))[::-1]
        errors = [numbers[0] for numbers in found.values()]
        ax.hlines(place, min(errors) / 3.0, errors, color="0.5", linewidth=1)
        for k, (name, error) in zip(place, zip(found, errors, strict=True), strict=True):
            ax.plot(error, k, "o", color="C1" if name == "Euclid" else "C0")
        ax.axvline(level, color="C1", linewidth=1.2, linestyle="--")
        ax.text(level * 0.9, len(found) - 0.6, "no symmetric distance\ngets below", ha="right", va="top", color="C1")
        ax.set_xscale("log")
        ax.set_xlim(min(errors) / 3.0, 3.0 * max(errors))
        ax.set_yticks(place, [name.replace(", ", ",\n") for name in found])
        ax.set_ylim(-0.6, len(found) - 0.4)
        ax.set_xlabel("error on pairs held out")
        ax.grid(axis="x", alpha=0.5)

    return chart(
        folder,
        "heads",
        draw,
        alt="Four errors on a logarithmic scale: those of quasimetrics are far below a dashed line, Euclid's above it",
        caption="Pairs that no fit has seen. To the right of the dashed line are all symmetric distances, of any "
        "dimension, however fitted: they say the same both ways.",
        size=(4.4, 3.7),
    )


def _kept(folder: Path, best: Any, D: Floats) -> Figure:
    """Given against fitted."""

    def draw(figure: Any) -> None:
        plot.distances(best, D, ax=figure.add_subplot()).set_ylabel("fitted distance")

    return chart(
        folder,
        "import-distances",
        draw,
        alt="Fitted distances over given ones lie along the diagonal; pairs without a way lie far above all others",
        caption="Imports between modules, and the distances of their points. Lines join both directions of a pair. "
        "Pairs without a way end far up, and so does a way whose only witness is held out.",
        size=(4.4, 3.7),
    )


def _map(folder: Path, best: Any, modules: tuple[str, ...]) -> Figure:
    """Who leads to whom."""

    def draw(figure: Any) -> None:
        plot.embedding(best, labels=modules, ax=figure.add_subplot()).set_ylabel("lead")

    return chart(
        folder,
        "import-map",
        draw,
        alt="Points with names from top to bottom, and arrows that mostly lead downwards",
        caption="What imports much is at the top, what everybody imports at the bottom. Arrows lead to nearest "
        "modules, where the way back is longer.",
        size=(4.4, 3.7),
    )


def _there_and_back(folder: Path, D: Floats) -> Figure:
    """The given distances less those of the way back."""
    return chart(
        folder,
        "there-and-back",
        lambda figure: plot.asymmetry(D, ax=figure.add_subplot()),
        alt="A square: its middle in shades of blue and orange, plain dark parts around, grey ones in two corners",
        caption="By how much the way there is longer than the way back. First come modules that hardly "
        "anybody imports, last those that import hardly anything; in the middle there are ways there and back.",
        size=(4.4, 3.7),
    )


def _intervals(folder: Path, best: Any, modules: tuple[str, ...]) -> list[Figure]:
    """What the distances of one pair are made of, there and back."""
    ends = [modules.index(name) for name in PAIR]
    pictures = []
    for name, (i, j), said in (
        (
            "there",
            ends,
            "Thin lines lead up from coordinates of the one to those of the other, rings stand where there is no way "
            "up; thick bars are their unions, whose lengths add up to the distance.",
        ),
        ("back", ends[::-1], "Where one of the two pictures has a ring the other has a line."),
    ):
        u, v = (np.asarray(best.points[k], dtype=float) for k in (i, j))

        def draw(figure: Any, u: Floats = u, v: Floats = v) -> None:
            legend = plot.intervals(u, v, components=best.components, ax=figure.add_subplot()).get_legend()
            if legend is not None:  # the caption says it
                legend.remove()

        pictures.append(
            chart(
                folder,
                f"intervals-{name}",
                draw,
                alt="Thin lines in eight rows, and below each row thick bars that cover what the lines cover",
                caption=f"From {modules[i]} to {modules[j]}, {float(best.distance(i, j)):.2f} imports. {said}",
                size=(4.4, 3.7),
            )
        )
    return pictures


def _walks(folder: Path, heights: Floats, ways: Any, grid: tuple[Any, Any], walked: Any) -> list[Figure]:
    """Lines of equal cost from the middle of a flower, and to it."""
    down, right = grid
    row, column = (int(np.argmin(np.abs(x - 0.52 * size))) for x, size in zip(grid, heights.shape, strict=True))
    here, place = row * right.size + column, down[row] * heights.shape[1] + right[column]
    d = np.asarray(walked.distances(), dtype=float)
    pictures = []
    for name, exact, fitted, caption in (
        ("from", costs(ways, place), d[here], "From the middle of a flower, the brighter the higher: down is near."),
        ("to", costs(ways.T.tocsr(), place), d[:, here], "And up there from everywhere: its rim is a cliff."),
    ):

        def draw(figure: Any, exact: Floats = exact, fitted: Floats = fitted) -> None:
            ax = figure.add_subplot()
            ax.imshow(heights, cmap="gray", vmin=heights.min() - np.ptp(heights))  # pale, for lines of any colour
            levels = np.arange(2.0, d.max(), 2.0)
            ax.contour(exact.reshape(heights.shape), levels=levels, colors=INKS[0], linewidths=0.8)
            lines = ax.contour(right, down, fitted.reshape(down.size, right.size), levels=levels, colors=INKS[1])
            lines.set_linewidth(1.3)
            ax.clabel(lines, fontsize="x-small")
            ax.plot(right[column], down[row], "o", color=INKS[1], markersize=5)
            ax.set(xticks=(), yticks=())

        pictures.append(
            chart(
                folder,
                f"terrain-{name}",
                draw,
                alt=f"A grey photograph of a flower, with thin and thick lines of equal cost {name} its middle",
                caption=f"{caption} Lines of equal cost {name} the dot: thin ones exact, thick ones by distances "
                "between fitted points.",
                size=(4.4, 3.2),
            )
        )
    return pictures


def _costs(folder: Path, walked: Any, C: Floats) -> Figure:
    """Given against fitted."""
    return chart(
        folder,
        "terrain-costs",
        lambda figure: plot.distances(walked, C, ax=figure.add_subplot()),
        alt="A narrow cloud along the diagonal, and lines that join points far apart on it",
        caption="All costs between the embedded places. Lines join the way up with the way down.",
        size=(4.4, 3.2),
    )
