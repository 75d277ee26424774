"""Preconditioners on Lie groups, fitted online from pairs that show the curvature or the second moment (PSGD)."""

from .annealed import Annealed
from .fit import fit_hessian
from .minimize import minimize
from .operator import Preconditioner
from .psgd import Psgd, psgd
from .result import HessianFit, MinimizeResult
from .states import DenseState, DiagonalState, KroneckerState, LowRankState, ScaledState, XmatState

__all__ = [
    "Annealed",
    "DenseState",
    "DiagonalState",
    "HessianFit",
    "KroneckerState",
    "LowRankState",
    "MinimizeResult",
    "Preconditioner",
    "Psgd",
    "ScaledState",
    "XmatState",
    "fit_hessian",
    "minimize",
    "psgd",
]
