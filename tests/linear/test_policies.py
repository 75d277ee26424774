from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.linear.chebcb import ChebCB, box_fit
from equipoise.linear.omega import optimal_omega, predicted_steps
from equipoise.linear.policy import FixedOmega, Policy, YoungOmega, default_grid
from equipoise.linear.tsallis import BinnedTsallisINF, TsallisINF, distribution
from equipoise.operators import Stencil

INTERVAL = (-0.15, 0.65)
GRID = default_grid()
MAKE: dict[str, Any] = {
    "FixedOmega": lambda seed: FixedOmega(1.5),
    "YoungOmega": lambda seed: YoungOmega(),
    "TsallisINF": lambda seed: TsallisINF(rng=seed),
    "TsallisINF-absolute": lambda seed: TsallisINF(relative=False, rng=seed),
    "TsallisINF-without-prior": lambda seed: TsallisINF(relative=False, prior_rounds=0, rng=seed),
    "BinnedTsallisINF": lambda seed: BinnedTsallisINF(INTERVAL, rng=seed),
    "ChebCB": lambda seed: ChebCB(INTERVAL, rng=seed),
    "ChebCB-without-model": lambda seed: ChebCB(INTERVAL, model=None, rng=seed),
}


def sor_steps(A: np.ndarray, b: np.ndarray, omega: float, tol: float = 1e-8) -> int:
    """Sweeps of successive over-relaxation from zero."""
    sweep = np.linalg.inv(np.diag(np.diag(A)) / omega + np.tril(A, -1))
    C = np.eye(len(A)) - A @ sweep
    r, stop = b, tol * np.linalg.norm(b)
    for steps in range(10_000):
        if np.linalg.norm(r) <= stop:
            return steps
        r = C @ r
    return 10_000


class Replay:
    """The sequence of the paper: Laplacians of 10 x 10 cells plus c, with a random c and right-hand side."""

    def __init__(self, seed: int, systems: int, law: tuple[float, float] = (0.5, 1.5)) -> None:
        rng = np.random.default_rng(seed)
        self.c = -0.15 + 0.6 * rng.beta(*law, systems)
        self.operators = [Stencil.laplacian((10, 10), shift=c) for c in self.c]
        n = 100
        dense = [A.matvec(np.eye(n).reshape(n, 10, 10)).reshape(n, n) for A in self.operators]
        rhs = rng.standard_normal((systems, n))
        self.table = np.array([[sor_steps(A, b, w) for w in GRID] for A, b in zip(dense, rhs, strict=True)])

    def run(self, policy: Any) -> tuple[np.ndarray, np.ndarray]:
        """The factors and what they took; between the factors of the grid it is interpolated."""
        omega, cost = np.empty(len(self.c)), np.empty(len(self.c))
        for t, (c, A) in enumerate(zip(self.c, self.operators, strict=True)):
            omega[t] = policy.suggest(c, A)
            cost[t] = np.interp(omega[t], GRID, self.table[t])
            policy.observe(cost[t])
        return omega, cost


@pytest.fixture(scope="module")
def replay() -> Replay:
    return Replay(0, 150)


class TestDistribution:
    @given(
        st.integers(0, 2**32),
        st.integers(1, 30),
        st.floats(-8, 12),
        st.floats(-3, 3),
        st.floats(-4, math.log10(2)),
    )
    def test_it_sums_to_one(self, seed: int, d: int, size: float, spread: float, rate: float) -> None:
        rng = np.random.default_rng(seed)
        losses = (10**size * np.exp(spread * rng.standard_normal(d))).tolist()
        eta = 10**rate
        for scale in (1e-12, 1.0, 10**size):
            p = distribution(losses, scale, eta)
            assert abs(sum(p) - 1) < 1e-12
            assert all(x >= 0 for x in p)
            assert p[int(np.argmin(losses))] == max(p)
            # p_i = 4/(eta (losses_i/scale - x))^2: the square roots' inverses lie on one line
            roots = np.array([x**-0.5 for x in p if x > 1e-20])
            gaps = np.array([(k - min(losses)) / scale for k, x in zip(losses, p, strict=True) if x > 1e-20])
            expected = roots.min() + 0.5 * eta * gaps
            np.testing.assert_allclose(roots, expected, rtol=1e-6)

    def test_equal_arms(self) -> None:
        assert distribution([3.0] * 4, 1.0, 0.1) == [0.25] * 4
        assert distribution([3.0], 1.0, 0.1) == [1.0]

    def test_more_rounds_are_greedier(self) -> None:
        p = [distribution([0.0, 1.0, 2.0], 1.0, eta)[0] for eta in (0.1, 1.0, 2.0)]
        assert p == sorted(p)


