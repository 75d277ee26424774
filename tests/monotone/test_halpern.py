from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.monotone import (
    Box,
    GameOperator,
    Identity,
    LeastSquaresGradient,
    LogisticGradient,
    Nonnegative,
    Product,
    QuadraticMinMax,
    Restart,
    RobustLeastSquares,
    Simplex,
    extragradient,
    halpern,
)
from equipoise.monotone.anchored import NEVER
from equipoise.monotone.halpern_steps import HalpernTask, begin, halpern_steps
from equipoise.record import as_data
from equipoise.result import Status

from ..backends import Case
from .problems import EAGER, regression


def after(solver: Any, *args: Any, steps: int, **settings: Any) -> Any:
    """The result of so many steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        return solver(*args, tol=0.0, max_steps=steps, **settings)


def rotation(u: Any, R: Any) -> Any:
    return u @ R


QUARTER = np.array([[0.0, 1.0], [-1.0, 0.0]])


class TestKnownAnswers:
    @pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
    def test_a_reflection(self, case: Case) -> None:
        """T = -I from 1: 1/(k+1) at even steps and 0 at odd ones, so that the bound 2/(k+1) is attained."""
        if case.missing:
            pytest.skip(case.missing)
        for k in range(1, 8):  # the solver itself stops at u_1 = 0, which is the fixed point

            def run(u: Any, k: int = k) -> Any:
                task = HalpernTask(as_data(lambda u: -u), (), Identity(), NEVER, "map")
                state, _, error = halpern_steps(begin(u, -u, task, 1.0), task, k, 0.0)
                return state.u, error

            u, error = case.numpy(case.call(run, np.ones(1)))
            expected = 0.0 if k % 2 else 1 / (k + 1)
            np.testing.assert_allclose(u, [expected], atol=1e-16)
            np.testing.assert_allclose(error, 2 * expected, atol=1e-15)

    def test_cocoercive_iterates_are_those_of_its_map(self) -> None:
        """J(I - 2/L F) by hand, and by the form for maps."""
        A, _, b = regression(12, 3)
        F, box, L = LeastSquaresGradient(A, b), Box(-0.1, 0.2), 3.0

        def T(u: Any) -> Any:
            return box(u - 2 / L * F.full(u))

        one = after(halpern, F, np.ones(3), lipschitz=L, resolvent=box, restart=None, steps=9)
        other = after(halpern, T, np.ones(3), form="nonexpansive", restart=None, steps=9)
        np.testing.assert_allclose(one.u, other.u, atol=1e-15)
        u, anchor = np.ones(3), np.ones(3)
        for k in range(9):
            u = anchor / (k + 2) + (1 - 1 / (k + 2)) * T(u)
        np.testing.assert_allclose(one.u, u, atol=1e-15)
        np.testing.assert_allclose(one.error, L * np.linalg.norm(u - box(u - F.full(u) / L)), atol=1e-14)

    def test_solutions(self) -> None:
        A, labels, b = regression(40, 4)
        exact = np.linalg.lstsq(A, b, rcond=None)[0]
        for anchoring in ("outer", "inner", "scaled"):
            result = halpern(LeastSquaresGradient(A, b), np.zeros(4), anchoring=anchoring, tol=1e-8)
            np.testing.assert_allclose(result.u, exact, atol=1e-6)
        robust = halpern(RobustLeastSquares(A, b, 3.0), np.zeros(44), tol=1e-8)
        np.testing.assert_allclose(robust.u[:4], exact, atol=1e-6)
        one = halpern(LogisticGradient(A, labels, 0.1), np.zeros(4), resolvent=Simplex(2.0), tol=1e-9)
        g = LogisticGradient(A, labels, 0.1).full(one.u)
        assert np.all(g - g[one.u > 0].mean() >= -1e-8)  # equal where it is positive, no less elsewhere
        np.testing.assert_allclose(one.u.sum(), 2.0)

    def test_extragradient_against_a_linear_solve(self) -> None:
        problem = QuadraticMinMax.worst_case(3)
        x = np.linalg.solve(problem.A, problem.b)
        y = np.linalg.solve(problem.A.T, problem.H @ x - problem.h)
        for anchored in (False, True):
            result = extragradient(problem, np.zeros(6), tol=1e-3 if anchored else 1e-7, anchored=anchored)
            np.testing.assert_allclose(result.u, np.concatenate([x, y]), atol=0.2 if anchored else 1e-4)
            assert result.oracle_calls == 3 * (2 * result.steps + 1)

    def test_rock_paper_scissors(self) -> None:
        A = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
        sets = Product((Simplex(), 3), (Simplex(), 3))
        start = np.array([1.0, 0, 0, 0.2, 0.5, 0.3])
        for anchored in (False, True):
            result = extragradient(GameOperator(A), start, resolvent=sets, tol=4e-3, anchored=anchored)
            np.testing.assert_allclose(result.u, np.full(6, 1 / 3), atol=1e-2)


class TestBounds:
    @given(seed=st.integers(0, 999), d=st.integers(1, 5), steps=st.integers(1, 60), constrained=st.booleans())
    def test_the_worst_case_of_a_cocoercive_operator(self, seed: int, d: int, steps: int, constrained: bool) -> None:
        """|F(u_k)| <= L |u_0 - u*| / (k + 1); with a set, |u - T u| <= 2 |u_0 - u*| / (k + 1)."""
        rng = np.random.default_rng(seed)
        M = rng.normal(size=(d, d))
        M = M @ M.T * rng.choice([0.0, 1.0], size=(d, 1)) * rng.choice([1.0])
        M = M.T @ M
        L = max(float(np.linalg.norm(M, 2)), 1e-3)
        target, start = rng.normal(size=d), rng.normal(size=d)
        box = Box(target - 1.0, target + 1.0) if constrained else Box()
        result = after(
            halpern,
            lambda u, M, t: (u - t) @ M,
            box(start),
            args=(M, target),
            lipschitz=L,
            resolvent=box,
            restart=None,
            steps=steps,
        )
        u, far = result.u, np.linalg.norm(box(start) - target)
        moved = np.linalg.norm(u - box(u - 2 / L * (u - target) @ M))
        assert moved <= 2 * far / (steps + 1) * (1 + 1e-9)
        if not constrained:
            assert result.error <= L * far / (steps + 1) * (1 + 1e-9)

    @given(seed=st.integers(0, 999), steps=st.integers(1, 60))
    def test_a_rotation_is_a_nonexpansive_map(self, seed: int, steps: int) -> None:
        angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
        R = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        result = after(halpern, rotation, np.ones(2), args=(R,), form="nonexpansive", restart=None, steps=steps)
        assert result.error <= 2 * np.sqrt(2) / (steps + 1) * (1 + 1e-12)

    @given(seed=st.integers(0, 999), steps=st.integers(1, 60))
    def test_the_anchored_extragradient_residual_falls_like_one_over_k(self, seed: int, steps: int) -> None:
        """No more than 4 L |u_0 - u*| / (k + 1) was met; the theorem has a larger constant."""
        rng = np.random.default_rng(seed)
        S = rng.normal(size=(4, 4))
        M = S - S.T + rng.choice([0.0, 0.3]) * np.diag(rng.random(4))
        L = float(np.linalg.norm(M, 2))
        start = rng.normal(size=4)
        result = after(extragradient, rotation, start, args=(M.T,), lipschitz=L, anchored=True, steps=steps)
        assert result.error <= 4 * L * np.linalg.norm(start) / (steps + 1)


class TestRestarts:
    def test_they_help_and_are_counted(self) -> None:
        A, _, b = regression(50, 5)
        F = LeastSquaresGradient(A, b)
        plain = after(halpern, F, np.zeros(5), restart=None, steps=400)
        restarted = after(halpern, F, np.zeros(5), steps=400)
        assert plain.restarts == 0
        assert restarted.restarts > 5
        assert restarted.error < 1e-3 * plain.error

    def test_by_hand(self) -> None:
        """The anchor moves to u_k in the step that follows a residual of half of what it was there."""
        A, _, b = regression(12, 3)
        F = LeastSquaresGradient(A, b)
        L = float(F.lipschitz)
        u = anchor = np.ones(3)
        k, moves = 0, 0
        reference = np.linalg.norm(F.full(u))
        for _ in range(25):
            if np.linalg.norm(F.full(u)) <= 0.7 * reference and moves + k:
                anchor, k, reference, moves = u, 0, np.linalg.norm(F.full(u)), moves + 1
            u = anchor / (k + 2) + (1 - 1 / (k + 2)) * (u - 2 / L * F.full(u))
            k += 1
        result = after(halpern, F, np.ones(3), restart=Restart(0.7), steps=25)
        np.testing.assert_allclose(result.u, u, atol=1e-13)
        assert result.restarts == moves > 1

    def test_a_look_does_not_change_the_iterates(self) -> None:
        A, _, b = regression(30, 4)
        one, five = (after(halpern, LeastSquaresGradient(A, b), np.zeros(4), steps=20, check_every=k) for k in (1, 5))
        np.testing.assert_array_equal(one.u, five.u)


class TestBlackBoxes:
    @given(scale=st.sampled_from([1e-6, 1.0, 3e5]), seed=st.integers(0, 50))
    def test_the_constant_is_found(self, scale: float, seed: int) -> None:
        A, _, b = regression(20, 3, seed)
        F = LeastSquaresGradient(A, b)
        result = halpern(lambda u, A, b: scale * F.full(u), np.zeros(3), args=(A, b), tol=1e-6 * scale)
        assert result.converged
        assert result.error <= 1e-6 * scale
        np.testing.assert_allclose(np.linalg.norm(F.full(result.u)), result.error / scale, rtol=1e-6)

    @pytest.mark.parametrize("restart", [Restart(), None])
    def test_steps_that_expand_are_taken_back(self, restart: Any) -> None:
        """The first guess of the constant, 1, is 28 times too small; steps from where it leads would run away."""
        result = halpern(lambda u: u**3 + u - 30.0, np.zeros(2), tol=1e-2, restart=restart)
        np.testing.assert_allclose(result.u, [3.0, 3.0], atol=1e-3)
        assert result.oracle_calls == result.steps + 2

    def test_what_is_not_monotone_does_not_converge(self) -> None:
        result = after(halpern, lambda u: -u, np.ones(2), steps=100)
        np.testing.assert_allclose(result.u, [1.0, 1.0], atol=1e-2)
        assert result.status is Status.MAX_STEPS

    def test_calls_are_counted(self) -> None:
        calls = []

        def operator(u: Any) -> Any:
            calls.append(1)
            return u**3 + u

        for solve in (
            lambda: halpern(operator, np.ones(2)),
            lambda: halpern(lambda u: operator(u) - 30.0, np.zeros(2), restart=None, tol=1e-1),  # the constant doubles
            lambda: halpern(operator, np.ones(2), lipschitz=4.0),
            lambda: halpern(operator, np.ones(2), anchoring="inner", resolvent=Box(0.1, 2.0)),
            lambda: halpern(operator, np.ones(2), anchoring="scaled", check_every=7, lipschitz=4.0),
            lambda: extragradient(operator, np.ones(2), step=0.2, anchored=True, tol=1e-2),
            lambda: halpern(lambda u: u - operator(u) / 4, np.ones(2), form="nonexpansive"),
            lambda: extragradient(operator, np.ones(2), lipschitz=4.0),
        ):
            calls.clear()
            assert solve().oracle_calls == len(calls) > 3


class TestScales:
    @pytest.mark.parametrize("scale", [1e-140, 1e140])
    @pytest.mark.parametrize("lipschitz", [True, False])
    def test_of_the_operator_and_of_the_point(self, scale: float, lipschitz: bool) -> None:
        for of_u, of_F in ((scale, 1.0), (1.0, scale)):
            far = of_u * np.array([[2.0, 1.0, 0.0]])
            known: dict[str, Any] = {"lipschitz": 3.0 * of_F} if lipschitz else {}
            result = halpern(
                lambda u, f=of_F, far=far: f * (u - far),
                0.0 * far,
                tol=1e-6 * of_u * of_F,
                resolvent=Box(0.0, of_u),
                **known,
            )
            np.testing.assert_allclose(result.u / of_u, [[1.0, 1.0, 0.0]], atol=1e-5)
            assert result.converged.all()

    def test_constants_do_not_widen_float32(self) -> None:
        one = np.ones(2, "float32")
        for L in (np.float64(2.0), np.array(2.0), np.array(2), 2):
            for result in (
                halpern(lambda u: u, one, lipschitz=L, tol=np.float64(1e-3)),
                extragradient(lambda u: u, one, lipschitz=L, step=np.array(0.4)),
            ):
                assert result.converged
                assert {result.u.dtype, result.error.dtype} == {np.dtype("float32")}


class TestBatches:
    def test_of_more_axes_and_of_one_unknown(self) -> None:
        targets = np.arange(6.0).reshape(2, 3, 1) - 2.0
        for solver in (halpern, extragradient):
            result = solver(lambda u: u - targets, 0.0 * targets, lipschitz=1.5, resolvent=Nonnegative())
            np.testing.assert_allclose(result.u, np.maximum(targets, 0.0), atol=1e-5)
            assert result.steps.shape == result.oracle_calls.shape == (2, 3)
            assert result.steps[0, 2] == 0  # its start is the solution

    @pytest.mark.parametrize("case", [c for c in EAGER if "portable" not in c.name], ids=lambda case: case.name)
    def test_members_go_their_own_ways(self, case: Case) -> None:
        if case.missing:
            pytest.skip(case.missing)
        A, labels, _ = regression(20, 3)
        starts = np.array([[0.0, 0, 0], [50.0, -50, 3], [1.0, 1, 1]])

        def solve(A: Any, labels: Any, u: Any) -> Any:
            return halpern(LogisticGradient(A, labels, 0.05), u, tol=1e-6)

        together = case.numpy(case.call(solve, A, labels, starts))
        assert len(set(together.steps.tolist())) == 3
        for k, start in enumerate(starts):
            alone = case.numpy(case.call(solve, A, labels, start))
            np.testing.assert_allclose(together.u[k], alone.u, atol=1e-12)
            assert together.steps[k] == alone.steps
            assert together.restarts[k] == alone.restarts
            assert together.oracle_calls[k] == alone.oracle_calls


class TestJax:
    def test_jit_vmap_and_plain_agree(self) -> None:
        A, labels, _ = regression(20, 3)

        def solve(u: Any) -> Any:
            return halpern(LogisticGradient(jnp.asarray(A), jnp.asarray(labels), 0.05), u, tol=1e-6, lipschitz=1.0)

        starts = np.array([[0.0, 0, 0], [5.0, -5, 3]])
        expected = halpern(LogisticGradient(A, labels, 0.05), starts, tol=1e-6, lipschitz=1.0)
        for result in (solve(jnp.asarray(starts)), jax.jit(jax.vmap(solve))(jnp.asarray(starts))):
            np.testing.assert_allclose(result.u, expected.u, atol=1e-12)
            assert result.steps.tolist() == expected.steps.tolist()
            assert result.converged.tolist() == [True, True]


class TestEnds:
    def test_out_of_steps(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match=r"monotone\.halpern did not reach tol=1e-06"):
            result = halpern(lambda u: u, np.ones(2), lipschitz=10.0, max_steps=3)
        assert (result.status, result.steps, result.converged) == (Status.MAX_STEPS, 3, False)

    def test_a_constant_that_is_too_small_is_not_called_converged(self) -> None:
        with pytest.warns(eq.ConvergenceWarning):
            result = halpern(lambda u: u, np.ones(2), lipschitz=0.1, max_steps=3000)
        assert result.status is Status.DIVERGED
        assert np.isfinite(result.error)

    @pytest.mark.parametrize("solver", [halpern, extragradient])
    def test_numbers_that_turn_into_nan(self, solver: Any) -> None:
        """The members that meet them end there, and the others go on."""
        starts = np.array([[4.0, 1.0], [0.2, 0.3]])
        with pytest.warns(eq.ConvergenceWarning, match="for 1 of 2 problems: error nan .* overflowed or became NaN"):
            result = solver(lambda u: np.where(abs(u - 2.0) < 1.0, np.nan, 1.0) * u, starts, lipschitz=2.0)
        assert result.code.tolist() == [Status.NOT_FINITE, Status.CONVERGED]

    @pytest.mark.parametrize("solver", [halpern, extragradient])
    def test_limits(self, solver: Any) -> None:
        seen: list[Any] = []
        options: dict[str, Any] = {"lipschitz": 2.0, "history": True}
        with pytest.warns(eq.ConvergenceWarning, match="steps ran out"):
            one = solver(lambda u: u, np.ones(2), max_steps=1, **options)
        assert (one.steps, one.status, one.history.step.tolist()) == (1, Status.MAX_STEPS, [0, 1])
        with pytest.warns(eq.ConvergenceWarning, match="callback asked"):
            two = solver(lambda u: u, np.ones(2), callback=lambda info: seen.append(info) or info.step == 2, **options)
        assert (two.steps, two.status, [info.step for info in seen]) == (2, Status.STOPPED, [0, 1, 2])
        assert two.history.oracle_calls[-1] == two.oracle_calls
        with pytest.warns(eq.ConvergenceWarning):
            all_steps = solver(lambda u: u**3, np.ones(2), tol=0.0, max_steps=7, **options)
        assert (all_steps.steps, all_steps.history.error[-1]) == (7, all_steps.error)

    def test_float32_stalls(self) -> None:
        A, _, b = (x.astype("float32") for x in regression(40, 3))
        with pytest.warns(eq.ConvergenceWarning, match="rounding"):
            result = halpern(LeastSquaresGradient(A, b), np.zeros(3, "float32"), tol=1e-12, max_steps=60_000)
        assert result.status is Status.STALLED
        assert result.error <= 1e-5
        assert result.u.dtype == np.float32

    def test_nothing_to_do(self) -> None:
        result = halpern(lambda u: u, np.zeros(2), lipschitz=1.0)
        assert (result.steps, result.oracle_calls, result.converged) == (0, 1, True)


u0 = np.ones(2)


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (
            ValueError,
            "form='nonexpansive' takes no lipschitz and no other anchoring",
            lambda: halpern(lambda u: -u, np.ones(2), form="nonexpansive", anchoring="inner"),
        ),
        (TypeError, "operator must be callable as .*, got int", lambda: halpern(3, u0)),
        (TypeError, "u0 must be an array .*, got list", lambda: halpern(lambda u: u, [1.0])),
        (
            TypeError,
            "u0 must hold floating-point numbers, got dtype int64",
            lambda: halpern(lambda u: u, np.ones(2, int)),
        ),
        (
            ValueError,
            r"u0 must be finite, got nan at index \(1,\)",
            lambda: halpern(lambda u: u, np.array([1, np.nan])),
        ),
        (ValueError, r"u0 must have shape \(..., d\) and not be empty", lambda: halpern(lambda u: u, np.ones(0))),
        (
            ValueError,
            r"operator must keep the shape of u0, \(2,\), got \(1,\)",
            lambda: halpern(lambda u: u[:1], u0, lipschitz=1.0),
        ),
        (
            ValueError,
            r"operator at u0 must be finite, got nan at index \(0,\)",
            lambda: halpern(lambda u: u * np.nan, u0, lipschitz=1.0),
        ),
        (ValueError, "lipschitz must be positive, got -1", lambda: halpern(lambda u: u, u0, lipschitz=-1.0)),
        (
            ValueError,
            "form must be one of 'cocoercive', 'nonexpansive', got 'x'",
            lambda: halpern(lambda u: u, u0, form="x"),
        ),
        (ValueError, "anchoring must be one of 'outer', .*, got 1", lambda: halpern(lambda u: u, u0, anchoring=1)),
        (TypeError, "restart must be a Restart or None, got float", lambda: halpern(lambda u: u, u0, restart=0.5)),
        (ValueError, r"factor must lie in \(0, 1\), got 1.5", lambda: Restart(1.5)),
        (ValueError, "tol must be at least 0, got -1", lambda: halpern(lambda u: u, u0, tol=-1.0)),
        (TypeError, "args must be a tuple, got ndarray", lambda: halpern(lambda u, b: u, u0, args=u0)),
        (
            ValueError,
            "needs a cocoercive operator, and GameOperator is merely monotone: take .*matrix_game",
            lambda: halpern(GameOperator(np.eye(1)), u0),
        ),
        (
            ValueError,
            "form='nonexpansive' takes no resolvent",
            lambda: halpern(lambda u: u, u0, form="nonexpansive", resolvent=Box()),
        ),
        (
            ValueError,
            r"resolvent must keep the shape of u0, \(2,\), got \(1,\)",
            lambda: extragradient(lambda u: u, u0, lipschitz=1.0, resolvent=lambda v, step: v[:1]),
        ),
        (
            TypeError,
            "mix arrays of two libraries, numpy and torch",
            lambda: halpern(lambda u: u, u0, lipschitz=torch.ones(())),
        ),
        (ValueError, "extragradient needs lipschitz or step", lambda: extragradient(lambda u: u, u0)),
        (ValueError, "step must be positive, got 0", lambda: extragradient(lambda u: u, u0, step=0.0)),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
