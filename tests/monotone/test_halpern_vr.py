from __future__ import annotations

import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import equipoise as eq
from equipoise.monotone import (
    Box,
    GameOperator,
    LeastSquaresGradient,
    LogisticGradient,
    Product,
    QuadraticMinMax,
    Restart,
    RobustLeastSquares,
    Simplex,
    components,
    extragradient,
    extragradient_vr,
    halpern,
    halpern_vr,
)
from equipoise.monotone.draws import coins, indices, plan, waiting
from equipoise.monotone.finite_sum import word_key
from equipoise.record import map_arrays
from equipoise.result import Status

from ..backends import Case
from .problems import EAGER, HERE, regression

KEY = word_key(5)


def after(solver: Any, *args: Any, **settings: Any) -> Any:
    """The result, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        return solver(*args, **{"tol": 0.0, **settings})


class Counting:
    """A sum that counts, and remembers what it was asked for."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.n, self.calls = inner, inner.n, 0
        self.asked: list[tuple[str, Any, Any]] = []
        for name in ("lipschitz", "mean_lipschitz"):
            setattr(self, name, getattr(inner, name))

    def full(self, u: Any) -> Any:
        self.calls += self.n
        self.asked.append(("full", u, None))
        return self.inner.full(u)

    def diff(self, u: Any, v: Any, idx: Any) -> Any:
        self.calls += 2 * len(idx)
        self.asked.append(("diff", u, v))
        return self.inner.diff(u, v, idx)


# ---------------------------------------------------------------------------------------------------------------------
# What is drawn


class TestDraws:
    @pytest.mark.parametrize("p", [0.9, 0.25, 0.01])
    def test_waiting_times_are_geometric(self, p: float) -> None:
        draws = plan(p, 1, KEY, np.ones(1))
        found = waiting(draws, np.arange(20_000, dtype=np.int32))
        assert found.min() == 1
        for j in (1, 2, 3, math.ceil(1 / p), math.ceil(2 / p)):
            share, expected = np.mean(found > j), (1 - p) ** j
            assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / 20_000) + 1e-9
        assert abs(found.mean() * p - 1) < 0.03

    def test_thresholds_are_the_law(self) -> None:
        """Quotient and remainder of a geometric number are independent: the tables give (1-p)^j for every j."""
        p = 0.03
        draws = plan(p, 1, KEY, np.ones(1))
        below = [0.0, *(draws.remainder / 2**32), 1.0]
        for j in (1, 5, draws.base - 1, draws.base, 3 * draws.base + 2):
            a, r = divmod(j, draws.base)
            beyond = 1 - draws.quotient[a] / 2**32  # P(Q > a)
            at = (draws.quotient[a] - (draws.quotient[a - 1] if a else 0)) / 2**32
            np.testing.assert_allclose(beyond + at * (1 - below[r]), (1 - p) ** j, atol=1e-8)

    def test_certain_refreshes(self) -> None:
        assert waiting(plan(1.0, 1, KEY, np.ones(1)), np.arange(5, dtype=np.int32)).tolist() == [1] * 5

    @pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
    def test_every_backend_draws_the_same(self, case: Case) -> None:
        if case.missing:
            pytest.skip(case.missing)
        summed = LogisticGradient(np.ones((37, 2)), np.ones(37))
        steps, numbers = np.array([0, 1, 70_000]), np.arange(6, dtype=np.int32)

        def drawn(s: Any, steps: Any, numbers: Any) -> Any:
            draws = plan(0.05, 6, KEY, s.A)
            return indices(draws, s, steps), waiting(draws, numbers), coins(draws, steps)

        expected = drawn(summed, steps, numbers)
        for one, other in zip(case.numpy(case.call(drawn, summed, steps, numbers)), expected, strict=True):
            np.testing.assert_array_equal(one, other)
        assert expected[0].shape == (3, 6)
        assert expected[0].tolist() == [[8, 17, 12, 1, 29, 34], [34, 25, 21, 3, 19, 26], [27, 0, 33, 32, 2, 9]]
        assert expected[1].tolist() == [6, 4, 3, 97, 6, 22]

    def test_samples_are_uniform(self) -> None:
        summed = LogisticGradient(np.ones((5, 2)), np.ones(5))
        found = indices(plan(0.5, 8, KEY, np.ones(1)), summed, np.arange(1, 2001))
        counts = np.bincount(found.ravel(), minlength=5)
        assert np.all(np.abs(counts - 3200) < 5 * math.sqrt(3200))


