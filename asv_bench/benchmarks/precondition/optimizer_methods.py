"""The optimizers that are compared: ours, HeavyBall's, first-order and quasi-Newton methods, made alike.

Every method has a learning rate and one more number (`knob`: our step and HeavyBall's, the momentum of SGD, the second
decay of Adam). HeavyBall runs as plain torch, without its compilation, which takes minutes. Its PSGD whitens the
momentum, ours the gradient. Its products with the Hessian are left out: its update was seen to get gradients all the
same in version 3.2.1.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .optimizer_problems import Params, Problem, parameters, torch

__all__ = ["LOOKS", "METHODS", "Method", "Run"]


@dataclass(frozen=True)
class Run:
    """Excess losses after a quarter, half and all of the budget, and CPU seconds without the judge's."""

    excess: tuple[float, ...]
    seconds: float
    gradients: int

    @property
    def last(self) -> float:
        return self.excess[-1]


LOOKS = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Method:
    """``make(params, lr, knob, seed)`` gives an optimizer; `cost` gradients a step, `times` the budget.

    `closure` says what its ``step`` is given: "none", "loss" (nothing backward), or "backward".
    """

    make: Callable[..., Any]
    knobs: tuple[float, float]
    first: float
    cost: int = 1
    closure: str = "none"
    times: int = 1
    exact: bool = False  # takes all data, or the function without noise, at every step
    whole: Callable[..., Run] | None = None  # does the run by itself


def ours(kind: str, pairs: str = "whitening", form: str = "quad", clip: Any = (2.0, 10.0)) -> Callable[..., Any]:
    def make(params: Params, lr: float, knob: float, seed: int) -> Any:
        from equipoise_torch import PSGD

        from equipoise.precondition import psgd

        P = psgd(kind, form=form, step=knob, rank=min(10, min(p.numel() for p in params)))
        return PSGD(params, lr, preconditioner=P, pairs=pairs, hvp="exact", clip=clip, seed=seed)

    return make


def heavyball(name: str, **settings: Any) -> Callable[..., Any]:
    def make(params: Params, lr: float, knob: float, seed: int) -> Any:
        import heavyball

        heavyball.utils.compile_mode = None
        torch().manual_seed(seed)
        own = {"betas": (0.9, knob)} if name == "SOAP" else {"precond_lr": knob}
        return getattr(heavyball, name)(params, lr=lr, **own, **settings)

    return make


def sgd(params: Params, lr: float, knob: float, seed: int) -> Any:
    return torch().optim.SGD(params, lr, momentum=knob, dampening=knob)


def adam(params: Params, lr: float, knob: float, seed: int) -> Any:
    return torch().optim.Adam(params, lr, betas=(0.9, knob))


def lbfgs(params: Params, lr: float, knob: float, seed: int) -> Any:
    return torch().optim.LBFGS(params, lr, max_iter=20, history_size=int(knob), line_search_fn="strong_wolfe")


class OnlineLBFGS:
    """L-BFGS whose pairs are differences of two gradients of one batch, as with noise they have to be.

    N. Schraudolph, J. Yu, S. Guenter, "A stochastic quasi-Newton method for online convex optimization", 2007: two
    gradients a step, the scale of the start averaged over the pairs, and no line search.
    """

    def __init__(self, params: Params, lr: float, knob: float, seed: int) -> None:
        self.params, self.pairs, self.damping = params, [], knob
        self.param_groups = [{"lr": lr}]

    def flat(self, what: str) -> Any:
        return torch().cat([getattr(p, what).reshape(-1) for p in self.params])

    def step(self, closure: Callable[[], Any]) -> None:
        closure()
        g, lr = self.flat("grad"), self.param_groups[0]["lr"]
        q, kept = g.clone(), []
        for s, y, rho in reversed(self.pairs):
            kept.append(rho * s.dot(q))
            q -= kept[-1] * y
        scale = sum(float(s.dot(y) / y.dot(y)) for s, y, _ in self.pairs) / len(self.pairs) if self.pairs else 0.1
        q *= scale
        for (s, y, rho), a in zip(self.pairs, reversed(kept), strict=True):
            q += s * (a - rho * y.dot(q))
        place = 0
        with torch().no_grad():
            for p in self.params:
                p -= lr * q[place : place + p.numel()].reshape(p.shape)
                place += p.numel()
        closure()
        s = -lr * q
        y = self.flat("grad") - g + self.damping * s
        if float(s.dot(y)) > 1e-10 * float(s.dot(s)) > 0.0:
            self.pairs = [*self.pairs[-9:], (s, y, 1.0 / s.dot(y))]


