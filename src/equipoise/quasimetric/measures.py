"""Poisson quasimetrics of pairs: the portable bodies behind :func:`pqe`, and their derivatives.

A component of two points is the probability that a Poisson process leaves points in one random set and none outside of
it in the other. For half-lines under Lebesgue's measure that is 1 - exp(-mean_j max(u_j - v_j, 0)). For Gaussian shapes
under a Gaussian measure every latent has two rates, the masses of what one shape has beyond the other, and

    p = 1 - prod_j (1 - L(r1_j, r2_j)),    L = Pr[Poisson(r1) > Poisson(r2)].

The rates are differences: the mass T(u) of a shape less the mass I that both share. With the points' own part of I,
c = T Phi(z), they are r1 = T(u) Phi(-z_u) - c_v, exactly 0 where the points agree. In the derivative the terms from
their midpoint cancel, where the two densities are equal.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import library, namespace
from ..kernel import kernel
from ..record import record
from .normal import normal_cdf
from .pairs import summed_to
from .panels import all_pairs, all_slopes, array, merge, split
from .poisson import LARGEST, exceedance, exceedance_slopes

__all__ = ["MEASURES", "pqe_all", "pqe_all_slopes", "pqe_pairs", "pqe_pairs_slopes"]

MEASURES = ("lebesgue", "gaussian")
FARTHEST = 1e15


# ---------------------------------------------------------------------------------------------------------------------
# Rates under a Gaussian measure


@record
class Side:
    """What a point brings: the mass T of its shape, on which side it stands, z, Phi(-z), and its part of the mass."""

    m: Any
    mass: Any
    sign: Any
    z: Any
    out: Any
    common: Any


def side(m: Any, mid: Any, sign: Any, variance: Any) -> Side:
    """What the shape around m has, and what of it lies on the far side of the middle of both."""
    xp = namespace(m)
    spread = 1.0 + variance
    mass = xp.exp(-0.5 * m * (m / spread)) / (math.sqrt(2.0 * math.pi) * root(xp, spread))
    w = variance / spread
    z = sign * ((mid - m * w) / root(xp, w))
    return Side(m, mass, sign, z, normal_cdf(-z), mass * normal_cdf(z))


def root(xp: Any, x: Any) -> Any:
    """The square root of a number or an array."""
    return xp.sqrt(x) if library(x) else math.sqrt(x)


def within(m: Any) -> Any:
    """Points so far out that their squares would overflow, nearer; no mass is left there either."""
    return bounded(m, min(FARTHEST, 1e-2 * math.sqrt(float(namespace(m).finfo(m.dtype).max))))


def bounded(x: Any, most: float) -> Any:
    """`x` in [-most, most]; a NaN stays one."""
    xp = namespace(x)
    far = xp.full_like(x, most)
    return xp.where(x > most, far, xp.where(x < -most, -far, x))


def sides(u: Any, v: Any, variance: Any) -> tuple[Side, Side]:
    """Both points, (..., k, l)."""
    xp = namespace(u, v)
    u, v = within(u), within(v)
    mid = 0.5 * u + 0.5 * v
    sign = xp.where(u >= v, xp.ones_like(mid), -xp.ones_like(mid))
    return side(u + 0.0 * mid, mid, sign, variance), side(v + 0.0 * mid, mid, -sign, variance)


def excess(one: Side, other: Side, width: int) -> Any:
    """(T(u) - I)/l, the rate but for its scale; rounding may make it negative."""
    return (one.mass * one.out - other.common) / float(width)


def rate(scale: Any, base: Any) -> Any:
    """The rate of an excess; NaN beyond what the series has terms for, and where a scale, not known before, is < 0."""
    xp = namespace(base)
    found = clamped(scale * base)
    most = LARGEST["float64" if base.dtype == xp.float64 else "float32"]
    return xp.where((found <= most) & (scale >= 0), found, xp.full_like(found, math.nan))


def clamped(x: Any) -> Any:
    """max(x, 0), in which a NaN stays one: maxima of compiled programs may drop it."""
    xp = namespace(x)
    return xp.where(x <= 0, xp.zeros_like(x), x)


def rate_slopes(side: Side, variance: Any, width: int) -> tuple[Any, Any]:
    """How a point moves its own excess, and how the other's."""
    xp = namespace(side.m)
    spread = 1.0 + variance
    steep = -side.m * (side.mass / spread)
    edge = side.mass * density(side.z) * side.sign * root(xp, variance / spread)
    return (steep * side.out + edge) / float(width), (edge - steep * (1.0 - side.out)) / float(width)


def density(z: Any) -> Any:
    """0 beyond 40 already."""
    xp = namespace(z)
    z = bounded(z, 40.0)
    return xp.exp(-0.5 * z * z) * (1.0 / math.sqrt(2.0 * math.pi))


