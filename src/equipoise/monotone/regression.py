"""Gradients of regression losses as finite sums: every row of the data is a component."""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..backend import of
from ..record import record
from .finite_sum import check_data, check_labels, check_pair, rows_of
from .numbers import check_sign, settle_numbers
from .products import product, spectral_norm

__all__ = ["LeastSquaresGradient", "LogisticGradient"]


def row_squares(A: Any) -> Any:
    """The largest squared norm of a row."""
    xp = namespace(A)
    return xp.max(xp.sum(A * A, axis=-1))


@record
class LogisticGradient:
    """The gradient of the logistic loss, ``mean_i log(1 + exp(-l_i a_i u)) + l2 |u|^2 / 2``, one component a row.

    Cocoercive. For the loss itself accelerated gradient methods do as well as :func:`halpern_vr`, which is made for
    operators that are no gradients; take this sum to compare, or with a resolvent.

    Parameters
    ----------
    A : array, shape (n, d)
        The data, a row a_i each.
    labels : array, shape (n,)
        -1 or 1, of the dtype of A.
    l2 : float
        The weight of the ridge, not negative.

    Raises
    ------
    TypeError, ValueError
        If something is no finite floating-point array of a shape that fits, or a label is neither -1 nor 1.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import LogisticGradient
    >>> loss = LogisticGradient(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1.0, -1.0]))
    >>> loss.full(np.zeros(2))
    array([-0.25,  0.5 ])
    """

    A: Any
    labels: Any
    l2: Any = 0.0

    def __post_init__(self) -> None:
        check_data("A", self.A, 2)
        check_pair("labels", self.labels, "A", self.A)
        check_labels(self.labels)
        settle_numbers(self, "l2")
        check_sign("l2", self.l2)

    @property
    def n(self) -> int:
        """Rows of A."""
        return int(self.A.shape[0])

    @property
    def unknowns(self) -> int:
        """Columns of A: the entries of u."""
        return int(self.A.shape[1])

    @property
    def lipschitz(self) -> Any:
        """|A|^2 / (4 n) + l2."""
        return spectral_norm(self.A) ** 2 / (4 * self.n) + self.l2

    @property
    def mean_lipschitz(self) -> Any:
        """max_i |a_i|^2 / 4 + l2."""
        return row_squares(self.A) / 4.0 + self.l2

    def full(self, u: Any) -> Any:
        """F(u)."""
        weights = slopes(product(self.A, u), self.labels) / self.n
        return of(u).matmul(weights, self.A) + self.l2 * u

    def diff(self, u: Any, v: Any, idx: Any) -> Any:
        """The mean difference of the components in `idx`."""
        rows, labels = rows_of(self.A, idx), namespace(idx).take(self.labels, idx)
        change = slopes(product(rows, u), labels) - slopes(product(rows, v), labels)
        return of(u).matmul(change / idx.shape[0], rows) + self.l2 * (u - v)


def slopes(margins: Any, labels: Any) -> Any:
    """The derivative of log(1 + exp(-l z)) in z: -l / (1 + exp(l z)), without overflow."""
    xp = namespace(margins)
    z = labels * margins
    small = xp.exp(-xp.abs(z))
    return -labels * xp.where(z > 0, small, xp.ones_like(z)) / (1.0 + small)


@record
class LeastSquaresGradient:
    """The gradient of ``mean_i (a_i u - b_i)^2 / 2 + l2 |u|^2 / 2``, one component a row.

    Cocoercive. For the least-squares problem itself use :func:`equipoise.sketch.lstsq`.

    Parameters
    ----------
    A : array, shape (n, d)
        The data, a row a_i each.
    b : array, shape (n,)
        The targets.
    l2 : float
        The weight of the ridge, not negative.

    Raises
    ------
    TypeError, ValueError
        If something is no finite floating-point array of a shape that fits.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import LeastSquaresGradient
    >>> loss = LeastSquaresGradient(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1.0, -1.0]))
    >>> loss.full(np.zeros(2))
    array([-0.5,  1. ])
    """

    A: Any
    b: Any
    l2: Any = 0.0

    def __post_init__(self) -> None:
        check_data("A", self.A, 2)
        check_pair("b", self.b, "A", self.A)
        settle_numbers(self, "l2")
        check_sign("l2", self.l2)

    @property
    def n(self) -> int:
        """Rows of A."""
        return int(self.A.shape[0])

    @property
    def unknowns(self) -> int:
        """Columns of A: the entries of u."""
        return int(self.A.shape[1])

    @property
    def lipschitz(self) -> Any:
        """|A|^2 / n + l2."""
        return spectral_norm(self.A) ** 2 / self.n + self.l2

    @property
    def mean_lipschitz(self) -> Any:
        """max_i |a_i|^2 + l2."""
        return row_squares(self.A) + self.l2

    def full(self, u: Any) -> Any:
        """F(u)."""
        weights = (product(self.A, u) - self.b) / self.n
        return of(u).matmul(weights, self.A) + self.l2 * u

    def diff(self, u: Any, v: Any, idx: Any) -> Any:
        """The mean difference of the components in `idx`."""
        rows = rows_of(self.A, idx)
        return of(u).matmul(product(rows, u - v) / idx.shape[0], rows) + self.l2 * (u - v)
