"""numba kernels of the gradient of a sum of squares: A is read from memory once.

A panel of A that fits into a cache is read twice, the second time from there: first the residuals of all of its rows,
then what they add to the gradient, while the panel after it is fetched. One loop for both would wait for the sum of a
row before it could go on. The two passes are a product with the panel and one with its transpose, so a matrix whose
columns are contiguous takes the same two loops in the other order.

The inner loops are written in vectors of 64 bytes, eight rows at a time. A compiler unrolls the plain loops so far
that rows of a hundred numbers spend most of their time in what is left over. Here the last vector of a row ends with
the row, and the lanes that were seen before are zero. float32 sums a panel in float32 and adds panels up in float64.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import extending
from numba.core import cgutils as untyped
from numba.core import types

from . import thin
from .compiled import njit
from .vectors import Loop

__all__ = ["cgutils", "has_long_registers", "intrinsic", "locked", "prefetch", "residual_gradient", "turned_rows"]

intrinsic: Any = extending.intrinsic
cgutils: Any = untyped

CALLER = {"contract", "reassoc", "nsz", "arcp"}
FUSED = ("contract",)
SHORT, LONG = 1 << 18, 1 << 19  # bytes of a panel, by rows and by columns
TALL = 2048  # rows of a panel at most: float32 sums that are longer lose digits


def has_long_registers() -> bool:
    """Whether the processor has 32 registers of 64 bytes."""
    try:
        return bool(binding.get_host_cpu_features().get("avx512f", False))
    except RuntimeError:  # unknown to LLVM
        return False


ROWS = 8 if has_long_registers() else 4  # vectors of sums that registers can hold


class Block(Loop):
    """ROWS rows of a matrix, a vector of columns at a time: `width` entries apart, `count` long, from `at` on."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        super().__init__(context, builder, signature, args, 3)
        self.at, self.width, self.count = args[3:6]
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def number_of(self, value: int) -> Any:
        return ir.Constant(self.index, value)

    def rows(self) -> list[Any]:
        """Where the rows begin."""
        b, places = self.builder, [self.at]
        for _ in range(ROWS - 1):
            places.append(b.add(places[-1], self.width))
        return places

    def unseen(self) -> tuple[Any, Any]:
        """The column where the last vector begins, and the lanes of it that no whole vector before it held."""
        b, lanes = self.builder, self.lanes
        first = b.sub(self.count, self.number_of(lanes))
        seen = b.and_(b.neg(self.count), self.number_of(lanes - 1))
        whole = ir.VectorType(self.index, lanes)
        none = ir.Constant(whole, ir.Undefined)
        one = b.insert_element(none, seen, ir.Constant(ir.IntType(32), 0))
        same = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        everywhere = b.shuffle_vector(one, none, same)
        return first, b.icmp_unsigned(">=", ir.Constant(whole, list(range(lanes))), everywhere)

    def each_vector(self, whole: Any, last: Any) -> None:
        """``whole(j)`` for the columns j of whole vectors, then ``last(j, mask)`` where some columns are left."""
        b, step = self.builder, self.number_of(self.lanes)
        end = b.and_(self.count, self.number_of(-self.lanes))
        with cgutils.for_range_slice(b, self.number_of(0), end, step) as (j, _):
            whole(j)
        with b.if_then(b.icmp_unsigned("!=", end, self.count)):
            last(*self.unseen())

    def sums(self, vectors: list[Any]) -> Any:
        """One vector of the sums of the lanes of ROWS vectors: neighbours are added until one lane a row is left."""
        b = self.builder

        def neighbours(x: Any, y: Any, size: int) -> Any:
            def pick(first: int) -> Any:
                places = ir.Constant(ir.VectorType(ir.IntType(32), size), [2 * k + first for k in range(size)])
                return b.shuffle_vector(x, y, places)

            return b.fadd(pick(0), pick(1))

        size = self.lanes
        while len(vectors) > 1:
            vectors = [neighbours(x, y, size) for x, y in zip(vectors[::2], vectors[1::2], strict=True)]
        (x,) = vectors
        while size > ROWS:
            size //= 2
            x = neighbours(x, x, size)
        return x


