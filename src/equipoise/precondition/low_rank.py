"""A diagonal and a correction of low rank, Q = (I + U V^T) diag(d): for vectors too long for a matrix.

With Z = [U V x y], x = d h and y = v / d, every inner product of an update is an entry of G = Z^T Z, and everything of
length n after it is Z M: two products with tall matrices, and algebra of order r between them, in float64. U and V are
balanced first, U' = U A and V' = V B, since only their product matters. Even pairs move U, odd ones V, every one d.
The state holds W = [U V]^T, whose rows are long: blocks of them are what loops over vectors of length n want. x and y
are not kept beside them: they are cheaper made than stored.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..arrays import like, namespace
from ..kernel import kernel
from .common import Pairs, chosen, dot, matmul, narrow, over_pairs, pair_of, safe_share, smoothed, useful, wide
from .draws import Purpose, normals
from .states import LowRankState

__all__ = ["apply", "apply_inverse", "start", "swept"]

SIZE = 0.1  # |U|^2 and |V|^2 of the start
BALANCE = 0.1


def start(like_: Any, scale: float, L: Any, count: Any, seed: Any, *, rank: int) -> LowRankState[Any]:
    """U and V normal, each of Frobenius norm sqrt(0.1); d = scale."""
    xp = namespace(like_)
    (n,) = like_.shape
    drawn = normals(count, seed, xp.zeros((n, 2 * rank), **like(like_)), rows=1, purpose=int(Purpose.START))[0, ...]
    left, right = drawn[:, :rank], drawn[:, rank:]
    W = xp.concat([x * (math.sqrt(SIZE) / xp.sqrt(xp.asarray(dot(x, x)))) for x in (left, right)], axis=1)
    W = xp.reshape(xp.reshape(xp.matrix_transpose(W), (-1,)), (2 * rank, n))  # numbers of a row side by side
    return LowRankState(W, scale * xp.ones((n,), **like(like_)), L, count, seed)


def apply(state: LowRankState[Any], G: Any) -> Any:
    """P g for every row g of G, shape (m, n)."""
    xp, d, U, V = namespace(G), state.d, state.U, state.V
    X = d * G
    X = X + matmul(matmul(X, V), xp.matrix_transpose(U))
    return d * (X + matmul(matmul(X, U), xp.matrix_transpose(V)))


def apply_inverse(state: LowRankState[Any], G: Any) -> Any:
    """P^{-1} g for every row g of G, by Woodbury's formula twice."""
    xp, d, U, V = namespace(G), state.d, state.U, state.V
    Ut, Vt = xp.matrix_transpose(U), xp.matrix_transpose(V)
    K = xp.eye(U.shape[1], **like(U)) + matmul(Vt, U)
    Y = xp.matrix_transpose(G / d)
    b = Y - matmul(V, xp.linalg.solve(xp.matrix_transpose(K), matmul(Ut, Y)))
    c = b - matmul(U, xp.linalg.solve(K, matmul(Vt, b)))
    return xp.matrix_transpose(c) / d


def swept(state: LowRankState[Any], pairs: Pairs) -> LowRankState[Any]:
    """The state after all pairs, but for its count."""
    W, d, L = low_rank_sweep(state.W, state.d, pairs, state.L, state.count)
    return replace(state, W=W, d=d, L=L)


@kernel("precondition.low_rank_sweep")
def low_rank_sweep(W: Any, d: Any, pairs: Pairs, L: Any, count: Any) -> tuple[Any, Any, Any]:
    """W = [U V]^T, d and the three bounds after all pairs, of which the first is number `count`."""
    return over_pairs(step, (W, d, L, count), pairs)[:3]


def step(carry: Any, pairs: Pairs) -> Any:
    """One pair; it is skipped if K = I + V^T U is singular."""
    k, (W, d, L, count) = carry
    v, h, size = pair_of(pairs, k)
    xp, r = namespace(W), W.shape[0] // 2
    xy = xp.stack([d * h, v / d])
    G = gram(W, xy)
    even = xp.asarray(count % 2 == 0)
    M, ells, ok = plan(G, r, even)
    seen = xp.stack([even, xp.logical_not(even)])
    bounds = smoothed(L[:2], xp.where(seen, ells, xp.zeros_like(ells)), pairs.smoothing)
    bounds = xp.where(seen, bounds, L[:2])  # one of the two is seen
    mu = xp.sum(xp.where(seen, safe_share(size, bounds), xp.zeros_like(bounds)))
    Mt = xp.matrix_transpose(narrow(M[0] - mu * M[1], W))
    Z = matmul(Mt[:, : 2 * r], W) + matmul(Mt[:, 2 * r :], xy)
    up, down = xy[0, ...] * Z[2 * r, ...], xy[1, ...] * Z[2 * r + 1, ...]  # h P h and v P^{-1} v, entry by entry
    ell = wide(xp.max(xp.abs(up)) + xp.max(xp.abs(down)), W)
    bound = smoothed(xp.asarray(L[2]), ell, pairs.smoothing)
    scaled = d * (1 - narrow(safe_share(size, bound), d) * (up - down))
    new = Z[: 2 * r, ...], scaled, xp.concat([bounds, xp.reshape(bound, (1,))])
    sound = xp.isfinite(bound) & xp.all(xp.isfinite(bounds)) & xp.all(scaled != 0) & xp.all(xp.isfinite(new[0]))
    W, d, L = chosen(useful(v, h) & ok & sound, new, (W, d, L))
    return k + 1, (W, d, L, xp.asarray(count + 1))


