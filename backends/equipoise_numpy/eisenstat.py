"""numba kernels of conjugate gradients with a symmetric sweep: three passes a step, of which two solve.

All is done in coordinates in which D/omega is 1, so that diagonals and K = 2 - omega are numbers, and in units of |b|,
so that squares of small and large residuals stay in the range of their numbers. A step goes once up and twice down
through the matrix: up, p <- K r + beta p and t = (1 + U)^{-1} p; down, q = t + (1 + L)^{-1} (p - K t) in the place of
t, and p^T q; down again, r <- r - alpha q, and the squares of r and of (1 + L) r, the residual. x is not updated at
all: the sum of alpha p is, and (1 + U)^{-1} of that is the change of x, one solve a chunk. The passes are in `levels`
for stencils and in `triangles` for matrices by rows.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from equipoise.linear.eisenstat import SSORState
from equipoise.linear.sweeps import GROWTH, norm, remember

from .apart import load, store
from .compiled import njit
from .exponential import CALLER
from .levels import (
    DIRECTION,
    OLD,
    RESIDUAL,
    SCALE,
    P,
    R,
    T,
    X,
    Y,
    run_starts,
    scaled_weights,
    stencil_back,
    stencil_forward,
    stencil_update,
)
from .triangles import csr_back, csr_forward, csr_update, scaled_entries, solve_rows

__all__ = ["FLOATS", "back_to", "number_of", "of_member", "ssor_begin", "ssor_cg"]

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


# ---------------------------------------------------------------------------------------------------------------------
# Steps


def back(matrix: Any, work: Any, alpha: float, k: float, beta: float) -> None:
    """y += alpha p, p <- k r + beta p, t = (1 + U)^{-1} p."""
    raise TypeError("only for use in compiled code")


def forward(matrix: Any, work: Any, k: float) -> float:
    """t += (1 + L)^{-1} (p - k t), and p^T t of the new t."""
    raise TypeError("only for use in compiled code")


def update(matrix: Any, work: Any, alpha: float, low: float, high: float) -> tuple[float, float]:
    """r -= alpha t, its square, and that of the residual; where the first lies between `low` and `high`, the other one
    may be left out, and -1 stands for it."""
    raise TypeError("only for use in compiled code")


@overload(back)
def _back(matrix, work, alpha, k, beta):  # type: ignore[no-untyped-def]
    if isinstance(matrix[0], types.BaseTuple):
        return lambda matrix, work, alpha, k, beta: stencil_back(matrix, work, alpha, k, beta)
    return lambda matrix, work, alpha, k, beta: csr_back(matrix, work, alpha, k, beta)


@overload(forward)
def _forward(matrix, work, k):  # type: ignore[no-untyped-def]
    if isinstance(matrix[0], types.BaseTuple):
        return lambda matrix, work, k: stencil_forward(matrix, work, k)
    return lambda matrix, work, k: csr_forward(matrix, work, k)


@overload(update)
def _update(matrix, work, alpha, low, high):  # type: ignore[no-untyped-def]
    if isinstance(matrix[0], types.BaseTuple):
        return lambda matrix, work, alpha, low, high: stencil_update(matrix, work, alpha)
    return lambda matrix, work, alpha, low, high: csr_update(matrix, work, alpha, low, high)


@njit(cache=True)
def steps(matrix, work, k, bounds, scalars, limit, tol):  # type: ignore[no-untyped-def]
    """Up to `limit` steps in place; t is the change of x in the end, and y the next direction. How many there were.

    `scalars` are the square, the curvature and the error, and the error above which all is lost. `bounds`: what a sum
    of squares is to be multiplied by, and between which multiples of the square of r that of the error lies.
    """
    square, curvature, error, lost = scalars
    unit, least, most = bounds
    low, high = tol * tol / least if least > 0.0 else math.inf, lost * lost / most if most > 0.0 else 0.0
    alpha, fresh, beta = 0.0, 0.0, 1.0
    done = 0
    while done < limit and error > tol:
        back(matrix, work, alpha, fresh, beta)
        new = forward(matrix, work, k)
        if not curvature <= 0.0:
            curvature = 1.0 if square == 0.0 else (square if square < 0.0 else new)
        alpha = square / curvature if curvature > 0.0 else 0.0
        done += 1
        ends = done == limit or curvature <= 0.0
        grown, total = update(matrix, work, alpha, math.inf if ends else low, high)
        beta = k * grown / square if square > 0.0 else 0.0
        square, fresh = k * grown, k
        if total == -1.0:
            continue  # the error is above tol, and all is not lost
        error = math.sqrt(total * unit)
        if curvature <= 0.0 or not error <= lost:
            break
    scalars[0], scalars[1], scalars[2] = square, curvature, error
    y, p, r, _ = work
    kind = p.dtype.type
    last, fresh, beta = kind(alpha), kind(fresh), kind(beta)
    for i in range(p.size):
        old = p[i]
        p[i] = y[i] + last * old
        y[i] = fresh * r[i] + beta * old  # the next direction
    back(matrix, work, 0.0, 0.0, 1.0)
    return done


@njit(cache=True)
def first_residual(matrix, work):  # type: ignore[no-untyped-def]
    """t = (1 + L)^{-1} p."""
    work[3][:] = 0.0
    stencil_forward(matrix, work, 0.0)


def root_at(root: Any, i: int) -> Any:
    """A number, or one of an array."""
    raise TypeError("only for use in compiled code")


@overload(root_at)
def _root_at(root, i):  # type: ignore[no-untyped-def]
    return (lambda root, i: load(root, i, SCALE)) if isinstance(root, types.Array) else (lambda root, i: root)


@njit(fastmath=CALLER, cache=True)
def enter(work, root, size, residual, direction):  # type: ignore[no-untyped-def]
    """The vectors of a state, in the kernels' coordinates."""
    y, p, r, _ = work
    zero, size = p.dtype.type(0.0), p.dtype.type(size)
    for i in range(p.size):
        here = root_at(root, i)
        store(y, i, zero, Y)
        store(p, i, load(direction, i, DIRECTION) * (here / size), P)
        store(r, i, load(residual, i, RESIDUAL) / (here * size), R)


