from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import equipoise as eq

from .backends import Case

rng = np.random.default_rng(0)
x, y = rng.random((12, 2)), rng.random((9, 2)) + 0.5
cost = ((x[:, None] - y[None]) ** 2).sum(axis=-1)


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


class TestConvergence:
    def test_draws_every_check(self, on: Case) -> None:
        result = on.call(
            lambda c: eq.transport.sinkhorn(c, epsilon=0.05, relaxation=1.0, check_every=1, history=True), cost
        )
        ax = eq.plot.convergence(result, labels=["a name"], tol=1e-6)
        history = on.numpy(result.history)
        line = ax.get_lines()[0]
        seen = np.isfinite(history.error)
        np.testing.assert_array_equal(line.get_xdata(), history.step[seen])
        np.testing.assert_array_equal(line.get_ydata(), history.error[seen])
        assert len(line.get_xdata()) == int(result.steps) + 1
        assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a name", "tolerance 1e-06"]

    def test_on_given_axes_against_seconds(self) -> None:
        result = eq.transport.sinkhorn(cost, epsilon=0.05, check_every=1)
        ax = plt.subplots()[1]
        assert eq.plot.convergence(result, result, against="seconds", ax=ax) is ax
        assert len(ax.get_lines()) == 2
        assert ax.get_xlabel() == "seconds"

    def test_an_error_of_zero_has_no_place_but_does_no_harm(self) -> None:
        result = eq.transport.sinkhorn(np.zeros((3, 3)), epsilon=0.05, check_every=1)
        assert float(result.error) == 0
        ax = eq.plot.convergence(result)
        ax.figure.canvas.draw()
        assert ax.get_ylim()[0] > 0

    def test_bad_input(self) -> None:
        result = eq.transport.sinkhorn(cost, epsilon=0.05, history=False)
        with pytest.raises(ValueError, match=r"tol must be positive .*, got 0"):
            eq.plot.convergence(result, tol=0)
        with pytest.raises(TypeError, match="convergence draws results of solvers, got ndarray as result 1"):
            eq.plot.convergence(eq.transport.sinkhorn(cost, epsilon=0.05), cost)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="result 0 has no history; solve with history=True"):
            eq.plot.convergence(result)
        with pytest.raises(ValueError, match="at least one"):
            eq.plot.convergence()
        with pytest.raises(ValueError, match="'steps' or 'seconds', got 'time'"):
            eq.plot.convergence(result, against="time")
        with pytest.raises(ValueError, match="labels must name each of the 1 results, got 2"):
            eq.plot.convergence(result, labels=["a", "b"])

    def test_histories_that_a_transformation_made(self) -> None:
        def solve(c: jax.Array) -> Any:
            return eq.transport.sinkhorn(c, epsilon=0.05, check_every=1, max_steps=50, history=True)

        with pytest.raises(ValueError, match=r"result 0 has no times, .* against='steps'"):
            eq.plot.convergence(jax.jit(solve)(jax.numpy.array(cost)), against="seconds")
        batch = jax.vmap(solve)(jax.numpy.array([cost, cost]))
        with pytest.raises(ValueError, match=r"result 0 has histories of shape \(2, 51\)"):
            eq.plot.convergence(batch)


class TestPlan:
    def test_shows_the_plan_and_its_marginals(self, on: Case) -> None:
        a = np.arange(1.0, 13.0) / 78
        result = on.call(lambda c, a: eq.transport.sinkhorn(c, a, epsilon=0.05), cost, a)
        ax = eq.plot.plan(result)
        plan = on.numpy(result.plan())
        np.testing.assert_allclose(ax.get_images()[0].get_array(), plan)
        top, right = ax.child_axes
        for edge, axis, weights in ((top, 0, np.full(9, 1 / 9)), (right, 1, a)):
            sums, asked = (patch.get_data().values for patch in edge.patches)
            np.testing.assert_allclose(sums, plan.sum(axis=axis))
            np.testing.assert_allclose(asked, weights)

    def test_on_given_axes_with_and_without_a_layout_engine(self) -> None:
        result = eq.transport.sinkhorn(cost, epsilon=0.05)
        for layout in (None, "constrained"):
            figure, ax = plt.subplots(layout=layout)
            assert eq.plot.plan(result, ax=ax) is ax
            figure.canvas.draw()
            bar = next(other for other in figure.axes if other is not ax)
            assert bar.get_position().x1 < 1
            right = ax.child_axes[1].get_window_extent().transformed(figure.transFigure.inverted())
            assert ax.get_position().x1 < right.x1 <= bar.get_position().x0

    @pytest.mark.parametrize("style", ["default", "dark_background", {"axes.facecolor": "k", "text.color": "k"}])
    def test_no_mass_is_the_colour_of_the_paper(self, style: Any) -> None:
        with plt.style.context(style):
            ax = eq.plot.plan(eq.transport.sinkhorn(cost, epsilon=0.05))
            shades = ax.get_images()[0].get_cmap()
        assert shades(0.0) == ax.get_facecolor()
        assert abs(np.subtract(shades(1.0), shades(0.0))).max() > 0.5

    def test_of_a_cloud(self) -> None:
        dense, cloud = (eq.transport.sinkhorn(c, epsilon=0.05) for c in (cost, eq.transport.PointCloud(x, y)))
        image = eq.plot.plan(cloud).get_images()[0].get_array()
        np.testing.assert_allclose(image, dense.plan(), atol=1e-7)

    def test_not_of_a_batch_or_of_something_else(self) -> None:
        with pytest.raises(TypeError, match="plan draws a TransportResult, got ndarray"):
            eq.plot.plan(cost)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"a batch of plans of shape \(2, 12, 9\)"):
            eq.plot.plan(eq.transport.sinkhorn(np.stack([cost, cost]), epsilon=0.05))


