from __future__ import annotations

import contextlib
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.arrays import library
from equipoise.linear import SSOR, Chebyshev, Jacobi, cg
from equipoise.operators import CSR, Dense, Kronecker, Stencil
from equipoise.result import Status

from ..backends import CASES, Case, everywhere
from .problems import dense, field, red_first, rows, sparse

HERE = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
rng = np.random.default_rng(0)


def iterates(A: Any, b: Any, steps: int, **settings: Any) -> Any:
    """x after so many steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        return cg(A, b, tol=0.0, max_steps=steps, **settings).x


def ssor(A: np.ndarray, omega: float, order: np.ndarray) -> np.ndarray:
    """M of a symmetric sweep through the rows in the given order."""
    A = A[order][:, order]
    D, L = np.diag(np.diag(A)), np.tril(A, -1)
    M = omega / (2 - omega) * (D / omega + L) @ np.linalg.inv(D) @ (D / omega + L).T
    back = np.argsort(order)
    return M[back][:, back]


def classic(A: np.ndarray, b: np.ndarray, M: np.ndarray, steps: int) -> np.ndarray:
    """Preconditioned conjugate gradients as in the textbook."""
    x = np.zeros_like(b)
    r = b - A @ x
    z = np.linalg.solve(M, r)
    p = z
    for _ in range(steps):
        q = A @ p
        alpha = (r @ z) / (p @ q)
        x, new = x + alpha * p, r - alpha * q
        following = np.linalg.solve(M, new)
        beta = (new @ following) / (r @ z)
        r, z = new, following
        p = z + beta * p
    return x


class TestKnownAnswers:
    def test_the_matrix_of_a_symmetric_sweep(self) -> None:
        """The condition of 11 x 11 Poisson with each factor; red-black order takes the effect of the factor away."""
        A = dense(Stencil.laplacian((11, 11)))

        def condition(omega: float, order: np.ndarray) -> float:
            M = ssor(A, omega, order)
            assert np.allclose(M, M.T, atol=1e-12)
            roots = np.linalg.eigvals(np.linalg.solve(M, A)).real
            return float(roots.max() / roots.min())

        natural = np.arange(121)
        assert abs(condition(1.587, natural) - 3.38) < 0.01
        assert abs(condition(1.0, natural) - 8.05) < 0.01
        assert abs(condition(1.0, red_first((11, 11))) - 14.9) < 0.1
        assert condition(1.5, red_first((11, 11))) > 14.9

    def test_the_ordering_trap(self) -> None:
        """Natural order makes good use of omega, red-black order gets worse with it, and says so."""
        A, b = Stencil.laplacian((60, 60)), np.random.default_rng(0).standard_normal((60, 60))
        steps = {
            (order, omega): int(cg(A, b, preconditioner=SSOR(omega, order=order)).steps)
            for order, omega in [("natural", 1.0), ("natural", 1.75), ("red_black", 1.0)]
        }
        with pytest.warns(UserWarning, match="order='natural', or omega=1"):
            worse = int(cg(A, b, preconditioner=SSOR(1.5, order="red_black")).steps)
        assert steps["natural", 1.75] < 0.6 * steps["natural", 1.0]
        assert worse > steps["red_black", 1.0] > steps["natural", 1.0]
        assert SSOR(order="red_black").omega is None  # "young" means 1 there, and warns not
        assert int(cg(A, b, preconditioner=SSOR(order="red_black")).steps) == steps["red_black", 1.0]


PRECONDITIONERS = {
    "none": None,
    "jacobi": Jacobi(),
    "ssor": SSOR(1.2),
    "ssor red-black": SSOR(1.0, order="red_black"),
    "chebyshev": Chebyshev(3, interval=(0.2, 1.8)),
}


class TestBackendsAgree:
    @pytest.mark.parametrize("name", PRECONDITIONERS)
    def test_iterates_are_those_of_the_textbook(self, on: Case, name: str) -> None:
        A, b, preconditioner = field((5, 4)), rng.standard_normal((5, 4)), PRECONDITIONERS[name]
        full = dense(A)
        D = np.diag(np.diag(full))
        M = {
            "none": np.eye(20),
            "jacobi": D,
            "ssor": ssor(full, 1.2, np.arange(20)),
            "ssor red-black": ssor(full, 1.0, red_first((5, 4))),
            "chebyshev": np.linalg.inv(polynomial(full, 3, 0.2, 1.8)),
        }[name]
        expected = classic(full, b.ravel(), M, 3)
        x = on.call(
            lambda c, v, h, b: iterates(Stencil(c, (v, h), (5, 4)), b, 3, preconditioner=preconditioner),
            *(A.center, *A.faces, b),
        )
        np.testing.assert_allclose(on.numpy(x).ravel(), expected, atol=1e-11)

    @pytest.mark.parametrize("name", ["none", "ssor"])
    def test_rows(self, on: Case, name: str) -> None:
        A, b, M = sparse(15), rng.standard_normal((2, 15)), PRECONDITIONERS[name]
        pattern = [on.array(k) for k in (A.indices, A.indptr)]
        result = on.call(lambda d, b: cg(CSR(d, *pattern, A.shape), b, preconditioner=M), A.data, b)
        x = on.numpy(result.x)
        np.testing.assert_allclose(x @ A.toarray(), b, atol=2e-8 * np.linalg.norm(b))
        assert np.all(on.numpy(result).converged)

    @everywhere
    def test_float32(self, on: Case) -> None:
        A, b = Stencil.laplacian((6, 6)), rng.standard_normal((6, 6)).astype("float32")
        result = on.numpy(on.call(lambda b: cg(A, b, preconditioner=SSOR(1.4)), b))
        assert result.x.dtype == np.float32
        assert result.error <= 1e-5
        assert np.all(result.converged)


def polynomial(A: np.ndarray, degree: int, low: float, high: float) -> np.ndarray:
    """p(D^-1 A) D^-1 with 1 - t p(t) the shifted Chebyshev polynomial that is 1 at 0."""
    inverse = np.diag(1 / np.diag(A))
    S = inverse @ A
    n, eye = degree + 1, np.eye(len(A))
    shifted = ((high + low) * eye - 2 * S) / (high - low)
    at_zero = (high + low) / (high - low)
    T, t = [eye, shifted], [1.0, at_zero]
    for _ in range(n - 1):
        T.append(2 * shifted @ T[-1] - T[-2])
        t.append(2 * at_zero * t[-1] - t[-2])
    return np.linalg.solve(S, eye - T[n] / t[n]) @ inverse


class TestProperties:
    @given(
        grid=st.tuples(st.integers(1, 6), st.integers(1, 6)) | st.tuples(*[st.integers(1, 4)] * 3),
        omega=st.floats(0.2, 1.8),
        seed=st.integers(0, 99),
        portable=st.booleans(),
    )
    def test_eisenstats_steps_are_those_of_the_textbook(
        self, grid: tuple[int, ...], omega: float, seed: int, portable: bool
    ) -> None:
        A, b = field(grid, seed), np.random.default_rng(seed).standard_normal(grid)
        full, steps = dense(A), min(2, b.size)
        expected = classic(full, b.ravel(), ssor(full, omega, np.arange(b.size)), steps)
        with eq.portable() if portable else contextlib.nullcontext():
            for matrix, right in ((A, b), (A.to_csr(), b.ravel())):
                x = iterates(matrix, right, steps, preconditioner=SSOR(omega))
                np.testing.assert_allclose(x.ravel(), expected, atol=1e-8 * np.abs(expected).max())

    @given(n=st.integers(1, 12), seed=st.integers(0, 99), name=st.sampled_from(list(PRECONDITIONERS)))
    def test_any_definite_matrix_is_solved(self, n: int, seed: int, name: str) -> None:
        A, b = sparse(n, seed), np.random.default_rng(seed).standard_normal(n)
        preconditioner = SSOR(1.0, order="multicolor") if name == "ssor red-black" else PRECONDITIONERS[name]
        result = cg(A, b, preconditioner=preconditioner, tol=1e-10)
        assert result.converged
        np.testing.assert_allclose(A @ result.x, b, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------------------
# Operators


class Own:
    """Somebody's operator, with nothing but what the protocol asks."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, tuple(array.shape), array.dtype

    def matvec(self, x: Any) -> Any:
        assert library(x) == library(self.array)
        return x @ self.array

    rmatvec = __matmul__ = matvec


