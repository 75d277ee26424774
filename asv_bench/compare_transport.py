"""The speed table of entropic transport, as Markdown: each row a claim, measured with its peers in one process.

Run ``python asv_bench/compare_transport.py``: about four minutes; ``--rows newton-plane kernel-300`` for some of them,
``--rows all`` for the large problems too, another ``--seed`` for fresh problems. The rows are in
``benchmarks/transport/rows.py``; how each peer is called, and how it stops, is told and done in ``peers.py`` beside it.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

from benchmarks.transport.peers import Measured  # first: it holds every library to one thread
from benchmarks.transport.rows import ROWS, SEED, Case, Row, best_peer, figures_of_rows

HEAD = ("row", "what", "problem", "ours", "peer", "times faster", "target", "our true error", "peer's true error")
ALL = ("problem", "solver", "CPU s", "steps", "ms/step", "true error")


def markdown(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def head(cells: tuple[str, ...]) -> str:
    return markdown(cells) + "\n" + markdown(("---",) * len(cells))


def error(figures: Measured) -> str:
    return f"{figures.error:.1e}" + ("" if figures.reached else " missed")


def claim(row: Row, found: dict[str, Measured | str]) -> tuple[str, ...]:
    """The row's cells; a peer that misses the tolerance is named with its error, and gives no ratio."""
    ours = found[row.ours]
    name, share = best_peer(row, found)
    faster = "-" if math.isnan(share) else f"{1.0 / share:.3g}"
    described = "-" if isinstance(ours, str) else f"{row.ours}, {ours.seconds:.4g} s, {ours.steps} steps"
    our_error = "skipped" if isinstance(ours, str) else error(ours)
    peer = found[name] if name else next(iter(found[p] for p in row.peers))
    name = name or row.peers[0]
    if isinstance(peer, str):
        return (row.key, row.what, str(row.case), described, name, faster, f"{row.target:g}", our_error, "skipped")
    other = f"{name}, {peer.seconds:.4g} s, {peer.steps} steps"
    return (row.key, row.what, str(row.case), described, other, faster, f"{row.target:g}", our_error, error(peer))


def every(case: Case, found: dict[str, Measured | str]) -> list[tuple[str, ...]]:
    """A line for each solver that was measured on `case`, whether it entered a ratio or not."""
    made: list[tuple[str, ...]] = []
    for name, m in found.items():
        if isinstance(m, Measured):
            each = f"{1e3 * m.seconds / max(m.steps, 1):.3g}"
            made.append((str(case), name, f"{m.seconds:.4g}", str(m.steps), each, error(m)))
    return made


def chosen(names: list[str] | None) -> list[Row]:
    if names is None:
        return [row for row in ROWS if not row.slow]
    return [row for row in ROWS if "all" in names or row.key in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keys = [row.key for row in ROWS]
    parser.add_argument("--rows", nargs="+", choices=["all", *keys], metavar="ROW", help="all, or " + ", ".join(keys))
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the problems ({SEED})")
    parser.add_argument("--rounds", type=int, default=5, help="solves of each, of which the least counts (5)")
    parser.add_argument("--budget", type=float, default=3.0, help="CPU seconds for each after which it is left at that")
    options = parser.parse_args()

    claims: list[tuple[str, ...]] = []
    lines: list[tuple[str, ...]] = []
    reasons: set[str] = set()
    figures = figures_of_rows(chosen(options.rows), options.seed, rounds=options.rounds, budget=options.budget)
    start = time.monotonic()
    for case, rows, found in figures:
        print(f"[{time.monotonic() - start:4.0f} s] {case}", file=sys.stderr, flush=True)
        claims += [claim(row, found) for row in rows]
        lines += every(case, found)
        reasons |= {m for m in found.values() if isinstance(m, str)}
    print(f"CPU time, one process, one thread, seed {options.seed}. A ratio is given only where both true errors are")
    print("within the tolerance.\n")
    print(head(HEAD), *map(markdown, claims), sep="\n")
    print("\nEverything that was measured:\n")
    print(head(ALL), *map(markdown, lines), sep="\n")
    if reasons:
        print("\nSkipped:\n", *(f"- {reason}" for reason in sorted(reasons)), sep="\n")


if __name__ == "__main__":
    main()
