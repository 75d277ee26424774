"""The policy for systems with a context: regression on Chebyshev polynomials, and play by the inverse of the gap.

The number of steps is a smooth function of a context such as the stiffness, for every relaxation factor another one;
each is learned as a polynomial plus what the model says, times a ratio that all factors share. The factor with the
least predicted cost is played most of the time, the others the less the worse they look.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import like, namespace
from ..guide import guided
from ..kernel import kernel
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

__all__ = ["ChebCB", "box_fit"]

RIDGE = 1e-9
ROUNDS = 100
ENOUGH = 1e-10


@kernel("linear.box_fit")
def box_fit(gram: Any, moments: Any, bounds: Any, start: Any) -> Any:
    """The theta in the box |theta_j| <= bounds_j with the least theta . gram theta - 2 theta . moments.

    Coordinate descent from `start`, for at most 100 rounds. Host code of some dozens of numbers: plain floats are
    faster than arrays.
    """
    rows, h, box, theta = gram.tolist(), moments.tolist(), bounds.tolist(), start.tolist()
    m = len(theta)
    theta = [min(max(x, -b), b) for x, b in zip(theta, box, strict=True)]
    for _ in range(ROUNDS):
        moved = 0.0
        for j in range(m):
            row, old = rows[j], theta[j]
            rest = h[j]
            for k in range(m):
                rest -= row[k] * theta[k]
            new = min(max(old + rest / (row[j] + RIDGE), -box[j]), box[j])
            theta[j] = new
            moved = max(moved, abs(new - old))
        if moved <= ENOUGH * box[0]:
            break
    return namespace(start).asarray(theta, **like(start))


class Extent:
    """The least and the largest of the numbers seen."""

    def __init__(self, low: float = math.inf, high: float = -math.inf) -> None:
        self.low, self.high = float(low), float(high)

    def see(self, x: float) -> None:
        """Take one more number in."""
        self.low, self.high = min(self.low, x), max(self.high, x)

    def spread(self) -> float:
        """How far apart they lie."""
        return self.high - self.low

    def state(self) -> list[float]:
        """Both ends, or nothing if nothing was seen."""
        return [self.low, self.high] if self.low <= self.high else []


class ChebCB(Chooser):
    """A contextual bandit that learns, for every relaxation factor, the number of steps as a function of a number.

    Take it wherever a number describes the systems (a time step, a stiffness, a regularisation) and varies: after some
    dozens of systems it plays nearly what would have been best for each. Do not take it where Young's formula is exact
    (:class:`YoungOmega` needs no learning), nor where the number of steps jumps with the context
    (:class:`BinnedTsallisINF`).

    Parameters
    ----------
    interval : pair of float
        The range of the context.
    grid : sequence of float, optional
        The factors to choose from, in (0, 2); twelve from 1 to 1.95 by default.
    degree : int
        The degree of the polynomials.
    model : {"predicted", None}
        What the polynomials correct: :func:`predicted_steps` of the system at hand, times the ratio of costs to
        predictions so far; or nothing. None spares a look at the operator, and needs more systems. Take it too where
        the best factors are nowhere near Young's: the model calls them hopeless, and they are hardly ever tried.
    rng : int or numpy.random.Generator
        The same seed gives the same run.

    Raises
    ------
    TypeError, ValueError
        If a setting is out of its range; by `suggest`, if the context is missing or lies outside of `interval`.

    Notes
    -----
    M. Khodak, E. Chow, M. F. Balcan, A. Talwalkar, "Learning to relax", ICLR 2024, arXiv:2310.02246, algorithm 2: the
    regression oracle of D. J. Foster, A. Rakhlin, "Beyond UCB: optimal and efficient contextual bandits with regression
    oracles", ICML 2020, on Chebyshev polynomials with bounded coefficients. The model as a baseline is
    ours.

    Examples
    --------
    >>> import equipoise as eq
    >>> policy = eq.linear.ChebCB((0.0, 1.0), rng=0)
    >>> A = eq.operators.Stencil.laplacian((8, 8), shift=0.3)
    >>> 1 <= policy.suggest(0.3, A) < 2
    True
    """

    @guided
    def __init__(
        self,
        interval: tuple[float, float],
        *,
        grid: Any = None,
        degree: int = 5,
        model: str | None = "predicted",
        rng: Any,
    ) -> None:
        super().__init__()
        self.interval = check_interval(interval)
        self.grid = default_grid() if grid is None else check_grid(grid, 0.0, 2.0, "values of omega")
        self.degree = check_count("degree", degree, 0)
        if model not in ("predicted", None):
            raise ValueError(f"model must be 'predicted' or None, got {model!r}")
        self.model = model
        self._rng = generator(rng)
        self._radius = Radius()
        self._omegas = self.grid.tolist()
        d, m = self.grid.size, self.degree + 1
        self._gram, self._theta = np.zeros((d, m, m)), np.zeros((d, m))
        self._moments = np.zeros((2, d, m))  # of the costs, and of what the model said
        self._ratio = np.ones(d)  # of the costs to the model, when the arm was played last
        self._totals = 0.0, 0.0  # of all costs, and of what the model said
        self._unplayed = set(range(d))
        self._reach = 2.0 / np.maximum(np.arange(m), 1.0)  # of |theta_j|, in units of the spread of what is fitted
        self._rounds, self._squares = 0, 0.0
        self._costs, self._residuals = Extent(), Extent()

    def features(self, context: float) -> np.ndarray[Any, Any]:
        """T_0 ... T_degree at the context, which is mapped to [-1, 1]."""
        low, high = self.interval
        z = 2.0 * (context - low) / (high - low) - 1.0
        f = [1.0, z]
        for _ in range(self.degree - 1):
            f.append(2.0 * z * f[-1] - f[-2])
        return np.array(f[: self.degree + 1])

    def baseline(self, operator: Any) -> Any:
        """What the model says of every factor."""
        if self.model is None:
            return np.ones(self.grid.size)
        return modelled(self._radius.of(operator), self.grid, self.solver, self.tol)

    def predicted(self, context: float, operator: Any) -> np.ndarray[Any, Any]:
        """The cost of every factor of the grid, as far as it is known."""
        f = self.features(check_context(context, self.interval))
        return self._ratio * self.baseline(operator) + self._theta @ f

    def suggest(self, context: float | None, operator: Any) -> float:
        """Draw a factor."""
        f = self.features(check_context(context, self.interval))
        base = self.baseline(operator)
        y: np.ndarray[Any, Any] = self._ratio * base + self._theta @ f
        best = int(y.argmin())
        p = 1.0 / (y.size + self.rate() * (y - y[best]))
        p[best] += 1.0 - float(p.sum())
        i = drawn(p.tolist(), self._rng.random())
        self._open = i, f, float(base[i]), float(y[i])
        return self._omegas[i]

    def rate(self) -> float:
        """eta over the scale of the costs: how much a gap makes a factor less likely."""
        if self._rounds == 0:
            return 0.0
        t, d, m = self._rounds, self.grid.size, self.degree + 1
        spread = self._costs.spread()  # the Lipschitz constant times (high - low)
        scale = 2.0 * self._costs.high + 4.0 * spread * (1.0 + math.log(m))
        bias = (math.pi + 2.0 / math.pi * math.log(2 * m + 1)) * spread / (2.0 * scale * (m + 1))
        mean = self._squares / (t * scale * scale) + 2.0 * bias * bias
        return 2.0 * t * math.sqrt(d / max(mean, 1e-12)) / scale

    def _learn(self, opened: Any, cost: float) -> None:
        i, f, base, predicted = opened
        self._rounds += 1
        self._squares += (predicted - cost) ** 2
        self._costs.see(cost)
        ratio = self.played(i, cost, base)
        self._residuals.see(cost - ratio * base)
        self._gram[i] += f[:, None] * f
        self._moments[0, i] += cost * f
        self._moments[1, i] += base * f
        bounds = self._residuals.spread() * self._reach  # a model may be off by more than the costs differ
        bounds[0] = max(self._residuals.high, -self._residuals.low)
        moments = self._moments[0, i] - ratio * self._moments[1, i]
        self._theta[i] = box_fit(self._gram[i], moments, bounds, self._theta[i])

    def played(self, arm: int, cost: float, base: float) -> float:
        """The ratio of costs to the model, which is for all arms that were never played too.

        A model that says too much of every arm would make whatever is played look better than all that is not.
        """
        if self.model is None:
            return 1.0
        self._totals = self._totals[0] + cost, self._totals[1] + base
        ratio = self._totals[0] / self._totals[1]
        if self._unplayed:
            self._ratio[list(self._unplayed)] = ratio
            self._unplayed.discard(arm)
        self._ratio[arm] = ratio
        return ratio

    def _state(self) -> State:
        return {
            "grid": self.grid.copy(),
            "gram": self._gram.copy(),
            "moments": self._moments.copy(),
            "theta": self._theta.copy(),
            "ratio": self._ratio.copy(),
            "totals": list(self._totals),
            "rounds": self._rounds,
            "squares": self._squares,
            "costs": self._costs.state(),
            "residuals": self._residuals.state(),
            "radius": self._radius.state(),
            "rng": self._rng.bit_generator.state,
        }

    def _restore(self, state: State) -> None:
        if not np.array_equal(state["grid"], self.grid) or np.shape(state["theta"]) != self._theta.shape:
            raise ValueError("the state belongs to a policy with another grid or degree")
        rng = restored(state["rng"])
        self._gram, self._moments, self._theta = (np.array(state[k]) for k in ("gram", "moments", "theta"))
        self._ratio, self._totals = np.array(state["ratio"]), (float(state["totals"][0]), float(state["totals"][1]))
        self._unplayed = set(np.flatnonzero(self._gram[:, 0, 0] == 0).tolist())
        self._rounds, self._squares = int(state["rounds"]), float(state["squares"])
        self._costs, self._residuals = Extent(*state["costs"]), Extent(*state["residuals"])
        self._radius.restore(state["radius"])
        self._rng = rng

    def __repr__(self) -> str:
        return f"ChebCB({self.interval}, {self.grid.size} arms, degree {self.degree}, {self._rounds} rounds)"
