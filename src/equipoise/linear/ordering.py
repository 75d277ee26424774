"""The order in which a sweep visits the rows of a sparse matrix, and the matrix in that order.

Rows that are not coupled may be relaxed at the same time. So every order comes down to groups of uncoupled rows that
follow each other: the colours of a colouring, or, in the natural order, the levels of the graph in which a row waits
for its neighbours of lower number. Visiting level after level gives the iterates of the natural order exactly, and
leaves a machine free to do the rows of a level side by side, where row after row each would wait for the one before.

What depends on the pattern alone is worked out on the host, once, and remembered for the next matrix of that pattern.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import like, namespace
from ..backend import of
from ..kernel import kernel
from ..operators import CSR, Dense, Stencil
from ..operators.neighbours import pattern as grid_pattern
from ..record import map_arrays, record, static
from ..segments import index_sum

__all__ = [
    "Arrangement",
    "Padded",
    "Rows",
    "Triangles",
    "arrange",
    "in_natural_order",
    "in_sweep_order",
    "rows_of",
    "triangles",
]

ORDERS = ("natural", "red_black", "multicolor")
REMEMBERED = 8  # patterns
Host = np.ndarray[Any, Any]


@record
class Arrangement:
    """Where the rows and entries of a pattern go; places count in the order of the sweep.

    ``rows[p]`` is the row at place p, ``places[i]`` the place of row i. Entry k of the lower triangle stands in the
    row ``p`` with ``lower_starts[p] <= k < lower_starts[p + 1]``, in the column ``lower_columns[k] < p``, and is the
    entry ``lower_source[k]`` of the matrix; columns ascend. The upper triangle likewise. Group g begins at
    ``groups[g]``.
    """

    rows: Any
    places: Any
    lower_starts: Any
    lower_columns: Any
    lower_source: Any
    upper_starts: Any
    upper_columns: Any
    upper_source: Any
    groups: Any


# ---------------------------------------------------------------------------------------------------------------------
# Groups of rows


def levels(low: Host, high: Host, n: int) -> Host:
    """The length of the longest chain of ascending neighbours that ends in each row; edges are (low, high)."""
    heads = high[np.argsort(low, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(low, minlength=n))])
    waiting = np.bincount(high, minlength=n)
    level = np.zeros(n, dtype=np.int64)
    front, depth = np.flatnonzero(waiting == 0), 0
    while front.size:
        level[front] = depth
        counts = starts[front + 1] - starts[front]
        ends = np.cumsum(counts)
        reached = heads[np.repeat(starts[front] - ends + counts, counts) + np.arange(counts.sum())]
        np.subtract.at(waiting, reached, 1)
        front, depth = np.unique(reached[waiting[reached] == 0]), depth + 1
    return level


def halves(low: Host, high: Host, n: int) -> Host:
    """0 and 1 by turns along every path, beginning with 0 in the first row of each component."""
    starts, neighbours = adjacency(low, high, n)
    side = np.full(n, -1, dtype=np.int64)
    for first in range(n):
        if side[first] >= 0:
            continue
        side[first] = 0
        queue = [first]
        for i in queue:
            for j in neighbours[starts[i] : starts[i + 1]]:
                if side[j] < 0:
                    side[j] = 1 - side[i]
                    queue.append(j)
    return side


def colors(low: Host, high: Host, n: int) -> Host:
    """A greedy colouring, rows of the most neighbours first."""
    starts, neighbours = adjacency(low, high, n)
    color = np.full(n, -1, dtype=np.int64)
    for i in np.argsort(starts[:-1] - starts[1:], kind="stable"):
        taken = set(color[neighbours[starts[i] : starts[i + 1]]].tolist())
        free = 0
        while free in taken:
            free += 1
        color[i] = free
    return color


def adjacency(low: Host, high: Host, n: int) -> tuple[Host, Host]:
    """For every row where its neighbours begin, and the neighbours."""
    tails, heads = np.concatenate([low, high]), np.concatenate([high, low])
    starts = np.concatenate([[0], np.cumsum(np.bincount(tails, minlength=n))])
    return starts, heads[np.argsort(tails, kind="stable")]


GROUPING: dict[str, Callable[[Host, Host, int], Host]] = {
    "natural": levels,
    "red_black": halves,
    "multicolor": colors,
}


# ---------------------------------------------------------------------------------------------------------------------
# Arrangements


@kernel("linear.arrange")
def arrange(indptr: Host, indices: Host, *, order: str) -> tuple[Host, ...]:
    """The fields of an :class:`Arrangement`, as int32 or, in large matrices, int64; the pattern need not be symmetric.

    A host function, whatever the library of the matrix. Two rows are coupled if either has an entry in the other's
    column; the groups are valid for the order only if no two rows of one are, which is for the caller to check.
    """
    n = indptr.size - 1
    row = np.repeat(np.arange(n), np.diff(indptr))
    column = indices.astype(np.int64)
    off = row != column
    low, high = np.minimum(row, column)[off], np.maximum(row, column)[off]
    group = GROUPING[order](low, high, n)
    rows = np.argsort(group, kind="stable")
    places = np.empty(n, dtype=np.int64)
    places[rows] = np.arange(n)
    row, column = places[row], places[column]
    kind = np.int32 if max(indices.size, n) < 2**31 - 1 else np.int64

    def triangle(inside: Host) -> tuple[Host, Host, Host]:
        entries = np.flatnonzero(inside)
        entries = entries[np.lexsort((column[entries], row[entries]))]
        starts = np.concatenate([[0], np.cumsum(np.bincount(row[entries], minlength=n))])
        return starts, column[entries], entries

    groups = np.searchsorted(group[rows], np.arange(group.max(initial=0) + 2))
    made = (rows, places, *triangle(column < row), *triangle(column > row), groups)
    return tuple(x.astype(kind) for x in made)


_memory: list[tuple[Host, Host, dict[str, Any]]] = []
_lock = threading.Lock()


def remembered(indptr: Host, indices: Host, key: str, make: Callable[[], Any]) -> Any:
    """What `make` made of this very pattern before, or makes now; patterns are compared, and the last few kept."""
    with _lock:
        known = (k for k, (p, i, _) in enumerate(_memory) if np.array_equal(p, indptr) and np.array_equal(i, indices))
        at = next(known, None)
        entry = (indptr.copy(), indices.copy(), {}) if at is None else _memory.pop(at)
        _memory.insert(0, entry)
        del _memory[REMEMBERED:]
        made = entry[2]
    if key not in made:
        made[key] = make()
    return made[key]


def pattern(A: CSR[Any]) -> tuple[Host, Host]:
    """Where rows start, and the columns, as the host sees them."""
    backend = of(A.indices)
    if backend.traced([A.indices, A.indptr]):
        raise TypeError(
            "the pattern of a sparse matrix must be known when a sweep is prepared, and a jax transformation hides it: "
            "make the CSR inside the function of its traced data and of index arrays from outside"
        )
    return backend.to_numpy(A.indptr), backend.to_numpy(A.indices)


@record
class Rows:
    """The stored entries of a matrix by rows, ascending and none of them twice, and its diagonal.

    The numbers are arrays of any library, the pattern is the host's.
    """

    data: Any
    diagonal: Any
    indptr: Any
    indices: Any


def rows_of(A: Any) -> Rows:
    """The stored entries of a dense matrix, a stencil, or compressed rows.

    Of a dense matrix whose values cannot be seen all entries count as stored.
    """
    diagonal = A.diagonal()
    if isinstance(A, Stencil):
        diagonal = namespace(diagonal).reshape(diagonal, (*diagonal.shape[: diagonal.ndim - len(A.grid)], -1))
        _, indices, indptr, _ = grid_pattern(A.grid)
        return Rows(A.to_csr().data, diagonal, indptr, indices)
    if isinstance(A, Dense) and of(A.array).traced([A.array]):
        n = A.shape[0]
        data = namespace(A.array).reshape(A.array, (*A.array.shape[:-2], n * n))
        return Rows(data, diagonal, n * np.arange(n + 1), np.tile(np.arange(n), n))
    A = A.to_csr()
    indptr, indices = pattern(A)
    found = remembered(indptr, indices, "merged", functools.partial(merged, indptr, indices, A.shape[1]))
    if found is None:
        return Rows(A.data, diagonal, indptr, indices)
    place, indices, indptr = found
    return Rows(index_sum(A.data, of(A.data).lend(place, A.data), size=indices.size), diagonal, indptr, indices)


def merged(indptr: Host, indices: Host, columns: int) -> tuple[Host, Host, Host] | None:
    """Where each entry goes if those in one place become one, and the pattern then; None where all is in order."""
    key = np.repeat(np.arange(indptr.size - 1), np.diff(indptr)) * columns + indices
    if np.all(key[1:] > key[:-1]):
        return None
    unique, place = np.unique(key, return_inverse=True)
    starts = np.searchsorted(unique, columns * np.arange(indptr.size))
    return place, (unique % columns).astype(indices.dtype), starts.astype(indptr.dtype)


def arranged(A: Rows, order: str) -> Arrangement:
    """The arrangement of A's pattern, on the host.

    Raises
    ------
    ValueError
        If the order is red-black and the rows do not fall into two uncoupled halves.
    """

    def make() -> Arrangement:
        made = Arrangement(*arrange(A.indptr, A.indices, order=order))
        if order == "red_black":
            check_halves(made)
        return made

    return remembered(A.indptr, A.indices, order, make)


def check_halves(made: Arrangement) -> None:
    """No entry may couple two rows of one colour."""
    n = made.rows.size
    half = np.searchsorted(made.groups[1:], np.arange(n), side="right")
    row = np.repeat(np.arange(n), np.diff(made.lower_starts))
    bad = np.flatnonzero(half[row] == half[made.lower_columns])
    if bad.size:
        i, j = (int(made.rows[x[bad[0]]]) for x in (made.lower_columns, row))
        raise ValueError(
            f"order 'red_black' needs rows that fall into two halves without couplings inside, and the entry between "
            f"rows {min(i, j)} and {max(i, j)} closes a cycle of odd length; use order='multicolor'"
        )


def lent(made: Any, A: Rows, key: str) -> Any:
    """`made`, a tree of host arrays that belong to A's pattern, in the library and on the device of A's numbers."""
    beside = A.data
    backend = of(beside)
    if backend.name == "numpy":
        return made
    place = f"{key} on {backend.name} {getattr(beside, 'device', '')}"
    if backend.traced([beside]):
        return map_arrays(lambda x: backend.lend(x, beside), made)
    return remembered(A.indptr, A.indices, place, lambda: map_arrays(lambda x: backend.lend(x, beside), made))


# ---------------------------------------------------------------------------------------------------------------------
# Matrices in the order of a sweep


@record
class Padded:
    """The triangles as tables of one width, for bodies that have no loop over the entries of a row.

    `lower`, shape (..., k, n + width), holds the entries of each row and zeros, `before`, shape (k, n + width), their
    columns; `upper` and `after` likewise. Window w holds the rows ``first[w]`` up to ``first[w] + count[w]``, which do
    not touch each other.
    """

    lower: Any
    upper: Any
    before: Any
    after: Any
    first: Any
    count: Any
    width: int = static()


@record
class Triangles:
    """A = D + L + U, rows and columns in the order of a sweep.

    `diagonal` has the shape (..., n), `lower` and `upper` hold the entries of the triangles, by rows. `padded` is None
    where a kernel will do the work.
    """

    diagonal: Any
    lower: Any
    upper: Any
    place: Arrangement
    padded: Padded | None


def triangles(A: Rows, order: str, *, padded: bool) -> Triangles:
    """A in the given order and, if `padded`, with the tables that portable bodies need."""
    on_host = arranged(A, order)
    xp, place = namespace(A.data), lent(on_host, A, order)
    diagonal = xp.take(A.diagonal, place.rows, axis=-1)
    lower, upper = (xp.take(A.data, source, axis=-1) for source in (place.lower_source, place.upper_source))
    if not padded:
        return Triangles(diagonal, lower, upper, place, None)
    *arrays, width = remembered(A.indptr, A.indices, f"tables {order}", lambda: spread(on_host))
    slots, before, other_slots, after, first, count = lent(tuple(arrays), A, f"tables {order}")
    tables = Padded(fill(lower, slots), fill(upper, other_slots), before, after, first, count, width)
    return Triangles(diagonal, lower, upper, place, tables)


def fill(values: Any, slots: Any) -> Any:
    """``values[..., slots]``; a slot one past the last value is an empty one."""
    xp = namespace(values)
    with_zero = xp.concat([values, xp.zeros((*values.shape[:-1], 1), **like(values))], axis=-1)
    flat = xp.take(with_zero, xp.reshape(slots, (-1,)), axis=-1)
    return xp.reshape(flat, (*values.shape[:-1], *slots.shape))


def spread(place: Arrangement) -> tuple[Any, ...]:
    """Slots and columns of :class:`Padded` for both triangles, its windows, and their width.

    Windows as long as the average group hold a group each, or a part of it: all together they cover at most twice as
    many rows as there are.
    """
    sizes = np.diff(place.groups)
    sizes = sizes[sizes > 0]
    n, kind = place.rows.size, place.rows.dtype
    width = int(-(-n // max(sizes.size, 1)))
    pieces = -(-sizes // max(width, 1))
    piece = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first = np.repeat(np.cumsum(sizes) - sizes, pieces) + width * piece
    count = np.minimum(width, np.repeat(sizes, pieces) - width * piece)

    def table(starts: Host, columns: Host) -> tuple[Host, Host]:
        counts = np.diff(starts)
        rank = np.arange(counts.max(initial=0))[:, None]
        slots = np.where(rank < counts, starts[:-1] + rank, columns.size)
        slots = np.pad(slots, [(0, 0), (0, width)], constant_values=columns.size)
        return slots.astype(kind), np.append(columns, 0)[slots].astype(kind)

    below = table(place.lower_starts, place.lower_columns)
    above = table(place.upper_starts, place.upper_columns)
    return (*below, *above, first.astype(kind), count.astype(kind), width)


def in_sweep_order(x: Any, place: Any) -> Any:
    """x, shape (..., n), with its numbers at their places."""
    return namespace(x).take(x, place.rows, axis=-1)


def in_natural_order(x: Any, place: Any) -> Any:
    """The way back."""
    return namespace(x).take(x, place.places, axis=-1)
