"""numba kernel of the Gram matrix of A T, for matrices of up to some hundred columns.

BLAS is made for larger ones: with a hundred columns a third of its time goes into copies and into the half of a block
on the diagonal that nobody wants. Here a few rows of W = A T are made and at once multiplied by themselves, both by one
loop over a tile of 8 by 16 sums (float64) that stays in registers. W is written as the next product wants to read it:
16 columns at a time, one row after the other.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types

from .compiled import njit
from .residuals import cgutils, has_long_registers, intrinsic, locked, prefetch
from .vectors import Loop

__all__ = ["FITS", "Gram"]

CALLER = {"contract", "reassoc", "nsz", "arcp"}
FUSED = ("contract",)
FITS = has_long_registers()
HEIGHT, VECTORS = 8, 2  # of a tile
ROWS = 64  # of W at a time: two strips of it fit into the first cache
FLUSH = 1024  # rows, a multiple: float32 sums that are longer lose digits


def tile_of(height: int, vectors: int, near: bool) -> Any:
    """The intrinsic that sums products over a tile: out[r, c] (+)= sum_t P[r, t] Q[t, c].

    ``f(P, Q, out, p, row, step_p, q, step_q, o, row_o, steps, add)``: flat arrays; P[r, t] lies at
    ``p + r row + t step_p`` (where `near`, `row` is one), Q[t, :] at ``q + t step_q``, out[r, :] at ``o + r row_o``.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loop, b = Loop(context, builder, signature, args, 3), builder
        p, row, step_p, q, step_q, o, row_o, steps, add = args[3:]
        zero, number = ir.Constant(loop.vector, [0.0] * loop.lanes), loop.index
        sums = [[cgutils.alloca_once_value(b, zero) for _ in range(vectors)] for _ in range(height)]
        apart = [b.gep(loop.pointers[0], [b.add(p, b.mul(row, number(r)))]) for r in range(height)]
        places = [
            [b.add(b.add(o, b.mul(row_o, number(r))), number(v * loop.lanes)) for v in range(vectors)]
            for r in range(height)
        ]
        tile = [(r, v) for r in range(height) for v in range(vectors)]
        for r, v in tile:
            b.store(zero, sums[r][v])
        with b.if_then(b.icmp_unsigned("!=", add, number(0))):
            for r, v in tile:
                b.store(loop.load(2, places[r][v]), sums[r][v])
        with cgutils.for_range(b, steps) as inner:
            t = inner.index
            from_q = b.add(q, b.mul(t, step_q))
            right = [loop.load(1, b.add(from_q, number(v * loop.lanes))) for v in range(vectors)]
            offset = b.mul(t, step_p)
            first = b.gep(apart[0], [offset])
            for r in range(height):
                place = b.gep(first, [number(r)]) if near else b.gep(apart[r], [offset])
                left = loop.many(b.load(place))
                for v in range(vectors):
                    term = b.fmul(left, right[v], flags=FUSED)
                    b.store(b.fadd(b.load(sums[r][v]), term, flags=FUSED), sums[r][v])
        for r, v in tile:
            loop.store(b.load(sums[r][v]), 2, places[r][v])
        return context.get_dummy_value()

    @intrinsic
    def tile(context, P, Q, out, p, row, step_p, q, step_q, o, row_o, steps, add):  # type: ignore[no-untyped-def]
        return types.void(P, Q, out, *[types.int64] * 9), generate

    return tile


