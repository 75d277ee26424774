"""The other libraries' solvers, each called as ``peers.py`` tells, and each at its best."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .problems import Answer, Missing, Problem, Solver, true_error, within

__all__ = ["PEERS"]

NEWTON_STEPS = 500  # the most for regot's second-order methods, beyond which they stall


# ---------------------------------------------------------------------------------------------------------------------
# POT


@dataclass(frozen=True)
class Pot:
    """One of POT's solvers: its name there, the iterations between looks, and how to read its log."""

    function: str
    every: int
    read: Callable[[dict[str, Any]], Answer]


def _quiet_log(x: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x)


POT = {  # the counts in the logs are the last index, from 0
    "log": Pot("sinkhorn_log", 10, lambda log: Answer(log["log_u"], log["log_v"], log["niter"] + 1)),
    "kernel": Pot(
        "sinkhorn_knopp", 10, lambda log: Answer(_quiet_log(log["u"]), _quiet_log(log["v"]), log["niter"] + 1)
    ),
    "stabilized": Pot("sinkhorn_stabilized", 20, lambda log: Answer(log["logu"], log["logv"], log["n_iter"] + 1)),
}


def _pot(which: str) -> Callable[[Problem], Solver]:
    def prepare(problem: Problem) -> Solver:
        import ot.bregman

        solver = POT[which]
        solve = getattr(ot.bregman, solver.function)

        def run(threshold: float, max_steps: int = problem.max_steps) -> Any:
            options = {"numItermax": max_steps, "stopThr": threshold, "log": True, "warn": False}
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # of underflow: the true error says it
                return solve(problem.a, problem.b, problem.cost, problem.epsilon, **options)

        def read(out: Any) -> Answer:
            return solver.read(out[1])

        stop = problem.tol / math.sqrt(problem.b.size)
        loosest = pot_threshold(problem, run, read, solver.every)
        if loosest is not None and within(true_error(problem, read(run(loosest))), problem.tol):
            stop = loosest
        return Solver(problem, lambda: run(stop), read)

    return prepare


