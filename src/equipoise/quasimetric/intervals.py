"""Lengths of unions of intervals: the portable bodies behind :func:`iqe`, and their derivatives.

A component of two points is the length of the union of the intervals [u_j, max(u_j, v_j)]. Only left ends are sorted,
and their order depends on u alone. With the right ends e beside them and M the largest right end so far,

    d = sum_t max(0, e_t - max(a_t, M_{t-1})),    M_t = max(M_{t-1}, e_t).

Empty intervals need no filter: they add nothing, and M reaches no later left end through them. The shorter sum of gaps,
M_l - a_1 - sum_t max(0, a_t - M_{t-1}), cancels: d(u, u) would not be exactly 0.

The derivative is 1 at the right end of every maximal interval and -1 at its left end. Its own derivative is 0 wherever
there is one; that with respect to the cotangent is traced through the body. Libraries that follow what depends on what
are to find that zero, and not that there is no derivative: so the zeros in it are made from the points.
"""

from __future__ import annotations

from typing import Any

from ..arrays import library, like, namespace
from ..kernel import kernel
from .panels import all_pairs, all_slopes, array, merge, split
from .reduction import reduce, reduction_slopes
from .running import running_maximum

__all__ = ["iqe_all", "iqe_all_slopes", "iqe_pairs", "iqe_pairs_slopes"]


# ---------------------------------------------------------------------------------------------------------------------
# One pair, broadcast


def ends(u: Any, v: Any, components: int) -> tuple[Any, Any, Any]:
    """Left ends, ascending, the right ends beside them, and the order of the left ones, (..., k, l).

    Left ends and their order have the shape of `u`: in all pairs, a row is sorted once.
    """
    xp = namespace(u, v)
    left, right = split(u, components), split(v, components)
    order = xp.argsort(left, axis=-1, stable=True)
    a = xp.take_along_axis(left, order, axis=-1)
    if left.shape == right.shape:
        return a, xp.take_along_axis(right, order, axis=-1), order
    right, places = xp.broadcast_arrays(right, order)
    return a, xp.take_along_axis(right, places, axis=-1), order


def reached(e: Any) -> Any:
    """M_{t-1}: the largest right end before each, -inf before the first."""
    xp = namespace(e)
    edge = xp.full_like(e[..., :1], -xp.inf)
    return xp.concat([edge, running_maximum(e)[..., :-1]], axis=-1)


def lengths(a: Any, e: Any) -> Any:
    """The length of the union, shape (..., k)."""
    xp = namespace(a)
    zero, before = xp.zeros_like(a), reached(e)
    added = e - xp.where(a <= before, before, a)  # maxima of compiled programs may drop a NaN, comparisons do not
    return array(xp.sum(xp.where(added <= 0, zero, added), axis=-1), added)


def closing(a: Any, e: Any) -> tuple[Any, Any, Any]:
    """Where sorted ends open a maximal interval, and where they close one with their left and with their right end.

    A record is a right end beyond all before it, or the first of a maximal interval. The last record of a maximal
    interval is the one that no further record follows, or whose next one opens another. Records are numbered from the
    back, twice each, plus 1 where they open, so that the largest number that follows tells both.
    """
    xp = namespace(a)
    before = reached(e)
    opens = a > before
    wins = opens | (e > before)
    l = a.shape[-1]
    numbers = xp.astype(xp.arange(2 * l, 0, -2, **{**like(a), "dtype": xp.int32}), xp.int32)
    marks = xp.where(wins, numbers + xp.astype(opens, xp.int32), xp.zeros_like(numbers))
    edge = xp.ones_like(marks[..., :1])
    following = xp.flip(running_maximum(xp.concat([edge, xp.flip(marks, axis=-1)[..., :-1]], axis=-1)), axis=-1)
    closes = wins & (following % 2 == 1)
    right = e > a
    return opens, closes & ~right, closes & right


def pair_lengths(u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> Any:
    """The reduced distances of pairs."""
    a, e, _ = ends(u, v, components)
    return reduce(lengths(a, e), alpha, reduction)


def pair_slopes(g: Any, u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> tuple[Any, Any, Any]:
    """The derivatives of each pair with respect to u, to v, both (..., D), and to alpha, (..., 1)."""
    xp = namespace(u, v)
    a, e, order = ends(u, v, components)
    each, of_alpha = reduction_slopes(g, lengths(a, e), alpha, reduction)
    each = each[..., None]
    opens, left, right = closing(a, e)
    zero = xp.where(xp.zeros_like(opens), a, xp.zeros_like(a))  # 0, as a function of u, and of v
    zero = xp.where(xp.zeros_like(opens), e, zero)
    gu = xp.where(left, each, zero) - xp.where(opens, each, zero)
    gv = xp.where(right, each, zero)
    back = xp.broadcast_to(xp.argsort(order, axis=-1), gu.shape)
    gu, gv = (merge(xp.take_along_axis(x, back, axis=-1)) for x in (gu, gv))
    return gu, gv, of_alpha[..., None] if reduction != "none" else xp.zeros_like(gu[..., :1])


# ---------------------------------------------------------------------------------------------------------------------
# Kernels


def pull_pairs(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The rule of `iqe_pairs`."""
    return given_bars(iqe_pairs_slopes, cotangent, args, settings)


def pull_all(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The rule of `iqe_all`."""
    return given_bars(iqe_all_slopes, cotangent, args, settings)


def given_bars(slopes: Any, cotangent: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> tuple[Any, ...]:
    """One cotangent an argument, None for a number."""
    if cotangent is None:
        return None, None, None
    alpha = args[2]
    gu, gv, of_alpha = slopes(cotangent, *args, **settings)
    return gu, gv, namespace(gu).astype(of_alpha, alpha.dtype) if library(alpha) else None


@kernel("quasimetric.iqe", vjp=pull_pairs)
def iqe_pairs(u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> Any:
    """The distances of pairs (..., D) and (..., D) of one shape: (...), or (..., k) for "none"."""
    return pair_lengths(u, v, alpha, components=components, reduction=reduction)


@kernel("quasimetric.iqe_grad")
def iqe_pairs_slopes(g: Any, u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> tuple[Any, Any, Any]:
    """The derivatives of ``sum(g * iqe_pairs(u, v, alpha))`` with respect to u, v and alpha."""
    gu, gv, of_alpha = pair_slopes(g, u, v, alpha, components=components, reduction=reduction)
    return gu, gv, array(namespace(gu).sum(of_alpha), gu)


@kernel("quasimetric.iqe_pairwise", vjp=pull_all)
def iqe_all(u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> Any:
    """The distances of all pairs of (..., n, D) and (..., m, D): (..., n, m), or (..., n, m, k) for "none"."""
    settings: dict[str, Any] = {"components": components, "reduction": reduction}
    tail = (components,) if reduction == "none" else ()
    return all_pairs(lambda x, y: pair_lengths(x, y, alpha, **settings), u, v, tail)


@kernel("quasimetric.iqe_pairwise_grad")
def iqe_all_slopes(g: Any, u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> tuple[Any, Any, Any]:
    """The derivatives of ``sum(g * iqe_all(u, v, alpha))`` with respect to u, v and alpha."""
    settings: dict[str, Any] = {"components": components, "reduction": reduction}
    gu, gv, more = all_slopes(lambda h, x, y: pair_slopes(h, x, y, alpha, **settings), g, u, v)
    return gu, gv, more[0, ...]
