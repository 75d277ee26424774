from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.quasimetric import pqe, pqe_pairwise, pqe_pairwise_vjp, pqe_vjp
from equipoise.quasimetric.measures import others, pqe_all, pqe_all_slopes, pqe_pairs, pqe_pairs_slopes
from equipoise.quasimetric.poisson import exceedance, exceedance_slopes, terms_for

from ..backends import Case
from .problems import differences
from .test_iqe import both, points

MEASURES = ("lebesgue", "gaussian")


def halflines(u: Any, v: Any, k: int, weights: Any) -> Any:
    """The formula."""
    rise = np.maximum(u[:, None] - v[None], 0).reshape(len(u), len(v), k, -1)
    return (weights * (1 - np.exp(-rise.mean(-1)))).sum(-1)


def rate(a: float, b: float, variance: float) -> float:
    """What a Gaussian shape at a has beyond one at b, under N(0, variance), by quadrature."""

    def shape(x: float, m: float, s: float) -> float:
        return float(np.exp(-((x - m) ** 2) / (2 * s)) / np.sqrt(2 * np.pi * s))

    def more(x: float) -> float:
        return max(0.0, shape(x, a, 1) - shape(x, b, 1)) * shape(x, 0, variance)

    return float(scipy.integrate.quad(more, -12, 12, points=[(a + b) / 2], epsabs=1e-13, limit=200)[0])


class TestKnownAnswers:
    def test_lebesgue(self, on: Case) -> None:
        u, v, weights = points(3, 8), points(5, 8, seed=1), np.array([0.5, 2.0])

        def every(u: Any, v: Any, weights: Any) -> Any:
            settings: dict[str, Any] = {"components": 2, "weights": weights}
            return pqe_pairwise(u, v, **settings), pqe(u, v[:3, :], **settings)

        found, pairs = on.numpy(on.call(every, u, v, weights))
        exact = halflines(u, v, 2, weights)
        np.testing.assert_allclose(found, exact, atol=1e-14)
        np.testing.assert_allclose(pairs, np.diag(exact[:, :3]), atol=1e-14)

    def test_small_distances_keep_their_digits(self) -> None:
        for x in (1e-12, 1e-300):
            for case in (contextlib.nullcontext, eq.portable):
                with case():
                    np.testing.assert_allclose(pqe(np.array([x]), np.zeros(1), components=1), x, rtol=1e-11)
                    np.testing.assert_allclose(
                        pqe_pairwise(np.array([[x]]), np.zeros((1, 1)), components=1), x, rtol=1e-11
                    )

    def test_gaussian_by_quadrature_and_skellam(self, on: Case) -> None:
        k, l = 2, 3
        u, v, weights = points(2, k * l), points(1, k * l, seed=1), np.array([0.5, 2.0])
        variance, scale = np.array([[0.7], [2.0]]), np.array([1.0, 3.0, 40.0])

        def every(u: Any, v: Any, weights: Any, variance: Any, scale: Any) -> Any:
            return pqe_pairwise(u, v, components=k, measure="gaussian", weights=weights, variance=variance, scale=scale)

        found = on.numpy(on.call(every, u, v, weights, variance, scale))
        s2, by = np.broadcast_to(variance, (k, l)).ravel(), np.broadcast_to(scale, (k, l)).ravel()
        for i in range(2):
            stay = np.ones(k * l)
            for j in range(k * l):
                r1, r2 = (by[j] / l * rate(*ends, s2[j]) for ends in ((u[i, j], v[0, j]), (v[0, j], u[i, j])))
                stay[j] = 1 - scipy.stats.skellam.sf(0, r1, r2)
            exact = weights @ (1 - stay.reshape(k, l).prod(-1))
            np.testing.assert_allclose(found[i, 0], exact, atol=1e-12)

    def test_one_exceeds_the_other(self) -> None:
        """Noncentral chi-square, and Bessel functions for the derivatives."""
        r = np.concatenate([[1e-9, 1e-3], np.geomspace(0.02, 200, 14)])
        r1, r2 = (x.ravel() for x in np.meshgrid(r, r))
        for dtype, atol, limit in (("float64", 1e-13, 200.0), ("float32", 1e-6, 75.0)):
            some = np.maximum(r1, r2) <= limit
            a, b = r1[some].astype(dtype), r2[some].astype(dtype)
            found = exceedance(a, b, terms_for(limit, 1e-16))
            a, b = a.astype(float), b.astype(float)
            np.testing.assert_allclose(found, scipy.stats.ncx2.cdf(2 * a, 2, 2 * b), atol=atol)
            equal, above = exceedance_slopes(a.astype(dtype), b.astype(dtype), terms_for(limit, 1e-16))
            x, q = 2 * np.sqrt(a * b), np.exp(-((np.sqrt(a) - np.sqrt(b)) ** 2))
            np.testing.assert_allclose(equal, q * scipy.special.ive(0, x), atol=atol)
            np.testing.assert_allclose(above, q * 2 * a * scipy.special.ive(1, x) / x, atol=atol)
        tiny = np.array([1e-9])
        np.testing.assert_allclose(exceedance(tiny, tiny, 20), tiny, rtol=1e-8)  # small values keep their digits

    def test_how_many_terms(self) -> None:
        for r in (1e-3, 0.4, 3.0, 30.0, 230.0):
            n = terms_for(r, 1e-16)
            assert scipy.stats.poisson.sf(n, r) < 1e-15 * min(1.0, r)
            assert n <= np.ceil(r + 9 * np.sqrt(r) + 20)

    def test_discounted_form(self) -> None:
        u, v, x = points(6), points(6, seed=1), np.array([0.3, -1.0])
        p = np.array([float(pqe(u[j : j + 3], v[j : j + 3], components=1)) for j in (0, 3)])
        expected = np.prod((1 / (1 + np.exp(-x))) ** p)
        np.testing.assert_allclose(np.exp(-pqe(u, v, components=2, weights=np.log1p(np.exp(-x)))), expected, rtol=1e-14)


