"""The derivative of entropic barycenters, from the equations that they satisfy."""

from __future__ import annotations

from typing import Any

from ..arrays import library, namespace
from ..backend import of
from ..implicit import solve_symmetric
from ..record import record
from .barycenter_steps import Problem, mean, to_support
from .potentials import bounded_exp

__all__ = ["solve_vjp"]


@record
class Adjoint:
    """The matrices of the adjoint system, each scaled so that its eigenvalues lie in [-1, 1]."""

    plans: Any  # a^(1/2) Q_k p^(-1/2), shape (..., k, n, p)
    root: Any  # w_k^(1/2)
    unit: Any  # p^(1/2) at unit length, the null vector of every L_k
    own: Any  # p^(-1/2) D p^(-1/2), shape (..., p, p); None in the blurred form


def times(matrix: Any, v: Any) -> Any:
    """The product of a matrix and a vector, or of batches of them."""
    return of(v).matmul(matrix, v[..., None])[..., 0]


def across(root: Any, v: Any) -> Any:
    """`v` without what it has in common over the inputs: the projection to sum_k w_k^(1/2) v_k = 0."""
    return v - root[..., :, None] * mean(root, v)[..., None, :]


def laplacians(system: Adjoint, v: Any) -> Any:
    """L_k v_k = v_k - B_k^T B_k v_k."""
    return v - times(namespace(v).matrix_transpose(system.plans), times(system.plans, v))


