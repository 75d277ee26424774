"""The one loop that every method runs in.

A method is one function ``advance(state, data, limit, tol) -> (state, done, error)``: up to `limit` steps
(``limit=0`` only looks), how many were done, and the error of the new state, of the shape of the batch.
:func:`stepwise` makes it of a step and an error; a chunk kernel is one itself. Counting, stopping, freezing the
finished members of a batch, history, callbacks, progress bars and Ctrl-C live here, once.

A step is part of a kernel's contract: the same state after the same number of steps on every backend. Everything that
a step reads goes through `state` and `data`; functions are module-level and pure, since jax compiles anew for each
function object.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .arrays import library, namespace
from .backend import Backend, of
from .kernel import Kernel, lend
from .progress import _settings, listener
from .record import leaves, map_arrays, record
from .result import History, Status

__all__ = ["Info", "Iterated", "Options", "iterate", "repeat", "stepwise"]

Tree = Any
Advance = Callable[[Any, Any, Any, Any], tuple[Any, Any, Any]]
CHUNK = 64  # a chunk kernel comes back at least this often, so that Ctrl-C and callbacks are heard


@dataclass(frozen=True)
class Info:
    """What a callback is told at a check."""

    method: str
    step: int
    error: float
    seconds: float
    tol: float
    max_steps: int


@dataclass(frozen=True)
class Options:
    """How a loop runs: the keywords of :func:`iterate`."""

    tol: Any
    aim: Any
    max_steps: int
    check_every: int
    halt: Callable[[Any, Any], Any] | None
    patience: int | Callable[[Any], Any] | None
    callback: Callable[[Info], Any] | None
    history: bool | None
    method: str
    nested: bool

    @property
    def listening(self) -> bool:
        """Whether somebody wants to hear of every check, so that the loop must be a Python one."""
        return self.callback is not None or (_settings.get() is not None and not self.nested)


@record
class Iterated:
    """Where a loop ended. `code` is 0 where it ended because the error was no longer above `tol`."""

    state: Any
    error: Any
    steps: Any
    code: Any
    history: History[Any] | None


@functools.cache
def stepwise(step: Callable[[Any, Any], Any], error: Callable[[Any, Any], Any]) -> Advance:
    """The ``advance`` that repeats ``step(state, data)`` and then looks with ``error(state, data)``."""

    def advance(state: Tree, data: Tree, limit: Any, tol: Any) -> tuple[Tree, Any, Any]:
        state = repeat(step, state, data, limit)
        return state, limit, error(state, data)

    return advance


def repeat(step: Callable[[Any, Any], Any], state: Tree, data: Tree, count: Any) -> Tree:
    """``count`` steps without a look; under jax the count may be traced."""
    return of(*leaves(state)).repeat(step, state, data, count)


def iterate(
    advance: Advance,
    state: Tree,
    data: Tree,
    *,
    tol: Any,
    max_steps: int,
    margin: float = 1.0,
    check_every: int | None = None,
    halt: Callable[[Any, Any], Any] | None = None,
    patience: int | Callable[[Any], Any] | None = None,
    callback: Callable[[Info], Any] | None = None,
    history: bool | None = None,
    method: str = "iterate",
    nested: bool = False,
) -> Iterated:
    """Advance `state` until its error is no longer above `tol`.

    Parameters
    ----------
    advance
        The method, see the module's docstring.
    state, data
        Trees of arrays. In a batch every array of `state` leads with the batch's shape.
    tol
        The tolerance; 0 runs all steps, whatever `patience` says.
    max_steps
        The most steps that any member may take.
    margin
        The loop aims at ``margin * tol``: below 1 where the answer is rounded once more after the loop.
    check_every
        Steps between two looks at the error. By default one for portable bodies, a chunk of 64 for chunk kernels
        that test inside and stop early, one with a callback, and what the backend says where a look is a
        synchronisation.
    halt
        ``halt(state, data) -> int32 code``, another reason to stop; 0 goes on.
    patience
        Stop as ``STALLED`` when the error has found no new minimum for this many steps, and for half as many as the
        last one took: slow progress hides in the rounding for a while. Or ``patience(state) -> steps``, an array of
        the shape of the batch, where it depends on how far a method looks ahead.
    callback
        ``callback(info)``; a true answer stops.
    history
        Record a row a check. None records where that is free: in a Python loop.
    method
        The name by which the user called it.
    nested
        For a loop inside a step of another one: it draws no progress bar, and leaves Ctrl-C to the loop around it.

    Returns
    -------
    Iterated
    """
    backend = of(*leaves(state))
    if check_every is None and callback is not None:
        check_every = 1
    options = Options(
        tol,
        tol if margin == 1.0 else margin * tol,
        int(max_steps),
        check_every or 0,
        halt,
        patience,
        callback,
        history,
        method,
        nested,
    )
    if not check_every:
        chunked = isinstance(advance, Kernel) and backend.stops_inside and advance.overridden(backend)
        options = replace(options, check_every=CHUNK if chunked else backend.check_every(leaves(state)[0]))
    return backend.loop(advance, state, data, options)


def python_loop(backend: Backend, advance: Advance, state: Tree, data: Tree, options: Options) -> Iterated:
    """The loop of every library that computes at once. Its books are kept on the host: a check reads one array."""
    start = time.perf_counter()
    tol = options.aim
    target, shown = float(tol), float(options.tol)
    rows: list[tuple[int, float, float]] = []
    taken = 0
    with nullcontext() if options.nested else listener() as show:
        like_error = advance(state, data, 0, tol)[2]
        error = backend.to_numpy(like_error)
        steps = np.zeros(error.shape, dtype=np.int64)
        code = np.zeros(error.shape, dtype=np.int32)
        best, best_at = error, steps
        while True:
            active = (error > target) & (code == 0)  # NaN is not above tol: it stops, and is reported
            worst = float(np.max(error))
            if options.history is not False:
                rows.append((taken, worst, time.perf_counter() - start))
            if options.halt is not None:
                code = np.where(active, backend.to_numpy(options.halt(state, data)), code)
            if options.patience is not None and target > 0:
                best_at = np.where(error < best, steps, best_at)
                best = np.fmin(error, best)
                waited = steps - best_at
                allowed: Any = options.patience
                if callable(allowed):  # asked only where somebody has waited for long
                    allowed = backend.to_numpy(allowed(state)) if np.any(waited > best_at // 2) else np.inf
                stalled = waited >= np.maximum(allowed, best_at // 2)
                code = np.where(active & (code == 0) & stalled, Status.STALLED, code)
            if show is not None or options.callback is not None:
                info = Info(options.method, taken, worst, time.perf_counter() - start, shown, options.max_steps)
                if show is not None:
                    show(info)
                if options.callback is not None and options.callback(info):
                    code = np.where(active & (code == 0), Status.STOPPED, code)
            if taken >= options.max_steps:
                code = np.where(active & (code == 0), Status.MAX_STEPS, code)
            active &= code == 0
            if not np.any(active):
                break
            limit = min(options.check_every, options.max_steps - taken)
            try:
                new, done, fresh = advance(state, data, limit, tol)
                fresh_host = backend.to_numpy(fresh)
            except KeyboardInterrupt:
                if options.nested:
                    raise
                code = np.where(active, Status.INTERRUPTED, code)
                break
            if np.all(active):
                state, like_error, error = new, fresh, fresh_host
            else:
                state = _freeze(backend, active, new, state)
                error = np.where(active, fresh_host, error)
            done_host = backend.to_numpy(done) if library(done) else np.asarray(done)
            steps = steps + np.where(active, done_host, 0)
            taken = int(np.max(steps))
    beside = like_error
    record_rows = History(*(np.asarray(column) for column in zip(*rows, strict=True))) if rows else None
    error, steps, code = (np.asarray(x) for x in (error, steps, code.astype(np.int32)))  # numpy reduces to scalars
    out = Iterated(None, error, steps, code, record_rows)
    moved: Iterated = out if backend.name == "numpy" else lend(backend, out, beside)
    return replace(moved, state=state)


def _freeze(backend: Backend, active: np.ndarray[Any, Any], new: Tree, old: Tree) -> Tree:
    """`new` for the members still active, `old` for those that have finished."""

    def choose(n: Any, o: Any) -> Any:
        mask = np.reshape(active, active.shape + (1,) * (n.ndim - active.ndim))
        return namespace(n).where(mask if backend.name == "numpy" else backend.lend(mask, n), n, o)

    return map_arrays(choose, new, old)
