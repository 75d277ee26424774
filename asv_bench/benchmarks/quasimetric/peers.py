"""Quasimetric embeddings as they are written with a tensor library, and both sides measured in turn.

The peers are written from the mathematics, and compute what ours does: their distances are compared before the clock
starts. They are

``textbook``
    The published form: the 2 l ends of a pair are sorted, the intervals that are open are counted by a cumulative sum,
    and the gaps that something covers are added up. Everything is made for every pair.
``sorted_once``
    The formula that ours sweeps, in tensors: left ends are sorted once a point, right ends gathered, a cumulative
    maximum taken. For all pairs it is several times as fast as ``textbook`` and is the peer of derivatives there.
``lebesgue``
    One broadcast difference, a mean and an exponential.
``gaussian``
    Rates by ``scipy.special.ndtr``, probabilities by the noncentral chi-squared distribution of scipy; no derivative.
``jax_textbook``
    ``textbook`` in jax, jitted.

Both sides get the same arrays, on one thread, in turn, and freed memory stays with the process. Without that most of
the peers' time may be the system's, which clears fresh pages for gigabytes of temporaries: from one run to the next it
doubles. Derivatives are ``torch.autograd.grad`` of ``sum(g * d)`` with respect to points that are leaves: no copy of
them is timed, and nothing is accumulated in ``.grad``. Of all pairs, a peer may be given a strip of the rows; its time
is multiplied, which is to its advantage, since its temporaries are then smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..clock import cpu_seconds, keep_freed_memory

__all__ = [
    "KL",
    "Cost",
    "all_pairs",
    "cdist",
    "gaussian_pairs",
    "jitted",
    "measure",
    "needed",
    "pairs",
]

KL = {"8x16": (8, 16), "16x8": (16, 8), "8x64": (8, 64)}  # components, latents of one
ALPHA = 0.2689414213699951
SEED = 20_260_401


@dataclass(frozen=True)
class Cost:
    """CPU seconds of ours and of the peer, and how far apart their distances are, relative to the largest."""

    ours: float
    theirs: float
    apart: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


Case = tuple[Callable[[], Any], Callable[[], Any], float, float]  # ours, the peer, its factor, how far apart


def measure(case: Case, *, rounds: int = 9, budget: float = 4.0) -> Cost:
    """Both sides in turn; `budget` in CPU seconds is that of each."""
    mine, theirs, factor, apart = case
    mine()
    ours, peer = cpu_seconds([mine, theirs], rounds=rounds, budget=budget)
    return Cost(ours, factor * peer, apart)


def needed() -> tuple[Any, Any]:
    """``equipoise.quasimetric`` and torch on one thread.

    Raises
    ------
    NotImplementedError
        If this version or this machine lacks one of them.
    """
    try:
        import torch

        from equipoise import quasimetric
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
    torch.set_num_threads(1)
    keep_freed_memory()
    return quasimetric, torch


def points(*shapes: tuple[int, ...], dtype: str = "float32") -> list[Any]:
    """Normal numbers."""
    rng = np.random.default_rng(SEED)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def distance_apart(mine: Any, theirs: Any) -> float:
    a, b = (np.asarray(x, dtype=np.float64) for x in (mine, theirs))
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


# ---------------------------------------------------------------------------------------------------------------------
# Peers in torch


def in_components(k: int, *points: Any) -> list[Any]:
    """(..., D) as (..., k, l)."""
    return [x.reshape(*x.shape[:-1], k, x.shape[-1] // k) for x in points]


def reduced(parts: Any) -> Any:
    """The reduction "maxmean"."""
    return ALPHA * parts.max(-1).values + (1.0 - ALPHA) * parts.mean(-1)


def textbook(torch: Any, u: Any, v: Any, k: int) -> Any:
    """Sort all ends, count what is open, add up what is covered."""
    u, v = torch.broadcast_tensors(*in_components(k, u, v))
    ends, order = torch.sort(torch.cat([u, torch.maximum(u, v)], -1), -1)
    steps = torch.where(order < u.shape[-1], 1, -1)
    covered = torch.cumsum(steps, -1)[..., :-1] > 0
    return reduced(((ends[..., 1:] - ends[..., :-1]) * covered).sum(-1))


def sorted_once(torch: Any, u: Any, v: Any, k: int) -> Any:
    """Sort left ends alone, a point at a time, and take the cumulative maximum of the right ends."""
    u, v = in_components(k, u, v)
    left, order = torch.sort(u, -1)
    left, order, v = torch.broadcast_tensors(left, order, v)
    right = torch.gather(v, -1, order)
    reach = torch.cummax(right, -1).values
    before = torch.cat([torch.full_like(reach[..., :1], -math.inf), reach[..., :-1]], -1)
    return reduced(torch.relu(right - torch.maximum(left, before)).sum(-1))


def lebesgue(torch: Any, u: Any, v: Any, k: int) -> Any:
    (apart,) = in_components(k, torch.relu(u - v))
    return -torch.expm1(-apart.mean(-1)).sum(-1)


PEERS = {"textbook": textbook, "sorted_once": sorted_once, "lebesgue": lebesgue}


# ---------------------------------------------------------------------------------------------------------------------
# Cases


def all_pairs(
    kl: tuple[int, int],
    n: int,
    *,
    peer: str = "textbook",
    gradient: bool = False,
    dtype: str = "float32",
    rows: int | None = None,
) -> Case:
    """All pairs of n points with n; the peer is given the first `rows` of them, and n / rows times its time counts."""
    quasimetric, torch = needed()
    k, D, rows = kl[0], kl[0] * kl[1], min(n, rows or n)
    u, v, g = map(torch.from_numpy, points((n, D), (n, D), (n, n), dtype=dtype))
    call = quasimetric.pqe_pairwise if peer == "lebesgue" else quasimetric.iqe_pairwise

    def ours(x: Any, y: Any) -> Any:
        return call(x, y, components=k)

    def theirs(x: Any, y: Any) -> Any:
        return PEERS[peer](torch, x[:rows, None], y[None], k)

    return case_of(torch, ours, theirs, u, v, (g, g[:rows]), n / rows, gradient)


def pairs(
    kl: tuple[int, int], count: int, *, peer: str = "textbook", gradient: bool = False, dtype: str = "float32"
) -> Case:
    """Pairs, one by one."""
    quasimetric, torch = needed()
    k, D = kl[0], kl[0] * kl[1]
    u, v, g = map(torch.from_numpy, points((count, D), (count, D), (count,), dtype=dtype))
    call = quasimetric.pqe if peer == "lebesgue" else quasimetric.iqe
    return case_of(
        torch,
        lambda x, y: call(x, y, components=k),
        lambda x, y: PEERS[peer](torch, x, y, k),
        u,
        v,
        (g, g),
        1.0,
        gradient,
    )


def case_of(torch: Any, ours: Any, theirs: Any, u: Any, v: Any, g: Any, factor: float, gradient: bool) -> Case:
    apart = distance_apart(ours(u, v)[: g[1].shape[0]], theirs(u, v))
    if not gradient:
        return lambda: ours(u, v), lambda: theirs(u, v), factor, apart
    x, y = u.clone().requires_grad_(), v.clone().requires_grad_()

    def derivative(distances: Any, bars: Any) -> Callable[[], Any]:
        return lambda: torch.autograd.grad((distances(x, y) * bars).sum(), (x, y))

    return derivative(ours, g[0]), derivative(theirs, g[1]), factor, apart


def cdist(kl: tuple[int, int], n: int, *, dtype: str = "float32") -> Case:
    """The floor: torch's sums of absolute differences of the same points, which is another distance."""
    quasimetric, torch = needed()
    k, D = kl[0], kl[0] * kl[1]
    u, v = map(torch.from_numpy, points((n, D), (n, D), dtype=dtype))
    return (
        lambda: quasimetric.iqe_pairwise(u, v, components=k),
        lambda: torch.cdist(u, v, p=1.0),
        1.0,
        math.nan,
    )


