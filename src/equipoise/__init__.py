"""Equipoise: iterative methods that seek a balance, on numpy, torch, jax and cupy arrays.

Import one function, hand it the arrays you have, get the same kind of arrays back. Importing this module imports
numpy and nothing else that is heavy; families and backends are imported when they are first used.
"""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING as _TYPE_CHECKING

from .backend import backend, portable
from .boundary import public
from .progress import progress
from .record import load, map_arrays, record, save, static
from .result import ConvergenceWarning, Status

if _TYPE_CHECKING:
    from . import linear, monotone, operators, plot, precondition, quasimetric, random, sketch, transport

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "Status",
    "backend",
    "linear",
    "load",
    "map_arrays",
    "monotone",
    "operators",
    "plot",
    "portable",
    "precondition",
    "progress",
    "public",
    "quasimetric",
    "random",
    "record",
    "save",
    "sketch",
    "static",
    "transport",
]

_ON_FIRST_USE = {
    "linear",
    "monotone",
    "operators",
    "plot",
    "precondition",
    "quasimetric",
    "random",
    "sketch",
    "transport",
}


def __getattr__(name: str) -> _ModuleType:
    if name in _ON_FIRST_USE:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
