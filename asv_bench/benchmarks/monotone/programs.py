"""Dense linear programs here and elsewhere, at equal error.

The error is that of ``LinearProgramResult``, computed here once more for everybody's points: the largest of
|A x - b, (h - G x)_+| / (1 + |(b, h)|), |c - K^T y - r| / (1 + |c|) and |p - d| / (1 + |p| + |d|), where r is what the
bounds can carry of c - K^T y, after x has been moved into its bounds and the multipliers of inequalities to 0. A peer
goes first, to its own tolerance of 1e-6, and then we go to the error that it has reached; beyond an exact vertex we are
asked for 1e-6. Dense data of some hundred rows are where simplex and interior-point methods are at their best.
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from .peers import FLOOR, PEERS, Answer, Duel, Program, _Tracks, duel, duels

__all__ = ["CASES", "KINDS", "compare", "kkt_error", "make_program"]

SEED = 20_260_302
LIMIT = 20.0  # CPU seconds, after which we give up on a program
EXACT = ("highs-simplex",)


# ---------------------------------------------------------------------------------------------------------------------
# Problems: n unknowns


def none(n: int) -> tuple[Any, Any]:
    return np.zeros((0, n)), np.zeros(0)


def built(rng: Any, A: Any, G: Any) -> Program:
    """Right-hand sides and costs for which half of x, and half of the inequalities, is active at a known optimum."""
    n, p, q = A.shape[1], A.shape[0], G.shape[0]
    x, y = rng.random(n) * (rng.random(n) < 0.5), rng.standard_normal(p)
    z, slack = rng.random(q), rng.random(q)
    active = rng.random(q) < 0.5
    z, slack = z * active, slack * ~active
    c = A.T @ y + G.T @ z + rng.random(n) * (x == 0.0)
    return Program(c, A, A @ x, G, G @ x - slack, np.zeros(n), np.full(n, np.inf))


def equality(rng: Any, n: int) -> Program:
    """n/2 equalities with normal entries, x >= 0."""
    return built(rng, rng.standard_normal((n // 2, n)), none(n)[0])


def inequality(rng: Any, n: int) -> Program:
    """n/2 inequalities with normal entries, x >= 0."""
    return built(rng, none(n)[0], rng.standard_normal((n // 2, n)))


def mixed(rng: Any, n: int) -> Program:
    """Both, with entries in [0, 1) and rows of very different size."""
    K = rng.random((n // 2, n)) * 10.0 ** rng.uniform(-1.0, 1.0, (n // 2, 1))
    return built(rng, K[: n // 4], K[n // 4 :])


def packing(rng: Any, n: int) -> Program:
    """Maximise a sum of values under n/2 capacities: everything positive."""
    G, h = -rng.random((n // 2, n)), -np.full(n // 2, n / 4.0)
    return Program(-rng.uniform(0.5, 1.0, n), *none(n), G, h, np.zeros(n), np.full(n, np.inf))


def boxed(rng: Any, n: int) -> Program:
    """n/4 equalities, 0 <= x <= 1."""
    A = rng.standard_normal((n // 4, n))
    return Program(rng.standard_normal(n), A, A @ rng.random(n), *none(n), np.zeros(n), np.ones(n))


def transport(rng: Any, n: int) -> Program:
    """A random transport problem with about n routes between sqrt(n) sources and sinks; its matrix held densely."""
    k = math.isqrt(n)
    A = np.vstack([np.kron(np.eye(k), np.ones(k)), np.kron(np.ones(k), np.eye(k))])
    weights = [rng.uniform(0.5, 1.5, k) for _ in range(2)]
    b = np.concatenate([w / w.sum() * k for w in weights])
    return Program(rng.random(k * k), A, b, *none(k * k), np.zeros(k * k), np.full(k * k, np.inf))


def chebyshev(rng: Any, n: int) -> Program:
    """The least largest residual of n points under a polynomial of random features: n/8 free unknowns and a bound."""
    X, d = rng.standard_normal((n, n // 8)), n // 8
    y = X @ rng.standard_normal(d) + rng.standard_normal(n)
    one = np.ones((n, 1))
    G, h = np.vstack([np.hstack([X, one]), np.hstack([-X, one])]), np.concatenate([y, -y])
    lower = np.append(np.full(d, -np.inf), 0.0)
    return Program(np.append(np.zeros(d), 1.0), *none(d + 1), G, h, lower, np.full(d + 1, np.inf))


KINDS: dict[str, Callable[[Any, int], Program]] = {
    made.__name__: made for made in (equality, inequality, mixed, packing, boxed, transport, chebyshev)
}


def make_program(kind: str, n: int, seed: int = 0) -> Program:
    return KINDS[kind](np.random.default_rng((SEED, seed)), n)


def kkt_error(program: Program, x: Any, y: Any) -> float:
    """The error of a point and multipliers; inf if they are not finite."""
    p = program.b.size
    if x.size != program.c.size or y.size != p + program.h.size or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return math.inf
    x, y = np.clip(x, program.lower, program.upper), np.append(y[:p], np.maximum(y[p:], 0.0))
    r = program.c - program.A.T @ y[:p] - program.G.T @ y[p:]
    bound = np.where(r > 0, program.lower, program.upper)
    kept = np.isfinite(bound)
    primal = np.append(program.A @ x - program.b, np.maximum(program.h - program.G @ x, 0.0))
    side = np.append(program.b, program.h)
    value = float(program.c @ x)
    dual_value = float(side @ y + r[kept] @ bound[kept])
    return max(
        float(np.linalg.norm(primal) / (1.0 + np.linalg.norm(side))),
        float(np.linalg.norm(r[~kept]) / (1.0 + np.linalg.norm(program.c))),
        abs(value - dual_value) / (1.0 + abs(value) + abs(dual_value)),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Solvers


def needed() -> Any:
    """``equipoise.monotone``, unless this version lacks it."""
    try:
        from equipoise import monotone
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
    return monotone


def ours(program: Program, tol: float) -> tuple[float, Answer]:
    """``linear_program`` to an error, or as far as it comes within the limit."""
    monotone = needed()
    blocks: dict[str, Any] = {}
    if program.b.size:
        blocks |= {"A": program.A, "b": program.b}
    if program.h.size:
        blocks |= {"G": program.G, "h": program.h}
    late = time.process_time() + LIMIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        found = monotone.linear_program(
            program.c,
            **blocks,
            lower=program.lower,
            upper=program.upper,
            tol=tol,
            callback=lambda info: time.process_time() > late,
        )
        seconds = time.process_time() - start
    return seconds, Answer(found.x, found.y, int(found.steps), found.status.name)


def compare(program: Program, peers: Iterable[str], *, rounds: int = 3, budget: float = 6.0) -> dict[str, Duel]:
    """Each peer against ours at its error.

    Raises
    ------
    ImportError
        If a peer's library is missing.
    """
    ours(make_program("mixed", 16), 1e-3)  # loads the kernels
    found = {}
    for name in peers:
        floor = 1e-6 if name in EXACT else FLOOR
        judge = functools.partial(kkt_error, program)
        solve = functools.partial(ours, program)
        found[name] = duel(PEERS[name](program), solve, judge, floor=floor, rounds=rounds, budget=budget)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# asv

CASES = {f"{kind}-{n}": (kind, n, "mpax") for kind in KINDS for n in (400,)}
CASES |= {f"{kind}-1000": (kind, 1000, "mpax") for kind in ("equality", "inequality")}


class AgainstPeers(_Tracks):
    """Our CPU time over the peer's at its error, lower is better; promised: at most 1."""

    params: ClassVar = [list(CASES)]
    param_names: ClassVar = ["program"]

    def setup_cache(self) -> dict[str, Duel | str]:
        needed()
        return duels(compare, make_program, CASES)

    setup_cache.timeout = 900  # type: ignore[attr-defined]


class Steps:
    """Steps to an error of 1e-6: the same on every machine up to rounding."""

    params: ClassVar = [list(KINDS), [100, 400]]
    param_names: ClassVar = ["kind", "n"]

    def setup(self, kind: str, n: int) -> None:
        needed()
        self.program = make_program(kind, n)

    def track_steps(self, kind: str, n: int) -> float:
        return float(ours(self.program, 1e-6)[1].steps)

    track_steps.unit = "steps"  # type: ignore[attr-defined]


class Chunk:
    """A thousand steps, scaling included; the smallest program shows the fixed part of a call."""

    params: ClassVar = [[8, 100, 1000]]
    param_names: ClassVar = ["n"]

    def setup(self, n: int) -> None:
        monotone = needed()
        program = make_program("equality", n)
        arrays = (program.c, program.A, program.b)
        self.solve = functools.partial(monotone.linear_program, *arrays, tol=0.0, max_steps=1000)
        self.time_thousand_steps(n)

    def time_thousand_steps(self, n: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.solve()
