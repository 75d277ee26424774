"""The debiased divergence: a transport cost between two clouds that is zero where they agree, in spite of the entropy.

Entropic transport of a cloud to itself is not free: its minimum lies at a shrunken cloud. The divergence takes that
off, half for either side. The terms of one cloud with itself have one potential, and an averaged step finds it in a few
sweeps; the term between the two starts from both. So if the clouds agree, all three are the same numbers, and the
divergence is exactly zero.
"""

from __future__ import annotations

from typing import Any, Generic

from ..arrays import A, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol
from ..implicit import differentiable
from ..iterate import iterate, stepwise
from ..kernel import on_host
from ..record import map_arrays, rebuild, record
from ..result import Outcome, report, settle
from .adjoint import solve_vjp
from .checks import check_problem
from .pointcloud import PointCloud
from .potentials import soft_min
from .result import TransportResult, total
from .sinkhorn import MARGIN, MARGIN_FLOAT32, PATIENCE, marginal_error, solve
from .sweeps import Problem, damped, lacking

__all__ = ["DivergenceResult", "sinkhorn_divergence"]


# ---------------------------------------------------------------------------------------------------------------------
# A cloud with itself


@record
class Symmetric:
    """The potential, the next one, and the marginal error of the former."""

    f: Any
    next_f: Any
    error: Any


def symmetric_step(state: Symmetric, problem: Problem) -> Symmetric:
    """f <- (f + T f)/2, which converges where f <- T f would swing around the solution."""
    xp = namespace(state.f)
    f, epsilon, rho = state.next_f, problem.epsilon, problem.rho_a
    soft = soft_min(problem.cost, f, problem.a, epsilon, axis=-1)
    error = 2.0 * lacking(problem.a, (f - soft) / epsilon, f, rho)
    return Symmetric(f, 0.5 * (f + damped(soft, rho, epsilon)), xp.asarray(error))


def symmetric_error(state: Symmetric, problem: Problem) -> Any:
    """The marginal error of the current potential; the step has seen it already."""
    return state.error


