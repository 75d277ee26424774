"""The problems of the demos by other libraries, where these are installed: a sentence each for the report.

Times are CPU times of the process, on our side after a first call that compiles. They mean something on one thread
only, on which ``make demo`` runs. A peer gets the problem in the form that it likes best; making that form is not
timed.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..record import plain

__all__ = ["beside", "least_time", "pot", "scipy_cg", "scipy_linprog", "textbook_iqe"]

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def least_time(work: Callable[[], Any], rounds: int = 3) -> tuple[Any, float]:
    """What `work` returns, and its least CPU time in seconds."""
    done, least = None, np.inf
    for _ in range(rounds):
        start = time.process_time()
        done = work()
        least = min(least, time.process_time() - start)
    return done, least


def beside(name: str, theirs: float, ours: float, note: str = "") -> str:
    """Both times and their ratio, in a sentence."""
    ratio = theirs / max(ours, 1e-9)
    return f"{name} takes {theirs:.2g} s, this {ours:.2g} s: {ratio:.2g} times{f'; {note}' if note else ''}"


def pot(cost: Floats, epsilon: float, sweeps: int, tol: float, ours: float) -> str:
    """POT's Sinkhorn sweeps on a stored cost with even weights: as many as plain sweeps need here."""
    if find_spec("ot") is None:
        return "POT is not installed"
    solve = import_module("ot").bregman.sinkhorn_knopp
    a, b = (np.full(k, 1.0 / k) for k in cost.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns when sweeps run out, which is how it is stopped here
        plan, seconds = least_time(lambda: solve(a, b, cost, epsilon, numItermax=sweeps, stopThr=0.0), rounds=1)
    error = float(np.abs(plan.sum(axis=1) - a).sum() + np.abs(plan.sum(axis=0) - b).sum())
    reached = "" if error <= 1.1 * tol else " which is not the tolerance"
    return beside("POT's ot.sinkhorn", seconds, ours, f"it ends at {error:.1e}{reached} after {sweeps:,} plain sweeps")


def scipy_cg(systems: Sequence[Any], start: Floats, tol: float, ours: float) -> str:
    """A march through sparse systems by SciPy's conjugate gradients, each from the solution before."""
    if find_spec("scipy") is None:
        return "SciPy is not installed"
    sparse, solve = import_module("scipy.sparse"), import_module("scipy.sparse.linalg").cg
    rows = [system.A.to_csr() for system in systems]
    matrices = [sparse.csr_array((A.data, A.indices, A.indptr), shape=A.shape) for A in rows]
    steps: list[Any] = []
    u, seconds, missed = start, 0.0, 0
    for system, A in zip(systems, matrices, strict=True):
        b = np.asarray(plain(system.b)(u)).ravel()
        begun = time.process_time()
        x, info = solve(A, b, x0=u.ravel(), rtol=tol, atol=0.0, callback=steps.append)
        seconds += time.process_time() - begun
        missed += info != 0
        u = x.reshape(start.shape)
    note = f", and misses the tolerance of {missed} systems" if missed else ""
    return beside("scipy.sparse.linalg.cg", seconds, ours, f"it takes {len(steps):,} steps{note}")


def scipy_linprog(payoff: Floats, ours: float) -> str:
    """A matrix game as a linear program, by the simplex method of HiGHS."""
    if find_spec("scipy") is None:
        return "SciPy is not installed"
    solve, (m, n) = import_module("scipy.optimize").linprog, payoff.shape
    above = np.concatenate([payoff, -np.ones((m, 1))], axis=1)
    unknown = {"c": np.append(np.zeros(n), 1.0), "bounds": [*[(0.0, None)] * n, (None, None)]}
    sums = {"A_eq": np.append(np.ones(n), 0.0)[None], "b_eq": [1.0]}
    done, seconds = least_time(lambda: solve(A_ub=above, b_ub=np.zeros(m), method="highs-ds", **unknown, **sums), 1)
    return beside("HiGHS's simplex method", seconds, ours, f"its value {done.fun:.6f} is exact to rounding")


def textbook_iqe(points: Floats, components: int, distances: Floats, ours: float) -> str:
    """All distances of an interval quasimetric with the sum for its reduction, as torch code would write them."""
    if find_spec("torch") is None:
        return "torch is not installed"
    torch = import_module("torch")
    x = torch.tensor(points).unflatten(-1, (components, -1))

    def all_pairs() -> Any:
        left, order = x[:, None].expand(len(x), *x.shape).sort(dim=-1)
        right = torch.maximum(left, x[None].expand_as(left).gather(-1, order)).cummax(dim=-1).values
        covered = right[..., 1:] - torch.maximum(left[..., 1:], right[..., :-1])
        return (covered.sum(dim=-1) + right[..., 0] - left[..., 0]).sum(dim=-1)

    theirs, seconds = least_time(all_pairs)
    apart = float(np.abs(theirs.numpy() - distances).max())
    return beside("The textbook formula in torch", seconds, ours, f"all pairs agree to {apart:.0e}")
