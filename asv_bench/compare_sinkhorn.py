"""A table of Sinkhorn solves: Equipoise on three libraries, POT and OTT-JAX, each to the same true error.

Run ``python asv_bench/compare_sinkhorn.py``; it takes about two minutes. How each peer is called is told, and done, in
``benchmarks/transport/peers.py``, which the benchmarks of the dashboard share.
"""

from __future__ import annotations

import argparse
import itertools
import math

from benchmarks.transport.peers import (
    SOLVERS,
    Measured,
    make_problem,
    measure,
    over,
)  # first: it holds every library to one thread

HEAD = ("cost", "weights", "n", "epsilon", "solver", "CPU s", "steps", "ms/step", "true error", "POT/it", "OTT/it")
WIDTHS = (7, 8, 6, 8, 15, 9, 6, 8, 11, 7, 7)


def line(cells: tuple[str, ...]) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))


def rows(found: dict[str, Measured | str]) -> list[tuple[str, ...]]:
    """One row of figures a solver; an error above the tolerance is marked, since its time then means nothing."""
    made: list[tuple[str, ...]] = []
    for name, figures in found.items():
        if isinstance(figures, str):
            made.append((name, *("-",) * 6))
            continue
        shares = (over(figures, found.get(peer, "not asked for")) for peer in ("pot-log", "ott"))
        ratios = ("-" if math.isnan(share) else f"{1.0 / share:.1f}" for share in shares)
        missed = "" if figures.reached else "!"
        each = f"{1e3 * figures.seconds / figures.steps:.3f}"
        error = f"{missed}{figures.error:.1e}"
        made.append((name, f"{figures.seconds:.4f}", str(figures.steps), each, error, *ratios))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="points on each side (1000)")
    parser.add_argument("--tol", type=float, help="true L1 error to reach (1e-6; in float32 1e-4)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument(
        "--solvers", nargs="+", choices=SOLVERS, default=SOLVERS, metavar="NAME", help=", ".join(SOLVERS)
    )
    options = parser.parse_args()

    print(f"{options.dtype}, one thread; the last two columns: how many times faster than POT and OTT-JAX", flush=True)
    print(line(HEAD))
    reasons: set[str] = set()
    for cost, uniform, epsilon in itertools.product(("random", "cloud"), (True, False), (0.05, 0.005)):
        weights = "uniform" if uniform else "unequal"
        problem = make_problem(cost, options.n, epsilon, weights=weights, dtype=options.dtype, tol=options.tol)
        found = measure(problem, options.solvers)
        reasons |= {figures for figures in found.values() if isinstance(figures, str)}
        for cells in rows(found):
            print(line((cost, weights, str(options.n), str(epsilon), *cells)), flush=True)
        print()
    print(*sorted(reasons), sep="\n")


if __name__ == "__main__":
    main()
