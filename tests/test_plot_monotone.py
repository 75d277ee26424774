from __future__ import annotations

import itertools
import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import equipoise as eq
from equipoise.monotone import LogisticGradient, Restart, extragradient, halpern, halpern_vr, matrix_game
from equipoise.plot.error import restarts
from equipoise.plot.monotone import CHECK, growing, logistic

from .backends import Case

rng = np.random.default_rng(0)
A = rng.uniform(-1.0, 1.0, (12, 9))


class TestCalls:
    summed, u0 = logistic(64, 5)

    def test_are_what_the_histories_count(self) -> None:
        ours = halpern_vr(self.summed, self.u0, tol=1e-3)
        whole = halpern(self.summed, self.u0, tol=1e-3, check_every=1)
        both = extragradient(self.summed, self.u0, tol=1e-2, check_every=1)
        ax = eq.plot.convergence(ours, whole, both, against="oracle_calls", labels=["a", "b", "c"])
        assert ax.get_xlabel() == "oracle calls"
        lines = [line for line in ax.get_lines() if line.get_marker() != "|"]
        for line, result, n in zip(lines, (ours, whole, both), (None, 64, 128), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), result.history.oracle_calls)
            assert line.get_xdata()[-1] == result.oracle_calls
            if n:
                assert set(np.diff(line.get_xdata())) == {n}

    def test_ticks_are_restarts(self) -> None:
        """The anchor moves where the error has fallen to 0.8 of it: each tick, and nothing between two of them."""
        result = halpern(self.summed, self.u0, tol=1e-3, check_every=1)
        line, ticks, *_ = eq.plot.convergence(result).get_lines()
        assert ticks.get_marker() == "|"
        assert ticks.get_color() == line.get_color()
        assert len(ticks.get_xdata()) == int(result.restarts) > 1
        reference, error = result.history.error[0], dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for step, value in error.items():
            fallen = value <= 0.8 * reference and step != result.steps
            assert fallen == (step in ticks.get_xdata())
            reference = value if fallen else reference

    def test_of_samples_too(self) -> None:
        result = halpern_vr(self.summed, self.u0, tol=1e-3)
        found = restarts(result.history.error, result)
        assert len(found) == int(result.restarts) > 1

    def test_there_are_none_where_they_cannot_be_told(self) -> None:
        other = halpern(self.summed, self.u0, tol=1e-3, check_every=1, restart=Restart(0.25))
        assert int(other.restarts) > 0
        assert restarts(other.history.error, other) == []
        never = halpern(self.summed, self.u0, tol=1e-2, check_every=1, restart=None)
        assert restarts(never.history.error, never) == []
        assert len(eq.plot.convergence(never).get_lines()) == 1

    def test_not_every_method_counts_calls(self) -> None:
        result = eq.transport.sinkhorn(np.eye(3), epsilon=0.1)
        with pytest.raises(ValueError, match="result 0 counts no oracle calls; draw it against='steps'"):
            eq.plot.convergence(result, against="oracle_calls")


class TestGap:
    def test_bounds_are_those_of_runs_and_close(self) -> None:
        ax = plt.subplots()[1]
        assert eq.plot.gap(A, tol=1e-5, ax=ax) is ax
        upper, lower, middle = ax.get_lines()
        last = matrix_game(A, tol=1e-5, check_every=CHECK)
        steps = upper.get_xdata()
        assert steps[0] == 1
        assert steps[-1] == last.steps
        np.testing.assert_allclose(upper.get_ydata()[-1] - lower.get_ydata()[-1], last.error, atol=1e-15)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            early = matrix_game(A, tol=1e-5, max_steps=int(steps[3]), check_every=CHECK)
        np.testing.assert_allclose(upper.get_ydata()[3], early.upper - last.value)
        np.testing.assert_allclose(lower.get_ydata()[3], early.lower - last.value)
        assert np.all(np.diff(upper.get_ydata()) <= 1e-12)
        assert np.all(np.diff(lower.get_ydata()) >= -1e-12)
        assert middle.get_label() == f"value {last.value:.6g}"
        ax.figure.canvas.draw()

    def test_a_pure_saddle_point_is_one_look(self) -> None:
        ax = eq.plot.gap(np.array([[2.0, 1.0], [4.0, 3.0]]))
        assert ax.get_lines()[2].get_label() == "value 3"
        ax.figure.canvas.draw()

    def test_one_game_only(self) -> None:
        with pytest.raises(ValueError, match=r"gap draws one game, got a batch of shape \(2,\)"):
            eq.plot.gap(np.stack([A, A]), max_steps=CHECK)

    def test_runs_grow_and_stay_multiples_of_a_check(self) -> None:
        steps = growing(1000)
        assert steps[0] == 1
        assert steps[-1] < 1000
        assert all(step % CHECK == 0 for step in steps[1:])
        assert all(CHECK - 1 <= new - old <= 0.25 * old + CHECK for old, new in itertools.pairwise(steps))
        assert sum(steps) < 6 * 1000
        assert growing(1) == growing(0) == []


