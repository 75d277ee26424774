"""Lewis weights: the leverage scores of the other norms, by the fixed-point iteration of Cohen and Peng.

The weights w solve w_i = (a_i (A^T W^(1 - 2/p) A)^-1 a_i^T)^(p/2). Written like this, the matrix in the middle is as
badly conditioned as A^T A, and W^(1 - 2/p) has no bounds for p < 2. Here A comes as B = A P, with columns that are
orthonormal, and each row of B as its norm r_i times a unit vector u_i. With v_i = u_i G^-1 u_i^T,

    w_i = r_i^p v_i^(p/2),    G = sum_i s_i^2 u_i^T u_i,    s_i = r_i^(p/2) v_i^((p - 2)/4),

where nothing but r is small or large; the iteration runs on log v, and s is divided by its largest entry. G is
factorised as T^-T T^-1 by a correction of the T before: in its basis G is the nearer to the identity the nearer the
iteration is to its end, so that one product and a Cholesky factor are as accurate as an orthogonalisation.
"""

from __future__ import annotations

import math
from typing import Any, Generic

import numpy as np

from ..arrays import A as Array_
from ..arrays import like, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, number
from ..guide import guided
from ..implicit import differentiable, solve_symmetric
from ..iterate import iterate, stepwise
from ..kernel import kernel
from ..operators import CSR
from ..random import key
from ..record import map_arrays, record
from ..result import Outcome, report, settle
from .factors import turned
from .leverage import check_entries, matrix_of, root
from .panels import gram, row_squares

__all__ = ["LewisResult", "lewis_weights"]

PATIENCE = 10  # steps without a new least error


@record
class LewisResult(Outcome[Array_], Generic[Array_]):
    """Lewis weights, or as far as the iteration came.

    Attributes
    ----------
    weights : array, shape (..., n)
        One a row, 0 for rows of zeros; they add up to the rank of A.
    error : array, shape (...)
        The largest ``|log(w+/w)|`` of a row, where w+ is what one step makes of `weights`.
    steps : array of int, shape (...)
        Steps from equal weights.
    """

    weights: Array_


@record
class Rows:
    """The rows of A P: unit vectors, logarithms of their norms (0 where there is no row), and p."""

    units: Any
    log_norms: Any
    present: Any
    gone: Any
    p: Any


@record
class State:
    """log v of the weights, log v of what a step makes of them, and the T that goes with the latter."""

    v: Any
    following: Any
    T: Any


# ---------------------------------------------------------------------------------------------------------------------
# The iteration


def rows_of(B: Any, p: Any) -> Rows:
    """Norms and directions; B has columns of zeros for directions that A does not have."""
    xp = namespace(B)
    largest = xp.max(xp.abs(B), axis=-1, keepdims=True)
    present = largest > 0
    scaled = B / xp.where(present, largest, xp.ones_like(largest))
    norms = xp.sqrt(xp.sum(scaled * scaled, axis=-1, keepdims=True))
    norms = xp.where(present, norms, xp.ones_like(norms))
    logs = xp.log(norms) + xp.log(xp.where(present, largest, xp.ones_like(largest)))
    gone = ~xp.any(B != 0, axis=-2, keepdims=True)
    return Rows(scaled / norms, logs[..., 0], present[..., 0], xp.astype(gone, B.dtype), p)


def scales(v: Any, rows: Rows) -> tuple[Any, Any]:
    """s over its largest entry, and the logarithm of that."""
    xp = namespace(v)
    logs = 0.5 * rows.p * rows.log_norms + 0.25 * (rows.p - 2.0) * v
    logs = xp.where(rows.present, logs, xp.full_like(logs, -math.inf))
    largest = xp.max(logs, axis=-1, keepdims=True)
    largest = xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))  # no row at all
    return xp.exp(logs - largest), largest


def whitened(G: Any, gone: Any) -> Any:
    """Upper triangular L^-T with L L^T = G; the identity in directions that are gone.

    Rounding may leave G, of condition at most about n, without a Cholesky factor in float32: so much is added to its
    diagonal as rounding has moved it by anyhow.
    """
    xp = namespace(G)
    eye, size = xp.eye(G.shape[-1], **like(G)), G.shape[-1]
    trace = xp.sum(xp.linalg.diagonal(G), axis=-1, keepdims=True)[..., None]
    G = G + (gone + xp.finfo(G.dtype).eps * trace / size) * eye
    return xp.triu(turned(xp.linalg.inv(xp.linalg.cholesky(G))))


def evaluate(v: Any, T: Any, rows: Rows) -> tuple[Any, Any]:
    """log v of the weights that one step makes of those that belong to `v`, and T with T T^T = G^-1."""
    xp = namespace(v)
    s, largest = scales(v, rows)
    G, _ = gram(s[..., None] * rows.units, None, T, upper=True)
    T = of(T).matmul(T, whitened(G, rows.gone))
    squares = row_squares(rows.units, T)
    logs = xp.log(xp.where(rows.present, squares, xp.ones_like(squares))) - 2.0 * largest
    return xp.where(rows.present, logs, xp.zeros_like(logs)), T


