from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

import equipoise as eq
from equipoise.arrays import library
from equipoise.backend import of
from equipoise.operators import CSR, Dense, LinearOperator, StoredOperator
from equipoise.segments import index_sum

from ..backends import Case


def matrix(n: int = 7, m: int = 5, dtype: str = "float64", batch: tuple[int, ...] = (), seed: int = 0) -> CSR[Any]:
    """A random matrix with an empty row, an empty column, columns out of order and an entry that is stored twice."""
    rng = np.random.default_rng(seed)
    columns = [rng.permutation(m - 1)[: rng.integers(1, m)] for _ in range(n)]
    columns[1] = np.zeros(0, dtype=np.int64)
    columns[2] = np.array([0, 2, 0])
    indptr = np.cumsum([0, *(row.size for row in columns)])
    indices = np.concatenate(columns)
    return CSR(rng.standard_normal((*batch, indices.size)).astype(dtype), indices, indptr, (n, m))


def dense(a: CSR[Any]) -> np.ndarray:
    """The same, entry by entry."""
    out = np.zeros((*a.data.shape[:-1], *a.shape), dtype=a.data.dtype)
    for i in range(a.shape[0]):
        for k in range(int(a.indptr[i]), int(a.indptr[i + 1])):
            out[..., i, int(a.indices[k])] += a.data[..., k]
    return out


def close(a: Any, b: Any) -> None:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    eps = np.finfo(b.dtype).eps
    np.testing.assert_allclose(a, b, rtol=0, atol=20 * eps * max(1.0, np.abs(b).max(initial=0)))


def sample(rng: np.random.Generator, dtype: str) -> Any:
    """What tests/test_kernel.py holds overrides of the product to."""
    for batch, vectors in (
        ((), ()),
        ((), (1,)),
        ((), (3, 3)),
        ((2,), ()),
        ((2,), (2,)),
        ((2,), (3, 1)),
        ((3, 1), (2,)),
    ):
        for wide in (np.int32, np.int64):
            a = matrix(9, 6, dtype, batch, seed=3)
            pattern = (a.indices.astype(wide), a.indptr.astype(wide), a.rows.astype(wide))
            for transposed in (False, True):
                x = rng.standard_normal((*vectors, a.shape[not transposed])).astype(dtype)
                yield (a.data, *pattern, x), {"shape": a.shape, "transposed": transposed}
    x = rng.standard_normal((6, 5)).astype(dtype)
    yield (a.data[0, 0], *pattern, x.T), {"shape": a.shape, "transposed": False}  # with gaps between its entries


# ---------------------------------------------------------------------------------------------------------------------
# Products


@pytest.mark.parametrize(
    ("batch", "vectors", "dtype"),
    [((), (), "float64"), ((), (2, 3), "float32"), ((3,), (), "float64"), ((3,), (2, 1), "float64")],
)
def test_products(on: Case, batch: tuple[int, ...], vectors: tuple[int, ...], dtype: str) -> None:
    a, rng = matrix(dtype=dtype, batch=batch), np.random.default_rng(1)
    full = dense(a)
    x, y = (rng.standard_normal((*vectors, n)).astype(dtype) for n in (5, 7))
    for operator in (a, Dense(full)):
        out = on.numpy(on.call(lambda A, x, y: (A.matvec(x), A.rmatvec(y)), operator, x, y))
        close(out[0], np.einsum("...ij,...j->...i", full, x))
        close(out[1], np.einsum("...ij,...i->...j", full, y))


@pytest.mark.parametrize("batch", [(), (3,)])
def test_at_means_the_matrix_product(on: Case, batch: tuple[int, ...]) -> None:
    a, rng = matrix(batch=batch), np.random.default_rng(1)
    full = dense(a)
    shapes = ((5,), (5, 5), (5, 2), (3, 5, 4))
    for shape in shapes[:: 3 if on.name.startswith("jax") else 1]:
        x = rng.standard_normal(shape)
        for operator in (a, Dense(full)):
            close(on.numpy(on.call(lambda A, x: A @ x, operator, x)), full @ x)
            x_t = x if x.ndim == 1 else x.swapaxes(-1, -2)
            turned = on.call(lambda A, x: A.__rmatmul__(x), type(operator)(*transposed(operator)), x_t)
            close(on.numpy(turned), x_t @ full.swapaxes(-1, -2))


def transposed(a: Any) -> tuple[Any, ...]:
    if isinstance(a, Dense):
        return (a.array.swapaxes(-1, -2),)
    order = np.argsort(a.indices, kind="stable")
    indptr = np.searchsorted(a.indices[order], np.arange(a.shape[1] + 1))
    return a.data[..., order], a.rows[order], indptr, a.shape[::-1]


