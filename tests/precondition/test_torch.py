from __future__ import annotations

import copy
import io
import pickle
import sys
from typing import Any

import numpy as np
import pytest
import torch
from equipoise_torch import PSGD

from equipoise.precondition import Annealed, psgd

KINDS = [
    psgd("kronecker"),
    psgd("kronecker", form="eq", scale="auto"),
    psgd("dense", step=Annealed(0.1, 50)),
    psgd("low_rank", rank=2),
    psgd("diagonal"),
    psgd("scaled"),
    psgd("xmat"),
]


class Model:
    """Least squares for a matrix and a vector, on batches of its own."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        rng = np.random.default_rng(0)
        self.W = torch.tensor(rng.standard_normal((3, 2)), dtype=dtype, requires_grad=True)
        self.c = torch.tensor(rng.standard_normal(2), dtype=dtype, requires_grad=True)
        self.params = [self.W, self.c]

    def loss(self, k: int) -> torch.Tensor:
        rng = np.random.default_rng(100 + k)
        x = torch.tensor(rng.standard_normal((20, 3)) * [1, 5, 0.2], dtype=self.W.dtype)
        y = x.sum(1, keepdim=True) * torch.tensor([1.0, -1.0], dtype=x.dtype)
        return (x @ self.W + self.c - y).square().mean()


def run(model: Model, optimizer: PSGD, steps: range, scheduler: Any = None) -> float:
    """Some steps with backward and without a closure."""
    loss = torch.tensor(0.0)
    for k in steps:
        optimizer.zero_grad()
        loss = model.loss(k)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return float(loss.detach())


def stored(optimizer: PSGD) -> Any:
    """A state through a file, read without pickle."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def taken(optimizer: PSGD) -> int:
    """The bytes of all tensors of a state."""
    return sum(x.numel() * x.element_size() for state in optimizer.state.values() for x in state.values())


