from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.linear import SSOR, cg
from equipoise.linear.lanczos import spectrum
from equipoise.linear.omega import extremes, optimal_omega, predicted_steps, young
from equipoise.linear.unevenness import unevenness
from equipoise.operators import CSR, Dense, Kronecker, Stencil

from ..backends import Case
from .problems import dense


def least(A: np.ndarray) -> float:
    """The least eigenvalue of D^{-1/2} A D^{-1/2}."""
    root = np.sqrt(np.diag(A))
    return float(np.linalg.eigvalsh(A / np.outer(root, root))[0])


def by_definition(A: np.ndarray) -> float:
    beta = 1 - least(A)
    return 2 / (1 + np.sqrt(1 - beta**2))


def rough(rng: np.random.Generator, *grid: int, batch: tuple[int, ...] = (), shift: float = 0.1) -> Stencil[Any]:
    weights = (rng.random((*batch, *(m - (j == k) for j, m in enumerate(grid)))) + 0.1 for k in range(len(grid)))
    return Stencil.diffusion(tuple(weights), shift=shift)


def stiffness(A: Stencil[Any]) -> tuple[float, float]:
    """alpha = lambda_max(D A^{-1}) and beta_L = max Re eig((L D^{-1} L^T - D/4) A^{-1})."""
    M = dense(A)
    D, L = np.diag(np.diag(M)), np.tril(M, -1)
    inverse = np.linalg.inv(M)
    alpha = np.linalg.eigvals(D @ inverse).real.max()
    return alpha, np.linalg.eigvals((L @ np.linalg.inv(D) @ L.T - D / 4) @ inverse).real.max()


class TestKnownAnswers:
    def test_poisson_on_eleven_by_eleven(self) -> None:
        A = Stencil.laplacian((11, 11))
        alpha, beta_l = stiffness(A)
        assert (round(alpha, 2), round(beta_l, 3)) == (29.35, -0.003)
        assert round(2 / (1 + np.sqrt((2 + 4 * beta_l) / alpha)), 3) == 1.587  # the best factor of the bound
        assert abs(optimal_omega(A) - 1.589) < 1e-3
        M = dense(A)
        D, L = np.diag(np.diag(M)), np.tril(M, -1)
        for omega, expected in ((1.587, 3.38), (1.635, 3.33), (1.0, 8.05)):
            sweep = D / omega + L
            P = omega / (2 - omega) * sweep @ np.linalg.inv(D) @ sweep.T
            e = np.linalg.eigvals(np.linalg.inv(P) @ M).real
            assert abs(e.max() / e.min() - expected) < 0.01

    def test_heat(self) -> None:
        for cells, expected in ((100, 1.807), (200, 1.898)):
            A = Stencil.laplacian((cells, cells), spacing=1 / (cells + 1), scale=9.5e-3 / 2, shift=1.0)
            assert abs(optimal_omega(A) - expected) < 2e-3

    @pytest.mark.parametrize("omega", [1.0, 1.2, 1.4, 1.8, 1.95])
    def test_the_spectral_radius_of_a_sweep(self, omega: float) -> None:
        """Young's theorem, for a grid and for a tree, against the eigenvalues."""
        rng = np.random.default_rng(0)
        tree = np.zeros((12, 12))
        for i in range(1, 12):
            parent = rng.integers(i)
            tree[i, parent] = tree[parent, i] = -rng.random()
        tree += np.diag(np.abs(tree).sum(1) + 0.05)
        for A, M in ((Stencil.laplacian((5, 4)),) * 2, (tree, tree)):
            M = M if isinstance(M, np.ndarray) else dense(M)
            C = np.eye(len(M)) - M @ np.linalg.inv(np.diag(np.diag(M)) / omega + np.tril(M, -1))
            rho = np.abs(np.linalg.eigvals(C)).max()
            steps = predicted_steps(A, omega, tol=1e-8)
            assert abs(np.exp(-np.log(1e8) / (steps - 1)) - rho) < 1e-6  # a double eigenvalue at the best factor

    def test_the_model_has_its_minimum_at_youngs_factor(self) -> None:
        A = Stencil.laplacian((40, 30))
        best = optimal_omega(A)
        for solver, off in (("sor", 1e-3), ("ssor_cg", 0.03)):
            omegas = np.linspace(1, 1.99, 2000)
            assert abs(omegas[np.argmin(predicted_steps(A, omegas, solver=solver))] - best) < off

    def test_the_formula_of_the_steps_of_cg(self) -> None:
        A = Stencil.laplacian((11, 11))
        beta, omega, tol = np.cos(np.pi / 12), 1.4, 1e-6
        s = (2 - omega) / omega
        phi = 1 / (0.5 + 1 / (2 * s) + s / (4 * (1 - beta)))
        k = (1 + beta) / (1 - beta)
        expected = 1 + np.log(np.sqrt(k) / tol + np.sqrt(k / tol**2 - 1)) / -np.log(1 - 2 / (1 + phi**-0.5))
        assert abs(predicted_steps(A, omega, solver="ssor_cg", tol=tol) - expected) < 1e-9

    def test_a_diagonal_matrix(self) -> None:
        assert optimal_omega(np.diag([1.0, 2.0, 3.0])) == 1
        assert optimal_omega(Stencil(3.0, (0.0,), (5,))) == 1
        assert optimal_omega(np.array([[2.0]])) == 1


