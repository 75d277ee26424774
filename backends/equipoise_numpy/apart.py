"""Access to arrays that are known not to overlap, for loops over too many arrays for the compiler to check.

A loop that writes to an array and reads others becomes a loop over vector registers only if none of the reads can meet
a write. The compiler checks that at run time, for a few pairs of arrays and at a cost for every run of a loop; the
runs of a grid are many and short. Here each access names its array by a constant, and accesses of different constants
are promised to be to different memory.

The promise holds for a whole compiled function, with all that is compiled into it: a module gives each of its arrays
one number and keeps to it. None in the place of a number promises nothing. Indices are neither checked nor wrapped.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

__all__ = ["load", "store"]

ARRAYS = 12  # more than any loop has


def scopes(module: Any, numbers: Any) -> Any:
    domain = module.add_metadata(["equipoise"])
    return module.add_metadata([module.add_metadata([f"array {k}", domain]) for k in numbers])


def mark(builder: Any, access: Any, number: Any) -> None:
    """Promise what the number says; None promises nothing."""
    if isinstance(number, types.NoneType):
        return
    number = number.literal_value
    access.set_metadata("alias.scope", scopes(builder.module, [number]))
    access.set_metadata("noalias", scopes(builder.module, [k for k in range(ARRAYS) if k != number]))


def place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    return builder.gep(make_array(kind)(context, builder, array).data, [index])  # type: ignore[no-untyped-call]


def declared(typing: Any) -> Any:
    return intrinsic(prefer_literal=True)(typing)


@declared
def load(context: Any, x: Any, i: Any, number: Any) -> Any:
    """``x[i]`` of the array with this number, one-dimensional and contiguous."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(place(context, builder, signature.args[0], *args[:2]))
        mark(builder, value, number)
        return value

    return x.dtype(x, types.intp, number), generate


@declared
def store(context: Any, x: Any, i: Any, value: Any, number: Any) -> Any:
    """``x[i] = value``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        written = builder.store(args[2], place(context, builder, signature.args[0], *args[:2]))
        mark(builder, written, number)
        return context.get_dummy_value()

    return types.void(x, types.intp, x.dtype, number), generate
