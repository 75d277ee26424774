"""numba kernel of low-rank preconditioners: a pair reads W = [U V]^T twice and writes it once, in blocks of columns.

The first pass makes G = Z Z^T of Z = [U V x y]^T, x = d h and y = v / d, in tiles of four rows by four, whose sums stay
in registers; blocks are summed in float64. Algebra of order r follows, in float64. The second pass makes the new U and
V, of which only one has a change of rank two besides its balancing, and all that is of length n besides: x and y are
made twice, and neither they nor P h are ever stored. A product with tall matrices by BLAS does twice the work, since
half of G and half of what makes the new Z are known, and passes over everything once more for each elementwise step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from equipoise.precondition.low_rank import BALANCE

from .compiled import njit
from .precondition import SUMS, zero
from .views import plain

__all__ = ["low_rank_sweep"]

COLUMNS = 512  # of a block, for registers and the first cache: 12 rows of float32 are 24 kB
CHUNK = 1024  # columns taken from memory at a time: shorter runs in many rows are read at half the speed


def padded(rows: int) -> int:
    """The next multiple of 4."""
    return (rows + 3) // 4 * 4


# ---------------------------------------------------------------------------------------------------------------------
# Blocks


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def copied(row, out):  # type: ignore[no-untyped-def]
    """`out` begins with `row`."""
    for j in range(row.size):
        out[j] = row[j]


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def scaled_pair(d, v, h, x, y):  # type: ignore[no-untyped-def]
    """x = d h and y = v / d."""
    for j in range(d.size):
        x[j] = d[j] * h[j]
        y[j] = v[j] / d[j]


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def gram_tile(Z, i, k, start, stop, G):  # type: ignore[no-untyped-def]
    """The inner products of rows i to i + 3 with rows k to k + 3, over some columns."""
    a0, a1, a2, a3 = Z[i, start:stop], Z[i + 1, start:stop], Z[i + 2, start:stop], Z[i + 3, start:stop]
    b0, b1, b2, b3 = Z[k, start:stop], Z[k + 1, start:stop], Z[k + 2, start:stop], Z[k + 3, start:stop]
    none = Z.dtype.type(0)
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = none
    for j in range(a0.size):
        p0, p1, p2, p3, q0, q1, q2, q3 = a0[j], a1[j], a2[j], a3[j], b0[j], b1[j], b2[j], b3[j]
        s00 += p0 * q0
        s01 += p0 * q1
        s02 += p0 * q2
        s03 += p0 * q3
        s10 += p1 * q0
        s11 += p1 * q1
        s12 += p1 * q2
        s13 += p1 * q3
        s20 += p2 * q0
        s21 += p2 * q1
        s22 += p2 * q2
        s23 += p2 * q3
        s30 += p3 * q0
        s31 += p3 * q1
        s32 += p3 * q2
        s33 += p3 * q3
    G[i, k] += s00
    G[i, k + 1] += s01
    G[i, k + 2] += s02
    G[i, k + 3] += s03
    G[i + 1, k] += s10
    G[i + 1, k + 1] += s11
    G[i + 1, k + 2] += s12
    G[i + 1, k + 3] += s13
    G[i + 2, k] += s20
    G[i + 2, k + 1] += s21
    G[i + 2, k + 2] += s22
    G[i + 2, k + 3] += s23
    G[i + 3, k] += s30
    G[i + 3, k + 1] += s31
    G[i + 3, k + 2] += s32
    G[i + 3, k + 3] += s33


@njit(cache=True, error_model="numpy")
def gram(W, d, v, h, Z, G):  # type: ignore[no-untyped-def]
    """G = Z Z^T, both halves."""
    rows, n = W.shape
    size = Z.shape[0]
    G[:] = 0
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        m = stop - start
        for i in range(rows):
            copied(W[i, start:stop], Z[i])
        scaled_pair(d[start:stop], v[start:stop], h[start:stop], Z[rows], Z[rows + 1])
        for at in range(0, m, COLUMNS):
            for i in range(0, size, 4):
                for k in range(i, size, 4):
                    gram_tile(Z, i, k, at, min(at + COLUMNS, m), G)
    for i in range(size):
        for k in range(i):
            G[i, k] = G[k, i]


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def combined_tile(C, k, i, Z, at, m, out):  # type: ignore[no-untyped-def]
    """Rows i to i + 3 of `out` += C^T Z for rows k to k + 3 of Z, over m columns from `at` on; for k = 0 no sum."""
    c00, c01, c02, c03 = C[k, i], C[k, i + 1], C[k, i + 2], C[k, i + 3]
    c10, c11, c12, c13 = C[k + 1, i], C[k + 1, i + 1], C[k + 1, i + 2], C[k + 1, i + 3]
    c20, c21, c22, c23 = C[k + 2, i], C[k + 2, i + 1], C[k + 2, i + 2], C[k + 2, i + 3]
    c30, c31, c32, c33 = C[k + 3, i], C[k + 3, i + 1], C[k + 3, i + 2], C[k + 3, i + 3]
    z0, z1, z2, z3 = Z[k, at : at + m], Z[k + 1, at : at + m], Z[k + 2, at : at + m], Z[k + 3, at : at + m]
    o0, o1, o2, o3 = out[i], out[i + 1], out[i + 2], out[i + 3]
    if k == 0:
        for j in range(m):
            w0, w1, w2, w3 = z0[j], z1[j], z2[j], z3[j]
            o0[j] = c00 * w0 + c10 * w1 + c20 * w2 + c30 * w3
            o1[j] = c01 * w0 + c11 * w1 + c21 * w2 + c31 * w3
            o2[j] = c02 * w0 + c12 * w1 + c22 * w2 + c32 * w3
            o3[j] = c03 * w0 + c13 * w1 + c23 * w2 + c33 * w3
        return
    for j in range(m):
        w0, w1, w2, w3 = z0[j], z1[j], z2[j], z3[j]
        o0[j] += c00 * w0 + c10 * w1 + c20 * w2 + c30 * w3
        o1[j] += c01 * w0 + c11 * w1 + c21 * w2 + c31 * w3
        o2[j] += c02 * w0 + c12 * w1 + c22 * w2 + c32 * w3
        o3[j] += c03 * w0 + c13 * w1 + c23 * w2 + c33 * w3


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def changed(C, r, last, Z, m, out, new, first, start, doubt):  # type: ignore[no-untyped-def]
    """r rows of `new` from `first` on, columns from `start` on, are C^T Z; rows of Z from `last` on are 0."""
    for at in range(0, m, COLUMNS):
        width = min(COLUMNS, m - at)
        for i in range(0, r, 4):
            for k in range(0, last, 4):
                combined_tile(C, k, i, Z, at, width, out)
        for i in range(r):
            stored(out[i], new[first + i, start + at : start + at + width], doubt)


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def given(c, e, r, Z, m, out, other):  # type: ignore[no-untyped-def]
    """out += c^T Z and other += e^T Z."""
    for k in range(0, r, 4):
        c0, c1, c2, c3, e0, e1, e2, e3 = c[k], c[k + 1], c[k + 2], c[k + 3], e[k], e[k + 1], e[k + 2], e[k + 3]
        for j in range(m):
            w0, w1, w2, w3 = Z[k, j], Z[k + 1, j], Z[k + 2, j], Z[k + 3, j]
            out[j] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
            other[j] += e0 * w0 + e1 * w1 + e2 * w2 + e3 * w3


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def ends(x, y, Ph, Pv, diff, top, low, doubt):  # type: ignore[no-untyped-def]
    """What moves d, its largest parts so far, and a sum that is NaN as soon as something is not finite."""
    for j in range(diff.size):
        up, down = x[j] * Ph[j], y[j] * Pv[j]
        diff[j] = up - down
        doubt[j] += 0 * diff[j]
        top[j] = max(top[j], abs(up))
        low[j] = max(low[j], abs(down))


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def stored(row, out, doubt):  # type: ignore[no-untyped-def]
    """out = row."""
    for j in range(out.size):
        out[j] = row[j]
        doubt[j] += 0 * row[j]


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def moved(W, d, v, h, C, vectors, even, new, diff, work):  # type: ignore[no-untyped-def]
    """The new W and what moves d; the largest |h P h|, the largest |v P^{-1} v|, whether all is finite.

    `C` (2, s, s) makes U and V of [U a b] and of V, or of U and of [V P h/d y]; `vectors` (4, s) holds what U gives to
    a and to d P^{-1} v, and V to b and to P h / d.
    """
    rows, n = W.shape
    r, s = rows // 2, C.shape[1]
    U, V, rest, out = work[:s], work[s : 2 * s], work[2 * s : 2 * s + 9], np.empty((s, COLUMNS), W.dtype)
    x, y, a, b, Ph, Pv = rest[0], rest[1], rest[2], rest[3], rest[4], rest[5]
    top, low, doubt = rest[6], rest[7], rest[8]
    top[:], low[:], doubt[:] = 0, 0, 0
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        m = stop - start
        for i in range(r):
            copied(W[i, start:stop], U[i])
            copied(W[r + i, start:stop], V[i])
        U[r:], V[r:] = 0, 0
        scaled_pair(d[start:stop], v[start:stop], h[start:stop], x, y)
        copied(x[:m], a)
        copied(y[:m], b)
        Ph[:], Pv[:] = 0, 0
        given(vectors[0], vectors[1], r, U, m, a, Pv)
        given(vectors[2], vectors[3], r, V, m, b, Ph)
        for j in range(m):
            Ph[j] += a[j]
            Pv[j] += b[j]
        if even:
            copied(a[:m], U[r])
            copied(b[:m], U[r + 1])
        else:
            copied(Ph[:m], V[r])
            copied(y[:m], V[r + 1])
        changed(C[0], r, s if even else r, U, m, out, new, 0, start, doubt)
        changed(C[1], r, r if even else s, V, m, out, new, r, start, doubt)
        ends(x, y, Ph, Pv, diff[start:stop], top, low, doubt)
    return np.float64(top.max()), np.float64(low.max()), np.isfinite(doubt.sum())


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def rescaled(d, diff, mu):  # type: ignore[no-untyped-def]
    """`diff` becomes d (1 - mu diff); whether no entry is 0."""
    zeros = 0
    for j in range(d.size):
        diff[j] = d[j] * (1 - mu * diff[j])
        zeros += diff[j] == 0
    return zeros == 0


# ---------------------------------------------------------------------------------------------------------------------
# Algebra of order r, in float64


def plan(G: Any, r: int, even: bool, C: Any, vectors: Any) -> tuple[float, Any]:
    """Fills C and vectors for :func:`moved`, but for the step; ell, and the coefficients that wait for it.

    The same as ``equipoise.precondition.low_rank.plan`` with what is known to be 0 left out: U' = U A and V' = V B are
    balanced, and columns of X hold coefficients of a = Q h and b = Q^{-T} v in Z = [U V x y].
    """
    UU, VV, one = G[:r, :r], G[r : 2 * r, r : 2 * r], np.eye(r)
    u, v = float(UU.trace()), float(VV.trace())
    rho = (u / v) ** 0.25 if u > 0 and v > 0 else 1.0
    total = u / rho**2 + v * rho**2
    E = (BALANCE / total if total > 0 else 0.0) * (UU / rho**2 - VV * rho**2)
    even_part = one + E @ E / 2
    A, B = (even_part - E) / rho, (even_part + E) * rho
    GU, GV = A.T @ G[:r], B.T @ G[r : 2 * r]  # products with U' and V'
    K = GV[:, :r] @ A + one
    X = np.zeros((2 * r + 2, 2))
    X[2 * r, 0] = X[2 * r + 1, 1] = 1.0
    X[:r, 0] = A @ GV[:, 2 * r]
    X[r : 2 * r, 1] = -(B @ np.linalg.solve(K.T, GU[:, 2 * r + 1]))
    UX, VX = GU @ X, GV @ X
    vectors[0, :r], vectors[1, :r] = X[:r, 0], -(A @ np.linalg.solve(K, VX[:, 1]))
    vectors[2, :r], vectors[3, :r] = X[r : 2 * r, 1], B @ UX[:, 0]
    C[0, :r, :r], C[1, :r, :r] = A, B
    far, inner, change = (B @ VX, VV, K.T @ VX) if even else (A @ UX, UU, UX)
    squares = np.maximum(np.sum((G @ X) * X, axis=0), 0.0) * np.maximum(np.sum((inner @ far) * far, axis=0), 0.0)
    return float(np.sum(np.sqrt(squares))), change.T * [[-1.0], [1.0]]


# ---------------------------------------------------------------------------------------------------------------------
# All pairs


def low_rank_sweep(W: Any, d: Any, pairs: Any, L: Any, count: Any) -> Any:
    """Override of ``precondition.low_rank_sweep``: a loop of Python's, one of numba's took seconds to compile."""
    W, d, V, H = map(plain, (W, d, pairs.V, pairs.H))
    bounds, smoothing, first = np.array(L, dtype=np.float64), float(pairs.smoothing), int(count)
    r, given_W, given_d = W.shape[0] // 2, W, d
    s, size = padded(r + 2), padded(2 * r + 2)
    Z, G, work = np.zeros((size, CHUNK), W.dtype), np.empty((size, size)), np.zeros((2 * s + 9, CHUNK), W.dtype)
    new, diff = np.empty_like(W), np.empty_like(d)
    for k, step in enumerate(np.asarray(pairs.steps).tolist()):
        v, h, which = V[k], H[k], (first + k) % 2
        if zero(h) or zero(v):
            continue
        gram(W, d, v, h, Z, G)
        C, vectors = np.zeros((2, s, s), W.dtype), np.zeros((4, s), W.dtype)
        try:
            with np.errstate(all="ignore"):
                ell, change = plan(G[: 2 * r + 2, : 2 * r + 2], r, which == 0, C, vectors)
                bound = grown(bounds[which], ell, smoothing)
                C[which, r : r + 2, :r] = share(step, bound) * change
        except np.linalg.LinAlgError:  # K is singular
            continue
        if not math.isfinite(bound):
            continue
        top, low, ok = moved(W, d, v, h, C, vectors, which == 0, new, diff, work)
        last = grown(bounds[2], top + low, smoothing)
        if not (ok and math.isfinite(last) and rescaled(d, diff, W.dtype.type(share(step, last)))):
            continue
        bounds[which], bounds[2] = bound, last
        if W is not given_W:
            W, new, d, diff = new, W, diff, d
        else:  # what was given is not written
            W, d = new, diff
            if k + 1 < H.shape[0]:
                new, diff = np.empty_like(W), np.empty_like(d)
    if W is given_W:
        W, d = given_W.copy(), given_d.copy()
    return W, d, bounds.astype(L.dtype, copy=False)


def grown(L: Any, ell: float, smoothing: float) -> float:
    """The bound after one more pair."""
    return max(smoothing * float(L) + (1.0 - smoothing) * ell, ell)


def share(step: float, L: float) -> float:
    """step / L, and 0 where nothing was seen yet."""
    return step / L if L > 0 else 0.0
