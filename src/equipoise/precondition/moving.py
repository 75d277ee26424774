"""What the functions of :class:`Psgd` do, without checks that read values: optimizers call these at every step."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..arrays import like as beside_of
from ..arrays import namespace, shape_text
from ..kernel import kernel
from ..record import leaves, map_arrays
from .annealed import Annealed
from .checks import check_dtype, check_numbers, is_half
from .checks import shape_of as shapes
from .common import Pairs, known, wide_dtype
from .draws import damped, whole
from .kinds import KINDS, rescaled, shape_of, size_of

if TYPE_CHECKING:
    from .psgd import Psgd

__all__ = ["advanced", "check_same", "first_state", "preconditioned", "through", "width"]

STARTED = 1e-30  # a bound that says "the scale was found", and no more than that: any pair has a larger one


def width(like: Any) -> int:
    """Bytes of a number; states of half precision are float32."""
    return max(int(namespace(like).finfo(like.dtype).bits), 32) // 8


def check_same(v: Any, h: Any) -> None:
    """Both sides have one shape."""
    if tuple(v.shape) != tuple(h.shape):
        raise ValueError(f"v and h must have one shape, got {shape_text(v)} and {shape_text(h)}")


def first_state(p: Psgd, like: Any, seed: Any) -> Any:
    """The first state."""
    xp, kind = namespace(like), KINDS[p.kind]
    bounds = xp.zeros((kind.moments,) if kind.moments else (), **{**beside_of(like), "dtype": wide_dtype(xp)})
    count = xp.zeros((), **{**beside_of(like), "dtype": whole(xp)})
    flat = like if p.kind == "kronecker" else xp.zeros((math.prod(like.shape),), **beside_of(like))
    return kind.start(p, flat, 1.0 if p.scale == "auto" else p.scale, bounds, count, seed)


def advanced(p: Psgd, state: Any, V: Any, H: Any) -> Any:
    """The state after a stack of pairs, of its own dtype and without derivatives."""
    xp, rows = namespace(H), H.shape[0]
    each = shape_of(state) or (size_of(state),)
    H = xp.reshape(H, (rows, *each))
    V = None if V is None else xp.reshape(V, (rows, *each))
    if p.damping > 0:
        H = damped(H, state.count, state.seed, p.damping)
    if p.scale == "auto":
        state = at_first_scale(p, state, V, H)
    pairs = Pairs(V, H, steps_of(p, state.count, rows, H), p.smoothing)
    after = KINDS[p.kind].sweep(p, state, pairs)
    return replace(after, count=xp.asarray(state.count + rows))


def steps_of(p: Psgd, count: Any, rows: int, beside: Any) -> Any:
    """The step of each of the pairs, shape (rows,)."""
    xp = namespace(beside)
    place = {**beside_of(beside), "dtype": wide_dtype(xp)}
    if not isinstance(p.step, Annealed):
        return xp.full((rows,), p.step, **place)
    return p.step.at(xp.arange(rows, **place) + xp.astype(xp.asarray(count), place["dtype"]))


def at_first_scale(p: Psgd, state: Any, V: Any, H: Any) -> Any:
    """The state at the scale of the first pair that is not zero, if there was none before.

    The bounds keep that it was found: that pair may be skipped for another reason.
    """
    bounds = state.L[0] if isinstance(state.L, tuple) else state.L
    view = known(bounds)
    if view is not None and bool((view > 0).any()):
        return state
    factor, fresh = first_scale(V, H, bounds, p.damping)
    state = rescaled(state, factor)
    return replace(state, L=map_arrays(lambda L: namespace(L).where(fresh, STARTED + 0.0 * L, L), state.L))


@kernel("precondition.first_scale")
def first_scale(V: Any, H: Any, L: Any, damping: Any) -> tuple[Any, Any]:
    """(mean v^2)^{1/4} (mean h^4 + damping^4)^{-1/8} of the first useful pair, and whether there is one now.

    1 without one, or after one.
    """
    xp, rows = namespace(H), H.shape[0]
    H = xp.reshape(H, (rows, -1))
    V = xp.ones_like(H) if V is None else xp.reshape(V, (rows, -1))
    useful = xp.any(H != 0, axis=1) & xp.any(V != 0, axis=1)
    k = xp.reshape(xp.argmax(xp.astype(useful, xp.int32)), (1,))
    v, h = xp.take(V, k, axis=0), xp.take(H, k, axis=0)
    high = xp.asarray(xp.max(xp.abs(h)))  # a fourth power overflows soon
    high = xp.where(high > 0, high, xp.ones_like(high))
    spread = xp.asarray(xp.mean((h / high) ** 4)) + (damping / high) ** 4
    found = xp.asarray(xp.mean(v * v)) ** 0.25 / (high**0.5 * spread**0.125)
    fresh = xp.asarray(xp.all(L == 0) & xp.any(useful) & xp.isfinite(found) & (found > 0))
    return xp.where(fresh, found, xp.ones_like(found)), fresh


def preconditioned(p: Psgd, state: Any, g: Any) -> Any:
    """P g for one g of any shape, in the dtype of the state."""
    each = shape_of(state) or (size_of(state),)
    xp = namespace(g)
    return xp.reshape(KINDS[p.kind].apply(p, state, xp.reshape(g, (1, *each))), g.shape)


def through(p: Psgd, state: Any, g: Any, move: Any) -> Any:
    """P g or P^{-1} g of one g, or of a batch of them."""
    check_numbers("g", g)
    first, size, shape = leaves(state)[0], size_of(state), shape_of(state)
    xp = namespace(g, first)
    check_dtype("g", g, first)
    each, whole_ = shape or (size,), tuple(g.shape)
    tails = [whole_[k:] for k in range(len(whole_) + 1)]
    if not any(math.prod(tail) == size if shape is None else tail in shapes(shape) for tail in tails):
        expected = f"trailing axes of {size} numbers" if shape is None else f"trailing axes {shape}"
        raise ValueError(f"g must have {expected}, got shape {shape_text(g)}")
    rows = xp.reshape(xp.astype(g, first.dtype, copy=False), (-1, *each))
    out = xp.reshape(move(p, state, rows), whole_)
    return xp.astype(out, g.dtype, copy=False) if is_half(g) else out
