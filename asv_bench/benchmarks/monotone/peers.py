"""Linear programs elsewhere: each peer is prepared once and then solves, and tells its own CPU seconds.

MPAX, ``r2HPDHG`` (``mpax``)
    The same method as ours, in jax. Dense matrices, float64, ``eps_abs = eps_rel = 1e-6``, everything else as it comes;
    it stops by the largest entries of the residuals, looked at every 100 steps. It is jitted and compiled before the
    clock starts, which takes 2 to 13 seconds, and one thread is all that XLA gets.
HiGHS (``highs-ipm``, ``highs-simplex``, ``highs-pdlp``)
    In a process of its own (``highs.py``), since its library does not load beside some others; the CPU time is that of
    ``run`` there. The interior-point method without crossover, ``ipm_optimality_tolerance=1e-6``; the simplex
    method as it comes, presolve included; and its first-order method.
SCS (``scs``)
    ``eps_abs = eps_rel = 1e-6``, its direct solver. Made for cones and sparse data: for information.

None of them stops by our number. So a peer goes first, one judge takes the error of its answer, whatever the library
says of it, and then we go to that error (`duel`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..clock import keep_freed_memory

__all__ = ["FLOOR", "PEERS", "Answer", "Duel", "Program", "duel", "duels", "timed"]

TOL = 1e-6  # every peer's own
SOLVED = ("optimal", "solved")  # as they say it
FLOOR = 1e-11  # of an error, below which nobody is asked to go: a simplex method is exact up to rounding


@dataclass(frozen=True)
class Program:
    """Minimise c x subject to A x = b, G x >= h, lower <= x <= upper; dense, float64, blocks may have no rows."""

    c: Any
    A: Any
    b: Any
    G: Any
    h: Any
    lower: Any
    upper: Any


@dataclass(frozen=True)
class Answer:
    """A point, multipliers of A and then of G, and how many steps of its own kind the solver took."""

    x: Any
    y: Any
    steps: int
    status: str


Timed = Callable[[], tuple[float, Answer]]  # CPU seconds, and the answer


def timed(solve: Callable[[], Any], read: Callable[[Any], Answer]) -> Timed:
    """A solver of this process with a clock around it."""

    def call() -> tuple[float, Answer]:
        start = time.process_time()
        out = solve()
        return time.process_time() - start, read(out)

    return call


# ---------------------------------------------------------------------------------------------------------------------
# In this process


def mpax(program: Program) -> Timed:
    import jax

    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    import jax.numpy as jnp
    from mpax import create_lp, r2HPDHG

    arrays = (program.c, program.A, program.b, program.G, program.h, program.lower, program.upper)
    problem = create_lp(*map(jnp.asarray, arrays), use_sparse_matrix=False)
    solver = r2HPDHG(eps_abs=TOL, eps_rel=TOL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jax's, of names that it is to lose
        solve = jax.jit(solver.optimize).lower(problem).compile()

    def read(out: Any) -> Answer:
        status = "optimal" if int(out.termination_status) == 2 else f"status {int(out.termination_status)}"
        return Answer(np.array(out.primal_solution), np.array(out.dual_solution), int(out.iteration_count), status)

    return timed(lambda: jax.block_until_ready(solve(problem)), read)


def scs(program: Program) -> Timed:
    import scipy.sparse as sparse
    from scs import SCS

    n = program.c.size
    bounds = [(-1.0, program.lower), (1.0, program.upper)]
    kept = [(sign, np.flatnonzero(np.isfinite(bound)), bound) for sign, bound in bounds]
    rows = [sign * sparse.eye_array(n, format="csr")[index] for sign, index, _ in kept]
    sides = [sign * bound[index] for sign, index, bound in kept]
    data = {
        "A": sparse.vstack([sparse.csr_array(program.A), sparse.csr_array(-program.G), *rows], format="csc"),
        "b": np.concatenate([program.b, -program.h, *sides]),
        "c": program.c,
    }
    p, q = program.b.size, program.h.size
    cone = {"z": p, "l": data["b"].size - p}

    def read(out: Any) -> Answer:
        y = np.concatenate([-out["y"][:p], out["y"][p : p + q]])
        return Answer(out["x"], y, int(out["info"]["iter"]), out["info"]["status"])

    return timed(
        lambda: SCS(
            data, cone, eps_abs=TOL, eps_rel=TOL, max_iters=100_000, time_limit_secs=20.0, verbose=False
        ).solve(),
        read,
    )


# ---------------------------------------------------------------------------------------------------------------------
# In another


def highs(solver: str) -> Callable[[Program], Timed]:
    """HiGHS's solver of that name, in a process that lives as long as the function that is returned."""

    def prepare(program: Program) -> Timed:
        if importlib.util.find_spec("highspy") is None:
            raise ImportError("No module named 'highspy'")
        worker = Worker(solver, program)
        return worker.solve

    return prepare


