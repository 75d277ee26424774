"""The step of games and linear programs: reflected, restarted Halpern iteration of the primal-dual hybrid gradient map.

For ``min_x max_y c x + y (A x) + q y`` over sets whose projections are known, T maps z = (x, y) to
x+ = P(x - t (c + A^T y)), y+ = D(y + s (q + A (2 x+ - x))), and the iterate becomes
lambda z_0 + (1 - lambda) (2 T z - z). Products are taken of T z alone, A x+ and A^T y+: those of the iterate, which is
a sum of points whose products are known, follow from them. So a step costs two products, and nothing else costs any:
neither the length of T z - z in the metric in which T is averaged, nor a look at how far T z is from optimal.
What is known by sums gathers rounding, one unit a step; every restart begins with true products again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..arrays import namespace
from ..record import plain, record, static
from .anchored import moved, wider
from .products import forward, power_growth, start_direction, transposed
from .residuals import norm

__all__ = ["Centred", "Point", "SaddleState", "SaddleTask", "begin", "dot", "size_of", "step"]

NEAR = 0.998  # of the longest step that is allowed
MUCH, LITTLE = 0.2, 0.8  # by which the metric has to fall, at once or before it rises
FALLEN = 0.95  # of the metric at most, for the primal weight to adapt
SHARE, LEAST = 0.36, 50.0  # restart at the latest after that share of all steps, and so many
RAISE = 1.05  # of the size of A, at least, where the metric shows that it was taken too small
MARGIN = 2.0  # times what was met of the size, at least, it stays
POWER = 40  # steps of a power iteration find the size to begin with
ROUNDING = 100.0  # units of rounding below zero that the square of the metric may fall


@record
class SaddleTask:
    """The problem; `sign` times K is the A of the module's docstring, the primal weight stays in 1/reach..reach.

    `turned` is K^T in rows, where a kernel reads it, else None. At a restart the size of A may fall to the share
    `shrink` of what it was.
    """

    K: Any
    c: Any
    q: Any
    primal: Any
    dual: Any
    turned: Any = None
    sign: float = static(default=1.0)
    reach: float = static(default=1.0)
    shrink: float = static(default=1.0)


class Point(NamedTuple):
    """Vectors (..., n) and (..., m), and their products A x and A^T y."""

    x: Any
    y: Any
    ax: Any
    aty: Any


# The rows of a state's blocks: a side's vector at the iterate, the anchor and T z; the product of the other side's
# vector at each; and T z - z of the last step.
NOW, ANCHOR, MAPPED, NOW_OF, ANCHOR_OF, MAPPED_OF, MOVE = range(7)
# Its numbers: steps since the restart; steps; the metric at the restart and last; the weight; the size of A, as far as
# the steps have met it; the largest share of it that was met since the restart; restarts.
J, K, FIRST, LAST, WEIGHT, SIZE, MET, RESTARTS = range(8)


@record
class SaddleState:
    """Either side's vectors, (..., 7, n) and (..., 7, m), and numbers (..., 8): three arrays, which kernels copy."""

    primal: Any
    dual: Any
    numbers: Any

    def point(self, row: int) -> Point:
        """The iterate, the anchor or T z."""
        x, y = self.primal, self.dual
        return Point(x[..., row, :], y[..., row, :], y[..., row + NOW_OF, :], x[..., row + NOW_OF, :])

    def move(self) -> tuple[Any, Any]:
        """T z - z."""
        return self.primal[..., MOVE, :], self.dual[..., MOVE, :]

    def number(self, column: int) -> Any:
        """One of the numbers, of the shape of the batch."""
        return namespace(self.numbers).asarray(self.numbers[..., column])


def stacked(now: Point, anchor: Point, mapped: Point, dx: Any, dy: Any, numbers: Sequence[Any]) -> SaddleState:
    """The state of these."""
    xp, points = namespace(dx), (now, anchor, mapped)
    primal = xp.stack([*(z.x for z in points), *(z.aty for z in points), dx], axis=-2)
    dual = xp.stack([*(z.y for z in points), *(z.ax for z in points), dy], axis=-2)
    return SaddleState(primal, dual, xp.stack(list(numbers), axis=-1))


def dot(x: Any, y: Any) -> Any:
    """The inner product along the last axis."""
    xp = namespace(x, y)
    return xp.asarray(xp.sum(x * y, axis=-1))


