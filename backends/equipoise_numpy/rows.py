"""Rows of a cost for numba kernels: read from a dense matrix, or computed from the points of a cloud into a buffer.

A buffer of one row serves any order. With one of `PANEL` rows, which asks for rows in ascending order from 0, four
rows in many dimensions are made at a time, which halves what they cost.

A kernel written against :func:`row` and :func:`entry` serves both. The row of a cloud stays in the first-level cache
between its making and its use, so that it costs arithmetic and no traffic. Distances are sums of squared differences,
not ``|x|^2 + |y|^2 - 2 x.y``: near points keep their digits, and at few dimensions it is no slower.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from .compiled import njit
from .exponential import CALLER, exp
from .views import plain

__all__ = ["entry", "row", "scaled_row", "source_of", "transposed"]

PANEL = 4
METRICS = {"sqeuclidean": 0, "euclidean": 1, "cityblock": 2}


def source_of(cost: Any, member: tuple[int, ...]) -> Any:
    """What kernels read one member of a batch from: a matrix, or (x, y transposed, metric) of a cloud."""
    if isinstance(cost, np.ndarray):
        return plain(cost[member])
    x, y = cost.x[member], cost.targets[member]
    return plain(x), plain(y.T), METRICS[cost.metric]


def transposed(source: Any) -> Any:
    """The same source with the roles of rows and columns changed; a copy of a matrix."""
    if isinstance(source, np.ndarray):
        return plain(source.T)
    x, y, metric = source
    return plain(y.T), plain(x.T), metric


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
    if buffer.ndim == 2:
        return lambda source, i, buffer: panel_row(source[0], i, source[1], source[2], buffer)
    return lambda source, i, buffer: cloud_row(source[0][i], source[1], source[2], buffer)


@overload(entry)
def _entry(source, i, j):  # type: ignore[no-untyped-def]
    if isinstance(source, types.Array):
        return lambda source, i, j: source[i, j]
    return lambda source, i, j: cloud_entry(source[0][i], source[1], source[2], j)


@njit(fastmath=CALLER, cache=True)
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


@njit(fastmath=CALLER, cache=True)
def panel_row(points, i, y, metric, panel):  # type: ignore[no-untyped-def]
    """The row of the i-th of the `points`, of a panel that its first row fills."""
    d = points.shape[1]
    if metric == 2 or d <= 3:
        return cloud_row(points[i], y, metric, panel[0])
    k = i % PANEL
    if k:
        return panel[k]
    whole = i + PANEL <= points.shape[0]
    if not whole:
        for r in range(points.shape[0] - i):
            cloud_row(points[i + r], y, metric, panel[r])
        return panel[0]
    panel[:] = 0
    for c in range(0, d - d % 4, 4):
        add_square4x4(panel, points[i : i + 4, c : c + 4], y[c : c + 4])
    for r in range(PANEL):
        for c in range(d - d % 4, d):
            add_square1(panel[r], points[i + r, c], y[c])
        if metric == 1:
            root(panel[r])
    return panel[0]


@njit(fastmath=CALLER, cache=True, inline="always")
def add_square4x4(panel, x, y):  # type: ignore[no-untyped-def]
    """Four dimensions of four rows: what is loaded once serves four times.

    Two arrays, not their eight rows, for else the compiler cannot tell that they do not overlap.
    """
    a0, a1, a2, a3 = x[0, 0], x[0, 1], x[0, 2], x[0, 3]
    b0, b1, b2, b3 = x[1, 0], x[1, 1], x[1, 2], x[1, 3]
    c0, c1, c2, c3 = x[2, 0], x[2, 1], x[2, 2], x[2, 3]
    d0, d1, d2, d3 = x[3, 0], x[3, 1], x[3, 2], x[3, 3]
    for j in range(panel.shape[1]):
        p, q, r, s = y[0, j], y[1, j], y[2, j], y[3, j]
        panel[0, j] += (a0 - p) ** 2 + (a1 - q) ** 2 + (a2 - r) ** 2 + (a3 - s) ** 2
        panel[1, j] += (b0 - p) ** 2 + (b1 - q) ** 2 + (b2 - r) ** 2 + (b3 - s) ** 2
        panel[2, j] += (c0 - p) ** 2 + (c1 - q) ** 2 + (c2 - r) ** 2 + (c3 - s) ** 2
        panel[3, j] += (d0 - p) ** 2 + (d1 - q) ** 2 + (d2 - r) ** 2 + (d3 - s) ** 2


@njit(fastmath=CALLER, cache=True)
def square1(out, x0, y0):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] = (x0 - y0[j]) ** 2


@njit(fastmath=CALLER, cache=True)
def square2(out, x0, x1, y0, y1):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] = (x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2


@njit(fastmath=CALLER, cache=True)
def square3(out, x0, x1, x2, y0, y1, y2):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] = (x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2 + (x2 - y2[j]) ** 2


@njit(fastmath=CALLER, cache=True)
def add_square1(out, x0, y0):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] += (x0 - y0[j]) ** 2


@njit(fastmath=CALLER, cache=True)
def add_square4(out, x0, x1, x2, x3, y0, y1, y2, y3):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] += (x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2 + (x2 - y2[j]) ** 2 + (x3 - y3[j]) ** 2


@njit(fastmath=CALLER, cache=True)
def add_absolute(out, x0, y0):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] += abs(x0 - y0[j])


@njit(fastmath=CALLER, cache=True)
def root(out):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] = math.sqrt(out[j])


@njit(cache=True)
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
        source, i, g, inverse, shift, weights, density, buffer
    )


@njit(fastmath=CALLER, cache=True)
def scaled(cost, g, inverse, shift, weights, density):  # type: ignore[no-untyped-def]
    total = cost.dtype.type(0.0)
    for j in range(cost.size):
        e = exp((g[j] - cost[j]) * inverse + shift)
        density[j] = e
        total += weights[j] * e
    return total


@njit(fastmath=CALLER, cache=True)
def scaled_cloud(source, i, g, inverse, shift, weights, density, buffer):  # type: ignore[no-untyped-def]
    x, y, metric = source[0][i], source[1], source[2]
    if metric == 0 and x.size == 1:
        return scaled1(x[0], y[0], g, inverse, shift, weights, density)
    if metric == 0 and x.size == 2:
        return scaled2(x[0], x[1], y[0], y[1], g, inverse, shift, weights, density)
    if metric == 0 and x.size == 3:
        return scaled3(x[0], x[1], x[2], y[0], y[1], y[2], g, inverse, shift, weights, density)
    return scaled(row(source, i, buffer), g, inverse, shift, weights, density)


@njit(fastmath=CALLER, cache=True)
def scaled1(x0, y0, g, inverse, shift, weights, density):  # type: ignore[no-untyped-def]
    total = x0 - x0
    for j in range(g.size):
        e = exp((g[j] - (x0 - y0[j]) ** 2) * inverse + shift)
        density[j] = e
        total += weights[j] * e
    return total


@njit(fastmath=CALLER, cache=True)
def scaled2(x0, x1, y0, y1, g, inverse, shift, weights, density):  # type: ignore[no-untyped-def]
    total = x0 - x0
    for j in range(g.size):
        e = exp((g[j] - ((x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2)) * inverse + shift)
        density[j] = e
        total += weights[j] * e
    return total


@njit(fastmath=CALLER, cache=True)
def scaled3(x0, x1, x2, y0, y1, y2, g, inverse, shift, weights, density):  # type: ignore[no-untyped-def]
    total = x0 - x0
    for j in range(g.size):
        e = exp((g[j] - ((x0 - y0[j]) ** 2 + (x1 - y1[j]) ** 2 + (x2 - y2[j]) ** 2)) * inverse + shift)
        density[j] = e
        total += weights[j] * e
    return total
