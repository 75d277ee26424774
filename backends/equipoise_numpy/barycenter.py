"""numba kernels of the barycenter: every input is served by one pass over the cost an iteration.

The kernel exp(-C/epsilon), each row divided by its largest entry, is formed once a chunk and shared by all k inputs: a
step is then 2 k n p multiplications and additions. Four rows stay in the first-level cache while all inputs use them,
once for their sums and once for those of the columns. Potentials are kept as logarithms and rescaled to a maximum of 1
at every step: an entry that has underflowed is lost, but a sum that is far above all that may have been lost is right.
Where one is not, the rest of the chunk is made in logarithms, at one exponential an entry and input, with the carried
potential as the shift.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import njit
from .exponential import CALLER, exp
from .transport import add_row, dot, flush
from .views import plain

__all__ = ["barycenter_start", "barycenter_sweeps"]

# How far from 1 a row sum and a column sum in logarithms may lie before they are done again with a shift of their own;
# the least sum with a shared kernel, where terms below 1e-307, in float32 1e-37, are lost; the exponent that stands for
# all larger ones.
WINDOWS = {np.dtype(np.float64): (1e100, 1e150, 1e-280, 700.0), np.dtype(np.float32): (1e4, 1e26, 1e-26, 80.0)}
NARROW = 60.0  # range(C)/epsilon up to which a shared kernel in float32 is of use
BLOCK = 32  # rows whose column sums are added in the array's own precision
START = 40


# ---------------------------------------------------------------------------------------------------------------------
# Vectors


@njit(fastmath=CALLER, cache=True)
def four_dots(a, b, c, d, y):  # type: ignore[no-untyped-def]
    s = t = u = v = y.dtype.type(0.0)
    for j in range(y.size):
        s += a[j] * y[j]
        t += b[j] * y[j]
        u += c[j] * y[j]
        v += d[j] * y[j]
    return s, t, u, v


@njit(fastmath=CALLER, cache=True)
def add_four(out, s, a, t, b, u, c, v, d):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] += (s * a[j] + t * b[j]) + (u * c[j] + v * d[j])


@njit(fastmath=CALLER, cache=True)
def exp_less(out, x, shift):  # type: ignore[no-untyped-def]
    """out = exp(x - shift)."""
    for j in range(out.size):
        out[j] = exp(x[j] - shift)


@njit(fastmath=CALLER, cache=True)
def exp_row(out, g, cost, inverse, shift):  # type: ignore[no-untyped-def]
    """out_j = exp((g_j - C_j)/epsilon + shift), and its sum."""
    total = cost.dtype.type(0.0)
    for j in range(cost.size):
        e = exp((g[j] - cost[j]) * inverse + shift)
        out[j] = e
        total += e
    return total


@njit(fastmath=CALLER, cache=True)
def largest(g, cost, inverse):  # type: ignore[no-untyped-def]
    best = -np.inf
    for j in range(cost.size):
        best = max(best, (g[j] - cost[j]) * inverse)
    return cost.dtype.type(best)


@njit(cache=True)
def kernel_of(cost, epsilon, least, matrix):  # type: ignore[no-untyped-def]
    """matrix_ij = exp((least_i - C_ij)/epsilon) with the least cost of each row."""
    inverse = cost.dtype.type(1.0 / epsilon)
    zero = np.zeros_like(cost[0])
    for i in range(cost.shape[0]):
        least[i] = cost[i].min()
        exp_row(matrix[i], zero, cost[i], inverse, cost.dtype.type(least[i] * inverse))


# ---------------------------------------------------------------------------------------------------------------------
# Sums over the cost. `columns` become log (K^T u_k), with K = exp(-C/epsilon).


@njit(cache=True)
def shared_sums(matrix, least, a, epsilon, g, f, columns, v, block, floor):  # type: ignore[no-untyped-def]
    """f = softmin(g), and the columns, by products with the stored kernel; whether they can be relied on."""
    k, n = a.shape
    tops = np.empty(k, dtype=g.dtype)
    for r in range(k):
        tops[r] = g[r].max()
        exp_less(v[r], g[r] / epsilon, g.dtype.type(tops[r] / epsilon))
    columns[:] = 0.0
    real = matrix.dtype.type
    for i in range(0, n - n % 4, 4):
        x, y, z, t = matrix[i], matrix[i + 1], matrix[i + 2], matrix[i + 3]
        for r in range(k):
            sums, shares = f[r, i : i + 4], a[r, i : i + 4]
            p, q, s, o = four_dots(x, y, z, t, v[r])
            sums[0], sums[1], sums[2], sums[3] = p, q, s, o
            p, q, s, o = real(shares[0] / p), real(shares[1] / q), real(shares[2] / s), real(shares[3] / o)
            add_four(block[r], p, x, q, y, s, z, o, t)
            if i % BLOCK == BLOCK - 4:
                flush(columns[r], block[r])
    for i in range(n - n % 4, n):
        for r in range(k):
            f[r, i] = dot(matrix[i], v[r])
            add_row(block[r], real(a[r, i] / f[r, i]), matrix[i])
    for r in range(k):
        flush(columns[r], block[r])
    for r in range(k):
        smallest = f[r].min()
        if not (smallest > floor and columns[r].min() > floor * max(1.0, (a[r] / smallest).max())):
            return False
    for r in range(k):
        for i in range(n):
            f[r, i] = least[i] - tops[r] - epsilon * math.log(f[r, i])
        for j in range(columns.shape[1]):
            columns[r, j] = math.log(columns[r, j]) - tops[r] / epsilon
    return True


@njit(cache=True)
def log_sums(cost, a, epsilon, g, f, columns, e, block, window):  # type: ignore[no-untyped-def]
    """The same in logarithms; `f` comes in as a guess."""
    k, n = a.shape
    inverse = cost.dtype.type(1.0 / epsilon)
    columns[:] = 0.0
    for i in range(n):
        for r in range(k):
            shift = cost.dtype.type(f[r, i] * inverse)
            total = exp_row(e, g[r], cost[i], inverse, shift)
            if not 1.0 / window[0] < total < window[0]:
                shift = -largest(g[r], cost[i], inverse)
                total = exp_row(e, g[r], cost[i], inverse, shift)
            f[r, i] = epsilon * (shift - math.log(total))
            if a[r, i] > 0.0:
                add_row(block[r], cost.dtype.type(a[r, i] / total), e)
        if i % BLOCK == BLOCK - 1 or i == n - 1:
            for r in range(k):
                flush(columns[r], block[r])
    for r in range(k):
        for j in range(columns.shape[1]):  # so far exp(g_kj/epsilon) times the wanted sum
            if 1.0 / window[1] < columns[r, j] < window[1]:
                columns[r, j] = math.log(columns[r, j]) - g[r, j] / epsilon
            else:
                columns[r, j] = log_column_sum(cost, j, f[r], a[r], 1.0 / epsilon)


@njit(cache=True)
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


@njit(cache=True)
def shared_own(matrix, least, epsilon, h, own, e, floor):  # type: ignore[no-untyped-def]
    """own = softmin(h) over a square cost by a product with the stored kernel; whether it can be relied on."""
    top = h.max()
    exp_less(e, h / epsilon, h.dtype.type(top / epsilon))
    for i in range(h.size):
        total = dot(matrix[i], e)
        if not total > floor:
            return False
        own[i] = least[i] - top - epsilon * math.log(total)
    return True


@njit(cache=True)
def log_own(cost, epsilon, h, own, e, window):  # type: ignore[no-untyped-def]
    """The same in logarithms; `own` comes in as a guess."""
    inverse = cost.dtype.type(1.0 / epsilon)
    for i in range(h.size):
        shift = cost.dtype.type(own[i] * inverse)
        total = exp_row(e, h, cost[i], inverse, shift)
        if not 1.0 / window[0] < total < window[0]:
            shift = -largest(h, cost[i], inverse)
            total = exp_row(e, h, cost[i], inverse, shift)
        own[i] = epsilon * (shift - math.log(total))


# ---------------------------------------------------------------------------------------------------------------------
# The steps


@njit(cache=True)
def finite_exp(x, most):  # type: ignore[no-untyped-def]
    return math.exp(min(x, most))


@njit(cache=True)
def extrapolate(p, h, barycenter, own, next_h, slow, age):  # type: ignore[no-untyped-def]
    """Nesterov's step for h, begun anew when it goes uphill; the new age."""
    uphill = 0.0
    for j in range(p.size):
        residual = barycenter[j] + own[j] - h[j]
        uphill += p[j] * residual * (h[j] + 0.5 * residual - slow[j])
    age = 1.0 if uphill < 0.0 else age + 1.0
    beta = (age - 1.0) / (age + 2.0)
    for j in range(p.size):
        target = 0.5 * (h[j] + barycenter[j] + own[j])
        next_h[j] = target + beta * (target - slow[j])
        slow[j] = target
    return age


