from __future__ import annotations

import re
import warnings
from typing import Any

import jax
import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import equipoise as eq
from equipoise.kernel import kernels
from equipoise.transport import BarycenterResult, barycenter
from equipoise.transport.barycenter_steps import Problem, State

from ..backends import CASES, Case, everywhere

KERNELS = ("barycenter_sweeps", "barycenter_start")
NUMPY = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
FEW = [case for case in CASES if case.name in ("numpy", "torch", "torch-portable", "strict")]
UNEQUAL = np.array([0.5, 0.3, 0.2])


@pytest.fixture(params=FEW, ids=lambda case: case.name)
def few(request: pytest.FixtureRequest) -> Case:
    """Backends without compilation, for tests of many solves: the iterates are the same everywhere."""
    case: Case = request.param
    return case


def random_problem(
    k: int = 3, n: int = 7, p: int = 5, seed: int = 0, batch: tuple[int, ...] = (), dtype: str = "float64"
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    a, w = rng.random((*batch, k, n)) + 0.1, rng.random((*batch, k)) + 0.1
    cost = rng.random((*batch, n, p))
    a, w = a / a.sum(-1, keepdims=True), w / w.sum(-1, keepdims=True)
    return a.astype(dtype), cost.astype(dtype), w.astype(dtype)


def line(n: int = 30, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """Three boxes, zero elsewhere, on a line of squared distances."""
    x = np.linspace(0, 1, n)
    a = np.array([np.where(abs(x - c) < r, 1.0, 0.0) for c, r in ((0.2, 0.1), (0.5, 0.2), (0.8, 0.07))])
    return (a / a.sum(1, keepdims=True)).astype(dtype), ((x[:, None] - x) ** 2).astype(dtype)


def run(a: Any, cost: Any, w: Any = None, **options: Any) -> BarycenterResult[Any]:
    return barycenter(a, cost, weights=w, **options)


def true_error(r: Any, a: np.ndarray, cost: np.ndarray, w: np.ndarray, epsilon: float, debiased: bool) -> Any:
    """The error in float64 from what is returned alone, the sums of the rows and sum_k w_k g_k = 0 with it."""
    f, g, p, a, cost, w = (np.asarray(x, dtype=np.float64) for x in (r.f, r.g, r.histogram, a, cost, w))
    plans = a[..., :, None] * np.exp((f[..., :, None] + g[..., None, :] - cost[..., None, :, :]) / epsilon)
    lacking = abs(plans.sum(-1) - a).sum(-1) + abs(plans.sum(-2) - p[..., None, :]).sum(-1)
    total = (w * lacking).sum(-1)
    h = (w[..., None] * g).sum(-2)
    if not debiased:
        return total + (p * abs(np.expm1(h / epsilon))).sum(-1)
    return total + abs(np.exp((h[..., :, None] + h[..., None, :] - cost) / epsilon).sum(-1) - p).sum(-1)


def transport(a: np.ndarray, p: np.ndarray, cost: np.ndarray, epsilon: float) -> float:
    """min <P, C> + epsilon sum P (log P - 1), by a solver that shares nothing with the barycenter's."""
    plan = ot.bregman.sinkhorn_log(a, p, cost, epsilon, stopThr=1e-14, numItermax=20_000)
    entropy = np.where(plan > 0, plan * (np.log(np.where(plan > 0, plan, 1)) - 1), 0)
    return float((plan * cost).sum() + epsilon * entropy.sum())


def objective(
    p: np.ndarray, a: np.ndarray, cost: np.ndarray, w: np.ndarray, epsilon: float, debiased: bool = False
) -> float:
    total = sum(wk * transport(ak, p, cost, epsilon) for wk, ak in zip(w, a, strict=True))
    return total - transport(p, p, cost, epsilon) / 2 if debiased else total


class TestKnownAnswers:
    @pytest.mark.parametrize("epsilon", [0.05, 0.005])
    def test_the_point_of_pot_in_logarithms(self, few: Case, epsilon: float) -> None:
        a, cost = line()
        w = UNEQUAL
        got = few.numpy(few.call(lambda *x: run(*x, epsilon=epsilon, tol=1e-11), a, cost, w))
        expected = ot.bregman.barycenter(a.T, cost, epsilon, w, "sinkhorn_log", 2000, 1e-14, warn=False)
        assert got.converged
        assert abs(got.histogram - expected).sum() < 1e-10
        # POT's other method starts from an unweighted mean and ends at a point of a higher objective
        other = ot.bregman.barycenter(a.T, cost, epsilon, w, "sinkhorn", 2000, 1e-14, warn=False)
        assert abs(other - expected).sum() > 0.01

    def test_pots_other_point_is_worse(self) -> None:
        a, cost, w = random_problem(n=6, p=6)
        got = run(a, cost, w, epsilon=0.1, tol=1e-12).histogram
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = ot.bregman.barycenter(a.T, cost, 0.1, w, "sinkhorn", 2000, 1e-14, warn=False)
            assert objective(got, a, cost, w, 0.1) < objective(other / other.sum(), a, cost, w, 0.1) - 1e-6

    def test_two_points_in_the_middle(self, few: Case) -> None:
        x = np.arange(5.0)
        cost, ends = (x[:, None] - x) ** 2, np.eye(5)[[0, 4]]
        blurred = few.numpy(few.call(lambda *z: run(*z, epsilon=0.5, tol=1e-12), ends, cost)).histogram
        # one input point each: g_k = C_k + const, so p_j ~ exp(-mean_k C_kj / epsilon)
        expected = np.exp(-cost[[0, 4]].mean(0) / 0.5)
        np.testing.assert_allclose(blurred, expected / expected.sum(), rtol=0, atol=1e-12)
        sharp = few.numpy(few.call(lambda *z: run(*z, epsilon=0.5, debiased=True), ends, cost)).histogram
        np.testing.assert_allclose(sharp, np.eye(5)[2], rtol=0, atol=1e-5)

    def test_one_support_point(self, few: Case) -> None:
        got = few.call(lambda *x: run(*x, epsilon=0.1), np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([[3.0], [-1.0]]))
        assert got.converged
        np.testing.assert_allclose(few.numpy(got.histogram), [1.0], atol=1e-12)


class TestOptimality:
    @pytest.mark.parametrize("debiased", [False, True])
    def test_no_direction_goes_down(self, debiased: bool) -> None:
        rng = np.random.default_rng(1)
        a, _, w = random_problem(n=6)
        a = 0.3 * a + 0.7 / 6
        x = np.linspace(0, 1, 6)
        cost, epsilon = (x[:, None] - x) ** 2, 0.05
        p = run(a, cost, w, epsilon=epsilon, tol=1e-12, max_steps=20_000, debiased=debiased).histogram
        assert p.min() > 1e-3  # an inner point, where the derivative has to vanish
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            least = objective(p, a, cost, w, epsilon, debiased)
            for _ in range(4):
                d = rng.standard_normal(6)
                d *= 1e-3 / abs(d - d.mean()).sum()
                d -= d.mean()
                up, down = (objective(p + s * d, a, cost, w, epsilon, debiased) for s in (1, -1))
                assert abs(up - down) < 2e-8
                assert min(up, down) > least

    def test_the_point_of_a_generic_minimiser(self) -> None:
        a, cost, w = random_problem(n=4, p=3)
        p = run(a, cost, w, epsilon=0.2, tol=1e-12).histogram

        def of_logits(z: np.ndarray) -> float:
            q = np.exp(np.append(z, 0.0))
            return objective(q / q.sum(), a, cost, w, 0.2)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = minimize(of_logits, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-14})
        q = np.exp(np.append(found.x, 0.0))
        np.testing.assert_allclose(q / q.sum(), p, atol=1e-6)


class TestDebiased:
    def test_equal_inputs_come_back(self, on: Case) -> None:
        a, cost = line()
        epsilon = 0.05
        rng = np.random.default_rng(0)
        for one in (a[0], rng.random(30) + 0.01):
            one = one / one.sum()
            call = lambda *x: run(*x, epsilon=epsilon, debiased=True)  # noqa: E731
            got = on.numpy(on.call(call, np.stack([one] * 3), cost, UNEQUAL))
            assert got.converged
            assert abs(got.histogram - one).sum() < 1e-6

    def test_equal_inputs_come_back_from_another_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The fixed point is right, not only the start: at an epsilon that blurs little it is found from anywhere."""
        rng = np.random.default_rng(0)
        one = rng.random(12) + 0.1
        one /= one.sum()
        x = np.linspace(0, 1, 12)
        cost = (x[:, None] - x) ** 2
        uniform = np.full(12, 1 / 12)
        real = kernels()["transport.barycenter_start"].body
        monkeypatch.setitem(barycenter.__wrapped__.__globals__, "barycenter_start", lambda p, m: real(p, uniform))
        got = run(np.stack([one, one]), cost, epsilon=0.005, debiased=True, tol=1e-10)
        assert got.steps > 10
        assert abs(got.histogram - one).sum() < 1e-8

    def test_the_point_of_pot(self) -> None:
        """POT's test sees its plans agree and not that d has settled: only without it does POT get here."""
        x = np.linspace(0, 1, 16)
        cost = (x[:, None] - x) ** 2
        a = np.array([np.exp(-((x - c) ** 2) / 0.02) + 0.02 for c in (0.3, 0.5, 0.6)])
        a /= a.sum(1, keepdims=True)
        got = run(a, cost, UNEQUAL, epsilon=0.003, debiased=True, tol=1e-11)
        options = {"weights": UNEQUAL, "method": "sinkhorn_log", "warn": False, "numItermax": 2000}
        expected = ot.bregman.barycenter_debiased(a.T, cost, 0.003, stopThr=0.0, **options)
        assert got.converged
        assert abs(got.histogram - expected).sum() < 1e-8
        same = np.stack([a[0]] * 3)
        early = ot.bregman.barycenter_debiased(same.T, cost, 0.003, stopThr=1e-10, **options)
        assert abs(early - a[0]).sum() > 1e-5

    def test_sharper_than_blurred(self) -> None:
        a, cost = line()
        blurred, sharp = (run(a, cost, epsilon=0.02, debiased=d).histogram for d in (False, True))
        assert (sharp**2).sum() > 1.5 * (blurred**2).sum()
        assert abs(sharp.sum() - 1) < 1e-6

    def test_a_cost_that_is_not_symmetric(self) -> None:
        a, cost, w = random_problem(p=7)
        with pytest.raises(ValueError, match=r"needs a symmetric cost, got .* at index \(0, 1\) and .* at \(1, 0\)"):
            run(a, cost, w, epsilon=0.1, debiased=True)
        with pytest.raises(ValueError, match=r"so a square cost; got shape \(7, 5\)"):
            run(a, cost[:, :5], w, epsilon=0.1, debiased=True)


class TestBackendsAgree:
    @pytest.mark.parametrize("debiased", [False, True])
    @pytest.mark.parametrize("epsilon", [0.05, 0.001])
    def test_the_same_iterates(self, on: Case, epsilon: float, debiased: bool) -> None:
        a, cost = line()
        call = lambda *x: run(*x, epsilon=epsilon, tol=0.0, max_steps=15, debiased=debiased)  # noqa: E731
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            here, there = on.numpy(on.call(call, a, cost, UNEQUAL)), call(a, cost, UNEQUAL)
        assert int(here.steps) == 15
        for name in ("histogram", "f", "g", "error"):
            np.testing.assert_allclose(getattr(here, name), getattr(there, name), rtol=0, atol=1e-12)

    @everywhere
    def test_same_type_and_dtype_out(self, on: Case) -> None:
        for dtype, debiased in (("float64", False), ("float32", True)):
            a, cost = line(dtype=dtype)
            moved = on.array(cost)
            result = on.call(lambda *x, d=debiased: run(*x, epsilon=0.01, tol=1e-3, debiased=d), on.array(a), moved)
            assert result.converged
            for x in (result.histogram, result.f, result.g, result.error):
                assert type(x) is type(moved) or on.name.startswith("numpy")
                assert x.dtype == moved.dtype
                assert getattr(x, "device", None) == getattr(moved, "device", None)

    def test_inputs_are_not_written(self, few: Case) -> None:
        arrays = [few.array(x) for x in random_problem()]
        few.call(lambda *x: run(*x, epsilon=0.1), *arrays)
        for before, after in zip(random_problem(), arrays, strict=True):
            np.testing.assert_array_equal(before, few.numpy(after))


def sample(rng: np.random.Generator, dtype: str) -> Any:
    """For tests/test_kernel.py: the shared kernel, sums that fail in it, and logarithms; near and far potentials."""
    for batch, limit, debiased, epsilon in (
        ((), 5, False, 0.05),
        ((), 0, False, 0.05),
        ((2, 2), 3, True, 0.05),
        ((), 4, True, 2e-4),
        ((2,), 4, False, 2e-4),
    ):
        a, cost, w = random_problem(n=13, p=13, seed=int(rng.integers(99)), batch=batch, dtype=dtype)
        cost = (cost + np.swapaxes(cost, -1, -2)) / 2
        a[..., 0, 2] = 0
        p = Problem(a, cost, w, epsilon, debiased)
        zero, scalar = 0 * cost[..., 0, :], np.zeros(batch, dtype)
        for scale in (0, 300 * epsilon):
            g = (scale * rng.standard_normal((*batch, 3, 13))).astype(dtype)
            g = g - (w[..., None] * g).sum(-2, keepdims=True)
            yield (State(0 * a, g, zero, zero, np.ones(batch, dtype), g, zero, zero, scalar), p, limit, 0.0), {}


def sample_start(rng: np.random.Generator, dtype: str) -> Any:
    """For tests/test_kernel.py."""
    for (args, _), _ in zip(((s[0][1:2], s[1]) for s in sample(rng, dtype)), range(10), strict=False):
        mass = (args[0].weights[..., None] * args[0].histograms).sum(-2)
        yield (args[0], mass + (1e-8 * mass.mean(-1, keepdims=True)).astype(dtype)), {}


class TestBatch:
    def test_equals_its_members(self, on: Case) -> None:
        self.check_members(on, debiased=True)

    def test_equals_its_members_when_blurred(self, few: Case) -> None:
        self.check_members(few, debiased=False)

    def check_members(self, on: Case, debiased: bool) -> None:
        a, cost, w = random_problem(batch=(2, 2), p=7)
        cost = (cost + np.swapaxes(cost, -1, -2)) / 2
        call = lambda *x: run(*x, epsilon=0.2, tol=1e-5, debiased=debiased)  # noqa: E731
        batch = on.numpy(on.call(call, a, cost, w))
        assert batch.histogram.shape == (2, 2, 7)
        assert batch.g.shape == (2, 2, 3, 7)
        assert batch.steps.shape == batch.error.shape == (2, 2)
        assert np.all(batch.converged)
        one = CASES[0] if on.jit else on  # shapes of members are not compiled again
        for k in np.ndindex(2, 2):
            alone = one.numpy(one.call(call, a[k], cost[k], w[k]))
            assert int(alone.steps) == batch.steps[k]
            np.testing.assert_allclose(alone.histogram, batch.histogram[k], rtol=0, atol=1e-12)

    def test_leading_axes_broadcast(self, few: Case) -> None:
        a, cost, w = random_problem(batch=(4,))
        result = few.numpy(few.call(lambda *x: run(*x, epsilon=0.1), a[0], cost[0], w))
        assert result.histogram.shape == (4, 5)
        alone = run(a[0], cost[0], w[2], epsilon=0.1)
        np.testing.assert_allclose(alone.histogram, result.histogram[2], rtol=0, atol=1e-12)

    def test_vmap_and_jit(self) -> None:
        arrays = tuple(map(jax.numpy.array, random_problem(batch=(3,))))
        call = lambda *x: run(*x, epsilon=0.05)  # noqa: E731
        batch = call(*arrays)
        for mapped in (jax.vmap(call)(*arrays), jax.jit(jax.vmap(call))(*arrays)):
            assert mapped.steps.tolist() == batch.steps.tolist()
            np.testing.assert_allclose(mapped.histogram, batch.histogram, rtol=0, atol=1e-12)

    def test_one_failure_does_not_hide(self) -> None:
        a, cost = line()
        with pytest.warns(eq.ConvergenceWarning, match="for 1 of 2 problems"):
            result = run(np.stack([a, a[[0, 0, 0]]]), np.stack([cost, 0 * cost]), epsilon=1e-3, max_steps=3)
        assert result.converged.tolist() == [False, True]


class TestHonesty:
    @pytest.mark.parametrize("debiased", [False, True])
    @pytest.mark.parametrize(("epsilon", "offset"), [(0.05, 0.0), (1e-3, 0.0), (0.05, -50.0), (1e-3, 1e6)])
    def test_the_error_is_the_true_one(self, few: Case, epsilon: float, offset: float, debiased: bool) -> None:
        a, cost = line(14)
        cost = cost + offset
        tol = 2e-6
        call = lambda *x: run(*x, epsilon=epsilon, tol=tol, debiased=debiased)  # noqa: E731
        with warnings.catch_warnings():  # at an offset of 1e6 rounding may end it: then it must say so
            warnings.simplefilter("ignore" if offset == 1e6 else "error", eq.ConvergenceWarning)
            result = few.numpy(few.call(call, a, cost, UNEQUAL))
        assert np.all(np.isfinite(result.histogram))
        assert np.all(np.isfinite(result.g))
        assert bool(result.converged) == (float(result.error) <= tol)
        rounding = 4e-15 * abs(offset) / epsilon
        assert abs(float(result.error) - true_error(result, a, cost, UNEQUAL, epsilon, debiased)) < 1e-11 + rounding
        assert result.converged or offset == 1e6
        assert float(result.error) < 1e-5

    def test_not_converging_warns_and_says_so(self, on: Case) -> None:
        a, cost = line()
        call = lambda *x: run(*x, epsilon=1e-3, max_steps=3)  # noqa: E731
        if on.jit:
            result = on.call(call, a, cost)
        else:
            with pytest.warns(eq.ConvergenceWarning, match=r"transport.barycenter did not reach tol=1e-06: .* 3 steps"):
                result = on.call(call, a, cost)
        assert result.converged is False
        assert result.status is eq.Status.MAX_STEPS

    def test_float32(self, few: Case) -> None:
        a, cost = line(dtype="float32")
        for debiased in (False, True):
            call = lambda *x, d=debiased: run(*x, epsilon=0.005, debiased=d)  # noqa: E731
            result = few.numpy(few.call(call, a, cost))
            assert result.converged
            assert true_error(result, a, cost, np.full(3, 1 / 3), 0.005, debiased) < 2e-4

    def test_float32_beyond_rounding_stalls(self, few: Case) -> None:
        a, cost = line(dtype="float32")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            result = few.call(lambda *x: run(*x, epsilon=0.05, tol=1e-12), a, cost)
        assert result.status is eq.Status.STALLED
        assert int(result.steps) < 1000


class TestOptions:
    def test_zero_weight_is_absence(self, few: Case) -> None:
        a, cost, _ = random_problem()
        w = np.array([0.6, 0.0, 0.4])
        for debiased, c in ((False, cost), (True, line(7)[1])):
            call = lambda *x, d=debiased: run(*x, epsilon=0.2, tol=1e-5, debiased=d)  # noqa: E731
            with_it = few.numpy(few.call(call, a, c, w)).histogram
            without = few.numpy(few.call(call, a[[0, 2]], c, w[[0, 2]])).histogram
            np.testing.assert_allclose(with_it, without, rtol=0, atol=1e-12)

    def test_totals_need_not_be_one(self) -> None:
        a, cost, w = random_problem()
        one, seven = run(a, cost, w, epsilon=0.1, tol=1e-10), run(7 * a, cost, w, epsilon=0.1, tol=7e-10)
        np.testing.assert_allclose(seven.histogram, 7 * one.histogram, atol=1e-8)

    def test_callback_and_history(self) -> None:
        a, cost = line()
        seen: list[int] = []
        with pytest.warns(eq.ConvergenceWarning, match="callback asked to stop"):
            result = run(a, cost, epsilon=1e-3, callback=lambda i: seen.append(i.step) or i.step == 4)
        assert seen == [0, 1, 2, 3, 4]
        history = run(a, cost, epsilon=1e-3, check_every=1).history
        assert history is not None
        assert abs(history.error[4] - result.error) < 1e-14

    def test_saved_and_loaded(self, tmp_path: Any) -> None:
        result = run(*random_problem(), epsilon=0.1)
        eq.save(tmp_path / "x.npz", result)
        np.testing.assert_array_equal(eq.load(tmp_path / "x.npz").histogram, result.histogram)


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


def directions(rng: np.random.Generator, a: np.ndarray, cost: np.ndarray, debiased: bool) -> tuple[Any, ...]:
    """Changes that keep totals and the zeros of `a`, and the symmetry that the debiased form asks for."""
    da = rng.standard_normal(a.shape) * (a > 0)
    da -= (a > 0) * da.sum(-1, keepdims=True) / (a > 0).sum(-1, keepdims=True)
    dc = rng.standard_normal(cost.shape)
    return 0.1 * da, 0.1 * (dc + dc.T if debiased else dc), np.array([0.1, -0.3, 0.2]), 0.1


@pytest.mark.parametrize(
    ("debiased", "zeros", "epsilon"), [(False, True, 0.1), (False, False, 0.03), (True, True, 0.05)]
)
def test_gradients_are_central_differences(debiased: bool, zeros: bool, epsilon: float) -> None:
    rng = np.random.default_rng(3)
    a, cost, _ = random_problem(n=6, p=5)
    if debiased:
        x = np.sort(rng.random(6))
        cost = (x[:, None] - x) ** 2
    if zeros:
        a[0, 1] = a[1, 0] = a[1, 3] = 0.0
        a /= a.sum(-1, keepdims=True)
    q = rng.standard_normal(cost.shape[1])
    at: tuple[Any, ...] = (a, cost, UNEQUAL, epsilon)
    along = (*directions(rng, a, cost, debiased)[:3], 0.1 * epsilon)

    def value(*z: Any, xp: Any = np) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eq.ConvergenceWarning)
            kept = {"weights": z[2], "epsilon": z[3], "tol": 1e-13, "max_steps": 20_000, "debiased": debiased}
            return xp.asarray(q) @ barycenter(z[0], z[1], **kept).histogram

    expected = []
    for i, d in enumerate(along):
        step = 1e-5
        ahead = [value(*at[:i], at[i] + s * step * d, *at[i + 1 :]) for s in (1, -1, 2, -2)]
        expected.append((8 * (ahead[0] - ahead[1]) - (ahead[2] - ahead[3])) / (12 * step))

    tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in at]
    value(*tensors, xp=torch).backward()
    slopes: list[list[Any]] = [[t.grad.numpy() for t in tensors]]
    gradient = jax.grad(lambda *z: value(*z, xp=jax.numpy), argnums=(0, 1, 2, 3))
    slopes.append(jax.jit(gradient)(*map(jax.numpy.asarray, at)))
    if zeros:
        slopes.append(gradient(*map(jax.numpy.asarray, at)))
    for found in slopes:
        got = [float((np.asarray(s) * d).sum()) for s, d in zip(found, along, strict=True)]
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


