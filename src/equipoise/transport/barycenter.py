"""Entropic barycenters on a fixed support: the histogram whose weighted transport cost to the inputs is least.

In the units of epsilon, with g_k the potential of input k on the support, the minimum is where every plan meets the
same histogram p and sum_k w_k g_k = h. The blurred form has h = 0; the debiased one has h the potential of p with
itself, p = exp(h/epsilon) K exp(h/epsilon). One step restores the second condition, in both forms, and looks at the
first; so the weighted mean of the g_k is right at every iterate, wherever they started.

In the debiased form h is slow. Where the plans blur much, the modes of p that they hide move by sigma times their
distance, sigma their factor of blur, so that the plain iteration's error falls like 1/steps. Shifting the g_k along
with h makes the linearised step symmetric with eigenvalues 1 - (sigma + sigma^2)/2, all real and in [0, 1]: then
Nesterov's extrapolation is safe, and the error falls like 1/steps^2.
"""

from __future__ import annotations

from typing import Any, Generic

from ..arrays import A, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits
from ..implicit import differentiable
from ..iterate import iterate
from ..kernel import on_host
from ..record import map_arrays, record
from ..result import Outcome, report, settle
from .barycenter_adjoint import solve_vjp
from .barycenter_checks import check_batch, check_problem
from .barycenter_steps import (
    Problem,
    State,
    barycenter_start,
    barycenter_sweeps,
    mean,
)
from .checks import check_epsilon

__all__ = ["BarycenterResult", "barycenter"]

PATIENCE, PATIENCE_DEBIASED = 200, 2000  # steps without a new least error: rounding, or waves of the extrapolation
MARGIN, MARGIN_FLOAT32 = 0.9, 0.5  # the loop aims below tol: the last look rounds once more
FLOOR = 1e-8  # of uniform mass in the debiased start, which multiplies and so cannot leave zero


@record
class BarycenterResult(Outcome[A], Generic[A]):
    """A barycenter, and the potentials of the plans from the inputs to it.

    Attributes
    ----------
    histogram : array, shape (..., p)
        The barycenter. Its total is that of the inputs up to `error`.
    f, g : array, shapes (..., k, n) and (..., k, p)
        Potentials in the units of the cost: ``a_ki exp((f_ki + g_kj - C_ij)/epsilon)`` is the plan from input k. They
        carry no derivative.
    error : array, shape (...)
        sum_k w_k sum_j |(P_k^T 1)_j - p_j|, in the units of the histograms; debiased plus sum_j |d_j (K d)_j - p_j|
        with K = exp(-C/epsilon) and d = exp(sum_k w_k g_k/epsilon). The sums of the rows are exact, to rounding of `f`.
    steps, code, history, converged, status
        See :class:`equipoise.result.Outcome`.
    """

    histogram: A
    f: A
    g: A


# ---------------------------------------------------------------------------------------------------------------------
# The solve and its derivative


def look(problem: Problem, g: Any, h: Any) -> State:
    """The state at given potentials, seen by one step."""
    f, scalar = 0.0 * problem.histograms, 0.0 * problem.weights[..., 0]
    start = State(f, g, h, h, scalar + namespace(g).inf, g, h, h, scalar)
    return barycenter_sweeps(start, problem, 1, 0.0)[0]


def begin(problem: Problem) -> State:
    """v_k = 1; debiased, v_k = d of the mean of the inputs, which is the answer where they are all equal."""
    xp = namespace(problem.cost)
    if not problem.debiased:
        h = 0.0 * problem.cost[..., 0, :]
    else:
        mass = mean(problem.weights, problem.histograms)
        mass = (mass + FLOOR * xp.mean(mass, axis=-1, keepdims=True)) / (1.0 + FLOOR)
        h = barycenter_start(problem, mass)
    shape = (*problem.histograms.shape[:-1], h.shape[-1])
    return look(problem, xp.broadcast_to(h[..., None, :], shape), h)


@differentiable(solve_vjp)
@on_host(barycenter_sweeps)
def solve(
    histograms: Any, cost: Any, weights: Any, epsilon: Any, tol: Any, *, debiased: bool, **options: Any
) -> tuple[Any, ...]:
    """The histogram, f, g, error, steps, code and history."""
    xp = namespace(cost)
    problem = Problem(histograms, cost, weights, epsilon, debiased)
    margin = MARGIN if cost.dtype == xp.float64 else MARGIN_FLOAT32
    patience = PATIENCE_DEBIASED if debiased else PATIENCE
    run = iterate(barycenter_sweeps, begin(problem), problem, tol=tol, margin=margin, patience=patience, **options)
    g = run.state.g
    h = mean(weights, g)
    if not debiased:
        g, h = g - h[..., None, :], 0.0 * h  # it was rounding
    final = look(problem, g, h)
    error = xp.asarray(final.error)
    return final.histogram, final.f, g, error, run.steps, settle(error, tol, run.code), run.history


