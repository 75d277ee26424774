"""What the solvers for inclusions ask of their input, each answered by one sentence before any work."""

from __future__ import annotations

import math
from typing import Any

from ..arrays import is_floating, library, namespace, shape_text
from ..checks import check_finite, check_mask, number, values
from ..record import as_data, leaves, plain
from .resolvents import check_resolvent

__all__ = ["check_constant", "check_operator", "check_point", "check_share", "check_sum", "check_word", "first_image"]


def check_point(name: str, u: Any) -> None:
    """A finite floating-point array of shape (..., d)."""
    if not library(u):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(u).__name__}")
    check_mask(name, u)
    if not is_floating(u):
        raise TypeError(f"{name} must hold floating-point numbers, got dtype {u.dtype}; convert it first")
    if u.ndim < 1 or math.prod(u.shape) == 0:
        raise ValueError(f"{name} must have shape (..., d) and not be empty, got {shape_text(u)}")
    seen = values(u)
    if seen is not None:
        check_finite(name, seen)


def check_word(name: str, word: Any, known: tuple[str, ...]) -> None:
    """One of the known words."""
    if word not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {word!r}")


def check_constant(name: str, x: Any) -> None:
    """A positive finite number, or None."""
    if x is None:
        return
    value = number(name, x)
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive, got {value}")


def check_share(name: str, x: Any) -> None:
    """A number in (0, 1], or None."""
    if x is None:
        return
    value = number(name, x)
    if value is None or not 0 < value <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {value}")


def check_operator(operator: Any, args: Any, u0: Any, resolvent: Any) -> tuple[Any, Any]:
    """An operator and a resolvent as data."""
    if not callable(operator) and not hasattr(operator, "full"):
        raise TypeError(
            f"operator must be callable as operator(u, *args), or a finite sum, got {type(operator).__name__}"
        )
    if not isinstance(args, tuple):
        raise TypeError(f"args must be a tuple, got {type(args).__name__}")
    if args and hasattr(operator, "full"):
        raise ValueError("args go to a plain operator; a finite sum holds its own data")
    namespace(u0, *leaves((as_data(operator), args)))
    if hasattr(operator, "full"):
        check_length(operator, u0)
    return as_data(operator), check_resolvent(resolvent, u0)


def check_length(summed: Any, u0: Any) -> None:
    """As many entries as a sum has unknowns, where it says so."""
    length = getattr(summed, "unknowns", None)
    if length is not None and int(length) != u0.shape[-1]:
        raise ValueError(f"u0 must have {length} entries to fit {type(summed).__name__}, got shape {shape_text(u0)}")


def check_sum(summed: Any, u0: Any, resolvent: Any) -> tuple[Any, Any]:
    """A finite sum and a resolvent as data."""
    if not all(hasattr(summed, name) for name in ("n", "full", "diff")):
        raise TypeError(
            f"finite_sum must have n, full(u) and diff(u, v, idx), as a FiniteSum has, got {type(summed).__name__}"
        )
    if isinstance(summed.n, bool) or not hasattr(summed.n, "__index__") or not 1 <= int(summed.n) < 2**31:
        raise ValueError(f"finite_sum.n must be a whole number in 1..2^31 - 1, got {summed.n!r}")
    namespace(u0, *leaves(as_data(summed)))
    check_length(summed, u0)
    return as_data(summed), check_resolvent(resolvent, u0)


def first_image(image: Any, u0: Any, name: str = "operator") -> Any:
    """F(u0), which has to be like u0 and finite."""
    if not library(image):
        raise TypeError(f"{name} must return an array, got {type(image).__name__}")
    xp = namespace(u0, image)
    if tuple(image.shape) != tuple(u0.shape):
        raise ValueError(f"{name} must keep the shape of u0, {shape_text(u0)}, got {shape_text(image)}")
    if image.dtype != u0.dtype:
        raise TypeError(f"{name} must keep the dtype of u0, {u0.dtype}, got {image.dtype}; convert one of them")
    if getattr(image, "requires_grad", False):  # all that was passed has been detached
        raise TypeError(f"{name} depends on a tensor that wants a gradient: pass it in args, or detach it")
    seen = values(image)
    if seen is not None:
        check_finite(f"{name} at u0", seen)
    return xp.asarray(image)


def known_constant(given: Any, owner: Any, name: str) -> Any:
    """The constant that was passed, or that of the problem, or None; as a number or a 0-d array of it."""
    if given is not None:
        return given
    return getattr(plain(owner), name, None)


def checked_constant(given: Any, owner: Any, name: str, use: str) -> Any:
    """The constant, which is needed for `use`."""
    x = known_constant(given, owner, name)
    if x is None:
        raise ValueError(f"{use} needs {name}, which neither the call nor {type(plain(owner)).__name__} gives")
    check_constant(name, x)
    return x


def check_cocoercive(owner: Any, method: str) -> None:
    """Anchored steps with one evaluation need a cocoercive operator."""
    if getattr(plain(owner), "cocoercive", True) is False:
        raise ValueError(
            f"{method} needs a cocoercive operator, and {type(plain(owner)).__name__} is merely monotone: take "
            "halpern_vr(mode='lipschitz'), extragradient, or for games matrix_game"
        )
