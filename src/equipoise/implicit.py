"""Derivatives of what a solver returns, from the equations that it satisfies: no loop is ever unrolled.

:func:`differentiable` gives a solver the same kind of rule that ``@kernel(vjp=)`` gives a kernel. A rule is plain
Array API code, ``vjp(cotangent, out, args, **settings)``; it returns one cotangent a positional argument, of that
argument's own type, or None for zero. Cotangents of outputs that nobody used are None.

A rule that has to solve a linear system calls :func:`solve_symmetric`, which is differentiable itself, so that
derivatives of any order exist: reverse over reverse. Forward mode is not offered, and `jax.jvp` and `jax.hessian` say
so; use ``jax.jacrev(jax.grad(f))``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from .arrays import namespace
from .backend import of
from .iterate import Advance, iterate, stepwise
from .record import leaves, record

__all__ = ["differentiable", "flatten_cotangents", "solve_symmetric"]

P = ParamSpec("P")
R = TypeVar("R")


def differentiable(vjp: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a solver the derivative `vjp`; its positional arguments are trees, its keywords hashable settings."""

    def mark(fun: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(fun)
        def wrapper(*args: P.args, **settings: P.kwargs) -> R:
            arrays = leaves(args)
            backend = of(*arrays)
            if not backend.differentiable(arrays):
                return fun(*args, **settings)
            return backend.with_vjp(fun, vjp, args, settings)

        return wrapper

    return mark


def flatten_cotangents(args: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
    """A cotangent or None for every array of `args`, from one tree or None an argument."""
    flat: list[Any] = []
    for arg, cotangent in zip(args, cotangents, strict=True):
        arrays = leaves(arg)
        flat += [None] * len(arrays) if cotangent is None else leaves(cotangent)
    return flat


# ---------------------------------------------------------------------------------------------------------------------
# The linear system of an adjoint


@record
class _ConjugateGradients:
    x: Any
    residual: Any
    direction: Any
    square: Any  # |residual|^2


def _dot(u: Any, v: Any) -> Any:
    return namespace(u).sum(u * v, axis=-1)


@functools.cache
def _advance(matvec: Callable[[Any, Any], Any]) -> Advance:
    """Conjugate gradients for one `matvec`; cached, because jax compiles anew for each function object."""

    def step(s: _ConjugateGradients, data: Any) -> _ConjugateGradients:
        args, _ = data
        xp = namespace(s.x)
        image = matvec(s.direction, args)
        curvature = _dot(s.direction, image)
        safe = curvature > 0
        alpha = xp.where(safe, s.square, 0.0 * s.square) / xp.where(safe, curvature, xp.ones_like(curvature))
        x = s.x + alpha[..., None] * s.direction
        residual = s.residual - alpha[..., None] * image
        square = _dot(residual, residual)
        positive = s.square > 0
        beta = xp.where(positive, square, 0.0 * square) / xp.where(positive, s.square, xp.ones_like(square))
        return _ConjugateGradients(x, residual, residual + beta[..., None] * s.direction, square)

    def error(s: _ConjugateGradients, data: Any) -> Any:
        _, size = data
        xp = namespace(s.x)
        return xp.sqrt(s.square) / size

    return stepwise(step, error)


def _solve_vjp(cotangent: Any, x: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    if cotangent is None:
        return None, None
    matvec, (_, parameters) = settings["matvec"], args
    adjoint = solve_symmetric(cotangent, parameters, **settings)
    _, pull = of(x).vjp_of(lambda p: matvec(x, p), parameters)
    return adjoint, pull(-adjoint)[0]


@differentiable(_solve_vjp)
def solve_symmetric(
    rhs: Any, parameters: Any, *, matvec: Callable[[Any, Any], Any], tol: float, max_steps: int = 1000
) -> Any:
    """Solve ``matvec(x, parameters) = rhs`` for a symmetric positive semidefinite map by conjugate gradients.

    The relative residual falls to `tol` or as far as rounding and `max_steps` allow. For a singular map `rhs` must
    lie in its range; then so does `x`. Leading axes are a batch. `matvec` must be a module-level function: what it
    depends on goes through `parameters`, or no derivative with respect to it exists.
    """
    xp = namespace(rhs)
    square = _dot(rhs, rhs)
    size = xp.where(square > 0, xp.sqrt(square), xp.ones_like(square))
    start = _ConjugateGradients(xp.zeros_like(rhs), rhs, rhs, square)
    return iterate(
        _advance(matvec),
        start,
        (parameters, size),
        tol=tol,
        max_steps=max_steps,
        history=False,
        patience=50,
        nested=True,
    ).state.x
