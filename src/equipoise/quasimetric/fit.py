"""Fitting a table of points to given distances: Adam on all pairs at once, with the derivatives of the kernels.

Distances are compared after discounting, as g^d, by default: an infinite one has the target 0 and needs no special
case, and errors of long distances weigh little.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import A as Array_
from ..arrays import library, like, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..checks import check_limits, number, values
from ..iterate import iterate, stepwise
from ..kernel import on_host
from ..random import key
from ..record import map_arrays
from ..result import report, settle
from .checks import check_points, check_values, check_whole, check_width, check_word
from .embedding import Embedding, FitHistory
from .fit_steps import (
    Moments,
    State,
    distances_of,
    error,
    loss_of,
    lost,
    relative_weights,
    step,
    targets,
    written,
)
from .heads import HEADS, Head, softplus
from .intervals import iqe_all_slopes
from .reduction import REDUCTIONS
from .starts import first_weights, landmark_start, random_points
from .tables import check_discount, check_table, check_triple

__all__ = ["fit"]

ADVICE = "The points are the best that were met; where the loss only grew, lower learning_rate."


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
    learning_rate: float | None = None,
    tol: float = 1e-2,
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
        number of points is the largest index + 1, and at least 2. Their unit matters with a discount: one step should
        be of about 1.
    dim : int
        The dimension D of the points, a multiple of `components`.
    components : int
        How many components the head has.
    head : {"iqe", "pqe"}
        The interval quasimetric, or the Poisson one under Lebesgue's measure, whose weights are fitted too.
    reduction : {"sum", "maxmean", "max", "mean"}
        How components of "iqe" are put together. "max" suits regular distances, such as those of streets; on graphs
        none of them is best everywhere.
    discount : float in (0, 1), optional
        g. None takes plain squared errors over the pairs of finite distance.
    weights : array, optional
        Of the pairs, not those of the components that a fit of "pqe" returns: not negative, of the shape of the
        distances (or of `values`); 0 holds a pair out.
    init : {"random", "landmarks"}
        Normal numbers of deviation 0.5; or, for "iqe" and a whole table, distances to landmarks, one a component,
        which keep all distances among the landmarks with the reduction "max".
    learning_rate : float, optional
        Of Adam, at first: where a hundred steps bring the least loss down by less than a tenth, the fit goes back to
        its best points with 0.3 of the rate, three times at most. By default 0.1 for the reduction "sum" and for "pqe",
        and 0.3 for the others, where a latent moves a distance less.
    tol : float
        Stop when, at the lowest rate, the least loss has fallen by no more than this, relatively, over a hundred steps;
        0 runs all steps.
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
        If distances are no distances, something has the wrong shape or dtype, a word is unknown, or no pair counts.

    Warns
    -----
    ConvergenceWarning
        If the loss was still falling at `max_steps`, or never fell: the points are of use all the same.

    Notes
    -----
    Adam is that of D. Kingma and J. Ba, arXiv:1412.6980, with 0.9, 0.999 and 1e-8, started anew whenever the rate is
    lowered. No derivative goes through a fit.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import fit
    >>> ring = (np.arange(6)[None, :] - np.arange(6)[:, None]) % 6 * 1.0  # one way only
    >>> found = fit(ring, dim=32, components=4)
    >>> found.converged, bool(found.quality(ring).mean_error < 0.3)
    (True, True)
    >>> nearest, how_far = found.nearest(0, 2)
    >>> nearest
    array([1, 2])
    """
    shape = (check_whole("dim", dim), check_whole("components", components))
    check_width(*shape)
    check_word("head", head, HEADS)
    check_word("reduction", reduction, tuple(word for word in REDUCTIONS if word != "none"))
    if head == "pqe" and reduction != "sum":
        raise ValueError(f"reduction={reduction!r} is for head='iqe'; the components of 'pqe' are added up, weighted")
    check_word("init", init, ("random", "landmarks"))
    check_discount(discount)
    if learning_rate is None:
        learning_rate = 0.1 if head == "pqe" or reduction == "sum" else 0.3
    rate = number("learning_rate", learning_rate)
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"learning_rate must be positive, got {rate}")
    if isinstance(distances, tuple) or (isinstance(distances, list) and any(library(x) for x in distances)):
        n, (rows, columns, lengths) = check_triple(distances), distances
    else:
        check_table(distances)
        n, rows, columns, lengths = distances.shape[0], None, None, distances
    check_precision(lengths)
    if init == "landmarks" and (rows is not None or head != "iqe"):
        raise ValueError("init='landmarks' needs a whole table of distances and head='iqe'")
    check_pair_weights(weights, lengths)
    check_some((lengths, rows, columns, weights), discount)
    check_limits(tol, max_steps, check_every)
    lengths, weights = map_arrays(of(lengths).stop_gradient, (lengths, weights))
    first = (
        landmark_start(lengths, n, shape, reduction, key(rng))
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
    report(result, "quasimetric.fit", tol, ADVICE)
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


def check_precision(lengths: Any) -> None:
    """Adam divides by numbers that half precision does not have."""
    xp = namespace(lengths)
    if lengths.dtype not in (xp.float32, xp.float64):
        raise TypeError(f"distances hold {lengths.dtype}; a fit needs float32 or float64")


def check_some(pairs: Any, discount: float | None) -> None:
    """At least one pair of two points has a weight and, without a discount, a finite distance."""
    counted = values(relative_weights(pairs, discount))
    if counted is not None and not bool(namespace(counted).any(counted > 0)):
        finite = "" if discount is not None else " of finite distance"
        raise ValueError(f"there is nothing to fit: no pair of two points{finite} has a positive weight")


@on_host(iqe_all_slopes)
def solve(pairs: Any, points: Any, rate: Any, tol: Any, *, head: Head, discount: float | None, **options: Any) -> Any:
    """The loop, and what came of it."""
    xp = namespace(points)
    data = targets(pairs, rate, head, discount)
    table = (points, first_weights(pairs, head))
    moments = tuple(None if x is None else Moments(xp.zeros_like(x), xp.zeros_like(x)) for x in table)
    number = xp.zeros((), **{**like(points), "dtype": xp.int32})
    infinite = xp.asarray(math.inf, **like(points))
    keep = options["history"] is not False
    trail = xp.full((options["max_steps"] + 1,), math.nan, **like(points)) if keep else None
    state = State(
        number,
        table,
        moments,
        number,
        number,
        infinite,
        infinite,
        infinite,
        table,
        infinite,
        xp.ones_like(infinite),
        trail,
    )
    run = iterate(stepwise(step, error), state, data, tol=tol, halt=lost, method="quasimetric.fit", **options)
    s = run.state
    last = loss_of(distances_of(s.table, data), data)[0]
    better = last < s.best
    points, raw = map_arrays(lambda new, old: xp.where(better, new, old), s.table, s.best_table)
    trail = None if s.trail is None else written(s.trail, s.step, last)
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
    if history is None or trail is None:
        return None
    if library(history.step) != library(trail):
        return history
    xp = namespace(trail)
    known = ~xp.isnan(xp.astype(history.step, trail.dtype))
    places = xp.astype(xp.where(known, history.step, xp.zeros_like(history.step)), xp.int32)
    return FitHistory(history.step, history.error, history.seconds, xp.take(trail, places))
