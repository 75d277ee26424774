"""Triangular systems: the substitution that the Array API standard lacks.

The portable body goes by blocks, so that a library which computes on whole arrays has n / 64 steps to do and not n; a
block is solved by the standard's general solve, which costs little beside the product with the rest.
"""

from __future__ import annotations

from typing import Any

from .arrays import namespace
from .backend import of
from .kernel import kernel

__all__ = ["solve_upper"]

BLOCK = 64


@kernel("array.solve_upper")
def solve_upper(R: Any, X: Any, *, transpose: bool = False) -> Any:
    """Solve R Y = X, or R^T Y = X, for an upper triangular R.

    Parameters
    ----------
    R : array, shape (n, n)
        Upper triangular, with no zero on its diagonal, which is not checked; what is below it must be zero.
    X : array, shape (n, m)
        Right-hand sides.
    transpose : bool
        Whether to solve with R^T.

    Returns
    -------
    array, shape (n, m)

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.triangular import solve_upper
    >>> solve_upper(np.array([[2.0, 1.0], [0.0, 4.0]]), np.array([[3.0], [4.0]]))
    array([[1.],
           [1.]])
    """
    xp, matmul, n = namespace(R, X), of(R).matmul, X.shape[0]
    starts = range(0, n, BLOCK)
    parts: list[Any] = []
    for start in starts if transpose else reversed(starts):
        end = min(start + BLOCK, n)
        block, rest = R[start:end, start:end], X[start:end, :]
        if parts:
            known = xp.concat(parts, axis=0)
            beside = xp.matrix_transpose(R[:start, start:end]) if transpose else R[start:end, end:]
            rest = rest - matmul(beside, known)
        solved = xp.linalg.solve(xp.matrix_transpose(block) if transpose else block, rest)
        parts = [*parts, solved] if transpose else [solved, *parts]
    return xp.concat(parts, axis=0) if len(parts) > 1 else parts[0]
