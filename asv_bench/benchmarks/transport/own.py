"""Equipoise's own entries in the comparisons: one name for each way to call it.

An entry asks for what it needs by the names in the public signatures, so that a version without them says so and is
skipped: the benchmarks run over old commits too.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .problems import Answer, Missing, Problem, Solver, shrunk

__all__ = ["BACKENDS", "OWN", "prepare_own"]

WARM_UP = 40  # points: enough to run through every kernel, too few to count


@dataclass(frozen=True)
class Entry:
    """A function of ``equipoise.transport``, its options, its arrays, and whether the cost goes in as points."""

    function: str = "sinkhorn"
    options: dict[str, Any] = field(default_factory=dict)
    backend: str = "numpy"
    points: bool = False


OWN = {
    "numpy": Entry(),  # what a user gets who sets nothing
    "numpy-portable": Entry(backend="numpy-portable"),
    "torch": Entry(backend="torch"),
    "jax": Entry(backend="jax"),
    "log": Entry(options={"method": "log", "relaxation": "auto"}),
    "log-plain": Entry(options={"method": "log", "relaxation": 1.0}),
    "kernel": Entry(options={"method": "kernel", "relaxation": "auto"}),
    "kernel-plain": Entry(options={"method": "kernel", "relaxation": 1.0}),
    "newton": Entry("sinkhorn_newton_sparse"),
    "points": Entry(options={"method": "log", "relaxation": "auto"}, points=True),
    "points-plain": Entry(options={"method": "log", "relaxation": 1.0}, points=True),
    "points-newton": Entry("sinkhorn_newton_sparse", points=True),
}
BACKENDS = ("numpy", "numpy-portable", "torch", "jax")


def prepare_own(name: str, problem: Problem) -> Solver:
    """The entry called `name`, compiled and with its inputs converted.

    Raises
    ------
    ImportError
        If its array library is not installed.
    Missing
        If the installed Equipoise lacks the function or an option, or the problem has no points.
    """
    import equipoise as eq

    entry = OWN[name]
    call = _function(entry, name)
    if entry.points and problem.points is None:
        raise Missing(f"{name} needs points, and this problem has a cost only")
    convert = _converter(entry.backend)
    context = eq.portable if entry.backend == "numpy-portable" else contextlib.nullcontext

    def solver(problem: Problem) -> Callable[..., Any]:
        arrays = tuple(convert(w) for w in (problem.a, problem.b))
        if entry.points and problem.points is not None:
            x, y = map(convert, problem.points)
            cost = eq.transport.PointCloud(x, y, metric=problem.metric)
        else:
            cost = convert(problem.cost)

        # a Newton method counts its steps otherwise and keeps its own limit
        limit = {"max_steps": problem.max_steps} if entry.function == "sinkhorn" else {}

        def run(**more: Any) -> Any:
            with context():
                options = {"epsilon": problem.epsilon, "tol": problem.tol, **entry.options, **limit, **more}
                return call(cost, *arrays, **options)

        return run

    def read(result: Any) -> Answer:
        f, g = (np.asarray(x, dtype=np.float64) / problem.epsilon for x in (result.f, result.g))
        with np.errstate(divide="ignore"):
            return Answer(f + np.log(problem.a), g + np.log(problem.b), int(result.steps))

    run = solver(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        solver(shrunk(problem, WARM_UP))()  # kernels are compiled at the first call, some late in a solve,
        run(max_steps=2)  # and jax compiles for the shape
    return Solver(problem, run, read)


def _function(entry: Entry, name: str) -> Callable[..., Any]:
    from equipoise import transport

    for needed in (entry.function, *(["PointCloud"] if entry.points else [])):
        if not hasattr(transport, needed):
            raise Missing(f"{name} needs equipoise.transport.{needed}, which this version lacks")
    call: Callable[..., Any] = getattr(transport, entry.function)
    lacking = sorted(set(entry.options) - set(inspect.signature(call).parameters))
    if lacking:
        raise Missing(f"{name} needs {entry.function}({lacking[0]}=), which this version lacks")
    return call


def _converter(backend: str) -> Callable[[Any], Any]:
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
        return torch.from_numpy
    if backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
        return jax.numpy.asarray
    return np.asarray