def prefetch(builder: Any, pointer: Any) -> None:
    """Ask for the line of memory at `pointer`, which need not exist, into the second cache."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(ask, [builder.bitcast(pointer, byte), flag(0), flag(2), flag(1)])  # to read, data


@intrinsic
def block_dots(context, flat, v, out, at, width, count, i):  # type: ignore[no-untyped-def]
    """out[i + r] = sum_j M[r, j] v[j] for ROWS rows r."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = Block(context, builder, signature, args)
        sums = [cgutils.alloca_once_value(builder, block.zero) for _ in range(ROWS)]
        rows = block.rows()

        def add(j: Any, mask: Any = None) -> None:
            y = block.load(1, j)
            for place, total in zip(rows, sums, strict=True):
                x = block.load(0, builder.add(place, j))
                if mask is not None:
                    x = builder.select(mask, x, block.zero)
                term = builder.fmul(x, y if mask is None else builder.select(mask, y, block.zero), flags=FUSED)
                builder.store(builder.fadd(builder.load(total), term, flags=FUSED), total)

        block.each_vector(add, add)
        made = block.sums([builder.load(total) for total in sums])
        pointer = builder.bitcast(builder.gep(block.pointers[2], [args[6]]), made.type.as_pointer())
        stored = builder.store(made, pointer)
        stored.align = block.number.get_abi_size(context.target_data)
        return context.get_dummy_value()

    return types.void(flat, v, out, at, width, count, i), generate


