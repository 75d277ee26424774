from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import ot
import pytest
import scipy.stats
import torch
from equipoise_numpy import sliced as overrides
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.transport import one_dimensional
from equipoise.transport import sliced as module
from equipoise.transport.one_dimensional import wasserstein_1d
from equipoise.transport.quantiles import quantile_cost, quantile_slopes
from equipoise.transport.sliced import directions, sliced_wasserstein

from ..backends import Case, everywhere

ORDERS = (1, 1.5, 2, 3, 9)
WEIGHTED = ("", "a", "b", "ab")
KINDS = [  # each order, each choice of weights, and the shapes with a case of their own
    (9, 9, "", 2),
    (9, 9, "", 1.5),
    (13, 9, "", 3),
    (13, 9, "ab", 2),
    (9, 9, "ab", 9),
    (9, 13, "a", 1),
    (9, 13, "b", 1.5),
    (1, 3, "ab", 3),
    (1, 1, "b", 1),
]


def problem(
    n: int = 7, m: int = 5, weighted: str = "ab", seed: int = 0, batch: tuple[int, ...] = (), dtype: str = "float64"
) -> tuple[Any, ...]:
    """x, y, a, b of one total; one weight on each side is zero where there is a choice."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(*batch, n)), rng.normal(size=(*batch, m)) + 0.5
    sides: list[Any] = []
    for name, size in (("a", n), ("b", m)):
        w = rng.random((*batch, size)) + 0.1
        w[..., size // 2] *= size == 1
        sides.append((w / w.sum(-1, keepdims=True)).astype(dtype) if name in weighted else None)
    return x.astype(dtype), y.astype(dtype), *sides


def clouds(n: int = 20, m: int = 15, d: int = 3, batch: tuple[int, ...] = (), **kind: Any) -> tuple[Any, ...]:
    x, y, a, b = problem(n * d, m * d, "", batch=batch, **kind)
    _, _, a, b = problem(n, m, batch=batch, **kind)
    return x.reshape(*batch, n, d), y.reshape(*batch, m, d), a, b


def exact(x: Any, y: Any, a: Any, b: Any, p: float) -> float:
    """The linear program."""
    a, b = (np.full(len(z), 1 / len(z)) if w is None else w for z, w in ((x, a), (y, b)))
    return float(ot.emd2(a, b, abs(x[:, None] - y[None, :]) ** p))


class TestKnownAnswers:
    @pytest.mark.parametrize("p", ORDERS)
    @pytest.mark.parametrize("weighted", WEIGHTED)
    @pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (4, 1), (6, 6), (7, 5), (4, 12), (30, 23)])
    def test_the_linear_program(self, n: int, m: int, weighted: str, p: float) -> None:
        arrays = problem(n, m, weighted)
        np.testing.assert_allclose(wasserstein_1d(*arrays, p=p), exact(*arrays, p), rtol=1e-11)

    def test_scipy(self) -> None:
        x, y, a, b = problem(50, 40)
        assert abs(wasserstein_1d(x, y, a, b, p=1) - scipy.stats.wasserstein_distance(x, y, a, b)) < 1e-14

    @pytest.mark.parametrize("p", ORDERS)
    @pytest.mark.parametrize("weighted", WEIGHTED)
    def test_pot(self, weighted: str, p: float) -> None:
        x, y, a, b = problem(200, 130, weighted)
        np.testing.assert_allclose(wasserstein_1d(x, y, a, b, p=p), ot.wasserstein_1d(x, y, a, b, p=p), rtol=1e-12)

    def test_normal_distributions(self) -> None:
        """W_2^2 = (difference of means)^2 + (difference of deviations)^2, up to what 4000 quantiles cut off."""
        quantiles = scipy.stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
        assert abs(wasserstein_1d(quantiles, 3 * quantiles + 2) - (4 + 4)) < 4e-3
        np.testing.assert_allclose(wasserstein_1d(quantiles, quantiles[::-1] + 2, p=3), 8.0, rtol=1e-12)

    def test_a_number_out(self) -> None:
        out = wasserstein_1d(np.zeros(3), np.ones(2))
        assert isinstance(out, np.ndarray)
        assert out.shape == ()

    def test_points_so_far_apart_that_only_an_empty_segment_overflows(self) -> None:
        x = np.array([0.0, 1e200])
        for a in (None, np.array([0.3, 0.7])):
            assert wasserstein_1d(x, x, a, a) == 0.0
            with eq.portable():
                assert wasserstein_1d(x, x, a, a) == 0.0


numbers = st.integers(-6, 6).map(lambda k: k / 2)  # so coarse that many are tied


@st.composite
def measures(draw: st.DrawFn, count: int = 2) -> tuple[np.ndarray, ...]:
    """`count` measures of total 1, as points and weights in turn."""
    arrays = []
    for _ in range(count):
        points = draw(st.lists(numbers, min_size=1, max_size=12))
        weights = draw(st.lists(st.integers(0, 3), min_size=len(points), max_size=len(points)).filter(any))
        arrays += [np.array(points), np.array(weights) / sum(weights)]
    return tuple(arrays)


def mass_at(points: np.ndarray, weights: np.ndarray) -> dict[float, float]:
    return {v: round(weights[points == v].sum(), 9) for v in set(points) if weights[points == v].any()}


class TestProperties:
    @given(measures(), st.sampled_from(ORDERS))
    def test_symmetric(self, given: Any, p: float) -> None:
        x, a, y, b = given
        assert abs(wasserstein_1d(x, y, a, b, p=p) - wasserstein_1d(y, x, b, a, p=p)) <= 1e-12 * 6.0**p

    @given(measures(), st.sampled_from(ORDERS))
    def test_zero_for_equal_measures_only(self, given: Any, p: float) -> None:
        x, a, y, b = given
        cost = wasserstein_1d(x, y, a, b, p=p)
        assert cost >= 0
        assert (cost < 1e-9) == (mass_at(x, a) == mass_at(y, b))

    @given(measures(), st.sampled_from(ORDERS))
    def test_the_linear_program(self, given: Any, p: float) -> None:
        x, a, y, b = given
        np.testing.assert_allclose(wasserstein_1d(x, y, a, b, p=p), exact(x, y, a, b, p), rtol=1e-9, atol=1e-9)

    @given(measures(), st.sampled_from(ORDERS), st.floats(-3, 3))
    def test_translation(self, given: Any, p: float, shift: float) -> None:
        x, a, y, b = given
        np.testing.assert_allclose(wasserstein_1d(x, x + shift, a, a, p=p), abs(shift) ** p, rtol=1e-9, atol=1e-12)
        both = wasserstein_1d(x + shift, y + shift, a, b, p=p)
        np.testing.assert_allclose(both, wasserstein_1d(x, y, a, b, p=p), rtol=1e-9, atol=1e-9)

    @given(measures(), st.sampled_from(ORDERS), st.floats(-3, 3), st.sampled_from([0.25, 3.0, 1e6]))
    def test_scaling_of_points_and_masses(self, given: Any, p: float, scale: float, mass: float) -> None:
        x, a, y, b = given
        once = wasserstein_1d(x, y, a, b, p=p)
        scaled = wasserstein_1d(scale * x, scale * y, mass * a, mass * b, p=p)
        np.testing.assert_allclose(scaled, mass * abs(scale) ** p * once, rtol=1e-9, atol=1e-9)

    @given(measures(3), st.sampled_from(ORDERS))
    def test_triangle_inequality_of_the_root(self, given: Any, p: float) -> None:
        (x, a, y, b, z, c) = given
        root = lambda *arrays: wasserstein_1d(*arrays, p=p) ** (1 / p)  # noqa: E731
        assert root(x, z, a, c) <= root(x, y, a, b) + root(y, z, b, c) + 1e-9

    @given(measures(), st.sampled_from(ORDERS), st.randoms(use_true_random=False))
    def test_neither_order_nor_splitting_matters(self, given: Any, p: float, random: Any) -> None:
        x, a, y, b = given
        order = random.sample(range(2 * len(x)), 2 * len(x))
        split = np.concatenate([x, x])[order], y, np.concatenate([0.25 * a, 0.75 * a])[order], b
        np.testing.assert_allclose(wasserstein_1d(*split, p=p), wasserstein_1d(x, y, a, b, p=p), rtol=1e-9, atol=1e-9)

    @given(measures(), st.sampled_from(ORDERS))
    def test_potentials_are_dual_optimal(self, given: Any, p: float) -> None:
        """f_i + g_j <= c_ij for all pairs, points without mass too, and sum a f = sum b g = half of the cost."""
        x, a, y, b = given
        for run in (quantile_slopes, quantile_slopes.body):
            _, _, f, g = run(x, y, a, b, p=float(p))
            cost = wasserstein_1d(x, y, a, b, p=p)
            slack = 1e-9 * 6.0**p
            assert np.all(f[:, None] + g[None, :] <= abs(x[:, None] - y[None, :]) ** p + slack)
            np.testing.assert_allclose([a @ f, b @ g], [0.5 * cost, 0.5 * cost], rtol=0, atol=slack)


class TestBackends:
    @pytest.mark.parametrize(("n", "m", "weighted", "p"), KINDS)
    def test_agree(self, on: Case, n: int, m: int, weighted: str, p: float) -> None:
        arrays = problem(n, m, weighted, batch=(2, 3))
        got = on.numpy(on.call(lambda *z: wasserstein_1d(*z, p=p), *arrays))
        assert (got.shape, got.dtype) == ((2, 3), np.float64)
        for k in np.ndindex(2, 3):
            np.testing.assert_allclose(got[k], exact(*(None if z is None else z[k] for z in arrays), p), rtol=1e-11)

    @everywhere
    def test_type_and_dtype(self, on: Case) -> None:
        arrays = problem(40, 31, dtype="float32")
        moved = on.array(arrays[0])
        out = on.call(wasserstein_1d, *arrays)
        sliced = on.call(lambda *z: sliced_wasserstein(*z, projections=5), *clouds(dtype="float32"))
        for got in (out, sliced):
            assert type(got) is type(moved) or on.name.startswith("numpy")
            assert got.dtype == moved.dtype
            assert getattr(got, "device", None) == getattr(moved, "device", None)
        np.testing.assert_allclose(on.numpy(out), wasserstein_1d(*(z.astype("float64") for z in arrays)), rtol=2e-6)

    def test_leading_axes_broadcast(self, on: Case) -> None:
        x, y, a, b = problem(6, 4, batch=(3,))
        out = on.numpy(on.call(wasserstein_1d, x[0], y, a[1], b[:, None]))
        assert out.shape == (3, 3)
        np.testing.assert_allclose(out[2, 1], wasserstein_1d(x[0], y[1], a[1], b[2]), rtol=1e-13)

    def test_inputs_are_not_written(self, on: Case) -> None:
        arrays = [on.array(z) for z in problem()]
        on.call(wasserstein_1d, *arrays)
        for before, after in zip(problem(), arrays, strict=True):
            np.testing.assert_array_equal(before, on.numpy(after))

    def test_arrays_that_are_not_contiguous(self) -> None:
        x, y, a, b = problem(8, 8, batch=(5,))
        expected = wasserstein_1d(x, y, a, b)
        turned = [np.asfortranarray(z) for z in (x, y, a, b)]
        np.testing.assert_allclose(wasserstein_1d(*turned), expected, rtol=1e-14)
        np.testing.assert_allclose(wasserstein_1d(*(torch.tensor(z.T.copy()).T for z in turned)), expected, rtol=1e-14)

    def test_inside_a_context(self) -> None:
        arrays = problem()
        with eq.backend("torch", dtype="float32"):
            out = wasserstein_1d(*arrays)
            sliced = sliced_wasserstein(*clouds())
        assert isinstance(out, np.ndarray)
        assert out.dtype == sliced.dtype == np.float32
        np.testing.assert_allclose(sliced, sliced_wasserstein(*clouds()), rtol=1e-5)

    def test_half_precision_runs_the_portable_body(self) -> None:
        x, y, *_ = problem()
        out = wasserstein_1d(torch.tensor(x).bfloat16(), torch.tensor(y).bfloat16())
        assert out.dtype == torch.bfloat16
        assert abs(float(out) - float(wasserstein_1d(x, y))) < 0.05
        points = (torch.tensor(z).bfloat16() for z in clouds()[:2])
        assert abs(float(sliced_wasserstein(*points)) - float(sliced_wasserstein(*clouds()[:2]))) < 0.05

    def test_not_a_number_is_not_hidden_under_jit(self) -> None:
        assert np.isnan(jax.jit(wasserstein_1d)(jax.numpy.array([0.0, np.nan]), jax.numpy.zeros(3)))


def samples(rng: np.random.Generator, dtype: str) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for n, m in ((13, 9), (8, 8), (1, 4), (1, 1)):
        for batch, p, k in itertools.product(((), (2, 3)), (1.0, 1.5, 2.0, 3.0, 9.0), range(5)):
            x, y = (rng.normal(size=(*batch, size)).astype(dtype) for size in (n, m))
            x[..., 2 * n // 3], y[..., 0] = x[..., 0], x[..., n // 2]  # tied, and paired points that agree
            a, b = (rng.random((*batch, size)).astype(dtype) for size in (n, m))
            a[..., n // 2] *= n == 1
            a, b = a / a.sum(-1, keepdims=True), b / b.sum(-1, keepdims=True)
            if k == 4:  # equal levels
                a, b = (np.full_like(w, 1 / w.shape[-1]) for w in (a, b))
            yield (x, y, None if k in (0, 2) else a, None if k in (0, 1) else b), {"p": p}


def test_overrides_in_parts_and_with_one_row_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, a, b = problem(9, 6, batch=(7,))
    a, b = np.broadcast_to(a[0], a.shape), b
    expected = quantile_cost.body(x, y, a, b, p=2.0), *quantile_slopes.body(x, y, a, b, p=2.0)
    monkeypatch.setattr(overrides, "PART", 31)
    got = overrides.quantile_cost(x, y, a, b, p=2.0), *overrides.quantile_slopes(x, y, a, b, p=2.0)
    for u, v in zip(got, expected, strict=True):
        np.testing.assert_allclose(u, v, rtol=0, atol=1e-13)


def central(fn: Callable[..., Any], arrays: tuple[Any, ...], k: int, h: float = 1e-6) -> np.ndarray:
    """The derivative of fn by its k-th array, by differences."""
    out = np.empty_like(arrays[k])
    for i in np.ndindex(out.shape):
        ends = []
        for step in (h, -h):
            moved = [z if z is None else z.copy() for z in arrays]
            moved[k][i] += step
            ends.append(float(fn(*moved)))
        out[i] = (ends[0] - ends[1]) / (2 * h)
    return out


class TestDerivatives:
    @pytest.mark.parametrize(("n", "m", "weighted", "p"), KINDS)
    def test_against_differences(self, n: int, m: int, weighted: str, p: float) -> None:
        """Of the unchecked cost, so that weights can be moved one by one; away from weights of 0, which is an end."""
        rng = np.random.default_rng(1)
        x, y, *_ = problem(n, m)
        weights: list[Any] = [None, None]
        for k, name in enumerate("ab"):
            if name in weighted:
                w = rng.random((n, m)[k]) + 0.1
                weights[k] = (1.3 if weighted == "ab" else 1.0) * w / w.sum()
        arrays, run = (x, y, *weights), lambda *z: quantile_cost(*z, p=float(p))
        present = [k for k in range(4) if arrays[k] is not None]
        expected = [central(lambda *z: quantile_cost.body(*z, p=float(p)), arrays, k) for k in present]
        for array, grads in ((torch.tensor, _torch_grads), (jax.numpy.array, _jax_grads)):
            moved = [None if z is None else array(z) for z in arrays]
            found = [grads(run, moved, present)]
            if array is torch.tensor:
                with eq.portable():
                    found.append(grads(run, moved, present))
            for grad, right in itertools.chain(*(zip(f, expected, strict=True) for f in found)):
                np.testing.assert_allclose(grad, right, rtol=1e-6, atol=1e-7 * abs(right).max())

    def test_public_weights_that_keep_their_total(self) -> None:
        x, y, a, b = problem(7, 5)
        grad = _jax_grads(wasserstein_1d, [jax.numpy.array(z) for z in (x, y, a, b)], [2])[0]
        way = np.zeros(7)
        way[[1, 4]] = 1, -1
        ends = [float(wasserstein_1d(x, y, a + h * way, b)) for h in (1e-6, -1e-6)]
        assert abs((ends[0] - ends[1]) / 2e-6 - way @ grad) < 1e-8

    @pytest.mark.parametrize(("weighted", "p"), [("", 1.5), ("ab", 1), ("ab", 2), ("b", 1.5)])
    def test_finite_at_equal_measures_and_at_ties(self, weighted: str, p: float) -> None:
        x = np.array([0.0, 2.0, 2.0, -1.0, 2.0])
        a = np.array([0.2, 0.0, 0.3, 0.4, 0.1])
        arrays = [x, x, a if "a" in weighted else None, a if "b" in weighted else None]
        present = [k for k in range(4) if arrays[k] is not None]
        for array, run in ((torch.tensor, _torch_grads), (jax.numpy.array, _jax_grads)):
            grads = run(lambda *z: wasserstein_1d(*z, p=p), [None if z is None else array(z) for z in arrays], present)
            assert all(np.all(np.isfinite(grad)) for grad in grads)
            if weighted in ("", "ab"):
                assert not grads[0].any()
                assert not grads[1].any()
        moved = [None if z is None else jax.numpy.array(z) for z in arrays]
        hessian = jax.jacrev(jax.grad(lambda *z: wasserstein_1d(*z, p=p)))(*moved)
        assert np.all(np.isfinite(hessian))

    def test_under_transformations(self) -> None:
        x, y, a, b = (jax.numpy.array(z) for z in problem(6, 6, batch=(4,)))
        for weights in ((), (a, b)):
            grad = jax.grad(lambda *z: wasserstein_1d(*z))
            mapped = jax.jit(jax.vmap(grad))(x, y, *weights)
            together = jax.grad(lambda *z: wasserstein_1d(*z).sum())(x, y, *weights)
            np.testing.assert_allclose(mapped, together, rtol=1e-12)
            costs = jax.vmap(wasserstein_1d)(x, y, *weights)
            np.testing.assert_allclose(costs, wasserstein_1d(x, y, *weights), rtol=1e-13)

    @pytest.mark.parametrize("weighted", ["", "ab"])
    def test_second_derivative(self, weighted: str) -> None:
        """For p = 2 the points move straight: d^2/dx_i^2 = 2 a_i."""
        x, y, a, b = problem(6, 6, weighted)
        moved = [None if z is None else jax.numpy.array(z) for z in (x, y, a, b)]
        hessian = jax.jacrev(jax.grad(wasserstein_1d))(*moved)
        np.testing.assert_allclose(hessian, 2 * np.diag(np.full(6, 1 / 6) if a is None else a), atol=1e-14)
        tensors = [None if z is None else torch.tensor(z) for z in (y, a, b)]
        twice = torch.autograd.functional.hessian(lambda z: wasserstein_1d(z, *tensors), torch.tensor(x))
        np.testing.assert_allclose(twice, hessian, atol=1e-14)

    @pytest.mark.parametrize("p", [1.5, 2, 3])
    def test_all_second_derivatives(self, p: float) -> None:
        rng = np.random.default_rng(2)
        x, y, *_ = problem(4, 3)
        arrays = [torch.tensor(z, requires_grad=True) for z in (x, y, rng.random(4) + 0.1, rng.random(3) + 0.1)]
        assert torch.autograd.gradgradcheck(lambda *z: quantile_cost(*z, p=float(p)), arrays)

    def test_nothing_is_kept_that_is_not_wanted(self) -> None:
        x, y, a, b = (torch.tensor(z) for z in problem())
        x.requires_grad_()
        wasserstein_1d(x, y, a, b).backward()
        assert x.grad is not None
        assert y.grad is None
        np.testing.assert_allclose(torch.func.grad(wasserstein_1d)(x.detach(), y, a, b), x.grad, rtol=1e-13)

    def test_torch_vmap(self) -> None:
        x, y = torch.rand(2, 3), torch.rand(2, 4)
        torch.testing.assert_close(torch.func.vmap(wasserstein_1d)(x, y), wasserstein_1d(x, y))


def _torch_grads(fn: Callable[..., Any], arrays: list[Any], present: list[int]) -> list[np.ndarray]:
    arrays = [z if z is None else z.clone().requires_grad_() for z in arrays]
    return [g.numpy() for g in torch.autograd.grad(fn(*arrays), [arrays[k] for k in present])]


def _jax_grads(fn: Callable[..., Any], arrays: list[Any], present: list[int]) -> list[np.ndarray]:
    return [np.asarray(g) for g in jax.grad(fn, argnums=tuple(present))(*arrays)]


class TestSliced:
    @pytest.mark.parametrize(("weighted", "p"), [("", 2), ("ab", 1.5)])
    def test_pot_with_the_same_directions(self, on: Case, weighted: str, p: float) -> None:
        x, y, a, b = clouds()
        weights = (a, b) if weighted else ()
        drawn = directions(40, 3, eq.random.key(5)).T
        expected = ot.sliced_wasserstein_distance(x, y, *weights, p=p, projections=drawn) ** p
        got = on.call(lambda *z: sliced_wasserstein(*z, p=p, projections=40, rng=5), x, y, *weights)
        np.testing.assert_allclose(on.numpy(got), expected, rtol=1e-12)

    def test_one_dimension_is_the_line(self, on: Case) -> None:
        x, y, a, b = problem(9, 7)
        got = on.call(lambda *z: sliced_wasserstein(*z, p=3, projections=4), x[:, None], y[:, None], a, b)
        np.testing.assert_allclose(on.numpy(got), wasserstein_1d(x, y, a, b, p=3), rtol=1e-13)

    def test_panels_change_nothing(self, on: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        x, y, a, b = clouds(batch=(2,))
        run = lambda *z: sliced_wasserstein(*z, projections=7)  # noqa: E731
        expected = sliced_wasserstein(x, y, a, b, projections=7)
        monkeypatch.setattr(module, "PANEL", 300)
        monkeypatch.setattr(module, "PANEL_ON_HOST", 300)
        np.testing.assert_allclose(on.numpy(on.call(run, x, y, a, b)), expected, rtol=1e-13)

    def test_batch_broadcasts_and_shares_directions(self, on: Case) -> None:
        x, y, a, b = clouds(batch=(3,))
        got = on.numpy(on.call(lambda *z: sliced_wasserstein(*z, rng=3), x, y[0], a[1], b[:, None]))
        assert got.shape == (3, 3)
        alone = sliced_wasserstein(x[2], y[0], a[1], b[1], rng=3)
        np.testing.assert_allclose(got[1, 2], alone, rtol=1e-13)

    @given(st.integers(0, 2**64 - 1), st.integers(1, 9), st.integers(1, 6))
    def test_directions(self, seed: int, count: int, d: int) -> None:
        drawn = directions(count, d, eq.random.key(seed))
        np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), 1, rtol=1e-14)
        np.testing.assert_array_equal(directions(2 * count, d, eq.random.key(seed))[:count], drawn)

    def test_directions_cover_the_sphere(self) -> None:
        drawn = directions(20_000, 3, (1, 0))
        assert abs(drawn.mean(0)).max() < 0.02
        assert abs(drawn.T @ drawn / 20_000 - np.eye(3) / 3).max() < 0.01
        assert scipy.stats.kstest(drawn[:, 0], scipy.stats.uniform(-1, 2).cdf).pvalue > 0.01  # Archimedes

    def test_translation(self) -> None:
        """|v|^2/d over all directions, and within its statistical error over 4096."""
        x = clouds(d=5)[0]
        shift = np.array([1.0, -2.0, 0.0, 0.5, 3.0])
        got = sliced_wasserstein(x, x + shift, projections=4096)
        assert abs(got - shift @ shift / 5) < 0.15
        drawn = directions(4096, 5, (0, 0))
        np.testing.assert_allclose(got, ((drawn @ shift) ** 2).mean(), rtol=1e-12)

    def test_no_larger_than_the_distance_of_the_clouds(self) -> None:
        x, y, a, b = clouds()
        for p in (1, 2):
            cost = np.linalg.norm(x[:, None] - y[None], axis=-1) ** p
            assert 0 < sliced_wasserstein(x, y, a, b, p=p) <= ot.emd2(a, b, cost)
        assert sliced_wasserstein(x, x, a, a) == 0

    def test_seeds(self) -> None:
        x, y, *_ = clouds()
        drawn = lambda: np.random.default_rng(3)  # noqa: E731
        assert sliced_wasserstein(x, y, rng=drawn()) == sliced_wasserstein(x, y, rng=drawn())
        assert sliced_wasserstein(x, y, rng=1) != sliced_wasserstein(x, y, rng=2)
        assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y, rng=0)

    @pytest.mark.parametrize(("weighted", "panel"), [("", 10_000), ("ab", 60)])
    def test_derivatives(self, monkeypatch: pytest.MonkeyPatch, weighted: str, panel: int) -> None:
        monkeypatch.setattr(module, "PANEL", panel)
        monkeypatch.setattr(module, "PANEL_ON_HOST", panel)
        x, y, a, b = clouds(6, 5, 2)
        weights = (a, b) if weighted else ()
        run = lambda *z: sliced_wasserstein(*z, p=3, projections=13)  # noqa: E731
        arrays = (x, y, *weights)
        for k in (0, 1):
            expected = central(run, arrays, k)
            for array, grads in ((torch.tensor, _torch_grads), (jax.numpy.array, _jax_grads)):
                grad = grads(run, [array(z) for z in arrays], [k])[0]
                np.testing.assert_allclose(grad, expected, rtol=0, atol=1e-8)
            traced = jax.jit(jax.grad(run, argnums=k))(*map(jax.numpy.array, arrays))
            np.testing.assert_allclose(traced, expected, rtol=0, atol=1e-8)
        if weighted:
            way = np.array([1.0, -1.0, 0, 0, 0, 0])
            ends = [float(run(x, y, a + h * way, b)) for h in (1e-6, -1e-6)]
            for array, grads in ((torch.tensor, _torch_grads), (jax.numpy.array, _jax_grads)):
                grad = grads(run, [array(z) for z in arrays], [2])[0]
                assert abs(way @ grad - (ends[0] - ends[1]) / 2e-6) < 1e-8

    def test_second_derivative(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """For p = 2 and equal counts it is (2/n) times the mean of theta theta^T for each point."""
        monkeypatch.setattr(module, "PANEL", 60)
        monkeypatch.setattr(module, "PANEL_ON_HOST", 60)
        x, y, *_ = clouds(5, 5, 2)
        drawn = directions(13, 2, (0, 0))
        expected = np.einsum("ik,ab->iakb", 2 * np.eye(5) / 5, drawn.T @ drawn / 13)
        run = lambda *z: sliced_wasserstein(*z, projections=13)  # noqa: E731
        got = jax.jacrev(jax.grad(run))(*map(jax.numpy.array, (x, y)))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14)
        twice = torch.autograd.functional.hessian(lambda z: run(z, torch.tensor(y)), torch.tensor(x))
        np.testing.assert_allclose(twice, expected, rtol=0, atol=1e-14)

    def test_vmap(self) -> None:
        x, y, a, b = map(jax.numpy.array, clouds(batch=(3,)))
        mapped = jax.jit(jax.vmap(jax.grad(sliced_wasserstein)))(x, y, a, b)
        together = jax.grad(lambda *z: sliced_wasserstein(*z).sum())(x, y, a, b)
        np.testing.assert_allclose(mapped, together, rtol=0, atol=1e-13)

    @pytest.mark.parametrize("backward", [False, True])
    def test_memory_does_not_grow_with_projections(self, backward: bool) -> None:
        n, count = 3000, 1000  # all projections: 48 MB; n x n: 72 MB
        x, y, a, b = (torch.tensor(z, requires_grad=backward) for z in clouds(n, n, 2))
        small = sliced_wasserstein(x, y, a, b, projections=2)
        if backward:
            small.backward()
        tracemalloc.start()
        cost = sliced_wasserstein(x, y, a, b, projections=count)
        if backward:
            cost.backward()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16e6


def _quietly(*arrays: Any) -> Any:
    with np.errstate(over="ignore"):
        return wasserstein_1d(*arrays)


X, Y, D2 = np.zeros(3), np.zeros(4), np.zeros((3, 2))
BAD: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (TypeError, "x must be an array", lambda: wasserstein_1d([0.0], Y)),  # type: ignore[type-var]
    (TypeError, "two libraries", lambda: wasserstein_1d(X, torch.zeros(3))),  # type: ignore[type-var]
    (TypeError, "x must hold floating-point numbers, got dtype int64", lambda: wasserstein_1d(np.arange(3), Y)),
    (TypeError, "y must have the dtype of x, float64, got float32", lambda: wasserstein_1d(X, Y.astype("f"))),
    (TypeError, "b must have the dtype of y, float64", lambda: wasserstein_1d(X, Y, b=np.ones(4, "f"))),
    (TypeError, "a must be an array or None, got list", lambda: wasserstein_1d(X, Y, [1.0])),  # type: ignore[arg-type]
    (TypeError, "x is a masked array", lambda: wasserstein_1d(np.ma.array(X), Y)),
    (TypeError, "a is a masked array", lambda: wasserstein_1d(X, Y, np.ma.array(X + 1))),
    (TypeError, "p must be a number, got str", lambda: wasserstein_1d(X, Y, p="2")),  # type: ignore[arg-type]
    (ValueError, "p must be finite and at least 1, got 0.5", lambda: wasserstein_1d(X, Y, p=0.5)),
    (ValueError, "p must be finite and at least 1, got inf", lambda: wasserstein_1d(X, Y, p=np.inf)),
    (ValueError, "p must be finite and at least 1, got nan", lambda: wasserstein_1d(X, Y, p=np.nan)),
    (ValueError, r"x must have shape \(..., n\), got \(\)", lambda: wasserstein_1d(np.zeros(()), Y)),
    (ValueError, r"y must not be empty, got shape \(0,\)", lambda: wasserstein_1d(X, Y[:0])),
    (ValueError, r"x must be finite, got nan at index \(1,\)", lambda: wasserstein_1d(np.array([0, np.nan]), Y)),
    (ValueError, r"y must be finite, got -inf at index \(0,\)", lambda: wasserstein_1d(X, Y - np.inf)),
    (ValueError, r"a must have shape \(..., 3\) to fit x of shape \(3,\), got \(4,\)", lambda: wasserstein_1d(X, Y, Y)),
    (ValueError, r"a must not be negative, got -1.0 at index \(2,\)", lambda: wasserstein_1d(X, Y, np.r_[1, 1, -1.0])),
    (ValueError, r"a must be finite, got nan at index \(0,\)", lambda: wasserstein_1d(X, Y, X + np.nan)),
    (ValueError, r"a must be finite, got inf at index \(0,\)", lambda: wasserstein_1d(X, Y, X + np.inf)),
    (ValueError, "b must have a positive total, got only zeros", lambda: wasserstein_1d(X, Y, b=Y)),
    (ValueError, "a must have a finite total", lambda: _quietly(X, Y, X + 1e308, Y + 1e308)),
    (ValueError, "a and b must have the same total, got 3 and 4", lambda: wasserstein_1d(X, Y, X + 1, Y + 1)),
    (ValueError, "a and b must have the same total, got 3 and 1", lambda: wasserstein_1d(X, Y, X + 1)),
    (ValueError, r"for problem \(1,\)", lambda: wasserstein_1d(X, Y, np.ones((2, 3)) / [[3], [4]])),
    (
        ValueError,
        r"the leading axes of x \(2, 3\), y \(3, 4\) do not broadcast",
        lambda: wasserstein_1d(np.zeros((2, 3)), np.zeros((3, 4))),
    ),
    (ValueError, r"x must have shape \(..., n, d\), got \(3,\)", lambda: sliced_wasserstein(X, D2)),
    (ValueError, r"x \(3, 2\) and y \(2, 3\) must have points of one dimension", lambda: sliced_wasserstein(D2, D2.T)),
    (ValueError, r"b must have shape \(..., 3\) to fit y of shape \(3, 2\)", lambda: sliced_wasserstein(D2, D2, b=Y)),
    (ValueError, "projections must be at least 1, got 0", lambda: sliced_wasserstein(D2, D2, projections=0)),
    (TypeError, "projections must be a whole number", lambda: sliced_wasserstein(D2, D2, projections=2.0)),  # type: ignore[arg-type]
    (TypeError, "rng must be an int", lambda: sliced_wasserstein(D2, D2, rng=None)),
    (ValueError, "rng must be in", lambda: sliced_wasserstein(D2, D2, rng=-1)),
]


@pytest.mark.parametrize(("kind", "sentence", "call"), BAD, ids=[sentence for _, sentence, _ in BAD])
def test_bad_input(kind: type[Exception], sentence: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=sentence):
        call()


def test_totals_that_agree_but_for_rounding() -> None:
    """They are both scaled to 1, and the cost to the mean of them: neither side is preferred."""
    x, y, a, b = problem()
    once, off = wasserstein_1d(x, y, a, b), wasserstein_1d(x, y, a, (1 + 4e-7) * b)
    np.testing.assert_allclose(off, (1 + 2e-7) * once, rtol=1e-13)
    assert one_dimensional.NEAR < 1e-6
