"""Linear systems: heat that flows in bursts, a time step a system, and a flower that is cloned into the sky.

The conductivity of the plate goes up and down a hundredfold, and the best relaxation factor with it. Several policies
choose the factors of one and the same march through time, and their steps are counted. The problem is that of
"Learning to relax" (Khodak, Chow, Balcan and Talwalkar, 2024); its circling source leaves a trail that is worth seeing.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..backend import of
from ..linear import SSOR, ChebCB, System, TsallisINF, YoungOmega, cg, solve_sequence
from ..operators import Stencil
from ..progress import progress
from . import peers
from .report import Figure, Section, chart

__all__ = ["run"]

TOL = {"float64": 1e-8, "float32": 1e-5}
INTERVAL = (0.0, 10.0)  # of the conductivity
SHOWN = (0.25, 0.48, 0.6)  # times: a good trail, a closed circle, and how the heat has spread soon after
TOP, LEFT, RADIUS = 30, 408, 65  # where the flower goes in the sky, and how large it is there
STRENGTH, EDGE = 256.0, 0.07  # of the smoothing: how far colours flow, and what difference stops them
GRID = (1.0, 1.238, 1.558, 1.744, 1.851, 1.914)  # fixed factors
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def run(folder: Path, *, dtype: str = "float64", small: bool = False) -> Section:
    """A march through one period with three policies and some fixed factors; a seamless clone."""
    cells, steps = (16, 40) if small else (60, 400)
    tol = TOL[dtype]
    print(f"heat: {steps} systems on {cells} x {cells} cells, tol {tol:.0e}")
    plate = Plate(cells, steps)
    systems = [plate.step(k) for k in range(steps)]
    march = functools.partial(solve_sequence, systems, solver="ssor_cg", x0=plate.start, tol=tol)

    start = time.perf_counter()
    with progress(mininterval=0.5):
        young = march(policy=YoungOmega(), keep="all")
    seconds = time.perf_counter() - start
    _, spent = peers.least_time(lambda: march(policy=YoungOmega()), rounds=2)
    peer = peers.scipy_cg(systems, plate.start, tol, spent)
    tsallis, cheb = march(policy=TsallisINF(rng=0)), march(policy=ChebCB(INTERVAL, rng=0))
    results = {"Young": young, "Tsallis-INF": tsallis, "ChebCB": cheb}
    regret = young.regret(systems, GRID)
    least = int(np.min(regret.total))
    shares = {name: result.total_steps / least for name, result in results.items()}
    told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    print(f"  {young.total_steps} steps with Young's factors, {seconds:.2f} s; over the best fixed factor's: {told}")
    print(f"  {peer}")
    print(f"  {young.status}")

    pasted, cloned, patch = clone(dtype)
    flat = smooth(stride=4 if small else 1)
    print(f"  a flower cloned in {int(np.max(patch.steps))} steps, smoothed in {int(np.max(flat.steps))}")
    ended = [*(result.status for result in results.values()), patch.status, flat.status]
    failed = [status for status in ended if status.name != "CONVERGED"]
    return Section(
        title="Linear systems: a relaxation factor for every moment",
        lead="A source runs around on a plate that conducts heat badly for half a period and a hundred times better "
        "for the other half. Every time step is a linear system, and no relaxation factor is good for all of them. "
        "Young's formula, where there is one, chooses best; learners that see little more than the number of steps "
        "come near to it.",
        rows=[
            _plates(folder, plate, young.x),
            _charts(folder, results, regret, plate),
            _photographs(folder, pasted, cloned, flat.x),
        ],
        facts=[
            ("Solved by", "linear.solve_sequence, conjugate gradients with a symmetric sweep, each from the last x"),
            ("Systems", f"{steps:,} of {cells**2:,} unknowns each"),
            ("Steps in all", ", ".join(f"{result.total_steps:,} {name}" for name, result in results.items())),
            ("Fixed factors", f"{least:,} steps with the best of {len(GRID)}, {regret.best:g}"),
            ("Over that", told),
            ("Error", f"{np.max(young.error):.2e} at worst, the norm of b - A x over that of b"),
            ("Tolerance", f"{tol:.0e}"),
            ("Against SciPy", peer),
            ("Seconds", f"{seconds:.2f} for all time steps, {1e3 * seconds / steps:.2f} ms each"),
            ("Clone", f"{int(np.max(patch.steps))} steps for three channels of {patch.x[0, ...].size:,} pixels"),
            ("Smoothing", f"{int(np.max(flat.steps))} steps for three channels of {flat.x[0, ...].size:,} pixels"),
            ("Status", f"{young.status.name}. {young.status}"),
        ],
        status=f"Converged: {steps:,} of {steps:,} systems, {young.total_steps:,} steps, tolerance {tol:.0e}.",
        peer=peer,
        failure=str(failed[0]) if failed else "",
    )


# ---------------------------------------------------------------------------------------------------------------------
# Heat


class Plate:
    """The unit square, cold along its border, with a source that circles eight times in one period."""

    def __init__(self, cells: int, steps: int) -> None:
        self.cells, self.spacing, self.dt = cells, 1.0 / (cells + 1), 1.0 / steps
        self.y, self.x = np.meshgrid(*2 * [np.linspace(self.spacing, 1.0 - self.spacing, cells)], indexing="ij")
        self.start = self.bump(0.5, 0.5, 0.25)

    def bump(self, cx: float, cy: float, radius: float) -> Floats:
        """1 at the centre, 0 from the radius on, smooth."""
        far = np.minimum(((self.x - cx) ** 2 + (self.y - cy) ** 2) / radius**2, 1.0 - 1e-9)
        return np.asarray(np.exp(1.0 - 1.0 / (1.0 - far)))

    def operator(self, conductivity: float) -> Stencil[Any]:
        """The matrix of one step of Crank-Nicolson."""
        scale = 0.5 * self.dt * conductivity
        return Stencil.laplacian((self.cells, self.cells), spacing=self.spacing, scale=scale, shift=1.0)

    def step(self, k: int) -> System[Any]:
        """Crank and Nicolson's: (I - kappa dt/2 Laplace) new = (I + kappa dt/2 Laplace) old + dt source."""
        middle = (k + 0.5) * self.dt
        kappa, angle = conductivity(middle), 16.0 * np.pi * middle
        A = self.operator(kappa)
        heat = 32.0 * self.dt * self.bump(0.5 + 0.25 * np.cos(angle), 0.5 + 0.25 * np.sin(angle), 0.125)
        return System(A, functools.partial(right_side, A, heat), context=kappa)


