from __future__ import annotations

from typing import Any

import numpy as np

from equipoise.monotone.matrix_game import GameState, looked
from equipoise.monotone.resolvents import Simplex
from equipoise.monotone.saddle_steps import SaddleTask, begin
from equipoise.operators import Dense


def game(
    rng: np.random.Generator, dtype: str, m: int, n: int, batch: tuple[int, ...], *, shared: bool = False, reach: float
) -> tuple[GameState, SaddleTask]:
    """A start, with vertices among the strategies, and a game with its transpose in rows."""
    A = rng.normal(size=(*(() if shared else batch), m, n)).astype(dtype)
    x, y = rng.random((*batch, n)).astype(dtype) ** 8, rng.random((*batch, m)).astype(dtype)
    x[..., 0], y[..., 1:] = 0, 0
    x, y = x / x.sum(-1, keepdims=True), y / y.sum(-1, keepdims=True)
    turned = np.ascontiguousarray(np.swapaxes(A, -1, -2))
    task = SaddleTask(Dense(A), 0 * x + 0.1, 0 * y, Simplex(), Simplex(2.0), turned, reach=reach, shrink=0.9)
    size = np.linalg.norm(A.astype(float), 2, axis=(-2, -1)).astype(dtype) + np.zeros(batch, dtype)
    state = begin(x, y, task, 1.5, size)
    worst = np.full(batch, np.inf, dtype)
    return looked(state, GameState(state, x, y, -worst, worst)), task


def sample(rng: np.random.Generator, dtype: str) -> Any:
    """Sparse and dense strategies, games alone and in batches, a norm too small; restarts among the steps."""
    kinds: list[dict[str, Any]] = [
        {"m": 13, "n": 30, "batch": (), "reach": 3.0},
        {"m": 30, "n": 9, "batch": (2, 3), "reach": 1.0},
        {"m": 9, "n": 11, "batch": (4,), "shared": True, "reach": 3.0},
    ]
    for kind in kinds:
        state, task = game(rng, dtype, **kind)
        for limit in (0, 1, 25):
            yield (state, task, limit, 0.0), {}
