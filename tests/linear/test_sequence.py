from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
import scipy.sparse
import torch

import equipoise as eq
from equipoise.arrays import library
from equipoise.linear.cg import cg
from equipoise.linear.chebcb import ChebCB
from equipoise.linear.outcomes import SequenceInfo, SequenceResult
from equipoise.linear.policy import FixedOmega, YoungOmega
from equipoise.linear.preconditioners import SSOR
from equipoise.linear.sequence import System, solve_sequence
from equipoise.linear.sor import sor
from equipoise.linear.tsallis import TsallisINF
from equipoise.operators import Stencil

from ..backends import Case, everywhere

RNG = np.random.default_rng(0)
SHIFTS = [0.1, 2.0, 0.5, 0.2]
RIGHT = RNG.standard_normal((4, 6, 5))


def systems(dtype: str = "float64") -> list[System[Any]]:
    return [System(Stencil.laplacian((6, 5), shift=c), b.astype(dtype), c) for c, b in zip(SHIFTS, RIGHT, strict=True)]


def tridiagonal(n: int = 20, shift: float = 0.1) -> Any:
    return scipy.sparse.csr_array((2 + shift) * scipy.sparse.eye_array(n)) - scipy.sparse.csr_array(
        scipy.sparse.eye_array(n, k=1) + scipy.sparse.eye_array(n, k=-1)
    )


class Recorder:
    """A policy that notes what it is told."""

    def __init__(self, omega: float = 1.2) -> None:
        self.omega = omega
        self.heard: list[Any] = []

    def bind(self, solver: str, tol: float) -> None:
        self.heard.append((solver, float(tol)))

    def suggest(self, context: float | None, operator: Any) -> float:
        self.heard.append((context, operator.shape))
        return self.omega

    def observe(self, cost: float) -> None:
        self.heard.append(cost)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class TestALoop:
    @pytest.mark.parametrize("warm", [True, False])
    def test_of_sor(self, on: Case, warm: bool) -> None:
        if on.jit:
            return
        run = on.call(lambda x: solve_sequence(x, policy=FixedOmega(1.3), warm_start=warm, keep="all"), systems())
        x, total = None, 0
        for k, system in enumerate(systems()):
            one = on.call(lambda b, x0, A=system.A: sor(A, b, omega=1.3, x0=x0), system.b, x if warm else None)
            x = on.numpy(one.x)
            assert run.steps[k] == int(one.steps)
            np.testing.assert_allclose(on.numpy(run.x[k]), x, rtol=0, atol=1e-14)
            total += int(one.steps)
        assert run.total_steps == total
        assert run.status is eq.Status.CONVERGED
        assert run.converged.tolist() == [True] * 4
        assert run.omega.tolist() == [1.3] * 4
        assert run.context.tolist() == SHIFTS
        assert np.all(run.error <= 1e-8)

    @everywhere
    def test_of_cg(self, on: Case) -> None:
        if on.jit:
            return
        run = on.call(lambda x: solve_sequence(x, solver="ssor_cg"), systems())
        x = None
        for k, system in enumerate(systems()):
            one = on.call(lambda b, x0, A=system.A: cg(A, b, preconditioner=SSOR(), x0=x0), system.b, x)
            x = on.numpy(one.x)
            assert run.steps[k] == int(one.steps)
        np.testing.assert_allclose(on.numpy(run.x), x, rtol=0, atol=1e-12)

    def test_time_stepping(self, on: Case) -> None:
        """Implicit Euler: the mass of heat decays as the eigenvalue says."""
        if on.jit:
            return
        A = Stencil.laplacian((9,), scale=0.3, shift=1.0)
        mode = np.sin(np.pi * np.arange(1, 10) / 10)
        steps = [System(A, lambda u: u)] * 5
        run = on.call(lambda x0: solve_sequence(steps, x0=x0, tol=1e-12), mode)
        decay = 1 / (1 + 0.3 * (2 - 2 * np.cos(np.pi / 10)))
        np.testing.assert_allclose(on.numpy(run.x), decay**5 * mode, rtol=0, atol=1e-10)

    def test_matrices_of_others_and_shapes_that_change(self) -> None:
        items = [(tridiagonal(20), np.ones(20)), (tridiagonal(30), np.ones(30), 0.3), (tridiagonal(30), np.ones(30))]
        run = solve_sequence(items, solver="ssor_cg")
        assert run.steps[2] == 0  # the start is the solution
        assert np.isnan(run.context).tolist() == [True, False, True]
        assert abs(tridiagonal(30) @ run.x - 1).max() < 1e-7

    def test_a_batch(self) -> None:
        A = Stencil.laplacian((6, 5), shift=0.3)
        run = solve_sequence([(A, RIGHT[:3]), (A, RIGHT[1:])])
        one = sor(A, RIGHT[:3], omega="young")
        assert run.steps[0] == one.steps.max()
        assert run.error[0] == one.error.max()

    def test_orders(self) -> None:
        for order in ("red_black", "multicolor"):
            run = solve_sequence(systems(), order=order, policy=FixedOmega(1.3), warm_start=False)
            assert run.steps[0] == sor(systems()[0].A, RIGHT[0], omega=1.3, order=order).steps
        with pytest.warns(UserWarning, match="takes the effect of omega away") as seen:
            solve_sequence(systems(), order="red_black", solver="ssor_cg")
        assert len(seen) == 1
        assert seen[0].filename == __file__

    def test_float32(self) -> None:
        run = solve_sequence(systems("float32"), policy=Recorder())
        assert run.x.dtype == np.float32
        assert dict(run.settings)["tol"] == 1e-5

    def test_read_only_inputs_are_not_written(self) -> None:
        listed = systems()
        for s in listed:
            s.b.flags.writeable = False
        x0 = np.zeros((6, 5))
        x0.flags.writeable = False
        copies = [x.copy() for x in (*(s.b for s in listed), x0)]
        solve_sequence(listed, x0=x0)
        for x, copy in zip((*(s.b for s in listed), x0), copies, strict=True):
            np.testing.assert_array_equal(x, copy)