def blurred_system(flat: Any, system: Adjoint) -> Any:
    """The Hessian on differences between the inputs' potentials; the null vectors are moved to eigenvalue 1."""
    xp = namespace(flat)
    p = system.unit.shape[-1]
    v = across(system.root, xp.reshape(flat, (*flat.shape[:-1], flat.shape[-1] // p, p)))
    constant = xp.sum(v * system.unit[..., None, :], axis=-1, keepdims=True) * system.unit[..., None, :]
    return xp.reshape(across(system.root, laplacians(system, v) + constant), flat.shape)


def debiased_system(flat: Any, system: Adjoint) -> Any:
    """The same with the potential of p with itself as the last unknown: symmetric, and indefinite."""
    xp = namespace(flat)
    p = system.unit.shape[-1]
    k = system.root.shape[-1]
    h = flat[..., k * p :]
    spread = laplacians(system, system.root[..., :, None] * h[..., None, :])
    v = across(system.root, xp.reshape(flat[..., : k * p], (*flat.shape[:-1], k, p)))
    upper = blurred_system(flat[..., : k * p], system) + xp.reshape(
        across(system.root, spread), (*flat.shape[:-1], k * p)
    )
    lower = mean(system.root, laplacians(system, v) + spread) - h - times(system.own, h)
    return xp.concat([upper, lower], axis=-1)


def squared_system(flat: Any, system: Adjoint) -> Any:
    """The debiased system twice: symmetric and indefinite once, it is positive semidefinite so."""
    return debiased_system(debiased_system(flat, system), system)


def solve_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The implicit rule, for the histogram alone.

    In units of epsilon, with Q_k = exp(f + g_k - c), P_k = diag(a_k) Q_k, L_k = diag(p) - P_k^T Q_k and the matrix
    D = exp(h + h - c), the conditions change by

        L_k dg_k - dp = -b_k,   sum_k w_k dg_k - dh = -sum_k dw_k g_k,   (diag(p) + D) dh - dp = D . dc,

    without the last and with dh = 0 in the blurred form; b_k = Q_k^T da_k + P_k^T (Q_k . dc) 1 - (P_k . dc)^T 1. Their
    matrix, rows weighted by w_k, is symmetric, so that the adjoints (x_k, y, e) of a cotangent q satisfy

        L_k x_k = y,   sum_k w_k x_k = e - q,   (diag(p) + D) e = y.

    x_k = e - q + z_k with sum_k w_k z_k = 0 removes y. What is left for z is positive semidefinite in the blurred form;
    for (z, e) it is indefinite in the debiased one, and is solved through its square.
    """
    q = cotangent[0]
    if q is None:
        return (None,) * len(args)
    histograms, cost, weights, epsilon, _ = args
    debiased = settings["debiased"]
    p, f, g = out[:3]
    xp = namespace(p)
    problem = Problem(histograms, cost, weights, epsilon, debiased)
    wide_cost = cost[..., None, :, :]

    root_p = xp.sqrt(p)
    tiny = xp.finfo(p.dtype).eps if debiased else xp.finfo(p.dtype).smallest_normal * 1e20
    seen = p > tiny * xp.max(p, axis=-1, keepdims=True)
    inverse = xp.where(seen, 1.0 / xp.where(seen, root_p, xp.ones_like(p)), 0.0 * p)
    root_a, root_w = xp.sqrt(histograms), xp.sqrt(weights)
    density = bounded_exp((f[..., :, None] + (g[..., None, :] - wide_cost)) / epsilon)
    plans = root_a[..., :, None] * density * inverse[..., None, None, :]
    unit = root_p / xp.sqrt(xp.sum(p, axis=-1, keepdims=True))
    own = None
    h = mean(weights, g)
    if debiased:
        own = bounded_exp((h[..., :, None] + (h[..., None, :] - cost)) / epsilon)
        own = 0.5 * (own + xp.matrix_transpose(own))
    scaled = None if own is None else inverse[..., :, None] * own * inverse[..., None, :]
    system = Adjoint(plans, root_w, unit, scaled)

    k, m = g.shape[-2:]
    flat = (*g.shape[:-2], k * m)
    target = laplacians(system, root_w[..., :, None] * (root_p * q)[..., None, :])
    rhs = xp.reshape(across(root_w, target), flat)
    accuracy = 1e-13 if p.dtype == xp.float64 else 1e-6
    if debiased:
        rhs = debiased_system(xp.concat([rhs, mean(root_w, target)], axis=-1), system)
        solution = solve_symmetric(rhs, system, matvec=squared_system, tol=accuracy)
        e = inverse * solution[..., k * m :]
    else:
        solution = solve_symmetric(rhs, system, matvec=blurred_system, tol=accuracy)
        e = 0.0 * p
    z = across(root_w, xp.reshape(solution[..., : k * m], g.shape))
    heavy = weights > 0
    z = z * xp.where(heavy, 1.0 / xp.where(heavy, root_w, xp.ones_like(weights)), 0.0 * weights)[..., None]

    # Where p is tiny z says little. The equations themselves, divided by p_j, then give x without any such division.
    rows = root_a * times(plans, z + (root_p * (e - q))[..., None, :])  # a_k Q_k x_k
    columns = bounded_exp((f[..., :, None] + (to_support(problem, f)[..., None, :] - wide_cost)) / epsilon)
    back = times(xp.matrix_transpose(columns), rows)  # P_k^T Q_k x_k / p
    common = e - q - mean(weights, back)
    x = common[..., None, :] + back
    y = p * common

    pulled = times(density, x)  # Q_k x_k
    slopes = density * (x[..., None, :] - pulled[..., :, None])
    scale = (weights[..., :, None] * histograms)[..., None]
    cost_bar = xp.sum(scale * slopes, axis=-3)
    if own is not None:
        cost_bar = cost_bar - own * (0.5 * (e[..., :, None] + e[..., None, :]))
    histograms_bar = -weights[..., :, None] * pulled
    weights_bar = xp.sum(y[..., None, :] * g, axis=-1) / epsilon
    cost_bar = cost_bar / epsilon
    epsilon_bar = None
    if library(epsilon):  # only C/epsilon counts, and no constant in C
        epsilon_bar = -xp.sum(cost_bar * (cost - xp.min(cost, axis=(-2, -1), keepdims=True))) / epsilon
    return histograms_bar, cost_bar, weights_bar, epsilon_bar, None
