"""What a dask array has to be like, said before anything is read."""

from __future__ import annotations

import math
from typing import Any

import dask.array as da
import numpy as np

__all__ = ["check_array", "one_column_of_chunks", "sides_of"]

LARGEST = 1 << 27  # bytes of a chunk that is made by merging others: 128 MB
DTYPES = ("float32", "float64")


def check_array(name: str, x: Any) -> None:
    """Chunks of numpy arrays of known shapes, of float64 or float32."""
    if not isinstance(x._meta, np.ndarray) or isinstance(x._meta, np.ma.MaskedArray):
        raise TypeError(f"{name} must have chunks of numpy arrays, got chunks of {type(x._meta).__name__}")
    if str(x.dtype) not in DTYPES:
        raise ValueError(f"{name} must hold float64 or float32 numbers, got dtype {x.dtype}; convert it first")
    if any(math.isnan(length) for axis in x.chunks for length in axis):
        raise ValueError(f"{name} has chunks of unknown shapes; call {name}.compute_chunk_sizes() first")


def one_column_of_chunks(name: str, x: Any) -> Any:
    """`x`, shape (n, k), with whole rows in its chunks, where these remain small enough."""
    if x.numblocks[1] == 1:
        return x
    size = max(x.chunks[0]) * x.shape[1] * x.dtype.itemsize
    if size > LARGEST:
        raise ValueError(
            f"{name} has {x.numblocks[1]} chunks side by side, and whole rows would make chunks of {size >> 20} MB; "
            f"rechunk it to fewer rows and all columns, such as {name}.rechunk({{0: 'auto', 1: -1}})"
        )
    return x.rechunk({1: -1})


def sides_of(b: Any, A: Any) -> tuple[Any, bool]:
    """The right-hand sides as a dask array (n, k) with the rows of A in its chunks, and whether they are one vector."""
    if not isinstance(b, (da.Array, np.ndarray)) or isinstance(b, np.ma.MaskedArray):
        raise TypeError(f"b must be a dask or numpy array, as A is a dask array, got {type(b).__name__}")
    if isinstance(b, da.Array):
        check_array("b", b)
    if b.dtype != A.dtype:
        kind = TypeError if np.issubdtype(b.dtype, np.floating) else ValueError
        raise kind(f"b must have the dtype {A.dtype} of A, got {b.dtype}; convert one of them")
    if b.ndim not in (1, 2) or b.shape[0] != A.shape[0] or 0 in b.shape:
        raise ValueError(f"b must have shape ({A.shape[0]},) or ({A.shape[0]}, k), got {b.shape}")
    columns = b[:, None] if b.ndim == 1 else b
    if isinstance(b, da.Array):
        return one_column_of_chunks("b", columns).rechunk({0: A.chunks[0]}), b.ndim == 1
    wrap: Any = da.from_array
    return wrap(np.asarray(columns), chunks=(A.chunks[0], -1)), b.ndim == 1
