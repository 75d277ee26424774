from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.arrays import library
from equipoise.operators import CSR, Dense, Kronecker, LinearOperator, Stencil, StoredOperator

from ..backends import Case
from . import test_stencil
from .test_csr import close, matrix
from .test_csr import dense as dense_csr


def dense(operator: Any) -> np.ndarray:
    if isinstance(operator, Dense):
        return np.asarray(operator.array)
    if isinstance(operator, CSR):
        return dense_csr(operator)
    if isinstance(operator, Stencil):
        return test_stencil.dense(operator)
    out = np.ones((1, 1))
    for factor in operator.factors:
        out = np.kron(out, dense(factor))
    return out


def factors(kind: str, dtype: str = "float64") -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {
        "rectangles": (rng.standard_normal((2, 3)), rng.standard_normal((4, 1)), rng.standard_normal((3, 2))),
        "one": (rng.standard_normal((2, 3)),),
        "sparse": (matrix(4, 3), Dense(rng.standard_normal((2, 2)))),
        "squares": (matrix(4, 4), Stencil.laplacian((2, 3)), rng.standard_normal((2, 2))),
        "stencils": (test_stencil.stencil((2, 1)), test_stencil.stencil((3,), seed=1)),
        "nested": (Kronecker(rng.standard_normal((2, 2)), matrix(3, 3)), rng.standard_normal((1, 2))),
    }
    return eq.map_arrays(lambda x: x.astype(dtype) if x.dtype == np.float64 else x, made[kind])


KINDS = ["rectangles", "one", "sparse", "squares", "stencils", "nested"]


@pytest.mark.parametrize("kind", KINDS)
def test_products_and_entries(on: Case, kind: str) -> None:
    if on.name.startswith("jax") and kind not in ("rectangles", "squares"):
        pytest.skip("other factors tell nothing new to the compiler")
    a = Kronecker(*factors(kind))
    full, rng = dense(a), np.random.default_rng(1)
    assert a.shape == full.shape
    x, y = (rng.standard_normal((2, k)) for k in a.shape[::-1])

    def everything(A: Any, x: Any, y: Any) -> Any:
        return A.matvec(x), A.rmatvec(y), A @ x[0, :], A.__rmatmul__(y)

    out = on.numpy(on.call(everything, a, x, y))
    for got, expected in zip(out, (x @ full.T, y @ full, full @ x[0], y @ full), strict=True):
        close(got, expected)
    if not on.jit or kind in ("squares", "stencils"):
        close(on.numpy(on.call(lambda A: A.diagonal(), a)), np.diagonal(full))
    columns = on.numpy(on.call(lambda A, x: A @ x, a, np.ascontiguousarray(x.T)))
    close(columns, full @ x.T)
    if not on.jit:
        close(dense_csr(on.numpy(on.call(lambda A: A.to_csr(), a))), full)


def test_float32_and_the_context() -> None:
    a, x = Kronecker(*factors("squares", "float32")), np.ones(48)
    assert a.dtype == np.float32
    close(a @ x.astype("f4"), (dense(a) @ x).astype("f4"))
    wide = Kronecker(*factors("squares"))
    for name in ("numpy", "torch", "jax"):
        with eq.backend(name, dtype="float32"):
            out = wide @ x
            assert isinstance(out, np.ndarray)
            assert out.dtype == wide.diagonal().dtype == wide.to_csr().data.dtype == np.float32
            np.testing.assert_allclose(out, dense(wide) @ x, rtol=1e-5, atol=1e-5)
        with eq.backend(name, keep=True):
            assert library(wide @ x) == name


def test_floats_only_follow_the_vectors() -> None:
    a = Kronecker(Stencil.laplacian(2), Stencil.laplacian((2, 2)))
    assert a.dtype is None
    for x in (np.ones(8, "f4"), torch.ones(8), jnp.ones(8)):
        np.testing.assert_allclose(np.asarray(a @ x), dense(a) @ np.ones(8))
    assert a.diagonal().dtype == a.to_csr().data.dtype == np.float64


