"""cupy arrays: portable bodies on CUDA; overrides come as CUDA C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import array_api_compat.cupy as xp
import cupy
import numpy as np

from equipoise.backend import Backend, Eager

__all__ = ["BACKEND"]


class Cupy(Eager):
    """An eager library on CUDA devices, without derivatives."""

    kernels: Mapping[str, str] = {"array.index_sum": "equipoise_cupy.arrays:index_sum"}

    def version(self) -> str:
        return str(cupy.__version__)

    def devices(self) -> Sequence[str]:
        try:
            return tuple(f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount()))
        except cupy.cuda.runtime.CUDARuntimeError:
            return ()

    def asarray(self, x: Any, device: Any, dtype: Any) -> Any:
        with _device(device):
            return cupy.asarray(x, dtype=dtype if dtype is not None and x.dtype.kind == "f" else None)

    def to_numpy(self, x: Any) -> np.ndarray[Any, Any]:
        return cupy.asnumpy(x)

    def check_every(self, x: Any) -> int:
        return 10  # a look is a synchronisation


def _device(device: Any) -> Any:
    """`device` as cupy's context manager: ``"cuda"``, ``"cuda:1"``, an index, a device, or None for the current one."""
    if device is None or device == "cuda":
        return cupy.cuda.Device()
    if isinstance(device, str):
        return cupy.cuda.Device(int(device.partition(":")[2]))
    return cupy.cuda.Device(device.id if hasattr(device, "id") else device)


BACKEND: Backend = Cupy("cupy", xp)
