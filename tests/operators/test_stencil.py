from __future__ import annotations

import contextlib
import itertools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.test_util import check_grads

import equipoise as eq
from equipoise.arrays import library
from equipoise.operators import CSR, LinearOperator, Stencil, StoredOperator

from ..backends import Case

GRIDS = [(1,), (4,), (3, 5), (1, 4), (4, 1), (1, 1), (3, 2, 4), (2, 1, 3), (1, 3, 1)]


def shortened(grid: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(n - (k == axis) for k, n in enumerate(grid))


def stencil(grid: tuple[int, ...], dtype: str = "float64", batch: tuple[int, ...] = (), seed: int = 0) -> Stencil[Any]:
    """Fields everywhere; the batch is on the centre and on the last faces only."""
    rng = np.random.default_rng(seed)
    center = rng.standard_normal((*batch, *grid)).astype(dtype)
    faces = [rng.standard_normal(shortened(grid, k)).astype(dtype) for k in range(len(grid))]
    faces[-1] = rng.standard_normal((*batch, *faces[-1].shape)).astype(dtype)
    return Stencil(center, tuple(faces), grid)


def dense(a: Stencil[Any], dtype: Any = np.float64) -> np.ndarray:
    """The matrix from the definition, cell by cell."""
    fields = [np.broadcast_to(v, (*np.shape(v)[: -len(a.grid)], *a.grid)) if np.ndim(v) else v for v in (a.center,)]
    batch = np.broadcast_shapes(*(np.shape(v)[: -len(a.grid)] for v in (a.center, *a.faces) if np.ndim(v)))
    center = np.broadcast_to(fields[0], (*batch, *a.grid))
    faces = [np.broadcast_to(w, (*batch, *shortened(a.grid, k))) for k, w in enumerate(a.faces)]
    cells = list(itertools.product(*map(range, a.grid)))
    out = np.zeros((*batch, len(cells), len(cells)), dtype=dtype)
    for i, here in enumerate(cells):
        out[..., i, i] = center[(..., *here)]
        for k in range(len(a.grid)):
            there = tuple(c + (j == k) for j, c in enumerate(here))
            if there in cells:
                j = cells.index(there)
                out[..., i, j] = out[..., j, i] = -faces[k][(..., *here)]
    return out


def flat(x: Any, grid: tuple[int, ...]) -> Any:
    return x.reshape(*x.shape[: x.ndim - len(grid)], math.prod(grid))


def close(a: Any, b: Any) -> None:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    eps = np.finfo(b.dtype).eps
    np.testing.assert_allclose(a, b, rtol=0, atol=20 * eps * max(1.0, np.abs(b).max(initial=0)))


def everything(A: Any, x: Any) -> Any:
    return A.matvec(x), A.rmatvec(x), A @ x, A.__rmatmul__(x), A.diagonal(), A.to_csr()


def check_everything(out: Any, a: Stencil[Any], x: np.ndarray) -> None:
    full = dense(a, x.dtype)
    expected = np.einsum("...ij,...j->...i", full, flat(x, a.grid))
    for product in out[:4]:
        close(flat(product, a.grid), expected)
    batched = full if np.ndim(a.center) > len(a.grid) else full[(0,) * (full.ndim - 2)]
    close(flat(out[4], a.grid), np.diagonal(batched, axis1=-2, axis2=-1).astype(out[4].dtype))
    csr = out[5]
    dense_csr = np.zeros((*csr.data.shape[:-1], *csr.shape), dtype=csr.data.dtype)
    np.add.at(dense_csr, (..., csr.rows, csr.indices), csr.data)
    close(dense_csr, full.astype(csr.data.dtype))
    assert csr.data.shape[-1] == math.prod(a.grid) + 2 * sum(
        math.prod(shortened(a.grid, k)) for k in range(len(a.grid))
    )


def sample(rng: np.random.Generator, dtype: str) -> Any:
    """What tests/test_kernel.py holds overrides of the product to."""

    def numbers(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    for grid in (*GRIDS, (5, 9), (6, 4), (4, 6, 7), (3, 1, 5), (17,)):
        for batch in ((), (2,), (3, 2)):
            x = numbers(*batch, *grid)
            faces = tuple(numbers(*shortened(grid, k)) for k in range(len(grid)))
            for center in (2.5, numbers(), numbers(*grid)):
                for weights in ((0.5,) * len(grid), tuple(numbers() for _ in grid), faces):
                    yield (center, weights, x), {"grid": grid}
    ones, more = (1,) * 2, (numbers(1, 5), 0.5)
    for center in (numbers(2, *ones), numbers(2, 3, 5), numbers(1, 5), numbers(4, 1, *ones), numbers(4, 1, 3, 5)):
        for weights in ((0.5, numbers(2, *ones)), more, (numbers(2, 2, 5), 1.0), (numbers(4, 1, 2, 1), numbers(3, 4))):
            for x in (numbers(3, 5), numbers(2, 3, 5), numbers(3, 5, 2).swapaxes(0, 2).swapaxes(1, 2)):
                yield (center, weights, x), {"grid": (3, 5)}


# ---------------------------------------------------------------------------------------------------------------------
# Products and entries


@pytest.mark.parametrize("grid", GRIDS)
def test_fields(on: Case, grid: tuple[int, ...]) -> None:
    if on.name.startswith("jax") and grid not in ((3, 5), (2, 1, 3)):
        pytest.skip("another shape tells nothing new to the compiler")
    a, x = stencil(grid), np.random.default_rng(1).standard_normal(grid)
    check_everything(on.numpy(on.call(everything, a, x)), a, x)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_batches(on: Case, dtype: str) -> None:
    a, rng = stencil((3, 2), dtype, (2,)), np.random.default_rng(1)
    for batch in ((), (2,), (4, 1)):
        x = rng.standard_normal((*batch, 3, 2)).astype(dtype)
        check_everything(on.numpy(on.call(everything, a, x)), a, x)
    one = Stencil(np.ones((3, 2), dtype), (np.ones((1, 2), dtype), np.array(0.5, dtype)), (3, 2))
    x = rng.standard_normal((2, 3, 2)).astype(dtype)
    check_everything(on.numpy(on.call(everything, one, x)), one, x)
    scalars = Stencil(
        np.array([2.0, 3.0], dtype)[:, None, None], (1.0, np.array([1.0, 0.5], dtype)[:, None, None]), (3, 2)
    )
    check_everything(on.numpy(on.call(everything, scalars, x)), scalars, x)
    check_everything(on.numpy(on.call(everything, scalars, x[0])), scalars, x[0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_floats_follow_the_vectors(on: Case, dtype: str) -> None:
    a, x = Stencil.laplacian((3, 4), spacing=(0.5, 0.25), scale=0.1, shift=1.0), np.ones((2, 3, 4), dtype)
    product = on.numpy(on.call(lambda A, x: A @ x, a, x))
    close(flat(product, a.grid), flat(x, a.grid) @ dense(a, dtype))
    here = on.numpy(on.call(lambda A, x: A.beside(x), a, x))
    assert {v.dtype for v in (here.center, *here.faces)} == {np.dtype(dtype)}
    assert here.constant
    if not on.jit:
        assert a.to_csr().data.dtype == a.diagonal().dtype == np.float64
        assert a.diagonal().shape == (3, 4)


def test_the_pattern_is_shared_and_ascends() -> None:
    for grid in GRIDS:
        first, second = stencil(grid).to_csr(), stencil(grid, "float32", (2,), seed=3).to_csr()
        assert first.indices is second.indices
        assert first.indptr is second.indptr
        assert first.rows is second.rows
        again = CSR(first.data, first.indices, first.indptr, first.shape)  # checks the pattern
        assert again.rows.tolist() == first.rows.tolist()
        for i in range(again.shape[0]):
            row = first.indices[first.indptr[i] : first.indptr[i + 1]]
            assert np.all(row[1:] > row[:-1])
    for array in (torch.tensor, jnp.asarray):
        first, second = (eq.map_arrays(array, stencil((3, 4), seed=k)).to_csr() for k in (1, 2))
        assert first.indices is second.indices


def test_laplacian() -> None:
    field = np.arange(6.0).reshape(2, 3)
    a = Stencil.laplacian((2, 3), spacing=(0.5, 2.0), scale=3.0, shift=field)
    assert a.faces == (12.0, 0.75)
    np.testing.assert_array_equal(a.center, field + 25.5)
    assert not a.constant
    assert Stencil.laplacian(4) == Stencil.laplacian(4) or Stencil.laplacian(4).grid == (4,)
    n = 6
    modes = np.sort(np.linalg.eigvalsh(dense(Stencil.laplacian((n, n)))))
    one = 2 - 2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1))
    np.testing.assert_allclose(modes, np.sort((one[:, None] + one).reshape(-1)), atol=1e-12)
    for scale in (np.array(2.0, "f4"), torch.tensor(2.0), jnp.asarray(2.0, dtype="float32")):
        made = Stencil.laplacian((2, 3), scale=scale, shift=scale)
        assert made.constant
        assert library(made.center) == library(made.faces[0]) == library(scale)
        assert str(made.dtype).endswith("float32")
        assert float(made.center) == 10.0


@pytest.mark.parametrize("grid", GRIDS)
def test_diffusion(on: Case, grid: tuple[int, ...]) -> None:
    if on.name.startswith("jax") and grid != (3, 5):
        pytest.skip("another shape tells nothing new to the compiler")
    weights = stencil(grid).faces
    for shift in (0.5, np.array(0.5), np.full(grid, 0.5), np.array([[1.0], [2.0]]).reshape(2, *(1 for _ in grid))):
        made = on.call(lambda w, s: Stencil.diffusion(w, shift=s), weights, shift)
        assert made.grid == grid
        rows = dense(on.numpy(made)).sum(-1)
        np.testing.assert_allclose(rows, flat(shift + np.zeros(grid), grid) if np.ndim(shift) else shift + 0 * rows)


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


def energy(center: Any, faces: Any, x: Any) -> Any:
    """Something that is linear in nothing."""
    A: Stencil[Any] = Stencil(center, faces, tuple(x.shape[-2:]))
    return (A.matvec(x) ** 2).sum() + (A.to_csr().data ** 3).sum() + (A.diagonal() ** 2).sum()


NUMBERS: list[tuple[Any, tuple[Any, ...]]] = [
    (np.array(4.0), (np.array(1.0), np.array(0.5))),
    (np.array([[[3.0]], [[4.0]]]), (np.ones((1, 2)), np.ones((2, 3, 1)))),
    (stencil((3, 2), batch=(2,)).center, stencil((3, 2), batch=(2,)).faces),
]


@pytest.mark.parametrize("numbers", NUMBERS)
def test_derivatives(numbers: Any) -> None:
    center, faces = numbers
    inputs = (center, *faces, np.random.default_rng(0).standard_normal((3, 2)))

    def on_lists(c: Any, v: Any, w: Any, x: Any) -> Any:
        return energy(c, (v, w), x)

    tensors = tuple(torch.tensor(v, requires_grad=True) for v in inputs)
    assert torch.autograd.gradgradcheck(on_lists, tensors)
    for context in (contextlib.nullcontext(), eq.portable()):
        with context:
            assert torch.autograd.gradcheck(on_lists, tensors)
            on_torch = torch.autograd.grad(on_lists(*tensors), tensors)
            on_jax = jax.jit(jax.grad(on_lists, argnums=(0, 1, 2, 3)))(*inputs)
        for t, j in zip(on_torch, on_jax, strict=True):
            np.testing.assert_allclose(t.numpy(), np.asarray(j), rtol=1e-12, atol=1e-12)


def test_second_derivatives_of_jax() -> None:
    a = eq.map_arrays(jnp.asarray, stencil((3,)))
    product = jax.jit(lambda c, w, x: (Stencil(c, (w,), (3,)).matvec(x) ** 2).sum())
    check_grads(product, (a.center, a.faces[0], a.center), order=2, modes=["rev"])


def test_the_numbers_of_a_record_have_derivatives() -> None:
    x = np.random.default_rng(0).standard_normal((3, 2))

    def of_record(A: Any) -> Any:
        return (A.matvec(jnp.asarray(x)) ** 2).sum()

    a = Stencil.laplacian((3, 2), shift=0.5)
    slope = jax.jit(jax.grad(of_record))(a)
    step = 1e-6
    for k in range(3):
        values = [4.5, 1.0, 1.0]
        values[k] += step
        moved = Stencil(values[0], (values[1], values[2]), (3, 2))
        numbers = [slope.center, *slope.faces]
        assert math.isclose(numbers[k], (of_record(moved) - of_record(a)) / step, rel_tol=1e-4)
    sloped = jax.grad(lambda A: (A.matvec(jnp.asarray(x, "float32")) ** 2).sum())(a)
    np.testing.assert_allclose(sloped.center, slope.center, rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Records, contexts, transformations


def test_they_are_operators() -> None:
    for a in (stencil((3, 2)), Stencil(4.0, (1.0, 1.0), (3, 2))):
        assert isinstance(a, LinearOperator)
        assert isinstance(a, StoredOperator)
        assert a.shape == (6, 6)
        assert (np.ones((3, 2)) @ a).shape == (3, 2)
    assert stencil((3, 2), "float32").dtype == np.float32
    assert Stencil(4, (1.0, np.float32(1)), (3, 2)).dtype is None
    assert Stencil(4.0, (1.0, np.ones(())), (3, 2)).constant


def test_text() -> None:
    assert repr(Stencil(4.0, (1.0, 1.0), (3, 2))) == "Stencil(6 x 6, grid (3, 2), constant)"
    assert repr(stencil((3, 2), "float32", (2,))) == "Stencil(6 x 6, grid (3, 2), batch (2,), float32)"
    assert repr(Stencil(torch.tensor(4.0), (1.0,), (3,))) == "Stencil(3 x 3, grid (3,), constant, float32)"
    assert repr(jax.tree.map(lambda x: "here", stencil((3,)))) == "Stencil(3 x 3, grid (3,))"


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_they_heed_the_context(name: str) -> None:
    x = np.arange(6.0).reshape(3, 2)
    for a in (stencil((3, 2)), Stencil(4.0, (1.0, np.array(0.5)), (3, 2)), Stencil(4.0, (1.0, 1.0), (3, 2))):
        with eq.backend(name, dtype="float32"):
            for out in (a @ x, a.matvec(x), x @ a):
                assert isinstance(out, np.ndarray)
                assert out.dtype == np.float32
                np.testing.assert_allclose(flat(out, (3, 2)), dense(a) @ x.reshape(-1), rtol=1e-5, atol=1e-5)
            if a.dtype is not None:
                assert a.diagonal().dtype == a.to_csr().data.dtype == np.float32
        with eq.backend(name, keep=True):
            assert library(a @ x) == name


def test_they_are_stored(tmp_path: Path) -> None:
    x = np.arange(6.0).reshape(3, 2)
    for a in (stencil((3, 2)), Stencil(4.0, (1.0, np.array(0.5)), (3, 2))):
        eq.save(tmp_path / "a.npz", a)
        again = eq.load(tmp_path / "a.npz")
        assert again.grid == (3, 2)
        assert type(again.faces) is tuple
        close(again @ x, a @ x)


def test_under_transformations() -> None:
    x = jnp.arange(12.0).reshape(2, 3, 2)
    a = eq.map_arrays(jnp.asarray, stencil((3, 2), batch=(2,)))
    expected = np.asarray(a.matvec(x))
    over = jax.vmap(lambda c, w, x: Stencil(c, (a.faces[0], w), (3, 2)) @ x)
    close(np.asarray(over(a.center, a.faces[1], x)), expected)
    scaled = jax.jit(jax.vmap(lambda s: Stencil.laplacian((3, 2), scale=s) @ x[0]))(jnp.array([1.0, 2.0]))
    close(np.asarray(scaled), np.stack([Stencil.laplacian((3, 2), scale=s) @ np.asarray(x[0]) for s in (1.0, 2.0)]))
    t = torch.tensor(np.asarray(x))
    close(torch.func.vmap(Stencil.laplacian((3, 2)).matvec)(t).numpy(), Stencil.laplacian((3, 2)) @ np.asarray(x))


# ---------------------------------------------------------------------------------------------------------------------
# What is refused

F = np.ones((2, 2))


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (ValueError, r"grid must be a tuple of .*, got \(\)", lambda: Stencil(1.0, (), ())),
        (ValueError, r"grid must be a tuple of .*, got \(3, 0\)", lambda: Stencil(1.0, (1.0, 1.0), (3, 0))),
        (ValueError, r"grid must .*, got \(3, 1\.5\)", lambda: Stencil(1.0, (1.0, 1.0), (3, 1.5))),
        (ValueError, "one entry for each of the 2 axes of the grid, got 1", lambda: Stencil(1.0, (1.0,), (3, 2))),
        (ValueError, "one entry for each of the 1 axes .*, got float", lambda: Stencil(1.0, 1.0, (3,))),
        (TypeError, "center must be a number or an array .*, got list", lambda: Stencil([1.0], (1.0,), (3,))),
        (TypeError, "center must be a number or an array .*, got bool", lambda: Stencil(True, (1.0,), (3,))),
        (TypeError, "center .* floating-point numbers, got dtype int64", lambda: Stencil(np.array(1), (1.0,), (3,))),
        (TypeError, r"faces\[0\] .*, got dtype complex128", lambda: Stencil(1.0, (np.array(1j),), (3,))),
        (ValueError, r"center .* shape \(\.\.\., 3, 2\), got \(2,\)", lambda: Stencil(F[0], (1.0, 1.0), (3, 2))),
        (ValueError, r"faces\[1\] .* shape \(\.\.\., 2, 1\), got \(2, 2\)", lambda: Stencil(1.0, (1.0, F), (2, 2))),
        (
            TypeError,
            "center and .* one dtype, got float32 and float64",
            lambda: Stencil(F, (F[:1].astype("f4"), 1), (2, 2)),
        ),
        (TypeError, "two libraries, numpy and torch", lambda: Stencil(F, (torch.ones(1, 2), 1.0), (2, 2))),
        (
            ValueError,
            r"batch axes .* do not broadcast: shapes \(2, 3\), \(3, 2\)",
            lambda: Stencil(np.ones((2, 3)), (np.ones((3, 2)),), (3,)),
        ),
        (ValueError, r"shape must be a tuple .*, got \(0,\)", lambda: Stencil.laplacian(0)),
        (ValueError, r"spacing must be positive, .*, got -1\.0", lambda: Stencil.laplacian(3, spacing=-1.0)),
        (ValueError, r"one for each of 1 axes, got \(1\.0, 1\.0\)", lambda: Stencil.laplacian(3, spacing=(1.0, 1.0))),
        (TypeError, "shift must be a number .*, got str", lambda: Stencil.laplacian(3, shift="a")),
        (
            TypeError,
            "scale and shift .* one dtype",
            lambda: Stencil.laplacian(2, scale=np.array(1.0), shift=F[0].astype("f4")),
        ),
        (ValueError, r"weights must be .* arrays, one an axis, got 0", lambda: Stencil.diffusion((), shift=1.0)),
        (TypeError, r"weights\[1\] must be an array .*, got float", lambda: Stencil.diffusion((F, 1.0), shift=1.0)),
        (ValueError, r"weights\[0\] must have at least 2 axes", lambda: Stencil.diffusion((F[0], F), shift=1.0)),
        (
            ValueError,
            r"weights\[1\] must have shape \(\.\.\., 3, 1\) to fit weights\[0\], got \(2, 2\)",
            lambda: Stencil.diffusion((F, F), shift=1.0),
        ),
        (
            TypeError,
            r"shift and weights\[0\] .* one dtype",
            lambda: Stencil.diffusion((F[0],), shift=np.array(1.0, "f4")),
        ),
        (TypeError, "x must be an array, got list", lambda: Stencil(1.0, (1.0,), (2,)) @ [1.0, 1.0]),
        (ValueError, r"x must have shape \(\.\.\., 2\), got \(3,\)", lambda: Stencil(1.0, (1.0,), (2,)) @ np.ones(3)),
        (ValueError, r"y must have shape \(\.\.\., 2, 2\), got \(2,\)", lambda: F[0] @ Stencil(F, (1.0, 1.0), (2, 2))),
        (TypeError, "x must hold floating-point numbers", lambda: Stencil(1.0, (1.0,), (2,)) @ np.ones(2, int)),
        (TypeError, "operator's dtype float64, got float32", lambda: Stencil(F[0], (1.0,), (2,)) @ np.ones(2, "f4")),
        (TypeError, "two libraries, numpy and torch", lambda: Stencil(F[0], (1.0,), (2,)) @ torch.ones(2)),
        (
            ValueError,
            r"x, shape \(3, 2\), .* over a batch \(2,\)",
            lambda: Stencil(F, (1.0,), (2,)) @ np.ones((3, 2)),
        ),
    ],
)
def test_bad_input(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()
