from __future__ import annotations

import contextlib
from typing import Any

import jax
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.operators import CSR, Dense, Kronecker
from equipoise.sketch import leverage
from equipoise.sketch.leverage import directions, leverage_scores

from ..backends import CASES, Case

HERE = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
rng = np.random.default_rng(0)


def tall(n: int, d: int, seed: int = 0, condition: float = 1.0) -> np.ndarray:
    """Singular values from 1 down to 1/condition."""
    draw = np.random.default_rng(seed)
    left, right = (np.linalg.qr(draw.standard_normal((k, d)))[0] for k in (n, d))
    return left * np.geomspace(1, 1 / condition, d) @ right.T


def oracle(A: np.ndarray, rank: int | None = None) -> np.ndarray:
    """The squared row norms of the left singular vectors."""
    u = np.linalg.svd(A, full_matrices=False)[0][..., :rank]
    return np.sum(u * u, axis=-1)


def rows(A: np.ndarray) -> tuple[np.ndarray, Any]:
    """The data of A as a CSR, and what makes one of data."""
    made = scipy.sparse.csr_array(A)
    return made.data, lambda data: CSR(data, made.indices, made.indptr, A.shape)


class TestBackendsAgree:
    def test_exact_and_sketched(self, on: Case) -> None:
        A = rng.standard_normal((2, 30 if on.name == "jax-portable" else 150, 3))
        exact, sketched = on.numpy(
            on.call(lambda A: [leverage_scores(A, method=m, rng=3) for m in ("exact", "sketched")], A)
        )
        np.testing.assert_allclose(exact, oracle(A), rtol=1e-11)
        for member, a in zip(sketched, A, strict=True):
            np.testing.assert_allclose(member.mean(), exact.mean(), rtol=0.5)
            assert np.all(member < 3 * oracle(a))
            assert np.all(member > oracle(a) / 4)

    def test_sparse(self, on: Case) -> None:
        A = rng.standard_normal((15, 4)) * (rng.random((15, 4)) < 0.6)
        data, made = rows(A)
        made_there = rows_of(on, A)
        tau = on.numpy(on.call(lambda x: leverage_scores(made_there(x)), data))
        np.testing.assert_allclose(tau, oracle(A), rtol=1e-11, atol=1e-13)
        assert made(data).shape == (15, 4)

    def test_float32(self, on: Case) -> None:
        A = tall(25, 4, condition=1e2).astype("float32")
        tau = on.numpy(on.call(leverage_scores, A))
        assert tau.dtype == np.float32
        np.testing.assert_allclose(tau, oracle(A.astype("float64")), atol=2e-5)


def rows_of(on: Case, A: np.ndarray) -> Any:
    """What makes a CSR of data with the pattern of A on a case's own arrays."""
    made = scipy.sparse.csr_array(A)
    pattern = [on.array(x) for x in (made.indices, made.indptr)]
    return lambda data: CSR(data, *pattern, A.shape)


