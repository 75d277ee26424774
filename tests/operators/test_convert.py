from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from jax.experimental.sparse import BCOO, BCSR
from jax.test_util import check_grads

from equipoise.arrays import library
from equipoise.operators import CSR, Dense, Stencil, as_operator

from .test_csr import close

pytestmark = pytest.mark.filterwarnings("ignore:Sparse .*:UserWarning")  # torch: they are in beta, they are unchecked
FULL = np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.5, 3.0, 0.0], [0.0, 0.0, 4.0]])
X, Y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0])


def check(operator: Any, full: np.ndarray = FULL) -> None:
    assert isinstance(operator, CSR)
    close(np.asarray(operator @ like(operator, X)), full @ X)
    close(np.asarray(operator.rmatvec(like(operator, Y))), Y @ full)


def like(operator: Any, x: np.ndarray) -> Any:
    return {"numpy": np.asarray, "torch": torch.tensor}.get(library(operator.data), jnp.asarray)(x)


def test_operators_stay_what_they_are() -> None:
    theirs = scipy.sparse.linalg.aslinearoperator(FULL)
    for operator in (Dense(FULL), Stencil.laplacian(3), theirs):
        assert as_operator(operator) is operator


def test_arrays() -> None:
    for array in (FULL, torch.tensor(FULL), jnp.asarray(FULL)):
        operator = as_operator(array)
        assert isinstance(operator, Dense)
        assert operator.array is array
    assert as_operator(np.ones((2, 3, 4))).shape == (3, 4)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "dia", "lil"])
def test_scipy(form: str) -> None:
    check(as_operator(scipy.sparse.csr_matrix(FULL).asformat(form)))
    check(as_operator(scipy.sparse.csr_array(FULL).asformat(form)))


def test_scipy_patterns_are_kept() -> None:
    """Indices of 64 bits, columns out of order, an entry that is stored twice, a zero that is stored."""
    parts = (np.array([1.0, 2.0, 3.0, 0.0]), np.array([2, 0, 2, 1]), np.array([0, 3, 4]))
    theirs = scipy.sparse.csr_array(parts, shape=(2, 3))
    ours = as_operator(theirs)
    assert isinstance(ours, CSR)
    assert ours.indices.tolist() == [2, 0, 2, 1]
    assert np.shares_memory(ours.data, theirs.data)
    close(ours @ X, np.array([14.0, 0.0]))
    wide = scipy.sparse.csr_array(FULL)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    check(as_operator(wide))


def test_torch() -> None:
    check(as_operator(torch.tensor(FULL).to_sparse_csr()))
    check(as_operator(torch.tensor(FULL).to_sparse_coo()))
    twice = torch.sparse_coo_tensor(torch.tensor([[2, 0, 0], [1, 2, 2]]), torch.tensor([1.0, 2.0, 3.0]), (3, 3))
    assert (as_operator(twice) @ torch.ones(3)).tolist() == [5.0, 0.0, 1.0]


def test_torch_entries_have_derivatives() -> None:
    crow, columns = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1])

    def by_rows(values: Any) -> Any:
        return (as_operator(torch.sparse_csr_tensor(crow, columns, values, (2, 3))) @ torch.tensor(X)) ** 2

    def by_places(values: Any) -> Any:
        places = torch.tensor([[0, 1, 0], [2, 1, 2]])
        return (as_operator(torch.sparse_coo_tensor(places, values, (2, 3))) @ torch.tensor(X)) ** 2

    for fn in (by_rows, by_places):
        assert torch.autograd.gradcheck(fn, torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True))


def test_jax() -> None:
    check(as_operator(BCSR.fromdense(jnp.asarray(FULL))))
    check(as_operator(BCOO.fromdense(jnp.asarray(FULL))))
    check(as_operator(BCOO.fromdense(jnp.asarray(FULL), nse=8)))  # places beyond the matrix fill up
    order = jnp.array([3, 0, 4, 2, 1])
    there = BCOO.fromdense(jnp.asarray(FULL))
    check(as_operator(BCOO((there.data[order], there.indices[order]), shape=(4, 3))))


def test_jax_under_transformations() -> None:
    x = jnp.asarray(X)
    for made in (
        BCSR.fromdense(jnp.asarray(FULL)),
        BCOO.fromdense(jnp.asarray(FULL)),
        BCOO.fromdense(jnp.asarray(FULL), nse=8),
    ):
        out = jax.jit(lambda A, x, y: (as_operator(A) @ x, as_operator(A).rmatvec(y)))(made, x, jnp.asarray(Y))
        close(np.asarray(out[0]), FULL @ X)
        close(np.asarray(out[1]), Y @ FULL)
    rows, places = BCSR.fromdense(jnp.asarray(FULL)), BCOO.fromdense(jnp.asarray(FULL))

    def by_rows(data: Any) -> Any:
        return ((as_operator(BCSR((data, rows.indices, rows.indptr), shape=(4, 3))) @ x) ** 2).sum()

    def by_places(data: Any) -> Any:
        return ((as_operator(BCOO((data, places.indices), shape=(4, 3))) @ x) ** 2).sum()

    for fn in (by_rows, by_places):
        check_grads(fn, (jnp.arange(1.0, 6.0),), order=2, modes=["rev"])
        np.testing.assert_allclose(jax.jit(jax.grad(fn))(rows.data), jax.grad(fn)(rows.data))


class Cupyx:
    """What a matrix of cupyx shows of itself."""

    def tocsr(self) -> Any:
        return scipy.sparse.csr_array(FULL)


def test_whatever_has_tocsr() -> None:
    check(as_operator(Cupyx()))


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (TypeError, "A must be an array, a sparse matrix .* or an operator .*, got list", lambda: as_operator([[1.0]])),
        (TypeError, "A must be .*, got float", lambda: as_operator(1.0)),
        (
            TypeError,
            "array must hold floating-point numbers, got dtype int64",
            lambda: as_operator(np.eye(2, dtype=int)),
        ),
        (ValueError, r"array must have shape \(\.\.\., n, m\), got \(3,\)", lambda: as_operator(X)),
        (TypeError, "data must hold floating-point .*int", lambda: as_operator(scipy.sparse.eye_array(2, dtype=int))),
        (
            TypeError,
            "data must hold .*complex128",
            lambda: as_operator(torch.eye(2, dtype=torch.complex128).to_sparse()),
        ),
        (
            ValueError,
            "one sparse matrix of numbers, got BCOO",
            lambda: as_operator(BCOO.fromdense(jnp.ones((2, 2, 2)))),
        ),
        (
            ValueError,
            "got BCOO .* n_batch=1 and n_dense=0; a batch is CSR",
            lambda: as_operator(BCOO.fromdense(jnp.ones((2, 2, 2)), n_batch=1)),
        ),
        (ValueError, "got BCSR .* n_batch=1", lambda: as_operator(BCSR.fromdense(jnp.ones((2, 2, 2)), n_batch=1))),
        (
            TypeError,
            "layout, got torch.sparse_csc: call",
            lambda: as_operator(torch.eye(2).to_sparse_csc()),
        ),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
