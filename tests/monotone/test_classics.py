"""Small linear programs from textbooks, whose answers are known."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog

from equipoise.monotone import linear_program

inf = np.inf
TOL = 1e-8


def marginals(m: int, n: int) -> np.ndarray:
    """Row and column sums of an m x n plan."""
    return np.concatenate([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])


def incidence(arcs: list[tuple[int, int, int]], nodes: int) -> np.ndarray:
    """What leaves each node, less what enters it, by arc."""
    N = np.zeros((nodes, len(arcs)))
    for k, (i, j, _) in enumerate(arcs):
        N[i, k], N[j, k] = 1.0, -1.0
    return N


def numbers(arcs: list[tuple[int, int, int]]) -> np.ndarray:
    """Their lengths or capacities."""
    return np.array([x for _, _, x in arcs], float)


def best_parabola() -> Any:
    """exp on [0, 1] within the least largest error, at nine points: free variables."""
    t = np.linspace(0, 1, 9)
    V, one = np.stack([np.ones(9), t, t**2], axis=1), np.ones((9, 1))
    return [0, 0, 0, 1], None, None, np.block([[-V, one], [V, one]]), np.r_[-np.exp(t), np.exp(t)]


def production() -> Any:
    """Demands 6, 12, 11 in three months, dearer every month, 1/2 to store: make 10 while it is cheap, 9 in the last."""
    make, keep = np.eye(3), np.eye(3) - np.eye(3, k=-1)
    return [1, 2, 3, 0.5, 0.5, 0.5], np.hstack([make, -keep]), [6, 12, 11], None, None


# Chvatal, chapter 13: rolls of 100 inches are cut to 97 of 45, 610 of 36, 395 of 31 and 211 of 14
WIDTHS, ORDERS = np.array([45, 36, 31, 14]), np.array([97.0, 610, 395, 211])
PATTERNS = np.array(
    [p for p in itertools.product(*(range(100 // w + 1) for w in WIDTHS)) if 100 - min(WIDTHS) < p @ WIDTHS <= 100]
).T

# Cormen, Leiserson, Rivest and Stein: the network of their chapter on flows, and the graph of Dijkstra's algorithm
PIPES = [
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
FLOW = incidence(PIPES, 6)[1:5]
S, T, X, Y, Z = range(5)
ROADS = [(S, T, 10), (S, Y, 5), (T, Y, 2), (Y, T, 3), (T, X, 1), (Y, X, 9), (Y, Z, 2), (Z, X, 6), (X, Z, 4), (Z, S, 7)]

COSTS = [[9, 2, 7, 8], [6, 4, 3, 7], [5, 8, 1, 8], [7, 6, 9, 4]]

# (c, A, b, G, h), bounds, the value, and the solution where it is the only one
CLASSICS: dict[str, tuple[Any, dict[str, Any], float, Any]] = {
    "two products": (([-1, -2], None, None, [[-1, -1], [-1, -3]], [-4, -6]), {}, -5.0, [3, 1]),
    "Wyndor Glass": (([-3, -5], None, None, [[-1, 0], [0, -2], [-3, -2]], [-4, -12, -18]), {}, -36.0, [2, 6]),
    "Reddy Mikks": (
        ([-5, -4], None, None, [[-6, -4], [-1, -2], [1, -1], [0, -1]], [-24, -6, -1, -2]),
        {},
        -21.0,
        [3, 1.5],
    ),
    "Klee and Minty": (
        ([-4, -2, -1], None, None, [[-1, 0, 0], [-4, -1, 0], [-8, -4, -1]], [-5, -25, -125]),
        {},
        -125.0,
        [0, 0, 125],
    ),
    "Beale, degenerate": (
        ([-0.75, 150, -0.02, 6], None, None, [[-0.25, 60, 0.04, -9], [-0.5, 90, 0.02, -3], [0, 0, -1, 0]], [0, 0, -1]),
        {},
        -0.05,
        [0.04, 0, 1, 0],
    ),
    "Kuhn, degenerate": (
        ([-2, -3, 1, 12], None, None, [[2, 9, -1, -9], [-1 / 3, -1, 1 / 3, 2], [-2, -3, 1, 12]], [0, 0, -2]),
        {},
        -2.0,
        None,
    ),
    "three rows through one vertex": (
        ([-1, -1], None, None, [[-1, 0], [0, -1], [-1, -1]], [-1, -1, -2]),
        {},
        -2.0,
        [1, 1],
    ),
    "diet": (([0.6, 0.35], None, None, [[5, 7], [4, 2], [2, 1]], [8, 15, 3]), {}, 2.25, [3.75, 0]),
    "blending": (  # Taha: 800 pounds of feed of corn and soybean meal, 30 % protein and 5 % fiber
        ([0.3, 0.9], None, None, [[1, 1], [-0.21, 0.3], [0.03, -0.01]], [800, 0, 0]),
        {},
        7440 / 17,
        [8000 / 17, 5600 / 17],
    ),
    "cutting stock": ((np.ones(PATTERNS.shape[1]), None, None, PATTERNS, ORDERS), {}, 452.25, None),
    "production": (production(), {"upper": np.array([10.0, 10, 10, inf, inf, inf])}, 60.0, [10, 10, 9, 4, 2, 0]),
    "transportation": (
        ([8, 6, 10, 9, 9, 12, 13, 7, 14, 9, 16, 5], marginals(3, 4), [35, 50, 40, 45, 20, 30, 30], None, None),
        {},
        1020.0,
        [0, 10, 25, 0, 45, 0, 5, 0, 0, 10, 0, 30],
    ),
    "assignment": ((np.ravel(COSTS), marginals(4, 4), np.ones(8), None, None), {}, 13.0, None),
    "shortest path": (
        (numbers(ROADS), incidence(ROADS, 5), [1, 0, -1, 0, 0], None, None),
        {},
        9.0,
        [0, 1, 0, 1, 1, 0, 0, 0, 0, 0],
    ),
    "largest flow": (
        ([-1, -1, 0, 0, 0, 0, 0, 0, 0, 0], FLOW, np.zeros(4), None, None),
        {"upper": numbers(PIPES)},
        -23.0,
        None,
    ),
    "best parabola": (best_parabola(), {"lower": -inf}, 0.008722104768196, None),
    "fixed and free": (
        ([1, 1], [[1, 1]], [1], None, None),
        {"lower": np.array([-inf, 0.5]), "upper": np.array([inf, 0.5])},
        1.0,
        [0.5, 0.5],
    ),
    "a row of zeros": (([1, 1], [[1, 1], [0, 0]], [1, 0], None, None), {}, 1.0, None),
    "equal rows": (([1, 2], [[1, 1], [2, 2]], [1, 2], None, None), {}, 1.0, [1, 0]),
    "bounds alone": (([1, -1, 0], None, None, None, None), {"lower": -2.0, "upper": 3.0}, -5.0, None),
    "nothing to choose": (([1.0], [[2.0]], [3.0], None, None), {}, 1.5, [1.5]),
}


def classic(name: str) -> tuple[list[Any], tuple[Any, Any]]:
    """c, A, b, G, h as arrays, and both bounds."""
    problem, bounds, _, _ = CLASSICS[name]
    data = [None if x is None else np.array(x, float) for x in problem]
    return data, (bounds.get("lower", 0.0), bounds.get("upper", inf))


def answer(name: str, **settings: Any) -> Any:
    """What is found for it."""
    (c, A, b, G, h), (lower, upper) = classic(name)
    return linear_program(c, A, b, G=G, h=h, lower=lower, upper=upper, **{"tol": TOL, **settings})


@pytest.mark.parametrize("name", CLASSICS)
def test_values_solutions_and_slackness(name: str) -> None:
    (c, A, b, G, h), (lower, upper) = classic(name)
    _, _, value, x = CLASSICS[name]
    bounds = [np.broadcast_to(bound, c.shape) for bound in (lower, upper)]
    found = linprog(c, None if G is None else -G, None if h is None else -h, A, b, list(zip(*bounds, strict=True)))
    np.testing.assert_allclose(found.fun, value, rtol=1e-9, atol=1e-12)
    result = answer(name)
    assert result.converged
    scale = 1 + 2 * abs(value)
    np.testing.assert_allclose([result.value, result.dual_value], value, atol=10 * TOL * scale)
    if x is not None:
        np.testing.assert_allclose(result.x, x, atol=1e-5 * (1 + np.abs(x).max()))

    # what is not tight costs nothing, and what costs something is tight
    y, r, rows = result.y, result.reduced_costs, 0 if A is None else len(A)
    back = np.zeros_like(c)
    if A is not None:
        back += y[:rows] @ A
    if G is not None:
        back += y[rows:] @ G
        assert np.all(y[rows:] >= 0)
        np.testing.assert_allclose(y[rows:] * (G @ result.x - h), 0, atol=100 * TOL * scale)
    np.testing.assert_allclose(back + r, c, atol=TOL * (1 + np.linalg.norm(c)))
    at = np.where(r > 0, bounds[0], bounds[1])
    np.testing.assert_allclose(r[r != 0] * (result.x - at)[r != 0], 0, atol=100 * TOL * scale)
    assert np.all((result.x >= lower) & (result.x <= upper))


def test_the_prices_of_a_cut() -> None:
    """Only these three pipes limit the flow: one more of any of them carries one more."""
    result = answer("largest flow")
    prices = np.minimum(result.reduced_costs, 0.0)  # of more room; those of a flow that must be are positive
    cut = [arc[:2] in ((1, 3), (4, 3), (4, 5)) for arc in PIPES]
    np.testing.assert_allclose(prices, -np.array(cut, float), atol=1e-6)
    np.testing.assert_allclose(-prices @ numbers(PIPES), 23, atol=1e-5)


def test_the_prices_of_a_plan() -> None:
    np.testing.assert_allclose(answer("Wyndor Glass").y, [0, 1.5, 1], atol=1e-6)
    np.testing.assert_allclose(answer("Reddy Mikks").y, [0.75, 0.5, 0, 0], atol=1e-6)
    np.testing.assert_allclose(answer("diet").y, [0, 0.15, 0], atol=1e-6)
    np.testing.assert_allclose(answer("cutting stock").y, [0.5, 0.5, 0.25, 0], atol=1e-5)


def test_distances_are_multipliers() -> None:
    y = answer("shortest path").y
    np.testing.assert_allclose(y[S] - y[[T, X, Y]], [8, 9, 5], atol=1e-5)


def test_the_assignment_of_the_hungarian_method() -> None:
    rows, columns = linear_sum_assignment(COSTS)
    plan = np.zeros((4, 4))
    plan[rows, columns] = 1
    np.testing.assert_allclose(answer("assignment").x, plan.ravel(), atol=1e-5)
    assert np.array(COSTS)[rows, columns].sum() == 13


@pytest.mark.parametrize("name", ["production", "Beale, degenerate", "largest flow"])
def test_without_scaling(name: str) -> None:
    np.testing.assert_allclose(answer(name, scaling=False, tol=1e-6).value, CLASSICS[name][2], rtol=1e-5, atol=1e-5)
