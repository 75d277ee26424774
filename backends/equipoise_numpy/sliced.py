"""numba kernels of transport on a line: numpy sorts, with the vector instructions that it has for that; these merge.

Merging two rows of quantile levels takes n + m steps. Which of the two comes next is as good as random, so the step has
no branch: it would be mispredicted every other time, at several times the cost of the arithmetic. Sums and levels are
float64 for float32 points too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .compiled import njit
from .exponential import CALLER
from .views import plain

__all__ = ["quantile_cost", "quantile_slopes"]

KINDS = (np.float64, np.float32)
WHOLE = 8  # powers up to this one are products
PART = 2**17  # points sorted at a time
NO_ORDER = np.empty((1, 0), dtype=np.int64)


@njit(fastmath=CALLER, cache=True)
def power(size, p, whole):  # type: ignore[no-untyped-def]
    """size^p; `whole` is p if that is a small whole number, else -1."""
    if whole == 1:
        return size
    if whole == 2:
        return size * size
    if whole < 0:
        return size**p
    made = 1.0
    for _ in range(whole):
        made *= size
    return made


@njit(fastmath=CALLER, cache=True)
def slope(apart, p, whole):  # type: ignore[no-untyped-def]
    """The derivative of |d|^p, 0 at d = 0."""
    if whole == 2:
        return 2.0 * apart
    if apart == 0:
        return 0.0
    rise = p * power(abs(apart), p - 1.0, whole - 1 if whole > 0 else whole)
    return rise if apart > 0 else -rise


@njit(fastmath=CALLER, cache=True)
def arrange(points, order, weights, sorted_points, levels):  # type: ignore[no-untyped-def]
    """Sorted points and the levels where each ends; the mass. No order: already sorted. No weights: uniform ones."""
    n = points.size
    if order.size:
        for k in range(n):
            sorted_points[k] = points[order[k]]
    else:
        for k in range(n):
            sorted_points[k] = points[k]
    if not weights.size:
        for k in range(n):
            levels[k] = (k + 1) / n
        return 1.0
    mass = 0.0
    for k in range(n):
        mass += weights[order[k]]
        levels[k] = mass
    for k in range(n):
        levels[k] /= mass
    return mass


@njit(cache=True)
def comes_first(levels_x, levels_y, i, j):  # type: ignore[no-untyped-def]
    """1 if x_i ends before y_j or with it, else 0; the last points end after all others, whatever the levels are."""
    before = levels_x[i] <= levels_y[j]
    return np.int64((j == levels_y.size - 1) | ((i < levels_x.size - 1) & before))


@njit(fastmath=CALLER, cache=True)
def merged(x, y, levels_x, levels_y, p, whole):  # type: ignore[no-untyped-def]
    """The integral of |F - G|^p over [0, 1]."""
    i, j, start, cost = 0, 0, 0.0, 0.0
    for _ in range(x.size + y.size - 2):
        first = comes_first(levels_x, levels_y, i, j)
        end = levels_x[i] if first else levels_y[j]
        apart = x[i] - y[j] if end > start else 0.0
        cost += (end - start) * power(abs(apart), p, whole)
        start = end
        i += first
        j += 1 - first
    return cost + (1.0 - start) * power(abs(x[i] - y[j]), p, whole)


@njit(fastmath=CALLER, cache=True)
def matched(x, y, p, whole):  # type: ignore[no-untyped-def]
    """The mean of |x_k - y_k|^p; a loop for each common p, since the compiler makes vectors of those."""
    cost = 0.0
    if whole == 2:
        for k in range(x.size):
            apart = np.float64(x[k]) - y[k]
            cost += apart * apart
    elif whole == 1:
        for k in range(x.size):
            cost += abs(np.float64(x[k]) - y[k])
    else:
        for k in range(x.size):
            cost += power(abs(np.float64(x[k]) - y[k]), p, whole)
    return cost / x.size


@njit(fastmath=CALLER, cache=True)
def costs(x, y, order_x, order_y, a, b, p, whole, out):  # type: ignore[no-untyped-def]
    """A cost for each row; orders and weights of one row only serve all rows."""
    n, m = x.shape[1], y.shape[1]
    if n == m and not a.size and not b.size:
        for r in range(out.size):
            out[r] = matched(x[r], y[r], p, whole)
        return
    xs, levels_x, ys, levels_y = np.empty(n), np.empty(n), np.empty(m), np.empty(m)
    for r in range(out.size):
        mass_x = arrange(x[r], order_x[r % order_x.shape[0]], a[r % a.shape[0]], xs, levels_x)
        mass_y = arrange(y[r], order_y[r % order_y.shape[0]], b[r % b.shape[0]], ys, levels_y)
        out[r] = 0.5 * (mass_x + mass_y) * merged(xs, ys, levels_x, levels_y, p, whole)


@njit(fastmath=CALLER, cache=True)
def climb(x, y, levels_x, levels_y, p, whole, dx, dy, f, g):  # type: ignore[no-untyped-def]
    """As `merged`; also the derivatives by the sorted points, and potentials that are 0 at the first ones."""
    i, j, start, cost = 0, 0, 0.0, 0.0
    dx[:], dy[:] = 0, 0
    f[0], g[0] = 0, 0
    for _ in range(x.size + y.size - 2):
        first = comes_first(levels_x, levels_y, i, j)
        end = levels_x[i] if first else levels_y[j]
        here = power(abs(x[i] - y[j]), p, whole)
        if end > start:
            cost += (end - start) * here
            rise = (end - start) * slope(x[i] - y[j], p, whole)
            dx[i] += rise
            dy[j] -= rise
        start = end
        if first:
            f[i + 1] = f[i] + (power(abs(x[i + 1] - y[j]), p, whole) - here)
            i += 1
        else:
            g[j + 1] = g[j] + (power(abs(x[i] - y[j + 1]), p, whole) - here)
            j += 1
    rise = (1.0 - start) * slope(x[i] - y[j], p, whole)
    dx[i] += rise
    dy[j] -= rise
    return cost + (1.0 - start) * power(abs(x[i] - y[j]), p, whole)


@njit(fastmath=CALLER, cache=True)
def settle(potential, order, weights, total, mass, cost, out):  # type: ignore[no-untyped-def]
    """The potential in the order of the input, its constant that of the derivative of M W(a/A, b/B)."""
    mean = 0.0
    for k in range(order.size):
        mean += weights[order[k]] * potential[k]
    mean /= total
    for k in range(order.size):
        out[order[k]] = mass / total * (potential[k] - mean) + 0.5 * cost


@njit(fastmath=CALLER, cache=True)
def slopes(x, y, order_x, order_y, a, b, p, whole, dx, dy, f, g):  # type: ignore[no-untyped-def]
    """The derivatives of each row of `costs`; `f` and `g` are written where there are weights."""
    n, m = x.shape[1], y.shape[1]
    xs, levels_x, rise_x, potential_x = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    ys, levels_y, rise_y, potential_y = np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    matching = n == m and not a.size and not b.size
    for r in range(x.shape[0]):
        ox, oy = order_x[r], order_y[r]
        if matching:
            for k in range(n):
                rise = slope(np.float64(x[r, ox[k]]) - y[r, oy[k]], p, whole) / n
                dx[r, ox[k]], dy[r, oy[k]] = rise, -rise
            continue
        wa, wb = a[r % a.shape[0]], b[r % b.shape[0]]
        mass_x = arrange(x[r], ox, wa, xs, levels_x)
        mass_y = arrange(y[r], oy, wb, ys, levels_y)
        mass = 0.5 * (mass_x + mass_y)
        cost = climb(xs, ys, levels_x, levels_y, p, whole, rise_x, rise_y, potential_x, potential_y)
        for k in range(n):
            dx[r, ox[k]] = mass * rise_x[k]
        for k in range(m):
            dy[r, oy[k]] = mass * rise_y[k]
        if wa.size:
            settle(potential_x, ox, wa, mass_x, mass, cost, f[r])
        if wb.size:
            settle(potential_y, oy, wb, mass_y, mass, cost, g[r])


@njit(cache=True)
def are_tied(rows, order):  # type: ignore[no-untyped-def]
    """Whether two points of one row are equal."""
    for r in range(rows.shape[0]):
        row, places = rows[r], order[r]
        for k in range(1, places.size):
            if row[places[k]] == row[places[k - 1]]:
                return True
    return False


def rows_of(x: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """`x` with two axes, contiguous; one row if all of them are the same memory, and an empty one for None."""
    if x is None:
        return np.empty((1, 0), dtype=dtype)
    if not any(x.strides[:-1]):
        x = x[(0,) * (x.ndim - 1)]
    return plain(x).reshape(-1, x.shape[-1])


def parts_of(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> Iterator[slice]:
    """Rows at a time, so that sorted copies stay in the second-level cache, in memory that is used again."""
    size = max(1, PART // (x.shape[1] + y.shape[1]))
    return (slice(k, k + size) for k in range(0, len(x), size))


def part(rows: np.ndarray[Any, Any], k: slice) -> np.ndarray[Any, Any]:
    return rows if len(rows) == 1 else rows[k]


def sort(points: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Sorted points where they have no weights, else the points as they are and their order."""
    if weights.size:
        return points, np.argsort(points, axis=-1)
    return np.sort(points, axis=-1), NO_ORDER


