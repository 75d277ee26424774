from __future__ import annotations

import io
import re
import tracemalloc
import warnings
from typing import Any

import jax
import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import equipoise as eq
from equipoise.transport import NewtonResult, PointCloud, sinkhorn, sinkhorn_newton_sparse

from ..backends import CASES, Case, everywhere
from .test_sinkhorn import problem, true_error

NUMPY = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
SOME = [case for case in CASES if case.name in ("numpy", "numpy-portable", "torch", "torch-portable", "strict")]


@pytest.fixture(params=SOME, ids=lambda case: case.name)
def some(request: pytest.FixtureRequest) -> Case:
    """Backends that do not compile anew for every problem."""
    case: Case = request.param
    return case


def hard_problem(kind: str, n: int, weights: str, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Costs and weights that are known to trouble solvers."""
    rng = np.random.default_rng(seed)
    if kind == "plane":
        cost = cdist(rng.random((n, 2)), rng.random((n, 2)), "sqeuclidean")
    elif kind == "wide":
        cost = cdist(rng.normal(size=(n, 2)), 0.5 + 1.3 * rng.normal(size=(n, 2)), "sqeuclidean")
    elif kind == "outliers":
        cost = cdist(rng.standard_cauchy((n, 2)), rng.standard_cauchy((n, 2)))
    elif kind == "ten-dimensional":
        cost = cdist(rng.normal(size=(n, 10)), rng.normal(size=(n, 10)) + 0.3, "sqeuclidean")
    elif kind == "cityblock":
        cost = cdist(rng.random((n, 3)), rng.random((n, 3)), "cityblock")
    elif kind == "grid":
        points = np.stack(np.unravel_index(np.arange(n), (20, n // 20 + 1)), axis=-1).astype(float)
        cost = cdist(points, points, "cityblock")
    else:
        cost = rng.random((n, n))
    a, b = np.ones(n), np.ones(n)
    if weights == "unequal":
        a, b = 10 ** rng.uniform(-6, 0, n), 10 ** rng.uniform(-6, 0, n)
    if weights == "zero":
        a, b = rng.random(n) * (rng.random(n) > 0.2), rng.random(n) * (rng.random(n) > 0.2)
    return cost, a / a.sum(), b / b.sum()


class TestKnownAnswers:
    def test_two_by_two(self, some: Case) -> None:
        cost = np.array([[0.0, 1.0], [1.0, 0.0]])
        result = some.call(lambda c: sinkhorn_newton_sparse(c, epsilon=0.5, tol=1e-12), cost)
        assert abs(some.numpy(result.plan())[0, 0] - 1 / (2 * (1 + np.exp(-2.0)))) < 1e-13

    def test_one_by_one(self, some: Case) -> None:
        result = some.call(lambda c: sinkhorn_newton_sparse(c, epsilon=0.1), np.array([[3.0]]))
        assert result.converged
        assert abs(float(some.numpy(result.value)) - 3.0) < 1e-14

    @pytest.mark.parametrize("epsilon", [0.2, 0.02, 0.002])
    def test_sinkhorn_agrees(self, on: Case, epsilon: float) -> None:
        if on.name.startswith("jax") and epsilon > 0.01:
            pytest.skip("compiled once")
        cost, a, b = problem(12, 9)
        result = on.numpy(on.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=epsilon), cost, a, b))
        expected = sinkhorn(cost, a, b, epsilon=epsilon, tol=1e-10, max_steps=200_000)
        assert result.converged
        assert expected.converged
        assert float(result.error) <= 1e-9
        assert abs(true_error(result, cost, a, b, epsilon) - float(result.error)) < 1e-12
        np.testing.assert_allclose(result.plan(), expected.plan(), rtol=0, atol=1e-8)
        assert abs(float(result.value) - float(expected.value)) < 1e-9
        assert abs((b * result.g).sum()) < 1e-13

    def test_small_epsilon_approaches_the_exact_cost(self) -> None:
        cost, a, b = problem(60, 50)
        result = sinkhorn_newton_sparse(cost, a, b, epsilon=1e-4)
        assert result.converged
        assert -1e-8 <= result.transport_cost - ot.emd2(a, b, cost) < 1e-4 * np.log(60)

    def test_a_start_in_the_ladder_ends_at_epsilon_exactly(self) -> None:
        cost, a, b = problem(20, 20)
        for epsilon in (0.3, 0.09, 0.017, 0.0031):
            result = sinkhorn_newton_sparse(cost, a, b, epsilon=epsilon)
            assert true_error(result, cost, a, b, epsilon) < 1.05e-9


class TestHardProblems:
    @pytest.mark.parametrize("weights", ["uniform", "unequal", "zero"])
    @pytest.mark.parametrize(
        "kind", ["plane", "wide", "outliers", "ten-dimensional", "cityblock", "grid", "assignment"]
    )
    def test_converges(self, kind: str, weights: str) -> None:
        cost, a, b = hard_problem(kind, 200, weights)
        for share in (1e-1, 1e-2, 1e-3, 1e-4):
            epsilon = share * np.ptp(cost)
            result = sinkhorn_newton_sparse(cost, a, b, epsilon=epsilon)
            assert result.converged, (share, result)
            assert true_error(result, cost, a, b, epsilon) < 1.05e-9
            assert int(result.newton_steps) + int(result.sweeps) == int(result.steps) <= 150

    def test_where_stabilised_sinkhorn_fails(self) -> None:
        """POT #748: at epsilon=.005 and n=1000 `sinkhorn_stabilized` returned a marginal error of 2."""
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(1000, 2)), rng.normal(size=(1000, 2))
        cost = cdist(x, y, "sqeuclidean")
        cost /= cost.max()
        result = sinkhorn_newton_sparse(cost, epsilon=0.005)
        assert result.converged
        assert true_error(result, cost, np.full(1000, 1e-3), np.full(1000, 1e-3), 0.005) < 1.05e-9

    def test_masses_that_agree_only_roughly_are_not_called_met(self, some: Case) -> None:
        cost, a, b = problem(12, 9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            result = some.numpy(some.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.01), cost, a, b * (1 + 5e-7)))
        assert not result.converged
        assert result.status is eq.Status.STALLED
        assert 4e-7 < float(result.error) < 1.1e-6

    def test_a_wild_problem_ends(self, some: Case) -> None:
        cost = np.array([[0.0, 1e9], [1e9, 0.0], [1.0, -1e9]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            result = some.numpy(some.call(lambda c: sinkhorn_newton_sparse(c, epsilon=1e-3, max_steps=60), cost))
        assert np.all(np.isfinite(result.f))
        assert np.all(np.isfinite(result.g))
        assert bool(result.converged) == (float(result.error) <= 1e-9)

    @pytest.mark.parametrize("offset", [-50.0, 1e6])
    def test_offsets(self, some: Case, offset: float) -> None:
        cost, a, b = problem(12, 9)
        tol = 1e-9 if offset < 1e3 else 1e-6
        result = some.numpy(
            some.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.02, tol=tol), cost + offset, a, b)
        )
        assert result.converged
        assert true_error(result, cost + offset, a, b, 0.02) < 1.05 * tol + 1e-15 * abs(offset) / 0.02 * 4

    def test_points_of_weight_zero(self, on: Case) -> None:
        cost, a, b = problem(8, 6)
        keep, a[3], b[[0, 5]] = np.delete(np.arange(8), 3), 0.0, 0.0
        a, b = a / a.sum(), b / b.sum()
        full = on.numpy(on.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.01, tol=1e-11), cost, a, b))
        part = sinkhorn_newton_sparse(cost[keep][:, 1:5].copy(), a[keep], b[1:5].copy(), epsilon=0.01, tol=1e-11)
        np.testing.assert_allclose(full.f[keep], part.f, rtol=0, atol=1e-10)
        assert abs(full.f[3] + 0.01 * np.log((b * np.exp((full.g - cost[3]) / 0.01)).sum())) < 1e-9
        assert abs(full.g[5] + 0.01 * np.log((a * np.exp((full.f - cost[:, 5]) / 0.01)).sum())) < 1e-9