class TestSteps:
    def test_a_step_by_hand(self) -> None:
        p = psgd("dense", damping=0.0)
        x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
        optimizer = PSGD([x], lr=0.5, preconditioner=p, momentum=0.6, clip=None, weight_decay=0.1)
        state, m, expected = p.init(np.zeros(3)), np.zeros(3), x.detach().numpy().copy()
        for t, g in enumerate(np.random.default_rng(0).standard_normal((4, 3)), 1):
            x.grad = torch.tensor(g)
            optimizer.step()
            state = p.update(state, None, g)
            share = min(t / (1 + t), 0.6)
            m = share * m + (1 - share) * g
            expected = (1 - 0.05) * expected - 0.5 * p.apply(state, m)
            np.testing.assert_allclose(x.detach().numpy(), expected, atol=1e-13)

    @pytest.mark.parametrize("preconditioner", KINDS, ids=lambda p: f"{p.kind}-{p.form}")
    def test_it_learns(self, preconditioner: Any) -> None:
        model = Model()
        run(model, PSGD(model.params, 0.05, preconditioner=preconditioner), range(120))
        assert float(model.loss(0).detach()) < 0.3 * float(Model().loss(0).detach())

    def test_difference_and_exact_are_one(self) -> None:
        ends = {}
        for hvp in ("difference", "exact"):
            model = Model(torch.float64)
            optimizer = PSGD(model.params, 0.1, preconditioner=psgd("dense"), pairs="hessian", hvp=hvp, seed=5)
            for k in range(20):

                def closure(k: int = k, hvp: str = hvp, model: Model = model, optimizer: PSGD = optimizer) -> Any:
                    optimizer.zero_grad()
                    loss = model.loss(k)
                    if hvp == "difference":
                        loss.backward()
                    return loss

                loss = optimizer.step(closure)
                assert float(loss.detach()) >= 0
            ends[hvp] = model.W.detach().numpy()
        np.testing.assert_allclose(ends["difference"], ends["exact"], atol=1e-5)

    def test_the_point_is_restored_after_a_difference(self) -> None:
        model = Model()
        optimizer = PSGD(model.params, lr=0.0, pairs="hessian")
        before = [x.detach().clone() for x in model.params]

        def closure() -> Any:
            optimizer.zero_grad()
            loss = model.loss(0)
            loss.backward()
            return loss

        optimizer.step(closure)
        model_grad, found = torch.autograd.grad(model.loss(0), model.params), [x.grad for x in model.params]
        for x, old, g, expected in zip(model.params, before, found, model_grad, strict=True):
            assert torch.equal(x, old)
            assert g is not None
            assert torch.equal(g, expected)

    def test_a_zero_first_gradient(self) -> None:
        for preconditioner in KINDS:
            x = torch.ones(4, requires_grad=True)
            optimizer = PSGD([x], preconditioner=preconditioner)
            for scale in (0.0, 1.0):
                x.grad = scale * torch.ones(4)
                optimizer.step()
            assert torch.isfinite(x).all()

    def test_half_precision_numbers_and_missing_gradients(self) -> None:
        half = torch.ones((3, 2), dtype=torch.bfloat16, requires_grad=True)
        number = torch.tensor(2.0, requires_grad=True)
        idle = torch.ones(2, requires_grad=True)
        optimizer = PSGD([half, number, idle], lr=0.1)
        for _ in range(3):
            half.grad, number.grad = torch.ones_like(half), torch.tensor(1.0)
            optimizer.step()
        assert optimizer.state[half]["momentum"].dtype == torch.float32
        assert half.dtype == torch.bfloat16
        assert float(number.detach()) < 2
        assert idle not in optimizer.state
        idle.grad = torch.ones(2)
        optimizer.step()
        assert optimizer.state_bytes() == taken(optimizer)

    def test_updates_now_and_then(self) -> None:
        counts = []
        for seed in (0, 0, 1):
            model = Model()
            optimizer = PSGD(model.params, probability=0.3, seed=seed)
            run(model, optimizer, range(60))
            counts.append(int(optimizer.state[model.W]["count"]))
        assert counts[0] == counts[1]
        assert 5 < counts[0] < 35

    @pytest.mark.parametrize("preconditioner", [psgd("dense"), psgd("kronecker")], ids=lambda p: p.kind)
    def test_products_of_half_precision(self, preconditioner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        module = sys.modules[PSGD.__module__]
        seen, inner = [], module.refreshed  # type: ignore[attr-defined]

        def spy(p: Any, state: Any, v: Any, h: Any) -> Any:
            seen.append((v, h))
            return inner(p, state, v, h)

        monkeypatch.setattr(module, "refreshed", spy)
        x = torch.ones((3, 2), dtype=torch.bfloat16, requires_grad=True)
        PSGD([x], preconditioner=preconditioner, pairs="hessian", hvp="exact").step(lambda: (x * x).sum())
        ((v, h),) = seen
        assert v.dtype == h.dtype == torch.float32
        assert torch.equal(h, 2 * v)

    def test_a_rank_larger_than_a_bias(self) -> None:
        model = Model()
        optimizer = PSGD(model.params, 0.02, preconditioner=psgd("low_rank"))
        run(model, optimizer, range(2))
        assert optimizer.state[model.W]["W"].numel() == 2 * 6 * 6
        assert optimizer.state[model.c]["W"].numel() == 2 * 2 * 2
        assert optimizer.state_bytes() == taken(optimizer)

    @pytest.mark.parametrize("pairs", ["whitening", "hessian"])
    def test_an_empty_parameter_has_no_state(self, pairs: str) -> None:
        empty, x = torch.ones((0, 3), requires_grad=True), torch.ones(2, requires_grad=True)
        optimizer = PSGD([empty, x], lr=0.1, pairs=pairs)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (x * x).sum() + empty.sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        assert set(optimizer.state) == {x}
        assert float(x.detach()[0]) < 1
        assert optimizer.state_bytes() == taken(optimizer)


class FailureOfClosure(Exception):
    """What a closure raises."""


class TestFailures:
    """Whatever goes wrong does so before any parameter is moved."""

    def test_the_second_call_of_a_closure(self) -> None:
        model, calls = Model(), []
        optimizer = PSGD(model.params, 0.1, pairs="hessian")
        before = [x.detach().clone() for x in model.params]

        def closure() -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise FailureOfClosure
            optimizer.zero_grad()
            loss = model.loss(0)
            loss.backward()
            return loss

        with pytest.raises(FailureOfClosure):
            optimizer.step(closure)
        slopes = torch.autograd.grad(model.loss(0), model.params)
        for x, old, g in zip(model.params, before, slopes, strict=True):
            assert torch.equal(x, old)
            assert x.grad is not None
            assert torch.equal(x.grad, g)

    @pytest.mark.parametrize("stale", [False, True])
    def test_a_closure_that_forgets_backward(self, stale: bool) -> None:
        model = Model()
        optimizer, before = PSGD(model.params, 0.1, pairs="hessian"), model.W.detach().clone()
        if stale:  # gradients of an earlier call
            model.loss(0).backward()
        with pytest.raises(TypeError, match="with hvp='difference' the closure must call backward"):
            optimizer.step(lambda: model.loss(0))
        assert torch.equal(model.W, before)

    def test_sparse_gradients(self) -> None:
        w, table = torch.ones(3, requires_grad=True), torch.nn.Embedding(5, 3, sparse=True)
        optimizer = PSGD([("w", w), ("table", table.weight)], lr=0.1)
        (table(torch.tensor([1, 2])) * w).sum().backward()
        with pytest.raises(TypeError, match=r"no sparse gradients, but that of parameter 1 \('table'\) is"):
            optimizer.step()
        assert torch.equal(w, torch.ones(3))

    def test_parameters(self) -> None:
        x, z = torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.complex64, requires_grad=True)
        with pytest.raises(
            TypeError, match=r"parameter 1 must hold real floating-point numbers, got dtype .*complex64"
        ):
            PSGD([x, z])
        optimizer = PSGD([x])
        with pytest.raises(TypeError, match="parameter 1 must hold real"):
            optimizer.add_param_group({"params": [z]})
        assert len(optimizer.param_groups) == 1
        with pytest.raises(ValueError, match=r"parameter 1: a state of kind 'dense' needs .* memory_limit=100"):
            PSGD([x, torch.ones(9)], preconditioner=psgd("dense", memory_limit=100))

    def test_another_preconditioner(self) -> None:
        model = Model()
        optimizer = PSGD(model.params, 0.02)
        optimizer.param_groups[0]["preconditioner"] = psgd("diagonal")
        run(model, optimizer, range(1))
        assert optimizer.state[model.W]["q"].shape == (6,)
        assert stored(optimizer)["param_groups"][0]["preconditioner"]["kind"] == "diagonal"
        before = model.W.detach().clone()
        optimizer.param_groups[0]["preconditioner"] = psgd("scaled")
        with pytest.raises(ValueError, match=r"parameter 0 has a state of another preconditioner .* 'scaled'"):
            run(model, optimizer, range(1))
        assert torch.equal(model.W, before)


