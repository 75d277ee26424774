"""Preconditioners on Lie groups, fitted online from pairs that show the curvature or the second moment (PSGD)."""

from .psgd import Annealed, Preconditioner, Psgd, psgd
from .states import DenseState, DiagonalState, KroneckerState, LowRankState, ScaledState, XmatState

__all__ = [
    "Annealed",
    "DenseState",
    "DiagonalState",
    "KroneckerState",
    "LowRankState",
    "Preconditioner",
    "Psgd",
    "ScaledState",
    "XmatState",
    "psgd",
]
