"""The passes over a tall matrix that least squares is made of: each reads A once and stores nothing of its size.

A least-squares problem with n rows and d columns, n far above d, is a handful of sweeps over A and small dense algebra
of order d. The sweeps are here, one kernel each: the gradient at a point (:func:`residual_gradient`), the Gram matrix
of A T (:func:`gram`) and the row norms of A T (:func:`row_squares`), where T, d by p, makes the columns nearly
orthonormal. A T is made a panel of rows at a time and thrown away. Sums over the rows are taken in halves, so that
float32 does not lose digits as n grows.

Arrays are (..., n, d): leading axes are a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arrays import namespace
from ..backend import of
from ..kernel import kernel

__all__ = ["gram", "residual_gradient", "row_squares"]

ROWS = 1 << 14  # of a panel, unless there would be more than PANELS of them, each of which jax compiles
PANELS = 256


@kernel("sketch.residual_gradient")
def residual_gradient(A: Any, x: Any, b: Any = None) -> tuple[Any, Any]:
    """The gradient A^T (b - A x) of half a sum of squares, its sign turned, and the sums of squares.

    Parameters
    ----------
    A
        The matrix, (..., n, d).
    x
        The points, one a column: (..., d, k).
    b
        The right-hand sides, (..., n, k); None for zero.

    Returns
    -------
    gradient, square
        A^T (b - A x), of shape (..., d, k), and ``|b - A x|^2`` of each column, of shape (..., k).

    Notes
    -----
    One sweep over A. To difference the results of two points costs digits: give the step as `x` and no `b` instead.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.sketch.panels import residual_gradient
    >>> A = np.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> gradient, square = residual_gradient(A, np.asarray([[1.0], [1.0]]), np.asarray([[1.0], [2.0], [3.0]]))
    >>> gradient[:, 0], square
    (array([1., 2.]), array([2.]))
    """
    xp, matmul = namespace(A, x, b), of(A).matmul

    def part(rows: Any, sides: Any) -> tuple[Any, Any]:
        residual = -matmul(rows, x) if sides is None else sides - matmul(rows, x)
        return matmul(turned(rows), residual), xp.asarray(xp.sum(residual * residual, axis=-2))

    return in_halves(part, A, b)


@kernel("sketch.gram")
def gram(A: Any, b: Any = None, T: Any = None, *, upper: bool = False) -> tuple[Any, Any]:
    """The Gram matrix W^T W of W = A T, and W^T b, in one sweep.

    Parameters
    ----------
    A
        The matrix, (..., n, d).
    b
        The right-hand sides, (..., n, k); None for none.
    T
        What the columns are mixed by, (..., d, p); None for the identity: W = A.
    upper
        Whether T is square and upper triangular, zero below its diagonal: half of the work for A T is saved.

    Returns
    -------
    G, g
        W^T W, of shape (..., p, p), symmetric to the last bit where an override ran; W^T b, of shape (..., p, k), None
        without `b`.

    Notes
    -----
    The condition number of G is the square of that of W: without a T, half of the digits of A are lost.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.sketch.panels import gram
    >>> G, g = gram(np.asarray([[3.0, 0.0], [4.0, 5.0]]), np.asarray([[1.0], [1.0]]))
    >>> G, g[:, 0]
    (array([[25., 20.],
           [20., 25.]]), array([7., 5.]))
    """
    matmul = of(A).matmul

    def part(rows: Any, sides: Any) -> tuple[Any, Any]:
        mixed = rows if T is None else matmul(rows, T)
        return matmul(turned(mixed), mixed), None if sides is None else matmul(turned(mixed), sides)

    return in_halves(part, A, b)


@kernel("sketch.row_squares")
def row_squares(A: Any, T: Any) -> Any:
    """The squared norms of the rows of A T.

    Parameters
    ----------
    A
        The matrix, (..., n, d).
    T
        What the columns are mixed by, (..., d, p).

    Returns
    -------
    array
        The squared norms, (..., n).

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.sketch.panels import row_squares
    >>> row_squares(np.asarray([[3.0, 4.0], [1.0, 0.0]]), np.eye(2))
    array([25.,  1.])
    """
    xp, library = namespace(A, T), of(A)

    def part(rows: Any) -> Any:
        mixed = library.matmul(rows, T)
        return xp.sum(mixed * mixed, axis=-1, keepdims=True)

    return library.by_panels(part, (A,), ROWS)[..., 0]


def turned(x: Any) -> Any:
    """The transpose of the last two axes."""
    return namespace(x).matrix_transpose(x)


def in_halves(part: Callable[[Any, Any], tuple[Any, Any]], A: Any, b: Any) -> tuple[Any, Any]:
    """The sum of ``part(rows, sides)`` over panels of the rows of `A` and `b`, which may be None.

    Two halves are summed apart and then added: rounding grows with the logarithm of the number of panels.
    """
    n = A.shape[-2]
    size = max(ROWS, -(-n // PANELS))

    def total(start: int, stop: int) -> tuple[Any, Any]:
        if stop - start <= size:
            return part(A[..., start:stop, :], None if b is None else b[..., start:stop, :])
        middle = start + size * (-(-(stop - start) // size) // 2)
        first, second = total(start, middle), total(middle, stop)
        return first[0] + second[0], None if first[1] is None else first[1] + second[1]

    return total(0, n)
