"""What kernels share that take a tall matrix by strips of columns: its memory, by address, whatever its layout.

A kernel that takes an address and two strides is compiled once, and not again for row-major, column-major, strided and
read-only arrays. The caller keeps the array alive. Rows that are contiguous are read where they are; others, and the
last columns, are copied a block at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .compiled import njit
from .exponential import CALLER
from .vectors import Loop

__all__ = ["KINDS", "LINE", "address_of", "ask", "emitted", "fill_block", "from_address", "on_a_line"]

KINDS = (np.dtype(np.float64), np.dtype(np.float32))
LINE = 64  # bytes
emitted: Any = intrinsic  # whose types count the arguments of the generator
AHEAD = 8  # rows of a column that lie in one line


def from_address(loop: Loop, address: Any) -> int:
    """A further array of the loop, at an address."""
    loop.pointers.append(loop.builder.inttoptr(address, loop.number.as_pointer()))
    return len(loop.pointers) - 1


@emitted
def prefetch(context, address):  # type: ignore[no-untyped-def]
    """Ask for the line at an address in the second-level cache; it may lie anywhere."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        call = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", (byte,), call)
        builder.call(fetch, [builder.inttoptr(args[0], byte), *(ir.Constant(flag, k) for k in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@emitted
def number(context, x, address):  # type: ignore[no-untyped-def]
    """The number at an address, of the dtype of `x`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.args[0].dtype)
        return builder.load(builder.inttoptr(args[1], kind.as_pointer()))

    return x.dtype(x, types.int64), generate


@njit(cache=True, fastmath=CALLER)
def fill_block(address, down, across, low, high, width, lanes, out):  # type: ignore[no-untyped-def]
    """Rows low to high of a block, the strip's `width` columns of them, and zeros elsewhere."""
    out[:] = 0
    if abs(down) < abs(across):
        for c in range(width):
            for r in range(low, high, AHEAD):
                prefetch(address + (r + high - low) * down + c * across)
            for r in range(low, high):
                out[r * lanes + c] = number(out, address + r * down + c * across)
    else:
        for r in range(low, high):
            for c in range(width):
                out[r * lanes + c] = number(out, address + r * down + c * across)


@njit(cache=True)
def ask(address, down, line, lines, count):  # type: ignore[no-untyped-def]
    """Prefetch the lines from number `line` on of rows that have so many."""
    row, line = line // lines, line % lines
    for _ in range(count):
        prefetch(address + row * down + line * LINE)
        line += 1
        if line == lines:
            row, line = row + 1, 0


def on_a_line(count: int, dtype: Any) -> Any:
    """An array of so many numbers that starts with a line of the cache."""
    made = np.empty(count + LINE // dtype.itemsize, dtype=dtype)
    skip = -address_of(made) % LINE // dtype.itemsize
    return made[skip : skip + count]


def address_of(x: Any) -> int:
    """Where the first number of `x` is: kernels that take addresses are compiled once for all layouts."""
    return int(x.__array_interface__["data"][0])
