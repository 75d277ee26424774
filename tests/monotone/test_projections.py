from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise as eq
from equipoise.monotone import (
    Box,
    Identity,
    L1Ball,
    L2Ball,
    Nonnegative,
    Product,
    Simplex,
    SoftThreshold,
    halpern,
)
from equipoise.monotone.projections import project_l1, project_simplex

from ..backends import Case
from .problems import EAGER, HERE

SETS: dict[str, Any] = {
    "nonnegative": Nonnegative(),
    "box": Box(-0.5, 0.7),
    "half-open box": Box(lower=np.array([-1.0, 0.0, -np.inf, 0.5, 2.0, -3.0])),
    "simplex": Simplex(),
    "simplex 3": Simplex(3.0),
    "l1": L1Ball(1.5),
    "l2": L2Ball(0.8),
    "product": Product((Simplex(), 2), (L1Ball(0.3), 3), (Nonnegative(), 1)),
}
vectors = st.lists(st.floats(-50, 50), min_size=6, max_size=6).map(np.array)


def points(name: str, rng: np.random.Generator) -> np.ndarray:
    """Points of a set, some of them corners."""
    chosen = rng.normal(size=(40, 6)) * rng.choice([0.01, 1.0, 100.0], size=(40, 1))
    return np.asarray(SETS[name](chosen, 1.0))


class TestProperties:
    @given(v=vectors, w=vectors, name=st.sampled_from(list(SETS)))
    def test_projections(self, v: np.ndarray, w: np.ndarray, name: str) -> None:
        """Idempotent, nonexpansive, and at an obtuse angle to the whole set: the variational inequality."""
        J = SETS[name]
        p, q = J(v, 1.0), J(w, 1.0)
        scale = 1.0 + np.abs(v).max() + np.abs(w).max()
        np.testing.assert_allclose(J(p, 1.0), p, atol=1e-14 * scale)
        assert np.linalg.norm(p - q) <= np.linalg.norm(v - w) + 1e-13 * scale
        others = points(name, np.random.default_rng(0))
        assert np.all((others - p) @ (v - p) <= 1e-12 * scale * np.maximum(1.0, np.abs(others).max(axis=1)))

    @given(v=vectors, w=vectors, weight=st.floats(0, 3), step=st.floats(0.01, 3))
    def test_the_soft_threshold_is_a_resolvent(self, v: np.ndarray, w: np.ndarray, weight: float, step: float) -> None:
        J = SoftThreshold(weight)
        p, q = J(v, step), J(w, step)
        assert (p - q) @ (p - q) <= (p - q) @ (v - w) + 1e-10  # firmly nonexpansive
        g = (v - p) / step  # a subgradient of weight |p|_1
        assert np.all(np.abs(g) <= weight + 1e-9 * (1 + np.abs(v) / step))
        np.testing.assert_allclose(g @ p, weight * np.abs(p).sum(), atol=1e-8 * (1 + 1 / step))

    @given(v=vectors)
    def test_a_product_equals_its_parts(self, v: np.ndarray) -> None:
        made = SETS["product"](v, 0.1)
        parts = [Simplex()(v[:2]), L1Ball(0.3)(v[2:5]), Nonnegative()(v[5:])]
        np.testing.assert_array_equal(made, np.concatenate(parts))

    @given(
        v=st.lists(st.sampled_from([0.0, 1.0, -1.0, 1e12, -1e12, 1e12 + 0.25, 0.3]), min_size=1, max_size=9).map(
            np.array
        ),
        radius=st.floats(0.01, 100),
    )
    def test_the_simplex_at_huge_entries_and_ties(self, v: np.ndarray, radius: float) -> None:
        p = project_simplex(v, radius)
        assert np.all(p >= 0)
        np.testing.assert_allclose(p.sum(), radius, rtol=1e-14)
        support = p > 0  # where it is positive all entries are moved alike, elsewhere by no more
        shift = (v - p)[support]
        assert np.ptp(shift) <= 1e-3 + 1e-15 * np.abs(v).max()


