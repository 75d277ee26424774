"""
Four years of tides, a month at a time
======================================

A tide gauge writes down the height of the sea every three minutes. The tide is a sum of waves whose speeds astronomy
knows to many digits; their amplitudes and phases belong to the harbour and are found by least squares, with two
columns, a cosine and a sine, for every wave. Four years make 700,000 rows.

This example never holds that matrix. First dask makes it chunk by chunk, and :func:`equipoise.sketch.lstsq` solves it
in one pass with error bars, or in a few passes to full accuracy. Then the same data come as a stream, and an
:func:`equipoise.sketch.accumulate` keeps a sketch of all that has come, which can be solved at any time.
"""

# %%
# The matrix that is never there
# ------------------------------
# Speeds are in degrees an hour. ``S2`` and ``K2`` are both close to two waves a day and part by one turn in half a
# year; ``Sa`` is the wave of the year. Nobody can tell such waves apart in a week, whatever the solver.

import os
import tempfile

import dask
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq

speeds = {
    "M2": 28.9841042,
    "S2": 30.0,
    "N2": 28.4397295,
    "K2": 30.0821373,
    "K1": 15.0410686,
    "O1": 13.9430356,
    "P1": 14.9589314,
    "Q1": 13.3986609,
    "M4": 57.9682084,
    "MS4": 58.9841042,
    "M6": 86.9523127,
    "Mf": 1.0980331,
    "Mm": 0.5443747,
    "Ssa": 0.0821373,
    "Sa": 0.0410686,
}
names = list(speeds)
rates = np.radians(np.array(list(speeds.values()))) / 20  # three minutes
amplitudes = np.array([2.1, 0.7, 0.4, 0.2, 0.12, 0.1, 0.04, 0.02, 0.15, 0.08, 0.03, 0.02, 0.01, 0.02, 0.06])
phases = np.random.default_rng(0).uniform(0, 2 * np.pi, len(names))
truth = np.concatenate([amplitudes * np.cos(phases), amplitudes * np.sin(phases), [3.4]])

month = 14_610  # rows
months = 48
n, d = month * months, len(truth)
print(f"{n} rows, {d} columns: {8 * n * d / 2**20:.0f} MB")


def waves(start, stop):
    angles = np.arange(start, stop)[:, None] * rates
    return np.hstack([np.cos(angles), np.sin(angles), np.ones((stop - start, 1))])


def heights(start, stop):
    """The tide and the weather, which is noise here."""
    return waves(start, stop) @ truth + 0.15 * np.random.default_rng(start).normal(size=stop - start)


# %%
# Through dask
# ------------
# A chunk is a month. The counter shows how often the matrix is made; were it a file, these would be the times that it
# is read.

made = []


def chunk(block_info=None):
    (start, stop), _ = block_info[None]["array-location"]
    made.append(start)
    return waves(start, stop)


def side(block_info=None):
    return heights(*block_info[None]["array-location"][0])


def lazily(function, *columns):
    chunks = ((month,) * months, *((k,) for k in columns))
    return da.map_blocks(function, chunks=chunks, dtype=float, meta=np.zeros((0,) * len(chunks)))


A, b = lazily(chunk, d), lazily(side)
with dask.config.set(scheduler="threads", num_workers=2):
    once = eq.sketch.lstsq(A, b, epsilon=0.2, rng=0)
    print(f"{once.method}: {len(made) / months:g} pass, {once.sketch_rows} rows remain of {n}")
    made.clear()
    full = eq.sketch.lstsq(A, b)
    print(f"{full.method}: {len(made) / months:g} passes, backward error {float(full.error):.0e}")

# %%
# The error bars of the one pass hold the full solution, in every coordinate at once and with probability 0.95. How
# far is it really?

bound = once.coordinate_bound(0.05)
far = np.abs(once.x - full.x)
print(f"all {d} inside: {bool(np.all(far <= bound))}, the farthest at {np.max(far / bound):.0%} of its bar")
weather = [float(result.residual_norm) / np.sqrt(n) for result in (once, full)]
print(f"weather of {weather[0]:.4f} m by the sketch alone, {weather[1]:.4f} m in full")