def test_gradients_of_a_batch_are_those_of_its_members() -> None:
    arrays = random_problem(batch=(2,))

    def value(a: Any, cost: Any, w: Any) -> Any:
        return (barycenter(a, cost, weights=w, epsilon=0.1, tol=1e-12).histogram ** 2).sum()

    def by_torch(*members: np.ndarray) -> list[np.ndarray]:
        tensors = [torch.tensor(x, requires_grad=True) for x in members]
        value(*tensors).backward()
        return [t.grad.numpy() for t in tensors]

    batch = by_torch(*arrays)
    mapped = jax.jit(jax.vmap(jax.grad(value, argnums=(0, 1, 2))))(*map(jax.numpy.array, arrays))
    for i, (one, other) in enumerate(zip(batch, mapped, strict=True)):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
        for k in range(2):
            np.testing.assert_allclose(one[k], by_torch(*(x[k] for x in arrays))[i], rtol=0, atol=1e-10)


def test_a_gradient_where_mass_is_zero() -> None:
    """Far from all mass p underflows; nothing may be divided by it."""
    x = np.linspace(0, 1, 20)
    a = np.zeros((2, 20))
    a[0, :4], a[1, 3:8] = 0.25, 0.2
    arrays = [torch.tensor(z, requires_grad=True) for z in (a, (x[:, None] - x) ** 2)]
    for debiased in (False, True):
        result = barycenter(*arrays, epsilon=2e-4, debiased=debiased)
        assert float(result.histogram.detach().min()) < 1e-100
        (result.histogram * torch.arange(20.0, dtype=torch.float64)).sum().backward()
        for z in arrays:
            assert z.grad is not None
            assert bool(torch.all(torch.isfinite(z.grad)))
            assert float(abs(z.grad).max()) < 1e6


