"""The ends of a spectrum by Lanczos' method, for the relaxation factors that follow from them.

It starts from a vector that is made for diffusions, whose wanted eigenvector is positive: ones find in 20 products what
noise does not find in 100. There is no reorthogonalisation: it would cost more than the products, and what is lost
without it are copies of eigenvalues that have been found.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import first_index, is_floating, library, namespace
from ..backend import of
from ..checks import check_finite, values
from ..kernel import kernel
from ..record import leaves, map_arrays, record
from .checks import batch_of, trailing

__all__ = ["STEPS", "Spectrum", "dtype_of", "lanczos_step", "spectrum"]

STEPS = 20
NOISE = 0.1  # finds eigenvectors without a sign pattern; more of it costs accuracy where there is one
EXTRAPOLATION = 1.5  # see `least`

Array = np.ndarray[Any, Any]


@record
class Spectrum:
    """The ends of the spectrum of D^{-1/2} A D^{-1/2}, as numpy arrays of the shape of the batch.

    Attributes
    ----------
    low, high
        The extreme Ritz values: low lies above the least eigenvalue, high below the greatest.
    below, above
        Estimates of the eigenvalues themselves. `above` is nearly always above the greatest.
    shrink
        What `low` was multiplied by to guess the eigenvalue from the Ritz value.
    fall
        `low` over the Rayleigh quotient of the start.
    vector
        The Ritz vector of `low`, shape (..., n) or (..., *grid), or None.
    """

    low: Any
    high: Any
    below: Any
    above: Any
    shrink: Any
    fall: Any
    vector: Any


def on_host(A: Any) -> Any:
    """`A` without gradients; on numpy views where they are free."""
    arrays = leaves(A)
    seen = [values(of(x).stop_gradient(x)) for x in arrays]
    if any(x is None for x in seen):
        raise TypeError(
            "the best omega of this A is found on the host, and a jax transformation hides its values; pass omega as a "
            "number, found by linear.optimal_omega before"
        )
    if {library(x) for x in seen} > {"numpy"}:
        seen = [of(x).stop_gradient(x) for x in arrays]
    rest = iter(seen)
    return map_arrays(lambda _: next(rest), A)


def scale_of(A: Any) -> Any:
    """The square root of the diagonal, which has to be positive."""
    n, m = A.shape
    if n != m:
        raise ValueError(f"A must be square, got shape ({n}, {m})")
    if not hasattr(A, "diagonal"):
        raise TypeError(f"A must have a diagonal for its best omega to be found, got {type(A).__name__}")
    for x in leaves(A):
        if is_floating(x):
            check_finite("A", x)
    d = A.diagonal()
    xp = namespace(d)
    bad = xp.asarray(d <= 0)
    if bool(xp.any(bad)):
        index = first_index(bad)
        raise ValueError(f"A is not positive definite: its diagonal holds {float(d[index])} at index {index}")
    return xp.sqrt(d)


def start_for(A: Any, root: Any, rng: Any) -> Any:
    """D^{1/2} times ones and a little noise, the same for all members of a batch."""
    noise = np.random.default_rng(rng).standard_normal(trailing(A))
    xp = namespace(root)
    shape = np.broadcast_shapes((*batch_of(A), *trailing(A)), tuple(root.shape))
    ones = of(root).lend((1.0 + NOISE * noise).astype(dtype_of(root)), root)
    return xp.broadcast_to(ones * root, shape)


def dtype_of(x: Any) -> Any:
    """numpy's name for the dtype of x."""
    return np.dtype(str(x.dtype).rpartition(".")[2])


@kernel("linear.lanczos_step")
def lanczos_step(image: Any, inverse: Any, v: Any, before: Any, below: Any) -> tuple[Any, Any, Any, Any]:
    """The next basis vector, the same times `inverse`, and the entries of the tridiagonal matrix, shape (...).

    `image` is A times (`inverse` v), `below` the entry beside the basis vector `before`; vectors have the shape
    (..., n). A vector that vanishes stays zero.
    """
    xp = namespace(v)
    w = inverse * image - below[..., None] * before
    diagonal = xp.asarray(xp.vecdot(w, v, axis=-1))
    w = w - diagonal[..., None] * v
    size = xp.asarray(xp.sqrt(xp.vecdot(w, w, axis=-1)))
    w = w * xp.where(size > 0, 1.0 / xp.where(size > 0, size, xp.ones_like(size)), size)[..., None]
    return w, inverse * w, diagonal, size