class TestProperties:
    @given(st.integers(0, 10_000), st.sampled_from(MEASURES), st.sampled_from([0.1, 1.0, 5.0]))
    def test_a_quasimetric(self, seed: int, measure: str, size: float) -> None:
        x = size * points(5, 12, seed=seed)
        d = pqe_pairwise(x, components=3, measure=measure, weights=np.array([0.5, 1.0, 2.0]))
        assert np.all(np.diag(d) == 0)
        assert np.all(d >= 0)
        assert d.max() <= 3.5
        assert ((d[:, :, None] + d[None, :, :]) - d[:, None, :]).min() >= -1e-14

    @given(st.integers(0, 10_000), st.sampled_from(MEASURES))
    def test_order(self, seed: int, measure: str) -> None:
        """Raising the end never makes it farther under Lebesgue's measure; translations of all change nothing."""
        u, v, w = points(3, 6, seed=seed)
        d = pqe(u, v, components=2, measure=measure)
        if measure == "lebesgue":
            assert pqe(u, v + abs(w), components=2) <= d + 1e-14
            np.testing.assert_allclose(pqe(u + 3, v + 3, components=2), d, atol=1e-13)
        gu, gv = pqe_vjp(u, v, np.array(1.0), components=2, measure=measure)
        assert np.isfinite(gu).all()
        assert np.isfinite(gv).all()

    @pytest.mark.parametrize("measure", MEASURES)
    def test_no_nan_ever(self, measure: str) -> None:
        x = np.array([0.0, 1.0, 1e6, -1e6, 1e200, 1e-310, 30.0, -40.0])
        for dtype in ("float64", "float32"):
            y = np.where(abs(x) > 1e38, 1e30, x).astype(dtype) if dtype == "float32" else x
            table = np.stack([y, -y, y[::-1], y / 2, y])
            d = pqe_pairwise(table, components=2, measure=measure)
            assert np.isfinite(d).all()
            assert d[0, 4] == 0
            gu, gv = pqe_pairwise_vjp(table, None, np.ones_like(d), components=2, measure=measure)
            assert np.isfinite(gu).all()
            assert np.isfinite(gv).all()
            alone = pqe_vjp(y, y, np.ones((), dtype), components=2, measure=measure)
            assert not any(g.any() for g in alone)

    @pytest.mark.parametrize("measure", MEASURES)
    def test_nan_stays_where_it_came_from(self, on: Case, measure: str) -> None:
        u, v = points(5, 8), points(70, 8, seed=1)
        for t in range(4):
            u[t, t], v[10 * t, 4 + t] = np.nan, np.nan
        touched = np.isnan(u).any(-1)[:, None] | np.isnan(v).any(-1)[None, :]

        def every(u: Any, v: Any) -> Any:
            settings: dict[str, Any] = {"components": 2, "measure": measure}
            return pqe_pairwise(u, v, **settings), pqe(u, v[6:11, :], **settings)

        d, pairs = on.numpy(on.call(every, u, v))
        assert np.array_equal(np.isnan(d), touched)
        assert np.array_equal(np.isnan(pairs), np.diag(touched[:, 6:11]))

    @pytest.mark.parametrize("scale", [1.0, 60.0])
    def test_float32(self, scale: float) -> None:
        u, v = points(20, 32), points(30, 32, seed=1)
        settings: dict[str, Any] = {"components": 4, "measure": "gaussian", "scale": scale}
        found = pqe_pairwise(u.astype("float32"), v.astype("float32"), **settings)
        assert found.dtype == np.float32
        assert abs(found - pqe_pairwise(u, v, **settings)).max() <= 3e-6 * 4

    @pytest.mark.parametrize("rate", [10.0, 79.9])
    def test_float32_with_large_rates(self, rate: float) -> None:
        """One latent, of which nothing averages out; the exact answer by float64, from the same numbers."""
        u = 2 * points(1000, 1, dtype="float32")
        v = u + 0.1 * points(1000, 1, seed=1, dtype="float32")
        for variance in (1.0, 1e-2):
            settings: dict[str, Any] = {"components": 1, "measure": "gaussian", "variance": variance}
            settings["scale"] = rate * np.sqrt(2 * np.pi)
            exact = pqe(u.astype(float), v.astype(float), **settings)
            assert abs(pqe(u, v, **settings) - exact).max() <= 2e-6 + 3e-7 * rate

    def test_half_precision_on_jax(self) -> None:
        u, v = (jnp.asarray(points(3, 8, seed=s), dtype=jnp.bfloat16) for s in (0, 1))
        x, y = (np.asarray(z, float) for z in (u, v))
        settings: dict[str, Any] = {"components": 2, "measure": "gaussian", "scale": 300.0}
        d, pull = jax.vjp(lambda u, v: pqe(u, v, **settings), u, v)
        assert d.dtype == u.dtype
        np.testing.assert_allclose(np.asarray(d, float), pqe(x, y, **settings), rtol=8e-3)
        for found, exact in zip(pull(jnp.ones_like(d)), pqe_vjp(x, y, np.ones(3), **settings), strict=True):
            assert found.dtype == u.dtype
            np.testing.assert_allclose(np.asarray(found, float), exact, rtol=8e-3, atol=1e-6)

    def test_half_precision_on_torch(self) -> None:
        u, v = (torch.tensor(points(3, 8, seed=s), dtype=torch.float16) for s in (0, 1))
        d = pqe(u, v, components=2, measure="gaussian", scale=300.0)  # exp(-60) is no number in float16
        assert d.dtype == torch.float16
        exact = pqe(u.double(), v.double(), components=2, measure="gaussian", scale=300.0)
        torch.testing.assert_close(d.double(), exact, rtol=1e-3, atol=0)

    def test_a_traced_scale_has_no_wrong_answers(self) -> None:
        """One too large for the series, and a negative one, cannot be refused: the answer is NaN, not a number."""
        u, v = points(2, 4), points(2, 4, seed=1) + 9
        a, b = jnp.asarray(u), jnp.asarray(v)

        @jax.jit
        def both(scale: Any) -> Any:
            settings: dict[str, Any] = {"components": 1, "measure": "gaussian", "scale": scale}
            return pqe(a, b, **settings), pqe_vjp(a, b, jnp.ones(2), **settings)

        settings: dict[str, Any] = {"components": 1, "measure": "gaussian", "scale": 50.0}
        found, slopes = both(50.0)
        np.testing.assert_allclose(found, pqe(u, v, **settings), atol=1e-12)
        np.testing.assert_allclose(slopes[0], pqe_vjp(u, v, np.ones(2), **settings)[0], atol=1e-12)
        for scale in (1e5, -1.0):
            found, slopes = both(scale)
            assert np.isnan(found).all()
            assert all(np.isnan(x).all() for x in slopes)

    @pytest.mark.parametrize("variance", [1e-300, 1e-4, 1e308])
    def test_extreme_variances(self, variance: float) -> None:
        """Without a warning, which the tests take for an error; and the body says what the kernels do."""
        for size in (1e-3, 1.0, 1e20):
            u, v, g = size * np.array([1.0, 0.5, 0.0]), size * np.array([0.2, 0.5, 1e-150]), np.array(1.0)
            settings: dict[str, Any] = {"components": 1, "measure": "gaussian"}
            found = pqe_vjp(u, v, g, variance=variance, **settings)
            with eq.portable():
                body = pqe_vjp(u, v, g, variance=variance, **settings)
            terms = terms_for(0.4, 1e-16)
            *_, slope, _ = pqe_pairs_slopes(g, u, v, None, np.array(variance), 1.0, terms=terms, **settings)
            for a, b in zip(found, body, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-14)
            assert np.isfinite(slope)

    def test_derivatives_with_small_variances(self) -> None:
        variance = np.array([[1e-2, 1e-3, 1e-4]])
        u, v = 0.03 * points(3), 0.03 * points(3, seed=1)
        tensors = [torch.tensor(x, requires_grad=True) for x in (u, v, variance)]
        pqe(*tensors[:2], components=1, measure="gaussian", variance=tensors[2]).backward()
        for which, tensor in enumerate(tensors):
            expected = differences(
                lambda u, v, s: pqe(u, v, components=1, measure="gaussian", variance=s), [u, v, variance], which, 1e-8
            )
            np.testing.assert_allclose(tensor.grad, expected, rtol=1e-4, atol=1e-6)

    def test_a_sure_exceedance_in_the_body(self) -> None:
        settings: dict[str, Any] = {"components": 1, "measure": "gaussian", "scale": 900.0}
        for u, expected in ((np.zeros(2), 1.0), (np.array([0.0, np.nan]), np.nan)):
            for case in (contextlib.nullcontext, eq.portable):
                with case():
                    np.testing.assert_equal(float(pqe(u, np.full(2, 30.0), **settings)), expected)

    def test_a_sure_exceedance(self) -> None:
        """L = 1 in floating point: the product of the others, without a division by zero."""
        p, rest = others(np.array([[1.0, 0.5, 0.75], [1.0, 1.0, 0.5], [0.5, 0.5, 0.0]]))
        np.testing.assert_allclose(p, [1, 1, 0.75], atol=1e-15)
        np.testing.assert_allclose(rest, [[0.125, 0, 0], [0, 0, 0], [0.5, 0.5, 0.25]], atol=1e-15)
        u, v = np.array([0.0, 0.0, 0.1]), np.array([30.0, 30.0, 0.2])
        gu, gv = pqe_vjp(u, v, np.array(1.0), components=1, measure="gaussian", variance=0.01, scale=1500.0)
        assert np.isfinite(gu).all()
        assert np.isfinite(gv).all()


