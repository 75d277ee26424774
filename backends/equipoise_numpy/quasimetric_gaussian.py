"""Poisson quasimetrics under a Gaussian measure, 64 pairs at a time, in stages that are vector instructions each.

All temporaries of 64 pairs lie in one buffer at constant places, so that no stage has to look whether they overlap.
Products are not contracted with the differences they stand in: a point would no longer be at exactly 0 from itself.
``1 - prod (1 - L)`` is gathered as ``p + L (1 - p)``, which keeps the digits of small probabilities. Derivatives with
respect to variance and scale are left to the portable body.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from equipoise.quasimetric.measures import FARTHEST
from equipoise.quasimetric.normal import MIDDLE, NEAR

from .compiled import njit
from .exponential import exp
from .quasimetric import BLOCK, flat, turned
from .quasimetric_pairs import load
from .views import plain

__all__ = ["all_distances", "all_slopes", "pair_distances", "pair_slopes"]

# Places in the buffer, and what stands there before, while the rates are made, once for u and once for v
BASE1, BASE2, FIRST, SECOND, BELOW, L, EQUAL, ABOVE, Z_U, OUT_U, OUT_V = (BLOCK * i for i in range(11))
Z_V, IN_U, IN_V = BASE2, FIRST, SECOND
SIZE_U, SIZE_V, NEAR_U, NEAR_V, FAR_U, FAR_V = BELOW, L, FIRST, SECOND, EQUAL, ABOVE
ROWS = 11
HALF_ROOT = math.sqrt(0.5)
DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
(N0, N1), (M0, M1) = NEAR, MIDDLE


@njit(cache=True, error_model="numpy")
def near_tail(x, B):  # type: ignore[no-untyped-def]
    """P(X > x sqrt 2) of a standard normal number, for 0 <= x <= 1."""
    n = B.dtype.type  # for coefficients as wide as the numbers
    y = x * x
    over = y * n(N0[0]) + n(N0[1])
    over = (over * y + n(N0[2])) * y + n(N0[3])
    over = over * y + n(N0[4])
    under = (y + n(N1[1])) * y + n(N1[2])
    under = (under * y + n(N1[3])) * y + n(N1[4])
    under = under * y + n(N1[5])
    return n(0.5) * (n(1.0) - x * over / under)


@njit(cache=True, error_model="numpy")
def far_tail(x, B):  # type: ignore[no-untyped-def]
    """The same for 1 <= x; absolute accuracy beyond 8."""
    n = B.dtype.type
    far = n(8.0)
    z = x if x < far else far
    over = (z * n(M0[0]) + n(M0[1])) * z + n(M0[2])
    over = (over * z + n(M0[3])) * z + n(M0[4])
    over = (over * z + n(M0[5])) * z + n(M0[6])
    over = (over * z + n(M0[7])) * z + n(M0[8])
    under = (z + n(M1[1])) * z + n(M1[2])
    under = (under * z + n(M1[3])) * z + n(M1[4])
    under = (under * z + n(M1[5])) * z + n(M1[6])
    under = (under * z + n(M1[7])) * z + n(M1[8])
    return n(0.5) * exp(-x * x) * over / under


@njit(cache=True, error_model="numpy")
def excesses(a, mass_a, e, mass_e, w, root, share, B):  # type: ignore[no-untyped-def]
    """The rates but for their scale, and what their derivatives need: z of u, and Phi(-z) of both points."""
    dtype = a.dtype.type
    one, zero, half, by = dtype(1), dtype(0), dtype(0.5), dtype(HALF_ROOT)
    for j in range(BLOCK):
        u, v = a[j], e[j]
        mid = half * u + half * v
        sign = one if u >= v else -one
        z, y = sign * ((mid - u * w) / root), -sign * ((mid - v * w) / root)
        B[Z_U + j], B[Z_V + j] = z, y
        B[SIZE_U + j], B[SIZE_V + j] = by * abs(z), by * abs(y)
    for j in range(BLOCK):  # both branches of a choice, stage by stage: a choice of long formulas becomes no select
        B[NEAR_U + j] = near_tail(B[SIZE_U + j], B)
        B[NEAR_V + j] = near_tail(B[SIZE_V + j], B)
    for j in range(BLOCK):
        B[FAR_U + j] = far_tail(B[SIZE_U + j], B)
        B[FAR_V + j] = far_tail(B[SIZE_V + j], B)
    for j in range(BLOCK):
        z, y = B[Z_U + j], B[Z_V + j]
        p = B[NEAR_U + j] if B[SIZE_U + j] < one else B[FAR_U + j]
        r = B[NEAR_V + j] if B[SIZE_V + j] < one else B[FAR_V + j]
        B[OUT_U + j], B[IN_U + j] = (one - p if z < zero else p), (p if z < zero else one - p)
        B[OUT_V + j], B[IN_V + j] = (one - r if y < zero else r), (r if y < zero else one - r)
    for j in range(BLOCK):  # the same numbers where points agree
        B[BASE1 + j] = (mass_a[j] * B[OUT_U + j] - mass_e[j] * B[IN_V + j]) * share
        B[BASE2 + j] = (mass_e[j] * B[OUT_V + j] - mass_a[j] * B[IN_U + j]) * share


@njit(cache=True, error_model="numpy")
def chances(scale, terms, slopes, B):  # type: ignore[no-untyped-def]
    """Pr[N1 > N2] of the rates, and with `slopes` also Pr[N1 = N2] and Pr[N1 = N2 + 1]."""
    dtype = B.dtype.type
    zero, one = dtype(0), dtype(1)
    for j in range(BLOCK):
        r1, r2 = scale * B[BASE1 + j], scale * B[BASE2 + j]
        B[FIRST + j] = exp(-(zero if zero > r1 else r1))
        B[SECOND + j] = exp(-(zero if zero > r2 else r2))
        B[BELOW + j], B[L + j], B[EQUAL + j], B[ABOVE + j] = zero, zero, zero, zero
    for k in range(1, terms + 1):
        by = scale / dtype(k)
        for j in range(BLOCK):
            r1, r2 = by * B[BASE1 + j], by * B[BASE2 + j]
            r1, r2 = zero if zero > r1 else r1, zero if zero > r2 else r2
            p1, p2 = B[FIRST + j], B[SECOND + j]
            below, new = B[BELOW + j] + p2, p1 * r1
            B[BELOW + j], B[L + j] = below, B[L + j] + new * below
            if slopes:
                B[EQUAL + j] += p1 * p2
                B[ABOVE + j] += new * p2
            B[FIRST + j], B[SECOND + j] = new, p2 * r2
    for j in range(BLOCK):
        B[L + j] = one if B[L + j] > one else B[L + j]


@njit(cache=True, error_model="numpy")
def gather(B, p):  # type: ignore[no-untyped-def]
    for j in range(BLOCK):
        x = B[L + j]
        p[j] += x * (B.dtype.type(1) - p[j])


@njit(cache=True, error_model="numpy")
def component(a, mass_a, e, mass_e, w, root, scale, terms, B, p):  # type: ignore[no-untyped-def]
    """The probability of one component, its latents in rows of 64 pairs."""
    share = a.dtype.type(1) / a.dtype.type(a.shape[0])
    for j in range(BLOCK):
        p[j] = 0
    for t in range(a.shape[0]):
        excesses(a[t], mass_a[t], e[t], mass_e[t], w[t], root[t], share, B)
        chances(scale[t], terms, False, B)
        gather(B, p)


@njit(cache=True, error_model="numpy")
def repeat_row(x, i, into):  # type: ignore[no-untyped-def]
    for t in range(x.shape[1]):
        row, number = into[t], x[i, t]
        for j in range(BLOCK):
            row[j] = number


@njit(cache=True, error_model="numpy")
def take_columns(x, first, into):  # type: ignore[no-untyped-def]
    for t in range(x.shape[0]):
        row, seen = into[t], x[t, first : first + BLOCK]
        for j in range(BLOCK):
            row[j] = seen[j]


@njit(cache=True, error_model="numpy")
def distances(a, mass_a, e, mass_e, k, weights, w, root, scale, terms, B, p, total):  # type: ignore[no-untyped-def]
    """The distances of 64 pairs, their latents in rows."""
    l = a.shape[0] // k
    for j in range(BLOCK):
        total[j] = 0
    for c in range(k):
        s = slice(c * l, c * l + l)
        component(a[s], mass_a[s], e[s], mass_e[s], w[s], root[s], scale[s], terms, B, p)
        for j in range(BLOCK):
            total[j] += weights[c] * p[j]


@njit(cache=True, error_model="numpy")
def all_pairs(u, mass_u, vt, mass_vt, k, weights, w, root, scale, terms, out):  # type: ignore[no-untyped-def]
    D, m = u.shape[1], out.shape[1]
    a, mass_a = np.empty((D, BLOCK), u.dtype), np.empty((D, BLOCK), u.dtype)
    e, mass_e = np.empty((D, BLOCK), u.dtype), np.empty((D, BLOCK), u.dtype)
    B, p, total = np.empty(ROWS * BLOCK, u.dtype), np.empty(BLOCK, u.dtype), np.empty(BLOCK, u.dtype)
    for first in range(0, m, BLOCK):
        take_columns(vt, first, e)
        take_columns(mass_vt, first, mass_e)
        for i in range(u.shape[0]):
            repeat_row(u, i, a)
            repeat_row(mass_u, i, mass_a)
            distances(a, mass_a, e, mass_e, k, weights, w, root, scale, terms, B, p, total)
            for j in range(min(BLOCK, m - first)):
                out[i, first + j] = total[j]


@njit(cache=True, error_model="numpy")
def some_pairs(u, mass_u, v, mass_v, k, weights, w, root, scale, terms, out):  # type: ignore[no-untyped-def]
    D = u.shape[1]
    a, mass_a = np.zeros((D, BLOCK), u.dtype), np.zeros((D, BLOCK), u.dtype)
    e, mass_e = np.zeros((D, BLOCK), u.dtype), np.zeros((D, BLOCK), u.dtype)
    B, p, total = np.empty(ROWS * BLOCK, u.dtype), np.empty(BLOCK, u.dtype), np.empty(BLOCK, u.dtype)
    for first in range(0, u.shape[0], BLOCK):
        load(u, first, a)
        load(v, first, e)
        load(mass_u, first, mass_a)
        load(mass_v, first, mass_e)
        distances(a, mass_a, e, mass_e, k, weights, w, root, scale, terms, B, p, total)
        for j in range(min(BLOCK, out.size - first)):
            out[first + j] = total[j]


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


@njit(cache=True, error_model="numpy")
def pull_back(  # type: ignore[no-untyped-def]
    g, a, mass_a, e, mass_e, k, weights, w, root, scale, spread, terms, B, found, kept, ga, ge, gw
):
    """The derivatives of 64 pairs, into the rows of `ga` and `ge`; those to the weights are added to `gw`."""
    dtype = a.dtype.type
    zero, one, by = dtype(0), dtype(1), dtype(DENSITY)
    l = a.shape[0] // k
    share = one / dtype(l)
    for c in range(k):
        for j in range(BLOCK):
            found[j] = zero
        for r in range(l):
            t = c * l + r
            excesses(a[t], mass_a[t], e[t], mass_e[t], w[t], root[t], share, B)
            chances(scale[t], terms, True, B)
            rooted = w[t] / root[t]  # the root of w
            row, left, right = kept[r], ga[t], ge[t]
            x, y, mx, my = a[t], e[t], mass_a[t], mass_e[t]
            for j in range(BLOCK):
                z = B[Z_U + j]
                sign = one if x[j] >= y[j] else -one
                edge = mx[j] * (by * exp(-(z * z) / dtype(2))) * sign * rooted
                steep_u, steep_v = -x[j] * (mx[j] / spread[t]), -y[j] * (my[j] / spread[t])
                first = B[EQUAL + j] if B[BASE1 + j] > zero else zero
                second = -B[ABOVE + j] if B[BASE2 + j] > zero else zero
                p, s, size = B[OUT_U + j], B[OUT_V + j], scale[t] * share
                left[j] = size * (first * (steep_u * p + edge) + second * (edge - steep_u * (one - p)))
                right[j] = size * (second * (steep_v * s - edge) - first * (edge + steep_v * (one - s)))
                row[j] = B[L + j]
            for j in range(BLOCK):
                rest = one - found[j]  # the product of what comes before
                found[j] += row[j] * rest
                left[j] *= rest
                right[j] *= rest
        total = zero
        for j in range(BLOCK):
            total += g[j] * found[j]
            found[j] = weights[c] * g[j]
        gw[c] += total
        for r in range(l - 1, -1, -1):
            row, left, right = kept[r], ga[c * l + r], ge[c * l + r]
            for j in range(BLOCK):
                left[j] *= found[j]
                right[j] *= found[j]
                found[j] *= one - row[j]


@njit(cache=True, error_model="numpy")
def all_pulled(g, u, mass_u, vt, mass_vt, k, weights, w, root, scale, spread, terms, gu, gvt, gw):  # type: ignore[no-untyped-def]
    D, m = u.shape[1], g.shape[1]
    a, mass_a = np.empty((D, BLOCK), u.dtype), np.empty((D, BLOCK), u.dtype)
    e, mass_e = np.empty((D, BLOCK), u.dtype), np.empty((D, BLOCK), u.dtype)
    ga, ge, kept = np.empty((D, BLOCK), u.dtype), np.empty((D, BLOCK), u.dtype), np.empty((D // k, BLOCK), u.dtype)
    B, found, gb = np.empty(ROWS * BLOCK, u.dtype), np.empty(BLOCK, u.dtype), np.zeros(BLOCK, u.dtype)
    for first in range(0, m, BLOCK):
        take_columns(vt, first, e)
        take_columns(mass_vt, first, mass_e)
        count = min(BLOCK, m - first)
        for j in range(count, BLOCK):
            gb[j] = 0
        for i in range(u.shape[0]):
            repeat_row(u, i, a)
            repeat_row(mass_u, i, mass_a)
            for j in range(count):
                gb[j] = g[i, first + j]
            pull_back(gb, a, mass_a, e, mass_e, k, weights, w, root, scale, spread, terms, B, found, kept, ga, ge, gw)
            for t in range(D):
                left, right, into = ga[t], ge[t], gvt[t, first : first + BLOCK]
                total = 0.0
                for j in range(BLOCK):
                    total += left[j]
                    into[j] += right[j]
                gu[i, t] += total


@njit(cache=True, error_model="numpy")
def some_pulled(g, u, mass_u, v, mass_v, k, weights, w, root, scale, spread, terms, gu, gv, gw):  # type: ignore[no-untyped-def]
    D = u.shape[1]
    a, mass_a = np.zeros((D, BLOCK), u.dtype), np.zeros((D, BLOCK), u.dtype)
    e, mass_e = np.zeros((D, BLOCK), u.dtype), np.zeros((D, BLOCK), u.dtype)
    ga, ge, kept = np.empty((D, BLOCK), u.dtype), np.empty((D, BLOCK), u.dtype), np.empty((D // k, BLOCK), u.dtype)
    B, found, gb = np.empty(ROWS * BLOCK, u.dtype), np.empty(BLOCK, u.dtype), np.zeros(BLOCK, u.dtype)
    for first in range(0, u.shape[0], BLOCK):
        load(u, first, a)
        load(v, first, e)
        load(mass_u, first, mass_a)
        load(mass_v, first, mass_e)
        count = min(BLOCK, u.shape[0] - first)
        for j in range(BLOCK):
            gb[j] = g[first + j] if j < count else 0
        pull_back(gb, a, mass_a, e, mass_e, k, weights, w, root, scale, spread, terms, B, found, kept, ga, ge, gw)
        for j in range(count):
            for t in range(D):
                gu[first + j, t], gv[first + j, t] = ga[t, j], ge[t, j]


# ---------------------------------------------------------------------------------------------------------------------
# What the overrides of the Poisson quasimetric call


def prepared(
    u: Any, v: Any, weights: Any, variance: Any, scale: Any, k: int
) -> tuple[list[Any], tuple[Any, Any, Any, Any, Any], Any]:
    """The sides (u, mass, v, mass), points nearer where they are too far out; the numbers of the kernels; 1 + variance.

    The numbers are k, the weights, and of each latent variance / (1 + variance), its root, and the scale.
    """
    D, dtype = u.shape[-1], u.dtype
    s2, by = (np.broadcast_to(np.asarray(x, np.float64), (k, D // k)).reshape(D) for x in (variance, scale))
    spread = 1.0 + s2
    most = min(FARTHEST, 1e-2 * math.sqrt(float(np.finfo(dtype).max)))
    sides = []
    for x in (u, v):
        near = np.clip(x, -most, most)
        mass = np.exp(-0.5 * near * (near / spread.astype(dtype)))
        sides += [near, mass / (math.sqrt(2.0 * math.pi) * np.sqrt(spread)).astype(dtype)]
    share, root, by, spread = (x.astype(dtype) for x in (s2 / spread, np.sqrt(s2 / spread), by, spread))
    w = np.ones(k, dtype) if weights is None else plain(weights, dtype=dtype)
    return sides, (k, w, share, root, by), spread


def all_distances(u: Any, v: Any, weights: Any, variance: Any, scale: Any, k: int, terms: int) -> Any:
    """All pairs."""
    out = np.empty((*u.shape[:-1], v.shape[-2]), dtype=u.dtype)
    if out.size:
        sides, numbers, _ = prepared(u, v, weights, variance, scale, k)
        for x, mass_x, y, mass_y, part in zip(*(flat(z, 2) for z in (*sides, out)), strict=True):
            all_pairs(x, mass_x, turned(y), turned(mass_y), *numbers, terms, part)
    return out


def pair_distances(u: Any, v: Any, weights: Any, variance: Any, scale: Any, k: int, terms: int) -> Any:
    """Pairs."""
    out = np.empty(u.shape[:-1], dtype=u.dtype)
    if out.size:
        sides, numbers, _ = prepared(u, v, weights, variance, scale, k)
        x, mass_x, y, mass_y = (z.reshape(-1, z.shape[-1]) for z in sides)
        some_pairs(x, mass_x, y, mass_y, *numbers, terms, out.reshape(-1))
    return out


def all_slopes(g: Any, u: Any, v: Any, weights: Any, variance: Any, scale: Any, k: int, terms: int) -> Any:
    """The derivatives of all pairs to u, v and weights."""
    gu, gv, gw = np.zeros(u.shape, u.dtype), np.zeros(v.shape, v.dtype), np.zeros(k)
    if g.size:
        sides, numbers, spread = prepared(u, v, weights, variance, scale, k)
        arrays = (plain(g), *sides, gu, gv)
        for bars, x, mass_x, y, mass_y, to_x, to_y in zip(*(flat(z, 2) for z in arrays), strict=True):
            vt = turned(y)
            gvt = np.zeros_like(vt)
            all_pulled(bars, x, mass_x, vt, turned(mass_y), *numbers, spread, terms, to_x, gvt, gw)
            to_y[...] = gvt[:, : len(y)].T
    return gu, gv, gw


def pair_slopes(g: Any, u: Any, v: Any, weights: Any, variance: Any, scale: Any, k: int, terms: int) -> Any:
    """The derivatives of pairs to u, v and weights."""
    gu, gv, gw = np.zeros(u.shape, u.dtype), np.zeros(v.shape, v.dtype), np.zeros(k)
    if g.size:
        sides, numbers, spread = prepared(u, v, weights, variance, scale, k)
        x, mass_x, y, mass_y, to_x, to_y = (z.reshape(-1, z.shape[-1]) for z in (*sides, gu, gv))
        bars = plain(g).reshape(-1)
        some_pulled(bars, x, mass_x, y, mass_y, *numbers, spread, terms, to_x, to_y, gw)
    return gu, gv, gw
