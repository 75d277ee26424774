"""Pictures of results. Each function draws on the axes it is given, or on new ones, and returns them.

matplotlib is an extra and is imported when a picture is drawn. Results may hold numpy, torch, jax or cupy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import library
from .backend import of
from .record import map_arrays
from .result import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .transport import TransportResult

__all__ = ["convergence", "matching", "plan"]


def _axes(ax: Axes | None, **settings: Any) -> Axes:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plots need matplotlib; install it with `pip install 'equipoise[plot]'`") from error
    return plt.subplots(**settings)[1]


def _numpy(tree: Any) -> Any:
    return map_arrays(lambda x: of(x).to_numpy(x), tree)


def convergence(
    *results: Outcome[Any],
    against: str = "steps",
    labels: Sequence[str] | None = None,
    tol: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the error of one or several results at their checks, on a logarithmic scale.

    Parameters
    ----------
    *results
        Results of any method, each with a history; solve with ``check_every=1`` for a point a step.
    against : {"steps", "seconds"}
        What the error is drawn against.
    labels : sequence of str, optional
        A name for each result.
    tol : float, optional
        Draw a line at the tolerance.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no result, one has no history, `against` is unknown, or the labels do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> cost = np.random.default_rng(0).random((30, 20))
    >>> result = eq.transport.sinkhorn(cost, epsilon=0.02, check_every=1)
    >>> ax = eq.plot.convergence(result, labels=["sinkhorn"], tol=1e-6)
    >>> ax.get_yscale(), ax.get_xlabel()
    ('log', 'steps')
    """
    if not results:
        raise ValueError("convergence needs at least one result")
    if against not in ("steps", "seconds"):
        raise ValueError(f"against must be 'steps' or 'seconds', got {against!r}")
    if labels is not None and len(labels) != len(results):
        raise ValueError(f"labels must name each of the {len(results)} results, got {len(labels)}")
    for k, result in enumerate(results):
        if result.history is None:
            raise ValueError(f"result {k} has no history; solve with history=True")
    ax = _axes(ax)
    for k, result in enumerate(results):
        history: Any = _numpy(result.history)
        seen = np.isfinite(history.error)  # rows that a compiled loop did not reach are NaN
        x = (history.step if against == "steps" else history.seconds)[seen]
        ax.plot(x, history.error[seen], marker="." if len(x) < 40 else "", label=labels[k] if labels else None)
    if tol is not None:
        ax.axhline(tol, color="0.5", linestyle="--", linewidth=1, label=f"tolerance {tol:.0e}")
    ax.set_yscale("log")
    ax.set_xlabel(against)
    ax.set_ylabel("error")
    ax.grid(alpha=0.3)
    if labels or tol is not None:
        ax.legend(frameon=False)
    return ax


def plan(result: TransportResult[Any], *, ax: Axes | None = None) -> Axes:
    """Draw the plan of one transport problem as a heat map, with its marginals along the edges.

    Parameters
    ----------
    result : TransportResult
        Of one problem, not of a batch.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the result is that of a batch.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> x = np.linspace(0, 1, 20)
    >>> result = eq.transport.sinkhorn((x[:, None] - x[None, :]) ** 2, epsilon=0.01)
    >>> eq.plot.plan(result).get_xlabel()
    'target j'
    """
    p = _numpy(result.plan())
    if p.ndim != 2:
        raise ValueError(f"plan draws one problem, got a batch of plans of shape {p.shape}")
    ax = _axes(ax)
    n, m = p.shape
    image = ax.imshow(p, aspect="auto", cmap="magma_r", interpolation="nearest", extent=(0, m, n, 0))
    ax.figure.colorbar(image, ax=ax, label="mass")
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    ax.fill_betweenx(np.arange(n) + 0.5, 0, 0.12 * m * rows / rows.max(), color="tab:blue", alpha=0.35, linewidth=0)
    ax.fill_between(np.arange(m) + 0.5, n, n - 0.12 * n * columns / columns.max(), color="tab:blue", alpha=0.35, lw=0)
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
        The share of its source's mass from which on a thread is drawn, in (0, 1].
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If shapes do not fit or `threshold` is not in (0, 1].

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
    from matplotlib.collections import LineCollection

    x, y, p = (_numpy(v) if library(v) else np.asarray(v) for v in (x, y, result.plan()))
    if p.ndim != 2 or x.shape != (p.shape[0], 2) or y.shape != (p.shape[1], 2):
        raise ValueError(
            f"matching needs points (n, 2) and (m, 2) beside a plan (n, m), got {x.shape}, {y.shape}, {p.shape}"
        )
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    ax = _axes(ax)
    share = p / p.sum(axis=1, keepdims=True)
    i, j = np.nonzero(share >= threshold)
    threads = np.stack([x[i], y[j]], axis=1)
    ax.add_collection(LineCollection(list(threads), colors="0.4", alpha=np.minimum(1.0, share[i, j]), linewidths=0.8))
    ax.scatter(x[:, 0], x[:, 1], s=14, color="tab:blue", label="source", zorder=2)
    ax.scatter(y[:, 0], y[:, 1], s=14, color="tab:orange", label="target", zorder=2)
    ax.set_aspect("equal")
    ax.legend(frameon=False)
    return ax
