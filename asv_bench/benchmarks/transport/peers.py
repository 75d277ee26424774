"""Sinkhorn here and elsewhere, on the same problem, to the same accuracy, measured alike.

"To the same accuracy" is the hard part, for each library stops by a number of its own. One function, `true_error`,
therefore judges every answer in float64 by sum_i |(P 1)_i - a_i| + sum_j |(P^T 1)_j - b_j|, and every peer is given
the loosest setting with which it still gets below the tolerance, so that none loses time to a needlessly strict one.
A peer whose answer is not within the tolerance in the end is marked, and its time enters no ratio.
How each of them stops, as read in the source of POT 0.9.7, OTT-JAX 0.6.0, GeomLoss 0.3.1 and regot 0.0.3:

POT, ``ot.bregman.sinkhorn_log`` (``pot-log``), ``sinkhorn`` (``pot-kernel``), ``sinkhorn_stabilized``
    Look after iterations 1, 11, 21, ... (the last: 1, 21, 41, ...) and stop where the *L2* norm of the column
    marginal's defect is below ``stopThr``; the rows are exact then. L2 <= L1 <= sqrt(n) L2, so ``stopThr=tol`` stops
    too early, at an L1 error of up to sqrt(n) tol, and ``tol/sqrt(n)``, which is safe, often some looks too late.
    `pot_threshold` finds the number that makes them stop at the first look with an L1 error within the tolerance. All
    return the dense plan besides. ``sinkhorn`` stores exp(-C/epsilon) twice, and where that underflows it warns and
    returns what it had. ``sinkhorn_stabilized`` absorbs large scalings into potentials, and where it does so at a
    look, that look sees the scalings that it has just reset.
OTT-JAX, ``ott.solvers.linear.sinkhorn.Sinkhorn(lse_mode=True)`` (``ott``)
    Looks every ``inner_iterations=10`` iterations and stops where the L1 norm of the column marginal's defect is
    below ``threshold``; the rows are exact then, so that its number *is* the true error, and ``threshold=tol``. It is
    jitted, warm, and asked for nothing but potentials and the count, so that XLA drops the value that it would
    compute as well. ``ott-points`` is given points in place of a cost, and makes the cost of them in each solve; to
    stream them instead (``batch_size``) fails with jax 0.10.2, on a name that jax has removed.
    ``ott-momentum`` over-relaxes, by a factor that it derives from its errors shortly before iteration ``start``.
    The rows are not exact then, and its own number is below the true error: several starts and thresholds are tried
    beforehand, and the clock sees the pair that needs the fewest iterations.
GeomLoss, ``SamplesLoss("sinkhorn", backend="tensorized")`` (``geomloss``: ``scaling=0.5``, the default;
``geomloss-fine``: 0.99)
    Has no test: a ladder of temperatures from the range of the cost to epsilon, each 1/scaling^2 below the last, one
    averaged Jacobi step on each and a last full one. Neither marginal is exact, and the error falls only with the
    number of rungs. (``geomloss.ot.solve`` takes a ``tol`` and reads it nowhere.) Its time is that of a poorer answer
    and is printed beside its true error, never in a ratio. It is handed the ready cost through ``cost=``.
regot, ``sinkhorn_ssns``, ``sinkhorn_newton``, ``sinkhorn_splr``, ``sinkhorn_sparse_newton``, ``sinkhorn_bcd``
    Look at every iteration, and stop where the L2 norm of the dual gradient is below ``tol``: the defects of both
    marginals in one vector, without the last column's. L1 <= 2 sqrt(n + m) L2; `regot_threshold` finds the loosest.
    ``newton`` factorises the full matrix, ``bcd`` is log-domain Sinkhorn. Float64 only; the cost is handed over in the
    column order that it wants; the dense plan is returned besides. ``ssns`` tries steps 1, 1/2, 1/4 and 1/10 and says
    nothing if it stalls.
    Left out: ``sinkhorn_apdagd``, whose test is another (a duality gap) and which had an error of 3e-3 after 1000
    iterations where others were done, and ``sinkhorn_lbfgs_dual``, whose line search gave up at epsilon 1e-3.
Equipoise
    Stops by the L1 norm of both defects, at 0.9 tol (0.5 in float32). Its entries are in ``own.py``,
    the others' in ``elsewhere.py``.

Peers for games and linear programs (MPAX, HiGHS, SCS) are told of in ``monotone/peers.py``.

Any name may end in ``@float32`` or ``@float64``: the problem in that dtype, and judged as such.
Libraries are imported where they are used, not above: a missing one must not take the others' figures with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..clock import cpu_seconds, keep_freed_memory
from .elsewhere import PEERS
from .own import BACKENDS, OWN, prepare_own
from .problems import Missing, Problem, Solver, make_problem, true_error, within

__all__ = [
    "BACKENDS",
    "PEERS",
    "SOLVERS",
    "Measured",
    "Missing",
    "Problem",
    "cpu_seconds",
    "make_problem",
    "measure",
    "over",
    "prepare",
    "true_error",
]

SOLVERS = (*BACKENDS, "pot-log", "ott")  # what the first table compares


@dataclass(frozen=True)
class Measured:
    """Least CPU seconds of a solve, the iterations that it took, the true error of its answer, and the tolerance."""

    seconds: float
    steps: int
    error: float
    tol: float

    @property
    def reached(self) -> bool:
        return within(self.error, self.tol)


def prepare(name: str, problem: Problem) -> Solver:
    """The solver called `name`, compiled and with its inputs converted: nothing is left to do but to solve.

    Raises
    ------
    ImportError
        If its library is not installed.
    Missing
        If it cannot be had for another reason.
    """
    name, _, dtype = name.partition("@")
    if dtype:
        problem = problem.astype(dtype)
    return prepare_own(name, problem) if name in OWN else PEERS[name](problem)


def over(ours: Measured | str, peer: Measured | str) -> float:
    """Our CPU time over the peer's; NaN unless both answers are within the tolerance."""
    if isinstance(ours, str) or isinstance(peer, str) or not (ours.reached and peer.reached):
        return math.nan
    return ours.seconds / peer.seconds


def measure(
    problem: Problem, names: Iterable[str] = SOLVERS, *, rounds: int = 7, budget: float = 3.0
) -> dict[str, Measured | str]:
    """Every solver on `problem`, in this process; for one that cannot be had, the reason in place of figures."""
    keep_freed_memory()
    found: dict[str, Measured | str] = {}
    solvers: dict[str, Solver] = {}
    answers: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        try:
            solvers[name] = prepare(name, problem)
        except ImportError as error:
            found[name] = f"{name} is not installed: {error}"
        except Missing as reason:
            found[name] = str(reason)

    def keep(name: str) -> Callable[[], None]:
        def call() -> None:
            answers[name] = solvers[name].run()

        return call

    for name, seconds in zip(solvers, cpu_seconds(map(keep, solvers), rounds=rounds, budget=budget), strict=True):
        solver = solvers[name]
        answer = solver.read(answers[name])
        found[name] = Measured(seconds, answer.steps, true_error(solver.problem, answer), problem.tol)
    return found
