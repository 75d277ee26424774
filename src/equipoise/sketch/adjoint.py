"""The derivative of a least-squares solution, from the equations it satisfies: never through a sketch or its steps.

With w = (A^T A)^-1 x_bar: b_bar = A w and A_bar = r w^T - (A w) x^T; the residual norm adds its own, r / |r| for b and
-r x^T / |r| for A. The inverse is applied by conjugate gradients, preconditioned by what the solver has left behind, so
that the derivative is as accurate for an iterative method as for a direct one; its own rule makes second derivatives.
"""

from __future__ import annotations

from typing import Any

from ..arrays import library, namespace
from ..backend import of
from ..implicit import differentiable
from ..iterate import iterate, stepwise
from ..record import leaves
from .factors import dot, turned, unit, wide
from .passes import ByProducts, InMemory, norms
from .refine import Task
from .spir import Inner, Stage, conjugate, inner, ratio

__all__ = ["inverse_gram", "solve_vjp"]

STEPS = 60
NOISE = 100.0  # unit roundoffs of |b|: what is left of a residual that is zero


def passes_of(A: Any, b: Any) -> Any:
    """A and b as a solver meets them."""
    return InMemory(A, b) if library(A) else ByProducts(A, b)


def product(A: Any, x: Any) -> Any:
    """A x for columns x."""
    if library(A):
        return dot(A, x)
    return ByProducts(A, x).times(x)


def outer(A: Any, u: Any, v: Any) -> Any:
    """The cotangent u v^T of A, on the entries that are stored."""
    if library(A):
        return dot(u, turned(v))
    if not leaves(A):
        return None
    _, pull = of(u).vjp_of(lambda operator: operator.matvec(turned(v)), A)
    return pull(turned(u))[0]


def relative(s: Inner, stage: Stage) -> Any:
    """What is left of the right-hand side, relative to it."""
    return ratio(namespace(s.y).sqrt(s.square), stage.reach)


closer = stepwise(conjugate, relative)


def inverse_vjp(cotangent: Any, w: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """From d(A^T A) = dA^T A + A^T dA."""
    if cotangent is None:
        return (None,) * 3
    A, root, _ = args
    z = inverse_gram(A, root, cotangent)
    xp = namespace(w)
    left, right = xp.concat([product(A, w), product(A, z)], axis=-1), xp.concat([z, w], axis=-1)
    return outer(A, -left, right), None, z


@differentiable(inverse_vjp)
def inverse_gram(A: Any, root: Any, v: Any) -> Any:
    """(A^T A)^+ v, shape (..., d, k), where root root^T is this inverse or a preconditioner close to it."""
    xp = namespace(v)
    if library(A) and A.shape[-2] < A.shape[-1]:
        return xp.astype(dot(root, dot(turned(root), wide(v))), v.dtype, copy=False)
    c = dot(turned(wide(v)), wide(root))
    square = inner(c, c)
    size = xp.sqrt(square)
    task = Task(passes_of(A, v), None, None, None)  # type: ignore[arg-type]
    stage = Stage(task, wide(root), None, size, None, None)  # type: ignore[arg-type]
    count = xp.zeros_like(size, dtype=xp.int32)
    start = Inner(xp.zeros_like(c), c, c, square, size, count)
    settings: dict[str, Any] = {"max_steps": STEPS, "check_every": 1, "patience": 3, "history": False, "nested": True}
    run = iterate(closer, start, stage, tol=2.0 * unit(v), **settings)
    return xp.astype(turned(dot(run.state.y, turned(wide(root)))), v.dtype, copy=False)


def solve_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The cotangents of A and b for those of x and of the residual norm."""
    A, b, *rest = args
    x_bar, norm_bar = cotangent[0], cotangent[1]
    nothing = (None,) * len(rest)
    if x_bar is None and norm_bar is None:
        return None, None, *nothing
    xp, x, size = namespace(b), out[0], out[1]
    root = of(b).stop_gradient(out[-1])
    r = b - product(A, x)
    left, right, b_bar = [], [], xp.zeros_like(b)
    if x_bar is not None:
        w = inverse_gram(A, root, x_bar)
        Aw = product(A, w)
        left, right, b_bar = [r, -Aw], [w, x], Aw
        if library(A) and A.shape[-2] < A.shape[-1]:  # of least norm: the solution turns with the range of A^T
            left.append(product(A, inverse_gram(A, root, x)))
            right.append(x_bar - dot(turned(A), Aw))
    if norm_bar is not None:
        some = size > NOISE * unit(b) * norms(b)  # a residual of zero has no direction
        weight = xp.where(some, norm_bar, 0.0 * size) / xp.where(some, size, xp.ones_like(size))
        slope = r * weight[..., None, :]
        left, right, b_bar = [*left, -slope], [*right, x], b_bar + slope
    return outer(A, xp.concat(left, axis=-1), xp.concat(right, axis=-1)), b_bar, *nothing
