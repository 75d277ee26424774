"""
Flights that count
==================

Thousands of flights of a busy carrier say much the same; what a carrier with a handful of flights has to say, only
these say. The leverage score of a row tells how much of a regression hangs on it. This example finds the flights that
count, and shows what a sample of the rows loses that does not know them.
"""

# %%
# Scores
# ------
# The matrix is that of :ref:`the regression <sphx_glr_gallery_plot_flights.py>`, with every fourth flight. A score lies
# between 0 and 1, and all add up to the number of columns: if every flight counted alike, each would have d/n.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq
from equipoise.demo import flights

A, b, names = flights.flights(every=4)
n, d = A.shape
scores = eq.sketch.leverage_scores(A)
print(f"{n:,} flights, {d} columns; the scores add up to {scores.sum():.6f}")
print(f"even share {d / n:.5f}, median {np.median(scores):.5f}, largest {scores.max():.3f}")

# %%
# The largest belong to SkyWest, which had one flight in nine thousand. Together its flights have a score of one: they
# alone decide its coefficient. Next come other rare levels, and hours of heavy rain.

carriers = [k for k, name in enumerate(names) if name.startswith("carrier ")]
short = flights.airlines()
for k in sorted(carriers, key=lambda k: A[:, k].sum())[:4]:
    own = A[:, k] > 0
    each, total = scores[own].mean(), scores[own].sum()
    print(f"{short[names[k][8:]]:10} {own.sum():4} flights, {each:.4f} each, {total:.2f} in all")

others = np.argsort(-np.where(A[:, names.index("carrier OO")] > 0, 0.0, scores))[:200]
rain = A[:, names.index("per 0.1 inch of rain")]
print(f"rain, in tenths of an inch: {rain[others].mean():.1f} at the next 200, {rain.mean():.2f} at all")

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
ax.plot(np.arange(1, n + 1), np.sort(scores)[::-1], label="score")
ax.axhline(d / n, color="0.5", linestyle="--", linewidth=1, label="even share, d/n")
ax.set(xscale="log", yscale="log", xlabel="flights, the largest score first", ylabel="leverage score")
ax.grid(alpha=0.5)
ax.legend(frameon=False)

# %%
# A sample of the rows
# --------------------
# Take m flights with replacement, weight each by one over the root of how often it was to be expected, and solve. With
# even chances small samples never see SkyWest, and nothing can be said about it. With chances in proportion to the
# scores every sample does. Twenty draws each:

exact = eq.sketch.lstsq(A, b).x
watched = {"SkyWest": names.index("carrier OO"), "JetBlue": names.index("carrier B6")}
chances = {"even chances": np.full(n, 1 / n), "by leverage": scores / scores.sum()}
sizes, draws = (1000, 2000, 4000, 8000), 20


def solution(chance, m, seed):
    rows = np.random.default_rng(seed).choice(n, m, p=chance)
    weight = 1 / np.sqrt(m * chance[rows])
    found = np.linalg.lstsq(weight[:, None] * A[rows], weight * b[rows], rcond=None)[0]
    seen = {name: A[rows, k].any() for name, k in watched.items()}
    return {name: found[k] - exact[k] if seen[name] else np.nan for name, k in watched.items()}


off = {way: [[solution(chance, m, seed) for seed in range(draws)] for m in sizes] for way, chance in chances.items()}
for way, rows in off.items():
    for m, runs in zip(sizes, rows, strict=True):
        never = sum(np.isnan(run["SkyWest"]) for run in runs)
        print(f"{way:13} {m:5} rows: SkyWest not seen in {never:2} of {draws} samples")

# %%
# Dots are single samples. Where there are many flights, as JetBlue has, the two ways are alike; for the rare carrier
# the scores are what makes the sample of use at all, though nine flights say little about it in any case.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, name in zip(axes, watched, strict=True):
    for (way, rows), shift, mark in zip(off.items(), (0.93, 1.07), "os", strict=True):
        for m, runs in zip(sizes, rows, strict=True):
            label = way if m == sizes[0] else None
            there = [run[name] for run in runs]
            ax.plot(np.full(draws, m * shift), there, mark, color="C0" if mark == "o" else "C1", ms=4, label=label)
    ax.axhline(0, color="0.5", linewidth=0.8)
    ax.set(xscale="log", xlabel="rows of the sample", title=name)
    ax.set_xticks(sizes, [f"{m:,}" for m in sizes])
    ax.minorticks_off()
    ax.grid(axis="y", alpha=0.5)
axes[0].set_ylabel("minutes from the coefficient of all flights")
axes[0].legend(frameon=False)

# %%
# When to take what
# -----------------
# To see on which rows a fit depends, take the scores as they are. To solve the problem, mix the rows instead of picking
# some: ``lstsq(A, b, epsilon=...)`` needs no scores, and its error bars tell what the sketch did not see. Where rows
# are dear, because each is a measurement that is still to be made, a sample by the scores sees to every column.
plt.show()
