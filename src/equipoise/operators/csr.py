"""Sparse matrices by compressed rows, and their product: a kernel with a rule, since iterations consist of it."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic

from ..arrays import A, namespace, shape_text
from ..boundary import public
from ..kernel import kernel
from ..record import record, static
from ..segments import check_index, index_sum, segments
from .protocol import Stored, beside, check_numbers, check_vector, sum_to

__all__ = ["CSR", "csr_product"]


def pull_product(
    cotangent: Any, out: Any, args: tuple[Any, ...], *, shape: tuple[int, int], transposed: bool
) -> tuple[Any, ...]:
    """The product is linear in the entries and in the vector: dA_ij = y_i x_j where an entry is stored, dx = A^T y."""
    if cotangent is None:
        return (None,) * 5
    data, indices, indptr, rows, x = args
    xp, cotangent = namespace(x), beside(cotangent, x)
    from_vector, from_out = (rows, indices) if transposed else (indices, rows)
    data_bar = xp.take(x, from_vector, axis=-1) * xp.take(cotangent, from_out, axis=-1)
    x_bar = csr_product(data, indices, indptr, rows, cotangent, shape=shape, transposed=not transposed)
    return sum_to(data_bar, tuple(data.shape)), None, None, None, sum_to(x_bar, tuple(x.shape))


@kernel("operators.csr_product", vjp=pull_product)
def csr_product(
    data: Any, indices: Any, indptr: Any, rows: Any, x: Any, *, shape: tuple[int, int], transposed: bool
) -> Any:
    """A x, shape (..., n), or A^T x, shape (..., m), for the fields of a :class:`CSR`."""
    xp = namespace(data, x)
    if transposed:
        return index_sum(data * xp.take(x, rows, axis=-1), indices, size=shape[1])
    return index_sum(data * xp.take(x, indices, axis=-1), rows, size=shape[0])


@record
class CSR(Stored[A], Generic[A]):
    """A sparse matrix by compressed rows, or a batch of them with one pattern.

    Row i holds the entries ``data[..., indptr[i]:indptr[i + 1]]`` in the columns ``indices[indptr[i]:indptr[i + 1]]``,
    in any order; an entry that is stored twice counts twice.

    Parameters
    ----------
    data : array, shape (..., nnz)
        The stored entries, floating-point. Leading axes are a batch.
    indices : array of int32 or int64, shape (nnz,)
        The column of each entry.
    indptr : array of int32 or int64, shape (n + 1,)
        Where each row starts, and at last where the last one ends.
    shape : pair of int
        Rows and columns, (n, m).

    Attributes
    ----------
    rows : array, shape (nnz,)
        The row of each entry, from `indptr`.

    Raises
    ------
    TypeError, ValueError
        For other dtypes and kinds, arrays of two libraries, shapes that do not fit each other, an `indptr` that does
        not rise from 0 to nnz, and an index outside of the matrix. The pattern is looked at on the host, when the
        record is made; one that is traced by jax is not looked at.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.operators import CSR
    >>> matrix = CSR(np.array([2.0, 1.0, 3.0]), np.array([0, 2, 1]), np.array([0, 2, 3]), (2, 3))
    >>> matrix @ np.array([1.0, 1.0, 1.0]), matrix.rmatvec(np.array([1.0, 1.0]))
    (array([3., 3.]), array([2., 3., 1.]))
    """

    data: A
    indices: A
    indptr: A
    shape: tuple[int, int] = static()
    rows: A = dataclasses.field(init=False)
    _axes = 1

    def __post_init__(self) -> None:
        check_numbers("data", self.data)
        check_index("indices", self.indices)
        check_index("indptr", self.indptr)
        namespace(self.data, self.indices, self.indptr)
        object.__setattr__(self, "shape", check_shape(self.shape))
        n, m = self.shape
        nnz = self.indices.shape[0]
        if self.data.ndim < 1 or self.data.shape[-1] != nnz:
            raise ValueError(f"data must have shape (..., {nnz}) to fit its indices, got {shape_text(self.data)}")
        if self.indptr.shape[0] != n + 1:
            raise ValueError(f"indptr must have shape ({n + 1},) to fit {n} rows, got {shape_text(self.indptr)}")
        object.__setattr__(self, "rows", segments(self.indices, self.indptr, columns=m))

    @classmethod
    def from_scipy(cls, matrix: Any) -> CSR[Any]:
        """A scipy sparse matrix, or whatever else has ``tocsr()``; the arrays of a CSR matrix are shared."""
        if not hasattr(matrix, "tocsr"):
            raise TypeError(f"matrix must be sparse, with a method tocsr(), got {type(matrix).__name__}")
        csr = matrix.tocsr()
        return cls(csr.data, csr.indices, csr.indptr, csr.shape)

    @public
    def matvec(self, x: A) -> A:
        """A x, shape (..., n), for `x` of shape (..., m)."""
        check_vector("x", x, self.data, self.shape[1], 1)
        return self._times(x, False)

    @public
    def rmatvec(self, y: A) -> A:
        """A^T y, shape (..., m), for `y` of shape (..., n)."""
        check_vector("y", y, self.data, self.shape[0], 1)
        return self._times(y, True)

    def _times(self, x: A, transposed: bool) -> A:
        arrays = (self.data, self.indices, self.indptr, self.rows, x)
        return csr_product(*arrays, shape=self.shape, transposed=transposed)

    @public
    def diagonal(self) -> A:
        """The entries A_ii, shape (..., min(n, m)); zero where none is stored."""
        xp = namespace(self.data)
        on_it = xp.where(self.indices == self.rows, self.data, xp.zeros_like(self.data))
        return index_sum(on_it, self.rows, size=self.shape[0])[..., : min(self.shape)]

    def to_csr(self) -> CSR[A]:
        """This operator."""
        return self


def check_shape(shape: Any) -> tuple[int, int]:
    """`shape` as a pair of ints."""
    if not (isinstance(shape, tuple) and len(shape) == 2 and all(hasattr(k, "__index__") and k >= 0 for k in shape)):
        raise ValueError(f"shape must be a pair of whole numbers (rows, columns), got {shape!r}")
    return int(shape[0]), int(shape[1])
