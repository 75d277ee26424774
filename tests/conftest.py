"""Set-up of the whole suite: 64-bit jax, one thread, the strictest Array API flags, deterministic hypothesis."""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import array_api_strict  # noqa: E402
import hypothesis  # noqa: E402
import jax  # noqa: E402
import torch  # noqa: E402

from .backends import CASES, in_turn  # noqa: E402

jax.config.update("jax_enable_x64", True)
torch.set_num_threads(1)
array_api_strict.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=40)
hypothesis.settings.load_profile("suite")

on = in_turn(CASES)
