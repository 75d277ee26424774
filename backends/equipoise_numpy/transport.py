"""numba kernels of the transport family: one pass over the cost an iteration, no temporary of its size.

A row of the cost stays in the first-level cache between its two uses, so that memory sees it once. Column sums are
kept in blocks of rows and added up in float64, which costs nothing and keeps float32 honest.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from .exponential import CALLER, exp

__all__ = ["log_sweeps", "marginals"]

# How far from 1 a row sum and a column sum may lie before they are done again with a shift of their own: terms that the
# exponential has cut off (1e-308, in float32 1e-38) must not count in any sum that passes.
WINDOWS = {np.dtype(np.float64): (1e100, 1e150), np.dtype(np.float32): (1e4, 1e26)}
BLOCK = 32  # rows whose column sums are added in the array's own precision


@numba.njit(fastmath=CALLER, cache=True)
def scaled_row(cost, g, inverse, shift, weights, density):  # type: ignore[no-untyped-def]
    """density_j = exp((g_j - C_j)/epsilon + shift); its sum with the weights."""
    total = cost.dtype.type(0.0)
    for j in range(cost.size):
        e = exp((g[j] - cost[j]) * inverse + shift)
        density[j] = e
        total += weights[j] * e
    return total


@numba.njit(fastmath=CALLER, cache=True)
def largest(cost, g, inverse, weights):  # type: ignore[no-untyped-def]
    """max_j log b_j + (g_j - C_j)/epsilon: a shift that cannot fail."""
    best = -np.inf
    for j in range(cost.size):
        if weights[j] > 0.0:
            best = max(best, (g[j] - cost[j]) * inverse + math.log(weights[j]))
    return cost.dtype.type(best)


@numba.njit(fastmath=CALLER, cache=True)
def add_row(columns, scale, density):  # type: ignore[no-untyped-def]
    for j in range(columns.size):
        columns[j] += scale * density[j]


@numba.njit(fastmath=CALLER, cache=True)
def flush(columns, block):  # type: ignore[no-untyped-def]
    for j in range(columns.size):
        columns[j] += block[j]
        block[j] = 0.0


@numba.njit(cache=True)
def log_sum(cost, g, inverse, shift, weights, density, window):  # type: ignore[no-untyped-def]
    """log sum_j b_j exp((g_j - C_j)/epsilon + shift) with the carried shift or, where that fails, with one that cannot.

    Returns the logarithm and the shift that was used; `density` holds the terms.
    """
    total = scaled_row(cost, g, inverse, shift, weights, density)
    if not 1.0 / window < total < window:
        shift = -largest(cost, g, inverse, weights)
        total = scaled_row(cost, g, inverse, shift, weights, density)
    return math.log(total), shift


@numba.njit(cache=True)
def log_column_sum(cost, j, f, a, inverse):  # type: ignore[no-untyped-def]
    """log sum_i a_i exp((f_i - C_ij)/epsilon), for one column whose carried sum has failed."""
    shift = -np.inf
    for i in range(f.size):
        if a[i] > 0.0:
            shift = max(shift, (f[i] - cost[i, j]) * inverse)
    total = 0.0
    for i in range(f.size):
        if a[i] > 0.0:
            total += a[i] * math.exp((f[i] - cost[i, j]) * inverse - shift)
    return math.log(total) + shift


@numba.njit(cache=True)
def sweep(cost, a, b, epsilon, f, g, next_f, next_g, density, block, columns, window):  # type: ignore[no-untyped-def]
    """One iteration from (f, g): the next potentials, and the row error of (f, g)."""
    n, m = cost.shape
    inverse = cost.dtype.type(1.0 / epsilon)
    error = 0.0
    columns[:] = 0.0
    for i in range(n):
        carried = f[i] * inverse
        logarithm, shift = log_sum(cost[i], g, inverse, carried, b, density, window[0])
        growth = logarithm + (carried - shift)  # log of (P 1)_i / a_i
        error += a[i] * abs(math.expm1(min(growth, 80.0)))
        next_f[i] = f[i] - epsilon * growth
        if a[i] > 0.0:
            add_row(block, cost.dtype.type(a[i] * math.exp(-logarithm)), density)
        if i % BLOCK == BLOCK - 1 or i == n - 1:
            flush(columns, block)
    for j in range(m):  # columns_j = sum_i a_i exp((next_f_i + g_j - C_ij)/epsilon)
        if 1.0 / window[1] < columns[j] < window[1]:
            next_g[j] = g[j] - epsilon * math.log(columns[j])
        else:
            next_g[j] = -epsilon * log_column_sum(cost, j, next_f, a, inverse)
    return error


@numba.njit(cache=True)
def sweeps(cost, a, b, epsilon, f, g, next_f, next_g, error, limit, tol, window):  # type: ignore[no-untyped-def]
    """Up to `limit` iterations in place, ending where the error is no longer above `tol`."""
    density, block = np.empty_like(g), np.zeros_like(g)
    columns = np.empty(g.size, dtype=np.float64)
    done = 0
    while done < limit and error > tol:
        f[:] = next_f
        g[:] = next_g
        error = sweep(cost, a, b, epsilon, f, g, next_f, next_g, density, block, columns, window)
        done += 1
    return done, error


@numba.njit(cache=True)
def sums(cost, f, g, a, b, epsilon, rows, columns, window):  # type: ignore[no-untyped-def]
    """Row and column sums of the plan."""
    density, block = np.empty_like(g), np.zeros_like(g)
    inverse = cost.dtype.type(1.0 / epsilon)
    columns[:] = 0.0
    for i in range(f.size):
        carried = f[i] * inverse
        logarithm, shift = log_sum(cost[i], g, inverse, carried, b, density, window[0])
        rows[i] = a[i] * math.exp(logarithm + (carried - shift))
        if a[i] > 0.0:
            add_row(block, cost.dtype.type(a[i] * math.exp(carried - shift)), density)
        if i % BLOCK == BLOCK - 1 or i == f.size - 1:
            flush(columns, block)
    for j in range(g.size):
        columns[j] *= b[j]


def log_sweeps(state: Any, problem: Any, limit: int, tol: float) -> Any:
    """Override of ``transport.log_sweeps``: a chunk of fused sweeps, one member of the batch after the other."""
    cost = problem.cost
    if cost.dtype not in WINDOWS:
        return NotImplemented
    fields = [np.array(x) for x in (state.f, state.g, state.next_f, state.next_g)]  # copies: inputs are never written
    error = np.array(state.error, dtype=cost.dtype)
    done = np.zeros(error.shape, dtype=np.int64)
    epsilon = float(problem.epsilon)
    for k in np.ndindex(error.shape):
        c, a, b = (np.ascontiguousarray(x[k]) for x in (cost, problem.a, problem.b))
        f, g, next_f, next_g = (x[k] for x in fields)
        done[k], error[k] = sweeps(
            c, a, b, epsilon, f, g, next_f, next_g, float(error[k]), int(limit), float(tol), WINDOWS[cost.dtype]
        )
    return type(state)(*fields, error), done, error


def marginals(cost: Any, f: Any, g: Any, a: Any, b: Any, epsilon: Any) -> Any:
    """Override of ``transport.marginals``."""
    if cost.dtype not in WINDOWS:
        return NotImplemented
    rows, columns = np.empty(f.shape, dtype=cost.dtype), np.empty(g.shape, dtype=np.float64)
    for k in np.ndindex(f.shape[:-1]):
        c, fk, gk, ak, bk = (np.ascontiguousarray(x[k]) for x in (cost, f, g, a, b))
        sums(c, fk, gk, ak, bk, float(epsilon), rows[k], columns[k], WINDOWS[cost.dtype])
    return rows, columns.astype(cost.dtype)
