"""Updates of preconditioners against plain torch, one pair at a time and in sweeps, and the bytes of their states.

A peer and ours begin with the same Q and take the same pairs, of which there are PAIRS; CPU time a pair, least of
several rounds taken in turn. H is not there: pairs are normal, which changes nothing of the work. Freed memory stays
with the process (`clock.keep_freed_memory`), from which the peers have more than ours. Neither side adds damping;
`Damping` tells what that costs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..clock import cpu_seconds, keep_freed_memory

__all__ = ["CASES", "Case", "Measured", "agreement", "measure", "state_bytes"]

STEP = 0.1


@dataclass(frozen=True)
class Case:
    """A kind at a size against a peer; `goal` and `sweep_goal` are what is promised, times faster."""

    kind: str
    peer: str
    n: int
    rank: int = 10
    dtype: str = "float32"
    goal: float = math.nan
    sweep_goal: float = math.nan
    pairs: int = 16  # of a sweep


def cases() -> dict[str, Case]:
    found = {}
    dense = {
        ("eq", 500): (6.0, 12.0),
        ("eq", 1500): (30.0, 45.0),
        ("quad", 500): (6.0, 10.0),
        ("quad", 1500): (12.0, 16.0),
    }
    for (form, n), goals in dense.items():
        for dtype in ("float32", "float64"):
            promised = goals if dtype == "float32" else (math.nan, math.nan)
            found[f"{form}-{n}-{dtype}"] = Case(form, form, n, 0, dtype, *promised)
    tall = {(100_000, 10): (4.0, 1.3), (100_000, 40): (math.nan,) * 2, (1_000_000, 10): (6.0, math.nan)}
    for (n, rank), goals in tall.items():
        for peer, goal in zip(("balanced", "lean"), goals, strict=True):
            pairs = 8 if n == 100_000 else 2
            found[f"low_rank-{n}-{rank}-{peer}"] = Case("low_rank", peer, n, rank, goal=goal, pairs=pairs)
    for m in (256, 1024):
        for form in ("quad", "eq"):
            found[f"kronecker-{form}-{m}"] = Case(f"kronecker-{form}", f"kronecker-{form}", m, 0, pairs=4)
    return found


CASES = cases()


def needed() -> Any:
    """``psgd`` and the peers, unless this version or this environment lacks them."""
    try:
        import torch  # noqa: F401  # of the peers

        from equipoise.precondition import psgd

        from . import peers
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
    return psgd, peers


# ---------------------------------------------------------------------------------------------------------------------
# Both sides


def shape_of(case: Case) -> tuple[int, ...]:
    return (case.n, case.n) if case.kind.startswith("kronecker") else (case.n,)


def drawn(case: Case, pairs: int) -> tuple[Any, Any]:
    """Normal pairs, v and h alike in some entries and not in others."""
    rng = np.random.default_rng(20_260_401)
    V, H = (rng.standard_normal((pairs, *shape_of(case)), dtype=np.float32).astype(case.dtype) for _ in range(2))
    return V, (V + 0.5 * H).astype(case.dtype)


def settings(case: Case, damping: float = 0.0) -> Any:
    kind, _, form = case.kind.partition("-")
    if kind in ("eq", "quad"):
        kind, form = "dense", kind
    return needed()[0](kind, form=form or "quad", step=STEP, damping=damping, rank=max(case.rank, 1))


def state_bytes(kind: str, shape: tuple[int, ...]) -> int:
    """Of a state for float32."""
    return int(needed()[0](kind).state_bytes(np.zeros(shape, np.float32)))


def begun(case: Case) -> Any:
    """Our first state, not quite the identity."""
    p = settings(case)
    state = p.init(np.zeros(shape_of(case), case.dtype))
    if case.kind in ("eq", "quad"):
        X = 0.3 / math.sqrt(case.n) * np.random.default_rng(1).standard_normal(state.Q.shape).astype(case.dtype)
        state = replace(state, Q=state.Q + (np.triu(X) if case.kind == "eq" else X + X.T))
    return state


def peer_of(case: Case, state: Any) -> Any:
    """The peer at our first state."""
    import torch

    peers = needed()[1]
    if case.kind == "eq":
        return peers.dense_eq(torch.tensor(state.Q), STEP)
    if case.kind == "quad":
        return peers.dense_quad(torch.tensor(state.Q), STEP)
    if case.kind == "low_rank":
        U, V, d = (torch.tensor(np.ascontiguousarray(x)) for x in (state.U, state.V, state.d))
        return peers.low_rank(U, V, d, STEP, balance=case.peer == "balanced")
    form = case.kind.partition("-")[2]
    return peers.Kronecker(shape_of(case), getattr(torch, case.dtype), STEP, form=form)


@dataclass(frozen=True)
class Measured:
    """CPU seconds a pair, and the bytes of our state."""

    peer: float
    update: float
    sweep: float
    bytes: int

    @property
    def ratio(self) -> float:
        return self.update / self.peer

    @property
    def sweep_ratio(self) -> float:
        return self.sweep / self.peer


def calls(case: Case, library: str = "numpy") -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
    """The peer, one update and a sweep, of `case.pairs` pairs each."""
    import torch

    p, state, (V, H) = settings(case), begun(case), drawn(case, case.pairs)
    peer = peer_of(case, state)
    tensors = torch.from_numpy(V), torch.from_numpy(H)
    if library == "torch":
        from equipoise.record import map_arrays

        state, (V, H) = map_arrays(torch.from_numpy, state), tensors
    if case.kind == "kronecker-quad":
        V = None

    def plain() -> None:
        for v, h in zip(*tensors, strict=True):
            peer.update(v, h)

    def update() -> None:
        now = state
        for k in range(case.pairs):
            now = p.update(now, None if V is None else V[k], H[k])

    return plain, update, lambda: p.sweep(state, V, H)


def measure(case: Case, *, rounds: int = 5, budget: float = 3.0, library: str = "numpy") -> Measured:
    """CPU seconds of both sides, in turn."""
    keep_freed_memory()
    sides = calls(case, library)
    for side in sides:  # compiles, and lets memory grow
        side()
    peer, update, sweep = (s / case.pairs for s in cpu_seconds(sides, rounds=rounds, budget=budget))
    size = settings(case).state_bytes(np.zeros(shape_of(case), case.dtype))
    return Measured(peer, update, sweep, size)


def agreement(case: Case) -> float:
    """The relative distance between P g of both sides after two pairs."""
    import torch

    p, state, (V, H) = settings(case), begun(case), drawn(case, 2)
    peer = peer_of(case, state)
    for v, h in zip(V, H, strict=True):
        state = p.update(state, None if case.kind == "kronecker-quad" else v, h)
        peer.update(torch.from_numpy(v), torch.from_numpy(h))
    mine, other = p.apply(state, V[0]), peer.apply(torch.from_numpy(V[0])).numpy()
    return float(np.linalg.norm(mine - other) / np.linalg.norm(other))


# ---------------------------------------------------------------------------------------------------------------------
# asv


class AgainstTorch:
    """Our CPU time a pair over plain torch's, lower is better."""

    params: ClassVar = [list(CASES)]
    param_names: ClassVar = ["case"]

    def setup_cache(self) -> dict[str, Measured]:
        needed()
        return {name: measure(case, rounds=3, budget=1.5) for name, case in CASES.items()}

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def setup(self, found: dict[str, Measured], case: str) -> None:
        self.found = found[case]

    def track_ratio(self, *_: Any) -> float:
        return self.found.ratio

    def track_sweep_ratio(self, *_: Any) -> float:
        return self.found.sweep_ratio

    def track_ms_a_pair(self, *_: Any) -> float:
        return 1e3 * self.found.sweep

    def track_state_bytes(self, *_: Any) -> float:
        return float(self.found.bytes)

    track_ratio.unit = "of the peer's CPU time"  # type: ignore[attr-defined]
    track_sweep_ratio.unit = "of the peer's CPU time"  # type: ignore[attr-defined]
    track_ms_a_pair.unit = "ms"  # type: ignore[attr-defined]
    track_state_bytes.unit = "bytes"  # type: ignore[attr-defined]


