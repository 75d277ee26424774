"""All pairs by rows: the portable bodies see so many rows of `u` at a time that their temporaries stay small.

A body is written for pairs, and broadcasts. Here it meets a panel of rows of u, shape (..., r, 1, D), and all of v,
shape (..., 1, m, D). Derivatives with respect to v come from a second pass, over panels of v, where one panel does not
hold everything: sums over panels would have to be carried along, and a compiled loop keeps them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..arrays import library, namespace
from ..backend import of

__all__ = ["all_pairs", "all_slopes", "array", "merge", "split"]

MOST = 2**26  # bytes of a panel's temporaries
TEMPORARIES = 8  # arrays of pairs times latents that a body holds at once, more or less


def split(x: Any, components: int) -> Any:
    """(..., k l) as (..., k, l)."""
    return namespace(x).reshape(x, (*x.shape[:-1], components, x.shape[-1] // components))


def merge(x: Any) -> Any:
    """(..., k, l) as (..., k l)."""
    return namespace(x).reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def array(x: Any, beside: Any) -> Any:
    """`x`, which numpy may have reduced to a scalar, as an array."""
    return x if library(x) else namespace(beside).asarray(x)


def rows_at_once(u: Any, others: int) -> int:
    """How many rows of `u` may meet `others` rows at a time."""
    one = math.prod(u.shape[:-2]) * max(1, others) * u.shape[-1] * TEMPORARIES * 8
    return max(1, MOST // max(1, one))


def all_pairs(body: Callable[[Any, Any], Any], u: Any, v: Any, tail: tuple[int, ...] = ()) -> Any:
    """``body(u, v)`` of all pairs, shape (..., n, m, *tail), from one that gives (..., *tail)."""
    xp = namespace(u, v)
    m = v.shape[-2]

    def panel(rows: Any) -> Any:
        out = body(rows[..., :, None, :], v[..., None, :, :])
        return xp.reshape(out, (*rows.shape[:-1], m * math.prod(tail)))

    out = of(u).by_panels(panel, (u,), rows_at_once(u, m))
    return xp.reshape(out, (*u.shape[:-1], m, *tail))


Slopes = Callable[[Any, Any, Any], tuple[Any, Any, Any]]


def all_slopes(slopes: Slopes, g: Any, u: Any, v: Any) -> tuple[Any, Any, Any]:
    """The derivatives of all pairs, from ``slopes(g, u, v) -> (gu, gv, more)`` of each.

    `gu` has the shape of `u`, `gv` that of `v`; `more`, the derivatives with respect to E parameters, is summed over
    all pairs to shape (E,).
    """
    xp = namespace(u, v)
    n, m, D = u.shape[-2], v.shape[-2], u.shape[-1]
    tail = tuple(g.shape[u.ndim :])
    size, batch = rows_at_once(u, m), tuple(range(u.ndim - 1))
    if n <= size:
        gu, gv, more = slopes(g, u[..., :, None, :], v[..., None, :, :])
        return xp.sum(gu, axis=-2), xp.sum(gv, axis=-3), xp.sum(more, axis=(*batch, u.ndim - 1))

    def of_rows(rows: Any, weights: Any) -> Any:
        weights = xp.reshape(weights, (*rows.shape[:-1], m, *tail))
        gu, _, more = slopes(weights, rows[..., :, None, :], v[..., None, :, :])
        return xp.sum(xp.concat([gu, more], axis=-1), axis=-2)

    def of_columns(columns: Any, weights: Any) -> Any:
        weights = xp.moveaxis(xp.reshape(weights, (*columns.shape[:-1], n, *tail)), columns.ndim - 1, columns.ndim - 2)
        return xp.sum(slopes(weights, u[..., :, None, :], columns[..., None, :, :])[1], axis=-3)

    g_rows = xp.reshape(g, (*u.shape[:-1], m * math.prod(tail)))
    turned = xp.moveaxis(g, u.ndim - 2, u.ndim - 1)
    g_columns = xp.reshape(turned, (*v.shape[:-1], n * math.prod(tail)))
    both = of(u).by_panels(of_rows, (u, g_rows), size)
    gv = of(u).by_panels(of_columns, (v, g_columns), rows_at_once(v, n))
    return both[..., :D], gv, xp.sum(both[..., D:], axis=batch)