class TestOperators:
    @pytest.mark.parametrize("make", [np.asarray, torch.asarray, jnp.asarray], ids=["numpy", "torch", "jax"])
    def test_somebodys_operator_and_preconditioner_see_their_own_arrays(self, make: Any) -> None:
        A = sparse(10).toarray()
        result = cg(Own(make(A)), make(np.ones(10)), preconditioner=Own(make(np.diag(1 / np.diag(A)))))
        assert result.converged
        np.testing.assert_allclose(A @ np.asarray(result.x), np.ones(10), atol=1e-7)
        assert int(result.steps) == int(cg(A, np.ones(10), preconditioner=Jacobi()).steps)

    def test_a_kronecker_product(self) -> None:
        A, B = sparse(4).toarray(), sparse(3, 1).toarray()
        x = cg(Kronecker(A, B), np.arange(12.0)).x
        np.testing.assert_allclose(np.kron(A, B) @ x, np.arange(12.0), atol=1e-6)

    def test_kinds_of_one_matrix(self) -> None:
        A, b = sparse(14), rng.standard_normal(14)
        for given_ in (A, A.tocoo(), A.toarray(), rows(A), Dense(A.toarray())):
            for preconditioner in (None, SSOR(1.1), Chebyshev()):
                np.testing.assert_allclose(A @ cg(given_, b, preconditioner=preconditioner).x, b, atol=1e-6)

    @pytest.mark.parametrize("name", ["torch", "jax"])
    def test_the_context(self, name: str) -> None:
        A, b = sparse(10), rng.standard_normal(10)
        with eq.backend(name, dtype="float32"):
            result = cg(A, b, preconditioner=SSOR(1.1))
        assert isinstance(result.x, np.ndarray)
        assert result.x.dtype == np.float32
        np.testing.assert_allclose(A @ result.x, b, atol=1e-4)


