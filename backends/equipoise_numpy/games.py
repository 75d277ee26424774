"""numba kernel of matrix games: the steps between two looks, and the look.

Strategies are sparse: a product with one is the sum of those rows of A, or of a stored transpose, that are played.
Eight rows at a time are added, so that the sum is read and written once for eight.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from equipoise.monotone.matrix_game import GameState
from equipoise.monotone.resolvents import Simplex
from equipoise.monotone.saddle_steps import (
    ANCHOR,
    ANCHOR_OF,
    FALLEN,
    FIRST,
    LAST,
    LEAST,
    LITTLE,
    MAPPED,
    MAPPED_OF,
    MARGIN,
    MET,
    MOVE,
    MUCH,
    NEAR,
    NOW,
    NOW_OF,
    RAISE,
    RESTARTS,
    ROUNDING,
    SHARE,
    SIZE,
    WEIGHT,
    J,
    SaddleState,
)
from equipoise.monotone.saddle_steps import K as STEPS
from equipoise.operators import Dense

from .compiled import njit
from .exponential import CALLER
from .simplex import simplex_row

__all__ = ["add_row", "copied", "game_chunk", "restarted", "rows_of", "state_of"]


@njit(fastmath=CALLER, cache=True)
def add_eight(out, M, rows, weights, o):  # type: ignore[no-untyped-def]
    r0, r1, r2, r3 = M[rows[o]], M[rows[o + 1]], M[rows[o + 2]], M[rows[o + 3]]
    r4, r5, r6, r7 = M[rows[o + 4]], M[rows[o + 5]], M[rows[o + 6]], M[rows[o + 7]]
    w0, w1, w2, w3 = weights[o], weights[o + 1], weights[o + 2], weights[o + 3]
    w4, w5, w6, w7 = weights[o + 4], weights[o + 5], weights[o + 6], weights[o + 7]
    for j in range(out.size):
        left = (w0 * r0[j] + w1 * r1[j]) + (w2 * r2[j] + w3 * r3[j])
        out[j] += left + ((w4 * r4[j] + w5 * r5[j]) + (w6 * r6[j] + w7 * r7[j]))


@njit(fastmath=CALLER, cache=True)
def add_row(out, row, weight):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] += weight * row[j]


@njit(cache=True)
def combine(out, M, x, rows, weights):  # type: ignore[no-untyped-def]
    """out = sum of x_i M_i over the x_i that are not zero."""
    count = 0
    for i in range(x.size):
        rows[count], weights[count] = i, x[i]
        count += x[i] != 0
    out[:] = 0
    whole = count - count % 8
    for o in range(0, whole, 8):
        add_eight(out, M, rows, weights, o)
    for o in range(whole, count):
        add_row(out, M[rows[o]], weights[o])


@njit(fastmath=CALLER, cache=True)
def descend(block, c, step):  # type: ignore[no-untyped-def]
    """x - t (c + A^T y)."""
    x, back, out = block[NOW], block[NOW_OF], block[MAPPED]
    for i in range(out.size):
        out[i] = x[i] - step * (c[i] + back[i])


@njit(fastmath=CALLER, cache=True)
def ascend(block, q, step):  # type: ignore[no-untyped-def]
    """y + s (q + A (2 x+ - x))."""
    y, old, new, out = block[NOW], block[NOW_OF], block[MAPPED_OF], block[MAPPED]
    two = block.dtype.type(2.0)
    for i in range(out.size):
        out[i] = y[i] + step * (q[i] + two * new[i] - old[i])


@njit(fastmath=CALLER, cache=True)
def norms(block):  # type: ignore[no-untyped-def]
    """T z - z; of its squares the sum, of its products with the difference of images, and of the images' squares."""
    square = cross = new_size = old_size = 0.0
    old, new, old_image, new_image, move = block[NOW], block[MAPPED], block[NOW_OF], block[MAPPED_OF], block[MOVE]
    for i in range(old.size):
        d = new[i] - old[i]
        move[i] = d
        square += d * d
        cross += d * (new_image[i] - old_image[i])
        new_size += new_image[i] * new_image[i]
        old_size += old_image[i] * old_image[i]
    return square, cross, math.sqrt(new_size) + math.sqrt(old_size)


