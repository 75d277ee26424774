"""
Heat that flows in bursts
=========================

A plate is heated by a source that runs around in a circle, and conducts heat at a rate that changes all the time: it
is a bad conductor for half a period and an excellent one for the other half. Every time step is a linear system, and
no relaxation factor is good for all of them.

This example marches through time with :func:`equipoise.linear.solve_sequence`, lets several policies choose the
factors, and counts what each of them takes. The problem is that of *Learning to relax* (Khodak, Chow, Balcan and
Talwalkar, 2024).
"""

# %%
# The plate
# ---------
# The temperature u obeys ``u_t = kappa(t) Laplace u + f(t)`` on the unit square, with u = 0 along its border. A step of
# Crank and Nicolson's scheme solves ``(I - kappa dt/2 Laplace) u_new = (I + kappa dt/2 Laplace) u_old + dt f``. The
# right-hand side is a function of the last solution, so it is passed as a function; the conductivity is the context.

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq

cells, steps = 60, 500
h, dt = 1 / (cells + 1), 1 / steps
place = np.linspace(h, 1 - h, cells)
y, x = np.meshgrid(place, place, indexing="ij")


def bump(cx, cy, radius):
    far = np.minimum(((x - cx) ** 2 + (y - cy) ** 2) / radius**2, 1 - 1e-9)
    return np.exp(1 - 1 / (1 - far))


def conductivity(t):
    return max(0.1 * np.sin(2 * np.pi * t), -10 * np.sin(2 * np.pi * t))


def time_step(t):
    kappa = conductivity(t + dt / 2)
    angle = 16 * np.pi * (t + dt / 2)
    heat = dt * 32 * bump(0.5 + np.cos(angle) / 4, 0.5 + np.sin(angle) / 4, 0.125)
    A = eq.operators.Stencil.laplacian((cells, cells), spacing=h, scale=kappa * dt / 2, shift=1.0)
    return eq.linear.System(A, lambda u: 2 * u - A @ u + heat, context=kappa)


start = bump(0.5, 0.5, 0.25)
times = dt * np.arange(steps)

# %%
# A generator is enough, for systems are pulled one by one; here they are kept in a list to be used again.

systems = [time_step(t) for t in times]
result = eq.linear.solve_sequence(systems, solver="ssor_cg", x0=start, keep="all")
print(result.summary())

# %%
# Young's formula is the default policy. On this operator it is a closed form, and its factor moves from 1 to 1.8.
#
# While the plate conducts badly, the source leaves a trail. Then the heat spreads at once, and what is left is a faint
# even glow, which is why the later pictures have a scale of their own.

shown = [0.02, 0.1, 0.25, 0.48, 0.6, 0.75]
figure, axes = plt.subplots(2, 3, figsize=(9.6, 6.4), layout="constrained")
for ax, t in zip(axes.flat, shown, strict=True):
    field = result.x[round(t * steps)]
    image = ax.imshow(field, origin="lower", extent=(0, 1, 0, 1), cmap="inferno", vmin=0)
    figure.colorbar(image, ax=ax, shrink=0.85, label="temperature" if ax in axes[:, -1] else "")
    ax.set_title(f"t = {t:g}, conductivity {conductivity(t):.2g}", loc="left", fontsize="medium")
    ax.set(xticks=(), yticks=())

# %%
# Who chooses best?
# -----------------
# Policies differ in what they know. A fixed factor knows nothing. ``TsallisINF`` sees nothing but the number of steps
# of each solve; by default its arms are multiples of what Young's formula says, and with ``relative=False`` they are
# plain factors. ``BinnedTsallisINF`` and ``ChebCB`` look at the context too.

interval = (0.0, 10.0)
policies = {
    "Young": eq.linear.YoungOmega(),
    "Tsallis-INF": eq.linear.TsallisINF(rng=0),
    "Tsallis-INF, plain": eq.linear.TsallisINF(relative=False, rng=0),
    "Tsallis-INF, 6 bins": eq.linear.BinnedTsallisINF(interval, bins=6, rng=0),
    "ChebCB": eq.linear.ChebCB(interval, rng=0),
}


def march(policy, **options):
    return eq.linear.solve_sequence(systems, policy=policy, x0=start, **options)


marches = {name: march(policy, solver="ssor_cg") for name, policy in policies.items()}

# %%
# What would fixed factors have taken? That cannot be seen from one run, so ``regret`` solves everything again, once for
# each factor of a grid: the thin lines. The dashed one is the best of them, the dotted one has the best factor of the
# grid in every step.

regret = marches["Young"].regret(systems)
axes = eq.plot.sequence(*marches.values(), regret=regret, labels=list(marches))
axes[0].figure.set_size_inches(8, 8.4)
best = regret.total.min()
print(f"best fixed factor {regret.best:.3f}: {best} steps")
print(f"the best for each system: {regret.steps.min(axis=0).sum() / best:.2f} times that")
for name, done in marches.items():
    print(f"{name:20} {done.total_steps / best:.2f} times that")

# %%
# Young's formula wins, without learning anything, and it even beats the best choice from the grid, since it is not
# bound to a grid. Wherever the formula is exact, as on this grid, there is nothing left to learn: the learners show how
# near one comes without it. They are for operators that have no formula, and for costs that no formula describes.
#
# What ChebCB has learned
# -----------------------
# It predicts the steps for every conductivity and factor: the model of the operator at hand plus a polynomial in the
# context, which is the conductivity. The line follows the least prediction, the dots are the factors that were played.


def operator(kappa):
    return eq.operators.Stencil.laplacian((cells, cells), spacing=h, scale=kappa * dt / 2, shift=1.0)


figure, ax = plt.subplots(figsize=(8, 4.4), layout="constrained")
eq.plot.policy(policies["ChebCB"], operator=operator, ax=ax)
played = {"color": "white", "markersize": 3.5, "markeredgecolor": "black", "markeredgewidth": 0.5, "label": "played"}
ax.plot(marches["ChebCB"].context, marches["ChebCB"].omega, "o", **played)
ax.set_xlabel("conductivity")
ax.legend(loc="lower right")

# %%
# Relaxation alone
# ----------------
# Plain over-relaxation depends on its factor far more than conjugate gradients do, and the prize for a good one grows.
# Of the grid's factors 1.744 is the best one here too.

rows = {
    "fixed, 1.744": eq.linear.FixedOmega(1.744),
    "Young": eq.linear.YoungOmega(),
    "ChebCB": eq.linear.ChebCB(interval, rng=0),
}
plain = {name: march(policy, order="red_black") for name, policy in rows.items()}
for name, done in plain.items():
    print(f"{name:20} {done.total_steps} sweeps")

# %%
# How a curve of steps over the factor looks is the reason. This is the stiffest step.

stiff = max(systems, key=lambda system: system.context)
figure, axes = plt.subplots(1, 2, figsize=(9.6, 4), layout="constrained")
eq.plot.omega_curve(stiff.A, order="red_black", ax=axes[0]).set_title("relaxation", loc="left")
eq.plot.omega_curve(stiff.A, solver="ssor_cg", ax=axes[1]).set_title("conjugate gradients with SSOR", loc="left")
plt.show()