class TestKnownAnswers:
    def test_a_row_alone_in_its_direction_has_score_one(self) -> None:
        A = np.vstack([np.hstack([rng.standard_normal((9, 3)), np.zeros((9, 1))]), [[5.0, -2.0, 1.0, 1e-3]]])
        tau = leverage_scores(A)
        np.testing.assert_allclose(tau[-1], 1.0, rtol=1e-13)
        np.testing.assert_allclose(tau[:-1], oracle(A[:-1, :3]), rtol=1e-10)

    def test_identical_rows_share(self) -> None:
        np.testing.assert_allclose(leverage_scores(np.tile([[3.0, 1.0], [0.0, 2.0]], (5, 1))), 0.2)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_fewer_rows_than_columns(self, case: Case) -> None:
        tau = case.call(lambda A: leverage_scores(A, method="exact"), rng.standard_normal((3, 7)))
        np.testing.assert_allclose(tau, np.ones(3), rtol=1e-12)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    @pytest.mark.parametrize("condition", [1e8, 1e12])
    def test_ill_conditioned(self, case: Case, condition: float) -> None:
        """Against the scores of the basis that A was made of; A^T A would have no digit of them right."""
        U, V = np.linalg.qr(rng.standard_normal((60, 5)))[0], np.linalg.qr(rng.standard_normal((5, 5)))[0]
        tau = case.call(leverage_scores, U * np.geomspace(1, 1 / condition, 5) @ V)
        np.testing.assert_allclose(tau, oracle(U), atol=1e-15 * condition)
        np.testing.assert_allclose(tau.sum(), 5.0, atol=1e-15 * condition)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_columns_of_any_scale_and_zero_rows(self, case: Case) -> None:
        A = rng.standard_normal((30, 4))
        A[7] = 0.0
        scaled = A * np.array([1e-150, 1e-8, 1.0, 1e150])
        tau = case.call(leverage_scores, scaled)
        np.testing.assert_allclose(tau, oracle(A), rtol=1e-11)
        assert tau[7] == 0.0

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_the_sum_is_the_rank(self, case: Case) -> None:
        """Of duplicate columns, zero columns and combinations; also in a batch of different ranks."""
        A = rng.standard_normal((40, 6))
        low = A.copy()
        low[:, 3], low[:, 4], low[:, 5] = low[:, 0], 0.0, low[:, 1] - 2 * low[:, 2]
        tau = case.call(leverage_scores, np.stack([A, low, np.zeros_like(A)]))
        np.testing.assert_allclose(tau.sum(-1), [6.0, 3.0, 0.0], atol=1e-12)
        np.testing.assert_allclose(tau[1], oracle(low[:, :3]), rtol=1e-10)

    def test_kinds_of_one_matrix(self) -> None:
        A = rng.standard_normal((12, 3)) * (rng.random((12, 3)) < 0.7)
        for given_ in (scipy.sparse.csr_array(A), scipy.sparse.coo_array(A), Dense(A), torch.tensor(A).to_sparse_coo()):
            tau = leverage_scores(given_, method="exact")
            np.testing.assert_allclose(np.asarray(tau), oracle(A), rtol=1e-11)

    @pytest.mark.parametrize("name", ["torch", "jax"])
    def test_the_context(self, name: str) -> None:
        A = rng.standard_normal((12, 3))
        with eq.backend(name, dtype="float32"):
            tau = leverage_scores(A)
        assert isinstance(tau, np.ndarray)
        assert tau.dtype == np.float32
        np.testing.assert_allclose(tau, oracle(A), atol=1e-5)


class TestTall:
    """From 48 rows a column on the root comes from a sketch and a correction."""

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    @pytest.mark.parametrize("condition", [1e0, 1e5, 1e10])
    def test_as_accurate_as_a_factorisation(self, case: Case, condition: float) -> None:
        U, V = np.linalg.qr(rng.standard_normal((400, 6)))[0], np.linalg.qr(rng.standard_normal((6, 6)))[0]
        A = U * np.geomspace(1, 1 / condition, 6) @ V
        np.testing.assert_allclose(case.call(leverage_scores, A), oracle(U), atol=1e-14 + 1e-15 * condition)
        A[:, 2], A[:, 4] = A[:, 0] - A[:, 1], 0.0
        low = case.call(leverage_scores, np.stack([A, 1e-100 * U]))
        np.testing.assert_allclose(low.sum(-1), [4.0, 6.0], atol=1e-13 + 2e-15 * condition)
        np.testing.assert_allclose(low[1], oracle(U), rtol=1e-11)

    def test_rows_alone_and_scales_that_a_sketch_could_miss(self) -> None:
        A = np.zeros((500, 5))
        A[[3, 99, 250, 400, 499], range(5)] = [1e100, 1e-100, 1.0, 1e-5, 3.0]
        expected = (A != 0).any(axis=1).astype(float)
        for seed in range(20):
            np.testing.assert_allclose(leverage_scores(A, rng=seed), expected, rtol=1e-13)

    def test_a_sketch_that_failed_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that has seen half of the rows only, and so calls the other half's direction all but empty."""
        A = rng.standard_normal((300, 3))
        A[:150, 2] *= 1e-6

        def half(matrix: Any, seed: int) -> Any:
            return honest(np.concatenate([matrix[:150], 0 * matrix[150:]]), seed)

        honest = leverage.sketched_spectrum
        monkeypatch.setattr(leverage, "sketched_spectrum", half)
        np.testing.assert_allclose(leverage_scores(A), oracle(A), rtol=1e-11)


