"""The Triton kernel of red-black sweeps against its portable body: on a GPU where there is one, and interpreted.

The interpreter has to be chosen before Triton is imported, so one test runs this file again in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import equipoise_torch.linear as ours
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import equipoise as eq
from equipoise.backend import find
from equipoise.kernel import override
from equipoise.linear import sor
from equipoise.linear.red_black import PackedTask, pack, packed, packed_sweeps, unpack
from equipoise.linear.sweeps import SweepState
from equipoise.operators import Stencil
from equipoise.record import leaves, map_arrays

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETING else "cpu"
TOLERANCE = {"float64": 1e-13, "float32": 1e-5}
SWEEPS = ("forward", "backward", "symmetric")
GRIDS = [(7,), (1,), (2, 2), (5, 6), (6, 5), (1, 7), (7, 1), (3, 4, 5), (2, 3, 4), (1, 4, 4), (4, 1, 3)]
needs_triton = pytest.mark.skipif(ours.triton is None, reason="triton is not installed")


def stencil(rng: Any, grid: tuple[int, ...], dtype: str, constant: bool, batch: tuple[int, ...] = ()) -> Stencil[Any]:
    """Of different numbers along every axis, in every cell and every member of a batch."""
    d = len(grid)

    def some(shape: tuple[int, ...], least: float) -> torch.Tensor:
        return torch.tensor((least + rng.random(shape)).astype(dtype), device=DEVICE)

    if constant and not batch:
        return Stencil(2.0 * d + 0.1, tuple(1.0 - 0.1 * k for k in range(d)), grid)
    if constant:
        return Stencil(some((*batch, *(1,) * d), 2.0 * d), tuple(some((), 0.1) for _ in grid), grid)
    shapes = [tuple(n - (k == axis) for k, n in enumerate(grid)) for axis in range(d)]
    return Stencil(some((*batch, *grid), 3.0 * d), tuple(some((*batch, *shape), 0.5) for shape in shapes), grid)


def problem(
    grid: tuple[int, ...],
    dtype: str = "float64",
    constant: bool = True,
    batch: tuple[int, ...] = (),
    own: tuple[int, ...] = (),
    sweep: str = "forward",
    omega: Any = 1.4,
    chebyshev: bool = False,
) -> tuple[SweepState, PackedTask]:
    """Among members, some that have seen a better x; the matrix has the batch `own`."""
    rng = np.random.default_rng(5)
    b, x, best = (torch.tensor(rng.standard_normal((*batch, *grid)).astype(dtype), device=DEVICE) for _ in range(3))
    A = packed(stencil(rng, grid, dtype, constant, own), b)
    size = torch.linalg.vector_norm(b, dim=tuple(range(-len(grid), 0)))
    error = torch.full_like(size, 0.7)
    least = error + (torch.arange(error.numel(), device=DEVICE).reshape(batch) % 2 - 0.5).to(b.dtype)
    factor, beta = (torch.ones_like(size), 0.9 + 0 * size) if chebyshev else (None, None)
    state = SweepState(pack(x, A.odd), error, pack(best, A.odd), least, factor)
    return state, PackedTask(A, pack(b, A.odd), omega, beta, size, sweep)


def assert_like_the_body(state: Any, task: Any, limit: int, tolerance: float) -> Any:
    before = map_arrays(torch.clone, (state, task))
    got = ours.packed_sweeps(state, task, limit, 0.0)
    assert got is not NotImplemented
    assert got[1] == limit
    with eq.portable():
        want = packed_sweeps.body(state, task, limit, 0.0)
    for g, w in zip(leaves(got), leaves(want), strict=True):
        assert (g.dtype, g.shape, g.device) == (w.dtype, w.shape, w.device)
        torch.testing.assert_close(g, w, rtol=0, atol=tolerance * max(1.0, float(w.abs().max())))
    for old, new in zip(leaves(before), leaves((state, task)), strict=True):
        assert torch.equal(old, new), "an input was written"
    return got


class TestOnTheDevice:
    """Run on a GPU, or in the process of its own."""

    __test__ = INTERPRETING or DEVICE == "cuda"

    @pytest.mark.parametrize("constant", [True, False])
    @pytest.mark.parametrize("grid", GRIDS, ids=str)
    def test_all_kinds_of_grids(self, grid: tuple[int, ...], constant: bool) -> None:
        """Both a sweep into memory of its own and one in place."""
        assert_like_the_body(*problem(grid, "float64", constant, sweep="symmetric"), 1, TOLERANCE["float64"])
        assert_like_the_body(*problem(grid, "float32", constant), 2, TOLERANCE["float32"])

    @pytest.mark.parametrize("grid", [(5,), (9, 270), (5, 7, 11), (1, 2100), (1100, 1)], ids=str)
    @pytest.mark.parametrize("enough", [0, 10**9])
    def test_several_tiles(self, grid: tuple[int, ...], enough: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Large ones, and small ones as where there is little work."""
        monkeypatch.setattr(ours, "ENOUGH", enough)
        for dtype, constant in (("float64", True), ("float32", False)):
            assert_like_the_body(*problem(grid, dtype, constant), 1, TOLERANCE[dtype])

    @pytest.mark.parametrize("constant", [True, False])
    @pytest.mark.parametrize(("own", "which"), [((), ()), ((2, 3), ()), ((3,), 0), ((2, 1), (1, 1))], ids=str)
    def test_batches(self, own: tuple[int, ...], which: Any, constant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of right sides, of matrices, of some of both; members with factors of their own, and with one for some."""
        monkeypatch.setattr(ours, "LANES", 4)
        omega = torch.linspace(0.8, 1.7, 6, dtype=torch.float64, device=DEVICE).reshape(2, 3)[which]
        state, task = problem((4, 5), "float64", constant, (2, 3), own, "backward", omega)
        assert_like_the_body(state, task, 1, TOLERANCE["float64"])
        state, task = problem((3, 2), "float64", constant, (2, 3), own, chebyshev=True)
        assert_like_the_body(state, task, 2, TOLERANCE["float64"])

    @pytest.mark.parametrize("sweep", SWEEPS)
    def test_factors_follow_chebyshev_over_chunks(self, sweep: str) -> None:
        state, task = problem((6, 7), sweep=sweep, chebyshev=True)
        for limit in (3, 0, 2):
            state = assert_like_the_body(state, task, limit, TOLERANCE["float64"])[0]

    def test_a_look(self) -> None:
        """No sweep: x stays, and the best and the error are what they are."""
        for batch in ((), (3,)):
            state, task = problem((5, 6), batch=batch)
            new, done, _ = assert_like_the_body(state, task, 0, TOLERANCE["float64"])
            assert done == 0
            assert all(map(torch.equal, new.x, state.x))

    def test_half_sweeps_of_one_color_are_one_launch(self) -> None:
        assert list(ours.launches("forward", 2)) == [(0, 0, 1), (1, 1, 1), (0, 2, 1), (1, 3, 1)]
        assert list(ours.launches("symmetric", 2)) == [(0, 0, 1), (1, 1, 2), (0, 3, 2), (1, 5, 2), (0, 7, 1)]

    def test_memory_of_other_strides(self) -> None:
        """Transposed and expanded arrays, steps of two, views into longer ones."""
        state, task = problem((6, 7), batch=(3,), constant=False)
        longer = tuple(torch.cat([v, -v], dim=-1)[..., : v.shape[-1]] for v in state.x)
        state = replace(state, x=longer, best=tuple(v.mT.contiguous().mT for v in state.best))
        b = tuple(v[:1].expand(v.shape) for v in task.b)
        center = tuple(torch.stack([v, -v], dim=-1)[..., 0] for v in task.matrix.center)
        task = replace(task, b=b, matrix=replace(task.matrix, center=center))
        assert_like_the_body(state, task, 2, TOLERANCE["float64"])

    @pytest.mark.parametrize("scale", [1e-200, 1e200])
    def test_squares_neither_overflow_nor_vanish(self, scale: float) -> None:
        state, task = problem((6, 5))
        want = ours.packed_sweeps(state, task, 3, 0.0)[2]
        x, b = (tuple(scale * v for v in pair) for pair in (state.x, task.b))
        got = ours.packed_sweeps(replace(state, x=x), replace(task, b=b, size=scale * task.size), 3, 0.0)[2]
        torch.testing.assert_close(got, want, rtol=1e-12, atol=0)

    @pytest.mark.filterwarnings("ignore:.* encountered:RuntimeWarning")  # the interpreter computes with numpy
    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    def test_what_is_not_finite_stays_so(self, value: float) -> None:
        """In its member, and in no other."""
        state, task = problem((4, 5), batch=(2,))
        task.b[0][1, 2, 1] = value
        error = ours.packed_sweeps(state, task, 1, 0.0)[2]
        assert error.isfinite().tolist() == [True, False]

    def test_every_run_gives_the_same_bits(self) -> None:
        state, task = problem((40, 41), "float32", False)
        first, second = (leaves(ours.packed_sweeps(state, task, 2, 0.0)) for _ in range(2))
        assert all(map(torch.equal, first, second))

    def test_known_answer(self) -> None:
        """Two equations, by hand: 2 x - y = 1, 2 y - x = 0, one Gauss-Seidel sweep from zero."""
        one = torch.ones((), dtype=torch.float64, device=DEVICE)
        b = torch.tensor([1.0, 0.0], dtype=torch.float64, device=DEVICE)
        A = packed(Stencil(2.0, (1.0,), (2,)), b)
        zero = pack(0 * b, A.odd)
        task = PackedTask(A, pack(b, A.odd), 1.0, None, one, "forward")
        state, done, error = ours.packed_sweeps(SweepState(zero, one, zero, one, None), task, 1, 0.0)
        assert done == 1
        assert unpack(state.x, A.odd, 2).tolist() == [0.5, 0.25]
        assert float(error) == 0.25

    def test_the_host_reads_no_value(self) -> None:
        state, task = problem((5, 6), batch=(2,), chebyshev=True)

        class Watched(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                seen.append(str(func))
                return func(*args, **(kwargs or {}))

        seen: list[str] = []
        launched: list[str] = []

        class Silent:
            """Launches nothing: what the interpreter itself copies is none of ours."""

            def __init__(self, name: str) -> None:
                self.name = name

            def __getitem__(self, grid: Any) -> Any:
                return lambda *args, **settings: launched.append(self.name)

        with pytest.MonkeyPatch.context() as patched:
            for name in ("relaxed_tile", "residual_tile", "chebyshev"):
                patched.setattr(ours, name, Silent(name))
            with Watched():
                ours.packed_sweeps(state, task, 3, 0.0)
        assert launched == ["chebyshev", *["relaxed_tile"] * 6, "residual_tile"]
        assert seen
        assert not [name for name in seen if "item" in name or "local_scalar" in name or "nonzero" in name]

    @pytest.mark.parametrize("omega", [1.3, "chebyshev"])
    def test_a_solve(self, omega: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Through the dispatch, as the table of the backend makes it."""
        b = torch.tensor(np.random.default_rng(0).standard_normal((2, 5, 6)), device=DEVICE)
        A = Stencil.laplacian((5, 6))
        monkeypatch.setattr(find("torch"), "borrows", ())
        assert override(find("torch"), "linear.sor_red_black") is ours.packed_sweeps
        calls: list[Any] = []
        error_of = ours.error_of
        monkeypatch.setattr(ours, "error_of", lambda *args: calls.append(args) or error_of(*args))
        got = sor(A, b, omega=omega, order="red_black", tol=1e-3)
        assert calls
        with eq.portable():
            want = sor(A, b, omega=omega, order="red_black", tol=1e-3)
        assert got.converged.all()
        assert got.steps.tolist() == want.steps.tolist()
        torch.testing.assert_close(got.x, want.x, rtol=0, atol=1e-12)

    def test_declines(self) -> None:
        state, task = problem((3, 4), "float32")

        def sweep(state: Any, task: Any) -> Any:
            return ours.packed_sweeps(state, task, 1, 0.0)

        assert sweep(state, task) is not NotImplemented
        wants = tuple(v.clone().requires_grad_() for v in task.b)
        assert sweep(state, replace(task, b=wants)) is NotImplemented
        with torch.no_grad():
            assert sweep(state, replace(task, b=wants)) is not NotImplemented
        assert sweep(state, replace(task, b=tuple(v.double() for v in task.b))) is NotImplemented
        halved = map_arrays(lambda v: v.bfloat16() if v.is_floating_point() else v, (state, task))
        assert sweep(*halved) is NotImplemented
        negated = tuple(torch.complex(v, v).conj().imag for v in task.b)  # views that say so only by a flag
        assert sweep(state, replace(task, b=negated)) is NotImplemented
        none = map_arrays(lambda v: v.expand(0, *v.shape) if v.is_floating_point() else v, (state, task))
        assert sweep(*none) is NotImplemented
        seen = []
        torch.func.vmap(lambda v: seen.append(sweep(replace(state, x=(v, v)), task)) or v)(state.x[0][None])
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
    state, task = map_arrays(torch.Tensor.cpu, problem((3, 4)))
    assert ours.packed_sweeps(state, task, 1, 0.0) is NotImplemented
    assert packed_sweeps(state, task, 1, 0.0)[0].x[0].shape == (3, 2)  # somebody does it


@needs_triton
@pytest.mark.skipif(INTERPRETING, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [75, 80, 90, 100, 120])
def test_compiles_without_a_gpu(capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Every kernel; each dtype and each kind of stencil on the oldest and the newest."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kinds = [("fp32", True, 2), ("fp64", False, 3)] if capability in (75, 120) else [("fp32", False, 1)]
    integers = {"b_step", "step", "stage_step", "factor_step", "place", "lines", "n1", "n", "width", "plane", "size"}
    integers |= {"beta_step", "count", "stages"}
    for dtype, constant, axes in kinds:
        cut = ours.tile(1000, 1000, 1, dtype == "fp64")
        options = {name: cut.pop(name) for name in ("num_warps", "enable_fp_fusion")}
        values = {"COLOR": 1, "TIMES": 2, "AXES": axes, "CONSTANT": constant, "LANES": ours.LANES, **cut}
        for kernel in (ours.relaxed_tile, ours.residual_tile, ours.chebyshev):
            constants = {name: value for name, value in values.items() if name in kernel.arg_names}
            types = {
                name: "constexpr" if name in constants else "i32" if name in integers else f"*{dtype}"
                for name in kernel.arg_names
            }
            places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
            made = ours.triton.compile(
                ASTSource(kernel, types, places), target=GPUTarget("cuda", capability, 32), options=options
            )
            assert made.asm["cubin"]
            assert made.metadata.shared <= 48 * 1024
