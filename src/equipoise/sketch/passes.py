"""A tall matrix and its right-hand sides, met one pass over the rows at a time.

The solvers of this family ask four things of A and b, each of them a sum over rows, and never hold anything else that
is as long as A. So the same solver serves an array, a memory map, an operator that is only known by its products, and
chunks on a cluster (:mod:`equipoise_dask`).
"""

from __future__ import annotations

from typing import Any, Protocol

from ..arrays import like, namespace
from ..backend import of
from ..operators import CSR
from ..record import plain, record, static
from .operator import SketchOperator
from .panels import gram, residual_gradient

__all__ = ["ByProducts", "InMemory", "Passes", "norms"]

COLUMNS = 64  # of an operator's sketch that are made at a time


class Passes(Protocol):
    """What a solver asks; ``(..., k)`` are right-hand sides, and every method but `normal` is one pass."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of A."""

    @property
    def sides(self) -> Any:
        """An array whose dtype, library and device are those of x."""

    @property
    def dear(self) -> bool:
        """Whether a pass costs more than arithmetic: then a correction is worth avoiding."""

    def sketched(self, S: SketchOperator) -> tuple[Any, Any, Any]:
        """S A, shape (..., m, d), S b, shape (..., m, k), and |b|, shape (..., k)."""

    def residual_gradient(self, x: Any) -> tuple[Any, Any]:
        """A^T (b - A x), shape (..., d, k), and |b - A x|^2, shape (..., k), for x of shape (..., d, k)."""

    def normal(self, x: Any) -> Any:
        """A^T A x, shape (..., d, k)."""

    def gram(self, T: Any, *, upper: bool) -> tuple[Any, Any]:
        """(A T)^T (A T) and (A T)^T b; T None for the identity."""


def norms(b: Any) -> Any:
    """The norms of the columns of b."""
    xp = namespace(b)
    return xp.sqrt(xp.asarray(xp.sum(b * b, axis=-2)))


@record
class InMemory:
    """Arrays A, shape (..., n, d), and b, shape (..., n, k), memory maps among them."""

    A: Any
    b: Any
    dear: bool = static(default=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        n, d = self.A.shape[-2:]
        return n, d

    @property
    def sides(self) -> Any:
        """The right-hand sides."""
        return self.b

    def sketched(self, S: SketchOperator) -> tuple[Any, Any, Any]:
        """The rows are hashed once for both."""
        SA, Sb = S.sums((self.A, self.b))
        return S.scaled(SA), S.scaled(Sb), norms(self.b)

    def residual_gradient(self, x: Any) -> tuple[Any, Any]:
        """One sweep."""
        g, square = residual_gradient(self.A, x, self.b)
        return g, square

    def normal(self, x: Any) -> Any:
        """One sweep."""
        return -residual_gradient(self.A, x, None)[0]

    def gram(self, T: Any, *, upper: bool) -> tuple[Any, Any]:
        """One sweep."""
        G, g = gram(self.A, self.b, T, upper=upper)
        return G, g


@record
class ByProducts:
    """A sparse matrix, or any operator with ``matvec`` and ``rmatvec``, and an array b, shape (n, k)."""

    A: Any
    b: Any
    dear: bool = static(default=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        n, d = plain(self.A).shape
        return n, d

    @property
    def sides(self) -> Any:
        """The right-hand sides."""
        return self.b

    def times(self, x: Any) -> Any:
        """A x for columns x; scipy's operators take them as they are."""
        if hasattr(plain(self.A), "matmat"):
            return plain(self.A).matmat(x)
        xp = namespace(x)
        return xp.matrix_transpose(plain(self.A).matvec(xp.matrix_transpose(x)))

    def turned(self, y: Any) -> Any:
        """A^T y for columns y."""
        if hasattr(plain(self.A), "rmatmat"):
            return plain(self.A).rmatmat(y)
        xp = namespace(y)
        return xp.matrix_transpose(plain(self.A).rmatvec(xp.matrix_transpose(y)))

    def sketched(self, S: SketchOperator) -> tuple[Any, Any, Any]:
        """An operator without entries is sketched through its transpose, some rows of S at a time."""
        A = plain(self.A)
        if isinstance(A, CSR):
            return S @ A, S @ self.b, norms(self.b)
        xp = namespace(self.b)
        eye = xp.eye(S.m, **like(self.b))
        blocks = [self.turned(S.T @ eye[:, k : min(k + COLUMNS, S.m)]) for k in range(0, S.m, COLUMNS)]
        return xp.matrix_transpose(xp.concat(blocks, axis=-1)), S @ self.b, norms(self.b)

    def residual_gradient(self, x: Any) -> tuple[Any, Any]:
        """A product and one with the transpose."""
        xp = namespace(x)
        r = self.b - self.times(x)
        return self.turned(r), xp.asarray(xp.sum(r * r, axis=-2))

    def normal(self, x: Any) -> Any:
        """A product and one with the transpose."""
        return self.turned(self.times(x))

    def gram(self, T: Any, *, upper: bool) -> tuple[Any, Any]:
        """A T is held here: for operators the iterative method is the better one."""
        xp, matmul = namespace(T), of(T).matmul
        W = self.times(T)
        return matmul(xp.matrix_transpose(W), W), matmul(xp.matrix_transpose(W), self.b)
