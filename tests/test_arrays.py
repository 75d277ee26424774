from __future__ import annotations

import array_api_strict
import jax
import numpy as np
import pytest
import torch

from equipoise.arrays import Array, first_index, is_floating, library, like, namespace

from .backends import Case


class TestLibrary:
    @pytest.mark.parametrize(
        "x", [1, 1.5, True, None, [1.0], (1.0,), "text", np.float64(1.0), np.zeros, torch.nn.ReLU()]
    )
    def test_not_an_array(self, x: object) -> None:
        assert library(x) == ""

    def test_names(self) -> None:
        assert library(np.zeros(2)) == "numpy"
        assert library(torch.zeros(2)) == "torch"
        assert library(torch.nn.Parameter(torch.zeros(2))) == "torch"
        assert library(jax.numpy.zeros(2)) == "jax"
        assert library(array_api_strict.zeros(2)) == "array_api_strict"

    def test_a_tracer_is_a_jax_array(self) -> None:
        seen = []
        jax.jit(lambda x: seen.append(library(x)) or x)(jax.numpy.zeros(2))
        jax.grad(lambda x: seen.append(library(x)) or x.sum())(jax.numpy.zeros(2))
        assert seen == ["jax", "jax"]

    def test_every_array_satisfies_the_protocol(self, on: Case) -> None:
        assert isinstance(on.array(np.zeros(2)), Array)


class TestNamespace:
    def test_passes_over_what_is_no_array(self, on: Case) -> None:
        x = on.array(np.zeros(2))
        assert namespace(None, 1.0, x) is namespace(x)

    def test_a_mix_names_both(self) -> None:
        with pytest.raises(TypeError, match=r"two libraries, numpy and torch"):
            namespace(np.zeros(2), torch.zeros(2))

    def test_nothing(self) -> None:
        with pytest.raises(TypeError, match=r"expected an array .* got list"):
            namespace([1.0], None)


def test_like_puts_new_arrays_beside_old_ones(on: Case) -> None:
    x = on.array(np.zeros(2, dtype="float32"))
    made = namespace(x).ones((3,), **like(x))
    assert made.dtype == x.dtype
    assert getattr(made, "device", None) == getattr(x, "device", None)


def test_is_floating(on: Case) -> None:
    assert is_floating(on.array(np.zeros(2)))
    assert not is_floating(on.array(np.arange(2)))


def test_first_index(on: Case) -> None:
    assert first_index(on.array(np.array([[False, False], [True, True]]))) == (1, 0)