def variance_slopes(side: Side, variance: Any, width: int) -> tuple[Any, Any]:
    """The derivatives of T Phi(-z) and of T Phi(z) with respect to the variance, over l.

    That of z is -(z + 2 sign m root(w)) / (2 w (1 + variance)^2). The small divisor comes last, under the density.
    """
    xp = namespace(side.m)
    spread = 1.0 + variance
    w = variance / spread
    there = side.mass > 0
    mass = xp.where(there, 0.5 * side.mass * ((side.m * side.m) / spread - 1.0) / spread, xp.zeros_like(side.mass))
    turn = bounded(side.z, 40.0) + 2.0 * side.sign * side.m * root(xp, w)
    edge = -side.mass * density(side.z) * turn / (2.0 * w) / spread / spread
    edge = xp.where(there, edge, xp.zeros_like(edge))
    return (mass * side.out - edge) / float(width), (mass * (1.0 - side.out) + edge) / float(width)


# ---------------------------------------------------------------------------------------------------------------------
# One pair, broadcast


def probabilities(u: Any, v: Any, variance: Any, scale: Any, k: int, measure: str, terms: int) -> Any:
    """p_i, shape (..., k)."""
    xp = namespace(u, v)
    u, v = split(u, k), split(v, k)
    width = u.shape[-1]
    if measure == "lebesgue":
        return -xp.expm1(-xp.sum(clamped(u - v), axis=-1) / float(width))
    one, other = sides(u, v, variance)
    r1, r2 = (rate(scale, excess(*pair, width)) for pair in ((one, other), (other, one)))
    return others(exceedance(r1, r2, terms))[0]


def weighed(parts: Any, weights: Any) -> Any:
    """sum_i w_i p_i, in the dtype of p."""
    xp = namespace(parts)
    return array(xp.sum(parts if weights is None else parts * xp.astype(weights, parts.dtype), axis=-1), parts)


def pair_distances(
    u: Any, v: Any, weights: Any, variance: Any, scale: Any, *, components: int, measure: str, terms: int
) -> Any:
    """The distances of pairs."""
    dtype, (u, v) = u.dtype, wide(measure, u, v)
    variance, scale = latent(variance, u), latent(scale, u)
    found = weighed(probabilities(u, v, variance, scale, components, measure, terms), weights)
    return namespace(found).astype(found, dtype, copy=False)


def wide(measure: str, *arrays: Any) -> tuple[Any, ...]:
    """Half precision as float32 for a Gaussian measure: its rates need the range, and its series the digits."""
    xp = namespace(*arrays)
    if measure == "lebesgue" or xp.finfo(arrays[0].dtype).bits >= 32:
        return arrays
    return tuple(xp.astype(x, xp.float32) for x in arrays)


def latent(x: Any, beside: Any) -> Any:
    """A parameter in the dtype of the points."""
    return namespace(beside).astype(x, beside.dtype) if library(x) else x


def pair_slopes(
    g: Any, u: Any, v: Any, weights: Any, variance: Any, scale: Any, *, components: int, measure: str, terms: int
) -> tuple[Any, Any, Any]:
    """The derivatives of each pair: to u and to v, (..., D), and beside each other to weights, variance and scale.

    Those of variance and scale have D entries each, and are there for arrays only.
    """
    xp, dtype = namespace(u, v), u.dtype
    g, u, v = wide(measure, g, u, v)
    variance, scale = latent(variance, u), latent(scale, u)
    k = components
    u, v = split(u, k), split(v, k)
    each = xp.broadcast_to(g[..., None], (*g.shape, k))
    weighted = each if weights is None else each * xp.astype(weights, g.dtype)
    if measure == "lebesgue":
        apart = u - v
        mean = xp.sum(clamped(apart), axis=-1) / float(u.shape[-1])
        slope = (weighted * xp.exp(-mean) / float(u.shape[-1]))[..., None]
        gu = xp.where(apart > 0, slope, xp.zeros_like(apart))
        return merge(gu), merge(-gu), each * -xp.expm1(-mean)
    p, gu, gv, more = gaussian_slopes(weighted[..., None], u, v, variance, scale, terms)
    made = (merge(gu), merge(gv), xp.concat([each * p, *map(merge, more)], axis=-1))
    to_u, to_v, beside = (xp.astype(x, dtype, copy=False) for x in made)
    return to_u, to_v, beside


def others(exceeds: Any) -> tuple[Any, Any]:
    """p = 1 - prod_j (1 - L_j), and the product without each of its factors; any of them may be 0."""
    xp = namespace(exceeds)
    sure = exceeds >= 1
    zero = xp.zeros_like(exceeds)
    logs = xp.log1p(-xp.where(sure, zero, exceeds))
    total = xp.sum(logs, axis=-1, keepdims=True)
    count = xp.sum(xp.astype(sure, xp.int32), axis=-1, keepdims=True)
    rest = xp.exp(total - logs)
    rest = xp.where(count - xp.astype(sure, count.dtype) == 0, rest, zero)
    p = xp.where((count == 0) | xp.isnan(total), -xp.expm1(total), xp.ones_like(total))
    return p[..., 0], rest


