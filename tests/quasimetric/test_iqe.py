from __future__ import annotations

import contextlib
import tracemalloc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.quasimetric import ALPHA, iqe, iqe_pairwise, iqe_pairwise_vjp, iqe_vjp
from equipoise.quasimetric import panels as panels_module
from equipoise.quasimetric.intervals import iqe_all, iqe_all_slopes, iqe_pairs, iqe_pairs_slopes
from equipoise.quasimetric.normal import normal_cdf
from equipoise.quasimetric.rows import row_sum
from equipoise.quasimetric.running import running_maximum

from ..backends import Case
from .problems import REDUCTIONS, all_lengths, differences, lengths, reduced, shortest_paths


def points(*shape: int, seed: int = 0, dtype: str = "float64", ties: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.integers(-3, 4, shape) if ties else rng.normal(size=shape)).astype(dtype)


class TestKnownAnswers:
    def test_unit_interval_and_two_points(self) -> None:
        zero, one = np.zeros(4), np.ones(4)
        assert iqe(zero, one, components=1) == 1
        assert iqe(one, zero, components=1) == 0
        u, v = np.array([0.0, 0.5, 3.0]), np.array([1.0, 2.0, 2.0])
        assert iqe(u, v, components=1) == 2
        assert iqe(v, u, components=1) == 1

    def test_unions_in_rational_arithmetic(self, on: Case) -> None:
        u, v = points(2, 3, 10), points(2, 4, 10, seed=1)
        exact = np.array([all_lengths(x, y, 2) for x, y in zip(u, v, strict=True)])
        pairs = np.array(
            [[lengths(x, y, 2) for x, y in zip(*pair, strict=True)] for pair in zip(u, v[:, :3], strict=True)]
        )

        def both(u: Any, v: Any) -> Any:
            settings: dict[str, Any] = {"components": 2, "alpha": 0.25}
            return iqe_pairwise(u, v, **settings), iqe(u, v[:, :3, :], **settings)

        found, paired = on.numpy(on.call(both, u, v))
        np.testing.assert_allclose(found, reduced(exact, "maxmean", 0.25), atol=1e-14)
        np.testing.assert_allclose(paired, reduced(pairs, "maxmean", 0.25), atol=1e-14)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_reductions(self, reduction: str) -> None:
        u, v = points(3, 10), points(4, 10, seed=1)
        expected = reduced(all_lengths(u, v, 2), reduction, 0.25)
        for case in (contextlib.nullcontext, eq.portable):
            with case():
                found = iqe_pairwise(u, v, components=2, reduction=reduction, alpha=0.25)
                np.testing.assert_allclose(found, expected, atol=1e-14)

    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_every_finite_quasimetric_is_represented_exactly(self, on: Case, dtype: str) -> None:
        D = shortest_paths(12, 3, 0.4).astype(dtype)
        assert np.isfinite(D).all()
        found = on.call(lambda x: iqe_pairwise(x, components=12, reduction="max"), -D)
        assert np.array_equal(on.numpy(found), D)

    def test_width_one_is_a_relu(self) -> None:
        u, v = points(5, 6), points(5, 6, seed=1)
        found = iqe(u, v, components=6, reduction="none")
        assert np.array_equal(found, np.maximum(v - u, 0))

    def test_alpha(self) -> None:
        u, v = points(5, 6), points(5, 6, seed=1)
        for alpha, name in ((0.0, "mean"), (1.0, "max"), (np.array(1), "max")):
            found = iqe(u, v, components=3, alpha=alpha)
            np.testing.assert_allclose(found, iqe(u, v, components=3, reduction=name), rtol=1e-15)
        assert abs(ALPHA - 1 / (1 + np.exp(1))) < 1e-16


numbers = st.one_of(st.integers(-6, 6).map(lambda k: k / 2), st.floats(-8, 8, width=32))


