"""The derivative of a solution, by the implicit function theorem at u = T(u, theta): no loop is unrolled.

The adjoint w solves w = u_bar + (dT/du)^T w, and theta_bar is (dT/dtheta)^T w. T is nonexpansive, so the right-hand
side is a nonexpansive map of w, and Halpern's iteration solves this system too, from products with the transposed
derivative alone. From w = 0 it finds the solution of least norm, where there are several.
"""

from __future__ import annotations

from typing import Any

from ..arrays import is_floating, namespace
from ..backend import of
from ..implicit import differentiable
from ..iterate import iterate
from ..operators.protocol import beside
from ..record import as_data, fill, leaves, plain
from .anchored import wider
from .halpern_steps import HalpernTask, begin, halpern_steps
from .residuals import evaluate, norm
from .resolvents import Identity

__all__ = ["attached"]

TOL, TOL_FLOAT32, MAX_STEPS, PATIENCE = 1e-8, 1e-5, 100_000, 2000


def fixed(u: Any, theta: Any, scale: Any) -> Any:
    """T(u): a map as it stands, where there is no scale, else J(u - a F(u), a)."""
    operator, args, resolvent = theta
    image = evaluate(operator, args, u)
    if scale is None:
        return image
    a = wider(scale)
    return plain(resolvent)(u - a * image, a)


def adjoint_map(w: Any, u_bar: Any, u: Any, theta: Any, scale: Any) -> Any:
    """u_bar + (dT/du)^T w."""
    _, pull = of(u).vjp_of(lambda v: fixed(v, theta, scale), u)
    return u_bar + beside(pull(w)[0], u)


def attached_vjp(cotangent: Any, out: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The adjoint, and what it makes of the parameters."""
    if cotangent is None:
        return None, None, None
    u, theta, scale = args
    xp = namespace(u)
    u_bar = beside(cotangent, u)
    size = norm(u_bar)
    unit = u_bar / wider(xp.where(size > 0, size, xp.ones_like(size)))
    task = HalpernTask(as_data(adjoint_map), (unit, u, theta, scale), Identity(), 0.5, "map")
    state = begin(xp.zeros_like(u), unit, task, 1.0)
    tol = TOL if u.dtype == xp.float64 else TOL_FLOAT32
    run = iterate(
        halpern_steps, state, task, tol=tol, max_steps=MAX_STEPS, patience=PATIENCE, history=False, nested=True
    )
    everything = leaves(theta)
    free = [k for k, x in enumerate(everything) if is_floating(x)]

    def of_parameters(*arrays: Any) -> Any:
        values = list(everything)
        for k, x in zip(free, arrays, strict=True):
            values[k] = x
        return fixed(u, fill(theta, values), scale)

    _, pull = of(u).vjp_of(of_parameters, *(everything[k] for k in free))
    bars = [xp.zeros_like(x) for x in everything]
    for k, bar in zip(free, pull(run.state.u * wider(size)), strict=True):
        bars[k] = bar
    return None, fill(theta, bars), None


@differentiable(attached_vjp)
def attached(u: Any, theta: Any, scale: Any) -> Any:
    """u, with its derivative in theta = (operator, args, resolvent)."""
    return namespace(u).asarray(u + 0.0)
