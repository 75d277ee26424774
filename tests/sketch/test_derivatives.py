from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import torch

from equipoise.operators import CSR
from equipoise.sketch import lstsq, sketch_operator

rng = np.random.default_rng(0)
A, B = rng.standard_normal((40, 4)), rng.standard_normal(40)
SETTINGS: dict[str, dict[str, Any]] = {
    "direct": {"method": "direct"},
    "cholesky_qr": {"method": "cholesky_qr"},
    "spir": {"method": "spir"},
    "srht": {"method": "sketch_solve", "sketch_rows": 24},
    "sparse_sign": {"method": "sketch_solve", "sketch_rows": 24, "kind": "sparse_sign"},
    "gaussian": {"method": "sketch_solve", "sketch_rows": 24, "kind": "gaussian"},
}


def value(A: Any, b: Any, **settings: Any) -> Any:
    """Something of everything that has a derivative."""
    result = lstsq(A, b, **settings)
    return (result.x**2).sum() + 0.3 * result.x[0] * result.residual_norm


def differences(fun: Any, x: np.ndarray, places: list[Any], h: float = 1e-5) -> np.ndarray:
    out = []
    for place in places:
        e = np.zeros_like(x)
        e[place] = h
        out.append((8 * (fun(x + e) - fun(x - e)) - (fun(x + 2 * e) - fun(x - 2 * e))) / (12 * h))
    return np.array(out)


PLACES = [(0, 0), (3, 2), (39, 3)]


@pytest.mark.parametrize("name", SETTINGS)
class TestFirst:
    def test_torch(self, name: str) -> None:
        a, b = torch.tensor(A, requires_grad=True), torch.tensor(B, requires_grad=True)
        value(a, b, **SETTINGS[name]).backward()
        assert a.grad is not None
        assert b.grad is not None
        wanted = differences(lambda x: value(x, B, **SETTINGS[name]), A, PLACES)
        np.testing.assert_allclose([a.grad[place] for place in PLACES], wanted, rtol=1e-7, atol=1e-8)
        wanted = differences(lambda x: value(A, x, **SETTINGS[name]), B, [(0,), (17,)])
        np.testing.assert_allclose(b.grad[[0, 17]], wanted, rtol=1e-7, atol=1e-8)

    @pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
    def test_jax(self, name: str, jit: bool) -> None:
        if jit and name in ("direct", "gaussian", "sparse_sign"):
            pytest.skip("one of a kind is compiled")
        fun = jax.grad(lambda a, b: value(a, b, **SETTINGS[name]))
        got = np.asarray((jax.jit(fun) if jit else fun)(jnp.asarray(A), jnp.asarray(B)))
        wanted = differences(lambda x: value(x, B, **SETTINGS[name]), A, PLACES)
        np.testing.assert_allclose([got[place] for place in PLACES], wanted, rtol=1e-7, atol=1e-8)


class TestMore:
    def test_second_derivatives(self) -> None:
        a, b = (torch.tensor(x, requires_grad=True) for x in (A[:9, :3], B[:9]))
        assert torch.autograd.gradcheck(lambda a, b: lstsq(a, b, method="cholesky_qr").x, (a, b))
        assert torch.autograd.gradgradcheck(lambda a, b: lstsq(a, b, method="cholesky_qr").x, (a, b))

    def test_several_right_hand_sides_in_a_batch(self) -> None:
        a = torch.tensor(A.reshape(2, 20, 4)[:, :9], requires_grad=True)
        b = torch.tensor(rng.standard_normal((2, 9, 2)), requires_grad=True)
        assert torch.autograd.gradcheck(lambda a, b: lstsq(a, b).x, (a, b))

    def test_of_least_norm(self) -> None:
        a, b = (torch.tensor(x, requires_grad=True) for x in (A[:3], B[:3]))
        assert torch.autograd.gradcheck(lambda a, b: lstsq(a, b).x, (a, b))

    def test_a_residual_of_zero_has_no_direction(self) -> None:
        a = torch.tensor(A, requires_grad=True)
        lstsq(a, torch.tensor(A @ np.ones(4))).residual_norm.backward()
        assert a.grad is not None
        assert not a.grad.any()

    def test_entries_of_a_sparse_matrix(self) -> None:
        M = scipy.sparse.random_array((60, 5), density=0.3, rng=np.random.default_rng(1), format="csr")
        pattern = [torch.tensor(k) for k in (M.indices, M.indptr)]
        data = torch.tensor(M.data, requires_grad=True)
        b = rng.standard_normal(60)
        value(CSR(data, *pattern, M.shape), torch.tensor(b)).backward()

        def of(entries: np.ndarray) -> Any:
            return value(CSR(entries, M.indices, M.indptr, M.shape), b)

        assert data.grad is not None
        np.testing.assert_allclose(data.grad[[0, 7]], differences(of, M.data, [(0,), (7,)]), rtol=1e-7, atol=1e-8)

    @pytest.mark.parametrize("kind", ["gaussian", "rademacher", "srht", "sparse_sign", "tensor_srht", "rows"])
    def test_a_sketch_is_linear(self, kind: str) -> None:
        n: Any = (4, 5) if kind == "tensor_srht" else 20
        S = sketch_operator(kind, 8, n, rng=1)
        full, bar = S.toarray(), rng.standard_normal((8, 3))
        a = torch.tensor(rng.standard_normal((20, 3)), requires_grad=True)
        ((S @ a) * torch.tensor(bar)).sum().backward()
        np.testing.assert_allclose(a.grad, full.T @ bar, atol=1e-13)
        if kind in ("srht", "sparse_sign"):
            got = jax.grad(lambda a: ((S @ a) * bar).sum())(jnp.asarray(a.detach().numpy()))
            np.testing.assert_allclose(got, full.T @ bar, atol=1e-13)
