"""What the updates of all kinds share: reading pairs in turn, the bound that sets the size of a step, and skipping.

An update is a descent on a group, Q <- Q - (step / L) E Q, whose L bounds the second-order term: the largest that was
seen, forgotten slowly. Pairs of which one side is zero say nothing and are skipped, and so are those that would make
something of the state infinite, since under a compiled loop nobody can be asked.
"""

from __future__ import annotations

from typing import Any

from ..arrays import library, like, namespace
from ..backend import of
from ..iterate import repeat
from ..record import map_arrays, record

__all__ = [
    "Pairs",
    "chosen",
    "dot",
    "finite",
    "floored",
    "known",
    "matmul",
    "narrow",
    "over_pairs",
    "pair_of",
    "safe_share",
    "smoothed",
    "square",
    "useful",
    "wide",
    "wide_dtype",
]


@record
class Pairs:
    """Pairs (v, h) stacked on axis 0, v None where it is integrated out; a step for each, and the smoothing."""

    V: Any
    H: Any
    steps: Any
    smoothing: Any


def over_pairs(step: Any, core: Any, pairs: Pairs) -> Any:
    """``core = step((k, core), pairs)[1]`` for every pair in turn."""
    xp = namespace(pairs.H)
    whole = xp.int64 if "int64" in xp.__array_namespace_info__().dtypes(kind="signed integer") else xp.int32
    k = xp.zeros((1,), **{**like(pairs.H), "dtype": whole})
    return repeat(step, (k, core), pairs, pairs.H.shape[0])[1]


def pair_of(pairs: Pairs, k: Any) -> tuple[Any, Any, Any]:
    """v, h and the step of pair k, an array of shape (1,)."""

    def row(x: Any) -> Any:
        xp = namespace(x)
        chosen_ = x if x.shape[0] == 1 else xp.take(x, k, axis=0)
        return xp.reshape(chosen_, tuple(x.shape[1:]))

    return None if pairs.V is None else row(pairs.V), row(pairs.H), row(pairs.steps)


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


def matmul(x: Any, y: Any) -> Any:
    """The product in the full precision of its dtype."""
    return of(x).matmul(x, y)


def dot(x: Any, y: Any) -> Any:
    """The inner product of two arrays of one shape."""
    return namespace(x, y).sum(x * y)


def square(x: Any) -> Any:
    """|x|^2 in float64, where there is such: in float32 that of gradients of 1e20 would overflow."""
    x = wide(x, x)
    return namespace(x).asarray(dot(x, x))


def wide_dtype(xp: Any) -> Any:
    """float64 where the library has it, else float32."""
    return xp.__array_namespace_info__().dtypes(kind="real floating").get("float64", xp.float32)


def wide(x: Any, beside: Any) -> Any:
    """`x`, an array or what numpy reduces one to, in float64 where the library of `beside` has it."""
    return cast(x, wide_dtype(namespace(beside)), beside)


def narrow(x: Any, beside: Any) -> Any:
    """A number of :func:`wide` in the dtype of `beside`."""
    return cast(x, beside.dtype, beside)


def cast(x: Any, dtype: Any, beside: Any) -> Any:
    """An array, or what numpy reduces one to, in a dtype: no call where it has it already."""
    xp = namespace(beside)
    x = x if library(x) else xp.asarray(x)
    return x if x.dtype == dtype else xp.astype(x, dtype)


def known(x: Any) -> Any:
    """A view of an array whose values can be read at no cost, or None: on a device, or under a transformation."""
    backend = of(x)
    return x if backend.name == "numpy" else backend.borrow(x)


def floored(x: Any) -> Any:
    """x, and 1 where x is not positive: what can be divided by."""
    xp = namespace(x)
    return xp.where(x > 0, x, xp.ones_like(x))


def finite(x: Any) -> Any:
    """Whether every entry is."""
    xp = namespace(x)
    return xp.all(xp.isfinite(x))


def smoothed(L: Any, ell: Any, smoothing: Any) -> Any:
    """The bound after one more pair: L <- max(smoothing L + (1 - smoothing) ell, ell)."""
    xp = namespace(L)
    return xp.asarray(xp.maximum(smoothing * L + (1.0 - smoothing) * ell, ell))


def safe_share(step: Any, L: Any) -> Any:
    """step / L, and 0 where nothing was seen yet."""
    xp = namespace(L)
    return xp.where(L > 0, step / xp.where(L > 0, L, xp.ones_like(L)), xp.zeros_like(L))


def useful(v: Any, h: Any) -> Any:
    """Whether neither side of the pair is zero."""
    xp = namespace(h)
    seen = xp.any(h != 0)
    return seen if v is None else seen & xp.any(v != 0)


def chosen(ok: Any, new: Any, old: Any) -> Any:
    """The tree `new` where the pair counts, else `old`."""
    return map_arrays(lambda o, n: namespace(o).where(ok, n, o), old, new)
