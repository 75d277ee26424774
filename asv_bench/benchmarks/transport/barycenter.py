"""Barycenters on a fixed support against POT's, in one process.

"To the same accuracy" is judged by the histogram alone, which is all that POT returns: its L1 distance to one that was
solved to 1e-12. POT makes as many iterations as bring it at least as near as our default tolerance does, and not one
more: its own test is left out. The weights are equal, because with others POT's "sinkhorn" ends at another point.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..clock import cpu_seconds, keep_freed_memory

POINTS, INPUTS = 500, 5
FRACTIONS = (0.05, 0.005)  # epsilon over the range of the cost
SOLVERS = ("equipoise", "equipoise-portable", "pot", "pot-log")
Vector = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Figures:
    """Least CPU seconds of a solve, its iterations, and how far its histogram is from the true one."""

    seconds: float
    steps: int
    distance: float


def problem(seed: int = 1) -> tuple[Vector, Vector]:
    """Five bumps, with mass everywhere, on points in the unit square."""
    rng = np.random.default_rng(seed)
    x = rng.random((POINTS, 2))
    cost = np.sum((x[:, None] - x) ** 2, axis=-1)
    centres = rng.random((INPUTS, 1, 2))
    bumps = np.exp(-np.sum((x - centres) ** 2, axis=-1) / 0.0128) + 1e-5 * rng.random((INPUTS, POINTS))
    return bumps / bumps.sum(axis=1, keepdims=True), cost


def measure(fraction: float) -> dict[str, Figures]:
    """All solvers on one problem, in turn."""
    import ot

    import equipoise as eq
    from equipoise.transport import barycenter

    keep_freed_memory()
    histograms, cost = problem()
    epsilon = fraction * float(np.ptp(cost))
    columns = np.ascontiguousarray(histograms.T)

    def ours(**options: Any) -> Any:
        return barycenter(histograms, cost, epsilon=epsilon, **options)

    def portable() -> Any:
        with eq.portable():
            return ours()

    def pot(method: str, count: int) -> Vector:
        return ot.bregman.barycenter(columns, cost, epsilon, method=method, numItermax=count, stopThr=0.0, warn=False)

    truth = ours(tol=1e-12, max_steps=100_000).histogram

    def distance(p: Vector) -> float:
        return float(np.abs(p - truth).sum())

    result = ours()
    count = fewest(lambda m: distance(pot("sinkhorn", m)) <= distance(result.histogram))
    count_log = fewest(lambda m: distance(pot("sinkhorn_log", m)) <= distance(result.histogram), count)
    calls: dict[str, Callable[[], Any]] = {
        "equipoise": ours,
        "equipoise-portable": portable,
        "pot": lambda: pot("sinkhorn", count),
        "pot-log": lambda: pot("sinkhorn_log", count_log),
    }
    seconds = cpu_seconds(calls.values(), rounds=5, budget=5.0)
    steps = (int(result.steps), int(result.steps), count, count_log)
    answers = (result.histogram, result.histogram, pot("sinkhorn", count), pot("sinkhorn_log", count_log))
    return {name: Figures(s, k, distance(p)) for name, s, k, p in zip(calls, seconds, steps, answers, strict=True)}


def fewest(reached: Callable[[int], bool], start: int = 2, most: int = 5000) -> int:
    """The fewest iterations that reach it, to 5 %."""
    count = max(2, start - 2)
    while count < most and not reached(count):
        count = max(count + 1, int(1.05 * count))
    return count


class Barycenter:
    """500 points, 5 inputs, equal weights."""

    params: ClassVar = (SOLVERS, FRACTIONS)
    param_names: ClassVar = ["solver", "epsilon over range"]

    def setup_cache(self) -> dict[tuple[str, float], Figures]:
        made = {fraction: measure(fraction) for fraction in FRACTIONS}
        return {(s, f): made[f][s] for s, f in itertools.product(SOLVERS, FRACTIONS)}

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def track_time_over_pot(self, table: Any, solver: str, fraction: float) -> float:
        """CPU time over that of POT's "sinkhorn", two products with a stored kernel an iteration."""
        return table[solver, fraction].seconds / table["pot", fraction].seconds

    def track_time_over_pot_log(self, table: Any, solver: str, fraction: float) -> float:
        """CPU time over that of POT's "sinkhorn_log"."""
        return table[solver, fraction].seconds / table["pot-log", fraction].seconds

    def track_cpu_time(self, table: Any, solver: str, fraction: float) -> float:
        return 1e3 * table[solver, fraction].seconds

    def track_steps(self, table: Any, solver: str, fraction: float) -> int:
        return table[solver, fraction].steps

    def track_distance(self, table: Any, solver: str, fraction: float) -> float:
        return table[solver, fraction].distance

    track_time_over_pot.unit = "of POT's CPU time"  # type: ignore[attr-defined]
    track_time_over_pot_log.unit = "of POT's CPU time"  # type: ignore[attr-defined]
    track_cpu_time.unit = "ms"  # type: ignore[attr-defined]
    track_steps.unit = "iterations"  # type: ignore[attr-defined]
    track_distance.unit = "L1 distance"  # type: ignore[attr-defined]


class Debiased:
    """Steps to an error of 1e-6, at most 3000, and the error there."""

    params: ClassVar = (FRACTIONS,)
    param_names: ClassVar = ["epsilon over range"]

    def setup(self, fraction: float) -> None:
        from equipoise.transport import barycenter

        histograms, cost = problem()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            epsilon = fraction * float(np.ptp(cost))
            self.result = barycenter(histograms, cost, epsilon=epsilon, debiased=True, max_steps=3000)

    def track_steps(self, fraction: float) -> int:
        return int(self.result.steps)

    def track_error(self, fraction: float) -> float:
        return float(self.result.error)
