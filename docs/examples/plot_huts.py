"""
Huts on a hill: transport with a direction
==========================================

Who goes to which hut for the night, and from which hut does help come? On a hill these are two questions, for the way
up costs more than the way down. This example takes costs with a direction, as exact tables and as distances between
points that :func:`equipoise.quasimetric.fit` has placed, and hands them to :func:`equipoise.transport.sinkhorn`. It
also shows when the direction makes a difference to a plan, and when it makes hardly any.
"""

# %%
# Costs that know up from down
# ----------------------------
# The ground is :ref:`the photograph taken for terrain <sphx_glr_gallery_plot_terrain.py>`: a flower is a hill with a
# cliff around it. Of the 330 places of a coarse grid 120 are drawn for hikers and 12 for huts. ``there`` holds what it
# costs each hiker to walk to each hut, ``back`` what it costs from the hut to the hiker; six steps on even ground
# cost 1.

# sphinx_gallery_thumbnail_number = 2
import warnings

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq
from equipoise.demo.terrain import costs, lattice, slopes, terrain

heights = terrain()
down, right = lattice(heights.shape)
y, x = (grid.ravel() for grid in np.meshgrid(down, right, indexing="ij"))
places = y * heights.shape[1] + x
C = costs(slopes(heights), places)[:, places]

drawn = np.random.default_rng(3).permutation(len(C))
hikers, huts = drawn[:120], drawn[120:132]
there, back = C[np.ix_(hikers, huts)], C[np.ix_(huts, hikers)].T
print(f"to a hut {there.mean():.1f} on average, from it {back.mean():.1f}; they differ by", end=" ")
print(f"{np.abs(there - back).mean():.1f}, at most by {np.abs(there - back).max():.1f}")

# %%
# The table of all costs has 330 x 330 numbers. Points with 64 coordinates each tell them nearly as well, in both
# directions.

with warnings.catch_warnings():
    warnings.simplefilter("ignore", eq.ConvergenceWarning)  # 300 steps do
    found = eq.quasimetric.fit(C, dim=64, components=8, discount=None, max_steps=300)
fitted = found.distances()[np.ix_(hikers, huts)]
print(f"the points err by {np.abs(fitted - there).mean():.2f} on the way there")

# %%
# As many beds as hikers
# ----------------------
# Every hut takes the same number, and every bed is needed. Four plans: for the way there, for the way back, for the
# mean of both, which is what a symmetric distance has to say, and for the way there as the points tell it. The table
# says what each plan costs on either way.

wanted = {"way there": there, "way back": back, "mean of both": (there + back) / 2, "points": fitted}
up = np.ix_(heights.ravel()[places[hikers]] < 0.45, heights.ravel()[places[huts]] > 0.45)


def compare(**settings):
    results = {name: eq.transport.sinkhorn(cost, epsilon=0.2, **settings) for name, cost in wanted.items()}
    print("a plan for          costs there     back    both   climb   moved elsewhere")
    first = results["way there"].plan()
    for name, result in results.items():
        plan = result.plan()
        paid = [np.sum(plan * cost) for cost in (there, back, there + back)]
        elsewhere = np.abs(plan - first).sum() / 2
        print(f"{name:17}{paid[0]:14.2f}{paid[1]:9.2f}{paid[2]:8.2f}{plan[up].sum():8.0%}{elsewhere:18.0%}")
    return results


fixed = compare()

# %%
# The mean is nearly as good on the way there as the plan made for it, and that is no accident. If climbs cost in
# proportion to their height, there and back would differ by a number of the hiker plus a number of the hut, and such
# numbers add the same to all plans that fill all beds: somebody has to go up in any case. Here this is most of the
# difference.

difference = there - back
rest = difference - difference.mean(axis=1, keepdims=True) - difference.mean(axis=0) + difference.mean()
print(f"of the variance of the difference {1 - rest.var() / difference.var():.0%} is of that kind")

# %%
# Room on the floor
# -----------------
# Now a hut may take more than it has beds for, or fewer, at a small price: ``marginal_penalty`` holds for the huts
# only, since every hiker needs a place. Nobody has to climb any more, and the direction counts.

free = compare(marginal_penalty=(None, 1.0))
paid = [np.sum(free[name].plan() * there) for name in ("way there", "way back", "mean of both", "points")]
print("more than need be on the way there:", ", ".join(f"{more / paid[0] - 1:.1%}" for more in paid[1:]))

# %%
# Threads lead from the hikers to the huts. For the night everybody walks down, or stays on the hill if there already.
# Help for those at its foot comes from above. The mean of both is a compromise, and right for the sum of both ways
# alone.

at = np.stack([x, y], axis=1).astype(float)
figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for ax, name in zip(axes, ("way there", "way back", "mean of both"), strict=True):
    ax.imshow(heights, cmap="Greys_r", vmin=-1.2, vmax=0.75)
    eq.plot.matching(at[hikers], at[huts], free[name], threshold=0.15, ax=ax)
    ax.set(xticks=(), yticks=(), title=name)
    ax.get_legend().remove()
figure.legend(ax.collections[1:], ("hiker", "hut"), loc="outside lower center", ncols=2, frameon=False)

# %%
# The same plans as tables. Hikers are sorted by the hut that is nearest to them, huts by height, the highest at the
# right. Along the top is how full the huts are, with a line at their share of beds: for the night the low ones, for
# help the high ones as well.

by_height = np.argsort(heights.ravel()[places[huts]])
order = np.argsort(there[:, by_height].argmin(axis=1), kind="stable")
figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
for ax, name in zip(axes, ("way there", "way back"), strict=True):
    cost = np.ascontiguousarray(wanted[name][order][:, by_height])
    eq.plot.plan(eq.transport.sinkhorn(cost, epsilon=0.2, marginal_penalty=(None, 1.0)), ax=ax)
    ax.set(xlabel="hut, by height", ylabel="hiker", xticks=np.arange(12) + 0.5, xticklabels=range(1, 13))
    ax.set_title(name, pad=40)

# %%
# What to take
# ------------
# With fixed marginals look first at the part of the asymmetry that is no potential: if it is small, a symmetric cost
# does. With free ones, or where the cost itself is of interest, keep the direction. Where the table of all pairs is
# too large, or half of it has never been measured, the points stand in for it: they cost little here.
plt.show()
