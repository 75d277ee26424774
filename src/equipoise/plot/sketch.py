"""Solutions of sketched least-squares problems with their error bars, and what the guarantees are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sketch import lstsq, sketch_operator
from .shared import dashed, legend, new_or_given, on_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["backward_error", "coordinates", "sketch_comparison"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

KINDS = ("gaussian", "srht", ("sparse_sign", 16), "countsketch")
SIZES = (16, 32, 64, 128, 256)
KAPPAS = tuple(10.0**k for k in range(1, 15))
METHODS = ("normal equations", "cholesky_qr", "spir", "direct")
ROWS = 8  # of a sketch for each column of the bad instance
LENGTH = 16  # rows of the bad instance for each of the sketch
DELTA = 0.05


# ---------------------------------------------------------------------------------------------------------------------
# One solution


def coordinates(
    result: Any,
    truth: Any = None,
    *,
    delta: float = 0.05,
    names: Sequence[str] | None = None,
    only: Sequence[int] | None = None,
    ascending: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the coordinates of a sketched solution in ascending order, each with its error bar.

    With probability 1 - `delta` all bars hold the exact solution at once. They speak of the error of the sketch alone:
    those of a statistical model, whose data are noisy, come on top.

    Parameters
    ----------
    result : LstsqResult
        Of ``method="sketch_solve"``, with one right-hand side.
    truth : array, shape (d,), optional
        The exact solution, drawn as marks.
    delta : float
        In (0, 1).
    names : sequence of str, optional
        Of all coordinates.
    only : sequence of int, optional
        The coordinates to draw; by default all. The bars are those of all coordinates at once in any case.
    ascending : bool
        Whether to sort; False keeps the order of `only`, or of x.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there are several right-hand sides; if `truth`, `names` or `only` do not fit; if the result has no bounds, as
        :meth:`equipoise.sketch.LstsqResult.coordinate_bound` says.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> rng = np.random.default_rng(0)
    >>> A, b = rng.normal(size=(20_000, 5)), rng.normal(size=20_000)
    >>> ax = eq.plot.coordinates(eq.sketch.lstsq(A, b, epsilon=0.2), eq.sketch.lstsq(A, b).x)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['exact', 'sketched, 95 % for all bars at once']
    """
    x = np.asarray(on_host(result.x), dtype=float)
    if x.ndim != 1:
        raise ValueError(f"coordinates draws one solution, got x of shape {x.shape}")
    exact = None if truth is None else np.asarray(on_host(truth), dtype=float)
    if exact is not None and exact.shape != x.shape:
        raise ValueError(f"truth must have shape {x.shape}, as x has, got {exact.shape}")
    if names is not None and len(names) != x.size:
        raise ValueError(f"names must hold {x.size} names, one a coordinate, got {len(names)}")
    shown = np.arange(x.size) if only is None else np.asarray(only, dtype=int)
    if shown.ndim != 1 or not shown.size or shown.min() < 0 or shown.max() >= x.size:
        raise ValueError(f"only must hold numbers from 0 to {x.size - 1}, got {only}")
    bound = np.asarray(on_host(result.coordinate_bound(delta)), dtype=float)
    order = shown[np.argsort(x[shown], kind="stable")] if ascending else shown
    place = np.arange(order.size)

    ax = new_or_given(ax)
    ax.axhline(0.0, color="0.5", linewidth=0.8)
    many = min(1.0, 40.0 / order.size)  # thinner where there are many
    told = f"sketched, {100.0 * (1.0 - delta):g} % for all bars at once"
    ax.errorbar(place, x[order], bound[order], fmt="o", markersize=1 + 3 * many, elinewidth=0.7 + many, label=told)
    if exact is not None:
        ax.plot(place, exact[order], "_", color="C1", markersize=4 + 5 * many, markeredgewidth=1.6, label="exact")
    ax.set_xlim(-1.0, order.size)
    if names is not None:
        ax.set_xticks(place, [names[k] for k in order], rotation=90, fontsize="x-small" if order.size > 24 else "small")
    else:
        ax.set_xlabel("coordinates in ascending order" if ascending else "coordinates")
    ax.set_ylabel("x")
    ax.grid(axis="y", alpha=0.5)
    legend(ax, loc="upper left")
    return ax


# ---------------------------------------------------------------------------------------------------------------------
# Sketches on a bad instance


