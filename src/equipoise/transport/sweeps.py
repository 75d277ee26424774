"""Sinkhorn's sweep: alternate updates of two potentials until both marginals of the plan are met.

In logarithms nothing over- or underflows, at any epsilon. The state carries, beside the current potentials, the ones
that the next half steps lead to, because one and the same pass over the cost yields both the error of the current
potentials and the next ones: the test is free, the reported error belongs to the reported potentials, and a kernel
reads the cost once a step. A point of weight zero needs no special case: its potential is the soft-min over the
others, and its mass is zero.

A half step moves a potential to its soft-min, or, over-relaxed, omega times as far. The best omega follows from the
rate of plain sweeps, which nobody knows beforehand: :func:`adapt` estimates it as the sweeps run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..arrays import namespace
from ..backend import of
from ..iterate import repeat, stepwise
from ..kernel import kernel
from ..record import leaves, record, static
from .pointcloud import is_cloud
from .potentials import Stored, density, soft_min

__all__ = ["Problem", "Relaxation", "State", "error", "kernel_sweeps", "log_sweeps", "start_relaxation", "step"]

WINDOW = 20  # the fewest sweeps between two estimates of omega
LARGEST = 1.999
SETTLED = 0.5  # the share of the mass that is amiss, below which a stored kernel may be used
BLOCK = 10  # sweeps with one stored kernel, in portable bodies


@record
class Problem:
    """What a sweep reads; a penalty of None stands for an infinite one, a marginal that has to be met."""

    cost: Any
    a: Any
    b: Any
    epsilon: Any
    rho_a: Any = None
    rho_b: Any = None
    adaptive: bool = static(default=False)


@record
class Relaxation:
    """The factor omega, and what its next estimate needs: arrays of the shape of the batch."""

    omega: Any
    age: Any  # sweeps since the last estimate
    reference: Any  # the error in the middle of this window
    value: Any  # the dual value at the last estimate
    falls: Any  # estimates in a row at which it had fallen


@record
class State:
    """Potentials and their error; the ones that the next sweep starts from, and what their columns lack."""

    f: Any
    g: Any
    next_f: Any
    next_g: Any
    error: Any
    gap: Any
    relaxation: Relaxation


def start_relaxation(omega: Any, like: Any) -> Relaxation:
    """`omega`, and nothing known yet; `like` is an array of the shape of the batch."""
    xp = namespace(like)
    zero = xp.zeros_like(like)
    return Relaxation(xp.full_like(like, omega), zero, zero, xp.full_like(like, -math.inf), zero)


# ---------------------------------------------------------------------------------------------------------------------
# The step


def growth(exponent: Any) -> Any:
    """exp(x) - 1, bounded: far from the solution only its size matters."""
    xp = namespace(exponent)
    return xp.expm1(xp.clip(exponent, max=80.0))


def damped(soft: Any, rho: Any, epsilon: Any) -> Any:
    """Where a soft-min leads to when its marginal is penalised: rho/(rho + epsilon) of it."""
    return soft if rho is None else soft / (1.0 + epsilon / rho)


def lacking(weights: Any, exponent: Any, potential: Any, rho: Any) -> Any:
    """sum_i |(P 1)_i - t_i| for (P 1)_i = a_i exp(exponent_i) and the target t_i = a_i exp(-f_i/rho)."""
    xp = namespace(weights)
    wanted = 0.0 if rho is None else growth(-potential / rho)
    return xp.sum(weights * xp.abs(growth(exponent) - wanted), axis=-1)


def dual(weights: Any, potential: Any, rho: Any) -> Any:
    """What one potential adds to the dual value: sum a f, or -rho sum a (exp(-f/rho) - 1)."""
    xp = namespace(weights)
    return xp.sum(weights * (potential if rho is None else -rho * growth(-potential / rho)), axis=-1)


def mass_shift(f: Any, g: Any, problem: Problem) -> Any:
    """t such that f + t and g - t leave the plan and balance the targets: else a large rho makes this mode slow."""
    xp = namespace(f)
    a, b, rho_a, rho_b = problem.a, problem.b, problem.rho_a, problem.rho_b

    def log_total(weights: Any, potential: Any, rho: Any) -> Any:
        if rho is None:
            return xp.log(xp.sum(weights, axis=-1))
        exponent = xp.where(weights > 0, -potential / rho, xp.full_like(potential, -xp.inf))
        shift = xp.max(exponent, axis=-1, keepdims=True)
        return shift[..., 0] + xp.log(xp.sum(weights * xp.exp(exponent - shift), axis=-1))

    apart = xp.asarray(log_total(a, f, rho_a) - log_total(b, g, rho_b))
    if rho_a is None or rho_b is None:
        return apart * (rho_b if rho_a is None else rho_a)
    return apart / (1.0 / rho_a + 1.0 / rho_b)


def step(state: State, problem: Problem, soft: Callable[..., Any] = soft_min.body) -> State:
    """One iteration: move to the next potentials, and look from there; `soft` forms the soft minima."""
    xp = namespace(state.f)
    cost, a, b, epsilon = problem.cost, problem.a, problem.b, problem.epsilon
    rho_a, rho_b = problem.rho_a, problem.rho_b
    f, g = state.next_f, state.next_g
    soft_f = soft(cost, g, b, epsilon, axis=-1)
    rows = (f - soft_f) / epsilon  # the rows of (f, g) sum to a exp(rows)
    error = xp.asarray(lacking(a, rows, f, rho_a) + state.gap)  # numpy reduces to scalars
    omega, relaxation = state.relaxation.omega[..., None], state.relaxation
    if problem.adaptive:  # from the next step on, since a kernel knows the error only at the end of its pass
        mass = xp.sum(a * (1.0 + growth(rows)), axis=-1) - xp.sum(a, axis=-1) * xp.sum(b, axis=-1)
        value = dual(a, f, rho_a) + dual(b, g, rho_b) - epsilon * mass
        relaxation = adapt(relaxation, error, xp.asarray(value))
    next_f = f + omega * (damped(soft_f, rho_a, epsilon) - f)
    soft_g = soft(cost, next_f, a, epsilon, axis=-2)
    next_g = g + omega * (damped(soft_g, rho_b, epsilon) - g)
    columns = (next_g - soft_g) / epsilon
    if rho_a is not None or rho_b is not None:
        shift = mass_shift(next_f, next_g, problem)[..., None]
        next_f, next_g = next_f + shift, next_g - shift
    return State(f, g, next_f, next_g, error, lacking(b, columns, next_g, rho_b), relaxation)


def adapt(relaxation: Relaxation, error: Any, value: Any) -> Relaxation:
    """Re-estimate omega at the end of a window, from the rate at which the error fell in its second half.

    Two-block successive over-relaxation obeys (mu + omega - 1)^2 = mu omega^2 lambda, with mu its rate and lambda that
    of plain sweeps; the best omega is 2/(1 + sqrt(1 - lambda)), and its rate omega - 1 (Young 1971). Steps towards 2
    are at most half of what is left, and windows grow as omega does, since one early estimate falls short and one
    taken in a transient overshoots. Where the dual value has fallen at two estimates in a row, plain sweeps follow.
    """
    xp = namespace(error)
    omega = relaxation.omega
    age = relaxation.age + 1.0
    window = xp.maximum(xp.ceil(2.0 / (2.0 - omega)), xp.full_like(omega, float(WINDOW)))
    half = xp.floor(window / 2.0)
    reference = xp.where(age == window - half, error, relaxation.reference)
    due = age >= window
    known = due & (reference > 0) & (error > 0)
    mu = xp.where(known, error / xp.where(known, reference, xp.ones_like(error)), 0.0 * error) ** (1.0 / half)

    inside = xp.clip(mu, max=1.0)
    rate = (inside + omega - 1.0) ** 2 / (xp.where(inside > 0, inside, xp.ones_like(mu)) * omega**2)
    best = 2.0 / (1.0 + xp.sqrt(xp.clip(1.0 - rate, min=0.0)))
    further = xp.clip(xp.minimum(xp.maximum(omega, best), 1.0 + omega / 2.0), max=LARGEST)
    slower = mu > omega - 1.0 + 1e-3 * (2.0 - omega)
    fresh = xp.where(mu >= 1.0, 1.0 + (omega - 1.0) / 2.0, xp.where(slower, further, omega))

    rounding = 16.0 * xp.finfo(value.dtype).eps * xp.abs(value)
    fell = due & (value < relaxation.value - rounding)
    falls = xp.where(due, xp.where(fell, relaxation.falls + 1.0, 0.0 * value), relaxation.falls)
    fresh = xp.where(falls >= 2.0, xp.ones_like(omega), fresh)
    falls = xp.where(falls >= 2.0, 0.0 * value, falls)
    return Relaxation(
        xp.where(due, fresh, omega),
        xp.where(due, 0.0 * age, age),
        reference,
        xp.where(due, value, relaxation.value),
        falls,
    )


def error(state: State, problem: Problem) -> Any:
    """The marginal error of the current potentials; the sweep has seen it already."""
    return state.error


# ---------------------------------------------------------------------------------------------------------------------
# Chunks of steps


@kernel("transport.log_sweeps")
def log_sweeps(state: State, problem: Problem, limit: Any, tol: Any) -> tuple[State, Any, Any]:
    """Up to `limit` iterations, ending where the error is no longer above `tol`: a chunk for ``iterate``."""
    return stepwise(step, error)(state, problem, limit, tol)


@kernel("transport.kernel_sweeps")
def kernel_sweeps(state: State, problem: Problem, limit: Any, tol: Any) -> tuple[State, Any, Any]:
    """The same iterations with a density that is stored for some sweeps: products of matrices in place of exponentials.

    The density is absorbed into the potentials (Schmitzer 2019): formed anew from them before they have moved far.
    Under a transformation, and far from the solution, the sweeps stay in logarithms.
    """
    if of(state.f).traced(leaves((state, problem, limit))) or is_cloud(problem.cost):
        return log_sweeps.body(state, problem, limit, tol)
    xp = namespace(state.f)
    done = 0
    while done < int(limit):
        count = min(BLOCK, int(limit) - done)
        new = None
        if bool(xp.all(state.error <= SETTLED * xp.sum(problem.a, axis=-1))):
            f, g = state.next_f, state.next_g
            stored = Stored(density(problem.cost, f, g, problem.epsilon), f, g)
            new = repeat(step, state, replace(problem, cost=stored), count)
        if new is None or not bool(xp.all(xp.isfinite(new.next_f)) & xp.all(xp.isfinite(new.next_g))):
            new, _, _ = log_sweeps(state, problem, count, 0.0)
        state = new
        done += count
    return state, limit, state.error
