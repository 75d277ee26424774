"""Descent along preconditioned gradients, with the curvature learned from one product with the Hessian a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import A as Array_
from ..arrays import is_floating, library, like, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..checks import check_limits, values
from ..iterate import Options, iterate, python_loop, stepwise
from ..record import Opaque, map_arrays, plain, record, static
from ..result import Status, report, settle
from .checks import as_array, check_like, check_number
from .common import narrow
from .draws import whole
from .fit import check_psgd, given_or_new
from .optimizer import Clip, check_clip, check_momentum, directed, drawn, refreshed
from .psgd import Psgd, psgd
from .result import MinimizeResult

__all__ = ["minimize"]

WINDOW = 32  # steps over which errors of batches are averaged
ADVICE = "Lower learning_rate, or, for a smooth function that is known exactly, take L-BFGS."


@record
class Task:
    """What a run reads."""

    fun: Any
    grad: Any
    hvp: Any
    rate: Any
    settings: Psgd = static()
    momentum: float = static()
    clip: Clip = static()


@record
class State:
    """Where a run is: the point, its gradient (of the last batch), momentum, preconditioner, steps, last errors."""

    x: Any
    g: Any
    m: Any
    inner: Any
    t: Any
    recent: Any


@public
def minimize(
    fun: Callable[..., Any],
    x0: Array_,
    *,
    grad: Callable[..., Any] | None = None,
    hvp: Callable[..., Any] | None = None,
    preconditioner: Psgd | None = None,
    learning_rate: float | Callable[[Any], Any] = 1.0,
    momentum: float = 0.0,
    clip: float | tuple[float, float] | None = 1.0,
    batch: Callable[[int], Any] | None = None,
    tol: float = 1e-6,
    max_steps: int = 2000,
    rng: Any = 0,
    callback: Any = None,
    init: Any = None,
    check_every: int | None = None,
    history: bool | None = None,
) -> MinimizeResult[Array_]:
    """Minimise a function along preconditioned gradients: one gradient and one Hessian-vector product a step.

    Take it where gradients are noisy, as those of minibatches are. Do not take it for a smooth function that is known
    exactly: L-BFGS with a line search is done with Rosenbrock's function in tens of evaluations, where this takes
    thousands of steps.

    Parameters
    ----------
    fun : callable
        ``fun(x)`` gives a number; ``fun(x, data)`` with `batch`.
    x0 : array
        Where to start.
    grad : callable, optional
        ``grad(x)`` or ``grad(x, data)``. Without it torch and jax differentiate `fun`.
    hvp : callable, optional
        ``hvp(x, v)`` or ``hvp(x, v, data)``. Without it, a difference of gradients of the same data.
    preconditioner : Psgd, optional
        ``psgd(form="quad")`` by default.
    learning_rate : float or callable
        A number, or a function of the step 0, 1, ...
    momentum : float, in [0, 1)
        Of the gradients, before they are preconditioned.
    clip : float, pair or None
        Bound of the root mean square of a direction, and of its entries.
    batch : callable, optional
        ``batch(k)`` gives the data of step k = 0, 1, ...: any object. Steps are taken one by one in Python then.
    tol : float
        Bound on `error`; 0 runs all steps.
    max_steps : int
        The most steps.
    rng : int or numpy.random.Generator
        The seed of the vectors.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    init : MinimizeResult or state, optional
        A preconditioner to start from.
    check_every : int, optional
        Steps between two looks at the error.
    history : bool, optional
        Record step, error and seconds at every check. By default where that is free.

    Returns
    -------
    MinimizeResult

    Raises
    ------
    TypeError, ValueError
        If x0 is no floating array, a setting is out of its range, or there is neither `grad` nor a library that
        differentiates.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end.

    Notes
    -----
    O. Pooladzandi and X. Li, arXiv:2402.04553. No derivative goes through a run.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.precondition import minimize
    >>> A = np.diag([1.0, 5.0, 20.0])
    >>> b = np.ones(3)
    >>> fun, grad = lambda x: 0.5 * x @ A @ x - b @ x, lambda x: A @ x - b
    >>> result = minimize(fun, np.zeros(3), grad=grad, hvp=lambda x, v: A @ v)
    >>> result.converged, np.round(result.x, 5)
    (True, array([1.  , 0.2 , 0.05]))
    """
    p = psgd(form="quad") if preconditioner is None else preconditioner
    check_psgd(p)
    check_like(x0, "x0")
    check_functions(fun, x0, grad=grad, hvp=hvp, batch=batch)
    rate = learning_rate if callable(learning_rate) else check_number("learning_rate", learning_rate, "at least 0", 0.0)
    momentum, clip = check_momentum(momentum), check_clip(clip)
    check_limits(tol, max_steps, check_every)
    x0 = of(x0).stop_gradient(x0)
    task = Task(
        Opaque(fun),
        None if grad is None else Opaque(grad),
        None if hvp is None else Opaque(hvp),
        Opaque(rate) if callable(rate) else rate,
        p,
        momentum,
        clip,
    )
    xp = namespace(x0)
    nothing, count = xp.zeros_like(x0), xp.zeros((), **{**like(x0), "dtype": whole(xp)})
    recent = xp.zeros((WINDOW,), **like(x0))
    start = State(x0, nothing, nothing, given_or_new(p, x0, init, rng), count, recent)
    name = "precondition.minimize"
    keywords = {"tol": tol, "max_steps": int(max_steps), "halt": lost, "callback": callback, "history": history}
    data: tuple[Any, ...] = ()
    if batch is None:
        value_of(fun(x0), x0)
        start = replace(start, g=slope(task, x0))
        every = check_every or (1 if callback is not None else 10)
        run = iterate(stepwise(step, error), start, task, check_every=every, method=name, **keywords)
        final = error(run.state, task)
    else:
        batches = Batches(batch, int(max_steps))
        options = Options(aim=tol, check_every=check_every or 1, patience=None, method=name, nested=False, **keywords)
        run = python_loop(of(x0), batches, start, task, options)
        data, final = batches.data, mean_error(run.state)
    state = map_arrays(of(x0).stop_gradient, run.state)
    value = value_of(fun(state.x, *data), x0)
    code = settle(final, tol, run.code)
    lost_value = xp.asarray(~xp.isfinite(value))
    code = xp.where(lost_value, xp.zeros_like(code) + int(Status.NOT_FINITE), code)
    result: MinimizeResult[Array_] = MinimizeResult(
        *(final, run.steps, code, run.history, state.x, value, state.g, state.inner),
        products=hvp is not None,
        batched=batch is not None,
    )
    seen = values(lost_value)
    report(result, name, tol, ADVICE, reason="fun is not finite at the last point." if seen else "")
    return result


def check_functions(fun: Any, x: Any, **others: Any) -> None:
    """Functions that can be called, and a gradient where the library makes none."""
    for name, f in (("fun", fun), *others.items()):
        if not callable(f) and (f is not None or name == "fun"):
            raise TypeError(f"{name} must be callable, got {type(f).__name__}")
    if others["grad"] is None and library(x) not in ("torch", "jax"):
        raise TypeError(f"grad must be given, since {library(x)} arrays carry no derivatives; torch and jax arrays do")
    if others["batch"] is not None and of(x).traced([x]):
        raise TypeError("batch is called once a step, and under a jax transformation there is no such moment")


# ---------------------------------------------------------------------------------------------------------------------
# A step


def slope(task: Task, x: Any, *data: Any) -> Any:
    """The gradient at x."""
    grad, xp = plain(task.grad), namespace(x)
    if grad is None:
        fun = plain(task.fun)
        value, pull = of(x).vjp_of(lambda x: fun(x, *data), x)
        value_of(value, x)
        return of(x).stop_gradient(pull(xp.ones_like(value))[0])
    return checked("grad", grad(x, *data), x)


def product(task: Task, x: Any, g: Any, v: Any, *data: Any) -> Any:
    """H v, from `hvp` or as a difference of gradients."""
    hvp, xp = plain(task.hvp), namespace(x)
    if hvp is not None:
        return checked("hvp", hvp(x, v, *data), x)
    ratio = xp.sqrt(xp.asarray(xp.sum(x * x)) / xp.asarray(xp.sum(v * v)))
    e = (float(xp.finfo(x.dtype).eps) / 2) ** 0.5 * xp.maximum(ratio, xp.ones_like(ratio))
    return xp.asarray((slope(task, xp.asarray(x + e * v), *data) - g) / e)


def value_of(out: Any, x: Any) -> Any:
    """What fun gave, if it is one real number, as an array without its derivative."""
    xp = namespace(x)
    if not library(out):
        if isinstance(out, bool) or not isinstance(out, (int, float, np.integer, np.floating)):
            raise TypeError(f"fun must return a number, got {type(out).__name__}")
        return xp.asarray(float(out), **like(x))
    namespace(out, x)
    if tuple(out.shape) != ():
        raise ValueError(f"fun must return a number, got shape {shape_text(out)}")
    if not is_floating(out):
        raise TypeError(f"fun must return a real floating-point number, got dtype {out.dtype}")
    return xp.asarray(of(x).stop_gradient(out))


def rate_at(rate: Any, s: State) -> Any:
    """The learning rate of a step, never wider than x."""
    if not callable(rate):
        return rate
    found = rate(s.t)
    if library(found):
        if tuple(found.shape) != ():
            raise ValueError(f"learning_rate must return a number, got shape {shape_text(found)}")
        return narrow(found, s.x)
    if isinstance(found, bool) or not isinstance(found, (int, float, np.integer, np.floating)):
        raise TypeError(f"learning_rate must return a number, got {type(found).__name__}")
    return float(found)


def checked(name: str, out: Any, x: Any) -> Any:
    """What a user's function gave, if it is of the shape and dtype of x."""
    out = as_array(out, x)
    if not library(out):
        raise TypeError(f"{name} must return an array, got {type(out).__name__}")
    namespace(out, x)
    if tuple(out.shape) != tuple(x.shape):
        raise ValueError(f"{name} must return shape {shape_text(x)}, that of x0, got {shape_text(out)}")
    if out.dtype != x.dtype:
        raise TypeError(f"{name} must return dtype {x.dtype}, that of x0, got {out.dtype}")
    return of(x).stop_gradient(out)


