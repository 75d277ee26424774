"""Red-black sweeps through a stencil, the two colours packed into arrays of their own.

Rows (i, j, ...) with an even sum of indices are red, and come first. Each row of the grid keeps its red points in one
array and its black ones in another, side by side: a half sweep then computes nothing that it throws away. The
neighbours of a red point along the leading axes stand at its own place in the black array, those along the last axis
there and one beside. Rows of odd length get a ghost point, which stays zero.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import like, namespace
from ..backend import of
from ..iterate import repeat
from ..kernel import kernel
from ..operators import Stencil
from ..record import record, static
from .sweeps import SweepState, next_factor, relative, remember

__all__ = ["Packed", "PackedTask", "pack", "packed", "packed_sweeps", "unpack"]


@record
class Packed:
    """A stencil in two colours; every pair is (red, black).

    `center` is a pair; ``before[axis]`` and ``after[axis]`` are pairs of weights to the neighbours. Constant stencils
    have numbers, shape (...), in the place of pairs. `inside` is a pair of arrays that are 0 in ghosts and 1 elsewhere,
    None where there are none; `odd` is the parity of each row's leading indices, shape (*lead, 1).
    """

    center: Any
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    inside: Any
    odd: Any
    constant: bool = static()
    grid: tuple[int, ...] = static()


@record
class PackedTask:
    """A x = b in two colours; see :class:`equipoise.linear.sweeps.SweepTask`."""

    matrix: Packed
    b: Any
    omega: Any
    beta: Any
    size: Any
    sweep: str = static()


# ---------------------------------------------------------------------------------------------------------------------
# Packing


def parity(grid: tuple[int, ...], beside: Any) -> Any:
    """Whether the leading indices of a row have an odd sum, shape (*lead, 1)."""
    sums = np.asarray(np.indices(grid[:-1]).sum(axis=0))
    return of(beside).lend(np.asarray(sums % 2 == 1)[..., None], beside)


def pack(x: Any, odd: Any) -> tuple[Any, Any]:
    """The red and the black points of x, shape (..., *grid), each of shape (..., *lead, ceil(n / 2))."""
    xp = namespace(x)
    if x.shape[-1] % 2:
        x = xp.concat([x, xp.zeros((*x.shape[:-1], 1), **like(x))], axis=-1)
    even, uneven = x[..., 0::2], x[..., 1::2]
    return xp.where(odd, uneven, even), xp.where(odd, even, uneven)


def unpack(halves: tuple[Any, Any], odd: Any, n: int) -> Any:
    """The way back to rows of n points."""
    red, black = halves
    xp = namespace(red)
    pairs = xp.stack([xp.where(odd, black, red), xp.where(odd, red, black)], axis=-1)
    return xp.reshape(pairs, (*red.shape[:-1], 2 * red.shape[-1]))[..., :n]


def packed(A: Stencil[Any], beside: Any) -> Packed:
    """The stencil in two colours; its numbers are arrays like `beside`."""
    A = A.beside(beside)
    xp, grid = namespace(beside), A.grid
    odd = parity(grid, beside)
    inside = pack(xp.ones(grid, **like(beside)), odd) if grid[-1] % 2 else None
    if A.constant:
        return Packed(A.center, tuple(A.faces), tuple(A.faces), inside, odd, True, grid)

    def full(x: Any, shape: tuple[int, ...]) -> Any:
        return xp.broadcast_to(x, (*x.shape[: max(x.ndim - len(grid), 0)], *shape))

    def padded(face: Any, axis: int, side: int) -> Any:
        shape = list(grid)
        shape[axis] -= 1
        face = full(face, tuple(shape))
        shape = list(face.shape)
        axis = axis - len(grid)
        shape[axis] = 1
        pieces = [xp.zeros(tuple(shape), **like(face)), face]
        return pack(xp.concat(pieces[::side], axis=axis), odd)

    red, black = pack(full(A.center, grid), odd)
    if inside is not None:  # nothing is divided by the zero of a ghost
        red, black = red + (1.0 - inside[0]), black + (1.0 - inside[1])
    before = tuple(padded(face, axis, 1) for axis, face in enumerate(A.faces))
    after = tuple(padded(face, axis, -1) for axis, face in enumerate(A.faces))
    return Packed((red, black), before, after, inside, odd, False, grid)


# ---------------------------------------------------------------------------------------------------------------------
# Sweeps


def shifted(x: Any, axis: int, by: int) -> Any:
    """``x[i - by]`` along an axis that counts from the end, zero outside."""
    xp = namespace(x)
    length = x.shape[axis]
    edge = list(x.shape)
    edge[axis] = 1
    zero = xp.zeros(tuple(edge), **like(x))
    rest = (slice(None),) * (-axis - 1)
    if by > 0:
        return xp.concat([zero, x[(..., slice(0, length - 1), *rest)]], axis=axis)
    return xp.concat([x[(..., slice(1, length), *rest)], zero], axis=axis)


def neighbours(m: Packed, other: Any, color: int) -> Any:
    """The weighted sum of the neighbours that the points of a colour have in the other one."""
    xp, d = namespace(other), len(m.grid)

    def weighted(weights: Any, x: Any) -> Any:
        return (weights[(..., *(None,) * d)] if m.constant else weights[color]) * x

    total = 0.0
    for axis in range(d - 1):
        total = total + weighted(m.before[axis], shifted(other, axis - d, 1))
        total = total + weighted(m.after[axis], shifted(other, axis - d, -1))
    first = m.odd if color else ~m.odd  # whether the points of this colour begin their row
    total = total + weighted(m.before[-1], xp.where(first, shifted(other, -1, 1), other))
    return total + weighted(m.after[-1], xp.where(first, other, shifted(other, -1, -1)))


def center_of(m: Packed, color: int) -> Any:
    """The diagonal at the points of a colour."""
    return m.center[(..., *(None,) * len(m.grid))] if m.constant else m.center[color]


def relaxed(task: PackedTask, x: tuple[Any, Any], color: int, omega: Any) -> tuple[Any, Any]:
    """x with one colour relaxed."""
    m = task.matrix
    new = (task.b[color] + neighbours(m, x[1 - color], color)) / center_of(m, color)
    new = x[color] + omega * (new - x[color])
    if m.inside is not None:
        new = new * m.inside[color]
    return (x[0], new) if color else (new, x[1])


def residual(task: PackedTask, x: tuple[Any, Any]) -> Any:
    """|b - A x| / |b|."""
    m, d = task.matrix, len(task.matrix.grid)
    xp = namespace(x[0])
    parts = []
    for color in (0, 1):
        r = task.b[color] + neighbours(m, x[1 - color], color) - center_of(m, color) * x[color]
        r = r if m.inside is None else r * m.inside[color]
        parts.append(xp.reshape(r, (*r.shape[: r.ndim - d], -1)))
    return relative(xp.concat(parts, axis=-1), task.size)


def step(s: SweepState, task: PackedTask) -> SweepState:
    """One sweep: a half sweep for each colour, in the order of its direction."""
    x, factor, spread = s.x, s.factor, (..., *(None,) * len(task.matrix.grid))
    for color in {"forward": (0, 1), "backward": (1, 0), "symmetric": (0, 1, 1, 0)}[task.sweep]:
        omega = task.omega if factor is None else factor
        x = relaxed(task, x, color, omega[spread] if getattr(omega, "ndim", 0) else omega)
        factor = None if factor is None else next_factor(factor, task.beta)
    return replace(s, x=x, factor=factor)


@kernel("linear.sor_red_black")
def packed_sweeps(state: SweepState, task: PackedTask, limit: Any, tol: Any) -> tuple[SweepState, Any, Any]:
    """Up to `limit` sweeps; a kernel stops after the first whose error is not above `tol`."""
    state = repeat(step, remember(state), task, limit)
    error = residual(task, state.x)
    return replace(state, error=error), limit, error
