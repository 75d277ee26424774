from __future__ import annotations

import itertools
import json
import math
import pickle
import subprocess
import sys
from typing import Any

import array_api_strict
import jax
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.operators import CSR, Kronecker, LinearOperator
from equipoise.sketch import SketchOperator, sketch_operator, suggest_rows

from ..backends import Case
from .problems import adversarial

rng = np.random.default_rng(0)
SKETCHES = {
    "gaussian": sketch_operator("gaussian", 12, 50, rng=3),
    "rademacher": sketch_operator("rademacher", 12, 50, rng=3),
    "srht": sketch_operator("srht", 12, 50, rng=3),
    "sparse_sign": sketch_operator("sparse_sign", 12, 50, rng=3, s=4),
    "countsketch": sketch_operator("countsketch", 12, 50, rng=3),
    "tensor_srht": sketch_operator("tensor_srht", 12, (5, 10), rng=3),
    "rows": sketch_operator("rows", 12, 50, rng=3, probabilities=np.arange(50) / 1225),
}
STREAMS = [kind for kind in SKETCHES if kind != "tensor_srht"]


class TestAlgebra:
    @pytest.mark.parametrize("kind", SKETCHES)
    def test_products_are_those_of_the_matrix(self, on: Case, kind: str) -> None:
        S = SKETCHES[kind]
        full = S.toarray()
        assert full.shape == S.shape == (12, 50)
        A, y = rng.standard_normal((2, 50, 3)), rng.standard_normal((12, 2))
        SA, back = on.numpy(on.call(lambda A, y: (S @ A, S.T @ y), A, y))
        np.testing.assert_allclose(SA, full @ A, atol=1e-13)
        np.testing.assert_allclose(back, full.T @ y, atol=1e-13)
        if on.name.startswith("numpy"):
            np.testing.assert_allclose(S @ A[0], full @ A[0], atol=1e-13)
            np.testing.assert_allclose(S @ A[0, :, 0], full @ A[0, :, 0], atol=1e-13)
            np.testing.assert_allclose(S.T @ y[:, 0], full.T @ y[:, 0], atol=1e-13)

    @pytest.mark.parametrize("make", [np.asarray, torch.asarray, jax.numpy.asarray], ids=["numpy", "torch", "jax"])
    @pytest.mark.parametrize("kind", ["srht", "sparse_sign"])
    def test_from_the_right(self, make: Any, kind: str) -> None:
        S, full = SKETCHES[kind], SKETCHES[kind].toarray()
        A = rng.standard_normal((4, 50))
        np.testing.assert_allclose(np.asarray(make(A) @ S.T), A @ full.T, atol=1e-13)
        np.testing.assert_allclose(np.asarray(make(A[0]) @ S.T), full @ A[0], atol=1e-13)
        np.testing.assert_allclose(np.asarray(make(A[:, :12].copy()) @ S), A[:, :12] @ full, atol=1e-13)
        assert isinstance(S, LinearOperator)
        np.testing.assert_allclose(np.asarray(S.matvec(make(A))), A @ full.T, atol=1e-13)
        np.testing.assert_allclose(np.asarray(S.T.matvec(make(A[0, :12].copy()))), full.T @ A[0, :12], atol=1e-13)

    @pytest.mark.parametrize("kind", STREAMS)
    @given(cuts=st.lists(st.integers(0, 50), max_size=4))
    def test_blocks_add_up(self, kind: str, cuts: list[int]) -> None:
        S, A = SKETCHES[kind], np.random.default_rng(1).standard_normal((50, 3))
        edges = [0, *sorted(cuts), 50]
        total = sum(S.block(A[i:j], i) for i, j in itertools.pairwise(edges) if j > i)
        np.testing.assert_allclose(total, S @ A, atol=1e-13)

    @pytest.mark.parametrize("kind", SKETCHES)
    def test_the_mean_of_squares_is_the_identity(self, kind: str) -> None:
        """Over 2000 seeds: within five standard errors of its entries."""
        total = np.zeros((16, 16))
        squares = np.zeros((16, 16))
        for seed in range(2000):
            n: Any = (4, 4) if kind == "tensor_srht" else 16
            made = sketch_operator(kind, 8, n, rng=seed, s=4).toarray()
            product = made.T @ made
            total += product
            squares += product**2
        mean = total / 2000
        error = np.sqrt(np.maximum(squares / 2000 - mean**2, 0) / 2000)
        assert np.all(abs(mean - np.eye(16)) <= 5 * error + 1e-12)

    @pytest.mark.parametrize("portable", [False, True])
    def test_a_kronecker_product(self, portable: bool) -> None:
        S, left, right = SKETCHES["tensor_srht"], rng.standard_normal((5, 2)), rng.standard_normal((10, 3))
        with eq.portable() if portable else eq.backend("numpy"):
            got = S @ Kronecker(left, right)
        np.testing.assert_allclose(got, S.toarray() @ np.kron(left, right), atol=1e-12)

    def test_tensor_rows_are_products_of_hadamard_rows(self) -> None:
        """16 x 16: every row of S is a row of H D1 beside one of H D2."""
        S = sketch_operator("tensor_srht", 9, (16, 16), rng=5)
        H = scipy.linalg.hadamard(16)
        for row in S.toarray() * 3:
            square = row.reshape(16, 16)
            assert np.linalg.matrix_rank(square) == 1
            u, v = np.sign(square[:, 0]), np.sign(square[0])
            assert np.array_equal(abs(square), np.ones((16, 16)))
            assert u.shape == v.shape == H[0].shape

    def test_a_sparse_matrix(self) -> None:
        dense = rng.standard_normal((50, 6)) * (rng.random((50, 6)) < 0.2)
        A = CSR.from_scipy(scipy.sparse.csr_array(dense))
        for kind in ("sparse_sign", "countsketch"):
            np.testing.assert_allclose(SKETCHES[kind] @ A, SKETCHES[kind] @ dense, atol=1e-13)
        with pytest.raises(ValueError, match="use kind='sparse_sign' for sparse matrices"):
            _ = SKETCHES["srht"] @ A


