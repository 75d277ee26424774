"""What every result says of itself: how far off it is, how many steps it took, and why it stopped.

A solver that does not converge returns all the same, and says so: `code` is data (so that it exists under jit and in a
batch), :class:`Status` is read from it, and `converged` is exactly ``error <= tol`` of an error that was recomputed
from the answer.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import warnings
from typing import Any, ClassVar, Generic

import numpy as np

from .arrays import A, library, like, namespace
from .backend import of
from .display import brief, table, values
from .record import record

__all__ = ["ConvergenceWarning", "History", "Outcome", "Status", "frames_to_the_user", "report", "settle"]


class ConvergenceWarning(UserWarning):
    """A method returned before it reached its tolerance."""


class Status(enum.IntEnum):
    """Why a method stopped; ``str(status)`` says it in a sentence and what to try. A larger code is a worse one."""

    CONVERGED = 1
    STOPPED = 2
    MAX_STEPS = 3
    MAX_ORACLE_CALLS = 4
    INTERRUPTED = 5
    STALLED = 6
    PRIMAL_INFEASIBLE = 7
    DUAL_INFEASIBLE = 8
    NOT_POSITIVE_DEFINITE = 9
    DIVERGED = 10
    NOT_FINITE = 11

    def __str__(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Status.CONVERGED: "The error is at or below the tolerance.",
    Status.STOPPED: "The callback asked to stop before the tolerance was reached.",
    Status.MAX_STEPS: "The number of steps ran out before the tolerance was reached: raise max_steps, loosen tol, or "
    "start closer to the solution.",
    Status.MAX_ORACLE_CALLS: "The budget of oracle calls ran out before the tolerance was reached: raise it or loosen "
    "tol.",
    Status.INTERRUPTED: "The run was interrupted from the keyboard; the result is the last iterate.",
    Status.STALLED: "The error no longer falls, most likely because rounding hides further progress: loosen tol, or "
    "compute in float64.",
    Status.PRIMAL_INFEASIBLE: "The constraints contradict each other: no point satisfies all of them.",
    Status.DUAL_INFEASIBLE: "The objective is unbounded on the feasible set.",
    Status.NOT_POSITIVE_DEFINITE: "The operator is not positive definite: a direction with p^T A p <= 0 was met.",
    Status.DIVERGED: "The error grew without bound: the method does not converge on this problem with these settings.",
    Status.NOT_FINITE: "A number overflowed or became NaN: check the scale of the input, or compute in float64.",
}


@record
class History(Generic[A]):
    """One row a check: the step, the error there (the worst of a batch), and the seconds since the start."""

    step: A
    error: A
    seconds: A


@record
class Outcome(Generic[A]):
    """What all results share.

    Attributes
    ----------
    error : array
        The distance from a solution in the units of `tol`, recomputed from the answer; of the shape of the batch.
    steps : array of int
        Steps taken, of the shape of the batch.
    code : array of int
        :class:`Status` as a number, of the shape of the batch.
    history : History or None
        A row a check; None where it was not recorded.
    """

    error: A
    steps: A
    code: A
    history: History[A] | None
    _shown: ClassVar[tuple[str, ...]] = ()  # the fields that are printed; all of them if none is named

    @property
    def converged(self) -> Any:
        """Whether ``error <= tol``: a bool, or an array of the shape of the batch."""
        code: Any = self.code
        converged = code == int(Status.CONVERGED)
        if not library(code) or (code.ndim == 0 and not of(code).traced([code])):
            return bool(converged)
        return converged

    @property
    def status(self) -> Any:
        """Why the method stopped; the worst of a batch. Under a jax transformation, the integer code."""
        code: Any = self.code
        if not library(code):  # a member of a batch of numpy's
            return Status(int(code))
        if of(code).traced([code]):
            return code
        return Status(int(np.max(of(code).to_numpy(code))))

    def _facts(self) -> dict[str, Any]:
        """What was found, by name, as it is printed beside error, steps and status."""
        shared = ("error", "steps", "code", "history")
        names = self._shown or [f.name for f in dataclasses.fields(self) if f.name not in shared]
        found = ((name, getattr(self, name)) for name in names)
        return {name: value for name, value in found if not (value is None or (isinstance(value, str) and not value))}

    def __repr__(self) -> str:
        found = [f"{name} {brief(value)}" for name, value in self._facts().items()]
        took = [f"error {_most(self.error)}", f"steps {_most(self.steps)}", _verdict(self)]
        return f"{type(self).__name__}({', '.join(found + took)})"

    def _repr_html_(self) -> str:
        """The table that notebooks show."""
        worst = _codes(self)
        said = f": {Status(int(worst.max()))}" if worst is not None and worst.size else ""
        step: Any = getattr(self.history, "step", None)
        checks = {"history": f"{step.shape[0]} rows"} if library(step) and step.ndim else {}
        rows = {"error": _most(self.error), "steps": _most(self.steps), **self._facts(), **checks}
        return table(type(self).__name__, rows, f"{_verdict(self)}{said}")


def _numbers(x: Any) -> np.ndarray[Any, Any] | None:
    """An array, or a scalar as numpy's reductions give them, as far as it can be read."""
    if library(x):
        return values(x)
    return np.asarray(x) if isinstance(x, (int, float, np.generic)) else None


