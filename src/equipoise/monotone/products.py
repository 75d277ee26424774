"""Products with matrices and operators in full precision, and bounds on their norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import like, namespace
from ..backend import of
from ..iterate import iterate, repeat, stepwise
from ..kernel import kernel
from ..operators import CSR, Dense
from ..operators.protocol import sum_to
from ..random import Stream, normal, words_of
from ..record import leaves, map_arrays, plain, rebuild, record
from .anchored import wider
from .residuals import norm

__all__ = ["forward", "operator_norm", "outer", "power_growth", "product", "spectral_norm", "transposed"]

SLACK = 1.01  # a power iteration ends below the norm; steps need a bound from above
POWER_STEPS, POWER_TOL = 300, 1e-5
SMALL = 128  # columns up to which products of all of them are cheaper than a power iteration
FIXED = (np.uint32(0), np.uint32(0))  # the seed of its start


def product(matrix: Any, x: Any) -> Any:
    """The product with every vector of x, in full precision: x M^T, shape (..., rows of M)."""
    return of(x, matrix).matmul(x, namespace(matrix).matrix_transpose(matrix))


def forward(K: Any, x: Any) -> Any:
    """K x, in full precision."""
    if isinstance(K, Dense):
        xp, M = namespace(x), K.array
        M = xp.matrix_transpose(M)
        return of(x).matmul(x, M) if M.ndim == 2 else of(x).matmul(x[..., None, :], M)[..., 0, :]
    return plain(K).matvec(x)


def transposed(K: Any, y: Any) -> Any:
    """K^T y, in full precision."""
    if isinstance(K, Dense):
        M = K.array
        return of(y).matmul(y, M) if M.ndim == 2 else of(y).matmul(y[..., None, :], M)[..., 0, :]
    return plain(K).rmatvec(y)


def outer(K: Any, y: Any, x: Any) -> Any:
    """y x^T on the entries that K stores, as an operator of K's kind: the derivative of y K x in K."""
    xp = namespace(x)
    if isinstance(K, Dense):
        return rebuild(Dense, (sum_to(y[..., :, None] * x[..., None, :], tuple(K.array.shape)),), ())
    if isinstance(K, CSR):
        data = sum_to(xp.take(y, K.rows, axis=-1) * xp.take(x, K.indices, axis=-1), tuple(K.data.shape))
        return rebuild(CSR, (data, K.indices, K.indptr, K.rows), (K.shape,))
    if K is None or not leaves(K):
        return None
    raise TypeError(f"there is no derivative in the entries of a {type(K).__name__}; pass an array or a sparse matrix")


def start_direction(d: int, beside: Any) -> Any:
    """A unit vector of normal numbers that are always the same."""
    xp = namespace(beside)
    place = {name: x for name, x in like(beside).items() if name != "dtype"}
    index = xp.arange(-(-d // 4), **place)
    v = xp.reshape(normal(words_of(index, 0, FIXED, stream=int(Stream.DIRECTIONS)), beside.dtype), (-1,))[:d]
    return v / norm(v)


@record
class Power:
    """A direction of the power iteration for K^T K, how much K makes it grow, and what the last step changed."""

    direction: Any
    growth: Any
    change: Any


def power_step(s: Power, K: Any) -> Power:
    """A step of it."""
    xp = namespace(s.direction)
    there, by = scaled(forward(K, s.direction))
    back, more = scaled(transposed(K, there))
    growth = xp.sqrt(by) * xp.sqrt(more)  # the product of both may overflow, or vanish
    safe = xp.where(growth > 0, growth, xp.ones_like(growth))
    return Power(back, growth, xp.asarray(2.0 * xp.abs(growth - s.growth) / safe))


def scaled(x: Any) -> tuple[Any, Any]:
    """Unit vectors and norms, whatever the units are: squares would overflow."""
    xp = namespace(x)
    top = xp.asarray(xp.max(xp.abs(x), axis=-1))
    top = xp.where(top > 0, top, xp.ones_like(top))
    x = x / wider(top)
    size = norm(x)
    safe = xp.where(size > 0, size, xp.ones_like(size))
    return x / wider(safe), size * top


def power_change(s: Power, K: Any) -> Any:
    """What the last step changed."""
    return s.change


power = stepwise(power_step, power_change)


@kernel("monotone.power")
def power_growth(v: Any, K: Any, *, count: int) -> Any:
    """How much K makes v, shape (..., n), grow after `count` steps for K^T K: |K|, nearly, from below."""
    zero = 0.0 * norm(v)
    return repeat(power_step, Power(v, zero, zero), K, count).growth


def operator_norm(K: Any, beside: Any) -> Any:
    """A bound on |K| for vectors like `beside`, shape (..., n); 1 where K is 0."""
    xp = namespace(beside)
    K = map_arrays(of(beside).stop_gradient, K)
    v = xp.broadcast_to(start_direction(int(beside.shape[-1]), beside), tuple(beside.shape))
    zero = 0.0 * norm(v)
    run = iterate(
        power, Power(v, zero, zero + 1.0), K, tol=POWER_TOL, max_steps=POWER_STEPS, history=False, nested=True
    )
    found = SLACK * run.state.growth
    return xp.asarray(xp.where(found > 0, found, xp.ones_like(found)))


def spectral_norm(matrix: Any) -> Any:
    """A bound on the largest singular value of an array (n, d), no further above it than SLACK; shape ()."""
    xp, (n, d) = namespace(matrix), matrix.shape
    if not min(n, d) <= SMALL <= max(n, d):
        return operator_norm(Dense(matrix), matrix[0, :])
    matrix = of(matrix).stop_gradient(matrix)
    top = xp.max(xp.abs(matrix))
    top = xp.where(top > 0, top, xp.ones_like(top))
    long = (matrix if n >= d else xp.matrix_transpose(matrix)) / top
    square = xp.max(xp.linalg.eigvalsh(of(long).matmul(xp.matrix_transpose(long), long)))
    slack = 1.0 + 8.0 * max(n, d) ** 0.5 * float(xp.finfo(matrix.dtype).eps)  # of the sums
    return xp.asarray(xp.where(square > 0, slack * top * xp.sqrt(square), xp.ones_like(square)))
