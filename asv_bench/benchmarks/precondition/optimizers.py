"""Optimizers side by side: the same problem, the same data at the same step, the same budget of gradients and products.

A product with the Hessian counts as one gradient. Learning rate and knob of every method (``optimizer_methods.py``) are
found by the same walk on a grid (``optimizer_runs.py``), on another seed than those reported and with half the budget.
What is judged is the loss without noise, or of all data, less the least there is (``optimizer_problems.py``).
"""

from __future__ import annotations

from typing import Any, ClassVar

from .optimizer_methods import LOOKS, METHODS
from .optimizer_problems import PROBLEMS
from .optimizer_runs import least, run, tuned

__all__ = ["LOOKS", "METHODS", "PROBLEMS", "run", "tuned"]

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


def needed() -> None:
    """The optimizer, unless this version lacks it."""
    try:
        from equipoise_torch import PSGD  # noqa: F401
    except ImportError as error:
        raise NotImplementedError(str(error)) from error


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
