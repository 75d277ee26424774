"""Take out of asv's result files what they tell of the machine, so that they can be committed.

A result file names the interpreter's path, the host and its kernel, and the path stands in the file's name as well.
Memory is rounded to whole GiB: asv draws a series of its own for every other number of bytes.
"""

from __future__ import annotations

import getpass
import json
import platform
import re
import sys
from pathlib import Path
from typing import Any

from . import HERE, MACHINE, RESULTS

GIB = 2**30


def clean(results: Path = RESULTS) -> None:
    """Take interpreter paths, host names and user names out of the result files in `results`.

    A file that gets a new name joins the results that already bear it.

    Raises
    ------
    ValueError
        If something of the kind is left in a file all the same; the sentence names the file, not what was found.
    """
    for folder in sorted(p for p in results.glob("*") if p.is_dir()):
        for path in sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime):
            data = json.loads(path.read_text())
            path.unlink()
            if path.name == "machine.json":
                neutralise(data)
                write(data, results / MACHINE / path.name)
            else:
                store(clean_results(data), results)
        if not any(folder.iterdir()):
            folder.rmdir()


def store(data: dict[str, Any], results: Path = RESULTS) -> Path:
    """Write cleaned results where they belong, together with what is there already; the file."""
    target = results / MACHINE / f"{data['commit_hash'][:8]}-{data['env_name']}.json"
    if target.exists():
        data = merged(json.loads(target.read_text()), data)
    return write(data, target)


def neutralise(about: dict[str, Any]) -> None:
    about["machine"] = MACHINE
    about["os"] = str(about.get("os") or platform.system()).split()[0]  # without the kernel's release
    if str(about.get("ram", "")).isdigit():
        about["ram"] = f"{round(int(about['ram']) / GIB)} GiB"
    if "/" in str(about.get("python", "")) or "\\" in str(about.get("python", "")):
        about["python"] = ".".join(platform.python_version_tuple()[:2])  # asv ran in this very interpreter


def clean_results(data: dict[str, Any]) -> dict[str, Any]:
    """Results without traces; profiles, which name every source file, are dropped."""
    neutralise(data["params"])
    python = data["params"]["python"]
    profile = data["result_columns"].index("profile")
    rows = {name: row[:profile] for name, row in data["results"].items()}
    return {**data, "python": python, "env_name": f"existing-py{python}", "results": rows}


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Results of two runs at one commit: the newer ones where both have some, and only they if machines differ."""
    if any(old[key] != new[key] for key in ("result_columns", "params")):
        return new
    return {**new, **{key: {**old[key], **new[key]} for key in ("results", "durations")}}


def write(data: dict[str, Any], target: Path) -> Path:
    """Write a file that can be committed.

    Raises
    ------
    ValueError
        If it cannot.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(data, indent=1) + "\n")
    check_clean(target)
    return target


def check_clean(path: Path) -> None:
    """See that a file names no path, host or user of this machine.

    Raises
    ------
    ValueError
        If it does.
    """
    text = f"{path.name} {path.read_text()}"
    paths = {sys.prefix, sys.base_prefix, str(Path.home()), str(HERE), str(HERE.parent)}
    traces = {form for p in paths for form in (p, p.replace("/", "_")) if len(p) > 1}
    words = {platform.node(), getpass.getuser()} - {"", "localhost", "root"}
    if any(t in text for t in traces) or any(re.search(rf"\b{re.escape(w)}\b", text) for w in words):
        raise ValueError(f"{path.name} still names a path, a host or a user of this machine; do not commit it")
