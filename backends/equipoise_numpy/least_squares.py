"""LAPACK's own least squares (gelsd): numpy's, a member of a batch at a time; and what its answer is worth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .panels import residual_gradient

__all__ = ["judge", "least_squares"]


def least_squares(A: Any, b: Any, rcond: Any, *, root: bool = False) -> Any:
    """x, singular values, rank and None; who wants M too is left to the portable body, since gelsd keeps it."""
    if root or A.dtype not in (np.float64, np.float32) or b.dtype != A.dtype or A.shape[:-2] != b.shape[:-2]:
        return NotImplemented
    batch = A.shape[:-2]
    x = np.empty((*batch, A.shape[-1], b.shape[-1]), dtype=A.dtype)
    values = np.empty((*batch, min(A.shape[-2:])), dtype=A.dtype)
    rank = np.empty(batch, dtype=np.int32)
    for k in np.ndindex(batch):
        x[k], _, rank[k], values[k] = np.linalg.lstsq(A[k], b[k], rcond=float(rcond))
    return x, values, rank, None


def judge(A: Any, b: Any, x: Any, values: Any) -> Any:
    """Override of ``sketch.judge`` for one right-hand side, by numbers: small arrays would take longer than LAPACK."""
    if A.ndim != 2 or b.shape != (A.shape[0], 1) or x.shape != (A.shape[1], 1):
        return NotImplemented
    looked = residual_gradient(A, x, b)
    if looked is NotImplemented:
        return NotImplemented
    (g, square), largest, least = looked, float(values[0]), float(values[-1])
    residual, v = math.sqrt(square[0]), values / largest if largest > 0 else values
    frobenius = largest * math.sqrt(float(v @ v))
    condition = largest / least if least > largest * float(np.finfo(values.dtype).smallest_normal) else math.inf
    error = 0.0 * (residual + float(x.sum()))  # of what is not finite, no number
    if residual > 0 and frobenius > 0 and residual * frobenius > 0:
        slope, sides, side = g[:, 0] / (residual * frobenius), x[:, 0] * frobenius, b[:, 0]
        size = math.sqrt(float(sides @ sides) + float(side @ side))
        first = math.sqrt(float(slope @ slope))
        error = min(first, residual / size) if size > 0 else first
    if not math.isfinite(residual) or (residual > 0 and frobenius > 0 and residual * frobenius == 0):
        error = math.nan  # squares that are no numbers any more tell nothing
    kind = values.dtype
    return g, square, np.array([error], dtype=kind), np.array(condition, dtype=kind)
