from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from equipoise.quasimetric import Embedding, fit, iqe_pairwise, pqe_pairwise, quality

from ..backends import Case
from .problems import shortest_paths
from .test_iqe import points

N = 12


def embedding(head: str = "iqe", library: Any = np.asarray) -> Embedding[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        return fit(library(shortest_paths(N, 3, 0.5)), dim=8, components=2, head=head, max_steps=3)


class TestDistance:
    @pytest.mark.parametrize("head", ["iqe", "pqe"])
    def test_numbers_and_arrays(self, head: str) -> None:
        found = embedding(head)
        d = found.distances()
        many, i, j = np.arange(N).repeat(6), np.array([3, 1, 4]), np.array([1, 5, 9])
        np.testing.assert_allclose(found.distance(i, j), d[i, j], atol=1e-14)
        np.testing.assert_allclose(found.distance(2, many), d[2, many], atol=1e-14)
        np.testing.assert_allclose(found.distance(many, 2), d[many, 2], atol=1e-14)
        np.testing.assert_allclose(found.distance(np.array(2), np.int64(5)), d[2, 5], atol=1e-14)
        np.testing.assert_allclose(found.distance(i.astype("uint8"), j.astype("int16")), d[i, j], atol=1e-14)
        assert found.distance(i[:0], j[:0]).shape == (0,)

    def test_on_torch_and_under_jit(self) -> None:
        i, j = [3, 1, 4], [1, 5, 9]
        found = embedding(library=torch.tensor)
        d = found.distances()
        torch.testing.assert_close(found.distance(torch.tensor(i, dtype=torch.uint8), torch.tensor(j)), d[i, j])
        torch.testing.assert_close(found.distance(torch.tensor(3), torch.tensor(j)), d[3, j])
        there = embedding(library=jnp.asarray)
        seen = jax.jit(lambda i, j: (there.distance(i, j), there.nearest(i[0], 2)[0]))(jnp.asarray(i), jnp.asarray(j))
        np.testing.assert_allclose(seen[0], d[i, j], atol=1e-12)
        assert seen[1].tolist() == found.nearest(3, 2)[0].tolist()

    @pytest.mark.parametrize("head", ["iqe", "pqe"])
    @pytest.mark.parametrize(
        ("i", "j", "message"),
        [
            (np.zeros(200, int), np.ones(3, int), r"i and j must have one shape, got \(200,\) and \(3,\)"),
            (np.zeros(2000, int), np.array([1]), r"i and j must have one shape, got \(2000,\) and \(1,\)"),
            (np.zeros((2, 2), int), np.zeros((2, 2), int), r"1-d array of them, got int64 of shape \(2, 2\)"),
            (0, np.array([1, N, 2]), rf"j must lie in \[0, {N}\), got {N} at index 1"),
            (np.array([-1]), 0, rf"i must lie in \[0, {N}\), got -1 at index 0"),
            (np.array(-1), 0, rf"i must lie in \[0, {N}\), got -1(\n|$)"),
            (-1, 0, rf"i must lie in \[0, {N}\), got -1(\n|$)"),
            (np.array([True, False]), 0, "i must be a whole number or a 1-d array of them, got bool"),
            (np.array([0.0]), 0, "i must be a whole number or a 1-d array of them, got float64"),
            (True, 0, "i must be a whole number or a 1-d array of them, got bool"),
            ([0, 1], 0, "i must be a whole number or a 1-d array of them, got list"),
            (torch.tensor([0, 1]), 0, "two libraries, numpy and torch"),
            (0, torch.tensor(1), "two libraries, numpy and torch"),
        ],
    )
    def test_bad_input(self, head: str, i: Any, j: Any, message: str) -> None:
        with pytest.raises((TypeError, ValueError), match=message):
            embedding(head).distance(i, j)

    @pytest.mark.parametrize(
        ("i", "message"),
        [
            (np.array([0, 1]), r"i must be a whole number, got int64 of shape \(2,\)"),
            (np.array(True), "i must be a whole number, got bool"),
            (0.0, "i must be a whole number, got float"),
            (N, rf"i must lie in \[0, {N}\), got {N}"),
            (np.array(-1), rf"i must lie in \[0, {N}\), got -1"),
            (torch.tensor(1), "two libraries, numpy and torch"),
        ],
    )
    def test_bad_input_of_nearest(self, i: Any, message: str) -> None:
        with pytest.raises((TypeError, ValueError), match=message):
            embedding().nearest(i)

    def test_numpy_numbers_into_a_torch_table(self) -> None:
        found = embedding(library=torch.tensor)
        for call in (lambda: found.distance(np.array([0]), np.array([1])), lambda: found.nearest(np.array(0))):
            with pytest.raises(TypeError, match="two libraries, torch and numpy"):
                call()
        assert found.distance(np.int64(0), 1) == found.distances()[0, 1]


class TestQuality:
    def test_infinite_distances_of_both(self, on: Case) -> None:
        """A quasimetric against itself: an infinite way breaks no triangle inequality, a finite one may."""
        D = shortest_paths(N, 3, 0.1)
        assert np.isinf(D).any()

        def both(D: Any, broken: Any) -> Any:
            return quality(D, D), quality(broken, D)

        broken = D.copy()
        hops = np.where(np.eye(N) > 0, np.inf, D)
        i, j = np.argwhere(np.isfinite((hops[:, :, None] + hops[None]).min(1)) & (D > 0))[0]  # there is a way around
        broken[i, j] = np.inf
        found, worse = on.call(both, D, broken)
        assert on.numpy(found.triangle_slack) == 0
        assert on.numpy(found.auc) == 1
        assert on.numpy(found.mean_error) == on.numpy(found.discounted_error) == 0
        assert on.numpy(worse.triangle_slack) == -np.inf

    def test_a_nan_is_no_score(self, on: Case) -> None:
        D = shortest_paths(N, 3, 0.1)
        tables = [np.where(np.isfinite(D), D, 99.0) for _ in range(2)]
        for d, finite in zip(tables, (True, False), strict=True):
            i, j = np.argwhere((np.isfinite(D) == finite) & (D != 0))[0]
            d[i, j] = np.nan
        for found in on.call(lambda a, b, D: (quality(a, D), quality(b, D)), *tables, D):
            assert np.isnan(on.numpy(found.auc))
            assert np.isnan(on.numpy(found.triangle_slack))

    def test_a_nan_that_does_not_count(self) -> None:
        D = shortest_paths(N, 3, 0.1)
        d = np.where(np.isfinite(D), D, 99.0)
        d[2, 2] = np.nan
        assert quality(d, D).auc == 1

    def test_the_slack_of_quasimetrics(self) -> None:
        x = points(9, 6)
        for d in (iqe_pairwise(x, components=2), pqe_pairwise(x, components=2)):
            expected = (d[:, :, None] + d[None] - d[:, None]).min()
            assert abs(quality(d, d).triangle_slack - expected) <= 1e-15
