"""Sketch operators by kind and size, and the size that an error needs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import library, shape_text
from ..backend import of
from ..guide import guided
from ..random import key
from .checks import check_inside, check_whole
from .kinds import KINDS
from .operator import SketchOperator

__all__ = ["rows_for", "sketch_operator", "suggest_rows"]


@guided
def sketch_operator(
    kind: str,
    m: int,
    n: int | tuple[int, int] | None,
    *,
    rng: int | np.random.Generator,
    s: int = 8,
    probabilities: Any = None,
) -> SketchOperator:
    """A random m x n matrix S with E[S^T S] = I, by kind and seed.

    Take ``sparse_sign`` to precondition and for sparse matrices, ``srht`` where errors of single coordinates count,
    ``gaussian`` for exact statistics. Do not take ``countsketch`` or ``rows`` for a guarantee on coordinates: single
    large rows go wrong however large m is.

    Parameters
    ----------
    kind
        ``gaussian``: independent N(0, 1/m); ``rademacher``: independent +-1/sqrt(m); ``srht``: the subsampled
        randomized Hadamard transform, n log n operations a column; ``sparse_sign``: s entries +-1/sqrt(s) a column,
        one in each of s stacks of m/s rows; ``countsketch``: the same with s = 1; ``tensor_srht``: for columns of
        length n1 n2, made of two transforms; ``rows``: m rows drawn with `probabilities`.
    m
        Rows of S, at least 1; a multiple of s for ``sparse_sign``, at most the next power of two of n for ``srht``.
    n
        Columns of S, the rows of what is sketched; a pair for ``tensor_srht``. None, for streams whose length is not
        known, is allowed for ``gaussian``, ``rademacher``, ``sparse_sign`` and ``countsketch``.
    rng
        An int in [0, 2^64), the seed, or a `numpy.random.Generator`, of which one number is drawn.
    s
        Entries a column of ``sparse_sign``.
    probabilities : array, shape (n,), optional
        Of the rows, for ``rows``: not negative, with sum 1. By default all are equal. Read on the host.

    Returns
    -------
    SketchOperator

    Raises
    ------
    TypeError, ValueError
        For another kind, numbers that do not fit each other, and an `n` that the kind cannot have.

    Notes
    -----
    Entries come from Philox4x32-10 words by counting (:mod:`equipoise.random`). Signs and places are the same bits on
    every backend; Gaussian entries agree to 4 units in the last place, and those of float32 are other numbers than
    those of float64. On jax without 64-bit numbers at most 2^31 - 1 rows can be counted.

    ``sparse_sign`` is the sparse-stack form; ``srht`` takes one row of each of m strata of the transform.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.sketch import sketch_operator
    >>> A = np.random.default_rng(0).normal(size=(10_000, 5))
    >>> S = sketch_operator("srht", 200, 10_000, rng=0)
    >>> (S @ A).shape
    (200, 5)
    >>> halves = S.block(A[:4000], 0) + S.block(A[4000:], 4000)
    >>> bool(np.allclose(halves, S @ A))
    True
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    m = check_whole("m", m, 1)
    if kind == "tensor_srht":
        if not isinstance(n, tuple) or len(n) != 2:
            raise ValueError(f"n must be a pair (n1, n2) for kind 'tensor_srht', got {n!r}")
        n = check_whole("n", n[0], 1), check_whole("n", n[1], 1)
    elif n is None:
        if kind in ("srht", "rows"):
            raise ValueError(f"n must be known for kind {kind!r}; use 'sparse_sign' or 'rademacher' for a stream")
    else:
        n = check_whole("n", n, 1)
    if kind == "srht" and m > (size := 1 << (n - 1).bit_length()):  # type: ignore[operator]
        raise ValueError(f"m must be at most {size}, the next power of two of n = {n}, for kind 'srht', got {m}")
    if kind == "sparse_sign":
        s = check_whole("s", s, 1)
        if s > m or m % s:
            raise ValueError(f"m must be a multiple of s for kind 'sparse_sign', got m = {m} and s = {s}")
    if probabilities is not None:
        probabilities = check_probabilities(kind, probabilities, n)
    low, high = key(rng)
    return SketchOperator(kind, m, n, low + (high << 32), s if kind == "sparse_sign" else 1, probabilities)


@guided
def suggest_rows(kind: str, d: int, *, epsilon: float, delta: float = 0.05) -> int:
    """Rows that a sketch needs for an error of `epsilon` in every coordinate, with probability 1 - `delta`.

    With them ``|x' - x*|_inf <= epsilon / sqrt(d) |A x* - b|_2 |A^+|_2`` for a dense sketch: max(d + 1,
    ceil(2 d ln(2d / delta) / epsilon^2)), up to a multiple of 8 for ``sparse_sign``.

    Parameters
    ----------
    kind
        As for :func:`sketch_operator`. The number speaks of dense sketches; ``sparse_sign`` needs s >= max(16, d/8)
        for it, and ``countsketch`` and ``rows`` never reach it on bad instances.
    d
        Columns of A.
    epsilon
        In (0, 1).
    delta
        In (0, 1).

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        For numbers outside of these ranges, and an unknown kind.

    Notes
    -----
    The theorem of Z. Song, M. Ye, J. Yin, L. Zhang, "A nearly-optimal bound for fast regression with l_inf guarantee",
    ICML 2023, asks for epsilon^-2 d log^3(n / delta) rows; here log^3(n / delta) is replaced by 2 ln(2d / delta), the
    size that the errors of a Gaussian sketch have.

    Examples
    --------
    >>> from equipoise.sketch import suggest_rows
    >>> suggest_rows("srht", 10, epsilon=0.1)
    11983
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    d = check_whole("d", d, 1)
    check_inside("epsilon", epsilon)
    check_inside("delta", delta)
    needed = rows_for(d, epsilon, delta)
    if needed > 2.0**62:
        raise ValueError(f"epsilon = {epsilon} would need more rows than can be counted")
    m = max(d + 1, math.ceil(needed))
    return -(-m // 8) * 8 if kind == "sparse_sign" else m


def rows_for(d: int, epsilon: float, delta: float) -> float:
    """What `epsilon` asks for, as a number of any size."""
    wanted = 2 * d * (math.log(2 * d) - math.log(delta))
    return wanted / epsilon / epsilon if epsilon > 1e-100 else math.inf


def check_probabilities(kind: str, p: Any, n: Any) -> tuple[float, ...]:
    """The probabilities of the rows, as numbers on the host."""
    if kind != "rows":
        raise ValueError(f"probabilities belong to kind 'rows', got kind {kind!r}")
    if not library(p):
        raise TypeError(f"probabilities must be an array, got {type(p).__name__}")
    p = of(p).to_numpy(p)
    if p.shape != (n,):
        raise ValueError(f"probabilities must have shape ({n},), got {shape_text(p)}")
    bad = np.flatnonzero(~(np.isfinite(p) & (p >= 0)))
    if bad.size:
        raise ValueError(f"probabilities must be finite and not negative, got {p[bad[0]]} at index {bad[0]}")
    if not math.isclose(float(p.sum(dtype=np.float64)), 1.0, rel_tol=1e-6):
        raise ValueError(f"probabilities must have sum 1, got {float(p.sum()):.9g}")
    return tuple(float(x) for x in p)
