"""Where a linear solver starts, and what it says in the end: from the true residual, never from its own estimate."""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..backend import of
from ..record import plain
from ..result import Status, settle
from .checks import trailing
from .sweeps import norm, relative

__all__ = ["concluded", "flat", "measured", "start_of"]


def flat(x: Any, A: Any) -> Any:
    """x, shape (..., *grid), as vectors (..., n)."""
    end = len(trailing(A))
    return x if end == 1 else namespace(x).reshape(x, (*x.shape[: x.ndim - end], -1))


def measured(A: Any, b: Any, x: Any, size: Any) -> Any:
    """|b - A x| / size."""
    return relative(flat(b - plain(A).matvec(x), A), size)


def start_of(A: Any, b: Any, x0: Any) -> tuple[Any, Any, Any]:
    """|b| or 1, the start, and its error; where b is 0 the start is 0, the solution."""
    xp = namespace(b)
    size = norm(flat(b, A))
    nothing = size == 0
    size = xp.where(nothing, xp.ones_like(size), size)
    if x0 is None:
        start = xp.zeros_like(b)
        return size, start, xp.where(nothing, xp.zeros_like(size), xp.ones_like(size))
    spread = xp.reshape(nothing, (*nothing.shape, *(1,) * (b.ndim - nothing.ndim)))
    start = xp.where(spread, xp.zeros_like(x0), x0)
    return size, start, measured(A, b, start, size)


def concluded(A: Any, b: Any, size: Any, found: tuple[Any, Any, Any], tol: Any) -> tuple[Any, ...]:
    """x, error, steps, code and history of a run that ended in x, or, if it failed, in the best that it looked at."""
    run, x, best = found
    xp = namespace(b)
    error = measured(A, b, x, size)
    broken = ~xp.isfinite(error) | ~xp.isfinite(run.error)
    lost = (run.code == int(Status.DIVERGED)) | (run.code == int(Status.NOT_POSITIVE_DEFINITE)) | broken
    worse = xp.asarray(lost & ~(error <= run.state.best_error))
    code = xp.where(broken, xp.full_like(run.code, int(Status.NOT_FINITE)), run.code)
    if of(b).traced([worse]) or bool(xp.any(worse)):
        x = xp.where(xp.reshape(worse, (*worse.shape, *(1,) * (b.ndim - worse.ndim))), best, x)
        error = xp.asarray(xp.where(worse, measured(A, b, x, size), error))
    return x, error, run.steps, settle(error, tol, code), run.history
