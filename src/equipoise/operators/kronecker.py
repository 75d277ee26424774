"""Kronecker products: operators on grids of any kind that act along one axis after the other."""

from __future__ import annotations

import math
from typing import Any, Generic

import numpy as np

from ..arrays import A, library, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..record import Opaque, as_data, leaves, record
from .convert import as_operator
from .csr import CSR
from .protocol import LinearOperator, Stored
from .stencil import Stencil

__all__ = ["Kronecker"]


@record
class Kronecker(Stored[A], Generic[A]):
    """The Kronecker product A_1 (x) A_2 (x) ... of operators, of which only the factors are ever held.

    Vectors have the length m_1 m_2 ..., and are grids of that shape in C order: the last factor acts on neighbours.
    A product costs those of the factors, each done for all lines of the grid along its axis.

    Parameters
    ----------
    *factors : 2-D arrays or operators
        At least one. Arrays, and whatever else :func:`as_operator` takes, become operators. Batches of matrices are
        refused; batches of vectors are not.

    Raises
    ------
    TypeError, ValueError
        If there is no factor, or one that is no operator; for factors of two libraries or dtypes, and for a batch.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.operators import Kronecker, Stencil
    >>> mean = np.array([[0.5, 0.5]])
    >>> A = Kronecker(mean, Stencil.laplacian(3))
    >>> A
    Kronecker(3 x 6: Dense(1 x 2, float64), Stencil(3 x 3, grid (3,), constant))
    >>> A @ np.array([1.0, 2.0, 3.0, 3.0, 2.0, 1.0])
    array([2., 0., 2.])
    """

    factors: tuple[Any, ...]

    def __init__(self, *factors: Any) -> None:
        if not factors:
            raise ValueError("Kronecker needs at least one factor")
        made = [as_operator(factor) for factor in factors]
        for k, operator in enumerate(made):
            check_factor(k, operator)
        arrays = [x for operator in made for x in of_operator(operator)]
        if arrays:
            namespace(*arrays)
        kinds = sorted({str(d) for d in map(dtype_of, made) if d is not None})
        if len(kinds) > 1:
            raise TypeError(f"the factors must have one dtype, got {' and '.join(kinds)}; convert some of them")
        object.__setattr__(self, "factors", tuple(as_data(operator) for operator in made))

    @property
    def operators(self) -> tuple[LinearOperator[A], ...]:
        """The factors, each an operator."""
        return tuple(f.value if isinstance(f, Opaque) else f for f in self.factors)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, (n_1 n_2 ..., m_1 m_2 ...)."""
        shapes = [operator.shape for operator in self.operators]
        return math.prod(n for n, _ in shapes), math.prod(m for _, m in shapes)

    @property
    def dtype(self) -> Any:
        """The dtype of the factors, or None if they are stencils of Python floats."""
        return next((d for d in map(dtype_of, self.operators) if d is not None), None)

    @public
    def matvec(self, x: A) -> A:
        """A x, shape (..., n), for `x` of shape (..., m)."""
        return self._times("x", x, False)

    @public
    def rmatvec(self, y: A) -> A:
        """A^T y, shape (..., m), for `y` of shape (..., n)."""
        return self._times("y", y, True)

    def _times(self, name: str, x: Any, transposed: bool) -> Any:
        """The axis in front is brought to the end and transformed there; after all factors the order is as before."""
        length = self.shape[0 if transposed else 1]
        if not library(x):
            raise TypeError(f"{name} must be an array, got {type(x).__name__}")
        if x.ndim < 1 or x.shape[-1] != length:
            raise ValueError(f"{name} must have shape (..., {length}), got {shape_text(x)}")
        if self.dtype is not None and x.dtype != self.dtype and library(x) == self._library:
            raise TypeError(f"{name} must have the operator's dtype {self.dtype}, got {x.dtype}; convert one of them")
        xp, batch = namespace(x), tuple(x.shape[:-1])
        for operator in self.operators:
            n, m = operator.shape[::-1] if transposed else operator.shape
            rest = math.prod(x.shape[len(batch) :]) // m if m else 0
            lines = xp.matrix_transpose(xp.reshape(x, (*batch, m, rest)))
            x = line_product(operator, lines, transposed)
            x = xp.reshape(x, (*batch, rest * n))
        return x

    def _beside(self, x: Any) -> Any:
        return self

    @property
    def _library(self) -> str:
        return next((library(x) for f in self.operators for x in of_operator(f)), "")

    @public
    def diagonal(self) -> A:
        """The entries A_ii, shape (min(n, m),), if all factors are stored; by `to_csr` if some are not square."""
        self._check_stored()
        if any(n != m for n, m in (operator.shape for operator in self.operators)):
            return self.to_csr().diagonal()
        made: Any = None
        for operator in beside_each_other(self.operators):
            diagonal: Any = operator.diagonal()
            xp = namespace(diagonal)
            diagonal = xp.reshape(diagonal, (-1,))
            made = diagonal if made is None else xp.reshape(made[:, None] * diagonal[None, :], (-1,))
        return made

    @public
    def to_csr(self) -> CSR[A]:
        """The matrix by compressed rows, if all factors are stored: as many entries as the product of theirs.

        The patterns of the factors have to be known, so no :class:`Dense` one may be traced by jax.
        """
        self._check_stored()
        made: Any = None
        for operator in beside_each_other(self.operators):
            made = operator.to_csr() if made is None else product(made, operator.to_csr())
        return made

    def _check_stored(self) -> None:
        for k, operator in enumerate(self.operators):
            if not (hasattr(operator, "diagonal") and hasattr(operator, "to_csr")):
                raise TypeError(f"factor {k} is not stored: {type(operator).__name__} has no diagonal() and to_csr()")

    def __repr__(self) -> str:
        try:
            n, m = self.shape
        except (AttributeError, ValueError):  # jax puts other things into the fields of a record for a while
            return f"Kronecker({self.factors!r})"
        return f"Kronecker({n} x {m}: {', '.join(map(repr, self.operators))})"


def dtype_of(operator: Any) -> Any:
    """The dtype of an operator, None if it has none."""
    return getattr(operator, "dtype", None)


def of_operator(operator: Any) -> list[Any]:
    """The arrays in an operator, if it is a record."""
    return leaves(as_data(operator))


def check_factor(k: int, operator: Any) -> None:
    """A factor is one matrix: its batch axes would be mistaken for those of the other factors."""
    shape: tuple[int, ...] = ()
    if isinstance(operator, Stencil):
        shape = max((operator._batch(v) for v in operator._numbers if library(v)), key=len, default=())
    elif isinstance(operator, Stored) and not isinstance(operator, Kronecker):
        numbers = of_operator(operator)[0]
        shape = tuple(numbers.shape[: -operator._axes])
    if shape:
        raise ValueError(f"factor {k} must be one matrix, got a batch {shape} of them")


def line_product(operator: Any, lines: Any, transposed: bool) -> Any:
    """The product for vectors along the last axis, whatever shape the operator wants its vectors in."""
    apply = operator.rmatvec if transposed else operator.matvec
    if not isinstance(operator, Stencil):
        return apply(lines)
    xp = namespace(lines)
    return xp.reshape(apply(xp.reshape(lines, (*lines.shape[:-1], *operator.grid))), tuple(lines.shape))


def beside_each_other(operators: tuple[Any, ...]) -> list[Any]:
    """The factors, of which stencils of floats follow the arrays of the others."""
    arrays = [x for operator in operators for x in of_operator(operator)]
    beside = next((x for x in arrays if namespace(x).isdtype(x.dtype, "real floating")), None)
    return [f.beside(beside) if isinstance(f, Stencil) and beside is not None else f for f in operators]


def product(left: CSR[Any], right: CSR[Any]) -> CSR[Any]:
    """The entries of the Kronecker product of two matrices, by rows; the pattern is made on the host."""
    backend, xp = of(left.data), namespace(left.data, right.data)
    patterns = [left.rows, left.indices, right.rows, right.indices]
    if backend.traced(patterns):
        raise TypeError("to_csr needs the pattern of the factors, which a jax transformation hides: call it outside")
    left_rows, left_columns, right_rows, right_columns = (backend.to_numpy(x).astype(np.int64) for x in patterns)
    n, m = (a * b for a, b in zip(left.shape, right.shape, strict=True))
    rows = (left_rows[:, None] * right.shape[0] + right_rows[None, :]).reshape(-1)
    columns = (left_columns[:, None] * right.shape[1] + right_columns[None, :]).reshape(-1)
    order = np.argsort(rows, kind="stable")
    indptr = np.searchsorted(rows[order], np.arange(n + 1))
    kind = np.int32 if max(n, m, rows.size) < 2**31 - 1 else np.int64
    source, indices, starts = (backend.lend(x.astype(kind), left.data) for x in (order, columns[order], indptr))
    data = xp.take(xp.reshape(left.data[:, None] * right.data[None, :], (-1,)), source)
    return CSR(data, indices, starts, (n, m))
