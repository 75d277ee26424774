"""numba kernels of sweeps in any order: through compressed rows, and through the diagonals of a stencil.

The rows come in groups that do not wait for each other, so that the machine works on many rows at once, although one
row is written after the other. Entries of a row are added from the farthest to the nearest one before it: where groups
are single rows, all but the last product is done when the row before is.

The residual is formed by a pass of its own, which is made rarely as long as the error is far above the tolerance.
"""

from __future__ import annotations

import functools
import math
import weakref
from dataclasses import replace
from typing import Any

import numpy as np

from .compiled import njit
from .runs import (
    CACHE,
    GROWTH,
    KINDS,
    PASS,
    SMALL,
    SWEEPS,
    Layout,
    batched,
    diagonal_runs,
    new_fall,
    next_factor,
    remembered,
    scalars_of,
    stride,
    sweep_runs,
    sweeps_in_pass,
)

__all__ = ["ordered_sweeps"]

CHAIN = {"contract", "nsz"}  # sums stay in their order: loops of a few entries are not to be vectors
BLOCK = 4096  # entries that are swept through at a time
LONG = np.uint64(16)  # entries from which on a row is added up in four sums
ZERO, ONE, TWO, THREE, FOUR, EIGHT = (np.uint64(k) for k in (0, 1, 2, 3, 4, 8))  # unsigned places need no test


# ---------------------------------------------------------------------------------------------------------------------
# Compressed rows


@njit(cache=True)
def rearranged(groups, lower_starts, lower_columns, upper_starts, upper_columns):  # type: ignore[no-untyped-def]
    """The rows, those of a group by their number of entries: loops then end where the machine foresees it."""
    n = lower_starts.size - 1
    rows = np.empty(n, dtype=np.uint32)
    most = 0
    for i in range(n):
        size = lower_starts[i + 1] - lower_starts[i] + upper_starts[i + 1] - upper_starts[i]
        most = int(max(most, size))
    counts = np.zeros(most + 2, dtype=np.int64)
    for g in range(groups.size - 1):
        first, last = groups[g], groups[g + 1]
        if last - first == 1:
            rows[first] = first
            continue
        low, high = most, 0
        for i in range(first, last):
            size = lower_starts[i + 1] - lower_starts[i] + upper_starts[i + 1] - upper_starts[i]
            counts[size + 1] += 1
            low, high = int(min(low, size)), int(max(high, size))
        counts[low] = first
        for size in range(low, high + 1):
            counts[size + 1] += counts[size]
        for i in range(first, last):
            size = lower_starts[i + 1] - lower_starts[i] + upper_starts[i + 1] - upper_starts[i]
            rows[counts[size]] = i
            counts[size] += 1
        counts[low : high + 2] = 0
    return rows


@njit(cache=True)
def joined(rows, places, far_starts, far_columns, near_starts, near_columns, reverse, far_source, near_source):  # type: ignore[no-untyped-def]
    """The entries of both triangles in one line for each row, those that it waits for last, the nearest at the end.

    Where rows begin, the columns, and where values are taken from.
    """
    n = rows.size
    starts = np.zeros(n + 1, dtype=rows.dtype)
    columns = np.empty(far_columns.size + near_columns.size, dtype=rows.dtype)
    source = np.empty(columns.size, dtype=rows.dtype)
    at = 0
    for p in range(n):
        i = rows[p]
        for k in range(far_starts[i], far_starts[i + ONE]):
            columns[at], source[at] = places[far_columns[k]], far_source + k
            at += 1
        first, last = near_starts[i], near_starts[i + ONE]
        for j in range(last - first):
            k = last - 1 - j if reverse else first + j
            columns[at], source[at] = places[near_columns[k]], near_source + k
            at += 1
        starts[p + 1] = at
    return starts, columns, source


