"""One step of a fit: the loss of a table of points, its derivatives by the kernels, and Adam.

Nothing of the size of pairs times latents is formed: a step is one call for distances, some arithmetic on them, and one
call for derivatives. The loss of a step is that of the points it starts from, so that the best points are known only
one step later, and the last ones are looked at after the loop.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import like, namespace
from ..record import map_arrays, record, static
from ..result import Status
from .heads import Head, softplus
from .rows import row_sum
from .tables import discounted

__all__ = ["Moments", "State", "Targets", "distances_of", "error", "loss_of", "lost", "step"]

WINDOW = 100  # steps over which the loss has to improve
BETAS, EPSILON = (0.9, 0.999), 1e-8


@record
class Targets:
    """What the points are fitted to: discounted distances, and weights of sum 1; of all pairs, or of observed ones."""

    aims: Any
    weights: Any
    rows: Any
    columns: Any
    rate: Any
    head: Head
    discount: float | None = static()


@record
class Moments:
    """Adam's running means of one array's derivative and of its square."""

    mean: Any
    square: Any


@record
class State:
    """A step of the fit. Losses up to now are in `trail`; `mark` is the least one at the last whole hundred steps."""

    step: Any
    table: Any  # the points and what makes the weights, or None
    moments: Any
    loss: Any
    best: Any
    best_table: Any
    mark: Any
    change: Any
    trail: Any


# ---------------------------------------------------------------------------------------------------------------------
# One step


def distances_of(table: Any, data: Targets) -> Any:
    """The distances of the pairs that count."""
    points, raw = table
    weights = None if raw is None else softplus(raw)
    if data.rows is None:
        return data.head.all_pairs(points, points, weights)
    xp = namespace(points)
    u, v = (xp.take(points, index, axis=0) for index in (data.rows, data.columns))
    return data.head.pairs(u, v, weights)


def loss_of(d: Any, data: Targets) -> tuple[Any, Any]:
    """The weighed mean of squared errors, and its derivative with respect to the distances."""
    xp = namespace(d)
    if data.discount is None:
        away = d - data.aims
        slope = 2.0 * data.weights * away
    else:
        seen = discounted(d, data.discount)
        away = seen - data.aims
        slope = (2.0 * math.log(data.discount)) * data.weights * away * seen
    return xp.asarray(xp.sum(data.weights * away * away)), slope


def table_slopes(slope: Any, table: Any, data: Targets) -> Any:
    """The derivatives of the loss with respect to the table."""
    points, raw = table
    xp = namespace(points)
    weights = None if raw is None else softplus(raw)
    if data.rows is None:
        gu, gv, of_weights = data.head.all_slopes(slope, points, points, weights)
        of_points = gu + gv
    else:
        n = points.shape[0]
        u, v = (xp.take(points, index, axis=0) for index in (data.rows, data.columns))
        gu, gv, of_weights = data.head.pair_slopes(slope, u, v, weights)
        of_points = row_sum(gu, data.rows, size=n) + row_sum(gv, data.columns, size=n)
    return of_points, None if raw is None else of_weights / (1.0 + xp.exp(-raw))


def moved(x: Any, moments: Moments, slope: Any, count: Any, rate: Any) -> tuple[Any, Moments]:
    """One step of Adam (Kingma and Ba 2015, algorithm 1)."""
    xp = namespace(x)
    first, second = BETAS
    mean = first * moments.mean + (1.0 - first) * slope
    square = second * moments.square + (1.0 - second) * slope * slope
    unbiased = xp.sqrt(square / (1.0 - second**count)) + EPSILON
    return x - rate * (mean / (1.0 - first**count)) / unbiased, Moments(mean, square)


def step(s: State, data: Targets) -> State:
    """Look at the loss where the table is, keep the best one, and move it."""
    xp = namespace(s.trail)
    loss, slope = loss_of(distances_of(s.table, data), data)
    slopes = table_slopes(slope, s.table, data)
    better = loss < s.best
    best = xp.where(better, loss, s.best)
    best_table = map_arrays(lambda new, old: xp.where(better, new, old), s.table, s.best_table)
    whole = s.step % WINDOW == 0
    known = whole & (s.step > 0)
    mark = xp.where(known, s.mark, xp.zeros_like(loss))
    positive = mark > 0
    smallest = xp.full_like(loss, float(xp.finfo(loss.dtype).smallest_normal))  # tol=0 runs all steps
    fell = xp.maximum((mark - best) / xp.where(positive, mark, xp.ones_like(loss)), smallest)
    change = xp.where(known, xp.where(positive, fell, smallest), s.change)
    places = xp.arange(s.trail.shape[0], **like(s.step))
    count = xp.astype(xp.asarray(s.step + 1), loss.dtype)
    made = [
        (None, None) if x is None else moved(x, moments, g, count, data.rate)
        for x, moments, g in zip(s.table, s.moments, slopes, strict=True)
    ]
    table, moments = zip(*made, strict=True)
    trail = xp.where(places == s.step, loss, s.trail)
    return State(
        xp.asarray(s.step + 1), table, moments, loss, best, best_table, xp.where(whole, best, s.mark), change, trail
    )


def error(s: State, data: Targets) -> Any:
    """By how much the least loss fell over the last whole hundred steps, relatively."""
    return s.change


def lost(s: State, data: Targets) -> Any:
    """Whether the loss is no longer a number."""
    xp = namespace(s.loss)
    bad = (s.step > 0) & ~xp.isfinite(s.loss)
    return xp.where(bad, xp.full_like(s.step, int(Status.NOT_FINITE)), xp.zeros_like(s.step))
