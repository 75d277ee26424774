"""How many steps a linear system takes with which relaxation factor, measured and modelled."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import is_floating, library
from ..backend import of
from ..linear import SSOR, cg, optimal_omega, predicted_steps, sor
from ..operators import as_operator
from ..record import leaves
from ..result import ConvergenceWarning
from .shared import legend, new_or_given, on_host, plain_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["omega_curve"]

POINTS = 21
BEYOND = 8.0  # how much less than Young's (2 - omega)/omega the last of the default factors has


def omega_curve(
    A: Any,
    b: Any = None,
    *,
    solver: str = "sor",
    omega: Any = None,
    order: str = "natural",
    tol: float = 1e-8,
    max_steps: int = 10_000,
    rng: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Solve a system with many relaxation factors, and draw the steps of each beside what the model says.

    Take it to see how much a good factor is worth, and how far Young's formula is from the best one. Do not take it
    for large systems: it solves the system as often as there are factors, and the bad ones take long.

    Parameters
    ----------
    A : array, sparse matrix, or operator
        One symmetric positive definite system, not a batch.
    b : array, optional
        The right-hand side; by default normal random numbers.
    solver : {"sor", "ssor_cg"}
        :func:`equipoise.linear.sor`, or :func:`equipoise.linear.cg` with :class:`equipoise.linear.SSOR`.
    omega : sequence of float, optional
        The factors, in (0, 2); by default 21 from 1 to well beyond Young's.
    order : {"natural", "red_black", "multicolor"}
        The order of the sweeps.
    tol, max_steps
        As of the solvers. A factor with which `max_steps` were not enough is drawn as a cross.
    rng : int
        Seeds the random right-hand side.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its lines are the steps measured, those of the model, and Young's factor; then the crosses, if any.

    Raises
    ------
    TypeError, ValueError
        As for the solvers; if `A` is a batch, or `solver` unknown.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import equipoise as eq
    >>> ax = eq.plot.omega_curve(eq.operators.Stencil.laplacian((16, 16)), omega=[1.5, 1.6, 1.7, 1.8])
    >>> [int(steps) for steps in ax.get_lines()[0].get_ydata()]
    [130, 75, 60, 89]
    """
    if solver not in ("sor", "ssor_cg"):
        raise ValueError(f"solver must be 'sor' or 'ssor_cg', got {solver!r}")
    A = as_operator(A)
    young = optimal_omega(A)
    if np.ndim(young):
        raise ValueError(f"omega_curve draws one system, got a batch of shape {np.shape(young)}")
    b = noise(A, rng) if b is None else b
    tried = np.asarray(around(young) if omega is None else on_host(omega), dtype=float)
    results = [solved(A, b, float(w), solver, order, tol, max_steps) for w in tried]
    steps = np.array([int(result.steps) for result in results])
    failed = np.array([not result.converged for result in results])

    ax = new_or_given(ax)
    fine = 2.0 - np.geomspace(2.0 - tried.min(), 2.0 - tried.max(), 200)
    ax.plot(tried[~failed], steps[~failed], marker=".", label="measured")
    ax.plot(fine, predicted_steps(A, fine, solver=solver, tol=tol), linewidth=1, label="model")
    ax.axvline(young, color="0.5", linestyle="--", linewidth=1, label=f"Young's, {young:.3f}")
    if np.any(failed):
        ax.plot(tried[failed], steps[failed], "x", color="C0", label="not converged")
    ax.set_yscale("log")
    plain_numbers(ax.yaxis)
    ax.set_xlabel("omega")
    ax.set_ylabel("sweeps" if solver == "sor" else "steps")
    ax.grid(alpha=0.5)
    legend(ax)
    return ax


def around(young: float) -> np.ndarray[Any, Any]:
    """From 1 to beyond Young's, evenly in the logarithm of s = (2 - omega)/omega, and Young's own."""
    least = (2.0 - young) / young / BEYOND
    s = np.append(np.geomspace(1.0, least, POINTS - 1), (2.0 - young) / young)
    return 2.0 / (1.0 + np.sort(s)[::-1])


def noise(A: Any, rng: int) -> Any:
    """A right-hand side of the operator's library and dtype."""
    shape = tuple(getattr(A, "grid", None) or A.shape[-1:])
    drawn = np.random.default_rng(rng).standard_normal(shape)
    beside = next((x for x in leaves(A) if library(x) and is_floating(x)), None)
    if beside is None:
        return drawn
    return of(beside).lend(drawn.astype(str(beside.dtype).rpartition(".")[2]), beside)


def solved(A: Any, b: Any, omega: float, solver: str, order: str, tol: float, max_steps: int) -> Any:
    """The result with one factor; a bad one need not converge."""
    settings: dict[str, Any] = {"tol": tol, "max_steps": max_steps, "history": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bad factor is part of the picture
        if solver == "sor":
            return sor(A, b, omega=omega, order=order, **settings)
        return cg(A, b, preconditioner=SSOR(omega, order=order), **settings)
