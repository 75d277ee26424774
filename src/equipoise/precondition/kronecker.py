"""Q = Q_1 x ... x Q_k over the axes of a tensor: one small factor an axis, a matrix or a diagonal.

A product with Q is k products with its factors; what moves factor i is the difference of two Gram matrices T1 and T2 of
unfoldings along axis i. Only the product of the factors means anything, so that they are brought to one size now and
then. How large a step may be is told by the spectral norm of T1 + T2, from a block power iteration.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import library, like, namespace
from ..kernel import kernel
from ..random import signs, words_of
from ..triangular import solve_upper
from .common import Pairs, chosen, finite, floored, known, matmul, narrow, over_pairs, pair_of, smoothed, useful, wide
from .dense import turned
from .states import KroneckerState

__all__ = ["apply", "apply_inverse", "is_diagonal", "start", "swept"]

EQUALISE = 100  # pairs between two looks at the sizes of the factors
ROWS, ROUNDS = 32, 2  # of the power iteration


def is_diagonal(n: int, numel: int, max_dense: int, max_skew: float) -> bool:
    """Whether an axis of length n gets a diagonal."""
    return n == 1 or n > max_dense or n * n > max_skew * numel


def start(
    like_: Any, scale: float, L: Any, count: Any, seed: Any, *, max_dense: int, max_skew: float
) -> KroneckerState[Any]:
    """Every factor scale^(1/k) I."""
    xp, shape = namespace(like_), tuple(like_.shape) or (1,)
    each, numel = scale ** (1 / len(shape)), math.prod(shape)
    factors = tuple(
        each
        * (xp.ones((n,), **like(like_)) if is_diagonal(n, numel, max_dense, max_skew) else xp.eye(n, **like(like_)))
        for n in shape
    )
    bounds = tuple(xp.zeros_like(L) for _ in shape)  # arrays of their own: one that is there twice cannot be donated
    return KroneckerState(factors, bounds, count, seed)


# ---------------------------------------------------------------------------------------------------------------------
# Products along axes; leading axes of X are a batch


def unfolded(X: Any, axis: int) -> Any:
    """X with `axis` first and all others in one, shape (n_axis, rest)."""
    xp = namespace(X)
    return xp.reshape(xp.moveaxis(X, axis, 0), (X.shape[axis], -1))


def folded(Y: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """The tensor of `shape` whose unfolding is Y."""
    xp = namespace(Y)
    rest = tuple(n for k, n in enumerate(shape) if k != axis)
    return xp.moveaxis(xp.reshape(Y, (shape[axis], *rest)), 0, axis)


def along(X: Any, axis: int, move: Any) -> Any:
    """`move` of the unfolding along an axis."""
    return folded(move(unfolded(X, axis)), axis, tuple(X.shape))


def multiplied(Qs: tuple[Any, ...], X: Any, *, transpose: bool = False) -> Any:
    """Q X, or Q^T X, for a tensor with perhaps some batch axes before those of the factors."""
    first = X.ndim - len(Qs)
    for k, Q in enumerate(Qs):
        if Q.ndim == 1:
            X = X * namespace(X).reshape(Q, (-1, *(1,) * (len(Qs) - 1 - k)))
        else:
            M = namespace(X).matrix_transpose(Q) if transpose else Q
            X = along(X, first + k, lambda Y, M=M: matmul(M, Y))
    return X


def divided(Qs: tuple[Any, ...], X: Any, *, transpose: bool, upper: bool) -> Any:
    """Q^{-1} X, or Q^{-T} X."""
    xp, first = namespace(X), X.ndim - len(Qs)
    for k, Q in enumerate(Qs):
        if Q.ndim == 1:
            X = X / xp.reshape(Q, (-1, *(1,) * (len(Qs) - 1 - k)))
        elif upper:
            X = along(X, first + k, lambda Y, Q=Q: solve_upper(Q, Y, transpose=transpose))
        else:
            M = xp.matrix_transpose(Q) if transpose else Q
            X = along(X, first + k, lambda Y, M=M: xp.linalg.solve(M, Y))
    return X


def apply(state: KroneckerState[Any], G: Any, *, form: str) -> Any:
    """P g for every g of a stack."""
    return multiplied(state.Q, multiplied(state.Q, G), transpose=True)


def apply_inverse(state: KroneckerState[Any], G: Any, *, form: str) -> Any:
    """P^{-1} g for every g of a stack."""
    upper = form == "eq"
    return divided(state.Q, divided(state.Q, G, transpose=True, upper=upper), transpose=False, upper=upper)


# ---------------------------------------------------------------------------------------------------------------------
# The update


def swept(state: KroneckerState[Any], pairs: Pairs, *, form: str) -> KroneckerState[Any]:
    """The state after all pairs, but for its count."""
    Q, L = kronecker_sweep(state.Q, pairs, state.L, state.count, form=form)
    return replace(state, Q=Q, L=L)


@kernel("precondition.kronecker_sweep")
def kronecker_sweep(Qs: tuple[Any, ...], pairs: Pairs, Ls: tuple[Any, ...], count: Any, *, form: str) -> Any:
    """The factors and their bounds after all pairs, of which the first is number `count`."""
    one = eq_step if form == "eq" else STEPS[form]
    return over_pairs(one, (Qs, Ls, count), pairs)[:2]


def eq_step(carry: Any, pairs: Pairs) -> Any:
    """Q_i -= mu_i triu(T1 - T2) Q_i, with the Gram matrices of A = Q h and B = Q^{-T} v."""
    k, (Qs, _, _) = carry
    pair = pair_of(pairs, k)
    A, B = multiplied(Qs, pair[1]), divided(Qs, pair[0], transpose=True, upper=True)
    return factors_moved(carry, pairs, pair, (A, B), eq_change)


def straight_step(carry: Any, pairs: Pairs, change: Any) -> Any:
    """The same of A = P h and B = v, in the other forms."""
    k, (Qs, _, _) = carry
    pair = pair_of(pairs, k)
    A = multiplied(Qs, multiplied(Qs, pair[1]), transpose=True)
    return factors_moved(carry, pairs, pair, (A, pair[0]), change)


def quad_step(carry: Any, pairs: Pairs) -> Any:
    """Q symmetric."""
    return straight_step(carry, pairs, quad_change)


def qeq_step(carry: Any, pairs: Pairs) -> Any:
    """Q any matrix."""
    return straight_step(carry, pairs, qeq_change)


def procrustes_step(carry: Any, pairs: Pairs) -> Any:
    """Q any matrix, turned towards a symmetric one."""
    return straight_step(carry, pairs, procrustes_change)


STEPS = {"quad": quad_step, "qeq": qeq_step, "procrustes": procrustes_step}


def factors_moved(carry: Any, pairs: Pairs, pair: Any, tensors: Any, change: Any) -> Any:
    """One pair for all factors; B is None where v is integrated out.

    T1 - T2 is divided by its bound first: with the factor step / L apart, both could leave the range of float32.
    """
    (k, (Qs, Ls, count)), (v, h, step), (A, B) = carry, pair, tensors
    xp = namespace(A)
    mu, ok, new = narrow(step, A), useful(v, h), []
    for axis, (Q, L) in enumerate(zip(Qs, Ls, strict=True)):
        T1, T2 = gram(A, axis, Q), expected(A, axis, Q) if B is None else gram(B, axis, Q)
        bound = smoothed(L, wide(norm_of(T1 + T2), A), pairs.smoothing)
        E = (T1 - T2) / floored(narrow(bound, Q))
        moving = Q * (1 - mu * E) if Q.ndim == 1 else change(Q, E, mu)
        ok = ok & xp.isfinite(bound) & finite(moving)
        if change is eq_change or Q.ndim == 1:
            ok = ok & xp.all((moving if Q.ndim == 1 else xp.linalg.diagonal(moving)) > 0)
        new.append((moving, bound))
    Qs, Ls = chosen(ok, (tuple(Q for Q, _ in new), tuple(L for _, L in new)), (Qs, Ls))
    count = xp.asarray(count + 1)
    return k + 1, (equalised(Qs, count), Ls, count)


def gram(X: Any, axis: int, Q: Any) -> Any:
    """X X^T over all other axes; its diagonal where the factor is one."""
    xp = namespace(X)
    Y = unfolded(X, axis)
    return xp.sum(Y * Y, axis=1) if Q.ndim == 1 else matmul(Y, xp.matrix_transpose(Y))


def expected(X: Any, axis: int, Q: Any) -> Any:
    """The mean of v v^T over all other axes, a multiple of I."""
    xp, n = namespace(X), X.shape[axis]
    share = math.prod(X.shape) / n
    return share * (xp.ones((n,), **like(X)) if Q.ndim == 1 else xp.eye(n, **like(X)))


def eq_change(Q: Any, T: Any, mu: Any) -> Any:
    """Q - mu triu(T) Q."""
    return Q - mu * matmul(namespace(Q).triu(T), Q)


def quad_change(Q: Any, T: Any, mu: Any) -> Any:
    """Half a step from each side, and the symmetric part."""
    xp, m = namespace(Q), mu / 2
    p = Q - m * matmul(T, Q)
    p = p - m * matmul(p, T)
    return (p + xp.matrix_transpose(p)) / 2


def qeq_change(Q: Any, T: Any, mu: Any) -> Any:
    """Q - mu Q T."""
    return Q - mu * matmul(Q, T)


def procrustes_change(Q: Any, T: Any, mu: Any) -> Any:
    """Q - mu T Q, and one rotation."""
    return turned(Q - mu * matmul(T, Q))


def norm_of(T: Any) -> Any:
    """The spectral norm of a positive T, from below; of a diagonal one its largest entry.

    Two rounds of power iteration with 32 rows: that of T of the largest norm, to which vectors of random signs are
    added, each with the sign that does not cancel it. T is divided by its largest entry meanwhile, whose square may not
    be a number of its dtype.
    """
    xp = namespace(T)
    if T.ndim == 1:
        return xp.asarray(xp.max(T))
    n, high = T.shape[0], floored(xp.asarray(xp.max(xp.abs(T))))
    T = T / high
    largest = xp.argmax(xp.sum(T * T, axis=1))
    row = xp.reshape(xp.take(T, xp.reshape(largest, (1,)), axis=0), (n,))
    row = row / floored(xp.asarray(xp.sqrt(xp.sum(row * row))))
    random = sign_rows(T) / math.sqrt(n)
    side = xp.where(matmul(random, row) < 0, -1.0 * xp.ones((ROWS,), **like(T)), xp.ones((ROWS,), **like(T)))
    X = row[None, :] + side[:, None] * random
    size = xp.sqrt(xp.sum(X * X, axis=1))
    for _ in range(ROUNDS):
        X = matmul(X / floored(size)[:, None], T)
        size = xp.sqrt(xp.sum(X * X, axis=1))
    return xp.asarray(xp.max(size) * high)


def sign_rows(T: Any) -> Any:
    """32 rows of signs, the same at every call: kept where they are arrays, made anew inside a transformation."""
    if library(T) == "jax":
        return signs_like(T)
    place = like(T)
    key = (library(T), T.shape[0], str(T.dtype), str(place["device"]))
    if key not in KEPT:
        made = signs_like(T)
        if "." in type(made).__module__:  # not an array of the library itself, as torch's without values
            return made
        KEPT[key] = made
    return KEPT[key]


KEPT: dict[tuple[str, int, str, str], Any] = {}


def signs_like(T: Any) -> Any:
    """The rows themselves, of the length, dtype and device of T."""
    xp, n = namespace(T), T.shape[0]
    wide_ = "int64" in xp.__array_namespace_info__().dtypes(kind="signed integer")
    place = {**like(T), "dtype": xp.int64 if wide_ else xp.int32}
    words = words_of(xp.arange(ROWS, **place)[:, None], xp.arange(-(-n // 128), **place)[None, :], ZERO, stream=0)
    return xp.reshape(signs(words, T.dtype), (ROWS, -1))[:, :n]


ZERO = (np.uint32(0), np.uint32(0))


def equalised(Qs: tuple[Any, ...], count: Any) -> tuple[Any, ...]:
    """The factors, every hundredth time all of one largest entry, their geometric mean."""
    if len(Qs) == 1:
        return Qs
    xp, seen = namespace(*Qs), known(count)
    if seen is not None and seen % EQUALISE != 0:
        return Qs
    sizes = [xp.asarray(xp.max(xp.abs(Q))) for Q in Qs]
    logs = sum(xp.log(size) for size in sizes[1:]) + xp.log(sizes[0])
    mean = xp.exp(logs / len(Qs))
    due = count % EQUALISE == 0
    return tuple(xp.where(due, Q * (mean / size), Q) for Q, size in zip(Qs, sizes, strict=True))
