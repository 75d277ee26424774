"""The step of entropic barycenters: what it reads, what it carries, and its chunks."""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..iterate import repeat, stepwise
from ..kernel import kernel
from ..record import record, static
from .potentials import bounded_exp, soft_min

__all__ = ["Problem", "State", "barycenter_start", "barycenter_sweeps", "mean", "own_step", "to_inputs", "to_support"]

START = 40  # halvings of the error of the debiased start


@record
class Problem:
    """What a step reads: histograms (..., k, n), cost (..., n, p), weights (..., k)."""

    histograms: Any
    cost: Any
    weights: Any
    epsilon: Any
    debiased: bool = static(default=False)


@record
class State:
    """Potentials, the histogram that they make and its error; the potentials that the next step starts from."""

    f: Any
    g: Any
    h: Any  # sum_k w_k g_k; 0 in the blurred form
    histogram: Any
    error: Any
    next_g: Any
    next_h: Any
    slow: Any  # h before its extrapolation
    age: Any  # steps since the extrapolation began


# ---------------------------------------------------------------------------------------------------------------------
# The step. Nothing but these two soft minima sees the cost.


def to_inputs(problem: Problem, g: Any) -> Any:
    """f_k = -epsilon log sum_j exp((g_kj - C_ij)/epsilon), for g of shape (..., k, p)."""
    return soft_min.body(problem.cost[..., None, :, :], g, namespace(g).ones_like(g), problem.epsilon, axis=-1)


def to_support(problem: Problem, f: Any) -> Any:
    """c_k = -epsilon log sum_i a_ki exp((f_ki - C_ij)/epsilon) = -epsilon log (K^T u_k)_j."""
    return soft_min.body(problem.cost[..., None, :, :], f, problem.histograms, problem.epsilon, axis=-2)


def mean(weights: Any, potentials: Any) -> Any:
    """sum_k w_k g_k."""
    return namespace(weights).sum(weights[..., :, None] * potentials, axis=-2)


def step(state: State, problem: Problem) -> State:
    """Move to the next potentials, look from there, and lay out the step after."""
    xp = namespace(state.g)
    w, epsilon = problem.weights, problem.epsilon
    g, h = state.next_g, state.next_h
    f = to_inputs(problem, g)  # u_k = a_k / (K v_k)
    c = to_support(problem, f)  # K^T u_k
    barycenter = h - mean(w, c)  # p = d prod_k (K^T u_k)^w_k, here epsilon log p
    p = bounded_exp(barycenter / epsilon)
    columns = bounded_exp((g - c) / epsilon)
    error = xp.sum(w * xp.sum(xp.abs(columns - p[..., None, :]), axis=-1), axis=-1)
    next_g = c + barycenter[..., None, :]  # v_k = p / (K^T u_k)
    if not problem.debiased:
        return State(f, g, h, p, error, next_g, h, state.slow, state.age)
    own = to_inputs(problem, h[..., None, :])[..., 0, :]
    error = error + xp.sum(xp.abs(bounded_exp((h - own) / epsilon) - p), axis=-1)
    next_h, slow, age = extrapolate(state, p, h, barycenter + own - h)  # d = sqrt(d p / (K d)), extrapolated
    return State(f, g, h, p, error, next_g + (next_h - h)[..., None, :], next_h, slow, age)


def extrapolate(state: State, p: Any, h: Any, residual: Any) -> tuple[Any, Any, Any]:
    """Nesterov's step with the restart of O'Donoghue and Candès (2015): begin anew when it goes uphill."""
    xp = namespace(h)
    target = h + 0.5 * residual
    moved = target - state.slow
    uphill = xp.sum(p * residual * moved, axis=-1) < 0
    age = xp.where(uphill, 0.0 * state.age, state.age) + 1.0
    return target + ((age - 1.0) / (age + 2.0))[..., None] * moved, target, age


def error(state: State, problem: Problem) -> Any:
    """The error of the current potentials; the step has seen it already."""
    return state.error


@kernel("transport.barycenter_sweeps")
def barycenter_sweeps(state: State, problem: Problem, limit: Any, tol: Any) -> tuple[State, Any, Any]:
    """Up to `limit` steps, ending where the error is no longer above `tol`: a chunk for ``iterate``."""
    return stepwise(step, error)(state, problem, limit, tol)


def own_step(h: Any, data: Any) -> Any:
    """h <- (h + epsilon log p - epsilon log K exp(h/epsilon))/2 for a p that is fixed: its potential with itself."""
    problem, log_mass = data
    own = to_inputs(problem, h[..., None, :])[..., 0, :]
    return 0.5 * (h + problem.epsilon * log_mass + own)


@kernel("transport.barycenter_start")
def barycenter_start(problem: Problem, mass: Any) -> Any:
    """The potential of `mass` with itself, by averaged half steps: mass = d (K d) with d = exp(h/epsilon)."""
    log_mass = namespace(mass).log(mass)
    return repeat(own_step, 0.5 * problem.epsilon * log_mass, (problem, log_mass), START)
