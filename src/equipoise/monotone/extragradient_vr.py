"""The extragradient method with a snapshot, as its users call it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..arrays import A as Array_
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol
from ..record import map_arrays, plain
from . import vreg
from .adjoint import attached
from .anchored import narrowed
from .checks import check_constant, check_point, check_share, check_sum, checked_constant, first_image
from .counts import check_steps
from .draws import plan
from .finite_sum import word_key
from .resolvents import Identity
from .result import MonotoneResult
from .vr_run import concluded, run_of, watching

__all__ = ["extragradient_vr"]

METHOD = "monotone.extragradient_vr"


def start(summed: Any, resolvent: Any, u0: Any, key: Any, given: dict[str, Any]) -> tuple[Any, Any, float]:
    """The state and the task at the start, and the probability of a new residual at a step."""
    L = checked_constant(given["mean_lipschitz"], summed, "mean_lipschitz", "extragradient_vr")
    p = float(min(1.0, 2.0 / plain(summed).n) if given["refresh"] is None else given["refresh"])
    length = 0.99 * math.sqrt(p) / L if given["step"] is None else given["step"]
    task = vreg.VregTask(summed, resolvent, 1.0 / L, length, 1.0 - p, plan(p, 1, key, u0))
    image = first_image(plain(summed).full(u0), u0, "finite_sum.full")
    return vreg.begin(u0, image, task), task, p


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
        The most steps, of one sampled component at two points each, up to 2^31 - 1.

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
    Algorithm 1. Derivatives of `u` are those of :func:`halpern`, of the whole operator.

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
    check_steps(max_steps)
    theta = (finite_sum, (), resolvent)
    given = {"mean_lipschitz": narrowed(mean_lipschitz, u0), "refresh": refresh, "step": narrowed(step, u0)}
    used = u0, finite_sum, resolvent, given, tol
    u0, finite_sum, resolvent, given, tol = map_arrays(of(u0).stop_gradient, used)
    options = {
        **{"max_steps": int(max_steps), "history": history, "method": METHOD},
        "callback": watching(u0, callback, history, METHOD),
    }
    key = word_key(rng)
    run = run_of(vreg.vreg_chunk, finite_sum, resolvent, u0, key, given, tol, make=start, options=options)
    result = concluded(run, tol, METHOD)
    return replace(result, u=attached(result.u, theta, run[-1], method=METHOD))
