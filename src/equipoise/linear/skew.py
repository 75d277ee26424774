"""A stencil in the order of its diagonals, for kernels that sweep through it in the natural order.

On the diagonal of points whose indices have one sum nobody waits for anybody, and all wait for the diagonal before. Put
one after another, diagonals make the natural order a loop over contiguous numbers.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..arrays import like, namespace
from ..backend import of
from ..operators import Stencil
from ..record import record
from .ordering import Triangles, rows_of, triangles
from .sweeps import Diagonals

__all__ = ["Place", "diagonals", "in_order", "skewed"]


@record
class Place:
    """``rows[p]`` is the point at place p of the order, in C order of the grid, ``places`` the way back."""

    rows: Any
    places: Any


def skewed(A: Any) -> bool:
    """Whether A is a stencil with diagonals of more than a point."""
    return isinstance(A, Stencil) and len(A.grid) in (2, 3)


@functools.lru_cache(maxsize=8)
def place_of(grid: tuple[int, ...]) -> Place:
    """By the sum of indices; points of one diagonal in C order."""
    total = np.zeros(grid, dtype=np.int64)
    for axis, length in enumerate(grid):
        total += np.arange(length).reshape(-1, *(1,) * (len(grid) - 1 - axis))
    rows = np.argsort(total.ravel(), kind="stable")
    places = np.empty_like(rows)
    places[rows] = np.arange(rows.size)
    return Place(rows, places)


def diagonals(A: Stencil[Any], beside: Any) -> tuple[Diagonals, Place]:
    """The numbers of A in that order, like those of `beside`."""
    A = A.beside(beside)
    grid = A.grid
    found = place_of(grid)
    place = Place(*(of(beside).lend(x, beside) for x in (found.rows, found.places)))
    if A.constant:
        return Diagonals(A.center, tuple(A.faces), grid), place
    xp, d = namespace(beside), len(grid)

    def in_order(x: Any) -> Any:
        full = xp.broadcast_to(x, (*x.shape[: max(x.ndim - d, 0)], *grid))
        return xp.take(xp.reshape(full, (*full.shape[: full.ndim - d], -1)), place.rows, axis=-1)

    def before(face: Any, axis: int) -> Any:
        shape = list(grid)
        shape[axis] -= 1
        face = xp.broadcast_to(face, (*face.shape[: max(face.ndim - d, 0)], *shape))
        edge = list(face.shape)
        edge[axis - d] = 1
        return in_order(xp.concat([xp.zeros(tuple(edge), **like(face)), face], axis=axis - d))

    return Diagonals(in_order(A.center), tuple(before(face, k) for k, face in enumerate(A.faces)), grid), place


def in_order(A: Any, beside: Any, order: str, hosted: bool) -> tuple[Triangles | None, Diagonals | None, Any]:
    """A in the order of a sweep, as triangles or, where a kernel can go through them, as diagonals, and the places."""
    if hosted and order == "natural" and skewed(A):
        stencil, place = diagonals(A, beside)
        return None, stencil, place
    matrix = triangles(rows_of(A), order, padded=not hosted)
    return matrix, None, matrix.place