def lanczos(A: Any, inverse: Any, start: Any, steps: int, keep: bool) -> tuple[Array, Array, list[Any]]:
    """The diagonal and the subdiagonal of the tridiagonal matrix, (steps, ...), and the basis, vectors (..., n).

    Without `keep` there is no basis: to hold it costs as much as a third of the products.
    """
    xp, shape = namespace(inverse), tuple(start.shape)
    batch = batch_of(A)
    flat = (*batch, A.shape[0])
    inverse = xp.reshape(inverse, flat)
    v = xp.reshape(start, flat)
    v = v / xp.asarray(xp.sqrt(xp.vecdot(v, v, axis=-1)))[..., None]
    scaled, before, size = inverse * v, xp.zeros_like(v), xp.zeros_like(v[..., 0])
    basis: list[Any] = []
    diagonal: list[Any] = []
    below: list[Any] = []
    mirrored: Any = 0.0
    for k in range(steps):
        if keep:
            basis.append(v)
        image = xp.reshape(A.matvec(xp.reshape(scaled, shape)), flat)
        if k == 0:
            first = scaled
        elif k == 1:
            mirrored = of(inverse).to_numpy(xp.asarray(xp.vecdot(first, image, axis=-1)))
            first = None
        after, scaled, a, size = lanczos_step(image, inverse, v, before, size)
        before, v = v, after
        diagonal.append(a)
        below.append(size)
    a, b = (of(inverse).to_numpy(xp.stack(xs)).astype(float) for xs in (diagonal, below))
    if steps > 1:
        check_mirrored(a, b, mirrored, float(xp.finfo(inverse.dtype).eps))
    return a, b, basis


def check_mirrored(a: Array, b: Array, mirrored: Any, eps: float) -> None:
    """v_0^T A v_1 = v_1^T A v_0: two vectors with noise in them do not let a matrix pass that is not symmetric."""
    size = np.max(np.abs(a), axis=0)
    if np.any((np.abs(mirrored - b[0]) > eps**0.75 * size) & (b[0] > eps**0.25 * size)):
        raise ValueError("A must be symmetric for its best omega to be found by formula; pass omega as a number")


def spectrum(A: Any, *, steps: int, rng: Any = 0, previous: Spectrum | None = None, keep: bool = False) -> Spectrum:
    """The ends of the spectrum from scratch, or from the Ritz vector of a similar matrix in a few steps.

    `keep` asks for the Ritz vector.
    """
    A = on_host(A)
    root = scale_of(A)
    steps = min(steps, A.shape[0])
    start = start_for(A, root, rng) if previous is None else beside(previous.vector, root)
    xp = namespace(root)
    a, b, basis = lanczos(A, 1.0 / xp.broadcast_to(root, tuple(start.shape)), start, steps, keep)
    eps = float(xp.finfo(root.dtype).eps)
    batch = a.shape[1:]
    members = [ritz(a[(slice(None), *i)], b[(slice(None), *i)], eps) for i in np.ndindex(*batch)]
    low, high, half, tail, far = (np.reshape([m[k] for m in members], batch) for k in range(5))
    if np.any(low < -64 * eps * np.maximum(high, 1.0)):
        raise ValueError(f"A is not positive definite: with a unit diagonal it has an eigenvalue <= {np.min(low):.3g}")
    low = np.maximum(low, eps)
    known = None if previous is None else previous.shrink * a[0] / low
    shrink = least(low, np.maximum(half, low), tail, known)
    vector = None
    if keep:
        weights = np.stack([m[5] for m in members], axis=-1).reshape(steps, *batch)
        vector = xp.reshape(combined(weights, basis), tuple(start.shape))
    return Spectrum(low, high, shrink * low, high + far, shrink, low / np.maximum(a[0], low), vector)


def beside(x: Any, root: Any) -> Any:
    """A vector as an array like `root`."""
    if library(x) != library(root):
        x = of(root).lend(of(x).to_numpy(x), root)
    return namespace(root).astype(x, root.dtype, copy=False)


def least(low: Array, half: Array, tail: Array, known: Array | None) -> Array:
    """What to multiply a Ritz value by for the least eigenvalue below it.

    The Ritz value falls like 1/k until the wanted vector is resolved, and then at once: so the fall in the second half
    of the steps tells what is still to come. An omega too small costs more than one too large, hence the power. An
    eigenvalue lies no farther than `tail` away.
    """
    guess = (low / half) ** EXTRAPOLATION if known is None else known
    return np.minimum(1.0, np.maximum(guess, 1.0 - tail / low))


def ritz(a: Array, b: Array, eps: float) -> tuple[Any, ...]:
    """Least and greatest Ritz value, the least one after half of the steps, both residuals, and the coordinates of the
    least one's vector; of one member.
    """
    small = b <= 256 * eps * max(float(np.max(np.abs(a))), eps)
    k = int(np.argmax(small)) + 1 if np.any(small) else a.size  # an invariant subspace: the rest is noise
    theta, s = np.linalg.eigh(np.diag(a[:k]) + np.diag(b[: k - 1], 1) + np.diag(b[: k - 1], -1))
    j = max(k // 2, 1)
    half = np.linalg.eigvalsh(np.diag(a[:j]) + np.diag(b[: j - 1], 1) + np.diag(b[: j - 1], -1))[0]
    coordinates = np.zeros(a.size)
    coordinates[:k] = s[:, 0]
    return theta[0], theta[-1], half, b[k - 1] * abs(s[-1, 0]), b[k - 1] * abs(s[-1, -1]), coordinates


def combined(weights: Array, basis: list[Any]) -> Any:
    """The sum of the basis with the weights (steps, ...)."""
    x = basis[0]
    moved = of(x).lend(weights.astype(dtype_of(x)), x)
    out = namespace(x).zeros_like(x)
    for k, v in enumerate(basis):
        out = out + moved[k, ..., None] * v
    return out
