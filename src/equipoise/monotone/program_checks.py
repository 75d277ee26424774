"""What a linear program asks of its input, each answered by one sentence before any work."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import is_floating, library, namespace, shape_text
from ..checks import check_finite, check_mask, number, values
from ..operators import Dense
from ..record import leaves
from .resolvents import check_bounds

__all__ = ["batch_of", "check_program", "check_vector"]


def check_vector(name: str, x: Any, c: Any, length: int, of_what: str) -> None:
    """A finite array of the dtype of c and of shape (..., length)."""
    if not library(x):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(x).__name__}")
    namespace(c, x)
    check_mask(name, x)
    if x.dtype != c.dtype:
        raise TypeError(f"{name} must have the dtype of c, {c.dtype}, got {x.dtype}; convert one of them")
    if x.ndim < 1 or x.shape[-1] != length:
        raise ValueError(f"{name} must have shape (..., {length}) to fit {of_what}, got {shape_text(x)}")
    seen = values(x)
    if seen is not None:
        check_finite(name, seen)


def check_block(name: str, M: Any, side: str, target: Any, c: Any) -> None:
    """A matrix and its right-hand side, both or neither."""
    if (M is None) != (target is None):
        missing, given = (name, side) if M is None else (side, name)
        raise ValueError(f"{given} was given without {missing}")
    if M is None:
        return
    n = int(c.shape[-1])
    if M.shape[1] != n:
        raise ValueError(f"{name} must have {n} columns to fit c of shape {shape_text(c)}, got shape {tuple(M.shape)}")
    for x in leaves(M):
        namespace(c, x)
        if is_floating(x):
            check_mask(name, x)
            if x.dtype != c.dtype:
                raise TypeError(f"{name} must have the dtype of c, {c.dtype}, got {x.dtype}; convert one of them")
            seen = values(x)
            if seen is not None:
                check_finite(name, seen)
    check_vector(side, target, c, int(M.shape[0]), f"{name} of shape {tuple(M.shape)}")


def check_program(c: Any, A: Any, b: Any, G: Any, h: Any, lower: Any, upper: Any) -> None:
    """Everything fits."""
    if not library(c):
        raise TypeError(f"c must be an array (numpy, torch, jax, cupy), got {type(c).__name__}")
    if not is_floating(c):
        raise TypeError(f"c must hold floating-point numbers, got dtype {c.dtype}; convert it first")
    if c.ndim < 1 or math.prod(c.shape) == 0:
        raise ValueError(f"c must have shape (..., n) and not be empty, got {shape_text(c)}")
    check_vector("c", c, c, int(c.shape[-1]), "itself")
    check_block("A", A, "b", b, c)
    check_block("G", G, "h", h, c)
    check_bounds(lower, upper)
    for name, bound in (("lower", lower), ("upper", upper)):
        if library(bound):
            namespace(c, bound)
            if bound.dtype != c.dtype:
                raise TypeError(f"{name} must have the dtype of c, {c.dtype}, got {bound.dtype}; convert one of them")
            if bound.ndim and bound.shape[-1] not in (1, c.shape[-1]):
                raise ValueError(f"{name} must have shape (..., {c.shape[-1]}) to fit c, got {shape_text(bound)}")
        else:
            number(name, bound)
    batch_of(c, A, b, G, h, lower, upper)


def batch_of(c: Any, A: Any, b: Any, G: Any, h: Any, lower: Any, upper: Any) -> tuple[int, ...]:
    """The shape of the batch, of all leading axes together."""
    shapes = [tuple(x.shape[:-1]) for x in (c, b, h, lower, upper) if library(x)]
    shapes += [tuple(M.array.shape[:-2]) for M in (A, G) if isinstance(M, Dense)]
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        text = ", ".join(map(str, shapes))
        raise ValueError(f"the batches of c, the bounds, b, h, A and G do not broadcast: {text}") from None
