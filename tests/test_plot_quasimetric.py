from __future__ import annotations

import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import equipoise as eq
from equipoise.plot.directed import leading, scaled
from equipoise.plot.quasimetric import covered, some_of
from equipoise.quasimetric import Embedding, iqe

from .backends import Case
from .quasimetric.problems import lengths, shortest_paths

rng = np.random.default_rng(0)
D = shortest_paths(12, 2)
fitted = np.maximum(rng.normal(size=(12, 1)) - rng.normal(size=(1, 12)), 0.0) + 1.0 - np.eye(12)
np.fill_diagonal(fitted, 0.0)


def fit(D: Any, steps: int = 20) -> Embedding[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        return eq.quasimetric.fit(D, dim=8, components=2, tol=0.0, max_steps=steps, check_every=1, history=True)


class TestDistances:
    def test_a_dot_for_every_pair_and_a_line_for_both_directions(self, on: Case) -> None:
        ax = eq.plot.distances(on.array(fitted), on.array(D), joined=1000)
        diagonal, dots = ax.get_lines()[:2]
        most = D[np.isfinite(D)].max()
        np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [most, most]])
        i, j = np.triu_indices(12, k=1)
        np.testing.assert_array_equal(dots.get_ydata(), np.concatenate([fitted[i, j], fitted[j, i]]))
        given = np.concatenate([D[i, j], D[j, i]])
        x, far = dots.get_xdata(), np.isinf(given)
        assert np.all(np.round(x[~far]) == given[~far])  # beside its column, never in the next one
        band = ax.patches[0].get_window_extent().transformed(ax.transData.inverted())
        assert np.all((x[far] > band.x0) & (x[far] < band.x1))
        assert x[~far].max() < band.x0
        assert far.any()
        assert ax.get_xticklabels()[-1].get_text() == "no way"
        lines = ax.collections[0].get_segments()
        joined = np.isfinite(D[i, j]) | np.isfinite(D[j, i])
        ends = np.sort([line[:, 1] for line in lines], axis=1)
        np.testing.assert_array_equal(ends, np.sort(np.stack([fitted[i, j], fitted[j, i]], axis=1)[joined], axis=1))

    def test_of_an_embedding_on_given_axes(self) -> None:
        found = fit(D)
        ax = plt.subplots()[1]
        assert eq.plot.distances(found, D, ax=ax) is ax
        d = found.distances()
        i, j = np.triu_indices(12, k=1)
        np.testing.assert_array_equal(ax.get_lines()[1].get_ydata(), np.concatenate([d[i, j], d[j, i]]))

    def test_many_pairs_are_a_density_that_loses_none(self) -> None:
        n = 70
        given = rng.integers(1, 6, (n, n)) * 1.0
        given[rng.random((n, n)) < 0.1] = np.inf
        np.fill_diagonal(given, 0.0)
        for table in (given, np.where(given > 0, given + 0.3 * rng.random((n, n)), 0.0)):  # few distances, and many
            made = np.where(np.isfinite(table), table, 30.0)
            ax = eq.plot.distances(made, table)
            body, band = ax.collections[:2]
            assert body.get_array().sum() == np.isfinite(given).sum() - n
            assert band.get_array().sum() == np.isinf(given).sum()
            assert len(ax.collections[2].get_segments()) == 60
            assert ax.get_yscale() == "symlog"
            ax.figure.canvas.draw()

    def test_a_table_without_band_ties_or_distances(self) -> None:
        ax = eq.plot.distances(fitted, fitted)
        assert not ax.patches
        assert ax.get_yscale() == "linear"
        for table in (np.zeros((3, 3)), np.where(np.eye(3) > 0, 0.0, np.inf), np.where(np.eye(80) > 0, 0.0, np.inf)):
            eq.plot.distances(np.where(table > 0, 1.0, 0.0), table).figure.canvas.draw()

    def test_joins_both_kinds_of_pairs(self) -> None:
        known = np.array([[True] * 90 + [False] * 10, [True] * 50 + [False] * 50])
        assert [known[:, some_of(known, k)].sum(axis=0).tolist().count(2) for k in (20, 79, 200)] == [10, 40, 50]
        assert [some_of(known, k).size for k in (0, 20, 79, 200)] == [0, 20, 79, 90]
        np.testing.assert_array_equal(some_of(known, 20), some_of(known, 20))

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match=r"D must be a table .*, got shape \(12,\)"):
            eq.plot.distances(fitted, D[0])
        with pytest.raises(ValueError, match=r"D must be between the 12 points of the embedding, got a table of 5"):
            eq.plot.distances(fitted, D[:5, :5])
        with pytest.raises(ValueError, match="embedding must hold finite distances"):
            eq.plot.distances(D, D)
        with pytest.raises(ValueError, match=r"at least 0 \(or infinite\), got nan at index \(0, 1\)"):
            eq.plot.distances(fitted, np.array([[0.0, np.nan], [1.0, 0.0]]))
        with pytest.raises(ValueError, match=r"D must be zero on the diagonal, got 1.0 at index \(1, 1\)"):
            eq.plot.distances(fitted, np.array([[0.0, 1.0], [1.0, 1.0]]))
        with pytest.raises(ValueError, match="joined must be at least 0, got -1"):
            eq.plot.distances(fitted, D, joined=-1)