class Worker:
    """``highs.py``, which reads a problem once and then solves it whenever it is told to."""

    def __init__(self, solver: str, program: Program) -> None:
        command = [sys.executable, str(Path(__file__).with_name("highs.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ))
        data = {name: getattr(program, name) for name in ("c", "A", "b", "G", "h", "lower", "upper")}
        self.send((solver, TOL, data))

    def send(self, message: Any) -> None:
        assert self.process.stdin is not None
        pickle.dump(message, self.process.stdin)
        self.process.stdin.flush()

    def solve(self) -> tuple[float, Answer]:
        assert self.process.stdout is not None
        self.send("solve")
        seconds, x, y, steps, status = pickle.load(self.process.stdout)
        return seconds, Answer(x, y, steps, status)

    def __del__(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        self.process.wait()


PEERS: dict[str, Callable[[Program], Timed]] = {
    "mpax": mpax,
    "highs-ipm": highs("ipm"),
    "highs-simplex": highs("simplex"),
    "highs-pdlp": highs("pdlp"),
    "scs": scs,
}


# ---------------------------------------------------------------------------------------------------------------------
# The comparison


@dataclass(frozen=True)
class Duel:
    """Least CPU seconds, steps and errors of both; `solved`: the peer says that it is done; `reached`: so are we."""

    theirs: float
    their_steps: int
    their_error: float
    status: str
    solved: bool
    ours: float
    our_steps: int
    our_error: float
    reached: bool

    @property
    def ratio(self) -> float:
        """Our CPU time over the peer's; NaN where one of us did not get there."""
        return self.ours / self.theirs if self.reached else math.nan


def duel(
    peer: Timed,
    ours: Callable[[float], tuple[float, Answer]],
    judge: Callable[[Any, Any], float],
    *,
    floor: float = FLOOR,
    rounds: int = 3,
    budget: float = 6.0,
) -> Duel:
    """The peer, then ours to the error that it reached, in turn; least seconds of each.

    Where the peer gives up, we go to the common tolerance.
    """
    keep_freed_memory()
    best, spent = [math.inf, math.inf], 0.0
    for _ in range(rounds):
        theirs, found = peer()
        error = judge(found.x, found.y)
        solved = found.status in SOLVED and math.isfinite(error)
        target = max(error, floor) if solved else TOL
        mine, own = ours(target)
        own_error = judge(own.x, own.y)
        best = [min(best[0], theirs), min(best[1], mine)]
        spent += theirs + mine
        if spent > budget:
            break
    reached = solved and own_error <= 1.01 * target
    return Duel(best[0], found.steps, error, found.status, solved, best[1], own.steps, own_error, reached)


# ---------------------------------------------------------------------------------------------------------------------
# asv


Duels = dict[str, Duel | str]


def duels(compare: Callable[..., dict[str, Duel]], make: Callable[[str, int], Any], cases: Any) -> Duels:
    """The duel of every case, or why there is none, for a class's own `setup_cache`: asv tells them by their places."""
    found: Duels = {}
    for name, (kind, n, peer) in cases.items():
        try:
            found[name] = compare(make(kind, n), [peer])[peer]
        except ImportError as reason:
            found[name] = str(reason)
    return found


class _Tracks:
    """What is tracked of the duels that `setup_cache` has made."""

    def setup(self, found: Duels, case: str) -> None:
        figures = found[case]
        if isinstance(figures, str):
            raise NotImplementedError(figures)
        self.figures = figures

    def track_ratio(self, *case: Any) -> float:
        return self.figures.ratio

    def track_steps(self, *case: Any) -> float:
        return float(self.figures.our_steps)

    def track_error(self, *case: Any) -> float:
        return self.figures.our_error

    track_ratio.unit = "of the peer's CPU time"  # type: ignore[attr-defined]
    track_steps.unit = "steps"  # type: ignore[attr-defined]
    track_error.unit = "gap of a game, relative error of a program"  # type: ignore[attr-defined]
