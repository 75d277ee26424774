"""What `sor` and `cg` return."""

from __future__ import annotations

from typing import Generic

from ..arrays import A
from ..record import record
from ..result import Outcome

__all__ = ["LinearResult"]


@record
class LinearResult(Outcome[A], Generic[A]):
    """The solution of a linear system, or as far as a method came.

    Attributes
    ----------
    x : array, shape (..., n) or (..., \\*grid)
        The solution; where the method failed, the best iterate that it looked at.
    error : array, shape (...)
        ``|b - A x| / |b|``, Euclidean norms, recomputed from `x`.
    steps : array of int, shape (...)
        Sweeps (a symmetric one counts once) or steps of conjugate gradients.
    """

    x: A
