"""Least squares whose targets an adversary may move: a cocoercive sum without a potential.

A point is u = (x, y), minimised in x and maximised in y, and F(u) = (df/dx, -df/dy). A component reads one row.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..backend import of
from ..checks import number
from ..record import record
from ..segments import index_sum
from .finite_sum import check_data, check_pair, largest, rows_of
from .numbers import check_positive, settle_numbers
from .products import product, spectral_norm
from .regression import row_squares

__all__ = ["RobustLeastSquares"]


@record
class RobustLeastSquares:
    """Least squares against an adversary who may move the targets.

    ``min_x max_y (|A x - y|^2 - weight |y - b|^2) / 2``, so that F(x, y) = (A^T (A x - y), A x + (weight - 1) y -
    weight b), one component a row; its x is the least-squares solution. Cocoercive, and no gradient: a test for
    :func:`halpern_vr`.

    Parameters
    ----------
    A : array, shape (n, d)
    b : array, shape (n,)
    weight : float
        Above 1, so that the adversary's problem is concave.

    Raises
    ------
    TypeError, ValueError
        If something is no finite floating-point array of a shape that fits, or the weight is not above 1.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import RobustLeastSquares
    >>> problem = RobustLeastSquares(np.array([[1.0], [1.0]]), np.array([1.0, 3.0]), weight=2.0)
    >>> problem.full(np.array([2.0, 0.0, 4.0]))
    array([0., 0., 0.])
    """

    A: Any
    b: Any
    weight: Any = 2.0

    def __post_init__(self) -> None:
        check_data("A", self.A, 2)
        check_pair("b", self.b, "A", self.A)
        settle_numbers(self, "weight")
        check_positive("weight", self.weight)
        weight = number("weight", self.weight)
        if weight is not None and not weight > 1:
            raise ValueError(f"weight must be above 1, got {weight}")

    @property
    def n(self) -> int:
        """Rows of A."""
        return int(self.A.shape[0])

    def constant(self, square: Any) -> Any:
        """The L with |F|^2 <= L <F u, u> for the linear part, where |A|^2, or that of a row, is `square`."""
        more = self.weight - 1.0
        return largest(square + 1.0, (more - square) / more**0.5, (square + more * more) / more)

    @property
    def unknowns(self) -> int:
        """Columns and rows of A: the entries of u."""
        return int(sum(self.A.shape))

    @property
    def lipschitz(self) -> Any:
        """The constant of cocoercivity: the larger root of a 2 x 2 pencil in |A|^2."""
        return self.constant(spectral_norm(self.A) ** 2)

    @property
    def mean_lipschitz(self) -> Any:
        """n times the same with the largest squared norm of a row."""
        return self.n * self.constant(row_squares(self.A))

    def full(self, u: Any) -> Any:
        """F(u)."""
        xp, d = namespace(u), self.A.shape[1]
        x, y = u[..., :d], u[..., d:]
        image = product(self.A, x)
        return xp.concat(
            [of(u).matmul(image - y, self.A), image + (self.weight - 1.0) * y - self.weight * self.b], axis=-1
        )

    def diff(self, u: Any, v: Any, idx: Any) -> Any:
        """The mean difference of the components in `idx`."""
        xp, d = namespace(u), self.A.shape[1]
        x, y = (u - v)[..., :d], (u - v)[..., d:]
        rows, own = rows_of(self.A, idx), xp.take(y, idx, axis=-1)
        image = product(rows, x)
        scale = self.n / idx.shape[0]
        moved = scale * (image + (self.weight - 1.0) * own)
        return xp.concat([scale * of(u).matmul(image - own, rows), index_sum(moved, idx, size=self.n)], axis=-1)
