from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

import equipoise as eq
import equipoise.transport.pointcloud as pointcloud
from equipoise.transport import PointCloud, sinkhorn

from ..backends import CASES, Case

METRICS = {"sqeuclidean": "sqeuclidean", "euclidean": "euclidean", "cityblock": "cityblock"}


def clouds(n: int = 12, m: int = 9, d: int = 3, batch: tuple[int, ...] = (), seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    a, b = rng.random((*batch, n)) + 0.1, rng.random((*batch, m)) + 0.1
    x, y = rng.random((*batch, n, d)), rng.random((*batch, m, d))
    return x, y, a / a.sum(-1, keepdims=True), b / b.sum(-1, keepdims=True)


class TestDistances:
    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize("d", [1, 2, 3, 7, 9])
    def test_are_those_of_scipy(self, on: Case, metric: str, d: int) -> None:
        x, y, _, _ = clouds(d=d)
        got = on.numpy(on.call(lambda x, y: PointCloud(x + 100.0, y + 100.0, metric=metric).dense(), x, y))
        np.testing.assert_allclose(got, cdist(x, y, metric), rtol=0, atol=1e-11)

    def test_no_derivative_is_lost_where_points_agree(self) -> None:
        x = clouds()[0]
        at = torch.tensor(x, requires_grad=True)
        PointCloud(at, metric="euclidean").dense().sum().backward()
        grad = jax.grad(lambda x: PointCloud(x, metric="euclidean").dense().sum())(jax.numpy.array(x))
        apart = x[:, None] - x
        far = np.where(np.eye(12), 1.0, np.linalg.norm(apart, axis=-1))
        expected = 2 * (apart / far[..., None]).sum(1)
        np.testing.assert_allclose(at.grad, expected, atol=1e-13)
        np.testing.assert_allclose(grad, expected, atol=1e-13)

    def test_a_cloud_with_itself(self, on: Case) -> None:
        x, *_ = clouds(d=12)
        cloud = PointCloud(on.array(x))
        assert cloud.shape == (12, 12)
        assert np.all(np.diagonal(on.numpy(cloud.dense())) >= 0)

    @pytest.mark.parametrize("metric", METRICS)
    def test_the_bound_of_the_range(self, on: Case, metric: str) -> None:
        x, y, *_ = clouds(batch=(2,))
        cloud = PointCloud(on.array(x - 3), on.array(y), metric=metric)
        bound, dense = on.numpy(cloud.range_bound()), on.numpy(cloud.dense())
        assert bound.shape == (2,)
        assert np.all(bound >= dense.max(axis=(-2, -1)))
        assert np.all(bound <= 6 * dense.max(axis=(-2, -1)))

    def test_looks_and_stores(self, tmp_path: Any) -> None:
        cloud = PointCloud(np.zeros((2, 4, 3)), np.ones((5, 3)), metric="euclidean")
        assert repr(cloud) == "PointCloud(4 x 5 in 3 dimensions, batch (2,), euclidean, float64)"
        assert cloud.ndim == 3
        eq.save(tmp_path / "cloud.npz", cloud)
        again = eq.load(tmp_path / "cloud.npz")
        assert (again.metric, again.shape) == ("euclidean", (2, 4, 5))


class TestInTheSolver:
    @pytest.mark.parametrize(
        ("metric", "d"), [("sqeuclidean", 2), ("sqeuclidean", 10), ("euclidean", 3), ("cityblock", 2)]
    )
    def test_it_stands_for_its_matrix(self, on: Case, metric: str, d: int) -> None:
        x, y, a, b = clouds(40, 30, d)
        epsilon = 0.05 * float(cdist(x, y, metric).max())
        run = lambda *z: sinkhorn(PointCloud(*z[:2], metric=metric), *z[2:], epsilon=epsilon, tol=1e-10)  # noqa: E731
        got = on.numpy(on.call(run, x, y, a, b))
        want = sinkhorn(cdist(x, y, metric), a, b, epsilon=epsilon, tol=1e-10, method="log")
        assert int(got.steps) == int(want.steps)
        for one, other in ((got.f, want.f), (got.value, want.value), (got.transport_cost, want.transport_cost)):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-11)
        np.testing.assert_allclose(got.apply(y), want.apply(y), rtol=0, atol=1e-13)
        np.testing.assert_allclose(got.apply(x, transpose=True), want.apply(x, transpose=True), rtol=0, atol=1e-13)
        np.testing.assert_allclose(got.plan(), want.plan(), rtol=0, atol=1e-13)

    def test_a_batch_is_its_members(self, on: Case) -> None:
        x, y, a, b = clouds(batch=(2, 3))
        run = lambda *z: sinkhorn(PointCloud(*z[:2]), *z[2:], epsilon=0.1, tol=1e-9)  # noqa: E731
        batch = on.numpy(on.call(run, x, y[0, 0], a, b))
        assert batch.f.shape == (2, 3, 12)
        one = CASES[0] if on.jit else on  # shapes of members are not compiled again
        for k in np.ndindex(2, 3):
            alone = one.numpy(one.call(run, x[k], y[0, 0], a[k], b[k]))
            assert int(alone.steps) == batch.steps[k]
            np.testing.assert_allclose(alone.f, batch.f[k], rtol=0, atol=1e-12)

    def test_panels_change_nothing(self, on: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        x, y, a, b = clouds(13, 11)
        run = lambda *z: sinkhorn(PointCloud(*z[:2]), *z[2:], epsilon=0.1, tol=1e-9)  # noqa: E731
        forget = jax.clear_caches if on.name.startswith("jax") else lambda: None  # what is compiled has its panels
        whole = on.numpy(on.call(run, x, y, a, b))
        monkeypatch.setattr(pointcloud, "PANEL", 60)
        forget()
        parts = on.numpy(on.call(lambda *z: run(*z), x, y, a, b))
        forget()
        np.testing.assert_allclose(parts.f, whole.f, rtol=0, atol=1e-14)
        assert int(parts.steps) == int(whole.steps)

    def test_in_a_context(self) -> None:
        x, y, a, b = clouds()
        with eq.backend("torch"):
            inside = sinkhorn(PointCloud(x, y), a, b, epsilon=0.1)
        assert isinstance(inside.f, np.ndarray)
        assert inside.cost.x is x
        np.testing.assert_allclose(inside.f, sinkhorn(PointCloud(x, y), a, b, epsilon=0.1).f, atol=1e-12)

    def test_jax_vmap_and_jit_take_a_cloud(self) -> None:
        x, y, a, b = (jax.numpy.array(z) for z in clouds(batch=(3,)))
        mapped = jax.jit(jax.vmap(lambda c, a, b: sinkhorn(c, a, b, epsilon=0.1).f))(PointCloud(x, y), a, b)
        np.testing.assert_allclose(mapped, sinkhorn(PointCloud(x, y), a, b, epsilon=0.1).f, atol=1e-12)

    def test_twenty_thousand_points_in_little_memory(self) -> None:
        import tracemalloc

        x, y, a, b = clouds(20_000, 20_000)
        tracemalloc.start()
        result = sinkhorn(PointCloud(x, y), a, b, epsilon=1.0, tol=1e-3)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert result.converged
        assert peak < 40 * (x.nbytes + y.nbytes), f"{peak} bytes; the matrix would take {8 * 20_000**2}"


class TestSparsePlan:
    def test_of_a_cloud_and_of_its_matrix(self, on: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        if on.jit:
            pytest.skip("it needs values")
        monkeypatch.setattr("equipoise.transport.result.PANEL", 40)
        x, y, a, b = clouds(30, 20)
        for make in (PointCloud, lambda x, y: ((x[:, None, :] - y[None, ...]) ** 2).sum(-1)):
            if on.name.startswith("strict") and make is not PointCloud:
                continue
            result = sinkhorn(make(on.array(x), on.array(y)), on.array(a), on.array(b), epsilon=0.02)
            sparse = result.sparse_plan(0.05)
            dense = on.numpy(result.plan())
            kept = np.where(dense > 0.05 * a[:, None], dense, 0.0)
            assert 20 < sparse.matrix.data.shape[0] < 300
            np.testing.assert_allclose(on.numpy(sparse.matrix @ on.array(np.eye(20)[3])), kept[:, 3], atol=1e-15)
            assert abs(float(sparse.dropped) - (dense - kept).sum()) < 1e-14

    def test_it_says_what_it_cannot_do(self) -> None:
        x, y, a, b = clouds(batch=(2,))
        result = sinkhorn(PointCloud(x, y), a, b, epsilon=0.1)
        with pytest.raises(ValueError, match="one problem at a time"):
            result.sparse_plan()
        with pytest.raises(ValueError, match=re.escape("threshold must be in [0, 1), got 1.5")):
            sinkhorn(PointCloud(x[0], y[0]), epsilon=0.1).sparse_plan(1.5)
        with pytest.raises(TypeError, match="call it outside"):
            jax.jit(lambda c: sinkhorn(c, epsilon=0.1).sparse_plan())(jax.numpy.ones((3, 3)))


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "kind", "sentence"),
        [
            (([[0.0]],), TypeError, "x must be an array (numpy, torch, jax, cupy), got list"),
            ((np.zeros(3),), ValueError, "x must have shape (..., n, d), got (3,)"),
            ((np.zeros((0, 2)),), ValueError, "x must not be empty, got shape (0, 2)"),
            ((np.zeros((2, 2), dtype=int),), TypeError, "x must hold floating-point numbers, got dtype int64"),
            ((np.array([[0.0, np.nan]]),), ValueError, "x must be finite, got nan at index (0, 1)"),
            ((np.zeros((2, 2)), np.zeros((2, 3))), ValueError, "x (2, 2) and y (2, 3) must have points of one dim"),
            ((np.zeros((2, 2)), np.zeros((2, 2), "float32")), TypeError, "y must have the dtype of x, float64"),
            ((np.zeros((2, 2)), torch.zeros(2, 2)), TypeError, "two libraries, numpy and torch"),
            ((np.zeros((2, 2)), None, "cosine"), ValueError, "metric must be one of 'sqeuclidean', 'euclidean', "),
        ],
    )
    def test_sentences(self, arguments: Any, kind: type[Exception], sentence: str) -> None:
        with pytest.raises(kind, match=re.escape(sentence)):
            PointCloud(*arguments)

    def test_a_stored_kernel_of_a_cloud(self) -> None:
        with pytest.raises(ValueError, match="which a PointCloud is there to avoid"):
            sinkhorn(PointCloud(np.zeros((2, 2))), epsilon=0.1, method="kernel")