def pot_threshold(
    problem: Problem, run: Callable[[float], Any], read: Callable[[Any], Answer], every: int
) -> float | None:
    """The loosest ``stopThr`` with which an answer of POT's is within the tolerance, None if there is none.

    POT itself goes to the first look at which the L2 norm is within the tolerance, for before it the L1 error cannot
    be; from there on its iterates are followed in a plain loop, look by look, until the true error is. The threshold
    lies between the L2 norm at this look and the least one before.
    """
    out = run(problem.tol)
    least = min(out[1]["err"][:-1], default=math.inf)
    if not out[1]["err"] or not out[1]["err"][-1] <= problem.tol:  # never there, or NaN
        return None
    for error, norm in itertools.islice(_looks(problem, read(out), every), problem.max_steps // every):
        if error <= problem.tol:
            if norm < least:
                return 2.0 * norm if math.isinf(least) else math.sqrt(norm * least)
            return None
        least = min(least, norm)
    return None


def _looks(problem: Problem, start: Answer, every: int) -> Iterator[tuple[float, float]]:
    """True error, and L2 norm of the columns' defect, at `start` and each `every` iterations after it.

    In float64 with a kernel into which `start` is absorbed, so that the scalings remain near 1.
    """
    log_u, log_v = (np.asarray(x, dtype=np.float64) for x in (start.log_u, start.log_v))
    kernel = np.exp(log_u[:, None] + log_v - problem.cost / problem.epsilon)
    u, v = np.ones(len(log_u)), np.ones(len(log_v))
    while True:
        defect = v * (u @ kernel) - problem.b
        error = float(np.abs(defect).sum() + np.abs(u * (kernel @ v) - problem.a).sum())
        yield error, float(np.linalg.norm(defect))
        for _ in range(every):
            v = problem.b / (u @ kernel)
            u = problem.a / (kernel @ v)


# ---------------------------------------------------------------------------------------------------------------------
# OTT-JAX


def _jax() -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    return jax


def _ott_solve(problem: Problem, *, points: bool = False, momentum: int = 0) -> Callable[[float], Any]:
    jax = _jax()
    from ott.geometry.costs import PNormP, SqEuclidean
    from ott.geometry.geometry import Geometry
    from ott.geometry.pointcloud import PointCloud
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.acceleration import Momentum
    from ott.solvers.linear.sinkhorn import Sinkhorn

    if points and problem.points is None:
        raise Missing("ott-points needs points, and this problem has a cost only")

    @jax.jit  # type: ignore[untyped-decorator]
    def solve(where: Any, a: Any, b: Any, threshold: Any) -> Any:
        if points:
            cost_fn = SqEuclidean() if problem.metric == "sqeuclidean" else PNormP(1.0)
            x, y = where
            geometry: Any = PointCloud(x, y, cost_fn=cost_fn, epsilon=problem.epsilon)
        else:
            geometry = Geometry(cost_matrix=where, epsilon=problem.epsilon)
        options: dict[str, Any] = {"momentum": Momentum(start=momentum)} if momentum else {}  # type: ignore[call-arg]
        solver = Sinkhorn(lse_mode=True, threshold=threshold, max_iterations=problem.max_steps, **options)
        out = solver(LinearProblem(geometry, a, b))
        return out.f, out.g, out.n_iters

    where = jax.numpy.asarray(problem.cost)
    if points:
        where = tuple(map(jax.numpy.asarray, problem.points or ()))
    weights = tuple(map(jax.numpy.asarray, (problem.a, problem.b)))

    def run(threshold: float) -> Any:
        return jax.block_until_ready(solve(where, *weights, threshold))

    run(1e6)  # compiles, and stops at its first look
    return run


def _ott_read(problem: Problem) -> Callable[[Any], Answer]:
    def read(out: Any) -> Answer:
        f, g = (np.asarray(x, dtype=np.float64) / problem.epsilon for x in out[:2])
        return Answer(f, g, int(out[2]))

    return read


def _ott(problem: Problem) -> Solver:
    run = _ott_solve(problem)
    return Solver(problem, lambda: run(problem.tol), _ott_read(problem))


def _ott_points(problem: Problem) -> Solver:
    run = _ott_solve(problem, points=True)
    return Solver(problem, lambda: run(problem.tol), _ott_read(problem))


def _ott_momentum(problem: Problem) -> Solver:
    read = _ott_read(problem)
    best = None
    for start in (20, 50, 100, 200, 400):
        run = _ott_solve(problem, momentum=start)
        for threshold in (problem.tol, 0.5 * problem.tol, 0.1 * problem.tol):
            answer = read(run(threshold))
            if within(true_error(problem, answer), problem.tol):
                if best is None or answer.steps < best[0]:
                    best = (answer.steps, run, threshold)
                break
    if best is None:
        raise Missing("ott-momentum reaches the tolerance with none of the settings tried")
    _, chosen, threshold = best
    return Solver(problem, lambda: chosen(threshold), read)


# ---------------------------------------------------------------------------------------------------------------------
# GeomLoss


def _geomloss(scaling: float) -> Callable[[Problem], Solver]:
    def prepare(problem: Problem) -> Solver:
        import torch
        from geomloss import SamplesLoss

        torch.set_num_threads(1)
        cost, a, b = (torch.from_numpy(np.ascontiguousarray(w)) for w in (problem.cost, problem.a, problem.b))
        transposed = cost.T.contiguous()
        x, y = (torch.zeros((len(w), 1), dtype=cost.dtype) for w in (a, b))  # stand for the points, in name only
        blur, diameter = math.sqrt(problem.epsilon), math.sqrt(float(np.ptp(problem.cost)))

        def table(left: Any, _: Any) -> Any:
            return (cost if left.data_ptr() == x.data_ptr() else transposed)[None]

        loss = SamplesLoss(
            "sinkhorn",
            p=2,
            blur=blur,
            diameter=diameter,
            scaling=scaling,
            cost=table,
            debias=False,
            potentials=True,
            backend="tensorized",
        )
        rungs = 2 + math.ceil(math.log(diameter / blur) / -math.log(scaling))

        def read(out: Any) -> Answer:
            f, g = (w.numpy().astype(np.float64).ravel() / problem.epsilon for w in out)
            return Answer(f + np.log(problem.a), g + np.log(problem.b), rungs)

        return Solver(problem, lambda: loss(a, x, b, y), read)

    return prepare


# ---------------------------------------------------------------------------------------------------------------------
# regot


def _regot(function: str, limit: int | None = None) -> Callable[[Problem], Solver]:
    def prepare(problem: Problem) -> Solver:
        import regot

        if problem.cost.dtype != np.float64:
            raise Missing("regot takes float64 only")
        solve = getattr(regot, function)
        arguments = (np.asfortranarray(problem.cost), problem.a, problem.b, problem.epsilon)
        most = problem.max_steps if limit is None else limit

        def run(threshold: float, max_steps: int = most) -> Any:
            return solve(*arguments, tol=threshold, max_iter=max_steps)

        def read(out: Any) -> Answer:
            dual = np.asarray(out.dual) / problem.epsilon
            n = problem.a.size
            return Answer(dual[:n], np.append(dual[n:], 0.0), int(out.niter))

        stop = problem.tol / (2.0 * math.sqrt(problem.a.size + problem.b.size))
        loosest = regot_threshold(problem, run, read, most)
        if loosest is not None and within(true_error(problem, read(run(loosest))), problem.tol):
            stop = loosest
        return Solver(problem, lambda: run(stop), read)

    return prepare


def regot_threshold(
    problem: Problem, run: Callable[..., Any], read: Callable[[Any], Answer], most: int
) -> float | None:
    """The loosest ``tol`` with which an answer of regot's is within the tolerance, None if there is none.

    The L1 error cannot be within the tolerance before the norm is. From there on, the first iterate whose error is so
    is found in solves cut off ever later, and then by bisection.
    """
    out = run(problem.tol)
    if not out.mar_errs[-1] <= problem.tol:  # never there, or NaN
        return None

    def reached(k: int) -> bool:
        return true_error(problem, read(run(0.0, k))) <= problem.tol

    low, high, stride = int(out.niter), int(out.niter), 1
    while not reached(high):
        if high >= most:
            return None
        low, high, stride = high + 1, min(most, high + stride), 2 * stride
    k = low + bisect.bisect_left(range(low, high), True, key=reached)
    norms = list(run(0.0, k).mar_errs)
    least = min(norms[:k], default=math.inf)
    return math.sqrt(norms[k] * least) if norms[k] < least < math.inf else None


PEERS: dict[str, Callable[[Problem], Solver]] = {
    "pot-log": _pot("log"),
    "pot-kernel": _pot("kernel"),
    "pot-stabilized": _pot("stabilized"),
    "ott": _ott,
    "ott-points": _ott_points,
    "ott-momentum": _ott_momentum,
    "geomloss": _geomloss(0.5),
    "geomloss-fine": _geomloss(0.99),
    "regot-ssns": _regot("sinkhorn_ssns", NEWTON_STEPS),
    "regot-newton": _regot("sinkhorn_newton", NEWTON_STEPS),
    "regot-splr": _regot("sinkhorn_splr", NEWTON_STEPS),
    "regot-sparse": _regot("sinkhorn_sparse_newton", NEWTON_STEPS),
    "regot-bcd": _regot("sinkhorn_bcd"),
}
