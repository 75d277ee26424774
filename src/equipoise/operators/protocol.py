"""What a linear operator is, and what those of this package share: products from both sides, checks, a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, cast, runtime_checkable

import numpy as np

from ..arrays import A, is_floating, library, namespace, shape_text
from ..boundary import public
from ..display import short_dtype
from ..record import parts, rebuild

if TYPE_CHECKING:
    from .csr import CSR

__all__ = [
    "LinearOperator",
    "Stored",
    "StoredOperator",
    "beside",
    "check_batch",
    "check_numbers",
    "check_vector",
    "sum_to",
]


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


class Stored(Generic[A]):
    """What the matrices among the records share: their first field holds the numbers, whose last `_axes` axes are no
    batch.
    """

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
        return f"{type(self).__name__}({this.shape[0]} x {this.shape[1]}{stored}{batch}, {short_dtype(numbers)})"


def beside(cotangent: Any, x: Any) -> Any:
    """A cotangent as an array of the library of `x`: jax hands on whatever its caller gave."""
    return cotangent if library(cotangent) == library(x) else namespace(x).asarray(cotangent)


def sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` added up over the axes along which an array of `shape` was broadcast to it."""
    if tuple(x.shape) == shape:
        return x
    xp = namespace(x)
    more = x.ndim - len(shape)
    axes = tuple(k for k in range(x.ndim) if k < more or shape[k - more] != x.shape[k])
    total = xp.sum(x, axis=axes)
    return xp.reshape(total, shape) if library(total) else xp.asarray(total)  # numpy's sum of everything is a scalar


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def check_numbers(name: str, x: Any) -> None:
    """An array of floating-point numbers."""
    if not library(x):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(x).__name__}")
    if not is_floating(x):
        raise TypeError(f"{name} must hold floating-point numbers, got dtype {x.dtype}; convert it first")


def check_vector(name: str, x: Any, numbers: Any, length: int, trailing: int) -> Any:
    """`x` has to be of the operator's library and dtype and of shape (..., length), and to broadcast over its batch."""
    if not library(x):
        raise TypeError(f"{name} must be an array, got {type(x).__name__}")
    xp = namespace(numbers, x)
    if x.dtype != numbers.dtype:
        raise TypeError(f"{name} must have the operator's dtype {numbers.dtype}, got {x.dtype}; convert one of them")
    if x.ndim < 1 or x.shape[-1] != length:
        raise ValueError(f"{name} must have shape (..., {length}), got {shape_text(x)}")
    if numbers.ndim > trailing:
        check_batch(name, x, tuple(numbers.shape[:-trailing]), 1)
    return xp


def check_batch(name: str, x: Any, batch: tuple[int, ...], axes: int) -> None:
    """The axes of `x` before its last `axes` have to broadcast over a batch of matrices."""
    try:
        np.broadcast_shapes(batch, tuple(x.shape[: x.ndim - axes]))
    except ValueError:
        raise ValueError(
            f"{name}, shape {shape_text(x)}, does not broadcast over a batch {batch} of matrices"
        ) from None
