"""Arrays as compiled kernels read them: in one piece, and of one type whether they may be written or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from equipoise.backend import unlocked

__all__ = ["plain"]


def plain(x: Any, dtype: Any = None) -> Any:
    """`x`, contiguous. No kernel writes it; but numba would compile once more for an array that is read-only."""
    x = np.ascontiguousarray(x, dtype=dtype)
    return x if x.flags.writeable or not x.size else unlocked(x, x.ctypes.data, x)