class TestUnbalanced:
    @pytest.mark.parametrize("penalty", [0.5, (0.1, 2.0), (None, 0.3), (50.0, 50.0)])
    def test_sinkhorn_agrees(self, on: Case, penalty: Any) -> None:
        cost, a, b = problem(12, 9)
        if on.name == "jax-portable" or (on.name.startswith("jax") and penalty != (0.1, 2.0)):
            pytest.skip("compiled once")
        a = 1.7 * a if penalty != (None, 0.3) else a
        run = lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.01, marginal_penalty=penalty)  # noqa: E731
        result = on.numpy(on.call(run, cost, a, b))
        expected = sinkhorn(cost, a, b, epsilon=0.01, marginal_penalty=penalty, tol=1e-11, max_steps=100_000)
        assert result.converged, result
        np.testing.assert_allclose(result.f, expected.f, rtol=0, atol=1e-6)
        np.testing.assert_allclose(result.plan(), expected.plan(), rtol=0, atol=1e-8)

    def test_pot_agrees(self) -> None:
        cost, a, b = problem(12, 9)
        result = sinkhorn_newton_sparse(cost, 2.0 * a, b, epsilon=0.02, marginal_penalty=0.4)
        expected = ot.unbalanced.sinkhorn_unbalanced(
            2.0 * a, b, cost, 0.02, 0.4, reg_type="kl", stopThr=1e-14, numItermax=100_000
        )
        np.testing.assert_allclose(result.plan(), expected, rtol=0, atol=1e-9)


