"""One step of a fit: the loss of a table of points, its derivatives by the kernels, and Adam.

Nothing of the size of pairs times latents is formed: a step is one call for distances, some arithmetic on them, and one
call for derivatives. The loss of a step is that of the points it starts from, so that the best points are known only
one step later, and the last ones are looked at after the loop. Adam's steps do not shrink by themselves, so the rate is
lowered where the loss stays.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import like, namespace
from ..record import map_arrays, record, static
from ..result import Status
from .heads import Head, softplus
from .rows import row_sum
from .tables import discounted, off_diagonal

__all__ = [
    "Moments",
    "State",
    "Targets",
    "distances_of",
    "error",
    "loss_of",
    "lost",
    "relative_weights",
    "step",
    "targets",
    "written",
]

WINDOW = 100  # steps over which the loss has to improve
PLATEAU, FACTOR, LEVELS = 0.1, 0.3, 3  # where it does by less, the rate is lowered, so often at most
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
    """A step of the fit.

    `first` and `best` are the loss at the start and the least one, `mark` the least one at the last whole hundred
    steps. Losses up to now are in `trail`, where a history asks for them.
    """

    step: Any
    table: Any  # the points and what makes the weights, or None
    moments: Any
    age: Any  # steps since the moments were zero
    level: Any  # how often the rate was lowered
    loss: Any
    first: Any
    best: Any
    best_table: Any
    mark: Any
    change: Any
    trail: Any


# ---------------------------------------------------------------------------------------------------------------------
# What is compared


def relative_weights(pairs: Any, discount: float | None) -> Any:
    """The weights of pairs, at most 1: 0 on the diagonal and for what is not to count."""
    lengths, rows, columns, weights = pairs
    xp = namespace(lengths)
    apart = off_diagonal(lengths) if rows is None else rows != columns
    if discount is None:
        apart = apart & xp.isfinite(lengths)
    each = xp.ones_like(lengths) if weights is None else xp.astype(weights, lengths.dtype)
    each = xp.where(apart, each, xp.zeros_like(each))
    most = xp.max(each)  # a sum of large weights would overflow
    return each / xp.where(most > 0, most, xp.ones_like(most))


def targets(pairs: Any, rate: Any, head: Head, discount: float | None) -> Targets:
    """What the loss compares with, and weights of sum 1 that leave out the diagonal and what is not to count."""
    lengths, rows, columns, _ = pairs
    xp = namespace(lengths)
    if discount is None:
        aims = xp.where(xp.isfinite(lengths), lengths, xp.zeros_like(lengths))
    else:
        aims = discounted(lengths, discount)
    each = relative_weights(pairs, discount)
    total = xp.sum(each)
    each = each / xp.where(total > 0, total, xp.ones_like(total))
    return Targets(aims, each, rows, columns, rate, head, discount)


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
    """Look at the loss where the table is, keep the best one, and move it, or go back to it with a lower rate."""
    xp = namespace(s.loss)
    loss, slope = loss_of(distances_of(s.table, data), data)
    slopes = table_slopes(slope, s.table, data)
    better = loss < s.best
    best = xp.where(better, loss, s.best)
    best_table = chosen(better, s.table, s.best_table)
    whole = s.step % WINDOW == 0
    first = xp.where(s.step == 0, loss, s.first)
    fell = fall(s.mark, best)
    stuck = whole & (s.step > 0) & (fell <= PLATEAU) & (s.level < LEVELS)
    last = whole & (s.step > 0) & (s.level == LEVELS)
    age = s.age + 1
    rate = data.rate * FACTOR ** xp.astype(s.level, loss.dtype)
    made = [
        (None, None) if x is None else moved(x, moments, g, xp.astype(age, loss.dtype), rate)
        for x, moments, g in zip(s.table, s.moments, slopes, strict=True)
    ]
    table, moments = zip(*made, strict=True)
    return State(
        xp.asarray(s.step + 1),
        chosen(stuck, best_table, table),
        chosen(stuck, map_arrays(xp.zeros_like, moments), moments),
        xp.where(stuck, xp.zeros_like(age), age),
        xp.where(stuck, s.level + 1, s.level),
        loss,
        first,
        best,
        best_table,
        xp.where(whole, best, s.mark),
        xp.where(last, xp.where(in_vain(first, best, loss, data), xp.full_like(fell, most(fell)), fell), s.change),
        None if s.trail is None else written(s.trail, s.step, loss),
    )


def in_vain(first: Any, best: Any, loss: Any, data: Targets) -> Any:
    """Whether no step ever led below the loss at the start, which was more than rounding."""
    xp = namespace(loss)
    rounding = (16.0 * float(xp.finfo(loss.dtype).eps)) ** 2 * xp.sum(data.weights * data.aims * data.aims)
    return (best == first) & (loss > first) & (first > rounding)


def most(x: Any) -> float:
    """The largest finite number of a dtype: an error that is infinite would tell of an overflow."""
    return float(namespace(x).finfo(x.dtype).max)


def chosen(where: Any, one: Any, other: Any) -> Any:
    """One tree or another."""
    return map_arrays(lambda x, y: namespace(x).where(where, x, y), one, other)


def fall(mark: Any, best: Any) -> Any:
    """By how much the least loss fell from `mark`, relatively, and a little more: with ``tol=0`` all steps are run."""
    xp = namespace(best)
    positive = (mark > 0) & xp.isfinite(mark)
    from_ = xp.where(positive, mark, xp.ones_like(mark))
    fell = xp.where(positive, (from_ - best) / from_, xp.zeros_like(best))
    return xp.asarray(xp.maximum(fell, xp.full_like(best, float(xp.finfo(best.dtype).smallest_normal))))


def written(trail: Any, step: Any, loss: Any) -> Any:
    """The losses with that of one more step."""
    xp = namespace(trail)
    return xp.where(xp.arange(trail.shape[0], **like(step)) == step, loss, trail)


def error(s: State, data: Targets) -> Any:
    """By how much the least loss fell over the last whole hundred steps, relatively; 1 before the lowest rate,
    the largest number where it never fell."""
    return s.change


def lost(s: State, data: Targets) -> Any:
    """Whether the loss is no longer a number, or steps at every rate only made it larger than it was at the start."""
    xp = namespace(s.loss)
    code = xp.where(s.change == most(s.change), xp.full_like(s.step, int(Status.DIVERGED)), xp.zeros_like(s.step))
    return xp.where((s.step > 0) & ~xp.isfinite(s.loss), xp.full_like(s.step, int(Status.NOT_FINITE)), code)
