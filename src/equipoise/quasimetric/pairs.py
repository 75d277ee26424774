"""How arrays of points are paired: broadcast to one shape, or, where they ask for all pairs, taken as such.

``head(x[:, None], y)`` is how users write all pairs. Broadcast it would hold n m D numbers; it is found by its axes of
size 1, and goes to the all-pairs kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..arrays import library, namespace, shape_text

__all__ = ["check_cotangent", "paired", "paired_slopes", "summed_to", "together", "widened"]


def crosses(u: Any, v: Any) -> bool:
    """Whether u is (..., n, 1, D) and v is (..., 1, m, D) or (m, D)."""
    alone = v.ndim == 2 or (v.ndim > 2 and v.shape[-3] == 1)
    return u.ndim > 2 and u.shape[-2] == 1 and alone and v.shape[-2] > 1


def is_one(u: Any, v: Any) -> bool:
    """Whether `u` is a single point, and the shape of the pairs that of `v`."""
    return v.ndim > 1 and u.ndim <= v.ndim and all(size == 1 for size in u.shape[:-1])


def outer_of(u: Any, v: Any) -> tuple[Any, Any]:
    """The points (..., n, D) and (..., m, D) behind (..., n, 1, D) and (..., 1, m, D)."""
    return u[..., 0, :], v if v.ndim == 2 else v[..., 0, :, :]


def ones_at_end(x: Any) -> int:
    """How many axes of size 1 stand before the last one."""
    return next((k for k, size in enumerate(reversed(x.shape[:-1])) if size != 1), x.ndim - 1)


def joined(u: Any, v: Any) -> tuple[Any, Any]:
    """Both with the axes along which one of them is 1, the last but one and those before it, as one axis."""
    count = min(max(ones_at_end(u), ones_at_end(v)), u.ndim - 1, v.ndim - 1)
    first, second = (in_rows(x, count) for x in (u, v)) if count > 1 else (u, v)
    return first, second


def in_rows(x: Any, count: int) -> Any:
    """`x` with `count` axes before the last as one."""
    axis = x.ndim - 1 - count
    return namespace(x).reshape(x, (*x.shape[:axis], math.prod(x.shape[axis:-1]), x.shape[-1]))


def in_a_row(x: Any) -> Any:
    """(..., D) as (n, D)."""
    return namespace(x).reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


Pairs = Callable[[Any, Any], Any]


def paired(u: Any, v: Any, pairs: Pairs, everything: Pairs, tail: int) -> Any:
    """The distances of broadcast points: all pairs by `everything`, others by `pairs`; `tail` axes follow them."""
    xp = namespace(u, v)
    if crosses(u, v):
        return everything(*widened(*outer_of(u, v)))
    if crosses(v, u):
        right, left = outer_of(v, u)
        out = everything(*widened(left, right))
        return xp.moveaxis(out, out.ndim - 2 - tail, out.ndim - 1 - tail)
    if is_one(u, v):  # sorted once
        out = everything(in_a_row(u), in_a_row(v))
        return xp.reshape(out, (*v.shape[:-1], *out.shape[2:]))
    shape = together(u.shape[:-1], v.shape[:-1])
    fewer = joined(u, v)
    if fewer[0].ndim < u.ndim:  # (n, 1, 1, D) and (b, m, D) are all pairs too
        out = paired(*fewer, pairs, everything, tail)
        return xp.reshape(out, (*shape, *out.shape[out.ndim - tail :]))
    return pairs(*(xp.broadcast_to(x, (*shape, x.shape[-1])) for x in (u, v)))


Slopes = Callable[[Any, Any, Any], tuple[Any, ...]]


def paired_slopes(g: Any, u: Any, v: Any, pairs: Slopes, everything: Slopes, tail: int) -> tuple[Any, Any]:
    """The derivatives of ``sum(g * paired(u, v))``, of the shapes of `u` and `v`."""
    xp = namespace(u, v)
    if crosses(u, v):
        gu, gv = everything(g, *widened(*outer_of(u, v)))[:2]
        gu, gv = gu[..., :, None, :], gv[..., None, :, :]
    elif crosses(v, u):
        right, left = outer_of(v, u)
        turned = xp.moveaxis(g, g.ndim - 2 - tail, g.ndim - 1 - tail)
        gu, gv = everything(turned, *widened(left, right))[:2]
        gu, gv = gu[..., None, :, :], gv[..., :, None, :]
    elif is_one(u, v):
        points = in_a_row(v)
        out = everything(xp.reshape(g, (1, points.shape[0], *g.shape[g.ndim - tail :])), in_a_row(u), points)
        gu, gv = (xp.reshape(x, y.shape) for x, y in zip(out[:2], (u, v), strict=True))
    elif (fewer := joined(u, v))[0].ndim < u.ndim:
        shape = together(*(x.shape[:-1] for x in fewer))
        out = paired_slopes(xp.reshape(g, (*shape, *g.shape[g.ndim - tail :])), *fewer, pairs, everything, tail)
        gu, gv = (xp.reshape(x, y.shape) for x, y in zip(out, (u, v), strict=True))
    else:
        shape = together(u.shape[:-1], v.shape[:-1])
        gu, gv = pairs(g, *(xp.broadcast_to(x, (*shape, x.shape[-1])) for x in (u, v)))[:2]
    return summed_to(gu, tuple(u.shape)), summed_to(gv, tuple(v.shape))


def together(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that shapes broadcast to."""
    count = max(map(len, shapes))
    wide = [(1,) * (count - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*wide, strict=True))


def widened(u: Any, v: Any) -> tuple[Any, Any]:
    """(..., n, D) and (..., m, D) with one batch."""
    xp = namespace(u, v)
    batch = together(u.shape[:-2], v.shape[:-2])
    first, second = (xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (u, v))
    return first, second


def summed_to(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` summed over the axes along which `shape` was broadcast."""
    xp = namespace(x)
    extra = x.ndim - len(shape)
    axes = tuple(
        k for k, size in enumerate((1,) * extra + tuple(shape)) if size == 1 and (k < extra or x.shape[k] != 1)
    )
    return xp.reshape(xp.sum(x, axis=axes), shape) if axes else x


def check_cotangent(g: Any, u: Any, shape: tuple[int, ...]) -> None:
    """An array like the distances."""
    if not library(g):
        raise TypeError(f"cotangent must be an array like the distances, {u.dtype} {shape}, got {type(g).__name__}")
    namespace(g, u)
    if tuple(g.shape) != shape or g.dtype != u.dtype:
        raise ValueError(f"cotangent must be like the distances, {u.dtype} {shape}, got {g.dtype} {shape_text(g)}")
