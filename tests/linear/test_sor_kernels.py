from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import equipoise as eq
from equipoise.kernel import Kernel
from equipoise.linear import sor
from equipoise.linear.ordering import ORDERS, rows_of, triangles
from equipoise.linear.red_black import PackedTask, pack, packed, packed_sweeps, unpack
from equipoise.linear.skew import diagonals
from equipoise.linear.sweeps import SweepState, SweepTask, ordered_sweeps
from equipoise.operators import Stencil, as_operator
from equipoise.record import leaves

from .problems import dense, field, red_first, sparse, swept

pytest.importorskip("numba")

SWEEPS = ("forward", "backward", "symmetric")
GRIDS = [(7,), (1,), (2, 2), (5, 6), (6, 5), (1, 7), (7, 1), (1, 1), (4, 5, 6), (3, 5, 7), (1, 4, 4), (4, 1, 3)]
Generator = np.random.Generator


def begin(x: Any, batch: tuple[int, ...], chebyshev: bool = False) -> SweepState:
    """Among batches, some that have seen a better x."""
    x = x if isinstance(x, tuple) else (x,)
    error = np.full(batch, 0.7, dtype=x[0].dtype)
    best = np.asarray(error + (np.arange(error.size).reshape(batch) % 2 - 0.5).astype(error.dtype))
    zero, factor = tuple(0 * v for v in x), np.ones_like(error) if chebyshev else None
    return SweepState(x, error, zero, best, factor) if len(x) == 2 else SweepState(x[0], error, zero[0], best, factor)


def size_of(b: Any, axes: int) -> Any:
    return np.asarray(np.sqrt((b.reshape(*b.shape[: b.ndim - axes], -1) ** 2).sum(-1)))


def stencil(rng: Generator, grid: tuple[int, ...], dtype: str, constant: bool, batch: tuple[int, ...] = ()) -> Any:
    """A constant one, or one whose numbers differ from cell to cell, and, with a batch, from member to member."""
    d = len(grid)
    if constant:
        return Stencil(2.0 * d + 0.1, tuple(1.0 - 0.1 * k for k in range(d)), grid)
    shapes = [tuple(n - (k == axis) for k, n in enumerate(grid)) for axis in range(d)]
    faces = tuple((rng.random((*batch, *shape)) + 0.5).astype(dtype) for shape in shapes)
    return Stencil((rng.random((*batch, *grid)) + 3.0 * d).astype(dtype), faces, grid)


def in_colors(
    rng: Generator, A: Any, dtype: str, batch: tuple[int, ...], sweep: str, omega: Any = 1.4, chebyshev: bool = False
) -> tuple[SweepState, PackedTask]:
    b, x = (rng.standard_normal((*batch, *A.grid)).astype(dtype) for _ in range(2))
    m, size = packed(A, b), size_of(b, len(A.grid))
    beta = np.full_like(size, 0.9) if chebyshev else None
    task = PackedTask(m, pack(b, m.odd), omega, beta, size, sweep)
    return begin(pack(x, m.odd), batch, chebyshev), task


def in_order(
    rng: Generator,
    A: Any,
    dtype: str,
    batch: tuple[int, ...],
    order: str,
    sweep: str,
    omega: Any = 1.4,
    chebyshev: bool = False,
    by_diagonals: bool = False,
) -> tuple[SweepState, SweepTask]:
    """With the tables that the body needs and, where wanted, with what a kernel takes for a stencil."""
    b, x = (rng.standard_normal((*batch, A.shape[0])).astype(dtype) for _ in range(2))
    beside = A.beside(b) if isinstance(A, Stencil) else A
    matrix = triangles(rows_of(beside), order, padded=True)
    skewed = diagonals(A, b)[0] if by_diagonals else None
    size = size_of(b, 1)
    beta = np.full_like(size, 0.9) if chebyshev else None
    return begin(x, batch, chebyshev), SweepTask(matrix, skewed, b, omega, beta, size, sweep)


