from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from equipoise.monotone import (
    Box,
    L2Ball,
    LeastSquaresGradient,
    LogisticGradient,
    Product,
    QuadraticMinMax,
    RobustLeastSquares,
    Simplex,
    extragradient,
    extragradient_vr,
    gmres,
    halpern,
    halpern_vr,
    linear_program,
    matrix_game,
)
from equipoise.operators import CSR, Kronecker
from equipoise.result import ConvergenceWarning

rng = np.random.default_rng(0)


def differences(fun: Any, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Central differences of a number."""
    out = np.zeros_like(x)
    for k in np.ndindex(x.shape):
        d = np.zeros_like(x)
        d[k] = h
        out[k] = (float(fun(x + d)) - float(fun(x - d))) / (2 * h)
    return out


def along(fun: Any, x: np.ndarray, grad: Any, name: str = "") -> None:
    """The gradient tells the change in some direction."""
    d = np.random.default_rng(7).normal(size=x.shape)
    change = (float(fun(x + 1e-5 * d)) - float(fun(x - 1e-5 * d))) / 2e-5
    np.testing.assert_allclose(np.sum(np.asarray(grad) * d), change, atol=3e-5, err_msg=name)
    assert np.all(np.isfinite(np.asarray(grad)))


class TestTheValueOfAGame:
    def test_torch(self) -> None:
        A = rng.normal(size=(2, 3, 4))
        t = torch.tensor(A, requires_grad=True)
        result = matrix_game(t, tol=1e-10)
        (2.0 * result.value[0] + result.value[1]).backward()
        along(lambda A: matrix_game(A, tol=1e-11).value @ [2.0, 1.0], A, t.grad)
        assert not result.x.requires_grad

    def test_sparse_entries(self) -> None:
        pattern = torch.tensor([0, 1, 0, 1, 2]), torch.tensor([0, 2, 4, 5])
        entries = np.array([3.0, -1.0, -2.0, 4.0, 0.5])

        def value(data: Any) -> Any:
            return matrix_game(CSR(torch.as_tensor(data), *pattern, (3, 3)), tol=1e-10).value

        data = torch.tensor(entries, requires_grad=True)
        value(data).backward()
        np.testing.assert_allclose(data.grad, differences(value, entries), atol=1e-5)

    def test_jax(self) -> None:
        A = np.array([[3.0, -1.0], [-2.0, 4.0]])
        grad = jax.jit(jax.grad(lambda A: matrix_game(A, tol=1e-10).value))(jnp.asarray(A))
        np.testing.assert_allclose(grad, np.outer([0.6, 0.4], [0.5, 0.5]), atol=1e-6)

    def test_other_operators_refuse(self) -> None:
        K: Any = Kronecker(torch.eye(2, dtype=torch.float64, requires_grad=True), torch.eye(2, dtype=torch.float64))
        with pytest.raises(TypeError, match="no derivative in the entries of a Kronecker"):
            matrix_game(K).value.backward()


class TestTheValueOfAProgram:
    def test_torch(self) -> None:
        x = np.array([0.0, 1.2, 0.7, 0.0, 2.0])
        parts: dict[str, Any] = {
            "c": rng.random(5) - 0.2,
            "A": rng.normal(size=(1, 5)),
            "G": rng.normal(size=(2, 5)),
            "lower": np.zeros(5),
            "upper": np.full(5, 3.0),
        }
        parts["b"], parts["h"] = parts["A"] @ x, parts["G"] @ x - 0.3

        def value(**changed: Any) -> Any:
            p = {**parts, **changed}
            bounds = {"lower": p["lower"], "upper": p["upper"]}
            return linear_program(p["c"], p["A"], p["b"], G=p["G"], h=p["h"], tol=1e-10, **bounds).value

        tensors = {name: torch.tensor(p, requires_grad=True) for name, p in parts.items()}
        value(**tensors).backward()
        for name, p in parts.items():
            along(lambda p, name=name: value(**{name: p}), p, tensors[name].grad, name)
        assert np.abs(np.asarray(tensors["G"].grad)).max() > 1e-2

    def test_batches_add_up(self) -> None:
        c = torch.tensor([[-1.0, -2.0], [-3.0, -1.0]], dtype=torch.float64)
        G = torch.tensor([[-1.0, -1.0], [-1.0, -3.0]], dtype=torch.float64, requires_grad=True)
        h = torch.tensor([-4.0, -6.0], dtype=torch.float64, requires_grad=True)
        result = linear_program(c, G=G, h=h, tol=1e-10)
        result.value.sum().backward()
        np.testing.assert_allclose(h.grad, result.y.sum(0), atol=1e-7)
        np.testing.assert_allclose(G.grad, -(result.y[:, :, None] * result.x[:, None, :]).sum(0), atol=1e-7)

    def test_jax(self) -> None:
        G, h = jnp.array([[-1.0, -1.0], [-1.0, -3.0]]), jnp.array([-4.0, -6.0])
        grad = jax.jit(jax.grad(lambda h: linear_program(jnp.array([-1.0, -2.0]), G=G, h=h, tol=1e-9).value))(h)
        np.testing.assert_allclose(grad, [0.5, 0.5], atol=1e-6)


def pulled(u: Any, M: Any, b: Any) -> Any:
    return u @ M.T @ M + 0.3 * u - b


def cubic(u: Any, M: Any, b: Any) -> Any:
    return u @ M + u**3 - b


def limited(u: Any, M: Any, b: Any, high: Any) -> Any:
    v = u - 0.1 * pulled(u, M, b)
    return 0.5 * (v + high - abs(v - high))  # the lesser of the two


class TestSolutions:
    @pytest.mark.parametrize("form", ["cocoercive", "nonexpansive"])
    def test_of_a_black_box(self, form: str) -> None:
        rng = np.random.default_rng(1)
        parts = {"M": rng.normal(size=(3, 3)), "b": rng.normal(size=(2, 3)), "high": np.array([0.1, 5.0, 5.0])}

        def solved(**changed: Any) -> Any:
            p = {**parts, **changed}
            start = 0.0 * p["b"]
            if form == "cocoercive":
                args, box = (p["M"], p["b"]), Box(-5.0, p["high"])
                return halpern(pulled, start, args=args, lipschitz=20.0, resolvent=box, tol=1e-9).u
            return halpern(limited, start, args=(p["M"], p["b"], p["high"]), form=form, tol=1e-10).u

        weights = rng.normal(size=(2, 3))
        tensors = {name: torch.tensor(p, requires_grad=True) for name, p in parts.items()}
        (solved(**tensors) * torch.tensor(weights)).sum().backward()
        for name, p in parts.items():
            along(lambda p, name=name: (solved(**{name: p}) * weights).sum(), p, tensors[name].grad, name)
        assert np.abs(np.asarray(tensors["high"].grad)).max() > 0.1  # a bound that holds

    def test_of_a_finite_sum(self) -> None:
        A, b = rng.normal(size=(12, 2)), rng.normal(size=12)

        t = [torch.tensor(x, requires_grad=True) for x in (A, b)]
        start = torch.zeros(14, dtype=torch.float64)
        halpern_vr(RobustLeastSquares(*t), start, tol=1e-8).u[:2].sum().backward()

        def first_two(A: Any, b: Any) -> float:
            return float(np.linalg.lstsq(A, b, rcond=None)[0].sum())

        np.testing.assert_allclose(t[0].grad, differences(lambda A: first_two(A, b), A), atol=1e-5)
        np.testing.assert_allclose(t[1].grad, differences(lambda b: first_two(A, b), b), atol=1e-5)

    @pytest.mark.parametrize(
        "sets", [Product((Simplex(3.0), 3), (Box(-0.5, 5.0), 2)), L2Ball(0.8)], ids=["sets", "ball"]
    )
    def test_of_saddle_points(self, sets: Any) -> None:
        """T is not nonexpansive there: F is monotone, and not cocoercive. All methods have the same derivatives."""
        rng = np.random.default_rng(3)
        B, weights = rng.normal(size=(3, 3)), rng.normal(size=5)
        parts = {"H": B @ B.T, "A": rng.normal(size=(2, 3)), "h": rng.normal(size=3), "b": rng.normal(size=2)}

        def solved(solver: Any, problem: dict[str, Any], start: Any, **options: Any) -> Any:
            values = [problem[name] for name in ("H", "A", "h", "b")]
            return solver(QuadraticMinMax(*values), start, resolvent=sets, tol=1e-9, **options).u

        def bars(solver: Any, start: np.ndarray, **options: Any) -> dict[str, Any]:
            tensors = {name: torch.tensor(p, requires_grad=True) for name, p in parts.items()}
            (solved(solver, tensors, torch.tensor(start), **options) * torch.tensor(weights)).sum().backward()
            return {name: t.grad for name, t in tensors.items()}

        start = np.zeros(5)
        expected = bars(extragradient, start)
        for name, p in parts.items():
            along(
                lambda p, name=name: solved(extragradient, {**parts, name: p}, start) @ weights, p, expected[name], name
            )
        assert np.abs(np.asarray(expected["h"])).max() > 0.1
        u = solved(extragradient, parts, start)
        others: list[tuple[Any, dict[str, Any]]] = [
            (extragradient, {"anchored": True}),
            (extragradient_vr, {}),
            (halpern_vr, {"mode": "lipschitz"}),
        ]
        for solver, options in others:
            for name, bar in bars(solver, u, **options).items():
                np.testing.assert_allclose(bar, expected[name], atol=1e-6)

    def test_where_the_solution_is_not_unique(self) -> None:
        """From zero the solution of least norm is found, and its derivative in what keeps the system solvable."""
        A, b, weights = rng.normal(size=(3, 5)), rng.normal(size=3), rng.normal(size=5)
        t = torch.tensor(b, requires_grad=True)
        F = LeastSquaresGradient(torch.tensor(A), t)
        (halpern(F, torch.zeros(5, dtype=torch.float64), tol=1e-9).u * torch.tensor(weights)).sum().backward()
        np.testing.assert_allclose(t.grad, np.linalg.pinv(A).T @ weights, atol=1e-6)

    def test_what_cannot_be_solved_for_warns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gmres, "MAX_CYCLES", 1)
        scales = torch.logspace(-3, 0, 70, dtype=torch.float64)
        b = torch.zeros(70, dtype=torch.float64, requires_grad=True)
        u = halpern(lambda u, s, b: s * u - b, b.detach(), args=(scales, b), lipschitz=1.0).u
        with pytest.warns(ConvergenceWarning, match=r"the adjoint system of monotone.halpern did not reach tol=1e-08"):
            u.sum().backward()

    def test_constants_have_none(self) -> None:
        L = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
        b = torch.ones(2, dtype=torch.float64, requires_grad=True)
        for solver in (halpern, extragradient):
            u = solver(lambda u, b: u - b, 0.0 * b, args=(b,), lipschitz=L, tol=1e-7 * L).u
            assert torch.autograd.grad(u.sum(), (L, b), allow_unused=True)[0] is None

    def test_second_derivatives(self) -> None:
        """Reverse over reverse is right, through a resolvent and its own parameter too."""
        M = torch.tensor([[2.0, 1.0], [0.5, 3.0]], dtype=torch.float64)
        at = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in ([1.0, 2.0], 0.5)]

        def solved(b: Any, radius: Any) -> Any:
            sets = L2Ball(radius)
            return halpern(cubic, 0.0 * b, args=(M, b), lipschitz=12.0, resolvent=sets, tol=1e-12).u

        assert torch.autograd.gradgradcheck(solved, at)

        def fixed(b: Any) -> Any:
            return halpern(lambda u, b: u - cubic(u, M, b) / 12.0, 0.0 * b, args=(b,), form="nonexpansive", tol=1e-12).u

        assert torch.autograd.gradgradcheck(fixed, at[0])

    def test_torch_func(self) -> None:
        """Inside a transform, tensors that it knows nothing of are read too."""
        A, b = torch.tensor(rng.normal(size=(6, 2))), torch.tensor(rng.normal(size=6))
        inverse = np.linalg.pinv(A)

        def solved(b: Any) -> Any:
            return halpern(LeastSquaresGradient(A, b), torch.zeros(2, dtype=torch.float64), tol=1e-9).u

        np.testing.assert_allclose(torch.func.grad(lambda b: solved(b).sum())(b), inverse.sum(0), atol=1e-6)
        np.testing.assert_allclose(torch.func.jacrev(solved, chunk_size=1)(b), inverse, atol=1e-6)
        with pytest.raises(TypeError, match="pass chunk_size=1 to"):
            torch.func.jacrev(solved)(b)

    def test_what_an_operator_closes_over_is_refused(self) -> None:
        b = torch.ones(2, requires_grad=True)
        with pytest.raises(TypeError, match="operator depends on a tensor that wants a gradient: pass it in args"):
            halpern(lambda u: u - b, torch.zeros(2), lipschitz=1.0)
        with pytest.raises(TypeError, match="resolvent depends on a tensor that wants a gradient"):
            halpern(lambda u: u, torch.zeros(2), lipschitz=1.0, resolvent=lambda v, step: v * b)

    def test_jax(self) -> None:
        A, labels = rng.normal(size=(9, 2)), np.where(rng.normal(size=9) > 0, 1.0, -1.0)

        def solved(A: Any, ridge: Any, L: Any) -> Any:
            F = LogisticGradient(A, jnp.asarray(labels), ridge)
            return halpern(F, jnp.zeros(2), lipschitz=L, tol=1e-10).u.sum()

        def first(ridge: Any) -> Any:
            of_A, of_ridge, of_L = jax.grad(solved, argnums=(0, 1, 2))(jnp.asarray(A), ridge, 2.0)
            return of_ridge, (of_A, of_L)

        (of_ridge, (of_A, of_L)), second = jax.jit(jax.value_and_grad(first, has_aux=True))(0.2)

        def plain(A: Any, ridge: Any = 0.2) -> Any:
            return halpern(LogisticGradient(A, labels, ridge), np.zeros(2), lipschitz=2.0, tol=1e-11).u.sum()

        np.testing.assert_allclose(of_A, differences(plain, A), atol=1e-5)
        low, middle, high = (plain(A, 0.2 + h) for h in (-1e-3, 0.0, 1e-3))
        np.testing.assert_allclose(of_ridge, (high - low) / 2e-3, rtol=1e-3)
        np.testing.assert_allclose(second, (high - 2 * middle + low) / 1e-6, rtol=1e-3)
        assert of_L == 0.0
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jit(lambda ridge: jax.jvp(lambda x: solved(jnp.asarray(A), x, 2.0), (ridge,), (1.0,)))(0.2)