@st.composite
def three(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Three points of one dimension, and a number of components."""
    k, l = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 5, 8]))
    rows = draw(st.lists(st.lists(numbers, min_size=k * l, max_size=k * l), min_size=3, max_size=3))
    return np.array(rows), k


class TestProperties:
    @given(three(), st.sampled_from([*REDUCTIONS[:-1]]))
    def test_a_quasimetric(self, drawn: tuple[np.ndarray, int], reduction: str) -> None:
        x, k = drawn
        d = iqe_pairwise(x, components=k, reduction=reduction)
        assert np.all(np.diag(d) == 0)
        assert np.all(d >= 0)
        slack = (d[:, :, None] + d[None, :, :]) - d[:, None, :]
        assert slack.min() >= -1e-12 * (1 + d.max())

    @given(three())
    def test_scale_shift_and_order(self, drawn: tuple[np.ndarray, int]) -> None:
        x, k = drawn
        (u, v, w), l = x, x.shape[1] // k
        d = iqe(u, v, components=k, reduction="none")
        assert np.array_equal(iqe(4 * u, 4 * v, components=k, reduction="none"), 4 * d)
        shift = np.repeat(np.arange(1.0, k + 1), l)
        np.testing.assert_allclose(iqe(u + shift, v + shift, components=k, reduction="none"), d, atol=1e-12)
        turned = np.arange(k * l).reshape(k, l)[:, ::-1].reshape(-1)
        np.testing.assert_allclose(iqe(u[turned], v[turned], components=k, reduction="none"), d, atol=1e-12)
        higher = iqe(u, v + abs(w), components=k, reduction="none")
        assert np.all(higher >= d - 1e-12)
        assert np.all(iqe(u + abs(w), v, components=k, reduction="none") <= d + 1e-12)

    @given(three(), st.sampled_from(REDUCTIONS))
    def test_derivatives_add_up(self, drawn: tuple[np.ndarray, int], reduction: str) -> None:
        """Moving all points moves nothing, and distances scale with points: exactly so for halves."""
        x, k = drawn
        x = np.round(2 * x) / 2
        settings: dict[str, Any] = {"components": k, "reduction": reduction, "alpha": 0.5}
        (u, v), tail = x[:2], (k,) if reduction == "none" else ()
        gu, gv = iqe_vjp(u, v, np.ones(tail), **settings)
        d = iqe(u, v, **settings)
        exact = reduction in ("sum", "max", "none") or k < 3
        tolerance = 0 if exact else 1e-12
        assert abs(gu.sum() + gv.sum()) <= tolerance
        assert abs(u @ gu + v @ gv - d.sum()) <= tolerance

    def test_a_point_is_at_zero_from_itself_far_from_the_origin(self) -> None:
        for dtype, offset in (("float32", 1e6), ("float64", 1e15), ("float32", 1e-42)):
            x = (points(7, 32) * (1 if offset > 1 else 1e-40) + offset).astype(dtype)
            for case in (contextlib.nullcontext, eq.portable):
                with case():
                    assert np.all(np.diag(iqe_pairwise(x, components=4)) == 0)
                    assert np.all(iqe(x, x, components=4) == 0)
                    gu, gv = iqe_vjp(x, x, np.ones(7, dtype), components=4)
                    assert not gu.any()
                    assert not gv.any()

    def test_float32(self) -> None:
        u, v = points(40, 128), points(30, 128, seed=1)
        exact = iqe_pairwise(u, v, components=8)
        for case in (contextlib.nullcontext, eq.portable):
            with case():
                found = iqe_pairwise(u.astype("float32"), v.astype("float32"), components=8)
                assert found.dtype == np.float32
                assert abs(found - exact).max() <= 1e-6 * exact.max()

    def test_nan_stays_where_it_came_from(self, on: Case) -> None:
        """In every place of a component, on either side: exactly the distances that it touches are NaN."""
        u, v = points(9, 8), points(70, 8, seed=1)
        for t in range(4):
            u[t, t], v[10 * t, 4 + t] = np.nan, np.nan
        touched = np.isnan(u).any(-1)[:, None] | np.isnan(v).any(-1)[None, :]
        names = ("sum", "max", "maxmean")

        def every(u: Any, v: Any) -> Any:
            everything = [iqe_pairwise(u, v, components=2, reduction=name) for name in names]
            return everything, [iqe(u, v[5:14, :], components=2, reduction=name) for name in names]

        everything, pairs = on.numpy(on.call(every, u, v))
        for d, some in zip(everything, pairs, strict=True):
            assert np.array_equal(np.isnan(d), touched)
            assert np.array_equal(np.isnan(some), touched[np.arange(9), 5 + np.arange(9)])


class TestBroadcasting:
    SHAPES = (
        ((4, 1, 6), (5, 6)),
        ((4, 1, 6), (1, 5, 6)),
        ((1, 5, 6), (4, 1, 6)),
        ((5, 6), (4, 1, 6)),
        ((3, 4, 1, 6), (3, 1, 5, 6)),
        ((4, 1, 6), (3, 1, 5, 6)),
        ((6,), (5, 6)),
        ((1, 6), (2, 5, 6)),
        ((5, 6), (6,)),
        ((3, 1, 4, 6), (1, 5, 1, 6)),
        ((3, 1, 6), (4, 6)),
        ((3, 1, 1, 6), (2, 4, 6)),
        ((2, 4, 6), (3, 1, 1, 6)),
        ((2, 3, 1, 1, 6), (2, 1, 2, 4, 6)),
        ((2, 1, 2, 4, 6), (2, 3, 1, 1, 6)),
        ((3, 1, 1, 6), (3, 1, 1, 6)),
        ((3, 1, 1, 6), (0, 4, 6)),
        ((0, 1, 6), (4, 6)),
        ((6,), (0, 6)),
        ((6,), (6,)),
    )

    @pytest.mark.parametrize("reduction", ["maxmean", "none"])
    @pytest.mark.parametrize(("left", "right"), SHAPES)
    def test_like_a_loop(self, left: tuple[int, ...], right: tuple[int, ...], reduction: str) -> None:
        u, v = points(*left), points(*right, seed=1)
        settings: dict[str, Any] = {"components": 2, "reduction": reduction}
        tail = (2,) if reduction == "none" else ()
        shape = np.broadcast_shapes(left, right)
        wide = [np.broadcast_to(x, shape).reshape(-1, 6) for x in (u, v)]
        expected = np.array([iqe(x, y, **settings) for x, y in zip(*wide, strict=True)]).reshape(shape[:-1] + tail)
        found = iqe(u, v, **settings)
        np.testing.assert_allclose(found, expected, atol=1e-14)
        assert found.shape == shape[:-1] + tail
        g = points(*found.shape, seed=2)
        t, s = (torch.tensor(x, requires_grad=True) for x in (u, v))
        (iqe(t, s, **settings) * torch.tensor(g)).sum().backward()
        gu, gv = iqe_vjp(u, v, g, **settings)
        assert t.grad is not None
        assert s.grad is not None
        np.testing.assert_allclose(gu, t.grad, atol=1e-13)
        np.testing.assert_allclose(gv, s.grad, atol=1e-13)

    def test_all_pairs_written_as_a_broadcast_take_no_memory_for_pairs(self) -> None:
        u, v = points(300, 64, dtype="float32"), points(300, 64, seed=1, dtype="float32")
        g = np.ones((300, 300), "float32")
        iqe(u[:, None], v, components=4)
        iqe_vjp(u[:, None], v, g, components=4)  # compiled: that takes memory too
        tracemalloc.start()
        iqe(u[:, None], v, components=4)
        iqe_vjp(u[:, None], v, g, components=4)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 300 * 300 * 64 * 4 / 8

    @pytest.mark.parametrize("turned", [False, True])
    def test_all_pairs_with_several_axes_take_none_either(self, turned: bool) -> None:
        u, v = points(100, 1, 1, 64), points(2, 50, 64, seed=1)
        g = np.ones((100, 2, 50))
        u, v = (v, u) if turned else (u, v)
        iqe(u, v, components=4)
        iqe_vjp(u, v, g, components=4)
        tracemalloc.start()
        iqe(u, v, components=4)
        iqe_vjp(u, v, g, components=4)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 * 100 * 64 * 8 / 4

    def test_a_batch_of_all_pairs(self) -> None:
        u, v = points(2, 1, 4, 6), points(3, 5, 6, seed=1)
        found = iqe_pairwise(u, v, components=3)
        assert found.shape == (2, 3, 4, 5)
        np.testing.assert_allclose(found[1, 2], iqe_pairwise(u[1, 0], v[2], components=3), atol=1e-15)
        gu, gv = iqe_pairwise_vjp(u, v, np.ones((2, 3, 4, 5)), components=3)
        assert (gu.shape, gv.shape) == (u.shape, v.shape)
        np.testing.assert_allclose(gu.sum() + gv.sum(), 0, atol=1e-12)


WIDTHS = (1, 2, 3, 7, 8, 16, 33, 64, 65)


class TestKernels:
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    @pytest.mark.parametrize("l", WIDTHS)
    def test_like_the_bodies(self, l: int, dtype: str) -> None:
        for number, (reduction, ties) in enumerate((r, t) for r in REDUCTIONS for t in (False, True)):
            for args, settings, kernel in problems(l, dtype, reduction, ties, number):
                out, body = (x if isinstance(x, tuple) else (x,) for x in both(kernel, args, settings))
                for a, b in zip(out, body, strict=True):
                    assert (a.dtype, a.shape) == (b.dtype, b.shape)
                    scale = abs(b).max(initial=0.05)
                    np.testing.assert_allclose(a, b, rtol=0, atol=scale * (1e-12 if dtype == "float64" else 1e-4))

    @pytest.mark.parametrize("m", [0, 1, 63, 64, 65])
    @pytest.mark.parametrize("n", [0, 1, 65])
    def test_sizes(self, n: int, m: int) -> None:
        u, v, g = points(n, 6, ties=True), points(m, 6, seed=1, ties=True), points(n, m, seed=2)
        found = iqe_pairwise(u, v, components=2)
        slopes = iqe_pairwise_vjp(u, v, g, components=2)
        rows = [iqe(np.repeat(u, m, 0), np.tile(v, (n, 1)), components=2).reshape(n, m)]
        with eq.portable():
            rows.append(iqe_pairwise(u, v, components=2))
            expected = iqe_pairwise_vjp(u, v, g, components=2)
        for other in rows:
            np.testing.assert_allclose(found, other, atol=1e-14)
        for a, b in zip(slopes, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)

    def test_panels_of_the_bodies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        u, v, g = points(2, 5, 6), points(2, 7, 6, seed=1), points(2, 5, 7, 2, seed=2)
        settings: dict[str, Any] = {"components": 2, "reduction": "none"}
        whole, slopes = iqe_all.body(u, v, 0.5, **settings), iqe_all_slopes.body(g, u, v, 0.5, **settings)
        monkeypatch.setattr(panels_module, "MOST", 8 * 8 * 6 * 7 * 2 * 2)  # two rows at a time
        np.testing.assert_allclose(iqe_all.body(u, v, 0.5, **settings), whole, atol=0)
        f = jax.jit(lambda u, v: iqe_pairwise_vjp(u, v, jnp.asarray(g), **settings))
        for found in (iqe_all_slopes.body(g, u, v, 0.5, **settings)[:2], f(u, v)):
            for a, b in zip(found, slopes[:2], strict=True):
                np.testing.assert_allclose(a, b, atol=1e-14)


def problems(l: int, dtype: str, reduction: str, ties: bool, seed: int, k: int = 3) -> Any:
    """The arguments of all four kernels."""
    settings = {"components": k, "reduction": reduction}
    tail = (k,) if reduction == "none" else ()
    u, v = (points(2, n, k * l, seed=seed + n, dtype=dtype, ties=ties) for n in (3, 66))
    g = points(2, 3, 66, *tail, seed=seed, dtype=dtype)
    yield (u, v, 0.3), settings, iqe_all
    yield (g, u, v, 0.3), settings, iqe_all_slopes
    u = points(2, 66, k * l, seed=seed + 7, dtype=dtype, ties=ties)
    yield (u, v, 0.3), settings, iqe_pairs
    yield (g[:, 0], u, v, 0.3), settings, iqe_pairs_slopes


def both(kernel: Any, args: Any, settings: Any) -> tuple[Any, Any]:
    out = kernel(*args, **settings)
    with eq.portable():
        return out, kernel.body(*args, **settings)


def sample(name: str) -> Any:
    """For tests/test_kernel.py."""

    def samples(rng: np.random.Generator, dtype: str) -> Any:
        for l, reduction, ties in ((5, "maxmean", False), (4, "max", True), (65, "none", False), (3, "sum", True)):
            for args, settings, kernel in problems(l, dtype, reduction, ties, int(rng.integers(100))):
                if kernel.name == name:
                    yield args, settings

    return samples


def sample_running(rng: np.random.Generator, dtype: str) -> Any:
    yield (rng.normal(size=(2, 9)).astype(dtype),), {}


def sample_normal(rng: np.random.Generator, dtype: str) -> Any:
    yield (3 * rng.normal(size=(2, 50)).astype(dtype),), {}


def sample_rows(rng: np.random.Generator, dtype: str) -> Any:
    yield (rng.normal(size=(20, 3)).astype(dtype), rng.integers(0, 6, 20)), {"size": 7}


class TestDerivatives:
    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_differences(self, reduction: str) -> None:
        u, v, alpha = points(3, 8), points(4, 8, seed=1), np.array(0.3)
        g = points(3, 4, *((2,) if reduction == "none" else ()), seed=2)

        def value(u: Any, v: Any, alpha: Any) -> Any:
            return (iqe_pairwise(u, v, components=2, reduction=reduction, alpha=alpha) * g).sum()

        arrays = [u, v, alpha]
        expected = [differences(value, arrays, which) for which in range(3)]
        tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
        d = iqe_pairwise(*tensors[:2], components=2, reduction=reduction, alpha=tensors[2])
        (d * torch.tensor(g)).sum().backward()
        for tensor, slope in zip(tensors, expected, strict=True):
            np.testing.assert_allclose(0 if tensor.grad is None else tensor.grad, slope, atol=1e-8)
        for a, b in zip(
            iqe_pairwise_vjp(u, v, g, components=2, reduction=reduction, alpha=0.3), expected, strict=False
        ):
            np.testing.assert_allclose(a, b, atol=1e-8)

    def test_jax(self) -> None:
        u, v, g = points(5, 8), points(5, 8, seed=1), points(5, seed=2)
        expected = iqe_vjp(u, v, g, components=2)

        def value(u: Any, v: Any) -> Any:
            return (iqe(u, v, components=2) * g).sum()

        for grad in (jax.grad(value, (0, 1)), jax.jit(jax.grad(value, (0, 1)))):
            for a, b in zip(grad(jnp.asarray(u), jnp.asarray(v)), expected, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-14)
        each = jax.vmap(jax.grad(lambda u, v, g: g * iqe(u, v, components=2), (0, 1)))(u, v, g)
        np.testing.assert_allclose(each[1], expected[1], atol=1e-14)

    def test_second_derivatives_are_those_of_what_follows(self) -> None:
        """d is piecewise linear: the second derivative of d^2 is 2 grad d grad d^T."""
        u, v = points(6), points(6, seed=1)
        gu, _ = iqe_vjp(u, v, np.array(1.0), components=2)
        hessian = jax.jit(jax.jacrev(jax.grad(lambda u: iqe(u, jnp.asarray(v), components=2) ** 2)))(u)
        np.testing.assert_allclose(hessian, 2 * np.outer(gu, gu), atol=1e-14)
        t = torch.tensor(u, requires_grad=True)
        (g,) = torch.autograd.grad(
            iqe_pairwise(t[None], torch.tensor(v)[None], components=2)[0, 0] ** 2, t, create_graph=True
        )
        rows = [torch.autograd.grad(x, t, retain_graph=True)[0].numpy() for x in g]
        np.testing.assert_allclose(rows, 2 * np.outer(gu, gu), atol=1e-14)

    @pytest.mark.parametrize("reduction", ["sum", "maxmean", "none"])
    def test_a_penalty_on_the_derivative(self, reduction: str) -> None:
        """Its own derivative is zero, and is there."""
        u, v = (torch.tensor(points(5, 8, seed=s), requires_grad=True) for s in (0, 1))
        for function in (iqe, iqe_pairwise):
            total = function(u, v, components=2, reduction=reduction).sum()
            for slope in torch.autograd.grad(total, (u, v), create_graph=True):
                penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
                for second in torch.autograd.grad(penalty, (u, v), retain_graph=True, allow_unused=True):
                    assert second is None or not second.any()

    def test_reverse_mode_only(self) -> None:
        u, v = jnp.asarray(points(6)), jnp.asarray(points(6, seed=1))
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(lambda u: iqe(u, v, components=2), (u,), (u,))
        assert not jax.jit(jax.jacrev(jax.jacrev(lambda u: iqe(u, v, components=2))))(u).any()

    def test_torch_func(self) -> None:
        u, v = torch.tensor(points(5, 8)), torch.tensor(points(5, 8, seed=1))
        expected, _ = iqe_vjp(u.numpy(), v.numpy(), np.ones(5), components=2)
        found = torch.func.vmap(torch.func.grad(lambda u, v: iqe(u, v, components=2)))(u, v)
        np.testing.assert_allclose(found, expected, atol=1e-14)

    def test_at_ties_they_are_finite(self) -> None:
        u, v = points(6, 8, ties=True), points(70, 8, seed=1, ties=True)
        gu, gv = iqe_pairwise_vjp(u, v, np.ones((6, 70)), components=2, reduction="max")
        assert np.isfinite(gu).all()
        assert np.isfinite(gv).all()

    def test_half_precision(self) -> None:
        u, v = (torch.tensor(points(3, 8, seed=s), dtype=torch.bfloat16, requires_grad=True) for s in (0, 1))
        d = iqe(u, v, components=2)
        d.sum().backward()
        assert d.dtype == torch.bfloat16
        assert u.grad is not None
        assert torch.isfinite(u.grad).all()
        exact = iqe(u.detach().double(), v.detach().double(), components=2)
        np.testing.assert_allclose(d.detach().double(), exact, rtol=0.05)


class TestSmallKernels:
    def test_running_maximum(self, on: Case) -> None:
        x = points(3, 11)
        x[1, 4] = np.nan
        found = on.numpy(on.call(lambda x: running_maximum(x), x))
        assert np.array_equal(found, np.maximum.accumulate(x, axis=-1), equal_nan=True)

    def test_normal_cdf(self, on: Case) -> None:
        from scipy.special import ndtr

        x = np.concatenate([np.linspace(-30, 9, 400), [np.nan, 0.0]])
        found = on.numpy(on.call(lambda x: normal_cdf(x), x))
        np.testing.assert_allclose(found, ndtr(x), rtol=1e-12)
        half = normal_cdf(jnp.asarray([-1.0, 2.0], dtype=jnp.bfloat16))
        assert half.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(half, float), ndtr([-1.0, 2.0]), rtol=8e-3)
        for y in (jax.grad(lambda t: normal_cdf(t))(jnp.asarray(0.5)),):
            np.testing.assert_allclose(y, np.exp(-0.125) / np.sqrt(2 * np.pi), rtol=1e-14)

    def test_row_sum(self, on: Case) -> None:
        values, index = points(20, 3), np.random.default_rng(0).integers(0, 6, 20)
        expected = np.zeros((7, 3))
        np.add.at(expected, index, values)
        np.testing.assert_allclose(
            on.numpy(on.call(lambda x, i: row_sum(x, i, size=7), values, index)), expected, atol=1e-14
        )


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"components": 4}, "multiple of components, got 6 with components=4"),
            ({"components": 0}, "components must be at least 1, got 0"),
            ({"components": 2.0}, "components must be a whole number"),
            ({"u": points(3, 4)}, "points of one dimension"),
            ({"u": points(3, 6).astype("int64")}, "u holds int64; pass a floating-point array"),
            ({"u": points(3, 6, dtype="float32")}, "u holds float32 and v float64"),
            ({"u": [1.0]}, "u must be an array"),
            ({"u": points(2, 6)}, "do not broadcast"),
            ({"u": np.array(1.0)}, "must have shape"),
            ({"u": torch.zeros(3, 6)}, "two libraries, torch and numpy"),
            ({"reduction": "median"}, "'maxmean', 'sum', 'max', 'mean', 'none', got 'median'"),
            ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], got 1.5"),
            ({"alpha": np.nan}, "alpha must lie"),
            ({"alpha": np.ones(2)}, "alpha must be a number"),
        ],
    )
    def test_it_is_said(self, change: dict[str, Any], message: str) -> None:
        given: dict[str, Any] = {"u": points(3, 6), "v": points(3, 6, seed=1), "components": 2, **change}
        with pytest.raises((TypeError, ValueError), match=message):
            iqe(given.pop("u"), given.pop("v"), **given)

    def test_pairwise_and_cotangents(self) -> None:
        with pytest.raises(ValueError, match=r"u must have shape \(..., n, D\)"):
            iqe_pairwise(points(6), components=2)
        with pytest.raises(ValueError, match=r"cotangent must be like the distances, float64 \(3,\)"):
            iqe_vjp(points(3, 6), points(3, 6), np.ones(4), components=2)
        with pytest.raises(ValueError, match=r"cotangent must be like the distances, float64 \(3, 3, 2\)"):
            iqe_pairwise_vjp(points(3, 6), None, np.ones((3, 3)), components=2, reduction="none")

    @pytest.mark.parametrize("cotangent", [1.0, None, [1.0]])
    def test_a_cotangent_that_is_no_array(self, cotangent: Any) -> None:
        for function in (iqe_vjp, iqe_pairwise_vjp):
            with pytest.raises(TypeError, match=r"cotangent must be an array like the distances, float64 \(.*got"):
                function(points(3, 6), points(3, 6), cotangent, components=2)

    def test_a_context_moves_points(self) -> None:
        u, v = points(3, 6), points(3, 6, seed=1)
        with eq.backend("torch", dtype="float32"):
            found = iqe(u, v, components=2)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, iqe(u, v, components=2), rtol=1e-6)
