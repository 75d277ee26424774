"""numba kernels that relax a grid by runs: rows of one colour, or pieces of a diagonal.

The unknowns of a run stand side by side, and so do their neighbours along each axis, in other runs. All runs lie in one
flat array with zeros between them, so that the border of the grid needs no case of its own, and the loop over a run is
a loop over contiguous numbers. Runs that do not wait for each other form a group. A stage relaxes one group after
another, and the next stage may follow a group behind, so that several sweeps make one pass through the memory.

The residual is formed before a run is relaxed. That of all others is found by a last stage that only looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from equipoise.backend import unlocked
from equipoise.record import map_arrays

from .compiled import njit
from .vectors import AFTER, APART, BEFORE, run_of

__all__ = ["KINDS", "Layout", "batched", "remembered", "scalars_of", "sweep_runs", "sweeps_in_pass"]

PASS = 4  # sweeps in a pass through the memory
CACHE = 1 << 19  # bytes that the groups under work in one pass may take
SMALL = 4096  # unknowns up to which every sweep is looked at
GROWTH = 1e8  # as in the portable body
ONE, LANES = np.uint64(1), np.uint64(8)
KINDS = frozenset({np.dtype(np.float32), np.dtype(np.float64)})
SWEEPS = {"forward": 0, "backward": 1, "symmetric": 2}


@dataclass(frozen=True)
class Layout:
    """Runs and the first run of each colour and group, unknowns, the length of a flat array, and how to pass."""

    runs: np.ndarray[Any, Any]
    first: np.ndarray[Any, Any]
    unknowns: int
    length: int
    axes: int
    paired: bool
    sweeps_in_pass: int


# ---------------------------------------------------------------------------------------------------------------------
# One run. b - A x on it, its sum of squares, and x + f (b - A x); `a` are the places of the neighbours.


relax_2_apart = run_of(2, False, APART)
relax_2_before = run_of(2, False, BEFORE)
relax_2_after = run_of(2, False, AFTER)


@njit(cache=True, error_model="numpy", inline="always")
def relax_2(x, b, p, m, a0, a1, a2, a3, w0, w1, d, f):  # type: ignore[no-untyped-def]
    if a3 != a2 + ONE:
        return relax_2_apart(x, b, p, m, a0, a1, a2, a3, w0, w1, d, f)
    if a3 % LANES == 0:
        return relax_2_before(x, b, p, m, a0, a1, a2, a3, w0, w1, d, f)
    return relax_2_after(x, b, p, m, a0, a1, a2, a3, w0, w1, d, f)


relax_fields_2_apart = run_of(2, True, APART)
relax_fields_2_before = run_of(2, True, BEFORE)
relax_fields_2_after = run_of(2, True, AFTER)


@njit(cache=True, error_model="numpy", inline="always")
def relax_fields_2(x, b, d, w0, w1, p, m, a0, a1, a2, a3, f):  # type: ignore[no-untyped-def]
    if a3 != a2 + ONE:
        return relax_fields_2_apart(x, b, d, w0, w1, p, m, a0, a1, a2, a3, f)
    if a3 % LANES == 0:
        return relax_fields_2_before(x, b, d, w0, w1, p, m, a0, a1, a2, a3, f)
    return relax_fields_2_after(x, b, d, w0, w1, p, m, a0, a1, a2, a3, f)


relax_3_apart = run_of(3, False, APART)
relax_3_before = run_of(3, False, BEFORE)
relax_3_after = run_of(3, False, AFTER)


@njit(cache=True, error_model="numpy", inline="always")
def relax_3(x, b, p, m, a0, a1, a2, a3, a4, a5, w0, w1, w2, d, f):  # type: ignore[no-untyped-def]
    if a5 != a4 + ONE:
        return relax_3_apart(x, b, p, m, a0, a1, a2, a3, a4, a5, w0, w1, w2, d, f)
    if a5 % LANES == 0:
        return relax_3_before(x, b, p, m, a0, a1, a2, a3, a4, a5, w0, w1, w2, d, f)
    return relax_3_after(x, b, p, m, a0, a1, a2, a3, a4, a5, w0, w1, w2, d, f)


relax_fields_3_apart = run_of(3, True, APART)
relax_fields_3_before = run_of(3, True, BEFORE)
relax_fields_3_after = run_of(3, True, AFTER)


@njit(cache=True, error_model="numpy", inline="always")
def relax_fields_3(x, b, d, w0, w1, w2, p, m, a0, a1, a2, a3, a4, a5, f):  # type: ignore[no-untyped-def]
    if a5 != a4 + ONE:
        return relax_fields_3_apart(x, b, d, w0, w1, w2, p, m, a0, a1, a2, a3, a4, a5, f)
    if a5 % LANES == 0:
        return relax_fields_3_before(x, b, d, w0, w1, w2, p, m, a0, a1, a2, a3, a4, a5, f)
    return relax_fields_3_after(x, b, d, w0, w1, w2, p, m, a0, a1, a2, a3, a4, a5, f)


# ---------------------------------------------------------------------------------------------------------------------
# A pass


@njit(cache=True, error_model="numpy", inline="always")
def constant_runs(x, b, numbers, runs, low, high, omega, axes):  # type: ignore[no-untyped-def]
    """The runs of one group, relaxed; the sum of squares of their residuals before. With a factor of 0, a look."""
    d, w0, w1, w2 = numbers[0], numbers[1], numbers[2], numbers[3]
    f = omega / d
    total = 0.0
    for q in range(low, high):
        p, m, a0, a1, a2, a3 = runs[q, 0], runs[q, 1], runs[q, 2], runs[q, 3], runs[q, 4], runs[q, 5]
        if axes == 2:
            total += relax_2(x, b, p, m, a0, a1, a2, a3, w0, w1, d, f)
        else:
            total += relax_3(x, b, p, m, a0, a1, a2, a3, runs[q, 6], runs[q, 7], w0, w1, w2, d, f)
    return total


@njit(cache=True, error_model="numpy", inline="always")
def field_runs(x, b, d, w0, w1, w2, runs, low, high, omega, axes):  # type: ignore[no-untyped-def]
    total = 0.0
    for q in range(low, high):
        p, m, a0, a1, a2, a3 = runs[q, 0], runs[q, 1], runs[q, 2], runs[q, 3], runs[q, 4], runs[q, 5]
        if axes == 2:
            total += relax_fields_2(x, b, d, w0, w1, p, m, a0, a1, a2, a3, omega)
        else:
            total += relax_fields_3(x, b, d, w0, w1, w2, p, m, a0, a1, a2, a3, runs[q, 6], runs[q, 7], omega)
    return total


@njit(cache=True, error_model="numpy")
def run_pass(work, numbers, runs, first, colors, omegas, count, looks, backward, axes, constant, sums):  # type: ignore[no-untyped-def]
    """`count` stages, each a group behind the one before, and `looks` that only look; their sums of squares."""
    groups = first.shape[1] - 1
    sums[: count + looks] = 0.0
    x, b = work[0], work[1]
    last = work.shape[0] - 1
    d, w0, w1, w2 = work[min(2, last)], work[min(3, last)], work[min(4, last)], work[min(5, last)]
    for t in range(groups + count + looks - 1):
        for h in range(max(0, t - groups + 1), min(count + looks, t + 1)):
            g = t - h
            if backward:
                g = groups - 1 - g
            c, omega = colors[h], omegas[h] if h < count else omegas.dtype.type(0.0)
            low, high = first[c, g], first[c, g + 1]
            if constant:
                sums[h] += constant_runs(x, b, numbers, runs, low, high, omega, axes)
            else:
                sums[h] += field_runs(x, b, d, w0, w1, w2, runs, low, high, omega, axes)


@njit(cache=True, error_model="numpy")
def slow_residual(work, numbers, runs, first, axes, constant):  # type: ignore[no-untyped-def]
    """|b - A x|, whatever its size."""
    x, b = work[0], work[1]
    largest = 0.0
    total = 0.0
    for again in range(2):
        for c in range(first.shape[0]):
            for q in range(first[c, 0], first[c, -1]):
                p = runs[q, 0]
                for k in range(runs[q, 1]):
                    r = np.float64(b[p + k])
                    if constant:
                        r -= np.float64(numbers[0]) * x[p + k]
                    else:
                        r -= np.float64(work[2, p + k]) * x[p + k]
                    for n in range(2 * axes):
                        a = runs[q, 2 + n]
                        if constant:
                            r += np.float64(numbers[1 + n // 2]) * x[a + k]
                        else:
                            r += np.float64(work[3 + n // 2, a + k if n % 2 else p + k]) * x[a + k]
                    if not math.isfinite(r):
                        return math.nan
                    if again:
                        total += (r / largest) ** 2
                    else:
                        largest = max(largest, abs(r))
        if largest == 0.0:
            return 0.0
    return largest * math.sqrt(total)


# ---------------------------------------------------------------------------------------------------------------------
# A chunk


@njit(cache=True)
def load(target, runs, first, c, source):  # type: ignore[no-untyped-def]
    """A colour's numbers from where the caller keeps them side by side."""
    for q in range(first[c, 0], first[c, first.shape[1] - 1]):
        p, m, s = runs[q, 0], runs[q, 1], runs[q, 8]
        for k in range(m):
            target[p + k] = source[s + k]


