"""Quasimetric embeddings: distances with a direction, between points and to fit tables of points to them."""

from .iqe import iqe, iqe_pairwise, iqe_pairwise_vjp, iqe_vjp
from .pqe import pqe, pqe_pairwise, pqe_pairwise_vjp, pqe_vjp

__all__ = [
    "iqe",
    "iqe_pairwise",
    "iqe_pairwise_vjp",
    "iqe_vjp",
    "pqe",
    "pqe_pairwise",
    "pqe_pairwise_vjp",
    "pqe_vjp",
]
