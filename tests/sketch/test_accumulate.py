"""Sketches of rows that come in blocks: any cuts, any order, any backend, and what a stream may do wrong."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.record import leaves
from equipoise.sketch import lstsq, sketch_operator
from equipoise.sketch.accumulate import Accumulator, accumulate, merged

from ..backends import Case

N, D, M = 600, 5, 40
STREAMS = ("gaussian", "rademacher", "sparse_sign", "countsketch")
KINDS = (*STREAMS, "srht", "rows")


def problem(dtype: str = "float64") -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    A = rng.normal(size=(N, D))
    return A.astype(dtype), (A @ np.arange(D) + rng.normal(size=N)).astype(dtype)


def whole_numbers() -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    return rng.integers(-9, 10, size=(N, D)).astype(float), rng.integers(-9, 10, size=(N, 2)).astype(float)


def fed(S: Any, A: Any, b: Any, cuts: Any, order: Any = None) -> Any:
    """The accumulator of the blocks between the cuts, taken in the given order."""
    blocks = list(itertools.pairwise(cuts))
    acc = accumulate(S)
    for k in range(len(blocks)) if order is None else order:
        start, stop = blocks[k]
        acc = acc.update(A[start:stop, ...], None if b is None else b[start:stop, ...], start=start)
    return acc


def in_two(A: Any, b: Any) -> Any:
    """The sketches of a stream: two blocks of one shape, the later first."""
    acc = fed(sketch_operator("sparse_sign", M, N, rng=5), A, b, (0, 300, N), (1, 0))
    return acc.SA, acc.Sb


class TestEveryBackend:
    def test_the_sketch(self, on: Case) -> None:
        A, b = problem()
        SA, Sb = on.numpy(on.call(in_two, A, b))
        S = sketch_operator("sparse_sign", M, N, rng=5)
        np.testing.assert_allclose(SA, S @ A, atol=1e-13)
        np.testing.assert_allclose(Sb, S @ b, atol=1e-12)

    def test_the_solution(self, on: Case) -> None:
        if on.jit or on.name == "jax-portable":
            pytest.skip("the solver is compiled in the tests of lstsq")
        A, b = problem()
        S = sketch_operator("sparse_sign", M, N, rng=5)
        x = on.numpy(on.call(lambda A, b: fed(S, A, b, (0, 300, N)).solve().x, A, b))
        np.testing.assert_allclose(x, np.linalg.lstsq(S @ A, S @ b, rcond=None)[0], atol=1e-12)

    def test_float32(self, on: Case) -> None:
        if on.jit or on.name not in ("numpy", "numpy-portable", "torch", "jax"):
            pytest.skip("compiled for one dtype already")
        A, b = problem("float32")
        SA, Sb = on.numpy(on.call(in_two, A, b))
        assert SA.dtype == Sb.dtype == np.float32
        S = sketch_operator("sparse_sign", M, N, rng=5)
        np.testing.assert_allclose(SA, S @ A.astype(float), atol=2e-5)
        assert fed(S, A, b, (0, 300, N)).solve().x.dtype == np.float32

    def test_an_accumulator_goes_through_jit(self) -> None:
        A, b = map(jax.numpy.asarray, problem())
        S = sketch_operator("sparse_sign", M, N, rng=5)
        start = accumulate(S).update(A[:300], b[:300], start=0)
        step = jax.jit(lambda acc, A, b: acc.update(A, b, start=300))
        acc = step(start, A[300:], b[300:])
        assert acc.rows == N
        np.testing.assert_allclose(np.asarray(acc.SA), S @ np.asarray(A), atol=1e-13)

    def test_a_gradient_reaches_the_block(self) -> None:
        A, b = map(torch.tensor, problem())
        A.requires_grad_()
        acc = fed(sketch_operator("srht", M, N, rng=5), A, b, (0, 300, N))
        (grad,) = torch.autograd.grad((acc.SA**2).sum(), A)
        S = sketch_operator("srht", M, N, rng=5)
        np.testing.assert_allclose(grad, 2 * (S.T @ (S @ A.detach().numpy())), atol=1e-12)

    def test_inside_a_backend(self) -> None:
        A, b = problem()
        S = sketch_operator("sparse_sign", M, N, rng=5)
        with eq.backend("torch"):
            acc = accumulate(S).update(A[:99], b[:99], start=0)
            acc = acc + accumulate(S).update(A[99:], b[99:], start=99)
            x = acc.solve().x
        assert all(isinstance(leaf, np.ndarray) for leaf in leaves((acc, x)))
        np.testing.assert_allclose(acc.SA, S @ A, atol=1e-13)


class TestOrder:
    @given(
        kind=st.sampled_from(KINDS),
        cuts=st.lists(st.integers(1, N - 1), max_size=6, unique=True),
        seed=st.integers(0, 2**64 - 1),
        data=st.data(),
    )
    def test_whole_numbers_are_the_same_bits(self, kind: str, cuts: list[int], seed: int, data: Any) -> None:
        A, b = whole_numbers()
        S = sketch_operator(kind, M, N, rng=seed)
        cuts = [0, *sorted(cuts), N]
        order = data.draw(st.permutations(range(len(cuts) - 1)))
        acc = fed(S, A, b, cuts, order)
        assert acc.ranges == ((0, N),)
        if kind == "gaussian":
            np.testing.assert_allclose(acc.SA, S @ A, atol=1e-11)
        else:
            assert np.array_equal(acc.SA, S @ A)
            assert np.array_equal(acc.Sb, S @ b)

    @given(cuts=st.lists(st.integers(1, N - 1), min_size=2, max_size=6, unique=True), mine=st.sets(st.integers(0, 6)))
    def test_merging(self, cuts: list[int], mine: set[int]) -> None:
        A, b = whole_numbers()
        S = sketch_operator("srht", M, N, rng=3)
        cuts = [0, *sorted(cuts), N]
        every = range(len(cuts) - 1)
        left = fed(S, A, b, cuts, [k for k in every if k in mine])
        right = fed(S, A, b, cuts, [k for k in every if k not in mine])
        for acc in (left + right, right + left):
            assert acc.rows == N
            assert np.array_equal(acc.SA, S @ A)
            assert np.array_equal(acc.Sb, S @ b)
        assert left.rows + right.rows == N  # neither has changed

    def test_an_update_leaves_the_old_one_as_it_was(self) -> None:
        A, b = problem()
        S = sketch_operator("srht", M, N, rng=3)
        old = accumulate(S).update(A[:50], b[:50], start=0)
        before = old.SA.copy()
        new = old.update(A[50:], b[50:], start=50)
        assert old.rows == 50
        assert np.array_equal(old.SA, before)
        assert new.rows == N

    def test_ranges(self) -> None:
        assert merged(((0, 5), (9, 12)), ((5, 9),)) == ((0, 12),)
        assert merged(((4, 5),), ((0, 1), (2, 3))) == ((0, 1), (2, 3), (4, 5))


class TestShapes:
    def test_vectors_of_a_and_columns_of_b(self) -> None:
        A, _ = problem()
        S = sketch_operator("srht", M, N, rng=0)
        acc = fed(S, A[:, 0], A[:, 1:3], (0, 77, N))
        np.testing.assert_allclose(acc.SA, S @ A[:, 0], atol=1e-13)
        np.testing.assert_allclose(acc.Sb, S @ A[:, 1:3], atol=1e-13)
        with pytest.raises(ValueError, match=r"A must come in blocks of shape \(rows, d\)"):
            acc.solve()

    def test_without_sides(self) -> None:
        A, _ = problem()
        acc = fed(sketch_operator("srht", M, N, rng=0), A, None, (0, N))
        assert acc.Sb is None
        with pytest.raises(ValueError, match="no right-hand sides have come"):
            acc.solve()

    def test_a_batch(self) -> None:
        A, b = problem()
        both, sides = np.stack([A, 2 * A]), np.stack([b, b])
        S = sketch_operator("rademacher", M, N, rng=0)
        acc = accumulate(S).update(both[:, :99], sides[:, :99], start=0).update(both[:, 99:], sides[:, 99:], start=99)
        x = acc.solve().x
        alone = fed(S, A, b, (0, N)).solve().x
        np.testing.assert_allclose(x, np.stack([alone, alone / 2]), rtol=1e-10)
        assert acc.Sb.shape == (2, M)


class TestSolve:
    def test_as_lstsq_does_it(self) -> None:
        A, b = problem()
        for kind in ("srht", "rademacher"):
            S = sketch_operator(kind, M, N, rng=7)
            got = fed(S, A, b, (0, 211, N)).solve()
            want = lstsq(A, b, method="sketch_solve", kind=kind, sketch_rows=M, rng=7)
            for name in ("x", "error", "residual_norm", "deviation", "condition"):
                np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-10, err_msg=name)
            assert (got.method, got.kind, got.sketch_rows, got.residual_estimated) == ("sketch_solve", kind, M, True)

    def test_the_bounds_hold(self) -> None:
        A, b = problem()
        exact = np.linalg.lstsq(A, b, rcond=None)[0]
        outside = 0
        for seed in range(60):
            result = fed(sketch_operator("rademacher", 60, None, rng=seed), A, b, (0, 300, N)).solve()
            outside += bool(np.any(abs(result.x - exact) > result.coordinate_bound(0.1)))
        assert outside <= 12  # 6 are expected

    def test_more_than_one_right_hand_side(self) -> None:
        A, b = problem()
        S = sketch_operator("srht", M, N, rng=7)
        both = fed(S, A, np.stack([b, 3 * b], axis=1), (0, 211, N)).solve()
        one = fed(S, A, b, (0, 211, N)).solve()
        np.testing.assert_allclose(both.x, np.stack([one.x, 3 * one.x], axis=1), rtol=1e-10)

    def test_part_of_the_rows(self) -> None:
        A, b = problem()
        S = sketch_operator("srht", M, N, rng=7)
        acc = accumulate(S).update(A[:100], b[:100], start=0).update(A[150:], b[150:], start=150)
        with pytest.raises(ValueError, match="550 of the 600 rows have come, row 100 has not"):
            acc.solve()
        some = np.r_[0:100, 150:N]
        result = acc.solve(partial=True)
        exact = np.linalg.lstsq(A[some], b[some], rcond=None)[0]
        assert np.all(abs(result.x - exact) <= result.coordinate_bound(0.01))
        endless = accumulate(sketch_operator("rademacher", M, None, rng=7)).update(A[:100], b[:100], start=900)
        assert endless.solve().x.shape == (D,)

    def test_a_tolerance_that_the_rows_do_not_buy(self) -> None:
        A, b = problem()
        acc = fed(sketch_operator("srht", M, N, rng=7), A, b, (0, N))
        with pytest.warns(eq.ConvergenceWarning, match=r"sketch\.Accumulator\.solve did not reach tol=0\.1"):
            assert not acc.solve(tol=0.1).converged

    def test_a_lost_rank_is_told(self) -> None:
        A, b = problem()
        A[:, 4] = A[:, 0] + A[:, 1]
        result = fed(sketch_operator("srht", M, N, rng=7), A, b, (0, N)).solve()
        assert int(result.rank) == D - 1
        least = np.linalg.lstsq(A, b, rcond=None)[0]
        assert np.linalg.norm(result.x) < 1.5 * np.linalg.norm(least)


class TestStore:
    @pytest.mark.parametrize("kind", ["srht", "rademacher", "rows"])
    def test_a_checkpoint(self, tmp_path: Path, kind: str) -> None:
        A, b = whole_numbers()
        p = np.full(N, 1 / N)
        S = sketch_operator(kind, M, N, rng=2**63 + 1, probabilities=p if kind == "rows" else None)
        eq.save(tmp_path / "stream.npz", fed(S, A[:300], b[:300], (0, 100, 300)))
        again = eq.load(tmp_path / "stream.npz")
        assert isinstance(again, Accumulator)
        assert again.S == S
        acc = again.update(A[300:], b[300:], start=300)
        assert np.array_equal(acc.SA, S @ A)
        assert np.array_equal(acc.Sb, S @ b)

    def test_an_empty_one(self, tmp_path: Path) -> None:
        empty = accumulate(sketch_operator("srht", M, N, rng=0))
        eq.save(tmp_path / "empty.npz", empty)
        again = eq.load(tmp_path / "empty.npz")
        assert again.rows == 0
        with pytest.raises(ValueError, match="no rows of A have come yet"):
            _ = again.SA


class TestBadInput:
    def setup_method(self) -> None:
        self.A, self.b = problem()
        self.S = sketch_operator("srht", M, N, rng=0)
        self.acc = accumulate(self.S).update(self.A[100:200], self.b[100:200], start=100)

    def test_rows_twice(self) -> None:
        with pytest.raises(ValueError, match="the rows 150 to 200 have come already"):
            self.acc.update(self.A[150:300], self.b[150:300], start=150)
        with pytest.raises(ValueError, match="the rows 100 to 200 have come already"):
            _ = self.acc + self.acc

    def test_beyond_the_end(self) -> None:
        with pytest.raises(ValueError, match="A_block holds the rows 550 to 650 of an A that has 600"):
            self.acc.update(self.A[:100], self.b[:100], start=550)
        with pytest.raises(ValueError, match="start must be at least 0"):
            self.acc.update(self.A[:100], self.b[:100], start=-1)

    def test_other_operators(self) -> None:
        other = accumulate(sketch_operator("srht", M, N, rng=1))
        with pytest.raises(ValueError, match="accumulators of different operators cannot be added"):
            _ = self.acc + other
        with pytest.raises(TypeError):
            _ = self.acc + 1

    @pytest.mark.parametrize(
        ("A", "b", "sentence"),
        [
            (np.ones((5, 4)), np.ones(5), "A_block must have the columns of the blocks before"),
            (np.ones(5), np.ones(5), "A_block must have as many axes"),
            (np.ones((5, D)), np.ones((5, 2)), "b_block must have as many axes"),
            (np.ones((5, D)), None, "the blocks before came with it"),
            (np.ones((5, D)), np.ones(4), r"b_block must have shape \(5,\) or \(5, 'k'\), got \(4,\)"),
            (np.ones((0, D)), np.ones(0), "A_block must have at least one row"),
            (np.ones((5, D), dtype=int), np.ones(5), "A_block must hold floating-point numbers, got dtype int64"),
        ],
    )
    def test_blocks_that_do_not_fit(self, A: Any, b: Any, sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            self.acc.update(A, b, start=300)

    def test_types_that_do_not_fit(self) -> None:
        with pytest.raises(TypeError, match="A_block must have the dtype float64 of the blocks before"):
            self.acc.update(np.ones((5, D), "float32"), np.ones(5, "float32"), start=300)
        with pytest.raises(TypeError, match="b_block must have the dtype float64 of A_block"):
            self.acc.update(np.ones((5, D)), np.ones(5, "float32"), start=300)
        with pytest.raises(TypeError, match="mix arrays of two libraries"):
            self.acc.update(torch.ones((5, D), dtype=torch.float64), torch.ones(5, dtype=torch.float64), start=300)
        with pytest.raises(TypeError, match="S must be a SketchOperator"):
            accumulate(np.ones((3, 4)))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="tensor_srht mixes all rows"):
            accumulate(sketch_operator("tensor_srht", 4, (5, 5), rng=0))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_numbers_that_are_none(self, bad: float) -> None:
        self.A[317, 2] = bad
        with np.errstate(invalid="ignore"):
            with pytest.raises(ValueError, match="A_block must be finite, got a number that is not in row 317 of A"):
                self.acc.update(self.A[300:400], self.b[300:400], start=300)
            self.b[303] = bad
            with pytest.raises(ValueError, match="b_block must be finite, got a number that is not in row 303 of A"):
                self.acc.update(self.A[300:310], self.b[300:310], start=300)

    def test_solving_too_early(self) -> None:
        few = accumulate(sketch_operator("srht", D, N, rng=0)).update(self.A, self.b, start=0)
        with pytest.raises(ValueError, match="the sketch must have more rows than A has columns, got 5 rows"):
            few.solve()
        start = accumulate(self.S).update(self.A[:3], self.b[:3], start=0)
        with pytest.raises(ValueError, match="only 3 rows have come, fewer than the 5 columns of A"):
            start.solve(partial=True)
        for settings, sentence in (
            ({"delta": 1.0}, "delta must be in"),
            ({"rcond": 2.0}, "rcond must be in"),
            ({"tol": -1.0}, "tol must be at least 0"),
        ):
            with pytest.raises(ValueError, match=sentence):
                self.acc.solve(partial=True, **settings)  # type: ignore[arg-type]


class TestMemoryMap:
    @pytest.mark.parametrize("method", ["cholesky_qr", "sketch_solve"])
    def test_a_map_is_never_copied(self, tmp_path: Path, method: str) -> None:
        n, d = 512 * 1024, 50  # 200 MB
        x = np.arange(1.0, d + 1)
        A = np.memmap(tmp_path / "A", np.float64, "w+", shape=(n, d))
        b = np.memmap(tmp_path / "b", np.float64, "w+", shape=(n,))
        rng = np.random.default_rng(0)
        few = rng.normal(size=(8192, d))
        for start in range(0, n, 8192):
            A[start : start + 8192] = np.roll(few, start // 8192, axis=1) + 0.1 * few[::-1]
            b[start : start + 8192] = A[start : start + 8192] @ x + few[:, 0]
        G, g = A.T @ A, A.T @ b
        settings = {"sketch_rows": 2048} if method == "sketch_solve" else {}
        lstsq(A[:4096], b[:4096], method=method, **settings)  # type: ignore[arg-type]  # everything is compiled
        tracemalloc.start()
        try:
            result = lstsq(A, b, method=method, **settings)  # type: ignore[arg-type]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 32e6
        exact = np.linalg.solve(G, g)
        if method == "sketch_solve":
            assert np.all(abs(result.x - exact) <= result.coordinate_bound(0.01))
        else:
            np.testing.assert_allclose(result.x, exact, rtol=1e-11)
