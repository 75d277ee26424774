"""Differences of a few components of the shipped sums, inside compiled loops: rows are read in place, never gathered.

A sampled row meets both points while it lies in the cache: first all dots of the sample, then the exponentials of the
logistic loss together, in vector registers, then all that is added up. Every sum comes as one tuple of the same types,
and each loop has one place in the code, so that little is compiled, and that once for a dtype.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from equipoise.monotone.regression import LeastSquaresGradient, LogisticGradient
from equipoise.monotone.robust import RobustLeastSquares
from equipoise.monotone.saddles import GameOperator, QuadraticMinMax

from .compiled import njit
from .exponential import CALLER, exp
from .resolvent_table import Unknown, frozen, number
from .simplex import INSIDE

__all__ = ["ROBUST", "Sum", "add_difference", "add_rows", "dot", "sum_of"]

LOGISTIC, LEAST_SQUARES, ROBUST, GAME, QUADRATIC = range(5)


class Sum(NamedTuple):
    """A shipped sum: its kind, its matrices, the labels, how components are drawn, and a number."""

    kind: int
    A: Any
    columns: Any  # of A, and of H, as rows; where nothing reads them, A again
    H: Any
    labels: Any
    shares: Any  # n / (how likely each component is); empty where all are alike
    marks: Any  # what the weights add up to, up to each component
    n: int
    number: float


def sum_of(summed: Any, d: int, dtype: Any) -> Sum:
    """What the loops read of a shipped sum, for points with d entries."""
    kind, none = type(summed), frozen(np.empty(0, dtype=dtype), dtype)
    if kind not in (LogisticGradient, LeastSquaresGradient, RobustLeastSquares, GameOperator, QuadraticMinMax):
        raise Unknown
    A = frozen(summed.A, dtype)
    size = A.shape[1] if kind in (LogisticGradient, LeastSquaresGradient) else sum(A.shape)
    if d != size:
        raise Unknown
    rest = (none, none, summed.n)
    if kind is LogisticGradient:
        return Sum(LOGISTIC, A, A, A, frozen(summed.labels, dtype), *rest, number(summed.l2, dtype))
    if kind is LeastSquaresGradient:
        return Sum(LEAST_SQUARES, A, A, A, none, *rest, number(summed.l2, dtype))
    if kind is RobustLeastSquares:
        return Sum(ROBUST, A, A, A, none, *rest, number(summed.weight, dtype) - 1.0)
    columns = frozen(A.T, dtype)
    if kind is QuadraticMinMax:
        return Sum(QUADRATIC, A, columns, frozen(summed.H.T, dtype), none, *rest, 0.0)
    if summed.sampling == "uniform":
        return Sum(GAME, A, columns, A, none, *rest, 0.0)
    sizes = summed.sizes
    shares = np.sum(sizes) / np.where(sizes > 0, sizes, np.ones_like(sizes))
    return Sum(GAME, A, columns, A, none, frozen(shares, dtype), frozen(np.cumsum(sizes), dtype), summed.n, 0.0)


@njit(cache=True, fastmath=CALLER, **INSIDE)
def dot(x, y):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0.0)
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@njit(cache=True, fastmath=CALLER, **INSIDE)
def two_dots(A, idx, u, v, out):  # type: ignore[no-untyped-def]
    """a_i u and a_i v for the rows of a sample."""
    for r in range(idx.size):
        row, p, q = A[idx[r]], u.dtype.type(0.0), u.dtype.type(0.0)
        for i in range(u.size):
            p += row[i] * u[i]
            q += row[i] * v[i]
        out[0, r], out[1, r] = p, q


@njit(cache=True, fastmath=CALLER, **INSIDE)
def slopes(z, labels, idx):  # type: ignore[no-untyped-def]
    """z <- -l / (1 + exp(l z)) for both rows, without overflow."""
    one = z.dtype.type(1.0)
    for side in range(2):
        row = z[side]
        for r in range(idx.size):
            row[r] *= labels[idx[r]]
        for r in range(idx.size):
            small = exp(-abs(row[r]))
            row[r] = (small if row[r] > 0 else one) / (one + small)
        for r in range(idx.size):
            row[r] *= -labels[idx[r]]


@njit(cache=True, fastmath=CALLER, **INSIDE)
def add_rows(A, idx, weights, out):  # type: ignore[no-untyped-def]
    """out += sum of w_i a_i, two rows at a time; rows beyond A are zero."""
    for r in range(0, idx.size, 2):
        last = min(r + 1, idx.size - 1)
        j, k = idx[r], idx[last]
        p = weights[r] if j < A.shape[0] else out.dtype.type(0.0)
        q = weights[last] if last > r and k < A.shape[0] else out.dtype.type(0.0)
        a, b = A[min(j, A.shape[0] - 1)], A[min(k, A.shape[0] - 1)]
        for i in range(out.size):
            out[i] += p * a[i] + q * b[i]


@njit(cache=True, **INSIDE)
def add_difference(summed, u, v, idx, factor, out, work):  # type: ignore[no-untyped-def]
    """out += factor times the mean over idx of F_i(u) - F_i(v); `work` has two rows of the length of idx."""
    kind, A, columns, H, labels, shares, _, n, constant = summed
    d, kept, scale = A.shape[1], out.dtype.type, factor / idx.size
    if kind <= ROBUST:
        two_dots(A, idx, u[:d], v[:d], work)
        if kind == LOGISTIC:
            slopes(work, labels, idx)
        for r in range(idx.size):
            image = work[0, r] - work[1, r]
            if kind == ROBUST:
                i = d + idx[r]
                own = u[i] - v[i]
                work[0, r] = kept(scale * n * (image - own))
                out[i] += kept(scale * n * (image + constant * own))
            else:
                work[0, r] = kept(scale * image)
    else:
        for r in range(idx.size):
            i = idx[r]
            weight = scale * (n if shares.size == 0 else shares[i])
            x = u[i] - v[i] if i < d else kept(0.0)
            y = u[d + i] - v[d + i] if i < A.shape[0] else kept(0.0)
            work[0, r], work[1, r] = kept(weight * y), kept(-weight * x)
            if kind == QUADRATIC:
                work[0, r], work[1, r] = -work[0, r], -work[1, r]
    add_rows(A, idx, work[0], out[:d])
    if kind >= GAME:
        add_rows(columns, idx, work[1], out[d:])
    if kind == QUADRATIC:
        add_rows(H, idx, work[1], out[:d])
    if kind <= LEAST_SQUARES and constant != 0.0:
        ridge = kept(factor * constant)
        for i in range(out.size):
            out[i] += ridge * (u[i] - v[i])
