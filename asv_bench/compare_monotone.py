"""Speed and accuracy of the monotone family as Markdown, all sides of a row measured in turn.

Run ``python asv_bench/compare_monotone.py`` with the names of some of its tables: sums, slope, loss, games, kinds, ipm,
programs, exact. All of them take about six minutes. What is compared is told in
``benchmarks/monotone/finite_sums.py``, ``games.py``, ``programs.py`` and, of the peers, ``peers.py``. Seconds are CPU
seconds on one thread; "times faster" is the peer's over ours at the error that the peer has reached: higher is better.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterable
from typing import Any

from benchmarks.monotone import finite_sums, games, programs  # first: their package holds every library to one thread
from benchmarks.monotone.finite_sums import Measured
from benchmarks.monotone.peers import Duel
from benchmarks.tables import print_asked


def table(*head: str) -> None:
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)


def row(*cells: Any) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Finite sums

SUMS = {
    "logistic": (1000, 4000, 20_000, 100_000),
    "robust": (1000, 4000, 20_000),
    "boxed": (1000, 4000, 20_000),
    "short": (1000,),
}


def sums() -> None:
    """Epochs and CPU seconds of every method."""
    finite_sums.load()
    print("\nFinite sums, d = 50: epochs and CPU seconds to a residual of 1e-4, median of three seeds of the samples;")
    print(
        "methods that are not there after 1.5 times the epochs of the deterministic one: what is left of the residual"
    )
    methods = ["extragradient", "halpern_vr", "halpern_vr, published refresh", "halpern_vr, theory"]
    table("problem", "n", "halpern, restarted", *methods, "fewer calls", "times faster")
    for kind, sizes in SUMS.items():
        for n in sizes:
            s = finite_sums.make_sum(kind, n)
            plain = finite_sums.best_deterministic(s)
            found = {}
            for method in methods:
                seeds = 1 if method == "halpern_vr, theory" else 3
                most = {"extragradient": 3.0 if n < 100_000 else 1.0, "halpern_vr, theory": 1.0}.get(method, 1.5)
                found[method] = finite_sums.measure(s, method, seeds=seeds, epochs=most * plain.epochs)
            mine = found["halpern_vr"]
            gains = ["", ""]
            if mine.reached and plain.reached:
                gains = [f"{plain.epochs / mine.epochs:.1f}", f"{plain.seconds / mine.seconds:.1f}"]
            row(kind, n, told(plain), *map(told, found.values()), *gains)


def told(m: Measured) -> str:
    if m.reached:
        return f"{m.epochs:.0f}; {m.seconds:.2f} s"
    if not math.isfinite(m.error) or m.status in ("DIVERGED", "NOT_FINITE"):
        return m.status.lower().replace("_", " ")
    return f"{m.error:.2g} times too large"


def slope() -> None:
    """How the gain grows with n."""
    finite_sums.load()
    print("\nLogistic problem: calls of the restarted deterministic method over ours")
    table("n", "published samples and refreshes", "default", "sqrt(n) / 6")
    sizes, gains = SUMS["logistic"], []
    for n in sizes:
        s = finite_sums.make_sum("logistic", n)
        plain = finite_sums.best_deterministic(s).epochs
        both = [finite_sums.measure(s, m).epochs for m in ("halpern_vr, published refresh", "halpern_vr")]
        gains.append([plain / epochs for epochs in both])
        row(n, *(f"{g:.1f}" for g in gains[-1]), f"{math.sqrt(n) / 6.0:.1f}")
    slopes = [finite_sums.slope(list(sizes), [g[k] for g in gains]) for k in range(2)]
    row("exponent of n", *(f"{x:.2f}" for x in slopes), "0.50")


# ---------------------------------------------------------------------------------------------------------------------
# Games


def loss(n: int = 500, epochs: float = 900.0) -> None:
    """What variance reduction loses on dense games."""
    A = games.centred(n)
    games.ours(A[:8, :8].copy(), 1e-3)
    small = games.losers(A[:8, :8].copy(), 5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for call in small.values():
            call()
        print(f"\nThe published loss: epochs and CPU seconds to a residual of 1e-4, normal game of norm 1, n = {n}")
        table("method", "epochs", "CPU, s", "residual", "duality gap")
        seconds, found = games.to_residual(A, 1e-4)
        measured = (games.residual(A, found.x, found.y), games.gap(A, found.x, found.y))
        row("matrix_game", found.steps, f"{seconds:.3f}", *(f"{e:.1e}" for e in measured))
        for name, call in games.losers(A, epochs).items():
            (seconds, solved), m = finite_sums.clocked(call), A.shape[1]
            spent, distance = float(solved.oracle_calls) / max(A.shape), games.gap(A, solved.u[:m], solved.u[m:])
            row(name, f"{spent:.0f}", f"{seconds:.2f}", f"{float(solved.error):.1e}", f"{distance:.1e}")


HEAD = ("peer", "its error", "its steps", "its CPU, s", "our steps", "our CPU, s", "times faster", "our error")


def cells(name: str, d: Duel) -> list[str]:
    faster = f"{1.0 / d.ratio:.2f}" if d.reached else "not reached" if d.solved else "peer failed"
    peer = name if d.solved else f"{name} ({d.status})"
    mine = [str(d.our_steps), f"{d.ours:.4f}", faster, f"{d.our_error:.1e}"]
    return [peer, f"{d.their_error:.1e}", str(d.their_steps), f"{d.theirs:.4f}", *mine]


def duels(make: Any, compare: Any, cases: Iterable[tuple[str, int, int, tuple[str, ...]]], budget: float) -> None:
    """A row a problem and peer; the geometric mean of what is there in the end."""
    gains: dict[str, list[float]] = {}
    for kind, n, seed, peers in cases:
        problem = make(kind, n, seed)
        for peer in peers:
            try:
                d = compare(problem, [peer], budget=budget)[peer]
            except ImportError as reason:
                print(f"skipped {peer}: {reason}", file=sys.stderr)
                continue
            if d.solved:
                gains.setdefault(peer, []).append(1.0 / d.ratio if d.reached else math.nan)
            row(kind, n, seed, *cells(peer, d))
    for peer, found in gains.items():
        there = [g for g in found if math.isfinite(g)]
        mean = math.exp(sum(map(math.log, there)) / len(there)) if there else math.nan
        lost = sum(not g >= 1.0 for g in found)
        print(f"\n{peer}: {mean:.2f} times faster in the geometric mean, slower or not there on {lost} of {len(found)}")


def game_duels(cases: Iterable[tuple[str, int, int, tuple[str, ...]]], budget: float = 4.0) -> None:
    games.LIMIT = 10.0
    table("game", "n", "seed", *HEAD)
    duels(games.make_game, games.compare, cases, budget)


def sizes() -> None:
    """Random games against the same method in MPAX."""
    print("\nGames at MPAX's duality gap (r2HPDHG, 1e-6, warm; min t, A x <= t, sum x = 1, x >= 0, A centred)")
    pairs = [(n, seed) for n, seeds in ((100, 3), (300, 3), (500, 3), (1000, 1)) for seed in range(seeds)]
    game_duels([("uniform", n, seed, ("mpax",)) for n, seed in pairs])


def kinds() -> None:
    """Other kinds of games."""
    print("\nKinds of games, at MPAX's duality gap")
    game_duels([(kind, n, 0, ("mpax",)) for kind in games.KINDS for n in (100, 300)], budget=2.0)


def ipm() -> None:
    """Interior points."""
    print("\nGames at the duality gap of HiGHS's interior-point method (1e-6, without crossover)")
    some = [("uniform", n, seed) for n in (100, 300, 500, 1000) for seed in range(1 if n == 1000 else 2)]
    some += [(kind, 500, 0) for kind in ("normal", "skew", "wide", "burglar")]
    game_duels([(*case, ("highs-ipm",)) for case in some])


def exact() -> None:
    """Simplex and others, for information."""
    print("\nFor information: HiGHS's simplex method, exact, against ours to 1e-6 of the range of the entries;")
    print("HiGHS's first-order method and SCS at their own tolerance of 1e-6")
    peers = ("highs-simplex", "highs-pdlp", "scs")
    game_duels([("uniform", 100, 0, peers), ("uniform", 300, 0, peers), ("burglar", 300, 0, peers)], budget=2.0)
    game_duels([(kind, 500, 0, ("highs-simplex",)) for kind in ("uniform", "skew", "burglar", "wide")], budget=2.0)
    program_duels([(kind, 400, 0, peers) for kind in programs.KINDS], budget=2.0)


# ---------------------------------------------------------------------------------------------------------------------
# Linear programs


def program_duels(cases: Iterable[tuple[str, int, int, tuple[str, ...]]], budget: float = 4.0) -> None:
    programs.LIMIT = 10.0
    table("program", "n", "seed", *HEAD)
    duels(programs.make_program, programs.compare, cases, budget)


def linear() -> None:
    """Dense programs."""
    print("\nDense linear programs at the relative error of the peer (both at their tolerance of 1e-6)")
    cases = [(kind, 100, 0, ("mpax",)) for kind in programs.KINDS]
    cases += [(kind, 400, 0, ("mpax", "highs-ipm")) for kind in programs.KINDS]
    cases += [(kind, 1000, 0, ("mpax",)) for kind in ("equality", "inequality", "mixed")]
    program_duels(cases, budget=2.0)


TABLES = {
    "sums": sums,
    "slope": slope,
    "loss": loss,
    "games": sizes,
    "kinds": kinds,
    "ipm": ipm,
    "programs": linear,
    "exact": exact,
}


if __name__ == "__main__":
    print_asked(TABLES)
