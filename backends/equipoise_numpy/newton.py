"""numba kernels of Sinkhorn-Newton-Sparse: all memory grows with n + m and the entries that are kept.

The plan is never stored. One pass over the cost yields everything that a line search wants to know of a potential; a
second one, where a Newton system is wanted, compares exponents first and takes exp of the entries that are kept only.
Products with the system read these once: a row is gathered and, still in the first-level cache, scattered.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import njit
from .exponential import CALLER, exp
from .rows import PANEL, row, source_of
from .transport import BLOCK, WINDOWS, add_row, dual, flush, growth, log_sum, penalties, soft_columns
from .views import plain

__all__ = ["newton_direction", "newton_look"]

FLOORS = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-4}  # of a diagonal entry, for its preconditioner
GROUP = 16  # entries that are compared before any of them is looked at alone


# ---------------------------------------------------------------------------------------------------------------------
# What there is to know of a potential


@njit(cache=True)
def look(source, a, b, epsilon, rho_a, rho_b, f, g, next_f, soft, window):  # type: ignore[no-untyped-def]
    """f from g, and then the soft-min of every column; the dual value, and what the columns lack."""
    n = f.size
    inverse = g.dtype.type(1.0 / epsilon)
    damp = 1.0 / (1.0 + epsilon / rho_a)
    buffer, work = np.empty((PANEL, g.size), dtype=g.dtype), np.zeros((2, g.size), dtype=g.dtype)
    density, block = work[0], work[1]
    columns = np.zeros(g.size, dtype=np.float64)
    mass = 0.0
    for i in range(n):
        carried = f[i] * inverse
        logarithm, shift = log_sum(source, i, g, inverse, carried, b, density, buffer, window[0])
        next_f[i] = -epsilon * damp * (logarithm - shift)
        if a[i] > 0.0:
            mass += a[i] * (1.0 + growth(-next_f[i] / rho_a))
            add_row(block, g.dtype.type(a[i] * math.exp(next_f[i] * inverse - shift)), density)
        if i % BLOCK == BLOCK - 1 or i == n - 1:
            flush(columns, block)
    soft_columns(source, next_f, g, a, epsilon, columns, window[1])
    error = 0.0
    for j in range(g.size):
        soft[j] = columns[j]
        error += b[j] * abs(growth((g[j] - columns[j]) / epsilon) - growth(-g[j] / rho_b))
    value = dual(a, next_f, rho_a) + dual(b, g, rho_b) - epsilon * (mass - a.sum() * b.sum())
    return value, error


def newton_look(
    cost: Any, a: Any, b: Any, epsilon: Any, scale: Any, rho_a: Any, rho_b: Any, f: Any, g: Any
) -> tuple[Any, Any, Any, Any]:
    """Override of ``transport.newton_look``."""
    if f.dtype not in WINDOWS:
        return NotImplemented
    next_f, soft = np.empty(f.shape, dtype=f.dtype), np.empty(g.shape, dtype=f.dtype)
    value, error = (np.empty(f.shape[:-1], dtype=f.dtype) for _ in range(2))
    rho = penalties(rho_a, rho_b)
    for k in np.ndindex(value.shape):
        ak, bk, fk, gk = (plain(x[k]) for x in (a, b, f, g))
        width = float(epsilon) * float(scale[k])
        member = (source_of(cost, k), ak, bk, width, rho[0], rho[1], fk, gk, next_f[k], soft[k])
        value[k], error[k] = look(*member, WINDOWS[f.dtype])
    return next_f, soft, value, error


# ---------------------------------------------------------------------------------------------------------------------
# The sparse Newton system


@njit(fastmath=CALLER, cache=True)
def exponents(cost, inverse, columns, here, out):  # type: ignore[no-untyped-def]
    for j in range(cost.size):
        out[j] = columns[j] - cost[j] * inverse + here


@njit(cache=True)
def gather_larger(x, limit, start, indices, data):  # type: ignore[no-untyped-def]
    """Append the entries of `x` above `limit`; most groups of them hold none, which a register tells at once."""
    end = start
    whole = x.size - x.size % GROUP
    for first in range(0, whole, GROUP):
        count = 0
        for j in range(first, first + GROUP):
            count += x[j] > limit
        if count:
            for j in range(first, first + GROUP):
                indices[end] = j
                data[end] = x[j]
                end += x[j] > limit
    for j in range(whole, x.size):
        if x[j] > limit:
            indices[end] = j
            data[end] = x[j]
            end += 1
    return end


@njit(fastmath=CALLER, cache=True)
def exp_all(x):  # type: ignore[no-untyped-def]
    for k in range(x.size):
        x[k] = exp(x[k])


@njit(cache=True)
def fill(source, a, epsilon, rows, columns, limit, first, indptr, indices, data):  # type: ignore[no-untyped-def]
    """Rows of W_ij = P_ij/(P 1)_i > theta from `first` on, until the storage is full; the row where that happens."""
    n, m = rows.size, columns.size
    inverse = columns.dtype.type(1.0 / epsilon)
    limit = columns.dtype.type(limit)
    buffer, x = np.empty_like(columns), np.empty_like(columns)
    for i in range(first, n):
        end = indptr[i]
        if a[i] > 0.0:
            if end + m > data.size:
                return i
            exponents(row(source, i, buffer), inverse, columns, rows[i], x)
            end = gather_larger(x, limit, end, indices, data)
            exp_all(data[indptr[i] : end])
        indptr[i + 1] = end
    return n


def sparse_rows(source: Any, a: Any, epsilon: float, rows: Any, columns: Any, theta: float) -> Any:
    """The kept entries by compressed rows; storage grows as it is found to be too small."""
    n, m = rows.size, columns.size
    indptr = np.zeros(n + 1, dtype=np.int64)
    size = 16 * (n + m)
    indices, data = np.empty(size, dtype=np.uint32), np.empty(size, dtype=columns.dtype)
    first = 0
    while True:
        first = fill(source, a, epsilon, rows, columns, math.log(theta), first, indptr, indices, data)
        if first == n:
            return indptr, indices, data
        found = indptr[first] * (n / max(first, 1))  # as many again in the rows to come
        size = min(int(1.1 * found) + size, n * m) + m
        for old in (indices, data):
            old.resize(size, refcheck=False)


@njit(fastmath=CALLER, cache=True)
def row_product(indices, data, v):  # type: ignore[no-untyped-def]
    total = data.dtype.type(0.0)
    for k in range(data.size):
        total += data[k] * v[indices[k]]
    return total


@njit(fastmath=CALLER, cache=True)
def subtract_row(indices, data, scale, out):  # type: ignore[no-untyped-def]
    for k in range(data.size):
        out[indices[k]] -= scale * data[k]


@njit(cache=True)
def multiply(indptr, indices, data, q, diagonal, v, out):  # type: ignore[no-untyped-def]
    """(diag(d) - W^T diag(q) W) v."""
    for j in range(v.size):
        out[j] = diagonal[j] * v[j]
    for i in range(q.size):
        start, end = indptr[i], indptr[i + 1]
        if end > start:
            some, values = indices[start:end], data[start:end]
            subtract_row(some, values, q[i] * row_product(some, values, v), out)


@njit(fastmath=CALLER, cache=True)
def dot(u, v):  # type: ignore[no-untyped-def]
    total = 0.0
    for j in range(u.size):
        total += u[j] * v[j]
    return total


@njit(fastmath=CALLER, cache=True)
def size_of(u):  # type: ignore[no-untyped-def]
    total = 0.0
    for j in range(u.size):
        total += abs(u[j])
    return total


@njit(cache=True)
def solve(indptr, indices, data, q, diagonal, jacobi, rhs, goal, most, x):  # type: ignore[no-untyped-def]
    """Conjugate gradients until the L1 norm of the residual is at most `goal`; the steps taken."""
    residual = rhs.copy()
    direction = residual / jacobi
    image = np.empty_like(rhs)
    square = dot(residual, direction)
    steps = 0
    while steps < most and size_of(residual) > goal:
        multiply(indptr, indices, data, q, diagonal, direction, image)
        curvature = dot(direction, image)
        if not curvature > 0.0:
            break
        alpha = square / curvature
        for j in range(x.size):
            x[j] += alpha * direction[j]
            residual[j] -= alpha * image[j]
        before, square = square, 0.0
        for j in range(x.size):
            square += residual[j] * residual[j] / jacobi[j]
        beta = square / before
        for j in range(x.size):
            direction[j] = residual[j] / jacobi[j] + beta * direction[j]
        steps += 1
    return steps


@njit(cache=True)
def subtract_squares(indptr, indices, data, q, out):  # type: ignore[no-untyped-def]
    for i in range(q.size):
        for k in range(indptr[i], indptr[i + 1]):
            out[indices[k]] -= q[i] * data[k] * data[k]


def newton_direction(
    cost: Any,
    epsilon: Any,
    scale: Any,
    soft_f: Any,
    g: Any,
    b: Any,
    q: Any,
    diagonal: Any,
    rhs: Any,
    theta: Any,
    goal: Any,
    *,
    max_steps: int,
) -> tuple[Any, Any, Any]:
    """Override of ``transport.newton_direction``."""
    dtype = g.dtype
    if dtype not in WINDOWS:
        return NotImplemented
    direction = np.zeros(g.shape, dtype=dtype)
    steps, kept = np.zeros(goal.shape, dtype=dtype), np.zeros(goal.shape, dtype=dtype)
    with np.errstate(divide="ignore"):
        log_b = np.log(b)
    for k in np.ndindex(goal.shape):
        if size_of(rhs[k]) <= goal[k]:
            continue
        width = float(epsilon) * float(scale[k])
        rows, columns = (soft_f[k] / width).astype(dtype), (g[k] / width + log_b[k]).astype(dtype)
        weights = plain(q[k])
        indptr, indices, data = sparse_rows(source_of(cost, k), weights, width, rows, columns, float(theta[k]))
        kept[k] = indptr[-1] / (rows.size * columns.size)
        jacobi = np.array(diagonal[k])
        subtract_squares(indptr, indices, data, weights, jacobi)
        jacobi = np.maximum(jacobi, FLOORS[dtype] * diagonal[k])
        jacobi[diagonal[k] == 0.0] = 1.0
        system = (indptr, indices, data, weights, plain(diagonal[k]), jacobi)
        steps[k] = solve(*system, plain(rhs[k]), float(goal[k]), max_steps, direction[k])
    return direction, steps, kept
