"""
What a sketch may promise
=========================

A sketch S keeps m mixtures of the n rows of a least-squares problem. That the *residual* of the sketched solution is
nearly as small as can be holds for many kinds of sketches. That *every single coordinate* is nearly right is more, and
does not hold for all. This example looks at a problem that tells them apart, at whether error bars hold as often as
they say, and at how accurate the solvers are that use a sketch only to get started.
"""

# %%
# An instance that is bad for sparse sketches
# -------------------------------------------
# A is the identity above zeros. b is zero beside the identity, and its length 1 is spread over k = 2m/d of the rows
# below. The solution is zero. A sketch with one entry a column throws each of these k rows into one of m buckets; about
# two land where a column of A sits alone, and that coordinate is wrong by exactly 1/sqrt(k). Dense sketches mix
# everything, and errors of coordinates are as small as those of a mean.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq

d, m, n = 64, 1024, 16_384
k = 2 * m // d
A = np.eye(n, d)
b = np.concatenate([np.zeros(d), np.full(k, 1 / np.sqrt(k)), np.zeros(n - d - k)])


def solve(kind, seed, s=8):
    """The sketched solution, of least norm: CountSketch loses columns."""
    S = eq.sketch.sketch_operator(kind, m, n, rng=seed, s=s)
    return np.linalg.lstsq(S @ A, S @ b, rcond=None)[0]


figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.6), sharey=True, layout="constrained")
for ax, kind in zip(axes, ("srht", "countsketch"), strict=True):
    x = solve(kind, seed=3)
    ax.stem(x * np.sqrt(m), basefmt="C7", markerfmt=".")
    ax.set(title=kind, xlabel="coordinate")
axes[0].set_ylabel("error, times sqrt(m)")

# %%
# More rows do not help CountSketch
# ---------------------------------
# Times sqrt(m) its error is sqrt(d/2), whatever m is: relative to what dense sketches allow it grows with the number of
# columns. Lines are medians over 20 sketches, bands hold the middle half of them. The dotted line is what dense
# sketches promise, sqrt(2 ln(2d/delta)).

figure, ax = plt.subplots(figsize=(7, 4.6), layout="constrained")
eq.plot.sketch_comparison(ax=ax)
dashed = ax.get_lines()[-1]
for line in ax.get_lines()[:4]:
    print(f"{line.get_label():20} {line.get_ydata()[-1]:5.1f}   at d = {line.get_xdata()[-1]}")
print(f"{'predicted':20} {dashed.get_ydata()[-1]:5.1f}")

# %%
# That is why ``coordinate_bound`` refuses to speak of such sketches.

try:
    eq.sketch.lstsq(A, b, method="sketch_solve", sketch_rows=m, kind="sparse_sign").coordinate_bound()
except ValueError as error:
    print(error)

# %%
# Do error bars hold as often as they say?
# ----------------------------------------
# A bar for each of the 64 coordinates, all of which have to hold the exact one at once with a probability of 90 %: here
# is how often they did, over 100 seeds, on the bad instance and on an ordinary one. For Gaussian sketches the
# probability is exact, and for the others nearly so.

rng = np.random.default_rng(0)
ordinary = rng.standard_normal((n, d)), rng.standard_normal(n)
truths = {"bad": np.zeros(d), "ordinary": np.linalg.lstsq(*ordinary, rcond=None)[0]}
problems = {"bad": (A, b), "ordinary": ordinary}
for name, (matrix, sides) in problems.items():
    held = 0
    for seed in range(100):
        result = eq.sketch.lstsq(matrix, sides, method="sketch_solve", sketch_rows=m, kind="srht", rng=seed)
        held += np.all(np.abs(result.x - truths[name]) <= result.coordinate_bound(0.1))
    print(f"srht, {name} instance: all {d} bars held in {held} of 100 draws")

# %%
# One of the sketched solutions of the bad instance, with its bars. The exact one is zero everywhere.

figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
eq.plot.coordinates(eq.sketch.lstsq(A, b, method="sketch_solve", sketch_rows=m, kind="srht"), np.zeros(d), ax=ax)

# %%
# When a sketch is only a start
# -----------------------------
# ``cholesky_qr`` and ``spir`` use a sketch to precondition A and then solve the full problem, so their errors are those
# of rounding, whatever the sketch was. The backward error tells: how far would A have to be moved for the answer to be
# exact? Normal equations square the condition number. They lose digits from the beginning, and beyond 1e8 their
# factorisation breaks down; the others do not care.

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
eq.plot.backward_error(ax=ax)
plt.show()
