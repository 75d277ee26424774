"""What every transport function asks of its input, each answered by one sentence before any work.

Shapes, dtypes and names are checked always; values only where there are values, that is, not under a jax
transformation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import first_index, is_floating, library, like, namespace, shape_text
from ..checks import check_finite, check_mask, number, values
from ..record import rebuild
from .pointcloud import PointCloud, is_cloud

__all__ = [
    "batch_shape",
    "check_cost",
    "check_epsilon",
    "check_init",
    "check_masses",
    "check_method",
    "check_penalty",
    "check_points",
    "check_problem",
    "check_relaxation",
    "check_weights",
    "numbers_of",
    "widen",
]


def numbers_of(cost: Any) -> Any:
    """An array of the library, dtype and device that the cost is of."""
    return cost.x if is_cloud(cost) else cost


def check_cost(cost: Any) -> None:
    """A floating array ``(..., n, m)`` that is neither empty nor infinite, or a cloud, which has checked itself."""
    if is_cloud(cost):
        return
    if not library(cost):
        raise TypeError(f"cost must be an array (numpy, torch, jax, cupy) or a PointCloud, got {type(cost).__name__}")
    _check_matrix("cost", cost, "(..., n, m)", "; use a large finite number to forbid a pair")


def check_points(name: str, x: Any) -> None:
    """A floating array ``(..., n, d)`` that is neither empty nor infinite."""
    if not library(x):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(x).__name__}")
    _check_matrix(name, x, "(..., n, d)", "")


def _check_matrix(name: str, x: Any, shape: str, advice: str) -> None:
    check_mask(name, x)
    if not is_floating(x):
        raise TypeError(f"{name} must hold floating-point numbers, got dtype {x.dtype}; convert it first")
    if x.ndim < 2:
        raise ValueError(f"{name} must have shape {shape}, got {shape_text(x)}")
    if 0 in x.shape:
        raise ValueError(f"{name} must not be empty, got shape {shape_text(x)}")
    seen = values(x)
    if seen is not None:
        check_finite(name, seen, advice)


def check_weights(name: str, weights: Any, cost: Any, axis: int) -> Any:
    """Weights ``(..., n)`` beside `cost`; None means uniform ones."""
    numbers = numbers_of(cost)
    n = cost.shape[axis]
    if weights is None:
        return namespace(numbers).full((n,), 1.0 / n, **like(numbers))
    if not library(weights):
        raise TypeError(f"{name} must be an array or None, got {type(weights).__name__}")
    namespace(numbers, weights)
    check_mask(name, weights)
    if not is_floating(weights) or weights.dtype != cost.dtype:
        raise TypeError(f"{name} must have the dtype of cost, {cost.dtype}, got {weights.dtype}; convert one of them")
    if weights.ndim < 1 or weights.shape[-1] != n:
        raise ValueError(
            f"{name} must have shape (..., {n}) to fit cost of shape {tuple(cost.shape)}, got {shape_text(weights)}"
        )
    seen = values(weights)
    if seen is not None:
        check_finite(name, seen)
        xp = namespace(seen)
        negative = seen < 0
        if bool(xp.any(negative)):
            index = first_index(negative)
            raise ValueError(f"{name} must not be negative, got {float(seen[index])} at index {index}")
        empty = xp.asarray(xp.sum(seen, axis=-1) == 0)
        if bool(xp.any(empty)):
            member = f" for problem {first_index(empty)}" if weights.ndim > 1 else ""
            raise ValueError(f"{name} must have a positive total, got only zeros{member}")
    return weights


def check_masses(a: Any, b: Any) -> None:
    """Balanced transport moves all mass, so the totals must agree to 1e-6 (in float32 to 1e-4), relatively."""
    slack = 1e-6 if a.dtype == namespace(a).float64 else 1e-4
    a, b = values(a), values(b)
    if a is None or b is None:
        return
    xp = namespace(a, b)
    total_a, total_b = xp.sum(a, axis=-1), xp.sum(b, axis=-1)
    apart = xp.asarray(xp.abs(total_a - total_b) > slack * total_a)  # numpy reduces to scalars
    if bool(xp.any(apart)):
        index = first_index(apart)
        totals = [float(xp.broadcast_to(t, apart.shape)[index]) for t in (total_a, total_b)]
        raise ValueError(
            f"a and b must have the same total, got {totals[0]:.9g} and {totals[1]:.9g}"
            + (f" for problem {index}" if index else "")
            + "; rescale one of them"
        )


def check_epsilon(epsilon: Any, cost: Any) -> Any:
    """A positive finite number, or a 0-d array of one, so that it leaves the dtype of `cost` as it is."""
    value = number("epsilon", epsilon)
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ValueError(f"epsilon must be positive and finite, got {value}")
    return _as_number(epsilon, cost)


def _as_number(x: Any, cost: Any) -> Any:
    return namespace(numbers_of(cost), x).astype(x, cost.dtype, copy=False) if library(x) else float(x)


def check_relaxation(relaxation: Any) -> tuple[float, bool]:
    """``"auto"`` or a number in (0, 2), as the first omega and whether it adapts."""
    if isinstance(relaxation, str) and relaxation == "auto":
        return 1.0, True
    if not isinstance(relaxation, (int, float, np.generic)) or isinstance(relaxation, bool):
        raise TypeError(f"relaxation must be 'auto' or a number in (0, 2), got {relaxation!r}")
    omega = float(relaxation)
    if not 0 < omega < 2:
        raise ValueError(f"relaxation must be 'auto' or a number in (0, 2), got {omega}")
    return omega, False


def check_penalty(penalty: Any, cost: Any) -> tuple[Any, Any]:
    """None, a positive number, or a pair of them, as a pair in which None stands for a marginal that has to be met."""
    pair = penalty if isinstance(penalty, (tuple, list)) else (penalty, penalty)
    if len(pair) != 2:
        raise ValueError(f"marginal_penalty must be a number or a pair of them, got {len(pair)} values")
    found = []
    for x in pair:
        value = None if x is None else number("marginal_penalty", x)
        if value is not None and not value > 0:
            raise ValueError(f"marginal_penalty must be positive, got {value}; infinity meets the marginal exactly")
        found.append(None if x is None or value == math.inf else _as_number(x, cost))
    return found[0], found[1]


def check_problem(cost: Any, a: Any, b: Any, epsilon: Any, penalty: Any) -> tuple[Any, Any, Any, Any, Any, Any]:
    """All of a transport problem: (cost, a, b, epsilon, rho_a, rho_b), with the batch as leading axes of all arrays."""
    check_cost(cost)
    xp = namespace(numbers_of(cost), a, b, epsilon)
    epsilon = check_epsilon(epsilon, cost)
    rho_a, rho_b = check_penalty(penalty, cost)
    a, b = check_weights("a", a, cost, -2), check_weights("b", b, cost, -1)
    if rho_a is None and rho_b is None:
        check_masses(a, b)
    batch = batch_shape(cost, a, b)
    n, m = cost.shape[-2:]
    a, b = xp.broadcast_to(a, (*batch, n)), xp.broadcast_to(b, (*batch, m))
    return widen(cost, batch), a, b, epsilon, rho_a, rho_b


def check_method(method: Any, known: tuple[str, ...], cost: Any = None) -> None:
    """One of the `known` names, and none that would form the matrix of a cloud."""
    if method not in known:
        raise ValueError(f"method must be one of {', '.join(map(repr, known))}, got {method!r}")
    if method == "kernel" and is_cloud(cost):
        raise ValueError("method 'kernel' stores a matrix, which a PointCloud is there to avoid; use 'log' or 'auto'")


def check_init(init: Any, cost: Any, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[Any, Any]:
    """A pair of potentials of the given shapes, either of which may be None."""
    if init is None:
        return None, None
    if not isinstance(init, (tuple, list)) or len(init) != 2:
        raise TypeError(f"init must be a pair (f, g), either of which may be None, got {type(init).__name__}")
    for name, x, shape in zip("fg", init, shapes, strict=True):
        if x is None:
            continue
        namespace(numbers_of(cost), x)
        if not library(x) or x.dtype != cost.dtype:
            raise TypeError(f"init's {name} must be an array of dtype {cost.dtype}")
        if tuple(x.shape) != shape:
            raise ValueError(f"init's {name} must have shape {shape}, got {shape_text(x)}")
        seen = values(x)
        if seen is not None:
            check_finite(f"init's {name}", seen)
    return init[0], init[1]


def batch_shape(cost: Any, a: Any, b: Any) -> tuple[int, ...]:
    """The batch that the leading axes of the three broadcast to."""
    try:
        return tuple(np.broadcast_shapes(tuple(cost.shape[:-2]), tuple(a.shape[:-1]), tuple(b.shape[:-1])))
    except ValueError:
        raise ValueError(
            f"the leading axes of cost {tuple(cost.shape)}, a {shape_text(a)} and b {shape_text(b)} do not broadcast"
        ) from None


def widen(cost: Any, batch: tuple[int, ...]) -> Any:
    """The cost with `batch` as its leading axes; nothing is copied."""

    def broadcast(x: Any) -> Any:
        wide = (*batch, *x.shape[-2:])
        return x if tuple(x.shape) == wide else namespace(x).broadcast_to(x, wide)

    if not is_cloud(cost):
        return broadcast(cost)
    x, y = broadcast(cost.x), None if cost.y is None else broadcast(cost.y)
    return cost if x is cost.x and y is cost.y else rebuild(PointCloud, (x, y), (cost.metric,))
