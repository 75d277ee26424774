from __future__ import annotations

import builtins
import io

import jax
import numpy as np
import pytest
import torch

import equipoise as eq

cost = np.random.default_rng(0).random((20, 20))


@pytest.mark.parametrize("array", [np.array, torch.tensor, jax.numpy.array])
def test_a_bar_names_the_method_and_shows_the_error(array: object) -> None:
    seen = io.StringIO()
    with eq.progress(file=seen, mininterval=0):
        eq.transport.sinkhorn(array(cost), epsilon=0.02)  # type: ignore[operator]
    assert "transport.sinkhorn" in seen.getvalue()
    assert "tol 1e-06" in seen.getvalue()


def test_no_bar_outside(capsys: pytest.CaptureFixture[str]) -> None:
    eq.transport.sinkhorn(cost, epsilon=0.02)
    assert capsys.readouterr().err == ""


def test_no_bar_under_jit() -> None:
    seen = io.StringIO()
    with eq.progress(file=seen):
        jax.jit(lambda c: eq.transport.sinkhorn(c, epsilon=0.02).f)(jax.numpy.array(cost))
    assert seen.getvalue() == ""


def test_without_tqdm_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"equipoise\[plot\]"), eq.progress():
        pass
