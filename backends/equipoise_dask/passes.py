"""Passes over the chunks of a dask array: a task a chunk, and sums of neighbours, two at a time.

The tree of sums is that of the numbers of the chunks, whatever finishes first, so that schedulers and runs do not
differ. Sums of two hold the fewest parts at a time: a sketch may be as large as a chunk.

Graphs are computed as they stand, without dask's optimisation of arrays: it fuses tasks into all that need them, and
where A and b are parts of one array every chunk of that would be read twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from equipoise.sketch.checks import first_bad_row
from equipoise.sketch.operator import SketchOperator
from equipoise.sketch.panels import gram, residual_gradient

from .checks import check_array, one_column_of_chunks

__all__ = ["DaskPasses", "sketch"]

Parts = tuple[Any, ...]


class DaskPasses:
    """The passes of :class:`equipoise.sketch.passes.Passes` over dask arrays A, shape (n, d), and b, shape (n, k).

    The rows of b are chunked like those of A. Every method is one ``compute``, in which every chunk is made once.
    """

    dear = True  # a pass reads the data anew: corrections are worth avoiding

    def __init__(self, A: Any, b: Any) -> None:
        self.blocks, self.columns = A, b
        self.shape: tuple[int, int] = A.shape
        self.sides = np.zeros((0, b.shape[1]), dtype=A.dtype)

    def sketched(self, S: SketchOperator) -> tuple[Any, Any, Any]:
        """S A, S b and |b|; a number that is not finite costs one pass more, and is named."""
        SA, Sb, squares = self.compute(sketch_of_chunk, S)
        if not (np.isfinite(SA).all() and np.isfinite(Sb).all()):
            self.complain()
        return S.scaled(SA), S.scaled(Sb), np.sqrt(squares).astype(self.sides.dtype)

    def residual_gradient(self, x: Any) -> tuple[Any, Any]:
        """A^T (b - A x) and |b - A x|^2."""
        gradient, square = self.compute(gradient_of_chunk, x)
        return gradient.astype(self.sides.dtype), square.astype(self.sides.dtype)

    def normal(self, x: Any) -> Any:
        """A^T A x."""
        (product,) = self.compute(normal_of_chunk, x)
        return product.astype(self.sides.dtype)

    def gram(self, T: Any, *, upper: bool) -> tuple[Any, Any]:
        """(A T)^T (A T) and (A T)^T b, summed in float64."""
        G, g = self.compute(gram_of_chunk, T, upper)
        return G, g

    def compute(self, fn: Callable[..., Parts], *given: Any) -> Parts:
        """The sums over all chunks of ``fn(A chunk, b chunk, its first row, *given)``."""
        graph, root = summed(fn, add, self.blocks, self.columns, given)
        made: Parts = computed(graph, root)
        return made

    def complain(self) -> None:
        """Name the first row that is not finite."""
        graph, root = summed(bad_rows_of_chunk, earlier, self.blocks, self.columns, ())
        for name, row in zip(("A", "b"), computed(graph, root), strict=True):
            if row is not None:
                raise ValueError(f"{name} must be finite, got a number that is not in row {row}")
        raise ValueError("the sketch of A or b overflowed: scale them down")


def sketch(S: SketchOperator, A: Any) -> Any:
    """``S @ A`` of a dask array, as a dask array of one chunk: lazy, so that it may be part of a larger graph.

    Parameters
    ----------
    S
        Made by :func:`equipoise.sketch.sketch_operator`, of any kind but ``tensor_srht``.
    A : dask array, shape (n, d) or (n,)
        Of float64 or float32, with chunks of known shapes.

    Returns
    -------
    dask array, shape (m, d) or (m,)

    Raises
    ------
    TypeError, ValueError
        If A does not fit to S, or its chunks cannot be used as they are.

    Examples
    --------
    >>> import dask.array as da
    >>> from equipoise.sketch import sketch_operator
    >>> import equipoise_dask
    >>> S = sketch_operator("sparse_sign", 80, 10_000, rng=0)
    >>> equipoise_dask.sketch(S, da.ones((10_000, 3), chunks=(1_000, 3)))
    dask.array<sketch, shape=(80, 3), dtype=float64, chunksize=(80, 3), chunktype=numpy.ndarray>
    """
    check_array("A", A)
    if S.kind == "tensor_srht":
        raise ValueError("tensor_srht mixes all rows of both factors and has no blocks; use srht")
    if A.ndim not in (1, 2) or A.shape[0] == 0 or A.shape[-1] == 0:
        raise ValueError(f"A must have shape (n,) or (n, d), got {A.shape}")
    if S.columns is not None and S.columns != A.shape[0]:
        raise ValueError(f"A must have {S.columns} rows for this sketch, got shape {A.shape}")
    if A.ndim == 1:
        return sketch(S, A[:, None])[:, 0]
    A = one_column_of_chunks("A", A)
    sums, root = summed(sketch_of_chunk, add, A, None, (S,))
    name = "sketch-" + tokenize(root)
    whole = HighLevelGraph(
        {**sums.layers, name: {(name, 0, 0): (scaled, root, S)}}, {**sums.dependencies, name: {root[0]}}
    )
    make: Any = da.Array
    return make(whole, name, chunks=((S.m,), (A.shape[1],)), dtype=A.dtype, meta=A._meta)


# ---------------------------------------------------------------------------------------------------------------------
# The graph


def summed(
    fn: Callable[..., Any], merge: Callable[[Any, Any], Any], A: Any, b: Any, given: Parts
) -> tuple[Any, tuple[str, str, int]]:
    """The graph of ``fn`` over all chunks and of the sums, and the key of the last one."""
    name = f"{fn.__name__}-{tokenize(A.name, None if b is None else b.name, fn.__name__, *given)}"
    layer: dict[Any, Any] = {(name, "given", k): x for k, x in enumerate(given)}
    known = list(layer)  # keys: what is given is stored once, not once a chunk
    keys: list[tuple[str, str, int]] = []
    start = 0
    for i, rows in enumerate(A.chunks[0]):
        if rows:
            side = None if b is None else (b.name, i, 0)
            expected = (rows, A.shape[1], str(A.dtype))
            key = name, "chunk", len(keys)
            layer[key] = (of_chunk, fn, (A.name, i, 0), side, start, expected, *known)
            keys.append(key)
        start += rows
    count = len(keys)
    while len(keys) > 1:
        above = []
        for left, right in zip(keys[::2], keys[1::2], strict=False):
            layer[name, "sum", count] = (merge, left, right)
            above.append((name, "sum", count))
            count += 1
        keys = [*above, *keys[2 * len(above) :]]
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[A] if b is None else [A, b])
    return graph, keys[0]


def computed(graph: Any, root: tuple[str, str, int]) -> Any:
    """One ``compute`` on the active scheduler."""
    make: Any = Delayed  # has no types
    return make(root, graph, layer=root[0]).compute()


# ---------------------------------------------------------------------------------------------------------------------
# The tasks


def of_chunk(fn: Any, A: Any, b: Any, start: int, expected: tuple[int, int, str], *given: Any) -> Any:
    """``fn`` of a chunk that is what the array promised; a chunk of other shape would move all rows behind it."""
    A = np.asarray(A)
    rows, d, dtype = expected
    if A.shape != (rows, d) or str(A.dtype) != dtype:
        raise ValueError(
            f"the chunk of A from row {start} on was to have shape {(rows, d)} and dtype {dtype}, got {A.shape} and "
            f"{A.dtype}; give map_blocks or from_delayed the right shape and dtype"
        )
    if b is not None:
        b = np.asarray(b)
        if b.ndim != 2 or b.shape[0] != rows or str(b.dtype) != dtype:
            raise ValueError(
                f"the chunk of b from row {start} on was to have {rows} rows and dtype {dtype}, got shape {b.shape} "
                f"and dtype {b.dtype}; give map_blocks or from_delayed the right shape and dtype"
            )
    with np.errstate(invalid="ignore", over="ignore"):  # said later, with the row
        return fn(A, b, start, *given)


def sketch_of_chunk(A: Any, b: Any, start: int, S: SketchOperator) -> Parts:
    """The unscaled sketches, and the squares of the columns of b."""
    if b is None:
        return S.sums((A,), start)
    return *S.sums((A, b), start), np.einsum("ij,ij->j", b, b, dtype=np.float64)


def gradient_of_chunk(A: Any, b: Any, start: int, x: Any) -> Parts:
    """A^T (b - A x) and |b - A x|^2 of a chunk."""
    g, square = residual_gradient(A, x, b)
    return g.astype(np.float64), square.astype(np.float64)


def normal_of_chunk(A: Any, b: Any, start: int, x: Any) -> Parts:
    """A^T A x of a chunk."""
    return (-residual_gradient(A, x, None)[0].astype(np.float64),)


def gram_of_chunk(A: Any, b: Any, start: int, T: Any, upper: bool) -> Parts:
    """The Gram matrix of A T and its product with b, of a chunk."""
    G, g = gram(A, b, T, upper=upper)
    return G.astype(np.float64), g.astype(np.float64)


def bad_rows_of_chunk(A: Any, b: Any, start: int) -> tuple[int | None, int | None]:
    """The first rows that are not finite."""
    rows = first_bad_row(A), first_bad_row(b)
    first, second = (None if row is None else start + row for row in rows)
    return first, second


def add(left: Parts, right: Parts) -> Parts:
    """Neither is written: a scheduler may still hold them."""
    return tuple(x + y for x, y in zip(left, right, strict=True))


def earlier(left: Parts, right: Parts) -> Parts:
    """`left` comes before."""
    return tuple(y if x is None else x for x, y in zip(left, right, strict=True))


def scaled(sums: Parts, S: SketchOperator) -> Any:
    """The sketch of A."""
    return S.scaled(sums[0])