# ---------------------------------------------------------------------------------------------------------------------
# The methods


class TestFullRefresh:
    """Without sampling they are the deterministic methods, bit for bit."""

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    @pytest.mark.parametrize("resolvent", [Box(), Box(-2.0, 0.4)], ids=["free", "box"])
    def test_restarted(self, case: Case, resolvent: Any) -> None:
        A, labels, _ = regression(40, 4)
        F = LogisticGradient(A, labels)
        settings: Any = {"resolvent": resolvent, "restart": Restart(), "tol": 1e-5}
        one = case.call(lambda u: halpern_vr(F, u, refresh=1.0, **settings), np.zeros(4))
        other = case.call(lambda u: halpern(F, u, anchoring="scaled", **settings), np.zeros(4))
        np.testing.assert_array_equal(one.u, other.u)
        assert one.steps == other.steps > 30
        assert one.restarts == other.restarts > 3
        assert one.oracle_calls == other.oracle_calls
        assert one.error == other.error

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_published(self, case: Case) -> None:
        A, labels, _ = regression(40, 4)
        F, box = LogisticGradient(A, labels), Box(-0.1, 0.3)
        L = float(F.lipschitz)
        settings: Any = {"schedule": "theory", "refresh": 1.0, "step": 1 / L, "max_steps": 100, "resolvent": box}
        one = case.call(lambda u: after(halpern_vr, F, u, **settings), np.zeros(4))
        other = case.call(
            lambda u: after(halpern, F, u, anchoring="inner", restart=None, max_steps=100, resolvent=box, lipschitz=L),
            np.zeros(4),
        )
        np.testing.assert_array_equal(one.u, other.u)
        assert one.error == other.error

    def test_extragradient_of_one_component(self) -> None:
        """With n = 1 the sampled component is the operator, and p = 1 the extragradient method."""
        M = np.array([[1.0, 2.0], [-2.0, 0.5]])
        F = components(lambda u, i, M: (u @ M)[..., None, :] + 0.0 * i[:, None], 1, args=(M,))
        u = np.ones(2)
        for _ in range(5):
            u = u - 0.1 * (u - 0.1 * u @ M) @ M
        result = after(extragradient_vr, F, np.ones(2), refresh=1.0, step=0.1, mean_lipschitz=3.0, max_steps=5)
        np.testing.assert_allclose(result.u, u, atol=1e-14)

    def test_forward_reflected_backward_of_one_component(self) -> None:
        M = np.array([[1.0, 2.0], [-2.0, 0.5]])
        box, c, step = Box(-0.5, 0.9), 1 / 3.0, 0.2
        F = components(lambda u, i, M: (u @ M)[..., None, :] + 0.0 * i[:, None], 1, args=(M,))
        centre = np.ones(2)

        def regular(v: Any) -> Any:
            return c * v @ M + v - centre

        v = before = centre
        for _ in range(4):
            v, before = box(v - step * (2 * regular(v) - regular(before))), v
        inner = 4 / (3 * math.log(2)) * (1 - 1e-9)  # four steps in the first inner loop
        result = after(
            halpern_vr,
            F,
            centre,
            mode="lipschitz",
            resolvent=box,
            mean_lipschitz=3.0,
            refresh=1.0,
            step=step,
            inner=inner,
            max_steps=4,
        )
        np.testing.assert_allclose(result.u, 0.5 * centre + 0.5 * v, atol=1e-14)


