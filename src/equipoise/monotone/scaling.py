"""Diagonal scaling of a matrix, so that first-order methods see rows and columns of one size.

Ten rounds of Ruiz's equilibration, which brings the largest entry of every row and column towards 1, then one of Pock
and Chambolle's, which bounds the norm by 1. Factors are rounded to powers of two: to undo them is exact.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..checks import values
from ..operators import CSR
from ..record import rebuild
from ..segments import index_sum

__all__ = ["scaled", "scaled_csr"]

ROUNDS = 10


def root(size: Any) -> Any:
    """1 / sqrt(size), rounded to a power of two; 1 where size is 0."""
    xp = namespace(size)
    safe = xp.where(size > 0, size, xp.ones_like(size))
    return 2.0 ** xp.round(-0.5 * xp.log2(safe))


def settled(factors: Any) -> bool:
    """Whether all factors are seen to be 1."""
    seen = values(factors)
    return seen is not None and bool(namespace(seen).all(seen == 1))


def scaled(M: Any) -> tuple[Any, Any, Any]:
    """R M C, shape (..., m, n), and the diagonals r, shape (..., m), and c, shape (..., n)."""
    xp = namespace(M)
    rows, columns = xp.ones_like(M[..., :, 0]), xp.ones_like(M[..., 0, :])
    size, turn = xp.abs(M), 0
    while turn <= ROUNDS:
        measure = xp.max if turn < ROUNDS else xp.sum
        r, c = root(measure(size, axis=-1)), root(measure(size, axis=-2))
        if turn < ROUNDS and settled(r) and settled(c):
            turn = ROUNDS  # no further round would change anything: on to the last one
            continue
        size = size * r[..., :, None] * c[..., None, :]
        rows, columns, turn = rows * r, columns * c, turn + 1
    return M * rows[..., :, None] * columns[..., None, :], rows, columns


def scaled_csr(K: CSR[Any]) -> tuple[CSR[Any], Any, Any]:
    """The same for a sparse matrix; the rounds go by the sums of squares, since largest entries would need sorts."""
    (m, n), xp = K.shape, namespace(K.data)
    row_of, column_of = K.rows, K.indices
    rows = columns = None
    size = xp.abs(K.data)
    for turn in range(ROUNDS + 1):
        measured = size * size if turn < ROUNDS else size
        sums = index_sum(measured, row_of, size=m), index_sum(measured, column_of, size=n)
        r, c = (root(xp.sqrt(x) if turn < ROUNDS else x) for x in sums)
        size = size * xp.take(r, row_of, axis=-1) * xp.take(c, column_of, axis=-1)
        rows, columns = (r, c) if rows is None else (rows * r, columns * c)
    data = K.data * xp.take(rows, row_of, axis=-1) * xp.take(columns, column_of, axis=-1)
    return rebuild(CSR, (data, K.indices, K.indptr, K.rows), (K.shape,)), rows, columns
