"""Sketches and passes over a tall matrix, beside calls that do as much or less, in one process; and a file of 200 MB.

Peers are warm, with freed memory kept. SciPy's cosine transform may overwrite the copy that carries the signs.
``clarkson_woodruff_transform`` draws its matrix in each call, as ours do, and has one entry a column; for
``sparse_sign``, which has eight, it is a floor and no rival. ``A.T @ B`` is 2 n d^2 operations of dgemm.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import tracemalloc
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..clock import cpu_seconds, keep_freed_memory
from .least_squares import SEED, SOLVERS, Call

__all__ = ["CALLS", "PAIRS", "passes"]


def sketch(kind: str, A: Any, m: int) -> Call:
    from equipoise.sketch import sketch_operator

    S = sketch_operator(kind, m, A.shape[0], rng=SEED)
    return lambda: S @ A


def cosines(A: Any, m: int) -> Call:
    """Signs, ``scipy.fft.dct`` of the columns, and m rows."""
    from scipy.fft import dct

    rng = np.random.default_rng(SEED)
    signs = rng.choice((-1.0, 1.0), (A.shape[0], 1))
    rows = np.sort(rng.choice(A.shape[0], m, replace=False))
    scale = math.sqrt(A.shape[0] / m)
    return lambda: scale * dct(signs * A, axis=0, norm="ortho", overwrite_x=True)[rows]


def woodruff(A: Any, m: int) -> Call:
    from scipy.linalg import clarkson_woodruff_transform

    return lambda: clarkson_woodruff_transform(A, m, rng=np.random.default_rng(SEED))


def swept(A: Any) -> Call:
    from equipoise.sketch.panels import residual_gradient

    x, b = np.ones((A.shape[1], 1)), np.ones((A.shape[0], 1))
    return lambda: residual_gradient(A, x, b)


def squared(A: Any, mixed: bool) -> Call:
    """A^T A, or (A T)^T A T with an upper triangular T."""
    from equipoise.sketch.panels import gram

    b, T = np.ones((A.shape[0], 1)), np.triu(np.ones((A.shape[1],) * 2)) if mixed else None
    return lambda: gram(A, b, T, upper=mixed)


def product(A: Any) -> Call:
    """2 n d^2 operations of dgemm; with a copy, since numpy would see that A^T A is symmetric."""
    B = A.copy()
    return lambda: A.T @ B


CALLS: dict[str, Callable[[Any], Call]] = {
    "srht": lambda A: sketch("srht", A, 12 * A.shape[1]),
    "sparse_sign": lambda A: sketch("sparse_sign", A, 12 * A.shape[1]),
    "countsketch": lambda A: sketch("countsketch", A, 12 * A.shape[1]),
    "scipy dct": lambda A: cosines(A, 12 * A.shape[1]),
    "scipy countsketch": lambda A: woodruff(A, 12 * A.shape[1]),
    "residual_gradient": swept,
    "A.sum()": lambda A: A.sum,
    "gram": lambda A: squared(A, mixed=False),
    "gram of A T": lambda A: squared(A, mixed=True),
    "dgemm": product,
}
PAIRS = (  # ours, peer, the largest ratio that is aimed at
    ("srht", "scipy dct", 1 / 6),
    ("srht", "sparse_sign", 1.5),
    ("sparse_sign", "scipy countsketch", math.inf),
    ("countsketch", "scipy countsketch", 1.0),
    ("residual_gradient", "A.sum()", 2.0),
    ("gram", "dgemm", 0.5),
    ("gram of A T", "dgemm", 1.0),
)


def passes(n: int, d: int, *, rounds: int = 7, budget: float = 1.5) -> dict[str, float]:
    """CPU seconds of `CALLS` on one matrix."""
    keep_freed_memory()
    A = np.random.default_rng(SEED).standard_normal((n, d))
    calls = [make(A) for make in CALLS.values()]
    for call in calls:
        call()
    return dict(zip(CALLS, cpu_seconds(calls, rounds=rounds, budget=budget), strict=True))


class Passes:
    """A sketch or a pass of ours over another call that does as much or less; lower is better, aims in `PAIRS`."""

    params: ClassVar = [[96, 128], [f"{mine} / {peer}" for mine, peer, _ in PAIRS]]
    param_names: ClassVar = ["d", "pair"]

    def setup_cache(self) -> dict[int, dict[str, float]]:
        return {d: passes(2**17, d, rounds=4) for d in (96, 128)}

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_ratio(self, table: dict[int, dict[str, float]], d: int, pair: str) -> float:
        mine, peer = pair.split(" / ")
        return table[d][mine] / table[d][peer]

    track_ratio.unit = "of the peer's CPU time"  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------------------------
# A file of 200 MB


class MemoryMap:
    """A solve from a memory map. What the system has mapped counts as memory of the process in ``peakmem_solve``, be it
    needed or not; ``track_allocated`` is what numpy has allocated besides."""

    params: ClassVar = ["auto", "sketch_solve"]
    param_names: ClassVar = ["method"]
    shape: ClassVar = (200_000, 125)

    def setup(self, method: str) -> None:
        self.folder = tempfile.mkdtemp()
        path = os.path.join(self.folder, "A")
        A = np.memmap(path, np.float64, "w+", shape=self.shape)
        rng = np.random.default_rng(SEED)
        for start in range(0, len(A), 10_000):
            A[start : start + 10_000] = rng.standard_normal((10_000, self.shape[1]))
        self.b = np.ones(len(A))
        A.flush()
        del A
        self.A = np.memmap(path, np.float64, "r", shape=self.shape)

    def teardown(self, method: str) -> None:
        del self.A
        shutil.rmtree(self.folder)

    def peakmem_solve(self, method: str) -> None:
        SOLVERS[method](self.A, self.b)

    def track_allocated(self, method: str) -> float:
        SOLVERS[method](self.A, self.b)  # compiled by now
        tracemalloc.start()
        SOLVERS[method](self.A, self.b)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / 2**20

    track_allocated.unit = "MB"  # type: ignore[attr-defined]
