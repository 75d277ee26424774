"""What potentials stand for: soft minima, the plan, and its marginals.

The plan is P_ij = a_i b_j exp((f_i + g_j - C_ij)/epsilon). Its sums are formed from soft minima, in logarithms, so that
no term of them over- or underflows.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..kernel import kernel

__all__ = ["bounded_exp", "marginals", "plan", "soft_min"]


def bounded_exp(x: Any) -> Any:
    """exp, bounded: between two points of weight zero the exponent may be anything, and 0 times inf is not 0."""
    xp = namespace(x)
    return xp.exp(xp.clip(x, max=700.0 if x.dtype == xp.float64 else 80.0))


def plan(cost: Any, f: Any, g: Any, a: Any, b: Any, epsilon: Any) -> Any:
    """P_ij = a_i b_j exp((f_i + g_j - C_ij)/epsilon)."""
    exponent = (f[..., :, None] + (g[..., None, :] - cost)) / epsilon
    return a[..., :, None] * b[..., None, :] * bounded_exp(exponent)


def soft_min(cost: Any, potential: Any, weights: Any, epsilon: Any, axis: int) -> Any:
    """-epsilon log sum_j b_j exp((g_j - C_ij)/epsilon) for ``axis=-1``; with f and a, over i, for ``axis=-2``."""
    xp = namespace(cost)
    across = -2 if axis == -1 else -1  # where a vector along `axis` gets its second axis
    positive = weights > 0
    log_weights = xp.log(xp.where(positive, weights, xp.ones_like(weights)))
    log_weights = xp.where(positive, log_weights, xp.full_like(weights, -xp.inf))
    scores = xp.expand_dims(log_weights, axis=across) + (xp.expand_dims(potential, axis=across) - cost) / epsilon
    shift = xp.max(scores, axis=axis, keepdims=True)
    total = xp.sum(xp.exp(scores - shift), axis=axis)
    return -epsilon * (xp.squeeze(shift, axis=axis) + xp.log(total))


@kernel("transport.marginals")
def marginals(cost: Any, f: Any, g: Any, a: Any, b: Any, epsilon: Any) -> tuple[Any, Any]:
    """Row and column sums of the plan of `f` and `g`."""
    rows = a * bounded_exp((f - soft_min(cost, g, b, epsilon, axis=-1)) / epsilon)
    columns = b * bounded_exp((g - soft_min(cost, f, a, epsilon, axis=-2)) / epsilon)
    return rows, columns
