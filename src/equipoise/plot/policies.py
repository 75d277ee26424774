"""What a policy has learned: the cost that it predicts, or the probabilities of its arms."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from ..linear import BinnedTsallisINF, ChebCB, TsallisINF
from .shared import new_or_given, plain_numbers, poles, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["policy"]

CONTEXTS = 120
LEAST = 1e-9  # where the scale of 2 - omega ends, beyond all factors


def policy(policy: Any, *, operator: Any = None, ax: Axes | None = None) -> Axes:
    """Draw what a policy that learns has made of the systems that it saw.

    Of a :class:`equipoise.linear.ChebCB`, the steps that it predicts over context and factor, and a line along the
    least. Since it corrects a model of the system at hand, it needs to know the systems; without `operator` the
    polynomial alone is drawn, in steps. Of a :class:`equipoise.linear.TsallisINF`, the probability of each arm, and
    of a :class:`equipoise.linear.BinnedTsallisINF` those of every bin.

    Parameters
    ----------
    policy : ChebCB, TsallisINF or BinnedTsallisINF
        After a run.
    operator : callable or operator, optional
        For ChebCB: the operator of a context, or a function that returns it.
    ax : matplotlib axes, optional
        Where to draw; a colour bar is placed beside it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        If the policy is none of these.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> def operator(c):
    ...     return eq.operators.Stencil.laplacian((9, 9), shift=c)
    >>> policy = eq.linear.ChebCB((0.0, 2.0), rng=0)
    >>> contexts = np.random.default_rng(0).uniform(0, 2, 20)
    >>> result = eq.linear.solve_sequence([(operator(c), np.ones((9, 9)), c) for c in contexts], policy=policy)
    >>> ax = eq.plot.policy(policy, operator=operator)
    >>> ax.plot(result.context, result.omega, ".")  # doctest: +ELLIPSIS
    [<matplotlib.lines.Line2D ...>]
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('context', 'omega')
    """
    if isinstance(policy, ChebCB):
        return surface(policy, operator, ax)
    if isinstance(policy, BinnedTsallisINF):
        return bins(policy, ax)
    if isinstance(policy, TsallisINF):
        return bars(policy, ax)
    raise TypeError(f"policy draws a ChebCB, TsallisINF or BinnedTsallisINF, got {type(policy).__name__}")


def surface(policy: ChebCB, operator: Any, ax: Axes | None) -> Axes:
    """The steps that a model predicts, over contexts and factors."""
    context = np.linspace(*policy.interval, CONTEXTS)
    known = policy.model is None or operator is not None
    ascending = np.argsort(policy.grid)
    omega = policy.grid[ascending]
    values = (predictions(policy, operator, context) if known else corrections(policy, context))[ascending]

    ax = new_or_given(ax)
    from matplotlib.colors import LogNorm, Normalize

    figure: Any = ax.figure
    across = np.linspace(*policy.interval, CONTEXTS + 1)
    scale_by_distance_to_two(ax, omega)
    if known:
        values = np.maximum(values, 1.0)
        norm: Any = LogNorm(float(values.min()), max(float(values.max()), 1.01 * float(values.min())))
        image = ax.pcolormesh(across, edges(omega), values, norm=norm, cmap=shades(ax))
        least = omega[np.argmin(values, axis=0)]
        ax.plot(context, least, color="C1", drawstyle="steps-mid", label="least")
    else:
        reach = max(float(np.abs(values).max()), 1.0)
        image = ax.pcolormesh(across, edges(omega), values, norm=Normalize(-reach, reach), cmap=poles(ax))
    bar = figure.colorbar(image, ax=ax, label="predicted steps" if known else "learned beside the model, steps")
    if known:
        plain_numbers(bar.ax.yaxis)
    ax.set_xlabel("context")
    ax.set_ylabel("omega")
    return ax


def predictions(policy: ChebCB, operator: Any, context: Any) -> Any:
    """The steps of every factor at every context, by a copy of the policy: to look at operators leaves traces."""
    twin = copy.deepcopy(policy)
    return np.stack([twin.predicted(c, operator(c) if callable(operator) else operator) for c in context.tolist()], 1)


def corrections(policy: ChebCB, context: Any) -> Any:
    """What the polynomials add to the model."""
    return policy.state_dict()["theta"] @ np.stack([policy.features(c) for c in context.tolist()], axis=1)


def bars(policy: TsallisINF, ax: Axes | None) -> Axes:
    """With what probability each arm would be played next."""
    ax = new_or_given(ax)
    arms = np.argsort(policy.grid)
    ax.bar(np.arange(arms.size), probabilities(policy)[0, arms])
    ax.set_xticks(np.arange(arms.size), names(policy, arms))
    ax.set_ylim(0, 1)
    ax.set_xlabel(of_arms(policy))
    ax.set_ylabel("probability")
    return ax


def bins(policy: BinnedTsallisINF, ax: Axes | None) -> Axes:
    """The same for each bin of contexts."""
    ax = new_or_given(ax)
    figure: Any = ax.figure
    arms = np.argsort(policy.grid)
    p = probabilities(policy)[:, arms]
    across = np.linspace(*policy.interval, p.shape[0] + 1)
    image = ax.pcolormesh(across, np.arange(arms.size + 1) - 0.5, p.T, vmin=0, vmax=1, cmap=shades(ax))
    figure.colorbar(image, ax=ax, label="probability")
    ax.set_yticks(np.arange(arms.size), names(policy, arms))
    ax.set_xlabel("context")
    ax.set_ylabel(of_arms(policy))
    return ax


def probabilities(policy: Any) -> Any:
    """Of every bin, shape (bins, arms)."""
    return np.array([arms.probabilities() for arms in policy._arms])


def names(policy: Any, arms: Any) -> list[str]:
    """The arms as ticks name them."""
    return [f"{x:.2f}" for x in policy.grid[arms]]


def of_arms(policy: Any) -> str:
    """What the arms are."""
    return "(2 - omega)/omega, over Young's" if policy.relative else "omega"


def edges(omega: Any) -> Any:
    """Borders half-way between the factors, in the logarithm of 2 - omega."""
    u = np.log(2.0 - omega)
    if u.size == 1:
        return 2.0 - np.exp(u[0] + np.array([0.1, -0.1]))
    middle = 0.5 * (u[1:] + u[:-1])
    return 2.0 - np.exp(np.concatenate([[2 * u[0] - middle[0]], middle, [2 * u[-1] - middle[-1]]]))


def scale_by_distance_to_two(ax: Axes, omega: Any) -> None:
    """Even in the logarithm of 2 - omega, as steps are; a tick for some of the factors."""
    ax.set_yscale(
        "function",
        functions=(lambda w: -np.log(np.maximum(2.0 - np.asarray(w), LEAST)), lambda u: 2.0 - np.exp(-np.asarray(u))),
    )
    shown = omega[:: max(1, round(omega.size / 8))]
    ax.set_yticks(shown, [f"{w:.2f}" for w in shown])
