"""Preconditioners of one number an entry, of one number in all, and of two an entry that mix entries from both ends."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..arrays import like, namespace
from ..kernel import kernel
from .common import Pairs, chosen, narrow, over_pairs, pair_of, safe_share, smoothed, useful, wide
from .states import DiagonalState, ScaledState, XmatState

__all__ = [
    "apply_diagonal",
    "apply_inverse_diagonal",
    "apply_inverse_xmat",
    "apply_xmat",
    "start_diagonal",
    "start_scaled",
    "start_xmat",
    "swept_diagonal",
    "swept_scaled",
    "swept_xmat",
]


# ---------------------------------------------------------------------------------------------------------------------
# Q = diag(q), and Q = q I


def start_diagonal(like_: Any, scale: float, L: Any, count: Any, seed: Any) -> DiagonalState[Any]:
    """q = scale everywhere."""
    return DiagonalState(scale * namespace(like_).ones(like_.shape, **like(like_)), L, count, seed)


def start_scaled(like_: Any, scale: float, L: Any, count: Any, seed: Any) -> ScaledState[Any]:
    """q = scale."""
    q = namespace(like_).asarray(float(scale), **like(like_))
    return ScaledState(q, L, count, seed, math.prod(like_.shape))


def apply_diagonal(state: Any, G: Any) -> Any:
    """q^2 g."""
    return state.q * (state.q * G)


def apply_inverse_diagonal(state: Any, G: Any) -> Any:
    """g / q^2."""
    return G / state.q / state.q


def swept_diagonal(state: DiagonalState[Any], pairs: Pairs) -> DiagonalState[Any]:
    """The state after all pairs, but for its count."""
    q, L = diagonal_sweep(state.q, pairs, state.L)
    return replace(state, q=q, L=L)


def swept_scaled(state: ScaledState[Any], pairs: Pairs) -> ScaledState[Any]:
    """The state after all pairs, but for its count."""
    q, L = scaled_sweep(state.q, pairs, state.L)
    return replace(state, q=q, L=L)


@kernel("precondition.diagonal_sweep")
def diagonal_sweep(q: Any, pairs: Pairs, L: Any) -> tuple[Any, Any]:
    """q *= 1 - mu ((q h)^2 - (v / q)^2)."""
    return over_pairs(diagonal_step, (q, L), pairs)


@kernel("precondition.scaled_sweep")
def scaled_sweep(q: Any, pairs: Pairs, L: Any) -> tuple[Any, Any]:
    """The same with the means over all entries."""
    return over_pairs(scaled_step, (q, L), pairs)


def squares(q: Any, v: Any, h: Any) -> tuple[Any, Any]:
    """(q h)^2 and (v / q)^2, the latter 1 / q^2 where v is integrated out."""
    xp = namespace(h)
    a = q * h
    b = (xp.ones_like(h) if v is None else v) / q
    return a * a, b * b


def diagonal_step(carry: Any, pairs: Pairs) -> Any:
    """One pair."""
    v, h, _ = pair_of(pairs, carry[0])
    return number_moved(carry, pairs, *squares(carry[1][0], v, h))


def scaled_step(carry: Any, pairs: Pairs) -> Any:
    """One pair."""
    v, h, _ = pair_of(pairs, carry[0])
    xp = namespace(h)
    return number_moved(carry, pairs, *(xp.asarray(xp.mean(x)) for x in squares(carry[1][0], v, h)))


def number_moved(carry: Any, pairs: Pairs, a: Any, b: Any) -> Any:
    """The relative step that both have."""
    k, (q, L) = carry
    v, h, step = pair_of(pairs, k)
    xp = namespace(q)
    bound = smoothed(L, wide(xp.max(a + b), q), pairs.smoothing)
    new = q * (1 - narrow(safe_share(step, bound), q) * (a - b))
    ok = useful(v, h) & xp.isfinite(bound) & xp.all(new != 0)
    return k + 1, chosen(ok, (xp.asarray(new), bound), (q, L))


# ---------------------------------------------------------------------------------------------------------------------
# Q = diag(a) + antidiag(b)


def start_xmat(like_: Any, scale: float, L: Any, count: Any, seed: Any) -> XmatState[Any]:
    """Q = scale I."""
    xp = namespace(like_)
    ones = xp.ones(like_.shape, **like(like_))
    return XmatState(scale * ones, 0 * ones, L, count, seed)


def mirrored(x: Any) -> Any:
    """The last axis backwards."""
    return namespace(x).flip(x, axis=-1)


def apply_xmat(state: XmatState[Any], G: Any) -> Any:
    """Q^T Q g."""
    a, b = state.a, state.b
    Qg = a * G + b * mirrored(G)
    return a * Qg + mirrored(b) * mirrored(Qg)


def apply_inverse_xmat(state: XmatState[Any], G: Any) -> Any:
    """Q^{-1} Q^{-T} g."""
    a, b = state.a, state.b
    w = transposed_solve(a, b, G)
    return (mirrored(a) * w - b * mirrored(w)) / determinant(a, b)


def determinant(a: Any, b: Any) -> Any:
    """Of the two by two blocks of entries i and n - 1 - i."""
    return a * mirrored(a) - b * mirrored(b)


def transposed_solve(a: Any, b: Any, v: Any) -> Any:
    """Q^{-T} v."""
    return (mirrored(a) * v - mirrored(b) * mirrored(v)) / determinant(a, b)


def swept_xmat(state: XmatState[Any], pairs: Pairs) -> XmatState[Any]:
    """The state after all pairs, but for its count."""
    a, b, L = xmat_sweep(state.a, state.b, pairs, state.L)
    return replace(state, a=a, b=b, L=L)


@kernel("precondition.xmat_sweep")
def xmat_sweep(a: Any, b: Any, pairs: Pairs, L: Any) -> tuple[Any, Any, Any]:
    """Q -= mu (nA + nB F) Q, the part of Qh h^T Q^T - w w^T, w = Q^{-T} v, that has the shape of an X."""
    return over_pairs(xmat_step, (a, b, L), pairs)


def xmat_step(carry: Any, pairs: Pairs) -> Any:
    """One pair; it is skipped where a block would change the sign of its determinant."""
    k, (a, b, L) = carry
    v, h, step = pair_of(pairs, k)
    xp = namespace(a)
    x, w = a * h + b * mirrored(h), transposed_solve(a, b, v)
    along, across = x * x - w * w, x * mirrored(x) - w * mirrored(w)
    n = a.shape[0]
    if n % 2:  # the middle entry has no partner
        across = xp.where(xp.arange(n, **{**like(a), "dtype": xp.int32}) == n // 2, xp.zeros_like(across), across)
    bound = smoothed(L, wide(xp.max(x * x + w * w), a), pairs.smoothing)
    mu = narrow(safe_share(step, bound), a)
    new_a, new_b = a - mu * (along * a + across * mirrored(b)), b - mu * (along * b + across * mirrored(a))
    sound = xp.all(determinant(new_a, new_b) * determinant(a, b) > 0)
    ok = useful(v, h) & xp.isfinite(bound) & sound
    return k + 1, chosen(ok, (new_a, new_b, bound), (a, b, L))
