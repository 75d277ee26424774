"""Random numbers of the family: all are functions of (seed, count), so that a run can be resumed anywhere.

Element i of what pair number `count` needs is word ``i & 3`` of ``philox(count, block=(purpose << 29) + (i >> 2))``.
"""

from __future__ import annotations

import enum
import math
from typing import Any

import numpy as np

from ..arrays import like, namespace
from ..backend import of
from ..kernel import kernel
from ..random import Stream, key, normal, uniform, words_of
from .common import wide_dtype

__all__ = ["Purpose", "coin", "damped", "normals", "seed_of", "whole"]

SHIFT = 29


class Purpose(enum.IntEnum):
    """Who uses which blocks."""

    DAMPING = 0
    VECTOR = 1
    START = 2
    COIN = 3
    PROBE = 4


def whole(xp: Any) -> Any:
    """The dtype of counts: int32 where jax has no other."""
    return xp.int64 if "int64" in xp.__array_namespace_info__().dtypes(kind="signed integer") else xp.int32


def seed_of(rng: Any, beside: Any) -> Any:
    """The two words of a seed as an array on the device of `beside`."""
    xp, words = namespace(beside), key(rng)
    wide = whole(xp) == xp.int64
    return of(beside).lend(np.array(words, dtype=np.int64 if wide else np.uint32), beside)


@kernel("precondition.normals")
def normals(count: Any, seed: Any, beside: Any, *, rows: int, purpose: int) -> Any:
    """Standard normal numbers for `rows` pairs from number `count` on, each of the shape and dtype of `beside`."""
    xp = namespace(beside)
    n = math.prod(beside.shape)
    words = words_for(count, seed, rows, -(-n // 4), purpose)
    drawn = normal(words, beside.dtype)
    return xp.reshape(xp.reshape(drawn, (rows, -1))[:, :n], (rows, *beside.shape))


def words_for(count: Any, seed: Any, rows: int, blocks: int, purpose: int) -> Any:
    """The words of `rows` counts, shape (rows, blocks, 4)."""
    xp = namespace(seed)
    place = {**like(seed), "dtype": whole(xp)}
    index = xp.arange(rows, **place) + count
    if whole(xp) == xp.int64:
        block = xp.arange(blocks, **place) + (int(purpose) << SHIFT)
    else:  # words above 2^31 do not fit into int32
        block = xp.arange(blocks, dtype=xp.uint32) + xp.asarray(np.uint32(int(purpose) << SHIFT))
    return words_of(index[:, None], block[None, :], (seed[0], seed[1]), stream=int(Stream.PRECONDITION))


@kernel("precondition.damped")
def damped(H: Any, count: Any, seed: Any, damping: Any) -> Any:
    """H + (damping + u |H|) n with normal n, u the unit roundoff: no direction of H stays exactly without curvature.

    A zero h stays zero: its pair will be skipped.
    """
    xp = namespace(H)
    noise = normals.body(count, seed, H[0, ...], rows=H.shape[0], purpose=int(Purpose.DAMPING))
    unit = float(xp.finfo(H.dtype).eps) / 2
    seen = xp.any(H != 0, axis=tuple(range(1, H.ndim)), keepdims=True)
    return xp.where(seen, H + (damping + unit * xp.abs(H)) * noise, H)


def coin(seed: Any, step: Any, probability: float) -> Any:
    """Whether the preconditioner is updated at a step: a bool array of shape ()."""
    xp = namespace(seed)
    words = words_for(step, seed, 1, 1, int(Purpose.COIN))
    drawn = uniform(words[0, 0, :1], wide_dtype(xp))
    return xp.reshape(drawn < probability, ())
