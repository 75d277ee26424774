"""numba kernels of dense preconditioners: a pair costs passes over rows, and no array of the size of Q is made.

The portable bodies write several such arrays a pair. "eq" needs one pass forward, which makes a = Q h and solves for b,
and one backward, which holds the two running sums of rows. "quad" needs three products and one update; the latter is
compiled without contraction, so that both halves of Q are rounded alike and it stays symmetric to the last bit.
Symmetric matrices that no cache holds are read by their upper halves. The first pair that is taken writes what it makes
of them into new memory, so that Q is not copied before; later pairs write there in place. "eq" copies Q, half of which
is zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import njit
from .views import plain

__all__ = ["dense_eq_sweep", "dense_quad_sweep"]

SUMS = {"reassoc", "contract"}
LARGE = 16_000_000  # bytes of a symmetric matrix beyond which its lower half is only made at the end


@njit(cache=True)
def zero(x):  # type: ignore[no-untyped-def]
    """Whether every entry of x is 0."""
    return not np.any(x)


@njit(cache=True, fastmath=SUMS)
def square(x):  # type: ignore[no-untyped-def]
    """|x|^2 in float64."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@njit(cache=True)
def bounded(L, ell, smoothing):  # type: ignore[no-untyped-def]
    """The bound after one more pair."""
    return max(smoothing * L + (1.0 - smoothing) * ell, ell)


@njit(cache=True)
def divided(x, bound, out):  # type: ignore[no-untyped-def]
    """out = x divided by the root of the bound, where that is a number to divide by."""
    root = x.dtype.type(np.sqrt(bound))
    if not root > 0:
        root = x.dtype.type(1)
    for i in range(x.size):
        out[i] = x[i] / root


# ---------------------------------------------------------------------------------------------------------------------
# Q upper triangular


@njit(cache=True, fastmath=SUMS, error_model="numpy")
def forward(Q, v, h, a, b, w):  # type: ignore[no-untyped-def]
    """a = Q h and b = Q^{-T} v in one pass."""
    n = Q.shape[0]
    w[:] = v
    for i in range(n):
        total, part = Q[i, i] * h[i], w[i] / Q[i, i]
        row, hs, ws = Q[i, i + 1 :], h[i + 1 :], w[i + 1 :]  # indices from 0 on, for vector registers
        for j in range(row.size):
            total += row[j] * hs[j]
            ws[j] -= row[j] * part
        a[i], b[i] = total, part


@njit(cache=True, fastmath=SUMS)
def backward(Q, a, b, mu, sa, sb):  # type: ignore[no-untyped-def]
    """Q -= mu triu(a a^T - b b^T) Q, from the last row up."""
    n = Q.shape[0]
    sa[:], sb[:] = 0, 0
    for i in range(n - 1, -1, -1):
        row, up, down, x, y = Q[i, i:], sa[i:], sb[i:], a[i], b[i]
        mx, my = mu * x, mu * y
        for j in range(row.size):
            old = row[j]
            up[j] += x * old
            down[j] += y * old
            row[j] = old - (mx * up[j] - my * down[j])


@njit(cache=True)
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
        mu = Q.dtype.type(steps[k])
        divided(a, bound, a)
        divided(b, bound, b)
        sound = True
        for i in range(n):  # the new diagonal
            sound &= (1 - mu * (a[i] * a[i] - b[i] * b[i])) * Q[i, i] > 0
        if sound:
            L = bound
            backward(Q, a, b, mu, w, s)
    return L


