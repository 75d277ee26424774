from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.random import philox, signs
from equipoise.sketch.srht import hadamard, hadamard_size, sampled_rows, segment, srht, srht_lift, strata, weights

from ..backends import CASES, Case
from .test_sparse_sign import key_of, whole

HERE = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
EAGER = [case for case in CASES if not case.name.startswith("jax") and not case.missing]  # jax has tests without x64
rng = np.random.default_rng(0)


def diagonal(n: int, seed: int, start: int) -> np.ndarray:
    words = philox(np.arange(start >> 7, (start + n >> 7) + 1), key=(seed & 0xFFFFFFFF, seed >> 32), stream=0)
    return signs(words, np.float64).reshape(-1)[start % 128 :][:n]


def matrix(n: int, seed: int, start: int = 0, *, m: int, size: int) -> np.ndarray:
    """P H D without the weights."""
    rows = sampled_rows(key_of(seed), m=m, size=size)
    return scipy.linalg.hadamard(size)[rows][:, start : start + n] * diagonal(n, seed, start)


def rows_of(seed: int, *, m: int, size: int) -> np.ndarray:
    return np.array(sampled_rows(key_of(seed), m=m, size=size))


# ---------------------------------------------------------------------------------------------------------------------
# For tests/test_kernel.py


def sample_sketch(rng: np.random.Generator, dtype: str) -> Any:
    for shape, start, size in (((300, 19), 5000, 8192), ((2, 40, 3), 0, 64)):
        A, rows = rng.standard_normal(shape).astype(dtype), rows_of(2**40 + 5, m=20, size=size)
        settings = {"size": size, "aligned": start == 0}
        yield ((A, A[..., :1] + 1), rows, key_of(2**40 + 5), start), settings


def sample_lift(rng: np.random.Generator, dtype: str) -> Any:
    for batch, start, size in (((), 5000, 8192), ((2,), 0, 64)):
        y, rows = rng.standard_normal((*batch, 20, 9)).astype(dtype), rows_of(2**40 + 5, m=20, size=size)
        yield ((y, y[..., :1] + 1), rows, key_of(2**40 + 5), start), {"n": 60, "size": size}


# ---------------------------------------------------------------------------------------------------------------------


