"""Sketches of rows that come in blocks: from a file that is larger than memory, from a sensor, from other machines.

What is kept of a stream is the sum of the shares of its blocks, m rows whatever its length, and which rows have been
there. Sums add up in any order, so that several machines may read a part each; they are scaled only when they are
looked at, so that whole numbers give the same bits in every order.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Generic

from ..arrays import A as Array_
from ..arrays import namespace, shape_text
from ..boundary import public
from ..checks import check_limits, check_mask, number
from ..guide import guided
from ..record import record, static
from .checks import check_dtype, check_inside, check_numbers, check_plain, check_whole, first_bad_row, is_finite
from .factors import unit
from .lstsq import apart, together
from .operator import SketchOperator
from .result import LstsqResult, report_on
from .solve import solve_sketched

__all__ = ["Accumulator", "accumulate"]

Ranges = tuple[tuple[int, int], ...]


@record
class Accumulator(Generic[Array_]):
    """The sketch of the rows that have come so far; :func:`accumulate` makes an empty one.

    It never changes: :meth:`update` and ``+`` return new ones. :func:`equipoise.save` and :func:`equipoise.load` store
    one, which is a checkpoint of the stream; under jax it is a pytree.

    Attributes
    ----------
    sums : array, shape (..., m, d), or None
        S A without the scale, so far.
    sides : array, shape (..., m, k), or None
        The same for the right-hand sides.
    S : SketchOperator
    ranges : tuple of pairs of int
        The rows that are in it, as sorted pairs ``(start, stop)`` with gaps between them.
    vectors : pair of bool
        Whether blocks of A, and of b, are vectors.
    """

    sums: Array_ | None
    sides: Array_ | None
    S: SketchOperator = static()
    ranges: Ranges = static(default=())
    vectors: tuple[bool, bool] = static(default=(False, False))

    @property
    def rows(self) -> int:
        """How many rows have come."""
        return sum(stop - start for start, stop in self.ranges)

    @property
    @public
    def SA(self) -> Array_:
        """The sketch of A, shape (..., m, d), or (m,) if the blocks are vectors."""
        return self._sketch("A", self.sums, self.vectors[0])

    @property
    @public
    def Sb(self) -> Array_ | None:
        """The sketch of b, shape (..., m) or (..., m, k); None where no right-hand sides have come."""
        return None if self.ranges and self.sides is None else self._sketch("b", self.sides, self.vectors[1])

    @public
    def update(self, A_block: Array_, b_block: Array_ | None = None, *, start: int) -> Accumulator[Array_]:
        """An accumulator that knows more rows. Blocks may come in any order, each row once.

        An update costs a pass over the m rows of the sketch besides the work on the block: feed blocks of at least m
        rows where you can.

        Parameters
        ----------
        A_block : array, shape (rows, d), (..., rows, d) or (rows,)
            Rows of A, of the same shape but for `rows`, dtype and library as the blocks before.
        b_block : array, shape (rows,) or (rows, k), or with the batch of A, optional
            The right-hand sides of the same rows: with every block or with none.
        start : int
            The number of the first row. Inside ``jax.jit`` it has to be a plain number, not a traced one.

        Returns
        -------
        Accumulator

        Raises
        ------
        TypeError, ValueError
            If the block does not fit to those before, if some of its rows have come already or lie beyond the last,
            or if it holds a number that is not finite: the sentence names the rows, as numbers of rows of A.

        Examples
        --------
        >>> import numpy as np
        >>> from equipoise.sketch import accumulate, sketch_operator
        >>> A = np.random.default_rng(0).normal(size=(10_000, 5))
        >>> acc = accumulate(sketch_operator("srht", 200, 10_000, rng=0))
        >>> for start in range(0, 10_000, 2_500):
        ...     acc = acc.update(A[start : start + 2_500], start=start)
        >>> bool(np.allclose(acc.SA, acc.S @ A)), acc.rows
        (True, 10000)
        """
        start = check_whole("start", start, 0)
        parts, vectors, n = self._parts(A_block, b_block, start)
        ranges = merged(self.ranges, ((start, start + n),))
        made = self.S.sums(parts, start)
        if not all(is_finite(x) for x in made):
            complain(parts, start)
        return self._plus(replace(self, sums=made[0], sides=(*made, None)[1], ranges=ranges, vectors=vectors))

    @public
    def __add__(self, other: Accumulator[Array_]) -> Accumulator[Array_]:
        """An accumulator of the rows of both: parts of a stream may be read apart and merged in any order.

        Raises
        ------
        TypeError, ValueError
            If the two sketch with different operators, have rows in common, or blocks that do not fit.
        """
        if not isinstance(other, Accumulator):
            return NotImplemented
        if self.S != other.S:
            raise ValueError(f"accumulators of different operators cannot be added, got {self.S!r} and {other.S!r}")
        if not self.ranges or not other.ranges:
            return self if self.ranges else other
        if self.vectors != other.vectors or (self.sides is None) != (other.sides is None):
            raise ValueError("the two accumulators do not fit: their blocks have different axes, or only one has b")
        for name, mine, its in (("A", self.sums, other.sums), ("b", self.sides, other.sides)):
            check_alike(f"{name} of the second accumulator", its, mine)
        return self._plus(replace(other, ranges=merged(self.ranges, other.ranges)))

    @public
    def solve(
        self, *, delta: float = 0.05, tol: float | None = None, rcond: float | None = None, partial: bool = False
    ) -> LstsqResult[Array_]:
        """The least-squares solution of what has come, as :func:`lstsq` with method ``sketch_solve`` gives it.

        Parameters
        ----------
        delta
            The probability for which `error` is told.
        tol
            The largest `error` that is no reason to warn; by default any is accepted.
        rcond
            Singular values of the column-scaled sketch below rcond times the largest are dropped; by default 30 times
            the unit roundoff.
        partial
            Whether to accept that rows are still to come: the answer is then that of the rows that are there.

        Returns
        -------
        LstsqResult
            Its `coordinate_bound` holds the error against the exact solution of the same rows; its `residual_norm` is
            an estimate.

        Raises
        ------
        TypeError, ValueError
            Before all rows have come, unless `partial`; without right-hand sides; if the sketch has not more rows than
            A has columns, or fewer rows of A than columns have come; for a setting out of its range.

        Warns
        -----
        ConvergenceWarning
            If `error` is above `tol`.

        Examples
        --------
        >>> import numpy as np
        >>> from equipoise.sketch import accumulate, sketch_operator
        >>> rng = np.random.default_rng(0)
        >>> A, b = rng.normal(size=(10_000, 5)), rng.normal(size=10_000)
        >>> S = sketch_operator("rademacher", 500, None, rng=0)  # a stream without a known end
        >>> first = accumulate(S).update(A[:4_000], b[:4_000], start=0)
        >>> second = accumulate(S).update(A[4_000:], b[4_000:], start=4_000)
        >>> result = (second + first).solve()
        >>> exact = np.linalg.lstsq(A, b, rcond=None)[0]
        >>> bool(np.all(abs(result.x - exact) <= result.coordinate_bound()))
        True
        """
        SA, Sb, rows = self.SA, self.Sb, self.rows
        check_inside("delta", delta)
        if rcond is not None and not 0 <= (number("rcond", rcond) or 0.0) < 1:
            raise ValueError(f"rcond must be in [0, 1), got {rcond}")
        if Sb is None:
            raise ValueError("no right-hand sides have come: update(A_block, b_block, start=...) takes them")
        if self.vectors[0]:
            raise ValueError("A must come in blocks of shape (rows, d) to be solved, got vectors")
        m, d = SA.shape[-2:]
        if m <= d:
            raise ValueError(f"the sketch must have more rows than A has columns, got {m} rows for {d} columns")
        if self.S.n is not None and rows < self.S.n and not partial:
            raise ValueError(
                f"{rows} of the {self.S.n} rows have come, row {first_missing(self.ranges)} has not; "
                "solve(partial=True) takes what is there"
            )
        if rows < d:
            raise ValueError(f"only {rows} rows have come, fewer than the {d} columns of A")
        tol = math.inf if tol is None else tol
        check_limits(tol, 1, None)
        left, right, shape = together(SA, Sb, self.vectors[1])
        cut = 30.0 * unit(right) if rcond is None else float(rcond)
        result = apart(solve_sketched(left, right, self.S, tol, delta, cut), shape)
        report_on(result, tol, "sketch.Accumulator.solve")
        return result

    def __repr__(self) -> str:
        of_all = "" if self.S.n is None else f" of {self.S.n}"
        sides = "" if self.sides is None else " with right-hand sides"
        return f"Accumulator({self.rows} rows{of_all}{sides}, {self.S!r})"

    # -----------------------------------------------------------------------------------------------------------------

    def _plus(self, other: Accumulator[Array_]) -> Accumulator[Array_]:
        """`other` with our sums added to its own."""
        sums, sides = (y if x is None else x + y for x, y in ((self.sums, other.sums), (self.sides, other.sides)))
        return replace(other, sums=sums, sides=sides)

    def _sketch(self, name: str, sums: Any, vector: bool) -> Any:
        if sums is None:
            raise ValueError(f"no rows of {name} have come yet")
        made = self.S.scaled(sums)
        return made[..., 0] if vector else made

    def _parts(self, A_block: Any, b_block: Any, start: int) -> tuple[tuple[Any, ...], tuple[bool, bool], int]:
        """The blocks as matrices, whether they came as vectors, and their rows."""
        check_numbers("A_block", A_block)
        check_plain("A_block", A_block)
        check_dtype("A_block", A_block)
        check_mask("A_block", A_block)
        if A_block.ndim < 1:
            raise ValueError("A_block must have shape (rows,) or (..., rows, d), got a 0-d array")
        single = A_block.ndim == 1
        rows = A_block[:, None] if single else A_block
        n = rows.shape[-2]
        if n == 0 or rows.shape[-1] == 0:
            raise ValueError(f"A_block must have at least one row and one column, got shape {shape_text(A_block)}")
        if self.S.n is not None and start + n > self.S.n:
            raise ValueError(f"A_block holds the rows {start} to {start + n} of an A that has {self.S.n}")
        given = (rows,) if b_block is None else (rows, *sides_of(b_block, rows))
        vectors = single, b_block is not None and b_block.ndim < given[-1].ndim
        if self.ranges:
            if (self.sides is None) != (b_block is None):
                before = "without" if self.sides is None else "with"
                raise ValueError(f"b_block must come with every block or with none; the blocks before came {before} it")
            if vectors != self.vectors:
                name = "A_block" if vectors[0] != self.vectors[0] else "b_block"
                raise ValueError(f"{name} must have as many axes as the blocks before, which it has not")
            for name, block, sums in zip(("A_block", "b_block"), given, (self.sums, self.sides), strict=False):
                check_alike(name, block, sums)
        return given, vectors, n


def sides_of(b: Any, rows: Any) -> tuple[Any]:
    """The right-hand sides of a block as columns."""
    check_numbers("b_block", b)
    check_mask("b_block", b)
    namespace(rows, b)
    if b.dtype != rows.dtype:
        raise TypeError(f"b_block must have the dtype {rows.dtype} of A_block, got {b.dtype}; convert one of them")
    batch, n = tuple(rows.shape[:-2]), rows.shape[-2]
    fits = b.ndim >= 1 and (
        tuple(b.shape) == (*batch, n) or (b.ndim == rows.ndim and tuple(b.shape[:-1]) == (*batch, n))
    )
    if not fits or 0 in b.shape:
        raise ValueError(f"b_block must have shape {(*batch, n)} or {(*batch, n, 'k')}, got {shape_text(b)}")
    return (b[..., None] if b.ndim < rows.ndim else b,)


def check_alike(name: str, new: Any, old: Any) -> None:
    """What comes later has the library, dtype, batch and columns of what came before."""
    if old is None:
        return
    namespace(new, old)
    if new.dtype != old.dtype:
        raise TypeError(f"{name} must have the dtype {old.dtype} of the blocks before, got {new.dtype}")
    mine, its = ((tuple(x.shape[:-2]), x.shape[-1]) for x in (old, new))
    if mine != its:
        wanted = (*mine[0], "rows", mine[1])
        raise ValueError(f"{name} must have the columns of the blocks before, shape {wanted}, got {shape_text(new)}")


def complain(parts: tuple[Any, ...], start: int) -> None:
    """Name the row, as a row of A, that is not finite; where there is none, sums have overflowed."""
    for name, part in zip(("A_block", "b_block"), parts, strict=False):
        row = first_bad_row(part)
        if row is not None:
            raise ValueError(f"{name} must be finite, got a number that is not in row {start + row} of A")
    raise ValueError(f"the sketch of the rows from {start} on overflowed: scale A and b down")


def merged(old: Ranges, new: Ranges) -> Ranges:
    """Both, sorted and with neighbours joined; rows that are in both are an error."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted((*old, *new)):
        if joined and start < joined[-1][1]:
            raise ValueError(f"the rows {start} to {min(stop, joined[-1][1])} have come already; each row counts once")
        if joined and start == joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)


