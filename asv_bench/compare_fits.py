"""How many pairs each form of a dense preconditioner needs, where it stalls, and where its error ends, as Markdown.

Run ``python asv_bench/compare_fits.py`` with the names of some of its tables: known, single, ends, hard, mixed, noise.
All of them take some seven minutes of CPU time, on which nothing else here depends. H is given exactly: its eigenvalues
are known, its eigenvectors random. Errors are |P|H| - I|_F / sqrt(n), counted at every 500th pair. A cell of the first
tables holds the pairs after which the error was below 1e-6 / 1e-12 (float32: 1e-4 / 1e-5) for good, the median of
three seeds; "-" says not within 40,000, and a number in brackets is then the error there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from benchmarks.tables import print_asked  # first: its package holds every library to one thread

from equipoise.precondition import Annealed, Psgd, psgd

N, EVERY, MOST = 50, 500, 40_000
CONDITIONS = (10, 100, 1000)
FORMS: tuple[tuple[str, float], ...] = (
    ("eq", 0.5),
    ("eq", 1.0),
    ("eq", 1.5),
    ("quad", 0.1),
    ("quad", 0.2),
    ("quad", 0.3),
    ("qeq", 0.1),
    ("qeq", 0.3),
    ("procrustes", 0.1),
    ("procrustes", 0.25),
    ("procrustes", 0.5),
)


def table(*head: str) -> None:
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)


def row(*cells: Any) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Matrices and fits


def rotated(values: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A symmetric matrix of these eigenvalues."""
    basis = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return (basis * values) @ basis.T


def spread(n: int, condition: float) -> np.ndarray[Any, Any]:
    """Eigenvalues that are evenly spaced in their logarithm, centred at 1."""
    return np.geomspace(condition**-0.5, condition**0.5, n)


