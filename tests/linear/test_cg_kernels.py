"""The numba kernels of conjugate gradients against their portable bodies."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.linear import SSOR, Jacobi, cg
from equipoise.linear.cg import Flat
from equipoise.linear.eisenstat import SSORState, SSORTask, ssor_cg
from equipoise.linear.eisenstat import begin as ssor_begin
from equipoise.linear.gradients import GradientTask, conjugate_gradients
from equipoise.linear.gradients import begin as gradient_begin
from equipoise.linear.ordering import rows_of, triangles
from equipoise.linear.skew import diagonals
from equipoise.operators import CSR, Dense, Stencil
from equipoise.record import leaves, map_arrays
from equipoise.result import Status

from .problems import dense, rows, sparse

pytest.importorskip("numba")

BOUND = {"float64": 1e-12, "float32": 3e-4}


def stencil(grid: tuple[int, ...], dtype: str = "float64", *, varying: bool, batch: tuple[int, ...] = ()) -> Stencil:
    """Positive definite, with weights of its own along each axis, or in each cell."""
    rng = np.random.default_rng(len(grid))
    if not varying:
        numbers = (np.asarray(w, dtype) for w in (1.0, 1.3, 0.8)[: len(grid)])
        return Stencil(np.asarray(6.5, dtype), tuple(numbers), grid)
    shapes = [tuple(m - (k == axis) for k, m in enumerate(grid)) for axis in range(len(grid))]
    faces = tuple(rng.random((*batch, *shape)).astype(dtype) for shape in shapes)
    return Stencil((6.0 + rng.random((*batch, *grid))).astype(dtype), faces, grid)


def vectors(
    n: int, dtype: str = "float64", batch: tuple[int, ...] = (), seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A vector, another one, and norms that are not 1."""
    rng = np.random.default_rng(seed)
    x, b = (rng.standard_normal((*batch, n)).astype(dtype) for _ in range(2))
    return x, b, (2.0 + rng.random(batch)).astype(dtype) if batch else np.asarray(3.0, dtype)


def ssor_task(A: Any, b: Any, size: Any, omega: Any, order: str = "natural", *, by_levels: bool) -> SSORTask:
    """The matrix with the tables of the portable body; the kernel runs through a stencil's levels, if there are any."""
    stencil, _ = diagonals(A, b) if by_levels else (None, None)
    return SSORTask(triangles(rows_of(A), order, padded=True), stencil, omega, size)


def ssor_tasks(dtype: str) -> Iterator[tuple[Any, SSORTask]]:
    for grid, varying, batch, levels in (
        ((5, 7), False, (), True),
        ((4, 3, 5), True, (2, 3), True),
        ((6, 4), True, (2,), False),
    ):
        A = stencil(grid, dtype, varying=varying, batch=batch)
        _, b, size = vectors(A.shape[0], dtype, batch)
        omega = np.linspace(1.0, 1.6, b.shape[0]).astype(dtype) if len(batch) == 1 else 1.4
        yield b, ssor_task(A, b, size, omega, by_levels=levels)


def sample_ssor_begin(rng: np.random.Generator, dtype: str) -> Any:
    for b, task in ssor_tasks(dtype):
        yield (rng.standard_normal(b.shape).astype(dtype), b, task), {}


def sample_ssor_cg(rng: np.random.Generator, dtype: str) -> Any:
    for b, task in ssor_tasks(dtype):
        with eq.portable():
            state = ssor_begin(rng.standard_normal(b.shape).astype(dtype), b, task)
        for limit in (0, 1, 4):
            yield (state, task, limit, 0.0), {}


