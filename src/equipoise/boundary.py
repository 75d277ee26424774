"""The boundary: ``@public`` moves arrays in where a context asks for it, and results out again.

Outside of every context it is one look at a context variable. Inside, numpy arrays are moved in, alone or in records,
tuples, lists, dicts and iterators; the body runs with the context off; results go back to numpy if every array came as
numpy. An input that comes back in a result is the original object.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .arrays import library
from .backend import Setting, current
from .guide import point
from .record import leaves, map_arrays

__all__ = ["public"]

P = ParamSpec("P")
R = TypeVar("R")


def public(fn: Callable[P, R]) -> Callable[P, R]:
    """Make `fn` heed ``with equipoise.backend(...)``: arrays in, arrays out; its errors name a page of the guide.

    Generators cannot be public: they would run after the context has ended.
    """

    @functools.wraps(fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        setting = current.get()
        try:
            if setting is None:
                return fn(*args, **kwargs)
            return _inside(fn, setting, args, kwargs)
        except (ValueError, TypeError) as error:
            point(error, fn.__module__)
            raise

    return wrapper


def _inside(fn: Callable[..., Any], setting: Setting, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    token = current.set(None)
    try:
        libraries = {library(x) for x in leaves((args, kwargs))}
        if libraries - {"numpy", setting.backend.name}:
            return fn(*args, **kwargs)  # arrays of another library win
        moved: dict[
            int, tuple[Any, Any]
        ] = {}  # id of what was made -> (it, its original); holding both keeps ids unique
        made: dict[int, Any] = {}  # id of an original -> what was made of it

        def move(x: Any) -> Any:
            return setting.backend.asarray(np.array(x) if setting.keep else x, setting.device, setting.dtype)

        def enter(x: Any) -> Any:
            if library(x) != "numpy":
                return x
            if id(x) not in made:
                made[id(x)] = move(x)
                moved[id(made[id(x)])] = (made[id(x)], x)
            return made[id(x)]

        def enter_tree(tree: Any) -> Any:
            if isinstance(tree, Iterator):  # items are let go as they are used up, so that a long stream fits
                return (map_arrays(lambda x: move(x) if library(x) == "numpy" else x, item) for item in tree)
            return map_arrays(enter, tree)

        out = fn(*(enter_tree(x) for x in args), **{k: enter_tree(x) for k, x in kwargs.items()})
        if setting.keep or not libraries <= {"numpy"}:
            return out

        def leave(x: Any) -> Any:
            if id(x) in moved:
                return moved[id(x)][1]
            return setting.backend.to_numpy(x) if library(x) == setting.backend.name else x

        return map_arrays(leave, out)
    finally:
        current.reset(token)
