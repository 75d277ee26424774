from __future__ import annotations

import functools
import itertools
import re
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

import equipoise as eq
from equipoise.backend import find
from equipoise.transport import PointCloud, sinkhorn

from ..backends import CASES, Case, everywhere

NUMPY = [case for case in CASES if case.name in ("numpy", "numpy-portable")]


def problem(
    n: int = 7, m: int = 5, seed: int = 0, batch: tuple[int, ...] = (), dtype: str = "float64"
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    cost, a, b = rng.random((*batch, n, m)), rng.random((*batch, n)) + 0.1, rng.random((*batch, m)) + 0.1
    a, b = a / a.sum(-1, keepdims=True), b / b.sum(-1, keepdims=True)
    return cost.astype(dtype), a.astype(dtype), b.astype(dtype)


def true_error(result: Any, cost: np.ndarray, a: np.ndarray, b: np.ndarray, epsilon: float) -> Any:
    """The L1 marginal error in float64, from the potentials alone."""
    f, g, cost, a, b = (np.asarray(x, dtype=np.float64) for x in (result.f, result.g, cost, a, b))
    p = a[..., :, None] * b[..., None, :] * np.exp((f[..., :, None] + g[..., None, :] - cost) / epsilon)
    return abs(p.sum(-1) - a).sum(-1) + abs(p.sum(-2) - b).sum(-1)


class TestKnownAnswers:
    def test_two_by_two(self, on: Case) -> None:
        cost = np.array([[0.0, 1.0], [1.0, 0.0]])
        result = on.call(lambda c: sinkhorn(c, epsilon=0.5, tol=1e-12), cost)
        plan = on.numpy(result.plan())
        assert abs(plan[0, 0] - 0.440398539) < 1e-9
        assert abs(plan[0, 0] - 1 / (2 * (1 + np.exp(-2.0)))) < 1e-14

    def test_one_by_one(self, on: Case) -> None:
        result = on.call(lambda c: sinkhorn(c, epsilon=0.1), np.array([[3.0]]))
        assert result.converged
        assert abs(float(on.numpy(result.value)) - 3.0) < 1e-14

    def test_the_plan_of_pot(self, on: Case) -> None:
        cost, a, b = problem(30, 20)
        result = on.numpy(on.call(lambda *x: sinkhorn(*x, epsilon=0.05, tol=1e-12), cost, a, b))
        expected = ot.bregman.sinkhorn_log(a, b, cost, 0.05, stopThr=1e-14, numItermax=10_000)
        assert abs(result.plan() - expected).sum() < 1e-11

    def test_small_epsilon_approaches_the_exact_cost(self) -> None:
        cost, a, b = problem(25, 25)
        exact = ot.emd2(a, b, cost)
        result = sinkhorn(cost, a, b, epsilon=1e-3, tol=1e-5, max_steps=200_000)
        assert 0 <= result.transport_cost - exact < 1e-3 * np.log(25) + 1e-4

    def test_duality_gap_closes(self) -> None:
        cost, a, b = problem()
        result = sinkhorn(cost, a, b, epsilon=0.1, tol=1e-13)
        p = result.plan()
        primal = (p * cost).sum() + 0.1 * (p * np.log(p / np.outer(a, b)) - p + np.outer(a, b)).sum()
        assert abs(primal - result.value) < 1e-12


class TestBackendsAgree:
    @pytest.mark.parametrize("epsilon", [0.05, 0.005])
    def test_the_same_iterates(self, on: Case, epsilon: float) -> None:
        cost, a, b = problem(60, 50)
        for steps in (20,) if on.jit else (1, 3, 20):
            run = lambda *x, k=steps: sinkhorn(*x, epsilon=epsilon, tol=0.0, max_steps=k)  # noqa: E731
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", eq.ConvergenceWarning)
                here, there = on.numpy(on.call(run, cost, a, b)), run(cost, a, b)
            assert int(here.steps) == steps
            np.testing.assert_allclose(here.f, there.f, rtol=0, atol=1e-12)
            np.testing.assert_allclose(here.g, there.g, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("epsilon", [0.05, 0.005])
    def test_a_thousand_by_a_thousand(self, on: Case, epsilon: float) -> None:
        cost = np.random.default_rng(1).random((1000, 1000))
        weights = np.full(1000, 1e-3)
        here = on.numpy(on.call(lambda c: sinkhorn(c, epsilon=epsilon, tol=1e-9), cost))
        there = sinkhorn(cost, epsilon=epsilon, tol=1e-9)
        assert int(here.steps) == int(there.steps)
        np.testing.assert_allclose(here.f, there.f, rtol=0, atol=1e-10)
        np.testing.assert_allclose(here.g, there.g, rtol=0, atol=1e-10)
        if on.name == "numpy":
            with warnings.catch_warnings():  # POT warns when it stops between two of its checks
                warnings.simplefilter("ignore")
                expected = ot.bregman.sinkhorn_log(weights, weights, cost, epsilon, stopThr=1e-12, numItermax=1000)
            assert abs(here.plan() - expected).sum() < 2e-9

    @everywhere
    def test_same_type_and_dtype_out(self, on: Case) -> None:
        for dtype in ("float64", "float32"):
            cost, a, b = problem(dtype=dtype)
            moved = on.array(cost)
            result = on.call(lambda *x: sinkhorn(*x, epsilon=0.1), moved, a, b)
            for x in (result.f, result.g, result.error, result.value, result.plan(), result.transport_cost):
                assert type(x) is type(moved) or on.name.startswith("numpy")
                assert x.dtype == moved.dtype
                assert getattr(x, "device", None) == getattr(moved, "device", None)

    def test_the_kind_of_epsilon_does_not_change_the_dtype(self, on: Case) -> None:
        cost, a, b = problem(dtype="float32")
        expected = sinkhorn(cost, a, b, epsilon=0.25)
        for epsilon in (np.float64(0.25), np.array(0.25), np.array(0.25, dtype="float32")):
            if isinstance(epsilon, np.ndarray):
                result = on.call(lambda *x: sinkhorn(*x[:3], epsilon=x[3]), cost, a, b, epsilon)
            else:
                result = on.call(lambda *x, e=epsilon: sinkhorn(*x, epsilon=e), cost, a, b)
            got = on.numpy(result)
            assert got.f.dtype == got.value.dtype == np.float32
            np.testing.assert_allclose(got.f, expected.f, atol=1e-6)

    def test_half_precision_runs_the_portable_body(self) -> None:
        with pytest.warns(eq.ConvergenceWarning):
            result = sinkhorn(torch.rand(6, 5).bfloat16(), epsilon=0.5, tol=1e-9)
        assert result.f.dtype == torch.bfloat16
        assert float(result.error) < 0.1

    def test_inputs_are_not_written(self, on: Case) -> None:
        arrays = [on.array(x) for x in problem()]
        on.call(lambda *x: sinkhorn(*x, epsilon=0.1, init=(0.0 * x[1], 0.0 * x[2])), *arrays)
        for before, after in zip(problem(), arrays, strict=True):
            np.testing.assert_array_equal(before, on.numpy(after))

    def test_non_contiguous_cost(self) -> None:
        cost, a, b = problem(8, 6)
        expected = sinkhorn(cost, a, b, epsilon=0.1).f
        for turned, weights in (
            (np.asfortranarray(cost), (a, b)),
            (torch.tensor(cost.T.copy()).T, (torch.tensor(a), torch.tensor(b))),
        ):
            np.testing.assert_allclose(sinkhorn(turned, *weights, epsilon=0.1).f, expected, rtol=0, atol=1e-14)


class TestBatch:
    def test_equals_its_members(self, on: Case) -> None:
        cost, a, b = problem(batch=(2, 3))
        run = lambda *x: sinkhorn(*x, epsilon=0.05, tol=1e-9)  # noqa: E731
        batch = on.numpy(on.call(run, cost, a, b))
        assert batch.f.shape == (2, 3, 7)
        assert batch.steps.shape == batch.error.shape == (2, 3)
        assert np.all(batch.converged)
        one = CASES[0] if on.jit else on  # shapes of members are not compiled again
        for k in np.ndindex(2, 3):
            alone = one.numpy(one.call(run, cost[k], a[k], b[k]))
            assert int(alone.steps) == batch.steps[k]
            np.testing.assert_allclose(alone.f, batch.f[k], rtol=0, atol=1e-12)

    def test_leading_axes_broadcast(self, on: Case) -> None:
        cost, a, b = problem(batch=(3,))
        result = on.numpy(on.call(lambda *x: sinkhorn(*x, epsilon=0.1), cost[0], a, b[0]))
        assert result.f.shape == (3, 7)
        assert result.plan().shape == (3, 7, 5)
        alone = sinkhorn(cost[0], a[2], b[0], epsilon=0.1)
        np.testing.assert_allclose(alone.f, result.f[2], rtol=0, atol=1e-12)

    def test_vmap(self) -> None:
        cost, a, b = map(jax.numpy.array, problem(batch=(3,)))
        mapped = jax.vmap(lambda *x: sinkhorn(*x, epsilon=0.05))(cost, a, b)
        batch = sinkhorn(cost, a, b, epsilon=0.05)
        assert mapped.steps.tolist() == batch.steps.tolist()
        np.testing.assert_allclose(mapped.f, batch.f, rtol=0, atol=1e-12)

    def test_torch_vmap_says_what_to_do(self) -> None:
        with pytest.raises(TypeError, match="pass the whole batch instead, as leading axes"):
            torch.func.vmap(lambda c: sinkhorn(c, epsilon=0.1).f)(torch.rand(2, 3, 3))

    def test_one_failure_does_not_hide_in_a_batch(self) -> None:
        cost = np.stack([np.zeros((5, 5)), np.random.default_rng(0).random((5, 5))])
        with pytest.warns(eq.ConvergenceWarning, match="for 1 of 2 problems"):
            result = sinkhorn(cost, epsilon=1e-3, max_steps=3)
        assert result.converged.tolist() == [True, False]
        assert result.status is eq.Status.MAX_STEPS


class TestUnderJit:
    cost = jax.numpy.array(problem()[0])

    @pytest.mark.parametrize("views", [True, False])
    def test_of_arrays_that_are_known(self, views: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Closed over, an array has values, but operations on it are traced; on a GPU there is no view of it either."""
        if not views:
            monkeypatch.setattr(type(find("jax")), "borrow", lambda self, x: None)
        expected = sinkhorn(problem()[0], epsilon=0.1).f
        for got in (
            jax.jit(lambda: sinkhorn(self.cost, epsilon=0.1))().f,
            jax.jit(lambda e: sinkhorn(self.cost, epsilon=e).f)(0.1),
            jax.vmap(lambda e: sinkhorn(self.cost, epsilon=e).f)(jax.numpy.array([0.1]))[0],
        ):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@functools.cache  # the same function at every offset is compiled once
def patient(epsilon: float) -> Callable[..., Any]:
    return lambda *x: sinkhorn(*x, epsilon=epsilon, max_steps=50_000)


class TestHonesty:
    def test_not_converging_warns_and_says_so(self, on: Case) -> None:
        cost, a, b = problem()
        run = lambda *x: sinkhorn(*x, epsilon=1e-3, max_steps=3)  # noqa: E731
        if on.jit:
            result = on.call(run, cost, a, b)
        else:
            with pytest.warns(
                eq.ConvergenceWarning, match=r"transport.sinkhorn did not reach tol=1e-06: error .* 3 steps"
            ):
                result = on.call(run, cost, a, b)
        assert result.converged is False
        assert result.status is eq.Status.MAX_STEPS
        assert abs(float(result.error) - true_error(on.numpy(result), cost, a, b, 1e-3)) < 1e-12

    @pytest.mark.parametrize(("epsilon", "offset"), list(itertools.product([0.5, 0.02, 0.002], [0.0, -50.0, 1e6])))
    def test_the_error_is_the_true_one(self, on: Case, epsilon: float, offset: float) -> None:
        cost, a, b = problem(12, 9)
        cost = cost + offset
        result = on.numpy(on.call(patient(epsilon), cost, a, b))
        rounding = 1e-15 * abs(offset) / epsilon * 4
        assert result.converged
        assert abs(float(result.error) - true_error(result, cost, a, b, epsilon)) < 1e-12 + rounding
        assert float(result.error) <= 1e-6

    def test_float32_keeps_its_promise(self, on: Case) -> None:
        for epsilon in (1 / 20, 1 / 1000):
            cost, a, b = problem(300, 300, dtype="float32")
            a, b = a / a.sum(dtype=np.float64), b / b.sum(dtype=np.float64)
            a, b = a.astype("float32"), b.astype("float32")
            result = on.numpy(on.call(lambda *x, e=epsilon: sinkhorn(*x, epsilon=e, tol=1e-5), cost, a, b))
            assert result.converged, result
            assert true_error(result, cost, a, b, epsilon) < 2e-5

    def test_float32_beyond_rounding_stalls_and_says_so(self, on: Case) -> None:
        cost, a, b = problem(40, 40, dtype="float32")
        run = lambda *x: sinkhorn(*x, epsilon=0.05, tol=1e-12)  # noqa: E731
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            result = on.call(run, cost, a, b)
        assert result.status is eq.Status.STALLED
        assert float(result.error) < 1e-5
        assert int(result.steps) < 2000

    @pytest.mark.parametrize("penalty", [None, 0.5])
    def test_a_factor_close_to_two_is_told_to_diverge_soon(self, penalty: float | None) -> None:
        rng = np.random.default_rng(0)
        cost = ((rng.random((60, 1, 2)) - rng.random((60, 2))) ** 2).sum(-1)
        with pytest.warns(eq.ConvergenceWarning, match="relaxation='auto'"):
            result = sinkhorn(cost, epsilon=0.01, relaxation=1.999, marginal_penalty=penalty)
        assert result.status is eq.Status.DIVERGED
        assert int(result.steps) < 1000

    @pytest.mark.parametrize("method", ["log", "kernel"])
    def test_parts_that_hardly_exchange_mass_are_not_called_stalled(self, method: str) -> None:
        """Plain sweeps take 48,000 steps here; over-relaxed ones raise the error for 376 before it falls."""
        images = load_digits().data
        zero, other = (images[k] / images[k].sum() for k in (0, 86))
        pixels = np.argwhere(np.ones((8, 8))).astype(float)
        cost = ((pixels[:, None] - pixels) ** 2).sum(-1)
        result = sinkhorn(cost, zero, other, epsilon=0.1, method=method)
        assert result.converged, result
        assert int(result.steps) < 2000

    def test_float32_that_is_slow_is_not_called_stalled(self) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.random((200, 2)), rng.random((200, 2))
        cost = ((x[:, None] - y[None]) ** 2).sum(-1).astype("float32")
        result = sinkhorn(cost, epsilon=float(cost.max()) / 1900, tol=1e-5, max_steps=60_000)
        assert result.converged, result

    def test_max_steps_bounds_a_wild_problem(self, on: Case) -> None:
        cost = np.array([[0.0, 1e9], [1e9, 0.0], [1.0, -1e9]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            result = on.numpy(on.call(lambda c: sinkhorn(c, epsilon=1e-3, max_steps=50), cost))
        assert np.all(np.isfinite(result.f))
        assert np.all(np.isfinite(result.g))
        far = on.numpy(on.call(lambda c, f: sinkhorn(c, epsilon=0.1, init=(f, -f)), np.eye(3), np.full(3, 1e6)))
        assert far.converged
        assert bool(result.converged) == (float(result.error) <= 1e-6)


class TestOptions:
    def test_warm_start_from_the_solution_stops_at_once(self, on: Case) -> None:
        cost, a, b = problem()
        first = on.numpy(on.call(lambda *x: sinkhorn(*x, epsilon=0.05, tol=1e-9), cost, a, b))
        again = on.call(lambda *x: sinkhorn(*x[:3], epsilon=0.05, init=x[3:]), cost, a, b, first.f, first.g)
        assert int(again.steps) == 0
        half = on.call(lambda *x: sinkhorn(*x[:3], epsilon=0.05, init=(None, x[3])), cost, a, b, first.g)
        assert int(half.steps) <= 1
        half = on.call(lambda *x: sinkhorn(*x[:3], epsilon=0.05, init=(x[3], None)), cost, a, b, first.f)
        assert int(half.steps) <= 1

    def test_the_gauge(self, on: Case) -> None:
        cost, a, b = problem()
        result = on.numpy(on.call(lambda *x: sinkhorn(*x, epsilon=0.1), cost + 7, a, b))
        assert abs((b * result.g).sum()) < 1e-14

    def test_callback_stops(self) -> None:
        cost, a, b = problem()
        seen = []
        with pytest.warns(eq.ConvergenceWarning, match="callback asked to stop"):
            result = sinkhorn(cost, a, b, epsilon=0.01, callback=lambda i: seen.append(i.step) or i.step == 4)
        assert seen == [0, 1, 2, 3, 4]
        assert result.status is eq.Status.STOPPED

    def test_history_is_the_error_of_each_iterate(self) -> None:
        cost, a, b = problem()
        result = sinkhorn(cost, a, b, epsilon=0.05, check_every=1)
        for step in (1, 4, 9):
            with pytest.warns(eq.ConvergenceWarning):
                early = sinkhorn(cost, a, b, epsilon=0.05, max_steps=step)
            assert result.history.step[step] == step
            assert abs(result.history.error[step] - early.error) < 1e-14

    def test_zero_tolerance_runs_all_steps(self) -> None:
        with pytest.warns(eq.ConvergenceWarning):
            assert int(sinkhorn(problem(40, 40)[0], epsilon=0.05, tol=0.0, max_steps=500).steps) == 500

    def test_points_of_weight_zero(self, on: Case) -> None:
        cost, a, b = problem(8, 6)
        keep, a[3], b[[0, 5]] = np.delete(np.arange(8), 3), 0.0, 0.0
        a, b = a / a.sum(), b / b.sum()
        full = on.numpy(on.call(lambda *x: sinkhorn(*x, epsilon=0.05, tol=1e-10), cost, a, b))
        part = sinkhorn(cost[keep][:, 1:5].copy(), a[keep], b[1:5].copy(), epsilon=0.05, tol=1e-10)
        np.testing.assert_allclose(full.f[keep], part.f, rtol=0, atol=1e-12)
        softmin = -0.05 * np.log((b * np.exp((full.g - cost[3]) / 0.05)).sum())
        assert abs(full.f[3] - softmin) < 1e-9
        assert abs(float(full.value) - float(part.value)) < 1e-12

    def test_apply(self, on: Case) -> None:
        cost, a, b = problem(batch=(2,))
        result = on.call(lambda *x: sinkhorn(*x, epsilon=0.1), cost, a, b)
        plan, rng = on.numpy(result.plan()), np.random.default_rng(3)
        v, w = rng.random((2, 5)), rng.random((2, 7, 4))
        np.testing.assert_allclose(on.numpy(result.apply(on.array(v))), np.einsum("kij,kj->ki", plan, v), atol=1e-14)
        got = on.numpy(result.apply(on.array(w), transpose=True))
        np.testing.assert_allclose(got, np.einsum("kij,kic->kjc", plan, w), atol=1e-14)
        with pytest.raises(ValueError, match=r"v must have shape \(..., 5\)"):
            result.apply(on.array(rng.random((2, 7))))


@st.composite
def problems(draw: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    n, m, seed = draw(st.integers(1, 20)), draw(st.integers(1, 20)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    cost = rng.random((n, m)) + draw(st.sampled_from([0.0, -3.0, 40.0]))
    if draw(st.booleans()):
        cost = np.round(cost, 1)  # ties
    cost = cost * draw(st.sampled_from([1.0, 1e-3, 100.0]))
    a, b = rng.random(n) ** 3 + 1e-3, rng.random(m) ** 3 + 1e-3
    if n > 1 and draw(st.booleans()):
        a[rng.integers(n)] = 0.0
    spread = float(np.ptp(cost)) or 1.0
    return cost, a / a.sum(), b / b.sum(), spread * draw(st.sampled_from([1.0, 0.2, 0.05]))


@pytest.mark.parametrize("case", NUMPY, ids=lambda c: c.name)
class TestProperties:
    @given(p=problems())
    def test_converged_is_true(self, case: Case, p: Any) -> None:
        cost, a, b, epsilon = p
        result = case.call(lambda *x: sinkhorn(*x, epsilon=epsilon, tol=1e-8, max_steps=100_000), cost, a, b)
        assert result.converged
        assert true_error(result, cost, a, b, epsilon) <= 1.05e-8

    @given(p=problems(), shift=st.floats(-5, 5), scale=st.floats(0.1, 10))
    def test_equivariance(self, case: Case, p: Any, shift: float, scale: float) -> None:
        cost, a, b, epsilon = p

        def run(c: np.ndarray, e: float) -> Any:
            return case.call(lambda *x: sinkhorn(*x, epsilon=e, tol=1e-10, max_steps=100_000), c, a, b)

        base = run(cost, epsilon)
        size = 1 + abs(base.f).max()
        shift = shift * epsilon
        np.testing.assert_allclose(run(cost + shift, epsilon).f, base.f + shift, atol=1e-8 * size)
        np.testing.assert_allclose(run(scale * cost, scale * epsilon).g, scale * base.g, atol=1e-7 * size * scale)
        row = epsilon * np.linspace(-1, 1, len(a))
        np.testing.assert_allclose(run(cost + row[:, None], epsilon).plan(), base.plan(), atol=1e-9)
        order = np.random.default_rng(0).permutation(len(a))
        moved = case.call(
            lambda *x: sinkhorn(*x, epsilon=epsilon, tol=1e-10, max_steps=100_000), cost[order], a[order], b
        )
        np.testing.assert_allclose(moved.f, base.f[order], atol=1e-8 * size)

    @given(p=problems())
    def test_the_value_is_a_lower_bound_that_never_falls(self, case: Case, p: Any) -> None:
        cost, a, b, epsilon = p
        best = case.call(lambda *x: sinkhorn(*x, epsilon=epsilon, tol=1e-10, max_steps=100_000), cost, a, b).value
        last = -np.inf
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            for steps in (1, 2, 4, 8):
                value = case.call(lambda *x, k=steps: sinkhorn(*x, epsilon=epsilon, max_steps=k), cost, a, b).value
                assert last - 1e-12 * (1 + abs(best)) <= value <= best + 1e-9 * (1 + abs(best))
                last = value


class TestBadInput:
    good = np.ones((3, 4))

    @pytest.mark.parametrize(
        ("arguments", "kind", "sentence"),
        [
            (([[0.0]],), TypeError, "cost must be an array (numpy, torch, jax, cupy) or a PointCloud, got list"),
            ((np.ones((3, 4), dtype=int),), TypeError, "cost must hold floating-point numbers, got dtype int64"),
            ((np.ma.masked_array(good, good > 2),), TypeError, "cost is a masked array, whose mask would be lost"),
            ((np.ones(3),), ValueError, "cost must have shape (..., n, m), got (3,)"),
            ((np.ones((0, 4)),), ValueError, "cost must not be empty, got shape (0, 4)"),
            ((np.array([[1.0, np.nan]]),), ValueError, "cost must be finite, got nan at index (0, 1)"),
            ((np.array([[1.0], [np.inf]]),), ValueError, "cost must be finite, got inf at index (1, 0)"),
            ((good, [1.0]), TypeError, "a must be an array or None, got list"),
            ((good, np.ones(4)), ValueError, "a must have shape (..., 3) to fit cost of shape (3, 4), got (4,)"),
            ((good, None, np.ones(3)), ValueError, "b must have shape (..., 4) to fit cost of shape (3, 4), got (3,)"),
            ((good, np.array([1, 1, 1])), TypeError, "a must have the dtype of cost, float64, got int64"),
            ((good, np.ones(3, "float32")), TypeError, "a must have the dtype of cost, float64, got float32"),
            ((good, np.array([1.0, -1.0, 1.0])), ValueError, "a must not be negative, got -1.0 at index (1,)"),
            ((good, np.array([1.0, np.nan, 1.0])), ValueError, "a must be finite, got nan at index (1,)"),
            ((good, np.zeros(3)), ValueError, "a must have a positive total, got only zeros"),
            ((good, np.ones(3), np.ones(4)), ValueError, "a and b must have the same total, got 3 and 4"),
            ((good, np.ones(3) / 3, np.ones(4) * 0.2500005), ValueError, "got 1 and 1.000002"),
            (
                (np.ones((2, 3, 4)), np.ones((5, 3)) / 3),
                ValueError,
                "the leading axes of cost (2, 3, 4), a (5, 3) and b (4,)",
            ),
            ((good, torch.ones(3, dtype=torch.float64) / 3), TypeError, "two libraries, numpy and torch"),
        ],
    )
    def test_arrays(self, arguments: Any, kind: type[Exception], sentence: str) -> None:
        with pytest.raises(kind, match=re.escape(sentence)):
            sinkhorn(*arguments, epsilon=0.1)

    @pytest.mark.parametrize(
        ("options", "kind", "sentence"),
        [
            ({"epsilon": 0.0}, ValueError, "epsilon must be positive and finite, got 0.0"),
            ({"epsilon": -1}, ValueError, "epsilon must be positive and finite, got -1.0"),
            ({"epsilon": np.nan}, ValueError, "epsilon must be positive and finite, got nan"),
            ({"epsilon": np.inf}, ValueError, "epsilon must be positive and finite, got inf"),
            ({"epsilon": "small"}, TypeError, "epsilon must be a number or a 0-d array, got str"),
            ({"epsilon": torch.tensor(0.1)}, TypeError, "two libraries, numpy and torch"),
            ({"epsilon": np.ones(2)}, TypeError, "epsilon must be a number or a 0-d array, got ndarray"),
            ({"tol": -1e-3}, ValueError, "tol must be at least 0, got -0.001"),
            ({"tol": np.nan}, ValueError, "tol must be at least 0, got nan"),
            ({"tol": "x"}, TypeError, "tol must be a number or a 0-d array, got str"),
            ({"max_steps": 0}, ValueError, "max_steps must be at least 1, got 0"),
            ({"max_steps": 2.5}, TypeError, "max_steps must be a whole number, got float"),
            ({"check_every": 0}, ValueError, "check_every must be None or at least 1, got 0"),
            ({"method": "fast"}, ValueError, "method must be one of 'auto', 'log', 'kernel', got 'fast'"),
            ({"init": 3}, TypeError, "init must be a pair (f, g), either of which may be None, got int"),
            ({"init": (np.ones(4), None)}, ValueError, "init's f must have shape (3,), got (4,)"),
            ({"init": (None, np.ones(4, "float32"))}, TypeError, "init's g must be an array of dtype float64"),
            ({"init": (np.array([0, np.inf, 0]), None)}, ValueError, "init's f must be finite, got inf at index (1,)"),
        ],
    )
    def test_options(self, options: dict[str, Any], kind: type[Exception], sentence: str) -> None:
        with pytest.raises(kind, match=re.escape(sentence)):
            sinkhorn(self.good, **{"epsilon": 0.1, **options})

    def test_everywhere(self, on: Case) -> None:
        if on.jit:
            pytest.skip("values are not checked under jit")
        bad = self.good.copy()
        bad[2, 1] = np.nan
        with pytest.raises(ValueError, match=re.escape("cost must be finite, got nan at index (2, 1)")):
            on.call(lambda c: sinkhorn(c, epsilon=0.1), bad)
        with pytest.raises(ValueError, match=re.escape("a must not be negative, got -1.0 at index (1,)")):
            on.call(lambda c, a: sinkhorn(c, a, epsilon=0.1), self.good, np.array([1.0, -1.0, 1.0]))
        with pytest.raises(TypeError, match="floating"):
            on.call(lambda c: sinkhorn(c, epsilon=0.1), np.ones((2, 2), dtype=np.int64))

    def test_negative_costs_are_costs(self, on: Case) -> None:
        cost, a, b = problem()
        low = on.call(lambda *x: sinkhorn(*x, epsilon=0.1, tol=1e-10), cost - 9.0, a, b)
        np.testing.assert_allclose(on.numpy(low.plan()), sinkhorn(cost, a, b, epsilon=0.1, tol=1e-10).plan(), atol=1e-9)


def peak_of(call: Any) -> int:
    """The most bytes that a second call holds at a time."""
    call()  # compiled by now
    tracemalloc.start()
    assert call().converged
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("dtype", ["float64", "float32"])
class TestMemory:
    def test_sweeps_form_nothing_of_the_size_of_the_cost(self, dtype: str) -> None:
        cost, a, b = problem(600, 500, dtype=dtype)
        peak = peak_of(lambda: sinkhorn(cost, a / a.sum(), b / b.sum(), epsilon=0.05, method="log"))
        assert peak < cost.nbytes / 10, f"{peak} bytes beside a cost of {cost.nbytes}"

    def test_a_stored_kernel_is_all_that_is_formed(self, dtype: str) -> None:
        cost, a, b = problem(600, 500, dtype=dtype)
        peak = peak_of(lambda: sinkhorn(cost, a / a.sum(), b / b.sum(), epsilon=0.05, method="kernel"))
        assert cost.nbytes < peak < 1.1 * cost.nbytes, f"{peak} bytes beside a cost of {cost.nbytes}"

    def test_of_a_cloud(self, dtype: str) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.random((1500, 3)).astype(dtype), rng.random((1200, 3)).astype(dtype)
        peak = peak_of(lambda: sinkhorn(PointCloud(x, y), epsilon=0.1))
        assert peak < 40 * x.nbytes, f"{peak} bytes beside {x.nbytes} for x"
