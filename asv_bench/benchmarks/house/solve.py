"""The uniform set of the house itself: a method of thirty lines in its loop, beside the same loop by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._solve import BACKENDS, DTYPES, Table, Task, _SteppedSolve

MAX_STEPS = 100


class Solve(_SteppedSolve):
    """Square roots of `size` numbers by Newton's iteration, through ``public`` and ``iterate``, as the guide writes it.

    Ten numbers show what a solve and a step of the loop cost, some tens of microseconds each, with nothing to do in
    between; 100 000 show it where there is work. torch is slower than numpy at this by hand too. The tolerance is
    1e-12, in float32 1e-5, on |x^2 - y| / y; both sides look after every step.
    """

    params: ClassVar = (BACKENDS, (10, 100_000), DTYPES)

    def task(self, size: int, dtype: str) -> Task:
        tol = 1e-5 if dtype == "float32" else 1e-12
        y = np.logspace(0.0, 6.0, size).astype(dtype)
        solve = root_in_the_house(tol)
        return Task(
            arrays=(y,),
            prepare=lambda y: lambda: solve(y),
            read=lambda found: (np.asarray(found[0]), int(found[1])),
            prepare_peer=lambda: functools.partial(root_by_hand, y, tol),
            error=lambda x: float(np.max(np.abs(x.astype(np.float64) ** 2 - y.astype(np.float64)) / y)),
            tol=tol,
        )

    def setup_cache(self) -> Table:
        return self.table()

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_ratio(self, *case: Any) -> float:
        """CPU time over that of the same loop by hand in numpy; NaN where one of the two missed the tolerance."""
        return self.figures.ratio

    track_ratio.unit = "of the CPU time of a loop in numpy"  # type: ignore[attr-defined]


def step(x: Any, y: Any) -> Any:
    return (x + y / x) / 2


def error(x: Any, y: Any) -> Any:
    """Of the batch: its worst."""
    return (abs(x**2 - y) / y).max()


def root_in_the_house(tol: float) -> Callable[[Any], Any]:
    import equipoise as eq
    from equipoise.iterate import iterate, stepwise

    advance = stepwise(step, error)

    def root(y: Any) -> Any:
        run = iterate(advance, y, y, tol=tol, max_steps=MAX_STEPS, check_every=1, method="root")
        return run.state, run.steps

    solve: Callable[[Any], Any] = eq.public(root)
    return solve


def root_by_hand(y: Any, tol: float) -> Any:
    x = y
    for _ in range(MAX_STEPS):
        if not error(x, y) > tol:
            break
        x = step(x, y)
    return x
