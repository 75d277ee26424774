"""Entropic optimal transport: the plan of least cost between two weighted sets, smoothed by entropy."""

from .pointcloud import PointCloud
from .result import SparsePlan, TransportResult
from .sinkhorn import sinkhorn

__all__ = ["PointCloud", "SparsePlan", "TransportResult", "sinkhorn"]
