from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.experimental.sparse
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.linear import sor
from equipoise.operators import CSR, Dense, Stencil
from equipoise.result import Status

from ..backends import CASES, Case, everywhere
from .problems import dense, field, red_first, rows, sparse, swept

HERE = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
rng = np.random.default_rng(0)


def iterates(A: Any, b: Any, steps: int, **settings: Any) -> Any:
    """x after so many sweeps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        return sor(A, b, tol=0.0, max_steps=steps, **settings).x


class TestKnownAnswers:
    @everywhere
    def test_the_system_of_pyamg_issue_410(self, on: Case) -> None:
        """Every unknown is relaxed as it is computed, not the whole vector in the end."""
        A = np.array([[4.0, -1, -6, 0], [-5, -4, 10, 8], [0, 9, 4, -2], [1, 0, -7, 5]])
        b = np.array([2.0, 21, -12, -6])
        x = on.numpy(on.call(lambda A, b: iterates(A, b, 1, omega=0.5), A, b))
        np.testing.assert_allclose(x, [0.25, -2.78125, 1.62890625, 0.51523438], atol=5e-9)
        x = on.numpy(on.call(lambda A, b: sor(A, b, omega=0.5, tol=1e-12).x, A, b))
        np.testing.assert_allclose(x, [3, -2, 2, 1], atol=1e-9)

    @pytest.mark.parametrize(
        ("n", "omega", "order", "sweeps"),
        [
            (32, 1.0, "natural", 1559),
            (32, 1.5, "natural", 508),
            (32, 1.8, "natural", 138),
            (32, "young", "natural", 111),
            (64, "young", "natural", 221),
            (64, "young", "red_black", 220),
        ],
    )
    def test_sweeps_that_poissons_equation_takes(self, n: int, omega: Any, order: str, sweeps: int) -> None:
        b = np.random.default_rng(0).standard_normal((n, n))
        result = sor(Stencil.laplacian((n, n)), b, omega=omega, order=order)
        assert result.converged
        assert abs(result.steps - sweeps) <= 0.04 * sweeps

    def test_chebyshevs_factors_have_no_transient(self) -> None:
        """With a fixed factor the distance from the solution grows at first, with Chebyshev's it never does."""
        A, x = Stencil.laplacian((40, 40)), np.random.default_rng(1).standard_normal((40, 40))
        far = {
            omega: [np.linalg.norm(iterates(A, A @ x, k, omega=omega, order="red_black") - x) for k in range(1, 12)]
            for omega in ("young", "chebyshev")
        }
        assert max(far["young"]) > 1.2 * np.linalg.norm(x)
        assert max(far["chebyshev"]) < 0.7 * np.linalg.norm(x)
        steps = [int(sor(A, A @ x, omega=omega, order="red_black").steps) for omega in far]
        assert steps[1] <= steps[0]


SETTINGS = [
    {"omega": 1.3, "order": "natural", "sweep": "forward"},
    {"omega": 1.3, "order": "red_black", "sweep": "symmetric"},
    {"omega": 0.8, "order": "natural", "sweep": "backward"},
]


