"""Poisson quasimetric embeddings: distances that saturate, as probabilities do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import A, library, namespace
from ..backend import of
from ..boundary import public
from ..checks import values
from .checks import check_parameter, check_sides, check_weights, check_word
from .measures import MEASURES, pqe_all, pqe_all_slopes, pqe_pairs, pqe_pairs_slopes
from .pairs import check_cotangent, paired, paired_slopes, summed_to, together, widened
from .poisson import LARGEST, MOST, bound, terms_for

__all__ = ["pqe", "pqe_pairwise", "pqe_pairwise_vjp", "pqe_vjp"]


@public
def pqe(
    u: A,
    v: A,
    *,
    components: int,
    measure: str = "lebesgue",
    weights: A | None = None,
    variance: Any = None,
    scale: Any = None,
) -> A:
    """The Poisson quasimetric from `u` to `v`: ``sum_i weights_i p_i`` with probabilities p_i.

    It is at most ``sum(weights)``. Component i reads the latents ``[i l, (i + 1) l)`` with ``l = D / components``. It
    grows where `u` exceeds `v`; :func:`iqe` grows where `v` exceeds `u`. Both are quasimetrics; exchanging them
    transposes the distances.

    Take it for distances that saturate, such as discounted or hitting probabilities, or where a bound on them is
    wanted. Do not take it for distances without a bound: :func:`iqe` has none, and scales with its points.

    Parameters
    ----------
    u : array, shape (..., D)
        Points to go from, floating-point. Leading axes broadcast with those of `v`.
    v : array, shape (..., D)
        Points to go to.
    components : int
        How many components there are, k; D is a multiple of it.
    measure : {"lebesgue", "gaussian"}
        Half-lines under Lebesgue's measure, ``p = 1 - exp(-mean_j max(u_j - v_j, 0))``; or Gaussian shapes under a
        Gaussian measure, which is smooth, and costs tens of times as much.
    weights : array, shape (k,), optional
        Not negative; ones by default.
    variance : float or array, optional
        Of the Gaussian measure, positive, 1 by default; an array broadcasts to (k, l).
    scale : float or array, optional
        Of the Gaussian measure's mass, not negative, 1 by default; an array broadcasts to (k, l).

    Returns
    -------
    array, shape (...)
        The distances. They are not negative, and exactly 0 from a point to itself.

    Raises
    ------
    TypeError, ValueError
        If points hold whole numbers, dtypes or dimensions differ, D is no multiple of `components`, `measure` is
        unknown, a weight or scale is negative, a variance is not positive, or one of them is not finite in the dtype of
        the points; if `variance` or `scale` come with Lebesgue's measure; if `scale` is so large that the series of the
        rates would have more than 400 terms.

    Notes
    -----
    Section 4 of [1]_, whose mean over the latents of a component is that of the published implementation. The
    discounted form ``prod_i sigmoid(x_i)^{p_i}`` is ``exp(-pqe(...))`` with ``weights = softplus(-x)``.
    Differentiable in all arrays on torch and jax; :func:`pqe_vjp` gives the derivatives of numpy arrays to the points.
    The Gaussian measure is accurate to 1e-12 a component; in float32 to 2e-6, and 3e-7 of the largest rate more, which
    is at most ``scale / (2.5 l)``. Half precision is computed in float32. Under ``jax.jit`` a traced `scale` takes all
    of 400 terms, some ten times as long as a known one; where it is negative, or a rate is too large for the series,
    the distance is NaN. Derivatives are reverse mode only: ``jax.jvp`` is refused, and so are ``jax.jacfwd`` and
    ``jax.hessian``; take ``jax.jacrev`` twice. Distances touched by a NaN are NaN, but not always their derivatives.

    References
    ----------
    .. [1] T. Wang, P. Isola, On the Learning and Learnability of Quasimetrics, ICLR 2022, arXiv:2206.15478.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import pqe
    >>> u, v = np.array([2.0, 1.0]), np.array([0.0, 3.0])
    >>> [round(float(d), 4) for d in (pqe(u, v, components=2), pqe(v, u, components=2))]  # 1 - exp(-2), both ways
    [0.8647, 0.8647]
    >>> pqe(u, u, components=2, measure="gaussian")
    array(0.)
    """
    parameters, settings = checked(u, v, components, measure, weights, variance, scale)
    return between(u, v, *parameters, **settings)


def between(u: Any, v: Any, weights: Any, variance: Any, scale: Any, **settings: Any) -> Any:
    """The distances of points that broadcast, unchecked."""
    return paired(
        u,
        v,
        lambda x, y: pqe_pairs(x, y, weights, variance, scale, **settings),
        lambda x, y: pqe_all(x, y, weights, variance, scale, **settings),
        0,
    )


@public
def pqe_pairwise(
    u: A,
    v: A | None = None,
    *,
    components: int,
    measure: str = "lebesgue",
    weights: A | None = None,
    variance: Any = None,
    scale: Any = None,
) -> A:
    """The Poisson quasimetric from every point of `u` to every point of `v`.

    Parameters
    ----------
    u : array, shape (..., n, D)
        Points to go from. Leading axes are a batch, and broadcast with those of `v`.
    v : array, shape (..., m, D), optional
        Points to go to; those of `u` by default.
    components, measure, weights, variance, scale
        As for :func:`pqe`.

    Returns
    -------
    array, shape (..., n, m)
        The distance from point i of `u` to point j of `v`.

    Raises
    ------
    TypeError, ValueError
        As :func:`pqe`.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import pqe_pairwise
    >>> pqe_pairwise(np.array([[0.0], [1.0]]), components=1).round(4)
    array([[0.    , 0.    ],
           [0.6321, 0.    ]])
    """
    other: A = u if v is None else v
    parameters, settings = checked(u, other, components, measure, weights, variance, scale, axes=2)
    return pqe_all(*widened(u, other), *parameters, **settings)


@public
def pqe_vjp(
    u: A,
    v: A,
    cotangent: A,
    *,
    components: int,
    measure: str = "lebesgue",
    weights: A | None = None,
    variance: Any = None,
    scale: Any = None,
) -> tuple[A, A]:
    """The derivatives of ``sum(cotangent * pqe(u, v))`` with respect to `u` and `v`.

    For arrays whose library has no derivatives, such as numpy's; torch and jax differentiate :func:`pqe` themselves.

    Parameters
    ----------
    u, v : array, shape (..., D)
        As for :func:`pqe`.
    cotangent : array
        Of the shape and dtype of the distances.
    components, measure, weights, variance, scale
        As for :func:`pqe`.

    Returns
    -------
    pair of arrays
        Of the shapes of `u` and `v`.

    Raises
    ------
    TypeError, ValueError
        As :func:`pqe`; also if `cotangent` is not like the distances.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import pqe_vjp
    >>> pqe_vjp(np.array([0.0, 0.0]), np.array([1.0, 0.0]), np.array(1.0), components=1)
    (array([0., 0.]), array([-0., -0.]))
    """
    parameters, settings = checked(u, v, components, measure, weights, variance, scale)
    check_cotangent(cotangent, u, together(u.shape[:-1], v.shape[:-1]))
    gu, gv = paired_slopes(
        cotangent,
        u,
        v,
        lambda g, x, y: pqe_pairs_slopes(g, x, y, *parameters, **settings),
        lambda g, x, y: pqe_all_slopes(g, x, y, *parameters, **settings),
        0,
    )
    return gu, gv


@public
def pqe_pairwise_vjp(
    u: A,
    v: A | None,
    cotangent: A,
    *,
    components: int,
    measure: str = "lebesgue",
    weights: A | None = None,
    variance: Any = None,
    scale: Any = None,
) -> tuple[A, A]:
    """The derivatives of ``sum(cotangent * pqe_pairwise(u, v))`` with respect to its two arguments.

    With ``v=None`` both are derivatives with respect to `u`, once as the start and once as the end of every pair: add
    them up.

    Parameters
    ----------
    u, v : array, shape (..., n, D) and (..., m, D)
        As for :func:`pqe_pairwise`.
    cotangent : array, shape (..., n, m)
        Of the shape and dtype of the distances.
    components, measure, weights, variance, scale
        As for :func:`pqe`.

    Returns
    -------
    pair of arrays
        Of the shapes of `u` and `v`.

    Raises
    ------
    TypeError, ValueError
        As :func:`pqe_vjp`.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.quasimetric import pqe_pairwise_vjp
    >>> gu, gv = pqe_pairwise_vjp(np.array([[0.0], [1.0]]), None, np.ones((2, 2)), components=1)
    >>> (gu + gv).round(4)
    array([[-0.3679],
           [ 0.3679]])
    """
    other: A = u if v is None else v
    parameters, settings = checked(u, other, components, measure, weights, variance, scale, axes=2)
    batch = together(u.shape[:-2], other.shape[:-2])
    check_cotangent(cotangent, u, (*batch, u.shape[-2], other.shape[-2]))
    gu, gv, *_ = pqe_all_slopes(cotangent, *widened(u, other), *parameters, **settings)
    return summed_to(gu, tuple(u.shape)), summed_to(gv, tuple(other.shape))


def checked(
    u: Any, v: Any, components: Any, measure: Any, weights: Any, variance: Any, scale: Any, axes: int = 1
) -> tuple[tuple[Any, Any, Any], dict[str, Any]]:
    """The parameters and the settings of the kernels."""
    k = check_sides(u, v, components, axes)
    check_word("measure", measure, MEASURES)
    check_weights(weights, k, u)
    if measure == "lebesgue":
        for name, x in (("variance", variance), ("scale", scale)):
            if x is not None:
                raise ValueError(f"{name} belongs to measure='gaussian'; leave it out with measure='lebesgue'")
        return (weights, None, None), {"components": k, "measure": measure, "terms": 0}
    shape = (k, u.shape[-1] // k)
    variance, scale = (1.0 if x is None else x for x in (variance, scale))
    check_parameter("variance", variance, shape, u, positive=True)
    check_parameter("scale", scale, shape, u, positive=False)
    namespace(u, v, weights, variance, scale)
    return (weights, variance, scale), {"components": k, "measure": measure, "terms": terms_of(scale, shape[1], u)}


def terms_of(scale: Any, width: int, u: Any) -> int:
    """How long the series of the rates is, from the largest rate there can be."""
    if library(scale):
        seen = values(scale)
        if seen is None:
            return MOST
        largest = float(np.max(of(seen).to_numpy(seen))) if math.prod(scale.shape) else 0.0
    else:
        largest = float(scale)
    single = u.dtype != namespace(u).float64
    rate, most = bound(largest, width), LARGEST["float32" if single else "float64"]
    if rate > most:
        advice = ", or compute in float64" if single and rate <= LARGEST["float64"] else ""
        raise ValueError(
            f"scale must be at most {most / bound(1.0, width):.4g} in {u.dtype} for components of width {width}, got "
            f"{largest}: the series of the rates would be too long{advice}"
        )
    return min(MOST, terms_for(rate, 6e-8 if single else 1e-16))
