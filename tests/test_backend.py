from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.backend import current, find, of


def name() -> str | None:
    setting = current.get()
    return setting.backend.name if setting else None


class TestFinding:
    def test_unknown(self) -> None:
        with pytest.raises(
            ValueError, match=r"no backend 'tensorflow'; the registered ones are cupy, jax, numpy, torch"
        ):
            eq.backend("tensorflow")

    def test_not_installed_says_which_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Point:
            def load(self) -> None:
                raise ModuleNotFoundError("No module named 'cupy'")

        monkeypatch.setitem(find.__wrapped__.__globals__, "available", lambda: {"cupy": Point()})
        with pytest.raises(ImportError, match=r"pip install 'equipoise\[cupy\]'"):
            find.__wrapped__("cupy")

    def test_of(self) -> None:
        assert of(None, np.zeros(1)).name == "numpy"
        assert of(torch.zeros(1)).name == "torch"
        with pytest.raises(TypeError):
            of(1.0)


class TestContext:
    def test_nests_and_survives_exceptions(self) -> None:
        with eq.backend("torch"):
            try:
                with eq.backend("jax"):
                    assert name() == "jax"
                    raise RuntimeError
            except RuntimeError:
                pass
            assert name() == "torch"
        assert name() is None

    def test_one_object_entered_twice(self) -> None:
        context = eq.backend("torch")
        with context, eq.backend("jax"), context:
            assert name() == "torch"
        assert name() is None

    def test_decorator(self) -> None:
        @eq.backend("torch")
        def inside(x: int) -> tuple[str | None, int]:
            """Doc."""
            return name(), x

        assert inside(3) == ("torch", 3)
        assert inside.__doc__ == "Doc."
        assert name() is None

    def test_decorated_coroutine(self) -> None:
        @eq.backend("torch")
        async def inside() -> str | None:
            await asyncio.sleep(0)
            return name()

        async def main() -> list[str | None]:
            return [await inside(), name()]

        assert asyncio.run(main()) == ["torch", None]

    def test_a_generator_is_refused(self) -> None:
        with pytest.raises(TypeError, match="is a generator"):

            @eq.backend("torch")
            def inside():  # type: ignore[no-untyped-def]
                yield 1

    @pytest.mark.parametrize(
        ("keywords", "sentence"),
        [
            ({"device": "cuda:99"}, r"no device 'cuda:99' here; it has cpu"),
            ({"dtype": "float16"}, r"dtype must be 'float32' or 'float64', got 'float16'"),
        ],
    )
    def test_bad_settings(self, keywords: dict[str, str], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            eq.backend("torch", **keywords)


class TestWhoInherits:
    def test_threads_and_pools_start_outside(self) -> None:
        seen: list[str | None] = []
        with eq.backend("torch"), concurrent.futures.ThreadPoolExecutor(1) as pool:
            thread = threading.Thread(target=lambda: seen.append(name()))
            thread.start()
            thread.join()
            seen.append(pool.submit(name).result())
        assert seen == [None, None]

    def test_one_context_in_many_threads(self) -> None:
        context = eq.backend("torch")
        barrier = threading.Barrier(4)

        def inside(i: int) -> tuple[str | None, str | None]:
            with context:
                barrier.wait()
                first = name()
                if i % 2:
                    with eq.backend("numpy"):
                        barrier.wait()
                else:
                    barrier.wait()
                return first, name()

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert set(pool.map(inside, range(4))) == {("torch", "torch")}
            assert pool.submit(name).result() is None

    def test_tasks_and_to_thread_inherit_and_do_not_leak(self) -> None:
        async def child(other: str) -> list[str | None]:
            seen = [name()]
            with eq.backend(other):
                await asyncio.sleep(0.001)
                seen.append(name())
            return [*seen, name()]

        async def main() -> None:
            with eq.backend("torch"):
                tasks = [asyncio.create_task(child(other)) for other in ("jax", "numpy", "torch")]
                inherited = await asyncio.to_thread(name)
            assert name() is None
            assert inherited == "torch"
            assert [await t for t in tasks] == [["torch", other, "torch"] for other in ("jax", "numpy", "torch")]

        asyncio.run(main())


class TestWithout:
    """What is missing is done without, or asked for in a sentence."""

    def run(self, code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def test_numba(self) -> None:
        code = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "numba" else found(name, *more)
import jax
import numpy as np
import equipoise as eq
result = eq.transport.sinkhorn(np.random.default_rng(0).random((9, 8)), epsilon=0.1)
print(result.converged, "numba" in sys.modules, "array.index_sum" in eq.backend("numpy").backend.kernels)
"""
        assert self.run(code) == "True False True"

    def test_sketches_without_numba(self) -> None:
        """What BLAS does is left: least squares and sketches work, and nothing imports numba."""
        code = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "numba" else found(name, *more)
import numpy as np
import equipoise as eq
rng = np.random.default_rng(0)
A, b = rng.normal(size=(3000, 60)), rng.normal(size=3000)
exact = np.linalg.lstsq(A, b)[0]
for method in ("direct", "cholesky_qr", "spir"):
    assert abs(eq.sketch.lstsq(A, b, method=method).x - exact).max() < 1e-13, method
assert eq.sketch.lstsq(A, b, method="sketch_solve", sketch_rows=500).converged
print(abs(eq.sketch.leverage_scores(A).sum() - 60) < 1e-9, "numba" in sys.modules)
"""
        assert self.run(code) == "True False"

    @pytest.mark.parametrize("name", ["torch", "jax"])
    def test_a_library(self, name: str) -> None:
        code = f"""
import sys
sys.modules[{name!r}] = None
import equipoise as eq
try:
    eq.backend({name!r})
except ImportError as error:
    print(error)
"""
        said = self.run(code)
        assert f"backend {name!r} could not be imported" in said
        assert f"pip install 'equipoise[{name}]'" in said

    def test_sixty_four_bits(self) -> None:
        with jax.enable_x64(False):
            cost = jax.numpy.array(np.random.default_rng(0).random((9, 8)))
            for result in (
                eq.transport.sinkhorn(cost, epsilon=0.1),
                jax.jit(lambda c: eq.transport.sinkhorn(c, epsilon=0.1))(cost),
            ):
                assert result.converged
                assert result.f.dtype == np.float32
                assert result.steps.dtype == np.int32
            slope = jax.grad(lambda c: eq.transport.sinkhorn(c, epsilon=0.1).value)(cost)
            np.testing.assert_allclose(slope, result.plan(), atol=1e-6)
