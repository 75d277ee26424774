"""What potentials stand for: soft minima, the plan, its sums, its products, and how they move with the cost.

The plan is P_ij = a_i b_j exp((f_i + g_j - C_ij)/epsilon); its density, the last factor, is D_ij. A cost is a matrix or
a :class:`PointCloud`; nothing here forms the matrix of a cloud. Sums are formed from soft minima, in logarithms, so
that no term of them over- or underflows.
"""

from __future__ import annotations

from typing import Any

from ..arrays import library, namespace
from ..backend import of
from ..kernel import kernel
from ..record import rebuild, record
from .pointcloud import PointCloud, by_panels, distances, is_cloud, slopes

__all__ = [
    "Stored",
    "apply",
    "bounded_exp",
    "cost_cotangent",
    "density",
    "exponent_sum",
    "marginals",
    "matrix",
    "plan",
    "soft_min",
]


def bounded_exp(x: Any) -> Any:
    """exp, bounded: between two points of weight zero the exponent may be anything, and 0 times inf is not 0."""
    xp = namespace(x)
    return xp.exp(xp.clip(x, max=700.0 if x.dtype == xp.float64 else 80.0))


def matrix(cost: Any) -> Any:
    """The cost as a matrix."""
    return distances(cost.x, cost.targets, cost.metric) if is_cloud(cost) else cost


def density(cost: Any, f: Any, g: Any, epsilon: Any) -> Any:
    """D_ij = exp((f_i + g_j - C_ij)/epsilon)."""
    return bounded_exp((f[..., :, None] + (g[..., None, :] - matrix(cost))) / epsilon)


def plan(cost: Any, f: Any, g: Any, a: Any, b: Any, epsilon: Any) -> Any:
    """P_ij = a_i b_j exp((f_i + g_j - C_ij)/epsilon)."""
    return a[..., :, None] * b[..., None, :] * density(cost, f, g, epsilon)


@record
class Stored:
    """A density and the potentials that it was formed from, in place of a cost whose potentials are near to them."""

    density: Any
    f: Any
    g: Any


def turned(cost: Any, axis: int) -> tuple[Any, Any, str]:
    """The points that are summed for, those that are summed over, and the metric, for a sum along `axis`."""
    x, y = cost.x, cost.targets
    return (x, y, cost.metric) if axis == -1 else (y, x, cost.metric)


# ---------------------------------------------------------------------------------------------------------------------
# Soft minima and sums of the plan


@kernel("transport.soft_min")
def soft_min(cost: Any, potential: Any, weights: Any, epsilon: Any, *, axis: int) -> Any:
    """-epsilon log sum_j b_j exp((g_j - C_ij)/epsilon) for ``axis=-1``; with f and a, over i, for ``axis=-2``."""
    if isinstance(cost, Stored):
        return soft_min_stored(cost, potential, weights, epsilon, axis)
    if not is_cloud(cost):
        return soft_min_of(cost, potential, weights, epsilon, axis)
    x, y, metric = turned(cost, axis)

    def panel(points: Any) -> Any:
        return soft_min_of(distances(points, y, metric), potential, weights, epsilon, -1)[..., None]

    return by_panels(panel, (x,), y.shape[-2])[..., 0]


def soft_min_of(cost: Any, potential: Any, weights: Any, epsilon: Any, axis: int) -> Any:
    """:func:`soft_min` of a matrix, by a shift with the largest exponent."""
    xp = namespace(cost)
    across = -2 if axis == -1 else -1  # where a vector along `axis` gets its second axis
    positive = weights > 0
    log_weights = xp.log(xp.where(positive, weights, xp.ones_like(weights)))
    log_weights = xp.where(positive, log_weights, xp.full_like(weights, -xp.inf))
    scores = xp.expand_dims(log_weights, axis=across) + (xp.expand_dims(potential, axis=across) - cost) / epsilon
    shift = xp.max(scores, axis=axis, keepdims=True)
    total = xp.sum(xp.exp(scores - shift), axis=axis)
    return -epsilon * (xp.squeeze(shift, axis=axis) + xp.log(total))


def soft_min_stored(stored: Stored, potential: Any, weights: Any, epsilon: Any, axis: int) -> Any:
    """A soft-min by a product: no entry of the sum is lost while the potential stays near the stored one."""
    xp = namespace(potential)
    dense, here, there = stored.density, stored.f, stored.g
    if axis == -2:
        dense, here, there = xp.matrix_transpose(dense), there, here
    moved = weights * xp.exp((potential - there) / epsilon)
    return here - epsilon * xp.log(of(dense).matmul(dense, moved[..., None])[..., 0])


@kernel("transport.marginals")
def marginals(cost: Any, f: Any, g: Any, a: Any, b: Any, epsilon: Any) -> tuple[Any, Any]:
    """Row and column sums of the plan of `f` and `g`."""
    rows = a * bounded_exp((f - soft_min.body(cost, g, b, epsilon, axis=-1)) / epsilon)
    columns = b * bounded_exp((g - soft_min.body(cost, f, a, epsilon, axis=-2)) / epsilon)
    return rows, columns


