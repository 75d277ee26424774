"""Shipped resolvents as a table that compiled loops read: a row a part, with its kind, where it ends, its numbers.

A loop that calls back into Python for each step is no faster than Python. Bounds that are vectors lie beside the table,
at the places of the entries that they bound.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from equipoise.arrays import library
from equipoise.monotone.resolvents import (
    FINE,
    Box,
    Identity,
    L1Ball,
    L2Ball,
    Nonnegative,
    Product,
    Simplex,
    SoftThreshold,
)

from .compiled import njit
from .simplex import INSIDE, project_row

__all__ = ["Table", "Unknown", "begins_with", "frozen", "gap", "number", "resolve", "table_of"]

IDENTITY, BOX, BOUNDS, SIMPLEX, L1, L2, SOFT, WEIGHTS = range(8)


class Unknown(Exception):
    """What the kernels do not know: the portable body runs."""


class Table(NamedTuple):
    """A row a part: `kinds` and `ends`, whole numbers, `numbers` (parts, 2); `low` and `high` are empty or vectors."""

    kinds: Any
    ends: Any
    numbers: Any
    low: Any
    high: Any


def frozen(x: Any, dtype: Any) -> Any:
    """`x` in one piece and read-only, since numba compiles once more for arrays that may be written."""
    if x.dtype != dtype:
        raise Unknown
    view = np.ascontiguousarray(x).view()
    view.flags.writeable = False
    return view


def number(x: Any, dtype: Any) -> float:
    """A number as a float; one of another dtype would change that of the result."""
    if library(x) and (x.dtype != dtype or x.ndim):
        raise Unknown
    return float(x)


def described(part: Any, dtype: Any) -> tuple[int, tuple[float, float], tuple[Any, Any]]:
    """The kind, the numbers and the vectors of one resolvent."""
    kind = type(part)
    if kind is Identity:
        return IDENTITY, (0.0, 0.0), (None, None)
    if kind is Nonnegative:
        return BOX, (0.0, math.inf), (None, None)
    if kind is Box:
        if getattr(part.lower, "ndim", 0) or getattr(part.upper, "ndim", 0):
            return BOUNDS, (0.0, 0.0), (part.lower, part.upper)
        lower, upper = number(part.lower, dtype), number(part.upper, dtype)
        free = lower == -math.inf and upper == math.inf
        return IDENTITY if free else BOX, (lower, upper), (None, None)
    if kind is SoftThreshold:
        if getattr(part.weight, "ndim", 0):
            return WEIGHTS, (0.0, 0.0), (part.weight, part.weight)
        return SOFT, (number(part.weight, dtype), 0.0), (None, None)
    for known, made in ((Simplex, SIMPLEX), (L1Ball, L1), (L2Ball, L2)):
        if kind is known:
            return made, (number(part.radius, dtype), 0.0), (None, None)
    raise Unknown


def table_of(resolvent: Any, d: int, dtype: Any) -> Table:
    """The table of a shipped resolvent on vectors of d entries."""
    product = type(resolvent) is Product
    parts, sizes = (resolvent.parts, resolvent.sizes) if product else ((resolvent,), (d,))
    rows = [described(part, dtype) for part in parts]
    ends = np.cumsum(sizes)
    size = d if any(kind in (BOUNDS, WEIGHTS) for kind, _, _ in rows) else 0
    low, high = np.empty(size, dtype=dtype), np.empty(size, dtype=dtype)
    for (_, _, vectors), end, length in zip(rows, ends, sizes, strict=True):
        if vectors[0] is None:
            continue
        for side, x in zip((low, high), vectors, strict=True):
            if library(x) and (x.ndim > 1 or x.dtype != dtype):
                raise Unknown
            side[end - length : end] = x
    numbers = np.array([pair for _, pair, _ in rows])
    kinds = np.array([kind for kind, _, _ in rows])
    return Table(kinds, ends, numbers, frozen(low, dtype), frozen(high, dtype))


def begins_with(table: Table, d: int) -> Table | None:
    """The table of the first d entries, if the resolvent leaves the others as they are."""
    for row, (kind, end) in enumerate(zip(table.kinds, table.ends, strict=True)):
        if end >= d:
            if (end > d and kind != IDENTITY) or np.any(table.kinds[row + 1 :] != IDENTITY):
                return None
            ends = np.append(table.ends[:row], d)
            return Table(table.kinds[: row + 1].copy(), ends, table.numbers[: row + 1].copy(), table.low, table.high)
    return None


@njit(cache=True, **INSIDE)
def shrink_row(row, radius):  # type: ignore[no-untyped-def]
    """Project a row onto the Euclidean ball in place; its largest entry is the unit where squares would overflow."""
    top, square, kept = 0.0, 0.0, row.dtype.type
    for i in range(row.size):
        top = max(top, abs(row[i]))
    unit = kept(1.0 if FINE[0] <= top <= FINE[1] or top == 0.0 or not np.isfinite(top) else top)
    for i in range(row.size):
        x = row[i] / unit
        square += x * x
    size = np.sqrt(square)
    if size * unit > radius:
        shrink = kept(radius / size)
        for i in range(row.size):
            row[i] = (row[i] / unit) * shrink


@njit(cache=True, **INSIDE)
def resolve(table, v, step, scratch):  # type: ignore[no-untyped-def]
    """J(v) in place; `scratch` is as long as `v`."""
    kinds, ends, numbers, low, high = table
    start, zero, kept = 0, v.dtype.type(0.0), v.dtype.type
    for row in range(kinds.size):
        kind, end, first = kinds[row], ends[row], numbers[row, 0]
        part = v[start:end]
        if kind in (SIMPLEX, L1):
            project_row(part, first, scratch, kind == L1)
        elif kind == L2:
            shrink_row(part, first)
        elif kind == BOX:
            least, most = kept(first), kept(numbers[row, 1])
            for i in range(part.size):
                x = least if part[i] < least else part[i]
                part[i] = most if x > most else x
        elif kind == BOUNDS:
            for i in range(part.size):
                x = low[start + i] if part[i] < low[start + i] else part[i]
                part[i] = high[start + i] if x > high[start + i] else x
        elif kind != IDENTITY:
            for i in range(part.size):
                size = abs(part[i]) - kept(step) * (low[start + i] if kind == WEIGHTS else kept(first))
                size = zero if size <= zero else size
                part[i] = -size if part[i] < zero else size
        start = end


@njit(cache=True)
def gap(table, u, image, a):  # type: ignore[no-untyped-def]
    """u - J(u - a F(u), a): its norm by a is the residual."""
    v, scratch, scale = np.empty_like(u), np.empty_like(u), u.dtype.type(a)
    for i in range(u.size):
        v[i] = u[i] - scale * image[i]
    resolve(table, v, a, scratch)
    for i in range(u.size):
        v[i] = u[i] - v[i]
    return v
