"""
Who is near to whom in the standard library
===========================================

The modules of Python's standard library import each other. Take every import for a wire of the same resistance, let
a current enter at one module and leak out everywhere, and the potentials say which modules are near to it: those that
are linked to it by many short ways.

The potentials solve ``(L + c I) x = e``, with the Laplacian L of the graph, the leak c, and the current e. There is no
grid here: the matrix is a :class:`equipoise.operators.CSR`, and rows are relaxed colour by colour. The graph is full of
triangles, so that no formula is sure to know the best relaxation factor.
"""

# %%
# The graph
# ---------
# It is read from the running interpreter. A package is one module, private ones are left out, and so are directions.

import ast
import sys
import sysconfig
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq

folder = Path(sysconfig.get_path("stdlib"))
left_out = {"antigravity", "ensurepip", "idlelib", "lib2to3", "test", "this", "turtledemo"}
names = {name for name in sys.stdlib_module_names if not name.startswith("_")} - left_out


def sources(name):
    single = folder / f"{name}.py"
    return [single] if single.exists() else [f for f in (folder / name).rglob("*.py") if "test" not in str(f.parent)]


def imported(source):
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


pairs = {
    tuple(sorted((a, b))) for a in names for source in sources(a) for b in imported(source) if b in names and a != b
}
modules = sorted({name for pair in pairs for name in pair})
number = {name: i for i, name in enumerate(modules)}
wires = np.array([(number[a], number[b]) for a, b in sorted(pairs)])
n = len(modules)
print(f"{n} modules, {len(wires)} wires")

# %%
# The matrix by compressed rows: each wire couples two modules, and a diagonal entry counts the wires of its module.

neighbours = [[] for _ in modules]
for i, j in wires:
    neighbours[i].append(j)
    neighbours[j].append(i)
degree = np.array([len(row) for row in neighbours])
indptr = np.concatenate([[0], np.cumsum(degree + 1)])
indices = np.concatenate([[i, *row] for i, row in enumerate(neighbours)])


def leaking(c):
    data = np.concatenate([[k + c, *[-1.0] * k] for k in degree])
    return eq.operators.CSR(data, indices, indptr, (n, n))


def potentials(name, c):
    result = eq.linear.sor(leaking(c), np.eye(n)[number[name]], order="multicolor", omega="young")
    return result.x / result.x.max()


most = np.argsort(-degree)[:8]
print("most wires:", ", ".join(f"{modules[i]} {degree[i]}" for i in most))

# %%
# A tree of steepest ascent
# -------------------------
# Without a source, a potential is below the mean of its neighbours: so each module has a neighbour with a higher one,
# and going up from neighbour to neighbour ends at the source. The picture draws these ways as a tree. The farther out,
# the lower the potential; the angle only keeps the branches apart, and pale threads are the other imports.

source = "asyncio"
x = potentials(source, 0.05)
parent = [max(row, key=lambda j: x[j]) for row in neighbours]
root = number[source]
children = {i: [j for j in range(n) if j != root and parent[j] == i] for i in range(n)}
leaves = {}


def count_leaves(i):
    leaves[i] = max(1, sum(count_leaves(j) for j in children[i]))
    return leaves[i]


angle, start = np.zeros(n), {root: 0.0}
count_leaves(root)
for i in np.argsort(-x):  # a parent comes before its children
    begin = start[i]
    angle[i] = begin + leaves[i] / 2
    for j in children[i]:
        start[j] = begin
        begin += leaves[j]
angle *= 2 * np.pi / leaves[root]
rank = np.empty(n)
rank[np.argsort(-x)] = np.arange(n)
radius = np.sqrt(rank / n)  # even over the disk
place = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
figure, ax = plt.subplots(figsize=(10, 10), layout="constrained")
for i, j in wires:
    ax.plot(*place[[i, j]].T, color="0.5", linewidth=0.3, alpha=0.15, zorder=0)
for i in range(n):
    if i != root:
        ax.plot(*place[[i, parent[i]]].T, color="C0", linewidth=0.8, alpha=0.7, zorder=1)
ax.scatter(*place.T, s=8 + 2 * degree, c=np.log(x), cmap="viridis", zorder=2)
for i in range(n):
    turn = np.degrees(angle[i])
    flipped = 90 < turn < 270
    inside = any(radius[j] - radius[i] < 0.06 and len(children[i]) == 1 for j in children[i])  # right behind it
    side = "right" if flipped != inside else "left"
    style = {"ha": side, "va": "center", "rotation": turn - 180 * flipped, "fontsize": 6.5}
    off = (-1 if inside else 1) * (0.012 + 0.0004 * degree[i])
    out = place[i] * (1 + off / radius[i]) if i != root else place[i]
    ax.text(*out, modules[i], rotation_mode="anchor", fontweight="bold" if degree[i] > 25 else "normal", **style)
ax.set_axis_off()
ax.set_aspect("equal")
ax.set_title(f"from {source} outwards", loc="left")

# %%
# Factors for all leaks
# ---------------------
# Now many such systems: for sources and leaks drawn at random. The logarithm of the leak is the context. Young's
# formula supposes a graph of two colours, so that here it is a guess.

rng = np.random.default_rng(0)
leaks = 10.0 ** rng.uniform(-2, 1, 300)
systems = [eq.linear.System(leaking(c), np.eye(n)[rng.integers(n)], context=np.log10(c)) for c in leaks]
policies = {
    "Young": eq.linear.YoungOmega(),
    "Tsallis-INF": eq.linear.TsallisINF(rng=0),
    "ChebCB": eq.linear.ChebCB((-2.0, 1.0), rng=0),
}
results = {
    name: eq.linear.solve_sequence(systems, policy=policy, order="multicolor", warm_start=False)
    for name, policy in policies.items()
}
regret = results["Young"].regret(systems)
best = regret.total.min()
print(f"best fixed factor {regret.best:.3f}: {best} sweeps; over it")
print(f"{'best for each':14}{regret.steps.min(axis=0).sum() / best:.2f}")
for name, result in results.items():
    print(f"{name:14}{result.total_steps / best:.2f}")

# %%
# On the right the sweeps of three leaks over the factor, and where Young's formula expects the least: its guess is a
# good one, a little too small where the leak is. So it takes half of what the best fixed factor takes. The learners do
# not catch up in 300 systems, but pass every fixed factor; a single bad try can cost them thousands of sweeps.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
eq.plot.sequence(*results.values(), regret=regret, labels=list(results), panels=["total"], axes=axes[:1])
for k, c in enumerate((0.01, 0.1, 1.0)):
    line, model, young, *_ = eq.plot.omega_curve(leaking(c), order="multicolor", ax=axes[1]).get_lines()[-3:]
    model.remove()
    line.set(color=f"C{k}", label=f"leak {c:g}")
    young.set(color=f"C{k}", label=None)
axes[1].legend(frameon=False, loc="upper center", bbox_to_anchor=(0.63, 1))
plt.show()
