from __future__ import annotations

import warnings

import numpy as np
import pytest

import equipoise as eq
from equipoise.result import Outcome, Status, report, settle

from .backends import Case


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (0.5, 0, Status.CONVERGED),
        (1.0, 0, Status.CONVERGED),
        (0.5, Status.MAX_STEPS, Status.CONVERGED),
        (2.0, 0, Status.STALLED),
        (2.0, Status.MAX_STEPS, Status.MAX_STEPS),
        (np.nan, 0, Status.NOT_FINITE),
        (np.inf, Status.MAX_STEPS, Status.NOT_FINITE),
    ],
)
def test_the_recomputed_error_decides(on: Case, error: float, code: int, status: Status) -> None:
    settled = on.call(lambda e, c: settle(e, 1.0, c), np.array(error), np.array(code, dtype=np.int32))
    assert int(settled) == status


def outcome(on: Case, errors: object, codes: object) -> Outcome:
    return Outcome(
        on.array(np.array(errors)), on.array(np.array(codes) * 0 + 7), on.array(np.array(codes, dtype=np.int32)), None
    )


class TestOutcome:
    def test_status_is_a_sentence(self, on: Case) -> None:
        one = outcome(on, 0.5, int(Status.MAX_STEPS))
        assert one.status is Status.MAX_STEPS
        assert "raise max_steps" in str(one.status)
        assert one.converged is False

    def test_a_batch_has_its_worst_status(self, on: Case) -> None:
        batch = outcome(on, [0.5, np.nan], [int(Status.CONVERGED), int(Status.NOT_FINITE)])
        assert batch.status is Status.NOT_FINITE
        assert on.numpy(batch.converged).tolist() == [True, False]

    def test_every_status_has_a_sentence(self) -> None:
        for status in Status:
            assert str(status).endswith(".")
            assert len(str(status)) > 20


class TestReport:
    def test_silence_on_convergence(self, on: Case) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            report(outcome(on, 0.5, int(Status.CONVERGED)), "family.method", 1.0)

    def test_the_sentence(self, on: Case) -> None:
        with pytest.warns(
            eq.ConvergenceWarning, match=r"family.method did not reach tol=1: error 2 after 7 steps"
        ) as w:
            report(outcome(on, 2.0, int(Status.STALLED)), "family.method", 1.0, "Advice.")
        assert str(w[0].message).endswith("compute in float64. Advice.")
        assert w[0].filename == __file__

    def test_the_number_of_failures_in_a_batch(self, on: Case) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="for 1 of 2 problems"):
            report(outcome(on, [2.0, 0.1], [int(Status.STALLED), int(Status.CONVERGED)]), "m", 1.0)

    def test_the_warning_points_at_the_user(self) -> None:
        cost = np.random.default_rng(0).random((4, 4))
        for context in (eq.portable(), eq.backend("torch"), eq.portable()):
            with context, pytest.warns(eq.ConvergenceWarning) as w:
                eq.transport.sinkhorn(cost, epsilon=1e-3, max_steps=1)
            assert w[0].filename == __file__