class TestSelection:
    def test_known_answers(self) -> None:
        assert sampled_rows(key_of(0), m=8, size=1024).tolist() == [22, 137, 382, 465, 628, 680, 817, 973]
        rows = sampled_rows(key_of(2026), m=10, size=1024)
        assert rows.tolist() == [66, 192, 232, 314, 498, 515, 632, 719, 861, 989]
        assert not rows.flags.writeable

    @given(st.integers(1, 3000), st.integers(0, 40), st.integers(0, 2**64 - 1))
    def test_one_row_of_each_stratum(self, m: int, power: int, seed: int) -> None:
        size = max(2**power, hadamard_size(m))
        low, counts = strata(m, size)
        assert low.tolist() == [k * size // m for k in range(m)]
        assert counts.sum() == size
        rows = sampled_rows(key_of(seed), m=m, size=size)
        assert (low <= rows).all()
        assert (rows < low + counts).all()

    def test_sizes(self) -> None:
        assert [hadamard_size(n) for n in (1, 2, 3, 4, 5, 1025)] == [1, 2, 4, 4, 8, 2048]
        assert segment(10, 512) == 512
        assert segment(10, 2**20) == 1024
        assert segment(1500, 2**20) == 2048

    @pytest.mark.parametrize("m", [5, 8, 32])
    def test_the_weights_make_the_mean_the_identity(self, m: int) -> None:
        """Exactly: the mean over the rows of each stratum; the signs cancel."""
        low, counts = strata(m, 32)
        H, w = scipy.linalg.hadamard(32), weights(m, 32)
        mean = sum(w[k] ** 2 / counts[k] * H[low[k] : low[k] + counts[k]].T @ H[low[k] : low[k] + counts[k]]
                   for k in range(m))  # fmt: skip
        assert np.allclose(mean, np.eye(32), atol=1e-13)
        assert m != 8 or np.array_equal(w, np.full(8, 8**-0.5))


class TestSketch:
    def test_hadamard(self, on: Case) -> None:
        x = whole(2, 16, 3)
        assert np.array_equal(on.numpy(on.call(hadamard, x)), scipy.linalg.hadamard(16) @ x)

    def test_is_its_matrix_inside_one_segment(self, on: Case) -> None:
        A, b, rows = whole(70, 3), whole(70, 1), rows_of(2**33 + 7, m=20, size=128)
        S = matrix(70, 2**33 + 7, 50, m=20, size=128)

        def sketch(A: Any, b: Any, rows: Any) -> Any:
            return srht((A, b), rows, key_of(2**33 + 7), 50, size=128, aligned=False)

        got = on.call(sketch, A, b, rows)
        assert np.array_equal(on.numpy(got[0]), S @ A)
        assert np.array_equal(on.numpy(got[1]), S @ b)

    @pytest.mark.parametrize(("start", "aligned"), [(0, True), (1024, True), (1000, False)])
    def test_is_its_matrix_over_segments(self, on: Case, start: int, aligned: bool) -> None:
        if on.name in ("jax-portable", "jax-jit") and start != (0 if on.jit else 1000):
            pytest.skip("costs a compilation")
        A, rows = whole(2100, 2), rows_of(7, m=20, size=4096)
        (got,) = on.call(lambda A, rows: srht((A,), rows, key_of(7), start, size=4096, aligned=aligned), A, rows)
        assert np.array_equal(on.numpy(got), matrix(2100, 7, start, m=20, size=4096) @ A)

    def test_lift_is_the_transpose(self, on: Case) -> None:
        y, z, rows = whole(20, 3), whole(20, 1), rows_of(7, m=20, size=4096)
        S = matrix(1100, 7, 1000, m=20, size=4096)
        got = on.call(lambda y, z, rows: srht_lift((y, z), rows, key_of(7), 1000, n=1100, size=4096), y, z, rows)
        assert np.array_equal(on.numpy(got[0]), S.T @ y)
        assert np.array_equal(on.numpy(got[1]), S.T @ z)

    @pytest.mark.parametrize(("n", "m"), [(4096, 50), (3000, 1500), (130, 130), (1, 1)])
    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_numbers_to_fourteen_digits(self, case: Case, n: int, m: int) -> None:
        size = hadamard_size(n)
        A, w = rng.standard_normal((n, 3)), weights(m, size)[:, None]
        S = w * matrix(n, 5, m=m, size=size)
        (got,) = case.call(lambda A, rows: srht((A,), rows, key_of(5), 0, size=size, aligned=True), A, rows_of(
            5, m=m, size=size
        ))  # fmt: skip
        assert np.linalg.norm(w * got - S @ A) < 1e-14 * np.linalg.norm(S @ A)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_batches_and_empty_blocks(self, case: Case) -> None:
        A, rows, S = whole(2, 3, 100, 5), rows_of(7, m=20, size=128), matrix(100, 7, m=20, size=128)
        (got,) = case.call(lambda A: srht((A,), rows, key_of(7), 0, size=128, aligned=True), A)
        assert np.array_equal(got, S @ A)
        (back,) = case.call(lambda y: srht_lift((y,), rows, key_of(7), 0, n=100, size=128), got)
        assert np.array_equal(back, S.T @ got)
        (none,) = case.call(lambda A: srht((A,), rows, key_of(7), 5, size=128, aligned=False), A[..., :0, :])
        assert none.shape == (2, 3, 20, 5)
        assert not none.any()

    @given(st.lists(st.integers(0, 1500), max_size=4), st.sampled_from(HERE))
    def test_blocks_add_up(self, cuts: list[int], case: Case) -> None:
        A, rows = whole(1500, 2), rows_of(7, m=20, size=2048)
        ends = sorted({0, *cuts, 1500})
        pieces = [
            case.call(lambda x, a=a: srht((x,), rows, key_of(7), a, size=2048, aligned=False)[0], A[a:b])
            for a, b in itertools.pairwise(ends)
        ]
        assert np.array_equal(sum(pieces), srht((A,), rows, key_of(7), 0, size=2048, aligned=True)[0])


@pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
def test_float32_is_exact_on_whole_numbers(case: Case) -> None:
    A, rows = whole(70, 3, dtype="float32"), rows_of(7, m=20, size=128)
    (got,) = case.call(lambda A, rows: srht((A,), rows, key_of(7), 50, size=128, aligned=False), A, rows)
    assert case.numpy(got).dtype == np.float32
    assert np.array_equal(case.numpy(got), matrix(70, 7, 50, m=20, size=128) @ A)


def test_jax_without_64_bit_numbers() -> None:
    A, S = whole(1100, 3, dtype="float32"), matrix(1100, 2**64 - 3, 900, m=20, size=2048)
    with jax.enable_x64(False), eq.portable():
        rows = jnp.array(rows_of(2**64 - 3, m=20, size=2048).astype(np.int32))
        (got,) = srht((jnp.array(A),), rows, key_of(2**64 - 3), 900, size=2048, aligned=False)
        (back,) = srht_lift((got,), rows, key_of(2**64 - 3), 900, n=1100, size=2048)
    assert got.dtype == jnp.float32
    assert np.array_equal(np.asarray(got), S @ A)
    assert np.array_equal(np.asarray(back), S.T @ (S @ A))


# ---------------------------------------------------------------------------------------------------------------------
# numba


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_layout(dtype: str, tmp_path: Path) -> None:
    """Several segments, two groups of strips and the rest of one; far down."""
    size, start = 2**33, 2**33 - 5500  # numbers of segments with all bits
    A, rows = whole(5001, 283, dtype=dtype), rows_of(9, m=30, size=size)
    stored = np.memmap(tmp_path / "A", dtype=dtype, mode="w+", shape=A.shape)
    stored[:] = A
    A.flags.writeable = False
    frozen = stored[1000:1600, :40]
    shapes = (A[:, :9], A[:600], np.asfortranarray(A[:1100, :20]), A[:600, ::-9], A[::-5, :17], frozen, frozen.T)
    for x in shapes:
        with eq.portable():
            want = srht((x, x[:, :1]), rows, key_of(9), start, size=size, aligned=False)
        got = srht((x, x[:, :1]), rows, key_of(9), start, size=size, aligned=False)
        for one, expected in zip(got, want, strict=True):
            assert one.dtype == dtype
            assert np.array_equal(one, expected)
    y = whole(30, 19, dtype=dtype)
    with eq.portable():
        (back,) = srht_lift((y,), rows, key_of(9), start, n=5001, size=size)
    assert np.array_equal(srht_lift((y.T.copy().T,), rows, key_of(9), start, n=5001, size=size)[0], back)


def test_float32_sums_do_not_lose_digits_with_the_rows() -> None:
    n = 2**18
    A = (0.1 * diagonal(n, 1, 0)).astype(np.float32)[:, None]  # all of one sign in the row 0 of H
    (got,) = srht((A,), np.array([0]), key_of(1), 0, size=n, aligned=True)
    assert abs(got[0, 0] / (n * float(np.float32(0.1))) - 1) < 1e-6


@pytest.mark.parametrize("width", [1, 20])
def test_nothing_is_repaired(width: int) -> None:
    A, rows = whole(300, width), rows_of(1, m=20, size=512)
    A[17, 0], A[30, width // 2], A[200, -1] = np.nan, np.inf, -np.inf
    with eq.portable(), np.errstate(invalid="ignore"):
        (want,) = srht((A,), rows, key_of(1), 0, size=512, aligned=True)
        (back,) = srht_lift((want,), rows, key_of(1), 0, n=20, size=512)
    with np.errstate(invalid="ignore"):
        (got,) = srht((A,), rows, key_of(1), 0, size=512, aligned=True)
        (again,) = srht_lift((got,), rows, key_of(1), 0, n=20, size=512)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(again, back)
    assert not np.isfinite(got[:, 0]).any()


def test_half_precision_takes_the_body() -> None:
    A, rows = whole(40, 2, dtype="float16"), rows_of(1, m=8, size=64)
    (got,) = srht((A,), rows, key_of(1), 0, size=64, aligned=True)
    assert got.dtype == np.float16
    assert np.array_equal(got, matrix(40, 1, m=8, size=64) @ A)


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


def test_torch_derivatives() -> None:
    A = torch.tensor(rng.standard_normal((9, 2)), requires_grad=True)
    b, rows = torch.tensor(rng.standard_normal((9, 1))), torch.tensor(rows_of(1, m=6, size=16))
    assert torch.autograd.gradcheck(lambda A: srht((A, b), rows, key_of(1), 5, size=16, aligned=False)[0] ** 2, A)
    assert torch.autograd.gradgradcheck(lambda A: srht((A, b), rows, key_of(1), 5, size=16, aligned=False)[0] ** 2, A)
    y = torch.tensor(rng.standard_normal((6, 2)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: srht_lift((y,), rows, key_of(1), 5, n=4, size=16)[0] ** 2, y)


def test_jax_derivatives() -> None:
    A, weight, rows = whole(9, 2), whole(6, 2), jnp.array(rows_of(1, m=6, size=16))

    def total(A: Any) -> Any:
        return jnp.sum(weight * srht((A, A[:, :1]), rows, key_of(1), 5, size=16, aligned=False)[0])

    assert np.array_equal(jax.jit(jax.grad(total))(jnp.array(A)), matrix(9, 1, 5, m=6, size=16).T @ weight)
