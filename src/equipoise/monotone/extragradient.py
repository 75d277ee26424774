"""The extragradient method, plain and anchored: two evaluations a step, for operators that are merely monotone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import A as Array_
from ..arrays import namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol
from ..iterate import iterate, repeat
from ..kernel import kernel
from ..record import map_arrays, plain, record, static
from ..result import report, settle
from .adjoint import attached
from .anchored import narrowed, wider
from .checks import check_constant, check_operator, check_point, first_image, known_constant
from .counts import total
from .halpern import check_resolved, counted
from .residuals import diverged, evaluate, residual
from .resolvents import Identity
from .result import MonotoneResult, advice

__all__ = ["ExtragradientState", "ExtragradientTask", "extragradient", "extragradient_steps"]

SHARE = 0.95  # of 1/L, beyond which neither form converges
PATIENCE = 20_000


@record
class ExtragradientState:
    """Vectors (..., d); the others are numbers of the shape of the batch."""

    u: Any
    image: Any  # F(u)
    anchor: Any
    k: Any
    error: Any
    first: Any  # the error at the start


@record
class ExtragradientTask:
    """What a step reads."""

    operator: Any
    args: Any
    resolvent: Any
    step: Any
    scale: Any
    anchored: bool = static()


def step(s: ExtragradientState, task: ExtragradientTask) -> ExtragradientState:
    """A trial step with F(u), then the step with F at the trial."""
    e, J = task.step, plain(task.resolvent)
    centre = s.u
    if task.anchored:
        share = 1.0 / (wider(s.k) + 2.0)
        centre = share * s.anchor + (1.0 - share) * s.u
    half = J(centre - e * s.image, e)
    u = J(centre - e * evaluate(task.operator, task.args, half), e)
    image = evaluate(task.operator, task.args, u)
    error = residual(u, image, task.resolvent, task.scale)
    return ExtragradientState(u, image, s.anchor, s.k + 1.0, error, s.first)


def lost(s: ExtragradientState, task: ExtragradientTask) -> Any:
    """Another reason to stop: the step is too long."""
    return diverged(s.error, s.first, namespace(s.u))


@kernel("monotone.extragradient")
def extragradient_steps(
    state: ExtragradientState, task: ExtragradientTask, limit: Any, tol: Any
) -> tuple[Any, Any, Any]:
    """`limit` steps; a kernel stops after the first whose error is not above `tol`."""
    state = repeat(step, state, task, limit)
    return state, limit, state.error


@public
def extragradient(
    operator: Any,
    u0: Array_,
    *,
    args: tuple[Any, ...] = (),
    lipschitz: Any = None,
    resolvent: Any = Identity(),  # noqa: B008
    anchored: bool = False,
    step: Any = None,
    tol: float | None = None,
    max_steps: int = 100_000,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> MonotoneResult[Array_]:
    """Find u with 0 in F(u) + G(u) for a monotone Lipschitz F, by the extragradient method.

    Take it for saddle points and equilibria whose operator is a black box. Do not take it for cocoercive operators,
    where :func:`halpern` needs half the evaluations, nor for matrix games, where :func:`matrix_game` is several times
    faster.

    Parameters
    ----------
    operator, u0, args, resolvent, tol, max_steps, check_every, callback, history
        As for :func:`halpern`; a step is two evaluations.
    lipschitz : float, optional
        L with |F u - F v| <= L |u - v|; by default that of a finite sum.
    anchored : bool
        Whether every step is pulled towards u0 with weight 1/(k+2): then the residual of the last iterate falls like
        1/k, the best possible rate; it is proven for shorter steps, and was seen with the default on all problems that
        were tried. Without it the method is often faster, but the residual is only sure to fall like 1/sqrt(k).
    step : float, optional
        The step; 0.95 / L by default.

    Returns
    -------
    MonotoneResult

    Raises
    ------
    TypeError
        If u0 is no floating-point array, or something is no operator or resolvent.
    ValueError
        If something is not finite, shapes do not fit, a constant is not positive, or neither `lipschitz` nor `step`
        is known.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end.

    Notes
    -----
    G. M. Korpelevich, 1976; anchored: T. Yoon and E. K. Ryu, "Accelerated algorithms for smooth convex-concave minimax
    problems with O(1/k^2) rate on squared gradient norm", ICML 2021, with a constant step. With a step alone, the
    residual is taken at a = `step`. Derivatives of `u` are those of :func:`halpern`.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import extragradient
    >>> rotation = np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> result = extragradient(lambda u, R: R @ u, np.ones(2), args=(rotation,), lipschitz=1.0)
    >>> result.converged, bool(abs(result.u).max() < 1e-6)
    (True, True)
    """
    check_point("u0", u0)
    operator, resolvent = check_operator(operator, args, u0, resolvent)
    check_constant("lipschitz", lipschitz)
    check_constant("step", step)
    tol = check_tol(tol, u0, 1e-6, 1e-4)
    check_limits(tol, max_steps, check_every)
    lipschitz, step, tol = narrowed(lipschitz, u0), narrowed(step, u0), narrowed(tol, u0)
    theta, given = (operator, args, resolvent), (u0, operator, args, resolvent, lipschitz, step, tol)
    u0, operator, args, resolvent, lipschitz, step, tol = map_arrays(of(u0).stop_gradient, given)
    constant = narrowed(known_constant(lipschitz, operator, "lipschitz"), u0)
    if constant is None and step is None:
        raise ValueError("extragradient needs lipschitz or step, and the operator gives neither")
    length = SHARE / constant if step is None else step
    scale = length if constant is None else 1.0 / constant
    xp = namespace(u0)
    image = first_image(evaluate(operator, args, u0), u0)
    check_resolved(resolvent, u0)
    task = ExtragradientTask(operator, args, resolvent, length, scale, bool(anchored))
    error = residual(u0, image, resolvent, scale)
    state = ExtragradientState(u0, image, u0, xp.zeros_like(error), error, error)
    options: dict[str, Any] = {
        "max_steps": int(max_steps),
        "check_every": check_every,
        "callback": callback,
        "history": history,
    }
    options["method"] = "monotone.extragradient"
    run = iterate(extragradient_steps, state, task, tol=tol, halt=lost, patience=PATIENCE, **options)
    error = xp.asarray(run.state.error)
    n = plain(operator).n if hasattr(plain(operator), "full") else 1
    code, spent = settle(error, tol, run.code), total(2 * run.steps + 1, xp.zeros_like(run.steps), n, 0, xp)
    rows = counted(run.history, n, 1, 2)
    result = MonotoneResult(error, run.steps, code, rows, run.state.u, spent, xp.zeros_like(spent))
    report(result, "monotone.extragradient", tol, advice(result))
    return replace(result, u=attached(result.u, theta, scale, method="monotone.extragradient"))
