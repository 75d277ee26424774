"""Saddle points as finite sums: games, and quadratics with a bilinear part.

A point is u = (x, y), minimised in x and maximised in y, and F(u) = (df/dx, -df/dy). A component holds the part of one
coordinate: a row and a column of the matrix, which is what one sample has to read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import like, namespace, shape_text
from ..backend import of
from ..random import mulhi
from ..record import record, static
from .finite_sum import check_data, check_pair, largest, rows_of
from .products import product, spectral_norm

__all__ = ["GameOperator", "QuadraticMinMax"]


def squares(A: Any, axis: int) -> Any:
    """The squared norms of rows (axis 1) or columns (axis 0)."""
    return namespace(A).sum(A * A, axis=axis)


def padded(x: Any, size: int) -> Any:
    """A vector with zeros up to `size`, or a matrix with rows of them."""
    xp = namespace(x)
    missing = size - x.shape[0]
    return x if not missing else xp.concat([x, xp.zeros((missing, *x.shape[1:]), **like(x))], axis=0)


def sampled(A: Any, idx: Any, x: Any, y: Any, weights: Any) -> tuple[Any, Any]:
    """sum over i in idx of w_i A_i y_i, and of w_i A^i x_i, with A_i a row and A^i a column; beyond A they are zero."""
    xp = namespace(A, x)
    m, n = A.shape
    rows, columns = xp.clip(idx, max=m - 1), xp.clip(idx, max=n - 1)
    rows, columns = xp.astype(rows, idx.dtype), xp.astype(columns, idx.dtype)
    on_row, on_column = xp.astype(idx < m, x.dtype) * weights, xp.astype(idx < n, x.dtype) * weights
    by_rows = of(x).matmul(xp.take(y, rows, axis=-1) * on_row, rows_of(A, rows))
    by_columns = of(x).matmul(xp.take(x, columns, axis=-1) * on_column, rows_of(xp.matrix_transpose(A), columns))
    return by_rows, by_columns


@record
class GameOperator:
    """The operator of a matrix game, ``min_x max_y y^T A x``: F(x, y) = (A^T y, -A x) for u = (x, y), x first.

    Monotone, not cocoercive: for ``halpern_vr(mode="lipschitz")`` and the extragradient methods, with
    ``Product((Simplex(), n), (Simplex(), m))``. To solve the game take :func:`matrix_game`, which is faster by far on
    every dense game that was measured.

    Parameters
    ----------
    A : array, shape (m, n)
        What x pays to y.
    sampling : {"uniform", "importance"}
        How components are drawn: all alike, or in proportion to the larger of the squared norms of row and column i.

    Notes
    -----
    There are N = max(m, n) components, F_i = N (A_i y_i, -A^i x_i), with A_i a row and A^i a column, zero beyond A.

    Raises
    ------
    TypeError, ValueError
        If A is no finite floating-point matrix, or the word is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import GameOperator
    >>> game = GameOperator(np.array([[3.0, -1.0], [-2.0, 4.0]]))
    >>> game.full(np.array([1.0, 0.0, 0.5, 0.5]))
    array([ 0.5,  1.5, -3. ,  2. ])
    """

    A: Any
    sampling: str = static(default="uniform")
    cocoercive = False

    def __post_init__(self) -> None:
        check_data("A", self.A, 2)
        if self.sampling not in ("uniform", "importance"):
            raise ValueError(f"sampling must be 'uniform' or 'importance', got {self.sampling!r}")

    @property
    def n(self) -> int:
        """The larger side of A."""
        return int(max(self.A.shape))

    @property
    def unknowns(self) -> int:
        """Columns and rows of A: the entries of u."""
        return int(sum(self.A.shape))

    @property
    def sizes(self) -> Any:
        """The larger squared norm of row and column i, shape (N,)."""
        xp = namespace(self.A)
        return xp.maximum(*(padded(squares(self.A, axis), self.n) for axis in (1, 0)))

    @property
    def lipschitz(self) -> Any:
        """|A|."""
        return spectral_norm(self.A)

    @property
    def mean_lipschitz(self) -> Any:
        """sqrt(N max_i s_i) for uniform samples, sqrt(sum_i s_i) for weighted ones, s_i the larger squared norm."""
        xp = namespace(self.A)
        if self.sampling == "importance":
            return xp.sqrt(xp.sum(self.sizes))
        return xp.sqrt(self.n * xp.max(self.sizes))

    def full(self, u: Any) -> Any:
        """F(u)."""
        xp, n = namespace(u), self.A.shape[1]
        x, y = u[..., :n], u[..., n:]
        return xp.concat([of(u).matmul(y, self.A), -product(self.A, x)], axis=-1)

    def diff(self, u: Any, v: Any, idx: Any) -> Any:
        """The mean difference of the components in `idx`."""
        xp, n = namespace(u), self.A.shape[1]
        d = u - v
        weights = self.n / idx.shape[0]
        if self.sampling == "importance":
            sizes = self.sizes
            share = xp.take(sizes, idx)
            weights = xp.sum(sizes) / xp.where(share > 0, share, xp.ones_like(share)) / idx.shape[0]
        by_rows, by_columns = sampled(self.A, idx, d[..., :n], d[..., n:], weights)
        return xp.concat([by_rows, -by_columns], axis=-1)

    def pick(self, words: Any) -> Any:
        """Numbers of components from words: by inversion, in the precision of A, where they are weighted."""
        if self.sampling == "uniform":
            return mulhi(words, self.n)
        xp = namespace(self.A)
        steps = xp.cumulative_sum(self.sizes)
        marks = (xp.astype(words, self.A.dtype) + 0.5) * 2.0**-32 * steps[-1]
        flat = xp.searchsorted(steps, xp.reshape(marks, (-1,)))
        flat = xp.clip(flat, max=self.n - 1)
        return xp.reshape(xp.astype(flat, xp.int32), tuple(words.shape))


@record
class QuadraticMinMax:
    """``min_x max_y x^T H x / 2 - h x - y (A x - b)``: F(x, y) = (H x - h - A^T y, A x - b), with H semidefinite.

    Monotone, not cocoercive: for ``halpern_vr(mode="lipschitz")`` and the extragradient methods.

    Parameters
    ----------
    H : array, shape (n, n)
        Symmetric and positive semidefinite, which is not checked.
    A : array, shape (m, n)
    h : array, shape (n,)
    b : array, shape (m,)

    Notes
    -----
    There are N = max(m, n) components, F_i = N (H^i x_i - A_i y_i, A^i x_i) up to a constant, with columns H^i and A^i
    and rows A_i: the form of the authors' experiments.

    Raises
    ------
    TypeError, ValueError
        If something is no finite floating-point array of a shape that fits.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import QuadraticMinMax
    >>> problem = QuadraticMinMax.worst_case(3)
    >>> problem.A * 4
    array([[ 0., -1.,  1.],
           [-1.,  1.,  0.],
           [ 1.,  0.,  0.]])
    """

    H: Any
    A: Any
    h: Any
    b: Any
    cocoercive = False

    def __post_init__(self) -> None:
        check_data("H", self.H, 2)
        check_data("A", self.A, 2)
        check_pair("b", self.b, "A", self.A)
        check_pair("h", self.h, "H", self.H)
        n = self.A.shape[1]
        if tuple(self.H.shape) != (n, n):
            raise ValueError(
                f"H must have shape ({n}, {n}) to fit A of shape {shape_text(self.A)}, got {shape_text(self.H)}"
            )

    @classmethod
    def worst_case(cls, n: int, *, like: Any = None) -> QuadraticMinMax:
        """The problem on which first-order methods are slowest (Ouyang and Xu, 2021): A is bidiagonal, H = 2 A^T A.

        Parameters
        ----------
        n
            Unknowns on each side.
        like
            An array whose library, device and dtype the problem shall have; numpy's float64 without it.
        """
        if isinstance(n, bool) or not hasattr(n, "__index__") or int(n) < 1:
            raise ValueError(f"n must be a whole number of at least 1, got {n!r}")
        A = 0.25 * (np.fliplr(np.eye(n)) - np.fliplr(np.eye(n, k=1)))
        h, b = np.zeros(n), np.full(n, 0.25)
        h[-1] = 0.25
        made = [2.0 * A.T @ A, A, h, b]
        if like is not None:
            backend = of(like)
            name = str(like.dtype).rpartition(".")[2]
            made = [backend.lend(x.astype(name), like) for x in made]
        return cls(*made)

    @property
    def n(self) -> int:
        """The larger side of A."""
        return int(max(self.A.shape))

    @property
    def unknowns(self) -> int:
        """Columns and rows of A: the entries of u."""
        return int(sum(self.A.shape))

    @property
    def lipschitz(self) -> Any:
        """The norm of [[H, -A^T], [A, 0]], bounded by (|H| + sqrt(|H|^2 + 4 |A|^2)) / 2."""
        H, A = spectral_norm(self.H), spectral_norm(self.A)
        return 0.5 * (H + (H * H + 4.0 * A * A) ** 0.5)

    @property
    def mean_lipschitz(self) -> Any:
        """sqrt(N max_i lambda_i), lambda_i the larger eigenvalue of the Gram matrix of what x_i and y_i move."""
        xp, size = namespace(self.A), self.n
        columns = padded(squares(self.A, 0) + squares(self.H, 0), size)
        rows = padded(squares(self.A, 1), size)
        both = min(self.A.shape)
        cross = padded(xp.sum(self.H[:both, :] * self.A[:both, :], axis=1), size)
        return xp.sqrt(size * xp.max(largest(columns, cross, rows)))

    def full(self, u: Any) -> Any:
        """F(u)."""
        xp, n = namespace(u), self.A.shape[1]
        x, y = u[..., :n], u[..., n:]
        return xp.concat([product(self.H, x) - self.h - of(u).matmul(y, self.A), product(self.A, x) - self.b], axis=-1)

    def diff(self, u: Any, v: Any, idx: Any) -> Any:
        """The mean difference of the components in `idx`."""
        xp, n = namespace(u), self.A.shape[1]
        d = u - v
        weights = self.n / idx.shape[0]
        by_rows, by_columns = sampled(self.A, idx, d[..., :n], d[..., n:], weights)
        _, through_H = sampled(self.H, idx, d[..., :n], d[..., :n], weights)
        return xp.concat([through_H - by_rows, by_columns], axis=-1)
