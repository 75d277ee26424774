"""Exact transport on a line, where sorting is all there is to do: see :mod:`equipoise.transport.quantiles`.

The cost is W_p^p without the root, whose derivative would be infinite where the two measures agree.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from ..arrays import A, first_index, is_floating, library, like, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..checks import values
from .checks import check_masses, check_weights
from .quantiles import quantile_cost

__all__ = ["check_order", "check_sides", "wasserstein_1d"]

NEAR = 1e-7  # totals that agree to this need no closer look


@public
def wasserstein_1d(x: A, y: A, a: A | None = None, b: A | None = None, *, p: float = 2) -> A:
    """The cost W_p^p of exact transport between weighted points on a line.

    That is the least sum_ij P_ij |x_i - y_j|^p over all plans P with marginals a and b, found by sorting in
    O((n + m) log(n + m)). It is exact: nothing iterates, and there is no tolerance.

    Use it for samples, histograms and residuals, or as a loss. Do not use it for points in more dimensions
    (:func:`sliced_wasserstein` averages it over directions, which is another distance; :func:`sinkhorn` solves that
    problem), nor for points on a circle. For the distance itself take the root of the result, ``cost ** (1 / p)``.

    Parameters
    ----------
    x : array, shape (..., n)
        Points of one measure, floating-point, in any order. Leading axes are a batch, and broadcast.
    y : array, shape (..., m)
        Points of the other one.
    a, b : array, shape (..., n) and (..., m), optional
        Weights, not negative, some of them zero if need be, of the dtype of `x`; uniform ones of total 1 by default.
        Their totals must agree to 1e-6 (in float32 to 1e-4) and need not be 1.
    p : float
        The order, at least 1; 1 and 2 are the fastest, whole numbers faster than others.

    Returns
    -------
    array, shape (...)
        W_p^p in the units of the points to the power p, times mass: weights of total M give M times the cost between
        the measures scaled to total 1. M is the mean of both totals, which agree but for rounding.

    Raises
    ------
    TypeError
        If something is no array of floating-point numbers, or libraries or dtypes are mixed, or p is no number.
    ValueError
        If shapes do not fit, something is empty or not finite, a weight is negative, a total is zero, totals differ,
        or p is not in [1, inf). Under a jax transformation, where there are no values, only shapes are checked.

    Notes
    -----
    With sorted points and quantile functions F and G of the measures scaled to total 1, the cost is
    M int_0^1 |F(q) - G(q)|^p dq, an integral over at most n + m - 1 steps: the monotone plan is optimal for every
    convex function of the distance [1]_ (Theorem 2.9).

    Derivatives exist on torch and jax with respect to x, y, a and b, all of them finite, at x = y and at ties too. The
    one by the weights is the pair of Kantorovich potentials, with constants such that sum a f = sum b g: it is the
    derivative of the formula above, and a change that keeps both totals does not see the constants. The cost has kinks:
    at p = 1 where paired points agree, and for any p where two points of one measure are tied (in x and y) or quantile
    levels agree (in a and b). There the result is a derivative on one side: tied points keep the order of the input, of
    equal levels that of x comes first; but sign(0) counts as 0. Second derivatives (reverse over reverse) are exact
    elsewhere; for 1 < p < 2 they are taken to be 0 where paired points agree, where they are infinite.

    In float32 the relative error was below 5e-6 up to a million points, and 1e-4 where numpy has no numba to add up
    weights in float64.

    References
    ----------
    .. [1] F. Santambrogio, Optimal Transport for Applied Mathematicians, Birkhaeuser, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.transport import wasserstein_1d
    >>> x, y = np.array([0.0, 1.0, 3.0]), np.array([5.0, 6.0, 8.0])
    >>> wasserstein_1d(x, y)  # a translation by 5
    array(25.)
    >>> wasserstein_1d(x, y, p=1)
    array(5.)
    >>> a = np.array([0.5, 0.5, 0.0])
    >>> wasserstein_1d(x, y[:1], a, p=1)  # all mass to one point
    array(4.5)
    """
    order = check_order(p)
    check_samples("x", x)
    check_samples("y", y)
    batch = check_sides(x, y, a, b, axis=-1)
    xp = namespace(x)

    def widen(side: Any) -> Any:
        if side is None or tuple(side.shape[:-1]) == batch:
            return side
        return xp.broadcast_to(side, (*batch, side.shape[-1]))

    return quantile_cost(widen(x), widen(y), widen(a), widen(b), p=order)


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def check_order(p: Any) -> float:
    """A finite number of at least 1: it is a setting, so that it must be known."""
    if isinstance(p, bool) or not isinstance(p, Real):
        raise TypeError(f"p must be a number, got {type(p).__name__}")
    order = float(p)
    if not 1 <= order < math.inf:
        raise ValueError(f"p must be finite and at least 1, got {p}")
    return order


def check_samples(name: str, x: Any) -> None:
    """A floating array ``(..., n)`` that is neither empty nor infinite."""
    if not library(x):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(x).__name__}")
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost; fill it with numbers first")
    if not is_floating(x):
        raise TypeError(f"{name} must hold floating-point numbers, got dtype {x.dtype}; convert it first")
    if x.ndim < 1:
        raise ValueError(f"{name} must have shape (..., n), got {shape_text(x)}")
    if 0 in x.shape:
        raise ValueError(f"{name} must not be empty, got shape {shape_text(x)}")
    seen = values(x)
    if seen is None:
        return
    xp = namespace(seen)
    if math.isfinite(_read(xp.sum(seen))):
        return  # only a sum that is not finite is worth the search
    bad = ~xp.isfinite(seen)
    if bool(xp.any(bad)):
        index = first_index(bad)
        raise ValueError(f"{name} must be finite, got {float(seen[index])} at index {index}")


def _read(x: Any) -> float:
    """The value of a number; where a transformation hides it, the backend says what to do instead."""
    return float(of(x).to_numpy(x)) if library(x) else float(x)


def check_sides(x: Any, y: Any, a: Any, b: Any, *, axis: int) -> tuple[int, ...]:
    """Points and weights that belong together, with the points counted along `axis`; the batch that they share."""
    xp = namespace(x, y, a, b)
    if x.dtype != y.dtype:
        raise TypeError(f"y must have the dtype of x, {x.dtype}, got {y.dtype}; convert one of them")
    for name, weights, beside, points in (("a", a, "x", x), ("b", b, "y", y)):
        _check_fit(name, weights, beside, points, axis)
    heads = [tuple(z.shape[:axis]) for z in (x, y)] + [tuple(w.shape[:-1]) for w in (a, b) if w is not None]
    try:
        batch = tuple(np.broadcast_shapes(*heads))
    except ValueError:
        given = ", ".join(f"{k} {shape_text(z)}" for k, z in zip("xyab", (x, y, a, b), strict=True) if z is not None)
        raise ValueError(f"the leading axes of {given} do not broadcast") from None
    total_a, total_b = _total("a", a, x, axis), _total("b", b, y, axis)
    if total_a is None or total_b is None or (a is None and b is None):
        return batch
    apart = abs(total_a - total_b) > NEAR * total_a
    if bool(namespace(apart).any(apart)) if library(apart) else apart:
        uniform = [xp.full((z.shape[axis],), 1.0 / z.shape[axis], **like(z)) for z in (x, y)]
        check_masses(uniform[0] if a is None else a, uniform[1] if b is None else b)
    return batch


def _check_fit(name: str, weights: Any, beside: str, points: Any, axis: int) -> None:
    if weights is None:
        return
    if not library(weights):
        raise TypeError(f"{name} must be an array or None, got {type(weights).__name__}")
    if weights.dtype != points.dtype:
        raise TypeError(
            f"{name} must have the dtype of {beside}, {points.dtype}, got {weights.dtype}; convert one of them"
        )
    if weights.ndim < 1 or weights.shape[-1] != points.shape[axis]:
        raise ValueError(
            f"{name} must have shape (..., {points.shape[axis]}) to fit {beside} of shape {shape_text(points)}, "
            f"got {shape_text(weights)}"
        )


def _total(name: str, weights: Any, points: Any, axis: int) -> Any:
    """The total of the weights, a number where there is one only; None where it cannot be read now."""
    if weights is None:
        return 1.0
    seen = values(weights)
    if seen is None:
        return None
    xp = namespace(seen)
    total = xp.sum(seen, axis=-1)
    if seen.ndim == 1:
        least = most = total = _read(total)
    else:
        least, most = _read(xp.min(total)), _read(xp.max(total))
    fine = _read(xp.min(seen)) >= 0 and least > 0 and most < math.inf  # NaN is not fine either
    if not fine or isinstance(weights, np.ma.MaskedArray):  # two passes over most weights, and all of them over others
        check_weights(name, weights, points, axis)
        raise ValueError(f"{name} must have a finite total; rescale the weights")
    return total
