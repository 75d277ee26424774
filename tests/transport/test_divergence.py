from __future__ import annotations

import re
import warnings
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.transport import sinkhorn, sinkhorn_divergence

from ..backends import CASES, Case, everywhere
from .test_pointcloud import clouds


def dense_value(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, epsilon: float, **more: Any) -> float:
    """One term, by a solve with the matrix."""
    cost = ((x[:, None] - y[None]) ** 2).sum(-1)
    return float(sinkhorn(cost, a, b, epsilon=epsilon, tol=1e-12, **more).value)


class TestValue:
    @pytest.mark.parametrize("penalty", [None, 0.5])
    def test_its_three_terms(self, on: Case, penalty: Any) -> None:
        x, y, a, b = clouds(30, 20)
        if penalty:
            b = 1.4 * b
        run = lambda *z: sinkhorn_divergence(*z, epsilon=0.1, marginal_penalty=penalty, tol=1e-11)  # noqa: E731
        result = on.numpy(on.call(run, x, y, a, b))
        more = {"marginal_penalty": penalty}
        want = dense_value(x, y, a, b, 0.1, **more)
        want -= (dense_value(x, x, a, a, 0.1, **more) + dense_value(y, y, b, b, 0.1, **more)) / 2
        if penalty:
            want += 0.1 * (a.sum() - b.sum()) ** 2 / 2
        assert result.converged
        assert abs(float(result.value) - want) < 1e-12
        assert float(result.error) <= 1e-11

    def test_equal_clouds_are_at_zero(self, on: Case) -> None:
        x, _, a, _ = clouds(30)
        run = lambda x, y, a, b: sinkhorn_divergence(x, y, a, b, epsilon=0.05)  # noqa: E731
        result = on.numpy(on.call(run, x, x.copy(), a, a.copy()))
        if not on.jit:  # XLA may add up the same numbers in another order
            assert float(result.value) == 0.0
        assert abs(float(result.value)) < 1e-15
        np.testing.assert_allclose(result.f, 0.0, atol=1e-14)

    @everywhere
    def test_a_translation_costs_its_square(self, on: Case) -> None:
        x, _, a, _ = clouds(30)
        step = np.array([0.3, -0.2, 0.5])
        run = lambda *z: sinkhorn_divergence(*z, epsilon=0.05, tol=1e-10)  # noqa: E731
        got = on.numpy(on.call(run, x, x + step, a, a).value)
        assert abs(float(got) - (step**2).sum()) < 1e-9

    def test_the_potentials_are_the_derivatives_in_the_weights(self) -> None:
        x, y, a, b = clouds()
        d = np.linspace(-1, 1, 12) * 1e-6
        value = lambda a: float(sinkhorn_divergence(x, y, a, b, epsilon=0.1, tol=1e-13).value)  # noqa: E731
        f = sinkhorn_divergence(x, y, a, b, epsilon=0.1, tol=1e-13).f
        assert abs((value(a + d) - value(a - d)) / 2 - (f * d).sum()) < 1e-11

    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.05]), st.sampled_from(["sqeuclidean", "euclidean"]))
    def test_it_is_not_negative(self, seed: int, epsilon: float, metric: str) -> None:
        x, y, a, b = clouds(6, 8, 2, seed=seed)
        result = sinkhorn_divergence(x, y, a, b, epsilon=epsilon, metric=metric, tol=1e-9)
        turned = sinkhorn_divergence(y, x, b, a, epsilon=epsilon, metric=metric, tol=1e-9)
        assert float(result.value) > -1e-9
        assert abs(float(result.value) - float(turned.value)) < 1e-8

    def test_geomloss_halves_the_square(self) -> None:
        geomloss = pytest.importorskip("geomloss")
        torch = pytest.importorskip("torch")
        x, y, a, b = clouds(30, 20)
        loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=0.05**0.5, scaling=0.99, backend="tensorized", debias=True)
        theirs = float(loss(*map(torch.tensor, (a, x, b, y))))
        ours = float(sinkhorn_divergence(x, y, a, b, epsilon=2 * 0.05, tol=1e-9).value)
        assert abs(ours / 2 - theirs) < 1e-3 * theirs


class TestRuns:
    def test_a_batch_is_its_members(self, on: Case) -> None:
        x, y, a, b = clouds(batch=(3,))
        run = lambda *z: sinkhorn_divergence(*z, epsilon=0.1, tol=1e-9)  # noqa: E731
        batch = on.numpy(on.call(run, x, y, a, b))
        assert batch.value.shape == batch.error.shape == (3,)
        one = CASES[0] if on.jit else on  # shapes of members are not compiled again
        alone = one.numpy(one.call(run, x[1], y[1], a[1], b[1]))
        assert abs(float(alone.value) - batch.value[1]) < 1e-12

    def test_float32(self, on: Case) -> None:
        x, y, a, b = (z.astype("float32") for z in clouds(30, 20))
        result = on.numpy(on.call(lambda *z: sinkhorn_divergence(*z, epsilon=0.1), x, y, a, b))
        assert result.value.dtype == np.float32
        assert abs(float(result.value) - float(sinkhorn_divergence(*clouds(30, 20), epsilon=0.1).value)) < 1e-5

    def test_vmap_of_grad(self) -> None:
        x, y, _, _ = (jax.numpy.array(z) for z in clouds(batch=(3,)))
        grad = jax.grad(lambda x, y: sinkhorn_divergence(x, y, epsilon=0.1).value)
        mapped = jax.jit(jax.vmap(grad))(x, y)
        np.testing.assert_allclose(mapped[2], grad(x[2], y[2]), atol=1e-10)

    def test_not_converging_warns(self) -> None:
        x, y, *_ = clouds(30, 20)
        with pytest.warns(eq.ConvergenceWarning, match="transport.sinkhorn_divergence did not reach tol=1e-06"):
            result = sinkhorn_divergence(x, y, epsilon=1e-3, max_steps=3)
        assert result.converged is False
        assert result.status is eq.Status.MAX_STEPS

    def test_it_is_stored(self, tmp_path: Any) -> None:
        x, y, *_ = clouds()
        result = sinkhorn_divergence(x, y, epsilon=0.1)
        eq.save(tmp_path / "divergence.npz", result)
        assert float(eq.load(tmp_path / "divergence.npz").value) == float(result.value)

    @pytest.mark.parametrize(
        ("more", "kind", "sentence"),
        [
            ({"y": np.zeros((3, 2))}, ValueError, "must have points of one dimension"),
            ({"a": np.ones(3)}, ValueError, "a must have shape (..., 12)"),
            ({"a": np.ones(12)}, ValueError, "a and b must have the same total, got 12 and 1"),
            ({"marginal_penalty": (1.0, 1.0)}, ValueError, "a divergence treats both sides alike"),
            ({"metric": "cosine"}, ValueError, "metric must be one of"),
            ({"epsilon": 0.0}, ValueError, "epsilon must be positive"),
        ],
    )
    def test_bad_input(self, more: dict[str, Any], kind: type[Exception], sentence: str) -> None:
        x, y, *_ = clouds()
        with warnings.catch_warnings(), pytest.raises(kind, match=re.escape(sentence)):
            sinkhorn_divergence(**{"x": x, "y": y, "epsilon": 0.1, **more})
