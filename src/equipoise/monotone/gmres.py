"""Linear systems whose matrix is known by its products: restarted GMRES in the range of the matrix.

The iterates lie in the Krylov space of A b instead of that of b: D. Calvetti, B. Lewis and L. Reichel, "GMRES-type
methods for inconsistent systems", Linear Algebra Appl. 316, 157-169, 2000. So where A is singular, and A^T has the same
null space, as for monotone operators, the solution of least squares and least norm is found, whether or not b lies in
the range.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..arrays import namespace
from ..implicit import differentiable
from ..iterate import Advance, iterate
from ..record import record
from ..result import Outcome, settle
from .arnoldi import advancing, arnoldi, corrected, length, over, started
from .transposes import pull_back, transposed

__all__ = ["Solution", "solve"]

RESTART, MAX_CYCLES, PATIENCE = 60, 500, 20
ROUNDING = 32.0  # units in the last place of |A| |x|, up to which a residual cannot be told from zero


@record
class Solution(Outcome[Any]):
    """`x`; the error is |b - A x| / |b|, or the distance of b - A x from the null space, where that is less."""

    x: Any


@record
class Cycle:
    """Where a restart begins; numbers have the shape (..., 1)."""

    x: Any
    residual: Any
    image: Any  # A times the residual
    size: Any  # of A: the largest |A v| so far, for |v| = 1
    error: Any


def looked(x: Any, size: Any, data: Any, matvec: Callable[[Any, Any], Any]) -> Cycle:
    """What is left of b, and how far that is from nothing, or from the null space."""
    parameters, scale, b, tol = data
    xp = namespace(b)
    residual = b - matvec(x, parameters)
    image, far = matvec(residual, parameters), length(residual)
    rounding = ROUNDING * float(xp.finfo(b.dtype).eps) / tol * size * length(x)
    error = xp.minimum(far / (scale + rounding), over(length(image), size * (far + rounding)))
    return Cycle(x, residual, image, size, xp.where(far > 0, error, far))


def error_of(s: Cycle, data: Any) -> Any:
    """Of the last look."""
    return s.error


@functools.cache
def cycles(matvec: Callable[[Any, Any], Any]) -> Advance:
    """A step: a basis that starts from A times the residual, and the best correction in it."""

    def step(s: Cycle, data: Any) -> Cycle:
        parameters, scale, b, tol = data
        m = min(int(b.shape[-1]), RESTART)
        basis = started(s.residual, s.image, s.size, m)
        limits: dict[str, Any] = {"tol": 0.5 * tol, "max_steps": m, "history": False, "nested": True}
        basis = iterate(arnoldi(matvec), basis, (parameters, scale), **limits).state
        return looked(s.x + corrected(basis), basis.size, data, matvec)

    return advancing(step, error_of)


def solve_vjp(bar: Any, out: Any, args: tuple[Any, ...], *, matvec: Any, tol: float, flip: bool) -> tuple[Any, ...]:
    """The adjoint solves the transposed system: a derivative of any order, for b in the range of A."""
    if bar.x is None:
        return None, None
    adjoint = solve(bar.x, args[1], matvec=matvec, tol=tol, flip=not flip).x
    product = transposed(matvec) if flip else matvec
    return adjoint, pull_back(lambda parameters: product(out.x, parameters), args[1], -adjoint)


@differentiable(solve_vjp)
def solve(b: Any, parameters: Any, *, matvec: Callable[[Any, Any], Any], tol: float, flip: bool) -> Solution:
    """Solve ``matvec(x, parameters) = b``, or with `flip` the transposed system; shapes (..., d), a system each.

    The residual falls to ``tol |b|``, or as far as rounding allows. A singular A with the null space of A^T gives the
    solution of least squares and least norm. `matvec` is a module-level function.
    """
    xp, product = namespace(b), transposed(matvec) if flip else matvec
    largest = xp.max(xp.abs(b), axis=-1, keepdims=True)
    unit = over(b, largest)  # so that no square over- or underflows
    scale = length(unit)
    scale = xp.where(scale > 0, scale, xp.ones_like(scale))
    image = product(unit, parameters)
    size = length(image) / scale
    start = Cycle(xp.zeros_like(b), unit, image, size, xp.where(size > 0, xp.ones_like(size), size))
    limits: dict[str, Any] = {"max_steps": MAX_CYCLES, "patience": PATIENCE, "history": False, "nested": True}
    run = iterate(cycles(product), start, (parameters, scale, unit, tol), tol=tol, **limits)
    return Solution(run.error, run.steps, settle(run.error, tol, run.code), None, run.state.x * largest)
