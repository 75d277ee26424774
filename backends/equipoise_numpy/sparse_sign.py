"""numba kernels of the sparse sign sketch: rows are hashed once, then added to a strip of the result at a time.

A strip is four vectors of columns, so that the part of the result that it is added to stays in the caches near the
core; narrower ones spend more time on waiting for stores. All strips of a block of rows are done before the next block,
which is asked for meanwhile: main memory gives whole rows several times faster than single lines of many rows. Columns
that fill no strip are done by single vectors. Sums of float32 numbers are folded into float64 every 8192 rows.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from equipoise.random import Stream

from .compiled import njit
from .exponential import CALLER
from .random import fill
from .strips import KINDS, LINE, address_of, ask, emitted, fill_block, from_address, on_a_line
from .vectors import FUSED, Loop
from .views import plain

__all__ = ["sparse_sign", "sparse_sign_entries", "sparse_sign_lift"]

CHUNK = 8192  # rows that are hashed together
LIMIT = 2**31  # rows of the sketch, which share a word with a sign
BLOCK = 128  # rows that are read together
TALL = 512  # the same, if A is not row-major
ASKED = 16  # rows between two looks ahead; their lines are asked for together
WIDE = 4  # vectors in a strip


@njit(cache=True)
def hash_rows(index, stream, k0, k1, m, out):  # type: ignore[no-untyped-def]
    """Where each row goes: out[i, q] is twice the row of the sketch, and one more for a minus sign."""
    n, s = out.shape
    words = np.empty((n, 4), dtype=np.uint64)
    block = np.zeros(1, dtype=np.uint64)
    stack = np.uint64(m // s)
    for first in range(0, s, 4):
        block[0] = first >> 2
        fill(index, block, 0, stream, k0, k1, words)
        for i in range(n):
            for q in range(first, min(first + 4, s)):
                word = words[i, q & 3]
                row = q * np.int64(stack) + np.int64((word * stack) >> np.uint64(32))
                out[i, q] = 2 * row + np.int64(word & np.uint64(1))


def scatter_of(count: int, vectors: int) -> Any:
    """The intrinsic that adds so many vectors, at an address, to `count` rows of a strip that starts at ``out[to]``."""

    @emitted
    def scatter(context, signs, out, places, at, address, to):  # type: ignore[no-untyped-def]
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            loop = Loop(context, builder, signature, args, 3)
            at, address, to = args[3:]
            number, one = functools.partial(ir.Constant, loop.index), ir.Constant(loop.index, 1)
            source = from_address(loop, address)
            x = [loop.load(source, number(v * loop.lanes)) for v in range(vectors)]
            for q in range(count):
                place = builder.load(builder.gep(loop.pointers[2], [builder.add(at, number(q))]))
                place = builder.zext(place, loop.index)
                sign = loop.many(builder.load(builder.gep(loop.pointers[0], [builder.and_(place, one)])))
                row = builder.add(to, builder.mul(builder.lshr(place, one), number(vectors * loop.lanes)))
                for v in range(vectors):
                    into = builder.add(row, number(v * loop.lanes))
                    added = builder.fmul(x[v], sign, flags=FUSED)
                    loop.store(builder.fadd(loop.load(1, into), added, flags=FUSED), 1, into)
            return context.get_dummy_value()

        return types.void(signs, out, places, types.int64, types.int64, types.int64), generate

    return scatter


wide4, wide1, narrow4, narrow1 = scatter_of(4, WIDE), scatter_of(1, WIDE), scatter_of(4, 1), scatter_of(1, 1)


@njit(cache=True)
def add_wide(source, step, first, count, s, listed, signs, flat, to):  # type: ignore[no-untyped-def]
    """Add `count` rows of a strip, from row `first` of the list of places on."""
    for r in range(count):
        q = 0
        while q + 4 <= s:
            wide4(signs, flat, listed, (first + r) * s + q, source + r * step, to)
            q += 4
        while q < s:
            wide1(signs, flat, listed, (first + r) * s + q, source + r * step, to)
            q += 1


@njit(cache=True)
def add_narrow(source, step, first, count, s, listed, signs, flat, to):  # type: ignore[no-untyped-def]
    """The same for a strip of one vector."""
    for r in range(count):
        q = 0
        while q + 4 <= s:
            narrow4(signs, flat, listed, (first + r) * s + q, source + r * step, to)
            q += 4
        while q < s:
            narrow1(signs, flat, listed, (first + r) * s + q, source + r * step, to)
            q += 1


@njit(cache=True)
def add_rows(address, down, across, width, m, places, signs, block, out):  # type: ignore[no-untyped-def]
    """Add rows of A to the strips of the sketch, the wide ones first."""
    n, s = places.shape
    item, lanes = out.itemsize, LINE // out.itemsize
    listed = places.reshape(-1)
    plain = across == item
    lines = -(-width * item // LINE)
    together = BLOCK if plain else TALL
    for top in range(0, n, together):
        count = min(together, n - top)
        column = 0
        while column < width:
            wide = width - column >= WIDE * lanes
            columns = WIDE * lanes if wide else min(lanes, width - column)
            source, step = address + top * down + column * across, down
            if columns < lanes or not plain:
                room = WIDE * lanes if wide else lanes
                fill_block(source, down, across, 0, count, columns, room, block[: count * room])
                source, step = block.ctypes.data, room * item
            for group in range(0, count, ASKED):
                if plain:
                    line = column * item // LINE * BLOCK + group * (WIDE if wide else 1)
                    ask(address + (top + BLOCK) * down, down, line, lines, ASKED * (WIDE if wide else 1))
                some = min(ASKED, count - group)
                if wide:
                    add_wide(source + group * step, step, top + group, some, s, listed, signs, out, column * m)
                else:
                    add_narrow(source + group * step, step, top + group, some, s, listed, signs, out, column * m)
            column += columns


@njit(cache=True, fastmath=CALLER)
def lift_rows(y, places, out):  # type: ignore[no-untyped-def]
    """out[i] = sum over q of sign y[row]."""
    n, s = places.shape
    for i in range(n):
        out[i] = 0
        for q in range(s):
            place = np.int64(places[i, q])
            sign = 1 - 2 * (place & 1)
            for c in range(y.shape[1]):
                out[i, c] += sign * y[place >> 1, c]


@njit(cache=True)
def runs_of(rows, start, index, which):  # type: ignore[no-untyped-def]
    """The distinct rows of entries that are sorted by row, and which of them each entry lies in."""
    count = 0
    for e in range(rows.size):
        if e == 0 or rows[e] != rows[e - 1]:
            index[count] = np.uint64(np.int64(rows[e]) + start)
            count += 1
        which[e] = count - 1
    return count


@njit(cache=True)
def add_entries(data, columns, which, places, out):  # type: ignore[no-untyped-def]
    """Add entries to the places of their rows."""
    for e in range(data.size):
        for q in range(places.shape[1]):
            place = np.int64(places[which[e], q])
            out[place >> 1, columns[e]] += (1 - 2 * (place & 1)) * data[e]


def sparse_sign(parts: Any, key: Any, start: Any, *, m: int, s: int) -> Any:
    """Override of ``sketch.sparse_sign``."""
    if any(part.dtype not in KINDS or part.shape[-2] != parts[0].shape[-2] for part in parts) or m >= LIMIT:
        return NotImplemented
    sums = [Sums(part, m) for part in parts]
    n = parts[0].shape[-2]
    for top in range(0, n, CHUNK):
        places = places_of(numbers(int(start) + top, min(CHUNK, n - top)), key, m, s)
        for one in sums:
            one.add(top, places)
    return tuple(one.result() for one in sums)


def sparse_sign_lift(parts: Any, key: Any, start: Any, *, n: int, s: int) -> Any:
    """Override of ``sketch.sparse_sign_lift``."""
    m = parts[0].shape[-2]
    if any(part.dtype not in KINDS or part.shape[-2] != parts[0].shape[-2] for part in parts) or m >= LIMIT:
        return NotImplemented
    flat = [plain(part).reshape(math.prod(part.shape[:-2]), *part.shape[-2:]) for part in parts]
    lifted = [np.empty((y.shape[0], n, y.shape[2]), dtype=y.dtype) for y in flat]
    for top in range(0, n, CHUNK):
        places = places_of(numbers(int(start) + top, min(CHUNK, n - top)), key, m, s)
        for y, out in zip(flat, lifted, strict=True):
            for k in range(y.shape[0]):
                lift_rows(y[k], places, out[k, top : top + CHUNK])
    return tuple(out.reshape(*part.shape[:-2], n, part.shape[-1]) for part, out in zip(parts, lifted, strict=True))


def sparse_sign_entries(data: Any, rows: Any, columns: Any, key: Any, start: Any, *, m: int, s: int, width: int) -> Any:
    """Override of ``sketch.sparse_sign_entries``; its sums are float64."""
    if data.dtype not in KINDS or m >= LIMIT:
        return NotImplemented
    flat = plain(data).reshape(math.prod(data.shape[:-1]), data.shape[-1])
    rows, columns = plain(rows, dtype=np.int64), plain(columns, dtype=np.int64)
    out = np.zeros((flat.shape[0], m, width))
    for top in range(0, rows.size, CHUNK):
        some = slice(top, top + CHUNK)
        which, index = np.empty(rows[some].size, dtype=np.int64), np.empty(rows[some].size, dtype=np.uint64)
        count = runs_of(rows[some], int(start), index, which)
        places = places_of(index[:count], key, m, s)
        for k in range(flat.shape[0]):
            add_entries(flat[k, some], columns[some], which, places, out[k])
    return out.reshape(*data.shape[:-1], m, width).astype(data.dtype, copy=False)


def numbers(start: int, count: int) -> Any:
    """The numbers of rows."""
    return np.arange(start, start + count, dtype=np.uint64)


def places_of(index: Any, key: Any, m: int, s: int) -> Any:
    """What :func:`hash_rows` makes of rows."""
    out = np.empty((index.size, s), dtype=np.uint32)
    hash_rows(index, np.uint64(int(Stream.SPARSE_SIGN)), np.uint64(int(key[0])), np.uint64(int(key[1])), m, out)
    return out


class Sums:
    """The sketch of one part as it grows, every member of a batch by itself."""

    def __init__(self, part: Any, m: int) -> None:
        self.part, self.m, self.dtype = part, m, part.dtype
        self.lanes = LINE // part.dtype.itemsize
        self.folds = self.dtype != np.float64
        self.members = list(np.ndindex(*part.shape[:-2])) if part.size else []
        size = -(-part.shape[-1] // self.lanes) * self.lanes * m
        self.now = [on_a_line(size, self.dtype) for _ in (self.members[:1] if self.folds else self.members)]
        for x in self.now:
            x[:] = 0
        self.total = [np.zeros(size) for _ in self.members] if self.folds else self.now
        self.signs = np.array([1, -1], dtype=self.dtype)
        self.block = on_a_line(TALL * WIDE * self.lanes, self.dtype)

    def add(self, top: int, places: Any) -> None:
        """The rows from `top` on, which go to `places`."""
        for k, member in enumerate(self.members):
            x, sums = self.part[member], self.now[0 if self.folds else k]
            down, across = x.strides
            address = address_of(x) + top * down
            add_rows(address, down, across, x.shape[1], self.m, places, self.signs, self.block, sums)
            if self.folds:
                self.total[k] += sums
                sums[:] = 0

    def result(self) -> Any:
        """All members, as (..., m, k)."""
        *batch, _, width = self.part.shape
        out = np.zeros((*batch, self.m, width), dtype=self.dtype)
        for member, sums in zip(self.members, self.total, strict=True):
            column = 0
            while column < width:
                wide = WIDE * self.lanes if width - column >= WIDE * self.lanes else self.lanes
                strip = sums[column * self.m : (column + wide) * self.m].reshape(self.m, wide)
                out[member][:, column : column + wide] = strip[:, : width - column]
                column += wide
        return out
