from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.backend import portable as portable_bodies
from equipoise.precondition import Psgd, XmatState, psgd
from equipoise.precondition.kronecker import norm_of, sign_rows, signs_like
from equipoise.record import leaves, map_arrays

from ..backends import Case
from .problems import DENSE, kron, kronecker, low_rank, outer, spectral, xshape

FORMS = tuple(DENSE)
KINDS = [("dense", form) for form in FORMS] + [("kronecker", form) for form in FORMS]
KINDS += [(kind, "quad") for kind in ("low_rank", "diagonal", "scaled", "xmat")]
INTEGRATED = [k for k in KINDS if k[0] in ("diagonal", "scaled") or (k[0] in ("dense", "kronecker") and k[1] != "eq")]
SHAPE = (3, 4)


def clean(kind: str, form: str = "quad", **more: Any) -> Psgd:
    return psgd(kind, form=form, damping=0.0, rank=2, **more)


def grown(p: Psgd, seed: int = 0, shape: tuple[int, ...] = SHAPE, pairs: int = 6, dtype: str = "float64") -> Any:
    """A state that has seen some pairs, with fresh bounds."""
    rng = np.random.default_rng(seed)
    V = rng.standard_normal((pairs, *shape)).astype(dtype)
    H = (V * (1 + rng.random(shape)) + 0.3 * rng.standard_normal((pairs, *shape))).astype(dtype)
    state = p.sweep(p.init(np.zeros(shape, dtype), rng=seed), V, H)
    return replace(state, L=map_arrays(np.zeros_like, state.L))


