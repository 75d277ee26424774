"""Conjugate gradients, preconditioned by a symmetric sweep (Eisenstat's trick), the diagonal, a polynomial or anything.

The recursion's residual drifts away from the true one; so where it has met the tolerance and the true one has not, the
method begins once more from where it stands.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..arrays import A as Array_
from ..arrays import library, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol, values
from ..guide import guided
from ..implicit import differentiable
from ..iterate import iterate
from ..kernel import on_host
from ..operators import CSR, Dense, LinearOperator, Stencil, as_operator
from ..record import as_data, map_arrays, plain, record, static
from ..result import frames_to_the_user, report
from .adjoint import pulled
from .checks import check_diagonal, check_omega, check_system, trailing
from .eisenstat import SSORTask, failed, ssor_cg
from .eisenstat import begin as ssor_begin
from .ending import Run, concluded, flat, start_of
from .gradients import GradientTask, conjugate_gradients
from .gradients import begin as gradient_begin
from .omega import extremes, young
from .ordering import in_natural_order, in_sweep_order
from .preconditioners import SSOR, Chebyshev, ChebyshevInverse, Jacobi, Preconditioner
from .restart import twice
from .result import LinearResult
from .skew import in_order
from .sor import hosted, paced
from .symmetry import check_symmetric

__all__ = ["cg", "solve_cg"]

STORED = (Dense, CSR, Stencil)
PATIENCE = 2000  # steps without a new least error


@record
class Flat:
    """An operator on arrays (..., *grid), applied to vectors (..., n)."""

    A: Any
    grid: tuple[int, ...] = static()

    def matvec(self, x: Any) -> Any:
        """A x, shape (..., n)."""
        xp = namespace(x)
        return xp.reshape(plain(self.A).matvec(xp.reshape(x, (*x.shape[:-1], *self.grid))), x.shape)


# ---------------------------------------------------------------------------------------------------------------------
# The two ways


def by_sweeps(A: Any, b: Any, omega: Any, size: Any, order: str, start: Any, r: Any, **options: Any) -> Run:
    """With a symmetric sweep as the preconditioner."""
    xp = namespace(b)
    on_kernels = hosted(ssor_cg, b)
    matrix, stencil, place = in_order(A, b, order, on_kernels)

    def there(x: Any) -> Any:
        return in_sweep_order(flat(x, A), place)

    def back(x: Any) -> Any:
        return xp.reshape(in_natural_order(x, place), b.shape)

    task = SSORTask(matrix, stencil, omega, size)
    state = ssor_begin(there(start), there(r), task)
    run = iterate(ssor_cg, state, task, **paced(options, b, on_kernels))
    return Run(run, back(run.state.x), lambda: back(run.state.best))


def by_operators(A: Any, M: Any, b: Any, size: Any, start: Any, r: Any, **options: Any) -> Run:
    """With products of A and, perhaps, of the inverse of a preconditioner."""
    xp, grid, scale = namespace(b), trailing(A), None
    x, r = flat(start, A), flat(r, A)
    if isinstance(M, Jacobi):
        scale, M = flat(1.0 / A.diagonal(), A), None
    elif isinstance(M, Chebyshev):
        M = ChebyshevInverse(A, 1.0 / A.diagonal(), M.interval[0], M.interval[1], M.degree)
    if len(grid) > 1:
        A, M = Flat(A, grid), None if M is None else Flat(M, grid)
    task = GradientTask(A, M, scale, size)
    known = M is None and isinstance(A, (CSR, Flat, Stencil)) and hosted(conjugate_gradients, b)
    run = iterate(conjugate_gradients, gradient_begin(x, r, task), task, **paced(options, b, known))
    return Run(run, xp.reshape(run.state.x, b.shape), lambda: xp.reshape(run.state.best, b.shape))


# ---------------------------------------------------------------------------------------------------------------------
# The solve


def solve_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """A is symmetric: the same system with another right-hand side."""
    A, M, _, _, omega, tol = args
    if cotangent[0] is None:
        return (None,) * len(args)
    quiet = {**settings, "callback": None, "history": False}
    adjoint, *_ = solve_of(A)(A, M, cotangent[0], None, omega, tol, **quiet)
    return pulled(A, out[0], adjoint), None, adjoint, *(None,) * (len(args) - 3)


def solve(A: Any, M: Any, b: Any, x0: Any, omega: Any, tol: Any, *, order: str, **options: Any) -> tuple[Any, ...]:
    """x, error, steps, code and history; M is None for a symmetric sweep with the factor omega."""
    size, start, r, _ = start_of(A, b, x0)
    max_steps = options.pop("max_steps")
    keywords = {"tol": tol, "halt": failed, "patience": PATIENCE, **options}
    if omega is None:
        once = functools.partial(by_operators, A, M, b, size, **keywords)
    else:
        once = functools.partial(by_sweeps, A, b, omega, size, order, **keywords)
    return concluded(A, b, size, twice(once, A, b, size, start, r, tol, max_steps), tol)


by_rows = differentiable(solve_vjp)(on_host(ssor_cg)(solve))
by_products = differentiable(solve_vjp)(solve)  # somebody's operator sees the arrays of its own library


def solve_of(A: Any) -> Callable[..., tuple[Any, ...]]:
    """The solve for an operator: on views of the host where the entries of A are known."""
    return by_rows if isinstance(A, STORED) else by_products


def all_ones(omega: Any) -> bool:
    """Whether every factor is 1; of values that cannot be seen the best is assumed."""
    if not library(omega):
        return bool(omega == 1)
    seen = values(omega)
    return seen is None or bool(namespace(seen).all(seen == 1))


def prepared(A: Any, preconditioner: Any, b: Any) -> tuple[Any, Any, str]:
    """The inverse to apply, or the factor of a symmetric sweep, and the order of that sweep."""
    if preconditioner is None:
        return None, None, "natural"
    if isinstance(preconditioner, Preconditioner) and not isinstance(A, STORED):
        kind = type(preconditioner).__name__
        raise TypeError(f"the preconditioner {kind} needs a matrix with stored entries, got {type(A).__name__}")
    if isinstance(preconditioner, SSOR):
        order, omega = preconditioner.order, preconditioner.omega
        if omega is None:
            return None, young(A, solver="ssor_cg") if order == "natural" else 1.0, order
        omega = check_omega(omega, b)
        if order != "natural" and not all_ones(omega):
            warn_of_order(order)
        return None, omega, order
    if isinstance(preconditioner, Chebyshev):
        interval = preconditioner.interval or extremes(A)
        return replace(preconditioner, interval=tuple(interval)), None, "natural"
    if not isinstance(preconditioner, Jacobi) and not hasattr(preconditioner, "matvec"):
        raise TypeError(
            f"preconditioner must be SSOR, Jacobi, Chebyshev or an operator with a matvec that applies the inverse, "
            f"got {type(preconditioner).__name__}"
        )
    return as_data(preconditioner), None, "natural"


def warn_of_order(order: str) -> None:
    """Orders by colour take the effect of omega away."""
    warnings.warn(
        f"SSOR with omega other than 1 in the order {order!r} takes more steps than with omega=1, since rows of one "
        "colour know nothing of each other: use order='natural', or omega=1",
        UserWarning,
        stacklevel=frames_to_the_user(),
    )


def solve_cg(
    A: Any,
    b: Any,
    *,
    preconditioner: Any = None,
    x0: Any = None,
    tol: Any = None,
    max_steps: int = 10_000,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> LinearResult[Any]:
    """What :func:`cg` does, for an operator, and without its warning."""
    A, b, x0, _ = check_system(A, b, x0)
    if isinstance(A, STORED):
        check_diagonal(A, positive=True)
        check_symmetric(A)
    M, omega, order = prepared(A, preconditioner, b)
    if getattr(omega, "ndim", 0):
        A, b, x0, omega = check_system(A, b, x0, check_omega(omega, b))
    tol = check_tol(tol, b, 1e-8, 1e-5)
    check_limits(tol, max_steps, check_every)
    x, *rest = solve_of(A)(
        *(as_data(A), M, b, x0, omega, tol),
        order=order,
        max_steps=int(max_steps),
        check_every=check_every,
        callback=callback,
        history=history,
        method="linear.cg",
    )
    error, steps, code, rows = map_arrays(of(b).stop_gradient, tuple(rest))
    return LinearResult(error, steps, code, rows, x)


@public
def cg_of(A: Any, b: Any, **settings: Any) -> LinearResult[Any]:
    """:func:`cg`, of a matrix that has become an operator and so may cross the boundary."""
    result = solve_cg(A, b, **settings)
    advice = (
        "" if settings["preconditioner"] is not None else "A preconditioner such as SSOR() saves most of the steps."
    )
    report(result, "linear.cg", check_tol(settings["tol"], b, 1e-8, 1e-5), advice)
    return result


@guided
def cg(
    A: Any,
    b: Array_,
    *,
    preconditioner: SSOR | Jacobi | Chebyshev | LinearOperator[Any] | None = None,
    x0: Array_ | None = None,
    tol: float | None = None,
    max_steps: int = 10_000,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> LinearResult[Array_]:
    """Solve A x = b for a symmetric positive definite A by preconditioned conjugate gradients.

    Take it with :class:`SSOR` for grids and sparse matrices: steps grow like the square root of the width of a grid.
    Do not take it for a matrix that is not symmetric or not definite, nor for a grid of millions of unknowns without
    a shift, where algebraic multigrid needs a number of steps that does not grow.

    Parameters
    ----------
    A : array, shape (..., n, n), sparse matrix, or operator
        As for :func:`sor`; or any operator with ``shape``, ``dtype`` and ``matvec``, such as
        :class:`equipoise.operators.Kronecker`, unless the preconditioner needs stored entries.
    b : array, shape (..., n), for a stencil (..., \\*grid)
        The right-hand side. Leading axes of b, x0, omega and the numbers of A broadcast, and are a batch.
    preconditioner : SSOR, Jacobi, Chebyshev or operator, optional
        One of the three, or an operator whose ``matvec`` applies the inverse of a symmetric positive definite matrix.
    x0 : array, optional
        Where to start; zero by default.
    tol : float, optional
        Bound on `error`, ``|b - A x| / |b|``. 1e-8, in float32 1e-5, by default; 0 runs all steps.
    max_steps : int
        The most steps.
    check_every : int, optional
        Steps between two looks at the error. The default leaves it to the backend.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every check. By default where that is free: everywhere but in a compiled jax
        loop.

    Returns
    -------
    LinearResult
        `x`, and how far it is right.

    Raises
    ------
    TypeError
        If something is no array, not floating, or of another dtype or library than b; if the preconditioner needs
        stored entries that A does not have.
    ValueError
        If shapes do not fit, A is not square, not symmetric or has a diagonal that is not positive, something is not
        finite, or omega lies outside of (0, 2).

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end. `status` tells why: NOT_POSITIVE_DEFINITE where a direction with
        p^T A p <= 0 was met; DIVERGED, STALLED or NOT_FINITE; or the steps ran out.
    UserWarning
        If SSOR has an omega other than 1 in red-black or multicolour order: these orders take its effect away.

    Notes
    -----
    Algorithm 9.1 of Y. Saad, "Iterative methods for sparse linear systems", SIAM, 2003; with SSOR, the form of S. C.
    Eisenstat, "Efficient implementation of a class of preconditioned conjugate gradient methods", SIAM J. Sci. Stat.
    Comput. 2(1), 1-4, 1981, which makes the same iterates without a product with A. `error` is the true residual; if
    that of the recursion has met `tol` and the true one has not, the method begins once more from there (not under
    ``jax.jit``). On torch and jax the solution is differentiable in b and the numbers of A by one more system.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> A = eq.operators.Stencil.laplacian((50, 50))
    >>> b = np.ones((50, 50))
    >>> result = eq.linear.cg(A, b, preconditioner=eq.linear.SSOR())
    >>> result.converged, bool(np.linalg.norm(b - A @ result.x) <= 1e-8 * np.linalg.norm(b))
    (True, True)
    """
    settings = {"preconditioner": preconditioner, "x0": x0, "tol": tol, "max_steps": max_steps}
    watching = {"check_every": check_every, "callback": callback, "history": history}
    return cg_of(as_operator(A), b, **settings, **watching)