class TestKnownAnswers:
    def test_by_hand(self, on_eager: Case) -> None:
        v = np.array([[1.0, 0.5, -3.0], [0.2, 0.3, 0.5], [5.0, 5.0, 5.0]])
        p = on_eager.numpy(on_eager.call(lambda v: project_simplex(v, 1.0), v))
        np.testing.assert_allclose(p, [[0.75, 0.25, 0.0], [0.2, 0.3, 0.5], [1 / 3] * 3], atol=1e-16)
        p = on_eager.numpy(on_eager.call(lambda v: project_l1(v, 1.0), np.array([[1.0, -0.5], [0.25, -0.5], [-3, 0]])))
        np.testing.assert_allclose(p, [[0.75, -0.25], [0.25, -0.5], [-1.0, 0.0]], atol=1e-16)

    def test_what_is_inside_stays(self) -> None:
        """One of the authors' scripts returned nothing there."""
        for J, v in (
            (Simplex(), np.array([0.25, 0.75])),
            (L1Ball(1.0), np.array([0.5, -0.5])),
            (L2Ball(1.0), np.ones(1)),
        ):
            np.testing.assert_array_equal(J(v, 1.0), v)

    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_what_is_no_number_stays_none(self, case: Case) -> None:
        for project in (project_simplex, project_l1):
            made = case.call(lambda v, f=project: f(v, 1.0), np.array([[0.3, np.nan, 2.0], [3.0, 0.0, 0.0]]))
            np.testing.assert_array_equal(made, [[np.nan] * 3, [1, 0, 0]])
        np.testing.assert_array_equal(case.call(lambda v: project_simplex(v, 1.0), np.array([3.0, -np.inf])), [1, 0])

    def test_many_rounds(self) -> None:
        """Entries in a geometric series towards the threshold drop out one after the other."""
        v = -0.5 - np.cumprod(np.full(40, 1 / 3.0))
        v = np.concatenate([[0.0, 0.0], v])
        p = project_simplex(v, 1.0)
        with eq.portable():
            np.testing.assert_allclose(p, project_simplex(v, 1.0), atol=1e-15)
        np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-15)

    @pytest.mark.parametrize("case", EAGER, ids=lambda case: case.name)
    def test_every_resolvent_on_every_library(self, case: Case) -> None:
        v = np.random.default_rng(0).normal(size=(2, 6))
        for name, J in SETS.items():
            if name != "half-open box" and not case.missing:
                np.testing.assert_allclose(case.numpy(case.call(lambda v, J=J: J(v, 1.0), v)), J(v, 1.0), atol=1e-15)
        if not case.missing:
            low = SETS["half-open box"].lower
            made = case.call(lambda v, low: Box(low)(v), v, low)
            np.testing.assert_array_equal(case.numpy(made), SETS["half-open box"](v))
            steps = np.array([[0.5], [1.0]])
            soft = case.call(lambda v, t: Product((SoftThreshold(0.3), 4), (Identity(), 2))(v, t), v, steps)
            np.testing.assert_array_equal(case.numpy(soft)[:, 4:], v[:, 4:])
            np.testing.assert_allclose(
                case.numpy(soft)[:, :4], np.sign(v[:, :4]) * np.maximum(np.abs(v[:, :4]) - 0.3 * steps, 0), atol=1e-16
            )


class TestPrecision:
    @pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
    def test_numbers_of_numpy_do_not_widen(self, case: Case) -> None:
        half = np.float64(0.5)
        for J in (Box(-half, half), Simplex(half), L1Ball(half), L2Ball(half), SoftThreshold(half)):
            assert case.call(J, np.ones(3, np.float32)).dtype == np.float32

    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_the_ball_at_every_scale(self, on_eager: Case, dtype: str) -> None:
        for scale in (1e-160, 1e-30, 1.0, 1e30, 1e160):
            if dtype == "float32" and not 1e-35 < scale < 1e35:
                continue
            v, J = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], dtype) * np.asarray(scale, dtype), L2Ball(scale)
            out = on_eager.numpy(on_eager.call(lambda v, J=J: J(v, 1.0), v)) / np.asarray(scale, dtype)
            np.testing.assert_allclose(out, [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], rtol=4e-7)


