"""Randomized sketches of tall matrices, and least squares built on them: accurate and fast, or one pass with bounds."""

from .lstsq import lstsq
from .operator import SketchOperator, sketch_operator, suggest_rows
from .result import LstsqResult

__all__ = ["LstsqResult", "SketchOperator", "lstsq", "sketch_operator", "suggest_rows"]
