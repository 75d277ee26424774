"""Rows of a cost for numba kernels: read from a dense matrix, or computed from the points of a cloud into a buffer.

A kernel written against :func:`row` and :func:`entry` serves both. The row of a cloud stays in the first-level cache
between its making and its use, so that it costs arithmetic and no traffic. Distances are sums of squared differences,
not ``|x|^2 + |y|^2 - 2 x.y``: near points keep their digits, and at few dimensions it is no slower.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import overload

from .exponential import CALLER, exp

__all__ = ["entry", "row", "scaled_row", "source_of", "transposed"]

METRICS = {"sqeuclidean": 0, "euclidean": 1, "cityblock": 2}


def source_of(cost: Any, member: tuple[int, ...]) -> Any:
    """What kernels read one member of a batch from: a matrix, or (x, y transposed, metric) of a cloud."""
    if isinstance(cost, np.ndarray):
        return np.ascontiguousarray(cost[member])
    x, y = cost.x[member], cost.targets[member]
    return np.ascontiguousarray(x), np.ascontiguousarray(y.T), METRICS[cost.metric]


def transposed(source: Any) -> Any:
    """The same source with the roles of rows and columns changed; a copy of a matrix."""
    if isinstance(source, np.ndarray):
        return np.ascontiguousarray(source.T)
    x, y, metric = source
    return np.ascontiguousarray(y.T), np.ascontiguousarray(x.T), metric


def row(source: Any, i: int, buffer: Any) -> Any:
    """The i-th row of a cost inside a compiled loop; `buffer` may be overwritten and returned."""
    raise TypeError("only for use in compiled code")


def entry(source: Any, i: int, j: int) -> Any:
    """One entry of a cost inside a compiled loop."""
    raise TypeError("only for use in compiled code")


@overload(row)
def _row(source, i, buffer):  # type: ignore[no-untyped-def]
    if isinstance(source, types.Array):
        return lambda source, i, buffer: source[i]
    return lambda source, i, buffer: cloud_row(source[0][i], source[1], source[2], buffer)


@overload(entry)
def _entry(source, i, j):  # type: ignore[no-untyped-def]
    if isinstance(source, types.Array):
        return lambda source, i, j: source[i, j]
    return lambda source, i, j: cloud_entry(source[0][i], source[1], source[2], j)


@numba.njit(fastmath=CALLER, cache=True)
def cloud_row(x, y, metric, out):  # type: ignore[no-untyped-def]
    """The distances of `x`, shape (d,), from every column of `y`, shape (d, m)."""
    if metric == 2:
        out[:] = 0
        for k in range(x.size):
            add_absolute(out, x[k], y[k])
        return out
    d = x.size
    if d == 1:
        square1(out, x[0], y[0])
    elif d == 2:
        square2(out, x[0], x[1], y[0], y[1])
    else:
        square3(out, x[0], x[1], x[2], y[0], y[1], y[2])
        k = 3
        while k + 4 <= d:
            add_square4(out, x[k], x[k + 1], x[k + 2], x[k + 3], y[k], y[k + 1], y[k + 2], y[k + 3])
            k += 4
        while k < d:
            add_square1(out, x[k], y[k])
            k += 1
    if metric == 1:
        root(out)
    return out


@numba.njit(fastmath=CALLER, cache=True)
def square1(out, x0, y0):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] = (x0 - y0[j]) ** 2


@numba.njit(fastmath=CALLER, cache=True)
def square2(out, x0, x1, y0, y1):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] = (x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2


@numba.njit(fastmath=CALLER, cache=True)
def square3(out, x0, x1, x2, y0, y1, y2):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] = (x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2 + (x2 - y2[j]) ** 2


@numba.njit(fastmath=CALLER, cache=True)
def add_square1(out, x0, y0):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] += (x0 - y0[j]) ** 2


@numba.njit(fastmath=CALLER, cache=True)
def add_square4(out, x0, x1, x2, x3, y0, y1, y2, y3):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] += (x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2 + (x2 - y2[j]) ** 2 + (x3 - y3[j]) ** 2


@numba.njit(fastmath=CALLER, cache=True)
def add_absolute(out, x0, y0):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] += abs(x0 - y0[j])


@numba.njit(fastmath=CALLER, cache=True)
def root(out):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] = math.sqrt(out[j])


@numba.njit(cache=True)
def cloud_entry(x, y, metric, j):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0.0)
    for k in range(x.size):
        apart = x[k] - y[k, j]
        total += abs(apart) if metric == 2 else apart * apart
    return math.sqrt(total) if metric == 1 else total


# ---------------------------------------------------------------------------------------------------------------------
# Rows of a plan's density


def scaled_row(source: Any, i: int, g: Any, inverse: Any, shift: Any, weights: Any, density: Any, buffer: Any) -> Any:
    """density_j = exp((g_j - C_ij)/epsilon + shift) inside a compiled loop; returns its sum with the weights.

    Squared distances in one, two and three dimensions go straight into the exponent, all others by way of `buffer`.
    """
    raise TypeError("only for use in compiled code")


@overload(scaled_row)
def _scaled_row(source, i, g, inverse, shift, weights, density, buffer):  # type: ignore[no-untyped-def]
    if isinstance(source, types.Array):
        return lambda source, i, g, inverse, shift, weights, density, buffer: scaled(
            source[i], g, inverse, shift, weights, density
        )
    return lambda source, i, g, inverse, shift, weights, density, buffer: scaled_cloud(
        source[0][i], source[1], source[2], g, inverse, shift, weights, density, buffer
    )


@numba.njit(fastmath=CALLER, cache=True)
def scaled(cost, g, inverse, shift, weights, density):  # type: ignore[no-untyped-def]
    total = cost.dtype.type(0.0)
    for j in range(cost.size):
        e = exp((g[j] - cost[j]) * inverse + shift)
        density[j] = e
        total += weights[j] * e
    return total


@numba.njit(fastmath=CALLER, cache=True)
def scaled_cloud(x, y, metric, g, inverse, shift, weights, density, buffer):  # type: ignore[no-untyped-def]
    if metric == 0 and x.size == 1:
        return scaled1(x[0], y[0], g, inverse, shift, weights, density)
    if metric == 0 and x.size == 2:
        return scaled2(x[0], x[1], y[0], y[1], g, inverse, shift, weights, density)
    if metric == 0 and x.size == 3:
        return scaled3(x[0], x[1], x[2], y[0], y[1], y[2], g, inverse, shift, weights, density)
    return scaled(cloud_row(x, y, metric, buffer), g, inverse, shift, weights, density)


@numba.njit(fastmath=CALLER, cache=True)
def scaled1(x0, y0, g, inverse, shift, weights, density):  # type: ignore[no-untyped-def]
    total = x0 - x0
    for j in range(g.size):
        e = exp((g[j] - (x0 - y0[j]) ** 2) * inverse + shift)
        density[j] = e
        total += weights[j] * e
    return total


@numba.njit(fastmath=CALLER, cache=True)
def scaled2(x0, x1, y0, y1, g, inverse, shift, weights, density):  # type: ignore[no-untyped-def]
    total = x0 - x0
    for j in range(g.size):
        e = exp((g[j] - ((x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2)) * inverse + shift)
        density[j] = e
        total += weights[j] * e
    return total


@numba.njit(fastmath=CALLER, cache=True)
def scaled3(x0, x1, x2, y0, y1, y2, g, inverse, shift, weights, density):  # type: ignore[no-untyped-def]
    total = x0 - x0
    for j in range(g.size):
        e = exp((g[j] - ((x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2 + (x2 - y2[j]) ** 2)) * inverse + shift)
        density[j] = e
        total += weights[j] * e
    return total
