"""Finite sums: evaluations of components, and CPU time, to a residual of 1e-4; variance reduction against full passes.

The deterministic methods evaluate all n components at a step, by two matrix products of BLAS, and are given the better
of two restart factors. Oracle calls count components: n a full evaluation, two for a sampled difference, tests and the
first point included; an epoch is n calls. Calls are the same on every machine.

For pure minimisation, as in the logistic problem, accelerated and other variance-reduced methods do as well or better
than anything here: it stands for a sum whose cost is easily told. The robust problem is no minimisation.
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..clock import keep_freed_memory

__all__ = [
    "METHODS",
    "PROBLEMS",
    "Measured",
    "Sum",
    "best_deterministic",
    "clocked",
    "gain",
    "make_sum",
    "measure",
    "slope",
]

SEED = 20_260_303
TOL = 1e-4
DETERMINISTIC = ("halpern 0.5", "halpern 0.8")


# ---------------------------------------------------------------------------------------------------------------------
# Problems


def needed() -> Any:
    """``equipoise.monotone``, unless this version lacks it."""
    try:
        from equipoise import monotone
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
    return monotone


@dataclass(frozen=True)
class Sum:
    """A finite sum, where to start, what constrains it, and the residual to reach."""

    sum: Any
    start: Any
    resolvent: Any
    tol: float = TOL


def rows(rng: Any, n: int, d: int) -> Any:
    """Normal data whose standard deviations fall as j^-0.75."""
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.75


def logistic(rng: Any, n: int, d: int) -> Sum:
    """Labels of a noisy linear rule."""
    m, A = needed(), rows(rng, n, d)
    signal = A @ rng.standard_normal(d) + rng.standard_normal(n)
    return Sum(m.LogisticGradient(A, np.where(signal > 0, 1.0, -1.0)), np.zeros(d), m.Identity())


def robust(rng: Any, n: int, d: int) -> Sum:
    """Least squares whose targets an adversary moves, n + d unknowns; to 1e-4 of the residual at the start.

    Rows are scaled by n^(-1/4): then the mean constant L is about sqrt(n) L_F, where variance reduction begins to pay.
    """
    return adversarial(rng, n, d, n**-0.25)


def short(rng: Any, n: int, d: int) -> Sum:
    """The same with rows scaled by n^(-1/2): L is n L_F, nothing is to be gained, and long steps diverge."""
    return adversarial(rng, n, d, n**-0.5)


def adversarial(rng: Any, n: int, d: int, scale: float) -> Sum:
    m, A = needed(), rows(rng, n, d)
    b = A @ rng.standard_normal(d) + rng.standard_normal(n)
    made = m.RobustLeastSquares(scale * A, b, 2.0)
    start = np.zeros(d + n)
    return Sum(made, start, m.Identity(), TOL * float(np.linalg.norm(made.full(start))))


def boxed(rng: Any, n: int, d: int) -> Sum:
    """Least squares in a box that holds about half of the coordinates of the solution at a bound."""
    m, A = needed(), rows(rng, n, d)
    b = A @ rng.standard_normal(d) + rng.standard_normal(n)
    return Sum(m.LeastSquaresGradient(A, b), np.zeros(d), m.Box(-0.5, 0.5))


def ill(rng: Any, n: int, d: int) -> Sum:
    """The logistic problem with standard deviations that fall as 1/j, and few noisy labels: nearly separable."""
    m = needed()
    A = rng.standard_normal((n, d)) / np.arange(1, d + 1)
    signal = A @ rng.standard_normal(d) + 0.1 * rng.standard_normal(n)
    return Sum(m.LogisticGradient(A, np.where(signal > 0, 1.0, -1.0)), np.zeros(d), m.Identity())


PROBLEMS: dict[str, Callable[[Any, int, int], Sum]] = {
    made.__name__: made for made in (logistic, robust, boxed, ill, short)
}


def make_sum(kind: str, n: int, d: int = 50, seed: int = 0) -> Sum:
    return PROBLEMS[kind](np.random.default_rng((SEED, seed)), n, d)


# ---------------------------------------------------------------------------------------------------------------------
# Methods: each takes a problem, a seed for its samples and a budget of calls


def deterministic(factor: float, s: Sum, rng: int, calls: int) -> Any:
    m = needed()
    steps = max(1, calls // s.sum.n)
    restart = m.Restart(factor)
    return m.halpern(s.sum, s.start, resolvent=s.resolvent, restart=restart, tol=s.tol, max_steps=steps)


def extragradient(s: Sum, rng: int, calls: int) -> Any:
    steps = max(1, calls // (2 * s.sum.n))
    return needed().extragradient(s.sum, s.start, resolvent=s.resolvent, tol=s.tol, max_steps=steps)


def reduced(s: Sum, rng: int, calls: int, **settings: Any) -> Any:
    return needed().halpern_vr(
        s.sum, s.start, resolvent=s.resolvent, tol=s.tol, rng=rng, max_oracle_calls=calls, **settings
    )


def published(s: Sum, rng: int, calls: int) -> Any:
    """The published samples and refreshes, with the step and the restarts of the practical form."""
    root = math.sqrt(s.sum.n)
    return reduced(s, rng, calls, batch=math.ceil(root), refresh=4.0 / (root + 5.0))


METHODS: dict[str, Callable[[Sum, int, int], Any]] = {
    "halpern 0.5": functools.partial(deterministic, 0.5),
    "halpern 0.8": functools.partial(deterministic, 0.8),
    "extragradient": extragradient,
    "halpern_vr": reduced,
    "halpern_vr, published refresh": published,
    "halpern_vr, theory": functools.partial(reduced, schedule="theory"),
}


@dataclass(frozen=True)
class Measured:
    """Epochs, least CPU seconds, the residual over the one aimed at, and how the solve ended."""

    epochs: float
    seconds: float
    error: float
    status: str

    @property
    def reached(self) -> bool:
        return self.error <= 1.0


def clocked(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        found = call()
        return time.process_time() - start, found


def run(method: str, s: Sum, rng: int = 0, epochs: float = 20_000.0) -> Measured:
    """One solve."""
    seconds, found = clocked(lambda: METHODS[method](s, rng, int(epochs * s.sum.n)))
    return Measured(float(found.oracle_calls) / s.sum.n, seconds, float(found.error) / s.tol, found.status.name)


def median(found: list[Measured]) -> Measured:
    """The one whose calls are in the middle, with the median of their seconds."""
    middle = sorted(found, key=lambda m: m.epochs if m.reached else math.inf)[len(found) // 2]
    return Measured(middle.epochs, float(np.median([m.seconds for m in found])), middle.error, middle.status)


def measure(s: Sum, method: str, *, seeds: int = 3, epochs: float = 20_000.0) -> Measured:
    """The median over seeds of the samples; of a deterministic method the least seconds of two runs."""
    if method.startswith("halpern_vr"):
        return median([run(method, s, seed, epochs) for seed in range(seeds)])
    found = run(method, s, 0, epochs)
    again = run(method, s, 0, epochs) if found.seconds < 3.0 else found
    return Measured(found.epochs, min(found.seconds, again.seconds), found.error, found.status)


def best_deterministic(s: Sum, *, epochs: float = 20_000.0) -> Measured:
    """The restarted deterministic method with the better factor."""
    found = [measure(s, method, epochs=epochs) for method in DETERMINISTIC]
    return min(found, key=lambda m: m.epochs if m.reached else math.inf)


def load() -> None:
    """Have the kernels of every form loaded, and freed memory kept."""
    keep_freed_memory()
    for kind in PROBLEMS:
        s = make_sum(kind, 20, 3)
        for method in METHODS:
            run(method, s, 0, 10.0)


def gain(kind: str, n: int, method: str = "halpern_vr", seed: int = 0) -> tuple[Measured, Measured]:
    """The deterministic method, and a variance-reduced one."""
    s = make_sum(kind, n, seed=seed)
    return best_deterministic(s), measure(s, method)


def slope(sizes: list[int], gains: list[float]) -> float:
    """The exponent of a gain that grows like a power of n; sqrt(n) is the most that there is."""
    return float(np.polyfit(np.log(sizes), np.log(gains), 1)[0])


# ---------------------------------------------------------------------------------------------------------------------
# asv


class VarianceReduction:
    """Calls and CPU time over those of the deterministic method, lower is better; promised for the logistic problem at
    n = 20 000: a twentieth of the calls, a tenth of the time; aimed at: a fortieth and a 35th.
    """

    params: ClassVar = [["logistic", "robust", "boxed"], [1000, 4000, 20_000]]
    param_names: ClassVar = ["problem", "n"]

    def setup_cache(self) -> dict[tuple[str, int], tuple[Measured, Measured]]:
        load()
        kinds, sizes = self.params
        return {(kind, n): gain(kind, n) for kind in kinds for n in sizes}

    setup_cache.timeout = 1200  # type: ignore[attr-defined]

    def setup(self, found: dict[tuple[str, int], tuple[Measured, Measured]], problem: str, n: int) -> None:
        self.plain, self.reduced = found[problem, n]

    def track_calls_ratio(self, *case: Any) -> float:
        return self.reduced.epochs / self.plain.epochs if self.reduced.reached and self.plain.reached else math.nan

    def track_cpu_ratio(self, *case: Any) -> float:
        return self.reduced.seconds / self.plain.seconds if self.reduced.reached and self.plain.reached else math.nan

    def track_epochs(self, *case: Any) -> float:
        return self.reduced.epochs

    track_calls_ratio.unit = "of the deterministic method's calls"  # type: ignore[attr-defined]
    track_cpu_ratio.unit = "of the deterministic method's CPU time"  # type: ignore[attr-defined]
    track_epochs.unit = "passes over the data"  # type: ignore[attr-defined]


class Slope:
    """Of the gain in calls over n = 1000, 4000, 20 000, with the published samples and refreshes; at least 0.45."""

    def track_slope(self) -> float:
        sizes = [1000, 4000, 20_000]
        pairs = [gain("logistic", n, "halpern_vr, published refresh") for n in sizes]
        return slope(sizes, [plain.epochs / mine.epochs for plain, mine in pairs])

    track_slope.unit = "exponent of n"  # type: ignore[attr-defined]
    track_slope.timeout = 600  # type: ignore[attr-defined]


class Epochs:
    """Ten epochs' worth of calls: the kernels alone."""

    params: ClassVar = [["logistic", "robust", "boxed"]]
    param_names: ClassVar = ["problem"]

    def setup(self, problem: str) -> None:
        self.problem = make_sum(problem, 4000)
        run("halpern_vr", self.problem, 0, 2.0)

    def time_ten_epochs(self, problem: str) -> None:
        s = self.problem
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            needed().halpern_vr(s.sum, s.start, resolvent=s.resolvent, tol=0.0, max_oracle_calls=10 * s.sum.n)
