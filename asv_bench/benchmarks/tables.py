"""How the scripts beside this package print their tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["print_asked"]


def print_asked(tables: Mapping[str, Callable[[], Any]]) -> None:
    """The tables that the command line names, or all."""
    unknown = [name for name in sys.argv[1:] if name not in tables]
    if unknown:
        raise SystemExit(f"unknown table {unknown[0]!r}; there are {', '.join(tables)}")
    print(f"numpy {np.__version__}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores when this began")
    for name in sys.argv[1:] or tables:
        tables[name]()
