from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
import torch

import equipoise as eq
from equipoise.precondition import Annealed, DenseState, Psgd, psgd
from equipoise.record import leaves

from .problems import spectral

rng = np.random.default_rng(0)


def after(p: Psgd, *pairs: Any, like: Any = None) -> Any:
    state = p.init(np.zeros(5) if like is None else like)
    return p.sweep(state, *pairs) if pairs else state


class TestChecks:
    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"kind": "full"}, "kind must be one of 'dense', 'kronecker', .* got 'full'"),
            ({"form": "newton"}, "form must be one of 'eq', 'quad', 'procrustes', 'qeq', got 'newton'"),
            ({"step": 0.0}, "step must be positive, got 0.0"),
            ({"step": float("nan")}, "step must be positive, got nan"),
            ({"smoothing": 1.0}, r"smoothing must be in \[0, 1\), got 1.0"),
            ({"damping": -1.0}, "damping must be at least 0, got -1.0"),
            ({"scale": "large"}, "scale must be one of 'auto', got 'large'"),
            ({"scale": 0}, "scale must be positive, got 0"),
            ({"rank": 0}, "rank must be at least 1, got 0"),
            ({"memory_limit": 0}, "memory_limit must be at least 1, got 0"),
        ],
    )
    def test_settings(self, settings: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            psgd(**settings)

    def test_settings_of_another_type(self) -> None:
        with pytest.raises(TypeError, match="scale must be a number, got ndarray"):
            psgd(scale=np.ones(3))  # type: ignore[arg-type]
        assert psgd(step=np.float32(0.5)) == psgd(step=np.float64(0.5)) == psgd(step=0.5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="step must be a number, got str"):
            psgd(step="fast")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="half_life must be positive, got 0"):
            Annealed(0.1, 0)

    @pytest.mark.parametrize(
        ("like", "error", "sentence"),
        [
            (np.zeros(3, dtype=int), TypeError, "like must hold real floating-point numbers, got dtype int64"),
            (np.zeros(3, dtype=complex), TypeError, "like must hold real floating-point numbers, got dtype complex128"),
            (np.zeros(3, dtype=np.float16), ValueError, "like holds float16, in which no preconditioner can be fitted"),
            (torch.zeros(3, dtype=torch.bfloat16), ValueError, "like holds torch.bfloat16"),
            (np.zeros((3, 0)), ValueError, r"like must not be empty, got shape \(3, 0\)"),
            ([1.0], TypeError, "like must be an array .*, got list"),
        ],
    )
    def test_like(self, like: Any, error: type[Exception], sentence: str) -> None:
        with pytest.raises(error, match=sentence):
            psgd().init(like)

    def test_rank_and_memory(self) -> None:
        with pytest.raises(ValueError, match="rank must be at most the size of like, 5, got 10"):
            psgd("low_rank").init(np.zeros(5))
        big = np.broadcast_to(np.float32(0), (3000, 4000))
        assert psgd().state_bytes(big) == 4 * 12_000_000**2
        assert psgd("kronecker").state_bytes(big) == 4 * (3000**2 + 4000)
        with pytest.raises(
            ValueError, match="needs 576000000000000 bytes, more than memory_limit=1000000000; kind='kron"
        ):
            psgd(memory_limit=10**9, rank=2).init(big)
        with pytest.raises(ValueError, match="more than memory_limit=1; no kind fits"):
            psgd(memory_limit=1).init(np.zeros(3))

    @pytest.mark.parametrize(
        ("v", "h", "error", "sentence"),
        [
            (np.ones(5), np.ones(4), ValueError, r"h must have 5 numbers, got shape \(4,\)"),
            (np.ones((5, 1)), np.ones(5), ValueError, r"v and h must have one shape, got \(5, 1\) and \(5,\)"),
            (np.ones(5), np.ones(5, int), TypeError, "h must hold real floating-point numbers, got dtype int64"),
            (np.ones(5), np.ones(5, "f4"), TypeError, "h must have the dtype of the state, float64, got float32"),
            (np.ones(5), np.array([0, 1, np.nan, 0, 0]), ValueError, r"h must be finite, got nan at index \(2,\)"),
            (np.array([np.inf, 0, 0, 0, 0]), np.ones(5), ValueError, r"v must be finite, got inf at index \(0,\)"),
            (torch.ones(5), np.ones(5), TypeError, "mix arrays of two libraries"),
        ],
    )
    def test_pairs(self, v: Any, h: Any, error: type[Exception], sentence: str) -> None:
        p = psgd()
        with pytest.raises(error, match=sentence):
            p.update(after(p), v, h)

    def test_half_precision_pairs_are_looked_at(self) -> None:
        p, bad = psgd(), np.array([0, 1, np.nan, 0, 0])
        with pytest.raises(ValueError, match=r"h must be finite, got nan at index \(2,\)"):
            p.update(p.init(np.zeros(5, "f4")), np.ones(5, "f4"), bad.astype("f2"))
        with pytest.raises(ValueError, match=r"v must be finite, got nan at index \(2,\)"):
            p.update(p.init(torch.zeros(5)), torch.tensor(bad, dtype=torch.bfloat16), torch.ones(5))
        many = p.update(p.init(np.zeros(5, "f4")), np.full(5, 6e4, "f2"), np.full(5, 6e4, "f2"))
        assert np.isfinite(many.Q).all()

    def test_states_of_another_kind(self) -> None:
        p, state = psgd("diagonal"), psgd().init(np.zeros(5))
        for call in (
            lambda: p.update(state, np.ones(5), np.ones(5)),
            lambda: p.sweep(state, np.ones((1, 5)), np.ones((1, 5))),
            lambda: p.apply(state, np.ones(5)),
            lambda: p.apply_inverse(state, np.ones(5)),
            lambda: p.to_dense(state),
        ):
            with pytest.raises(TypeError, match="state must be a DiagonalState, as kind='diagonal' has it, got Dense"):
                call()

    def test_stacks_and_tensors(self) -> None:
        p = psgd("kronecker")
        state = p.init(np.zeros((3, 4)))
        with pytest.raises(ValueError, match=re.escape("h must have shape (3, 4), got shape (4, 3)")):
            p.update(state, None, np.zeros((4, 3)))
        with pytest.raises(ValueError, match=re.escape("V must have shape (2, 3, 4), got shape (1, 3, 4)")):
            p.sweep(state, np.ones((1, 3, 4)), np.ones((2, 3, 4)))
        with pytest.raises(ValueError, match=re.escape("g must have trailing axes (3, 4), got shape (3, 5)")):
            p.apply(state, np.zeros((3, 5)))
        for shape in ((4, 3), (12,), (2, 6)):  # as many numbers, but not that tensor
            for move in (p.apply, p.apply_inverse, p.operator(state).matvec):
                if shape != (12,) or move.__name__ != "matvec":
                    with pytest.raises(ValueError, match=re.escape("g must have trailing axes (3, 4), got shape")):
                        move(state, np.zeros(shape)) if move.__name__ != "matvec" else move(np.zeros(shape))
        assert p.sweep(state, np.ones((0, 3, 4)), np.ones((0, 3, 4))) is state

    @pytest.mark.parametrize(
        ("kind", "form"), [("dense", "eq"), ("kronecker", "eq"), ("low_rank", "quad"), ("xmat", "quad")]
    )
    def test_whitening_without_a_vector(self, kind: str, form: str) -> None:
        p = psgd(kind, form=form, rank=1)
        with pytest.raises(ValueError, match="v=None cannot be integrated out with kind="):
            p.update(after(p), None, np.ones(5))
        with pytest.raises(ValueError, match="V=None cannot be integrated out with kind="):
            p.sweep(after(p), None, np.ones((1, 5)))


