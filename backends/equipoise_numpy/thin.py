"""The gradient of a sum of squares for a matrix of at most four columns, by rows.

Loops along such short rows cost more than what they do. Here a row is a handful of scalars, and the compiler makes
vectors across rows.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from .compiled import njit

__all__ = ["WIDTH", "residual_gradient"]

FAST = {"contract", "reassoc", "nsz", "arcp"}
WIDTH = 4
PANEL = 2048  # rows that are summed in their own dtype; longer float32 sums lose digits


@njit(fastmath=FAST, cache=True)
def one(flat, b, x, start, stop):  # type: ignore[no-untyped-def]
    """The sum of squares and the gradient of a panel, for one column."""
    zero = flat[0] - flat[0]
    g, total = zero, zero
    for row in range(start, stop):
        i = numba.uint64(row)
        r = b[i] - flat[i] * x[0]
        g += r * flat[i]
        total += r * r
    return total, g, zero, zero, zero


@njit(fastmath=FAST, cache=True)
def two(flat, b, x, start, stop):  # type: ignore[no-untyped-def]
    """The same for two columns."""
    zero = flat[0] - flat[0]
    g, h, total = zero, zero, zero
    for row in range(start, stop):
        i = numba.uint64(row)
        u, v = flat[numba.uint64(2) * i], flat[numba.uint64(2) * i + numba.uint64(1)]
        r = b[i] - u * x[0] - v * x[1]
        g += r * u
        h += r * v
        total += r * r
    return total, g, h, zero, zero


@njit(fastmath=FAST, cache=True)
def three(flat, b, x, start, stop):  # type: ignore[no-untyped-def]
    """The same for three."""
    zero = flat[0] - flat[0]
    g, h, k, total = zero, zero, zero, zero
    for row in range(start, stop):
        i = numba.uint64(row)
        u, v, w = (
            flat[numba.uint64(3) * i],
            flat[numba.uint64(3) * i + numba.uint64(1)],
            flat[numba.uint64(3) * i + numba.uint64(2)],
        )
        r = b[i] - u * x[0] - v * x[1] - w * x[2]
        g += r * u
        h += r * v
        k += r * w
        total += r * r
    return total, g, h, k, zero


@njit(fastmath=FAST, cache=True)
def four(flat, b, x, start, stop):  # type: ignore[no-untyped-def]
    """The same for four."""
    zero = flat[0] - flat[0]
    g, h, k, m, total = zero, zero, zero, zero, zero
    for row in range(start, stop):
        i = numba.uint64(row)
        u, v, w, z = (
            flat[numba.uint64(4) * i],
            flat[numba.uint64(4) * i + numba.uint64(1)],
            flat[numba.uint64(4) * i + numba.uint64(2)],
            flat[numba.uint64(4) * i + numba.uint64(3)],
        )
        r = b[i] - u * x[0] - v * x[1] - w * x[2] - z * x[3]
        g += r * u
        h += r * v
        k += r * w
        m += r * z
        total += r * r
    return total, g, h, k, m


@njit(cache=True)
def sweep(flat, b, x, n, d, out):  # type: ignore[no-untyped-def]
    """out (5,): the sum of squares, then the gradient."""
    for start in range(0, n, PANEL):
        stop = min(start + PANEL, n)
        if d == 1:
            part = one(flat, b, x, start, stop)
        elif d == 2:
            part = two(flat, b, x, start, stop)
        elif d == 3:
            part = three(flat, b, x, start, stop)
        else:
            part = four(flat, b, x, start, stop)
        out[0] += part[0]
        out[1] += part[1]
        out[2] += part[2]
        out[3] += part[3]
        out[4] += part[4]


def residual_gradient(A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    """(A^T (b - A x), |b - A x|^2) in float64, for an A contiguous by rows, x (d, 1) and b (n, 1)."""
    (n, d), out = A.shape, np.zeros(5)
    flat, side = A.reshape(-1).view(), b.reshape(-1).view()
    flat.flags.writeable = side.flags.writeable = False  # else numba would compile once more for arrays that came so
    sweep(flat, side, np.array(x[:, 0]), n, d, out)
    return out[1 : d + 1, None], out[:1]
