"""The numba kernels of the sampling methods against their portable bodies."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.backend import find
from equipoise.kernel import override
from equipoise.monotone import (
    Box,
    GameOperator,
    Identity,
    L1Ball,
    L2Ball,
    LeastSquaresGradient,
    LogisticGradient,
    Nonnegative,
    Product,
    RobustLeastSquares,
    Simplex,
    SoftThreshold,
    components,
    extragradient_vr,
    forb,
    halpern_vr,
    page,
    vreg,
)
from equipoise.monotone.draws import plan
from equipoise.monotone.finite_sum import word_key
from equipoise.record import map_arrays

from .problems import dimension, regression, sums

pytest.importorskip("numba")

KEY = word_key(5)
SHIPPED = ["logistic", "least squares", "robust", "game", "wide game", "weighted game", "quadratic", "worst case"]
ALL = 10**6


def resolvents(d: int, dtype: str) -> list[Any]:
    """Every kind on vectors of d entries, alone and side by side; the last one leaves the y of robust regression."""
    low = np.linspace(-0.5, 0.1, d).astype(dtype)
    return [
        Identity(),
        Product((Simplex(0.7), d - 1), (Nonnegative(), 1)),
        Product((Box(low[:-2], 0.3), d - 2), (L1Ball(0.2), 2)),
        Product((SoftThreshold(0.9 + low[:1]), 1), (L2Ball(0.4), d - 2), (Box(-0.2, 0.2), 1)),
        Product((SoftThreshold(0.2), 3), (Box(), d - 3)) if d > 3 else SoftThreshold(0.2),
    ]


def problems(rng: np.random.Generator, dtype: str) -> Iterator[tuple[Any, Any, Any]]:
    """A sum, a resolvent and a point, or two of them."""
    for number, name in enumerate(SHIPPED):
        summed = map_arrays(lambda x: x.astype(dtype), sums()[name])
        for other, J in enumerate(resolvents(dimension(name), dtype)):
            batch = (2,) if (number + other) % 3 == 0 else ()
            yield summed, J, rng.standard_normal((*batch, dimension(name))).astype(dtype)


def sample_page(rng: np.random.Generator, dtype: str) -> Any:
    for number, (summed, J, u) in enumerate(problems(rng, dtype)):
        form, first = (("scaled", 0), ("inner", 5))[number % 2]
        task = page.PageTask(summed, J, 0.5, 0.3, plan(0.07, 3, KEY, u), None, form, first, first == 0)
        with eq.portable():
            start = page.begin(u, summed.full(u), task, u.dtype.type(0.05))
            later, _, _ = page.page_chunk(start, task, ALL, 0.0)
        near = replace(later, reference=3 * later.error)  # the anchor moves
        lost = replace(later, reference=later.error / 3, worse=later.worse + 2)  # the step is halved
        state, limit = ((start, 0), (start, 1), (near, 4), (lost, 4))[(number // 5 + number) % 4]
        yield (state, task, limit, 0.0), {}
        yield (start, task, ALL, 0.0), {}


def sample_forb(rng: np.random.Generator, dtype: str) -> Any:
    for number, (summed, J, u) in enumerate(problems(rng, dtype)):
        task = forb.ForbTask(summed, J, 0.5, 0.3, 0.2, 0.1, 0.8, 6.0, plan(0.2, 1, KEY, u), None)
        with eq.portable():
            start = forb.begin(u, summed.full(u), task)
            later, _, _ = forb.forb_chunk(start, task, ALL, 0.0)
        near = replace(later, reference=3 * later.error)
        state, limit = ((start, 0), (start, 1), (near, 2), (start, ALL))[(number // 5 + number) % 4]
        yield (state, task, limit, 0.0), {}
        yield (later, task, ALL, 0.0), {}


def sample_vreg(rng: np.random.Generator, dtype: str) -> Any:
    for number, (summed, J, u) in enumerate(problems(rng, dtype)):
        task = vreg.VregTask(summed, J, 0.3, 0.05, 0.9, plan(0.2, 2, KEY, u))
        with eq.portable():
            start = vreg.begin(u, summed.full(u), task)
            later, _, _ = vreg.vreg_chunk(start, task, ALL, 0.0)
        yield (start, task, (0, 2, ALL)[number % 3], 0.0), {}
        yield (later, task, ALL, 0.0), {}


SAMPLES = {"page": sample_page, "forb": sample_forb, "vreg": sample_vreg}


@pytest.mark.parametrize("name", list(SAMPLES))
def test_nothing_shipped_is_declined(name: str) -> None:
    """Else the comparison with the body, which tests/test_kernel.py makes, would compare it with itself."""
    found = override(find("numpy"), f"monotone.{name}_chunk")
    assert found is not None
    for args, _ in SAMPLES[name](np.random.default_rng(0), "float64"):
        assert found(*args) is not NotImplemented


def mine(v: Any, step: Any) -> Any:
    return v


@pytest.mark.parametrize(
    ("summed", "resolvent", "form"),
    [
        (components(lambda u, i: 0.0 * i[:, None] + u[..., None, :], 7), Identity(), "scaled"),
        (sums()["logistic"], mine, "scaled"),
        (sums()["logistic"], Product((Identity(), 1), (mine, 2)), "scaled"),
        (sums()["logistic"], Box(np.zeros((2, 3))), "scaled"),
        (sums()["logistic"], Box(np.zeros(3, "float32")), "scaled"),
        (sums()["logistic"], Identity(), "outer"),
    ],
)
def test_what_is_not_known_is_declined(summed: Any, resolvent: Any, form: str) -> None:
    u = np.zeros((2, 3))
    task = page.PageTask(summed, resolvent, 0.5, 0.3, plan(0.2, 1, KEY, u), None, form)
    found = override(find("numpy"), "monotone.page_chunk")
    assert found is not None
    assert found(page.begin(u, u, task, 0.1), task, 3, 0.0) is NotImplemented


class TestSolves:
    @pytest.mark.parametrize("name", ["logistic", "least squares", "robust", "robust, one free"])
    def test_as_without_kernels(self, name: str) -> None:
        A, labels, b = regression(100, 4)
        free = Product((Box(-0.2, 0.3), 4), (Identity(), 100))
        F, J, d = {
            "logistic": (LogisticGradient(A, labels, 0.01), SoftThreshold(0.01), 4),
            "least squares": (LeastSquaresGradient(A, b), L1Ball(1.0), 4),
            "robust": (RobustLeastSquares(A, b), Product((Identity(), 4), (Box(-1.0, 1.0), 100)), 104),
            "robust, one free": (RobustLeastSquares(A, b), free, 104),
        }[name]
        fast = halpern_vr(F, np.zeros(d), resolvent=J, tol=3e-3, max_steps=20_000)
        with eq.portable():
            slow = halpern_vr(F, np.zeros(d), resolvent=J, tol=3e-3, max_steps=20_000)
        assert (fast.oracle_calls, fast.restarts, fast.steps) == (slow.oracle_calls, slow.restarts, slow.steps)
        assert fast.restarts > 1
        np.testing.assert_allclose(fast.u, slow.u, atol=1e-9)

    def test_unknowns_that_are_moved_lazily(self) -> None:
        """Bounds out of reach make every step move all of them."""
        A, _, b = regression(40, 3)
        F, bounds = RobustLeastSquares(A, b), Box(-1e9, 1e9)
        for settings in ({}, {"schedule": "theory"}, {"batch": 30}):
            lazy, dense = (
                quiet(halpern_vr, F, np.ones(43), resolvent=J, tol=0.0, max_steps=400, **settings)
                for J in (Identity(), Product((Identity(), 3), (bounds, 40)))
            )
            np.testing.assert_allclose(lazy.u, dense.u, atol=1e-11)

    def test_inputs_are_read_only(self) -> None:
        A, labels, _ = regression(60, 3)
        u = np.zeros(3)
        copies = [x.copy() for x in (A, labels, u)]
        for x in (A, labels, u):
            x.flags.writeable = False
        assert halpern_vr(LogisticGradient(A, labels, 0.1), u, tol=1e-4).converged
        for x, copy in zip((A, labels, u), copies, strict=True):
            np.testing.assert_array_equal(x, copy)

    def test_other_libraries_solve_on_the_host(self) -> None:
        A, labels, _ = regression(60, 3)
        expected = halpern_vr(LogisticGradient(A, labels, 0.1), np.zeros(3), tol=1e-4)
        for move in (torch.tensor, jnp.asarray):
            result = halpern_vr(LogisticGradient(move(A), move(labels), 0.1), move(np.zeros(3)), tol=1e-4)
            assert type(result.u) is type(move(np.zeros(3)))
            np.testing.assert_allclose(np.asarray(result.u), expected.u, atol=1e-13)
            assert int(result.oracle_calls) == int(expected.oracle_calls)

    def test_a_users_function_sees_its_own_library(self) -> None:
        def pull(u: Any, i: Any, targets: Any) -> Any:
            assert isinstance(u, torch.Tensor)
            return u[..., None, :] - targets[i, :]

        F = components(pull, 3, args=(torch.eye(3),))
        assert halpern_vr(F, torch.zeros(3), lipschitz=1.0, tol=1e-4).converged

    @pytest.mark.parametrize("factor", [8.0, 100.0])
    def test_far_too_long_a_step_is_halved_until_it_fits(self, factor: float) -> None:
        A, labels, b = regression(300, 4)
        for F in (LeastSquaresGradient(A, b), LogisticGradient(A, labels)):
            result = halpern_vr(F, np.zeros(4), step=factor * 2.0 / float(F.lipschitz), tol=1e-4)
            assert result.converged

    def test_games(self) -> None:
        A = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
        sets = Product((Simplex(), 3), (Simplex(), 3))
        start = np.array([1.0, 0, 0, 0.2, 0.5, 0.3])
        for solve, settings in ((halpern_vr, {"mode": "lipschitz", "inner": 2.0}), (extragradient_vr, {})):
            F = GameOperator(A, sampling="importance")
            fast = solve(F, start, resolvent=sets, tol=0.03, **settings)
            with eq.portable():
                slow = solve(F, start, resolvent=sets, tol=0.03, **settings)
            assert fast.oracle_calls == slow.oracle_calls
            np.testing.assert_allclose(fast.u, slow.u, atol=1e-10)


def quiet(solver: Any, *args: Any, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        return solver(*args, **settings)