def conductivity(t: float) -> float:
    """How well the plate conducts at the time t: badly for half a period, then a hundred times better."""
    return float(max(0.1 * np.sin(2 * np.pi * t), -10.0 * np.sin(2 * np.pi * t)))


def right_side(A: Stencil[Any], heat: Floats, u: Any) -> Any:
    """With the arrays of the backend that computes; what a function holds on to is not moved by itself."""
    dtype = str(u.dtype).rpartition(".")[2]
    return 2.0 * u - A.matvec(u) + of(u).lend(heat.astype(dtype), u)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures that are solutions


def photograph(name: str) -> Floats:
    """One of scikit-learn's, shape (3, height, width)."""
    from sklearn.datasets import load_sample_image

    return np.ascontiguousarray(np.moveaxis(np.asarray(load_sample_image(name), dtype=np.float64) / 255.0, -1, 0))


def smooth(*, stride: int) -> Any:
    """(I + lambda div w grad) x = picture, where w is near zero across edges and near one elsewhere."""
    picture = photograph("flower.jpg")[:, ::stride, ::stride].copy()
    weights = [STRENGTH * np.exp(-np.sum(np.diff(picture, axis=k) ** 2, axis=0) / EDGE**2) for k in (1, 2)]
    A = Stencil.diffusion(weights, shift=1.0)
    return cg(A, picture, preconditioner=SSOR(), x0=picture, tol=1e-4)


def clone(dtype: str) -> tuple[Floats, Floats, Any]:
    """A flower pasted into the sky, the same one cloned, and the solution of Poisson's equation that did it."""
    flower, temple = photograph("flower.jpg"), photograph("china.jpg")
    half = flower[:, :426].reshape(3, 213, 2, 320, 2).mean(axis=(2, 4))
    size, middle = RADIUS + 3, (111, 153)
    part = half[:, middle[0] - size : middle[0] + size + 1, middle[1] - size : middle[1] + size + 1]
    place = (slice(None), slice(TOP, TOP + 2 * size + 1), slice(LEFT, LEFT + 2 * size + 1))
    inside = np.hypot(*np.ogrid[-size : size + 1, -size : size + 1]) < RADIUS
    A, b = guided(temple[place], part, inside)
    solution = cg(A, b, preconditioner=SSOR(), x0=temple[place], tol=1e-6 if dtype == "float64" else 1e-5)
    pasted, cloned = temple.copy(), temple.copy()
    pasted[place] = np.where(inside, part, temple[place])
    cloned[place] = solution.x
    return pasted, cloned, solution


