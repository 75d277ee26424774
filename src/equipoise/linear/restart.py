"""A second start for a recursion that has lost sight of the true residual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import namespace
from ..backend import of
from ..iterate import Iterated
from ..record import plain
from ..result import History
from .ending import Run, measured

__all__ = ["twice"]


def twice(once: Callable[..., Run], A: Any, b: Any, size: Any, start: Any, r: Any, tol: Any, max_steps: int) -> Run:
    """A run, and a second one from its end for those that only seemed to have converged."""
    run = once(start=start, r=r, max_steps=max_steps)
    loop = run.loop
    xp, backend = namespace(b), of(b)
    if backend.traced([loop.code, b]):
        return run
    error = measured(A, b, run.x, size)
    run = replace(run, error=error)
    again = xp.asarray((loop.code == 0) & (error > tol))
    left = max_steps - int(np.max(backend.to_numpy(loop.steps)))
    if left < 1 or not bool(xp.any(again)):
        return run
    more = once(start=run.x, r=b - plain(A).matvec(run.x), max_steps=left)

    def choose(new: Any, old: Any) -> Any:
        return xp.where(xp.reshape(again, again.shape + (1,) * (new.ndim - again.ndim)), new, old)

    steps = loop.steps + xp.where(again, more.loop.steps, xp.zeros_like(more.loop.steps))
    joined = Iterated(
        replace(loop.state, best_error=choose(more.loop.state.best_error, loop.state.best_error)),
        choose(more.loop.error, loop.error),
        steps,
        choose(more.loop.code, loop.code),
        following(loop.history, more.loop.history),
    )
    return Run(joined, choose(more.x, run.x), lambda: choose(more.best(), run.best()))


def following(first: History[Any] | None, second: History[Any] | None) -> History[Any] | None:
    """The rows of two runs, one after the other."""
    if first is None or second is None:
        return first
    xp = namespace(first.step)
    ends = (first.step[-1:], None, first.seconds[-1:])
    pairs = zip(
        (first.step, first.error, first.seconds), (second.step, second.error, second.seconds), ends, strict=True
    )
    return History(*(xp.concat([old, new if end is None else new + end]) for old, new, end in pairs))
