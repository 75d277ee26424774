"""Arnoldi's basis of a Krylov space, with the triangle and the residual that GMRES reads off it.

Everything of the batch's shape has an axis of length one at its end. The rotations of Givens are kept as their product,
which takes no loop over them, and rows are written by adding them to zeros, which takes no scatter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..arrays import library, like, namespace
from ..backend import of
from ..iterate import Advance, repeat
from ..record import record

__all__ = ["Basis", "advancing", "arnoldi", "corrected", "length", "over", "started"]


@record
class Basis:
    vectors: Any  # (..., m+1, d), orthonormal or zero
    columns: Any  # of the triangle, (..., m, m+1)
    turns: Any  # the product of the rotations, (..., m+1, m+1)
    shares: Any  # of the residual in the vectors, (..., m+1)
    rest: Any  # what is left of it, (..., d)
    k: Any
    size: Any  # of the matrix: the largest |A v| so far, for |v| = 1
    left: Any  # of the residual, once the best combination is taken off


def length(x: Any) -> Any:
    """The Euclidean norm, shape (..., 1)."""
    xp = namespace(x)
    return xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))


def over(x: Any, size: Any) -> Any:
    """x / size, and x where `size` is zero."""
    xp = namespace(x)
    return x / xp.where(size != 0, size, xp.ones_like(size))


def dots(rows: Any, x: Any) -> Any:
    """The products of rows with x."""
    return of(x).matmul(rows, x[..., None])[..., 0]


def combined(weights: Any, rows: Any) -> Any:
    """The sum of rows with weights."""
    return of(rows).matmul(weights[..., None, :], rows)[..., 0, :]


def negligible(size: Any) -> Any:
    """What counts for zero in the triangle of a matrix of that size."""
    return size * float(namespace(size).finfo(size.dtype).eps) ** (2.0 / 3.0)


def started(residual: Any, image: Any, size: Any, m: int) -> Basis:
    """A basis of the one vector along `image`, with room for m more."""
    xp = namespace(residual)
    unit = xp.zeros((*residual.shape[:-1], m + 1, m + 1), **like(residual)) + xp.eye(m + 1, **like(residual))
    first, v = unit[..., 0, :], over(image, length(image))
    share = xp.sum(v * residual, axis=-1, keepdims=True)
    vectors, columns = first[..., None] * v[..., None, :], 0.0 * unit[..., :m, :]
    return Basis(vectors, columns, unit, share * first, residual - share * v, 0.0 * size, size, length(residual))


def advancing(step: Callable[[Any, Any], Any], error: Callable[[Any, Any], Any]) -> Advance:
    """What repeats a step; unlike :func:`equipoise.iterate.stepwise` it compiles no step where it only looks."""

    def advance(state: Any, data: Any, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
        if library(limit) or limit:
            state = repeat(step, state, data, limit)
        return state, limit, namespace(state.size).asarray(error(state, data)[..., 0])

    return advance


def left_of(s: Basis, data: Any) -> Any:
    """What is left, in the units of the second part of the data."""
    return s.left / data[1]


@functools.cache
def arnoldi(matvec: Callable[[Any, Any], Any]) -> Advance:
    """A step: the image of the last vector, which makes a column of the triangle and the next vector."""

    def step(s: Basis, data: Any) -> Basis:
        xp = namespace(s.rest)
        places = xp.arange(s.shares.shape[-1], **like(s.rest))
        here, there = (xp.astype(places == s.k + j, s.rest.dtype) for j in (0.0, 1.0))  # rows of the unit matrix
        w = matvec(combined(here, s.vectors), data[0])
        size, column = xp.maximum(s.size, length(w)), 0.0 * s.shares
        for _ in range(2):  # the second time for what rounding left
            h = dots(s.vectors, w)
            column, w = column + h, w - combined(h, s.vectors)
        below = length(w)
        below = xp.where(below > negligible(size), below, 0.0 * below)  # zero: the space is invariant
        w = xp.where(below > 0, over(w, below), 0.0 * w)
        share = xp.sum(w * s.rest, axis=-1, keepdims=True)
        shares, rest = s.shares + share * there, s.rest - share * w
        column = dots(s.turns, column)
        above = xp.sum(column * here, axis=-1, keepdims=True)
        rho = xp.sqrt(above * above + below * below)
        c, d, row = over(above, rho) + xp.astype(rho == 0, rho.dtype), over(below, rho), combined(here, s.turns)
        upper, lower = c * row + d * there - row, c * there - d * row - there
        turns = s.turns + here[..., None] * upper[..., None, :] + there[..., None] * lower[..., None, :]
        column = xp.where(places < s.k, column, rho * here)
        columns = s.columns + here[..., :-1, None] * column[..., None, :]
        vectors = s.vectors + there[..., None] * w[..., None, :]
        left = length(xp.concat([rest, there * dots(turns, shares)], axis=-1))
        left = xp.where(below > 0, left, 0.0 * left)  # in an invariant space nothing more can be done
        return Basis(vectors, columns, turns, shares, rest, s.k + 1.0, size, left)

    return advancing(step, left_of)


def corrected(basis: Basis) -> Any:
    """The combination of the vectors whose image is nearest to the residual; dependent columns take no part."""
    xp, m = namespace(basis.rest), basis.columns.shape[-2]
    unit = xp.eye(m, **like(basis.rest))
    triangle = xp.matrix_transpose(basis.columns[..., :m])
    good = xp.abs(xp.sum(triangle * unit, axis=-1)) > negligible(basis.size)
    triangle = xp.where(good[..., None, :], triangle, unit)
    y = xp.linalg.solve(triangle, dots(basis.turns, basis.shares)[..., :m, None])[..., 0]
    return combined(xp.where(good, y, 0.0 * y), basis.vectors[..., :m, :])
