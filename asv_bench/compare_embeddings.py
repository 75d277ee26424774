"""Which head keeps which distances, as Markdown: tables of points fitted to shortest paths of three kinds of graphs.

Run ``python asv_bench/compare_embeddings.py``, some minutes, or with the names of some of its tables: heads, rates,
stops, held. Every fit has 64 numbers a point, starts from seeded normal numbers and runs with the settings of the
library until it converges, 4000 steps at most; means over three seeds, which are those of the random graphs too.
Seconds are CPU seconds on one thread.
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.tables import print_asked  # first: its package holds every library to one thread

from equipoise import ConvergenceWarning
from equipoise.quasimetric import ALPHA, Quality, fit, iqe_pairwise, iqe_pairwise_vjp, quality

DIM, SEEDS, STEPS, DISCOUNT = 64, (0, 1, 2), 4000, 0.9
Distances = np.ndarray[Any, np.dtype[np.float64]]


def table(*head: str) -> None:
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)


def row(*cells: Any) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Graphs


def shortest(D: Distances) -> Distances:
    """All shortest ways, by Floyd and Warshall."""
    for k in range(len(D)):
        D = np.minimum(D, D[:, k : k + 1] + D[k])
    return D


@functools.cache
def digraph(n: int, seed: int) -> Distances:
    """Every ordered pair is an edge with probability 2.5 / (n - 1), all edges of length 1."""
    rng = np.random.default_rng(seed)
    D = np.where(rng.random((n, n)) < 2.5 / (n - 1), 1.0, math.inf)
    np.fill_diagonal(D, 0.0)
    return shortest(D)


@functools.cache
def streets(m: int, seed: int = 0) -> Distances:
    """Crossings of m streets by m, all one-way, neighbours in turn in the two directions; the seed changes nothing."""
    D = np.full((m * m, m * m), math.inf)
    np.fill_diagonal(D, 0.0)
    place = np.arange(m * m).reshape(m, m)
    for turn, lines in enumerate((place, place.T)):
        for k, line in enumerate(lines):
            ahead = line if (k + turn) % 2 == 0 else line[::-1]
            D[ahead[:-1], ahead[1:]] = 1.0
    return shortest(D)


GRAPHS: dict[str, Callable[[int], Distances]] = {
    "random digraph, n = 60": lambda seed: digraph(60, seed),
    "random digraph, n = 150": lambda seed: digraph(150, seed),
    "one-way streets, 10 x 10": lambda seed: streets(10, seed),
}


# ---------------------------------------------------------------------------------------------------------------------
# Fits


def embedded(D: Distances, seed: int, **options: Any) -> Any:
    """A fit of the library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(D, dim=DIM, max_steps=STEPS, rng=seed, history=False, **options)


def iqe(width: int, reduction: str) -> Callable[[Distances, int], Any]:
    return lambda D, seed: embedded(D, seed, components=DIM // width, reduction=reduction)


def pqe(width: int) -> Callable[[Distances, int], Any]:
    return lambda D, seed: embedded(D, seed, components=DIM // width, head="pqe")


def apart(D: Distances) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return ~np.eye(len(D), dtype=bool)


def floors(D: Distances) -> Distances:
    """The squared error that the best symmetric distance leaves at each pair."""
    aims = DISCOUNT**D
    return (0.5 * (aims - aims.T)) ** 2


def adam(D: Distances, seed: int, rate: float, value: Any, slopes: Any) -> Distances:
    """The same loss for distances of one's own, `value(x)` and `slopes(g, x, d)`: 1000 steps, a rate lowered twice."""
    aims, off = DISCOUNT**D, apart(D)
    x = 0.5 * np.random.default_rng(seed).standard_normal((len(D), DIM))
    mean, square = np.zeros_like(x), np.zeros_like(x)
    best, kept = math.inf, value(x)
    for t in range(1, 1001):
        if t in (601, 801):
            rate = 0.3 * rate
        d = value(x)
        seen = DISCOUNT**d
        away = np.where(off, seen - aims, 0.0)
        loss = float(np.mean(away[off] ** 2))
        if loss < best:
            best, kept = loss, d
        g = slopes(2.0 * math.log(DISCOUNT) * away * seen / off.sum(), x, d)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g * g
        x = x - rate * (mean / (1.0 - 0.9**t)) / (np.sqrt(square / (1.0 - 0.999**t)) + 1e-8)
    return kept


def euclidean(x: Distances) -> Distances:
    squares = np.sum(x * x, axis=1)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2.0 * x @ x.T, 0.0))


def euclidean_slopes(g: Distances, x: Distances, d: Distances) -> Distances:
    pull = np.where(d > 0.0, g / np.where(d > 0.0, d, 1.0), 0.0)
    pull = pull + pull.T
    return pull.sum(axis=1)[:, None] * x - pull @ x


def euclid(D: Distances, seed: int) -> Distances:
    return adam(D, seed, 0.1, euclidean, euclidean_slopes)


