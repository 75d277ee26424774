"""The speed table of the linear family, as Markdown: each row measured with its peer in one process.

Run ``python asv_bench/compare_linear.py``: about four minutes; what the rows mean is told in
``benchmarks/linear/relaxation.py``, ``gradients.py`` and ``sequences.py`` beside it. Ratios are our CPU time over
the peer's, or our steps over those of the best fixed factor: lower is better.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.linear import gradients, relaxation, sequences  # first: their package holds every library to one thread


def every(bench: Any, method: str) -> Iterator[tuple[str, float]]:
    """The figure of each combination of parameters; what cannot be had is left out, and said."""
    params = bench.params if isinstance(bench.params[0], (tuple, list)) else [bench.params]
    cache = [bench.setup_cache()] if hasattr(bench, "setup_cache") else []
    for case in itertools.product(*params):
        try:
            if hasattr(bench, "setup"):
                bench.setup(*cache, *case)
            figure = getattr(bench, method)(*cache, *case)
        except (ImportError, NotImplementedError) as reason:
            print(f"skipped {case}: {reason}", file=sys.stderr)
            continue
        yield ", ".join(map(str, case)), figure


def main() -> None:
    print("| what | problem | ours over the peer |\n|---|---|---|")
    for module in (relaxation, gradients, sequences):
        for name, kind in list(vars(module).items()):
            if not isinstance(kind, type) or kind.__module__ != module.__name__:
                continue
            for method in (m for m in dir(kind) if m.startswith("track_") and ("over" in m or "ratio" in m)):
                for case, figure in every(kind(), method):
                    print(f"| {name}.{method.removeprefix('track_')} | {case} | {figure:.3g} |", flush=True)


if __name__ == "__main__":
    main()
