"""Problems that several tests of this family share."""

from __future__ import annotations

from typing import Any

import numpy as np

from equipoise.monotone import (
    GameOperator,
    LeastSquaresGradient,
    LogisticGradient,
    QuadraticMinMax,
    RobustLeastSquares,
    components,
)

from ..backends import CASES

HERE = [case for case in CASES if case.name in ("numpy", "numpy-portable")]
EAGER = [case for case in CASES if not case.name.startswith("jax")]  # jax compiles for seconds: it has tests of its own


def regression(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Data with a falling spectrum, labels and targets."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.75
    signal = A @ rng.normal(size=d)
    return A, np.where(signal + rng.normal(size=n) > 0, 1.0, -1.0), signal + rng.normal(size=n)


def sums(seed: int = 0) -> dict[str, Any]:
    """One of every kind of finite sum, small."""
    rng = np.random.default_rng(seed)
    A, labels, b = regression(7, 3, seed)
    M, H = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))

    def cubic(u: Any, i: Any, A: Any) -> Any:
        return (u @ A.T)[..., i, None] ** 3 * A[i, :]

    return {
        "logistic": LogisticGradient(A, labels, 0.1),
        "least squares": LeastSquaresGradient(A, b, 0.1),
        "robust": RobustLeastSquares(A, b, 2.5),
        "game": GameOperator(M),
        "wide game": GameOperator(M.T),
        "weighted game": GameOperator(M, sampling="importance"),
        "quadratic": QuadraticMinMax(H @ H.T, M, rng.normal(size=3), rng.normal(size=4)),
        "worst case": QuadraticMinMax.worst_case(4),
        "components": components(cubic, 7, args=(A,)),
    }


def dimension(name: str) -> int:
    """The length of the vectors of a sum of that name."""
    return {"logistic": 3, "least squares": 3, "robust": 10, "worst case": 8, "components": 3}.get(name, 7)
