"""``numba.njit`` as this package uses it: without the entry for C that numba would compile of every function."""

from __future__ import annotations

import functools

import numba

__all__ = ["njit"]

njit = functools.partial(numba.njit, no_cfunc_wrapper=True)  # a tenth of the time of compilation
