"""What the library does, on real data: ``python -m equipoise demo``.

One module a family with a function ``run(folder, **settings) -> Section``; a new family is one file and one line in
`DEMOS`.
"""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import __version__
from ..backend import backend
from . import transport
from .report import Section, write

__all__ = ["DEMOS", "main"]

DEMOS: dict[str, Callable[..., Section]] = {"transport": transport.run}


def main(name: str, *, device: str | None = None, dtype: str | None = None, output: str = "report", **size: Any) -> int:
    """Run every demo under ``backend(name, ...)``, write the page, and return the number of failures."""
    import matplotlib as mpl

    mpl.use("Agg")
    if name == "jax" and dtype != "float32":
        os.environ.setdefault("JAX_ENABLE_X64", "1")  # this program is ours; the library itself never does this
    context = backend(name, device=device, dtype=dtype)
    where = f"{name} {context.backend.version()}, {device or context.backend.devices()[0]}, {dtype or 'float64'}"
    print(f"equipoise {__version__} on {where}")
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    sections = []
    for family, run in DEMOS.items():
        try:
            with context:
                sections.append(run(folder, **size))
        except Exception as error:
            traceback.print_exc()
            sections.append(Section(title=family, lead="This family did not finish.", failure=f"{error}"))
    seconds = time.perf_counter() - start
    sections[-1].facts.append(("backend", where))
    page = write(
        folder,
        sections,
        f"Version {__version__} on {where}, Python {platform.python_version()}; {seconds:.1f} s in all.",
    )
    failures = sum(bool(section.failure) for section in sections)
    print(f"{len(sections) - failures} of {len(sections)} demos in {seconds:.1f} s: {page}")
    return failures