def orthonormal(W: Any, P: Any) -> tuple[Any, Any]:
    """W = A P and P once more, as columns that are orthonormal and columns of zeros.

    All that a root P promises is P P^T = (A^T A)^+: W has singular values 1 and 0, and any number of columns.
    """
    xp, matmul = namespace(W), of(W).matmul
    values, vectors = xp.linalg.eigh(matmul(turned(W), W))
    kept = values > 0.25
    factors = xp.where(kept, 1.0 / xp.sqrt(xp.where(kept, values, xp.ones_like(values))), xp.zeros_like(values))
    mixing = vectors * factors[..., None, :]
    return matmul(W, mixing), matmul(P, mixing)


@kernel("sketch.lewis_start")
def begin(W: Any, P: Any, p: Any, *, columns: int) -> tuple[Rows, State, Any]:
    """The rows of an orthonormal A P, equal weights, d/n each, and this P."""
    xp = namespace(W)
    B, P = orthonormal(W, P)
    rows = rows_of(B, p)
    n, size = B.shape[-2:]
    equal = 2.0 / p * math.log(columns / n)
    v = xp.where(rows.present, equal - 2.0 * rows.log_norms, xp.zeros_like(rows.log_norms))
    T = xp.eye(size, **like(v)) + xp.zeros_like(rows.gone)
    return rows, State(v, *evaluate(v, T, rows)), P


def step(state: State, rows: Rows) -> State:
    """The weights that were found before, and what becomes of them."""
    return State(state.following, *evaluate(state.following, state.T, rows))


def change(state: State, rows: Rows) -> Any:
    """max_i |log(w+_i / w_i)|."""
    xp = namespace(state.v)
    return xp.max(0.5 * rows.p * xp.abs(state.following - state.v), axis=-1)


advance = stepwise(step, change)


def weights_of(v: Any, rows: Rows) -> Any:
    """w, zero where there is no row."""
    xp = namespace(v)
    w = xp.exp(rows.p * (rows.log_norms + 0.5 * v))
    return xp.where(rows.present, w, xp.zeros_like(w))


# ---------------------------------------------------------------------------------------------------------------------
# The derivative


def symmetric_map(y: Any, parameters: Any) -> Any:
    """(I - (1 - p/2) D^-1/2 K D^-1/2) y, K_ij = (c_i c_j^T)^2, D its row sums: eigenvalues between 1 and p/2."""
    C, inverse, share = parameters
    xp, matmul = namespace(y), of(y).matmul
    inner = matmul(turned(C), (inverse * y)[..., None] * C)
    return y - share * inverse * xp.sum(matmul(C, inner) * C, axis=-1)


def solve_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """With C = W^(1/2 - 1/p) A T orthonormal: d log w = (1 - p/2) D^-1 K d log w + (p/2) d log(scores of C).

    K and D are those of `symmetric_map`. The scores of C are taken at fixed weights, and their derivative is that of
    leverage scores.
    """
    if any(c is not None for c in cotangent[5:]):
        raise TypeError("lewis_weights has no second derivatives: differentiate it once only")
    if cotangent[0] is None:
        return (None,) * 3
    A, p, _ = args
    w, (v, P, T) = out[0], out[5:]
    xp, matmul = namespace(w), of(w).matmul
    rows = rows_of(product(A, P), p)
    s, _ = scales(v, rows)
    C = matmul(s[..., None] * rows.units, T)
    square = xp.sum(C * C, axis=-1)
    inverse = xp.where(rows.present, 1.0 / xp.sqrt(xp.where(rows.present, square, xp.ones_like(square))), 0.0 * square)
    share = xp.asarray(1.0 - 0.5 * p, **like(w))
    tol = 1e-13 if w.dtype == xp.float64 else 1e-6
    y = solve_symmetric(inverse * w * cotangent[0], (C, inverse, share), matvec=symmetric_map, tol=tol)
    weighted = (0.5 * p * inverse * y)[..., None] * C  # mu_i / D_i = D_i^-1/2 y_i
    outer = 2.0 * (weighted - matmul(C, matmul(turned(C), weighted)))
    outer = (s * xp.exp(-rows.log_norms))[..., None] * outer
    root_there = matmul(P, T)
    if not isinstance(A, CSR):
        return matmul(outer, turned(root_there)), None, None
    _, pull = of(w).vjp_of(lambda operator: operator @ root_there, A)
    return pull(outer)[0], None, None


def product(A: Any, P: Any) -> Any:
    """A P."""
    return A @ P if isinstance(A, CSR) else of(A).matmul(A, P)


