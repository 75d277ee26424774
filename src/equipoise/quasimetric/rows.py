"""Rows of points by index, and sums of rows by index: what observed pairs read and what their derivatives add to."""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..kernel import kernel
from ..segments import index_sum

__all__ = ["row_sum"]


@kernel("array.row_sum")
def row_sum(values: Any, index: Any, *, size: int) -> Any:
    """Sum the rows of `values`, (K, D), by `index`, (K,): row i of the result, (size, D), adds up those with index i.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric.rows import row_sum
    >>> row_sum(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([1, 0, 1]), size=2)
    array([[3., 4.],
           [6., 8.]])
    """
    xp = namespace(values)
    return xp.matrix_transpose(index_sum(xp.matrix_transpose(values), index, size=size))
