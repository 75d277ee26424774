"""Runs of asv against a tree of the project, and the figures that they give.

asv measures in the environment that it finds, where the project is installed from the working tree. The tree of
another commit takes its place by standing first on the path: in PYTHONPATH, for what benchmarks start themselves, and
in ASV_PYTHONPATH, without which asv takes PYTHONPATH away again. Whether that worked is asked before anything is
measured, in a process that asv's own script starts as it starts benchmarks.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import HERE, MACHINE, RESULTS, ROOT, BenchError
from .clean import clean, neutralise

CODE = ("src", "backends")
SOLVES = r"\.Solve\."  # the sets that every family has, with the same parameters
Case = tuple[str, tuple[str, ...]]  # a benchmark's name and its parameters, as asv writes them
Benchmarks = dict[str, dict[str, Any]]

PROBE = """
import importlib.util, pathlib
tree = pathlib.Path({tree!r})
for name in {names!r}:
    spec = importlib.util.find_spec(name)
    if spec is None or tree not in pathlib.Path(spec.origin).resolve().parents:
        raise ImportError(f"{{name}} would not be taken from the tree that is to be measured")
"""


@dataclass(frozen=True)
class Run:
    """What one run of asv left: its exit code, its description of all benchmarks, and the cleaned results, if any."""

    code: int
    benchmarks: Benchmarks
    data: dict[str, Any]


# ---------------------------------------------------------------------------------------------------------------------
# Running


def run(arguments: list[str]) -> int:
    """Run the benchmarks in the working tree and record them for the commit that is checked out."""
    name_machine()
    if git("status", "--porcelain", "--untracked-files=no"):
        print("There are uncommitted changes: the results will be recorded for the last commit all the same.")
    if "--quick" in arguments and "--dry-run" not in arguments:
        arguments = [*arguments, "--dry-run"]  # one sample each shows that they run, and no more
    try:
        return asv(*_options(git("rev-parse", "HEAD")), *arguments)
    finally:
        clean()


def measure(tree: Path, commit: str, patterns: Iterable[str]) -> Run:
    """Run what one of `patterns` matches against the code in `tree`, recording nothing.

    Raises
    ------
    BenchError
        If the code would come from elsewhere, or asv could not read the benchmarks.
    """
    name_machine()
    environment = environment_of(tree)
    check_tree(tree, environment)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        chosen = [f"--bench={pattern}" for pattern in patterns]
        conf = _configuration(Path(folder), commit)
        code = asv(*_options(commit), *chosen, conf=conf, environment=environment)
        described = results / "benchmarks.json"
        if not described.exists():
            raise BenchError(f"asv could not read the benchmarks with the code of {commit[:8]}: see above")
        clean(results)
        found = [json.loads(path.read_text()) for path in (results / MACHINE).glob(f"{commit[:8]}-*.json")]
        benchmarks = json.loads(described.read_text())
    benchmarks.pop("version")  # of the file, not a benchmark
    return Run(code, benchmarks, found[0] if found else {})


def discover() -> Benchmarks:
    """The benchmarks of the working tree, as asv describes them."""
    print("Which benchmarks are there?", flush=True)
    return measure(ROOT, git("rev-parse", "HEAD"), ["just-discover"]).benchmarks


def asv(*arguments: str, conf: Path = HERE / "asv.conf.json", environment: dict[str, str] | None = None) -> int:
    command = [sys.executable, "-m", "asv", *arguments, "--config", str(conf)]
    return subprocess.run(command, cwd=HERE, env=environment, check=False).returncode


def _options(commit: str) -> list[str]:
    """Without ``--set-commit-hash`` asv would not save what an existing environment has measured."""
    return ["run", "--python=same", f"--set-commit-hash={commit}", f"--machine={MACHINE}", "--show-stderr"]


def _configuration(folder: Path, commit: str) -> Path:
    """asv's configuration with results that go to `folder`, and `commit` for the one that it says it measures."""
    settings = json.loads((HERE / "asv.conf.json").read_text())
    settings |= {"repo": str(ROOT), "branches": [commit], "benchmark_dir": str(HERE / settings["benchmark_dir"])}
    settings |= {f"{kind}_dir": str(folder / kind) for kind in ("results", "env", "html")}
    made = folder / "asv.conf.json"
    made.write_text(json.dumps(settings))
    return made


