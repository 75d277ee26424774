"""Pictures of games and of variance reduction: bounds that close, ways through a triangle, and what sampling gains."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import library
from ..monotone import LogisticGradient, Restart, halpern, halpern_vr, matrix_game
from ..result import ConvergenceWarning
from .shared import dashed, legend, new_or_given, on_host, plain_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["gap", "scaling", "simplex"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

GROWTH = 1.25  # of the steps from one run to the next, so that all runs together cost five times the last one
CHECK = 40  # steps between two looks, as in matrix_game
SIZES = (250, 1000, 4000, 16_000)
HEIGHT = 0.5 * math.sqrt(3.0)  # of the triangle
FACTORS = (0.8, 0.5)  # of the deterministic restarts, of which the better one counts


# ---------------------------------------------------------------------------------------------------------------------
# Games


def gap(A: Any, *, tol: float | None = None, max_steps: int = 100_000, ax: Axes | None = None) -> Axes:
    """Solve a matrix game, and draw the two bounds of its value as they close on it.

    Whoever plays y earns at least the lower bound, whoever plays x pays at most the upper one; both are guarantees of
    strategies that are known at that step. They are drawn as distances from the value, on a scale that is logarithmic
    on both sides of it. The game is solved again with ever more steps, so that the picture costs about six times the
    solution.

    Parameters
    ----------
    A : array, shape (m, n), sparse matrix, or operator
        One game, not a batch, as for :func:`equipoise.monotone.matrix_game`.
    tol : float, optional
        Where to end, as for the solver.
    max_steps : int
        The most steps. A game that is not solved by then is drawn as far as it came.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its lines are the upper and the lower bound, and the value.

    Raises
    ------
    TypeError, ValueError
        As for the solver, or if A is a batch.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> ax = eq.plot.gap(np.random.default_rng(0).random((20, 30)))
    >>> upper, lower, value = (line.get_ydata() for line in ax.get_lines())
    >>> bool(np.all(upper >= 0) and np.all(lower <= 0)), bool(upper[-1] - lower[-1] <= 1e-6)
    (True, True)
    """
    last = played(A, tol, max_steps)
    if np.ndim(on_host(last.value)):
        raise ValueError(f"gap draws one game, got a batch of shape {np.shape(on_host(last.value))}")
    total = int(last.steps)
    results = [played(A, tol, steps) for steps in growing(total)] + [last]
    steps = np.array([max(1, int(result.steps)) for result in results])  # a pure saddle point takes none
    lower, upper, value = (
        np.array([float(on_host(getattr(result, name))) for result in results]) for name in ("lower", "upper", "value")
    )
    value = value[-1]
    linear = max(float(upper[-1] - lower[-1]), 4.0 * float(np.finfo(float).eps) * (1.0 + abs(value)))

    ax = new_or_given(ax)
    (line,) = ax.plot(steps, upper - value, marker=".", label="upper bound: x pays at most")
    ax.plot(steps, lower - value, linestyle="--", marker=".", color="C1", label="lower bound: y earns at least")
    ax.fill_between(steps, lower - value, upper - value, color=line.get_color(), alpha=0.12, linewidth=0)
    ax.axhline(0.0, color="0.5", linewidth=1, label=f"value {value:.6g}")
    ax.set_yscale("symlog", linthresh=linear)
    ax.set_xscale("log")
    plain_numbers(ax.xaxis)
    reach = max(float(upper[0]) - value, value - float(lower[0]), linear)
    thinned(ax.yaxis, linear, reach)
    ax.set_ylim(-3.0 * reach, 3.0 * reach)  # a margin on this scale
    ax.set_xlabel("steps")
    ax.set_ylabel("bound minus value")
    ax.grid(alpha=0.5)
    legend(ax, loc="center left", bbox_to_anchor=(0.01, 0.7), frameon=False)
    return ax


def played(A: Any, tol: float | None, steps: int) -> Any:
    """The game after so many steps, or at its end; not to be there yet is part of the picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return matrix_game(A, tol=tol, max_steps=steps, check_every=CHECK, history=False)


def growing(total: int) -> list[int]:
    """1 and multiples of `CHECK` below `total`, each about `GROWTH` times the one before."""
    found, steps = [1] if total > 1 else [], CHECK
    while steps < total:
        found.append(steps)
        steps = CHECK * math.ceil(GROWTH * steps / CHECK)
    return found


