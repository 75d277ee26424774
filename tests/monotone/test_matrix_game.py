from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

import equipoise as eq
from equipoise.monotone import matrix_game
from equipoise.monotone.resolvents import Simplex
from equipoise.monotone.saddle_steps import ANCHOR, MAPPED, NOW, SIZE, SaddleTask, begin, step
from equipoise.operators import Dense
from equipoise.result import Status

from ..backends import Case
from .problems import EAGER, HERE

ROCK = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])


def value_of(A: np.ndarray) -> float:
    """The value by a simplex method."""
    m, n = A.shape
    found = linprog(
        np.r_[np.zeros(n), 1.0],
        A_ub=np.c_[A, -np.ones(m)],
        b_ub=np.zeros(m),
        A_eq=[np.r_[np.ones(n), 0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * n + [(None, None)],
    )
    return float(found.fun)


class TestKnownAnswers:
    @pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
    def test_small_games(self, case: Case) -> None:
        if case.missing:
            pytest.skip(case.missing)
        result = case.numpy(case.call(lambda A: matrix_game(A, tol=1e-8), np.array([[3.0, -1.0], [-2.0, 4.0]])))
        np.testing.assert_allclose(result.x, [0.5, 0.5], atol=1e-6)
        np.testing.assert_allclose(result.y, [0.6, 0.4], atol=1e-6)
        np.testing.assert_allclose(result.value, 1.0, atol=1e-8)
        assert result.converged
        start = (np.array([1.0, 0, 0]), np.array([0, 1.0, 0]))
        result = case.numpy(case.call(lambda A, x, y: matrix_game(A, init=(x, y), tol=1e-8), ROCK, *start))
        np.testing.assert_allclose(result.x, np.full(3, 1 / 3), atol=1e-6)
        np.testing.assert_allclose(result.y, np.full(3, 1 / 3), atol=1e-6)
        np.testing.assert_allclose(result.value, 0.0, atol=1e-8)
        assert result.steps > 0

    def test_a_saddle_point_of_the_entries_is_seen(self) -> None:
        A = np.array([[5.0, 3.0, 4.0], [6.0, 1.0, 0.0], [7.0, 2.0, 9.0]])
        result = matrix_game(A)
        assert (result.steps, result.error, result.value) == (0, 0.0, 3.0)
        assert (result.x.tolist(), result.y.tolist()) == ([0, 1, 0], [1, 0, 0])
        both = matrix_game(np.stack([A, np.pad(ROCK, 0)]))
        np.testing.assert_allclose(both.value, [3.0, 0.0], atol=1e-6)

    def test_thin_games(self) -> None:
        assert matrix_game(np.array([[2.0]])).value == 2.0
        assert matrix_game(np.array([[2.0, -1.0, 0.5]])).value == -1.0
        assert matrix_game(np.array([[2.0], [-1.0]])).value == 2.0
        assert matrix_game(np.zeros((3, 4))).value == 0.0


class TestProperties:
    @given(seed=st.integers(0, 999), m=st.integers(1, 12), n=st.integers(1, 12), whole=st.booleans())
    def test_bounds_hold_the_value(self, seed: int, m: int, n: int, whole: bool) -> None:
        rng = np.random.default_rng(seed)
        A = rng.integers(-3, 4, (m, n)).astype(float) if whole else rng.normal(size=(m, n))
        result = matrix_game(A, tol=1e-5)
        true = value_of(A)
        assert result.converged
        assert result.lower - 1e-9 <= true <= result.upper + 1e-9
        assert result.lower <= result.value <= result.upper
        np.testing.assert_allclose((A @ result.x).max(), result.upper, atol=1e-13)
        np.testing.assert_allclose((result.y @ A).min(), result.lower, atol=1e-13)
        np.testing.assert_allclose([result.x.sum(), result.y.sum()], 1.0, atol=1e-12)
        assert min(result.x.min(), result.y.min()) >= 0

    @given(seed=st.integers(0, 99), scale=st.sampled_from([0.25, 1.0, 64.0]), shift=st.sampled_from([-3.0, 0.0, 10.0]))
    def test_scaling_shifting_and_swapping(self, seed: int, scale: float, shift: float) -> None:
        A = np.random.default_rng(seed).normal(size=(4, 5))
        one = matrix_game(A, tol=1e-6)
        other = matrix_game(scale * A + shift, tol=1e-6 * scale)
        np.testing.assert_allclose(other.value, scale * one.value + shift, atol=2e-6 * scale)
        swapped = matrix_game(-A.T, tol=1e-6)
        np.testing.assert_allclose(swapped.value, -one.value, atol=2e-6)

    @pytest.mark.parametrize("shape", [(30, 40), (60, 25)])
    def test_larger_games(self, shape: tuple[int, int]) -> None:
        A = np.random.default_rng(0).normal(size=shape)
        result = matrix_game(A)
        np.testing.assert_allclose(result.value, value_of(A), atol=1e-6)
        assert result.restarts > 3

    def test_what_is_known_of_the_product_does_not_drift(self) -> None:
        """A x is carried along by the step; no true product is needed to set it right."""
        A = np.random.default_rng(1).normal(size=(20, 30))
        task = SaddleTask(Dense(A), np.zeros(30), np.zeros(20), Simplex(), Simplex())
        s = begin(np.full(30, 1 / 30), np.full(20, 1 / 20), task, 1.0, 1.01 * np.linalg.norm(A, 2))
        for k in range(3000):
            s = step(s, task)
            if k % 500 == 0:
                for z in (s.point(NOW), s.point(ANCHOR), s.point(MAPPED)):
                    np.testing.assert_allclose(z.ax, A @ z.x, atol=1e-13)
                    np.testing.assert_allclose(z.aty, z.y @ A, atol=1e-13)

    def test_a_norm_that_was_taken_too_small_is_found_out(self) -> None:
        A = np.random.default_rng(1).normal(size=(20, 30))
        task = SaddleTask(Dense(A), np.zeros(30), np.zeros(20), Simplex(), Simplex())
        true = np.linalg.norm(A, 2)
        s = begin(np.eye(30)[0], np.eye(20)[0], task, 1.0, 0.5 * true)
        for _ in range(300):
            s = step(s, task)
        assert s.number(SIZE) > 0.6 * true


class TestUnits:
    @pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-12, 1e12, 1e150, 1e160, 1e300])
    def test_of_the_matrix(self, size: float) -> None:
        """The squares of these overflow, or vanish."""
        A = np.random.default_rng(0).normal(size=(6, 5))
        result = matrix_game(size * A, tol=1e-6 * size)
        assert result.converged
        assert result.steps == matrix_game(A).steps
        np.testing.assert_allclose(result.value / size, value_of(A), atol=1e-6)

    def test_of_the_matrix_in_float32(self) -> None:
        A = np.random.default_rng(0).normal(size=(6, 5))
        for size in (1e-30, 1e30):
            result = matrix_game((size * A).astype(np.float32), tol=1e-4 * size)
            assert result.converged
            np.testing.assert_allclose(result.value / size, value_of(A), atol=1e-4)

    def test_a_shift_far_beyond_the_differences(self) -> None:
        A = np.random.default_rng(0).normal(size=(6, 5)) + 1e8
        result = matrix_game(A)
        assert result.converged
        assert result.lower <= result.value <= result.upper
        assert (result.lower, result.upper) == ((result.y @ A).min(), (A @ result.x).max())
        np.testing.assert_allclose(result.value - 1e8, value_of(A - 1e8), atol=1e-6)

    def test_outcomes_whose_sum_would_overflow(self) -> None:
        for entry in (-1.7e308, 5e-324, 0.1):
            result = matrix_game(np.full((1, 1), entry))
            assert result.lower == result.value == result.upper == entry


