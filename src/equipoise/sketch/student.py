"""Student's t quantile in plain Python floats: error bars of sketched solutions need it, scipy is no core dependency.

Two integrals cover the half line, and neither subtracts nearly equal numbers, so the quantile keeps its relative
accuracy where ``1 - cdf`` would have lost it:

* near the centre, the mass between 0 and t as a hypergeometric series with positive terms, solved for ``1/2 - alpha``,
  which a float holds exactly;
* in the tail, ``P(T > t) = f(t) int_0^inf f(t + s)/f(t) ds`` by double exponential quadrature, in logarithms. The
  number of nodes depends neither on t nor on the degrees of freedom; the usual continued fraction slows down where t is
  about 1 and dof is large.

Both Newton iterations are monotone from their starting point (each says why), so they need no bracket.
"""

from __future__ import annotations

import math
from operator import index

__all__ = ["upper_quantile"]

CENTRAL = 0.25  # from this alpha on, t is at most 1 and the series converges geometrically
LARGE_DOF = 40  # from here on the difference of two log-gammas is taken from its expansion
NODE_STEP = 1.0 / 16.0
NODE_COUNT = 64  # on either side of zero


def upper_quantile(alpha: float, dof: int) -> float:
    """Value that Student's t with `dof` degrees of freedom exceeds with probability `alpha`.

    Parameters
    ----------
    alpha : float
        Upper tail probability, in (0, 0.5].
    dof : int
        Degrees of freedom, at least 1.

    Returns
    -------
    float
        t >= 0 with P(T > t) = alpha. The relative error is below 1e-12 for alpha from 1e-300 and dof up to 1e9.

    Raises
    ------
    ValueError
        If `alpha` lies outside (0, 0.5], or if `dof` is below 1.
    TypeError
        If `dof` is not a whole number.

    Examples
    --------
    >>> round(upper_quantile(0.025, 10), 6)
    2.228139
    >>> round(upper_quantile(0.025, 10**9), 6)
    1.959964
    """
    alpha = float(alpha)
    if not 0.0 < alpha <= 0.5:
        raise ValueError(f"alpha must be in (0, 0.5], got {alpha!r}")
    dof = index(dof)
    if dof < 1:
        raise ValueError(f"dof must be at least 1, got {dof}")
    if dof == 1:
        return math.tan(math.pi * (0.5 - alpha)) if alpha > CENTRAL else 1.0 / math.tan(math.pi * alpha)
    if dof == 2:
        return (1.0 - 2.0 * alpha) / math.sqrt(2.0 * alpha * (1.0 - alpha))
    return central_quantile(0.5 - alpha, float(dof)) if alpha > CENTRAL else tail_quantile(alpha, float(dof))


def log_peak(dof: float) -> float:
    """log of the density at zero, Gamma((dof + 1)/2) / (Gamma(dof/2) sqrt(pi dof))."""
    half = 0.5 * dof
    if dof < LARGE_DOF:
        return math.lgamma(half + 0.5) - math.lgamma(half) - 0.5 * math.log(math.pi * dof)
    # log Gamma(x + 1/2) - log Gamma(x) - log(x)/2 by its expansion: at dof = 1e9 the two would cancel to nothing
    y = 1.0 / (half * half)
    series = -1.0 / 8.0 + y * (1.0 / 192.0 + y * (-1.0 / 640.0 + y * (17.0 / 14336.0 - y * 31.0 / 18432.0)))
    return series / half - 0.5 * math.log(2.0 * math.pi)


def log_density(t: float, dof: float) -> float:
    """log of the density at t."""
    return log_peak(dof) - 0.5 * (dof + 1.0) * math.log1p(t * t / dof)


def central_quantile(mass: float, dof: float) -> float:
    """Solve P(0 < T < t) = mass by Newton's method; P is concave in t: it rises from mass/f(0), which is too small."""
    t = mass * math.exp(-log_peak(dof))
    while True:
        density = math.exp(log_density(t, dof))
        further = t + (mass - central_mass(t, density, dof)) / density
        if not further > t * (1.0 + 1e-15):
            return further
        t = further


def central_mass(t: float, density: float, dof: float) -> float:
    """P(0 < T < t) = t f(t) F(1, (dof + 1)/2; 3/2; y) with y = t^2/(dof + t^2)."""
    y = t * t / (dof + t * t)
    term, total, k = 1.0, 1.0, 0
    while term > 1e-17 * total:
        term *= y * (0.5 * (dof + 1.0) + k) / (1.5 + k)
        total += term
        k += 1
    return t * density * total


def tail_quantile(alpha: float, dof: float) -> float:
    """Solve P(T > t) = alpha for alpha <= 1/4 by Newton's method for log P in z = log t.

    t f(t) / P(T > t) grows with t: log P is concave in z, and from a point that is too large the iteration falls
    monotonically. The start follows from P(T > t) <= E[T; T > t]/t, whose right-hand side has a closed form, with t in
    the denominator replaced by 2/3, which the upper quartile exceeds for every dof.
    """
    bound = math.exp(log_peak(dof)) * dof / (dof - 1.0) / (2.0 / 3.0)
    t = math.sqrt(dof * math.expm1(2.0 / (dof - 1.0) * math.log(bound / alpha)))
    target = math.log(alpha)
    while True:
        ratio = mills_ratio(t, dof)
        change = (log_density(t, dof) + math.log(ratio) - target) * (ratio / t)
        t *= math.exp(change)
        if not change < -1e-15:
            return t


def mills_ratio(t: float, dof: float) -> float:
    """P(T > t) / f(t) = scale * int_0^inf (1 + 2 v/(dof + 1) + curvature v^2)^(-(dof + 1)/2) dv, for t away from zero.

    `scale` is -1 over the slope of log f, so that the integrand starts as exp(-v) whatever t and dof are.
    """
    scale = (dof / t + t) / (dof + 1.0)
    curvature = (dof / (t * t) + 1.0) / (dof + 1.0) ** 2
    slope, power = 2.0 / (dof + 1.0), 0.5 * (dof + 1.0)
    return scale * sum(w * math.exp(-power * math.log1p(v * (slope + curvature * v))) for v, w in NODES)


def double_exponential_nodes() -> list[tuple[float, float]]:
    """Trapezoidal rule in u after v = exp(pi/2 sinh u): nodes and weights on (0, inf)."""
    quarter = 0.5 * math.pi
    points = [NODE_STEP * k for k in range(-NODE_COUNT, NODE_COUNT + 1)]
    nodes = [(math.exp(quarter * math.sinh(u)), quarter * math.cosh(u)) for u in points]
    return [(v, NODE_STEP * slope * v) for v, slope in nodes]


NODES = double_exponential_nodes()
