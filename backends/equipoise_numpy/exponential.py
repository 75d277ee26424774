"""exp for vector registers: what numba's wheel, which has no vector math library, cannot do.

Magic-number rounding gives the integer and fractional parts of x/log(2) without a branch, a polynomial gives
2^fraction, and the integer is added to the bits of the exponent. The functions must be compiled *without*
``reassoc``, which cancels the magic number; callers may use it for their own sums. float64: 9e-15 relative on [-30,
2]; float32: 2e-7. exp(x) - 1 is as accurate, relatively, also near 0.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from .compiled import njit

__all__ = ["CALLER", "exp", "expm1"]

EXACT = {"contract", "nsz"}
CALLER = {"contract", "reassoc", "nsz", "arcp"}  # for the loops around it: NaN and inf keep their meaning


def _bit_cast(source: Any, target: Any, width: Any) -> Any:
    """An intrinsic that reads the bits of one type as another."""

    @intrinsic
    def cast(context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], width)

        return target(source), generate

    return cast


_bits64 = _bit_cast(types.float64, types.int64, ir.IntType(64))
_float64 = _bit_cast(types.int64, types.float64, ir.DoubleType())
_bits32 = _bit_cast(types.float32, types.int32, ir.IntType(32))
_float32 = _bit_cast(types.int32, types.float32, ir.FloatType())


@njit(fastmath=EXACT, cache=True, inline="never")
def exp64(x):  # type: ignore[no-untyped-def]
    """exp(x) of a float64, for x clipped to [-708, 709]; NaN stays NaN."""
    x = min(max(x, -708.0), 709.0)
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = x - k * 6.93147180369123816490e-01
    r = r - k * 1.90821492927058770002e-10
    p = 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 1.984126984126984e-04
    p = p * r + 1.3888888888888889e-03
    p = p * r + 8.333333333333333e-03
    p = p * r + 4.1666666666666664e-02
    p = p * r + 1.6666666666666666e-01
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return _float64(_bits64(p) + (_bits64(shifted) << 52))


@njit(fastmath=EXACT, cache=True, inline="never")
def exp32(x):  # type: ignore[no-untyped-def]
    """exp(x) of a float32, for x clipped to [-87, 88]; NaN stays NaN."""
    one = numba.float32(1.0)
    x = min(max(x, numba.float32(-87.0)), numba.float32(88.0))
    magic = numba.float32(12582912.0)
    shifted = x * numba.float32(1.4426950408889634) + magic
    k = shifted - magic
    r = x - k * numba.float32(0.693359375)
    r = r - k * numba.float32(-2.12194440e-4)
    p = numba.float32(1.9875691500e-4)
    p = p * r + numba.float32(1.3981999507e-3)
    p = p * r + numba.float32(8.3334519073e-3)
    p = p * r + numba.float32(4.1665795894e-2)
    p = p * r + numba.float32(1.6666665459e-1)
    p = p * r + numba.float32(5.0000001201e-1)
    p = p * r * r + r + one
    return _float32(_bits32(p) + (_bits32(shifted) << numba.int32(23)))


def exp(x: float) -> float:
    """exp of a float64 or float32 inside a compiled loop."""
    raise TypeError("only for use in compiled code")


@overload(exp)
def _exp(x):  # type: ignore[no-untyped-def]
    return (lambda x: exp32(x)) if x == types.float32 else (lambda x: exp64(x))


@njit(fastmath=EXACT, cache=True, inline="never")
def expm1_64(x):  # type: ignore[no-untyped-def]
    """exp(x) - 1 of a float64, for x clipped to [-708, 709]: (2^k - 1) + 2^k (exp(r) - 1), where nothing cancels."""
    x = min(max(x, -708.0), 709.0)
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = x - k * 6.93147180369123816490e-01
    r = r - k * 1.90821492927058770002e-10
    p = 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 1.984126984126984e-04
    p = p * r + 1.3888888888888889e-03
    p = p * r + 8.333333333333333e-03
    p = p * r + 4.1666666666666664e-02
    p = p * r + 1.6666666666666666e-01
    p = p * r + 0.5
    scale = _float64(_bits64(1.0) + (_bits64(shifted) << 52))
    return (scale - 1.0) + scale * (p * (r * r) + r)


@njit(fastmath=EXACT, cache=True, inline="never")
def expm1_32(x):  # type: ignore[no-untyped-def]
    """exp(x) - 1 of a float32, for x clipped to [-87, 88]."""
    one = numba.float32(1.0)
    x = min(max(x, numba.float32(-87.0)), numba.float32(88.0))
    magic = numba.float32(12582912.0)
    shifted = x * numba.float32(1.4426950408889634) + magic
    k = shifted - magic
    r = x - k * numba.float32(0.693359375)
    r = r - k * numba.float32(-2.12194440e-4)
    p = numba.float32(1.9875691500e-4)
    p = p * r + numba.float32(1.3981999507e-3)
    p = p * r + numba.float32(8.3334519073e-3)
    p = p * r + numba.float32(4.1665795894e-2)
    p = p * r + numba.float32(1.6666665459e-1)
    p = p * r + numba.float32(5.0000001201e-1)
    scale = _float32(_bits32(one) + (_bits32(shifted) << numba.int32(23)))
    return (scale - one) + scale * (p * (r * r) + r)


def expm1(x: float) -> float:
    """exp(x) - 1 of a float64 or float32 inside a compiled loop."""
    raise TypeError("only for use in compiled code")


@overload(expm1)
def _expm1(x):  # type: ignore[no-untyped-def]
    return (lambda x: expm1_32(x)) if x == types.float32 else (lambda x: expm1_64(x))
