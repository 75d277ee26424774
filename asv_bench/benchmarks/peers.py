"""Sinkhorn here and elsewhere, on the same problem, to the same accuracy, measured alike.

"To the same accuracy" is the hard part, for each library stops by a number of its own. One function, `true_error`,
therefore judges every answer in float64 by sum_i |(P 1)_i - a_i| + sum_j |(P^T 1)_j - b_j|, and every peer is given
the loosest setting with which it still gets below the tolerance, so that none loses time to a needlessly strict one.
How each of them stops, as read in the source of POT 0.9.7 and OTT-JAX 0.6.0:

POT, ``ot.bregman.sinkhorn_log``
    Looks after iterations 1, 11, 21, ... and stops where the *L2* norm of the column marginal's defect is below
    ``stopThr``; the rows are exact then. L2 <= L1 <= sqrt(n) L2, so ``stopThr=tol`` stops too early, at an L1 error
    of up to sqrt(n) tol, and ``tol/sqrt(n)``, which is safe, often some looks too late. `pot_threshold` finds the
    number that makes it stop at the first look with an L1 error within the tolerance. It returns the dense plan
    besides: one more of its many passes over n x m.
OTT-JAX, ``ott.solvers.linear.sinkhorn.Sinkhorn(lse_mode=True)``
    Looks every ``inner_iterations=10`` iterations and stops where the L1 norm of the column marginal's defect is
    below ``threshold``; the rows are exact then, so that its number *is* the true error, and ``threshold=tol``. It is
    jitted, warm, and asked for nothing but potentials and the count, so that XLA drops the value that it would
    compute as well.
Equipoise
    Looks every iteration, where that is free, and stops at 0.9 tol by the L1 norm of both defects.

Libraries are imported where they are used, not above: a missing one must not take the others' figures with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "BACKENDS",
    "SOLVERS",
    "Measured",
    "Problem",
    "cpu_seconds",
    "make_problem",
    "measure",
    "prepare",
    "true_error",
]

BACKENDS = ("numpy", "numpy-portable", "torch", "jax")
SOLVERS = (*BACKENDS, "pot", "ott")
MAX_STEPS = 10_000
POT_LOOKS = 10  # iterations between two looks at the error, fixed in POT's source
Vector = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Problem:
    """One transport problem, in numpy arrays of the dtype to compute in."""

    cost: Vector
    a: Vector
    b: Vector
    epsilon: float
    tol: float


@dataclass(frozen=True)
class Answer:
    """The plan exp(log_u_i + log_v_j - C_ij/epsilon), and the iterations that it took."""

    log_u: Vector
    log_v: Vector
    steps: int


@dataclass(frozen=True)
class Solver:
    """`run` is what the clock sees; `read` makes an `Answer` of what it returns."""

    run: Callable[[], Any]
    read: Callable[[Any], Answer]


@dataclass(frozen=True)
class Measured:
    """Least CPU seconds of a solve, the iterations that it took, and the true error of its answer."""

    seconds: float
    steps: int
    error: float


def make_problem(
    cost: str, n: int, epsilon: float, *, uniform: bool = False, dtype: str = "float64", tol: float | None = None
) -> Problem:
    """A problem of n x n: ``"random"`` costs in [0, 1), easy, or a ``"cloud"`` of points in the plane.

    The default `tol` is the library's own, 1e-6 and in float32 1e-4.
    """
    rng = np.random.default_rng(20_240_601)
    if cost == "random":
        table = rng.random((n, n))
    elif cost == "cloud":
        x, y = rng.random((n, 2)), rng.random((n, 2))
        table = np.sum((x[:, None] - y[None]) ** 2, axis=-1)
    else:
        raise ValueError(f"cost must be 'random' or 'cloud', got {cost!r}")
    a, b = (np.full(n, 1.0 / n) if uniform else _weights(rng, n) for _ in range(2))
    if tol is None:
        tol = 1e-6 if dtype == "float64" else 1e-4
    return Problem(table.astype(dtype), a.astype(dtype), b.astype(dtype), epsilon, tol)


def _weights(rng: np.random.Generator, n: int) -> Vector:
    w = rng.random(n) + 0.1
    return w / w.sum()


def true_error(problem: Problem, answer: Answer) -> float:
    """The L1 norm of both marginals' defects, in float64 whatever the solver computed in."""
    log_u, log_v = (np.asarray(x, dtype=np.float64) for x in (answer.log_u, answer.log_v))
    plan = np.exp(log_u[:, None] + log_v - problem.cost.astype(np.float64) / problem.epsilon)
    return float(np.abs(plan.sum(1) - problem.a).sum() + np.abs(plan.sum(0) - problem.b).sum())


# ---------------------------------------------------------------------------------------------------------------------
# The solvers


def prepare(name: str, problem: Problem) -> Solver:
    """The solver called `name`, compiled and with its inputs converted: nothing is left to do but to solve.

    Raises
    ------
    ImportError
        If its library is not installed.
    """
    if name in BACKENDS:
        return _equipoise(name, problem)
    return {"pot": _pot, "ott": _ott}[name](problem)


