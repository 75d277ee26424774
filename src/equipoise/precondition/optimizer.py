"""One step of an optimizer for one tensor: the same in :func:`minimize` and in the wrappers for torch and optax."""

from __future__ import annotations

import math
from typing import Any

from ..arrays import library, namespace
from .checks import check_number
from .common import narrow, wide_dtype
from .draws import Purpose, normals
from .kinds import KINDS
from .moving import advanced, preconditioned
from .psgd import Psgd

__all__ = ["Clip", "check_clip", "check_momentum", "directed", "drawn", "needs_vector", "refreshed"]

Clip = float | tuple[float, float] | None


def check_momentum(momentum: Any) -> float:
    """A number in [0, 1)."""
    return check_number("momentum", momentum, "in [0, 1)", 0.0, 1.0)


def check_clip(clip: Any) -> Clip:
    """A bound of the root mean square, two bounds, or None."""
    if clip is None:
        return None
    if isinstance(clip, (tuple, list)):
        if len(clip) != 2:
            raise ValueError(f"clip must be a number, a pair of numbers or None, got {len(clip)} numbers")
        first, second = (check_number("clip", c, "positive", 0.0, closed=False) for c in clip)
        return first, second
    return check_number("clip", clip, "positive", 0.0, closed=False)


def needs_vector(p: Psgd) -> bool:
    """Whether whitening with these settings needs a vector v, so that its pairs are random."""
    return KINDS[p.kind].needs_v or (KINDS[p.kind].forms and p.form == "eq")


def drawn(state: Any, beside: Any) -> Any:
    """The normal vector of the next pair, of the shape and dtype of `beside`."""
    return normals(state.count, state.seed, beside, rows=1, purpose=int(Purpose.VECTOR))[0, ...]


def refreshed(p: Psgd, state: Any, v: Any, h: Any) -> Any:
    """The state after a pair of a Hessian-vector product; ``v=None`` whitens, with a vector if the form needs one."""
    if v is None and needs_vector(p):
        v = drawn(state, h)
    return advanced(p, state, None if v is None else v[None, ...], h[None, ...])


def directed(p: Psgd, state: Any, m: Any, g: Any, t: Any, *, momentum: float, clip: Clip) -> tuple[Any, Any]:
    """The momentum after gradient number t = 1, 2, ..., and the clipped direction to go against."""
    xp = namespace(g)
    if momentum > 0:
        if library(t):
            t = xp.astype(t, wide_dtype(xp))
            share = narrow(xp.minimum(t / (1.0 + t), momentum * xp.ones_like(t)), g)
        else:
            share = min(t / (1.0 + t), momentum)
        m = xp.asarray(share * m + (1.0 - share) * g)
    else:
        m = g
    return m, clipped(preconditioned(p, state, m), clip)


def clipped(u: Any, clip: Clip) -> Any:
    """u with the root mean square at most the first bound, and then each entry at most the second."""
    if clip is None:
        return u
    xp = namespace(u)
    bound, most = clip if isinstance(clip, tuple) else (clip, math.inf)
    rms = xp.asarray(xp.sqrt(xp.mean(u * u)))
    over = rms > bound
    u = xp.asarray(u * xp.where(over, bound / xp.where(over, rms, xp.ones_like(rms)), xp.ones_like(rms)))
    return u if most == math.inf else xp.clip(u, -most, most)
