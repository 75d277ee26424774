"""Sequences of linear systems, solved one after the other while a policy chooses the relaxation factors.

This is host code: systems are pulled when they are due, so that they may depend on what came before, and of every solve
one number is read, that of its steps.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic

import numpy as np

from ..arrays import A as Array_
from ..arrays import library, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol, number
from ..guide import guided
from ..operators import as_operator
from ..progress import _settings, tqdm_here
from ..record import as_data, leaves, plain, record
from ..result import ConvergenceWarning, Status, frames_to_the_user
from .cg import solve_cg
from .checks import check_order, trailing
from .omega import check_solver
from .ordering import ORDERS
from .outcomes import SequenceInfo, SequenceResult
from .policy import Policy, YoungOmega
from .preconditioners import SSOR
from .sor import solve_sor

__all__ = ["System", "solve_sequence"]


@record
class System(Generic[Array_]):
    """One linear system of a sequence.

    Parameters
    ----------
    A : array, sparse matrix, or operator
        Whatever :func:`sor` or :func:`cg` takes.
    b : array, or callable
        The right-hand side; a callable gets the solution of the system before and returns it, as time stepping needs.
    context : float, optional
        A number that describes the system, for policies that know what to do with it.

    Raises
    ------
    TypeError, ValueError
        If A is no matrix, b neither an array nor callable, or the context no number.

    Examples
    --------
    >>> import equipoise as eq
    >>> A = eq.operators.Stencil.laplacian((8, 8), scale=0.1, shift=1.0)
    >>> eq.linear.System(A, lambda u: u, context=0.1).A
    Stencil(64 x 64, grid (8, 8), constant)
    """

    A: Any
    b: Any
    context: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "A", as_data(as_operator(self.A)))
        if not library(self.b) and not callable(plain(self.b)):
            raise TypeError(f"b must be an array (numpy, torch, jax, cupy) or callable, got {type(self.b).__name__}")
        object.__setattr__(self, "b", as_data(self.b))
        if self.context is not None:
            object.__setattr__(self, "context", number("context", self.context))


# ---------------------------------------------------------------------------------------------------------------------
# The loop


def pulled(systems: Iterable[Any]) -> Iterator[System[Any]]:
    """The systems, each made a record when it is due."""
    for t, item in enumerate(systems):
        if isinstance(item, System):
            yield item
            continue
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            got = f"{len(item)} entries" if isinstance(item, (tuple, list)) else type(item).__name__
            raise TypeError(f"systems must hold System, (A, b) or (A, b, context), got {got} at index {t}")
        with told_where(t):
            made: System[Any] = System(*item)
        yield made


@contextlib.contextmanager
def told_where(t: int) -> Iterator[None]:
    """Errors say in which system they arose."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(f"in system {t} of the sequence")
        raise


@contextlib.contextmanager
def bar(total: int | None) -> Iterator[Callable[[SequenceInfo], None]]:
    """One progress bar for the sequence in the place of one for every solve."""
    settings = _settings.get()
    if settings is None:
        yield lambda info: None
        return

    token = _settings.set(None)
    shown = tqdm_here()(total=total, unit=" systems", desc="linear.solve_sequence", **settings)

    def show(info: SequenceInfo) -> None:
        shown.set_postfix_str(f"omega {info.omega:.3f}, {info.steps} steps", refresh=False)
        shown.update(1)

    try:
        yield show
    finally:
        _settings.reset(token)
        shown.close()


class Rows:
    """What is known of the systems that were solved."""

    def __init__(self) -> None:
        self.infos: list[SequenceInfo] = []
        self.xs: list[Any] = []
        self.codes: list[int] = []
        self.end: Status | None = None  # what ended the sequence, if not its end

    def code(self) -> int:
        """Why the sequence ended, else the worst ending of a system."""
        return int(self.end if self.end is not None else max(self.codes, default=Status.CONVERGED))


def solved(
    system: System[Any], b: Any, x0: Any, omega: float, solver: str, order: str, tol: Any, max_steps: int
) -> Any:
    """One system, solved without a warning of its own."""
    operator = plain(system.A)
    if solver == "sor":
        return solve_sor(operator, b, omega=omega, order=order, x0=x0, tol=tol, max_steps=max_steps, history=False)
    M = SSOR(omega, order=order)
    return solve_cg(operator, b, preconditioner=M, x0=x0, tol=tol, max_steps=max_steps, history=False)


def right_side(system: System[Any], previous: Any) -> Any:
    """The right-hand side of a system, made of the solution before where it is callable."""
    b = plain(system.b)
    if not callable(b) or library(b):
        return b
    if previous is None:
        raise ValueError("x0 must be given if the first b is callable: it is called with the solution before")
    out = b(previous)
    if not library(out):
        raise TypeError(f"b, called with the solution before, must return an array, got {type(out).__name__}")
    return out