@njit(cache=True)
def blocks_of(groups, rows, starts, columns, entries):  # type: ignore[no-untyped-def]
    """Consecutive groups, put together until they hold so many entries, and how many blocks apart coupled rows are."""
    n = rows.size
    blocks = np.zeros(groups.size, dtype=np.uint64)
    block = np.zeros(n, dtype=np.uint32)
    count = 0
    for g in range(groups.size - 1):
        if starts[groups[g + 1]] - starts[blocks[count]] >= entries or g == groups.size - 2:
            block[blocks[count] : groups[g + 1]] = count
            count += 1
            blocks[count] = groups[g + 1]
    reach = np.int64(1)
    for i in range(n):
        for k in range(starts[i], starts[i + 1]):
            apart = abs(np.int64(block[columns[k]]) - np.int64(block[i]))
            reach = apart if apart > reach else reach
    return blocks[: count + 1].copy(), reach


@njit(cache=True)
def take(values, source, out):  # type: ignore[no-untyped-def]
    for k in range(out.size):
        out[k] = values[source[k]]


@njit(cache=True)
def take_both(lower, upper, source, out):  # type: ignore[no-untyped-def]
    """From two arrays, the places of the second one counting on."""
    n = np.uint64(lower.size)
    for k in range(out.size):
        s = source[k] + ZERO
        out[k] = lower[s] if s < n else upper[s - n]


@njit(fastmath=CHAIN, cache=True, error_model="numpy")
def up(x, b, inverse, values, columns, starts, first, last, omega):  # type: ignore[no-untyped-def]
    """The rows from `first` to `last`, relaxed; the sum of squares of what they moved by."""
    moved = zero = x.dtype.type(0.0)
    keep = x.dtype.type(1.0) - omega
    k = starts[first] + ZERO
    for i in range(first, last):
        s = b[i]
        end = starts[i + ONE] + ZERO
        if end > k + LONG:
            s1 = s2 = s3 = zero
            while k + EIGHT < end:
                s -= values[k] * x[columns[k]]
                s1 -= values[k + ONE] * x[columns[k + ONE]]
                s2 -= values[k + TWO] * x[columns[k + TWO]]
                s3 -= values[k + THREE] * x[columns[k + THREE]]
                k += FOUR
            s += s1 + s2 + s3
        while k < end:
            s -= values[k] * x[columns[k]]
            k += ONE
        old = x[i]
        new = keep * old + omega * inverse[i] * s
        x[i] = new
        moved += (new - old) * (new - old)
    return moved


@njit(fastmath=CHAIN, cache=True, error_model="numpy")
def down(x, b, inverse, values, columns, starts, first, last, omega):  # type: ignore[no-untyped-def]
    """The same, the last row first."""
    moved = zero = x.dtype.type(0.0)
    keep = x.dtype.type(1.0) - omega
    for j in range(last - first):
        i = last - ONE - j
        s = b[i]
        k, end = starts[i] + ZERO, starts[i + ONE] + ZERO
        if end > k + LONG:
            s1 = s2 = s3 = zero
            while k + EIGHT < end:
                s -= values[k] * x[columns[k]]
                s1 -= values[k + ONE] * x[columns[k + ONE]]
                s2 -= values[k + TWO] * x[columns[k + TWO]]
                s3 -= values[k + THREE] * x[columns[k + THREE]]
                k += FOUR
            s += s1 + s2 + s3
        while k < end:
            s -= values[k] * x[columns[k]]
            k += ONE
        old = x[i]
        new = keep * old + omega * inverse[i] * s
        x[i] = new
        moved += (new - old) * (new - old)
    return moved


@njit(fastmath=CHAIN, cache=True, error_model="numpy")
def residual(x, b, diagonal, values, columns, starts):  # type: ignore[no-untyped-def]
    """|b - A x|; large and small numbers neither overflow nor vanish."""
    total = 0.0
    k = starts[0] + ZERO
    for i in range(x.size):
        s = b[i] - diagonal[i] * x[i]
        end = starts[i + 1] + ZERO
        while k < end:
            s -= values[k] * x[columns[k]]
            k += ONE
        total += s * s
    lowest, highest = (1e-260, 1e260) if x.itemsize == 8 else (1e-26, 1e30)
    if lowest < total < highest:
        return math.sqrt(total)
    largest = total = 0.0
    for again in range(2):
        for i in range(x.size):
            r = np.float64(b[i]) - np.float64(diagonal[i]) * x[i]
            for k in range(starts[i], starts[i + 1]):
                r -= np.float64(values[k]) * x[columns[k]]
            if not math.isfinite(r):
                return math.nan
            if again:
                total += (r / largest) ** 2
            else:
                largest = max(largest, abs(r))
        if largest == 0.0:
            return 0.0
    return largest * math.sqrt(total)


