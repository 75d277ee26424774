"""The error of single coordinates: who keeps the bound, who breaks it, and how often the error bars hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from equipoise.sketch import lstsq, sketch_operator

from .problems import adversarial

SEEDS = 200


def errors(kind: str, d: int, m: int, n: int, seeds: int) -> np.ndarray:
    """|x' - x*|_inf sqrt(m) on the adversarial instance, where |r| = |A^+| = 1 and x* = 0."""
    A, b = adversarial(d, m, n)
    runs = (lstsq(A, b, method="sketch_solve", kind=kind, sketch_rows=m, rng=seed).x for seed in range(seeds))
    return np.array([abs(x).max() for x in runs]) * math.sqrt(m)


class TestTheGuarantee:
    @pytest.mark.parametrize("d", [16, 64, 128])
    def test_one_row_ruins_countsketch_at_every_size(self, d: int) -> None:
        """Its errors are sqrt(d/2) times the unit of the bound; those of dense sketches stay at sqrt(2 ln 2d)."""
        m = 16 * d
        dense = errors("srht", d, m, 16 * m, 20)
        assert np.quantile(dense, 0.9) <= 1.6 * math.sqrt(2 * math.log(2 * d))
        sparse = errors("countsketch", d, m, 16 * m, 20)
        assert np.median(sparse) >= 0.9 * math.sqrt(d / 2)

    @pytest.mark.parametrize("kind", ["gaussian", "rademacher", "srht"])
    def test_error_bars_hold_at_their_rate(self, kind: str) -> None:
        """Joint coverage at 0.90 over 200 seeds; not below what a binomial allows once in a thousand."""
        d, m = 16, 256
        A, b = adversarial(d, m, 1024)
        held = 0
        for seed in range(SEEDS):
            result = lstsq(A, b, method="sketch_solve", kind=kind, sketch_rows=m, rng=seed)
            held += bool(np.all(abs(result.x) <= result.coordinate_bound(0.1)))
        assert held >= scipy.stats.binom.ppf(1e-3, SEEDS, 0.9), f"{held} of {SEEDS}"

    def test_on_dense_matrices_the_bars_are_not_too_wide(self) -> None:
        rng = np.random.default_rng(4)
        A, b = rng.standard_normal((4096, 20)), rng.standard_normal(4096)
        exact = np.linalg.lstsq(A, b)[0]
        held, ratios = 0, []
        for seed in range(SEEDS):
            result = lstsq(A, b, method="sketch_solve", sketch_rows=400, rng=seed)
            held += bool(np.all(abs(result.x - exact) <= result.coordinate_bound(0.1)))
            ratios.append(np.abs(result.x - exact).max() / result.coordinate_bound(0.1).max())
        assert held >= scipy.stats.binom.ppf(1e-3, SEEDS, 0.9)
        assert np.median(ratios) > 0.5

    def test_the_theorem(self) -> None:
        """With the rows that epsilon buys: |x' - x*|_inf <= epsilon / sqrt(d) |r| |A^+| on 40 seeds of 40."""
        rng = np.random.default_rng(5)
        A = rng.standard_normal((20_000, 8)) * np.logspace(0, -2, 8)
        b = A @ np.ones(8) + rng.standard_normal(20_000)
        exact = np.linalg.lstsq(A, b)[0]
        allowed = 0.3 / math.sqrt(8) * np.linalg.norm(b - A @ exact) * np.linalg.norm(np.linalg.pinv(A), 2)
        for seed in range(40):
            result = lstsq(A, b, epsilon=0.3, rng=seed)
            assert result.method == "sketch_solve"
            assert result.converged
            assert np.abs(result.x - exact).max() <= allowed


class TestStatistics:
    def test_the_exact_law_of_a_gaussian_sketch(self) -> None:
        """(x' - x*) / deviation is Student's t with m - d degrees of freedom: Kolmogorov and Smirnov over 400 seeds."""
        rng = np.random.default_rng(6)
        A, b = rng.standard_normal((64, 3)), rng.standard_normal(64)
        A[0] *= 30  # one row that matters
        exact = np.linalg.lstsq(A, b)[0]
        results = [lstsq(A, b, method="sketch_solve", kind="gaussian", sketch_rows=9, rng=k) for k in range(400)]
        for i in range(3):
            t = [(r.x[i] - exact[i]) / r.deviation[i] for r in results]
            assert scipy.stats.kstest(t, scipy.stats.t(6).cdf).pvalue > 1e-3

    def test_the_residual_norm_is_estimated_without_bias(self) -> None:
        rng = np.random.default_rng(7)
        A, b = rng.standard_normal((256, 4)), rng.standard_normal(256)
        exact = np.linalg.lstsq(A, b)[1][0]
        runs = [lstsq(A, b, method="sketch_solve", kind="gaussian", sketch_rows=24, rng=k) for k in range(400)]
        squares = np.array([float(r.residual_norm) ** 2 for r in runs])
        assert abs(squares.mean() / exact - 1) < 5 * squares.std() / exact / 20
        assert runs[0].residual_estimated
        assert not lstsq(A, b).residual_estimated

    def test_error_is_what_the_rows_buy(self) -> None:
        rng = np.random.default_rng(8)
        A, b = rng.standard_normal((4000, 10)), rng.standard_normal(4000)
        result = lstsq(A, b, method="sketch_solve", sketch_rows=500, delta=0.1)
        t = scipy.stats.t(490).isf(0.1 / 20)
        assert abs(result.error / (t * math.sqrt(10 / 500)) - 1) < 1e-12


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("solves to rounding", {"method": "cholesky_qr"}),
    ("kind 'countsketch' gives no bound", {"method": "sketch_solve", "kind": "countsketch", "sketch_rows": 96}),
    (
        "kind 'sparse_sign' with s=8 gives no bound",
        {"method": "sketch_solve", "kind": "sparse_sign", "sketch_rows": 96},
    ),
    ("kind 'rows' gives no bound", {"method": "sketch_solve", "kind": "rows", "sketch_rows": 96}),
]


class TestRefusals:
    @pytest.mark.parametrize(("message", "settings"), REFUSED, ids=range(len(REFUSED)))
    def test_no_bound_without_ground(self, message: str, settings: dict[str, Any]) -> None:
        rng = np.random.default_rng(9)
        A, b = rng.standard_normal((500, 6)), rng.standard_normal(500)
        with pytest.raises(ValueError, match=message):
            lstsq(A, b, **settings).coordinate_bound(0.1)

    def test_nor_without_full_rank(self) -> None:
        rng = np.random.default_rng(9)
        A, b = rng.standard_normal((500, 6)), rng.standard_normal(500)
        A[:, 2] = A[:, 3]
        result = lstsq(A, b, method="sketch_solve", sketch_rows=96)
        assert int(result.rank) == 5
        with pytest.raises(ValueError, match="rank 5"):
            result.coordinate_bound(0.1)
        with pytest.raises(ValueError, match="delta must be in"):
            result.coordinate_bound(1.0)

    def test_a_sketch_that_loses_a_column_says_so(self) -> None:
        """countsketch of [I; 0] puts two columns into one bucket, most of the time: the rank tells."""
        A, b = adversarial(64, 256, 4096)
        ranks = [
            int(lstsq(A, b, method="sketch_solve", kind="countsketch", sketch_rows=256, rng=k).rank) for k in range(9)
        ]
        assert min(ranks) < 64
        S = sketch_operator("countsketch", 256, 4096, rng=ranks.index(min(ranks)))
        assert np.linalg.matrix_rank(S @ A) == min(ranks)
