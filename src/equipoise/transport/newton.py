"""Sinkhorn-Newton-Sparse: Newton's method on the semi-dual, with a sparse Hessian and down a ladder of epsilons.

The method is in :mod:`equipoise.transport.newton_steps`, what it asks of the problem in
:mod:`equipoise.transport.semidual`; here are its start, its end and its public face.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Generic

from ..arrays import A, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol
from ..implicit import differentiable
from ..iterate import iterate
from ..kernel import on_host
from ..record import map_arrays, record
from ..result import is_number, report, settle
from .adjoint import solve_vjp
from .checks import check_init, check_problem
from .newton_steps import FACTOR, KAPPA, NEAR, TOP, State, Task, advance, exhausted
from .pointcloud import PointCloud, is_cloud
from .potentials import soft_min
from .result import TransportResult
from .semidual import newton_look, nowhere
from .sinkhorn import MARGIN, MARGIN_FLOAT32, marginal_error
from .sweeps import Problem, damped

__all__ = ["NewtonResult", "sinkhorn_newton_sparse"]


@record
class NewtonResult(TransportResult[A], Generic[A]):
    """A :class:`TransportResult` with the counts of :func:`sinkhorn_newton_sparse`.

    Attributes
    ----------
    newton_steps, sweeps : array of int, shape (...)
        Of which `steps` is the sum.
    cg_steps : array of int, shape (...)
        Of conjugate gradients, in all Newton steps together.
    density : array, shape (...)
        The share of entries that the last sparse Hessian kept; 0 where there was no Newton step.
    """

    newton_steps: A
    sweeps: A
    cg_steps: A
    density: A
    _shown = (*TransportResult._shown, "newton_steps", "sweeps", "cg_steps")


# ---------------------------------------------------------------------------------------------------------------------
# The solve


def begin(p: Problem, f: Any, g: Any, threshold: float) -> State:
    """The state at the top of the ladder, or, from potentials that are nearly right, on its last rung."""
    xp = namespace(p.a)
    zero = 0.0 * (xp.sum(p.a, axis=-1) + xp.sum(p.b, axis=-1))
    warm = f is not None or g is not None
    if g is None:
        g = 0.0 * p.b
        if f is not None:
            g = damped(soft_min(p.cost, f, p.a, p.epsilon, axis=-2), p.rho_b, p.epsilon)
    f = 0.0 * p.a if f is None else f
    span = xp.clip(TOP * spread(p.cost) / p.epsilon, min=1.0)
    rung = zero + xp.ceil(xp.log(span) / math.log(FACTOR))

    def look(rung: Any) -> tuple[Any, Any, Any, Any]:
        return newton_look(p.cost, p.a, p.b, p.epsilon, FACTOR**rung, p.rho_a, p.rho_b, f, g)

    if warm:
        close = look(zero)[-1] <= NEAR * xp.sum(p.b, axis=-1)
        rung = xp.where(close, zero, rung)
    f, soft, value, error = look(rung)
    return State(f, g, soft, value, error, rung, zero + 1.0, g, zero + KAPPA, zero + threshold, error, *(zero,) * 4)


def bottom(s: State, p: Problem) -> State:
    """`s`, or, where the steps ran out above the last rung, the answer of its g at epsilon itself."""
    xp = namespace(s.g)
    above = xp.asarray(s.rung > 0)
    if nowhere(above):
        return s
    f, soft, _, _ = newton_look(p.cost, p.a, p.b, p.epsilon, 0.0 * s.rung + 1.0, p.rho_a, p.rho_b, s.f, s.g)
    return replace(s, f=xp.where(above[..., None], f, s.f), soft=xp.where(above[..., None], soft, s.soft))


def spread(cost: Any) -> Any:
    """The range of the entries of a cost, or a bound on it."""
    if is_cloud(cost):
        return cost.range_bound()
    xp = namespace(cost)
    return xp.max(cost, axis=(-2, -1)) - xp.min(cost, axis=(-2, -1))


@differentiable(solve_vjp)
@on_host(newton_look)
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
    threshold: float,
    **options: Any,
) -> tuple[Any, ...]:
    """Potentials, error, steps, code, history, and the counts; `f` and `g` are where to start, or None."""
    xp = namespace(a)
    p = Problem(cost, a, b, epsilon, rho_a, rho_b)
    margin = MARGIN if a.dtype == xp.float64 else MARGIN_FLOAT32
    run = iterate(
        *(advance, begin(p, f, g, threshold), Task(p, tol, threshold)),
        tol=tol,
        margin=margin,
        halt=exhausted,
        **options,
    )
    s = bottom(run.state, p)
    f, g = s.f, xp.where(b > 0, s.g, damped(s.soft, rho_b, epsilon))
    if rho_a is None and rho_b is None:  # sum_j b_j g_j = 0
        shift = xp.sum(b * g, axis=-1) / xp.sum(b, axis=-1)
        f, g = f + shift[..., None], g - shift[..., None]
    final = marginal_error(p, f, g)
    newton_steps, cg_steps = (xp.astype(xp.asarray(x), run.steps.dtype) for x in (s.newton_steps, s.cg_steps))
    counts = (newton_steps, xp.asarray(run.steps - newton_steps), cg_steps, xp.asarray(s.density))
    return f, g, xp.asarray(final), run.steps, settle(final, tol, run.code), run.history, *counts


def check_threshold(threshold: Any) -> float:
    """A number in (0, 1)."""
    if not is_number(threshold):
        raise TypeError(f"threshold must be a number in (0, 1), got {type(threshold).__name__}")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be a number in (0, 1), got {threshold}")
    return float(threshold)


@public
def sinkhorn_newton_sparse(
    cost: A | PointCloud[A],
    a: A | None = None,
    b: A | None = None,
    *,
    epsilon: Any,
    tol: float | None = None,
    max_steps: int = 200,
    init: tuple[A | None, A | None] | None = None,
    marginal_penalty: Any = None,
    threshold: float = 1e-5,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> NewtonResult[A]:
    """Entropic optimal transport at small epsilon and high accuracy, by Newton's method with a sparse Hessian.

    Solves the same problem as :func:`sinkhorn`. Use it where epsilon is 1e-4 to 1e-2 of the range of the cost, and
    where marginals have to be met to many digits. Do not use it where epsilon is a tenth of the range or more: there
    some sweeps of :func:`sinkhorn` do, and the plan, nearly full, makes Newton steps dear. Nor for the unsmoothed
    optimum of a few thousand points, for which an exact solver is as fast. In portable bodies (under ``jax.jit``, on a
    GPU) the Hessian is a dense matrix, of the size of the cost.

    Parameters
    ----------
    cost : array, shape (..., n, m), or PointCloud
        What it costs to move a unit of mass from i to j, any finite numbers. Leading axes are a batch.
    a, b : array, shapes (..., n) and (..., m), optional
        Weights, not negative; their totals must agree to 1e-6 (float32: 1e-4). Uniform weights of total 1 by default.
    epsilon : float or 0-d array
        The smoothing, positive, in the units of the cost.
    tol : float, optional
        Bound on `error`, in the units of the weights: the L1 norm of what the marginals lack. 1e-9, in float32 1e-5,
        by default.
    max_steps : int
        The most steps, Newton steps and sweeps together.
    init : pair of arrays, optional
        Potentials (f, g) to start from, either of which may be None. Where nearly all of the mass is in place with
        them the ladder of epsilons is left out.
    marginal_penalty : float or pair, optional
        Unbalanced transport: the price of a marginal that is not met, as in :func:`sinkhorn`.
    threshold : float
        Entries of the plan up to this share of their row's sum are left out of the Hessian; what is left out slows
        Newton's method down and does not change its answer. It falls by itself where steps turn out poor.
    check_every : int, optional
        Steps between two looks at the error. The default leaves it to the backend.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every check. The error of a step above the last rung is that at its own,
        larger epsilon. By default where that is free: everywhere but in a compiled jax loop.

    Returns
    -------
    NewtonResult
        What :func:`sinkhorn` returns, and `newton_steps`, `sweeps`, `cg_steps`, `density`.

    Raises
    ------
    TypeError
        If an argument is not an array, not floating, of another dtype or of another library than `cost`.
    ValueError
        If shapes do not fit, something is empty, not finite, or a weight negative; if the totals differ; if epsilon
        is not positive, or `threshold` not in (0, 1).

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end. The result says so too, in `converged` and `status`.

    Notes
    -----
    After [1]_: some of Sinkhorn's sweeps, then Newton's method on the dual with a Hessian cut to its larger entries,
    conjugate gradients and a line search. Ours differs in that f is eliminated (the semi-dual form, without a null
    space between f and g); that entries are kept by a threshold and not by a count, which needs no selection and
    follows epsilon; that the diagonal is that of the full plan, so that the cut Hessian stays definite; in the
    damping by the gradient (see the module); and in the ladder of epsilons. Memory on the CPU is O(n + m + entries
    kept).

    Derivatives are those of :func:`sinkhorn`.

    References
    ----------
    .. [1] X. Tang, M. Shavlovsky, H. Rahmanian, E. Tardini, K. K. Thekumparampil, T. Xiao, L. Ying, "Accelerating
       Sinkhorn algorithm with sparse Newton iterations", ICLR 2024, arXiv:2401.12253, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> x, y = np.linspace(0, 1, 50), np.linspace(0, 1, 40) ** 2
    >>> result = eq.transport.sinkhorn_newton_sparse((x[:, None] - y) ** 2, epsilon=1e-3)
    >>> result.converged, bool(result.error < 1e-9), bool(result.steps < 30)
    (True, True, True)
    """
    problem = check_problem(cost, a, b, epsilon, marginal_penalty)
    wide_a, wide_b = problem[1:3]
    threshold = check_threshold(threshold)
    tol = check_tol(tol, wide_a, 1e-9, 1e-5)
    check_limits(tol, max_steps, check_every)
    f, g = check_init(init, cost, (tuple(wide_a.shape), tuple(wide_b.shape)))

    f, g, *rest = solve(
        *(*problem, f, g, tol),
        threshold=threshold,
        max_steps=int(max_steps),
        check_every=check_every,
        callback=callback,
        history=history,
        method="transport.sinkhorn_newton_sparse",
    )
    final, steps, code, rows, *counts = map_arrays(of(wide_a).stop_gradient, tuple(rest))
    result: NewtonResult[A] = NewtonResult(final, steps, code, rows, f, g, *problem, *counts)
    report(result, "transport.sinkhorn_newton_sparse", tol, "A larger epsilon needs fewer steps.")
    return result
