"""
A preconditioner for a matrix nobody wrote down
===============================================

``fit_hessian`` asks for products ``H v`` at random vectors only, and moves a preconditioner P to ``|H|^{-1}``.
This example watches four ways of doing so, sees what becomes of the spectrum, lets some eigenvalues be negative, and
solves linear systems with a matrix that changes under way.
"""

# %%
# Four forms
# ----------
# The matrix has fifty eigenvalues from 0.1 to 10. All four forms see the same pairs. ``quad`` is the default;
# ``procrustes`` is quicker, for O(n^3) a pair; ``eq`` is slow here, and the one to take beyond a condition number of a
# few hundred where O(n^3) is too much. With too large a step ``qeq`` does not arrive. Nothing about that is hidden: the
# line lies flat, and ends in a cross.

import warnings

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq
from equipoise.precondition import Annealed, fit_hessian, psgd

rng = np.random.default_rng(0)
n = 50
basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
values = np.geomspace(0.1, 10, n)
H = (basis * values) @ basis.T

settings = {
    "quad 0.1": psgd(damping=0.0),
    "procrustes 0.25": psgd(form="procrustes", step=0.25, damping=0.0),
    "eq 1.0": psgd(form="eq", step=1.0, damping=0.0),
    "qeq 0.5": psgd(form="qeq", step=0.5, damping=0.0),
}
fits = {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", eq.ConvergenceWarning)  # not to arrive is part of the picture
    for name, p in settings.items():
        fits[name] = fit_hessian(lambda v: H @ v, np.zeros(n), preconditioner=p, tol=1e-13, max_steps=12_000)
        print(
            f"{name:16} {int(fits[name].steps):6} pairs, error {float(fits[name].error):.0e}, {fits[name].status.name}"
        )

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
eq.plot.fit(fits, ax=axes[0]).legend(frameon=False, fontsize="small", loc="center right", bbox_to_anchor=(1, 0.42))
eq.plot.spectrum(fits["qeq 0.5"], lambda v: H @ v, ax=axes[1])
axes[1].set_title("of qeq 0.5, which stalled", loc="left")

# %%
# Even the fit that stalled leaves a fraction of the condition number, and that is what a solver asks for.

# %%
# Negative eigenvalues
# --------------------
# Where H is indefinite, P goes to the inverse of its magnitude: the eigenvalues of P H become 1 and -1. Then pairs
# contradict each other a little even at the solution, and a step that stays as it is hovers. One that falls does not.

signs = np.where(np.arange(n) % 3, 1.0, -1.0)
S = (basis * values * signs) @ basis.T
with warnings.catch_warnings():
    warnings.simplefilter("ignore", eq.ConvergenceWarning)
    steps = {"0.1": 0.1, "Annealed(0.1, 1000)": Annealed(0.1, 1000)}
    mixed = {
        name: fit_hessian(lambda v: S @ v, np.zeros(n), preconditioner=psgd(step=step), max_steps=20_000)
        for name, step in steps.items()
    }
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
eq.plot.fit(mixed, ax=axes[0])
eq.plot.spectrum(mixed["Annealed(0.1, 1000)"], lambda v: S @ v, ax=axes[1])

# %%
# Systems that change
# -------------------
# P is an operator, as ``linear.cg`` takes it and the solvers of SciPy do. As the matrix drifts, P grows old. A fit goes
# on from where it was with ``init``, and a few hundred pairs renew it.


def steps_of(A, b, P=None):
    return int(eq.linear.cg(A, b, preconditioner=P, tol=1e-10).steps)


fit, matrix = fits["quad 0.1"], H
print("drift   without P   P of the start   P kept up")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", eq.ConvergenceWarning)  # 300 pairs are not meant to arrive
    for drift in range(5):
        b = rng.standard_normal(n)
        print(
            f"{drift:5} {steps_of(matrix, b):11} {steps_of(matrix, b, fits['quad 0.1'].preconditioner):16}"
            f" {steps_of(matrix, b, fit.preconditioner):11}"
        )
        turn = rng.standard_normal((n, n))
        turn = np.linalg.qr(np.eye(n) + 0.03 * (turn - turn.T))[0]
        matrix = turn @ matrix @ turn.T
        fit = fit_hessian(lambda v: matrix @ v, np.zeros(n), init=fit, max_steps=300)  # noqa: B023

# %%
# A pair costs as much as a step of cg does, so that this pays where many systems are solved with each matrix, or where
# the products come about anyway, as they do in an optimizer. For a single system take ``cg`` as it is.
plt.show()
