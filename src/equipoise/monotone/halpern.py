"""Halpern's iteration, deterministic: zeros of cocoercive operators, and fixed points of nonexpansive maps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import A as Array_
from ..arrays import namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol
from ..iterate import iterate
from ..record import Opaque, map_arrays, plain
from ..result import report, settle
from .adjoint import attached
from .anchored import FORMS, Restart, check_restart, factor_of, narrowed, wider
from .checks import (
    check_cocoercive,
    check_constant,
    check_operator,
    check_point,
    check_word,
    first_image,
    known_constant,
)
from .counts import total
from .halpern_steps import HalpernTask, begin, halpern_steps, lost
from .residuals import evaluate, norm
from .resolvents import Identity
from .result import MonotoneResult, OracleHistory, advice

__all__ = ["check_resolved", "counted", "halpern"]

PATIENCE = 20_000  # steps without a new least residual


def probed(u0: Any, image: Any, task: HalpernTask) -> Any:
    """A first guess at the constant of a black box, from one more call: how F changes a little way along -F."""
    xp = namespace(u0)
    size = norm(image)
    safe = xp.where(size > 0, size, xp.ones_like(size))
    v = u0 - wider(1e-3 * (1.0 + norm(u0)) / safe) * image
    gap = norm(v - u0)
    found = norm(evaluate(task.operator, task.args, v) - image) / xp.where(gap > 0, gap, xp.ones_like(gap))
    return xp.where(found > 0, found, xp.ones_like(found))


def check_resolved(resolvent: Any, u0: Any) -> None:
    """A user's resolvent has to keep what u0 is like, as an operator has."""
    if isinstance(resolvent, Opaque):
        first_image(plain(resolvent)(u0, 1.0), u0, "resolvent")


