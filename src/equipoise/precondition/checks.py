"""What the functions of this family ask of their input, each answered by one sentence before any work."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import is_floating, library, namespace, shape_text
from ..backend import of
from ..checks import check_finite, check_mask, values

__all__ = [
    "as_array",
    "check_like",
    "check_memory",
    "check_number",
    "check_pair",
    "check_whole",
    "check_word",
    "is_half",
    "taken",
]


def check_word(name: str, word: Any, known: tuple[str, ...]) -> None:
    """One of the known words."""
    if word not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {word!r}")


def check_number(name: str, x: Any, demand: str, low: float, high: float = math.inf, *, closed: bool = True) -> float:
    """A plain number in [low, high), or in (low, high): settings are compared and hashed, which arrays are not."""
    if isinstance(x, bool) or not isinstance(x, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {type(x).__name__}")
    if not (low <= x < high) or (x == low and not closed):
        raise ValueError(f"{name} must be {demand}, got {x}")
    return float(x)


def check_whole(name: str, x: Any, least: int = 1) -> int:
    """A whole number, at least `least`."""
    if isinstance(x, bool) or not hasattr(x, "__index__"):
        raise TypeError(f"{name} must be a whole number, got {type(x).__name__}")
    if x < least:
        raise ValueError(f"{name} must be at least {least}, got {int(x)}")
    return int(x)


def is_half(x: Any) -> bool:
    """Whether an array of floating-point numbers holds them in 16 bits or fewer."""
    return bool(namespace(x).finfo(x.dtype).bits <= 16)


def check_numbers(name: str, x: Any) -> None:
    """An array of real floating-point numbers."""
    if not library(x):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(x).__name__}")
    check_mask(name, x)
    if not is_floating(x):
        raise TypeError(f"{name} must hold real floating-point numbers, got dtype {x.dtype}; convert it first")


def check_like(like: Any, name: str = "like") -> None:
    """An array that a state can be made beside."""
    check_numbers(name, like)
    if is_half(like):
        raise ValueError(
            f"{name} holds {like.dtype}, in which no preconditioner can be fitted; pass it as float32: pairs and "
            "gradients may stay as they are"
        )
    if math.prod(like.shape) == 0:
        raise ValueError(f"{name} must not be empty, got shape {shape_text(like)}")


def check_memory(needed: int, limit: int | None, kind: str, others: dict[str, int]) -> None:
    """No more bytes than were allowed; the sentence names the richest kind that would fit."""
    if limit is None or needed <= limit:
        return
    fitting = [other for other, size in others.items() if size <= limit]
    advice = f"kind={fitting[0]!r} needs {others[fitting[0]]}" if fitting else "no kind fits"
    raise ValueError(f"a state of kind {kind!r} needs {needed} bytes, more than memory_limit={limit}; {advice}")


def check_pair(name: str, x: Any, shape: tuple[int, ...] | None, size: int, rows: int | None, beside: Any) -> None:
    """One side of a pair, or of a stack of pairs: floating, finite, of `size` numbers each and of `shape` if known."""
    check_numbers(name, x)
    namespace(x, beside)
    stack = () if rows is None else (rows,)
    each = tuple(x.shape[len(stack) :])
    fits = math.prod(each) == size if shape is None else each in shape_of(shape)
    if tuple(x.shape[: len(stack)]) != stack or not fits:
        expected = (
            f"shape {(*stack, *shape)}" if shape is not None else f"{size} numbers" + (" a pair" if stack else "")
        )
        raise ValueError(f"{name} must have {expected}, got shape {shape_text(x)}")
    check_dtype(name, x, beside)
    seen = values(taken(x, beside))  # a sum of half-precision numbers overflows soon
    if seen is not None:
        check_finite(name, seen)


def shape_of(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The shapes that a tensor of that shape may come in: a number is a tensor with one axis too."""
    return (shape, ()) if shape == (1,) else (shape,)


def check_dtype(name: str, x: Any, beside: Any) -> None:
    """The dtype of the state, or a half one."""
    if x.dtype != beside.dtype and not is_half(x):
        raise TypeError(f"{name} must have the dtype of the state, {beside.dtype}, got {x.dtype}; convert it first")


def as_array(x: Any, beside: Any) -> Any:
    """What a function gave; numpy computes scalars of arrays of shape (), which are taken as such arrays."""
    return namespace(beside).asarray(x) if isinstance(x, np.generic) and library(beside) == "numpy" else x


def taken(x: Any, beside: Any) -> Any:
    """An array without its derivative, in the dtype of the state."""
    if x is None:
        return None
    xp = namespace(x)
    return xp.astype(of(x).stop_gradient(x), beside.dtype, copy=False)
