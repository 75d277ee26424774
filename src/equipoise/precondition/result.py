"""What :func:`fit_hessian` and :func:`minimize` return."""

from __future__ import annotations

from typing import Any, Generic

from ..arrays import A
from ..backend import of
from ..record import record, static
from ..result import Outcome
from .operator import Preconditioner

__all__ = ["HessianFit", "MinimizeResult"]


@record
class HessianFit(Outcome[A], Generic[A]):
    """A preconditioner that was fitted to a symmetric matrix.

    Attributes
    ----------
    preconditioner : Preconditioner
        P, near |H|^{-1}: an operator for :func:`equipoise.linear.cg` and the solvers of scipy.
    state : record
        The state of P; a start for another fit.
    error : array, shape ()
        ``sqrt(mean |P H H P v - v|^2 / |v|^2) / 2`` over fresh normal probes v: about the size of P |H| - I, for
        indefinite matrices too.
    steps : array of int, shape ()
        Pairs.
    hvps : array of int, shape ()
        Products with H, those of the probes too.
    code, history, converged, status
        See :class:`equipoise.result.Outcome`.
    """

    preconditioner: Preconditioner
    state: Any
    hvps: A
    _shown = ("preconditioner", "hvps")


@record
class MinimizeResult(Outcome[A], Generic[A]):
    """A point where the gradient is small, or as far as a run came.

    Attributes
    ----------
    x : array
        The last point.
    fun, jac : array
        The value at `x` and its gradient; with `batch`, of the data of the last step, and the gradient that this step
        took.
    error : array, shape ()
        ``max |gradient|``; with `batch`, its mean over the last 32 steps.
    state : record
        The state of the preconditioner.
    nit, nfev, njev, nhev, success, message
        Steps, evaluations of `fun`, `grad` and `hvp`, and what `converged` and `status` say, as scipy names them.
        `nfev` counts values of `fun` alone, at `x0` and at `x`, with `batch` at `x` only; where the library
        differentiates `fun`, what that evaluates is in `njev`.
    steps, code, history, converged, status
        See :class:`equipoise.result.Outcome`.
    """

    x: A
    fun: A
    jac: A
    state: Any
    products: bool = static()  # whether hvp was given
    batched: bool = static()
    _shown = ("x", "fun")

    @property
    def nit(self) -> int:
        """Steps taken."""
        return int(of(self.steps).to_numpy(self.steps))

    @property
    def nfev(self) -> int:
        """Evaluations of the function for its value."""
        return 1 if self.batched else 2

    @property
    def njev(self) -> int:
        """Evaluations of the gradient."""
        return self.nit * (1 if self.products else 2) + (0 if self.batched else 1)

    @property
    def nhev(self) -> int:
        """Products with the Hessian."""
        return self.nit if self.products else 0

    @property
    def success(self) -> Any:
        """`converged`."""
        return self.converged

    @property
    def message(self) -> str:
        """The sentence of `status`."""
        return str(self.status)
