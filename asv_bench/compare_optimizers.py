"""Optimizers side by side as Markdown: loss against gradients and against CPU time.

Run ``python asv_bench/compare_optimizers.py`` with the names of some of its tables: rosenbrock-2, rosenbrock-100,
logistic, tensor, network. What is compared, and how rates are found, is told in
``benchmarks/precondition/optimizers.py``. Losses are in excess of the least there is, medians of three seeds, the range
of the last in brackets; lower is better.
"""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

from benchmarks.precondition import optimizers  # first: its package holds every library to one thread
from benchmarks.tables import print_asked

SEEDS = (0, 1, 2)


def compared(name: str) -> None:
    """The table of a problem."""
    problem, began = optimizers.PROBLEMS[name](), time.process_time()
    print(f"\n{name}: {problem.budget} gradients or products")
    head = ["method", "rate, knob", "loss after 1/4", "1/2", "all", "least and most", "ms a gradient", "CPU s"]
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for label, method in optimizers.METHODS[name].items():
        try:
            print(f"| {' | '.join([label, *measured(problem, method)])} |", flush=True)
        except ImportError as reason:
            print(f"skipped {label}: {reason}", flush=True)
    print(f"\n{time.process_time() - began:.0f} CPU seconds, search for rates included", flush=True)


def measured(problem: Any, method: Any) -> list[str]:
    """The cells of a method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lr, knob = optimizers.tuned(problem, method)
        runs = [optimizers.run(problem, method, lr, knob, seed) for seed in SEEDS]
    middle = [f"{statistics.median(r.excess[k] for r in runs):.2g}" for k in range(len(optimizers.LOOKS))]
    last = [r.last for r in runs]
    seconds = min(r.seconds / r.gradients for r in runs)
    total = seconds * runs[0].gradients
    return [f"{lr:g}, {knob:g}", *middle, f"{min(last):.2g} to {max(last):.2g}", f"{1e3 * seconds:.2f}", f"{total:.2f}"]


TABLES = {name: (lambda name=name: compared(name)) for name in optimizers.PROBLEMS}


if __name__ == "__main__":
    print_asked(TABLES)
