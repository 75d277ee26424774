"""Matrix games here and elsewhere, at equal duality gap, and what variance reduction loses on them.

Elsewhere a game is a linear program: minimise t subject to A x <= t, sum x = 1, x >= 0, t free. Strategies are the
first entries of its solution and the multipliers of A x <= t, cut off at 0 and divided by their sum. First-order peers
are given A less the mean of its entries, which changes t alone: on games with positive entries that spares MPAX nine
steps in ten, and is what ours does by itself. HiGHS's other methods are faster with A as it is. One judge takes
max(A x) - min(A^T y) of everybody's strategies. A peer goes first, to its own tolerance, and then we go to the gap
that it has reached. A simplex method ends in a vertex, of gap 1e-12 or so: against it we are asked for 1e-6 of the
range of the entries, and the figure is for information.
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

__all__ = ["CASES", "KINDS", "compare", "game_program", "gap", "losers", "make_game"]

SEED = 20_260_301
LIMIT = 20.0  # CPU seconds, after which we give up on a game
EXACT = ("highs-simplex",)
AS_GIVEN = ("highs-simplex", "highs-ipm")


# ---------------------------------------------------------------------------------------------------------------------
# Problems


def uniform(rng: Any, n: int) -> Any:
    return rng.random((n, n))


def normal(rng: Any, n: int) -> Any:
    return rng.standard_normal((n, n))


def skew(rng: Any, n: int) -> Any:
    """A symmetric game: its value is 0, and both have the same strategies."""
    half = rng.standard_normal((n, n))
    return (half - half.T) / math.sqrt(2.0)


def wide(rng: Any, n: int) -> Any:
    """The payer has four times as many pure strategies."""
    return rng.random((n // 2, 2 * n))


def tall(rng: Any, n: int) -> Any:
    return rng.random((2 * n, n // 2))


def burglar(rng: Any, n: int) -> Any:
    """A burglar takes w_i where the policeman is not near: of nearly rank one (Nemirovski's test problem)."""
    places = np.arange(n)
    wealth = np.abs(rng.standard_normal(n))
    return wealth[:, None] * (1.0 - np.exp(-0.8 * np.abs(places[:, None] - places)))


def low_rank(rng: Any, n: int) -> Any:
    """Rank 10: equilibria of small support."""
    return rng.standard_normal((n, 10)) @ rng.standard_normal((10, n)) / math.sqrt(10.0)


def signs(rng: Any, n: int) -> Any:
    """Entries -1 and 1: many ties."""
    return np.where(rng.random((n, n)) < 0.5, -1.0, 1.0)


def sparse(rng: Any, n: int) -> Any:
    """One entry in five, stored densely."""
    return np.where(rng.random((n, n)) < 0.2, rng.standard_normal((n, n)), 0.0)


KINDS: dict[str, Callable[[Any, int], Any]] = {
    made.__name__: made for made in (uniform, normal, skew, wide, tall, burglar, low_rank, signs, sparse)
}


def make_game(kind: str, n: int, seed: int = 0) -> Any:
    """A payoff matrix of about n^2 entries."""
    return np.ascontiguousarray(KINDS[kind](np.random.default_rng((SEED, seed)), n))


def centred(n: int) -> Any:
    """A normal game of norm 1, for methods that would be slowed down by a mean, and stop by a number with units."""
    A = make_game("normal", n)
    return A / np.linalg.norm(A, 2)


def gap(A: Any, x: Any, y: Any) -> float:
    """The duality gap of what x and y are after cutting off and dividing by the sum; inf where nothing is left."""
    x, y = (np.maximum(np.asarray(v, dtype=np.float64), 0.0) for v in (x, y))
    if not (0.0 < x.sum() < math.inf and 0.0 < y.sum() < math.inf):
        return math.inf
    return float(np.max(A @ (x / x.sum())) - np.min(A.T @ (y / y.sum())))


def game_program(A: Any) -> Program:
    """Minimise t subject to sum x = 1, t - A x >= 0, x >= 0."""
    m, n = A.shape
    return Program(
        c=np.append(np.zeros(n), 1.0),
        A=np.append(np.ones(n), 0.0)[None],
        b=np.ones(1),
        G=np.hstack([-A, np.ones((m, 1))]),
        h=np.zeros(m),
        lower=np.append(np.zeros(n), -np.inf),
        upper=np.full(n + 1, np.inf),
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


def ours(A: Any, tol: float) -> tuple[float, Answer]:
    """``matrix_game`` to a duality gap, or as far as it comes within the limit."""
    monotone = needed()
    late = time.process_time() + LIMIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        found = monotone.matrix_game(A, tol=tol, callback=lambda info: time.process_time() > late)
        seconds = time.process_time() - start
    return seconds, Answer(found.x, found.y, int(found.steps), found.status.name)


def compare(A: Any, peers: Iterable[str], *, rounds: int = 3, budget: float = 6.0) -> dict[str, Duel]:
    """Each peer against ours at its gap.

    Raises
    ------
    ImportError
        If a peer's library is missing.
    """
    ours(A[:8, :8].copy(), 1e-3)  # loads the kernels
    m, n = A.shape
    found = {}
    for name in peers:
        solver = PEERS[name](game_program(A if name in AS_GIVEN else A - np.mean(A)))
        floor = (1e-6 if name in EXACT else FLOOR) * float(np.ptp(A))

        def solve(solver: Any = solver) -> tuple[float, Answer]:
            seconds, answer = solver()
            if answer.x.size != n + 1:  # gave up without a point
                return seconds, Answer(np.zeros(n), np.zeros(m), answer.steps, answer.status)
            return seconds, Answer(answer.x[:n], answer.y[1:], answer.steps, answer.status)

        found[name] = duel(
            solve, functools.partial(ours, A), functools.partial(gap, A), floor=floor, rounds=rounds, budget=budget
        )
    return found


# ---------------------------------------------------------------------------------------------------------------------
# What variance reduction loses


def losers(A: Any, budget: float, tol: float = 1e-4) -> dict[str, Callable[[], Any]]:
    """The other methods of the family on a game, stopped after `budget` epochs; a full evaluation is one epoch."""
    m = needed()
    rows, columns = A.shape
    sets = m.Product((m.Simplex(), columns), (m.Simplex(), rows))
    start = np.concatenate([np.full(columns, 1.0 / columns), np.full(rows, 1.0 / rows)])
    made: dict[str, Callable[[], Any]] = {}
    N = max(A.shape)
    calls = int(budget * N)
    common: dict[str, Any] = {"resolvent": sets, "tol": tol}
    made["extragradient"] = lambda: m.extragradient(m.GameOperator(A), start, max_steps=int(budget / 2), **common)
    for sampling in ("uniform", "importance"):
        F = m.GameOperator(A, sampling=sampling)
        # a step reads one component at two points, and every N/2-th all of them: 4 calls on average
        made[f"extragradient_vr, {sampling}"] = functools.partial(
            m.extragradient_vr, F, start, max_steps=int(calls / 4), **common
        )
        for schedule in ("theory", "restarted"):
            made[f"halpern_vr lipschitz, {schedule}, {sampling}"] = functools.partial(
                m.halpern_vr, F, start, mode="lipschitz", schedule=schedule, max_oracle_calls=calls, **common
            )
    return made


def residual(A: Any, x: Any, y: Any) -> float:
    """|u - J(u - a F(u))| / a with a = 1 / |A|: what the methods above stop by, of any strategies."""
    m = needed()
    size = float(np.linalg.norm(A, 2))
    step, n = 1.0 / size, A.shape[1]
    u = np.concatenate([x, y])
    v = u - step * np.concatenate([A.T @ y, -(A @ x)])
    return float(np.linalg.norm(u - m.Product((m.Simplex(), n), (m.Simplex(), A.shape[0]))(v, step)) / step)


def to_residual(A: Any, tol: float) -> tuple[float, Answer]:
    """``matrix_game`` stops by the gap: the loosest of a ladder of gaps with which the residual is there too."""
    for target in np.geomspace(10.0, 1e-3, 21):
        seconds, found = ours(A, float(target) * tol)
        if residual(A, found.x, found.y) <= tol:
            break
    return seconds, found


# ---------------------------------------------------------------------------------------------------------------------
# asv

CASES = {
    "uniform-300": ("uniform", 300, "mpax"),
    "uniform-500": ("uniform", 500, "mpax"),
    "normal-500": ("normal", 500, "mpax"),
    "skew-500": ("skew", 500, "mpax"),
    "wide-500": ("wide", 500, "mpax"),
    "burglar-300": ("burglar", 300, "mpax"),
    "uniform-500-ipm": ("uniform", 500, "highs-ipm"),
    "uniform-1000-ipm": ("uniform", 1000, "highs-ipm"),
}


class AgainstPeers(_Tracks):
    """Our CPU time over the peer's at its duality gap, lower is better; promised: at most 1, aim 0.33 to 0.4."""

    params: ClassVar = [list(CASES)]
    param_names: ClassVar = ["game"]

    def setup_cache(self) -> dict[str, Duel | str]:
        needed()
        return duels(compare, make_game, CASES)

    setup_cache.timeout = 900  # type: ignore[attr-defined]


class Steps:
    """Steps to a gap of 1e-6 of the range of the entries: the same on every machine up to rounding."""

    params: ClassVar = [["uniform", "normal", "skew", "wide", "tall", "low_rank", "signs", "sparse"], [100, 300]]
    param_names: ClassVar = ["kind", "n"]

    def setup(self, kind: str, n: int) -> None:
        needed()
        self.A = make_game(kind, n)

    def track_steps(self, kind: str, n: int) -> float:
        return float(ours(self.A, 1e-6 * float(np.ptp(self.A)))[1].steps)

    track_steps.unit = "steps"  # type: ignore[attr-defined]


class Chunk:
    """A thousand steps, and a fixed part of a call: the smallest game."""

    params: ClassVar = [[3, 100, 500]]
    param_names: ClassVar = ["n"]

    def setup(self, n: int) -> None:
        monotone = needed()
        self.A = make_game("uniform", n)
        self.solve = functools.partial(monotone.matrix_game, tol=0.0, max_steps=1000)
        self.time_thousand_steps(n)

    def time_thousand_steps(self, n: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.solve(self.A)


class PublishedLoss:
    """Epochs to a residual of 1e-4 on a dense game of 100 strategies a side, NaN beyond 4000: variance reduction does
    not pay there.
    """

    params: ClassVar = [["matrix_game", "extragradient", "extragradient_vr, uniform"]]
    param_names: ClassVar = ["method"]

    def track_epochs(self, method: str) -> float:
        A = centred(100)
        if method == "matrix_game":
            return float(to_residual(A, 1e-4)[1].steps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = losers(A, 4000.0)[method]()
        return float(found.oracle_calls) / max(A.shape) if found.converged else math.nan

    track_epochs.unit = "evaluations of the operator"  # type: ignore[attr-defined]