def problems(dtype: str, measure: str, seed: int = 0, k: int = 2, l: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    u, v = (
        points(2, 3, k * l, seed=seed, dtype=dtype, ties=seed % 2 == 1),
        points(2, 66, k * l, seed=seed + 1, dtype=dtype),
    )
    g = points(2, 3, 66, seed=seed + 2, dtype=dtype)
    weights = rng.random(k).astype(dtype) if seed % 3 else None
    gaussian: tuple[Any, Any] = (0.7, 2.0)
    if seed % 2 == 0:
        gaussian = rng.random((k, 1)).astype(dtype) + 0.5, 3 * rng.random(l).astype(dtype)
    parameters = (weights, *(gaussian if measure == "gaussian" else (None, None)))
    settings = {"components": k, "measure": measure, "terms": 25 if measure == "gaussian" else 0}
    yield (u, v, *parameters), settings, pqe_all
    yield (g, u, v, *parameters), settings, pqe_all_slopes
    u = points(2, 66, k * l, seed=seed + 3, dtype=dtype)
    yield (u, v, *parameters), settings, pqe_pairs
    yield (g[:, 0], u, v, *parameters), settings, pqe_pairs_slopes


def sample(name: str) -> Any:
    """For tests/test_kernel.py."""

    def samples(rng: np.random.Generator, dtype: str) -> Any:
        for measure, seed, l in (("lebesgue", 0, 3), ("lebesgue", 1, 8), ("gaussian", 2, 3), ("gaussian", 3, 3)):
            if name.endswith("_grad") and seed == 2:
                continue  # derivatives with respect to variance and scale are left to the body
            for args, settings, kernel in problems(dtype, measure, seed, l=l):
                if kernel.name == name:
                    yield args, settings

    return samples


class TestKernels:
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    @pytest.mark.parametrize("measure", MEASURES)
    def test_like_the_bodies(self, measure: str, dtype: str) -> None:
        for seed, l in ((0, 1), (1, 3), (2, 13)):
            for args, settings, kernel in problems(dtype, measure, seed, l=l):
                out, body = (x if isinstance(x, tuple) else (x,) for x in both(kernel, args, settings))
                for a, b in zip(out, body, strict=True):
                    assert (a is None) == (b is None)
                    if a is not None:
                        assert (a.dtype, a.shape) == (b.dtype, b.shape)
                        scale = abs(b).max(initial=0.05)
                        np.testing.assert_allclose(a, b, rtol=0, atol=scale * (1e-12 if dtype == "float64" else 1e-4))

    @pytest.mark.parametrize("measure", MEASURES)
    def test_pairs_of_two_shapes_are_left_to_the_body(self, measure: str) -> None:
        """Kernels of pairs read two arrays in step."""
        u, v, g = points(66, 6), points(1, 6, seed=1), points(66, seed=2)
        settings = {"components": 2, "measure": measure, "terms": 25 if measure == "gaussian" else 0}
        parameters = (None, 1.0, 1.0) if measure == "gaussian" else (None, None, None)
        same = np.repeat(v, 66, 0)
        found = pqe_pairs(u, v, *parameters, **settings)
        np.testing.assert_allclose(found, pqe_pairs(u, same, *parameters, **settings), atol=1e-14)
        slopes = pqe_pairs_slopes(g, u, v, *parameters, **settings)
        np.testing.assert_allclose(slopes[0], pqe_pairs_slopes(g, u, same, *parameters, **settings)[0], atol=1e-14)

    @pytest.mark.parametrize("measure", MEASURES)
    def test_pairs_like_all_pairs(self, measure: str) -> None:
        for n, m in ((0, 3), (3, 0), (1, 65)):
            u, v = points(n, 6), points(m, 6, seed=1)
            d = pqe_pairwise(u, v, components=2, measure=measure)
            np.testing.assert_allclose(d, pqe(u[:, None], v, components=2, measure=measure), atol=1e-15)
            flat = pqe(np.repeat(u, m, 0), np.tile(v, (n, 1)), components=2, measure=measure)
            np.testing.assert_allclose(d.ravel(), flat, atol=1e-14)


class TestDerivatives:
    @pytest.mark.parametrize("measure", MEASURES)
    def test_differences(self, measure: str) -> None:
        u, v, weights = points(2, 4), points(3, 4, seed=1), np.array([0.5, 2.0])
        arrays = [u, v, weights]
        if measure == "gaussian":
            arrays += [np.array([[0.7], [2.0]]), np.array([1.0, 3.0])]
        g = points(2, 3, seed=2)

        def distances(u: Any, v: Any, weights: Any, *more: Any) -> Any:
            gaussian = {"variance": more[0], "scale": more[1]} if more else {}
            return pqe_pairwise(u, v, components=2, measure=measure, weights=weights, **gaussian)

        tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
        (distances(*tensors) * torch.tensor(g)).sum().backward()
        traced = jax.jit(jax.grad(lambda *x: (distances(*x[:3], *arrays_of(x[3:])) * g).sum(), tuple(range(3))))

        def arrays_of(x: Any) -> Any:
            return [jnp.asarray(y) for y in arrays[3:]]

        slopes = traced(*map(jnp.asarray, arrays))
        for which, tensor in enumerate(tensors):
            expected = differences(lambda *x: (distances(*x) * g).sum(), arrays, which)
            assert tensor.grad is not None
            np.testing.assert_allclose(tensor.grad, expected, atol=1e-8)
            if which < 3:
                np.testing.assert_allclose(slopes[which], expected, atol=1e-8)
        settings: dict[str, Any] = {"components": 2, "measure": measure, "weights": weights}
        if measure == "gaussian":
            settings |= {"variance": arrays[3], "scale": arrays[4]}
        for found, tensor in zip(pqe_pairwise_vjp(u, v, g, **settings), tensors, strict=False):
            np.testing.assert_allclose(found, tensor.grad, atol=1e-14)
        for found, x in zip(pqe_vjp(u[:, None], v, g, **settings), tensors, strict=False):
            np.testing.assert_allclose(found.reshape(x.shape), x.grad, atol=1e-14)

    @pytest.mark.parametrize("measure", MEASURES)
    def test_far_points_pull_at_nothing(self, measure: str) -> None:
        u, v = torch.tensor([[100.0, -50.0]], requires_grad=True), torch.tensor([[-100.0, 60.0]])
        pqe(u, v, components=1, measure=measure).sum().backward()
        assert u.grad is not None
        assert torch.isfinite(u.grad).all()


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"components": 4}, "multiple of components, got 6 with components=4"),
            ({"measure": "cauchy"}, "measure must be one of 'lebesgue', 'gaussian', got 'cauchy'"),
            ({"weights": np.array([1.0, -2.0])}, "weights must be at least 0 and finite in float64, got -2.0 at index"),
            ({"weights": np.ones(3)}, r"weights must have shape \(2,\)"),
            ({"weights": np.array([1, 2])}, "weights holds int64"),
            ({"variance": 1.0}, "variance belongs to measure='gaussian'"),
            ({"scale": 1.0}, "scale belongs to measure='gaussian'"),
            ({"measure": "gaussian", "variance": 0.0}, "variance must be positive and finite in float64, got 0.0"),
            ({"measure": "gaussian", "variance": np.inf}, "variance must be positive and finite in float64, got inf"),
            ({"measure": "gaussian", "variance": np.array(np.inf)}, "variance must be positive and finite"),
            ({"weights": np.array([1.0, np.inf])}, r"weights must be .* finite in float64, got inf at index \(1,\)"),
            ({"weights": np.array([1.0, np.nan])}, "weights must be at least 0 and finite in float64, got nan"),
            ({"measure": "gaussian", "scale": np.inf}, "scale must be at least 0 and finite in float64, got inf"),
            (
                {"measure": "gaussian", "variance": np.array([1.0, 0.0, 2.0])},
                r"variance must be positive and finite in float64, got 0.0 at index \(1,\)",
            ),
            ({"measure": "gaussian", "variance": np.ones(2)}, r"variance must broadcast to \(2, 3\)"),
            ({"measure": "gaussian", "scale": -1.0}, "scale must be at least 0 and finite in float64, got -1.0"),
            ({"measure": "gaussian", "scale": 1e5}, "scale must be at most 1730 in float64"),
            ({"measure": "gaussian", "scale": "big"}, "scale must be a number"),
        ],
    )
    def test_it_is_said(self, change: dict[str, Any], message: str) -> None:
        given: dict[str, Any] = {"u": points(3, 6), "v": points(3, 6, seed=1), "components": 2, **change}
        with pytest.raises((TypeError, ValueError), match=message):
            pqe(given.pop("u"), given.pop("v"), **given)

    def test_what_is_no_number_in_float32(self) -> None:
        u = points(3, 6, dtype="float32")
        for variance in (1e-300, np.array([1.0, 1e-300, 1.0])):
            with pytest.raises(ValueError, match="variance must be positive and finite in float32, got 1e-300"):
                pqe(u, u, components=2, measure="gaussian", variance=variance)
        with pytest.raises(ValueError, match=r"weights must be at least 0 and finite in float32, got 1e\+300"):
            pqe(u, u, components=2, weights=np.array([1.0, 1e300]))
        settings: dict[str, Any] = {"components": 2, "measure": "gaussian", "variance": np.ones((2, 1), "float32")}
        assert pqe(points(3, 6), points(3, 6), **settings).shape == (3,)  # narrower ones are fine

    @pytest.mark.parametrize("cotangent", [1.0, None, [1.0]])
    def test_a_cotangent_that_is_no_array(self, cotangent: Any) -> None:
        for function in (pqe_vjp, pqe_pairwise_vjp):
            with pytest.raises(TypeError, match=r"cotangent must be an array like the distances, float64 \(.*got"):
                function(points(3, 6), points(3, 6), cotangent, components=2)

    def test_a_scale_too_large_for_float32(self) -> None:
        with pytest.raises(ValueError, match="or compute in float64"):
            pqe_pairwise(points(3, 6, dtype="float32"), components=2, measure="gaussian", scale=1000.0)
