"""Linear systems: relaxation, preconditioned conjugate gradients, and relaxation factors that are learned.

:func:`sor` and :func:`cg` solve one system, :func:`solve_sequence` a stream of related ones, choosing the relaxation
factor by formula or from the step counts alone.
"""

from .cg import cg
from .preconditioners import SSOR, Chebyshev, Jacobi
from .result import LinearResult
from .sor import sor

__all__ = ["Chebyshev", "Jacobi", "LinearResult", "SSOR", "cg", "sor"]
