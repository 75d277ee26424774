"""Gaussian and Rademacher sketches: independent entries, made tile by tile and multiplied by the library's own product.

They cost m multiplications an entry of A, where the others cost a handful, and are what theory speaks of: the
certificate of :func:`equipoise.sketch.lstsq` is exact for Gaussian entries. Entry (k, i) of S is the k-th number that
belongs to row i of A, so that any block of rows is sketched alone.
"""

from __future__ import annotations

from typing import Any

from ..arrays import like, namespace
from ..backend import of
from ..iterate import repeat
from ..kernel import kernel
from ..random import Stream, normal, signs, words_of
from ..record import record, static

__all__ = ["dense", "dense_lift", "tile"]

WORDS = 2**18  # entries of S that are made at a time; some arrays of their size are held meanwhile
A_BLOCK = {"gaussian": 4, "rademacher": 128}  # numbers that four words give
STREAM = {"gaussian": Stream.GAUSSIAN, "rademacher": Stream.RADEMACHER}


def tile(index: Any, key: Any, dtype: Any, *, kind: str, m: int) -> Any:
    """The columns of S that belong to the rows `index`, shape (len(index), m): standard normal numbers, or +-1."""
    xp = namespace(index)
    blocks = xp.arange(-(-m // A_BLOCK[kind]), **like(index))
    words = words_of(index[:, None], blocks, key, stream=STREAM[kind])
    numbers = normal(words, dtype) if kind == "gaussian" else signs(words, dtype)
    return xp.reshape(numbers, (index.shape[0], -1))[:, :m]


@record
class Adding:
    """The sums so far, and the row where the next tile begins."""

    sums: tuple[Any, ...]
    offset: Any


@record
class Rows:
    """What is sketched."""

    parts: tuple[Any, ...]
    key: Any
    start: Any
    kind: str = static()
    m: int = static()
    size: int = static()


def add_tile(state: Adding, rows: Rows) -> Adding:
    """Adds the next `size` rows; beyond the last one there are zeros."""
    xp, n = namespace(state.offset), rows.parts[0].shape[-2]
    index = state.offset + xp.arange(rows.size, **like(state.offset))
    inside = index < n
    index = xp.where(inside, index, xp.full_like(index, n - 1))
    dtype = rows.parts[0].dtype
    S = tile(index + rows.start, rows.key, dtype, kind=rows.kind, m=rows.m)
    S = xp.matrix_transpose(xp.where(inside[:, None], S, xp.zeros_like(S)))
    product = of(S).matmul
    sums = tuple(
        total + product(S, xp.take(x, index, axis=-2)) for total, x in zip(state.sums, rows.parts, strict=True)
    )
    return Adding(sums, state.offset + rows.size)


def pull_dense(cotangent: Any, out: Any, args: tuple[Any, ...], *, kind: str, m: int) -> tuple[Any, ...]:
    """The product is linear: its transpose."""
    parts, key, start = args
    return through(dense_lift, cotangent, key, start, kind=kind, n=parts[0].shape[-2]), None, None


@kernel("sketch.dense", vjp=pull_dense)
def dense(parts: Any, key: Any, start: Any, *, kind: str, m: int) -> Any:
    """The unscaled sums of the rows of `parts`, each (..., n, k), that start at row `start` of A: (..., m, k)."""
    xp, n = namespace(*parts), parts[0].shape[-2]
    size = max(1, min(n, WORDS // m))
    nothing = tuple(xp.zeros((*x.shape[:-2], m, x.shape[-1]), **like(x)) for x in parts)
    begin = xp.zeros((1,), **{**like(parts[0]), "dtype": whole(parts[0])})
    rows = Rows(tuple(parts), key, start, kind, m, size)
    return repeat(add_tile, Adding(nothing, begin), rows, -(-n // size)).sums


def pull_lift(cotangent: Any, out: Any, args: tuple[Any, ...], *, kind: str, n: int) -> tuple[Any, ...]:
    """And back."""
    parts, key, start = args
    return through(dense, cotangent, key, start, kind=kind, m=parts[0].shape[-2]), None, None


@kernel("sketch.dense_lift", vjp=pull_lift)
def dense_lift(parts: Any, key: Any, start: Any, *, kind: str, n: int) -> Any:
    """The transpose: from `parts`, each (..., m, k), to rows `start` to `start + n`."""
    xp, m = namespace(*parts), parts[0].shape[-2]
    size = max(1, min(n, WORDS // m))
    index = xp.arange(n, **{**like(parts[0]), "dtype": whole(parts[0])})

    def lifted(y: Any) -> Any:
        def panel(rows: Any) -> Any:
            return of(y).matmul(tile(rows[:, 0] + start, key, y.dtype, kind=kind, m=m), y)

        return of(y).by_panels(panel, (index[:, None],), size)

    return tuple(lifted(y) for y in parts)


def through(fun: Any, cotangents: Any, key: Any, start: Any, **settings: Any) -> tuple[Any, ...]:
    """`fun` of those cotangents that there are."""
    present = tuple(c for c in cotangents if c is not None)
    made = iter(fun(present, key, start, **settings) if present else ())
    return tuple(None if c is None else next(made) for c in cotangents)


def whole(x: Any) -> Any:
    """The widest dtype of whole numbers beside `x`."""
    xp = namespace(x)
    return xp.int64 if "int64" in xp.__array_namespace_info__().dtypes(kind="signed integer") else xp.int32
