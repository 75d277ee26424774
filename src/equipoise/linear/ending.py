"""Where a linear solver starts, and what it says in the end: from the true residual, never from its own estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..arrays import namespace
from ..backend import of
from ..iterate import Iterated
from ..record import plain
from ..result import Status, settle
from .checks import trailing
from .sweeps import norm, relative

__all__ = ["Run", "concluded", "flat", "measured", "start_of"]


def flat(x: Any, A: Any) -> Any:
    """x, shape (..., *grid), as vectors (..., n)."""
    end = len(trailing(A))
    return x if end == 1 else namespace(x).reshape(x, (*x.shape[: x.ndim - end], -1))


def measured(A: Any, b: Any, x: Any, size: Any) -> Any:
    """|b - A x| / size."""
    return relative(flat(b - plain(A).matvec(x), A), size)


def start_of(A: Any, b: Any, x0: Any) -> tuple[Any, Any, Any, Any]:
    """|b| or 1, the start, its residual, and its error; where b is 0 the start is 0, the solution."""
    xp = namespace(b)
    size = norm(flat(b, A))
    nothing = size == 0
    size = xp.where(nothing, xp.ones_like(size), size)
    if x0 is None:
        return size, xp.zeros_like(b), b, xp.where(nothing, xp.zeros_like(size), xp.ones_like(size))
    spread = xp.reshape(nothing, (*nothing.shape, *(1,) * (b.ndim - nothing.ndim)))
    start = xp.where(spread, xp.zeros_like(x0), x0)
    r = b - plain(A).matvec(start)
    return size, start, r, relative(flat(r, A), size)


@dataclass(frozen=True)
class Run:
    """Where a loop ended, in the order of the user's arrays; what few need is made when it is asked for."""

    loop: Iterated
    x: Any
    best: Callable[[], Any]
    error: Any = None  # the true one of x, where it is known


def concluded(A: Any, b: Any, size: Any, run: Run, tol: Any) -> tuple[Any, ...]:
    """x, error, steps, code and history of a run that ended in x, or, if it failed, in the best that it looked at."""
    xp, loop, x = namespace(b), run.loop, run.x
    error = measured(A, b, x, size) if run.error is None else run.error
    if not of(b).traced([error]) and bool(xp.all(error <= tol)):
        return x, error, loop.steps, xp.full_like(loop.code, int(Status.CONVERGED)), loop.history
    broken = ~xp.isfinite(error) | ~xp.isfinite(loop.error)
    lost = (loop.code == int(Status.DIVERGED)) | (loop.code == int(Status.NOT_POSITIVE_DEFINITE)) | broken
    worse = xp.asarray(lost & ~(error <= loop.state.best_error))
    code = xp.where(broken, xp.full_like(loop.code, int(Status.NOT_FINITE)), loop.code)
    if of(b).traced([worse]) or bool(xp.any(worse)):
        x = xp.where(xp.reshape(worse, (*worse.shape, *(1,) * (b.ndim - worse.ndim))), run.best(), x)
        error = xp.asarray(xp.where(worse, measured(A, b, x, size), error))
    return x, error, loop.steps, settle(error, tol, code), loop.history