class TestBackendsAgree:
    @pytest.mark.parametrize("settings", SETTINGS)
    @pytest.mark.parametrize("kind", ["stencil", "rows"])
    def test_iterates_are_those_of_row_after_row(self, on: Case, kind: str, settings: dict[str, Any]) -> None:
        A, b = field((5, 4)), rng.standard_normal((5, 4))
        full, order = dense(A), np.arange(20) if settings["order"] == "natural" else red_first((5, 4))
        expected = np.zeros(20)
        for _ in range(2):
            if settings["sweep"] != "backward":
                expected = swept(full, b.ravel(), expected, settings["omega"], order)
            if settings["sweep"] != "forward":
                expected = swept(full, b.ravel(), expected, settings["omega"], order[::-1])
        if kind == "stencil":
            x = on.call(
                lambda c, v, h, b: iterates(Stencil(c, (v, h), (5, 4)), b, 2, **settings), A.center, *A.faces, b
            )
        else:
            S = A.to_csr()
            pattern = [on.array(np.array(k)) for k in (S.indices, S.indptr)]
            x = on.call(lambda d, b: iterates(CSR(d, *pattern, (20, 20)), b, 2, **settings), S.data, b.ravel())
        np.testing.assert_allclose(on.numpy(x).ravel(), expected, atol=1e-13)

    def test_a_batch_is_as_many_problems(self, on: Case) -> None:
        """Each member has its own right-hand side, its own factor, its own count."""
        A, b = Stencil.laplacian((4, 3), shift=0.5), rng.standard_normal((3, 4, 3))
        omega = np.array([1.0, 1.2, 1.6])
        result = on.numpy(on.call(lambda b, w: sor(A, b, omega=w, order="red_black"), b, omega))
        one = [sor(A, b[k], omega=float(omega[k]), order="red_black") for k in range(3)]
        assert result.x.shape == b.shape
        assert result.steps.tolist() == [int(r.steps) for r in one]
        assert len({int(r.steps) for r in one}) > 1
        for k in range(3):
            np.testing.assert_allclose(result.x[k], one[k].x, atol=1e-13)

    def test_unequal_coefficients_in_a_batch(self, on: Case) -> None:
        center, b = 4.0 + rng.random((2, 3, 4)), rng.standard_normal((3, 4))
        settings = {"omega": 1.1, "order": "natural"}
        result = on.numpy(on.call(lambda c, b: sor(Stencil(c, (1.0, 0.5), (3, 4)), b, **settings), center, b))
        for k in range(2):
            alone = Stencil(center[k], (1.0, 0.5), (3, 4))
            np.testing.assert_allclose(dense(alone) @ result.x[k].ravel(), b.ravel(), atol=1e-6)
            assert result.steps[k] == sor(alone, b, **settings).steps

    def test_float32(self, on: Case) -> None:
        A, b = Stencil.laplacian((6, 6)), rng.standard_normal((6, 6)).astype("float32")
        result = on.numpy(on.call(lambda b: sor(A, b, omega=1.4), b))
        assert result.x.dtype == np.float32
        assert np.all(result.converged)
        assert result.error <= 1e-5


def sizes() -> Any:
    return (
        st.tuples(st.integers(1, 6), st.integers(1, 7))
        | st.tuples(*[st.integers(1, 4)] * 3)
        | st.tuples(st.integers(1, 9))
    )


class TestProperties:
    @given(grid=sizes(), omega=st.floats(0.1, 1.9), seed=st.integers(0, 99), portable=st.booleans())
    def test_any_grid(self, grid: tuple[int, ...], omega: float, seed: int, portable: bool) -> None:
        """Both orders of a stencil are those of its rows, on grids of odd, even and no width."""
        A, b = field(grid, seed), np.random.default_rng(seed).standard_normal(grid)
        full, start = dense(A), np.random.default_rng(seed + 1).standard_normal(grid)
        with eq.portable() if portable else warnings.catch_warnings():
            for order, places in (("natural", np.arange(b.size)), ("red_black", red_first(grid))):
                x = iterates(A, b, 1, omega=omega, order=order, x0=start)
                expected = swept(full, b.ravel(), start.ravel(), omega, places)
                np.testing.assert_allclose(x.ravel(), expected, atol=1e-11)

    @given(n=st.integers(1, 12), seed=st.integers(0, 99), symmetric=st.booleans())
    def test_backward_is_forward_through_the_reversed_matrix(self, n: int, seed: int, symmetric: bool) -> None:
        A, b = sparse(n, seed, symmetric=symmetric), np.random.default_rng(seed).standard_normal(n)
        backward = iterates(A, b, 2, omega=1.2, sweep="backward")
        reversed_ = scipy.sparse.csr_array(A[::-1][:, ::-1])
        np.testing.assert_allclose(iterates(reversed_, b[::-1].copy(), 2, omega=1.2)[::-1], backward, atol=1e-12)

    @given(n=st.integers(1, 12), seed=st.integers(0, 99))
    def test_colours_are_the_natural_order_of_a_permuted_matrix(self, n: int, seed: int) -> None:
        A, b = sparse(n, seed), np.random.default_rng(seed).standard_normal(n)
        color = greedy(A)
        order = np.argsort(color, kind="stable")
        permuted = scipy.sparse.csr_array(A[order][:, order])
        x = iterates(A, b, 2, omega=1.2, order="multicolor")
        np.testing.assert_allclose(x[order], iterates(permuted, b[order], 2, omega=1.2), atol=1e-12)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_a_factor_of_one_is_gauss_seidel(self, case: Case) -> None:
        A, b = sparse(9, 3, symmetric=False), rng.standard_normal(9)
        full = A.toarray()
        x = np.linalg.solve(np.tril(full), b)
        expected = x + np.linalg.solve(np.tril(full), b - full @ x)
        np.testing.assert_allclose(case.call(lambda b: iterates(A, b, 2), b), expected, atol=1e-13)


