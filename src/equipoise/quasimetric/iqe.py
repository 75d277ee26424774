"""Interval quasimetric embeddings: distances between points, by lengths of unions of intervals."""

from __future__ import annotations

from typing import Any

from ..arrays import A, namespace
from ..boundary import public
from .checks import check_alpha, check_sides, check_word
from .intervals import iqe_all, iqe_all_slopes, iqe_pairs, iqe_pairs_slopes
from .pairs import check_cotangent, paired, paired_slopes, summed_to, together, widened
from .reduction import ALPHA, REDUCTIONS

__all__ = ["iqe", "iqe_pairwise", "iqe_pairwise_vjp", "iqe_vjp"]


@public
def iqe(u: A, v: A, *, components: int, reduction: str = "maxmean", alpha: Any = ALPHA) -> A:
    """The interval quasimetric from `u` to `v`: zero from a point to itself, with a triangle inequality, unsymmetric.

    Component i reads the latents ``[i l, (i + 1) l)`` with ``l = D / components``, and measures the union of the
    intervals ``[u_j, max(u_j, v_j)]``. So it grows where `v` exceeds `u`; :func:`pqe` grows where `u` exceeds `v`.

    Take it as the last layer of an encoder whose distances differ in the two directions, or with :func:`fit` for a
    table of points. Do not take it where distances are symmetric, and not for distances that saturate, such as
    probabilities: :func:`pqe` is for those. All pairs of two sets are :func:`iqe_pairwise`, whose kernel is tens of
    times as fast a pair; ``iqe(x[:, None], y)`` finds it too.

    Parameters
    ----------
    u : array, shape (..., D)
        Points to go from, floating-point. Leading axes broadcast with those of `v`.
    v : array, shape (..., D)
        Points to go to.
    components : int
        How many components there are, k; D is a multiple of it. A width of 8 or more is advised, 16 is usual.
    reduction : {"maxmean", "sum", "max", "mean", "none"}
        How components become one distance; "maxmean" is ``alpha max + (1 - alpha) mean``, and "none" gives (..., k).
        Where components share the maximum, the first one has its derivative.
    alpha : float or 0-d array
        In [0, 1], for "maxmean" only; differentiable. By default the sigmoid of -1, the published start.

    Returns
    -------
    array, shape (...)
        The distances; (..., k) for "none". They are not negative, and exactly 0 from a point to itself.

    Raises
    ------
    TypeError, ValueError
        If points hold whole numbers, dtypes or dimensions differ, D is no multiple of `components`, `reduction` is
        unknown, or `alpha` lies outside [0, 1].

    Notes
    -----
    Equation (9) and section 4 of [1]_. Differentiable in u, v and alpha on torch and jax; :func:`iqe_vjp` gives the
    derivatives of numpy arrays. Where intervals touch, one of the derivatives is returned. Second derivatives with
    respect to points are zero. All are reverse mode only: ``jax.jvp`` is refused, and so are ``jax.jacfwd`` and
    ``jax.hessian``; take ``jax.jacrev`` twice. Distances touched by a NaN are NaN, but not their derivatives; infinite
    points give nothing of use. In float32 the error is 1e-6 of the largest distance, and 2e-7 of the points' distance
    from the origin more a latent.

    References
    ----------
    .. [1] T. Wang, P. Isola, Improved Representation of Asymmetrical Distances with Interval Quasimetric Embeddings,
       arXiv:2211.15120 (2022).

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import iqe
    >>> u, v = np.array([0.0, 0.5, 3.0]), np.array([1.0, 2.0, 2.0])
    >>> float(iqe(u, v, components=1)), float(iqe(v, u, components=1))  # [0, 2], and [2, 3]
    (2.0, 1.0)
    """
    settings = checked(u, v, components, reduction, alpha)
    return between(u, v, alpha, **settings)


def between(u: Any, v: Any, alpha: Any, **settings: Any) -> Any:
    """The distances of points that broadcast, unchecked."""
    return paired(
        u,
        v,
        lambda x, y: iqe_pairs(x, y, alpha, **settings),
        lambda x, y: iqe_all(x, y, alpha, **settings),
        int(settings["reduction"] == "none"),
    )