@intrinsic
def block_mix(context, flat, v, out, at, width, count, i, ahead):  # type: ignore[no-untyped-def]
    """out[j] += sum_r M[r, j] v[i + r] over ROWS rows r; what lies `ahead` entries behind them is fetched."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = Block(context, builder, signature, args)
        rows, start, ahead = block.rows(), args[6], args[7]
        weights = [
            block.many(builder.load(builder.gep(block.pointers[1], [builder.add(start, block.number_of(r))])))
            for r in range(ROWS)
        ]

        def add(j: Any, mask: Any = None) -> None:
            old = block.load(2, j)
            halves = [old, block.zero]
            for r, (place, weight) in enumerate(zip(rows, weights, strict=True)):
                here = builder.add(place, j)
                term = builder.fmul(block.load(0, here), weight, flags=FUSED)
                halves[r % 2] = builder.fadd(halves[r % 2], term, flags=FUSED)
                prefetch(builder, block.address(0, builder.add(here, ahead)))
            made = builder.fadd(*halves, flags=FUSED)
            block.store(made if mask is None else builder.select(mask, made, old), 2, j)

        block.each_vector(add, add)
        return context.get_dummy_value()

    return types.void(flat, v, out, at, width, count, i, ahead), generate


@njit(fastmath=CALLER, cache=True)
def dots(flat, width, top, bottom, left, right, v, out):  # type: ignore[no-untyped-def]
    """out[i] = sum_j M[top + i, left + j] v[j]; M has `width` columns."""
    count, end, rows = numba.int64(right - left), numba.int64(bottom - top), numba.int64(ROWS)
    at, i = numba.int64(top * width + left), numba.int64(0)
    if count * flat.itemsize >= 64:
        while i + rows <= end:
            block_dots(flat, v, out, at, width, count, i)
            at += rows * width
            i += rows
    while i < end:
        s = flat.dtype.type(0.0)
        for j in range(count):
            s += flat[numba.uint64(at + j)] * v[numba.uint64(j)]
        out[numba.uint64(i)] = s
        at += width
        i += numba.int64(1)


@njit(fastmath=CALLER, cache=True)
def mix(flat, width, top, bottom, left, right, v, out, ahead):  # type: ignore[no-untyped-def]
    """out[j] = sum_i M[top + i, left + j] v[i]; the block `ahead` entries behind is fetched."""
    count, end, rows = numba.int64(right - left), numba.int64(bottom - top), numba.int64(ROWS)
    at, i = numba.int64(top * width + left), numba.int64(0)
    out[:count] = 0
    if count * flat.itemsize >= 64:
        while i + rows <= end:
            block_mix(flat, v, out, at, width, count, i, ahead)
            at += rows * width
            i += rows
    while i < end:
        y = v[numba.uint64(i)]
        for j in range(count):
            out[numba.uint64(j)] += flat[numba.uint64(at + j)] * y
        at += width
        i += numba.int64(1)


@njit(fastmath=CALLER, cache=True)
def sweep(flat, n, d, by_columns, x, b, size, gradient, square):  # type: ignore[no-untyped-def]
    """The sums of all panels of `size` rows: x (k, d); b (k, n), or (k, 0) for zero; float64 sums (k, d) and (k,)."""
    here, part = np.empty(size, dtype=flat.dtype), np.empty(d, dtype=flat.dtype)
    side = np.zeros(size, dtype=flat.dtype)  # of its own, so that sums do not hang on where b lies
    zero = numba.int64(0)
    for start in range(0, n, size):
        stop = min(start + size, n)
        for c in range(x.shape[0]):
            if by_columns:
                mix(flat, n, zero, d, start, stop, x[c], here, size)
            else:
                dots(flat, d, start, stop, zero, d, x[c], here)
            if b.shape[1]:
                side[: stop - start] = b[c, start:stop]
            total = 0.0
            for i in range(stop - start):
                r = side[i] - here[i]
                here[i] = r
                total += np.float64(r) * np.float64(r)
            square[c] += total
            if by_columns:
                dots(flat, n, zero, d, start, stop, here, part)
            else:
                mix(flat, d, start, stop, zero, d, here, part, size * d)
            for j in range(d):
                gradient[c, j] += part[j]


def residual_gradient(A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    """(A^T (b - A x), |b - A x|^2) in float64, for an A contiguous by rows or columns; x (d, k), b (n, k) or None."""
    (n, d), k = A.shape, x.shape[1]
    if k == 1 and 0 < d <= thin.WIDTH and n and b is not None and A.flags.c_contiguous:
        return thin.residual_gradient(A, x, b)
    by_columns = A.flags.f_contiguous and (d == 1 or not A.flags.c_contiguous)
    sides = np.empty((k, 0), dtype=A.dtype) if b is None else np.ascontiguousarray(b.T)
    gradient, square = np.zeros((k, d)), np.zeros(k)
    size = min(max(16, (LONG if by_columns else SHORT) // (A.itemsize * d) & ~7), TALL)
    flat = locked((A.T if by_columns else A).reshape(-1))
    sweep(flat, n, d, by_columns, np.array(x.T, order="C"), locked(sides), size, gradient, square)
    return gradient.T, square


def locked(x: Any) -> Any:
    """A view that may not be written: numba would compile once more for arrays that came so."""
    view = x.view()
    view.flags.writeable = False
    return view


@njit(cache=True)
def turn(flat, n, d, start, out):  # type: ignore[no-untyped-def]
    """out[i, j] = M[j, start + i], for M with n columns, eight rows of M at a time."""
    j = 0
    while j + 8 <= d:
        p = numba.uint64(j * n + start)
        for i in range(out.shape[0]):
            at = p + numba.uint64(i)
            for c in range(8):
                out[i, j + c] = flat[at + numba.uint64(c * n)]
        j += 8
    while j < d:
        for i in range(out.shape[0]):
            out[i, j] = flat[numba.uint64(j * n + start + i)]
        j += 1


def turned_rows(A: Any, start: int, out: Any) -> None:
    """Rows of A, stored by columns, from `start` on, into `out`, stored by rows; numpy copies number by number."""
    turn(locked(A.T.reshape(-1)), A.shape[0], A.shape[1], start, out)