def forward(s: State, task: Task, *data: Any) -> State:
    """x and the preconditioner after one step from a known gradient."""
    xp = namespace(s.x)
    v = drawn(s.inner, s.x)
    inner = refreshed(task.settings, s.inner, v, product(task, s.x, s.g, v, *data))
    t = xp.asarray(s.t + 1)
    m, u = directed(task.settings, inner, s.m, s.g, t, momentum=task.momentum, clip=task.clip)
    x = xp.asarray(s.x - rate_at(plain(task.rate), s) * u)
    return replace(s, x=x, m=m, inner=inner, t=t)


def step(s: State, task: Task) -> State:
    """One step, and the gradient where it led."""
    s = forward(s, task)
    return replace(s, g=slope(task, s.x))


def error(s: State, task: Task) -> Any:
    """max |gradient|."""
    xp = namespace(s.g)
    return xp.asarray(xp.max(xp.abs(s.g)))


def lost(s: State, task: Task) -> Any:
    """Whether x is no longer finite."""
    xp = namespace(s.x)
    bad = ~xp.asarray(xp.all(xp.isfinite(s.x)))
    code = xp.zeros((), **{**like(s.x), "dtype": xp.int32})
    return xp.where(bad, code + int(Status.NOT_FINITE), code)


# ---------------------------------------------------------------------------------------------------------------------
# Batches


class Batches:
    """Steps one by one, each with its own data, which only Python knows how to get."""

    def __init__(self, batch: Callable[[int], Any], max_steps: int) -> None:
        self.batch, self.k, self.least = batch, 0, min(WINDOW, max_steps)
        self.data: tuple[Any, ...] = ()

    def __call__(self, s: State, task: Task, limit: int, tol: Any) -> tuple[State, int, Any]:
        xp = namespace(s.x)
        for _ in range(limit):
            self.data = (self.batch(self.k),)
            s = replace(s, g=slope(task, s.x, *self.data))
            recent = xp.concat([xp.reshape(error(s, task), (1,)), s.recent[:-1]])
            s = replace(forward(s, task, *self.data), recent=recent)
            self.k += 1
        far = xp.asarray(float("inf"), **like(s.x))
        return s, limit, mean_error(s) if self.k >= self.least else far


def mean_error(s: State) -> Any:
    """The mean of the last 32 errors, or of those that there are."""
    xp = namespace(s.recent)
    known = narrow(xp.clip(s.t, 1, WINDOW), s.recent)
    return xp.asarray(xp.sum(s.recent) / known)