class TestEnds:
    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    @pytest.mark.parametrize("name", ["none", "ssor"])
    def test_a_matrix_that_is_not_definite(self, case: Case, name: str) -> None:
        A, b = np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([1.0, -1.0])
        with pytest.warns(eq.ConvergenceWarning, match="not positive definite"):
            result = case.call(lambda b: cg(A, b, preconditioner=PRECONDITIONERS[name]), b)
        assert result.status is Status.NOT_POSITIVE_DEFINITE
        assert result.error <= 1.0

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_nothing_to_do(self, case: Case) -> None:
        A, b = Stencil.laplacian((4, 4)), rng.standard_normal((4, 4))
        zero = case.call(lambda b: cg(A, b, preconditioner=SSOR(), x0=np.ones((4, 4))), 0.0 * b)
        assert (zero.steps, zero.error, zero.converged) == (0, 0.0, True)
        solved = case.call(lambda b: cg(A, b, x0=np.linalg.solve(dense(A), b.ravel()).reshape(4, 4)), b)
        assert (solved.steps, solved.converged) == (0, True)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    @pytest.mark.parametrize("name", ["none", "ssor"])
    def test_the_recursion_is_not_believed(self, case: Case, name: str) -> None:
        """What the recursion calls 1e-13 is not there in float32: no success is claimed, after a second start."""
        A = Stencil.laplacian((40, 40))
        b = np.random.default_rng(0).standard_normal((40, 40)).astype("float32")
        with pytest.warns(eq.ConvergenceWarning, match="rounding"):
            result = case.call(lambda b: cg(A, b, preconditioner=PRECONDITIONERS[name], tol=1e-10), b)
        assert result.status is Status.STALLED
        assert 1e-10 < result.error < 1e-4
        residual = A.matvec(result.x.astype("float64")) - b
        assert abs(np.linalg.norm(residual) / np.linalg.norm(b) - result.error) < 0.5 * result.error

    def test_members_of_a_batch_end_for_themselves(self) -> None:
        A = np.stack([np.eye(3), np.array([[1.0, 2, 0], [2, 1, 0], [0, 0, 1]]), np.diag([1.0, 2, 3])])
        with pytest.warns(eq.ConvergenceWarning, match="for 1 of 3 problems"):
            result = cg(A, np.array([1.0, -1.0, 0.5]))
        assert result.converged.tolist() == [True, False, True]
        assert result.steps.tolist()[::2] == [1, 3]
        assert result.status is Status.NOT_POSITIVE_DEFINITE

    def test_a_callback_stops(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="callback"):
            result = cg(Stencil.laplacian((9, 9)), np.ones((9, 9)), callback=lambda info: info.step == 3)
        assert (result.steps, result.status) == (3, Status.STOPPED)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (
            ValueError,
            r"A must be symmetric, and its entries \(0, 1\) and \(1, 0\) differ; use sor",
            lambda: cg(np.array([[2.0, 1], [0, 2]]), np.ones(2)),
        ),
        (ValueError, r"entries \(\d, \d\) and \(\d, \d\) differ", lambda: cg(sparse(6, symmetric=False), np.ones(6))),
        (
            ValueError,
            r"not positive definite: its diagonal holds -1.0 at index \(1,\)",
            lambda: cg(np.diag([1.0, -1.0]), np.ones(2)),
        ),
        (
            ValueError,
            r"not positive definite: its diagonal holds 0.0",
            lambda: cg(CSR(np.ones(1), np.zeros(1, int), np.array([0, 1, 1]), (2, 2)), np.ones(2)),
        ),
        (
            TypeError,
            "the preconditioner SSOR needs a matrix with stored entries, got Kronecker",
            lambda: cg(Kronecker(np.eye(2), np.eye(2)), np.ones(4), preconditioner=SSOR()),
        ),
        (
            TypeError,
            "preconditioner must be SSOR, Jacobi, Chebyshev or an operator .*, got str",
            lambda: cg(np.eye(2), np.ones(2), preconditioner="ssor"),
        ),
        (ValueError, r"omega must lie in \(0, 2\), got 2", lambda: SSOR(2)),
        (ValueError, r"omega must lie in \(0, 2\), got nan", lambda: SSOR(float("nan"))),
        (ValueError, "omega must be a number in .* or 'young', got 'old'", lambda: SSOR("old")),
        (
            ValueError,
            r"omega must lie in \(0, 2\), got 2.0 at index \(1,\)",
            lambda: cg(np.eye(2), np.ones((2, 2)), preconditioner=SSOR(np.array([1.0, 2.0]))),
        ),
        (ValueError, "order must be one of .*, got 'zebra'", lambda: SSOR(order="zebra")),
        (ValueError, "degree must be at least 1, got 0", lambda: Chebyshev(0)),
        (TypeError, "degree must be a whole number, got float", lambda: Chebyshev(2.0)),
        (ValueError, "interval must hold 0 < low < high, got 2.0 and 1.0", lambda: Chebyshev(interval=(2, 1))),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
