from __future__ import annotations

import sys
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import equipoise as eq
from equipoise.linear import (
    BinnedTsallisINF,
    ChebCB,
    FixedOmega,
    TsallisINF,
    optimal_omega,
    predicted_steps,
    solve_sequence,
)
from equipoise.operators import Stencil

from .backends import Case

rng = np.random.default_rng(0)
x, y = rng.random((12, 2)), rng.random((9, 2)) + 0.5
cost = ((x[:, None] - y[None]) ** 2).sum(axis=-1)


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
        with pytest.raises(ValueError, match="'steps', 'seconds' or 'oracle_calls', got 'time'"):
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


class TestSequence:
    shifts = (0.1, 1.0, 0.3, 2.0, 0.5)

    def solve(self, on: Case, policy: Any = None, count: int = 5, **options: Any) -> Any:
        grids = [Stencil.laplacian((6, 6), shift=c) for c in self.shifts[:count]]
        b = on.array(np.ones((6, 6)))
        return solve_sequence([(A, b) for A in grids], policy=policy, solver="ssor_cg", warm_start=False, **options)

    def systems(self) -> list[Any]:
        return [(Stencil.laplacian((6, 6), shift=c), np.ones((6, 6))) for c in self.shifts]

    def test_shows_factors_steps_and_sums(self, on: Case) -> None:
        results = [self.solve(on), self.solve(on, FixedOmega(1.3))]
        omega, steps, total = eq.plot.sequence(*results, labels=["Young", "1.3"])
        for result, *lines in zip(results, *(ax.get_lines() for ax in (omega, steps, total)), strict=True):
            for line, expected in zip(lines, (result.omega, result.steps, np.cumsum(result.steps)), strict=True):
                np.testing.assert_array_equal(line.get_ydata(), expected)
        assert [t.get_text() for t in total.get_legend().get_texts()] == ["Young", "1.3"]
        assert total.get_xlabel() == "system"

    def test_regret_adds_fixed_factors_and_the_best_for_each(self) -> None:
        result = solve_sequence(self.systems(), warm_start=False)
        regret = result.regret(self.systems(), [1.05, 1.2, 1.4])
        ax = plt.subplots()[1]
        assert eq.plot.sequence(result, regret=regret, panels=["total"], axes=[ax]) == (ax,)
        *fixed, best, known, ours = (np.asarray(line.get_ydata())[-1] for line in ax.get_lines())
        assert fixed == regret.total.tolist()
        assert best == regret.total.min()
        assert known == regret.steps.min(axis=0).sum() < best
        assert ours == result.total_steps

    def test_systems_that_failed_are_crossed(self) -> None:
        with pytest.warns(eq.ConvergenceWarning):
            result = solve_sequence(self.systems(), max_steps=19, warm_start=False)
        (ax,) = eq.plot.sequence(result, panels=["steps"])
        crosses = ax.get_lines()[1]
        np.testing.assert_array_equal(crosses.get_xdata(), np.flatnonzero(~result.converged))
        assert 0 < len(crosses.get_xdata()) < 5

    def test_bad_input(self) -> None:
        result = solve_sequence(self.systems(), warm_start=False)
        with pytest.raises(ValueError, match="at least one result"):
            eq.plot.sequence()
        with pytest.raises(TypeError, match="draws results of solve_sequence, got ndarray as result 1"):
            eq.plot.sequence(result, cost)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"got lengths \[5, 2\]"):
            eq.plot.sequence(result, solve_sequence(self.systems()[:2]))
        with pytest.raises(ValueError, match="labels must name each of the 1 results, got 2"):
            eq.plot.sequence(result, labels=["a", "b"])
        with pytest.raises(ValueError, match=r"some of 'omega', 'steps' and 'total', got \('time',\)"):
            eq.plot.sequence(result, panels=["time"])
        with pytest.raises(ValueError, match="axes must hold one for each of the 3 panels, got 0"):
            eq.plot.sequence(result, axes=[])
        few = self.systems()[:2]
        regret = solve_sequence(few).regret(few, [1.0, 1.2])
        with pytest.raises(ValueError, match="regret is of 2 systems, the results are of 5"):
            eq.plot.sequence(result, regret=regret)
        assert plt.get_fignums() == []


class TestOmegaCurve:
    A = Stencil.laplacian((8, 8))

    @pytest.mark.parametrize("solver", ["sor", "ssor_cg"])
    def test_measured_steps_are_those_of_the_solver(self, solver: str) -> None:
        factors = [1.1, 1.4, 1.7]
        b = np.random.default_rng(1).standard_normal((8, 8))
        ax = eq.plot.omega_curve(self.A, b, solver=solver, omega=factors)
        measured, model, young = ax.get_lines()
        if solver == "sor":
            results = [eq.linear.sor(self.A, b, omega=w) for w in factors]
        else:
            results = [eq.linear.cg(self.A, b, preconditioner=eq.linear.SSOR(w)) for w in factors]
        assert list(measured.get_ydata()) == [int(r.steps) for r in results]
        omega = np.asarray(model.get_xdata())
        np.testing.assert_allclose(model.get_ydata(), predicted_steps(self.A, omega, solver=solver))
        np.testing.assert_allclose(young.get_xdata()[0], optimal_omega(self.A))

    def test_by_default_around_the_best_with_noise(self, on: Case) -> None:
        A = on.call(eq.operators.Dense, self.A.to_csr() @ np.eye(64))
        ax = eq.plot.omega_curve(A, solver="ssor_cg")
        omega, steps = ax.get_lines()[0].get_data()
        assert omega[0] == 1 < omega[np.argmin(steps)] < omega[-1] < 2
        assert np.all(np.diff(omega) > 0)
        assert optimal_omega(A) == pytest.approx(float(ax.get_lines()[2].get_xdata()[0]))

    def test_what_does_not_converge_is_crossed(self) -> None:
        ax = eq.plot.omega_curve(self.A, omega=[1.0, 1.5], max_steps=60)
        measured, _, _, crosses = ax.get_lines()
        assert list(measured.get_xdata()) == [1.5]
        assert (list(crosses.get_xdata()), list(crosses.get_ydata())) == ([1.0], [60])

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="solver must be 'sor' or 'ssor_cg', got 'cg'"):
            eq.plot.omega_curve(self.A, solver="cg")
        with pytest.raises(ValueError, match=r"one system, got a batch of shape \(2,\)"):
            eq.plot.omega_curve(np.stack([np.eye(3), 2 * np.eye(3)]))
        assert plt.get_fignums() == []


