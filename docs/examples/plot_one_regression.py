"""
One regression, four families
=============================

Late flights once more: a ridge regression of the delays on 98 columns. It is a least-squares problem for
:doc:`sketch </families/sketch>`, a linear system for :doc:`linear </families/linear>`, with a preconditioner that
:doc:`precondition </families/precondition>` learns from samples of the rows, and a sum of many small operators for
:doc:`monotone </families/monotone>`. All of them come to the same coefficients. This example counts how often they read
the data on the way, and says which one to take when.
"""

# %%
# The problem
# -----------
# Every second flight that left New York in 2013; :ref:`another example <sphx_glr_gallery_plot_flights.py>` tells what
# the columns are. The ridge is written as 98 further rows, which makes it a plain least-squares problem.

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np

import equipoise as eq
from equipoise.demo import flights
from equipoise.precondition import fit_hessian, psgd

A, b, names = flights.flights(every=2)
(n, d), ridge = A.shape, 1e-3
tall = np.concatenate([A, np.sqrt(n * ridge) * np.eye(d)])
right = np.concatenate([b, np.zeros(d)])
print(f"{n:,} flights, {d} columns")


def timed(work):
    """What it returns, and its CPU time; one that runs out of steps has an answer all the same."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        done = work()
    return done, time.process_time() - start


# %%
# A sketch
# --------
# ``lstsq`` reads the data three times, as :ref:`counted elsewhere <sphx_glr_gallery_plot_out_of_core.py>`: for a
# sketch, which tells how the columns are conditioned, for a solution, and to make it right to rounding. The others are
# measured against it. Solvers may compile at their first call, so that each is called once before the clock starts.

eq.sketch.lstsq(tall, right)
exact, seconds = timed(lambda: eq.sketch.lstsq(tall, right))
table = {"lstsq": (exact.x, 3.0, seconds)}
print(exact.method, "of", exact.sketch_rows, "rows, condition", f"{exact.condition:.0f}")

# %%
# A linear system
# ---------------
# The gradient vanishes where ``(A^T A / n + ridge) x = A^T b / n``. Conjugate gradients ask for products with that
# matrix only, and each of them reads all the data. What they need most is a preconditioner: Jacobi's divides by the
# diagonal.


class Operator:
    """A symmetric matrix that is known by what it does to a vector."""

    shape, dtype = (d, d), np.dtype(float)

    def __init__(self, matvec):
        self.matvec = matvec


normal = Operator(lambda v: (A @ v) @ A / n + ridge * v)
target = b @ A / n
diagonal = np.einsum("ij,ij->j", A, A) / n + ridge
jacobi = Operator(lambda v: v / diagonal)


def solve(preconditioner):
    return eq.linear.cg(normal, target, preconditioner=preconditioner, check_every=1)


eq.linear.cg(normal, target, tol=0.5)
results = {}
for name, preconditioner in {"cg": None, "cg, Jacobi": jacobi}.items():
    results[name], seconds = timed(lambda: solve(preconditioner))  # noqa: B023
    table[name] = results[name].x, float(results[name].steps), seconds

# %%
# A preconditioner that has seen samples
# --------------------------------------
# ``fit_hessian`` needs products as well, but noisy ones do: here each is made from 500 flights drawn at random, so that
# 2000 of them read as much as a few passes over the data. What they miss is the noise: the fit stops far from the
# inverse, and does for a preconditioner.

draw = np.random.default_rng(0)


def sampled(v):
    rows = A[draw.integers(0, n, 500)]
    return (rows @ v) @ rows / 500 + ridge * v


form = psgd(form="procrustes", step=0.25)
fit_hessian(sampled, np.zeros(d), preconditioner=form, tol=np.inf)
fit, learning = timed(lambda: fit_hessian(sampled, np.zeros(d), preconditioner=form, max_steps=2000, probes=1, tol=0.0))
read = int(fit.hvps) * 500 / n
results["cg, fitted"], seconds = timed(lambda: solve(fit.preconditioner))
table["cg, fitted"] = results["cg, fitted"].x, read + float(results["cg, fitted"].steps), seconds + learning
print(f"{int(fit.hvps)} products with samples, as much as {read:.1f} passes over the data")

# %%
# A sum of small operators
# ------------------------
# The gradient is a mean over flights, and ``halpern_vr`` looks at some of them in each step. It never uses that there
# is a matrix behind it, nor that what it finds is a minimum.

loss = eq.monotone.LeastSquaresGradient(A, b, ridge)
eq.monotone.halpern_vr(loss, np.zeros(d), tol=1.0)
halpern, seconds = timed(lambda: eq.monotone.halpern_vr(loss, np.zeros(d), tol=1e-3))
table["halpern_vr"] = halpern.u, float(halpern.oracle_calls) / n, seconds

# %%
# What came of it
# ---------------
# "Off" is the largest difference of a coefficient from the first row, in minutes: the others are as near as their
# tolerances let them stop.

print("                  off   passes   CPU seconds")
for name, (x, passes, seconds) in table.items():
    print(f"{name:12}{np.abs(x - exact.x).max():9.0e}{passes:9.1f}{seconds:14.2f}")

# %%
# On the left all errors are residuals of the same equations, relative to that of zero. The run with the fitted
# preconditioner starts late, since its samples are counted too. On the right is why it pays: of a condition number in
# the thousands little more than ten is left.

H = A.T @ A / n + ridge * np.eye(d)
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
ax = eq.plot.convergence(*results.values(), labels=list(results), ax=axes[0])
late = ax.get_lines()[-1]
late.set_xdata(late.get_xdata() + read)
seen = halpern.history
ax.plot(seen.oracle_calls / n, seen.error / np.linalg.norm(target), ":", color="C3", label="halpern_vr")
ax.legend(frameon=False)
ax.set(xlabel="passes over the data", ylabel="relative residual")
eq.plot.spectrum(fit, lambda v: H @ v, ax=axes[1])

# %%
# Which one?
# ----------
# * A matrix that is there, tall, in memory or in blocks: ``sketch.lstsq``. It is the fastest and the most accurate, and
#   keeps its digits where plain normal equations lose them.
# * A matrix that is known by its products: ``linear.cg``, with the best preconditioner that the entries allow.
# * No entries, but products that can be sampled, or many systems with nearly the same matrix: fit a preconditioner with
#   ``precondition.fit_hessian`` and keep it.
# * A sum whose operator is no gradient, or has constraints: ``monotone.halpern_vr``. For a plain regression it does
#   more than is asked, and takes longer.
plt.show()
