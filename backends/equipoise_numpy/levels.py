"""The passes of `eisenstat` through a stencil in the order of its diagonals.

A run is a stretch of points of one level, side by side in memory, as are all that they wait for. What the level before
left is kept in a small buffer with zeros around it, in the place where those that wait for it will look: no point of a
run is a special one, and a run is a plain loop over vector registers.

A point is (i, j, k), in a grid of two axes with i = 0; its level is i + j + k, and its run is that of i and of
rest = j + k.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from .apart import load, store
from .compiled import njit
from .exponential import CALLER

__all__ = ["run_starts", "scaled_weights", "stencil_back", "stencil_forward", "stencil_update"]

# The numbers of the arrays (see apart) in all that `eisenstat` compiles into one function.
Y, P, R, T, W, BUFFER, SCALE, STARTS, OLD, X, RESIDUAL, DIRECTION = range(12)
SPARE = 8  # numbers behind the weights, which may be read and count for nothing


def pulled(w: Any, i: int, x: Any, j: int) -> Any:
    """w_i x_j, of a number w or an array; nothing where w is None."""
    raise TypeError("only for use in compiled code")


@overload(pulled)
def _pulled(w, i, x, j):  # type: ignore[no-untyped-def]
    if isinstance(w, types.NoneType):
        return lambda w, i, x, j: x.dtype.type(0.0)
    if isinstance(w, types.Array):
        return lambda w, i, x, j: load(w, i, W) * load(x, j, BUFFER)
    return lambda w, i, x, j: w * load(x, j, BUFFER)


def weighed(c: Any, i: int, x: Any) -> Any:
    """c_i x^2, or x^2 where c is None."""
    raise TypeError("only for use in compiled code")


@overload(weighed)
def _weighed(c, i, x):  # type: ignore[no-untyped-def]
    if isinstance(c, types.NoneType):
        return lambda c, i, x: x * x
    return lambda c, i, x: load(c, i, SCALE) * x * x


@njit(cache=True)
def run_starts(grid):  # type: ignore[no-untyped-def]
    """``starts[i, rest]``, where the run of points (i, j, k) with j + k = rest begins; runs of one i + rest follow each
    other. A last column stands for runs that do not exist."""
    a, b, c = grid
    starts = np.ones((a, b + c), dtype=np.int64)
    place = 0
    for level in range(a + b + c - 2):
        for i in range(max(0, level - (b + c - 2)), min(a - 1, level) + 1):
            rest = level - i
            starts[i, rest] = place
            place += min(b - 1, rest) - max(0, rest - c + 1) + 1
    return starts


@njit(fastmath=CALLER, cache=True)
def run_back(y, p, r, t, w, buffer, o, after, above, here, further, count, alpha, k, beta):  # type: ignore[no-untyped-def]
    for e in range(count):
        old = load(p, o + e, P)
        store(y, o + e, load(y, o + e, Y) + alpha * old, Y)
        new = k * load(r, o + e, R) + beta * old
        store(p, o + e, new, P)
        new += pulled(w[1], after + e + 1, buffer, here + e + 1) + pulled(w[2], after + e, buffer, here + e)
        new += pulled(w[0], above + e, buffer, further + e)
        store(buffer, here + e, new, BUFFER)
        store(t, o + e, new, T)


@njit(fastmath=CALLER, cache=True)
def run_forward(p, t, w, buffer, o, here, further, count, k):  # type: ignore[no-untyped-def]
    total = p.dtype.type(0.0)
    for e in range(count):
        right, image = load(p, o + e, P), load(t, o + e, T)
        new = right - k * image
        new += pulled(w[1], o + e, buffer, here + e) + pulled(w[2], o + e, buffer, here + e + 1)
        new += pulled(w[0], o + e, buffer, further + e)
        store(buffer, here + e, new, BUFFER)
        image += new
        store(t, o + e, image, T)
        total += right * image
    return total


@njit(fastmath=CALLER, cache=True)
def run_update(r, q, w, scale, buffer, o, here, further, count, alpha):  # type: ignore[no-untyped-def]
    square = total = r.dtype.type(0.0)
    for e in range(count):
        new = load(r, o + e, R) - alpha * load(q, o + e, T)
        true = new - pulled(w[1], o + e, buffer, here + e) - pulled(w[2], o + e, buffer, here + e + 1)
        true -= pulled(w[0], o + e, buffer, further + e)
        store(buffer, here + e, new, BUFFER)
        store(r, o + e, new, R)
        square += new * new
        total += weighed(scale, o + e, true)
    return square, total


@njit(cache=True)
def stencil_back(matrix, work, alpha, k, beta):  # type: ignore[no-untyped-def]
    """Level after level from the last one on; a point (i, j, k) waits for the next one along each axis.

    It leaves its number at (i, j) of the buffer, so that the point at the same (i, j) of the level before, which waits
    for it along k, finds it there, and the others beside it and a row further.
    """
    (a, b, c), starts, w, _, buffer = matrix
    y, p, r, t = work
    buffer[: (a + 1) * (b + 1)] = 0.0
    kind = p.dtype.type
    alpha, k, beta = kind(alpha), kind(k), kind(beta)
    for level in range(a + b + c - 3, -1, -1):
        for i in range(max(0, level - (b + c - 2)), min(a - 1, level) + 1):
            rest = level - i
            first = max(0, rest - c + 1)
            count = min(b - 1, rest) - first + 1
            after = starts[i, rest + 1] + first - max(0, rest - c + 2)
            here = i * (b + 1) + first
            above = starts[min(i + 1, a - 1), rest]
            run_back(y, p, r, t, w, buffer, starts[i, rest], after, above, here, here + b + 1, count, alpha, k, beta)


@njit(cache=True)
def stencil_forward(matrix, work, k):  # type: ignore[no-untyped-def]
    """Level after level from the first one on; numbers are left at (i, k) of the buffer, k descending."""
    (a, b, c), starts, w, _, buffer = matrix
    _, p, _, t = work
    buffer[: (a + 1) * (c + 1)] = 0.0
    k = p.dtype.type(k)
    total = 0.0
    for level in range(a + b + c - 2):
        for i in range(min(a - 1, level), max(0, level - (b + c - 2)) - 1, -1):
            rest = level - i
            first = max(0, rest - c + 1)
            count = min(b - 1, rest) - first + 1
            here = (i + 1) * (c + 1) + c - 1 - rest + first
            total += run_forward(p, t, w, buffer, starts[i, rest], here, here - c - 1, count, k)
    return total


@njit(cache=True)
def stencil_update(matrix, work, alpha):  # type: ignore[no-untyped-def]
    (a, b, c), starts, w, scale, buffer = matrix
    _, _, r, q = work
    buffer[: (a + 1) * (c + 1)] = 0.0
    alpha = r.dtype.type(alpha)
    square = total = 0.0
    for level in range(a + b + c - 2):
        for i in range(min(a - 1, level), max(0, level - (b + c - 2)) - 1, -1):
            rest = level - i
            first = max(0, rest - c + 1)
            count = min(b - 1, rest) - first + 1
            here = (i + 1) * (c + 1) + c - 1 - rest + first
            more = run_update(r, q, w, scale, buffer, starts[i, rest], here, here - c - 1, count, alpha)
            square += more[0]
            total += more[1]
    return square, total


@njit(cache=True)
def scaled_weights(grid, starts, root, weights):  # type: ignore[no-untyped-def]
    """The weights of the coordinates in which D/omega is 1; `root` is the inverse root of that diagonal."""
    a, b, c = grid
    out = np.zeros((3, root.size + SPARE), dtype=root.dtype)
    for i in range(a):
        for rest in range(b + c - 1):
            first = max(0, rest - c + 1)
            count = min(b - 1, rest) - first + 1
            o = starts[i, rest]
            if i > 0:
                one_axis(out[0], weights[0], root, o, starts[i - 1, rest], 0, count)
            if rest > 0:
                before = starts[i, rest - 1] + first - max(0, rest - c)
                one_axis(out[1], weights[1], root, o, before - 1, 1 if first == 0 else 0, count)
                one_axis(out[2], weights[2], root, o, before, 0, count - 1 if rest < b else count)
    return out


@njit(fastmath=CALLER, cache=True)
def one_axis(out, weights, root, o, before, begin, end):  # type: ignore[no-untyped-def]
    for e in range(begin, end):
        store(out, o + e, load(weights, o + e, W) * load(root, o + e, SCALE) * load(root, before + e, SCALE), T)
