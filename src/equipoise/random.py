"""Random numbers by counting: Philox4x32-10, the same bits on every backend.

A generator with a state gives other numbers on every library and for every order of calls. Here a word is a function of
where it is used, ``philox(index, key=, block=, stream=)``: row 5e9 of a sketch has its signs without the rows before
it, in any block, on any device, and nothing global is read or written. The ten rounds are those of Salmon et al.,
*Parallel random numbers: as easy as 1, 2, 3* (SC 2011), and give its published test vectors. The key is (seed low, seed
high), the counter (index low, index high, block, stream), each a word of 32 bits.

Words are int64 numbers in [0, 2^32), which every library can add, shift and compare; products are taken 16 bits at a
time. jax without 64-bit numbers has no such dtype: words are uint32 there, with the same values. Whole numbers, signs
and uniform numbers made of them are equal bit for bit; normal ones go through logarithms and cosines, which libraries
round differently.
"""

from __future__ import annotations

import enum
import math
from typing import Any

import numpy as np

from .arrays import library, like, namespace
from .iterate import repeat
from .kernel import kernel

__all__ = ["Stream", "key", "mulhi", "normal", "philox", "signs", "uniform"]

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


class Stream(enum.IntEnum):
    """Who uses which words: two uses of one seed never share a counter.

    One bit an element: index (or block) ``i >> 7``, then bit ``i & 127`` in the order of :func:`signs`. One word an
    element: index (or block) ``i >> 2``, word ``i & 3``.
    """

    SRHT_SIGNS = 0  # a bit an element of the index
    SRHT_ROWS = 1  # a word an element of the index
    SPARSE_SIGN = 2  # index: the row; a word a nonzero, along blocks
    RADEMACHER = 3  # index: the row; a bit a column, along blocks
    GAUSSIAN = 4  # index: the row; a normal number a column, along blocks
    SAMPLED_ROWS = 5
    TENSOR_ROWS = 6
    TENSOR_SIGNS = 7
    MONOTONE = 8
    PRECONDITION = 9
    QUASIMETRIC = 10
    # Starts of power and Lanczos iterations; from block 2^31 on, leverage scores: index the row of the root; a normal
    # number a direction, along blocks
    DIRECTIONS = 11
    PROJECTIONS = 12  # directions of sliced transport; index: the direction; a normal number a coordinate, along blocks


