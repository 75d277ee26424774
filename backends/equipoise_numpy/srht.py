"""numba kernels of the Hadamard sketch: three passes of radix 16 in registers, over strips of one vector of columns.

A segment has 4096 rows, whatever N is: H_N is the corner of every larger H. The first pass takes 16 rows of A, gives
them their signs and leaves 16 vectors in the first-level cache; the second ends blocks of 256 rows in a scratch; the
third takes 16 vectors from there and adds those that the sketch keeps to its rows, in the order in which they turn up.
So A is read once, and a number is stored twice before the few sums that remain. Sums over segments are float64 for
float32 data too.

All strips of a block are done before the next block, which is asked for meanwhile: main memory gives whole rows several
times faster than single lines of many rows. The scratch then holds 16 strips of a segment, 4 MB, and lives in the third
level; strip by strip it would fit into the second, and take twice as long.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from equipoise.random import Stream

from .compiled import njit
from .random import fill
from .strips import KINDS, LINE, address_of, ask, emitted, fill_block, from_address, on_a_line
from .vectors import Loop

__all__ = ["srht", "srht_lift"]

RADIX = 16
BLOCK = RADIX * RADIX  # rows: 16 KB of one strip
SEGMENT = RADIX * BLOCK
GROUP = 16  # strips: 1 KB of a row


def transform(loop: Loop, x: list[Any]) -> list[Any]:
    """The Hadamard transform of 16 vectors."""
    b, apart = loop.builder, 1
    while apart < len(x):
        for k in range(len(x)):
            if not k & apart:
                x[k], x[k + apart] = b.fadd(x[k], x[k + apart]), b.fsub(x[k], x[k + apart])
        apart *= 2
    return x


def place_of(loop: Loop, place: Any, step: Any, k: int) -> Any:
    return loop.builder.add(place, loop.builder.mul(step, ir.Constant(loop.index, k)))


@emitted
def first(context, signs, out, address, step, at, to):  # type: ignore[no-untyped-def]
    """16 rows from `address` on, `step` numbers apart, times their signs, transformed, to ``out[to:]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loop = Loop(context, builder, signature, args, 2)
        address, step, at, to = args[2:]
        source = from_address(loop, address)
        x = []
        for k in range(RADIX):
            sign = builder.load(builder.gep(loop.pointers[0], [builder.add(at, ir.Constant(loop.index, k))]))
            x.append(
                builder.fmul(loop.load(source, place_of(loop, ir.Constant(loop.index, 0), step, k)), loop.many(sign))
            )
        for k, y in enumerate(transform(loop, x)):
            loop.store(y, 1, builder.add(to, ir.Constant(loop.index, k * loop.lanes)))
        return context.get_dummy_value()

    return types.void(signs, out, *[types.int64] * 4), generate


@emitted
def later(context, x, out, at, step, to, out_step):  # type: ignore[no-untyped-def]
    """16 vectors of `x`, `step` numbers apart, transformed, to ``out[to::out_step]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loop = Loop(context, builder, signature, args, 2)
        at, step, to, out_step = args[2:]
        v = transform(loop, [loop.load(0, place_of(loop, at, step, k)) for k in range(RADIX)])
        for k, y in enumerate(v):
            loop.store(y, 1, place_of(loop, to, out_step, k))
        return context.get_dummy_value()

    return types.void(x, out, types.int64, types.int64, types.int64, types.int64), generate


@emitted
def pick(context, x, signs, out, at, k, to):  # type: ignore[no-untyped-def]
    """Add ``signs[k]`` times the vector ``x[at:]`` to ``out[to:]``, which is float64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loop = Loop(context, builder, signature, args, 2)
        at, k, to = args[3:]
        value = builder.fmul(loop.load(0, at), loop.many(builder.load(builder.gep(loop.pointers[1], [k]))))
        wide = ir.VectorType(ir.DoubleType(), loop.lanes)
        if value.type != wide:
            value = builder.fpext(value, wide)
        data = context.make_array(signature.args[2])(context, builder, args[2]).data
        place = builder.bitcast(builder.gep(data, [to]), wide.as_pointer())
        held = builder.load(place)
        held.align = 8
        builder.store(builder.fadd(held, value), place).align = 8
        return context.get_dummy_value()

    return types.void(x, signs, out, types.int64, types.int64, types.int64), generate


@njit(cache=True)
def fill_signs(segment, stream, k0, k1, out):  # type: ignore[no-untyped-def]
    """The diagonal of D for a segment."""
    index = np.empty(SEGMENT >> 7, dtype=np.uint64)
    words = np.empty((SEGMENT >> 7, 4), dtype=np.uint64)
    for k in range(index.size):
        index[k] = segment * (SEGMENT >> 7) + k
    fill(index, np.zeros(1, dtype=np.uint64), 0, stream, k0, k1, words)
    for i in range(SEGMENT):
        out[i] = 1 - 2 * np.int64((words[i >> 7, (i >> 5) & 3] >> np.uint64(i & 31)) & np.uint64(1))