def rows_like(rng: Generator, n: int, dtype: str, symmetric: bool) -> Any:
    return as_operator(sparse(n, int(rng.integers(2**31)), symmetric=symmetric).astype(dtype))


def band(n: int, dtype: str) -> Any:
    return as_operator(scipy.sparse.diags([-1.0, 2.5, -1.2], [-1, 0, 1], shape=(n, n)).tocsr().astype(dtype))


def far_back(n: int, dtype: str) -> Any:
    """Rows that wait for far ones, which do not wait for them; groups of many rows."""
    M = scipy.sparse.diags([-0.5, -0.7, 2.5, -0.4], [-n // 2, -40, 0, 40], shape=(n, n))
    return as_operator(M.tocsr().astype(dtype))


def sample_red_black(rng: Generator, dtype: str) -> Any:
    for grid, constant, sweep, batch in itertools.product(GRIDS, (True, False), SWEEPS, ((), (2, 3))):
        A = stencil(rng, grid, dtype, constant, batch[1:] if sum(grid) % 2 else ())
        more = ((0, False), (6, True)) if sweep == "forward" else ()
        for limit, chebyshev in ((5, False), *more):
            omega = 1.3 + 0.1 * np.arange(6.0).reshape(batch).astype(dtype) if batch else 1.4
            yield (*in_colors(rng, A, dtype, batch, sweep, omega, chebyshev), limit, 0.0), {}
    for grid in ((2500,), (70, 90), (20, 21, 23)):
        for constant in (True, False):
            yield (*in_colors(rng, stencil(rng, grid, dtype, constant), dtype, (), "forward"), 9, 0.0), {}


def sample_sor(rng: Generator, dtype: str) -> Any:
    for grid, constant, sweep, batch in itertools.product(GRIDS, (True, False), SWEEPS, ((), (2, 3))):
        if len(grid) == 1:
            continue
        A = stencil(rng, grid, dtype, constant, batch[1:] if sum(grid) % 2 else ())
        omega = 1.1 + 0.1 * np.arange(6.0).reshape(batch).astype(dtype) if batch else 1.4
        for limit in (0, 5) if constant and sweep == "forward" else (5,):
            yield (*in_order(rng, A, dtype, batch, "natural", sweep, omega, by_diagonals=True), limit, 0.0), {}
    for grid in ((70, 90), (20, 21, 13)):
        for constant, sweep in itertools.product((True, False), SWEEPS):
            A = stencil(rng, grid, dtype, constant)
            yield (*in_order(rng, A, dtype, (), "natural", sweep, by_diagonals=True), 7, 0.0), {}
    for sweep, batch in itertools.product(SWEEPS, ((), (2, 3))):
        for symmetric, order in itertools.product((True, False), ("natural", "multicolor")):
            yield (*in_order(rng, rows_like(rng, 60, dtype, symmetric), dtype, batch, order, sweep), 5, 0.0), {}
        for order, limit in itertools.product(ORDERS, (0, 5)):
            yield (*in_order(rng, band(31, dtype), dtype, batch, order, sweep), limit, 0.0), {}
        yield (
            (
                *in_order(
                    rng,
                    as_operator((rng.random((40, 40)) + 40 * np.eye(40)).astype(dtype)),
                    dtype,
                    batch,
                    "natural",
                    sweep,
                ),
                5,
                0.0,
            ),
            {},
        )
        yield (*in_order(rng, rows_like(rng, 5000, dtype, True), dtype, batch[:1], "natural", sweep), 6, 0.0), {}
        yield (*in_order(rng, band(9000, dtype), dtype, (), "red_black", sweep), 6, 0.0), {}
        yield (*in_order(rng, far_back(12_000, dtype), dtype, (), "natural", sweep), 6, 0.0), {}
    yield (*in_order(rng, band(31, dtype), dtype, (2,), "red_black", "forward", chebyshev=True), 5, 0.0), {}
    yield (*in_order(rng, stencil(rng, (40, 30), dtype, False).to_csr(), dtype, (), "natural", "backward"), 9, 0.0), {}


def sample_arrange(rng: Generator, dtype: str) -> Any:
    for n in (1, 2, 30, 90):
        full = as_operator(scipy.sparse.csr_array(np.ones((n, n))))
        matrices = rows_like(rng, n, dtype, True), rows_like(rng, n, dtype, False), band(n, dtype), full
        for M in matrices:
            for order in ORDERS:
                yield (M.indptr, M.indices), {"order": order}
        row = np.sort(rng.integers(0, n, 4 * n))  # neither sorted nor free of duplicates
        for order in ORDERS:
            yield (np.searchsorted(row, np.arange(n + 1)), rng.integers(0, n, 4 * n)), {"order": order}


# ---------------------------------------------------------------------------------------------------------------------
# Where a chunk stops


def one_by_one(kernel: Kernel[..., Any], state: Any, task: Any, limit: int, tol: float) -> tuple[int, Any]:
    """Sweeps that the portable body takes if it looks after each, and the last state."""
    best = np.inf
    with eq.portable():
        for done in range(1, limit + 1):
            best = min(best, float(state.error), float(state.best_error))
            state, _, error = kernel.body(state, task, 1, tol)
            if not error > tol or not np.isfinite(error) or error > 1e8 * best:
                return done, state
    return limit, state


PROBLEMS = ["rows", "colors of rows", "diagonals", "red_black", "red_black of fields", "chebyshev"]


def problem(rng: Generator, kind: str, grid: tuple[int, ...], sweep: str, omega: float) -> Any:
    A = stencil(rng, grid, "float64", kind != "red_black of fields")
    if kind.startswith("red_black") or kind == "chebyshev":
        chebyshev = kind == "chebyshev"
        return packed_sweeps, *in_colors(rng, A, "float64", (), "forward" if chebyshev else sweep, omega, chebyshev)
    order = "multicolor" if kind == "colors of rows" else "natural"
    by_diagonals = kind == "diagonals"
    return ordered_sweeps, *in_order(rng, A, "float64", (), order, sweep, omega, by_diagonals=by_diagonals)


def check_end(kernel: Any, state: Any, task: Any, limit: int, tol: float) -> int:
    """The kernel's count is that of the body, and so are x and the error; the count."""
    count, expected = one_by_one(kernel, state, task, limit, tol)
    new, done, error = kernel(state, task, limit, tol)
    assert int(done) == count
    for x, y in zip(leaves(new.x), leaves(expected.x), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-11 * np.abs(y).max())
    np.testing.assert_allclose(error, expected.error, rtol=1e-6, atol=1e-14)
    return count


@given(
    kind=st.sampled_from(PROBLEMS),
    grid=st.tuples(st.integers(1, 9), st.integers(2, 9)),
    sweep=st.sampled_from(SWEEPS),
    omega=st.sampled_from([0.7, 1.0, 1.5, 1.93]),
    tol=st.sampled_from([0.3, 1e-2, 1e-6]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40)
def test_a_chunk_ends_after_the_first_sweep_within_the_tolerance(
    kind: str, grid: tuple[int, ...], sweep: str, omega: float, tol: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    check_end(*problem(rng, kind, grid, sweep, omega), 40, tol)


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("omega", [1.5, 1.9])
def test_so_it_does_where_looks_are_rare(kind: str, omega: float) -> None:
    rng = np.random.default_rng(3)
    parts = problem(rng, kind, (70, 66), "forward", omega)
    counts = [check_end(*parts, 150, tol) for tol in (2.0, 0.3, 0.03)]
    assert counts[0] < counts[1] <= counts[2]


@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_fall_that_nobody_foresees(kind: str) -> None:
    """A sweep that gets much further than all before it is found, although nobody looked."""
    rng = np.random.default_rng(4)
    kernel, state, task = problem(rng, kind, (70, 66), "forward", 1.5)
    first = kernel(state, task, 1, 0.0)
    for tol in (float(first[2]) * 1.0001, float(first[2]) * 0.999):
        check_end(kernel, state, task, 30, tol)


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("grid", [(6, 5), (70, 66)])
def test_a_chunk_ends_where_the_error_is_lost(kind: str, grid: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    kernel, state, task = problem(rng, kind, grid, "forward", 1.5)
    if kind == "chebyshev":
        return
    task = replace(task, omega=2.5)  # no user may: it grows
    assert check_end(kernel, state, task, 60, 1e-9) < 60
    b = tuple(v + np.nan for v in task.b) if isinstance(task.b, tuple) else task.b + np.nan
    assert int(kernel(state, replace(task, b=b), 60, 1e-9)[1]) == 1


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("grid", [(6, 5), (70, 66)])
def test_squares_neither_overflow_nor_vanish(kind: str, grid: tuple[int, ...], scale: float) -> None:
    rng = np.random.default_rng(6)
    kernel, state, task = problem(rng, kind, grid, "forward", 1.5)

    def scaled(x: Any) -> Any:
        return tuple(map(scaled, x)) if isinstance(x, tuple) else scale * x

    done = kernel(state, task, 30, 0.05)[1]
    state = replace(state, x=scaled(state.x), best=scaled(state.best))
    task = replace(task, b=scaled(task.b), size=scaled(task.size))
    _, again, error = kernel(state, task, 30, 0.05)
    assert int(again) == int(done)
    assert 0 < error <= 0.05


def test_every_member_of_a_batch_stops_on_its_own() -> None:
    rng = np.random.default_rng(7)
    A = stencil(rng, (8, 9), "float64", True)
    for kernel, (state, task) in (
        (packed_sweeps, in_colors(rng, A, "float64", (3,), "forward", np.array([1.0, 1.3, 1.6]))),
        (ordered_sweeps, in_order(rng, A, "float64", (3,), "natural", "forward", np.array([1.0, 1.3, 1.6]))),
    ):
        _, done, error = kernel(state, task, 50, 1e-3)
        assert done.shape == error.shape == (3,)
        assert len(set(done.tolist())) > 1
        assert (error <= 1e-3).all()


# ---------------------------------------------------------------------------------------------------------------------
# Through the public door


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("order", ["natural", "red_black"])
@pytest.mark.parametrize("grid", [(9,), (6, 7), (3, 4, 5)])
def test_iterates_are_those_of_the_plainest_form(grid: tuple[int, ...], order: str, sweep: str) -> None:
    A = field(grid)
    b = np.random.default_rng(0).standard_normal(grid)
    matrix, x = dense(A), np.zeros(b.size)
    rows = np.arange(b.size) if order == "natural" else red_first(grid)
    for _ in range(4):
        if sweep != "backward":
            x = swept(matrix, b.ravel(), x, 1.3, rows)
        if sweep != "forward":
            x = swept(matrix, b.ravel(), x, 1.3, rows[::-1])
    for operator, rhs in ((A, b), (A.to_csr(), b.ravel())):
        with pytest.warns(eq.ConvergenceWarning):
            result = sor(operator, rhs, omega=1.3, order=order, sweep=sweep, tol=0.0, max_steps=4)
        np.testing.assert_allclose(result.x.ravel(), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ["natural", "red_black"])
def test_steps_are_those_of_the_portable_bodies(order: str) -> None:
    A = Stencil.laplacian((24, 31))
    b = np.random.default_rng(0).standard_normal(A.grid)
    for operator, rhs in ((A, b), (A.to_csr(), b.ravel())):
        for omega in (1.2, "young", *(["chebyshev"] if order == "red_black" and operator is A else [])):
            result = sor(operator, rhs, omega=omega, order=order, tol=1e-6)
            with eq.portable():
                assert result.steps == sor(operator, rhs, omega=omega, order=order, tol=1e-6).steps
            assert result.error == pytest.approx(np.linalg.norm(rhs - operator @ result.x) / np.linalg.norm(rhs))


def test_packing_is_undone() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7))
    m = packed(Stencil.laplacian((5, 7)), x)
    assert math.prod(m.grid) == 35
    np.testing.assert_array_equal(unpack(pack(x, m.odd), m.odd, 7), x)