@differentiable(solve_vjp)
def solve(A: Any, p: Any, tol: Any, *, seed: int, **options: Any) -> tuple[Any, ...]:
    """The weights, error, steps, code and history, and log v, P and T for the derivative."""
    P, _ = root(A, rng=seed)
    rows, start, P = begin(product(A, P), P, p, columns=A.shape[-1])
    run = iterate(advance, start, rows, tol=tol, patience=PATIENCE, **options)
    state = run.state
    code = settle(run.error, tol, run.code)
    return weights_of(state.v, rows), run.error, run.steps, code, run.history, state.v, P, state.T


@public
def weights_for(A: Any, p: Any, *, tol: Any, rng: Any, **options: Any) -> LewisResult[Any]:
    """:func:`lewis_weights` of an array or a CSR."""
    check_entries(A)
    value = number("p", p)
    if value is not None and not 0 < value < 4:
        why = "the iteration need not converge from p = 4 on" if value >= 4 else "there is no such norm"
        raise ValueError(f"p must lie in (0, 4), got {value}: {why}")
    check_limits(tol, options["max_steps"], options["check_every"])
    low, high = key(rng)
    numbers = A.data if isinstance(A, CSR) else A
    made = solve(
        A, p if value is None else value, tol, seed=low + (high << 32), method="sketch.lewis_weights", **options
    )
    error, steps, code, rows = map_arrays(of(numbers).stop_gradient, made[1:5])
    result: LewisResult[Any] = LewisResult(error, steps, code, rows, made[0])
    report(result, "sketch.lewis_weights", tol)
    return result


@guided
def lewis_weights(
    A: Array_,
    p: float,
    *,
    tol: float = 1e-6,
    max_steps: int = 50,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
    rng: int | np.random.Generator = 0,
) -> LewisResult[Array_]:
    """How much each row of A matters to the p-norm of A x: what leverage scores are to the Euclidean norm.

    The weights w satisfy w_i = (a_i (A^T W^(1 - 2/p) A)^+ a_i^T)^(p/2): they are the leverage scores of
    W^(1/2 - 1/p) A. Take them as probabilities to sample the rows of an l_p regression by, or to see which rows decide
    a fit in that norm. For p = 2 :func:`leverage_scores` gives the same at half of the cost. Do not take them near
    p = 0 or p = 4, where the iteration hardly contracts.

    Parameters
    ----------
    A : array, shape (..., n, d), or sparse matrix
        As for :func:`leverage_scores`. It is orthonormalised once, and n times rank numbers are held, also for a sparse
        one.
    p : float
        The norm, in (0, 4).
    tol : float
        Bound on `error`, the largest change of a weight by one more step, relative; 0 runs all steps. In float32 below
        about 1e-6 it may be out of reach.
    max_steps : int
        The most steps. Each divides the error by 1/|1 - p/2|: for 1e-6 it takes some 20 steps at p = 1 and p = 3, one
        at p = 2, and more than 50 outside of about 0.6 < p < 3.4.
    check_every : int, optional
        Steps between two looks at the error. The default leaves it to the backend.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every check. By default where that is free: everywhere but in a compiled jax
        loop.
    rng : int or numpy.random.Generator
        Seed of the sketch that the orthonormal columns may be computed with. The weights depend on it by rounding only.

    Returns
    -------
    LewisResult
        `weights`, and how far they are right.

    Raises
    ------
    TypeError
        If A is neither an array nor a sparse matrix, or if `rng`, `p` or a count is of another type.
    ValueError
        If p lies outside of (0, 4): from 4 on the iteration need not converge. For A as :func:`leverage_scores`.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol` in the end. `status` tells why: the steps ran out, or STALLED where rounding hides
        further progress.

    Notes
    -----
    The iteration of M. B. Cohen and R. Peng, "Lp row sampling by Lewis weights", STOC 2015, from equal weights d/n. The
    weights do not change when the columns of A are scaled or mixed by an invertible matrix. Directions are dropped, and
    digits lost, as described for :func:`leverage_scores`.

    On torch and jax the weights are differentiable, once, by the implicit function theorem: a linear system with the
    squared entries of the projection onto W^(1/2 - 1/p) A, whose condition number is at most max(p/2, 2/p). Rows of
    zeros get a zero gradient, and A changes at constant rank.

    Examples
    --------
    Four equal rows share one direction. In the 1-norm that makes no difference to how the last row counts in its own:

    >>> import numpy as np
    >>> import equipoise as eq
    >>> A = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    >>> result = eq.sketch.lewis_weights(A, 1.0)
    >>> [round(float(w), 4) for w in result.weights], result.converged
    ([0.25, 0.25, 0.25, 0.25, 1.0], True)
    """
    options = {"max_steps": max_steps, "check_every": check_every, "callback": callback, "history": history}
    return weights_for(matrix_of(A), p, tol=tol, rng=rng, **options)
