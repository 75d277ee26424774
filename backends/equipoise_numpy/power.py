"""The power iteration on numpy arrays, without the records and the namespaces of its portable body.

For small matrices those cost ten times the products.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from equipoise.monotone.saddle_steps import Centred
from equipoise.operators import Dense

__all__ = ["power_growth"]


def power_growth(v: Any, K: Any, *, count: int) -> Any:
    """Override of ``monotone.power`` for one matrix."""
    centre = isinstance(K, Centred)
    inner = K.K if centre else K
    if not isinstance(inner, Dense) or inner.array.ndim != 2 or v.ndim != 1 or inner.array.dtype.kind != "f":
        return NotImplemented
    M, growth = inner.array, v.dtype.type(0.0)
    top = np.max(np.abs(M), initial=0.0)
    if not 0.0 < top < np.inf:
        return NotImplemented
    for _ in range(count):
        back = M.T @ (mapped(M, v / top, centre) / top)
        if centre:
            back -= back.mean()
        size = np.sqrt(back @ back)
        growth = np.sqrt(size) * top
        v = back / size if size > 0 else back
    return np.asarray(growth)


def mapped(M: Any, v: Any, centre: bool) -> Any:
    """M v, of centred vectors where that is asked for."""
    if not centre:
        return M @ v
    image = M @ (v - v.mean())
    return image - image.mean()
