"""Triton kernels of optimal transport, for CUDA tensors: soft minima that stream over the cost and never form a plan.

A program owns some rows, and walks over the columns tile by tile with a running maximum and a running sum in
registers; a pass along the other axis is the same kernel with the strides exchanged. So nothing of the size n m is
written, no two programs touch one number, and every run gives the same bits. What is left of a sweep are vectors: torch
operations without a look from the host, so that a chunk of sweeps is one queue of launches.

Nothing here has run on a GPU yet. It is held to the portable bodies in Triton's interpreter, on CPU tensors, and
compiles for compute capabilities 8.0 and 9.0; its speed, the size of its tiles, and the launches between two passes,
which likely outweigh them below some thousands of points, have not been measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from math import prod
from typing import Any

import torch

from equipoise.record import leaves
from equipoise.transport.pointcloud import is_cloud
from equipoise.transport.potentials import bounded_exp
from equipoise.transport.sweeps import step

from . import BACKEND

__all__ = ["apply", "log_sweeps", "marginals", "soft_min"]

triton: Any
tl: Any
try:
    triton, tl = import_module("triton"), import_module("triton.language")
except ImportError:  # it comes with torch on Linux with CUDA, and with no other
    triton = tl = None

DENSE, SQUARES, ROOTS, ABSOLUTES, PRODUCTS = range(5)  # where a tile of the cost comes from
METRICS = {"sqeuclidean": SQUARES, "euclidean": ROOTS, "cityblock": ABSOLUTES}
FEW = 16  # dimensions up to which squared distances are sums of squared differences: near points keep their digits
ENOUGH = 264  # programs that keep a GPU busy; below, each owns fewer rows
WIDE = 16  # columns of a factor a program takes: the fewest that a product of tiles takes
GRID = 65535  # the most members of a batch, the bound of a grid's second axis


def jit(body: Any) -> Any:
    """``triton.jit``, where there is a Triton."""
    return body if triton is None else triton.jit(body)


# ---------------------------------------------------------------------------------------------------------------------
# On the device


@jit
def costs(x, y, rows, columns, n, m, d, across, along, KIND: tl.constexpr, DEEP: tl.constexpr):  # type: ignore[no-untyped-def]
    """A tile of the cost: read from the matrix `x`, or made of the coordinates `x` (d, n) and `y` (d, m)."""
    dtype: tl.constexpr = x.dtype.element_ty
    here, there = rows < n, columns < m
    if KIND == 0:
        place = rows.to(tl.int64)[:, None] * across + columns.to(tl.int64)[None, :] * along
        tile = tl.load(x + place, mask=here[:, None] & there[None, :], other=0.0)
    elif KIND == 4:  # |x|^2 + |y|^2 - 2 x.y of centred points, in the full precision of their dtype
        tile = tl.zeros([rows.shape[0], columns.shape[0]], dtype)
        square_x, square_y = tl.zeros([rows.shape[0]], dtype), tl.zeros([columns.shape[0]], dtype)
        for k in range(0, d, DEEP):
            ks = tl.arange(0, DEEP)
            known = ks < d - k
            left = tl.load(x + (ks[None, :] * n + rows[:, None]), mask=known[None, :] & here[:, None], other=0.0)
            right = tl.load(y + (ks[:, None] * m + columns[None, :]), mask=known[:, None] & there[None, :], other=0.0)
            square_x += tl.sum(left * left, axis=1)
            square_y += tl.sum(right * right, axis=0)
            tile = tl.dot(left, right, tile, input_precision="ieee", out_dtype=dtype)
            x += DEEP * n  # not k * n, which may need more than 32 bits
            y += DEEP * m
        tile = square_x[:, None] + (square_y[None, :] - 2.0 * tile)
        tile = tl.maximum(tile, 0.0, propagate_nan=tl.PropagateNan.ALL)
    else:
        tile = tl.zeros([rows.shape[0], columns.shape[0]], dtype)
        for _ in range(d):
            left = tl.load(x + rows, mask=here, other=0.0)
            right = tl.load(y + columns, mask=there, other=0.0)
            apart = left[:, None] - right[None, :]
            if KIND == 3:
                tile += tl.abs(apart)
            else:
                tile += apart * apart
            x += n
            y += m
        if KIND == 2:
            tile = tl.sqrt(tile)
    return tile


@jit
def soft_rows(  # type: ignore[no-untyped-def]
    x,
    y,
    n,
    m,
    d,
    member,
    across,
    along,
    potential,
    weights,
    epsilon,
    out,
    KIND: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEEP: tl.constexpr,
):
    """-epsilon log sum_j b_j exp((g_j - C_ij)/epsilon) for the rows of this program."""
    dtype: tl.constexpr = x.dtype.element_ty
    lowest = float("-inf")
    k = tl.program_id(1).to(tl.int64)
    if KIND == 0:
        x += k * member
    else:
        x += k * d * n
        y += k * d * m
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    smoothing = tl.load(epsilon)
    inverse = 1.0 / smoothing
    shift, total = tl.full([ROWS], lowest, dtype), tl.zeros([ROWS], dtype)
    for start in range(0, m, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        there = columns < m
        mass = tl.load(weights + k * m + columns, mask=there, other=0.0)
        log_mass = tl.where(mass > 0, tl.log(tl.where(mass > 0, mass, 1.0)), lowest)
        level = tl.load(potential + k * m + columns, mask=there, other=0.0)
        tile = costs(x, y, rows, columns, n, m, d, across, along, KIND, DEEP)
        scores = log_mass[None, :] + (level[None, :] - tile) * inverse
        higher = tl.maximum(shift, tl.max(scores, axis=1))
        finite = tl.where(higher == lowest, 0.0, higher)  # nothing but weights of zero so far
        total = total * tl.exp(shift - finite) + tl.sum(tl.exp(scores - finite[:, None]), axis=1)
        shift = higher
    soft = -smoothing * (shift + tl.log(tl.where(shift == lowest, float("nan"), total)))
    tl.store(out + k * n + rows, soft, mask=rows < n)


@jit
def product_rows(  # type: ignore[no-untyped-def]
    x,
    y,
    n,
    m,
    d,
    member,
    across,
    along,
    here,
    there,
    epsilon,
    v,
    width,
    out,
    MOST: tl.constexpr,
    KIND: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDE: tl.constexpr,
    DEEP: tl.constexpr,
):
    """sum_j exp((f_i + g_j - C_ij)/epsilon) v_j for the rows and the columns of `v` of this program."""
    dtype: tl.constexpr = x.dtype.element_ty
    k = tl.program_id(1).to(tl.int64)
    if KIND == 0:
        x += k * member
    else:
        x += k * d * n
        y += k * d * m
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    slots = tl.program_id(2) * WIDE + tl.arange(0, WIDE)
    inverse = 1.0 / tl.load(epsilon)
    own = tl.load(here + k * n + rows, mask=rows < n, other=0.0)
    total = tl.zeros([ROWS, WIDE], dtype)
    for start in range(0, m, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        level = tl.load(there + k * m + columns, mask=columns < m, other=0.0)
        tile = costs(x, y, rows, columns, n, m, d, across, along, KIND, DEEP)
        exponent = (own[:, None] + (level[None, :] - tile)) * inverse
        density = tl.exp(tl.minimum(exponent, MOST, propagate_nan=tl.PropagateNan.ALL))
        inside = (columns < m)[:, None] & (slots < width)[None, :]
        factors = tl.load(v + (k * m + columns[:, None]) * width + slots[None, :], mask=inside, other=0.0)
        total = tl.dot(density, factors, total, input_precision="ieee", out_dtype=dtype)
    inside = (rows < n)[:, None] & (slots < width)[None, :]
    tl.store(out + (k * n + rows[:, None]) * width + slots[None, :], total, mask=inside)


INTERPRETED = triton is not None and not isinstance(soft_rows, triton.runtime.JITFunction)


# ---------------------------------------------------------------------------------------------------------------------
# On the host


def declines(cost: Any, *tree: Any) -> bool:
    """Whether this is no work for Triton: not a matrix or a cloud, or not all of one dtype, on one GPU, as values."""
    if triton is None or not (isinstance(cost, torch.Tensor) or is_cloud(cost)):
        return True
    arrays = leaves((cost, *tree))
    first = arrays[0]
    return (
        not (first.is_cuda or INTERPRETED)
        or first.dtype not in (torch.float32, torch.float64)
        or any(x.dtype != first.dtype or (x.ndim and x.device != first.device) for x in arrays)
        or any(
            type(x) not in (torch.Tensor, torch.nn.Parameter) or x.layout != torch.strided or x.is_neg() for x in arrays
        )
        or BACKEND.differentiable(arrays)
    )


@dataclass(frozen=True)
class Source:
    """Where kernels read a batch of costs: matrices by their strides, or coordinates, shape (batch, d, n or m)."""

    kind: int
    x: torch.Tensor
    y: torch.Tensor
    d: int
    shape: tuple[int, int]
    strides: tuple[int, int, int]

    def turned(self) -> Source:
        """The same with the roles of rows and columns exchanged; nothing is copied."""
        (n, m), (member, across, along) = self.shape, self.strides
        x, y = (self.x, self.y) if self.kind == DENSE else (self.y, self.x)
        return replace(self, x=x, y=y, shape=(m, n), strides=(member, along, across))


def source_of(cost: Any, batch: tuple[int, ...]) -> Source:
    """The source of a cost, whose batch is spread to `batch`."""
    n, m = cost.shape[-2:]
    count = prod(batch)
    if not is_cloud(cost):
        x = cost.detach().expand(*batch, n, m).reshape(count, n, m)
        return Source(DENSE, x, x, 0, (n, m), x.stride())
    x, y = cost.x.detach(), cost.targets.detach()
    d = x.shape[-1]
    kind = METRICS[cost.metric]
    if kind == SQUARES and d > FEW:
        kind, middle = PRODUCTS, y.mean(-2, keepdim=True)  # so that little cancels
        x, y = x - middle, y - middle
    x, y = (p.expand(*batch, -1, d).reshape(count, -1, d).mT.contiguous() for p in (x, y))
    return Source(kind, x, y, d, (n, m), (0, 0, 0))


def tiles(source: Source, count: int) -> dict[str, Any]:
    """How the work is cut: fewer rows a program where there are few programs, or where numbers are wide."""
    wide = source.x.dtype == torch.float64
    rows = 32 if wide else 64
    if count * triton.cdiv(source.shape[0], rows) < ENOUGH:
        rows = 16
    return {
        "ROWS": rows,
        "COLUMNS": 128,
        "DEEP": 16 if wide else 32,
        "num_warps": 4 if rows == 16 else 8,
        "num_stages": 2,  # three tiles of a matrix outgrow the shared memory of smaller GPUs
        "enable_fp_fusion": True,  # said, since the default is changing
    }


def flat(x: torch.Tensor, batch: tuple[int, ...], last: int) -> torch.Tensor:
    """`x` with its batch spread, contiguous: its last `last` axes are its own."""
    return x.detach().expand(*batch, *x.shape[x.ndim - last :]).contiguous()


def number_like(x: Any, like: torch.Tensor) -> torch.Tensor:
    """A number on the device: Triton would take a Python one as float32, and a copy from the host would wait."""
    if isinstance(x, torch.Tensor):
        return x.detach().to(like.device, like.dtype)
    return torch.full((), float(x), dtype=like.dtype, device=like.device)


def batch_of(cost: Any, *vectors: torch.Tensor) -> tuple[int, ...]:
    """The shape of the batch that a cost and vectors have together."""
    return torch.broadcast_shapes(tuple(cost.shape[:-2]), *(x.shape[:-1] for x in vectors))  # type: ignore[no-untyped-call]


def soft(source: Source, batch: tuple[int, ...], potential: Any, weights: Any, epsilon: torch.Tensor) -> torch.Tensor:
    """The soft-min for the rows of `source`."""
    n, m = source.shape
    out = torch.empty((*batch, n), dtype=potential.dtype, device=potential.device)
    cut = tiles(source, prod(batch))
    with on_device_of(out):
        soft_rows[triton.cdiv(n, cut["ROWS"]), prod(batch)](
            *(source.x, source.y, n, m, source.d, *source.strides),
            *(flat(potential, batch, 1), flat(weights, batch, 1), epsilon, out),
            KIND=source.kind,
            **cut,
        )
    return out


def on_device_of(x: torch.Tensor) -> Any:
    """A context in which launches go to the GPU of `x`; nothing for a tensor of the interpreter's."""
    return torch.cuda.device_of(x)  # type: ignore[no-untyped-call]


