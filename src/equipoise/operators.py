"""Linear operators: what a method asks of a matrix that it never looks into.

A method calls ``matvec`` and ``rmatvec`` on vectors of shape ``(..., n)``; leading axes are batch axes, of the
operator's numbers too. The operators here are records: they cross ``with equipoise.backend(...)``, are pytrees under
jax, are stored by ``equipoise.save``, and are differentiable in their numbers. ``A @ x`` is the matrix product as numpy
means it: a matrix of shape ``(..., m, k)`` holds vectors in its columns.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Generic, Protocol, cast, runtime_checkable

import numpy as np

from .arrays import A, is_floating, library, namespace, shape_text
from .backend import of
from .boundary import public
from .record import parts, rebuild, record, static
from .segments import check_index, index_sum, segments

__all__ = ["CSR", "Dense", "LinearOperator", "StoredOperator"]


@runtime_checkable
class LinearOperator(Protocol[A]):
    """A linear map from vectors of length m to vectors of length n.

    Any object with these members will do; :class:`Dense` and :class:`CSR` are two. ``shape`` is the pair ``(n, m)``:
    batch axes belong to the numbers and are not counted.
    """

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> Any: ...

    def matvec(self, x: A, /) -> A:
        """A x, shape (..., n), for `x` of shape (..., m)."""

    def rmatvec(self, y: A, /) -> A:
        """A^T y, shape (..., m), for `y` of shape (..., n)."""

    def __matmul__(self, x: A, /) -> A: ...


@runtime_checkable
class StoredOperator(LinearOperator[A], Protocol[A]):
    """A linear operator whose entries can be had."""

    def diagonal(self) -> A:
        """The entries A_ii, shape (..., min(n, m))."""

    def to_csr(self) -> CSR[A]: ...


class _Stored(Generic[A]):
    """What the records below share: their first field holds the numbers, whose last `_axes` axes are no batch."""

    __array_ufunc__ = None  # numpy leaves ``array @ operator`` to us
    _axes: ClassVar[int]

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return parts(self)[0][0].dtype

    @public
    def __matmul__(self, x: A) -> A:
        """A x for a vector, shape (m,), and A X for a matrix, shape (..., m, k)."""
        if getattr(x, "ndim", 1) < 2:
            return self._beside(x).matvec(x)
        xp: Any = namespace(x)
        return xp.matrix_transpose(self._beside(x).matvec(xp.matrix_transpose(x)))

    @public
    def __rmatmul__(self, y: A) -> A:
        """y^T A for a vector, shape (n,), and Y A for a matrix, shape (..., k, n)."""
        return self._beside(y).rmatvec(y)

    def _beside(self, x: Any) -> Any:
        """The operator for the vectors in `x`: those of a matrix are an axis more, which is no batch."""
        (numbers, *pattern), settings = parts(self)
        if getattr(x, "ndim", 1) < 2 or numbers.ndim == self._axes:
            return self
        spread = namespace(numbers).expand_dims(numbers, axis=-1 - self._axes)
        return rebuild(type(self), (spread, *pattern), settings)

    def __repr__(self) -> str:
        (numbers, *pattern), this = parts(self)[0], cast(LinearOperator[A], self)
        if not library(numbers):  # jax puts other things into the fields of a record for a while
            return f"{type(self).__name__}({numbers!r})"
        stored = f", {numbers.shape[-1]} stored" if pattern else ""
        batch = f", batch {shape}" if (shape := tuple(numbers.shape[: -self._axes])) else ""
        dtype = str(numbers.dtype).rpartition(".")[2]
        return f"{type(self).__name__}({this.shape[0]} x {this.shape[1]}{stored}{batch}, {dtype})"


@record
class Dense(_Stored[A], Generic[A]):
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
    __repr__ = _Stored.__repr__  # a dataclass would write its own

    def __post_init__(self) -> None:
        _check_numbers("array", self.array)
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
        return _apply("x", namespace(self.array).matrix_transpose(self.array), x)

    @public
    def rmatvec(self, y: A) -> A:
        """A^T y, shape (..., m), for `y` of shape (..., n)."""
        return _apply("y", self.array, y)

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


def _apply(name: str, matrix: Any, x: Any) -> Any:
    """x^T M: one product of matrices for a batch of vectors, where the matrix itself is no batch."""
    xp = _check_vector(name, x, matrix, matrix.shape[-2], 2)
    return xp.matmul(x, matrix) if matrix.ndim == 2 else xp.matmul(x[..., None, :], matrix)[..., 0, :]


@record
class CSR(_Stored[A], Generic[A]):
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
    __repr__ = _Stored.__repr__

    def __post_init__(self) -> None:
        _check_numbers("data", self.data)
        check_index("indices", self.indices)
        check_index("indptr", self.indptr)
        namespace(self.data, self.indices, self.indptr)
        object.__setattr__(self, "shape", _check_shape(self.shape))
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
        xp = _check_vector("x", x, self.data, self.shape[1], 1)
        return index_sum(self.data * xp.take(x, self.indices, axis=-1), self.rows, size=self.shape[0])

    @public
    def rmatvec(self, y: A) -> A:
        """A^T y, shape (..., m), for `y` of shape (..., n)."""
        xp = _check_vector("y", y, self.data, self.shape[0], 1)
        return index_sum(self.data * xp.take(y, self.rows, axis=-1), self.indices, size=self.shape[1])

    @public
    def diagonal(self) -> A:
        """The entries A_ii, shape (..., min(n, m)); zero where none is stored."""
        xp = namespace(self.data)
        on_it = xp.where(self.indices == self.rows, self.data, xp.zeros_like(self.data))
        return index_sum(on_it, self.rows, size=self.shape[0])[..., : min(self.shape)]

    def to_csr(self) -> CSR[A]:
        """This operator."""
        return self


def _check_numbers(name: str, x: Any) -> None:
    if not library(x):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(x).__name__}")
    if not is_floating(x):
        raise TypeError(f"{name} must hold floating-point numbers, got dtype {x.dtype}; convert it first")


def _check_shape(shape: Any) -> tuple[int, int]:
    """`shape` as a pair of ints."""
    if not (isinstance(shape, tuple) and len(shape) == 2 and all(hasattr(k, "__index__") and k >= 0 for k in shape)):
        raise ValueError(f"shape must be a pair of whole numbers (rows, columns), got {shape!r}")
    return int(shape[0]), int(shape[1])


def _check_vector(name: str, x: Any, numbers: Any, length: int, trailing: int) -> Any:
    """`x` has to be of the operator's library and dtype and of shape (..., length), and to broadcast over its batch."""
    if not library(x):
        raise TypeError(f"{name} must be an array, got {type(x).__name__}")
    xp = namespace(numbers, x)
    if x.dtype != numbers.dtype:
        raise TypeError(f"{name} must have the operator's dtype {numbers.dtype}, got {x.dtype}; convert one of them")
    if x.ndim < 1 or x.shape[-1] != length:
        raise ValueError(f"{name} must have shape (..., {length}), got {shape_text(x)}")
    batch = tuple(numbers.shape[:-trailing])
    try:
        np.broadcast_shapes(batch, tuple(x.shape[:-1]))
    except ValueError:
        raise ValueError(
            f"{name}, shape {shape_text(x)}, does not broadcast over a batch {batch} of matrices"
        ) from None
    return xp
