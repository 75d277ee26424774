"""Log-domain Sinkhorn: alternate soft-min updates of two potentials until both marginals of the plan are met.

In logarithms nothing over- or underflows, at any epsilon. The state carries, beside the current potentials, the ones
that the next half steps lead to, because one and the same pass over the cost yields both the error of the current
potentials and the next ones: the test is free, the reported error belongs to the reported potentials, and a kernel
reads the cost once a step. A point of weight zero needs no special case: its potential is the soft-min over the
others, and its mass is zero.
"""

from __future__ import annotations

from typing import Any

from ..arrays import A, library, namespace
from ..backend import of
from ..boundary import public
from ..implicit import differentiable, solve_symmetric
from ..iterate import iterate, stepwise
from ..kernel import kernel, on_host
from ..record import map_arrays, record
from ..result import report, settle
from .checks import (
    batch_shape,
    check_cost,
    check_epsilon,
    check_init,
    check_limits,
    check_masses,
    check_method,
    check_weights,
)
from .potentials import bounded_exp, marginals, soft_min
from .result import TransportResult

__all__ = ["sinkhorn"]

METHODS = ("auto", "log")
PATIENCE = 200  # sweeps without a new least error: what is left is rounding
# The loop aims below tol, so that rounding the returned potentials does not lift the error above it: in float32, at a
# range of the cost of 2000 epsilon, that adds 2e-6.
MARGIN, MARGIN_FLOAT32 = 0.9, 0.5


@record
class Problem:
    """What a sweep reads."""

    cost: Any
    a: Any
    b: Any
    epsilon: Any


@record
class State:
    """Potentials, the ones that the next sweep starts from, and the marginal error of the former."""

    f: Any
    g: Any
    next_f: Any
    next_g: Any
    error: Any


# ---------------------------------------------------------------------------------------------------------------------
# The sweep


def mass_error(weights: Any, old: Any, new: Any, epsilon: Any) -> Any:
    """sum_i |(P 1)_i - a_i|, where the soft-min leads from `old` to `new`: (P 1)_i = a_i exp((old_i - new_i)/eps)."""
    xp = namespace(weights)
    growth = xp.clip((old - new) / epsilon, max=80.0)  # far from the solution only its size matters: no overflow
    return xp.sum(weights * xp.abs(xp.exp(growth) - 1.0), axis=-1)


def step(state: State, problem: Problem) -> State:
    """One iteration: move to the next potentials, and look from there."""
    cost, a, b, epsilon = problem.cost, problem.a, problem.b, problem.epsilon
    f, g = state.next_f, state.next_g
    next_f = soft_min(cost, g, b, epsilon, axis=-1)
    next_g = soft_min(cost, next_f, a, epsilon, axis=-2)
    return State(f, g, next_f, next_g, mass_error(a, f, next_f, epsilon))  # the columns of (f, g) are exact


def error(state: State, problem: Problem) -> Any:
    """The marginal error of the current potentials; the sweep has seen it already."""
    return state.error


@kernel("transport.log_sweeps")
def log_sweeps(state: State, problem: Problem, limit: Any, tol: Any) -> tuple[State, Any, Any]:
    """Up to `limit` iterations, ending where the error is no longer above `tol`: a chunk for ``iterate``."""
    return stepwise(step, error)(state, problem, limit, tol)


# ---------------------------------------------------------------------------------------------------------------------
# The solve and its derivative


def marginal_error(problem: Problem, f: Any, g: Any) -> Any:
    """sum_i |(P 1)_i - a_i| + sum_j |(P^T 1)_j - b_j|."""
    xp = namespace(f)
    rows, columns = marginals(problem.cost, f, g, problem.a, problem.b, problem.epsilon)
    return xp.sum(xp.abs(rows - problem.a), axis=-1) + xp.sum(xp.abs(columns - problem.b), axis=-1)


def reduced_hessian(z: Any, parameters: Any) -> Any:
    """(I - B K^T A K B + e e^T) z with A = diag(a), B = diag(b)^(1/2).

    Without its last term the matrix is symmetric with eigenvalues in [0, 1] and the null vector e, b^(1/2) at unit
    length; the term moves e to eigenvalue 1, for else conjugate gradients drift along it once rounding has put
    something there.
    """
    xp = namespace(z)
    density, a, root_b = parameters
    row = a * xp.matmul(density, (root_b * z)[..., None])[..., 0]
    constant = xp.sum(root_b * z, axis=-1) / xp.sum(root_b * root_b, axis=-1)
    return z - root_b * (xp.matmul(xp.matrix_transpose(density), row[..., None])[..., 0] - constant[..., None])


