from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from equipoise_jax import psgd as transformation
from equipoise_torch import PSGD

from equipoise.precondition import psgd

A = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 0.1]])
PARAMS = {"W": np.arange(6.0).reshape(3, 2) / 6, "c": np.array([1.0, -1.0])}


def loss(params: Any) -> Any:
    r = A @ params["W"] + params["c"]
    return (r * r).sum() / 2 + (params["c"] ** 4).sum() / 4


def start() -> Any:
    return jax.tree.map(jnp.array, PARAMS)


def run(tx: Any, steps: int, **keywords: Any) -> Any:
    """Parameters after some jitted steps."""
    params, state = start(), tx.init(start())

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        extra = {name: make(params) for name, make in keywords.items()}
        updates, state = tx.update(jax.grad(loss)(params), state, params, **extra)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def hessian(params: Any) -> Any:
    return lambda v: jax.jvp(jax.grad(loss), (params,), (v,))[1]


@pytest.mark.parametrize("pairs", ["whitening", "hessian"])
def test_it_is_the_optimizer_of_torch(pairs: str) -> None:
    p = psgd("kronecker", damping=1e-3)
    keywords = {"hvp": hessian} if pairs == "hessian" else {}
    tx = transformation(0.1, preconditioner=p, pairs=pairs, seed=7, probability=0.6)
    params, state = run(tx, 8, **keywords)
    tensors = {name: torch.tensor(x, requires_grad=True) for name, x in PARAMS.items()}
    other = PSGD(tensors.values(), 0.1, preconditioner=p, pairs=pairs, hvp="exact", seed=7, probability=0.6)
    M = torch.tensor(A)
    for _ in range(8):

        def closure() -> Any:
            r = M @ tensors["W"] + tensors["c"]
            value = (r * r).sum() / 2 + (tensors["c"] ** 4).sum() / 4
            if pairs == "whitening":
                other.zero_grad()
                value.backward()
            return value

        other.step(closure)
    for name, x in tensors.items():
        np.testing.assert_allclose(params[name], x.detach().numpy(), atol=1e-9)
    assert 0 < int(state.inner[0].count) < 8


def test_a_product_and_its_vector() -> None:
    tx = transformation(0.1, preconditioner=psgd("diagonal"), pairs="hessian")
    params, state = start(), tx.init(start())
    g, v = jax.grad(loss)(params), jax.tree.map(jnp.ones_like, start())
    _, one = jax.jit(lambda h, v: tx.update(g, state, params, hvp=h, vector=v))(hessian(params)(v), v)
    expected = psgd("diagonal").update(psgd("diagonal").init(params["c"], rng=1 << 32), v["c"], hessian(params)(v)["c"])
    np.testing.assert_allclose(one.inner[1].q, expected.q)
    with pytest.raises(TypeError, match="pairs='hessian' needs hvp"):
        tx.update(g, state, params)
    with pytest.raises(TypeError, match="vector=, what was multiplied, has to be given too"):
        tx.update(g, state, params, hvp=v)


def test_it_stands_in_a_chain() -> None:
    schedule = optax.cosine_decay_schedule(0.1, 200)
    tx = optax.chain(optax.add_decayed_weights(1e-4), transformation(schedule, preconditioner=psgd("dense")))
    params, _ = run(tx, 150, value=loss)  # extra arguments that are for others are passed over
    assert float(loss(params)) < 0.05 * float(loss(start()))


def test_dtypes() -> None:
    tx = transformation(0.1, preconditioner=psgd("diagonal"))
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones((), jnp.float32)}
    updates, state = jax.jit(lambda x: tx.update(x, tx.init(x), x))(params)
    assert {k: x.dtype for k, x in updates.items()} == {"a": jnp.bfloat16, "b": jnp.float32}
    assert state.inner[0].q.dtype == jnp.float32


def test_bad_input() -> None:
    for settings, sentence in (
        ({"pairs": "newton"}, "pairs must be one of"),
        ({"probability": 1.5}, r"probability must be in \(0, 1\], got 1.5"),
        ({"seed": -1}, r"seed must be in \[0, 2\^32\), got -1"),
        ({"momentum": -0.1}, "momentum must be"),
    ):
        with pytest.raises(ValueError, match=sentence):
            transformation(0.1, **settings)  # type: ignore[arg-type]
