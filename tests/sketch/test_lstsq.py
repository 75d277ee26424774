from __future__ import annotations

import math
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.operators import CSR
from equipoise.result import Status
from equipoise.sketch import LstsqResult, lstsq, sketch_operator
from equipoise.sketch.choice import sketches_for
from equipoise.sketch.cholesky_qr import cholesky_qr
from equipoise.sketch.passes import InMemory
from equipoise.sketch.spir import spir

from ..backends import CASES, Case
from .problems import backward_error, conditioned

U = 2.0**-53
ACCURATE = ("direct", "cholesky_qr", "spir")
HERE = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
rng = np.random.default_rng(0)
TALL, SIDE = rng.standard_normal((600, 12)), rng.standard_normal(600)


def sample(rng: np.random.Generator, dtype: str) -> Any:
    """For tests/test_kernel.py: tall, square, wide, batches."""
    for shape in ((9, 4), (4, 4), (3, 5), (2, 9, 4)):
        A = rng.standard_normal(shape).astype(dtype)
        yield (A, rng.standard_normal((*shape[:-1], 2)).astype(dtype), 1e-6), {}


def sample_judge(rng: np.random.Generator, dtype: str) -> Any:
    """Tall and wide, of one and of several right-hand sides, exact and without a solution."""
    for shape, k in (((9, 4), 1), ((3, 5), 1), ((9, 4), 2), ((2, 9, 4), 1)):
        A, x = rng.standard_normal(shape).astype(dtype), rng.standard_normal((*shape[:-2], shape[-1], k)).astype(dtype)
        values = np.linalg.svd(A, compute_uv=False)
        for b in (rng.standard_normal((*shape[:-1], k)).astype(dtype), np.zeros((*shape[:-1], k), dtype)):
            yield (A, b, x, values), {}
        yield (A, 0 * b, 0 * x, values), {}
        yield (0 * A, b + 1, x, 0 * values), {}


