"""Least squares over the chunks of dask arrays: what is read, how often, by whom, and that the answers are the same."""

from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import equipoise_dask
import numpy as np
import pytest
from equipoise_dask.passes import DaskPasses, computed, gram_of_chunk, summed
from hypothesis import given, settings
from hypothesis import strategies as st

import equipoise as eq
from equipoise.record import leaves
from equipoise.sketch import lstsq, sketch_operator
from equipoise.sketch.factors import unit

N, D = 6000, 50
READS: Counter[int] = Counter()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    READS.clear()
    with dask.config.set(scheduler="synchronous"):
        yield


def problem(n: int = N, d: int = D, k: int | None = None, *, condition: float = 1e3) -> tuple[Any, Any]:
    """A and b, of a given condition and with a residual that is not small."""
    rng = np.random.default_rng(n + d)
    left, right = (np.linalg.qr(rng.normal(size=shape))[0] for shape in ((n, d), (d, d)))
    A = left * np.geomspace(1.0, 1.0 / condition, d) @ right
    x = rng.normal(size=(d,) if k is None else (d, k))
    return A, A @ x + 0.01 * rng.normal(size=(n, *x.shape[1:]))


def read(block: Any, block_info: Any = None) -> Any:
    """Count it."""
    if block_info:
        READS[block_info[0]["array-location"][0][0]] += 1
    return block


def reads() -> list[int]:
    """How often each chunk was made."""
    return [READS[start] for start in sorted(READS)]


def counted(x: Any, rows: Any) -> Any:
    """An array whose chunks are counted when they are made."""
    return da.from_array(x, chunks=(rows, -1)).map_blocks(read, dtype=x.dtype, meta=np.zeros((0, 0), x.dtype))


def exact(A: Any, b: Any) -> Any:
    return np.linalg.lstsq(A.astype(float), b.astype(float), rcond=None)[0]


