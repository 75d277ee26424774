"""Triton kernels of red-black sweeps through a stencil, for CUDA tensors: a half sweep is one launch, in place.

The points of one colour wait for none of their own, so a program relaxes a tile of rows and columns of the half array
from the other half array, and no two programs touch one number: every run gives the same bits. Rows along all leading
axes lie one after another, so that grids of one, two and three axes are one kernel. Half sweeps of one colour that
follow one another, as in symmetric sweeps, are one launch, since the neighbours have not moved. The factors of
Chebyshev's rule are made for a whole chunk at once, on the device; the residual leaves one norm a tile, which scales
with its largest entry, so that squares neither overflow nor vanish. No look from the host: a chunk is one queue of
launches.

Nothing here has run on a GPU yet. It is held to the portable body in Triton's interpreter, on CPU tensors, and
compiles for compute capabilities 7.5 to 12.0; its speed, the size of its tiles, and the launches, which likely outweigh
the sweeps below some hundred thousand unknowns, have not been measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from math import prod
from typing import Any

import torch

from equipoise.linear.sweeps import relative, remember
from equipoise.record import leaves

from . import BACKEND
from .transport import ENOUGH, GRID, INTERPRETED, number_like, on_device_of, tl, triton

__all__ = ["packed_sweeps"]

COLORS = {"forward": (0, 1), "backward": (1, 0), "symmetric": (0, 1, 1, 0)}
NARROW = 128  # columns of a tile where there are rows enough: whole lines of memory in either dtype
LANES = 128  # members of a batch whose factors one program makes


def jit(body: Any) -> Any:
    """``triton.jit``, where there is a Triton; the place of a launch in its chunk makes no kernel of its own."""
    return body if triton is None else triton.jit(body, do_not_specialize=["place", "stages"])


# ---------------------------------------------------------------------------------------------------------------------
# On the device


@jit
def weight(values, points, there, CONSTANT: tl.constexpr):  # type: ignore[no-untyped-def]
    """A number of the stencil for every point of a tile, or the one for all of them; 1 beyond the grid."""
    if CONSTANT:
        found = tl.load(values)
    else:
        found = tl.load(values + points, mask=there, other=1.0)
    return found


@jit
def coupled(  # type: ignore[no-untyped-def]
    other,
    before0,
    after0,
    before1,
    after1,
    before2,
    after2,
    lines,
    n1,
    width,
    plane,
    rows,
    columns,
    first,
    AXES: tl.constexpr,
    CONSTANT: tl.constexpr,
):
    """The weighted sum of the neighbours that a tile of one colour has in the other one."""
    there = (rows < lines)[:, None] & (columns < width)[None, :]
    points = rows.to(tl.int64)[:, None] * width + columns[None, :]
    total = tl.zeros([rows.shape[0], columns.shape[0]], other.dtype.element_ty)
    if AXES == 3:
        left = tl.load(other + (points - plane), mask=there & (rows >= n1)[:, None], other=0.0)
        right = tl.load(other + (points + plane), mask=there & (rows < lines - n1)[:, None], other=0.0)
        total += weight(before0, points, there, CONSTANT) * left
        total += weight(after0, points, there, CONSTANT) * right
    if AXES >= 2:
        within = rows % n1
        left = tl.load(other + (points - width), mask=there & (within > 0)[:, None], other=0.0)
        right = tl.load(other + (points + width), mask=there & (within < n1 - 1)[:, None], other=0.0)
        total += weight(before1, points, there, CONSTANT) * left
        total += weight(after1, points, there, CONSTANT) * right
    aside = tl.where(first, -1, 1)[:, None]  # one neighbour stands at the same place, the other one beside it
    near = columns[None, :] + aside
    same = tl.load(other + points, mask=there, other=0.0)
    beside = tl.load(other + (points + aside), mask=there & (near >= 0) & (near < width), other=0.0)
    total += weight(before2, points, there, CONSTANT) * tl.where(first[:, None], beside, same)
    total += weight(after2, points, there, CONSTANT) * tl.where(first[:, None], same, beside)
    return total


@jit
def begins(rows, n1, COLOR: tl.constexpr):  # type: ignore[no-untyped-def]
    """Whether a point of this colour is the first of its row."""
    return (rows // n1 + rows % n1) % 2 == COLOR


@jit
def relaxed_tile(  # type: ignore[no-untyped-def]
    x,
    new,
    other,
    b,
    b_step,
    center,
    before0,
    after0,
    before1,
    after1,
    before2,
    after2,
    step,
    factors,
    stage_step,
    factor_step,
    place,
    lines,
    n1,
    n,
    width,
    plane,
    size,
    COLOR: tl.constexpr,
    TIMES: tl.constexpr,
    AXES: tl.constexpr,
    CONSTANT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile of one colour relaxed `TIMES` times in a row; `new` may be `x`."""
    k = tl.program_id(1).to(tl.int64)
    blocks = tl.cdiv(width, COLUMNS)
    rows = tl.program_id(0) // blocks * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    there = (rows < lines)[:, None] & (columns < width)[None, :]
    points = rows.to(tl.int64)[:, None] * width + columns[None, :]
    first, at = begins(rows, n1, COLOR), k * step
    total = tl.load(b + k * b_step + points, mask=there, other=0.0) + coupled(
        other + k * size,
        before0 + at,
        after0 + at,
        before1 + at,
        after1 + at,
        before2 + at,
        after2 + at,
        lines,
        n1,
        width,
        plane,
        rows,
        columns,
        first,
        AXES,
        CONSTANT,
    )
    aim = total / weight(center + at, points, there, CONSTANT)
    value = tl.load(x + k * size + points, mask=there, other=0.0)
    for time in tl.static_range(TIMES):
        omega = tl.load(factors + (place + time) * stage_step + k * factor_step)
        value += omega * (aim - value)
    inside = 2 * columns[None, :] + tl.where(first, 0, 1)[:, None] < n  # else a ghost
    tl.store(new + k * size + points, tl.where(inside, value, 0.0), mask=there)