@njit(cache=True, error_model="numpy")
def row_sweeps(x, b, inverse, forward, backward, blocks, red, sweep, omega, factor, beta, count, trace):  # type: ignore[no-untyped-def]
    """`count` sweeps, and the next factor. Where rows look a few blocks ahead, several sweeps follow each other."""
    places, lag, per_pass = blocks
    kind = x.dtype.type
    n = np.uint64(x.size)
    groups = places.size - 1
    trace[:count] = 0.0
    h = 0
    while h < count:
        now = min(per_pass, count - h)
        if beta >= 0.0:  # forward only
            second = next_factor(factor, beta)
            trace[h] += up(x, b, inverse, forward[0], forward[1], forward[2], ZERO, red, kind(factor))
            trace[h] += up(x, b, inverse, forward[0], forward[1], forward[2], red, n, kind(second))
            factor = next_factor(second, beta)
            now = 1
        elif sweep == 2 or now == 1:
            if sweep != 1:
                trace[h] += up(x, b, inverse, forward[0], forward[1], forward[2], ZERO, n, kind(omega))
            if sweep != 0:
                trace[h] += down(x, b, inverse, backward[0], backward[1], backward[2], ZERO, n, kind(omega))
            now = 1
        else:
            for t in range(groups + lag * (now - 1)):
                for m in range(now):
                    g = t - lag * m
                    if g < 0 or g >= groups:
                        continue
                    if sweep == 0:
                        first, last = places[g], places[g + 1]
                        trace[h + m] += up(x, b, inverse, forward[0], forward[1], forward[2], first, last, kind(omega))
                    else:
                        first, last = places[groups - 1 - g], places[groups - g]
                        trace[h + m] += down(
                            x, b, inverse, backward[0], backward[1], backward[2], first, last, kind(omega)
                        )
        h += now
    for m in range(count):
        trace[m] = math.sqrt(trace[m])
    return factor


@njit(cache=True, error_model="numpy")
def row_chunk(x, b, diagonal, forward, backward, blocks, red, sweep, out, omega, factor, beta, size, best, limit, tol):  # type: ignore[no-untyped-def]
    """What :func:`equipoise_numpy.runs.run_chunk` does."""
    n = x.size
    out[:] = x
    inverse, trace = np.empty_like(x), np.zeros(max(limit, 1))
    values, columns, starts = backward if sweep == 1 else forward
    for i in range(n):
        inverse[i] = 1.0 / diagonal[i]
    done, careful, start, error = 0, tol > 0.0 and values.size <= 2 * SMALL, factor, math.inf
    fall, steady, level = 1.0, True, best
    while done < limit:
        remaining = limit - done
        count = 1 if careful else min(stride(level, tol, fall, steady, remaining), remaining)
        factor = row_sweeps(out, b, inverse, forward, backward, blocks, red, sweep, omega, factor, beta, count, trace)
        error = residual(out, b, diagonal, values, columns, starts) / size
        ended = (tol > 0.0 and not error > tol) or not math.isfinite(error) or error > GROWTH * best
        if ended and count > 1:  # too late, perhaps: once more from the start, with a look at every sweep from here on
            careful, factor = True, start
            out[:] = x
            if done:
                factor = row_sweeps(
                    out, b, inverse, forward, backward, blocks, red, sweep, omega, factor, beta, done, trace
                )
            continue
        done += count
        if ended:
            break
        fall, steady = new_fall(fall, level, error, trace, count)
        level = error
    return done, error, factor