class TestBackendsAgree:
    @pytest.mark.parametrize("epsilon", [0.05, 0.003])
    def test_the_same_iterates(self, on: Case, epsilon: float) -> None:
        if on.name.startswith("jax") and epsilon > 0.01:
            pytest.skip("compiled once")
        cost, a, b = problem(12, 9)
        for steps in (5,) if on.jit else (1, 3, 5):
            run = lambda *x, k=steps: sinkhorn_newton_sparse(*x, epsilon=epsilon, tol=0.0, max_steps=k)  # noqa: E731
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", eq.ConvergenceWarning)
                here, there = on.numpy(on.call(run, cost, a, b)), run(cost, a, b)
            assert int(here.steps) == steps
            assert int(here.newton_steps) == int(there.newton_steps)
            assert int(here.cg_steps) == int(there.cg_steps)
            assert abs(float(here.density) - float(there.density)) < 1e-12
            np.testing.assert_allclose(here.f, there.f, rtol=0, atol=1e-10)
            np.testing.assert_allclose(here.g, there.g, rtol=0, atol=1e-10)

    @everywhere
    def test_same_type_and_dtype_out(self, on: Case) -> None:
        for dtype in ("float32",) if on.name in ("jax-jit", "jax-portable") else ("float64", "float32"):
            moved, *rest = map(on.array, problem(12, 9, dtype=dtype))
            result = on.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.1), moved, *rest)
            for x in (result.f, result.g, result.error, result.density, result.value, result.plan()):
                assert type(x) is type(moved) or on.name.startswith("numpy")
                assert x.dtype == moved.dtype
            for x in (result.newton_steps, result.sweeps, result.cg_steps):
                assert x.dtype == result.steps.dtype

    def test_inputs_are_not_written(self, some: Case) -> None:
        arrays = [some.array(x) for x in problem(12, 9)]
        some.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.01, init=(0.0 * x[1], 0.0 * x[2])), *arrays)
        for before, after in zip(problem(12, 9), arrays, strict=True):
            np.testing.assert_array_equal(before, some.numpy(after))

    def test_non_contiguous_cost(self) -> None:
        cost, a, b = problem(8, 6)
        expected = sinkhorn_newton_sparse(cost, a, b, epsilon=0.01).f
        turned = sinkhorn_newton_sparse(np.asfortranarray(cost), a, b, epsilon=0.01)
        np.testing.assert_allclose(turned.f, expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock"])
    def test_a_cloud_is_its_matrix(self, on: Case, metric: str) -> None:
        if on.name == "jax-portable" or (on.name.startswith("jax") and metric != "sqeuclidean"):
            pytest.skip("compiled once")
        rng = np.random.default_rng(3)
        x, y = rng.random((15, 2)), rng.random((12, 2))
        cost = PointCloud(x, y, metric=metric).dense()
        run = lambda x, y: sinkhorn_newton_sparse(PointCloud(x, y, metric=metric), epsilon=0.01, tol=1e-10)  # noqa: E731
        result = on.numpy(on.call(run, x, y))
        expected = sinkhorn_newton_sparse(cost, epsilon=0.01, tol=1e-10)
        assert result.converged
        np.testing.assert_allclose(result.plan(), expected.plan(), rtol=0, atol=1e-9)

    def test_in_a_context(self) -> None:
        cost, a, b = problem()
        expected = sinkhorn_newton_sparse(cost, a, b, epsilon=0.01)
        with eq.backend("torch"):
            result = sinkhorn_newton_sparse(cost, a, b, epsilon=0.01)
        assert isinstance(result, NewtonResult)
        np.testing.assert_allclose(result.f, expected.f, rtol=0, atol=1e-9)


class TestBatch:
    def test_equals_its_members(self, on: Case) -> None:
        cost, a, b = problem(batch=(2, 3))
        cost = cost * np.array([[1.0, 3.0, 10.0], [0.3, 50.0, 1.0]])[..., None, None]  # ladders of several lengths
        run = lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.02)  # noqa: E731
        batch = on.numpy(on.call(run, cost, a, b))
        assert batch.f.shape == (2, 3, 7)
        assert batch.steps.shape == batch.error.shape == batch.cg_steps.shape == (2, 3)
        assert np.all(batch.converged)
        assert len(np.unique(batch.steps)) > 2
        one = CASES[0] if on.jit else on  # shapes of members are not compiled again
        for k in np.ndindex(2, 3):
            alone = one.numpy(one.call(run, cost[k], a[k], b[k]))
            assert int(alone.steps) == batch.steps[k]
            assert int(alone.newton_steps) == batch.newton_steps[k]
            np.testing.assert_allclose(alone.f, batch.f[k], rtol=0, atol=1e-10)

    def test_leading_axes_broadcast(self, some: Case) -> None:
        cost, a, b = problem(batch=(3,))
        result = some.numpy(some.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.02), cost[0], a, b[0]))
        alone = sinkhorn_newton_sparse(cost[0], a[2], b[0], epsilon=0.02)
        np.testing.assert_allclose(alone.f, result.f[2], rtol=0, atol=1e-9)

    def test_vmap(self) -> None:
        cost, a, b = map(jax.numpy.array, problem(batch=(3,)))
        mapped = jax.jit(jax.vmap(lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.01)))(cost, a, b)
        batch = sinkhorn_newton_sparse(cost, a, b, epsilon=0.01)
        assert mapped.steps.tolist() == batch.steps.tolist()
        np.testing.assert_allclose(mapped.f, batch.f, rtol=0, atol=1e-10)


