"""
How fast Sinkhorn converges
===========================

Sinkhorn's iteration converges linearly, and the smaller `epsilon`, the slower. This example draws the error after
every sweep, reads the rate off the curves, and shows what a warm start saves.
"""

# %%
# One problem, five values of epsilon
# -----------------------------------
# By default the loop looks at the error only now and then. ``check_every=1`` records every sweep, and a small `tol`
# shows the whole way down. The range of the cost is about 2; `epsilon` is to be read relative to it.

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq

rng = np.random.default_rng(0)
x, y = rng.random((400, 2)), rng.random((300, 2))
cost = np.sum((x[:, None] - y) ** 2, axis=-1)
print(f"range of the cost {np.ptp(cost):.2f}")

solved = {}
for epsilon in (0.3, 0.1, 0.03, 0.01, 0.003):
    solved[epsilon] = eq.transport.sinkhorn(cost, epsilon=epsilon, tol=1e-11, check_every=1)

# %%
# The error of every sweep
# ------------------------
# After a short start each curve is a straight line on the logarithmic axis: every sweep multiplies the error by the
# same number. Against ``sweeps * epsilon`` the curves nearly coincide. On this problem a ten times smaller `epsilon`
# needs ten times the sweeps.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), sharey=True, layout="constrained")
tints = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(solved)))
for tint, (epsilon, result) in zip(tints, solved.items(), strict=True):
    rows = result.history
    left.semilogy(rows.step, rows.error, color=tint, linewidth=1.8, label=f"{epsilon:g}")
    right.semilogy(rows.step * epsilon, rows.error, color=tint, linewidth=1.8)
for axis in (left, right):
    axis.axhline(1e-6, color="0.5", linewidth=0.8, linestyle="--")
    axis.grid(alpha=0.25)
left.set(xlabel="sweeps", ylabel="error", xlim=(-8, 520), ylim=(2e-12, 4))
right.set(xlabel="sweeps * epsilon", xlim=(-0.1, 6.2))
handles, labels = left.get_legend_handles_labels()
figure.legend(handles, labels, title="epsilon", loc="outside right center", frameon=False)
right.text(6.1, 1.6e-6, "default tol", color="0.4", ha="right")

# %%
# Rates
# -----
# The rate is the factor by which one sweep multiplies the error in the end. From it follows how many sweeps one more
# digit costs.

print("epsilon   sweeps     rate   sweeps a digit")
for epsilon, result in solved.items():
    rows = result.history
    late = rows.error < 1e-6
    slope = np.polyfit(rows.step[late], np.log10(rows.error[late]), 1)[0]
    print(f"{epsilon:7g} {result.steps:8d} {10**slope:8.4f} {-1 / slope:16.1f}")

# %%
# Warm starts
# -----------
# The potentials of one problem are a good start for the next. Here a sequence goes down in `epsilon`; each solve
# starts from the potentials of the one before, and is compared with a solve that starts from zero.

print("epsilon   from zero   from the previous")
potentials = None
for epsilon in (0.02, 0.018, 0.016, 0.014, 0.012, 0.01):
    cold = eq.transport.sinkhorn(cost, epsilon=epsilon)
    warm = eq.transport.sinkhorn(cost, epsilon=epsilon, init=potentials)
    potentials = warm.f, warm.g
    print(f"{epsilon:7g} {cold.steps:11d} {warm.steps:19d}")
plt.show()
