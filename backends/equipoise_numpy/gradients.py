"""numba kernel of conjugate gradients: two passes over the vectors a step.

The first forms x += alpha p and p <- z + beta p and multiplies with the matrix, the product with p folded in; the
second forms r -= alpha A p and both of its squares, r^T r and r^T z. So alpha is used a pass later than it is known.
All is done in units of |b|, so that no square of a small or large right-hand side leaves the range of its numbers.

Around the direction on a grid there are cells of zeros, so that no cell of the grid is a special one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from equipoise.linear.cg import Flat
from equipoise.linear.sweeps import GROWTH, remember
from equipoise.operators import CSR, Stencil

from .apart import load, store
from .compiled import njit
from .eisenstat import FLOATS, back_to, number_of, of_member
from .exponential import CALLER
from .triangles import ROWWISE

__all__ = ["conjugate_gradients"]

Y, P, R, T, W, CENTER, SCALE = range(7)  # the numbers of the arrays, see apart


# ---------------------------------------------------------------------------------------------------------------------
# The parts of a step


def scaled(s: Any, i: int, x: Any, number: int) -> Any:
    """s_i x, of a number s or an array; x where s is None."""
    raise TypeError("only for use in compiled code")


@overload(scaled, prefer_literal=True)
def _scaled(s, i, x, number):  # type: ignore[no-untyped-def]
    if isinstance(s, types.NoneType):
        return lambda s, i, x, number: x
    if isinstance(s, types.Array):
        return lambda s, i, x, number: load(s, i, number) * x
    return lambda s, i, x, number: s * x


def both(w: Any, i: int, step: int, p: Any, j: int, reach: int) -> Any:
    """w_i p_{j - reach} + w_{i + step} p_{j + reach}, of a number w or an array; nothing where w is None."""
    raise TypeError("only for use in compiled code")


@overload(both)
def _both(w, i, step, p, j, reach):  # type: ignore[no-untyped-def]
    if isinstance(w, types.NoneType):
        return lambda w, i, step, p, j, reach: p.dtype.type(0.0)
    if isinstance(w, types.Array):
        return lambda w, i, step, p, j, reach: (
            load(w, i, W) * load(p, j - reach, P) + load(w, i + step, W) * load(p, j + reach, P)
        )
    return lambda w, i, step, p, j, reach: w * (load(p, j - reach, P) + load(p, j + reach, P))


@njit(fastmath=CALLER, cache=True)
def form(y, p, r, scale, o, j, count, alpha, fresh, beta):  # type: ignore[no-untyped-def]
    """y += alpha p and p <- z + beta p, for `count` numbers from o, in p from j on; the first time z counts nothing."""
    for e in range(count):
        old = load(p, j + e, P)
        store(y, o + e, load(y, o + e, Y) + alpha * old, Y)
        store(p, j + e, fresh * scaled(scale, o + e, load(r, o + e, R), SCALE) + beta * old, P)


@njit(fastmath=CALLER, cache=True)
def line(p, q, center, w, o, j, count, steps, reach):  # type: ignore[no-untyped-def]
    """q = A p along a line of a grid, and p^T q."""
    total = p.dtype.type(0.0)
    for e in range(count):
        here = load(p, j + e, P)
        new = scaled(center, o + e, here, CENTER) - both(w[2], o + e, 1, p, j + e, 1)
        new -= both(w[1], o + e, steps[1], p, j + e, reach[1]) + both(w[0], o + e, steps[0], p, j + e, reach[0])
        store(q, o + e, new, T)
        total += here * new
    return total


@njit(cache=True)
def stencil_image(matrix, work, scale, alpha, fresh, beta):  # type: ignore[no-untyped-def]
    """A layer of the direction is formed, and then the product in the layer before it, still in the cache."""
    (a, b, c), center, w, steps, reach, at = matrix
    y, p, r, q = work
    kind = r.dtype.type
    alpha, fresh, beta = kind(alpha), kind(fresh), kind(beta)
    total = 0.0
    for i in range(a + 1):
        if i < a:
            for k in range(b):
                form(y, p, r, scale, (i * b + k) * c, at + i * reach[0] + k * reach[1], c, alpha, fresh, beta)
        if i > 0:
            for k in range(b):
                o, j = ((i - 1) * b + k) * c, at + (i - 1) * reach[0] + k * reach[1]
                total += line(p, q, center, w, o, j, c, steps, reach)
    return total


@njit(fastmath=ROWWISE, cache=True)
def csr_image(matrix, work, scale, alpha, fresh, beta):  # type: ignore[no-untyped-def]
    values, columns, starts = matrix
    y, p, r, q = work
    kind = r.dtype.type
    form(y, p, r, scale, 0, 0, p.size, kind(alpha), kind(fresh), kind(beta))
    total, zero = 0.0, kind(0.0)
    end = starts[0]
    for i in range(p.size):
        begin, end = end, load(starts, i + 1, None)
        new = other = zero  # two sums wait for each other half as long
        e = begin
        while e + 1 < end:
            new += load(values, e, W) * load(p, load(columns, e, None), P)
            other += load(values, e + 1, W) * load(p, load(columns, e + 1, None), P)
            e += 2
        if e < end:
            new += load(values, e, W) * load(p, load(columns, e, None), P)
        new += other
        store(q, i, new, T)
        total += load(p, i, P) * new
    return total


def image(matrix: Any, work: Any, scale: Any, alpha: float, fresh: float, beta: float) -> float:
    """A new direction p, q = A p, and p^T q."""
    raise TypeError("only for use in compiled code")


@overload(image)
def _image(matrix, work, scale, alpha, fresh, beta):  # type: ignore[no-untyped-def]
    if isinstance(matrix[0], types.BaseTuple):
        return lambda matrix, work, scale, alpha, fresh, beta: stencil_image(matrix, work, scale, alpha, fresh, beta)
    return lambda matrix, work, scale, alpha, fresh, beta: csr_image(matrix, work, scale, alpha, fresh, beta)


@njit(fastmath=CALLER, cache=True)
def reduce_block(r, q, scale, begin, end, alpha):  # type: ignore[no-untyped-def]
    total = square = r.dtype.type(0.0)
    for i in range(begin, end):
        new = load(r, i, R) - alpha * load(q, i, T)
        store(r, i, new, R)
        total += new * new
        square += scaled(scale, i, new * new, SCALE)
    return total, square


@njit(cache=True)
def reduce(r, q, scale, alpha):  # type: ignore[no-untyped-def]
    """r -= alpha q; r^T r and r^T z. Blocks are summed in the array's precision, their sums in double."""
    total = square = 0.0
    alpha = r.dtype.type(alpha)
    for begin in range(0, r.size, 1024):
        more = reduce_block(r, q, scale, begin, min(begin + 1024, r.size), alpha)
        total += more[0]
        square += more[1]
    return total, square


