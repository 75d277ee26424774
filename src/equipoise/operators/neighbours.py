"""What a grid alone decides of a stencil: which cell meets which, in a product and in the rows of a matrix."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..arrays import library, like, namespace
from ..backend import of
from ..kernel import kernel
from .faces import after, before, lower, shortened, upper
from .protocol import beside, sum_to

__all__ = ["pattern_beside", "stencil_product"]


def pull_product(cotangent: Any, out: Any, args: tuple[Any, ...], *, grid: tuple[int, ...]) -> tuple[Any, ...]:
    """The operator is symmetric; a face between i and j gets -(y_i x_j + y_j x_i), a centre y_i x_i."""
    if cotangent is None:
        return None, None, None
    center, faces, x = args
    cotangent = beside(cotangent, x)
    center_bar = sum_to(cotangent * x, tuple(center.shape)) if library(center) else None
    faces_bar = tuple(pull_face(face, cotangent, x, k - len(grid)) for k, face in enumerate(faces))
    return center_bar, faces_bar, sum_to(stencil_product(center, faces, cotangent, grid=grid), tuple(x.shape))


def pull_face(face: Any, y: Any, x: Any, axis: int) -> Any:
    """None for a float, which has no cotangent."""
    if not library(face):
        return None
    both = lower(y, axis) * upper(x, axis) + upper(y, axis) * lower(x, axis)
    return sum_to(-1.0 * both, tuple(face.shape))


@kernel("operators.stencil_product", vjp=pull_product)
def stencil_product(center: Any, faces: tuple[Any, ...], x: Any, *, grid: tuple[int, ...]) -> Any:
    """A x, shape (..., *grid), for the fields of a :class:`Stencil`; of them, numbers may be Python floats."""
    xp = namespace(x)
    out = center * x
    for k, face in enumerate(faces):
        axis = k - len(grid)
        if grid[k] > 1:
            out = out - before(face * upper(x, axis), axis, xp) - after(face * lower(x, axis), axis, xp)
    return out


# ---------------------------------------------------------------------------------------------------------------------
# The pattern of the matrix

REMEMBERED = 4  # grids


@functools.lru_cache(maxsize=REMEMBERED)
def pattern(grid: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], ...]:
    """For every entry of the matrix its place among (centers, faces of each axis), its column, where rows start, rows.

    Offsets ascend from the first axis' lower neighbour over the diagonal to its upper one, so columns do in each row.
    """
    n = math.prod(grid)
    counts = [n, *(math.prod(shortened(grid, k)) for k in range(len(grid)))]
    kind = np.int32 if sum(counts) * 2 < 2**31 else np.int64
    cells = np.arange(n, dtype=kind).reshape(grid)
    below: list[Any] = []
    above: list[Any] = []
    starts = np.cumsum([0, *counts])
    for k in range(len(grid)):
        places = (starts[k + 1] + np.arange(counts[k + 1])).astype(kind).reshape(shortened(grid, k))
        ends = [(1, 0) if j == k else (0, 0) for j in range(len(grid))]
        below.append((np.pad(places, ends, constant_values=-1), cells - math.prod(grid[k + 1 :])))
        above.append((np.pad(places, [e[::-1] for e in ends], constant_values=-1), cells + math.prod(grid[k + 1 :])))
    entries = [*below, (cells, cells), *above[::-1]]
    source = np.stack([places.reshape(-1) for places, _ in entries], axis=-1)
    columns = np.stack([column.reshape(-1) for _, column in entries], axis=-1).astype(kind)
    there = source >= 0
    counted = there.sum(axis=1)
    indptr = np.concatenate([[0], np.cumsum(counted)]).astype(kind)
    return source[there].astype(kind), columns[there], indptr, np.repeat(cells.reshape(-1), counted)


_beside: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # the latest patterns on other libraries


def pattern_beside(grid: tuple[int, ...], x: Any) -> tuple[Any, ...]:
    """The pattern as arrays on the library and device of `x`, the same ones as long as they are remembered."""
    if library(x) == "numpy":
        return pattern(grid)
    backend = of(x)
    key = (grid, library(x), str(like(x).get("device")))
    if key not in _beside:
        made = tuple(backend.lend(p, x) for p in pattern(grid))
        if backend.traced(made):  # they end with the transformation
            return made
        while len(_beside) >= REMEMBERED:
            _beside.pop(next(iter(_beside)), None)
        _beside[key] = made
    return _beside[key]