@njit(cache=True)
def sweeps(cost, a, w, epsilon, debiased, f, g, h, p, error, next_g, next_h, slow, age, limit, tol, window):  # type: ignore[no-untyped-def]
    """Up to `limit` steps in place, ending where the error is no longer above `tol`."""
    k, m = g.shape
    shared = limit > 0 and error > tol
    least = np.zeros(cost.shape[0], dtype=cost.dtype)
    matrix = cost
    if shared:
        matrix = np.empty_like(cost)
        kernel_of(cost, epsilon, least, matrix)
    columns = np.empty((k, m), dtype=np.float64)
    block, v, e = np.zeros_like(g), np.empty_like(g), np.empty_like(h)
    barycenter, own = np.empty(m, dtype=np.float64), np.zeros_like(h)
    done = 0
    while done < limit and error > tol:
        g[:] = next_g
        h[:] = next_h
        if shared:
            shared = shared_sums(matrix, least, a, epsilon, g, f, columns, v, block, window[2])
        if not shared:
            log_sums(cost, a, epsilon, g, f, columns, e, block, window)
        barycenter[:] = h
        for r in range(k):
            for j in range(m):
                barycenter[j] += epsilon * w[r] * columns[r, j]
        for j in range(m):
            p[j] = finite_exp(barycenter[j] / epsilon, window[3])
        error = 0.0
        for r in range(k):
            apart = 0.0
            for j in range(m):
                apart += abs(finite_exp(columns[r, j] + g[r, j] / epsilon, window[3]) - p[j])
                next_g[r, j] = barycenter[j] - epsilon * columns[r, j]
            error += w[r] * apart
        if debiased:
            if not (shared and shared_own(matrix, least, epsilon, h, own, e, window[2])):
                log_own(cost, epsilon, h, own, e, window)
            for j in range(m):
                error += abs(finite_exp((h[j] - own[j]) / epsilon, window[3]) - p[j])
            age = extrapolate(p, h, barycenter, own, next_h, slow, age)
            for r in range(k):
                for j in range(m):
                    next_g[r, j] += next_h[j] - h[j]
        done += 1
    return done, error, age


