"""Fitting a preconditioner to a symmetric matrix that is known by its products only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arrays import A as Array_
from ..arrays import library, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol
from ..iterate import iterate, repeat
from ..record import Opaque, leaves, map_arrays, plain, record, static
from ..result import Status, report, settle
from .checks import as_array, check_like, check_whole, taken
from .draws import Purpose, normals
from .kinds import KINDS, shape_of, size_of
from .moving import advanced
from .psgd import Psgd, psgd
from .result import HessianFit

__all__ = ["fit_hessian"]

CHUNK = 128  # products that are held at a time
PATIENCE = 5000  # pairs without a new least error
STALLED = f"The error found no new minimum for {PATIENCE} pairs or more: the step is too large for this matrix."
ADVICE = (
    "Lower the step of the preconditioner or rescale the problem; take form='eq', or 'procrustes' with step=0.1, for "
    "condition numbers above 100, and an Annealed step where H is indefinite or its products are noisy."
)


@record
class Task:
    """What a fit reads: the products, one vector for their shape, and settings."""

    hvp: Any
    like: Any
    settings: Psgd = static()
    probes: int = static()


@public
def fit_hessian(
    hvp: Callable[[Any], Any],
    like: Array_,
    *,
    preconditioner: Psgd | None = None,
    tol: float | None = None,
    max_steps: int = 20_000,
    check_every: int | None = 100,
    probes: int = 4,
    rng: Any = 0,
    init: Any = None,
    callback: Any = None,
    history: bool | None = None,
) -> HessianFit[Array_]:
    """Fit P to |H|^{-1} from products with H at normal vectors.

    Take it for a matrix that is only known by its products, noisy ones too, to precondition a solver or to start an
    optimizer. Do not take it for a matrix that can be factorised, nor for a condition number of 1e4 or more, of which
    :func:`psgd` says what came. For a definite H the error falls to rounding (with ``damping=0``; else to about that);
    for an indefinite one, or products with noise, it hovers above zero unless the step falls as :class:`Annealed` does.

    Parameters
    ----------
    hvp : callable
        ``hvp(v)`` gives H v, H symmetric, for v of the shape of `like`. On jax it has to be traceable.
    like : array
        Its shape, dtype, library and device are those of the vectors.
    preconditioner : Psgd, optional
        What is fitted: ``psgd()``, a dense one, by default.
    tol : float, optional
        Bound on `error`: 1e-6, in float32 2e-5, by default; 0 runs all steps.
    max_steps : int
        The most pairs.
    check_every : int, optional
        Pairs between two looks at the error.
    probes : int
        Fresh vectors for each look; two products each.
    rng : int or numpy.random.Generator
        The seed of all vectors.
    init : HessianFit or state, optional
        Where to start.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every check. By default where that is free.

    Returns
    -------
    HessianFit

    Raises
    ------
    TypeError, ValueError
        If `like` is no floating array, or `hvp` gives something of another shape or dtype.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end: the step may be too large, or the matrix too badly scaled.

    Notes
    -----
    The criterion and the updates are those of X. Li, arXiv:2402.11858. No derivative goes through a fit.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.precondition import fit_hessian, psgd
    >>> H = np.array([[4.0, 1.0], [1.0, 0.5]])
    >>> fit = fit_hessian(lambda v: H @ v, np.zeros(2), preconditioner=psgd(form="procrustes", step=0.25))
    >>> fit.converged, bool(np.abs(fit.preconditioner @ H - np.eye(2)).max() < 1e-5)
    (True, True)
    """
    p = psgd() if preconditioner is None else preconditioner
    check_psgd(p)
    check_like(like)
    if not callable(hvp):
        raise TypeError(f"hvp must be callable, got {type(hvp).__name__}")
    check_whole("probes", probes)
    tol = check_tol(tol, like, 1e-6, 2e-5)
    check_limits(tol, max_steps, check_every)
    like = of(like).stop_gradient(like)
    state = given_or_new(p, like, init, rng)
    task = Task(Opaque(hvp), like, p, int(probes))
    every = int(check_every) if check_every else 100
    run = iterate(
        advance,
        state,
        task,
        tol=tol,
        max_steps=int(max_steps),
        check_every=every,
        patience=PATIENCE,
        callback=callback,
        history=history,
        method="precondition.fit_hessian",
    )
    state, error = map_arrays(of(like).stop_gradient, (run.state, run.error))
    xp = namespace(run.steps)
    hvps = xp.asarray(run.steps + 2 * int(probes) * (1 + (run.steps + every - 1) // every))
    result: HessianFit[Array_] = HessianFit(
        error, run.steps, settle(error, tol, run.code), run.history, p.operator(state), state, hvps
    )
    reason = STALLED if result.status is Status.STALLED else ""
    report(result, "precondition.fit_hessian", tol, ADVICE, reason=reason)
    return result


def check_psgd(p: Any) -> None:
    """Settings, as :func:`psgd` makes them."""
    if not isinstance(p, Psgd):
        raise TypeError(f"preconditioner must be what psgd() returns, got {type(p).__name__}")


def given_or_new(p: Psgd, like: Any, init: Any, rng: Any) -> Any:
    """A new state, or a given one that fits."""
    fresh = p.init(like, rng=rng)
    if init is None:
        return fresh
    state = getattr(init, "state", init)
    same = type(state) is type(fresh) and size_of(state) == size_of(fresh)
    if not same or [tuple(x.shape) for x in leaves(state)] != [tuple(x.shape) for x in leaves(fresh)]:
        raise ValueError(f"init must be a state of kind {p.kind!r} for {size_of(fresh)} numbers, or a result with one")
    found, expected = leaves(state)[0], leaves(fresh)[0]
    if library(found) != library(expected) or found.dtype != expected.dtype:
        raise TypeError(
            f"init must hold {library(expected)} arrays of dtype {expected.dtype}, as like does, "
            f"got {library(found)} arrays of dtype {found.dtype}"
        )
    return state


# ---------------------------------------------------------------------------------------------------------------------
# The loop


def advance(state: Any, task: Task, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
    """Pairs in chunks, one sweep each; one after the other where the number of them is traced."""
    if of(task.like).traced(leaves((state, task))) or not isinstance(limit, int):
        state = repeat(step, state, task, limit)
    else:
        for start in range(0, limit, CHUNK):
            state = chunk(state, task, min(CHUNK, limit - start))
    return state, limit, error_of(state, task)


def step(state: Any, task: Task) -> Any:
    """One pair."""
    return chunk(state, task, 1)


def chunk(state: Any, task: Task, rows: int) -> Any:
    """Some pairs at once."""
    V = normals(state.count, state.seed, task.like, rows=rows, purpose=int(Purpose.VECTOR))
    return advanced(task.settings, state, V, products(task, V))


def products(task: Task, V: Any) -> Any:
    """H v for each of a stack."""
    hvp = plain(task.hvp)
    return namespace(V).stack([answer(hvp(V[k, ...]), V) for k in range(V.shape[0])])


def answer(h: Any, V: Any) -> Any:
    """What hvp gave, if it is one vector of the same kind."""
    h = as_array(h, V)
    if not library(h):
        raise TypeError(f"hvp must return an array, got {type(h).__name__}")
    namespace(h, V)
    if tuple(h.shape) != tuple(V.shape[1:]):
        raise ValueError(f"hvp must return shape {tuple(V.shape[1:])}, that of like, got {shape_text(h)}")
    if h.dtype != V.dtype:
        raise TypeError(f"hvp must return dtype {V.dtype}, that of like, got {h.dtype}")
    return taken(h, V)


def error_of(state: Any, task: Task) -> Any:
    """sqrt(mean |P H H P v - v|^2 / |v|^2) / 2 over probes that no pair was made of.

    P H H P is I at |H|^{-1} only. P H P H would not do: for an indefinite H it is I at every T |H|^{-1} T^T with
    T^T H T = H too, and so blind to most of what is wrong with P.
    """
    xp, k = namespace(task.like), task.probes
    start = state.count * k
    V = normals(start, state.seed, task.like, rows=k, purpose=int(Purpose.PROBE))
    each = shape_of(state) or (size_of(state),)

    def applied(X: Any) -> Any:
        X = xp.reshape(X, (k, *each))
        return xp.reshape(KINDS[task.settings.kind].apply(task.settings, state, X), V.shape)

    off = xp.reshape(applied(products(task, products(task, applied(V)))) - V, (k, -1))
    size = xp.reshape(V, (k, -1))
    share = xp.sum(off * off, axis=1) / xp.sum(size * size, axis=1)
    return xp.asarray(xp.sqrt(xp.mean(share)) / 2)
