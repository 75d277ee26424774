from __future__ import annotations

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
from scipy.optimize import linear_sum_assignment, linprog

import equipoise as eq
from equipoise.monotone import linear_program
from equipoise.monotone.scaling import scaled, scaled_csr
from equipoise.result import Status

from ..backends import Case
from .problems import EAGER

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
# Classical programs: (c, A, b, G, h), bounds, and the value


def marginals(m: int, n: int) -> np.ndarray:
    """Row and column sums of an m x n plan."""
    return np.concatenate([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])


def best_parabola() -> Any:
    """exp on [0, 1] within the least largest error, at nine points: free variables."""
    t = np.linspace(0, 1, 9)
    V, one = np.stack([np.ones(9), t, t**2], axis=1), np.ones((9, 1))
    return [0, 0, 0, 1], None, None, np.block([[-V, one], [V, one]]), np.r_[-np.exp(t), np.exp(t)]


ARCS = [
    (0, 1, 16),
    (0, 2, 13),
    (1, 2, 10),
    (2, 1, 4),
    (1, 3, 12),
    (3, 2, 9),
    (2, 4, 14),
    (4, 3, 7),
    (3, 5, 20),
    (4, 5, 4),
]
FLOW = np.zeros((4, 10))
for _k, (_i, _j, _) in enumerate(ARCS):
    for _node, _sign in ((_i, 1.0), (_j, -1.0)):
        if 0 < _node < 5:
            FLOW[_node - 1, _k] = _sign
COSTS = [[9, 2, 7, 8], [6, 4, 3, 7], [5, 8, 1, 8], [7, 6, 9, 4]]
CLASSICS: dict[str, tuple[Any, dict[str, Any], float]] = {
    "two products": (([-1, -2], None, None, [[-1, -1], [-1, -3]], [-4, -6]), {}, -5.0),
    "Wyndor Glass": (([-3, -5], None, None, [[-1, 0], [0, -2], [-3, -2]], [-4, -12, -18]), {}, -36.0),
    "Klee and Minty": (
        ([-4, -2, -1], None, None, [[-1, 0, 0], [-4, -1, 0], [-8, -4, -1]], [-5, -25, -125]),
        {},
        -125.0,
    ),
    "Beale, degenerate": (
        (
            [-0.75, 150, -0.02, 6],
            None,
            None,
            [[-0.25, 60, 0.04, -9], [-0.5, 90, 0.02, -3], [0, 0, -1, 0]],
            [0, 0, -1],
        ),
        {},
        -0.05,
    ),
    "Kuhn, degenerate": (
        (
            [-2, -3, 1, 12],
            None,
            None,
            [[2, 9, -1, -9], [-1 / 3, -1, 1 / 3, 2], [-2, -3, 1, 12]],
            [0, 0, -2],
        ),
        {},
        -2.0,
    ),
    "transportation": (
        (
            [8, 6, 10, 9, 9, 12, 13, 7, 14, 9, 16, 5],
            marginals(3, 4),
            [35, 50, 40, 45, 20, 30, 30],
            None,
            None,
        ),
        {},
        1020.0,
    ),
    "assignment": ((np.ravel(COSTS), marginals(4, 4), np.ones(8), None, None), {}, 13.0),
    "largest flow": (
        ([-1, -1, 0, 0, 0, 0, 0, 0, 0, 0], FLOW, np.zeros(4), None, None),
        {"upper": np.array([float(u) for _, _, u in ARCS])},
        -23.0,
    ),
    "best parabola": (best_parabola(), {"lower": -inf}, 0.008722104768196),
    "fixed and free": (
        ([1, 1], [[1, 1]], [1], None, None),
        {"lower": np.array([-inf, 0.5]), "upper": np.array([inf, 0.5])},
        1.0,
    ),
    "a row of zeros": (([1, 1], [[1, 1], [0, 0]], [1, 0], None, None), {}, 1.0),
    "equal rows": (([1, 2], [[1, 1], [2, 2]], [1, 2], None, None), {}, 1.0),
    "bounds alone": (([1, -1, 0], None, None, None, None), {"lower": -2.0, "upper": 3.0}, -5.0),
    "nothing to choose": (([1.0], [[2.0]], [3.0], None, None), {}, 1.5),
}


class TestClassics:
    @pytest.mark.parametrize("name", CLASSICS)
    def test_values(self, name: str) -> None:
        problem, bounds, value = CLASSICS[name]
        c, A, b, G, h = arrays(*problem)
        result = linear_program(c, A, b, G=G, h=h, **bounds)
        np.testing.assert_allclose(result.value, value, rtol=3e-6, atol=3e-6)
        check_optimal(result, c, A, b, G, h, bounds.get("lower", 0.0), bounds.get("upper", inf), 1e-6)
        found = reference(c, A, b, G, h, bounds.get("lower", 0.0), bounds.get("upper", inf))
        np.testing.assert_allclose(found.fun, value, rtol=1e-6, atol=1e-9)

    def test_assignment_against_the_hungarian_method(self) -> None:
        rows, columns = linear_sum_assignment(COSTS)
        assert np.array(COSTS)[rows, columns].sum() == 13

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
