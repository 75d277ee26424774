from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import equipoise as eq
from equipoise.precondition import Annealed, HessianFit, fit_hessian, minimize, psgd

from .backends import Case

rng = np.random.default_rng(0)
BASIS = np.linalg.qr(rng.standard_normal((6, 6)))[0]
VALUES = np.array([4.0, 3.0, 2.0, 1.0, 0.5, 0.25])
H = (BASIS * VALUES) @ BASIS.T


def product(v: Any) -> Any:
    return H @ v


@pytest.fixture(scope="module")
def fitted() -> HessianFit[Any]:
    return fit_hessian(product, np.zeros(6), preconditioner=psgd(form="procrustes", step=0.25))


@pytest.fixture(scope="module")
def unfinished() -> HessianFit[Any]:
    with pytest.warns(eq.ConvergenceWarning):
        return fit_hessian(product, np.zeros(6), max_steps=200)


class TestFit:
    def test_one(self, fitted: HessianFit[Any]) -> None:
        ax = eq.plot.fit(fitted)
        (line,) = ax.get_lines()
        assert fitted.history is not None
        np.testing.assert_array_equal(line.get_xdata(), fitted.history.step)
        np.testing.assert_array_equal(line.get_ydata(), fitted.history.error)
        assert (ax.get_yscale(), ax.get_xlabel(), ax.get_legend()) == ("log", "pairs", None)

    def test_several_and_a_cross_where_one_did_not_arrive(
        self, fitted: HessianFit[Any], unfinished: HessianFit[Any]
    ) -> None:
        ax = plt.subplots()[1]
        assert eq.plot.fit({"a": unfinished, "b": fitted}, ax=ax) is ax
        first, cross, second = ax.get_lines()
        legend = ax.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
        assert cross.get_marker() == "x"
        assert cross.get_xdata().tolist() == [200]
        assert cross.get_color() == first.get_color() != second.get_color()

    def test_bad_input(self, fitted: HessianFit[Any]) -> None:
        with pytest.raises(ValueError, match="fit draws at least one, got an empty dict"):
            eq.plot.fit({})
        with pytest.raises(TypeError, match="fit must be a HessianFit, or a dict of them, got list as 'a'"):
            eq.plot.fit({"a": [1.0]})
        silent = fit_hessian(product, np.zeros(6), init=fitted.state, preconditioner=psgd(), history=False)
        with pytest.raises(ValueError, match="has no history"):
            eq.plot.fit(silent)