def greedy(A: scipy.sparse.csr_array) -> np.ndarray:
    """The rows of most neighbours first, each the first colour that no neighbour has."""
    full = A.toarray() != 0
    full = (full | full.T) & ~np.eye(A.shape[0], dtype=bool)
    color = np.full(A.shape[0], -1)
    for i in np.argsort(-full.sum(axis=1), kind="stable"):
        color[i] = next(c for c in range(A.shape[0]) if c not in color[full[i]])
    return color


class TestChebyshev:
    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    @pytest.mark.parametrize("kind", ["stencil", "rows"])
    def test_half_sweeps_have_factors_of_their_own(self, case: Case, kind: str) -> None:
        A, b = Stencil.laplacian((4, 5)), rng.standard_normal((4, 5))
        full, order = dense(A), red_first((4, 5))
        beta = np.cos(np.pi / 5) / 2 + np.cos(np.pi / 6) / 2
        factor, x, red = 1.0, np.zeros(20), np.indices((4, 5)).sum(axis=0).ravel() % 2 == 0
        for _ in range(3):
            second = 1 / (1 - beta**2 * (2.0 if factor == 1 else factor) / 4)
            x = swept(full, b.ravel(), x, np.where(red, factor, second), order)
            factor = 1 / (1 - beta**2 * second / 4)
        given_ = A if kind == "stencil" else A.to_csr()
        right = b if kind == "stencil" else b.ravel()
        found = case.call(lambda b: iterates(given_, b, 3, omega="chebyshev", order="red_black"), right)
        np.testing.assert_allclose(found.ravel(), x, atol=1e-4 if kind == "rows" else 1e-12)  # rows estimate beta


# ---------------------------------------------------------------------------------------------------------------------
# What users bring


def test_matrices_of_other_libraries() -> None:
    A, b = sparse(12), rng.standard_normal(12)
    expected = sor(A, b, omega=1.1).x
    assert isinstance(expected, np.ndarray)
    for given_ in (A.tocoo(), A.tocsc(), scipy.sparse.csr_matrix(A), A.toarray(), rows(A), Dense(A.toarray())):
        np.testing.assert_allclose(sor(given_, b, omega=1.1).x, expected, atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its sparse tensors beta
        on_torch = torch.tensor(A.toarray()).to_sparse_csr()
    x = sor(on_torch, torch.tensor(b), omega=1.1).x
    assert isinstance(x, torch.Tensor)
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-12)
    for kind in (jax.experimental.sparse.BCOO, jax.experimental.sparse.BCSR):
        x = sor(kind.fromdense(jnp.asarray(A.toarray())), jnp.asarray(b), omega=1.1).x
        assert isinstance(x, jax.Array)
        np.testing.assert_allclose(np.asarray(x), expected, atol=1e-12)


def test_entries_twice_and_in_any_order() -> None:
    data, row, column = [1.0, 4.0, -1.0, 3.0, -1.0, 1.0], [0, 1, 0, 0, 1, 1], [0, 1, 1, 0, 0, 1]
    A = CSR(np.array(data)[[2, 0, 3, 5, 4, 1]], np.array(column)[[2, 0, 3, 5, 4, 1]], np.array([0, 3, 6]), (2, 2))
    assert sorted(row) == [0] * 3 + [1] * 3
    b = np.array([3.0, 4.0])
    np.testing.assert_allclose(sor(A, b).x, np.linalg.solve([[4.0, -1], [-1, 5]], b), atol=1e-7)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_the_context(name: str) -> None:
    A, b = sparse(10), rng.standard_normal(10)
    with eq.backend(name, dtype="float32"):
        result = sor(A, b, omega=1.1)
    assert isinstance(result.x, np.ndarray)
    assert result.x.dtype == np.float32
    np.testing.assert_allclose(result.x, sor(A, b, omega=1.1).x, atol=1e-4)


def test_inputs_are_left_as_they_are() -> None:
    A, b, x0 = sparse(10), rng.standard_normal(10), rng.standard_normal(10)
    copies = [x.copy() for x in (A.data, A.indices, A.indptr, b, x0)]
    for x in (A.data, A.indices, A.indptr, b, x0):
        x.flags.writeable = False
    sor(A, b, x0=x0, omega=1.1, order="multicolor")
    sor(Stencil.laplacian((2, 5)), b.reshape(2, 5), x0=x0.reshape(2, 5), order="red_black")
    for x, copy in zip((A.data, A.indices, A.indptr, b, x0), copies, strict=True):
        assert np.array_equal(x, copy)


