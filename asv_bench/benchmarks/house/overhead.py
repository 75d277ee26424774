"""What the house itself costs: its import, its boundary, its dispatch. Microseconds, or it is too much."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..clock import cpu_seconds

LIBRARIES = ("numpy", "torch", "jax")
CALLS = 1000


def microseconds(*calls: Callable[[], Any]) -> list[float]:
    """CPU microseconds of each call, the least of several interleaved blocks."""

    def block(call: Callable[[], Any]) -> Callable[[], None]:
        def repeat() -> None:
            for _ in range(CALLS):
                call()

        return repeat

    return [1e6 * seconds / CALLS for seconds in cpu_seconds(map(block, calls), rounds=15, budget=5.0)]


def backend_of(name: str) -> Any:
    """The backend called `name`, ready to take float64."""
    from equipoise.backend import find

    try:
        backend = find(name)
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
    if name == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    return backend


class Import:
    """``import equipoise`` may cost no more than a little beside the numpy that it imports."""

    def track_import_over_numpy(self) -> float:
        """CPU time over that of ``import numpy``, the interpreter's own start taken off both."""

        def start(statement: str) -> float:
            def children() -> float:
                used = resource.getrusage(resource.RUSAGE_CHILDREN)
                return used.ru_utime + used.ru_stime

            before = children()
            subprocess.run([sys.executable, "-c", statement], check=True)
            return children() - before

        statements = ("pass", "import numpy", "import equipoise")
        rounds = [[start(statement) for statement in statements] for _ in range(8)]
        bare, numpy, equipoise = (min(column) for column in zip(*rounds, strict=True))
        return (equipoise - bare) / (numpy - bare)

    track_import_over_numpy.unit = "of numpy's import"  # type: ignore[attr-defined]


class Boundary:
    """A public function that does nothing, called with one array of four numbers. Promised: below 1 us."""

    def setup(self) -> None:
        import equipoise as eq

        self.x = np.ones(4)
        self.plain = _same
        self.public = eq.public(_same)

    def track_outside(self) -> float:
        """With no context open, beyond the call itself."""
        plain, public = microseconds(lambda: self.plain(self.x), lambda: self.public(self.x))
        return public - plain

    track_outside.unit = "us"  # type: ignore[attr-defined]


class BoundaryInside:
    """Inside ``with equipoise.backend(...)``, beyond moving the arrays there and back. Promised: below 10 us."""

    params: ClassVar = [LIBRARIES]
    param_names: ClassVar = ["backend"]

    def setup(self, name: str) -> None:
        import equipoise as eq

        self.backend = backend_of(name)
        self.x = np.ones(4)
        self.double = _double
        self.public = eq.public(_double)

    def track_inside(self, name: str) -> float:
        import equipoise as eq

        def by_hand() -> Any:
            return self.backend.to_numpy(self.double(self.backend.asarray(self.x, None, None)))

        with eq.backend(name):
            hand, public = microseconds(by_hand, lambda: self.public(self.x))
        return public - hand

    track_inside.unit = "us"  # type: ignore[attr-defined]


class Kernels:
    """A kernel that numpy overrides and the others borrow: what finding, borrowing and lending cost."""

    params: ClassVar = [LIBRARIES]
    param_names: ClassVar = ["library"]

    def setup(self, name: str) -> None:
        from equipoise.backend import find
        from equipoise.kernel import override
        from equipoise.transport.potentials import marginals

        backend = backend_of(name)
        arrays = [np.zeros((4, 4)), np.zeros(4), np.zeros(4), np.full(4, 0.25), np.full(4, 0.25)]
        self.direct = override(find("numpy"), marginals.name)
        if self.direct is None:
            raise NotImplementedError("numba is not installed: there is no kernel to dispatch to")
        self.kernel = marginals
        self.host = (*arrays, 1.0)
        self.ours = (*(backend.asarray(x, None, None) for x in arrays), 1.0)

    def track_dispatch(self, name: str) -> float:
        """Beyond a direct call of the numba kernel."""
        direct, dispatched = microseconds(lambda: self.direct(*self.host), lambda: self.kernel(*self.ours))
        return dispatched - direct

    def track_small_solve(self, name: str) -> float:
        """A whole solve of 4 x 4: checks, loop and result, hardly any arithmetic."""
        from equipoise.transport import sinkhorn

        return microseconds(lambda: sinkhorn(self.ours[0], epsilon=1.0))[0]

    track_dispatch.unit = "us"  # type: ignore[attr-defined]
    track_small_solve.unit = "us"  # type: ignore[attr-defined]


def _same(x: Any) -> Any:
    return x


def _double(x: Any) -> Any:
    return x + x
