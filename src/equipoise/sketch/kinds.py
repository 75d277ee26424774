"""The kinds of sketches by name: a new one is a line here, and a file beside this one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import library
from ..backend import of
from .dense import dense, dense_lift
from .sampled import drawn_rows, sampled_lift, sampled_sums
from .sparse_sign import entries_of, sparse_sign, sparse_sign_entries, sparse_sign_lift
from .srht import hadamard_size, sampled_rows, segment, srht, srht_lift, weights
from .tensor import places, tensor_lift, tensor_sums

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """How a kind is computed.

    ``sums(S, parts, start)`` gives the unscaled share of a block of rows of several arrays (..., rows, k);
    ``lift(S, parts, start, n)`` the rows `start` to `start + n` of the unscaled transpose; ``weights(S)`` the scale, a
    number or an array (m,) on the host; ``entries(S, A)`` the unscaled sketch of a CSR matrix, where there is one.
    """

    sums: Callable[[Any, tuple[Any, ...], int], Any]
    lift: Callable[[Any, tuple[Any, ...], int, int], Any]
    weights: Callable[[Any], Any]
    entries: Callable[[Any, Any], Any] | None = None


def per_row(S: Any) -> float:
    """Sketches whose entries all have one size."""
    return 1.0 / math.sqrt(S.m)


# Dense


def dense_sums(S: Any, parts: tuple[Any, ...], start: int) -> Any:
    """The entries are made by tiles."""
    return dense(parts, S.key, start, kind=S.kind, m=S.m)


def dense_lifted(S: Any, parts: tuple[Any, ...], start: int, n: int) -> Any:
    """And so is the transpose."""
    return dense_lift(parts, S.key, start, kind=S.kind, n=n)


# Sparse


def sparse_sums(S: Any, parts: tuple[Any, ...], start: int) -> Any:
    """Rows are hashed to their places."""
    return sparse_sign(parts, S.key, start, m=S.m, s=S.s)


def sparse_lifted(S: Any, parts: tuple[Any, ...], start: int, n: int) -> Any:
    """Each row gathers from its places."""
    return sparse_sign_lift(parts, S.key, start, n=n, s=S.s)


def sparse_entries(S: Any, A: Any) -> Any:
    """The entries of a CSR matrix are hashed by their rows."""
    data, rows, columns = entries_of(A)
    return sparse_sign_entries(data, rows, columns, S.key, 0, m=S.m, s=S.s, width=A.shape[1])


# Hadamard


def hadamard_sums(S: Any, parts: tuple[Any, ...], start: int) -> Any:
    """A transform of the signed rows, of which m are kept."""
    size = hadamard_size(S.n)
    rows = lent(sampled_rows(S.key, m=S.m, size=size), parts)
    return srht(parts, rows, S.key, start, size=size, aligned=start % segment(S.m, size) == 0)


def hadamard_lifted(S: Any, parts: tuple[Any, ...], start: int, n: int) -> Any:
    """The transpose of that."""
    size = hadamard_size(S.n)
    rows = lent(sampled_rows(S.key, m=S.m, size=size), parts)
    return srht_lift(parts, rows, S.key, start, n=n, size=size)


def hadamard_weights(S: Any) -> np.ndarray[Any, Any] | float:
    """Strata of unequal size have weights of their own."""
    size = hadamard_size(S.n)
    return weights(S.m, size) if size % S.m else per_row(S)


# Tensor products


def tensor_summed(S: Any, parts: tuple[Any, ...], start: int) -> Any:
    """Two short transforms; there are no blocks."""
    return tuple(tensor_sums(x, places(S.key, m=S.m, n=S.n, like=x), S.key, n=S.n) for x in parts)


def tensor_lifted(S: Any, parts: tuple[Any, ...], start: int, n: int) -> Any:
    """The transpose of that."""
    return tuple(tensor_lift(y, places(S.key, m=S.m, n=S.n, like=y), S.key, n=S.n) for y in parts)


# Drawn rows


def drawn(S: Any) -> np.ndarray[Any, Any]:
    """The rows, on the host."""
    return drawn_rows(S.key, m=S.m, n=S.n, probabilities=S.probabilities)


def drawn_sums(S: Any, parts: tuple[Any, ...], start: int) -> Any:
    """The rows themselves."""
    return tuple(sampled_sums(x, drawn(S), start) for x in parts)


def drawn_lifted(S: Any, parts: tuple[Any, ...], start: int, n: int) -> Any:
    """What was drawn goes back to its row."""
    return tuple(sampled_lift(y, drawn(S), start, n) for y in parts)


def drawn_weights(S: Any) -> np.ndarray[Any, Any] | float:
    """Rare rows weigh more."""
    if S.probabilities is None:
        return math.sqrt(S.n / S.m)
    p = np.asarray(S.probabilities)[drawn(S)]
    return 1.0 / np.sqrt(S.m * p / math.fsum(S.probabilities))


def lent(rows: np.ndarray[Any, Any], parts: tuple[Any, ...]) -> Any:
    """A copy of the selection, which is remembered, beside the arrays."""
    return of(*parts).lend(rows.copy(), next(x for x in parts if library(x)))


KINDS = {
    "gaussian": Kind(dense_sums, dense_lifted, per_row),
    "rademacher": Kind(dense_sums, dense_lifted, per_row),
    "srht": Kind(hadamard_sums, hadamard_lifted, hadamard_weights),
    "sparse_sign": Kind(sparse_sums, sparse_lifted, lambda S: 1.0 / math.sqrt(S.s), sparse_entries),
    "countsketch": Kind(sparse_sums, sparse_lifted, lambda S: 1.0, sparse_entries),
    "tensor_srht": Kind(tensor_summed, tensor_lifted, per_row),
    "rows": Kind(drawn_sums, drawn_lifted, drawn_weights),
}
