"""Corrected semi-normal equations: steps x + M M^T A^T (b - A x), where M M^T is the inverse of A^T A or close to it.

Both accurate methods end here or go through here: the residual and the gradient of a point are always recomputed from
the point itself, and the backward error that is made of them is the only stopping test.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..iterate import stepwise
from ..record import record
from .factors import Spectrum, backward_error, dot, turned, wide
from .passes import Passes

__all__ = ["Point", "Task", "corrections", "least_norm", "look"]


NOISE = 1e3  # units in the last place of a singular vector
FAR = 1e2  # lengths of x


@record
class Point:
    """A candidate, and what one pass over A says of it; a right-hand side is a member of the batch.

    Attributes
    ----------
    x, gradient : array, shape (..., k, d)
        The gradient is A^T (b - A x).
    square : array, shape (..., k)
        |b - A x|^2.
    stage : array of int, shape (..., k)
        Corrections so far.
    """

    x: Any
    gradient: Any
    square: Any
    stage: Any


@record
class Task:
    """What a correction needs: passes over A, M, the spectrum of the sketch, and |b|."""

    passes: Any
    root: Any
    spectrum: Spectrum
    size: Any


def look(passes: Passes, x: Any, stage: Any) -> Point:
    """The point x, shape (..., k, d), in the dtype of the right-hand sides."""
    xp = namespace(x)
    x = xp.astype(x, passes.sides.dtype, copy=False)
    gradient, square = passes.residual_gradient(turned(x))
    return Point(x, turned(gradient), square, stage)


def corrected(point: Point, task: Task) -> Point:
    """One correction."""
    step = dot(dot(wide(point.gradient), task.root), turned(task.root))
    return look(task.passes, wide(point.x) + step, point.stage + 1)


def error_of(point: Point, task: Task) -> Any:
    """The backward error."""
    return backward_error(task.spectrum, point.x, point.gradient, point.square, task.size)


corrections = stepwise(corrected, error_of)


def least_norm(spectrum: Spectrum, x: Any) -> Any:
    """x, shape (..., k, d), less its part in the null space of A: the solution of least norm.

    A null vector of A is D^-1 v for a dropped singular vector v. Entries of v that are rounding count as zero: divided
    by the scale of a small column they would outweigh all others. Where the step would still be far longer than x, both
    in scaled columns, it is rounding itself, and x stays the solution of least norm in scaled columns.
    """
    xp = namespace(x)
    large = xp.abs(spectrum.V) > NOISE * xp.finfo(spectrum.V.dtype).eps
    null = xp.where(large & ~spectrum.kept[..., None, :], spectrum.V, xp.zeros_like(spectrum.V))
    null = null / spectrum.scale[..., :, None]
    sizes = xp.sqrt(xp.asarray(xp.sum(null * null, axis=-2)))
    null = null / xp.where(sizes > 0, sizes, xp.ones_like(sizes))[..., None, :]
    part = dot(xp.linalg.pinv(null), turned(wide(x)))
    step, scale = turned(dot(null, part)), spectrum.scale[..., None, :]
    length, moved = (xp.sqrt(xp.sum((scale * y) ** 2, axis=-1, keepdims=True)) for y in (wide(x), step))
    return wide(x) - xp.where(moved <= FAR * length, step, xp.zeros_like(step))
