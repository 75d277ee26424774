"""Entropic optimal transport: the plan of least cost between two weighted sets, smoothed by entropy."""

from .divergence import DivergenceResult, sinkhorn_divergence
from .pointcloud import PointCloud
from .result import SparsePlan, TransportResult
from .sinkhorn import sinkhorn

__all__ = [
    "DivergenceResult",
    "PointCloud",
    "SparsePlan",
    "TransportResult",
    "sinkhorn",
    "sinkhorn_divergence",
]