class TestSameEverywhere:
    @pytest.mark.parametrize("kind", ["rademacher", "srht", "sparse_sign", "countsketch", "tensor_srht", "rows"])
    def test_whole_numbers_bit_for_bit(self, on: Case, kind: str) -> None:
        A = np.random.default_rng(2).integers(-50, 50, (2, 50, 3)).astype(float)
        expected = SKETCHES[kind] @ A
        assert np.array_equal(on.numpy(on.call(lambda A: SKETCHES[kind] @ A, A)), expected)

    def test_gaussians_to_four_units(self, on: Case) -> None:
        expected = SKETCHES["gaussian"].toarray()
        got = on.numpy(on.call(lambda x: SKETCHES["gaussian"].toarray(x), np.zeros(1)))
        assert np.all(abs(got - expected) <= 4 * np.spacing(abs(expected)))

    def test_jax_without_64_bits(self) -> None:
        code = """
import numpy as np, jax.numpy as jnp
from equipoise.sketch import sketch_operator, lstsq
A = np.random.default_rng(2).integers(-50, 50, (50, 3)).astype("float32")
for kind in ("rademacher", "srht", "sparse_sign", "countsketch", "rows"):
    S = sketch_operator(kind, 16, 50, rng=2**40 + 3)
    assert np.array_equal(np.asarray(S @ jnp.asarray(A)), S @ A), kind
S = sketch_operator("tensor_srht", 16, (5, 10), rng=3)
assert np.array_equal(np.asarray(S @ jnp.asarray(A)), S @ A)
try:
    sketch_operator("sparse_sign", 16, None, rng=3).block(jnp.asarray(A), 2**31)
except ValueError as error:
    assert "64-bit" in str(error)
else:
    raise AssertionError
x = lstsq(jnp.asarray(A), jnp.asarray(A[:, 0]), method="cholesky_qr").x
assert abs(np.asarray(x) - [1, 0, 0]).max() < 1e-5
"""
        subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True)

    def test_stored_and_restored(self) -> None:
        for S in SKETCHES.values():
            copies = pickle.loads(pickle.dumps(S)), SketchOperator.from_dict(json.loads(json.dumps(S.to_dict())))
            for copy in copies:
                assert copy == S
                assert hash(copy) == hash(S)
                assert np.array_equal(copy.toarray(), S.toarray())
        assert SKETCHES["srht"] != sketch_operator("srht", 12, 50, rng=4)
        assert sketch_operator("srht", 8, 64, rng=np.random.default_rng(5)).seed == int(
            np.random.default_rng(5).integers(2**64, dtype=np.uint64)
        )

    def test_far_rows(self) -> None:
        """Row 5e9 alone, from a stream without end; the entries are those of the specification."""
        S = sketch_operator("sparse_sign", 96, None, rng=2026, s=4)
        column = S.block(np.ones((1, 1)), 5_000_000_000)[:, 0]
        assert np.flatnonzero(column).tolist() == [22, 35, 66, 76]
        assert np.array_equal(column[[22, 35, 66, 76]], [0.5] * 4)

    def test_in_a_context(self) -> None:
        A = rng.standard_normal((50, 3))
        with eq.backend("torch", dtype="float32"):
            got = SKETCHES["srht"] @ A
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, SKETCHES["srht"] @ A, atol=1e-5)


