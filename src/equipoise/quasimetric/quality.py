"""How well distances keep given ones: errors, distortion, what is out of reach, and the triangle inequality."""

from __future__ import annotations

import math
from typing import Any, Generic

from ..arrays import A, like, namespace, shape_text
from ..boundary import public
from ..iterate import repeat
from ..record import record
from .checks import check_points
from .tables import check_discount, check_table, discounted, off_diagonal

__all__ = ["Quality", "quality"]


@record
class Quality(Generic[A]):
    """What :func:`quality` finds. Pairs are those of two different points; every field is a 0-d array.

    Attributes
    ----------
    mean_error : array
        The mean of ``|d - D|`` over pairs of finite D.
    distortion : array
        ``max r / min r`` of the ratios ``r = d / D`` over pairs of finite positive D: 1 where d is a multiple of D.
    unreachable : array
        The mean of d over pairs of infinite D; NaN where there are none.
    auc : array
        How likely d is larger for a pair of infinite D than for one of finite D; NaN where all are of one kind, or a
        d is NaN.
    triangle_slack : array
        The least ``d(x, y) + d(y, z) - d(x, z)`` over finite ways; a quasimetric's is not negative, to rounding.
    discounted_error : array
        The mean of ``(g^d - g^D)^2`` for the discount g over all pairs; without one, of ``(d - D)^2`` over pairs of
        finite D.
    symmetric_floor : array
        The least discounted error of any symmetric distances, the mean of ``((g^D - g^D') / 2)^2``; without a discount,
        of ``((D - D') / 2)^2`` over pairs that are finite both ways.
    """

    mean_error: A
    distortion: A
    unreachable: A
    auc: A
    triangle_slack: A
    discounted_error: A
    symmetric_floor: A


@public
def quality(predicted: A, distances: A, *, discount: float | None = 0.9) -> Quality[A]:
    """Compare distances with given ones.

    Use it to judge any distances against a table, those of an embedding or others. The triangle inequality is looked
    at over all triples, in n^3 operations: do not call it at every step of anything.

    Parameters
    ----------
    predicted : array, shape (n, n)
        The distances to judge, d.
    distances : array, shape (n, n)
        The given ones, D: not negative, zero on the diagonal, infinite where there is no way.
    discount : float in (0, 1), optional
        What the discounted errors are measured by; None for plain squares.

    Returns
    -------
    Quality

    Raises
    ------
    TypeError, ValueError
        If something is no floating-point array, shapes differ, or distances are no distances.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import quality
    >>> D = np.array([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0], [1.0, 2.0, 0.0]])
    >>> found = quality((D + D.T) / 2, D)
    >>> float(found.mean_error), round(float(found.discounted_error / found.symmetric_floor), 3)
    (0.5, 1.001)
    """
    check_points("predicted", predicted, 2)
    check_table(distances)
    if tuple(predicted.shape) != tuple(distances.shape):
        raise ValueError(f"predicted {shape_text(predicted)} must be like distances, {shape_text(distances)}")
    check_discount(discount)
    return judged(predicted, distances, discount)


def judged(d: Any, D: Any, discount: float | None) -> Quality[Any]:
    """:func:`quality` of tables that were checked."""
    xp = namespace(d, D)
    D = xp.astype(D, d.dtype)
    apart = off_diagonal(D)
    finite, out = apart & xp.isfinite(D), apart & ~xp.isfinite(D)
    known = xp.where(finite, D, xp.zeros_like(D))
    far = finite & (known > 0)
    ratio = d / xp.where(far, known, xp.ones_like(D))
    infinity = xp.full_like(d, math.inf)
    least, most = xp.min(xp.where(far, ratio, infinity)), xp.max(xp.where(far, ratio, -infinity))
    turned = xp.matrix_transpose(D)
    if discount is None:
        both = finite & xp.isfinite(turned)
        error = mean((d - known) ** 2, finite)
        floor = mean(xp.where(both, 0.5 * (known - xp.matrix_transpose(known)), xp.zeros_like(D)) ** 2, both)
    else:
        aim = discounted(D, discount)
        error = mean((discounted(d, discount) - aim) ** 2, apart)
        floor = mean((0.5 * (aim - xp.matrix_transpose(aim))) ** 2, apart)
    fields = (mean(xp.abs(d - known), finite), most / least, mean(d, out), area(d, out, finite), slack(d), error, floor)
    return Quality(*(xp.asarray(x) for x in fields))


def mean(x: Any, where: Any) -> Any:
    """The mean over the places marked; NaN where there are none."""
    xp = namespace(x)
    count = xp.sum(xp.astype(where, x.dtype))
    total = xp.sum(xp.where(where, x, xp.zeros_like(x)))
    some = count > 0
    return xp.where(some, total / xp.where(some, count, xp.ones_like(count)), xp.full_like(total, math.nan))


def area(d: Any, out: Any, finite: Any) -> Any:
    """The share of pairs (unreachable, reachable) in which the first has the larger distance; a tie counts half."""
    xp = namespace(d)
    numbers, out, finite = (xp.reshape(x, (-1,)) for x in (d, out, finite))
    order = xp.argsort(numbers)
    marks = xp.astype(xp.take(finite, order), xp.int32)
    counts = xp.concat(
        [xp.zeros((1,), **{**like(d), "dtype": marks.dtype}), xp.cumulative_sum(marks, dtype=marks.dtype)]
    )
    ascending = xp.take(numbers, order)
    below, upto = (xp.take(counts, xp.searchsorted(ascending, numbers, side=s)) for s in ("left", "right"))
    reachable = xp.astype(counts[-1], d.dtype)
    share = 0.5 * (xp.astype(below, d.dtype) + xp.astype(upto, d.dtype))
    some = reachable > 0
    found = mean(share, out) / xp.where(some, reachable, xp.ones_like(reachable))
    unknown = xp.any(xp.isnan(numbers) & (out | finite))
    return xp.where(some & ~unknown, found, xp.full_like(found, math.nan))


def through(state: Any, d: Any) -> Any:
    """Look at the ways through one more point. An infinite one is never the shorter one."""
    k, least = state
    xp = namespace(d)
    way = xp.take(d, k, axis=1) + xp.take(d, k, axis=0)
    endless, zero = way == math.inf, xp.zeros_like(d)
    spare = xp.where(endless, zero, way) - xp.where(endless, zero, d)
    return k + 1, xp.minimum(least, xp.min(xp.where(endless, way, spare)))


def slack(d: Any) -> Any:
    """The least d(x, y) + d(y, z) - d(x, z); NaN where a distance is."""
    xp = namespace(d)
    start = xp.zeros((1,), **{**like(d), "dtype": xp.int32}), xp.asarray(math.inf, **like(d))
    least = repeat(through, start, d, d.shape[0])[1]
    return xp.where(xp.any(xp.isnan(d)), xp.full_like(least, math.nan), least)
