"""A linear program as the steps want it: one matrix, broadcast vectors, and the scaled form beside the given one."""

from __future__ import annotations

import math
from typing import Any

from ..arrays import library, like, namespace
from ..operators import CSR, Dense
from ..record import plain, record
from .products import forward, transposed
from .products import scaled as unit
from .program_steps import Program
from .resolvents import Box
from .saddle_steps import SaddleTask
from .scaling import scaled, scaled_csr

__all__ = ["program_of"]

REACH = 1e5  # of the primal weight
SHRINK = 0.9  # of the size of the matrix, at a restart


@record
class Stacked:
    """Two operators, one above the other."""

    above: Any
    below: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of both, and columns."""
        return plain(self.above).shape[0] + plain(self.below).shape[0], plain(self.above).shape[1]

    def matvec(self, x: Any) -> Any:
        """Both products, one after the other."""
        return namespace(x).concat([forward(self.above, x), forward(self.below, x)], axis=-1)

    def rmatvec(self, y: Any) -> Any:
        """The sum of both transposed products."""
        p = plain(self.above).shape[0]
        return transposed(self.above, y[..., :p]) + transposed(self.below, y[..., p:])


def joined(A: Any, G: Any, c: Any, batch: tuple[int, ...]) -> tuple[Any, int]:
    """[A; G], and the rows of A; one row of zeros where there are no constraints."""
    xp = namespace(c)
    blocks = [M for M in (A, G) if M is not None]
    rows = 0 if A is None else int(A.shape[0])
    if not blocks:
        return Dense(xp.zeros((1, c.shape[-1]), **like(c))), 1
    if len(blocks) == 1:
        return blocks[0], rows
    if not all(isinstance(M, Dense) for M in blocks):
        return Stacked(*blocks), rows
    wide = any(M.array.ndim > 2 for M in blocks)
    arrays = [xp.broadcast_to(M.array, (*batch, *M.array.shape[-2:])) if wide else M.array for M in blocks]
    return Dense(xp.concat(arrays, axis=-2)), rows


def length(x: Any) -> Any:
    """|x|, whose square may overflow."""
    return namespace(x).asarray(unit(x)[1])


def evened(c: Any, q: Any) -> Any:
    """A power of two to multiply the columns with, and to divide the rows by, so that |c| is about |q|.

    That leaves the matrix alone. The primal weight then has its whole range on either side, whatever the units are.
    """
    xp = namespace(c)
    known, one = (c > 0) & (q > 0), xp.ones_like(c)
    apart = xp.log2(xp.where(known, q, one)) - xp.log2(xp.where(known, c, one))
    return xp.asarray(2.0 ** xp.round(0.5 * apart))


def program_of(c: Any, A: Any, b: Any, G: Any, h: Any, bounds: Any, batch: tuple[int, ...], scaling: bool) -> Program:
    """The program, and its scaled form."""
    xp, n = namespace(c), int(c.shape[-1])
    K, equalities = joined(A, G, c, batch)
    m = int(plain(K).shape[0])
    c = xp.broadcast_to(c, (*batch, n))
    sides = [xp.broadcast_to(x, (*batch, x.shape[-1])) for x in (b, h) if x is not None]
    q = xp.concat(sides, axis=-1) if sides else xp.zeros((*batch, m), **like(c))
    lower, upper = (xp.broadcast_to(x if library(x) else xp.asarray(float(x), **like(c)), (*batch, n)) for x in bounds)
    inner, rows, columns = K, xp.ones_like(q), xp.ones_like(c)
    if scaling and isinstance(K, Dense):
        array, rows, columns = scaled(K.array)
        inner = Dense(array)
    elif scaling and isinstance(K, CSR):
        inner, rows, columns = scaled_csr(K)
    ratio = evened(length(columns * c), length(rows * q))
    columns, rows = columns * ratio[..., None], rows / ratio[..., None]
    floor = xp.concat(
        [xp.full((*batch, equalities), -math.inf, **like(c)), xp.zeros((*batch, m - equalities), **like(c))], axis=-1
    )
    box = Box(lower / columns, upper / columns)
    task = SaddleTask(inner, columns * c, rows * q, box, Box(floor, math.inf), sign=-1.0, reach=REACH, shrink=SHRINK)
    sizes = (1.0 + length(c), 1.0 + length(q))
    return Program(K, c, q, lower, upper, rows, columns, *sizes, task, equalities)
