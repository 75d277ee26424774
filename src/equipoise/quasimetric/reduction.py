"""From the distances of the components to one distance, and back: sums, means and maxima of quasimetrics are such."""

from __future__ import annotations

from typing import Any

from ..arrays import library, like, namespace
from .panels import array

__all__ = ["ALPHA", "REDUCTIONS", "reduce", "reduction_slopes"]

ALPHA = 0.2689414213699951  # the sigmoid of -1, the published start
REDUCTIONS = ("maxmean", "sum", "max", "mean", "none")


def share(alpha: Any, parts: Any) -> Any:
    """`alpha` in the dtype of the distances."""
    return namespace(parts).astype(alpha, parts.dtype) if library(alpha) else alpha


def reduce(parts: Any, alpha: Any, reduction: str) -> Any:
    """The distances of k components, shape (..., k), to one, shape (...); as they are for "none"."""
    xp = namespace(parts)
    if reduction == "none":
        return parts
    if reduction == "sum":
        return array(xp.sum(parts, axis=-1), parts)
    if reduction == "max":
        total = xp.sum(parts, axis=-1)  # has a NaN where there is one, which maxima of compiled programs may drop
        return array(xp.where(xp.isnan(total), total, xp.max(parts, axis=-1)), parts)
    mean = xp.sum(parts, axis=-1) / float(parts.shape[-1])
    if reduction == "mean":
        return array(mean, parts)
    alpha = share(alpha, parts)
    return array(alpha * xp.max(parts, axis=-1) + (1.0 - alpha) * mean, parts)


def reduction_slopes(g: Any, parts: Any, alpha: Any, reduction: str) -> tuple[Any, Any]:
    """The cotangents of the components, shape (..., k), and that of `alpha` a pair, shape (...).

    Of components that share the maximum the first has its derivative.
    """
    xp = namespace(parts)
    k = parts.shape[-1]
    if reduction == "none":
        return g, xp.zeros_like(parts[..., 0])
    nothing, shape = xp.zeros_like(g), parts.shape
    if reduction in ("sum", "mean"):
        each = g if reduction == "sum" else g / float(k)
        return xp.broadcast_to(each[..., None], shape), nothing
    places = xp.arange(k, **{**like(parts), "dtype": xp.int32})
    first = xp.astype(xp.argmax(parts, axis=-1, keepdims=True), xp.int32) == places
    zero = xp.zeros_like(parts)
    if reduction == "max":
        return xp.where(first, g[..., None], zero), nothing
    alpha = share(alpha, parts)
    rest = (1.0 - alpha) * g / float(k)
    slopes = xp.where(first, (alpha * g + rest)[..., None], xp.broadcast_to(rest[..., None], shape))
    mean = xp.sum(parts, axis=-1) / float(k)
    return slopes, g * (xp.max(parts, axis=-1) - mean)