def dense_eq_sweep(Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any) -> Any:
    """Override of ``precondition.dense_eq_sweep``."""
    Q, V, H, steps = np.array(Q, order="C"), plain(V), plain(H), plain(steps)
    return Q, np.asarray(eq_pairs(Q, V, H, float(L), steps, float(smoothing)), dtype=L.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Q symmetric


@njit(cache=True, fastmath=SUMS)
def halved(Q, x, out):  # type: ignore[no-untyped-def]
    """out = Q x, of the upper half of Q."""
    n = Q.shape[0]
    out[:] = 0
    for i in range(n):
        row, xi = Q[i], x[i]
        total, rest, xs, outs = row[i] * xi, row[i + 1 :], x[i + 1 :], out[i + 1 :]
        for j in range(rest.size):
            total += rest[j] * xs[j]
            outs[j] += rest[j] * xi
        out[i] += total


@njit(cache=True, fastmath=SUMS)
def product(Q, x, out):  # type: ignore[no-untyped-def]
    """out = Q x."""
    n = Q.shape[0]
    for i in range(n):
        row = Q[i]
        total = row[0] * x[0]
        for j in range(1, n):
            total += row[j] * x[j]
        out[i] = total


@njit(cache=True, fastmath=SUMS)
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


@njit(cache=True, fastmath=SUMS)
def inner(x, y):  # type: ignore[no-untyped-def]
    """x . y."""
    total = x[0] * y[0]
    for i in range(1, x.size):
        total += x[i] * y[i]
    return total


@njit(cache=True)
def rank_four(Q, a, x, v, y, out):  # type: ignore[no-untyped-def]
    """out = Q - ((a x^T + x a^T) - (v y^T + y v^T)), both halves rounded alike."""
    n = Q.shape[0]
    for i in range(n):
        row, new, ai, xi, vi, yi = Q[i], out[i], a[i], x[i], v[i], y[i]
        for j in range(n):
            new[j] = row[j] - ((ai * x[j] + xi * a[j]) - (vi * y[j] + yi * v[j]))


@njit(cache=True)
def rank_four_inside(Q, a, x, v, y):  # type: ignore[no-untyped-def]
    """The same in place, which a loop must know to use vector registers."""
    n = Q.shape[0]
    for i in range(n):
        row, ai, xi, vi, yi = Q[i], a[i], x[i], v[i], y[i]
        for j in range(n):
            row[j] -= (ai * x[j] + xi * a[j]) - (vi * y[j] + yi * v[j])


@njit(cache=True, fastmath=SUMS)
def rank_four_halved(Q, a, x, v, y):  # type: ignore[no-untyped-def]
    """The same of the upper half, in place."""
    n = Q.shape[0]
    for i in range(n):
        row, ai, xi, vi, yi = Q[i, i:], a[i], x[i], v[i], y[i]
        a_, x_, v_, y_ = a[i:], x[i:], v[i:], y[i:]
        for j in range(row.size):
            row[j] -= (ai * x_[j] + xi * a_[j]) - (vi * y_[j] + yi * v_[j])


@njit(cache=True)
def mirrored(Q):  # type: ignore[no-untyped-def]
    """The lower half becomes the upper one, in squares that fit into the first cache."""
    n, width = Q.shape[0], 32
    for start in range(0, n, width):
        for other in range(start, n, width):
            for i in range(other, min(other + width, n)):
                for j in range(start, min(start + width, i)):
                    Q[i, j] = Q[j, i]


@njit(cache=True)
def quad_pairs(Q, out, V, H, L, steps, smoothing, large):  # type: ignore[no-untyped-def]
    """All pairs in turn into `out`; the last bound, and whether one was taken. `large` works on the upper half of Q."""
    t, a, ca, cv = np.empty_like(Q[0]), np.empty_like(Q[0]), np.empty_like(Q[0]), np.empty_like(Q[0])
    x, y, taken, stale = np.empty_like(Q[0]), np.empty_like(Q[0]), False, False
    for k in range(H.shape[0]):
        v = V[k]
        if zero(H[k]) or zero(v):
            continue
        if large:
            halved(Q, H[k], t)
            halved(Q, t, a)
        else:
            product(Q, H[k], t)
            product(Q, t, a)
        bound = bounded(L, square(a) + square(v), smoothing)
        if not np.isfinite(bound):
            continue
        m = Q.dtype.type(steps[k] / 2)
        half = m / 2
        divided(a, bound, a)
        divided(v, bound, t)
        v = t
        if large:
            halved(Q, a, ca)
            halved(Q, v, cv)
        else:
            two_products(Q, a, v, ca, cv)
        aa, va, vv = inner(ca, a), inner(cv, a), inner(cv, v)
        av = inner(ca, v)
        for i in range(a.size):
            x[i] = half * (2 * ca[i] - m * (aa * a[i] - va * v[i]))
            y[i] = half * (2 * cv[i] - m * (av * a[i] - vv * v[i]))
        if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
            continue
        L = bound
        if not taken:
            rank_four(Q, a, x, v, y, out)
        elif large:
            rank_four_halved(out, a, x, v, y)
            stale = True
        else:
            rank_four_inside(out, a, x, v, y)
        Q, taken = out, True
    if stale:
        mirrored(out)
    return L, taken


def dense_quad_sweep(Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any) -> Any:
    """Override of ``precondition.dense_quad_sweep``; declines where v is integrated out."""
    if V is None:
        return NotImplemented
    return quad_swept(Q, V, H, L, steps, smoothing, Q.nbytes > LARGE)


def quad_swept(Q: Any, V: Any, H: Any, L: Any, steps: Any, smoothing: Any, large: bool) -> Any:
    """All pairs by one call."""
    Q, V, H, steps = map(plain, (Q, V, H, steps))
    out = np.empty_like(Q)
    bound, taken = quad_pairs(Q, out, V, H, float(L), steps, float(smoothing), large)
    return out if taken else Q.copy(), np.asarray(bound, dtype=L.dtype)
