"""CPU time of calls, taken so that two of them can be compared on a machine that others use too."""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["cpu_seconds", "keep_freed_memory"]


def cpu_seconds(calls: Iterable[Callable[[], Any]], *, rounds: int, budget: float = math.inf) -> list[float]:
    """Least CPU seconds of each call: all of them in turn, `rounds` times, those that have used up `budget` no more.

    CPU time of the process, all threads included, since wall time on a shared machine measures its other users; the
    least, since disturbance only adds; in turn, since a slow spell then meets all alike.
    """
    calls = list(calls)
    best, spent = [math.inf] * len(calls), [0.0] * len(calls)
    for _ in range(rounds):
        for k, call in enumerate(calls):
            if spent[k] < budget:
                start = time.process_time()
                call()
                seconds = time.process_time() - start
                best[k], spent[k] = min(best[k], seconds), spent[k] + seconds
    return best


def keep_freed_memory() -> None:
    """Stop glibc from handing freed memory back to the system.

    By default it may do so for each temporary of 8 MB, and the system then clears fresh pages for the next one: nearly
    half of POT's CPU time at n = 1000, which says something of the allocator and nothing of the method.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-4, 0)  # M_MMAP_MAX: everything from the heap
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and the heap is not trimmed