# ---------------------------------------------------------------------------------------------------------------------
# Products with the density, and what the cost has to do with them


def _apply_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], *, transpose: bool) -> tuple[Any, ...]:
    """With w the cotangent of D v, every entry of D is weighed by w_i . v_j."""
    if cotangent is None:
        return (None,) * len(args)
    cost, f, g, epsilon, v = args
    xp = namespace(f)
    back = apply(cost, f, g, epsilon, cotangent, transpose=not transpose)  # the cotangent of v
    far = xp.sum(out * cotangent, axis=-1) / epsilon
    near = xp.sum(back * v, axis=-1) / epsilon
    f_bar, g_bar = (near, far) if transpose else (far, near)
    left, right = (v, cotangent) if transpose else (cotangent, v)
    cost_bar = cost_cotangent(cost, f, g, epsilon, -left / epsilon, right)
    epsilon_bar = None
    if library(epsilon):
        epsilon_bar = -xp.sum(exponent_sum(cost, f, g, epsilon, left, right)) / epsilon
    return cost_bar, f_bar, g_bar, epsilon_bar, back


@kernel("transport.apply", vjp=_apply_vjp)
def apply(cost: Any, f: Any, g: Any, epsilon: Any, v: Any, *, transpose: bool) -> Any:
    """D v for `v` of shape (..., m, k), or D^T v for (..., n, k)."""
    matmul = of(f).matmul
    if not is_cloud(cost):
        dense = density(cost, f, g, epsilon)
        return matmul(namespace(f).matrix_transpose(dense) if transpose else dense, v)
    x, y, metric = turned(cost, -2 if transpose else -1)
    here, there = (g, f) if transpose else (f, g)

    def panel(points: Any, own: Any) -> Any:
        exponent = own + (there[..., None, :] - distances(points, y, metric))
        return matmul(bounded_exp(exponent / epsilon), v)

    return by_panels(panel, (x, here[..., None]), y.shape[-2])


@kernel("transport.exponent_sum")
def exponent_sum(cost: Any, f: Any, g: Any, epsilon: Any, left: Any, right: Any) -> Any:
    """sum_ij D_ij (u_i . v_j) E_ij with E_ij = (f_i + g_j - C_ij)/epsilon, for u (..., n, k) and v (..., m, k)."""
    xp = namespace(f)
    transposed = xp.matrix_transpose(right)

    def panel(some: Any, own: Any, weights: Any) -> Any:
        exponent = (own + (g[..., None, :] - some)) / epsilon
        weighed = of(f).matmul(weights, transposed) * bounded_exp(exponent)
        return xp.sum(weighed * exponent, axis=-1)[..., None]

    if not is_cloud(cost):
        return xp.sum(panel(cost, f[..., None], left), axis=(-2, -1))
    y, metric = cost.targets, cost.metric

    def cloud_panel(points: Any, own: Any, weights: Any) -> Any:
        return panel(distances(points, y, metric), own, weights)

    return xp.sum(by_panels(cloud_panel, (cost.x, f[..., None], left), y.shape[-2]), axis=(-2, -1))


@kernel("transport.pull")
def pull(cost: Any, f: Any, g: Any, epsilon: Any, left: Any, right: Any) -> tuple[Any, Any]:
    """sum_j D_ij (u_i . v_j) dC_ij/dx_i, shape (..., n, d), and the same for y, of a point cloud."""
    xp = namespace(f)
    matmul = of(f).matmul

    def side(x: Any, y: Any, here: Any, there: Any, u: Any, v: Any) -> Any:
        def panel(points: Any, own: Any, weights: Any) -> Any:
            exponent = own + (there[..., None, :] - distances(points, y, cost.metric))
            weighed = matmul(weights, xp.matrix_transpose(v)) * bounded_exp(exponent / epsilon)
            return slopes(weighed, points, y, cost.metric)

        return by_panels(panel, (x, here[..., None], u), y.shape[-2])

    x, y = cost.x, cost.targets
    return side(x, y, f, g, left, right), side(y, x, g, f, right, left)


def cost_cotangent(cost: Any, f: Any, g: Any, epsilon: Any, left: Any, right: Any) -> Any:
    """The cotangent of the cost whose entry is D_ij (u_i . v_j): a matrix, or a cloud of cotangents of its points."""
    if not is_cloud(cost):
        weights = of(f).matmul(left, namespace(f).matrix_transpose(right))
        return density(cost, f, g, epsilon) * weights
    x_bar, y_bar = pull(cost, f, g, epsilon, left, right)
    if cost.y is None:
        return rebuilt(cost, x_bar + y_bar, None)
    return rebuilt(cost, x_bar, y_bar)


def rebuilt(cost: PointCloud[Any], x: Any, y: Any) -> PointCloud[Any]:
    """A cloud like `cost`, without its checks: of cotangents, or of points that have been looked at."""
    return rebuild(PointCloud, (x, y), (cost.metric,))
