"""The normal distribution function, which the Array API standard lacks.

Libraries have it under many names, and the backends' tables say which. The portable body is W. J. Cody's kind of
approximation with the published coefficients of the Cephes library (ndtr.c): a rational function for the error function
up to 1, and two for its complement beyond, so that the lower tail keeps its digits.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import namespace
from ..kernel import kernel

__all__ = ["normal_cdf"]

# fmt: off
NEAR = (  # erf(x) = x N(x^2) / D(x^2), x <= 1
    (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
     5.55923013010394962768e4,),
    (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
     4.92673942608635921086e4,),
)
MIDDLE = (  # erfc(x) = exp(-x^2) N(x) / D(x), 1 <= x <= 8
    (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
     1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
     5.57535335369399327526e2,),
    (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
     1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3, 5.57535340817727675546e2),
)
FAR = (  # the same beyond 8
    (5.64189583547755073984e-1, 1.27536670759978104416e0, 5.01905042251180477414e0, 6.16021097993053585195e0,
     7.40974269950448939160e0, 2.97886665372100240670e0),
    (1.0, 2.26052863220117276590e0, 9.39603524938001434673e0, 1.20489539808096656605e1, 1.70814450747565897222e1,
     9.60896809063285878198e0, 3.36907645100081516050e0),
)
# fmt: on


def ratio(x: Any, table: tuple[tuple[float, ...], tuple[float, ...]]) -> Any:
    """A quotient of two polynomials, whose coefficients begin with that of the highest power."""
    over, under = (horner(x, coefficients) for coefficients in table)
    return over / under


def horner(x: Any, coefficients: tuple[float, ...]) -> Any:
    """A polynomial."""
    value = 0.0 * x + coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value


def pull(cotangent: Any, out: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The density."""
    if cotangent is None:
        return (None,)
    (x,) = args
    return (cotangent * namespace(x).exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi)),)


@kernel("array.normal_cdf", vjp=pull)
def normal_cdf(x: Any) -> Any:
    """The probability that a standard normal number is at most `x`; relative accuracy in the lower tail.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric.normal import normal_cdf
    >>> normal_cdf(np.array([-10.0, -1.0, 0.0, 1.0]))
    array([7.61985302e-24, 1.58655254e-01, 5.00000000e-01, 8.41344746e-01])
    """
    xp = namespace(x)
    size = xp.abs(x) * math.sqrt(0.5)
    one = xp.ones_like(size)
    size = xp.where(size > 40, 40.0 * one, size)  # beyond, exp(-x^2) is 0
    near = xp.where(size < 1, size, one)  # where a branch is not taken, its numbers stay small all the same
    middle = xp.where(size < 1, one, xp.where(size < 8, size, 8.0 * one))
    far = xp.where(size < 8, 8.0 * one, size)
    tail = xp.exp(-size * size) * xp.where(size < 8, ratio(middle, MIDDLE), ratio(far, FAR))
    beyond = 0.5 * xp.where(size < 1, 1.0 - near * ratio(near * near, NEAR), tail)  # P(X > |x|)
    found = xp.where(x < 0, beyond, 1.0 - beyond)
    return xp.where(xp.isnan(x), x, found)