class TestWays:
    def test_batches_are_as_alone(self) -> None:
        A = np.random.default_rng(2).normal(size=(3, 6, 5))
        A[1] *= 100
        together = matrix_game(A, tol=1e-6)
        for k in range(3):
            alone = matrix_game(A[k], tol=1e-6)
            np.testing.assert_allclose(together.value[k], alone.value, atol=1e-9)
            assert together.steps[k] == alone.steps
            assert together.restarts[k] == alone.restarts

    def test_operators(self) -> None:
        A = scipy.sparse.random_array((15, 20), density=0.3, rng=np.random.default_rng(0)) + scipy.sparse.csr_array(
            np.eye(15, 20)
        )
        one, other = matrix_game(A, tol=1e-6), matrix_game(A.toarray(), tol=1e-6)
        np.testing.assert_allclose(one.value, other.value, atol=2e-6)

    def test_a_warm_start(self) -> None:
        A = np.random.default_rng(3).normal(size=(12, 12))
        cold = matrix_game(A, tol=1e-7)
        warm = matrix_game(A + 1e-9, tol=1e-6, init=cold)
        assert warm.steps < cold.steps / 2

    def test_the_context_and_float32(self) -> None:
        A = np.random.default_rng(4).normal(size=(8, 9))
        with eq.backend("torch", dtype="float32"):
            result = matrix_game(A)
        assert result.x.dtype == np.float32
        assert abs(float(result.value) - value_of(A)) < 1e-4

    def test_jax(self) -> None:
        A = np.random.default_rng(5).normal(size=(4, 5))
        expected = matrix_game(A, tol=1e-7)
        result = jax.jit(lambda A: matrix_game(A, tol=1e-7))(jnp.asarray(A))
        np.testing.assert_allclose(result.value, expected.value, atol=1e-12)
        assert int(result.steps) == expected.steps

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_out_of_steps(self, case: Case) -> None:
        A = np.random.default_rng(6).normal(size=(30, 30))
        with pytest.warns(eq.ConvergenceWarning, match="steps ran out"):
            result = case.call(lambda A: matrix_game(A, tol=1e-12, max_steps=45), A)
        assert (result.status, result.steps) == (Status.MAX_STEPS, 45)
        assert result.lower <= value_of(A) <= result.upper  # the bounds hold all the same


I = np.eye(2)


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (TypeError, "A must be an array, a sparse matrix .*, got list", lambda: matrix_game([[1.0]])),
        (ValueError, r"A must not be empty, got shape \(0, 2\)", lambda: matrix_game(np.zeros((0, 2)))),
        (ValueError, r"A must be finite, got inf at index \(0, 1\)", lambda: matrix_game(np.array([[1.0, np.inf]]))),
        (TypeError, "must hold floating-point numbers, got dtype int64", lambda: matrix_game(np.eye(2, dtype=int))),
        (TypeError, r"init must be a GameResult or a pair .*, got int", lambda: matrix_game(I, init=3)),
        (
            ValueError,
            r"x of init must have shape \(2,\), got \(3,\)",
            lambda: matrix_game(I, init=(np.ones(3) / 3, np.ones(2) / 2)),
        ),
        (
            ValueError,
            "y of init must be a strategy, not negative and of sum 1",
            lambda: matrix_game(I, init=(np.ones(2) / 2, np.ones(2))),
        ),
        (ValueError, "check_every must be None or at least 1, got 0", lambda: matrix_game(I, check_every=0)),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
