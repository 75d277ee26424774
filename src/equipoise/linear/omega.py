"""Relaxation factors by formula: Young's, from the least eigenvalue of the matrix scaled to a unit diagonal.

With beta = 1 - lambda_min(D^{-1/2} A D^{-1/2}), the best factor of successive over-relaxation is 2/(1 + sqrt(1 -
beta^2)); for conjugate gradients with a symmetric sweep it is the best one to first order too. beta is known in closed
form for constant stencils, else it is estimated on the host by Lanczos' method.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import is_floating, library, namespace
from ..backend import of
from ..boundary import public
from ..checks import number, values
from ..guide import guided
from ..operators import Stencil, as_operator
from ..record import leaves
from .lanczos import STEPS, dtype_of, spectrum
from .unevenness import unevenness

__all__ = [
    "MODELS",
    "check_solver",
    "extremes",
    "factor",
    "is_constant",
    "optimal_omega",
    "predicted_steps",
    "radius",
    "young",
]

Array = np.ndarray[Any, Any]

# ---------------------------------------------------------------------------------------------------------------------
# Constant stencils


def single(x: Any, axes: int) -> bool:
    """Whether a number of a stencil is the same for all cells of one member of the batch."""
    return not library(x) or x.ndim == 0 or all(k == 1 for k in x.shape[x.ndim - axes :])


def is_constant(A: Any) -> bool:
    """Whether A is a stencil whose Jacobi radius has a closed form."""
    if not isinstance(A, Stencil):
        return False
    axes = len(A.grid)
    return single(A.center, axes) and all(single(x, axes) for x in A.faces)


def read(x: Any, axes: int) -> Any:
    """A float, or an array of the shape of the batch: numpy's, unless the values are hidden by a transformation."""
    if not library(x):
        return x
    seen = values(x)
    out = x if seen is None else of(seen).to_numpy(seen)
    out = namespace(out).reshape(out, tuple(out.shape[: max(out.ndim - axes, 0)]))
    return out if seen is None or out.ndim else float(out)


def constant_radius(A: Stencil[Any]) -> Any:
    """beta = sum over axes of 2 |w| cos(pi/(m + 1)) / center, the largest eigenvalue of I - D^{-1} A."""
    axes = len(A.grid)
    center = read(A.center, axes)
    if not hidden(center) and not least(center) > 0:
        raise ValueError(f"A is not positive definite: its diagonal holds {least(center)}")
    total: Any = 0.0
    for w, m in zip(A.faces, A.grid, strict=True):
        total = total + 2.0 * abs(read(w, axes)) * math.cos(math.pi / (m + 1))
    beta = total / center
    if not hidden(beta) and not greatest(beta) < 1:
        raise ValueError(
            f"A is not positive definite: its Jacobi iteration has an eigenvalue {greatest(beta)}, not below 1"
        )
    return beta


def hidden(x: Any) -> bool:
    """Whether a transformation hides the values of what `read` has returned."""
    return not isinstance(x, (float, np.generic, np.ndarray))


def least(x: Any) -> float:
    """The least of a batch."""
    return x if type(x) is float else float(np.min(x))


def greatest(x: Any) -> float:
    """The greatest of a batch."""
    return x if type(x) is float else float(np.max(x))


# ---------------------------------------------------------------------------------------------------------------------
# What the solvers ask for


def radius(A: Any, *, method: str = "auto", steps: int = STEPS, rng: Any = 0) -> Any:
    """beta: a float, or an array of the shape of the batch, numpy's unless it is traced."""
    if method == "closed_form" and not is_constant(A):
        raise ValueError("method='closed_form' needs a constant stencil; use 'lanczos' or 'auto'")
    if method != "lanczos" and is_constant(A):
        return constant_radius(A)
    below = spectrum(A, steps=steps, rng=rng).below
    return 1.0 - below if below.ndim else 1.0 - float(below)


def factor(beta: Any, uneven: Any = 0.0) -> Any:
    """omega* = 2/(1 + s), s = sqrt(1 - beta^2); for a symmetric sweep s grows by sqrt(1 + 2 b), at most to 1."""
    if isinstance(beta, float):
        return 2.0 / (1.0 + min(1.0, math.sqrt((1.0 - beta * beta) * (1.0 + 2.0 * float(uneven)))))
    xp = namespace(beta)
    s = xp.sqrt((1.0 - beta * beta) * (1.0 + 2.0 * uneven))
    return 2.0 / (1.0 + xp.where(s < 1.0, s, xp.ones_like(s)))