class TestGradients:
    def test_value_and_potentials(self) -> None:
        cost, a, b = problem(6, 5)
        weights = np.random.default_rng(5).random((6, 5))

        def on_jax(c: Any) -> Any:
            result = sinkhorn_newton_sparse(c, jax.numpy.array(a), jax.numpy.array(b), epsilon=0.05, tol=1e-12)
            return result.value + (weights * result.plan()).sum()

        c = torch.tensor(cost, requires_grad=True)
        result = sinkhorn_newton_sparse(c, torch.tensor(a), torch.tensor(b), epsilon=0.05, tol=1e-12)
        (result.value + (torch.tensor(weights) * result.plan()).sum()).backward()
        assert c.grad is not None
        step = 1e-5 * np.random.default_rng(6).standard_normal((6, 5))
        slope = float(on_jax(jax.numpy.array(cost + step)) - on_jax(jax.numpy.array(cost - step))) / 2
        for gradient in (jax.jit(jax.grad(on_jax))(jax.numpy.array(cost)), c.grad.numpy()):
            assert abs((np.asarray(gradient) * step).sum() - slope) < 1e-6 * abs(slope)


class TestHonesty:
    def test_not_converging_warns_and_says_so(self, on: Case) -> None:
        cost, a, b = problem(12, 9)
        run = lambda *x: sinkhorn_newton_sparse(*x, epsilon=1e-3, max_steps=3)  # noqa: E731
        if on.jit:
            result = on.call(run, cost, a, b)
        else:
            with pytest.warns(eq.ConvergenceWarning, match=r"sinkhorn_newton_sparse did not reach tol=1e-09: .* 3 st"):
                result = on.call(run, cost, a, b)
        assert result.converged is False
        assert result.status is eq.Status.MAX_STEPS
        assert abs(float(result.error) - true_error(on.numpy(result), cost, a, b, 1e-3)) < 1e-12

    def test_float32(self, some: Case) -> None:
        for epsilon in (0.05, 0.005):
            cost, a, b = problem(12, 9, dtype="float32")
            result = some.numpy(some.call(lambda *x, e=epsilon: sinkhorn_newton_sparse(*x, epsilon=e), cost, a, b))
            assert result.converged, result
            assert true_error(result, cost, a, b, epsilon) < 1.2e-5

    def test_float32_at_range_over_epsilon_of_1000(self) -> None:
        cost, a, b = hard_problem("plane", 300, "uniform")
        cost, a, b = (x.astype("float32") for x in (cost, a, b))
        result = sinkhorn_newton_sparse(cost, a, b, epsilon=float(np.ptp(cost)) / 1000)
        assert result.converged, result
        assert true_error(result, cost, a, b, float(np.ptp(cost)) / 1000) < 2e-5

    def test_beyond_rounding_it_stalls_and_says_so(self, some: Case) -> None:
        cost, a, b = problem(12, 9, dtype="float32")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            result = some.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.05, tol=1e-12), cost, a, b)
        assert result.status is eq.Status.STALLED
        assert float(result.error) < 1e-5
        assert int(result.steps) < 100

    def test_zero_tolerance_runs_all_steps(self) -> None:
        with pytest.warns(eq.ConvergenceWarning):
            assert int(sinkhorn_newton_sparse(problem(20, 20)[0], epsilon=0.01, tol=0.0, max_steps=60).steps) == 60


