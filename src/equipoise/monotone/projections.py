"""Euclidean projections onto the simplex and the ball of the 1-norm, row by row, with their derivatives.

The threshold of the simplex is the largest of (S_k - radius) / k, where S_k adds up the k largest entries. The largest
entry is taken off first, so that rows of huge numbers keep their digits.
"""

from __future__ import annotations

from typing import Any

from ..arrays import like, namespace
from ..kernel import kernel
from ..operators.protocol import beside

__all__ = ["project_l1", "project_simplex"]


def pull_simplex(cotangent: Any, out: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """diag(s) - s s^T / |s| for the support s; of the radius, the mean over the support."""
    if cotangent is None:
        return None, None
    xp = namespace(out)
    cotangent = beside(cotangent, out)
    support = xp.astype(out > 0, out.dtype)
    mean = xp.sum(support * cotangent, axis=-1, keepdims=True) / xp.sum(support, axis=-1, keepdims=True)
    bar = xp.sum(mean) if getattr(args[1], "ndim", None) is not None else None
    return support * (cotangent - mean), bar


@kernel("monotone.project_simplex", vjp=pull_simplex)
def project_simplex(v: Any, radius: Any) -> Any:
    """The point nearest to each row of `v`, shape (..., d), with entries that are not negative and sum to `radius`.

    `radius` is a positive number or a 0-d array.
    """
    xp = namespace(v)
    low = v - xp.max(v, axis=-1, keepdims=True)
    falling = xp.sort(low, axis=-1, descending=True)
    counts = xp.arange(1, v.shape[-1] + 1, **like(v))
    threshold = xp.max((xp.cumulative_sum(falling, axis=-1) - radius) / counts, axis=-1, keepdims=True)
    out = low - threshold
    return xp.where(out <= 0, xp.zeros_like(out), out)  # NaN stays NaN


@kernel("monotone.project_l1")
def project_l1(v: Any, radius: Any) -> Any:
    """The point nearest to each row of `v`, shape (..., d), whose absolute values sum to `radius` or less."""
    xp = namespace(v)
    size = xp.abs(v)
    inside = xp.sum(size, axis=-1, keepdims=True) <= radius
    return xp.where(inside, v, xp.sign(v) * project_simplex(size, radius))