class TestAsymmetry:
    def test_points_are_ordered_and_kinds_of_pairs_told_apart(self, on: Case) -> None:
        places = np.array([3.0, 0.0, 2.0, 1.0])
        rise = places[None] - places[:, None]
        D = np.abs(rise) + 2 * np.maximum(rise, 0.0)
        D = np.pad(D, (0, 2), constant_values=np.inf)
        D[4, 4] = D[5, 5] = 0.0
        D[4, :4] = 1.0  # the fifth reaches four that do not reach it; nobody reaches the sixth
        ax = eq.plot.asymmetry(on.array(D), labels=list("dbcaxo"))
        names = [text.get_text() for text in ax.get_yticklabels()]
        assert names == ["x", "d", "o", "c", "a", "b"]
        assert [text.get_text() for text in ax.get_xticklabels()] == names
        image = ax.get_images()[0]
        shown, order = image.get_array(), ["dbcaxo".index(name) for name in names]
        sorted_ = D[np.ix_(order, order)]
        both = np.isfinite(sorted_) & np.isfinite(sorted_.T)
        np.testing.assert_allclose(shown[both], (sorted_ - np.where(both, sorted_.T, 0.0))[both])
        np.testing.assert_array_equal(shown.mask, np.isinf(sorted_) & np.isinf(sorted_.T))
        assert image.get_clim() == (-6, 6)
        assert shown[0, 1] < -6
        assert shown[1, 0] > 6
        colours = image.cmap(image.norm(shown[:2, :4]))
        assert len({tuple(c) for c in colours.reshape(-1, 4).round(3).tolist()}) >= 5

    def test_of_many_points_some_are_named(self) -> None:
        n = 100
        D = np.maximum(np.arange(n)[None] - np.arange(n)[:, None], 0.0)
        ax = eq.plot.asymmetry(D, labels=[str(k) for k in range(n)])
        names = [text.get_text() for text in ax.get_yticklabels()]
        assert 10 < len(names) < 50
        assert names[0] == "99"
        np.testing.assert_array_equal(ax.get_images()[0].get_array(), (D - D.T)[::-1, ::-1])

    def test_a_symmetric_table_is_blank(self) -> None:
        ax = eq.plot.asymmetry(np.ones((3, 3)) - np.eye(3), ax=plt.subplots()[1])
        assert not ax.get_images()[0].get_array().any()
        with pytest.raises(ValueError, match="labels must name each of the 3 points, got 2"):
            eq.plot.asymmetry(np.ones((3, 3)) - np.eye(3), labels=["a", "b"])


class TestIntervals:
    u, v = rng.normal(size=24).round(1), rng.normal(size=24).round(1)

    def test_lengths_are_the_components(self, on: Case) -> None:
        ax = eq.plot.intervals(on.array(self.u), on.array(self.v), components=4)
        written = [float(text.get_text()) for text in ax.texts[:4]]
        np.testing.assert_allclose(written, lengths(self.u, self.v, 4), rtol=1e-2)
        thin, thick = ax.collections[:2]
        assert len(thin.get_segments()) == (self.v > self.u).sum()
        assert len(ax.get_lines()[0].get_xdata()) == (self.v <= self.u).sum()
        bars = np.array([line[:, 0] for line in thick.get_segments()])
        exact = iqe(self.u, self.v, components=4, reduction="sum")
        np.testing.assert_allclose(np.diff(bars, axis=1).sum(), exact, atol=1e-12)

    def test_intervals_that_touch_are_one(self) -> None:
        left, right = np.array([0.0, 1.0, 2.5, 3.0, 4.0]), np.array([1.0, 2.0, 2.0, 5.0, 4.5])
        assert covered(left, right) == [(0.0, 2.0), (3.0, 5.0)]
        assert covered(left, left) == []

    def test_of_a_point_and_itself_on_given_axes(self) -> None:
        ax = plt.subplots()[1]
        assert eq.plot.intervals(self.u, self.u, components=24, ax=ax) is ax
        assert {text.get_text() for text in ax.texts[:24]} == {"0"}
        ax.figure.canvas.draw()

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="must be a multiple of components, got 24 with components=5"):
            eq.plot.intervals(self.u, self.v, components=5)
        with pytest.raises(ValueError, match=r"one pair of points, \(D,\), got \(2, 12\) and \(2, 12\)"):
            eq.plot.intervals(self.u.reshape(2, 12), self.v.reshape(2, 12), components=4)
        with pytest.raises(ValueError, match="finite points"):
            eq.plot.intervals(self.u, np.where(self.v > 1, np.inf, self.v), components=4)
        with pytest.raises(TypeError, match="u must be an array"):
            eq.plot.intervals([0.0], [1.0], components=1)