@njit(fastmath=CHAIN, cache=True, error_model="numpy")
def look_members(xs, bs, numbers, pattern, scalars, found):  # type: ignore[no-untyped-def]
    """The errors of states as they are."""
    starts, columns, other_starts, other_columns = pattern
    diagonals, lowers, uppers = numbers
    done, error, factors = found
    rest, nothing = np.empty_like(xs[0]), np.zeros_like(xs[0])
    none = (xs[0, :0], columns[:0].astype(np.uint32), np.zeros(rest.size + 1, dtype=np.uint32))
    for m in range(error.size):
        x, b, diagonal = xs[m], bs[m], diagonals[min(m, diagonals.shape[0] - 1)]
        lower, upper = lowers[min(m, lowers.shape[0] - 1)], uppers[min(m, uppers.shape[0] - 1)]
        for i in range(x.size):
            s = b[i] - diagonal[i] * x[i]
            for k in range(starts[i], starts[i + 1]):
                s -= lower[k] * x[columns[k]]
            for k in range(other_starts[i], other_starts[i + 1]):
                s -= upper[k] * x[other_columns[k]]
            rest[i] = s
        done[m] = 0
        error[m] = residual(x, rest, nothing, none[0], none[1], none[2]) / scalars[3][m]
        factors[m] = scalars[1][min(m, scalars[1].size - 1)]


@njit(cache=True)
def row_members(xs, bs, numbers, rows, ways, blocks, red, sweep, outs, scalars, limit, tol, found):  # type: ignore[no-untyped-def]
    """A chunk for each member of a batch; arrays of one member serve all."""
    omega, factor, beta, size, best = scalars
    done, error, factors = found
    n = rows.size
    (up_starts, up_columns, up_source), (down_starts, down_columns, down_source) = ways
    diagonals, lowers, uppers = numbers
    kept = np.empty((4, n), dtype=xs.dtype)
    x, b, diagonal, out = kept[0], kept[1], kept[2], kept[3]
    up_values, down_values = np.empty(up_source.size, dtype=xs.dtype), np.empty(down_source.size, dtype=xs.dtype)
    for m in range(error.size):
        take(xs[m], rows, x)
        take(bs[m], rows, b)
        if m < diagonals.shape[0]:
            take(diagonals[m], rows, diagonal)
        if m < max(lowers.shape[0], uppers.shape[0]):
            lower, upper = lowers[min(m, lowers.shape[0] - 1)], uppers[min(m, uppers.shape[0] - 1)]
            take_both(lower, upper, up_source, up_values)
            take_both(lower, upper, down_source, down_values)
        forward, backward = (up_values, up_columns, up_starts), (down_values, down_columns, down_starts)
        done[m], error[m], factors[m] = row_chunk(
            *(x, b, diagonal, forward, backward, blocks, red, sweep, out, omega[min(m, omega.size - 1)]),
            *(factor[min(m, factor.size - 1)], beta[min(m, beta.size - 1)], size[m], best[m], limit, tol),
        )
        for p in range(n):
            outs[m, rows[p]] = out[p]


_ways: dict[int, tuple[Any, Any, dict[str, Any]]] = {}  # by the columns of an arrangement that is still alive