def gaussian_pairs(kl: tuple[int, int], n: int, *, dtype: str = "float64") -> Case:
    """All pairs under a Gaussian measure, against scipy."""
    quasimetric, _ = needed()
    k, D = kl[0], kl[0] * kl[1]
    u, v = points((n, D), (n, D), dtype=dtype)

    def ours() -> Any:
        return quasimetric.pqe_pairwise(u, v, components=k, measure="gaussian")

    def theirs() -> Any:
        return gaussian(u.astype(np.float64), v.astype(np.float64), k)

    return ours, theirs, 1.0, distance_apart(ours(), theirs())


def gaussian(u: Any, v: Any, k: int) -> Any:
    """The published formulas at variance and scale 1; the rates are those of two Poisson numbers."""
    from scipy.special import ndtr
    from scipy.stats import ncx2

    l, w = u.shape[-1] // k, 0.5
    a, b = np.broadcast_arrays(u[:, None], v[None])

    def mass(x: Any) -> Any:
        return np.exp(-x * x / 4.0) / math.sqrt(4.0 * math.pi)

    middle, low, high = (a + b) / 2.0, np.minimum(a, b), np.maximum(a, b)
    common = ndtr((middle - high * w) / math.sqrt(w)) * mass(high) + ndtr((low * w - middle) / math.sqrt(w)) * mass(low)
    r1, r2 = (np.maximum(mass(x) - common, 0.0) / l for x in (a, b))
    exceeds = ncx2.cdf(2.0 * np.maximum(r1, 1e-300), 2, 2.0 * r2)
    return -np.expm1(np.log1p(-exceeds).reshape(*a.shape[:-1], k, l).sum(-1)).sum(-1)


