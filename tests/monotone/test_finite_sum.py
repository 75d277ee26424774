from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from equipoise.monotone import (
    FiniteSum,
    GameOperator,
    LeastSquaresGradient,
    LogisticGradient,
    QuadraticMinMax,
    RobustLeastSquares,
    components,
)
from equipoise.monotone.finite_sum import picked
from equipoise.monotone.products import spectral_norm

from ..backends import Case
from .problems import EAGER, dimension, sums

NAMES = list(sums())


def shares(summed: Any) -> np.ndarray:
    """How likely each component is."""
    if getattr(summed, "sampling", "uniform") == "uniform":
        return np.full(summed.n, 1.0 / summed.n)
    return np.asarray(summed.sizes / summed.sizes.sum())


class TestSums:
    @pytest.mark.parametrize("name", NAMES)
    def test_the_estimator_is_unbiased(self, name: str) -> None:
        """F(v) and a sampled difference, in the mean over all n^b samples, are F(u)."""
        summed = sums()[name]
        assert isinstance(summed, FiniteSum)
        rng, d = np.random.default_rng(1), dimension(name)
        u, v = rng.normal(size=(2, d)), rng.normal(size=(2, d))
        p = shares(summed)
        mean = summed.full(v)
        for idx in itertools.product(range(summed.n), repeat=2):
            mean = mean + p[idx[0]] * p[idx[1]] * summed.diff(u, v, np.array(idx, np.int32))
        np.testing.assert_allclose(mean, summed.full(u), atol=1e-12)

    @pytest.mark.parametrize("name", NAMES)
    def test_constants_are_bounds(self, name: str) -> None:
        summed = sums()[name]
        if not hasattr(summed, "lipschitz"):
            return
        rng, d, p = np.random.default_rng(2), dimension(name), shares(summed)
        L, mean = float(summed.lipschitz), float(summed.mean_lipschitz)
        assert mean * (1 + 1e-12) * 1.02 >= L  # 1.01 is a power iteration's
        for _ in range(200):
            u, v = rng.normal(size=d), rng.normal(size=d) * rng.choice([0.1, 1.0, 10.0])
            d_full = summed.full(u) - summed.full(v)
            d_mean = sum(p[i] * np.sum(summed.diff(u, v, np.array([i], np.int32)) ** 2) for i in range(summed.n))
            inner, length = d_full @ (u - v), np.sum((u - v) ** 2)
            assert inner >= -1e-12
            assert np.sum(d_full**2) <= L**2 * length * (1 + 1e-12)
            assert d_mean <= mean**2 * length * (1 + 1e-12)
            if getattr(summed, "cocoercive", True):
                assert inner >= np.sum(d_full**2) / L * (1 - 1e-12)
                assert inner >= d_mean / mean * (1 - 1e-12)

    @pytest.mark.parametrize("name", ["logistic", "least squares"])
    def test_gradients(self, name: str) -> None:
        summed: Any = sums()[name]

        def loss(u: np.ndarray) -> float:
            if name == "logistic":
                value = np.mean(np.log1p(np.exp(-summed.labels * (summed.A @ u))))
            else:
                value = np.mean((summed.A @ u - summed.b) ** 2) / 2
            return float(value + 0.05 * u @ u)

        u = np.array([0.3, -0.2, 0.9])
        numeric = [(loss(u + h) - loss(u - h)) / 2e-6 for h in 1e-6 * np.eye(3)]
        np.testing.assert_allclose(summed.full(u), numeric, atol=1e-8)
        far = summed.full(np.full(3, 1e4))  # no overflow
        assert np.all(np.isfinite(far))

    def test_saddles(self) -> None:
        A, b = sums()["robust"].A, sums()["robust"].b
        x = np.linalg.lstsq(A, b, rcond=None)[0]
        y = (2.5 * b - A @ x) / 1.5
        np.testing.assert_allclose(RobustLeastSquares(A, b, 2.5).full(np.concatenate([x, y])), np.zeros(10), atol=1e-12)
        q: Any = sums()["worst case"]
        x = np.linalg.solve(q.A, q.b)
        y = np.linalg.solve(q.A.T, q.H @ x - q.h)
        np.testing.assert_allclose(q.full(np.concatenate([x, y])), np.zeros(8), atol=1e-12)

    def test_spectral_norm(self) -> None:
        for M in (np.diag([3.0, 2.999, 1.0]), np.random.default_rng(0).normal(size=(30, 20)), np.zeros((2, 3))):
            true = np.linalg.norm(M, 2)
            assert true <= float(spectral_norm(M)) * (1 + 1e-12) or true == 0
            assert float(spectral_norm(M)) <= 1.011 * true or true == 0

    def test_spectral_norm_at_every_scale(self) -> None:
        M = np.random.default_rng(0).normal(size=(30, 20))
        for scale in (1e-140, 1e-90, 1e90, 1e140):
            np.testing.assert_allclose(float(spectral_norm(M * scale)) / scale, float(spectral_norm(M)), rtol=1e-12)

    def test_numbers_of_numpy_do_not_widen(self) -> None:
        A, labels, l2 = np.ones((2, 3), np.float32), np.ones(2, np.float32), np.float64(0.1)
        for F in (
            LogisticGradient(A, labels, l2),
            LeastSquaresGradient(A, labels, l2),
            RobustLeastSquares(A, labels, 1.0 + l2),
        ):
            assert F.full(np.ones(F.unknowns, np.float32)).dtype == np.float32

    @pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
    def test_libraries_agree(self, case: Case) -> None:
        if case.missing:
            pytest.skip(case.missing)
        rng = np.random.default_rng(3)
        words = rng.integers(0, 2**32, size=(3, 4))
        for name, summed in sums().items():
            u, v = rng.normal(size=(2, dimension(name))), rng.normal(size=dimension(name))
            if name == "components":
                continue
            idx = np.array([0, 2, 2, 1], np.int32)
            full, diff, pick = case.numpy(
                case.call(lambda s, u, v, i, w: (s.full(u), s.diff(u, v, i), picked(s, w)), summed, u, v, idx, words)
            )
            np.testing.assert_allclose(full, summed.full(u), atol=1e-13)
            np.testing.assert_allclose(diff, summed.diff(u, v, idx), atol=1e-13)
            np.testing.assert_array_equal(pick, picked(summed, words))
            assert np.all((pick >= 0) & (pick < summed.n))

    def test_weighted_picks_have_their_shares(self) -> None:
        game = sums()["weighted game"]
        words = np.arange(2**14, dtype=np.int64) << 18
        found = np.bincount(game.pick(words), minlength=4) / 2**14
        np.testing.assert_allclose(found, shares(game), atol=2 / 2**14)


