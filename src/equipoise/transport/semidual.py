"""What Newton's method needs of the semi-dual problem: a look at a potential, and a step from it.

With f the best answer to g, the dual becomes a concave function of g alone. Its gradient is what the columns lack, its
Hessian -S/epsilon with S = diag(P^T 1) - P^T diag(1/(P 1)) P. The plan has few large entries where epsilon is small; S
is cut to these, but its diagonal is not: what is left out keeps S positive definite, as no cut of P alone would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arrays import namespace
from ..backend import of
from ..checks import values
from ..iterate import Iterated, iterate, stepwise
from ..kernel import kernel
from ..record import rebuild, record
from .pointcloud import PointCloud, is_cloud
from .potentials import matrix, soft_min
from .sweeps import damped, dual, growth, lacking

__all__ = ["inner", "newton_direction", "newton_look", "nowhere", "size"]

# The least that a preconditioner may be of the diagonal entry that it comes from; where the plan is nearly a
# permutation the difference is tiny, and rounded.
FLOOR, FLOOR_FLOAT32 = 1e-6, 1e-4


# ---------------------------------------------------------------------------------------------------------------------
# A look


def scaled(cost: Any, scale: Any) -> Any:
    """The cost divided by `scale`, an array of the shape of the batch."""
    if not is_cloud(cost):
        return cost / scale[..., None, None]
    shrink = (scale ** (-0.5 if cost.metric == "sqeuclidean" else -1.0))[..., None, None]
    y = None if cost.y is None else cost.y * shrink
    return rebuild(PointCloud, (cost.x * shrink, y), (cost.metric,))


@kernel("transport.newton_look")
def newton_look(
    cost: Any, a: Any, b: Any, epsilon: Any, scale: Any, rho_a: Any, rho_b: Any, f: Any, g: Any
) -> tuple[Any, Any, Any, Any]:
    """f from g at epsilon * scale, the soft-min of every column, the dual value, and what the columns lack.

    `f` is some potential near the one that is sought, for kernels to carry as a shift.
    """
    xp = namespace(g)
    width, wide = epsilon * scale, scale[..., None]
    small = scaled(cost, scale)
    f = damped(wide * soft_min.body(small, g / wide, b, epsilon, axis=-1), rho_a, width[..., None])
    soft = wide * soft_min.body(small, f / wide, a, epsilon, axis=-2)
    error = lacking(b, (g - soft) / width[..., None], g, rho_b)
    mass = xp.sum(a if rho_a is None else a * (1.0 + growth(-f / rho_a)), axis=-1)
    value = dual(a, f, rho_a) + dual(b, g, rho_b) - width * (mass - xp.sum(a, axis=-1) * xp.sum(b, axis=-1))
    return f, soft, value, error


# ---------------------------------------------------------------------------------------------------------------------
# A step


@kernel("transport.newton_direction")
def newton_direction(
    cost: Any,
    epsilon: Any,
    scale: Any,
    soft_f: Any,
    g: Any,
    b: Any,
    q: Any,
    diagonal: Any,
    rhs: Any,
    theta: Any,
    goal: Any,
    *,
    max_steps: int,
) -> tuple[Any, Any, Any]:
    """Solve (diag(d) - W^T diag(q) W) x = rhs, with W the larger entries of the plan divided by its row sums.

    `soft_f` holds the undamped soft-min of every row, so that W_ij = b_j exp((soft_f_i + g_j - C_ij)/epsilon); entries
    up to `theta` are left out. Conjugate gradients end where the L1 norm of the residual is at most `goal`, of the
    shape of the batch; infinity asks for nothing.

    Returns x, the steps taken, and the share of entries that were kept.
    """
    xp = namespace(g)
    wide = scale[..., None]
    exponent = (soft_f / wide)[..., :, None] + ((g / wide)[..., None, :] - matrix(scaled(cost, scale)))
    share = b[..., None, :] * xp.exp(xp.clip(exponent / epsilon, max=80.0))
    keep = (share > theta[..., None, None]) & (q[..., :, None] > 0)
    system = xp.where(keep, share, xp.zeros_like(share))
    kept = xp.mean(xp.astype(keep, g.dtype), axis=(-2, -1))
    jacobi = diagonal - xp.sum(q[..., :, None] * system * system, axis=-2)
    floor = FLOOR if g.dtype == xp.float64 else FLOOR_FLOAT32
    jacobi = xp.maximum(jacobi, floor * diagonal)
    jacobi = xp.where(diagonal > 0, jacobi, xp.ones_like(jacobi))
    direction = rhs / jacobi
    start = Conjugate(xp.zeros_like(rhs), rhs, direction, xp.sum(rhs * direction, axis=-1), xp.zeros_like(goal))
    run = inner(cg_advance, start, (system, q, diagonal, jacobi, goal), max_steps)
    wanted = xp.asarray(size(rhs) > goal)
    return run.state.x, run.state.steps, xp.where(wanted, kept, 0.0 * kept)


@record
class Conjugate:
    """Conjugate gradients with a diagonal preconditioner."""

    x: Any
    residual: Any
    direction: Any
    square: Any
    steps: Any


def size(x: Any) -> Any:
    """The L1 norm over the last axis."""
    xp = namespace(x)
    return xp.sum(xp.abs(x), axis=-1)


def cg_step(s: Conjugate, data: Any) -> Conjugate:
    """One step of preconditioned conjugate gradients; where no curvature is left, the residual is set to zero."""
    system, q, diagonal, jacobi, _ = data
    xp = namespace(s.x)
    matmul = of(s.x).matmul
    across = q * matmul(system, s.direction[..., None])[..., 0]
    image = diagonal * s.direction - matmul(xp.matrix_transpose(system), across[..., None])[..., 0]
    curvature = xp.sum(s.direction * image, axis=-1)
    safe = curvature > 0
    alpha = xp.where(safe, s.square / xp.where(safe, curvature, xp.ones_like(curvature)), 0.0 * curvature)
    x = s.x + alpha[..., None] * s.direction
    residual = xp.where(safe[..., None], s.residual - alpha[..., None] * image, 0.0 * image)  # zero ends it
    conditioned = residual / jacobi
    square = xp.sum(residual * conditioned, axis=-1)
    positive = s.square > 0
    beta = xp.where(positive, square / xp.where(positive, s.square, xp.ones_like(square)), 0.0 * square)
    steps = s.steps + xp.astype(safe, s.steps.dtype)
    return Conjugate(x, residual, conditioned + beta[..., None] * s.direction, square, steps)


def cg_error(s: Conjugate, data: Any) -> Any:
    """0 where the residual is small enough, else 1."""
    xp = namespace(s.x)
    return xp.where(size(s.residual) > data[-1], xp.ones_like(s.square), xp.zeros_like(s.square))


cg_advance = stepwise(cg_step, cg_error)


# ---------------------------------------------------------------------------------------------------------------------
# Loops inside a step


def nowhere(mask: Any) -> bool:
    """Whether `mask` is known to be true for no member of the batch, so that work for it can be left out."""
    seen = values(mask)
    return seen is not None and not bool(namespace(seen).any(seen))


def inner(advance: Callable[..., Any], state: Any, data: Any, max_steps: int) -> Iterated:
    """A loop inside a step, until its error is 0."""
    return iterate(advance, state, data, tol=0.5, max_steps=max_steps, check_every=1, history=False, nested=True)
