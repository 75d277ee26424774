from __future__ import annotations

import functools
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import equipoise as eq

from .backends import Case

rng = np.random.default_rng(0)
A, b = rng.normal(size=(3000, 4)), rng.normal(size=3000)


@functools.cache
def sketched() -> Any:
    return eq.sketch.lstsq(A, b, method="sketch_solve", sketch_rows=200, kind="rademacher")


def bars_of(ax: Any) -> Any:
    """The middles and the half-widths of the error bars, from left to right."""
    ends = np.array([segment[:, 1] for segment in ax.collections[0].get_segments()])
    return ends.mean(axis=1), np.diff(ends, axis=1)[:, 0] / 2


class TestCoordinates:
    def test_bars_are_the_bounds_in_ascending_order(self, on: Case) -> None:
        if on.jit:
            pytest.skip("bounds are numbers of a finished run")
        result = on.call(
            lambda A, b: eq.sketch.lstsq(A, b, method="sketch_solve", sketch_rows=200, kind="rademacher"), A, b
        )
        ax = eq.plot.coordinates(result, on.array(np.arange(4.0)), delta=0.1)
        x, bound = on.numpy(result.x), on.numpy(result.coordinate_bound(0.1))
        order = np.argsort(x)
        middle, half = bars_of(ax)
        np.testing.assert_allclose(middle, x[order], rtol=1e-6)
        np.testing.assert_allclose(half, bound[order], rtol=1e-6)
        marks = next(line for line in ax.get_lines() if line.get_label() == "exact")
        np.testing.assert_array_equal(marks.get_ydata(), order)

    def test_names_and_some_of_them_in_a_given_order(self) -> None:
        ax = plt.subplots()[1]
        only = [3, 0, 2]
        assert eq.plot.coordinates(sketched(), names=list("abcd"), only=only, ascending=False, ax=ax) is ax
        assert [label.get_text() for label in ax.get_xticklabels()] == ["d", "a", "c"]
        middle, half = bars_of(ax)
        np.testing.assert_allclose(middle, sketched().x[only])
        np.testing.assert_allclose(half, sketched().coordinate_bound()[only])  # of all four at once

    def test_bad_input(self) -> None:
        draw = eq.plot.coordinates
        with pytest.raises(ValueError, match=r"truth must have shape \(4,\), as x has, got \(3,\)"):
            draw(sketched(), np.zeros(3))
        with pytest.raises(ValueError, match="names must hold 4 names, one a coordinate, got 1"):
            draw(sketched(), names=["a"])
        with pytest.raises(ValueError, match=r"only must hold numbers from 0 to 3, got \[4\]"):
            draw(sketched(), only=[4])
        with pytest.raises(ValueError, match=r"draws one solution, got x of shape \(4, 2\)"):
            draw(eq.sketch.lstsq(A, np.stack([b, b], axis=1), method="sketch_solve", sketch_rows=200, kind="gaussian"))
        with pytest.raises(ValueError, match="method 'direct' solves to rounding and has no coordinate bound"):
            draw(eq.sketch.lstsq(A, b))


class TestSketchComparison:
    def test_dense_kinds_stay_and_countsketch_rises_as_predicted(self) -> None:
        kinds = ["srht", ("sparse_sign", 16), "countsketch"]
        ax = eq.plot.sketch_comparison(kinds, sizes=[64, 16], seeds=20)
        *lines, promised, predicted = ax.get_lines()
        assert [line.get_label() for line in lines] == ["srht", "sparse_sign, s = 16", "countsketch"]
        for line in lines:
            np.testing.assert_array_equal(line.get_xdata(), [16, 64])
        srht, sparse, countsketch = (line.get_ydata() for line in lines)
        np.testing.assert_allclose(countsketch[1], np.sqrt(32), rtol=1e-9)  # one row that hits
        assert max(srht[1], sparse[1]) < 3.3 < promised.get_ydata().min()
        np.testing.assert_allclose(predicted.get_ydata()[[0, -1]], np.sqrt([8, 32]))

    @pytest.mark.parametrize("settings", [{"kinds": []}, {"sizes": []}, {"sizes": [1]}, {"seeds": 0}])
    def test_bad_input(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="needs kinds, sizes of at least 2 and seeds >= 1"):
            eq.plot.sketch_comparison(**settings)


class TestBackwardError:
    def test_normal_equations_break_off_and_the_others_do_not(self) -> None:
        ax = eq.plot.backward_error([1e12, 1e2, 1e5], shape=(400, 20))
        unsafe, *safe, roundoff, cross = ax.get_lines()
        np.testing.assert_array_equal(unsafe.get_xdata(), [1e2, 1e5, 1e12])
        assert unsafe.get_ydata()[0] < 1e-14 < unsafe.get_ydata()[1]
        assert np.isnan(unsafe.get_ydata()[2])
        assert [line.get_label() for line in safe] == ["cholesky_qr", "spir", "direct"]
        assert max(np.max(line.get_ydata()) for line in safe) < 1e-15
        assert roundoff.get_ydata()[0] == 2.0**-53
        assert cross.get_xdata()[0] == 1e5

    def test_the_estimate_is_that_of_a_perturbation(self) -> None:
        """A solution of a system moved by 1e-6 has a backward error of no more, and of about as much."""
        from equipoise.plot.sketch import karlson_walden

        _, values, Vt = np.linalg.svd(A, full_matrices=False)
        move = rng.normal(size=A.shape)
        move *= 1e-6 * np.linalg.norm(A) / np.linalg.norm(move)
        x = np.linalg.lstsq(A + move, b, rcond=None)[0]
        assert 1e-8 < karlson_walden(A, b, x, values, Vt.T) < 1.5e-6

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="needs methods, and kappas of at least 1"):
            eq.plot.backward_error([0.5])
        with pytest.raises(ValueError, match="method must be one of"):
            eq.plot.backward_error([10.0], methods=["magic"])
