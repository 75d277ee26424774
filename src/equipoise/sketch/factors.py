"""What a sketch tells of A: its scale, its spectrum, its rank, and from these how far a solution is wrong.

Everything here is of order d, and is computed in float64 where the library has it.
"""

from __future__ import annotations

from typing import Any

from ..arrays import like, namespace
from ..backend import of
from ..record import record

__all__ = [
    "Spectrum",
    "backward_error",
    "condition_of",
    "dot",
    "inverse_root",
    "spectrum_of",
    "triangle_of",
    "turned",
    "unit",
    "wide",
]


def unit(x: Any) -> float:
    """The unit roundoff of the dtype of `x`, an array, or of a dtype of its library."""
    return float(namespace(x).finfo(x.dtype).eps) / 2


def wide(x: Any) -> Any:
    """`x` in float64, if the library and the device have it."""
    xp = namespace(x)
    if x.dtype == getattr(xp, "float64", None):
        return x
    known = xp.__array_namespace_info__().dtypes(kind="real floating")
    return xp.astype(x, known.get("float64", x.dtype))


def turned(x: Any) -> Any:
    """The transpose of the last two axes."""
    return namespace(x).matrix_transpose(x)


def dot(x: Any, y: Any) -> Any:
    """The product of two matrices in the full precision of their dtype."""
    return of(x).matmul(x, y)


@record
class Spectrum:
    """The singular values of the column-scaled sketch, (S A) D^-1 = U diag(values) V^T.

    Attributes
    ----------
    scale : array, shape (..., d)
        D: the norms of the columns of S A, 1 for those that are zero.
    values : array, shape (..., d)
        Falling.
    V : array, shape (..., d, d)
    kept : array of bool, shape (..., d)
        Which values are not below the cut.
    cut : array, shape (...)
        The least size of a singular value that counts.
    triangle : array, shape (..., d, d)
        R of the QR factorisation of (S A) D^-1.
    start : array, shape (..., d, k)
        The solution of the sketched problem, of least norm in scaled columns.
    """

    scale: Any
    values: Any
    V: Any
    kept: Any
    cut: Any
    triangle: Any
    start: Any

    @property
    def rank(self) -> Any:
        """How many values are kept."""
        xp = namespace(self.kept)
        return xp.asarray(xp.sum(xp.astype(self.kept, xp.int32), axis=-1, dtype=xp.int32))

    @property
    def condition(self) -> Any:
        """The largest value over the least."""
        return condition_of(self.values)

    @property
    def preconditioner(self) -> Any:
        """P = D^-1 V diag(1 / values), zero in the columns that are not kept."""
        xp = namespace(self.values)
        safe = xp.where(self.kept, self.values, xp.ones_like(self.values))
        weights = xp.where(self.kept, 1.0 / safe, xp.zeros_like(safe))
        return self.V * weights[..., None, :] / self.scale[..., :, None]


def spectrum_of(SA: Any, Sb: Any, rcond: float) -> Spectrum:
    """Scale, factorise, and decide on the rank; the sketched problem is solved on the way."""
    xp = namespace(SA)
    SA, Sb = wide(SA), wide(Sb)
    scale = norm_of_columns(SA)
    scale = xp.where(scale > 0, scale, xp.ones_like(scale))
    triangle, b = triangle_of(SA / scale[..., None, :], Sb)
    U, values, Vt = xp.linalg.svd(triangle, full_matrices=False)
    largest = values[..., :1]
    kept = (values > rcond * largest) & (largest > 0)
    weights = xp.where(kept, 1.0 / xp.where(kept, values, xp.ones_like(values)), xp.zeros_like(values))
    start = dot(turned(Vt), weights[..., :, None] * dot(turned(U), b)) / scale[..., :, None]
    return Spectrum(scale, values, turned(Vt), kept, rcond * largest[..., 0], triangle, start)