def thinned(axis: Any, linear: float, reach: float) -> None:
    """A few powers of ten on both sides of zero: a symmetric logarithmic scale marks more than there is place for."""
    low, high = math.ceil(math.log10(linear)), math.floor(math.log10(reach))
    stride = max(1, (high - low) // 3)
    powers = [10.0**k for k in range(high, low - 1, -stride)]
    axis.set_ticks([*(-power for power in powers), 0.0, *reversed(powers)])
    axis.set_tick_params(which="minor", length=0)


def simplex(
    *paths: Any,
    labels: Sequence[str] | None = None,
    names: Sequence[str] = ("rock", "paper", "scissors"),
    ax: Axes | None = None,
) -> Axes:
    """Draw ways of a mixed strategy through the triangle of three pure ones.

    A ring marks where a way begins, a dot where it ends.

    Parameters
    ----------
    *paths : array, shape (k, 3)
        Points in their order, not negative and of sum 1.
    labels : sequence of str, optional
        A name for each way.
    names : sequence of str
        Of the three corners.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its first line is the triangle; then each way is a line, and its two ends.

    Raises
    ------
    ValueError
        If there is no way, one is no (k, 3) or leaves the simplex, or labels or names do not fit.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    Gradient play never comes to rest: each player runs after the other.

    >>> import numpy as np
    >>> import equipoise as eq
    >>> A = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    >>> project = eq.monotone.Simplex()
    >>> x, y, path = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3]), []
    >>> for _ in range(100):
    ...     path.append(x)
    ...     x, y = project(x - 0.1 * y @ A, 1.0), project(y + 0.1 * A @ x, 1.0)
    >>> ax = eq.plot.simplex(np.array(path), labels=["gradient play"])
    >>> [text.get_text() for text in ax.texts]
    ['rock', 'paper', 'scissors']
    """
    if not paths:
        raise ValueError("simplex needs at least one way")
    if labels is not None and len(labels) != len(paths):
        raise ValueError(f"labels must name each of the {len(paths)} ways, got {len(labels)}")
    if len(names) != 3:
        raise ValueError(f"names must hold three names, got {len(names)}")
    points = [checked(k, path) for k, path in enumerate(paths)]

    ax = new_or_given(ax)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, HEIGHT]])
    ax.plot(*corners[[0, 1, 2, 0]].T, color="0.5", linewidth=1)
    ax.plot(*corners.mean(axis=0), "+", color="0.5", markersize=9)
    for k, path in enumerate(points):
        label = labels[k] if labels else None
        x, y = (path @ corners).T
        (line,) = ax.plot(x, y, linestyle=dashed(k), linewidth=1.2, label=label)
        ax.plot(x[0], y[0], "o", color=line.get_color(), markerfacecolor="none", markersize=7)
        ax.plot(x[-1], y[-1], "o", color=line.get_color(), markersize=5)
    for corner, name, side, height in zip(corners, names, ("right", "left", "center"), (-1, -1, 1), strict=True):
        place: dict[str, Any] = {"ha": side, "va": "top" if height < 0 else "bottom"}
        ax.annotate(name, corner, (0, 4 * height), textcoords="offset points", **place)
    ax.set_aspect("equal")
    ax.set_axis_off()
    if labels:
        legend(ax, loc="upper left")
    return ax


def checked(k: int, path: Any) -> Floats:
    """A way in numpy's numbers, if it is one."""
    points = np.asarray(on_host(path) if library(path) else path, dtype=float)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise ValueError(f"a way must have shape (k, 3), got {points.shape} as way {k}")
    off = (points.min(axis=1) < -1e-4) | ~(np.abs(points.sum(axis=1) - 1.0) <= 1e-4)
    if off.any():
        raise ValueError(f"way {k} leaves the simplex at its point {int(np.argmax(off))}")
    return points


# ---------------------------------------------------------------------------------------------------------------------
# Variance reduction


