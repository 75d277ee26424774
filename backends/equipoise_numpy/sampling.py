"""The draws of the sampling methods inside compiled code: the same words as `equipoise.monotone.draws` reads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from equipoise.random import Stream

from .compiled import njit
from .random import HALF, MASK, ROUNDS, W0, W1, one_round
from .simplex import INSIDE

__all__ = ["Words", "samples", "wait", "words_of"]

STREAM = np.uint64(int(Stream.MONOTONE))
COINS = np.uint64(2**31)


class Words(NamedTuple):
    """The key as numbers of 64 bits, and the tables of the waiting times."""

    low: Any
    high: Any
    quotient: Any
    remainder: Any
    base: int


def words_of(draws: Any) -> Words:
    """What compiled code reads of the draws of a solve."""
    quotient, remainder = (read_only(table) for table in (draws.quotient, draws.remainder))
    return Words(np.uint64(draws.key[0]), np.uint64(draws.key[1]), quotient, remainder, draws.base)


def read_only(table: Any) -> Any:
    view = np.ascontiguousarray(table, dtype=np.int64).view()
    view.flags.writeable = False
    return view


@njit(cache=True, **INSIDE)
def after(table, word):  # type: ignore[no-untyped-def]
    """How many thresholds are not above the word."""
    low, high = 0, table.size
    while low < high:
        middle = (low + high) // 2
        if table[middle] <= word:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, **INSIDE)
def drawn(words, index, block):  # type: ignore[no-untyped-def]
    """The four words of a counter."""
    c0, c1, c2, c3, k0, k1 = np.uint64(index), np.uint64(0), block, STREAM, words.low, words.high
    for _ in range(ROUNDS):
        c0, c1, c2, c3 = one_round(c0, c1, c2, c3, k0, k1)
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return c0, c1, c2, c3


@njit(cache=True)
def wait(words, t, number, first):  # type: ignore[no-untyped-def]
    """Steps from t to the next refresh."""
    for step in range(t + 1, first + 1):
        if step == 1 or (drawn(words, step, COINS)[2] * np.uint64(step + 4)) >> HALF < np.uint64(4):
            return step - t
    later = max(t, first) - t
    if words.base == 1:
        return later + 1
    first_word, second_word, _, _ = drawn(words, number, COINS)
    quotient = after(words.quotient, np.int64(first_word))
    return later + 1 + quotient * words.base + after(words.remainder, np.int64(second_word))


@njit(cache=True)
def samples(words, marks, n, t, count, batch):  # type: ignore[no-untyped-def]
    """The components that are sampled on the way to each of the `count` steps after t, shape (count, batch)."""
    out = np.empty((count, batch), dtype=np.int32)
    for j in range(count):
        for b in range(0, batch, 4):
            four = drawn(words, t + 1 + j, np.uint64(b >> 2))
            for k in range(min(4, batch - b)):
                out[j, b + k] = place(marks, four[k]) if marks.size else (four[k] * np.uint64(n)) >> HALF
    return out


@njit(cache=True, **INSIDE)
def place(marks, word):  # type: ignore[no-untyped-def]
    """The component whose share of all weights the word hits, in the precision of the weights."""
    kept = marks.dtype.type
    mark = (kept(word & MASK) + kept(0.5)) * kept(2.0**-32) * marks[-1]
    low, high = 0, marks.size
    while low < high:
        middle = (low + high) // 2
        if marks[middle] < mark:
            low = middle + 1
        else:
            high = middle
    return min(low, marks.size - 1)
