"""A cost that is never formed: the distances between two clouds of points, computed where they are used.

Kernels compute a row of it in the first-level cache. Portable bodies go through it in panels of rows, each a matrix of
bounded size, so that memory grows with n + m and not with n m.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Generic

import numpy as np

from ..arrays import A, library, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..record import record, static

__all__ = ["METRICS", "PointCloud", "by_panels", "distances"]

METRICS = ("sqeuclidean", "euclidean", "cityblock")
PANEL = 2**22  # entries of the cost that a portable body forms at a time
FEW = 8  # dimensions up to which squared distances are sums of squared differences


@record
class PointCloud(Generic[A]):
    """Distances between points, to stand wherever a cost does (but for :func:`barycenter`, which takes matrices).

    Use it where n m numbers do not fit or do not pay: at up to a few dozen dimensions a distance is computed as fast
    as it is read. Do not use it for a distance that is dear to compute; form that matrix once and pass it.

    Parameters
    ----------
    x : array, shape (..., n, d)
        Points, floating-point. Leading axes are a batch.
    y : array, shape (..., m, d), optional
        Where they may go; by default `x` itself.
    metric : {"sqeuclidean", "euclidean", "cityblock"}
        sum_k (x_k - y_k)^2 (not the half of it, as in GeomLoss), its root, or sum_k |x_k - y_k|. The derivative of
        the last two is taken to be 0 where coordinates agree.

    Raises
    ------
    TypeError
        If `x` or `y` is no array of floating-point numbers, or they differ in library or dtype.
    ValueError
        If shapes do not fit, a cloud is empty, a coordinate is not finite, or the metric is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> cloud = eq.transport.PointCloud(np.array([[0.0, 0.0], [3.0, 4.0]]), metric="euclidean")
    >>> cloud.dense()
    array([[0., 5.],
           [5., 0.]])
    >>> bool(eq.transport.sinkhorn(cloud, epsilon=1.0).converged)
    True
    """

    x: A
    y: A | None = None
    metric: str = static(default="sqeuclidean")

    def __post_init__(self) -> None:
        from .checks import check_points

        if self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(map(repr, METRICS))}, got {self.metric!r}")
        check_points("x", self.x)
        if self.y is None:
            return
        check_points("y", self.y)
        namespace(self.x, self.y)
        if self.y.dtype != self.x.dtype:
            raise TypeError(f"y must have the dtype of x, {self.x.dtype}, got {self.y.dtype}; convert one of them")
        if self.x.shape[-1] != self.y.shape[-1]:
            raise ValueError(f"x {shape_text(self.x)} and y {shape_text(self.y)} must have points of one dimension")

    @property
    def targets(self) -> A:
        """`y`, or `x` where there is no `y`."""
        return self.x if self.y is None else self.y

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the matrix of distances, (..., n, m)."""
        x, y = self.x, self.targets
        return (*np.broadcast_shapes(tuple(x.shape[:-2]), tuple(y.shape[:-2])), x.shape[-2], y.shape[-2])

    @property
    def ndim(self) -> int:
        """How many axes `shape` has."""
        return max(self.x.ndim, self.targets.ndim)

    @property
    def dtype(self) -> Any:
        """The dtype of the points, and so of the distances."""
        return self.x.dtype

    @public
    def dense(self) -> A:
        """The matrix of distances, shape (..., n, m)."""
        return distances(self.x, self.targets, self.metric)

    @public
    def range_bound(self) -> A:
        """A number that no distance exceeds, shape (...), from the boxes around the clouds in O(n + m)."""
        x, y = self.x, self.targets
        xp = namespace(x)
        reach = xp.maximum(xp.max(x, axis=-2) - xp.min(y, axis=-2), xp.max(y, axis=-2) - xp.min(x, axis=-2))
        if self.metric == "cityblock":
            return xp.sum(reach, axis=-1)
        square = xp.sum(reach * reach, axis=-1)
        return xp.sqrt(square) if self.metric == "euclidean" else square

    def __repr__(self) -> str:
        if not library(self.x):  # jax puts other things into the fields of a record for a while
            return f"PointCloud({self.x!r})"
        dtype = str(self.dtype).rpartition(".")[2]
        n, m = self.shape[-2:]
        batch = f", batch {self.shape[:-2]}" if self.ndim > 2 else ""
        return f"PointCloud({n} x {m} in {self.x.shape[-1]} dimensions{batch}, {self.metric}, {dtype})"


def distances(x: Any, y: Any, metric: str) -> Any:
    """The matrix of distances, shape (..., n, m), one dimension after the other, never of shape (..., n, m, d)."""
    xp = namespace(x, y)
    d = x.shape[-1]
    if metric == "sqeuclidean" and d > FEW:
        middle = xp.mean(y, axis=-2, keepdims=True)  # so that little cancels
        x, y = x - middle, y - middle
        square_x, square_y = xp.sum(x * x, axis=-1), xp.sum(y * y, axis=-1)
        product = of(x).matmul(x, xp.matrix_transpose(y))
        return xp.clip(square_x[..., :, None] + (square_y[..., None, :] - 2.0 * product), min=0.0)
    total: Any = 0.0
    for k in range(d):
        apart = x[..., :, k, None] - y[..., None, :, k]
        total = total + (xp.abs(apart) if metric == "cityblock" else apart * apart)
    if metric != "euclidean":
        return total
    apart = total > 0  # the root has no derivative at 0, and is taken to have the derivative 0 there
    return xp.where(apart, xp.sqrt(xp.where(apart, total, xp.ones_like(total))), xp.zeros_like(total))


def slopes(weights: Any, x: Any, y: Any, metric: str) -> Any:
    """sum_j W_ij d/dx_i of the distance of x_i and y_j, shape (..., n, d)."""
    xp = namespace(weights)
    if metric == "cityblock":
        signs = [xp.sign(x[..., :, k, None] - y[..., None, :, k]) for k in range(x.shape[-1])]
        return xp.stack([xp.sum(weights * sign, axis=-1) for sign in signs], axis=-1)
    if metric == "euclidean":
        apart = distances(x, y, metric)
        weights = xp.where(apart > 0, weights / xp.where(apart > 0, apart, xp.ones_like(apart)), 0.0 * weights)
    factor = 2.0 if metric == "sqeuclidean" else 1.0
    return factor * (xp.sum(weights, axis=-1)[..., None] * x - of(x).matmul(weights, y))


def by_panels(body: Callable[..., Any], rows: tuple[Any, ...], columns: int) -> Any:
    """``body(*rows)``, a bounded number of rows at a time where each meets `columns` others.

    Every array of `rows` and the answer have shape (..., n, k).
    """
    batch = math.prod(rows[0].shape[:-2])
    return of(*rows).by_panels(body, rows, max(1, PANEL // max(1, columns * batch)))


def is_cloud(cost: object) -> bool:
    """Whether `cost` is a :class:`PointCloud`."""
    return isinstance(cost, PointCloud)
