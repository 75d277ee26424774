"""
PSGD in a training script of optax
==================================

An autoencoder squeezes scikit-learn's digits through eight numbers. Its layers differ in curvature, and first-order
methods crawl on it. The step is compiled by ``jax.jit``, the rate follows a schedule, and one line decides which
optimizer it is. A run is stored in the middle and goes on bit for bit.
"""

# %%
# The script
# ----------
# ``tx`` is any transformation of optax. The batch of step k is drawn from k, so that it needs no place in a checkpoint.

import itertools
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from equipoise_jax import psgd
from sklearn.datasets import load_digits

import equipoise as eq

images = jnp.asarray(load_digits().data / 16, jnp.float32)
mean = images.mean(axis=0)
sizes, steps = (64, 32, 8, 32, 64), 800


def start(seed=0):
    draw = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(sizes))
    weights = [jnp.asarray(draw.standard_normal(pair) / np.sqrt(pair[0]), jnp.float32) for pair in pairs]
    return {"weights": weights, "biases": [jnp.zeros(b, jnp.float32) for _, b in pairs]}


def through(params, x):
    for k, (W, b) in enumerate(zip(params["weights"], params["biases"], strict=True)):
        x = x @ W + b
        x = jnp.tanh(x) if k < len(sizes) - 2 else x
    return x


def loss(params, x):
    return jnp.mean(jnp.sum((through(params, x - mean) - (x - mean)) ** 2, axis=1))


def trainer(tx):
    """One compiled step: parameters, the optimizer's state and the number of the step in, and the loss beside them."""

    @jax.jit
    def step(params, state, k):
        rows = jax.random.choice(jax.random.fold_in(jax.random.key(0), k), len(images), (128,), replace=False)
        value, grads = jax.value_and_grad(loss)(params, images[rows])
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    return step


def learn(step, params, state, numbers):
    """The steps of these numbers, and their losses."""
    losses = []
    for k in numbers:
        params, state, value = step(params, state, k)
        losses.append(value)
    return params, state, np.array(losses)


# %%
# The line
# --------
# Each transformation has a rate that was picked by trying: three times as much is worse for each of them, and makes
# SGD diverge; a third is worse too.


def cosine(rate):
    return optax.cosine_decay_schedule(rate, steps)


transformations = {
    "SGD with momentum": optax.sgd(cosine(0.1), momentum=0.9),
    "Adam": optax.adam(cosine(0.1)),
    "PSGD": psgd(cosine(0.01)),  # this one
}

curves, trainers, ends = {}, {}, {}
for name, tx in transformations.items():
    step, params = trainer(tx), start()
    state = tx.init(params)
    begin = time.perf_counter()
    jax.block_until_ready(step(params, state, 0))
    compiled, begin = time.perf_counter() - begin, time.process_time()
    params, state, curves[name] = learn(step, params, state, range(steps))
    jax.block_until_ready(params)
    each = 1e3 * (time.process_time() - begin) / steps
    trainers[name], ends[name] = step, params
    print(f"{name:18} loss {loss(params, images):.3f}; compiled in {compiled:.1f} s, {each:.1f} ms a step")

# %%
# Eight principal components, the best that a linear network of this shape can do, are the mark to beat.

singular = np.linalg.svd(np.asarray(images - mean), compute_uv=False)
linear = float(np.sum(singular[8:] ** 2) / len(images))
print(f"eight principal components: {linear:.3f}")

figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
window = np.ones(16) / 16  # losses of single batches jump
smooth = {
    name: np.stack([np.arange(16, steps + 1), np.convolve(curve, window, "valid")], axis=1)
    for name, curve in curves.items()
}
eq.plot.optimizer(smooth, ax=axes)
axes.axhline(linear, color="0.5", linestyle="--", linewidth=1)
axes.annotate(
    "eight principal components", (steps, linear), (0, 4), textcoords="offset points", ha="right", color="0.5"
)
axes.set(xlabel="steps", ylabel="loss on batches, mean of 16", yscale="linear", ylim=(1, 3))

# %%
# To be continued
# ---------------
# The whole state of a run is a tree of arrays. Its leaves go into a file of numpy; its shape needs no storing, for
# ``tx.init`` makes it anew. Another process would do just this, with other parameters to show that all is read.

tx, step = transformations["PSGD"], trainers["PSGD"]
middle = learn(step, start(), tx.init(start()), range(steps // 2))[:2]

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "checkpoint.npz"
    np.savez(file, *jax.tree.leaves(middle))
    print(f"a file of {file.stat().st_size / 1024:.0f} kB")
    empty = start(seed=1), tx.init(start(seed=1))
    with np.load(file) as read:
        params, state = jax.tree.unflatten(jax.tree.structure(empty), [jnp.asarray(x) for x in read.values()])

params, state, losses = learn(step, params, state, range(steps // 2, steps))
for resumed, uninterrupted in zip(jax.tree.leaves(params), jax.tree.leaves(ends["PSGD"]), strict=True):
    assert np.array_equal(resumed, uninterrupted)
assert np.array_equal(losses, curves["PSGD"][steps // 2 :])
print("every parameter and every loss is bit for bit that of the uninterrupted run")

# %%
# What eight numbers keep
# -----------------------

figure, axes = plt.subplots(3, 10, figsize=(9, 2.9), layout="constrained")
shown = images[:10]
for row, (name, params) in zip(axes, [("given", None), ("Adam", ends["Adam"]), ("PSGD", ends["PSGD"])], strict=True):
    pictures = shown if params is None else through(params, shown - mean) + mean
    for axis, picture in zip(row, pictures, strict=True):
        axis.imshow(np.asarray(picture).reshape(8, 8), cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)
plt.show()
