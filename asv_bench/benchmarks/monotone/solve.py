"""The family's uniform set: matrix games beside HiGHS."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._solve import BACKENDS, DTYPES, Table, Task, _SteppedSolve


class Solve(_SteppedSolve):
    """``matrix_game`` of `size` x `size` payoffs, uniform in [0, 1].

    The tolerance is 1e-6, in float32 1e-4, on the duality gap. HiGHS has the game as a linear program in float64,
    through SciPy, by its interior-point method to the same tolerance; it then goes to a vertex, which SciPy has no
    switch for.
    """

    params: ClassVar = (BACKENDS, (100, 300), DTYPES)

    def task(self, size: int, dtype: str) -> Task:
        A = np.random.default_rng(20_260_301).random((size, size)).astype(dtype)
        tol = 1e-4 if dtype == "float32" else 1e-6
        return Task(
            arrays=(A,),
            prepare=functools.partial(ours, tol),
            read=lambda result: ((np.asarray(result.x), np.asarray(result.y)), int(result.steps)),
            prepare_peer=lambda: functools.partial(highs, A.astype(np.float64), tol),
            error=functools.partial(gap, A.astype(np.float64)),
            tol=tol,
        )

    def setup_cache(self) -> Table:
        return self.table()

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_ratio(self, *case: Any) -> float:
        """CPU time over that of HiGHS through SciPy's linprog; NaN where one of the two missed the tolerance."""
        return self.figures.ratio

    track_ratio.unit = "of the CPU time of HiGHS (SciPy's linprog)"  # type: ignore[attr-defined]


def ours(tol: float, A: Any) -> Callable[[], Any]:
    import equipoise as eq

    return lambda: eq.monotone.matrix_game(A, tol=tol)


def highs(A: Any, tol: float) -> Any:
    """Minimise t subject to A x <= t, sum x = 1, x >= 0; y are the multipliers."""
    from scipy.optimize import linprog

    m, n = A.shape
    found = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.hstack([A, -np.ones((m, 1))]),
        b_ub=np.zeros(m),
        A_eq=np.append(np.ones(n), 0.0)[None],
        b_eq=np.ones(1),
        bounds=[(0.0, None)] * n + [(None, None)],
        method="highs-ipm",
        options={"ipm_optimality_tolerance": tol},
    )
    return found.x[:n], -found.ineqlin.marginals


def gap(A: Any, strategies: Any) -> float:
    """max A x - min A^T y of the strategies, cut off at 0 and divided by their sum."""
    x, y = (np.maximum(z.astype(np.float64), 0.0) for z in strategies)
    return float(np.max(A @ (x / x.sum())) - np.min(A.T @ (y / y.sum())))
