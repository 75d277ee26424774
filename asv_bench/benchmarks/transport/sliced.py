"""Transport on a line and along random lines, against POT in one process.

Both are exact and have no tolerance, so that time is all there is to compare; that the answers agree is checked before
the clock starts. POT gets the same directions, ready made, while ours are drawn within the time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..clock import cpu_seconds, keep_freed_memory

KINDS = ("equal", "sizes", "weights")  # n against n points; n against 4n/5; n against n with unequal weights
ORDERS = (1, 2, 3, 1.5)
SIZES = (100, 1000, 10_000)
DIMENSION, PROJECTIONS, SEED = 3, 50, 20_240_601
Call = Callable[[], Any]


def arrays_of(kind: str, n: int, *shape: int) -> tuple[Any, ...]:
    """x, y and, where they are unequal, weights a and b."""
    rng = np.random.default_rng(SEED)
    m = 4 * n // 5 if kind == "sizes" else n
    points = rng.standard_normal((n, *shape)), rng.standard_normal((m, *shape)) + 0.3
    if kind != "weights":
        return points
    weights = rng.random(n) + 0.1, rng.random(m) + 0.1
    return (*points, *(w / w.sum() for w in weights))


def needed(name: str) -> Callable[..., Any]:
    """A function of ``equipoise.transport``, unless this version lacks it."""
    from equipoise import transport

    if not hasattr(transport, name):
        raise NotImplementedError(f"needs equipoise.transport.{name}, which this version lacks")
    found: Callable[..., Any] = getattr(transport, name)
    return found


def line(kind: str, n: int, p: float) -> tuple[Call, Call]:
    """Ours and POT's wasserstein_1d."""
    import ot

    arrays = arrays_of(kind, n)
    return functools.partial(needed("wasserstein_1d"), *arrays, p=p), functools.partial(ot.wasserstein_1d, *arrays, p=p)


def sliced(kind: str, n: int, p: float) -> tuple[Call, Call]:
    """Ours and POT's sliced distance, the latter to the power p."""
    import ot

    ours, arrays, drawn = needed("sliced_wasserstein"), arrays_of(kind, n, DIMENSION), drawn_directions()
    return (
        lambda: ours(*arrays, p=p, projections=PROJECTIONS, rng=SEED),
        lambda: ot.sliced_wasserstein_distance(*arrays, p=p, projections=drawn) ** p,
    )


def backward(kind: str, n: int, p: float) -> tuple[Call, Call]:
    """The same on torch, with the derivative by x: one step of a descent."""
    import ot
    import torch

    torch.set_num_threads(1)
    ours, drawn = needed("sliced_wasserstein"), torch.tensor(drawn_directions())
    x, *rest = map(torch.tensor, arrays_of(kind, n, DIMENSION))

    def gradient(loss: Callable[..., Any]) -> Any:
        moving = x.clone().requires_grad_()
        loss(moving, *rest).backward()
        return moving.grad

    def theirs(*arrays: Any) -> Any:
        return ot.sliced_wasserstein_distance(*arrays, p=p, projections=drawn) ** p

    return (
        lambda: gradient(lambda *z: ours(*z, p=p, projections=PROJECTIONS, rng=SEED)),
        lambda: gradient(theirs),
    )


def drawn_directions() -> np.ndarray[Any, Any]:
    from equipoise.random import key
    from equipoise.transport.sliced import directions

    return np.ascontiguousarray(directions(PROJECTIONS, DIMENSION, key(SEED)).T)


def ratio(calls: tuple[Call, Call]) -> float:
    """CPU time of the first call over that of the second; the answers must agree."""
    keep_freed_memory()
    np.testing.assert_allclose(*(np.asarray(call()) for call in calls), rtol=1e-8, atol=1e-12)
    once = min(cpu_seconds(calls, rounds=2))
    times = max(1, int(2e-3 / max(once, 1e-6)))  # so that the clock's own grain does not matter
    ours, theirs = cpu_seconds([repeated(call, times) for call in calls], rounds=30, budget=1.5)
    return ours / theirs


def repeated(call: Call, times: int) -> Call:
    def run() -> None:
        for _ in range(times):
            call()

    return run


class OverPot:
    """CPU time over POT's; below 1 is faster than POT."""

    params: ClassVar = (KINDS, SIZES, ORDERS)
    param_names: ClassVar = ["kind", "n", "p"]

    def track_line_over_pot(self, kind: str, n: int, p: float) -> float:
        return ratio(line(kind, n, p))

    def track_sliced_over_pot(self, kind: str, n: int, p: float) -> float:
        return ratio(sliced(kind, n, p))

    track_line_over_pot.unit = track_sliced_over_pot.unit = "of POT's CPU time"  # type: ignore[attr-defined]


class BackwardOverPot:
    """The same with the derivative by the points, on torch."""

    params: ClassVar = (KINDS, SIZES)
    param_names: ClassVar = ["kind", "n"]

    def track_sliced_over_pot(self, kind: str, n: int) -> float:
        return ratio(backward(kind, n, 2))

    track_sliced_over_pot.unit = "of POT's CPU time"  # type: ignore[attr-defined]