@pytest.mark.parametrize("portable", [False, True])
def test_derivatives(portable: bool) -> None:
    left, stored, center = np.array([[1.0, 2.0], [0.5, -1.0]]), matrix(3, 3), np.array([2.0, 3.0])

    def energy(left: Any, data: Any, center: Any, x: Any) -> Any:
        pattern = eq.map_arrays(lambda p: torch.tensor(p) if library(x) == "torch" else jnp.asarray(p), stored)
        sparse = CSR(data, pattern.indices, pattern.indptr, (3, 3))
        A = Kronecker(left, sparse, Stencil(center, (0.5,), (2,)))
        entries = Kronecker(sparse, Stencil(center, (0.5,), (2,))).to_csr().data
        return (A.matvec(x) ** 2).sum() + (A.rmatvec(x) ** 3).sum() + (A.diagonal() ** 2).sum() + (entries**2).sum()

    inputs = (left, stored.data, center, np.random.default_rng(0).standard_normal(12))
    tensors = tuple(torch.tensor(v, requires_grad=True) for v in inputs)
    with eq.portable() if portable else contextlib.nullcontext():
        assert torch.autograd.gradcheck(energy, tensors)
        on_torch = torch.autograd.grad(energy(*tensors), tensors)
        on_jax = jax.grad(energy, argnums=(0, 1, 2, 3))(*map(jnp.asarray, inputs))
    for t, j in zip(on_torch, on_jax, strict=True):
        np.testing.assert_allclose(t.numpy(), np.asarray(j), rtol=1e-12, atol=1e-12)


class Shift:
    """Somebody's operator: the cyclic shift."""

    shape = (3, 3)

    def matvec(self, x: Any) -> Any:
        return x[..., [2, 0, 1]]

    def rmatvec(self, y: Any) -> Any:
        return y[..., [1, 2, 0]]


def test_factors_of_others() -> None:
    a = Kronecker(np.array([[1.0, 2.0]]), Shift())
    full = np.kron([[1.0, 2.0]], np.eye(3)[[2, 0, 1]])
    close(a @ np.arange(6.0), full @ np.arange(6.0))
    close(a.rmatvec(np.arange(3.0)), full.T @ np.arange(3.0))
    moved = eq.map_arrays(jnp.asarray, a)
    close(np.asarray(jax.jit(lambda A, x: A.matvec(x))(moved, jnp.arange(6.0))), full @ np.arange(6.0))
    for method in (a.diagonal, a.to_csr):
        with pytest.raises(TypeError, match="factor 1 is not stored: Shift has no diagonal"):
            method()


def test_record(tmp_path: Path) -> None:
    a = Kronecker(*factors("squares"))
    assert isinstance(a, LinearOperator)
    assert isinstance(a, StoredOperator)
    eq.save(tmp_path / "a.npz", a)
    close(eq.load(tmp_path / "a.npz") @ np.ones(48), a @ np.ones(48))
    assert repr(Kronecker(np.ones((2, 1)), Stencil.laplacian(3))) == (
        "Kronecker(6 x 3: Dense(2 x 1, float64), Stencil(3 x 3, grid (3,), constant))"
    )
    assert repr(jax.tree.map(lambda x: "here", Kronecker(np.ones((2, 1))))).startswith("Kronecker(")
    b = eq.map_arrays(jnp.asarray, a)
    close(np.asarray(jax.vmap(lambda x: b @ x)(jnp.ones((2, 48)))), np.stack([a @ np.ones(48)] * 2))


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (ValueError, "Kronecker needs at least one factor", lambda: Kronecker()),
        (TypeError, "A must be an array, a sparse matrix .*, got list", lambda: Kronecker([[1.0]])),
        (
            ValueError,
            r"factor 1 must be one matrix, got a batch \(2,\)",
            lambda: Kronecker(np.eye(2), np.ones((2, 3, 3))),
        ),
        (
            ValueError,
            r"factor 0 must be one .*, got a batch \(2,\)",
            lambda: Kronecker(Stencil(np.ones((2, 1)), (1.0,), (3,))),
        ),
        (
            TypeError,
            "factors must have one dtype, got float32 and",
            lambda: Kronecker(np.eye(2), np.eye(2, dtype="f4")),
        ),
        (TypeError, "two libraries, numpy and torch", lambda: Kronecker(np.eye(2), torch.eye(2))),
        (TypeError, "x must be an array, got list", lambda: Kronecker(np.eye(2)) @ [1.0, 1.0]),
        (
            ValueError,
            r"x must have shape \(\.\.\., 4\), got \(2,\)",
            lambda: Kronecker(np.eye(2), np.eye(2)) @ np.ones(2),
        ),
        (ValueError, r"y must have shape \(\.\.\., 2\), got \(3,\)", lambda: Kronecker(np.eye(2)).rmatvec(np.ones(3))),
        (TypeError, "operator's dtype float64, got float32", lambda: Kronecker(np.eye(2)) @ np.ones(2, "f4")),
        (TypeError, "two libraries, numpy and torch", lambda: Kronecker(np.eye(2)) @ torch.ones(2)),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()


def test_the_pattern_must_be_known() -> None:
    a = eq.map_arrays(jnp.asarray, Kronecker(matrix(3, 3), matrix(4, 4)))
    with pytest.raises(TypeError, match="to_csr needs the pattern of the factors"):
        jax.jit(lambda A: A.to_csr().data)(a)
