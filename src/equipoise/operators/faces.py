"""The numbers of a stencil: cells and the faces between them, and what holds of the arrays that stand there."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from ..arrays import is_floating, library, like, namespace, shape_text

__all__ = [
    "added",
    "after",
    "as_array",
    "before",
    "check_alike",
    "check_field",
    "check_grid",
    "check_spacing",
    "follows",
    "grid_of",
    "lower",
    "scaled",
    "shape_of",
    "shortened",
    "upper",
]


def lower(x: Any, axis: int) -> Any:
    """`x` without its last layer along `axis` (counted from the end): what lies below each face."""
    return x[(..., slice(None, -1), *(slice(None),) * (-1 - axis))]


def upper(x: Any, axis: int) -> Any:
    """`x` without its first layer along `axis`."""
    return x[(..., slice(1, None), *(slice(None),) * (-1 - axis))]


def layer(x: Any, axis: int) -> Any:
    """A layer of zeros that fits `x` along `axis`."""
    return namespace(x).zeros_like(x[(..., slice(None, 1), *(slice(None),) * (-1 - axis))])


def before(x: Any, axis: int, xp: Any) -> Any:
    """What belongs to faces, at the cells before them."""
    return xp.concat([x, layer(x, axis)], axis=axis)


def after(x: Any, axis: int, xp: Any) -> Any:
    """What belongs to faces, at the cells after them."""
    return xp.concat([layer(x, axis), x], axis=axis)


def follows(v: Any) -> bool:
    """Whether a number takes the dtype of what it meets: Python's floats do, and what jax makes of them."""
    return not library(v) or (v.ndim == 0 and getattr(v, "weak_type", False))


def as_array(v: Any, x: Any) -> Any:
    """A number as an array like `x`."""
    if not library(v):
        return namespace(x).asarray(v, **like(x))
    return namespace(v).astype(v, x.dtype) if follows(v) and v.dtype != x.dtype else v


def as_own(v: Any, *arrays: Any) -> Any:
    """What was computed of `arrays`, as an array: numpy makes scalars of arrays of one number."""
    xp = namespace(*arrays)
    return v if library(v) else xp.asarray(v)


def scaled(v: Any, factor: float) -> Any:
    """The product, of numpy's single numbers too an array."""
    return as_own(v * factor, v) if library(v) else v * factor


def added(u: Any, v: Any) -> Any:
    """The sum, likewise."""
    arrays = [x for x in (u, v) if library(x)]
    return as_own(u + v, *arrays) if arrays else u + v


def shortened(grid: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The shape of the faces along `axis`."""
    return (*grid[:axis], grid[axis] - 1, *grid[axis + 1 :])


def shape_of(*entries: Any) -> str:
    """A shape as errors print it."""
    return f"({', '.join(map(str, entries))}{',' if len(entries) == 1 else ''})"


def check_grid(name: str, grid: Any) -> tuple[int, ...]:
    """One, two or three whole numbers."""
    fine = isinstance(grid, (tuple, list)) and all(hasattr(k, "__index__") and k >= 1 for k in grid)
    if not fine or not 1 <= len(grid) <= 3:
        raise ValueError(f"{name} must be a tuple of one, two or three whole numbers, each at least 1, got {grid!r}")
    return tuple(int(k) for k in grid)


def check_spacing(spacing: Any, axes: int) -> list[float]:
    """Distances, one an axis."""
    steps = list(spacing) if isinstance(spacing, (tuple, list, np.ndarray)) else [spacing] * axes
    if len(steps) != axes or not all(isinstance(h, Real) and 0 < float(h) < math.inf for h in steps):
        raise ValueError(f"spacing must be positive, one number or one for each of {axes} axes, got {spacing!r}")
    return [float(h) for h in steps]


def check_field(name: str, x: Any, shape: tuple[int, ...]) -> Any:
    """A float, or an array of one number or with the last axes of `shape`."""
    if isinstance(x, Real) and not isinstance(x, bool):
        return float(x)
    if not library(x):
        raise TypeError(f"{name} must be a number or an array (numpy, torch, jax, cupy), got {type(x).__name__}")
    if not is_floating(x):
        raise TypeError(f"{name} must hold floating-point numbers, got dtype {x.dtype}; convert it first")
    if x.ndim == 0:
        return x
    d = len(shape)
    if x.ndim < d or any(got not in (1, n) for got, n in zip(x.shape[x.ndim - d :], shape, strict=True)):
        raise ValueError(f"{name} must be one number or have shape {shape_of('...', *shape)}, got {shape_text(x)}")
    return x


def check_alike(**fields: Any) -> None:
    """The arrays among the fields have to be of one library and of one dtype."""
    arrays = [x for x in fields.values() if library(x)]
    if arrays:
        namespace(*arrays)
    kinds = sorted({str(x.dtype) for x in arrays if not follows(x)})
    if len(kinds) > 1:
        raise TypeError(f"{' and '.join(fields)} must have one dtype, got {' and '.join(kinds)}; convert one of them")


def grid_of(weights: tuple[Any, ...]) -> tuple[int, ...]:
    """The grid on whose faces the weights stand."""
    d = len(weights)
    if not 1 <= d <= 3:
        raise ValueError(f"weights must be a sequence of one, two or three arrays, one an axis, got {d}")
    for k, w in enumerate(weights):
        if not library(w):
            raise TypeError(f"weights[{k}] must be an array (numpy, torch, jax, cupy), got {type(w).__name__}")
        if w.ndim < d:
            raise ValueError(
                f"weights[{k}] must have at least {d} axes, one for each of the weights, got {shape_text(w)}"
            )
    shapes = [tuple(w.shape[w.ndim - d :]) for w in weights]
    grid = tuple(shapes[0][j] + (1 if j == 0 else 0) for j in range(d))
    for k, shape in enumerate(shapes):
        if shape != shortened(grid, k):
            raise ValueError(
                f"weights[{k}] must have shape {shape_of('...', *shortened(grid, k))} to fit weights[0], "
                f"got {shape_text(weights[k])}"
            )
    return check_grid("the grid of the weights", grid)
