"""The running maximum, which the Array API standard lacks.

Libraries have an instruction for it, and the backends' tables name it; the portable body takes log2(size) passes, in
shapes that no value decides.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..kernel import kernel

__all__ = ["running_maximum"]


@kernel("array.running_maximum")
def running_maximum(x: Any) -> Any:
    """``max(x[..., 0], ..., x[..., t])`` for every t along the last axis; NaN from the first NaN on.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric.running import running_maximum
    >>> running_maximum(np.array([1.0, 3.0, 2.0, 5.0]))
    array([1., 3., 3., 5.])
    """
    xp = namespace(x)
    width = 1
    while width < x.shape[-1]:  # x[t] is the maximum of the last `width` entries up to t
        x = xp.concat([x[..., :width], xp.maximum(x[..., width:], x[..., :-width])], axis=-1)
        width *= 2
    return x