@njit(cache=True)
def unload(source, runs, first, c, target):  # type: ignore[no-untyped-def]
    for q in range(first[c, 0], first[c, first.shape[1] - 1]):
        p, m, s = runs[q, 0], runs[q, 1], runs[q, 8]
        for k in range(m):
            target[s + k] = source[p + k]


@njit(cache=True)
def next_factor(factor, beta):  # type: ignore[no-untyped-def]
    """As in the portable body."""
    return 1.0 / (1.0 - 0.25 * beta * beta * (2.0 if factor == 1.0 else factor))


@njit(cache=True)
def stride(error, tol, fall, steady, remaining):  # type: ignore[no-untyped-def]
    """Sweeps until the next look: half as many as the fastest fall seen of late would take."""
    if not tol > 0.0:
        return remaining
    if not error > 2.0 * tol:
        return 1
    steps = 0.5 * math.log(error / tol) / max(fall, 1e-3)
    if not steady:
        steps *= 0.25
    return int(max(1.0, min(steps, remaining)))


@njit(cache=True, error_model="numpy")
def new_fall(fall, level, error, trace, count):  # type: ignore[no-untyped-def]
    """The fastest fall of an error's logarithm in a sweep of late, and whether none went up."""
    if count == 1:
        change = math.log(level / error) if error > 0.0 else 0.0
        return max(0.9 * fall, change), change > 0.0
    steady, fall = True, 0.5 * fall
    for k in range(1, count):
        change = math.log(max(trace[k - 1], 1e-300) / max(trace[k], 1e-300))
        steady &= change > 0.0
        fall = max(fall, change)
    return fall, steady