class TestAgainstThePaper:
    """Plain loops over the same draws, written from the formulas."""

    def test_algorithm_1(self) -> None:
        A, labels, _ = regression(50, 3)
        F, box = LogisticGradient(A, labels), Box(-0.2, 0.5)
        n, b, root = 50, 8, math.sqrt(50)
        L, steps = float(F.mean_lipschitz), 60
        draws = plan(4 / (root + 5), b, word_key(3), A)
        words = coins(draws, np.arange(0, 9)) / 2**32
        e = 1 / (4 * L)
        u = anchor = np.zeros(3)
        g, refreshes, wait, calls = F.full(u), 0, None, n
        for k in range(steps):
            share = 2 / (k + 4)
            new = box(share * anchor + (1 - share) * u - e * g)
            t = k + 1
            if t - 1 <= root:  # the first phase: p_t = 4/(t+4), and the point after the first is certain
                fresh = t == 1 or words[t] < 4 / (t + 4)
            else:
                if wait is None:
                    wait = t - 1 + int(waiting(draws, np.asarray(refreshes, dtype=np.int32)))
                fresh = t == wait
            if fresh or t == steps:
                g, refreshes, wait, calls = F.full(new), refreshes + 1, None, calls + n
            else:
                g = g + F.diff(new, u, indices(draws, F, np.array([t]))[0])
                calls += 2 * b
            u = new
        result = after(halpern_vr, F, np.zeros(3), schedule="theory", resolvent=box, rng=3, max_steps=steps)
        np.testing.assert_allclose(result.u, u, atol=1e-14)
        assert result.oracle_calls == calls
        assert 3 < refreshes < 40

    def test_algorithm_2(self) -> None:
        """The snapshot moves to the new iterate, the one before is kept for a step, and the outer loop anchors."""
        rng = np.random.default_rng(0)
        M = rng.normal(size=(4, 6))
        F, sets = GameOperator(M), Product((Simplex(), 6), (Simplex(), 4))
        n, root, L = 6, math.sqrt(6), float(GameOperator(M).mean_lipschitz)
        p, c = 1 / 6, root / L
        gamma = math.sqrt(p * (1 - p)) / (2 * (root + 1))
        draws = plan(p, 1, word_key(2), M)
        anchor = u = np.concatenate([np.eye(6)[0], np.eye(4)[1]])
        t = number = 0
        calls = n
        for k in range(3):
            v = w = before = u
            full = F.full(w)
            until = int(waiting(draws, np.asarray(number, dtype=np.int32)))
            length = math.ceil(0.5 * (n + root * (root + 1)) * math.log(k + 2))
            for step in range(length):
                t += 1
                idx = indices(draws, F, np.array([t]))[0]
                e = (c * full + w - u) + (c * F.diff(v, before, idx) + v - before)
                v = sets((1 - p) * v + p * w - gamma * e, gamma * c)
                before = w
                until -= 1
                calls += 2
                if until == 0 and step < length - 1:
                    w, full, number, calls = v, F.full(v), number + 1, calls + n
                    until = int(waiting(draws, np.asarray(number, dtype=np.int32)))
            u = anchor / (k + 2) + (1 - 1 / (k + 2)) * v
            number, calls = number + 1, calls + n
        start = np.concatenate([np.eye(6)[0], np.eye(4)[1]])
        result = after(
            halpern_vr,
            F,
            start,
            mode="lipschitz",
            resolvent=sets,
            schedule="theory",
            rng=2,
            inner=0.5,
            max_steps=t,
        )
        np.testing.assert_allclose(result.u, u, atol=1e-14)
        assert result.oracle_calls == calls
        np.testing.assert_allclose(result.error, L_residual(F, result.u, sets, float(F.lipschitz)), rtol=1e-10)

    def test_extragradient_with_a_snapshot(self) -> None:
        F = QuadraticMinMax.worst_case(5)
        p, L = 0.4, float(F.mean_lipschitz)
        t = 0.99 * math.sqrt(p) / L
        draws = plan(p, 1, word_key(0), F.A)
        z = w = np.zeros(10)
        full, number, k = F.full(w), 0, 0
        for _ in range(6):
            for _ in range(int(waiting(draws, np.asarray(number, dtype=np.int32)))):
                k += 1
                idx = indices(draws, F, np.array([k]))[0]
                centre = (1 - p) * z + p * w
                half = centre - t * full
                z = centre - t * (full + F.diff(half, w, idx))
            w, full, number = z, F.full(z), number + 1
        result = after(extragradient_vr, F, np.zeros(10), refresh=p, max_steps=k)
        np.testing.assert_allclose(result.u, w, atol=1e-14)
        assert result.oracle_calls == 5 * 7 + 2 * k


def L_residual(F: Any, u: np.ndarray, sets: Any, L: float) -> float:
    """r(u) by hand."""
    return float(L * np.linalg.norm(u - sets(u - F.full(u) / L, 1 / L)))