def solve_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The implicit rule. With K_ij = P_ij/(a_i b_j) the two soft-mins change by

    df = (K B)(dC - dg) - epsilon K db,    dg = (A K)^T (dC - df) - epsilon K^T da,

    so that the adjoints (u, v) of a cotangent (p, q) solve u = p - A K v, v = q - B K^T u. Writing v = q + b^(1/2) z
    leaves one symmetric system for z, in which no weight is divided by.
    """
    p, q = cotangent[:2]
    if p is None and q is None:
        return (None,) * len(args)
    cost, a, b, epsilon, *rest = args
    f, g = out[:2]
    xp = namespace(cost)
    p = xp.zeros_like(f) if p is None else p
    q = xp.zeros_like(g) if q is None else q
    exponent = (f[..., :, None] + (g[..., None, :] - cost)) / epsilon
    density = bounded_exp(exponent)
    gauge = (xp.sum(p, axis=-1) - xp.sum(q, axis=-1)) / xp.sum(b, axis=-1)
    q = q + b * gauge[..., None]
    root_b = xp.sqrt(b)
    transposed = xp.matrix_transpose(density)
    pushed = p - a * xp.matmul(density, q[..., None])[..., 0]
    rhs = -root_b * xp.matmul(transposed, pushed[..., None])[..., 0]
    tol = 1e-13 if cost.dtype == xp.float64 else 1e-6
    z = solve_symmetric(rhs, (density, a, root_b), matvec=reduced_hessian, tol=tol)
    v = q + root_b * z
    u = p - a * xp.matmul(density, v[..., None])[..., 0]
    cost_bar = density * (u[..., :, None] * b[..., None, :] + a[..., :, None] * v[..., None, :])
    a_bar = -epsilon * xp.matmul(density, v[..., None])[..., 0]
    b_bar = -epsilon * xp.matmul(transposed, u[..., None])[..., 0] + g * gauge[..., None]
    epsilon_bar = xp.sum(cost_bar * exponent) if library(epsilon) else None
    return cost_bar, a_bar, b_bar, epsilon_bar, *(None for _ in rest)


@differentiable(solve_vjp)
@on_host(log_sweeps)
def solve(cost: Any, a: Any, b: Any, epsilon: Any, f: Any, g: Any, tol: Any, **options: Any) -> tuple[Any, ...]:
    """Potentials, error, steps, code and history; `f` and `g` are where to start, or None."""
    xp = namespace(cost)
    problem = Problem(cost, a, b, epsilon)
    warm = f is not None or g is not None
    if g is None:  # the first step makes f of g, so that an f alone would be lost
        g = 0.0 * b if f is None else soft_min(cost, f, a, epsilon, axis=-2)
    f = 0.0 * a if f is None else f
    nothing = xp.sum(a, axis=-1) + xp.sum(b, axis=-1)  # the error of no plan at all
    first = marginal_error(problem, f, g) if warm else nothing
    looked, _, _ = log_sweeps(State(f, g, f, g, nothing), problem, 1, 0.0)
    start = State(f, g, looked.next_f, looked.next_g, first)
    margin = MARGIN if cost.dtype == xp.float64 else MARGIN_FLOAT32
    run = iterate(
        log_sweeps, start, problem, tol=tol, margin=margin, patience=PATIENCE, method="transport.sinkhorn", **options
    )
    f, g = run.state.f, run.state.g
    shift = xp.sum(b * g, axis=-1) / xp.sum(b, axis=-1)  # the gauge: sum_j b_j g_j = 0
    f, g = f + shift[..., None], g - shift[..., None]
    final = marginal_error(problem, f, g)
    return f, g, xp.asarray(final), run.steps, settle(final, tol, run.code), run.history


@public
def sinkhorn(
    cost: A,
    a: A | None = None,
    b: A | None = None,
    *,
    epsilon: Any,
    method: str = "auto",
    tol: float | None = None,
    max_steps: int = 10_000,
    init: tuple[A | None, A | None] | None = None,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> TransportResult[A]:
    """Entropic optimal transport between two weighted sets.

    Finds the plan P with row sums `a` and column sums `b` that minimises
    sum_ij P_ij C_ij + epsilon sum_ij (P_ij log(P_ij/(a_i b_j)) - P_ij + a_i b_j).

    Use it for potentials, plans and gradients of moderately smoothed problems, epsilon from 1e-3 to 1 of the range of
    the cost. Do not use it where the unsmoothed optimum is wanted: an exact solver is as fast for a few thousand
    points; nor where epsilon is so small that tens of thousands of steps are needed.

    Parameters
    ----------
    cost : array, shape (..., n, m)
        What it costs to move a unit of mass from i to j, any finite numbers. Leading axes are a batch.
    a, b : array, shapes (..., n) and (..., m), optional
        Weights, not negative; their totals must agree to 1e-6 (float32: 1e-4). Uniform weights of total 1 by default.
    epsilon : float or 0-d array
        The smoothing, positive, in the units of the cost.
    method : {"auto", "log"}
        The log-domain sweep; it works at every epsilon.
    tol : float, optional
        Bound on `error`, in the units of the weights: the L1 norm of what the marginals lack. 1e-6, in float32 1e-4,
        by default.
    max_steps : int
        The most sweeps; each reads the cost once (kernels) or twice (portable bodies).
    init : pair of arrays, optional
        Potentials (f, g) to start from, either of which may be None: those of a similar problem save most of the steps.
    check_every : int, optional
        Steps between two looks at the error. The default leaves it to the backend.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every check. By default where that is free: everywhere but in a compiled jax
        loop.

    Returns
    -------
    TransportResult
        Potentials `f` and `g`, and what follows from them: ``plan()``, ``apply(v)``, ``value``, ``transport_cost``.
        The plan is P_ij = a_i b_j exp((f_i + g_j - C_ij)/epsilon).

    Raises
    ------
    TypeError
        If an argument is not an array, not floating, of another dtype or of another library than `cost`.
    ValueError
        If shapes do not fit, something is empty, not finite, or a weight negative; if the totals differ; if epsilon
        is not positive, or a name unknown.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end. The result says so too, in `converged` and `status`.

    Notes
    -----
    Sinkhorn's iteration [1]_ in the logarithmic domain, equation (4.44) of [2]_. On torch and jax the result is
    differentiable in `cost`, `a`, `b` and `epsilon`: `value` by the envelope theorem, the potentials (and so the plan
    and all formulas in it) by the implicit function theorem at the answer, whose accuracy is that of the answer; no
    step is unrolled. Derivatives in `a` and `b` are meant along changes that keep their totals equal. Under
    ``jax.jit`` values are not checked.

    References
    ----------
    .. [1] R. Sinkhorn, P. Knopp, "Concerning nonnegative matrices and doubly stochastic matrices", Pacific J. Math.
       21(2), 343-348, 1967.
    .. [2] G. Peyré, M. Cuturi, "Computational optimal transport", Found. Trends Mach. Learn. 11(5-6), 355-607, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> cost = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> result = eq.transport.sinkhorn(cost, epsilon=0.5)
    >>> result.converged
    True
    >>> result.plan().round(6)
    array([[0.440399, 0.059601],
           [0.059601, 0.440399]])
    """
    check_cost(cost)
    xp = namespace(cost, a, b, epsilon)
    check_method(method, METHODS)
    epsilon = check_epsilon(epsilon, cost)
    weights_a = check_weights("a", a, cost, -2)
    weights_b = check_weights("b", b, cost, -1)
    check_masses(weights_a, weights_b)
    if tol is None:
        tol = 1e-6 if cost.dtype == xp.float64 else 1e-4
    check_limits(tol, max_steps, check_every)
    batch = batch_shape(cost, weights_a, weights_b)
    n, m = cost.shape[-2:]
    f, g = check_init(init, cost, ((*batch, n), (*batch, m)))

    wide_a, wide_b = xp.broadcast_to(weights_a, (*batch, n)), xp.broadcast_to(weights_b, (*batch, m))
    wide_cost = cost if tuple(cost.shape[:-2]) == batch else xp.broadcast_to(cost, (*batch, n, m))
    options = {"max_steps": int(max_steps), "check_every": check_every, "callback": callback, "history": history}
    f, g, *rest = solve(wide_cost, wide_a, wide_b, epsilon, f, g, tol, **options)
    stop = of(cost).stop_gradient
    final, steps, code, rows = map_arrays(stop, tuple(rest))
    result = TransportResult(final, steps, code, rows, f, g, wide_cost, wide_a, wide_b, epsilon)
    report(result, "transport.sinkhorn", tol, "A larger epsilon needs fewer steps.")
    return result
