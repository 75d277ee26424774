"""Relaxation against pyamg, and against what the memory allows, in one process.

A sweep of ours is measured as a part of a chunk, as in a solve; its set-up is not, that of ``Solves`` is. The triad
``x = b + s c`` is what the fastest loop over so many numbers could be, as long as each sweep reads them all.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..clock import cpu_seconds, keep_freed_memory

SEED = 20_240_601
SWEEPS, OMEGA = 64, 1.5
GRIDS = ((512, 512), (1024, 1024), (300, 700), (777, 777), (60, 60, 60))
MATRICES = ("grid-200", "grid-500", "grid-1000", "random", "mesh", "tridiagonal")
Call = Callable[[], Any]


def least(calls: list[Call], *, rounds: int = 7, budget: float = 1.5) -> list[float]:
    """CPU seconds of each call, warm."""
    keep_freed_memory()
    for call in calls:
        call()
    return cpu_seconds(calls, rounds=rounds, budget=budget)


def solver() -> Callable[..., Any]:
    """``equipoise.linear.sor``, unless this version lacks it."""
    try:
        from equipoise.linear import sor
    except ImportError:
        raise NotImplementedError("needs equipoise.linear.sor, which this version lacks") from None
    found: Callable[..., Any] = sor
    return found


def sweeps(A: Any, b: Any, count: int, **settings: Any) -> Call:
    """So many sweeps of ours, without a look between."""
    run = functools.partial(solver(), A, b, omega=OMEGA, tol=0.0, max_steps=count, **settings)

    def call() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run()

    return call


def per_sweep(A: Any, b: Any, **settings: Any) -> tuple[Call, Call]:
    """Few and more sweeps: their difference is free of set-up."""
    return sweeps(A, b, SWEEPS, **settings), sweeps(A, b, 3 * SWEEPS, **settings)


def theirs(A: Any, b: Any, count: int) -> Call:
    from pyamg.relaxation.relaxation import sor

    matrix, x = scipy_matrix(A), np.zeros(b.size)
    return lambda: sor(matrix, x, b.reshape(-1), OMEGA, iterations=count)


def triad(n: int) -> Call:
    import numba

    @numba.njit(fastmath=True)
    def run(x, b, s, c):  # type: ignore[no-untyped-def]
        for k in range(x.size):
            x[k] = b[k] + s * c[k]

    x, b, c = np.zeros(n), np.ones(n), np.ones(n)

    def call() -> None:
        for _ in range(20):
            run(x, b, 0.5, c)

    return call


def laplacian(grid: tuple[int, ...]) -> Any:
    from equipoise.operators import Stencil

    return Stencil.laplacian(grid)


def scipy_matrix(A: Any) -> Any:
    import scipy.sparse

    if scipy.sparse.issparse(A):
        return A
    A = A.to_csr()
    return scipy.sparse.csr_matrix((A.data, A.indices, A.indptr), shape=A.shape)


def matrix(name: str) -> Any:
    """A grid's, one of random places, one of a triangulation, and a chain, in which every row waits for the last."""
    import scipy.sparse
    from scipy.spatial import Delaunay

    rng = np.random.default_rng(SEED)
    if name.startswith("grid"):
        return scipy_matrix(laplacian((int(name[5:]),) * 2))
    if name == "tridiagonal":
        return scipy.sparse.diags([-1.0, 2.5, -1.0], [-1, 0, 1], shape=(100_000, 100_000)).tocsr()
    n = 40_000
    if name == "random":
        ends = rng.integers(0, n, (2, 4 * n))
    else:
        corners = Delaunay(rng.random((n, 2))).simplices
        ends = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]).T
    W = scipy.sparse.coo_matrix((np.ones(ends.shape[1]), tuple(ends)), shape=(n, n)).tocsr()
    W = W + W.T
    W.setdiag(0.0)
    W.eliminate_zeros()
    W.data[:] = 1.0
    made = (scipy.sparse.diags(np.asarray(W.sum(axis=1)).reshape(-1) + 0.5) - W).tocsr()
    made.sort_indices()
    return made


class StencilSweep:
    """CPU time of one sweep through a constant stencil, over that of a yardstick; below 1 is faster."""

    params: ClassVar = (GRIDS,)  # one parameter, whose values are tuples
    param_names: ClassVar = ["grid"]

    def setup(self, grid: tuple[int, ...]) -> None:
        self.A, self.b = laplacian(grid), np.random.default_rng(SEED).standard_normal(grid)

    def ratio(self, order: str, yardstick: Call, times: int) -> float:
        few, more, unit = least([*per_sweep(self.A, self.b, order=order), yardstick])
        return (more - few) / (2 * SWEEPS) / (unit / times)

    def track_packed_over_triad(self, grid: tuple[int, ...]) -> float:
        return self.ratio("red_black", triad(self.b.size), 20)

    def track_packed_over_pyamg(self, grid: tuple[int, ...]) -> float:
        return self.ratio("red_black", theirs(self.A, self.b, 4), 4)

    def track_natural_over_pyamg(self, grid: tuple[int, ...]) -> float:
        return self.ratio("natural", theirs(self.A, self.b, 4), 4)

    track_packed_over_triad.unit = "of the triad's CPU time"  # type: ignore[attr-defined]
    track_packed_over_pyamg.unit = "of pyamg's CPU time"  # type: ignore[attr-defined]
    track_natural_over_pyamg.unit = "of pyamg's CPU time"  # type: ignore[attr-defined]


class RowSweep:
    """CPU time of one sweep through compressed rows over that of pyamg's."""

    params: ClassVar = MATRICES
    param_names: ClassVar = ["matrix"]

    def track_over_pyamg(self, name: str) -> float:
        A = matrix(name)
        b = np.random.default_rng(SEED).standard_normal(A.shape[0])
        few, more, unit = least([*per_sweep(A, b), theirs(A, b, 8)], rounds=5)
        return (more - few) / (2 * SWEEPS) / (unit / 8)

    track_over_pyamg.unit = "of pyamg's CPU time"  # type: ignore[attr-defined]


class Solves:
    """A whole solve, its set-up and tests included, over as many sweeps of pyamg with a residual after every tenth."""

    params: ClassVar = (("stencil", "rows"), ("natural", "red_black"), (10, 64, 200))
    param_names: ClassVar = ["matrix", "order", "width"]

    def track_over_pyamg(self, kind: str, order: str, width: int) -> float:
        from pyamg.relaxation.relaxation import sor

        stencil = laplacian((width, width))
        peer = scipy_matrix(stencil)
        b = np.random.default_rng(SEED).standard_normal((width, width))
        A, rhs = (stencil, b) if kind == "stencil" else (peer, b.reshape(-1))
        omega = 2.0 / (1.0 + np.sin(np.pi / (width + 1)))
        ours = functools.partial(solver(), A, rhs, omega=omega, order=order, tol=1e-8)
        steps, flat, size = int(ours().steps), b.reshape(-1), np.linalg.norm(b)

        def loop() -> Any:
            x, error = np.zeros(flat.size), 0.0
            for done in range(0, steps, 10):
                sor(peer, x, flat, omega, iterations=min(10, steps - done))
                error = np.linalg.norm(flat - peer @ x) / size
            return error

        mine, other = least([ours, loop], rounds=15)
        return mine / other

    track_over_pyamg.unit = "of pyamg's CPU time"  # type: ignore[attr-defined]