@public
def barycenter(
    histograms: A,
    cost: A,
    *,
    weights: A | None = None,
    epsilon: Any,
    debiased: bool = False,
    tol: float | None = None,
    max_steps: int = 10_000,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> BarycenterResult[A]:
    """Entropic Wasserstein barycenter of histograms, on a fixed support.

    Finds the histogram p that minimises sum_k w_k OT(a_k, p), where OT(a, p) is the least of
    sum_ij P_ij C_ij + epsilon sum_ij P_ij (log P_ij - 1) over the plans P from a to p. Debiased, it minimises
    sum_k w_k (OT(a_k, p) - OT(a_k, a_k)/2 - OT(p, p)/2), in which equal inputs are their own barycenter.

    Use it for averages and interpolations of histograms on a common grid. The blurred form is fast and smooth, and
    wider than its inputs, for squared distances by epsilon/2 in the variance. The debiased form takes that blur back,
    which is a deconvolution: use it at an `epsilon` not far above the squared spacing of the support, and expect
    hundreds of steps. Where its plans blur a detail of p by a factor sigma, `error` sees that detail only times sigma,
    and so do derivatives. Do not use either to move the support itself, nor where the unsmoothed barycenter is wanted.

    Parameters
    ----------
    histograms : array, shape (..., k, n)
        One measure a row, not negative, all of the same total to 1e-6 (float32: 1e-4). Zeros are allowed.
    cost : array, shape (n, p) or (..., n, p)
        From the support of the histograms to that of the barycenter. Debiased: square and symmetric.
    weights : array, shape (k,) or (..., k), optional
        Not negative, of total 1; equal ones by default.
    epsilon : float or 0-d array
        The smoothing, positive, in the units of the cost.
    debiased : bool
        Whether to take back the blur.
    tol : float, optional
        Bound on `error`, in the units of the histograms: how far the plans' marginals are from the barycenter in the
        L1 norm, in the weighted mean. 1e-6, in float32 1e-4, by default.
    max_steps : int
        The most steps; each makes two soft minima over the cost for every input, debiased one more.
    check_every : int, optional
        Steps between two looks at the error. The default leaves it to the backend.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every check. By default where that is free: everywhere but in a compiled jax
        loop.

    Returns
    -------
    BarycenterResult
        The `histogram`, shape (..., p), and the potentials `f` and `g` of the plans to it.

    Raises
    ------
    TypeError
        If an argument is not an array, not floating, of another dtype or of another library than `cost`.
    ValueError
        If shapes do not fit, something is empty, not finite, or negative; if totals differ or weights do not sum to 1;
        if epsilon is not positive; if debiased and the cost is not symmetric.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end. The result says so too, in `converged` and `status`.

    Notes
    -----
    Iterative Bregman projections [1]_, Proposition 2, in the logarithmic domain; debiased, Algorithm 1 of [2]_ with the
    potentials shifted along with d and Nesterov's extrapolation of d, started from the mean of the inputs. The entropy
    is that of the plan itself, as in [1]_: relative to a p^T it would add epsilon sum_j p_j log p_j to the blurred
    problem, and change nothing in the debiased one, whose minimiser is the only stationary point where exp(-C/epsilon)
    is positive definite.

    On torch and jax `histogram` is differentiable in `histograms`, `cost`, `weights` and `epsilon`, by the implicit
    function theorem at the answer, whose accuracy is that of the answer; no step is unrolled. Derivatives in
    `histograms` and `weights` are meant along changes that keep totals equal, debiased in `cost` along symmetric ones;
    an input of weight 0 is not seen by `error`. The backward pass forms the k plans. Under ``jax.jit`` values are not
    checked.

    References
    ----------
    .. [1] J.-D. Benamou, G. Carlier, M. Cuturi, L. Nenna, G. Peyré, "Iterative Bregman projections for regularized
       transportation problems", SIAM J. Sci. Comput. 37(2), A1111-A1138, 2015.
    .. [2] H. Janati, M. Cuturi, A. Gramfort, "Debiased Sinkhorn barycenters", ICML 2020, PMLR 119:4692-4701.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> x = np.arange(5.0)
    >>> ends = np.array([[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
    >>> eq.transport.barycenter(ends, (x[:, None] - x) ** 2, epsilon=0.5).histogram.round(4)
    array([3.000e-04, 1.065e-01, 7.866e-01, 1.065e-01, 3.000e-04])
    >>> eq.transport.barycenter(ends, (x[:, None] - x) ** 2, epsilon=0.5, debiased=True).histogram.round(4) + 0.0
    array([0., 0., 1., 0., 0.])
    """
    weights_ = check_problem(histograms, cost, weights, debiased)
    xp = namespace(histograms, cost, weights, epsilon)
    epsilon = check_epsilon(epsilon, cost)
    if tol is None:
        tol = 1e-6 if cost.dtype == xp.float64 else 1e-4
    check_limits(tol, max_steps, check_every)
    batch = check_batch(histograms, cost, weights_)
    inputs = xp.broadcast_to(histograms, (*batch, *histograms.shape[-2:]))
    wide_cost = xp.broadcast_to(cost, (*batch, *cost.shape[-2:]))
    shares = xp.broadcast_to(weights_, (*batch, weights_.shape[-1]))
    options = {"max_steps": int(max_steps), "check_every": check_every, "callback": callback, "history": history}
    made, *rest = solve(inputs, wide_cost, shares, epsilon, tol, debiased=bool(debiased), **options)
    f, g, final, steps, code, rows = map_arrays(of(cost).stop_gradient, tuple(rest))
    result = BarycenterResult(final, steps, code, rows, made, f, g)
    report(result, "transport.barycenter", tol, "A larger epsilon needs fewer steps.")
    return result
