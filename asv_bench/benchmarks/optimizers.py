"""Optimizers side by side: the same problem, the same data at the same step, the same budget of gradients and products.

A product with the Hessian counts as one gradient. Every method has a learning rate and one more number (`knob`: our
step and HeavyBall's, the momentum of SGD, the second decay of Adam), and both are found by the same walk on a grid, on
another seed than those reported and with half the budget. All take the same schedule: constant, and from the middle on
down to zero in a line. What is judged is the loss without noise, or of all data, less the least there is. The clock
stops while we judge.

HeavyBall runs as plain torch, without its compilation, which takes minutes. Its PSGD whitens the momentum, ours the
gradient. Its products with the Hessian are left out: its update was seen to get gradients all the same in version
3.2.1.
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

__all__ = ["METHODS", "PROBLEMS", "Method", "Problem", "Run", "run", "tuned"]

TUNING = 100  # the seed on which rates are found
BATCH = 32
NOISE = 0.3
Params = list[Any]


def torch() -> Any:
    """torch, on one thread."""
    import torch

    torch.set_num_threads(1)
    return torch


# ---------------------------------------------------------------------------------------------------------------------
# Problems


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


# ---------------------------------------------------------------------------------------------------------------------
# Methods


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


# ---------------------------------------------------------------------------------------------------------------------
# Runs


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


def run(problem: Problem, method: Method, lr: float, knob: float, seed: int) -> Run:
    """One run of a method from its own start with its own noise."""
    if method.whole is not None:
        return method.whole(problem, lr, knob, seed)
    params = problem.start(seed)
    optimizer = method.make(params, lr, knob, seed)
    budget = problem.budget * method.times
    if method.exact:
        return run_exact(problem, params, optimizer, budget)
    steps = budget // method.cost
    looks = {max(1, round(share * steps)) for share in LOOKS}
    excess, seconds = [], 0.0
    for k in range(steps):
        data = problem.batch(seed, k)
        begun = time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, 2.0 * (1.0 - k / steps))
        if method.closure == "loss":
            optimizer.zero_grad()
            optimizer.step(functools.partial(problem.loss, params, data))
        elif method.closure == "backward":
            optimizer.step(functools.partial(backward, problem, params, data))
        else:
            backward(problem, params, data)
            optimizer.step()
        seconds += time.process_time() - begun
        if k + 1 in looks:
            excess.append(problem.excess(params))
            if not math.isfinite(excess[-1]):
                return Run((math.inf,) * len(LOOKS), seconds, k + 1)
    return Run(tuple(excess), seconds, budget)


def run_exact(problem: Problem, params: Params, optimizer: Any, budget: int) -> Run:
    """A method that takes all data, or no noise, each time: an evaluation counts as many gradients as data cost."""
    excess, used, begun = [math.nan] * len(LOOKS), 0.0, time.process_time()
    best = math.inf

    def closure() -> Any:
        nonlocal used, best
        used += problem.epoch
        loss = backward(problem, params, problem.all_data)
        if used <= budget:
            best = min(best, float(loss.detach()) - problem.least)
        for k, share in enumerate(LOOKS):
            if used <= share * budget:
                excess[k] = best
        return loss

    while used < budget:
        before = used
        optimizer.step(closure)
        if used - before <= problem.epoch:  # it takes no further step
            break
    return Run(tuple(excess), time.process_time() - begun, int(used))


# ---------------------------------------------------------------------------------------------------------------------
# Rates


def rate(place: int) -> float:
    """Two marks a decade: 0.01, 0.03, 0.1, ..."""
    return float(f"{10.0 ** (place / 2.0):.0e}")


def tuned(problem: Problem, method: Method) -> tuple[float, float]:
    """Walk along the rates as long as they get better, then try the other knob at the best one."""
    if method.exact:
        return 1.0, method.knobs[0]

    shorter = replace(problem, budget=problem.budget // 2)

    @functools.cache
    def tried(place: int, knob: float) -> float:
        last = run(shorter, method, rate(place), knob, TUNING).last
        return last if math.isfinite(last) else math.inf

    knob, best = method.knobs[0], round(2.0 * math.log10(method.first))
    while best > -8 and not math.isfinite(tried(best, knob)):
        best -= 1
    for way in (1, -1):
        moved = False
        while abs(best + way) <= 8 and tried(best + way, knob) < tried(best, knob):
            best, moved = best + way, True
        if moved:
            break
    if tried(best, method.knobs[1]) < tried(best, knob):
        knob = method.knobs[1]
    return rate(best), knob


def needed() -> None:
    """The optimizer, unless this version lacks it."""
    try:
        from equipoise_torch import PSGD  # noqa: F401
    except ImportError as error:
        raise NotImplementedError(str(error)) from error


# ---------------------------------------------------------------------------------------------------------------------
# asv


RATED: dict[str, dict[str, tuple[float, float]]] = {  # rate and knob, as `tuned` found them
    "logistic": {
        "PSGD kronecker, whitening": (0.1, 0.1),
        "PSGD kronecker, Hessian": (0.3, 0.1),
        "Adam": (0.1, 0.95),
        "SGD with momentum": (3.0, 0.9),
        "HeavyBall PSGDKron": (0.03, 0.3),
        "HeavyBall PSGDPRO": (0.03, 0.1),
        "HeavyBall SOAP": (0.3, 0.999),
    },
    "tensor": {
        "PSGD kronecker, whitening": (0.3, 0.1),
        "Adam": (0.1, 0.95),
        "HeavyBall PSGDKron": (0.3, 0.3),
        "HeavyBall SOAP": (1.0, 0.95),
    },
}
OURS = "PSGD kronecker, whitening"
PAIRS = [(name, peer) for name, found in RATED.items() for peer in found if not peer.startswith("PSGD")]


class AgainstPeers:
    """Ours (kronecker, whitening) over a peer, each at its own rate, lower is better: the excess loss of the whole
    budget, and the CPU time of a step.
    """

    params: ClassVar = [[f"{name}: {peer}" for name, peer in PAIRS]]
    param_names: ClassVar = ["peer"]
    timeout = 600

    def setup_cache(self) -> dict[str, tuple[float, float] | str]:
        needed()
        ratios: dict[str, tuple[float, float] | str] = {}
        mine = {name: least(PROBLEMS[name](), METHODS[name][OURS], *RATED[name][OURS]) for name in dict(PAIRS)}
        for name, peer in PAIRS:
            try:
                theirs = least(PROBLEMS[name](), METHODS[name][peer], *RATED[name][peer])
            except ImportError as error:
                ratios[f"{name}: {peer}"] = str(error)
                continue
            seconds = mine[name].seconds * theirs.gradients / (mine[name].gradients * theirs.seconds)
            ratios[f"{name}: {peer}"] = mine[name].last / theirs.last, seconds
        return ratios

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def setup(self, ratios: dict[str, tuple[float, float] | str], peer: str) -> None:
        if isinstance(ratios[peer], str):
            raise NotImplementedError(ratios[peer])

    def track_loss_ratio(self, ratios: dict[str, Any], peer: str) -> float:
        return float(ratios[peer][0])

    track_loss_ratio.unit = "excess loss, ours over theirs"  # type: ignore[attr-defined]

    def track_time_ratio(self, ratios: dict[str, Any], peer: str) -> float:
        return float(ratios[peer][1])

    track_time_ratio.unit = "CPU time of a gradient, ours over theirs"  # type: ignore[attr-defined]


def least(problem: Problem, method: Method, lr: float, knob: float, rounds: int = 2) -> Run:
    """A run with the least CPU time of some; losses are the same each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return min((run(problem, method, lr, knob, 0) for _ in range(rounds)), key=lambda done: done.seconds)


class Losses:
    """Excess losses of ours after the whole budget: the same on every machine up to rounding."""

    params: ClassVar = [["logistic: PSGD kronecker, whitening", "logistic: PSGD kronecker, Hessian"]]
    param_names: ClassVar = ["case"]

    def setup(self, case: str) -> None:
        needed()

    def track_excess(self, case: str) -> float:
        name, _, label = case.partition(": ")
        return run(PROBLEMS[name](), METHODS[name][label], *RATED[name][label], 0).last

    track_excess.unit = "excess loss"  # type: ignore[attr-defined]