def test_rows_that_are_equal_add_no_rank() -> None:
    A = np.repeat(rng.standard_normal((5, 100)), 300, 0)
    assert abs(leverage_scores(A).sum() - 5) < 1e-10


class TestSketched:
    def test_auto_is_exact_while_that_is_affordable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        few, many = rng.standard_normal((40, 5)), rng.standard_normal((45, 40))
        monkeypatch.setattr(leverage, "TOO_MUCH", 45 * 40 * 39)
        assert np.array_equal(leverage_scores(few), leverage_scores(few, method="exact"))
        assert np.array_equal(leverage_scores(many, rng=5), leverage_scores(many, method="sketched", rng=5))
        assert not np.array_equal(leverage_scores(many, rng=5), leverage_scores(many, rng=6))

    def test_ratios(self) -> None:
        """Nearly chi-square: unbiased, of variance 2/k; most within 1.5, all within the bounds of the docstring."""
        A = np.linalg.qr(rng.standard_normal((1000, 30)))[0]
        ratios = np.stack([leverage_scores(A, method="sketched", rng=seed) for seed in range(20)]) / oracle(A)
        k = np.ceil(8 * np.log(1000))
        assert abs(ratios.mean() - 1) < 0.02
        assert abs(ratios.var() * k / 2 - 1) < 0.3
        assert np.mean((ratios < 1.5) & (ratios > 1 / 1.5)) > 0.92
        assert ratios.max() < 2.3
        assert ratios.min() > 0.33

    def test_unequal_scores_rank_and_sparse_rows(self) -> None:
        """Rows alone in their direction, a duplicate column, and the same matrix by its entries."""
        A = rng.standard_normal((600, 6)) * 1e-3
        A[:, 5] = A[:, 4]
        A[:4, :4] += np.eye(4)
        estimates = [leverage_scores(A, method="sketched", rng=seed) for seed in range(200)]
        mean = np.mean(estimates, axis=0) / oracle(A, 5)
        assert abs(mean - 1).max() < 0.1
        sparse = leverage_scores(scipy.sparse.csr_array(A), method="sketched", rng=3)
        np.testing.assert_allclose(sparse, estimates[3], rtol=1e-8)

    def test_directions_are_normal_and_their_own(self) -> None:
        drawn = directions(7, 50, 41)
        assert drawn.shape == (50, 41)
        assert abs(drawn.mean()) < 0.1
        assert abs(drawn.std() - 1) < 0.05
        assert np.array_equal(directions(7, 20, 6), drawn[:20, :6])
        assert not np.array_equal(directions(8, 20, 6), drawn[:20, :6])


class TestProperties:
    @given(n=st.integers(1, 12), d=st.integers(1, 6), seed=st.integers(0, 99), portable=st.booleans())
    def test_bounds_sum_permutation_and_change_of_basis(self, n: int, d: int, seed: int, portable: bool) -> None:
        draw = np.random.default_rng(seed)
        A, T, order = draw.standard_normal((n, d)), tall(d, d, seed + 1, 10.0), draw.permutation(n)
        with eq.portable() if portable else contextlib.nullcontext():
            tau = leverage_scores(A, method="exact")
            assert np.all(tau >= 0)
            assert np.all(tau <= 1 + 1e-13)
            np.testing.assert_allclose(tau.sum(), min(n, d), rtol=1e-11)
            np.testing.assert_allclose(leverage_scores(A[order], method="exact"), tau[order], rtol=1e-9)
            np.testing.assert_allclose(leverage_scores(A @ T, method="exact"), tau, rtol=1e-6)