def test_from_the_right_of_an_array() -> None:
    a = matrix()
    y = np.random.default_rng(0).standard_normal((3, 7))
    close(y @ a, y @ dense(a))
    close(y[0] @ Dense(dense(a)), y[0] @ dense(a))
    close(np.asarray(jnp.asarray(y) @ eq.map_arrays(jnp.asarray, a)), y @ dense(a))
    with pytest.raises(TypeError):
        np.add(y, a)


def test_diagonal_and_stored_entries(on: Case) -> None:
    shapes = ((7, 5), (5, 7), (4, 4))
    for shape in shapes[: 1 if on.name.startswith("jax") else None]:
        for batch in ((), (2,)):
            a = matrix(*shape, batch=batch)
            full = dense(a)
            expected = np.diagonal(full, axis1=-2, axis2=-1)
            close(on.numpy(on.call(lambda A: A.diagonal(), a)), expected)
            close(on.numpy(on.call(lambda A: A.diagonal(), Dense(full))), expected)
            if not on.jit:
                stored = on.numpy(on.call(lambda A: A.to_csr(), Dense(full)))
                close(dense(stored), full)
                assert stored.data.shape[-1] == np.count_nonzero(np.any(full.reshape(-1, *shape), axis=0))


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 3)])
def test_nothing_stored(on: Case, shape: tuple[int, int]) -> None:
    n, m = shape
    for operator in (Dense(np.zeros(shape)), CSR(np.zeros(0), np.zeros(0, int), np.zeros(n + 1, int), shape)):
        out = on.numpy(on.call(lambda A, x, y: (A @ x, A.rmatvec(y), A.diagonal()), operator, np.ones(m), np.ones(n)))
        assert [x.tolist() for x in out] == [[0.0] * n, [0.0] * m, [0.0] * min(n, m)]
    assert Dense(np.zeros(shape)).to_csr().indptr.tolist() == [0] * (n + 1)


def test_made_inside_of_the_call(on: Case) -> None:
    """Under jax.jit the pattern is traced then, and unchecked."""
    a, x = matrix(), np.arange(5.0)
    parts = (a.data, a.indices.astype(np.int32), a.indptr)
    close(on.numpy(on.call(lambda d, i, p, x: CSR(d, i, p, (7, 5)) @ x, *parts, x)), dense(a) @ x)


@given(st.integers(1, 12), st.integers(2, 12), st.integers(0, 1000))
def test_scipy(n: int, m: int, seed: int) -> None:
    theirs = scipy.sparse.random(n, m, density=0.4, format="csr", random_state=seed)
    x, y = np.random.default_rng(seed).standard_normal((2, max(n, m)))
    for form in (theirs, scipy.sparse.coo_array(theirs), theirs.tocsc()):
        ours = CSR.from_scipy(form)
        close(ours @ x[:m], theirs @ x[:m])
        close(ours.rmatvec(y[:n]), theirs.T @ y[:n])
        close(ours.diagonal(), theirs.diagonal())
        assert math.isclose(y[:n] @ (ours @ x[:m]), ours.rmatvec(y[:n]) @ x[:m], abs_tol=1e-12)
    assert np.shares_memory(CSR.from_scipy(theirs).data, theirs.data)


# ---------------------------------------------------------------------------------------------------------------------
# Sums by index


@given(st.data())
@pytest.mark.parametrize("body", [index_sum, index_sum.body])
def test_sums_of_whole_numbers_are_exact(body: Any, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 9))
    index = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=40)), dtype=np.int64)
    values = np.array(data.draw(st.lists(st.integers(-99, 99), min_size=index.size, max_size=index.size)), dtype=float)
    expected = np.zeros(size)
    np.add.at(expected, index, values)
    assert body(values, index, size=size).tolist() == expected.tolist()
    assert body(np.stack([values, -values]), index, size=size).tolist() == [expected.tolist(), (-expected).tolist()]


def test_small_sums_beside_large_ones_keep_their_digits(on: Case) -> None:
    """Differences of one cumulative sum would give 0 for the second run."""
    values = np.array([1e20, 1e-3, 1e20, 2e-3, -3e20, 1e-9])
    index = np.array([0, 1, 0, 1, 0, 2])
    out = on.numpy(on.call(lambda v, i: index_sum(v, i, size=4), values, index))
    assert out[1:].tolist() == [1e-3 + 2e-3, 1e-9, 0.0]


def test_what_is_not_finite_stays_in_its_sum(on: Case) -> None:
    values, index = np.array([np.inf, 1.0, np.nan, 2.0]), np.array([2, 1, 0, 1])
    out = on.numpy(on.call(lambda v, i: index_sum(v, i, size=4), values, index))
    np.testing.assert_array_equal(out, [np.nan, 3.0, np.inf, 0.0])