@njit(cache=True)
def fill_far(segment, high, out):  # type: ignore[no-untyped-def]
    """(-1)^popcount(k_high & segment) for the kept rows."""
    for p in range(high.size):
        x = high[p] & segment
        x ^= x >> 32
        x ^= x >> 16
        x ^= x >> 8
        x ^= x >> 4
        out[p] = 1 - 2 * ((0x6996 >> (x & 15)) & 1)


@njit(cache=True)
def sketch_block(address, down, across, low, high, width, signs, buffers, first_scratch):  # type: ignore[no-untyped-def]
    """The first two passes of rows low to high of a block, over all strips of a group, to the scratch."""
    block, near, scratch, small = buffers
    lanes, item = small.size // RADIX, small.itemsize
    strips = -(-width // lanes)
    plain = low == 0 and high == BLOCK and across == item and down % item == 0
    lines = -(-width * item // LINE)
    for strip in range(strips):
        to = first_scratch + strip * RADIX * (BLOCK + 1) * lanes
        columns = min(lanes, width - strip * lanes)
        source, step = address + strip * lanes * across, down // item
        if columns < lanes or not plain:
            fill_block(source, down, across, low, high, columns, lanes, block)
            source, step = block.ctypes.data, lanes
        for g in range(RADIX):
            first(signs, near, source + g * RADIX * step * item, step, g * RADIX, g * RADIX * lanes)
            if plain:
                ask(address + BLOCK * down, down, (strip * RADIX + g) * RADIX, lines, RADIX)
        for g in range(RADIX):
            later(near, scratch, g * lanes, RADIX * lanes, to + g * lanes, RADIX * lanes)


@njit(cache=True)
def sketch_segments(address, down, across, n, width, start, stream, k0, k1, chosen, signs, far, buffers, out):  # type: ignore[no-untyped-def]
    """Add the sketch of n rows to out[strip, p, lane]; row p of the sketch keeps vector low[p] of its place."""
    high, low, ends = chosen
    scratch, small = buffers[2], buffers[3]
    lanes, m = small.size // RADIX, low.size
    gap = (BLOCK + 1) * lanes  # a line more: 16 places of one set of the first-level cache would be too many
    flat = out.reshape(-1)
    for segment in range(start // SEGMENT, (start + n - 1) // SEGMENT + 1):
        base = segment * SEGMENT - start  # the row of A that the segment starts with, maybe before the first
        fill_signs(segment, stream, k0, k1, signs)
        fill_far(segment, high, far)
        for left in range(0, out.shape[0], GROUP):
            right = min(left + GROUP, out.shape[0])
            beside = address + left * lanes * across
            for b in range(RADIX):
                top = base + b * BLOCK
                if top >= n or top + BLOCK <= 0:
                    for strip in range(right - left):
                        to = (strip * RADIX + b) * gap
                        scratch[to : to + BLOCK * lanes] = 0
                    continue
                rows, columns = (max(0, -top), min(BLOCK, n - top)), min(width, right * lanes) - left * lanes
                mine = signs[b * BLOCK : (b + 1) * BLOCK]
                sketch_block(beside + top * down, down, across, rows[0], rows[1], columns, mine, buffers, b * gap)
            for strip in range(left, right):
                p = 0
                for r in range(BLOCK):
                    if ends[r] > p:
                        later(scratch, small, (strip - left) * RADIX * gap + r * lanes, gap, 0, lanes)
                        while p < ends[r]:
                            pick(small, far, flat, low[p] * lanes, p, (strip * m + p) * lanes)
                            p += 1


@njit(cache=True)
def lift_segments(y, n, start, stream, k0, k1, chosen, signs, far, buffers, out):  # type: ignore[no-untyped-def]
    """The passes backwards: y[strip, p, lane] is spread over a segment, transformed, and signed."""
    high, low, ends = chosen
    block, near, scratch, small = buffers
    lanes, width = small.size // RADIX, out.shape[1]
    gap = (BLOCK + 1) * lanes
    for segment in range(start // SEGMENT, (start + n - 1) // SEGMENT + 1):
        base = segment * SEGMENT - start
        fill_signs(segment, stream, k0, k1, signs)
        fill_far(segment, high, far)
        for strip in range(y.shape[0]):
            p = 0
            for r in range(BLOCK):
                small[:] = 0
                while p < ends[r]:
                    for lane in range(lanes):
                        small[low[p] * lanes + lane] += far[p] * y[strip, p, lane]
                    p += 1
                later(small, scratch, 0, lanes, r * lanes, gap)
            for b in range(RADIX):
                top = base + b * BLOCK
                if top >= n or top + BLOCK <= 0:
                    continue
                for g in range(RADIX):
                    later(scratch, near, b * gap + g * RADIX * lanes, lanes, g * RADIX * lanes, lanes)
                for g in range(RADIX):
                    later(near, block, g * lanes, RADIX * lanes, g * lanes, RADIX * lanes)
                for r in range(max(0, -top), min(BLOCK, n - top)):
                    for c in range(min(lanes, width - strip * lanes)):
                        out[top + r, strip * lanes + c] = signs[b * BLOCK + r] * block[r * lanes + c]


@functools.lru_cache(maxsize=8)
def selection(rows: bytes) -> tuple[Any, ...]:
    """The kept rows in the order in which the third pass comes by: their order, high bits, block, and ends by place."""
    kept = np.frombuffer(rows, dtype=np.int64)
    within = kept % SEGMENT
    order = np.argsort(within % BLOCK, kind="stable")
    ends = np.searchsorted((within % BLOCK)[order], np.arange(BLOCK), side="right")
    return order, kept[order] // SEGMENT, within[order] // BLOCK, ends


def srht(parts: Any, rows: Any, key: Any, start: Any, *, size: int, aligned: bool) -> Any:
    """Override of ``sketch.srht``."""
    if any(part.dtype not in KINDS for part in parts):
        return NotImplemented
    chosen = selection(np.ascontiguousarray(rows, dtype=np.int64).tobytes())
    return tuple(sketch_part(part, chosen, key, int(start)) for part in parts)


def srht_lift(parts: Any, rows: Any, key: Any, start: Any, *, n: int, size: int) -> Any:
    """Override of ``sketch.srht_lift``."""
    if any(part.dtype not in KINDS for part in parts):
        return NotImplemented
    chosen = selection(np.ascontiguousarray(rows, dtype=np.int64).tobytes())
    return tuple(lift_part(part, chosen, key, int(start), n) for part in parts)


def sketch_part(part: Any, chosen: tuple[Any, ...], key: Any, start: int) -> Any:
    """One part, a member of its batch after the other."""
    order, *rest = chosen
    n, width = part.shape[-2:]
    batch, m, lanes = part.shape[:-2], order.size, LINE // part.dtype.itemsize
    made = np.zeros((*batch, m, width), dtype=part.dtype)
    if part.size == 0 or m == 0:
        return made
    strips = -(-width // lanes)
    space = buffers_for(part.dtype, m, min(GROUP, strips))
    out = on_a_line(strips * m * lanes, np.dtype(np.float64)).reshape(strips, m, lanes)
    for member in np.ndindex(*batch):
        at, (down, across) = address_of(part[member]), part.strides[-2:]
        out[:] = 0
        sketch_segments(at, down, across, n, width, start, *words_for(key), tuple(rest), *space, out)
        made[member][order] = out.transpose(1, 0, 2).reshape(m, strips * lanes)[:, :width]
    return made


def lift_part(part: Any, chosen: tuple[Any, ...], key: Any, start: int, n: int) -> Any:
    """The transpose of one part, a member of its batch after the other."""
    order, *rest = chosen
    m, width = part.shape[-2:]
    batch, lanes = part.shape[:-2], LINE // part.dtype.itemsize
    made = np.zeros((*batch, n, width), dtype=part.dtype)
    if made.size == 0 or m == 0:
        return made
    strips = -(-width // lanes)
    space = buffers_for(part.dtype, m, 1)
    y = np.zeros((m, strips * lanes), dtype=part.dtype)
    for member in np.ndindex(*batch):
        y[:, :width] = part[member][order]
        spread = np.ascontiguousarray(y.reshape(m, strips, lanes).transpose(1, 0, 2))
        lift_segments(spread, n, start, *words_for(key), tuple(rest), *space, made[member])
    return made


def words_for(key: Any) -> tuple[Any, Any, Any]:
    """The stream of the signs and the two words of the key."""
    return np.uint64(int(Stream.SRHT_SIGNS)), np.uint64(int(key[0])), np.uint64(int(key[1]))


def buffers_for(dtype: Any, m: int, strips: int) -> tuple[Any, Any, Any]:
    """Signs of rows and of segments, and what the passes write: a block, 16 x 16 vectors, the scratch, 16 vectors."""
    lanes = LINE // dtype.itemsize
    counts = BLOCK * lanes, BLOCK * lanes, strips * RADIX * (BLOCK + 1) * lanes, RADIX * lanes
    passes = tuple(on_a_line(count, dtype) for count in counts)
    return np.empty(SEGMENT, dtype=dtype), np.empty(m, dtype=dtype), passes