class TestBoxFit:
    @given(st.integers(0, 2**32))
    def test_it_is_the_constrained_least_squares_fit(self, seed: int) -> None:
        """The conditions of optimality: a gradient of zero inside of the box, pointing outwards on its faces."""
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((40, 4)), rng.standard_normal(40)
        gram, moments, bounds = X.T @ X, 10 * X.T @ y, 10 ** rng.uniform(-2, 1, 4)
        theta = box_fit(gram, moments, bounds, np.zeros(4))
        slope = gram @ theta - moments
        assert np.all(np.abs(theta) <= bounds)
        inside = np.abs(theta) < bounds
        assert np.all(np.abs(slope[inside]) < 1e-5 * (1 + np.abs(moments).max()))
        assert np.all((slope * np.sign(theta))[~inside] <= 1e-9)

    def test_nothing_seen(self) -> None:
        assert np.array_equal(box_fit(np.zeros((3, 3)), np.zeros(3), np.zeros(3), np.zeros(3)), np.zeros(3))


class TestProtocol:
    @pytest.mark.parametrize("name", MAKE)
    def test_the_same_seed_gives_the_same_run(self, name: str, replay: Replay) -> None:
        one, other = MAKE[name](3), MAKE[name](np.random.default_rng(3))
        assert isinstance(one, Policy)
        assert np.array_equal(replay.run(one)[0], replay.run(other)[0])
        if "Tsallis" in name or "ChebCB" in name:
            assert not np.array_equal(replay.run(MAKE[name](4))[0], replay.run(MAKE[name](3))[0])

    @pytest.mark.parametrize("name", MAKE)
    def test_it_goes_on_where_it_was_saved(self, name: str, replay: Replay, tmp_path: Any) -> None:
        one, other = MAKE[name](3), MAKE[name](99)
        one.bind("ssor_cg", 1e-6)
        replay.run(one)
        eq.save(tmp_path / "policy.npz", one.state_dict())
        other.load_state_dict(eq.load(tmp_path / "policy.npz"))
        assert np.array_equal(replay.run(one)[0], replay.run(other)[0])
        assert repr(one) == repr(other)

    def test_it_goes_on_with_an_estimate(self, tmp_path: Any) -> None:
        rng = np.random.default_rng(0)
        operators = [Stencil.diffusion((rng.random((7, 8)) + 1, rng.random((8, 7)) + 1), shift=1.0) for _ in range(6)]
        one, other = YoungOmega(), YoungOmega()
        for A in operators[:3]:
            assert abs(one.suggest(None, A) - optimal_omega(A)) < 0.1
        eq.save(tmp_path / "policy.npz", one.state_dict())
        other.load_state_dict(eq.load(tmp_path / "policy.npz"))
        for A in operators[3:]:
            assert one.suggest(None, A) == other.suggest(None, A)
        smaller = Stencil.diffusion((rng.random((3, 4)) + 1, rng.random((4, 3)) + 1), shift=1.0)
        assert abs(one.suggest(None, smaller) - optimal_omega(smaller)) < 1e-12

    def test_the_generator_travels(self) -> None:
        for kind in (np.random.MT19937, np.random.Philox, np.random.SFC64):
            one, other = (TsallisINF(relative=False, rng=np.random.Generator(kind(s))) for s in (1, 2))
            A = Stencil.laplacian((4, 4))
            one.suggest(None, A)
            other.load_state_dict(one.state_dict())
            assert [one.suggest(None, A) for _ in range(20)] == [other.suggest(None, A) for _ in range(20)]

    def test_suggestions_not_observed_are_forgotten(self) -> None:
        policy = ChebCB(INTERVAL, rng=0)
        A = Stencil.laplacian((4, 4))
        policy.suggest(0.1, A)
        policy.suggest(0.2, A)
        policy.observe(20)
        with pytest.raises(ValueError, match="call suggest first"):
            policy.observe(20)
        assert policy.state_dict()["rounds"] == 1

    @pytest.mark.parametrize("name", MAKE)
    def test_extreme_costs(self, name: str) -> None:
        policy, A = MAKE[name](0), Stencil.laplacian((4, 4))
        for cost in [0, 0, 0, 1, 1, 10_000, 10_000, 1, 1e9, 0, 5] * 5:
            assert 0 < policy.suggest(0.3, A) < 2
            policy.observe(cost)


