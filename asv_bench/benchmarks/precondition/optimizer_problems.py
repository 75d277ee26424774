"""The problems that optimizers are compared on, and their judge: the loss without noise, or of all data."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["PROBLEMS", "Params", "Problem", "backward", "parameters", "torch"]

BATCH = 32
NOISE = 0.3
Params = list[Any]


def torch() -> Any:
    """torch, on one thread."""
    import torch

    torch.set_num_threads(1)
    return torch


@dataclass(frozen=True)
class Problem:
    """Parameters, a loss of a batch, and a judge; `budget` counts gradients, `epoch` is what all data cost in them."""

    start: Callable[[int], Params]
    batch: Callable[[int, int], Any]
    loss: Callable[[Params, Any], Any]
    all_data: Any
    budget: int
    epoch: float = 1.0
    least: float = 0.0

    def excess(self, params: Params) -> float:
        """The loss without noise less the least one."""
        with torch().no_grad():
            return float(self.loss(params, self.all_data)) - self.least


def parameters(*arrays: Any) -> Params:
    t = torch()
    return [t.nn.Parameter(t.as_tensor(np.asarray(x, dtype=np.float32))) for x in arrays]


def rosenbrock(n: int) -> Problem:
    """The sum of n/2 Rosenbrock functions of two numbers each, plus a fresh normal w x at every step: noisy
    gradients.
    """
    t = torch()

    def start(seed: int) -> Params:
        return parameters(np.resize([-1.2, 1.0], n))

    def batch(seed: int, k: int) -> Any:
        return t.as_tensor(NOISE * np.random.default_rng((seed, k)).standard_normal(n).astype(np.float32))

    def loss(params: Params, w: Any) -> Any:
        x, y = params[0][0::2], params[0][1::2]
        return (100.0 * (y - x**2) ** 2 + (1.0 - x) ** 2).sum() + (w * params[0]).sum()

    return Problem(start, batch, loss, t.zeros(n), budget=500)


@functools.cache
def digits() -> tuple[Any, Any]:
    """scikit-learn's digits, 1797 of them, in [0, 1] and with a column of ones."""
    from sklearn.datasets import load_digits

    t, (x, y) = torch(), load_digits(return_X_y=True)
    x = np.concatenate([x / 16.0, np.ones((len(x), 1))], axis=1)
    return t.as_tensor(x.astype(np.float32)), t.as_tensor(y)


def of_digits(seed: int, k: int) -> tuple[Any, Any]:
    """The batch of step k."""
    x, y = digits()
    rows = np.random.default_rng((seed, k)).integers(0, len(y), BATCH)
    return x[rows], y[rows]


def logistic() -> Problem:
    """Multinomial logistic regression with a ridge of 1e-4, batches of 32."""
    t, data = torch(), digits()

    def loss(params: Params, data: Any) -> Any:
        x, y = data
        return t.nn.functional.cross_entropy(x @ params[0], y) + 5e-5 * (params[0] ** 2).sum()

    def start(seed: int) -> Params:
        return parameters(np.zeros((65, 10)))

    made = Problem(start, of_digits, loss, data, budget=500, epoch=len(data[1]) / BATCH)
    return replace(made, least=bottom(made))


def bottom(problem: Problem) -> float:
    """The least loss of a convex problem, in float64."""
    t = torch()
    x = [p.detach().double().requires_grad_(True) for p in problem.start(0)]
    data = (problem.all_data[0].double(), problem.all_data[1])
    optimizer = t.optim.LBFGS(x, max_iter=500, tolerance_grad=1e-8, tolerance_change=0.0, line_search_fn="strong_wolfe")
    optimizer.step(functools.partial(backward, problem, x, data))
    return float(problem.loss(x, data))


def backward(problem: Problem, params: Params, data: Any) -> Any:
    """The loss, and its gradient where optimizers look for it."""
    for p in params:
        p.grad = None
    loss = problem.loss(params, data)
    loss.backward()
    return loss


def network() -> Problem:
    """A network on the digits with one layer of 32 hidden units, batches of 32."""
    t, data = torch(), digits()

    def start(seed: int) -> Params:
        rng = np.random.default_rng((seed, 7))
        return parameters(rng.standard_normal((65, 32)) / 8.0, rng.standard_normal((33, 10)) / 6.0)

    def loss(params: Params, data: Any) -> Any:
        (first, second), (x, y) = params, data
        hidden = t.tanh(x @ first)
        return t.nn.functional.cross_entropy(hidden @ second[:-1] + second[-1], y)

    return Problem(start, of_digits, loss, data, budget=300, epoch=len(data[1]) / BATCH)


def tensor() -> Problem:
    """A tensor of shape (12, 16, 20) and rank 6 as a sum of products, from random factors; no noise."""
    t, rng = torch(), np.random.default_rng(5)
    shape, rank = (12, 16, 20), 6
    goal = t.einsum("ir,jr,kr->ijk", *parameters(*(rng.standard_normal((n, rank)) for n in shape))).detach()
    size = float((goal**2).mean())

    def start(seed: int) -> Params:
        rng = np.random.default_rng((seed, 11))
        return parameters(*(rng.standard_normal((n, rank)) for n in shape))

    def loss(params: Params, data: Any) -> Any:
        return ((t.einsum("ir,jr,kr->ijk", *params) - goal) ** 2).mean() / size

    return Problem(start, lambda seed, k: None, loss, None, budget=300)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "rosenbrock-2": functools.cache(lambda: rosenbrock(2)),
    "rosenbrock-100": functools.cache(lambda: rosenbrock(100)),
    "logistic": functools.cache(logistic),
    "tensor": functools.cache(tensor),
    "network": functools.cache(network),
}
