"""Sweeps of successive over-relaxation through the rows of a matrix in some order.

x + (D/omega + L)^{-1} (b - A x) is the sweep that relaxes one row after another with the newest values of the rest.
The error is the true one: it is formed from b - A x at every look.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import namespace
from ..iterate import repeat
from ..kernel import kernel
from ..record import map_arrays, record, static
from ..result import Status
from .ordering import Triangles
from .substitution import product, solve_lower, solve_upper

__all__ = [
    "Diagonals",
    "SweepState",
    "SweepTask",
    "column",
    "diverged",
    "next_factor",
    "norm",
    "ordered_sweeps",
    "relative",
    "remember",
]

TINY, HUGE = 1e-30, 1e30  # squares of norms for which nothing can overflow or vanish, in float32 neither
GROWTH = 1e8  # an error this much above the least one will not come down again


@record
class Diagonals:
    """A stencil in natural order on 2 or 3 axes, rows and columns in the order of a sweep, for kernels.

    A level is a diagonal of the grid: its rows stand side by side, those that they wait for stand side by side too.
    `center` has the shape (...) or (..., n); ``weights[axis]``, shape (...) or (..., n), couples a row to the one
    before it along the axis, and is zero in an array where there is none.
    """

    center: Any
    weights: tuple[Any, ...]
    grid: tuple[int, ...] = static()


@record
class SweepState:
    """x, shape (..., n), in the order of the sweep, its error, the best x that was looked at, and its error.

    `factor` is the factor of the next half sweep where factors follow Chebyshev's rule, else None. The packed sweeps
    of a red-black stencil hold pairs of arrays in the place of x.
    """

    x: Any
    error: Any
    best: Any
    best_error: Any
    factor: Any


@record
class SweepTask:
    """A x = b in the order of the sweep.

    `diagonals` is None except where a kernel sweeps through a stencil; then `matrix` may be None. `omega` is a number
    or has the shape (...), `size` is |b|, or 1 where that is 0; `beta`, the Jacobi radius, is None unless factors
    follow Chebyshev's rule.
    """

    matrix: Triangles | None
    diagonals: Diagonals | None
    b: Any
    omega: Any
    beta: Any
    size: Any
    sweep: str = static()


def norm(x: Any) -> Any:
    """The Euclidean norm along the last axis; large and small numbers neither overflow nor vanish."""
    xp = namespace(x)
    if isinstance(x, np.ndarray):
        square = np.asarray(np.dot(x, x) if x.ndim == 1 else np.sum(x * x, axis=-1))
        if np.all((square > TINY) & (square < HUGE)):
            return np.asarray(np.sqrt(square))
    largest = xp.max(xp.abs(x), axis=-1, keepdims=True)
    scale = xp.where((largest > 0) & xp.isfinite(largest), largest, xp.ones_like(largest))
    return xp.asarray(scale[..., 0] * xp.sqrt(xp.sum((x / scale) ** 2, axis=-1)))


def relative(r: Any, size: Any) -> Any:
    """|r| / size."""
    return namespace(r).asarray(norm(r) / size)


def remember(s: Any) -> Any:
    """The state, its x among the best if it is: done whenever there is a look at the error."""
    xp = namespace(s.error)
    better = s.error < s.best_error

    def choose(new: Any, old: Any) -> Any:
        return xp.where(xp.reshape(better, better.shape + (1,) * (new.ndim - better.ndim)), new, old)

    return replace(s, best=map_arrays(choose, s.x, s.best), best_error=choose(s.error, s.best_error))


def diverged(s: Any, task: Any) -> Any:
    """The code of an error far above the least one."""
    xp = namespace(s.error)
    lost = s.error > GROWTH * s.best_error
    return xp.where(
        lost, xp.full_like(s.error, int(Status.DIVERGED), dtype=xp.int32), xp.zeros_like(lost, dtype=xp.int32)
    )


def next_factor(factor: Any, beta: Any) -> Any:
    """Chebyshev's factors 1, 1/(1 - beta^2/2), then w <- 1/(1 - beta^2 w/4); only the first is 1."""
    xp = namespace(factor)
    carried = xp.where(factor == 1.0, xp.full_like(factor, 2.0), factor)
    return xp.asarray(1.0 / (1.0 - 0.25 * beta**2 * carried))


def column(omega: Any) -> Any:
    """A number, or the numbers of a batch beside their rows."""
    return omega[..., None] if getattr(omega, "ndim", 0) else omega


def step(s: SweepState, task: SweepTask) -> SweepState:
    """One sweep in its direction or directions."""
    matrix: Any = task.matrix
    xp, omega, x, factor = namespace(s.x), column(task.omega), s.x, s.factor
    if factor is not None:  # two colours, each with a factor of its own
        second = next_factor(factor, task.beta)
        red = xp.arange(x.shape[-1]) < matrix.place.groups[1:2]
        omega = xp.where(red, factor[..., None], second[..., None])
        factor = next_factor(second, task.beta)
    if task.sweep != "backward":
        x = x + solve_lower(matrix, task.b - product(matrix, x), omega)
    if task.sweep != "forward":
        x = x + solve_upper(matrix, task.b - product(matrix, x), omega)
    return replace(s, x=x, factor=factor)


@kernel("linear.sor")
def ordered_sweeps(state: SweepState, task: SweepTask, limit: Any, tol: Any) -> tuple[SweepState, Any, Any]:
    """Up to `limit` sweeps; a kernel stops after the first whose error is not above `tol`."""
    state = repeat(step, remember(state), task, limit)
    matrix: Any = task.matrix
    error = relative(task.b - product(matrix, state.x), task.size)
    return replace(state, error=error), limit, error
