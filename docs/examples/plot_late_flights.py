"""
Late flights, a sample at a time
================================

Which of the 325,724 flights that left New York in 2013 were late, and what did they have in common? A logistic
regression asks for a zero of the operator ``F(u) = mean_i F_i(u)``, with one component for each flight. Deterministic
methods look at every flight at every step. Variance-reduced Halpern iteration looks at some hundred, and at all of them
only now and then. This example counts the looks.
"""

# %%
# The operator
# ------------
# The same matrix as in :ref:`the regression <sphx_glr_gallery_plot_flights.py>`; the label says whether a flight was
# more than a quarter of an hour late. A small ridge makes the solution unique. Two constants matter: ``lipschitz`` of
# the mean, and ``mean_lipschitz`` of the components. Sampling can gain only where the second is well below sqrt(n)
# times the first, and here it is.

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq
from equipoise.demo import flights

A, delay, names = flights.flights()
late = np.where(delay > 15, 1.0, -1.0)
loss = eq.monotone.LogisticGradient(A, late, 1e-3)
n, u0 = loss.n, np.zeros(A.shape[1])
L = float(loss.lipschitz)
print(f"{n:,} flights, {np.mean(late > 0):.1%} of them late")
print(f"L_F = {L:.2f}, L = {float(loss.mean_lipschitz):.1f}, sqrt(n) L_F = {np.sqrt(n) * L:.0f}")

# %%
# Four ways
# ---------
# Each gets forty epochs, an epoch being as many looks as there are flights. ``halpern_vr`` needs no more; the others
# are nowhere near. A tick marks a restart. In the form with a proof, ``schedule="theory"``, steps follow the steepest
# single component, and are so short that nothing is won: practice is ahead of theory here.

budget = 40
ways = {
    "halpern": lambda: eq.monotone.halpern(loss, u0, lipschitz=L, tol=1e-5, max_steps=budget, check_every=1),
    "extragradient": lambda: eq.monotone.extragradient(
        loss, u0, lipschitz=L, tol=1e-5, max_steps=budget // 2, check_every=1
    ),
    "halpern_vr, theory": lambda: eq.monotone.halpern_vr(
        loss, u0, lipschitz=L, tol=1e-5, schedule="theory", max_oracle_calls=budget * n
    ),
    "halpern_vr": lambda: eq.monotone.halpern_vr(loss, u0, lipschitz=L, tol=1e-5),
}
eq.monotone.halpern_vr(loss, u0, lipschitz=L, tol=0.1)  # the first call may compile
results = {}
for name, way in ways.items():
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)  # a budget that runs out is the point here
        results[name] = result = way()
    seconds = time.process_time() - start
    epochs = result.oracle_calls / n
    print(f"{name:20} {result.error:.1e} after {epochs:3.0f} epochs, {seconds:4.1f} s, {result.status.name}")

figure, (ax, clock) = plt.subplots(1, 2, figsize=(10, 4.4), sharey=True, width_ratios=[3, 2], layout="constrained")
eq.plot.convergence(*results.values(), against="oracle_calls", labels=list(results), tol=1e-5, ax=ax)
marks = np.arange(0, budget + 1, 10)
ax.set_xticks(marks * n, marks)
ax.set(xlabel="epochs", ylabel="norm of the gradient")
eq.plot.convergence(*results.values(), against="seconds", labels=list(results), tol=1e-5, ax=clock)
clock.set(xlabel="seconds", ylabel="")
clock.get_legend().remove()

# %%
# What it found
# -------------
# Coefficients are logarithms of odds: 0.7 doubles them. The ridge holds down the rare levels.

u = results["halpern_vr"].u
short = flights.airlines()
figure, axes = plt.subplots(1, 2, figsize=(9.6, 4), sharey=True, layout="constrained")
for ax, group in zip(axes, ("carrier ", "hour "), strict=True):
    only = [k for k, name in enumerate(names) if name.startswith(group)]
    if group == "carrier ":
        only.sort(key=lambda k: u[k])
    told = [names[k].removeprefix(group) for k in only]
    ax.bar(range(len(only)), u[only], color="C0")
    ax.set_xticks(range(len(only)), [short.get(name, name) for name in told], rotation=90)
    ax.axhline(0, color="0.5", linewidth=0.8)
    ax.grid(axis="y", alpha=0.5)
    ax.set_axisbelow(True)
    ax.set_title(f"by {group}", loc="left")
axes[0].set_ylabel("logarithm of the odds")
axes[1].set_xlabel("planned hour of departure")

# %%
# How the gain grows
# ------------------
# A step costs n looks without samples, and on average sqrt(n) with them: the more rows, the more is saved. On
# random problems of growing size (50 columns, to 1e-4) the gain follows the square root. With the batch and the
# refreshes that were published, 6 sqrt(n) looks a step, it is far less.

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
eq.plot.scaling([250, 1000, 4000], seeds=1, ax=ax)
for line in ax.get_lines()[:2]:
    print(f"{line.get_label():38}", ", ".join(f"{gain:.1f}" for gain in line.get_ydata()))

# %%
# Where this is of use
# --------------------
# This operator is a gradient, and to minimise a function there are other good methods: Nesterov's, variance-reduced
# gradients, for a hundred columns Newton's. They do as well or better. Halpern's iteration asks for less: the operator
# need not be the gradient of anything. Here is one that is none: least squares against an adversary, who may move every
# delay and pays for it. Both get the same number of looks at some thousand flights, and the answer is known.

some = A[::40, [names.index(what) for what in ("per 1000 miles", "per 10 degrees F", "per 10 % humidity", "hour 17")]]
some, minutes = (some - some.mean(axis=0)) / some.std(axis=0), delay[::40] - delay.mean()
robust = eq.monotone.RobustLeastSquares(some, minutes / 60)
k, d = some.shape
sampled = eq.monotone.halpern_vr(robust, np.zeros(k + d), tol=0.01)
epochs = sampled.oracle_calls // k
with warnings.catch_warnings():
    warnings.simplefilter("ignore", eq.ConvergenceWarning)
    whole = eq.monotone.halpern(robust, np.zeros(k + d), tol=0.01, max_steps=epochs)
exact = np.linalg.lstsq(some, minutes / 60, rcond=None)[0]
print(f"{k:,} flights, {epochs:,} epochs")
for name, result in (("halpern", whole), ("halpern_vr", sampled)):
    off = np.max(np.abs(result.u[:d] - exact))
    print(f"{name:10} residual {result.error:.0e}, coefficients {off:.0e} from those of least squares")
plt.show()
