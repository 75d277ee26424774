"""Distances to landmarks: the points by which every finite quasimetric is represented exactly.

With ``u_x = (-D[x, z])_z`` over all z and components of width 1, the largest component of the interval quasimetric
from x to y is ``max_z (D[x, z] - D[y, z])``. That is at most D[x, y] by the triangle inequality, and equal to it for
z = y. With fewer landmarks it is a lower bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["landmark_points", "landmarks"]


def landmarks(D: np.ndarray[Any, Any], count: int) -> list[int]:
    """So many points far from each other: each is the farthest from those before it, the first the farthest of all."""
    both = D + D.T
    found = [int(np.argmax(both.sum(axis=1)))]
    nearest = both[found[0]].copy()
    while len(found) < min(count, len(D)):
        nearest[found] = -1.0
        found.append(int(np.argmax(nearest)))
        np.minimum(nearest, both[found[-1]], out=nearest)
    return found


def landmark_points(D: np.ndarray[Any, Any], dim: int, components: int, reduction: str) -> np.ndarray[Any, Any]:
    """The first table, (n, dim): a landmark a component, in each of its latents; landmarks repeat where they run out.

    An infinite distance becomes twice the largest finite one. For a sum of components all are divided by their number,
    so that distances start from below.
    """
    finite = np.isfinite(D)
    D = np.where(finite, D, 2.0 * max(1.0, float(D[finite].max())))
    chosen = np.resize(landmarks(D, components), components)
    points = -np.repeat(D[:, chosen], dim // components, axis=1)
    return points / components if reduction == "sum" else points
