"""PSGD as a torch optimizer: parameters and gradients in, what the portable step makes of them out.

The state of a parameter is plain tensors under its own key, so that it is stored like that of any optimizer and read
back with ``weights_only=True``. The settings of the preconditioner stand in the parameter groups as plain numbers for
the same reason.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from equipoise.precondition import Annealed, Psgd
from equipoise.precondition import psgd as settings_of
from equipoise.precondition.checks import check_number, check_word
from equipoise.precondition.draws import coin, seed_of
from equipoise.precondition.optimizer import check_clip, check_momentum, directed, drawn, refreshed
from equipoise.precondition.states import (
    DenseState,
    DiagonalState,
    KroneckerState,
    LowRankState,
    ScaledState,
    XmatState,
)
from equipoise.record import parts, rebuild

__all__ = ["PSGD"]

STATES: dict[str, Any] = {
    "dense": DenseState,
    "diagonal": DiagonalState,
    "kronecker": KroneckerState,
    "low_rank": LowRankState,
    "scaled": ScaledState,
    "xmat": XmatState,
}
OWN = {"step", "momentum"}  # entries of a parameter's state beside those of its preconditioner
SHARED = ("pairs", "hvp", "probability", "seed")  # one for all groups, since they decide what a step evaluates


class PSGD(torch.optim.Optimizer):
    """Stochastic gradients, preconditioned on a Lie group that is fitted as the optimizer runs.

    Take it where gradients are noisy and badly scaled. Do not take it for a smooth function that is known exactly:
    ``torch.optim.LBFGS`` needs a fraction of the steps.

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them; a group may have its own `lr`, `preconditioner`, `momentum`, `clip` and
        `weight_decay`.
    lr : float
        The learning rate; schedulers change it.
    preconditioner : Psgd, optional
        ``psgd("kronecker")`` by default; one state a parameter, in float32 for parameters of half precision.
    pairs : {"whitening", "hessian"}
        What is evened out: the second moment of the gradients, or the curvature.
    hvp : {"difference", "exact"}
        How "hessian" gets its products: by a second call of the closure at a point nearby, or by differentiating
        twice; the closure then returns the loss and must not call ``backward``.
    momentum : float, in [0, 1)
        Of the gradients, before they are preconditioned.
    clip : float, pair or None
        Bound of the root mean square of a parameter's update before `lr`, and of its entries.
    weight_decay : float
        Decoupled: parameters shrink by ``lr * weight_decay`` a step.
    probability : float, in (0, 1]
        How often the preconditioner is updated.
    seed : int, in [0, 2^32)
        Of all random numbers; no global generator is used.

    Raises
    ------
    TypeError, ValueError
        If a setting is out of its range; at a step, if a closure is missing, or has called ``backward`` where it must
        not.

    Notes
    -----
    A closure for "difference" is called twice with one batch: a model with dropout has to draw the same numbers both
    times. Runs go on from a ``state_dict`` bit for bit.

    Examples
    --------
    >>> import torch
    >>> from equipoise_torch import PSGD
    >>> model = torch.nn.Linear(3, 1, bias=False)
    >>> optimizer = PSGD(model.parameters(), lr=0.1)
    >>> x = torch.randn(64, 3)
    >>> for _ in range(200):
    ...     optimizer.zero_grad()
    ...     loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
    ...     loss.backward()
    ...     _ = optimizer.step()
    >>> bool(loss < 1e-2)
    True
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        *,
        preconditioner: Psgd | None = None,
        pairs: str = "whitening",
        hvp: str = "difference",
        momentum: float = 0.9,
        clip: float | tuple[float, float] | None = (2.0, 10.0),
        weight_decay: float = 0.0,
        probability: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_word("pairs", pairs, ("whitening", "hessian"))
        check_word("hvp", hvp, ("difference", "exact"))
        if not 0 < check_number("probability", probability, "in (0, 1]", 0.0) <= 1:
            raise ValueError(f"probability must be in (0, 1], got {probability}")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"seed must be an int in [0, 2^32), got {type(seed).__name__}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must be in [0, 2^32), got {seed}")
        defaults = {
            "lr": lr,
            "preconditioner": settings_of("kronecker") if preconditioner is None else preconditioner,
            "momentum": momentum,
            "clip": clip,
            "weight_decay": weight_decay,
            "pairs": pairs,
            "hvp": hvp,
            "probability": probability,
            "seed": seed,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose settings are checked and stored as plain values."""
        group = {**self.defaults, **param_group}
        for name in SHARED:
            if group[name] != self.defaults[name]:
                raise ValueError(f"{name} must be the same for all groups, got {group[name]!r}")
        check_number("lr", float(group["lr"]), "at least 0", 0.0)
        check_number("weight_decay", group["weight_decay"], "at least 0", 0.0)
        check_momentum(group["momentum"])
        group["clip"] = check_clip(group["clip"])
        group["preconditioner"] = plain_settings(group["preconditioner"])
        super().add_param_group(group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a stored state, bit for bit: torch would cast counts and bounds to the parameter's dtype."""
        super().load_state_dict(state_dict)
        names = [name for group in state_dict["param_groups"] for name in group["params"]]
        for name, (p, _) in zip(names, self.placed(), strict=True):
            for key, x in state_dict["state"].get(name, {}).items():
                self.state[p][key] = x.detach().clone().to(x.device if key == "step" else p.device)

    def state_bytes(self) -> int:
        """The bytes that states take once every parameter has met a gradient, momentum included."""
        total = 0
        for p, group in self.placed():
            like = resting(p)
            total += made(group["preconditioner"]).state_bytes(like) + like.numel() * like.element_size()
        return total

    # -----------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step. ``closure()`` evaluates the loss anew; "hessian" needs one."""
        shared = self.param_groups[0]
        hessian = shared["pairs"] == "hessian"
        if hessian and closure is None:
            raise TypeError("pairs='hessian' needs a closure that evaluates the loss anew")
        due = self.is_due(shared)
        loss: Any = None
        products: dict[torch.Tensor, Any] = {}
        if hessian and shared["hvp"] == "exact":
            loss, products = self.differentiated(closure, due)
        elif closure is not None:
            with torch.enable_grad():
                loss = closure()
            if hessian and due:
                products = self.differenced(closure)
        for p, group in self.placed():
            if p.grad is not None:
                self.move(p, group, due, products.get(p))
        return loss

    def placed(self) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
        """Every parameter with its group."""
        for group in self.param_groups:
            for p in group["params"]:
                yield p, group

    def is_due(self, shared: dict[str, Any]) -> bool:
        """Whether the preconditioner is updated at this step: told by the seed and the number of the step."""
        if shared["probability"] == 1.0:
            return True
        steps = [int(self.state[p]["step"]) for p, _ in self.placed() if p in self.state]
        seed = seed_of(shared["seed"], torch.zeros(()))
        return bool(coin(seed, max(steps, default=0) + 1, shared["probability"]))

    def move(self, p: torch.Tensor, group: dict[str, Any], due: bool, pair: Any) -> None:
        """The step of one parameter."""
        assert p.grad is not None
        if p.grad.is_sparse:
            raise TypeError("PSGD takes no sparse gradients; densify them")
        settings, entries = made(group["preconditioner"]), self.started(p)
        state = unpacked(settings.kind, entries, p.numel())
        g = p.grad.to(entries["momentum"].dtype)
        if due and (group["pairs"] == "whitening" or pair is not None):
            v, h = (None, g) if pair is None else pair
            state = refreshed(settings, state, v, h.to(g.dtype))
        t = int(entries["step"]) + 1
        m, u = directed(settings, state, entries["momentum"], g, t, momentum=group["momentum"], clip=group["clip"])
        entries.update(packed(state), momentum=m.clone() if m is g else m)
        entries["step"] = torch.tensor(t)
        lr = float(group["lr"])
        if group["weight_decay"]:
            p.mul_(1 - lr * group["weight_decay"])
        p.add_(u.to(p.dtype), alpha=-lr)

    def started(self, p: torch.Tensor) -> dict[str, Any]:
        """The state of a parameter, made where there is none yet."""
        entries: dict[str, Any] = self.state[p]
        if not entries:
            place, group = next((k, group) for k, (q, group) in enumerate(self.placed()) if q is p)
            like = resting(p)
            state = made(group["preconditioner"]).init(like, rng=(place << 32) + group["seed"])
            entries.update(step=torch.tensor(0), momentum=torch.zeros_like(like), **packed(state))
        return entries

    def vectors(self) -> dict[torch.Tensor, torch.Tensor]:
        """The normal vector of the next pair of every parameter that has a gradient."""
        found = {}
        for p, group in self.placed():
            if p.grad is not None:
                entries = self.started(p)
                state = unpacked(made(group["preconditioner"]).kind, entries, p.numel())
                found[p] = drawn(state, entries["momentum"]).to(p.dtype)
        return found

    def differenced(self, closure: Callable[[], Any]) -> dict[torch.Tensor, Any]:
        """H v by a second gradient at x + e v; parameters and gradients are as before in the end."""
        vectors = self.vectors()
        if not vectors:
            return {}
        before = {p: (p.detach().clone(), p.grad) for p in vectors}
        roundoff = max(torch.finfo(p.dtype).eps for p in vectors) / 2
        e = math.sqrt(roundoff) * max(1.0, size(vectors.keys()) / size(vectors.values()))
        for p, v in vectors.items():
            p.add_(v, alpha=e)
            p.grad = None
        with torch.enable_grad():
            closure()
        products = {}
        for p, (x, g) in before.items():
            if p.grad is not None and g is not None:
                products[p] = vectors[p], (p.grad - g) / e
            p.copy_(x)
            p.grad = g
        return products

    def differentiated(self, closure: Any, due: bool) -> tuple[Any, dict[torch.Tensor, Any]]:
        """Gradients, and H v where it is due, by differentiating the loss once and twice."""
        self.zero_grad(set_to_none=True)
        with torch.enable_grad():
            loss = closure()
            if any(p.grad is not None for p, _ in self.placed()):
                raise TypeError("with hvp='exact' the closure returns the loss and must not call backward")
            if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
                raise TypeError("with hvp='exact' the closure must return a loss that can be differentiated")
            params = [p for p, _ in self.placed() if p.requires_grad]
            slopes = torch.autograd.grad(loss, params, create_graph=due, allow_unused=True)
            for p, g in zip(params, slopes, strict=True):
                p.grad = None if g is None else g.detach()
            products: dict[torch.Tensor, Any] = {}
            if due:
                with torch.no_grad():
                    vectors = self.vectors()
                curved = [(g, vectors[p]) for p, g in zip(params, slopes, strict=True) if g is not None]
                curved = [(g, v) for g, v in curved if g.requires_grad]
                twice: Any = [None] * len(vectors)  # of a loss that is linear
                if curved:
                    outputs, along = zip(*curved, strict=True)
                    twice = torch.autograd.grad(outputs, list(vectors), along, allow_unused=True)
                for (p, v), h in zip(vectors.items(), twice, strict=True):
                    products[p] = v, torch.zeros_like(v) if h is None else h
        return loss.detach(), products


# ---------------------------------------------------------------------------------------------------------------------
# Plain values


def size(tensors: Iterable[torch.Tensor]) -> float:
    """The norm of all of them together."""
    return math.sqrt(sum(float(x.double().square().sum()) for x in tensors))


def resting(p: torch.Tensor) -> torch.Tensor:
    """A tensor like the state of a parameter."""
    half = p.dtype in (torch.float16, torch.bfloat16)
    return torch.empty_like(p, dtype=torch.float32 if half else p.dtype, requires_grad=False)


def plain_settings(p: Any) -> dict[str, Any]:
    """The settings of a preconditioner as a dict of numbers and words."""
    if isinstance(p, dict):
        return p
    if not isinstance(p, Psgd):
        raise TypeError(f"preconditioner must be what psgd() returns, got {type(p).__name__}")
    values = dict(zip(type(p)._static, parts(p)[1], strict=True))  # type: ignore[attr-defined]
    if isinstance(p.step, Annealed):
        values["step"] = [p.step.start, p.step.half_life, p.step.floor]
    return values


def made(values: dict[str, Any]) -> Psgd:
    """The settings that :func:`plain_settings` took apart."""
    return made_once(tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in values.items()))


@functools.cache
def made_once(items: tuple[tuple[str, Any], ...]) -> Psgd:
    values = dict(items)
    kind, step = values.pop("kind"), values.pop("step")
    return settings_of(kind, step=Annealed(*step) if isinstance(step, tuple) else step, **values)


def packed(state: Any) -> dict[str, torch.Tensor]:
    """The arrays of a state by name; ``Q.0``, ``Q.1`` for those that have one an axis."""
    entries: dict[str, torch.Tensor] = {}
    for name, x in zip(type(state)._data, parts(state)[0], strict=True):
        entries.update({f"{name}.{k}": y for k, y in enumerate(x)} if isinstance(x, tuple) else {name: x})
    return entries


def unpacked(kind: str, entries: dict[str, Any], numel: int) -> Any:
    """The state that :func:`packed` took apart."""
    cls = STATES[kind]

    def field(name: str) -> Any:
        if name in entries:
            return entries[name]
        count = sum(key.startswith(f"{name}.") for key in entries)
        return tuple(entries[f"{name}.{k}"] for k in range(count))

    return rebuild(cls, [field(name) for name in cls._data], [numel] * len(cls._static))
