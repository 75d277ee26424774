"""Least squares by sketching: as accurate as a direct solver and several times faster, or one pass with error bars."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from ..arrays import A as Array_
from ..arrays import library, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits
from ..guide import guided
from ..operators import Dense, LinearOperator, as_operator
from ..random import key
from .checks import check_matrix, check_sides, columns_of
from .choice import check_settings, settings_for, sketches_for
from .factors import unit
from .making import suggest_rows
from .passes import norms
from .result import LstsqResult, report_on
from .solve import assembled, sketch_of, solve_accurately, solve_sketched

__all__ = ["lstsq"]


def together(A: Any, b: Any, vectors: bool) -> tuple[Any, Any, Any]:
    """A and b with one batch, right-hand sides as columns; a batch of them alone becomes more columns."""
    xp = namespace(b)
    b = columns_of(b, vectors)
    if not library(A) or (A.ndim == 2 and b.ndim == 2):
        return A, b, (None, vectors)
    if A.ndim == 2:
        batch, (n, k) = tuple(b.shape[:-2]), b.shape[-2:]
        return A, xp.reshape(xp.moveaxis(b, -2, 0), (n, -1)), ((*batch, k), vectors)
    batch = np.broadcast_shapes(tuple(A.shape[:-2]), tuple(b.shape[:-2]))
    A = xp.broadcast_to(A, (*batch, *A.shape[-2:]))
    return A, xp.broadcast_to(b, (*batch, *b.shape[-2:])), (None, vectors)


def moderate(b: Any) -> tuple[Any, Any]:
    """b, and None; or, where squares of it overflow or vanish, b with columns near 1, and their powers of two."""
    xp, backend = namespace(b), of(b)
    if backend.traced([b]):
        return b, None
    with np.errstate(all="ignore"):
        sizes = backend.to_numpy(norms(backend.stop_gradient(b)))
        reach = float(xp.finfo(b.dtype).max) ** 0.375
        if ((sizes > 1 / reach) & (sizes < reach)).all():
            return b, None
        largest = backend.to_numpy(xp.max(xp.abs(backend.stop_gradient(b)), axis=-2))
    powers = np.where(
        np.isfinite(largest) & (largest > 0), np.exp2(np.frexp(largest)[1].astype(largest.dtype) - 1), 1.0
    )
    size = backend.lend(powers.astype(largest.dtype), b)
    return b / size[..., None, :], size


def enlarged(result: LstsqResult[Any], size: Any) -> LstsqResult[Any]:
    """The way back."""
    if size is None:
        return result
    deviation = None if result.deviation is None else result.deviation * size[..., None, :]
    x, norm = result.x * size[..., None, :], result.residual_norm * size
    return replace(result, x=x, residual_norm=norm, deviation=deviation)


def apart(result: LstsqResult[Any], shape: Any) -> LstsqResult[Any]:
    """The way back for what has a right-hand side."""
    folded, vectors = shape

    def unfold(x: Any, axes: int) -> Any:
        """x, shape (d, columns) or (columns,)."""
        if folded is not None:
            xp = namespace(x)
            x = xp.reshape(x, (*x.shape[:-1], *folded))
            x = xp.moveaxis(x, 0, -2) if axes == 2 else x
        return x[..., 0] if vectors else x

    single = {name: unfold(getattr(result, name), 1) for name in ("error", "steps", "code", "residual_norm")}
    deviation = None if result.deviation is None else unfold(result.deviation, 2)
    return replace(result, x=unfold(result.x, 2), deviation=deviation, **single)


def matrix_of(A: Any) -> Any:
    """A as an array or an operator; sparse matrices of all libraries become :class:`equipoise.operators.CSR`."""
    sparse = "sparse" in str(getattr(A, "layout", "")) or hasattr(A, "n_batch")
    if sparse or not (library(A) or isinstance(A, LinearOperator)):
        A = as_operator(A)
    return A.array if isinstance(A, Dense) else A


@public
def lstsq_of(A: Any, b: Any, **settings: Any) -> LstsqResult[Any]:
    """:func:`lstsq`, of a matrix that is an array or an operator and so may cross the boundary."""
    n, d = check_matrix(A)
    vectors = check_sides(A, b, n)
    kind, rows, epsilon, delta = (settings[k] for k in ("kind", "sketch_rows", "epsilon", "delta"))
    check_settings(settings["method"], kind, rows, epsilon, delta, settings["rcond"], d)
    low, high = key(settings["rng"])
    method, tol = settings_for(A, b, settings["method"], kind, rows, epsilon, delta, settings["tol"])
    check_limits(tol, settings["max_steps"], settings["check_every"])
    rcond = 30.0 * unit(b) if settings["rcond"] is None else float(settings["rcond"])
    A, b, shape = together(A, b, vectors)
    b, size = moderate(b)
    with np.errstate(all="ignore"):  # what is not finite is told in words
        if method == "sketch_solve":
            name = kind or ("srht" if library(A) else "sparse_sign")
            m = rows if rows is not None else suggest_rows(name, d, epsilon=epsilon, delta=delta)
            S = sketches_for(method, name, m, (n, d), low + (high << 32))(0)
            result = solve_sketched(*sketch_of(A, b, S), S, tol, delta, rcond)
        else:
            watching = {name: settings[name] for name in ("check_every", "callback", "history")}
            fixed = {"kind": kind, "rows": rows, "rcond": rcond, "seed": low + (high << 32), "method": method}
            out = solve_accurately(A, b, tol, **fixed, **watching, max_steps=settings["max_steps"])
            result = assembled(out, method, sketches_for(method, kind, rows, (n, d), 0))
    result = apart(enlarged(result, size), shape)
    report_on(result, tol)
    return result


@guided
def lstsq(
    A: Any,
    b: Array_,
    *,
    method: str = "auto",
    kind: str | None = None,
    sketch_rows: int | None = None,
    epsilon: float | None = None,
    delta: float = 0.05,
    rcond: float | None = None,
    tol: float | None = None,
    max_steps: int = 100,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
    rng: int | np.random.Generator = 0,
) -> LstsqResult[Array_]:
    """Minimise |b - A x| for a tall matrix A, to rounding or within `epsilon`.

    Take it where A has many more rows than columns: the accurate methods then cost a fraction of a QR factorisation and
    are as backward stable, and one pass over A gives a solution with an error bar for every coordinate. Do not take it
    for a matrix that is not much taller than wide, where it only calls the library's own solver, nor for a regularised
    or constrained problem.

    Parameters
    ----------
    A : array, shape (..., n, d), sparse matrix, operator or dask array
        Floating-point, float64 or float32. Leading axes are a batch. Memory maps are read by panels and never copied.
        Sparse matrices (:class:`equipoise.operators.CSR`, scipy, torch, jax) and operators with ``matvec`` and
        ``rmatvec`` are solved by ``spir`` or ``sketch_solve``. Of a dask array every pass is one computation on the
        active scheduler; the result is numpy.
    b : array, shape (..., n) or (..., n, k)
        Right-hand sides: vectors if b has one axis, or one less than A; else matrices.
    method
        ``"direct"``: the library's own solver by singular values. ``"cholesky_qr"``: normal equations of A, or, if A
        is ill-conditioned, of A R^-1 with R from a sketch. ``"spir"``: conjugate gradients preconditioned by a sketch,
        for operators and many columns. ``"sketch_solve"``: the sketched problem instead, one pass. ``"auto"``:
        ``sketch_solve`` if `epsilon` is given, else the fastest of the first three.
    kind
        Of the sketch, see :func:`sketch_operator`. By default ``"srht"`` for ``sketch_solve`` (``"sparse_sign"`` for
        sparse A), ``"sparse_sign"`` for the others.
    sketch_rows
        Rows of the sketch, more than d. By default what `epsilon` needs, 3 d for ``cholesky_qr``, and for ``spir`` 12 d
        or, with n >= 500 d, 20 d.
    epsilon
        For ``sketch_solve``, in (0, 1): with probability 1 - `delta` every coordinate is within ``epsilon / sqrt(d) |b
        - A x*| |A^+|`` of the solution x*. Where that needs half of the rows or more, ``direct`` runs instead.
    delta
        The probability that `epsilon` may fail, in (0, 1).
    rcond
        Singular values of A with columns of norm 1 below it, relative to the largest, count as zero. By default 30
        units of roundoff, less than numpy's.
    tol
        Bound on `error`. By default 4 units of roundoff; for ``sketch_solve`` `epsilon`, or nothing without it.
    max_steps
        The most products of ``spir``, and corrections of the other methods, which never make more than 3.
    check_every : int, optional
        Corrections between two looks; a stage of ``spir`` is always looked at.
    callback : callable, optional
        Called at every look with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every look. By default where that is free.
    rng
        An int in [0, 2^64), the seed of the sketch, or a `numpy.random.Generator`, of which one number is drawn.

    Returns
    -------
    LstsqResult
        `x`, `residual_norm`, `error`, `rank`, `condition`, and for ``sketch_solve`` ``coordinate_bound(delta)``.

    Raises
    ------
    TypeError, ValueError
        If something is no array of float64 or float32, shapes do not fit, a row is not finite (the sentence names it),
        or settings contradict each other.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol`.

    Notes
    -----
    ``cholesky_qr`` follows the preconditioned Cholesky QR of the CQRRT algorithm in RandLAPACK with semi-normal
    corrections; ``spir`` is SPIR of E. N. Epperly, M. Meier, Y. Nakatsukasa, "Fast randomized least-squares solvers can
    be just as accurate and stable as classical direct solvers", arXiv 2406.03468. `error` is the Karlson-Walden
    estimate of the backward error with the spectrum of the sketch, from the residual and the gradient of x itself; for
    ``direct`` an upper bound of it where that is cheaper. Rank is decided on the sketch: directions that are dropped
    stay out of x, which has the least norm. The guarantee of ``sketch_solve`` is that of Z. Song, M. Ye, J. Yin, L.
    Zhang, ICML 2023 (arXiv 2302.00248), with the practical size of :func:`suggest_rows`.

    On torch and jax, x and `residual_norm` are differentiable in A and b, by the equations that x satisfies, where A
    has full rank; twice in reverse. ``sketch_solve`` is differentiated as the sketched problem. Under ``jax.jit`` all
    branches are one, which gives the same answers; method, sizes and seed are static there.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> rng = np.random.default_rng(0)
    >>> A = rng.normal(size=(20_000, 60))
    >>> b = A @ np.ones(60) + rng.normal(size=20_000)
    >>> result = eq.sketch.lstsq(A, b)
    >>> result.method, result.converged, bool(np.allclose(result.x, np.linalg.lstsq(A, b)[0], atol=1e-13))
    ('cholesky_qr', True, True)
    >>> sketched = eq.sketch.lstsq(A, b, epsilon=0.5)
    >>> bool(np.all(abs(sketched.x - result.x) <= sketched.coordinate_bound(0.01)))
    True
    """
    settings = {"method": method, "kind": kind, "sketch_rows": sketch_rows, "epsilon": epsilon, "delta": delta}
    numbers = {"rcond": rcond, "tol": tol, "max_steps": max_steps, "rng": rng}
    watching = {"check_every": check_every, "callback": callback, "history": history}
    if library(A) == "dask":  # imported where it is needed, as a backend is
        return import_module("equipoise_dask").lstsq(A, b, **settings, **numbers, **watching)
    return lstsq_of(matrix_of(A), b, **settings, **numbers, **watching)