@public
def halpern(
    operator: Any,
    u0: Array_,
    *,
    args: tuple[Any, ...] = (),
    lipschitz: Any = None,
    resolvent: Any = Identity(),  # noqa: B008  (records do not change)
    form: str = "cocoercive",
    anchoring: str = "outer",
    restart: Restart | None = Restart(0.8),  # noqa: B008
    tol: float | None = None,
    max_steps: int = 100_000,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> MonotoneResult[Array_]:
    """Find u with 0 in F(u) + G(u), or a fixed point u = T(u), by anchored iteration.

    Take it for cocoercive operators, such as gradients of convex functions and averaged maps, where the residual itself
    has to be small at the last iterate. Do not take it for a gradient, where accelerated methods are faster; nor for
    operators that are merely monotone, such as those of games: :func:`extragradient` and :func:`matrix_game` are for
    them.

    Parameters
    ----------
    operator : callable or FiniteSum
        ``operator(u, *args)``, shape (..., d) for u of shape (..., d): F, or T with ``form="nonexpansive"``. A finite
        sum is evaluated as a whole.
    u0 : array, shape (..., d)
        Where to start. Leading axes are a batch, each member with its own anchor, restarts and end.
    args : tuple
        Arrays that `operator` reads; what it closes over is not moved to another backend.
    lipschitz : float, optional
        L with <F u - F v, u - v> >= |F u - F v|^2 / L. By default that of a finite sum; for a black box it is found by
        doubling whenever two iterates contradict it.
    resolvent : Resolvent
        (I + step G)^{-1}; G = 0 by default.
    form : {"cocoercive", "nonexpansive"}
        What `operator` is: F, iterated as T = J(I - (2/L) F); or a map T with |T u - T v| <= |u - v| itself.
    anchoring : {"outer", "inner", "scaled"}
        For cocoercive operators, where the anchor is added: to T(u), the default; inside the resolvent with the step
        1/L, as variance-reduced Halpern is published; or inside it with the step of T, as :func:`halpern_vr` does.
    restart : Restart or None
        When the anchor moves; None keeps it at u0.
    tol : float, optional
        Bound on `error`: 1e-6, in float32 1e-4, by default; 0 runs all steps.
    max_steps : int
        The most steps, of one evaluation each.
    check_every : int, optional
        Steps between two looks at the error. The default leaves it to the backend.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every check. By default where that is free.

    Returns
    -------
    MonotoneResult
        `u`, its residual, and how many evaluations it took.

    Raises
    ------
    TypeError
        If u0 is no floating-point array, or something is no operator, resolvent or Restart.
    ValueError
        If something is not finite, shapes do not fit, a word is unknown, `lipschitz` is not positive, the operator is
        known not to be cocoercive, or a map is given what is for cocoercive operators.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end.

    Notes
    -----
    Without restarts ``|F(u_k)| <= L |u_0 - u*| / (k + 1)``, for T ``|u_k - T u_k| <= 2 |u_0 - u*| / (k + 1)``, and
    both are attained: F. Lieder, "On the convergence rate of the Halpern-iteration", Optim. Lett. 15, 405-418, 2021.
    On torch and jax `u` has derivatives in `args`, in the arrays of a finite sum and of the resolvent, by the implicit
    function theorem, as precisely as it is solved for. The adjoint system is solved by GMRES to 1e-8, in float32 1e-5,
    or a ConvergenceWarning tells of it. Where the solution is not unique, its least-norm solution gives the derivative
    along directions in which it is. Second derivatives, in reverse over reverse, are for unique solutions only.

    Examples
    --------
    The point of a box that is nearest to a solution of A u = b in the least-squares sense:

    >>> import numpy as np
    >>> from equipoise.monotone import Box, halpern
    >>> A, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([4.0, 1.0])
    >>> result = halpern(lambda u, A, b: A @ u - b, np.zeros(2), args=(A, b), resolvent=Box(0.0, 1.5), lipschitz=4.0)
    >>> result.converged, result.u.round(5)
    (True, array([1.5, 0. ]))
    """
    check_point("u0", u0)
    operator, resolvent = check_operator(operator, args, u0, resolvent)
    check_word("form", form, ("cocoercive", "nonexpansive"))
    check_word("anchoring", anchoring, FORMS)
    check_restart(restart)
    check_constant("lipschitz", lipschitz)
    tol = check_tol(tol, u0, 1e-6, 1e-4)
    check_limits(tol, max_steps, check_every)
    if form == "nonexpansive" and not isinstance(resolvent, Identity):
        raise ValueError("form='nonexpansive' takes no resolvent: apply it in the map")
    if form == "nonexpansive" and (lipschitz is not None or anchoring != "outer"):
        raise ValueError(
            "form='nonexpansive' takes no lipschitz and no other anchoring: they are for cocoercive operators"
        )
    lipschitz, tol = narrowed(lipschitz, u0), narrowed(tol, u0)
    theta, given = (operator, args, resolvent), (u0, operator, args, resolvent, lipschitz, restart, tol)
    u0, operator, args, resolvent, lipschitz, restart, tol = map_arrays(of(u0).stop_gradient, given)
    method = "monotone.halpern"
    if form == "nonexpansive":
        result = mapped(operator, u0, args, restart, tol, max_steps, check_every, callback, history)
        return replace(result, u=attached(result.u, theta, None, method=method))
    check_cocoercive(operator, "halpern")
    image = first_image(evaluate(operator, args, u0), u0)
    constant = narrowed(known_constant(lipschitz, operator, "lipschitz"), u0)
    check_resolved(resolvent, u0)
    task = HalpernTask(operator, args, resolvent, factor_of(restart), anchoring, constant is None)
    calls = 1
    if constant is None:
        constant, calls = probed(u0, image, task), 2
    options = {"max_steps": int(max_steps), "check_every": check_every, "callback": callback, "history": history}
    result, last = solved(begin(u0, image, task, constant), task, calls, tol, method, options)
    return replace(result, u=attached(result.u, theta, 1.0 / last, method=method))


def mapped(operator: Any, u0: Any, args: Any, restart: Any, tol: Any, *limits: Any) -> MonotoneResult[Any]:
    """The solve for a nonexpansive map."""
    task = HalpernTask(operator, args, Identity(), factor_of(restart), "map")
    image = first_image(evaluate(operator, args, u0), u0)
    options = dict(zip(("max_steps", "check_every", "callback", "history"), limits, strict=True))
    return solved(begin(u0, image, task, 1.0), task, 1, tol, "monotone.halpern", options)[0]


def counted(history: Any, n: int, calls: int, each: int = 1) -> Any:
    """A history with the calls up to each row: `calls` evaluations of n components before the loop, `each` a step."""
    if history is None:
        return None
    xp = namespace(history.step)
    spent = total(calls + each * history.step, xp.zeros_like(history.step), n, 0, xp)
    return OracleHistory(history.step, history.error, history.seconds, spent)


def solved(state: Any, task: Any, calls: int, tol: Any, method: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """The loop's result, and the constant that it ended with; `calls` evaluations were made before it."""
    xp = namespace(state.u)
    run = iterate(halpern_steps, state, task, tol=tol, halt=lost, patience=PATIENCE, method=method, **options)
    s = run.state
    n = getattr(plain(task.operator), "n", 1) if hasattr(plain(task.operator), "full") else 1
    spent = total(run.steps + calls, xp.zeros_like(run.steps), n, 0, xp)
    restarts = xp.astype(xp.asarray(s.restarts), run.steps.dtype)
    code = settle(s.error, tol, run.code)
    result = MonotoneResult(
        xp.asarray(s.error), run.steps, code, counted(run.history, n, calls), s.u, xp.asarray(spent), restarts
    )
    report(result, method, tol, advice(result))
    return result, s.lipschitz
