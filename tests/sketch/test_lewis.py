from __future__ import annotations

import contextlib
from typing import Any

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.operators import CSR
from equipoise.result import Status
from equipoise.sketch.leverage import leverage_scores
from equipoise.sketch.lewis import LewisResult, lewis_weights

from ..backends import CASES, Case

HERE = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
SINGLE = [case for case in CASES if case.name in ("numpy", "torch", "jax-jit", "strict")]
rng = np.random.default_rng(0)


def once(A: np.ndarray, w: np.ndarray, p: float) -> np.ndarray:
    """The right-hand side of the fixed-point equation, written as it stands."""
    some = w > 0
    rows, out = A[some], np.zeros_like(w)
    G = (rows.T * w[some] ** (1 - 2 / p)) @ rows
    out[some] = np.einsum("ij,jk,ik->i", rows, np.linalg.pinv(G, rcond=1e-13), rows) ** (p / 2)
    return out


def gap(A: np.ndarray, w: np.ndarray, p: float) -> float:
    some = w > 0
    return float(np.abs(np.log(once(A, w, p)[some] / w[some])).max())


class TestBackendsAgree:
    def test_the_iterates_are_those_of_the_equation(self, on: Case) -> None:
        """Three steps from d/n, in a batch, one row zero."""
        A = rng.standard_normal((2, 12, 3))
        A[:, 4] = 0.0
        expected = np.full((2, 12), 3 / 12)
        expected[:, 4] = 0.0
        for _ in range(3):
            expected = np.stack([once(a, w, 1.0) for a, w in zip(A, expected, strict=True)])
        with contextlib.nullcontext() if on.jit else pytest.warns(eq.ConvergenceWarning, match="lewis_weights"):
            result = on.numpy(on.call(lambda A: lewis_weights(A, 1.0, tol=1e-9, max_steps=3), A))
        np.testing.assert_allclose(result.weights, expected, rtol=1e-10)
        errors = [gap(a, w, 1.0) for a, w in zip(A, result.weights, strict=True)]
        np.testing.assert_allclose(result.error, errors, rtol=1e-8)
        assert np.all(result.steps == 3)

    @pytest.mark.parametrize("case", SINGLE, ids=lambda case: case.name)
    def test_float32(self, case: Case) -> None:
        A = rng.standard_normal((20, 3))
        result = case.numpy(case.call(lambda A: lewis_weights(A, 1.5, tol=1e-5), A.astype("float32")))
        assert result.weights.dtype == np.float32
        assert np.all(result.converged)
        assert gap(A, result.weights.astype("float64"), 1.5) < 2e-5


class TestKnownAnswers:
    @pytest.mark.parametrize("p", [0.5, 1.0, 1.7, 3.0, 3.9])
    def test_blocks_of_equal_rows(self, p: float) -> None:
        """A direction of k equal rows gives each of them 1/k, whatever their lengths are elsewhere."""
        A = np.repeat(np.diag([1.0, 1e-3, 50.0]), [4, 1, 5], axis=0)
        w = lewis_weights(A, p, max_steps=1000).weights
        np.testing.assert_allclose(w, np.repeat([0.25, 1.0, 0.2], [4, 1, 5]), rtol=2e-5)

    def test_lengths_in_one_direction(self) -> None:
        """One column: w_i = |a_i|^p / sum_j |a_j|^p."""
        a = np.array([1.0, -2.0, 0.0, 3e-4, 7.0])
        for p in (0.7, 1.0, 3.0):
            w = lewis_weights(a[:, None], p, max_steps=100).weights
            np.testing.assert_allclose(w, abs(a) ** p / np.sum(abs(a) ** p), rtol=1e-5)

    def test_orthonormal_blocks_of_one_size_are_solved_at_the_start(self) -> None:
        """Rows of Hadamard matrices: every weight is d/n for every p."""
        A = np.tile(scipy.linalg.hadamard(4).astype(float), (3, 1))
        for p in (0.5, 1.0, 3.5):
            result = lewis_weights(A, p)
            assert result.steps == 0
            np.testing.assert_allclose(result.weights, 4 / 12, rtol=1e-13)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_two_is_leverage_in_one_step(self, case: Case) -> None:
        A = rng.standard_normal((30, 4)) * np.geomspace(1, 1e6, 30)[:, None]
        result = case.call(lambda A: lewis_weights(A, 2), A)
        assert (int(result.steps), result.converged) == (1, True)
        np.testing.assert_allclose(result.weights, leverage_scores(A, method="exact"), rtol=1e-9)

    @pytest.mark.parametrize("p", [0.8, 1.0, 1.5, 2.5, 3.2])
    def test_the_equation_holds_to_the_tolerance(self, p: float) -> None:
        A = rng.standard_normal((80, 5)) * np.geomspace(1, 1e3, 80)[:, None]
        A[11] = 0.0
        result = lewis_weights(A, p, tol=1e-9, max_steps=200)
        assert result.converged
        assert gap(A, result.weights, p) <= 1e-9 + 1e-10
        assert abs(result.weights.sum() - 5) < 5 * 1e-9 / (1 - abs(1 - p / 2))
        assert result.weights[11] == 0.0

    @pytest.mark.parametrize("p", [0.5, 1.0, 1.6, 3.0, 3.5])
    def test_the_rate(self, p: float) -> None:
        A = rng.standard_normal((40, 4))
        error = lewis_weights(A, p, tol=1e-8, max_steps=300).history.error
        ratios = error[1:] / error[:-1]
        assert np.all(ratios <= abs(1 - p / 2) + 1e-6)
        assert abs(ratios[-1] - abs(1 - p / 2)) < 0.01


