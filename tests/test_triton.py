"""The Triton kernels against their portable bodies: on a GPU where there is one, and in Triton's interpreter.

The interpreter has to be chosen before Triton is imported, so one test runs this file again in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

import equipoise_torch.transport as ours
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.backend import find
from equipoise.kernel import kernels
from equipoise.record import leaves, map_arrays
from equipoise.transport import PointCloud, sweeps
from equipoise.transport.potentials import Stored
from equipoise.transport.sweeps import Problem, State, start_relaxation

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETING else "cpu"
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
COSTS: list[dict[str, Any]] = [
    {},
    {"batch": (2, 1)},
    {"offset": 1e3},
    {"metric": "sqeuclidean", "d": 3},
    {"metric": "sqeuclidean", "d": 40, "batch": (2,)},
    {"metric": "euclidean", "d": 17},
    {"metric": "cityblock", "d": 2, "batch": (2, 1)},
]
needs_triton = pytest.mark.skipif(ours.triton is None, reason="triton is not installed")


def problem(dtype: str, batch: tuple[int, ...] = (), metric: str = "", d: int = 0, offset: float = 0.0) -> Problem:
    """Of 35 x 150, no multiples of a tile; one tile of the columns weighs nothing."""
    rng = np.random.default_rng(3)
    n, m = 35, 150
    cost: Any = torch.tensor(offset + rng.random((*batch, n, m)).astype(dtype), device=DEVICE)
    if metric:
        x, y = (rng.random((*batch, k, d)).astype(dtype) / d**0.5 for k in (n, m))
        y[..., 2, :] = x[..., 4, :]
        cost = PointCloud(torch.tensor(x, device=DEVICE), torch.tensor(y, device=DEVICE), metric=metric)
    a, b = (rng.random((*batch, k)).astype(dtype) for k in (n, m))
    a[..., 5], b[..., :128], b[..., 140] = 0, 0, 0
    a, b = (torch.tensor(w / w.sum(-1, keepdims=True), device=DEVICE) for w in (a, b))
    return Problem(cost, a, b, 0.1)


def start(p: Problem, omega: float = 1.0) -> State:
    nothing = p.a.sum(-1)
    zero = 0 * nothing
    return State(0 * p.a, 0 * p.b, 0 * p.a, 0 * p.b, nothing, zero, start_relaxation(omega, zero))


def assert_like_the_body(name: str, *args: Any, tolerance: float, **settings: Any) -> None:
    before = map_arrays(torch.clone, args)
    got = getattr(ours, name)(*args, **settings)
    assert got is not NotImplemented
    with eq.portable():
        want = kernels()[f"transport.{name}"].body(*args, **settings)
    for g, w in zip(leaves(got), leaves(want), strict=True):
        assert (g.dtype, g.shape, g.device) == (w.dtype, w.shape, w.device)
        scale = max(0.05, float(w[w.isfinite()].abs().max())) if w.isfinite().any() else 1.0
        torch.testing.assert_close(g, w, rtol=0, atol=tolerance * scale, equal_nan=True)
    for old, new in zip(leaves(before), leaves(args), strict=True):
        assert torch.equal(old, new), "an input was written"


class TestOnTheDevice:
    """Run on a GPU, or in the process of its own."""

    __test__ = INTERPRETING or DEVICE == "cuda"

    @pytest.mark.parametrize(("dtype", "enough"), [("float64", 10**9), ("float32", 0)])
    @pytest.mark.parametrize("kind", COSTS, ids=str)
    def test_soft_minima_sums_and_products(
        self, kind: dict[str, Any], dtype: str, enough: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By programs of few rows, and of many, as for large problems."""
        monkeypatch.setattr(ours, "ENOUGH", enough)
        p = problem(dtype, **kind)
        tolerance = TOLERANCE[dtype]
        assert_like_the_body("soft_min", p.cost, 40 * p.b, p.b, 0.1, axis=-1, tolerance=tolerance)
        assert_like_the_body(
            "soft_min", p.cost, -p.a, p.a, torch.tensor(0.1, dtype=p.a.dtype), axis=-2, tolerance=tolerance
        )
        # a thousand is 6e-5 of float32's digits away from a half, and a tenth of it is exponentiated
        loose = tolerance * (1e3 if "offset" in kind else 1.0)
        f = 0.1 * p.a + kind.get("offset", 0.0)
        assert_like_the_body("marginals", p.cost, f, -0.1 * p.b, p.a, p.b, 0.1, tolerance=loose)
        for width, transpose in ((1, False), (19, True)):
            v = torch.rand((*p.a.shape[:-1], 35 if transpose else 150, width), dtype=p.a.dtype).to(DEVICE) - 0.5
            assert_like_the_body("apply", p.cost, f, -0.1 * p.b, 0.1, v, transpose=transpose, tolerance=loose)

    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize("kind", [*COSTS[:2], {"metric": "sqeuclidean", "d": 20}], ids=str)
    def test_a_chunk_of_sweeps(self, kind: dict[str, Any], dtype: str) -> None:
        p = replace(problem(dtype, **kind), epsilon=0.002 if "metric" in kind else 0.01)  # far from converged
        tolerance = {"float64": 1e-11, "float32": 1e-3}[dtype]  # an omega of a ratio of errors magnifies rounding
        assert_like_the_body("log_sweeps", start(p), p, 0, 0.0, tolerance=0.0)
        assert_like_the_body("log_sweeps", start(p, 1.3), p, 2, 0.0, tolerance=tolerance)
        unbalanced = replace(p, rho_a=0.7, rho_b=2.0, adaptive=True)
        assert_like_the_body("log_sweeps", start(p), unbalanced, 2, 0.0, tolerance=tolerance)
        assert_like_the_body("log_sweeps", start(p), replace(p, rho_b=30.0), 2, 0.0, tolerance=tolerance)
        if not kind:  # one new omega
            assert_like_the_body("log_sweeps", start(p), replace(p, adaptive=True), 21, 0.0, tolerance=tolerance)

    def test_known_plan(self) -> None:
        cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64, device=DEVICE)
        half = torch.full((2,), 0.5, dtype=torch.float64, device=DEVICE)
        state, done, error = ours.log_sweeps(start(p := Problem(cost, half, half, 0.5)), p, 5, 0.0)
        assert done == 5
        assert error < 1e-15
        plan = 0.25 * torch.exp((state.f[:, None] + state.g - cost) / 0.5)
        assert float(plan[0, 0]) == pytest.approx(0.440398539, abs=1e-9)

    def test_a_solve(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Through the dispatch, as a line in the table of the backend makes it."""
        table = {**find("torch").kernels, "transport.log_sweeps": "equipoise_torch.transport:log_sweeps"}
        override = import_module("equipoise.kernel").override
        monkeypatch.setattr(find("torch"), "kernels", table)
        monkeypatch.setattr(find("torch"), "borrows", ())
        override.cache_clear()
        try:
            x, y = (torch.rand(k, 2, dtype=torch.float64).to(DEVICE) for k in (12, 9))
            got = eq.transport.sinkhorn(PointCloud(x, y), epsilon=0.1, tol=1e-9)
        finally:
            override.cache_clear()
        with eq.portable():
            want = eq.transport.sinkhorn(PointCloud(x, y), epsilon=0.1, tol=1e-9)
        assert got.converged
        assert float(abs(got.value - want.value)) < 1e-8

    def test_broadcasting(self) -> None:
        """One cost for a batch of potentials, a cost of strides zero, one that is a transpose, one set of weights."""
        p = problem("float64")
        many = torch.stack([p.b, -p.b]).reshape(2, 1, 150)
        assert_like_the_body("soft_min", p.cost, many, p.b, 0.1, axis=-1, tolerance=1e-12)
        wide = p.cost.expand(2, 3, 35, 150)
        assert_like_the_body("soft_min", wide, many.expand(2, 3, 150), p.b, 0.1, axis=-1, tolerance=1e-12)
        assert_like_the_body("soft_min", p.cost.mT, p.b, p.b, 0.1, axis=-2, tolerance=1e-12)
        x, y = torch.rand(2, 35, 40, device=DEVICE), torch.rand(150, 40, device=DEVICE)
        assert_like_the_body("soft_min", PointCloud(x, y), p.b.float(), p.b.float(), 1.0, axis=-1, tolerance=1e-5)
        assert_like_the_body(
            "apply", PointCloud(x, y), 0 * p.a.float(), p.b.float(), 1.0, y[:, :2], transpose=False, tolerance=1e-5
        )

    @pytest.mark.filterwarnings("ignore:.* encountered:RuntimeWarning")  # the interpreter computes with numpy
    def test_what_is_not_finite_stays_so(self) -> None:
        p = problem("float32")
        g = 0 * p.b
        g[149] = torch.nan
        assert ours.soft_min(p.cost, g, p.b, 0.1, axis=-1).isnan().all()
        assert ours.soft_min(p.cost, p.b, 0 * p.b, 0.1, axis=-1).isnan().all()
        huge = PointCloud(torch.full((3, 20), 1e30, device=DEVICE), torch.zeros(4, 20, device=DEVICE))
        v = torch.ones(4, 1, device=DEVICE)
        ones = v[:, 0]
        assert not ours.soft_min(huge, ones, ones, 0.1, axis=-1).isfinite().any()
        signs = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], device=DEVICE)
        huge = PointCloud(torch.full((3, 20), 1e30, device=DEVICE), 1e30 * signs.expand(4, 20).contiguous())
        assert ours.apply(huge, ones[:3], ones, 0.1, v, transpose=False).isnan().all()

    def test_every_run_gives_the_same_bits(self) -> None:
        p = problem("float32", metric="sqeuclidean", d=40)
        first, second = (ours.soft_min(p.cost, p.b, p.b, 0.1, axis=-1) for _ in range(2))
        assert torch.equal(first, second)

    def test_near_points_keep_their_digits(self) -> None:
        """Far from the origin in many dimensions, as the centring allows."""
        x = 100 + torch.rand(20, 32, dtype=torch.float32, device=DEVICE)
        none = torch.zeros(20, device=DEVICE)
        got = ours.soft_min(PointCloud(x), none, none + 1, 1.0, axis=-1)
        want = kernels()["transport.soft_min"].body(
            PointCloud(x.double()), none.double(), none.double() + 1, 1.0, axis=-1
        )
        torch.testing.assert_close(got, want.float(), rtol=0, atol=2e-5)

    def test_declines(self) -> None:
        p = problem("float32")
        wants = p.b.clone().requires_grad_()

        def soft_min(cost: Any, potential: Any, weights: Any) -> Any:
            return ours.soft_min(cost, potential, weights, 0.1, axis=-1)

        assert soft_min(p.cost, p.b, p.b) is not NotImplemented
        assert soft_min(p.cost, wants, p.b) is NotImplemented
        with torch.no_grad():
            assert soft_min(p.cost, wants, p.b) is not NotImplemented
        assert soft_min(p.cost, p.b, p.b.double()) is NotImplemented
        assert soft_min(p.cost.bfloat16(), p.b.bfloat16(), p.b.bfloat16()) is NotImplemented
        assert soft_min(Stored(p.cost, p.a, p.b), p.b, p.b) is NotImplemented
        negated = torch.complex(p.b, p.b).conj().imag  # a view that says so only by a flag
        assert soft_min(p.cost, negated, p.b) is NotImplemented
        seen = []
        torch.func.vmap(lambda g: seen.append(soft_min(p.cost, g, p.b)) or g)(p.b[None])
        assert seen == [NotImplemented]


# ---------------------------------------------------------------------------------------------------------------------
# What needs neither


@needs_triton
@pytest.mark.skipif(INTERPRETING, reason="this is that process")
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "TestOnTheDevice"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=os.getcwd())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(INTERPRETING, reason="the interpreter takes such tensors")
def test_declines_on_the_cpu() -> None:
    p = Problem(torch.rand(3, 4), torch.rand(3), torch.rand(4), 0.1)
    assert ours.soft_min(p.cost, p.b, p.b, 0.1, axis=-1) is NotImplemented
    assert ours.marginals(p.cost, p.a, p.b, p.a, p.b, 0.1) is NotImplemented
    assert ours.apply(p.cost, p.a, p.b, 0.1, p.b[:, None], transpose=False) is NotImplemented
    assert ours.log_sweeps(start(p), p, 1, 0.0) is NotImplemented
    assert sweeps.log_sweeps(start(p), p, 1, 0.0)[0].f.shape == (3,)  # somebody does it


def test_without_triton() -> None:
    """The module is there, and declines."""
    code = (
        "import sys; sys.modules['triton'] = None; sys.modules['triton.language'] = None; import torch;"
        "import equipoise_torch.transport as t; x = torch.ones(2, 2);"
        "assert t.triton is None and t.soft_min(x, x[0], x[0], 1.0, axis=-1) is NotImplemented"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_triton
@pytest.mark.skipif(INTERPRETING, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_compiles_without_a_gpu(kind: int, dtype: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """For compute capability 9.0: no TF32, and no more shared memory than the smaller ones have too."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    triton = ours.triton
    size = torch.empty(1, dtype={"fp32": torch.float32, "fp64": torch.float64}[dtype])
    source = ours.Source(kind, size, size, 3, (10**6, 10**6), (0, 10**6, 1))
    for kernel in (ours.soft_rows, ours.product_rows):
        cut = ours.tiles(source, 1)
        options = {name: cut.pop(name) for name in ("num_warps", "num_stages", "enable_fp_fusion")}
        constants = {"KIND": kind, "along": 1, **cut}
        if kernel is ours.product_rows:
            constants |= {"MOST": 80.0, "WIDE": ours.WIDE}
        integers = {"n", "m", "d", "member", "across", "width"}
        types = {
            name: "constexpr" if name in constants else "i32" if name in integers else f"*{dtype}"
            for name in kernel.arg_names
        }
        places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        made = triton.compile(ASTSource(kernel, types, places), target=GPUTarget("cuda", 90, 32), options=options)
        assert "tf32" not in made.asm["ptx"]
        assert made.metadata.shared <= 99 * 1024
