"""Conjugate gradients preconditioned by a symmetric sweep, at the cost of the sweep alone: Eisenstat's trick.

With D' = D/omega and K = 2 D' - D the matrix is A = (D' + L) + (D' + U) - K. So with t = (D' + U)^{-1} p the product
(D' + L)^{-1} A t is t + (D' + L)^{-1} (p - K t), and no product with A is ever formed. The iterates are those of
conjugate gradients with M = (omega/(2 - omega)) (D/omega + L) D^{-1} (D/omega + U); the residual itself, which the
stopping test needs, is (D' + L) times the one that is carried.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import namespace
from ..iterate import repeat
from ..kernel import kernel
from ..record import record
from ..result import Status
from .ordering import Triangles
from .substitution import below, solve_lower, solve_upper
from .sweeps import GROWTH, Diagonals, column, relative, remember

__all__ = ["SSORState", "SSORTask", "begin", "checked", "divided", "dot", "failed", "ssor_cg"]


@record
class SSORState:
    """All vectors have the shape (..., n) and stand in the order of the sweep.

    `residual` is (D' + L)^{-1} (b - A x), `direction` the p of the recursion, `square` the product of the residual with
    K times itself, `curvature` the last p^T A p (in these coordinates), positive as long as A is.
    """

    x: Any
    residual: Any
    direction: Any
    square: Any
    curvature: Any
    error: Any
    best: Any
    best_error: Any


@record
class SSORTask:
    """The matrix in the order of the sweep, the factor and |b|; see :class:`equipoise.linear.sweeps.SweepTask`."""

    matrix: Triangles | None
    diagonals: Diagonals | None
    omega: Any
    size: Any


@kernel("linear.ssor_begin")
def begin(x: Any, r: Any, task: SSORTask) -> SSORState:
    """The state of the iterate x, whose residual b - A x is r."""
    matrix: Any = task.matrix
    xp, omega = namespace(x), column(task.omega)
    residual = solve_lower(matrix, r, omega)
    direction = (2.0 / omega - 1.0) * matrix.diagonal * residual
    error = relative(r, task.size)
    return SSORState(x, residual, direction, dot(residual, direction), xp.ones_like(error), error, x, error)


def dot(u: Any, v: Any) -> Any:
    """The product of vectors, shape (...)."""
    xp = namespace(u)
    return xp.asarray(xp.sum(u * v, axis=-1))


def divided(u: Any, v: Any) -> Any:
    """u/v, and 0 where v is not positive: a finished or a failed member stands still."""
    xp = namespace(u)
    good = v > 0
    return xp.asarray(xp.where(good, u, xp.zeros_like(u)) / xp.where(good, v, xp.ones_like(v)))


def checked(curvature: Any, s: Any) -> Any:
    """The curvature of a step, or of the first bad one before it.

    A residual of exactly zero leaves nothing to divide by, and is no sign of a matrix that is not definite; a residual
    with a negative square is one of the preconditioner.
    """
    xp = namespace(curvature)
    curvature = xp.where(s.square == 0, xp.ones_like(curvature), xp.where(s.square < 0, s.square, curvature))
    return xp.where(s.curvature <= 0, s.curvature, curvature)


def failed(s: Any, task: Any) -> Any:
    """The code of a matrix that is not positive definite, or of an error far above the least one."""
    xp = namespace(s.error)
    zero = xp.zeros_like(s.error, dtype=xp.int32)
    code = xp.where(s.error > GROWTH * s.best_error, zero + int(Status.DIVERGED), zero)
    return xp.where(s.curvature <= 0, zero + int(Status.NOT_POSITIVE_DEFINITE), code)


def step(s: SSORState, task: SSORTask) -> SSORState:
    """One step of conjugate gradients in the coordinates of the sweep."""
    matrix: Any = task.matrix
    omega = column(task.omega)
    k = (2.0 / omega - 1.0) * matrix.diagonal
    t = solve_upper(matrix, s.direction, omega)
    q = t + solve_lower(matrix, s.direction - k * t, omega)
    curvature = checked(dot(s.direction, q), s)
    alpha = divided(s.square, curvature)[..., None]
    x, residual = s.x + alpha * t, s.residual - alpha * q
    square = dot(residual, k * residual)
    direction = k * residual + divided(square, s.square)[..., None] * s.direction
    return replace(s, x=x, residual=residual, direction=direction, square=square, curvature=curvature)


@kernel("linear.ssor_cg")
def ssor_cg(state: SSORState, task: SSORTask, limit: Any, tol: Any) -> tuple[SSORState, Any, Any]:
    """Up to `limit` steps; a kernel stops after the first whose error is not above `tol`, or whose curvature is bad."""
    state = repeat(step, remember(state), task, limit)
    matrix: Any = task.matrix
    r = matrix.diagonal / column(task.omega) * state.residual + below(matrix, state.residual)
    error = relative(r, task.size)
    return replace(state, error=error), limit, error
