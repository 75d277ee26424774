"""Sequences of linear systems: what policies take over the best fixed factor, and the time over scipy's cg in a loop.

Both problems are those of Khodak, Chow, Balcan and Talwalkar, "Learning to relax" (ICLR 2024). The counts are the same
on every machine. Two honest remarks. Young's formula alone matches the best choice for every system wherever it is
exact, as it is here: learners are for operators without a formula. And algebraic multigrid, whose hierarchy would be
made once and used again, takes a handful of steps: it wins as the systems grow or become stiffer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..clock import cpu_seconds, keep_freed_memory

COUNT, CELLS, INTERVAL = 800, 10, (-0.15, 0.65)
FAMILIES = {"wide": (0.5, 1.5), "narrow": (2.0, 6.0)}
POLICIES = ("young", "tsallis-plain", "tsallis", "tsallis-binned", "chebcb-no-model", "chebcb")
SOLVERS = ("ssor_cg", "sor")
HEAT = (0.0, 10.0)  # the range of the conductivity
SIZES = {100: 1000, 200: 300}  # cells a side, and time steps
TOL = 1e-8
Counts = dict[tuple[str, ...], Any]


def needed() -> Any:
    """``equipoise.linear``, unless this version lacks sequences."""
    try:
        from equipoise import linear
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
    if not hasattr(linear, "solve_sequence"):
        raise NotImplementedError("needs equipoise.linear.solve_sequence, which this version lacks")
    return linear


def policy_of(name: str, interval: tuple[float, float], bins: int) -> Any:
    linear = needed()
    made: dict[str, Callable[[], Any]] = {
        "young": linear.YoungOmega,
        "tsallis-plain": functools.partial(linear.TsallisINF, relative=False, rng=0),
        "tsallis": functools.partial(linear.TsallisINF, rng=0),
        "tsallis-binned": functools.partial(linear.BinnedTsallisINF, interval, bins=bins, rng=0),
        "chebcb-no-model": functools.partial(linear.ChebCB, interval, model=None, rng=0),
        "chebcb": functools.partial(linear.ChebCB, interval, rng=0),
    }
    return made[name]()


def shifted(name: str) -> list[Any]:
    """10 x 10 Laplacians with random shifts, some nearly singular, and random right-hand sides."""
    from equipoise.operators import Stencil

    rng = np.random.default_rng(0)
    shifts = -0.15 + 0.6 * rng.beta(*FAMILIES[name], COUNT)
    sides = rng.standard_normal((COUNT, CELLS, CELLS))
    grids = [Stencil.laplacian((CELLS, CELLS), shift=c) for c in shifts.tolist()]
    return [needed().System(A, b, c) for A, b, c in zip(grids, sides, shifts.tolist(), strict=True)]


class Plate:
    """Heat on the unit square with a circling source and a conductivity that jumps, by Crank and Nicolson's scheme."""

    def __init__(self, side: int, steps: int) -> None:
        self.side, self.steps, self.h, self.dt = side, steps, 1.0 / (side + 1), 1.0 / steps
        self.y, self.x = np.meshgrid(*2 * [np.linspace(self.h, 1.0 - self.h, side)], indexing="ij")
        self.start = self.bump(0.5, 0.5, 0.25)
        self.contexts, self.heats = [], []
        for k in range(steps):
            t = (k + 0.5) * self.dt
            self.contexts.append(max(0.1 * np.sin(2 * np.pi * t), -10.0 * np.sin(2 * np.pi * t)))
            angle = 16.0 * np.pi * t
            bump = self.bump(0.5 + 0.25 * np.cos(angle), 0.5 + 0.25 * np.sin(angle), 0.125)
            self.heats.append(32.0 * self.dt * bump)

    def bump(self, cx: float, cy: float, radius: float) -> Any:
        far = np.minimum(((self.x - cx) ** 2 + (self.y - cy) ** 2) / radius**2, 1.0 - 1e-9)
        return np.exp(1.0 - 1.0 / (1.0 - far))

    def systems(self) -> list[Any]:
        from equipoise.operators import Stencil

        grid, linear = (self.side, self.side), needed()
        made = []
        for kappa, heat in zip(self.contexts, self.heats, strict=True):
            A = Stencil.laplacian(grid, spacing=self.h, scale=0.5 * self.dt * kappa, shift=1.0)
            made.append(linear.System(A, functools.partial(explicit, A, heat), kappa))
        return made

    def by_scipy(self) -> tuple[Any, int]:
        """The last temperature and all steps of scipy's conjugate gradients, each started from the solution before."""
        import scipy.sparse as sparse
        from scipy.sparse.linalg import cg

        line = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(self.side, self.side)) / self.h**2
        eye = sparse.eye_array(self.side)
        laplacian = (sparse.kron(line, eye) + sparse.kron(eye, line)).tocsr()
        unit = sparse.eye_array(self.side**2, format="csr")
        u, count = self.start.ravel(), [0]

        def step(_: Any) -> None:
            count[0] += 1

        for kappa, heat in zip(self.contexts, self.heats, strict=True):
            A = unit + (0.5 * self.dt * kappa) * laplacian
            b = 2.0 * u - A @ u + heat.ravel()
            u, failed = cg(A, b, x0=u, rtol=TOL, atol=0.0, callback=step)
            if failed:
                raise RuntimeError("scipy's cg did not converge")
        return u.reshape(self.side, self.side), count[0]


