"""Speed and accuracy of the sketching family as Markdown, all sides of a table in one process.

Run ``python asv_bench/compare_sketch.py``, about six minutes, or with the names of some of its tables: lstsq, passes,
libraries, accuracy, adversarial, auto. What is compared is told in ``benchmarks/sketch/least_squares.py`` and
``passes.py``. Speed is how many times less CPU time than the peer, on one thread: higher is better.
"""

from __future__ import annotations

import functools
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from benchmarks.clock import cpu_seconds, keep_freed_memory  # first: its package holds every library to one thread
from benchmarks.sketch.least_squares import (
    CASES,
    GRID,
    ROWS,
    SEED,
    Case,
    answered,
    auto_over_numpy,
    backward_error,
    measure,
    spectrum,
)
from benchmarks.sketch.passes import PAIRS, passes
from benchmarks.tables import print_asked

PEERS = ("numpy", "gelsd", "gelsy", "normal")


def table(*head: str) -> None:
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)


def row(*cells: Any) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Speed


def lstsq() -> None:
    """How many times faster than each peer, and the backward errors behind it."""
    print("\nLeast squares: CPU time of the peer over ours; backward error relative to |A|")
    peers = [f"over {name}" for name in ("numpy", "scipy gelsd", "scipy gelsy", "normal equations (unsafe)")]
    table("problem", "method", *peers, "aim over numpy", "error", "error as told", "numpy's", "gelsy's", "normal's")
    for key in dict.fromkeys(key for key, *_ in ROWS if "short" not in key or key == "100-short"):
        mine = [(solver, aim) for name, solver, aim, _ in ROWS if name == key]
        found = measure(CASES[key], [*(solver for solver, _ in mine), *PEERS])
        errors = [f"{found[peer].error:.1e}" for peer in ("numpy", "gelsy", "normal")]
        for solver, aim in mine:
            m = found[solver]
            faster = [f"{found[peer].seconds / m.seconds:.2f}" for peer in PEERS]
            row(CASES[key], solver, *faster, aim, f"{m.error:.1e}", f"{m.told:.1e}", *errors)


def sketches() -> None:
    """Ours over the peer, as the specification has it."""
    print("\nSketches of 12 d rows and passes over A, n = 2^17: our CPU time over the peer's, lower is better")
    table("ours", "peer", "d = 96", "d = 128", "at most")
    found = [passes(2**17, d) for d in (96, 128)]
    for mine, peer, aim in PAIRS:
        row(mine, peer, *(f"{f[mine] / f[peer]:.3f}" for f in found), f"{aim:.2g}" if math.isfinite(aim) else "")


def libraries() -> None:
    """The numpy kernels, borrowed."""
    from equipoise.sketch import lstsq as solve

    print("\nThe same problem in other libraries on the CPU, n = 2^17, d = 128")
    table("arrays", "method", "our time over that with numpy arrays", "times faster than the library's lstsq")
    keep_freed_memory()
    A, b = CASES["128"].make()
    for name, kind, theirs in elsewhere():
        A2, b2 = kind(A), kind(b)
        for method in ("auto", "spir"):
            calls: list[Callable[[], Any]] = [
                functools.partial(solve, A, b, method=method),
                functools.partial(solve, A2, b2, method=method),
                functools.partial(theirs, A2, b2),
            ]
            for call in calls:
                call()
            numpys, mine, peer = cpu_seconds(calls, rounds=9, budget=4.0)
            row(name, method, f"{mine / numpys:.3f}", f"{peer / mine:.2f}")


def elsewhere() -> Iterator[tuple[str, Callable[[Any], Any], Callable[[Any, Any], Any]]]:
    """Libraries that are there: name, how an array comes in, their solver."""
    try:
        import torch

        yield "torch", torch.from_numpy, lambda A, b: torch.linalg.lstsq(A, b[:, None], driver="gelsd").solution
        yield "torch (its gelsy)", torch.from_numpy, lambda A, b: torch.linalg.lstsq(A, b[:, None]).solution
    except ImportError as reason:
        print(f"skipped torch: {reason}", file=sys.stderr)
    try:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
        yield "jax", jnp.asarray, lambda A, b: jnp.linalg.lstsq(A, b)[0].block_until_ready()
    except ImportError as reason:
        print(f"skipped jax: {reason}", file=sys.stderr)


def auto() -> None:
    """Every shape on which ``auto`` costs more than 1.1 times numpy."""
    print("\n`auto` over numpy.linalg.lstsq, least of interleaved rounds: shapes above 1.1")
    table("d", "n", "numpy, us", "auto / numpy", "extra, us")
    keep_freed_memory()
    cells, above, large = 0, 0, 1.0
    for d in GRID[0]:
        for n in dict.fromkeys(max(1, int(d * r)) for r in GRID[1] if d * d * r <= 3e7):
            mine, peer = auto_over_numpy(n, d)
            cells += 1
            if mine > 1.1 * peer:
                above += 1
                row(d, n, f"{1e6 * peer:.0f}", f"{mine / peer:.2f}", f"{1e6 * (mine - peer):.0f}")
                large = max(large, mine / peer) if peer > 2.5e-3 else large
    print(f"\n{above} of {cells} shapes; where numpy takes more than 2.5 ms the worst is {large:.2f}.")


