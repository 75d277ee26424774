"""The two heads that tables of points are fitted with, as one pair of functions: distances, and their derivatives."""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..record import record, static
from .intervals import iqe_all, iqe_all_slopes, iqe_pairs, iqe_pairs_slopes
from .measures import pqe_all, pqe_all_slopes, pqe_pairs, pqe_pairs_slopes
from .reduction import ALPHA

__all__ = ["HEADS", "Head", "softplus"]

HEADS = ("iqe", "pqe")


@record
class Head:
    """A head by name and settings: "iqe" with a reduction, or "pqe" under Lebesgue's measure with weights."""

    name: str = static()
    components: int = static()
    reduction: str = static(default="sum")

    @property
    def settings(self) -> dict[str, Any]:
        if self.name == "iqe":
            return {"components": self.components, "reduction": self.reduction}
        return {"components": self.components, "measure": "lebesgue", "terms": 0}

    def parameters(self, weights: Any) -> tuple[Any, ...]:
        return (ALPHA,) if self.name == "iqe" else (weights, None, None)

    def all_pairs(self, u: Any, v: Any, weights: Any) -> Any:
        """From every point of u, (n, D), to every one of v, (m, D)."""
        kernel: Any = iqe_all if self.name == "iqe" else pqe_all
        return kernel(u, v, *self.parameters(weights), **self.settings)

    def pairs(self, u: Any, v: Any, weights: Any) -> Any:
        """From each point of u to the one beside it, both (..., D)."""
        kernel: Any = iqe_pairs if self.name == "iqe" else pqe_pairs
        return kernel(u, v, *self.parameters(weights), **self.settings)

    def all_slopes(self, g: Any, u: Any, v: Any, weights: Any) -> tuple[Any, Any, Any]:
        """The derivatives of all pairs to u, to v and to the weights; the last is None where there are none."""
        kernel: Any = iqe_all_slopes if self.name == "iqe" else pqe_all_slopes
        gu, gv, more, *_ = kernel(g, u, v, *self.parameters(weights), **self.settings)
        return gu, gv, more if self.name == "pqe" else None

    def pair_slopes(self, g: Any, u: Any, v: Any, weights: Any) -> tuple[Any, Any, Any]:
        """The same of pairs."""
        kernel: Any = iqe_pairs_slopes if self.name == "iqe" else pqe_pairs_slopes
        gu, gv, more, *_ = kernel(g, u, v, *self.parameters(weights), **self.settings)
        return gu, gv, more if self.name == "pqe" else None


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""
    xp = namespace(x)
    return xp.maximum(x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))