@njit(fastmath=CALLER, cache=True)
def onward(block, share):  # type: ignore[no-untyped-def]
    """The next iterate: the reflected point, drawn towards the anchor."""
    now, anchor, mapped = block[NOW], block[ANCHOR], block[MAPPED]
    now_of, anchor_of, mapped_of = block[NOW_OF], block[ANCHOR_OF], block[MAPPED_OF]
    kind = block.dtype.type
    a, b = kind(share), kind(1.0 - share)
    two = kind(2.0) * b
    for i in range(now.size):
        now[i] = a * anchor[i] + (two * mapped[i] - b * now[i])
        now_of[i] = a * anchor_of[i] + (two * mapped_of[i] - b * now_of[i])


@njit(fastmath=CALLER, cache=True)
def distance(block):  # type: ignore[no-untyped-def]
    """How far T z is from the anchor."""
    total = 0.0
    anchor, mapped = block[ANCHOR], block[MAPPED]
    for i in range(anchor.size):
        d = mapped[i] - anchor[i]
        total += d * d
    return math.sqrt(total)


@njit(cache=True, error_model="numpy")
def restarted(first, second, s, t, r, reach, shrink):  # type: ignore[no-untyped-def]
    """The metric, and the next iterate and numbers: those of a restart where it tells."""
    eps = np.finfo(first.dtype).eps
    dx, _, _ = norms(first)
    dy, cross, size = norms(second)
    parts = dx / t + dy / r
    square = parts - 2.0 * cross
    doubt = ROUNDING * eps * (parts + 2.0 * math.sqrt(dy) * size)
    if parts > 0.0:
        s[MET] = max(s[MET], (2.0 * abs(cross) + doubt) / parts)
    metric = math.sqrt(max(square, 0.0)) if square == square else square
    if s[J] == 0:
        s[FIRST] = metric
    small = 2.0 * cross > (1.0 if s[J] < LEAST else NEAR) * parts + doubt
    due = metric <= MUCH * s[FIRST] or (metric <= LITTLE * s[FIRST] and metric > s[LAST])
    due = due or s[J] >= SHARE * s[STEPS] + LEAST
    again = due and s[J] > 0
    if again:
        if reach > 1.0 and metric <= FALLEN * s[FIRST]:
            far_x, far_y = distance(first), distance(second)
            if far_x > eps and far_y > eps:
                weight = math.exp(0.5 * math.log(far_y / far_x) + 0.5 * math.log(s[WEIGHT]))
                s[WEIGHT] = min(max(weight, 1.0 / reach), reach)
        for block in (first, second):
            block[NOW], block[NOW_OF] = block[MAPPED], block[MAPPED_OF]
            block[ANCHOR], block[ANCHOR_OF] = block[MAPPED], block[MAPPED_OF]
    else:
        onward(first, 1.0 / (s[J] + 2.0))
        onward(second, 1.0 / (s[J] + 2.0))
    s[J] = 0.0 if again else s[J] + 1.0
    s[STEPS] += 1.0
    s[LAST] = metric
    if small:
        s[SIZE] *= min(max(s[MET], RAISE), 2.0)
    elif again:
        s[SIZE] *= min(max(MARGIN * s[MET], shrink), 1.0)
    if again:
        s[MET] = 0.0
    s[RESTARTS] += again


@njit(cache=True)
def look(x, y, bounds, best_x, best_y):  # type: ignore[no-untyped-def]
    """Whether T z guarantees more, to either player, than what was known."""
    lower, upper = np.min(x[MAPPED_OF]), np.max(y[MAPPED_OF])
    if lower > bounds[0]:
        bounds[0] = lower
        best_y[:] = y[MAPPED]
    if upper < bounds[1]:
        bounds[1] = upper
        best_x[:] = x[MAPPED]