class TestSolutions:
    def test_the_restarted_form_wins(self) -> None:
        """On a sum of 2000 components, fewer than a fifth of the deterministic evaluations."""
        A, labels, _ = regression(2000, 10)
        F = LogisticGradient(A, labels)
        fast, slow = (f(F, np.zeros(10), tol=1e-4) for f in (halpern_vr, halpern))
        assert fast.error <= 1e-4
        assert fast.oracle_calls * 5 < slow.oracle_calls
        np.testing.assert_allclose(np.linalg.norm(F.full(fast.u)), fast.error, rtol=1e-9)

    def test_theory_converges(self) -> None:
        A, _, b = regression(30, 2)
        result = after(halpern_vr, LeastSquaresGradient(A, b), np.zeros(2), schedule="theory", tol=1e-2)
        assert result.converged

    @pytest.mark.parametrize("schedule", ["restarted", "theory"])
    def test_lipschitz(self, schedule: str) -> None:
        A = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
        sets = Product((Simplex(), 3), (Simplex(), 3))
        start = np.array([1.0, 0, 0, 0.2, 0.5, 0.3])
        for sampling in ("uniform", "importance"):
            F = GameOperator(A, sampling=sampling)
            result = halpern_vr(F, start, mode="lipschitz", schedule=schedule, resolvent=sets, inner=2.0, tol=0.03)
            np.testing.assert_allclose(result.u, np.full(6, 1 / 3), atol=0.03)

    def test_robust_least_squares_with_a_set(self) -> None:
        A, _, b = regression(60, 2)
        F, sets = RobustLeastSquares(A, b), Product((Box(0.0, 0.1), 2), (Box(), 60))
        one, other = (f(F, np.zeros(62), resolvent=sets, tol=1e-6) for f in (halpern_vr, halpern))
        np.testing.assert_allclose(one.u, other.u, atol=1e-4)


class TestCounts:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"schedule": "theory"},
            {"batch": 3, "refresh": 0.3},
            {"mode": "lipschitz", "inner": 0.3},
        ],
        ids=["restarted", "theory", "own", "lipschitz"],
    )
    def test_calls_are_those_of_a_wrapper(self, settings: dict[str, Any]) -> None:
        A, labels, _ = regression(30, 3)
        for steps in (1, 2, 47):
            F = Counting(LogisticGradient(A, labels))
            result = after(halpern_vr, F, np.zeros(3), max_steps=steps, **settings)
            assert result.oracle_calls == F.calls
            assert result.steps == steps
        F = Counting(LogisticGradient(A, labels))
        assert after(extragradient_vr, F, np.zeros(3), max_steps=47).oracle_calls == F.calls

    def test_histories_have_them_too(self) -> None:
        A, labels, _ = regression(30, 3)
        for solve, settings in (
            (halpern_vr, {}),
            (halpern_vr, {"mode": "lipschitz", "inner": 0.3}),
            (extragradient_vr, {}),
            (halpern, {"restart": None}),
            (extragradient, {}),
        ):
            F, seen = Counting(LogisticGradient(A, labels)), []

            def look(info: Any, F: Any = F, seen: Any = seen) -> None:
                seen.append(F.calls)

            result = after(solve, F, np.zeros(3), max_steps=47, callback=look, **settings)
            assert result.history.oracle_calls.tolist() == seen
            assert result.history.oracle_calls[-1] == result.oracle_calls
        F = LogisticGradient(*(jnp.asarray(x) for x in (A, labels)))
        with pytest.raises(TypeError, match="history=True needs values"):
            jax.jit(lambda u: halpern_vr(F, u, history=True).u)(jnp.zeros(3))

    def test_every_difference_starts_where_the_estimate_is(self) -> None:
        """The previous point is kept on refreshes too: a stale one was a mistake of published scripts."""
        A, labels, _ = regression(30, 3)
        F = Counting(LogisticGradient(A, labels))
        after(halpern_vr, F, np.zeros(3), max_steps=60)
        kinds = {kind for kind, _, _ in F.asked}
        assert kinds == {"full", "diff"}
        for (_, before, _), (kind, _, v) in zip(F.asked, F.asked[1:], strict=False):
            if kind == "diff":
                np.testing.assert_array_equal(v, before)

    def test_a_budget(self) -> None:
        A, labels, _ = regression(100, 5)
        with pytest.warns(eq.ConvergenceWarning, match="budget of oracle calls"):
            result = halpern_vr(LogisticGradient(A, labels), np.zeros(5), tol=1e-12, max_oracle_calls=3000)
        assert result.status is Status.MAX_ORACLE_CALLS
        assert 3000 <= result.oracle_calls < 4500

    def test_the_safeguard_halves_a_step_that_is_too_long(self) -> None:
        A, _, b = regression(100, 3)
        F = LeastSquaresGradient(A, b)
        result = halpern_vr(F, np.zeros(3), step=8.0 / float(F.lipschitz), tol=1e-5)
        assert result.converged


