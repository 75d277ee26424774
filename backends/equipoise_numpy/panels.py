"""Sweeps over a tall matrix, a panel of rows at a time: BLAS while the panel is in the cache.

Nothing of the size of A is made: not for A T, not for a memory map, and not for rows that are strided, which are copied
panel by panel. scipy's BLAS is used where it is installed, for what numpy does not offer: a triangular factor and half
of a Gram matrix that is added up in place. float32 panels are added up in float64. Gradients with few columns take a
numba kernel where there is one, since BLAS reads a panel and a vector at half of the speed of memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

__all__ = ["gram", "residual_gradient", "row_squares"]

KINDS = (np.dtype(np.float64), np.dtype(np.float32))
ROWS = 1024  # of a panel, where BLAS has long sums to make
PANEL = 1 << 19  # bytes of a panel that is read twice
FEW = 8  # columns up to which a panel and single vectors beat BLAS


def gram(A: Any, b: Any = None, T: Any = None, *, upper: bool = False) -> Any:
    """Override of ``sketch.gram``."""
    if not alike(A, b, T):
        return NotImplemented
    d, p = A.shape[-1], (A if T is None else T).shape[-1]
    shapes = [(p, p)] if b is None else [(p, p), (p, b.shape[-1])]

    def one(A: Any, b: Any, T: Any, G: Any, g: Any = None) -> None:
        blas = blas_of(A.dtype)
        add = GramSum(A.dtype, p, blas)
        mix = None if T is None else mixing(A.dtype, d, T, blas if upper else None)
        for start, W in panels(A, ROWS, mix):
            add(W)
            if g is not None:
                g += W.T @ b[start : start + W.shape[0]]
        G[...] = add.whole()

    made = over_batch(one, (A, b, T), shapes)
    return made[0], None if b is None else made[1]


def residual_gradient(A: Any, x: Any, b: Any = None) -> Any:
    """Override of ``sketch.residual_gradient``."""
    if not alike(A, x, b):
        return NotImplemented
    d, k = A.shape[-1], x.shape[-1]
    few = kernel_for_few() if k <= FEW else None

    def one(A: Any, x: Any, b: Any, gradient: Any, square: Any) -> None:
        if few is not None and (A.flags.c_contiguous or A.flags.f_contiguous) and A.flags.aligned:
            gradient[...], square[...] = few(A, x, b)
            return
        for start, W in panels(A, max(16, PANEL // (A.itemsize * d))):
            sides = None if b is None else b[start : start + W.shape[0]]
            if few is not None and W.flags.c_contiguous and W.flags.aligned:
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


def over_batch(
    one: Callable[..., None], arrays: tuple[Any, ...], shapes: list[tuple[int, ...]], kind: Any = np.float64
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


def panels(A: Any, rows: int, mix: Callable[[Any], Any] | None = None) -> Iterator[tuple[int, Any]]:
    """The panels of A, or of A T, and where they begin; they may not be written, and are gone with the next one."""
    n, d = A.shape
    if mix is not None:
        for start in range(0, n, rows):
            yield start, mix(A[start : start + rows])
        return
    copied = not A.flags.c_contiguous
    buffer = np.empty((min(rows, n), d), dtype=A.dtype) if copied else None
    for start in range(0, n, rows):
        W = A[start : start + rows]
        if buffer is not None:
            buffer[: W.shape[0]] = W
            W = buffer[: W.shape[0]]
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
    from scipy.linalg import blas

    return Blas(blas, "d" if kind == np.float64 else "s")


@functools.cache
def kernel_for_few() -> Callable[..., Any] | None:
    """The numba kernel, where numba is installed."""
    if find_spec("numba") is None:
        return None
    from .residuals import residual_gradient

    return residual_gradient
