"""Pictures of preconditioners and of runs with them: how a fit gets there, what it makes of a spectrum, how runs go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import library, shape_text
from ..backend import of
from ..precondition import HessianFit, MinimizeResult, Preconditioner
from ..precondition.kinds import shape_of
from ..record import leaves
from .error import history_of
from .shared import dashed, legend, new_or_given, on_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["fit", "optimizer", "spectrum"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

MOST = 4096  # unknowns of a spectrum, which needs as many products with H and a factorisation
DOTS = 40  # points up to which each of them is marked


def fit(fit: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the error of one or several fits of a preconditioner against the pairs they have seen.

    Take it to choose form and step: a fit that stalls is a line that lies flat, and ends in a cross.

    Parameters
    ----------
    fit : HessianFit, or dict of str to HessianFit
        What :func:`equipoise.precondition.fit_hessian` returned, with a history; a name for each of several.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        A line a fit, and a cross at the end of each that did not converge.

    Raises
    ------
    TypeError, ValueError
        If something is not a fit, has no history, or there is none.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> from equipoise.precondition import fit_hessian, psgd
    >>> H = np.diag([1.0, 2.0, 8.0])
    >>> settings = {"quad 0.1": psgd(), "procrustes 0.25": psgd(form="procrustes", step=0.25)}
    >>> fits = {name: fit_hessian(lambda v: H @ v, np.zeros(3), preconditioner=p) for name, p in settings.items()}
    >>> ax = eq.plot.fit(fits)
    >>> [line.get_label() for line in ax.get_lines()], ax.get_yscale()
    (['quad 0.1', 'procrustes 0.25'], 'log')
    """
    fits = named("fit", fit, HessianFit, "a HessianFit")
    histories = {name: history_of(k, one, "steps") for k, (name, one) in enumerate(fits.items())}

    ax = new_or_given(ax)
    for k, (name, history) in enumerate(histories.items()):
        line = drawn(ax, name, history.step, history.error, dashed(k))
        if not bool(on_host(fits[name].converged)):
            marked(ax, line)
    ax.set_yscale("log")
    ax.set_xlabel("pairs")
    ax.set_ylabel("error of the fit")
    finished(ax, named_by_user=isinstance(fit, Mapping))
    return ax


