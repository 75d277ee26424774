"""The direct solver: the library's own, by singular values, and the reference for all others.

Taken for small problems, and where A is not much taller than wide, so that a sketch saves nothing. It costs what the
library's solver costs, and a look at A more, since what is returned is to be known to be right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import namespace
from ..backend import of
from ..iterate import Iterated, iterate
from ..kernel import kernel
from .factors import condition_of, dot, norm_of_columns, spectrum_of, turned, unit, wide
from .panels import gram, residual_gradient
from .passes import InMemory, norms
from .refine import Point, Task, corrections, least_norm, look

__all__ = ["direct", "least_squares"]

CORRECTIONS = 3


@kernel("sketch.least_squares")
def least_squares(A: Any, b: Any, rcond: Any, *, root: bool = False) -> tuple[Any, Any, Any, Any]:
    """The solution of least norm, the singular values, the rank, and, if wanted, M with M M^T = (A^T A)^+.

    Parameters
    ----------
    A : array, shape (..., n, d)
        Of any shape.
    b : array, shape (..., n, k)
        The right-hand sides.
    rcond : float
        Singular values below it, relative to the largest, count as zero.
    root : bool
        Whether M is wanted; without it None comes in its place.

    Returns
    -------
    x : array, shape (..., d, k)
    values : array, shape (..., min(n, d))
    rank : array of int, shape (...)
    M : array, shape (..., d, min(n, d)), or None
    """
    xp = namespace(A)
    if A.shape[-2] >= A.shape[-1]:
        Q, R = xp.linalg.qr(A)
        b = dot(turned(Q), b)
    else:
        R = A
    U, values, Vt = xp.linalg.svd(R, full_matrices=False)
    kept = values > rcond * values[..., :1]
    safe = xp.where(kept, values, xp.ones_like(values))
    M = turned(Vt) * xp.where(kept, 1.0 / safe, xp.zeros_like(values))[..., None, :]
    rank = xp.asarray(xp.sum(xp.astype(kept, xp.int32), axis=-1, dtype=xp.int32))
    return dot(M, dot(turned(U), b)), values, rank, M if root else None


# ---------------------------------------------------------------------------------------------------------------------
# The solve


def direct(
    A: Any, b: Any, rcond: float, tol: Any, *, root: bool, **options: Any
) -> tuple[Point, Iterated, Any, Any, Any]:
    """The point, the run that it took, the rank, the condition, and M.

    The library's solution, if its backward error is shown to be small at little cost. Otherwise, where columns are so
    uneven that their units would decide on the rank, and under a transformation, where nobody can look: by the singular
    values of A with columns of norm 1, and corrections.
    """
    backend, is_wide = of(A), A.shape[-2] < A.shape[-1]
    start = None
    if is_wide:
        return wide_direct(A, b, rcond, tol, root)
    if not backend.traced([A, b]):
        x, values, rank, M = least_squares(A, b, rcond, root=root)
        gradient, square, error, condition = judge(A, b, x, values)
        if not is_doubtful(A, condition):
            start = Point(turned(x), turned(gradient), square, zero_of(x))
            if not backend.to_numpy(error <= tol).all():
                error = by_gram(A, values, start, norms(b), error)
            if backend.to_numpy(error <= tol).all():
                return start, Iterated(start, error, start.stage, start.stage, None), rank, condition, M
    spectrum = spectrum_of(A, b, rcond)
    start = look(InMemory(A, b), least_norm(spectrum, turned(spectrum.start)), zero_of(b)) if start is None else start
    task = Task(InMemory(A, b), spectrum.preconditioner, spectrum, norms(b))
    steps = min(CORRECTIONS, options.pop("max_steps"))
    run = iterate(corrections, start, task, tol=tol, max_steps=steps, **options)
    return run.state, run, spectrum.rank, spectrum.condition, spectrum.preconditioner


def wide_direct(A: Any, b: Any, rcond: float, tol: Any, root: bool) -> tuple[Point, Iterated, Any, Any, Any]:
    """The same for more columns than rows: the solution of least norm, and that of its residual where it is needed."""
    x, values, rank, M = least_squares(A, b, rcond, root=root)
    gradient, square, error, condition = judge(A, b, x, values)
    steps = zero_of(x)
    if of(A).traced([A, b]) or not of(A).to_numpy(error <= tol).all():
        x, steps = x + least_squares(A, b - dot(A, x), rcond, root=False)[0], steps + 1
        gradient, square, error, condition = judge(A, b, x, values)
    point = Point(turned(x), turned(gradient), square, steps)
    return point, Iterated(point, error, steps, 0 * steps, None), rank, condition, M


def frobenius_of(values: Any) -> Any:
    """The Frobenius norm of A for each right-hand side, from its singular values; shape (..., 1)."""
    xp, largest = namespace(values), values[..., :1]
    ratio = values / xp.where(largest > 0, largest, xp.ones_like(largest))
    return largest * xp.sqrt(xp.sum(ratio * ratio, axis=-1, keepdims=True))


def zero_of(x: Any) -> Any:
    """A count for each right-hand side of x, (..., k)."""
    xp = namespace(x)
    return xp.zeros_like(x[..., 0, :], dtype=xp.int32)


def is_doubtful(A: Any, condition: Any) -> bool:
    """Whether the rank hangs on rounding, or on the units of the columns."""
    worst, u = float(np.max(of(condition).to_numpy(condition))), unit(A)
    return worst * 1e3 * u >= 1 or (worst * 1e-3 * u**0.5 >= 1 and has_uneven_columns(A))


def has_uneven_columns(A: Any) -> bool:
    """Whether some columns, those of zeros apart, differ in size by more than a thousand."""
    sizes = of(A).to_numpy(norm_of_columns(A))
    least = np.min(np.where(sizes > 0, sizes, np.inf), axis=-1)
    return bool(np.any(np.max(sizes, axis=-1) > 1e3 * least))


# ---------------------------------------------------------------------------------------------------------------------
# What is known of the backward error without singular vectors


@kernel("sketch.judge")
def judge(A: Any, b: Any, x: Any, values: Any) -> tuple[Any, Any, Any, Any]:
    """A^T r, |r|^2 of each right-hand side, a bound of the backward error, (..., k), and the condition of A.

    `x`, shape (..., d, k), is the solution, and `values` are the singular values of A.
    """
    gradient, square = residual_gradient(A, x, b)
    error = two_bounds(frobenius_of(values), Point(turned(x), turned(gradient), square, None), norms(b))
    return gradient, square, error, condition_of(values)


def two_bounds(frobenius: Any, point: Point, b: Any) -> Any:
    """The lesser of two: Stewart's |A^T r| / (|r| |A|), and |r| / sqrt(|b|^2 + |A|^2 |x|^2); `b` is |b|.

    The second is the estimate of Karlson and Walden with the projection on the range of A left out.
    """
    xp = namespace(frobenius)
    residual = xp.sqrt(point.square)
    some = (residual > 0) & (frobenius > 0)
    slope = point.gradient / xp.where(some, residual * frobenius, xp.ones_like(residual))[..., None]
    first = xp.sqrt(xp.sum(slope * slope, axis=-1))  # of numbers that neither overflow nor vanish, whatever the scale
    sides = point.x * frobenius[..., None]
    second = residual / xp.where(some, xp.sqrt(xp.sum(sides * sides, axis=-1) + b * b), xp.ones_like(residual))
    error = xp.where(second < first, second, first)
    error = xp.where(some, error, 0.0 * (first + residual))
    lost = ~xp.isfinite(residual) | (some & (residual * frobenius == 0))  # squares that are no numbers any more
    return xp.where(lost, xp.nan * residual, error)


def by_gram(A: Any, values: Any, point: Point, size: Any, otherwise: Any) -> Any:
    """The estimate of Karlson and Walden from A^T A, where squares do not hide the least singular value.

    It is |(A^T A + c I)^(-1/2) A^T r| theta / sqrt(q), as in :func:`equipoise.sketch.factors.backward_error`; the
    bounds above are far too large where the residual is small.
    """
    xp = namespace(A)
    G, _ = gram(A, None, None)
    G, x, g, square = (wide(y) for y in (G, point.x, point.gradient, point.square))
    frobenius, least, size = wide(frobenius_of(values)), wide(values[..., -1:]), wide(size)
    some = (size > 0) & (frobenius > 0)
    theta = frobenius / xp.where(some, size, xp.ones_like(size))
    q = 1.0 + theta**2 * xp.asarray(xp.sum(x * x, axis=-1))
    shift = theta**2 * square / q
    safe = xp.min(least**2 + shift, axis=-1) > 1e3 * unit(A) * frobenius[..., 0] ** 2
    if not of(A).to_numpy(safe).all():
        return otherwise
    eye = xp.eye(G.shape[-1], dtype=G.dtype)
    inside = G[..., None, :, :] + shift[..., None, None] * eye
    solved = xp.linalg.solve(inside, g[..., None])[..., 0]
    eta = theta / xp.sqrt(q) * xp.sqrt(xp.abs(xp.asarray(xp.sum(g * solved, axis=-1))))
    made = xp.where(some, eta / xp.where(some, frobenius, xp.ones_like(eta)), 0.0 * eta)
    return xp.astype(xp.where(made < wide(otherwise), made, wide(otherwise)), otherwise.dtype, copy=False)
