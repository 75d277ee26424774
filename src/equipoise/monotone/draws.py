"""Which components are sampled, and when all of them are: the same for one seed on every backend.

Everything is read off a counter. Position j of the sample that leads to step t has word ``j & 3`` of ``philox(t,
block=j >> 2)``; the number of steps T up to refresh r has words 0 and 1 of ``philox(r, block=2^31)``; the coin of step
t, in the first phase of the published schedule, has word 2 of ``philox(t, block=2^31)``.

T is geometric, P(T > j) = (1 - p)^j. Without memory, its quotient and its remainder by any B are independent: two small
tables of whole-number thresholds give it exactly, without a logarithm that libraries would round differently, and
without a loop, which a compiled program could not leave early.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import library, like, namespace
from ..backend import of
from ..iterate import repeat
from ..random import Stream, words_of
from ..record import leaves, record, static
from .finite_sum import picked

__all__ = ["Draws", "coins", "indices", "plan", "sampled", "waiting"]

COINS = np.uint32(2**31)  # the block of refreshes; samples of more than 2^33 components there are none
WORDS = 2.0**32
LEAST = 1.2e-8  # the longest time between refreshes, 22.2 / p steps and a little more, is below 2^31


@record
class Draws:
    """What the draws of a solve depend on.

    `key` is the seed; `quotient` and `remainder` are the thresholds of T by `base`, and empty where p = 1; `batch`
    components are sampled a step.
    """

    key: Any
    quotient: Any
    remainder: Any
    base: int = static()
    batch: int = static()


def plan(p: float, batch: int, key: Any, beside: Any) -> Draws:
    """The draws for refreshes of probability p, on the device of `beside`."""
    if p < LEAST:
        raise ValueError(f"refresh must be at least {LEAST}, as steps are counted, got {p}")
    base = 1 if p == 1.0 else math.ceil(math.sqrt(22.2 / p))  # (1 - p)^(22.2 / p) < 2^-32
    stay = -math.inf if p == 1.0 else math.log1p(-p)
    within = np.expm1(stay * np.arange(1, base)) / np.expm1(stay * base) if base > 1 else np.zeros(0)
    beyond = -np.expm1(stay * base * np.arange(1, base + 2)) if p < 1.0 else np.zeros(0)
    backend, xp = of(beside), namespace(beside)
    wide = "int64" in xp.__array_namespace_info__().dtypes(kind="signed integer")

    def thresholds(shares: Any) -> Any:
        table = np.minimum(np.round(shares * WORDS), WORDS - 1.0).astype(np.int64 if wide else np.uint32)
        return backend.lend(table, beside)

    return Draws(key, thresholds(beyond), thresholds(within), base, batch)


def waiting(draws: Draws, number: Any) -> Any:
    """T >= 1, the steps from refresh `number` to the next one; both of any shape."""
    xp = namespace(number)
    if draws.base == 1:
        return xp.ones_like(number)
    words = words_of(number, COINS, draws.key, stream=int(Stream.MONOTONE))
    quotient, remainder = (  # torch wants what it searches for in one piece: + 0 copies
        xp.reshape(xp.searchsorted(table, xp.reshape(words[..., k], (-1,)) + 0, side="right"), tuple(number.shape))
        for k, table in ((0, draws.quotient), (1, draws.remainder))
    )
    return xp.astype(1 + quotient * draws.base + remainder, number.dtype)


def coins(draws: Draws, steps: Any) -> Any:
    """The word of the coin of each step."""
    return words_of(steps, COINS, draws.key, stream=int(Stream.MONOTONE))[..., 2]


def indices(draws: Draws, summed: Any, steps: Any) -> Any:
    """The components that are sampled on the way to each of the `steps`, shape (k,): int32, shape (k, batch)."""
    xp = namespace(steps)
    blocks = xp.arange(-(-draws.batch // 4), **like(steps))
    words = words_of(steps[:, None], blocks[None, :], draws.key, stream=int(Stream.MONOTONE))
    words = xp.reshape(words, (steps.shape[0], 4 * blocks.shape[0]))[:, : draws.batch]
    return xp.astype(picked(summed, words), xp.int32)


def numbers(s: Any, count: Any) -> Any:
    """The numbers of the next `count` steps, shape (count,), of those members that have not ended and lag behind."""
    xp = namespace(leaves(s)[0])  # a counter may have become a number of numpy's
    t = xp.asarray(xp.max(s.t))
    return xp.arange(1, count + 1, **like(t)) + t


@functools.cache
def drawing(step: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The step with a sample that it draws itself, for loops that a compiler writes."""

    def with_sample(s: Any, task: Any) -> Any:
        return step(s, task, indices(task.draws, task.summed, numbers(s, 1))[0, ...])

    return with_sample


def sampled(step: Callable[[Any, Any, Any], Any], s: Any, task: Any, count: Any) -> Any:
    """`count` steps ``step(s, task, idx)`` from a state that counts them in `t`, each with the sample of its number.

    Where `count` is an array that a transformation traces, every step draws its own sample; else all are drawn at once.
    """
    if library(count):
        return repeat(drawing(step), s, task, count)
    if count == 0:
        return s
    samples = indices(task.draws, task.summed, numbers(s, count))
    for j in range(count):
        s = step(s, task, samples[j, ...])
    return s
