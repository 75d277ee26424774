from __future__ import annotations

import pathlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.quasimetric import Embedding, fit, iqe_pairwise, quality
from equipoise.quasimetric.landmarks import landmarks
from equipoise.quasimetric.starts import random_points
from equipoise.random import key
from equipoise.result import Status

from ..backends import Case
from .problems import shortest_paths


def after(*args: Any, steps: int = 60, **settings: Any) -> Any:
    """The result of so many steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        return fit(*args, tol=0.0, max_steps=steps, **settings)


D = shortest_paths(14, 1)
SMALL: dict[str, Any] = {"dim": 16, "components": 4}


class TestFit:
    def test_on_every_backend(self, on: Case) -> None:
        expected = after(D, steps=20, **SMALL)

        def run(D: Any) -> Any:
            found = after(D, steps=20, history=False, **SMALL)
            return found.points, found.loss, found.distances(), found.steps

        points, loss, d, steps = on.numpy(on.call(run, D))
        np.testing.assert_allclose(points, expected.points, atol=1e-8)
        np.testing.assert_allclose(loss, expected.loss, rtol=1e-8)
        np.testing.assert_allclose(d, expected.distances(), atol=1e-8)
        assert steps == 20

    @pytest.mark.parametrize("head", ["iqe", "pqe"])
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_the_loss_falls_below_the_symmetric_floor(self, head: str, dtype: str) -> None:
        found = after(D.astype(dtype), head=head, steps=400, dim=64, components=8)
        judged = found.quality(D.astype(dtype))
        assert found.points.dtype == dtype
        assert judged.discounted_error < 0.5 * judged.symmetric_floor
        np.testing.assert_allclose(judged.discounted_error, found.loss, rtol=1e-4)
        assert judged.triangle_slack > -1e-5
        assert judged.auc > 0.95
        assert (found.weights is None) == (head == "iqe")

    @pytest.mark.parametrize("reduction", ["sum", "max", "mean", "maxmean"])
    def test_reductions(self, reduction: str) -> None:
        start, end = after(D, reduction=reduction, steps=1, **SMALL), after(D, reduction=reduction, steps=150, **SMALL)
        assert end.loss < 0.6 * start.loss

    def test_triples_are_the_table(self) -> None:
        n = len(D)
        rows, columns = (x.ravel() for x in np.indices((n, n)))
        whole = after(D, **SMALL)
        for head in ("iqe", "pqe"):
            whole = after(D, head=head, **SMALL)
            for keep in (rows >= 0, rows != columns):
                found = after((rows[keep], columns[keep], D.ravel()[keep]), head=head, **SMALL)
                np.testing.assert_allclose(found.points, whole.points, atol=1e-6)
                np.testing.assert_allclose(found.loss, whole.loss, rtol=1e-6)

    def test_weights_hold_pairs_out(self) -> None:
        n = len(D)
        rng = np.random.default_rng(0)
        weights = (rng.random((n, n)) < 0.8) * (1.0 + rng.random((n, n)))
        other = np.where(weights > 0, D, 7.0 * (1 - np.eye(n)))
        one, two = after(D, weights=weights, **SMALL), after(other, weights=weights, **SMALL)
        assert np.array_equal(one.points, two.points)
        rows, columns = np.nonzero(weights)
        three = after((rows, columns, D[rows, columns]), weights=weights[rows, columns], **SMALL)
        np.testing.assert_allclose(three.points, one.points, atol=1e-6)
        n_seen = (weights * (1 - np.eye(n))).sum()
        g = 0.9
        expected = (weights * (1 - np.eye(n)) * (g ** one.distances() - g**D) ** 2).sum() / n_seen
        np.testing.assert_allclose(one.loss, expected, rtol=1e-12)

    def test_without_a_discount(self) -> None:
        found = after(D, discount=None, steps=300, **SMALL)
        finite = np.isfinite(D) & ~np.eye(len(D), dtype=bool)
        np.testing.assert_allclose(found.loss, ((found.distances() - D)[finite] ** 2).mean(), rtol=1e-12)
        assert found.loss < 0.2 * (D[finite] ** 2).mean()

    def test_landmarks_are_exact(self) -> None:
        whole = shortest_paths(10, 3, 0.5)
        assert np.isfinite(whole).all()
        found = fit(whole, dim=20, components=10, init="landmarks", reduction="max")
        assert found.converged
        assert np.array_equal(found.distances(), whole)
        assert sorted(landmarks(whole, 10)) == list(range(10))
        far = np.array([[0.0, 9.0, 1.0], [9.0, 0.0, 8.0], [1.0, 8.0, 0.0]])
        assert landmarks(far, 2) == [1, 0]

    def test_the_table_it_starts_from(self) -> None:
        """Normal numbers of deviation 0.5, the same on every backend, and for one seed."""
        first = random_points(np.zeros(1), 300, 6, key(5))
        assert abs(first.std() - 0.5) < 0.02
        assert abs(first.mean()) < 0.03
        other = random_points(torch.zeros(1, dtype=torch.float32), 300, 6, key(5))
        np.testing.assert_allclose(other, first, atol=1e-7)
        assert not np.array_equal(first, random_points(np.zeros(1), 300, 6, key(6)))

    def test_a_context_moves_the_table(self) -> None:
        with eq.backend("torch"):
            found = after(D, steps=5, **SMALL)
        np.testing.assert_allclose(found.points, after(D, steps=5, **SMALL).points, atol=1e-12)


class TestEnding:
    def test_it_says_how_it_ended(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match=r"quasimetric.fit did not reach tol=1e-06: error .* 150 steps"):
            found = fit(D, tol=1e-6, max_steps=150, **SMALL)
        assert found.status is Status.MAX_STEPS
        assert found.steps == 150
        loose = fit(D, tol=0.9, **SMALL)
        assert loose.converged
        assert loose.steps % 100 == 1
        assert 0 < loose.error <= 0.9

    def test_history_and_callback(self) -> None:
        seen: list[int] = []

        def stop(info: Any) -> bool:
            seen.append(info.step)
            assert info.method == "quasimetric.fit"
            return info.step == 7

        with pytest.warns(eq.ConvergenceWarning, match="callback"):
            found = fit(D, callback=stop, **SMALL)
        assert seen == list(range(8))
        assert found.status is Status.STOPPED
        history = found.history
        assert history is not None
        assert np.array_equal(history.step, np.arange(8))
        np.testing.assert_allclose(
            history.loss[0], after(D, steps=1, history=True, **SMALL).history.loss[0], rtol=1e-14
        )
        assert history.loss.min() == found.loss
        assert np.all(np.diff(history.loss) < 0)

    def test_a_fit_that_blows_up(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="overflowed or became NaN"), np.errstate(all="ignore"):
            found = fit(D, discount=None, learning_rate=1e200, max_steps=50, **SMALL)
        assert found.status is Status.NOT_FINITE

    def test_a_rate_that_is_large_is_lowered(self) -> None:
        assert fit(D, learning_rate=1.0, **SMALL).loss < 3 * fit(D, **SMALL).loss

    @pytest.mark.parametrize("rate", [1e5, 1e300])
    @pytest.mark.parametrize("settings", [{}, {"discount": None}, {"head": "pqe"}], ids=str)
    def test_a_rate_that_is_too_large_is_told(self, rate: float, settings: dict[str, Any]) -> None:
        ring = (np.arange(6)[None, :] - np.arange(6)[:, None]) % 6 * 1.0
        with pytest.warns(eq.ConvergenceWarning, match="lower learning_rate"), np.errstate(all="ignore"):
            found = fit(ring, dim=16, components=2, learning_rate=rate, **settings)
        assert found.status in (Status.DIVERGED, Status.NOT_FINITE)
        assert np.isfinite(found.loss)
        assert np.isfinite(found.points).all()

    def test_a_start_that_is_exact_has_converged(self) -> None:
        for scale in (1.0, 0.1):  # to the bit, and to rounding
            found = fit(scale * shortest_paths(10, 3, 0.5), dim=10, components=10, init="landmarks", reduction="max")
            assert found.converged
            assert found.loss < 1e-28

    def test_a_default_call_converges(self) -> None:
        for settings in ({"dim": 32, "components": 4}, {"dim": 32, "components": 4, "head": "pqe"}):
            found: Any = fit(D, **settings)
            assert found.converged
            assert found.quality(D).discounted_error < 0.3 * found.quality(D).symmetric_floor

    def test_large_weights_do_not_overflow(self) -> None:
        one, two = (after(D, weights=np.full(D.shape, w), **SMALL) for w in (1.0, 1e308))
        assert np.array_equal(one.points, two.points)

    def test_jit(self) -> None:
        found = jax.jit(lambda D: after(D, steps=20, history=True, **SMALL))(jnp.asarray(D))
        expected = after(D, steps=20, history=True, **SMALL)
        np.testing.assert_allclose(found.points, expected.points, atol=1e-8)
        np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=1e-8)


class TestEmbedding:
    def test_it_predicts(self, tmp_path: pathlib.Path) -> None:
        for head in ("iqe", "pqe"):
            found = after(D, head=head, **SMALL)
            d = found.distances()
            assert np.all(np.diag(d) == 0)
            np.testing.assert_allclose(found.distance(2, 5), d[2, 5], atol=1e-14)
            i, j = np.array([0, 3, 5]), np.array([1, 3, 2])
            np.testing.assert_allclose(found.distance(i, j), d[i, j], atol=1e-14)
            nearest, how_far = found.nearest(4, 13)
            order = [k for k in np.argsort(d[4], kind="stable") if k != 4]
            assert nearest.tolist() == order
            np.testing.assert_allclose(how_far, d[4][order], atol=1e-14)
            eq.save(tmp_path / "it.npz", found)
            again = eq.load(tmp_path / "it.npz")
            assert isinstance(again, Embedding)
            assert np.array_equal(again.distances(), d)
            assert again.status is found.status
            there = eq.load(tmp_path / "it.npz", like=torch.zeros(1)).nearest(4, 2)[0]
            assert there.tolist() == order[:2]

    def test_bad_questions(self) -> None:
        found = after(D, steps=2, **SMALL)
        for question, message in (
            (lambda: found.distance(0, 14), r"j must lie in \[0, 14\), got 14"),
            (lambda: found.distance(0.5, 1), "i must be a whole number"),
            (lambda: found.nearest(0, 14), "count must be at most 13"),
            (lambda: found.nearest(0, 0), "count must be at least 1"),
            (lambda: found.quality(np.zeros((3, 3))), "between the 14 points, got those of 3"),
        ):
            with pytest.raises((TypeError, ValueError), match=message):
                question()


class TestQuality:
    def test_by_hand(self, on: Case) -> None:
        inf = np.inf
        given = np.array([[0.0, 1.0, inf], [2.0, 0.0, 4.0], [inf, 1.0, 0.0]])
        d = np.array([[0.0, 2.0, 5.0], [1.0, 0.0, 4.0], [1.5, 1.0, 0.0]])
        found = on.numpy(on.call(lambda d, D: quality(d, D), d, given))
        assert abs(found.mean_error - 2 / 4) < 1e-15
        assert abs(found.distortion - 2 / 0.5) < 1e-15
        assert abs(found.unreachable - 3.25) < 1e-15
        assert abs(found.auc - (4 + 2) / 8) < 1e-15  # 5 beats all of (2, 1, 4, 1); 1.5 beats two
        assert abs(found.triangle_slack - (1.5 + 2 - 1)) < 3  # looked at below
        slack = min(d[x, y] + d[y, z] - d[x, z] for x in range(3) for y in range(3) for z in range(3))
        assert abs(found.triangle_slack - slack) < 1e-15
        aim, pairs = 0.9**given, ~np.eye(3, dtype=bool)
        assert abs(found.discounted_error - ((0.9**d - aim) ** 2)[pairs].mean()) < 1e-15
        assert abs(found.symmetric_floor - ((aim - aim.T) ** 2 / 4)[pairs].mean()) < 1e-15

    def test_nothing_unreachable_and_no_discount(self) -> None:
        whole = shortest_paths(8, 3, 0.6)
        found = quality(whole + 0.5 * (whole > 0), whole, discount=None)
        assert np.isnan(found.auc)
        assert np.isnan(found.unreachable)
        assert abs(found.mean_error - 0.5) < 1e-15
        assert abs(found.discounted_error - 0.25) < 1e-15
        pairs = ~np.eye(8, dtype=bool)
        assert abs(found.symmetric_floor - (((whole - whole.T) / 2) ** 2)[pairs].mean()) < 1e-13

    def test_no_symmetric_distances_beat_the_floor(self) -> None:
        g = 0.9**D
        best = -np.log((g + g.T) / 2 + np.eye(len(D)) * 0) / -np.log(0.9)
        found = quality(np.where(np.isfinite(best), best, 1e6) * (1 - np.eye(len(D))), D)
        np.testing.assert_allclose(found.discounted_error, found.symmetric_floor, rtol=1e-10)

    def test_an_exact_embedding(self) -> None:
        whole = shortest_paths(10, 3, 0.5)
        found = quality(iqe_pairwise(-whole, components=10, reduction="max"), whole)
        assert (found.mean_error, found.distortion, found.discounted_error) == (0, 1, 0)


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"distances": D[:3]}, r"distances must be square, .* got shape \(3, 14\)"),
            ({"distances": -D}, "distances must be at least 0"),
            ({"distances": np.where(np.eye(14) > 0, 1.0, D)}, r"zero on the diagonal, got 1.0 at index \(0, 0\)"),
            ({"distances": np.where(D[0, 1] == D, np.nan, D)}, r"distances must be at least 0 .* got nan at index"),
            ({"distances": np.ones((4, 4), int)}, "distances holds int64"),
            ({"distances": (np.arange(3), np.arange(3))}, "got 2 parts"),
            ({"distances": (np.arange(3), np.arange(1, 4), np.ones(2))}, r"one shape \(K,\)"),
            (
                {"distances": (np.arange(3), np.arange(3), np.ones(3))},
                "zero from a point to itself, got 1.0 at index 0",
            ),
            (
                {"distances": (np.array([0, -1]), np.arange(2), np.ones(2))},
                "rows must not be negative, got -1 at index 1",
            ),
            ({"distances": (np.ones(2), np.arange(2), np.ones(2))}, "rows must hold int32 or int64"),
            ({"components": 5}, "multiple of components, got 16 with components=5"),
            ({"dim": 0}, "dim must be at least 1"),
            ({"head": "mrn"}, "head must be one of 'iqe', 'pqe', got 'mrn'"),
            ({"reduction": "none"}, "reduction must be one of"),
            ({"init": "zeros"}, "init must be one of"),
            ({"init": "landmarks", "head": "pqe"}, "needs a whole table of distances and head='iqe'"),
            ({"discount": 1.0}, r"discount must lie in \(0, 1\), or be None, got 1.0"),
            ({"weights": np.ones((3, 3))}, r"weights must have the shape of the distances, \(14, 14\)"),
            ({"weights": -np.ones((14, 14))}, "weights must be at least 0 and finite"),
            ({"learning_rate": 0.0}, "learning_rate must be positive"),
            ({"head": "pqe", "reduction": "max"}, "reduction='max' is for head='iqe'"),
            ({"weights": np.zeros(D.shape)}, "there is nothing to fit: no pair of two points has a positive weight"),
            ({"weights": np.eye(len(D))}, "there is nothing to fit"),
            ({"weights": 1.0 * np.isinf(D), "discount": None}, "no pair of two points of finite distance"),
            ({"tol": -1.0}, "tol must be at least 0"),
            ({"max_steps": 0}, "max_steps must be at least 1"),
            ({"rng": None}, "rng must be an int"),
        ],
    )
    def test_it_is_said(self, change: dict[str, Any], message: str) -> None:
        given: dict[str, Any] = {"distances": D, **SMALL, **change}
        with pytest.raises((TypeError, ValueError), match=message):
            fit(given.pop("distances"), **given)
