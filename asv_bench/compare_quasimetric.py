"""Speed and memory of quasimetric embeddings as Markdown, both sides of a row measured in turn.

Run ``python asv_bench/compare_quasimetric.py``, about five minutes, or with the names of some of its tables: promised,
all, pairs, poisson, jax, memory. The peers, and what is timed, are told in ``benchmarks/quasimetric/peers.py``. Seconds
are CPU seconds on one thread, "times faster" is the peer's over ours: higher is better. The textbook form takes
gigabytes at 1024 x 1024, in a process of its own.
"""

from __future__ import annotations

import functools
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from benchmarks.quasimetric.distances import STRIP, allocated  # first: its package holds every library to one thread
from benchmarks.quasimetric.peers import (
    KL,
    Case,
    Cost,
    all_pairs,
    cdist,
    gaussian_pairs,
    jitted,
    measure,
    needed,
    pairs,
    points,
)
from benchmarks.tables import print_asked

MAIN = KL["8x16"]


def table(*head: str) -> None:
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)


def row(*cells: Any) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def apart(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """A call in a process of its own, whose memory goes back to the system."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *args, **options).result()


def cost_of(make: Callable[..., Case], *args: Any, rounds: int = 6, budget: float = 2.0, **options: Any) -> Cost:
    return measure(make(*args, **options), rounds=rounds, budget=budget)


def cells(cost: Cost) -> list[str]:
    faster = 1.0 / cost.ratio
    return [
        f"{1e3 * cost.ours:.1f}",
        f"{1e3 * cost.theirs:.0f}",
        f"{faster:.0f}" if faster >= 9.5 else f"{faster:.1f}",
        f"{cost.apart:.0e}",
    ]


HEAD = ("case", "ours, ms", "peer, ms", "times faster")


def promised() -> None:
    """What is promised, and aimed at."""
    print("\n8 components of 16 latents, float32, normal points: against the textbook form in torch, but derivatives")
    print("of all pairs against the form that sorts once")
    table(*HEAD, "distances apart", "promised", "aim")
    cost = apart(cost_of, all_pairs, MAIN, 1024, budget=1.0)
    row("all pairs, 1024 x 1024, forward", *cells(cost), 200, 600)
    cost = cost_of(all_pairs, MAIN, 512, peer="sorted_once", gradient=True)
    row("all pairs, 512 x 512, forward and backward", *cells(cost), 20, 60)
    row("65,536 pairs, forward", *cells(cost_of(pairs, MAIN, 65_536)), 12, 40)
    row("65,536 pairs, forward and backward", *cells(cost_of(pairs, MAIN, 65_536, gradient=True)), 8, 25)


def all_tables() -> None:
    """All pairs."""
    print("\nAll pairs; a peer computes as many rows as make 16,384 pairs, and its time is multiplied")
    table("components x latents", "n", "dtype", *HEAD[1:], "with derivatives: ours, ms", "peer, ms", "times faster")
    for name, kl in KL.items():
        for n, dtype in ((256, "float32"), (1024, "float32"), *([(256, "float64")] if kl == MAIN else [])):
            rows = STRIP // n
            plain = cost_of(all_pairs, kl, n, rows=rows, dtype=dtype)
            slope = cost_of(all_pairs, kl, n, rows=rows, dtype=dtype, peer="sorted_once", gradient=True)
            row(name, n, dtype, *cells(plain)[:3], *cells(slope)[:3])
    print("\nAll pairs, 512 x 512, float32: distances against torch.cdist(p=1) of the same points, as a floor")
    table("components x latents", "ours, ms", "cdist, ms", "times faster")
    for name, kl in KL.items():
        cost = cost_of(cdist, kl, 512)
        row(name, f"{1e3 * cost.ours:.1f}", f"{1e3 * cost.theirs:.1f}", f"{1.0 / cost.ratio:.1f}")


def pair_tables() -> None:
    """Pairs."""
    print("\nPairs, one by one: 65,536, or 16,384 where there are 512 latents")
    table("components x latents", "dtype", "peer", *HEAD[1:], "with derivatives: ours, ms", "peer, ms", "times faster")
    cases = [(name, "float32", "textbook") for name in KL]
    cases += [("8x16", "float64", "textbook"), ("8x16", "float32", "sorted_once")]
    for name, dtype, peer in cases:
        count = 65_536 if KL[name][1] < 64 else 16_384
        both = [cost_of(pairs, KL[name], count, peer=peer, dtype=dtype, gradient=g, rounds=5) for g in (False, True)]
        row(name, dtype, peer.replace("_", " "), *cells(both[0])[:3], *cells(both[1])[:3])


def poisson() -> None:
    """The Poisson embedding."""
    print(
        "\nPoisson quasimetrics, 8 components of 16 latents: under Lebesgue's measure against one broadcast in torch,"
    )
    print("under a Gaussian measure against the ncx2 distribution of scipy, which works in float64")
    table(*HEAD, "distances apart")
    for name, gradient in (("forward", False), ("forward and backward", True)):
        cost = cost_of(all_pairs, MAIN, 512, peer="lebesgue", gradient=gradient)
        row(f"Lebesgue, all pairs, 512 x 512, {name}", *cells(cost))
    for name, gradient in (("forward", False), ("forward and backward", True)):
        row(f"Lebesgue, 65,536 pairs, {name}", *cells(cost_of(pairs, MAIN, 65_536, peer="lebesgue", gradient=gradient)))
    for dtype in ("float64", "float32"):
        row(
            f"Gaussian, all pairs, 128 x 128, {dtype}",
            *cells(cost_of(gaussian_pairs, MAIN, 128, dtype=dtype, rounds=3)),
        )


def jax_table() -> None:
    """Compiled by jax."""
    print("\njax, jitted and warm, float32, all pairs: the portable body against the textbook form")
    table("n", *HEAD[1:], "with derivatives: ours, ms", "peer, ms", "times faster")
    for n in (128, 256):
        both = [apart(cost_of, jitted, MAIN, n, gradient=g, rounds=5) for g in (False, True)]
        row(n, *cells(both[0])[:3], *cells(both[1])[:3])


def resident(peer: str, n: int, gradient: bool) -> float:
    """How far a peer's call raises the most that a fresh process has resident, in MB."""
    scale = 1024 if sys.platform != "darwin" else 2**20
    call = all_pairs(MAIN, n, peer=peer, gradient=gradient, rows=8)  # torch is loaded, and every operation has run
    call[1]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    all_pairs(MAIN, n, peer=peer, gradient=gradient)[1]()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / scale


def memory() -> None:
    """Memory."""
    quasimetric, _ = needed()
    k, l = MAIN
    print("\nMemory beside the points, 8 components of 16 latents, float32, MB: what ours allocates, results included,")
    print("and how far the peer raises the resident size of a process")
    table("all pairs", "results", "ours", "peer", "peer's form")
    for n, gradient, peer in ((1024, False, "textbook"), (1024, False, "sorted_once"), (512, True, "sorted_once")):
        u, v, g = points((n, k * l), (n, k * l), (n, n))
        forward = functools.partial(quasimetric.iqe_pairwise, u, v, components=k)
        backward = functools.partial(quasimetric.iqe_pairwise_vjp, u, v, g, components=k)
        call = backward if gradient else forward
        call()
        size = (2 * n * k * l if gradient else n * n) * 4 / 2**20
        name = f"{n} x {n}, {'derivatives' if gradient else 'forward'}"
        theirs = apart(resident, peer, n, gradient)
        row(name, f"{size:.1f}", f"{allocated(call):.1f}", f"{theirs:.0f}", peer.replace("_", " "))


TABLES = {
    "promised": promised,
    "all": all_tables,
    "pairs": pair_tables,
    "poisson": poisson,
    "jax": jax_table,
    "memory": memory,
}


if __name__ == "__main__":
    print_asked(TABLES)