def shares(alpha: float) -> Callable[[Distances, int], Any]:
    """IQE-maxmean of width 8 with another share of the maximum; `fit` has the published one."""
    settings: dict[str, Any] = {"components": DIM // 8, "alpha": alpha}

    def slopes(g: Distances, x: Distances, d: Distances) -> Distances:
        gu, gv = iqe_pairwise_vjp(x, None, g, **settings)
        return gu + gv

    return lambda D, seed: adam(D, seed, 0.3, lambda x: iqe_pairwise(x, **settings), slopes)


HEADS: dict[str, Callable[[Distances, int], Any]] = {
    "IQE-max, l = 2": iqe(2, "max"),
    "IQE-max, l = 8": iqe(8, "max"),
    "IQE-max, l = 16": iqe(16, "max"),
    "IQE-sum, l = 2": iqe(2, "sum"),
    "IQE-sum, l = 8": iqe(8, "sum"),
    "IQE-sum, l = 16": iqe(16, "sum"),
    "IQE-mean, l = 8": iqe(8, "mean"),
    f"IQE-maxmean, l = 8, alpha {ALPHA:.2f}": iqe(8, "maxmean"),
    "IQE-maxmean, l = 8, alpha 0.5": shares(0.5),
    "IQE-maxmean, l = 8, alpha 0.75": shares(0.75),
    "PQE-LH, l = 4": pqe(4),
    "PQE-LH, l = 16": pqe(16),
    "Euclid": euclid,
}


def heads() -> None:
    """The table of heads."""
    for name, graph in GRAPHS.items():
        floor = float(np.mean([np.mean(floors(graph(s))[apart(graph(s))]) for s in SEEDS]))
        away = 100.0 * np.mean([np.mean(np.isinf(graph(s))) for s in SEEDS])
        print(f"\nHeads on {name}, {away:.0f} % unreachable; symmetric floor {floor:.1e}")
        table("head", "discounted MSE", "of floor", "mean error", "stretch", "d, unreachable", "AUC", "steps", "CPU, s")
        for head, call in HEADS.items():
            found, seconds, steps = [], [], []
            for seed in SEEDS:
                start = time.process_time()
                made = call(graph(seed), seed)
                seconds.append(time.process_time() - start)
                steps.append(int(getattr(made, "steps", 1000)))
                d = made.distances() if hasattr(made, "distances") else made
                found.append(quality(d, graph(seed), discount=DISCOUNT))
            row(head, *told(found, floor), f"{np.mean(steps):.0f}", f"{np.mean(seconds):.1f}")


def told(found: list[Quality[Any]], floor: float) -> list[str]:
    """Means over the seeds."""

    def mean(field: str) -> float:
        return float(np.mean([getattr(q, field) for q in found]))

    error = mean("discounted_error")
    shown = [f"{error:.2e}", f"{error / floor:.3f}", f"{mean('mean_error'):.2f}", f"{mean('distortion'):.1f}"]
    far = "-" if math.isnan(mean("unreachable")) else f"{mean('unreachable'):.1f}"
    return [*shown, far, "-" if math.isnan(mean("auc")) else f"{mean('auc'):.4f}"]


# ---------------------------------------------------------------------------------------------------------------------
# Settings of a fit


SETTINGS: dict[str, dict[str, Any]] = {
    "IQE-max": {"reduction": "max", "components": 8},
    "IQE-sum": {"reduction": "sum", "components": 8},
    "IQE-maxmean": {"reduction": "maxmean", "components": 8},
    "PQE-LH": {"head": "pqe", "components": 16},
}
FEW = ("random digraph, n = 60", "one-way streets, 10 x 10")


def rates() -> None:
    """What the first learning rate does."""
    tried = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    print(f"\nFirst learning rates on {FEW[0]}: discounted MSE, and steps")
    table("head", *map(str, tried))
    for head, settings in SETTINGS.items():
        row(head, *(ended(FEW[0], learning_rate=rate, **settings) for rate in tried))


def stops() -> None:
    """What a tolerance stops at."""
    tried = (1e-1, 1e-2, 1e-3)
    print("\nTolerances: discounted MSE, and steps")
    table("graph", "head", *(f"tol = {tol:g}" for tol in tried))
    for name in FEW:
        for head in ("IQE-max", "IQE-sum"):
            row(name, head, *(ended(name, tol=tol, **SETTINGS[head]) for tol in tried))


def ended(name: str, **settings: Any) -> str:
    """The mean loss of two seeds, and the steps."""
    found = [embedded(GRAPHS[name](seed), seed, **settings) for seed in SEEDS[:2]]
    return f"{np.mean([f.loss for f in found]):.1e}, {np.mean([f.steps for f in found]):.0f}"


def held() -> None:
    """A fifth of the pairs held out."""
    print("\nA fifth of the pairs held out: errors on these pairs, beside their symmetric floor")
    table("graph", "head", "fitted MSE", "held-out MSE", "floor", "mean error, held out")
    for name in FEW:
        for head, settings in SETTINGS.items():
            found = np.mean([held_out(GRAPHS[name](seed), seed, settings) for seed in SEEDS], axis=0)
            row(name, head, *(f"{x:.1e}" for x in found[:3]), f"{found[3]:.2f}")


def held_out(D: Distances, seed: int, settings: dict[str, Any]) -> tuple[float, ...]:
    hidden = apart(D) & (np.random.default_rng([seed, 1]).random(D.shape) < 0.2)  # not the numbers of the graph
    found = embedded(D, seed, weights=(~hidden).astype(float), **settings)
    d, aims = found.distances(), DISCOUNT**D
    error = (DISCOUNT**d - aims)[hidden]
    away = np.abs(d - D)[hidden & np.isfinite(D)]
    return float(found.loss), float(np.mean(error**2)), float(np.mean(floors(D)[hidden])), float(np.mean(away))


TABLES = {"heads": heads, "rates": rates, "stops": stops, "held": held}


if __name__ == "__main__":
    print_asked(TABLES)
