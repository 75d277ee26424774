"""Matrices that hold every entry."""

from __future__ import annotations

from typing import Any, Generic

import numpy as np

from ..arrays import A, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..record import record
from .csr import CSR
from .protocol import Stored, check_numbers, check_vector

__all__ = ["Dense"]


@record
class Dense(Stored[A], Generic[A]):
    """A matrix, or a batch of them, as a linear operator; for one that is mostly zero take :class:`CSR`.

    Parameters
    ----------
    array : array, shape (..., n, m)
        The entries, floating-point.

    Raises
    ------
    TypeError, ValueError
        If `array` is no array of floating-point numbers, or has fewer than two axes.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.operators import Dense
    >>> matrix = Dense(np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]))
    >>> matrix @ np.array([1.0, 1.0, 1.0])
    array([3., 3.])
    >>> matrix.to_csr()
    CSR(2 x 3, 3 stored, float64)
    """

    array: A
    _axes = 2

    def __post_init__(self) -> None:
        check_numbers("array", self.array)
        if self.array.ndim < 2:
            raise ValueError(f"array must have shape (..., n, m), got {shape_text(self.array)}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, (n, m)."""
        n, m = self.array.shape[-2:]
        return n, m

    @public
    def matvec(self, x: A) -> A:
        """A x, shape (..., n), for `x` of shape (..., m)."""
        return times("x", namespace(self.array).matrix_transpose(self.array), x)

    @public
    def rmatvec(self, y: A) -> A:
        """A^T y, shape (..., m), for `y` of shape (..., n)."""
        return times("y", self.array, y)

    @public
    def diagonal(self) -> A:
        """The entries A_ii, shape (..., min(n, m))."""
        return namespace(self.array).linalg.diagonal(self.array)

    @public
    def to_csr(self) -> CSR[A]:
        """The same with only those entries stored that are not zero in some member of the batch, found on the host."""
        n, m = self.shape
        backend = of(self.array)
        if backend.traced([self.array]):
            raise TypeError("to_csr needs the values of the matrix, which a jax transformation hides: call it outside")
        stored = backend.to_numpy(self.array) != 0
        places = np.flatnonzero(np.any(stored, axis=tuple(range(stored.ndim - 2))))
        indptr = np.searchsorted(places, m * np.arange(n + 1))
        lent = [backend.lend(x, self.array) for x in (places, places % max(m, 1), indptr)]
        xp: Any = namespace(self.array)
        data = xp.take(xp.reshape(self.array, (*self.array.shape[:-2], n * m)), lent[0], axis=-1)
        return CSR(data, lent[1], lent[2], (n, m))


def times(name: str, matrix: Any, x: Any) -> Any:
    """x^T M: one product of matrices for a batch of vectors, where the matrix itself is no batch."""
    xp = check_vector(name, x, matrix, matrix.shape[-2], 2)
    return xp.matmul(x, matrix) if matrix.ndim == 2 else xp.matmul(x[..., None, :], matrix)[..., 0, :]
