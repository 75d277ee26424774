"""Where a fit starts: a table of normal numbers or of distances to landmarks, and the weights of "pqe"."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import like, namespace
from ..backend import of
from ..random import Stream, normal, philox
from .heads import Head
from .landmarks import landmark_points

__all__ = ["first_weights", "landmark_start", "random_points"]

SPREAD = 0.5  # of normal numbers


def random_points(lengths: Any, n: int, dim: int, seed: tuple[int, int]) -> Any:
    """Normal numbers; made on the host, so that they are the same everywhere."""
    words = philox(np.arange(n)[:, None], key=seed, block=np.arange(-(-dim // 4)), stream=Stream.QUASIMETRIC)
    drawn = SPREAD * normal(words, np.float64).reshape(n, -1)[:, :dim]
    return beside(drawn, lengths)


def landmark_start(lengths: Any, n: int, shape: tuple[int, int], reduction: str, seed: tuple[int, int]) -> Any:
    """Distances to landmarks."""
    backend = of(lengths)
    if backend.traced([lengths]):
        raise TypeError("init='landmarks' reads the distances, which under a jax transformation are not known")
    known = np.asarray(backend.to_numpy(lengths), dtype=np.float64)
    return beside(landmark_points(known, *shape, reduction), lengths)


def beside(known: np.ndarray[Any, Any], x: Any) -> Any:
    """A table made on the host, where `x` is and in its dtype."""
    xp = namespace(x)
    wide = known if x.dtype == xp.float64 else known.astype(np.float32)
    return xp.astype(of(x).lend(wide, x), x.dtype, copy=False)


def first_weights(pairs: Any, head: Head) -> Any:
    """What the weights of "pqe" start from, so that their sum is twice the largest finite distance; None for "iqe"."""
    if head.name == "iqe":
        return None
    lengths = pairs[0]
    xp = namespace(lengths)
    most = xp.max(xp.where(xp.isfinite(lengths), lengths, xp.zeros_like(lengths)))
    each = xp.where(most > 0, most, xp.ones_like(most)) * (2.0 / head.components)
    return xp.broadcast_to(xp.asarray(each + xp.log(-xp.expm1(-each))), (head.components,)) + xp.zeros(
        (head.components,), **like(lengths)
    )
