"""Least squares as accurate as a QR factorisation at the price of normal equations, by a sketched preconditioner.

A small sketch of A says how its columns are conditioned. Where that is mild, normal equations and one correction do.
Where it is not, the columns are first made nearly orthonormal, W = A R^-1, panel by panel and never stored; the normal
equations of W are harmless. Directions that are not there are dropped before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import namespace
from ..backend import of
from ..checks import number
from ..iterate import Iterated, iterate
from ..result import Status
from .checks import check_sketch
from .factors import Spectrum, dot, inverse_root, spectrum_of, turned, unit, wide
from .operator import SketchOperator
from .passes import Passes
from .refine import Task, corrected, corrections, least_norm, look

__all__ = ["Solved", "cholesky_qr", "reachable", "root_of", "was_stopped", "worst"]

CORRECTIONS = 3
DOUBLE = {"gram": 1e7, "triangle": 1e14}  # the largest condition of the scaled sketch for each branch
SINGLE = {"gram": 3e2, "triangle": 3e5}
FAR = 50.0  # a factor by which eigenvalues of W^T W may be off, if the sketch did its work


@dataclass(frozen=True)
class Solved:
    """Where a method ended: the run, whose state is a Point, the spectrum, M with M M^T = (A^T A)^+, and |b|.

    `sound` says that the sketch has the spectrum of A, up to a small factor.
    """

    run: Iterated
    spectrum: Spectrum
    root: Any
    size: Any
    sound: bool = True


def mixing(spectrum: Spectrum, passes: Passes, branch: str) -> tuple[Any, bool]:
    """T with A T nearly orthonormal, and whether it is upper triangular; None for the identity."""
    xp = namespace(spectrum.V)
    if branch == "gram":
        return None, False
    if branch == "triangle":
        return xp.linalg.inv(spectrum.triangle) / spectrum.scale[..., :, None], True
    return spectrum.preconditioner, False


def root_of(passes: Passes, spectrum: Spectrum, branch: str) -> tuple[Any, Any, Any]:
    """M, shape (..., d, d), with M M^T = (A^T A)^+; M M^T A^T b; the eigenvalues of the Gram matrix, which is mixed."""
    xp = namespace(spectrum.V)
    T, upper = mixing(spectrum, passes, branch)
    G, g = passes.gram(None if T is None else xp.astype(T, passes.sides.dtype, copy=False), upper=upper)
    G, g = wide(G), wide(g)
    if T is None:
        scale = spectrum.scale
        G, g = G / (scale[..., :, None] * scale[..., None, :]), g / scale[..., :, None]
    inner, values = inverse_root(G, spectrum.kept if branch == "kept" else None)
    root = inner / spectrum.scale[..., :, None] if T is None else dot(T, inner)
    return root, dot(root, dot(turned(inner), g)), values


def is_sound(spectrum: Spectrum, values: Any, branch: str) -> bool:
    """Whether the Gram matrix confirms the sketch, on whose spectrum the error estimate rests; if that can be seen."""
    if values_unknown(spectrum):
        return True
    backend = of(values)
    ratio = backend.to_numpy(values)
    if branch == "gram":
        ratio = ratio / backend.to_numpy(spectrum.values)[::-1] ** 2
    return bool((ratio * FAR >= 1).all() and (ratio <= FAR).all())


def branches(spectrum: Spectrum, passes: Passes) -> Iterator[str]:
    """What to try, the cheapest first; under a transformation or in a batch the one that always works."""
    limits = DOUBLE if unit(passes.sides) < 1e-12 else SINGLE
    if spectrum.values.ndim > 1 or of(spectrum.values).traced([spectrum.values]):
        yield "kept"
        return
    if int(spectrum.rank) == spectrum.values.shape[-1]:
        condition = float(spectrum.condition)
        if condition <= limits["gram"] and not passes.dear:
            yield "gram"
        if condition <= limits["triangle"]:
            yield "triangle"
            return
    yield "kept"


def attempt(passes: Passes, spectrum: Spectrum, size: Any, branch: str, tol: Any, options: dict[str, Any]) -> Solved:
    """One branch: the first point, and as many corrections as it needs."""
    xp = namespace(spectrum.V)
    root, x, values = root_of(passes, spectrum, branch)
    x = turned(x)
    if branch == "kept" and (values_unknown(spectrum) or int(spectrum.rank) < spectrum.V.shape[-1]):
        x = least_norm(spectrum, x)
    point = look(passes, x, xp.zeros_like(size, dtype=xp.int32))
    task = Task(passes, root, spectrum, size)
    made = int(branch == "gram")  # normal equations lose digits of x before they lose any of the backward error
    if made:
        point = corrected(point, task)
    steps = max(min(CORRECTIONS, options["max_steps"]) - made, 0)
    run = iterate(corrections, point, task, tol=tol, **{**options, "max_steps": steps})
    run = replace(run, steps=run.steps + made) if made else run
    return Solved(run, spectrum, root, size, is_sound(spectrum, values, branch))


def values_unknown(spectrum: Spectrum) -> bool:
    """Whether the ranks are several, or not to be seen."""
    return spectrum.values.ndim > 1 or of(spectrum.values).traced([spectrum.values])


def worst(run: Iterated) -> float:
    """The largest error, NaN above all; zero under a transformation, where nobody can say and nothing else is tried."""
    backend = of(run.error)
    if backend.traced([run.error]):
        return 0.0
    error = backend.to_numpy(run.error)
    return float("inf") if np.isnan(error).any() else float(error.max(initial=0.0))


def was_stopped(run: Iterated) -> bool:
    """Whether somebody asked to stop."""
    backend = of(run.code)
    if backend.traced([run.code]):
        return False
    return bool(np.isin(backend.to_numpy(run.code), (Status.STOPPED, Status.INTERRUPTED)).any())


def reachable(passes: Passes, tol: Any) -> float:
    """An error below which nothing else is worth a try."""
    return max(4.0 * unit(passes.sides), number("tol", tol) or 0.0)


def cholesky_qr(
    passes: Passes, sketches: Callable[[int], SketchOperator], rcond: float, tol: Any, **options: Any
) -> Solved:
    """Solve by the Gram matrix of A T; ``sketches(k)`` gives a cheap sketch for k = 0, and a thorough one for k = 1.

    A rank that the cheap sketch finds wanting is looked at again with the thorough one; so is a failure, and a sketch
    that the Gram matrix belies: a cheap one may miss a direction of A.
    """
    best: Solved | None = None
    enough = reachable(passes, tol)
    for k in range(2):
        SA, Sb, size = passes.sketched(sketches(k))
        check_sketch(SA, Sb, passes)
        spectrum = spectrum_of(SA, Sb, rcond)
        unknown = values_unknown(spectrum)
        if k == 0 and not unknown and int(spectrum.rank) < passes.shape[1]:
            continue
        for branch in branches(spectrum, passes):
            solved = attempt(passes, spectrum, size, branch, tol, options)
            if k == 0 and not solved.sound and not was_stopped(solved.run):
                break
            if best is None or worst(solved.run) < worst(best.run):
                best = solved
            if worst(best.run) <= enough or was_stopped(solved.run):
                return best
        if unknown:
            break
    assert best is not None
    return best
