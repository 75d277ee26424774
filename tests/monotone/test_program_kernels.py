from __future__ import annotations

from typing import Any

import numpy as np

from equipoise.monotone.program_data import program_of
from equipoise.monotone.program_steps import Program, ProgramState, looked
from equipoise.monotone.saddle_steps import Centred, begin
from equipoise.operators import Dense


def program(
    rng: np.random.Generator, dtype: str, p: int, q: int, n: int, batch: tuple[int, ...], *, shared: bool = True
) -> tuple[ProgramState, Program]:
    """A start, and a program with free, bounded and fixed variables."""

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    own = () if shared else batch
    A, G = draw(*own, p, n) if p else None, draw(*own, q, n) if q else None
    b, h = draw(*batch, p) if p else None, draw(*batch, q) if q else None
    lower, upper = np.where(draw(n) > 0, 0, -np.inf).astype(dtype), np.where(draw(n) > 0, 2, np.inf).astype(dtype)
    lower[0] = upper[0] = 1.0
    as_operator = [None if M is None else Dense(M) for M in (A, G)]
    made = program_of(draw(*batch, n), as_operator[0], b, as_operator[1], h, (lower, upper), batch, True)
    x, y = made.task.primal(draw(*batch, n)), made.task.dual(draw(*batch, p + q))
    array = made.task.K.array.astype(float)
    size = np.linalg.norm(array, 2, axis=(-2, -1)).astype(dtype) + np.zeros(batch, dtype)
    inner = begin(x, y, made.task, 1.5, size)
    far = np.full(batch, np.inf, dtype)
    blank = ProgramState(inner, x, y, far, 0 * x, 0 * y, np.zeros(batch, np.int32))
    return looked(inner, blank, made, 1e-6), made


def sample(rng: np.random.Generator, dtype: str) -> Any:
    """Equalities, inequalities and both, alone and in batches; restarts among the steps."""
    kinds: list[dict[str, Any]] = [
        {"p": 5, "q": 0, "n": 13, "batch": ()},
        {"p": 0, "q": 11, "n": 6, "batch": (2, 2)},
        {"p": 3, "q": 4, "n": 9, "batch": (3,), "shared": False},
    ]
    for kind in kinds:
        state, made = program(rng, dtype, **kind)
        for limit in (0, 1, 20):
            yield (state, made, limit, 1e-6), {}


def sample_power(rng: np.random.Generator, dtype: str) -> Any:
    """Matrices of any shape and size, alone and centred, a step and many."""
    for shape, scale in (((7, 4), 1.0), ((3, 11), 1e-12), ((5, 5), 1e12), ((1, 6), 1.0)):
        K = Dense((scale * rng.normal(size=shape)).astype(dtype))
        v = rng.normal(size=shape[1]).astype(dtype)
        for count in (1, 40):
            yield (v / np.linalg.norm(v), K), {"count": count}
        yield (v / np.linalg.norm(v), Centred(K)), {"count": 3}
    zero = np.zeros(4, dtype)
    yield (zero, Dense(np.ones((2, 4), dtype))), {"count": 2}
