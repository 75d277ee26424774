"""LAPACK's own least squares (gelsd): numpy's, a member of a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["least_squares"]


def least_squares(A: Any, b: Any, rcond: Any, *, root: bool = False) -> Any:
    """x, singular values, rank and None; who wants M too is left to the portable body, since gelsd keeps it."""
    if root or A.dtype not in (np.float64, np.float32):
        return NotImplemented
    batch = A.shape[:-2]
    x = np.empty((*batch, A.shape[-1], b.shape[-1]), dtype=A.dtype)
    values = np.empty((*batch, min(A.shape[-2:])), dtype=A.dtype)
    rank = np.empty(batch, dtype=np.int32)
    for k in np.ndindex(batch):
        x[k], _, rank[k], values[k] = np.linalg.lstsq(A[k], b[k], rcond=float(rcond))
    return x, values, rank, None
