"""The sweeps over a tall matrix, against sums in float64 and in long double."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equipoise as eq
from equipoise.sketch.panels import ROWS, gram, in_halves, residual_gradient, row_squares

from ..backends import Case


def problem(n: int, d: int, k: int = 1, *, dtype: str = "float64", batch: tuple[int, ...] = ()) -> tuple[Any, ...]:
    """A, b, x and an upper triangular T."""
    rng = np.random.default_rng(n + 7 * d + k)
    A, b, x = (rng.normal(size=(*batch, *shape)) for shape in ((n, d), (n, k), (d, k)))
    T = np.triu(rng.normal(size=(*batch, d, d)))
    return tuple(np.asarray(array, dtype=dtype) for array in (A, b, x, T))


def samples(dtype: str) -> Any:
    """Shapes that end within a panel, a block of rows, a vector of columns; batches that broadcast."""
    for n, d, k, batch in ((1030, 13, 1, ()), (37, 40, 3, ()), (29, 3, 9, ()), (21, 8, 2, (2, 3)), (5, 1, 1, ())):
        yield problem(n, d, k, dtype=dtype, batch=batch)


def sample_gram(rng: np.random.Generator, dtype: str) -> Any:
    for A, b, x, T in samples(dtype):
        yield (A, b, T), {"upper": True}
        yield (A, None, T), {"upper": False}
        yield (A, b, x), {}
        yield (np.asfortranarray(A), b, None), {}


def sample_residual_gradient(rng: np.random.Generator, dtype: str) -> Any:
    for A, b, x, _ in samples(dtype):
        yield (A, x, b), {}
        yield (np.asfortranarray(A), x, b), {}
        yield (A, x, None), {}


def sample_row_squares(rng: np.random.Generator, dtype: str) -> Any:
    for A, _, x, T in samples(dtype):
        yield (A, x), {}
        yield (np.asfortranarray(A), T), {}


def agree(got: Any, want: Any, rtol: float = 1e-13) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=rtol * max(1.0, np.abs(want).max()))


class TestEveryBackend:
    def test_residual_gradient(self, on: Case) -> None:
        A, b, x, _ = problem(37, 11, 2, batch=(2,))
        r = b - A @ x
        g, square = on.numpy(on.call(residual_gradient, A, x, b))
        agree(g, np.swapaxes(A, -1, -2) @ r)
        agree(square, np.sum(r**2, axis=-2))
        assert square.shape == (2, 2)

    def test_gram(self, on: Case) -> None:
        A, b, _, T = problem(37, 11, 2)
        G, g = on.numpy(on.call(lambda A, b, T: gram(A, b, T, upper=True), A, b, T))
        W = A @ T
        agree(G, W.T @ W)
        agree(g, W.T @ b)

    def test_row_squares(self, on: Case) -> None:
        A, _, x, _ = problem(37, 11, 3, batch=(2,))
        agree(on.numpy(on.call(row_squares, A, x)), np.sum((A @ x) ** 2, axis=-1))

    def test_what_is_left_out(self, on: Case) -> None:
        A, _, x, _ = problem(37, 11, 2)
        G, none = on.call(gram, A)
        assert none is None
        agree(on.numpy(G), A.T @ A)
        agree(on.numpy(on.call(residual_gradient, A, x)[0]), -A.T @ (A @ x))

    def test_not_a_number_spreads(self, on: Case) -> None:
        for bad in (np.nan, np.inf):
            A, b, x, T = problem(37, 11)
            A[20, 3] = bad
            with np.errstate(invalid="ignore"):  # numpy's own word on inf - inf
                results = on.numpy(on.call(lambda *given: every(*given, upper=True), A, b, x, T))
            (g, square), (G, h), squares = results
            assert not np.isfinite(g).any()
            assert not np.isfinite(square).any()
            assert not np.isfinite(G[3, :]).any()
            assert not np.isfinite(h[3:]).any()
            assert np.flatnonzero(~np.isfinite(squares)).tolist() == [20]


def every(A: Any, b: Any, x: Any, T: Any, *, upper: bool = False) -> tuple[Any, ...]:
    """All three sweeps."""
    return residual_gradient(A, x, b), gram(A, b, T, upper=upper), row_squares(A, T)


def layouts(A: np.ndarray) -> dict[str, np.ndarray]:
    """The same matrix in other orders of memory."""
    n, d = A.shape
    apart = np.empty((2 * n, 3 * d), dtype=A.dtype)[::2, ::3]
    apart[...] = A
    frozen = A.copy()
    frozen.flags.writeable = False
    odd = np.frombuffer(b"." + A.tobytes(), dtype=np.uint8)[1:].view(A.dtype).reshape(n, d)
    backwards = A[::-1, ::-1].copy()[::-1, ::-1]
    wide = np.zeros((n, d + 2), dtype=A.dtype)
    wide[:, 1:-1] = A
    foreign = A.astype(A.dtype.newbyteorder())
    columns = np.asfortranarray(A)
    return {
        "columns": columns,
        "strided": apart,
        "read-only": frozen,
        "unaligned": odd,
        "backwards": backwards,
        "part of a wider one": wide[:, 1:-1],
        "part of a longer one": np.asfortranarray(np.vstack([A, A]))[:n],
        "foreign bytes": foreign,
    }


class TestHost:
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_every_layout(self, dtype: str) -> None:
        A, b, x, T = problem(2055, 19, 2, dtype=dtype)
        tight = 1e-13 if dtype == "float64" else 1e-5
        with eq.portable():
            (g, square), (G, h), squares = every(*(array.astype(np.float64) for array in (A, b, x, T)))
        for name, matrix in layouts(A).items():
            before = matrix.copy()
            (g1, square1), (G1, h1), squares1 = every(matrix, b, x, T, upper=True)
            for got, want in ((g1, g), (square1, square), (G1, G), (h1, h), (squares1, squares)):
                assert got.dtype.newbyteorder("=") == dtype, name
                agree(got, want, tight)
            assert np.array_equal(matrix, before)

    def test_both_memory_orders_of_the_other_arguments(self) -> None:
        A, b, x, T = problem(300, 19, 2)
        turned = [np.asfortranarray(array) for array in (b, x, T)]
        for got, want in zip(every(A, *turned, upper=True), every(A, b, x, T), strict=True):
            for one, other in zip(got, want, strict=True):
                agree(one, other)

    def test_a_batch_that_broadcasts(self) -> None:
        A, _, x, T = problem(40, 9, 2)
        b = np.stack([np.full((40, 2), value) for value in (1.0, 2.0, 3.0)])
        g, square = residual_gradient(A, x, b)
        G, h = gram(A, b, T)
        for c in range(3):
            agree(g[c], residual_gradient(A, x, b[c])[0])
            agree(square[c], residual_gradient(A, x, b[c])[1])
            agree(h[c], gram(A, b[c], T)[1])
        assert G.shape == (9, 9)
        agree(G, gram(A, None, T)[0])

    def test_the_sum_of_the_rows_of_nothing(self) -> None:
        A, b, x, T = problem(0, 9, 2)
        (g, square), (G, h), squares = every(A, b, x, T, upper=True)
        assert not g.any()
        assert not square.any()
        assert not G.any()
        assert not h.any()
        assert squares.shape == (0,)

    def test_gram_is_symmetric_to_the_last_bit(self) -> None:
        A, _, _, T = problem(3000, 33)
        for G in (gram(A)[0], gram(A, None, T, upper=True)[0]):
            assert np.array_equal(G, G.T)

    def test_whole_numbers_are_exact(self) -> None:
        """Sums of integers below 2^53 leave no room for an error, whatever the order."""
        rng = np.random.default_rng(3)
        A, x, b = (rng.integers(-99, 99, size=shape).astype(float) for shape in ((5000, 21), (21, 3), (5000, 3)))
        r = b - A @ x
        for matrix in (A, np.asfortranarray(A)):
            g, square = residual_gradient(matrix, x, b)
            assert np.array_equal(g, A.T @ r)
            assert np.array_equal(square, np.sum(r * r, axis=0))
            assert np.array_equal(gram(matrix)[0], A.T @ A)

    def test_small_residuals_keep_their_digits(self) -> None:
        """The gradient near the solution is far below its terms: against long double."""
        A, _, x, _ = problem(4000, 17)
        b = A @ x + 1e-9 * np.cos(np.arange(4000.0))[:, None]
        r = b.astype(np.longdouble) - A.astype(np.longdouble) @ x.astype(np.longdouble)
        want = (A.T.astype(np.longdouble) @ r).astype(float)
        for matrix in (A, np.asfortranarray(A)):
            got = residual_gradient(matrix, x, b)[0]
            assert np.abs(got - want).max() < 1e-15 * (np.abs(A).T @ (np.abs(A) @ np.abs(x))).max()

    @pytest.mark.parametrize("portable", [False, True])
    def test_float32_sums_do_not_lose_digits(self, portable: bool) -> None:
        """Positive numbers: a running sum of 200 000 of them would be wrong by a hundred units in the last place."""
        rng = np.random.default_rng(5)
        A = rng.random((200_000, 12)).astype(np.float32) + np.float32(0.5)
        exact = A.astype(np.float64)
        few = np.ones((12, 1), dtype=np.float32)
        with eq.portable() if portable else eq.backend("numpy"):
            G, g = gram(A, A[:, :1])
            slope, square = residual_gradient(A, few)
        unit = np.finfo(np.float32).eps / 2
        limit = 20 if portable else 6
        for got, want in ((G, exact.T @ exact), (g, exact.T @ exact[:, :1]), (slope, -exact.T @ exact.sum(1)[:, None])):
            assert np.abs(got / want - 1).max() < limit * unit
        assert abs(square[0] / np.sum(exact.sum(1) ** 2) - 1) < limit * unit

    def test_nothing_of_the_size_of_a_memory_map_is_made(self, tmp_path: Path) -> None:
        n, d = 1 << 16, 128  # 64 MB
        for order in ("C", "F"):
            A: Any = np.memmap(tmp_path / f"{order}.bin", dtype=np.float64, mode="w+", shape=(n, d), order=order)
            A[::1000] = 1.0
            A.flush()
            A = np.memmap(tmp_path / f"{order}.bin", dtype=np.float64, mode="r", shape=(n, d), order=order)
            b, x, T = np.ones((n, 1)), np.ones((d, 1)), np.eye(d)
            every(A[:64], b[:64], x, T, upper=True)  # what is compiled is compiled
            tracemalloc.start()
            try:
                gram(A, b)
                (_, square), (G, _), squares = every(A, b, x, T, upper=True)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 16e6, f"{order}: {peak / 1e6:.0f} MB"
            assert G[0, 0] == 66
            assert squares.sum() == 66 * d
            assert square[0] == 66 * (1 - d) ** 2 + (n - 66)


class TestHalves:
    def test_many_panels(self) -> None:
        A = np.arange(2.0 * (5 * ROWS + 3)).reshape(-1, 2)
        seen: list[int] = []

        def part(rows: Any, sides: Any) -> tuple[Any, Any]:
            assert sides is None
            seen.append(rows.shape[0])
            return rows.sum(0), None

        total, none = in_halves(part, A, None)
        assert total.tolist() == A.sum(0).tolist()
        assert none is None
        assert seen == [ROWS] * 5 + [3]

    def test_portable_sums_over_panels(self) -> None:
        A, b, x, T = problem(ROWS + 5, 4)
        with eq.portable():
            (g, square), (G, h), squares = every(A, b, x, T)
        r, W = b - A @ x, A @ T
        agree(g, A.T @ r, 1e-12)
        agree(square, np.sum(r**2, axis=0), 1e-12)
        agree(G, W.T @ W, 1e-12)
        agree(h, W.T @ b, 1e-12)
        agree(squares, np.sum(W**2, axis=-1))


class TestWithoutExtras:
    """numba and scipy are not needed: what runs without them is held to the same answers."""

    @pytest.mark.parametrize("blas", [True, False])
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_matrix_products_alone(self, monkeypatch: pytest.MonkeyPatch, dtype: str, blas: bool) -> None:
        import equipoise_numpy.panels as host

        A, b, x, T = problem(2055, 19, 2, dtype=dtype)
        want = every(A, b, x, T, upper=True)
        monkeypatch.setattr(host, "kernel_for_few", lambda: None)
        monkeypatch.setattr(host, "gram_by_tiles", lambda: None)
        if not blas:
            monkeypatch.setattr(host, "blas_of", lambda kind: None)
        tight = 1e-13 if dtype == "float64" else 1e-5
        for matrix in (A, np.asfortranarray(A), layouts(A)["strided"]):
            (g, square), (G, h), squares = every(matrix, b, x, T, upper=True)
            for got, known in zip((g, square, G, h, squares), (*want[0], *want[1], want[2]), strict=True):
                agree(got, known, tight)
            agree(residual_gradient(matrix, x)[0], residual_gradient(A, x)[0], tight)