@functools.cache
def jitted(knob: float) -> Any:
    """A step of the regression in jax: parameters, state, a batch and a rate in, parameters and state out."""
    import jax
    import jax.numpy as jnp
    import optax
    from equipoise_jax import psgd

    from equipoise.precondition import psgd as settings

    tx = psgd(1.0, preconditioner=settings("kronecker", step=knob))

    def loss(w: Any, x: Any, y: Any) -> Any:
        z = x @ w
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean() + 5e-5 * jnp.sum(w**2)

    def step(w: Any, state: Any, x: Any, y: Any, rate: Any) -> tuple[Any, Any]:
        move, state = tx.update(jax.grad(loss)(w, x, y), state, w)
        return w + rate * move, state

    return tx, jax.jit(step)


def run_jax(problem: Problem, lr: float, knob: float, seed: int) -> Run:
    """The regression by ``equipoise_jax.psgd``: the same batches and rates; the clock starts after compilation."""
    import jax
    import jax.numpy as jnp

    tx, step = jitted(knob)
    w, steps, excess, seconds = jnp.zeros((65, 10), jnp.float32), problem.budget, [], 0.0
    state = tx.init(w)
    first = [part.numpy() for part in problem.batch(seed, 0)]
    jax.block_until_ready(step(w, state, *first, 0.0))
    for k in range(steps):
        x, y = (part.numpy() for part in problem.batch(seed, k))
        begun = time.process_time()
        w, state = step(w, state, x, y, lr * min(1.0, 2.0 * (1.0 - k / steps)))
        jax.block_until_ready(w)
        seconds += time.process_time() - begun
        if k + 1 in {max(1, round(share * steps)) for share in LOOKS}:
            excess.append(problem.excess(parameters(w)))
    return Run(tuple(excess), seconds, steps)


STEPS = (0.1, 0.3)
FIRST_ORDER = {
    "SGD with momentum": Method(sgd, (0.9, 0.98), 0.1),
    "Adam": Method(adam, (0.999, 0.95), 0.03),
    "Adam, 10 times the gradients": Method(adam, (0.999, 0.95), 0.03, times=10),
}
QUASI_NEWTON = {
    "L-BFGS, pairs of one batch": Method(OnlineLBFGS, (0.1, 1.0), 0.3, cost=2, closure="backward"),
    "L-BFGS, all data, no noise": Method(lbfgs, (10, 30), 1.0, closure="backward", exact=True),
}
PEERS = {
    "HeavyBall PSGDKron": Method(heavyball("PSGDKron", min_ndim_triangular=1), STEPS, 0.03),
    "HeavyBall PSGDPRO": Method(heavyball("PSGDPRO"), STEPS, 0.03),
    "HeavyBall SOAP": Method(heavyball("SOAP"), (0.999, 0.95), 0.03),
}
OURS_VECTOR = {
    "PSGD dense, Hessian": Method(ours("dense", "hessian"), STEPS, 0.3, cost=2, closure="loss"),
    "PSGD dense, whitening": Method(ours("dense"), STEPS, 0.03),
}
OURS_MATRIX = {
    "PSGD kronecker, Hessian": Method(ours("kronecker", "hessian"), STEPS, 0.3, cost=2, closure="loss"),
    "PSGD kronecker, whitening": Method(ours("kronecker"), STEPS, 0.03),
}
OURS_JAX = {"PSGD kronecker, whitening, jax": Method(sgd, STEPS, 0.03, whole=run_jax)}
LOW_RANK = {"PSGD low_rank, Hessian": Method(ours("low_rank", "hessian"), STEPS, 0.3, cost=2, closure="loss")}

VECTOR_PEERS = {name: PEERS[name] for name in ("HeavyBall PSGDKron", "HeavyBall SOAP")}
METHODS: dict[str, dict[str, Method]] = {
    "rosenbrock-2": {**OURS_VECTOR, **VECTOR_PEERS},
    "rosenbrock-100": {**OURS_VECTOR, **LOW_RANK, **VECTOR_PEERS},
    "logistic": {**OURS_MATRIX, **OURS_JAX, "PSGD dense, Hessian": OURS_VECTOR["PSGD dense, Hessian"], **PEERS},
    "tensor": {**OURS_MATRIX, **PEERS},
    "network": {**OURS_MATRIX, **PEERS},
}
METHODS = {name: {**methods, **FIRST_ORDER, **QUASI_NEWTON} for name, methods in METHODS.items()}
