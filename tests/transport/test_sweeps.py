"""What makes sweeps fast or general: over-relaxation, a stored kernel, penalised marginals; and others' regressions."""

from __future__ import annotations

import re
import warnings
from typing import Any

import jax
import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.transport import sinkhorn

from ..backends import CASES, Case
from .test_sinkhorn import problem, true_error

NUMPY = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
ONE_DEVICE = [case for case in CASES if case.name not in ("jax-portable", "strict-second-device")]


def plane(n: int, m: int, seed: int = 0) -> np.ndarray:
    """Squared distances of points in the unit square: slow at a small epsilon."""
    rng = np.random.default_rng(seed)
    x, y = rng.random((n, 2)), rng.random((m, 2))
    return ((x[:, None] - y[None]) ** 2).sum(-1)


class TestRelaxation:
    def test_it_saves_most_of_the_sweeps(self, on: Case) -> None:
        cost = plane(60, 50)
        plain = on.numpy(on.call(lambda c: sinkhorn(c, epsilon=0.01, relaxation=1.0, tol=1e-9), cost))
        auto = on.numpy(on.call(lambda c: sinkhorn(c, epsilon=0.01, tol=1e-9), cost))
        assert plain.converged
        assert auto.converged
        assert int(auto.steps) < int(plain.steps) / 2, (int(auto.steps), int(plain.steps))
        np.testing.assert_allclose(auto.f, plain.f, rtol=0, atol=1e-8)

    def test_the_best_fixed_factor_is_what_it_looks_for(self) -> None:
        cost = plane(60, 50)
        steps = {}
        for omega in np.arange(1.0, 1.8, 0.07):  # a cold start with a larger one may diverge
            result = sinkhorn(cost, epsilon=0.01, relaxation=omega, tol=1e-9)
            steps[omega] = int(result.steps)
        auto = int(sinkhorn(cost, epsilon=0.01, tol=1e-9).steps)
        assert auto < 2.0 * min(steps.values()), (auto, steps)

    def test_easy_problems_are_left_alone(self) -> None:
        cost = problem(40, 30)[0]
        plain, auto = (sinkhorn(cost, epsilon=0.3, relaxation=r) for r in (1.0, "auto"))
        assert int(auto.steps) == int(plain.steps) < 20
        assert np.array_equal(auto.f, plain.f)

    @pytest.mark.parametrize("relaxation", [0.3, 1.7])
    def test_a_factor_of_ones_own(self, on: Case, relaxation: float) -> None:
        cost, a, b = problem()
        run = lambda *x: sinkhorn(*x, epsilon=0.1, relaxation=relaxation, tol=1e-9)  # noqa: E731
        result = on.numpy(on.call(run, cost, a, b))
        assert result.converged
        assert true_error(result, cost, a, b, 0.1) < 1.01e-9

    def test_a_batch_keeps_a_factor_a_member(self, on: Case) -> None:
        cost = np.stack([plane(30, 30, 1), 0.02 * plane(30, 30, 2)])
        run = lambda c: sinkhorn(c, epsilon=0.01, tol=1e-9)  # noqa: E731
        batch = on.numpy(on.call(run, cost))
        for k in range(2):
            alone = on.numpy(on.call(run, cost[k]))
            assert int(alone.steps) == batch.steps[k]
            np.testing.assert_allclose(alone.f, batch.f[k], rtol=0, atol=1e-12)

    def test_a_factor_that_is_too_large_is_told(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="relaxation='auto'"):
            result = sinkhorn(plane(400, 400), epsilon=1e-3, relaxation=1.95)
        assert result.status is eq.Status.DIVERGED

    @pytest.mark.parametrize("seed", range(4))
    def test_random_assignments_are_reached(self, seed: int) -> None:
        cost = np.random.default_rng(seed).random((200, 200))
        result = sinkhorn(cost, epsilon=1 / 600, tol=1e-9, max_steps=20_000)
        assert result.converged, result
        assert true_error(result, cost, np.full(200, 1 / 200), np.full(200, 1 / 200), 1 / 600) < 1.05e-9

    @pytest.mark.parametrize(
        ("relaxation", "kind", "sentence"),
        [
            (0.0, ValueError, "relaxation must be 'auto' or a number in (0, 2), got 0.0"),
            (2, ValueError, "relaxation must be 'auto' or a number in (0, 2), got 2.0"),
            (np.nan, ValueError, "relaxation must be 'auto' or a number in (0, 2), got nan"),
            ("fast", TypeError, "relaxation must be 'auto' or a number in (0, 2), got 'fast'"),
            (True, TypeError, "relaxation must be 'auto' or a number in (0, 2), got True"),
        ],
    )
    def test_bad_input(self, relaxation: Any, kind: type[Exception], sentence: str) -> None:
        with pytest.raises(kind, match=re.escape(sentence)):
            sinkhorn(np.ones((2, 2)), epsilon=0.1, relaxation=relaxation)


