"""Run the benchmarks, compare them over commits, and make of their results a dashboard that works without a network.

Without an option: write the pages. What is done, and why so, stands in the modules of ``dashboard``.
"""

from __future__ import annotations

import argparse
import sys

from dashboard import BenchError
from dashboard.clean import clean
from dashboard.history import history
from dashboard.measure import SOLVES, run
from dashboard.pages import publish
from dashboard.regressions import compare


def main(arguments: list[str] | None = None) -> int:
    """What the command line asks for; its exit code: 2, and one sentence, where it cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--run", action="store_true", help="run the benchmarks; further options go to `asv run`")
    action.add_argument("--history", action="store_true", help="run them against the milestones that have no results")
    action.add_argument(
        "--compare", metavar="BASE", help="name the ratios that got worse by more than 15 %% since BASE"
    )
    action.add_argument("--clean", action="store_true", help="only take names and paths out of the result files")
    parser.add_argument(
        "--bench",
        metavar="REGEX",
        action="append",
        default=[],
        help="which benchmarks; without it all, or the sets called Solve",
    )
    parser.add_argument("--milestone", metavar="NAME", action="append", default=[], help="only this one, for --history")
    parser.add_argument(
        "--fresh", action="store_true", help="measure what is recorded too, for --history and --compare"
    )
    options, others = parser.parse_known_args(arguments)
    if others and not options.run:
        parser.error(f"unknown option {others[0]}; only --run passes options on, to `asv run`")
    try:
        return act(options, others)
    except BenchError as error:
        print(f"publish.py: {error}", file=sys.stderr)
        return 2


def act(options: argparse.Namespace, others: list[str]) -> int:
    if options.run:
        return run([*others, *(f"--bench={pattern}" for pattern in options.bench)])
    pattern = "|".join(options.bench) or SOLVES
    if options.history:
        return history(pattern, names=options.milestone, fresh=options.fresh)
    if options.compare is not None:
        return compare(options.compare, pattern, fresh=options.fresh)
    if options.clean:
        clean()
        return 0
    return publish()


if __name__ == "__main__":
    sys.exit(main())
