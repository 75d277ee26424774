"""Successive over-relaxation: one row after another, each a little further than its equation asks."""

from __future__ import annotations

from typing import Any

from ..arrays import A as Array_
from ..arrays import namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol
from ..guide import guided
from ..implicit import differentiable
from ..iterate import iterate
from ..kernel import Kernel, on_host
from ..operators import CSR, Dense, Stencil, as_operator
from ..record import map_arrays
from ..result import report
from .adjoint import solve_vjp
from .checks import check_diagonal, check_omega, check_order, check_sweep, check_system
from .ending import Run, concluded, flat, start_of
from .omega import young
from .ordering import ORDERS, in_natural_order, in_sweep_order
from .red_black import PackedTask, pack, packed, packed_sweeps, unpack
from .result import LinearResult
from .skew import in_order
from .sweeps import SweepState, SweepTask, diverged, ordered_sweeps

__all__ = ["solve_sor", "sor"]

PATIENCE = 1000  # sweeps without a new least error: what is left is rounding


def hosted(kernel: Kernel[..., Any], x: Any) -> bool:
    """Whether an override of `kernel` will do the work on arrays like x."""
    xp = namespace(x)
    return kernel.overridden(of(x)) and x.dtype in (xp.float32, xp.float64)


def paced(options: dict[str, Any], x: Any, by_kernel: bool) -> dict[str, Any]:
    """The options of a loop; where no kernel stops inside its chunk, the pace is that of the portable bodies."""
    if by_kernel or options["check_every"] is not None or options["callback"] is not None:
        return options
    return {**options, "check_every": of(x).check_every(x)}


def begin(x: Any, error: Any, factor: Any) -> SweepState:
    """The state of a first iterate, which is the best one so far."""
    return SweepState(x, error, x, error, factor)


def sweep_in_order(A: Any, b: Any, start: Any, settings: dict[str, Any], order: str, sweep: str, **options: Any) -> Run:
    """Sweeps through rows, or, with a kernel, through the diagonals of a stencil."""
    size, error, omega, factor, beta = (settings[k] for k in ("size", "error", "omega", "factor", "beta"))
    matrix, stencil, place = in_order(A, b, order, hosted(ordered_sweeps, b))
    task = SweepTask(matrix, stencil, in_sweep_order(flat(b, A), place), omega, beta, size, sweep)
    state = begin(in_sweep_order(flat(start, A), place), error, factor)
    run = iterate(ordered_sweeps, state, task, **paced(options, b, hosted(ordered_sweeps, b)))
    shape = b.shape

    def back(x: Any) -> Any:
        return namespace(x).reshape(in_natural_order(x, place), shape)

    return Run(run, back(run.state.x), lambda: back(run.state.best))


def sweep_in_colors(A: Any, b: Any, start: Any, settings: dict[str, Any], sweep: str, **options: Any) -> Run:
    """Red-black sweeps through a stencil."""
    size, error, omega, factor, beta = (settings[k] for k in ("size", "error", "omega", "factor", "beta"))
    matrix = packed(A, b)
    task = PackedTask(matrix, pack(b, matrix.odd), omega, beta, size, sweep)
    run = iterate(
        packed_sweeps,
        begin(pack(start, matrix.odd), error, factor),
        task,
        **paced(options, b, hosted(packed_sweeps, b)),
    )

    def back(x: Any) -> Any:
        return unpack(x, matrix.odd, A.grid[-1])

    return Run(run, back(run.state.x), lambda: back(run.state.best))


@differentiable(solve_vjp)
@on_host(ordered_sweeps)
def solve(
    A: Any, b: Any, x0: Any, omega: Any, beta: Any, tol: Any, *, order: str, sweep: str, **options: Any
) -> tuple[Any, ...]:
    """x, error, steps, code and history."""
    size, start, _, error = start_of(A, b, x0)
    settings = {"size": size, "error": error, "omega": omega, "beta": beta, "factor": None}
    if beta is not None:
        settings["factor"] = namespace(b).ones_like(error)
        settings["beta"] = namespace(b).zeros_like(error) + beta
    keywords = {"tol": tol, "halt": diverged, "patience": PATIENCE, "margin": 0.999, **options}
    if isinstance(A, Stencil) and order != "natural":
        run = sweep_in_colors(A, b, start, settings, sweep, **keywords)
    else:
        run = sweep_in_order(A, b, start, settings, order, sweep, **keywords)
    return concluded(A, b, size, run, tol)


def check_factor(A: Any, omega: Any, order: str, sweep: str, b: Any) -> tuple[Any, Any]:
    """omega as a number or an array, and beta if the factors follow Chebyshev's rule."""
    if not isinstance(omega, str):
        return check_omega(omega, b), None
    if omega == "young":
        return check_omega(young(A), b), None
    if omega != "chebyshev":
        raise ValueError(f"omega must be a number in (0, 2), 'young' or 'chebyshev', got {omega!r}")
    if order != "red_black" or sweep != "forward":
        raise ValueError(
            f"omega='chebyshev' needs order='red_black' and sweep='forward', got order={order!r} and sweep={sweep!r}"
        )
    best = check_omega(young(A), b)
    radius = 2.0 / best - 1.0
    return best, (1.0 - radius**2) ** 0.5