@public
def iqe_pairwise(u: A, v: A | None = None, *, components: int, reduction: str = "maxmean", alpha: Any = ALPHA) -> A:
    """The interval quasimetric from every point of `u` to every point of `v`.

    The points of u are sorted once, each component by itself, and then swept against all of v: no memory is taken a
    pair, forward or backward. Do not use it where only some pairs are asked for: :func:`iqe` takes those.

    Parameters
    ----------
    u : array, shape (..., n, D)
        Points to go from. Leading axes are a batch, and broadcast with those of `v`.
    v : array, shape (..., m, D), optional
        Points to go to; those of `u` by default.
    components, reduction, alpha
        As for :func:`iqe`.

    Returns
    -------
    array, shape (..., n, m)
        The distance from point i of `u` to point j of `v`; (..., n, m, k) for the reduction "none".

    Raises
    ------
    TypeError, ValueError
        As :func:`iqe`.

    Examples
    --------
    Every quasimetric of finitely many points is represented exactly, by the distances to all of them:

    >>> import numpy as np
    >>> from equipoise.quasimetric import iqe_pairwise
    >>> D = np.array([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0], [1.0, 2.0, 0.0]])  # around a one-way ring
    >>> iqe_pairwise(-D, components=3, reduction="max")
    array([[0., 1., 2.],
           [2., 0., 1.],
           [1., 2., 0.]])
    """
    other: A = u if v is None else v
    settings = checked(u, other, components, reduction, alpha, axes=2)
    return iqe_all(*widened(u, other), alpha, **settings)


@public
def iqe_vjp(
    u: A, v: A, cotangent: A, *, components: int, reduction: str = "maxmean", alpha: Any = ALPHA
) -> tuple[A, A]:
    """The derivatives of ``sum(cotangent * iqe(u, v))`` with respect to `u` and `v`.

    For arrays whose library has no derivatives, such as numpy's; torch and jax differentiate :func:`iqe` themselves.

    Parameters
    ----------
    u, v : array, shape (..., D)
        As for :func:`iqe`.
    cotangent : array
        Of the shape and dtype of the distances.
    components, reduction, alpha
        As for :func:`iqe`.

    Returns
    -------
    pair of arrays
        Of the shapes of `u` and `v`.

    Raises
    ------
    TypeError, ValueError
        As :func:`iqe`; also if `cotangent` is not like the distances.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import iqe_vjp
    >>> u, v = np.array([0.0, 0.5, 3.0]), np.array([1.0, 2.0, 2.0])
    >>> gu, gv = iqe_vjp(u, v, np.array(1.0), components=1)  # of [0, 2]
    >>> gu, gv
    (array([-1.,  0.,  0.]), array([0., 1., 0.]))
    """
    settings = checked(u, v, components, reduction, alpha)
    shape = together(u.shape[:-1], v.shape[:-1])
    tail = (components,) if reduction == "none" else ()
    check_cotangent(cotangent, u, (*shape, *tail))
    gu, gv = paired_slopes(
        cotangent,
        u,
        v,
        lambda g, x, y: iqe_pairs_slopes(g, x, y, alpha, **settings),
        lambda g, x, y: iqe_all_slopes(g, x, y, alpha, **settings),
        len(tail),
    )
    return gu, gv


@public
def iqe_pairwise_vjp(
    u: A, v: A | None, cotangent: A, *, components: int, reduction: str = "maxmean", alpha: Any = ALPHA
) -> tuple[A, A]:
    """The derivatives of ``sum(cotangent * iqe_pairwise(u, v))`` with respect to its two arguments.

    With ``v=None`` both are derivatives with respect to `u`, once as the start and once as the end of every pair: add
    them up.

    Parameters
    ----------
    u, v : array, shape (..., n, D) and (..., m, D)
        As for :func:`iqe_pairwise`.
    cotangent : array, shape (..., n, m)
        Of the shape and dtype of the distances.
    components, reduction, alpha
        As for :func:`iqe`.

    Returns
    -------
    pair of arrays
        Of the shapes of `u` and `v`.

    Raises
    ------
    TypeError, ValueError
        As :func:`iqe_vjp`.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import iqe_pairwise_vjp
    >>> iqe_pairwise_vjp(np.array([[0.0], [2.0]]), None, np.ones((2, 2)), components=1)
    (array([[-1.],
           [ 0.]]), array([[0.],
           [1.]]))
    """
    other: A = u if v is None else v
    settings = checked(u, other, components, reduction, alpha, axes=2)
    batch = together(u.shape[:-2], other.shape[:-2])
    tail = (components,) if reduction == "none" else ()
    check_cotangent(cotangent, u, (*batch, u.shape[-2], other.shape[-2], *tail))
    gu, gv, _ = iqe_all_slopes(cotangent, *widened(u, other), alpha, **settings)
    return summed_to(gu, u.shape), summed_to(gv, other.shape)


def checked(u: Any, v: Any, components: Any, reduction: Any, alpha: Any, axes: int = 1) -> dict[str, Any]:
    """The settings of the kernels."""
    k = check_sides(u, v, components, axes)
    check_word("reduction", reduction, REDUCTIONS)
    check_alpha(alpha)
    namespace(u, v, alpha)
    return {"components": k, "reduction": reduction}
