"""The preconditioners of :func:`equipoise.linear.cg`: descriptions, made into operators where they meet a matrix."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Any

from ..arrays import library, namespace
from ..checks import number
from ..record import record, static
from .ordering import ORDERS

__all__ = ["SSOR", "Chebyshev", "ChebyshevInverse", "Jacobi", "Preconditioner"]


class Preconditioner:
    """What the three descriptions share."""


@record
class SSOR(Preconditioner):
    """A symmetric sweep of over-relaxation: M = (omega/(2 - omega)) (D/omega + L) D^{-1} (D/omega + U).

    Steps of conjugate gradients then grow like the square root of what they are without it, for the same work a step
    (Eisenstat's trick). Take it for matrices with a good diagonal, in the natural order of their rows. Do not take it
    for a matrix that has no stored entries, nor in red-black or multicolour order with an omega other than 1: these
    orders take the effect of omega away.

    Parameters
    ----------
    omega : float or array, in (0, 2), or "young"
        The relaxation factor; an array holds one for each member of a batch. "young" asks
        :func:`equipoise.linear.optimal_omega` in the natural order, and is 1 in the others.
    order : {"natural", "red_black", "multicolor"}
        The order of the sweep.

    Attributes
    ----------
    omega
        The factor, or None for "young".

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> A = eq.operators.Stencil.laplacian((30, 30))
    >>> plain, ssor = (eq.linear.cg(A, np.ones((30, 30)), preconditioner=m) for m in (None, eq.linear.SSOR()))
    >>> bool(2 * ssor.steps < plain.steps)
    True
    """

    omega: Any = "young"
    _: KW_ONLY
    order: str = static(default="natural")

    def __post_init__(self) -> None:
        if isinstance(self.omega, str):
            if self.omega != "young":
                raise ValueError(f"omega must be a number in (0, 2) or 'young', got {self.omega!r}")
            object.__setattr__(self, "omega", None)
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(map(repr, ORDERS))}, got {self.order!r}")
        if self.omega is not None and not library(self.omega):
            value = number("omega", self.omega)
            if value is None or not 0 < value < 2:
                raise ValueError(f"omega must lie in (0, 2), got {value}")


@record
class Jacobi(Preconditioner):
    """The diagonal of the matrix. It costs next to nothing, and helps where the diagonal varies."""


@record
class Chebyshev(Preconditioner):
    """A Chebyshev polynomial of D^{-1} A: products only, no substitution, so that it runs well on a GPU.

    Take it where a symmetric sweep finds too little to do at once. Each application costs `degree` products.

    Parameters
    ----------
    degree : int
        The degree of the polynomial.
    interval : pair of float, optional
        Where the eigenvalues of D^{-1} A lie, 0 < low < high; by default from a few steps of Lanczos. Eigenvalues below
        are harmless, eigenvalues above are not.
    """

    degree: int = static(default=4)
    _: KW_ONLY
    interval: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.degree, bool) or not hasattr(self.degree, "__index__"):
            raise TypeError(f"degree must be a whole number, got {type(self.degree).__name__}")
        if self.degree < 1:
            raise ValueError(f"degree must be at least 1, got {self.degree}")
        if self.interval is None:
            return
        if not isinstance(self.interval, (tuple, list)) or len(self.interval) != 2:
            raise TypeError(f"interval must be a pair of numbers, got {type(self.interval).__name__}")
        low, high = (number("interval", x) for x in self.interval)
        if low is not None and high is not None and not 0 < low < high < math.inf:
            raise ValueError(f"interval must hold 0 < low < high, got {low} and {high}")


@record
class ChebyshevInverse:
    """The polynomial of degree `degree` in D^{-1} A, times D^{-1}, that is nearest to A^{-1}."""

    A: Any
    scale: Any  # 1 / D
    low: Any
    high: Any
    degree: int = static()

    def matvec(self, r: Any) -> Any:
        """`degree` steps of Chebyshev's semi-iteration for A z = r from zero."""
        middle, reach = 0.5 * (self.high + self.low), 0.5 * (self.high - self.low)
        sigma = middle / reach
        rho = 1.0 / sigma
        d = spread(1.0 / middle, r) * self.scale * r
        z = d
        for _ in range(self.degree):
            following = 1.0 / (2.0 * sigma - rho)
            rest = self.scale * (r - self.A.matvec(z))
            d = spread(following * rho, r) * d + spread(2.0 * following / reach, r) * rest
            z, rho = z + d, following
        return z


def spread(factor: Any, x: Any) -> Any:
    """A number, or the numbers of a batch beside their vectors."""
    ndim = getattr(factor, "ndim", 0)
    return namespace(x).reshape(factor, (*factor.shape, *(1,) * (x.ndim - ndim))) if ndim else factor