class TestSimplex:
    path = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1 / 3, 1 / 3, 1 / 3]])

    def test_corners_and_the_middle(self, on: Case) -> None:
        ax = eq.plot.simplex(on.array(self.path), labels=["a way"], names=["a", "b", "c"])
        triangle, _, line, first, last = ax.get_lines()
        expected = [[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)], [0.5, np.sqrt(0.75) / 3]]
        np.testing.assert_allclose(np.stack(line.get_data(), axis=1), expected, atol=1e-6)
        np.testing.assert_allclose(np.stack(triangle.get_data(), axis=1), [*expected[:3], expected[0]])
        assert [float(end.get_xdata()[0]) for end in (first, last)] == pytest.approx([0.0, 0.5])
        assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a way"]

    def test_several_ways_differ_without_colour(self) -> None:
        ax = eq.plot.simplex(self.path, self.path[::-1])
        assert ax.get_legend() is None
        styles = [line.get_linestyle() for line in ax.get_lines() if len(line.get_xdata()) == 4][1:]
        assert len(styles) == len(set(styles)) == 2

    def test_bad_input(self) -> None:
        draw = eq.plot.simplex
        with pytest.raises(ValueError, match="at least one way"):
            draw()
        with pytest.raises(ValueError, match=r"must have shape \(k, 3\), got \(3, 4\) as way 1"):
            draw(self.path, self.path.T)
        with pytest.raises(ValueError, match="way 0 leaves the simplex at its point 2"):
            draw(self.path + np.array([[0.0], [0.0], [0.1], [0.0]]))
        with pytest.raises(ValueError, match="way 0 leaves the simplex at its point 1"):
            draw(np.where(np.arange(4)[:, None] == 1, np.nan, self.path))
        with pytest.raises(ValueError, match="labels must name each of the 1 ways, got 2"):
            draw(self.path, labels=["a", "b"])
        with pytest.raises(ValueError, match="names must hold three names, got 2"):
            draw(self.path, names=["a", "b"])


class TestScaling:
    def test_gains_are_quotients_of_calls(self) -> None:
        summed, u0 = logistic(100, 4)
        ax = eq.plot.scaling([100], problem=lambda n: logistic(n, 4), tol=1e-3, seeds=3)
        ours, published, sampled, whole = ax.get_lines()[:4]
        best = min(int(halpern(summed, u0, tol=1e-3, restart=Restart(f)).oracle_calls) for f in (0.5, 0.8))
        calls = [int(halpern_vr(summed, u0, tol=1e-3, rng=seed).oracle_calls) for seed in range(3)]
        np.testing.assert_allclose(ours.get_ydata(), [best / np.median(calls)])
        calls = [
            int(halpern_vr(summed, u0, tol=1e-3, rng=seed, batch=10, refresh=4 / 15).oracle_calls) for seed in range(3)
        ]
        np.testing.assert_allclose(published.get_ydata(), [best / np.median(calls)])
        np.testing.assert_allclose([sampled.get_ydata()[0], whole.get_ydata()[0]], [10, 10 / 6])

    @pytest.mark.filterwarnings("ignore::equipoise.ConvergenceWarning")
    def test_a_run_that_does_not_converge_is_no_gain(self) -> None:
        class Steep:
            n, lipschitz = 16, 0.1  # in truth 1

            def full(self, u: Any) -> Any:
                return u

            def diff(self, u: Any, v: Any, idx: Any) -> Any:
                return u - v

        with pytest.raises(ValueError, match="compares runs that converge, and one ended as DIVERGED"):
            eq.plot.scaling([16], problem=lambda n: (Steep(), np.ones(2)))

    @pytest.mark.parametrize("settings", [{"sizes": []}, {"sizes": [4]}, {"seeds": 0}, {"tol": 0.0}])
    def test_bad_input(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="needs sizes of at least 16, seeds >= 1 and tol > 0"):
            eq.plot.scaling(**settings)

    def test_the_problem_is_one_on_which_sampling_can_win(self) -> None:
        summed, u0 = logistic(4000)
        assert isinstance(summed, LogisticGradient)
        assert summed.mean_lipschitz < 63 * summed.lipschitz
        assert u0.shape == (50,)
