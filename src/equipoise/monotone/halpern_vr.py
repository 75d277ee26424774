"""Variance-reduced Halpern iteration, as its users call it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import A as Array_
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol
from ..record import map_arrays, plain
from .adjoint import attached
from .anchored import Restart, check_restart, narrowed
from .checks import check_cocoercive, check_constant, check_point, check_share, check_sum, check_word
from .counts import check_steps, countable
from .finite_sum import word_key
from .resolvents import Identity
from .result import MonotoneResult
from .vr_forms import FORMS
from .vr_run import concluded, run_of, watching

__all__ = ["halpern_vr"]

METHOD = "monotone.halpern_vr"


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
    restart: Restart | None = Restart(0.7),  # noqa: B008
    tol: float | None = None,
    max_steps: int = 10_000_000,
    max_oracle_calls: int | None = None,
    rng: Any = 0,
    callback: Any = None,
    history: bool | None = None,
) -> MonotoneResult[Array_]:
    """Find u with 0 in (1/n) sum_i F_i(u) + G(u), reading a few components a step.

    Take it for large sums of cocoercive operators that are no gradients, such as those of robust and of constrained
    regression; for n = 20 000 rows it needs a sixtieth of the evaluations of the deterministic :func:`halpern`. Do not
    take it where a few components are far larger than all others, so that L is above sqrt(n) L_F: samples then say
    little, and :func:`halpern` is as good. Do not take it to minimise a function: accelerated and variance-reduced
    gradient methods do as well or better. Do not take it for dense games: on simplices every sampled step costs a
    projection, and :func:`matrix_game` is faster by far.

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
        The probability of evaluating all of F at a step, in (0, 1]: 1/(2 sqrt(n)), in theory 4/(k+4) and then
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
        The most steps, up to 2^31 - 1; in the mode lipschitz inner ones are counted.
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
    Derivatives of `u` are those of :func:`halpern`, of the whole operator.

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
    check_steps(max_steps)
    if mode == "cocoercive":
        check_cocoercive(finite_sum, "halpern_vr")
    theta = (finite_sum, (), resolvent)
    given = {
        **{"lipschitz": narrowed(lipschitz, u0), "mean_lipschitz": narrowed(mean_lipschitz, u0)},
        **{"batch": batch, "refresh": refresh, "step": narrowed(step, u0)},
        **{"inner": inner, "restart": restart, "schedule": schedule, "budget": countable(max_oracle_calls, u0)},
    }
    used = u0, finite_sum, resolvent, given, tol
    u0, finite_sum, resolvent, given, tol = map_arrays(of(u0).stop_gradient, used)
    options = {
        **{"max_steps": int(max_steps), "history": history, "method": METHOD},
        "callback": watching(u0, callback, history, METHOD),
    }
    advance, make = FORMS[mode if mode == "lipschitz" else schedule]
    run = run_of(advance, finite_sum, resolvent, u0, word_key(rng), given, tol, make=make, options=options)
    result = concluded(run, tol, METHOD)
    return replace(result, u=attached(result.u, theta, run[-1], method=METHOD))