def test_a_solver_that_is_stored(tmp_path: Any) -> None:
    result = sor(sparse(6), np.ones(6))
    eq.save(tmp_path / "result.npz", result)
    again = eq.load(tmp_path / "result.npz")
    assert again.converged
    assert np.array_equal(again.x, result.x)
    assert repr(again) == repr(result)


# ---------------------------------------------------------------------------------------------------------------------
# How it ends


class TestEnds:
    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_nothing_to_do(self, case: Case) -> None:
        A, b = Stencil.laplacian((4, 4)), rng.standard_normal((4, 4))
        zero = case.call(lambda b: sor(A, b, x0=np.ones((4, 4))), 0.0 * b)
        assert (zero.steps, zero.error, zero.converged) == (0, 0.0, True)
        assert np.all(zero.x == 0)
        solved = case.call(lambda b: sor(A, b, x0=np.linalg.solve(dense(A), b.ravel()).reshape(4, 4)), b)
        assert (solved.steps, solved.converged) == (0, True)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_divergence_is_a_status_and_the_best_iterate_comes_back(self, case: Case) -> None:
        A, b = np.array([[1.0, 3.0], [3.0, 1.0]]), np.ones(2)
        with pytest.warns(eq.ConvergenceWarning, match=r"sor did not reach tol=1e-08.*grew without bound"):
            result = case.call(lambda b: sor(A, b), b)
        assert result.status is Status.DIVERGED
        assert not result.converged
        assert np.all(np.isfinite(result.x))
        assert result.error <= 1.0

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_overflow_is_a_status(self, case: Case) -> None:
        A, b = np.array([[1.0, 1e200], [1e200, 1.0]]), np.ones(2)
        with np.errstate(all="ignore"), pytest.warns(eq.ConvergenceWarning):
            result = case.call(lambda b: sor(A, b), b)
        assert result.status in (Status.NOT_FINITE, Status.DIVERGED)
        assert np.all(np.isfinite(result.x))

    @pytest.mark.parametrize("order", ["natural", "red_black"])
    def test_rounding_is_never_called_success(self, order: str) -> None:
        b = np.random.default_rng(0).standard_normal((64, 64)).astype("float32")
        A = Stencil.laplacian((64, 64))
        with pytest.warns(eq.ConvergenceWarning, match="rounding"):
            result = sor(A, b, omega="young", order=order, tol=1e-9)
        assert result.status is Status.STALLED
        exact = A.matvec(result.x.astype("float64")) - b
        assert abs(np.linalg.norm(exact) / np.linalg.norm(b) - result.error) < 0.3 * result.error
        assert result.error < 1e-5

    def test_steps_run_out(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="after 7 steps"):
            result = sor(Stencil.laplacian((9, 9)), np.ones((9, 9)), max_steps=7)
        assert (result.steps, result.status) == (7, Status.MAX_STEPS)

    def test_no_tolerance_runs_all_steps(self) -> None:
        with pytest.warns(eq.ConvergenceWarning):
            result = sor(Stencil.laplacian((7, 6)), rng.standard_normal((7, 6)), tol=0.0, max_steps=500)
        assert result.steps == 500
        assert result.error < 1e-14

    def test_a_callback_stops(self) -> None:
        seen: list[int] = []

        def callback(info: Any) -> bool:
            seen.append(info.step)
            assert info.method == "linear.sor"
            return info.step == 5

        with pytest.warns(eq.ConvergenceWarning, match="callback"):
            result = sor(Stencil.laplacian((9, 9)), np.ones((9, 9)), callback=callback)
        assert (seen, result.steps, result.status) == (list(range(6)), 5, Status.STOPPED)

    def test_history(self) -> None:
        result = sor(Stencil.laplacian((5, 5)), np.ones((5, 5)), check_every=4, omega="young")
        assert result.history.step[:3].tolist() == [0, 4, 8]
        assert result.history.error[0] == 1.0
        assert result.history.error[-1] <= 1e-8


# ---------------------------------------------------------------------------------------------------------------------
# What is refused