@njit(fastmath=CALLER, cache=True)
def leave(work, root, size, old, x, residual, direction):  # type: ignore[no-untyped-def]
    """The way back: x is `old` and what t changed, and y the direction."""
    y, _, r, t = work
    size = r.dtype.type(size)
    for i in range(r.size):
        here = root_at(root, i)
        store(x, i, load(old, i, OLD) + load(t, i, T) * (here * size), X)
        store(residual, i, load(r, i, R) * (here * size), RESIDUAL)
        store(direction, i, load(y, i, Y) * (size / here), DIRECTION)


# ---------------------------------------------------------------------------------------------------------------------
# The overrides


@dataclass
class Scaled:
    """A matrix in the coordinates in which D/omega is 1, and room for the vectors.

    `root` is the inverse root of D/omega, a number or an array; see `steps` for `bounds`.
    """

    matrix: Any
    work: Any
    root: Any
    bounds: tuple[float, float, float]
    k: float


def vectors(n: int, dtype: Any) -> Any:
    """y, p, r and t: rows of one allocation, so that equal places of two of them do not fall on one line of a cache."""
    lines = -(-n * dtype.itemsize // 64)
    stride = (lines + (19 - lines) % 64) * 64 // dtype.itemsize if lines > 64 else lines * 64 // dtype.itemsize
    return np.empty((4, stride), dtype=dtype)[:, :n]


@functools.lru_cache(maxsize=8)
def starts_of(grid: tuple[int, int, int]) -> Any:
    return run_starts(grid)


def of_member(x: Any, batch: tuple[int, ...], k: tuple[int, ...]) -> Any:
    """The last axis of x that belongs to member k."""
    if x.ndim > 1:
        x = np.broadcast_to(x, (*batch, x.shape[-1]))[k]
    return np.ascontiguousarray(x)


def number_of(x: Any, batch: tuple[int, ...], k: tuple[int, ...]) -> float:
    if getattr(x, "ndim", 0) == 0:
        return float(x)
    return float(np.broadcast_to(x, batch)[k])


def prepared(task: Any, batch: tuple[int, ...], k: tuple[int, ...], n: int, dtype: Any) -> Scaled:
    omega, work = number_of(task.omega, batch, k), vectors(n, dtype)
    if task.diagonals is None:
        return scaled_rows(task.matrix, omega, batch, k, work)
    grid = (1,) * (3 - len(task.diagonals.grid)) + tuple(task.diagonals.grid)
    a, b, c = grid
    buffer = np.empty((a + 1) * (max(b, c) + 1), dtype=dtype)
    starts, center = starts_of(grid), np.asarray(task.diagonals.center)
    weights = [None] * (3 - len(task.diagonals.weights)) + [np.asarray(w) for w in task.diagonals.weights]
    if all(x is None or x.shape[-1:] != (n,) for x in (center, *weights)):
        d = number_of(center, batch, k) / omega
        pulls = tuple(None if w is None else dtype.type(number_of(w, batch, k) / d) for w in weights)
        matrix: Any = (grid, starts, pulls, None, buffer)
        return Scaled(matrix, tuple(work), dtype.type(d**-0.5), (d, 0.0, 0.0), 2.0 - omega)
    diagonal, *flat = (
        of_member(np.broadcast_to(center if x is None else x, (*batch, n)), batch, k) for x in (center, *weights)
    )
    root = np.sqrt(omega / diagonal)
    made = scaled_weights(grid, starts, root, tuple(flat))
    matrix = (grid, starts, (None if weights[0] is None else made[0], made[1], made[2]), diagonal, buffer)
    return Scaled(matrix, tuple(work), root, (1.0 / omega, 0.0, 0.0), 2.0 - omega)


def scaled_rows(rows: Any, omega: float, batch: tuple[int, ...], k: tuple[int, ...], work: Any) -> Scaled:
    diagonal = of_member(rows.diagonal, batch, k)
    root = np.sqrt(omega / diagonal)
    triangles: list[Any] = []
    for starts, columns, values in (
        (rows.place.lower_starts, rows.place.lower_columns, rows.lower),
        (rows.place.upper_starts, rows.place.upper_columns, rows.upper),
    ):
        made = np.empty(columns.size, dtype=root.dtype)
        scaled_entries(starts, columns, of_member(values, batch, k), root, made)
        triangles += [starts, columns, made]
    # The symmetric part of 1 + L is at least 1 - omega/2 if A is positive definite; its norm is at most that of its
    # entries.
    least = 0.9 * float(diagonal.min()) / omega * (1.0 - 0.5 * omega) ** 2
    most = 1.1 * float(diagonal.max()) / omega * (1.0 + float(np.dot(triangles[2], triangles[2])) ** 0.5) ** 2
    matrix = (*triangles, diagonal, np.empty_like(root))
    return Scaled(matrix, tuple(work), root, (1.0 / omega, least, most), 2.0 - omega)


def shared(task: Any) -> bool:
    """Whether one matrix serves all members of a batch."""
    if getattr(task.omega, "ndim", 0):
        return False
    if task.diagonals is None:
        return all(x.ndim == 1 for x in (task.matrix.diagonal, task.matrix.lower, task.matrix.upper))
    return all(x.ndim == 0 for x in map(np.asarray, (task.diagonals.center, *task.diagonals.weights)))


def remembered(state: Any) -> Any:
    """What `remember` makes of a state: a kernel never writes its inputs, so that one x may serve as another."""
    if state.error.ndim:
        return remember(state)
    return replace(state, best=state.x, best_error=state.error) if state.error < state.best_error else state


def length(r: Any) -> Any:
    """The norm along the last axis; the careful one where squares leave the range of their numbers."""
    squares = np.array([np.dot(v, v) for v in r.reshape(-1, r.shape[-1])], dtype=r.dtype).reshape(r.shape[:-1])
    tiny = np.finfo(r.dtype).tiny
    fine = np.all((squares > tiny / np.finfo(r.dtype).eps) & np.isfinite(squares))
    return np.sqrt(squares) if fine else norm(r)


def back_to(curvature: float, size: float, dtype: Any) -> float:
    """A curvature in the units of the caller: one that is positive stays so, however small."""
    least = float(np.finfo(dtype).tiny)
    return max(curvature * size * size, least) if curvature > 0 else curvature * size * size


def begin_rows(task: Any, batch: tuple[int, ...], k: tuple[int, ...], r: Any, residual: Any, direction: Any) -> float:
    """A residual and a direction to start with, and their product."""
    rows, omega = task.matrix, number_of(task.omega, batch, k)
    diagonal, values = of_member(rows.diagonal, batch, k), of_member(rows.lower, batch, k)
    starts, columns = rows.place.lower_starts, rows.place.lower_columns
    solve_rows(starts, columns, values, omega / diagonal, np.ascontiguousarray(r), residual)
    np.multiply(r.dtype.type(2.0 / omega - 1.0) * diagonal, residual, out=direction)
    return float(np.dot(residual, direction))


def begin_stencil(made: Scaled, size: float, r: Any, residual: Any, direction: Any) -> float:
    t, kind = made.work[T], r.dtype.type
    np.multiply(r, kind(1.0 / size) * made.root, out=made.work[P])
    first_residual(made.matrix, made.work)
    np.multiply(t, made.root * kind(size), out=residual)
    np.multiply(t, kind(made.k * size) / made.root, out=direction)
    return made.k * float(np.dot(t, t)) * size * size


def ssor_begin(x: Any, r: Any, task: Any) -> Any:
    """Override of ``linear.ssor_begin``."""
    if r.dtype not in FLOATS:
        return NotImplemented
    batch, n = r.shape[:-1], r.shape[-1]
    residual, direction = (np.empty(r.shape, dtype=r.dtype) for _ in range(2))
    square = np.empty(batch, dtype=r.dtype)
    made, once = None, shared(task)
    for k in np.ndindex(batch):
        if task.diagonals is None:
            square[k] = begin_rows(task, batch, k, r[k], residual[k], direction[k])
            continue
        made = prepared(task, batch, k, n, r.dtype) if made is None or not once else made
        square[k] = begin_stencil(made, number_of(task.size, batch, k), r[k], residual[k], direction[k])
    error = np.asarray(length(r) / task.size)
    return SSORState(x, residual, direction, square, np.ones_like(error), error, x, error)


def ssor_cg(state: Any, task: Any, limit: Any, tol: Any) -> Any:
    """Override of ``linear.ssor_cg``."""
    if state.x.dtype not in FLOATS:
        return NotImplemented
    batch, n = state.x.shape[:-1], state.x.shape[-1]
    state, limit, tol = remembered(state), int(limit), float(tol)
    done = np.zeros(batch, dtype=np.int64)
    if limit == 0:  # a state knows its error
        return state, done, state.error
    names = ("x", "residual", "direction")
    out = {name: np.empty(state.x.shape, dtype=state.x.dtype) for name in names}
    square, curvature, error = (np.array(v) for v in (state.square, state.curvature, state.error))
    made, once = None, shared(task)
    for k in np.ndindex(batch):
        made = prepared(task, batch, k, n, state.x.dtype) if made is None or not once else made
        size = number_of(task.size, batch, k)
        x, residual, direction = (np.ascontiguousarray(getattr(state, name)[k]) for name in names)
        enter(made.work, made.root, size, residual, direction)
        lost = GROWTH * float(state.best_error[k])
        scalars = np.array([float(v[k]) / size / size for v in (square, curvature)] + [float(error[k]), lost])
        done[k] = steps(made.matrix, made.work, made.k, made.bounds, scalars, limit, tol)
        leave(made.work, made.root, size, x, *(out[name][k] for name in names))
        if done[k]:
            square[k], curvature[k], error[k] = scalars[0] * size * size, back_to(scalars[1], size, x.dtype), scalars[2]
    return replace(state, **out, square=square, curvature=curvature, error=error), done, error
