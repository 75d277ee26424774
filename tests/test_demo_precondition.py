"""The demo of preconditioning: its derivatives, its peers, and that its page has what it says."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from equipoise.demo import precondition as demo
from equipoise.demo.precondition import Digits, by_pairs, trained


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


class TestDigits:
    def test_gradient_and_product_are_derivatives(self, digits: Digits) -> None:
        rng = np.random.default_rng(0)
        W, V = 0.1 * rng.standard_normal((2, 65, 10))
        data, e = digits.batch(1)(0), 1e-5
        slope = (digits.loss(W + e * V, data) - digits.loss(W - e * V, data)) / (2 * e)
        assert slope == pytest.approx(np.sum(digits.grad(W, data) * V), rel=1e-7)
        bend = (digits.grad(W + e * V, data) - digits.grad(W - e * V, data)) / (2 * e)
        np.testing.assert_allclose(digits.product(W, V, data), bend, atol=1e-9)

    def test_the_least_loss_is_one(self, digits: Digits) -> None:
        assert np.max(np.abs(digits.grad(digits.goal, digits.all))) < 1e-5
        assert digits.excess(digits.goal) == 0.0
        assert digits.excess(digits.start) == pytest.approx(np.log(10.0) - digits.least)

    def test_a_block_of_the_hessian(self, digits: Digits) -> None:
        V = np.zeros((65, 10))
        V[:, 8] = np.random.default_rng(0).standard_normal(65)
        whole = digits.product(digits.goal, V, digits.all)[:, 8] - demo.RIDGE * V[:, 8]
        np.testing.assert_allclose(digits.block(8) @ V[:, 8], whole, atol=1e-12)

    def test_batches_are_the_same_again(self, digits: Digits) -> None:
        first, again, other = digits.batch(0)(3), digits.batch(0)(3), digits.batch(1)(3)
        assert first[0].shape == (32, 65)
        np.testing.assert_array_equal(first[0], again[0])
        assert not np.array_equal(first[0], other[0])


class TestTraining:
    def test_the_pairs_of_a_quadratic_give_newton_s_step(self) -> None:
        A = np.diag([1.0, 4.0, 9.0])
        pairs = [(s, A @ s) for s in np.eye(3)]
        g = np.array([1.0, 2.0, 3.0])
        np.testing.assert_allclose(by_pairs(pairs, g), g / np.diag(A))

    @pytest.mark.parametrize(("name", "rate"), [("PSGD", 0.3), ("SGD", 3.0), ("L-BFGS", 1.0)])
    def test_every_way_goes_down(self, digits: Digits, name: str, rate: float) -> None:
        path = trained(digits, name, rate, 30, seed=0)
        calls, seconds, excess = (np.array(column) for column in zip(*path, strict=True))
        assert (calls[0], calls[-1]) == (0, 30)
        assert np.all(np.diff(seconds) >= 0)
        assert excess[-1] < 0.2 * excess[0]


def test_a_section(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "RATES", {name: rates[-2:] for name, rates in demo.RATES.items()})
    section = demo.run(tmp_path, small=True)
    facts: dict[str, Any] = dict(section.facts)
    assert not section.failure
    assert [len(row) for row in section.rows] == [3, 3]
    assert all((tmp_path / figure.file).exists() for row in section.rows for figure in row)
    assert facts["Status"].startswith("CONVERGED")
    assert facts["All data"].startswith("L-BFGS: 1.0e-16")
    assert "digits: 1,797 of them, batches of 32, 40 steps" in capsys.readouterr().out
