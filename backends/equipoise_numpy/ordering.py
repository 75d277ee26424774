"""numba kernel of the order of a sweep: groups, permutation and triangles, in a few passes over the pattern."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import njit

__all__ = ["arrange"]

SHORT = 24  # entries of a row that are sorted by insertion
ORDERS = ("natural", "red_black", "multicolor")


@njit(cache=True)
def levels(indptr, indices):  # type: ignore[no-untyped-def]
    """One more than the highest level among the neighbours of lower number."""
    n = indptr.size - 1
    level = np.zeros(n, dtype=np.int32)
    for i in range(n):
        own = level[i]
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j < i:
                own = max(own, level[j] + 1)
        level[i] = own
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j > i:
                level[j] = max(level[j], own + 1)
    return level


@njit(cache=True)
def adjacency(indptr, indices):  # type: ignore[no-untyped-def]
    """For every row where its neighbours begin, and the neighbours: of higher number, then of lower."""
    n = indptr.size - 1
    starts = np.zeros(n + 1, dtype=np.int64)
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j != i:
                starts[i + 1] += 1
                starts[j + 1] += 1
    for i in range(n):
        starts[i + 1] += starts[i]
    filled = starts[:-1].copy()
    neighbours = np.empty(starts[n], dtype=indices.dtype)
    for up in range(2):
        for i in range(n):
            for k in range(indptr[i], indptr[i + 1]):
                j = indices[k]
                if j != i:
                    low, high = min(i, j), max(i, j)
                    tail, head = (high, low) if up else (low, high)
                    neighbours[filled[tail]] = head
                    filled[tail] += 1
    return starts, neighbours


@njit(cache=True)
def halves(indptr, indices):  # type: ignore[no-untyped-def]
    starts, neighbours = adjacency(indptr, indices)
    n = indptr.size - 1
    side = np.full(n, -1, dtype=np.int32)
    queue = np.empty(n, dtype=np.int64)
    for first in range(n):
        if side[first] >= 0:
            continue
        side[first] = 0
        queue[0] = first
        at, end = 0, 1
        while at < end:
            i = queue[at]
            at += 1
            for k in range(starts[i], starts[i + 1]):
                j = neighbours[k]
                if side[j] < 0:
                    side[j] = 1 - side[i]
                    queue[end] = j
                    end += 1
    return side


@njit(cache=True)
def colors(indptr, indices):  # type: ignore[no-untyped-def]
    starts, neighbours = adjacency(indptr, indices)
    n = indptr.size - 1
    most = 0
    for i in range(n):
        most = max(most, starts[i + 1] - starts[i])
    places = np.zeros(most + 2, dtype=np.int64)  # by falling number of neighbours
    for i in range(n):
        places[most - (starts[i + 1] - starts[i]) + 1] += 1
    for d in range(most + 1):
        places[d + 1] += places[d]
    order = np.empty(n, dtype=np.int64)
    for i in range(n):
        d = most - (starts[i + 1] - starts[i])
        order[places[d]] = i
        places[d] += 1
    color = np.full(n, -1, dtype=np.int32)
    taken = np.full(most + 2, -1, dtype=np.int64)  # the last row that met the color among its neighbours
    for i in order:
        for k in range(starts[i], starts[i + 1]):
            if color[neighbours[k]] >= 0:
                taken[color[neighbours[k]]] = i
        free = 0
        while taken[free] == i:
            free += 1
        color[i] = free
    return color


@njit(cache=True)
def permutation(group, kind):  # type: ignore[no-untyped-def]
    """Rows by group, those of a group ascending, their places, and where groups begin."""
    n = group.size
    count = 0
    for i in range(n):
        count = max(count, group[i] + 1)
    groups = np.zeros(max(count, 1) + 1, dtype=kind.dtype)
    for i in range(n):
        groups[group[i] + 1] += 1
    for g in range(groups.size - 1):
        groups[g + 1] += groups[g]
    filled = groups.copy()
    rows, places = np.empty(n, dtype=kind.dtype), np.empty(n, dtype=kind.dtype)
    for i in range(n):
        p = filled[group[i]]
        filled[group[i]] += 1
        rows[p] = i
        places[i] = p
    return rows, places, groups


@njit(cache=True)
def sort_row(columns, source, first, last, spare_columns, spare_source):  # type: ignore[no-untyped-def]
    """Entries first..last by column, those of one column in their order: short pieces by insertion, then merged."""
    for start in range(first, last, SHORT):
        for k in range(start + 1, min(start + SHORT, last)):
            column, entry = columns[k], source[k]
            at = k
            while at > start and columns[at - 1] > column:
                columns[at], source[at] = columns[at - 1], source[at - 1]
                at -= 1
            columns[at], source[at] = column, entry
    width = SHORT
    while width < last - first:
        for k in range(first, last):
            spare_columns[k - first], spare_source[k - first] = columns[k], source[k]
        for start in range(0, last - first, 2 * width):
            middle, end = min(start + width, last - first), min(start + 2 * width, last - first)
            i, j = start, middle
            for k in range(start, end):
                if j >= end or (i < middle and spare_columns[i] <= spare_columns[j]):
                    columns[first + k], source[first + k] = spare_columns[i], spare_source[i]
                    i += 1
                else:
                    columns[first + k], source[first + k] = spare_columns[j], spare_source[j]
                    j += 1
        width *= 2


@njit(cache=True)
def triangles(indptr, indices, rows, places):  # type: ignore[no-untyped-def]
    """Starts, columns and sources of the entries before and after the diagonal, rows and columns by their places."""
    n = rows.size
    lower_starts, upper_starts = np.zeros(n + 1, dtype=rows.dtype), np.zeros(n + 1, dtype=rows.dtype)
    widest = 0
    for p in range(n):
        i = rows[p]
        low = high = 0
        for k in range(indptr[i], indptr[i + 1]):
            q = places[indices[k]]
            low += q < p
            high += q > p
        lower_starts[p + 1] = lower_starts[p] + low
        upper_starts[p + 1] = upper_starts[p] + high
        widest = max(widest, low + high)
    lower_columns, lower_source = np.empty(lower_starts[n], dtype=rows.dtype), np.empty(lower_starts[n], rows.dtype)
    upper_columns, upper_source = np.empty(upper_starts[n], dtype=rows.dtype), np.empty(upper_starts[n], rows.dtype)
    spare = np.empty((2, widest), dtype=rows.dtype)
    for p in range(n):
        i = rows[p]
        low, high = lower_starts[p], upper_starts[p]
        first, other = low, high
        sorted_low = sorted_high = True
        for k in range(indptr[i], indptr[i + 1]):
            q = places[indices[k]]
            if q < p:
                sorted_low &= low == first or lower_columns[low - 1] <= q
                lower_columns[low], lower_source[low] = q, k
                low += 1
            elif q > p:
                sorted_high &= high == other or upper_columns[high - 1] <= q
                upper_columns[high], upper_source[high] = q, k
                high += 1
        if not sorted_low:
            sort_row(lower_columns, lower_source, first, low, spare[0], spare[1])
        if not sorted_high:
            sort_row(upper_columns, upper_source, other, high, spare[0], spare[1])
    return lower_starts, lower_columns, lower_source, upper_starts, upper_columns, upper_source


@njit(cache=True)
def arranged(indptr, indices, order, kind):  # type: ignore[no-untyped-def]
    if order == 0:
        group = levels(indptr, indices)
    elif order == 1:
        group = halves(indptr, indices)
    else:
        group = colors(indptr, indices)
    rows, places, groups = permutation(group, kind)
    return rows, places, triangles(indptr, indices, rows, places), groups


def arrange(indptr: Any, indices: Any, *, order: str) -> tuple[Any, ...]:
    """The kernel ``linear.arrange``."""
    n = indptr.size - 1
    if n < 1:
        return NotImplemented
    kind = np.int32 if max(indices.size, n) < 2**31 - 1 else np.int64
    indptr, indices = np.ascontiguousarray(indptr), np.ascontiguousarray(indices)
    if indptr.dtype != indices.dtype or indices.dtype not in (np.int32, np.int64):
        indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    rows, places, entries, groups = arranged(indptr, indices, ORDERS.index(order), np.empty(0, dtype=kind))
    return rows, places, *entries, groups
