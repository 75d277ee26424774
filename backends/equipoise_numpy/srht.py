"""numba kernels of the Hadamard sketch: three passes of radix 16 in registers, over strips of one vector of columns.

A segment has 4096 rows, whatever N is: H_N is the corner of every larger H. The first pass takes 16 rows of A, gives
them their signs and leaves 16 vectors in the first-level cache; the second ends blocks of 256 rows in a scratch of 256
KB; the third takes 16 vectors from there and adds those that the sketch keeps to its rows, in the order in which they
turn up. So A is read once, and a number is stored twice before the few sums that remain. Sums over segments are float64
for float32 data too.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from equipoise.random import Stream

from .exponential import CALLER
from .random import fill
from .vectors import Loop

__all__ = ["srht", "srht_lift"]

RADIX = 16
BLOCK = RADIX * RADIX  # rows: 16 KB of one strip
HALVES = 2
SEGMENT = RADIX * BLOCK
SPAN = HALVES * SEGMENT
LINE = 64
GROUP = 16
AHEAD = 2
KINDS = (np.dtype(np.float64), np.dtype(np.float32))


def from_address(loop: Loop, address: Any) -> int:
    """A further array of the loop, at an address."""
    loop.pointers.append(loop.builder.inttoptr(address, loop.number.as_pointer()))
    return len(loop.pointers) - 1


def transform(loop: Loop, x: list[Any]) -> list[Any]:
    """The Hadamard transform of 16 vectors."""
    b, apart = loop.builder, 1
    while apart < len(x):
        for k in range(len(x)):
            if not k & apart:
                x[k], x[k + apart] = b.fadd(x[k], x[k + apart]), b.fsub(x[k], x[k + apart])
        apart *= 2
    return x


def times(loop: Loop, place: Any, step: Any, k: int) -> Any:
    return loop.builder.add(place, loop.builder.mul(step, ir.Constant(loop.index, k)))


@intrinsic
def first(context, signs, out, address, step, at, to):  # type: ignore[no-untyped-def]
    """16 rows from `address` on, `step` numbers apart, times their signs, transformed, to ``out[to:]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loop = Loop(context, builder, signature, args, 2)
        address, step, at, to = args[2:]
        source = from_address(loop, address)
        x = []
        for k in range(RADIX):
            sign = builder.load(builder.gep(loop.pointers[0], [builder.add(at, ir.Constant(loop.index, k))]))
            x.append(builder.fmul(loop.load(source, times(loop, ir.Constant(loop.index, 0), step, k)), loop.many(sign)))
        for k, y in enumerate(transform(loop, x)):
            loop.store(y, 1, builder.add(to, ir.Constant(loop.index, k * loop.lanes)))
        return context.get_dummy_value()

    return types.void(signs, out, *[types.int64] * 4), generate


