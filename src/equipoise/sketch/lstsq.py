"""Least squares by sketching: as accurate as a direct solver and several times faster, or one pass with error bars."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import library, namespace
from ..backend import of
from ..boundary import public
from ..checks import check_limits, number
from ..implicit import differentiable
from ..kernel import on_host
from ..operators import CSR, Dense, LinearOperator, as_operator
from ..random import key
from ..record import as_data, leaves, map_arrays
from ..result import report, settle
from .adjoint import passes_of, solve_vjp
from .checks import check_matrix, check_sides, columns_of, complain, is_finite
from .cholesky_qr import cholesky_qr
from .direct import direct
from .factors import turned, unit
from .kinds import KINDS
from .operator import SketchOperator, check_inside, check_whole, sketch_operator, suggest_rows
from .panels import gram
from .passes import Passes
from .result import LstsqResult
from .spir import spir
from .student import upper_quantile

__all__ = ["lstsq", "sketches_for", "solve_sketched"]

METHODS = ("auto", "direct", "cholesky_qr", "spir", "sketch_solve")
TALL, WIDE, LARGE = 8, 48, 100_000  # rows a column, columns, and entries from which on a sketch saves time


# ---------------------------------------------------------------------------------------------------------------------
# What runs


def chosen(A: Any, method: str, epsilon: Any, rows: Any, kind: str | None) -> str:
    """The method for ``auto``, and for a sketch that would save nothing."""
    n, d = A.shape[-2:]
    if method == "auto":
        if epsilon is not None:
            method = "sketch_solve"
        elif not library(A):
            return "spir"
        elif n < TALL * d or d < WIDE or n * d < LARGE or A.ndim > 2:
            return "direct"
        else:
            return "cholesky_qr"
    if method == "sketch_solve" and rows is None and suggest_rows(kind or "srht", d, epsilon=epsilon) >= n / 2:
        return "direct" if library(A) else "spir"
    return "direct" if n < d and library(A) else method


def sketches_for(method: str, kind: str | None, rows: int | None, shape: Any, seed: int) -> Any:
    """``k -> SketchOperator``: a cheap sketch for k = 0 of ``cholesky_qr``, a thorough one otherwise."""

    n, d = shape[-2:]

    def make(k: int) -> SketchOperator:
        name = kind or "sparse_sign"
        cheap = method == "cholesky_qr" and k == 0
        s = 4 if cheap else 8
        m = rows if rows is not None and k == 0 else (3 if cheap else 12) * d
        if name == "sparse_sign":
            m = -(-m // s) * s
        elif name == "srht" and n is not None and rows is None:
            m = min(m, 1 << (n - 1).bit_length())
        return sketch_operator(name, m, n, rng=(seed + k) % 2**64, s=s)

    return make


# ---------------------------------------------------------------------------------------------------------------------
# The accurate solvers


def solve(
    A: Any, b: Any, tol: Any, *, method: str, kind: Any, rows: Any, rcond: float, seed: int, **options: Any
) -> Any:
    """x, |b - A x|, error, steps, code, history, rank, condition, and M with M M^T = (A^T A)^+ or close to it."""
    if method == "direct":
        return solve_direct(A, b, tol, rcond, **options, method="sketch.lstsq")
    return solve_by_passes(
        passes_of(A, b), tol, method, sketches_for(method, kind, rows, A.shape, seed), rcond, **options
    )


def solve_by_passes(
    passes: Passes, tol: Any, method: str, sketches: Any, rcond: float, *, root: bool, **options: Any
) -> Any:
    """The same for whatever can be met pass by pass."""
    xp, dtype = namespace(passes.sides), passes.sides.dtype
    solver = {"cholesky_qr": cholesky_qr, "spir": spir}[method]
    solved = solver(passes, sketches, rcond, tol, **options, method="sketch.lstsq")
    point, run, spectrum = solved.run.state, solved.run, solved.spectrum
    M = (spectrum.preconditioner if solved.root is None else solved.root) if root else None
    error = xp.astype(run.error, dtype, copy=False)
    code = settle(error, tol, run.code)
    condition = xp.astype(spectrum.condition, dtype, copy=False)
    rest = (error, run.steps, code, run.history, spectrum.rank, condition, M)
    return turned(point.x), xp.sqrt(point.square), *rest


def solve_direct(A: Any, b: Any, tol: Any, rcond: float, **options: Any) -> tuple[Any, ...]:
    """The same by the library's own solver, which fails, or not, on numbers that are not finite."""
    xp = namespace(b)
    try:
        point, run, rank, condition, M = direct(A, b, rcond, tol, **options)
    except (np.linalg.LinAlgError, RuntimeError):
        if is_finite(A) and is_finite(b):
            raise
        complain(A, b)
        raise
    if not is_finite(point.x):
        complain(A, b)
    error, condition = (xp.astype(x, b.dtype, copy=False) for x in (run.error, condition))
    rest = (error, run.steps, settle(error, tol, run.code), run.history, rank, condition, M)
    return turned(point.x), xp.sqrt(point.square), *rest


