"""Today's benchmarks, run against the code of the commits in ``milestones.txt``.

What a milestone lacks is skipped by the benchmarks themselves. The packages beside it are those of today, and so are
the peers: the history is that of this project alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import HERE, MACHINE, RESULTS, BenchError
from .clean import store, write
from .measure import (
    SOLVES,
    Benchmarks,
    cases,
    commit_of,
    discover,
    figures,
    measure,
    name_machine,
    recorded,
    rows,
    worktree,
)

MILESTONES = HERE / "milestones.txt"
LINE = re.compile(r"([0-9a-f]{40})\s+(\S.*)")


@dataclass(frozen=True)
class Milestone:
    """A commit that ended a piece of work, and what the work was."""

    commit: str
    name: str


def milestones(path: Path = MILESTONES) -> list[Milestone]:
    """The milestones, oldest first.

    Raises
    ------
    ValueError
        If a line is neither empty, nor a comment, nor a whole hash and a name.
    """
    found = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{path.name}, line {number}: expected a hash of 40 digits and a name, got {line!r}")
        found.append(Milestone(*match.groups()))
    return found


def history(pattern: str = SOLVES, *, names: Sequence[str] = (), fresh: bool = False) -> int:
    """Record what `pattern` matches for every milestone that lacks it, or for those called `names`; asv's exit code.

    Whole benchmarks are run, with all their parameters.

    Raises
    ------
    BenchError
        If there is no such milestone or benchmark, or the code of a milestone would not be what is measured.
    """
    chosen = [m for m in milestones() if not names or m.name in names]
    if not chosen or len(chosen) < len(names):
        known = ", ".join(m.name for m in milestones())
        raise BenchError(f"the milestones are {known}; one that was asked for is not among them")
    commits = [commit_of(m.commit) for m in chosen]
    benchmarks = discover()
    wanted = sorted({name for name, _ in cases(benchmarks, pattern)})
    if not wanted:
        raise BenchError(f"no benchmark matches {pattern!r}")
    describe(benchmarks)
    codes = [record(m, wanted, benchmarks, fresh=fresh) for m, _ in zip(chosen, commits, strict=True)]
    return max(codes)


def record(milestone: Milestone, wanted: Sequence[str], benchmarks: Benchmarks, *, fresh: bool) -> int:
    """Measure those of the benchmarks `wanted` that the milestone has no results of."""
    known = {} if fresh else rows(recorded(milestone.commit), benchmarks)
    missing = [name for name in wanted if name not in known]
    if not missing:
        print(f"{milestone.name} ({milestone.commit[:8]}): all recorded", flush=True)
        return 0
    print(f"{milestone.name} ({milestone.commit[:8]}): {len(missing)} benchmarks", flush=True)
    start = time.monotonic()
    with worktree(milestone.commit) as tree:
        run = measure(tree, milestone.commit, [rf"^{re.escape(name)}(?:\(|$)" for name in missing])
    if run.data:
        store(run.data)
    found = figures(run.data, benchmarks).values()
    numbers = sum(value == value for value in found)
    print(f"{numbers} figures, {len(found) - numbers} skipped, {time.monotonic() - start:.0f} s", flush=True)
    return run.code


def describe(benchmarks: Benchmarks) -> None:
    """Write what asv's pages need beside results: the list of benchmarks, and the machine."""
    from asv.benchmarks import Benchmarks as Listed
    from asv.machine import Machine
    from asv.util import write_json

    write_json(RESULTS / "benchmarks.json", benchmarks, Listed.api_version)
    write({**name_machine(), "version": Machine.api_version}, RESULTS / MACHINE / "machine.json")
