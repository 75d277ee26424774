"""Quasimetric embeddings: CPU time over that of the textbook form, and memory.

Every ratio is ours over the peer's, lower is better; what the peers are, and what is timed, is told in
``peers.py``. Promised, at 8 components of 16 latents in float32, aims in brackets: all pairs forward 0.005
(0.0017), with derivatives over the form that sorts once 0.05 (0.017); pairs forward 0.083 (0.025), with derivatives
0.125 (0.04). Of all pairs a peer computes the rows that make 16,384 pairs.
"""

from __future__ import annotations

import functools
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .peers import KL, Case, Cost, all_pairs, cdist, gaussian_pairs, jitted, measure, needed, pairs, points

__all__ = ["STRIP", "AllPairs", "Jitted", "Memory", "Pairs", "Poisson", "allocated"]

Found = dict[str, Cost | str]
STRIP = 16_384  # pairs that a peer computes of all


def measured(cases: Mapping[str, Callable[[], Case]]) -> Found:
    """Every case, or the reason why it is missing."""
    found: Found = {}
    for name, make in cases.items():
        try:
            found[name] = measure(make(), rounds=5, budget=2.0)
        except NotImplementedError as reason:
            found[name] = str(reason)
    return found


class _Ratios:
    """What is tracked of the costs that `setup_cache` has found."""

    def setup(self, found: Found, case: str) -> None:
        cost = found[case]
        if isinstance(cost, str):
            raise NotImplementedError(cost)
        self.cost = cost

    def track_ratio(self, found: Found, case: str) -> float:
        return self.cost.ratio

    def track_apart(self, found: Found, case: str) -> float:
        """How far apart the distances of the two are, of the largest: rounding."""
        return self.cost.apart

    track_ratio.unit = "of the peer's CPU time"  # type: ignore[attr-defined]
    track_apart.unit = "of the largest distance"  # type: ignore[attr-defined]


ALL: dict[str, Callable[[], Case]] = {}
for _name, _kl in KL.items():
    for _n in (256, 1024):
        _rows = STRIP // _n
        ALL[f"{_name}, {_n}"] = functools.partial(all_pairs, _kl, _n, rows=_rows)
        ALL[f"{_name}, {_n}, derivatives"] = functools.partial(
            all_pairs, _kl, _n, rows=_rows, peer="sorted_once", gradient=True
        )
    ALL[f"{_name}, 512, over cdist"] = functools.partial(cdist, _kl, 512)
ALL["8x16, 256, float64"] = functools.partial(all_pairs, KL["8x16"], 256, rows=STRIP // 256, dtype="float64")


class AllPairs(_Ratios):
    """All pairs over ``textbook``, derivatives over ``sorted_once``, and distances over ``torch.cdist(p=1)``."""

    params: ClassVar = [list(ALL)]
    param_names: ClassVar = ["case"]

    def setup_cache(self) -> Found:
        return measured(ALL)

    setup_cache.timeout = 900  # type: ignore[attr-defined]


SOME: dict[str, Callable[[], Case]] = {}
for _name, _kl in KL.items():
    _count = 16_384 if _kl[1] < 64 else 4096
    SOME[_name] = functools.partial(pairs, _kl, _count)
    SOME[f"{_name}, derivatives"] = functools.partial(pairs, _kl, _count, gradient=True)
SOME["8x16, derivatives over sorted_once"] = functools.partial(
    pairs, KL["8x16"], 16_384, peer="sorted_once", gradient=True
)
SOME["8x16, derivatives, float64"] = functools.partial(pairs, KL["8x16"], 16_384, dtype="float64", gradient=True)


class Pairs(_Ratios):
    """Pairs, 16,384 of them, or 4096 where there are 512 latents, over ``textbook``."""

    params: ClassVar = [list(SOME)]
    param_names: ClassVar = ["case"]

    def setup_cache(self) -> Found:
        return measured(SOME)

    setup_cache.timeout = 900  # type: ignore[attr-defined]


POISSON: dict[str, Callable[[], Case]] = {
    "lebesgue": functools.partial(all_pairs, KL["8x16"], 256, peer="lebesgue"),
    "lebesgue, derivatives": functools.partial(all_pairs, KL["8x16"], 256, peer="lebesgue", gradient=True),
    "lebesgue, pairs": functools.partial(pairs, KL["8x16"], 16_384, peer="lebesgue"),
    "lebesgue, pairs, derivatives": functools.partial(pairs, KL["8x16"], 16_384, peer="lebesgue", gradient=True),
    "gaussian": functools.partial(gaussian_pairs, KL["8x16"], 64),
    "gaussian, float32": functools.partial(gaussian_pairs, KL["8x16"], 64, dtype="float32"),
}


class Poisson(_Ratios):
    """All pairs of Poisson quasimetrics: over one broadcast in torch, and over the ncx2 distribution of scipy."""

    params: ClassVar = [list(POISSON)]
    param_names: ClassVar = ["case"]

    def setup_cache(self) -> Found:
        return measured(POISSON)

    setup_cache.timeout = 900  # type: ignore[attr-defined]


JITTED: dict[str, Callable[[], Case]] = {
    "8x16, 256": functools.partial(jitted, KL["8x16"], 256),
    "8x16, 256, derivatives": functools.partial(jitted, KL["8x16"], 256, gradient=True),
}


class Jitted(_Ratios):
    """The portable body that jax compiles, over the textbook form that it compiles."""

    params: ClassVar = [list(JITTED)]
    param_names: ClassVar = ["case"]

    def setup_cache(self) -> Found:
        return measured(JITTED)

    setup_cache.timeout = 900  # type: ignore[attr-defined]


class Memory:
    """What all pairs take beside their points: distances, and 64 columns at a time. The peer's gigabytes are in
    ``compare_quasimetric.py``."""

    params: ClassVar = [[256, 1024, 4096]]
    param_names: ClassVar = ["n"]

    def setup(self, n: int) -> None:
        quasimetric, _ = needed()
        k, l = KL["8x16"]
        self.u, self.v, self.g = points((n, k * l), (n, k * l), (n, n))
        self.forward = functools.partial(quasimetric.iqe_pairwise, self.u, self.v, components=k)
        self.derivatives = functools.partial(quasimetric.iqe_pairwise_vjp, self.u, self.v, self.g, components=k)
        for call in (self.forward, self.derivatives):
            call()  # compiled by now

    def peakmem_forward(self, n: int) -> None:
        self.forward()

    def track_forward(self, n: int) -> float:
        return allocated(self.forward)

    def track_derivatives(self, n: int) -> float:
        return allocated(self.derivatives)

    track_forward.unit = track_derivatives.unit = "MB"  # type: ignore[attr-defined]


def allocated(call: Callable[[], Any]) -> float:
    """The most that numpy has allocated during a call, results included."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20
