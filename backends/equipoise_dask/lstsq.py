"""Least squares of a dask array: the solvers of :mod:`equipoise.sketch`, met pass by pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from equipoise.checks import check_limits
from equipoise.random import key
from equipoise.sketch.choice import check_settings, settings_for, sketches_for
from equipoise.sketch.factors import unit
from equipoise.sketch.lstsq import apart
from equipoise.sketch.making import suggest_rows
from equipoise.sketch.result import LstsqResult, report_on
from equipoise.sketch.solve import assembled, solve_by_passes, solve_sketched

from .checks import check_array, one_column_of_chunks, sides_of
from .passes import DaskPasses

__all__ = ["lstsq"]


def lstsq(
    A: Any,
    b: Any,
    *,
    method: str = "auto",
    kind: str | None = None,
    sketch_rows: int | None = None,
    epsilon: float | None = None,
    delta: float = 0.05,
    rcond: float | None = None,
    tol: float | None = None,
    max_steps: int = 100,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
    rng: int | np.random.Generator = 0,
) -> LstsqResult[Any]:
    """:func:`equipoise.sketch.lstsq` of a dask array A, shape (n, d); the result is of numpy arrays.

    Every pass over A is one ``compute`` on the active scheduler, in which every chunk is made once. ``sketch_solve``
    takes one pass, ``cholesky_qr`` three, and often a fourth, a correction; ``spir`` takes one a step and one a stage.
    The order of sums is fixed by the chunks, not by what is done first.

    Parameters
    ----------
    A : dask array, shape (n, d)
        Of float64 or float32, with n >= d and chunks of numpy arrays of known shapes. Chunks of whole rows, 10 to 100
        MB each, serve best; chunks side by side are merged up to 128 MB.
    b : dask or numpy array, shape (n,) or (n, k)
        Of the dtype of A.
    method
        ``auto`` is ``sketch_solve`` if `epsilon` is given, else ``cholesky_qr``; not ``direct``.
    kind, sketch_rows, epsilon, delta, rcond, tol, max_steps, check_every, callback, history, rng
        As there. Where `epsilon` asks for more than n / 2 rows ``cholesky_qr`` runs instead.

    Returns
    -------
    LstsqResult

    Raises
    ------
    TypeError, ValueError
        As there, and for chunks that cannot be used as they are.

    Warns
    -----
    ConvergenceWarning
        If `error` is above `tol`.

    Notes
    -----
    Beside the chunks that are being worked on, ``sketch_solve`` holds sketches of m (d + 1) numbers: a few for each
    worker, and one for each doubling of the number of chunks. Chunks of fewer than m rows make more work of adding
    them than of reading. The accurate methods hold next to nothing. Least squares of dask arrays have no derivatives.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import equipoise as eq
    >>> A = da.random.default_rng(0).normal(size=(100_000, 20), chunks=(10_000, 20))
    >>> b = A @ np.arange(20.0)
    >>> result = eq.sketch.lstsq(A, b)
    >>> bool(np.allclose(result.x, np.arange(20.0))), result.method
    (True, 'cholesky_qr')
    """
    A = matrix_of(A)
    b, vectors = sides_of(b, A)
    n, d = A.shape
    check_settings(method, kind, sketch_rows, epsilon, delta, rcond, d)
    if method == "direct":
        raise ValueError("method 'direct' needs all of A in memory; use 'cholesky_qr', which is as accurate")
    passes = DaskPasses(A, b)
    ran, tol = settings_for(A, passes.sides, method, kind, sketch_rows, epsilon, delta, tol)
    ran = "cholesky_qr" if ran == "direct" else ran  # what is small, or would gain nothing by one sketch
    check_limits(tol, max_steps, check_every)
    low, high = key(rng)
    seed = low + (high << 32)
    cut = 30.0 * unit(passes.sides) if rcond is None else float(rcond)
    if ran == "sketch_solve":
        name = kind or "srht"
        wanted: Any = epsilon  # a number where sketch_rows is none
        m = sketch_rows if sketch_rows is not None else suggest_rows(name, d, epsilon=wanted, delta=delta)
        S = sketches_for(ran, name, m, (n, d), seed)(0)
        SA, Sb, _ = passes.sketched(S)
        result = solve_sketched(SA, Sb, S, tol, delta, cut)
    else:
        sketches = sketches_for(ran, kind, sketch_rows, (n, d), seed)
        watching = {"check_every": check_every, "callback": callback, "history": history, "max_steps": max_steps}
        result = assembled(solve_by_passes(passes, tol, ran, sketches, cut, root=False, **watching), ran, sketches)
    result = apart(result, (None, vectors))
    report_on(result, tol)
    return result


def matrix_of(A: Any) -> Any:
    """A with whole rows in its chunks."""
    check_array("A", A)
    if A.ndim != 2:
        raise ValueError(f"A must have shape (n, d), got {A.shape}; batches of dask arrays are solved one by one")
    n, d = A.shape
    if d == 0 or n < d:
        raise ValueError(
            f"A must have at least one column and as many rows as columns, got shape {A.shape}; "
            "compute it, for a solution of least norm"
        )
    return one_column_of_chunks("A", A)
