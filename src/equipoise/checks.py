"""The checks that every family makes of its input, each answered by one sentence before any work.

Shapes, dtypes and names are checked always; values only where there are values, that is, not under a jax
transformation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .arrays import first_index, library, namespace
from .backend import of
from .result import is_number

__all__ = ["check_finite", "check_limits", "check_mask", "check_tol", "number", "values"]


def values(x: Any) -> Any:
    """`x` to look at: a numpy view where that is free, else without its gradient; None under a transformation."""
    backend = of(x)
    if not backend.readable(x):
        return None
    view = backend.borrow(x)
    seen = backend.stop_gradient(x) if view is None else view
    return None if backend.traced([seen]) else seen  # inside jax.jit an operation on known values is traced too


def check_mask(name: str, x: Any) -> None:
    """A masked array would lose its mask."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost; fill it with numbers first")


def check_finite(name: str, x: Any, advice: str = "") -> None:
    """Numbers only, neither NaN nor infinite; the sentence names the first that is not."""
    xp = namespace(x)
    with np.errstate(over="ignore", invalid="ignore"):
        total = xp.asarray(xp.sum(x))
    if math.isfinite(float(of(x).to_numpy(total))):
        return  # one pass over x; only a sum that is not finite is worth the search
    bad = ~xp.isfinite(x)
    if bool(xp.any(bad)):
        index = first_index(bad)
        raise ValueError(f"{name} must be finite, got {float(x[index])} at index {index}{advice}")


def number(name: str, x: Any) -> float | None:
    """The value of a number or 0-d array, or None where it cannot be read now."""
    if not is_number(x):
        raise TypeError(f"{name} must be a number or a 0-d array, got {type(x).__name__}")
    if not library(x):
        return float(x)
    seen = values(x)
    return None if seen is None else float(seen)


def check_tol(tol: Any, numbers: Any, double: float, single: float) -> Any:
    """`tol`, or by default `double`, and `single` in float32 and below."""
    if tol is None:
        return double if numbers.dtype == namespace(numbers).float64 else single
    return tol


def check_limits(tol: Any, max_steps: Any, check_every: Any) -> None:
    """``tol >= 0``, a whole ``max_steps >= 1``, and ``check_every`` likewise or None."""
    value = number("tol", tol)
    if value is not None and not value >= 0:
        raise ValueError(f"tol must be at least 0, got {value}")
    for name, x, free in (("max_steps", max_steps, ""), ("check_every", check_every, "None or ")):
        if x is None and free:
            continue
        if isinstance(x, bool) or not hasattr(x, "__index__"):
            raise TypeError(f"{name} must be {free}a whole number, got {type(x).__name__}")
        if x < 1:
            raise ValueError(f"{name} must be {free}at least 1, got {x}")
