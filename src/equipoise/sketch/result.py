"""What `lstsq` returns."""

from __future__ import annotations

import math
from typing import Any, Generic

from ..arrays import A
from ..backend import of
from ..boundary import public
from ..record import record, static
from ..result import Outcome, Status, report
from .checks import check_inside
from .student import upper_quantile

__all__ = ["LstsqResult", "report_on"]


@record
class LstsqResult(Outcome[A], Generic[A]):
    """The solution of a least-squares problem, and how far it is right.

    Attributes
    ----------
    x : array, shape (..., d) or (..., d, k)
        The solution; of least norm where A has not full column rank.
    residual_norm : array, shape (...) or (..., k)
        |b - A x|, from the answer; where the rows are gone by then, an estimate (`residual_estimated`).
    error : array, shape (...) or (..., k)
        For the accurate methods an estimate of the backward error: how far A and b would have to be moved, relative to
        the Frobenius norm of A, for x to be their exact solution. For ``sketch_solve`` the epsilon that its rows buy,
        at the `delta` of the call.
    steps : array of int
        Corrections of ``cholesky_qr``, products of ``spir``, 0 for the others.
    rank : array of int, shape (...)
        Directions of A that were kept.
    condition : array, shape (...)
        Largest over least singular value: of the sketch with columns of norm 1; for ``direct`` of A itself.
    deviation : array, shape (..., d) or (..., d, k), or None
        For ``sketch_solve`` the standard error of each coordinate that the sketch has brought in.
    method : str
        The method that ran.
    kind : str
        The kind of its sketch; empty for ``direct``.
    sketch_rows : int
        Rows of the sketch; 0 for ``direct``.
    s : int
        Entries in a column of a sparse sketch; 0 for dense ones.
    residual_estimated : bool
        Whether `residual_norm` is an estimate.
    """

    x: A
    residual_norm: A
    rank: A
    condition: A
    deviation: A | None
    method: str = static()
    kind: str = static(default="")
    sketch_rows: int = static(default=0)
    s: int = static(default=0)
    residual_estimated: bool = static(default=False)
    _shown = ("x", "residual_norm", "rank", "condition", "method", "kind", "sketch_rows")

    @public
    def coordinate_bound(self, delta: float = 0.05) -> A:
        """Half-widths of intervals that hold all coordinates of the exact solution at once.

        With probability 1 - `delta`, over the seed, every ``|x_i - x*_i|`` is at most its half-width: conditionally on
        S A, a Gaussian sketch makes x an ordinary-least-squares estimate with m - d degrees of freedom, and the d
        intervals share `delta` (Bonferroni). Exact for ``gaussian``, asymptotic for ``rademacher``, ``srht`` and
        ``sparse_sign`` with s >= max(16, d / 8).

        Parameters
        ----------
        delta
            In (0, 1).

        Returns
        -------
        array, of the shape of x

        Raises
        ------
        ValueError
            After an accurate method, whose error is rounding; for kinds that allow no such statement; if A has not full
            column rank.

        Examples
        --------
        >>> import numpy as np
        >>> import equipoise as eq
        >>> rng = np.random.default_rng(0)
        >>> A, b = rng.normal(size=(20_000, 5)), rng.normal(size=20_000)
        >>> result = eq.sketch.lstsq(A, b, epsilon=0.2)
        >>> exact = np.linalg.lstsq(A, b, rcond=None)[0]
        >>> bool(np.all(abs(result.x - exact) <= result.coordinate_bound(0.05)))
        True
        """
        check_inside("delta", delta)
        if self.deviation is None:
            raise ValueError(
                f"method {self.method!r} solves to rounding and has no coordinate bound; use method='sketch_solve'"
            )
        if self.is_deficient:
            raise ValueError(f"A has rank {summary(self.rank, least=True)}, and single coordinates are not determined")
        d = self.x.shape[-1 if self.x.ndim == self.error.ndim + 1 else -2]
        if self.kind in ("countsketch", "rows", "tensor_srht") or (
            self.kind == "sparse_sign" and self.s < max(16, d / 8)
        ):
            s = f" with s={self.s}" if self.kind == "sparse_sign" else ""
            raise ValueError(
                f"a sketch of kind {self.kind!r}{s} gives no bound on coordinates, since single rows can dominate its "
                f"error; use 'gaussian', 'rademacher', 'srht', or 'sparse_sign' with s >= {math.ceil(max(16, d / 8))}"
            )
        bound: Any = self.deviation * upper_quantile(delta / (2 * d), self.sketch_rows - d)
        return bound

    @property
    def is_deficient(self) -> bool:
        """Whether some rank, if it is known, is below the number of columns."""
        backend = of(self.rank)
        d = self.x.shape[-1 if self.x.ndim == self.error.ndim + 1 else -2]
        return not backend.traced([self.rank]) and bool((backend.to_numpy(self.rank) < d).any())


def summary(x: Any, least: bool = False) -> str:
    """The largest of an array, or the least, as far as it is known."""
    backend = of(x)
    if backend.traced([x]):
        return "traced"
    known = backend.to_numpy(x)
    return f"{float(known.min() if least else known.max()):.3g}"


def report_on(result: LstsqResult[Any], tol: Any, method: str = "sketch.lstsq") -> None:
    """Warn if `tol` was not met; a sketch has no steps that could have been too few."""
    backend = of(result.code)
    sketched = result.residual_estimated and not backend.traced([result.code])
    few = sketched and not (backend.to_numpy(result.code) == int(Status.NOT_FINITE)).any()
    reason = "A sketch of so many rows promises no more: raise sketch_rows, or loosen epsilon or tol."
    report(result, method, tol, reason=reason if few else "")