class TestStored:
    @pytest.mark.parametrize("preconditioner", KINDS, ids=lambda p: f"{p.kind}-{p.form}")
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_a_run_goes_on_bit_for_bit(self, preconditioner: Any, dtype: torch.dtype) -> None:
        def new(model: Model) -> tuple[PSGD, Any]:
            optimizer = PSGD(model.params, 0.02, preconditioner=preconditioner, probability=0.7, seed=3)
            return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 5)

        whole, halves = Model(dtype), Model(dtype)
        optimizer, scheduler = new(whole)
        run(whole, optimizer, range(12), scheduler)
        first, scheduler = new(halves)
        run(halves, first, range(7), scheduler)
        second, rest = new(halves)
        second.load_state_dict(stored(first))
        rest.load_state_dict(scheduler.state_dict())
        run(halves, second, range(7, 12), rest)
        for x, y in zip(whole.params, halves.params, strict=True):
            assert torch.equal(x, y)
        for key, x in optimizer.state[whole.W].items():
            y = second.state[halves.W][key]
            assert x.dtype == y.dtype
            assert torch.equal(x, y)

    def test_hooks_of_loading(self) -> None:
        model, seen = Model(torch.bfloat16), []
        first = PSGD(model.params)
        run(model, first, range(2))
        second = PSGD(model.params)
        second.register_load_state_dict_post_hook(lambda o: seen.append(o.state[model.W]["count"].dtype))
        second.load_state_dict(first.state_dict())
        assert seen == [torch.int64]
        third = PSGD(model.params)
        third.register_load_state_dict_pre_hook(lambda _, s: {"state": {}, "param_groups": s["param_groups"]})
        third.load_state_dict(first.state_dict())
        assert not third.state
        assert not third._optimizer_load_state_dict_post_hooks

    def test_a_group_added_after_a_load(self) -> None:
        model, late = Model(), torch.ones(2, requires_grad=True)
        optimizer = PSGD(model.params, probability=0.5)
        optimizer.load_state_dict(PSGD(model.params, seed=5, probability=0.25).state_dict())
        with pytest.raises(ValueError, match="seed must be the same for all groups, 5, got 0"):
            optimizer.add_param_group({"params": [late], "seed": 0})
        optimizer.add_param_group({"params": [late]})
        assert [group["seed"] for group in optimizer.param_groups] == [5, 5]
        assert optimizer.param_groups[1]["probability"] == 0.25

    def test_copies(self) -> None:
        model = Model()
        optimizer = PSGD(model.params, 0.02)
        run(model, optimizer, range(3))
        for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
            state = other.state[other.param_groups[0]["params"][0]]
            assert torch.equal(state["Q.0"], optimizer.state[model.W]["Q.0"])
            other.step()
        assert "PSGD" in repr(optimizer)

    def test_groups(self) -> None:
        model = Model()
        groups = [{"params": [model.W], "preconditioner": psgd("dense")}, {"params": [model.c], "lr": 0.0}]
        optimizer, before = PSGD(groups, lr=0.1), model.c.detach().clone()
        run(model, optimizer, range(3))
        assert optimizer.state[model.W]["Q"].shape == (6, 6)
        assert torch.equal(model.c, before)
        with pytest.raises(ValueError, match="pairs must be the same for all groups"):
            PSGD([{"params": [model.W], "pairs": "hessian"}])

    def test_scaled_gradients(self) -> None:
        plain, scaled = Model(), Model()
        run(plain, PSGD(plain.params, 0.02), range(4))
        optimizer, scaler = PSGD(scaled.params, 0.02), torch.amp.GradScaler("cpu", init_scale=4.0)
        for k in (0, 1, 1, 2, 3):
            optimizer.zero_grad()
            scaler.scale(scaled.loss(k)).backward()
            if k == 1 and scaler.get_scale() == 4.0:  # an overflow, which is skipped
                assert scaled.c.grad is not None
                scaled.c.grad[0] = torch.inf
            scaler.step(optimizer)
            scaler.update()
        assert torch.equal(plain.W, scaled.W)