@record
class Centred:
    """A between vectors that sum to zero, as differences of strategies do."""

    K: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Of K."""
        m, n = plain(self.K).shape
        return m, n

    def matvec(self, x: Any) -> Any:
        """The product, centred."""
        return centred(forward(self.K, centred(x)))

    def rmatvec(self, y: Any) -> Any:
        """The transposed one."""
        return centred(transposed(self.K, centred(y)))


def centred(x: Any) -> Any:
    """x without its mean."""
    return x - namespace(x).mean(x, axis=-1, keepdims=True)


def size_of(K: Any, beside: Any) -> Any:
    """The norm of K, nearly, from below: the steps raise it where it was too small; 1 where K is 0."""
    xp = namespace(beside)
    v = xp.broadcast_to(start_direction(int(beside.shape[-1]), beside), tuple(beside.shape))
    growth = power_growth(v, K, count=POWER)
    return xp.asarray(xp.where(growth > 0, growth, xp.ones_like(growth)))


def begin(x: Any, y: Any, task: SaddleTask, weight: Any, size: Any) -> SaddleState:
    """The state at a start."""
    z = Point(x, y, task.sign * forward(task.K, x), task.sign * transposed(task.K, y))
    zero = 0.0 * norm(x)
    return stacked(z, z, z, 0.0 * x, 0.0 * y, (zero, zero, zero, zero, zero + weight, zero + size, zero, zero))


def step(s: SaddleState, task: SaddleTask) -> SaddleState:
    """One step: two products, the metric, and a restart where it tells."""
    xp, z, anchor = namespace(s.primal), s.point(NOW), s.point(ANCHOR)
    j, k, first, last, weight, size, met, restarts = (s.number(column) for column in range(8))
    t, r = NEAR / (weight * size), NEAR * weight / size
    x = plain(task.primal)(z.x - wider(t) * (task.c + z.aty), wider(t))
    ax = task.sign * forward(task.K, x)
    y = plain(task.dual)(z.y + wider(r) * (task.q + 2.0 * ax - z.ax), wider(r))
    mapped = Point(x, y, ax, task.sign * transposed(task.K, y))
    dx, dy = x - z.x, y - z.y

    parts = dot(dx, dx) / t + dot(dy, dy) / r
    cross = 2.0 * dot(dy, ax - z.ax)
    square = parts - cross
    doubt = ROUNDING * xp.finfo(x.dtype).eps * (parts + 2.0 * norm(dy) * (norm(ax) + norm(z.ax)))
    moving = xp.asarray(parts > 0)
    share = (xp.abs(cross) + doubt) / xp.where(moving, parts, xp.ones_like(parts))
    met = xp.maximum(met, moved(moving, share, met))
    metric = xp.sqrt(xp.clip(square, min=0.0))
    first = moved(xp.asarray(j == 0), metric, first)
    # A size that is large enough allows NEAR. Where it is too small, movements grow that the metric is blind to, with
    # a cross term as large as the parts. Short of a proof, some steps beyond it are worth more than they cost.
    allowed = xp.where(j < LEAST, xp.ones_like(parts), xp.full_like(parts, NEAR))
    small = xp.asarray(cross > allowed * parts + doubt)  # the size was taken too small
    due = (metric <= MUCH * first) | ((metric <= LITTLE * first) & (metric > last))
    due = due | (j >= SHARE * k + LEAST)
    again = xp.asarray(due & (j > 0))
    fallen = xp.asarray(again & (metric <= FALLEN * first))

    numbers = (
        moved(again, xp.zeros_like(metric), j + 1.0),
        k + 1.0,
        first,
        metric,
        balanced(mapped, anchor, weight, fallen, task.reach) if task.reach > 1.0 else weight,
        resized(size, met, small, again, task.shrink),
        moved(again, xp.zeros_like(met), met),
        restarts + xp.astype(again, metric.dtype),
    )
    now = next_of(z, anchor, mapped, wider(1.0 / (j + 2.0)), again)
    anchor = Point(*(moved(again, new, old) for new, old in zip(mapped, anchor, strict=True)))
    return stacked(now, anchor, mapped, dx, dy, numbers)


def next_of(z: Point, anchor: Point, mapped: Point, share: Any, again: Any) -> Point:
    """The reflected point, drawn towards the anchor; after a restart T z itself."""

    def of(new: Any, start: Any, old: Any) -> Any:
        return moved(again, new, share * start + (1.0 - share) * (2.0 * new - old))

    return Point(*map(of, mapped, anchor, z))


def resized(size: Any, met: Any, small: Any, again: Any, shrink: float) -> Any:
    """The size of A after a step: raised where the step met more, at a restart less where all steps met little of it.

    Bounds and signs hold most of an iterate still in the end, and what is left of A may be far smaller than A: longer
    steps then save half of them. That the fixed points of T do not depend on its steps lets both happen at any time.
    """
    xp = namespace(size)
    raised = size * xp.clip(met, min=RAISE, max=2.0)
    lowered = size * xp.clip(MARGIN * met, min=shrink, max=1.0)
    return moved(small, raised, moved(again, lowered, size))


def balanced(mapped: Point, anchor: Point, weight: Any, again: Any, reach: float) -> Any:
    """The primal weight after a restart: half way, in logarithms, to what both sides have moved.

    Not after a restart for want of progress: where there is no solution z moves on for ever, along what proves that,
    and a weight that follows it to the end of its range puts the proof off just as long.
    """
    xp = namespace(mapped.x)
    far_x, far_y = norm(mapped.x - anchor.x), norm(mapped.y - anchor.y)
    tiny = xp.finfo(mapped.x.dtype).eps
    known = xp.asarray(again & (far_x > tiny) & (far_y > tiny))
    one = xp.ones_like(far_x)
    ratio = xp.where(known, far_y, one) / xp.where(known, far_x, one)
    new = xp.clip(xp.exp(0.5 * xp.log(ratio) + 0.5 * xp.log(weight)), min=1.0 / reach, max=reach)
    return moved(known, new, weight)
