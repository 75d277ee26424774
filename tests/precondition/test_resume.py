"""A run of optax that is stored and goes on, bit for bit; that of torch is in test_torch.py, `TestStored`."""

from __future__ import annotations

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from equipoise_jax import psgd as transformation

from equipoise.precondition import psgd


def start(fill: float) -> Any:
    return {"W": jnp.full((3, 2), fill), "c": jnp.full(2, -fill)}


def loss(params: Any, x: Any) -> Any:
    return jnp.mean((jnp.tanh(x @ params["W"]) + params["c"] - x[:, :2]) ** 2)


def test_a_run_goes_on_bit_for_bit() -> None:
    """With vectors that are drawn and a coin that is tossed; `init` makes the shape of the tree anew."""
    tx = optax.chain(
        optax.add_decayed_weights(1e-3),
        transformation(
            optax.cosine_decay_schedule(0.1, 12), preconditioner=psgd("kronecker", form="eq"), probability=0.7, seed=3
        ),
    )

    @jax.jit
    def step(params: Any, state: Any, k: Any) -> Any:
        x = jax.random.normal(jax.random.fold_in(jax.random.key(0), k), (20, 3))
        updates, state = tx.update(jax.grad(loss)(params, x), state, params)
        return optax.apply_updates(params, updates), state

    def go(run: Any, numbers: range) -> Any:
        for k in numbers:
            run = step(*run, k)
        return run

    first = start(0.5), tx.init(start(0.5))
    whole, file = go(first, range(12)), io.BytesIO()
    np.savez(file, *jax.tree.leaves(go(first, range(7))))
    file.seek(0)
    empty = start(9.0), tx.init(start(9.0))
    with np.load(file) as stored:
        middle = jax.tree.unflatten(jax.tree.structure(empty), [jnp.asarray(x) for x in stored.values()])
    rest = go(middle, range(7, 12))
    assert jax.tree.structure(rest) == jax.tree.structure(whole)
    for x, y in zip(jax.tree.leaves(rest), jax.tree.leaves(whole), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
