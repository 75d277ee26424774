"""The loop over a run of a grid, written in vectors of 64 bytes.

What a compiler makes of the plain loop loads each neighbour by itself, half of those along the row across two lines of
the cache, and ends in a loop over single numbers, which is where short runs spend their time. Here the two neighbours
along a row are one load, shifted by one against that of the iteration before, and the last vector is masked: what it
holds beyond the run is loaded, and stored as it was. So arrays must go on for two vectors after the last run.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

__all__ = ["run_of"]

FUSED = ("contract",)
APART, BEFORE, AFTER = 0, 1, 2  # neighbours along the row in two loads; a shift of the vector before; of that after


class Loop:
    """The loop over one run under construction."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any, count: int) -> None:
        self.context, self.builder = context, builder
        self.pointers = [
            context.make_array(kind)(context, builder, x).data
            for kind, x in zip(signature.args[:count], args, strict=False)
        ]
        self.number = context.get_value_type(signature.args[0].dtype)
        self.lanes = 64 // (signature.args[0].dtype.bitwidth // 8)
        self.vector = ir.VectorType(self.number, self.lanes)
        self.index = ir.IntType(64)

    def many(self, value: Any) -> Any:
        """A number in every lane."""
        b, none = self.builder, ir.Constant(self.vector, ir.Undefined)
        one = b.insert_element(none, value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return b.shuffle_vector(one, none, zeros)

    def address(self, array: int, place: Any) -> Any:
        pointer = self.builder.gep(self.pointers[array], [place])
        return self.builder.bitcast(pointer, self.vector.as_pointer())

    def load(self, array: int, place: Any) -> Any:
        made = self.builder.load(self.address(array, place))
        made.align = self.number.get_abi_size(self.context.target_data)
        return made

    def store(self, value: Any, array: int, place: Any) -> None:
        made = self.builder.store(value, self.address(array, place))
        made.align = self.number.get_abi_size(self.context.target_data)

    def shifted(self, low: Any, high: Any, by: int) -> Any:
        """The lanes from `by` on of two vectors in a row."""
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), list(range(by, by + self.lanes)))
        return self.builder.shuffle_vector(low, high, lanes)

    def total(self, x: Any) -> Any:
        """The sum of the lanes."""
        b, width = self.builder, self.lanes
        while width > 1:
            width //= 2
            lanes = [k + width if k < width else k for k in range(self.lanes)]
            turned = b.shuffle_vector(x, x, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), lanes))
            x = b.fadd(x, turned)
        return b.extract_element(x, ir.Constant(ir.IntType(32), 0))


