"""numba kernels of the projections onto the simplex and the ball of the 1-norm: no sort, and no temporary array.

Michelot's iteration finds the threshold: take it as if all entries left were positive, drop those below it, again. That
is Newton's method on a convex, piecewise linear function f of slope -k, so that k f falls fourfold a round: a few dozen
rounds at the very most, in practice three to six, each on what is left. The largest entry is taken off first, so that
entries below -radius are out at once and rows of huge numbers keep their digits. Never with fastmath: the largest entry
stays only since 0 > (sum - radius) / k, which reassociation does not respect.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import njit

__all__ = ["INSIDE", "project_l1", "project_row", "project_simplex", "simplex_row"]

INSIDE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # not called from Python


@njit(cache=True, **INSIDE)
def project_row(row, radius, scratch, ball):  # type: ignore[no-untyped-def]
    """Project a contiguous row in place, onto the simplex, or onto the ball of the 1-norm.

    The ball's projection is that of the absolute values onto the simplex, with their signs; `scratch` has the length
    and the dtype of the row, and `radius` is a float.
    """
    kept, size, top, bad = row.dtype.type, 0.0, -np.inf, 0
    for i in range(row.size):
        x = abs(row[i]) if ball else row[i]
        size += x
        top = max(top, x)
        bad += x != x
    if ball and size <= radius:
        return
    if bad > 0 or not np.isfinite(top):  # the differences with the largest entry are no numbers
        for i in range(row.size):
            row[i] = np.nan
        return
    highest, count, total = kept(top), 0, 0.0
    for i in range(row.size):
        x = (abs(row[i]) if ball else row[i]) - highest
        scratch[count] = x
        count += x > -radius
        total += x if x > -radius else 0.0
    left, tau = count + 1, 0.0
    while 0 < count < left:
        left, tau = count, (total - radius) / count
        count, total = 0, 0.0
        for i in range(left):
            x = scratch[i]
            scratch[count] = x
            count += x > tau
            total += x if x > tau else 0.0
    for i in range(row.size):
        x = ((abs(row[i]) if ball else row[i]) - highest) - tau
        x = 0.0 if x <= 0.0 else x
        row[i] = -x if ball and row[i] < 0.0 else x


@njit(cache=True)
def simplex_row(row, radius, scratch):  # type: ignore[no-untyped-def]
    """Project a contiguous row onto the simplex in place."""
    project_row(row, radius, scratch, False)


@njit(cache=True)
def project_rows(rows, radius, ball):  # type: ignore[no-untyped-def]
    """Project every row in place."""
    scratch = np.empty_like(rows[0])
    for i in range(rows.shape[0]):
        project_row(rows[i], radius, scratch, ball)


def projected(v: Any, radius: Any, ball: bool) -> Any:
    if v.dtype not in (np.float64, np.float32) or not v.size:
        return NotImplemented
    out = np.array(v, order="C")
    project_rows(out.reshape(-1, v.shape[-1]), float(radius), ball)
    return out


def project_simplex(v: Any, radius: Any) -> Any:
    """Override of ``monotone.project_simplex``."""
    return projected(v, radius, False)


def project_l1(v: Any, radius: Any) -> Any:
    """Override of ``monotone.project_l1``."""
    return projected(v, radius, True)
