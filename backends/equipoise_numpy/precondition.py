"""numba kernels of dense preconditioners: a pair costs passes over rows, and no array of the size of Q is made.

The portable bodies write several such arrays a pair. "eq" needs one pass forward, which makes a = Q h and solves for b,
and one backward, which holds the two running sums of rows. "quad" needs three products and one update; the latter is
compiled without contraction, so that both halves of Q are rounded alike and it stays symmetric to the last bit.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["dense_eq_sweep", "dense_quad_sweep"]

SUMS = {"reassoc", "contract"}


@numba.njit(cache=True)
def zero(x):  # type: ignore[no-untyped-def]
    """Whether every entry of x is 0."""
    return not np.any(x)


@numba.njit(cache=True, fastmath=SUMS)
def square(x):  # type: ignore[no-untyped-def]
    """|x|^2 in float64."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@numba.njit(cache=True)
def bounded(L, ell, smoothing):  # type: ignore[no-untyped-def]
    """The bound after one more pair."""
    return max(smoothing * L + (1.0 - smoothing) * ell, ell)


# ---------------------------------------------------------------------------------------------------------------------
# Q upper triangular


@numba.njit(cache=True, fastmath=SUMS)
def forward(Q, v, h, a, b, w):  # type: ignore[no-untyped-def]
    """a = Q h and b = Q^{-T} v in one pass."""
    n = Q.shape[0]
    w[:] = v
    for i in range(n):
        row = Q[i]
        total = row[i] * h[i]
        part = w[i] / row[i]
        for j in range(i + 1, n):
            total += row[j] * h[j]
            w[j] -= row[j] * part
        a[i], b[i] = total, part


@numba.njit(cache=True, fastmath=SUMS)
def backward(Q, a, b, mu, sa, sb):  # type: ignore[no-untyped-def]
    """Q -= mu triu(a a^T - b b^T) Q, from the last row up."""
    n = Q.shape[0]
    sa[:], sb[:] = 0, 0
    for i in range(n - 1, -1, -1):
        row, x, y = Q[i], a[i], b[i]
        mx, my = mu * x, mu * y
        for j in range(i, n):
            sa[j] += x * row[j]
            sb[j] += y * row[j]
            row[j] -= mx * sa[j] - my * sb[j]


@numba.njit(cache=True)
def eq_pairs(Q, V, H, L, steps, smoothing):  # type: ignore[no-untyped-def]
    """All pairs in turn, Q in place; the last bound."""
    n = Q.shape[0]
    a, b, w, s = np.empty_like(Q[0]), np.empty_like(Q[0]), np.empty_like(Q[0]), np.empty_like(Q[0])
    for k in range(H.shape[0]):
        if zero(H[k]) or zero(V[k]):
            continue
        forward(Q, V[k], H[k], a, b, w)
        bound = bounded(L, square(a) + square(b), smoothing)
        if not np.isfinite(bound):
            continue
        mu = Q.dtype.type(steps[k] / bound)
        sound = True
        for i in range(n):  # the new diagonal
            sound &= (1 - mu * (a[i] * a[i] - b[i] * b[i])) * Q[i, i] > 0
        if sound:
            L = bound
            backward(Q, a, b, mu, w, s)
    return L


def dense_eq_sweep(Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any) -> Any:
    """Override of ``precondition.dense_eq_sweep``."""
    return swept(eq_pairs, Q, V, H, L, steps, smoothing)


def swept(pairs: Any, Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any) -> Any:
    """One copy of Q for all pairs; arrays that are read-only or have strides would be compiled for once more."""
    Q = np.array(Q, order="C")
    V, H, steps = (np.require(x, requirements=["C", "W"]) for x in (V, H, steps))
    bound = pairs(Q, V, H, float(L), steps, float(smoothing))
    return Q, np.asarray(bound, dtype=L.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Q symmetric


@numba.njit(cache=True, fastmath=SUMS)
def product(Q, x, out):  # type: ignore[no-untyped-def]
    """out = Q x."""
    n = Q.shape[0]
    for i in range(n):
        row = Q[i]
        total = row[0] * x[0]
        for j in range(1, n):
            total += row[j] * x[j]
        out[i] = total


@numba.njit(cache=True, fastmath=SUMS)
def two_products(Q, x, y, out, other):  # type: ignore[no-untyped-def]
    """out = Q x and other = Q y in one pass."""
    n = Q.shape[0]
    for i in range(n):
        row = Q[i]
        one, two = row[0] * x[0], row[0] * y[0]
        for j in range(1, n):
            one += row[j] * x[j]
            two += row[j] * y[j]
        out[i], other[i] = one, two


@numba.njit(cache=True, fastmath=SUMS)
def inner(x, y):  # type: ignore[no-untyped-def]
    """x . y."""
    total = x[0] * y[0]
    for i in range(1, x.size):
        total += x[i] * y[i]
    return total


@numba.njit(cache=True)
def rank_four(Q, a, x, v, y):  # type: ignore[no-untyped-def]
    """Q -= (a x^T + x a^T) - (v y^T + y v^T), both halves rounded alike."""
    n = Q.shape[0]
    for i in range(n):
        row, ai, xi, vi, yi = Q[i], a[i], x[i], v[i], y[i]
        for j in range(n):
            row[j] -= (ai * x[j] + xi * a[j]) - (vi * y[j] + yi * v[j])


@numba.njit(cache=True)
def quad_pairs(Q, V, H, L, steps, smoothing):  # type: ignore[no-untyped-def]
    """All pairs in turn, Q in place; the last bound."""
    t, a, ca, cv = np.empty_like(Q[0]), np.empty_like(Q[0]), np.empty_like(Q[0]), np.empty_like(Q[0])
    x, y = np.empty_like(Q[0]), np.empty_like(Q[0])
    for k in range(H.shape[0]):
        v = V[k]
        if zero(H[k]) or zero(v):
            continue
        product(Q, H[k], t)
        product(Q, t, a)
        bound = bounded(L, square(a) + square(v), smoothing)
        if not np.isfinite(bound):
            continue
        L = bound
        m = Q.dtype.type(steps[k] / bound / 2)
        half = m / 2
        two_products(Q, a, v, ca, cv)
        aa, va, vv = inner(ca, a), inner(cv, a), inner(cv, v)
        av = inner(ca, v)
        for i in range(a.size):
            x[i] = half * (2 * ca[i] - m * (aa * a[i] - va * v[i]))
            y[i] = half * (2 * cv[i] - m * (av * a[i] - vv * v[i]))
        rank_four(Q, a, x, v, y)
    return L


def dense_quad_sweep(Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any) -> Any:
    """Override of ``precondition.dense_quad_sweep``; declines where v is integrated out."""
    if V is None:
        return NotImplemented
    return swept(quad_pairs, Q, V, H, L, steps, smoothing)