def run_of(axes: int, fields: bool, side: int) -> Any:
    """The intrinsic ``f(x, b, [d, w0, ...], p, m, a0, ..., [w0, ..., d], f)``: the sum of squares of b - A x on a run.

    x + f (b - A x) is stored, with fields x + f (b - A x) / d. Places come as unsigned numbers.
    """
    arrays = 2 + (1 + axes if fields else 0)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loop = Loop(context, builder, signature, args, arrays)
        p, m, *near = args[arrays : arrays + 2 + 2 * axes]
        scalars = [loop.many(v) for v in args[arrays + 2 + 2 * axes :]]
        factor = scalars[-1]
        lanes, zero = ir.Constant(loop.index, loop.lanes), ir.Constant(loop.index, 0)
        nothing = ir.Constant(loop.vector, [0.0] * loop.lanes)
        low, high = near[-2], near[-1]
        if side == BEFORE:
            carried = loop.load(0, builder.sub(high, lanes))
        elif side == AFTER:
            carried = loop.load(0, low)
        else:
            carried = nothing

        def residual(k: Any, carried: Any) -> tuple[Any, Any, Any, Any]:
            """b - A x of one vector, x, the diagonal, and what the next vector needs of this one."""
            at = [builder.add(a, k) for a in near]
            own = builder.add(p, k)
            sides = [loop.load(0, a) for a in at[:-2]]
            if side == BEFORE:
                here = loop.load(0, at[-1])
                sides += [loop.shifted(carried, here, loop.lanes - 1), here]
                carried = here
            elif side == AFTER:
                after = loop.load(0, builder.add(at[-2], lanes))
                sides += [carried, loop.shifted(carried, after, 1)]
                carried = after
            else:
                sides += [loop.load(0, a) for a in at[-2:]]
            r, x = loop.load(1, own), loop.load(0, own)
            for axis in range(axes):
                one, other = sides[2 * axis : 2 * axis + 2]
                if fields:
                    r = builder.fadd(r, builder.fmul(loop.load(3 + axis, own), one, flags=FUSED), flags=FUSED)
                    weight = loop.load(3 + axis, at[2 * axis + 1])
                    r = builder.fadd(r, builder.fmul(weight, other, flags=FUSED), flags=FUSED)
                else:
                    r = builder.fadd(r, builder.fmul(scalars[axis], builder.fadd(one, other), flags=FUSED), flags=FUSED)
            d = loop.load(2, own) if fields else scalars[axes]
            r = builder.fsub(r, builder.fmul(d, x, flags=FUSED), flags=FUSED)
            return r, x, d, carried

        def moved(r: Any, x: Any, d: Any) -> Any:
            step = builder.fmul(factor, r, flags=FUSED)
            return builder.fadd(x, builder.fdiv(step, d) if fields else step, flags=FUSED)

        start = builder.block
        body = builder.append_basic_block("run.body")
        tail = builder.append_basic_block("run.tail")
        part = builder.append_basic_block("run.part")
        end = builder.append_basic_block("run.end")
        whole = builder.and_(m, ir.Constant(loop.index, -loop.lanes))
        builder.cbranch(builder.icmp_unsigned(">", whole, zero), body, tail)

        builder.position_at_end(body)
        k, total, held = builder.phi(loop.index), builder.phi(loop.vector), builder.phi(loop.vector)
        r, x, d, new_held = residual(k, held)
        new_total = builder.fadd(total, builder.fmul(r, r, flags=FUSED), flags=FUSED)
        loop.store(moved(r, x, d), 0, builder.add(p, k))
        next_k = builder.add(k, lanes)
        for phi, first, later in ((k, zero, next_k), (total, nothing, new_total), (held, carried, new_held)):
            phi.add_incoming(first, start)
            phi.add_incoming(later, body)
        builder.cbranch(builder.icmp_unsigned("<", next_k, whole), body, tail)

        builder.position_at_end(tail)
        so_far, hold = builder.phi(loop.vector), builder.phi(loop.vector)
        for phi, first, later in ((so_far, nothing, new_total), (hold, carried, new_held)):
            phi.add_incoming(first, start)
            phi.add_incoming(later, body)
        left = builder.sub(m, whole)
        builder.cbranch(builder.icmp_unsigned(">", left, zero), part, end)

        builder.position_at_end(part)
        kind = ir.IntType(32)
        numbers = ir.Constant(ir.VectorType(kind, loop.lanes), list(range(loop.lanes)))
        none = ir.Constant(ir.VectorType(kind, loop.lanes), ir.Undefined)
        limit = builder.insert_element(none, builder.trunc(left, kind), ir.Constant(kind, 0))
        limit = builder.shuffle_vector(limit, none, ir.Constant(ir.VectorType(kind, loop.lanes), [0] * loop.lanes))
        mask = builder.icmp_signed("<", numbers, limit)
        r, x, d, _ = residual(whole, hold)
        loop.store(builder.select(mask, moved(r, x, d), x), 0, builder.add(p, whole))
        r = builder.select(mask, r, nothing)
        with_part = builder.fadd(so_far, builder.fmul(r, r, flags=FUSED), flags=FUSED)
        builder.branch(end)

        builder.position_at_end(end)
        result = builder.phi(loop.vector)
        result.add_incoming(so_far, tail)
        result.add_incoming(with_part, part)
        return loop.total(result)

    # an intrinsic's arguments are told by name
    names = ["x", "b", *(["d", "w0", "w1", "w2"][: 1 + axes] if fields else []), "p", "m"]
    names += [f"a{k}" for k in range(2 * axes)] + ([] if fields else [f"c{k}" for k in range(axes + 1)]) + ["f"]
    space: dict[str, Any] = {"generate": generate, "types": types}
    listed = ", ".join(names)
    places = names.index("p"), names.index("p") + 2 + 2 * axes
    code = f"def run(context, {listed}):\n"
    code += f"    given = [{listed}]\n"
    code += f"    given[{places[0]}:{places[1]}] = [types.uint64] * {places[1] - places[0]}\n"
    code += f"    given[{places[1]}:] = [x.dtype] * {len(names) - places[1]}\n"
    code += "    return x.dtype(*given), generate\n"
    exec(code, space)
    return intrinsic(space["run"])