class TestOptions:
    def test_warm_start_from_the_solution_stops_at_once(self, some: Case) -> None:
        cost, a, b = problem(12, 9)
        first = some.numpy(some.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=0.01, tol=1e-11), cost, a, b))
        for keep in ((True, True), (False, True), (True, False)):
            again = some.call(
                lambda *x, keep=keep: sinkhorn_newton_sparse(
                    *x[:3], epsilon=0.01, init=tuple(v if k else None for v, k in zip(x[3:], keep, strict=True))
                ),
                *(cost, a, b, first.f, first.g),
            )
            assert int(again.steps) <= 1

    def test_a_bad_start_takes_the_ladder(self) -> None:
        cost, a, b = problem(60, 60)
        far = 50 * np.random.default_rng(0).standard_normal(60)
        result = sinkhorn_newton_sparse(cost, a, b, epsilon=1e-3, init=(None, far))
        assert result.converged
        assert int(result.steps) < 100

    def test_callback_history_and_progress(self) -> None:
        cost, a, b = problem(30, 30)
        seen: list[int] = []
        bar = io.StringIO()
        with eq.progress(file=bar):
            result = sinkhorn_newton_sparse(cost, a, b, epsilon=1e-3, callback=lambda i: seen.append(i.step))
        assert seen == list(range(int(result.steps) + 1)) == result.history.step.tolist()
        assert set(re.findall(r"[\w.]+(?=:  )", bar.getvalue())) == {"transport.sinkhorn_newton_sparse"}
        with eq.portable(), eq.progress(file=bar):
            sinkhorn_newton_sparse(cost, a, b, epsilon=1e-3)
        assert "iterate" not in bar.getvalue()
        with pytest.warns(eq.ConvergenceWarning, match="callback asked to stop"):
            stopped = sinkhorn_newton_sparse(cost, a, b, epsilon=1e-3, callback=lambda i: i.step == 2)
        assert stopped.status is eq.Status.STOPPED

    def test_an_interrupt_inside_a_step_is_heard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from equipoise.transport import semidual

        def interrupted(*args: Any) -> Any:
            raise KeyboardInterrupt

        cost, a, b = problem(30, 30)
        advance = semidual.stepwise(interrupted, semidual.cg_error)
        monkeypatch.setattr(semidual, "cg_advance", advance)
        with eq.portable(), pytest.warns(eq.ConvergenceWarning, match="interrupted from the keyboard"):
            result = sinkhorn_newton_sparse(cost, a, b, epsilon=1e-3)
        assert result.status is eq.Status.INTERRUPTED

    def test_a_coarse_threshold_gives_the_same_answer(self) -> None:
        cost, a, b = hard_problem("plane", 150, "uniform")
        expected = sinkhorn_newton_sparse(cost, a, b, epsilon=2e-3)
        for threshold in (1e-2, 1e-8):
            result = sinkhorn_newton_sparse(cost, a, b, epsilon=2e-3, threshold=threshold)
            assert result.converged, result
            np.testing.assert_allclose(result.plan(), expected.plan(), rtol=0, atol=1e-8)

    def test_repr(self) -> None:
        text = repr(sinkhorn_newton_sparse(problem()[0], epsilon=0.1))
        assert text.startswith("NewtonResult(cost (7, 5), epsilon 0.1, f (7,), g (5,), newton_steps ")
        assert "newton_steps" in text

    @pytest.mark.parametrize(
        ("options", "kind", "sentence"),
        [
            ({"threshold": 0.0}, ValueError, "threshold must be a number in (0, 1), got 0.0"),
            ({"threshold": 1.5}, ValueError, "threshold must be a number in (0, 1), got 1.5"),
            ({"threshold": float("nan")}, ValueError, "threshold must be a number in (0, 1), got nan"),
            ({"threshold": "small"}, TypeError, "threshold must be a number in (0, 1), got str"),
            ({"epsilon": 0.0}, ValueError, "epsilon must be positive and finite, got 0.0"),
            ({"tol": -1.0}, ValueError, "tol must be at least 0, got -1.0"),
            ({"max_steps": 0}, ValueError, "max_steps must be at least 1, got 0"),
            ({"init": (np.ones(9), None)}, ValueError, "init's f must have shape (7,), got (9,)"),
            ({"marginal_penalty": -1.0}, ValueError, "marginal_penalty must be positive, got -1.0"),
        ],
    )
    def test_bad_options(self, options: dict[str, Any], kind: type[Exception], sentence: str) -> None:
        with pytest.raises(kind, match=re.escape(sentence)):
            sinkhorn_newton_sparse(problem()[0], **{"epsilon": 0.1, **options})

    def test_bad_arrays(self) -> None:
        for bad, kind, sentence in (
            ([[0.0]], TypeError, "cost must be an array"),
            (np.array([[1.0, np.nan]]), ValueError, "cost must be finite, got nan at index (0, 1)"),
        ):
            with pytest.raises(kind, match=re.escape(sentence)):
                sinkhorn_newton_sparse(bad, epsilon=0.1)
        with pytest.raises(ValueError, match="a and b must have the same total"):
            sinkhorn_newton_sparse(np.ones((3, 4)), np.ones(3), np.ones(4), epsilon=0.1)


