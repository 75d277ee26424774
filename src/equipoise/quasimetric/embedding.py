"""What :func:`fit` returns: a table of points, and the distances between them."""

from __future__ import annotations

from typing import Any, Generic

from ..arrays import A, first_index, library, namespace, shape_text
from ..boundary import public
from ..checks import values
from ..record import record, static
from ..result import History, Outcome
from .checks import check_whole
from .heads import Head
from .quality import Quality, judged
from .tables import check_table

__all__ = ["Embedding", "FitHistory"]


@record
class FitHistory(History[A], Generic[A]):
    """A :class:`equipoise.result.History` with one more column: the loss of the points at each row."""

    loss: A


@record
class Embedding(Outcome[A], Generic[A]):
    """A table of points whose quasimetric is close to given distances.

    Attributes
    ----------
    points : array, shape (n, D)
        The table, at the step of the least loss.
    weights : array, shape (k,), or None
        Those of the components for the head "pqe".
    loss : array, shape ()
        The mean of the squared errors, discounted or not, that was made small.
    components, head, reduction, discount
        As they were given to :func:`fit`.
    error : array, shape ()
        By how much, relatively, the least loss fell during the last whole hundred steps; 1 before those of the lowest
        rate.
    steps, code, history, converged, status
        As for every result; the history has a column `loss`.
    """

    points: A
    weights: A | None
    loss: A
    components: int = static()
    head: str = static()
    reduction: str = static()
    discount: float | None = static()

    @property
    def _head(self) -> Head:
        return Head(self.head, self.components, self.reduction)

    @public
    def distances(self) -> A:
        """The distance from every point to every point, shape (n, n)."""
        return self._head.all_pairs(self.points, self.points, self.weights)

    @public
    def distance(self, i: Any, j: Any) -> A:
        """The distance from point `i` to point `j`.

        Both are whole numbers, or arrays of them of one shape (K,) for the distances between those beside each other;
        a number and an array are one point and many.
        """
        u, v = (picked(self.points, name, x) for name, x in (("i", i), ("j", j)))
        if u.ndim == v.ndim and u.shape != v.shape:
            raise ValueError(f"i and j must have one shape, got {shape_text(i)} and {shape_text(j)}")
        u, v = namespace(u).broadcast_arrays(u, v)
        return self._head.pairs(u, v, self.weights)

    @public
    def nearest(self, i: int, count: int = 1) -> tuple[A, A]:
        """The `count` points nearest from point `i`, without itself: their numbers and distances, nearest first."""
        xp = namespace(self.points)
        n = self.points.shape[0]
        count = check_whole("count", count)
        if count > n - 1:
            raise ValueError(f"count must be at most {n - 1}, the number of other points, got {count}")
        start = picked(self.points, "i", i, 0)
        found: Any = self._head.all_pairs(start[None, :], self.points, self.weights)[0, ...]
        order = xp.argsort(found, stable=True)
        others = xp.argsort(xp.astype(order == i, xp.int8), stable=True)[: n - 1]
        order = xp.take(order, others)[:count]
        return order, xp.take(found, order)

    @public
    def quality(self, distances: A) -> Quality[A]:
        """How well the distances keep given ones: see :func:`equipoise.quasimetric.quality`."""
        check_table(distances)
        if distances.shape[0] != self.points.shape[0]:
            raise ValueError(
                f"distances must be between the {self.points.shape[0]} points, got those of {distances.shape[0]}"
            )
        return judged(self._head.all_pairs(self.points, self.points, self.weights), distances, self.discount)


def picked(points: Any, name: str, index: Any, most: int = 1) -> Any:
    """A point by its number, or, with an axis, points by an array of numbers."""
    xp = namespace(points, index)
    n = points.shape[0]
    kind = "a whole number or a 1-d array of them" if most else "a whole number"
    if not library(index):
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise TypeError(f"{name} must be {kind}, got {type(index).__name__}")
        if not 0 <= index < n:
            raise ValueError(f"{name} must lie in [0, {n}), got {int(index)}")
        return points[int(index), ...]
    if index.ndim > most or not xp.isdtype(index.dtype, "integral"):
        raise TypeError(f"{name} must be {kind}, got {index.dtype} of shape {shape_text(index)}")
    check_range(name, index, n)
    if index.dtype not in (xp.int32, xp.int64):  # others are no numbers of rows everywhere
        index = xp.astype(index, xp.int32)
    found = xp.take(points, xp.reshape(index, (-1,)), axis=0)
    return found if index.ndim else found[0, ...]


def check_range(name: str, index: Any, n: int) -> None:
    """Numbers of rows, where they are known."""
    seen = values(index)
    if seen is None:
        return
    wrong = namespace(seen).asarray((seen < 0) | (seen >= n))
    if bool(namespace(seen).any(wrong)):
        place = first_index(wrong)
        where = f" at index {place[0]}" if place else ""
        raise ValueError(f"{name} must lie in [0, {n}), got {int(seen[place])}{where}")
