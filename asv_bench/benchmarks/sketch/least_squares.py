"""Least squares by sketches, and the sketches themselves, here and elsewhere, in one process.

Every answer is judged by one backward error: how far A and b would have to be moved, relative to |A|_F, for it to be
their exact solution. It is the estimate of Karlson and Walden with the singular values and vectors of A itself, from
its QR factorisation; `LstsqResult.error` is the same with those of a sketch. ``normal`` is ``solve(A.T @ A, A.T @ b)``,
which loses everything once cond(A) reaches 1e8: it is the speed that no safe method can have, and enters no claim.

Peers are warm, and freed memory is kept. SciPy's drivers may overwrite nothing, as ours, and are told not to look for
numbers that are not finite. The sketches alone are in ``passes.py``.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..clock import cpu_seconds, keep_freed_memory

__all__ = ["CASES", "GRID", "ROWS", "SOLVERS", "Case", "Measured", "auto_over_numpy", "backward_error", "measure"]

SEED = 20_250_311
Call = Callable[[], Any]


# ---------------------------------------------------------------------------------------------------------------------
# Problems


@dataclass(frozen=True)
class Case:
    """A tall matrix with singular values from 1 to 1/condition, evenly in the logarithm, and |b - A x*| = residual.

    ``condition`` None: independent normal entries. ``exact`` has orthonormal factors; otherwise the left one is normal,
    which moves the condition by a few per cent and is made at once.
    """

    n: int
    d: int
    condition: float | None = None
    residual: float = 1.0
    exact: bool = False

    def make(self, seed: int = SEED) -> tuple[Any, Any]:
        """A and b."""
        return self.solved(seed)[:2]

    def solved(self, seed: int = SEED) -> tuple[Any, Any, Any]:
        """A, b and a vector that is the solution up to rounding if ``exact``, and near it otherwise."""
        rng = np.random.default_rng(seed)
        left = rng.standard_normal((self.n, self.d))
        noise = rng.standard_normal(self.n)
        if self.condition is None:
            x = rng.standard_normal(self.d)
            return left, left @ x + self.residual * noise, x
        left = np.linalg.qr(left)[0] if self.exact else left / math.sqrt(self.n)
        right = np.linalg.qr(rng.standard_normal((self.d, self.d)))[0]
        A = (left * np.logspace(0, -math.log10(self.condition), self.d)) @ right.T
        for _ in range(2):
            noise = noise - left @ (left.T @ noise) if self.exact else noise
        x = rng.standard_normal(self.d)
        x /= np.linalg.norm(x)
        return A, A @ x + self.residual * noise / np.linalg.norm(noise), x

    def __str__(self) -> str:
        kappa = "" if self.condition is None else f", cond {self.condition:.0e}"
        return f"d={self.d}, n={self.n}{kappa}"


CASES = {
    "128": Case(2**17, 128),
    "100-short": Case(60_000, 100),
    "100-long": Case(2**18, 100),
    "256-mild": Case(2**17, 256, 1e6),
    "256-hard": Case(2**17, 256, 1e12),
    "256-mild-short": Case(2**15, 256, 1e6),
    "256-hard-short": Case(2**15, 256, 1e12),
}


def backward_error(A: Any, b: Any, x: Any, factors: Any = None) -> float:
    """Karlson and Walden's estimate, relative to |A|_F; `factors` are V^T and the singular values of A, if known."""
    Vt, values = spectrum(A) if factors is None else factors
    if not np.isfinite(x).all():
        return math.nan
    r = b - A @ x
    size, square = float(np.linalg.norm(values)), float(r @ r)
    theta = size / float(np.linalg.norm(b))
    q = 1.0 + theta**2 * float(x @ x)
    weights = np.sqrt(values**2 + theta**2 * square / q)
    return float(theta / math.sqrt(q) * np.linalg.norm(Vt @ (A.T @ r) / weights) / size)


def spectrum(A: Any) -> tuple[Any, Any]:
    """V^T and the singular values, through R."""
    _, values, Vt = np.linalg.svd(np.linalg.qr(A, mode="r"))
    return Vt, values


# ---------------------------------------------------------------------------------------------------------------------
# Solvers


def ours(A: Any, b: Any, **settings: Any) -> Any:
    from equipoise.sketch import lstsq

    return lstsq(A, b, **settings)


def scipys(A: Any, b: Any, driver: str) -> Any:
    from scipy.linalg import lstsq

    return lstsq(A, b, lapack_driver=driver, check_finite=False)[0]


def sketched(A: Any, b: Any) -> Any:
    return ours(A, b, method="sketch_solve", kind="sparse_sign", sketch_rows=12 * A.shape[1])


SOLVERS: dict[str, Callable[[Any, Any], Any]] = {
    **{m: functools.partial(ours, method=m) for m in ("auto", "direct", "cholesky_qr", "spir")},
    "sketch_solve": sketched,
    "numpy": lambda A, b: np.linalg.lstsq(A, b, rcond=None)[0],
    "gelsd": functools.partial(scipys, driver="gelsd"),
    "gelsy": functools.partial(scipys, driver="gelsy"),
    "normal": lambda A, b: np.linalg.solve(A.T @ A, A.T @ b),
}


@dataclass(frozen=True)
class Measured:
    """Least CPU seconds of a call; the backward error of its answer, and what it says of it itself (NaN: nothing)."""

    seconds: float
    error: float
    told: float


