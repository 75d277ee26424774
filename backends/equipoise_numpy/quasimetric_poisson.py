"""Poisson quasimetrics under Lebesgue's measure: all pairs in blocks of columns, and pairs row by row.

All pairs are swept as intervals are, with vector instructions over 64 columns, and exponentials of 64 means at a time.
The Gaussian measure has kernels of its own, in another module.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import quasimetric_gaussian as gaussian
from .compiled import njit
from .exponential import expm1
from .quasimetric import BLOCK, FAST, KINDS, flat, turned
from .views import plain

__all__ = ["all_distances", "all_slopes", "pair_distances", "pair_slopes"]


@njit(cache=True, fastmath=FAST)
def means(u, vt, start, l, first, s):  # type: ignore[no-untyped-def]
    """mean_t max(u_t - v_t, 0) of one component of one point and 64 others."""
    zero = u.dtype.type(0)
    share = u.dtype.type(1) / u.dtype.type(l)
    last = first + BLOCK
    for j in range(BLOCK):
        s[j] = zero
    for t in range(start, start + l):
        a, e = u[t], vt[t, first:last]
        for j in range(BLOCK):
            x = a - e[j]
            s[j] += zero if zero > x else x
    for j in range(BLOCK):
        s[j] *= share


@njit(cache=True, fastmath=FAST)
def distances(u, vt, k, weights, out):  # type: ignore[no-untyped-def]
    """All distances of one problem: u (n, D), vt (D, m filled up to blocks)."""
    n, D = u.shape
    l, m = D // k, out.shape[1]
    s, total = np.empty(BLOCK, u.dtype), np.empty(BLOCK, u.dtype)
    for first in range(0, m, BLOCK):
        for i in range(n):
            for j in range(BLOCK):
                total[j] = 0
            for c in range(k):
                means(u[i], vt, c * l, l, first, s)
                w = weights[c]
                for j in range(BLOCK):
                    total[j] -= w * expm1(-s[j])
            for j in range(min(BLOCK, m - first)):
                out[i, first + j] = total[j]


@njit(cache=True, fastmath=FAST)
def slopes(g, u, vt, k, weights, gu, gvt, gw):  # type: ignore[no-untyped-def]
    """Add the derivatives of one problem to `gu`, to the transpose `gvt` and to `gw`."""
    n, D = u.shape
    l, m = D // k, g.shape[1]
    s, bar, gb = np.empty(BLOCK, u.dtype), np.empty(BLOCK, u.dtype), np.zeros(BLOCK, u.dtype)
    zero, one = u.dtype.type(0), u.dtype.type(1)
    for first in range(0, m, BLOCK):
        last = first + BLOCK
        count = min(BLOCK, m - first)
        for j in range(count, BLOCK):
            gb[j] = zero
        for i in range(n):
            for j in range(count):
                gb[j] = g[i, first + j]
            for c in range(k):
                means(u[i], vt, c * l, l, first, s)
                w = weights[c] / u.dtype.type(l)
                total = zero
                for j in range(BLOCK):
                    below = expm1(-s[j])
                    total -= gb[j] * below
                    bar[j] = w * gb[j] * (below + one)
                gw[c] += total
                for t in range(c * l, c * l + l):
                    a, e, into = u[i, t], vt[t, first:last], gvt[t, first:last]
                    total = zero
                    for j in range(BLOCK):
                        x = bar[j] if a > e[j] else zero
                        into[j] -= x
                        total += x
                    gu[i, t] += total


@njit(cache=True, fastmath=FAST)
def excess(x, y, zero):  # type: ignore[no-untyped-def]
    apart = x - y
    return zero if zero > apart else apart


@njit(cache=True, fastmath=FAST)
def row_means(u, v, first, k, s):  # type: ignore[no-untyped-def]
    """The means of 64 pairs, or of those that are left. A plain sum of 8 or 16 numbers is not vectorised."""
    l = u.shape[1] // k
    zero, share = u.dtype.type(0), u.dtype.type(1) / u.dtype.type(l)
    for j in range(min(BLOCK, u.shape[0] - first)):
        x, y = u[first + j], v[first + j]
        for c in range(k):
            t, last = c * l, c * l + l
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
            while t + 8 <= last:
                s0 += excess(x[t], y[t], zero)
                s1 += excess(x[t + 1], y[t + 1], zero)
                s2 += excess(x[t + 2], y[t + 2], zero)
                s3 += excess(x[t + 3], y[t + 3], zero)
                s4 += excess(x[t + 4], y[t + 4], zero)
                s5 += excess(x[t + 5], y[t + 5], zero)
                s6 += excess(x[t + 6], y[t + 6], zero)
                s7 += excess(x[t + 7], y[t + 7], zero)
                t += 8
            total = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
            while t < last:
                total += excess(x[t], y[t], zero)
                t += 1
            s[j * k + c] = total * share


@njit(cache=True, fastmath=FAST)
def row_distances(u, v, k, weights, out):  # type: ignore[no-untyped-def]
    """The distances of the rows of u and v, (P, D)."""
    s = np.zeros(BLOCK * k, u.dtype)
    for first in range(0, u.shape[0], BLOCK):
        row_means(u, v, first, k, s)
        for i in range(s.size):
            s[i] = expm1(-s[i])
        for j in range(min(BLOCK, u.shape[0] - first)):
            distance = u.dtype.type(0)
            for c in range(k):
                distance -= weights[c] * s[j * k + c]
            out[first + j] = distance


@njit(cache=True, fastmath=FAST)
def row_slopes(g, u, v, k, weights, gu, gv, gw):  # type: ignore[no-untyped-def]
    """The derivatives with respect to the rows, and, added, to the weights."""
    D = u.shape[1]
    l = D // k
    zero, one = u.dtype.type(0), u.dtype.type(1)
    share = one / u.dtype.type(l)
    s, wide = np.zeros(BLOCK * k, u.dtype), np.empty(D, u.dtype)
    for first in range(0, u.shape[0], BLOCK):
        row_means(u, v, first, k, s)
        for i in range(s.size):
            s[i] = expm1(-s[i])
        for j in range(min(BLOCK, u.shape[0] - first)):
            whole = g[first + j]
            for c in range(k):
                below = s[j * k + c]
                gw[c] -= whole * below
                bar = share * weights[c] * whole * (below + one)
                for t in range(c * l, c * l + l):
                    wide[t] = bar
            x, y, to_u, to_v = u[first + j], v[first + j], gu[first + j], gv[first + j]
            for t in range(D):
                bar = wide[t] if x[t] > y[t] else zero
                to_u[t] = bar
                to_v[t] = -bar


# ---------------------------------------------------------------------------------------------------------------------
# Overrides


def known_weights(weights: Any, k: int, dtype: Any) -> Any:
    return np.ones(k, dtype) if weights is None else plain(weights, dtype=dtype)


def derivatives(gu: Any, gv: Any, gw: Any, weights: Any) -> tuple[Any, ...]:
    """Those of all five arguments."""
    return gu, gv, None if weights is None else gw.astype(weights.dtype), None, None


def all_distances(u: Any, v: Any, weights: Any, variance: Any, scale: Any, **settings: Any) -> Any:
    """Override of ``quasimetric.pqe_pairwise``."""
    if u.dtype not in KINDS or v.dtype != u.dtype:
        return NotImplemented
    k = settings["components"]
    if settings["measure"] == "gaussian":
        return gaussian.all_distances(u, v, weights, variance, scale, k, settings["terms"])
    out = np.empty((*u.shape[:-1], v.shape[-2]), dtype=u.dtype)
    if out.size:
        w = known_weights(weights, k, u.dtype)
        for x, y, part in zip(flat(u, 2), flat(v, 2), flat(out, 2), strict=True):
            distances(plain(x), turned(y), k, w, part)
    return out


def all_slopes(g: Any, u: Any, v: Any, weights: Any, variance: Any, scale: Any, **settings: Any) -> Any:
    """Override of ``quasimetric.pqe_pairwise_grad``."""
    if u.dtype not in KINDS or v.dtype != u.dtype or g.dtype != u.dtype:
        return NotImplemented
    k = settings["components"]
    if settings["measure"] == "gaussian":
        if isinstance(variance, np.ndarray) or isinstance(scale, np.ndarray):
            return NotImplemented  # their derivatives are wanted too
        gu, gv, gw = gaussian.all_slopes(g, u, v, weights, variance, scale, k, settings["terms"])
        return derivatives(gu, gv, gw, weights)
    gu, gv, gw = np.zeros(u.shape, u.dtype), np.zeros(v.shape, v.dtype), np.zeros(k)
    if g.size:
        w = known_weights(weights, k, u.dtype)
        problems = zip(flat(plain(g), 2), flat(u, 2), flat(v, 2), flat(gu, 2), flat(gv, 2), strict=True)
        for bars, x, y, to_x, to_y in problems:
            vt = turned(y)
            gvt = np.zeros_like(vt)
            slopes(bars, plain(x), vt, k, w, to_x, gvt, gw)
            to_y[...] = gvt[:, : len(y)].T
    return derivatives(gu, gv, gw, weights)


def pair_distances(u: Any, v: Any, weights: Any, variance: Any, scale: Any, **settings: Any) -> Any:
    """Override of ``quasimetric.pqe``."""
    if u.dtype not in KINDS or v.dtype != u.dtype or u.shape != v.shape:
        return NotImplemented
    k = settings["components"]
    if settings["measure"] == "gaussian":
        return gaussian.pair_distances(u, v, weights, variance, scale, k, settings["terms"])
    out = np.empty(u.shape[:-1], dtype=u.dtype)
    if out.size:
        x, y = (plain(z).reshape(-1, z.shape[-1]) for z in (u, v))
        row_distances(x, y, k, known_weights(weights, k, u.dtype), out.reshape(-1))
    return out


def pair_slopes(g: Any, u: Any, v: Any, weights: Any, variance: Any, scale: Any, **settings: Any) -> Any:
    """Override of ``quasimetric.pqe_grad``."""
    if u.dtype not in KINDS or v.dtype != u.dtype or g.dtype != u.dtype:
        return NotImplemented
    if u.shape != v.shape or g.shape != u.shape[:-1]:
        return NotImplemented
    k = settings["components"]
    if settings["measure"] == "gaussian":
        if isinstance(variance, np.ndarray) or isinstance(scale, np.ndarray):
            return NotImplemented  # their derivatives are wanted too
        gu, gv, gw = gaussian.pair_slopes(g, u, v, weights, variance, scale, k, settings["terms"])
        return derivatives(gu, gv, gw, weights)
    gu, gv, gw = np.empty(u.shape, u.dtype), np.empty(v.shape, v.dtype), np.zeros(k)
    if u.size:
        x, y = (plain(z).reshape(-1, z.shape[-1]) for z in (u, v))
        bars = plain(g).reshape(-1)
        to_u, to_v = (z.reshape(-1, z.shape[-1]) for z in (gu, gv))
        row_slopes(bars, x, y, k, known_weights(weights, k, u.dtype), to_u, to_v, gw)
    return derivatives(gu, gv, gw, weights)
