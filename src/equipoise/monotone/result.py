"""What the functions of this family return."""

from __future__ import annotations

from typing import Any, Generic

from ..arrays import A
from ..backend import of
from ..record import record
from ..result import History, Outcome, Status

__all__ = ["GameResult", "LinearProgramResult", "MonotoneResult", "OracleHistory", "advice"]

TOO_LONG = "Or the step is too long: the constant of the operator may be larger than the one that was used."


@record
class OracleHistory(History[A], Generic[A]):
    """A :class:`equipoise.result.History` with one more column: the oracle calls up to each row.

    Of a batch, what the member that was worst off has taken; where members evaluate all of F at steps of their own, as
    inner loops do, no more than the rows say.
    """

    oracle_calls: A


@record
class MonotoneResult(Outcome[A], Generic[A]):
    """A zero of F + G, or as far as a method came.

    Attributes
    ----------
    u : array, shape (..., d)
        The last iterate whose residual is known.
    oracle_calls : array of int, shape (...)
        Evaluations of single components: n for the whole of a finite sum, two for every sampled difference, one for a
        plain operator; tests and the first point included. Of a batch, what each member takes by itself. Where a
        library has no whole numbers of 64 bits, as jax by default, 2^31 - 1 stands for that many or more.
    restarts : array of int, shape (...)
        How often the anchor was moved.
    error : array, shape (...)
        ``r(u) = |u - J(u - a F(u), a)| / a`` with a = 1/L, which is |F(u)| without a resolvent; for a nonexpansive map
        |u - T(u)|.
    history : OracleHistory or None
        A row a check, with the calls up to there.
    steps, code, converged, status
        See :class:`equipoise.result.Outcome`.
    """

    u: A
    oracle_calls: A
    restarts: A


def advice(result: MonotoneResult[Any]) -> str:
    """What else may be why no progress was made; of what is traced nothing is known."""
    if of(result.code).traced([result.code]):
        return ""
    return TOO_LONG if result.status in (Status.STALLED, Status.DIVERGED, Status.NOT_FINITE) else ""


@record
class GameResult(Outcome[A], Generic[A]):
    """Strategies of both players, and bounds on the value of the game.

    Attributes
    ----------
    x, y : array, shapes (..., n) and (..., m)
        Mixed strategies: x of the player of the columns, who pays, y of the player of the rows, who is paid.
    value : array, shape (...)
        The middle of the two bounds.
    lower, upper : array, shape (...)
        What y earns at least, min(A^T y), and what x pays at most, max(A x): the value lies between them.
    error : array, shape (...)
        The duality gap, upper - lower.
    restarts : array of int, shape (...)
        How often the anchor was moved.
    steps, code, history, converged, status
        See :class:`equipoise.result.Outcome`.
    """

    x: A
    y: A
    value: A
    lower: A
    upper: A
    restarts: A


@record
class LinearProgramResult(Outcome[A], Generic[A]):
    """The solution of a linear program and of its dual.

    Attributes
    ----------
    x : array, shape (..., n)
        The solution; where the program is unbounded, a direction along which it falls for ever.
    y : array, shape (..., p + q)
        Multipliers of A x = b, then of G x >= h; where no point is feasible, a certificate of that (Farkas).
    reduced_costs : array, shape (..., n)
        c - K^T y, as far as finite bounds can carry it.
    value, dual_value : array, shape (...)
        c x, and what the multipliers bound it by from below.
    primal_residual, dual_residual, gap : array, shape (...)
        |A x - b, (h - G x)_+| / (1 + |(b, h)|), |c - K^T y - reduced_costs| / (1 + |c|), and
        |value - dual_value| / (1 + |value| + |dual_value|).
    error : array, shape (...)
        The largest of the three.
    restarts : array of int, shape (...)
        How often the anchor was moved.
    steps, code, history, converged, status
        See :class:`equipoise.result.Outcome`.
    """

    x: A
    y: A
    reduced_costs: A
    value: A
    dual_value: A
    primal_residual: A
    dual_residual: A
    gap: A
    restarts: A
