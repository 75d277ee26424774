"""Peers solve the same problems as the demos, and say so where they are not installed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import equipoise as eq
from equipoise.demo import peers


def test_the_ratio_is_theirs_over_ours() -> None:
    assert peers.beside("A", 3.0, 1.5, "note") == "A takes 3 s, this 1.5 s: 2 times; note"
    assert peers.beside("A", 0.5, 1.0) == "A takes 0.5 s, this 1 s: 0.5 times"


def test_least_time_is_that_of_the_best_call() -> None:
    calls: list[int] = []
    done, seconds = peers.least_time(lambda: calls.append(1) or len(calls), rounds=4)  # type: ignore[func-returns-value]
    assert done == 4
    assert 0.0 <= seconds < 1.0


def test_pot_tells_what_error_it_ends_at() -> None:
    pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    cost = rng.random((20, 30))
    steps = int(eq.transport.sinkhorn(cost, epsilon=0.1, tol=1e-6, relaxation=1.0, check_every=1).steps)
    assert f"after {steps} plain sweeps" in peers.pot(cost, 0.1, steps, 1e-6, 1.0)
    assert "not the tolerance" not in peers.pot(cost, 0.1, steps, 1e-6, 1.0)
    assert "which is not the tolerance after 2 plain sweeps" in peers.pot(cost, 0.1, 2, 1e-6, 1.0)


def test_the_textbook_formula_is_the_distance() -> None:
    pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(12, 15))
    exact = eq.quasimetric.iqe_pairwise(x, x, components=3, reduction="sum")
    told = peers.textbook_iqe(x, 3, exact, 1.0)
    assert float(re.search(r"agree to (\S+)", told)[1]) < 1e-13  # type: ignore[index]
    assert "agree to 1e+00" in peers.textbook_iqe(x, 3, exact + 1.0, 1.0)


def test_highs_finds_the_value() -> None:
    assert "its value 0.000000" in peers.scipy_linprog(
        np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]), 1.0
    )


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda _: None)
    none: Any = None
    assert peers.pot(none, 1.0, 1, 1.0, 1.0) == "POT is not installed"
    assert peers.scipy_cg(none, none, 1.0, 1.0) == "SciPy is not installed"
    assert peers.scipy_linprog(none, 1.0) == "SciPy is not installed"
    assert peers.textbook_iqe(none, 1, none, 1.0) == "torch is not installed"
