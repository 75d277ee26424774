"""Sketch and precondition with iterative refinement: least squares by products with A and A^T only.

Stages of conjugate gradients on the preconditioned normal equations, each from the true gradient of the point that it
begins with. The start is the solution of the sketched problem: from zero, digits are lost that no stage brings back.
The first stage stops where its steps no longer matter, the later ones where the backward error is reached.
E. N. Epperly, M. Meier, Y. Nakatsukasa, "Fast randomized least-squares solvers can be just as accurate and stable as
classical direct solvers" (arXiv 2406.03468); FOSSILS is the same with the heavy-ball recursion inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..arrays import namespace
from ..iterate import iterate, stepwise
from ..record import record
from ..result import Status
from .checks import check_sketch
from .cholesky_qr import Solved, values_unknown
from .factors import backward_error, dot, spectrum_of, turned, unit, wide
from .operator import SketchOperator
from .passes import Passes
from .refine import Point, Task, error_of, least_norm, look

__all__ = ["spir"]

STAGES = 6
INNER = 40  # steps of a stage
TARGET = 0.3  # of the unit roundoff, for the backward error inside a stage


@record
class Inner:
    """A stage: y, what is left of c - P^T A^T A P y, a direction, and by how much y moved; shape (..., k, d)."""

    y: Any
    left: Any
    direction: Any
    square: Any
    move: Any
    count: Any


@record
class Stage:
    """What a stage reads."""

    task: Task
    P: Any
    point: Point
    reach: Any  # the size of a step that no longer matters, shape (..., k)
    momentum: Any
    limit: Any


def product(y: Any, stage: Stage) -> Any:
    """P^T A^T A P y."""
    passes = stage.task.passes
    x = namespace(y).astype(dot(y, turned(stage.P)), passes.sides.dtype, copy=False)
    return dot(wide(turned(passes.normal(turned(x)))), stage.P)


def inner(a: Any, b: Any) -> Any:
    """The products of the rows of a and b."""
    xp = namespace(a)
    return xp.asarray(xp.sum(a * b, axis=-1))


def ratio(a: Any, b: Any) -> Any:
    """a / b, zero where b is not positive."""
    xp = namespace(a)
    good = b > 0
    return xp.where(good, a, xp.zeros_like(a)) / xp.where(good, b, xp.ones_like(b))


def conjugate(s: Inner, stage: Stage) -> Inner:
    """A step of conjugate gradients."""
    xp = namespace(s.y)
    image = product(s.direction, stage)
    alpha = ratio(s.square, inner(s.direction, image))[..., None]
    left = s.left - alpha * image
    square = inner(left, left)
    direction = left + ratio(square, s.square)[..., None] * s.direction
    move = xp.abs(alpha[..., 0]) * xp.sqrt(inner(s.direction, s.direction))
    return Inner(s.y + alpha * s.direction, left, direction, square, move, s.count + 1)


def heavy_ball(s: Inner, stage: Stage) -> Inner:
    """A step of the heavy-ball recursion: no inner products. `direction` holds the previous move."""
    xp, beta = namespace(s.y), stage.momentum
    step = (1.0 - beta) ** 2 * s.left + beta * s.direction
    y = s.y + step
    c = dot(wide(stage.point.gradient), stage.P)
    left = c - product(y, stage)
    return Inner(y, left, step, inner(left, left), xp.sqrt(inner(step, step)), s.count + 1)


def remaining(s: Inner, stage: Stage) -> Any:
    """What is left of the aim of the stage: at most 1 where it is met, and zero where its steps are used up."""
    xp, spectrum, point = namespace(s.y), stage.task.spectrum, stage.point
    u = unit(stage.task.passes.sides)
    # The gradient in scaled columns is V diag(values) times what is left.
    gradient = dot(s.left * spectrum.values[..., None, :], turned(spectrum.V)) * spectrum.scale[..., None, :]
    error = backward_error(spectrum, point.x, gradient, point.square, stage.task.size)
    measure = xp.where(point.stage == 0, ratio(s.move, stage.reach), error / (TARGET * u))
    return xp.where(s.count >= stage.limit, xp.zeros_like(measure), measure)


METHODS = {"cg": stepwise(conjugate, remaining), "heavy_ball": stepwise(heavy_ball, remaining)}


def one_stage(point: Point, task: Task, limit: Any, momentum: Any, kind: str) -> tuple[Point, Any]:
    """A stage, and the steps it took."""
    xp, spectrum = namespace(point.x), task.spectrum
    u, P = unit(task.passes.sides), spectrum.preconditioner
    scaled = wide(point.x) * spectrum.scale[..., None, :]
    largest = spectrum.values[..., :1]
    least = xp.min(xp.where(spectrum.kept, spectrum.values, largest), axis=-1, keepdims=True)
    condition = ratio(largest, least)
    reach = 10.0 * u * (largest * xp.sqrt(inner(scaled, scaled)) + 0.04 * condition * xp.sqrt(wide(point.square)))
    c = dot(wide(point.gradient), P)
    stage = Stage(task, P, point, reach, momentum, limit)
    first = c if kind == "cg" else xp.zeros_like(c)
    start = Inner(xp.zeros_like(c), c, first, inner(c, c), xp.full_like(reach, xp.inf), 0 * point.stage)
    settings: dict[str, Any] = {"tol": 1.0, "max_steps": INNER, "check_every": 1, "history": False, "nested": True}
    run = iterate(METHODS[kind], start, stage, **settings)
    x = wide(point.x) + dot(run.state.y, turned(P))
    return look(task.passes, x, point.stage + 1), run.steps


def stages(kind: str) -> Callable[..., Any]:
    """The ``advance`` of the outer loop."""

    def advance(point: Point, data: Any, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
        task, momentum = data
        if isinstance(limit, int) and limit == 0:
            return point, 0, error_of(point, task)
        point, steps = one_stage(point, task, limit, momentum, kind)
        return point, steps, error_of(point, task)

    return advance


ADVANCES = {kind: stages(kind) for kind in METHODS}


def enough(point: Point, data: Any) -> Any:
    """Six stages that do not do will never do."""
    xp = namespace(point.x)
    stalled = xp.full_like(point.stage, int(Status.STALLED))
    return xp.where(point.stage >= STAGES, stalled, xp.zeros_like(stalled))


def spir(
    passes: Passes,
    sketches: Callable[[int], SketchOperator],
    rcond: float,
    tol: Any,
    *,
    max_steps: int,
    inner_method: str = "cg",
    **options: Any,
) -> Solved:
    """Solve by stages; ``sketches(1)`` is the sketch."""
    S = sketches(1)
    SA, Sb, size = passes.sketched(S)
    check_sketch(SA, Sb, passes)
    spectrum = spectrum_of(SA, Sb, rcond)
    xp, d = namespace(SA), passes.shape[1]
    momentum = xp.full_like(wide(size), min(0.9, d / S.m))
    task = Task(passes, spectrum.preconditioner, spectrum, size)
    point = look(passes, turned(spectrum.start), xp.zeros_like(size, dtype=xp.int32))
    settings = {"tol": tol, "max_steps": max_steps, "halt": enough, **options}
    run = iterate(ADVANCES[inner_method], point, (task, momentum[..., None]), **{**settings, "check_every": INNER})
    if values_unknown(spectrum) or int(spectrum.rank) < d:
        last = look(passes, least_norm(spectrum, run.state.x), run.state.stage)
        run = replace(run, state=last, error=error_of(last, task))
    return Solved(run, spectrum, None, size)
