"""Linear systems: relaxation, preconditioned conjugate gradients, and relaxation factors that are learned.

:func:`sor` and :func:`cg` solve one system, :func:`solve_sequence` a stream of related ones, choosing the relaxation
factor by formula or from the step counts alone.
"""

from .cg import cg
from .chebcb import ChebCB
from .omega import optimal_omega, predicted_steps
from .outcomes import Regret, SequenceInfo, SequenceResult
from .policy import FixedOmega, Policy, YoungOmega
from .preconditioners import SSOR, Chebyshev, Jacobi
from .result import LinearResult
from .sequence import System, solve_sequence
from .sor import sor
from .tsallis import BinnedTsallisINF, TsallisINF

__all__ = [
    "BinnedTsallisINF",
    "ChebCB",
    "Chebyshev",
    "FixedOmega",
    "Jacobi",
    "LinearResult",
    "Policy",
    "Regret",
    "SSOR",
    "SequenceInfo",
    "SequenceResult",
    "System",
    "TsallisINF",
    "YoungOmega",
    "cg",
    "optimal_omega",
    "predicted_steps",
    "solve_sequence",
    "sor",
]
