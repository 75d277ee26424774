"""The answer of a transport problem: potentials, and whatever is a formula in them.

Nothing of size n x m is kept: the plan is P_ij = a_i b_j exp((f_i + g_j - C_ij)/epsilon), formed when it is asked for.
"""

from __future__ import annotations

from typing import Any, Generic

from ..arrays import A, library, namespace
from ..boundary import public
from ..implicit import differentiable
from ..record import record
from ..result import Outcome
from .potentials import marginals, plan

__all__ = ["TransportResult"]


def _total(x: Any) -> Any:
    return namespace(x).sum(x, axis=-1)


def _value_vjp(cotangent: Any, value: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The envelope theorem: at a maximum of the dual the potentials may be held fixed."""
    if cotangent is None:
        return (None,) * 6
    cost, f, g, a, b, epsilon = args
    xp = namespace(cost)
    v = cotangent
    moved = plan(cost, f, g, a, b, epsilon)
    density = (f[..., :, None] + (g[..., None, :] - cost)) / epsilon
    slope = xp.sum(moved * density, axis=(-2, -1)) - (xp.sum(moved, axis=(-2, -1)) - _total(a) * _total(b))
    epsilon_bar = xp.sum(v * slope) if library(epsilon) else None
    return v[..., None, None] * moved, None, None, v[..., None] * f, v[..., None] * g, epsilon_bar


@differentiable(_value_vjp)
def dual_value(cost: Any, f: Any, g: Any, a: Any, b: Any, epsilon: Any) -> Any:
    """sum a f + sum b g - epsilon (sum P - sum a sum b), by row sums that never form P."""
    rows, _ = marginals(cost, f, g, a, b, epsilon)
    return _total(a * f) + _total(b * g) - epsilon * (_total(rows) - _total(a) * _total(b))


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
    """

    f: A
    g: A
    cost: A
    a: A
    b: A
    epsilon: Any

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

    def __repr__(self) -> str:
        shape, error = tuple(self.cost.shape), self.error
        status = getattr(self.status, "name", "traced")
        return f"TransportResult(cost {shape}, error {error}, steps {self.steps}, {status})"


def _epsilon(r: TransportResult[Any]) -> Any:
    """Epsilon in the dtype of the cost: a number that went through ``jax.jit`` has become a wider array."""
    if library(r.epsilon) and r.epsilon.dtype != r.cost.dtype:
        return namespace(r.cost, r.epsilon).astype(r.epsilon, r.cost.dtype)
    return r.epsilon


@public
def _value(r: TransportResult[A]) -> A:
    return dual_value(r.cost, r.f, r.g, r.a, r.b, _epsilon(r))


@public
def _plan(r: TransportResult[A]) -> A:
    return plan(r.cost, r.f, r.g, r.a, r.b, _epsilon(r))


@public
def _transport_cost(r: TransportResult[A]) -> A:
    return namespace(r.cost).sum(plan(r.cost, r.f, r.g, r.a, r.b, _epsilon(r)) * r.cost, axis=(-2, -1))


@public
def _apply(r: TransportResult[A], v: A, *, transpose: bool) -> A:
    xp = namespace(r.cost, v)
    moved: Any = plan(r.cost, r.f, r.g, r.a, r.b, _epsilon(r))
    if transpose:
        moved = xp.matrix_transpose(moved)
    if v.ndim not in (r.f.ndim, r.f.ndim + 1) or v.shape[r.f.ndim - 1] != moved.shape[-1]:
        raise ValueError(
            f"v must have shape (..., {moved.shape[-1]}) or (..., {moved.shape[-1]}, k), got {tuple(v.shape)}"
        )
    if v.ndim == r.f.ndim:
        return xp.matmul(moved, v[..., None])[..., 0]
    return xp.matmul(moved, v)
