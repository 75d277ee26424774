"""Pages that state facts about the code are held against the code."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from equipoise.__main__ import describe
from equipoise.backend import find

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "backends.md"


def stated() -> dict[str, dict[str, str]]:
    """The table of kernels on the page: for each backend the cell of each kernel, by its full name."""
    text = PAGE.read_text()
    lines = text[text.index("| work | kernels |") :].split("\n\n", 1)[0].splitlines()
    backends = cells(lines[0])[2:]
    found: dict[str, dict[str, str]] = {name: {} for name in backends}
    family = ""
    for line in lines[2:]:
        work, kernels, *states = cells(line)
        if work.startswith("**"):
            family = work.strip("*")
            continue
        for kernel in re.findall("`(.+?)`", kernels):
            full = kernel if "." in kernel else f"{family}.{kernel}"
            assert full not in found[backends[0]], f"{full} stands on the page twice"
            for backend, state in zip(backends, states, strict=True):
                found[backend][full] = state
    return found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def actual(name: str) -> dict[str, str]:
    """The same from the tables of the backend."""
    info = describe()["backends"][name]
    own, lent = find(name).kernels, find("numpy").kernels
    found = dict.fromkeys([*info["overrides"], *info["borrows"], *info["portable"]], "-")
    found |= dict.fromkeys(info["borrows"], "shared")
    for kernel, place in own.items():
        found[kernel] = word_for(name, place)
        if found[kernel] == "Triton" and kernel in lent:
            found[kernel] = "Triton, shared"  # its overrides decline tensors on the CPU
    return found


def word_for(name: str, place: str) -> str:
    if name == "numpy":
        from equipoise_numpy import _PLAIN

        return "numpy" if place in _PLAIN.values() else "numba"
    return "own" if place.startswith(f"equipoise_{name}.arrays:") else "Triton"


@pytest.mark.skipif(find_spec("numba") is None, reason="without numba numpy's table is shorter")
@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_the_page_on_backends_tells_what_each_accelerates(name: str) -> None:
    pytest.importorskip(name)
    assert stated()[name] == actual(name)


def test_the_page_on_backends_has_every_backend() -> None:
    first = PAGE.read_text().split("## What each backend does", 1)[1]
    for name in describe()["backends"]:
        assert f"| {name}" in first, f"docs/backends.md has no row for the backend {name}"


def test_the_page_on_backends_tells_what_cupy_has() -> None:
    source = (ROOT / "backends" / "equipoise_cupy" / "__init__.py").read_text()  # it cannot be imported without cupy
    (sentence,) = re.findall(r"Of cupy there is one entry yet, its own `(.+?)`", PAGE.read_text())
    assert re.findall(r'"(\S+)": "equipoise_cupy', source) == [sentence]
