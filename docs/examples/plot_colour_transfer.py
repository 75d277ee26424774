"""
The colours of one photograph in another
========================================

Two photographs are two clouds of points in the colour cube. The optimal plan between the clouds says which colour of
the second stands for which colour of the first, and its barycentric map repaints the first photograph.

The plan is computed between 1500 pixels of each picture, without a matrix of their distances. The potential `g` then
extends the map to every other colour.
"""

# %%
# Two clouds of colours
# ---------------------
# Both photographs ship with scikit-learn. A pixel is a point with three coordinates between 0 and 1.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import equipoise as eq

source = load_sample_image("china.jpg") / 255.0
target = load_sample_image("flower.jpg") / 255.0

rng = np.random.default_rng(0)
x = rng.choice(source.reshape(-1, 3), 1500, replace=False)
y = rng.choice(target.reshape(-1, 3), 1500, replace=False)

# %%
# The plan between them
# ---------------------
# The cost is the squared distance in the colour cube, so `epsilon` is a squared distance too: colours closer than
# ``sqrt(epsilon)`` are treated nearly alike. That is 0.07 for ``epsilon = 0.005``, or 18 of the 255 levels of a
# channel, and 0.22 for ``epsilon = 0.05``, or 57 levels. ``PointCloud`` stands where a matrix of costs does: distances
# are computed where they are used, and memory grows with the number of colours, not with its square.

cost = eq.transport.PointCloud(x, y)
results = [eq.transport.sinkhorn(cost, epsilon=epsilon) for epsilon in (0.005, 0.05)]
for result in results:
    print(f"epsilon {result.epsilon:g}: {result.status.name} after {result.steps} sweeps,", end=" ")
    print(f"mean squared change of colour {result.transport_cost:.3f}")

# %%
# From the sample to every pixel
# ------------------------------
# On the sample the map is ``result.apply(y) / result.a[:, None]``: each colour goes to the mean of what it is matched
# with. For any other colour z the weights of that mean are proportional to ``b_j exp((g_j - |z - y_j|^2)/epsilon)``.
# A cloud of some colours z is small enough to be written out as a matrix.
# The photograph has fewer colours than pixels, so each colour is mapped once.


def repaint(colours, result):
    scores = (result.g - eq.transport.PointCloud(colours, y).dense()) / result.epsilon
    weights = result.b * np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ y / weights.sum(axis=1, keepdims=True)


on_sample = [result.apply(y) / result.a[:, None] for result in results]
apart = np.abs(repaint(x, results[0]) - on_sample[0]).max()
print(f"on the sample the two forms differ by {apart:.0e} at most")

colours, where = np.unique(source.reshape(-1, 3), axis=0, return_inverse=True)
print(f"{where.size} pixels, {len(colours)} colours")


def painted(result):
    blocks = np.array_split(colours, 60)  # bounds the memory
    mapped = np.concatenate([repaint(block, result) for block in blocks])
    return mapped[where.ravel()].reshape(source.shape)


# %%
# The pictures
# ------------
# The plan must use all colours of the flower, and most of them are dark, so half of the sky turns dark as well. A
# small `epsilon` splits the sky along a sharp line, which even shows the blocks of the JPEG file. A larger one
# blends.

pictures = {
    "source": source,
    "target": target,
    "epsilon = 0.005": painted(results[0]),
    "epsilon = 0.05": painted(results[1]),
}
figure, axes = plt.subplots(2, 2, figsize=(10, 7.2), layout="constrained")
for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=True):
    axis.imshow(np.clip(picture, 0, 1))
    axis.set_title(title, loc="left")
    axis.set_axis_off()

# %%
# The clouds
# ----------
# Every dot is a pixel of the sample, in its own colour, in the plane of red and blue. With the small `epsilon` the
# mapped cloud fills most of the target's. The large one pulls the colours together: every image is a mean of many.

figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), sharex=True, sharey=True, layout="constrained")
for axis, cloud, title in zip(axes, (x, y, *on_sample), pictures, strict=True):
    red, _, blue = cloud.T
    axis.scatter(red, blue, c=np.clip(cloud, 0, 1), s=12, edgecolors="0.6", linewidths=0.2)
    axis.set(xlabel="red", aspect="equal", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    axis.set_title(title, loc="left", fontsize="medium")
axes[0].set_ylabel("blue")
plt.show()