@njit(cache=True, error_model="numpy")
def steps(matrices, constants, state, best, radii, reach, shrink, limit):  # type: ignore[no-untyped-def]
    K, turned = matrices
    c, q = constants
    first, second, numbers = state
    best_x, best_y, bounds = best
    m, n = K.shape[1:]
    kind = first.dtype.type
    scratch, weights = np.empty(max(m, n), first.dtype), np.empty(max(m, n) + 1, first.dtype)
    rows = np.empty(max(m, n) + 1, np.int64)
    for member in range(first.shape[0]):
        own = member if K.shape[0] > 1 else 0
        x, y, s = first[member], second[member], numbers[member]
        for _ in range(limit):
            t, r = NEAR / (s[WEIGHT] * s[SIZE]), NEAR * s[WEIGHT] / s[SIZE]
            descend(x, c[member], kind(t))
            simplex_row(x[MAPPED], radii[0], scratch)
            combine(y[MAPPED_OF], turned[own], x[MAPPED], rows, weights)
            ascend(y, q[member], kind(r))
            simplex_row(y[MAPPED], radii[1], scratch)
            combine(x[MAPPED_OF], K[own], y[MAPPED], rows, weights)
            restarted(x, y, s, t, r, reach, shrink)
        look(x, y, bounds[member], best_x[member], best_y[member])


def fits(task: Any, batch: tuple[int, ...]) -> bool:
    """Whether the matrix is an array, alone or one a member, with its transpose beside it."""
    K, turned = task.K, task.turned
    if not isinstance(K, Dense) or turned is None or K.array.dtype not in (np.float64, np.float32):
        return False
    if not all(type(p) is Simplex and isinstance(p.radius, (int, float)) for p in (task.primal, task.dual)):
        return False
    return K.array.shape[:-2] in ((), batch) and K.array.flags.c_contiguous and turned.flags.c_contiguous


def rows_of(x: Any, axes: int) -> Any:
    """A copy of x, the axes of the batch made one."""
    return np.array(x, order="C").reshape(-1, *x.shape[x.ndim - axes :])


def copied(s: SaddleState) -> tuple[Any, Any, Any]:
    """The arrays of a state, for a kernel to write; its numbers in double precision."""
    return rows_of(s.primal, 2), rows_of(s.dual, 2), rows_of(s.numbers, 1).astype(np.float64)


def state_of(s: SaddleState, made: tuple[Any, Any, Any]) -> SaddleState:
    """The state that was made of s."""
    first, second, numbers = made
    return SaddleState(
        first.reshape(s.primal.shape),
        second.reshape(s.dual.shape),
        numbers.astype(s.numbers.dtype, copy=False).reshape(s.numbers.shape),
    )


def game_chunk(state: GameState, task: Any, limit: Any, tol: Any) -> Any:
    """Override of ``monotone.game_chunk``."""
    s = state.inner
    batch = s.primal.shape[:-2]
    if not fits(task, batch):
        return NotImplemented
    matrices = tuple(M.reshape(-1, *M.shape[-2:]) for M in (task.K.array, task.turned))
    made = copied(s)
    bounds = np.stack([state.lower, state.upper], axis=-1).reshape(-1, 2)
    best = (rows_of(state.x, 1), rows_of(state.y, 1), bounds)
    constants = tuple(v.reshape(-1, v.shape[-1]) for v in (task.c, task.q))
    steps(matrices, constants, made, best, (task.primal.radius, task.dual.radius), task.reach, task.shrink, limit)
    x, y = best[0].reshape(state.x.shape), best[1].reshape(state.y.shape)
    lower, upper = bounds[:, 0].reshape(batch), bounds[:, 1].reshape(batch)
    return GameState(state_of(s, made), x, y, lower, upper), limit, np.asarray(upper - lower)