def stable_order(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The order that keeps tied points as they came. Sorting without that promise is faster, and ties are rare."""
    order = np.argsort(rows, axis=-1)
    return np.argsort(rows, axis=-1, kind="stable") if are_tied(rows, order) else order


def whole_power(p: float) -> int:
    return int(p) if p.is_integer() and 1 <= p <= WHOLE else -1


def flat(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return plain(points).reshape(-1, points.shape[-1])


def quantile_cost(x: Any, y: Any, a: Any, b: Any, *, p: float) -> Any:
    """Override of ``transport.quantile_cost``."""
    if x.dtype not in KINDS:
        return NotImplemented
    xs, ys, wa, wb = flat(x), flat(y), rows_of(a, x.dtype), rows_of(b, x.dtype)
    out = np.empty(len(xs), dtype=x.dtype)
    for k in parts_of(xs, ys):
        (part_x, order_x), (part_y, order_y) = sort(xs[k], wa), sort(ys[k], wb)
        costs(part_x, part_y, order_x, order_y, part(wa, k), part(wb, k), p, whole_power(p), out[k])
    return out.reshape(x.shape[:-1])


def quantile_slopes(x: Any, y: Any, a: Any, b: Any, *, p: float) -> Any:
    """Override of ``transport.quantile_slopes``."""
    if x.dtype not in KINDS:
        return NotImplemented
    xs, ys, wa, wb = flat(x), flat(y), rows_of(a, x.dtype), rows_of(b, x.dtype)
    dx, dy = np.empty_like(xs), np.empty_like(ys)
    f, g = (np.empty_like(z if w.size else w) for w, z in ((wa, xs), (wb, ys)))
    for k in parts_of(xs, ys):
        orders, weights = (stable_order(xs[k]), stable_order(ys[k])), (part(wa, k), part(wb, k))
        slopes(xs[k], ys[k], *orders, *weights, p, whole_power(p), dx[k], dy[k], part(f, k), part(g, k))
    potentials = (None if w is None else h.reshape(w.shape) for w, h in ((a, f), (b, g)))
    return dx.reshape(x.shape), dy.reshape(y.shape), *potentials
