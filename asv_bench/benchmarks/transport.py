"""Sinkhorn against itself in time, and against POT and OTT-JAX in one process."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any, ClassVar

from .peers import BACKENDS, SOLVERS, Measured, make_problem, measure, prepare

SIZES = (200, 1000)
EPSILONS = (0.05, 0.005)
DTYPES = ("float64", "float32")
Table = dict[tuple[Any, ...], dict[str, Measured | str]]  # (n, epsilon, dtype) -> figures by solver


class Comparison:
    """Squared distances in the plane, unequal weights: hundreds of iterations at the smaller epsilon.

    All solvers are measured in turn by one process, in `setup_cache`; the benchmarks only read its table. That is what
    makes the ratios comparable, and the whole set fast enough to be run.
    """

    params: ClassVar = (SOLVERS, SIZES, EPSILONS, DTYPES)
    param_names: ClassVar = ["solver", "n", "epsilon", "dtype"]

    def setup_cache(self) -> Table:
        cases = itertools.product(SIZES, EPSILONS, DTYPES)
        return {(n, e, dtype): measure(make_problem("cloud", n, e, dtype=dtype)) for n, e, dtype in cases}

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def setup(self, table: Table, *case: Any) -> None:
        solver, *problem = case
        figures = table[tuple(problem)][solver]
        if isinstance(figures, str):
            raise NotImplementedError(figures)  # asv's way to skip
        self.figures = figures

    def track_time_over_pot(self, table: Table, solver: str, *problem: Any) -> float:
        """CPU time over that of POT's sinkhorn_log; below 1 is faster than POT."""
        return self._over(table[problem]["pot"])

    def track_time_over_ott(self, table: Table, solver: str, *problem: Any) -> float:
        """CPU time over that of OTT-JAX, jitted, warm, in logarithms; below 1 is faster than OTT-JAX."""
        return self._over(table[problem]["ott"])

    def track_cpu_time(self, *case: Any) -> float:
        return 1e3 * self.figures.seconds

    def track_steps(self, *case: Any) -> int:
        return self.figures.steps

    def track_true_error(self, *case: Any) -> float:
        """L1 norm of both marginals' defects, recomputed in float64; the tolerance is 1e-6, in float32 1e-4."""
        return self.figures.error

    def _over(self, peer: Measured | str) -> float:
        return math.nan if isinstance(peer, str) else self.figures.seconds / peer.seconds  # asv shows NaN as skipped

    track_time_over_pot.unit = "of POT's CPU time"  # type: ignore[attr-defined]
    track_time_over_ott.unit = "of OTT-JAX's CPU time"  # type: ignore[attr-defined]
    track_cpu_time.unit = "ms"  # type: ignore[attr-defined]
    track_steps.unit = "iterations"  # type: ignore[attr-defined]
    track_true_error.unit = "L1 error"  # type: ignore[attr-defined]


class Sinkhorn:
    """Absolute figures: noise between machines and between loaded hours of one; the ratios above are what to read."""

    params: ClassVar = (BACKENDS, SIZES)
    param_names: ClassVar = ["backend", "n"]
    timer = time.process_time

    def setup(self, backend: str, n: int) -> None:
        try:
            self.solver = prepare(backend, make_problem("cloud", n, 0.05))
        except ImportError as error:
            raise NotImplementedError(f"{backend} is not installed: {error}") from error

    def time_solve(self, backend: str, n: int) -> None:
        self.solver.run()

    def peakmem_solve(self, backend: str, n: int) -> None:
        """Of the whole process, the import of its libraries included."""
        self.solver.run()
