"""Entropic transport beside the exact solver of POT: what small epsilon costs, and how far the plan still is.

Run ``python asv_bench/compare_exact.py``; it takes about half a minute.
"""

from __future__ import annotations

import numpy as np
from benchmarks.clock import cpu_seconds  # first: its package holds every library to one thread
from benchmarks.transport.problems import make_problem


def main() -> None:
    import ot

    import equipoise as eq

    print(
        "clouds in the plane, unequal weights, epsilon 1e-3 of the range; CPU seconds, best of two, default tolerances"
    )
    print("    n     emd  sinkhorn  newton  transport cost over the exact one")
    for n in (1000, 2000, 4000):
        p = make_problem("cloud", n, fraction=1e-3, weights="unequal", seed=1)
        calls = (
            lambda p=p: ot.emd2(p.a, p.b, p.cost, numItermax=10**7),
            lambda p=p: eq.transport.sinkhorn(p.cost, p.a, p.b, epsilon=p.epsilon),
            lambda p=p: eq.transport.sinkhorn_newton_sparse(p.cost, p.a, p.b, epsilon=p.epsilon),
        )
        calls[1](), calls[2]()  # compiled by now
        seconds = cpu_seconds(calls, rounds=2)
        over = float(calls[2]().transport_cost) / float(np.asarray(calls[0]()))
        print(f"{n:5d}  {seconds[0]:6.3f}  {seconds[1]:8.3f}  {seconds[2]:6.3f}  {over:.2f}", flush=True)


if __name__ == "__main__":
    main()
