"""Derivatives through clouds, penalised marginals and divergences, against central differences."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.transport import PointCloud, TransportResult, sinkhorn, sinkhorn_divergence

from .test_pointcloud import clouds
from .test_result import QUANTITIES, difference
from .test_sinkhorn import problem


@pytest.fixture(autouse=True)
def _as_converged_as_can_be() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)  # the tolerance below is the rounding error
        yield


TIGHT = {"tol": 1e-14, "max_steps": 3000}
X, Y, A, B = clouds(7, 5, 3, seed=3)
COST = problem()[0]


def of_clouds(metric: str, x: Any, y: Any, a: Any, b: Any, epsilon: Any) -> TransportResult:
    return sinkhorn(PointCloud(x, y, metric=metric), a, b, epsilon=epsilon, **TIGHT)


def of_one_cloud(x: Any, a: Any, b: Any, epsilon: Any) -> TransportResult:
    return sinkhorn(PointCloud(x), a, b, epsilon=epsilon, **TIGHT)


def penalised(cost: Any, a: Any, b: Any, epsilon: Any, rho_a: Any, rho_b: Any) -> TransportResult:
    return sinkhorn(cost, a, b, epsilon=epsilon, marginal_penalty=(rho_a, rho_b), **TIGHT)


def half_penalised(cost: Any, a: Any, b: Any, epsilon: Any, rho_b: Any) -> TransportResult:
    return sinkhorn(cost, a, b, epsilon=epsilon, marginal_penalty=(None, rho_b), **TIGHT)


EPSILON = np.array(0.2)
CASES: dict[str, tuple[Callable[..., TransportResult], tuple[Any, ...]]] = {
    "sqeuclidean": (functools.partial(of_clouds, "sqeuclidean"), (X, Y, A, B, EPSILON)),
    "euclidean": (functools.partial(of_clouds, "euclidean"), (X, Y, A, B, EPSILON)),
    "cityblock": (functools.partial(of_clouds, "cityblock"), (X, Y, A, B, EPSILON)),
    "one cloud": (of_one_cloud, (X[:5], B, A[:5] / A[:5].sum(), EPSILON)),
    "penalised": (penalised, (COST, A, 1.3 * B, EPSILON, np.array(0.7), np.array(3.0))),
    "half penalised": (half_penalised, (COST, A, 0.8 * B, EPSILON, np.array(0.7))),
}
ALL = [(case, name) for case in CASES for name in QUANTITIES if case != "one cloud" or name == "value"]


def directions(at: tuple[Any, ...], free: bool) -> list[np.ndarray]:
    """One for every argument; those of weights keep their totals unless masses may differ."""
    rng = np.random.default_rng(5)
    made = [rng.standard_normal(np.shape(x)) for x in at]
    return [d if free or d.ndim != 1 else d - d.mean() for d in made]


@functools.cache
def numbers(case: str, name: str) -> list[float]:
    fn, at = CASES[case]
    along = directions(at, "penalised" in case)
    found = []
    for k, d in enumerate(along):
        step = tuple(d if j == k else np.zeros(np.shape(x)) for j, x in enumerate(at))
        found.append(difference(lambda *x: float(QUANTITIES[name](fn(*x), np.asarray)), at, step))
    return found


def check(case: str, name: str, gradients: Any) -> None:
    along = directions(CASES[case][1], "penalised" in case)
    for k, (want, d) in enumerate(zip(numbers(case, name), along, strict=True)):
        got = float((np.asarray(gradients[k]) * d).sum())
        assert abs(got - want) < 2e-6 * (1 + abs(want)), (k, got, want)


@pytest.mark.parametrize(("case", "name"), ALL)
class TestGradients:
    @pytest.mark.parametrize("portable", [False, True])
    def test_torch(self, case: str, name: str, portable: bool) -> None:
        fn, at = CASES[case]
        arguments = [torch.tensor(x, requires_grad=True) for x in at]
        with eq.portable() if portable else warnings.catch_warnings():
            check(case, name, torch.autograd.grad(QUANTITIES[name](fn(*arguments), torch.tensor), arguments))

    def test_jax(self, case: str, name: str) -> None:
        if name not in ("value", "plan"):
            pytest.skip("eager jax compiles for seconds; the rule is the same under jit")
        fn, at = CASES[case]
        grad = jax.grad(lambda *x: QUANTITIES[name](fn(*x), jnp.array), argnums=tuple(range(len(at))))
        check(case, name, grad(*map(jnp.array, at)))


@pytest.mark.parametrize("case", CASES)
def test_jax_under_jit(case: str) -> None:
    """All quantities of one solve, which is compiled once: a row of the Jacobian is the gradient of one."""
    (fn, at), names = CASES[case], [name for of, name in ALL if of == case]

    def quantities(*x: Any) -> Any:
        result = fn(*x)
        return jnp.stack([QUANTITIES[name](result, jnp.array) for name in names])

    rows = jax.jit(jax.jacrev(quantities, argnums=tuple(range(len(at)))))(*map(jnp.array, at))
    for k, name in enumerate(names):
        check(case, name, [row[k] for row in rows])


DIVERGENCES: dict[str, Callable[..., Any]] = {
    "value": lambda r, of: r.value,
    "potentials": lambda r, of: (r.f**2).sum() + (r.g * of(np.arange(5.0))).sum(),
}


SIDES = (X, Y, A, B, EPSILON)


def diverge(penalty: Any, x: tuple[Any, ...]) -> Any:
    *arrays, epsilon = x
    return sinkhorn_divergence(*arrays, epsilon=epsilon, marginal_penalty=penalty, **TIGHT)


def check_divergence(name: str, penalty: Any, gradients: Any) -> None:
    for k, d in enumerate(directions(SIDES, False)):
        along = tuple(d if j == k else np.zeros(np.shape(x)) for j, x in enumerate(SIDES))
        want = difference(lambda *x: float(DIVERGENCES[name](diverge(penalty, x), np.asarray)), SIDES, along)
        got = float((np.asarray(gradients[k]) * d).sum())
        assert abs(got - want) < 2e-6 * (1 + abs(want)), (k, got, want)


@pytest.mark.parametrize("penalty", [None, 0.6])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergence_torch(name: str, penalty: Any) -> None:
    at = [torch.tensor(x, requires_grad=True) for x in SIDES]
    quantity = DIVERGENCES[name](diverge(penalty, tuple(at)), torch.tensor)
    check_divergence(name, penalty, torch.autograd.grad(quantity, at))


@pytest.mark.parametrize("penalty", [None, 0.6])
def test_divergence_jax_under_jit(penalty: Any) -> None:
    """Both quantities of one divergence, which is compiled once."""

    def quantities(*x: Any) -> Any:
        result = diverge(penalty, x)
        return jnp.stack([quantity(result, jnp.array) for quantity in DIVERGENCES.values()])

    rows = jax.jit(jax.jacrev(quantities, argnums=(0, 1, 2, 3, 4)))(*map(jnp.array, SIDES))
    for k, name in enumerate(DIVERGENCES):
        check_divergence(name, penalty, [row[k] for row in rows])


class TestSecondDerivatives:
    def test_of_a_divergence_in_the_points(self) -> None:
        along = np.random.default_rng(1).standard_normal(X.shape)

        def slope(x: torch.Tensor) -> torch.Tensor:
            value = sinkhorn_divergence(x, torch.tensor(Y), epsilon=0.2, **TIGHT).value
            return torch.autograd.grad(value, x, create_graph=True)[0]

        x = torch.tensor(X, requires_grad=True)
        (twice,) = torch.autograd.grad((slope(x) * torch.tensor(along)).sum(), x)

        def at(t: float) -> np.ndarray:
            return slope(torch.tensor(X + t * along, requires_grad=True)).detach().numpy()

        h = 1e-3
        want = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)
        np.testing.assert_allclose(twice.numpy(), want, atol=1e-7)

    def test_jax_reverse_over_reverse_of_a_cloud(self) -> None:
        y = jnp.array(Y[:3])

        def value(x: Any) -> Any:
            return sinkhorn(PointCloud(x, y), epsilon=0.3, **TIGHT).value

        x = jnp.array(X[:4])
        hessian = jax.jit(jax.jacrev(jax.grad(value)))(x).reshape(12, 12)
        np.testing.assert_allclose(hessian, hessian.T, atol=1e-9)
        along = np.random.default_rng(1).standard_normal(X[:4].shape)
        h, grad = 1e-3, jax.jit(jax.grad(value))
        want = (
            grad(x - 2 * h * along) - 8 * grad(x - h * along) + 8 * grad(x + h * along) - grad(x + 2 * h * along)
        ) / (12 * h)
        np.testing.assert_allclose(hessian @ along.reshape(-1), want.reshape(-1), atol=1e-7)
