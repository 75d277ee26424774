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
from equipoise.precondition.states import State

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
    assert 0 < int(state.inner["W"].count) < 8


def test_a_product_and_its_vector() -> None:
    tx = transformation(0.1, preconditioner=psgd("diagonal"), pairs="hessian")
    params, state = start(), tx.init(start())
    g, v = jax.grad(loss)(params), jax.tree.map(jnp.ones_like, start())
    _, one = jax.jit(lambda h, v: tx.update(g, state, params, hvp=h, vector=v))(hessian(params)(v), v)
    expected = psgd("diagonal").update(psgd("diagonal").init(params["c"], rng=1 << 32), v["c"], hessian(params)(v)["c"])
    np.testing.assert_allclose(one.inner["c"].q, expected.q)
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
    assert state.inner["a"].q.dtype == jnp.float32


SMALL = {"W": jnp.ones((3, 2)), "c": jnp.ones(2)}  # also the gradients


def test_a_state_is_donated() -> None:
    tx = transformation(0.1)
    step = jax.jit(tx.update, donate_argnums=1)
    _, state = step(SMALL, tx.init(SMALL))
    _, state = step(SMALL, state)
    assert int(state.count) == 2


def test_injected_numbers() -> None:
    """All of them are arrays then, and traced in a step: the run is the same."""
    settings = {"momentum": 0.8, "probability": 0.5, "seed": 3, "clip": 1.0, "preconditioner": psgd("diagonal")}
    plain = transformation(0.1, **settings)  # type: ignore[arg-type]
    for rate in (0.1, optax.constant_schedule(0.1)):
        injected = optax.inject_hyperparams(transformation)(learning_rate=rate, **settings)
        one, other = jax.jit(plain.init)(SMALL), jax.jit(injected.init)(SMALL)
        step, same = jax.jit(plain.update), jax.jit(injected.update)
        for _ in range(4):
            expected, one = step(SMALL, one, SMALL)
            found, other = same(SMALL, other, SMALL)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-14), found, expected)
        assert int(other.inner_state.inner["W"].count) == int(one.inner["W"].count) > 0


@pytest.mark.parametrize("number", [np.float32(0.125), np.array(0.125), jnp.array(0.125)])
def test_numbers_that_are_no_floats(number: Any) -> None:
    tx = transformation(number, momentum=number, probability=jnp.ones(()), preconditioner=psgd("scaled"))
    other = transformation(0.125, momentum=0.125, preconditioner=psgd("scaled"))
    params = {"c": jnp.ones(2)}
    one, two = (t.update(params, t.init(params))[0]["c"] for t in (tx, other))
    np.testing.assert_array_equal(one, two)


def test_hidden_leaves() -> None:
    params, mask = SMALL, {"W": True, "c": False}
    tx = transformation(0.1, pairs="hessian", preconditioner=psgd("diagonal"))
    hidden = optax.masked(tx, mask)
    with pytest.raises(TypeError, match=r"hvp cannot be a function under optax.masked or multi_transform"):
        hidden.update(params, hidden.init(params), params, hvp=lambda v: v)
    with pytest.raises(ValueError, match=r"vector must be a tree like the gradients.*mask_compatible_extra_args=True"):
        hidden.update(params, hidden.init(params), params, hvp=params, vector=params)
    hidden = optax.masked(tx, mask, mask_compatible_extra_args=True)
    updates, state = hidden.update(params, hidden.init(params), params, hvp=params, vector=params)
    np.testing.assert_array_equal(updates["c"], params["c"])
    assert int(state.inner_state.inner["W"].count) == 1


def test_a_state_is_a_tree_like_the_parameters() -> None:
    tx = optax.masked(transformation(0.1, preconditioner=psgd("diagonal")), {"W": True, "c": True})
    state = tx.init(SMALL)
    doubled = optax.tree_map_params(tx, lambda x: 2 * x, state)
    np.testing.assert_array_equal(doubled.inner_state.inner["W"].q, 2 * np.ones(6))
    assert int(doubled.inner_state.count) == 0
    named = optax.tree_map_params(
        tx, lambda _, name: name, state, {"W": "w", "c": "b"}, is_leaf=lambda x: isinstance(x, State)
    )
    assert named.inner_state.momentum == named.inner_state.inner == {"W": "w", "c": "b"}


def test_small_and_empty_leaves() -> None:
    params = {"empty": jnp.ones((0, 3)), "c": jnp.ones(2), "W": jnp.ones((3, 4))}
    tx = transformation(0.1, preconditioner=psgd("low_rank"), pairs="hessian", probability=0.9)
    updates, state = jax.jit(lambda g, s: tx.update(g, s, hvp=lambda v: v))(params, tx.init(params))
    assert updates["empty"].shape == (0, 3)
    assert state.inner["empty"] is None
    assert [state.inner[name].W.size for name in ("c", "W")] == [2 * 2 * 2, 2 * 12 * 10]


def test_arrays_of_numpy_and_numbers() -> None:
    tx = transformation(0.1, preconditioner=psgd("diagonal"))
    with jax.enable_x64(False):
        params = {"a": np.ones(3), "b": 1.0}
        state = jax.tree.map(np.asarray, tx.init(params))  # as it comes from a file
        updates, state = tx.update(params, state)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(updates))
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
    for leaf in (jnp.arange(3), jnp.ones(3, jnp.complex64), 1):
        with pytest.raises(TypeError, match=r"params must hold real floating-point numbers, got dtype .* at \['n'\]"):
            tx.init({"n": leaf})
    with pytest.raises(ValueError, match="the gradients must be a tree like the parameters"):
        tx.update({"W": SMALL["W"], "c": None}, tx.init(SMALL))


def test_bad_input() -> None:
    for settings, sentence in (
        ({"pairs": "newton"}, "pairs must be one of"),
        ({"probability": 1.5}, r"probability must be in \(0, 1\], got 1.5"),
        ({"seed": -1}, r"seed must be in \[0, 2\^32\), got -1"),
        ({"momentum": -0.1}, "momentum must be"),
    ):
        with pytest.raises(ValueError, match=sentence):
            transformation(0.1, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"learning_rate must be at least 0, got -1\.0"):
        transformation(np.float32(-1.0))
    for bad, sentence in (("seed", "seed must be an int"), ("learning_rate", "learning_rate must be a number")):
        with pytest.raises(TypeError, match=sentence):
            transformation(**{"learning_rate": 0.1, bad: "7"})  # type: ignore[arg-type]
