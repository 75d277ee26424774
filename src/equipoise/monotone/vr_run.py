"""The run of a sampling method: its books, its reasons to stop, and where it runs.

With a shipped sum and shipped resolvents everything between u0 and the result is arithmetic on arrays that the library
has made, so that backends which borrow the host's kernels run the whole solve there. A user's functions see the arrays
of the backend that they were written for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..arrays import is_floating, library, like, namespace
from ..backend import of
from ..iterate import iterate
from ..kernel import on_host
from ..record import plain
from ..result import Status, report, settle
from . import forb, page, vreg
from .anchored import moved
from .counts import roughly, total, wide
from .regression import LeastSquaresGradient, LogisticGradient
from .residuals import diverged
from .resolvents import Box, Identity, L1Ball, L2Ball, Nonnegative, Product, Simplex, SoftThreshold
from .result import MonotoneResult, OracleHistory, advice
from .robust import RobustLeastSquares
from .saddles import GameOperator, QuadraticMinMax

__all__ = ["concluded", "run_of", "watching"]

PATIENCE = 400  # refreshes without a new least residual
SUMS = (GameOperator, LeastSquaresGradient, LogisticGradient, QuadraticMinMax, RobustLeastSquares)
SETS = (Box, Identity, L1Ball, L2Ball, Nonnegative, Simplex, SoftThreshold)


def spent(state: Any, task: Any) -> tuple[Any, Any, int, int, Any]:
    """How often all of F was evaluated, how many samples were drawn, and what each of them costs."""
    xp = namespace(state.image if hasattr(state, "image") else state.g)
    fulls, steps = xp.asarray(state.number), xp.asarray(state.t)
    sampled = steps - fulls if isinstance(state, page.PageState) else steps
    return 1 + fulls, sampled, int(plain(task.summed).n), 2 * task.draws.batch, xp


def calls_of(state: Any, task: Any, narrow: bool = False) -> Any:
    """Components evaluated so far: n a full evaluation, two for every sampled difference."""
    return total(*spent(state, task), narrow)


def counted(history: Any, state: Any, task: Any, calls: Any, narrow: bool) -> Any:
    """A history with the calls up to each row, which all but the last end with a full evaluation.

    Members of a batch with inner loops evaluate all of F at steps of their own: what the rows say then is a bound.
    """
    if history is None:
        return None
    xp = namespace(history.step)
    n, each = int(plain(task.summed).n), 2 * task.draws.batch
    fulls = xp.arange(history.step.shape[0], **like(history.step))
    sampled = history.step - fulls if isinstance(state, page.PageState) else history.step
    before = total(1 + fulls, sampled, n, each, xp, narrow)[:-1]
    last = xp.reshape(xp.astype(xp.max(calls), before.dtype), (1,))
    rows = xp.concat([xp.minimum(before, last), last])
    return OracleHistory(history.step, history.error, history.seconds, rows)


def silent(info: Any) -> None:
    """A callback that keeps the loop on the host, where histories of unknown length are written."""


def watching(u0: Any, callback: Any, history: Any, method: str) -> Any:
    """The callback, or one that does nothing where a history was asked for."""
    if callback is not None or not history:
        return callback
    if of(u0).traced([u0]):
        raise TypeError(f"{method}: history=True needs values, and under a jax transformation there are none")
    return silent


def ended(state: Any, task: Any) -> Any:
    """Another reason to stop: the budget is used up, or the step is too long."""
    xp = namespace(state.u)
    code = diverged(state.error, state.reference, xp)
    if task.budget is not None:
        beyond = is_floating(task.budget) if library(task.budget) else isinstance(task.budget, float)
        used = xp.asarray((roughly(*spent(state, task)) if beyond else calls_of(state, task)) >= task.budget)
        code = moved(used, xp.full_like(code, int(Status.MAX_ORACLE_CALLS)), code)
    return code


def solve(
    summed: Any,
    resolvent: Any,
    u0: Any,
    key: Any,
    given: Any,
    tol: Any,
    *,
    advance: Any,
    make: Any,
    options: Any,
    narrow: bool,
) -> tuple[Any, ...]:
    """Where the loop ended: u, its error, steps, code, history, oracle calls, restarts, and the scale of the error.

    ``make(summed, resolvent, u0, key, given)`` gives the state and the task at the start, and the probability of a new
    residual at a step; with `narrow`, calls go to a library without whole numbers of 64 bits.
    """
    state, task, p = make(summed, resolvent, u0, key, given)
    anchored, patience = hasattr(state, "anchor"), math.ceil(PATIENCE / p)
    each = options["max_steps"]  # a chunk ends where it evaluates all of F
    halt = ended if anchored else None
    run = iterate(advance, state, task, tol=tol, check_every=each, halt=halt, patience=patience, **options)
    s, xp = run.state, namespace(u0)
    calls, error = xp.asarray(calls_of(s, task, narrow)), xp.asarray(s.error)
    u, restarts = (s.u, s.restarts) if anchored else (s.snapshot, 0 * s.number)
    return u, error, run.steps, run.code, counted(run.history, s, task, calls, narrow), calls, restarts, task.scale


HOSTED = {chunk: on_host(chunk)(solve) for chunk in (page.page_chunk, forb.forb_chunk, vreg.vreg_chunk)}


def is_shipped(summed: Any, resolvent: Any) -> bool:
    """Whether both are the library's own."""
    parts = resolvent.parts if type(resolvent) is Product else (resolvent,)
    return type(summed) in SUMS and all(type(part) in SETS for part in parts)


def run_of(advance: Any, summed: Any, resolvent: Any, *args: Any, **settings: Any) -> tuple[Any, ...]:
    """The solve with this chunk kernel, where it runs best."""
    run: Callable[..., tuple[Any, ...]] = HOSTED[advance] if is_shipped(summed, resolvent) else solve
    return run(summed, resolvent, *args, advance=advance, narrow=not wide(namespace(args[0])), **settings)


def concluded(run: Any, tol: Any, method: str) -> MonotoneResult[Any]:
    """The result of a solve."""
    u, error, steps, code, history, calls, restarts, _ = run
    moves = namespace(u).astype(namespace(u).asarray(restarts), steps.dtype)
    result = MonotoneResult(error, steps, settle(error, tol, code), history, u, calls, moves)
    report(result, method, tol, advice(result))
    return result