def _equipoise(name: str, problem: Problem) -> Solver:
    import equipoise as eq

    convert: Callable[[Vector], Any] = np.asarray
    if name == "torch":
        import torch

        torch.set_num_threads(1)
        convert = torch.from_numpy
    elif name == "jax":
        convert = _jax().numpy.asarray
    context = eq.portable if name == "numpy-portable" else contextlib.nullcontext
    arrays = tuple(convert(x) for x in (problem.cost, problem.a, problem.b))

    def run(max_steps: int = MAX_STEPS) -> Any:
        with context():
            return eq.transport.sinkhorn(*arrays, epsilon=problem.epsilon, tol=problem.tol, max_steps=max_steps)

    def read(result: Any) -> Answer:
        f, g = (np.asarray(x, dtype=np.float64) / problem.epsilon for x in (result.f, result.g))
        return Answer(f + np.log(problem.a), g + np.log(problem.b), int(result.steps))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        run(max_steps=2)  # kernels are compiled at the first call
    return Solver(run, read)


def _pot(problem: Problem) -> Solver:
    from ot.bregman import sinkhorn_log

    arguments = (problem.a, problem.b, problem.cost, problem.epsilon)
    threshold = pot_threshold(problem)

    def run() -> Any:
        return sinkhorn_log(*arguments, numItermax=MAX_STEPS, stopThr=threshold, log=True, warn=False)

    def read(out: Any) -> Answer:
        _, log = out
        return Answer(log["log_u"], log["log_v"], log["niter"] + 1)  # `niter` is the last index, from 0

    return Solver(run, read)


def pot_threshold(problem: Problem) -> float:
    """The loosest ``stopThr`` with which POT's answer is within the tolerance.

    Walks along POT's own iterates, by warm starts from one look to the next, until the true error is small enough; the
    threshold then lies between the L2 norm at this look and the least one before. Where those do not separate (the norm
    has gone up), or nothing is reached, it is the safe one, tol/sqrt(n).
    """
    from ot.bregman import sinkhorn_log

    warm: Any = None
    least = math.inf
    for look in range(MAX_STEPS // POT_LOOKS):
        _, log = sinkhorn_log(
            *(problem.a, problem.b, problem.cost, problem.epsilon),
            numItermax=POT_LOOKS if look else 1,
            stopThr=0.0,
            log=True,
            warn=False,
            warmstart=warm,
        )
        answer = Answer(log["log_u"], log["log_v"], 0)
        warm = (log["log_u"], log["log_v"])
        log_plan = answer.log_u[:, None] + answer.log_v - problem.cost / problem.epsilon
        norm = float(np.linalg.norm(np.exp(log_plan).sum(0) - problem.b))
        if true_error(problem, answer) <= problem.tol:
            if norm < least:
                return 2.0 * norm if math.isinf(least) else math.sqrt(norm * least)
            break
        least = min(least, norm)
    return problem.tol / math.sqrt(problem.b.size)


def _ott(problem: Problem) -> Solver:
    jax = _jax()
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    @jax.jit
    def solve(cost: Any, a: Any, b: Any, threshold: Any) -> Any:
        solver = Sinkhorn(lse_mode=True, threshold=threshold, max_iterations=MAX_STEPS)
        out = solver(LinearProblem(Geometry(cost_matrix=cost, epsilon=problem.epsilon), a, b))
        return out.f, out.g, out.n_iters

    arrays = tuple(jax.numpy.asarray(x) for x in (problem.cost, problem.a, problem.b))

    def run(threshold: float = problem.tol) -> Any:
        return jax.block_until_ready(solve(*arrays, threshold))

    def read(out: Any) -> Answer:
        f, g, steps = out
        return Answer(*(np.asarray(x, dtype=np.float64) / problem.epsilon for x in (f, g)), int(steps))

    run(threshold=1e6)  # compiles, and stops at its first look
    return Solver(run, read)


def _jax() -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


# ---------------------------------------------------------------------------------------------------------------------
# The clock


def cpu_seconds(calls: Iterable[Callable[[], Any]], *, rounds: int, budget: float = math.inf) -> list[float]:
    """Least CPU seconds of each call: all of them in turn, `rounds` times, those that have used up `budget` no more.

    CPU time of the process, all threads included, since wall time on a shared machine measures its other users; the
    least, since disturbance only adds; in turn, since a slow spell then meets all alike.
    """
    calls = list(calls)
    best, spent = [math.inf] * len(calls), [0.0] * len(calls)
    for _ in range(rounds):
        for k, call in enumerate(calls):
            if spent[k] < budget:
                start = time.process_time()
                call()
                seconds = time.process_time() - start
                best[k], spent[k] = min(best[k], seconds), spent[k] + seconds
    return best


def keep_freed_memory() -> None:
    """Stop glibc from handing freed memory back to the system.

    By default it may do so for each temporary of 8 MB, and the system then clears fresh pages for the next one: nearly
    half of POT's CPU time at n = 1000, which says something of the allocator and nothing of the method.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-4, 0)  # M_MMAP_MAX: everything from the heap
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and the heap is not trimmed


def measure(
    problem: Problem, names: Iterable[str] = SOLVERS, *, rounds: int = 7, budget: float = 3.0
) -> dict[str, Measured | str]:
    """Every solver on `problem`, in this process; for one that is not installed, the reason in place of figures."""
    keep_freed_memory()
    found: dict[str, Measured | str] = {}
    solvers: dict[str, Solver] = {}
    answers: dict[str, Any] = {}
    for name in names:
        try:
            solvers[name] = prepare(name, problem)
        except ImportError as error:
            found[name] = f"{name} is not installed: {error}"

    def keep(name: str) -> Callable[[], None]:
        def call() -> None:
            answers[name] = solvers[name].run()

        return call

    for name, seconds in zip(solvers, cpu_seconds(map(keep, solvers), rounds=rounds, budget=budget), strict=True):
        answer = solvers[name].read(answers[name])
        found[name] = Measured(seconds, answer.steps, true_error(problem, answer))
    return found