@njit(cache=True, error_model="numpy")
def sweep_stages(work, numbers, runs, first, settings, omega, factor, beta, count, look, sums, colors, omegas, trace):  # type: ignore[no-untyped-def]
    """`count` sweeps and, if wanted, |b - A x| after the last; the next factor.

    `trace` receives the norm of what the sweeps met before relaxing, a number that follows the residual.
    """
    paired, sweep, axes, constant, per_pass = settings
    error = math.nan
    done = 0
    while done < count:
        now = min(per_pass, count - done)
        if paired:
            size = 4 if sweep == 2 else 2
            stages = size * now
            for h in range(stages):
                colors[h] = (h % 2 ^ (h % 4 // 2)) if sweep == 2 else (h + sweep) % 2
                omegas[h] = omega
                if beta >= 0.0:
                    omegas[h] = factor
                    factor = next_factor(factor, beta)
            last = look and done + now == count
            colors[stages] = 1 - colors[stages - 1]
            run_pass(work, numbers, runs, first, colors, omegas, stages, int(last), False, axes, constant, sums)
            for h in range(now):
                trace[done + h] = math.sqrt(sums[size * h] + sums[size * h + 1])
            if last:
                left = 1.0 - omegas[stages - 1]
                error = math.sqrt(left * left * sums[stages - 1] + sums[stages])
        else:
            now = 1 if sweep == 2 else now
            last = look and done + now == count
            colors[:] = 0
            omegas[:] = omega
            if sweep == 2:
                run_pass(work, numbers, runs, first, colors, omegas, 1, 0, False, axes, constant, sums)
                trace[done] = math.sqrt(sums[0])
                run_pass(work, numbers, runs, first, colors, omegas, 1, int(last), True, axes, constant, sums)
                stages = 1
            else:
                stages = now
                run_pass(work, numbers, runs, first, colors, omegas, now, int(last), sweep == 1, axes, constant, sums)
                for h in range(now):
                    trace[done + h] = math.sqrt(sums[h])
            if last:
                error = math.sqrt(sums[stages])
        done += now
    return error, factor


@njit(cache=True, error_model="numpy")
def run_chunk(work, numbers, runs, first, unknowns, settings, xs, omega, factor, beta, size, best, limit, tol, outs):  # type: ignore[no-untyped-def]
    """Up to `limit` sweeps from `xs` to `outs`; their number, the relative error, and the next factor.

    Looks are made rarely while the error is far above `tol`. Where one comes too late, and finds an error that no
    sweep should have left behind, the chunk is run again to where it was known to go on, and every sweep is looked at.
    """
    _, _, axes, constant, per_pass = settings
    colored = first.shape[0]
    length = 4 * max(per_pass, 1) + 2
    sums, omegas = np.zeros(length), np.zeros(length, dtype=work.dtype)
    colors, trace = np.zeros(length, dtype=np.int64), np.zeros(max(limit, 1))
    lowest, highest = (1e-260, 1e260) if work.itemsize == 8 else (1e-26, 1e30)  # where plain squares will do
    for c in range(colored):
        load(work[0], runs, first, c, xs[c])
    error = slow_residual(work, numbers, runs, first, axes, constant) / size if limit == 0 else math.inf
    done = known = 0
    start = factor
    careful = tol > 0.0 and unknowns <= SMALL
    plain = True
    fall, steady = 1.0, True
    level = best
    while done < limit:
        remaining = limit - done
        count = 1 if careful or not plain else min(stride(level, tol, fall, steady, remaining), remaining)
        error, factor = sweep_stages(
            *(work, numbers, runs, first, settings, omega, factor, beta, count, plain),
            *(sums, colors, omegas, trace),
        )
        if not plain:
            error = slow_residual(work, numbers, runs, first, axes, constant)
        elif not lowest < error * error < highest:
            if count > 1:  # squares overflow or vanish: once more, slowly
                careful, plain, factor, done = True, False, start, 0
                for c in range(colored):
                    load(work[0], runs, first, c, xs[c])
                if known:
                    _, factor = sweep_stages(
                        *(work, numbers, runs, first, settings, omega, factor, beta, known, False),
                        *(sums, colors, omegas, trace),
                    )
                    done = known
                continue
            error = slow_residual(work, numbers, runs, first, axes, constant)
        error /= size
        ended = (tol > 0.0 and not error > tol) or not math.isfinite(error) or error > GROWTH * best
        if ended and count > 1:
            careful, factor, done = True, start, 0
            for c in range(colored):
                load(work[0], runs, first, c, xs[c])
            if known:
                _, factor = sweep_stages(
                    *(work, numbers, runs, first, settings, omega, factor, beta, known, False),
                    *(sums, colors, omegas, trace),
                )
                done = known
            continue
        done += count
        known = done
        if ended:
            break
        fall, steady = new_fall(fall, level, error, trace, count)
        level = error
    for c in range(colored):
        unload(work[0], runs, first, c, outs[c])
    return done, error, factor


@njit(cache=True)
def run_members(work, runs, first, unknowns, settings, xs, bs, fields, numbers, scalars, limit, tol, outs, found):  # type: ignore[no-untyped-def]
    """A chunk for each member of a batch; arrays of one member serve all."""
    axes, constant = settings[2], settings[3]
    omega, factor, beta, size, best = scalars
    done, error, factors = found
    for n in range(error.size):
        for c in range(first.shape[0]):
            load(work[1], runs, first, c, bs[c][n])
        if not constant:
            for c in range(first.shape[0]):
                for k in range(axes + 1):
                    field = fields[2 * k + c]
                    if n < field.shape[0]:
                        load(work[2 + k], runs, first, c, field[n])
        done[n], error[n], factors[n] = run_chunk(
            *(work, numbers[min(n, numbers.shape[0] - 1)], runs, first, unknowns, settings),
            *((xs[0][n], xs[1][n]), omega[min(n, omega.size - 1)], factor[min(n, factor.size - 1)]),
            *(beta[min(n, beta.size - 1)], size[n], best[n], limit, tol, (outs[0][n], outs[1][n])),
        )


# ---------------------------------------------------------------------------------------------------------------------
# Where runs lie. A row of a table holds a run's place, length, its neighbours' places, those along the third axis, and
# where the caller keeps its numbers.


@njit(cache=True)
def red_black_runs(n0, n1, n2, axes, stride, align, together):  # type: ignore[no-untyped-def]
    """Rows of n2 points by turns in two colours; n1 rows are a plane, and some planes a group."""
    runs = np.zeros((2 * n0 * n1, 9), dtype=np.uint64)
    groups = (n0 + together - 1) // together
    first = np.zeros((2, groups + 1), dtype=np.int64)
    width = (n2 + 1) // 2
    start = align + stride
    for c in range(2):
        for i in range(n0):
            if i % together == 0:
                first[c, i // together] = c * n0 * n1 + i * n1
            for j in range(n1):
                row = i * n1 + j
                run = runs[c * n0 * n1 + row]
                own, other = start + (2 * row + c) * stride, start + (2 * row + 1 - c) * stride
                begins = (i + j) % 2 == c
                run[0], run[1], run[8] = own, (n2 + 1) // 2 if begins else n2 // 2, row * width
                side = 6 if axes == 3 else 4
                run[side], run[side + 1] = (other - 1, other) if begins else (other, other + 1)
                run[2] = other - 2 * n1 * stride if i > 0 else align
                run[3] = other + 2 * n1 * stride if i < n0 - 1 else align
                if axes == 3:
                    run[4] = other - 2 * stride if j > 0 else align
                    run[5] = other + 2 * stride if j < n1 - 1 else align
        first[c, groups] = (c + 1) * n0 * n1
    return runs, first, start + 2 * n0 * n1 * stride


@njit(cache=True)
def red_black_line(n, piece, align):  # type: ignore[no-untyped-def]
    """One row, cut into pieces."""
    width = (n + 1) // 2
    count = (width + piece - 1) // piece
    runs = np.zeros((2 * count, 9), dtype=np.uint64)
    first = np.zeros((2, count + 1), dtype=np.int64)
    start = align * (piece // align + 2)
    stride = align * (width // align + 3)
    for c in range(2):
        length = width if c == 0 else n // 2
        for i in range(count):
            first[c, i] = c * count + i
            run = runs[c * count + i]
            own, other = start + c * stride + i * piece, start + (1 - c) * stride + i * piece
            run[0], run[1], run[8] = own, max(0, min(piece, length - i * piece)), i * piece
            run[2], run[3] = align, align
            run[4], run[5] = (other - 1, other) if c == 0 else (other, other + 1)
        first[c, count] = (c + 1) * count
    return runs, first, start + 2 * stride


@njit(cache=True)
def diagonal_runs(n0, n1, n2, axes, align):  # type: ignore[no-untyped-def]
    """Points of one sum of indices by their first index; a run goes up the second axis and down the third."""
    levels = n0 + n1 + n2 - 2
    table = np.ones((levels + 2, n0 + 2), dtype=np.int64)  # where a run would begin if it began with index 0
    first = np.zeros((1, levels + 1), dtype=np.int64)
    at = align * ((n1 + 3) // align + 1)
    count = 0
    for s in range(levels):
        for i in range(max(0, s - n1 - n2 + 2), min(n0 - 1, s) + 1):
            low, high = max(0, s - i - n2 + 1), min(n1 - 1, s - i)
            table[s + 1, i + 1] = at - low
            at += align * ((high - low + 1) // align + 1)
            count += 1
    runs = np.zeros((count, 9), dtype=np.uint64)
    source = count = 0
    for s in range(levels):
        first[0, s] = count
        for i in range(max(0, s - n1 - n2 + 2), min(n0 - 1, s) + 1):
            low, high = max(0, s - i - n2 + 1), min(n1 - 1, s - i)
            run = runs[count]
            run[0], run[1], run[8] = table[s + 1, i + 1] + low, high - low + 1, source
            k = 2
            if axes == 3:
                run[2], run[3], k = table[s, i] + low, table[s + 2, i + 2] + low, 4
            run[k], run[k + 1] = table[s, i + 1] + low - 1, table[s + 2, i + 1] + low + 1
            run[k + 2], run[k + 3] = table[s, i + 1] + low, table[s + 2, i + 1] + low
            source += high - low + 1
            count += 1
    first[0, levels] = count
    return runs, first, at


def workspace(rows: int, length: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Zeros, shape (rows, at least length); rows begin at 64 bytes, and at different places of a page."""
    item = dtype.itemsize
    step = -(-length * item // 4096) * 4096 + 832
    raw = np.zeros(rows * step + 64, dtype=np.uint8)
    offset = -raw.__array_interface__["data"][0] % 64
    return raw[offset : offset + rows * step].view(dtype).reshape(rows, step // item)


def sweeps_in_pass(group_bytes: float) -> int:
    """As many as leave the groups under work in the cache."""
    return int(min(PASS, max(1, CACHE // max(2 * group_bytes, 1))))


def batched(x: Any, batch: tuple[int, ...], n: int, *, whole: bool = False) -> np.ndarray[Any, Any]:
    """x, shape (..., n), as contiguous rows: one, or as many as the batch has members."""
    if (whole or x.size != n) and x.shape[:-1] != batch:
        x = np.broadcast_to(x, (*batch, n))
    if not x.flags.c_contiguous:
        x = np.ascontiguousarray(x)
    elif not x.flags.writeable and x.size:
        x = unlocked(x, x.ctypes.data, x)
    return x.reshape(math.prod(batch) if whole else max(x.size // max(n, 1), 1), n)


def sweep_runs(layout: Layout, state: Any, task: Any, batch: tuple[int, ...], arrays: Any, limit: Any, tol: Any) -> Any:
    """A chunk for every member of a batch; x in the rows of a pair of arrays, done, error, factor, best and its error.

    `arrays` are the numbers, shape (1 or members, 4), the fields, by colours, and the pairs of x and b, all as rows.
    """
    numbers, fields, xs, bs = arrays
    dtype = xs[0].dtype
    constant = not fields
    nothing = np.empty((0, 1), dtype=dtype)
    count = math.prod(batch)
    error, factor = np.empty(count, dtype=np.float64), np.empty(count, dtype=np.float64)
    done = np.empty(count, dtype=np.int64)
    outs = (
        (np.zeros_like(xs[0]), np.zeros_like(xs[1])) if layout.paired else (np.empty_like(xs[0]),) * 2
    )  # ghosts are 0
    work = workspace(2 if constant else 3 + layout.axes, layout.length, dtype)
    settings = (layout.paired, SWEEPS[task.sweep], layout.axes, constant, layout.sweeps_in_pass)
    scalars = scalars_of(state, task, batch)
    run_members(
        *(work, layout.runs, layout.first, layout.unknowns, settings, xs, bs, fields or (nothing,) * 8, numbers),
        *(scalars, int(limit), float(tol), outs, (done, error, factor)),
    )
    shaped = tuple(x.reshape(batch) for x in (done, error.astype(dtype), factor.astype(dtype)))
    return outs, *shaped


def scalars_of(state: Any, task: Any, batch: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], ...]:
    """omega, factor, beta, size and the best error as vectors, of one number or one a member; beta -1 for none."""
    plain = state.factor is None
    return (
        vector(task.omega),
        vector(1.0 if plain else state.factor),
        vector(-1.0 if plain else task.beta),
        vector(task.size, batch),
        vector(np.fmin(state.error, state.best_error), batch),
    )


def vector(x: Any, batch: tuple[int, ...] | None = None) -> np.ndarray[Any, Any]:
    """Numbers of a batch as a vector of float64."""
    x = np.asarray(x, dtype=np.float64)
    if batch is not None and x.shape != batch:
        x = np.broadcast_to(x, batch)
    return x.reshape(-1)


def remembered(state: Any, x: Any) -> tuple[Any, Any]:
    """The best x so far, and its error, as :func:`equipoise.linear.sweeps.remember` has them."""
    better = state.error < state.best_error
    if not better.any():
        return state.best, state.best_error
    if better.all():
        return x, state.error
    error = np.where(better, state.error, state.best_error)
    return map_arrays(
        lambda n, o: np.where(better.reshape(better.shape + (1,) * (n.ndim - better.ndim)), n, o), x, state.best
    ), error
