"""numba kernel of variance-reduced Halpern iteration: all steps from one refresh to the next in one compiled call.

Each step is one pass over the vectors (anchor, step, resolvent), and a pass over the sampled rows. Elementwise passes
are compiled without fastmath, so that without sampling the numbers are those of the deterministic method, bit for bit.

Robust regression has as many unknowns as rows, and a step samples few of them. Where the resolvent leaves them alone,
an entry that was not sampled obeys a recursion with known coefficients: with W_k = (k+2)(k+3), W_k y_k grows by
(W_{k+1} - W_k) times the anchor less a known weight times its g. So it is moved on only when it is sampled, and once
at the end: a step costs what it reads.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np

from equipoise.monotone.page import PageState, prepared, rescued
from equipoise.monotone.residuals import residual
from equipoise.monotone.resolvents import Identity
from equipoise.record import plain, rebuild

from .compiled import njit
from .estimators import ROBUST, Sum, add_difference, add_rows, dot, sum_of
from .resolvent_table import Table, Unknown, begins_with, frozen, gap, number, resolve, table_of
from .sampling import Words, samples, wait, words_of
from .simplex import INSIDE

__all__ = ["Made", "made_of", "page_chunk"]

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
INNER = {"inner": True, "scaled": False}


class Made(NamedTuple):
    """What a solve's compiled calls share."""

    summed: Sum
    table: Table
    first: Table | None  # of the unknowns x of robust regression, where the resolvent leaves y alone
    words: Words


_made: weakref.WeakKeyDictionary[Any, Made | None] = (
    weakref.WeakKeyDictionary()
)  # by task: one lives as long as a solve


def made_of(task: Any, d: int, dtype: Any) -> Made | None:
    """The tables of a task, or None where the portable body has to run."""
    if task not in _made:
        _made[task] = tables(task, d, dtype)
    return _made[task]


def tables(task: Any, d: int, dtype: Any) -> Made | None:
    if dtype not in FLOATS:
        return None
    try:
        summed, table = sum_of(plain(task.summed), d, dtype), table_of(plain(task.resolvent), d, dtype)
    except Unknown:
        return None
    first = begins_with(table, summed.A.shape[1]) if summed.kind == ROBUST else None
    return Made(summed, table, first, words_of(task.draws))


# ---------------------------------------------------------------------------------------------------------------------
# Compiled steps


@njit(cache=True, **INSIDE)
def anchored(anchor, u, g, k, step, inner, out):  # type: ignore[no-untyped-def]
    """What the resolvent is applied to, and its step."""
    share = out.dtype.type(2.0 / (k + 4.0))
    rest, e = out.dtype.type(1.0) - share, out.dtype.type(step)
    if inner:
        for i in range(out.size):
            out[i] = share * anchor[i] + rest * u[i] - e * g[i]
        return e
    for i in range(out.size):
        out[i] = share * anchor[i] + rest * (u[i] - e * g[i])
    return rest * e


@njit(cache=True)
def dense_steps(summed, table, idx, anchor, u, g, k, step, inner):  # type: ignore[no-untyped-def]
    """The point after all steps, of which each but the last one has a sample."""
    u, g, new = u.copy(), g.copy(), np.empty_like(u)
    scratch, work = np.empty_like(u), np.empty((2, idx.shape[1]), dtype=u.dtype)
    for j in range(idx.shape[0] + 1):
        length = anchored(anchor, u, g, k + j, step, inner, new)
        resolve(table, new, length, scratch)
        if j < idx.shape[0]:
            add_difference(summed, new, u, idx[j], 1.0, g, work)
        u, new = new, u
    return u


@njit(cache=True, **INSIDE)
def lazily(y, a, slope, low, high, weights, sums):  # type: ignore[no-untyped-def]
    """An entry that was y at step `low` of the chunk, at step `high`; `slope` is e g."""
    before, after = weights[low], weights[high]
    return (before * y + (after - before) * a - (sums[high] - sums[low]) * slope) / after