class Sweeps:
    """A sweep of a thousand pairs for a small matrix, where calls count, and of few for larger ones."""

    params: ClassVar = [["dense-50", "dense-500", "dense-1500", "low_rank-100000", "kronecker-256"]]
    param_names: ClassVar = ["case"]

    def setup(self, name: str) -> None:
        kind, n = name.split("-")
        case = {
            "dense": Case("quad", "quad", int(n), pairs=1000 if n == "50" else 20),
            "low_rank": Case("low_rank", "balanced", int(n), pairs=8),
            "kronecker": Case("kronecker-quad", "kronecker-quad", int(n), pairs=4),
        }[kind]
        needed()
        p, state, (V, H) = settings(case), begun(case), drawn(case, case.pairs)
        self.sweep = functools.partial(p.sweep, state, None if kind == "kronecker" else V, H)
        self.sweep()

    def time_sweep(self, name: str) -> None:
        self.sweep()


class Damping:
    """What the default damping, whose normal numbers are functions of (seed, count), adds to an update."""

    params: ClassVar = [["quad-500-float32", "low_rank-100000-10-balanced"]]
    param_names: ClassVar = ["case"]

    def track_ratio(self, name: str) -> float:
        case = CASES[name]
        state, (V, H) = begun(case), drawn(case, 1)
        sides = [functools.partial(settings(case, d).update, state, V[0], H[0]) for d in (1e-9, 0.0)]
        with_, without = cpu_seconds([functools.partial(repeated, side) for side in sides], rounds=5)
        return with_ / without

    track_ratio.unit = "of an update without it"  # type: ignore[attr-defined]


def repeated(call: Callable[[], Any]) -> None:
    for _ in range(20):
        call()


class Memory:
    """The most memory of the process in a sweep: Q and one copy of it; W and the new one."""

    params: ClassVar = [["quad-1500-float32", "low_rank-1000000-10-balanced"]]
    param_names: ClassVar = ["case"]

    def setup(self, name: str) -> None:
        case = CASES[name]
        p, state, (V, H) = settings(case), begun(case), drawn(case, case.pairs)
        self.sweep = functools.partial(p.sweep, state, V, H)

    def peakmem_sweep(self, name: str) -> None:
        self.sweep()
