"""How far a point is from a zero of F + G, on a scale that does not depend on the units.

``r(u) = |u - J(u - a F(u), a)| / a`` with ``a = 1/L`` is |F(u)| where G = 0, costs no call of the operator where F(u)
is known, and never exceeds |F(u) + g| for any g in G(u). With a unit step instead it would depend on the units of F.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..record import plain
from ..result import Status
from .resolvents import Identity

__all__ = ["diverged", "evaluate", "norm", "residual"]

GROWN = 1e10  # times the residual that the method began with: it will not come back


def norm(x: Any) -> Any:
    """The Euclidean norm along the last axis."""
    xp = namespace(x)
    return xp.asarray(xp.sqrt(xp.sum(x * x, axis=-1)))  # numpy reduces to scalars


def residual(u: Any, image: Any, resolvent: Any, a: Any) -> Any:
    """r(u), shape (...), from image = F(u); `a` is a number or of the shape of the batch."""
    if isinstance(resolvent, Identity):
        return norm(image)
    wide = a[..., None] if getattr(a, "ndim", 0) else a
    return norm(u - plain(resolvent)(u - wide * image, wide)) / a


def evaluate(operator: Any, args: Any, u: Any) -> Any:
    """F(u): of a user's function, or all components of a finite sum."""
    made = plain(operator)
    return made.full(u) if hasattr(made, "full") else made(u, *args)


def diverged(error: Any, reference: Any, xp: Any) -> Any:
    """DIVERGED for those whose residual has grown without bound, before numbers overflow."""
    grown = xp.asarray((error > GROWN * reference) & (reference > 0))
    return xp.astype(grown, xp.int32) * int(Status.DIVERGED)
