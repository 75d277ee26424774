"""Interval quasimetrics of pairs: every pair has an order of its own, so that 64 pairs are sorted at once.

A component of 64 pairs is laid out as (l, 64). Batcher's odd-even merge network (K. E. Batcher, *Sorting networks and
their applications*, 1968) sorts it by the same exchanges for all pairs, each a few vector instructions; widths that are
no power of two leave out the exchanges with what they would be filled up with, which would never move. Above a width of
64, where the network grows faster than sorting does, numpy sorts.

For derivatives the places of the left ends are sorted too, as numbers of the same width, and decide between ends that
are equal, so that the order is the stable one.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .compiled import njit
from .quasimetric import BLOCK, CODES, FAST, KINDS, MAXMEAN, NONE, spread, store
from .views import plain

__all__ = ["pair_lengths", "pair_slopes", "row_sum"]

WIDEST = 64  # latents of a component that the network sorts
STRIDE = BLOCK + 16  # of a buffer's rows: at a power of two they would share lines of the cache


@functools.cache
def network(l: int) -> np.ndarray[Any, Any]:
    """The exchanges that sort l numbers, (count, 2): the first place gets the smaller one."""
    found = []
    p = 1
    while p < l:
        q = p
        while q >= 1:
            for j in range(q % p, l - q, 2 * q):
                for i in range(min(q, l - j - q)):
                    if (i + j) // (2 * p) == (i + j + q) // (2 * p):
                        found.append((i + j, i + j + q))
            q //= 2
        p *= 2
    return np.array(found, dtype=np.int64).reshape(-1, 2)


@njit(cache=True)
def load(x, first, into):  # type: ignore[no-untyped-def]
    """64 points, or those that are left, as columns. Whole rows are read at a time, since memory is read in order."""
    for j in range(min(BLOCK, x.shape[0] - first)):
        for t in range(x.shape[1]):
            into[t, j] = x[first + j, t]


@njit(cache=True)
def exchange(a, e, pairs):  # type: ignore[no-untyped-def]
    """Sort the columns of `a`, and those of `e` along."""
    for r in range(pairs.shape[0]):
        p, q = pairs[r, 0], pairs[r, 1]
        ap, aq, ep, eq = a[p], a[q], e[p], e[q]
        for j in range(BLOCK):
            x, y, z, w = ap[j], aq[j], ep[j], eq[j]
            falls = x > y
            ap[j] = y if falls else x
            aq[j] = x if falls else y
            ep[j] = w if falls else z
            eq[j] = z if falls else w


@njit(cache=True, fastmath=FAST)
def measure(a, e, M, s):  # type: ignore[no-untyped-def]
    """The lengths `s` of a component, whose left ends ascend; M holds the largest right end so far."""
    zero, low = s.dtype.type(0), s.dtype.type(-np.inf)
    for j in range(BLOCK):
        M[j], s[j] = low, zero
    for t in range(a.shape[0]):
        left, right = a[t], e[t]
        for j in range(BLOCK):
            m, y, z = M[j], left[j], right[j]
            x = z - (m if m > y else y)
            s[j] += zero if zero > x else x
            M[j] = m if m > z else z


@njit(cache=True, fastmath=FAST)
def lengths(u, v, k, kind, alpha, pairs, out):  # type: ignore[no-untyped-def]
    """The distances of the rows of u and v, (P, D)."""
    P, D = u.shape
    l, dtype = D // k, u.dtype
    a, e = np.zeros((D, STRIDE), dtype), np.zeros((D, STRIDE), dtype)
    M, s, total, top = np.empty(BLOCK, dtype), np.empty(BLOCK, dtype), np.empty(BLOCK, dtype), np.empty(BLOCK, dtype)
    for first in range(0, P, BLOCK):
        count = min(BLOCK, P - first)
        load(u, first, a)
        load(v, first, e)
        for c in range(k):
            left, right = a[c * l : c * l + l], e[c * l : c * l + l]
            exchange(left, right, pairs)
            measure(left, right, M, s)
            if kind == NONE:
                for j in range(count):
                    out[first + j, c] = s[j]
            elif c == 0:
                for j in range(BLOCK):
                    total[j], top[j] = s[j], s[j]
            else:
                for j in range(BLOCK):
                    total[j] += s[j]
                    top[j] = top[j] if top[j] > s[j] else s[j]
        if kind != NONE:
            store(total, top, k, kind, alpha, out[first : first + count, 0])


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives

# Columns of the buffer in which a component is sorted: left ends, right ends, places. In one buffer at constant
# distances, since rows of several would be compared for overlap in every exchange.
ENDS, PLACES, WIDE = BLOCK, 2 * BLOCK, 3 * BLOCK + 16
RIGHT, LEFT, OPENS = 1, 2, 4  # what a latent is: a derivative g at its right end, and g or -g at its left end


@njit(cache=True)
def load_both(u, v, first, into):  # type: ignore[no-untyped-def]
    """As `load`, for both ends."""
    for j in range(min(BLOCK, u.shape[0] - first)):
        for t in range(u.shape[1]):
            into[t, j] = u[first + j, t]
        for t in range(u.shape[1]):
            into[t, ENDS + j] = v[first + j, t]


@njit(cache=True)
def exchange_all(ends, pairs):  # type: ignore[no-untyped-def]
    """As `exchange`; the places that the ends came from, as numbers like them, go along and decide ties."""
    for t in range(ends.shape[0]):
        row, place = ends[t], ends.dtype.type(t)
        for j in range(BLOCK):
            row[PLACES + j] = place
    for r in range(pairs.shape[0]):
        p, q = ends[pairs[r, 0]], ends[pairs[r, 1]]
        for j in range(BLOCK):
            x, y, z, w, m, n = p[j], q[j], p[ENDS + j], q[ENDS + j], p[PLACES + j], q[PLACES + j]
            falls = (x > y) | ((x == y) & (m > n))
            p[j] = y if falls else x
            q[j] = x if falls else y
            p[ENDS + j] = w if falls else z
            q[ENDS + j] = z if falls else w
            p[PLACES + j] = n if falls else m
            q[PLACES + j] = m if falls else n


@njit(cache=True, fastmath=FAST)
def measure_all(ends, up, M, s):  # type: ignore[no-untyped-def]
    """As `measure`; the rows of M keep the largest right end up to each left end."""
    zero = s.dtype.type(0)
    row, after = ends[0], M[0]
    for j in range(BLOCK):
        x = row[ENDS + j] - row[j]
        s[j] = zero if zero > x else x
        after[j] = row[ENDS + j]
    for r in range(1, ends.shape[0]):
        t = up[r]  # read, for rows that follow one another are taken to overlap, and not vectorised
        row, before, after = ends[t], M[t - 1], M[t]
        for j in range(BLOCK):
            m, y, z = before[j], row[j], row[ENDS + j]
            x = z - (m if m > y else y)
            s[j] += zero if zero > x else x
            after[j] = m if m > z else z


@njit(cache=True)
def find_roles(ends, up, M, wanted, roles):  # type: ignore[no-untyped-def]
    """What each sorted latent is. They do not depend on cotangents, which come in when all components are measured."""
    none, one = np.int32(0), np.int32(1)
    l = ends.shape[0]
    for j in range(BLOCK):
        wanted[j] = one  # whether the right end of a maximal interval is still to be found
    for r in range(l - 1):
        t = up[l - 1 - r]
        row, before, role = ends[t], M[t - 1], roles[t]
        for j in range(BLOCK):
            m, y, z, open_ = before[j], row[j], row[ENDS + j], wanted[j]
            record = open_ if (y if y > z else z) > m else none
            right = record if z > y else none
            begins = one if y > m else none
            left = record - right
            role[j] = right * RIGHT + left * LEFT + begins * OPENS
            wanted[j] = begins if y > m else open_ - record
    row, role = ends[0], roles[0]
    for j in range(BLOCK):
        right = wanted[j] if row[ENDS + j] > row[j] else none
        role[j] = right * RIGHT + (wanted[j] - right) * LEFT + OPENS


@njit(cache=True)
def put_back(ends, roles, start, rows):  # type: ignore[no-untyped-def]
    """Bring the roles of a component to where its latents came from, a row a pair."""
    for t in range(roles.shape[0]):
        places, role = ends[t], roles[t]
        for j in range(BLOCK):
            rows[j, start + int(places[PLACES + j])] = role[j]


@njit(cache=True)
def unload(rows, each, first, wide, gu, gv):  # type: ignore[no-untyped-def]
    """The derivatives of 64 pairs, or of those that are left, from the roles and the components' cotangents."""
    k, D = each.shape[0], gu.shape[1]
    l, zero = D // k, gu.dtype.type(0)
    for j in range(min(BLOCK, gu.shape[0] - first)):
        for c in range(k):
            bar = each[c, j]
            for t in range(c * l, c * l + l):
                wide[t] = bar
        row, to_u, to_v = rows[j], gu[first + j], gv[first + j]
        for t in range(D):
            role, bar = row[t], wide[t]
            to_v[t] = bar if role & RIGHT else zero
            to_u[t] = (bar if role & LEFT else zero) - (bar if role & OPENS else zero)


