"""Sweeps over a tall matrix, a panel of rows at a time: BLAS while the panel is in the cache.

Nothing of the size of A is made: not for A T, not for a memory map, and not for rows that are strided, which are copied
panel by panel. scipy's BLAS is used where it is installed, for what numpy does not offer: a triangular factor and half
of a Gram matrix that is added up in place. float32 panels are added up in float64. With numba, gradients with few
columns take a kernel of their own, since BLAS reads a matrix for a vector at less than half of the speed of memory, and
so do Gram matrices of up to some hundred columns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

__all__ = ["gram", "residual_gradient", "row_squares"]

KINDS = (np.dtype(np.float64), np.dtype(np.float32))
ROWS = 1024  # of a panel, where BLAS has long sums to make
PANEL = 1 << 19  # bytes of a panel that is read twice
WIDE = 400  # columns up to which our tiles clearly beat BLAS
FEW = 4  # columns up to which a panel and single vectors beat BLAS


def gram(A: Any, b: Any = None, T: Any = None, *, upper: bool = False) -> Any:
    """Override of ``sketch.gram``."""
    if not alike(A, b, T) or 0 in A.shape[-2:] or not fits(A, T, b):
        return NotImplemented
    d, p = A.shape[-1], (A if T is None else T).shape[-1]
    batch = A.shape[:-2] if T is None else np.broadcast_shapes(A.shape[:-2], T.shape[:-2])
    if b is not None and np.broadcast_shapes(batch, b.shape[:-2]) != batch:
        return NotImplemented  # one Gram matrix for several b
    shapes = [(p, p)] if b is None else [(p, p), (p, b.shape[-1])]
    tiles = gram_by_tiles() if max(d, p) <= WIDE else None

    def one(A: Any, b: Any, T: Any, G: Any, g: Any = None) -> None:
        if tiles is not None:
            sums = tiles(A.dtype, d, 0 if b is None else b.shape[1], T, upper)
            for start, W in [(0, A)] if plain(A) else panels(A, ROWS):
                sums.add(W, None if b is None else b[start : start + W.shape[0]])
            G[...], sides = sums.sums()
            if g is not None:
                g[...] = sides
            return
        blas = blas_of(A.dtype)
        add = GramSum(A.dtype, p, blas)
        for start, W in panels(A, ROWS, None if T is None else mixing(A.dtype, d, T, blas if upper else None)):
            add(W)
            if g is not None:
                g += W.T @ b[start : start + W.shape[0]]
        G[...] = add.whole()

    made = over_batch(one, (A, b, T), shapes)
    return made[0], None if b is None else made[1]


def residual_gradient(A: Any, x: Any, b: Any = None) -> Any:
    """Override of ``sketch.residual_gradient``."""
    if not alike(A, x, b) or 0 in A.shape[-2:] or not fits(A, x, b) or (b is not None and b.shape[-1] != x.shape[-1]):
        return NotImplemented
    d, k = A.shape[-1], x.shape[-1]
    few = kernel_for_few() if k <= FEW else None
    if few is not None and A.ndim == x.ndim == 2 and (b is None or b.ndim == 2):
        A = np.asarray(A)
        if plain(A) or plain(A.T):  # by itself: an iteration on a small matrix would wait for the general way
            gradient, square = few(A, x, b)
            return gradient.astype(A.dtype, copy=False), square.astype(A.dtype, copy=False)

    def one(A: Any, x: Any, b: Any, gradient: Any, square: Any) -> None:
        if few is not None and (plain(A) or plain(A.T)):
            gradient[...], square[...] = few(A, x, b)
            return
        for start, W in panels(A, max(16, PANEL // (A.itemsize * d)), by_columns=True):
            sides = None if b is None else b[start : start + W.shape[0]]
            if few is not None and plain(W):
                more, squares = few(W, x, sides)
            else:
                residual = W @ x
                np.subtract(0.0 if sides is None else sides, residual, out=residual)
                more, squares = W.T @ residual, np.einsum("ij,ij->j", residual, residual, dtype=np.float64)
            gradient += more
            square += squares

    return over_batch(one, (A, x, b), [(d, k), (k,)])


def row_squares(A: Any, T: Any) -> Any:
    """Override of ``sketch.row_squares``."""
    if not alike(A, T):
        return NotImplemented

    def one(A: Any, T: Any, out: Any) -> None:
        for start, W in panels(A, ROWS, mixing(A.dtype, A.shape[-1], T, None)):
            np.einsum("ij,ij->i", W, W, out=out[start : start + W.shape[0]])

    return over_batch(one, (A, T), [A.shape[-2:-1]], A.dtype)[0]


# ---------------------------------------------------------------------------------------------------------------------


def alike(*arrays: Any) -> bool:
    """Whether all are of one dtype that BLAS and the kernels know, in the byte order of the machine."""
    kind = arrays[0].dtype
    return kind in KINDS and all(x is None or x.dtype == kind for x in arrays)


def fits(A: Any, x: Any, b: Any) -> bool:
    """Whether A x and b have a meaning: the kernels read by address. What has none is left to the body's own words."""
    return (x is None or (x.shape[-1] > 0 and x.shape[-2] == A.shape[-1])) and (b is None or b.shape[-2] == A.shape[-2])


