"""Rows of A, drawn independently with given probabilities: the baseline, and what leverage scores are made for."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..arrays import namespace
from ..backend import of
from ..random import Stream, uniform, words_of
from ..segments import index_sum

__all__ = ["drawn_rows", "sampled_lift", "sampled_sums"]


@functools.lru_cache(maxsize=8)
def drawn_rows(key: Any, *, m: int, n: int, probabilities: tuple[float, ...] | None) -> np.ndarray[Any, Any]:
    """The m rows, by inverting the distribution function, on the host."""
    words = words_of(np.arange(-(-m // 4)), 0, key, stream=Stream.SAMPLED_ROWS)
    u = uniform(words, np.float64).reshape(-1)[:m]
    if probabilities is None:
        return np.minimum((u * n).astype(np.int64), n - 1)
    cdf = np.cumsum(probabilities)
    return np.searchsorted(cdf / cdf[-1], u, side="right")


def sampled_sums(x: Any, rows: np.ndarray[Any, Any], start: int) -> Any:
    """The drawn rows of x, shape (..., n, k), that holds the rows from `start` on; zeros for those outside of it."""
    xp, n = namespace(x), x.shape[-2]
    inside = (rows >= start) & (rows < start + n)
    taken = xp.take(x, of(x).lend(np.where(inside, rows - start, 0), x), axis=-2)
    if inside.all():
        return taken
    return xp.where(of(x).lend(inside[:, None], x), taken, xp.zeros_like(taken))


def sampled_lift(y: Any, rows: np.ndarray[Any, Any], start: int, n: int) -> Any:
    """The transpose, for rows `start` to `start + n`: each row gets what was drawn from it."""
    xp = namespace(y)
    inside = np.flatnonzero((rows >= start) & (rows < start + n))
    y = xp.take(y, of(y).lend(inside, y), axis=-2)
    index = of(y).lend(rows[inside] - start, y)
    return xp.matrix_transpose(index_sum(xp.matrix_transpose(y), index, size=n))
