"""What records of this family ask of the numbers that they hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import first_index, library, namespace
from ..checks import number, values

__all__ = ["check_positive", "check_sign", "settle_numbers"]


def settle_numbers(owner: Any, *names: str) -> None:
    """numpy scalars as plain numbers: numpy's float64 would widen arrays of float32, and a float does not."""
    for name in names:
        x = getattr(owner, name)
        if isinstance(x, np.generic):
            object.__setattr__(owner, name, x.item())


def check_positive(name: str, x: Any) -> None:
    """A positive finite number."""
    value = number(name, x)
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number, got {value}")


def check_sign(name: str, x: Any) -> None:
    """Finite numbers that are not negative."""
    if not library(x):
        value = number(name, x)
        if value is not None and not 0 <= value < math.inf:
            raise ValueError(f"{name} must not be negative, got {value}")
        return
    seen = values(x)
    if seen is None:
        return
    xp = namespace(seen)
    bad = xp.asarray(~((seen >= 0) & xp.isfinite(seen)))
    if bool(xp.any(bad)):
        index = first_index(bad)
        raise ValueError(f"{name} must not be negative, got {float(seen[index])} at index {index}")