class TestReads:
    def test_one_sketch_is_one_pass_with_its_bounds(self) -> None:
        A, b = problem()
        result = lstsq(counted(A, 1000), b, epsilon=0.9)
        assert reads() == [1] * 6
        assert result.method == "sketch_solve"
        assert np.all(abs(result.x - exact(A, b)) <= result.coordinate_bound(0.01))

    def test_accurate_in_three(self) -> None:
        A, b = problem()
        result = lstsq(counted(A, 1000), b)
        assert reads() == [3 + int(result.steps)] * 6
        assert result.method == "cholesky_qr"
        assert int(result.steps) <= 1

    def test_what_a_and_b_are_made_of_is_read_once(self) -> None:
        A, b = problem()
        both = counted(np.column_stack([A, b]), 1000)
        result = lstsq(both[:, :-1], both[:, -1], epsilon=0.9)
        assert reads() == [1] * 6
        np.testing.assert_allclose(result.x, lstsq(A, b, epsilon=0.9).x, rtol=1e-9)

    def test_spir(self) -> None:
        A, b = problem()
        result = lstsq(counted(A, 1000), b, method="spir")
        assert set(READS.values()) == {sum(READS.values()) // 6}
        assert int(result.steps) < READS[0] <= int(result.steps) + 2 + 6  # a sketch, the first look, one a stage

    def test_a_lazy_sketch(self) -> None:
        A, _ = problem()
        S = sketch_operator("srht", 200, N, rng=0)
        made = equipoise_dask.sketch(S, counted(A, 1700))
        assert not READS
        np.testing.assert_allclose((2.0 * made).compute(), 2.0 * (S @ A), atol=1e-13)
        assert set(READS.values()) == {1}
        vector = equipoise_dask.sketch(S, da.from_array(A[:, 0], chunks=999))
        assert vector.shape == (200,)
        np.testing.assert_allclose(vector.compute(), S @ A[:, 0], atol=1e-13)


class TestAnswers:
    @pytest.mark.parametrize("condition", [1e2, 1e8, 1e12])
    def test_as_accurate_as_in_memory(self, condition: float) -> None:
        A, b = problem(condition=condition)
        result = lstsq(da.from_array(A, chunks=(900, 50)), da.from_array(b, chunks=700))
        assert result.converged
        assert float(result.error) <= 4 * unit(A)
        here = lstsq(A, b, method="cholesky_qr")
        far = np.linalg.norm(result.x - here.x) / np.linalg.norm(here.x)
        assert far <= 1e-14 * condition
        np.testing.assert_allclose(result.residual_norm, here.residual_norm, rtol=1e-10 if condition < 1e10 else 1e-6)
        assert result.rank == here.rank == D
        assert all(isinstance(x, np.ndarray | np.generic) for x in leaves(result))

    @settings(max_examples=10)
    @given(cuts=st.lists(st.integers(1, N - 1), max_size=8, unique=True), seed=st.integers(0, 2**64 - 1))
    def test_any_cuts(self, cuts: list[int], seed: int) -> None:
        A, b = problem()
        chunks = tuple(int(x) for x in np.diff([0, *sorted(cuts), N]))
        X = da.from_array(A, chunks=(chunks, D))
        here = lstsq(A, b, epsilon=0.9, rng=seed)
        result = lstsq(X, b, epsilon=0.9, rng=seed)
        np.testing.assert_allclose(result.x, here.x, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(result.deviation, here.deviation, rtol=1e-8)
        np.testing.assert_allclose(lstsq(X, b, rng=seed).x, exact(A, b), rtol=1e-9, atol=1e-10)

    def test_more_than_one_right_hand_side(self) -> None:
        A, b = problem(k=3)
        for sides in (b, da.from_array(b, chunks=(1000, 2))):
            for options in ({}, {"epsilon": 0.9}):
                result = lstsq(da.from_array(A, chunks=(900, 50)), sides, **options)  # type: ignore[arg-type]
                want = lstsq(A, b, **(options or {"method": "cholesky_qr"}))  # type: ignore[arg-type]
                np.testing.assert_allclose(result.x, want.x, rtol=1e-8, atol=1e-9)
                assert result.error.shape == result.residual_norm.shape == (3,)

    def test_float32(self) -> None:
        A, b = (x.astype("float32") for x in problem(condition=1e2))
        result = lstsq(da.from_array(A, chunks=(900, 50)), b)
        assert {str(x.dtype) for x in (result.x, result.error, result.residual_norm)} == {"float32"}
        assert result.converged
        np.testing.assert_allclose(result.x, exact(A, b), atol=1e-4)

    def test_a_lost_rank(self) -> None:
        A, b = problem()
        A[:, 7] = A[:, 3] - A[:, 4]
        result = lstsq(da.from_array(A, chunks=(900, 50)), b)
        assert int(result.rank) == D - 1
        np.testing.assert_allclose(result.x, np.linalg.lstsq(A, b, rcond=1e-13)[0], rtol=1e-7, atol=1e-8)

    def test_whole_numbers_are_the_same_bits(self) -> None:
        A = np.random.default_rng(0).integers(-9, 10, size=(3000, 4)).astype(float)
        for kind in ("srht", "sparse_sign", "rademacher"):
            S = sketch_operator(kind, 64, 3000, rng=3)
            made = equipoise_dask.sketch(S, da.from_array(A, chunks=(701, 4)))
            assert np.array_equal(made.compute(), S @ A)

    def test_columns_side_by_side_and_empty_chunks(self) -> None:
        A, b = problem()
        X = da.from_array(A, chunks=((1000, 0, 5000), (20, 30)))
        np.testing.assert_allclose(lstsq(X, b).x, exact(A, b), rtol=1e-9)

    def test_an_epsilon_that_would_need_most_rows(self) -> None:
        A, b = problem()
        result = lstsq(da.from_array(A, chunks=(900, 50)), b, epsilon=0.1)
        assert result.method == "cholesky_qr"
        small = lstsq(da.from_array(A[:60, :3], chunks=(25, 3)), b[:60])
        assert small.method == "cholesky_qr"
        np.testing.assert_allclose(small.x, exact(A[:60, :3], b[:60]), rtol=1e-9)

    def test_no_convergence_is_told_at_the_line_of_the_call(self) -> None:
        A, b = problem()
        X = da.from_array(A, chunks=(900, 50))
        with pytest.warns(eq.ConvergenceWarning, match=r"sketch\.lstsq did not reach tol=0") as told:
            lstsq(X, b, tol=0.0)
        assert Path(told[0].filename).name == "test_dask.py"
        seen: list[float] = []
        lstsq(X, b, method="spir", callback=lambda info: seen.append(info.error))
        assert len(seen) >= 2


def number_of_chunk(A: Any, b: Any, start: int) -> str:
    return str(start)


def both(left: str, right: str) -> str:
    return f"({left}+{right})"


def timeless(result: Any) -> list[Any]:
    """The numbers of a result without the seconds that it took."""
    return leaves(replace(result, history=None))


class TestSchedulers:
    def test_threads_give_the_same_answers(self) -> None:
        A, b = problem()
        X = da.from_array(A, chunks=(300, 50))
        for options in ({}, {"epsilon": 0.9}, {"epsilon": 0.9, "kind": "rademacher"}, {"method": "spir"}):
            one = lstsq(X, b, **options)  # type: ignore[arg-type]
            with dask.config.set(scheduler="threads", num_workers=4):
                for _ in range(3):
                    many = lstsq(X, b, **options)  # type: ignore[arg-type]
                    for x, y in zip(timeless(one), timeless(many), strict=True):
                        np.testing.assert_allclose(x, y, rtol=1e-9)  # squares of few numbers know their addresses

    def test_the_order_of_sums_is_that_of_the_chunks(self) -> None:
        A = da.ones((50, 2), chunks=(10, 2))
        graph, root = summed(number_of_chunk, both, A, None, ())
        with dask.config.set(scheduler="threads", num_workers=4):
            assert {computed(graph, root) for _ in range(10)} == {"(((0+10)+(20+30))+40)"}

    def test_processes(self) -> None:
        A, b = problem(600, 5)
        X = da.from_array(A, chunks=(300, 5))
        one = equipoise_dask.DaskPasses(X, da.from_array(b[:, None], chunks=(300, 1))).gram(None, upper=False)
        with dask.config.set(scheduler="processes", num_workers=1):
            many = equipoise_dask.DaskPasses(X, da.from_array(b[:, None], chunks=(300, 1))).gram(None, upper=False)
        for x, y in zip(one, many, strict=True):
            assert np.array_equal(x, y)

    def test_all_tasks_can_be_pickled(self) -> None:
        A, b = problem(600, 5)
        X, y = da.from_array(A, chunks=(300, 5)), da.from_array(b[:, None], chunks=(300, 1))
        S = sketch_operator("srht", 20, 600, rng=0)
        for graph, _ in (
            summed(gram_of_chunk, equipoise_dask.passes.add, X, y, (None, False)),
            (equipoise_dask.sketch(S, X).dask, None),
        ):
            assert pickle.loads(pickle.dumps(dict(graph)))

    def test_a_user_context_is_left_alone(self) -> None:
        A, b = problem(600, 5)
        with eq.backend("torch"):
            result = lstsq(da.from_array(A, chunks=(300, 5)), b)
        np.testing.assert_allclose(result.x, exact(A, b), rtol=1e-9)


class TestMemory:
    @pytest.mark.parametrize("given", [{}, {"method": "sketch_solve", "sketch_rows": 500}])
    def test_a_few_chunks_at_a_time(self, given: dict[str, Any]) -> None:
        n, d, rows = 400_000, 20, 10_000  # 64 MB in chunks of 1.6 MB

        def chunk(block_info: Any = None) -> Any:
            start = block_info[None]["array-location"][0][0]
            return np.random.default_rng(start).normal(size=(rows, d))

        A = da.map_blocks(chunk, chunks=((rows,) * (n // rows), (d,)), dtype=float, meta=np.zeros((0, 0)))
        b = A.sum(axis=1)
        lstsq(A[:rows], b[:rows], **given)  # everything is compiled
        tracemalloc.start()
        try:
            result = lstsq(A, b, **given)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 16e6
        np.testing.assert_allclose(result.x, np.ones(d), rtol=1e-9)


class TestBadInput:
    A = da.ones((100, 5), chunks=(30, 5))
    b = np.ones(100)

    @pytest.mark.parametrize(
        ("A", "b", "given", "sentence"),
        [
            (A, b, {"method": "direct"}, "method 'direct' needs all of A in memory; use 'cholesky_qr'"),
            (A, b, {"method": "qr"}, "method must be one of"),
            (A, b, {"method": "sketch_solve"}, "needs epsilon or sketch_rows"),
            (A, b, {"epsilon": 2.0}, "epsilon must be in"),
            (A, b, {"sketch_rows": 5}, "sketch_rows must exceed the 5 columns"),
            (A, b, {"max_steps": 0}, "max_steps must be at least 1"),
            (A.T, np.ones(5), {}, r"as many rows as columns, got shape \(5, 100\)"),
            (A[:, 0], b, {}, r"A must have shape \(n, d\), got \(100,\)"),
            (A[:, :0], b, {}, "at least one column"),
            (A[A[:, 0] > 0], b, {}, r"chunks of unknown shapes; call A.compute_chunk_sizes\(\) first"),
            (A, da.from_array(b)[da.from_array(b) > 0], {}, r"call b.compute_chunk_sizes\(\) first"),
            (A.astype(int), b, {}, "A must hold float64 or float32 numbers, got dtype int64"),
            (A.astype("float16"), b, {}, "A must hold float64 or float32 numbers, got dtype float16"),
            (A, b.astype(int), {}, "b must have the dtype float64 of A, got int64"),
            (A, b[:99], {}, r"b must have shape \(100,\) or \(100, k\), got \(99,\)"),
            (A, np.ones((100, 1, 1)), {}, r"b must have shape \(100,\) or \(100, k\)"),
            (da.ones((10**6, 200), chunks=(10**6, 10)), np.ones(10**6), {}, "A has 20 chunks side by side"),
        ],
    )
    def test_values(self, A: Any, b: Any, given: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            lstsq(A, b, **given)

    def test_types(self) -> None:
        for b, sentence in (
            ([1.0] * 100, "b must be a dask or numpy array, as A is a dask array, got list"),
            (self.b.astype("float32"), "b must have the dtype float64 of A, got float32"),
        ):
            with pytest.raises(TypeError, match=sentence):
                lstsq(self.A, b)
        masked = da.ma.masked_array(self.A, mask=self.A > 1)
        with pytest.raises(TypeError, match="A must have chunks of numpy arrays, got chunks of MaskedArray"):
            lstsq(masked, self.b)
        with pytest.raises(TypeError):
            lstsq(np.ones((100, 5)), da.ones(100))

    @pytest.mark.parametrize("given", [{}, {"epsilon": 0.9}, {"method": "spir"}])
    @pytest.mark.parametrize("bad", [np.nan, -np.inf])
    def test_numbers_that_are_none(self, given: dict[str, Any], bad: float) -> None:
        A, b = problem()
        A[4321, 17] = A[5000, 3] = bad
        X = counted(A, 1000)
        with pytest.raises(ValueError, match="A must be finite, got a number that is not in row 4321"):
            lstsq(X, b, **given)
        assert set(READS.values()) == {2}
        A, b = problem()
        b[77] = bad
        X = da.from_array(A, chunks=(1000, 50))
        with pytest.raises(ValueError, match="b must be finite, got a number that is not in row 77"):
            lstsq(X, da.from_array(b, chunks=100), **given)

    def test_chunks_that_are_not_what_they_were_said_to_be(self) -> None:
        A = self.A.map_blocks(lambda block: block[1:], dtype=float, meta=np.zeros((0, 0)))
        with pytest.raises(ValueError, match=r"the chunk of A from row \d+ on was to have shape"):
            lstsq(A, self.b)
        A = self.A.map_blocks(lambda block: block.astype("float32"), dtype=float, meta=np.zeros((0, 0)))
        with pytest.raises(ValueError, match=r"and dtype float64, got .* and float32"):
            lstsq(A, self.b)

    def test_sketches(self) -> None:
        S = sketch_operator("srht", 20, 99, rng=0)
        with pytest.raises(ValueError, match="A must have 99 rows for this sketch"):
            equipoise_dask.sketch(S, self.A)
        with pytest.raises(ValueError, match="tensor_srht mixes all rows"):
            equipoise_dask.sketch(sketch_operator("tensor_srht", 4, (10, 10), rng=0), self.A)
        with pytest.raises(ValueError, match=r"A must have shape \(n,\) or \(n, d\)"):
            equipoise_dask.sketch(S, self.A[None])


def test_what_the_protocol_promises() -> None:
    A, b = problem(900, 6, 2)
    passes = DaskPasses(da.from_array(A, chunks=(200, 6)), da.from_array(b, chunks=(200, 2)))
    x, T = np.random.default_rng(0).normal(size=(6, 2)), np.triu(np.ones((6, 6)))
    assert (passes.shape, passes.dear, passes.sides.dtype) == ((900, 6), True, np.float64)
    S = sketch_operator("sparse_sign", 40, 900, rng=0)
    r, W = b - A @ x, A @ T
    for got, want in (
        (passes.sketched(S), (S @ A, S @ b, np.linalg.norm(b, axis=0))),
        (passes.residual_gradient(x), (A.T @ r, (r * r).sum(axis=0))),
        ((passes.normal(x),), (A.T @ (A @ x),)),
        (passes.gram(None, upper=False), (A.T @ A, A.T @ b)),
        (passes.gram(T, upper=True), (W.T @ W, W.T @ b)),
    ):
        for mine, its in zip(got, want, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-11, atol=1e-12)