def test_bad_input() -> None:
    x = torch.ones(2, requires_grad=True)
    for settings, sentence in (
        ({"pairs": "newton"}, "pairs must be one of 'whitening', 'hessian', got 'newton'"),
        ({"hvp": "none"}, "hvp must be one of"),
        ({"lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"probability": 0.0}, r"probability must be in \(0, 1\], got 0"),
        ({"seed": 2**32}, r"seed must be in \[0, 2\^32\), got 4294967296"),
        ({"momentum": 1.0}, "momentum must be"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            PSGD([x], **settings)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"preconditioner must be what psgd\(\) returns, got str"):
        PSGD([x], preconditioner="dense")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pairs='hessian' needs a closure"):
        PSGD([x], pairs="hessian").step()
    optimizer = PSGD([x], pairs="hessian", hvp="exact")

    def backwards() -> Any:
        loss = (x * x).sum()
        loss.backward()
        return loss

    with pytest.raises(TypeError, match="must not call backward"):
        optimizer.step(backwards)
    with pytest.raises(TypeError, match="must return a loss that can be differentiated"):
        optimizer.step(lambda: 1.0)
    optimizer.step(lambda: (3 * x).sum())  # a loss without curvature: the pair is skipped
    assert int(optimizer.state[x]["count"]) == 1
