"""Sums of many operators, F(u) = (1/n) sum_i F_i(u): what the stochastic methods ask of them.

A sum is asked for two things: all of it at one point, and the mean difference of a few components between two points.
The second is one call, since both points meet the same rows of the data. Which components they are the caller draws, so
that every backend takes the same ones.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..arrays import first_index, is_floating, library, like, namespace, shape_text
from ..checks import check_finite, check_mask, values
from ..guide import guided
from ..random import key, mulhi
from ..record import as_data, plain, record, static

__all__ = ["Components", "FiniteSum", "check_data", "components", "picked", "rows_of"]


@runtime_checkable
class FiniteSum(Protocol):
    """F(u) = (1/n) sum_i F_i(u), as :func:`halpern_vr` and :func:`extragradient_vr` ask for it.

    Optional members: ``lipschitz``, a number L_F with |F u - F v| <= L_F |u - v|, for a cocoercive F also
    <F u - F v, u - v> >= |F u - F v|^2 / L_F; ``mean_lipschitz``, the same L for the mean over i of |F_i u - F_i v|^2;
    ``cocoercive``, False where F is merely monotone; ``unknowns``, the length d of u, which is checked then;
    ``pick(words)``, which turns random words in [0, 2^32) into numbers of components where they are not to be equally
    likely (``diff`` then weighs them).
    """

    @property
    def n(self) -> int:
        """How many components there are."""

    def full(self, u: Any, /) -> Any:
        """F(u), shape (..., d), for u of shape (..., d)."""

    def diff(self, u: Any, v: Any, idx: Any, /) -> Any:
        """The mean of F_i(u) - F_i(v) over the components i in `idx`, whole numbers of shape (b,)."""


@record
class Components:
    """The sum that :func:`components` makes."""

    fun: Any
    args: tuple[Any, ...]
    whole: Any
    count: int = static()

    @property
    def n(self) -> int:
        """How many components there are."""
        return self.count

    def full(self, u: Any) -> Any:
        """F(u), shape (..., d)."""
        if self.whole is not None:
            return plain(self.whole)(u, *self.args)
        xp = namespace(u)
        place = {name: x for name, x in like(u).items() if name != "dtype"}
        return xp.mean(plain(self.fun)(u, xp.arange(self.count, **place), *self.args), axis=-2)

    def diff(self, u: Any, v: Any, idx: Any) -> Any:
        """The mean of F_i(u) - F_i(v) over `idx`."""
        fun = plain(self.fun)
        return namespace(u).mean(fun(u, idx, *self.args) - fun(v, idx, *self.args), axis=-2)


@guided
def components(fun: Any, n: int, *, args: tuple[Any, ...] = (), full: Any = None) -> Components:
    """A finite sum from a function of its components.

    Take it to try a problem of your own; a record with the two methods of :class:`FiniteSum` spares the second reading
    of the data.

    Parameters
    ----------
    fun : callable
        ``fun(u, i, *args)``: the components F_i(u), shape (..., k, d), for all k whole numbers in the array i.
    n : int
        How many components there are.
    args : tuple
        Arrays that `fun` reads; what it closes over is not moved to another backend.
    full : callable, optional
        ``full(u, *args)``: F(u), shape (..., d). By default the mean of all components, which are n x d numbers.

    Returns
    -------
    FiniteSum

    Raises
    ------
    TypeError, ValueError
        If `fun` is not callable, n is not a whole number of at least 1, or `args` is no tuple.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.monotone import components
    >>> targets = np.array([[1.0, 0.0], [3.0, 2.0]])
    >>> pull = components(lambda u, i, targets: u[..., None, :] - targets[i, :], 2, args=(targets,))
    >>> pull.full(np.zeros(2)), pull.diff(np.ones(2), np.zeros(2), np.array([1]))
    (array([-2., -1.]), array([1., 1.]))
    """
    if not callable(fun):
        raise TypeError(f"fun must be callable as fun(u, i, *args), got {type(fun).__name__}")
    if isinstance(n, bool) or not hasattr(n, "__index__") or int(n) < 1:
        raise ValueError(f"n must be a whole number of at least 1, got {n!r}")
    if not isinstance(args, tuple):  # the rows of an array would become arguments
        raise TypeError(f"args must be a tuple, got {type(args).__name__}")
    return Components(as_data(fun), args, None if full is None else as_data(full), int(n))


# ---------------------------------------------------------------------------------------------------------------------
# What the shipped sums share


def rows_of(matrix: Any, idx: Any) -> Any:
    """Rows of a matrix."""
    return namespace(matrix).take(matrix, idx, axis=0)


def picked(summed: Any, words: Any) -> Any:
    """Numbers of components from random words."""
    made = plain(summed)
    return made.pick(words) if hasattr(made, "pick") else mulhi(words, made.n)


def word_key(rng: Any) -> tuple[Any, Any]:
    """The key of a seed, as words that fit every library."""
    low, high = key(rng)
    return np.uint32(low), np.uint32(high)


def largest(p: Any, q: Any, r: Any) -> Any:
    """The larger eigenvalue of [[p, q], [q, r]]."""
    half = 0.5 * (p - r)
    return 0.5 * (p + r) + (half * half + q * q) ** 0.5


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def check_data(name: str, x: Any, ndim: int) -> None:
    """A finite floating-point array with so many axes."""
    if not library(x):
        raise TypeError(f"{name} must be an array (numpy, torch, jax, cupy), got {type(x).__name__}")
    check_mask(name, x)
    if not is_floating(x):
        raise TypeError(f"{name} must hold floating-point numbers, got dtype {x.dtype}; convert it first")
    if x.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {shape_text(x)}")
    if math.prod(x.shape) == 0:
        raise ValueError(f"{name} must not be empty, got shape {shape_text(x)}")
    seen = values(x)
    if seen is not None:
        check_finite(name, seen)


def check_labels(labels: Any) -> None:
    """-1 or 1 each."""
    seen = values(labels)
    if seen is None:
        return
    xp = namespace(seen)
    bad = xp.asarray((seen != 1) & (seen != -1))
    if bool(xp.any(bad)):
        index = first_index(bad)
        raise ValueError(f"labels must be -1 or 1, got {float(seen[index])} at index {index}")


def check_pair(name: str, x: Any, beside: str, matrix: Any) -> None:
    """A vector with an entry a row of a matrix, of its dtype and library."""
    check_data(name, x, 1)
    namespace(matrix, x)
    if x.dtype != matrix.dtype:
        raise TypeError(f"{name} must have the dtype of {beside}, {matrix.dtype}, got {x.dtype}; convert one of them")
    if x.shape[0] != matrix.shape[0]:
        raise ValueError(
            f"{name} must have an entry a row of {beside}, whose shape is {shape_text(matrix)}, got {shape_text(x)}"
        )
