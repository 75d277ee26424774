"""The steps of Halpern's iteration: every one is pulled back to an anchor, which moves as the residual falls.

The residual of an iterate comes with the evaluation that its step needs, so it is tested at every step: the decision to
move the anchor belongs to the step that follows, after the test whether to stop.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..iterate import repeat
from ..kernel import kernel
from ..record import plain, record, static
from .anchored import anchored, moved, wider
from .residuals import diverged, evaluate, norm, residual

__all__ = ["HalpernState", "HalpernTask", "begin", "halpern_steps", "lost"]

GROWTH = 1e-12  # of the distance of two iterates, beyond which T is taken to expand


@record
class HalpernState:
    """Vectors (..., d); the others are numbers of the shape of the batch."""

    u: Any
    image: Any  # F(u), or T(u)
    anchor: Any
    k: Any  # steps since the anchor moved
    error: Any
    reference: Any  # the error where it moved
    restarts: Any
    lipschitz: Any


@record
class HalpernTask:
    """What a step reads; `form` is one of :mod:`equipoise.monotone.anchored`, or ``map`` for a nonexpansive map."""

    operator: Any
    args: Any
    resolvent: Any
    factor: Any
    form: str = static()
    adaptive: bool = static(default=False)


def length(task: HalpernTask, lipschitz: Any) -> Any:
    """The step e: 2/L, half of it in the inner form, whose first steps are effectively twice as long."""
    return (1.0 if task.form == "inner" else 2.0) / lipschitz


def error_of(u: Any, image: Any, task: HalpernTask, lipschitz: Any) -> Any:
    """|u - T(u)|, or the residual r(u)."""
    if task.form == "map":
        return norm(u - image)
    return residual(u, image, task.resolvent, 1.0 / lipschitz)


def step(s: HalpernState, task: HalpernTask) -> HalpernState:
    """Move the anchor if the error has fallen enough, step, and look."""
    xp = namespace(s.u)
    restart = s.error <= task.factor * s.reference
    anchor, k = moved(restart, s.u, s.anchor), moved(restart, xp.zeros_like(s.k), s.k)
    reference = moved(restart, s.error, s.reference)
    if task.form == "map":
        share = 1.0 / (wider(k) + 2.0)
        u = share * anchor + (1.0 - share) * s.image
    else:
        u = anchored(task.form, task.resolvent, anchor, s.u, s.image, k, length(task, s.lipschitz))
    image = evaluate(task.operator, task.args, u)
    restarts = s.restarts + xp.astype(xp.asarray(restart), s.k.dtype)
    error = error_of(u, image, task, s.lipschitz)
    new = HalpernState(u, image, anchor, k + 1.0, error, reference, restarts, s.lipschitz)
    return enlarged(new, s, task) if task.adaptive else new


def enlarged(new: HalpernState, old: HalpernState, task: HalpernTask) -> HalpernState:
    """Back to the old iterate, with twice the constant and a new anchor, where T has just been seen to expand.

    Going on from the new one would not do: where F grows faster than linearly, so do the steps.
    """
    xp = namespace(new.u)
    e, J = length(task, new.lipschitz), plain(task.resolvent)
    wide = wider(e)
    here, there = J(new.u - wide * new.image, wide), J(old.u - wide * old.image, wide)
    rounding = 8.0 * xp.finfo(new.u.dtype).eps * (norm(new.u) + e * norm(new.image))
    bad = xp.asarray(norm(here - there) > (1.0 + GROWTH) * norm(new.u - old.u) + rounding)
    lipschitz = moved(bad, 2.0 * new.lipschitz, new.lipschitz)
    u, image = moved(bad, old.u, new.u), moved(bad, old.image, new.image)
    error = error_of(u, image, task, lipschitz)
    return HalpernState(
        u,
        image,
        moved(bad, u, new.anchor),
        moved(bad, xp.zeros_like(new.k), new.k),
        error,
        moved(bad, error, new.reference),
        new.restarts + xp.astype(bad, new.k.dtype),
        lipschitz,
    )


@kernel("monotone.halpern")
def halpern_steps(state: HalpernState, task: HalpernTask, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
    """`limit` steps; a kernel stops after the first whose error is not above `tol`."""
    state = repeat(step, state, task, limit)
    return state, limit, state.error


def lost(s: HalpernState, task: HalpernTask) -> Any:
    """Another reason to stop: the constant is too small, or the map expands."""
    return diverged(s.error, s.reference, namespace(s.u))


def begin(u0: Any, image: Any, task: HalpernTask, lipschitz: Any) -> HalpernState:
    """The state at the start."""
    zero = namespace(u0).zeros_like(norm(u0))
    constant = zero + lipschitz
    error = error_of(u0, image, task, constant)
    return HalpernState(u0, image, u0, zero, error, error, zero, constant)