class TestLearning:
    def test_relative_arms_follow_the_formula(self) -> None:
        policy = TsallisINF([1.0], rng=0)
        for shift in (0.0, 0.5, 3.0):
            A = Stencil.laplacian((9, 9), shift=shift)
            assert abs(policy.suggest(None, A) - optimal_omega(A)) < 1e-14

    @pytest.mark.parametrize(
        "name", ["TsallisINF", "TsallisINF-absolute", "BinnedTsallisINF", "ChebCB", "ChebCB-without-model"]
    )
    def test_the_best_arm_of_synthetic_costs(self, name: str) -> None:
        """Costs that no model foresees: least at the arm 1.2."""
        policy, A = MAKE[name](0), Stencil.laplacian((10, 10), shift=0.3)
        rng = np.random.default_rng(1)
        costs = []
        for _ in range(1500):
            omega = policy.suggest(rng.uniform(*INTERVAL), A)
            costs.append(20 + 200 * abs(omega - 1.2) + rng.uniform(0, 4))
            policy.observe(costs[-1])
        tried = policy.factors(optimal_beta(A)) if isinstance(policy, TsallisINF | BinnedTsallisINF) else GRID
        best = 22 + 200 * min(abs(w - 1.2) for w in tried)
        assert np.mean(costs[-300:]) < 1.35 * best
        assert np.mean(costs[:100]) > np.mean(costs[-300:])

    def test_chebcb_is_near_the_best_arm_of_every_system(self, replay: Replay) -> None:
        for seed in range(3):
            _, cost = replay.run(ChebCB(INTERVAL, rng=seed))
            last = slice(75, None)
            assert cost[last].sum() < 1.1 * replay.table[last].min(axis=1).sum()
            assert cost[last].sum() < 0.9 * replay.table[last].sum(axis=0).min()

    def test_chebcb_does_not_stay_where_the_model_says_too_much_of_all_others(self) -> None:
        """Costs are half of what the model says, and a third for its second choice."""
        A = Stencil.laplacian((10, 10), shift=0.3)
        costs = 0.5 * predicted_steps(A, GRID)
        second = int(np.argsort(costs)[1])
        costs[second] *= 0.6
        for seed in range(4):
            policy, rng = ChebCB(INTERVAL, rng=seed), np.random.default_rng(seed)
            chosen = []
            for _ in range(300):
                chosen.append(int(np.searchsorted(GRID, policy.suggest(rng.uniform(*INTERVAL), A) - 1e-9)))
                policy.observe(costs[chosen[-1]])
            assert np.mean(np.array(chosen[150:]) == second) > 0.9

    def test_relative_arms_beat_every_fixed_factor(self, replay: Replay) -> None:
        for seed in range(3):
            _, cost = replay.run(TsallisINF(rng=seed))
            assert cost[75:].sum() < 1.05 * replay.table[75:].sum(axis=0).min()

    def test_plain_arms_learn(self, replay: Replay) -> None:
        _, cost = replay.run(TsallisINF(relative=False, rng=0))
        assert cost[75:].mean() < 0.8 * replay.table[75:].mean()  # the mean of arms drawn blindly

    def test_an_arm_for_every_bin(self) -> None:
        """Two regimes with different best arms."""
        policy, A = (
            BinnedTsallisINF((0.0, 1.0), bins=2, grid=[1.1, 1.9], relative=False, rng=0),
            Stencil(4.0, (1.0,), (5,)),
        )
        chosen: dict[bool, list[float]] = {True: [], False: []}
        for t in range(400):
            high = bool(t % 2)
            omega = policy.suggest(0.9 if high else 0.1, A)
            chosen[high].append(omega)
            policy.observe(10 if (omega > 1.5) == high else 100)
        assert np.mean(chosen[True][100:]) > 1.75
        assert np.mean(chosen[False][100:]) < 1.25

    def test_the_surface(self) -> None:
        policy, A = ChebCB((0.0, 1.0), grid=[1.2, 1.5], model=None, rng=0), Stencil(4.0, (1.0,), (5,))
        rng = np.random.default_rng(0)
        for c in rng.random(400):
            omega = policy.suggest(c, A)
            policy.observe(30 + 10 * c * c if omega == 1.2 else 32 + 5 * c)
        for c in (0.1, 0.5, 0.9):
            expected = np.array([30 + 10 * c * c, 32 + 5 * c])
            best = int(np.argmin(expected))
            found = policy.predicted(c, A)
            assert np.argmin(found) == best
            assert abs(found[best] - expected[best]) < 0.2


def optimal_beta(A: Stencil[Any]) -> float:
    omega = optimal_omega(A)
    return math.sqrt(1 - (2 / omega - 1) ** 2)


