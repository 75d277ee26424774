"""Sparse sign sketches: every row of A is added to s rows of the result, with signs.

Row i has one nonzero in each of s stacks of m/s rows (the SparseStack form of Epperly, Meier and Nakatsukasa, arXiv
2406.03468); s = 1 is CountSketch. Where it goes and with which sign is hashed from (seed, i), so that a block of rows
is sketched alone and blocks add up to the whole.

The kernels are not scaled: the entries of S are +-1 here, and the operator multiplies once by 1/sqrt(s), after all
sums. So sums of whole numbers are exact, and equal bit for bit on all backends.
"""

from __future__ import annotations

from typing import Any

from ..arrays import like, namespace
from ..kernel import kernel
from ..operators import CSR
from ..operators.protocol import beside
from ..random import Stream, mulhi, words_of
from ..segments import index_sum

__all__ = ["entries_of", "places", "sparse_sign", "sparse_sign_entries", "sparse_sign_lift"]

Key = Any  # a pair of numpy.uint32: the low and the high word of the seed


def places(index: Any, key: Key, *, m: int, s: int) -> tuple[Any, Any]:
    """Where rows go: the s rows of the sketch that each row of A is added to, and the signs.

    The q-th nonzero of row i has word ``q & 3`` of ``philox(i, block=q >> 2)``: its row is ``q (m/s) + mulhi(word,
    m/s)``, its sign is minus if the word is odd.

    Parameters
    ----------
    index : array of int, shape (n,)
        Numbers of rows of A, not negative.
    key : pair of numpy.uint32
        The seed, its lower word first.
    m, s : int
        Rows of the sketch and nonzeros a row; s divides m.

    Returns
    -------
    rows, signs : array of int, shape (n, s)
        Of the same dtype, int64 (int32 on jax without 64-bit numbers). Signs are 1 and -1.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.sketch.sparse_sign import places
    >>> rows, signs = places(np.array([0]), (np.uint32(0), np.uint32(0)), m=32, s=8)
    >>> rows[0], signs[0]
    (array([ 3,  6, 11, 15, 18, 22, 25, 29]), array([ 1, -1,  1,  1,  1,  1, -1, -1]))
    """
    xp = namespace(index)
    blocks = -(-s // 4)
    words = words_of(index[:, None], xp.arange(blocks, **like(index)), key, stream=int(Stream.SPARSE_SIGN))
    words = xp.reshape(words, (index.shape[0], 4 * blocks))[:, :s]
    within = mulhi(words, m // s)
    rows = within + (m // s) * xp.arange(s, **like(within))
    return rows, 1 - 2 * xp.astype(words & 1, within.dtype)


def counted(x: Any, n: int, start: Any) -> Any:
    """The whole numbers from `start` on, on the device of `x`, in the library's own dtype for them."""
    beside_x = {name: value for name, value in like(x).items() if name != "dtype"}
    return namespace(x).arange(n, **beside_x) + start


def stacked_sum(values: Any, rows: Any, signs: Any, *, size: int) -> Any:
    """The sums by row of ``signs[:, q] * values`` for each q, one stack of `size` rows after the other.

    `values` has the shape (..., K), the other two (K, s); the answer has the shape (..., s size). One stack at a time:
    all at once would hold s copies of A.
    """
    xp = namespace(values)
    stacks = [
        index_sum(values * xp.astype(signs[:, q], values.dtype), rows[:, q] - q * size, size=size)
        for q in range(rows.shape[1])
    ]
    return xp.concat(stacks, axis=-1)


def signed_sum(values: Any, rows: Any, signs: Any) -> Any:
    """The transpose along the last axis: sum over q of ``signs[:, q] * values[..., rows[:, q]]``."""
    xp = namespace(values)
    total = xp.take(values, rows[:, 0], axis=-1) * xp.astype(signs[:, 0], values.dtype)
    for q in range(1, rows.shape[1]):
        total = total + xp.take(values, rows[:, q], axis=-1) * xp.astype(signs[:, q], values.dtype)
    return total


def pull_parts(cotangent: Any, parts: Any, transpose: Any) -> Any:
    """Cotangents of parts through a linear map: `transpose` of those that there are, zeros for the others."""
    given = tuple(beside(bar, part) for bar, part in zip(cotangent, parts, strict=True) if bar is not None)
    if not given:
        return None
    pulled = iter(transpose(given))
    return tuple(
        namespace(part).zeros_like(part) if bar is None else next(pulled)
        for bar, part in zip(cotangent, parts, strict=True)
    )


def pull_sketch(cotangent: Any, out: Any, args: tuple[Any, ...], *, m: int, s: int) -> tuple[Any, ...]:
    """S A is linear in A, so that A_bar = S^T SA_bar."""
    parts, key, start = args
    n = parts[0].shape[-2]
    bars = pull_parts(cotangent, parts, lambda given: sparse_sign_lift(given, key, start, n=n, s=s))
    return bars, None, None


def pull_lift(cotangent: Any, out: Any, args: tuple[Any, ...], *, n: int, s: int) -> tuple[Any, ...]:
    """S^T y is linear in y, so that y_bar = S (S^T y)_bar."""
    parts, key, start = args
    m = parts[0].shape[-2]
    bars = pull_parts(cotangent, parts, lambda given: sparse_sign(given, key, start, m=m, s=s))
    return bars, None, None


@kernel("sketch.sparse_sign", vjp=pull_sketch)
def sparse_sign(parts: tuple[Any, ...], key: Key, start: Any, *, m: int, s: int) -> tuple[Any, ...]:
    """S A times sqrt(s), for the rows of A from number `start` on.

    Parameters
    ----------
    parts : tuple of array, shape (..., n, k)
        What is sketched: A, or A and the right-hand sides. Rows are hashed once for all of them.
    key : pair of numpy.uint32
        The seed, its lower word first.
    start : int
        The number of the first row.
    m, s : int
        Rows of the sketch and nonzeros a row; s divides m.

    Returns
    -------
    tuple of array, shape (..., m, k)
    """
    rows, signs = places(counted(parts[0], parts[0].shape[-2], start), key, m=m, s=s)

    def sketch(part: Any) -> Any:
        xp = namespace(part)
        return xp.matrix_transpose(stacked_sum(xp.matrix_transpose(part), rows, signs, size=m // s))

    return tuple(sketch(part) for part in parts)


@kernel("sketch.sparse_sign_lift", vjp=pull_lift)
def sparse_sign_lift(parts: tuple[Any, ...], key: Key, start: Any, *, n: int, s: int) -> tuple[Any, ...]:
    """S^T y times sqrt(s): of its rows the `n` from number `start` on; the transpose of :func:`sparse_sign`.

    `parts` have the shape (..., m, k), the results the shape (..., n, k).
    """
    rows, signs = places(counted(parts[0], n, start), key, m=parts[0].shape[-2], s=s)

    def lift(part: Any) -> Any:
        xp = namespace(part)
        return xp.matrix_transpose(signed_sum(xp.matrix_transpose(part), rows, signs))

    return tuple(lift(part) for part in parts)


def pull_entries(
    cotangent: Any, out: Any, args: tuple[Any, ...], *, m: int, s: int, width: int
) -> tuple[Any, None, None, None, None]:
    """Each entry is added to s places of the sketch, so its cotangent is read from there."""
    if cotangent is None:
        return (None,) * 5
    data, rows, columns, key, start = args
    xp = namespace(data)
    bar = beside(cotangent, data)
    at, signs = flat_places(rows, columns, key, start, m=m, s=s, width=width)
    pulled = signed_sum(xp.reshape(bar, (*bar.shape[:-2], m * width)), at, signs)
    return pulled, None, None, None, None


def flat_places(rows: Any, columns: Any, key: Key, start: Any, *, m: int, s: int, width: int) -> tuple[Any, Any]:
    """Where entries of a sparse matrix go in the sketch, as one index into its m x width numbers, and the signs."""
    xp = namespace(rows, columns)
    to, signs = places(xp.astype(rows, signed_default(rows)) + start, key, m=m, s=s)
    return to * width + xp.astype(columns, to.dtype)[:, None], signs


def signed_default(x: Any) -> Any:
    """The dtype that the library of `x` counts in."""
    return counted(x, 0, 0).dtype


@kernel("sketch.sparse_sign_entries", vjp=pull_entries)
def sparse_sign_entries(data: Any, rows: Any, columns: Any, key: Key, start: Any, *, m: int, s: int, width: int) -> Any:
    """S A times sqrt(s), dense, for a sparse A that is given by its entries.

    Parameters
    ----------
    data : array, shape (..., nnz)
        The entries; an entry that is given twice counts twice. Leading axes are a batch of one pattern.
    rows, columns : array of int32 or int64, shape (nnz,)
        Where they are. Rows are counted from `start`, and sorted.
    key : pair of numpy.uint32
        The seed, its lower word first.
    start : int
        The number of the first row.
    m, s : int
        Rows of the sketch and nonzeros a row; s divides m.
    width : int
        The columns of A.

    Returns
    -------
    array, shape (..., m, width)
    """
    xp = namespace(data)
    at, signs = flat_places(rows, columns, key, start, m=m, s=s, width=width)
    flat = stacked_sum(data, at, signs, size=m // s * width)
    return xp.reshape(flat, (*data.shape[:-1], m, width))


def entries_of(matrix: CSR[Any]) -> tuple[Any, Any, Any]:
    """The entries of a compressed matrix, their rows and their columns: what :func:`sparse_sign_entries` takes."""
    return matrix.data, matrix.rows, matrix.indices
