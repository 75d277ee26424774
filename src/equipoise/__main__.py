"""``python -m equipoise info`` tells what is installed; ``python -m equipoise demo`` shows what it does."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import __version__
from .backend import available, find


def describe() -> dict[str, Any]:
    """Versions, and for every registered backend what it runs on and which kernels it has."""
    host = find("numpy").kernels
    backends: dict[str, Any] = {}
    for name in sorted(available()):
        try:
            backend = find(name)
        except ImportError as error:
            backends[name] = {"missing": str(error)}
            continue
        backends[name] = {
            "version": backend.version(),
            "devices": list(backend.devices()),
            "threads": backend.threads(),
            "overrides": sorted(backend.kernels),
            "borrows": sorted(k for k in host if k in backend.borrows and k not in backend.kernels),
        }
    return {
        "equipoise": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "backends": backends,
    }


def show(found: dict[str, Any]) -> None:
    """Print what :func:`describe` found, for people."""
    print(f"equipoise {found['equipoise']}, Python {found['python']}, numpy {found['numpy']}")
    for name, backend in found["backends"].items():
        if "missing" in backend:
            print(f"\n{name}: not available\n  {backend['missing']}")
            continue
        print(f"\n{name} {backend['version']}")
        for key, empty in (("devices", "none"), ("threads", ""), ("overrides", "none"), ("borrows", "none")):
            value = backend[key]
            text = ", ".join(value) or empty if isinstance(value, list) else value
            note = " from numpy" if key == "borrows" and value else ""
            print(f"  {key + note:20} {text}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m equipoise", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    info = commands.add_parser("info", help="backends, versions, devices, threads and kernels")
    info.add_argument("--json", action="store_true", help="for programs")
    demo = commands.add_parser("demo", help="run the demos on real data and write a page about them")
    demo.add_argument("--backend", default="numpy", help="numpy, torch, jax or cupy")
    demo.add_argument("--device", help="as the backend names its devices, for instance cuda")
    demo.add_argument("--dtype", choices=["float32", "float64"])
    demo.add_argument("--output", default="report", help="the folder that the page is written into")
    chosen = parser.parse_args(arguments)
    if chosen.command == "info":
        found = describe()
        if chosen.json:
            print(json.dumps(found, indent=2))
        else:
            show(found)
        return 0
    from .demo import main as run

    return run(chosen.backend, device=chosen.device, dtype=chosen.dtype, output=chosen.output)


if __name__ == "__main__":
    raise SystemExit(main())
