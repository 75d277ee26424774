"""A second start for a recursion that has lost sight of the true residual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import namespace
from ..backend import of
from ..iterate import Iterated
from ..result import History
from .ending import measured

__all__ = ["Found", "twice"]

Found = tuple[Iterated, Any, Any]  # a run, its last x, and its best one


def twice(once: Callable[..., Found], A: Any, b: Any, size: Any, start: Any, tol: Any, max_steps: int) -> Found:
    """A run, and a second one from its end for those that only seemed to have converged."""
    found = once(start=start, max_steps=max_steps)
    run, x, _ = found
    xp, backend = namespace(b), of(b)
    if backend.traced([run.code, b]):
        return found
    again = xp.asarray((run.code == 0) & (measured(A, b, x, size) > tol))
    left = max_steps - int(np.max(backend.to_numpy(run.steps)))
    if left < 1 or not bool(xp.any(again)):
        return found
    more, *xs = once(start=x, max_steps=left)

    def choose(new: Any, old: Any) -> Any:
        return xp.where(xp.reshape(again, again.shape + (1,) * (new.ndim - again.ndim)), new, old)

    steps = run.steps + xp.where(again, more.steps, xp.zeros_like(more.steps))
    best_error = choose(more.state.best_error, run.state.best_error)
    joined = Iterated(
        replace(run.state, best_error=best_error),
        choose(more.error, run.error),
        steps,
        choose(more.code, run.code),
        following(run.history, more.history),
    )
    return joined, *(choose(new, old) for new, old in zip(xs, found[1:], strict=True))


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
