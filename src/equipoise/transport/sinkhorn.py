"""Sinkhorn's algorithm: sweeps in the logarithmic domain, or with a stored kernel, over-relaxed as they turn out slow.

Every way makes the same iterates; see ``equipoise.transport.sweeps``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import A, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol, values
from ..implicit import differentiable
from ..iterate import iterate
from ..kernel import on_host
from ..record import leaves, map_arrays
from ..result import Status, report, settle
from .adjoint import solve_vjp
from .checks import check_cost, check_init, check_method, check_problem, check_relaxation
from .pointcloud import PointCloud, is_cloud
from .potentials import marginals, soft_min
from .result import TransportResult
from .sweeps import Problem, State, damped, growth, kernel_sweeps, log_sweeps, start_relaxation

__all__ = ["sinkhorn"]

METHODS = ("auto", "log", "kernel")
PATIENCE = 200  # sweeps without a new least error: what is left is rounding
PATIENCE_RELAXED = 20.0  # of an estimated omega, times 1/(2 - omega): the closer to 2, the longer may the error rise
STORABLE = 2**28  # entries of a kernel that "auto" will store
# The loop aims below tol, so that rounding the returned potentials does not lift the error above it: in float32, at a
# range of the cost of 2000 epsilon, that adds 2e-6.
MARGIN, MARGIN_FLOAT32 = 0.9, 0.5


def marginal_error(problem: Problem, f: Any, g: Any) -> Any:
    """sum_i |(P 1)_i - a_i| + sum_j |(P^T 1)_j - b_j|; a penalised marginal has to be a exp(-f/rho)."""
    xp = namespace(f)
    rows, columns = marginals(problem.cost, f, g, problem.a, problem.b, problem.epsilon)

    def apart(sums: Any, weights: Any, potential: Any, rho: Any) -> Any:
        target = weights if rho is None else weights * (1.0 + growth(-potential / rho))
        return xp.sum(xp.abs(sums - target), axis=-1)

    return apart(rows, problem.a, f, problem.rho_a) + apart(columns, problem.b, g, problem.rho_b)


def begin(problem: Problem, f: Any, g: Any, omega: Any) -> State:
    """The state of the potentials `f` and `g`, either of which may be None."""
    xp = namespace(problem.a)
    plain = replace(problem, adaptive=False)
    warm = f is not None or g is not None
    if g is None:  # the first half step makes f of g, so that an f alone would be lost
        g = 0.0 * problem.b
        if f is not None:
            g = damped(soft_min(problem.cost, f, problem.a, problem.epsilon, axis=-2), problem.rho_b, problem.epsilon)
    f = 0.0 * problem.a if f is None else f
    nothing = xp.asarray(xp.sum(problem.a, axis=-1) + xp.sum(problem.b, axis=-1))  # the error of no plan at all
    first = marginal_error(problem, f, g) if warm else nothing
    zero = xp.zeros_like(nothing)
    looked, _, _ = log_sweeps(State(f, g, f, g, nothing, zero, start_relaxation(omega, zero)), plain, 1, 0.0)
    return replace(looked, f=f, g=g, error=first)


def patience(state: State) -> Any:
    """Sweeps that may pass without a new least error."""
    xp = namespace(state.relaxation.omega)
    return xp.clip(PATIENCE_RELAXED / (2.0 - state.relaxation.omega), min=float(PATIENCE))


def finish(state: State, problem: Problem, steps: Any, max_steps: int) -> tuple[Any, Any, Any]:
    """Potentials and the count of steps, after one plain sweep where the last one was over-relaxed."""
    xp = namespace(state.f)
    omega = state.relaxation.omega
    seen = values(omega)
    if seen is not None and bool(namespace(seen).all(seen == 1.0)):
        return state.f, state.g, steps
    late = (omega != 1.0) & (steps < max_steps)
    plain = replace(state, next_f=state.f, next_g=state.g, relaxation=start_relaxation(1.0, omega))
    swept, _, _ = log_sweeps(replace(plain, error=xp.ones_like(omega)), replace(problem, adaptive=False), 1, 0.0)
    f = xp.where(late[..., None], swept.next_f, state.f)
    g = xp.where(late[..., None], swept.next_g, state.g)
    return f, g, xp.asarray(steps + xp.astype(late, steps.dtype))


@differentiable(solve_vjp)
@on_host(log_sweeps)
def solve(
    cost: Any,
    a: Any,
    b: Any,
    epsilon: Any,
    rho_a: Any,
    rho_b: Any,
    f: Any,
    g: Any,
    tol: Any,
    *,
    omega: float,
    adaptive: bool,
    stored: bool,
    gauge: bool = True,
    **options: Any,
) -> tuple[Any, ...]:
    """Potentials, error, steps, code and history; `f` and `g` are where to start, or None."""
    xp = namespace(a)
    balanced = rho_a is None and rho_b is None
    problem = Problem(cost, a, b, epsilon, rho_a, rho_b, adaptive)
    margin = MARGIN if a.dtype == xp.float64 else MARGIN_FLOAT32
    run = iterate(
        kernel_sweeps if stored else log_sweeps,
        begin(problem, f, g, omega),
        problem,
        tol=tol,
        margin=margin,
        patience=patience if adaptive else PATIENCE,
        **options,
    )
    f, g, steps = run.state.f, run.state.g, run.steps
    if balanced and (adaptive or omega != 1.0):
        f, g, steps = finish(run.state, problem, steps, options["max_steps"])
    if balanced and gauge:  # sum_j b_j g_j = 0
        shift = xp.sum(b * g, axis=-1) / xp.sum(b, axis=-1)
        f, g = f + shift[..., None], g - shift[..., None]
    final = marginal_error(problem, f, g)
    nothing = xp.sum(a, axis=-1) + xp.sum(b, axis=-1)
    lost = (run.code == int(Status.STALLED)) & (final > 0.5 * nothing)  # a fixed factor was too large
    fate = xp.where(lost, xp.full_like(run.code, int(Status.DIVERGED)), run.code)
    return f, g, xp.asarray(final), steps, settle(final, tol, fate), run.history


@public
def sinkhorn(
    cost: A | PointCloud[A],
    a: A | None = None,
    b: A | None = None,
    *,
    epsilon: Any,
    method: str = "auto",
    relaxation: str | float = "auto",
    tol: float | None = None,
    max_steps: int = 10_000,
    init: tuple[A | None, A | None] | None = None,
    marginal_penalty: Any = None,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> TransportResult[A]:
    """Entropic optimal transport between two weighted sets.

    Finds the plan P with row sums `a` and column sums `b` that minimises
    sum_ij P_ij C_ij + epsilon sum_ij (P_ij log(P_ij/(a_i b_j)) - P_ij + a_i b_j).

    Use it for potentials, plans and gradients of moderately smoothed problems, epsilon from 1e-3 to 1 of the range of
    the cost. Do not use it where the unsmoothed optimum is wanted: an exact solver is as fast for a few thousand
    points; nor where epsilon is so small that thousands of steps are needed: :func:`sinkhorn_newton_sparse` is there
    for that.

    Parameters
    ----------
    cost : array, shape (..., n, m), or PointCloud
        What it costs to move a unit of mass from i to j, any finite numbers. Leading axes are a batch.
    a, b : array, shapes (..., n) and (..., m), optional
        Weights, not negative; their totals must agree to 1e-6 (float32: 1e-4). Uniform weights of total 1 by default.
    epsilon : float or 0-d array
        The smoothing, positive, in the units of the cost.
    method : {"auto", "log", "kernel"}
        "log" sweeps in logarithms. "kernel" makes the same iterates with a stored density, formed anew where the
        potentials move far: two to three times faster, for memory of the size of the cost; under a jax transformation
        it sweeps in logarithms. "auto" stores where there is a matrix of moderate size.
    relaxation : "auto" or float in (0, 2)
        How far a half step goes, as a multiple of the plain one. "auto" begins with 1 and estimates the best factor
        as it goes, which saves most of the sweeps where they are many. A fixed factor close to 2 may diverge.
    tol : float, optional
        Bound on `error`, in the units of the weights: the L1 norm of what the marginals lack. 1e-6, in float32 1e-4,
        by default.
    max_steps : int
        The most sweeps; each reads the cost once (kernels) or twice (portable bodies).
    init : pair of arrays, optional
        Potentials (f, g) to start from, either of which may be None: those of a similar problem save most of the steps.
    marginal_penalty : float, 0-d array or pair, optional
        What a unit of Kullback-Leibler divergence from a marginal costs, for both or for each; then masses may differ,
        and `error` is the L1 residual of P 1 = a exp(-f/rho) and its counterpart. None and infinity: met exactly.
    check_every : int, optional
        Steps between two looks at the error. The default leaves it to the backend. A stored density lives for one such
        chunk: with "kernel", 1 makes every step as dear as forming it.
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
    Sinkhorn's iteration [1]_ in the logarithmic domain, equation (4.44) of [2]_, or stabilised by absorption [3]_;
    over-relaxed as in [4]_, with a factor from Young's relation, see ``equipoise.transport.sweeps``; penalised as in
    [5]_. A relaxed solve ends with one plain sweep, which has no row in the history. On torch and jax the result is
    differentiable in `cost`, `a`, `b` and `epsilon`: `value` by the envelope theorem, the potentials (and so the plan
    and all formulas in it) by the implicit function theorem at the answer, whose accuracy is that of the answer; no
    step is unrolled. Derivatives in `a` and `b` are meant along changes that keep their totals equal. Under
    ``jax.jit`` values are not checked.

    References
    ----------
    .. [1] R. Sinkhorn, P. Knopp, "Concerning nonnegative matrices and doubly stochastic matrices", Pacific J. Math.
       21(2), 343-348, 1967.
    .. [2] G. Peyré, M. Cuturi, "Computational optimal transport", Found. Trends Mach. Learn. 11(5-6), 355-607, 2019.
    .. [3] B. Schmitzer, "Stabilized sparse scaling algorithms for entropy regularized transport problems", SIAM J. Sci.
       Comput. 41(3), A1443-A1481, 2019.
    .. [4] A. Thibault, L. Chizat, C. Dossal, N. Papadakis, "Overrelaxed Sinkhorn-Knopp algorithm for regularized
       optimal transport", Algorithms 14(5), 143, 2021.
    .. [5] L. Chizat, G. Peyré, B. Schmitzer, F.-X. Vialard, "Scaling algorithms for unbalanced optimal transport
       problems", Math. Comp. 87(314), 2563-2609, 2018.

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
    check_method(method, METHODS, cost)
    omega, adaptive = check_relaxation(relaxation)
    problem = check_problem(cost, a, b, epsilon, marginal_penalty)
    wide_cost, wide_a, wide_b, *_ = problem
    tol = check_tol(tol, wide_a, 1e-6, 1e-4)
    check_limits(tol, max_steps, check_every)
    f, g = check_init(init, cost, (tuple(wide_a.shape), tuple(wide_b.shape)))

    f, g, *rest = solve(
        *(*problem, f, g, tol),
        omega=omega,
        adaptive=adaptive,
        stored=method == "kernel" or (method == "auto" and storable(wide_cost)),
        max_steps=int(max_steps),
        check_every=check_every,
        callback=callback,
        history=history,
        method="transport.sinkhorn",
    )
    final, steps, code, rows = map_arrays(of(wide_a).stop_gradient, tuple(rest))
    result: TransportResult[A] = TransportResult(final, steps, code, rows, f, g, *problem)
    advice = "A larger epsilon needs fewer steps." if adaptive else "Try relaxation='auto', or a larger epsilon."
    report(result, "transport.sinkhorn", tol, advice)
    return result


def storable(cost: Any) -> bool:
    """Whether a stored kernel pays: for a matrix of moderate size, where products are faster than exponentials."""
    if is_cloud(cost):
        return False
    n, m = cost.shape[-2:]
    return bool(n * m <= STORABLE) and not of(cost).traced(leaves(cost))