def name_machine() -> dict[str, str]:
    """Tell asv about this machine, under a neutral name: what ``asv machine --yes`` does, without the host's name."""
    from asv.machine import Machine, MachineCollection

    about: dict[str, str] = {**Machine.get_defaults(), "machine": MACHINE, "os": platform.system()}
    neutralise(about)
    MachineCollection.save(MACHINE, about)
    return about


# ---------------------------------------------------------------------------------------------------------------------
# Trees of other commits


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=HERE, check=True, capture_output=True, text=True).stdout.strip()


def commit_of(name: str) -> str:
    """The full hash of a commit, branch or tag.

    Raises
    ------
    BenchError
        If git knows none of that name.
    """
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except subprocess.CalledProcessError:
        raise BenchError(f"git knows no commit, branch or tag {name!r} here") from None


@contextlib.contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The files of `commit` in a folder of their own, for as long as they are needed."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        git("worktree", "prune")  # of runs that were killed
        git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def environment_of(tree: Path) -> dict[str, str]:
    """The environment in which Python takes the project from `tree`."""
    path = os.pathsep.join(str(tree / part) for part in CODE)
    return {**os.environ, "PYTHONPATH": path, "ASV_PYTHONPATH": path}


def check_tree(tree: Path, environment: dict[str, str]) -> None:
    """Let a process such as benchmarks run in say where it would take each of the tree's packages from.

    Raises
    ------
    BenchError
        If that is not `tree`.
    """
    from asv.runner import BENCHMARK_RUN_SCRIPT

    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe"
        probe.mkdir()
        (probe / "__init__.py").write_text(probe_of(tree))
        command = [sys.executable, str(BENCHMARK_RUN_SCRIPT), "discover", str(probe), str(probe / "found.json")]
        done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "asv's script does not start").splitlines()[-1]
        raise BenchError(said.removeprefix("ImportError: "))


def probe_of(tree: Path) -> str:
    """A module that cannot be imported where one of the tree's packages comes from elsewhere."""
    names = sorted(path.parent.name for part in CODE for path in (tree / part).glob("*/__init__.py"))
    return PROBE.format(tree=str(tree.resolve()), names=names)


# ---------------------------------------------------------------------------------------------------------------------
# Figures


def recorded(commit: str, machine: dict[str, str] | None = None, results: Path = RESULTS) -> dict[str, Any]:
    """The results that are kept for a commit, taken on `machine` where that is given; empty if there are none."""
    for path in sorted((results / MACHINE).glob(f"{commit[:8]}-*.json")):
        data: dict[str, Any] = json.loads(path.read_text())
        same = machine is None or all(data["params"].get(key) == machine[key] for key in ("arch", "cpu", "num_cpu"))
        if data["commit_hash"] == commit and same:
            return data
    return {}


def cases(benchmarks: Benchmarks, pattern: str) -> list[Case]:
    """Every benchmark with every set of its parameters that `pattern` is found in, read as asv reads it."""
    every = [(name, case) for name in sorted(benchmarks) for case in itertools.product(*benchmarks[name]["params"])]
    return [case for case in every if re.search(pattern, label(case))]


def label(case: Case) -> str:
    name, params = case
    return f"{name}({', '.join(params)})" if params else name


def rows(data: dict[str, Any], benchmarks: Benchmarks) -> dict[str, dict[str, Any]]:
    """The rows of a result file that today's benchmarks made: one that was changed has another version."""
    made = {name: dict(zip(data["result_columns"], row, strict=False)) for name, row in data.get("results", {}).items()}
    return {name: row for name, row in made.items() if row["version"] == benchmarks.get(name, {}).get("version")}


def figures(data: dict[str, Any], benchmarks: Benchmarks) -> dict[Case, float]:
    """The figures in a result file; NaN where a benchmark was skipped, nothing where it failed or was not run."""
    return {
        (name, case): float(value)
        for name, row in rows(data, benchmarks).items()
        for case, value in zip(itertools.product(*row["params"]), row["result"] or (), strict=False)
        if value is not None
    }


def least(first: float, second: float) -> float:
    """The lesser of two figures, of which either may be NaN."""
    return min((value for value in (first, second) if not math.isnan(value)), default=math.nan)
