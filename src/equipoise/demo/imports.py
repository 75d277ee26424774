"""Which module of Python's standard library imports which: a directed graph that is there wherever Python is.

It is read from the sources of the running interpreter, so that it differs a little from version to version, and not
from run to run. A package counts as one module. Imports count wherever they stand, those inside of functions too;
modules written in C are imported and import nothing. Private modules and whole environments (the editor, the test
suite) stay out.
"""

from __future__ import annotations

import ast
import functools
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["graph", "hops"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

LEFT_OUT = {"antigravity", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "this", "turtledemo", "venv"}
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # where statements stand


@functools.cache
def graph() -> tuple[tuple[str, ...], Ints]:
    """The modules in alphabetical order, and the edges (importer, imported) as pairs of their numbers.

    Modules that neither import nor are imported are not there.

    Examples
    --------
    >>> from equipoise.demo import imports
    >>> modules, edges = imports.graph()
    >>> (modules.index("json"), modules.index("re")) in set(map(tuple, edges.tolist()))
    True
    """
    known = {name for name in sys.stdlib_module_names if not name.startswith("_")} - LEFT_OUT
    folder = Path(sysconfig.get_path("stdlib"))
    pairs = {
        (name, other)
        for name in known
        for source in sources(folder, name)
        for other in imported(ast.parse(source.read_bytes()))
        if other in known and other != name
    }
    modules = tuple(sorted({name for pair in pairs for name in pair}))
    number = {name: i for i, name in enumerate(modules)}
    edges = np.array([(number[importer], number[other]) for importer, other in sorted(pairs)], dtype=np.int64)
    edges.flags.writeable = False  # everybody gets the same one
    return modules, edges


def hops(size: int, edges: Ints) -> Floats:
    """How many edges lead from each of `size` nodes to each, shape (size, size); inf where no way does.

    Examples
    --------
    >>> import numpy as np
    >>> hops(3, np.array([(0, 1), (1, 2)]))
    array([[ 0.,  1.,  2.],
           [inf,  0.,  1.],
           [inf, inf,  0.]])
    """
    step = np.zeros((size, size), dtype=np.float32)
    step[edges[:, 0], edges[:, 1]] = 1.0
    far = np.where(np.eye(size, dtype=bool), 0.0, np.inf)
    for count in range(1, size):
        reached = (far == count - 1).astype(np.float32) @ step > 0
        new = reached & np.isinf(far)
        if not new.any():
            break
        far[new] = count
    return far


def sources(folder: Path, name: str) -> list[Path]:
    """The files of a module, or of a package without its tests; none if it is written in C."""
    single = folder / f"{name}.py"
    if single.exists():
        return [single]
    inside = folder / name
    return [file for file in inside.rglob("*.py") if not {"test", "tests"} & set(file.relative_to(inside).parts[:-1])]


def imported(tree: Any) -> Iterator[str]:
    """The first part of all that a source imports by its full name; expressions are not searched."""
    if isinstance(tree, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        if tree.level == 0 and tree.module:
            yield tree.module.partition(".")[0]
    else:
        for block in BLOCKS:
            for statement in getattr(tree, block, ()):
                yield from imported(statement)