@njit(cache=True, fastmath=FAST)
def slopes(g, u, v, k, kind, alpha, pairs, gu, gv):  # type: ignore[no-untyped-def]
    """The derivatives with respect to the rows of u and v; returns that of alpha."""
    P, D = u.shape
    l, dtype = D // k, u.dtype
    ends, M, up = np.zeros((D, WIDE), dtype), np.empty((l, STRIDE), dtype), np.arange(l)
    roles, wanted, rows = np.empty((l, STRIDE), np.int32), np.empty(BLOCK, np.int32), np.empty((BLOCK, D + 64), np.int8)
    parts, each, gb = np.empty((k, BLOCK), dtype), np.empty((k, BLOCK), dtype), np.zeros(BLOCK, dtype)
    top, which, total = np.empty(BLOCK, dtype), np.empty(BLOCK, dtype), np.empty(BLOCK, dtype)
    wide = np.empty(D, dtype)
    of_alpha = 0.0
    for first in range(0, P, BLOCK):
        count = min(BLOCK, P - first)
        load_both(u, v, first, ends)
        for c in range(k):
            part = ends[c * l : c * l + l]
            exchange_all(part, pairs)
            measure_all(part, up, M, parts[c])
            find_roles(part, up, M, wanted, roles)
            put_back(part, roles, c * l, rows)
        for j in range(count, BLOCK):
            gb[j] = 0
        if kind == NONE:
            for c in range(k):
                for j in range(BLOCK):
                    each[c, j] = g[first + j, c] if j < count else gb[j]
        else:
            for j in range(count):
                gb[j] = g[first + j, 0]
            of_alpha += spread(parts, gb, kind, alpha, top, which, total, each)
        unload(rows, each, first, wide, gu, gv)
    return of_alpha


