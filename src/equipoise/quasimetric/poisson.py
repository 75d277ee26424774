"""Two Poisson numbers: how likely one exceeds the other.

L(r1, r2) = Pr[N1 > N2] is summed over the values of N1,

    L = sum_{k >= 1} pois(k; r1) Pr[N2 <= k - 1],

whose terms are all positive, so that nothing cancels: small values keep their digits. It is F(2 r1; 2, 2 r2) of the
noncentral chi-square distribution. The derivatives are probabilities too, of the same series,

    dL/dr1 = Pr[N1 = N2],    dL/dr2 = -Pr[N1 = N2 + 1],

which are Bessel functions; written as such, one of them divides by r2.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import like, namespace
from ..iterate import repeat

__all__ = ["MOST", "exceedance", "exceedance_slopes", "terms_for"]

MOST = 400  # terms
LARGEST = {"float64": 230.0, "float32": 80.0}  # rates r whose exp(-r) is a number


def terms_for(rate: float, digits: float) -> int:
    """How many terms leave out less than ``digits`` of L, relatively, for rates up to `rate`."""
    k, term = 1, math.exp(-rate)  # of k, over the rate
    while k <= rate or max(1.0, rate) * term > digits * (1.0 - rate / (k + 1)):
        k += 1
        term *= rate / k
    return k


def next_term(state: Any, rates: Any) -> Any:
    """Add the term of N1 = k."""
    k, p1, p2, below, total = state
    r1, r2 = rates
    below = below + p2
    p1 = p1 * (r1 / k)
    return k + 1.0, p1, p2 * (r2 / k), below, total + p1 * below


def next_slopes(state: Any, rates: Any) -> Any:
    """Add the terms of N1 = k, and for equal numbers of N1 = k - 1."""
    k, p1, p2, equal, above = state
    r1, r2 = rates
    equal = equal + p1 * p2
    p1 = p1 * (r1 / k)
    above = above + p1 * p2
    return k + 1.0, p1, p2 * (r2 / k), equal, above


def start(r1: Any, r2: Any) -> tuple[Any, ...]:
    """The number of the next term, Pr[N1 = 0], Pr[N2 = 0], and two sums of nothing."""
    xp = namespace(r1, r2)
    zero = xp.zeros_like(r1)
    return xp.ones((), **like(r1)), xp.exp(-r1), xp.exp(-r2), zero, zero


def exceedance(r1: Any, r2: Any, terms: int) -> Any:
    """Pr[N1 > N2] for Poisson numbers of rates r1 and r2, of one shape."""
    xp = namespace(r1, r2)
    total = repeat(next_term, start(r1, r2), (r1, r2), terms)[4]
    return xp.where(total >= 1, xp.ones_like(total), total)


def exceedance_slopes(r1: Any, r2: Any, terms: int) -> tuple[Any, Any]:
    """Pr[N1 = N2] and Pr[N1 = N2 + 1]: the derivative of the above with respect to r1, and minus that to r2."""
    _, _, _, equal, above = repeat(next_slopes, start(r1, r2), (r1, r2), terms)
    return equal, above


def bound(scale: float, width: int) -> float:
    """The largest rate there can be."""
    return scale / (width * math.sqrt(2.0 * math.pi))
