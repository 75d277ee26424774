"""
A patrol through the standard library
=====================================

Somebody breaks one module of Python's standard library, somebody else watches one, and neither knows of the other's
choice. A broken module harms all that import it, less so where the watch is near. That is the burglar's game of the
literature, played on an import graph: a matrix game with 199 strategies a side, whose solution is a pair of mixed ones.
``matrix_game`` finds it, together with a proof of how good it is.
"""

# %%
# The payoff
# ----------
# The graph is read from the running interpreter, so that other versions of Python play a slightly different game.
# Distance is counted in imports, in either direction: a watch at ``os`` is one step from whatever imports it.

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq
from equipoise.demo import imports

modules, edges = imports.graph()
n = len(modules)
far = imports.hops(n, np.concatenate([edges, edges[:, ::-1]]))
dependents = np.bincount(edges[:, 1], minlength=n)
payoff = dependents[:, None] * (1 - np.exp(-0.8 * far))  # rows: broken; columns: watched
most = np.argsort(-dependents)[:8]
print(f"{n} modules, {len(edges)} imports, at most {far.max():.0f} steps apart")
print("imported most:", ", ".join(f"{modules[i]} {dependents[i]}" for i in most))

# %%
# The equilibrium
# ---------------
# ``x`` is how the watch mixes, ``y`` how the other side does. ``upper`` is the most that x can lose, whatever the other
# side plays, ``lower`` the least that y earns. Both are read off the strategies themselves, and the value lies between.

game = eq.monotone.matrix_game(payoff)
print(game)
print(f"{game.lower:.7f} <= value <= {game.upper:.7f}")
for name, strategy in (("watched", game.x), ("broken", game.y)):
    order = [k for k in np.argsort(-strategy) if strategy[k] > 0.005]
    print(f"{name:8}", ", ".join(f"{modules[k]} {strategy[k]:.1%}" for k in order))

# %%
# Nobody would watch but where it matters most, at ``sys`` and ``os``, and so nobody breaks these: ``io`` and ``re`` are
# worth less, and are broken most.

shown = np.argsort(-dependents)[:14]
names = [modules[k] for k in shown]
figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
image = axes[0].imshow(payoff[np.ix_(shown, shown)], cmap="Blues")
figure.colorbar(image, ax=axes[0], label="harm")
axes[0].set_xticks(range(14), [f"{name} {game.x[k]:.0%}" for name, k in zip(names, shown, strict=True)], rotation=90)
axes[0].set_yticks(range(14), [f"{name} {game.y[k]:.0%}" for name, k in zip(names, shown, strict=True)])
axes[0].set(xlabel="watched", ylabel="broken")
axes[1].bar(range(14), dependents[shown], color="none", edgecolor="0.5", label="unwatched")
axes[1].bar(range(14), (payoff @ game.x)[shown], color="C0", label="under the mixed watch")
axes[1].axhline(game.value, color="C1", label=f"value {game.value:.2f}")
axes[1].set_xticks(range(14), names, rotation=90)
axes[1].set_ylabel("harm")
axes[1].legend(frameon=False)

# %%
# On the right is what an equilibrium is: the watch evens things out. Whatever is worth breaking does the same harm on
# average, and nothing does more.
#
# Two bounds
# ----------
# As the method goes on, both guarantees close on the value from their sides.

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
eq.plot.gap(payoff, ax=ax)

# %%
# Why one step is not enough
# --------------------------
# Rock, paper, scissors is the smallest game without a pure solution. Players who follow their gradients run after each
# other and end up circling along the edges. A look ahead, the extragradient method, turns the circle into a spiral
# inwards. With an anchor as well, the way to the middle has hardly a turn. ``matrix_game`` has both, in another form:
# its look ahead is a reflection, and costs no further product with the matrix.

rps = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
both = eq.monotone.Product((eq.monotone.Simplex(), 3), (eq.monotone.Simplex(), 3))
operator, step = eq.monotone.GameOperator(rps), 0.12


def walk(steps, *, ahead=True, anchored=False):
    start = np.array(2 * [0.5, 0.3, 0.2])
    u, way = start, [start[:3]]
    for k in range(steps):
        centre = (start + (k + 1) * u) / (k + 2) if anchored else u
        at = both(centre - step * operator.full(u), step) if ahead else u
        u = both(centre - step * operator.full(at), step)
        way.append(u[:3])
    return np.array(way)


figure, ax = plt.subplots(figsize=(5.4, 4.8), layout="constrained")
ways = {"gradients": walk(140, ahead=False), "extragradient": walk(300), "anchored": walk(300, anchored=True)}
eq.plot.simplex(*ways.values(), labels=list(ways), ax=ax)

# %%
# Where samples lose
# ------------------
# To read one row and one column of the matrix for each step looks cheap. Yet on dense games variance reduction loses,
# wherever we measured: with the same number of entries read it is behind, and since a projection onto the simplex costs
# as much as a row, it is farther behind in time.

size, epochs = 200, 150
A = np.random.default_rng(0).uniform(-1, 1, (size, size))
operator, start = eq.monotone.GameOperator(A), np.full(2 * size, 1 / size)
both = eq.monotone.Product((eq.monotone.Simplex(), size), (eq.monotone.Simplex(), size))
settings = {"resolvent": both, "tol": 1e-9}
ways = {
    "matrix_game": lambda k: eq.monotone.matrix_game(A, max_steps=k, tol=1e-9),
    "extragradient": lambda k: eq.monotone.extragradient(operator, start, max_steps=k // 2, **settings),
    "extragradient_vr": lambda k: eq.monotone.extragradient_vr(operator, start, max_steps=k * size // 4, **settings),
    "halpern_vr, lipschitz": lambda k: eq.monotone.halpern_vr(
        operator, start, mode="lipschitz", max_oracle_calls=k * size, **settings
    ),
}
for name, way in ways.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        way(2)  # the first call may compile
        begin = time.process_time()
        result = way(epochs)
        seconds = time.process_time() - begin
    x, y = (result.x, result.y) if name == "matrix_game" else (result.u[:size], result.u[size:])
    print(f"{name:22} gap {np.max(A @ x) - np.min(y @ A):.1e} after {epochs} epochs, {1e3 * seconds:5.0f} ms")
plt.show()
