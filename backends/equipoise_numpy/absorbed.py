"""numba kernel of the sweeps with a stored density: one read of it an iteration, where two products would need two.

K_ij = exp((F_i + G_j - C_ij)/epsilon) is formed from the potentials F and G at hand. As long as the current ones stay
near, the sums of a sweep are sums over K with weights of one number a column, and no exponential of an entry is left.
Two rows are read for their sums, and once more, from the cache, for those of their columns. Once a potential has moved
by 20 epsilon (10 in float32), K is formed anew; far from the solution, and where a sum fails, a sweep is made in
logarithms.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import njit
from .exponential import CALLER, exp
from .transport import chunk, conclude, flush, growth, soft_columns, sweep_rows

__all__ = ["kernel_sweeps"]

SETTLED = 0.5  # the share of the mass that is amiss, below which K is of use
BLOCK = 32  # pairs of rows whose column sums are added in the array's own precision


@njit(fastmath=CALLER, cache=True)
def form_row(cost, here, g, inverse, out):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] = exp((here + g[j] - cost[j]) * inverse)


@njit(cache=True)
def form(cost, f, g, inverse, out):  # type: ignore[no-untyped-def]
    """The density of the potentials `f` and `g`."""
    for i in range(f.size):
        form_row(cost[i], f[i], g, inverse, out[i])


@njit(fastmath=CALLER, cache=True)
def pair_sums(first, second, weights):  # type: ignore[no-untyped-def]
    s = t = weights.dtype.type(0.0)
    for j in range(weights.size):
        s += first[j] * weights[j]
        t += second[j] * weights[j]
    return s, t


@njit(fastmath=CALLER, cache=True)
def add_pair(columns, u, first, v, second):  # type: ignore[no-untyped-def]
    for j in range(columns.size):
        columns[j] += u * first[j] + v * second[j]


@njit(fastmath=CALLER, cache=True)
def weigh(b, g, there, inverse, out):  # type: ignore[no-untyped-def]
    """b_j exp((g_j - G_j)/epsilon)."""
    for j in range(out.size):
        out[j] = b[j] * exp((g[j] - there[j]) * inverse)


@njit(cache=True)
def stored_rows(stored, here, a, epsilon, rho_a, f, next_f, omega, weights, block, columns):  # type: ignore[no-untyped-def]
    """What :func:`equipoise_numpy.transport.sweep_rows` does, by sums over the stored density."""
    n = f.size
    inverse = f.dtype.type(1.0 / epsilon)
    damp = 1.0 / (1.0 + epsilon / rho_a)
    error = mass = 0.0
    columns[:] = 0.0
    block[:] = 0.0
    scales = np.zeros(2, dtype=f.dtype)
    for i in range(0, n, 2):
        last = min(i + 1, n - 1)  # of an odd number of rows the last is read twice, and counts once
        sums = pair_sums(stored[i], stored[last], weights)
        scales[1] = 0.0
        for k in range(last - i + 1):
            r = i + k
            grown = math.log(sums[k]) + (f[r] - here[r]) * inverse
            sum_r = growth(grown)
            error += a[r] * abs(sum_r - (0.0 if math.isinf(rho_a) else growth(-f[r] / rho_a)))
            mass += a[r] * (1.0 + sum_r)
            next_f[r] = f[r] + omega * (damp * (f[r] - epsilon * grown) - f[r])
            scales[k] = a[r] * math.exp((next_f[r] - here[r]) * inverse)
        add_pair(block, scales[0], stored[i], scales[1], stored[last])
        if (i // 2) % BLOCK == BLOCK - 1 or last == n - 1:
            flush(columns, block)
    return error, mass


@njit(cache=True)
def away(next_f, here, next_g, there):  # type: ignore[no-untyped-def]
    """How far the potentials have moved from those of the stored density."""
    most = 0.0
    for i in range(next_f.size):
        most = max(most, abs(next_f[i] - here[i]))
    for j in range(next_g.size):
        most = max(most, abs(next_g[j] - there[j]))
    return most


@njit(cache=True)
def soft_columns_stored(there, epsilon, columns):  # type: ignore[no-untyped-def]
    """In place, the soft-min of every column; whether all of them are finite."""
    fine = True
    for j in range(columns.size):
        fine &= 0.0 < columns[j] < np.inf
        columns[j] = there[j] - epsilon * math.log(columns[j])
    return fine


@njit(cache=True)
def stored_sweeps(cost, a, b, epsilon, rho, fields, scalars, relaxation, adaptive, limit, tol, window):  # type: ignore[no-untyped-def]
    """Up to `limit` iterations in place, ending where the error is no longer above `tol`."""
    f, g, next_f, next_g = fields
    inverse = f.dtype.type(1.0 / epsilon)
    near = (20.0 if f.itemsize == 8 else 10.0) * epsilon
    buffer, work = np.empty((1, g.size), dtype=g.dtype), np.empty((2, g.size), dtype=g.dtype)
    columns = np.empty(g.size, dtype=np.float64)
    here, there = np.empty_like(f), np.empty_like(g)
    stored = np.empty((0, g.size), dtype=g.dtype)
    mass_a = a.sum()
    done = 0
    fresh = False
    while done < limit and scalars[0] > tol:
        f[:] = next_f
        g[:] = next_g
        omega = relaxation[0]
        if fresh:
            fresh = away(f, here, g, there) <= near
        if not fresh and scalars[0] <= SETTLED * mass_a:
            if stored.shape[0] == 0:
                stored = np.empty(cost.shape, dtype=g.dtype)
            here[:] = f
            there[:] = g
            form(cost, here, there, inverse, stored)
            fresh = True
        fine = False
        error = mass = 0.0
        if fresh:
            weigh(b, g, there, inverse, work[0])
            error, mass = stored_rows(stored, here, a, epsilon, rho[0], f, next_f, omega, work[0], work[1], columns)
            fine = soft_columns_stored(there, epsilon, columns) and math.isfinite(error)
        if not fine:
            fresh = False
            error, mass = sweep_rows(cost, a, b, epsilon, rho[0], f, g, next_f, omega, buffer, work, columns, window[0])
            soft_columns(cost, next_f, g, a, epsilon, columns, window[1])
        conclude(columns, a, b, epsilon, rho, fields, scalars, relaxation, adaptive, error, mass)
        done += 1
    return done


def kernel_sweeps(state: Any, problem: Any, limit: int, tol: float) -> Any:
    """Override of ``transport.kernel_sweeps``: the density lives for one chunk of one problem."""
    if not isinstance(problem.cost, np.ndarray):
        return NotImplemented
    return chunk(stored_sweeps, state, problem, limit, tol)
