from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from equipoise.arrays import namespace
from equipoise.implicit import differentiable, solve_symmetric
from equipoise.record import record

from .backends import Case


@record
class Pair:
    first: Any
    second: Any


def _root_vjp(bar: Any, out: Any, args: tuple[Any, ...], *, steps: int) -> Any:
    (pair, _) = args
    seen.append(tuple(part is None for part in (bar.first, bar.second)))
    first = bar.first / (2 * out.first) if bar.first is not None else 0 * pair.first
    return Pair(first, 0 * pair.second if bar.second is None else bar.second), None


seen: list[tuple[bool, bool]] = []


@differentiable(_root_vjp)
def root(pair: Pair, scale: float, *, steps: int) -> Pair:
    """Newton's iteration for the square root of `first`: a loop that derivatives must not unroll."""
    x = pair.first
    for _ in range(steps):
        x = (x + pair.first / x) / 2
    return Pair(x, 1.0 * pair.second)


def _twice_vjp(bars: Any, out: Any, args: tuple[Any, ...], *, same: bool) -> tuple[Any, ...]:
    first, second = (0.0 if bar is None else bar for bar in bars)
    return (2.0 * first + 30.0 * second,)


@differentiable(_twice_vjp)
def twice(x: Any, *, same: bool) -> tuple[Any, Any]:
    """One array in two places, which have derivatives of their own; with `same`, that which came in."""
    y = x if same else 2.0 * x
    return y, y


class TestOneArrayInTwoPlaces:
    @pytest.mark.parametrize("same", [True, False])
    @pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (2.0, 3.0)])
    def test_each_has_its_cotangent(self, same: bool, weights: tuple[float, float]) -> None:
        def loss(x: Any) -> Any:
            return sum(w * part[0] for w, part in zip(weights, twice(x, same=same), strict=True) if w)

        expected = [2.0 * weights[0] + 30.0 * weights[1]]
        x = torch.ones(1, requires_grad=True)
        assert torch.autograd.grad(loss(x), x)[0].tolist() == expected
        assert torch.func.grad(loss)(torch.ones(1)).tolist() == expected
        assert jax.grad(loss)(jnp.ones(1)).tolist() == expected


class TestDifferentiable:
    def test_without_derivatives_it_is_the_function(self, on: Case) -> None:
        out = on.call(lambda a, b: root(Pair(a, b), 1.0, steps=40).first, np.array([4.0]), np.array([1.0]))
        assert abs(float(on.numpy(out)[0]) - 2) < 1e-14

    @pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
    def test_jax_in_trees_and_unused_outputs_are_none(self, transform: Any) -> None:
        seen.clear()
        grad = transform(jax.grad(lambda p: root(p, 1.0, steps=40).first[0]))(Pair(jnp.array([4.0]), jnp.ones(1)))
        assert float(grad.first[0]) == 0.25
        assert float(grad.second[0]) == 0
        assert seen == [(False, True)]

    def test_torch_in_trees_and_unused_outputs_are_none(self) -> None:
        seen.clear()
        x, y = torch.tensor([4.0], requires_grad=True), torch.ones(1, requires_grad=True)
        root(Pair(x, y), 1.0, steps=40).first.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [0.25]
        assert seen == [(False, True)]

    def test_torch_second_derivative(self) -> None:
        x = torch.tensor([4.0], requires_grad=True, dtype=torch.float64)
        one = torch.ones(1, dtype=torch.float64)
        assert torch.autograd.gradgradcheck(lambda x: root(Pair(x, one), 1.0, steps=60).first, (x,))

    def test_jax_second_derivative(self) -> None:
        fn = lambda x: root(Pair(x, x), 1.0, steps=60).first  # noqa: E731
        assert abs(float(jax.grad(jax.grad(fn))(4.0)) + 1 / 32) < 1e-12


def matvec(x: Any, parameters: Any) -> Any:
    xp = namespace(x)
    root, ridge = parameters
    return xp.matmul(root, xp.matmul(xp.matrix_transpose(root), x[..., None]))[..., 0] + ridge * x


class TestSolveSymmetric:
    rng = np.random.default_rng(0)
    root, rhs, ridge = rng.standard_normal((3, 6, 6)), rng.standard_normal((3, 6)), np.array(0.3)

    def exact(self) -> np.ndarray:
        matrices = self.root @ np.swapaxes(self.root, -1, -2) + 0.3 * np.eye(6)
        return np.linalg.solve(matrices, self.rhs[..., None])[..., 0]

    def test_solves_a_batch(self, on: Case) -> None:
        fn = lambda r, s, t: solve_symmetric(r, (s, t), matvec=matvec, tol=1e-13)  # noqa: E731
        out = on.numpy(on.call(fn, self.rhs, self.root, self.ridge))
        np.testing.assert_allclose(out, self.exact(), rtol=0, atol=1e-10)

    def test_zero_right_hand_side(self, on: Case) -> None:
        fn = lambda r, s, t: solve_symmetric(r, (s, t), matvec=matvec, tol=1e-13)  # noqa: E731
        out = on.numpy(on.call(fn, 0 * self.rhs, self.root, self.ridge))
        assert np.all(out == 0)

    def test_derivatives_of_any_order(self) -> None:
        fn = lambda r, s, t: solve_symmetric(r, (s, t), matvec=matvec, tol=1e-14)  # noqa: E731
        at = [torch.tensor(x, requires_grad=True) for x in (self.rhs[0, :3], self.root[0, :3, :3], self.ridge)]
        assert torch.autograd.gradcheck(fn, at)
        assert torch.autograd.gradgradcheck(fn, at, atol=1e-4)
        weights = jnp.array([1.0, -2.0, 3.0])
        loss = lambda *x: (fn(*x) * weights).sum()  # noqa: E731
        jaxed = jax.grad(loss, argnums=(0, 1, 2))(*(jnp.array(x.detach().numpy()) for x in at))
        torched = torch.autograd.grad((fn(*at) * torch.tensor(np.asarray(weights))).sum(), at)
        for x, y in zip(jaxed, torched, strict=True):
            np.testing.assert_allclose(x, y.numpy(), atol=1e-10)