@njit(cache=True)
def start(cost, mass, epsilon, count, h, window):  # type: ignore[no-untyped-def]
    """h <- (h + epsilon log m + softmin(h))/2."""
    least, matrix = np.zeros_like(h), np.empty_like(cost)
    kernel_of(cost, epsilon, least, matrix)
    own, e = np.zeros_like(h), np.empty_like(h)
    for j in range(h.size):
        h[j] = 0.5 * epsilon * math.log(mass[j])
    for _ in range(count):
        if not shared_own(matrix, least, epsilon, h, own, e, window[2]):
            log_own(cost, epsilon, h, own, e, window)
        for j in range(h.size):
            h[j] = 0.5 * (h[j] + epsilon * math.log(mass[j]) + own[j])


# ---------------------------------------------------------------------------------------------------------------------
# The overrides


def working_dtype(cost: Any, epsilon: float) -> Any:
    """float64 where float32 would have to do without the shared kernel: its exponentials cost more than wider rows."""
    if cost.dtype == np.float32 and float(cost.max()) - float(cost.min()) > NARROW * epsilon:
        return np.dtype(np.float64)
    return cost.dtype


def barycenter_sweeps(state: Any, problem: Any, limit: int, tol: float) -> Any:
    """Override of ``transport.barycenter_sweeps``: one member of the batch after the other."""
    cost, epsilon = problem.cost, float(problem.epsilon)
    if not isinstance(cost, np.ndarray) or cost.dtype not in WINDOWS:
        return NotImplemented
    work = working_dtype(cost, epsilon) if limit > 0 else cost.dtype
    now, then = (state.f, state.g, state.h, state.histogram, state.error), (state.next_g, state.next_h)
    given = (*now, *then, state.slow, state.age)
    fields = [
        np.array(x, dtype=work, order="C") for x in given
    ]  # copies: inputs are never written, and may be broadcast
    f, g, h, p, error, next_g, next_h, slow, age = fields
    done = np.zeros(error.shape, dtype=np.int64)
    for k in np.ndindex(error.shape):
        c, a, w = (plain(x[k], dtype=work) for x in (cost, problem.histograms, problem.weights))
        member = (f[k], g[k], h[k], p[k], float(error[k]), next_g[k], next_h[k], slow[k], float(age[k]))
        done[k], error[k], age[k] = sweeps(
            c, a, w, epsilon, problem.debiased, *member, int(limit), float(tol), WINDOWS[work]
        )
    made = type(state)(*(x.astype(cost.dtype, copy=False) for x in (f, g, h, p, error, next_g, next_h, slow, age)))
    return made, done, made.error


def barycenter_start(problem: Any, mass: Any) -> Any:
    """Override of ``transport.barycenter_start``."""
    cost, epsilon = problem.cost, float(problem.epsilon)
    if not isinstance(cost, np.ndarray) or cost.dtype not in WINDOWS:
        return NotImplemented
    h = np.empty(mass.shape, dtype=cost.dtype)
    for k in np.ndindex(mass.shape[:-1]):
        c, m = plain(cost[k]), plain(mass[k])
        start(c, m, epsilon, START, h[k], WINDOWS[c.dtype])
    return h
