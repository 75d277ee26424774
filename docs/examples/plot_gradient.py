"""
A cloud flows onto another
==========================

The value of a transport problem is differentiable in the cost, and through it in the points. Points that follow the
negative gradient flow onto the target. The gradient comes from the solution itself; torch never sees the iterations.
"""

# %%
# Two clouds
# ----------

import matplotlib.pyplot as plt
import numpy as np
import torch

import equipoise as eq

rng = np.random.default_rng(0)
n = 300
angle = rng.uniform(0, np.pi, n)
side = rng.integers(0, 2, n)
arcs = np.stack([np.cos(angle) + side, np.where(side, 0.4 - np.sin(angle), np.sin(angle))], axis=1)
target = torch.from_numpy(arcs + rng.normal(0, 0.05, (n, 2)))
start = torch.from_numpy(rng.normal((0.5, 0.2), 0.2, (n, 2)))

# %%
# The loss
# --------
# The entropic value alone draws a cloud together, because it is least for points that are too close to each other.
# Subtracting half of each cloud's value against itself removes that: this is the Sinkhorn divergence.
# :func:`equipoise.transport.sinkhorn_divergence` computes it in one call, from the points. Here it is put together by
# hand: the term of the target is constant, so it is left out of the loss, and each solve starts from the potentials of
# the step before.

epsilon = 0.02


def value(x, y, init=None):
    cost = torch.sum((x[:, None] - y) ** 2, dim=-1)
    result = eq.transport.sinkhorn(cost, epsilon=epsilon, tol=1e-4, init=init)
    return result.value, (result.f.detach(), result.g.detach()), int(result.steps)


# %%
# The flow
# --------
# A point carries the mass 1/n, so ``n * gradient`` is its velocity. For this cost a step of 1/2 would go nearly all
# the way at once; steps of 0.1 show the path.

points = start.clone()
states, sweeps = [points], []
cross = inner = None
for _ in range(30):
    points = points.detach().requires_grad_()
    to_target, cross, first = value(points, target, cross)
    to_itself, inner, second = value(points, points, inner)
    loss = to_target - to_itself / 2
    (gradient,) = torch.autograd.grad(loss, points)
    points = (points - 0.1 * n * gradient).detach()
    states.append(points)
    sweeps.append(first + second)

constant = value(target, target)[0] / 2
final = value(points, target)[0] - value(points, points)[0] / 2 - constant
initial = value(start, target)[0] - value(start, start)[0] / 2 - constant
print(f"divergence {initial:.4f} before, {final:.6f} after")
print(f"sweeps: {sweeps[0]} in the first step, {sweeps[-1]} in the last")

# %%
# Pictures
# --------
# Grey: the target. Colour follows the horizontal coordinate at the start, so that it shows where every point came
# from.

figure, axes = plt.subplots(2, 2, figsize=(8.4, 5.2), sharex=True, sharey=True, layout="constrained")
for axis, count in zip(axes.flat, (0, 3, 8, 30), strict=True):
    axis.scatter(*target.T, s=12, color="0.8")
    axis.scatter(*states[count].T, s=12, c=start[:, 0], cmap="plasma", vmin=-0.1, vmax=1.2)
    axis.set_title(f"after {count} steps", loc="left", fontsize="medium")
    axis.set_aspect("equal")

# %%
# The paths
# ---------
# Where each point went, from the blob in the middle to its place on the arcs.

figure, axis = plt.subplots(figsize=(8.4, 4.2), layout="constrained")
paths = torch.stack(states).numpy()
tints = plt.get_cmap("plasma")(plt.Normalize(-0.1, 1.2)(paths[0, :, 0]))
for k in range(n):
    axis.plot(*paths[:, k].T, color=tints[k], linewidth=0.7, alpha=0.7)
axis.scatter(*paths[-1].T, s=10, color=tints)
axis.set_aspect("equal")
plt.show()
