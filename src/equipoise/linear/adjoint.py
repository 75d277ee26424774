"""The derivative of a solution: one more system, with the matrix transposed, solved by the same method."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import namespace
from ..backend import of
from ..operators import CSR, Dense, Stencil
from ..record import leaves
from .ordering import pattern, remembered

__all__ = ["pulled", "solve_vjp", "transposed"]

OTHER_WAY = {"forward": "backward", "backward": "forward", "symmetric": "symmetric"}


def transposed(A: Any) -> Any:
    """A^T, of A's own kind."""
    if isinstance(A, Stencil):
        return A
    if isinstance(A, Dense):
        return Dense(namespace(A.array).matrix_transpose(A.array))
    indptr, indices = pattern(A)

    def make() -> tuple[Any, ...]:
        rows = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
        order = np.argsort(indices, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(indices, minlength=A.shape[1]))])
        return tuple(x.astype(indices.dtype) for x in (order, rows[order], starts))

    found = remembered(indptr, indices, "transposed", make)
    order, columns, starts = (of(A.data).lend(x, A.data) for x in found)
    return CSR(namespace(A.data).take(A.data, order, axis=-1), columns, starts, A.shape[::-1])


def pulled(A: Any, x: Any, adjoint: Any) -> Any:
    """The cotangent of A: -l_i x_j on the entries that are stored."""
    if not leaves(A):
        return None
    _, pull = of(x).vjp_of(lambda operator: operator.matvec(x), A)
    return pull(-adjoint)[0]


def solve_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """l = A^{-T} v by the sweeps in reverse order, which converge as fast."""
    from .sor import solve

    A, _, _, omega, beta, tol = args
    if cotangent[0] is None:
        return (None,) * len(args)
    quiet = {**settings, "sweep": OTHER_WAY[settings["sweep"]], "callback": None, "history": False}
    if beta is not None:
        quiet["sweep"] = "forward"
    adjoint, *_ = solve(transposed(A), cotangent[0], None, omega, beta, tol, **quiet)
    return pulled(A, out[0], adjoint), adjoint, *(None,) * (len(args) - 2)
