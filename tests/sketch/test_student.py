from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equipoise.sketch.student import upper_quantile

DOFS = [1, 2, 3, 4, 5, 7, 10, 20, 39, 40, 41, 60, 100, 1000, 12345, 10**6, 10**9]
TAILS = [1e-100, 1e-50, 1e-20, 1e-12, 1e-8, 1e-5, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4]

# (dof, upper tail, t): two-sided 95 and 99.9 per cent, as printed in tables
TABLE = [(1, 0.025, "12.706"), (2, 0.025, "4.303"), (3, 0.025, "3.182"), (5, 0.025, "2.571"), (10, 0.025, "2.228")]
TABLE += [(30, 0.025, "2.042"), (120, 0.025, "1.980"), (1, 0.0005, "636.619"), (5, 0.0005, "6.869")]
TABLE += [(30, 0.0005, "3.646")]


@pytest.mark.parametrize(("dof", "alpha", "printed"), TABLE)
def test_tables(dof: int, alpha: float, printed: str) -> None:
    assert f"{upper_quantile(alpha, dof):.3f}" == printed


@pytest.mark.parametrize("dof", DOFS)
def test_scipy_where_it_is_accurate(dof: int) -> None:
    """Not nearer to the centre: there scipy 1.17 is wrong in the fourth digit at 0.4999999 and dof 4."""
    ours = [upper_quantile(alpha, dof) for alpha in TAILS]
    np.testing.assert_allclose(ours, stats.t.isf(TAILS, dof), rtol=1e-12)


def test_far_tails_for_three_degrees_of_freedom() -> None:
    """P(T > t) = 2 sqrt(3) / (pi t^3) (1 + O(1/t^2)), where scipy gives -inf from 1e-250 on."""
    for alpha in (1e-100, 1e-250, 1e-300):
        expected = math.exp((math.log(2 * math.sqrt(3) / math.pi) - math.log(alpha)) / 3)
        assert upper_quantile(alpha, 3) == pytest.approx(expected, rel=1e-12)


@given(offset=st.floats(-15, -1.0), dof=st.sampled_from(DOFS))
def test_near_the_centre(offset: float, dof: int) -> None:
    """t = x + x^3 (1 + 1/dof)/6 + O(x^5) with x = (1/2 - alpha)/f(0)."""
    alpha = 0.5 - 10.0**offset
    exact = 0.5 - alpha
    density = math.exp(math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2)) / math.sqrt(dof * math.pi)
    x = exact / (density if dof < 1e4 else (1 - 0.25 / dof) / math.sqrt(2 * math.pi))
    t = upper_quantile(alpha, dof)
    assert t == pytest.approx(x + x**3 * (1 + 1 / dof) / 6, rel=2e-12 + 2 * x**4)


@given(alpha=st.floats(1e-300, 0.5), dof=st.integers(1, 10**9))
def test_order(alpha: float, dof: int) -> None:
    """Lighter tails with more degrees of freedom, larger values for smaller tails, none below the normal's."""
    t = upper_quantile(alpha, dof)
    assert t >= 0
    assert t >= upper_quantile(alpha, dof + 1) * (1 - 1e-12)
    assert t <= upper_quantile(alpha / 2, dof)
    assert t >= float(stats.norm.isf(alpha)) * (1 - 1e-12)


def test_the_median_is_zero() -> None:
    assert [upper_quantile(0.5, dof) for dof in (1, 2, 3, 10**9)] == [0.0] * 4


@pytest.mark.parametrize(
    ("error", "alpha", "dof", "sentence"),
    [
        (ValueError, 0.0, 3, r"alpha must be in \(0, 0.5\], got 0.0"),
        (ValueError, 0.6, 3, r"alpha must be in \(0, 0.5\], got 0.6"),
        (ValueError, math.nan, 3, r"alpha must be in \(0, 0.5\], got nan"),
        (ValueError, 0.1, 0, "dof must be at least 1, got 0"),
        (TypeError, 0.1, 2.5, "float"),
    ],
)
def test_bad_input(error: type[Exception], alpha: float, dof: int, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        upper_quantile(alpha, dof)
