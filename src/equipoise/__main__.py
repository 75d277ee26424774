"""``python -m equipoise info`` tells what is installed; ``python -m equipoise demo`` shows what it does."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

import equipoise

from .backend import Backend, available, find
from .kernel import kernels, override


def describe() -> dict[str, Any]:
    """Versions, and for every registered backend what it runs on and which kernels it has.

    A kernel is known once the module that defines it has been imported, so every public module is.
    """
    for name in equipoise.__all__:
        getattr(equipoise, name)
    backends = {name: _backend(name) for name in sorted(available())}
    return {
        "equipoise": equipoise.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": _threads(),
        "backends": backends,
    }


def _backend(name: str) -> dict[str, Any]:
    """One backend; `missing` says why it cannot be used and which extra installs it."""
    try:
        backend = find(name)
    except ImportError as error:
        return {"installed": False, "missing": str(error)}
    own, host = set(backend.kernels), set(find("numpy").kernels)
    borrowed = {kernel for kernel in host - own if kernel in backend.borrows}
    return {
        "installed": True,
        "version": backend.version(),
        "devices": list(backend.devices()),
        "threads": backend.threads(),
        "overrides": sorted(own),
        "borrows": sorted(borrowed),
        "portable": sorted(set(kernels()) - own - borrowed),
        "broken": _broken(backend),
    }


def _broken(backend: Backend) -> dict[str, str]:
    """The entries of a backend's table that cannot be imported, and why: a solve would meet them only when it runs."""
    found = {}
    for name in sorted(backend.kernels):
        try:
            override(backend, name)
        except Exception as error:  # whatever a library raises that does not find its device
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _threads() -> dict[str, int]:
    """How many threads numba and the pools that numpy and others have loaded may use, as far as they tell."""
    found = {}
    numba = sys.modules.get("numba")  # loaded by numpy's table, where it is installed
    if numba is not None:
        found["numba"] = int(numba.get_num_threads())
    if find_spec("threadpoolctl") is None:  # comes with scikit-learn
        return found
    for pool in import_module("threadpoolctl").threadpool_info():
        name = str(pool["internal_api"])  # openblas, mkl, openmp, ...
        found[name] = max(found.get(name, 0), int(pool["num_threads"]))
    return found


def show(found: dict[str, Any]) -> None:
    """Print what :func:`describe` found, for people."""
    print(f"equipoise {found['equipoise']}, Python {found['python']}, numpy {found['numpy']}")
    pools = ", ".join(f"{name} {count}" for name, count in found["threads"].items())
    print(f"threads of the host: {pools or 'not known'}")
    for name, backend in found["backends"].items():
        if not backend["installed"]:
            print(f"\n{name}: not available\n  {backend['missing']}")
            continue
        print(f"\n{name} {backend['version']}")
        print(f"  devices              {', '.join(backend['devices']) or 'none'}")
        print(f"  threads              {backend['threads']}")
        for key, title in _KERNELS:
            if backend[key]:
                print(f"  {title:20} {', '.join(backend[key])}")
        for kernel, reason in backend["broken"].items():
            print(f"  cannot be loaded     {kernel}: {reason}")


_KERNELS = (("overrides", "kernels of its own"), ("borrows", "borrowed from numpy"), ("portable", "portable bodies"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 if a demo failed, 2 if nothing could run."""
    parser = argparse.ArgumentParser(prog="python -m equipoise", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    info = commands.add_parser("info", help="versions, backends, devices, threads and kernels")
    info.add_argument("--json", action="store_true", help="for programs")
    demo = commands.add_parser("demo", help="run the demos on real data and write a page about them")
    demo.add_argument("--backend", default="numpy", help="%(default)s (the default), or another one of `info`")
    demo.add_argument("--device", help="as the backend names its devices, for instance cuda")
    demo.add_argument("--dtype", choices=["float32", "float64"], help="float64 by default")
    demo.add_argument("--output", default="report", help="the folder for the page, ./%(default)s by default")
    chosen = parser.parse_args(arguments)
    if chosen.command == "info":
        found = describe()
        if chosen.json:
            print(json.dumps(found, indent=2))
        else:
            show(found)
        return 0
    from .demo import main as run

    try:
        failures = run(chosen.backend, device=chosen.device, dtype=chosen.dtype, output=chosen.output)
    except (ImportError, ValueError, OSError) as error:  # a backend, device, extra or folder that is not there
        print(f"python -m equipoise demo: {error}", file=sys.stderr)
        return 2
    return int(failures > 0)


if __name__ == "__main__":
    raise SystemExit(main())
