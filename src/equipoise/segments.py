"""Sums by index: the scatter-add that the Array API standard lacks, and what holds of the indices.

Sparse operators, hashing sketches and assembled gradients all end in ``out[index[k]] += values[k]``. Backends have an
instruction for it, and their tables name it; the portable body needs no scatter. It sorts by index and adds each run of
equal indices by doubling: log2(K) passes over K values, shapes that no value decides, and sums as accurate as pairwise
ones, where differences of one long cumulative sum would lose the digits of small runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import library, like, namespace, shape_text
from .backend import of
from .kernel import kernel

__all__ = ["check_index", "index_sum", "segments"]


def _gather(cotangent: Any, out: Any, args: tuple[Any, ...], *, size: int) -> tuple[Any, ...]:
    """Each value went to one place, so its cotangent is read from there."""
    if cotangent is None:
        return None, None
    return namespace(cotangent).take(cotangent, args[1], axis=-1), None


@kernel("array.index_sum", vjp=_gather)
def index_sum(values: Any, index: Any, *, size: int) -> Any:
    """Sum `values` by `index` along the last axis: ``out[..., i]`` adds up ``values[..., k]`` with ``index[k] == i``.

    Linear in `values` and differentiable in them on torch and jax. The order of a sum is the backend's, so results of
    two backends differ by rounding; sums of whole numbers do not.

    Parameters
    ----------
    values : array, shape (..., K)
        What is added up.
    index : array of int32 or int64, shape (K,)
        Where each value goes, in any order; every entry must lie in ``[0, size)``, which is not checked.
    size : int
        The length of the result.

    Returns
    -------
    array, shape (..., size)
        Of the dtype of `values`; zero where no index points.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.segments import index_sum
    >>> index_sum(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2, 0, 2, 1]), size=4)
    array([2., 4., 4., 0.])
    """
    xp = namespace(values, index)
    count = index.shape[0]
    if count == 0:
        return xp.zeros((*values.shape[:-1], size), **like(values))
    order = xp.argsort(index, stable=True)
    keys, sums = xp.take(index, order), xp.take(values, order, axis=-1)
    width = 1
    while width < count:  # sums[k] holds the last `width` values of its run up to k
        earlier = sums[..., :-width]
        earlier = xp.where(keys[width:] == keys[:-width], earlier, xp.zeros_like(earlier))
        sums = xp.concat([sums[..., :width], sums[..., width:] + earlier], axis=-1)
        width *= 2
    places = xp.arange(size, **like(index))
    ends = xp.searchsorted(keys, places, side="right")
    last = xp.where(ends > 0, ends - 1, ends)
    total = xp.take(sums, last, axis=-1)
    return xp.where(xp.take(keys, last) == places, total, xp.zeros_like(total))


def check_index(name: str, x: Any) -> None:
    """An array of whole numbers with one axis, of a dtype that every library indexes with."""
    if not library(x):
        raise TypeError(f"{name} must be an array of int32 or int64, got {type(x).__name__}")
    xp = namespace(x)
    if x.dtype not in (xp.int32, xp.int64):
        raise TypeError(f"{name} must hold int32 or int64, got dtype {x.dtype}; convert it first")
    if x.ndim != 1:
        raise ValueError(f"{name} must have one axis, got shape {shape_text(x)}")


def segments(indices: Any, indptr: Any, *, columns: int) -> Any:
    """The row of each stored entry of a compressed pattern, of the dtype of `indices`.

    The pattern is checked and expanded on the host, once, so that one which is known stays known under ``jax.jit``; a
    traced one is expanded where it is, unchecked.
    """
    backend = of(indices)
    if not backend.traced([indices, indptr]):
        on_host, starts = backend.to_numpy(indices), backend.to_numpy(indptr)
        _check_pattern(on_host, starts, columns)
        rows = np.repeat(np.arange(starts.size - 1, dtype=on_host.dtype), np.diff(starts))
        return backend.lend(rows, indices)
    xp = namespace(indices, indptr)
    places = xp.arange(indices.shape[0], **like(indptr))
    return xp.astype(xp.searchsorted(indptr, places, side="right") - 1, indices.dtype)


def _check_pattern(indices: np.ndarray[Any, Any], indptr: np.ndarray[Any, Any], columns: int) -> None:
    """Rows that follow each other from the first entry to the last, and columns that exist."""
    if indptr[0] != 0:
        raise ValueError(f"indptr must start with 0, got {indptr[0]}")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if falls.size:
        k = int(falls[0])
        raise ValueError(f"indptr must not fall, got {indptr[k]} at index {k} and {indptr[k + 1]} at index {k + 1}")
    if indptr[-1] != indices.size:
        raise ValueError(f"indptr must end with {indices.size}, the number of indices, got {indptr[-1]}")
    outside = np.flatnonzero((indices < 0) | (indices >= columns))
    if outside.size:
        k = int(outside[0])
        raise ValueError(f"indices must lie in [0, {columns}), got {indices[k]} at index {k}")
