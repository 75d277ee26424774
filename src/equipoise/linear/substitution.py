"""Triangular systems and products of a matrix that stands in the order of a sweep.

The portable bodies take a window of uncoupled rows at a time, so that a library that computes on whole arrays has
something to do: its work is that of the matrix, its latency that of the number of levels or colours.
"""

from __future__ import annotations

from typing import Any

from ..arrays import like, namespace
from ..backend import of
from ..iterate import repeat
from ..record import record, static
from .ordering import Padded, Triangles

__all__ = ["above", "below", "product", "solve_lower", "solve_upper"]


def table_of(matrix: Triangles) -> Padded:
    """The tables of a matrix that was prepared for portable bodies."""
    if matrix.padded is None:
        raise AssertionError("a portable body runs on tables, which were left out for a kernel")
    return matrix.padded


def entries(table: Any, columns: Any, x: Any) -> Any:
    """sum_k table[..., k, i] x[..., columns[k, i]]."""
    xp = namespace(x)
    flat = xp.take(x, xp.reshape(columns, (-1,)), axis=-1)
    return xp.sum(table * xp.reshape(flat, (*x.shape[:-1], *columns.shape)), axis=-2)


def below(matrix: Triangles, x: Any) -> Any:
    """L x."""
    t = table_of(matrix)
    return entries(t.lower, t.before, x)[..., : x.shape[-1]]


def above(matrix: Triangles, x: Any) -> Any:
    """U x."""
    t = table_of(matrix)
    return entries(t.upper, t.after, x)[..., : x.shape[-1]]


def product(matrix: Triangles, x: Any) -> Any:
    """A x."""
    return matrix.diagonal * x + below(matrix, x) + above(matrix, x)


@record
class Substitution:
    y: Any  # (..., n + width)
    window: Any  # (1,)


@record
class System:
    """(D / omega + T) y = rhs for one of the triangles T; all rows have room for the last window."""

    table: Any
    columns: Any
    rhs: Any
    factor: Any  # omega / D
    first: Any
    count: Any
    width: int = static()
    backward: bool = static()


def step(s: Substitution, system: System) -> Substitution:
    """The unknowns of one window."""
    xp = namespace(s.y)
    at = system.first.shape[0] - 1 - s.window if system.backward else s.window
    first, count = xp.take(system.first, at), xp.take(system.count, at)
    offsets = xp.arange(system.width, **like(system.first))
    rows = first + offsets
    table, columns = xp.take(system.table, rows, axis=-1), xp.take(system.columns, rows, axis=-1)
    new = xp.take(system.rhs, rows, axis=-1) - entries(table, columns, s.y)
    new = new * xp.take(system.factor, rows, axis=-1)
    new = xp.where(offsets < count, new, xp.take(s.y, rows, axis=-1))
    return Substitution(of(s.y).put(s.y, first, new), s.window + 1)


def solve(matrix: Triangles, rhs: Any, omega: Any, backward: bool) -> Any:
    """(D / omega + T) y = rhs, window after window; T is the upper triangle if `backward`."""
    t, n = table_of(matrix), rhs.shape[-1]
    xp = namespace(rhs)

    def spread(x: Any) -> Any:
        return xp.concat([x, xp.zeros((*x.shape[:-1], t.width), **like(x))], axis=-1)

    table, columns = (t.upper, t.after) if backward else (t.lower, t.before)
    factor = xp.broadcast_to(omega / matrix.diagonal, rhs.shape)
    system = System(table, columns, spread(rhs), spread(factor), t.first, t.count, t.width, backward)
    start = Substitution(xp.zeros_like(system.rhs), xp.zeros((1,), **like(t.first)))
    return repeat(step, start, system, t.first.shape[0]).y[..., :n]


def solve_lower(matrix: Triangles, rhs: Any, omega: Any) -> Any:
    """y with (D / omega + L) y = rhs; omega is a number or broadcasts to the shape of rhs."""
    return solve(matrix, rhs, omega, False)


def solve_upper(matrix: Triangles, rhs: Any, omega: Any) -> Any:
    """y with (D / omega + U) y = rhs."""
    return solve(matrix, rhs, omega, True)
