"""The transport problems that solvers are compared on, and the one judge of their answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = [
    "KINDS",
    "SEED",
    "WEIGHTS",
    "Answer",
    "Missing",
    "Problem",
    "Solver",
    "make_problem",
    "shrunk",
    "true_error",
    "within",
]

KINDS = ("random", "cloud", "gauss", "cloud10", "cityblock")
WEIGHTS = ("unequal", "uniform", "wide")
SEED = 20_240_601
SLACK = 1.05  # of a tolerance: what rounding may add between a solver's own look and the judge's
Vector = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Problem:
    """One transport problem, in numpy arrays of the dtype to compute in; `points` where the cost comes of points."""

    cost: Vector
    a: Vector
    b: Vector
    epsilon: float
    tol: float
    points: tuple[Vector, Vector] | None = None
    metric: str = "sqeuclidean"
    max_steps: int = 10_000

    def astype(self, dtype: str) -> Problem:
        points = None if self.points is None else (self.points[0].astype(dtype), self.points[1].astype(dtype))
        arrays = {name: getattr(self, name).astype(dtype) for name in ("cost", "a", "b")}
        return replace(self, points=points, **arrays)


@dataclass(frozen=True)
class Answer:
    """The plan exp(log_u_i + log_v_j - C_ij/epsilon), and the iterations that it took."""

    log_u: Vector
    log_v: Vector
    steps: int


class Missing(Exception):
    """A solver that cannot be had here, and why: its library, its version, or the kind of problem."""


@dataclass(frozen=True)
class Solver:
    """`run` is what the clock sees; `read` makes an `Answer` of what it returns, judged on `problem`."""

    problem: Problem
    run: Callable[[], Any]
    read: Callable[[Any], Answer]


def make_problem(
    kind: str,
    n: int,
    epsilon: float | None = None,
    *,
    fraction: float | None = None,
    weights: str = "unequal",
    seed: int = SEED,
    dtype: str = "float64",
    tol: float | None = None,
    max_steps: int = 10_000,
) -> Problem:
    """A problem of n x n, drawn from `seed`.

    Parameters
    ----------
    kind : {"random", "cloud", "gauss", "cloud10", "cityblock"}
        ``"random"``: costs independent and uniform in [0, 1), with uniform weights the random assignment problem.
        ``"cloud"``: squared distances of points uniform in the unit square; ``"cloud10"``: in ten dimensions.
        ``"gauss"``: squared distances of points of two normal distributions in the plane, centres two apart: wide
        tails, so that its plan is denser. ``"cityblock"``: L1 distances of points uniform in the unit cube.
    n : int
        Points on each side.
    epsilon, fraction : float
        The smoothing, in the units of the cost or as a fraction of its range: one of the two.
    weights : {"unequal", "uniform", "wide"}
        ``"unequal"``: largest over smallest about 11; ``"wide"``: a million, evenly in the logarithm.
    tol : float, optional
        True L1 error to reach; 1e-6 by default, 1e-4 in float32, as in the library.
    max_steps : int
        The most iterations for solvers that count them alike.
    """
    rng = np.random.default_rng(seed)
    points, metric = None, "sqeuclidean"
    if kind == "random":
        table = rng.random((n, n))
    elif kind in KINDS:
        points = _points(kind, rng, n)
        metric = "cityblock" if kind == "cityblock" else metric
        table = _distances(*points, metric)
    else:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    a, b = (_weights(weights, rng, n) for _ in range(2))
    if tol is None:
        tol = 1e-6 if dtype == "float64" else 1e-4
    if (epsilon is None) == (fraction is None):
        raise ValueError("either epsilon or fraction must be given")
    if epsilon is None:
        assert fraction is not None
        epsilon = fraction * float(np.ptp(table))
    problem = Problem(table, a, b, epsilon, tol, points, metric, max_steps)
    return problem if dtype == "float64" else problem.astype(dtype)


def _points(kind: str, rng: np.random.Generator, n: int) -> tuple[Vector, Vector]:
    if kind == "gauss":
        return rng.standard_normal((n, 2)), rng.standard_normal((n, 2)) + np.array([2.0, 0.0])
    d = {"cloud": 2, "cloud10": 10, "cityblock": 3}[kind]
    return rng.random((n, d)), rng.random((n, d))


def _distances(x: Vector, y: Vector, metric: str) -> Vector:
    table = np.zeros((len(x), len(y)))
    for k in range(x.shape[1]):  # by axes: n x n x d would be 1.3 GB for ten dimensions and n = 4000
        gap = x[:, None, k] - y[None, :, k]
        table += np.abs(gap) if metric == "cityblock" else gap * gap
    return table


def _weights(weights: str, rng: np.random.Generator, n: int) -> Vector:
    if weights == "uniform":
        return np.full(n, 1.0 / n)
    if weights == "unequal":
        w = rng.random(n) + 0.1
    elif weights == "wide":
        w = 10.0 ** rng.permutation(np.linspace(-6.0, 0.0, n))
    else:
        raise ValueError(f"weights must be one of {WEIGHTS}, got {weights!r}")
    return w / w.sum()


def shrunk(problem: Problem, n: int) -> Problem:
    """The first n points of `problem`: a solve of it compiles all that a solve of `problem` will need."""
    a, b = (w[:n] / w[:n].sum() for w in (problem.a, problem.b))
    points = None if problem.points is None else (problem.points[0][:n].copy(), problem.points[1][:n].copy())
    return replace(problem, cost=problem.cost[:n, :n].copy(), a=a, b=b, points=points)


def true_error(problem: Problem, answer: Answer) -> float:
    """The L1 norm of both marginals' defects, in float64 whatever the solver computed in."""
    log_u, log_v = (np.asarray(x, dtype=np.float64) for x in (answer.log_u, answer.log_v))
    with np.errstate(over="ignore", invalid="ignore"):  # of a failed answer: inf and NaN are within no tolerance
        plan = np.exp(log_u[:, None] + log_v - problem.cost.astype(np.float64) / problem.epsilon)
        return float(np.abs(plan.sum(1) - problem.a).sum() + np.abs(plan.sum(0) - problem.b).sum())


def within(error: float, tol: float) -> bool:
    """Whether a true error counts as within the tolerance."""
    return error <= SLACK * tol