def explicit(A: Any, heat: Any, u: Any) -> Any:
    return 2.0 * u - A.matvec(u) + heat


def march(plate: Plate, systems: list[Any], policy: Any, solver: str) -> Any:
    order = "natural" if solver == "ssor_cg" else "red_black"
    return needed().solve_sequence(systems, policy=policy, solver=solver, order=order, x0=plate.start, tol=TOL)


class Shifted:
    """Independent systems with a random shift: sweeps over those of the best fixed factor of twelve."""

    params: ClassVar = (POLICIES, tuple(FAMILIES))
    param_names: ClassVar = ["policy", "family"]

    def setup_cache(self) -> Counts:
        solve = functools.partial(needed().solve_sequence, order="red_black", warm_start=False, tol=TOL)
        found: Counts = {}
        for family in FAMILIES:
            systems = shifted(family)
            results = {name: solve(systems, policy=policy_of(name, INTERVAL, 5)) for name in POLICIES}
            found["fixed", family] = results["young"].regret(systems).steps
            found |= {(name, family): result.steps for name, result in results.items()}
        return found

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def setup(self, counts: Counts, policy: str, family: str) -> None:
        fixed = counts["fixed", family]
        self.ours, self.best = counts[policy, family], fixed[np.argmin(fixed.sum(axis=1))]
        self.known = fixed.min(axis=0)  # what a chooser takes who knows the best of the grid for every system
        self.late = slice(COUNT // 2, None)

    def track_over_best_fixed(self, *case: Any) -> float:
        return float(self.ours.sum() / self.best.sum())

    def track_over_best_fixed_after_100(self, *case: Any) -> float:
        return float(self.ours[100:].sum() / self.best[100:].sum())

    def track_last_half_over_oracle(self, *case: Any) -> float:
        return float(self.ours[self.late].sum() / self.known[self.late].sum())

    track_over_best_fixed.unit = "of the best fixed factor's sweeps"  # type: ignore[attr-defined]
    track_over_best_fixed_after_100.unit = "of the best fixed factor's sweeps"  # type: ignore[attr-defined]
    track_last_half_over_oracle.unit = "of the sweeps of the best for each"  # type: ignore[attr-defined]


class Heat:
    """Time steps whose stiffness jumps, 50 cells a side: steps over those of the best fixed factor of twelve."""

    params: ClassVar = (POLICIES, SOLVERS)
    param_names: ClassVar = ["policy", "solver"]

    def setup_cache(self) -> Counts:
        plate, found = Plate(50, 400), {}
        systems = plate.systems()
        for solver in SOLVERS:
            results = {name: march(plate, systems, policy_of(name, HEAT, 6), solver) for name in POLICIES}
            found["fixed", solver] = results["young"].regret(systems).total
            found |= {(name, solver): result.total_steps for name, result in results.items()}
        return found

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def track_over_best_fixed(self, counts: Counts, policy: str, solver: str) -> float:
        return float(counts[policy, solver] / counts["fixed", solver].min())

    track_over_best_fixed.unit = "of the best fixed factor's steps"  # type: ignore[attr-defined]


class HeatTime:
    """The same on finer grids, conjugate gradients with SSOR and Young's factor for every step, against scipy's cg
    without a preconditioner. Aimed at: 0.10, accepted: 0.25. Small systems are dominated by what a call costs.
    """

    params: ClassVar = (tuple(SIZES),)
    param_names: ClassVar = ["side"]

    def setup_cache(self) -> dict[int, dict[str, float]]:
        keep_freed_memory()
        return {side: against_scipy(side, steps) for side, steps in SIZES.items()}

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def track_time_over_scipy(self, found: dict[int, dict[str, float]], side: int) -> float:
        return found[side]["ratio"]

    def track_steps_over_scipy(self, found: dict[int, dict[str, float]], side: int) -> float:
        return found[side]["steps"] / found[side]["theirs"]

    def track_milliseconds_a_system(self, found: dict[int, dict[str, float]], side: int) -> float:
        return 1e3 * found[side]["seconds"] / SIZES[side]

    track_time_over_scipy.unit = "of scipy's CPU time"  # type: ignore[attr-defined]
    track_steps_over_scipy.unit = "of scipy's steps"  # type: ignore[attr-defined]
    track_milliseconds_a_system.unit = "ms"  # type: ignore[attr-defined]


def against_scipy(side: int, steps: int) -> dict[str, float]:
    plate, linear = Plate(side, steps), needed()
    answers: dict[str, Any] = {}

    def ours() -> None:
        answers["ours"] = march(plate, plate.systems(), linear.YoungOmega(), "ssor_cg")

    def theirs() -> None:
        answers["theirs"] = plate.by_scipy()

    ours()  # kernels are loaded at the first call
    mine, scipy = cpu_seconds([ours, theirs], rounds=3, budget=20.0)
    u, count = answers["theirs"]
    apart = float(np.linalg.norm(answers["ours"].x - u) / np.linalg.norm(u))
    if not apart < 1e-5:
        raise RuntimeError(f"the two marches end {apart:.1e} apart")
    return {"seconds": mine, "ratio": mine / scipy, "steps": answers["ours"].total_steps, "theirs": count}
