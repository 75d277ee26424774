"""Read by mypy, not run: what the public surface promises to a type checker about numpy, torch and jax arrays."""

from typing import Any, assert_type

import jax
import numpy as np
import torch

import equipoise as eq
from equipoise.monotone import GameResult, LinearProgramResult, MonotoneResult
from equipoise.precondition import HessianFit, MinimizeResult, fit_hessian, minimize, psgd
from equipoise.quasimetric import Embedding
from equipoise.result import History
from equipoise.sketch import LstsqResult
from equipoise.transport import TransportResult, sinkhorn

Float = np.ndarray[tuple[Any, ...], np.dtype[np.float64]]


def numpy_in_numpy_out(cost: Float, a: Float) -> None:
    result = sinkhorn(cost, a, epsilon=0.1)
    assert_type(result, TransportResult[Float])
    assert_type(result.plan(), Float)
    assert_type(result.f, Float)


def torch_in_torch_out(cost: torch.Tensor) -> None:
    result = eq.transport.sinkhorn(cost, epsilon=0.1, init=(cost, None))
    assert_type(result, TransportResult[torch.Tensor])
    assert_type(result.value, torch.Tensor)
    assert_type(result.apply(cost, transpose=True), torch.Tensor)
    assert_type(result.history, History[torch.Tensor] | None)


def jax_in_jax_out(cost: jax.Array) -> None:
    result = sinkhorn(cost, epsilon=0.1)
    assert_type(result, TransportResult[jax.Array])
    assert_type(result.transport_cost, jax.Array)


@eq.backend("torch")
def a_decorator_keeps_the_signature(cost: Float, *, epsilon: float) -> TransportResult[Float]:
    return sinkhorn(cost, epsilon=epsilon)


def the_decorated(cost: Float) -> None:
    assert_type(a_decorator_keeps_the_signature(cost, epsilon=0.1), TransportResult[Float])


def of_a_sketch(A: torch.Tensor, b: Float) -> None:
    result = eq.sketch.lstsq(A, A)
    assert_type(result, LstsqResult[torch.Tensor])
    assert_type(result.x, torch.Tensor)
    assert_type(result.coordinate_bound(0.1), torch.Tensor)
    assert_type(eq.sketch.leverage_scores(b), Float)


def of_inclusions(A: torch.Tensor, c: Float, x: jax.Array) -> None:
    game = eq.monotone.matrix_game(A)
    assert_type(game, GameResult[torch.Tensor])
    assert_type(game.value, torch.Tensor)
    assert_type(eq.monotone.linear_program(c, G=c, h=c), LinearProgramResult[Float])
    result = eq.monotone.halpern(lambda u: u, x, resolvent=eq.monotone.Box(0.0, 1.0))
    assert_type(result, MonotoneResult[jax.Array])
    sampled = eq.monotone.halpern_vr(eq.monotone.LogisticGradient(A, A), A)
    assert_type(sampled.oracle_calls, torch.Tensor)


def of_quasimetrics(x: torch.Tensor, D: Float) -> None:
    assert_type(eq.quasimetric.iqe(x, x, components=2), torch.Tensor)
    assert_type(eq.quasimetric.pqe_pairwise(D, components=2), Float)
    assert_type(eq.quasimetric.iqe_vjp(D, D, D, components=2), tuple[Float, Float])
    found = eq.quasimetric.fit(D, dim=4, components=2)
    assert_type(found, Embedding[Float])
    assert_type(found.distances(), Float)


def what_is_rejected(cost: Float, other: torch.Tensor) -> None:
    sinkhorn([[0.0, 1.0]], epsilon=0.1)  # type: ignore[arg-type]
    sinkhorn(cost)  # type: ignore[call-arg]
    sinkhorn(cost, epsilon=0.1, step=3)  # type: ignore[call-arg]
    sinkhorn(cost, epsilon=0.1).f = cost  # type: ignore[misc]


def of_preconditioners(x: torch.Tensor, y: Float) -> None:
    p = psgd("low_rank", rank=2)
    assert_type(p.apply(p.init(x), x), torch.Tensor)
    fit = fit_hessian(lambda v: 2 * v, y, preconditioner=p)
    assert_type(fit, HessianFit[Float])
    assert_type(fit.preconditioner.matvec(y), Float)
    assert_type(minimize(lambda x: (x * x).sum(), x).x, torch.Tensor)
    assert_type(minimize(lambda x: (x * x).sum(), y, grad=lambda x: 2 * x), MinimizeResult[Float])
