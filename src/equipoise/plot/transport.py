"""Pictures of plans and of barycenters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import library
from .shared import legend, new_or_given, on_host, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..transport import BarycenterResult, TransportResult

__all__ = ["barycenters", "matching", "plan"]

EDGE = 0.14  # the height of a marginal beside a plan, as a share of the plan's
ENTRIES = 200  # rows or columns that a picture shows one by one
GAP = 0.12  # between two barycenters, as a share of their width


def plan(result: TransportResult[Any], *, ax: Axes | None = None) -> Axes:
    """Draw the plan of one transport problem as a heat map, with its marginals along the edges.

    Along the top and the right the filled steps are the sums of the plan, the lines the weights that they should be:
    where the two part, the marginals are not met. Do not draw plans of more than a few thousand rows; they are formed
    in full.

    Parameters
    ----------
    result : TransportResult
        Of one problem, not of a batch.
    ax : matplotlib axes, optional
        Where to draw; the marginals become its child axes, and a colour bar is placed beside it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        If `result` has no plan.
    ValueError
        If the result is that of a batch.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> x = np.linspace(0, 1, 20)
    >>> result = eq.transport.sinkhorn((x[:, None] - x[None, :]) ** 2, epsilon=0.01)
    >>> eq.plot.plan(result).get_xlabel()
    'target j'
    """
    p = plan_of(result, "plan")
    a, b = on_host((result.a, result.b))
    ax = new_or_given(ax)
    figure: Any = ax.figure
    n, m = p.shape
    drawn = "nearest" if max(n, m) <= ENTRIES else "auto"  # which would blur few columns beside many rows
    image = ax.imshow(p, aspect="auto", cmap=shades(ax), vmin=0, extent=(0, m, n, 0), interpolation=drawn)
    pad = 0.03 if figure.get_layout_engine() else 0.06 + EDGE  # a layout engine knows how far the marginal reaches
    figure.colorbar(image, ax=ax, label="mass", pad=pad)
    top = ax.inset_axes((0, 1.015, 1, EDGE), sharex=ax)
    right = ax.inset_axes((1.015, 0, EDGE, 1), sharey=ax)
    top.stairs(p.sum(axis=0), fill=True, color="C0", alpha=0.45)
    top.stairs(b, color="C0", linewidth=0.8)
    right.stairs(p.sum(axis=1), fill=True, color="C0", alpha=0.45, orientation="horizontal")
    right.stairs(a, color="C0", linewidth=0.8, orientation="horizontal")
    top.set(ylim=(0, None))
    right.set(xlim=(0, None))
    for edge in (top, right):
        edge.axis("off")
    ax.set_xlabel("target j")
    ax.set_ylabel("source i")
    return ax


def matching(x: Any, y: Any, result: TransportResult[Any], *, threshold: float = 0.1, ax: Axes | None = None) -> Axes:
    """Draw two clouds in the plane, and a thread wherever the plan moves a notable share of a point's mass.

    Parameters
    ----------
    x, y : array, shapes (n, 2) and (m, 2)
        The points that the rows and columns of the cost belong to.
    result : TransportResult
        Of one problem with cost of shape (n, m).
    threshold : float
        The share of its source's mass from which on a thread is drawn, in (0, 1]. A point without mass has no thread.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its collections are the threads, the sources and the targets, in this order.

    Raises
    ------
    TypeError
        If `result` has no plan.
    ValueError
        If shapes do not fit or `threshold` is not in (0, 1].
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.random((15, 2)), rng.random((12, 2)) + 1
    >>> cost = ((x[:, None] - y[None]) ** 2).sum(axis=-1)
    >>> ax = eq.plot.matching(x, y, eq.transport.sinkhorn(cost, epsilon=0.01))
    >>> len(ax.collections)
    3
    """
    p = plan_of(result, "matching")
    x, y = (on_host(points) if library(points) else np.asarray(points) for points in (x, y))
    if x.shape != (p.shape[0], 2) or y.shape != (p.shape[1], 2):
        raise ValueError(
            f"matching needs points (n, 2) and (m, 2) beside a plan (n, m), got {x.shape}, {y.shape}, {p.shape}"
        )
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    ax = new_or_given(ax)
    from matplotlib.collections import LineCollection

    mass = p.sum(axis=1, keepdims=True)
    share = np.divide(p, mass, out=np.zeros_like(p), where=mass > 0)
    i, j = np.nonzero(share >= threshold)
    threads = np.stack([x[i], y[j]], axis=1)
    ax.add_collection(LineCollection(list(threads), colors="0.5", alpha=np.minimum(1.0, share[i, j]), linewidths=0.8))
    ax.scatter(x[:, 0], x[:, 1], s=14, color="C0", label="source", zorder=2)
    ax.scatter(y[:, 0], y[:, 1], s=18, color="C1", marker="s", label="target", zorder=2)
    ax.set_aspect("equal")
    legend(ax)
    return ax


def barycenters(result: BarycenterResult[Any], shape: tuple[int, int], *, ax: Axes | None = None) -> Axes:
    """Draw barycenters on a grid of pixels as pictures, side by side: one, a row of them, or rows and columns.

    No mass has the colour of the paper, and all pictures share one scale, so that a blurred one looks paler. Do not
    use it for histograms on a line; these are drawn by ``ax.stairs``.

    Parameters
    ----------
    result : BarycenterResult
        Of one problem, or of a batch of shape (columns,) or (rows, columns), as weights of shape (rows, columns, k)
        make one.
    shape : pair of int
        The height and width of a picture in pixels; their product is the number of points of the support, which
        are counted row by row.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its image holds all pictures, one unit wide and high, with the first one's upper left corner at (0, 0).

    Raises
    ------
    TypeError
        If `result` has no histogram.
    ValueError
        If `shape` does not fit the histogram, or a batch has more than two axes.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0), indexing="ij"), axis=-1).reshape(25, 2)
    >>> cost = eq.transport.PointCloud(grid).dense()
    >>> ends = np.zeros((2, 25))
    >>> ends[0, 0] = ends[1, 24] = 1.0  # two opposite corners
    >>> sweep = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    >>> result = eq.transport.barycenter(ends, cost, weights=sweep, epsilon=0.5)
    >>> len(eq.plot.barycenters(result, (5, 5)).get_images())
    1
    """
    if not hasattr(result, "histogram"):
        raise TypeError(f"barycenters draws a BarycenterResult, got {type(result).__name__}")
    p: np.ndarray[Any, Any] = on_host(result.histogram)
    high, wide = shape
    if high * wide != p.shape[-1]:
        raise ValueError(f"shape must hold the {p.shape[-1]} points of the support, got {high} x {wide}")
    if p.ndim > 3:
        raise ValueError(f"barycenters draws one problem, a row, or rows and columns, got a batch {p.shape[:-1]}")
    ax = new_or_given(ax)
    pictures = p.reshape((1,) * (3 - p.ndim) + p.shape[:-1] + (high, wide))
    gap = max(1, round(GAP * wide))
    framed = np.pad(pictures, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=np.nan)
    rows, columns = pictures.shape[:2]
    sheet = framed.swapaxes(1, 2).reshape(rows * (high + gap), columns * (wide + gap))[:-gap, :-gap]
    right, bottom = sheet.shape[1] / (wide + gap), sheet.shape[0] / (high + gap)
    ax.imshow(sheet, cmap=shades(ax), vmin=0, extent=(0, right, bottom, 0), aspect=(high + gap) / (wide + gap))
    ax.axis("off")
    return ax


def plan_of(result: TransportResult[Any], caller: str) -> np.ndarray[Any, Any]:
    """The plan of one problem as a numpy array."""
    if not hasattr(result, "plan"):
        raise TypeError(f"{caller} draws a TransportResult, got {type(result).__name__}")
    p: np.ndarray[Any, Any] = on_host(result.plan())
    if p.ndim != 2:
        raise ValueError(f"{caller} draws one problem, got a batch of plans of shape {p.shape}")
    return p
