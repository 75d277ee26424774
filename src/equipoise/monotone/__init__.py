"""Monotone inclusions: zeros of monotone operators, fixed points, equilibria of games, linear programs."""

from .anchored import Restart
from .extragradient import extragradient
from .extragradient_vr import extragradient_vr
from .finite_sum import FiniteSum, components
from .halpern import halpern
from .halpern_vr import halpern_vr
from .linear_program import linear_program
from .matrix_game import matrix_game
from .regression import LeastSquaresGradient, LogisticGradient
from .resolvents import Box, Identity, L1Ball, L2Ball, Nonnegative, Product, Resolvent, Simplex, SoftThreshold
from .result import GameResult, LinearProgramResult, MonotoneResult
from .robust import RobustLeastSquares
from .saddles import GameOperator, QuadraticMinMax

__all__ = [
    "Box",
    "FiniteSum",
    "GameOperator",
    "GameResult",
    "Identity",
    "L1Ball",
    "L2Ball",
    "LeastSquaresGradient",
    "LinearProgramResult",
    "LogisticGradient",
    "MonotoneResult",
    "Nonnegative",
    "Product",
    "QuadraticMinMax",
    "Resolvent",
    "Restart",
    "RobustLeastSquares",
    "Simplex",
    "SoftThreshold",
    "components",
    "extragradient",
    "extragradient_vr",
    "halpern",
    "halpern_vr",
    "linear_program",
    "matrix_game",
]
