from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equipoise.triangular import solve_upper

from .backends import Case


def sample(rng: np.random.Generator, dtype: str) -> Any:
    for n, m in ((1, 1), (5, 3), (64, 1), (130, 2)):
        R = np.triu(rng.standard_normal((n, n)) / n) + np.eye(n)
        for transpose in (False, True):
            yield (R.astype(dtype), rng.standard_normal((n, m)).astype(dtype)), {"transpose": transpose}


@pytest.mark.parametrize("transpose", [False, True])
def test_it_solves(on: Case, transpose: bool) -> None:
    rng = np.random.default_rng(0)
    R, X = np.triu(rng.standard_normal((100, 100)) / 100) + np.eye(100), rng.standard_normal((100, 2))
    Y = on.numpy(on.call(lambda R, X: solve_upper(R, X, transpose=transpose), R, X))
    np.testing.assert_allclose((R.T if transpose else R) @ Y, X, atol=1e-12)
