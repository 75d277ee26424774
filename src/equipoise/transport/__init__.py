"""Entropic optimal transport: the plan of least cost between two weighted sets, smoothed by entropy."""

from .result import TransportResult
from .sinkhorn import sinkhorn

__all__ = ["TransportResult", "sinkhorn"]