def sample_cg(rng: np.random.Generator, dtype: str) -> Any:
    cases: list[tuple[Any, tuple[int, ...]]] = [(stencil((5, 7), dtype, varying=False), ())]
    cases += [(stencil((4, 3, 5), dtype, varying=True, batch=(2, 3)), (2, 3))]
    cases += [(stencil((6, 4), dtype, varying=True).to_csr(), (2,))]
    for A, batch in cases:
        _, b, size = vectors(A.shape[0], dtype, batch)
        scale = None if len(batch) == 2 else 1.0 / A.diagonal().reshape(-1)
        task = GradientTask(Flat(A, A.grid) if isinstance(A, Stencil) else A, None, scale, size)
        with eq.portable():
            state = gradient_begin(rng.standard_normal(b.shape).astype(dtype), b, task)
        for limit in (0, 1, 4):
            yield (state, task, limit, 0.0), {}


def assert_alike(got: Any, want: Any, bound: float) -> None:
    for a, b in zip(leaves(got), leaves(want), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=0, atol=bound * max(1e-3, np.abs(b).max()))


def body(kernel: Any, *args: Any) -> Any:
    with eq.portable():
        return getattr(kernel, "body", kernel)(*args)


def compare(kernel: Any, state: Any, task: Any, dtype: str = "float64") -> None:
    for limit in (0, 1, 3):
        got, done, error = kernel(state, task, limit, 0.0)
        want, _, expected = body(kernel, state, task, limit, 0.0)
        assert np.all(done == limit)
        assert_alike((got, error), (want, expected), BOUND[dtype])


def one_by_one(kernel: Any, state: Any, task: Any, tol: float, most: int) -> tuple[Any, int]:
    """The portable body, a look after every step."""
    for done in range(1, most + 1):
        state = body(kernel, state, task, 1, tol)[0]
        if not state.error > tol or state.curvature <= 0:
            return state, done
    return state, most


GRIDS = [(5, 7), (1, 6), (6, 1), (12, 8), (3, 4, 5), (1, 3, 4), (4, 1, 3), (4, 3, 1)]


class TestSweeps:
    @pytest.mark.parametrize("grid", GRIDS)
    @pytest.mark.parametrize("varying", [False, True])
    def test_levels_of_a_stencil(self, grid: tuple[int, ...], varying: bool) -> None:
        A = stencil(grid, varying=varying)
        x, b, size = vectors(A.shape[0])
        task = ssor_task(A, b, size, 1.4, by_levels=True)
        state = body(ssor_begin, x, b, task)
        assert_alike(ssor_begin(x, b, task), state, 1e-12)
        compare(ssor_cg, state, task)

    @pytest.mark.parametrize("order", ["natural", "red_black", "multicolor"])
    @pytest.mark.parametrize("grid", [(5, 7), (9,), (3, 4, 2)])
    def test_rows_in_all_orders(self, grid: tuple[int, ...], order: str) -> None:
        A = stencil(grid, varying=True)
        x, b, size = vectors(A.shape[0])
        task = ssor_task(A, b, size, 1.3, order, by_levels=False)
        state = body(ssor_begin, x, b, task)
        assert_alike(ssor_begin(x, b, task), state, 1e-12)
        compare(ssor_cg, state, task)

    @pytest.mark.parametrize("order", ["natural", "multicolor"])
    def test_rows_of_any_length(self, order: str) -> None:
        n = 700  # more than a block of rows
        A = rows(sparse(n, 3))
        x, b, size = vectors(n)
        task = ssor_task(A, b, size, 1.2, order, by_levels=False)
        compare(ssor_cg, body(ssor_begin, x, b, task), task)

    def test_a_chain(self) -> None:
        n = 40
        A = CSR.from_scipy(scipy.sparse.diags_array([-np.ones(n - 1), 2.5 + 0.1 * np.arange(n), -np.ones(n - 1)],
                                                    offsets=[-1, 0, 1], format="csr"))  # fmt: skip
        x, b, size = vectors(n)
        task = ssor_task(A, b, size, 1.5, by_levels=False)
        compare(ssor_cg, body(ssor_begin, x, b, task), task)

    @pytest.mark.parametrize("levels", [False, True])
    def test_a_batch_of_factors(self, levels: bool) -> None:
        A = stencil((5, 6), varying=True)
        x, b, size = vectors(30, batch=(3,))
        task = ssor_task(A, b, size, np.array([0.7, 1.2, 1.8]), by_levels=levels)
        compare(ssor_cg, body(ssor_begin, x, b, task), task)

    @pytest.mark.parametrize("levels", [False, True])
    def test_inputs_that_are_broadcast_and_may_not_be_written(self, levels: bool) -> None:
        A = stencil((5, 6), varying=False)
        x, b, _ = vectors(30)
        x, b = (np.broadcast_to(v, (2, 30)) for v in (x, b))
        task = ssor_task(A, b, np.broadcast_to(3.0, (2,)), 1.4, by_levels=levels)
        state = body(ssor_begin, x, b, task)
        assert_alike(ssor_begin(x, b, task), state, 1e-12)
        for array in leaves(state):
            if array.ndim:
                array.flags.writeable = False
        compare(ssor_cg, state, task)

    def test_iterates_are_those_of_the_textbook(self) -> None:
        A, omega = stencil((5, 6), varying=True), 1.3
        full, (_, b, _) = dense(A), vectors(30)
        D, L = np.diag(np.diag(full)), np.tril(full, -1)
        M = omega / (2 - omega) * (D / omega + L) @ np.linalg.inv(D) @ (D / omega + L).T
        x, r = np.zeros(30), b
        z = p = np.linalg.solve(M, r)
        for steps in range(1, 7):
            alpha = (r @ z) / (p @ full @ p)
            x, new = x + alpha * p, r - alpha * full @ p
            following = np.linalg.solve(M, new)
            p, r, z = following + (new @ following) / (r @ z) * p, new, following
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", eq.ConvergenceWarning)
                for matrix, right in ((A, b.reshape(5, 6)), (A.to_csr(), b)):
                    got = cg(matrix, right, preconditioner=SSOR(omega), tol=0.0, max_steps=steps).x
                    np.testing.assert_allclose(got.ravel(), x, rtol=0, atol=1e-13)