def key(rng: int | np.random.Generator) -> tuple[int, int]:
    """The two words of the key: an int is the key itself, a generator gives one draw of 64 bits.

    Parameters
    ----------
    rng
        A seed in [0, 2^64), or a `numpy.random.Generator`, which moves on.

    Raises
    ------
    TypeError, ValueError
        For anything else, None too: a result has to be reproducible.

    Examples
    --------
    >>> from equipoise.random import key
    >>> key(2**32 + 7)
    (7, 1)
    """
    if isinstance(rng, np.random.Generator):
        seed = int(rng.integers(2**64, dtype=np.uint64))
    elif isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        seed = int(rng)
    else:
        raise TypeError(f"rng must be an int in [0, 2^64) or a numpy.random.Generator, got {type(rng).__name__}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"rng must be in [0, 2^64), got {seed}")
    return seed & MASK, seed >> 32


def philox(index: Any, *, key: tuple[int, int], block: Any = 0, stream: int = 0) -> Any:
    """The four words that belong to each index.

    Parameters
    ----------
    index : array of int, shape (...)
        Not negative; its library and device are those of the words.
    key : pair of int
        What :func:`key` gives.
    block : int or array of int, in [0, 2^32)
        A second coordinate; an array broadcasts with `index`.
    stream : int in [0, 2^32)
        Who asks, a :class:`Stream`.

    Returns
    -------
    array of int64 (uint32 on jax without 64-bit numbers), shape (..., 4)
        Numbers in [0, 2^32).

    Raises
    ------
    TypeError, ValueError
        If something does not hold whole numbers, or if a number is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.random import philox
    >>> [f"{word:08x}" for word in philox(np.array(0), key=(0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    if not library(index):
        raise TypeError(f"index must be an array of int, got {type(index).__name__}")
    xp = namespace(index, block)
    for name, x in (("index", index), ("block", block)):
        if library(x) and not xp.isdtype(x.dtype, "integral"):
            raise TypeError(f"{name} must hold whole numbers, got dtype {x.dtype}")
    block = block if library(block) else _word("block", block)
    return words_of(index, block, tuple(_word("key", word) for word in key), stream=int(_word("stream", stream)))


def _word(name: str, x: Any) -> Any:
    """A number in [0, 2^32), as numpy's uint32: a Python one would have to fit into jax's int32."""
    if isinstance(x, bool) or not hasattr(x, "__index__"):
        raise TypeError(f"{name} must hold whole numbers, got {type(x).__name__}")
    if not 0 <= int(x) <= MASK:
        raise ValueError(f"{name} must be in [0, 2^32), got {int(x)}")
    return np.uint32(int(x))


@kernel("random.philox")
def words_of(index: Any, block: Any = 0, key: Any = (0, 0), *, stream: int = 0) -> Any:
    """The body of :func:`philox`, unchecked. The key is data, not a setting: jax would compile for every seed anew."""
    xp = namespace(index, block)
    if _is_wide(xp):
        number, index = _signed, xp.astype(index, xp.int64)
        low, high = index & MASK, (index >> 32) & MASK
    else:
        number = _unsigned
        low, high = xp.astype(index, xp.uint32), xp.zeros_like(index, dtype=xp.uint32)
    zero = xp.zeros_like(low)
    counter = xp.broadcast_arrays(low, high, zero + number(xp, block), zero + number(xp, stream))
    flat = (xp.reshape(word, (-1,)) for word in counter)
    words = repeat(_two_rounds, (*flat, *(number(xp, word) for word in key)), (), ROUNDS // 2)[:4]
    return xp.reshape(xp.stack(words, axis=-1), (*counter[0].shape, 4))


def _two_rounds(state: Any, data: Any) -> Any:
    """In a loop, since XLA would compute all ten rounds four times over, once for each word of the result."""
    c0, c1, c2, c3, k0, k1 = state
    xp = namespace(c0)
    multiply, number = (_multiply_wide, _signed) if c0.dtype == xp.int64 else (_multiply_narrow, _unsigned)
    mask, m0, m1, w0, w1 = (number(xp, word) for word in (MASK, *MULTIPLIERS, *WEYL))
    for _ in range(2):
        high0, low0 = multiply(xp, c0, m0)
        high1, low1 = multiply(xp, c2, m1)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + w0) & mask, (k1 + w1) & mask
    return c0, c1, c2, c3, k0, k1


def _is_wide(xp: Any) -> bool:
    """Whether the library has 64-bit whole numbers now: jax has them only if asked to."""
    return "int64" in xp.__array_namespace_info__().dtypes(kind="signed integer")


def _signed(xp: Any, x: Any) -> Any:
    return xp.astype(x, xp.int64) if library(x) else int(x)


def _unsigned(xp: Any, x: Any) -> Any:
    return xp.astype(x, xp.uint32) if library(x) else xp.asarray(np.uint32(x))


def _multiply_wide(xp: Any, x: Any, k: Any) -> tuple[Any, Any]:
    """The high and the low word of x k, in int64: no product below exceeds 48 bits."""
    above, below = x * (k >> 16), x * (k & 0xFFFF)
    return (above + (below >> 16)) >> 16, (((above & 0xFFFF) << 16) + below) & MASK


def _multiply_narrow(xp: Any, x: Any, k: Any) -> tuple[Any, Any]:
    """The same in uint32, which wraps around: four products of 16 bits by 16."""
    half = xp.asarray(np.uint32(0xFFFF))
    xh, xl, kh, kl = x >> 16, x & half, k >> 16, k & half
    across, back = xh * kl, xl * kh
    middle = ((xl * kl) >> 16) + (across & half) + (back & half)
    return xh * kh + (across >> 16) + (back >> 16) + (middle >> 16), x * k


def mulhi(words: Any, k: Any) -> Any:
    """floor(words * k / 2^32): a whole number in [0, k) from each word, without overflow.

    Parameters
    ----------
    words : array, shape (...)
        Words of :func:`philox`.
    k : int or array of int
        At least 1 and at most 2^32 (2^31 - 1 on jax without 64-bit numbers).

    Returns
    -------
    array of int64 (int32 on jax without 64-bit numbers)

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.random import mulhi
    >>> mulhi(np.array([0, 2**31, 2**32 - 1]), 10)
    array([0, 5, 9])
    """
    xp = namespace(words, k)
    if words.dtype == xp.int64:
        return _multiply_wide(xp, words, _signed(xp, k))[0]
    return xp.astype(_multiply_narrow(xp, words, _unsigned(xp, k))[0], xp.int32)


def signs(words: Any, dtype: Any) -> Any:
    """The bits of the words as signs: -1 where a bit is set, +1 where not.

    Parameters
    ----------
    words : array, shape (..., 4)
        Words of :func:`philox`.
    dtype
        Of the result, a floating or signed integer dtype of the library of `words`.

    Returns
    -------
    array of `dtype`, shape (..., 128)
        From word 0 to word 3, in each from the lowest bit to the highest.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.random import Stream, key, philox, signs
    >>> signs(philox(np.array(0), key=key(0), stream=Stream.SRHT_SIGNS), np.int8)[:8]
    array([-1,  1, -1,  1, -1,  1, -1, -1], dtype=int8)
    """
    xp = namespace(words)
    bits = (words[..., None] >> xp.arange(32, **like(words))) & 1
    bits = xp.reshape(bits, (*words.shape[:-1], 32 * words.shape[-1]))
    return 1 - 2 * xp.astype(bits, dtype)


def uniform(words: Any, dtype: Any) -> Any:
    """A uniform number in the open interval (0, 1) from each word, the same on every backend.

    In float64 (word + 1/2) / 2^32, in float32 (upper 23 bits + 1/2) / 2^23; neither is rounded. `dtype` is one of these
    two, as the library of `words` calls it; another is a TypeError, and so is float64 on jax without 64-bit numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.random import uniform
    >>> uniform(np.array([0, 2**31, 2**32 - 1]), np.float32)
    array([5.9604645e-08, 5.0000006e-01, 9.9999994e-01], dtype=float32)
    """
    xp = namespace(words)
    if dtype == xp.float32:
        return (xp.astype(words >> 9, dtype) + 0.5) * 2.0**-23
    if dtype != xp.float64:
        raise TypeError(f"dtype must be float64 or float32, got {dtype}")
    if words.dtype != xp.int64:
        raise TypeError("dtype must be float32, since jax holds no float64 unless jax_enable_x64 is set")
    return (xp.astype(words, dtype) + 0.5) * 2.0**-32


def normal(words: Any, dtype: Any) -> Any:
    """A standard normal number from each word of :func:`philox`, by Box-Muller on the pairs (0, 1) and (2, 3).

    `words` and `dtype` are those of :func:`uniform`, and so is what is raised. Backends agree to 4 units in the last
    place. No number exceeds 6.8 (in float32 5.8) in size.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.random import Stream, key, normal, philox
    >>> x = normal(philox(np.arange(10_000), key=key(0), stream=Stream.GAUSSIAN), np.float64)
    >>> x.shape, bool(abs(x.mean()) < 0.01), bool(abs(x.std() - 1) < 0.01)
    ((10000, 4), True, True)
    """
    xp = namespace(words)
    u = uniform(words, dtype)
    radius, turns = xp.sqrt(-2.0 * xp.log(u[..., 0::2])), u[..., 1::2]
    quarter = xp.round(
        4.0 * turns
    )  # cos and sin of an angle within +-pi/4, found exactly, keep all digits near their zeros
    angle = (2.0 * math.pi) * (turns - 0.25 * quarter)
    cos, sin = xp.cos(angle), xp.sin(angle)
    odd, left, lower = (quarter == 1) | (quarter == 3), (quarter == 1) | (quarter == 2), (quarter == 2) | (quarter == 3)
    x, y = xp.where(odd, sin, cos), xp.where(odd, cos, sin)
    pairs = xp.stack([radius * xp.where(left, -x, x), radius * xp.where(lower, -y, y)], axis=-1)
    return xp.reshape(pairs, words.shape)
