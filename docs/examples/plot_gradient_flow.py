"""
A letter that flows into another
================================

The Sinkhorn divergence compares two clouds of points by three transport problems, and its gradient moves one cloud
onto the other. Here it turns the letter "e" into the letter "q", in jax. The second row does without the two problems
of the clouds with themselves: then every point is drawn towards a mean, and the letter comes out shrunken.
"""

# %%
# Two clouds
# ----------
# Points drawn at random from the inside of two letters of matplotlib's own font, scaled to a height of 1.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.path import Path
from matplotlib.textpath import TextPath

import equipoise as eq

rng = np.random.default_rng(0)


def glyph(letter, count):
    drawn = TextPath((0, 0), letter, prop={"weight": "bold"})
    outlines = [Path(line) for line in drawn.to_polygons()]
    low, high = drawn.get_extents().get_points()
    tries = low + rng.random((20 * count, 2)) * (high - low)
    # an outline inside another one is a hole
    inside = np.logical_xor.reduce([line.contains_points(tries) for line in outlines])
    points = (tries[inside][:count] - (low + high) / 2) / (high - low)[1]
    return jnp.asarray(points, dtype=jnp.float32)


start, target = glyph("e", 600), glyph("q", 500)

# %%
# Two losses
# ----------
# Neither forms a matrix of costs for itself: the divergence takes points, and ``PointCloud`` stands where a cost does.
# The gradients come from the answers, so jax never sees the sweeps, and what they need grows with the number of
# points and not with its square.

epsilon = 0.01


def divergence(points):
    return eq.transport.sinkhorn_divergence(points, target, epsilon=epsilon).value


def value(points):
    return eq.transport.sinkhorn(eq.transport.PointCloud(points, target), epsilon=epsilon).value


print(f"divergence of e and q {divergence(start):.1e}, of q and itself {divergence(target):g}")

# %%
# The flow
# --------
# A point carries the mass 1/n, so ``n * gradient`` is its velocity. For the squared distance a step of 1/2 would go
# all the way at once; steps of 0.1 show the path.


def flow(loss, steps=30):
    states = [start]
    slope = jax.grad(loss)
    for _ in range(steps):
        points = states[-1]
        states.append(points - 0.1 * len(points) * slope(points))
    return states


flows = {"divergence": flow(divergence), "transport alone": flow(value)}
for name, states in flows.items():
    print(f"by {name}: divergence {divergence(states[-1]):.1e} at the end,", end=" ")
    print(f"height {np.ptp(states[-1][:, 1]):.2f} where the target's is {np.ptp(target[:, 1]):.2f}")

# %%
# Pictures
# --------
# Grey: the target. Colour follows the height at the start, so that it shows where every point came from.

moments = (0, 2, 5, 10, 30)
figure, axes = plt.subplots(2, 5, figsize=(9.6, 4.2), sharex=True, sharey=True, layout="constrained")
for row, (name, states) in zip(axes, flows.items(), strict=True):
    for axis, moment in zip(row, moments, strict=True):
        axis.scatter(*target.T, s=5, color="0.85")
        axis.scatter(*states[moment].T, s=4, c=start[:, 1], cmap="plasma", vmax=0.8)
        axis.set(aspect="equal", xticks=(), yticks=())
        axis.spines[:].set_visible(False)
    row[0].set_ylabel(name)
for axis, moment in zip(axes[0], moments, strict=True):
    axis.set_title(f"step {moment}", loc="left", fontsize="medium")
plt.show()
