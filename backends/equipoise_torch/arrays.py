"""What torch does better than the Array API standard can say."""

from __future__ import annotations

import math

import torch


def index_sum(values: torch.Tensor, index: torch.Tensor, *, size: int) -> torch.Tensor:
    """Override of ``array.index_sum``."""
    out = torch.zeros((*values.shape[:-1], size), dtype=values.dtype, device=values.device)
    return out.index_add(-1, index, values)


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    """Override of ``array.normal_cdf``; torch's own loses the lower tail."""
    return 0.5 * torch.special.erfc(-math.sqrt(0.5) * x)


def row_sum(values: torch.Tensor, index: torch.Tensor, *, size: int) -> torch.Tensor:
    """Override of ``array.row_sum``."""
    out = torch.zeros((size, values.shape[1]), dtype=values.dtype, device=values.device)
    return out.index_add(0, index, values)


def running_maximum(x: torch.Tensor) -> torch.Tensor:
    """Override of ``array.running_maximum``."""
    return torch.cummax(x, dim=-1).values


def solve_upper(R: torch.Tensor, X: torch.Tensor, *, transpose: bool = False) -> torch.Tensor:
    """Override of ``array.solve_upper``."""
    return torch.linalg.solve_triangular(R.mT if transpose else R, X, upper=not transpose)