class TestBadInput:
    @pytest.mark.parametrize(
        ("make", "error", "says"),
        [
            (lambda: FixedOmega(2.0), ValueError, r"omega must lie in \(0, 2\), got 2.0"),
            (lambda: FixedOmega(math.nan), ValueError, "got nan"),
            (lambda: FixedOmega("young"), TypeError, "omega must be a number"),
            (
                lambda: TsallisINF([1.0, 0.0], rng=0),
                ValueError,
                r"factors on Young's s in \(0, inf\), got 0.0 at index 1",
            ),
            (
                lambda: TsallisINF([1.0, 2.0], relative=False, rng=0),
                ValueError,
                r"omega in \(0, 2\), got 2.0 at index 1",
            ),
            (lambda: TsallisINF([], rng=0), ValueError, "at least one number"),
            (lambda: TsallisINF("grid", rng=0), TypeError, "grid must be a sequence of numbers"),
            (lambda: TsallisINF(prior_rounds=-1, rng=0), ValueError, "prior_rounds must be at least 0, got -1"),
            (lambda: TsallisINF(relative=1, rng=0), TypeError, "relative must be True or False"),
            (lambda: TsallisINF(rng=-1), ValueError, r"rng must lie in \[0, 2\^64\), got -1"),
            (lambda: TsallisINF(rng=0.5), TypeError, "rng must be a whole number or a numpy.random.Generator"),
            (lambda: BinnedTsallisINF((1.0, 0.0), rng=0), ValueError, "low < high"),
            (lambda: BinnedTsallisINF((0.0, math.inf), rng=0), ValueError, "finite"),
            (lambda: BinnedTsallisINF((0.0, 1.0), bins=0, rng=0), ValueError, "bins must be at least 1, got 0"),
            (lambda: ChebCB(1.0, rng=0), TypeError, "interval must be a pair"),
            (lambda: ChebCB((0.0, 1.0), degree=-1, rng=0), ValueError, "degree"),
            (
                lambda: ChebCB((0.0, 1.0), model="sor", rng=0),
                ValueError,
                "model must be 'predicted' or None, got 'sor'",
            ),
            (lambda: ChebCB((0.0, 1.0), grid=[math.nan], rng=0), ValueError, "got nan at index 0"),
        ],
    )
    def test_settings(self, make: Any, error: type[Exception], says: str) -> None:
        with pytest.raises(error, match=says):
            make()

    @pytest.mark.parametrize("name", ["BinnedTsallisINF", "ChebCB"])
    @pytest.mark.parametrize(
        ("context", "says"),
        [(None, "needs a context"), (0.7, r"must lie in \[-0.15, 0.65\], got 0.7"), (math.nan, "got nan")],
    )
    def test_contexts(self, name: str, context: Any, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            MAKE[name](0).suggest(context, Stencil(4.0, (1.0,), (5,)))

    @pytest.mark.parametrize("name", MAKE)
    def test_costs_and_states(self, name: str) -> None:
        policy = MAKE[name](0)
        with pytest.raises(ValueError, match="call suggest first"):
            policy.observe(3)
        policy.suggest(0.3, Stencil(4.0, (1.0,), (5,)))
        for cost in (math.nan, math.inf, -1):
            with pytest.raises(ValueError, match="cost must be a finite number"):
                policy.observe(cost)
        policy.observe(3)
        with pytest.raises(ValueError, match="solver must be"):
            policy.bind("cg", 1e-8)
        with pytest.raises(ValueError, match="got that of dict"):
            policy.load_state_dict({"policy": "dict"})
        with pytest.raises(ValueError, match="got that of list"):
            policy.load_state_dict([])

    def test_states_of_others(self) -> None:
        state = TsallisINF(rng=0).state_dict()
        with pytest.raises(ValueError, match="another grid"):
            TsallisINF([1.0, 2.0], rng=0).load_state_dict(state)
        with pytest.raises(ValueError, match="lacks the entry 'rng'"):
            TsallisINF(rng=0).load_state_dict({k: v for k, v in state.items() if k != "rng"})
        with pytest.raises(ValueError, match="unknown bit generator"):
            TsallisINF(rng=0).load_state_dict({**state, "rng": {"bit_generator": "Generator"}})
        with pytest.raises(ValueError, match="another grid or degree"):
            ChebCB((0.0, 1.0), degree=3, rng=0).load_state_dict(ChebCB((0.0, 1.0), rng=0).state_dict())


def sample(rng: np.random.Generator, dtype: str) -> Any:
    """Fits of polynomials to some costs, for tests/test_kernel.py; one without any."""
    for n, size in ((30, 10.0), (30, 0.1), (2, 1.0), (0, 1.0)):
        X = rng.standard_normal((n, 6)).astype(dtype)
        y = rng.standard_normal(n).astype(dtype)
        bounds = (size / np.maximum(np.arange(6), 1)).astype(dtype)
        yield (X.T @ X, X.T @ y, bounds, np.zeros(6, dtype)), {}
