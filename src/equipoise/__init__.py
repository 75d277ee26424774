"""Equipoise: iterative methods that seek a balance, on numpy, torch, jax and cupy arrays.

Import one function, hand it the arrays you have, get the same kind of arrays back. Importing this module imports numpy and
nothing else that is heavy; the rest is imported when it is first used.
"""

from . import transport
from .backend import backend, portable
from .boundary import public
from .progress import progress
from .record import load, map_arrays, record, save, static
from .result import ConvergenceWarning, Status

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "Status",
    "backend",
    "load",
    "map_arrays",
    "portable",
    "progress",
    "public",
    "record",
    "save",
    "static",
    "transport",
]