class TestGradients:
    @pytest.mark.parametrize("grid", [(9,), *GRIDS])
    @pytest.mark.parametrize("varying", [False, True])
    def test_stencils(self, grid: tuple[int, ...], varying: bool) -> None:
        A = stencil(grid, varying=varying)
        x, b, size = vectors(A.shape[0])
        for scale in (None, np.linspace(0.5, 1.5, A.shape[0])):
            task = GradientTask(Flat(A, grid) if len(grid) > 1 else A, None, scale, size)
            compare(conjugate_gradients, body(gradient_begin, x, b, task), task)

    def test_rows(self) -> None:
        A = rows(sparse(300))
        x, b, size = vectors(300, batch=(2,))
        for scale in (None, np.linspace(0.5, 1.5, 300)):
            task = GradientTask(A, None, scale, size)
            compare(conjugate_gradients, body(gradient_begin, x, b, task), task)

    def test_numbers_that_are_broadcast(self) -> None:
        A = Stencil(np.full((1, 4), 6.0), (np.ones((1, 1)), 0.5), (3, 4))
        x, b, size = vectors(12)
        task = GradientTask(Flat(A.beside(b), (3, 4)), None, None, size)
        compare(conjugate_gradients, body(gradient_begin, x, b, task), task)

    def test_what_is_left_to_others(self) -> None:
        from equipoise_numpy.gradients import conjugate_gradients as override

        A = Dense(np.eye(3))
        task = GradientTask(A, None, None, np.asarray(1.0))
        state = gradient_begin(np.zeros(3), np.ones(3), task)
        assert override(state, task, 3, 0.0) is NotImplemented
        assert override(state, replace(task, A=A.to_csr(), M=A), 3, 0.0) is NotImplemented


def indefinite(n: int) -> scipy.sparse.csr_array:
    """A positive diagonal, and eigenvalues of both signs."""
    offsets = [-1, 0, 1]
    return scipy.sparse.diags_array(
        [np.full(n - 1, 0.52), np.ones(n), np.full(n - 1, 0.52)], offsets=offsets, format="csr"
    )


