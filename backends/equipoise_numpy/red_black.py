"""numba kernel of red-black sweeps through a stencil: both colours, the residual, and several sweeps in one pass.

A row of the grid is two runs, see :mod:`equipoise_numpy.runs`, the red and the black one side by side in memory. A
stage relaxes one colour, and the other follows a row behind, or, on three axes, a plane.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from .runs import KINDS, Layout, batched, red_black_line, red_black_runs, remembered, sweep_runs, sweeps_in_pass

__all__ = ["packed_sweeps"]

PIECE = 1024  # points of a line in a run
LINE = 64  # bytes
GROUP = 8192  # bytes of one colour that are relaxed at a time


@functools.lru_cache(maxsize=8)
def layout_of(grid: tuple[int, ...], item: int) -> Layout:
    """The runs of a grid in two colours."""
    align, width = LINE // item, -(-grid[-1] // 2)
    unknowns = math.prod(grid)
    if len(grid) == 1:
        runs, first, length = red_black_line(grid[0], PIECE, align)
        return Layout(runs, first, unknowns, int(length), 2, True, sweeps_in_pass(4 * item * PIECE))
    stride = (width // align + 1) * align
    while min(min(k * stride * item % 4096, -k * stride * item % 4096) for k in (1, 2, 3)) < 3 * LINE:
        stride += align  # loads would wait for stores at the same place of another page
    n0, n1 = grid[0], 1 if len(grid) == 2 else grid[1]
    plane = n1 * stride * item
    together = max(1, GROUP // plane)
    runs, first, length = red_black_runs(n0, n1, grid[-1], len(grid), stride, align, together)
    per_pass = sweeps_in_pass(4 * plane * together)
    return Layout(runs, first, unknowns, int(length), len(grid), True, per_pass)


def packed_sweeps(state: Any, task: Any, limit: Any, tol: Any) -> Any:
    """The kernel ``linear.sor_red_black``."""
    x, m = state.x, task.matrix
    d = len(m.grid)
    red = x[0]
    batch = red.shape[: red.ndim - d]
    count = math.prod(batch)
    if red.dtype not in KINDS or count == 0:
        return NotImplemented
    layout = layout_of(m.grid, red.dtype.itemsize)
    n = math.prod(red.shape[red.ndim - d :])

    def pair(halves: Any, **how: Any) -> tuple[Any, ...]:
        return tuple(batched(half.reshape(*half.shape[: half.ndim - d], n), batch, n, **how) for half in halves)

    numbers = np.zeros((1, 4), dtype=red.dtype)
    fields: tuple[Any, ...] = ()
    first_axis = layout.axes - d
    if m.constant:
        values = (m.center, *m.before)
        if any(v.ndim for v in values):
            numbers = np.zeros((count, 4), dtype=red.dtype)
        for k, v in zip((0, *range(1 + first_axis, 4)), values, strict=False):
            numbers[:, k] = np.broadcast_to(v, batch).reshape(-1) if v.ndim else v
    else:
        numbers[0, 0] = 1.0
        nothing = np.zeros((1, n), dtype=red.dtype)
        by_axis = [(nothing, nothing)] * first_axis + [pair(halves) for halves in m.before]
        fields = tuple(half for halves in (pair(m.center), *by_axis) for half in halves)
        fields += (nothing[:0],) * (8 - len(fields))
    arrays = (numbers, fields, pair(x, whole=True), pair(task.b, whole=True))
    outs, done, error, factor = sweep_runs(layout, state, task, batch, arrays, limit, tol)
    best, best_error = remembered(state, x)
    shaped = tuple(out.reshape(red.shape) for out in outs)
    factor = None if state.factor is None else factor
    made = replace(state, x=shaped, error=error, best=best, best_error=best_error, factor=factor)
    return made, done, error
