"""The family's uniform set: Sinkhorn beside POT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._solve import BACKENDS, DTYPES, Table, Task, _SteppedSolve
from .elsewhere import PEERS
from .problems import Answer, Problem, make_problem, true_error


class Solve(_SteppedSolve):
    """``sinkhorn`` between two clouds of `size` points in the plane, unequal weights, epsilon 0.05.

    The tolerance is 1e-6, in float32 1e-4, and POT has the loosest threshold that reaches it (``peers.py``).
    """

    params: ClassVar = (BACKENDS, (200, 1000), DTYPES)

    def task(self, size: int, dtype: str) -> Task:
        problem = make_problem("cloud", size, 0.05, dtype=dtype)
        return Task(
            arrays=(problem.cost, problem.a, problem.b),
            prepare=lambda cost, a, b: lambda: sinkhorn(problem, cost, a, b),
            read=lambda result: ((np.asarray(result.f), np.asarray(result.g)), int(result.steps)),
            prepare_peer=lambda: pot(problem),
            error=lambda answer: defect(problem, answer),
            tol=problem.tol,
        )

    def setup_cache(self) -> Table:
        return self.table()

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_ratio(self, *case: Any) -> float:
        """CPU time over POT's; NaN where one of the two missed the tolerance."""
        return self.figures.ratio

    track_ratio.unit = "of the CPU time of POT's sinkhorn_log"  # type: ignore[attr-defined]


def sinkhorn(problem: Problem, cost: Any, a: Any, b: Any) -> Any:
    import equipoise as eq

    return eq.transport.sinkhorn(cost, a, b, epsilon=problem.epsilon, tol=problem.tol, max_steps=problem.max_steps)


def pot(problem: Problem) -> Callable[[], Answer]:
    solver = PEERS["pot-log"](problem)
    return lambda: solver.read(solver.run())


def defect(problem: Problem, answer: Any) -> float:
    """The L1 norm of both marginals' defects."""
    if isinstance(answer, Answer):
        return true_error(problem, answer)
    f, g = (x.astype(np.float64) / problem.epsilon for x in answer)
    return true_error(problem, Answer(f + np.log(problem.a), g + np.log(problem.b), 0))