class TestAccuracy:
    @pytest.mark.parametrize("method", ACCURATE)
    @pytest.mark.parametrize("kappa", [1e2, 1e6, 1e10, 1e12, 1e14])
    def test_backward_errors(self, kappa: float, method: str) -> None:
        """The estimate is within a factor of two of that by all singular values; forward errors are gelsd's."""
        for residual in (1e-6, 1e-1, 1.0):
            A, b, exact = conditioned(1500, 30, kappa, residual)
            result = lstsq(A, b, method=method)
            assert result.converged
            assert result.method == method
            assert int(result.rank) == 30
            true = backward_error(A, b, result.x)
            assert true <= 5 * U
            assert 0.5 * true - 1e-18 <= result.error <= (4 * U if method == "direct" else 2 * true + 1e-17)
            wrong = np.linalg.norm(result.x - exact)
            assert wrong <= 30 * max(np.linalg.norm(np.linalg.lstsq(A, b, rcond=30 * U)[0] - exact), kappa * U)

    def test_later_stages_stop_on_the_backward_error(self) -> None:
        """Stopped on the size of their steps they would leave 1e-10 here."""
        A, b, _ = conditioned(4000, 40, 1e10, 0.1)
        result = lstsq(A, b, method="spir")
        assert backward_error(A, b, result.x) < 2 * U
        assert result.steps <= 40

    def test_no_digits_are_lost_at_the_start(self) -> None:
        """From a start of zero, forward errors at kappa 1e10 would be about 0.1."""
        A, b, exact = conditioned(4000, 40, 1e10, 1e-6)
        assert np.linalg.norm(lstsq(A, b, method="spir").x - exact) < 1e-3

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_normal_equations_are_not_what_is_done(self, case: Case) -> None:
        A, b, _ = conditioned(1500, 30, 1e9, 1e-6)
        naive = np.linalg.solve(A.T @ A, A.T @ b)
        assert backward_error(A, b, naive) > 1e5 * U
        assert case.call(lambda A, b: lstsq(A, b, method="cholesky_qr"), A, b).error < 4 * U

    @pytest.mark.parametrize("kappa", [1e1, 1e3, 1e5])
    @pytest.mark.parametrize("method", ACCURATE)
    def test_float32(self, kappa: float, method: str) -> None:
        for residual in (1e-6, 1.0):
            A, b, _ = (x.astype("float32") for x in conditioned(1500, 30, kappa, residual))
            result = lstsq(A, b, method=method)
            assert result.x.dtype == np.float32
            assert result.converged
            assert backward_error(*(x.astype(float) for x in (A, b, result.x))) <= 10 * 2.0**-24

    def test_a_sketch_that_missed_something_is_not_believed(self) -> None:
        """One row carries a direction, and rows drawn evenly do not know of it: the Gram matrix does."""
        A, b = TALL.copy(), SIDE.copy()
        A[0] *= 1e4
        drawn = sketch_operator("rows", 48, 600, rng=1)
        assert abs(drawn @ A).max() < 100
        thorough = sketches_for("spir", None, None, A.shape, 0)(1)
        solved = cholesky_qr(
            InMemory(A, b[:, None]), lambda k: thorough if k else drawn, 30 * U, 4 * U, max_steps=9, method=""
        )
        assert solved.sound
        assert solved.spectrum.condition > 1e3
        np.testing.assert_allclose(solved.run.state.x[0], np.linalg.lstsq(A, b)[0], atol=1e-12)
        A[:, 3] = 0
        A[0, 3] = 1.0
        with pytest.warns(eq.ConvergenceWarning):  # nor is a direction that the thorough one misses too
            lstsq(A, b + 1, method="cholesky_qr", kind="rows", sketch_rows=24)

    def test_heavy_ball_inside(self) -> None:
        """FOSSILS: the same stages without inner products."""
        A, b, _ = conditioned(1500, 30, 1e8, 0.1)
        sketches = sketches_for("spir", None, None, A.shape, 0)
        solved = spir(InMemory(A, b[:, None]), sketches, 30 * U, 4 * U, max_steps=200, inner_method="heavy_ball")
        assert np.all(solved.run.error <= 4 * U)
        assert backward_error(A, b, solved.run.state.x[0]) <= 5 * U


