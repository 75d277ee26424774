"""Derivatives of what a transport result holds, against central differences, and its other formulas."""

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
from equipoise.transport import TransportResult, sinkhorn

from .test_sinkhorn import problem

rng = np.random.default_rng(5)
ROW, COLUMN = rng.standard_normal(7), rng.standard_normal(5)


@pytest.fixture(autouse=True)
def _as_converged_as_can_be() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)  # the tolerance below is the rounding error
        yield


def solve(cost: Any, a: Any, b: Any, epsilon: Any) -> TransportResult:
    return sinkhorn(cost, a, b, epsilon=epsilon, tol=1e-14, max_steps=3000)


# What is differentiated: every kind of thing that a result offers.
QUANTITIES: dict[str, Callable[[TransportResult, Callable[[Any], Any]], Any]] = {
    "value": lambda r, of: r.value,
    "potentials": lambda r, of: (of(ROW) * r.f).sum() + (of(COLUMN) * r.g**2).sum(),
    "one potential": lambda r, of: (of(COLUMN) * r.g).sum(),
    "plan": lambda r, of: (of(np.outer(ROW, COLUMN)) * r.plan()).sum(),
    "transport cost": lambda r, of: r.transport_cost,
    "apply": lambda r, of: (r.apply(of(COLUMN)) ** 2).sum(),
}


def directions() -> list[tuple[np.ndarray, ...]]:
    """Changes of cost, a, b and epsilon; those of the weights keep their totals."""
    da, db = rng.standard_normal(7), rng.standard_normal(5)
    zero = (np.zeros((7, 5)), np.zeros(7), np.zeros(5), np.zeros(()))
    one = (rng.standard_normal((7, 5)), da - da.mean(), db - db.mean(), np.ones(()))
    return [tuple(one[j] if j == k else zero[j] for j in range(4)) for k in range(4)]


def difference(fn: Callable[..., float], at: tuple[Any, ...], along: tuple[Any, ...], step: float = 2e-4) -> float:
    """A fourth-order central difference."""
    f = [fn(*(x + k * step * d for x, d in zip(at, along, strict=True))) for k in (-2, -1, 1, 2)]
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)


AT = (*problem(), np.array(0.1))
DIRECTIONS = directions()


@functools.cache
def numbers(name: str) -> list[float]:
    return [difference(lambda *x: float(QUANTITIES[name](solve(*x), np.asarray)), AT, d) for d in DIRECTIONS]


def check(name: str, gradients: Any) -> None:
    for want, along in zip(numbers(name), DIRECTIONS, strict=True):
        got = sum(float((np.asarray(g) * d).sum()) for g, d in zip(gradients, along, strict=True))
        assert abs(got - want) < 1e-6 * (1 + abs(want)), (got, want)


@pytest.mark.parametrize("name", QUANTITIES)
class TestGradients:
    @pytest.mark.parametrize("portable", [False, True])
    def test_torch(self, name: str, portable: bool) -> None:
        at = [torch.tensor(x, requires_grad=True) for x in AT]
        with eq.portable() if portable else warnings.catch_warnings():
            quantity = QUANTITIES[name](solve(*at), torch.tensor)
            check(name, torch.autograd.grad(quantity, at))

    def test_torch_func(self, name: str) -> None:
        grad = torch.func.grad(lambda *x: QUANTITIES[name](solve(*x), torch.tensor), argnums=(0, 1, 2, 3))
        check(name, grad(*map(torch.tensor, AT)))

    def test_jax(self, name: str) -> None:
        grad = jax.grad(lambda *x: QUANTITIES[name](solve(*x), jnp.array), argnums=(0, 1, 2, 3))
        check(name, grad(*map(jnp.array, AT)))


def test_gradients_under_jit() -> None:
    """All quantities of one solve, which is compiled once: a row of the Jacobian is the gradient of one."""

    def quantities(*x: Any) -> Any:
        result = solve(*x)
        return jnp.stack([quantity(result, jnp.array) for quantity in QUANTITIES.values()])

    rows = jax.jit(jax.jacrev(quantities, argnums=(0, 1, 2, 3)))(*map(jnp.array, AT))
    for k, name in enumerate(QUANTITIES):
        check(name, [row[k] for row in rows])