def young(A: Any, *, solver: str = "sor", method: str = "auto", steps: int | None = None, rng: Any = 0) -> Any:
    """The factor of :func:`optimal_omega` for an operator: a float, or an array of A's library, the batch's shape.

    Under a jax transformation, for a constant stencil, an array too. By default half of the steps of Lanczos' method do
    for conjugate gradients, to which a wrong factor matters less.
    """
    uneven: Any = 0.0
    if solver == "ssor_cg" and not is_constant(A):
        uneven = unevenness(A)
    steps = (STEPS if solver == "sor" else STEPS // 2) if steps is None else steps
    omega = factor(radius(A, method=method, steps=steps, rng=rng), uneven)
    numbers = next((x for x in leaves(A) if is_floating(x)), None)
    if library(omega) == "numpy" and numbers is not None:
        omega = of(numbers).lend(np.asarray(omega).astype(dtype_of(numbers)), numbers)
    return omega


def extremes(A: Any, *, steps: int = STEPS, rng: Any = 0) -> tuple[Any, Any]:
    """An interval that holds the eigenvalues of D^{-1} A but, perhaps, for the least ones; of all members of a batch.

    Two numbers; for a constant stencil under a jax transformation, two arrays.
    """
    if is_constant(A):
        beta = radius(A)
        if getattr(beta, "ndim", 0):
            beta = namespace(beta).max(beta)
        return 1.0 - beta, 1.0 + beta
    found = spectrum(A, steps=steps, rng=rng)
    return float(np.min(found.below)), float(np.max(found.above))


# ---------------------------------------------------------------------------------------------------------------------
# The public functions


@guided
def optimal_omega(A: Any, *, solver: str = "sor", method: str = "auto", steps: int | None = None, rng: Any = 0) -> Any:
    """The best relaxation factor by formula: Young's for :func:`sor`, and one for :class:`SSOR` in :func:`cg`.

    Take it for grids and other matrices whose graph has two colours: there it is exact for :func:`sor`, as far as beta
    is. Elsewhere it is a good guess; where many similar systems follow each other, a policy of
    :func:`solve_sequence` learns to correct it. Do not take it for a matrix that is not symmetric positive definite.

    Parameters
    ----------
    A : array, shape (..., n, n), sparse matrix, or operator
        Symmetric positive definite; whatever :func:`sor` takes.
    solver : {"sor", "ssor_cg"}
        What the factor is for. For constant stencils both have the same.
    method : {"auto", "closed_form", "lanczos"}
        The formula for constant stencils, or Lanczos' method on the matrix scaled to a unit diagonal. "auto" takes the
        formula where it can.
    steps : int, optional
        Steps of Lanczos' method; each costs a product with A. 20 by default, for conjugate gradients 10.
    rng : int or numpy.random.Generator
        Seeds the noise in its start.

    Returns
    -------
    float
        The factor, in [1, 2). For a batch of matrices, an array of the shape of the batch.

    Raises
    ------
    TypeError
        If A is no matrix, or hidden by a jax transformation and not a constant stencil.
    ValueError
        If A is not square, not symmetric, not positive definite or not finite, or a setting is unknown.

    Notes
    -----
    With beta = 1 - lambda_min(D^{-1/2} A D^{-1/2}), omega = 2/(1 + sqrt(1 - beta^2)): D. M. Young, "Iterative solution
    of large linear systems", Academic Press, 1971, chapter 6. For a constant stencil, beta is the sum
    over the axes of 2 w cos(pi/(m + 1)) / center. For conjugate gradients sqrt(1 - beta^2) is multiplied by
    sqrt(1 + 2 b), where b measures how unevenly the couplings of rows lie before and after them, see
    ``equipoise.linear.unevenness``: it is 0 for constant stencils. A Ritz value lies above lambda_min, so that omega
    would come out too small, which is the expensive side for :func:`sor`; it is extrapolated from its fall during the
    second half of the steps. On grids
    of more than 100 cells a side 20 steps leave a factor of 1.3 to 3 in the number of sweeps, 60 steps less than 1.5.

    Examples
    --------
    >>> import equipoise as eq
    >>> A = eq.operators.Stencil.laplacian((32, 32))
    >>> round(eq.linear.optimal_omega(A), 4)
    1.8264
    >>> round(eq.linear.optimal_omega(A.to_csr()), 2)
    1.86
    """
    check_solver(solver)
    check_method(method)
    if steps is not None:
        check_steps(steps)
    return young_of(as_operator(A), solver, method, None if steps is None else int(steps), rng)


@public
def young_of(A: Any, solver: str, method: str, steps: int | None, rng: Any) -> Any:
    """:func:`young`, of a matrix that has become an operator and so may cross the boundary."""
    return young(A, solver=solver, method=method, steps=steps, rng=rng)


@guided
def predicted_steps(A: Any, omega: Any, *, solver: str = "sor", tol: float = 1e-8) -> Array:
    """How many steps a solver should take for a relaxation factor, from the spectrum of the matrix alone.

    Take it to compare factors; it is a bound and a shape, not a forecast. For conjugate gradients it is about twice
    the steps that are needed.

    Parameters
    ----------
    A : array, shape (..., n, n), sparse matrix, or operator
        Symmetric positive definite.
    omega : float or array
        Factors in (0, 2).
    solver : {"sor", "ssor_cg"}
        :func:`sor`, or :func:`cg` with :class:`SSOR`.
    tol : float
        The tolerance, above 0 and below 1.

    Returns
    -------
    numpy array
        Of the shape of omega; for a batch of matrices, led by the shape of the batch.

    Raises
    ------
    TypeError, ValueError
        As for :func:`optimal_omega`; for factors outside of (0, 2), and a tolerance outside of (0, 1).

    Notes
    -----
    Of the iteration of :func:`sor` the spectral radius is known (Young 1971, chapter 6), exactly where the graph has
    two colours. For conjugate gradients the condition number with the symmetric sweep is bounded by
    1/phi = 1/2 + 1/(2s) + alpha s/4, s = (2 - omega)/omega, alpha = 1/lambda_min, if the couplings of every row lie
    evenly before and after it: O. Axelsson, "Iterative solution
    methods", Cambridge University Press, 1994, chapter 7; the number of steps as in M. Khodak, E. Chow, M. F.
    Balcan, A. Talwalkar, "Learning to relax", ICLR 2024, arXiv:2310.02246.

    Examples
    --------
    >>> import equipoise as eq
    >>> A = eq.operators.Stencil.laplacian((32, 32))
    >>> eq.linear.predicted_steps(A, [1.0, 1.5, 1.8, 1.8264]).round()
    array([2030.,  665.,  172.,   98.])
    """
    check_solver(solver)
    value = number("tol", tol)
    if value is None or not 0 < value < 1:
        raise ValueError(f"tol must lie in (0, 1), got {value}")
    factors = np.asarray(of(omega).to_numpy(omega) if library(omega) else omega, dtype=float)
    if not np.all((factors > 0) & (factors < 2)):
        raise ValueError(f"omega must lie in (0, 2), got {factors[~((factors > 0) & (factors < 2))].flat[0]}")
    beta = np.asarray(radius(as_operator(A)), dtype=float)
    return np.asarray(MODELS[solver](np.reshape(beta, (*beta.shape, *(1,) * factors.ndim)), factors, value))


def sor_steps(beta: Any, omega: Array, tol: float) -> Array:
    """1 + log(1/tol) / (-log rho), rho the spectral radius of the sweep."""
    x = omega * beta
    root = np.sqrt(np.maximum(x * x - 4.0 * (omega - 1.0), 0.0))
    rho = np.maximum(0.25 * (x + root) ** 2, omega - 1.0)  # below omega* the first is the larger one
    return 1.0 + math.log(tol) / np.log(np.minimum(np.maximum(rho, 1e-300), 1.0 - 1e-16))


def ssor_cg_steps(beta: Any, omega: Array, tol: float) -> Array:
    """1 + arcosh(sqrt(k)/tol) / (-log(1 - 2/(1 + sqrt(1/phi)))), with beta_L = 0."""
    s = 2.0 / omega - 1.0
    bound = np.sqrt(0.5 + 0.5 / s + (0.25 / (1.0 - beta)) * s)  # at least 1, up to rounding
    condition = (1.0 + beta) / (1.0 - beta)
    first = np.arccosh(np.sqrt(condition) / tol)
    return 1.0 + first / np.log((bound + 1.0) / np.maximum(bound - 1.0, 1e-300))


MODELS: dict[str, Callable[[Any, Array, float], Array]] = {"sor": sor_steps, "ssor_cg": ssor_cg_steps}


def check_method(method: Any) -> None:
    """One of the known methods."""
    if method not in ("auto", "closed_form", "lanczos"):
        raise ValueError(f"method must be 'auto', 'closed_form' or 'lanczos', got {method!r}")


def check_solver(solver: Any) -> None:
    """One of the two solvers that a factor is for."""
    if solver not in MODELS:
        raise ValueError(f"solver must be 'sor' or 'ssor_cg', got {solver!r}")


def check_steps(steps: Any) -> None:
    """A whole number, at least 1."""
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):
        raise TypeError(f"steps must be a whole number, got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
