"""The family's uniform set: interval quasimetric distances beside the textbook form in torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._solve import BACKENDS, DTYPES, Table, Task, _Solve
from .peers import ALPHA, textbook

COMPONENTS, LATENTS = 8, 16


class Solve(_Solve):
    """``iqe_pairwise`` of `size` points with as many others, 8 components of 16 latents, reduction "maxmean".

    There is nothing to iterate, hence no ``track_steps``. The tolerance is 1e-12, in float32 1e-5, on the largest
    deviation from distances that are measured interval by interval in float64, relative to the largest of them.
    """

    params: ClassVar = (BACKENDS, (50, 150), DTYPES)

    def task(self, size: int, dtype: str) -> Task:
        rng = np.random.default_rng(20_260_401)
        u, v = (rng.standard_normal((size, COMPONENTS * LATENTS)).astype(dtype) for _ in range(2))
        return Task(
            arrays=(u, v),
            prepare=ours,
            read=lambda distances: (np.asarray(distances), 0),
            prepare_peer=lambda: functools.partial(torchs, u, v),
            error=functools.partial(deviation, unions(u, v)),
            tol=1e-5 if dtype == "float32" else 1e-12,
        )

    def setup_cache(self) -> Table:
        return self.table()

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_ratio(self, *case: Any) -> float:
        """CPU time over that of the textbook form in torch; NaN where one of the two missed the tolerance."""
        return self.figures.ratio

    track_ratio.unit = "of the CPU time of the textbook form in torch"  # type: ignore[attr-defined]


def ours(u: Any, v: Any) -> Callable[[], Any]:
    import equipoise as eq

    return lambda: eq.quasimetric.iqe_pairwise(u, v, components=COMPONENTS)


def torchs(u: Any, v: Any) -> Any:
    import torch

    torch.set_num_threads(1)
    return textbook(torch, torch.from_numpy(u)[:, None], torch.from_numpy(v)[None], COMPONENTS).numpy()


def unions(u: Any, v: Any) -> Any:
    """The distances in float64: of every component the length of a union of intervals, swept from the left."""
    u, v = (x.astype(np.float64).reshape(len(x), COMPONENTS, LATENTS) for x in (u, v))
    order = np.argsort(u, axis=-1)
    left = np.take_along_axis(u, order, -1)
    lengths, reach = np.zeros((2, len(u), len(v), COMPONENTS))
    reach[:] = -np.inf
    for k in range(LATENTS):
        start = left[:, None, :, k]
        end = np.stack([v[:, c, order[:, c, k]].T for c in range(COMPONENTS)], axis=-1)
        lengths += np.maximum(end - np.maximum(start, reach), 0.0)
        reach = np.maximum(reach, end)
    return ALPHA * lengths.max(-1) + (1.0 - ALPHA) * lengths.mean(-1)


def deviation(truth: Any, distances: Any) -> float:
    return float(np.max(np.abs(distances.astype(np.float64) - truth)) / np.max(truth))