def soft_min(cost: Any, potential: Any, weights: Any, epsilon: Any, *, axis: int) -> Any:
    """Override of ``transport.soft_min``."""
    if declines(cost, potential, weights, epsilon) or prod(batch := batch_of(cost, potential, weights)) > GRID:
        return NotImplemented
    source = source_of(cost, batch)
    return soft(source if axis == -1 else source.turned(), batch, potential, weights, number_like(epsilon, potential))


def marginals(cost: Any, f: Any, g: Any, a: Any, b: Any, epsilon: Any) -> Any:
    """Override of ``transport.marginals``."""
    if declines(cost, f, g, a, b, epsilon) or prod(batch := batch_of(cost, f, g, a, b)) > GRID:
        return NotImplemented
    source, smoothing = source_of(cost, batch), number_like(epsilon, f)
    rows = a * bounded_exp((f - soft(source, batch, g, b, smoothing)) / epsilon)
    columns = b * bounded_exp((g - soft(source.turned(), batch, f, a, smoothing)) / epsilon)
    return rows, columns


def apply(cost: Any, f: Any, g: Any, epsilon: Any, v: Any, *, transpose: bool) -> Any:
    """Override of ``transport.apply``."""
    if declines(cost, f, g, epsilon, v) or prod(batch := batch_of(cost, f, g, v[..., 0])) > GRID:
        return NotImplemented
    source = source_of(cost, batch)
    here, there = (g, f) if transpose else (f, g)
    source = source.turned() if transpose else source
    (n, m), width = source.shape, v.shape[-1]
    out = torch.empty((*batch, n, width), dtype=f.dtype, device=f.device)
    cut = tiles(source, prod(batch))
    with on_device_of(out):
        product_rows[triton.cdiv(n, cut["ROWS"]), prod(batch), triton.cdiv(width, WIDE)](
            *(source.x, source.y, n, m, source.d, *source.strides),
            *(flat(here, batch, 1), flat(there, batch, 1), number_like(epsilon, f), flat(v, batch, 2), width, out),
            MOST=700.0 if f.dtype == torch.float64 else 80.0,  # as in bounded_exp
            KIND=source.kind,
            WIDE=WIDE,
            **cut,
        )
    return out


# ---------------------------------------------------------------------------------------------------------------------
# Sweeps


def log_sweeps(state: Any, problem: Any, limit: Any, tol: Any) -> Any:
    """Override of ``transport.log_sweeps``: `limit` sweeps, all of them, since to stop inside would be a look."""
    batch = state.f.shape[:-1]
    if declines(problem.cost, state, problem) or prod(batch) > GRID:
        return NotImplemented
    source, smoothing = source_of(problem.cost, batch), number_like(problem.epsilon, state.f)
    turned = source.turned()

    def smooth(cost: Any, potential: Any, weights: Any, epsilon: Any, *, axis: int) -> torch.Tensor:
        return soft(source if axis == -1 else turned, batch, potential, weights, smoothing)

    for _ in range(int(limit)):
        state = step(state, problem, smooth)
    return state, limit, state.error