def sketch_comparison(
    kinds: Sequence[str | tuple[str, int]] = KINDS,
    *,
    sizes: Sequence[int] = SIZES,
    seeds: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """Draw the largest error of a coordinate on an instance that is bad for sparse sketches, over the columns d.

    A is the identity above zeros; b is zero beside the identity and spread over 2m/d of the rows below, so that the
    exact solution is zero and the residual 1. CountSketch throws about two of these rows into buckets of the identity,
    and each is an error of sqrt(d/2)/sqrt(m), however large m is. Dense sketches keep sqrt(2 ln(2d/delta))/sqrt(m). The
    picture shows the errors times sqrt(m): medians, and the middle half of the seeds.

    Parameters
    ----------
    kinds : sequence of str
        As for :func:`equipoise.sketch.sketch_operator`; a pair ("sparse_sign", s) gives the entries a column.
    sizes : sequence of int
        The numbers d of columns, each at least 2. A sketch has 8 d rows.
    seeds : int
        Sketches for each kind and size.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its lines are the medians of the kinds, then what dense kinds are promised, and the prediction for CountSketch.

    Raises
    ------
    ValueError
        If a number is too small, or a kind is unknown.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import equipoise as eq
    >>> ax = eq.plot.sketch_comparison(["srht", "countsketch"], sizes=[8, 32, 128], seeds=20)
    >>> srht, countsketch = (line.get_ydata() for line in ax.get_lines()[:2])
    >>> bool(srht.max() < 4 < countsketch[-1])
    True
    """
    sizes = sorted(int(d) for d in sizes)
    if not kinds or not sizes or sizes[0] < 2 or seeds < 1:
        raise ValueError(f"needs kinds, sizes of at least 2 and seeds >= 1, got {kinds}, {sizes} and {seeds}")
    errors = [np.array([bad_errors(kind, d, seeds) for d in sizes]) for kind in kinds]

    ax = new_or_given(ax)
    for k, (kind, error) in enumerate(zip(kinds, errors, strict=True)):
        name = kind if isinstance(kind, str) else f"{kind[0]}, s = {kind[1]}"
        (line,) = ax.plot(sizes, np.median(error, axis=1), linestyle=dashed(k), marker=".", label=name)
        low, high = np.quantile(error, [0.25, 0.75], axis=1)
        ax.fill_between(sizes, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    d = np.geomspace(sizes[0], sizes[-1], 100)
    promised = np.sqrt(2.0 * np.log(2.0 * d / DELTA))
    ax.plot(d, promised, color="0.5", linestyle=":", linewidth=1.2, label=f"promised of dense ones, delta = {DELTA}")
    ax.plot(d, np.sqrt(d / 2.0), color="0.5", linestyle="--", linewidth=1.2, label="predicted for countsketch")
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_ylim(0.0)
    ax.set_xlabel("columns d")
    ax.set_ylabel("largest error of a coordinate, times sqrt(m)")
    ax.grid(alpha=0.5)
    legend(ax)
    return ax


def bad_instance(d: int, m: int) -> tuple[Floats, Floats]:
    """The rows of A and b that are not zero: d of the identity, and 2m/d over which the residual is spread."""
    k = 2 * m // d
    return np.eye(d + k, d), np.concatenate([np.zeros(d), np.full(k, 1.0 / math.sqrt(k))])


def bad_errors(kind: str | tuple[str, int], d: int, seeds: int) -> Floats:
    """sqrt(m) times the largest error, for every seed; rows of zeros are counted and not made."""
    name, s = (kind, 8) if isinstance(kind, str) else kind
    m = -(-ROWS * d // s) * s
    A, b = bad_instance(d, m)
    return np.array([bad_error(sketch_operator(name, m, LENGTH * m, rng=seed, s=s), A, b) for seed in range(seeds)])


def bad_error(S: Any, A: Floats, b: Floats) -> float:
    """The same for one sketch; of least norm, since CountSketch likes to lose columns."""
    x = np.linalg.lstsq(S.block(A, 0), S.block(b, 0), rcond=None)[0]
    return math.sqrt(S.m) * float(np.max(np.abs(x)))


# ---------------------------------------------------------------------------------------------------------------------
# Accuracy


def backward_error(
    kappas: Sequence[float] = KAPPAS,
    *,
    methods: Sequence[str] = METHODS,
    shape: tuple[int, int] = (2000, 50),
    residual: float = 1e-6,
    rng: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw the backward errors of methods over the condition number of A.

    The backward error says how far A and b would have to be moved, relative to the norm of A, for an answer to be
    exact; 1e-16 is as good as float64 can be. It is Karlson and Walden's estimate with all singular values of A, not
    the one that :func:`equipoise.sketch.lstsq` makes from its sketch.

    Parameters
    ----------
    kappas : sequence of float
        Condition numbers, at least 1. Singular values are spaced evenly in the logarithm.
    methods : sequence of str
        Those of :func:`equipoise.sketch.lstsq`, and ``"normal equations"``: a Cholesky factorisation of A^T A, which
        squares the condition. Where it fails, its line ends with a cross.
    shape : pair of int
        Of A.
    residual : float
        The norm of b - A x, where that of A and of x is 1. The smaller, the more is lost by the square of A.
    rng : int
        Seeds the problems.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its lines are the methods in their order, then the roundoff, then the cross, if any.

    Raises
    ------
    ValueError
        If a condition number is below 1, or a method unknown.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import equipoise as eq
    >>> ax = eq.plot.backward_error([1e2, 1e6, 1e10], shape=(500, 50), methods=["normal equations", "cholesky_qr"])
    >>> unsafe, safe = (line.get_ydata() for line in ax.get_lines()[:2])
    >>> bool(safe.max() < 1e-15), bool(unsafe[1] > 1e-12 or unsafe[1] != unsafe[1])
    (True, True)
    """
    kappas = sorted(float(kappa) for kappa in kappas)
    if not kappas or kappas[0] < 1.0 or not methods:
        raise ValueError(f"needs methods, and kappas of at least 1, got {methods} and {kappas}")
    errors = np.array([errors_of(methods, problem(kappa, shape, residual, rng)) for kappa in kappas])

    ax = new_or_given(ax)
    lines = [
        ax.plot(kappas, error, linestyle=dashed(k), marker=".", label=name)[0]
        for k, (name, error) in enumerate(zip(methods, errors.T, strict=True))
    ]
    ax.axhline(0.5 * np.finfo(float).eps, color="0.5", linestyle="--", linewidth=1, label="unit roundoff")
    for line, error in zip(lines, errors.T, strict=True):
        seen = np.flatnonzero(np.isfinite(error))
        if 0 < seen.size < error.size:
            ax.plot(kappas[seen[-1]], error[seen[-1]], "x", color=line.get_color(), markersize=9, markeredgewidth=2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("condition number of A")
    ax.set_ylabel("backward error")
    ax.grid(alpha=0.5)
    legend(ax)
    return ax


Problem = tuple[Floats, Floats, Floats, Floats]


def problem(kappa: float, shape: tuple[int, int], residual: float, rng: int) -> Problem:
    """A, b, the singular values of A, and its right singular vectors as columns."""
    n, d = shape
    draw = np.random.default_rng(rng)
    Q, _ = np.linalg.qr(draw.standard_normal((n, d + 1)))
    V, _ = np.linalg.qr(draw.standard_normal((d, d)))
    values = np.geomspace(1.0, 1.0 / kappa, d)
    A = (Q[:, :d] * values) @ V.T
    x = V @ draw.standard_normal(d)
    return A, A @ (x / np.linalg.norm(x)) + residual * Q[:, d], values, V


def errors_of(methods: Sequence[str], given: Problem) -> list[float]:
    """The backward error of each method; NaN where it fails."""
    A, b, values, V = given
    found = []
    for method in methods:
        try:
            x = normal_equations(A, b) if method == "normal equations" else lstsq(A, b, method=method).x
        except np.linalg.LinAlgError:
            found.append(math.nan)
        else:
            found.append(karlson_walden(A, b, x, values, V))
    return found


def normal_equations(A: Floats, b: Floats) -> Floats:
    """x from A^T A = L L^T."""
    L = np.linalg.cholesky(A.T @ A)
    x: Floats = np.linalg.solve(L.T, np.linalg.solve(L, A.T @ b))
    return x


def karlson_walden(A: Floats, b: Floats, x: Floats, values: Floats, V: Floats) -> float:
    """The estimate of the backward error of x, with theta = |A|_F / |b|, relative to |A|_F."""
    r = b - A @ x
    norm = np.linalg.norm(values)
    theta = norm / np.linalg.norm(b)
    q = 1.0 + theta**2 * (x @ x)
    weighted = (V.T @ (A.T @ r)) / np.sqrt(values**2 + theta**2 * (r @ r) / q)
    return float(theta / math.sqrt(q) * np.linalg.norm(weighted) / norm)
