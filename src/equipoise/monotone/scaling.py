"""Diagonal scaling of a matrix, so that first-order methods see rows and columns of one size.

Ten rounds of Ruiz's equilibration, which brings the largest entry of every row and column towards 1, then one of Pock
and Chambolle's, which bounds the norm by 1. Factors are rounded to powers of two: to undo them is exact.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace

__all__ = ["scaled"]

ROUNDS = 10


def root(size: Any) -> Any:
    """1 / sqrt(size), rounded to a power of two; 1 where size is 0."""
    xp = namespace(size)
    safe = xp.where(size > 0, size, xp.ones_like(size))
    return 2.0 ** xp.round(-0.5 * xp.log2(safe))


def scaled(M: Any) -> tuple[Any, Any, Any]:
    """R M C, shape (..., m, n), and the diagonals r, shape (..., m), and c, shape (..., n)."""
    xp = namespace(M)
    rows, columns = xp.ones_like(M[..., :, 0]), xp.ones_like(M[..., 0, :])
    size = xp.abs(M)
    for turn in range(ROUNDS + 1):
        measure = xp.max if turn < ROUNDS else xp.sum
        r, c = root(measure(size, axis=-1)), root(measure(size, axis=-2))
        size = size * r[..., :, None] * c[..., None, :]
        rows, columns = rows * r, columns * c
    return M * rows[..., :, None] * columns[..., None, :], rows, columns
