"""The one list of backends that drives every test: add a line here, and the whole suite runs on it.

A :class:`Case` makes arrays (`array`), calls a function the way its users would (`call`: plainly, portably, under
``jax.jit``) and brings results back (`numpy`).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import array_api_strict
import jax
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.arrays import library
from equipoise.backend import of
from equipoise.record import leaves, map_arrays

try:
    import cupy

    _NO_CUPY = "" if cupy.cuda.runtime.getDeviceCount() else "there is no GPU"
except ImportError:
    _NO_CUPY = "cupy is not installed"
except Exception as error:  # the driver is missing or too old
    _NO_CUPY = f"there is no GPU: {error}"


def read_only(x: np.ndarray) -> np.ndarray:
    x = np.array(x)
    x.flags.writeable = False
    return x


@dataclass(frozen=True)
class Case:
    """One way to run the library."""

    name: str
    array: Callable[[np.ndarray], Any]
    portable: bool = False
    jit: bool = False
    missing: str = field(default="", repr=False)

    def call(self, fn: Callable[..., Any], *arrays: Any) -> Any:
        """``fn(*arrays)`` with numpy arrays made this case's own; inside ``jax.jit`` where that is the case."""
        moved = map_arrays(lambda x: self.array(x) if library(x) == "numpy" else x, arrays)
        with eq.portable() if self.portable else contextlib.nullcontext(), self.warnings(), self.unwritten(moved):
            return jax.jit(fn)(*moved) if self.jit else fn(*moved)

    @contextlib.contextmanager
    def unwritten(self, moved: Any) -> Iterator[None]:
        """What is read-only stays as it is: compiled kernels see its memory as if it might be written."""
        if self.array is not read_only:
            yield
            return
        before = map_arrays(np.array, moved)
        yield
        for old, new in zip(leaves(before), leaves(moved), strict=True):
            np.testing.assert_array_equal(old, new, err_msg="an input was written")

    @contextlib.contextmanager
    def warnings(self) -> Iterator[None]:
        """OpenBLAS raised the flag of an invalid value once, under array_api_strict, in a product of finite numbers.

        It could not be brought about again. What the product gives is compared like all else.
        """
        if not self.name.startswith("strict"):
            yield
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "invalid value encountered in matmul", RuntimeWarning)
            yield

    def numpy(self, x: Any) -> Any:
        """Every array in `x` as a numpy array."""
        return map_arrays(lambda leaf: of(leaf).to_numpy(leaf), x)


def _strict(device: str) -> Callable[[np.ndarray], Any]:
    return lambda x: array_api_strict.asarray(x, device=array_api_strict.Device(device))


CASES = [
    Case("numpy", np.array),
    Case("numpy-portable", np.array, portable=True),
    Case("numpy-readonly", read_only),
    Case("torch", torch.tensor),
    Case("torch-portable", torch.tensor, portable=True),
    Case("jax", jax.numpy.array),
    Case("jax-portable", jax.numpy.array, portable=True),
    Case("jax-jit", jax.numpy.array, jit=True),
    Case("strict", _strict("CPU_DEVICE"), portable=True),
    Case("strict-second-device", _strict("device1"), portable=True),
    Case("cupy", lambda x: cupy.asarray(x), missing=_NO_CUPY),
]

# Of ``jax-portable`` jax compiles the bodies that it compiles of ``jax-jit``, and that takes seconds. Families of many
# solves leave it out; one test of every solver has it, by `everywhere`, for the way that is not traced.
COMPILED_ONCE = [case for case in CASES if case.name != "jax-portable"]

everywhere = pytest.mark.parametrize("on", CASES, ids=lambda case: case.name, indirect=True)


def in_turn(cases: list[Case]) -> Any:
    """The fixture `on`, for a conftest: each of `cases` that is not missing here."""

    @pytest.fixture(params=cases, ids=lambda case: case.name)
    def on(request: pytest.FixtureRequest) -> Case:
        """Every backend in turn."""
        case: Case = request.param
        if case.missing:
            pytest.skip(case.missing)
        return case

    return on
