"""jax arrays: the loop is ``lax.while_loop``, bodies are compiled once, records are pytrees, rules are ``custom_vjp``.

Concrete arrays on the CPU are seen by numpy without a copy; kernels that were measured to beat XLA there are borrowed
by name.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.tree_util import GetAttrKey, register_pytree_with_keys

from equipoise.backend import Backend, Eager, unlocked
from equipoise.implicit import flatten_cotangents
from equipoise.iterate import Iterated, Options, python_loop
from equipoise.record import fill, leaves, map_arrays, parts, rebuild, watch
from equipoise.result import History, Status

if TYPE_CHECKING:
    from .optimizer import psgd

__all__ = ["BACKEND", "psgd"]


def __getattr__(name: str) -> Any:
    """What needs optax, imported when it is first asked for."""
    if name == "psgd":
        return import_module(".optimizer", __name__).psgd
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Jax(Eager):
    """Compiled loops and bodies; nothing is read on the host under a transformation."""

    kernels: Mapping[str, str] = {
        "array.index_sum": "equipoise_jax.arrays:index_sum",
        "array.normal_cdf": "equipoise_jax.arrays:normal_cdf",
        "array.row_sum": "equipoise_jax.arrays:row_sum",
        "array.running_maximum": "equipoise_jax.arrays:running_maximum",
        "array.solve_upper": "equipoise_jax.arrays:solve_upper",
    }
    borrows: Collection[str] = frozenset(
        {
            "linear.cg",
            "linear.sor",
            "linear.sor_red_black",
            "linear.ssor_begin",
            "linear.ssor_cg",
            "monotone.forb_chunk",
            "monotone.game_chunk",
            "monotone.page_chunk",
            "monotone.program_chunk",
            "monotone.project_l1",
            "monotone.project_simplex",
            "monotone.vreg_chunk",
            "operators.csr_product",
            "precondition.dense_eq_sweep",
            "precondition.dense_quad_sweep",
            "precondition.low_rank_sweep",
            "quasimetric.iqe",
            "quasimetric.iqe_grad",
            "quasimetric.iqe_pairwise",
            "quasimetric.iqe_pairwise_grad",
            "quasimetric.pqe",
            "quasimetric.pqe_grad",
            "quasimetric.pqe_pairwise",
            "quasimetric.pqe_pairwise_grad",
            "sketch.gram",
            "sketch.judge",
            "sketch.least_squares",
            "sketch.residual_gradient",
            "sketch.row_squares",
            "sketch.sparse_sign",
            "sketch.sparse_sign_entries",
            "sketch.sparse_sign_lift",
            "sketch.srht",
            "sketch.srht_lift",
            "transport.apply",
            "transport.barycenter_start",
            "transport.barycenter_sweeps",
            "transport.exponent_sum",
            "transport.kernel_sweeps",
            "transport.log_sweeps",
            "transport.marginals",
            "transport.newton_direction",
            "transport.newton_look",
            "transport.pull",
            "transport.quantile_cost",
            "transport.quantile_slopes",
            "transport.soft_min",
        }
    )

    def devices(self) -> Sequence[str]:
        return tuple(f"{d.platform}:{d.id}" for d in jax.devices())

    def threads(self) -> int:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def asarray(self, x: Any, device: Any, dtype: Any) -> jax.Array:
        kind = np.dtype(dtype) if dtype is not None and x.dtype.kind == "f" else x.dtype
        if kind in _WIDE and not _x64():
            if kind.kind == "f":
                raise TypeError(
                    "jax holds no float64 unless it is enabled: call jax.config.update('jax_enable_x64', True) first, "
                    "or compute in float32 with `with equipoise.backend('jax', dtype='float32')`"
                )
            kind = _narrow(x)
        if isinstance(device, str):
            platform, _, number = device.partition(":")
            device = jax.devices("gpu" if platform == "cuda" else platform)[int(number or 0)]
        return jax.device_put(np.array(x, dtype=kind), device)  # a copy: device_put may alias what it is given

    def to_numpy(self, x: jax.Array) -> np.ndarray[Any, Any]:
        return np.asarray(x)

    def traced(self, arrays: Sequence[Any]) -> bool:
        return any(isinstance(x, jax.core.Tracer) for x in arrays)

    def differentiable(self, arrays: Sequence[Any]) -> bool:
        return self.traced(arrays)

    def borrow(self, x: jax.Array) -> np.ndarray[Any, Any] | None:
        if isinstance(x, jax.core.Tracer) or x.dtype == jnp.bfloat16:
            return None
        if isinstance(x, np.ndarray):  # as cotangents may come
            return x
        (device, *others) = x.devices()
        if device.platform != "cpu" or others:
            return None
        view = np.asarray(x)
        return unlocked(view, x.unsafe_buffer_pointer(), x) if view.size else view

    def lend(self, x: np.ndarray[Any, Any], like: jax.Array) -> jax.Array:
        with jax.ensure_compile_time_eval():  # what is known stays known under a transformation
            return jnp.array(x, dtype=jax.dtypes.canonicalize_dtype(x.dtype))  # counts and times follow jax's width

    def run(self, body: Callable[..., Any], args: tuple[Any, ...], settings: Mapping[str, Any]) -> Any:
        if self.traced(leaves(args)):
            return body(*args, **settings)
        return _compiled(body, tuple(sorted(settings.items())))(*args)

    def repeat(self, step: Callable[..., Any], state: Any, data: Any, count: Any) -> Any:
        if self.traced(leaves((state, data, count))):
            return lax.fori_loop(0, count, lambda _, s: step(s, data), state)
        return _repeated(step)(state, data, count)

    def loop(self, advance: Callable[..., Any], state: Any, data: Any, options: Options) -> Iterated:
        traced = self.traced(leaves((state, data, options.aim)))
        if traced and options.callback is not None:
            raise TypeError(f"{options.method}: a callback needs values, and under a jax transformation there are none")
        if options.listening and not traced:
            return python_loop(self, _compiled(advance, ()), state, data, options)
        keys: dict[str, Any] = {"check_every": options.check_every, "halt": options.halt, "patience": options.patience}
        rows = -(-options.max_steps // options.check_every) + 1 if options.history else 0
        run = _while if traced else _while_compiled
        return run(state, data, options.aim, options.max_steps, advance=advance, rows=rows, **keys)

    def by_panels(self, body: Callable[..., Any], rows: tuple[Any, ...], size: int) -> Any:
        n = rows[0].shape[-2]
        if n <= size or not self.traced(rows):
            return super().by_panels(body, rows, size)
        count = -(-n // size)  # as few panels as may be, of equal size: little is added to fill up the last one
        size = -(-n // count)

        def cut(x: Any) -> Any:
            spare = [(0, 0)] * (x.ndim - 2) + [(0, count * size - n), (0, 0)]
            filled = jnp.pad(x, spare, mode="edge")
            return jnp.moveaxis(filled.reshape(*x.shape[:-2], count, size, x.shape[-1]), -3, 0)

        made = jnp.moveaxis(lax.map(lambda panel: body(*panel), tuple(map(cut, rows))), 0, -3)
        return made.reshape(*made.shape[:-3], count * size, made.shape[-1])[..., :n, :]

    def put(self, x: Any, start: Any, piece: Any) -> Any:
        return lax.dynamic_update_slice_in_dim(x, piece, start[0], axis=-1)

    def matmul(self, x: Any, y: Any) -> Any:
        return jnp.matmul(x, y, precision="highest")

    def with_vjp(
        self, fun: Callable[..., Any], vjp: Callable[..., Any], args: tuple[Any, ...], settings: Mapping[str, Any]
    ) -> Any:
        # Whole numbers that are known stay known: a pattern is read on the host, and has no derivative.
        everything = leaves(args)
        free = [k for k, x in enumerate(everything) if isinstance(x, jax.core.Tracer) or not _is_whole(x)]

        def filled(arrays: Sequence[Any]) -> tuple[Any, ...]:
            values = list(everything)
            for k, x in zip(free, arrays, strict=True):
                values[k] = x
            return fill(args, values)

        @jax.custom_vjp
        def call(*arrays: Any) -> Any:
            return fun(*filled(arrays), **settings)

        def forward(*primals: Any) -> Any:
            arrays = [jnp.asarray(primal.value) for primal in primals]  # a number may stand for an array
            out = call(*arrays)
            return out, (arrays, out)

        def backward(saved: Any, cotangents: Any) -> tuple[Any, ...]:
            arrays, out = saved
            rest = iter(_present(jax.tree.leaves(cotangents, is_leaf=lambda c: isinstance(c, SymbolicZero))))
            tree = filled(arrays)
            bars = flatten_cotangents(tree, vjp(map_arrays(lambda _: next(rest), out), out, tree, **settings))
            return tuple(bars[k] for k in free)

        call.defvjp(forward, backward, symbolic_zeros=True)
        return call(*(everything[k] for k in free))

    def vjp_of(self, fun: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        return jax.vjp(fun, *args)

    def stop_gradient(self, x: Any) -> Any:
        return lax.stop_gradient(x)


def _x64() -> bool:
    return bool(jax.config.read("jax_enable_x64"))  # type: ignore[no-untyped-call]


_WIDE = {np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.uint64)}


def _narrow(x: np.ndarray[Any, Any]) -> np.dtype[Any]:
    kind = np.dtype(np.int32 if x.dtype == np.int64 else np.uint32)
    if x.size and (x.max() > np.iinfo(kind).max or x.min() < np.iinfo(kind).min):
        raise TypeError(f"jax without 64-bit numbers cannot hold these {x.dtype} values; enable jax_enable_x64")
    return kind


def _is_whole(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.integer)) or x.dtype == jnp.bool_


def _present(cotangents: list[Any]) -> list[Any]:
    """None for a cotangent that nobody used, or of an integer output."""
    return [None if isinstance(c, SymbolicZero) or c.dtype == jax.dtypes.float0 else c for c in cotangents]


@functools.cache
def _compiled(body: Callable[..., Any], settings: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(functools.partial(body, **dict(settings)))


@functools.cache
def _repeated(step: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(lambda state, data, count: lax.fori_loop(0, count, lambda _, s: step(s, data), state))


def _while(
    state: Any,
    data: Any,
    tol: Any,
    max_steps: Any,
    *,
    advance: Callable[..., Any],
    check_every: int,
    halt: Callable[..., Any] | None,
    patience: int | Callable[[Any], Any] | None,
    rows: int,
) -> Iterated:
    """The loop of :func:`equipoise.iterate.python_loop`, as one ``lax.while_loop``."""

    def examine(state: Any, error: Any, steps: Any, code: Any, memory: Any, taken: Any) -> tuple[Any, Any]:
        """The codes of those that end here for another reason than convergence."""
        active = (error > tol) & (code == 0)
        if halt is not None:
            code = jnp.where(active, halt(state, data), code)
        if patience is not None:
            best, best_at = memory
            memory = jnp.fmin(error, best), jnp.where(error < best, steps, best_at)
            allowed = patience(state) if callable(patience) else patience
            stalled = (steps - memory[1] >= jnp.maximum(allowed, memory[1] // 2)) & (jnp.asarray(tol) > 0)
            code = jnp.where(active & (code == 0) & stalled, int(Status.STALLED), code)
        out_of_steps = active & (code == 0) & (taken >= max_steps)
        return jnp.where(out_of_steps, int(Status.MAX_STEPS), code).astype(jnp.int32), memory

    def going(carry: Any) -> Any:
        _, error, _, code, *_ = carry
        return jnp.any((error > tol) & (code == 0))

    def body(carry: Any) -> Any:
        state, error, steps, code, memory, taken, row, table = carry
        active = (error > tol) & (code == 0)
        limit = jnp.minimum(check_every, max_steps - taken)
        new, done, fresh = advance(state, data, limit, tol)

        def choose(n: Any, o: Any) -> Any:
            return jnp.where(jnp.reshape(active, active.shape + (1,) * (n.ndim - active.ndim)), n, o)

        state = map_arrays(choose, new, state) if active.ndim else new
        error = jnp.where(active, fresh, error)
        steps = steps + jnp.where(active, done, 0).astype(steps.dtype)
        taken = jnp.max(steps)
        table = note(table, row, taken, error)
        code, memory = examine(state, error, steps, code, memory, taken)
        return state, error, steps, code, memory, taken, row + 1, table

    def note(table: Any, row: Any, taken: Any, error: Any) -> Any:
        if not rows:
            return None
        return table.at[row].set(jnp.stack([taken.astype(table.dtype), jnp.max(error)]))

    error = advance(state, data, 0, tol)[2]
    steps = jnp.zeros(error.shape, dtype=jnp.int32)
    taken = jnp.zeros((), dtype=jnp.int32)
    table = note(jnp.full((rows, 2), jnp.nan, dtype=error.dtype), 0, taken, error)
    memory = None if patience is None else (error, steps)
    code, memory = examine(state, error, steps, jnp.zeros(error.shape, dtype=jnp.int32), memory, taken)
    carry = (state, error, steps, code, memory, taken, jnp.ones((), dtype=jnp.int32), table)
    state, error, steps, code, _, _, _, table = lax.while_loop(going, body, carry)
    history = History(table[:, 0], table[:, 1], 0 * table[:, 0]) if rows else None
    return Iterated(state, error, steps, code, history)


_while_compiled = jax.jit(_while, static_argnames=("advance", "check_every", "halt", "patience", "rows"))


def _register(cls: type) -> None:
    """Make a record class a pytree: data are its children, settings its auxiliary data."""
    names = cls._data  # type: ignore[attr-defined]

    def flatten_with_keys(x: Any) -> tuple[Any, Any]:
        data, settings = parts(x)
        return tuple(zip(map(GetAttrKey, names), data, strict=True)), settings

    register_pytree_with_keys(
        cls, flatten_with_keys, lambda settings, data: rebuild(cls, tuple(data), settings), flatten_func=parts
    )


watch(_register)
BACKEND: Backend = Jax("jax", jnp)