class TestOperator:
    def test_it_preconditions_solvers(self) -> None:
        H, b = spectral(30, 100.0), rng.standard_normal(30)
        p = psgd(form="procrustes", step=0.25, damping=0.0)
        V = rng.standard_normal((4500, 30))
        M = p.operator(after(p, V, V @ H, like=np.zeros(30)))
        assert M.shape == (30, 30)
        assert np.abs(M @ H - np.eye(30)).max() < 1e-9
        assert int(eq.linear.cg(H, b, preconditioner=M, tol=1e-10).steps) <= 3
        seen: list[Any] = []
        x, info = scipy.sparse.linalg.cg(H, b, M=M, rtol=1e-10, callback=seen.append)
        assert info == 0
        assert len(seen) <= 3
        np.testing.assert_allclose(H @ x, b, atol=1e-8)
        assert scipy.sparse.linalg.gmres(H, b, M=M, rtol=1e-8)[1] == 0

    def test_products(self) -> None:
        p = psgd("kronecker")
        V = rng.standard_normal((4, 3, 2))
        state = after(p, V, 2 * V, like=np.zeros((3, 2)))
        P, M, x = p.to_dense(state), p.operator(state), rng.standard_normal((6, 5))
        np.testing.assert_allclose(M @ x, P @ x, atol=1e-13)
        np.testing.assert_allclose(M @ x[:, 0], P @ x[:, 0], atol=1e-13)
        np.testing.assert_allclose(x.T @ M, x.T @ P, atol=1e-13)
        np.testing.assert_allclose(M.rmatvec(x[:, 0]), M.matvec(x[:, 0]))
        np.testing.assert_allclose(p.apply(state, V).reshape(4, 6), V.reshape(4, 6) @ P, atol=1e-13)
        assert repr(M) == "Preconditioner(6 x 6, kronecker)"