class TestHardInput:
    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_any_scale_of_columns(self, case: Case) -> None:
        A = rng.standard_normal((30, 4))
        w = case.call(lambda A: lewis_weights(A, 1.0).weights, A)
        scaled = case.call(lambda A: lewis_weights(A, 1.0).weights, A * np.array([1e-150, 1e-9, 1.0, 1e150]))
        np.testing.assert_allclose(scaled, w, rtol=1e-9)

    def test_ill_conditioned(self) -> None:
        """Condition 1e9, where the matrix in the middle of the equation has 1e18 and more."""
        U, V = np.linalg.qr(rng.standard_normal((50, 4)))[0], np.linalg.qr(rng.standard_normal((4, 4)))[0]
        for p in (0.7, 1.0, 3.0):
            w = lewis_weights(U * np.geomspace(1, 1e-9, 4) @ V, p, max_steps=100).weights
            np.testing.assert_allclose(w, lewis_weights(U, p, max_steps=100).weights, rtol=1e-4)

    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_rows_of_any_length(self, dtype: str) -> None:
        """Squares of the shortest rows underflow: W^(1 - 2/p) has them at 1e90 for p = 1/2."""
        small = 1e-200 if dtype == "float64" else 1e-30
        A = rng.standard_normal((40, 3))
        A[20:] *= small
        w = lewis_weights(A.astype(dtype), 0.5, tol=1e-5, max_steps=200).weights
        assert np.all(w > 0)
        whole = lewis_weights(A[:20].astype(dtype), 0.5, tol=1e-5, max_steps=200).weights
        np.testing.assert_allclose(w[:20], whole, rtol=1e-3)
        G = (A[:20].T * whole.astype("float64") ** -3) @ A[:20]
        expected = np.einsum("ij,jk,ik->i", A[20:] / small, np.linalg.inv(G), A[20:] / small) ** 0.25 * small**0.5
        np.testing.assert_allclose(w[20:], expected, rtol=1e-3)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_rank_deficient_few_rows_and_nothing(self, case: Case) -> None:
        A = rng.standard_normal((20, 4))
        A[:, 3] = A[:, 0] - A[:, 1]
        low, full = (case.call(lambda A: lewis_weights(A, 1.0, tol=1e-9).weights, x) for x in (A, A[:, :3]))
        np.testing.assert_allclose(low, full, rtol=1e-7)
        np.testing.assert_allclose(low.sum(), 3.0, rtol=1e-8)
        few = case.call(lambda A: lewis_weights(A, 1.0).weights, rng.standard_normal((2, 5)))
        np.testing.assert_allclose(few, 1.0, rtol=1e-5)
        nothing = case.call(lambda A: lewis_weights(A, 1.0), np.zeros((3, 2)))
        assert nothing.converged
        assert np.all(nothing.weights == 0.0)

    def test_sparse(self) -> None:
        A = rng.standard_normal((25, 4)) * (rng.random((25, 4)) < 0.6)
        np.testing.assert_allclose(
            lewis_weights(scipy.sparse.csr_array(A), 1.0).weights, lewis_weights(A, 1.0).weights, rtol=1e-9
        )


class TestProperties:
    @given(
        n=st.integers(3, 12),
        d=st.integers(1, 3),
        p=st.floats(0.7, 3.3),
        seed=st.integers(0, 99),
        portable=st.booleans(),
    )
    def test_permutation_and_change_of_basis(self, n: int, d: int, p: float, seed: int, portable: bool) -> None:
        draw = np.random.default_rng(seed)
        A, order = draw.standard_normal((n, d)), draw.permutation(n)
        T = np.linalg.qr(draw.standard_normal((d, d)))[0] * np.geomspace(1, 100, d)
        with eq.portable() if portable else contextlib.nullcontext():
            w = lewis_weights(A, p, tol=1e-8, max_steps=200).weights
            np.testing.assert_allclose(w.sum(), d, rtol=1e-7)
            assert np.all(w <= 1 + 1e-7)
            np.testing.assert_allclose(lewis_weights(A[order], p, tol=1e-8, max_steps=200).weights, w[order], rtol=1e-6)
            np.testing.assert_allclose(lewis_weights(A @ T, p, tol=1e-8, max_steps=200).weights, w, rtol=1e-6)