@njit(cache=True)
def steps(matrix, work, scale, scalars, limit, tol):  # type: ignore[no-untyped-def]
    """Up to `limit` steps in place, y the change of x; how many there were. `scalars`: square, curvature, error, and
    the error above which all is lost.
    """
    square, curvature, error, lost = scalars
    _, _, r, q = work
    alpha, fresh, beta = 0.0, 0.0, 1.0
    done = 0
    while done < limit and error > tol:
        new = image(matrix, work, scale, alpha, fresh, beta)
        if not curvature <= 0.0:
            curvature = 1.0 if square == 0.0 else (square if square < 0.0 else new)
        alpha = square / curvature if curvature > 0.0 else 0.0
        total, after = reduce(r, q, scale, alpha)
        beta = after / square if square > 0.0 else 0.0
        square, fresh, error = after, 1.0, math.sqrt(total)
        done += 1
        if curvature <= 0.0 or not error <= lost:
            break
    scalars[0], scalars[1], scalars[2] = square, curvature, error
    image(matrix, work, scale, alpha, fresh, beta)  # forms what the last step left to form
    return done


# ---------------------------------------------------------------------------------------------------------------------
# The override


def padded(grid: tuple[int, int, int]) -> tuple[tuple[int, int], int, int]:
    """For a grid inside cells of zeros: the distances of neighbours, the place of the first cell, and the length."""
    a, b, c = grid
    rows = b + 2 if b > 1 else 1
    across = c + 1  # the zero behind a line is the one before the next, too
    layer = rows * across
    return (layer, across), layer + (across if b > 1 else 0) + 1, (a + 2) * layer + 2


