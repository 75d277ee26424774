from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.precondition import minimize, psgd
from equipoise.precondition.optimizer import clipped
from equipoise.result import Status

from ..backends import Case
from .problems import spectral

A, b = spectral(5, 20.0), np.arange(1.0, 6.0)
SOLUTION = np.linalg.solve(A, b)


def test_backends_agree(on: Case) -> None:
    def run(A: Any, b: Any) -> Any:
        return minimize(
            lambda x: (x @ (A @ x)) / 2 - b @ x,
            0 * b,
            grad=lambda x: A @ x - b,
            hvp=lambda x, v: A @ v,
            momentum=0.5,
            tol=1e-6,
            rng=1,
        )

    result, expected = on.call(run, A, b), run(A, b)
    assert bool(on.numpy(result.code) == Status.CONVERGED)
    assert int(on.numpy(result.steps)) == int(expected.steps)
    np.testing.assert_allclose(on.numpy(result.x), expected.x, atol=1e-9)
    np.testing.assert_allclose(on.numpy(result.x), SOLUTION, atol=1e-4)


@pytest.mark.parametrize("array", [torch.tensor, jnp.array])
def test_the_library_differentiates(array: Any) -> None:
    M, c = array(A), array(b)
    result = minimize(lambda x: x @ (M @ x) / 2 - c @ x, 0 * c, tol=1e-4)
    assert result.converged
    np.testing.assert_allclose(np.asarray(result.x), SOLUTION, atol=1e-2)
    assert (result.nfev, result.njev, result.nhev) == (1, 2 * result.nit + 1, 0)


def test_what_is_evaluated_is_counted() -> None:
    calls = {"grad": 0, "hvp": 0}

    def grad(x: Any) -> Any:
        calls["grad"] += 1
        return A @ x - b

    def hvp(x: Any, v: Any) -> Any:
        calls["hvp"] += 1
        return A @ v

    result = minimize(lambda x: x @ A @ x / 2 - b @ x, np.zeros(5), grad=grad, hvp=hvp)
    assert (result.njev, result.nhev) == (calls["grad"], calls["hvp"])
    assert result.success
    assert result.message == "The error is at or below the tolerance."
    assert float(result.fun) == pytest.approx(-b @ SOLUTION / 2)
    np.testing.assert_array_equal(result.jac, A @ result.x - b)
    calls.update(grad=0)
    result = minimize(lambda x: x @ A @ x / 2 - b @ x, np.zeros(5), grad=grad)
    assert result.njev == calls["grad"]


def test_batches() -> None:
    seen: list[int] = []

    def batch(k: int) -> Any:
        seen.append(k)
        return np.random.default_rng(k).standard_normal((20, 5))

    calls = {"grad": 0}

    def grad(x: Any, data: Any) -> Any:
        calls["grad"] += 1
        return A @ x - b + 0.1 * data.mean(0)

    with pytest.warns(eq.ConvergenceWarning, match="precondition.minimize did not reach tol=0"):
        result = minimize(
            lambda x, data: x @ A @ x / 2 - b @ x,
            np.zeros(5),
            grad=grad,
            batch=batch,
            learning_rate=lambda k: 1 / (1 + k / 20),
            tol=0.0,
            max_steps=300,
        )
    assert seen == list(range(300))
    assert calls["grad"] == result.njev == 600
    np.testing.assert_allclose(result.x, SOLUTION, atol=0.15)
    assert 0.01 < float(result.error) < 0.1
    found = minimize(
        lambda x, data: x @ A @ x / 2 - b @ x, np.zeros(5), grad=grad, batch=batch, learning_rate=0.1, tol=0.1
    )
    assert found.converged
    assert 32 <= found.nit < 2000


def test_bad_input() -> None:
    def fun(x: Any) -> Any:
        return (x * x).sum()

    with pytest.raises(TypeError, match="grad must be given, since numpy arrays carry no derivatives"):
        minimize(fun, np.zeros(2))
    with pytest.raises(TypeError, match="fun must be callable, got NoneType"):
        minimize(None, np.zeros(2), grad=fun)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"grad must return shape \(2,\), that of x0, got \(1,\)"):
        minimize(fun, np.zeros(2), grad=lambda x: x[:1])
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got 1"):
        minimize(fun, np.zeros(2), grad=fun, momentum=1)
    with pytest.raises(ValueError, match="clip must be a number, a pair of numbers or None, got 3 numbers"):
        minimize(fun, np.zeros(2), grad=fun, clip=(1, 2, 3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="like must hold real floating"):
        minimize(fun, np.zeros(2, int), grad=fun)


def test_what_blows_up_is_not_finite() -> None:
    with pytest.warns(eq.ConvergenceWarning):
        result = minimize(lambda x: -(x @ x), np.ones(2), grad=lambda x: x * np.nan, max_steps=50)
    assert result.status is Status.NOT_FINITE
    assert not result.converged


def test_clipping() -> None:
    u = np.array([3.0, 0.0, 0.0, -4.0])
    np.testing.assert_allclose(clipped(u, 1.0), u / 2.5)
    np.testing.assert_allclose(clipped(u, (1.0, 1.3)), [1.2, 0, 0, -1.3])
    assert clipped(u, None) is u
    np.testing.assert_array_equal(clipped(u, 100.0), u)
    np.testing.assert_array_equal(clipped(0 * u, 1.0), 0 * u)


def test_a_start_for_another_run() -> None:
    p = psgd(step=0.2)
    first = minimize(lambda x: x @ A @ x, np.ones(5), grad=lambda x: 2 * A @ x, preconditioner=p)
    again = minimize(lambda x: x @ A @ x, np.ones(5), grad=lambda x: 2 * A @ x, preconditioner=p, init=first)
    assert again.nit < first.nit
