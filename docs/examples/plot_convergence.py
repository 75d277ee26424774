"""
Plain, relaxed and Newton
=========================

Three ways to the same plan: Sinkhorn's plain sweeps, the over-relaxed sweeps that are the default, and
Sinkhorn-Newton-Sparse. This example draws their errors on the same axes, counts their steps as `epsilon` falls, and
shows what a warm start saves.
"""

# %%
# One problem, three solvers
# --------------------------
# Two clouds in the plane with unequal weights. The range of the cost is about 2; `epsilon` is to be read relative to
# it. The first call of each solver loads its kernels, so that the clock below sees the later ones only.

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq

rng = np.random.default_rng(0)
x, y = rng.random((600, 2)), rng.random((500, 2))
a, b = rng.dirichlet(np.full(600, 4.0)), rng.dirichlet(np.full(500, 4.0))
cost = eq.transport.PointCloud(x, y).dense()
print(f"range of the cost {np.ptp(cost):.2f}")


def plain(epsilon, **options):
    return eq.transport.sinkhorn(cost, a, b, epsilon=epsilon, relaxation=1.0, **options)


def relaxed(epsilon, **options):
    return eq.transport.sinkhorn(cost, a, b, epsilon=epsilon, **options)


def newton(epsilon, **options):
    return eq.transport.sinkhorn_newton_sparse(cost, a, b, epsilon=epsilon, **options)


solvers = {"plain": plain, "relaxed": relaxed, "Newton": newton}
for solve in solvers.values():
    solve(0.1)

# %%
# The error of every step
# -----------------------
# By default the loop looks at the error only now and then. ``check_every=1`` records every step, but then sweeps with
# a stored kernel do not pay, and are about four times slower here. So the clock runs in other solves, which look every
# ten sweeps. Of five, the quickest is drawn, since other programs may have held up the rest.

counted = {name: solve(0.002, tol=1e-10, check_every=1) for name, solve in solvers.items()}


def quickest(name, every):
    tries = [solvers[name](0.002, tol=1e-10, check_every=every) for _ in range(5)]
    return min(tries, key=lambda result: result.history.seconds[-1])


timed = {name: quickest(name, every) for name, every in {"plain": 10, "relaxed": 10, "Newton": 1}.items()}
for name, result in counted.items():
    print(f"{name:8}{result.steps:6d} steps, error {result.error:.0e}")

# %%
# Plain sweeps multiply the error by one and the same number every time. Relaxed sweeps begin as plain ones; at a new
# estimate of how far to go the error jumps up, and then falls at a much better rate. Newton goes down a ladder of
# larger values of `epsilon` first, where the error is that at its own rung: these are the teeth. On the last rung
# every step gains two digits or so.
#
# A Newton step takes longer than a sweep, so the clock tells another story than the count. At this `epsilon`, a
# thousandth of the range, the two fast ones are side by side; smaller values favour Newton, larger ones the sweeps.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.4), sharey=True, layout="constrained")
eq.plot.convergence(*counted.values(), labels=list(counted), tol=1e-10, ax=left)
eq.plot.convergence(*timed.values(), against="seconds", tol=1e-10, ax=right)
left.set(xscale="log", xlim=(0.5, None), ylim=(1e-13, 4))
right.set(xscale="log", xlim=(2e-4, None), ylabel="")
right.get_legend().remove()
plt.show()

# %%
# As epsilon falls
# ----------------
# The number of plain sweeps grows as ``1 / epsilon`` on this problem, that of relaxed ones far more slowly, and that
# of Newton steps hardly at all. All three stop below the same error, 1e-8.

print(" epsilon    plain  relaxed   Newton steps + sweeps")
for epsilon in (0.3, 0.1, 0.03, 0.01, 0.003):
    count = [solve(epsilon, tol=1e-8) for solve in solvers.values()]
    last = count[-1]
    print(f"{epsilon:8g}{count[0].steps:9d}{count[1].steps:9d}{last.newton_steps:9d} + {last.sweeps}")

# %%
# Warm starts
# -----------
# The potentials of one problem are a good start for the next. Here a sequence goes down in `epsilon`; each solve
# starts from the potentials of the one before, and is compared with a solve that starts from zero. What is gained is
# a part of the steps, not their order: the rate at the end stays what it is.

print(" epsilon   from zero   from the previous")
potentials = None
for epsilon in (0.02, 0.018, 0.016, 0.014, 0.012, 0.01):
    cold = relaxed(epsilon)
    warm = relaxed(epsilon, init=potentials)
    potentials = warm.f, warm.g
    print(f"{epsilon:8g}{cold.steps:12d}{warm.steps:20d}")