def gram(W: Any, xy: Any) -> Any:
    """G = Z^T Z of Z = [U V x y], finished in float64."""
    xp = namespace(W)
    cross = matmul(W, xp.matrix_transpose(xy))
    top = xp.concat([matmul(W, xp.matrix_transpose(W)), cross], axis=1)
    foot = xp.concat([xp.matrix_transpose(cross), matmul(xy, xp.matrix_transpose(xy))], axis=1)
    return wide(xp.concat([top, foot], axis=0), W)


def plan(G: Any, r: int, even: Any) -> tuple[tuple[Any, Any], Any, Any]:
    """M0 and M1 with [U V Ph/d dP^{-1}v] = Z (M0 - mu M1) after the step, the bounds of U and V, whether K is sound.

    Columns of coefficients say how a vector is made of U', V', x and y, of which `T` says how they are made of Z.
    """
    xp = namespace(G)
    T = balanced(G, r)
    G = matmul(matmul(xp.matrix_transpose(T), G), T)
    unit = xp.eye(2 * r + 2, **like(G))
    left, right, x, y = unit[:, :r], unit[:, r : 2 * r], unit[:, 2 * r], unit[:, 2 * r + 1]
    UG, VG = G[:r, :], G[r : 2 * r, :]  # products of U'^T and of V'^T with what coefficients stand for
    K = unit[:r, :r] + VG[:, :r]
    ok = xp.linalg.det(K) != 0
    K = xp.where(ok, K, unit[:r, :r])
    a = x + matmul(left, matmul(VG, x))  # Q h
    b = y - matmul(right, solve(xp.matrix_transpose(K), matmul(UG, y)))  # Q^{-T} v
    Ph = a + matmul(right, matmul(UG, a))  # P h / d
    Pv = b - matmul(left, solve(K, matmul(VG, b)))  # d P^{-1} v
    Va, Vb, Ua, Ub = matmul(VG, a), matmul(VG, b), matmul(UG, a), matmul(UG, b)

    def norm(z: Any) -> Any:
        size = dot(z, matmul(G, z))
        return xp.sqrt(xp.maximum(size, xp.zeros_like(size)))

    ell_U = norm(a) * norm(matmul(right, Va)) + norm(b) * norm(matmul(right, Vb))
    ell_V = norm(a) * norm(matmul(left, Ua)) + norm(b) * norm(matmul(left, Ub))
    change_U = a[:, None] * matmul(Va, K)[None, :] - b[:, None] * matmul(Vb, K)[None, :]
    change_V = Ph[:, None] * Ua[None, :] - y[:, None] * Ub[None, :]  # (I + V U^T) b = y
    change_U = xp.where(even, change_U, xp.zeros_like(change_U))
    change_V = xp.where(even, xp.zeros_like(change_V), change_V)
    still = xp.concat([left, right, Ph[:, None], Pv[:, None]], axis=1)
    moving = xp.concat([change_U, change_V, xp.zeros((2 * r + 2, 2), **like(G))], axis=1)
    return (matmul(T, still), matmul(T, moving)), xp.stack([xp.asarray(ell_U), xp.asarray(ell_V)]), ok


def balanced(G: Any, r: int) -> Any:
    """diag(A, B, 1, 1): U A and V B have one size and, little by little, one Gram matrix; A B^T is nearly I."""
    xp = namespace(G)
    one = xp.eye(r, **like(G))
    UU, VV = G[:r, :r], G[r : 2 * r, r : 2 * r]
    u, v = xp.asarray(xp.sum(xp.linalg.diagonal(UU))), xp.asarray(xp.sum(xp.linalg.diagonal(VV)))
    known = (u > 0) & (v > 0)
    rho = xp.where(known, u / xp.where(known, v, xp.ones_like(v)), xp.ones_like(u)) ** 0.25
    UU, VV = UU / (rho * rho), VV * (rho * rho)
    total = u / (rho * rho) + v * (rho * rho)
    E = BALANCE * (UU - VV) / xp.where(total > 0, total, xp.ones_like(total))
    half = matmul(E, E) / 2
    none, rest = xp.zeros((r, r), **like(G)), xp.eye(2, **like(G))
    wide_none = xp.zeros((r, 2), **like(G))
    rows = [
        xp.concat([(one - E + half) / rho, none, wide_none], axis=1),
        xp.concat([none, (one + E + half) * rho, wide_none], axis=1),
        xp.concat([xp.matrix_transpose(wide_none), xp.matrix_transpose(wide_none), rest], axis=1),
    ]
    return xp.concat(rows, axis=0)


def solve(K: Any, w: Any) -> Any:
    """K^{-1} w for one right-hand side."""
    return namespace(K).linalg.solve(K, w[:, None])[:, 0]
