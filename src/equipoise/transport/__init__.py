"""Entropic optimal transport: the plan of least cost between two weighted sets, smoothed by entropy."""

from .barycenter import BarycenterResult, barycenter
from .divergence import DivergenceResult, sinkhorn_divergence
from .newton import NewtonResult, sinkhorn_newton_sparse
from .one_dimensional import wasserstein_1d
from .pointcloud import PointCloud
from .result import SparsePlan, TransportResult
from .sinkhorn import sinkhorn
from .sliced import sliced_wasserstein

__all__ = [
    "BarycenterResult",
    "DivergenceResult",
    "NewtonResult",
    "PointCloud",
    "SparsePlan",
    "TransportResult",
    "barycenter",
    "sinkhorn",
    "sinkhorn_divergence",
    "sinkhorn_newton_sparse",
    "sliced_wasserstein",
    "wasserstein_1d",
]
