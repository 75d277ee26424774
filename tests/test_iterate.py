from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.arrays import namespace
from equipoise.iterate import Info, iterate, repeat, stepwise
from equipoise.record import record
from equipoise.result import Status

from .backends import Case


@record
class State:
    x: Any


def step(state: State, rate: Any) -> State:
    return State(state.x * rate)


def error(state: State, rate: Any) -> Any:
    return namespace(state.x).sum(state.x, axis=-1)


def code_below_a_half(state: State, rate: Any) -> Any:
    xp = namespace(state.x)
    return xp.astype(error(state, rate) < 0.5, xp.int32) * int(Status.NOT_POSITIVE_DEFINITE)


halving = stepwise(step, error)


def run(x: Any, rate: Any, **options: Any) -> Any:
    return iterate(halving, State(x), rate, **{"tol": 1e-3, "max_steps": 100, **options})


class TestStopping:
    @pytest.mark.parametrize(("check_every", "steps"), [(None, 10), (1, 10), (4, 12), (1000, 100)])
    def test_at_the_tolerance_looked_at_every_so_often(self, on: Case, check_every: int | None, steps: int) -> None:
        out = on.numpy(on.call(lambda x, r: run(x, r, check_every=check_every), np.ones(1), np.array(0.5)))
        assert int(out.steps) == steps
        assert int(out.code) == 0
        assert float(out.error) == 0.5**steps

    def test_at_once_if_it_is_met(self, on: Case) -> None:
        out = on.numpy(on.call(lambda x, r: run(x, r, tol=2.0), np.ones(1), np.array(0.5)))
        assert int(out.steps) == 0
        assert out.state.x.tolist() == [1]

    def test_max_steps(self, on: Case) -> None:
        out = on.numpy(on.call(lambda x, r: run(x, r, max_steps=5, check_every=3), np.ones(1), np.array(0.5)))
        assert (int(out.steps), int(out.code)) == (5, Status.MAX_STEPS)

    def test_zero_tolerance_runs_all_steps_whatever_the_patience(self, on: Case) -> None:
        out = on.numpy(on.call(lambda x, r: run(x, r, tol=0.0, patience=3), np.ones(1), np.array(1.0)))
        assert (int(out.steps), int(out.code)) == (100, Status.MAX_STEPS)

    def test_patience(self, on: Case) -> None:
        out = on.numpy(on.call(lambda x, r: run(x, r, patience=7), np.ones(1), np.array(1.0)))
        assert (int(out.steps), int(out.code)) == (7, Status.STALLED)

    def test_halt(self, on: Case) -> None:
        out = on.numpy(on.call(lambda x, r: run(x, r, halt=code_below_a_half), np.ones(1), np.array(0.5)))
        assert (int(out.steps), int(out.code)) == (2, Status.NOT_POSITIVE_DEFINITE)

    def test_nan_stops_and_is_not_called_convergence(self, on: Case) -> None:
        out = on.numpy(on.call(run, np.ones(1), np.array(np.nan)))
        assert (int(out.steps), int(out.code)) == (1, 0)
        assert np.isnan(out.error)


class TestBatch:
    rates = np.array([[0.5], [0.1], [np.nan], [1.0]])

    def test_members_stop_on_their_own_and_are_frozen(self, on: Case) -> None:
        out = on.numpy(on.call(run, np.ones((4, 1)), self.rates))
        assert out.steps.tolist() == [10, 4, 1, 100] or out.steps.tolist() == [10, 3, 1, 100]
        assert out.code.tolist() == [0, 0, 0, Status.MAX_STEPS]
        for k in range(4):
            alone = on.numpy(on.call(run, np.ones(1), self.rates[k]))
            assert int(alone.steps) == out.steps[k]
            np.testing.assert_array_equal(alone.state.x, out.state.x[k])

    def test_vmap_counts_alike(self) -> None:
        rates = jax.numpy.array(self.rates)
        out = jax.vmap(run)(jax.numpy.ones((4, 1)), rates)
        assert out.steps.tolist() == run(jax.numpy.ones((4, 1)), rates).steps.tolist()


class TestListening:
    def test_callback(self) -> None:
        seen: list[Info] = []
        out = run(np.ones(1), 0.5, callback=lambda info: seen.append(info) or info.step == 3, method="family.name")
        assert [i.step for i in seen] == [0, 1, 2, 3]
        assert [i.error for i in seen] == [1, 0.5, 0.25, 0.125]
        assert seen[0].method == "family.name"
        assert (int(out.steps), int(out.code)) == (3, Status.STOPPED)

    @pytest.mark.parametrize("array", [torch.ones, jax.numpy.ones])
    def test_callback_elsewhere(self, array: Any) -> None:
        seen: list[int] = []
        run(array(1), 0.5, callback=lambda info: seen.append(info.step), check_every=4)
        assert seen == [0, 4, 8, 12]

    def test_callback_under_jit_says_why_not(self) -> None:
        with pytest.raises(TypeError, match="a callback needs values"):
            jax.jit(lambda x: run(x, 0.5, callback=print))(jax.numpy.ones(1))

    def test_interruption_returns_the_last_state(self) -> None:
        def advance(state: State, data: Any, limit: Any, tol: Any) -> Any:
            if float(state.x[0]) < 0.2:
                raise KeyboardInterrupt
            return halving(state, data, limit, tol)

        out = iterate(advance, State(np.ones(1)), 0.5, tol=1e-3, max_steps=10, check_every=1)
        assert (int(out.steps), int(out.code)) == (3, Status.INTERRUPTED)
        assert out.state.x[0] == 0.125


class TestHistory:
    def test_a_row_a_check(self, on: Case) -> None:
        out = on.numpy(on.call(lambda x, r: run(x, r, history=True, check_every=4), np.ones(1), np.array(0.5)))
        kept = ~np.isnan(out.history.error)
        assert out.history.step[kept].tolist() == [0, 4, 8, 12]
        assert out.history.error[kept].tolist() == [1, 0.5**4, 0.5**8, 0.5**12]

    def test_none_under_jit_unless_asked_for(self) -> None:
        assert jax.jit(run)(jax.numpy.ones(1), 0.5).history is None
        assert run(np.ones(1), 0.5, history=False).history is None


def test_nothing_is_compiled_twice() -> None:
    x = jax.numpy.ones(3)
    with eq.portable():
        run(x, 0.5, tol=1e-3)
        with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
            counted: list[int] = []
            patch.setattr(jax._src.interpreters.pxla, "_cached_lowering_to_hlo", lambda *a, **k: counted.append(1))
            run(x, 0.25, tol=1e-4, max_steps=50)
        assert counted == []


def test_repeat_under_jit_takes_a_traced_count() -> None:
    out = jax.jit(lambda x, n: repeat(step, State(x), 0.5, n).x)(jax.numpy.ones(1), 3)
    assert out[0] == 0.125
    assert repeat(step, State(np.ones(1)), 0.5, 3).x[0] == 0.125
