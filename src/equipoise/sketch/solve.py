"""What the methods have in common: passes in, an answer with its errors out, and derivatives by one rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import library, namespace
from ..backend import of
from ..implicit import differentiable
from ..kernel import on_host
from ..operators import CSR
from ..record import as_data, leaves, map_arrays, plain
from ..result import settle
from .adjoint import passes_of, solve_vjp
from .checks import complain, is_finite
from .choice import sketches_for
from .cholesky_qr import cholesky_qr, reachable, was_stopped, worst
from .direct import direct
from .factors import turned
from .operator import SketchOperator
from .panels import gram
from .passes import Passes
from .result import LstsqResult
from .spir import spir
from .student import upper_quantile

__all__ = ["assembled", "sketch_of", "solve_accurately", "solve_by_passes", "solve_sketched"]

# ---------------------------------------------------------------------------------------------------------------------
# To rounding


def solve(
    A: Any, b: Any, tol: Any, *, method: str, kind: Any, rows: Any, rcond: float, seed: int, **options: Any
) -> Any:
    """x, |b - A x|, error, steps, code, history, rank, condition, and M with M M^T = (A^T A)^+ or close to it."""
    if method == "direct":
        return solve_direct(A, b, tol, rcond, **options, method="sketch.lstsq")
    return solve_by_passes(
        passes_of(A, b), tol, method, sketches_for(method, kind, rows, plain(A).shape, seed), rcond, **options
    )


def solve_by_passes(
    passes: Passes, tol: Any, method: str, sketches: Any, rcond: float, *, root: bool, **options: Any
) -> Any:
    """The same for whatever can be met pass by pass."""
    xp, dtype = namespace(passes.sides), passes.sides.dtype
    options["method"] = "sketch.lstsq"
    if method == "spir":
        solved = spir(passes, sketches, rcond, tol, **options)
    else:
        solved = cholesky_qr(passes, sketches, rcond, tol, **options)
        # Near a condition of 1 / u corrections by a Gram matrix no longer help; products with A do.
        if worst(solved.run) > reachable(passes, tol) and not was_stopped(solved.run):
            other = spir(passes, sketches, rcond, tol, **options)
            solved = other if worst(other.run) < worst(solved.run) else solved
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


def assembled(out: Any, method: str, sketches: Any) -> LstsqResult[Any]:
    """What an accurate solver has found, as a result."""
    x, norm, *rest, _ = out
    if of(x).differentiable([x]):
        rest = list(map_arrays(of(x).stop_gradient, tuple(rest)))
    error, steps, code, history, rank, condition = rest
    S = None if method == "direct" else sketches(int(method == "spir"))
    about = ("", 0, 0) if S is None else (S.kind, S.m, S.s)
    return LstsqResult(error, steps, code, history, x, norm, rank, condition, None, method, *about)


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