class TestDerivatives:
    @pytest.mark.parametrize("method", ["exact", "sketched"])
    def test_torch(self, method: str) -> None:
        """gradcheck; and estimates have the derivative of the exact scores."""
        A = torch.tensor(rng.standard_normal((7, 3)), requires_grad=True)
        if method == "exact":
            assert torch.autograd.gradcheck(leverage_scores, (A,))
        weights = torch.arange(7.0, dtype=torch.float64)
        bars = [torch.autograd.grad((weights * leverage_scores(A, method=m)).sum(), A)[0] for m in ("exact", method)]
        torch.testing.assert_close(*bars)

    def test_jax_under_jit_in_a_batch_with_fewer_rows_too(self) -> None:
        A = rng.standard_normal((2, 6, 3))
        weights = rng.standard_normal((2, 6))

        def value(A: Any) -> Any:
            return (weights * leverage_scores(A)).sum()

        step = rng.standard_normal(A.shape)
        expected = (value(A + 1e-6 * step) - value(A - 1e-6 * step)) / 2e-6
        bar = jax.jit(jax.grad(value))(jax.numpy.array(A))
        np.testing.assert_allclose((np.asarray(bar) * step).sum(), expected, rtol=1e-6)
        wide = jax.grad(lambda A: leverage_scores(A, method="exact")[0])(jax.numpy.array(A[0].T))
        np.testing.assert_allclose(wide, 0.0, atol=1e-12)

    @pytest.mark.parametrize("name", ["torch", "jax"])
    def test_sparse(self, name: str) -> None:
        A = rng.standard_normal((8, 3)) * (rng.random((8, 3)) < 0.7)
        case = next(case for case in CASES if case.name == name)
        data, made = scipy.sparse.csr_array(A).data, rows_of(case, A)
        weights = case.array(rng.standard_normal(8))

        def value(data: Any) -> Any:
            return (weights * leverage_scores(made(data))).sum()

        if name == "torch":
            leaf = torch.tensor(data, requires_grad=True)
            value(leaf).backward()
            bar = leaf.grad.numpy()
        else:
            bar = np.asarray(jax.grad(value)(jax.numpy.array(data)))
        step = rng.standard_normal(data.shape)
        expected = float(value(case.array(data + 1e-6 * step)) - value(case.array(data - 1e-6 * step))) / 2e-6
        np.testing.assert_allclose((bar * step).sum(), expected, rtol=1e-6)

    def test_ill_conditioned(self) -> None:
        """The gradient of A R^-1 pulled back by R: no power of the condition number is lost in the projection."""
        U, R = np.linalg.qr(rng.standard_normal((20, 3)))[0], np.diag([1.0, 1e-6, 1e-12])
        weights = torch.tensor(rng.standard_normal(20))
        bars = []
        for matrix in (U, U @ R):
            A = torch.tensor(matrix, requires_grad=True)
            (weights * leverage_scores(A)).sum().backward()
            bars.append(A.grad.numpy())
        np.testing.assert_allclose(bars[1] @ R, bars[0], atol=1e-12)

    def test_second_derivatives_are_refused(self) -> None:
        A = torch.tensor(rng.standard_normal((7, 3)), requires_grad=True)
        (bar,) = torch.autograd.grad((leverage_scores(A) ** 2).sum(), A, create_graph=True)
        with pytest.raises(TypeError, match="leverage_scores has no second derivatives"):
            bar.sum().backward()


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (ValueError, r"A must have shape \(..., n, d\), got \(3,\)", lambda: leverage_scores(np.ones(3))),
        (ValueError, "A must hold .* numbers, got dtype int64", lambda: leverage_scores(np.ones((3, 2), int))),
        (ValueError, r"one row and one column, got shape \(3, 0\)", lambda: leverage_scores(np.ones((3, 0)))),
        (
            ValueError,
            r"A must be finite, got nan at index \(1, 0\)",
            lambda: leverage_scores(np.array([[1.0, 2.0], [np.nan, 0.0], [np.inf, 1.0]])),
        ),
        (
            ValueError,
            r"the data of A must be finite, got inf at index \(0,\)",
            lambda: leverage_scores(scipy.sparse.csr_array(np.array([[np.inf], [1.0]]))),
        ),
        (ValueError, "method must be one of 'auto', .*, got 'fast'", lambda: leverage_scores(np.eye(2), method="fast")),
        (TypeError, "A must be an array, a sparse matrix .*, got list", lambda: leverage_scores([[1.0]])),
        (
            TypeError,
            "A must be an array or a sparse matrix, got Kronecker",
            lambda: leverage_scores(Kronecker(np.eye(2), np.eye(2))),
        ),
        (TypeError, "rng must be an int", lambda: leverage_scores(np.eye(2), rng=None)),
        (TypeError, "A is a masked array", lambda: leverage_scores(np.ma.ones((2, 2)))),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
