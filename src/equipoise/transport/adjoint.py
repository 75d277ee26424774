"""The derivative of potentials, from the two equations that they satisfy.

With D_ij = P_ij/(a_i b_j), k = rho/(rho + epsilon) and alpha_i = a_i/(P 1)_i = exp(f_i/rho_a), likewise beta (all of
them 1 where a marginal has to be met), f = k soft_a(g) and g = k soft_b(f) change by

    df = k alpha [D B (dC - dg) - epsilon D db],    dg = k beta [(A D)^T (dC - df) - epsilon D^T da].

The adjoints of a cotangent (p, q), multiplied by k alpha and k beta, satisfy

    u = k alpha (p - A D v),    v = k beta (q - B D^T u).

Writing v = k beta q + s z with s = (k beta b)^(1/2) leaves one symmetric system for z, in which no weight is divided
by. With u and v at hand, every parameter's cotangent is a product with D.
"""

from __future__ import annotations

from typing import Any

from ..arrays import library, namespace
from ..backend import of
from ..implicit import solve_symmetric
from ..record import record
from .pointcloud import is_cloud
from .potentials import apply, cost_cotangent, density, exponent_sum

__all__ = ["solve_vjp"]


@record
class Streamed:
    """A density that is formed where it is used."""

    cost: Any
    f: Any
    g: Any
    epsilon: Any


def times(weights: Any, v: Any, *, transpose: bool = False) -> Any:
    """D v or D^T v for a vector v, of a density that is stored or streamed."""
    if isinstance(weights, Streamed):
        w = weights
        return apply(w.cost, w.f, w.g, w.epsilon, v[..., None], transpose=transpose)[..., 0]
    dense = namespace(v).matrix_transpose(weights) if transpose else weights
    return of(v).matmul(dense, v[..., None])[..., 0]


def reduced_hessian(z: Any, parameters: Any) -> Any:
    """(I - S D^T A D S + e e^T) z, the last term in the balanced problem only.

    There the matrix without it has eigenvalues in [0, 1] and the null vector e, s at unit length; the term moves e to
    eigenvalue 1, for else conjugate gradients drift along it once rounding has put something there.
    """
    xp = namespace(z)
    weights, a, s, singular = parameters
    pulled = times(weights, a * times(weights, s * z), transpose=True)
    constant = singular * xp.sum(s * z, axis=-1) / xp.sum(s * s, axis=-1)
    return z - s * (pulled - constant[..., None])


def solve_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The implicit rule, for a solver of (cost, a, b, epsilon, rho_a, rho_b, ...) that returns (f, g, ...)."""
    p, q = cotangent[:2]
    if p is None and q is None:
        return (None,) * len(args)
    cost, a, b, epsilon, rho_a, rho_b, *rest = args
    f, g = out[:2]
    xp = namespace(f)
    p = xp.zeros_like(f) if p is None else p
    q = xp.zeros_like(g) if q is None else q
    balanced = rho_a is None and rho_b is None
    weights = Streamed(cost, f, g, epsilon) if is_cloud(cost) else density(cost, f, g, epsilon)

    gauge = 0.0 * xp.sum(b, axis=-1)
    if balanced:  # the solver fixed sum_j b_j g_j = 0
        gauge = (xp.sum(p, axis=-1) - xp.sum(q, axis=-1)) / xp.sum(b, axis=-1)
        q = q + b * gauge[..., None]
    gain_a, gain_b = gain(f, rho_a, epsilon), gain(g, rho_b, epsilon)
    near, far = gain_a * p, gain_b * q
    s = xp.sqrt(gain_b * b)
    rhs = -s * times(weights, near - gain_a * a * times(weights, far), transpose=True)
    tol = 1e-13 if f.dtype == xp.float64 else 1e-6
    singular = 1.0 if balanced else 0.0
    z = solve_symmetric(rhs, (weights, gain_a * a, s, singular), matvec=reduced_hessian, tol=tol)
    v = far + s * z
    u = near - gain_a * a * times(weights, v)

    left, right = xp.stack([u, a], axis=-1), xp.stack([b, v], axis=-1)
    cost_bar = cost_cotangent(cost, f, g, epsilon, left, right)
    a_bar = -epsilon * times(weights, v)
    b_bar = -epsilon * times(weights, u, transpose=True) + g * gauge[..., None]
    epsilon_bar = xp.sum(exponent_sum(cost, f, g, epsilon, left, right)) if library(epsilon) else None
    rho_bars = [penalty_bar(u, f, rho_a, epsilon), penalty_bar(v, g, rho_b, epsilon)]
    return cost_bar, a_bar, b_bar, epsilon_bar, *rho_bars, *(None for _ in rest)


def gain(potential: Any, rho: Any, epsilon: Any) -> Any:
    """k alpha: how a potential follows its soft-min, times what its marginal was moved by."""
    xp = namespace(potential)
    return xp.ones_like(potential) if rho is None else xp.exp(potential / rho) / (1.0 + epsilon / rho)


def penalty_bar(adjoint: Any, potential: Any, rho: Any, epsilon: Any) -> Any:
    """df/drho = f k epsilon/rho^2, so that u/(k alpha) weighs it."""
    if not library(rho):
        return None
    xp = namespace(potential)
    return xp.sum(adjoint * xp.exp(-potential / rho) * potential) * epsilon / rho**2
