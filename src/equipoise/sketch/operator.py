"""Sketch operators: random matrices S, m x n with m much smaller than n, that are never stored.

A kind, a shape and a seed fix every entry. An operator is therefore a handful of numbers: hashable, picklable, the same
on every backend and machine; and the share of any block of rows in ``S @ A`` can be had alone, in any order, and added
up. Scaling comes once, after all sums, so that sketches of whole numbers are equal bit for bit everywhere.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

from ..arrays import A as Array_
from ..arrays import library, namespace, shape_text
from ..arrays import like as like_of
from ..backend import of
from ..boundary import public
from ..operators import CSR, Dense, Kronecker
from ..random import key
from ..record import record, static
from .checks import check_numbers, check_whole, check_width
from .kinds import KINDS

__all__ = ["SketchOperator", "TransposedSketch"]


@record
class SketchOperator:
    """A random matrix S of shape (m, n); :func:`sketch_operator` makes one.

    ``S @ A`` sketches an array of shape (n,), (n, d) or (..., n, d), a :class:`equipoise.operators.CSR` (kinds
    ``sparse_sign`` and ``countsketch``), or the :class:`equipoise.operators.Kronecker` product of two arrays (kind
    ``tensor_srht``). ``S.T @ y`` lifts, ``A @ S.T`` sketches columns. Two operators with equal fields are equal.

    Attributes
    ----------
    kind : str
    m : int
        Rows.
    n : int, pair of int or None
        Columns; for ``tensor_srht`` the lengths of the two factors; None for an endless stream.
    seed : int
    s : int
        Entries other than zero in a column of a sparse sketch.
    probabilities : tuple of float or None
        Of each row, for ``rows``.
    """

    kind: str = static()
    m: int = static()
    n: Any = static()
    seed: int = static()
    s: int = static(default=1)
    probabilities: tuple[float, ...] | None = static(default=None)

    __array_ufunc__ = None  # numpy leaves ``array @ operator`` to us

    @property
    def key(self) -> tuple[Any, Any]:
        """The two words of the seed."""
        low, high = key(self.seed)
        return np.uint32(low), np.uint32(high)

    @property
    def columns(self) -> int | None:
        """The number of columns; None for an endless stream."""
        return math.prod(self.n) if isinstance(self.n, tuple) else self.n

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        if self.columns is None:
            raise ValueError("the sketch of an endless stream, n=None, has no shape; it has m rows")
        return self.m, self.columns

    @property
    def dtype(self) -> Any:
        """None: products have the dtype of what is multiplied."""
        return None

    @property
    def T(self) -> TransposedSketch:
        """The transpose."""
        return TransposedSketch(self)

    # -----------------------------------------------------------------------------------------------------------------
    # Products

    @public
    def __matmul__(self, A: Any) -> Any:
        """S A; of a dask array a lazy one."""
        if library(A) == "dask":
            return import_module("equipoise_dask").sketch(self, A)
        if isinstance(A, Dense):
            A = A.array
        if isinstance(A, CSR):
            return self._of_sparse(A)
        if isinstance(A, Kronecker):
            return self._of_kronecker(A)
        self._check(A, "A", self.columns, "rows")
        return self._block(A, 0)

    @public
    def __rmatmul__(self, Y: Any) -> Any:
        """Y S."""
        if not library(Y):
            return NotImplemented
        if Y.ndim < 2:
            return self.T @ Y
        xp = namespace(Y)
        return xp.matrix_transpose(self.T @ xp.matrix_transpose(Y))

    def matvec(self, x: Any) -> Any:
        """S x, shape (..., m), for vectors x of shape (..., n)."""
        return self @ x if getattr(x, "ndim", 1) < 2 else x @ self.T

    def rmatvec(self, y: Any) -> Any:
        """S^T y, shape (..., n), for vectors y of shape (..., m)."""
        return self.T @ y if getattr(y, "ndim", 1) < 2 else y @ self

    @public
    def block(self, A_rows: Array_, start: int) -> Array_:
        """What the rows ``start`` to ``start + len(A_rows)`` of A, shape (rows, d) or (rows,), add to ``S @ A``.

        Raises
        ------
        TypeError, ValueError
            If `A_rows` is no floating array, or reaches beyond the last row.
        """
        if isinstance(self.n, tuple):
            raise ValueError("tensor_srht mixes all rows of both factors and has no blocks; use srht")
        self._check(A_rows, "A_rows", None, "rows")
        start = check_whole("start", start, 0)
        n = A_rows.shape[0] if A_rows.ndim == 1 else A_rows.shape[-2]
        if self.n is not None and start + n > self.n:
            raise ValueError(f"A_rows holds the rows {start} to {start + n} of an A that has {self.n}")
        made: Array_ = self._block(A_rows, start)
        return made

    @public
    def toarray(self, like: Any = None) -> Any:
        """S as an array, float64 on numpy or what `like` is: m n numbers, so for tests."""
        beside = np.zeros(()) if like is None else like
        m, n = self.shape
        xp = namespace(beside)
        return xp.matrix_transpose(self._lift(xp.eye(m, **like_of(beside)), 0, n))

    def _block(self, A: Any, start: int) -> Any:
        """The scaled share of a block, an array or a vector."""
        if A.ndim == 1:
            return self._block(A[:, None], start)[:, 0]
        return self.scaled(self.sums((A,), start)[0])

    def _lift(self, y: Any, start: int, n: int) -> Any:
        """Rows `start` to `start + n` of S^T y, for y of shape (m,) or (..., m, k)."""
        if y.ndim == 1:
            return self._lift(y[:, None], start, n)[:, 0]
        if self.uniform:  # whole numbers stay whole until the end
            return self.scaled(KINDS[self.kind].lift(self, (y,), start, n)[0])
        return KINDS[self.kind].lift(self, (self.scaled(y),), start, n)[0]

    def _of_sparse(self, A: CSR[Any]) -> Any:
        """The sketch of a CSR matrix."""
        entries = KINDS[self.kind].entries
        if entries is None:
            raise ValueError(
                f"a sketch of kind {self.kind!r} would fill in a CSR matrix; use kind='sparse_sign' for sparse matrices"
            )
        if A.shape[0] != self.columns and self.columns is not None:
            raise ValueError(f"A must have {self.columns} rows for this sketch, got shape {A.shape}")
        check_width(A.data, A.shape[0])
        return self.scaled(entries(self, A))

    def _of_kronecker(self, A: Kronecker[Any]) -> Any:
        """The sketch of a product of two arrays."""
        arrays = [operator.array for operator in A.operators if isinstance(operator, Dense)]
        if self.kind != "tensor_srht" or len(arrays) != 2 or len(A.operators) != 2:
            raise ValueError("only kind='tensor_srht' sketches a Kronecker product, and only one of two arrays")
        first, second = arrays
        rows = first.shape[-2], second.shape[-2]
        if rows != self.n:
            raise ValueError(f"the factors must have {self.n} rows for this sketch, got {rows}")
        from .tensor import kronecker_sums

        return self.scaled(kronecker_sums(first, second, self.key, m=self.m))

    # -----------------------------------------------------------------------------------------------------------------
    # Sums that are not scaled yet

    @property
    def uniform(self) -> bool:
        """Whether all rows have one scale."""
        return not isinstance(KINDS[self.kind].weights(self), np.ndarray)

    def sums(self, parts: tuple[Any, ...], start: int = 0) -> tuple[Any, ...]:
        """The unscaled share of a block of rows, of several arrays (..., rows, k) at once: randomness is made once."""
        n = parts[0].shape[-2]
        if any(x.shape[-2] != n for x in parts):
            raise ValueError(f"all parts must have the same rows, got shapes {', '.join(map(shape_text, parts))}")
        if start + n > 2**63:
            raise ValueError(f"rows are counted up to 2^63, got start {start} and {n} rows")
        check_width(parts[0], start + n)
        return tuple(KINDS[self.kind].sums(self, tuple(parts), start))

    def scaled(self, sums: Any) -> Any:
        """Sums of all blocks, shape (..., m, k), as the sketch."""
        weights = KINDS[self.kind].weights(self)
        if isinstance(weights, np.ndarray):
            xp = namespace(sums)
            weights = xp.astype(of(sums).lend(weights[:, None].astype(np_dtype(sums)), sums), sums.dtype)
        return sums * weights

    def _check(self, A: Any, name: str, length: int | None, axis: str) -> None:
        """An array of numbers with as many rows."""
        check_numbers(name, A)
        if A.ndim < 1:
            raise ValueError(f"{name} must have shape (n,) or (..., n, d), got a 0-d array")
        n = A.shape[0] if A.ndim == 1 else A.shape[-2]
        if length is not None and n != length:
            raise ValueError(f"{name} must have {length} {axis} for this sketch, got shape {shape_text(A)}")

    # -----------------------------------------------------------------------------------------------------------------
    # Storing

    def to_dict(self) -> dict[str, Any]:
        """The fields as what JSON holds; :meth:`from_dict` is the way back."""
        n = list(self.n) if isinstance(self.n, tuple) else self.n
        p = None if self.probabilities is None else list(self.probabilities)
        return {"kind": self.kind, "m": self.m, "n": n, "seed": self.seed, "s": self.s, "probabilities": p}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> SketchOperator:
        """The operator that :meth:`to_dict` described; it is checked like a new one."""
        n, p = fields["n"], fields.get("probabilities")
        from .making import sketch_operator

        return sketch_operator(
            fields["kind"],
            fields["m"],
            tuple(n) if isinstance(n, list) else n,
            rng=fields["seed"],
            s=fields["s"] if fields["kind"] == "sparse_sign" else 8,
            probabilities=None if p is None else np.asarray(p),
        )

    def __repr__(self) -> str:
        more = f", s={self.s}" if self.kind == "sparse_sign" else ""
        return (
            f"SketchOperator({self.kind}, {self.m} x {'endless' if self.n is None else self.n}, seed {self.seed}{more})"
        )


@record
class TransposedSketch:
    """S^T: lifts vectors of length m to length n."""

    S: SketchOperator

    __array_ufunc__ = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, (n, m)."""
        m, n = self.S.shape
        return n, m

    @property
    def dtype(self) -> Any:
        """None: products have the dtype of what is multiplied."""
        return None

    @property
    def T(self) -> SketchOperator:
        """The sketch."""
        return self.S

    @public
    def __matmul__(self, y: Any) -> Any:
        """S^T y for y of shape (m,) or (..., m, k)."""
        self.S._check(y, "y", self.S.m, "rows")
        check_width(y, self.shape[0])
        return self.S._lift(y, 0, self.shape[0])

    @public
    def __rmatmul__(self, A: Any) -> Any:
        """A S^T for A of shape (n,) or (..., k, n): the sketch of each row."""
        if not library(A):
            return NotImplemented
        if A.ndim < 2:
            return self.S @ A
        xp = namespace(A)
        return xp.matrix_transpose(self.S @ xp.matrix_transpose(A))

    def matvec(self, y: Any) -> Any:
        """S^T y, shape (..., n), for vectors y of shape (..., m)."""
        return self.S.rmatvec(y)

    def rmatvec(self, x: Any) -> Any:
        """S x, shape (..., m), for vectors x of shape (..., n)."""
        return self.S.matvec(x)


def np_dtype(x: Any) -> str:
    """The dtype in which weights for `x` are made: as wide as `x`, or nearly."""
    name = str(x.dtype).rpartition(".")[2]
    return "float32" if name in ("float16", "bfloat16", "float32") else "float64"