def pair(seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[Any, Any]:
    rng = np.random.default_rng(1000 + seed)
    return rng.standard_normal(shape), rng.standard_normal(shape)


seeds = st.integers(0, 50)


def sample_eq(rng: np.random.Generator, dtype: str) -> Any:
    for n in (1, 2, 9, 40):
        yield sweep_of(np.triu(rng.standard_normal((n, n)) / n, 1) + np.diag(0.5 + rng.random(n)), rng, dtype), {}
    yield sweep_of(np.eye(3), rng, dtype, step=1.9), {}  # here and there the diagonal would not stay positive


def sample_quad(rng: np.random.Generator, dtype: str) -> Any:
    for n in (1, 2, 9, 40):
        X = rng.standard_normal((n, n)) / n
        Q, V, *rest = sweep_of(X + X.T + np.eye(n), rng, dtype)
        yield (Q, V, *rest), {}
        yield (Q, None, *rest), {}


def sweep_of(Q: Any, rng: np.random.Generator, dtype: str, step: float = 0.4) -> tuple[Any, ...]:
    """Seven pairs, of which two say nothing."""
    V, H = rng.standard_normal((2, 7, Q.shape[0]))
    V[2], H[4] = 0, 0
    steps = np.linspace(step, step / 2, 7)
    return Q.astype(dtype), V.astype(dtype), H.astype(dtype), np.asarray(0.3), steps, 0.9


class TestFormulas:
    """One step of every kind is what its formula says with full matrices."""

    @pytest.mark.parametrize("whiten", [False, True])
    @pytest.mark.parametrize("form", FORMS)
    def test_dense(self, form: str, whiten: bool) -> None:
        if whiten and form == "eq":
            return
        p = clean("dense", form, step=0.2)
        state, (v, h) = grown(p), pair(0)
        got = p.update(state, None if whiten else v, h)
        expected = DENSE[form](state.Q, None if whiten else v.ravel(), h.ravel(), 0.2)
        np.testing.assert_allclose(got.Q, expected, atol=1e-13)
        assert got.count == state.count + 1

    @pytest.mark.parametrize("n", [1, 63, 64, 65, 130])
    def test_dense_eq_across_blocks(self, n: int) -> None:
        p = clean("dense", "eq", step=0.5)
        state, (v, h) = grown(p, shape=(n,), pairs=3), pair(0, (n,))
        np.testing.assert_allclose(p.update(state, v, h).Q, DENSE["eq"](state.Q, v, h, 0.5), atol=1e-12)

    @pytest.mark.parametrize("even", [True, False])
    def test_low_rank(self, even: bool) -> None:
        p = clean("low_rank")
        state, (v, h) = grown(p, pairs=6 if even else 7), pair(0)
        got = p.update(state, v, h)
        U, V, d = low_rank(state.U, state.V, state.d, v.ravel(), h.ravel(), 0.1, even)
        for new, old in ((got.U, U), (got.V, V), (got.d, d)):
            np.testing.assert_allclose(new, old, atol=1e-13)

    @pytest.mark.parametrize("v", [None, pair(0)[0]])
    def test_diagonal_and_scaled(self, v: Any) -> None:
        h, b = pair(0)[1], np.ones(SHAPE) if v is None else v
        p = clean("diagonal")
        q = grown(p).q
        one, other = (q * h.ravel()) ** 2, (b.ravel() / q) ** 2
        expected = q * (1 - 0.1 / (one + other).max() * (one - other))
        np.testing.assert_allclose(p.update(grown(p), v, h).q, expected, atol=1e-14)
        p = clean("scaled")
        q = grown(p).q
        one, other = np.mean((q * h) ** 2), np.mean((b / q) ** 2)
        np.testing.assert_allclose(p.update(grown(p), v, h).q, q * (1 - 0.1 / (one + other) * (one - other)))

    @pytest.mark.parametrize("n", [1, 2, 7, 8])
    def test_xmat(self, n: int) -> None:
        p = clean("xmat")
        state, (v, h) = grown(p, shape=(n,)), pair(0, (n,))
        Q = x_of(state)
        np.testing.assert_allclose(p.to_dense(state), Q.T @ Q, atol=1e-13)
        a, b = Q @ h, np.linalg.solve(Q.T, v)
        mu = 0.1 / (a * a + b * b).max()
        np.testing.assert_allclose(x_of(p.update(state, v, h)), Q - mu * xshape(outer(a, b)) @ Q, atol=1e-13)

    @pytest.mark.parametrize("shape", [(3, 4), (6,), (2, 3, 4), (1, 5), (12, 2)])
    @pytest.mark.parametrize("form", FORMS)
    def test_kronecker(self, form: str, shape: tuple[int, ...]) -> None:
        p = clean("kronecker", form, step=0.2)
        state, (v, h) = grown(p, shape=shape, pairs=3), pair(0, shape)
        np.testing.assert_allclose(p.to_dense(state), kron(state.Q).T @ kron(state.Q), atol=1e-12)
        for given_v in (v, None)[: 1 if form == "eq" else 2]:
            new = p.update(state, given_v, h).Q
            for got, expected in zip(new, kronecker(state.Q, given_v, h, 0.2, form, norm_of), strict=True):
                np.testing.assert_allclose(got, expected, atol=1e-12)

    def test_axes_with_a_diagonal(self) -> None:
        shapes = [Q.shape for Q in psgd("kronecker", max_dense=6).init(np.zeros((1, 5, 7, 20))).Q]
        assert shapes == [(1,), (5, 5), (7,), (20,)]
        assert [Q.shape for Q in psgd("kronecker").init(np.zeros((12, 2))).Q] == [(12,), (2, 2)]

    @pytest.mark.parametrize("n", [2, 5, 40, 150])
    def test_the_norm_is_bounded_from_below(self, n: int) -> None:
        rng = np.random.default_rng(n)
        for spread in (0.0, 0.5, 1.0):
            X = rng.standard_normal((n, max(2, n // 3))) * np.arange(1, 1 + max(2, n // 3)) ** -spread
            true = np.linalg.norm(X @ X.T, 2)
            assert 0.6 * true <= norm_of(X @ X.T) <= true * (1 + 1e-12)
        T = (X @ X.T).astype("f4")
        for size in (1e-30, 1e-20, 1e20, 1e30):
            assert norm_of(T * np.float32(size)) / size == pytest.approx(norm_of(T), rel=1e-4)

    def test_the_signs_are_kept_and_the_same(self) -> None:
        for T in (np.eye(5), np.eye(5, dtype="f4"), torch.eye(5)):
            first = sign_rows(T)
            assert sign_rows(T) is first
            np.testing.assert_array_equal(np.asarray(first), np.asarray(signs_like(jnp.eye(5))))

    def test_factors_are_brought_to_one_size(self) -> None:
        p, rng = clean("kronecker"), np.random.default_rng(0)
        state = p.init(np.zeros(SHAPE))
        state = replace(state, Q=(8 * state.Q[0], state.Q[1] / 8))
        V = rng.standard_normal((100, *SHAPE))
        before = p.sweep(state, V[:99], V[:99])
        after = p.sweep(before, V[99:], V[99:])
        sizes = [abs(Q).max() for Q in after.Q]
        assert sizes[0] == pytest.approx(sizes[1])
        assert abs(before.Q[0]).max() > 10 * abs(before.Q[1]).max()


def x_of(state: XmatState[Any]) -> Any:
    return np.diag(state.a) + np.diag(state.b)[:, ::-1]


class TestGroups:
    """What holds of every state, and of every step, whatever the pair."""

    @pytest.mark.parametrize(("kind", "form"), KINDS)
    @settings(max_examples=8)
    @given(seed=seeds)
    def test_p_is_symmetric_and_positive_and_has_its_inverse(self, kind: str, form: str, seed: int) -> None:
        p = clean(kind, form, step=0.4)
        state, (_, g) = grown(p, seed, pairs=12), pair(seed)
        P = p.to_dense(state)
        np.testing.assert_allclose(P, P.T, atol=1e-13 * abs(P).max())
        assert np.linalg.eigvalsh(P).min() > 0
        np.testing.assert_allclose(p.apply(state, g).ravel(), P @ g.ravel(), atol=1e-12 * abs(P).max())
        np.testing.assert_allclose(p.apply_inverse(state, p.apply(state, g)), g, atol=1e-9)

    @given(seed=seeds, step=st.floats(0.01, 0.99))
    def test_eq_stays_upper_triangular_with_a_positive_diagonal(self, seed: int, step: float) -> None:
        p = clean("dense", "eq", step=step)
        Q = grown(p, seed, pairs=20).Q
        assert np.array_equal(Q, np.triu(Q))
        assert np.diag(Q).min() > 0

    @given(seed=seeds)
    def test_quad_stays_symmetric(self, seed: int) -> None:
        Q = grown(clean("dense"), seed, pairs=20).Q
        assert np.array_equal(Q, Q.T)

    @pytest.mark.parametrize(("kind", "form"), KINDS)
    @settings(max_examples=8)
    @given(seed=seeds, c=st.sampled_from([-3.0, 0.01, 1e4]))
    def test_the_size_of_a_pair_does_not_matter(self, kind: str, form: str, seed: int, c: float) -> None:
        p = clean(kind, form)
        state, (v, h) = grown(p, seed), pair(seed)
        one, other = p.update(state, v, h), p.update(state, c * v, c * h)
        for x, y in zip(leaves(replace(one, L=())), leaves(replace(other, L=())), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-11)

    @given(seed=seeds)
    def test_eq_moves_with_the_group(self, seed: int) -> None:
        """Another basis, T upper triangular: Q T with (T^T v, T^-1 h) moves as Q with (v, h)."""
        p, rng = clean("dense", "eq", step=0.5), np.random.default_rng(seed)
        state, (v, h) = grown(p, seed, (6,)), pair(seed, (6,))
        T = np.triu(0.3 * rng.standard_normal((6, 6)), 1) + np.diag(0.5 + rng.random(6))
        other = p.update(replace(state, Q=state.Q @ T), T.T @ v, np.linalg.solve(T, h))
        np.testing.assert_allclose(other.Q, p.update(state, v, h).Q @ T, atol=1e-11)

    @pytest.mark.parametrize("kind", ["diagonal", "xmat", "low_rank"])
    @settings(max_examples=8)
    @given(seed=seeds)
    def test_units_of_the_entries_do_not_matter(self, kind: str, seed: int) -> None:
        """The same for a diagonal T."""
        p, rng = clean(kind), np.random.default_rng(seed)
        state, (v, h) = grown(p, seed, (6,)), pair(seed, (6,))
        t = 0.5 + rng.random(6)
        names = {"diagonal": ("q",), "xmat": ("a",), "low_rank": ("d",)}[kind]
        moved = {name: getattr(state, name) * t for name in names}
        if kind == "xmat":
            moved["b"] = state.b * t[::-1]
        other, one = p.update(replace(state, **moved), t * v, h / t), p.update(state, v, h)
        np.testing.assert_allclose(p.to_dense(other), t[:, None] * p.to_dense(one) * t, atol=1e-10)

    @pytest.mark.parametrize("form", ["quad", "qeq", "procrustes"])
    @settings(max_examples=8)
    @given(seed=seeds)
    def test_rotations_do_not_matter(self, form: str, seed: int) -> None:
        p, rng = clean("dense", form, step=0.3), np.random.default_rng(seed)
        state, (v, h) = grown(p, seed, (6,)), pair(seed, (6,))
        O = np.linalg.qr(rng.standard_normal((6, 6)))[0]
        other, one = p.update(replace(state, Q=O @ state.Q @ O.T), O @ v, O @ h), p.update(state, v, h)
        if form == "procrustes":  # its rotation is scaled by the norm of columns, which has a basis
            return
        np.testing.assert_allclose(other.Q, O @ one.Q @ O.T, atol=1e-11)

    @pytest.mark.parametrize("form", FORMS)
    def test_nothing_moves_at_the_solution(self, form: str) -> None:
        H = spectral(6, 10.0)
        values, vectors = np.linalg.eigh(H)
        Q = (vectors / np.sqrt(values)) @ vectors.T
        Q = np.linalg.cholesky(np.linalg.inv(H)).T if form == "eq" else Q
        p = clean("dense", form, step=0.5)
        state = replace(p.init(np.zeros(6)), Q=Q)
        v = pair(3, (6,))[0]
        np.testing.assert_allclose(p.update(state, v, H @ v).Q, Q, atol=1e-13)


class TestStates:
    @pytest.mark.parametrize(("kind", "form"), KINDS)
    def test_a_sweep_is_one_update_after_the_other(self, kind: str, form: str) -> None:
        p, rng = psgd(kind, form=form, rank=2, damping=1e-3, scale="auto"), np.random.default_rng(0)
        V = rng.standard_normal((5, *SHAPE))
        H = 3 * V + 0.1 * rng.standard_normal(V.shape)
        V[0] = 0
        start = p.init(np.zeros(SHAPE), rng=5)
        before = map_arrays(np.array, (start, V, H))
        one = start
        for v, h in zip(V, H, strict=True):
            one = p.update(one, v, h)
        for x, y in zip(leaves(p.sweep(start, V, H)), leaves(one), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)
        for x, y in zip(leaves(before), leaves((start, V, H)), strict=True):
            assert np.array_equal(x, y), "an input was written"

    @pytest.mark.parametrize(("kind", "form"), KINDS)
    @pytest.mark.parametrize("damping", [0.0, 1e-9])
    def test_a_zero_pair_is_skipped(self, kind: str, form: str, damping: float) -> None:
        p = psgd(kind, form=form, rank=2, damping=damping)
        state, (v, h) = grown(clean(kind, form)), pair(0)
        zeros: list[tuple[Any, Any]] = [(0 * v, h), (v, 0 * h)]
        if (kind, form) in INTEGRATED:
            zeros.append((None, 0 * h))
        for one in zeros:
            new = p.update(state, *one)
            assert new.count == state.count + 1
            for x, y in zip(leaves(replace(new, count=state.count)), leaves(state), strict=True):
                assert np.array_equal(x, y)

    def test_the_first_gradient_may_be_zero(self) -> None:
        for kind, form in INTEGRATED:
            p = psgd(kind, form=form, scale="auto")
            state = p.update(p.init(np.zeros(SHAPE)), None, np.zeros(SHAPE))
            state = p.update(state, None, 5 * np.ones(SHAPE))
            assert np.isfinite(p.to_dense(state)).all()
            assert state.count == 2

    def test_automatic_scale(self) -> None:
        rng = np.random.default_rng(0)
        v, g = rng.standard_normal((2, 50))
        for kind in ("dense", "diagonal", "low_rank", "kronecker", "scaled", "xmat"):
            p = psgd(kind, scale="auto", damping=0.0, step=1e-12, rank=1)
            bare = psgd(kind, damping=0.0, step=1e-12, rank=1)
            like, start = np.zeros(50), bare.to_dense(bare.init(np.zeros(50)))
            P = p.to_dense(p.update(p.init(like), v, 1e3 * g))
            factor = np.sqrt(np.mean(v**2)) / np.mean((1e3 * g) ** 4) ** 0.25
            np.testing.assert_allclose(P, factor * start, rtol=1e-6, atol=1e-12)
            if kind in ("low_rank", "xmat"):
                continue
            P = p.to_dense(p.update(p.init(like), None, 1e30 * g))
            np.testing.assert_allclose(P, start / np.mean((1e30 * g) ** 4) ** 0.25, rtol=1e-6, atol=1e-40)

    def test_automatic_scale_is_found_once(self) -> None:
        """A first pair that is skipped as unsound has set the scale all the same."""
        p = psgd("dense", form="eq", scale="auto", step=5.0, damping=0.0)
        v, h = np.eye(4)[:2]
        once = p.update(p.init(np.zeros(4)), v, 1e-3 * h)
        assert np.array_equal(once.Q, once.Q[0, 0] * np.eye(4))
        assert once.Q[0, 0] != 1
        assert np.array_equal(p.update(once, v, 1e-3 * h).Q, once.Q)

    @pytest.mark.parametrize(("kind", "form"), KINDS[:8])
    @pytest.mark.parametrize("portable", [False, True])
    def test_one_large_pair_does_no_harm(self, kind: str, form: str, portable: bool) -> None:
        """In float32, whatever the spike: its squares leave the range of numbers from 1.8e19 on."""
        if portable and (kind != "dense" or form not in ("eq", "quad")):
            return
        p, rng = clean(kind, form), np.random.default_rng(0)
        V, H = rng.standard_normal((2, 6, 5, 5)).astype("f4")
        with portable_bodies() if portable else nullcontext(), np.errstate(all="ignore"):
            start = p.sweep(p.init(np.zeros((5, 5), "f4")), V[:5], H[:5])
            for spike in (1e3, 3e9, 5e9, 1e12, 1e15, 1e18, 1e30, 1e-25):
                for v in (V[5], None)[: 1 if form == "eq" else 2]:
                    state = p.update(start, v, (spike * H[5]).astype("f4"))
                    assert all(np.isfinite(x).all() for x in leaves(state)), (spike, v is None)
                    P = p.to_dense(state)
                    assert np.abs(P).max() < 2 * np.abs(p.to_dense(start)).max(), (spike, v is None)
                state = p.update(start, (spike * V[5]).astype("f4"), H[5])
                assert all(np.isfinite(x).all() for x in leaves(state)), spike

    @pytest.mark.parametrize(("kind", "form"), KINDS)
    def test_pairs_whose_squares_are_zero(self, kind: str, form: str) -> None:
        p = clean(kind, form)
        with np.errstate(all="ignore"):
            state = p.update(p.init(np.zeros(SHAPE)), np.full(SHAPE, 1e-170), np.full(SHAPE, 1e-170))
        assert np.isfinite(p.to_dense(state)).all()

    def test_damping_is_the_same_however_pairs_come(self) -> None:
        p = psgd(damping=0.5)
        state, (v, h) = p.init(np.zeros(SHAPE), rng=3), pair(0)
        one = p.update(state, v, h)
        assert not np.array_equal(one.Q, clean("dense").update(state, v, h).Q)
        assert np.array_equal(one.Q, p.update(p.init(np.zeros(SHAPE), rng=3), v, h).Q)
        assert not np.array_equal(one.Q, p.update(p.init(np.zeros(SHAPE), rng=4), v, h).Q)

    @pytest.mark.parametrize(("kind", "form"), KINDS)
    def test_float32(self, kind: str, form: str) -> None:
        p = clean(kind, form, step=0.3)
        state, (v, h) = grown(p, dtype="float32"), pair(0)
        v, h = v.astype("float32"), h.astype("float32")
        wide = map_arrays(lambda x: x.astype("float64") if x.dtype.kind == "f" else x, state)
        new, expected = p.update(state, v, h), p.update(wide, v.astype("float64"), h.astype("float64"))
        off = abs(p.to_dense(new) - p.to_dense(expected)).max() / abs(p.to_dense(expected)).max()
        assert off < (1e-4 if kind == "low_rank" else 3e-6)
        assert {x.dtype for x in leaves(replace(new, L=(), count=(), seed=()))} == {np.dtype("float32")}
        assert {x.dtype for x in leaves(new.L)} == {np.dtype("float64")}

    def test_numbers_and_axes_of_size_one(self) -> None:
        for kind, form in KINDS:
            p = psgd(kind, form=form, rank=1, damping=0.0)
            for shape in ((), (1,), (1, 1)):
                state = p.init(np.zeros(shape))
                for _ in range(60):
                    state = p.update(state, np.ones(shape), np.full(shape, 2.0))
                assert float(p.apply(state, np.ones(shape)).sum()) == pytest.approx(0.5, abs=0.05)


# The state is made on numpy and moved, and nothing is damped: what is left is one compilation a kind.
SOME = [("dense", "eq"), ("dense", "quad"), ("low_rank", "quad"), ("kronecker", "procrustes"), ("xmat", "quad")]


@pytest.mark.parametrize(("kind", "form"), SOME)
def test_backends_agree(on: Case, kind: str, form: str) -> None:
    p = clean(kind, form, step=0.2)
    state, rng = grown(p), np.random.default_rng(0)
    V, H = rng.standard_normal((2, 2, *SHAPE))

    def run(state: Any, V: Any, H: Any) -> Any:
        new = p.sweep(state, V, H)
        return new, p.apply(new, V), p.apply_inverse(new, H)

    expected = run(state, V, H)
    for x, y in zip(leaves(on.numpy(on.call(run, state, V, H))), leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11)


def test_the_same_seed_gives_the_same_numbers(on: Case) -> None:
    p = psgd("low_rank", rank=2, damping=1e-2)
    v, h = pair(0)

    def run(v: Any, h: Any) -> Any:
        return p.update(p.init(v, rng=2**40 + 1), v, h)

    for x, y in zip(leaves(on.numpy(on.call(run, v, h))), leaves(run(v, h)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)
