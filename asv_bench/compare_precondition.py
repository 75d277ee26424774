"""Updates of preconditioners here and in plain torch as Markdown, both sides of a row measured in turn.

Run ``python asv_bench/compare_precondition.py`` with the names of some of its tables: dense, low_rank, kronecker,
torch, damping, bytes. All of them take two to five minutes. What is compared is told in
``benchmarks/precondition/updates.py`` and ``peers.py``. Milliseconds are of CPU time a pair, on one thread, least of
some rounds; "times faster" is the peer's time over ours, higher is better, beside the goals that were set.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from benchmarks.clock import cpu_seconds, keep_freed_memory
from benchmarks.precondition import updates  # first: its package holds every library to one thread
from benchmarks.precondition.updates import CASES, Case
from benchmarks.tables import print_asked

KINDS = ("scaled", "diagonal", "xmat", "low_rank", "kronecker", "dense")


def table(*head: str) -> None:
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)


def row(*cells: Any) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def beside(gain: float, goal: float) -> str:
    """A factor and its goal."""
    return f"{gain:.1f}" if math.isnan(goal) else f"{gain:.1f} (goal {goal:g})"


def duels(title: str, wanted: Callable[[Case], bool], library: str = "numpy", *, goals: bool = True) -> None:
    print(f"\n{title}")
    table("kind", "n", "rank", "dtype", "peer", "peer, ms", "update, ms", "sweep, ms", "update", "sweep", "distance")
    for case in filter(wanted, CASES.values()):
        m = updates.measure(case, library=library)
        distance = updates.agreement(case) if case.peer != "lean" else math.nan
        row(
            case.kind,
            case.n,
            case.rank or "",
            case.dtype,
            updates.needed()[1].PEERS[case.peer],
            *(f"{1e3 * s:.3g}" for s in (m.peer, m.update, m.sweep)),
            beside(1 / m.ratio, case.goal if goals else math.nan),
            beside(1 / m.sweep_ratio, case.sweep_goal if goals else math.nan),
            f"{distance:.0e}" if math.isfinite(distance) else "",
        )


def dense() -> None:
    """Full matrices."""
    duels(
        "Dense, times faster than plain torch: one update at a time, and sweeps of 16 pairs",
        lambda case: case.kind in ("eq", "quad"),
    )


def low_rank() -> None:
    """Tall blocks."""
    duels("Low rank, times faster than plain torch; sweeps of 8 or 2 pairs", lambda case: case.kind == "low_rank")


def kronecker() -> None:
    """Products of two factors: mostly the same matrix products on both sides."""
    duels(
        "Kronecker, matrices of n x n; numpy's BLAS against torch's",
        lambda case: case.kind.startswith("kronecker"),
    )


def torch_() -> None:
    """Ours on torch tensors: the kernels are borrowed."""
    duels(
        "Ours on torch tensors",
        lambda case: case.dtype == "float32" and case.n in (500, 100_000, 256) and case.rank != 40,
        "torch",
    )


def damping() -> None:
    """What damping adds."""
    print("\nThe default damping: milliseconds of an update without and with it")
    table("kind", "n", "without", "with")
    keep_freed_memory()
    for name in ("quad-500-float32", "low_rank-100000-10-balanced", "kronecker-quad-256"):
        case = CASES[name]
        state, (V, H) = updates.begun(case), updates.drawn(case, 1)
        v = None if case.kind.startswith("kronecker") else V[0]
        sides = [
            functools.partial(updates.repeated, functools.partial(p.update, state, v, H[0]))
            for p in (updates.settings(case), updates.settings(case, 1e-9))
        ]
        row(case.kind, case.n, *(f"{1e3 * s / 20:.3g}" for s in cpu_seconds(sides, rounds=5, budget=3.0)))


def sizes() -> None:
    """Bytes of a state."""
    print("\nBytes of a state, float32, rank 10; a momentum adds 4 n")
    table("shape", *KINDS)
    for shape in ((500,), (1500,), (256, 256), (1024, 1024), (1_000_000,)):
        row("x".join(map(str, shape)), *(f"{updates.state_bytes(kind, shape):,}" for kind in KINDS))


TABLES = {
    "dense": dense,
    "low_rank": low_rank,
    "kronecker": kronecker,
    "torch": torch_,
    "damping": damping,
    "bytes": sizes,
}


if __name__ == "__main__":
    print_asked(TABLES)
