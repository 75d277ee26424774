"""What the `Solve` sets of all families share: a problem at two sizes, in two dtypes, on three backends, beside a peer.

A family's ``solve.py`` gives a `Task`: the problem, our call, a judge and the peer's call. All combinations are
measured by one process, in `setup_cache`, backends and peer in turn, and the benchmarks read its table: so ratios are
of the same minutes, and a set takes seconds. (`setup_cache` is written out in each family, for asv tells them by their
places.)

The same files run with older versions of the library: a family, an argument or an attribute that is not there yet
makes a combination be skipped, with the reason; any other error fails it.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .clock import cpu_seconds, keep_freed_memory

__all__ = ["BACKENDS", "DTYPES", "Figures", "Table", "Task"]

BACKENDS = ("numpy", "torch", "jax")
DTYPES = ("float32", "float64")
SLACK = 1.05  # of a tolerance: what rounding may add between a solver's own look and the judge's
LACKING = (ImportError, AttributeError, TypeError, NotImplementedError)  # what an older version answers


@dataclass(frozen=True)
class Task:
    """A problem in one dtype.

    ``prepare(*arrays)`` is given `arrays` as a backend has them, and returns our call; ``read`` makes of its result the
    answer, in numpy arrays, and the steps. ``prepare_peer()`` returns the peer's call, which gives an answer. ``error``
    judges an answer in float64; a ratio counts only where both are within `tol`.
    """

    arrays: tuple[Any, ...]
    prepare: Callable[..., Callable[[], Any]]
    read: Callable[[Any], tuple[Any, int]]
    prepare_peer: Callable[[], Callable[[], Any]]
    error: Callable[[Any], float]
    tol: float

    def within(self, error: float) -> bool:
        return error <= SLACK * self.tol


@dataclass(frozen=True)
class Figures:
    """Least CPU seconds of a solve, its steps, the true error of its answer, and its time over the peer's."""

    seconds: float
    steps: int
    error: float
    ratio: float


Table = dict[tuple[Any, ...], "Figures | str | Exception"]  # (backend, size, dtype) -> figures, or why there are none


def convert(backend: str, x: Any) -> Any:
    """A numpy array as an array of a backend; jax is told to keep float64."""
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
        return torch.from_numpy(x)
    if backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
        return jax.numpy.asarray(x)
    return x


def call_of(task: Task, backend: str) -> Callable[[], Any]:
    """Our call on a backend, up to the answer as numpy has it: nothing is left in a queue when it returns."""
    call = task.prepare(*(convert(backend, x) for x in task.arrays))
    return lambda: task.read(call())


def measure(task: Task, *, rounds: int = 200, budget: float = 0.3) -> dict[str, Figures | str | Exception]:
    """All backends and the peer in turn, each warm: at least three times, and short ones for `budget` seconds."""
    keep_freed_memory()
    found: dict[str, Figures | str | Exception] = {}
    calls: dict[str, Callable[[], Any]] = {}
    for backend in BACKENDS:
        try:
            calls[backend] = call_of(task, backend)
            calls[backend]()  # compiles
        except Exception as failure:
            calls.pop(backend, None)
            found[backend] = told(failure)
    if not calls:
        return found
    peer, met = peer_of(task)
    sides = [*calls.values(), peer]
    *seconds, theirs = map(min, cpu_seconds(sides, rounds=2), cpu_seconds(sides, rounds=rounds, budget=budget))
    for (backend, call), ours in zip(calls.items(), seconds, strict=True):
        answer, steps = call()
        error = task.error(answer)
        found[backend] = Figures(ours, steps, error, ours / theirs if met and task.within(error) else math.nan)
    return found


def told(failure: Exception) -> str | RuntimeError:
    """A reason to skip where something is lacking, or else a failure, as a table keeps it."""
    text = f"{type(failure).__name__}: {failure}"
    return text if isinstance(failure, LACKING) else RuntimeError(text)


def peer_of(task: Task) -> tuple[Callable[[], Any], bool]:
    """The peer's call, and whether it meets the tolerance; without its library there is no ratio, but all else."""
    try:
        peer = task.prepare_peer()
        return peer, task.within(task.error(peer()))
    except ImportError:
        return lambda: None, False


def _float64_alone(table: Table, backend: str, size: int, dtype: str) -> None:
    if dtype != "float64":
        raise NotImplementedError("memory is measured in float64 alone")


class _Solve:
    """The benchmarks; a family adds `params`, `task`, `setup_cache` and `track_ratio`."""

    params: ClassVar[tuple[Any, ...]]
    param_names: ClassVar = ["backend", "size", "dtype"]

    def task(self, size: int, dtype: str) -> Task:
        raise NotImplementedError

    def table(self) -> Table:
        """The figures of all combinations; where the problem itself cannot be had, the reason."""
        table: Table = {}
        for size, dtype in itertools.product(*self.params[1:]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a tolerance that is missed is seen in the error
                try:
                    found = measure(self.task(size, dtype))
                except Exception as failure:
                    found = dict.fromkeys(BACKENDS, told(failure))
            table |= {(backend, size, dtype): figures for backend, figures in found.items()}
        return table

    def setup(self, table: Table, *case: Any) -> None:
        found = table[case]
        if isinstance(found, str):
            raise NotImplementedError(found)  # asv's way to skip
        if isinstance(found, Exception):
            raise found
        self.figures = found

    def track_cpu_time(self, *case: Any) -> float:
        """Least CPU time of several solves, inputs converted and kernels compiled."""
        return 1e3 * self.figures.seconds

    def track_error(self, *case: Any) -> float:
        """Recomputed in float64 from the answer."""
        return self.figures.error

    def peakmem_solve(self, table: Table, backend: str, size: int, dtype: str) -> None:
        """Of the whole process, with the libraries that it imports and the making of the problem; in float64 alone,
        since this one needs a process for each combination.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call_of(self.task(size, dtype), backend)()

    peakmem_solve.setup = _float64_alone  # type: ignore[attr-defined]
    track_cpu_time.unit = "ms"  # type: ignore[attr-defined]


class _SteppedSolve(_Solve):
    """For methods that count their steps."""

    def track_steps(self, *case: Any) -> int:
        return self.figures.steps

    track_steps.unit = "iterations"  # type: ignore[attr-defined]
