"""Set-up of the whole suite: 64-bit jax, one thread, the strictest Array API flags, deterministic hypothesis."""

from __future__ import annotations

import os
import pathlib

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# What jax compiled is kept, as numba keeps it: the workers of one run share it, and so do the runs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import array_api_strict  # noqa: E402
import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from .backends import CASES, in_turn  # noqa: E402

jax.config.update("jax_enable_x64", True)
# Once more, since a plugin may have imported jax before; the variables are for processes that tests start.
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update(
    "jax_persistent_cache_min_compile_time_secs", float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
)
torch.set_num_threads(1)
array_api_strict.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=40)
hypothesis.settings.load_profile("suite")

on = in_turn(CASES)


def pytest_configure(config: pytest.Config) -> None:
    # A worker may come upon what another one is just writing; jax then says so, and compiles it.
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache entry")
