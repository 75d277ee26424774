"""Counts of steps and of oracle calls in whole numbers that a library may not have.

Steps are counted in 32 bits on every backend. Calls are n times as many: in 64 bits, and where there are none, as on
jax by default, only as far as 32 bits reach, since a count that has wrapped around would say anything.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace

__all__ = ["MOST", "check_steps", "countable", "roughly", "total", "wide"]

MOST = 2**31 - 1


def check_steps(max_steps: int) -> None:
    """No more steps than can be counted."""
    if max_steps > MOST:
        raise ValueError(f"max_steps must be at most 2^31 - 1, as far as steps are counted, got {max_steps}")


def wide(xp: Any) -> bool:
    """Whether the library has whole numbers of 64 bits."""
    return "int64" in xp.__array_namespace_info__().dtypes(kind="signed integer")


def countable(budget: int | None, u0: Any) -> Any:
    """A budget of calls; as a float where it is beyond all whole numbers that the library has."""
    return float(budget) if budget is not None and budget > MOST and not wide(namespace(u0)) else budget


def roughly(fulls: Any, steps: Any, n: int, each: int, xp: Any) -> Any:
    """n fulls + each steps in floating-point numbers, which do not overflow."""
    return n * xp.astype(fulls, xp.float32) + each * xp.astype(steps, xp.float32)


def total(fulls: Any, steps: Any, n: int, each: int, xp: Any, narrow: bool = False) -> Any:
    """n fulls + each steps in whole numbers; where there are but 32 bits, or shall be, no more than they can hold."""
    if wide(xp):
        exact = n * xp.astype(fulls, xp.int64) + each * xp.astype(steps, xp.int64)
        return xp.clip(exact, max=MOST) if narrow else exact
    fits = roughly(fulls, steps, n, each, xp) < 0.999999 * MOST  # the product wraps around where it does not
    exact = n * fulls + each * steps
    return xp.where(fits, exact, xp.full_like(exact, MOST))
