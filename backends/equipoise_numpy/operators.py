"""numba kernels of products with sparse matrices: one pass over what is stored.

Rows are short, so their sums are left in order: reassociation would make vectors of gathers, which are slower. Columns
are read as unsigned, since signed ones would be tested for being negative. A batch of vectors goes through the matrix
four at a time and interleaved: an entry that was read once serves four, and so does a cache line.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from .compiled import njit
from .views import plain

__all__ = ["KINDS", "csr_product"]

KINDS = (np.dtype(np.float64), np.dtype(np.float32))
CONTRACT = {"contract"}
FOUR = 4


@njit(fastmath=CONTRACT, cache=True)
def row_sums(data, indices, indptr, x, out):  # type: ignore[no-untyped-def]
    """A x: data (nnz,), x (m,), out (n,)."""
    k = numba.uint64(indptr[0])
    for i in range(out.size):
        end = numba.uint64(indptr[i + 1])
        total = x.dtype.type(0.0)
        while k < end:
            total += data[k] * x[numba.uint64(indices[k])]
            k += numba.uint64(1)
        out[i] = total


@njit(fastmath=CONTRACT, cache=True)
def four_row_sums(data, indices, indptr, x, woven, out):  # type: ignore[no-untyped-def]
    """The same for four vectors, the rows of `x`."""
    for j in range(x.shape[1]):
        woven[j, 0], woven[j, 1], woven[j, 2], woven[j, 3] = x[0, j], x[1, j], x[2, j], x[3, j]
    zero = x.dtype.type(0.0)
    k = numba.uint64(indptr[0])
    for i in range(out.shape[1]):
        end = numba.uint64(indptr[i + 1])
        s, t, u, v = zero, zero, zero, zero
        while k < end:
            j, entry = numba.uint64(indices[k]), data[k]
            s += entry * woven[j, 0]
            t += entry * woven[j, 1]
            u += entry * woven[j, 2]
            v += entry * woven[j, 3]
            k += numba.uint64(1)
        out[0, i], out[1, i], out[2, i], out[3, i] = s, t, u, v


@njit(fastmath=CONTRACT, cache=True)
def scatter_rows(data, indices, indptr, y, out):  # type: ignore[no-untyped-def]
    """A^T y: y (n,), out (m,)."""
    out[:] = 0
    k = numba.uint64(indptr[0])
    for i in range(y.size):
        end = numba.uint64(indptr[i + 1])
        here = y[i]
        while k < end:
            out[numba.uint64(indices[k])] += data[k] * here
            k += numba.uint64(1)


@njit(fastmath=CONTRACT, cache=True)
def scatter_four_rows(data, indices, indptr, y, woven, out):  # type: ignore[no-untyped-def]
    """The same for four vectors, the rows of `y`."""
    woven[:] = 0
    k = numba.uint64(indptr[0])
    for i in range(y.shape[1]):
        end = numba.uint64(indptr[i + 1])
        s, t, u, v = y[0, i], y[1, i], y[2, i], y[3, i]
        while k < end:
            j, entry = numba.uint64(indices[k]), data[k]
            woven[j, 0] += entry * s
            woven[j, 1] += entry * t
            woven[j, 2] += entry * u
            woven[j, 3] += entry * v
            k += numba.uint64(1)
    for j in range(out.shape[1]):
        out[0, j], out[1, j], out[2, j], out[3, j] = woven[j, 0], woven[j, 1], woven[j, 2], woven[j, 3]


def csr_product(
    data: Any, indices: Any, indptr: Any, rows: Any, x: Any, *, shape: tuple[int, int], transposed: bool
) -> Any:
    """Override of ``operators.csr_product``."""
    if x.dtype not in KINDS:
        return NotImplemented
    one, four = (scatter_rows, scatter_four_rows) if transposed else (row_sums, four_row_sums)
    n, m = shape[::-1] if transposed else shape
    columns, starts = plain(indices), plain(indptr)
    if data.ndim > 1:
        batch = np.broadcast_shapes(data.shape[:-1], x.shape[:-1])
        entries, vectors = np.broadcast_to(data, (*batch, data.shape[-1])), np.broadcast_to(x, (*batch, m))
        out = np.empty((*batch, n), dtype=x.dtype)
        for place in np.ndindex(batch):
            one(plain(entries[place]), columns, starts, plain(vectors[place]), out[place])
        return out
    entries = plain(data)
    if x.ndim == 1:
        out = np.empty(n, dtype=x.dtype)
        one(entries, columns, starts, plain(x), out)
        return out
    count = math.prod(x.shape[:-1])
    vectors, out = plain(x).reshape(count, m), np.empty((count, n), dtype=x.dtype)
    single = count - count % FOUR
    if single:
        woven = np.empty((n if transposed else m, FOUR), dtype=x.dtype)
        for k in range(0, single, FOUR):
            four(entries, columns, starts, vectors[k : k + FOUR], woven, out[k : k + FOUR])
    for k in range(single, count):
        one(entries, columns, starts, vectors[k], out[k])
    return out.reshape(*x.shape[:-1], n)