def stencil_of(A: Any, batch: tuple[int, ...], k: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """The numbers of member k of a stencil, and an empty direction with its inner part."""
    d = len(A.grid)
    grid = tuple(A.grid) if d == 3 else ((1, 1, A.grid[0]) if d == 1 else (A.grid[0], 1, A.grid[1]))
    a, b, c = grid
    reach, at, length = padded(grid)
    p = np.zeros(length, dtype=dtype)
    inner = np.lib.stride_tricks.as_strided(p[at:], grid, (reach[0] * p.itemsize, reach[1] * p.itemsize, p.itemsize))
    center, faces = member_of(A.center, A.grid, batch, k), [member_of(w, A.grid, batch, k) for w in A.faces]
    axes = ((2,), (0, 2), (0, 1, 2))[d - 1]
    w: list[Any] = [None, None, None]
    if all(np.ndim(x) == 0 for x in (center, *faces)):
        for axis, face in zip(axes, faces, strict=True):
            w[axis] = dtype.type(face) if grid[axis] > 1 or axis == 2 else None
        return (grid, dtype.type(center), tuple(w), (b * c, c), reach, at), (p, inner)
    for axis, face in zip(axes, faces, strict=True):
        if grid[axis] == 1 and axis != 2:
            continue
        flat = np.zeros((a + 1) * b * c + 1, dtype=dtype)
        cells = flat[: a * b * c].reshape(grid)
        if grid[axis] > 1:
            cells[(slice(None),) * axis + (slice(1, None),)] = face if np.ndim(face) == 0 else spread(face, d)
        w[axis] = flat
    full = np.ascontiguousarray(np.broadcast_to(center if np.ndim(center) == 0 else spread(center, d), grid))
    return (grid, full.reshape(-1), tuple(w), (b * c, c), reach, at), (p, inner)


def spread(x: Any, d: int) -> Any:
    """The numbers of a grid of d axes on one of three."""
    return x if d == 3 else (x[None, None] if d == 1 else x[:, None])


def member_of(x: Any, grid: tuple[int, ...], batch: tuple[int, ...], k: tuple[int, ...]) -> Any:
    x = np.asarray(x)
    if x.ndim <= len(grid):
        return x
    return np.broadcast_to(x, (*batch, *x.shape[x.ndim - len(grid) :]))[k]


def matrix_of(A: Any, batch: tuple[int, ...], k: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """What the compiled steps take in the place of A, and room for a direction."""
    if isinstance(A, Stencil):
        return stencil_of(A, batch, k, dtype)
    p = np.empty(A.shape[0], dtype=dtype)
    indices, indptr = (np.ascontiguousarray(x) for x in (A.indices, A.indptr))
    return (of_member(A.data, batch, k), indices, indptr), (p, p)


def conjugate_gradients(state: Any, task: Any, limit: Any, tol: Any) -> Any:
    """Override of ``linear.cg``: for sparse matrices and stencils, with the diagonal at most as a preconditioner.

    Products with a dense matrix are left to the library that does them best.
    """
    A = task.A.A if isinstance(task.A, Flat) else task.A
    if task.M is not None or not isinstance(A, (CSR, Stencil)) or state.x.dtype not in FLOATS:
        return NotImplemented
    state, batch = remember(state), state.x.shape[:-1]
    limit, tol, dtype = int(limit), float(tol), state.x.dtype
    if limit == 0:  # a state knows its error
        return state, np.zeros(batch, dtype=np.int64), state.error
    x, residual, direction = (np.empty_like(v) for v in (state.x, state.residual, state.direction))
    square, curvature, error = (np.array(v) for v in (state.square, state.curvature, state.error))
    done = np.zeros(batch, dtype=np.int64)
    for k in np.ndindex(batch):
        size = number_of(task.size, batch, k)
        r = np.ascontiguousarray(state.residual[k] / dtype.type(size))
        matrix, (p, inner) = matrix_of(A, batch, k, dtype)
        np.divide(state.direction[k].reshape(inner.shape), dtype.type(size), out=inner)
        work = (np.zeros(r.shape, dtype=dtype), p, r, np.empty(r.shape, dtype=dtype))
        scale = None if task.scale is None else of_member(np.broadcast_to(task.scale, state.x.shape), batch, k)
        lost = GROWTH * float(state.best_error[k])
        scalars = np.array([float(v[k]) / size / size for v in (square, curvature)] + [float(error[k]), lost])
        done[k] = steps(matrix, work, scale, scalars, limit, tol)
        np.multiply(work[0], dtype.type(size), out=x[k])
        x[k] += state.x[k]
        np.multiply(r, dtype.type(size), out=residual[k])
        np.multiply(inner.reshape(-1), dtype.type(size), out=direction[k])
        if done[k]:
            square[k], curvature[k], error[k] = scalars[0] * size * size, back_to(scalars[1], size, dtype), scalars[2]
    made = {"x": x, "residual": residual, "direction": direction, "square": square}
    return replace(state, **made, curvature=curvature, error=error), done, error
