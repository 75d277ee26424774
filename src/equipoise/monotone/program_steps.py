"""A linear program between two looks: steps on scaled data, then errors and certificates on the data as given.

``min c x`` subject to K x = q in the first rows, K x >= q in the others, lower <= x <= upper. Scaling factors are
powers of two, so that what is known of the scaled products is known of the original ones.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..iterate import repeat
from ..kernel import kernel
from ..record import record, static
from ..result import Status
from .anchored import moved
from .products import forward, transposed
from .residuals import norm
from .saddle_steps import MAPPED, SaddleState, SaddleTask, dot, step

__all__ = ["Errors", "Program", "ProgramState", "errors", "infeasible", "looked", "program_chunk", "verdict"]


NOISE = 100.0  # units of rounding of its terms, above which a sum is positive
ALIKE = 10.0  # times the tolerance a certificate may miss in scaled data, where a tiny row is as good as any other


@record
class Program:
    """The program as it was given, its scaled form `task`, and the diagonals: x = columns * scaled x, y likewise."""

    K: Any
    c: Any
    q: Any
    lower: Any
    upper: Any
    rows: Any
    columns: Any
    size_c: Any  # 1 + |c|
    size_q: Any  # 1 + |q|
    task: SaddleTask
    equalities: int = static()


@record
class ProgramState:
    """The iterate; the best point that was looked at, in the units of the program; and a certificate, where found."""

    inner: SaddleState
    x: Any
    y: Any
    error: Any
    ray_x: Any
    ray_y: Any
    code: Any


@record
class Errors:
    """How far a point is from optimal: numbers of the shape of the batch."""

    reduced_costs: Any
    value: Any
    dual_value: Any
    primal: Any
    dual: Any
    gap: Any
    worst: Any


def carried(r: Any, p: Program) -> Any:
    """The part of reduced costs that finite bounds can carry."""
    xp = namespace(r)
    kept = ((r > 0) & xp.isfinite(p.lower)) | ((r < 0) & xp.isfinite(p.upper))
    return xp.where(kept, r, xp.zeros_like(r))


def bounded(r: Any, p: Program, measure: Any = None) -> Any:
    """The least of r x over the bounds, for reduced costs that they can carry; or the sum of a measure of its terms."""
    xp = namespace(r)
    at = xp.where(r > 0, p.lower, p.upper)
    terms = xp.where(r == 0, xp.zeros_like(r), r * xp.where(r == 0, xp.zeros_like(r), at))
    return xp.asarray(xp.sum(terms if measure is None else measure(terms), axis=-1))


def shortfall(image: Any, target: Any, p: Program) -> Any:
    """By how much K x misses the equalities and falls short of the inequalities."""
    xp = namespace(image)
    missing = target - image
    return xp.concat([missing[..., : p.equalities], xp.clip(missing[..., p.equalities :], min=0.0)], axis=-1)


def errors(x: Any, y: Any, image: Any, back: Any, p: Program) -> Errors:
    """The errors of x and y, where K x and K^T y are known."""
    xp = namespace(x)
    r = p.c - back
    reduced = carried(r, p)
    value = dot(p.c, x)
    dual_value = dot(p.q, y) + bounded(reduced, p)
    primal = norm(shortfall(image, p.q, p)) / p.size_q
    dual = norm(r - reduced) / p.size_c
    gap = xp.asarray(xp.abs(value - dual_value) / (1.0 + xp.abs(value) + xp.abs(dual_value)))
    return Errors(reduced, value, dual_value, primal, dual, gap, xp.maximum(xp.maximum(primal, dual), gap))


def primal_ray(dx: Any, p: Program, tol: Any) -> tuple[Any, Any]:
    """A direction along which the objective falls for ever, and whether it is one to `tol`."""
    xp = namespace(dx)
    d = xp.where(xp.isfinite(p.lower), xp.clip(dx, min=0.0), dx)
    d = xp.where(xp.isfinite(p.upper), xp.clip(d, max=0.0), d)
    fall, rounding = -dot(p.c, d), NOISE * xp.finfo(d.dtype).eps * dot(xp.abs(p.c), xp.abs(d))
    amiss = shortfall(forward(p.K, d), 0.0 * p.q, p)
    small = norm(p.rows * amiss) <= ALIKE * tol * norm(d / p.columns)
    return d, xp.asarray((fall > rounding) & (norm(amiss) * p.size_c <= tol * fall) & small)


def dual_ray(dy: Any, p: Program, tol: Any) -> tuple[Any, Any]:
    """Multipliers by which the constraints contradict each other (Farkas), and whether they do to `tol`."""
    xp = namespace(dy)
    v = xp.concat([dy[..., : p.equalities], xp.clip(dy[..., p.equalities :], min=0.0)], axis=-1)
    r = -transposed(p.K, v)
    reduced = carried(r, p)
    gain = dot(p.q, v) + bounded(reduced, p)
    rounding = NOISE * xp.finfo(v.dtype).eps * (dot(xp.abs(p.q), xp.abs(v)) + bounded(reduced, p, xp.abs))
    amiss = r - reduced
    small = norm(p.columns * amiss) <= ALIKE * tol * norm(v / p.rows)
    return v, xp.asarray((gain > rounding) & (norm(amiss) * p.size_q <= tol * gain) & small)


def infeasible(s: SaddleState, p: Program, tol: Any) -> tuple[Any, Any, Any]:
    """What T z - z tends to where there is no solution: a code, and the two rays."""
    xp, (dx, dy) = namespace(s.primal), s.move()
    falling, unbounded = primal_ray(p.columns * dx, p, tol)
    multipliers, contradictory = dual_ray(p.rows * dy, p, tol)
    code = xp.astype(unbounded, xp.int32) * int(Status.DUAL_INFEASIBLE)
    code = moved(contradictory, xp.full_like(code, int(Status.PRIMAL_INFEASIBLE)), code)
    return code, falling, multipliers


def looked(s: SaddleState, best: ProgramState, p: Program, tol: Any) -> ProgramState:
    """The errors of T z, in the units of the program, and whether there is a certificate."""
    z = s.point(MAPPED)
    x, y = p.columns * z.x, p.rows * z.y
    image, back = p.task.sign * z.ax / p.rows, p.task.sign * z.aty / p.columns
    error = errors(x, y, image, back, p).worst
    better = error < best.error
    code, ray_x, ray_y = infeasible(s, p, tol)
    fresh = (code > 0) & (best.code == 0)
    return ProgramState(
        *(s, moved(better, x, best.x), moved(better, y, best.y), moved(better, error, best.error)),
        *(moved(fresh, ray_x, best.ray_x), moved(fresh, ray_y, best.ray_y), moved(fresh, code, best.code)),
    )


@kernel("monotone.program_chunk")
def program_chunk(state: ProgramState, program: Program, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
    """`limit` steps, and the least of the errors that were looked at."""
    s = looked(repeat(step, state.inner, program.task, limit), state, program, tol)
    return s, limit, s.error


def verdict(s: ProgramState, data: Any) -> Any:
    """The code of a certificate, for those that have one."""
    return s.code
