"""What chooses relaxation factors: a step of Lanczos' method, and the regression of the contextual policy.

A step is three passes over vectors instead of ten, next to a product that is four. The regression is some thousand
operations, too few for arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import njit
from .exponential import CALLER
from .views import plain

__all__ = ["box_fit", "lanczos_step"]


@njit(cache=True, fastmath=CALLER)
def step(image, inverse, v, before, below, out, scaled, diagonal, size):  # type: ignore[no-untyped-def]
    """One step for each row."""
    for m in range(v.shape[0]):
        f = below[m]
        a = v[m, 0] * 0
        for i in range(v.shape[1]):
            w = inverse[m, i] * image[m, i] - f * before[m, i]
            out[m, i] = w
            a += w * v[m, i]
        square = v[m, 0] * 0
        for i in range(v.shape[1]):
            w = out[m, i] - a * v[m, i]
            out[m, i] = w
            square += w * w
        length = np.sqrt(square)
        diagonal[m], size[m] = a, length
        factor = 1 / length if length > 0 else length
        for i in range(v.shape[1]):
            w = factor * out[m, i]
            out[m, i] = w
            scaled[m, i] = inverse[m, i] * w


def lanczos_step(image: Any, inverse: Any, v: Any, before: Any, below: Any) -> Any:
    if v.dtype not in (np.float64, np.float32) or any(x.dtype != v.dtype for x in (image, inverse, before, below)):
        return NotImplemented
    batch, n = v.shape[:-1], v.shape[-1]
    u, s, x, y = (plain(a).reshape(-1, n) for a in (image, inverse, v, before))
    out, scaled = np.empty_like(x), np.empty_like(x)
    diagonal, size = np.empty(out.shape[0], v.dtype), np.empty(out.shape[0], v.dtype)
    step(u, s, x, y, plain(below).reshape(-1), out, scaled, diagonal, size)
    return out.reshape(v.shape), scaled.reshape(v.shape), diagonal.reshape(batch), size.reshape(batch)


@njit(cache=True)
def descend(gram, moments, bounds, start, ridge, enough, rounds):  # type: ignore[no-untyped-def]
    """Coordinate descent in a box."""
    m = start.size
    theta = np.empty_like(start)
    for j in range(m):
        theta[j] = min(max(start[j], -bounds[j]), bounds[j])
    for _ in range(rounds):
        moved = 0.0
        for j in range(m):
            rest = moments[j]
            for k in range(m):
                rest -= gram[j, k] * theta[k]
            new = min(max(theta[j] + rest / (gram[j, j] + ridge), -bounds[j]), bounds[j])
            moved = max(moved, abs(new - theta[j]))
            theta[j] = new
        if moved <= enough * bounds[0]:
            break
    return theta


def box_fit(gram: Any, moments: Any, bounds: Any, start: Any) -> Any:
    if start.dtype == np.float64:
        return descend(gram, moments, bounds, start, 1e-9, 1e-10, 100)
    double = [np.asarray(x, dtype=np.float64) for x in (gram, moments, bounds, start)]
    return box_fit(*double).astype(start.dtype)
