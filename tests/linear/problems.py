"""Matrices, and the plainest forms of the methods, that several tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from equipoise.operators import CSR, Stencil


def dense(A: Any) -> np.ndarray:
    """An operator as a full matrix, by its products."""
    if isinstance(A, Stencil):
        n = A.shape[0]
        return A.matvec(np.eye(n).reshape(n, *A.grid)).reshape(n, n).T
    return A.matvec(np.eye(A.shape[0])).T


def field(grid: tuple[int, ...], seed: int = 0) -> Stencil:
    """A stencil with varying coefficients, positive definite."""
    rng = np.random.default_rng(seed)
    shapes = [tuple(m - (k == axis) for k, m in enumerate(grid)) for axis in range(len(grid))]
    return Stencil.diffusion(tuple(0.1 + rng.random(s) for s in shapes), shift=0.1 + rng.random(grid))


def sparse(n: int, seed: int = 0, *, symmetric: bool = True) -> scipy.sparse.csr_array:
    """A random sparse matrix with a dominant diagonal."""
    A = scipy.sparse.random_array((n, n), density=min(1.0, 4 / n), rng=np.random.default_rng(seed), format="csr")
    A = A - A.T if not symmetric else -(A + A.T)
    A.setdiag(0.0)
    A.setdiag(np.abs(A).sum(axis=1) + 0.5)
    A.eliminate_zeros()
    return scipy.sparse.csr_array(A)


def rows(A: scipy.sparse.csr_array) -> CSR:
    return CSR.from_scipy(A)


def swept(A: np.ndarray, b: np.ndarray, x: np.ndarray, omega: Any, order: Any) -> np.ndarray:
    """One row after another in the given order; omega is a number or one a row."""
    x = x.copy()
    factors = np.broadcast_to(omega, b.shape)
    for i in order:
        x[i] += factors[i] / A[i, i] * (b[i] - A[i] @ x)
    return x


def red_first(grid: tuple[int, ...]) -> np.ndarray:
    """The points of a grid, those with an even sum of indices first."""
    return np.argsort(np.indices(grid).sum(axis=0).ravel() % 2, kind="stable")