@st.composite
def problems(draw: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    k, n, p = draw(st.integers(1, 5)), draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cost = rng.random((n, p)) + draw(st.sampled_from([0.0, -3.0, 40.0]))
    if draw(st.booleans()):
        cost = np.round(cost, 1)  # ties
    a, w = rng.random((k, n)) ** 3 + 1e-3, rng.random(k)
    if n > 1 and draw(st.booleans()):
        a[rng.integers(k), rng.integers(n)] = 0.0
    spread = float(np.ptp(cost)) or 1.0
    return a / a.sum(-1, keepdims=True), cost, w / w.sum(), spread * draw(st.sampled_from([1.0, 0.2, 0.05]))


@pytest.mark.parametrize("case", NUMPY, ids=lambda c: c.name)
class TestProperties:
    @settings(max_examples=25)
    @given(z=problems())
    def test_converged_is_true(self, case: Case, z: Any) -> None:
        a, cost, w, epsilon = z
        result = case.call(lambda *x: run(*x, epsilon=epsilon, tol=1e-8, max_steps=50_000), a, cost, w)
        assert result.converged
        assert true_error(result, a, cost, w, epsilon, False) <= 1.05e-8 + 1e-12

    @settings(max_examples=15)
    @given(z=problems(), shift=st.floats(-5, 5), scale=st.floats(0.1, 10))
    def test_equivariance(self, case: Case, z: Any, shift: float, scale: float) -> None:
        a, cost, w, epsilon = z

        def at(x: np.ndarray, c: np.ndarray, e: float) -> Any:
            return case.call(lambda *y: run(*y, epsilon=e, tol=1e-10, max_steps=50_000), x, c, w).histogram

        base = at(a, cost, epsilon)
        rows = shift * np.linspace(-1, 1, len(cost))[:, None]
        np.testing.assert_allclose(at(a, cost + rows, epsilon), base, atol=1e-6)
        np.testing.assert_allclose(at(a, scale * cost, scale * epsilon), base, atol=1e-6)
        order = np.random.default_rng(0).permutation(cost.shape[1])
        np.testing.assert_allclose(at(a, cost[:, order], epsilon), base[order], atol=1e-6)


class TestBadInput:
    a, cost = np.full((2, 3), 1 / 3), np.ones((3, 4))

    @pytest.mark.parametrize(
        ("arguments", "options", "kind", "sentence"),
        [
            ((None, cost), {}, TypeError, "histograms must be an array, got NoneType"),
            ((a, [[1.0]]), {}, TypeError, "cost must be an array"),
            ((a, eq.transport.PointCloud(np.ones((3, 2)))), {}, TypeError, "got a PointCloud; pass cost.dense()"),
            ((a[0], cost), {}, ValueError, "histograms must have shape (..., k, 3), got (3,)"),
            ((np.ones((2, 5)), cost), {}, ValueError, "histograms must have shape (..., 3) to fit cost"),
            ((a.astype("float32"), cost), {}, TypeError, "histograms must have the dtype of cost, float64"),
            ((-a, cost), {}, ValueError, "histograms must not be negative"),
            (
                (np.eye(3)[:2] * [[1], [0]], cost),
                {},
                ValueError,
                "histograms must have a positive total, got only zeros",
            ),
            (
                (np.eye(3) * [[1], [1], [2]], cost),
                {},
                ValueError,
                "the same total, got 1 in row 0 and 2 in row 2; rescale them",
            ),
            ((a, cost), {"weights": [0.5, 0.5]}, TypeError, "weights must be an array or None, got list"),
            ((a, cost), {"weights": np.ones(2, "float32")}, TypeError, "weights must have the dtype of histograms"),
            ((a, cost), {"weights": np.ones(3) / 3}, ValueError, "weights must have shape (..., 2)"),
            ((a, cost), {"weights": np.array([1.5, -0.5])}, ValueError, "weights must not be negative, got -0.5"),
            ((a, cost), {"weights": np.array([np.nan, 0.5])}, ValueError, "weights must not be negative, got nan"),
            ((a, cost), {"weights": np.ones(2)}, ValueError, "weights must sum to 1, got 2; divide them by their sum"),
            ((a, cost), {"epsilon": 0.0}, ValueError, "epsilon must be positive and finite"),
            ((a, cost), {"tol": -1.0}, ValueError, "tol must be at least 0"),
            ((a, cost), {"max_steps": 0}, ValueError, "max_steps must be at least 1"),
            (
                (np.stack([a] * 2), np.stack([cost] * 3)),
                {},
                ValueError,
                "the leading axes of histograms (2, 2, 3), cost",
            ),
            ((a, torch.ones(3, 4, dtype=torch.float64)), {}, TypeError, "two libraries"),
        ],
    )
    def test_it_says_what(self, arguments: Any, options: Any, kind: type[Exception], sentence: str) -> None:
        with pytest.raises(kind, match=re.escape(sentence)):
            barycenter(*arguments, **{"epsilon": 0.1, **options})

    def test_everywhere(self, on: Case) -> None:
        if on.jit:
            pytest.skip("values are not checked under jit")
        with pytest.raises(ValueError, match="same total, got 1 in row 0 and 2 in row 1"):
            on.call(lambda *x: run(*x, epsilon=0.1), np.array([[0.5, 0.5], [1.0, 1.0]]), np.ones((2, 2)))
        with pytest.raises(ValueError, match="weights must sum to 1, got 2"):
            on.call(lambda *x: run(*x, epsilon=0.1), self.a, self.cost, np.ones(2))
        with pytest.raises(ValueError, match="symmetric"):
            on.call(lambda *x: run(*x, epsilon=0.1, debiased=True), self.a, np.arange(9.0).reshape(3, 3))