class TestStoredKernel:
    @pytest.mark.parametrize("epsilon", [0.2, 0.01, 0.001])
    @pytest.mark.parametrize("relaxation", [1.0, "auto"])
    def test_the_same_iterates(self, on: Case, epsilon: float, relaxation: Any) -> None:
        if on.jit and relaxation == 1.0 and epsilon != 0.01:
            pytest.skip("each is seconds of compilation, and 'auto' begins with it")
        cost = plane(41, 30)
        for steps in (67,) if on.jit else (1, 11, 67):
            run = lambda c, m, k=steps: sinkhorn(  # noqa: E731
                c, epsilon=epsilon, relaxation=relaxation, method=m, tol=0.0, max_steps=k
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", eq.ConvergenceWarning)
                stored, plain = on.numpy(on.call(lambda c, r=run: r(c, "kernel"), cost)), run(cost, "log")
            np.testing.assert_allclose(stored.f, plain.f, rtol=0, atol=1e-10)

    def test_auto_is_the_log_form_where_it_cannot_be_stored(self) -> None:
        cost = jax.numpy.array(plane(20, 20))
        text = str(jax.make_jaxpr(lambda c: sinkhorn(c, epsilon=0.1).f)(cost))
        assert text == str(jax.make_jaxpr(lambda c: sinkhorn(c, epsilon=0.1, method="log").f)(cost))

    def test_weights_of_zero_and_offsets(self, on: Case) -> None:
        cost, a, b = problem(8, 6)
        a[3], b[[0, 5]] = 0.0, 0.0
        a, b = a / a.sum(), b / b.sum()
        run = lambda *x, m="kernel": sinkhorn(*x, epsilon=0.02, tol=1e-6, method=m)  # noqa: E731
        for offset in (0.0, 1e6, -50.0):
            stored = on.numpy(on.call(run, cost + offset, a, b))
            log = run(cost + offset, a, b, m="log")
            assert stored.converged
            np.testing.assert_allclose(stored.plan(), log.plan(), rtol=0, atol=1e-7)

    @pytest.mark.parametrize("on", ONE_DEVICE, ids=lambda case: case.name, indirect=True)
    def test_float32_at_a_thousandth_of_the_range(self, on: Case) -> None:
        cost = problem(200, 200, dtype="float32")[0]
        result = on.numpy(on.call(lambda c: sinkhorn(c, epsilon=1e-3, method="kernel", tol=1e-5), cost))
        weights = np.full(200, 1 / 200)
        assert result.converged, result
        assert true_error(result, cost, weights, weights, 1e-3) < 2e-5


class TestPenalisedMarginals:
    @pytest.mark.parametrize(("rho_a", "rho_b"), [(0.5, 0.5), (1.0, 5.0), (50.0, 80.0)])
    @pytest.mark.parametrize("method", ["log", "kernel"])
    def test_the_plan_of_pot(self, on: Case, rho_a: float, rho_b: float, method: str) -> None:
        if on.jit and rho_a != 1.0:
            pytest.skip("compiled once")
        cost, a, b = problem(13, 9)
        a = 1.7 * a
        run = lambda *x: sinkhorn(  # noqa: E731
            *x, epsilon=0.1, marginal_penalty=(rho_a, rho_b), method=method, tol=1e-12
        )
        result = on.numpy(on.call(run, cost, a, b))
        assert result.converged
        expected = ot.unbalanced.sinkhorn_unbalanced(
            a, b, cost, 0.1, (rho_a, rho_b), reg_type="kl", numItermax=200_000, stopThr=1e-14
        )
        np.testing.assert_allclose(result.plan(), expected, rtol=0, atol=1e-10)

    def test_the_gap_of_value_and_primal_closes(self) -> None:
        cost, a, b = problem(13, 9)
        a = 1.7 * a

        def divergence(p: np.ndarray, q: np.ndarray) -> float:
            return float((p * np.log(p / q) - p + q).sum())

        for rho in ((0.5, 2.0), (None, 1.5), (3.0, np.inf)):
            result = sinkhorn(cost, a, b, epsilon=0.1, marginal_penalty=rho, tol=1e-13)
            p = result.plan()
            primal = (p * cost).sum() + 0.1 * divergence(p, np.outer(a, b))
            for sums, weights, penalty in ((p.sum(1), a, rho[0]), (p.sum(0), b, rho[1])):
                if penalty is None or np.isinf(penalty):
                    np.testing.assert_allclose(sums, weights, atol=1e-12)
                else:
                    primal += penalty * divergence(sums, weights)
            assert abs(primal - result.value) < 1e-11, rho

    def test_an_infinite_penalty_is_none(self, on: Case) -> None:
        cost, a, b = problem()
        with_inf = on.call(lambda *x: sinkhorn(*x, epsilon=0.1, marginal_penalty=np.inf), cost, a, b)
        without = on.call(lambda *x: sinkhorn(*x, epsilon=0.1), cost, a, b)
        again = 1e-13 if on.name.startswith("jax") else 0.0  # XLA does not promise the same last bit twice
        np.testing.assert_allclose(on.numpy(with_inf.f), on.numpy(without.f), rtol=again, atol=0)
        assert int(with_inf.steps) == int(without.steps)

    def test_a_large_penalty_is_no_slower(self) -> None:
        cost, a, b = problem(13, 9)
        result = sinkhorn(cost, a, b, epsilon=0.1, marginal_penalty=(50.0, 80.0), tol=1e-12, relaxation=1.0)
        assert result.converged
        assert int(result.steps) <= 100

    def test_a_batch_is_its_members(self, on: Case) -> None:
        cost, a, b = problem(batch=(3,))
        run = lambda *x: sinkhorn(*x, epsilon=0.1, marginal_penalty=(1.0, None), tol=1e-9)  # noqa: E731
        batch = on.numpy(on.call(run, cost, a, b))
        alone = on.numpy(on.call(run, cost[1], a[1], b[1]))
        np.testing.assert_allclose(batch.f[1], alone.f, rtol=0, atol=1e-12)

    @pytest.mark.parametrize(
        ("penalty", "kind", "sentence"),
        [
            (0.0, ValueError, "marginal_penalty must be positive, got 0.0"),
            (-1, ValueError, "marginal_penalty must be positive, got -1.0"),
            (np.nan, ValueError, "marginal_penalty must be positive, got nan"),
            ((1.0, 2.0, 3.0), ValueError, "marginal_penalty must be a number or a pair of them, got 3 values"),
            ("much", TypeError, "marginal_penalty must be a number or a 0-d array, got str"),
        ],
    )
    def test_bad_input(self, penalty: Any, kind: type[Exception], sentence: str) -> None:
        with pytest.raises(kind, match=re.escape(sentence)):
            sinkhorn(np.ones((2, 2)), epsilon=0.1, marginal_penalty=penalty)


class TestRegressionsOfOthers:
    """Problems on which other libraries are known to have returned something wrong."""

    @pytest.mark.parametrize("method", ["log", "kernel"])
    def test_pot_748(self, method: str) -> None:
        """POT's sinkhorn_stabilized returned a plan without mass here, and called it converged."""
        cost = plane(1000, 1000, 7)
        cost /= cost.max()
        result = sinkhorn(cost, epsilon=5e-3, tol=1e-8, method=method)
        weights = np.full(1000, 1e-3)
        assert result.converged
        assert true_error(result, cost, weights, weights, 5e-3) < 1.05e-8
        assert abs(result.plan().sum() - 1.0) < 1e-8

    @pytest.mark.parametrize("method", ["log", "kernel"])
    def test_ott_5(self, on: Case, method: str) -> None:
        """float32 at a small epsilon gave NaN in OTT's early versions."""
        rng = np.random.default_rng(3)
        x, y = rng.standard_normal((100, 2)), rng.standard_normal((90, 2)) + 3
        cost = ((x[:, None] - y[None]) ** 2).sum(-1).astype("float32")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            run = lambda c: sinkhorn(c, epsilon=1e-3 * float(cost.max()), method=method)  # noqa: E731
            result = on.numpy(on.call(run, cost))
        assert np.all(np.isfinite(result.f))
        assert np.all(np.isfinite(result.g))
        true = true_error(result, cost, np.full(100, 0.01), np.full(90, 1 / 90), 1e-3 * float(cost.max()))
        assert bool(result.converged) == (float(result.error) <= 1e-4)
        assert true < 2e-4

    def test_pot_194_small_regularisation_is_not_nan(self) -> None:
        cost = plane(30, 30)
        for epsilon in (1e-4, 1e-6):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", eq.ConvergenceWarning)
                result = sinkhorn(cost, epsilon=epsilon, max_steps=500)
            assert np.all(np.isfinite(result.f))
            assert np.isfinite(float(result.error))

    def test_torch_and_jax_agree_with_numpy_on_all_of_it(self) -> None:
        cost, a, b = problem(20, 15)
        settings: list[dict[str, Any]] = [{"method": "kernel"}, {"relaxation": 1.5}, {"marginal_penalty": 2.0}]
        for more in settings:
            want = sinkhorn(cost, a, b, epsilon=0.02, tol=1e-9, **more)
            for convert in (torch.tensor, jax.numpy.array):
                got = sinkhorn(*map(convert, (cost, a, b)), epsilon=0.02, tol=1e-9, **more)
                assert int(got.steps) == int(want.steps)
                np.testing.assert_allclose(np.asarray(got.f), want.f, rtol=0, atol=1e-12)


@st.composite
def anything(draw: Any) -> tuple[Any, ...]:
    n, m, seed = draw(st.integers(1, 25)), draw(st.integers(1, 25)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    cost = rng.random((n, m)) ** draw(st.sampled_from([1, 3])) + draw(st.sampled_from([0.0, -3.0, 40.0]))
    if draw(st.booleans()):
        cost = np.round(cost, 1)  # ties
    a, b = rng.random(n) ** draw(st.sampled_from([0, 1, 6])), rng.random(m)
    if draw(st.booleans()):
        a[rng.integers(n)], b[rng.integers(m)] = (0.0 if n > 1 else 1.0), (0.0 if m > 1 else 1.0)
    return cost, a / a.sum(), b / b.sum(), draw(st.sampled_from([1.0, 0.1, 0.01, 0.002]))


@pytest.mark.parametrize("case", NUMPY, ids=lambda case: case.name)
@pytest.mark.parametrize("method", ["log", "kernel"])
@given(anything(), st.sampled_from([None, 0.5, (None, 2.0), (30.0, 1.0)]), st.sampled_from(["auto", 1.0, 1.6]))
def test_never_a_wrong_true(case: Case, method: str, drawn: Any, penalty: Any, relaxation: Any) -> None:
    cost, a, b, epsilon = drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        run = lambda *x: sinkhorn(  # noqa: E731
            *x, epsilon=epsilon, marginal_penalty=penalty, relaxation=relaxation, method=method, max_steps=300
        )
        result = case.call(run, cost, a, b)
    f, g = np.asarray(result.f), np.asarray(result.g)
    assert np.all(np.isfinite(f))
    assert np.all(np.isfinite(g))
    rho_a, rho_b = penalty if isinstance(penalty, tuple) else (penalty, penalty)
    p = a[:, None] * b * np.exp((f[:, None] + g - cost) / epsilon)
    targets = (w if rho is None else w * np.exp(-x / rho) for w, x, rho in ((a, f, rho_a), (b, g, rho_b)))
    true = sum(abs(s - t).sum() for s, t in zip((p.sum(1), p.sum(0)), targets, strict=True))
    assert abs(true - float(result.error)) <= 1e-6 * true + 1e-11 * (1 + abs(cost).max() / epsilon)
    assert bool(result.converged) == (float(result.error) <= 1e-6)
