"""Linear programs by a first-order method: products with the matrix only, errors measured on the data as given."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..arrays import A as Array_
from ..arrays import library, like, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol, values
from ..guide import guided
from ..implicit import differentiable
from ..iterate import iterate
from ..kernel import on_host
from ..operators import Dense, as_operator
from ..operators.protocol import beside, sum_to
from ..record import map_arrays
from ..result import Status, report, settle
from .anchored import moved
from .products import forward, outer, transposed
from .program_checks import batch_of, check_program, check_vector
from .program_data import program_of
from .program_steps import Errors, Program, ProgramState, errors, looked, program_chunk, verdict
from .residuals import norm
from .result import LinearProgramResult
from .saddle_steps import RESTARTS, SaddleTask, begin, size_of

__all__ = ["linear_program"]

PATIENCE = 100_000
START = 0.8  # of the norm: steps that turn out too long are cut


def start_of(init: Any, p: Program) -> tuple[Any, Any]:
    """The point of the bounds nearest to zero and no multipliers, or those of a previous result or a pair."""
    xp = namespace(p.c)
    if init is None:
        x = xp.zeros_like(p.c)
        if p.q.shape[-1] == 1 and isinstance(p.K, Dense) and not bool_of(p.K.array):
            better = xp.where(p.c > 0, p.lower, p.upper)  # nothing but bounds: a corner is the answer
            x = xp.where((p.c != 0) & xp.isfinite(better), better, x)
        return xp.clip(x, min=p.lower, max=p.upper), xp.zeros_like(p.q)
    pair = (init.x, init.y) if isinstance(init, LinearProgramResult) else init
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"init must be a LinearProgramResult or a pair (x, y), got {type(init).__name__}")
    made = []
    for name, x, like_it in (("x", pair[0], p.c), ("y", pair[1], p.q)):
        check_vector(f"{name} of init", x, p.c, int(like_it.shape[-1]), "the program")
        try:
            made.append(xp.broadcast_to(x, tuple(like_it.shape)))
        except (ValueError, RuntimeError, TypeError):
            raise ValueError(f"{name} of init must have shape {shape_text(like_it)}, got {shape_text(x)}") from None
    return made[0], made[1]


def bool_of(array: Any) -> bool:
    """Whether some entry is known not to be zero; True where nothing can be seen."""
    seen = values(array)
    return seen is None or bool(namespace(seen).any(seen != 0))


def first_weight(task: SaddleTask) -> Any:
    """|c| / |q| in scaled data, 1 where one of them is 0."""
    xp = namespace(task.c)
    c, q = norm(task.c), norm(task.q)
    known = (c > 0) & (q > 0)
    one = xp.ones_like(c)
    return xp.asarray(xp.where(known, c, one) / xp.where(known, q, one))


def solved(p: Program, x: Any, y: Any, tol: Any, options: dict[str, Any]) -> LinearProgramResult[Any]:
    """The loop and its result."""
    xp = namespace(p.c)
    x, y = p.task.primal(x / p.columns), p.task.dual(y / p.rows)
    inner = begin(x, y, p.task, first_weight(p.task), START * size_of(p.task.K, x))
    far = xp.asarray(0.0 * p.size_c + math.inf)
    none = xp.zeros(tuple(p.size_c.shape), **{**like(p.c), "dtype": xp.int32})
    blank = ProgramState(inner, p.columns * x, p.rows * y, far, 0.0 * p.c, 0.0 * p.q, none)
    state = looked(inner, blank, p, tol)
    run = iterate(program_chunk, state, p, tol=tol, halt=verdict, patience=PATIENCE, **options)
    s = run.state
    x = xp.clip(s.x, min=p.lower, max=p.upper)
    final: Errors = errors(x, s.y, forward(p.K, x), transposed(p.K, s.y), p)
    code = settle(final.worst, tol, run.code)
    unbounded, contradictory = code == int(Status.DUAL_INFEASIBLE), code == int(Status.PRIMAL_INFEASIBLE)
    x, y = moved(unbounded, s.ray_x, x), moved(contradictory, s.ray_y, s.y)
    value = moved(unbounded, xp.full_like(final.value, -math.inf), final.value)
    value = moved(contradictory, xp.full_like(value, math.inf), value)
    dual_value = moved(unbounded | contradictory, value, final.dual_value)
    restarts = xp.astype(xp.asarray(s.inner.number(RESTARTS)), run.steps.dtype)
    return LinearProgramResult(
        *(xp.asarray(final.worst), run.steps, code, run.history, x, y, final.reduced_costs, value, dual_value),
        *(final.primal, final.dual, final.gap, restarts),
    )


def program_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """At the optimum neither x nor y would move: the value changes as the Lagrangian does at them."""
    if cotangent[0] is None:
        return (None,) * len(args)
    c, A, b, G, h, lower, upper, *_ = args
    x, y, r = out[1].x, out[1].y, out[1].reduced_costs
    xp = namespace(x)
    bar = beside(cotangent[0], x)[..., None]
    rows = 0 if b is None else int(b.shape[-1])
    above, below, none = bar * y[..., :rows], bar * y[..., rows:], xp.zeros_like(r)
    pulled = (bar * x, above, below, bar * xp.where(r > 0, r, none), bar * xp.where(r < 0, r, none))
    c, b, h, lower, upper = (
        sum_to(new, tuple(old.shape)) if library(old) else None
        for new, old in zip(pulled, (c, b, h, lower, upper), strict=True)
    )
    return c, outer(A, -above, x), b, outer(G, -below, x), h, lower, upper, None, None


def solve(
    c: Any,
    A: Any,
    b: Any,
    G: Any,
    h: Any,
    lower: Any,
    upper: Any,
    init: Any,
    tol: Any,
    *,
    scaling: bool,
    **options: Any,
) -> tuple[Any, Any]:
    """The value, and the result that it belongs to."""
    batch = batch_of(c, A, b, G, h, lower, upper)
    p = program_of(c, A, b, G, h, (lower, upper), batch, scaling)
    result = solved(p, *start_of(init, p), tol, {**options, "method": "monotone.linear_program"})
    if A is None and G is None:
        result = replace(result, y=result.y[..., :0])  # the multiplier of the row that stood for none
    xp = namespace(c)
    return xp.asarray(result.value + 0.0), result  # torch takes one array for one output


solve_dense = differentiable(program_vjp)(on_host(program_chunk)(solve))
solve_any = differentiable(program_vjp)(solve)  # a user's operator wants arrays of its own library


@public
def program_with(
    c: Any, A: Any, b: Any, G: Any, h: Any, lower: Any, upper: Any, *, tol: Any, init: Any, **options: Any
) -> LinearProgramResult[Any]:
    """:func:`linear_program`, of matrices that have become operators and so may cross the boundary."""
    check_program(c, A, b, G, h, lower, upper)
    tol = check_tol(tol, c, 1e-6, 1e-4)
    check_limits(tol, options["max_steps"], options["check_every"])
    if A is not None and A.shape[0] == 0:
        A, b = None, None
    if G is not None and G.shape[0] == 0:
        G, h = None, None
    stop = of(c).stop_gradient
    dense = all(M is None or isinstance(M, Dense) for M in (A, G))
    solver = solve_dense if dense else solve_any
    value, result = solver(c, A, b, G, h, lower, upper, map_arrays(stop, init), tol, **options)
    result = replace(map_arrays(stop, result), value=value)
    report(result, "monotone.linear_program", tol)
    return result


@guided
def linear_program(
    c: Array_,
    A: Any = None,
    b: Array_ | None = None,
    *,
    G: Any = None,
    h: Array_ | None = None,
    lower: Any = 0.0,
    upper: Any = math.inf,
    tol: float | None = None,
    max_steps: int = 1_000_000,
    init: Any = None,
    scaling: bool = True,
    check_every: int = 64,
    callback: Any = None,
    history: bool | None = None,
) -> LinearProgramResult[Array_]:
    """Minimise c x subject to A x = b, G x >= h and lower <= x <= upper.

    Take it for large dense programs at moderate accuracy, for batches of them, and on a GPU, where factorisations do
    not fit. Do not take it for small programs, where a vertex is wanted to all digits, or for packing, transport and
    best uniform approximation: simplex and interior-point methods, as in ``scipy.optimize.linprog``, are faster there.

    Parameters
    ----------
    c : array, shape (..., n)
        The costs. Leading axes of all arrays broadcast, and are a batch.
    A, b : array or operator, shape (..., p, n), and array, shape (..., p), optional
        The equalities.
    G, h : array or operator, shape (..., q, n), and array, shape (..., q), optional
        The inequalities G x >= h; for G x <= h pass -G and -h.
    lower, upper : float or array, shape (..., n)
        The bounds, 0 and infinity by default; bounds belong here and not into rows.
    tol : float, optional
        Bound on `error`: 1e-6, in float32 1e-4, by default; 0 runs all steps.
    max_steps : int
        The most steps, of two products each.
    init : LinearProgramResult or (x, y), optional
        Where to start.
    scaling : bool
        Whether to scale rows and columns first. Operators that are no arrays or sparse matrices are taken as they are,
        and so are A and G together unless both are arrays.
    check_every : int
        Steps between two looks at the error, each two more products.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every check. By default where that is free.

    Returns
    -------
    LinearProgramResult
        The best point that was looked at, with its multipliers and errors. Where the program is infeasible or
        unbounded, `status` says so and `y` or `x` is a certificate.

    Raises
    ------
    TypeError
        If something is no floating-point array of the dtype of c.
    ValueError
        If shapes do not fit, something is not finite, a lower bound exceeds an upper one, or a matrix comes without its
        right-hand side.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end: also for infeasible and unbounded programs.

    Notes
    -----
    Halpern's iteration of the reflected primal-dual hybrid gradient map with restarts, diagonal scaling and a primal
    weight that adapts: H. Lu and J. Yang, "Restarted Halpern PDHG for linear programming", 2024; D. Applegate et al.,
    "Practical large-scale linear programming using primal-dual hybrid gradient", NeurIPS 2021. A certificate is
    accepted where Farkas' conditions hold to `tol`, relative to what it proves: differences of iterates tend to one (D.
    Applegate et al., "Infeasibility detection with primal-dual hybrid gradient for large-scale linear programming",
    2021). They do so slowly at times: of random programs without a solution a few in a thousand end as ``STALLED`` or
    with the steps instead. On torch and jax `value` is differentiable, once, in all that the program is made of: x in
    c, y in b and h, -y x^T in A and G, and the reduced costs in the bounds that carry them. The rest of the result
    carries none.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> G, h = np.array([[-1.0, -1.0], [-1.0, -3.0]]), np.array([-4.0, -6.0])
    >>> result = eq.monotone.linear_program(np.array([-1.0, -2.0]), G=G, h=h)
    >>> result.x.round(4), result.y.round(4), float(result.value.round(4))
    (array([3., 1.]), array([0.5, 0.5]), -5.0)
    """
    left, right = (None if M is None else as_operator(M) for M in (A, G))
    options = {"tol": tol, "init": init, "scaling": bool(scaling), "max_steps": max_steps, "check_every": check_every}
    result: LinearProgramResult[Array_] = program_with(
        c, left, b, right, h, lower, upper, callback=callback, history=history, **options
    )
    return result