def scaling(
    sizes: Sequence[int] = SIZES,
    *,
    problem: Callable[[int], tuple[Any, Any]] | None = None,
    tol: float = 1e-4,
    seeds: int = 3,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many times fewer oracle calls variance-reduced Halpern iteration takes, over the components n.

    Both forms are restarted and take steps of the same length as the deterministic one, so that a step costs n calls
    there, on average 6 sqrt(n) with the batch and the refreshes that were published, and sqrt(n) with those that
    :func:`equipoise.monotone.halpern_vr` takes by itself. If steps were worth the same, the gain would be the quotient:
    these are the two thin curves.

    Parameters
    ----------
    sizes : sequence of int
        The numbers n of components, each at least 16.
    problem : callable, optional
        ``problem(n)`` returns a cocoercive finite sum that knows its `lipschitz`, and where to start. By default
        :func:`logistic`: a logistic regression with 50 columns whose singular values fall like j^(-3/4). Not every
        problem gains: where single components are much steeper than their mean, nothing is left.
    tol : float
        Of the residual.
    seeds : int
        Runs for each size, of which the median counts; bars reach from the least to the largest gain.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its lines are the gains by default and as published, then sqrt(n) and sqrt(n)/6. The deterministic method
        is the better one of two factors of restarts, 0.8 and 0.5.

    Raises
    ------
    ValueError
        If a number is too small, or a run does not converge.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import equipoise as eq
    >>> ax = eq.plot.scaling([64, 1024], tol=1e-3, seeds=1)
    >>> ours, published, *curves = (line.get_ydata() for line in ax.get_lines())
    >>> bool(ours[1] > published[1] > 1), bool(ours[1] > ours[0])
    (True, True)
    """
    sizes = sorted(int(n) for n in sizes)
    if not sizes or sizes[0] < 16 or seeds < 1 or not tol > 0:
        raise ValueError(f"needs sizes of at least 16, seeds >= 1 and tol > 0, got {sizes}, {seeds} and {tol}")
    gains = np.array([gained(n, (problem or logistic)(n), tol, seeds) for n in sizes])  # (sizes, 2, seeds)

    ax = new_or_given(ax)
    for k, (name, mark) in enumerate((("halpern_vr", "o"), ("with batch and refreshes as published", "s"))):
        middle = np.median(gains[:, k], axis=1)
        reach = np.abs(np.stack([gains[:, k].min(axis=1), gains[:, k].max(axis=1)]) - middle)
        (line,) = ax.plot(sizes, middle, marker=mark, linestyle=dashed(k), markersize=5, label=name)
        ax.vlines(sizes, middle - reach[0], middle + reach[1], color=line.get_color(), linewidth=1)
    n = np.geomspace(sizes[0], sizes[-1], 50)
    ax.plot(n, np.sqrt(n), color="0.5", linestyle=":", linewidth=1.2, label="sqrt(n)")
    ax.plot(n, np.sqrt(n) / 6.0, color="0.5", linestyle="-.", linewidth=1.2, label="sqrt(n) / 6")
    ax.axhline(1.0, color="0.5", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.minorticks_off()
    ax.set_yscale("log")
    plain_numbers(ax.yaxis)
    ax.set_xlabel("components n")
    ax.set_ylabel("gain in oracle calls")
    ax.grid(alpha=0.5)
    legend(ax, loc="upper left")
    return ax


def logistic(n: int, d: int = 50) -> tuple[LogisticGradient, Floats]:
    """A logistic regression with labels that a few columns decide, and zeros to start from."""
    draw = np.random.default_rng(n)
    A = draw.standard_normal((n, d)) * np.arange(1.0, d + 1.0) ** -0.75
    u = draw.standard_normal(d)
    labels = np.where(draw.random(n) < 1.0 / (1.0 + np.exp(-2.0 * (A @ u))), 1.0, -1.0)
    return LogisticGradient(A, labels), np.zeros(d)


def gained(n: int, problem: tuple[Any, Any], tol: float, seeds: int) -> Floats:
    """Calls of the deterministic method over those of the two sampled ones, shape (2, seeds)."""
    summed, u0 = problem
    L, root = summed.lipschitz, math.sqrt(n)
    whole = [
        calls(halpern(summed, u0, lipschitz=L, tol=tol, restart=Restart(factor), history=False)) for factor in FACTORS
    ]
    forms: tuple[dict[str, Any], ...] = ({}, {"batch": math.ceil(root), "refresh": min(1.0, 4.0 / (root + 5.0))})
    runs = [
        [calls(halpern_vr(summed, u0, lipschitz=L, tol=tol, rng=seed, **form)) for seed in range(seeds)]
        for form in forms
    ]
    return min(whole) / np.array(runs)


def calls(result: Any) -> float:
    """How many it took."""
    if not result.converged:
        raise ValueError(f"scaling compares runs that converge, and one ended as {result.status.name}")
    return float(on_host(result.oracle_calls))