def test_long_float32_sums_of_the_body_are_pairwise() -> None:
    values = np.full(2**17, 0.1, dtype=np.float32)
    out = index_sum.body(values, np.zeros(2**17, dtype=np.int64), size=1)
    assert abs(out[0] / (2**17 * np.float64(np.float32(0.1))) - 1) < 1e-6


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


def products(operator: Any, x: Any, y: Any) -> Any:
    """Something that is linear in nothing."""
    return (operator.matvec(x) ** 2).sum() + (operator.rmatvec(y) ** 3).sum() + (operator.diagonal() ** 2).sum()


def of_dense(array: Any, x: Any, y: Any) -> Any:
    return products(Dense(array), x, y)


def of_sparse(data: Any, x: Any, y: Any) -> Any:
    a = matrix(4, 3)
    return products(CSR(data, *(of(data).lend(p, data) for p in (a.indices, a.indptr)), a.shape), x, y)


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("fn", [of_dense, of_sparse])
def test_derivatives(fn: Any, batch: tuple[int, ...], portable: bool) -> None:
    a, x, y = matrix(4, 3, batch=batch), np.random.default_rng(1).standard_normal((2, 3)), np.ones(4)
    numbers = dense(a) if fn is of_dense else a.data
    inputs = tuple(torch.tensor(v, requires_grad=True) for v in (numbers, x, y))
    with eq.portable() if portable else contextlib.nullcontext():
        assert torch.autograd.gradcheck(fn, inputs)
        assert torch.autograd.gradgradcheck(fn, inputs)
        check_grads(jax.jit(fn), (numbers, x, y), order=2, modes=["rev"])
        on_torch = torch.autograd.grad(fn(*inputs), inputs)
        on_jax = jax.jit(jax.grad(fn, argnums=(0, 1, 2)))(numbers, x, y)
    for t, j in zip(on_torch, on_jax, strict=True):
        np.testing.assert_allclose(t.numpy(), np.asarray(j), rtol=1e-12, atol=1e-12)


def test_the_stored_entries_of_a_dense_matrix_are_differentiable() -> None:
    full = torch.tensor([[2.0, 0.0], [1.0, 3.0]], requires_grad=True)
    (full_bar,) = torch.autograd.grad((Dense(full).to_csr() @ torch.tensor([1.0, 2.0])).sum(), full)
    assert full_bar.tolist() == [[1, 0], [1, 2]]


# ---------------------------------------------------------------------------------------------------------------------
# Records, contexts, transformations


def test_they_are_operators() -> None:
    for operator in (matrix(), Dense(dense(matrix()))):
        assert isinstance(operator, LinearOperator)
        assert isinstance(operator, StoredOperator)
        assert operator.shape == (7, 5)
        assert operator.dtype == np.float64
        assert operator.to_csr().shape == (7, 5)
    assert matrix().to_csr().rows.tolist() == np.repeat(np.arange(7), np.diff(matrix().indptr)).tolist()


def test_text() -> None:
    assert (
        repr(matrix(dtype="float32", batch=(2, 3)))
        == f"CSR(7 x 5, {matrix().indices.size} stored, batch (2, 3), float32)"
    )
    assert repr(Dense(torch.zeros(2, 4, 3))) == "Dense(4 x 3, batch (2,), float32)"
    assert repr(jax.tree.map(lambda x: x.shape, Dense(jnp.zeros((4, 3))))) == "Dense((4, 3))"


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_they_heed_the_context(name: str) -> None:
    a, x = matrix(), np.arange(5.0)
    with eq.backend(name, dtype="float32"):
        for operator in (a, Dense(dense(a))):
            for out in (operator @ x, operator.matvec(x), x @ CSR(*transposed(a)), operator.to_csr() @ x):
                assert isinstance(out, np.ndarray)
                assert out.dtype == np.float32
                np.testing.assert_allclose(out, dense(a) @ x, rtol=1e-5, atol=1e-5)
            assert operator.diagonal().dtype == np.float32
    with eq.backend(name, keep=True):
        assert library(a @ x) == name


def test_they_are_stored(tmp_path: Path) -> None:
    a = matrix()
    eq.save(tmp_path / "a.npz", (a, Dense(dense(a))))
    sparse, full = eq.load(tmp_path / "a.npz")
    assert sparse.shape == (7, 5)
    close(sparse @ np.arange(5.0), a @ np.arange(5.0))
    close(full.array, dense(a))


