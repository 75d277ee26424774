"""The extragradient method with a snapshot: one component a step, all of them where the snapshot moves.

With J the resolvent of t G, w the snapshot and a = 1 - p: zb = a z + (1 - a) w; zh = J(zb - t F(w));
z = J(zb - t (F(w) + F_i(zh) - F_i(w))); w moves to z with probability p. One chunk runs to the next snapshot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import namespace
from ..backend import of
from ..kernel import kernel
from ..record import leaves, map_arrays, plain, record
from .draws import Draws, sampled, waiting
from .page import counter
from .residuals import residual

__all__ = ["VregState", "VregTask", "begin", "vreg_chunk"]


@record
class VregState:
    """Vectors (..., d), numbers of the shape of the batch; counters are int32."""

    z: Any
    snapshot: Any
    image: Any  # F(snapshot)
    t: Any
    number: Any  # snapshots after the first
    error: Any  # at the snapshot


@record
class VregTask:
    """What a step reads: `step` t, and `keep` = 1 - p."""

    summed: Any
    resolvent: Any
    scale: Any
    step: Any
    keep: Any
    draws: Draws


def begin(u0: Any, image: Any, task: VregTask) -> VregState:
    """The state at the start."""
    error = namespace(u0).asarray(residual(u0, image, task.resolvent, task.scale))
    none = counter(error)
    return VregState(u0, u0, image, none, none, error)


def inner_step(s: VregState, task: VregTask, idx: Any) -> VregState:
    """A step, from the component `idx`, shape (1,)."""
    J, t = plain(task.resolvent), task.step
    centre = task.keep * s.z + (1.0 - task.keep) * s.snapshot
    half = J(centre - t * s.image, t)
    z = J(centre - t * (s.image + plain(task.summed).diff(half, s.snapshot, idx)), t)
    return replace(s, z=z, t=s.t + 1)


def moved_snapshot(s: VregState, task: VregTask) -> VregState:
    """The snapshot moves to the iterate."""
    image = plain(task.summed).full(s.z)
    error = namespace(s.z).asarray(residual(s.z, image, task.resolvent, task.scale))
    return replace(s, snapshot=s.z, image=image, number=s.number + 1, error=error)


@kernel("monotone.vreg_chunk")
def vreg_chunk(state: VregState, task: VregTask, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
    """The steps up to the next snapshot, `limit` at most."""
    if isinstance(limit, int) and limit == 0:
        return state, 0, state.error
    xp, s = namespace(state.z), state
    count = waiting(task.draws, xp.asarray(xp.max(s.number)))
    if of(s.z).traced([*leaves(s), count]):
        count = xp.minimum(count, xp.asarray(limit, dtype=count.dtype))
        s = moved_snapshot(sampled(inner_step, s, task, count), task)
        s = map_arrays(lambda new, old: xp.where(count > 0, new, old), s, state)
        return s, count, s.error
    steps = min(int(count), int(limit))
    s = moved_snapshot(sampled(inner_step, s, task, steps), task)
    return s, steps, s.error