class TestLimits:
    def test_history_of_a_batch_with_inner_loops_ends_at_the_calls(self) -> None:
        A, labels, _ = regression(30, 3)
        u0 = np.stack([np.zeros(3), np.full(3, 9.0)])
        result = after(halpern_vr, LogisticGradient(A, labels, 0.1), u0, mode="lipschitz", max_steps=700, history=True)
        rows = result.history.oracle_calls
        assert np.all(np.diff(rows) >= 0)
        assert rows[-1] == result.oracle_calls.max()

    def test_divergence_ends_with_one_warning_of_ours(self) -> None:
        A, _, b = regression(30, 3)
        with np.errstate(all="ignore"), pytest.warns(eq.ConvergenceWarning, match="step is too long") as seen:
            result = extragradient_vr(RobustLeastSquares(A, b), np.zeros(33), step=1e8)
        assert result.status == Status.NOT_FINITE
        assert [w.category for w in seen] == [eq.ConvergenceWarning]

    def test_calls_beyond_32_bits(self) -> None:
        def own(u: Any, i: Any) -> Any:
            return u[..., None, :] * jnp.ones((i.shape[0], 1))

        F = components(own, 2 * 10**9, full=lambda u: u)
        settings: dict[str, Any] = {"lipschitz": 2.0, "batch": 1, "refresh": 1.0, "restart": None, "max_steps": 3}
        u0 = np.ones(2, np.float32)
        exact = after(halpern_vr, F, u0, **settings)
        assert int(exact.oracle_calls) == 4 * F.n
        with jax.enable_x64(False):
            for budget, status in ((None, Status.MAX_STEPS), (2**32, Status.MAX_ORACLE_CALLS)):
                held = after(halpern_vr, F, jnp.asarray(u0), **settings, max_oracle_calls=budget)
                assert int(held.oracle_calls) == 2**31 - 1
                assert held.status == status

    def test_inner_loops_beyond_32_bits(self) -> None:
        A, labels, _ = regression(30, 3)
        for case in HERE:
            result = case.call(
                lambda: after(
                    halpern_vr, LogisticGradient(A, labels), np.zeros(3), mode="lipschitz", inner=1e9, max_steps=40
                )
            )
            assert result.steps == 40

    @pytest.mark.parametrize(
        ("sentence", "settings"),
        [
            (r"max_steps must be at most 2\^31 - 1", {"max_steps": 2**31}),
            ("refresh must be at least 1.2e-08", {"refresh": 1e-12}),
        ],
    )
    def test_what_cannot_be_counted(self, sentence: str, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=sentence):
            halpern_vr(LogisticGradient(np.ones((3, 2)), np.ones(3)), np.zeros(2), **settings)

    @pytest.mark.parametrize("solver", [halpern_vr, extragradient_vr, halpern, extragradient])
    def test_a_point_of_another_length(self, solver: Any) -> None:
        with pytest.raises(ValueError, match=r"u0 must have 2 entries to fit LogisticGradient, got shape \(5, 3\)"):
            solver(LogisticGradient(np.ones((3, 2)), np.ones(3)), np.zeros((5, 3)))