class TestKnownAnswers:
    @pytest.mark.parametrize("method", ACCURATE)
    def test_wampler(self, method: str) -> None:
        """Polynomials of degree 5 at 0..20, 500 times: coefficients 1, and 10^-k."""
        t = np.arange(21.0)
        A = np.tile(np.vander(t, 6, increasing=True), (500, 1))
        for exact in (np.ones(6), 10.0 ** -np.arange(6)):
            result = lstsq(A, A @ exact, method=method)
            assert result.converged
            np.testing.assert_allclose(result.x, exact, rtol=2e-8)

    @pytest.mark.parametrize("method", ACCURATE)
    def test_the_identity_above_zeros(self, method: str) -> None:
        A = np.zeros((900, 30))
        A[:30] = np.eye(30)
        b = rng.standard_normal(900)
        np.testing.assert_allclose(lstsq(A, b, method=method).x, b[:30], atol=1e-14)

    @pytest.mark.parametrize("method", ACCURATE)
    def test_scales_of_columns_do_not_matter(self, method: str) -> None:
        D = np.logspace(-8, 8, 12)
        result = lstsq(TALL * D, SIDE, method=method)
        assert int(result.rank) == 12
        np.testing.assert_allclose(result.x * D, np.linalg.lstsq(TALL, SIDE)[0], rtol=1e-11)

    @pytest.mark.parametrize("method", ACCURATE)
    def test_missing_directions_are_dropped_and_x_is_the_least(self, method: str) -> None:
        A = TALL.copy()
        A[:, 3] = A[:, 7]
        A[:, 5] = A[:, 1] - 2 * A[:, 2]
        A[:, 9] = 0
        result = lstsq(A, SIDE, method=method)
        assert result.converged
        assert int(result.rank) == 9
        np.testing.assert_allclose(result.x, np.linalg.pinv(A) @ SIDE, atol=1e-13)
        assert abs(result.residual_norm - np.linalg.norm(SIDE - A @ result.x)) < 1e-11

    @pytest.mark.parametrize("method", ACCURATE)
    @pytest.mark.parametrize("seed", range(4))
    def test_missing_directions_among_uneven_columns(self, method: str, seed: int) -> None:
        """Columns that agree, some in other units: no noise of a null vector may be blown up."""
        r = np.random.default_rng(seed)
        A, b, scale = r.standard_normal((800, 12)), r.standard_normal(800), 10.0 ** r.uniform(-12, 12, 12)
        A[:, 5] = A[:, 6]
        scale[6] = scale[5] if seed % 2 else scale[6]
        result = lstsq(A * scale, b, method=method)
        best = np.linalg.lstsq(np.delete(A, 5, 1), b)[1][0] ** 0.5
        assert int(result.rank) == 11
        assert abs(np.linalg.norm(b - (A * scale) @ result.x) / best - 1) < 1e-12
        assert abs(result.x * scale).max() < 10

    def test_rows_that_are_equal_add_no_rank(self) -> None:
        """One long QR adds their rounding up to 40 u and more."""
        for A in (np.ones((2000, 2)), np.repeat(rng.standard_normal((5, 30)), 600, 0)):
            b = rng.standard_normal(len(A))
            result = lstsq(A, b, method="direct")
            assert result.converged
            assert int(result.rank) == min(A.shape[1] - 1, 5)
            np.testing.assert_allclose(result.x, np.linalg.pinv(A, rcond=1e-10) @ b, atol=1e-12)
        x = jax.jit(lambda A, b: lstsq(A, b).x)(np.ones((2000, 2)), np.arange(2000.0))
        np.testing.assert_allclose(x, 499.75)

    @pytest.mark.parametrize("method", [*ACCURATE, "sketch_solve"])
    def test_right_hand_sides_of_any_size(self, method: str) -> None:
        rows = {"sketch_rows": 100} if method == "sketch_solve" else {}
        for dtype, factor in (
            ("float32", 2.0**70),
            ("float32", 2.0**-100),
            ("float64", 2.0**700),
            ("float64", 2.0**-900),
        ):
            A, b = TALL.astype(dtype), np.stack([SIDE, 0 * SIDE], axis=1).astype(dtype)
            plain = lstsq(A, b, method=method, **rows)
            large = lstsq(A, b * np.dtype(dtype).type(factor), method=method, **rows)
            assert np.all(large.converged)
            assert not large.x[:, 1].any()
            tiny = 1e-5 if dtype == "float32" else 1e-13
            np.testing.assert_allclose(large.x / factor, plain.x, atol=tiny)
            np.testing.assert_allclose(large.residual_norm / factor, plain.residual_norm, rtol=1e-5)

    def test_squares_that_overflow_are_not_called_right(self) -> None:
        """Under a transformation nothing is scaled, and the code tells."""
        code = jax.jit(lambda A, b: lstsq(A, b, method="cholesky_qr").code)(TALL, SIDE * 1e200)
        assert int(code) == Status.NOT_FINITE

    @pytest.mark.parametrize("kappa", [1e14, 3e14])
    def test_the_last_digits_of_a_consistent_system(self, kappa: float) -> None:
        A, b, _ = conditioned(1500, 40, kappa, 1e-10)
        assert lstsq(A, b, method="cholesky_qr").converged

    def test_pytorchs_gels_is_no_reference(self) -> None:
        """pytorch #11174: the default driver of torch on the GPU, gels, takes full rank for granted; ours does not."""
        A = np.array(TALL)
        A[:, 1] = A[:, 0]
        naive = torch.linalg.lstsq(torch.tensor(A), torch.tensor(SIDE)[:, None], driver="gels").solution[:, 0]
        ours = lstsq(torch.tensor(A), torch.tensor(SIDE), method="cholesky_qr").x
        exact = np.linalg.pinv(A) @ SIDE
        np.testing.assert_allclose(ours, exact, atol=1e-13)
        assert not np.allclose(naive, exact, atol=1e-3)

    def test_jax_in_float32_does_not_lose_a_rank(self) -> None:
        """jax #11433: 32-bit answers that are off; ours say 4 u of float32 and mean it."""
        A, b, _ = (x.astype("float32") for x in conditioned(300, 10, 1e4, 1e-3))
        result = lstsq(jax.numpy.asarray(A), jax.numpy.asarray(b))
        assert result.converged
        assert backward_error(A.astype(float), b.astype(float), np.asarray(result.x, dtype=float)) < 10 * 2.0**-24

    def test_zero(self) -> None:
        for method in ACCURATE:
            for A, b in ((TALL, 0 * SIDE), (0 * TALL, SIDE), (0 * TALL, 0 * SIDE)):
                result = lstsq(A, b, method=method)
                assert result.converged
                assert not result.x.any()
                assert result.error == 0


