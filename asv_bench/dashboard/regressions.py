"""Ratios at one commit and now: which got worse, and which are no numbers any more.

A ratio is taken in one process and moves little, but on a machine that others use too it does move. So what looks like
a regression is measured again, on both sides in turn, and the least of each side counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import HERE, ROOT, BenchError
from .measure import (
    CODE,
    SOLVES,
    Benchmarks,
    Case,
    cases,
    commit_of,
    discover,
    figures,
    git,
    label,
    least,
    measure,
    name_machine,
    recorded,
    worktree,
)

LIMIT = 1.15
AGAIN = 2  # how often a suspect is measured again, at most
RATIO = re.compile(r"(?:^|\.)track_\w*(?:ratio|_over_)\w*$")
Figures = dict[Case, float]


@dataclass
class Side:
    """What is known of one side: its name in messages, its commit, where its code lies, its figures so far."""

    name: str
    commit: str
    tree: Path
    figures: Figures = field(default_factory=dict)

    def measure(self, wanted: Sequence[Case]) -> None:
        """Measure `wanted`; the least figure of each counts."""
        print(f"Measuring {self.name}: {len(wanted)} ratios", flush=True)
        run = measure(self.tree, self.commit, [f"^{re.escape(label(case))}$" for case in wanted])
        found = figures(run.data, run.benchmarks)
        for case in wanted:
            self.figures[case] = least(self.figures.get(case, math.nan), found.get(case, math.nan))


@dataclass(frozen=True)
class Verdict:
    """Ratios by what became of them; lower is better."""

    worse: list[Case]
    better: list[Case]
    lost: list[Case]
    gained: list[Case]
    alike: list[Case]

    @property
    def counted(self) -> int:
        return sum(len(kind) for kind in (self.worse, self.better, self.lost, self.gained, self.alike))

    @property
    def suspects(self) -> list[Case]:
        return [*self.worse, *self.lost]


def judge(base: Figures, now: Figures, wanted: Iterable[Case]) -> Verdict:
    """Sort the cases by their figures at both ends; one that never was a number is left out."""
    verdict = Verdict([], [], [], [], [])
    for case in wanted:
        old, new = base.get(case, math.nan), now.get(case, math.nan)
        if not math.isnan(old) and not math.isnan(new):
            kind = verdict.worse if new > LIMIT * old else verdict.better if old > LIMIT * new else verdict.alike
            kind.append(case)
        elif not math.isnan(old):
            verdict.lost.append(case)
        elif not math.isnan(new):
            verdict.gained.append(case)
    return verdict


def compare(name: str, pattern: str = SOLVES, *, fresh: bool = False) -> int:
    """Compare the ratios that `pattern` matches at `name` with those of the working tree; 1 if one got worse or lost.

    Raises
    ------
    BenchError
        If git does not know `name`, no ratio matches, or one side would not be measured.
    """
    base_commit = commit_of(name)
    benchmarks = discover()
    wanted = [case for case in cases(benchmarks, pattern) if RATIO.search(case[0])]
    if not wanted:
        raise BenchError(f"no ratio matches {pattern!r}: a ratio is a track_ method with ratio or _over_ in its name")
    with worktree(base_commit) as tree:
        base = Side(f"{name} ({base_commit[:8]})", base_commit, tree)
        now = Side("the working tree", git("rev-parse", "HEAD"), ROOT)
        reusable = not fresh and not changed()
        for side in (base, now):
            if reusable:
                reuse(side, wanted, benchmarks)
            missing = [case for case in wanted if case not in side.figures]
            if missing:
                side.measure(missing)
        verdict = settle(base.figures, now.figures, wanted, lambda suspects: again(base, now, suspects))
    if not verdict.counted:
        raise BenchError("none of these ratios is a number on either side: is their peer installed?")
    print(report(base, now, verdict))
    return 1 if verdict.suspects else 0


def settle(base: Figures, now: Figures, wanted: Sequence[Case], again: Callable[[list[Case]], None]) -> Verdict:
    """Judge; while there are suspects let `again` measure them, which updates both sides, and judge anew."""
    verdict = judge(base, now, wanted)
    for _ in range(AGAIN):
        if not verdict.suspects:
            break
        again(verdict.suspects)
        verdict = judge(base, now, wanted)
    return verdict


def again(base: Side, now: Side, suspects: Sequence[Case]) -> None:
    print(f"{len(suspects)} suspected regressions are measured again.")
    base.measure(suspects)
    now.measure(suspects)


def changed() -> bool:
    """Whether code or benchmarks differ from the commit that is checked out."""
    watched = [str(ROOT / part) for part in CODE] + [str(HERE / "benchmarks")]
    return bool(git("status", "--porcelain", "--", *watched))


def reuse(side: Side, wanted: Sequence[Case], benchmarks: Benchmarks) -> None:
    """Take what is recorded for exactly this commit, on a machine like this one, by benchmarks as they are today."""
    known = figures(recorded(side.commit, name_machine()), benchmarks)
    side.figures.update({case: known[case] for case in wanted if case in known})
    if side.figures:
        print(f"Recorded results are used for {len(side.figures)} of {len(wanted)} ratios of {side.name}.")


# ---------------------------------------------------------------------------------------------------------------------
# Report


def report(base: Side, now: Side, verdict: Verdict) -> str:
    """Tables of what changed, and one line that counts."""
    by_factor = sorted(verdict.worse, key=lambda case: -_factor(base, now, case))
    blocks = [
        _table(f"Worse by more than {LIMIT - 1:.0%}, lower is better", by_factor, base, now),
        _table("No number any more", verdict.lost, base, now),
        _table(f"Better by more than {LIMIT - 1:.0%}, not measured again", verdict.better, base, now),
        f"Ratios of {now.name} over {base.name}: {len(verdict.worse)} worse, {len(verdict.lost)} lost, "
        f"{len(verdict.better)} better, {len(verdict.alike)} alike, {len(verdict.gained)} for the first time.",
    ]
    return "\n" + "\n\n".join(block for block in blocks if block)


def _factor(base: Side, now: Side, case: Case) -> float:
    old, new = base.figures.get(case, math.nan), now.figures.get(case, math.nan)
    return new / old if old else math.inf


def _table(title: str, chosen: Sequence[Case], base: Side, now: Side) -> str:
    if not chosen:
        return ""
    lines = [["benchmark", "parameters", "base", "now", "factor"]]
    for case in chosen:
        values = (base.figures.get(case, math.nan), now.figures.get(case, math.nan), _factor(base, now, case))
        lines.append([case[0], ", ".join(case[1]), *(f"{value:.3g}" for value in values)])
    widths = [max(len(line[k]) for line in lines) for k in range(5)]
    aligned = [
        "  ".join(
            text.ljust(w) if k < 2 else text.rjust(w) for k, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n  ".join([f"{title}:", *aligned])