def amplitude(x):
    return np.hypot(x[: len(names)], x[len(names) : -1])


figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
place = np.arange(len(names))
axes[0].bar(place, amplitude(full.x), color="C0", alpha=0.7)
axes[0].set(yscale="log", ylabel="amplitude in metres", xticks=place)
axes[0].set_xticklabels(names, rotation=60)
axes[0].set_title("the tide of this harbour", loc="left")
order = np.argsort(full.x)
axes[1].errorbar(np.arange(d), 1e3 * (once.x - full.x)[order], 1e3 * bound[order], fmt=".", color="C1", elinewidth=1)
axes[1].axhline(0, color="C0", lw=1)
axes[1].set(xlabel="coordinate, by size", ylabel="millimetres from the full solution")
axes[1].set_title("one pass, with its bars", loc="left")

# %%
# As a stream
# -----------
# The gauge does not know when it will be switched off, so the sketch is made for an endless stream: ``n=None``. With
# 16 entries a column ``sparse_sign`` allows bounds, and its price does not grow with its rows. ``update`` takes the
# number of the first row, and every row counts once.

S = eq.sketch.sketch_operator("sparse_sign", 4_000, None, s=16, rng=1)
acc = eq.sketch.accumulate(S)
seen = []
for start in range(0, n, month):
    acc = acc.update(waves(start, start + month), heights(start, start + month), start=start)
    result = acc.solve()
    seen.append((result.x, result.coordinate_bound(0.05), float(result.condition)))
print(acc)

# %%
# A month is a small part of the year: ``Sa`` and the mean level look the same, the condition of the matrix says so, and
# the bars are kilometres wide. They close in as the year becomes round, and then stay, at the centimetre that 4,000
# rows buy. The dots are how far the stream was from the solution with all four years.

time = np.arange(1, months + 1)
estimates, bars, conditions = (np.array(column) for column in zip(*seen, strict=True))
figure, axes = plt.subplots(2, 1, figsize=(8, 6.4), sharex=True, height_ratios=(2, 1), layout="constrained")
for name, colour, mark, dashes in (("Sa", "C3", "o", "-"), ("K2", "C1", "s", "--"), ("M4", "C0", "^", ":")):
    k = names.index(name)
    axes[0].semilogy(time, bars[:, k], dashes, color=colour, label=f"bar of {name}")
    off = np.abs(estimates[:, k] - full.x[k])
    axes[0].semilogy(time, off, mark, color=colour, markersize=3.5, alpha=0.7, label=f"{name}, how far off")
axes[0].axhline(amplitudes[names.index("Sa")], color="0.3", lw=0.8, ls="-.", label="amplitude of Sa")
axes[0].set(ylabel="metres")
axes[0].legend(loc="upper right", ncols=2)
axes[1].semilogy(time, conditions, ".-", color="0.3")
axes[1].set(xlabel="months", ylabel="condition")

# %%
# Two gauges, one answer
# ----------------------
# Sketches of different rows add up, in any order. The first two years may have been read on another machine, stored,
# and sent: ``equipoise.save`` writes numbers and settings, a megabyte here, whatever the years.


def years(first, last):
    part = eq.sketch.accumulate(S)
    for start in range(first * 12 * month, last * 12 * month, month):
        part = part.update(waves(start, start + month), heights(start, start + month), start=start)
    return part


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "first.npz")
    eq.save(path, years(0, 2))
    print(f"{os.path.getsize(path) / 2**20:.1f} MB")
    both = years(2, 4) + eq.load(path)

print(f"largest difference from the stream: {np.abs(both.solve().x - acc.solve().x).max():.0e}")

# %%
# Which one?
# ----------
# Where the rows can be read again, read them again: three or four passes are as accurate as a direct solver, whatever
# the condition. One pass is for rows that are gone, or far, or dear, and its answer is as good as its bars say: they
# shrink with the square root of the rows that the sketch keeps.

plt.show()
