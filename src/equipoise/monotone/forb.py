"""Variance-reduced Halpern iteration for sums that are merely monotone and Lipschitz: inexact resolvent steps.

Outside, Halpern's iteration of the resolvent of c (F + G), which is nonexpansive for any c: u_{k+1} = lambda_k u_0 +
(1 - lambda_k) w_k. Inside, w_k is found by the forward-reflected-backward method with a snapshot, for the strongly
monotone c F(v) + v - u_k. One chunk runs to the next event: a new snapshot, or the end of an inner loop; both evaluate
all of F, the second at u_{k+1}, where the residual then is exact.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import namespace
from ..backend import of
from ..kernel import kernel
from ..record import leaves, map_arrays, plain, record
from .anchored import moved, wider
from .draws import Draws, sampled, waiting
from .page import counter
from .residuals import residual

__all__ = ["ForbState", "ForbTask", "begin", "forb_chunk", "inner_steps"]


@record
class ForbState:
    """Vectors (..., d), numbers of the shape of the batch; counters are int32."""

    u: Any  # the outer iterate
    anchor: Any
    k: Any  # outer steps since the anchor moved
    v: Any  # the inner iterate
    snapshot: Any
    image: Any  # F(snapshot)
    before: Any  # the snapshot one step ago
    left: Any  # inner steps to come
    until: Any  # inner steps up to the next snapshot
    t: Any  # inner steps in all
    number: Any  # snapshots and ends of inner loops: full evaluations after the first
    error: Any  # at u
    reference: Any
    restarts: Any


@record
class ForbTask:
    """What a step reads: `c` of the resolvent, `gamma` the inner step, `keep` = 1 - p, the inner loop's `length`."""

    summed: Any
    resolvent: Any
    factor: Any
    scale: Any
    c: Any
    gamma: Any
    keep: Any
    length: Any
    draws: Draws
    budget: Any  # of oracle calls, or None


def inner_steps(k: Any, task: ForbTask) -> Any:
    """M_k = ceil(length log(k + 2))."""
    xp = namespace(k)
    length = xp.clip(xp.asarray(xp.ceil(task.length * xp.log(k + 2.0))), max=2.0**30)  # or whole numbers would overflow
    return xp.astype(length, xp.int32)


def begin(u0: Any, image: Any, task: ForbTask) -> ForbState:
    """The state at the start."""
    xp = namespace(u0)
    error = xp.asarray(residual(u0, image, task.resolvent, task.scale))
    zero, none = xp.zeros_like(error), counter(error)
    left, until = xp.asarray(inner_steps(zero, task)), xp.asarray(waiting(task.draws, none))
    return ForbState(u0, u0, zero, u0, u0, image, u0, left, until, none, none, error, error, zero)


def inner_step(s: ForbState, task: ForbTask, idx: Any) -> ForbState:
    """A step of the forward-reflected-backward method, from the component `idx`, shape (1,)."""
    w = s.snapshot
    e = task.c * s.image + (w - s.u)
    e = e + task.c * plain(task.summed).diff(s.v, s.before, idx) + (s.v - s.before)
    centre = task.keep * s.v + (1.0 - task.keep) * w
    v = plain(task.resolvent)(centre - task.gamma * e, task.gamma * task.c)
    return replace(s, v=v, before=w, left=s.left - 1, until=s.until - 1, t=s.t + 1)


def prepared(s: ForbState, task: ForbTask) -> ForbState:
    """Move the anchor where the residual has fallen enough."""
    xp = namespace(s.u)
    restart = xp.asarray(s.error <= task.factor * s.reference)
    return replace(
        s,
        anchor=moved(restart, s.u, s.anchor),
        k=moved(restart, xp.zeros_like(s.k), s.k),
        reference=moved(restart, s.error, s.reference),
        restarts=s.restarts + xp.astype(restart, s.restarts.dtype),
    )


def event(s: ForbState, task: ForbTask) -> ForbState:
    """The next outer iterate where an inner loop has ended, a new snapshot where one is due, all of F there."""
    xp = namespace(s.u)
    ends = xp.asarray(s.left <= 0)
    due = xp.asarray(ends | (s.until <= 0))
    share = 1.0 / (wider(s.k) + 2.0)
    point = moved(ends, share * s.anchor + (1.0 - share) * s.v, s.v)
    image = plain(task.summed).full(point)
    k = moved(ends, s.k + 1.0, s.k)
    number = xp.asarray(s.number + xp.astype(due, s.number.dtype))
    return replace(
        s,
        u=moved(ends, point, s.u),
        k=k,
        v=point,
        snapshot=moved(due, point, s.snapshot),
        image=moved(due, image, s.image),
        before=moved(ends, point, s.before),
        left=moved(ends, inner_steps(k, task), s.left),
        until=moved(due, waiting(task.draws, number), s.until),
        number=number,
        error=moved(ends, residual(point, image, task.resolvent, task.scale), s.error),
    )


@kernel("monotone.forb_chunk")
def forb_chunk(state: ForbState, task: ForbTask, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
    """The inner steps up to the next event of any member, `limit` at most."""
    if isinstance(limit, int) and limit == 0:
        return state, 0, state.error
    xp = namespace(state.u)
    s = prepared(state, task)
    count = xp.asarray(xp.min(xp.minimum(s.left, s.until)))
    if of(s.u).traced([*leaves(s), count]):
        count = xp.minimum(count, xp.asarray(limit, dtype=count.dtype))
        s = event(sampled(inner_step, s, task, count), task)
        s = map_arrays(lambda new, old: xp.where(count > 0, new, old), s, state)
        return s, count, s.error
    steps = min(int(count), int(limit))
    s = sampled(inner_step, s, task, steps)
    if steps == int(count):  # else the limit came first
        s = event(s, task)
    return s, steps, s.error
