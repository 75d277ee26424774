"""Preconditioned conjugate gradients, in the order of the classic algorithm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import namespace
from ..iterate import repeat
from ..kernel import kernel
from ..record import plain, record
from .eisenstat import checked, divided, dot
from .sweeps import relative, remember

__all__ = ["GradientState", "GradientTask", "begin", "conjugate_gradients"]


@record
class GradientState:
    """Vectors of shape (..., n); `square` is r^T M^{-1} r, `curvature` the last p^T A p."""

    x: Any
    residual: Any
    direction: Any
    square: Any
    curvature: Any
    error: Any
    best: Any
    best_error: Any


@record
class GradientTask:
    """What the steps read.

    `A` and `M`, which applies the inverse of the preconditioner or is None, take vectors of shape (..., n). Where the
    preconditioner is the diagonal, `scale` holds its inverse and `M` is None. `size` is |b|, or 1 where that is 0.
    """

    A: Any
    M: Any
    scale: Any
    size: Any


def preconditioned(r: Any, task: GradientTask) -> Any:
    """M^{-1} r."""
    if task.M is not None:
        return plain(task.M).matvec(r)
    return r if task.scale is None else task.scale * r


def begin(x: Any, r: Any, task: GradientTask) -> GradientState:
    """The state of the iterate x, whose residual b - A x is r."""
    xp = namespace(x)
    z = preconditioned(r, task)
    error = relative(r, task.size)
    return GradientState(x, r, z, dot(r, z), xp.ones_like(error), error, x, error)


def step(s: GradientState, task: GradientTask) -> GradientState:
    """One step: a product, a move, and the next direction."""
    image = plain(task.A).matvec(s.direction)
    curvature = checked(dot(s.direction, image), s)
    alpha = divided(s.square, curvature)[..., None]
    x, r = s.x + alpha * s.direction, s.residual - alpha * image
    z = preconditioned(r, task)
    square = dot(r, z)
    direction = z + divided(square, s.square)[..., None] * s.direction
    return replace(s, x=x, residual=r, direction=direction, square=square, curvature=curvature)


@kernel("linear.cg")
def conjugate_gradients(state: GradientState, task: GradientTask, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
    """Up to `limit` steps; a kernel stops after the first whose error is not above `tol`, or whose curvature is bad."""
    state = repeat(step, remember(state), task, limit)
    error = relative(state.residual, task.size)
    return replace(state, error=error), limit, error