def start_from(x: Any, b: Any, A: Any, converged: bool) -> Any:
    """Where to start: from x if it fits b; zero for the members of a batch in which a failed solve left no numbers."""
    if x is None or library(x) != library(b) or tuple(x.shape) != tuple(b.shape) or x.dtype != b.dtype:
        return None
    if converged:
        return x
    xp = namespace(x)
    axes = tuple(range(x.ndim - len(trailing(A)), x.ndim))
    return xp.where(xp.all(xp.isfinite(x), axis=axes, keepdims=True), x, xp.zeros_like(x))


def number_of(x: Any) -> Any:
    """The largest of a batch."""
    return np.max(of(x).to_numpy(x)).item()


@public
def in_turn(
    first: System[Any], rest: Iterator[System[Any]], policy: Any, settings: dict[str, Any], *, quiet: bool = False
) -> SequenceResult[Any]:
    """:func:`solve_sequence` of systems that have become operators and so may cross the boundary."""
    solver, order, max_steps, tol = (settings[k] for k in ("solver", "order", "max_steps", "tol"))
    x0, callback, warm = settings["x0"], settings["callback"], settings["warm_start"]
    check_hidden(first, x0)
    rows, x, converged, begun = Rows(), x0, True, time.perf_counter()
    start = x0
    with bar(settings.get("length")) as show, silent(solver, order):
        try:
            for t, system in enumerate(itertools.chain([first], rest)):
                with told_where(t):
                    b = right_side(system, x)
                    if t == 0:
                        tol = check_tol(tol, b, 1e-8, 1e-5)
                        policy.bind(solver, tol)
                    A = plain(system.A)
                    start = start_from(x, b, A, converged) if warm or t == 0 else None
                    omega = float(policy.suggest(system.context, A))
                    result = solved(system, b, start, omega, solver, order, tol, max_steps)
                code = int(number_of(result.code))
                x, converged = result.x, code == Status.CONVERGED
                steps = int(number_of(result.steps))
                info = SequenceInfo(
                    *(t, system.context, omega, steps, float(number_of(result.error)), converged),
                    time.perf_counter() - begun,
                )
                rows.infos.append(info)
                rows.codes.append(code)
                rows.xs = [*rows.xs, x] if settings["keep"] == "all" else [x]
                if code == Status.INTERRUPTED:
                    rows.end = Status.INTERRUPTED
                    break
                policy.observe(steps if converged else max_steps)
                show(info)
                if callback is not None and callback(info):
                    rows.end = Status.STOPPED
                    break
        except KeyboardInterrupt:
            rows.end = Status.INTERRUPTED
    result = finished(rows, x0, policy, {**settings, "tol": tol})
    if not quiet:
        report(result, tol)
    return result


def finished(rows: Rows, x0: Any, policy: Any, settings: dict[str, Any]) -> SequenceResult[Any]:
    """The result, of what is known so far."""
    infos = rows.infos
    x: Any = rows.xs if settings["keep"] == "all" else rows.xs[-1] if rows.xs else x0
    kept = tuple((k, settings[k]) for k in ("solver", "order", "tol", "max_steps", "warm_start"))
    return SequenceResult(
        x,
        np.array([i.omega for i in infos], dtype=float),
        np.array([i.steps for i in infos], dtype=np.int64),
        np.array([i.error for i in infos], dtype=float),
        np.array([i.converged for i in infos], dtype=bool),
        np.array([math.nan if i.context is None else i.context for i in infos], dtype=float),
        x0,
        rows.code(),
        policy,
        kept,
    )


def silent(solver: str, order: str) -> Any:
    """Say once, not with every system, that the order takes the effect of omega away."""
    if solver == "sor" or order == "natural":
        return contextlib.nullcontext()
    warnings.warn(
        f"with solver='ssor_cg' the order {order!r} takes the effect of omega away, so that there is nothing to "
        "choose: use order='natural'",
        UserWarning,
        stacklevel=frames_to_the_user(),
    )
    muted = contextlib.ExitStack()
    muted.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", message="SSOR with omega other than 1")
    return muted


def report(result: SequenceResult[Any], tol: Any) -> None:
    """One warning for all systems that failed."""
    failed = np.flatnonzero(~result.converged)
    if failed.size == 0 and result.status is not Status.INTERRUPTED:
        return
    n, first = result.steps.size, f"; the first was system {failed[0]}" if failed.size else ""
    warnings.warn(
        f"linear.solve_sequence did not reach tol={float(tol):.3g} in {failed.size} of {n} systems{first}. "
        f"{result.status}",
        ConvergenceWarning,
        stacklevel=frames_to_the_user(),
    )


def check_hidden(first: System[Any], x0: Any) -> None:
    """Values that a transformation hides cannot steer a policy."""
    arrays = leaves((first, x0))
    if arrays and of(*arrays).traced(arrays):
        raise TypeError(
            "solve_sequence reads the steps of every solve on the host, which a jax transformation hides: call it "
            "outside, or sor and cg inside"
        )


