from __future__ import annotations

import contextlib
import itertools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

import equipoise as eq
from equipoise.monotone import linear_program
from equipoise.monotone.scaling import scaled, scaled_csr
from equipoise.result import Status

from ..backends import Case
from .problems import EAGER
from .test_classics import CLASSICS

inf = np.inf


def arrays(*xs: Any) -> list[Any]:
    """Lists as arrays of numbers."""
    return [None if x is None else np.array(x, float) for x in xs]


def quiet(*args: Any, **settings: Any) -> Any:
    """The result, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        return linear_program(*args, **settings)


def reference(c: Any, A: Any, b: Any, G: Any, h: Any, lower: Any, upper: Any) -> Any:
    """What scipy finds."""
    bounds = list(zip(np.broadcast_to(lower, c.shape), np.broadcast_to(upper, c.shape), strict=True))
    return linprog(c, A_eq=A, b_eq=b, A_ub=None if G is None else -G, b_ub=None if h is None else -h, bounds=bounds)


def check_optimal(result: Any, c: Any, A: Any, b: Any, G: Any, h: Any, lower: Any, upper: Any, tol: float) -> None:
    """The conditions of Karush, Kuhn and Tucker, on the data as given."""
    x, y, r = result.x, result.y, result.reduced_costs
    K = np.concatenate([M for M in (A, G) if M is not None]) if A is not None or G is not None else None
    p = 0 if A is None else len(A)
    size = 1 + np.linalg.norm(np.concatenate([v for v in (b, h) if v is not None])) if K is not None else 1
    if A is not None:
        assert np.linalg.norm(A @ x - b) <= tol * size
    if G is not None:
        assert np.linalg.norm(np.maximum(h - G @ x, 0)) <= tol * size
        assert np.all(y[p:] >= 0)
    assert np.all((x >= lower) & (x <= upper))
    back = 0 if K is None else K.T @ y
    assert np.linalg.norm(c - back - r) <= tol * (1 + np.linalg.norm(c)) * 1.01
    at = np.where(r > 0, lower, upper)
    dual = np.sum(r[r != 0] * np.broadcast_to(at, r.shape)[r != 0])
    dual += 0 if K is None else y @ np.concatenate([v for v in (b, h) if v is not None])
    np.testing.assert_allclose(result.dual_value, dual, rtol=1e-9, atol=1e-12)
    assert abs(c @ x - dual) <= tol * (1 + abs(c @ x) + abs(dual)) * 1.01
    assert result.error == max(result.primal_residual, result.dual_residual, result.gap) <= tol


# ---------------------------------------------------------------------------------------------------------------------
# Known answers; more of them in test_classics


class TestKnownAnswers:
    @pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
    def test_everywhere(self, case: Case) -> None:
        if case.missing:
            pytest.skip(case.missing)
        c, _, _, G, h = arrays(*CLASSICS["two products"][0])
        result = case.numpy(case.call(lambda c, G, h: linear_program(c, G=G, h=h, tol=1e-8), c, G, h))
        np.testing.assert_allclose(result.x, [3, 1], atol=1e-6)
        np.testing.assert_allclose(result.y, [0.5, 0.5], atol=1e-6)
        assert result.converged
        c, A, b, _, _ = arrays(*CLASSICS["transportation"][0])
        up = np.full(12, inf)
        result = case.numpy(case.call(lambda c, A, b, up: linear_program(c, A, b, upper=up), c, A, b, up))
        np.testing.assert_allclose(result.value, 1020, atol=2e-3)


# ---------------------------------------------------------------------------------------------------------------------
# Random ones


def random_program(seed: int, whole: bool) -> tuple[Any, ...]:
    """A program that is feasible; whole numbers make it degenerate, and sometimes unbounded."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    p, q = min(int(rng.integers(0, 4)), n - 1), int(rng.integers(0, 6))

    def draw(*shape: int) -> np.ndarray:
        return rng.integers(-3, 4, shape).astype(float) if whole else rng.normal(size=shape)

    A, G, x = draw(p, n), draw(q, n), rng.integers(0, 3, n).astype(float)
    b, h = A @ x, G @ x - rng.integers(0, 3, q)
    c = rng.integers(-2, 5, n).astype(float) if whole else rng.normal(size=n) + 1.0
    lower, upper = (-2.0, 5.0) if rng.random() < 0.3 else (0.0, float(rng.choice([5.0, inf])))
    return c, *((A, b) if p else (None, None)), *((G, h) if q else (None, None)), lower, upper


