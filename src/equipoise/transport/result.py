"""The answer of a transport problem: potentials, and whatever is a formula in them.

Nothing of size n x m is kept: the plan is P_ij = a_i b_j exp((f_i + g_j - C_ij)/epsilon), formed when it is asked for.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic

import numpy as np

from ..arrays import A, library, namespace
from ..backend import of
from ..boundary import public
from ..implicit import differentiable
from ..operators import CSR
from ..record import record
from ..result import Outcome
from .pointcloud import PANEL, PointCloud
from .potentials import apply, cost_cotangent, exponent_sum, marginals, matrix, plan, rebuilt
from .sweeps import dual, growth

__all__ = ["SparsePlan", "TransportResult", "dual_value"]


def total(x: Any) -> Any:
    """The sum over the last axis."""
    return namespace(x).sum(x, axis=-1)


def value_vjp(cotangent: Any, value: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The envelope theorem: at a maximum of the dual the potentials may be held fixed."""
    if cotangent is None:
        return (None,) * len(args)
    cost, f, g, a, b, epsilon, rho_a, rho_b = args
    v = cotangent
    left, right = (v[..., None] * a)[..., None], b[..., None]
    epsilon_bar = None
    if library(epsilon):
        rows, _ = marginals(cost, f, g, a, b, epsilon)
        lost = v * (total(rows) - total(a) * total(b))
        epsilon_bar = namespace(v).sum(exponent_sum(cost, f, g, epsilon, left, right) - lost)
    return (
        cost_cotangent(cost, f, g, epsilon, left, right),
        None,
        None,
        v[..., None] * slope(f, total(b), epsilon, rho_a),
        v[..., None] * slope(g, total(a), epsilon, rho_b),
        epsilon_bar,
        penalty_bar(v, a, f, rho_a),
        penalty_bar(v, b, g, rho_b),
    )


def slope(potential: Any, opposite: Any, epsilon: Any, rho: Any) -> Any:
    """The derivative of the value in a weight."""
    met = 1.0 - opposite[..., None]
    if rho is None:
        return potential - epsilon * met
    grown = growth(-potential / rho)  # (P 1)_i / a_i - 1, at the solution
    return -rho * grown - epsilon * (grown + met)


def penalty_bar(v: Any, weights: Any, potential: Any, rho: Any) -> Any:
    """The derivative of the value in a penalty that is an array."""
    if not library(rho):
        return None
    ratio = potential / rho
    return -namespace(v).sum(v * total(weights * (growth(-ratio) * (1.0 + ratio) + ratio)))


@differentiable(value_vjp)
def dual_value(cost: Any, f: Any, g: Any, a: Any, b: Any, epsilon: Any, rho_a: Any, rho_b: Any) -> Any:
    """sum a f + sum b g - epsilon (sum P - sum a sum b), by row sums that never form P.

    With a penalty, -rho sum a (exp(-f/rho) - 1) stands in the place of sum a f.
    """
    rows, _ = marginals(cost, f, g, a, b, epsilon)
    return dual(a, f, rho_a) + dual(b, g, rho_b) - epsilon * (total(rows) - total(a) * total(b))


@record
class TransportResult(Outcome[A], Generic[A]):
    """Potentials of an entropic transport problem, and the plan that they stand for.

    Attributes
    ----------
    f, g : array, shapes (..., n) and (..., m)
        The potentials, in the units of the cost; ``sum(b * g) == 0`` fixes the constant that they share.
    error : array, shape (...)
        sum_i |(P 1)_i - a_i| + sum_j |(P^T 1)_j - b_j|, recomputed from `f` and `g`.
    steps, code, history, converged, status
        See :class:`equipoise.result.Outcome`.
    cost, a, b, epsilon
        The problem, as it was given.
    rho_a, rho_b
        Penalties of the two marginals; None for one that has to be met.
    """

    f: A
    g: A
    cost: A | PointCloud[A]
    a: A
    b: A
    epsilon: Any
    rho_a: Any
    rho_b: Any
    _shown: ClassVar[tuple[str, ...]] = ("cost", "epsilon", "f", "g", "rho_a", "rho_b")

    @property
    def value(self) -> A:
        """The dual objective, shape (...): a lower bound of the regularised optimum, at any iterate.

        Its gradient in `cost` is the plan, in `a` and `b` the potentials (up to the constant that a change which
        preserves the total mass does not see).
        """
        return _value(self)

    @property
    def transport_cost(self) -> A:
        """sum_ij P_ij C_ij, shape (...): what the plan costs, without the entropy."""
        return _transport_cost(self)

    def plan(self) -> A:
        """The plan P, shape (..., n, m), dense."""
        return _plan(self)

    def apply(self, v: A, *, transpose: bool = False) -> A:
        """P v for `v` of shape (..., m) or (..., m, k); with `transpose` P^T v for (..., n) or (..., n, k).

        ``result.apply(y) / a[:, None]`` is the barycentric map of points `y` of shape (m, k). A `v` with as many axes
        as the potentials is a vector, with one more a matrix.
        """
        return _apply(self, v, transpose=transpose)

    def sparse_plan(self, threshold: float = 1e-4) -> SparsePlan[A]:
        """The entries P_ij > threshold a_i of the plan of one problem, and how much mass the others hold.

        Formed a panel of rows at a time, so that memory grows with what is kept. It needs values: not under ``jit``.
        """
        return _sparse_plan(self, threshold)


