"""Resolvents: what keeps an iterate in a set, or pulls it towards sparsity.

The resolvent of G is J(v) = (I + step G)^{-1} v: for the normal cone of a set the projection onto it, which knows no
step, for a weighted 1-norm the soft threshold. All are records, so that they cross every boundary; a user's own is any
callable ``resolvent(v, step)``.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..arrays import first_index, is_floating, library, namespace, shape_text
from ..backend import of
from ..checks import number, values
from ..record import as_data, plain, record, static
from .numbers import check_positive, check_sign, settle_numbers
from .projections import project_l1, project_simplex

__all__ = [
    "Box",
    "Identity",
    "L1Ball",
    "L2Ball",
    "Nonnegative",
    "Product",
    "Resolvent",
    "Simplex",
    "SoftThreshold",
    "check_bounds",
    "check_resolvent",
]


FINE = 1e-15, 1e15  # entries of such sizes have squares that float32 can add up


@runtime_checkable
class Resolvent(Protocol):
    """A map ``resolvent(v, step) -> v`` on the last axis; `step` is a number or broadcasts against `v`."""

    def __call__(self, v: Any, step: Any) -> Any: ...


@record
class Identity:
    """No constraint: G = 0.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import Identity
    >>> Identity()(np.array([1.0, -2.0]), 0.5)
    array([ 1., -2.])
    """

    def __call__(self, v: Any, step: Any = 1.0) -> Any:
        return v


@record
class Nonnegative:
    """The projection onto vectors without negative entries.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import Nonnegative
    >>> Nonnegative()(np.array([1.0, -2.0]))
    array([1., 0.])
    """

    def __call__(self, v: Any, step: Any = 1.0) -> Any:
        return namespace(v).clip(v, min=0.0)


@record
class Box:
    """The projection onto ``lower <= v <= upper``.

    Parameters
    ----------
    lower, upper : float or array, broadcasting against v
        The bounds; ``-inf`` and ``inf`` are none.

    Raises
    ------
    ValueError
        If a lower bound exceeds the upper one, or a bound is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import Box
    >>> Box(0.0, 1.0)(np.array([1.5, -2.0, 0.5]))
    array([1. , 0. , 0.5])
    """

    lower: Any = -math.inf
    upper: Any = math.inf

    def __post_init__(self) -> None:
        settle_numbers(self, "lower", "upper")
        check_bounds(self.lower, self.upper)

    def __call__(self, v: Any, step: Any = 1.0) -> Any:
        xp = namespace(v)
        for bound, least in ((self.lower, True), (self.upper, False)):
            if library(bound):
                v = xp.maximum(v, bound) if least else xp.minimum(v, bound)
            elif math.isfinite(bound):
                v = xp.clip(v, min=bound) if least else xp.clip(v, max=bound)
        return v


@record
class Simplex:
    """The projection onto vectors without negative entries that sum to `radius`.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import Simplex
    >>> Simplex()(np.array([1.0, 0.5, -3.0]))
    array([0.75, 0.25, 0.  ])
    """

    radius: Any = 1.0

    def __post_init__(self) -> None:
        settle_numbers(self, "radius")
        check_positive("radius", self.radius)

    def __call__(self, v: Any, step: Any = 1.0) -> Any:
        return project_simplex(v, self.radius)


@record
class L1Ball:
    """The projection onto vectors whose absolute values sum to `radius` or less.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import L1Ball
    >>> L1Ball(1.0)(np.array([1.0, -0.5, 0.1]))
    array([ 0.75, -0.25,  0.  ])
    """

    radius: Any

    def __post_init__(self) -> None:
        settle_numbers(self, "radius")
        check_positive("radius", self.radius)

    def __call__(self, v: Any, step: Any = 1.0) -> Any:
        return project_l1(v, self.radius)


@record
class L2Ball:
    """The projection onto vectors of Euclidean norm `radius` or less.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import L2Ball
    >>> L2Ball(1.0)(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    """

    radius: Any

    def __post_init__(self) -> None:
        settle_numbers(self, "radius")
        check_positive("radius", self.radius)

    def __call__(self, v: Any, step: Any = 1.0) -> Any:
        xp = namespace(v)
        unit = units(v)
        direction = v / unit
        square = xp.sum(direction * direction, axis=-1, keepdims=True)
        size = xp.sqrt(xp.where(square > 0, square, xp.ones_like(square)))
        return xp.where(xp.sqrt(square) * unit > self.radius, direction * (self.radius / size), v)


def units(v: Any) -> Any:
    """1, or where squares would be lost or overflow the largest size of an entry, of each row, shape (..., 1)."""
    xp = namespace(v)
    top = of(v).stop_gradient(xp.max(xp.abs(v), axis=-1, keepdims=True))
    extreme = ((top < FINE[0]) | (top > FINE[1])) & (top > 0) & xp.isfinite(top)
    return xp.where(extreme, top, xp.ones_like(top))


@record
class SoftThreshold:
    """The resolvent of ``weight * |v|_1``: every entry moves towards zero by ``step * weight``, and stops there.

    Parameters
    ----------
    weight : float or array, broadcasting against v
        Not negative.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import SoftThreshold
    >>> SoftThreshold(1.0)(np.array([1.0, -0.75, 0.1]), 0.5) + 0.0
    array([ 0.5 , -0.25,  0.  ])
    """

    weight: Any

    def __post_init__(self) -> None:
        settle_numbers(self, "weight")
        check_sign("weight", self.weight)

    def __call__(self, v: Any, step: Any = 1.0) -> Any:
        xp = namespace(v)
        return xp.sign(v) * xp.clip(xp.abs(v) - step * self.weight, min=0.0)


@record
class Product:
    """Resolvents side by side on the last axis.

    Parameters
    ----------
    *pairs : (resolvent, size)
        Each acts on its `size` entries, one after the other; the sizes sum to the length of the vector.

    Raises
    ------
    TypeError, ValueError
        If something is no such pair, or a size is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import Nonnegative, Product, Simplex
    >>> Product((Simplex(), 2), (Nonnegative(), 1))(np.array([1.0, 0.5, -3.0]))
    array([0.75, 0.25, 0.  ])
    """

    parts: tuple[Any, ...]
    sizes: tuple[int, ...] = static()

    def __init__(self, *pairs: tuple[Any, int]) -> None:
        if not pairs:
            raise ValueError("Product needs at least one pair (resolvent, size), got none")
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2 or not callable(pair[0]):
                raise TypeError(f"Product takes pairs (resolvent, size), got {pair!r}")
            if isinstance(pair[1], bool) or not hasattr(pair[1], "__index__") or int(pair[1]) < 1:
                raise ValueError(f"the sizes of a Product must be whole numbers of at least 1, got {pair[1]!r}")
        object.__setattr__(self, "parts", tuple(as_data(pair[0]) for pair in pairs))
        object.__setattr__(self, "sizes", tuple(int(pair[1]) for pair in pairs))

    def __call__(self, v: Any, step: Any = 1.0) -> Any:
        if sum(self.sizes) != v.shape[-1]:
            raise ValueError(f"the sizes of the Product sum to {sum(self.sizes)}, but v has shape {shape_text(v)}")
        made, start = [], 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            along = getattr(step, "shape", ())
            own = step[..., start : start + size] if along and along[-1] > 1 else step
            made.append(plain(part)(v[..., start : start + size], own))
            start += size
        return namespace(v).concat(made, axis=-1)


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def check_bounds(lower: Any, upper: Any) -> None:
    """``lower <= upper`` everywhere, no NaN, and none that no number can satisfy."""
    for name, x in (("lower", lower), ("upper", upper)):
        if library(x):
            if not is_floating(x):
                raise TypeError(f"{name} must hold floating-point numbers, got dtype {x.dtype}; convert it first")
        else:
            number(name, x)
    if library(lower) or library(upper):
        xp = namespace(lower, upper)
        seen = [values(x) if library(x) else x for x in (lower, upper)]
        if any(x is None for x in seen):
            return
        low, high = seen
        xp = namespace(low, high)
        try:
            bad = xp.asarray(~(low <= high) | (low == math.inf) | (high == -math.inf))
        except (ValueError, RuntimeError, TypeError):
            shapes = " and ".join(shape_text(x) if library(x) else "()" for x in (lower, upper))
            raise ValueError(f"lower and upper do not broadcast, got shapes {shapes}") from None
        if bool(xp.any(bad)):
            index = first_index(bad)
            least, most = (float(xp.broadcast_to(x, bad.shape)[index]) if library(x) else float(x) for x in (low, high))
            raise ValueError(f"lower must not exceed upper, got {least} and {most} at index {index}")
        return
    if not lower <= upper or lower == math.inf or upper == -math.inf:
        raise ValueError(f"lower must not exceed upper, got {lower} and {upper}")


def check_resolvent(resolvent: Any, u: Any) -> Any:
    """A callable that fits vectors of the shape of u, as data."""
    if not callable(resolvent):
        raise TypeError(f"resolvent must be callable as resolvent(v, step), got {type(resolvent).__name__}")
    check_part(resolvent, tuple(u.shape), u, "u0")
    return as_data(resolvent)


def check_part(part: Any, shape: tuple[int, ...], u: Any, name: str) -> None:
    """That the arrays of a shipped resolvent fit vectors of this shape, and do not widen those of u."""
    if isinstance(part, Product):
        if sum(part.sizes) != shape[-1]:
            raise ValueError(f"the sizes of the Product sum to {sum(part.sizes)}, but {name} has {shape[-1]} entries")
        for own, size in zip(part.parts, part.sizes, strict=True):
            check_part(plain(own), (*shape[:-1], size), u, "its part")
    elif isinstance(part, (Box, L1Ball, L2Ball, Simplex, SoftThreshold)):
        for field in ("lower", "upper", "radius", "weight"):
            check_field(field, getattr(part, field, None), shape, u, name)


def check_field(field: str, x: Any, shape: tuple[int, ...], u: Any, name: str) -> None:
    """An array of the library and the dtype of u that broadcasts against a shape, or a number."""
    if not library(x):
        return
    namespace(x, u)
    if x.dtype != u.dtype:
        raise TypeError(f"{field} of the resolvent must have the dtype of u0, {u.dtype}, got {x.dtype}; convert it")
    try:
        fits = np.broadcast_shapes(tuple(x.shape), shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{field} of the resolvent has shape {shape_text(x)}, {name} {shape}")
