"""What became of a sequence of linear systems: factors, steps, and what other factors would have taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .shared import legend, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..linear import Regret, SequenceResult

__all__ = ["sequence"]

FAR = 2.5  # fixed factors that take more than this many times the best one's steps run off the picture
FEW = 60  # systems; of more, single dots are small
MARKS = "osD^vPX*"


def sequence(
    *results: SequenceResult[Any],
    regret: Regret | None = None,
    labels: Sequence[str] | None = None,
    panels: Sequence[str] = ("omega", "steps", "total"),
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, ...]:
    """Draw the factors and the steps of a sequence of linear systems, system by system, and the steps up to each.

    Several results, of several policies on the same systems, are drawn over each other. A record of what fixed factors
    would have taken adds a thin line for each to the panel of totals, a dashed one for the best of them, and a dotted
    one for a chooser that knew the best of the grid for every system.

    Parameters
    ----------
    *results
        Of :func:`equipoise.linear.solve_sequence`.
    regret : Regret, optional
        What ``result.regret(systems, grid)`` returned, of the same systems.
    labels : sequence of str, optional
        A name for each result.
    panels : sequence of {"omega", "steps", "total"}
        What to draw, one panel each. Systems that did not converge are crossed in the panel of steps.
    axes : sequence of matplotlib axes, optional
        Where to draw, one for each panel; by default one above the other in a new figure.

    Returns
    -------
    tuple of matplotlib.axes.Axes
        One for each panel.

    Raises
    ------
    TypeError
        If something is not a result of a sequence.
    ValueError
        If there is no result or no panel, results are of different lengths or empty, a panel is unknown, or labels,
        axes or `regret` do not fit.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> grids = [eq.operators.Stencil.laplacian((9, 9), shift=c) for c in (0.1, 1.0, 0.3, 2.0)]
    >>> systems = [(A, np.ones((9, 9))) for A in grids]
    >>> result = eq.linear.solve_sequence(systems, warm_start=False)
    >>> axes = eq.plot.sequence(result, regret=result.regret(systems, [1.1, 1.3, 1.5]), labels=["Young"])
    >>> [ax.get_ylabel() for ax in axes]
    ['omega', 'steps', 'steps so far']
    """
    check(results, regret, labels, panels, axes)
    given = axes is not None
    drawn = tuple(axes) if axes is not None else stacked(len(panels))
    for ax, panel in zip(drawn, panels, strict=True):
        DRAWN[panel](ax, results, labels, regret)
        ax.grid(alpha=0.5)
        if given or panel == panels[-1]:
            ax.set_xlabel("system")
        if (panel == "total" or len(panels) == 1) and ax.get_legend_handles_labels()[0]:
            legend(ax)
    return drawn


def draw_omega(ax: Axes, results: Any, labels: Any, regret: Any) -> None:
    """The factor of each system."""
    for k, result in enumerate(results):
        ax.plot(result.omega, label=name(labels, k), **dots(result.omega))
    if regret is not None:
        ax.axhline(regret.best, color="0.5", linestyle="--", linewidth=1)
    ax.set_ylabel("omega")


def draw_steps(ax: Axes, results: Any, labels: Any, regret: Any) -> None:
    """The steps of each system; those that failed are marked."""
    for k, result in enumerate(results):
        (line,) = ax.plot(result.steps, label=name(labels, k), **dots(result.steps))
        failed = np.flatnonzero(~np.asarray(result.converged))
        if failed.size:
            ax.plot(failed, result.steps[failed], "x", color=line.get_color())
    ax.set_ylim(0, None)
    ax.set_ylabel("steps")


def draw_total(ax: Axes, results: Any, labels: Any, regret: Any) -> None:
    """The steps so far."""
    top = max(result.total_steps for result in results)
    if regret is not None:
        for row in regret.steps:
            ax.plot(np.cumsum(row), color="0.6", linewidth=0.6, alpha=0.6, zorder=1)
        best = np.cumsum(regret.steps[int(np.argmin(regret.total))])
        known = np.cumsum(regret.steps.min(axis=0))
        ax.plot(best, color="0.5", linestyle="--", linewidth=1.2, label=f"best fixed, {regret.best:.3g}")
        ax.plot(known, color="0.5", linestyle=":", linewidth=1.5, label="best for each")
        top = max(top, min(int(np.max(regret.total)), FAR * int(best[-1])))
    for k, result in enumerate(results):
        ax.plot(np.cumsum(result.steps), label=name(labels, k), **marks(k, len(result.steps)))
    ax.set_ylim(0, 1.04 * max(top, 1))
    ax.set_ylabel("steps so far")


DRAWN = {"omega": draw_omega, "steps": draw_steps, "total": draw_total}


def name(labels: Sequence[str] | None, k: int) -> str | None:
    """The label of the k-th result, if there are labels."""
    return labels[k] if labels else None


def dots(values: Any) -> dict[str, Any]:
    """Single systems are dots; neighbours need not be like each other, so no line leads from one to the next."""
    return {"linestyle": "", "marker": ".", "markersize": 6 if len(values) <= FEW else 3}


def marks(k: int, count: int) -> dict[str, Any]:
    """A few marks on the k-th line, so that many lines can be told apart without their colours."""
    return {"marker": MARKS[k % len(MARKS)], "markersize": 4, "markevery": max(1, count // 8)}


def stacked(count: int) -> tuple[Axes, ...]:
    """Panels above each other, with one axis of systems."""
    size = (6.4, 1.2 + 2.0 * count)
    axes = pyplot().subplots(count, figsize=size, sharex=True, squeeze=False, layout="constrained")[1]
    return tuple(axes[:, 0])


def check(results: Any, regret: Any, labels: Any, panels: Any, axes: Any) -> None:
    """Results, labels, panels and axes have to fit each other."""
    if not results:
        raise ValueError("sequence needs at least one result")
    for k, result in enumerate(results):
        if not hasattr(result, "total_steps"):
            raise TypeError(f"sequence draws results of solve_sequence, got {type(result).__name__} as result {k}")
    lengths = [len(result.steps) for result in results]
    if lengths[0] == 0 or len(set(lengths)) > 1:
        raise ValueError(f"sequence draws results of the same systems, at least one, got lengths {lengths}")
    if labels is not None and len(labels) != len(results):
        raise ValueError(f"labels must name each of the {len(results)} results, got {len(labels)}")
    unknown = [panel for panel in panels if panel not in DRAWN]
    if unknown or not panels:
        raise ValueError(f"panels must hold some of 'omega', 'steps' and 'total', got {tuple(panels)}")
    if axes is not None and len(axes) != len(panels):
        raise ValueError(f"axes must hold one for each of the {len(panels)} panels, got {len(axes)}")
    if regret is not None and regret.steps.shape[-1] != lengths[0]:
        raise ValueError(f"regret is of {regret.steps.shape[-1]} systems, the results are of {lengths[0]}")
