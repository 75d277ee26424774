"""How an error falls: the picture of every method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..result import History, Outcome
from .shared import dashed, legend, new_or_given, on_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["convergence"]

USUAL = (0.8, 0.7)  # factors of restarts: of halpern, and of halpern_vr
AGAINST = {"steps": "step", "seconds": "seconds", "oracle_calls": "oracle_calls"}  # columns of a history


def convergence(
    *results: Outcome[Any],
    against: str = "steps",
    what: str = "error",
    labels: Sequence[str] | None = None,
    tol: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the error of one or several results at their checks, on a logarithmic scale.

    The error of an :class:`equipoise.quasimetric.Embedding` says how fast its loss still falls; ``what="loss"`` draws
    the loss itself.

    Results of ``equipoise.monotone`` have a tick wherever the anchor moved, as far as that can be told: where the
    error has fallen to 0.5 or to 0.7 of that at the last tick, as is usual, if that explains all restarts.

    Parameters
    ----------
    *results
        Results of any method, each with a history; solve with ``check_every=1`` for a point a step.
    against : {"steps", "seconds", "oracle_calls"}
        What the error is drawn against; calls are counted by the methods of ``equipoise.monotone`` alone.
    what : {"error", "loss"}
        What is drawn; losses are recorded by :func:`equipoise.quasimetric.fit` alone.
    labels : sequence of str, optional
        A name for each result.
    tol : float, optional
        Draw a line at the tolerance of the error.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        If something is not a result.
    ValueError
        If there is no result, one has no history or one that cannot be drawn, `against` or `what` is unknown or was not
        recorded, the labels do not fit, or `tol` is not positive or goes with losses.
    ImportError
        If matplotlib is not installed.

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
    if against not in AGAINST:
        raise ValueError(f"against must be 'steps', 'seconds' or 'oracle_calls', got {against!r}")
    if what not in ("error", "loss"):
        raise ValueError(f"what must be 'error' or 'loss', got {what!r}")
    if what == "loss" and tol is not None:
        raise ValueError("tol is a tolerance of the error; leave it out with what='loss'")
    if labels is not None and len(labels) != len(results):
        raise ValueError(f"labels must name each of the {len(results)} results, got {len(labels)}")
    if tol is not None and not tol > 0:
        raise ValueError(f"tol must be positive to have a place on a logarithmic scale, got {tol}")
    histories = [history_of(k, result, against, what) for k, result in enumerate(results)]
    ax = new_or_given(ax)
    for k, history in enumerate(histories):
        seen = np.isfinite(history.error)  # rows that a compiled loop did not reach are NaN
        x, drawn = getattr(history, AGAINST[against])[seen], getattr(history, what)[seen]
        style: dict[str, Any] = {"marker": "." if len(x) < 40 else "", "linestyle": dashed(k)}
        (line,) = ax.plot(x, drawn, label=labels[k] if labels else None, **style)
        at = restarts(history.error[seen], results[k])
        if at:
            ax.plot(x[at], drawn[at], "|", color=line.get_color(), markersize=9)
    if tol is not None:
        ax.axhline(tol, color="0.5", linestyle="--", linewidth=1, label=f"tolerance {tol:.0e}")
    ax.set_yscale("log")
    ax.set_xlabel(against.replace("_", " "))
    ax.set_ylabel(what)
    ax.grid(alpha=0.5)
    if labels or tol is not None:
        legend(ax)
    return ax


def history_of(k: int, result: Outcome[Any], against: str, what: str = "error") -> History[Any]:
    """The history of result `k` in numpy arrays, if it can be drawn."""
    if not isinstance(result, Outcome):
        raise TypeError(f"convergence draws results of solvers, got {type(result).__name__} as result {k}")
    if result.history is None:
        raise ValueError(f"result {k} has no history; solve with history=True")
    history: History[Any] = on_host(result.history)
    if history.error.ndim != 1:
        raise ValueError(
            f"result {k} has histories of shape {history.error.shape}; draw one problem of jax.vmap's batch"
        )
    if what == "loss" and not hasattr(history, "loss"):
        raise ValueError(f"result {k} records no losses; draw what='error'")
    if against == "oracle_calls" and not hasattr(history, "oracle_calls"):
        raise ValueError(f"result {k} counts no oracle calls; draw it against='steps'")
    if against == "seconds" and len(history.seconds) > 1 and not np.any(history.seconds > 0):
        raise ValueError(f"result {k} has no times, for a compiled loop reads no clock; draw it against='steps'")
    return history


def restarts(error: np.ndarray[Any, Any], result: Outcome[Any]) -> list[int]:
    """The rows at which an anchor moved, if a usual factor explains as many restarts as the result has."""
    counted = int(np.sum(on_host(getattr(result, "restarts", np.zeros(())))))
    for factor in USUAL:
        found, reference = [], np.inf
        for row, value in enumerate(error[:-1].tolist()):  # at the last row the method ends
            if row == 0:
                reference = value
            elif value <= factor * reference:
                found.append(row)
                reference = value
        if len(found) == counted:
            return found
    return []