def gathered(n: int, condition: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Eigenvalues near the two ends, half of them each, within a factor of 2."""
    ends = np.repeat([condition**-0.5, condition**0.5], [n // 2, n - n // 2])
    return ends * np.exp(rng.uniform(0.0, math.log(2.0), n) * np.where(ends < 1, 1.0, -1.0))


def errors(
    p: Psgd, H: np.ndarray[Any, Any], rng: np.random.Generator, *, most: int, noise: float = 0.0, dtype: Any = float
) -> Iterator[tuple[int, float]]:
    """Pairs seen, and how far P is from the inverse root of H^2, and of the noise's second moment if there is some."""
    n = len(H)
    w, X = np.linalg.eigh(H)
    root = (X * np.sqrt(w * w + noise * noise)) @ X.T
    state = p.init(np.zeros(n, dtype))
    for seen in range(EVERY, most + 1, EVERY):
        V = rng.standard_normal((EVERY, n))
        h = V @ H + noise * rng.standard_normal((EVERY, n))
        state = p.sweep(state, V.astype(dtype), h.astype(dtype))
        yield seen, float(np.linalg.norm(p.to_dense(state).astype(float) @ root - np.eye(n)) / math.sqrt(n))


def needed(found: Sequence[tuple[int, float]], bounds: Sequence[float]) -> list[float]:
    """The pairs from which on the error stays below each bound; infinite if it does not."""
    last = [max((seen for seen, error in found if not error <= bound), default=0) for bound in bounds]
    return [seen + EVERY if seen < found[-1][0] else math.inf for seen in last]


def tried(form: str, step: float, condition: float, seed: int, bounds: Sequence[float], dtype: Any) -> Any:
    """Pairs to each bound, and the error at the end; a run is over once it is well below the last bound."""
    rng = np.random.default_rng(seed)
    p, found = psgd(form=form, step=step, damping=0.0), []
    for seen, error in errors(p, rotated(spread(N, condition), rng), rng, most=MOST, dtype=dtype):
        found.append((seen, error))
        if error < 0.3 * bounds[-1]:
            break
    return [*needed(found, bounds), found[-1][1]]


def grid(bounds: Sequence[float], dtype: Any) -> None:
    table("form, step", *(f"condition {c}" for c in CONDITIONS))
    for form, step in FORMS:
        cells = []
        for condition in CONDITIONS:
            *pairs, end = np.median([tried(form, step, condition, s, bounds, dtype) for s in range(3)], axis=0)
            told = " / ".join(f"{x:.0f}" if math.isfinite(x) else "-" for x in pairs)
            cells.append(told if math.isfinite(pairs[-1]) else f"{told} ({end:.1g})")
        row(f"{form} {step:g}", *cells)


# ---------------------------------------------------------------------------------------------------------------------
# Tables


def known() -> None:
    """Clean pairs of a definite matrix, float64."""
    print(f"\nPairs to 1e-6 / 1e-12, n = {N}, eigenvalues evenly spaced in their logarithm, float64")
    grid((1e-6, 1e-12), np.float64)


def single() -> None:
    """The same in float32."""
    print("\nPairs to 1e-4 / 1e-5, the same in float32")
    grid((1e-4, 1e-5), np.float32)


def ends() -> None:
    """A spectrum that is harder."""
    print("\nPairs to 1e-12, n = 40, condition 100, eigenvalues gathered at both ends, ten matrices, within 20,000")
    table("form, step", "arrived", "fewest", "most", "worst error")
    for form, step in (("quad", 0.1), ("quad", 0.2), ("procrustes", 0.25), ("procrustes", 0.5), ("eq", 1.0)):
        pairs, final = [], []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            H = rotated(gathered(40, 100.0, rng), rng)
            p, found = psgd(form=form, step=step, damping=0.0), []
            for seen, error in errors(p, H, rng, most=20_000):
                found.append((seen, error))
                if error < 3e-13:
                    break
            pairs.append(needed(found, [1e-12])[0])
            final.append(found[-1][1])
        there = [x for x in pairs if math.isfinite(x)]
        row(
            f"{form} {step:g}",
            f"{len(there)} of 10",
            *(f"{f(there):.0f}" if there else "-" for f in (min, max)),
            f"{max(final):.1g}",
        )


def hard() -> None:
    """Condition 1000 with eigenvalues at both ends, and condition 1e4."""
    print("\nn = 40, condition 1000, eigenvalues gathered at both ends: pairs and error where each matrix ended")
    table("form, step", "first", "second", "third")
    for step in (0.1, 0.25):
        cells = []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            H = rotated(gathered(40, 1000.0, rng), rng)
            for found in errors(psgd(form="procrustes", step=step, damping=0.0), H, rng, most=15_000):
                if found[1] < 1e-12:
                    break
            cells.append("{}: {:.1g}".format(*found))
        row(f"procrustes {step:g}", *cells)
    print(f"\nn = {N}, condition 1e4, evenly spaced, one seed")
    table("form, step", "pairs to 1e-2", "pairs to 1e-6", "error at the end")
    for form, step in (("procrustes", 0.1), ("eq", 1.5), ("quad", 0.1)):
        *pairs, end = tried(form, step, 1e4, 0, (1e-2, 1e-6), np.float64)
        row(f"{form} {step:g}", *(f"{x:.0f}" if math.isfinite(x) else "-" for x in pairs), f"{end:.1g}")


LEVELS = (10_000, 30_000, 100_000)
FALLING = (("quad 0.1", 0.1), ("quad 0.02", 0.02), ("quad, Annealed(0.1, 1000)", Annealed(0.1, 1000)))


def mixed() -> None:
    """Half of the eigenvalues negative: the noise of pairs does not vanish at the solution."""
    print("\nError after so many pairs, n = 40, condition 100, every other eigenvalue negative")
    table("form, step", *(f"{k:,}" for k in LEVELS))
    for name, step in FALLING:
        rng = np.random.default_rng(0)
        H = rotated(spread(40, 100.0) * np.where(np.arange(40) % 2, 1.0, -1.0), rng)
        found = dict(errors(psgd(step=step, damping=0.0), H, rng, most=LEVELS[-1]))
        row(name, *(f"{found[k]:.2g}" for k in LEVELS))


def noise() -> None:
    """Products with noise, beside the closed form from the same pairs."""
    size, n = 0.1, 40
    print(f"\nThe same with products h = H v + {size} n, n normal; H definite, P aims at (H^2 + {size**2:g} I)^(-1/2)")
    table("form, step", *(f"{k:,}" for k in LEVELS))
    for name, step in FALLING:
        rng = np.random.default_rng(0)
        H = rotated(spread(n, 100.0), rng)
        found = dict(errors(psgd(step=step, damping=0.0), H, rng, most=LEVELS[-1], noise=size))
        row(name, *(f"{found[k]:.2g}" for k in LEVELS))
    rng = np.random.default_rng(0)
    H = rotated(spread(n, 100.0), rng)
    w, X = np.linalg.eigh(H)
    root, cells = (X * np.sqrt(w * w + size * size)) @ X.T, []
    for k in LEVELS:
        h = rng.standard_normal((k, n)) @ H + size * rng.standard_normal((k, n))
        values, basis = np.linalg.eigh(h.T @ h / k)
        cells.append(f"{np.linalg.norm((basis * values**-0.5) @ basis.T @ root - np.eye(n)) / math.sqrt(n):.2g}")
    row("closed form, (mean of h h^T)^(-1/2)", *cells)


TABLES = {"known": known, "single": single, "ends": ends, "hard": hard, "mixed": mixed, "noise": noise}


if __name__ == "__main__":
    print_asked(TABLES)
