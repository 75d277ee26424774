"""
Means of handwritten digits
===========================

The mean of two pictures, pixel by pixel, shows both at once. A barycenter moves mass instead: it is the picture whose
transport cost to the inputs is least, and a sweep of the weights turns one digit into another.
"""

# %%
# Threes at random places
# -----------------------
# scikit-learn's digits have 8 x 8 pixels. Sixteen threes are drawn a bit finer, each at a random place on a sheet of
# 24 x 24 pixels. As histograms on these pixels they have a total of 1.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

import equipoise as eq

digits = load_digits()


def finer(images, factor):
    splines = zoom(images, (1, factor, factor), grid_mode=True, mode="grid-constant")
    return np.maximum(splines, 0.0)


def histograms(images):
    return images.reshape(len(images), -1) / images.sum(axis=(1, 2))[:, None]


rng = np.random.default_rng(0)
side = 24
sheets = np.zeros((16, side, side))
for sheet, three in zip(sheets, finer(digits.images[digits.target == 3][:16], 1.5), strict=True):
    top, left = rng.integers(0, side - 11, 2)
    sheet[top : top + 12, left : left + 12] = three
threes = histograms(sheets)

# %%
# Their barycenter
# ----------------
# The cost of moving mass from one pixel to another is their squared distance, so `epsilon` is in squared pixels. The
# blurred barycenter is wider than its inputs, by about ``epsilon / 2`` in the variance; the debiased one takes that
# back.


def squared_distances(side):
    pixels = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1)
    return eq.transport.PointCloud(pixels.reshape(-1, 2).astype(float)).dense()


cost = squared_distances(side)
blurred = eq.transport.barycenter(threes, cost, epsilon=1.0)
debiased = eq.transport.barycenter(threes, cost, epsilon=1.0, debiased=True)
for name, result in (("blurred", blurred), ("debiased", debiased)):
    print(f"{name}: {result.status.name} after {result.steps} steps")

# %%
# The mean of all pixels is a smear. The barycenters are threes, where the threes are on average.

pictures = {
    "one of them": threes[0],
    "another": threes[1],
    "mean": threes.mean(axis=0),
    "barycenter, blurred": blurred.histogram,
    "barycenter, debiased": debiased.histogram,
}
figure, axes = plt.subplots(1, len(pictures), figsize=(9.6, 2.2), layout="constrained")
for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
    axis.imshow(picture.reshape(side, side), cmap="Blues", vmin=0, vmax=threes[:2].max())
    axis.set_title(name, loc="left", fontsize="medium")
    axis.set(xticks=(), yticks=())

# %%
# A sweep of weights
# ------------------
# Four digits in the corners, and between them their barycenters with bilinear weights. Leading axes of the weights are
# a batch, so all of them come from one call. An input of weight 1 is its own debiased barycenter.

side = 16
first = [digits.images[digits.target == digit][0] for digit in (0, 3, 4, 7)]
corners = histograms(finer(np.stack(first), 2))
t = np.linspace(0, 1, 5)
down, across = np.meshgrid(t, t, indexing="ij")
up, back = 1 - down, 1 - across
weights = np.stack([up * back, up * across, down * back, down * across], axis=-1)

cost = squared_distances(side)
sweep = eq.transport.barycenter(corners, cost, weights=weights, epsilon=0.5, debiased=True)
print(f"weights {weights.shape}, histograms {sweep.histogram.shape}, all converged: {sweep.converged.all()}")
apart = np.abs(sweep.histogram[0, 0] - corners[0]).sum()
print(f"a corner differs from its digit by {apart:.0e} in L1")

figure, axis = plt.subplots(figsize=(6.4, 6.4), layout="constrained")
eq.plot.barycenters(sweep, (side, side), ax=axis)
plt.show()
