"""PSGD as an optax transformation: trees of gradients in, what the portable step makes of them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from equipoise.precondition import Psgd
from equipoise.precondition import psgd as settings_of
from equipoise.precondition.checks import check_number, check_word
from equipoise.precondition.draws import coin, seed_of
from equipoise.precondition.fit import check_psgd
from equipoise.precondition.optimizer import check_clip, check_momentum, directed, drawn, refreshed

__all__ = ["PsgdState", "psgd"]


class PsgdState(NamedTuple):
    """Steps taken, the momentum (a tree like the parameters), and the state of the preconditioner of each leaf."""

    count: Any
    momentum: Any
    inner: tuple[Any, ...]


def psgd(
    learning_rate: float | Callable[[Any], Any],
    *,
    preconditioner: Psgd | None = None,
    pairs: str = "whitening",
    momentum: float = 0.9,
    clip: float | tuple[float, float] | None = (2.0, 10.0),
    probability: float = 1.0,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Stochastic gradients, preconditioned on a Lie group that is fitted as the optimizer runs, for optax.

    Take it where gradients are noisy and badly scaled. Do not take it for a smooth function that is known exactly:
    ``optax.lbfgs`` needs a fraction of the steps.

    Parameters
    ----------
    learning_rate : float or schedule
        A number, or a function of the step 0, 1, ...
    preconditioner : Psgd, optional
        ``equipoise.precondition.psgd("kronecker")`` by default; one state a leaf, float32 for leaves of half precision.
    pairs : {"whitening", "hessian"}
        What is evened out: the second moment of the gradients, or the curvature. For the latter ``update(grads, state,
        params, hvp=...)`` takes a function from trees to trees, v to H v, and draws a fresh v every step; or it takes
        the product as `hvp` and v as `vector`. A v that is not fresh every step makes the fit diverge.
    momentum : float, in [0, 1)
        Of the gradients, before they are preconditioned.
    clip : float, pair or None
        Bound of the root mean square of a leaf's update before the learning rate, and of its entries.
    probability : float, in (0, 1]
        How often the preconditioner is updated.
    seed : int, in [0, 2^32)
        Of all random numbers.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    TypeError, ValueError
        If a setting is out of its range; at an update with "hessian", if `hvp` is missing, or is no function and
        `vector` is missing.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from equipoise_jax import psgd
    >>> loss = lambda x: 50 * x["a"] ** 2 + (x["b"] - 1) ** 2
    >>> params = {"a": jnp.array(1.0), "b": jnp.array(0.0)}
    >>> tx = psgd(0.1)
    >>> state = tx.init(params)
    >>> for _ in range(100):
    ...     updates, state = tx.update(jax.grad(loss)(params), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> bool(loss(params) < 0.1)
    True
    """
    p = settings_of("kronecker") if preconditioner is None else preconditioner
    check_psgd(p)
    check_word("pairs", pairs, ("whitening", "hessian"))
    rate = learning_rate if callable(learning_rate) else check_number("learning_rate", learning_rate, "at least 0", 0.0)
    momentum, clip = check_momentum(momentum), check_clip(clip)
    if not 0 < check_number("probability", probability, "in (0, 1]", 0.0) <= 1:
        raise ValueError(f"probability must be in (0, 1], got {probability}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int in [0, 2^32), got {type(seed).__name__}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2^32), got {seed}")

    def init(params: Any) -> PsgdState:
        moments = jax.tree.map(lambda x: jnp.zeros(x.shape, resting(x)), params)
        inner = tuple(p.init(m, rng=(k << 32) + seed) for k, m in enumerate(jax.tree.leaves(moments)))
        return PsgdState(jnp.zeros((), jnp.int32), moments, inner)

    def update(
        updates: Any, state: PsgdState, params: Any = None, *, hvp: Any = None, vector: Any = None, **others: Any
    ) -> tuple[Any, PsgdState]:
        tree: Any
        leaves, tree = jax.tree.flatten(updates)
        moments, t = jax.tree.leaves(state.momentum), state.count + 1
        slopes = [g.astype(m.dtype) for g, m in zip(leaves, moments, strict=True)]
        if pairs == "hessian":
            check_product(hvp, vector)

        def moved(inner: tuple[Any, ...]) -> tuple[Any, ...]:
            if pairs == "whitening":
                sides = [(None, g) for g in slopes]
            else:
                v = vector
                if callable(hvp):
                    fresh = [drawn(s, m).astype(g.dtype) for s, m, g in zip(inner, moments, leaves, strict=True)]
                    v = jax.tree.unflatten(tree, fresh)
                product = hvp(v) if callable(hvp) else hvp
                flat = [tree.flatten_up_to(side) for side in (v, product)]
                sides = [
                    tuple(lax.stop_gradient(x).astype(m.dtype) for x in one)
                    for *one, m in zip(*flat, moments, strict=True)
                ]
            return tuple(refreshed(p, s, *side) for s, side in zip(inner, sides, strict=True))

        inner = state.inner
        if probability == 1.0:
            inner = moved(inner)
        else:
            due = coin(seed_of(seed, t), t, probability)
            inner = lax.cond(due, moved, lambda inner: inner, inner)
        made = [
            directed(p, s, m, g, t, momentum=momentum, clip=clip)
            for s, m, g in zip(inner, moments, slopes, strict=True)
        ]
        size = rate(state.count) if callable(rate) else rate
        steps = [(-size * u).astype(g.dtype) for (_, u), g in zip(made, leaves, strict=True)]
        momenta = jax.tree.unflatten(tree, [m for m, _ in made])
        return jax.tree.unflatten(tree, steps), PsgdState(t, momenta, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def resting(x: Any) -> Any:
    """The dtype of the state of a leaf."""
    return jnp.promote_types(x.dtype, jnp.float32)


def check_product(hvp: Any, vector: Any) -> None:
    """A function from trees to trees, or a product and its vector."""
    if hvp is None:
        raise TypeError("pairs='hessian' needs hvp: update(grads, state, params, hvp=...)")
    if not callable(hvp) and vector is None:
        raise TypeError("hvp is a product, so that vector=, what was multiplied, has to be given too")
