"""Variance-reduced Halpern iteration: which of its forms runs, with which constants, and what it reports."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..arrays import A as Array_
from ..arrays import like, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol
from ..iterate import iterate
from ..record import map_arrays, plain
from ..result import Status, report, settle
from . import forb, page, vreg
from .adjoint import attached
from .anchored import NEVER, Restart, check_restart, factor_of, moved
from .checks import (
    check_cocoercive,
    check_constant,
    check_point,
    check_share,
    check_sum,
    check_word,
    checked_constant,
    first_image,
    known_constant,
)
from .draws import plan
from .finite_sum import word_key
from .residuals import diverged
from .resolvents import Identity
from .result import MonotoneResult, OracleHistory

__all__ = ["extragradient_vr", "halpern_vr"]

INNER = 0.05  # of n + sqrt(n) (c L + 1) inner steps, times log(k + 2): as in the authors' experiments
PATIENCE = 400  # refreshes without a new least residual


def check_batch(batch: Any, n: int) -> None:
    """A whole number in 1..n, or None."""
    if batch is None:
        return
    if isinstance(batch, bool) or not hasattr(batch, "__index__"):
        raise TypeError(f"batch must be None or a whole number, got {type(batch).__name__}")
    if not 1 <= batch <= n:
        raise ValueError(f"batch must lie in 1..{n}, the number of components, got {batch}")


def check_budget(budget: Any) -> None:
    """A whole number of calls, or None."""
    if budget is None:
        return
    if isinstance(budget, bool) or not hasattr(budget, "__index__"):
        raise TypeError(f"max_oracle_calls must be None or a whole number, got {type(budget).__name__}")
    if budget < 1:
        raise ValueError(f"max_oracle_calls must be None or at least 1, got {budget}")


def whole(x: Any, xp: Any) -> Any:
    """Counters as the widest whole numbers that the library has."""
    wide = "int64" in xp.__array_namespace_info__().dtypes(kind="signed integer")
    return xp.astype(xp.asarray(x), xp.int64 if wide else xp.int32)


def calls_of(state: Any, task: Any) -> Any:
    """Components evaluated so far: n a full evaluation, two for every sampled difference."""
    n, b = int(plain(task.summed).n), task.draws.batch
    xp = namespace(state.image if hasattr(state, "image") else state.g)
    fulls, steps = whole(state.number, xp), whole(state.t, xp)
    sampled = steps - fulls if isinstance(state, page.PageState) else steps
    return n * (1 + fulls) + 2 * b * sampled


def counted(history: Any, state: Any, task: Any, calls: Any) -> Any:
    """A history with the calls up to each row, which all but the last end with a full evaluation."""
    if history is None:
        return None
    xp = namespace(history.step)
    n, b = int(plain(task.summed).n), task.draws.batch
    fulls = xp.arange(history.step.shape[0], **like(history.step))
    sampled = history.step - fulls if isinstance(state, page.PageState) else history.step
    before = (n * (1 + fulls) + 2 * b * sampled)[:-1]
    last = xp.reshape(xp.astype(xp.max(calls), before.dtype), (1,))
    return OracleHistory(history.step, history.error, history.seconds, xp.concat([before, last]))


def silent(info: Any) -> None:
    """A callback that keeps the loop on the host, where histories of unknown length are written."""


def watching(u0: Any, callback: Any, history: Any, method: str) -> Any:
    """The callback, or one that does nothing where a history was asked for."""
    if callback is not None or not history:
        return callback
    if of(u0).traced([u0]):
        raise TypeError(f"{method}: history=True needs values, and under a jax transformation there are none")
    return silent


def ended(state: Any, data: Any) -> Any:
    """Another reason to stop: the budget is used up, or the step is too long."""
    task, budget = data
    xp = namespace(state.u)
    code = diverged(state.error, state.reference, xp)
    if budget is not None:
        used = xp.asarray(calls_of(state, task) >= budget)
        code = moved(used, xp.full_like(code, int(Status.MAX_ORACLE_CALLS)), code)
    return code


def page_on(state: Any, data: Any, limit: Any, tol: Any) -> Any:
    """A chunk, of data that hold a budget too."""
    return page.page_chunk(state, data[0], limit, tol)


def forb_on(state: Any, data: Any, limit: Any, tol: Any) -> Any:
    """A chunk, of data that hold a budget too."""
    return forb.forb_chunk(state, data[0], limit, tol)


def vreg_on(state: Any, data: Any, limit: Any, tol: Any) -> Any:
    """A chunk, of data that hold a budget too."""
    return vreg.vreg_chunk(state, data[0], limit, tol)


def concluded(run: Any, task: Any, u: Any, restarts: Any, tol: Any, method: str) -> MonotoneResult[Any]:
    """The result of a loop that ended in u."""
    s = run.state
    xp = namespace(u)
    calls = xp.asarray(calls_of(s, task))
    moves = xp.astype(xp.asarray(restarts), run.steps.dtype)
    code = settle(s.error, tol, run.code)
    rows = counted(run.history, s, task, calls)
    result = MonotoneResult(xp.asarray(s.error), run.steps, code, rows, u, calls, moves)
    report(result, method, tol)
    return result


# ---------------------------------------------------------------------------------------------------------------------
# The forms


def published(summed: Any, resolvent: Any, u0: Any, key: Any, given: dict[str, Any]) -> tuple[Any, Any, float]:
    """Algorithm 1 of the paper; the state, the task, and the probability of a refresh."""
    n = int(plain(summed).n)
    root = math.sqrt(n)
    L = checked_constant(given["mean_lipschitz"], summed, "mean_lipschitz", "schedule='theory'")
    full = known_constant(given["lipschitz"], summed, "lipschitz")
    p, first = given["refresh"], 0
    if p is None:
        p, first = 4.0 / (root + 5.0), math.floor(root) + 1
    draws = plan(float(p), int(given["batch"] or math.ceil(root)), key, u0)
    scale = 1.0 / (L if full is None else full)
    task = page.PageTask(summed, resolvent, NEVER, scale, draws, "inner", first, False)
    image = first_image(plain(summed).full(u0), u0, "finite_sum.full")
    step = 0.25 / L if given["step"] is None else given["step"]
    return page.begin(u0, image, task, step), task, float(p)


def practical(summed: Any, resolvent: Any, u0: Any, key: Any, given: dict[str, Any]) -> tuple[Any, Any, float]:
    """The restarted form, with the step of the whole operator."""
    n = int(plain(summed).n)
    root = math.sqrt(n)
    L = checked_constant(given["lipschitz"], summed, "lipschitz", "schedule='restarted'")
    p = float(1.0 / root if given["refresh"] is None else given["refresh"])
    draws = plan(p, int(given["batch"] or math.ceil(root / 4.0)), key, u0)
    task = page.PageTask(summed, resolvent, factor_of(given["restart"]), 1.0 / L, draws, "scaled")
    image = first_image(plain(summed).full(u0), u0, "finite_sum.full")
    step = 2.0 / L if given["step"] is None else given["step"]
    return page.begin(u0, image, task, step), task, p


def nested(summed: Any, resolvent: Any, u0: Any, key: Any, given: dict[str, Any]) -> tuple[Any, Any, float]:
    """Algorithm 2 of the paper, with or without restarts; instead of the probability, that of a new residual."""
    n = int(plain(summed).n)
    root = math.sqrt(n)
    L = checked_constant(given["mean_lipschitz"], summed, "mean_lipschitz", "mode='lipschitz'")
    full = known_constant(given["lipschitz"], summed, "lipschitz")
    p = float(1.0 / n if given["refresh"] is None else given["refresh"])
    c = root / L
    gamma = given["step"]
    if gamma is None:
        gamma = math.sqrt(p * (1.0 - p)) / (2.0 * (root + 1.0))  # c L = sqrt(n)
        if gamma == 0.0:
            raise ValueError("with refresh=1, or a single component, the default step is 0: pass step")
    share = INNER if given["inner"] is None else given["inner"]
    length = share * (n + root * (root + 1.0))
    factor = factor_of(given["restart"] if given["schedule"] == "restarted" else None)
    scale = 1.0 / (L if full is None else full)
    draws = plan(p, int(given["batch"] or 1), key, u0)
    task = forb.ForbTask(summed, resolvent, factor, scale, c, gamma, 1.0 - p, length, draws)
    image = first_image(plain(summed).full(u0), u0, "finite_sum.full")
    return forb.begin(u0, image, task), task, min(p, 0.2 / length)


@public
def halpern_vr(
    finite_sum: Any,
    u0: Array_,
    *,
    mode: str = "cocoercive",
    schedule: str = "restarted",
    lipschitz: Any = None,
    mean_lipschitz: Any = None,
    resolvent: Any = Identity(),  # noqa: B008
    batch: int | None = None,
    refresh: float | None = None,
    step: Any = None,
    inner: float | None = None,
    restart: Restart | None = Restart(),  # noqa: B008
    tol: float | None = None,
    max_steps: int = 10_000_000,
    max_oracle_calls: int | None = None,
    rng: Any = 0,
    callback: Any = None,
    history: bool | None = None,
) -> MonotoneResult[Array_]:
    """Find u with 0 in (1/n) sum_i F_i(u) + G(u), reading a few components a step.

    Take it for large sums of cocoercive operators that are no gradients, such as those of robust and of constrained
    regression; for n = 20 000 rows it needs a fiftieth of the evaluations of the deterministic :func:`halpern`. Do not
    take it to minimise a function: accelerated and variance-reduced gradient methods do as well or better. Do not take
    it for dense games: on simplices every sampled step costs a projection, and :func:`matrix_game` is faster by far.

    Parameters
    ----------
    finite_sum : FiniteSum
        Such as :class:`LogisticGradient`, or what :func:`components` makes of a function.
    u0 : array, shape (..., d)
        Where to start. Leading axes are a batch, which shares its samples.
    mode : {"cocoercive", "lipschitz"}
        What is known of the sum: on average cocoercive; or monotone, and on average Lipschitz continuous.
    schedule : {"restarted", "theory"}
        The form that is fast, or the one that was published and has a proof.
    lipschitz : float, optional
        L_F of the whole operator, by default that of `finite_sum`; needed by the restarted form, and the scale 1/a of
        the residual (for the others `mean_lipschitz`, where it is unknown).
    mean_lipschitz : float, optional
        L of the components on average, by default that of `finite_sum`; needed by the other forms.
    resolvent : Resolvent
        (I + step G)^{-1}; G = 0 by default.
    batch : int, optional
        Components a step: ceil(sqrt(n) / 4), in theory ceil(sqrt(n)), in the mode lipschitz 1.
    refresh : float, optional
        The probability of evaluating all of F at a step, in (0, 1]: 1/sqrt(n), in theory 4/(k+4) and then
        4/(sqrt(n)+5), in the mode lipschitz 1/n.
    step : float, optional
        2 / L_F; in theory 1 / (4 L); in the mode lipschitz that of the inner loop, sqrt(p (1-p)) / (2 (sqrt(n) + 1)).
    inner : float, optional
        In the mode lipschitz the length of the inner loops, as a share of n + sqrt(n) (sqrt(n) + 1), times log(k+2).
        0.05 by default, as in the authors' experiments.
    restart : Restart or None
        When the anchor moves; not used in theory.
    tol : float, optional
        Bound on `error`, which is known wherever all of F is evaluated: 1e-6, in float32 1e-4, by default.
    max_steps : int
        The most steps; in the mode lipschitz inner ones are counted.
    max_oracle_calls : int, optional
        Evaluations of components after which the method stops, at the next full evaluation.
    rng : int or numpy.random.Generator
        The seed. One seed gives the same samples on every backend.
    callback : callable, optional
        Called at every full evaluation with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error, seconds and calls at every full evaluation. By default where that is free; not under a jax
        transformation.

    Returns
    -------
    MonotoneResult

    Raises
    ------
    TypeError
        If u0 is no floating-point array, or something is no finite sum, resolvent or Restart.
    ValueError
        If something is not finite, shapes do not fit, a word is unknown, a number is out of its range, a constant is
        needed that neither the call nor the sum gives, or the sum is known not to be cocoercive and the mode asks for
        it.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end.

    Notes
    -----
    X. Cai, A. Alacaoglu and J. Diakonikolas, "Variance Reduced Halpern Iteration for Finite-Sum Monotone Inclusions",
    ICLR 2024: Algorithm 1 (theory, cocoercive) and Algorithm 2 (lipschitz). The gain over deterministic methods exists
    where L << sqrt(n) L_F, and at equal step is at most sqrt(n) / 6 in the published form.
    Derivatives of `u` are those of :func:`halpern`, of the whole operator; in the mode lipschitz there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import RobustLeastSquares, halpern_vr
    >>> rng = np.random.default_rng(0)
    >>> A, b = rng.normal(size=(400, 3)), rng.normal(size=400)
    >>> result = halpern_vr(RobustLeastSquares(A, b), np.zeros(403), tol=1e-4)
    >>> result.converged, bool(abs(result.u[:3] - np.linalg.lstsq(A, b, rcond=None)[0]).max() < 1e-4)
    (True, True)
    """
    check_point("u0", u0)
    finite_sum, resolvent = check_sum(finite_sum, u0, resolvent)
    check_word("mode", mode, ("cocoercive", "lipschitz"))
    check_word("schedule", schedule, ("restarted", "theory"))
    for name, x in (("lipschitz", lipschitz), ("mean_lipschitz", mean_lipschitz), ("step", step), ("inner", inner)):
        check_constant(name, x)
    check_batch(batch, int(plain(finite_sum).n))
    check_share("refresh", refresh)
    check_restart(restart)
    check_budget(max_oracle_calls)
    tol = check_tol(tol, u0, 1e-6, 1e-4)
    check_limits(tol, max_steps, None)
    if mode == "cocoercive":
        check_cocoercive(finite_sum, "halpern_vr")
    theta = (finite_sum, (), resolvent)
    u0, finite_sum, resolvent = map_arrays(of(u0).stop_gradient, (u0, finite_sum, resolvent))
    given = {
        **{"lipschitz": lipschitz, "mean_lipschitz": mean_lipschitz, "batch": batch, "refresh": refresh, "step": step},
        **{"inner": inner, "restart": restart, "schedule": schedule},
    }
    make = nested if mode == "lipschitz" else practical if schedule == "restarted" else published
    state, task, p = make(finite_sum, resolvent, u0, word_key(rng), given)
    run = iterate(
        forb_on if mode == "lipschitz" else page_on,
        state,
        (task, max_oracle_calls),
        tol=tol,
        max_steps=max_steps,
        check_every=int(max_steps),
        halt=ended,
        patience=math.ceil(PATIENCE / p),
        callback=watching(u0, callback, history, "monotone.halpern_vr"),
        history=history,
        method="monotone.halpern_vr",
    )
    result = concluded(run, task, run.state.u, run.state.restarts, tol, "monotone.halpern_vr")
    return result if mode == "lipschitz" else replace(result, u=attached(result.u, theta, task.scale))


@public
def extragradient_vr(
    finite_sum: Any,
    u0: Array_,
    *,
    mean_lipschitz: Any = None,
    resolvent: Any = Identity(),  # noqa: B008
    refresh: float | None = None,
    step: Any = None,
    tol: float | None = None,
    max_steps: int = 10_000_000,
    rng: Any = 0,
    callback: Any = None,
    history: bool | None = None,
) -> MonotoneResult[Array_]:
    """Find u with 0 in (1/n) sum_i F_i(u) + G(u) for a monotone sum, by the extragradient method with a snapshot.

    A baseline for :func:`halpern_vr`. Do not take it for dense games: see :func:`matrix_game`.

    Parameters
    ----------
    finite_sum, u0, resolvent, tol, rng, callback, history
        As for :func:`halpern_vr`.
    mean_lipschitz : float, optional
        L of the components on average; by default that of `finite_sum`.
    refresh : float, optional
        The probability that the snapshot moves at a step, in (0, 1]: 2/n by default.
    step : float, optional
        0.99 sqrt(p) / L by default.
    max_steps : int
        The most steps, of one sampled component at two points each.

    Returns
    -------
    MonotoneResult
        `u` is the last snapshot; the scale of `error` is a = 1/L.

    Raises
    ------
    TypeError, ValueError
        As for :func:`halpern_vr`.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end.

    Notes
    -----
    A. Alacaoglu and Y. Malitsky, "Stochastic variance reduction for variational inequality methods", COLT 2022,
    Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import QuadraticMinMax, extragradient_vr
    >>> problem = QuadraticMinMax(np.eye(4), np.eye(4), np.ones(4), np.zeros(4))
    >>> result = extragradient_vr(problem, np.zeros(8), tol=1e-4)
    >>> result.converged, result.u.round(3) + 0.0
    (True, array([ 0.,  0.,  0.,  0., -1., -1., -1., -1.]))
    """
    check_point("u0", u0)
    finite_sum, resolvent = check_sum(finite_sum, u0, resolvent)
    check_constant("mean_lipschitz", mean_lipschitz)
    check_constant("step", step)
    check_share("refresh", refresh)
    tol = check_tol(tol, u0, 1e-6, 1e-4)
    check_limits(tol, max_steps, None)
    u0, finite_sum, resolvent = map_arrays(of(u0).stop_gradient, (u0, finite_sum, resolvent))
    L = checked_constant(mean_lipschitz, finite_sum, "mean_lipschitz", "extragradient_vr")
    p = float(min(1.0, 2.0 / plain(finite_sum).n) if refresh is None else refresh)
    length = 0.99 * math.sqrt(p) / L if step is None else step
    draws = plan(p, 1, word_key(rng), u0)
    task = vreg.VregTask(finite_sum, resolvent, 1.0 / L, length, 1.0 - p, draws)
    image = first_image(plain(finite_sum).full(u0), u0, "finite_sum.full")
    run = iterate(
        vreg_on,
        vreg.begin(u0, image, task),
        (task, None),
        tol=tol,
        max_steps=max_steps,
        check_every=int(max_steps),
        patience=math.ceil(PATIENCE / p),
        callback=watching(u0, callback, history, "monotone.extragradient_vr"),
        history=history,
        method="monotone.extragradient_vr",
    )
    none = 0.0 * run.state.error
    return concluded(run, task, run.state.snapshot, none, tol, "monotone.extragradient_vr")