class TestDerivatives:
    def test_of_the_simplex_and_the_l1_ball(self) -> None:
        for J in (project_simplex, project_l1):
            v = torch.tensor(np.random.default_rng(1).normal(size=(2, 5)) * 2, requires_grad=True)
            radius = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
            assert torch.autograd.gradcheck(lambda v, r, J=J: J(v, r), (v, radius))


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (ValueError, "lower must not exceed upper, got 1.0 and 0.5", lambda: Box(1.0, 0.5)),
        (
            ValueError,
            r"lower must not exceed upper, got 2.0 and 1.0 at index \(1,\)",
            lambda: Box(np.array([0.0, 2.0]), np.ones(2)),
        ),
        (ValueError, "lower must not exceed upper, got nan and inf", lambda: Box(float("nan"))),
        (ValueError, "radius must be a positive number, got 0.0", lambda: Simplex(0.0)),
        (TypeError, "radius must be a number or a 0-d array, got str", lambda: L2Ball("1")),
        (ValueError, r"weight must not be negative, got -1.0 at index \(0,\)", lambda: SoftThreshold(-np.ones(2))),
        (TypeError, r"Product takes pairs \(resolvent, size\)", lambda: Product(Simplex(), 2)),
        (ValueError, "sizes of a Product must be whole numbers of at least 1, got 0", lambda: Product((Simplex(), 0))),
        (ValueError, "needs at least one pair", lambda: Product()),
        (
            ValueError,
            "the sizes of the Product sum to 3, but u0 has 2 entries",
            lambda: halpern(lambda u: u, np.ones(2), resolvent=Product((Simplex(), 3)), lipschitz=1.0),
        ),
        (
            ValueError,
            r"lower of the resolvent has shape \(3,\), u0 \(2,\)",
            lambda: halpern(lambda u: u, np.ones(2), resolvent=Box(np.zeros(3)), lipschitz=1.0),
        ),
        (
            TypeError,
            "upper of the resolvent must have the dtype of u0, float64, got float32",
            lambda: halpern(lambda u: u, np.ones(2), resolvent=Box(0.0, np.ones(2, np.float32)), lipschitz=1.0),
        ),
        (
            ValueError,
            "the sizes of the Product sum to 1, but its part has 2 entries",
            lambda: halpern(lambda u: u, np.ones(2), resolvent=Product((Product((Simplex(), 1)), 2)), lipschitz=1.0),
        ),
        (
            ValueError,
            r"weight of the resolvent has shape \(3,\), its part \(2,\)",
            lambda: halpern(lambda u: u, np.ones(2), resolvent=Product((SoftThreshold(np.ones(3)), 2)), lipschitz=1.0),
        ),
        (
            ValueError,
            r"the sizes of the Product sum to 2, but v has shape \(3,\)",
            lambda: Product((Simplex(), 2))(np.ones(3)),
        ),
        (
            TypeError,
            "resolvent must be callable as .*, got str",
            lambda: halpern(lambda u: u, np.ones(2), resolvent="box", lipschitz=1.0),
        ),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()


@pytest.fixture(params=EAGER, ids=lambda case: case.name)
def on_eager(request: pytest.FixtureRequest) -> Case:
    case: Case = request.param
    if case.missing:
        pytest.skip(case.missing)
    return case


def sample_simplex(rng: np.random.Generator, dtype: str) -> Any:
    for shape in ((1,), (7,), (2, 3, 5), (40,)):
        v = (3 * rng.standard_normal(shape)).astype(dtype)
        yield (v, 1.0), {}
        yield (v, 4.0), {}
    yield (np.array([1e6, 1e6, 0, -1e6, 1e6 - 0.5], dtype), 1.0), {}


def sample_l1(rng: np.random.Generator, dtype: str) -> Any:
    for shape in ((1,), (7,), (2, 3, 5)):
        v = rng.standard_normal(shape).astype(dtype)
        yield (v, 0.5), {}
        yield (v, 5.0), {}


def test_samples_run() -> None:
    rng = np.random.default_rng(0)
    for sample, kernel in ((sample_simplex, project_simplex), (sample_l1, project_l1)):
        for args, settings in sample(rng, "float32"):
            assert kernel(*args, **settings).dtype == np.float32
    with eq.backend("torch"):
        assert isinstance(Simplex()(np.ones(3)), np.ndarray)
    assert HERE