def triangle_of(A: Any, b: Any) -> tuple[Any, Any]:
    """R of A = Q R, and Q^T b, by panels of rows whose triangles are factorised again.

    One factorisation of a tall matrix adds up rounding along its rows: where many are equal, by so much that a rank
    that is not there is found.
    """
    xp, d, both = namespace(A), A.shape[-1], namespace(A).concat([A, b], axis=-1)
    width = both.shape[-1]
    size = max(64, 2 * width)
    while both.shape[-2] > 2 * size:
        n = both.shape[-2]
        spare = xp.zeros((*both.shape[:-2], -n % size, width), **like(both))
        panels = xp.reshape(xp.concat([both, spare], axis=-2), (*both.shape[:-2], -1, size, width))
        both = xp.reshape(xp.linalg.qr(panels)[1], (*both.shape[:-2], -1, width))
    R = xp.linalg.qr(both)[1]
    return R[..., :d, :d], R[..., :d, d:]


def condition_of(values: Any) -> Any:
    """The largest over the least of singular values, infinite where the least is lost beside the largest."""
    xp = namespace(values)
    largest, least = values[..., 0], values[..., -1]
    some = least > largest * xp.finfo(values.dtype).smallest_normal
    return xp.where(some, largest / xp.where(some, least, xp.ones_like(least)), xp.full_like(least, xp.inf))


def norm_of_columns(x: Any) -> Any:
    """Without overflow, since columns may have any scale."""
    xp = namespace(x)
    size = xp.asarray(xp.max(xp.abs(x), axis=-2))
    safe = xp.where(size > 0, size, xp.ones_like(size))
    scaled = x / safe[..., None, :]
    return size * xp.sqrt(xp.asarray(xp.sum(scaled * scaled, axis=-2)))


def inverse_root(G: Any, kept: Any) -> tuple[Any, Any]:
    """M with M M^T = G^-1 on the kept rows and columns, zero elsewhere; the eigenvalues, rising, 1 where not kept."""
    xp = namespace(G)
    if kept is not None:
        gone = xp.astype(~kept, G.dtype)
        G = G + gone[..., None] * xp.eye(G.shape[-1], **like(G))
    values, vectors = xp.linalg.eigh(G)
    safe = xp.where(values > 0, values, xp.ones_like(values))
    root = vectors * xp.where(values > 0, 1.0 / xp.sqrt(safe), xp.zeros_like(values))[..., None, :]
    if kept is not None:
        root = root * xp.astype(kept, G.dtype)[..., None]
    return root, values


def backward_error(spectrum: Spectrum, x: Any, gradient: Any, square: Any, size: Any) -> Any:
    """How far A and b would have to move, relative to A, for x to be their solution: shape (..., k).

    The estimate of Karlson and Walden, with the spectrum of the sketch for that of A: x and the gradient
    A^T (b - A x), shape (..., k, d), in scaled columns; `square` is |b - A x|^2 and `size` |b|.
    """
    xp = namespace(spectrum.values)
    x, gradient, square, size = (wide(y) for y in (x, gradient, square, size))
    x, gradient = x * spectrum.scale[..., None, :], gradient / spectrum.scale[..., None, :]
    values = xp.where(spectrum.kept, spectrum.values, spectrum.cut[..., None] + 0.0 * spectrum.values)
    frobenius = xp.sqrt(xp.asarray(xp.sum(spectrum.values**2, axis=-1)))[..., None]
    seen = xp.isfinite(size) & xp.isfinite(square)  # squares that are no numbers any more tell nothing
    some = (size > 0) & (frobenius > 0)
    theta = frobenius / xp.where(some, size, xp.ones_like(size))
    q = 1.0 + theta**2 * xp.asarray(xp.sum(x * x, axis=-1))
    below = values[..., None, :] ** 2 + (theta**2 * square / q)[..., None]
    w = dot(gradient, spectrum.V)
    ratio = w / xp.sqrt(xp.where(below > 0, below, xp.ones_like(below)))
    eta = theta / xp.sqrt(q) * xp.sqrt(xp.asarray(xp.sum(ratio * ratio, axis=-1)))
    made = eta / xp.where(some, frobenius, xp.ones_like(size))
    return xp.where(seen, xp.where(some, made, 0.0 * gradient[..., 0]), xp.nan * square)
