"""Sinkhorn-Newton-Sparse: from Sinkhorn's sweeps to Newton steps with a sparse Hessian, down a ladder of epsilons.

Newton's method needs a start from which its model is right, and the maximum at a larger epsilon is one for a smaller:
so epsilon falls by steps of 4, and each rung but the last is left as soon as most of the mass is in place. A rung
begins at the extrapolation of the two before it and with a sweep, which repairs single columns; what sweeps are slow
at, masses that are amiss between groups of points, is left to Newton.

The system that gives the direction has kappa |gradient| added to its diagonal. By the maximum principle no component
of the direction is then longer than 1/kappa: where a Newton step would be too long, in modes that the plan hardly
couples, it is cut there and nowhere else, and next to the solution nothing is added. kappa falls after a full step
and rises after a shortened one.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..backend import of
from ..iterate import stepwise
from ..record import record
from ..result import Status
from .semidual import inner, newton_direction, newton_look, nowhere, size
from .sweeps import Problem, damped, growth, mass_shift

__all__ = ["FACTOR", "KAPPA", "NEAR", "TOP", "State", "Task", "advance", "exhausted"]

FACTOR = 4.0  # between the epsilons of two rungs; a power of 2 scales costs without rounding
TOP = 0.03  # epsilon of the first rung, at least, as a share of the cost's range
NEAR = 0.02  # the share of the mass that may be amiss when a rung is left
PACE = 0.5  # a sweep that leaves no more than this share of the error is followed by another one
KAPPA, LEAST_KAPPA, MOST_KAPPA = 0.2, 1e-3, 1.0
ASCENT = 1e-4  # Armijo's share of the predicted ascent
HALVINGS = 12
ROUNDING = 450.0  # units in the last place of what the dual value adds up, within which it is taken to be the same
CG_STEPS = 3000
FORCING, FORCING_FLOAT32 = 1e-4, 1e-3  # the least relative residual that is asked of a direction
SMALL = 0.5  # a change of g/epsilon, below which the quadratic model holds, and a poor step is the threshold's fault
LEAST_THRESHOLD = 1e-14
IDLE = 3  # Newton steps in a row that gain nothing: what is left is rounding


@record
class Task:
    """What a step reads."""

    problem: Problem
    tol: Any
    threshold: Any


@record
class State:
    """A potential, what one look at it told, and how to go on; counts and numbers are of the batch's shape."""

    f: Any
    g: Any
    soft: Any  # the soft-min of every column: where a plain sweep leads
    value: Any
    error: Any
    rung: Any  # epsilon is FACTOR**rung times what was asked for
    sweeping: Any  # 1 while the sweeps that begin a rung last, then 0
    before: Any  # g where the rung before was left
    kappa: Any
    threshold: Any  # entries P_ij <= threshold (P 1)_i are left out of the Hessian
    best: Any  # the least error on this rung
    idle: Any
    newton_steps: Any
    cg_steps: Any
    density: Any  # the share of entries kept in the last Hessian


# ---------------------------------------------------------------------------------------------------------------------
# The step


def step(s: State, task: Task) -> State:
    """A rung down, a sweep, or a Newton step."""
    p = task.problem
    xp = namespace(s.g)
    scale = FACTOR**s.rung
    lowering = (s.rung > 0) & (s.error <= NEAR * xp.sum(p.b, axis=-1))
    solving = xp.asarray(~lowering & (s.sweeping == 0))  # numpy reduces to scalars
    direction, slope, cg_steps, kept = ascent(s, task, scale, solving)
    solving = solving & (slope > 0)

    rung = xp.where(lowering, s.rung - 1.0, s.rung)
    extrapolated = s.g + (s.g - s.before) / FACTOR
    otherwise = xp.where(lowering[..., None], extrapolated, swept(s, p, p.epsilon * scale))
    data = (s, p, FACTOR**rung, direction, slope, solving, otherwise)
    one = 1.0 + 0.0 * s.rung
    t = Search(one, 0.0 * one, one, s.f, s.g, s.soft, s.value, s.error)
    if not of(s.g).traced([s.g]):  # most often the first trial is good, and no loop is needed
        t = trial(t, data)
    if not nowhere(xp.asarray(t.undecided > 0)):
        t = inner(search, t, data, HALVINGS + 1).state

    went = solving & (t.tries <= HALVINGS)  # else the search has failed, and a sweep was made
    full = went & (t.tries == 1.0)
    down = xp.clip(s.kappa / 4.0, min=LEAST_KAPPA)
    up = xp.clip(s.kappa * 2.0 ** (t.tries - 1.0), max=MOST_KAPPA)
    kappa = xp.where(full, down, xp.where(solving, up, s.kappa))
    reach = xp.max(xp.abs(direction), axis=-1)
    poor = full & (t.error > 0.1 * s.error) & (reach < SMALL) & (cg_steps < CG_STEPS)
    threshold = xp.where(poor, xp.clip(s.threshold / 100.0, min=LEAST_THRESHOLD), s.threshold)
    gained = (t.error < s.best) | (t.value > s.value + rounding(s, p))
    idle = xp.where(gained | lowering, 0.0 * s.idle, s.idle + xp.astype(solving, s.idle.dtype))
    return State(
        *(t.f, t.g, t.soft, t.value, t.error, rung),
        sweeping=xp.astype(lowering | ((s.sweeping > 0) & (t.error <= PACE * s.error)), s.rung.dtype),
        before=xp.where(lowering[..., None], s.g, s.before),
        kappa=xp.where(lowering, xp.clip(kappa, min=KAPPA), kappa),
        threshold=xp.where(lowering, 0.0 * threshold + task.threshold, threshold),
        best=xp.where(lowering, t.error, xp.minimum(s.best, t.error)),
        idle=idle,
        newton_steps=s.newton_steps + xp.astype(went, s.newton_steps.dtype),
        cg_steps=s.cg_steps + cg_steps,
        density=xp.where(kept > 0, kept, s.density),
    )


