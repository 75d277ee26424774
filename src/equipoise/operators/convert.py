"""Other people's matrices as operators, known by their attributes: none of their libraries is imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import library, like, namespace
from ..backend import of
from ..guide import guided
from .csr import CSR
from .dense import Dense
from .protocol import LinearOperator

__all__ = ["as_operator"]


@guided
def as_operator(A: Any) -> LinearOperator[Any]:
    """Whatever stands for a matrix, as a linear operator.

    Parameters
    ----------
    A
        An operator, which is returned as it is: anything with ``shape`` and ``matvec``. An array of two or more axes:
        :class:`Dense`. A sparse matrix: :class:`CSR`; those of scipy and cupyx (anything with ``tocsr()``), torch's
        CSR and COO tensors, jax's BCSR and BCOO. Entries stay differentiable, and are shared where the format allows;
        a pattern that is unsorted or holds an entry twice is kept.

    Raises
    ------
    TypeError
        For anything else, and for entries that are not floating-point.
    ValueError
        For arrays of fewer than two axes, and batches of sparse matrices.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse
    >>> from equipoise.operators import as_operator
    >>> as_operator(np.eye(3))
    Dense(3 x 3, float64)
    >>> as_operator(scipy.sparse.eye_array(3, format="csr"))
    CSR(3 x 3, 3 stored, float64)
    """
    if hasattr(A, "matvec") and hasattr(A, "shape"):
        return A
    if hasattr(A, "tocsr"):
        return CSR.from_scipy(A)
    layout = str(getattr(A, "layout", ""))
    if layout == "torch.sparse_csr":
        return CSR(A.values(), A.col_indices(), A.crow_indices(), tuple(A.shape))
    if layout == "torch.sparse_coo":
        return of_places(A)
    if layout.startswith("torch.sparse"):
        raise TypeError(f"A must have torch's CSR or COO layout, got {layout}: call A.to_sparse_csr() first")
    if all(hasattr(A, name) for name in ("data", "indices", "n_batch", "n_dense", "shape")):
        return of_coordinates(A) if not hasattr(A, "indptr") else of_rows(A)
    if library(A):
        return Dense(A)
    raise TypeError(
        "A must be an array, a sparse matrix (scipy, cupyx, torch CSR or COO, jax BCSR or BCOO) or an operator with "
        f"shape and matvec, got {type(A).__name__}"
    )


def of_places(A: Any) -> CSR[Any]:
    """torch's COO."""
    if A.sparse_dim() != 2 or A.dense_dim():
        raise ValueError(f"A must be one sparse matrix of numbers, got a COO tensor of shape {tuple(A.shape)}")
    merged = A.coalesce()  # by rows; what is stored twice is added up
    rows, columns = merged.indices()
    xp = namespace(rows)
    starts = xp.searchsorted(rows, xp.arange(A.shape[0] + 1, **like(rows)))
    return CSR(merged.values(), columns, starts, tuple(A.shape))


def of_rows(A: Any) -> CSR[Any]:
    """jax's BCSR."""
    check_one(A)
    return CSR(A.data, A.indices, A.indptr, tuple(A.shape))


def of_coordinates(A: Any) -> CSR[Any]:
    """jax's BCOO: entries in any order, and places beyond the matrix that only fill up the arrays."""
    check_one(A)
    backend, xp = of(A.data), namespace(A.data, A.indices)
    n, m = A.shape
    if backend.traced([A.indices]):
        order = xp.argsort(A.indices[:, 0], stable=True)
        rows = xp.take(A.indices[:, 0], order)
        starts = xp.searchsorted(rows, xp.arange(n + 1, dtype=rows.dtype))
        return CSR(xp.take(A.data, order), xp.take(A.indices[:, 1], order), starts, (n, m))
    rows, columns = backend.to_numpy(A.indices).T
    order = np.argsort(rows, kind="stable")
    order = order[(rows[order] < n) & (columns[order] < m)]
    starts = np.searchsorted(rows[order], np.arange(n + 1)).astype(rows.dtype)
    places, indices, indptr = (backend.lend(x, A.data) for x in (order.astype(rows.dtype), columns[order], starts))
    return CSR(xp.take(A.data, places), indices, indptr, (n, m))


def check_one(A: Any) -> None:
    """One matrix of numbers, not a batch of them nor a matrix of blocks."""
    if A.n_batch or A.n_dense or len(A.shape) != 2:
        raise ValueError(
            f"A must be one sparse matrix of numbers, got {type(A).__name__} of shape {tuple(A.shape)} with "
            f"n_batch={A.n_batch} and n_dense={A.n_dense}; a batch is CSR(data, indices, indptr, shape) with data of "
            "shape (..., nnz)"
        )