def answered(name: str, A: Any, b: Any) -> tuple[Any, float]:
    """x and the error that the solver tells; NaN where it gives up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = SOLVERS[name](A, b)
        except np.linalg.LinAlgError:
            return np.full(A.shape[1], math.nan), math.nan
    return (found.x, float(found.error)) if hasattr(found, "error") else (found, math.nan)


def measure(case: Case, names: Any, *, rounds: int = 5, budget: float = 4.0) -> dict[str, Measured]:
    """Every solver in turn."""
    keep_freed_memory()
    A, b = case.make()
    names = list(dict.fromkeys(names))
    answers = {name: answered(name, A, b) for name in names}
    seconds = cpu_seconds([functools.partial(answered, name, A, b) for name in names], rounds=rounds, budget=budget)
    factors = spectrum(A)
    errors = [backward_error(A, b, answers[name][0], factors) for name in names]
    return {name: Measured(t, e, answers[name][1]) for name, t, e in zip(names, seconds, errors, strict=True)}


# The table of the specification: case, ours, its aim (how many times faster than numpy), whether it is for asv.
ROWS: list[tuple[str, str, float, bool]] = [
    ("128", "auto", 8.0, True),
    ("100-short", "auto", 6.0, True),
    ("100-long", "auto", 6.0, False),
    ("256-mild", "auto", 6.0, False),
    ("256-hard", "auto", 4.3, False),
    ("256-mild-short", "auto", 6.0, True),
    ("256-hard-short", "auto", 4.3, True),
    ("128", "spir", 4.0, True),
    ("128", "sketch_solve", 15.0, True),
]


class LeastSquares:
    """Our time over that of ``numpy.linalg.lstsq``, lower is better; aims from 0.07 to 0.25, see `ROWS`."""

    params: ClassVar = [f"{name}: {mine}" for name, mine, _, quick in ROWS if quick]
    param_names: ClassVar = ["row"]

    def setup_cache(self) -> dict[str, tuple[Measured, Measured]]:
        found: dict[str, tuple[Measured, Measured]] = {}
        rows = [row for row in ROWS if row[-1]]
        for name in dict.fromkeys(row[0] for row in rows):
            mine = [row[1] for row in rows if row[0] == name]
            figures = measure(CASES[name], [*mine, "numpy"], rounds=3)
            found |= {f"{name}: {solver}": (figures[solver], figures["numpy"]) for solver in mine}
        return found

    setup_cache.timeout = 600  # type: ignore[attr-defined]

    def track_ratio(self, table: dict[str, tuple[Measured, Measured]], row: str) -> float:
        mine, peer = table[row]
        return mine.seconds / peer.seconds

    def track_backward_error(self, table: dict[str, tuple[Measured, Measured]], row: str) -> float:
        return table[row][0].error

    track_ratio.unit = "of the peer's CPU time"  # type: ignore[attr-defined]
    track_backward_error.unit = "relative to |A|"  # type: ignore[attr-defined]


class Accuracy:
    """The backward error of one method, from a condition of 1e2 to one of 1e14; numpy's is 1e-16."""

    params: ClassVar = [["direct", "cholesky_qr", "spir"], [1e2, 1e6, 1e10, 1e14], [1e-6, 1e-1, 1.0]]
    param_names: ClassVar = ["method", "condition", "residual"]

    def track_backward_error(self, method: str, condition: float, residual: float) -> float:
        A, b = Case(2**12, 50, condition, residual, exact=True).make()
        return backward_error(A, b, answered(method, A, b)[0])

    track_backward_error.unit = "relative to |A|"  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------------------------
# auto on small problems

GRID = ((1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 200, 400), (0.5, 1, 2, 4, 8, 16, 50, 200, 1000))


def auto_over_numpy(n: int, d: int, *, method: str = "auto", budget: float = 0.4) -> tuple[float, float]:
    """CPU seconds of ours and of ``numpy.linalg.lstsq``; short calls are repeated until the clock sees them."""
    rng = np.random.default_rng((SEED, n, d))
    A, b = rng.standard_normal((n, d)), rng.standard_normal(n)
    calls = [functools.partial(SOLVERS[name], A, b) for name in (method, "numpy")]
    for call in calls:
        call()
    loops = max(1, int(2e-3 / cpu_seconds(calls[1:], rounds=3)[0]))

    def repeated(call: Call) -> Call:
        return lambda: [call() for _ in range(loops)]

    mine, peer = cpu_seconds([repeated(call) for call in calls], rounds=25, budget=budget)
    return mine / loops, peer / loops


class Auto:
    """``method="auto"`` over numpy. Promised: 1.1, beyond a fixed part of a call, which the smallest problem shows."""

    params: ClassVar = ["20x3", "1000x10", "256x128", "16000x16", "32000x32", "1024x128", "3200x200", "500000x4"]
    param_names: ClassVar = ["shape"]

    def setup(self, shape: str) -> None:
        n, d = map(int, shape.split("x"))
        keep_freed_memory()
        self.mine, self.peer = auto_over_numpy(n, d)

    def track_ratio(self, shape: str) -> float:
        return self.mine / self.peer

    def track_extra(self, shape: str) -> float:
        return 1e6 * (self.mine - self.peer)

    track_ratio.unit = "of the peer's CPU time"  # type: ignore[attr-defined]
    track_extra.unit = "us"  # type: ignore[attr-defined]
