"""Interval quasimetrics of all pairs: one sort a row, then sweeps over blocks of columns that stay in the L1 cache.

The left ends of a row are in one order for all columns, so that the innermost loop runs over columns, has no branch and
becomes vector instructions: with ``a`` one left end, and for 64 columns the right ends ``e``, the largest right end so
far M and the sum s,

    low = max(a, M),    s += max(0, e - low),    M = max(M, e).

``max`` is written so that a NaN stays where it came from: ``x if x > y else y`` would drop it. Several left ends are
taken at a time, since M and s then are loaded and stored once for all of them.

The derivative first keeps M for every left end of a row, for 64 columns, and then goes back through them, with selects
alone. It adds to rows of the transposed derivative of v, contiguously; adding to v's own rows, column by column in the
order of u's ends, would take ten times the sweep.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import njit
from .views import plain

__all__ = ["all_lengths", "all_slopes"]

KINDS = (np.float64, np.float32)
CODES = {"sum": 0, "mean": 1, "max": 2, "maxmean": 3, "none": 4}
SUM, MEAN, MAX, MAXMEAN, NONE = range(5)
BLOCK = 64
FAST = {"contract", "reassoc", "nsz"}  # NaN and inf keep their meaning


@njit(cache=True, fastmath=FAST)
def add(a, e, m, total, zero):  # type: ignore[no-untyped-def]
    """One interval more."""
    x = e - (m if m > a else a)
    return m if m > e else e, total + (zero if zero > x else x)


@njit(cache=True, fastmath=FAST)
def sweep(a, rows, vt, first, M, s):  # type: ignore[no-untyped-def]
    """The lengths `s` for one component: left ends `a`, ascending, the right ends in the rows `rows` of `vt`."""
    l = a.size
    zero, low = a.dtype.type(0), a.dtype.type(-np.inf)
    t = 0
    last = first + BLOCK
    if l >= 4:
        a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
        e0, e1, e2, e3 = (
            vt[rows[0], first:last],
            vt[rows[1], first:last],
            vt[rows[2], first:last],
            vt[rows[3], first:last],
        )
        for j in range(BLOCK):
            m, total = add(a0, e0[j], low, zero, zero)
            m, total = add(a1, e1[j], m, total, zero)
            m, total = add(a2, e2[j], m, total, zero)
            M[j], s[j] = add(a3, e3[j], m, total, zero)
        t = 4
    else:
        for j in range(BLOCK):
            M[j], s[j] = low, zero
    while t + 4 <= l:
        a0, a1, a2, a3 = a[t], a[t + 1], a[t + 2], a[t + 3]
        e0, e1 = vt[rows[t], first:last], vt[rows[t + 1], first:last]
        e2, e3 = vt[rows[t + 2], first:last], vt[rows[t + 3], first:last]
        for j in range(BLOCK):
            m, total = add(a0, e0[j], M[j], s[j], zero)
            m, total = add(a1, e1[j], m, total, zero)
            m, total = add(a2, e2[j], m, total, zero)
            M[j], s[j] = add(a3, e3[j], m, total, zero)
        t += 4
    while t < l:
        a0, e0 = a[t], vt[rows[t], first:last]
        for j in range(BLOCK):
            M[j], s[j] = add(a0, e0[j], M[j], s[j], zero)
        t += 1


@njit(cache=True, fastmath=FAST)
def lengths(a, order, vt, k, kind, alpha, out):  # type: ignore[no-untyped-def]
    """All distances of one problem: a (n, D) sorted in each component, order (n, D), vt (D, m filled up to blocks)."""
    n, D = a.shape
    l, m = D // k, out.shape[1]
    M, s = np.empty(BLOCK, vt.dtype), np.empty(BLOCK, vt.dtype)
    total, top = np.empty(BLOCK, vt.dtype), np.empty(BLOCK, vt.dtype)
    for first in range(0, m, BLOCK):
        count = min(BLOCK, m - first)
        for i in range(n):
            for c in range(k):
                sweep(a[i, c * l : c * l + l], order[i, c * l : c * l + l], vt, first, M, s)
                if kind == NONE:
                    for j in range(count):
                        out[i, first + j, c] = s[j]
                elif c == 0:
                    for j in range(BLOCK):
                        total[j], top[j] = s[j], s[j]
                else:
                    for j in range(BLOCK):
                        total[j] += s[j]
                        top[j] = top[j] if top[j] > s[j] else s[j]
            if kind != NONE:
                store(total, top, k, kind, alpha, out[i, first : first + count, 0])


@njit(cache=True, fastmath=FAST)
def store(total, top, k, kind, alpha, out):  # type: ignore[no-untyped-def]
    one = out.dtype.type(1)
    for j in range(out.size):
        best = top[j] if total[j] == total[j] else total[j]  # a maximum forgets a NaN, a sum does not
        if kind == SUM:
            out[j] = total[j]
        elif kind == MEAN:
            out[j] = total[j] / k
        elif kind == MAX:
            out[j] = best
        else:
            out[j] = alpha * best + (one - alpha) * (total[j] / k)


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


@njit(cache=True, fastmath=FAST)
def keep(a, rows, vt, first, M):  # type: ignore[no-untyped-def]
    """The largest right end up to each left end, in the rows of `M`."""
    last = first + BLOCK
    e = vt[rows[0], first:last]
    for j in range(BLOCK):
        M[0, j] = e[j]
    for t in range(1, a.size):
        e, before, after = vt[rows[t], first:last], M[t - 1], M[t]
        for j in range(BLOCK):
            after[j] = before[j] if before[j] > e[j] else e[j]


@njit(cache=True, fastmath=FAST)
def pull_back(a, rows, vt, first, M, down, g, bar, ga, gvt):  # type: ignore[no-untyped-def]
    """Add the derivatives of one component to `ga`, of the sorted left ends, and to the rows of `gvt`."""
    zero = a.dtype.type(0)
    last = first + BLOCK
    for j in range(BLOCK):
        bar[j] = g[j]
    for r in range(a.size - 1):
        t = down[r]  # a loop that runs down is not vectorised: it takes its rows to overlap
        left, e, before, into = a[t], vt[rows[t], first:last], M[t - 1], gvt[rows[t], first:last]
        total = zero
        for j in range(BLOCK):
            m, x, one, all_ = before[j], e[j], bar[j], g[j]
            opens, right = left > m, x > left
            record = one if (left if left > x else x) > m else zero
            ends = record if right else zero
            into[j] += ends
            begins = all_ if opens else zero
            total += (record - ends) - begins
            bar[j] = begins if opens else one - record
        ga[t] += total
    left, e, into, total = a[0], vt[rows[0], first:last], gvt[rows[0], first:last], zero
    for j in range(BLOCK):
        one = bar[j]
        ends = one if e[j] > left else zero
        into[j] += ends
        total += (one - ends) - g[j]
    ga[0] += total


@njit(cache=True, fastmath=FAST)
def spread(parts, g, kind, alpha, top, which, total, each):  # type: ignore[no-untyped-def]
    """The cotangents of the components from those of the distances; returns that of alpha."""
    k = parts.shape[0]
    one, zero = g.dtype.type(1), g.dtype.type(0)
    share = one
    if kind != SUM:
        share = (zero if kind == MAX else (one if kind == MEAN else one - alpha)) / g.dtype.type(k)
    if kind != MAX and kind != MAXMEAN:
        for c in range(k):
            for j in range(BLOCK):
                each[c, j] = share * g[j]
        return zero
    extra = one if kind == MAX else alpha
    for j in range(BLOCK):
        top[j], which[j], total[j] = parts[0, j], zero, parts[0, j]
    for c in range(1, k):
        here = g.dtype.type(c)  # a number as wide as the others
        for j in range(BLOCK):
            x = parts[c, j]
            beats = x > top[j]
            which[j] = here if beats else which[j]
            top[j] = x if beats else top[j]
            total[j] += x
    for c in range(k):
        here = g.dtype.type(c)
        for j in range(BLOCK):
            each[c, j] = share * g[j] + (extra * g[j] if which[j] == here else zero)
    of_alpha, mean = zero, one / g.dtype.type(k)
    for j in range(BLOCK):
        of_alpha += g[j] * (top[j] - mean * total[j])
    return of_alpha


@njit(cache=True, fastmath=FAST)
def slopes(a, order, vt, k, kind, alpha, g, ga, gvt):  # type: ignore[no-untyped-def]
    """Add the derivatives of one problem to `ga`, of the sorted left ends, and `gvt`; returns that of alpha."""
    n, D = a.shape
    l, m, dtype = D // k, g.shape[1], vt.dtype
    M, parts, each = np.empty((l, BLOCK), dtype), np.empty((k, BLOCK), dtype), np.zeros((k, BLOCK), dtype)
    bar, gb = np.empty(BLOCK, dtype), np.zeros(BLOCK, dtype)
    top, which, total = np.empty(BLOCK, dtype), np.empty(BLOCK, dtype), np.empty(BLOCK, dtype)
    down = np.arange(l)[::-1].copy()
    of_alpha = 0.0
    for first in range(0, m, BLOCK):
        count = min(BLOCK, m - first)
        for i in range(n):
            if kind == NONE:
                for c in range(k):
                    for j in range(count):
                        each[c, j] = g[i, first + j, c]
                    for j in range(count, BLOCK):
                        each[c, j] = 0
            else:
                if kind in (MAX, MAXMEAN):
                    for c in range(k):
                        sweep(a[i, c * l : c * l + l], order[i, c * l : c * l + l], vt, first, bar, parts[c])
                for j in range(count):
                    gb[j] = g[i, first + j, 0]
                for j in range(count, BLOCK):
                    gb[j] = 0
                of_alpha += spread(parts, gb, kind, alpha, top, which, total, each)
            for c in range(k):
                left, rows = a[i, c * l : c * l + l], order[i, c * l : c * l + l]
                keep(left, rows, vt, first, M)
                pull_back(left, rows, vt, first, M, down, each[c], bar, ga[i, c * l : c * l + l], gvt)
    return of_alpha


# ---------------------------------------------------------------------------------------------------------------------
# Overrides


def sorted_rows(u: Any, k: int, stable: bool) -> tuple[Any, Any]:
    """The left ends (n, D), ascending in each component, and the place of each within its component, (n, k, l).

    Sorting without the promise to keep tied ends in order is several times as fast, and ties are rare. Lengths do not
    depend on their order.
    """
    rows = np.ascontiguousarray(u).reshape(len(u), k, -1)
    order = np.argsort(rows, axis=-1)
    a = np.take_along_axis(rows, order, axis=-1)
    if stable and np.any(a[..., 1:] == a[..., :-1]):
        order = np.argsort(rows, axis=-1, kind="stable")
    return a.reshape(u.shape), order


def rows_of(order: Any) -> Any:
    """The rows of v's transpose in the order of the left ends, (n, D)."""
    n, k, l = order.shape
    return (order + l * np.arange(k)[:, None]).reshape(n, k * l).astype(np.int32)