solve_in_memory = differentiable(solve_vjp)(on_host(gram)(solve))
solve_by_products = differentiable(solve_vjp)(solve)  # somebody's operator sees the arrays of its own library


def solve_accurately(A: Any, b: Any, tol: Any, **settings: Any) -> tuple[Any, ...]:
    """The solver for A, and what it leaves behind if derivatives will ask for it."""
    rooted = of(b).differentiable(leaves((A, b)))
    run = solve_in_memory if library(A) or isinstance(A, CSR) else solve_by_products
    out: tuple[Any, ...] = run(as_data(A), b, tol, root=rooted, **settings)
    return out


# ---------------------------------------------------------------------------------------------------------------------
# Sketch and solve


def solve_sketched(SA: Any, Sb: Any, S: SketchOperator, tol: Any, delta: float, rcond: float) -> LstsqResult[Any]:
    """The solution of the sketched problem, Sb of shape (..., m, k), with what its statistics say of the full one."""
    xp, backend = namespace(SA), of(SA)
    m, d = SA.shape[-2:]
    settings: dict[str, Any] = {"method": "direct", "kind": None, "rows": None, "seed": 0, "max_steps": 3}
    rooted = differentiable(solve_vjp)(solve)(SA, Sb, math.inf, root=True, rcond=rcond, **settings)
    x, norm, root = rooted[0], rooted[1], backend.stop_gradient(rooted[-1])
    sigma = norm / math.sqrt(m - d)
    spread = xp.sqrt(xp.asarray(xp.sum(root * root, axis=-1)))
    deviation = xp.astype(spread, x.dtype, copy=False)[..., :, None] * backend.stop_gradient(sigma)[..., None, :]
    epsilon = upper_quantile(delta / (2 * d), m - d) * math.sqrt(d / m)
    fine = xp.isfinite(backend.stop_gradient(norm))
    error = xp.where(fine, epsilon + 0.0 * backend.stop_gradient(norm), xp.nan * backend.stop_gradient(norm))
    steps = xp.zeros_like(error, dtype=xp.int32)
    outcome = (error, steps, settle(error, tol, steps), None)
    rest = (x, sigma * math.sqrt(m), rooted[-3], backend.stop_gradient(rooted[-2]), deviation)
    s = S.s if S.kind in ("sparse_sign", "countsketch") else 0
    return LstsqResult(*outcome, *rest, "sketch_solve", S.kind, m, s, True)


def sketch_of(A: Any, b: Any, S: SketchOperator) -> tuple[Any, Any]:
    """S A and S b; a number that is not finite is named."""
    if library(A):
        SA, Sb = (S.scaled(x) for x in S.sums((A, b)))
    else:
        SA, Sb, _ = passes_of(A, b).sketched(S)
    if not (is_finite(SA) and is_finite(Sb)):
        complain(A, b)
    return SA, Sb


# ---------------------------------------------------------------------------------------------------------------------
# The public function


