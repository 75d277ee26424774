"""The subsampled randomized Hadamard transform of a Kronecker product, from transforms of its factors.

Row k of S is one row of a randomized transform of length n1 beside one of length n2: ``S (x kron y)`` costs two short
transforms instead of one of length n1 n2, and S A for A = A1 kron A2 never forms A.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..arrays import like, namespace
from ..backend import of
from ..kernel import kernel
from ..random import Stream, mulhi, signs, words_of
from ..segments import index_sum
from .dense import whole
from .srht import hadamard, hadamard_size

__all__ = ["kronecker_sums", "places", "sampled_pairs", "tensor_lift", "tensor_sums"]


@functools.lru_cache(maxsize=32)
def sampled_pairs(key: Any, *, m: int, sizes: tuple[int, int]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The rows (i_k, j_k) of the two transforms, drawn independently, on the host."""
    words = words_of(np.arange(m), 0, key, stream=Stream.TENSOR_ROWS)
    return tuple(mulhi(words[:, k], size) for k, size in enumerate(sizes))


def random_signs(key: Any, n: int, stream: int, x: Any) -> Any:
    """The signs of n rows, shape (n,), like `x`."""
    xp = namespace(x)
    index = xp.arange(-(-n // 128), **{**like(x), "dtype": whole(x)})
    return xp.reshape(signs(words_of(index, 0, key, stream=stream), x.dtype), (-1,))[:n]


def transformed(x: Any, key: Any, stream: int) -> Any:
    """H D x along axis -2, padded with zeros to a power of two."""
    xp, n = namespace(x), x.shape[-2]
    x = x * random_signs(key, n, stream, x)[:, None]
    spare = xp.zeros((*x.shape[:-2], hadamard_size(n) - n, x.shape[-1]), **like(x))
    return hadamard(xp.concat([x, spare], axis=-2))


def places(key: Any, *, m: int, n: tuple[int, int], like: Any) -> Any:
    """The sampled pairs as places in the transformed array, beside `like`."""
    N1, N2 = hadamard_size(n[0]), hadamard_size(n[1])
    i, j = sampled_pairs(key, m=m, sizes=(N1, N2))
    return of(like).lend(i * N2 + j, like)


@kernel("sketch.tensor")
def tensor_sums(x: Any, places: Any, key: Any, *, n: tuple[int, int]) -> Any:
    """Unscaled S x for x (..., n1 n2, k), rows in the order of `numpy.kron`: (..., m, k)."""
    xp, (n1, n2), batch, k = namespace(x), n, tuple(x.shape[:-2]), x.shape[-1]
    x = transformed(xp.reshape(x, (*batch, n1, n2 * k)), key, Stream.SRHT_SIGNS)
    N1 = x.shape[-2]
    x = transformed(xp.reshape(x, (*batch, N1, n2, k)), key, Stream.TENSOR_SIGNS)
    N2 = x.shape[-2]
    return xp.take(xp.reshape(x, (*batch, N1 * N2, k)), places, axis=-2)


@kernel("sketch.tensor_lift")
def tensor_lift(y: Any, places: Any, key: Any, *, n: tuple[int, int]) -> Any:
    """Unscaled S^T y for y (..., m, k): (..., n1 n2, k)."""
    xp, (n1, n2), batch, k = namespace(y), n, tuple(y.shape[:-2]), y.shape[-1]
    N1, N2 = hadamard_size(n1), hadamard_size(n2)
    x = index_sum(xp.matrix_transpose(y), places, size=N1 * N2)
    x = hadamard(xp.reshape(xp.matrix_transpose(x), (*batch, N1, N2, k)))[..., :n2, :]
    x = x * random_signs(key, n2, Stream.TENSOR_SIGNS, y)[:, None]
    x = hadamard(xp.reshape(x, (*batch, N1, n2 * k)))[..., :n1, :]
    x = x * random_signs(key, n1, Stream.SRHT_SIGNS, y)[:, None]
    return xp.reshape(x, (*batch, n1 * n2, k))


def kronecker_sums(first: Any, second: Any, key: Any, *, m: int) -> Any:
    """Unscaled S (A1 kron A2), shape (m, d1 d2): row k is the Kronecker product of two rows."""
    xp = namespace(first, second)
    first, second = transformed(first, key, Stream.SRHT_SIGNS), transformed(second, key, Stream.TENSOR_SIGNS)
    i, j = sampled_pairs(key, m=m, sizes=(first.shape[-2], second.shape[-2]))
    left = xp.take(first, of(first).lend(i, first), axis=-2)
    right = xp.take(second, of(second).lend(j, second), axis=-2)
    return xp.reshape(left[:, :, None] * right[:, None, :], (m, -1))