def first_missing(ranges: Ranges) -> int:
    """The first row that has not come."""
    return ranges[0][1] if ranges and ranges[0][0] == 0 else 0


@guided
def accumulate(S: SketchOperator) -> Accumulator[Any]:
    """An empty accumulator of the sketch `S`: rows come block by block, and least squares of them are one call away.

    Take it where blocks arrive and are gone: a stream, a database cursor, files on several machines. For an array or a
    memory map :func:`lstsq` is simpler, and for chunks on disk or a cluster it takes a dask array; both also solve to
    full accuracy, which needs the rows more than once.

    Parameters
    ----------
    S
        Made by :func:`sketch_operator`; with ``n=None`` the stream may have any length. For bounds on coordinates
        :func:`suggest_rows` tells how many rows it needs, of kind ``rademacher``, ``gaussian`` or ``srht``.

    Returns
    -------
    Accumulator

    Raises
    ------
    TypeError, ValueError
        If `S` is no sketch operator, or of kind ``tensor_srht``, which has no blocks.

    Examples
    --------
    >>> from equipoise.sketch import accumulate, sketch_operator
    >>> accumulate(sketch_operator("rademacher", 100, None, rng=0))
    Accumulator(0 rows, SketchOperator(rademacher, 100 x endless, seed 0))
    """
    if not isinstance(S, SketchOperator):
        raise TypeError(f"S must be a SketchOperator, see sketch_operator, got {type(S).__name__}")
    if S.kind == "tensor_srht":
        raise ValueError("tensor_srht mixes all rows of both factors and has no blocks; use srht")
    return Accumulator(None, None, S)
