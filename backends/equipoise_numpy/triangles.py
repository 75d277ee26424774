"""The passes of `eisenstat` through a matrix by rows, in the order of a sweep.

What needs no neighbours is done for a block of rows at a time, in vector registers; only the sums over the entries of
a row are left to a loop over rows, and those of one, two and three entries have no loop inside.
"""

from __future__ import annotations

from .apart import load, store
from .compiled import njit
from .exponential import CALLER
from .levels import BUFFER, SCALE, STARTS, P, R, T, W, Y

__all__ = ["ROWWISE", "csr_back", "csr_forward", "csr_update", "scaled_entries", "solve_rows"]

ROWWISE = {"contract", "nsz"}  # sums over the entries of a row keep their order
BLOCK = 512  # rows whose vectors stay in the first-level cache


@njit(fastmath=CALLER, cache=True)
def form_rows(y, p, r, begin, end, alpha, k, beta):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        old = load(p, i, P)
        store(y, i, load(y, i, Y) + alpha * old, Y)
        store(p, i, k * load(r, i, R) + beta * old, P)


@njit(fastmath=CALLER, cache=True)
def right_sides(s, p, t, begin, end, k):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        store(s, i, load(p, i, P) - k * load(t, i, T), BUFFER)


@njit(fastmath=CALLER, cache=True)
def add_rows(s, p, t, begin, end):  # type: ignore[no-untyped-def]
    total = p.dtype.type(0.0)
    for i in range(begin, end):
        image = load(t, i, T) + load(s, i, BUFFER)
        store(t, i, image, T)
        total += load(p, i, P) * image
    return total


@njit(fastmath=CALLER, cache=True)
def reduce_rows(r, t, begin, end, alpha):  # type: ignore[no-untyped-def]
    total = r.dtype.type(0.0)
    for i in range(begin, end):
        new = load(r, i, R) - alpha * load(t, i, T)
        store(r, i, new, R)
        total += new * new
    return total


@njit(fastmath=ROWWISE, cache=True, forceinline=True)
def ascending(values, columns, x, begin, end, total):  # type: ignore[no-untyped-def]
    """`total` and the entries of a row times x, the last one last. Most rows have one, two or three."""
    count = end - begin
    if 1 <= count <= 3:
        if count >= 2:
            if count == 3:
                total += load(values, begin, None) * load(x, load(columns, begin, None), None)
            total += load(values, end - 2, None) * load(x, load(columns, end - 2, None), None)
        return total + load(values, end - 1, None) * load(x, load(columns, end - 1, None), None)
    for e in range(begin, end):
        total += load(values, e, None) * load(x, load(columns, e, None), None)
    return total


@njit(fastmath=ROWWISE, cache=True, forceinline=True)
def descending(values, columns, x, begin, end, total):  # type: ignore[no-untyped-def]
    """The same, the first one last."""
    count = end - begin
    if 1 <= count <= 3:
        if count >= 2:
            if count == 3:
                total += load(values, begin + 2, None) * load(x, load(columns, begin + 2, None), None)
            total += load(values, begin + 1, None) * load(x, load(columns, begin + 1, None), None)
        return total + load(values, begin, None) * load(x, load(columns, begin, None), None)
    for e in range(end - 1, begin - 1, -1):
        total += load(values, e, None) * load(x, load(columns, e, None), None)
    return total


@njit(fastmath=ROWWISE, cache=True)
def csr_back(matrix, work, alpha, k, beta):  # type: ignore[no-untyped-def]
    """Row after row from the last one on; of the rows that one waits for, the latest comes last in the sum."""
    _, _, _, starts, columns, values, _, _ = matrix
    y, p, r, t = work
    kind = p.dtype.type
    alpha, k, beta = kind(alpha), kind(k), kind(beta)
    begin = load(starts, p.size, STARTS)
    new = kind(0.0)
    for last in range(p.size, 0, -BLOCK):
        first = max(0, last - BLOCK)
        form_rows(y, p, r, first, last, alpha, k, beta)
        for i in range(last - 1, first - 1, -1):
            begin, end = load(starts, i, STARTS), begin
            if end - begin == 1 and load(columns, begin, None) == i + 1:  # a chain: do not wait for memory
                new = load(p, i, P) + load(values, begin, None) * new
            else:
                new = descending(values, columns, t, begin, end, load(p, i, P))
            store(t, i, new, T)


@njit(fastmath=ROWWISE, cache=True)
def csr_forward(matrix, work, k):  # type: ignore[no-untyped-def]
    starts, columns, values, _, _, _, _, s = matrix
    _, p, _, t = work
    k = p.dtype.type(k)
    new = p.dtype.type(0.0)
    total = 0.0
    end = load(starts, 0, STARTS)
    for first in range(0, p.size, BLOCK):
        last = min(p.size, first + BLOCK)
        right_sides(s, p, t, first, last, k)
        for i in range(first, last):
            begin, end = end, load(starts, i + 1, STARTS)
            if end - begin == 1 and load(columns, begin, None) == i - 1:
                new = load(s, i, BUFFER) + load(values, begin, None) * new
            else:
                new = ascending(values, columns, s, begin, end, load(s, i, BUFFER))
            store(s, i, new, BUFFER)
        total += add_rows(s, p, t, first, last)
    return total


@njit(fastmath=ROWWISE, cache=True)
def csr_update(matrix, work, alpha, low, high):  # type: ignore[no-untyped-def]
    starts, columns, values, _, _, _, scale, _ = matrix
    _, _, r, t = work
    alpha, zero = r.dtype.type(alpha), r.dtype.type(0.0)
    square = total = 0.0
    for first in range(0, r.size, BLOCK):
        square += reduce_rows(r, t, first, min(r.size, first + BLOCK), alpha)
    if low < square < high:
        return square, -1.0
    end = load(starts, 0, STARTS)
    for i in range(r.size):
        begin, end = end, load(starts, i + 1, STARTS)
        true = load(r, i, R) - ascending(values, columns, r, begin, end, zero)
        total += load(scale, i, SCALE) * true * true
    return square, total


@njit(fastmath=CALLER, cache=True)
def scaled_entries(starts, columns, values, root, out):  # type: ignore[no-untyped-def]
    """Minus the entries of a triangle, in the coordinates in which D/omega is 1."""
    for i in range(root.size):
        here = -root[i]
        for e in range(load(starts, i, None), load(starts, i + 1, None)):
            store(out, e, load(values, e, None) * here * load(root, load(columns, e, None), None), W)


@njit(fastmath=ROWWISE, cache=True)
def solve_rows(starts, columns, values, factor, r, out):  # type: ignore[no-untyped-def]
    """(D/omega + L)^{-1} r of the matrix as it stands; `factor` is omega/D."""
    new = r.dtype.type(0.0)
    for i in range(r.size):
        begin, end = load(starts, i, None), load(starts, i + 1, None)
        new = r[i] - ascending(values, columns, out, begin, end, r.dtype.type(0.0))
        out[i] = new * factor[i]