# ---------------------------------------------------------------------------------------------------------------------
# Accuracy


def accuracy() -> None:
    """The backward error, and the distance from the exact solution, against condition and residual.

    The latter is at best about u cond^2 residual: from 1e8 on with a large residual, x has no digit for anybody.
    """
    methods = ("direct", "cholesky_qr", "spir", "normal", "numpy")
    print("\nBackward error, relative to |A|, and |x - x*| / |x*|; n = 16384, d = 100")
    names = ("direct", "cholesky_qr", "spir", "normal equations")
    table("cond", "residual", *names, "numpy, its own rcond", *(f"x: {name}" for name in names))
    for condition in (1e2, 1e4, 1e6, 1e8, 1e10, 1e12, 1e14):
        for residual in (1e-6, 1e-1, 1.0):
            A, b, truth = Case(2**14, 100, condition, residual, exact=True).solved()
            factors = spectrum(A)
            found = {method: answered(method, A, b)[0] for method in methods}
            errors = [backward_error(A, b, x, factors) for x in found.values()]
            away = [float(np.linalg.norm(found[method] - truth)) for method in methods[:-1]]
            row(f"{condition:.0e}", f"{residual:g}", *("fails" if math.isnan(e) else f"{e:.1e}" for e in errors + away))


KINDS = (("gaussian", 0), ("rademacher", 0), ("srht", 0), ("sparse_sign", 16), ("sparse_sign", 8), ("countsketch", 0))


def adversarial() -> None:
    """A = [I; 0] and a residual on 2m/d rows: C = |x' - x*|_inf sqrt(m), and how often all error bars hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a countsketch of it is singular
        print("\nAdversarial instance, m = 16 d, n = 16 m: median of C over seeds")
        table("kind", "d = 64", "d = 256", "d = 512")
        for kind, s in KINDS:
            medians = [np.median([one(kind, s, d, seed)[0] for seed in range(k)]) for d, k in SIZES]
            row(named(kind, s), *(f"{c:.2f}" for c in medians))
        row("sqrt(d / 2)", *(f"{math.sqrt(d / 2):.2f}" for d, _ in SIZES))
        row("sqrt(2 ln 2d)", *(f"{math.sqrt(2 * math.log(2 * d)):.2f}" for d, _ in SIZES))
        coverage()


SIZES = ((64, 100), (256, 20), (512, 8))  # columns and seeds


def coverage(seeds: int = 200, delta: float = 0.1) -> None:
    """Whether the error bars hold jointly as often as they say."""
    from scipy.stats import binomtest

    print(
        f"\nThe same with d = 64, {seeds} seeds: all |x_i - x*_i| <= coordinate_bound({delta}), nominal {1 - delta:g}"
    )
    table("kind", "coverage", "95 % binomial interval", "C median", "C max")
    for kind, s in KINDS:
        found = [one(kind, s, 64, 1000 + seed, delta) for seed in range(seeds)]
        C = [c for c, _ in found]
        held = [h for _, h in found if h is not None]
        cells = ["no bound", ""]
        if held:
            interval = binomtest(sum(held), seeds).proportion_ci()
            cells = [f"{sum(held) / seeds:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"]
        row(named(kind, s), *cells, f"{np.median(C):.2f}", f"{max(C):.2f}")


def named(kind: str, s: int) -> str:
    return f"{kind}, s = {s}" if s else kind


def one(kind: str, s: int, d: int, seed: int, delta: float = 0.1) -> tuple[float, bool | None]:
    """C of one draw, and whether its bound holds (None: there is none). Rows of zeros need not be shown to a sketch."""
    from equipoise.sketch import sketch_operator
    from equipoise.sketch.accumulate import accumulate

    m = 16 * d
    k = 2 * m // d
    A, b = np.zeros((d + k, d)), np.zeros(d + k)
    A[:d], b[d:] = np.eye(d), 1 / math.sqrt(k)
    S = sketch_operator(kind, m, 16 * m, rng=SEED + seed, **({"s": s} if s else {}))
    found = accumulate(S).update(A, b, start=0).solve(partial=True)
    C = float(np.max(np.abs(found.x)) * math.sqrt(m))
    try:
        return C, bool(np.all(np.abs(found.x) <= found.coordinate_bound(delta)))
    except ValueError:
        return C, None


TABLES = {
    "lstsq": lstsq,
    "passes": sketches,
    "libraries": libraries,
    "accuracy": accuracy,
    "adversarial": adversarial,
    "auto": auto,
}


if __name__ == "__main__":
    print_asked(TABLES)
