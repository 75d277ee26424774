"""Variance-reduced Halpern iteration for cocoercive sums: an anchored step with an estimate of F(u) instead of F(u).

Between two refreshes the estimate is carried along by sampled differences (PAGE): g_k = g_{k-1} + the mean over the
sample of F_i(u_k) - F_i(u_{k-1}). At a refresh it is F(u_k) itself, the residual is exact and free, and the method may
stop, move its anchor or repent. One chunk goes from one refresh to the next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import like, namespace
from ..backend import of
from ..kernel import kernel
from ..random import mulhi
from ..record import leaves, map_arrays, plain, record, static
from .anchored import anchored, moved
from .draws import Draws, coins, sampled, waiting
from .residuals import residual

__all__ = ["PageState", "PageTask", "begin", "counter", "page_chunk"]

WORSE, TIMES = 2.0, 3  # the safeguard: a residual so many times that at the anchor, at so many refreshes running
FAR = 100.0  # or so many times at one


@record
class PageState:
    """Where a refresh has left the method: vectors (..., d), numbers of the shape of the batch; counters are int32."""

    u: Any
    g: Any  # F(u)
    anchor: Any
    k: Any  # steps since the anchor moved
    t: Any  # steps in all
    number: Any  # refreshes
    error: Any
    reference: Any  # the error where the anchor moved
    restarts: Any
    step: Any
    worse: Any  # refreshes running at which the error was far above the reference
    best_u: Any
    best_g: Any
    best_error: Any


@record
class PageTask:
    """What a step reads.

    `scale` is the a of the residual. `first` is the last step of the published schedule's first phase, in which the
    probability of a refresh falls like 4 / (k + 4); 0 where it is constant.
    """

    summed: Any
    resolvent: Any
    factor: Any
    scale: Any
    draws: Draws
    budget: Any  # of oracle calls, or None
    form: str = static()
    first: int = static(default=0)
    guarded: bool = static(default=True)


def counter(beside: Any) -> Any:
    """Zeros of the shape of the batch that count."""
    xp = namespace(beside)
    return xp.zeros(tuple(beside.shape), **{**like(beside), "dtype": xp.int32})


def begin(u0: Any, image: Any, task: PageTask, step: Any) -> PageState:
    """The state at the start, where F(u0) is known."""
    error = residual(u0, image, task.resolvent, task.scale)
    xp = namespace(u0)
    error = xp.asarray(error)
    zero, none = xp.zeros_like(error), counter(error)
    length = xp.asarray(zero + step)
    return PageState(u0, image, u0, zero, none, none, error, error, zero, length, zero, u0, image, error)


# ---------------------------------------------------------------------------------------------------------------------
# Steps


def moved_on(s: PageState, task: PageTask) -> Any:
    """The next iterate."""
    return anchored(task.form, task.resolvent, s.anchor, s.u, s.g, s.k, s.step)


def estimated(s: PageState, task: PageTask, idx: Any) -> PageState:
    """A step, and the estimate there, from the sample `idx`."""
    u = moved_on(s, task)
    return replace(s, u=u, g=s.g + plain(task.summed).diff(u, s.u, idx), k=s.k + 1.0, t=s.t + 1)


def refreshed(s: PageState, task: PageTask) -> PageState:
    """A step, and all of F there."""
    xp = namespace(s.u)
    u = moved_on(s, task)
    g = plain(task.summed).full(u)
    error = xp.asarray(residual(u, g, task.resolvent, task.scale))
    better = error < s.best_error
    return replace(
        s,
        **{"u": u, "g": g, "k": s.k + 1.0, "t": s.t + 1, "number": s.number + 1, "error": error},
        best_u=moved(better, u, s.best_u),
        best_g=moved(better, g, s.best_g),
        best_error=moved(better, error, s.best_error),
    )


def prepared(s: PageState, task: PageTask) -> PageState:
    """Move the anchor where the residual has fallen enough; where it grew for long, go back and halve the step."""
    if not task.guarded:
        return s
    xp = namespace(s.u)
    restart = xp.asarray(s.error <= task.factor * s.reference)
    worse = xp.asarray(xp.where(xp.asarray(s.error > WORSE * s.reference), s.worse + 1.0, 0.0 * s.worse))
    s = replace(
        s,
        anchor=moved(restart, s.u, s.anchor),
        k=moved(restart, xp.zeros_like(s.k), s.k),
        reference=moved(restart, s.error, s.reference),
        restarts=s.restarts + xp.astype(restart, s.restarts.dtype),
        worse=worse,
    )
    return best_again(s, xp.asarray(worse >= TIMES))


def best_again(s: PageState, lost: Any) -> PageState:
    """Where a member is lost, begin again at its best point, with half the step."""
    xp = namespace(s.u)
    u, g, error = moved(lost, s.best_u, s.u), moved(lost, s.best_g, s.g), moved(lost, s.best_error, s.error)
    return replace(
        s,
        **{"u": u, "g": g, "error": error},
        anchor=moved(lost, u, s.anchor),
        k=moved(lost, xp.zeros_like(s.k), s.k),
        reference=moved(lost, error, s.reference),
        restarts=s.restarts + xp.astype(lost, s.restarts.dtype),
        step=moved(lost, 0.5 * s.step, s.step),
        worse=moved(lost, xp.zeros_like(s.worse), s.worse),
    )


def rescued(s: PageState, task: PageTask) -> PageState:
    """Those whose error has grown so far, or is no number, that to wait for more refreshes would be to overflow."""
    if not task.guarded:
        return s
    xp = namespace(s.u)
    lost = xp.asarray((s.error > FAR * s.reference) | xp.isnan(s.error))
    if not of(s.u).traced([lost]) and not bool(xp.any(lost)):
        return s
    return best_again(s, lost)


def until_refresh(t: Any, number: Any, task: PageTask) -> Any:
    """Steps up to the next refresh, shape (), of a batch whose members are all at step t."""
    xp = namespace(t)
    later = waiting(task.draws, number)
    if not task.first:
        return later
    steps = xp.arange(1, task.first + 1, **like(t))
    success = (mulhi(coins(task.draws, steps), xp.astype(steps, t.dtype) + 4) < 4) | (steps == 1)
    never = xp.full_like(steps, 2**30)
    soonest = xp.min(xp.where(success & (steps > t), steps, never))
    return xp.where(soonest < 2**30, soonest - t, xp.clip(t, min=task.first) - t + later)


@kernel("monotone.page_chunk")
def page_chunk(state: PageState, task: PageTask, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
    """The steps up to the next refresh, `limit` at most, of which the last one ends with all of F."""
    if isinstance(limit, int) and limit == 0:
        return state, 0, state.error
    xp = namespace(state.u)
    s = prepared(state, task)
    t = xp.asarray(xp.max(s.t))  # members that have ended lag behind
    count = until_refresh(t, xp.asarray(xp.max(s.number)), task)
    if of(s.u).traced([*leaves(s), count]):
        count = xp.minimum(count, xp.asarray(limit, dtype=count.dtype))
        s = rescued(refreshed(sampled(estimated, s, task, count - 1), task), task)
        s = map_arrays(lambda new, old: xp.where(count > 0, new, old), s, state)
        return s, count, s.error
    steps = min(int(count), int(limit))
    s = rescued(refreshed(sampled(estimated, s, task, steps - 1), task), task)
    return s, steps, s.error
