"""The staircase of transport on a line, and what is read off it.

The optimal plan pairs quantiles: it does not depend on the order p, and it is a staircase of at most n + m - 1 segments
through the sorted points. The cost, its derivatives with respect to the points, and the potentials all follow from that
staircase, so that nothing iterates and nothing of n times m is formed.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import like, namespace
from ..kernel import kernel
from ..segments import index_sum

__all__ = ["quantile_cost", "quantile_slopes"]

WHOLE = 8  # whole powers up to this one are products, several times as fast as a general power


# ---------------------------------------------------------------------------------------------------------------------
# |d|^p and its derivative


def power(size: Any, p: float) -> Any:
    """size^p of numbers that are not negative."""
    if not (p.is_integer() and 1 <= p <= WHOLE):
        return size**p
    made, square, rest = None, size, int(p)
    while rest:
        if rest & 1:
            made = square if made is None else made * square
        square, rest = square * square if rest > 1 else square, rest >> 1
    return made


def ground_cost(apart: Any, p: float) -> Any:
    """|d|^p."""
    return apart * apart if p == 2 else power(namespace(apart).abs(apart), p)


def slope(apart: Any, p: float) -> Any:
    """The derivative p sign(d) |d|^(p-1) of |d|^p, 0 at d = 0."""
    if p == 2:
        return 2.0 * apart
    xp = namespace(apart)
    if p == 1:
        return xp.sign(apart)
    away = apart != 0
    size = xp.where(away, xp.abs(apart), xp.ones_like(apart))  # a root's own derivative is infinite at 0
    return xp.where(away, p * xp.sign(apart) * power(size, p - 1.0), xp.zeros_like(apart))


# ---------------------------------------------------------------------------------------------------------------------
# The staircase: which sorted points face each other, and over how much of [0, 1]


def levels(points: Any, weights: Any) -> tuple[Any, Any]:
    """Quantile levels where a sorted point gives way to the next, shape (..., n - 1), and the mass, (..., 1)."""
    xp = namespace(points)
    n = points.shape[-1]
    if weights is None:  # i/n rounds alike whatever the other side is, so that equal levels are found equal
        inner = xp.arange(1, n, **like(points)) / float(n)
        return xp.broadcast_to(inner, (*points.shape[:-1], n - 1)), 1.0
    sums = xp.cumulative_sum(weights, axis=-1)
    total = sums[..., -1:]
    return xp.clip(sums[..., :-1] / total, max=1.0), total  # parallel sums may exceed the total by rounding


def staircase(levels_x: Any, levels_y: Any) -> tuple[Any, Any, Any, Any]:
    """For each of n + m - 1 segments of [0, 1] the point of x, the point of y and its length; and whose each end is.

    The last of them, shape (..., n + m - 2), is 1 where a segment ends with a level of x.
    """
    xp = namespace(levels_x)
    merged = xp.concat([levels_x, levels_y], axis=-1)
    order = xp.argsort(merged, axis=-1, stable=True)
    ends = xp.take_along_axis(merged, order, axis=-1)
    from_x = xp.astype(order < levels_x.shape[-1], order.dtype)
    start = xp.zeros((*order.shape[:-1], 1), **like(order))
    i = xp.concat([start, xp.cumulative_sum(from_x, axis=-1)], axis=-1)
    j = xp.arange(i.shape[-1], **like(order)) - i
    edge = xp.zeros((*order.shape[:-1], 1), **like(merged))
    lengths = xp.concat([ends, edge + 1.0], axis=-1) - xp.concat([edge, ends], axis=-1)
    return i, j, lengths, from_x


def is_matching(x: Any, y: Any, a: Any, b: Any) -> bool:
    """Whether the plan is a permutation: uniform weights on equally many points."""
    return a is None and b is None and x.shape[-1] == y.shape[-1]


def ordered(points: Any, weights: Any, order: Any) -> tuple[Any, Any]:
    """Points and weights in the order of the points."""
    xp = namespace(points)
    return xp.take_along_axis(points, order, axis=-1), (
        None if weights is None else xp.take_along_axis(weights, order, axis=-1)
    )


def apart_on(x: Any, y: Any, i: Any, j: Any, lengths: Any) -> Any:
    """x_i - y_j on each segment; 0 where the segment is empty, whose points may lie far enough apart to overflow."""
    xp = namespace(x)
    apart = xp.take_along_axis(x, i, axis=-1) - xp.take_along_axis(y, j, axis=-1)
    return xp.where(lengths > 0, apart, xp.zeros_like(apart))


# ---------------------------------------------------------------------------------------------------------------------
# The cost and its derivatives


def pull(cotangent: Any, out: Any, args: tuple[Any, ...], *, p: float) -> tuple[Any, ...]:
    """The rule of `quantile_cost`: all four derivatives are read off the same staircase."""
    if cotangent is None:
        return None, None, None, None
    bar = cotangent[..., None]
    return tuple(None if s is None else bar * s for s in quantile_slopes(*args, p=p))


@kernel("transport.quantile_cost", vjp=pull)
def quantile_cost(x: Any, y: Any, a: Any, b: Any, *, p: float) -> Any:
    """W_p^p of points (..., n) and (..., m) with weights of the same shapes, each of which may be None: uniform."""
    xp = namespace(x)
    if is_matching(x, y, a, b):
        matched = xp.sort(x, axis=-1, stable=False) - xp.sort(y, axis=-1, stable=False)
        return xp.asarray(xp.mean(ground_cost(matched, p), axis=-1))
    x, a = sorted_side(x, a)
    y, b = sorted_side(y, b)
    (levels_x, mass_x), (levels_y, mass_y) = levels(x, a), levels(y, b)
    i, j, lengths, _ = staircase(levels_x, levels_y)
    parts = 0.5 * (mass_x + mass_y) * lengths * ground_cost(apart_on(x, y, i, j, lengths), p)
    return xp.asarray(xp.sum(parts, axis=-1))


def sorted_side(points: Any, weights: Any) -> tuple[Any, Any]:
    """As `ordered`, in any order of tied points: the cost does not depend on it."""
    xp = namespace(points)
    if weights is None:
        return xp.sort(points, axis=-1, stable=False), None
    return ordered(points, weights, xp.argsort(points, axis=-1, stable=False))


@kernel("transport.quantile_slopes")
def quantile_slopes(x: Any, y: Any, a: Any, b: Any, *, p: float) -> tuple[Any, Any, Any, Any]:
    """The derivatives of `quantile_cost` with respect to its arrays; None for weights that are None.

    Those with respect to the weights are the potentials f and g of the plan: f_i + g_j <= |x_i - y_j|^p, with equality
    along the staircase, at points of weight 0 too.
    """
    xp = namespace(x)
    order_x, order_y = (xp.argsort(z, axis=-1, stable=True) for z in (x, y))
    (x, a), (y, b) = ordered(x, a, order_x), ordered(y, b, order_y)
    if is_matching(x, y, a, b):
        rise = slope(x - y, p) / float(x.shape[-1])
        return unordered(rise, order_x), -unordered(rise, order_y), None, None
    (levels_x, mass_x), (levels_y, mass_y) = levels(x, a), levels(y, b)
    i, j, lengths, from_x = staircase(levels_x, levels_y)
    mass = 0.5 * (mass_x + mass_y)
    apart = apart_on(x, y, i, j, lengths)
    rise = mass * lengths * slope(apart, p)
    dx = gathered(rise, xp.take_along_axis(order_x, i, axis=-1), x.shape[-1])
    dy = -gathered(rise, xp.take_along_axis(order_y, j, axis=-1), y.shape[-1])
    cost = xp.sum(lengths * ground_cost(apart, p), axis=-1, keepdims=True)
    corners = xp.argsort(1 - from_x, axis=-1, stable=True)  # ends of segments, those with a level of x first
    f = g = None
    if a is not None:
        facing = xp.take_along_axis(j, corners[..., : x.shape[-1] - 1], axis=-1)
        f = unordered(potential(x, y, facing, a, mass_x, mass, cost, p), order_x)
    if b is not None:
        facing = xp.take_along_axis(i, corners[..., x.shape[-1] - 1 :], axis=-1)
        g = unordered(potential(y, x, facing, b, mass_y, mass, cost, p), order_y)
    return dx, dy, f, g


def potential(x: Any, y: Any, facing: Any, a: Any, total: Any, mass: Any, cost: Any, p: float) -> Any:
    """The potential of sorted points, whose differences are f_{i+1} - f_i = c(x_{i+1}, y_j) - c(x_i, y_j).

    j is the point that the staircase meets where x_i gives way to x_{i+1}. The constant is that of the derivative of
    M W(a/A, b/B) with M = (A + B)/2: with equal totals, sum a f = M W/2.
    """
    xp = namespace(x)
    y = xp.take_along_axis(y, facing, axis=-1)
    steps = ground_cost(x[..., 1:] - y, p) - ground_cost(x[..., :-1] - y, p)
    f = xp.concat([xp.zeros_like(x[..., :1]), xp.cumulative_sum(steps, axis=-1)], axis=-1)
    mean = xp.sum(a * f, axis=-1, keepdims=True) / total
    return mass / total * (f - mean) + 0.5 * cost


def unordered(values: Any, order: Any) -> Any:
    """What belongs to sorted points, in the order that they came in."""
    xp = namespace(values)
    return xp.take_along_axis(values, xp.argsort(order, axis=-1), axis=-1)


def gathered(values: Any, index: Any, size: int) -> Any:
    """The sums of `values` (..., K) by `index` (..., K) in every row, shape (..., size)."""
    xp = namespace(values)
    batch = tuple(values.shape[:-1])
    rows = math.prod(batch)
    starts = xp.reshape(size * xp.arange(rows, **like(index)), (*batch, 1))
    sums = index_sum(xp.reshape(values, (-1,)), xp.reshape(index + starts, (-1,)), size=rows * size)
    return xp.reshape(sums, (*batch, size))