@st.composite
def problems(draw: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    n, m, seed = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    cost = rng.random((n, m)) + draw(st.sampled_from([0.0, -3.0, 40.0, 1e6]))
    if draw(st.booleans()):
        cost = np.round(cost, 1)  # ties
    cost = cost * draw(st.sampled_from([1.0, 1e-3, 100.0]))
    power = draw(st.sampled_from([1, 6]))
    a, b = rng.random(n) ** power + 1e-9, rng.random(m) ** power + 1e-9
    if n > 1 and draw(st.booleans()):
        a[rng.integers(n)] = 0.0
    if m > 1 and draw(st.booleans()):
        b[rng.integers(m)] = 0.0
    spread = float(np.ptp(cost)) or 1.0
    return cost, a / a.sum(), b / b.sum(), spread * draw(st.sampled_from([10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4]))


@pytest.mark.parametrize("case", NUMPY, ids=lambda c: c.name)
@given(p=problems())
def test_never_a_wrong_true(case: Case, p: Any) -> None:
    cost, a, b, epsilon = p
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        result = case.call(lambda *x: sinkhorn_newton_sparse(*x, epsilon=epsilon), cost, a, b)
    rounding = 1e-15 * abs(cost).max() / epsilon * 4
    assert np.all(np.isfinite(result.f))
    assert np.all(np.isfinite(result.g))
    assert abs(true_error(result, cost, a, b, epsilon) - float(result.error)) <= 1e-12 + rounding
    assert result.converged == bool(result.error <= 1e-9)
    if rounding < 1e-11:
        assert result.converged, result


def test_the_kernels_form_nothing_of_the_size_of_the_cost() -> None:
    cost, a, b = hard_problem("plane", 800, "uniform")
    for source in (
        cost,
        PointCloud(np.random.default_rng(0).random((800, 2)), np.random.default_rng(1).random((800, 2))),
    ):
        sinkhorn_newton_sparse(source, a, b, epsilon=2e-4)  # compiled by now
        tracemalloc.start()
        result = sinkhorn_newton_sparse(source, a, b, epsilon=2e-4)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert result.converged
        assert peak < cost.nbytes / 4, f"{peak} bytes beside a cost of {cost.nbytes}"


# ---------------------------------------------------------------------------------------------------------------------
# Samples for tests/test_kernel.py


def newton_look(rng: np.random.Generator, dtype: str) -> Any:
    for batch in ((), (2, 3)):
        cost, a, b = (x.astype(dtype) for x in problem(13, 9, 1, batch))
        a[..., 2], b[..., 4] = 0, 0
        scale = np.asarray(4.0 ** rng.integers(0, 3, size=batch), dtype)
        f, g = rng.random(a.shape).astype(dtype), rng.random(b.shape).astype(dtype)
        for rho in ((None, None), (0.7, 0.2), (None, 0.3)):
            yield (cost, a, b, 0.05, scale, *rho, f, g), {}
        yield (cost, a, b, 0.05, scale, None, None, 300 * f, 50 * g), {}


def newton_direction(rng: np.random.Generator, dtype: str) -> Any:
    for batch in ((), (2, 3)):
        cost, a, b = (x.astype(dtype) for x in problem(13, 9, 1, batch))
        a[..., 2], b[..., 4] = 0, 0
        scale = np.asarray(4.0 ** rng.integers(0, 3, size=batch), dtype)
        f, g = 0.1 * rng.random(a.shape).astype(dtype), 0.1 * rng.random(b.shape).astype(dtype)
        rhs = rng.standard_normal(b.shape).astype(dtype) * (b > 0)
        theta, goal = np.full(batch, 1e-3, dtype), np.full(batch, 0.05 if dtype == "float64" else 0.5, dtype)
        if batch:
            goal[0, 1] = np.inf
        soft_f = (
            -0.05
            * scale[..., None]
            * np.log((b[..., None, :] * np.exp((g[..., None, :] - cost) / (0.05 * scale[..., None, None]))).sum(-1))
        )
        yield (cost, 0.05, scale, (soft_f + 0 * f).astype(dtype), g, b, a, 2 * b, rhs, theta, goal), {"max_steps": 50}