# ---------------------------------------------------------------------------------------------------------------------
# Overrides


def arranged(u: Any, v: Any, k: int) -> tuple[Any, Any, Any, Any]:
    """The points in rows, the exchanges that sort them, and their order where numpy has sorted them already."""
    rows = [plain(x).reshape(-1, x.shape[-1]) for x in (u, v)]
    l = u.shape[-1] // k
    if l <= WIDEST:
        return rows[0], rows[1], network(l), None
    order = np.argsort(rows[0].reshape(-1, k, l), axis=-1, kind="stable")
    left, right = (np.take_along_axis(x.reshape(order.shape), order, axis=-1).reshape(x.shape) for x in rows)
    return left, right, network(1), order


def pair_lengths(u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> Any:
    """Override of ``quasimetric.iqe``."""
    if u.dtype not in KINDS or v.dtype != u.dtype or u.shape != v.shape:
        return NotImplemented
    code, k = CODES[reduction], components
    out = np.empty((*u.shape[:-1], k if code == NONE else 1), dtype=u.dtype)
    if out.size:
        left, right, pairs, _ = arranged(u, v, k)
        lengths(left, right, k, code, u.dtype.type(alpha), pairs, out.reshape(-1, out.shape[-1]))
    return out if code == NONE else out[..., 0]


def pair_slopes(g: Any, u: Any, v: Any, alpha: Any, *, components: int, reduction: str) -> Any:
    """Override of ``quasimetric.iqe_grad``."""
    alike = u.dtype == v.dtype == g.dtype and u.shape == v.shape and g.shape[: u.ndim - 1] == u.shape[:-1]
    if u.dtype not in KINDS or not alike:
        return NotImplemented
    code, k = CODES[reduction], components
    gu, gv, of_alpha = np.empty(u.shape, u.dtype), np.empty(v.shape, v.dtype), 0.0
    if u.size:
        left, right, pairs, order = arranged(u, v, k)
        bars = plain(g).reshape(-1, k if code == NONE else 1)
        to_u, to_v = (x.reshape(-1, x.shape[-1]) for x in (gu, gv))
        of_alpha = slopes(bars, left, right, k, code, u.dtype.type(alpha), pairs, to_u, to_v)
        if order is not None:
            for x in (to_u, to_v):
                found = x.reshape(order.shape).copy()
                np.put_along_axis(x.reshape(order.shape), order, found, axis=-1)
    return gu, gv, np.asarray(of_alpha if code == MAXMEAN else 0.0, dtype=u.dtype)


@njit(cache=True, fastmath=FAST)
def add_rows(values, index, out):  # type: ignore[no-untyped-def]
    for r in range(index.size):
        x, into = values[r], out[index[r]]
        for t in range(x.size):
            into[t] += x[t]


def row_sum(values: Any, index: Any, *, size: int) -> Any:
    """Override of ``array.row_sum``."""
    if values.dtype not in KINDS or index.dtype not in (np.int32, np.int64):
        return NotImplemented
    out = np.zeros((size, values.shape[1]), dtype=values.dtype)
    add_rows(plain(values), plain(index), out)
    return out
