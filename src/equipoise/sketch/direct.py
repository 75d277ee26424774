"""The direct solver: the library's own, by singular values, and the reference for all others.

Taken for small problems, and where A is not much taller than wide, so that a sketch saves nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import namespace
from ..backend import of
from ..kernel import kernel
from .factors import dot, norm_of_columns, spectrum_of, turned
from .refine import least_norm

__all__ = ["direct", "least_squares", "two_bounds"]


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


def direct(A: Any, b: Any, rcond: float, *, root: bool) -> tuple[Any, Any, Any, Any]:
    """The same for A with columns of any scale; x has the shape (..., d, k).

    Where A looks close to singular and its columns differ in size, they are scaled, so that what is dropped does not
    hang on their units. Under a transformation nobody can look, and they always are.
    """
    n, d = A.shape[-2:]
    if n < d:
        return least_squares(A, b, rcond, root=root)
    if not of(A).traced([A]):
        found = least_squares(A, b, rcond, root=root)
        if not (is_near_singular(found[1]) and has_uneven_columns(A)):
            return found
    spectrum = spectrum_of(A, b, rcond)
    x = turned(least_norm(spectrum, turned(spectrum.start)))
    M, values = spectrum.preconditioner, spectrum.values
    return namespace(A).astype(x, A.dtype, copy=False), values, spectrum.rank, M if root else None


def is_near_singular(values: Any) -> bool:
    """Whether columns of different sizes might be the reason for a small singular value."""
    values = of(values).to_numpy(values)
    limit = 1e-3 * float(np.finfo(values.dtype).eps) ** 0.5
    return bool(np.any(values[..., -1] <= limit * values[..., 0]))


def has_uneven_columns(A: Any) -> bool:
    """Whether some columns, those of zeros apart, differ in size by more than a thousand."""
    sizes = of(A).to_numpy(norm_of_columns(A))
    least = np.min(np.where(sizes > 0, sizes, np.inf), axis=-1)
    return bool(np.any(np.max(sizes, axis=-1) > 1e3 * least))


def two_bounds(values: Any, x: Any, gradient: Any, square: Any) -> Any:
    """Stewart's two bounds of the backward error, relative to the Frobenius norm of A; the lesser one, (..., k)."""
    xp = namespace(values)
    frobenius = xp.sqrt(xp.asarray(xp.sum(values * values, axis=-1)))[..., None]
    residual = xp.sqrt(square)
    size = xp.sqrt(xp.asarray(xp.sum(x * x, axis=-2)))
    slope = xp.sqrt(xp.asarray(xp.sum(gradient * gradient, axis=-2)))
    some = (residual > 0) & (frobenius > 0)
    first = slope / xp.where(some, residual * frobenius, xp.ones_like(residual))
    known = some & (size > 0)
    second = residual / xp.where(known, size * frobenius, xp.ones_like(residual))
    error = xp.where(known & (second < first), second, first)
    return xp.where(some, error, 0.0 * (slope + residual))
