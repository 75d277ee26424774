"""numba kernel of a look at linear programs: the errors of T z, and whether T z - z is a certificate.

All of it in scaled data, whose factors are powers of two: what is undone by them is exact. Most differences are no
certificates, and a few rows of the matrix tell.
"""

from __future__ import annotations

import math

import numpy as np

from equipoise.monotone.program_steps import ALIKE, NOISE
from equipoise.monotone.saddle_steps import MAPPED, MAPPED_OF, MOVE
from equipoise.result import Status

from .compiled import njit
from .exponential import CALLER

__all__ = ["look", "product"]

UNBOUNDED, CONTRADICTORY = int(Status.DUAL_INFEASIBLE), int(Status.PRIMAL_INFEASIBLE)
FEW = 4  # rows at a time


@njit(error_model="numpy", cache=True)
def charged(r, lower, upper):  # type: ignore[no-untyped-def]
    """What a bound contributes to the dual value at reduced costs r, and the part of r that no bound can carry."""
    if r > 0.0 and lower > -math.inf:
        return r * lower, 0.0 * r
    if r < 0.0 and upper < math.inf:
        return r * upper, 0.0 * r
    return 0.0 * r, r


@njit(error_model="numpy", cache=True)
def error_of(x, y, vectors, factors, sign, equalities, sizes):  # type: ignore[no-untyped-def]
    """The largest of the three errors of T z."""
    c, q, lower, upper = vectors
    rows, columns = factors
    value = dual_value = primal = dual = 0.0
    for j in range(c.size):
        r = c[j] - sign * x[MAPPED_OF, j]
        part, amiss = charged(r, lower[j], upper[j])
        value += c[j] * x[MAPPED, j]
        dual_value += part
        dual += (amiss / columns[j]) ** 2
    for i in range(q.size):
        missing = (q[i] - sign * y[MAPPED_OF, i]) / rows[i]
        if i < equalities or not missing < 0.0:
            primal += missing * missing
        dual_value += q[i] * y[MAPPED, i]
    gap = abs(value - dual_value) / (1.0 + abs(value) + abs(dual_value))
    worst = gap
    for part in (math.sqrt(dual) / sizes[0], math.sqrt(primal) / sizes[1]):
        if not part <= worst:  # NaN stays
            worst = part
    return worst


@njit(fastmath=CALLER, cache=True)
def product(row, x):  # type: ignore[no-untyped-def]
    total = row.dtype.type(0.0)
    for j in range(x.size):
        total += row[j] * x[j]
    return total


@njit(fastmath=CALLER, cache=True)
def subtract(out, row, weight):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        out[j] -= weight * row[j]


@njit(error_model="numpy", cache=True)
def falls(M, d, move, vectors, rows, equalities, size_c, tol):  # type: ignore[no-untyped-def]
    """Whether the move is a direction, written to d, along which the objective falls for ever."""
    c, _, lower, upper = vectors
    fall = terms = size = 0.0
    for j in range(d.size):
        d[j] = move[j]
        if lower[j] > -math.inf:
            d[j] = max(d[j], 0.0)
        if upper[j] < math.inf:
            d[j] = min(d[j], 0.0)
        fall -= c[j] * d[j]
        terms += abs(c[j] * d[j])
        size += d[j] * d[j]
    if not fall > NOISE * np.finfo(d.dtype).eps * terms:
        return False
    most, alike = tol * fall / size_c, ALIKE * tol * math.sqrt(size)
    amiss = amiss_alike = 0.0
    for i in range(M.shape[0]):
        missing = -product(M[i], d)
        if i < equalities or not missing < 0.0:
            amiss += (missing / rows[i]) ** 2
            amiss_alike += missing * missing
        if i % FEW == 0 and not (math.sqrt(amiss) <= most and math.sqrt(amiss_alike) <= alike):
            return False
    return math.sqrt(amiss) <= most and math.sqrt(amiss_alike) <= alike


@njit(error_model="numpy", cache=True)
def contradicts(M, r, v, move, vectors, columns, equalities, size_q, tol):  # type: ignore[no-untyped-def]
    """Whether the move holds multipliers, written to v, by which the constraints contradict each other."""
    _, q, lower, upper = vectors
    gain = terms = size = amiss = amiss_alike = 0.0
    r[:] = 0
    for i in range(v.size):
        v[i] = move[i] if i < equalities or not move[i] < 0.0 else 0.0
        gain += q[i] * v[i]
        terms += abs(q[i] * v[i])
        size += v[i] * v[i]
        if v[i] != 0.0:
            subtract(r, M[i], v[i])
    for j in range(r.size):
        part, left = charged(r[j], lower[j], upper[j])
        gain += part
        terms += abs(part)
        amiss += (left / columns[j]) ** 2
        amiss_alike += left * left
    if not gain > NOISE * np.finfo(v.dtype).eps * terms:
        return False
    return math.sqrt(amiss) * size_q <= tol * gain and math.sqrt(amiss_alike) <= ALIKE * tol * math.sqrt(size)


@njit(error_model="numpy", cache=True)
def look(M, x, y, vectors, factors, sign, equalities, sizes, best, tol):  # type: ignore[no-untyped-def]
    """The error and the code of a member; where it is the best, or its first certificate, that is written down."""
    rows, columns = factors
    best_x, best_y, ray_x, ray_y, error, code = best
    worst = error_of(x, y, vectors, factors, sign, equalities, sizes)
    if worst < error:
        error = worst
        for j in range(columns.size):
            best_x[j] = columns[j] * x[MAPPED, j]
        for i in range(rows.size):
            best_y[i] = rows[i] * y[MAPPED, i]
    d, v = x[MOVE].copy(), y[MOVE].copy()
    found = UNBOUNDED if falls(M, d, x[MOVE], vectors, rows, equalities, sizes[0], tol) else 0
    if contradicts(M, x[MOVE].copy(), v, y[MOVE], vectors, columns, equalities, sizes[1], tol):
        found = CONTRADICTORY
    if found > 0 and code == 0:
        code = found
        for j in range(columns.size):
            ray_x[j] = columns[j] * d[j]
        for i in range(rows.size):
            ray_y[i] = rows[i] * v[i]
    return error, code
