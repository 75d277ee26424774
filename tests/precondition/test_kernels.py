"""Compiled sweeps: samples for the comparison with the portable bodies, and what small samples do not reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equipoise.precondition import psgd
from equipoise.precondition.common import Pairs
from equipoise.record import leaves

ROWS = 5


def sample_low_rank(rng: np.random.Generator, dtype: str) -> Any:
    """Some that end inside a block, one that needs two chunks, and blocks that are out of balance."""
    for n, r, size in ((1, 1, 1.0), (7, 2, 1.0), (40, 3, 1.0), (1030, 5, 0.1)):
        W = size * rng.standard_normal((2 * r, n)) / np.sqrt(n)
        W[:r] *= 3
        for count in (0, 3):
            yield low_rank_sweep(W, rng, dtype, count), {}
    yield low_rank_sweep(np.zeros((4, 9)), rng, dtype), {}  # nothing to balance
    W = np.zeros((2, 6))
    W[:, 2] = 1, -1  # I + V^T U is 0 and stays so: all are skipped
    yield low_rank_sweep(W, rng, dtype), {}


def low_rank_sweep(W: Any, rng: np.random.Generator, dtype: str, count: int = 0) -> tuple[Any, ...]:
    """Five pairs, of which two say nothing."""
    V, H = rng.standard_normal((2, ROWS, W.shape[1])).astype(dtype)
    V[1], H[3] = 0, 0
    d = np.exp(0.3 * rng.standard_normal(W.shape[1]))
    pairs = Pairs(V, H, np.linspace(0.4, 0.2, ROWS), 0.9)
    return W.astype(dtype), d.astype(dtype), pairs, np.asarray([0.1, 0.2, 0.3]), np.asarray(count)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_halves_of_a_large_matrix(dtype: str) -> None:
    """Matrices that no cache holds are moved by their upper halves, and are symmetric in the end."""
    numba_sweeps = pytest.importorskip("equipoise_numpy.precondition")
    rng = np.random.default_rng(3)
    X = rng.standard_normal((70, 70)) / 70
    Q, (V, H) = (X + X.T + np.eye(70)).astype(dtype), rng.standard_normal((2, 4, 70)).astype(dtype)
    V[0] = 0
    sides = []
    for large in (False, True):
        args = Q, V, H, np.asarray(0.3), np.full(4, 0.2), 0.9
        sides.append(numba_sweeps.quad_swept(*args, large))
    (whole, L), (halves, other) = sides
    assert np.array_equal(halves, halves.T)
    assert np.array_equal(whole, whole.T)
    np.testing.assert_allclose(halves, whole, atol=1e-14 if dtype == "float64" else 1e-6)
    np.testing.assert_allclose(other, L, rtol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "low_rank"])
@pytest.mark.parametrize("form", ["eq", "quad"])
def test_nothing_is_shared_with_what_was_given(kind: str, form: str) -> None:
    """Also where every pair is skipped."""
    p = psgd(kind, form=form, rank=2, damping=0.0)
    state = p.init(np.zeros(6))
    for h in (np.zeros(6), np.ones(6)):
        after = p.update(state, np.ones(6), h)
        for new, old in zip(leaves(after)[:2], leaves(state)[:2], strict=True):
            assert not np.shares_memory(new, old)


def test_a_pair_that_overflows_is_skipped() -> None:
    p = psgd("low_rank", rank=2, damping=0.0)
    state = p.init(np.zeros(6, np.float32))
    huge = np.full(6, 1e30, np.float32)
    after = p.update(state, huge, huge)
    assert np.array_equal(after.W, state.W)
    assert np.array_equal(after.d, state.d)