# What has no solution: (c, A, b, G, h), bounds, and why
NOWHERE: dict[str, tuple[Any, Any, Any, Status]] = {
    "a free variable": (
        ([-0.0212, 1.0151, 0], [[0, 0, -1.3417], [0, -1.777, 0.1307]], [1.3417, -2.1104], None, None),
        [-inf, 1, -inf],
        [inf, 1, inf],
        Status.PRIMAL_INFEASIBLE,
    ),
    "three rows and one variable": (
        ([-2, 2, -1, 2], [[-2, 0, 1, -1], [-1, 2, 0, 2], [2, -1, 1, 1]], [1, 0, 0], None, None),
        [2, -1, 2, -inf],
        [2, -1, 2, inf],
        Status.PRIMAL_INFEASIBLE,
    ),
    "half of a plane": (
        ([-2, 2, 2, -1], [[-1, -1, 2, 2], [0, 2, 1, 1], [-2, -1, 1, 1]], [1, 0, -2], None, None),
        [-2, 0, 0, -inf],
        [-2, 1, 0, inf],
        Status.PRIMAL_INFEASIBLE,
    ),
}


class TestAgainstScipy:
    @given(seed=st.integers(0, 9999), whole=st.booleans())
    def test_random_and_degenerate(self, seed: int, whole: bool) -> None:
        c, A, b, G, h, lower, upper = random_program(seed, whole)
        found = reference(c, A, b, G, h, lower, upper)
        result = quiet(c, A, b, G=G, h=h, lower=lower, upper=upper, max_steps=100_000)
        if found.status == 0:
            np.testing.assert_allclose(result.value, found.fun, rtol=5e-6, atol=5e-6)
            check_optimal(result, c, A, b, G, h, lower, upper, 1e-6)
        else:
            assert found.status == 3
            assert result.status is Status.DUAL_INFEASIBLE

    @given(seed=st.integers(0, 9999))
    def test_infeasible(self, seed: int) -> None:
        """Multipliers y >= 0 with G^T y <= 0 and h y > 0 prove that no x >= 0 will do."""
        rng = np.random.default_rng(seed)
        q, n = int(rng.integers(1, 7)), int(rng.integers(1, 6))
        G, h = rng.normal(size=(q, n)), rng.normal(size=q)
        y = rng.random(q) * (rng.random(q) < 0.6)
        y[0] = 1.0
        G[0] = -(y[1:] @ G[1:]) - rng.random(n)
        h += (1 - h @ y) * y / (y @ y)
        c = rng.random(n)
        result = quiet(c, G=G, h=h, max_steps=100_000)
        assert result.status is Status.PRIMAL_INFEASIBLE
        assert not result.converged
        v = result.y
        assert np.all(v >= 0)
        assert h @ v > 0
        assert np.linalg.norm(np.maximum(G.T @ v, 0)) <= 1.1e-6 * (h @ v)
        assert reference(c, None, None, G, h, 0.0, inf).status == 2

    @given(seed=st.integers(0, 9999))
    def test_unbounded(self, seed: int) -> None:
        """A direction d >= 0 with G d >= 0 and c d < 0, from a feasible point."""
        rng = np.random.default_rng(seed)
        q, n = int(rng.integers(1, 6)), int(rng.integers(1, 7))
        G, d = rng.normal(size=(q, n)), rng.random(n) * (rng.random(n) < 0.6)
        d[0] = 1.0
        G[:, 0] += np.maximum(0.0, -(G @ d))
        c = rng.random(n)
        c[0] -= c @ d + 0.5
        h = G @ rng.random(n) - rng.random(q)
        result = quiet(c, G=G, h=h, max_steps=100_000)
        assert result.status is Status.DUAL_INFEASIBLE
        assert result.value == -inf
        x = result.x
        assert np.all(x >= 0)
        assert c @ x < 0
        assert np.linalg.norm(np.minimum(G @ x, 0)) <= 1.1e-6 * -(c @ x)

    @pytest.mark.parametrize("name", NOWHERE)
    def test_what_once_went_undetected(self, name: str) -> None:
        """Steps beyond what the matrix allows, where the metric sees nothing grow; a weight that runs away."""
        (c, A, b, G, h), lower, upper, status = NOWHERE[name]
        found = reference(*arrays(c, A, b, G, h), *arrays(lower, upper))
        assert found.status == (2 if status is Status.PRIMAL_INFEASIBLE else 3)
        c, A, b, G, h, lower, upper = arrays(c, A, b, G, h, lower, upper)
        assert quiet(c, A, b, G=G, h=h, lower=lower, upper=upper, max_steps=20_000).status is status

    @pytest.mark.parametrize("portable", [False, True])
    def test_a_tiny_row_is_a_row(self, portable: bool) -> None:
        """1e-10 x >= 0 bounds x, however small its row is beside the cost."""
        with eq.portable() if portable else contextlib.nullcontext():
            result = linear_program(np.array([0.02]), G=np.array([[1e-10]]), h=np.zeros(1), lower=-np.inf, upper=300.0)
        assert result.converged, result
        np.testing.assert_allclose(result.x, 0.0, atol=1e-4)

    @pytest.mark.parametrize("seed", range(12))
    def test_units_of_rows_make_no_certificates(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        G = rng.normal(size=(4, 5)) * 10.0 ** rng.uniform(-8, 8, (4, 1)) * 10.0 ** rng.uniform(-3, 3, 5)
        size = np.abs(G).sum(axis=1)
        h = G @ rng.random(5) - size * rng.random(4)
        c = G.T @ (rng.random(4) / size) + rng.random(5)
        result = quiet(c, G=G, h=h, max_steps=3000)  # some need more steps
        assert "INFEASIBLE" not in result.status.name

    def test_certificates_say_so(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="constraints contradict each other"):
            result = linear_program(np.ones(2), np.ones((1, 2)), -np.ones(1))
        assert (result.status, float(result.value)) == (Status.PRIMAL_INFEASIBLE, inf)
        with pytest.warns(eq.ConvergenceWarning, match="unbounded"):
            linear_program(-np.ones(2))
        with pytest.warns(eq.ConvergenceWarning, match="contradict"):
            linear_program(np.ones(2), np.array([[1.0, 1], [0, 0]]), np.ones(2))  # a row of zeros

    def test_a_larger_one(self) -> None:
        rng = np.random.default_rng(0)
        A, G = rng.normal(size=(20, 60)), rng.normal(size=(30, 60))
        x = rng.random(60) * (rng.random(60) < 0.5)
        b, h = A @ x, G @ x - rng.random(30) * (rng.random(30) < 0.5)
        c = A.T @ rng.normal(size=20) + G.T @ rng.random(30) + rng.random(60)
        result = linear_program(c, A, b, G=G, h=h)
        np.testing.assert_allclose(result.value, reference(c, A, b, G, h, 0.0, inf).fun, rtol=2e-6)
        badly = 10.0 ** rng.integers(-3, 4, 20)
        again = linear_program(c, A * badly[:, None], b * badly, G=G, h=h)  # rows of very different sizes
        np.testing.assert_allclose(again.value, result.value, rtol=2e-4)
        warm = linear_program(c, A, b, G=G, h=h, init=result)
        assert warm.steps <= 64


class TestUnits:
    @pytest.mark.parametrize("size", [1e-150, 1e-12, 1e12, 1e150])
    def test_of_costs_of_right_hand_sides_and_of_matrices(self, size: float) -> None:
        c, _, _, G, h = arrays(*CLASSICS["two products"][0])
        for c2, G2, h2, unit in ((c, G * size, h * size, 1.0), (c * max(size, 1), G, h, 1.0), (c, G, h * size, size)):
            result = linear_program(c2, G=G2, h=h2)
            if size > 1 or unit == 1:
                np.testing.assert_allclose(result.x / unit, [3, 1], atol=1e-5)
                assert result.steps <= 320

    def test_of_rows_and_of_columns(self) -> None:
        c, _, _, G, h = arrays(*CLASSICS["two products"][0])
        rows, columns = np.array([1e8, 1e-8]), np.array([1e-4, 1e4])
        result = linear_program(c * columns, G=G * rows[:, None] * columns, h=h * rows)
        np.testing.assert_allclose(result.x * columns, [3, 1], atol=1e-5)
        assert result.steps <= 1000

    def test_in_float32(self) -> None:
        c, _, _, G, h = (None if x is None else x.astype("float32") for x in arrays(*CLASSICS["two products"][0]))
        result = linear_program(c * np.float32(1e9), G=G * np.float32(1e-5), h=h * np.float32(1e-5))
        np.testing.assert_allclose(result.x, [3, 1], atol=3e-3)


class TestWays:
    def test_scaling(self) -> None:
        rng = np.random.default_rng(0)
        M = rng.normal(size=(6, 9)) * 10.0 ** rng.integers(-4, 5, (6, 1))
        M[2] = 0
        S, r, c = scaled(M)
        np.testing.assert_array_equal(S, M * r[:, None] * c)
        for x in (r, c):
            np.testing.assert_array_equal(np.log2(x), np.round(np.log2(x)))
        assert np.linalg.norm(S, 2) <= 2.0
        assert np.abs(S).max(axis=1)[[0, 1, 3, 4, 5]].min() > 0.05

    def test_scaling_of_sparse_matrices(self) -> None:
        rng = np.random.default_rng(0)
        M = rng.normal(size=(8, 9)) * (rng.random((8, 9)) < 0.4) * 10.0 ** rng.integers(-4, 5, (8, 1))
        M[2] = 0
        K, r, c = scaled_csr(eq.operators.as_operator(scipy.sparse.csr_array(M)))
        np.testing.assert_array_equal(np.stack([K.rmatvec(row) for row in np.eye(8)]), M * r[:, None] * c)
        assert np.linalg.norm(M * r[:, None] * c, 2) <= 2.0
        assert K.data.size == np.count_nonzero(M)
        badly = 10.0 ** rng.integers(-3, 4, 20)
        A, x = rng.normal(size=(20, 40)) * (rng.random((20, 40)) < 0.3), rng.random(40)
        A, b, cost = A * badly[:, None], (A @ x) * badly, rng.random(40)
        sparse = linear_program(cost, scipy.sparse.csr_array(A), b)
        np.testing.assert_allclose(sparse.value, reference(cost, A, b, None, None, 0.0, inf).fun, rtol=1e-3)

    def test_batches_are_as_alone(self) -> None:
        G, h = np.array([[-1.0, -1], [-1, -3]]), np.array([-4.0, -6])
        c = np.array([[-1.0, -2], [-3, -1], [1, 1], [-1, -4]])
        together = linear_program(c, G=G, h=h)
        for k in range(4):
            alone = linear_program(c[k], G=G, h=h)
            np.testing.assert_allclose(together.x[k], alone.x, atol=1e-12)
            assert together.steps[k] == alone.steps
        mixed = quiet(-np.ones((2, 2)), upper=np.array([[1.0, 1.0], [1.0, inf]]))
        assert mixed.converged.tolist() == [True, False]
        assert mixed.value.tolist() == [-2.0, -inf]
        stacked = linear_program(c, G=np.stack([G] * 4), h=h)
        np.testing.assert_allclose(stacked.value, together.value, atol=1e-8)

    def test_operators(self) -> None:
        c, A, b, _, _ = arrays(*CLASSICS["transportation"][0])
        for given_ in (scipy.sparse.csr_array(A), eq.operators.Dense(A)):
            np.testing.assert_allclose(linear_program(c, given_, b).value, 1020, atol=2e-3)
        both = linear_program(c, scipy.sparse.csr_array(A), b, G=np.eye(1, 12), h=np.array([1.0]))
        found = reference(c, A, b, np.eye(1, 12), np.array([1.0]), 0.0, inf)
        np.testing.assert_allclose(both.value, found.fun, rtol=3e-6)

    def test_float32_and_the_context(self) -> None:
        c, A, b, _, _ = arrays(*CLASSICS["transportation"][0])
        with eq.backend("torch", dtype="float32"):
            result = linear_program(c, A, b)
        assert result.x.dtype == np.float32
        assert result.converged
        np.testing.assert_allclose(result.value, 1020, rtol=3e-4)

    def test_jax(self) -> None:
        c, _, _, G, h = arrays(*CLASSICS["two products"][0])
        solve = jax.jit(lambda c, G, h: linear_program(c, G=G, h=h, tol=1e-8))
        result = solve(*map(jnp.asarray, (c, G, h)))
        np.testing.assert_allclose(result.x, [3, 1], atol=1e-6)

    def test_every_corner_of_a_box(self) -> None:
        for signs in itertools.product([-1.0, 1.0], repeat=3):
            c = np.array(signs)
            x = linear_program(c, upper=2.0).x
            assert x.tolist() == [2.0 if s < 0 else 0.0 for s in signs]


c2 = np.ones(2)


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (TypeError, "c must be an array .*, got list", lambda: linear_program([1.0])),
        (ValueError, "A was given without b", lambda: linear_program(c2, np.eye(2))),
        (ValueError, "h was given without G", lambda: linear_program(c2, h=c2)),
        (
            ValueError,
            r"A must have 2 columns to fit c of shape \(2,\), got shape \(3, 3\)",
            lambda: linear_program(c2, np.eye(3), np.ones(3)),
        ),
        (
            ValueError,
            r"b must have shape \(..., 2\) to fit A of shape \(2, 2\), got \(3,\)",
            lambda: linear_program(c2, np.eye(2), np.ones(3)),
        ),
        (
            ValueError,
            r"G must be finite, got nan at index \(0, 0\)",
            lambda: linear_program(c2, G=np.array([[np.nan, 1]]), h=np.ones(1)),
        ),
        (
            ValueError,
            r"lower must not exceed upper, got 0.0 and -1.0 at index \(1,\)",
            lambda: linear_program(c2, upper=np.array([1.0, -1.0])),
        ),
        (
            ValueError,
            r"upper must have shape \(..., 2\) to fit c, got \(3,\)",
            lambda: linear_program(c2, upper=np.ones(3)),
        ),
        (
            TypeError,
            "b must have the dtype of c, float64, got float32",
            lambda: linear_program(c2, np.eye(2), c2.astype("float32")),
        ),
        (
            TypeError,
            r"init must be a LinearProgramResult or a pair \(x, y\), got int",
            lambda: linear_program(c2, init=1),
        ),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