class TestDerivatives:
    @pytest.mark.parametrize("p", [1.0, 3.0])
    def test_torch(self, p: float) -> None:
        A = torch.tensor(rng.standard_normal((7, 3)), requires_grad=True)

        def weights(A: Any) -> Any:
            return lewis_weights(A, p, tol=1e-13, max_steps=80).weights

        assert torch.autograd.gradcheck(weights, (A,), atol=1e-6)
        (bar,) = torch.autograd.grad((weights(A) ** 2).sum(), A, create_graph=True)
        with pytest.raises(TypeError, match="lewis_weights has no second derivatives"):
            bar.sum().backward()

    def test_jax_under_jit_sparse(self) -> None:
        A = scipy.sparse.csr_array(rng.standard_normal((8, 3)) * (rng.random((8, 3)) < 0.8))
        coefficients, pattern = rng.standard_normal(8), [jax.numpy.array(x) for x in (A.indices, A.indptr)]

        def value(data: Any) -> Any:
            return (coefficients * lewis_weights(CSR(data, *pattern, A.shape), 1.5, tol=1e-12).weights).sum()

        bar = jax.jit(jax.grad(value))(jax.numpy.array(A.data))
        step = rng.standard_normal(A.data.shape)
        ends = [scipy.sparse.csr_array((A.data + h * step, A.indices, A.indptr), A.shape) for h in (1e-5, -1e-5)]
        plus, minus = ((coefficients * lewis_weights(end, 1.5, tol=1e-12).weights).sum() for end in ends)
        np.testing.assert_allclose((np.asarray(bar) * step).sum(), (plus - minus) / 2e-5, rtol=1e-6)


class TestEnds:
    def test_steps_run_out(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="sketch.lewis_weights did not reach tol=1e-06"):
            result = lewis_weights(rng.standard_normal((9, 2)), 3.9)
        assert (result.status, int(result.steps)) == (Status.MAX_STEPS, 50)

    def test_rounding_ends_it(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="rounding"):
            result = lewis_weights(rng.standard_normal((200, 5)).astype("float32"), 1.0, tol=1e-9, max_steps=500)
        assert result.status is Status.STALLED
        assert result.error < 5e-6

    def test_a_callback_stops(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="callback"):
            result = lewis_weights(rng.standard_normal((9, 2)), 1.0, callback=lambda info: info.step == 3)
        assert (result.steps, result.status) == (3, Status.STOPPED)

    def test_storing(self, tmp_path: Any) -> None:
        result = lewis_weights(rng.standard_normal((6, 2)), 1.0)
        eq.save(tmp_path / "weights.npz", result)
        again = eq.load(tmp_path / "weights.npz")
        assert isinstance(again, LewisResult)
        assert np.array_equal(again.weights, result.weights)
        assert "weights (6,)" in repr(again)

    def test_the_context(self) -> None:
        A = rng.standard_normal((12, 3))
        with eq.backend("torch", dtype="float32"):
            result = lewis_weights(A, 1.0, tol=1e-5)
        assert isinstance(result.weights, np.ndarray)
        assert result.weights.dtype == np.float32


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (ValueError, r"p must lie in \(0, 4\), got 4.0: the iteration need not", lambda: lewis_weights(np.eye(2), 4)),
        (ValueError, r"p must lie in \(0, 4\), got 0.0: there is no such", lambda: lewis_weights(np.eye(2), 0.0)),
        (ValueError, r"p must lie in \(0, 4\), got nan", lambda: lewis_weights(np.eye(2), np.nan)),
        (TypeError, "p must be a number", lambda: lewis_weights(np.eye(2), "1")),
        (ValueError, r"A must have shape \(..., n, d\), got \(3,\)", lambda: lewis_weights(np.ones(3), 1.0)),
        (ValueError, "A must hold .* numbers, got dtype int64", lambda: lewis_weights(np.ones((3, 2), int), 1.0)),
        (ValueError, r"got nan at index \(1, 1\)", lambda: lewis_weights(np.diag([1.0, np.nan]), 1.0)),
        (ValueError, "tol must be at least 0", lambda: lewis_weights(np.eye(2), 1.0, tol=-1.0)),
        (ValueError, "max_steps must be at least 1", lambda: lewis_weights(np.eye(2), 1.0, max_steps=0)),
        (TypeError, "rng must be an int", lambda: lewis_weights(np.eye(2), 1.0, rng=None)),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