def self_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The rule of the two potentials of which this one is the mean."""
    p = cotangent[0]
    if p is None:
        return (None,) * len(args)
    cost, a, epsilon, rho, _ = args
    f = out[0]
    bars = solve_vjp((0.5 * p, 0.5 * p), (f, f), (cost, a, a, epsilon, rho, rho))
    cost_bar, a_bar, b_bar, epsilon_bar, *rho_bars = bars
    rho_bar = None if rho_bars[0] is None else rho_bars[0] + rho_bars[1]
    return cost_bar, a_bar + b_bar, epsilon_bar, rho_bar, None


@differentiable(self_vjp)
@on_host(soft_min)
def solve_self(cost: Any, a: Any, epsilon: Any, rho: Any, tol: Any, **options: Any) -> tuple[Any, ...]:
    """The one potential of a cloud with itself; its error, steps, code and history."""
    xp = namespace(a)
    problem = Problem(cost, a, a, epsilon, rho, rho)
    zero = 0.0 * a
    start = Symmetric(zero, zero, xp.asarray(2.0 * xp.sum(a, axis=-1)))
    margin = 0.5 * (MARGIN if a.dtype == xp.float64 else MARGIN_FLOAT32)  # the cross term shall see no error here
    advance = stepwise(symmetric_step, symmetric_error)
    run = iterate(advance, start, problem, tol=tol, margin=margin, patience=PATIENCE, **options)
    final = marginal_error(problem, run.state.f, run.state.f)
    return run.state.f, xp.asarray(final), run.steps, settle(final, tol, run.code), run.history


# ---------------------------------------------------------------------------------------------------------------------
# The divergence


@record
class DivergenceResult(Outcome[A], Generic[A]):
    """A divergence, and the three transport problems that it consists of.

    Attributes
    ----------
    error : array, shape (...)
        The largest of the errors of the three.
    steps : array of int, shape (...)
        The sweeps of all three.
    code, history, converged, status
        See :class:`equipoise.result.Outcome`; the history is that of `cross`.
    cross, self_x, self_y : TransportResult
        x with y, x with itself, y with itself.
    """

    cross: TransportResult[A]
    self_x: TransportResult[A]
    self_y: TransportResult[A]

    @property
    def value(self) -> A:
        """OT(x, y) - OT(x, x)/2 - OT(y, y)/2, shape (...); unbalanced, + epsilon (sum a - sum b)^2/2."""
        return _value(self)

    @property
    def f(self) -> A:
        """The debiased potential on `x`, shape (..., n): the derivative of `value` in `a`."""
        return _potentials(self)[0]

    @property
    def g(self) -> A:
        """The debiased potential on `y`, shape (..., m): the derivative of `value` in `b`."""
        return _potentials(self)[1]

    def _facts(self) -> dict[str, Any]:
        return self.cross._facts()


@public
def _value(r: DivergenceResult[A]) -> A:
    own_x: Any = r.self_x.value
    own_y: Any = r.self_y.value
    value: Any = r.cross.value - (0.5 * own_x + 0.5 * own_y)
    if r.cross.rho_a is None:
        return value
    apart = total(r.cross.a) - total(r.cross.b)
    return value + 0.5 * r.cross.epsilon * apart * apart


@public
def _potentials(r: DivergenceResult[A]) -> tuple[A, A]:
    f: Any = r.cross.f - r.self_x.f
    g: Any = r.cross.g - r.self_y.f
    if r.cross.rho_a is not None:
        return f, g
    a, b = r.cross.a, r.cross.b  # either side may take the constant that they share: half of it each
    shift = (total(b * g) - total(a * f)) / (total(a) + total(b))
    return f + shift[..., None], g - shift[..., None]


@public
def sinkhorn_divergence(
    x: A,
    y: A,
    a: A | None = None,
    b: A | None = None,
    *,
    epsilon: Any,
    metric: str = "sqeuclidean",
    tol: float | None = None,
    max_steps: int = 10_000,
    marginal_penalty: Any = None,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> DivergenceResult[A]:
    """Debiased entropic transport cost between two weighted clouds of points, in memory of n + m.

    Use it as a loss between samples: it is not negative, zero for equal clouds, and its gradient moves `x` towards `y`
    without shrinking it. Do not use it where the plan is what is wanted (:func:`sinkhorn`), nor for the unsmoothed
    distance on the line (:func:`wasserstein_1d`).

    Parameters
    ----------
    x, y : array, shapes (..., n, d) and (..., m, d)
        Points. Leading axes are a batch.
    a, b : array, shapes (..., n) and (..., m), optional
        Weights, not negative, uniform of total 1 by default; without penalty their totals must agree.
    epsilon : float or 0-d array
        The smoothing, positive, in the units of the cost.
    metric : {"sqeuclidean", "euclidean", "cityblock"}
        The cost, see :class:`PointCloud`. GeomLoss's ``p=2`` is half of "sqeuclidean", with ``blur**2`` for epsilon.
    tol : float, optional
        Bound on the marginal error of each of the three problems. 1e-6, in float32 1e-4, by default.
    max_steps : int
        The most sweeps of each.
    marginal_penalty : float or 0-d array, optional
        What a unit of Kullback-Leibler divergence of a marginal costs; then masses may differ, and be destroyed.
    check_every, callback, history
        As for :func:`sinkhorn`.

    Returns
    -------
    DivergenceResult
        `value`, the debiased potentials `f` and `g`, and the three problems.

    Raises
    ------
    TypeError, ValueError
        For clouds that do not fit each other, weights that do not fit them, and the rest as for :func:`sinkhorn`.

    Warns
    -----
    ConvergenceWarning
        If one of the three errors is above `tol` in the end.

    Notes
    -----
    S(x, y) = OT(x, y) - OT(x, x)/2 - OT(y, y)/2, equation (3) of [1]_, with the symmetric updates of its section 3.2;
    with a penalty, definition 4.1 of [2]_. On torch and jax `value` is differentiable in points, weights and epsilon
    by the envelope theorem: no second solve, and O(n + m) memory backward too.

    References
    ----------
    .. [1] J. Feydy, T. Séjourné, F.-X. Vialard, S. Amari, A. Trouvé, G. Peyré, "Interpolating between optimal transport
       and MMD using Sinkhorn divergences", AISTATS 2019, arXiv:1810.08278.
    .. [2] T. Séjourné, J. Feydy, F.-X. Vialard, A. Trouvé, G. Peyré, "Sinkhorn divergences for unbalanced optimal
       transport", arXiv:1910.12958, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> float(eq.transport.sinkhorn_divergence(x, x, epsilon=0.1).value)
    0.0
    >>> round(float(eq.transport.sinkhorn_divergence(x, x + 2.0, epsilon=0.1).value), 5)
    8.0
    """
    cost = PointCloud(x, y, metric=metric)
    if isinstance(marginal_penalty, (tuple, list)):
        raise ValueError("marginal_penalty must be one number here: a divergence treats both sides alike")
    problem = check_problem(cost, a, b, epsilon, marginal_penalty)
    cost, a, b, epsilon, rho, _ = problem
    xp = namespace(a)
    tol = check_tol(tol, a, 1e-6, 1e-4)
    check_limits(tol, max_steps, check_every)

    method = "transport.sinkhorn_divergence"
    options: dict[str, Any] = {"max_steps": int(max_steps), "check_every": check_every, "callback": callback}
    options |= {"history": history, "method": method}
    stop = of(cost.x).stop_gradient

    def alone(points: Any, weights: Any) -> TransportResult[Any]:
        own: Any = rebuild(PointCloud, (points, None), (metric,))
        f, *rest = solve_self(own, weights, epsilon, rho, tol, **options)
        final, steps, code, rows = map_arrays(stop, tuple(rest))
        return TransportResult(final, steps, code, rows, f, f, own, weights, weights, epsilon, rho, rho)

    self_x, self_y = alone(cost.x, a), alone(cost.y, b)
    f, g, *rest = solve(
        *(*problem, stop(self_x.f), stop(self_y.f), tol),
        omega=1.0,
        adaptive=True,
        stored=False,
        gauge=False,
        **options,
    )
    final, steps, code, rows = map_arrays(stop, tuple(rest))
    cross: TransportResult[Any] = TransportResult(final, steps, code, rows, f, g, *problem)
    error = xp.maximum(cross.error, xp.maximum(self_x.error, self_y.error))
    code = xp.maximum(cross.code, xp.maximum(self_x.code, self_y.code))
    steps = cross.steps + self_x.steps + self_y.steps
    result = DivergenceResult(
        xp.asarray(error), xp.asarray(steps), xp.asarray(code), cross.history, cross, self_x, self_y
    )
    report(result, method, tol, "A larger epsilon needs fewer steps.")
    return result
