"""Which method runs, with which sketch, and what a call has to say for it."""

from __future__ import annotations

import math
from typing import Any

from ..arrays import library
from ..checks import number
from .checks import check_inside, check_whole
from .factors import unit
from .kinds import KINDS
from .making import rows_for, sketch_operator
from .operator import SketchOperator

__all__ = ["check_settings", "settings_for", "sketches_for"]

METHODS = ("auto", "direct", "cholesky_qr", "spir", "sketch_solve")
MANY = 500  # rows a column from which on a larger factorisation costs less than more products
TALL, WIDE, LARGE = 15, 8, 150_000  # rows a column, columns, and entries from which on a sketch saves time


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
    if rcond is not None and number("rcond", rcond) is None:
        raise TypeError("rcond must be a plain number under a transformation, which cannot look into an array")
    if rcond is not None and not 0 <= (number("rcond", rcond) or 0.0) < 1:
        raise ValueError(f"rcond must be in [0, 1), got {rcond}")


def settings_for(
    A: Any, b: Any, method: str, kind: str | None, rows: Any, epsilon: Any, delta: float, tol: Any
) -> tuple[str, Any]:
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
    method = chosen(A, method, epsilon, delta, rows, kind)
    if tol is None:
        tol = 4.0 * unit(b) if method != "sketch_solve" else math.inf if epsilon is None else epsilon
    return method, tol


def chosen(A: Any, method: str, epsilon: Any, delta: float, rows: Any, kind: str | None) -> str:
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
    if method == "sketch_solve" and rows is None and rows_for(d, epsilon, delta) >= n / 2:
        return "direct" if library(A) else "spir"
    return "direct" if n < d and library(A) else method


def sketches_for(method: str, kind: str | None, rows: int | None, shape: Any, seed: int) -> Any:
    """``k -> SketchOperator``: a cheap sketch for k = 0 of ``cholesky_qr``, a thorough one otherwise.

    `rows` are those of the first one that the method makes.
    """
    n, d = shape[-2:]
    first = int(method == "spir")

    def make(k: int) -> SketchOperator:
        name, given = kind or "sparse_sign", rows if k == first else None
        cheap = method == "cholesky_qr" and k == 0
        many = n is not None and n >= MANY * d
        m = given or (3 if cheap else 20 if many else 12) * d
        s = 4 if cheap else 8
        if name == "sparse_sign":
            m = -(-m // s) * s
        elif name == "srht" and n is not None and given is None:
            m = min(m, 1 << (n - 1).bit_length())
        return sketch_operator(name, m, n, rng=(seed + k) % 2**64, s=s)

    return make