class TestLazily:
    def test_systems_are_pulled_when_they_are_due(self) -> None:
        seen: list[str] = []

        class Loud(Recorder):
            def observe(self, cost: float) -> None:
                seen.append("observed")

        def generate() -> Iterator[System[Any]]:
            for system in systems():
                seen.append("pulled")
                yield system

        solve_sequence(generate(), policy=Loud())
        assert seen == ["pulled", "observed"] * 4

    def test_what_a_policy_is_told(self) -> None:
        policy = Recorder()
        run = solve_sequence(systems(), policy=policy, tol=1e-6, solver="ssor_cg")
        assert policy.heard[0] == ("ssor_cg", 1e-6)
        assert policy.heard[1::2] == [(c, (30, 30)) for c in SHIFTS]
        assert policy.heard[2::2] == run.steps.tolist()

    def test_a_policy_goes_on_learning(self) -> None:
        policy = ChebCB((0.0, 2.0), rng=0)
        for k in range(2):
            solve_sequence(systems(), policy=policy)
            assert policy.state_dict()["rounds"] == 4 * (k + 1)


class TestEnds:
    def test_failures(self) -> None:
        policy = Recorder()
        with pytest.warns(eq.ConvergenceWarning, match="in 2 of 4 systems; the first was system 0") as seen:
            run = solve_sequence(systems(), policy=policy, max_steps=15, tol=1e-6)
        assert len(seen) == 1
        assert seen[0].filename == __file__
        assert run.status is eq.Status.MAX_STEPS
        assert run.converged.tolist() == [k < 15 for k in run.steps]
        assert policy.heard[2::2] == run.steps.tolist()
        assert "2 of 4 systems have reached tol=1e-06" in run.summary()

    def test_a_solve_that_overflows(self) -> None:
        """A matrix on which relaxation diverges; what follows does not suffer."""
        bad = np.array([[1.0, 9.0], [9.0, 1.0]])
        good = np.array([[3.0, 1.0], [1.0, 3.0]])
        policy = Recorder()
        with pytest.warns(eq.ConvergenceWarning, match="in 1 of 3 systems; the first was system 1"):
            run = solve_sequence([(A, np.ones(2)) for A in (good, bad, good)], policy=policy, max_steps=5000)
        assert policy.heard[4] == 5000
        assert run.converged.tolist() == [True, False, True]
        np.testing.assert_allclose(run.x, 0.25, atol=1e-7)

    def test_a_callback(self) -> None:
        seen: list[SequenceInfo] = []

        def stop(info: SequenceInfo) -> bool:
            seen.append(info)
            return info.index == 2

        run = solve_sequence(systems(), callback=stop)
        assert run.status is eq.Status.STOPPED
        assert run.steps.tolist() == [i.steps for i in seen]
        assert [(i.index, i.context, i.converged) for i in seen] == [(k, SHIFTS[k], True) for k in range(3)]
        assert [i.omega for i in seen] == run.omega.tolist()

    def test_the_keyboard_between_systems(self) -> None:
        def generate() -> Iterator[System[Any]]:
            yield from systems()[:2]
            raise KeyboardInterrupt

        with pytest.warns(eq.ConvergenceWarning, match="in 0 of 2 systems.*keyboard"):
            run = solve_sequence(generate())
        assert run.status is eq.Status.INTERRUPTED
        assert run.steps.size == 2
        np.testing.assert_allclose(run.x, solve_sequence(systems()[:2]).x)

    def test_the_keyboard_inside_of_a_system(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import equipoise.linear.sequence as module

        policy, real, calls = Recorder(), module.solve_sor, itertools.count()

        def interrupted(*args: Any, **settings: Any) -> Any:
            result = real(*args, **settings)
            if next(calls) == 1:
                code = np.asarray(int(eq.Status.INTERRUPTED))
                return eq.linear.LinearResult(result.error, result.steps, code, None, result.x)
            return result

        monkeypatch.setattr(module, "solve_sor", interrupted)
        with pytest.warns(eq.ConvergenceWarning, match="keyboard"):
            run = solve_sequence(systems(), policy=policy)
        assert run.status is eq.Status.INTERRUPTED
        assert run.converged.tolist() == [True, False]
        assert len(policy.heard) == 4  # not told of a cost that is none

    def test_before_anything_is_done(self) -> None:
        def suggest(context: Any, operator: Any) -> float:
            raise KeyboardInterrupt

        policy = Recorder()
        policy.suggest = suggest  # type: ignore[method-assign]
        with pytest.warns(eq.ConvergenceWarning, match="in 0 of 0"):
            run = solve_sequence(systems(), policy=policy)
        assert run.x is None
        assert run.total_steps == 0
        assert "0 systems" in run.summary()

    def test_one_progress_bar(self) -> None:
        seen = io.StringIO()
        with eq.progress(file=seen):
            solve_sequence(systems())
        assert "4/4" in seen.getvalue()
        assert "linear.sor" not in seen.getvalue()


class TestBoundary:
    @pytest.mark.parametrize("name", ["torch", "jax", "numpy"])
    def test_numpy_in_numpy_out(self, name: str) -> None:
        kinds: list[str] = []

        def forward(u: Any) -> Any:
            kinds.append(library(u))
            return u

        expected = solve_sequence([(tridiagonal(), np.ones(20)), (tridiagonal(), lambda u: u)], keep="all")
        with eq.backend(name):
            run = solve_sequence(
                ((A, b) for A, b in [(tridiagonal(), np.ones(20)), (tridiagonal(), forward)]), keep="all"
            )
            again = run.regret([(tridiagonal(), np.ones(20)), (tridiagonal(), forward)], [1.0, 1.3])
        assert set(kinds) == {name}
        assert all(library(x) == "numpy" for x in run.x)
        assert run.steps.tolist() == expected.steps.tolist()
        np.testing.assert_allclose(run.x[1], expected.x[1], rtol=0, atol=1e-12)
        assert again.steps.shape == (2, 2)

    def test_kept(self) -> None:
        with eq.backend("torch", keep=True):
            run = solve_sequence([(tridiagonal(), np.ones(20))])
        assert isinstance(run.x, torch.Tensor)

    def test_arrays_of_the_backend_stay(self) -> None:
        b = torch.ones(20, dtype=torch.float64)
        with eq.backend("torch"):
            run = solve_sequence([(torch.eye(20, dtype=torch.float64) * 2, b)])
        assert isinstance(run.x, torch.Tensor)

    def test_gradients_flow_through_steps_in_time(self) -> None:
        u = torch.ones(9, dtype=torch.float64, requires_grad=True)
        A = Stencil.laplacian((9,), scale=0.3, shift=1.0)
        run = solve_sequence([(A, lambda x: x)] * 3, x0=u, tol=1e-12)
        (slope,) = torch.autograd.grad(run.x.sum(), u)
        M = np.linalg.inv(A.matvec(np.eye(9)))
        np.testing.assert_allclose(slope.numpy(), (M @ M @ M).T @ np.ones(9), atol=1e-9)


class TestRegret:
    def test_every_fixed_factor(self) -> None:
        run = solve_sequence(systems(), policy=TsallisINF(rng=0))
        grid = [1.0, 1.2, 1.5]
        found = run.regret(systems(), grid)
        expected = [solve_sequence(systems(), policy=FixedOmega(w)).steps for w in grid]
        assert np.array_equal(found.steps, expected)
        assert found.total.tolist() == np.sum(expected, axis=1).tolist()
        assert found.best == grid[int(np.argmin(found.total))]
        assert found.regret == run.total_steps - found.total.min()

    def test_callables_are_replayed_from_their_own_solutions(self) -> None:
        A = Stencil.laplacian((9,), scale=3.0, shift=1.0)
        steps = [System(A, lambda u: u)] * 4
        x0 = np.ones(9)
        run = solve_sequence(steps, x0=x0, solver="ssor_cg")
        found = run.regret(steps, [run.omega[0], 1.0])
        assert found.total[0] == run.total_steps

    def test_only_what_was_solved(self) -> None:
        run = solve_sequence(systems(), callback=lambda info: info.index == 1)
        assert run.regret(iter(systems()), [1.1]).steps.shape == (1, 2)
        assert run.regret(systems()).steps.shape == (12, 2)
        with pytest.raises(ValueError, match="2 of them, got 1"):
            run.regret(systems()[:1], [1.1])


class TestBadInput:
    @pytest.mark.parametrize(
        ("items", "settings", "error", "says"),
        [
            ([], {}, ValueError, "at least one system"),
            (3, {}, TypeError, "iterable of systems, got int"),
            ([np.eye(3)], {}, TypeError, r"System, \(A, b\) or \(A, b, context\), got ndarray at index 0"),
            ([(np.eye(3),)], {}, TypeError, "got 1 entries at index 0"),
            ([(np.eye(3), 1.0)], {}, TypeError, "b must be an array .* or callable, got float"),
            ([("A", np.ones(3))], {}, TypeError, "A must be an array"),
            ([(np.eye(3), np.ones(3), "hot")], {}, TypeError, "context must be a number"),
            ([(np.eye(3), lambda u: u)], {}, ValueError, "x0 must be given"),
            ([(np.eye(3), lambda u: 1.0)], {"x0": np.ones(3)}, TypeError, "must return an array, got float"),
            ([(np.eye(3), np.ones(4))], {}, ValueError, "b must have shape"),
            ([(np.eye(3), np.ones(3))], {"policy": Recorder(2.5)}, ValueError, r"omega must lie in \(0, 2\), got 2.5"),
            ([(np.eye(3), np.ones(3))], {"policy": ChebCB((0.0, 1.0), rng=0)}, ValueError, "needs a context"),
            ([(np.eye(3), np.ones(3))], {"policy": YoungOmega}, TypeError, "got the class YoungOmega"),
            ([(np.eye(3), np.ones(3))], {"policy": 1.5}, TypeError, "policy must be a policy .*, got float"),
            ([(np.eye(3), np.ones(3))], {"solver": "cg"}, ValueError, "solver must be 'sor' or 'ssor_cg', got 'cg'"),
            ([(np.eye(3), np.ones(3))], {"order": "random"}, ValueError, "order must be one of"),
            ([(np.eye(3), np.ones(3))], {"keep": "none"}, ValueError, "keep must be 'last' or 'all', got 'none'"),
            ([(np.eye(3), np.ones(3))], {"tol": -1.0}, ValueError, "tol must be at least 0"),
            ([(np.eye(3), np.ones(3))], {"max_steps": 0}, ValueError, "max_steps must be at least 1"),
            ([(np.eye(3), np.ones(3))], {"warm_start": 1}, TypeError, "warm_start must be True or False"),
        ],
    )
    def test_arguments(self, items: Any, settings: dict[str, Any], error: type[Exception], says: str) -> None:
        with pytest.raises(error, match=says):
            solve_sequence(items, **settings)

    def test_errors_name_their_system(self) -> None:
        for second in ((np.eye(3), np.ones(4)), (np.eye(3), "b")):
            with pytest.raises((ValueError, TypeError)) as caught:
                solve_sequence([(np.eye(3), np.ones(3)), second])
            assert "in system 1 of the sequence" in caught.value.__notes__

    def test_transformations(self) -> None:
        with pytest.raises(TypeError, match="reads the steps of every solve on the host"):
            jax.jit(lambda b: solve_sequence([(Stencil.laplacian((3,)), b)]).x)(jax.numpy.ones(3))

    def test_texts(self) -> None:
        run = solve_sequence(systems(), policy=FixedOmega(1.2))
        assert repr(run) == f"SequenceResult(4 systems, {run.total_steps} steps, CONVERGED)"
        assert run.summary().startswith(f"4 systems by sor, FixedOmega(1.2): {run.total_steps} steps\n")
        assert isinstance(run, SequenceResult)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert solve_sequence(systems()[:1]).summary().startswith("1 system by sor")
