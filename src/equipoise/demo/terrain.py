"""A photograph as terrain, brightness the height: what it costs to walk from place to place.

A step down costs its length; a step up costs more, and the steeper the more, by the square, so that it pays to go
around. So the way up is not the way down, and there is no potential whose differences would explain the costs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from .linear import photograph

__all__ = ["costs", "lattice", "slopes", "terrain"]

SEEN = "flower.jpg"
STEEP = 0.015  # the slope, brightness from place to place, that doubles the cost of a step up
UNIT = 6.0  # places in a row on even ground that cost 1
Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


def terrain(cell: int = 5) -> Floats:
    """The heights: means over square cells of the photograph, a little blurred, so that petals have no sharp rims."""
    grey = photograph(SEEN).mean(axis=0)
    rows, columns = (size // cell for size in grey.shape)
    x = grey[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell).mean(axis=(1, 3))
    for _ in range(4):  # twice along each axis
        wide = np.concatenate([x[:1], x, x[-1:]])
        x = (0.25 * wide[:-2] + 0.5 * wide[1:-1] + 0.25 * wide[2:]).T
    return x


def slopes(heights: Floats) -> Any:
    """The costs of single steps to the eight neighbours, a sparse matrix over the places in rows.

    Examples
    --------
    >>> import numpy as np
    >>> slopes(np.array([[0.0, 0.03]])).toarray().round(3)  # up, and down
    array([[0.   , 0.833],
           [0.167, 0.   ]])
    """
    rows, columns = heights.shape
    number = np.arange(rows * columns).reshape(rows, columns)
    parts = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = np.s_[: rows - down, max(0, -right) : columns - max(0, right)]
        there = np.s_[down:, max(0, right) : columns + min(0, right)]
        length = np.hypot(down, right)
        rise = (heights[there] - heights[here]) / length
        for start, end, up in ((here, there, rise), (there, here, -rise)):
            cost = length / UNIT * (1.0 + (np.maximum(up, 0.0) / STEEP) ** 2)
            parts.append([np.ravel(x) for x in (number[start], number[end], cost)])
    i, j, cost = (np.concatenate(part) for part in zip(*parts, strict=True))
    return import_module("scipy.sparse").csr_array((cost, (i, j)), shape=(number.size, number.size))


def costs(ways: Any, places: Any) -> Floats:
    """The least costs from some places to all, shape (number of these, number of all), by Dijkstra's method."""
    found = import_module("scipy.sparse.csgraph").dijkstra(ways, indices=np.ravel(places))
    return np.asarray(found, dtype=np.float64)


def lattice(shape: tuple[int, ...], stride: int = 6) -> tuple[Ints, Ints]:
    """The rows and the columns of a coarse grid in the middle of a fine one."""
    down, right = (np.arange((size - 1) % stride // 2, size, stride) for size in shape)
    return down, right