class TestScipyIsNoSubstitute:
    def test_clarkson_woodruff_fails_on_one_row(self) -> None:
        """CountSketch: errors of sqrt(d/2) times what is allowed; and scipy gives no operator to lift with (#7122)."""
        d, m = 64, 1024
        A, b = adversarial(d, m, 4096)
        worst = []
        for seed in range(20):
            both = scipy.linalg.clarkson_woodruff_transform(np.c_[A, b], m, seed=np.random.default_rng(seed))
            assert isinstance(both, np.ndarray)
            worst.append(abs(np.linalg.lstsq(both[:, :d], both[:, d], rcond=None)[0]).max() * math.sqrt(m))
        assert np.median(worst) > 0.9 * math.sqrt(d / 2)


class TestSuggestRows:
    def test_figures(self) -> None:
        assert suggest_rows("srht", 10, epsilon=0.1) == math.ceil(20 * math.log(20 / 0.05) / 0.01)
        assert suggest_rows("sparse_sign", 10, epsilon=0.1) % 8 == 0
        assert suggest_rows("gaussian", 1, epsilon=0.999, delta=0.999) == 2


BAD = [
    ("kind must be one of", lambda: sketch_operator("fjlt", 4, 8, rng=0)),
    ("m must be at least 1, got 0", lambda: sketch_operator("srht", 0, 8, rng=0)),
    ("m must be a whole number", lambda: sketch_operator("srht", 2.0, 8, rng=0)),  # type: ignore[arg-type]
    ("multiple of s", lambda: sketch_operator("sparse_sign", 12, 50, rng=0)),
    ("multiple of s", lambda: sketch_operator("sparse_sign", 4, 50, rng=0, s=8)),
    ("at most 64, the next power of two", lambda: sketch_operator("srht", 65, 50, rng=0)),
    ("n must be a pair", lambda: sketch_operator("tensor_srht", 4, 8, rng=0)),
    ("n must be known", lambda: sketch_operator("srht", 4, None, rng=0)),
    ("n must be known", lambda: sketch_operator("rows", 4, None, rng=0)),
    ("rng must be", lambda: sketch_operator("srht", 4, 8, rng=None)),  # type: ignore[arg-type]
    ("belong to kind 'rows'", lambda: sketch_operator("srht", 4, 8, rng=0, probabilities=np.ones(8) / 8)),
    ("sum 1", lambda: sketch_operator("rows", 4, 8, rng=0, probabilities=np.ones(8))),
    (
        "not negative, got -1.0 at index 2",
        lambda: sketch_operator("rows", 4, 3, rng=0, probabilities=np.array([1, 1, -1.0])),
    ),
    ("shape \\(8,\\)", lambda: sketch_operator("rows", 4, 8, rng=0, probabilities=np.ones(7) / 7)),
    ("must have 50 rows", lambda: SKETCHES["srht"] @ np.ones((49, 2))),
    ("floating-point", lambda: SKETCHES["srht"] @ np.ones((50, 2), dtype=int)),
    ("must be an array", lambda: SKETCHES["srht"] @ [1.0]),
    ("must have 12 rows", lambda: SKETCHES["srht"].T @ np.ones(50)),
    ("rows 45 to 55", lambda: SKETCHES["srht"].block(np.ones((10, 1)), 45)),
    ("has no blocks", lambda: SKETCHES["tensor_srht"].block(np.ones((10, 1)), 0)),
    ("only kind='tensor_srht'", lambda: SKETCHES["srht"] @ Kronecker(np.ones((5, 1)), np.ones((10, 1)))),
    ("must have \\(5, 10\\) rows", lambda: SKETCHES["tensor_srht"] @ Kronecker(np.ones((4, 1)), np.ones((10, 1)))),
    ("all parts must have the same rows", lambda: SKETCHES["srht"].sums((np.ones((50, 1)), np.ones((49, 1))))),
    ("masked array", lambda: SKETCHES["srht"] @ np.ma.masked_array(np.ones((50, 1)))),
    ("up to 2\\^63", lambda: sketch_operator("rademacher", 4, None, rng=0).block(np.ones((2, 1)), 2**63)),
    ("more rows than can be counted", lambda: suggest_rows("srht", 4, epsilon=1e-200)),
    ("no shape", lambda: sketch_operator("gaussian", 4, None, rng=0).shape),
    ("epsilon must be in \\(0, 1\\)", lambda: suggest_rows("srht", 4, epsilon=1.0)),
]


class TestBadInput:
    @pytest.mark.parametrize(("message", "call"), BAD, ids=range(len(BAD)))
    def test_a_sentence(self, message: str, call: Any) -> None:
        with pytest.raises((ValueError, TypeError), match=message):
            call()

    def test_two_libraries_are_never_mixed(self) -> None:
        strict = array_api_strict.ones((50, 2))
        assert type(SKETCHES["srht"] @ strict) is type(strict)