@jit
def residual_tile(  # type: ignore[no-untyped-def]
    red,
    black,
    red_b,
    black_b,
    b_step,
    red_center,
    red_before0,
    red_after0,
    red_before1,
    red_after1,
    red_before2,
    red_after2,
    black_center,
    black_before0,
    black_after0,
    black_before1,
    black_after1,
    black_before2,
    black_after2,
    step,
    norms,
    lines,
    n1,
    n,
    width,
    plane,
    size,
    AXES: tl.constexpr,
    CONSTANT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The norm of b - A x over a tile of both colours."""
    k = tl.program_id(1).to(tl.int64)
    blocks = tl.cdiv(width, COLUMNS)
    rows = tl.program_id(0) // blocks * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    there = (rows < lines)[:, None] & (columns < width)[None, :]
    points = rows.to(tl.int64)[:, None] * width + columns[None, :]
    at = k * step
    red += k * size
    black += k * size
    first = begins(rows, n1, 0)
    r = tl.load(red_b + k * b_step + points, mask=there, other=0.0) + coupled(
        black,
        red_before0 + at,
        red_after0 + at,
        red_before1 + at,
        red_after1 + at,
        red_before2 + at,
        red_after2 + at,
        lines,
        n1,
        width,
        plane,
        rows,
        columns,
        first,
        AXES,
        CONSTANT,
    )
    r -= weight(red_center + at, points, there, CONSTANT) * tl.load(red + points, mask=there, other=0.0)
    r = tl.where(there & (2 * columns[None, :] + tl.where(first, 0, 1)[:, None] < n), r, 0.0)
    first = begins(rows, n1, 1)
    s = tl.load(black_b + k * b_step + points, mask=there, other=0.0) + coupled(
        red,
        black_before0 + at,
        black_after0 + at,
        black_before1 + at,
        black_after1 + at,
        black_before2 + at,
        black_after2 + at,
        lines,
        n1,
        width,
        plane,
        rows,
        columns,
        first,
        AXES,
        CONSTANT,
    )
    s -= weight(black_center + at, points, there, CONSTANT) * tl.load(black + points, mask=there, other=0.0)
    s = tl.where(there & (2 * columns[None, :] + tl.where(first, 0, 1)[:, None] < n), s, 0.0)
    largest = tl.max(tl.max(tl.maximum(tl.abs(r), tl.abs(s)), axis=1), axis=0)
    scale = tl.where((largest > 0) & (largest < float("inf")), largest, 1.0)
    r, s = r / scale, s / scale
    total = tl.sum(tl.sum(r * r + s * s, axis=1), axis=0)
    tl.store(norms + k * tl.num_programs(0) + tl.program_id(0), scale * tl.sqrt(total))


@jit
def chebyshev(start, beta, beta_step, factors, count, stages, LANES: tl.constexpr):  # type: ignore[no-untyped-def]
    """The factor of every half sweep of a chunk and of the one after it, shape (stages + 1, count)."""
    members = tl.program_id(0) * LANES + tl.arange(0, LANES)
    there = members < count
    factor = tl.load(start + members, mask=there, other=1.0)
    radius = tl.load(beta + members * beta_step, mask=there, other=0.0)
    tl.store(factors + members, factor, mask=there)
    for _ in range(stages):
        factors += count
        factor = 1.0 / (1.0 - 0.25 * (radius * radius) * tl.where(factor == 1.0, 2.0, factor))
        tl.store(factors + members, factor, mask=there)


# ---------------------------------------------------------------------------------------------------------------------
# On the host


def declines(state: Any, task: Any) -> bool:
    """Whether this is no work for Triton: not all of one dtype, on one GPU, as values, or a batch too long or empty."""
    first = state.x[0]
    if triton is None or not isinstance(first, torch.Tensor) or not (first.is_cuda or INTERPRETED):
        return True
    matrix = replace(task.matrix, odd=None, inside=None)  # both are known from the grid
    arrays = leaves((state, replace(task, matrix=matrix)))
    return (
        first.dtype not in (torch.float32, torch.float64)
        or any(
            type(x) not in (torch.Tensor, torch.nn.Parameter) or x.layout != torch.strided or x.is_neg() for x in arrays
        )
        or any(x.dtype != first.dtype or (x.ndim and x.device != first.device) for x in arrays)
        or not 0 < prod(first.shape[: first.ndim - len(task.matrix.grid)]) <= GRID
        or BACKEND.differentiable(arrays)
    )


def by_member(x: torch.Tensor, batch: tuple[int, ...], axes: int) -> torch.Tensor:
    """`x` as rows, one a member, contiguous each; a stride of 0 between them where all have the same."""
    points = x.shape[x.ndim - axes :]
    rows = x.detach().expand(*batch, *points).reshape(prod(batch), prod(points))
    return rows if rows.stride(1) == 1 or rows.shape[1] == 1 else rows.contiguous()


def step_of(x: torch.Tensor) -> int:
    """From one member to the next."""
    return x.stride(0) if x.shape[0] > 1 else 0


def alike(values: list[torch.Tensor], batch: tuple[int, ...], axes: int) -> list[torch.Tensor]:
    """Arrays by members with one stride for all: a batch that some have is spread to all."""
    rows = [by_member(x, batch, axes) for x in values]
    return rows if len({step_of(x) for x in rows}) == 1 else [x.contiguous() for x in rows]


@dataclass(frozen=True)
class Chunk:
    """What the launches of a chunk share; lists are those of the red points, and of the black ones."""

    batch: tuple[int, ...]
    b: list[torch.Tensor]
    weights: tuple[list[torch.Tensor], list[torch.Tensor]]
    grid: tuple[int, ...]
    constant: bool
    cut: dict[str, Any]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Rows, rows of a plane, points of a row, of its half, of half a plane, of half a member."""
        lines, n = prod(self.grid[:-1]), self.grid[-1]
        n1, width = self.grid[-2] if len(self.grid) > 1 else 1, (n + 1) // 2
        return lines, n1, n, width, n1 * width, lines * width

    @cached_property
    def programs(self) -> tuple[int, int]:
        lines, _, _, width, *_ = self.sizes
        tiles = triton.cdiv(lines, self.cut["ROWS"]) * triton.cdiv(width, self.cut["COLUMNS"])
        return tiles, prod(self.batch)

    @cached_property
    def kind(self) -> dict[str, Any]:
        return {"AXES": len(self.grid), "CONSTANT": self.constant, **self.cut}


def tile(lines: int, width: int, members: int, wide: bool) -> dict[str, Any]:
    """How the work is cut: rows along with columns, so that neighbours are in the cache; less where there is little."""
    points = 512 if wide else 1024
    if members * lines * width < ENOUGH * points:
        points = 256
    power = triton.next_power_of_2
    rows = min(power(lines), max(1, points // min(power(width), NARROW)))
    columns = min(power(width), max(1, points // rows))
    return {"ROWS": rows, "COLUMNS": columns, "num_warps": 4 if points > 256 else 2, "enable_fp_fusion": True}


def chunk_of(task: Any, batch: tuple[int, ...]) -> Chunk:
    m, d = task.matrix, len(task.matrix.grid)
    both = []
    for color in (0, 1):
        values = [m.center, *(v for pair in zip(m.before, m.after, strict=True) for v in pair)]
        if m.constant:
            values = [number_like(v, task.b[0])[..., None] for v in values]
        else:
            values = [pair[color] for pair in values]
        both += values
    made = alike(both, batch, 1 if m.constant else d)
    half = len(made) // 2
    spread = [[center, *(center,) * (6 - len(rest)), *rest] for center, *rest in (made[:half], made[half:])]
    b = alike(list(task.b), batch, d)
    lines, width = prod(m.grid[:-1]), (m.grid[-1] + 1) // 2
    cut = tile(lines, width, prod(batch), b[0].dtype == torch.float64)
    return Chunk(batch, b, (spread[0], spread[1]), m.grid, m.constant, cut)


def factors_of(state: Any, task: Any, batch: tuple[int, ...], stages: int) -> torch.Tensor:
    """The factor of every half sweep, shape (stages or stages + 1, members); of stride 0 along them where it stays."""
    if state.factor is None:
        return by_member(number_like(task.omega, state.x[0])[..., None], batch, 1)[:, 0].expand(max(stages, 1), -1)
    start = by_member(state.factor[..., None], batch, 1).contiguous()
    beta = by_member(number_like(task.beta, start)[..., None], batch, 1)
    made = start.new_empty(stages + 1, start.shape[0])
    programs = triton.cdiv(start.shape[0], LANES)
    chebyshev[programs,](start, beta, step_of(beta), made, start.shape[0], stages, LANES=LANES)
    return made


def launches(sweep: str, limit: int) -> Iterator[tuple[int, int, int]]:
    """The colour, the first half sweep, and the number of half sweeps of every launch."""
    place = 0
    for color, run in groupby(COLORS[sweep] * limit):
        times = len(list(run))
        yield color, place, times
        place += times


def swept(chunk: Chunk, x: tuple[Any, Any], factors: torch.Tensor, sweep: str, limit: int) -> tuple[Any, Any]:
    """x after `limit` sweeps, in memory of its own if there are any."""
    now = [by_member(half, chunk.batch, len(chunk.grid)).contiguous() for half in x]
    fresh = [True, True]
    for color, place, times in launches(sweep, limit):
        new = torch.empty_like(now[color]) if fresh[color] else now[color]
        b, weights = chunk.b[color], chunk.weights[color]
        relaxed_tile[chunk.programs](
            *(now[color], new, now[1 - color], b, step_of(b), *weights, step_of(weights[0])),
            *(factors, *factors.stride(), place, *chunk.sizes),
            COLOR=color,
            TIMES=times,
            **chunk.kind,
        )
        now[color], fresh[color] = new, False
    return now[0].reshape(x[0].shape), now[1].reshape(x[1].shape)


def error_of(chunk: Chunk, x: tuple[Any, Any], size: Any) -> torch.Tensor:
    """|b - A x| / |b|, from the norms of the tiles."""
    red, black = (by_member(half, chunk.batch, len(chunk.grid)).contiguous() for half in x)
    weights = (*chunk.weights[0], *chunk.weights[1])
    tiles, members = chunk.programs
    norms = red.new_empty(members, tiles)
    residual_tile[chunk.programs](
        *(red, black, *chunk.b, step_of(chunk.b[0]), *weights, step_of(weights[0]), norms, *chunk.sizes),
        **chunk.kind,
    )
    error: torch.Tensor = relative(norms.reshape(*chunk.batch, tiles), size)
    return error


def packed_sweeps(state: Any, task: Any, limit: Any, tol: Any) -> Any:
    """Override of ``linear.sor_red_black``: `limit` sweeps, all of them, since to stop inside would be a look."""
    if declines(state, task):
        return NotImplemented
    x = state.x
    batch = tuple(x[0].shape[: x[0].ndim - len(task.matrix.grid)])
    stages = int(limit) * len(COLORS[task.sweep])
    with on_device_of(x[0]):
        state = remember(state)
        chunk = chunk_of(task, batch)
        if stages:
            factors = factors_of(state, task, batch, stages)
            x = swept(chunk, x, factors, task.sweep, int(limit))
            factor = None if state.factor is None else factors[-1].reshape(batch)
            state = replace(state, x=x, factor=factor)
        error = error_of(chunk, x, task.size)
    return replace(state, error=error), limit, error