class TestFrameworks:
    def test_apply_is_differentiable_in_g(self) -> None:
        for kind, form in (("dense", "eq"), ("low_rank", "quad"), ("kronecker", "eq")):
            p = psgd(kind, form=form, rank=1)
            V = rng.standard_normal((4, 6))
            state = after(p, V, 2 * V, like=np.zeros(6))
            P, w = p.to_dense(state), rng.standard_normal(6)
            moved = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), state)
            g = torch.zeros(6, dtype=torch.float64, requires_grad=True)
            (p.apply(moved, g) @ torch.tensor(w)).backward()
            assert g.grad is not None
            np.testing.assert_allclose(g.grad.numpy(), P @ w, atol=1e-12)
            h = torch.zeros(6, dtype=torch.float64, requires_grad=True)
            (p.apply_inverse(moved, h) @ torch.tensor(P @ w)).backward()
            assert h.grad is not None
            np.testing.assert_allclose(h.grad.numpy(), w, atol=1e-10)
        on_jax = jax.tree.map(jnp.asarray, state)
        slope = jax.grad(lambda g: p.apply(on_jax, g) @ w)(jnp.zeros(6))
        np.testing.assert_allclose(slope, P @ w, atol=1e-12)

    def test_a_state_carries_no_derivative(self) -> None:
        p, x = psgd(), torch.ones(3, requires_grad=True)
        state = p.update(p.init(x), x * 1, 2 * x)
        assert not any(leaf.requires_grad for leaf in leaves(state))

    def test_half_precision_pairs(self) -> None:
        p = psgd("diagonal")
        state = p.init(torch.zeros(3))
        state = p.update(state, None, torch.ones(3, dtype=torch.bfloat16))
        assert state.q.dtype == torch.float32
        assert p.apply(state, torch.ones(3, dtype=torch.float16)).dtype == torch.float16

    def test_states_can_be_donated(self) -> None:
        """No two arrays of a state are one."""
        p = psgd("kronecker")
        state, g = p.init(jnp.zeros((3, 4))), jnp.ones((3, 4))
        places = [leaf.unsafe_buffer_pointer() for leaf in leaves(state)]
        assert len(set(places)) == len(places)
        update = jax.jit(lambda state, g: p.update(state, None, g), donate_argnums=0)
        assert int(update(update(state, g), g).count) == 2

    def test_vmap_over_states(self) -> None:
        p = psgd("diagonal", damping=0.0)
        V, H = (jnp.asarray(x) for x in rng.standard_normal((2, 4, 6)))

        def one(v: Any, h: Any) -> Any:
            return p.update(p.init(v), v, h).q

        together = jax.vmap(one)(V, H)
        np.testing.assert_allclose(together[2], one(V[2], H[2]), atol=1e-14)

    def test_inside_a_context(self) -> None:
        p = psgd()
        with eq.backend("torch", dtype="float32"):
            state = p.init(np.zeros(3))
            state = p.update(state, np.ones(3), np.ones(3))
        assert isinstance(state, DenseState)
        assert state.Q.dtype == np.float32

    def test_states_are_stored(self, tmp_path: Path) -> None:
        for kind in ("dense", "scaled", "low_rank", "kronecker"):
            p = psgd(kind, rank=1)
            state = after(p, np.ones((2, 5)), np.ones((2, 5)))
            eq.save(tmp_path / "state.npz", p.operator(state))
            back = eq.load(tmp_path / "state.npz")
            assert back.settings == p
            for x, y in zip(leaves(back), leaves(state), strict=True):
                assert np.array_equal(x, y)

    def test_settings_are_compared_and_hashed(self) -> None:
        assert psgd(step=Annealed(0.1, 10)) == psgd(step=Annealed(0.1, 10))
        assert hash(psgd()) == hash(psgd())
        assert psgd() != psgd(step=0.2)

    def test_annealed_steps(self) -> None:
        falling, v = psgd(step=Annealed(0.4, 1, 0.1), damping=0.0), np.ones(5)
        h = np.arange(1.0, 6.0)
        state = falling.update(after(falling), v, h)
        for step in (0.2, 0.4 / 3, 0.1, 0.1):
            fixed = psgd(step=step, damping=0.0)
            expected = fixed.update(state, v, h)
            state = falling.update(state, v, h)
            np.testing.assert_allclose(state.Q, expected.Q, rtol=1e-14)