class TestMatching:
    def test_a_thread_for_every_notable_share(self, on: Case) -> None:
        result = on.call(lambda c: eq.transport.sinkhorn(c, epsilon=0.02), cost)
        ax = eq.plot.matching(on.array(x), on.array(y), result, threshold=0.2)
        plan = on.numpy(result.plan())
        assert len(ax.collections[0].get_segments()) == (plan / plan.sum(1, keepdims=True) >= 0.2).sum()

    def test_of_a_cloud(self) -> None:
        dense, cloud = (eq.transport.sinkhorn(c, epsilon=0.02) for c in (cost, eq.transport.PointCloud(x, y)))
        threads = [eq.plot.matching(x, y, r).collections[0].get_segments() for r in (dense, cloud)]
        assert len(threads[0]) > 0
        np.testing.assert_array_equal(*threads)

    def test_a_point_without_mass_has_no_thread(self) -> None:
        a = np.full(12, 1 / 11)
        a[3] = 0
        ax = eq.plot.matching(x, y, eq.transport.sinkhorn(cost, a, epsilon=0.02), threshold=0.01)
        starts = np.array([segment[0] for segment in ax.collections[0].get_segments()])
        assert {tuple(point) for point in starts} == {tuple(x[i]) for i in range(12) if i != 3}

    def test_bad_input(self) -> None:
        result = eq.transport.sinkhorn(cost, epsilon=0.05)
        with pytest.raises(ValueError, match=r"got \(9, 2\), \(12, 2\), \(12, 9\)"):
            eq.plot.matching(y, x, result)
        with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\], got 2"):
            eq.plot.matching(x, y, result, threshold=2)


class TestBarycenters:
    line = np.arange(12.0)
    far = (line[:, None] - line) ** 2
    ends = np.stack([np.eye(12)[0], np.eye(12)[11]])
    sweep = np.stack([np.linspace(1, 0, 6), np.linspace(0, 1, 6)], axis=-1)

    @staticmethod
    def solve(on: Case, weights: Any) -> Any:
        return on.call(
            lambda h, c, w: eq.transport.barycenter(h, c, weights=w, epsilon=1.0),
            *(TestBarycenters.ends, TestBarycenters.far, weights),
        )

    @pytest.mark.parametrize("batch", [(), (6,), (2, 3)])
    def test_shows_every_picture_in_its_place(self, batch: tuple[int, ...], on: Case) -> None:
        result = self.solve(on, self.sweep.reshape(*batch, 2) if batch else self.sweep[2])
        rows, columns = ((1, 1), (1, *batch), batch)[len(batch)]
        pictures = on.numpy(result.histogram).reshape(rows, columns, 3, 4)
        ax = eq.plot.barycenters(result, (3, 4))
        (image,) = ax.get_images()
        sheet = np.ma.filled(image.get_array(), np.nan)
        assert sheet.shape == (4 * rows - 1, 5 * columns - 1)
        for i in range(rows):
            for j in range(columns):
                np.testing.assert_array_equal(sheet[4 * i : 4 * i + 3, 5 * j : 5 * j + 4], pictures[i, j])
        assert np.isnan(sheet).sum() == sheet.size - pictures.size
        left, right, bottom, top = image.get_extent()
        np.testing.assert_allclose((left, right, bottom, top), (0, columns - 1 / 5, rows - 1 / 4, 0))

    def test_pixels_are_square(self) -> None:
        ax = eq.plot.barycenters(eq.transport.barycenter(self.ends, self.far, epsilon=1.0), (3, 4))
        ax.figure.canvas.draw()
        box = ax.get_window_extent()
        np.testing.assert_allclose(box.width / box.height, 4 / 3, rtol=1e-6)

    def test_bad_input(self) -> None:
        result = eq.transport.barycenter(self.ends, self.far, epsilon=1.0)
        with pytest.raises(TypeError, match="barycenters draws a BarycenterResult, got TransportResult"):
            eq.plot.barycenters(eq.transport.sinkhorn(cost, epsilon=0.05), (3, 4))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="shape must hold the 12 points of the support, got 3 x 5"):
            eq.plot.barycenters(result, (3, 5))
        batch = eq.transport.barycenter(self.ends, self.far, weights=self.sweep.reshape(1, 2, 3, 2), epsilon=1.0)
        with pytest.raises(ValueError, match=r"got a batch \(1, 2, 3\)"):
            eq.plot.barycenters(batch, (3, 4))
        assert plt.get_fignums() == []


@pytest.mark.parametrize("draw", [eq.plot.convergence, eq.plot.plan, lambda r: eq.plot.matching(x, y, r)])
def test_without_matplotlib_the_sentence_names_the_extra(draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = eq.transport.sinkhorn(cost, epsilon=0.05)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"equipoise\[plot\]"):
        draw(result)


def test_nothing_is_drawn_where_the_input_is_bad() -> None:
    result = eq.transport.sinkhorn(cost, epsilon=0.05, history=False)
    with pytest.raises(ValueError):
        eq.plot.convergence(result)
    with pytest.raises(ValueError):
        eq.plot.matching(y, x, result)
    assert plt.get_fignums() == []
