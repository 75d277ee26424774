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
    assert (result.nfev, result.njev, result.nhev) == (2, 2 * result.nit + 1, 0)


def test_what_is_evaluated_is_counted() -> None:
    calls = {"fun": 0, "grad": 0, "hvp": 0}

    def fun(x: Any) -> Any:
        calls["fun"] += 1
        return x @ A @ x / 2 - b @ x

    def grad(x: Any) -> Any:
        calls["grad"] += 1
        return A @ x - b

    def hvp(x: Any, v: Any) -> Any:
        calls["hvp"] += 1
        return A @ v

    result = minimize(fun, np.zeros(5), grad=grad, hvp=hvp)
    assert (result.nfev, result.njev, result.nhev) == (calls["fun"], calls["grad"], calls["hvp"])
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
    assert found.nfev == 1
    assert isinstance(found.error, np.ndarray)


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
    with pytest.raises(TypeError, match="x0 must hold real floating"):
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


def test_numbers_of_numpy() -> None:
    """Arrays of shape () become scalars as soon as numpy computes with them."""
    result = minimize(lambda x: x * x, np.array(2.0), grad=lambda x: 2 * x, tol=1e-4)
    assert result.converged
    assert isinstance(result.x, np.ndarray)
    assert abs(result.x) < 1e-4
    result = minimize(
        lambda x: x * x, np.array(2.0), grad=lambda x: 2 * x, hvp=lambda x, v: 2 * v, tol=1e-4, momentum=0.5
    )
    assert result.converged


@pytest.mark.parametrize("rate", [lambda k: np.float64(0.5), lambda k: 0.5, lambda k: np.asarray(0.5), np.float32(0.5)])
def test_a_learning_rate_does_not_widen(rate: Any) -> None:
    result = minimize(
        lambda x: x @ x, np.ones(3, "f4"), grad=lambda x: 2 * x, hvp=lambda x, v: 2 * v, learning_rate=rate, tol=1e-3
    )
    assert result.converged
    assert result.x.dtype == np.float32


def test_what_functions_may_return() -> None:
    def run(fun: Any, **more: Any) -> Any:
        return minimize(fun, np.ones(3), grad=lambda x: 2 * x, hvp=lambda x, v: 2 * v, **more)

    with pytest.raises(ValueError, match=r"fun must return a number, got shape \(3,\)"):
        run(lambda x: x)
    with pytest.raises(ValueError, match=r"fun must return a number, got shape \(3,\)"):
        minimize(lambda x: x, torch.ones(3))
    with pytest.raises(TypeError, match="fun must return a number, got NoneType"):
        run(lambda x: None)
    with pytest.raises(TypeError, match="learning_rate must return a number, got str"):
        run(lambda x: 0.0, learning_rate=lambda k: "fast")
    with pytest.raises(ValueError, match=r"learning_rate must return a number, got shape \(3,\)"):
        run(lambda x: 0.0, learning_rate=lambda k: np.ones(3))
    with pytest.raises(TypeError, match=r"x0 must be an array .*, got list"):
        minimize(lambda x: 0.0, [1.0, 2.0], grad=lambda x: x)  # type: ignore[type-var]
    for nothing in (float("nan"), np.float64("nan"), np.array(np.inf)):
        with pytest.warns(eq.ConvergenceWarning, match="fun is not finite at the last point"):
            result = run(lambda x, nothing=nothing: nothing)
        assert result.status is Status.NOT_FINITE
        assert not result.converged


def test_a_start_of_another_dtype_or_library() -> None:
    def run(x: Any, init: Any) -> Any:
        return minimize(lambda x: (x * x).sum(), x, grad=lambda x: 2 * x, init=init)

    state = run(np.ones(3), None).state
    with pytest.raises(TypeError, match="init must hold numpy arrays of dtype float32, as like does, got numpy arrays"):
        run(np.ones(3, "f4"), state)
    with pytest.raises(TypeError, match=r"init must hold torch arrays of dtype torch.float64, as like does, got numpy"):
        run(torch.ones(3, dtype=torch.float64), state)
