"""The step of games and linear programs: reflected, restarted Halpern iteration of the primal-dual hybrid gradient map.

For ``min_x max_y c x + y (A x) + q y`` over sets whose projections are known, T maps z = (x, y) to
x+ = P(x - t (c + A^T y)), y+ = D(y + s (q + A (2 x+ - x))), and the iterate becomes
lambda z_0 + (1 - lambda) (2 T z - z). The point that A is applied to is the reflected x itself, so that A x follows
from what is known, and with it A x+, and the length of T z - z in the metric in which T is averaged: two products a
step, none for the tests. What is known of A x is never older than one step, and does not drift.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..record import plain, record, static
from .anchored import moved, wider
from .products import forward, transposed
from .residuals import norm

__all__ = ["SaddleState", "SaddleTask", "begin", "dot", "step"]

NEAR = 0.998  # of the longest step that is allowed
MUCH, LITTLE = 0.2, 0.8  # by which the metric has to fall, at once or before it rises
SHARE, LEAST = 0.36, 50.0  # restart at the latest after that share of all steps, and so many
RAISE = 1.05  # of the norm, where the metric shows that it was taken too small


@record
class SaddleTask:
    """The problem; `sign` times K is the A of the module's docstring, the primal weight stays in 1/reach..reach."""

    K: Any
    c: Any
    q: Any
    primal: Any
    dual: Any
    sign: float = static(default=1.0)
    reach: float = static(default=1.0)


@record
class SaddleState:
    """Vectors (..., n) and (..., m), numbers of the shape of the batch."""

    x: Any
    y: Any
    ax: Any  # A x
    anchor_x: Any
    anchor_y: Any
    anchor_ax: Any
    mapped_x: Any  # T z
    mapped_y: Any
    mapped_ax: Any
    dx: Any  # T z - z, of the last step
    dy: Any
    j: Any  # steps since the restart
    k: Any  # steps
    first: Any  # the metric at the restart
    last: Any
    weight: Any
    size: Any  # a bound on |A|
    restarts: Any


def dot(x: Any, y: Any) -> Any:
    """The inner product along the last axis."""
    xp = namespace(x, y)
    return xp.asarray(xp.sum(x * y, axis=-1))


def begin(x: Any, y: Any, task: SaddleTask, weight: Any, size: Any) -> SaddleState:
    """The state at a start."""
    ax = task.sign * forward(task.K, x)
    zero = 0.0 * norm(x)
    numbers = (zero, zero, zero, zero, zero + weight, zero + size, zero)
    return SaddleState(x, y, ax, x, y, ax, x, y, ax, 0.0 * x, 0.0 * y, *numbers)


def step(s: SaddleState, task: SaddleTask) -> SaddleState:
    """One step: two products, the metric, and a restart where it tells."""
    xp = namespace(s.x)
    t, r = NEAR / (s.weight * s.size), NEAR * s.weight / s.size
    x = plain(task.primal)(s.x - wider(t) * (task.c + task.sign * transposed(task.K, s.y)), wider(t))
    mirror = 2.0 * x - s.x
    image = task.sign * forward(task.K, mirror)
    y = plain(task.dual)(s.y + wider(r) * (task.q + image), wider(r))
    ax = 0.5 * (image + s.ax)
    dx, dy = x - s.x, y - s.y

    parts = dot(dx, dx) / t + dot(dy, dy) / r
    square = parts - 2.0 * dot(dy, 0.5 * (image - s.ax))
    small = xp.asarray(square < -100.0 * xp.finfo(s.x.dtype).eps * parts)  # the norm was taken too small
    metric = xp.sqrt(xp.clip(square, min=0.0))
    first = moved(xp.asarray(s.j == 0), metric, s.first)
    due = (metric <= MUCH * first) | ((metric <= LITTLE * first) & (metric > s.last))
    due = due | (s.j >= SHARE * s.k + LEAST)
    again = xp.asarray(small | (due & (s.j > 0)))

    share = wider(1.0 / (s.j + 2.0))
    weight = balanced(s, x, y, again, task.reach) if task.reach > 1.0 else s.weight

    def next_of(new: Any, anchor: Any, reflected: Any) -> Any:
        return moved(again, new, share * anchor + (1.0 - share) * reflected)

    return SaddleState(
        x=next_of(x, s.anchor_x, mirror),
        y=next_of(y, s.anchor_y, 2.0 * y - s.y),
        ax=next_of(ax, s.anchor_ax, image),
        anchor_x=moved(again, x, s.anchor_x),
        anchor_y=moved(again, y, s.anchor_y),
        anchor_ax=moved(again, ax, s.anchor_ax),
        mapped_x=x,
        mapped_y=y,
        mapped_ax=ax,
        dx=dx,
        dy=dy,
        j=moved(again, xp.zeros_like(metric), s.j + 1.0),
        k=s.k + 1.0,
        first=first,
        last=metric,
        weight=weight,
        size=moved(small, RAISE * s.size, s.size),
        restarts=s.restarts + xp.astype(again, metric.dtype),
    )


def balanced(s: SaddleState, x: Any, y: Any, again: Any, reach: float) -> Any:
    """The primal weight after a restart: half way, in logarithms, to what both sides have moved."""
    xp = namespace(s.x)
    far_x, far_y = norm(x - s.anchor_x), norm(y - s.anchor_y)
    tiny = xp.finfo(s.x.dtype).eps
    known = xp.asarray(again & (far_x > tiny) & (far_y > tiny))
    one = xp.ones_like(far_x)
    ratio = xp.where(known, far_y, one) / xp.where(known, far_x, one)
    weight = xp.clip(xp.exp(0.5 * xp.log(ratio) + 0.5 * xp.log(s.weight)), min=1.0 / reach, max=reach)
    return moved(known, weight, s.weight)