class TestLanczos:
    @pytest.mark.parametrize("grid", [(1,), (2,), (7,), (4, 5), (1, 6), (3, 2, 4)])
    def test_enough_steps_are_exact(self, grid: tuple[int, ...]) -> None:
        A = Stencil.laplacian(grid, shift=0.2)
        expected = by_definition(dense(A))
        assert abs(optimal_omega(A) - expected) < 1e-12
        assert abs(optimal_omega(A, method="lanczos", steps=30) - expected) < 1e-6
        rng = np.random.default_rng(1)
        B = rough(rng, *grid)
        assert abs(optimal_omega(B, steps=30) - by_definition(dense(B))) < 1e-6

    @given(st.integers(0, 2**32), st.integers(2, 12))
    def test_any_positive_definite_matrix(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, n + 3))
        A = X @ X.T
        found = spectrum(Dense(A), steps=n)
        root = np.sqrt(np.diag(A))
        values = np.linalg.eigvalsh(A / np.outer(root, root))
        assert values[0] - 1e-12 <= found.low <= values[-1]
        assert found.high <= values[-1] + 1e-12
        assert 1 <= optimal_omega(A) < 2

    @pytest.mark.parametrize("shape", [(32, 32), (64, 64), (150, 200)])
    def test_twenty_steps_cost_few_sweeps(self, shape: tuple[int, int]) -> None:
        A = Stencil.laplacian(shape)
        exact, found = optimal_omega(A), optimal_omega(A.to_csr())
        assert predicted_steps(A, found) < 1.6 * predicted_steps(A, exact)

    def test_the_interval_holds_the_spectrum(self) -> None:
        rng = np.random.default_rng(2)
        A = rough(rng, 30, 20)
        root = np.sqrt(np.diag(dense(A)))
        values = np.linalg.eigvalsh(dense(A) / np.outer(root, root))
        low, high = extremes(A)
        assert values[-1] <= high < 1.02 * values[-1]
        assert 0.5 * values[0] < low < 1.2 * values[0]
        assert np.allclose(extremes(Stencil.laplacian((3, 3))), (1 - 2**-0.5, 1 + 2**-0.5))

    def test_a_refresh_follows_a_matrix_that_changes(self) -> None:
        """Three products from the last vector do not do worse than twenty from scratch."""
        rng = np.random.default_rng(3)
        old, new = rough(rng, 40, 40, shift=0.02), rough(rng, 40, 40, shift=0.02)
        known = spectrum(old, steps=20, keep=True)
        for t in np.linspace(0, 0.3, 12):
            A = Stencil(
                (1 - t) * old.center + t * new.center,
                tuple((1 - t) * v + t * w for v, w in zip(old.faces, new.faces, strict=True)),
                old.grid,
            )
            known = spectrum(A, steps=3, previous=known, keep=True)
            d = np.sqrt(A.diagonal().reshape(-1))
            C = A.to_csr()
            M = scipy.sparse.csr_array((C.data, C.indices, C.indptr), shape=C.shape)
            B = scipy.sparse.diags_array(1 / d) @ M @ scipy.sparse.diags_array(1 / d)
            exact = scipy.sparse.linalg.eigsh(B, 1, sigma=0, return_eigenvectors=False)[0]
            assert 0.6 * exact < known.below < 1.2 * exact


