"""numba kernel of linear programs: the steps between two looks, each one pass over the matrix.

The dual step acts on every row alone. So four rows are multiplied with x+, their multipliers are stepped, and the same
rows, still in the cache, are added to K^T y+ with those multipliers, unless all of them are zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from equipoise.monotone.program_steps import Program, ProgramState
from equipoise.monotone.resolvents import Box
from equipoise.monotone.saddle_steps import MAPPED, MAPPED_OF, NEAR, NOW, NOW_OF, SIZE, WEIGHT
from equipoise.operators import Dense

from .compiled import njit
from .exponential import CALLER
from .games import add_row, copied, restarted, rows_of, state_of
from .program_looks import look, product

__all__ = ["program_chunk"]


@njit(fastmath=CALLER, cache=True)
def descend(block, c, lower, upper, step):  # type: ignore[no-untyped-def]
    """x+ = P(x - t (c + A^T y))."""
    x, back, out = block[NOW], block[NOW_OF], block[MAPPED]
    for i in range(out.size):
        out[i] = min(max(x[i] - step * (c[i] + back[i]), lower[i]), upper[i])


@njit(fastmath=CALLER, cache=True)
def four_products(M, i, x):  # type: ignore[no-untyped-def]
    r0, r1, r2, r3 = M[i], M[i + 1], M[i + 2], M[i + 3]
    s0 = s1 = s2 = s3 = M.dtype.type(0.0)
    for j in range(x.size):
        s0 += r0[j] * x[j]
        s1 += r1[j] * x[j]
        s2 += r2[j] * x[j]
        s3 += r3[j] * x[j]
    return s0, s1, s2, s3


@njit(fastmath=CALLER, cache=True)
def add_four(out, M, i, w):  # type: ignore[no-untyped-def]
    r0, r1, r2, r3 = M[i], M[i + 1], M[i + 2], M[i + 3]
    w0, w1, w2, w3 = w
    for j in range(out.size):
        out[j] += (w0 * r0[j] + w1 * r1[j]) + (w2 * r2[j] + w3 * r3[j])


@njit(fastmath=CALLER, cache=True)
def ascend(block, i, image, q, floor, step):  # type: ignore[no-untyped-def]
    """y+ of row i, D(y + s (q + A (2 x+ - x)))."""
    two = block.dtype.type(2.0)
    block[MAPPED_OF, i] = image
    new = max(block[NOW, i] + step * (q[i] + two * image - block[NOW_OF, i]), floor[i])
    block[MAPPED, i] = new
    return new


@njit(cache=True)
def rows_once(M, sign, x, y, q, floor, step):  # type: ignore[no-untyped-def]
    """A x+, y+ and A^T y+ for A = sign M."""
    out, new = x[MAPPED_OF], x[MAPPED]
    out[:] = 0
    m = M.shape[0]
    whole = m - m % 4
    for i in range(0, whole, 4):
        s0, s1, s2, s3 = four_products(M, i, new)
        w0 = sign * ascend(y, i, sign * s0, q, floor, step)
        w1 = sign * ascend(y, i + 1, sign * s1, q, floor, step)
        w2 = sign * ascend(y, i + 2, sign * s2, q, floor, step)
        w3 = sign * ascend(y, i + 3, sign * s3, q, floor, step)
        if w0 != 0 or w1 != 0 or w2 != 0 or w3 != 0:
            add_four(out, M, i, (w0, w1, w2, w3))
    for i in range(whole, m):
        w = sign * ascend(y, i, sign * product(M[i], new), q, floor, step)
        if w != 0:
            add_row(out, M[i], w)


@njit(error_model="numpy", cache=True)
def steps(M, vectors, factors, state, best, settings, limit, tol):  # type: ignore[no-untyped-def]
    """All steps, and the look after them."""
    first, second, numbers = state
    c, q, lower, upper, floor = vectors
    rows, columns, sizes = factors
    best_x, best_y, ray_x, ray_y, errors, codes = best
    sign, reach, shrink, equalities = settings
    kind = first.dtype.type
    for member in range(first.shape[0]):
        own = member if M.shape[0] > 1 else 0
        x, y, s = first[member], second[member], numbers[member]
        for _ in range(limit):
            t, r = NEAR / (s[WEIGHT] * s[SIZE]), NEAR * s[WEIGHT] / s[SIZE]
            descend(x, c[member], lower[member], upper[member], kind(t))
            rows_once(M[own], kind(sign), x, y, q[member], floor[member], kind(r))
            restarted(x, y, s, t, r, reach, shrink)
        kept = (best_x[member], best_y[member], ray_x[member], ray_y[member], errors[member], codes[member])
        data = (c[member], q[member], lower[member], upper[member])
        powers = (rows[member], columns[member])
        errors[member], codes[member] = look(M[own], x, y, data, powers, sign, equalities, sizes[member], kept, tol)


def fits(task: Any, batch: tuple[int, ...]) -> bool:
    """Whether the matrix is an array, alone or one a member, and the bounds are arrays."""
    K, primal, dual = task.K, task.primal, task.dual
    if not isinstance(K, Dense) or K.array.dtype not in (np.float64, np.float32):
        return False
    if K.array.shape[:-2] not in ((), batch) or not K.array.flags.c_contiguous:
        return False
    if type(primal) is not Box or type(dual) is not Box or dual.upper != np.inf:
        return False
    return all(isinstance(x, np.ndarray) for x in (primal.lower, primal.upper, dual.lower))


def spread(x: Any, batch: tuple[int, ...]) -> Any:
    """A vector a member of the batch, shape (members, d)."""
    if x.shape[:-1] != batch:
        x = np.broadcast_to(x, (*batch, x.shape[-1]))
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


def program_chunk(state: ProgramState, program: Program, limit: Any, tol: Any) -> Any:
    """Override of ``monotone.program_chunk``."""
    s, task = state.inner, program.task
    batch, n, m = s.primal.shape[:-2], s.primal.shape[-1], s.dual.shape[-1]
    if not fits(task, batch):
        return NotImplemented
    M = task.K.array.reshape(-1, m, n)
    given = (task.c, task.q, task.primal.lower, task.primal.upper, task.dual.lower)
    vectors = tuple(spread(v, batch) for v in given)
    sizes = np.stack([program.size_c, program.size_q], axis=-1).astype(np.float64).reshape(-1, 2)
    factors = (spread(program.rows, batch), spread(program.columns, batch), sizes)
    made, points = copied(s), tuple(rows_of(v, 1) for v in (state.x, state.y, state.ray_x, state.ray_y))
    errors, codes = np.array(state.error, np.float64).reshape(-1), np.array(state.code, np.int64).reshape(-1)
    settings = (float(task.sign), float(task.reach), float(task.shrink), program.equalities)
    steps(M, vectors, factors, made, (*points, errors, codes), settings, limit, float(tol))
    shapes = (state.x.shape, state.y.shape, state.ray_x.shape, state.ray_y.shape)
    x, y, ray_x, ray_y = (v.reshape(shape) for v, shape in zip(points, shapes, strict=True))
    error = errors.astype(state.error.dtype).reshape(batch)
    code = codes.astype(state.code.dtype).reshape(batch)
    return ProgramState(state_of(s, made), x, y, error, ray_x, ray_y, code), limit, error
