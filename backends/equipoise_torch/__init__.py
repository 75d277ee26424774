"""torch tensors: on the CPU they share memory with numpy and borrow its kernels; autograd gets rules, no loops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import array_api_compat.torch as xp
import numpy as np
import torch

from equipoise.backend import Backend, Eager, Everything
from equipoise.implicit import flatten_cotangents
from equipoise.record import fill, leaves, map_arrays

if TYPE_CHECKING:
    from .optimizer import PSGD
    from .quasimetric import IQE, PQE

__all__ = ["BACKEND", "IQE", "PQE", "PSGD"]

_MODULES = {"IQE": "quasimetric", "PQE": "quasimetric", "PSGD": "optimizer"}


def __getattr__(name: str) -> Any:
    """Modules for torch's users, imported when they are first asked for."""
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_wrapped: Callable[[torch.Tensor], bool] = torch._C._functorch.is_functorch_wrapped_tensor
_transforming: Callable[[], Any] = torch._C._functorch.peek_interpreter_stack  # the innermost transform of torch.func


class Torch(Eager):
    """Eager loops; derivatives by `torch.autograd.Function`."""

    kernels: Mapping[str, str] = {
        "array.index_sum": "equipoise_torch.arrays:index_sum",
        "array.normal_cdf": "equipoise_torch.arrays:normal_cdf",
        "array.row_sum": "equipoise_torch.arrays:row_sum",
        "array.running_maximum": "equipoise_torch.arrays:running_maximum",
        "array.solve_upper": "equipoise_torch.arrays:solve_upper",
        "linear.sor_red_black": "equipoise_torch.linear:packed_sweeps",
        "transport.apply": "equipoise_torch.transport:apply",
        "transport.log_sweeps": "equipoise_torch.transport:log_sweeps",
        "transport.marginals": "equipoise_torch.transport:marginals",
        "transport.soft_min": "equipoise_torch.transport:soft_min",
    }
    borrows: Collection[str] = Everything()

    def devices(self) -> Sequence[str]:
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        return (*found, "mps") if torch.backends.mps.is_available() else tuple(found)

    def threads(self) -> int:
        return torch.get_num_threads()

    def asarray(self, x: Any, device: Any, dtype: Any) -> torch.Tensor:
        kind = getattr(torch, str(dtype)) if dtype is not None and x.dtype.kind == "f" else None
        # torch cannot mark a tensor read-only, so memory that must not be written is copied
        return torch.as_tensor(x if x.flags.writeable else x.copy(), dtype=kind, device=device)

    def to_numpy(self, x: torch.Tensor) -> np.ndarray[Any, Any]:
        while _wrapped(x):
            if torch._C._functorch.is_batchedtensor(x):
                raise TypeError(
                    "values cannot be read under torch.func.vmap: pass the whole batch instead, as leading axes; "
                    "and pass chunk_size=1 to torch.func.jacrev"
                )
            x = torch._C._functorch.get_unwrapped(x)
        with torch._C._DisableFuncTorch():  # else every operation would wrap the tensor again
            x = x.detach().cpu()
            return (x.float() if x.dtype in _UNKNOWN_TO_NUMPY else x).numpy()

    def readable(self, x: torch.Tensor) -> bool:
        while _wrapped(x):
            if torch._C._functorch.is_batchedtensor(x):
                return False
            x = torch._C._functorch.get_unwrapped(x)
        return True

    def differentiable(self, arrays: Sequence[torch.Tensor]) -> bool:
        return (torch.is_grad_enabled() and any(x.requires_grad for x in arrays)) or any(map(_wrapped, arrays))

    def borrow(self, x: torch.Tensor) -> np.ndarray[Any, Any] | None:
        if x.device.type != "cpu" or x.layout != torch.strided or x.dtype in _UNKNOWN_TO_NUMPY or _wrapped(x):
            return None
        if not _transforming():
            return x.detach().resolve_neg().resolve_conj().numpy()
        with torch._C._DisableFuncTorch():  # else a plain tensor would be wrapped on the way
            return x.detach().resolve_neg().resolve_conj().numpy()

    def lend(self, x: np.ndarray[Any, Any], like: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(x, device=like.device)

    def check_every(self, x: torch.Tensor) -> int:
        return 1 if x.device.type == "cpu" else 10

    def with_vjp(
        self, fun: Callable[..., Any], vjp: Callable[..., Any], args: tuple[Any, ...], settings: Mapping[str, Any]
    ) -> Any:
        call = _Call(fun, vjp, args, settings)
        arrays = _Rule.apply(call, *leaves(args))  # type: ignore[no-untyped-call]
        return fill(call.out, arrays)

    def vjp_of(self, fun: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        everything = leaves(args)
        made: list[Any] = []
        free = [k for k, x in enumerate(everything) if x.is_floating_point()]  # whole numbers have no derivative

        def filled(arrays: Sequence[torch.Tensor], rest: Sequence[torch.Tensor]) -> tuple[Any, ...]:
            values = list(rest)
            for k, x in zip(free, arrays, strict=True):
                values[k] = x
            return fill(args, values)

        def flat(*arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
            made[:] = [fun(*filled(arrays, everything))]
            return tuple(leaves(made[0]))

        out: Any
        pull: Any
        out, pull = torch.func.vjp(  # type: ignore[misc]  # a third value only with has_aux
            flat, *(everything[k] for k in free)
        )

        def pull_tree(cotangent: Any) -> tuple[Any, ...]:
            nothing = [torch.zeros_like(x) for x in everything]
            return filled(pull(tuple(leaves(cotangent))), nothing)

        return fill(made[0], out), pull_tree

    def stop_gradient(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()


_UNKNOWN_TO_NUMPY = {torch.bfloat16}


class _Call:
    """One application of a rule: what `torch` cannot carry through itself."""

    def __init__(
        self, fun: Callable[..., Any], vjp: Callable[..., Any], args: tuple[Any, ...], settings: Mapping[str, Any]
    ) -> None:
        self.fun, self.vjp, self.args, self.settings = fun, vjp, args, settings
        self.out: Any = None


def _distinct(outputs: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The outputs, a copy for what was there already: autograd keeps one cotangent an object."""
    seen = {id(x) for x in inputs}
    made = []
    for x in outputs:
        made.append(x.clone() if id(x) in seen else x)
        seen.add(id(x))
    return tuple(made)


class _Rule(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(call: _Call, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        call.out = call.fun(*fill(call.args, arrays), **call.settings)
        return _distinct(leaves(call.out), arrays)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        call, *arrays = inputs
        ctx.call, ctx.count = call, len(arrays)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(x for x in output if not x.is_floating_point()))
        ctx.save_for_backward(*arrays, *output)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[Any, ...]:
        call: _Call = ctx.call
        if all(c is None for c in cotangents):
            return (None,) * (1 + ctx.count)
        saved = ctx.saved_tensors
        args, out = fill(call.args, saved[: ctx.count]), fill(call.out, saved[ctx.count :])
        rest = iter(cotangents)
        bars = call.vjp(map_arrays(lambda _: next(rest), out), out, args, **call.settings)
        return (None, *flatten_cotangents(args, bars))


BACKEND: Backend = Torch("torch", xp)
