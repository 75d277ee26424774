"""
Up is not down: a photograph as terrain
=======================================

Take the brightness of a photograph for height, and walk on it. A step down costs its length; a step up costs more, the
steeper the more, so that it pays to go around. The least cost from one place to another is a distance with a direction.
Some 300 places become points, by which all costs between them can be told, and lines of equal cost be drawn.
"""

# %%
# The terrain
# -----------
# Cells of 5 x 5 pixels are places. A step to one of the eight neighbours costs its length if it leads down, and
# ``1 + (slope / 0.015)^2`` times that if it leads up; six steps on even ground cost 1. Costs between all places of a
# coarse grid are exact, by Dijkstra's method.

# sphinx_gallery_thumbnail_number = 2
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq
from equipoise.demo.terrain import costs, lattice, slopes, terrain

heights = terrain()
ways = slopes(heights)
down, right = lattice(heights.shape)
places = (down[:, None] * heights.shape[1] + right).ravel()
far = costs(ways, places)  # from the embedded places to all
C = far[:, places]
n = len(C)
apart = ~np.eye(n, dtype=bool)
print(f"{heights.shape[0]} x {heights.shape[1]} places, {n} of them embedded")
differ = np.abs(C - C.T)[apart].mean()
print(f"costs: mean {C[apart].mean():.1f}, largest {C.max():.1f}; there and back differ by {differ:.1f}")

# %%
# The fit
# -------
# Everything can be reached, so that plain squared errors do, without a discount. The loss goes on falling for a while
# after these 300 steps, but they do for pictures.

start = time.process_time()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", eq.ConvergenceWarning)
    found = eq.quasimetric.fit(C, dim=64, components=8, discount=None, max_steps=300)
seconds = time.process_time() - start
d = found.distances()
print(f"{int(found.steps)} steps, {seconds:.1f} s")
print(f"mean error {np.abs(d - C)[apart].mean():.2f}; that of a symmetric distance is at least {differ / 2:.2f}")

# %%
# A symmetric distance errs by half of the difference between there and back, or more. If climbs cost in proportion to
# their height, a symmetric distance with a potential would do, for there and back would differ as two heights do. Here
# steep climbs are dearer, and it does most of it only. In the mean of squares the best potential is the mean of the
# differences:

difference = C - C.T
potential = difference.mean(axis=1)
rest = difference - (potential[:, None] - potential)
floor = np.mean((difference / 2)[apart] ** 2)
print(
    f"least squared error of a symmetric distance {floor:.2f}, with a potential {np.mean((rest / 2)[apart] ** 2):.2f}"
)
print(f"ours {np.mean((d - C)[apart] ** 2):.2f}")

# %%
# Lines join the way there with the way back.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
eq.plot.distances(found, C, ax=axes[0])
eq.plot.asymmetry(C, ax=axes[1])

# %%
# From a flower, and to it
# ------------------------
# Thin lines are exact, by Dijkstra's method on all places; thick ones are drawn through distances between points. From
# the middle of the flower it is easy to go down, but for the next flower. The way up is over a cliff, from wherever one
# comes.

row, column = np.argmin(np.abs(down - 44)), np.argmin(np.abs(right - 66))
here = row * right.size + column
exact = {"from": far[here], "to": costs(ways.T.tocsr(), places[here])[0]}
fitted = {"from": d[here], "to": d[:, here]}
levels = np.arange(2, d.max(), 2)  # every fourth has its number
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
for ax, name in zip(axes, exact, strict=True):
    ax.imshow(heights, cmap="gray", vmin=heights.min() - np.ptp(heights))
    ax.contour(exact[name].reshape(heights.shape), levels=levels, colors="C0", linewidths=0.8)
    lines = ax.contour(right, down, fitted[name].reshape(down.size, -1), levels=levels, colors="C3", linewidths=1.4)
    ax.clabel(lines, levels[1::4], fontsize="small")
    ax.plot(right[column], down[row], "o", color="C3")
    ax.set(xticks=(), yticks=(), title=f"{name} the dot")
for colour, width, told in (("C0", 0.8, "exact"), ("C3", 1.4, "by the points")):
    axes[0].plot([], [], color=colour, linewidth=width, label=told)
figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()
