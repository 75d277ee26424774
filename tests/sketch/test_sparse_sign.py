from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.operators import CSR
from equipoise.random import Stream, philox
from equipoise.sketch.sparse_sign import entries_of, places, sparse_sign, sparse_sign_entries, sparse_sign_lift

from ..backends import CASES, Case

HERE = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
EAGER = [case for case in CASES if not case.name.startswith("jax") and not case.missing]  # jax has tests without x64
FAR = 5 * 10**9
rng = np.random.default_rng(0)


def key_of(seed: int) -> tuple[np.uint32, np.uint32]:
    return np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)


def matrix(n: int, seed: int, start: int = 0, *, m: int, s: int) -> np.ndarray:
    """sqrt(s) S, a word after the other."""
    made = np.zeros((m, n))
    for i in range(n):
        for q in range(s):
            words = philox(np.array(start + i), key=(seed & 0xFFFFFFFF, seed >> 32), block=q >> 2, stream=2)
            word = int(words[q & 3])
            made[q * (m // s) + word * (m // s) // 2**32, i] += -1.0 if word % 2 else 1.0
    return made


def whole(*shape: int, dtype: str = "float64") -> np.ndarray:
    """Whole numbers, which add up without rounding."""
    return rng.integers(-9, 10, shape).astype(dtype)


# ---------------------------------------------------------------------------------------------------------------------
# For tests/test_kernel.py


def sample_sketch(rng: np.random.Generator, dtype: str) -> Any:
    for shape, start, s in (((300, 41), FAR, 6), ((2, 40, 3), 7, 4), ((9, 1), 0, 1)):
        A = rng.standard_normal(shape).astype(dtype)
        yield (
            ((A, A[..., :1] + 1), key_of(2**40 + 5), start),
            {"m": 12, "s": s},
        )


def sample_lift(rng: np.random.Generator, dtype: str) -> Any:
    for batch, start, s in (((), FAR, 6), ((2,), 7, 4)):
        y = rng.standard_normal((*batch, 12, 5)).astype(dtype)
        yield ((y, y[..., :1] + 1), key_of(2**40 + 5), start), {"n": 30, "s": s}


def sample_entries(rng: np.random.Generator, dtype: str) -> Any:
    rows, columns = np.array([0, 0, 2, 2, 2, 5]), np.array([1, 3, 0, 1, 1, 3])
    for batch in ((), (2,)):
        data = rng.standard_normal((*batch, 6)).astype(dtype)
        yield (data, rows, columns, key_of(2**40 + 5), FAR), {"m": 12, "s": 6, "width": 4}


# ---------------------------------------------------------------------------------------------------------------------


class TestPlaces:
    def test_known_answers(self) -> None:
        rows, signs = places(np.array([0]), key_of(0), m=32, s=8)
        assert rows.tolist() == [[3, 6, 11, 15, 18, 22, 25, 29]]
        assert signs.tolist() == [[1, -1, 1, 1, 1, 1, -1, -1]]
        rows, signs = places(np.array([FAR]), key_of(2026), m=96, s=4)
        assert rows.tolist() == [[22, 35, 66, 76]]
        assert signs.tolist() == [[1, 1, 1, 1]]

    def test_one_nonzero_in_each_stack(self) -> None:
        rows, signs = places(np.arange(5000), key_of(3), m=30, s=6)
        assert np.array_equal(rows // 5, np.broadcast_to(np.arange(6), (5000, 6)))
        assert np.bincount(rows[:, 5])[25:].min() > 850  # of 1000 expected
        assert abs(signs.sum(0)).max() < 250

    def test_a_word_of_its_own_for_each_nonzero(self) -> None:
        """A second block of words begins with the fifth."""
        rows, _ = places(np.arange(3000), key_of(3), m=9000, s=9)
        within = rows - 1000 * np.arange(9)
        assert (abs(np.corrcoef(within.T) - np.eye(9)) < 0.1).all()


class TestSketch:
    def test_is_its_matrix(self, on: Case) -> None:
        A, b, S = whole(70, 3), whole(70, 1), matrix(70, 2**33 + 7, 11, m=24, s=6)
        got = on.call(lambda A, b: sparse_sign((A, b), key_of(2**33 + 7), 11, m=24, s=6), A, b)
        assert np.array_equal(on.numpy(got[0]), S @ A)
        assert np.array_equal(on.numpy(got[1]), S @ b)

    def test_lift_is_the_transpose(self, on: Case) -> None:
        y, z, S = whole(24, 3), whole(24, 1), matrix(70, 2**33 + 7, 11, m=24, s=6)
        got = on.call(lambda y, z: sparse_sign_lift((y, z), key_of(2**33 + 7), 11, n=70, s=6), y, z)
        assert np.array_equal(on.numpy(got[0]), S.T @ y)
        assert np.array_equal(on.numpy(got[1]), S.T @ z)

    def test_entries_are_the_matrix_that_they_make(self, on: Case) -> None:
        A = whole(70, 3) * (rng.random((70, 3)) < 0.3)
        A[5] = 0
        rows, columns = np.nonzero(A)
        data, rows, columns = (np.append(A[rows, columns], 2.0), np.append(rows, 69), np.append(columns, 1))
        A[69, 1] += 2  # an entry that is given twice

        def sketch(data: Any, rows: Any, columns: Any) -> Any:
            return sparse_sign_entries(data, rows, columns, key_of(7), 11, m=24, s=6, width=3)

        assert np.array_equal(on.numpy(on.call(sketch, data, rows, columns)), matrix(70, 7, 11, m=24, s=6) @ A)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_batches_and_empty_blocks(self, case: Case) -> None:
        A, S = whole(2, 3, 70, 5), matrix(70, 7, m=12, s=4)
        (got,) = case.call(lambda A: sparse_sign((A,), key_of(7), 0, m=12, s=4), A)
        assert np.array_equal(got, S @ A)
        (back,) = case.call(lambda y: sparse_sign_lift((y,), key_of(7), 0, n=70, s=4), got)
        assert np.array_equal(back, S.T @ got)
        (none,) = case.call(lambda A: sparse_sign((A,), key_of(7), 0, m=12, s=4), A[..., :0, :])
        assert none.shape == (2, 3, 12, 5)
        assert not none.any()

    def test_compressed_rows(self) -> None:
        A = whole(50, 4) * (rng.random((50, 4)) < 0.3)
        starts = np.concatenate([[0], np.cumsum((A != 0).sum(1))])
        stored = CSR(A[A != 0], np.nonzero(A)[1], starts, (50, 4))
        got = sparse_sign_entries(*entries_of(stored), key_of(7), 0, m=12, s=3, width=4)
        assert np.array_equal(got, sparse_sign((A,), key_of(7), 0, m=12, s=3)[0])

    @given(st.lists(st.integers(0, 300), max_size=5), st.integers(0, FAR), st.sampled_from(HERE))
    def test_blocks_add_up(self, cuts: list[int], start: int, case: Case) -> None:
        A = whole(300, 3)
        ends = [0, *sorted(cuts), 300]
        pieces = [
            case.call(lambda x, a=a: sparse_sign((x,), key_of(7), start + a, m=12, s=4)[0], A[a:b])
            for a, b in itertools.pairwise(ends)
        ]
        assert np.array_equal(sum(pieces), sparse_sign((A,), key_of(7), start, m=12, s=4)[0])


@pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
def test_float32_is_exact_on_whole_numbers(case: Case) -> None:
    A = whole(70, 3, dtype="float32")
    (got,) = case.call(lambda A: sparse_sign((A,), key_of(7), 11, m=24, s=6), A)
    assert case.numpy(got).dtype == np.float32
    assert np.array_equal(case.numpy(got), matrix(70, 7, 11, m=24, s=6) @ A)


def test_jax_without_64_bit_numbers() -> None:
    A, S = whole(70, 3, dtype="float32"), matrix(70, 2**64 - 3, 2**30, m=24, s=6)
    with jax.enable_x64(False), eq.portable():
        (got,) = sparse_sign((jnp.array(A),), key_of(2**64 - 3), 2**30, m=24, s=6)
        (back,) = sparse_sign_lift((got,), key_of(2**64 - 3), 2**30, n=70, s=6)
    assert got.dtype == jnp.float32
    assert np.array_equal(np.asarray(got), S @ A)
    assert np.array_equal(np.asarray(back), S.T @ (S @ A))


# ---------------------------------------------------------------------------------------------------------------------
# numba


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_layout(dtype: str, tmp_path: Path) -> None:
    """Wide strips, single vectors, the rest of one; more rows than are hashed together; far down."""
    A = whole(9001, 75, dtype=dtype)
    stored = np.memmap(tmp_path / "A", dtype=dtype, mode="w+", shape=A.shape)
    stored[:] = A
    A.flags.writeable = False
    frozen = stored[1000:1600]
    for x in (A, np.asfortranarray(A[:1100]), A[:600, ::-1], A[:600, 3:10], A[::-2][:600], frozen, frozen.T):
        with eq.portable():
            want = sparse_sign((x, x[:, :1]), key_of(9), FAR, m=40, s=5)
        for got, expected in zip(sparse_sign((x, x[:, :1]), key_of(9), FAR, m=40, s=5), want, strict=True):
            assert got.dtype == dtype
            assert np.array_equal(got, expected)


def test_float32_sums_do_not_lose_digits_with_the_rows() -> None:
    n = 2**18
    _, signs = places(np.arange(n), key_of(1), m=1, s=1)
    A = 0.1 * signs.astype(np.float32)
    (got,) = sparse_sign((A.astype(np.float32),), key_of(1), 0, m=1, s=1)
    assert abs(got[0, 0] / (n * float(np.float32(0.1))) - 1) < 1e-4
    assert abs(np.cumsum(np.full(n, 0.1, dtype=np.float32))[-1] / (n * 0.1) - 1) > 1e-3  # what one sum would do


@pytest.mark.parametrize("width", [1, 40])
def test_nothing_is_repaired(width: int) -> None:
    A = whole(300, width)
    A[17, 0], A[30, width // 2], A[200, -1] = np.nan, np.inf, -np.inf
    with eq.portable(), np.errstate(invalid="ignore"):
        (want,) = sparse_sign((A,), key_of(1), 0, m=8, s=4)
        (back,) = sparse_sign_lift((want,), key_of(1), 0, n=20, s=4)
    with np.errstate(invalid="ignore"):
        (got,) = sparse_sign((A,), key_of(1), 0, m=8, s=4)
        (again,) = sparse_sign_lift((got,), key_of(1), 0, n=20, s=4)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(again, back)
    assert np.isnan(got).any()


def test_half_precision_takes_the_body() -> None:
    A = whole(40, 2, dtype="float16")
    (got,) = sparse_sign((A,), key_of(1), 0, m=8, s=4)
    assert got.dtype == np.float16
    assert np.array_equal(got, matrix(40, 1, m=8, s=4) @ A)


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


class TestDerivatives:
    def test_torch(self) -> None:
        A = torch.tensor(rng.standard_normal((9, 2)), requires_grad=True)
        b = torch.tensor(rng.standard_normal((9, 1)))
        settings: dict[str, Any] = {"m": 6, "s": 3}
        assert torch.autograd.gradcheck(lambda A: sparse_sign((A, b), key_of(1), 5, **settings)[0] ** 2, A)
        assert torch.autograd.gradgradcheck(lambda A: sparse_sign((A, b), key_of(1), 5, **settings)[0] ** 2, A)
        assert torch.autograd.gradcheck(lambda y: sparse_sign_lift((y,), key_of(1), 5, n=4, s=3)[0] ** 2, A)
        data = torch.tensor(rng.standard_normal(4), requires_grad=True)
        rows, columns = torch.tensor([0, 1, 1, 3]), torch.tensor([1, 0, 2, 1])
        settings["width"] = 3
        assert torch.autograd.gradcheck(
            lambda data: sparse_sign_entries(data, rows, columns, key_of(1), 5, **settings) ** 2, data
        )

    def test_an_output_that_nobody_used(self) -> None:
        A = torch.tensor(whole(9, 2), requires_grad=True)
        b = torch.tensor(whole(9, 1), requires_grad=True)
        sparse_sign((A, b), key_of(1), 5, m=6, s=3)[1].sum().backward()
        assert b.grad is not None
        assert np.array_equal(b.grad.numpy()[:, 0], matrix(9, 1, 5, m=6, s=3).sum(0))
        assert A.grad is None or not A.grad.any()

    def test_jax(self) -> None:
        A, weight = whole(9, 2), whole(6, 2)

        def total(A: Any) -> Any:
            return jnp.sum(weight * sparse_sign((A, A[:, :1]), key_of(1), 5, m=6, s=3)[0])

        assert np.array_equal(jax.jit(jax.grad(total))(jnp.array(A)), matrix(9, 1, 5, m=6, s=3).T @ weight)


def test_the_stream_is_its_own() -> None:
    assert int(Stream.SPARSE_SIGN) == 2