def test_under_jax_transformations() -> None:
    a, x = eq.map_arrays(jnp.asarray, matrix(batch=(3,))), jnp.arange(15.0).reshape(3, 5)
    expected = np.asarray(a.matvec(x))
    close(np.asarray(jax.jit(lambda A, x: A.matvec(x))(a, x)), expected)
    over_data = jax.vmap(lambda d, x: CSR(d, a.indices, a.indptr, a.shape) @ x)
    close(np.asarray(over_data(a.data, x)), expected)
    one = CSR(a.data[0], a.indices, a.indptr, a.shape)
    close(np.asarray(jax.vmap(lambda x: one @ x, in_axes=1, out_axes=1)(x.T)), np.asarray(one.matvec(x)).T)
    close(np.asarray(torch.func.vmap(Dense(torch.eye(3)).matvec)(torch.ones(2, 3))), np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"indices must lie in \[0, 3\), got 3"):  # a known pattern is checked
        jax.jit(lambda d: CSR(d, a.indices, a.indptr, (7, 3)).data)(a.data)
    with pytest.raises(TypeError, match="to_csr needs the values of the matrix"):
        jax.jit(lambda x: Dense(x).to_csr().data)(jnp.ones((2, 2)))


# ---------------------------------------------------------------------------------------------------------------------
# What is refused

D, I, P = np.ones(3), np.array([0, 2, 1]), np.array([0, 2, 3])


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (TypeError, "array must be an array .*, got list", lambda: Dense([[1.0]])),
        (TypeError, "array must hold floating-point numbers, got dtype int64", lambda: Dense(np.eye(2, dtype=int))),
        (ValueError, r"array must have shape \(\.\.\., n, m\), got \(3,\)", lambda: Dense(np.ones(3))),
        (TypeError, "data must hold floating-point numbers, got dtype complex128", lambda: CSR(1j * D, I, P, (2, 3))),
        (TypeError, "indices must hold int32 or int64, got dtype float64", lambda: CSR(D, 1.0 * I, P, (2, 3))),
        (TypeError, "indptr must be an array of int32 or int64, got list", lambda: CSR(D, I, [0, 2, 3], (2, 3))),
        (ValueError, r"indices must have one axis, got shape \(3, 1\)", lambda: CSR(D, I[:, None], P, (2, 3))),
        (TypeError, "two libraries, numpy and torch", lambda: CSR(D, torch.tensor(I), P, (2, 3))),
        (ValueError, r"shape must be a pair of whole numbers .*, got \[2, 3\]", lambda: CSR(D, I, P, [2, 3])),
        (ValueError, r"shape must be a pair of whole numbers .*, got \(2, -3\)", lambda: CSR(D, I, P, (2, -3))),
        (ValueError, r"data must have shape \(\.\.\., 3\) .*, got \(2,\)", lambda: CSR(D[:2], I, P, (2, 3))),
        (ValueError, r"indptr must have shape \(4,\) to fit 3 rows, got \(3,\)", lambda: CSR(D, I, P, (3, 3))),
        (ValueError, "indptr must start with 0, got 1", lambda: CSR(D, I, P + 1, (2, 3))),
        (
            ValueError,
            "must not fall, got 4 at index 1 and 3 at index 2",
            lambda: CSR(D, I, np.array([0, 4, 3]), (2, 3)),
        ),
        (ValueError, "indptr must end with 3, the number of indices, got 2", lambda: CSR(D, I, P - [0, 0, 1], (2, 3))),
        (ValueError, r"indices must lie in \[0, 2\), got 2 at index 1", lambda: CSR(D, I, P, (2, 2))),
        (ValueError, r"indices must lie in \[0, 3\), got -1 at index 0", lambda: CSR(D, I - 1, P, (2, 3))),
        (TypeError, "matrix must be sparse, .*, got ndarray", lambda: CSR.from_scipy(np.eye(2))),
        (TypeError, "x must be an array, got list", lambda: CSR(D, I, P, (2, 3)) @ [1.0, 1.0, 1.0]),
        (ValueError, r"x must have shape \(\.\.\., 3\), got \(2,\)", lambda: CSR(D, I, P, (2, 3)) @ np.ones(2)),
        (ValueError, r"y must have shape \(\.\.\., 2\), got \(3,\)", lambda: CSR(D, I, P, (2, 3)).rmatvec(D)),
        (TypeError, "operator's dtype float64, got float32", lambda: CSR(D, I, P, (2, 3)) @ np.ones(3, "f4")),
        (TypeError, "two libraries, numpy and torch", lambda: Dense(np.eye(3)) @ torch.ones(3)),
        (
            ValueError,
            r"x, shape \(4, 3\), .* over a batch \(2,\)",
            lambda: Dense(np.ones((2, 5, 3))).matvec(np.ones((4, 3))),
        ),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
