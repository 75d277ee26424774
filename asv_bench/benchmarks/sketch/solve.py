"""The family's uniform set: least squares beside ``numpy.linalg.lstsq``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._solve import BACKENDS, DTYPES, Table, Task, _SteppedSolve

COLUMNS = 100


class Solve(_SteppedSolve):
    """``lstsq`` with `size` rows and 100 columns, normal entries, the residual a tenth of the right-hand side.

    The tolerance is 1e-14, in float32 1e-6, on |A^T r| / (|A| |r|) in Frobenius's norm: both are direct in effect, and
    go to rounding. ``numpy.linalg.lstsq`` computes in float64 whatever it is given.
    """

    params: ClassVar = (BACKENDS, (10_000, 100_000), DTYPES)

    def task(self, size: int, dtype: str) -> Task:
        rng = np.random.default_rng(20_250_311)
        A = rng.standard_normal((size, COLUMNS), dtype=np.float32).astype(dtype)
        x = rng.standard_normal(COLUMNS)
        b = (A @ x + 0.1 * np.linalg.norm(x) * rng.standard_normal(size)).astype(dtype)
        return Task(
            arrays=(A, b),
            prepare=ours,
            read=lambda result: (np.asarray(result.x), int(result.steps)),
            prepare_peer=lambda: lambda: np.linalg.lstsq(A, b, rcond=None)[0],
            error=functools.partial(gradient, A, b),
            tol=1e-6 if dtype == "float32" else 1e-14,
        )

    def setup_cache(self) -> Table:
        return self.table()

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_ratio(self, *case: Any) -> float:
        """CPU time over that of ``numpy.linalg.lstsq``; NaN where one of the two missed the tolerance."""
        return self.figures.ratio

    track_ratio.unit = "of the CPU time of numpy.linalg.lstsq"  # type: ignore[attr-defined]


def ours(A: Any, b: Any) -> Callable[[], Any]:
    import equipoise as eq

    return lambda: eq.sketch.lstsq(A, b)


def gradient(A: Any, b: Any, x: Any) -> float:
    A, b, x = (z.astype(np.float64, copy=False) for z in (A, b, x))
    r = b - A @ x
    return float(np.linalg.norm(A.T @ r) / (np.linalg.norm(A) * np.linalg.norm(r)))
