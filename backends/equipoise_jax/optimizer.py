"""PSGD as an optax transformation: trees of gradients in, what the portable step makes of them out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from equipoise.checks import number
from equipoise.precondition import Psgd
from equipoise.precondition import psgd as settings_of
from equipoise.precondition.checks import check_number, check_word
from equipoise.precondition.common import wide_dtype
from equipoise.precondition.draws import coin, seed_of
from equipoise.precondition.fit import check_psgd
from equipoise.precondition.moving import first_state
from equipoise.precondition.optimizer import check_clip, directed, drawn, refreshed

__all__ = ["PsgdState", "psgd"]

Scalar = float | np.generic | jax.Array


class PsgdState(NamedTuple):
    """Steps taken, and two trees like the parameters: the momentum, and the state of the preconditioner of each leaf.

    A leaf of `inner` is a record of arrays, and None where the parameter is empty. ``optax.tree_map_params`` with more
    trees than the state needs ``is_leaf=lambda x: isinstance(x, equipoise.precondition.states.State)`` therefore.
    """

    count: Any
    momentum: Any
    inner: Any


def psgd(
    learning_rate: Scalar | Callable[[Any], Any],
    *,
    preconditioner: Psgd | None = None,
    pairs: str = "whitening",
    momentum: Scalar = 0.9,
    clip: Scalar | tuple[float, float] | None = (2.0, 10.0),
    probability: Scalar = 1.0,
    seed: int | np.integer[Any] | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Stochastic gradients, preconditioned on a Lie group that is fitted as the optimizer runs, for optax.

    Take it where gradients are noisy and badly scaled. Do not take it for a smooth function that is known exactly:
    ``optax.lbfgs`` needs a fraction of the steps.

    Parameters
    ----------
    learning_rate : float or schedule
        A number, or a function of the step 0, 1, ... Numbers, here and below, may be arrays of shape () and traced, as
        ``optax.inject_hyperparams`` makes them.
    preconditioner : Psgd, optional
        ``equipoise.precondition.psgd("kronecker")`` by default; one state a leaf, float32 for leaves of half precision.
        The rank of "low_rank" is at most the size of a leaf: a small one takes its size.
    pairs : {"whitening", "hessian"}
        What is evened out: the second moment of the gradients, or the curvature. For the latter ``update(grads, state,
        params, hvp=...)`` takes a function from trees to trees, v to H v, and draws a fresh v every step; or it takes
        the product as `hvp` and v as `vector`. A v that is not fresh every step makes the fit diverge. Under
        ``optax.masked`` and ``optax.multi_transform``, which hide leaves, only the latter can be, with
        ``mask_compatible_extra_args=True``.
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
        If a setting is out of its range; at `init`, if a leaf is complex or holds whole numbers; at an update, if the
        gradients are no tree like the parameters, and with "hessian", if `hvp` is missing, or is no function and
        `vector` is missing, or is a function where leaves are hidden.

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
    rate = learning_rate if callable(learning_rate) else known("learning_rate", learning_rate, "at least 0")
    momentum = known("momentum", momentum, "in [0, 1)", 1.0)
    clip = check_clip(clip) if clip is None or isinstance(clip, (tuple, list)) else known("clip", clip, "positive")
    clip = check_clip(clip) if isinstance(clip, float) else clip
    chance = known("probability", probability, "in (0, 1]")
    if isinstance(chance, float) and not 0 < chance <= 1:
        raise ValueError(f"probability must be in (0, 1], got {probability}")
    seed = known_seed(seed)

    def init(params: Any) -> PsgdState:
        leaves, tree = jax.tree_util.tree_flatten_with_path(params)
        moments = [jnp.zeros(jnp.shape(x), resting(path, x)) for path, x in leaves]
        inner = [begun(p, m, k, seed) for k, m in enumerate(moments)]
        momenta, states = (jax.tree.unflatten(tree, side) for side in (moments, inner))
        return PsgdState(jnp.zeros((), jnp.int32), momenta, states)

    def update(
        updates: Any, state: PsgdState, params: Any = None, *, hvp: Any = None, vector: Any = None, **others: Any
    ) -> tuple[Any, PsgdState]:
        tree: Any
        leaves, tree = jax.tree.flatten(updates)
        check_tree(tree, state.momentum)
        state = jax.tree.map(jnp.asarray, state)  # of numpy arrays, if it was stored
        leaves, moments, t = [jnp.asarray(g) for g in leaves], jax.tree.leaves(state.momentum), state.count + 1
        slopes = [g.astype(m.dtype) for g, m in zip(leaves, moments, strict=True)]
        if pairs == "hessian":
            check_product(hvp, vector, updates)

        def moved(inner: tuple[Any, ...]) -> tuple[Any, ...]:
            if pairs == "whitening":
                sides: list[Any] = [(None, g) for g in slopes]
            else:
                v = vector
                if callable(hvp):
                    fresh = [
                        g if s is None else drawn(s, m).astype(g.dtype)
                        for s, m, g in zip(inner, moments, leaves, strict=True)
                    ]
                    v = jax.tree.unflatten(tree, fresh)
                product = hvp(v) if callable(hvp) else hvp
                flat = [flattened(tree, name, side) for name, side in (("vector", v), ("hvp", product))]
                sides = [
                    tuple(lax.stop_gradient(jnp.asarray(x)).astype(m.dtype) for x in one)
                    for *one, m in zip(*flat, moments, strict=True)
                ]
            return tuple(None if s is None else refreshed(p, s, *side) for s, side in zip(inner, sides, strict=True))

        inner = tuple(tree.flatten_up_to(state.inner))
        if isinstance(chance, float) and chance == 1.0:
            inner = moved(inner)
        elif any(s is not None for s in inner):
            due = coin(coin_seed(inner), t, chance)
            inner = lax.cond(due, moved, lambda inner: inner, inner)
        made = [
            (m, g) if s is None else directed(p, s, m, averaged(m, g, t, momentum), t, momentum=0.0, clip=clip)
            for s, m, g in zip(inner, moments, slopes, strict=True)
        ]
        size = rate(state.count) if callable(rate) else rate
        steps = [(-size * u).astype(g.dtype) for (_, u), g in zip(made, leaves, strict=True)]
        momenta, states = (jax.tree.unflatten(tree, side) for side in ([m for m, _ in made], inner))
        return jax.tree.unflatten(tree, steps), PsgdState(t, momenta, states)

    return optax.GradientTransformationExtraArgs(init, update)


# ---------------------------------------------------------------------------------------------------------------------
# Settings


def known(name: str, x: Any, demand: str, high: float = math.inf) -> Any:
    """A number in [0, high) as a float, or as it is where its value cannot be read now."""
    value = number(name, x)
    return x if value is None else check_number(name, value, demand, 0.0, high)


def known_seed(seed: Any) -> Any:
    """A seed as an int, or as it is where its value cannot be read now."""
    array = isinstance(seed, (jax.Array, np.generic, np.ndarray)) and jnp.issubdtype(seed.dtype, jnp.integer)
    if isinstance(seed, bool) or not (isinstance(seed, int) or (array and jnp.ndim(seed) == 0)):
        raise TypeError(f"seed must be an int in [0, 2^32), got {type(seed).__name__}")
    if number("seed", seed) is None:
        return seed
    if not 0 <= int(seed) < 2**32:
        raise ValueError(f"seed must be in [0, 2^32), got {int(seed)}")
    return int(seed)


# ---------------------------------------------------------------------------------------------------------------------
# Leaves


def resting(path: Any, x: Any) -> Any:
    """The dtype of the state of a leaf."""
    dtype = jax.dtypes.canonicalize_dtype(jnp.result_type(x))
    if not jnp.issubdtype(dtype, jnp.floating):
        place = jax.tree_util.keystr(path) or "the only leaf"
        raise TypeError(
            f"params must hold real floating-point numbers, got dtype {dtype} at {place}; "
            "leave it out with optax.masked"
        )
    return jnp.float32 if dtype.itemsize <= 2 else dtype


def begun(p: Psgd, m: Any, place: int, seed: Any) -> Any:
    """The first state of leaf number `place`; None if it is empty."""
    if not m.size:
        return None
    p = replace(p, rank=min(p.rank, m.size))
    if isinstance(seed, int):
        return p.init(m, rng=(place << 32) + seed)
    jax.eval_shape(p.init, m)  # its checks
    words = seed_of(place << 32, m)
    return first_state(p, m, words.at[0].set(seed.astype(words.dtype)))


def coin_seed(inner: tuple[Any, ...]) -> Any:
    """The two words that the coin of all leaves is tossed with: those of leaf 0."""
    return next(s for s in inner if s is not None).seed.at[1].set(0)


def averaged(m: Any, g: Any, t: Any, momentum: Any) -> Any:
    """The momentum after gradient number t; a plain mean at first."""
    if isinstance(momentum, float) and momentum == 0.0:
        return g
    wide = t.astype(wide_dtype(jnp))
    share = jnp.minimum(wide / (1.0 + wide), momentum).astype(g.dtype)
    return share * m + (1.0 - share) * g


# ---------------------------------------------------------------------------------------------------------------------
# Trees


def check_tree(tree: Any, momentum: Any) -> None:
    """Gradients are a tree like the parameters."""
    expected = jax.tree.structure(momentum)
    if tree != expected:
        raise ValueError(
            f"the gradients must be a tree like the parameters, {expected}, got {tree}: None cannot stand for an array"
        )


def flattened(tree: Any, name: str, side: Any) -> list[Any]:
    """The leaves of v or H v."""
    try:
        return list(tree.flatten_up_to(side))
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be a tree like the gradients, {tree}, got {jax.tree.structure(side)}; optax.masked and "
            "multi_transform pass it on with mask_compatible_extra_args=True"
        ) from None


def check_product(hvp: Any, vector: Any, updates: Any) -> None:
    """A function from trees to trees, or a product and its vector."""
    if hvp is None:
        raise TypeError("pairs='hessian' needs hvp: update(grads, state, params, hvp=...)")
    if not callable(hvp) and vector is None:
        raise TypeError("hvp is a product, so that vector=, what was multiplied, has to be given too")
    hidden = jax.tree.leaves(updates, is_leaf=lambda x: isinstance(x, optax.MaskedNode))
    if callable(hvp) and any(isinstance(x, optax.MaskedNode) for x in hidden):
        raise TypeError(
            "hvp cannot be a function under optax.masked or multi_transform, which hide leaves from it; pass the "
            "product as hvp and what was multiplied as vector, with mask_compatible_extra_args=True"
        )
