"""The checks of the sketching family, each answered by one sentence before any work, or by the sketch that shows it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import first_index, is_floating, library, namespace, shape_text
from ..backend import of
from ..checks import check_mask, values
from ..operators import CSR, LinearOperator
from ..record import plain

__all__ = [
    "check_dtype",
    "check_inside",
    "check_matrix",
    "check_numbers",
    "check_plain",
    "check_sides",
    "check_sketch",
    "check_whole",
    "check_width",
    "columns_of",
    "is_finite",
]


def check_matrix(A: Any) -> tuple[int, int]:
    """The rows and columns of A: an array (..., n, d) of floating-point numbers, or an operator."""
    if not library(A) and isinstance(A, LinearOperator):
        n, d = A.shape
        numbers = getattr(A, "data", None)
        if isinstance(A, CSR) and numbers is not None and numbers.ndim > 1:
            raise ValueError(
                f"A must be one sparse matrix, not a batch of them, got data of shape {shape_text(numbers)}"
            )
    elif not library(A):
        raise TypeError(f"A must be an array, a sparse matrix or an operator, got {type(A).__name__}")
    else:
        check_mask("A", A)
        check_plain("A", A)
        if A.ndim < 2:
            raise ValueError(f"A must have shape (..., n, d), got {shape_text(A)}")
        check_dtype("A", A)
        n, d = A.shape[-2:]
    if library(A) and 0 in A.shape[:-2]:
        raise ValueError(f"A must have at least one member in its batch, got shape {shape_text(A)}")
    if d == 0 or n == 0:
        raise ValueError(f"A must have at least one row and one column, got shape ({n}, {d})")
    return int(n), int(d)


def check_whole(name: str, x: Any, least: int) -> int:
    """A whole number, at least `least`."""
    if isinstance(x, bool) or not hasattr(x, "__index__"):
        raise TypeError(f"{name} must be a whole number, got {type(x).__name__}")
    if int(x) < least:
        raise ValueError(f"{name} must be at least {least}, got {int(x)}")
    return int(x)


def check_inside(name: str, x: Any) -> None:
    """A number in the open interval (0, 1)."""
    if isinstance(x, bool) or not isinstance(x, (int, float, np.floating)):
        raise TypeError(f"{name} must be a number, got {type(x).__name__}")
    if not 0 < x < 1:
        raise ValueError(f"{name} must be in (0, 1), got {x}")


def check_numbers(name: str, A: Any) -> None:
    """A floating array."""
    if not library(A):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(A).__name__}")
    check_mask(name, A)
    if not is_floating(A):
        raise ValueError(f"{name} must hold floating-point numbers, got dtype {A.dtype}; convert it first")


def check_width(x: Any, n: int) -> None:
    """Rows are counted in 32 bits where the library has no wider whole numbers."""
    kinds = namespace(x).__array_namespace_info__().dtypes(kind="signed integer")
    if n >= 2**31 and "int64" not in kinds:
        raise ValueError(f"row {n} cannot be counted by {library(x)} without 64-bit numbers; enable them")


def check_plain(name: str, x: Any) -> None:
    """numpy's matrices multiply and slice in their own way."""
    if isinstance(x, np.matrix):
        raise TypeError(f"{name} is a numpy.matrix; pass numpy.asarray({name})")


def check_dtype(name: str, x: Any) -> None:
    """float64 or float32."""
    xp = namespace(x)
    if x.dtype not in (getattr(xp, "float64", None), xp.float32):
        raise ValueError(f"{name} must hold float64 or float32 numbers, got dtype {x.dtype}; convert it first")


def check_sides(A: Any, b: Any, n: int) -> bool:
    """Whether b, shape (..., n) or (..., n, k), is of vectors; it has to fit to A."""
    if not library(b):
        raise TypeError(f"b must be an array, got {type(b).__name__}")
    check_mask("b", b)
    check_plain("b", b)
    if library(A):
        namespace(A, b)
    check_dtype("b", b)
    dtype = getattr(A, "dtype", None)
    if dtype is not None and (library(A) or isinstance(A, CSR)) and b.dtype != dtype:
        raise TypeError(f"b must have the dtype {dtype} of A, got {b.dtype}; convert one of them")
    axes = A.ndim if library(A) else 2
    vectors = b.ndim == 1 or b.ndim == axes - 1
    rows = b.shape[-1] if vectors else b.shape[-2] if b.ndim > 1 else -1
    if b.ndim < 1 or rows != n:
        raise ValueError(f"b must have {n} rows, as A has, got shape {shape_text(b)}")
    if not vectors and b.shape[-1] == 0:
        raise ValueError(f"b must have at least one column, got shape {shape_text(b)}")
    batch = tuple(b.shape[:-1] if vectors else b.shape[:-2])
    try:
        np.broadcast_shapes(batch, tuple(A.shape[:-2]) if library(A) else ())
    except ValueError:
        raise ValueError(f"b, shape {shape_text(b)}, does not fit the batch of A, shape {shape_text(A)}") from None
    if batch and not library(A):
        raise ValueError(f"b must have shape (n,) or (n, k) for an operator A, got {shape_text(b)}")
    return vectors


def columns_of(b: Any, vectors: bool) -> Any:
    """b with its right-hand sides as columns."""
    return b[..., None] if vectors else b


def is_finite(x: Any) -> bool:
    """Whether all numbers of a known array are finite; unknown ones are taken to be."""
    seen = values(x)
    if seen is None:
        return True
    xp = namespace(seen)
    with np.errstate(all="ignore"):
        total = float(of(seen).to_numpy(xp.asarray(xp.sum(seen))))
    return math.isfinite(total) or bool(xp.all(xp.isfinite(seen)))


def check_sketch(SA: Any, Sb: Any, passes: Any) -> None:
    """Numbers only: every row of A went into the sketch, and one that is not finite shows there."""
    if is_finite(SA) and is_finite(Sb):
        return
    complain(getattr(passes, "A", None), getattr(passes, "b", None))


def complain(A: Any, b: Any) -> None:
    """Name the first row that is not finite; where there is none, sums have overflowed."""
    A = plain(A)
    for name, x in (("A", A), ("b", b)):
        if isinstance(x, CSR):
            bad = ~namespace(x.data).isfinite(x.data)
            if bool(namespace(x.data).any(bad)):
                k = first_index(bad)[-1]
                raise ValueError(f"A must be finite, got {float(x.data[k])} in row {int(x.rows[k])}")
        elif library(x):
            row = first_bad_row(x)
            if row is not None:
                raise ValueError(f"{name} must be finite, got a number that is not in row {row}")
    if not library(A) and not isinstance(A, CSR):
        raise ValueError("products with A, or with its transpose, are not finite")
    raise ValueError("the sketch of A or b overflowed: scale them down")


def first_bad_row(x: Any) -> int | None:
    """The first row of (..., n, k) with a number that is not finite, looked for some rows at a time."""
    xp, n = namespace(x), x.shape[-2]
    size = max(1, 2**20 // max(1, x.shape[-1]))
    for start in range(0, n, size):
        bad = ~xp.isfinite(x[..., start : min(start + size, n), :])
        if bool(xp.any(bad)):
            axes = tuple(k for k in range(bad.ndim) if k != bad.ndim - 2)
            return start + first_index(xp.any(bad, axis=axes))[0]
    return None
