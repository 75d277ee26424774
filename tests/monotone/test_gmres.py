from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from equipoise.backend import of
from equipoise.monotone.gmres import solve
from equipoise.result import Status

from ..backends import Case
from .problems import EAGER


def product(x: Any, A: Any) -> Any:
    return of(x).matmul(A, x[..., None])[..., 0]


def solved(b: Any, A: Any, tol: float = 1e-8, flip: bool = False) -> Any:
    return solve(b, A, matvec=product, tol=tol, flip=flip)


def exact(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of least squares and least norm."""
    return (np.linalg.pinv(A, rcond=1e-10) @ b[..., None])[..., 0]


rng = np.random.default_rng(0)


def orthogonal(d: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def monotone(d: int, rank: int, least: float) -> np.ndarray:
    """Of that rank, with the range of its transpose: a symmetric part, and a skew one beside it."""
    Q = orthogonal(d)[:, :rank]
    S = rng.normal(size=(rank, rank)) / rank
    return Q @ (np.diag(np.geomspace(least, 1.0, rank)) + S - S.T) @ Q.T


class TestSystems:
    @pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
    def test_a_batch_of_all_kinds(self, case: Case) -> None:
        if case.missing:
            pytest.skip(case.missing)
        d = 6
        A = np.stack(
            [np.eye(d), monotone(d, d, 0.1), monotone(d, 4, 0.1), 1e-9 * monotone(d, d, 0.1), np.zeros((d, d))]
        )
        b = rng.normal(size=(5, d))
        b[0] *= 1e200
        result = case.numpy(case.call(solved, b, A))
        np.testing.assert_allclose(
            result.x / abs(b).max(-1, keepdims=True), exact(A, b / abs(b).max(-1, keepdims=True)), rtol=1e-6, atol=1e-9
        )
        assert result.code.tolist() == [Status.CONVERGED] * 5
        assert result.steps.tolist() == [1, 1, 1, 1, 0]

    @pytest.mark.parametrize("d", [1, 2, 40, 150])
    def test_sizes(self, d: int) -> None:
        """More than 60 unknowns take restarts."""
        A, b = np.eye(d) - 0.8 * orthogonal(d), rng.normal(size=d)
        result = solved(b, A)
        np.testing.assert_allclose(A @ result.x, b, atol=1e-8 * np.linalg.norm(b))
        assert (result.steps > 1) == (d > 60)
        assert result.code == Status.CONVERGED

    def test_ill_conditioned(self) -> None:
        A, x = monotone(30, 30, 1e-7), rng.normal(size=30)
        A = 0.5 * (A + A.T)
        np.testing.assert_allclose(solved(A @ x, A).x, x, atol=1e-5)
        np.testing.assert_allclose(solved(x, A).x, np.linalg.solve(A, x), rtol=1e-6, atol=1e-3)

    @pytest.mark.parametrize("consistent", [True, False])
    def test_singular(self, consistent: bool) -> None:
        A, b = monotone(50, 31, 1e-2), rng.normal(size=50)
        b = A @ b if consistent else b
        result = solved(b, A)
        np.testing.assert_allclose(result.x, exact(A, b), atol=1e-6)
        assert result.code == Status.CONVERGED

    def test_games(self) -> None:
        """Skew matrices, on which A v is orthogonal to v; of odd size they are singular."""
        for d in (4, 5):
            S, b = rng.normal(size=(d, d)), rng.normal(size=d)
            np.testing.assert_allclose(solved(b, S - S.T).x, exact(S - S.T, b), atol=1e-9)

    def test_nothing_to_solve(self) -> None:
        A = monotone(5, 3, 0.5)
        null = np.linalg.svd(A)[2][-1]
        assert solved(np.zeros(5), A).steps == 0
        assert np.all(solved(np.zeros(5), A).x == 0)
        assert np.abs(solved(null, A).x).max() < 1e-12  # the first vector has no image

    def test_float32(self) -> None:
        for A in (monotone(20, 20, 1e-2), monotone(20, 12, 0.1)):
            b = rng.normal(size=20)
            result = solved(b.astype("float32"), A.astype("float32"), 1e-5)
            np.testing.assert_allclose(result.x, exact(A, b), atol=3e-3)
            assert (result.x.dtype, result.code) == (np.float32, Status.CONVERGED)

    def test_what_cannot_be_solved_says_so(self) -> None:
        A = np.diag(np.geomspace(1e-7, 1.0, 200))
        assert solved(np.ones(200), A).code == Status.STALLED
        assert solved(np.array([1.0, np.nan]), np.eye(2)).code == Status.NOT_FINITE


class TestDerivatives:
    def test_torch(self) -> None:
        A = torch.tensor(monotone(3, 3, 0.5), requires_grad=True)
        b = torch.tensor(rng.normal(size=(2, 3)), requires_grad=True)

        def x(b: Any, A: Any) -> Any:
            return solved(b, A, 1e-13).x

        assert torch.autograd.gradcheck(x, (b, A))
        assert torch.autograd.gradgradcheck(x, (b, A))
        with torch.no_grad():
            flipped = solved(b, A, flip=True).x
        np.testing.assert_allclose(flipped, np.linalg.solve(A.detach().T, b.detach().T).T, atol=1e-7)

    def test_jax(self) -> None:
        A, b = monotone(3, 3, 0.5), rng.normal(size=(2, 3))
        x, bar = jax.jit(jax.value_and_grad(lambda b, A: solved(b, A).x[:, 0].sum()))(jnp.asarray(b), jnp.asarray(A))
        np.testing.assert_allclose(x, np.linalg.solve(A, b.T)[0].sum(), atol=1e-7)
        np.testing.assert_allclose(bar, np.stack([np.linalg.inv(A)[0]] * 2), atol=1e-6)
