"""
Relaxation factors that are learned
===================================

Five hundred small linear systems come one after the other. They have a matrix in common but for a shift, and the shift
decides which relaxation factor is good. This example repeats an experiment of *Learning to relax* (Khodak, Chow,
Balcan and Talwalkar, 2024): how near does one come to the best factors if all that one sees is how many sweeps the
last system took?
"""

# %%
# The systems
# -----------
# The five-point Laplacian on 10 by 10 cells, plus c times the identity. Its least eigenvalue is 0.162, so that with
# shifts down to -0.15 some systems are nearly singular. In the first family many are; in the second few.

# sphinx_gallery_thumbnail_number = 3
import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq

count, interval = 500, (-0.15, 0.65)
rng = np.random.default_rng(0)
shifts = {
    "wide": -0.15 + 0.6 * rng.beta(0.5, 1.5, count),
    "narrow": -0.15 + 0.6 * rng.beta(2, 6, count),
}
right_sides = rng.standard_normal((count, 10, 10))


def operator(c):
    return eq.operators.Stencil.laplacian((10, 10), shift=c)


def family(name):
    return [eq.linear.System(operator(c), b, context=c) for c, b in zip(shifts[name], right_sides, strict=True)]


figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.8), sharey=True, layout="constrained")
for ax, c in zip(axes, (-0.14, 0.3), strict=True):
    eq.plot.omega_curve(operator(c), order="red_black", ax=ax).set_title(f"c = {c}", loc="left")
axes[1].set_ylabel("")

# %%
# The best factor moves from 1.81 to 1.38; to take either where the other belongs costs several times the sweeps.
#
# Six ways to choose
# ------------------
# Young's formula needs the spectrum of the matrix, which is known here. ``TsallisINF`` sees the sweeps alone: as
# published with plain factors for arms, or relative to Young's formula, which is the default. ``BinnedTsallisINF`` and
# ``ChebCB`` see the shift as well; ``model=None`` is ChebCB as published, which does not look at the matrix.


def policies():
    return {
        "Young": eq.linear.YoungOmega(),
        "Tsallis-INF, plain": eq.linear.TsallisINF(relative=False, rng=1),
        "Tsallis-INF": eq.linear.TsallisINF(rng=1),
        "Tsallis-INF, 5 bins": eq.linear.BinnedTsallisINF(interval, bins=5, rng=1),
        "ChebCB, no model": eq.linear.ChebCB(interval, model=None, rng=1),
        "ChebCB": eq.linear.ChebCB(interval, rng=1),
    }


def solve(systems, policy):
    return eq.linear.solve_sequence(systems, policy=policy, order="red_black", warm_start=False)


learned = {name: policies() for name in shifts}
figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.4), layout="constrained")
for ax, name in zip(axes, shifts, strict=True):
    systems = family(name)
    results = {who: solve(systems, policy) for who, policy in learned[name].items()}
    regret = results["Young"].regret(systems)
    eq.plot.sequence(*results.values(), regret=regret, labels=list(results), panels=["total"], axes=[ax])
    ax.set_title(name, loc="left")
    print(f"{name}: the best fixed factor, {regret.best:.3f}, takes {regret.total.min()} sweeps; over it")
    known, late = regret.steps.min(axis=0), slice(count // 2, None)
    best = regret.steps[np.argmin(regret.total)]
    print(f"  {'':22}all   last half")
    print(f"  {'best for each':20}{known.sum() / best.sum():5.2f}{known[late].sum() / best[late].sum():10.2f}")
    for who, result in results.items():
        print(f"  {who:20}{result.steps.sum() / best.sum():5.2f}{result.steps[late].sum() / best[late].sum():10.2f}")
axes[0].get_legend().set_loc("upper left")
axes[1].get_legend().remove()

# %%
# Where the context matters, a learner that sees it leaves every fixed factor behind: after a few dozen systems if it
# starts from a model, after one to three hundred if it does not. A learner that does not see it is bound to stay above
# the dashed line, unless its arms are relative to something that sees it.
# Young's formula needs no time to learn. This operator has two colours, so the formula is exact here: that is what
# the learners are measured by, not what they replace. They are for operators that have no formula.
#
# What has been learned
# ---------------------
# On the left the sweeps that ChebCB predicts, with the factors that it played. On the right the probabilities of the
# arms of Tsallis-INF, bin by bin: an arm multiplies (2 - omega)/omega of Young's formula. It settles at one, where
# there has been something to learn from. There was no shift beyond 0.45: the last bin has seen nothing, and what ChebCB
# predicts there is a polynomial that runs on.

figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
policy = eq.linear.ChebCB(interval, rng=2)
result = solve(family("wide"), policy)
eq.plot.policy(policy, operator=operator, ax=axes[0])
played = {"color": "white", "markersize": 3.5, "markeredgecolor": "black", "markeredgewidth": 0.5, "label": "played"}
axes[0].plot(result.context, result.omega, "o", **played)
axes[0].legend(loc="upper right")
eq.plot.policy(learned["wide"]["Tsallis-INF, 5 bins"], ax=axes[1])
for ax in axes:
    ax.set_xlabel("shift c")

# %%
# Saved and resumed
# -----------------
# What a policy has learned is data. It can be stored with :func:`equipoise.save` and goes on where it was.

state = policy.state_dict()
again = eq.linear.ChebCB(interval, rng=2)
again.load_state_dict(state)
more = family("wide")[:20]
print("the same factors again:", np.array_equal(solve(more, policy).omega, solve(more, again).omega))
plt.show()
