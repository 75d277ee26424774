"""The derivative of a solution, by the implicit function theorem at u = J(u - a F(u), a): no loop is unrolled.

With v = u - a F(u) and P = dJ/dv the adjoint w solves w = u_bar + (dv/du)^T P^T w, and the parameters get
(dT/dtheta)^T w. Its image q = P^T w solves q = P^T u_bar + P^T (dv/du)^T q, a system in the range of P alone. There, F
being monotone, the matrix and its transpose have the same null space, so that where solutions are not unique there is
one answer to be found, that of least norm.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace
from ..implicit import differentiable
from ..operators.protocol import beside
from ..record import plain
from ..result import report
from .anchored import wider
from .gmres import solve
from .residuals import evaluate
from .resolvents import Identity
from .transposes import pull_back

__all__ = ["attached"]

TOL, TOL_FLOAT32 = 1e-8, 1e-5
REASON = "The derivatives that rest on it are less accurate: the problem is ill-conditioned, or not monotone."


def forward(u: Any, theta: Any, scale: Any) -> Any:
    """v = u - a F(u); of a map, which has no scale, T(u)."""
    image = evaluate(theta[0], theta[1], u)
    return image if scale is None else u - wider(scale) * image


def resolved(v: Any, theta: Any, scale: Any) -> Any:
    """J(v, a)."""
    return v if scale is None else plain(theta[2])(v, wider(scale))


def through_forward(q: Any, u: Any, theta: Any, scale: Any) -> Any:
    """(dv/du)^T q."""
    return beside(pull_back(lambda u: forward(u, theta, scale), u, q), u)


def through_resolvent(w: Any, u: Any, theta: Any, scale: Any) -> Any:
    """P^T w."""
    if scale is None or isinstance(theta[2], Identity):
        return w
    v = forward(u, theta, scale)
    return beside(pull_back(lambda v: resolved(v, theta, scale), v, w), u)


def matvec(q: Any, parameters: Any) -> Any:
    """(I - P^T (dv/du)^T) q."""
    return q - through_resolvent(through_forward(q, *parameters), *parameters)


def attached_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], *, method: str = "") -> tuple[Any, ...]:
    """The adjoint, and what it makes of the parameters."""
    if cotangent is None:
        return None, None, None
    _, theta, scale = args
    parameters = out, theta, scale
    u_bar = beside(cotangent, out)
    b = through_resolvent(u_bar, *parameters)
    tol = TOL if out.dtype == namespace(out).float64 else TOL_FLOAT32
    solution = solve(b, parameters, matvec=matvec, tol=tol, flip=False)
    report(solution, f"the adjoint system of {method or 'the solution'}", tol, reason=REASON)
    q = solution.x
    w = u_bar + through_forward(q, *parameters)
    w = w - (b - matvec(q, parameters))  # P^T w is q then, even where b is not in the range

    def of_parameters(theta: Any) -> Any:
        return resolved(forward(out, theta, scale), theta, scale)

    return None, pull_back(of_parameters, theta, w), None


@differentiable(attached_vjp)
def attached(u: Any, theta: Any, scale: Any, *, method: str = "") -> Any:
    """u, with its derivative in theta = (operator, args, resolvent)."""
    return namespace(u).asarray(u + 0.0)
