"""What a barycenter asks of its input, each answered by one sentence before any work."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import first_index, library, like, namespace, shape_text
from ..checks import values
from .checks import check_cost, check_weights
from .pointcloud import is_cloud

__all__ = ["check_batch", "check_problem", "check_shares", "check_symmetric", "check_totals"]


def check_problem(histograms: Any, cost: Any, weights: Any, debiased: bool) -> Any:
    """One sentence for whatever does not fit; returns the weights."""
    if is_cloud(cost):
        raise TypeError("cost must be an array, got a PointCloud; pass cost.dense()")
    check_cost(cost)
    if histograms is None:
        raise TypeError("histograms must be an array, got NoneType")
    check_weights("histograms", histograms, cost, -2)
    if histograms.ndim < 2 or histograms.shape[-2] == 0:
        raise ValueError(f"histograms must have shape (..., k, {cost.shape[-2]}), got {shape_text(histograms)}")
    check_totals(histograms)
    weights = check_shares(weights, histograms)
    if debiased:
        check_symmetric(cost)
    return weights


def slack(x: Any) -> float:
    """How far totals may differ, relatively."""
    return 1e-6 if x.dtype == namespace(x).float64 else 1e-4


def check_totals(histograms: Any) -> None:
    """All inputs of a barycenter must have the same total, to 1e-6 (in float32 to 1e-4), relatively."""
    seen = values(histograms)
    if seen is None:
        return
    xp = namespace(seen)
    totals = xp.asarray(xp.sum(seen, axis=-1))
    first = totals[..., :1]
    apart = xp.abs(totals - first) > slack(histograms) * first
    if bool(xp.any(apart)):
        index = first_index(apart)
        raise ValueError(
            f"histograms must all have the same total, got {float(first[(*index[:-1], 0)]):.9g} in row 0 and "
            f"{float(totals[index]):.9g} in row {index[-1]}"
            + (f" of problem {index[:-1]}" if index[:-1] else "")
            + "; rescale them"
        )


def check_shares(weights: Any, histograms: Any) -> Any:
    """Weights ``(..., k)``, not negative, of total 1; None means equal ones."""
    k = histograms.shape[-2]
    if weights is None:
        return namespace(histograms).full((k,), 1.0 / k, **like(histograms))
    if not library(weights):
        raise TypeError(f"weights must be an array or None, got {type(weights).__name__}")
    xp = namespace(histograms, weights)
    if weights.dtype != histograms.dtype:
        raise TypeError(f"weights must have the dtype of histograms, {histograms.dtype}, got {weights.dtype}")
    if weights.ndim < 1 or weights.shape[-1] != k:
        raise ValueError(
            f"weights must have shape (..., {k}), one for each of the histograms {shape_text(histograms)}, "
            f"got {shape_text(weights)}"
        )
    seen = values(weights)
    if seen is None:
        return weights
    xp = namespace(seen)
    bad = ~(seen >= 0)
    if bool(xp.any(bad)):
        index = first_index(bad)
        raise ValueError(f"weights must not be negative, got {float(seen[index])} at index {index}")
    totals = xp.asarray(xp.sum(seen, axis=-1))
    bad = xp.asarray(~(xp.abs(totals - 1.0) <= slack(weights)))
    if bool(xp.any(bad)):
        raise ValueError(f"weights must sum to 1, got {float(totals[first_index(bad)]):.9g}; divide them by their sum")
    return weights


def check_symmetric(cost: Any) -> None:
    """The debiased form compares the barycenter with itself: one support for all, and a cost from it to itself."""
    if cost.shape[-1] != cost.shape[-2]:
        raise ValueError(
            "debiased=True needs histograms and barycenter on one support, so a square cost; "
            f"got shape {shape_text(cost)}"
        )
    seen = values(cost)
    if seen is None:
        return
    xp = namespace(seen)
    rounding = 8.0 * xp.finfo(seen.dtype).eps * xp.max(xp.abs(seen))
    apart = xp.abs(seen - xp.matrix_transpose(seen)) > rounding
    if bool(xp.any(apart)):
        index = first_index(apart)
        mirrored = (*index[:-2], index[-1], index[-2])
        raise ValueError(
            f"debiased=True needs a symmetric cost, got {float(seen[index]):.9g} at index {index} and "
            f"{float(seen[mirrored]):.9g} at {mirrored}"
        )


def check_batch(histograms: Any, cost: Any, weights: Any) -> tuple[int, ...]:
    """The batch that the leading axes of the three broadcast to."""
    shapes = tuple(histograms.shape[:-2]), tuple(cost.shape[:-2]), tuple(weights.shape[:-1])
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        raise ValueError(
            f"the leading axes of histograms {shape_text(histograms)}, cost {shape_text(cost)} and weights "
            f"{shape_text(weights)} do not broadcast"
        ) from None
