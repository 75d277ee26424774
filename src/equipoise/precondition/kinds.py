"""The six kinds of preconditioner, side by side: how each begins, is moved by pairs, is applied, and what it stores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from ..arrays import namespace
from . import dense, diagonal, kronecker, low_rank
from .states import DenseState, DiagonalState, KroneckerState, LowRankState, ScaledState, XmatState

__all__ = ["FORMS", "KINDS", "Kind", "check_state", "rescaled", "shape_of", "size_of"]

FORMS = ("eq", "quad", "procrustes", "qeq")


class Kind(NamedTuple):
    """What a kind is made of; `p` are the settings of a :class:`Psgd`.

    ``start(p, like, L, count, seed)`` gives a state, ``sweep(p, state, pairs)`` the next one but for its count;
    ``apply(p, state, G)`` and ``inverse(p, state, G)`` take a stack of vectors; ``words(p, shape)`` counts the floating
    numbers of a state, of which `state` is the class. `needs_v` says that v cannot be integrated out, `forms` that the
    kind has forms, and `moments` how many bounds there are, if not one.
    """

    start: Callable[..., Any]
    sweep: Callable[..., Any]
    apply: Callable[..., Any]
    inverse: Callable[..., Any]
    words: Callable[..., int]
    state: type
    needs_v: bool = False
    forms: bool = False
    moments: int = 0


def kronecker_words(p: Any, shape: tuple[int, ...]) -> int:
    """The numbers of all factors."""
    numel = math.prod(shape)
    return sum(n if kronecker.is_diagonal(n, numel, p.max_dense, p.max_skew) else n * n for n in shape)


KINDS: dict[str, Kind] = {
    "dense": Kind(
        lambda p, *args: dense.start(*args),
        lambda p, state, pairs: dense.swept(state, pairs, form=p.form),
        lambda p, state, G: dense.apply(state, G, form=p.form),
        lambda p, state, G: dense.apply_inverse(state, G, form=p.form),
        lambda p, shape: math.prod(shape) ** 2,
        DenseState,
        forms=True,
    ),
    "kronecker": Kind(
        lambda p, *args: kronecker.start(*args, max_dense=p.max_dense, max_skew=p.max_skew),
        lambda p, state, pairs: kronecker.swept(state, pairs, form=p.form),
        lambda p, state, G: kronecker.apply(state, G, form=p.form),
        lambda p, state, G: kronecker.apply_inverse(state, G, form=p.form),
        kronecker_words,
        KroneckerState,
        forms=True,
    ),
    "low_rank": Kind(
        lambda p, *args: low_rank.start(*args, rank=p.rank),
        lambda p, state, pairs: low_rank.swept(state, pairs),
        lambda p, state, G: low_rank.apply(state, G),
        lambda p, state, G: low_rank.apply_inverse(state, G),
        lambda p, shape: math.prod(shape) * (2 * p.rank + 1),
        LowRankState,
        needs_v=True,
        moments=3,
    ),
    "xmat": Kind(
        lambda p, *args: diagonal.start_xmat(*args),
        lambda p, state, pairs: diagonal.swept_xmat(state, pairs),
        lambda p, state, G: diagonal.apply_xmat(state, G),
        lambda p, state, G: diagonal.apply_inverse_xmat(state, G),
        lambda p, shape: 2 * math.prod(shape),
        XmatState,
        needs_v=True,
    ),
    "diagonal": Kind(
        lambda p, *args: diagonal.start_diagonal(*args),
        lambda p, state, pairs: diagonal.swept_diagonal(state, pairs),
        lambda p, state, G: diagonal.apply_diagonal(state, G),
        lambda p, state, G: diagonal.apply_inverse_diagonal(state, G),
        lambda p, shape: math.prod(shape),
        DiagonalState,
    ),
    "scaled": Kind(
        lambda p, *args: diagonal.start_scaled(*args),
        lambda p, state, pairs: diagonal.swept_scaled(state, pairs),
        lambda p, state, G: diagonal.apply_diagonal(state, G),
        lambda p, state, G: diagonal.apply_inverse_diagonal(state, G),
        lambda p, shape: 1,
        ScaledState,
    ),
}


def check_state(p: Any, state: Any) -> None:
    """A state of the kind of the settings."""
    expected = KINDS[p.kind].state
    if type(state) is not expected:
        raise TypeError(f"state must be a {expected.__name__}, as kind={p.kind!r} has it, got {type(state).__name__}")


def shape_of(state: Any) -> tuple[int, ...] | None:
    """The shape of what a state is for, where it keeps one."""
    return tuple(Q.shape[0] for Q in state.Q) if isinstance(state, KroneckerState) else None


def size_of(state: Any) -> int:
    """How many numbers a vector has that a state is for."""
    shape = shape_of(state)
    if shape is not None:
        return math.prod(shape)
    if hasattr(state, "size"):
        return int(state.size)
    first = next(getattr(state, name) for name in ("Q", "q", "a", "d") if hasattr(state, name))
    return int(first.shape[0])


def rescaled(state: Any, factor: Any) -> Any:
    """The state of `factor` Q."""
    if isinstance(state, KroneckerState):
        each = factor ** (1.0 / len(state.Q))
        return replace(state, Q=tuple(namespace(Q).asarray(Q * each) for Q in state.Q))
    name = next(name for name in ("Q", "q", "a", "d") if hasattr(state, name))
    x = getattr(state, name)
    changed = {name: namespace(x).asarray(x * factor)}
    if name == "a":
        changed["b"] = state.b * factor
    return replace(state, **changed)
