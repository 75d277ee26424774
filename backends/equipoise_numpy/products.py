"""numba kernels of products with a plan's density: nothing of its size is formed, a row lives in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import njit
from .exponential import CALLER, exp
from .rows import PANEL, row, source_of
from .transport import WINDOWS, add_row, dot
from .views import plain

__all__ = ["apply", "exponent_sum", "pull"]


@njit(fastmath=CALLER, cache=True)
def density_row(cost, here, g, inverse, highest, out):  # type: ignore[no-untyped-def]
    """exp((f_i + g_j - C_ij)/epsilon), bounded as the portable body bounds it."""
    for j in range(out.size):
        out[j] = exp(min((here + (g[j] - cost[j])) * inverse, highest))


@njit(cache=True)
def products(source, f, g, epsilon, v, out, transpose, highest):  # type: ignore[no-untyped-def]
    """D v or D^T v; `v` and `out` hold one vector a row."""
    inverse = f.dtype.type(1.0 / epsilon)
    buffer, density = np.empty((PANEL, g.size), dtype=g.dtype), np.empty_like(g)
    out[:] = 0
    for i in range(f.size):
        density_row(row(source, i, buffer), f[i], g, inverse, highest, density)
        for k in range(v.shape[0]):
            if transpose:
                add_row(out[k], v[k, i], density)
            else:
                out[k, i] = dot(v[k], density)


def apply(cost: Any, f: Any, g: Any, epsilon: Any, v: Any, *, transpose: bool) -> Any:
    """Override of ``transport.apply``."""
    if f.dtype not in WINDOWS:
        return NotImplemented
    out = np.empty((*f.shape[:-1], v.shape[-1], (g if transpose else f).shape[-1]), dtype=f.dtype)
    for k in np.ndindex(f.shape[:-1]):
        f_k, g_k = (plain(x[k]) for x in (f, g))
        columns = plain(np.broadcast_to(v, (*f.shape[:-1], *v.shape[-2:]))[k].T)
        products(source_of(cost, k), f_k, g_k, float(epsilon), columns, out[k], transpose, highest(f))
    return np.ascontiguousarray(np.swapaxes(out, -1, -2))


def highest(x: Any) -> Any:
    """The largest exponent of a density."""
    return x.dtype.type(700.0 if x.dtype == np.float64 else 80.0)


@njit(fastmath=CALLER, cache=True)
def weigh_row(weights, u, v):  # type: ignore[no-untyped-def]
    """u . v_j for every j."""
    for j in range(weights.size):
        weights[j] = u[0] * v[0, j]
    for k in range(1, u.size):
        for j in range(weights.size):
            weights[j] += u[k] * v[k, j]


@njit(fastmath=CALLER, cache=True)
def exponent_row(cost, here, g, inverse, weights, highest):  # type: ignore[no-untyped-def]
    total = 0.0
    for j in range(g.size):
        exponent = (here + (g[j] - cost[j])) * inverse
        total += weights[j] * exp(min(exponent, highest)) * exponent
    return total


@njit(cache=True)
def exponents(source, f, g, epsilon, left, right, highest):  # type: ignore[no-untyped-def]
    inverse = f.dtype.type(1.0 / epsilon)
    buffer, weights = np.empty((PANEL, g.size), dtype=g.dtype), np.empty_like(g)
    total = 0.0
    for i in range(f.size):
        weigh_row(weights, left[i], right)
        total += exponent_row(row(source, i, buffer), f[i], g, inverse, weights, highest)
    return total


def exponent_sum(cost: Any, f: Any, g: Any, epsilon: Any, left: Any, right: Any) -> Any:
    """Override of ``transport.exponent_sum``."""
    if f.dtype not in WINDOWS:
        return NotImplemented
    out = np.empty(f.shape[:-1], dtype=f.dtype)
    for k in np.ndindex(out.shape):
        f_k, g_k, u = (plain(x[k]) for x in (f, g, left))
        v = plain(right[k].T)
        out[k] = exponents(source_of(cost, k), f_k, g_k, float(epsilon), u, v, highest(f))
    return out


@njit(fastmath=CALLER, cache=True)
def multiply(weights, density):  # type: ignore[no-untyped-def]
    for j in range(weights.size):
        weights[j] *= density[j]


@njit(fastmath=CALLER, cache=True)
def pull_squares(x, y, factor, weights, y_bar):  # type: ignore[no-untyped-def]
    """sum_j w_j d|x - y_j|^2/dx along one dimension (halved: factor 1), and what it is for every y_j."""
    total = x - x
    for j in range(weights.size):
        slope = factor * weights[j] * (x - y[j])
        total += slope
        y_bar[j] -= slope
    return total


@njit(fastmath=CALLER, cache=True)
def pull_signs(x, y, weights, y_bar):  # type: ignore[no-untyped-def]
    total = x - x
    for j in range(weights.size):
        slope = weights[j] if x > y[j] else (-weights[j] if x < y[j] else x - x)
        total += slope
        y_bar[j] -= slope
    return total


@njit(fastmath=CALLER, cache=True)
def divide(weights, cost):  # type: ignore[no-untyped-def]
    for j in range(weights.size):
        weights[j] = weights[j] / cost[j] if cost[j] > 0.0 else weights[j] - weights[j]


@njit(cache=True)
def pulls(source, f, g, epsilon, left, right, x_bar, y_bar, highest):  # type: ignore[no-untyped-def]
    """sum_j D_ij (u_i . v_j) dC_ij/dx_i, and the same for y, whose dimensions are rows of `y_bar`."""
    x, y, metric = source
    inverse = f.dtype.type(1.0 / epsilon)
    factor = f.dtype.type(2.0 if metric == 0 else 1.0)
    buffer, density, weights = np.empty((PANEL, g.size), dtype=g.dtype), np.empty_like(g), np.empty_like(g)
    y_bar[:] = 0
    for i in range(f.size):
        cost = row(source, i, buffer)
        density_row(cost, f[i], g, inverse, highest, density)
        weigh_row(weights, left[i], right)
        multiply(weights, density)
        if metric == 1:
            divide(weights, cost)
        for k in range(x.shape[1]):
            if metric == 2:
                x_bar[i, k] = pull_signs(x[i, k], y[k], weights, y_bar[k])
            else:
                x_bar[i, k] = pull_squares(x[i, k], y[k], factor, weights, y_bar[k])


def pull(cost: Any, f: Any, g: Any, epsilon: Any, left: Any, right: Any) -> Any:
    """Override of ``transport.pull``."""
    if f.dtype not in WINDOWS:
        return NotImplemented
    d = cost.x.shape[-1]
    x_bar = np.empty((*f.shape, d), dtype=f.dtype)
    y_bar = np.empty((*g.shape[:-1], d, g.shape[-1]), dtype=f.dtype)
    for k in np.ndindex(f.shape[:-1]):
        f_k, g_k, u = (plain(x[k]) for x in (f, g, left))
        v = plain(right[k].T)
        pulls(source_of(cost, k), f_k, g_k, float(epsilon), u, v, x_bar[k], y_bar[k], highest(f))
    return x_bar, np.ascontiguousarray(np.swapaxes(y_bar, -1, -2))