def _epsilon(r: TransportResult[Any]) -> Any:
    """Epsilon in the dtype of the cost: a number that went through ``jax.jit`` has become a wider array."""
    if library(r.epsilon) and r.epsilon.dtype != r.cost.dtype:
        return namespace(r.cost, r.epsilon).astype(r.epsilon, r.cost.dtype)
    return r.epsilon


@public
def _value(r: TransportResult[A]) -> A:
    return dual_value(r.cost, r.f, r.g, r.a, r.b, _epsilon(r), r.rho_a, r.rho_b)


@public
def _plan(r: TransportResult[A]) -> A:
    return plan(r.cost, r.f, r.g, r.a, r.b, _epsilon(r))


@public
def _transport_cost(r: TransportResult[A]) -> A:
    rows, columns = marginals(r.cost, r.f, r.g, r.a, r.b, _epsilon(r))
    exponents = exponent_sum(r.cost, r.f, r.g, _epsilon(r), r.a[..., None], r.b[..., None])
    return total(rows * r.f) + total(columns * r.g) - _epsilon(r) * exponents


@public
def _apply(r: TransportResult[A], v: A, *, transpose: bool) -> A:
    namespace(r.f, v)
    here, there = (r.b, r.a) if transpose else (r.a, r.b)
    if v.ndim not in (r.f.ndim, r.f.ndim + 1) or v.shape[r.f.ndim - 1] != there.shape[-1]:
        raise ValueError(
            f"v must have shape (..., {there.shape[-1]}) or (..., {there.shape[-1]}, k), got {tuple(v.shape)}"
        )
    columns: Any = v[..., None] if v.ndim == r.f.ndim else v
    moved = apply(r.cost, r.f, r.g, _epsilon(r), there[..., None] * columns, transpose=transpose)
    moved = here[..., None] * moved
    return moved[..., 0] if v.ndim == r.f.ndim else moved


# ---------------------------------------------------------------------------------------------------------------------
# Sparse plans


@record
class SparsePlan(Generic[A]):
    """The larger entries of a plan, by compressed rows.

    Attributes
    ----------
    matrix : CSR
        The entries; its fields `data`, `indices` and `indptr` are what ``scipy.sparse.csr_array`` takes, and ``@``
        multiplies.
    dropped : array, shape ()
        The mass of the entries that are left out.
    """

    matrix: CSR[A]
    dropped: A


@public
def _sparse_plan(r: TransportResult[A], threshold: float) -> SparsePlan[A]:
    backend = of(r.f)
    if backend.traced([r.f]):
        raise TypeError("sparse_plan needs the values of the plan, which a jax transformation hides: call it outside")
    if r.f.ndim != 1:
        raise ValueError(f"sparse_plan takes one problem at a time, this is a batch of shape {tuple(r.f.shape[:-1])}")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    n, m = r.cost.shape[-2:]
    size = max(1, PANEL // m)
    kept: list[tuple[Any, Any, Any]] = []
    dropped = 0.0
    for start in range(0, n, size):
        stop = min(start + size, n)
        rows = slice(start, stop)
        part = plan(panel_of(r.cost, start, stop), r.f[rows], r.g, r.a[rows], r.b, _epsilon(r))
        dense, limits = backend.to_numpy(part), threshold * backend.to_numpy(r.a[rows])
        row, column = np.nonzero(dense > limits[:, None])
        data = dense[row, column]
        dropped += float(dense.sum(dtype=np.float64) - data.sum(dtype=np.float64))
        kept.append((row + start, column, data))
    row, column, data = (np.concatenate(x) for x in zip(*kept, strict=True))
    indptr = np.searchsorted(row, np.arange(n + 1))
    lent = [backend.lend(x, r.f) for x in (data, column, indptr, np.asarray(dropped, dtype=data.dtype))]
    return SparsePlan(CSR(lent[0], lent[1], lent[2], (n, m)), lent[3])


def panel_of(cost: Any, start: int, stop: int) -> Any:
    """Some rows of a cost, as a matrix."""
    if isinstance(cost, PointCloud):
        return matrix(rebuilt(cost, cost.x[start:stop, ...], cost.targets))
    return cost[start:stop, ...]