@njit(cache=True)
def lazy_steps(summed, table, idx, anchor, u, g, k, step, inner):  # type: ignore[no-untyped-def]
    """The same for robust regression without a resolvent of y."""
    kept, d, n, steps = u.dtype.type, summed.A.shape[1], summed.n, idx.shape[0] + 1
    weights, sums = np.empty(steps + 1), np.zeros(steps + 1)
    for j in range(steps + 1):
        weights[j] = (k + j + 2.0) * (k + j + 3.0)
    for j in range(steps):
        sums[j + 1] = sums[j] + (weights[j + 1] if inner else weights[j])
    x, gx, new, change = u[:d].copy(), g[:d].copy(), np.empty(d, dtype=u.dtype), np.empty(d, dtype=u.dtype)
    out, gy, a = u.copy(), g[d:].copy(), anchor[d:]
    y = out[d:]
    at, last = np.zeros(n, dtype=np.int32), np.zeros(n, dtype=u.dtype)  # the step that y holds for, and its change
    pull, scale = np.empty(idx.shape[1], dtype=u.dtype), n / idx.shape[1]
    for j in range(steps):
        length = anchored(anchor[:d], x, gx, k + j, step, inner, new)
        resolve(table, new, length, change)
        if j < steps - 1:
            for i in range(d):
                change[i] = new[i] - x[i]
            for r in range(idx.shape[1]):
                i = idx[j, r]
                if at[i] <= j:  # not yet in this sample
                    old = lazily(y[i], a[i], step * gy[i], at[i], j, weights, sums)
                    y[i] = lazily(old, a[i], step * gy[i], j, j + 1, weights, sums)
                    at[i], last[i] = j + 1, kept(y[i] - old)
                image = dot(summed.A[i], change)
                pull[r] = kept(scale * (image - last[i]))
                gy[i] += kept(scale * (image + summed.number * last[i]))
            add_rows(summed.A, idx[j], pull, gx)
        x, new = new, x
    for i in range(d):
        out[i] = x[i]
    for i in range(n):
        y[i] = lazily(y[i], a[i], step * gy[i], at[i], steps, weights, sums)
    return out


# ---------------------------------------------------------------------------------------------------------------------
# The override


def unmoved(s: Any, task: Any) -> bool:
    """Whether the anchor clearly stays, and the safeguard sleeps: what is near a bound the portable body decides."""
    if not task.guarded:
        return True
    if s.error.ndim:
        return not np.any(
            (s.error <= 1.001 * task.factor * s.reference) | (s.error > 1.999 * s.reference) | (s.worse > 0)
        )
    error, reference = float(s.error), float(s.reference)
    return error > 1.001 * float(task.factor) * reference and error <= 1.999 * reference and not s.worse > 0


def page_chunk(state: Any, task: Any, limit: Any, tol: Any) -> Any:
    """Override of ``monotone.page_chunk``, for shipped sums with shipped resolvents."""
    u, limit = state.u, int(limit)
    d, dtype, batch = u.shape[-1], u.dtype, u.shape[:-1]
    made = made_of(task, d, dtype) if task.form in INNER else None
    if made is None:
        return NotImplemented
    if limit == 0:
        return state, 0, state.error
    s = state if unmoved(state, task) else prepared(state, task)
    t, refresh = latest(s.t), latest(s.number)
    count = min(wait(made.words, t, refresh, task.first), limit)
    idx = samples(made.words, made.summed.marks, made.summed.n, t, count - 1, task.draws.batch)
    steps: Any  # numba's stubs know no unpacked arguments
    steps, table = (dense_steps, made.table) if made.first is None or count == 1 else (lazy_steps, made.first)
    point = np.empty(u.shape, dtype=dtype)
    for member in np.ndindex(batch):
        vectors = (frozen(v[member], dtype) for v in (s.anchor, s.u, s.g))
        numbers = float(s.k[member]), float(s.step[member])
        point[member] = steps(made.summed, table, idx, *vectors, *numbers, INNER[task.form])
    g = plain(task.summed).full(point)
    error = np.asarray(error_of(made, task, point, g))
    better = error < s.best_error
    if not batch:
        best = (point, g, error) if better else (s.best_u, s.best_g, s.best_error)
    else:
        wide = better[..., None]
        best = (np.where(wide, point, s.best_u), np.where(wide, g, s.best_g), np.where(better, error, s.best_error))
    counters = np.asarray(s.k + dtype.type(count)), np.asarray(s.t + count), np.asarray(s.number + 1)
    data = (point, g, s.anchor, *counters, error, s.reference, s.restarts, s.step, s.worse, *best)
    s = rebuild(PageState, data, ())
    if not np.all(error <= s.reference):
        s = rescued(s, task)
    return s, count, s.error


def latest(counter: Any) -> int:
    """The count of those members that have not ended."""
    return int(np.max(counter)) if np.ndim(counter) else int(counter)


def error_of(made: Made, task: Any, u: Any, image: Any) -> Any:
    """The residual; its sum of squares is numpy's, so that it is that of the portable body bit for bit."""
    if u.ndim > 1 or image.dtype != u.dtype:
        return residual(u, image, task.resolvent, task.scale)
    if isinstance(task.resolvent, Identity):
        return np.sqrt(np.sum(image * image))
    v = gap(made.table, frozen(u, u.dtype), frozen(image, u.dtype), number(task.scale, u.dtype))
    return np.sqrt(np.sum(v * v)) / task.scale