class TestEmbedding:
    def test_heights_are_leads_and_arrows_go_to_the_nearest(self, on: Case) -> None:
        ax = eq.plot.embedding(on.array(fitted), labels=list("abcdefghijkl"))
        near = 0.9**fitted
        lead = (near.sum(axis=1) - near.sum(axis=0)) / 11
        points = ax.collections[0].get_offsets()
        np.testing.assert_allclose(points[:, 1], lead, atol=1e-12)
        others = fitted + np.diag(np.full(12, np.inf))
        nearest = others.argmin(axis=1)
        expected = {(i, j) for i, j in enumerate(nearest.tolist()) if fitted[j, i] > fitted[i, j]}
        assert set(leading(near, 12)) == expected
        assert len(ax.patches) == len(expected) > 2
        assert len(eq.plot.embedding(fitted, count=2).patches) == 2

    def test_a_ring_is_a_ring_in_the_plane(self) -> None:
        ring = (np.arange(8)[None, :] - np.arange(8)[:, None]) % 8 * 1.0
        ax = eq.plot.embedding(ring, layout="plane")
        radius = np.hypot(*ax.collections[0].get_offsets().T)
        np.testing.assert_allclose(radius, radius[0])
        assert sorted(leading(0.9**ring, 8)) == [(k, (k + 1) % 8) for k in range(8)]
        flat = eq.plot.embedding(ring)
        np.testing.assert_allclose(flat.collections[0].get_offsets()[:, 1], 0.0, atol=1e-12)

    def test_scaling_keeps_inner_products_of_rank_two(self) -> None:
        x = rng.normal(size=(9, 2))
        x -= x.mean(axis=0)
        found = scaled(x @ x.T)
        np.testing.assert_allclose(found @ found.T, x @ x.T, atol=1e-12)

    def test_of_a_fit_with_its_own_discount(self) -> None:
        found = fit(D)
        ax = plt.subplots()[1]
        assert eq.plot.embedding(found, ax=ax) is ax
        near = found.discount ** found.distances()
        np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 1], (near.sum(1) - near.sum(0)) / 11, atol=1e-12)

    def test_names_do_not_cover_each_other(self) -> None:
        x = rng.random((80, 2))
        d = np.sqrt(((x[:, None] - x) ** 2).sum(-1)) * 5 + np.maximum(x[None, :, 0] - x[:, None, 0], 0) * 5
        ax = eq.plot.embedding(d, labels=[f"point {k}" for k in range(80)], layout="plane")
        ax.figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.texts]
        assert 10 < len(boxes) < 80
        frame = ax.get_window_extent()
        for k, box in enumerate(boxes):
            assert frame.x0 <= box.x0 + 5
            assert box.x1 <= frame.x1 + 5
            assert not any(box.shrunk(0.9, 0.6).overlaps(other.shrunk(0.9, 0.6)) for other in boxes[:k])

    def test_two_points_and_none_apart(self) -> None:
        for table in (np.array([[0.0, 1.0], [2.0, 0.0]]), np.zeros((3, 3))):
            eq.plot.embedding(table, labels=["a"] * len(table)).figure.canvas.draw()

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="embedding must hold finite distances"):
            eq.plot.embedding(D)
        with pytest.raises(ValueError, match="labels must name each of the 12 points, got 1"):
            eq.plot.embedding(fitted, labels=["a"])
        with pytest.raises(ValueError, match="count must be at least 0, got -1"):
            eq.plot.embedding(fitted, count=-1)
        with pytest.raises(ValueError, match="layout must be 'height' or 'plane', got 'circle'"):
            eq.plot.embedding(fitted, layout="circle")


class TestLosses:
    def test_are_those_of_the_history(self) -> None:
        found = fit(D)
        ax = eq.plot.convergence(found, what="loss")
        np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), found.history.loss)
        assert ax.get_ylabel() == "loss"
        assert np.all(np.diff(found.history.loss) < 0)

    def test_bad_input(self) -> None:
        found = fit(D)
        with pytest.raises(ValueError, match="what must be 'error' or 'loss', got 'gap'"):
            eq.plot.convergence(found, what="gap")
        with pytest.raises(ValueError, match="tol is a tolerance of the error"):
            eq.plot.convergence(found, what="loss", tol=0.1)
        with eq.portable():  # which compiles nothing
            other = eq.transport.sinkhorn(fitted, epsilon=0.5, check_every=1)
        with pytest.raises(ValueError, match="result 0 records no losses; draw what='error'"):
            eq.plot.convergence(other, what="loss")
