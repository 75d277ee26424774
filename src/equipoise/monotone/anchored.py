"""One anchored step, in the forms that the methods of this family take, and when the anchor moves.

u0 is the anchor, g stands for F(u), exactly or by an estimate, and J for the resolvent.

``outer``: lambda u0 + (1 - lambda) J_{eG}(u - e g), lambda = 1/(k+2): Halpern's iteration of T = J_{eG}(I - eF).
``inner``: J_{eG}(lambda u0 + (1 - lambda) u - e g), lambda = 2/(k+4): as Cai, Alacaoglu and Diakonikolas publish it.
``scaled``: J_{sG}(lambda u0 + (1 - lambda)(u - e g)), s = (1 - lambda) e, lambda = 2/(k+4): the anchor inside, the step
of T. The inner form is this one with the step e / (1 - lambda), which is up to twice as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import library, namespace
from ..checks import number
from ..record import plain, record
from .numbers import settle_numbers

__all__ = ["FORMS", "NEVER", "Restart", "anchored", "check_restart", "factor_of", "moved", "narrowed", "wider"]

FORMS = ("outer", "inner", "scaled")
NEVER = -1.0  # the factor of no restarts: no residual is below it


@record
class Restart:
    """When the anchor moves to the iterate: as soon as the residual has fallen to `factor` of what it was there.

    Parameters
    ----------
    factor : float
        In (0, 1).

    Examples
    --------
    >>> from equipoise.monotone import Restart
    >>> Restart().factor
    0.5
    """

    factor: Any = 0.5

    def __post_init__(self) -> None:
        settle_numbers(self, "factor")
        value = number("factor", self.factor)
        if value is not None and not 0 < value < 1:
            raise ValueError(f"factor must lie in (0, 1), got {value}")


def check_restart(restart: Any) -> None:
    """A :class:`Restart`, or None for none."""
    if restart is not None and not isinstance(restart, Restart):
        raise TypeError(f"restart must be a Restart or None, got {type(restart).__name__}")


def factor_of(restart: Any) -> Any:
    """The factor as a number."""
    return NEVER if restart is None else restart.factor


def narrowed(x: Any, u: Any) -> Any:
    """A number as a float, or as a 0-d array of the dtype of `u`, which it must not widen; None stays."""
    if x is None:
        return None
    return namespace(u, x).astype(x, u.dtype) if library(x) else float(x)


def wider(x: Any) -> Any:
    """A number a member of the batch, to be multiplied with vectors."""
    return x[..., None] if getattr(x, "ndim", 0) else x


def anchored(form: str, resolvent: Any, anchor: Any, u: Any, g: Any, k: Any, step: Any) -> Any:
    """The next iterate; k and step have the shape of the batch, or are numbers."""
    J, e, k = plain(resolvent), wider(step), wider(k)
    if form == "outer":
        share = 1.0 / (k + 2.0)
        return share * anchor + (1.0 - share) * J(u - e * g, e)
    share = 2.0 / (k + 4.0)
    if form == "inner":
        return J(share * anchor + (1.0 - share) * u - e * g, e)
    return J(share * anchor + (1.0 - share) * (u - e * g), (1.0 - share) * e)


def moved(condition: Any, new: Any, old: Any) -> Any:
    """`new` for the members that fulfil a condition, `old` for the others; of numbers or of vectors."""
    arrays = [x for x in (new, old, condition) if library(x)]
    if not arrays:  # numpy reduces to scalars
        return np.asarray(new if condition else old)
    xp = namespace(*arrays)
    if condition.ndim < old.ndim:
        condition = xp.reshape(condition, (*condition.shape, *(1,) * (old.ndim - condition.ndim)))
    return xp.asarray(xp.where(condition, new, old))