def swept(s: State, p: Problem, epsilon: Any) -> Any:
    """The g that a plain sweep leads to."""
    g = damped(s.soft, p.rho_b, epsilon[..., None])
    if p.rho_a is not None or p.rho_b is not None:
        g = g - mass_shift(s.f, g, p)[..., None]
    return g


def ascent(s: State, task: Task, scale: Any, solving: Any) -> tuple[Any, Any, Any, Any]:
    """A Newton direction for g/epsilon, the slope along it, and what it took; zeros where it is not wanted."""
    p = task.problem
    xp = namespace(s.g)
    if nowhere(solving):
        zero = 0.0 * s.rung
        return xp.zeros_like(s.g), zero, zero, zero
    epsilon = (p.epsilon * scale)[..., None]
    columns = p.b * (1.0 + growth((s.g - s.soft) / epsilon))  # P^T 1
    wanted = p.b if p.rho_b is None else p.b * (1.0 + growth(-s.g / p.rho_b))
    gradient = wanted - columns
    q, soft_f = p.a, s.f
    if p.rho_a is not None:
        q = p.a * (1.0 + growth(-s.f / p.rho_a)) / (1.0 + epsilon / p.rho_a)
        soft_f = s.f * (1.0 + epsilon / p.rho_a)
    if p.rho_a is None and p.rho_b is None:  # totals that differ by rounding have no part in the range of the Hessian
        gradient = gradient - columns * (xp.sum(gradient, axis=-1) / xp.sum(columns, axis=-1))[..., None]
    diagonal = columns + s.kappa[..., None] * xp.abs(gradient)
    if p.rho_b is not None:
        diagonal = diagonal + epsilon / p.rho_b * wanted
    least = FORCING if s.g.dtype == xp.float64 else FORCING_FLOAT32
    amiss = s.error / xp.sum(p.b, axis=-1)
    known = xp.where(s.error > 0, s.error, xp.ones_like(amiss))
    forcing = xp.maximum(xp.clip(amiss, min=least, max=0.1), xp.clip(0.1 * task.tol / known, max=0.1))
    goal = xp.where(solving, forcing * size(gradient), xp.full_like(amiss, xp.inf))
    direction, cg_steps, kept = newton_direction(
        *(p.cost, p.epsilon, scale, soft_f, s.g, p.b, q, diagonal, gradient, s.threshold, goal), max_steps=CG_STEPS
    )
    return direction, epsilon[..., 0] * xp.sum(gradient * direction, axis=-1), cg_steps, kept


# ---------------------------------------------------------------------------------------------------------------------
# The line search


@record
class Search:
    """What is known of the last trial, and whether another one is needed."""

    alpha: Any
    tries: Any
    undecided: Any
    f: Any
    g: Any
    soft: Any
    value: Any
    error: Any


def trial(t: Search, data: Any) -> Search:
    """Look at the next point along the direction; where none is wanted, or too many failed, at the other point.

    A trial is good by Armijo's rule or, close to the solution where the dual value rounds, by an error that is halved.
    """
    s, p, scale, direction, slope, solving, otherwise = data
    xp = namespace(s.g)
    searching = solving & (t.tries < HALVINGS)
    length = (p.epsilon * scale * t.alpha)[..., None]
    g = xp.where(searching[..., None], s.g + length * direction, otherwise)
    f, soft, value, error = newton_look(p.cost, p.a, p.b, p.epsilon, scale, p.rho_a, p.rho_b, s.f, g)
    good = (value >= s.value + ASCENT * t.alpha * slope - rounding(s, p)) | (error <= 0.5 * s.error)
    undecided = xp.astype(xp.asarray(searching & ~good), value.dtype)
    return Search(t.alpha / 2.0, t.tries + 1.0, undecided, f, g, soft, value, error)


def undecided(t: Search, data: Any) -> Any:
    """1 where the line search has to go on, else 0: the error of its loop."""
    return t.undecided


search = stepwise(trial, undecided)


def rounding(s: State, p: Problem) -> Any:
    """By how much the dual value may be off."""
    xp = namespace(s.g)
    terms = xp.sum(p.a * xp.abs(s.f), axis=-1) + xp.sum(p.b * xp.abs(s.g), axis=-1)
    return ROUNDING * xp.finfo(s.g.dtype).eps * terms


# ---------------------------------------------------------------------------------------------------------------------
# When to stop


def error(s: State, task: Task) -> Any:
    """What the columns lack at the epsilon of this rung; above the last rung never a reason to stop."""
    xp = namespace(s.g)
    return xp.where(s.rung > 0, xp.maximum(s.error, 0.0 * s.error + 2.0 * task.tol), s.error)


def exhausted(s: State, task: Task) -> Any:
    """STALLED for those whose Newton steps gain nothing any more."""
    xp = namespace(s.g)
    return xp.astype((s.idle >= IDLE) & (0.0 * s.idle + task.tol > 0), xp.int32) * int(Status.STALLED)


advance = stepwise(step, error)
