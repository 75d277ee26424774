"""numpy arrays: numba kernels where numba is installed, portable bodies where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from equipoise.backend import Backend, Eager, unlocked
from equipoise.iterate import Iterated, Options
from equipoise.kernel import Kernel
from equipoise.record import map_arrays

__all__ = ["BACKEND"]

_PLAIN = {
    "array.index_sum": "equipoise_numpy.arrays:index_sum",
    "monotone.power": "equipoise_numpy.power:power_growth",
    "array.running_maximum": "equipoise_numpy.arrays:running_maximum",
    "sketch.gram": "equipoise_numpy.panels:gram",
    "sketch.judge": "equipoise_numpy.least_squares:judge",
    "sketch.least_squares": "equipoise_numpy.least_squares:least_squares",
    "sketch.residual_gradient": "equipoise_numpy.panels:residual_gradient",
    "sketch.row_squares": "equipoise_numpy.panels:row_squares",
}
_NUMBA = {
    "array.row_sum": "equipoise_numpy.quasimetric_pairs:row_sum",
    "linear.arrange": "equipoise_numpy.ordering:arrange",
    "linear.box_fit": "equipoise_numpy.policies:box_fit",
    "linear.cg": "equipoise_numpy.gradients:conjugate_gradients",
    "linear.sor": "equipoise_numpy.sor:ordered_sweeps",
    "linear.sor_red_black": "equipoise_numpy.red_black:packed_sweeps",
    "linear.lanczos_step": "equipoise_numpy.policies:lanczos_step",
    "linear.ssor_begin": "equipoise_numpy.eisenstat:ssor_begin",
    "linear.ssor_cg": "equipoise_numpy.eisenstat:ssor_cg",
    "monotone.forb_chunk": "equipoise_numpy.snapshots:forb_chunk",
    "monotone.game_chunk": "equipoise_numpy.games:game_chunk",
    "monotone.page_chunk": "equipoise_numpy.page:page_chunk",
    "monotone.program_chunk": "equipoise_numpy.programs:program_chunk",
    "monotone.project_l1": "equipoise_numpy.simplex:project_l1",
    "monotone.project_simplex": "equipoise_numpy.simplex:project_simplex",
    "monotone.vreg_chunk": "equipoise_numpy.snapshots:vreg_chunk",
    "operators.csr_product": "equipoise_numpy.operators:csr_product",
    "operators.stencil_product": "equipoise_numpy.stencils:stencil_product",
    "quasimetric.iqe": "equipoise_numpy.quasimetric_pairs:pair_lengths",
    "quasimetric.iqe_grad": "equipoise_numpy.quasimetric_pairs:pair_slopes",
    "quasimetric.iqe_pairwise": "equipoise_numpy.quasimetric:all_lengths",
    "quasimetric.iqe_pairwise_grad": "equipoise_numpy.quasimetric:all_slopes",
    "quasimetric.pqe": "equipoise_numpy.quasimetric_poisson:pair_distances",
    "quasimetric.pqe_grad": "equipoise_numpy.quasimetric_poisson:pair_slopes",
    "quasimetric.pqe_pairwise": "equipoise_numpy.quasimetric_poisson:all_distances",
    "quasimetric.pqe_pairwise_grad": "equipoise_numpy.quasimetric_poisson:all_slopes",
    "precondition.dense_eq_sweep": "equipoise_numpy.precondition:dense_eq_sweep",
    "precondition.dense_quad_sweep": "equipoise_numpy.precondition:dense_quad_sweep",
    "precondition.low_rank_sweep": "equipoise_numpy.low_rank:low_rank_sweep",
    "random.philox": "equipoise_numpy.random:philox",
    "sketch.sparse_sign": "equipoise_numpy.sparse_sign:sparse_sign",
    "sketch.sparse_sign_entries": "equipoise_numpy.sparse_sign:sparse_sign_entries",
    "sketch.sparse_sign_lift": "equipoise_numpy.sparse_sign:sparse_sign_lift",
    "sketch.srht": "equipoise_numpy.srht:srht",
    "sketch.srht_lift": "equipoise_numpy.srht:srht_lift",
    "transport.apply": "equipoise_numpy.products:apply",
    "transport.barycenter_start": "equipoise_numpy.barycenter:barycenter_start",
    "transport.barycenter_sweeps": "equipoise_numpy.barycenter:barycenter_sweeps",
    "transport.exponent_sum": "equipoise_numpy.products:exponent_sum",
    "transport.kernel_sweeps": "equipoise_numpy.absorbed:kernel_sweeps",
    "transport.log_sweeps": "equipoise_numpy.transport:log_sweeps",
    "transport.marginals": "equipoise_numpy.transport:marginals",
    "transport.newton_direction": "equipoise_numpy.newton:newton_direction",
    "transport.newton_look": "equipoise_numpy.newton:newton_look",
    "transport.pull": "equipoise_numpy.products:pull",
    "transport.quantile_cost": "equipoise_numpy.sliced:quantile_cost",
    "transport.quantile_slopes": "equipoise_numpy.sliced:quantile_slopes",
    "transport.soft_min": "equipoise_numpy.transport:soft_min",
}


class Numpy(Eager):
    """The host: every other backend that shares its memory borrows these kernels."""

    stops_inside = True
    kernels: Mapping[str, str] = {**_PLAIN, **(_NUMBA if find_spec("numba") else {})}

    def to_numpy(self, x: Any) -> np.ndarray[Any, Any]:
        return np.asarray(x)

    def loop(self, advance: Any, state: Any, data: Any, options: Options) -> Iterated:
        """The Python loop; kernels want rows that are contiguous, and one copy a solve is better than one a chunk."""
        if isinstance(advance, Kernel) and advance.overridden(self):
            state, data = map_arrays(_own, state), map_arrays(_contiguous, data)
        return super().loop(advance, state, data, options)

    def asarray(self, x: Any, device: Any, dtype: Any) -> np.ndarray[Any, Any]:
        return np.asarray(x, dtype=dtype if dtype is not None and x.dtype.kind == "f" else None)


def _contiguous(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`x` with contiguous matrices along its last two axes; the axes of a batch may stay broadcast."""
    matrix = x[(0,) * (x.ndim - 2)] if x.ndim > 2 and x.size else x
    x = x if matrix.flags.c_contiguous else np.ascontiguousarray(x)
    return x if x.flags.writeable or not x.size else unlocked(x, x.ctypes.data, x)


def _own(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`x`, or a copy of what may not be written: it may come back in the result."""
    return x if x.flags.writeable else x.copy()


BACKEND: Backend = Numpy("numpy", xp)