class TestBackends:
    def test_constant_stencils(self, on: Case) -> None:
        center, face = np.array(4.2), np.array(1.0)
        expected = by_definition(dense(Stencil(4.2, (1.0, 1.0), (6, 7))))
        omega = on.call(lambda c, w: young(Stencil(c, (w, w), (6, 7))), center, face)
        assert abs(float(omega) - expected) < 1e-12

    def test_a_batch_of_constant_stencils(self, on: Case) -> None:
        center = np.array([4.2, 5.0, 9.0]).reshape(3, 1, 1)
        omega = on.numpy(on.call(lambda c: young(Stencil(c, (1.0, 1.0), (6, 7))), center))
        expected = [optimal_omega(Stencil(c, (1.0, 1.0), (6, 7))) for c in (4.2, 5.0, 9.0)]
        np.testing.assert_allclose(omega, expected, rtol=0, atol=1e-14)

    def test_matrices(self, on: Case) -> None:
        A = rough(np.random.default_rng(0), 5, 6)
        c = A.to_csr()
        if on.jit:
            with pytest.raises(TypeError, match="pass omega as a number"):
                on.call(lambda x: young(Dense(x)), dense(A))
            return
        expected = optimal_omega(A)
        for B in (A, c, Dense(dense(A))):
            moved = eq.map_arrays(on.array, B)
            assert abs(float(on.call(young, moved)) - expected) < 1e-10

    def test_a_batch_is_a_loop(self, on: Case) -> None:
        if on.jit:
            return
        A = rough(np.random.default_rng(0), 5, 6, batch=(2, 3))
        omega = on.numpy(on.call(young, eq.map_arrays(on.array, A)))
        assert omega.shape == (2, 3)
        for i in np.ndindex(2, 3):
            one = Stencil(A.center[i], tuple(w[i] for w in A.faces), A.grid)
            assert abs(omega[i] - optimal_omega(one)) < 1e-10

    def test_float32(self, on: Case) -> None:
        A = rough(np.random.default_rng(0), 5, 6)
        single = eq.map_arrays(lambda x: on.array(x.astype("float32")), A)
        if not on.jit:
            assert abs(float(on.call(young, single)) - optimal_omega(A)) < 1e-4
        nearly = Stencil.diffusion((np.ones(7, dtype="float32"),), shift=1e-7)
        assert 1.9 < optimal_omega(nearly) < 2  # below what float32 resolves

    def test_other_peoples_matrices(self) -> None:
        A = rough(np.random.default_rng(0), 5, 6)
        c = A.to_csr()
        expected = optimal_omega(A)
        scipys = scipy.sparse.csr_array((c.data, c.indices, c.indptr), shape=c.shape)
        with eq.backend("torch"):
            assert abs(optimal_omega(scipys) - expected) < 1e-12
        assert abs(optimal_omega(torch.tensor(dense(A), requires_grad=True)) - expected) < 1e-12
        assert abs(optimal_omega(Kronecker(np.eye(2), A)) - expected) < 1e-2

    def test_gradients_do_not_flow(self) -> None:
        M = jax.numpy.array([[2.0, 1.0], [1.0, 2.0]])
        slope = jax.grad(lambda t: t * young(Dense(t * M)))(jax.numpy.asarray(3.0))
        assert abs(slope - optimal_omega(np.array(M))) < 1e-12
        x = torch.tensor([[2.0, 1.0], [1.0, 2.0]], requires_grad=True)
        assert not getattr(young(Dense(x[None, ...])), "requires_grad", False)