def ways_of(place: Any, sweep: str) -> tuple[Any, Any, Any]:
    """The rows in the order of the work, blocks, and starts, columns and source of the entries, going up and down."""
    key = id(place.lower_columns)
    known = _ways.get(key)
    lower, upper = (place.lower_starts, place.lower_columns), (place.upper_starts, place.upper_columns)
    if known is None or known[0]() is not place.lower_columns:
        rows = rearranged(place.groups, *lower, *upper)
        places = np.empty_like(rows)
        places[rows] = np.arange(rows.size, dtype=rows.dtype)
        forget = weakref.ref(place.lower_columns, lambda _: _ways.pop(key, None))
        known = _ways[key] = (forget, (rows, places), {})
    (rows, places), made = known[1], known[2]
    n_lower = lower[1].size
    nothing = (np.zeros(1, dtype=rows.dtype), rows[:0], rows[:0])
    if sweep != "backward" and "up" not in made:
        made["up"] = joined(rows, places, *upper, *lower, False, n_lower, 0)
    if sweep != "forward" and "down" not in made:
        made["down"] = joined(rows, places, *lower, *upper, True, 0, n_lower)
    if sweep != "symmetric" and "blocks" not in made:
        starts, columns, _ = made["up"] if sweep == "forward" else made["down"]
        places, reach = blocks_of(place.groups, rows, starts, columns, BLOCK)
        span = 12.0 * BLOCK * int(reach)  # bytes of entries between two sweeps
        made["blocks"] = places, int(reach), int(max(1, min(PASS, CACHE // span)))
    return (
        rows,
        made.get("blocks", (np.zeros(2, dtype=np.uint64), 1, 1)),
        (made["up"] if sweep != "backward" else nothing, made["down"] if sweep != "forward" else nothing),
    )


def through_rows(state: Any, task: Any, batch: tuple[int, ...], limit: int, tol: float) -> tuple[Any, Any, Any, Any]:
    """x, done, error and factor of sweeps through compressed rows."""
    x, matrix = state.x, task.matrix
    place, count, n = matrix.place, math.prod(batch), x.shape[-1]
    out = np.empty((count, n), dtype=x.dtype)
    found = np.empty(count, dtype=np.int64), np.empty(count), np.empty(count)
    red = int(place.groups[1]) if state.factor is not None else n
    xs, bs = (batched(v, batch, n, whole=True) for v in (x, task.b))
    numbers = tuple(batched(v, batch, v.shape[-1]) for v in (matrix.diagonal, matrix.lower, matrix.upper))
    scalars = scalars_of(state, task, batch)
    if limit == 0:
        pattern = place.lower_starts, place.lower_columns, place.upper_starts, place.upper_columns
        look_members(xs, bs, numbers, pattern, scalars, found)
        out = xs
    else:
        rows, blocks, ways = ways_of(place, task.sweep)
        row_members(
            *(xs, bs, numbers, rows, ways, blocks, np.uint64(red), SWEEPS[task.sweep], out, scalars),
            *(limit, tol, found),
        )
    done, error, factor = found
    shaped = done.reshape(batch), error.astype(x.dtype).reshape(batch), factor.astype(x.dtype).reshape(batch)
    return out.reshape(x.shape), *shaped


# ---------------------------------------------------------------------------------------------------------------------
# Diagonals


@functools.lru_cache(maxsize=8)
def layout_of(grid: tuple[int, ...], item: int) -> Layout:
    """The runs of the diagonals of a grid."""
    levels = sum(grid) - len(grid) + 1
    unknowns = math.prod(grid)
    align = 64 // item if unknowns > 64 * levels * (1 if len(grid) == 2 else grid[0]) else 1
    n0, n1, n2 = (1, *grid) if len(grid) == 2 else grid
    runs, first, length = diagonal_runs(n0, n1, n2, len(grid), align)
    return Layout(runs, first, unknowns, int(length), len(grid), False, sweeps_in_pass(2 * item * unknowns / levels))


def through_diagonals(state: Any, task: Any, batch: tuple[int, ...], limit: int, tol: float) -> tuple[Any, ...]:
    """x, done, error and factor of sweeps through a stencil."""
    x, m = state.x, task.diagonals
    n, count = x.shape[-1], math.prod(batch)
    values = (m.center, *m.weights)
    numbers = np.zeros((1, 4), dtype=x.dtype)
    fields: tuple[Any, ...] = ()
    if all(v.ndim == 0 or v.shape[-1] != n or v.shape == batch for v in values):
        if any(v.ndim for v in values):
            numbers = np.zeros((count, 4), dtype=x.dtype)
        for k, v in enumerate(values):
            numbers[:, k] = np.broadcast_to(v, batch).reshape(-1) if v.ndim else v
    else:
        numbers[0, 0] = 1.0
        fields = tuple(f for v in values for f in (batched(v, batch, n),) * 2)
        fields += (np.zeros((0, n), dtype=x.dtype),) * (8 - len(fields))
    pairs = tuple((batched(v, batch, n, whole=True),) * 2 for v in (x, task.b))
    layout = layout_of(m.grid, x.dtype.itemsize)
    outs, done, error, factor = sweep_runs(layout, state, task, batch, (numbers, fields, *pairs), limit, tol)
    return outs[0].reshape(x.shape), done, error, factor


def ordered_sweeps(state: Any, task: Any, limit: Any, tol: Any) -> Any:
    """The kernel ``linear.sor``."""
    x = state.x
    batch = x.shape[:-1]
    if x.dtype not in KINDS or x.size == 0:
        return NotImplemented
    run = through_rows if task.diagonals is None else through_diagonals
    out, done, error, factor = run(state, task, batch, int(limit), float(tol))
    best, best_error = remembered(state, x)
    factor = None if state.factor is None else factor
    return replace(state, x=out, error=error, best=best, best_error=best_error, factor=factor), done, error
