"""Leverage scores: how much each row of a tall matrix matters to its column space.

The scores are the squared row norms of an orthonormal basis of the column space, so they are as accurate as that basis:
A P for the root P of (A^T A)^+, never a solve with A^T A itself. A P is made a panel at a time and thrown away.

The derivative is written down from the projection and not traced through the factorisation, whose own derivative does
not exist where singular values agree.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import A as Array_
from ..arrays import library, like, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_finite, values
from ..guide import guided
from ..implicit import differentiable
from ..operators import CSR, Dense, as_operator
from ..random import Stream, key, normal, words_of
from .checks import check_matrix
from .factors import Spectrum, dot, inverse_root, norm_of_columns, spectrum_of, triangle_of, turned, unit, wide
from .making import sketch_operator
from .panels import gram, row_squares

__all__ = ["check_entries", "leverage_scores", "matrix_of", "pulled_squares", "root"]

METHODS = ("auto", "exact", "sketched")
FIRST_BLOCK = 1 << 31  # of Stream.DIRECTIONS: the blocks below belong to starts of power and Lanczos iterations
ENTRIES, SKETCH_ROWS = 8, 12  # of the sketch: entries in a column of S, and rows for a column of A
TALL = 4 * SKETCH_ROWS  # rows for a column, from which on a sketch saves work
NEARLY_ORTHONORMAL = (0.02, 50.0)  # eigenvalues of the Gram matrix that a sketch which did its work leaves
TOO_MUCH = 10**12  # operations, beyond which "auto" takes estimates: half a minute of one core
PANEL = 1 << 20  # numbers of A P that a sparse A makes at a time


def root(A: Any, *, rng: int = 0) -> tuple[Any, Any]:
    """P, shape (..., d, p), with P P^T = (A^T A)^+, and the rank.

    The columns of A are scaled to norm one; directions whose singular value is then below 30 u of the largest, with the
    unit roundoff u, are dropped. A tall A is sketched first, and the root of the sketch is corrected by the Gram matrix
    of what it makes of A; where the sketch has missed something, or nobody can see whether it has, A is factorised.
    """
    numbers = A.data if isinstance(A, CSR) else A
    if A.shape[-2] >= TALL * A.shape[-1] and values(numbers) is not None:
        spectrum, xp = sketched_spectrum(A, rng), namespace(numbers)
        P = spectrum.preconditioner
        narrow = xp.astype(P, numbers.dtype, copy=False)
        W = A @ narrow if isinstance(A, CSR) else None
        G = gram(A, None, narrow)[0] if W is None else dot(turned(W), W)
        inner, eigenvalues = inverse_root(wide(G), spectrum.kept)
        if bool(xp.all((eigenvalues > NEARLY_ORTHONORMAL[0]) & (eigenvalues < NEARLY_ORTHONORMAL[1]))):
            return xp.astype(dot(P, inner), numbers.dtype, copy=False), spectrum.rank
    return factorised_root(A)


def factorised_root(A: Any) -> tuple[Any, Any]:
    """The same by a QR factorisation of all of A; a sparse one is filled in."""
    A = A @ namespace(A.data).eye(A.shape[1], **like(A.data)) if isinstance(A, CSR) else A
    xp = namespace(A)
    norms = norm_of_columns(A)
    norms = xp.where(norms > 0, norms, xp.ones_like(norms))
    _, s, vt = xp.linalg.svd(triangle_of(A / norms[..., None, :], A[..., :0])[0], full_matrices=False)
    kept = s > 30.0 * unit(A) * s[..., :1]
    inverse = xp.where(kept, 1.0 / xp.where(kept, s, xp.ones_like(s)), xp.zeros_like(s))
    P = turned(vt) * inverse[..., None, :] / norms[..., :, None]
    return P, xp.asarray(xp.sum(xp.astype(kept, xp.int32), axis=-1, dtype=xp.int32))


def sketched_spectrum(A: Any, seed: int) -> Spectrum:
    """Scale and singular values of a sketch with 12 rows for a column of A."""
    n, d = A.shape[-2:]
    SA = sketch_operator("sparse_sign", sketch_rows(d), n, rng=seed, s=ENTRIES) @ A
    return spectrum_of(SA, namespace(SA).zeros_like(SA[..., :1]), 30.0 * unit(SA))


def sketch_rows(d: int) -> int:
    """A multiple of the entries in a column."""
    return ENTRIES * -(-SKETCH_ROWS * d // ENTRIES)


# ---------------------------------------------------------------------------------------------------------------------
# The input


def matrix_of(A: Any) -> Any:
    """A as an array or a :class:`CSR`."""
    sparse = hasattr(A, "n_batch") or str(getattr(A, "layout", "")).startswith("torch.sparse")  # of jax, of torch
    if library(A) and not sparse:
        return A
    made = as_operator(A)
    if isinstance(made, Dense):
        return made.array
    if not isinstance(made, CSR):
        raise TypeError(f"A must be an array or a sparse matrix, got {type(A).__name__}")
    return made


def check_entries(A: Any) -> tuple[int, int]:
    """Finite floating-point numbers, (..., n, d) or one sparse matrix, with at least one row and one column."""
    shape = check_matrix(A)
    numbers = A.data if isinstance(A, CSR) else A
    seen = values(numbers)
    if seen is not None:
        check_finite("A" if numbers is A else "the data of A", seen)
    return shape


# ---------------------------------------------------------------------------------------------------------------------
# The scores


def squares(A: Any, T: Any) -> Any:
    """The squared row norms of A T, shape (..., n)."""
    if not isinstance(A, CSR):
        return row_squares(A, T)
    xp, p = namespace(T), T.shape[-1]
    size = max(1, PANEL // max(A.shape[0], A.indices.shape[0]))
    parts = [A @ T[..., k : min(k + size, p)] for k in range(0, p, size)]
    return sum(xp.sum(part * part, axis=-1) for part in parts)


def directions(seed: int, d: int, count: int) -> np.ndarray[Any, Any]:
    """A d x count matrix of normal numbers, made on the host: index the row, a word a column along blocks."""
    blocks = FIRST_BLOCK + np.arange(-(-count // 4))
    words = words_of(np.arange(d)[:, None], blocks, key(seed), stream=int(Stream.DIRECTIONS))
    drawn: np.ndarray[Any, Any] = normal(words, np.float64).reshape(d, -1)[:, :count]
    return drawn


def sketched_root(A: Any, seed: int) -> Any:
    """A root from a sketch of A, shape (..., d, d), so scaled that row norms are nearly right on average.

    The inverse of a Gram matrix of m random rows is too large by m/(m - rank - 1), as for a Wishart matrix; by less in
    directions that few rows carry. With fewer than m rows there is nothing to be saved.
    """
    n, d = A.shape[-2:]
    m, numbers = sketch_rows(d), A.data if isinstance(A, CSR) else A
    if m >= n:
        return root(A, rng=seed)[0]
    xp, spectrum = namespace(numbers), sketched_spectrum(A, seed)
    P = spectrum.preconditioner
    degrees = xp.astype(m - 1 - spectrum.rank, P.dtype)[..., None, None]
    return xp.astype(P * xp.sqrt(degrees / m), numbers.dtype, copy=False)


def solve_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], *, seed: int) -> tuple[Any, ...]:
    """That of the exact scores, also where they were estimated."""
    A, mixing = args
    if cotangent[1] is not None:
        raise TypeError("leverage_scores has no second derivatives: differentiate it once only")
    if cotangent[0] is None:
        return None, None
    return pulled_squares(A, out[1] if mixing is None else root(A, rng=seed)[0], cotangent[0]), None


@differentiable(solve_vjp)
def solve(A: Any, mixing: Any, *, seed: int) -> tuple[Any, Any]:
    """The scores, estimated if there are directions to mix by, and the root."""
    if mixing is None:
        P = root(A, rng=seed)[0]
        return squares(A, P), P
    P = sketched_root(A, seed)
    return squares(A, of(P).matmul(P, mixing)), P


def pulled_squares(A: Any, P: Any, bar: Any) -> Any:
    """The cotangent of A in sum_i bar_i |a_i P|^2, where P P^T = (A^T A)^+ follows A at constant rank.

    With W = A P and H = W W^T, the projection onto the columns of A: dH = (I - H) dA P W^T + its transpose, hence
    2 (I - H) diag(bar) W P^T.
    """
    matmul = of(P).matmul
    W = A @ P if isinstance(A, CSR) else matmul(A, P)
    weighted = bar[..., None] * W
    outer = 2.0 * (weighted - matmul(W, matmul(turned(W), weighted)))
    if not isinstance(A, CSR):
        return matmul(outer, turned(P))
    _, pull = of(P).vjp_of(lambda operator: operator @ P, A)
    return pull(outer)[0]


@public
def scores_of(A: Any, *, method: str, rng: Any) -> Any:
    """:func:`leverage_scores` of an array or a CSR."""
    n, d = check_entries(A)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    low, high = key(rng)
    seed = low + (high << 32)
    count = max(1, math.ceil(8.0 * math.log(n)))
    mixing, numbers = None, A.data if isinstance(A, CSR) else A
    if method == "sketched" or (method == "auto" and n * d * d > TOO_MUCH):
        xp = namespace(numbers)
        drawn = of(numbers).lend(directions(seed, d, count) / math.sqrt(count), numbers)
        mixing = xp.astype(drawn, numbers.dtype)
    return solve(A, mixing, seed=seed)[0]


@guided
def leverage_scores(A: Array_, *, method: str = "auto", rng: int | np.random.Generator = 0) -> Array_:
    """How much each row of A matters to its column space: tau_i = a_i (A^T A)^+ a_i^T.

    The score of a row is the share of its direction that no other row has: 1 means that the row alone carries a
    direction, and that a regression on A passes through its observation whatever the others say. Take the scores to
    find such rows, or as probabilities to sample rows by. They do not look at the right-hand side: for rows with large
    residuals, look at the residuals. For other norms than the Euclidean one take :func:`lewis_weights`.

    Parameters
    ----------
    A : array, shape (..., n, d), or sparse matrix
        Floating-point numbers; leading axes are a batch. Sparse: :class:`equipoise.operators.CSR`, or what
        :func:`equipoise.operators.as_operator` makes one of.
    method : {"auto", "exact", "sketched"}
        "exact" multiplies A by a root of (A^T A)^+. "sketched" takes the root of a sketch of A and multiplies it by
        ``ceil(8 ln(n))`` random directions: estimates, from products that cost less where d is larger than that number.
        "auto" is exact up to n d^2 = 10^12, about half a minute of one core, and takes the estimates beyond.
    rng : int or numpy.random.Generator
        Seed of the random directions and of the sketch.

    Returns
    -------
    array, shape (..., n)
        The scores, of A's dtype. They lie between 0 and 1 and add up to the rank of A; exact ones up to rounding, so
        that a score of 1 may come out some units in the last place above it: nothing is clipped. Estimates may exceed 1
        by far, and their sum is right within some per cent only.

    Raises
    ------
    TypeError
        If A is neither an array nor a sparse matrix, or if `rng` is of another type.
    ValueError
        If A is below 2-D, has no rows or no columns, holds whole numbers or something that is not finite; if `method`
        is none of the three or `rng` out of range.

    Notes
    -----
    The error of a score is of the size of u times the condition number of A with columns of norm one, where u is the
    unit roundoff: as much as rounding the entries of A does. In these columns, directions with a singular value below
    30 u of the largest are dropped and do not count to the rank. With fewer rows than columns, independent rows have
    score 1. The root comes from a sketch, corrected by one pass over A, if A has 48 rows a column or more, and from a
    QR factorisation otherwise and under ``jax.jit``. A sparse A is multiplied, and A times the root held for the
    correction; below 48 rows a column it is filled in.

    Estimates after P. Drineas, M. Magdon-Ismail, M. W. Mahoney, D. P. Woodruff, "Fast approximation of matrix coherence
    and statistical leverage", JMLR 13, 2012, with a sparse sketch of 12 d rows. An estimate over its score is nearly
    distributed like a chi-square with ``k = ceil(8 ln(n))`` degrees of freedom over k. Measured over 8 to 100 seeds,
    for d from 30 to 100, with rows of Gaussian, heavy-tailed and highly unequal scores: 95 per cent (n = 10^3), 98 per
    cent (10^4) and 99 per cent (10^5) of the estimates are within a factor of 1.5 of their score, and all of them were
    between 0.36 and 2.2 times it. For small d the sketch adds to the scatter: do not take estimates there. Their
    average over seeds may be off by some per cent.

    On torch and jax the scores are differentiable, once: the derivative is that of the exact scores, also for
    estimates, and along changes of A that keep its rank.

    Examples
    --------
    The last row alone carries the second direction:

    >>> import numpy as np
    >>> import equipoise as eq
    >>> A = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 3.0]])
    >>> [round(float(tau), 3) for tau in eq.sketch.leverage_scores(A)]
    [0.333, 0.333, 0.333, 1.0]
    """
    return scores_of(matrix_of(A), method=method, rng=rng)
