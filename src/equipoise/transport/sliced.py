"""Transport between clouds of points by way of lines: the mean of exact one-dimensional costs over random directions.

Directions are made on the host, in float64, from counted random words, and then moved to where the points are: they are
few, and the same numbers on every backend whatever its logarithm rounds to. Projections are made a panel at a time,
forward and backward, so that memory does not grow with their number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import A, library, like, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..implicit import differentiable
from ..iterate import repeat
from ..kernel import on_host
from ..random import Stream, key, normal, philox
from .checks import check_points
from .one_dimensional import check_order, check_sides
from .quantiles import quantile_cost, quantile_slopes

__all__ = ["directions", "sliced_wasserstein"]

# Projected points at a time. On the host a panel stays in the second-level cache, and its memory is used again for the
# next one: panels beyond 2^18 took two to four times as long. Elsewhere each panel costs some launches.
PANEL_ON_HOST, PANEL = 2**17, 2**22


@public
def sliced_wasserstein(
    x: A, y: A, a: A | None = None, b: A | None = None, *, p: float = 2, projections: int = 128, rng: Any = 0
) -> A:
    """The mean of W_p^p between two clouds of points over random directions, each solved exactly on its line.

    It takes O(projections (n + m) (d + log(n + m))) operations and never forms an n x m matrix. It is a distance of its
    own, and no larger than W_p^p of the clouds.

    Use it as a loss between large clouds, or to compare distributions in few dimensions. Do not use it for a plan, or
    for W_p itself: it is smaller by a factor that grows with the dimension (for a translation by v and p = 2 it is
    |v|^2/d), and in many dimensions most directions see little of a difference. Then use :func:`sinkhorn` with a
    :class:`PointCloud`.

    Parameters
    ----------
    x : array, shape (..., n, d)
        Points of one measure, floating-point. Leading axes are a batch, and broadcast; it shares its directions.
    y : array, shape (..., m, d)
        Points of the other one.
    a, b : array, shape (..., n) and (..., m), optional
        Weights as in :func:`wasserstein_1d`: not negative, of equal totals, uniform of total 1 by default.
    p : float
        The order, at least 1.
    projections : int
        The number of directions. The error against the mean over all directions falls as its inverse root.
    rng : int or numpy.random.Generator
        The seed of the directions. The same one gives the same directions, and so, to rounding, the same result, on
        every backend; a number of directions begins with those of any smaller one.

    Returns
    -------
    array, shape (...)
        The mean of W_p^p, without a root; it scales with the mass as that of :func:`wasserstein_1d` does.

    Raises
    ------
    TypeError, ValueError
        As :func:`wasserstein_1d`; also if the dimensions of the points differ, if `projections` is no whole number of
        at least 1, or if `rng` is no seed.

    Notes
    -----
    This is the sliced Wasserstein distance of [1]_ to the power p, with a mean over drawn directions in the place of
    the integral over the sphere. It is differentiable in x, y, a and b on torch and jax, as :func:`wasserstein_1d` is;
    a new draw at each step of a descent (``rng=step``) makes the gradient a stochastic one.

    References
    ----------
    .. [1] N. Bonneel, J. Rabin, G. Peyre, H. Pfister, Sliced and Radon Wasserstein Barycenters of Measures, Journal of
       Mathematical Imaging and Vision 51 (2015).

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.transport import sliced_wasserstein
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> float(sliced_wasserstein(x, x))
    0.0
    >>> moved = sliced_wasserstein(x, x + np.array([3.0, 4.0]), projections=4096)
    >>> abs(float(moved) - 25 / 2) < 0.5  # |v|^2/d
    True
    """
    order = check_order(p)
    count = check_count(projections)
    check_points("x", x)
    check_points("y", y)
    batch = check_sides(x, y, a, b, axis=-2)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"x {shape_text(x)} and y {shape_text(y)} must have points of one dimension")
    xp = namespace(x)
    drawn = beside(directions(count, x.shape[-1], key(rng)), x)
    panels = by_panels(
        drawn, math.prod(batch) * (x.shape[-2] + y.shape[-2]), PANEL_ON_HOST if on_the_host(x) else PANEL
    )

    def widen(side: Any, axes: int) -> Any:
        return None if side is None else xp.broadcast_to(side, (*batch, *side.shape[-axes:]))

    return mean_cost(widen(x, 2), widen(y, 2), widen(a, 1), widen(b, 1), panels, p=order, count=count)


def check_count(projections: Any) -> int:
    """A whole number, at least 1."""
    if isinstance(projections, bool) or not hasattr(projections, "__index__"):
        raise TypeError(f"projections must be a whole number, got {type(projections).__name__}")
    if projections < 1:
        raise ValueError(f"projections must be at least 1, got {projections}")
    return int(projections)


# ---------------------------------------------------------------------------------------------------------------------
# Directions


def directions(count: int, d: int, seed: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Unit vectors, shape (count, d), in float64: normal numbers over their length are uniform on the sphere."""
    blocks = np.arange(-(-d // 4))
    words = philox(np.arange(count)[:, None], key=seed, block=blocks, stream=Stream.PROJECTIONS)
    drawn = normal(words, np.float64).reshape(count, -1)[:, :d]
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def beside(drawn: np.ndarray[Any, Any], x: Any) -> Any:
    """The directions where `x` is, in its dtype."""
    xp = namespace(x)
    known = drawn if x.dtype == xp.float64 else drawn.astype(np.float32)  # half precision is unknown to numpy
    return xp.astype(of(x).lend(known, x), x.dtype, copy=False)


def on_the_host(x: Any) -> bool:
    """Whether numpy's kernels see `x`."""
    return library(x) == "numpy" or of(x).borrow(x) is not None


def by_panels(drawn: Any, points: int, most: int) -> Any:
    """The directions in panels of equal size, shape (panels, size, d).

    Each direction is met by so many points, and a panel by at most `most` where it has more than one direction. Zeros
    fill up the last panel: all points are at 0 along them, so that neither cost nor slope results.
    """
    xp = namespace(drawn)
    count, d = drawn.shape
    panels = -(-count // max(1, most // points))
    size = -(-count // panels)
    if panels * size > count:
        drawn = xp.concat([drawn, xp.zeros((panels * size - count, d), **like(drawn))], axis=0)
    return xp.reshape(drawn, (panels, size, d))


# ---------------------------------------------------------------------------------------------------------------------
# Sums over panels


def panel_of(panels: Any, k: Any) -> Any:
    """The k-th panel of directions."""
    return namespace(panels).take(panels, k, axis=0)[0, ...]


def on_lines(points: Any, panel: Any) -> Any:
    """The points along each direction, shape (..., size, n)."""
    return of(points).matmul(panel, namespace(points).matrix_transpose(points))


def on_each_line(weights: Any, panel: Any) -> Any:
    """The weights once for each direction, without a copy."""
    if weights is None:
        return None
    shape = (*weights.shape[:-1], panel.shape[0], weights.shape[-1])
    return namespace(weights).broadcast_to(weights[..., None, :], shape)


def lines(data: Any, k: Any) -> tuple[Any, tuple[Any, ...]]:
    """The k-th panel and the arguments of its one-dimensional problems."""
    x, y, a, b, panels = data
    panel = panel_of(panels, k)
    return panel, (on_lines(x, panel), on_lines(y, panel), on_each_line(a, panel), on_each_line(b, panel))


@functools.cache
def adding_costs(p: float) -> Callable[[Any, Any], Any]:
    """A step of the sum of costs; cached, because jax compiles anew for each function object."""

    def step(state: Any, data: Any) -> Any:
        k, total = state
        costs = quantile_cost(*lines(data, k)[1], p=p)
        return k + 1, total + namespace(costs).sum(costs, axis=-1)

    return step


@functools.cache
def adding_slopes(p: float) -> Callable[[Any, Any], Any]:
    """A step of the sums of derivatives, those of lines brought back to the points."""

    def step(state: Any, data: Any) -> Any:
        k, *sums = state
        panel, arguments = lines(data, k)
        xp = namespace(panel)
        dx, dy, f, g = quantile_slopes(*arguments, p=p)
        new = [of(panel).matmul(xp.matrix_transpose(d), panel) for d in (dx, dy)]
        new += [xp.sum(w, axis=-2) for w in (f, g) if w is not None]
        return k + 1, *(old + more for old, more in zip(sums, new, strict=True))

    return step


def over_panels(step: Callable[[Any, Any], Any], sums: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    """`sums` after one step for each panel."""
    x, panels = data[0], data[-1]
    xp = namespace(x)
    state = (xp.zeros((1,), **{**like(x), "dtype": xp.int32}), *sums)
    count = panels.shape[0]
    return tuple((step(state, data) if count == 1 else repeat(step, state, data, count))[1:])


def mean_pull(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The rule of `mean_cost`: projections are made anew, a panel at a time, instead of being kept."""
    if cotangent is None:
        return (None,) * 5
    dx, dy, f, g = mean_slopes(*args, **settings)
    f, g = (None if w is None else cotangent[..., None] * w for w in (f, g))
    return cotangent[..., None, None] * dx, cotangent[..., None, None] * dy, f, g, None


@differentiable(mean_pull)
@on_host(quantile_cost)
def mean_cost(x: Any, y: Any, a: Any, b: Any, panels: Any, *, p: float, count: int) -> Any:
    """The mean of the costs over `count` directions, shape (...)."""
    xp = namespace(x)
    start = xp.zeros(tuple(x.shape[:-2]), **like(x))
    (total,) = over_panels(adding_costs(p), (start,), (x, y, a, b, panels))
    return xp.asarray(total / float(count))


@on_host(quantile_slopes)
def mean_slopes(x: Any, y: Any, a: Any, b: Any, panels: Any, *, p: float, count: int) -> tuple[Any, Any, Any, Any]:
    """The derivatives of `mean_cost`; None for weights that are None."""
    xp = namespace(x)
    start = tuple(xp.zeros_like(z) for z in (x, y, a, b) if z is not None)
    sums = iter(over_panels(adding_slopes(p), start, (x, y, a, b, panels)))
    dx, dy, f, g = (None if z is None else next(sums) / float(count) for z in (x, y, a, b))
    return dx, dy, f, g