def check_settings(method: str, kind: str | None, rows: Any, epsilon: Any, delta: Any, rcond: Any, d: int) -> None:
    """Names, numbers and what they have to do with each other."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if kind is not None and (kind not in KINDS or kind == "tensor_srht"):
        raise ValueError(f"kind must be one of {', '.join(k for k in KINDS if k != 'tensor_srht')}, got {kind!r}")
    if rows is not None and check_whole("sketch_rows", rows, 1) <= d:
        raise ValueError(f"sketch_rows must exceed the {d} columns of A, got {rows}")
    if epsilon is not None:
        check_inside("epsilon", epsilon)
        if method not in ("auto", "sketch_solve"):
            raise ValueError(
                f"epsilon belongs to method 'sketch_solve', got method {method!r}, which solves to rounding"
            )
    check_inside("delta", delta)
    if rcond is not None and not 0 <= (number("rcond", rcond) or 0.0) < 1:
        raise ValueError(f"rcond must be in [0, 1), got {rcond}")


def settings_for(A: Any, b: Any, method: str, kind: str | None, rows: Any, epsilon: Any, tol: Any) -> tuple[str, Any]:
    """The method that runs, and its tolerance."""
    n, d = A.shape[-2:]
    wanted = "sketch_solve" if epsilon is not None else method
    if wanted == "sketch_solve":
        if epsilon is None and rows is None:
            raise ValueError("method 'sketch_solve' needs epsilon or sketch_rows")
        if n < d:
            raise ValueError(f"method 'sketch_solve' needs at least as many rows as columns, got shape ({n}, {d})")
    if not library(A) and (n < d or method in ("direct", "cholesky_qr")):
        raise ValueError(
            f"a sparse matrix or operator needs n >= d and method 'spir' or 'sketch_solve', got {method!r} "
            f"and shape ({n}, {d}); convert it to an array for 'direct'"
        )
    method = chosen(A, method, epsilon, rows, kind)
    if tol is None:
        tol = 4.0 * unit(b) if method != "sketch_solve" else math.inf if epsilon is None else epsilon
    return method, tol


@public
def lstsq_of(A: Any, b: Any, **settings: Any) -> LstsqResult[Any]:
    """:func:`lstsq`, of a matrix that is an array or an operator and so may cross the boundary."""
    n, d = check_matrix(A)
    vectors = check_sides(A, b, n)
    kind, rows, epsilon, delta = (settings[k] for k in ("kind", "sketch_rows", "epsilon", "delta"))
    check_settings(settings["method"], kind, rows, epsilon, delta, settings["rcond"], d)
    low, high = key(settings["rng"])
    method, tol = settings_for(A, b, settings["method"], kind, rows, epsilon, settings["tol"])
    check_limits(tol, settings["max_steps"], settings["check_every"])
    rcond = 30.0 * unit(b) if settings["rcond"] is None else float(settings["rcond"])
    A, b, shape = together(A, b, vectors)
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
    result = apart(result, shape)
    report(result, "sketch.lstsq", tol, advice_for(method))
    return result


def assembled(out: Any, method: str, sketches: Any) -> LstsqResult[Any]:
    """What an accurate solver has found, as a result."""
    x, norm, *rest, _ = out
    outcome = map_arrays(of(x).stop_gradient, tuple(rest))
    error, steps, code, history, rank, condition = outcome
    S = None if method == "direct" else sketches(int(method == "spir"))
    about = ("", 0, 0) if S is None else (S.kind, S.m, S.s)
    return LstsqResult(error, steps, code, history, x, norm, rank, condition, None, method, *about)


def matrix_of(A: Any) -> Any:
    """A as an array or an operator; sparse matrices of all libraries become :class:`equipoise.operators.CSR`."""
    sparse = "sparse" in str(getattr(A, "layout", "")) or hasattr(A, "n_batch")
    if sparse or not (library(A) or isinstance(A, LinearOperator)):
        A = as_operator(A)
    return A.array if isinstance(A, Dense) else A


def advice_for(method: str) -> str:
    """What to try besides."""
    return "Raise sketch_rows, or loosen epsilon." if method == "sketch_solve" else ""


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


def lstsq(
    A: Any,
    b: Any,
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
) -> LstsqResult[Any]:
    """Minimise |b - A x| for a tall matrix A."""
    settings = {"method": method, "kind": kind, "sketch_rows": sketch_rows, "epsilon": epsilon, "delta": delta}
    numbers = {"rcond": rcond, "tol": tol, "max_steps": max_steps, "rng": rng}
    watching = {"check_every": check_every, "callback": callback, "history": history}
    if library(A) == "dask":  # imported where it is needed, as a backend is
        from importlib import import_module

        return import_module("equipoise_dask").lstsq(A, b, **settings, **numbers, **watching)
    return lstsq_of(matrix_of(A), b, **settings, **numbers, **watching)
