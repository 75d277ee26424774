"""Dense preconditioners: P = Q^T Q with a full matrix Q, in four forms of the update.

"eq" keeps Q upper triangular and takes relative steps on that group; it costs O(n^2), since its gradient is the upper
triangle of a difference of two rank-one matrices: row i of ``triu(a a^T) Q`` is a_i times the sum of a_j Q_j over
j >= i, one cumulative sum. "quad" keeps Q symmetric and makes a symmetric change of rank four. "qeq" and "procrustes"
let Q be any matrix; the latter turns it towards a symmetric one at every step.

Vectors are divided by the root of the bound L before they are multiplied, so that all is of the size of Q: squares of
what a finite pair gives may leave the range of float32.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays import like, namespace
from ..kernel import kernel
from ..triangular import solve_upper
from .common import (
    Pairs,
    chosen,
    dot,
    finite,
    floored,
    matmul,
    narrow,
    over_pairs,
    pair_of,
    safe_share,
    smoothed,
    square,
    useful,
)
from .states import DenseState

__all__ = ["FORMS", "apply", "apply_inverse", "start", "swept"]

TURN = 0.125  # the largest rotation of "procrustes"


def start(like_: Any, scale: float, L: Any, count: Any, seed: Any) -> DenseState[Any]:
    """Q = scale I."""
    (n,) = like_.shape
    return DenseState(scale * namespace(like_).eye(n, **like(like_)), L, count, seed)


def apply(state: DenseState[Any], G: Any, *, form: str) -> Any:
    """P g for every row g of G, shape (m, n)."""
    Qt = namespace(G).matrix_transpose(state.Q)
    return matmul(matmul(G, Qt), Qt if form == "quad" else state.Q)


def apply_inverse(state: DenseState[Any], G: Any, *, form: str) -> Any:
    """P^{-1} g for every row g of G."""
    xp, Q = namespace(G), state.Q
    X = xp.matrix_transpose(G)
    if form == "eq":
        return xp.matrix_transpose(solve_upper(Q, solve_upper(Q, X, transpose=True)))
    Qt = Q if form == "quad" else xp.matrix_transpose(Q)
    return xp.matrix_transpose(xp.linalg.solve(Q, xp.linalg.solve(Qt, X)))


def swept(state: DenseState[Any], pairs: Pairs, *, form: str) -> DenseState[Any]:
    """The state after all pairs, but for its count."""
    Q, L = FORMS[form](state.Q, pairs.V, pairs.H, state.L, pairs.steps, pairs.smoothing)
    return replace(state, Q=Q, L=L)


# ---------------------------------------------------------------------------------------------------------------------
# Q upper triangular


@kernel("precondition.dense_eq_sweep")
def dense_eq_sweep(Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any) -> tuple[Any, Any]:
    """Q -= mu triu(a a^T - b b^T) Q with a = Q h, b = Q^{-T} v."""
    return over_pairs(eq_step, (Q, L), Pairs(V, H, steps, smoothing))


def eq_step(carry: Any, pairs: Pairs) -> Any:
    """One pair; it is skipped if the diagonal would not stay positive."""
    k, (Q, L) = carry
    v, h, step = pair_of(pairs, k)
    xp = namespace(Q)
    a = matmul(Q, h)
    b = solve_upper(Q, v[:, None], transpose=True)[:, 0]
    ell = square(a) + square(b)
    bound = smoothed(L, ell, pairs.smoothing)
    a, b = scaled(a, bound), scaled(b, bound)
    new = Q - narrow(step, Q) * (a[:, None] * sums_from(a, Q) - b[:, None] * sums_from(b, Q))
    ok = counts(v, h, bound, new) & xp.all(xp.linalg.diagonal(new) > 0)
    return k + 1, chosen(ok, (new, bound), (Q, L))


def sums_from(a: Any, Q: Any) -> Any:
    """Row i holds the sum of a_j Q_j over j >= i."""
    xp = namespace(Q)
    rows = xp.flip(a[:, None] * Q, axis=0)
    return xp.flip(xp.cumulative_sum(rows, axis=0), axis=0)


# ---------------------------------------------------------------------------------------------------------------------
# Q symmetric


@kernel("precondition.dense_quad_sweep")
def dense_quad_sweep(Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any) -> tuple[Any, Any]:
    """Half a step from the left, half a step from the right, and the symmetric part: E = a a^T - v v^T, a = Q Q h."""
    return over_pairs(quad_step, (Q, L), Pairs(V, H, steps, smoothing))


def quad_step(carry: Any, pairs: Pairs) -> Any:
    """One pair, as one symmetric change of rank four; of rank two and a factor where v is integrated out."""
    k, (Q, L) = carry
    v, h, step = pair_of(pairs, k)
    a = matmul(Q, matmul(Q, h))
    bound = smoothed(L, bound_of(a, v), pairs.smoothing)
    m, a = narrow(step, Q) / 2, scaled(a, bound)
    ca = matmul(Q, a)
    if v is None:  # v v^T becomes I
        grows = 1 + narrow(safe_share(step, bound), Q) / 2
        pa = grows * ca - m * dot(ca, a) * a
        x = (m / 2) * (grows * ca + pa)
        new = grows * grows * Q - symmetric(a, x)
    else:
        b = scaled(v, bound)
        cb = matmul(Q, b)
        pa = ca - m * (dot(ca, a) * a - dot(cb, a) * b)
        pb = cb - m * (dot(ca, b) * a - dot(cb, b) * b)
        x, y = (m / 2) * (ca + pa), (m / 2) * (cb + pb)
        new = Q - (symmetric(a, x) - symmetric(b, y))
    return k + 1, chosen(counts(v, h, bound, new), (new, bound), (Q, L))


def scaled(x: Any, bound: Any) -> Any:
    """x divided by the root of the bound."""
    xp = namespace(x)
    return x / floored(narrow(xp.sqrt(bound), x))


def symmetric(a: Any, x: Any) -> Any:
    """a x^T + x a^T, symmetric to the last bit."""
    one, other = a[:, None] * x[None, :], x[:, None] * a[None, :]
    return one + other


def bound_of(a: Any, v: Any) -> Any:
    """ell = |a|^2 + |v|^2; 1 stands for the latter where v is integrated out."""
    return square(a) + (1.0 if v is None else square(v))


def counts(v: Any, h: Any, bound: Any, new: Any) -> Any:
    """Whether the pair is taken: neither side is zero, and what comes of it is finite."""
    return useful(v, h) & namespace(h).isfinite(bound) & finite(new)


# ---------------------------------------------------------------------------------------------------------------------
# Q any matrix


@kernel("precondition.dense_qeq_sweep")
def dense_qeq_sweep(Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any) -> tuple[Any, Any]:
    """Q -= mu Q (a a^T - v v^T) with a = Q^T Q h."""
    return over_pairs(qeq_step, (Q, L), Pairs(V, H, steps, smoothing))


def qeq_step(carry: Any, pairs: Pairs) -> Any:
    """One pair."""
    k, (Q, L) = carry
    v, h, step = pair_of(pairs, k)
    a = matmul(namespace(Q).matrix_transpose(Q), matmul(Q, h))
    bound = smoothed(L, bound_of(a, v), pairs.smoothing)
    mu, a = narrow(step, Q), scaled(a, bound)
    curved = mu * (matmul(Q, a)[:, None] * a[None, :])
    if v is None:
        flat = narrow(safe_share(step, bound), Q) * Q
    else:
        b = scaled(v, bound)
        flat = mu * (matmul(Q, b)[:, None] * b[None, :])
    new = Q - (curved - flat)
    return k + 1, chosen(counts(v, h, bound, new), (new, bound), (Q, L))


@kernel("precondition.dense_procrustes_sweep")
def dense_procrustes_sweep(Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any) -> tuple[Any, Any]:
    """Q -= mu (a a^T - v v^T) Q with a = Q^T Q h, then one rotation of Q towards a symmetric matrix: O(n^3)."""
    return over_pairs(procrustes_step, (Q, L), Pairs(V, H, steps, smoothing))


def procrustes_step(carry: Any, pairs: Pairs) -> Any:
    """One pair."""
    k, (Q, L) = carry
    v, h, step = pair_of(pairs, k)
    Qt = namespace(Q).matrix_transpose(Q)
    a = matmul(Qt, matmul(Q, h))
    bound = smoothed(L, bound_of(a, v), pairs.smoothing)
    mu, a = narrow(step, Q), scaled(a, bound)
    curved = mu * (a[:, None] * matmul(Qt, a)[None, :])
    if v is None:
        flat = narrow(safe_share(step, bound), Q) * Q
    else:
        b = scaled(v, bound)
        flat = mu * (b[:, None] * matmul(Qt, b)[None, :])
    new = turned(Q - (curved - flat))
    return k + 1, chosen(counts(v, h, bound, new), (new, bound), (Q, L))


def turned(Q: Any) -> Any:
    """(I + s R + s^2 R^2 / 2) Q for the skew R that makes the trace of Q grow; s the best, at most 1/8."""
    xp = namespace(Q)
    skew = xp.matrix_transpose(Q) - Q
    size = xp.asarray(xp.max(xp.sum(xp.abs(skew), axis=0)))
    skew = skew / xp.where(size > 0, size, xp.ones_like(size))
    once = matmul(skew, Q)
    twice = matmul(skew, once)
    gain, curvature = (xp.asarray(xp.sum(xp.linalg.diagonal(x))) for x in (once, twice))
    falls = curvature < 0
    best = -gain / xp.where(falls, curvature, -xp.ones_like(curvature))
    s = xp.where(falls, xp.minimum(best, TURN * xp.ones_like(best)), TURN * xp.ones_like(best))
    return Q + s * (once + (s / 2) * twice)


FORMS = {
    "eq": dense_eq_sweep,
    "quad": dense_quad_sweep,
    "qeq": dense_qeq_sweep,
    "procrustes": dense_procrustes_sweep,
}