class TestSecondDerivatives:
    cost = np.random.default_rng(2).random((4, 3))
    along = np.random.default_rng(3).standard_normal((4, 3))

    def expected(self) -> np.ndarray:
        def plan(t: float) -> np.ndarray:
            return sinkhorn(self.cost + t * self.along, epsilon=0.2, tol=1e-14, max_steps=3000).plan()

        h = 1e-4
        return (plan(-2 * h) - 8 * plan(-h) + 8 * plan(h) - plan(2 * h)) / (12 * h)

    def test_jax_reverse_over_reverse(self) -> None:
        grad = jax.grad(lambda c: sinkhorn(c, epsilon=0.2, tol=1e-14, max_steps=3000).value)
        hessian = jax.jit(jax.jacrev(grad))(jnp.array(self.cost))
        np.testing.assert_allclose(jnp.tensordot(hessian, self.along, 2), self.expected(), atol=1e-8)

    def test_torch_twice(self) -> None:
        cost = torch.tensor(self.cost, requires_grad=True)
        value = sinkhorn(cost, epsilon=0.2, tol=1e-14, max_steps=3000).value
        (grad,) = torch.autograd.grad(value, cost, create_graph=True)
        (second,) = torch.autograd.grad((grad * torch.tensor(self.along)).sum(), cost)
        np.testing.assert_allclose(second.numpy(), self.expected(), atol=1e-8)

    def test_of_the_potentials(self) -> None:
        cost = torch.tensor(self.cost[:3], requires_grad=True)
        assert torch.autograd.gradgradcheck(
            lambda c: sinkhorn(c, epsilon=0.3, tol=1e-15, max_steps=2000).f.square().sum(), (cost,), atol=1e-5
        )

    def test_forward_mode_says_no(self) -> None:
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(lambda c: sinkhorn(c, epsilon=0.2).value, (jnp.array(self.cost),), (jnp.array(self.along),))


class TestGradientsOfBatches:
    def test_a_batch_is_its_members(self) -> None:
        cost, a, b = problem(batch=(3,))
        grad = jax.grad(lambda *x: sinkhorn(*x, epsilon=0.1, tol=1e-12).value.sum(), argnums=(0, 1, 2))
        together = grad(*map(jnp.array, (cost, a, b)))
        for k in range(3):
            alone = grad(*(jnp.array(x[k]) for x in (cost, a, b)))
            for x, y in zip(together, alone, strict=True):
                np.testing.assert_allclose(x[k], y, atol=1e-10)
        mapped = jax.jit(jax.vmap(grad))(*map(jnp.array, (cost, a, b)))
        for x, y in zip(together, mapped, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-10)

    def test_weights_that_broadcast(self) -> None:
        cost, a, b = problem(batch=(3,))
        weights = torch.tensor(a[0], requires_grad=True)
        sinkhorn(torch.tensor(cost), weights, torch.tensor(b), epsilon=0.1, tol=1e-12).value.sum().backward()
        total = sum(sinkhorn(cost[k], a[0], b[k], epsilon=0.1, tol=1e-12).f for k in range(3))
        np.testing.assert_allclose(weights.grad, total, atol=1e-9)

    def test_points_of_weight_zero_give_no_nan(self) -> None:
        cost, a, b = problem()
        a[2], b[0] = 0, 0
        a, b = a / a.sum(), b / b.sum()
        at = [torch.tensor(x, requires_grad=True) for x in (cost, a, b)]
        result = sinkhorn(*at, epsilon=0.1, tol=1e-12)
        (result.value + result.f[2] + result.plan().square().sum()).backward()
        for x in at:
            assert torch.all(torch.isfinite(x.grad))


class TestNothingIsDoneTwice:
    @pytest.mark.parametrize("kind", ["jit", "grad", "vmap"])
    def test_no_recompilation_for_new_values(self, kind: str) -> None:
        traced: list[int] = []

        def value(cost: Any, epsilon: Any) -> Any:
            traced.append(1)
            return sinkhorn(cost, epsilon=epsilon).value

        transforms = {"jit": value, "grad": jax.grad(value), "vmap": jax.vmap(value, (0, None))}
        fn = jax.jit(transforms[kind])
        for k in range(3):
            fn(jnp.array(problem(seed=k, batch=(2,) if kind == "vmap" else ())[0]), 0.1 + k)
        assert len(traced) == 1

    def test_error_and_history_carry_no_gradient(self) -> None:
        result = sinkhorn(torch.tensor(problem()[0], requires_grad=True), epsilon=0.1)
        assert result.f.requires_grad
        assert not result.error.requires_grad
        assert not result.history.error.requires_grad


def test_a_result_prints_what_matters() -> None:
    assert "steps" in repr(sinkhorn(problem()[0], epsilon=0.1))
    assert "CONVERGED" in repr(sinkhorn(problem()[0], epsilon=0.1))
