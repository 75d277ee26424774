"""The family's uniform set: conjugate gradients beside SciPy's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._solve import BACKENDS, DTYPES, Table, Task, _SteppedSolve

MAX_STEPS = 20_000


class Solve(_SteppedSolve):
    """``cg`` with ``SSOR`` on one stiff step of the heat equation, `size` x `size` cells, as a stencil.

    The tolerance is 1e-8, in float32 1e-4, on |b - A x| / |b|. SciPy has the same matrix by compressed rows, and no
    preconditioner.
    """

    params: ClassVar = (BACKENDS, (100, 300), DTYPES)

    def task(self, size: int, dtype: str) -> Task:
        b = np.random.default_rng(1).standard_normal((size, size)).astype(dtype)
        matrix, tol = heat(size), 1e-4 if dtype == "float32" else 1e-8
        stored = matrix.astype(dtype)
        return Task(
            arrays=(b,),
            prepare=functools.partial(ours, size, tol),
            read=lambda result: (np.asarray(result.x), int(result.steps)),
            prepare_peer=lambda: functools.partial(scipys, stored, b.reshape(-1), tol),
            error=functools.partial(residual, matrix, b),
            tol=tol,
        )

    def setup_cache(self) -> Table:
        return self.table()

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_ratio(self, *case: Any) -> float:
        """CPU time over that of SciPy's cg; NaN where one of the two missed the tolerance."""
        return self.figures.ratio

    track_ratio.unit = "of the CPU time of SciPy's cg"  # type: ignore[attr-defined]


def scale(size: int) -> float:
    """Of the second differences in one step of Crank-Nicolson, on a unit square."""
    return 9.5e-3 / 2 * (size + 1) ** 2


def heat(size: int) -> Any:
    """The matrix, in float64."""
    import scipy.sparse as sp

    second = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(size, size))
    one = sp.eye_array(size)
    return sp.csr_array(scale(size) * (sp.kron(second, one) + sp.kron(one, second)) + sp.eye_array(size * size))


def ours(size: int, tol: float, b: Any) -> Callable[[], Any]:
    import equipoise as eq

    A = eq.operators.Stencil.laplacian((size, size), scale=scale(size), shift=1.0)
    preconditioner = eq.linear.SSOR()
    return lambda: eq.linear.cg(A, b, preconditioner=preconditioner, tol=tol, max_steps=MAX_STEPS)


def scipys(matrix: Any, b: Any, tol: float) -> Any:
    from scipy.sparse.linalg import cg

    return cg(matrix, b, rtol=tol, atol=0.0, maxiter=MAX_STEPS)[0]


def residual(matrix: Any, b: Any, x: Any) -> float:
    b = b.reshape(-1).astype(np.float64)
    return float(np.linalg.norm(b - matrix @ x.reshape(-1).astype(np.float64)) / np.linalg.norm(b))