def turned(v: Any) -> Any:
    """v's transpose, (D, m), filled up to whole blocks of columns with zeros."""
    m, D = v.shape
    vt = np.zeros((D, -(-m // BLOCK) * BLOCK), dtype=v.dtype)
    vt[:, :m] = v.T
    return vt


def flat(x: Any, axes: int) -> Any:
    """`x` with one axis before its last ones; a view where it can be."""
    return x.reshape(-1, *x.shape[x.ndim - axes :]) if x.size else np.zeros((0, *x.shape[x.ndim - axes :]), x.dtype)


def all_lengths(u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> Any:
    """Override of ``quasimetric.iqe_pairwise``."""
    if u.dtype not in KINDS or v.dtype != u.dtype:
        return NotImplemented
    code, k = CODES[reduction], components
    shape = (*u.shape[:-1], v.shape[-2], *((k,) if code == NONE else ()))
    out = np.empty(shape, dtype=u.dtype)
    if out.size == 0:
        return out
    wide = out.reshape(-1, *out.shape[u.ndim - 2 : u.ndim], k if code == NONE else 1)
    for x, y, part in zip(flat(u, 2), flat(v, 2), wide, strict=True):
        a, order = sorted_rows(x, k, stable=False)
        lengths(a, rows_of(order), turned(y), k, code, u.dtype.type(alpha), part)
    return out


def all_slopes(g: Any, u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> Any:
    """Override of ``quasimetric.iqe_pairwise_grad``."""
    if u.dtype not in KINDS or v.dtype != u.dtype or g.dtype != u.dtype:
        return NotImplemented
    code, k = CODES[reduction], components
    gu, gv, of_alpha = np.zeros(u.shape, u.dtype), np.zeros(v.shape, v.dtype), 0.0
    if g.size:
        wide = plain(g).reshape(-1, *g.shape[u.ndim - 2 : u.ndim], k if code == NONE else 1)
        problems = zip(flat(u, 2), flat(v, 2), wide, flat(gu, 2), flat(gv, 2), strict=True)
        for x, y, bars, to_x, to_y in problems:
            a, order = sorted_rows(x, k, stable=True)
            vt = turned(y)
            ga, gvt = np.zeros(x.shape, x.dtype), np.zeros_like(vt)
            of_alpha += slopes(a, rows_of(order), vt, k, code, u.dtype.type(alpha), bars, ga, gvt)
            np.put_along_axis(to_x.reshape(order.shape), order, ga.reshape(order.shape), axis=-1)
            to_y[...] = gvt[:, : len(y)].T
    return gu, gv, np.asarray(of_alpha if code == MAXMEAN else 0.0, dtype=u.dtype)
