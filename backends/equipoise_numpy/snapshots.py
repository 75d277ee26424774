"""numba kernels of the methods with a snapshot: all steps from one full evaluation to the next in one compiled call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from equipoise.monotone.forb import event, prepared
from equipoise.monotone.vreg import moved_snapshot

from .compiled import njit
from .estimators import add_difference
from .page import made_of
from .resolvent_table import frozen, resolve
from .sampling import samples, wait

__all__ = ["forb_chunk", "vreg_chunk"]


@njit(cache=True)
def forb_steps(summed, table, idx, u, image, snapshot, v, before, c, gamma, keep):  # type: ignore[no-untyped-def]
    """The inner iterate after a step a sample."""
    kept = u.dtype.type
    constant, v, before, new = np.empty_like(u), v.copy(), before.copy(), np.empty_like(u)
    scratch, work = np.empty_like(u), np.empty((2, idx.shape[1]), dtype=u.dtype)
    share, rest, length, scale = kept(keep), kept(1.0 - keep), kept(gamma), kept(c)
    for i in range(u.size):
        constant[i] = scale * image[i] + (snapshot[i] - u[i])
    for j in range(idx.shape[0]):
        for i in range(u.size):
            centre = share * v[i] + rest * snapshot[i]
            new[i] = centre - length * (constant[i] + (v[i] - before[i]))
        add_difference(summed, v, before, idx[j], -gamma * c, new, work)
        resolve(table, new, gamma * c, scratch)
        if j == 0:
            for i in range(u.size):
                before[i] = snapshot[i]
        v, new = new, v
    return v


@njit(cache=True)
def vreg_steps(summed, table, idx, image, snapshot, z, step, keep):  # type: ignore[no-untyped-def]
    """The iterate after a step a sample."""
    kept = z.dtype.type
    z, half = z.copy(), np.empty_like(z)
    scratch, work = np.empty_like(z), np.empty((2, idx.shape[1]), dtype=z.dtype)
    share, rest, length = kept(keep), kept(1.0 - keep), kept(step)
    for j in range(idx.shape[0]):
        for i in range(z.size):
            z[i] = (share * z[i] + rest * snapshot[i]) - length * image[i]
            half[i] = z[i]
        resolve(table, half, step, scratch)
        add_difference(summed, half, snapshot, idx[j], -step, z, work)
        resolve(table, z, step, scratch)
    return z


def forb_chunk(state: Any, task: Any, limit: Any, tol: Any) -> Any:
    """Override of ``monotone.forb_chunk``, for shipped sums with shipped resolvents."""
    d, dtype, limit = state.u.shape[-1], state.u.dtype, int(limit)
    made = made_of(task, d, dtype)
    if made is None:
        return NotImplemented
    if limit == 0:
        return state, 0, state.error
    s = prepared(state, task) if np.any(state.error <= 1.001 * task.factor * state.reference) else state
    count = int(np.min(np.minimum(s.left, s.until)))
    steps, t = min(count, limit), int(np.max(s.t))
    idx = samples(made.words, made.summed.marks, made.summed.n, t, steps, task.draws.batch)
    run: Any = forb_steps  # numba's stubs know no unpacked arguments
    v = np.empty(s.v.shape, dtype=dtype)
    numbers = float(task.c), float(task.gamma), float(task.keep)
    for member in np.ndindex(v.shape[:-1]):
        vectors = (frozen(x[member], dtype) for x in (s.u, s.image, s.snapshot, s.v, s.before))
        v[member] = run(made.summed, made.table, idx, *vectors, *numbers)
    left, until, done = (np.asarray(x) for x in (s.left - steps, s.until - steps, s.t + steps))
    s = replace(s, v=v, before=s.snapshot if steps else s.before, left=left, until=until, t=done)
    if steps == count:  # else the limit came first
        s = event(s, task)
    return s, steps, s.error


def vreg_chunk(state: Any, task: Any, limit: Any, tol: Any) -> Any:
    """Override of ``monotone.vreg_chunk``, for shipped sums with shipped resolvents."""
    d, dtype, limit = state.z.shape[-1], state.z.dtype, int(limit)
    made = made_of(task, d, dtype)
    if made is None:
        return NotImplemented
    if limit == 0:
        return state, 0, state.error
    t = int(np.max(state.t))
    steps = min(wait(made.words, 0, int(np.max(state.number)), 0), limit)
    idx = samples(made.words, made.summed.marks, made.summed.n, t, steps, task.draws.batch)
    run: Any = vreg_steps
    z = np.empty(state.z.shape, dtype=dtype)
    numbers = float(task.step), float(task.keep)
    for member in np.ndindex(z.shape[:-1]):
        vectors = (frozen(x[member], dtype) for x in (state.image, state.snapshot, state.z))
        z[member] = run(made.summed, made.table, idx, *vectors, *numbers)
    s = moved_snapshot(replace(state, z=z, t=np.asarray(state.t + steps)), task)
    return s, steps, s.error
