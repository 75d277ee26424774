"""Randomized sketches of tall matrices, and least squares built on them: accurate and fast, or one pass with bounds."""

from .accumulate import Accumulator, accumulate
from .leverage import leverage_scores
from .lewis import LewisResult, lewis_weights
from .lstsq import lstsq
from .making import sketch_operator, suggest_rows
from .operator import SketchOperator, TransposedSketch
from .result import LstsqResult

__all__ = [
    "Accumulator",
    "LewisResult",
    "LstsqResult",
    "SketchOperator",
    "TransposedSketch",
    "accumulate",
    "leverage_scores",
    "lewis_weights",
    "lstsq",
    "sketch_operator",
    "suggest_rows",
]