class TestEnds:
    def tasks(self, A: Any, b: Any, size: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Kernel, state and task in every way that there is."""
        grid = A.grid
        for levels in (False, True):
            task = ssor_task(A, b, size, 1.2, by_levels=levels)
            yield ssor_cg, body(ssor_begin, np.zeros_like(b), b, task), task
        for operator in (Flat(A, grid), A.to_csr()):
            gradients = GradientTask(operator, None, None, size)
            yield conjugate_gradients, body(gradient_begin, np.zeros_like(b), b, gradients), gradients

    @given(st.integers(0, 10**6), st.sampled_from([1e-2, 1e-5, 1e-8, 1e-11]))
    def test_as_many_steps_as_looking_after_each(self, seed: int, tol: float) -> None:
        A = Stencil.laplacian((9, 8), shift=0.1).beside(np.zeros(()))
        _, b, _ = vectors(72, seed=seed)
        for kernel, state, task in self.tasks(A, b, np.linalg.norm(b)):
            got, done, error = kernel(state, task, 64, tol)
            want, steps = one_by_one(kernel, state, task, tol, 64)
            assert done == steps
            np.testing.assert_allclose(error, want.error, rtol=1e-4)
            assert got.best_error == state.best_error

    def test_members_of_a_batch_stop_on_their_own(self) -> None:
        A = Stencil.laplacian((9, 8), shift=0.1).beside(np.zeros(()))
        _, b, _ = vectors(72, batch=(3,))
        b[1] = A.matvec(np.ones((9, 8))).ravel()
        b[2] = 0.0
        size = np.array([np.linalg.norm(b[0]), np.linalg.norm(b[1]), 1.0])
        for kernel, state, task in self.tasks(A, b, size):
            _, done, error = kernel(state, task, 64, 1e-9)
            assert done.shape == error.shape == (3,)
            assert done[2] == 0
            for k in range(2):
                member = map_arrays(lambda v, k=k: np.asarray(v[k]), state)
                alone = replace(task, size=np.asarray(size[k]))
                assert done[k] == one_by_one(kernel, member, alone, 1e-9, 64)[1]
            assert np.all(error <= 1e-9)

    def test_all_steps_without_a_tolerance(self) -> None:
        A = Stencil.laplacian((9, 8), shift=0.1).beside(np.zeros(()))
        _, b, _ = vectors(72)
        for kernel, state, task in self.tasks(A, b, np.linalg.norm(b)):
            assert kernel(state, task, 11, 0.0)[1] == 11
            assert kernel(state, task, 64, 0.0)[1] == 64

    def test_a_look_is_no_step(self) -> None:
        A = stencil((5, 6), varying=True)
        _, b, size = vectors(30)
        for kernel, state, task in self.tasks(A, b, size):
            got, done, error = kernel(state, task, 0, 1e-3)
            assert done == 0
            np.testing.assert_allclose(error, kernel.body(state, task, 0, 1e-3)[2], rtol=1e-12)
            assert_alike(got.x, state.x, 0.0)

    def test_curvature_that_is_not_positive(self) -> None:
        n = 30
        A = rows(indefinite(n))
        _, b, size = vectors(n)
        task = ssor_task(A, b, size, 1.0, by_levels=False)
        gradients = GradientTask(A, None, None, size)
        states = body(ssor_begin, 0 * b, b, task), body(gradient_begin, 0 * b, b, gradients)
        for kernel, state, what in ((ssor_cg, states[0], task), (conjugate_gradients, states[1], gradients)):
            got, done, error = kernel(state, what, 64, 1e-10)
            want, steps = one_by_one(kernel, state, what, 1e-10, 64)
            assert 1 < done == steps < 64
            assert got.curvature < 0
            assert_alike((got.x, got.residual, error), (want.x, want.residual, want.error), 1e-6)
            again, more, _ = kernel(got, what, 5, 1e-10)  # a bad curvature stays, and nothing moves
            assert more == 1
            np.testing.assert_allclose(again.curvature, got.curvature, rtol=1e-12)
            assert_alike(again.x, got.x, 1e-14)

    def test_a_residual_that_is_not_finite(self) -> None:
        A = stencil((5, 6), varying=True)
        _, b, size = vectors(30)
        for kernel, state, task in self.tasks(A, b, size):
            broken = replace(state, residual=state.residual + np.inf)
            _, done, error = kernel(broken, task, 64, 1e-10)
            assert done == 1
            assert not np.isfinite(error)


class TestPublic:
    @given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 10**6), st.sampled_from([None, 1.0, 1.5, 1.9]))
    def test_solutions_of_grids(self, m: int, n: int, seed: int, omega: float | None) -> None:
        A = stencil((m, n), varying=bool(seed % 2))
        b = vectors(m * n, seed=seed)[1].reshape(m, n)
        for preconditioner in (SSOR() if omega is None else SSOR(omega), Jacobi(), None):
            result = cg(A, b, preconditioner=preconditioner, tol=1e-11)
            assert result.converged
            np.testing.assert_allclose(result.x.ravel(), np.linalg.solve(dense(A), b.ravel()), atol=1e-9)

    @given(st.integers(1, 40), st.integers(0, 10**6), st.sampled_from(["natural", "multicolor"]))
    def test_solutions_of_sparse_matrices(self, n: int, seed: int, order: str) -> None:
        A, b = sparse(n, seed), vectors(n, seed=seed)[1]
        for preconditioner in (SSOR(1.0, order=order), Jacobi(), None):
            result = cg(A, b, preconditioner=preconditioner, tol=1e-11)
            assert result.converged
            np.testing.assert_allclose(result.x, np.linalg.solve(A.toarray(), b), atol=1e-8)

    def test_as_many_steps_as_the_portable_body(self) -> None:
        A = Stencil.laplacian((40, 30), spacing=1 / 31, scale=9.5e-3 / 2, shift=1.0)
        b = vectors(1200)[1].reshape(40, 30)
        for preconditioner in (SSOR(), Jacobi(), None):
            with eq.portable():
                want = cg(A, b, preconditioner=preconditioner)
            for matrix, right in ((A, b), (A.to_csr(), b.ravel())):
                assert cg(matrix, right, preconditioner=preconditioner).steps == want.steps

    @pytest.mark.parametrize("size", [1e-140, 1e140])
    def test_small_and_large_numbers(self, size: float) -> None:
        A = Stencil.laplacian((9, 8), shift=0.1)
        b = vectors(72)[1].reshape(9, 8)
        for preconditioner in (SSOR(), None):
            want = cg(A, b, preconditioner=preconditioner)
            got = cg(A, size * b, preconditioner=preconditioner)
            assert got.converged
            assert got.steps == want.steps
            np.testing.assert_allclose(got.x / size, want.x, rtol=1e-12)

    def test_an_indefinite_matrix_is_told(self) -> None:
        b = vectors(30)[1]
        for preconditioner in (SSOR(1.0), None):
            with pytest.warns(eq.ConvergenceWarning, match="not positive definite"):
                result = cg(indefinite(30), b, preconditioner=preconditioner)
            assert result.status == Status.NOT_POSITIVE_DEFINITE
            assert np.all(np.isfinite(result.x))


def test_a_state_is_what_it_was() -> None:
    for sample in (sample_ssor_cg, sample_cg):
        for (state, task, limit, tol), _ in sample(np.random.default_rng(0), "float64"):
            before = map_arrays(np.array, (state, task))
            (ssor_cg if isinstance(state, SSORState) else conjugate_gradients)(state, task, limit, tol)
            for old, new in zip(leaves(before), leaves((state, task)), strict=True):
                assert np.array_equal(old, new)
