"""The subsampled randomized Hadamard transform: S = D_w P H D, dense and flat, at the price of a fast transform.

D are signs, H the unnormalised Hadamard matrix H_ki = (-1)^popcount(k & i) of N rows, N the next power of two, P picks
m of its rows. Rows of A beyond the last are skipped, never stored.

A block of rows is sketched alone: with i = j L + l and k = k_high L + k_low,

    (H D A)_k = sum_j (-1)^popcount(k_high & j) sum_l (-1)^popcount(k_low & l) (D A)_{j L + l},

so that each segment of L rows is transformed, its rows k_low are picked, given the sign of (k_high, j), and added up. A
is read once, and blocks add up to the whole. The row weights D_w are left to the operator: sums of whole numbers are
exact here, and equal bit for bit on all backends.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..arrays import like, namespace
from ..kernel import kernel
from ..random import Stream, mulhi, signs, words_of
from ..segments import index_sum
from .sparse_sign import Key, counted, pull_parts

__all__ = ["hadamard", "hadamard_size", "sampled_rows", "segment", "srht", "srht_lift", "weights"]

SEGMENT = 1024


def hadamard_size(n: int) -> int:
    """The next power of two, at least `n`.

    Examples
    --------
    >>> from equipoise.sketch.srht import hadamard_size
    >>> hadamard_size(1), hadamard_size(1000), hadamard_size(1024)
    (1, 1024, 1024)
    """
    return 1 << max(n - 1, 0).bit_length()


def segment(m: int, size: int) -> int:
    """The rows that are transformed together: a power of two that divides `size`.

    At least m where it can be, or what is picked of all segments would be larger than A.
    """
    return min(size, max(SEGMENT, hadamard_size(m)))


def strata(m: int, size: int) -> tuple[Any, Any]:
    """The first row of each of m strata and the rows in it; products stay below m^2, whatever `size` is."""
    k = np.arange(m + 1, dtype=np.int64)
    cuts = k * (size // m) + k * (size % m) // m
    return cuts[:-1], np.diff(cuts)


@functools.lru_cache(maxsize=32)
def sampled_rows(key: Key, *, m: int, size: int) -> np.ndarray[Any, Any]:
    """The m rows of the Hadamard matrix that the sketch keeps, one from each of m strata, so all distinct.

    Parameters
    ----------
    key : pair of numpy.uint32
        The seed, its lower word first.
    m, size : int
        Rows of the sketch and of the matrix, m <= size.

    Returns
    -------
    numpy array of int64, shape (m,)
        In rising order; kept, so not to be written.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.sketch.srht import sampled_rows
    >>> sampled_rows((np.uint32(0), np.uint32(0)), m=8, size=1024)
    array([ 22, 137, 382, 465, 628, 680, 817, 973])
    """
    low, counts = strata(m, size)
    words = words_of(np.arange(-(-m // 4)), 0, key, stream=int(Stream.SRHT_ROWS))
    rows: np.ndarray[Any, Any] = low + mulhi(words.reshape(-1)[:m], counts)
    rows.flags.writeable = False
    return rows


@functools.lru_cache(maxsize=32)
def weights(m: int, size: int) -> np.ndarray[Any, Any]:
    """The row weights D_w = sqrt((rows of the stratum) / size), float64: with them E S^T S = I.

    A row of a stratum is drawn with probability 1/count, and the sum over all rows is H^T H / size = I.
    """
    made: np.ndarray[Any, Any] = np.sqrt(strata(m, size)[1] / size)
    made.flags.writeable = False
    return made


def hadamard(x: Any) -> Any:
    """H x along the axis -2, whose length is a power of two: sums and differences at growing distances.

    Not normalised, in the natural (Sylvester) order: applied twice it multiplies by the length.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.sketch.srht import hadamard
    >>> hadamard(np.array([[1.0], [2.0], [3.0], [4.0]])).T
    array([[10., -2., -4.,  0.]])
    """
    xp = namespace(x)
    n, width = x.shape[-2:]
    apart = 1
    while apart < n:
        pairs = xp.reshape(x, (*x.shape[:-2], n // (2 * apart), 2, apart, width))
        above, below = pairs[..., 0, :, :], pairs[..., 1, :, :]
        x = xp.reshape(xp.stack([above + below, above - below], axis=-3), x.shape)
        apart *= 2
    return x


def parity(x: Any, bits: int) -> Any:
    """popcount mod 2 of whole numbers of so many bits; no shift reaches the width of a narrow dtype."""
    shift = hadamard_size(bits)
    while shift > 1:
        shift //= 2
        x = x ^ (x >> shift)
    return x & 1


def row_signs(x: Any, n: int, key: Key, start: Any) -> Any:
    """The diagonal of D for the rows from `start` on, of the dtype of `x`, shape (n, 1)."""
    xp = namespace(x)
    groups = counted(x, (n + 254) // 128, start >> 7)
    bits = signs(words_of(groups, 0, key, stream=int(Stream.SRHT_SIGNS)), x.dtype)
    bits = xp.reshape(bits, (128 * groups.shape[0],))
    return xp.take(bits, counted(x, n, start & 127))[:, None]


def segment_signs(x: Any, rows: Any, count: int, start: Any, *, width: int, size: int) -> Any:
    """(-1)^popcount(k_high & j) for `count` segments j from the one that holds `start`, shape (count, m, 1)."""
    xp = namespace(x)
    numbers = counted(x, count, start // width)
    odd = parity(numbers[:, None] & (xp.astype(rows, numbers.dtype) // width), size.bit_length())
    return xp.astype(1 - 2 * odd, x.dtype)[..., None]


def segments_of(n: int, *, width: int, size: int, aligned: bool) -> int:
    """How many segments `n` rows may touch, wherever they start."""
    return min(size // width, -(-n // width) if aligned else -(-(n + width - 1) // width))


def cut(x: Any, start: Any, *, width: int, size: int, aligned: bool) -> Any:
    """Rows as whole segments, shape (..., count, width, k), with zeros where there are none."""
    xp = namespace(x)
    n, k = x.shape[-2:]
    count = segments_of(n, width=width, size=size, aligned=aligned)
    if aligned:
        zeros = xp.zeros_like(x[..., :1, :])
        spare = xp.broadcast_to(zeros, (*x.shape[:-2], count * width - n, k))
        x = xp.concat([x, spare], axis=-2)
    else:
        source = counted(x, count * width, -(start % width))
        held = (source >= 0) & (source < n)
        source = xp.where(held, source, xp.zeros_like(source))
        x = xp.take(x, source, axis=-2)
        x = xp.where(held[:, None], x, xp.zeros_like(x))
    return xp.reshape(x, (*x.shape[:-2], count, width, k))


def pull_sketch(
    cotangent: Any, out: Any, args: tuple[Any, ...], *, size: int, aligned: bool
) -> tuple[Any, None, None, None]:
    """The sketch is linear: A_bar = D H P^T out_bar."""
    parts, rows, key, start = args
    n = parts[0].shape[-2]
    bars = pull_parts(cotangent, parts, lambda given: srht_lift(given, rows, key, start, n=n, size=size))
    return bars, None, None, None


def pull_lift(cotangent: Any, out: Any, args: tuple[Any, ...], *, n: int, size: int) -> tuple[Any, None, None, None]:
    """And so is its transpose."""
    parts, rows, key, start = args
    bars = pull_parts(cotangent, parts, lambda given: srht(given, rows, key, start, size=size, aligned=False))
    return bars, None, None, None


@kernel("sketch.srht", vjp=pull_sketch)
def srht(parts: tuple[Any, ...], rows: Any, key: Key, start: Any, *, size: int, aligned: bool) -> tuple[Any, ...]:
    """P H D A without the row weights, for the rows of A from number `start` on.

    Parameters
    ----------
    parts : tuple of array, shape (..., n, k)
        What is sketched: A, or A and the right-hand sides.
    rows : array of int, shape (m,)
        The rows of H that are kept, :func:`sampled_rows`.
    key : pair of numpy.uint32
        The seed, its lower word first.
    start : int
        The number of the first row; start + n <= size.
    size : int
        N, a power of two.
    aligned : bool
        Whether `start` is a multiple of ``segment(m, size)``: rows need not be moved then.

    Returns
    -------
    tuple of array, shape (..., m, k)
    """
    width = segment(rows.shape[0], size)
    low = rows % width

    def sketch(part: Any) -> Any:
        xp = namespace(part)
        n = part.shape[-2]
        if n == 0:
            return xp.zeros((*part.shape[:-2], rows.shape[0], part.shape[-1]), **like(part))
        pieces = cut(part * row_signs(part, n, key, start), start, width=width, size=size, aligned=aligned)
        picked = xp.take(hadamard(pieces), low, axis=-2)
        far = segment_signs(part, rows, pieces.shape[-3], start, width=width, size=size)
        return xp.sum(picked * far, axis=-3)

    return tuple(sketch(part) for part in parts)


@kernel("sketch.srht_lift", vjp=pull_lift)
def srht_lift(parts: tuple[Any, ...], rows: Any, key: Key, start: Any, *, n: int, size: int) -> tuple[Any, ...]:
    """D H P^T y without the weights: of its rows the `n` from number `start` on; the transpose of :func:`srht`.

    `parts` have the shape (..., m, k), the results the shape (..., n, k).
    """
    width = segment(rows.shape[0], size)
    low = rows % width
    count = segments_of(n, width=width, size=size, aligned=False)

    def lift(part: Any) -> Any:
        xp = namespace(part)
        far = segment_signs(part, rows, count, start, width=width, size=size)
        signed = xp.matrix_transpose(part[..., None, :, :] * far)
        spread = hadamard(xp.matrix_transpose(index_sum(signed, low, size=width)))
        spread = xp.reshape(spread, (*part.shape[:-2], count * width, part.shape[-1]))
        return xp.take(spread, counted(part, n, start % width), axis=-2) * row_signs(part, n, key, start)

    return tuple(lift(part) for part in parts)