class TestBadInput:
    @pytest.mark.parametrize(
        ("A", "settings", "error", "says"),
        [
            (np.ones((2, 3)), {}, ValueError, r"square, got shape \(2, 3\)"),
            (np.array([[1.0, 0.9], [-0.9, 1.0]]), {}, ValueError, "symmetric"),
            (np.array([[1.0, 2.0], [2.0, 1.0]]), {}, ValueError, "not positive definite"),
            (np.diag([1.0, -1.0]), {}, ValueError, r"diagonal holds -1.0 at index \(1,\)"),
            (np.array([[1.0, np.nan], [np.nan, 1.0]]), {}, ValueError, "finite"),
            (Stencil.laplacian((4, 4), shift=-3.0), {}, ValueError, "Jacobi iteration has an eigenvalue"),
            (Stencil(-4.0, (1.0,), (3,)), {}, ValueError, "not positive definite: its diagonal holds -4.0"),
            ("A", {}, TypeError, "A must be an array"),
            (np.eye(3), {"method": "closed_form"}, ValueError, "constant stencil"),
            (np.eye(3), {"method": "power"}, ValueError, "'power'"),
            (np.eye(3), {"steps": 0}, ValueError, "steps must be at least 1, got 0"),
            (np.eye(3), {"steps": 2.0}, TypeError, "steps must be a whole number"),
        ],
    )
    def test_optimal_omega(self, A: Any, settings: dict[str, Any], error: type[Exception], says: str) -> None:
        with pytest.raises(error, match=says):
            optimal_omega(A, **settings)

    @pytest.mark.parametrize(
        ("omega", "settings", "says"),
        [
            (2.0, {}, r"omega must lie in \(0, 2\), got 2.0"),
            ([1.0, np.nan], {}, "got nan"),
            (1.0, {"tol": 0.0}, r"tol must lie in \(0, 1\), got 0.0"),
            (1.0, {"solver": "cg"}, "solver must be 'sor' or 'ssor_cg', got 'cg'"),
        ],
    )
    def test_predicted_steps(self, omega: Any, settings: dict[str, Any], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            predicted_steps(np.eye(3), omega, **settings)

    def test_the_shape_of_predictions(self) -> None:
        A = CSR(np.array([[2.0, 1.0], [3.0, 1.0]]), np.array([0, 1]), np.array([0, 1, 2]), (2, 2))
        assert predicted_steps(A, 1.0).shape == (2,)
        assert predicted_steps(A, [[1.0, 1.5, 1.7]]).shape == (2, 1, 3)
        assert predicted_steps(np.eye(2), torch.tensor([1.0, 1.5])).shape == (2,)


def sample(rng: np.random.Generator, dtype: str) -> Any:
    """Steps of Lanczos' method for tests/test_kernel.py: the first, some, and one whose vector vanishes."""
    for batch in ((), (2, 3)):
        image, inverse, v, before = (rng.standard_normal((*batch, 40)).astype(dtype) for _ in range(4))
        below = rng.random(batch).astype(dtype)
        yield (image, inverse, v, before, np.asarray(below)), {}
        yield (image, inverse, v, 0 * before, np.asarray(0 * below)), {}
        yield (0 * image, inverse, 0 * v, before, np.asarray(0 * below)), {}


def uneven(grid: tuple[int, int], seed: int) -> Stencil:
    """Weights over some decades."""
    rng, (n, m) = np.random.default_rng(seed), grid
    return Stencil.diffusion(tuple(np.exp(1.5 * rng.standard_normal(s)) for s in ((n - 1, m), (n, m - 1))), shift=0.01)


class TestUnevenness:
    """Where couplings lie unevenly before and after a row, a symmetric sweep must not reach as far."""

    @pytest.mark.parametrize("kind", ["stencil", "rows", "dense"])
    def test_it_is_the_quotient_at_ones(self, kind: str) -> None:
        A = uneven((6, 5), 3)
        full = dense(A)
        D, L = np.diag(np.diag(full)), np.tril(full, -1)
        ones = np.ones(30)
        expected = ones @ (L @ np.linalg.solve(D, L.T) - D / 4) @ ones / (ones @ full @ ones)
        assert expected > 0
        given = {"stencil": A, "rows": A.to_csr(), "dense": Dense(full)}[kind]
        np.testing.assert_allclose(unevenness(given), expected, rtol=1e-12)

    def test_a_batch(self) -> None:
        one, two = uneven((4, 3), 1), uneven((4, 3), 2)
        both = Stencil(
            np.stack([one.center, two.center]),
            tuple(np.stack(pair) for pair in zip(one.faces, two.faces, strict=True)),
            (4, 3),
        )
        np.testing.assert_allclose(unevenness(both), [unevenness(one), unevenness(two)])

    def test_constant_stencils_have_none(self) -> None:
        A = Stencil.laplacian((20, 20), shift=0.1)
        assert unevenness(A) == 0.0
        assert unevenness(A.to_csr()) == 0.0
        assert optimal_omega(A) == optimal_omega(A, solver="ssor_cg")

    @pytest.mark.parametrize("seed", [1, 2])
    def test_steps_are_near_those_of_the_best_factor(self, seed: int) -> None:
        A, b = uneven((60, 50), seed), np.random.default_rng(seed).standard_normal((60, 50))
        steps = [int(cg(A, b, preconditioner=SSOR(w)).steps) for w in (1.0, 1.2, 1.35, 1.5, 1.7, 1.9)]
        assert cg(A, b, preconditioner=SSOR()).steps <= 1.1 * min(steps)
        assert cg(A, b, preconditioner=SSOR(optimal_omega(A))).steps > 1.3 * min(steps)  # the factor for plain sweeps
