"""Quasimetric embeddings: distances with a direction, between points and to fit tables of points to them."""

from .embedding import Embedding, FitHistory
from .fit import fit
from .iqe import iqe, iqe_pairwise, iqe_pairwise_vjp, iqe_vjp
from .pqe import pqe, pqe_pairwise, pqe_pairwise_vjp, pqe_vjp
from .quality import Quality, quality
from .reduction import ALPHA

__all__ = [
    "ALPHA",
    "Embedding",
    "FitHistory",
    "Quality",
    "fit",
    "iqe",
    "iqe_pairwise",
    "iqe_pairwise_vjp",
    "iqe_vjp",
    "pqe",
    "pqe_pairwise",
    "pqe_pairwise_vjp",
    "pqe_vjp",
    "quality",
]