def gaussian_slopes(g: Any, u: Any, v: Any, variance: Any, scale: Any, terms: int) -> tuple[Any, Any, Any, list[Any]]:
    """p, and the derivatives to u and v, both (..., k, l), for the cotangent of p, (..., k, 1).

    Last a list of the same to variance and scale, of those that are arrays.
    """
    xp = namespace(u, v)
    width = u.shape[-1]
    one, other = sides(u, v, variance)
    base1, base2 = excess(one, other, width), excess(other, one, width)
    r1, r2 = rate(scale, base1), rate(scale, base2)
    p, rest = others(exceedance(r1, r2, terms))
    equal, above = exceedance_slopes(r1, r2, terms)
    zero = xp.zeros_like(base1)
    g1 = xp.where(base1 > 0, g * rest * equal, zero)  # to the rates
    g2 = xp.where(base2 > 0, -g * rest * above, zero)
    (own_u, across_u), (own_v, across_v) = rate_slopes(one, variance, width), rate_slopes(other, variance, width)
    gu = scale * (g1 * own_u + g2 * across_u)
    gv = scale * (g2 * own_v + g1 * across_v)
    more = []
    if library(variance):
        (out_u, in_u), (out_v, in_v) = (variance_slopes(x, variance, width) for x in (one, other))
        more.append(scale * (g1 * (out_u - in_v) + g2 * (out_v - in_u)))
    if library(scale):
        more.append(g1 * base1 + g2 * base2)
    return p, gu, gv, more


# ---------------------------------------------------------------------------------------------------------------------
# Kernels


def pull_pairs(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The rule of `pqe_pairs`."""
    return (None,) * 5 if cotangent is None else tuple(pqe_pairs_slopes(cotangent, *args, **settings))


def pull_all(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The rule of `pqe_all`."""
    return (None,) * 5 if cotangent is None else tuple(pqe_all_slopes(cotangent, *args, **settings))


def of_parameters(more: Any, k: int, weights: Any, variance: Any, scale: Any) -> tuple[Any, ...]:
    """The derivatives with respect to the parameters that are arrays, of their shapes and dtypes; None for others."""
    xp = namespace(more)
    found = [None if weights is None else xp.astype(more[:k], weights.dtype)]
    arrays = [x for x in (variance, scale) if library(x)]
    D = (more.shape[0] - k) // max(1, len(arrays))
    rest = iter(xp.reshape(more[k:], (len(arrays), k, D // k)) if arrays else ())
    for x in (variance, scale):
        summed = summed_to(next(rest), tuple(x.shape)) if library(x) else None
        found.append(None if summed is None else xp.astype(summed, x.dtype))
    return tuple(found)


@kernel("quasimetric.pqe", vjp=pull_pairs)
def pqe_pairs(u: Any, v: Any, weights: Any, variance: Any, scale: Any, **settings: Any) -> Any:
    """The distances of pairs (..., D) and (..., D) of one shape, (...).

    The settings are `components`, `measure`, and `terms`, those of the series of a Gaussian measure. Weights are None
    or (k,); variance and scale are None, numbers, or broadcast to (k, l).
    """
    return pair_distances(u, v, weights, variance, scale, **settings)


@kernel("quasimetric.pqe_grad")
def pqe_pairs_slopes(g: Any, u: Any, v: Any, weights: Any, variance: Any, scale: Any, **settings: Any) -> Any:
    """The derivatives of ``sum(g * pqe_pairs(...))`` with respect to all five arguments, None for those not arrays."""
    xp = namespace(u)
    gu, gv, more = pair_slopes(g, u, v, weights, variance, scale, **settings)
    summed = xp.sum(more, axis=tuple(range(more.ndim - 1)))
    return gu, gv, *of_parameters(summed, settings["components"], weights, variance, scale)


@kernel("quasimetric.pqe_pairwise", vjp=pull_all)
def pqe_all(u: Any, v: Any, weights: Any, variance: Any, scale: Any, **settings: Any) -> Any:
    """The distances of all pairs of (..., n, D) and (..., m, D), (..., n, m)."""
    return all_pairs(lambda x, y: pair_distances(x, y, weights, variance, scale, **settings), u, v)


@kernel("quasimetric.pqe_pairwise_grad")
def pqe_all_slopes(g: Any, u: Any, v: Any, weights: Any, variance: Any, scale: Any, **settings: Any) -> Any:
    """The derivatives of ``sum(g * pqe_all(...))`` with respect to all five arguments, None for those not arrays."""

    def slopes(h: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
        return pair_slopes(h, x, y, weights, variance, scale, **settings)

    gu, gv, more = all_slopes(slopes, g, u, v)
    return gu, gv, *of_parameters(more, settings["components"], weights, variance, scale)
