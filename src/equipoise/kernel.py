"""Kernels: portable bodies of hot steps that a backend may replace.

``@kernel(name)`` marks a function written against the Array API. It is the specification; a backend's table may name an
override of it, which is held to the body by a test. The dispatch, in this order: the backend's own override; numpy's,
if the backend borrows it and every array is a plain host array; the body. An override declines a call by returning
``NotImplemented``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic, ParamSpec, TypeVar

from .arrays import library
from .backend import Backend, _portable, find, of_library
from .record import fill, leaves, map_arrays

__all__ = ["Kernel", "kernel", "kernels", "on_host"]

P = ParamSpec("P")
R = TypeVar("R")

_kernels: dict[str, Kernel[..., Any]] = {}


def kernel(name: str, *, vjp: Callable[..., Any] | None = None) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Mark a portable body as a kernel that backends may override.

    Positional arguments are trees: arrays, records, tuples, numbers. Keyword-only ones are hashable settings. A
    kernel never writes its inputs and does a chunk of work: a whole sweep, or all the steps between two checks.

    Parameters
    ----------
    name
        ``"family.step"``, the key in the backends' tables.
    vjp
        ``vjp(cotangent, out, args, **settings)`` with one cotangent a positional argument, or None for zero. With it,
        arrays that want a derivative do not stop an override from running; without it they are traced through the
        body.
    """

    def mark(body: Callable[P, R]) -> Kernel[P, R]:
        made: Kernel[P, R] = Kernel(name, body, vjp)
        _kernels[name] = made
        return made

    return mark


def kernels() -> dict[str, Kernel[..., Any]]:
    """Every kernel that has been defined so far, by name."""
    return dict(_kernels)


@functools.cache
def override(backend: Backend, name: str) -> Callable[..., Any] | None:
    """The function that `backend` puts in the place of the kernel `name`, if any."""
    place = backend.kernels.get(name)
    if place is None:
        return None
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)


class Kernel(Generic[P, R]):
    """A portable body and what replaces it: call it like the body."""

    def __init__(self, name: str, body: Callable[P, R], vjp: Callable[..., Any] | None) -> None:
        functools.update_wrapper(self, body)
        self.name, self.body, self.vjp = name, body, vjp

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def __call__(self, *args: P.args, **settings: P.kwargs) -> R:
        backend = of_library(_first_library(args))
        if backend.name != "numpy" and backend.differentiable(leaves(args)):
            if self.vjp is None:
                return self.body(*args, **settings)
            return backend.with_vjp(functools.partial(self.plain, backend), self.vjp, args, settings)
        return self.plain(backend, *args, **settings)

    def overridden(self, backend: Backend) -> bool:
        """Whether `backend` has an override of its own, now."""
        return not _portable.get() and override(backend, self.name) is not None

    def plain(self, backend: Backend, *args: Any, **settings: Any) -> Any:
        """The call without derivatives: an override, a borrowed one, or the body."""
        if not _portable.get():
            own = override(backend, self.name)
            if own is not None:
                out = own(*args, **settings)
                if out is not NotImplemented:
                    return out
            lent = self.borrowed(backend, args)
            if lent is not None:
                host = override(find("numpy"), self.name)
                out = host(*lent, **settings) if host is not None else NotImplemented
                if out is not NotImplemented:
                    return lend(backend, out, args)
        return backend.run(self.body, args, settings)

    def borrowed(self, backend: Backend, tree: Any) -> Any:
        """`tree` as numpy views, if `backend` borrows numpy's override of this kernel and every array has a view."""
        if backend.name == "numpy" or _portable.get() or self.name not in backend.borrows:
            return None
        if override(find("numpy"), self.name) is None:
            return None
        views = [backend.borrow(x) for x in leaves(tree)]
        return None if any(view is None for view in views) else fill(tree, views)


def on_host(hot: Kernel[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run a whole solve on numpy views where its hot kernel would be borrowed anyway.

    Borrowing costs some microseconds an array, and small operations between the kernels cost more on torch and jax
    than on numpy: so a solver borrows its arguments once and lends its results once. Where arrays have no free view,
    are traced or want a derivative, it runs as it stands.
    """

    def mark(solve: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(solve)
        def wrapper(*args: P.args, **settings: P.kwargs) -> R:
            backend = of_library(_first_library(args))
            if backend.name == "numpy" or backend.differentiable(leaves(args)):
                return solve(*args, **settings)
            views: Any = hot.borrowed(backend, args)
            if views is None:
                return solve(*args, **settings)
            return lend(backend, solve(*views, **settings), args)

        return wrapper

    return mark


def lend(backend: Backend, out: Any, tree: Any) -> Any:
    """`out`, a tree of numpy arrays, as arrays of `backend` beside those of `tree`."""
    beside = leaves(tree)[0]
    return map_arrays(lambda x: backend.lend(x, beside), out)


def _first_library(args: Any) -> str:
    for x in args:
        name = library(x)
        if name:
            return name
        if isinstance(x, (tuple, list)):
            name = _first_library(x)
        elif hasattr(x, "_data"):
            name = _first_library([getattr(x, field) for field in x._data])
        if name:
            return name
    return ""
