"""Quasimetric heads as modules: the last layer of an encoder whose distances have a direction.

Their parameters are unconstrained numbers, mapped to where they belong, so that nothing of them is checked at a call,
and nothing is read from a device.
"""

from __future__ import annotations

from typing import Any

import torch

from equipoise.quasimetric.checks import check_sides, check_whole, check_word
from equipoise.quasimetric.intervals import iqe_all
from equipoise.quasimetric.iqe import between as iqe_between
from equipoise.quasimetric.measures import MEASURES, pqe_all
from equipoise.quasimetric.pairs import widened
from equipoise.quasimetric.pqe import between as pqe_between
from equipoise.quasimetric.pqe import terms_of
from equipoise.quasimetric.reduction import REDUCTIONS

__all__ = ["IQE", "PQE"]


class Distances(torch.nn.Module):
    """What both have in common: checks of points, broadcast or all pairs."""

    components: int

    def distances(self, u: torch.Tensor, v: torch.Tensor, axes: int) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """The distances from `u`, shape (..., D), to `v`, whose leading axes broadcast."""
        return self.distances(*tensors(u, v), 1)

    def pairwise(self, u: torch.Tensor, v: torch.Tensor | None = None) -> torch.Tensor:
        """All pairs of (..., n, D) and (..., m, D), shape (..., n, m); those of `u` alone without `v`."""
        return self.distances(*tensors(u, u if v is None else v), 2)

    def __prepare_scriptable__(self) -> Any:
        """What ``torch.jit.script`` asks first."""
        raise TypeError(
            f"torch.jit.script cannot compile {type(self).__name__}, whose kernels are no TorchScript; script the "
            "encoder alone, and call this module from Python"
        )


def tensors(u: Any, v: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Two of torch's arrays: parameters are such, and others would meet them half-way."""
    for name, x in (("u", u), ("v", v)):
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{name} must be a torch tensor, got {type(x).__module__}.{type(x).__qualname__}")
    return u, v


class IQE(Distances):
    """The interval quasimetric :func:`equipoise.quasimetric.iqe` as a module.

    Parameters
    ----------
    components : int
        How many components there are; the dimension of the points is a multiple of it.
    reduction : {"maxmean", "sum", "max", "mean", "none"}
        How components become one distance. With "maxmean" the share of the maximum is learned, through a sigmoid, from
        -1 on.

    Raises
    ------
    TypeError, ValueError
        If `components` is no whole number of at least 1, or `reduction` is unknown; at a call, as :func:`iqe`.

    Examples
    --------
    >>> import torch
    >>> from equipoise_torch import IQE
    >>> head = IQE(8)
    >>> u, v = torch.randn(2, 100, 128)
    >>> head(u, v).shape, head(u[:, None], v).shape, [name for name, _ in head.named_parameters()]
    (torch.Size([100]), torch.Size([100, 100]), ['raw_alpha'])
    """

    def __init__(self, components: int, *, reduction: str = "maxmean") -> None:
        super().__init__()
        self.components = check_whole("components", components)
        self.reduction = check_word("reduction", reduction, REDUCTIONS)
        if reduction == "maxmean":
            self.raw_alpha = torch.nn.Parameter(torch.tensor(-1.0))

    @property
    def alpha(self) -> Any:
        """The share of the maximum; 0 where there is none to learn."""
        return torch.sigmoid(self.raw_alpha) if self.reduction == "maxmean" else 0.0

    def distances(self, u: torch.Tensor, v: torch.Tensor, axes: int) -> torch.Tensor:
        settings: dict[str, Any] = {
            "components": check_sides(u, v, self.components, axes),
            "reduction": self.reduction,
        }
        if axes == 1:
            return iqe_between(u, v, self.alpha, **settings)
        return iqe_all(*widened(u, v), self.alpha, **settings)

    def extra_repr(self) -> str:
        return f"{self.components}, reduction={self.reduction!r}"


class PQE(Distances):
    """The Poisson quasimetric :func:`equipoise.quasimetric.pqe` as a module.

    Parameters
    ----------
    components : int
        How many components there are; the dimension of the points is a multiple of it. Their weights are learned,
        through softplus, from 1 on.
    measure : {"lebesgue", "gaussian"}
        As for :func:`pqe`; variance and scale of the Gaussian measure are 1.

    Raises
    ------
    TypeError, ValueError
        If `components` is no whole number of at least 1, or `measure` is unknown; at a call, as :func:`pqe`.

    Examples
    --------
    >>> import torch
    >>> from equipoise_torch import PQE
    >>> head = PQE(4)
    >>> u = torch.randn(10, 16)
    >>> bool((head.pairwise(u).diagonal() == 0).all()), float(head.weights.sum().detach().round(decimals=3))
    (True, 4.0)
    """

    def __init__(self, components: int, *, measure: str = "lebesgue") -> None:
        super().__init__()
        self.components = check_whole("components", components)
        self.measure = check_word("measure", measure, MEASURES)
        self.raw_weights = torch.nn.Parameter(torch.full((self.components,), 1.0).expm1().log())

    @property
    def weights(self) -> torch.Tensor:
        """The weights of the components, positive."""
        return torch.nn.functional.softplus(self.raw_weights)

    def distances(self, u: torch.Tensor, v: torch.Tensor, axes: int) -> torch.Tensor:
        k = check_sides(u, v, self.components, axes)
        gaussian = self.measure == "gaussian"
        terms = terms_of(1.0, u.shape[-1] // k, u) if gaussian else 0
        settings: dict[str, Any] = {"components": k, "measure": self.measure, "terms": terms}
        parameters = (self.weights, 1.0, 1.0) if gaussian else (self.weights, None, None)
        if axes == 1:
            return pqe_between(u, v, *parameters, **settings)
        return pqe_all(*widened(u, v), *parameters, **settings)

    def extra_repr(self) -> str:
        return f"{self.components}, measure={self.measure!r}"