def jitted(kl: tuple[int, int], n: int, *, gradient: bool = False) -> Case:
    """All pairs in jax, both sides compiled and warm."""
    quasimetric, _ = needed()
    try:
        import jax
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
    k, D = kl[0], kl[0] * kl[1]
    u, v, g = map(jax.numpy.asarray, points((n, D), (n, D), (n, n)))

    def ours(x: Any, y: Any) -> Any:
        return quasimetric.iqe_pairwise(x, y, components=k)

    def theirs(x: Any, y: Any) -> Any:
        return jax_textbook(jax, x[:, None], y[None], k)

    apart = distance_apart(*(jax.jit(f)(u, v) for f in (ours, theirs)))

    def compiled(f: Any) -> Callable[[], Any]:
        made = jax.jit(jax.grad(lambda x, y: (f(x, y) * g).sum(), (0, 1)) if gradient else f)
        jax.block_until_ready(made(u, v))  # type: ignore[no-untyped-call]
        return lambda: jax.block_until_ready(made(u, v))  # type: ignore[no-untyped-call]

    return compiled(ours), compiled(theirs), 1.0, apart


def jax_textbook(jax: Any, u: Any, v: Any, k: int) -> Any:
    """As `textbook`; the order is sorted along with the ends."""
    jnp = jax.numpy
    u, v = jnp.broadcast_arrays(*(x.reshape(*x.shape[:-1], k, x.shape[-1] // k) for x in (u, v)))
    ends = jnp.concatenate([u, jnp.maximum(u, v)], -1)
    places = jnp.broadcast_to(jnp.arange(ends.shape[-1]), ends.shape)
    ends, order = jax.lax.sort((ends, places), num_keys=1)
    covered = jnp.cumsum(jnp.where(order < u.shape[-1], 1, -1), -1)[..., :-1] > 0
    parts = ((ends[..., 1:] - ends[..., :-1]) * covered).sum(-1)
    return ALPHA * parts.max(-1) + (1.0 - ALPHA) * parts.mean(-1)
