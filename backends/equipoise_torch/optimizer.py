"""PSGD as a torch optimizer: parameters and gradients in, what the portable step makes of them out.

The state of a parameter is plain tensors under its own key, so that it is stored like that of any optimizer and read
back with ``weights_only=True``. The settings of the preconditioner stand in the parameter groups as plain numbers for
the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from equipoise.precondition import Psgd
from equipoise.precondition import psgd as settings_of
from equipoise.precondition.checks import check_word
from equipoise.precondition.draws import coin, seed_of
from equipoise.precondition.optimizer import check_clip, check_momentum, directed, drawn, refreshed

from .optimizer_state import fitting, made, packed, plain_number, plain_settings, resting, shadow, unpacked

__all__ = ["PSGD"]

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
        ``psgd("kronecker")`` by default; one state a parameter, in float32 for parameters of half precision. The rank
        of "low_rank" is at most the size of a parameter: a small one takes its size.
    pairs : {"whitening", "hessian"}
        What is evened out: the second moment of the gradients, or the curvature.
    hvp : {"difference", "exact"}
        How "hessian" gets its products: by a second call of the closure, which calls ``backward``, at a point nearby;
        or by differentiating twice, where the closure returns the loss and must not call ``backward``.
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
        If a setting is out of its range, a parameter is complex or holds whole numbers, or its state would take more
        than the `memory_limit` of the preconditioner; at a step, before any parameter is moved, if a closure is
        missing, has called ``backward`` where it must not or has not where it must, or a gradient is sparse.

    Notes
    -----
    A closure for "difference" is called twice with one batch: a model with dropout has to draw the same numbers both
    times. If its second call fails, parameters and gradients are as they were after the first. Runs go on from a
    ``state_dict`` bit for bit. Empty parameters have no state. A group's preconditioner may be replaced, as in
    ``optimizer.param_groups[0]["preconditioner"] = psgd("diagonal")``, until its parameters have states.

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
        probability = plain_number("probability", probability, "in (0, 1]")
        if not 0 < probability <= 1:
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
        """Add a group, whose settings and parameters are checked; settings are stored as plain values."""
        shared = self.param_groups[0] if self.param_groups else self.defaults  # a loaded state may have changed them
        group = {**self.defaults, **{name: shared[name] for name in SHARED}, **param_group}
        for name in SHARED:
            if group[name] != shared[name]:
                raise ValueError(f"{name} must be the same for all groups, {shared[name]!r}, got {group[name]!r}")
        lr = plain_number("lr", group["lr"], "at least 0")
        group["lr"] = group["lr"] if isinstance(group["lr"], torch.Tensor) else lr
        group["weight_decay"] = plain_number("weight_decay", group["weight_decay"], "at least 0")
        group["momentum"] = check_momentum(plain_number("momentum", group["momentum"], "in [0, 1)"))
        group["clip"] = check_clip(group["clip"])
        group["preconditioner"] = plain_settings(group["preconditioner"])
        super().add_param_group(group)
        try:
            for p in group["params"]:
                self.check_parameter(p, group)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def check_parameter(self, p: torch.Tensor, group: dict[str, Any]) -> None:
        """Real floating-point numbers, and a state within the limit of memory."""
        if not p.is_floating_point():
            raise TypeError(f"{self.name_of(p)} must hold real floating-point numbers, got dtype {p.dtype}")
        try:
            shadow(p, group)
        except ValueError as error:
            raise ValueError(f"{self.name_of(p)}: {error}") from None

    def name_of(self, p: torch.Tensor) -> str:
        """What to call a parameter in a sentence: by its place and, where the groups have names, its name."""
        place = next(k for k, (q, _) in enumerate(self.placed()) if q is p)
        names = [name for group in self.param_groups for name in group.get("param_names", ())]
        return f"parameter {place}" + (f" ({names[place]!r})" if names else "")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a stored state, bit for bit: torch would cast counts and bounds to the parameter's dtype."""
        found = state_dict

        def last(_: torch.optim.Optimizer, changed: dict[str, Any]) -> None:  # what the hooks before it made of it
            nonlocal found
            found = changed

        def first(__: torch.optim.Optimizer) -> None:  # the hooks after it see what was stored
            names = [name for group in found["param_groups"] for name in group["params"]]
            for name, (p, _) in zip(names, self.placed(), strict=True):
                for key, x in found["state"].get(name, {}).items():
                    if isinstance(x, torch.Tensor):
                        self.state[p][key] = x.detach().clone().to(x.device if key == "step" else p.device)

        before = self.register_load_state_dict_pre_hook(last)
        after = self.register_load_state_dict_post_hook(first, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def state_bytes(self) -> int:
        """The bytes that states take once every parameter has met a gradient, momentum included; none is allocated."""
        entries = [x for p, group in self.placed() for x in shadow(p, group).values()]
        return sum(x.numel() * x.element_size() for x in entries)

    # -----------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step. ``closure()`` evaluates the loss anew; "hessian" needs one."""
        for group in self.param_groups:
            group["preconditioner"] = plain_settings(group["preconditioner"])
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
            if hessian:
                self.check_backward()
            self.check_dense()
            if hessian and due:
                products = self.differenced(closure)
        self.check_dense()
        moving = list(self.moving())  # what may fail does so before any parameter is moved
        for p, group, entries in moving:
            self.move(p, group, entries, due, products.get(p))
        return loss

    def check_dense(self) -> None:
        """No sparse gradient."""
        for p, _ in self.placed():
            if p.grad is not None and p.grad.is_sparse:
                raise TypeError(f"PSGD takes no sparse gradients, but that of {self.name_of(p)} is; densify it")

    def check_backward(self) -> None:
        """A closure for differences has left gradients."""
        wanting = [p for p, _ in self.placed() if p.requires_grad]
        if wanting and all(p.grad is None for p in wanting):
            raise TypeError("with hvp='difference' the closure must call backward; it left no gradients")

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

    def moving(self) -> Iterator[tuple[torch.Tensor, dict[str, Any], dict[str, Any]]]:
        """Every parameter that has a gradient and is not empty, with its group and its state."""
        for place, (p, group) in enumerate(self.placed()):
            if p.grad is not None and p.numel():
                yield p, group, self.started(p, place, group)

    def move(self, p: torch.Tensor, group: dict[str, Any], entries: dict[str, Any], due: bool, pair: Any) -> None:
        """The step of one parameter."""
        assert p.grad is not None
        settings = fitting(group["preconditioner"], p)
        state = unpacked(settings.kind, entries, p.numel())
        g = p.grad.to(entries["momentum"].dtype)
        if due and (group["pairs"] == "whitening" or pair is not None):
            v, h = (None, g) if pair is None else (side.to(g.dtype) for side in pair)
            state = refreshed(settings, state, v, h)
        t = int(entries["step"]) + 1
        m, u = directed(settings, state, entries["momentum"], g, t, momentum=group["momentum"], clip=group["clip"])
        entries.update(packed(state), momentum=m.clone() if m is g else m)
        entries["step"] = torch.tensor(t)
        lr = float(group["lr"])
        if group["weight_decay"]:
            p.mul_(1 - lr * group["weight_decay"])
        p.add_(u.to(p.dtype), alpha=-lr)

    def started(self, p: torch.Tensor, place: int, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter, made where there is none yet."""
        settings = fitting(group["preconditioner"], p)
        entries: dict[str, Any] = self.state[p]
        if not entries:
            like = resting(p)
            state = settings.init(like, rng=(place << 32) + group["seed"])
            entries.update(step=torch.tensor(0), momentum=torch.zeros_like(like), **packed(state))
        elif any(name not in entries or entries[name].shape != x.shape for name, x in shadow(p, group).items()):
            raise ValueError(
                f"{self.name_of(p)} has a state of another preconditioner than that of its group, which is now of kind "
                f"{settings.kind!r}; make a new optimizer"
            )
        return entries

    def vectors(self) -> dict[torch.Tensor, torch.Tensor]:
        """The normal vector of the next pair of every parameter that has a gradient."""
        found = {}
        for p, group, entries in self.moving():
            state = unpacked(made(group["preconditioner"]).kind, entries, p.numel())
            found[p] = drawn(state, entries["momentum"]).to(p.dtype)
        return found

    def differenced(self, closure: Callable[[], Any]) -> dict[torch.Tensor, Any]:
        """H v by a second gradient at x + e v; parameters and gradients are as before in the end."""
        vectors = self.vectors()
        if not vectors:
            return {}
        points, slopes = {p: p.detach().clone() for p in vectors}, {p: p.grad for p, _ in self.placed()}
        roundoff = max(torch.finfo(p.dtype).eps for p in vectors) / 2
        e = math.sqrt(roundoff) * max(1.0, size(vectors.keys()) / size(vectors.values()))
        products = {}
        try:
            for p, v in vectors.items():
                p.add_(v, alpha=e)
                p.grad = None
            with torch.enable_grad():
                closure()
            self.check_backward()
            for p, v in vectors.items():
                g = slopes[p]
                if p.grad is not None and g is not None:
                    products[p] = v, (p.grad - g) / e
        finally:
            for p, x in points.items():
                p.copy_(x)
            for p, g in slopes.items():
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
            self.check_dense()
            products: dict[torch.Tensor, Any] = {}
            if due:
                with torch.no_grad():
                    vectors = self.vectors()
                curved = [(g, vectors[p]) for p, g in zip(params, slopes, strict=True) if p in vectors]
                curved = [(g, v) for g, v in curved if g.requires_grad]
                twice: Any = [None] * len(vectors)  # of a loss that is linear
                if curved:
                    outputs, along = zip(*curved, strict=True)
                    twice = torch.autograd.grad(outputs, list(vectors), along, allow_unused=True)
                for (p, v), h in zip(vectors.items(), twice, strict=True):
                    products[p] = v, torch.zeros_like(v) if h is None else h
        return loss.detach(), products


def size(tensors: Iterable[torch.Tensor]) -> float:
    """The norm of all of them together."""
    return math.sqrt(sum(float(x.double().square().sum()) for x in tensors))
