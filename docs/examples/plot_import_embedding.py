"""
The standard library as points with a direction
===============================================

``logging`` imports ``re``; to get back from ``re`` to ``logging`` takes a chain of imports, and from ``sys``, which
imports nothing, there is no way at all. Distances in a directed graph are not symmetric, and no symmetric embedding can
keep them. Here the modules of Python's standard library become points whose distances have a direction: the interval
quasimetric of Wang and Isola (2022). One pair of modules in five is held out, and the points have to guess it.
"""

# %%
# Distances that know where they lead
# -----------------------------------
# The graph is read from the running interpreter, so that other versions of Python give slightly different numbers. The
# distance from i to j is the least number of imports that lead there, infinite if none do.

# sphinx_gallery_thumbnail_number = 3
import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq
from equipoise.demo import imports
from equipoise.demo.quasimetric import completed, symmetric

modules, edges = imports.graph()
n = len(modules)
D = imports.hops(n, edges)
apart = ~np.eye(n, dtype=bool)
both = apart & np.isfinite(D) & np.isfinite(D.T)
print(f"{n} modules, {len(edges)} imports, at most {D[np.isfinite(D)].max():.0f} in a row")
print(f"pairs without a way {np.isinf(D[apart]).mean():.1%}, with ways there and back {both[apart].mean():.1%}")
print(f"of these last, as far back as there: {(D == D.T)[both].mean():.1%}")

# %%
# The order of this picture is by how far a module is from the others. Modules that hardly anybody imports come
# first, and those that import hardly anything last. In the middle are those that import each other in circles.

figure, ax = plt.subplots(figsize=(7.4, 6), layout="constrained")
eq.plot.asymmetry(D, labels=modules, ax=ax)

# %%
# A fit that has not seen everything
# ----------------------------------
# A pair is held out with both of its directions, so that neither tells of the other; its weight is zero. Errors are
# those of discounted distances, ``0.9^d - 0.9^D``, for which a pair without a way has the target 0.

above = np.triu(np.random.default_rng(0).random((n, n)) < 0.2, k=1)
held = above | above.T
found = eq.quasimetric.fit(D, dim=64, components=8, weights=(~held).astype(float), history=True)
d = found.distances()
print(f"{int(found.steps)} steps. {found.status}")

# %%
# A symmetric distance says the same both ways. On a pair of directed distances it cannot do better than their mean, and
# errs at least by half of their difference. That floor holds for all symmetric embeddings, of any dimension, however
# they are fitted; next to it stands what a Euclidean one of the same dimension reaches, if it may stop where it is best
# on the very pairs held out.

aim = 0.9**D
finite, out = held & np.isfinite(D), held & np.isinf(D)
floor = (aim - aim.T) / 2


def table(name, d):
    error, among = (np.mean((0.9**d - aim)[some] ** 2) for some in (held, held & both))
    area = np.mean(d[out][:, None] > d[finite])
    hops = np.mean(np.abs(d - D, where=finite, out=np.zeros_like(D))[finite])
    print(f"{name:16}{error:10.5f}{among:10.5f}{hops:10.2f}{area:12.5f}")


print("held out:            all  both ways   imports   no way is farther")
table("quasimetric", d)
table("Euclid", symmetric(D, held))
print(f"{'symmetric floor':16}{np.mean(floor[held] ** 2):10.5f}{np.mean(floor[held & both] ** 2):10.5f}")
gain = np.mean(floor[held] ** 2) / np.mean((0.9**d - aim)[held] ** 2)
print(f"{gain:.0f} times below the least error of any symmetric distance")

# %%
# Much of that gain is to know which ways exist. The second column is of pairs with ways both there and back, and there,
# too, the floor is out of reach of symmetric distances and far above ours.
#
# For the record: who keeps the whole table of observed distances can fill it in by shortest ways, and here that is
# about as good. It takes a number a pair, though, and takes pairs for unreachable if no observed way leads there.

ways = completed(D, held)
error = np.mean((0.9**ways - aim)[held] ** 2)
print(f"shortest ways over {int((~held & apart).sum()):,} observed distances: {error:.5f}")
print(f"points of {found.points.size:,} numbers: {np.mean((0.9**d - aim)[held] ** 2):.5f}")

# %%
# Lines join the two directions of a pair. Pairs without a way end far above all others. So do a few that are one import
# apart: that import was held out, and no other way leads there.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
eq.plot.distances(found, D, ax=axes[0])
axes[1].plot(found.history.step, found.history.loss)
axes[1].axhline(np.mean(floor[apart & ~held] ** 2), color="C1", linestyle="--", label="symmetric floor")
axes[1].set(yscale="log", xlabel="step", ylabel="loss on observed pairs")
axes[1].legend(frameon=False)

# %%
# Nearest from, nearest to
# ------------------------
# What a module is near to, and what is near to it, are two questions.

name = "json"
i = modules.index(name)
nearest, far = found.nearest(i, 7)
print(f"from {name}:", ", ".join(f"{modules[k]} {x:.1f} ({D[i, k]:.0f})" for k, x in zip(nearest, far, strict=True)))
order = [k for k in np.argsort(d[:, i]) if k != i][:7]
print(f"to {name}:  ", ", ".join(f"{modules[k]} {d[k, i]:.1f} ({D[k, i]:.0f})" for k in order))

# %%
# In the plane only a part of 64 coordinates is left. Height is lead: at the top is what reaches many and is reached by
# few, at the bottom what everybody imports.

figure, ax = plt.subplots(figsize=(10, 7.5), layout="constrained")
eq.plot.embedding(found, labels=modules, ax=ax)

# %%
# What a distance is made of
# --------------------------
# The distance from u to v is the length of what intervals cover: those from ``u_j`` to ``v_j``, where ``v_j`` is
# larger. Back, the empty ones and the others change places. So a point can be near to another one that is far from it,
# and a union of intervals obeys the triangle inequality all the same.

u, v = (found.points[modules.index(name)] for name in ("logging", "re"))
figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for ax, start, end, title in ((axes[0], u, v, "logging to re"), (axes[1], v, u, "re to logging")):
    eq.plot.intervals(start, end, components=8, ax=ax)
    given = D[tuple(modules.index(name) for name in title.split(" to "))]
    ax.set_title(
        f"{title}: {eq.quasimetric.iqe(start, end, components=8, reduction='sum'):.2f}, given {given:g}", loc="left"
    )
plt.show()