S, B = Stencil.laplacian((3, 3)), np.ones((3, 3))
ODD = np.array([[4.0, 1, 1], [1, 4, 1], [1, 1, 4]])


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (ValueError, r"A must be square, got shape \(2, 3\)", lambda: sor(np.ones((2, 3)), np.ones(2))),
        (TypeError, "b must be an array .*, got list", lambda: sor(np.eye(2), [1.0, 2.0])),
        (TypeError, "b must hold floating-point numbers, got dtype int64", lambda: sor(np.eye(2), np.arange(2))),
        (TypeError, "array must hold floating-point numbers, got dtype int64", lambda: sor(np.eye(2, dtype=int), B)),
        (TypeError, "b must have the dtype of A, float64, got float32", lambda: sor(np.eye(2), np.ones(2, "float32"))),
        (TypeError, "two libraries, .*numpy", lambda: sor(np.eye(2), torch.ones(2, dtype=torch.float64))),
        (
            ValueError,
            r"b must have shape \(\.\.\., 2\) to fit A of shape \(2, 2\), got \(3,\)",
            lambda: sor(np.eye(2), np.ones(3)),
        ),
        (ValueError, r"b must have shape \(\.\.\., 3, 3\) .*, got \(9,\)", lambda: sor(S, np.ones(9))),
        (
            ValueError,
            r"x0 must have shape \(\.\.\., 2\) .*, got \(3,\)",
            lambda: sor(np.eye(2), np.ones(2), x0=np.ones(3)),
        ),
        (
            ValueError,
            r"A must be finite, got nan at index \(1, 0\)",
            lambda: sor(np.array([[1, 0], [np.nan, 1]]), np.ones(2)),
        ),
        (ValueError, r"b must be finite, got inf at index \(1,\)", lambda: sor(np.eye(2), np.array([1.0, np.inf]))),
        (
            ValueError,
            r"x0 must be finite, got nan at index \(0,\)",
            lambda: sor(np.eye(2), np.ones(2), x0=np.array([np.nan, 0])),
        ),
        (
            ValueError,
            r"zero on its diagonal, got 0.0 at index \(1,\)",
            lambda: sor(np.array([[1.0, 2], [2, 0]]), np.ones(2)),
        ),
        (ValueError, r"omega must lie in \(0, 2\), got 2.0", lambda: sor(S, B, omega=2.0)),
        (ValueError, r"omega must lie in \(0, 2\), got nan", lambda: sor(S, B, omega=float("nan"))),
        (
            ValueError,
            r"omega must lie in \(0, 2\), got 2.5 at index \(1,\)",
            lambda: sor(S, B, omega=np.array([1, 2.5])),
        ),
        (
            ValueError,
            "omega must be a number in .*, 'young' or 'chebyshev', got 'best'",
            lambda: sor(S, B, omega="best"),
        ),
        (ValueError, "omega='chebyshev' needs order='red_black'", lambda: sor(S, B, omega="chebyshev")),
        (
            ValueError,
            "order must be one of 'natural', 'red_black', 'multicolor', got 'zebra'",
            lambda: sor(S, B, order="zebra"),
        ),
        (ValueError, "sweep must be 'forward', 'backward' or 'symmetric', got 'up'", lambda: sor(S, B, sweep="up")),
        (
            ValueError,
            r"rows 0 and [12] closes a cycle of odd length|rows 1 and 2 closes",
            lambda: sor(ODD, np.ones(3), order="red_black"),
        ),
        (ValueError, "tol must be at least 0, got -1", lambda: sor(S, B, tol=-1)),
        (ValueError, "max_steps must be at least 1, got 0", lambda: sor(S, B, max_steps=0)),
        (TypeError, "A must be an array, a sparse matrix .*, got str", lambda: sor("A", B)),
        (
            TypeError,
            "A must have stored entries for sor, got Kronecker",
            lambda: sor(eq.operators.Kronecker(np.eye(2), np.eye(2)), np.ones(4)),
        ),
        (
            ValueError,
            r"A, b, x0 and omega do not broadcast: \(\), \(2,\), \(3,\)",
            lambda: sor(S, np.ones((2, 3, 3)), omega=np.ones(3)),
        ),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()


def test_a_pattern_that_is_traced_is_refused_with_advice() -> None:
    A = eq.map_arrays(jnp.asarray, rows(sparse(4)))
    with pytest.raises(TypeError, match="the pattern of a sparse matrix must be known"):
        jax.jit(lambda A, b: sor(A, b).x)(A, jnp.ones(4))