A, one = np.ones((3, 2)), np.ones(3)


@pytest.mark.parametrize("weight", [0.5, np.float64(0.5), np.asarray(0.5)], ids=["float", "scalar", "array"])
def test_a_weight_of_any_kind_is_checked(weight: Any) -> None:
    with pytest.raises(ValueError, match=r"weight must be above 1, got 0\.5"):
        RobustLeastSquares(A, one, weight)


def test_args_of_components_are_a_tuple() -> None:
    with pytest.raises(TypeError, match="args must be a tuple, got ndarray"):
        components(lambda u, i, A: u, 3, args=A)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (
            ValueError,
            r"labels must be -1 or 1, got 0.0 at index \(1,\)",
            lambda: LogisticGradient(A, np.array([1.0, 0, 1])),
        ),
        (
            ValueError,
            r"labels must have an entry a row of A, whose shape is \(3, 2\)",
            lambda: LogisticGradient(A, np.ones(2)),
        ),
        (
            ValueError,
            r"A must be finite, got nan at index \(0, 1\)",
            lambda: LeastSquaresGradient(A * [[1, np.nan]], one),
        ),
        (TypeError, "A must be an array .*, got list", lambda: LeastSquaresGradient([[1.0]], one)),
        (TypeError, "b must have the dtype of A", lambda: LeastSquaresGradient(A, one.astype("float32"))),
        (ValueError, "l2 must not be negative, got -1", lambda: LeastSquaresGradient(A, one, -1.0)),
        (ValueError, "weight must be above 1, got 0.5", lambda: RobustLeastSquares(A, one, 0.5)),
        (ValueError, r"A must not be empty, got shape \(0, 2\)", lambda: GameOperator(np.zeros((0, 2)))),
        (ValueError, "sampling must be 'uniform' or 'importance', got 'all'", lambda: GameOperator(A, sampling="all")),
        (ValueError, r"H must have shape \(2, 2\)", lambda: QuadraticMinMax(np.eye(3), A, one, one)),
        (ValueError, "n must be a whole number of at least 1, got 0", lambda: components(lambda u, i: u, 0)),
        (TypeError, "fun must be callable as fun", lambda: components(3, 3)),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
