"""Who chooses the relaxation factor of the next system: what policies share, and the two that do not learn.

A policy is host code on numpy scalars, whatever library the systems live in: it sees a context, an operator of which at
most the Jacobi radius is read, and the cost of what it suggested. Its state is data, never a pickle.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..arrays import library
from ..backend import of
from ..checks import number
from ..guide import guided
from ..operators import as_operator
from .checks import batch_of, trailing
from .lanczos import STEPS, Spectrum, spectrum
from .omega import MODELS, check_solver, constant_radius, factor, greatest, is_constant
from .unevenness import unevenness

__all__ = ["FixedOmega", "Policy", "YoungOmega"]

REFRESH = 3  # products from one system to the next
STALE = 0.7  # a Ritz value that falls by more than this while it is refreshed belongs to another matrix

State = dict[str, Any]


@runtime_checkable
class Policy(Protocol):
    """What :func:`solve_sequence` asks of whoever chooses the relaxation factors; any object with these will do.

    The order is ``bind``, then ``suggest`` and ``observe`` in turn. A suggestion that was not observed is forgotten
    by the next one.
    """

    def bind(self, solver: str, tol: float) -> None:
        """Told once by :func:`solve_sequence`: "sor" or "ssor_cg", and the tolerance."""

    def suggest(self, context: float | None, operator: Any) -> float:
        """The relaxation factor for a system, in (0, 2)."""

    def observe(self, cost: float) -> None:
        """The number of steps that the system took with the factor suggested last."""

    def state_dict(self) -> State:
        """All that was learned: arrays, numbers, text and dicts of them."""

    def load_state_dict(self, state: State) -> None:
        """Go on from there."""


class Chooser:
    """What the policies here share: the solver, the order of calls, the state."""

    def __init__(self) -> None:
        self.solver, self.tol = "sor", 1e-8
        self._open: Any = None  # what is remembered of a suggestion until its cost is known

    def bind(self, solver: str, tol: float) -> None:
        """Set the solver, "sor" or "ssor_cg", and the tolerance that its costs belong to."""
        check_solver(solver)
        value = number("tol", tol)
        if value is None or not value >= 0:
            raise ValueError(f"tol must be at least 0, got {value}")
        self.solver, self.tol = solver, min(max(value, 1e-16), 0.5)  # the model needs one between 0 and 1

    def observe(self, cost: float) -> None:
        """Learn the number of steps that the factor suggested last has taken."""
        if self._open is None:
            raise ValueError("observe needs a suggestion before it: call suggest first, once for each cost")
        value = float(cost)
        if not 0 <= value < math.inf:
            raise ValueError(f"cost must be a finite number, at least 0, got {value}")
        opened, self._open = self._open, None
        self._learn(opened, max(value, 1.0))

    def _learn(self, opened: Any, cost: float) -> None:
        """What a policy makes of a cost."""

    def state_dict(self) -> State:
        """All that was learned, as arrays, numbers, text and dicts of them, for `equipoise.save`."""
        return {"policy": type(self).__name__, "solver": self.solver, "tol": self.tol, **self._state()}

    def load_state_dict(self, state: State) -> None:
        """Go on from what `state_dict` has returned, of a policy that was made with the same settings."""
        name = type(self).__name__
        if not isinstance(state, dict) or state.get("policy") != name:
            got = state.get("policy") if isinstance(state, dict) else type(state).__name__
            raise ValueError(f"the state must be that of a {name}, got that of {got}")
        try:
            self._restore(state)
        except KeyError as missing:
            raise ValueError(f"the state of a {name} lacks the entry {missing}") from None
        self.solver, self.tol, self._open = state["solver"], state["tol"], None

    def _state(self) -> State:
        return {}

    def _restore(self, state: State) -> None:
        """Set what `_state` has returned."""


class Radius:
    """The Jacobi radii of a sequence of operators: each estimate starts from the vector of the one before."""

    def __init__(self) -> None:
        self.known: Spectrum | None = None

    def of(self, operator: Any) -> float:
        """beta; of a batch, the largest."""
        A: Any = as_operator(operator)
        if is_constant(A):
            return greatest(constant_radius(A))
        self.known = self.refreshed(A) or spectrum(A, steps=STEPS, keep=True)
        return 1.0 - float(np.min(self.known.below))

    def refreshed(self, A: Any) -> Spectrum | None:
        """A few steps from the last Ritz vector, where there is one and it still fits."""
        if self.known is None or tuple(self.known.vector.shape) != (*batch_of(A), *trailing(A)):
            return None
        found = spectrum(A, steps=REFRESH, previous=self.known, keep=True)
        return found if np.min(found.fall) > STALE else None

    def state(self) -> State:
        """What the next estimate starts from, as data."""
        if self.known is None:
            return {}
        k = self.known
        return {"vector": of(k.vector).to_numpy(k.vector), "shrink": np.asarray(k.shrink)}

    def restore(self, state: State) -> None:
        """Set what `state` has returned."""
        self.known = None
        if state:
            self.known = Spectrum(*(None,) * 4, np.array(state["shrink"]), None, np.array(state["vector"]))


class FixedOmega(Chooser):
    """One relaxation factor for all systems.

    Take it as the baseline, or where the systems hardly differ. Do not take it for systems that become stiff and
    cease to be: no one factor is good for both.

    Parameters
    ----------
    omega : float
        In (0, 2).

    Raises
    ------
    TypeError, ValueError
        If omega is no number, or lies outside of (0, 2).

    Examples
    --------
    >>> import equipoise as eq
    >>> eq.linear.FixedOmega(1.5).suggest(None, None)
    1.5
    """

    @guided
    def __init__(self, omega: float) -> None:
        super().__init__()
        value = number("omega", omega)
        if value is None or not 0 < value < 2:
            raise ValueError(f"omega must lie in (0, 2), got {value}")
        self.omega = value

    def suggest(self, context: float | None, operator: Any) -> float:
        """The factor."""
        self._open = True
        return self.omega

    def __repr__(self) -> str:
        return f"FixedOmega({self.omega})"


class YoungOmega(Chooser):
    """Young's factor for every system, as of :func:`optimal_omega`.

    Exact for constant stencils, and next to optimal where the graph has two colours and the matrix changes slowly: an
    estimate starts from the eigenvector of the system before and costs three products. Do not take it where the formula
    is a heuristic and there are many systems: a policy that learns corrects it.

    Examples
    --------
    >>> import equipoise as eq
    >>> A = eq.operators.Stencil.laplacian((32, 32))
    >>> round(eq.linear.YoungOmega().suggest(None, A), 4)
    1.8264
    """

    def __init__(self) -> None:
        super().__init__()
        self._radius = Radius()

    def suggest(self, context: float | None, operator: Any) -> float:
        """The factor of :func:`optimal_omega` for the operator and the solver; of a batch, that of the stiffest."""
        A = as_operator(operator)
        uneven = 0.0 if self.solver == "sor" or is_constant(A) else float(np.max(unevenness(A)))
        omega = factor(self._radius.of(A), uneven)
        self._open = True
        return omega

    def _state(self) -> State:
        return {"radius": self._radius.state()}

    def _restore(self, state: State) -> None:
        self._radius.restore(state["radius"])

    def __repr__(self) -> str:
        return "YoungOmega()"


# ---------------------------------------------------------------------------------------------------------------------
# What the policies that learn share


def modelled(beta: Any, omega: Any, solver: str, tol: float) -> Any:
    """`predicted_steps` of known arguments."""
    return MODELS[solver](beta, omega, tol)


def default_grid() -> np.ndarray[Any, Any]:
    """Twelve factors from 1 to 1.95; steps go with the logarithm of 2 - omega."""
    return 2.0 - np.geomspace(1.0, 0.05, 12)


def check_grid(grid: Any, low: float, high: float, what: str) -> np.ndarray[Any, Any]:
    """At least one number, all of them in (low, high)."""
    seen = of(grid).to_numpy(grid) if library(grid) else grid
    try:
        points = np.array(seen, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"grid must be a sequence of numbers, got {type(grid).__name__}") from None
    if points.ndim != 1 or points.size == 0:
        raise ValueError(f"grid must be a sequence of at least one number, got shape {points.shape}")
    for i, x in enumerate(points):
        if not low < x < high:
            raise ValueError(f"grid must hold {what} in ({low:g}, {high:g}), got {x} at index {i}")
    return points


def check_interval(interval: Any) -> tuple[float, float]:
    """Two finite numbers, the first below the second."""
    if not isinstance(interval, (tuple, list, np.ndarray)) or len(interval) != 2:
        raise TypeError(f"interval must be a pair of numbers (low, high) for the context, got {interval!r}")
    low, high = (float(x) for x in interval)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"interval must hold two finite numbers, low < high, got ({low}, {high})")
    return low, high


def check_context(context: Any, interval: tuple[float, float]) -> float:
    """A number in the interval."""
    low, high = interval
    if context is None:
        raise ValueError(f"this policy needs a context in [{low}, {high}] with every system, got none")
    value = float(context)
    if not low <= value <= high:
        raise ValueError(f"the context must lie in [{low}, {high}], got {value}")
    return value


def check_count(name: str, x: Any, least: int) -> int:
    """A whole number, at least `least`."""
    if isinstance(x, bool) or not hasattr(x, "__index__"):
        raise TypeError(f"{name} must be a whole number, got {type(x).__name__}")
    if x < least:
        raise ValueError(f"{name} must be at least {least}, got {x}")
    return int(x)


def generator(rng: Any) -> np.random.Generator:
    """The generator itself, or one that is seeded."""
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, bool) or not hasattr(rng, "__index__"):
        raise TypeError(f"rng must be a whole number or a numpy.random.Generator, got {type(rng).__name__}")
    if not 0 <= rng < 2**64:
        raise ValueError(f"rng must lie in [0, 2^64), got {rng}")
    return np.random.default_rng(int(rng))


def restored(state: State) -> np.random.Generator:
    """A generator in a state that was saved."""
    name = state["bit_generator"]
    if name not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        raise ValueError(f"the state names an unknown bit generator, {name!r}")
    made = np.random.Generator(getattr(np.random, name)())
    made.bit_generator.state = state
    return made


def drawn(p: list[float], u: float) -> int:
    """The index at which the running sum of p passes u; p adds up to 1."""
    total = 0.0
    for i, x in enumerate(p):
        total += x
        if u < total:
            return i
    return max(range(len(p)), key=p.__getitem__)  # u is in the last rounding
