"""Fitting a table of points to given distances: Adam on all pairs at once, with the derivatives of the kernels.

Distances are compared after discounting, as g^d, by default: an infinite one has the target 0 and needs no special
case, and errors of long distances weigh little.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import A as Array_
from ..arrays import library, like, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..checks import check_limits, check_tol, number
from ..iterate import iterate, stepwise
from ..kernel import on_host
from ..random import Stream, key, normal, philox
from ..record import map_arrays
from ..result import report, settle
from .checks import check_points, check_values, check_whole, check_width, check_word
from .embedding import Embedding, FitHistory
from .fit_steps import Moments, State, Targets, distances_of, error, loss_of, lost, step
from .heads import HEADS, Head, softplus
from .intervals import iqe_all_slopes
from .landmarks import landmark_points
from .reduction import REDUCTIONS
from .tables import check_discount, check_table, check_triple, discounted, off_diagonal

__all__ = ["fit"]

SPREAD = 0.5  # of the first points


@public
def fit(
    distances: Array_ | tuple[Array_, Array_, Array_],
    *,
    dim: int,
    components: int,
    head: str = "iqe",
    reduction: str = "sum",
    discount: float | None = 0.9,
    weights: Array_ | None = None,
    init: str = "random",
    learning_rate: float = 1e-2,
    tol: float | None = None,
    max_steps: int = 2000,
    rng: Any = 0,
    check_every: int | None = None,
    callback: Any = None,
    history: bool | None = None,
) -> Embedding[Array_]:
    """Find points whose quasimetric is close to given distances, which may differ in the two directions.

    The mean of ``weights (g^d - g^D)^2`` over all pairs, with the discount g, falls by Adam's steps on a free table of
    points. Take it to compress a table of directed distances, to fill in pairs that were not observed, or as a start
    for a deep encoder. Do not take it for distances that are symmetric, where Euclidean embeddings do as well; nor for
    points that come later: a table knows only its own.

    Parameters
    ----------
    distances : array, shape (n, n), or triple (rows, columns, values)
        The given distances: from i to j in row i, column j; not negative, infinite where there is no way, zero on the
        diagonal. A triple names observed pairs, two arrays of whole numbers and one of distances of one length K; the
        number of points is the largest index + 1. Their unit matters with a discount: one step should be of about 1.
    dim : int
        The dimension D of the points, a multiple of `components`.
    components : int
        How many components the head has.
    head : {"iqe", "pqe"}
        The interval quasimetric, or the Poisson one under Lebesgue's measure, whose weights are fitted too.
    reduction : {"sum", "maxmean", "max", "mean"}
        How components of "iqe" are put together. A maximum moves one component a pair, and learns slowly.
    discount : float in (0, 1), optional
        g. None takes plain squared errors over the pairs of finite distance.
    weights : array, optional
        Of the pairs, not negative, of the shape of the distances (or of `values`); 0 holds a pair out.
    init : {"random", "landmarks"}
        Normal numbers of deviation 0.5; or, for "iqe" and a whole table, distances to landmarks, one a component,
        which keep all distances among the landmarks with the reduction "max".
    learning_rate : float
        Of Adam.
    tol : float, optional
        Stop when the least loss has fallen by no more than this, relatively, over a hundred steps: 1e-6, in float32
        1e-5, by default; 0 runs all steps.
    max_steps : int
        The most steps.
    rng : int or numpy.random.Generator
        The seed of the first points; the same numbers on every backend.
    check_every : int, optional
        Steps between two looks at the error.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error, seconds and loss at every check. By default where that is free.

    Returns
    -------
    Embedding
        The points of the least loss, their distances, and what became of the fit.

    Raises
    ------
    TypeError, ValueError
        If distances are no distances, something has the wrong shape or dtype, or a word is unknown.

    Warns
    -----
    ConvergenceWarning
        If the loss was still falling at `max_steps`: the points are of use all the same.

    Notes
    -----
    Adam is that of D. Kingma and J. Ba, arXiv:1412.6980, with 0.9, 0.999 and 1e-8. No derivative goes through a fit.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import fit
    >>> ring = (np.arange(6)[None, :] - np.arange(6)[:, None]) % 6 * 1.0  # one way only
    >>> found = fit(ring, dim=32, components=4, tol=0.1)
    >>> found.converged, bool(found.quality(ring).mean_error < 0.2)
    (True, True)
    >>> nearest, how_far = found.nearest(0, 2)
    >>> nearest
    array([1, 2])
    """
    shape = (check_whole("dim", dim), check_whole("components", components))
    check_width(*shape)
    check_word("head", head, HEADS)
    check_word("reduction", reduction, tuple(word for word in REDUCTIONS if word != "none"))
    check_word("init", init, ("random", "landmarks"))
    check_discount(discount)
    rate = number("learning_rate", learning_rate)
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"learning_rate must be positive, got {rate}")
    if isinstance(distances, (tuple, list)):
        n, (rows, columns, lengths) = check_triple(distances), distances
    else:
        check_table(distances)
        n, rows, columns, lengths = distances.shape[0], None, None, distances
    if init == "landmarks" and (rows is not None or head != "iqe"):
        raise ValueError("init='landmarks' needs a whole table of distances and head='iqe'")
    check_pair_weights(weights, lengths)
    tol = check_tol(tol, lengths, 1e-6, 1e-5)
    check_limits(tol, max_steps, check_every)
    lengths, weights = map_arrays(of(lengths).stop_gradient, (lengths, weights))
    first = (
        first_points(lengths, n, shape, reduction, key(rng))
        if init == "landmarks"
        else random_points(lengths, n, dim, key(rng))
    )
    result = solve(
        (lengths, rows, columns, weights),
        first,
        learning_rate,
        tol,
        head=Head(head, shape[1], reduction),
        discount=None if discount is None else float(discount),
        max_steps=int(max_steps),
        check_every=check_every,
        callback=callback,
        history=history,
    )
    report(result, "quasimetric.fit", tol)
    return result


def check_pair_weights(weights: Any, lengths: Any) -> None:
    """One weight a pair, not negative and finite."""
    if weights is None:
        return
    check_points("weights", weights)
    namespace(weights, lengths)
    if tuple(weights.shape) != tuple(lengths.shape):
        raise ValueError(
            f"weights must have the shape of the distances, {shape_text(lengths)}, got {shape_text(weights)}"
        )
    check_values("weights", weights, lambda w: ~((w >= 0) & (w < math.inf)), "at least 0 and finite")


def random_points(lengths: Any, n: int, dim: int, seed: tuple[int, int]) -> Any:
    """Normal numbers; made on the host, so that they are the same everywhere."""
    words = philox(np.arange(n)[:, None], key=seed, block=np.arange(-(-dim // 4)), stream=Stream.QUASIMETRIC)
    drawn = SPREAD * normal(words, np.float64).reshape(n, -1)[:, :dim]
    return beside(drawn, lengths)


def beside(known: np.ndarray[Any, Any], x: Any) -> Any:
    """A table made on the host, where `x` is and in its dtype."""
    xp = namespace(x)
    wide = known if x.dtype == xp.float64 else known.astype(np.float32)
    return xp.astype(of(x).lend(wide, x), x.dtype, copy=False)


def first_points(lengths: Any, n: int, shape: tuple[int, int], reduction: str, seed: tuple[int, int]) -> Any:
    """Distances to landmarks."""
    backend = of(lengths)
    if backend.traced([lengths]):
        raise TypeError("init='landmarks' reads the distances, which under a jax transformation are not known")
    known = np.asarray(backend.to_numpy(lengths), dtype=np.float64)
    return beside(landmark_points(known, *shape, reduction), lengths)


def targets(pairs: Any, rate: Any, head: Head, discount: float | None) -> Targets:
    """What the loss compares with, and weights of sum 1 that leave out the diagonal and what is not to count."""
    lengths, rows, columns, weights = pairs
    xp = namespace(lengths)
    apart = off_diagonal(lengths) if rows is None else rows != columns
    if discount is None:
        finite = xp.isfinite(lengths)
        apart, aims = apart & finite, xp.where(finite, lengths, xp.zeros_like(lengths))
    else:
        aims = discounted(lengths, discount)
    each = xp.ones_like(lengths) if weights is None else xp.astype(weights, lengths.dtype)
    each = xp.where(apart, each, xp.zeros_like(each))
    total = xp.sum(each)
    each = each / xp.where(total > 0, total, xp.ones_like(total))
    return Targets(aims, each, rows, columns, rate, head, discount)


def first_weights(pairs: Any, head: Head) -> Any:
    """What the weights of "pqe" start from, so that their sum is twice the largest finite distance; None for "iqe"."""
    if head.name == "iqe":
        return None
    lengths = pairs[0]
    xp = namespace(lengths)
    most = xp.max(xp.where(xp.isfinite(lengths), lengths, xp.zeros_like(lengths)))
    each = xp.where(most > 0, most, xp.ones_like(most)) * (2.0 / head.components)
    return xp.broadcast_to(xp.asarray(each + xp.log(-xp.expm1(-each))), (head.components,)) + xp.zeros(
        (head.components,), **like(lengths)
    )


@on_host(iqe_all_slopes)
def solve(pairs: Any, points: Any, rate: Any, tol: Any, *, head: Head, discount: float | None, **options: Any) -> Any:
    """The loop, and what came of it."""
    xp = namespace(points)
    data = targets(pairs, rate, head, discount)
    table = (points, first_weights(pairs, head))
    moments = tuple(None if x is None else Moments(xp.zeros_like(x), xp.zeros_like(x)) for x in table)
    number = xp.zeros((), **{**like(points), "dtype": xp.int32})
    infinite = xp.asarray(math.inf, **like(points))
    trail = xp.full((options["max_steps"] + 1,), math.nan, **like(points))
    state = State(number, table, moments, infinite, infinite, table, infinite, xp.ones_like(infinite), trail)
    run = iterate(stepwise(step, error), state, data, tol=tol, halt=lost, method="quasimetric.fit", **options)
    s = run.state
    last = loss_of(distances_of(s.table, data), data)[0]
    better = last < s.best
    points, raw = map_arrays(lambda new, old: xp.where(better, new, old), s.table, s.best_table)
    trail = xp.where(xp.arange(s.trail.shape[0], **like(s.step)) == s.step, last, s.trail)
    weights = None if raw is None else softplus(raw)
    change = xp.asarray(s.change)
    loss = xp.where(better, last, s.best)
    return Embedding(
        change,
        run.steps,
        settle(change, tol, run.code),
        with_losses(run.history, trail),
        points,
        weights,
        loss,
        components=head.components,
        head=head.name,
        reduction=head.reduction,
        discount=discount,
    )


def with_losses(history: Any, trail: Any) -> Any:
    """A history with the loss at each row."""
    if history is None:
        return None
    if library(history.step) != library(trail):
        return history
    xp = namespace(trail)
    known = ~xp.isnan(xp.astype(history.step, trail.dtype))
    places = xp.astype(xp.where(known, history.step, xp.zeros_like(history.step)), xp.int32)
    return FitHistory(history.step, history.error, history.seconds, xp.take(trail, places))