def _most(x: Any) -> str:
    """A number, or the greatest of a batch, as far as it can be read."""
    known = _numbers(x)
    if known is None:  # jax puts other things into the fields of a record for a while
        return "traced" if library(x) else brief(x)
    if not known.size or known.dtype.kind not in "biuf":
        return brief(x)
    most = known.max().item()
    text = f"{most:.3g}" if isinstance(most, float) else str(most)
    return f"at most {text}" if known.ndim else text


def _codes(outcome: Outcome[Any]) -> np.ndarray[Any, Any] | None:
    """The codes, where they can be read and all are those of a status."""
    codes = _numbers(outcome.code)
    return codes if codes is not None and np.all(np.isin(codes, list(Status))) else None


def _verdict(outcome: Outcome[Any]) -> str:
    """The name of the status; of a batch, how many of its problems are solved."""
    codes = _codes(outcome)
    if codes is None:
        return "traced"
    if not codes.ndim:
        return Status(int(codes)).name
    solved = int(np.sum(codes == int(Status.CONVERGED)))
    if solved == codes.size:
        return f"all {solved} CONVERGED"
    return f"{solved} of {codes.size} CONVERGED, the worst {Status(int(codes.max())).name}"


def settle(error: Any, tol: Any, code: Any) -> Any:
    """The final code, decided by the recomputed `error`; the loop's own `code` only tells why it ended otherwise."""
    xp = namespace(error, code)
    error = xp.asarray(error)  # numpy reduces to scalars
    number = {**like(error), "dtype": xp.int32}
    fate = xp.where(code == 0, xp.asarray(int(Status.STALLED), **number), code)
    fate = xp.where(xp.isfinite(error), fate, xp.asarray(int(Status.NOT_FINITE), **number))
    return xp.where(error <= tol, xp.asarray(int(Status.CONVERGED), **number), fate)


def report(outcome: Outcome[Any], method: str, tol: Any, advice: str = "", *, reason: str = "") -> None:
    """Warn at the user's line if `outcome` did not converge.

    Silent under a jax transformation, where nothing can be read.

    A caller may add one `advice` sentence of its own, and a `reason` that stands for the sentence of the status.
    """
    backend = of(outcome.code)
    if backend.traced([outcome.code]):
        return
    code = backend.to_numpy(outcome.code)
    if np.all(code == int(Status.CONVERGED)):
        return
    failed = int(np.sum(code != int(Status.CONVERGED)))
    of_batch = f" for {failed} of {code.size} problems" if code.ndim else ""
    error = float(np.max(backend.to_numpy(outcome.error)))
    steps = int(np.max(backend.to_numpy(outcome.steps)))
    message = (
        f"{method} did not reach tol={float(tol):.3g}{of_batch}: error {error:.3g} after {steps} steps. "
        f"{reason or Status(int(code.max()))} {advice}"
    )
    warnings.warn(message.rstrip(), ConvergenceWarning, stacklevel=frames_to_the_user())


def frames_to_the_user() -> int:
    """The `stacklevel` of a warning that shall point at the line outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0].startswith("equipoise"):
        frame, level = frame.f_back, level + 1
    return level


def is_number(x: object) -> bool:
    """Whether `x` is a real number or a 0-d array."""
    return (isinstance(x, (int, float, np.generic)) and not isinstance(x, bool)) or (
        bool(library(x)) and getattr(x, "ndim", 1) == 0
    )