def guided(window: Floats, part: Floats, inside: np.ndarray[Any, Any]) -> tuple[Stencil[Any], Floats]:
    """The system of a picture that is `window` outside, and has the differences of `part` inside.

    Rows outside are those of the identity. At the rim the neighbour outside is known and goes to the right-hand side,
    which keeps the matrix symmetric.
    """
    b = np.where(inside, 0.0, window)
    faces = []
    for axis in (0, 1):
        lower, upper = (np.s_[..., :-1, :], np.s_[..., 1:, :]) if axis == 0 else (np.s_[..., :-1], np.s_[..., 1:])
        rise = np.diff(part, axis=axis + 1)
        for here, there, sign in ((lower, upper, -1.0), (upper, lower, 1.0)):
            b[here] += inside[here] * sign * rise + (inside[here] & ~inside[there]) * window[there]
        faces.append((inside[lower] & inside[upper]).astype(np.float64))
    return Stencil(np.where(inside, 4.0, 1.0), tuple(faces), inside.shape), b


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def _plates(folder: Path, plate: Plate, fields: list[Floats]) -> list[Figure]:
    """The temperature at three times, each on a scale of its own."""
    captions = (
        "While the plate conducts badly, the heat of the source stays where it was: a trail.",
        "At the end of that half, a ring. The colours of each picture are a scale of its own.",
        "Now the plate conducts {ratio:.0f} times better, and but for what is under the source all heat is gone.",
    )
    figures = []
    for t, caption in zip(SHOWN, captions, strict=True):
        field = np.asarray(fields[min(round(t / plate.dt), len(fields) - 1)])

        def draw(figure: Any, field: Floats = field, t: float = t) -> None:
            ax = figure.add_subplot()
            image = ax.imshow(field, origin="lower", extent=(0, 1, 0, 1), cmap="inferno", vmin=0)
            figure.colorbar(image, ax=ax, shrink=0.9)
            ax.set(xticks=(), yticks=())
            ax.set_title(f"t = {t:g}, conductivity {conductivity(t):.2g}", loc="left")

        figures.append(
            chart(
                folder,
                f"heat-{round(100 * t)}",
                draw,
                alt=f"The temperature of the plate at time {t:g}, from black over orange to white",
                caption=caption.format(ratio=conductivity(SHOWN[2]) / conductivity(SHOWN[0])),
                size=(4.4, 3.6),
            )
        )
    return figures


def _charts(folder: Path, results: dict[str, Any], regret: Any, plate: Plate) -> list[Figure]:
    """The factors that were chosen, what they took, and what the stiffest system takes."""

    def axes_of(figure: Any) -> Any:
        import matplotlib as mpl

        ax = figure.add_subplot()
        ax.set_prop_cycle(color=[*mpl.rcParams["axes.prop_cycle"].by_key()["color"], "#3f9c78"])
        return ax

    def panel(figure: Any, what: str) -> None:
        ax = axes_of(figure)
        plot.sequence(*results.values(), labels=list(results), regret=regret, panels=[what], axes=[ax])
        legend = ax.get_legend()
        if legend is not None:
            place = "lower right" if what == "omega" else "upper left"
            ax.legend(loc=place, fontsize="small", handlelength=1.2, frameon=False)

    return [
        chart(
            folder,
            "factors",
            lambda figure: panel(figure, "omega"),
            alt="Dots close to 1 for the first half of the systems and about 1.7 for the second half",
            caption="The factors of all time steps. Young's formula follows the conductivity; the learners try others "
            "now and then. The dashed line is the best fixed factor.",
            size=(4.4, 3.7),
        ),
        chart(
            folder,
            "totals",
            lambda figure: panel(figure, "total"),
            alt="Rising curves: Young's is the lowest, those of the learners follow, fixed factors are above",
            caption="Steps up to each system. Thin lines are fixed factors; the dotted one takes the best of these for "
            "every system, which nobody knows beforehand.",
            size=(4.4, 3.7),
        ),
        chart(
            folder,
            "curve",
            lambda figure: plot.omega_curve(
                plate.operator(INTERVAL[1]), solver="ssor_cg", tol=1e-5, ax=figure.add_subplot()
            ),
            alt="Steps over the factor: a valley with its bottom at Young's factor, measured and modelled",
            caption="Steps of the stiffest system, to an error of 1e-5. The model promises more than are needed, but "
            "has its least at the same factor.",
            size=(4.4, 3.7),
        ),
    ]


def _photographs(folder: Path, pasted: Floats, cloned: Floats, smoothed: Floats) -> list[Figure]:
    from matplotlib.image import imsave

    for name, picture in (("pasted", pasted), ("cloned", cloned), ("smoothed", smoothed)):
        imsave(folder / f"{name}.png", np.clip(np.moveaxis(picture, 0, -1), 0.0, 1.0))
    return [
        Figure(
            "pasted.png",
            "A temple by a lake, and an orange flower in the sky",
            "One large system: a flower is to stand in the sky. Pasted, it keeps the light of its garden.",
        ),
        Figure(
            "cloned.png",
            "The same, with the flower in white and pink",
            "Cloned: only the differences between its pixels are kept, and its rim takes the colours of the sky. That "
            "is Poisson's equation on its pixels.",
        ),
        Figure(
            "smoothed.png",
            "The orange flower as if painted, every petal in one shade, before a blurred background",
            "Smoothed: colours diffuse within the petals, hardly across their rims. The weights of this system differ "
            "from pixel to pixel.",
        ),
    ]
