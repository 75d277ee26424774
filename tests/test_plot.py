from __future__ import annotations

import sys
from collections.abc import Iterator

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
        result = on.call(lambda c: eq.transport.sinkhorn(c, epsilon=0.05, check_every=1, history=True), cost)
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

    def test_bad_input(self) -> None:
        result = eq.transport.sinkhorn(cost, epsilon=0.05, history=False)
        with pytest.raises(ValueError, match="result 0 has no history; solve with history=True"):
            eq.plot.convergence(result)
        with pytest.raises(ValueError, match="at least one"):
            eq.plot.convergence()
        with pytest.raises(ValueError, match="'steps' or 'seconds', got 'time'"):
            eq.plot.convergence(result, against="time")
        with pytest.raises(ValueError, match="labels must name each of the 1 results, got 2"):
            eq.plot.convergence(result, labels=["a", "b"])


class TestPlan:
    def test_shows_the_plan(self, on: Case) -> None:
        result = on.call(lambda c: eq.transport.sinkhorn(c, epsilon=0.05), cost)
        ax = eq.plot.plan(result)
        np.testing.assert_allclose(ax.get_images()[0].get_array(), on.numpy(result.plan()))

    def test_not_of_a_batch(self) -> None:
        with pytest.raises(ValueError, match=r"a batch of plans of shape \(2, 12, 9\)"):
            eq.plot.plan(eq.transport.sinkhorn(np.stack([cost, cost]), epsilon=0.05))


class TestMatching:
    def test_a_thread_for_every_notable_share(self, on: Case) -> None:
        result = on.call(lambda c: eq.transport.sinkhorn(c, epsilon=0.02), cost)
        ax = eq.plot.matching(on.array(x), on.array(y), result, threshold=0.2)
        plan = on.numpy(result.plan())
        assert len(ax.collections[0].get_segments()) == (plan / plan.sum(1, keepdims=True) >= 0.2).sum()

    def test_bad_input(self) -> None:
        result = eq.transport.sinkhorn(cost, epsilon=0.05)
        with pytest.raises(ValueError, match=r"got \(9, 2\), \(12, 2\), \(12, 9\)"):
            eq.plot.matching(y, x, result)
        with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\], got 2"):
            eq.plot.matching(x, y, result, threshold=2)


def test_without_matplotlib_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    result = eq.transport.sinkhorn(cost, epsilon=0.05)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"equipoise\[plot\]"):
        eq.plot.convergence(result)
