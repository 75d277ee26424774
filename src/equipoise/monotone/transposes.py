"""Products with transposed derivatives, of linear maps and of whatever a tree of arrays goes into."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..arrays import is_floating, namespace
from ..backend import of
from ..operators.protocol import beside
from ..record import fill, leaves

__all__ = ["pull_back", "transposed"]


@functools.cache
def transposed(matvec: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A^T y for the linear map ``matvec(x, parameters)``; one function for each, since jax compiles anew for others."""

    def product(y: Any, parameters: Any) -> Any:
        _, pull = of(y).vjp_of(lambda x: matvec(x, parameters), namespace(y).zeros_like(y))
        return beside(pull(y)[0], y)

    return product


def pull_back(fun: Callable[[Any], Any], tree: Any, cotangent: Any) -> Any:
    """The cotangent of `tree` for that of ``fun(tree)``: of its floating-point arrays; zeros for the others."""
    everything = leaves(tree)
    free = [k for k, x in enumerate(everything) if is_floating(x)]
    bars = [namespace(x).zeros_like(x) for x in everything]

    def of_free(*arrays: Any) -> Any:
        values = list(everything)
        for k, x in zip(free, arrays, strict=True):
            values[k] = x
        return fun(fill(tree, values))

    if free:
        _, pull = of(cotangent).vjp_of(of_free, *(everything[k] for k in free))
        for k, bar in zip(free, pull(cotangent), strict=True):
            bars[k] = bar
    return fill(tree, bars)