@intrinsic
def later(context, x, out, at, step, to, out_step):  # type: ignore[no-untyped-def]
    """16 vectors of `x`, `step` numbers apart, transformed, to ``out[to::out_step]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loop = Loop(context, builder, signature, args, 2)
        at, step, to, out_step = args[2:]
        v = transform(loop, [loop.load(0, times(loop, at, step, k)) for k in range(RADIX)])
        for k, y in enumerate(v):
            loop.store(y, 1, times(loop, to, out_step, k))
        return context.get_dummy_value()

    return types.void(x, out, types.int64, types.int64, types.int64, types.int64), generate


@intrinsic
def prefetch(context, address):  # type: ignore[no-untyped-def]
    """Ask for the line at an address in the second-level cache; it may lie anywhere."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        call = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", (byte,), call)
        builder.call(fetch, [builder.inttoptr(args[0], byte), *(ir.Constant(flag, k) for k in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def pick(context, x, signs, out, at, k, to):  # type: ignore[no-untyped-def]
    """Add a signed vector of each half, ``x[at:]`` and ``x[at + 16 lanes:]``, to ``out[to:]``, which is float64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loop = Loop(context, builder, signature, args, 2)
        at, k, to = args[3:]
        value = None
        for half in range(HALVES):
            v = loop.load(0, builder.add(at, ir.Constant(loop.index, half * RADIX * loop.lanes)))
            sign = builder.load(builder.gep(loop.pointers[1], [builder.add(builder.mul(k, ir.Constant(loop.index, HALVES)), ir.Constant(loop.index, half))]))
            v = builder.fmul(v, loop.many(sign), flags=("contract",))
            value = v if value is None else builder.fadd(value, v, flags=("contract",))
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


@intrinsic
def number(context, x, address):  # type: ignore[no-untyped-def]
    """The number at an address, of the dtype of `x`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.args[0].dtype)
        return builder.load(builder.inttoptr(args[1], kind.as_pointer()))

    return x.dtype(x, types.int64), generate


@numba.njit(cache=True, fastmath=CALLER)
def fill_block(address, down, across, low, high, width, lanes, out):  # type: ignore[no-untyped-def]
    """Rows low to high of a block, the strip's `width` columns of them, and zeros elsewhere."""
    out[:] = 0
    if abs(down) < abs(across):
        for c in range(width):
            for r in range(low, high):
                out[r * lanes + c] = number(out, address + r * down + c * across)
    else:
        for r in range(low, high):
            for c in range(width):
                out[r * lanes + c] = number(out, address + r * down + c * across)


@numba.njit(cache=True)
def fill_signs(words, offset, out):  # type: ignore[no-untyped-def]
    for k in range(out.size):
        i = k + offset
        out[k] = 1 - 2 * np.int64((words[i >> 7, (i >> 5) & 3] >> np.uint64(i & 31)) & np.uint64(1))


@numba.njit(cache=True)
def sketch_segments(address, down, across, n, width, start, stream, k0, k1, high, low, ends, buffers, out):  # type: ignore[no-untyped-def]
    """Add the sketch of n rows to out[strip, p, lane]; row p of the sketch keeps the number low[p] of a segment."""
    block, near, scratch, small, signs, far = buffers
    lanes, item, m = small.size // (RADIX * HALVES), small.itemsize, low.size
    gap = (BLOCK + 1) * lanes
    index, none = np.empty(SPAN >> 7, dtype=np.uint64), np.zeros(1, dtype=np.uint64)
    words = np.empty((SPAN >> 7, 4), dtype=np.uint64)
    strips = out.shape[0]
    flat = out.reshape(-1)
    for span in range(start // SPAN, (start + n - 1) // SPAN + 1):
        base = span * SPAN - start  # the row of A that the segment starts with, maybe before the first
        for k in range(index.size):
            index[k] = (span * SPAN >> 7) + k
        fill(index, none, 0, stream, k0, k1, words)
        fill_signs(words, 0, signs)
        for p in range(m):
            for half in range(HALVES):
                x = high[p] & (HALVES * span + half)
                x ^= x >> 32
                x ^= x >> 16
                x ^= x >> 8
                x ^= x >> 4
                far[HALVES * p + half] = 1 - 2 * ((0x6996 >> (x & 15)) & 1)
        for left in range(0, strips, GROUP):
            right = min(left + GROUP, strips)
            for b in range(HALVES * RADIX):
                top = base + b * BLOCK
                if top >= n or top + BLOCK <= 0:
                    for strip in range(left, right):
                        to = ((strip - left) * HALVES * RADIX + b) * gap
                        scratch[to : to + BLOCK * lanes] = 0
                    continue
                plain = top >= 0 and top + BLOCK <= n and across == item and down % item == 0
                ahead = address + (top + BLOCK) * down + left * lanes * across
                prow, pcol, plines = 0, 0, ((right - left) * LINE if right < strips else (width*item - left * LINE)) + 63 >> 6
                for strip in range(left, right):
                    to = ((strip - left) * HALVES * RADIX + b) * gap
                    columns = min(lanes, width - strip * lanes)
                    source, step = address + top * down + strip * lanes * across, down // item
                    if columns < lanes or not plain:
                        fill_block(source, down, across, max(0, -top), min(BLOCK, n - top), columns, lanes, block)
                        source, step = block.ctypes.data, lanes
                    for g in range(RADIX):
                        first(signs, near, source + g * RADIX * step * item, step, b * BLOCK + g * RADIX, g * RADIX * lanes)
                        for _ in range(RADIX):
                            prefetch(ahead + prow * down + pcol * LINE)
                            pcol += 1
                            if pcol == plines:
                                pcol = 0
                                prow += 1
                    for g in range(RADIX):
                        later(near, scratch, g * lanes, RADIX * lanes, to + g * lanes, RADIX * lanes)
            for strip in range(left, right):
                p = 0
                to = (strip - left) * HALVES * RADIX * gap
                for r in range(BLOCK):
                    if ends[r] > p:
                        for half in range(HALVES):
                            later(scratch, small, to + half * RADIX * gap + r * lanes, gap, half * RADIX * lanes, lanes)
                        while p < ends[r]:
                            pick(small, far, flat, low[p] * lanes, p, (strip * m + p) * lanes)
                            p += 1


@functools.lru_cache(maxsize=8)
def selection(rows: bytes) -> tuple[Any, ...]:
    """The kept rows in the order in which the third pass comes by: their order, high bits, block, and ends by place."""
    kept = np.frombuffer(rows, dtype=np.int64)
    within = kept % SEGMENT
    order = np.argsort(within % BLOCK, kind="stable")
    ends = np.searchsorted((within % BLOCK)[order], np.arange(BLOCK), side="right")
    return order, kept[order] // SEGMENT, within[order] // BLOCK, ends


def aligned(count: int, dtype: Any) -> Any:
    """An array of so many numbers that starts with a line of the cache."""
    made = np.empty(count + LINE // dtype.itemsize, dtype=dtype)
    skip = -made.ctypes.data % LINE // dtype.itemsize
    return made[skip : skip + count]


def address_of(x: Any) -> int:
    return int(x.__array_interface__["data"][0])


def srht(parts: Any, rows: Any, key: Any, start: Any, *, size: int, aligned: bool) -> Any:
    """Override of ``sketch.srht``."""
    if any(part.dtype not in KINDS for part in parts):
        return NotImplemented
    chosen = selection(np.ascontiguousarray(rows, dtype=np.int64).tobytes())
    return tuple(sketch_part(part, chosen, key, int(start)) for part in parts)


def sketch_part(part: Any, chosen: tuple[Any, ...], key: Any, start: int) -> Any:
    order, high, low, ends = chosen
    n, width = part.shape[-2:]
    batch, m, lanes = part.shape[:-2], order.size, LINE // part.dtype.itemsize
    made = np.zeros((*batch, m, width), dtype=part.dtype)
    if part.size == 0 or m == 0:
        return made
    counts = BLOCK * lanes, BLOCK * lanes, min(GROUP, -(-width // lanes)) * HALVES * RADIX * (BLOCK + 1) * lanes, HALVES * RADIX * lanes, SPAN, HALVES * m
    buffers = tuple(aligned(count, part.dtype) for count in counts)
    strips = -(-width // lanes)
    out = aligned(strips * m * lanes, np.dtype(np.float64)).reshape(strips, m, lanes)
    words = np.uint64(int(Stream.SRHT_SIGNS)), np.uint64(key[0]), np.uint64(key[1])
    for member in np.ndindex(*batch):
        x = part[member]
        out[:] = 0
        settings = (address_of(x), *x.strides, n, width, start)
        sketch_segments(*settings, *words, high, low, ends, buffers, out)
        made[member][order] = out.transpose(1, 0, 2).reshape(m, strips * lanes)[:, :width]
    return made


def srht_lift(*args: Any, **settings: Any) -> Any:
    return NotImplemented
