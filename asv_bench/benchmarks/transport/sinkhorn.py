"""Entropic transport against itself in time, and against its peers in one process."""

from __future__ import annotations

import itertools
import time
from typing import Any, ClassVar

from .peers import BACKENDS, SOLVERS, Measured, Missing, make_problem, measure, over, prepare
from .rows import ROWS, SEED, Row, best_peer, figures_of_rows

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
        """CPU time over that of POT's sinkhorn_log; below 1 is faster than POT, NaN where one missed the tolerance."""
        return over(self.figures, table[problem]["pot-log"])

    def track_time_over_ott(self, table: Table, solver: str, *problem: Any) -> float:
        """CPU time over that of OTT-JAX, jitted, warm, in logarithms; below 1 is faster than OTT-JAX."""
        return over(self.figures, table[problem]["ott"])

    def track_cpu_time(self, *case: Any) -> float:
        return 1e3 * self.figures.seconds

    def track_steps(self, *case: Any) -> int:
        return self.figures.steps

    def track_true_error(self, *case: Any) -> float:
        """L1 norm of both marginals' defects, recomputed in float64; the tolerance is 1e-6, in float32 1e-4."""
        return self.figures.error

    track_time_over_pot.unit = "of POT's CPU time"  # type: ignore[attr-defined]
    track_time_over_ott.unit = "of OTT-JAX's CPU time"  # type: ignore[attr-defined]
    track_cpu_time.unit = "ms"  # type: ignore[attr-defined]
    track_steps.unit = "iterations"  # type: ignore[attr-defined]
    track_true_error.unit = "L1 error"  # type: ignore[attr-defined]


class SpeedTable:
    """The rows of the speed table: each a claim, with its problem, its peers and its aim in ``rows.py``.

    Lower is better, as everywhere here: a row that aims at ten times a peer's speed should show 0.1 or less.
    """

    params: ClassVar = [row.key for row in ROWS if not row.slow]
    param_names: ClassVar = ["row"]

    def setup_cache(self) -> dict[str, tuple[Row, dict[str, Measured | str]]]:
        figures = figures_of_rows([row for row in ROWS if not row.slow], SEED, rounds=5, budget=1.0)
        return {row.key: (row, found) for _, rows, found in figures for row in rows}

    setup_cache.timeout = 1200  # type: ignore[attr-defined]

    def setup(self, table: dict[str, tuple[Row, dict[str, Measured | str]]], key: str) -> None:
        self.row, self.found = table[key]
        ours = self.found[self.row.ours]
        if isinstance(ours, str):
            raise NotImplementedError(ours)
        self.ours = ours

    def track_time_over_peer(self, *case: Any) -> float:
        """CPU time over that of the row's fastest peer within the tolerance; NaN where there is none, or we miss it."""
        return best_peer(self.row, self.found)[1]

    def track_time_over_aim(self, *case: Any) -> float:
        """The same, times the factor that the row aims at: above 1 the aim is missed."""
        return best_peer(self.row, self.found)[1] * self.row.target

    def track_steps(self, *case: Any) -> int:
        return self.ours.steps

    def track_true_error(self, *case: Any) -> float:
        """L1 norm of both marginals' defects, recomputed in float64."""
        return self.ours.error

    def track_peer_true_error(self, *case: Any) -> float:
        """The same of the fastest peer; of those that miss the tolerance the least error, as a sign that all do."""
        name, _ = best_peer(self.row, self.found)
        peers = [self.found[name]] if name else [self.found[peer] for peer in self.row.peers]
        errors = [peer.error for peer in peers if isinstance(peer, Measured)]
        if not errors:
            raise NotImplementedError("; ".join(peer for peer in peers if isinstance(peer, str)))
        return min(errors)

    track_time_over_peer.unit = "of the peer's CPU time"  # type: ignore[attr-defined]
    track_time_over_aim.unit = "of the time aimed at"  # type: ignore[attr-defined]
    track_steps.unit = "iterations"  # type: ignore[attr-defined]
    track_true_error.unit = "L1 error"  # type: ignore[attr-defined]
    track_peer_true_error.unit = "L1 error"  # type: ignore[attr-defined]


class Sinkhorn:
    """Absolute figures: noise between machines and between loaded hours of one; the ratios above are what to read."""

    params: ClassVar = (BACKENDS, SIZES)
    param_names: ClassVar = ["backend", "n"]
    timer = time.process_time

    def setup(self, backend: str, n: int) -> None:
        try:
            self.solver = prepare(backend, make_problem("cloud", n, 0.05))
        except (ImportError, Missing) as error:
            raise NotImplementedError(f"{backend}: {error}") from error

    def time_solve(self, backend: str, n: int) -> None:
        self.solver.run()

    def peakmem_solve(self, backend: str, n: int) -> None:
        """Of the whole process, the import of its libraries included."""
        self.solver.run()