class TestPolicy:
    contexts = np.linspace(0.05, 1.9, 25)

    @staticmethod
    def operator(c: float) -> Any:
        return Stencil.laplacian((6, 6), shift=c)

    def run(self, policy: Any) -> Any:
        systems = [(self.operator(c), np.ones((6, 6)), c) for c in self.contexts]
        return solve_sequence(systems, policy=policy, solver="ssor_cg", warm_start=False)

    @pytest.mark.parametrize("model", ["predicted", None])
    def test_the_surface_is_what_the_policy_predicts(self, model: str | None) -> None:
        policy = ChebCB((0.0, 2.0), model=model, rng=0)
        self.run(policy)
        ax = eq.plot.policy(policy, operator=self.operator)
        values = np.asarray(ax.collections[0].get_array()).reshape(policy.grid.size, -1)
        across = np.linspace(0.0, 2.0, values.shape[1])
        for k in (0, 50, values.shape[1] - 1):
            expected = np.maximum(policy.predicted(across[k], self.operator(across[k])), 1.0)
            np.testing.assert_allclose(values[:, k], expected)
        least = ax.get_lines()[0]
        np.testing.assert_array_equal(least.get_ydata(), policy.grid[np.argmin(values, axis=0)])
        ax.figure.canvas.draw()

    def test_without_operators_what_was_learned_beside_the_model(self) -> None:
        policy = ChebCB((0.0, 2.0), grid=[1.5, 1.1], rng=0)
        ax = eq.plot.policy(policy)
        assert not np.any(ax.collections[0].get_array())  # nothing has been learned
        assert list(ax.get_lines()) == []
        assert ax.figure.axes[1].get_ylabel() == "learned beside the model, steps"
        low, high = ax.get_ylim()
        assert low < 1.1 < 1.5 < high < 2
        self.run(policy)
        learned = np.asarray(eq.plot.policy(policy).collections[0].get_array()).reshape(2, -1)
        expected = policy.state_dict()["theta"][::-1] @ policy.features(2.0)
        np.testing.assert_allclose(learned[:, -1], expected, atol=1e-12)
        assert np.any(expected)

    def test_drawing_changes_nothing(self) -> None:
        def matrix(c: float) -> Any:
            return eq.operators.Dense(self.operator(c).to_csr() @ np.eye(36))

        policy = ChebCB((0.0, 2.0), rng=0)
        solve_sequence([(matrix(c), np.ones(36), c) for c in (0.5, 1.5)], policy=policy, solver="ssor_cg")
        before = policy.state_dict()["radius"]
        eq.plot.policy(policy, operator=matrix)
        np.testing.assert_array_equal(before["vector"], policy.state_dict()["radius"]["vector"])

    @pytest.mark.parametrize("relative", [True, False])
    def test_probabilities_of_arms(self, relative: bool) -> None:
        policy = TsallisINF(relative=relative, rng=0)
        self.run(policy)
        ax = eq.plot.policy(policy)
        heights = [bar.get_height() for bar in ax.patches]
        assert len(heights) == policy.grid.size
        assert sum(heights) == pytest.approx(1)
        assert max(heights) > 1.2 / len(heights)
        assert ax.get_xlabel() == ("(2 - omega)/omega, over Young's" if relative else "omega")

    def test_probabilities_of_every_bin(self) -> None:
        policy = BinnedTsallisINF((0.0, 2.0), bins=3, grid=[2.0, 1.0], rng=0)
        self.run(policy)
        ax = eq.plot.policy(policy)
        p = np.asarray(ax.collections[0].get_array()).reshape(2, 3)
        np.testing.assert_allclose(p.sum(axis=0), 1)
        assert [t.get_text() for t in ax.get_yticklabels()] == ["1.00", "2.00"]

    def test_not_of_what_learns_nothing(self) -> None:
        with pytest.raises(TypeError, match=r"policy draws a ChebCB, .*, got FixedOmega"):
            eq.plot.policy(FixedOmega(1.5))


def test_convergence_of_a_linear_solve() -> None:
    b = np.random.default_rng(0).standard_normal((8, 8))
    results = [
        solve(Stencil.laplacian((8, 8)), b, check_every=1, history=True) for solve in (eq.linear.sor, eq.linear.cg)
    ]
    for line, result in zip(eq.plot.convergence(*results).get_lines(), results, strict=True):
        assert len(line.get_xdata()) == int(result.steps) + 1


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


def test_a_plan_of_few_columns_is_not_blurred() -> None:
    x, y = np.linspace(0, 1, 120)[:, None], np.linspace(0, 1, 12)[:, None]
    ax = eq.plot.plan(eq.transport.sinkhorn(eq.transport.PointCloud(x, y), epsilon=0.01))
    assert ax.images[0].get_interpolation() == "nearest"