class TestBackendsAgree:
    @pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
    @pytest.mark.parametrize("mode", ["restarted", "theory", "lipschitz", "extragradient"])
    def test_counts_and_iterates(self, case: Case, mode: str) -> None:
        if case.missing:
            pytest.skip(case.missing)
        A, labels, _ = regression(30, 3)

        def solve(A: Any, labels: Any, u: Any) -> Any:
            F = LogisticGradient(A, labels, 0.1)
            if mode == "extragradient":
                return after(extragradient_vr, F, u, max_steps=25)
            named = {"mode": "lipschitz"} if mode == "lipschitz" else {"schedule": mode}
            return after(halpern_vr, F, u, max_steps=25, resolvent=Box(-1.0, 0.5), **named)

        expected = solve(A, labels, np.ones((2, 3)))
        result = case.numpy(case.call(solve, A, labels, np.ones((2, 3))))
        np.testing.assert_allclose(result.u, expected.u, atol=1e-13)
        for name in ("steps", "oracle_calls", "restarts"):
            np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))

    def test_members_of_a_batch_are_as_alone(self) -> None:
        A, labels, _ = regression(60, 3)
        F = LogisticGradient(A, labels, 0.02)
        starts = np.array([[0.0, 0, 0], [30.0, -30, 3]])
        for settings in ({}, {"mode": "lipschitz", "inner": 0.2}):
            together = after(halpern_vr, F, starts, tol=1e-3, max_steps=3000, **settings)
            for k, start in enumerate(starts):
                alone = after(halpern_vr, F, start, tol=1e-3, max_steps=3000, **settings)
                np.testing.assert_allclose(together.u[k], alone.u, atol=1e-12)
                assert together.oracle_calls[k] == alone.oracle_calls
                assert together.restarts[k] == alone.restarts

    def test_jax(self) -> None:
        """Compiled loops draw the same samples in the trace."""
        A, labels, _ = regression(30, 3)

        def solve(A: Any, labels: Any, u: Any) -> Any:
            return halpern_vr(LogisticGradient(A, labels, 0.1), u, tol=1e-4, lipschitz=1.0)

        expected = solve(A, labels, np.zeros(3))
        result = jax.jit(solve)(*map(jnp.asarray, (A, labels, np.zeros(3))))
        np.testing.assert_allclose(result.u, expected.u, atol=1e-12)
        assert int(result.oracle_calls) == expected.oracle_calls
        assert int(result.restarts) == expected.restarts

    def test_float32_and_the_context(self) -> None:
        A, labels, _ = regression(200, 4)
        F = LogisticGradient(A, labels, 0.1)
        with eq.backend("torch", dtype="float32"):
            result = halpern_vr(F, np.zeros(4))
        assert result.u.dtype == np.float32
        assert result.converged
        single = map_arrays(lambda x: x.astype("float32"), F)
        assert int(halpern_vr(single, np.zeros(4, "float32")).restarts) == int(result.restarts)

    def test_seeds(self) -> None:
        A, labels, _ = regression(60, 3)
        F = LogisticGradient(A, labels, 0.1)
        one, same, other = (halpern_vr(F, np.zeros(3), tol=1e-4, rng=rng) for rng in (1, 1, 2))
        np.testing.assert_array_equal(one.u, same.u)
        assert np.any(one.u != other.u)


F0 = LogisticGradient(np.ones((4, 2)), np.ones(4))
u0 = np.zeros(2)


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (TypeError, "finite_sum must have n, full.*, got function", lambda: halpern_vr(lambda u: u, u0)),
        (ValueError, "mode must be one of 'cocoercive', 'lipschitz', got 'x'", lambda: halpern_vr(F0, u0, mode="x")),
        (ValueError, "schedule must be one of 'restarted', 'theory'", lambda: halpern_vr(F0, u0, schedule="x")),
        (ValueError, "batch must lie in 1..4, the number of components, got 5", lambda: halpern_vr(F0, u0, batch=5)),
        (TypeError, "batch must be None or a whole number, got float", lambda: halpern_vr(F0, u0, batch=2.0)),
        (ValueError, r"refresh must lie in \(0, 1\], got 0.0", lambda: halpern_vr(F0, u0, refresh=0.0)),
        (ValueError, "step must be positive, got -1", lambda: halpern_vr(F0, u0, step=-1.0)),
        (
            ValueError,
            "max_oracle_calls must be None or at least 1, got 0",
            lambda: halpern_vr(F0, u0, max_oracle_calls=0),
        ),
        (TypeError, "rng must be an int", lambda: halpern_vr(F0, u0, rng=None)),
        (
            ValueError,
            "schedule='restarted' needs lipschitz, which neither the call nor Components gives",
            lambda: halpern_vr(components(lambda u, i: u[..., None, :], 3), u0),
        ),
        (
            ValueError,
            "mode='lipschitz' needs mean_lipschitz, which neither the call nor Components gives",
            lambda: halpern_vr(components(lambda u, i: u[..., None, :], 3), u0, mode="lipschitz", lipschitz=1.0),
        ),
        (
            ValueError,
            "halpern_vr needs a cocoercive operator, and GameOperator is merely monotone",
            lambda: halpern_vr(GameOperator(np.eye(1)), u0),
        ),
        (
            ValueError,
            "with refresh=1, or a single component, the default step is 0: pass step",
            lambda: halpern_vr(F0, u0, mode="lipschitz", refresh=1.0),
        ),
        (
            ValueError,
            r"finite_sum.full must keep the shape of u0, \(2,\), got \(1,\)",
            lambda: halpern_vr(components(lambda u, i: u[..., None, :1], 3), u0, lipschitz=1.0),
        ),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