@guided
def solve_sequence(
    systems: Iterable[Any],
    *,
    policy: Policy | None = None,
    solver: str = "sor",
    x0: Array_ | None = None,
    warm_start: bool = True,
    order: str = "natural",
    keep: str = "last",
    tol: float | None = None,
    max_steps: int = 10_000,
    callback: Callable[[SequenceInfo], Any] | None = None,
) -> SequenceResult[Any]:
    """Solve linear systems one after the other, with relaxation factors that a policy chooses and learns.

    Take it for time steps, regularisation paths, channels of an image: whenever many related systems come in turn and
    no one factor is good for all. Do not take it for a single system, nor for a few that share a matrix, which are a
    batch of :func:`cg`.

    Parameters
    ----------
    systems : iterable of System or of tuples (A, b) or (A, b, context)
        Pulled one by one, each after the solution of the one before: a generator may use what it has seen meanwhile. b
        may be a callable of the solution before. Inside ``with equipoise.backend(...)`` it gets arrays of the backend.
    policy : Policy, optional
        :class:`YoungOmega` by default; :class:`FixedOmega`, :class:`TsallisINF`, :class:`BinnedTsallisINF`,
        :class:`ChebCB`, or anything with their methods. It goes on learning when it is used again.
    solver : {"sor", "ssor_cg"}
        :func:`sor`, or :func:`cg` with :class:`SSOR`.
    x0 : array, optional
        What comes before the first system: its start, and what a callable b gets.
    warm_start : bool
        Start each system from the solution of the one before, where shapes agree; else from zero.
    order : {"natural", "red_black", "multicolor"}
        The order of the sweeps. For ``"ssor_cg"`` all but the natural one take the effect of omega away.
    keep : {"last", "all"}
        Which solutions to return.
    tol : float, optional
        As of the solvers: 1e-8, in float32 1e-5, by default.
    max_steps : int
        The most steps of one system.
    callback : callable, optional
        Called after each system with a :class:`SequenceInfo`; a true answer stops.

    Returns
    -------
    SequenceResult
        The solution or solutions, and factors, steps and errors of every system. Ctrl-C returns what is done; a system
        in which it came is the last one, and is not learned from.

    Raises
    ------
    TypeError, ValueError
        If a system, which a note to the error names, or a setting is not what it should be; under a jax transformation.

    Warns
    -----
    ConvergenceWarning
        Once, if some systems were not solved to the tolerance. Such a system counts `max_steps` for the policy, the
        next one starts from zero where there are no numbers to start from, and the sequence goes on.

    Notes
    -----
    M. Khodak, E. Chow, M. F. Balcan, A. Talwalkar, "Learning to relax: setting solver parameters across a sequence of
    linear system instances", ICLR 2024, arXiv:2310.02246. On torch, solutions stay differentiable through callables.

    Examples
    --------
    Heat that flows at a rate that changes:

    >>> import numpy as np
    >>> import equipoise as eq
    >>> rates = [0.1, 5.0, 0.2, 8.0]
    >>> grids = [eq.operators.Stencil.laplacian((20, 20), scale=k, shift=1.0) for k in rates]
    >>> steps = [eq.linear.System(A, lambda u: u, context=k) for A, k in zip(grids, rates)]
    >>> result = eq.linear.solve_sequence(steps, x0=np.ones((20, 20)))
    >>> result.omega.round(2), result.status.name
    (array([1.02, 1.5 , 1.05, 1.56]), 'CONVERGED')
    """
    policy = YoungOmega() if policy is None else policy
    check_policy(policy)
    check_solver(solver)
    check_order(order, ORDERS)
    if keep not in ("last", "all"):
        raise ValueError(f"keep must be 'last' or 'all', got {keep!r}")
    if not isinstance(warm_start, (bool, np.bool_)):
        raise TypeError(f"warm_start must be True or False, got {type(warm_start).__name__}")
    check_limits(0.0 if tol is None else tol, max_steps, None)
    settings: dict[str, Any] = {"solver": solver, "order": order, "tol": tol, "max_steps": int(max_steps)}
    settings |= {
        "warm_start": bool(warm_start),
        "x0": x0,
        "keep": keep,
        "callback": callback,
        "length": length(systems),
    }
    rest = pulled(systems)
    first = next(rest, None)
    if first is None:
        raise ValueError("systems must hold at least one system, got none")
    return in_turn(first, rest, policy, settings)


def length(systems: Any) -> int | None:
    """How many systems there are, if they can tell."""
    if not hasattr(systems, "__iter__"):
        raise TypeError(f"systems must be an iterable of systems, got {type(systems).__name__}")
    return len(systems) if hasattr(systems, "__len__") else None


def check_policy(policy: Any) -> None:
    """An object with the methods of a policy."""
    missing = [name for name in ("bind", "suggest", "observe") if not callable(getattr(policy, name, None))]
    if missing or isinstance(policy, type):
        what = f"the class {policy.__name__}" if isinstance(policy, type) else type(policy).__name__
        raise TypeError(f"policy must be a policy such as YoungOmega(), with bind, suggest and observe, got {what}")
