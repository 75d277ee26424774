"""numba kernels of the transport family: one pass over the cost an iteration, no temporary of its size.

A row of the cost stays in the first-level cache between its two uses, so that memory sees it once; a row of a cloud is
made there. Column sums are kept in blocks of rows and added up in float64, which costs nothing and keeps float32
honest. An infinite penalty is a marginal that has to be met: exp(-f/inf) is 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import njit
from .exponential import CALLER, exp
from .rows import PANEL, entry, row, scaled_row, source_of, transposed
from .views import plain

__all__ = ["log_sweeps", "marginals", "soft_min"]

# How far from 1 a row sum and a column sum may lie before they are done again with a shift of their own: terms that the
# exponential has cut off (1e-308, in float32 1e-38) must not count in any sum that passes.
WINDOWS = {np.dtype(np.float64): (1e100, 1e150), np.dtype(np.float32): (1e4, 1e26)}
BLOCK = 32  # rows whose column sums are added in the array's own precision
FURTHEST = 80.0  # exponents of sums that only tell how far off an iterate is


@njit(fastmath=CALLER, cache=True)
def largest(cost, g, inverse, weights):  # type: ignore[no-untyped-def]
    """max_j log b_j + (g_j - C_j)/epsilon: a shift that cannot fail."""
    best = -np.inf
    for j in range(cost.size):
        if weights[j] > 0.0:
            best = max(best, (g[j] - cost[j]) * inverse + math.log(weights[j]))
    return cost.dtype.type(best)


@njit(fastmath=CALLER, cache=True)
def add_row(columns, scale, density):  # type: ignore[no-untyped-def]
    for j in range(columns.size):
        columns[j] += scale * density[j]


@njit(fastmath=CALLER, cache=True)
def dot(x, y):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0.0)
    for j in range(x.size):
        total += x[j] * y[j]
    return total


@njit(fastmath=CALLER, cache=True)
def flush(columns, block):  # type: ignore[no-untyped-def]
    for j in range(columns.size):
        columns[j] += block[j]
        block[j] = 0.0


@njit(cache=True)
def log_sum(source, i, g, inverse, shift, weights, density, buffer, window):  # type: ignore[no-untyped-def]
    """log sum_j b_j exp((g_j - C_ij)/epsilon + shift) with the carried shift or, where that fails, a safe one.

    Returns the logarithm and the shift that was used; `density` holds the terms.
    """
    total = scaled_row(source, i, g, inverse, shift, weights, density, buffer)
    if not 1.0 / window < total < window:
        shift = -largest(row(source, i, buffer), g, inverse, weights)
        total = scaled_row(source, i, g, inverse, shift, weights, density, buffer)
    return math.log(total), shift


@njit(cache=True)
def log_column_sum(source, j, f, a, inverse):  # type: ignore[no-untyped-def]
    """log sum_i a_i exp((f_i - C_ij)/epsilon), for one column whose carried sum has failed."""
    shift = -np.inf
    for i in range(f.size):
        if a[i] > 0.0:
            shift = max(shift, (f[i] - entry(source, i, j)) * inverse)
    total = 0.0
    for i in range(f.size):
        if a[i] > 0.0:
            total += a[i] * math.exp((f[i] - entry(source, i, j)) * inverse - shift)
    return math.log(total) + shift


# ---------------------------------------------------------------------------------------------------------------------
# What a sweep does with its sums, whoever forms them


@njit(cache=True)
def growth(exponent):  # type: ignore[no-untyped-def]
    return math.expm1(min(exponent, FURTHEST))


@njit(cache=True)
def dual(weights, potential, rho):  # type: ignore[no-untyped-def]
    """What one potential adds to the dual value."""
    total = 0.0
    for i in range(weights.size):
        total += weights[i] * (potential[i] if math.isinf(rho) else -rho * growth(-potential[i] / rho))
    return total


@njit(cache=True)
def mass_shift(f, g, a, b, rho_a, rho_b):  # type: ignore[no-untyped-def]
    """t such that f + t and g - t leave the plan and balance the targets."""
    return (log_total(a, f, rho_a) - log_total(b, g, rho_b)) / (1.0 / rho_a + 1.0 / rho_b)


@njit(cache=True)
def log_total(weights, potential, rho):  # type: ignore[no-untyped-def]
    """log sum_i a_i exp(-f_i/rho)."""
    shift = -np.inf
    for i in range(weights.size):
        if weights[i] > 0.0:
            shift = max(shift, -potential[i] / rho)
    total = 0.0
    for i in range(weights.size):
        if weights[i] > 0.0:
            total += weights[i] * math.exp(-potential[i] / rho - shift)
    return math.log(total) + shift


@njit(cache=True)
def close(soft, a, b, epsilon, rho_a, rho_b, g, next_f, next_g, omega):  # type: ignore[no-untyped-def]
    """The next g from the soft-mins of its columns, the shift of a penalised problem, and what the columns lack."""
    damp = 1.0 / (1.0 + epsilon / rho_b)
    shift = 0.0
    for j in range(g.size):
        next_g[j] = g[j] + omega * (damp * soft[j] - g[j])
        soft[j] = (next_g[j] - soft[j]) / epsilon
    if not (math.isinf(rho_a) and math.isinf(rho_b)):
        shift = mass_shift(next_f, next_g, a, b, rho_a, rho_b)
        for i in range(next_f.size):
            next_f[i] += shift
    for j in range(g.size):
        next_g[j] -= shift
    return amiss(b, soft, next_g, rho_b)


@njit(fastmath=CALLER, cache=True)
def amiss(weights, exponents, potential, rho):  # type: ignore[no-untyped-def]
    """sum_j b_j |exp(x_j) - exp(-g_j/rho)|: what the sums b_j exp(x_j) lack."""
    total = 0.0
    if math.isinf(rho):
        for j in range(weights.size):
            total += weights[j] * abs(exp(min(exponents[j], FURTHEST)) - 1.0)
    else:
        for j in range(weights.size):
            wanted = exp(min(-np.float64(potential[j]) / rho, FURTHEST))
            total += weights[j] * abs(exp(min(exponents[j], FURTHEST)) - wanted)
    return total


@njit(cache=True)
def adapt(relaxation, error, value, rounding):  # type: ignore[no-untyped-def]
    """:func:`equipoise.transport.sweeps.adapt` for one problem; (omega, age, reference, value, falls) in place."""
    omega, age = relaxation[0], relaxation[1] + 1.0
    window = max(math.ceil(2.0 / (2.0 - omega)), 20.0)
    half = math.floor(window / 2.0)
    if age == window - half:
        relaxation[2] = error
    if age < window:
        relaxation[1] = age
        return
    mu = 0.0
    if relaxation[2] > 0.0 and error > 0.0:
        mu = (error / relaxation[2]) ** (1.0 / half)
    if mu >= 1.0:
        fresh = 1.0 + (omega - 1.0) / 2.0
    elif mu > omega - 1.0 + 1e-3 * (2.0 - omega):
        rate = (mu + omega - 1.0) ** 2 / (mu * omega**2)
        best = 2.0 / (1.0 + math.sqrt(max(1.0 - rate, 0.0)))
        fresh = min(max(omega, best), 1.0 + omega / 2.0, 1.999)
    else:
        fresh = omega
    fell = value < relaxation[3] - 16.0 * rounding * abs(value)
    falls = relaxation[4] + 1.0 if fell else 0.0
    if falls >= 2.0:
        fresh, falls = 1.0, 0.0
    relaxation[0], relaxation[1], relaxation[3], relaxation[4] = fresh, 0.0, value, falls


@njit(cache=True)
def conclude(soft, a, b, epsilon, rho, fields, scalars, relaxation, adaptive, error, mass):  # type: ignore[no-untyped-def]
    """The end of a sweep, from the soft-min of every column: the next g, the error, what is carried, and omega."""
    f, g, next_f, next_g = fields
    scalars[0] = error + scalars[1]
    scalars[1] = close(soft, a, b, epsilon, rho[0], rho[1], g, next_f, next_g, relaxation[0])
    if adaptive:
        value = dual(a, f, rho[0]) + dual(b, g, rho[1]) - epsilon * (mass - a.sum() * b.sum())
        adapt(relaxation, scalars[0], value, np.finfo(g.dtype).eps)


# ---------------------------------------------------------------------------------------------------------------------
# Sweeps in logarithms


@njit(cache=True)
def sweep_rows(source, a, b, epsilon, rho_a, f, g, next_f, omega, buffer, work, columns, window):  # type: ignore[no-untyped-def]
    """The next f, what the rows of (f, g) lack, and the mass of its plan; `columns` gets their sums with the next f."""
    n = f.size
    inverse = f.dtype.type(1.0 / epsilon)
    damp = 1.0 / (1.0 + epsilon / rho_a)
    density, block = work[0], work[1]
    error = mass = 0.0
    fine = True
    columns[:] = 0.0
    block[:] = 0.0
    for i in range(n):
        carried = f[i] * inverse
        logarithm, shift = log_sum(source, i, g, inverse, carried, b, density, buffer, window)
        grown = logarithm + (carried - shift)  # log of (P 1)_i / a_i
        sum_i = growth(grown)
        error += a[i] * abs(sum_i - (0.0 if math.isinf(rho_a) else growth(-f[i] / rho_a)))
        mass += a[i] * (1.0 + sum_i)
        next_f[i] = f[i] + omega * (damp * (f[i] - epsilon * grown) - f[i])
        if a[i] > 0.0:
            scale = math.exp((next_f[i] - f[i]) * inverse + (carried - shift))
            fine &= scale < window  # a larger one makes something of terms that were cut off
            add_row(block, f.dtype.type(a[i] * scale), density)
        if i % BLOCK == BLOCK - 1 or i == n - 1:
            flush(columns, block)
    if not fine:
        columns[:] = 0.0  # have them formed anew
    return error, mass


@njit(cache=True)
def soft_columns(source, f, g, a, epsilon, columns, window):  # type: ignore[no-untyped-def]
    """In place, the soft-min of every column from its sum with the potential g, or anew where that failed."""
    for j in range(g.size):
        if 1.0 / window < columns[j] < window:
            columns[j] = g[j] - epsilon * math.log(columns[j])
        else:
            columns[j] = -epsilon * log_column_sum(source, j, f, a, 1.0 / epsilon)


@njit(cache=True)
def sweeps(source, a, b, epsilon, rho, fields, scalars, relaxation, adaptive, limit, tol, window):  # type: ignore[no-untyped-def]
    """Up to `limit` iterations in place, ending where the error is no longer above `tol`."""
    f, g, next_f, next_g = fields
    buffer, work = np.empty((PANEL, g.size), dtype=g.dtype), np.empty((2, g.size), dtype=g.dtype)
    columns = np.empty(g.size, dtype=np.float64)
    done = 0
    while done < limit and scalars[0] > tol:
        f[:] = next_f
        g[:] = next_g
        omega = relaxation[0]
        error, mass = sweep_rows(source, a, b, epsilon, rho[0], f, g, next_f, omega, buffer, work, columns, window[0])
        soft_columns(source, next_f, g, a, epsilon, columns, window[1])
        conclude(columns, a, b, epsilon, rho, fields, scalars, relaxation, adaptive, error, mass)
        done += 1
    return done


def log_sweeps(state: Any, problem: Any, limit: int, tol: float) -> Any:
    """Override of ``transport.log_sweeps``: a chunk of fused sweeps, one member of the batch after the other."""
    return chunk(sweeps, state, problem, limit, tol)


def chunk(run: Any, state: Any, problem: Any, limit: int, tol: float) -> Any:
    """``run`` on every member of the batch, on copies of what it changes: inputs are never written."""
    dtype = state.f.dtype
    if dtype not in WINDOWS:
        return NotImplemented
    fields = [np.array(x) for x in (state.f, state.g, state.next_f, state.next_g)]
    r = state.relaxation
    scalars = np.stack([state.error, state.gap], axis=-1).astype(np.float64)
    relaxation = np.stack([r.omega, r.age, r.reference, r.value, r.falls], axis=-1).astype(np.float64)
    done = np.zeros(scalars.shape[:-1], dtype=np.int64)
    epsilon, rho = float(problem.epsilon), penalties(problem.rho_a, problem.rho_b)
    for k in np.ndindex(done.shape):
        a, b = plain(problem.a[k]), plain(problem.b[k])
        member = tuple(x[k] for x in fields)
        done[k] = run(
            source_of(problem.cost, k),
            *(a, b, epsilon, rho, member, scalars[k], relaxation[k], problem.adaptive, int(limit), float(tol)),
            WINDOWS[dtype],
        )
    error, gap = (np.array(scalars[..., k], dtype=dtype) for k in range(2))
    moved = type(r)(*(np.array(relaxation[..., k], dtype=dtype) for k in range(5)))
    return type(state)(*fields, error, gap, moved), done, error


def penalties(rho_a: Any, rho_b: Any) -> tuple[float, float]:
    """Both as numbers; infinity for a marginal that has to be met."""
    return math.inf if rho_a is None else float(rho_a), math.inf if rho_b is None else float(rho_b)


# ---------------------------------------------------------------------------------------------------------------------
# Sums of a plan


@njit(cache=True)
def sums(source, f, g, a, b, epsilon, rows, columns, window):  # type: ignore[no-untyped-def]
    """Row and column sums of the plan."""
    buffer = np.empty((PANEL, g.size), dtype=g.dtype)
    density, block = np.empty_like(g), np.zeros_like(g)
    inverse = f.dtype.type(1.0 / epsilon)
    columns[:] = 0.0
    for i in range(f.size):
        carried = f[i] * inverse
        logarithm, shift = log_sum(source, i, g, inverse, carried, b, density, buffer, window)
        rows[i] = a[i] * math.exp(logarithm + (carried - shift))
        if a[i] > 0.0:
            add_row(block, f.dtype.type(a[i] * math.exp(carried - shift)), density)
        if i % BLOCK == BLOCK - 1 or i == f.size - 1:
            flush(columns, block)
    for j in range(g.size):
        columns[j] *= b[j]


def marginals(cost: Any, f: Any, g: Any, a: Any, b: Any, epsilon: Any) -> Any:
    """Override of ``transport.marginals``."""
    if f.dtype not in WINDOWS:
        return NotImplemented
    rows, columns = np.empty(f.shape, dtype=f.dtype), np.empty(g.shape, dtype=np.float64)
    for k in np.ndindex(f.shape[:-1]):
        f_k, g_k, a_k, b_k = (plain(x[k]) for x in (f, g, a, b))
        sums(source_of(cost, k), f_k, g_k, a_k, b_k, float(epsilon), rows[k], columns[k], WINDOWS[f.dtype][0])
    return rows, columns.astype(f.dtype)


@njit(cache=True)
def soft_rows(source, g, b, epsilon, out, window):  # type: ignore[no-untyped-def]
    """-epsilon log sum_j b_j exp((g_j - C_ij)/epsilon) for every row, its shift carried from the row before."""
    buffer, density = np.empty((PANEL, g.size), dtype=g.dtype), np.empty_like(g)
    inverse = g.dtype.type(1.0 / epsilon)
    shift = g.dtype.type(0.0)
    for i in range(out.size):
        logarithm, shift = log_sum(source, i, g, inverse, shift, b, density, buffer, window)
        out[i] = -epsilon * (logarithm - shift)
        shift = g.dtype.type(shift - logarithm)


def soft_min(cost: Any, potential: Any, weights: Any, epsilon: Any, *, axis: int) -> Any:
    """Override of ``transport.soft_min``."""
    if potential.dtype not in WINDOWS or hasattr(cost, "density"):
        return NotImplemented
    n = cost.shape[-2 if axis == -1 else -1]
    out = np.empty((*potential.shape[:-1], n), dtype=potential.dtype)
    for k in np.ndindex(out.shape[:-1]):
        source = source_of(cost, k) if axis == -1 else transposed(source_of(cost, k))
        there, masses = (plain(x[k]) for x in (potential, weights))
        soft_rows(source, there, masses, float(epsilon), out[k], WINDOWS[potential.dtype][0])
    return out
