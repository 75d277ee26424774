"""Operators on grids that couple neighbours only: no index is stored, and constant ones store a few numbers.

A grid of a million cells is five numbers here where compressed rows hold ten million, and a product is one pass over
the vector. The pattern of the matrix is known from the shape of the grid alone, so it is made once a shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Generic

import numpy as np

from ..arrays import A, is_floating, library, like, namespace, shape_text
from ..boundary import public
from ..display import short_dtype
from ..record import rebuild, record, static
from .csr import CSR
from .faces import (
    added,
    after,
    as_array,
    before,
    check_alike,
    check_field,
    check_grid,
    check_spacing,
    follows,
    grid_of,
    scaled,
    shape_of,
    shortened,
)
from .neighbours import pattern_beside, stencil_product
from .protocol import check_batch

__all__ = ["Stencil"]


@record
class Stencil(Generic[A]):
    """A symmetric operator on a grid of one, two or three axes that couples each cell to its neighbours.

    ``(A u)_i = center_i u_i - sum over axes of (w_{i-} u_{i-e} + w_{i+} u_{i+e})``, where the w are the weights of the
    two faces of cell i along the axis, and u is zero outside of the grid. Vectors have the shape ``(..., *grid)``.
    For other couplings (diagonal neighbours, a matrix that is not symmetric, a periodic grid) take :class:`CSR`.

    Parameters
    ----------
    center : float or array
        The diagonal: one number, or an array whose last axes are those of the grid or 1; leading axes are a batch.
    faces : tuple of float or array, one an axis
        The weights of the faces between neighbours: one number, or an array as above that is one shorter along its
        axis.
    grid : tuple of int
        The shape of the grid, every entry at least 1.

    Attributes
    ----------
    shape : pair of int
        (N, N), with N the number of cells.
    dtype
        That of the arrays; None if all numbers are Python floats: such a stencil has no library and no precision of
        its own and follows the vectors that it is applied to.
    constant : bool
        Whether every number is a single one, the same for all cells.

    Raises
    ------
    TypeError, ValueError
        For numbers that are not floating-point, arrays of two libraries or dtypes, a grid of another number of axes, a
        shape that does not fit it.

    See Also
    --------
    Stencil.laplacian, Stencil.diffusion : the usual ones.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.operators import Stencil
    >>> A = Stencil(2.0, (1.0,), (4,))
    >>> A @ np.array([1.0, 2.0, 3.0, 5.0])
    array([ 0.,  0., -1.,  7.])
    >>> A.to_csr()
    CSR(4 x 4, 10 stored, float64)
    """

    center: A | float
    faces: tuple[A | float, ...]
    grid: tuple[int, ...] = static()

    __array_ufunc__ = None  # numpy leaves ``array @ operator`` to us

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", check_grid("grid", self.grid))
        d = len(self.grid)
        if not isinstance(self.faces, (tuple, list)) or len(self.faces) != d:
            got = f"{len(self.faces)}" if isinstance(self.faces, (tuple, list)) else type(self.faces).__name__
            raise ValueError(f"faces must be a tuple with one entry for each of the {d} axes of the grid, got {got}")
        object.__setattr__(self, "center", check_field("center", self.center, self.grid))
        faces = tuple(check_field(f"faces[{k}]", w, shortened(self.grid, k)) for k, w in enumerate(self.faces))
        object.__setattr__(self, "faces", faces)
        check_alike(center=self.center, **{f"faces[{k}]": w for k, w in enumerate(faces)})
        arrays: list[Any] = [v for v in self._numbers if library(v)]
        try:
            np.broadcast_shapes(*(self._batch(v) for v in arrays))
        except ValueError:
            shapes = ", ".join(shape_text(v) for v in arrays)
            raise ValueError(f"the batch axes of center and faces do not broadcast: shapes {shapes}") from None

    @classmethod
    def laplacian(
        cls, shape: int | Sequence[int], *, spacing: float | Sequence[float] = 1.0, scale: Any = 1.0, shift: Any = 0.0
    ) -> Stencil[Any]:
        """``scale (-Laplace) + shift I`` by central differences, with zeros outside of the grid (Dirichlet).

        Parameters
        ----------
        shape
            The shape of the grid.
        spacing
            The distance of neighbours: one number, or one an axis.
        scale, shift
            Numbers or arrays of one; `shift` may also be a field, shape (..., \\*shape).

        Raises
        ------
        TypeError, ValueError
            For a shape, a spacing or numbers that are none.

        Examples
        --------
        >>> from equipoise.operators import Stencil
        >>> Stencil.laplacian((3, 4), spacing=0.5)
        Stencil(12 x 12, grid (3, 4), constant)
        """
        grid = check_grid("shape", (shape,) if hasattr(shape, "__index__") else shape)
        steps = check_spacing(spacing, len(grid))
        scale = check_field("scale", scale, (1,) * len(grid))
        shift = check_field("shift", shift, grid)
        check_alike(scale=scale, shift=shift)
        faces = tuple(scaled(scale, h**-2) for h in steps)
        return cls(added(shift, scaled(scale, math.fsum(2 * h**-2 for h in steps))), faces, grid)

    @classmethod
    def diffusion(cls, weights: Sequence[Any], *, shift: Any) -> Stencil[Any]:
        """``-div(w grad) + shift``, with no flow across the border (Neumann): rows add up to `shift`.

        Parameters
        ----------
        weights : sequence of arrays, one an axis
            The weights of the faces, shape (..., \\*grid) but one shorter along its own axis. The shape of the grid is
            read off them.
        shift : float or array
            What is added to the diagonal, a number or a field; with 0 the operator is singular.

        Raises
        ------
        TypeError, ValueError
            If weights are no arrays, or do not agree on a grid.

        Examples
        --------
        >>> import numpy as np
        >>> from equipoise.operators import Stencil
        >>> A = Stencil.diffusion((np.array([1.0, 2.0]),), shift=0.5)
        >>> A.diagonal()
        array([1.5, 3.5, 2.5])
        """
        weights = tuple(weights)
        grid = grid_of(weights)
        center = check_field("shift", shift, grid)
        check_alike(shift=center, **{f"weights[{k}]": w for k, w in enumerate(weights)})
        for k, w in enumerate(weights):
            axis, xp = k - len(grid), namespace(w)
            if grid[k] == 1:
                continue
            center = before(w, axis, xp) + after(w, axis, xp) + center
        return cls(center, weights, grid)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix, (N, N), with N the number of cells."""
        n = math.prod(self.grid)
        return n, n

    @property
    def dtype(self) -> Any:
        """The dtype of the arrays, or None if all numbers are Python floats."""
        return next((v.dtype for v in self._numbers if library(v) and not follows(v)), None)

    @property
    def constant(self) -> bool:
        """Whether every number is a single one, the same for all cells."""
        return all(getattr(v, "ndim", 0) == 0 for v in self._numbers)

    @property
    def _numbers(self) -> tuple[Any, ...]:
        return (self.center, *self.faces)

    def _batch(self, x: Any) -> tuple[int, ...]:
        return tuple(x.shape[: max(x.ndim - len(self.grid), 0)])

    @public
    def matvec(self, x: A) -> A:
        """A x, shape (..., \\*grid), for `x` of shape (..., \\*grid)."""
        return self._times("x", x)

    @public
    def rmatvec(self, y: A) -> A:
        """A^T y, which is A y, shape (..., \\*grid)."""
        return self._times("y", y)

    @public
    def __matmul__(self, x: A) -> A:
        """A x, shape (..., \\*grid): a stencil's vectors are grids, so there are no columns."""
        return self._times("x", x)

    @public
    def __rmatmul__(self, y: A) -> A:
        """The same from the other side."""
        return self._times("y", y)

    def _times(self, name: str, x: Any) -> Any:
        d = len(self.grid)
        if not library(x):
            raise TypeError(f"{name} must be an array, got {type(x).__name__}")
        if tuple(x.shape[max(x.ndim - d, 0) :]) != self.grid:
            raise ValueError(f"{name} must have shape {shape_of('...', *self.grid)}, got {shape_text(x)}")
        center, *faces = (v if type(v) is float else self._fitting(name, v, x) for v in self._numbers)
        if not is_floating(x):
            raise TypeError(f"{name} must hold floating-point numbers, got dtype {x.dtype}; convert it first")
        return stencil_product(center, tuple(faces), x, grid=self.grid)

    def _fitting(self, name: str, v: Any, x: Any) -> Any:
        """One of the numbers, which has to be of the library and dtype of `x` and to broadcast over its batch."""
        if library(v) != library(x):
            namespace(v, x)  # says so
        if v.dtype != x.dtype:
            if not follows(v):
                raise TypeError(f"{name} must have the operator's dtype {v.dtype}, got {x.dtype}; convert one of them")
            v = namespace(v).astype(v, x.dtype)
        if v.ndim > len(self.grid):
            check_batch(name, x, self._batch(v), len(self.grid))
        return v

    @public
    def beside(self, x: A) -> Stencil[A]:
        """The same operator with every number an array of the library, the device and the dtype of `x`.

        What is an array already stays as it is. Use it where something is to be computed from the numbers of a stencil
        that may be made of floats alone.

        Examples
        --------
        >>> import numpy as np
        >>> from equipoise.operators import Stencil
        >>> Stencil(2.0, (1.0,), (4,)).beside(np.zeros(4, dtype="float32")).center
        array(2., dtype=float32)
        """
        namespace(*self._numbers, x)
        center, *faces = (as_array(v, x) for v in self._numbers)
        return rebuild(Stencil, (center, tuple(faces)), (self.grid,))

    def _stored(self) -> Stencil[Any]:
        """Every number as an array, for want of vectors beside the other ones, or of float64."""
        there = [v for v in self._numbers if library(v)]
        strict = [v for v in there if not follows(v)]
        return self.beside((strict or there or [np.zeros(())])[0])

    @public
    def diagonal(self) -> A:
        """The entries A_ii, shape (..., \\*grid); numpy's float64 where all numbers are floats."""
        center: Any = self._stored().center
        return center * namespace(center).ones(self.grid, **like(center))

    @public
    def to_csr(self) -> CSR[A]:
        """The matrix by compressed rows, of the cells in C order; numpy's float64 where all numbers are floats.

        Every row holds its neighbours and its diagonal in ascending columns. The pattern is remembered: all stencils of
        one grid share its arrays, which are not to be written. Differentiable in the numbers.
        """
        made = self._stored()
        xp: Any = namespace(made.center)
        batch = np.broadcast_shapes(*(self._batch(v) for v in made._numbers))
        fields = [made.center, *(-1.0 * w for w in made.faces)]
        sizes = [self.grid, *(shortened(self.grid, k) for k in range(len(self.grid)))]
        flat = [
            xp.reshape(xp.broadcast_to(v, (*batch, *size)), (*batch, math.prod(size)))
            for v, size in zip(fields, sizes, strict=True)
        ]
        source, indices, indptr, rows = pattern_beside(self.grid, made.center)
        data = xp.take(xp.concat(flat, axis=-1), source, axis=-1)
        return rebuild(CSR, (data, indices, indptr, rows), (self.shape,))

    def __repr__(self) -> str:
        n, m = self.shape
        arrays = [v for v in self._numbers if library(v)]
        words = [f"{n} x {m}", f"grid {self.grid}"]
        if all(library(v) or isinstance(v, float) for v in self._numbers):  # not what jax puts there for a while
            words += ["constant"] if self.constant else []
            batch = np.broadcast_shapes(*(self._batch(v) for v in arrays)) if arrays else ()
            words += [f"batch {batch}"] if batch else []
            words += [short_dtype(arrays[0])] if arrays else []
        return f"Stencil({', '.join(words)})"