rows_tile, near_tile = tile_of(HEIGHT, VECTORS, False), tile_of(HEIGHT, VECTORS, True)
rows_half, near_half = tile_of(HEIGHT, VECTORS // 2, False), tile_of(HEIGHT, VECTORS // 2, True)
one_tile = tile_of(1, VECTORS, True)


@intrinsic
def fetch(context, x, at):  # type: ignore[no-untyped-def]
    """Ask for the line of memory of x[at], which need not exist."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        prefetch(builder, builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(x, types.int64), generate


@njit(fastmath=CALLER, cache=True)
def make_strips(flat, d, start, count, T, triangular, p, W):  # type: ignore[no-untyped-def]
    """W = A T for `count` rows, a multiple of HEIGHT, in strips of `width` columns; W = A where T is empty."""
    width = VECTORS * 64 // W.itemsize
    strip = ROWS * width
    strips = W.size // strip
    if T.size:
        for r in range(0, count, HEIGHT):
            at = (start + r) * d
            for j in range(strips):
                steps = min(d, (j + 1) * width) if triangular else d
                q, to = j * d * width, j * strip + r * width
                if 2 * (p - j * width) > width:
                    rows_tile(flat, T, W, at, d, 1, q, width, to, width, steps, 0)
                else:
                    rows_half(flat, T, W, at, d, 1, q, width, to, width, steps, 0)
        return
    whole = d // width
    for r in range(count):
        at, to = numba.uint64((start + r) * d), numba.uint64(r * width)
        for _ in range(whole):
            for c in range(width):
                W[to + numba.uint64(c)] = flat[at + numba.uint64(c)]
            at += numba.uint64(width)
            to += numba.uint64(strip)
        for c in range(d - whole * width):
            W[to + numba.uint64(c)] = flat[at + numba.uint64(c)]


@njit(fastmath=CALLER, cache=True)
def add_products(W, count, b, start, k, p, part, side, flat, after, lines):  # type: ignore[no-untyped-def]
    """part += W^T W, tiles on or above the diagonal; side += b^T W; a tile fetches `lines` of what lies `after`."""
    width = VECTORS * 64 // W.itemsize
    strip = ROWS * width
    strips, line = W.size // strip, 64 // W.itemsize
    across = strips * width
    for j in range(strips):
        q, right = j * strip, j * width
        for i in range(0, min(p, right + width), HEIGHT):
            from_p = i // width * strip + i % width
            for _ in range(lines):
                fetch(flat, after)
                after += line
            if 2 * (p - right) > width:
                near_tile(W, W, part, from_p, 1, width, q, width, i * across + right, across, count, 1)
            else:
                near_half(W, W, part, from_p, 1, width, q, width, i * across + right, across, count, 1)
        c = 0
        while c + HEIGHT <= k:
            near_tile(b, W, side, start * k + c, 1, k, q, width, c * across + right, across, count, 1)
            c += HEIGHT
        while c < k:
            one_tile(b, W, side, start * k + c, 1, k, q, width, c * across + right, across, count, 1)
            c += 1


@njit(cache=True)
def flush(part, total):  # type: ignore[no-untyped-def]
    """total += part, part = 0."""
    for i in range(part.size):
        total[i] += np.float64(part[i])
        part[i] = 0


@njit(fastmath=CALLER, cache=True)
def sweep(flat, n, d, T, triangular, b, k, p, W, part, side, G, g):  # type: ignore[no-untyped-def]
    """Add W^T W and b^T W of n rows, a multiple of HEIGHT, to the float64 sums G and g."""
    strips = W.size * W.itemsize // (ROWS * VECTORS * 64)
    lines = ROWS * d * W.itemsize // (64 * strips * (strips + 1) * (VECTORS * 64 // W.itemsize // HEIGHT) // 2) + 1
    for start in range(0, n, ROWS):
        count = min(ROWS, n - start)
        make_strips(flat, d, start, count, T, triangular, p, W)
        add_products(W, count, b, start, k, p, part, side, flat, (start + ROWS) * d, lines)
        if (start + ROWS) % FLUSH == 0 or start + ROWS >= n:
            flush(part, G)
            flush(side, g)


class Gram:
    """The sums of W^T W and W^T b over blocks of rows, W = A T: T (d, p) or None, `triangular` where it is."""

    def __init__(self, kind: Any, d: int, k: int, T: Any, triangular: bool) -> None:
        self.kind, self.d, self.k, self.triangular = kind, d, k, triangular
        self.p = d if T is None else T.shape[1]
        self.width = VECTORS * 64 // kind.itemsize
        strips = -(-self.p // self.width)
        across = strips * self.width
        self.T = np.empty(0, dtype=kind) if T is None else in_strips(T, strips, self.width)
        self.W, self.part = np.zeros(strips * ROWS * self.width, dtype=kind), np.zeros(across * across, dtype=kind)
        self.side = np.zeros(k * across, dtype=kind)
        self.G, self.g = np.zeros((across, across)), np.zeros((k, across))

    def add(self, A: Any, b: Any) -> None:
        """A block of rows, contiguous; b has the same rows, or is None."""
        n = A.shape[0] // HEIGHT * HEIGHT
        self.add_whole(A[:n], None if b is None else b[:n])
        if n < A.shape[0]:
            self.add_whole(filled(A[n:]), None if b is None else filled(b[n:]))

    def add_whole(self, A: Any, b: Any) -> None:
        """The same for a multiple of HEIGHT rows."""
        sides = np.empty(0, dtype=self.kind) if b is None else np.ascontiguousarray(b).reshape(-1)
        flat, sides, out = locked(A.reshape(-1)), locked(sides), (self.G.reshape(-1), self.g.reshape(-1))
        shape = (self.p, self.W, self.part, self.side)
        sweep(flat, A.shape[0], self.d, self.T, self.triangular, sides, self.k, *shape, *out)

    def sums(self) -> tuple[Any, Any]:
        """W^T W, symmetric, and W^T b."""
        upper = np.triu(self.G[: self.p, : self.p])
        return upper + np.triu(upper, 1).T, self.g[:, : self.p].T


def in_strips(T: Any, strips: int, width: int) -> Any:
    """T (d, p), flat: `width` columns at a time, one row after the other, zeros beyond the last."""
    d, p = T.shape
    wide = np.zeros((d, strips * width), dtype=T.dtype)
    wide[:, :p] = T
    return np.ascontiguousarray(np.swapaxes(wide.reshape(d, strips, width), 0, 1)).reshape(-1)


def filled(rows: Any) -> Any:
    """HEIGHT rows: those that are missing are zero."""
    out = np.zeros((HEIGHT, rows.shape[1]), dtype=rows.dtype)
    out[: rows.shape[0]] = rows
    return out