class TestBackends:
    @pytest.mark.parametrize("method", ACCURATE)
    def test_the_same_answer_everywhere(self, on: Case, method: str) -> None:
        b = np.stack([SIDE, TALL[:, 0]], axis=1)
        result = on.numpy(on.call(lambda A, b: lstsq(A, b, method=method), TALL, b))
        expected = np.linalg.lstsq(TALL, b)[0]
        np.testing.assert_allclose(result.x, expected, atol=1e-14)
        assert np.all(result.converged)
        assert np.all(result.rank == 12)
        assert result.error.shape == result.residual_norm.shape == (2,)
        assert abs(result.residual_norm[0] - np.linalg.norm(SIDE - TALL @ expected[:, 0])) < 1e-12

    @pytest.mark.parametrize("kind", ["srht", "sparse_sign"])
    def test_the_same_sketched_answer_everywhere(self, on: Case, kind: str) -> None:
        def call(A: Any, b: Any) -> Any:
            return lstsq(A, b, method="sketch_solve", kind=kind, sketch_rows=128, rng=5)

        result, expected = on.numpy(on.call(call, TALL, SIDE)), call(TALL, SIDE)
        np.testing.assert_allclose(result.x, expected.x, atol=1e-13)
        np.testing.assert_allclose(result.deviation, expected.deviation, rtol=1e-10)
        np.testing.assert_allclose(result.residual_norm, expected.residual_norm, rtol=1e-12)

    def test_batches(self, on: Case) -> None:
        A, b = TALL.reshape(3, 200, 12), SIDE.reshape(3, 200)
        A[1, :, 4] = A[1, :, 5]  # of rank 11
        result = on.numpy(on.call(lambda A, b: lstsq(A, b, method="cholesky_qr"), A, b))
        for k in range(3):
            np.testing.assert_allclose(result.x[k], np.linalg.pinv(A[k]) @ b[k], atol=1e-13)
        assert result.rank.tolist() == [12, 11, 12]
        assert result.error.shape == (3,)

    def test_vmap(self) -> None:
        A, b = TALL.reshape(3, 200, 12), SIDE.reshape(3, 200)
        x = jax.jit(jax.vmap(lambda A, b: lstsq(A, b, method="cholesky_qr").x))(A, b)
        np.testing.assert_allclose(x, [np.linalg.pinv(A[k]) @ b[k] for k in range(3)], atol=1e-13)

    def test_shapes_of_right_hand_sides(self) -> None:
        many = rng.standard_normal((5, 600, 2))
        result = lstsq(TALL, many)
        assert (result.x.shape, result.error.shape) == ((5, 12, 2), (5, 2))
        np.testing.assert_allclose(result.x[3], np.linalg.lstsq(TALL, many[3])[0], atol=1e-14)
        shared = lstsq(TALL.reshape(3, 200, 12), SIDE[:200])
        assert (shared.x.shape, shared.error.shape, shared.rank.shape) == ((3, 12), (3,), (3,))
        sketched = lstsq(TALL, many, method="sketch_solve", sketch_rows=100)
        assert sketched.coordinate_bound(0.1).shape == sketched.x.shape == (5, 12, 2)

    def test_memory_maps_are_not_copied(self, tmp_path: Path) -> None:
        A = np.lib.format.open_memmap(tmp_path / "A.npy", mode="w+", dtype="float64", shape=(60_000, 64))
        A[:] = rng.standard_normal(A.shape)
        A.flush()
        b = rng.standard_normal(60_000)
        mapped = np.load(tmp_path / "A.npy", mmap_mode="r")
        calls = [{"method": "cholesky_qr"}, {"method": "spir"}, {"method": "sketch_solve", "sketch_rows": 800}]
        for settings in calls:
            lstsq(mapped, b, **settings)  # compiles
            tracemalloc.start()
            result = lstsq(mapped, b, **settings)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < A.nbytes / 4, f"{settings}: {peak / A.nbytes:.2f} of A"
            if settings["method"] != "sketch_solve":
                np.testing.assert_allclose(result.x, np.linalg.lstsq(A, b)[0], atol=1e-14)

    def test_contexts(self) -> None:
        with eq.backend("jax"):
            result = lstsq(TALL, SIDE, method="cholesky_qr")
        assert isinstance(result.x, np.ndarray)
        np.testing.assert_allclose(result.x, np.linalg.lstsq(TALL, SIDE)[0], atol=1e-14)

    def test_stored(self, tmp_path: Path) -> None:
        result = lstsq(TALL, SIDE, method="sketch_solve", sketch_rows=100)
        eq.save(tmp_path / "result.npz", result)
        again = eq.load(tmp_path / "result.npz")
        assert isinstance(again, LstsqResult)
        assert np.array_equal(again.coordinate_bound(), result.coordinate_bound())
        assert "method 'sketch_solve', kind 'srht', sketch_rows 100" in repr(again)


