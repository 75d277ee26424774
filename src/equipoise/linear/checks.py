"""What every linear solver asks of its input, each answered by one sentence before any work."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import first_index, is_floating, library, namespace, shape_text
from ..checks import check_finite, check_mask, number, values
from ..operators import CSR, Dense, Stencil
from ..record import leaves, plain

__all__ = [
    "batch_of",
    "check_diagonal",
    "check_omega",
    "check_order",
    "check_sweep",
    "check_system",
    "trailing",
]


def trailing(A: Any) -> tuple[int, ...]:
    """The shape of one vector of A."""
    return tuple(A.grid) if isinstance(A, Stencil) else (plain(A).shape[1],)


def batch_of(A: Any) -> tuple[int, ...]:
    """The leading axes of A's numbers."""
    if isinstance(A, Dense):
        return tuple(A.array.shape[:-2])
    if isinstance(A, CSR):
        return tuple(A.data.shape[:-1])
    if isinstance(A, Stencil):
        d = len(A.grid)
        return tuple(np.broadcast_shapes(*(tuple(x.shape[: max(x.ndim - d, 0)]) for x in leaves(A))))
    return ()


def check_system(A: Any, b: Any, x0: Any, omega: Any = None) -> tuple[Any, Any, Any, Any]:
    """A square operator, a right-hand side, a start and a factor, if any, that fit each other.

    b, the start and an array of factors lead with the batch of all of them.
    """
    n, m = A.shape
    if n != m:
        raise ValueError(f"A must be square, got shape ({n}, {m})")
    if n == 0:
        raise ValueError("A must not be empty, got shape (0, 0)")
    if not library(b):
        raise TypeError(f"b must be an array (numpy, torch, jax, cupy), got {type(b).__name__}")
    check_vector("b", b, A, b)
    if isinstance(A, Stencil):
        A = A.beside(b)
    xp = namespace(b, *leaves(A))
    kind = getattr(A, "dtype", None)
    if kind is not None and kind != b.dtype:  # numpy's float64 equals None
        raise TypeError(f"b must have the dtype of A, {kind}, got {b.dtype}; convert one of them")
    for x in leaves(A):
        seen = values(x) if is_floating(x) else None
        if seen is not None:
            check_finite("A", seen)
    shapes = [batch_of(A), tuple(b.shape[: b.ndim - len(trailing(A))])]
    if x0 is not None:
        check_vector("x0", x0, A, b)
        shapes.append(tuple(x0.shape[: x0.ndim - len(trailing(A))]))
    if getattr(omega, "ndim", 0):
        shapes.append(tuple(omega.shape))
    try:
        batch = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"the batches of A, b, x0 and omega do not broadcast: {', '.join(map(str, shapes))}") from None
    whole = (*batch, *trailing(A))
    b, x0 = xp.broadcast_to(b, whole), None if x0 is None else xp.broadcast_to(x0, whole)
    return A, b, x0, xp.broadcast_to(omega, batch) if getattr(omega, "ndim", 0) else omega


def check_vector(name: str, x: Any, A: Any, b: Any) -> None:
    """A finite floating array of shape (..., n) of the library and dtype of b."""
    if not library(x):
        raise TypeError(f"{name} must be an array or None, got {type(x).__name__}")
    namespace(b, x)
    check_mask(name, x)
    if not is_floating(x):
        raise TypeError(f"{name} must hold floating-point numbers, got dtype {x.dtype}; convert it first")
    if x.dtype != b.dtype:
        raise TypeError(f"{name} must have the dtype of b, {b.dtype}, got {x.dtype}; convert one of them")
    end = trailing(A)
    if tuple(x.shape[x.ndim - len(end) :]) != end or x.ndim < len(end):
        expected = ", ".join(map(str, end))
        raise ValueError(f"{name} must have shape (..., {expected}) to fit A of shape {A.shape}, got {shape_text(x)}")
    seen = values(x)
    if seen is not None:
        check_finite(name, seen)


def check_diagonal(A: Any, *, positive: bool) -> None:
    """A diagonal without zeros; a positive one if A has to be positive definite."""
    seen = values(A.center if isinstance(A, Stencil) and A.constant else A.diagonal())
    if seen is None:
        return
    xp = namespace(seen)
    bad = xp.asarray(seen <= 0 if positive else seen == 0)
    if bool(xp.any(bad)):
        index = first_index(bad)
        value = float(seen[index])
        if positive:
            raise ValueError(f"A is not positive definite: its diagonal holds {value} at index {index}")
        raise ValueError(f"A must have no zero on its diagonal, got {value} at index {index}")


def check_omega(omega: Any, b: Any) -> Any:
    """A number in (0, 2), or an array of them, a member of the batch each, that leaves the dtype of b as it is."""
    if library(omega):
        xp = namespace(b, omega)
        if not is_floating(omega):
            raise TypeError(f"omega must hold floating-point numbers, got dtype {omega.dtype}; convert it first")
        seen = values(omega)
        if seen is not None:
            outside = namespace(seen).asarray(~((seen > 0) & (seen < 2)))
            if bool(namespace(seen).any(outside)):
                index = first_index(outside)
                at = f" at index {index}" if index else ""
                raise ValueError(f"omega must lie in (0, 2), got {float(seen[index])}{at}")
        return xp.astype(omega, b.dtype, copy=False)
    value = number("omega", omega)
    if value is None or not 0 < value < 2:  # NaN lies nowhere
        raise ValueError(f"omega must lie in (0, 2), got {math.nan if value is None else value}")
    return value


def check_order(order: Any, known: tuple[str, ...]) -> None:
    """One of the known orders."""
    if order not in known:
        raise ValueError(f"order must be one of {', '.join(map(repr, known))}, got {order!r}")


def check_sweep(sweep: Any) -> None:
    """One of the three directions."""
    if sweep not in ("forward", "backward", "symmetric"):
        raise ValueError(f"sweep must be 'forward', 'backward' or 'symmetric', got {sweep!r}")
