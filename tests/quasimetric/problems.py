"""Exact oracles and the cases that the tests of this family share."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

REDUCTIONS = ("maxmean", "sum", "max", "mean", "none")


def union(u: Any, v: Any) -> Fraction:
    """The length of the union of [u_j, max(u_j, v_j)], in rational arithmetic."""
    total, end = Fraction(0), None
    for a, b in sorted((Fraction(float(x)), Fraction(float(max(x, y)))) for x, y in zip(u, v, strict=True)):
        start = a if end is None or a > end else end
        total += max(Fraction(0), b - start)
        end = b if end is None or b > end else end
    return total


def lengths(u: Any, v: Any, k: int) -> np.ndarray:
    """The components of two points, exactly but for one rounding."""
    return np.array([float(union(x, y)) for x, y in zip(np.split(u, k), np.split(v, k), strict=True)])


def reduced(parts: Any, reduction: str, alpha: float) -> Any:
    if reduction == "none":
        return parts
    if reduction == "maxmean":
        return alpha * parts.max(-1) + (1 - alpha) * parts.mean(-1)
    return getattr(parts, reduction)(-1)


def all_lengths(u: Any, v: Any, k: int) -> np.ndarray:
    return np.array([[lengths(x, y, k) for y in v] for x in u]).reshape(len(u), len(v), k)


def shortest_paths(n: int, seed: int, share: float = 0.2) -> np.ndarray:
    """Whole distances in a random digraph, infinite where there is no way."""
    rng = np.random.default_rng(seed)
    D = np.where(rng.random((n, n)) < share, rng.integers(1, 9, (n, n)).astype(float), np.inf)
    np.fill_diagonal(D, 0)
    for k in range(n):
        D = np.minimum(D, D[:, k : k + 1] + D[k])
    return D


def differences(f: Any, arrays: list[np.ndarray], which: int, step: float = 1e-6) -> np.ndarray:
    """The derivative of a number with respect to one of its arrays, by central differences."""
    out = np.zeros_like(arrays[which])
    for index in np.ndindex(*out.shape):
        ends = []
        for sign in (1, -1):
            moved = [x.copy() for x in arrays]
            moved[which][index] += sign * step
            ends.append(float(f(*moved)))
        out[index] = (ends[0] - ends[1]) / (2 * step)
    return out