class Own:
    """Somebody's operator, with nothing but what the protocol asks."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def matvec(self, x: Any) -> Any:
        return x @ self.array.T

    def rmatvec(self, y: Any) -> Any:
        return y @ self.array

    def __matmul__(self, x: Any) -> Any:
        return self.array @ x


class TestOperators:
    def test_sparse(self, on: Case) -> None:
        A = scipy.sparse.random_array((400, 15), density=0.2, rng=np.random.default_rng(3), format="csr")
        pattern = [on.array(k) for k in (A.indices, A.indptr)]
        b = SIDE[:400]
        result = on.numpy(on.call(lambda data, b: lstsq(CSR(data, *pattern, A.shape), b), A.data, b))
        assert result.method == "spir"
        np.testing.assert_allclose(result.x, np.linalg.lstsq(A.toarray(), b)[0], atol=1e-13)

    def test_those_of_others(self) -> None:
        A = scipy.sparse.random_array((400, 15), density=0.2, rng=np.random.default_rng(3), format="csr")
        b, exact = SIDE[:400], np.linalg.lstsq(A.toarray(), SIDE[:400])[0]
        np.testing.assert_allclose(lstsq(A, b).x, exact, atol=1e-13)
        np.testing.assert_allclose(lstsq(Own(A.toarray()), b).x, exact, atol=1e-13)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch says that its sparse tensors are in beta
            there = torch.tensor(A.toarray()).to_sparse_csr()
        np.testing.assert_allclose(lstsq(there, torch.tensor(b)).x, exact, atol=1e-13)
        np.testing.assert_allclose(lstsq(scipy.sparse.linalg.aslinearoperator(A), b).x, exact, atol=1e-13)
        with pytest.raises(ValueError, match="products with A, or with its transpose, are not finite"):
            lstsq(Own(A.toarray() * np.nan), b)
        sketched = lstsq(A, b, method="sketch_solve", sketch_rows=200)
        assert sketched.kind == "sparse_sign"
        best = np.linalg.norm(b - A @ exact)
        assert best < np.linalg.norm(b - A @ sketched.x) < 1.1 * best

    def test_what_they_cannot_have(self) -> None:
        A = scipy.sparse.random_array((400, 15), density=0.2, rng=np.random.default_rng(3), format="csr")
        with pytest.raises(ValueError, match="'spir' or 'sketch_solve', got 'direct'"):
            lstsq(A, SIDE[:400], method="direct")
        with pytest.raises(ValueError, match="needs n >= d"):
            lstsq(A.T.tocsr(), SIDE[:15])
        with pytest.raises(ValueError, match="use kind='sparse_sign' for sparse matrices"):
            lstsq(A, SIDE[:400], method="sketch_solve", kind="srht", sketch_rows=100)


class TestAuto:
    def test_small_and_flat_problems_go_to_the_library(self) -> None:
        for n, d in ((30, 4), (400, 300), (50_000, 1), (20, 50)):
            A, b = rng.standard_normal((n, d)), rng.standard_normal(n)
            assert lstsq(A, b).method == "direct"
        assert lstsq(rng.standard_normal((6000, 100)), rng.standard_normal(6000)).method == "cholesky_qr"
        assert lstsq(rng.standard_normal((10, 6000, 3)), rng.standard_normal(6000)).method == "direct"

    def test_a_sketch_that_saves_nothing_is_not_made(self) -> None:
        result = lstsq(TALL, SIDE, epsilon=0.1)
        assert result.method == "direct"
        assert result.converged
        assert lstsq(TALL, SIDE, epsilon=1e-200).method == "direct"
        assert lstsq(TALL, SIDE, epsilon=0.99, delta=1e-9).method == "direct"
        given = lstsq(TALL, SIDE, method="sketch_solve", sketch_rows=500)
        assert (given.method, given.sketch_rows) == ("sketch_solve", 500)

    def test_rows_that_were_asked_for(self) -> None:
        for method in ("cholesky_qr", "spir"):
            runs = [lstsq(TALL, SIDE, method=method, sketch_rows=rows, kind="srht") for rows in (48, 480)]
            assert [run.sketch_rows for run in runs] == [48, 480]
            assert [run.kind for run in runs] == ["srht", "srht"]
            assert method == "cholesky_qr" or runs[1].steps < runs[0].steps

    def test_wide(self) -> None:
        for method in ("auto", *ACCURATE):
            for n, d in ((3, 5), (60, 80), (300, 301)):
                A, b = rng.standard_normal((n, d)), rng.standard_normal(n)
                result = lstsq(A, b, method=method)
                assert result.method == "direct"
                assert result.converged
                np.testing.assert_allclose(result.x, np.linalg.pinv(A) @ b, rtol=1e-8, atol=1e-10)
        assert lstsq(np.ones((1, 1)), np.full(1, 3.0)).x == 3


finite = st.floats(-10, 10).map(lambda x: x or 1.0)


class TestProperties:
    @given(seed=st.integers(0, 99), kind=st.sampled_from(["srht", "sparse_sign", "gaussian", "countsketch"]), t=finite)
    def test_sketched_solutions_move_with_the_problem(self, seed: int, kind: str, t: float) -> None:
        r = np.random.default_rng(seed)
        A, b, c = r.standard_normal((200, 4)), r.standard_normal(200), r.standard_normal(4)
        T = np.eye(4) + 0.3 * r.standard_normal((4, 4))

        def x(A: np.ndarray, b: np.ndarray) -> np.ndarray:
            return lstsq(A, b, method="sketch_solve", kind=kind, sketch_rows=64, rng=seed).x

        base = x(A, b)
        np.testing.assert_allclose(x(A, b + A @ c), base + c, atol=1e-11)
        np.testing.assert_allclose(x(A, t * b), t * base, atol=1e-11)
        np.testing.assert_allclose(T @ x(A @ T, b), base, atol=1e-9)

    @given(seed=st.integers(0, 99), method=st.sampled_from(ACCURATE))
    def test_rows_in_another_order(self, seed: int, method: str) -> None:
        r = np.random.default_rng(seed)
        A, b, order = r.standard_normal((80, 5)), r.standard_normal(80), r.permutation(80)
        np.testing.assert_allclose(lstsq(A[order], b[order], method=method).x, lstsq(A, b, method=method).x, atol=1e-13)


class TestReports:
    def test_what_cannot_be_reached_is_said(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="sketch.lstsq did not reach tol=1e-30"):
            result = lstsq(TALL, SIDE, method="cholesky_qr", tol=1e-30)
        assert not result.converged
        assert result.status in (Status.MAX_STEPS, Status.STALLED)
        with pytest.warns(eq.ConvergenceWarning):
            assert lstsq(TALL, SIDE, method="spir", max_steps=2).status == Status.MAX_STEPS
        with pytest.warns(eq.ConvergenceWarning, match="promises no more: raise sketch_rows"):
            result = lstsq(TALL, SIDE, method="sketch_solve", sketch_rows=100, tol=0.01)
        assert result.error > 0.01

    def test_callback_and_history(self) -> None:
        seen: list[Any] = []
        result = lstsq(TALL, SIDE, method="spir", callback=seen.append)
        assert [info.step for info in seen] == result.history.step.tolist()
        assert seen[0].method == "sketch.lstsq"
        assert float(seen[-1].error) <= 4 * U
        with pytest.warns(eq.ConvergenceWarning):
            stopped = lstsq(TALL, SIDE, method="spir", callback=lambda info: True)
        assert stopped.status == Status.STOPPED
        looks: list[Any] = []
        A, b, _ = conditioned(600, 12, 1e12, 1e-6)
        with pytest.warns(eq.ConvergenceWarning):
            stopped = lstsq(A, b, method="cholesky_qr", tol=1e-18, callback=lambda info: looks.append(info) or True)
        assert stopped.status == Status.STOPPED
        assert len(looks) == 1

    def test_under_jit_the_code_tells(self) -> None:
        code = jax.jit(lambda A, b: lstsq(A, b, method="cholesky_qr", tol=1e-30).code)(TALL, SIDE)
        assert int(code) != Status.CONVERGED
        bad = jax.jit(lambda A, b: lstsq(A, b, method="cholesky_qr").code)(TALL * np.nan, SIDE)
        assert int(bad) == Status.NOT_FINITE


def holed(x: np.ndarray, row: int, value: float) -> np.ndarray:
    x = x.copy()
    x[row] = value
    return x


BAD: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "A must have shape \\(..., n, d\\), got \\(600,\\)", lambda: lstsq(SIDE, SIDE)),
    (ValueError, "b must have 600 rows, as A has, got shape \\(599,\\)", lambda: lstsq(TALL, SIDE[1:])),
    (ValueError, "A must hold float64 or float32", lambda: lstsq(TALL.astype(int), SIDE)),
    (ValueError, "A must hold float64 or float32", lambda: lstsq(TALL.astype("float16"), SIDE.astype("float16"))),
    (TypeError, "b must have the dtype float64 of A", lambda: lstsq(TALL, SIDE.astype("float32"))),
    (TypeError, "mix arrays of two libraries", lambda: lstsq(TALL, torch.tensor(SIDE))),
    (TypeError, "A must be an array, a sparse matrix", lambda: lstsq([[1.0]], SIDE)),
    (TypeError, "masked array", lambda: lstsq(np.ma.masked_array(TALL), SIDE)),
    (ValueError, "at least one row and one column", lambda: lstsq(TALL[:, :0], SIDE)),
    (ValueError, "at least one row and one column", lambda: lstsq(TALL[:0], SIDE[:0])),
    (ValueError, "at least one column", lambda: lstsq(TALL, np.ones((600, 0)))),
    (ValueError, "does not fit the batch of A", lambda: lstsq(TALL.reshape(3, 200, 12), np.ones((2, 200)))),
    (ValueError, "method must be one of", lambda: lstsq(TALL, SIDE, method="qr")),
    (ValueError, "kind must be one of", lambda: lstsq(TALL, SIDE, kind="tensor_srht")),
    (ValueError, "must exceed the 12 columns", lambda: lstsq(TALL, SIDE, sketch_rows=12)),
    (ValueError, "needs epsilon or sketch_rows", lambda: lstsq(TALL, SIDE, method="sketch_solve")),
    (ValueError, "at least as many rows", lambda: lstsq(TALL[:5], SIDE[:5], epsilon=0.5)),
    (ValueError, "epsilon must be in \\(0, 1\\)", lambda: lstsq(TALL, SIDE, epsilon=1.0)),
    (ValueError, "epsilon belongs to", lambda: lstsq(TALL, SIDE, method="spir", epsilon=0.5)),
    (ValueError, "delta must be in", lambda: lstsq(TALL, SIDE, epsilon=0.5, delta=0.0)),
    (ValueError, "rcond must be in", lambda: lstsq(TALL, SIDE, rcond=1.5)),
    (ValueError, "tol must be at least 0", lambda: lstsq(TALL, SIDE, tol=-1.0)),
    (ValueError, "max_steps must be at least 1", lambda: lstsq(TALL, SIDE, max_steps=0)),
    (ValueError, "at most 1024", lambda: lstsq(TALL, SIDE, method="sketch_solve", kind="srht", sketch_rows=1025)),
    (TypeError, "rng must be", lambda: lstsq(TALL, SIDE, rng=None)),
    (TypeError, "b is a numpy.matrix", lambda: lstsq(TALL, SIDE[:, None].view(np.matrix))),
    (ValueError, "at least one member in its batch", lambda: lstsq(np.ones((0, 9, 2)), np.ones((0, 9)))),
    (TypeError, "rcond must be a plain number", lambda: jax.jit(lambda c: lstsq(TALL, SIDE, rcond=c))(1e-9)),
]


class TestBadInput:
    @pytest.mark.parametrize(("kind", "message", "call"), BAD, ids=range(len(BAD)))
    def test_a_sentence(self, kind: type[Exception], message: str, call: Any) -> None:
        with pytest.raises(kind, match=message):
            call()

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    @pytest.mark.parametrize("method", [*ACCURATE, "sketch_solve"])
    def test_the_first_row_that_is_not_finite_is_named(self, on: Case, method: str, value: float) -> None:
        if on.jit:
            pytest.skip("values are not seen under jit")
        rows = {"sketch_rows": 100} if method == "sketch_solve" else {}
        with pytest.raises(ValueError, match=r"A must be finite, .* row 77"):
            on.call(lambda A, b: lstsq(A, b, method=method, **rows), holed(TALL, 77, value), SIDE)
        with pytest.raises(ValueError, match=r"b must be finite, .* row 5"):
            on.call(lambda A, b: lstsq(A, b, method=method, **rows), TALL, holed(SIDE, 5, value))

    def test_numbers_that_overflow(self) -> None:
        with pytest.raises(ValueError, match="overflowed: scale them down"), np.errstate(all="ignore"):
            lstsq(np.full((600, 60), 1.7e308), SIDE, method="cholesky_qr")


class TestDriversOfScipy:
    def test_gelsy_agrees(self) -> None:
        x = scipy.linalg.lstsq(TALL, SIDE, lapack_driver="gelsy")[0]
        np.testing.assert_allclose(lstsq(TALL, SIDE, method="cholesky_qr").x, x, atol=1e-14)