class TestSpectrum:
    def test_before_and_after(self, fitted: HessianFit[Any]) -> None:
        ax = eq.plot.spectrum(fitted, product)
        before, after, one = ax.get_lines()
        np.testing.assert_allclose(before.get_ydata(), VALUES)
        np.testing.assert_allclose(after.get_ydata(), 1.0, atol=1e-5)
        assert set(one.get_ydata()) == {1.0}
        assert before.get_label() == "H, condition 16"

    def test_what_is_drawn_are_the_eigenvalues_of_p_h(self, unfinished: HessianFit[Any]) -> None:
        for given in (unfinished, unfinished.preconditioner):
            after = eq.plot.spectrum(given, product).get_lines()[1].get_ydata()
            P = unfinished.preconditioner @ np.eye(6)
            np.testing.assert_allclose(after, np.sort(np.linalg.eigvals(P @ H).real)[::-1])

    def test_rings_around_negative_ones(self) -> None:
        S = (BASIS * VALUES * [1, -1, 1, 1, -1, 1]) @ BASIS.T
        p = psgd(step=Annealed(0.1, 300))
        with pytest.warns(eq.ConvergenceWarning):
            fit = fit_hessian(lambda v: S @ v, np.zeros(6), preconditioner=p, max_steps=300)
        *_, before, after = eq.plot.spectrum(fit, lambda v: S @ v).get_lines()
        np.testing.assert_allclose(before.get_ydata(), [3.0, 0.5])
        assert len(after.get_ydata()) == 2

    def test_tensors_and_shapes(self, on: Case) -> None:
        D = on.array(np.arange(1.0, 7.0).reshape(2, 3))
        for kind in ("kronecker", "diagonal"):
            p = psgd(kind)
            P = p.operator(p.init(D))
            before, after, _ = eq.plot.spectrum(P, lambda v: D * v, like=D).get_lines()
            np.testing.assert_allclose(before.get_ydata(), np.arange(6.0, 0.0, -1.0), rtol=1e-6)
            np.testing.assert_allclose(after.get_ydata(), before.get_ydata(), rtol=1e-5)
        p = psgd("kronecker")
        eq.plot.spectrum(p.operator(p.init(D)), lambda v: D * v)  # which knows its shape

    def test_bad_input(self, fitted: HessianFit[Any]) -> None:
        with pytest.raises(TypeError, match="fit must be a HessianFit or a Preconditioner, got ndarray"):
            eq.plot.spectrum(H, product)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="hvp must be callable, got ndarray"):
            eq.plot.spectrum(fitted, H)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"hvp must return an array of shape \(6,\)"):
            eq.plot.spectrum(fitted, lambda v: v[:2])
        with pytest.raises(ValueError, match="hvp must return finite numbers"):
            eq.plot.spectrum(fitted, lambda v: np.nan * v)
        with pytest.raises(ValueError, match=r"like must hold the 6 numbers that P is for, got shape \(2, 2\)"):
            eq.plot.spectrum(fitted, product, like=np.zeros((2, 2)))
        many = psgd("scaled")
        with pytest.raises(ValueError, match="at most 4096 unknowns, got 5000"):
            eq.plot.spectrum(many.operator(many.init(np.zeros(5000))), product)


class TestOptimizer:
    def run(self, steps: int = 2000) -> Any:
        return minimize(lambda x: 0.5 * x @ H @ x, np.ones(6), grad=product, hvp=lambda x, v: H @ v, max_steps=steps)

    def test_results(self) -> None:
        whole = self.run()
        with pytest.warns(eq.ConvergenceWarning):
            part = self.run(20)
        ax = eq.plot.optimizer({"whole": whole, "part": part})
        first, second, cross = ax.get_lines()
        np.testing.assert_array_equal(first.get_ydata(), whole.history.error)
        assert second.get_xdata()[-1] == 20
        assert cross.get_marker() == "x"
        assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "largest entry of the gradient")
        seconds = eq.plot.optimizer(whole, against="seconds")
        np.testing.assert_array_equal(seconds.get_lines()[0].get_xdata(), whole.history.seconds)

    def test_losses(self, on: Case) -> None:
        ax = eq.plot.optimizer({"a": on.array(np.array([3.0, 2.0, 1.0])), "b": [[0, 1.0], [5, -1.0]]})
        a, b = ax.get_lines()
        assert a.get_xdata().tolist() == [1.0, 2.0, 3.0]
        assert b.get_xdata().tolist() == [0.0, 5.0]
        assert (ax.get_yscale(), ax.get_ylabel()) == ("linear", "loss")  # there is a negative one

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="against must be 'steps' or 'seconds', got 'epochs'"):
            eq.plot.optimizer([1.0], against="epochs")
        with pytest.raises(ValueError, match="at least one run, got an empty dict"):
            eq.plot.optimizer({})
        with pytest.raises(TypeError, match="results or losses, not both"):
            eq.plot.optimizer({"a": self.run(), "b": [1.0]})
        with pytest.raises(ValueError, match=r"losses must have shape \(k,\) or \(k, 2\), got \(2, 3\) as run 0"):
            eq.plot.optimizer(np.ones((2, 3)))
        with pytest.raises(TypeError, match="run 0 must be a MinimizeResult or an array of losses, got object"):
            eq.plot.optimizer(object())
        with pytest.raises(ValueError, match="run 0 says no seconds"):
            eq.plot.optimizer([1.0, 0.5], against="seconds")
