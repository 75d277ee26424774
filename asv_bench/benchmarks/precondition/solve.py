"""The family's uniform set: a preconditioner fitted to a matrix, beside the same updates in plain torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._solve import BACKENDS, DTYPES, Table, Task, _SteppedSolve

CONDITION, STEP, TOL = 30.0, 0.1, 1e-3
EVERY, PROBES, MAX_STEPS = 100, 4, 20_000


class Solve(_SteppedSolve):
    """``fit_hessian`` of a dense preconditioner to a positive definite matrix of `size` rows and condition 30.

    The tolerance is 1e-3 on |P H - I| / sqrt(n) in Frobenius's norm, of which both sides take an estimate from four
    probes at every hundredth pair. Vectors are drawn inside the clock, by torch's generator for the peer.
    """

    params: ClassVar = (BACKENDS, (30, 100), DTYPES)

    def task(self, size: int, dtype: str) -> Task:
        H = hessian(size)
        return Task(
            arrays=(H.astype(dtype), np.zeros(size, dtype)),
            prepare=ours,
            read=lambda fit: (np.asarray(fit.state.Q), int(fit.steps)),
            prepare_peer=lambda: functools.partial(torchs, H.astype(dtype)),
            error=functools.partial(distance, H),
            tol=1.25 * TOL,  # four probes see a random share of the error
        )

    def setup_cache(self) -> Table:
        return self.table()

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_ratio(self, *case: Any) -> float:
        """CPU time over that of plain torch; NaN where one of the two missed the tolerance."""
        return self.figures.ratio

    track_ratio.unit = "of the CPU time of plain torch"  # type: ignore[attr-defined]


def hessian(n: int) -> Any:
    rng = np.random.default_rng(20_260_401)
    W = np.linalg.qr(rng.standard_normal((n, n)))[0]
    values = np.geomspace(CONDITION**-0.5, CONDITION**0.5, n)
    return (W * values) @ W.T


def ours(H: Any, like: Any) -> Callable[[], Any]:
    import equipoise as eq

    def product(v: Any) -> Any:
        return H @ v

    p = eq.precondition.psgd("dense", form="quad", step=STEP, damping=0.0)
    options: dict[str, Any] = {"tol": TOL, "max_steps": MAX_STEPS, "check_every": EVERY, "probes": PROBES}
    return lambda: eq.precondition.fit_hessian(product, like, preconditioner=p, **options)


def torchs(H: Any) -> Any:
    """The same updates, from the same start, with vectors of its own."""
    import torch

    from .peers import dense_quad

    torch.set_num_threads(1)
    torch.manual_seed(0)
    H = torch.from_numpy(H)
    n = len(H)
    peer = dense_quad(torch.eye(n, dtype=H.dtype), STEP)
    for k in range(MAX_STEPS):
        if k % EVERY == 0:
            V = torch.randn(n, PROBES, dtype=H.dtype)
            apart = peer.apply(H @ (H @ peer.apply(V))) - V
            if math.sqrt((apart.norm(dim=0) / V.norm(dim=0)).square().mean()) / 2 <= TOL:
                break
        v = torch.randn(n, dtype=H.dtype)
        peer.update(v, H @ v)
    return peer.Q.numpy()


def distance(H: Any, Q: Any) -> float:
    """Q is symmetric, and P = Q Q."""
    Q = Q.astype(np.float64)
    return float(np.linalg.norm(Q @ Q @ H - np.eye(len(H))) / math.sqrt(len(H)))