def spectrum(
    fit: HessianFit[Any] | Preconditioner,
    hvp: Callable[[Any], Any],
    *,
    like: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the eigenvalues of P H beside those of H, in magnitude and in order, against 1.

    Those of P H are real, since they are those of Q H Q^T: a solver or an optimizer meets them in the place of those
    of H. Take it to see what is left of a condition number. Do not take it for many unknowns: P and H are formed, with
    one product for each unknown.

    Parameters
    ----------
    fit : HessianFit or Preconditioner
        What :func:`equipoise.precondition.fit_hessian` returned, or what ``psgd(...).operator(state)`` makes of a
        state.
    hvp : callable
        The products with H that P was fitted to. If they are noisy or a little asymmetric, the symmetric part of what
        they give is drawn.
    like : array, optional
        An array of the shape that `hvp` takes, if that is not a vector; a "kronecker" knows its own.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its lines are the eigenvalues of H and of P H, the largest first, then the line at 1; and rings around
        those that are negative, if any.

    Raises
    ------
    TypeError, ValueError
        If `fit` is neither, `hvp` gives something of another shape or not finite, or there are more than 4096 unknowns.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> from equipoise.precondition import fit_hessian
    >>> H = np.diag([0.5, 1.0, 8.0])
    >>> fit = eq.precondition.fit_hessian(lambda v: H @ v, np.zeros(3))
    >>> before, after, one = (line.get_ydata() for line in eq.plot.spectrum(fit, lambda v: H @ v).get_lines())
    >>> before, bool(np.abs(after - 1).max() < 1e-5)
    (array([8. , 1. , 0.5]), True)
    """
    P = getattr(fit, "preconditioner", fit)
    if not isinstance(P, Preconditioner):
        raise TypeError(f"fit must be a HessianFit or a Preconditioner, got {type(fit).__name__}")
    if not callable(hvp):
        raise TypeError(f"hvp must be callable, got {type(hvp).__name__}")
    n = P.shape[0]
    if n > MOST:
        raise ValueError(f"spectrum forms P and H, and draws at most {MOST} unknowns, got {n}")
    H = formed(hvp, P, like)
    w, X = np.linalg.eigh(on_host(P.settings.to_dense(P.state)).astype(float))
    root = X * np.sqrt(np.maximum(w, 0.0))  # P = root root^T
    values = {"H": np.linalg.eigvalsh(H), "P H": np.linalg.eigvalsh(root.T @ H @ root)}

    ax = new_or_given(ax)
    place, negative = np.arange(1, n + 1), []
    for mark, (name, found) in zip("os", values.items(), strict=True):
        found = found[np.argsort(-np.abs(found), kind="stable")]
        (line,) = ax.plot(place, np.abs(found), mark + "-" if n <= DOTS else "-", markersize=4)
        line.set_label(f"{name}, condition {condition(found)}")
        negative += [(place[found < 0], -found[found < 0], mark, line.get_color())] if np.any(found < 0) else []
    ax.axhline(1.0, color="0.5", linestyle="--", linewidth=1)
    style: dict[str, Any] = {"linestyle": "", "markersize": 6, "markerfacecolor": ax.get_facecolor()}
    for k, (at, found, mark, color) in enumerate(negative):
        ax.plot(at, found, marker=mark, color=color, label="_" if k else "negative", **style)
    ax.set_yscale("log")
    ax.set_xlabel("place")
    ax.set_ylabel("size of the eigenvalue" if negative else "eigenvalue")
    finished(ax, named_by_user=True)
    return ax


def optimizer(result: Any, *, against: str = "steps", ax: Axes | None = None) -> Axes:
    """Draw how one or several runs went, step by step: the error of results, or losses that were kept elsewhere.

    Parameters
    ----------
    result : MinimizeResult, array, or dict of str to either
        Results of :func:`equipoise.precondition.minimize`, of which the largest entry of the gradient is drawn; or, of
        a training loop in torch or optax, the losses: shape (k,) for one after each step 1, 2, ..., shape (k, 2) for
        pairs of a step (or of seconds) and a loss. Results and losses do not go into one picture.
    against : {"steps", "seconds"}
        What it is drawn against: a column of the results' histories, or what the first column of losses holds.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        A line a run, on a logarithmic scale wherever all numbers are positive, and a cross at the end of each result
        that did not converge.

    Raises
    ------
    TypeError, ValueError
        If there is no run, one is neither a result with a history nor an array of such a shape, both are mixed, or
        `against` is unknown or was not measured.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> H = np.diag([1.0, 5.0, 20.0])
    >>> run = eq.precondition.minimize(
    ...     lambda x: 0.5 * x @ H @ x, np.ones(3), grad=lambda x: H @ x, hvp=lambda x, v: H @ v
    ... )
    >>> ax = eq.plot.optimizer(run)
    >>> ax.get_xlabel(), ax.get_ylabel(), bool(ax.get_lines()[0].get_ydata()[-1] <= 1e-6)
    ('steps', 'largest entry of the gradient', True)

    Losses of loops of your own:

    >>> ax = eq.plot.optimizer({"PSGD": [1.0, 0.1, 0.02], "SGD": np.array([[1, 1.0], [3, 0.5]])})
    >>> [line.get_xdata().tolist() for line in ax.get_lines()], ax.get_ylabel()
    ([[1.0, 2.0, 3.0], [1.0, 3.0]], 'loss')
    """
    if against not in ("steps", "seconds"):
        raise ValueError(f"against must be 'steps' or 'seconds', got {against!r}")
    given = dict(result) if isinstance(result, Mapping) else {"": result}
    if not given:
        raise ValueError("optimizer draws at least one run, got an empty dict")
    results = [isinstance(run, MinimizeResult) for run in given.values()]
    if any(results) and not all(results):
        raise TypeError("optimizer draws results or losses, not both in one picture: their scales differ")
    runs = {
        name: run_of(k, run, against) if results[0] else losses_of(k, run, against)
        for k, (name, run) in enumerate(given.items())
    }

    ax = new_or_given(ax)
    for k, (name, (x, y)) in enumerate(runs.items()):
        line = drawn(ax, name, x, y, dashed(k))
        if results[0] and not bool(on_host(given[name].converged)):
            marked(ax, line)
    if all(np.all(y[np.isfinite(y)] > 0) for _, y in runs.values()):
        ax.set_yscale("log")
    ax.set_xlabel(against)
    ax.set_ylabel("largest entry of the gradient" if results[0] else "loss")
    finished(ax, named_by_user=isinstance(result, Mapping))
    return ax


# ---------------------------------------------------------------------------------------------------------------------
# What is drawn


def named(what: str, given: Any, kind: type, title: str) -> dict[str, Any]:
    """Several things by their names; one has none."""
    several = dict(given) if isinstance(given, Mapping) else {"": given}
    if not several:
        raise ValueError(f"{what} draws at least one, got an empty dict")
    for name, one in several.items():
        if not isinstance(one, kind):
            where = f" as {name!r}" if isinstance(given, Mapping) else ""
            raise TypeError(f"{what} must be {title}, or a dict of them, got {type(one).__name__}{where}")
    return several


def run_of(k: int, result: MinimizeResult[Any], against: str) -> tuple[Floats, Floats]:
    """Where a result was looked at, and its errors there."""
    history = history_of(k, result, against)
    return (history.step if against == "steps" else history.seconds), history.error


def losses_of(k: int, losses: Any, against: str) -> tuple[Floats, Floats]:
    """Losses and where they were taken, from one column or two."""
    try:
        table = np.asarray(on_host(losses) if library(losses) else losses, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(
            f"run {k} must be a MinimizeResult or an array of losses, got {type(losses).__name__}"
        ) from None
    if table.ndim not in (1, 2) or not table.size or (table.ndim == 2 and table.shape[1] != 2):
        raise ValueError(f"losses must have shape (k,) or (k, 2), got {table.shape} as run {k}")
    if table.ndim == 2:
        return table[:, 0], table[:, 1]
    if against != "steps":
        raise ValueError(f"run {k} says no seconds: pass pairs of seconds and losses, shape (k, 2)")
    return np.arange(1.0, len(table) + 1.0), table


def formed(hvp: Callable[[Any], Any], P: Preconditioner, like: Any) -> Floats:
    """The symmetric part of H in numpy's numbers, column by column."""
    beside, n = leaves(P.state)[0], P.shape[0]
    shape = tuple(like.shape) if like is not None else shape_of(P.state) or (n,)
    if int(np.prod(shape)) != n:
        raise ValueError(f"like must hold the {n} numbers that P is for, got shape {shape}")
    H, host = np.empty((n, n)), np.dtype(str(beside.dtype).rpartition(".")[2])
    for j in range(n):
        unit = np.zeros(n, dtype=host)
        unit[j] = 1.0
        column = hvp(of(beside).lend(unit.reshape(shape), beside))
        if not library(column) or tuple(column.shape) != shape:
            got = shape_text(column) if library(column) else type(column).__name__
            raise ValueError(f"hvp must return an array of shape {shape}, that of what it takes, got {got}")
        H[:, j] = np.reshape(on_host(column), -1)
    if not np.all(np.isfinite(H)):
        raise ValueError("hvp must return finite numbers, got NaN or infinity")
    return (H + H.T) / 2.0


def condition(found: Floats) -> str:
    """The quotient of the largest and the least in magnitude, which come first and last."""
    least = abs(found[-1])
    return f"{abs(found[0]) / least:.3g}" if least > 0 else "infinite"


# ---------------------------------------------------------------------------------------------------------------------
# How


def drawn(ax: Axes, name: str, x: Any, y: Any, style: str) -> Any:
    """A line through what is finite: rows that a compiled loop did not reach are NaN."""
    seen = np.isfinite(y)
    marker = "." if np.sum(seen) < DOTS else ""
    (line,) = ax.plot(x[seen], y[seen], style, marker=marker, linewidth=1.3, label=name or None)
    return line


def marked(ax: Axes, line: Any) -> None:
    """A cross at the end of a run that did not get there."""
    x, y = line.get_data()
    if len(x):
        ax.plot(x[-1:], y[-1:], "x", color=line.get_color(), markersize=8, markeredgewidth=1.6)


def finished(ax: Axes, *, named_by_user: bool) -> None:
    """A grid, a legend where there are names, and ticks at whole steps, few enough for numbers of five digits."""
    if ax.get_xscale() == "linear":
        ax.locator_params(axis="x", nbins=6, integer=ax.get_xlabel() != "seconds")
    ax.grid(alpha=0.5)
    if named_by_user:
        legend(ax)
