"""Whether a matrix is symmetric, as conjugate gradients need it: looked at once, before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import first_index, namespace
from ..backend import of
from ..operators import Dense, Stencil
from ..record import leaves
from .ordering import remembered, rows_of

__all__ = ["check_symmetric"]


def check_symmetric(A: Any) -> None:
    """A symmetric matrix; a stencil is one by its form."""
    if isinstance(A, Stencil) or of(*leaves(A)).traced(leaves(A)[:1]):
        return
    if isinstance(A, Dense):
        xp = namespace(A.array)
        n = A.shape[0]
        check_alike(A.array, xp.matrix_transpose(A.array), lambda k: (k // n, k % n), 2)
        return
    rows = rows_of(A)
    twin = remembered(rows.indptr, rows.indices, "twin", lambda: twins(rows.indptr, rows.indices))
    xp = namespace(rows.data)
    ends = xp.concat([rows.data, xp.zeros_like(rows.data[..., :1])], axis=-1)
    mirrored = xp.take(ends, of(A.data).lend(twin, A.data), axis=-1)

    def place(k: int) -> tuple[int, int]:
        return int(np.searchsorted(rows.indptr, k, side="right")) - 1, int(rows.indices[k])

    check_alike(rows.data, mirrored, place, 1)


def twins(indptr: Any, indices: Any) -> Any:
    """For every entry (i, j) the number of the entry (j, i), or one past the last."""
    n = indptr.size - 1
    rows, columns = np.repeat(np.arange(n), np.diff(indptr)), indices.astype(np.int64)
    key, mirror = rows * n + columns, columns * n + rows
    at = np.minimum(np.searchsorted(key, mirror), max(key.size - 1, 0))
    return np.where(key[at] == mirror, at, key.size).astype(indices.dtype)


def check_alike(entries: Any, mirrored: Any, place: Callable[[int], tuple[int, int]], trailing_axes: int) -> None:
    """Entries that agree with their mirror images up to rounding; ``place(k)`` is where entry k of a member stands."""
    seen, other = (of(x).stop_gradient(x) for x in (entries, mirrored))
    xp = namespace(seen)
    batch = tuple(seen.shape[: seen.ndim - trailing_axes])
    seen, other = xp.reshape(seen, (*batch, -1)), xp.reshape(other, (*batch, -1))
    bound = 64 * float(xp.finfo(seen.dtype).eps) * xp.max(xp.abs(seen), axis=-1, keepdims=True)
    bad = xp.asarray(xp.abs(seen - other) > bound)
    if bool(xp.any(bad)):
        i, j = place(first_index(bad)[-1])
        raise ValueError(f"A must be symmetric, and its entries ({i}, {j}) and ({j}, {i}) differ; use sor, not cg")
