"""What the functions of this family ask of their input, each answered by one sentence before any work.

Points are not scanned for NaN: these are functions of inner loops, and a NaN reaches exactly the distances that it
touches.
"""

from __future__ import annotations

from typing import Any

from ..arrays import first_index, is_floating, library, namespace, shape_text
from ..checks import check_mask, number, values

__all__ = [
    "check_alpha",
    "check_parameter",
    "check_points",
    "check_sides",
    "check_values",
    "check_weights",
    "check_whole",
    "check_width",
    "check_word",
]


def check_points(name: str, x: Any, axes: int = 1) -> None:
    """A floating-point array of at least so many axes."""
    if not library(x):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(x).__name__}")
    check_mask(name, x)
    if not is_floating(x):
        raise TypeError(f"{name} holds {x.dtype}; pass a floating-point array")
    if x.ndim < axes:
        expected = "(..., n, D)" if axes == 2 else "(..., D)"
        raise ValueError(f"{name} must have shape {expected}, got {shape_text(x)}")


def check_whole(name: str, x: Any, least: int = 1) -> int:
    """A whole number, at least `least`."""
    if isinstance(x, bool) or not hasattr(x, "__index__"):
        raise TypeError(f"{name} must be a whole number, got {type(x).__name__}")
    if x < least:
        raise ValueError(f"{name} must be at least {least}, got {int(x)}")
    return int(x)


def check_width(D: int, components: int) -> None:
    """A dimension that splits into components."""
    if D == 0 or D % components:
        raise ValueError(f"the dimension must be a multiple of components, got {D} with components={components}")


def check_sides(u: Any, v: Any, components: Any, axes: int = 1) -> int:
    """Two arrays of points of one dimension and dtype, whose dimension splits into the components."""
    check_points("u", u, axes)
    check_points("v", v, axes)
    namespace(u, v)
    k = check_whole("components", components)
    if u.shape[-1] != v.shape[-1]:
        raise ValueError(f"u {shape_text(u)} and v {shape_text(v)} must have points of one dimension")
    if u.dtype != v.dtype:
        raise TypeError(f"u holds {u.dtype} and v {v.dtype}; convert one of them")
    check_width(u.shape[-1], k)
    outer = tuple(u.shape[:-axes]), tuple(v.shape[:-axes])
    for one, other in zip(*(reversed(side) for side in outer), strict=False):
        if one != other and 1 not in (one, other):
            raise ValueError(f"the leading axes of u {shape_text(u)} and v {shape_text(v)} do not broadcast")
    return k


def check_word(name: str, word: Any, known: tuple[str, ...]) -> str:
    """One of the known words."""
    if word not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {word!r}")
    return str(word)


def check_alpha(alpha: Any) -> None:
    """A number in [0, 1]."""
    value = number("alpha", alpha)
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {value}")


def check_values(name: str, x: Any, wrong: Any, demand: str) -> None:
    """`wrong(values)` marks what may not be; the sentence names the first."""
    seen = values(x)
    if seen is None:
        return
    bad = wrong(seen)
    if bool(namespace(seen).any(bad)):
        index = first_index(bad)
        raise ValueError(f"{name} must be {demand}, got {float(seen[index])} at index {index}")


def limits(x: Any, beside: Any) -> tuple[float, float]:
    """The smallest positive and the largest number that are such in both dtypes, `beside` being an array of points."""
    known = [namespace(y).finfo(y.dtype) for y in (x, beside) if library(y)]
    return max(float(k.smallest_normal) for k in known), min(float(k.max) for k in known)


def check_weights(weights: Any, components: int, beside: Any) -> None:
    """None, or one weight a component, not negative and finite in the dtype of the points."""
    if weights is None:
        return
    check_points("weights", weights)
    namespace(weights, beside)
    if tuple(weights.shape) != (components,):
        raise ValueError(f"weights must have shape ({components},), one for each component, got {shape_text(weights)}")
    _, most = limits(weights, beside)
    demand = f"at least 0 and finite in {beside.dtype}"
    check_values("weights", weights, lambda w: ~((w >= 0) & (w <= most)), demand)


def check_parameter(name: str, x: Any, shape: tuple[int, int], beside: Any, *, positive: bool) -> None:
    """A number, or an array that broadcasts to (k, l); positive, or not negative, and finite in the points' dtype."""
    if library(x):
        namespace(x, beside)
        if not is_floating(x):
            raise TypeError(f"{name} holds {x.dtype}; pass a floating-point array")
        fits = x.ndim <= 2 and all(a in (1, b) for a, b in zip(reversed(tuple(x.shape)), reversed(shape), strict=False))
        if not fits:
            raise ValueError(f"{name} must broadcast to {shape}, components and their width, got {shape_text(x)}")
    smallest, most = limits(x, beside)
    least = smallest if positive else 0.0
    demand = f"{'positive' if positive else 'at least 0'} and finite in {beside.dtype}"
    if library(x) and x.ndim:
        check_values(name, x, lambda s: ~((s >= least) & (s <= most)), demand)
        return
    value = number(name, x)
    if value is not None and not least <= value <= most:
        raise ValueError(f"{name} must be {demand}, got {value}")