def solve_sor(
    A: Any,
    b: Any,
    *,
    omega: Any = 1.0,
    order: str = "natural",
    sweep: str = "forward",
    x0: Any = None,
    tol: Any = None,
    max_steps: int = 10_000,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> LinearResult[Any]:
    """What :func:`sor` does, for an operator, and without its warning."""
    check_order(order, ORDERS)
    check_sweep(sweep)
    if not isinstance(A, (Dense, CSR, Stencil)):
        raise TypeError(f"A must have stored entries for sor, got {type(A).__name__}; cg needs products only")
    A, b, x0, _ = check_system(A, b, x0)
    check_diagonal(A, positive=False)
    omega, beta = check_factor(A, omega, order, sweep, b)
    if getattr(omega, "ndim", 0):
        A, b, x0, omega = check_system(A, b, x0, omega)
    tol = check_tol(tol, b, 1e-8, 1e-5)
    check_limits(tol, max_steps, check_every)
    x, *rest = solve(
        *(A, b, x0, omega, beta, tol),
        order=order,
        sweep=sweep,
        max_steps=int(max_steps),
        check_every=check_every,
        callback=callback,
        history=history,
        method="linear.sor",
    )
    error, steps, code, rows = map_arrays(of(b).stop_gradient, tuple(rest))
    return LinearResult(error, steps, code, rows, x)


@public
def sor_of(A: Any, b: Any, **settings: Any) -> LinearResult[Any]:
    """:func:`sor`, of a matrix that has become an operator and so may cross the boundary."""
    result = solve_sor(A, b, **settings)
    tol = check_tol(settings["tol"], b, 1e-8, 1e-5)
    report(result, "linear.sor", tol, "Conjugate gradients (linear.cg) need fewer steps where A is symmetric.")
    return result


@guided
def sor(
    A: Any,
    b: Array_,
    *,
    omega: Any = 1.0,
    order: str = "natural",
    sweep: str = "forward",
    x0: Array_ | None = None,
    tol: float | None = None,
    max_steps: int = 10_000,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> LinearResult[Array_]:
    """Solve A x = b by successive over-relaxation.

    Each sweep sets one unknown after another to the value that solves its equation, and omega times as far. It
    converges for every symmetric positive definite A and every omega in (0, 2), at best after a number of sweeps that
    grows like the width of a grid.

    Take it for grids, as a smoother, for matrices that are not symmetric but have a strong diagonal, and where memory
    is scarce. Do not take it for a symmetric matrix that is merely to be solved: :func:`cg` with :class:`SSOR` needs
    far fewer steps of the same cost, and knows no critical omega. Nor for A without a strong diagonal; nor in float32
    on large grids without a shift, where a factor near 2 amplifies rounding and 1e-5 may be out of reach.

    Parameters
    ----------
    A : array, shape (..., n, n), sparse matrix, or operator
        A dense array; a sparse matrix of scipy, cupyx, torch (CSR) or jax (BCOO, BCSR); or one of
        :class:`equipoise.operators.CSR`, :class:`~equipoise.operators.Stencil`. It need not be symmetric.
    b : array, shape (..., n), for a stencil (..., \\*grid)
        The right-hand side. Leading axes of b, x0, omega and the numbers of A broadcast, and are a batch.
    omega : float, array, "young" or "chebyshev"
        The relaxation factor, in (0, 2); an array holds one for each member of the batch. "young" asks
        :func:`optimal_omega`. "chebyshev" starts at 1 and moves to Young's from half sweep to half sweep, without the
        long transient of a fixed factor; it needs ``order="red_black"``.
    order : {"natural", "red_black", "multicolor"}
        Rows by number; in two colours, those of an even sum of indices first; or in the colours of a greedy colouring.
        Two colours suffice for a stencil and need about as many sweeps; portable bodies, which take a whole colour
        or level at once, are far faster with them. With numba's kernels the natural order is as fast.
    sweep : {"forward", "backward", "symmetric"}
        Through the rows in that order, in the reverse, or there and back, which counts as one step.
    x0 : array, optional
        Where to start; zero by default.
    tol : float, optional
        Bound on `error`, ``|b - A x| / |b|``. 1e-8, in float32 1e-5, by default; 0 runs all steps.
    max_steps : int
        The most sweeps.
    check_every : int, optional
        Sweeps between two looks at the error. The default leaves it to the backend.
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
        If something is no array, not floating, of another dtype or library than b, or A has no stored entries.
    ValueError
        If shapes do not fit, A is not square or has a zero on its diagonal, something is not finite, omega lies outside
        of (0, 2), a name is unknown, or the rows have no two colours.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end: it diverged, stalled at rounding, or the steps ran out. `status` tells.

    Notes
    -----
    D. M. Young, "Iterative solution of large linear systems", Academic Press, 1971, chapter 3; Chebyshev's factors:
    G. H. Golub, R. S. Varga, "Chebyshev semi-iterative methods, successive overrelaxation iterative methods, and second
    order Richardson iterative methods", Numer. Math. 3, 147-156, 1961.
    The natural order visits the levels of the graph of dependencies, which gives the same iterates. On torch and jax
    the solution is differentiable in b and the entries of A by one system with the transposed matrix; nothing is
    unrolled. Under ``jax.jit`` values are not checked, and the pattern of a sparse matrix must be known.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> A = np.array([[4.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 4.0]])
    >>> result = eq.linear.sor(A, np.array([2.0, 4.0, 10.0]), omega="young")
    >>> result.converged
    True
    >>> result.x.round(6)
    array([1., 2., 3.])
    """
    settings = {"omega": omega, "order": order, "sweep": sweep, "x0": x0, "tol": tol, "max_steps": max_steps}
    watching = {"check_every": check_every, "callback": callback, "history": history}
    return sor_of(as_operator(A), b, **settings, **watching)
