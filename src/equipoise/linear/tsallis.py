"""Policies that know no context: a bandit with the Tsallis entropy, after "Learning to relax".

Each arm is a relaxation factor, or a multiple of what Young's formula says; only the cost of the arm that was played is
ever seen. The learner keeps unbiased estimates of what every arm would have cost in all, and plays arms with
probabilities that fall like one over the square of that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..guide import guided
from .policy import (
    Chooser,
    Radius,
    State,
    check_context,
    check_count,
    check_grid,
    check_interval,
    default_grid,
    drawn,
    generator,
    modelled,
    restored,
)

__all__ = ["BinnedTsallisINF", "TsallisINF", "distribution"]

FACTORS = (0.5, math.sqrt(0.5), 1.0, math.sqrt(2.0), 2.0)
ENOUGH = 1e-12
TINY = 1e-12


def distribution(losses: list[float], scale: float, eta: float) -> list[float]:
    """p_i = 4/(eta (losses_i/scale - x))^2 with the x below all losses/scale for which they add up to 1.

    With y = min losses/scale - x and S(y) the sum, Newton's method on S^{-1/2} = 1, which is concave in y, and linear
    where all losses are equal: from y = 2/eta, where the best arm alone has p = 1, it rises without overshooting.
    """
    least = min(losses)
    gaps = [(x - least) / scale for x in losses]
    y = 2.0 / eta
    for _ in range(100):
        square = cube = 0.0
        for gap in gaps:
            root = 2.0 / (eta * (gap + y))
            square += root * root
            cube += root * root * root
        if square - 1.0 <= ENOUGH:
            break
        new = y + 2.0 * square * (math.sqrt(square) - 1.0) / (eta * cube)
        if new <= y:
            break
        y = new
    p = [(2.0 / (eta * (gap + y))) ** 2 for gap in gaps]
    total = sum(p)
    return [x / total for x in p]


class Arms:
    """One learner: estimates of the total loss of every arm, the number of rounds, and the sum of all losses seen."""

    def __init__(self, size: int, prior_rounds: int) -> None:
        self.losses = [0.0] * size
        self.prior_rounds = prior_rounds
        self.rounds = 0
        self.total = 0.0
        self.scale = 0.0  # 0: nothing has been seen

    def start(self, model: Any) -> None:
        """As if every arm had been played for some rounds, at what the model says."""
        self.losses = [self.prior_rounds * (float(u) - 1.0) for u in model]
        self.scale = max(float(min(model)) - 1.0, TINY)

    def probabilities(self) -> list[float]:
        """How likely each arm is to be played next."""
        eta = 2.0 / math.sqrt(self.rounds + 1 + self.prior_rounds)
        return distribution(self.losses, self.scale or 1.0, eta)

    def learn(self, arm: int, probability: float, cost: float) -> None:
        """An estimate without bias: the loss over the probability of seeing it."""
        self.losses[arm] += (cost - 1.0) / probability
        self.rounds += 1
        self.total += cost - 1.0
        self.scale = max(self.total / self.rounds, TINY)

    def state(self) -> State:
        """All of it, as data."""
        return {
            "losses": np.array(self.losses),
            "rounds": self.rounds,
            "total": self.total,
            "scale": self.scale,
        }

    def restore(self, state: State) -> None:
        """Set what `state` has returned."""
        if len(state["losses"]) != len(self.losses):
            raise ValueError(f"the state has {len(state['losses'])} arms, this policy {len(self.losses)}")
        self.losses = [float(x) for x in state["losses"]]
        self.rounds, self.total, self.scale = int(state["rounds"]), float(state["total"]), float(state["scale"])


class Learner(Chooser):
    """A bandit for every bin of contexts."""

    def __init__(self, grid: Any, relative: bool, prior_rounds: int, rng: Any, bins: int) -> None:
        super().__init__()
        if not isinstance(relative, (bool, np.bool_)):
            raise TypeError(f"relative must be True or False, got {type(relative).__name__}")
        self.relative = bool(relative)
        self.prior_rounds = check_count("prior_rounds", prior_rounds, 0)
        if grid is None:
            self.grid = np.array(FACTORS) if relative else default_grid()
        elif relative:
            self.grid = check_grid(grid, 0.0, math.inf, "factors on Young's s")
        else:
            self.grid = check_grid(grid, 0.0, 2.0, "values of omega")
        self._rng = generator(rng)
        self._radius = Radius()
        self._arms = [Arms(self.grid.size, self.prior_rounds) for _ in range(bins)]
        self._points = self.grid.tolist()

    def factors(self, beta: float | None) -> list[float]:
        """omega of every arm, for an operator with that Jacobi radius."""
        if beta is None or not self.relative:
            return self._points
        young = math.sqrt(1.0 - beta * beta)  # s = (2 - omega)/omega of Young's factor
        return [2.0 / (1.0 + min(1.0, f * young)) for f in self._points]

    def _play(self, arms: Arms, which: int, operator: Any) -> float:
        fresh = arms.rounds == 0 and arms.prior_rounds > 0
        beta = self._radius.of(operator) if self.relative or fresh else None
        omegas = self.factors(beta)
        if fresh:
            arms.start(modelled(beta, np.array(omegas), self.solver, self.tol))
        p = arms.probabilities()
        i = drawn(p, self._rng.random())
        self._open = which, i, p[i]
        return omegas[i]

    def _learn(self, opened: Any, cost: float) -> None:
        which, arm, probability = opened
        self._arms[which].learn(arm, probability, cost)

    def _state(self) -> State:
        return {
            "grid": self.grid.copy(),
            "arms": [arms.state() for arms in self._arms],
            "radius": self._radius.state(),
            "rng": self._rng.bit_generator.state,
        }

    def _restore(self, state: State) -> None:
        if len(state["arms"]) != len(self._arms) or not np.array_equal(state["grid"], self.grid):
            raise ValueError("the state belongs to a policy with another grid or number of bins")
        rng = restored(state["rng"])
        for arms, saved in zip(self._arms, state["arms"], strict=True):
            arms.restore(saved)
        self._radius.restore(state["radius"])
        self._rng = rng


class TsallisINF(Learner):
    """A bandit that learns one relaxation factor for a sequence, or one correction of Young's formula.

    Take it where systems differ in a way that no number describes, and there are at least some dozens of them. With
    ``relative=True`` an arm is a multiple of what Young's formula says of the system at hand, so that it follows
    systems that differ; then it is better than every fixed factor after a hundred systems. Do not take it where a
    number describes the systems: :class:`ChebCB` uses that; nor where the formula is exact: :class:`YoungOmega`.

    Parameters
    ----------
    grid : sequence of float, optional
        With `relative`, multiples of s = (2 - omega)/omega of Young's factor; 1/2, 1/sqrt(2), 1, sqrt(2), 2 by default.
        Without, values of omega in (0, 2); twelve from 1 to 1.95 by default.
    relative : bool
        Whether arms are relative to Young's formula. Without, the operator is looked at once, for the prior.
    prior_rounds : int
        For how many rounds the model :func:`predicted_steps` of the first operator counts; 0 goes without.
    rng : int or numpy.random.Generator
        The same seed gives the same run.

    Raises
    ------
    TypeError, ValueError
        If a point of the grid lies outside of its range, or another setting is none.

    Notes
    -----
    J. Zimmert, Y. Seldin, "Tsallis-INF: an optimal algorithm for stochastic and adversarial bandits", JMLR 22(28),
    2021, with alpha = 1/2; for relaxation factors, M. Khodak, E. Chow, M. F. Balcan, A. Talwalkar, "Learning to relax",
    ICLR 2024, arXiv:2310.02246, algorithm 1. The relative grid and the prior are ours. The cost of an arm is steps - 1.

    Examples
    --------
    >>> import equipoise as eq
    >>> A = eq.operators.Stencil.laplacian((32, 32))
    >>> policy = eq.linear.TsallisINF(rng=0)
    >>> for _ in range(3):
    ...     omega = policy.suggest(None, A)
    ...     policy.observe(110)
    >>> 1.6 < omega < 2
    True
    """

    @guided
    def __init__(self, grid: Any = None, *, relative: bool = True, prior_rounds: int = 20, rng: Any) -> None:
        super().__init__(grid, relative, prior_rounds, rng, bins=1)

    def suggest(self, context: float | None, operator: Any) -> float:
        """Draw an arm; the context is not looked at."""
        return self._play(self._arms[0], 0, operator)

    def __repr__(self) -> str:
        return f"TsallisINF({self.grid.size} arms, relative={self.relative}, {self._arms[0].rounds} rounds)"


class BinnedTsallisINF(Learner):
    """One :class:`TsallisINF` for each part of the range of a context.

    Take it for the best factor as any function of a number, rough ones too, and long sequences: every bin learns by
    itself. Do not take it for a function that varies smoothly, which :class:`ChebCB` learns from fewer systems.

    Parameters
    ----------
    interval : pair of float
        The range of the context.
    bins : int
        Into how many equal parts it is divided.
    grid, relative, prior_rounds, rng
        As for :class:`TsallisINF`.

    Raises
    ------
    TypeError, ValueError
        If a setting is out of its range; by `suggest`, if the context is missing or lies outside of `interval`.

    Notes
    -----
    Khodak et al. 2024, section 3: discretised contexts.

    Examples
    --------
    >>> import equipoise as eq
    >>> policy = eq.linear.BinnedTsallisINF((0.0, 1.0), bins=4, rng=0)
    >>> A = eq.operators.Stencil.laplacian((8, 8), shift=0.3)
    >>> 1 <= policy.suggest(0.3, A) < 2
    True
    """

    @guided
    def __init__(
        self,
        interval: tuple[float, float],
        *,
        bins: int = 5,
        grid: Any = None,
        relative: bool = True,
        prior_rounds: int = 20,
        rng: Any,
    ) -> None:
        self.interval = check_interval(interval)
        super().__init__(grid, relative, prior_rounds, rng, bins=check_count("bins", bins, 1))

    def suggest(self, context: float | None, operator: Any) -> float:
        """Draw an arm of the bin whose centre is nearest to the context."""
        low, high = self.interval
        bins = len(self._arms)
        which = min(int((check_context(context, self.interval) - low) / (high - low) * bins), bins - 1)
        return self._play(self._arms[which], which, operator)

    def __repr__(self) -> str:
        rounds = sum(arms.rounds for arms in self._arms)
        return f"BinnedTsallisINF({self.interval}, {len(self._arms)} bins, {self.grid.size} arms, {rounds} rounds)"
