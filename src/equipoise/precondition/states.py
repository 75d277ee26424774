"""What a preconditioner knows: records of arrays, one a kind, that are never written in place.

`L` is the running bound of the curvature of the criterion that sets the size of a step, held in float64 where the
library has it; `count` counts pairs, those that were skipped too; `seed` holds the two words that damping and drawn
vectors are made of.
"""

from __future__ import annotations

from typing import Any, Generic

from ..arrays import A, namespace
from ..record import record, static

__all__ = ["DenseState", "DiagonalState", "KroneckerState", "LowRankState", "ScaledState", "State", "XmatState"]


class State:
    """What all of them share, by name: L, count, seed."""

    L: Any
    count: Any
    seed: Any


@record
class DenseState(State, Generic[A]):
    """P = Q^T Q for vectors of length n: Q is upper triangular ("eq"), symmetric ("quad") or any matrix.

    Attributes
    ----------
    Q : array, shape (n, n)
    L, count : array, shape ()
    seed : array of int, shape (2,)
    """

    Q: A
    L: A
    count: A
    seed: A


@record
class DiagonalState(State, Generic[A]):
    """Q = diag(q), q of shape (n,)."""

    q: A
    L: A
    count: A
    seed: A


@record
class ScaledState(State, Generic[A]):
    """Q = q I, one number for `size` of them."""

    q: A
    L: A
    count: A
    seed: A
    size: int = static()


@record
class XmatState(State, Generic[A]):
    """Q = diag(a) + antidiag(b): pairs of entries from both ends are turned and scaled together."""

    a: A
    b: A
    L: A
    count: A
    seed: A


@record
class LowRankState(State, Generic[A]):
    """Q = (I + U V^T) diag(d).

    Attributes
    ----------
    W : array, shape (2 r, n)
        U^T above V^T: one product reads both, and their rows are long.
    d : array, shape (n,)
    L : array, shape (3,)
        Of the updates of U, of V and of d.
    """

    W: A
    d: A
    L: A
    count: A
    seed: A

    @property
    def U(self) -> Any:
        """The left factor, shape (n, r)."""
        W: Any = self.W
        return namespace(W).matrix_transpose(W[: W.shape[0] // 2, ...])

    @property
    def V(self) -> Any:
        """The right factor, shape (n, r)."""
        W: Any = self.W
        return namespace(W).matrix_transpose(W[W.shape[0] // 2 :, ...])


@record
class KroneckerState(State, Generic[A]):
    """Q = Q_1 x ... x Q_k over the axes of a tensor; a factor of one axis is diagonal, shape (n_i,)."""

    Q: tuple[A, ...]
    L: tuple[A, ...]
    count: A
    seed: A
