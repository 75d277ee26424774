"""numba kernels of products with stencils: one pass over the grid.

A row of cells stays in the nearest cache while the couplings with the rows around it are added to it; where all cells
of a grid of two axes are alike, two rows are done at once. Places are unsigned, since signed ones would be tested for
being negative, and the functions of a row are inlined into those of a grid, where their loops become vectors.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numba
import numpy as np

from .compiled import njit
from .operators import CONTRACT, KINDS
from .views import plain

__all__ = ["stencil_product"]

ONE, TWO = np.uint64(1), np.uint64(2)

# ---------------------------------------------------------------------------------------------------------------------
# Rows. Fields are flat, and `o` is where a row of `n` cells begins in them, `h` where its inner faces do.


@njit(inline="always")
def alone(to, c, w2, u, o, n):  # type: ignore[no-untyped-def]
    """The diagonal and the couplings within a row of cells that are alike; a row has two cells at least."""
    last = o + n - ONE
    to[o] = c * u[o] - w2 * u[o + ONE]
    for k in range(o + ONE, last):
        to[k] = c * u[k] - w2 * (u[k - ONE] + u[k + ONE])
    to[last] = c * u[last] - w2 * u[last - ONE]


@njit(inline="always")
def among_two(to, c, w1, w2, u, o, n):  # type: ignore[no-untyped-def]
    """The same, and those with the rows on either side, `n` cells away."""
    last = o + n - ONE
    to[o] = c * u[o] - w2 * u[o + ONE] - w1 * (u[o - n] + u[o + n])
    for k in range(o + ONE, last):
        to[k] = c * u[k] - w2 * (u[k - ONE] + u[k + ONE]) - w1 * (u[k - n] + u[k + n])
    to[last] = c * u[last] - w2 * u[last - ONE] - w1 * (u[last - n] + u[last + n])


@njit(inline="always")
def pair_among_two(to, c, w1, w2, u, o, n):  # type: ignore[no-untyped-def]
    """Two rows at once, as `among_two` does one: what both of them need is read once."""
    below, last = o + n, n - ONE
    two_ends(to, c, w1, u, o, n, w2 * u[o + ONE], w2 * u[below + ONE])
    for k in range(ONE, last):
        here, there = u[o + k], u[below + k]
        to[o + k] = c * here - w2 * (u[o + k - ONE] + u[o + k + ONE]) - w1 * (u[o + k - n] + there)
        to[below + k] = c * there - w2 * (u[below + k - ONE] + u[below + k + ONE]) - w1 * (here + u[below + k + n])
    two_ends(to, c, w1, u, o + last, n, w2 * u[o + last - ONE], w2 * u[below + last - ONE])


@njit(inline="always")
def two_ends(to, c, w1, u, o, n, inner, inner_below):  # type: ignore[no-untyped-def]
    """A cell at the end of its row and the one below it."""
    to[o] = c * u[o] - inner - w1 * (u[o - n] + u[o + n])
    to[o + n] = c * u[o + n] - inner_below - w1 * (u[o] + u[o + n + n])


@njit(inline="always")
def among_four(to, c, w0, w1, w2, u, o, n, far):  # type: ignore[no-untyped-def]
    """The same, and those with the rows `far` cells away."""
    last = o + n - ONE
    to[o] = c * u[o] - w2 * u[o + ONE] - w1 * (u[o - n] + u[o + n]) - w0 * (u[o - far] + u[o + far])
    for k in range(o + ONE, last):
        near = w2 * (u[k - ONE] + u[k + ONE]) + w1 * (u[k - n] + u[k + n])
        to[k] = c * u[k] - near - w0 * (u[k - far] + u[k + far])
    to[last] = (
        c * u[last] - w2 * u[last - ONE] - w1 * (u[last - n] + u[last + n]) - w0 * (u[last - far] + u[last + far])
    )


@njit(inline="always")
def alone_centers(to, c, w2, u, o, n):  # type: ignore[no-untyped-def]
    """As `alone`, where each cell has its own center."""
    last = o + n - ONE
    to[o] = c[o] * u[o] - w2 * u[o + ONE]
    for k in range(o + ONE, last):
        to[k] = c[k] * u[k] - w2 * (u[k - ONE] + u[k + ONE])
    to[last] = c[last] * u[last] - w2 * u[last - ONE]


@njit(inline="always")
def among_centers(to, c, w1, w2, u, o, n):  # type: ignore[no-untyped-def]
    """As `among_two`, where each cell has its own center."""
    last = o + n - ONE
    to[o] = c[o] * u[o] - w2 * u[o + ONE] - w1 * (u[o - n] + u[o + n])
    for k in range(o + ONE, last):
        to[k] = c[k] * u[k] - w2 * (u[k - ONE] + u[k + ONE]) - w1 * (u[k - n] + u[k + n])
    to[last] = c[last] * u[last] - w2 * u[last - ONE] - w1 * (u[last - n] + u[last + n])


@njit(inline="always")
def alone_faces(to, c, w2, u, o, h, n):  # type: ignore[no-untyped-def]
    """As `alone`, where each cell has its own center and each face its own weight."""
    last = n - ONE
    to[o] = c[o] * u[o] - w2[h] * u[o + ONE]
    for k in range(ONE, last):
        to[o + k] = c[o + k] * u[o + k] - w2[h + k - ONE] * u[o + k - ONE] - w2[h + k] * u[o + k + ONE]
    to[o + last] = c[o + last] * u[o + last] - w2[h + last - ONE] * u[o + last - ONE]


@njit(inline="always")
def among_faces(to, c, w1, w2, u, o, g, h, n):  # type: ignore[no-untyped-def]
    """As `among_two`, likewise; the faces to the row below begin at `g`, `n` further those to the row above."""
    last = n - ONE
    alone_end(to, c, w1, w2, u, o, g, n, w2[h] * u[o + ONE])
    for k in range(ONE, last):
        inner = c[o + k] * u[o + k] - w2[h + k - ONE] * u[o + k - ONE] - w2[h + k] * u[o + k + ONE]
        to[o + k] = inner - w1[g + k] * u[o + k - n] - w1[g + k + n] * u[o + k + n]
    alone_end(to, c, w1, w2, u, o + last, g + last, n, w2[h + last - ONE] * u[o + last - ONE])


@njit(inline="always")
def alone_end(to, c, w1, w2, u, o, g, n, inner):  # type: ignore[no-untyped-def]
    to[o] = c[o] * u[o] - inner - w1[g] * u[o - n] - w1[g + n] * u[o + n]


@njit(inline="always")
def less(to, w, u, o, other, n):  # type: ignore[no-untyped-def]
    """The coupling with the row that begins at `other`."""
    for k in range(n):
        to[o + k] -= w * u[other + k]


@njit(inline="always")
def less_faces(to, w, u, o, at, other, n):  # type: ignore[no-untyped-def]
    """The same by the faces that begin at `at`."""
    for k in range(n):
        to[o + k] -= w[at + k] * u[other + k]


# ---------------------------------------------------------------------------------------------------------------------
# Grids. All have three axes here, those in front may be 1 wide; fields are arrays (B or 1, cells or faces).


@njit(fastmath=CONTRACT, cache=True)
def alike(numbers, x, shape, out):  # type: ignore[no-untyped-def]
    """One center and one weight an axis, numbers (B or 1, 4)."""
    n0, n1, n = numba.uint64(shape[0]), numba.uint64(shape[1]), numba.uint64(shape[2])
    far = n1 * n
    for b in range(out.shape[0]):
        u, to = x[b % x.shape[0]], out[b]
        c, w0, w1, w2 = numbers[b % numbers.shape[0]]
        for i in range(n0):
            rest = ONE  # the first inner row that no pair has done
            for j in range(n1):
                o = i * far + j * n
                inside = j >= ONE and j + ONE < n1
                if inside and n0 == ONE:
                    if j < rest:
                        continue
                    if j + TWO < n1:
                        pair_among_two(to, c, w1, w2, u, o, n)
                        rest = j + TWO
                    else:
                        among_two(to, c, w1, w2, u, o, n)
                elif inside and i >= ONE and i + ONE < n0:
                    among_four(to, c, w0, w1, w2, u, o, n, far)
                else:
                    alone(to, c, w2, u, o, n)
                    if j >= ONE:
                        less(to, w1, u, o, o - n, n)
                    if j + ONE < n1:
                        less(to, w1, u, o, o + n, n)
                    if i >= ONE:
                        less(to, w0, u, o, o - far, n)
                    if i + ONE < n0:
                        less(to, w0, u, o, o + far, n)


@njit(fastmath=CONTRACT, cache=True)
def own_centers(numbers, center, x, shape, out):  # type: ignore[no-untyped-def]
    """The same but for a center a cell."""
    n0, n1, n = numba.uint64(shape[0]), numba.uint64(shape[1]), numba.uint64(shape[2])
    far = n1 * n
    for b in range(out.shape[0]):
        u, to, c = x[b % x.shape[0]], out[b], center[b % center.shape[0]]
        _, w0, w1, w2 = numbers[b % numbers.shape[0]]
        for i in range(n0):
            for j in range(n1):
                o = i * far + j * n
                if j >= ONE and j + ONE < n1:
                    among_centers(to, c, w1, w2, u, o, n)
                else:
                    alone_centers(to, c, w2, u, o, n)
                    if j >= ONE:
                        less(to, w1, u, o, o - n, n)
                    if j + ONE < n1:
                        less(to, w1, u, o, o + n, n)
                if i >= ONE:
                    less(to, w0, u, o, o - far, n)
                if i + ONE < n0:
                    less(to, w0, u, o, o + far, n)


@njit(fastmath=CONTRACT, cache=True)
def own_faces(center, faces0, faces1, faces2, x, shape, out):  # type: ignore[no-untyped-def]
    """A center a cell and a weight a face."""
    n0, n1, n = numba.uint64(shape[0]), numba.uint64(shape[1]), numba.uint64(shape[2])
    far = n1 * n
    for b in range(out.shape[0]):
        u, to, c = x[b % x.shape[0]], out[b], center[b % center.shape[0]]
        w0, w1, w2 = faces0[b % faces0.shape[0]], faces1[b % faces1.shape[0]], faces2[b % faces2.shape[0]]
        for i in range(n0):
            for j in range(n1):
                o, h, g = i * far + j * n, (i * n1 + j) * (n - ONE), (i * (n1 - ONE) + j) * n
                if j >= ONE and j + ONE < n1:
                    among_faces(to, c, w1, w2, u, o, g - n, h, n)
                else:
                    alone_faces(to, c, w2, u, o, h, n)
                    if j >= ONE:
                        less_faces(to, w1, u, o, g - n, o - n, n)
                    if j + ONE < n1:
                        less_faces(to, w1, u, o, g, o + n, n)
                if i >= ONE:
                    less_faces(to, w0, u, o, o - far, o - far, n)
                if i + ONE < n0:
                    less_faces(to, w0, u, o, o, o + far, n)


class Plan(NamedTuple):
    """What follows from a grid."""

    wide: tuple[int, ...]  # the axes that are more than 1 wide
    spare: int  # how many are missing to three
    cells: int
    shape: tuple[int, int, int]
    faces: tuple[tuple[int, ...], ...]  # the shapes of the weights along the wide axes


@functools.lru_cache(maxsize=64)
def plan(grid: tuple[int, ...]) -> Plan:
    wide = tuple(k for k, n in enumerate(grid) if n > 1)
    shape: Any = (1,) * (3 - len(wide)) + tuple(grid[k] for k in wide)
    faces = tuple(tuple(n - (j == k) for j, n in enumerate(grid)) for k in wide)
    return Plan(wide, 3 - len(wide), math.prod(grid), shape, faces)


def stencil_product(center: Any, faces: tuple[Any, ...], x: Any, *, grid: tuple[int, ...]) -> Any:
    """Override of ``operators.stencil_product``; axes that are 1 wide are left out."""
    wide, spare, cells, shape, sizes = plan(grid)
    if x.dtype not in KINDS or not wide or x.size == 0:
        return NotImplemented
    numbers = [center, *(faces[k] for k in wide)]
    if all(type(v) is float for v in numbers):
        row = np.array([(center, *(0.0,) * spare, *numbers[1:])], dtype=x.dtype)
        out = np.empty(x.shape, dtype=x.dtype)
        alike(row, plain(x).reshape(-1, cells), shape, out.reshape(-1, cells))
        return out
    d, batch = len(grid), x.shape[: x.ndim - len(grid)]
    leads = [v.shape[: v.ndim - d] for v in numbers if type(v) is not float and v.ndim > d]
    if leads:
        batch = np.broadcast_shapes(batch, *leads)
        if 0 in batch:
            return NotImplemented
    out = np.empty((*batch, *grid), dtype=x.dtype)
    vectors, flat = members(x, batch, grid, cells), out.reshape(-1, cells)
    even = all(one_each(v, d) for v in numbers[1:])
    if even and one_each(center, d):
        alike(table(numbers, batch, d, x.dtype), vectors, shape, flat)
        return out
    centers = members(np.asarray(center, dtype=x.dtype), batch, grid, cells)
    if even:
        own_centers(table([0.0, *numbers[1:]], batch, d, x.dtype), centers, vectors, shape, flat)
        return out
    weights = [
        members(np.asarray(v, dtype=x.dtype), batch, size, math.prod(size))
        for v, size in zip(numbers[1:], sizes, strict=True)
    ]
    w0, w1, w2 = [centers] * spare + weights  # what there is none of is not looked at
    own_faces(centers, w0, w1, w2, vectors, shape, flat)
    return out


def one_each(v: Any, d: int) -> bool:
    """Whether all cells of a grid share one number; members of a batch may have different ones."""
    return getattr(v, "ndim", 0) == 0 or math.prod(v.shape[v.ndim - d :]) == 1


def table(numbers: list[Any], batch: tuple[int, ...], d: int, dtype: Any) -> Any:
    """Center and weights, a row for all members or one for each, shape (1 or B, 4)."""
    spare = [0.0] * (4 - len(numbers))
    made = [numbers[0], *spare, *numbers[1:]]
    if all(getattr(v, "ndim", 0) <= d for v in made):
        return np.array([[float(v) if np.ndim(v) == 0 else v.item() for v in made]], dtype=dtype)
    columns = [np.reshape(v, np.shape(v)[: max(np.ndim(v) - d, 0)]) for v in made]
    return np.stack([np.broadcast_to(v, batch).reshape(-1) for v in columns], axis=-1).astype(dtype)


def members(v: Any, batch: tuple[int, ...], grid: tuple[int, ...], cells: int) -> Any:
    """A field as an array of shape (1 or B, cells), contiguous."""
    lead = v.shape[: v.ndim - len(grid)] if v.ndim > len(grid) else ()
    if lead != batch and math.prod(lead) > 1:
        lead = batch
    if v.shape != (*lead, *grid):
        v = np.broadcast_to(v if math.prod(lead) > 1 else v.reshape(v.shape[-len(grid) :]), (*lead, *grid))
    return plain(v).reshape(-1, cells)
