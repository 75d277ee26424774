"""Derivatives of solutions, against differences and between libraries."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from equipoise.linear import SSOR, cg, sor
from equipoise.operators import CSR, Stencil

S = Stencil.laplacian((3, 3), shift=1.0).to_csr()
PATTERN = {
    "torch": [torch.asarray(x) for x in (S.indices, S.indptr)],
    "jax": [jnp.asarray(x) for x in (S.indices, S.indptr)],
}


def of_rows(data: Any, b: Any) -> Any:
    pattern = PATTERN["torch" if isinstance(data, torch.Tensor) else "jax"]
    return (sor(CSR(data, *pattern, (9, 9)), b, omega=1.2, tol=1e-13).x ** 3).sum()


def of_stencil(center: Any, face: Any, b: Any) -> Any:
    A = Stencil(center, (face, 0.7), (3, 3))
    return (cg(A, b, preconditioner=SSOR(1.2), tol=1e-13).x ** 3).sum()


def of_colors(center: Any, face: Any, b: Any) -> Any:
    A = Stencil(center, (0.7, face), (3, 3))
    return (sor(A, b, omega=1.2, order="red_black", tol=1e-13).x ** 3).sum()


def of_dense(A: Any, b: Any) -> Any:
    return (sor(A, b, sweep="symmetric", tol=1e-13).x ** 3).sum()


UNEQUAL = np.random.default_rng(3).random((9, 9)) + 9 * np.eye(9)
RIGHT = np.random.default_rng(4).standard_normal((3, 3))
DERIVATIVES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rows": (of_rows, (S.data, RIGHT.ravel())),
    "stencil": (of_stencil, (5.0 + RIGHT, np.array(0.9), RIGHT)),
    "colours": (of_colors, (np.array(5.0), 0.5 + np.abs(RIGHT[:, :2]), RIGHT)),
    "dense, not symmetric": (of_dense, (UNEQUAL, RIGHT.ravel())),
}


class TestDerivatives:
    @pytest.mark.parametrize("name", DERIVATIVES)
    def test_against_differences(self, name: str) -> None:
        fn, inputs = DERIVATIVES[name]
        on_torch = tuple(torch.tensor(x, requires_grad=True) for x in inputs)
        assert torch.autograd.gradcheck(fn, on_torch)
        bars = torch.autograd.grad(fn(*on_torch), on_torch)
        on_jax = jax.grad(fn, argnums=tuple(range(len(inputs))))(*map(jnp.asarray, inputs))
        for t, j in zip(bars, on_jax, strict=True):
            np.testing.assert_allclose(t.numpy(), np.asarray(j), atol=1e-12)

    def test_second_order(self) -> None:
        fn, inputs = DERIVATIVES["stencil"]
        on_torch = tuple(torch.tensor(x, requires_grad=True) for x in inputs)
        assert torch.autograd.gradgradcheck(fn, on_torch)
        arrays = tuple(map(jnp.asarray, inputs))
        curved = jax.jit(jax.jacrev(jax.grad(fn, argnums=2), argnums=2))(*arrays)
        expected = torch.autograd.functional.hessian(lambda b: fn(*on_torch[:2], b), on_torch[2])
        np.testing.assert_allclose(np.asarray(curved), expected.detach().numpy(), atol=1e-11)

    def test_under_jit_and_vmap(self) -> None:
        fn, inputs = DERIVATIVES["rows"]
        data, b = map(jnp.asarray, inputs)
        np.testing.assert_allclose(jax.jit(jax.grad(fn))(data, b), jax.grad(fn)(data, b), atol=1e-13)
        many = jax.vmap(lambda s: fn(data, s * b))(jnp.array([1.0, 2.0]))
        np.testing.assert_allclose(many, [fn(data, b), fn(data, 2 * b)], rtol=1e-10)