def plain(x: Any) -> bool:
    """Whether numba may walk through `x` row by row."""
    return x.flags.c_contiguous and x.flags.aligned


def over_batch(
    one: Callable[..., None], arrays: tuple[Any, ...], shapes: Sequence[tuple[int, ...]], kind: Any = np.float64
) -> tuple[Any, ...]:
    """``one(*matrices, *outs)`` for every member of the batch; outs begin as zeros of `kind`, and end as those of A."""
    arrays = tuple(None if x is None else np.asarray(x) for x in arrays)  # a memory map is an array of its own class
    batch = np.broadcast_shapes(*(x.shape[:-2] for x in arrays if x is not None))
    outs = [np.zeros((*batch, *shape), dtype=kind) for shape in shapes]
    if batch:
        arrays = tuple(None if x is None else np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in arrays)
    for place in np.ndindex(batch):
        one(*(None if x is None else x[place] for x in arrays), *(out[place] for out in outs))
    return tuple(out.astype(arrays[0].dtype, copy=False) for out in outs)


def panels(
    A: Any, rows: int, mix: Callable[[Any], Any] | None = None, by_columns: bool = False
) -> Iterator[tuple[int, Any]]:
    """The panels of A, or of A T, and where they begin; they may not be written, and are gone with the next one.

    They are contiguous by rows; with `by_columns` they may also be views of a matrix that is contiguous by columns.
    """
    n, d = A.shape
    turned = plain(A.T)
    copied = not (plain(A) or (by_columns and turned)) and mix is None
    buffer = np.empty((min(rows, n), d), dtype=A.dtype) if copied else None
    turn = turned_rows() if turned else None
    for start in range(0, n, rows):
        W = A[start : start + rows]
        if mix is not None:
            W = mix(W)
        elif buffer is not None:
            here = buffer[: W.shape[0]]
            if turn is None:
                here[...] = W
            else:
                turn(A, start, here)
            W = here
        yield start, W


def mixing(kind: Any, d: int, T: Any, blas: Any) -> Callable[[Any], Any]:
    """The function that makes a panel of A T of one of A; with BLAS at hand T is upper triangular."""
    buffer = np.empty((ROWS, T.shape[-1]), dtype=kind)

    def by_matmul(rows: Any) -> Any:
        return np.matmul(rows, T, out=buffer[: rows.shape[0]])

    def by_triangle(rows: Any) -> Any:
        W = buffer[: rows.shape[0]]
        W[...] = rows
        blas.trmm(1.0, factor, W.T, trans_a=1, overwrite_b=1)  # W^T <- T^T W^T, in the order of Fortran
        return W

    if blas is None:
        return by_matmul
    factor = np.asfortranarray(T)
    return by_triangle


class GramSum:
    """The sum of W^T W over panels W."""

    def __init__(self, kind: Any, p: int, blas: Any) -> None:
        self.blas = blas
        self.total = np.zeros((p, p), order="F")
        self.part = np.zeros((p, p), dtype=kind, order="F")  # its lower half stays

    def __call__(self, W: Any) -> None:
        if self.blas is None:
            self.total += W.T @ W
        elif W.dtype == np.float64:
            self.blas.syrk(1.0, W.T, beta=1.0, c=self.total, overwrite_c=1)
        else:
            self.total += self.blas.syrk(1.0, W.T, c=self.part, overwrite_c=1)

    def whole(self) -> Any:
        """The symmetric matrix: scipy's BLAS made its upper half."""
        if self.blas is None:
            return self.total
        upper = np.triu(self.total)
        return upper + np.triu(upper, 1).T


class Blas:
    """The routines of scipy for one dtype."""

    def __init__(self, module: Any, letter: str) -> None:
        self.syrk, self.trmm = getattr(module, letter + "syrk"), getattr(module, letter + "trmm")


@functools.cache
def blas_of(kind: Any) -> Blas | None:
    """scipy's BLAS, where it is installed."""
    if find_spec("scipy") is None:
        return None
    return Blas(import_module("scipy.linalg.blas"), "d" if kind == np.float64 else "s")


@functools.cache
def turned_rows() -> Callable[..., None] | None:
    """The numba kernel that copies rows of a matrix stored by columns, where numba is installed."""
    if find_spec("numba") is None:
        return None
    from .residuals import turned_rows

    return turned_rows


@functools.cache
def gram_by_tiles() -> Callable[..., Any] | None:
    """The numba kernel of Gram matrices, where numba is installed and registers are many."""
    if find_spec("numba") is None:
        return None
    from .tiles import FITS, Gram

    return Gram if FITS else None


@functools.cache
def kernel_for_few() -> Callable[..., Any] | None:
    """The numba kernel, where numba is installed."""
    if find_spec("numba") is None:
        return None
    from .residuals import residual_gradient

    return residual_gradient
