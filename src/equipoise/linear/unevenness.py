"""What a symmetric sweep loses where the couplings of a row lie unevenly before and after it.

For every vector x the condition of the matrix with the preconditioner SSOR is governed by two quotients,

    x^T M x / x^T A x = 1/2 + (1 + 2 b(x)) / (2 s) + a(x) s / 4,   s = (2 - omega)/omega,

a(x) = x^T D x / x^T A x and b(x) = x^T (L D^{-1} U - D/4) x / x^T A x. Young's factor belongs to b = 0, which holds for
constant stencils, where every row has half of its couplings on each side. Where coefficients vary, or the matrix is
that of a graph, b is large at the smooth vectors at which a is large, too: the vector of ones tells how large, for a
product and a half, and s has to grow by sqrt(1 + 2 b). Without that, conjugate gradients take twice the steps there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import namespace
from ..backend import of
from ..operators import Dense, Stencil
from ..operators.faces import before, shortened
from ..segments import index_sum
from .lanczos import on_host

__all__ = ["unevenness"]


def upper_sums(A: Any) -> Any:
    """U times ones, shape (..., n) or (..., *grid)."""
    if isinstance(A, Stencil):
        total: Any = 0.0
        faces: tuple[Any, ...] = A.faces
        for k, face in enumerate(faces):
            xp, axis = namespace(face), k - len(A.grid)
            if A.grid[k] > 1:
                full = xp.broadcast_to(face, np.broadcast_shapes(tuple(face.shape), shortened(A.grid, k)))
                total = total + before(full, axis, xp)
        return total
    if isinstance(A, Dense):
        xp = namespace(A.array)
        return xp.sum(xp.triu(A.array, k=1), axis=-1)
    xp = namespace(A.data)
    return index_sum(xp.where(A.indices > A.rows, A.data, xp.zeros_like(A.data)), A.rows, size=A.shape[0])


def unevenness(A: Any) -> Any:
    """The b of the vector of ones, at least 0, as a numpy array of the shape of the batch; 0 for constant stencils."""
    if isinstance(A, Stencil) and A.constant:
        return np.zeros(())
    A = on_host(A)
    if isinstance(A, Stencil):
        A = A.beside(A.diagonal())
    d = A.diagonal()
    xp, axes = namespace(d), tuple(range(-len(A.grid), 0)) if isinstance(A, Stencil) else -1
    energy = xp.sum(A.matvec(xp.ones_like(d)), axis=axes)
    sums = xp.sum(upper_sums(A) ** 2 / d - 0.25 * d, axis=axes)
    energy, sums = (of(d).to_numpy(xp.asarray(x)).astype(float) for x in (energy, sums))
    return np.where(energy > 0, np.maximum(sums, 0.0) / np.where(energy > 0, energy, 1.0), 0.0)
