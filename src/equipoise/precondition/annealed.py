"""A step that falls."""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..record import record, static
from .checks import check_number

__all__ = ["Annealed"]


@record
class Annealed:
    """A step that falls as pairs come in: ``max(floor, start / (1 + count / half_life))``.

    For pairs with noise that does not vanish at the solution, as of an indefinite matrix: a fixed step hovers there.

    Parameters
    ----------
    start : float
        The first step.
    half_life : float
        After so many pairs it has halved.
    floor : float
        The least step.

    Examples
    --------
    >>> from equipoise.precondition import Annealed
    >>> Annealed(0.1, 1000).at(1000)
    0.05
    """

    start: float = static()
    half_life: float = static()
    floor: float = static(default=0.0)

    def __post_init__(self) -> None:
        check_number("start", self.start, "positive", 0.0, closed=False)
        check_number("half_life", self.half_life, "positive", 0.0, closed=False)
        check_number("floor", self.floor, "at least 0", 0.0)

    def at(self, count: Any) -> Any:
        """The step of pair number `count`."""
        falling = self.start / (1.0 + count / self.half_life)
        if isinstance(falling, float):
            return max(self.floor, falling)
        xp = namespace(falling)
        return xp.maximum(falling, self.floor * xp.ones_like(falling))
