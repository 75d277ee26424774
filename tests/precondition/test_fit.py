from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.precondition import Annealed, fit_hessian, psgd
from equipoise.result import Status

from ..backends import Case
from .problems import spectral


def distance(P: np.ndarray, H: np.ndarray) -> float:
    """|P H - I|_F / sqrt(n)."""
    n = H.shape[0]
    return float(np.linalg.norm(P @ H - np.eye(n)) / np.sqrt(n))


class TestRates:
    """Pairs to an error of 1e-6 and of 1e-12, n = 50, one seed, in steps of 500."""

    @pytest.mark.parametrize(
        ("form", "step", "cond", "single", "double"),
        [
            ("eq", 1.5, 10, 2000, 4500),
            ("quad", 0.1, 100, 5500, 9500),
            ("quad", 0.2, 10, 2500, 4500),
            ("quad", 0.2, 100, 3000, 5500),
            ("quad", 0.3, 10, 2000, 3500),
            ("qeq", 0.3, 10, 2000, 3500),
            ("procrustes", 0.25, 100, 2500, 4500),
            ("procrustes", 0.5, 10, 1500, 2500),
            ("procrustes", 0.5, 100, 2500, 4000),
        ],
    )
    def test_machine_precision(self, form: str, step: float, cond: float, single: int, double: int) -> None:
        H, rng = spectral(50, cond), np.random.default_rng(0)
        p = psgd(form=form, step=step, damping=0.0)
        state, off = p.init(np.zeros(50)), {}
        for count in (single - 500, single, double):
            V = rng.standard_normal((count - int(state.count), 50))
            state = p.sweep(state, V, V @ H)
            off[count] = distance(p.to_dense(state), H)
        assert off[single - 500] > 1e-6 > off[single]
        assert off[double] < 1e-12

    def test_float32(self) -> None:
        H, rng = spectral(50, 100.0), np.random.default_rng(0)
        p = psgd(form="procrustes", step=0.25, damping=0.0)
        V = rng.standard_normal((3500, 50))
        state = p.sweep(p.init(np.zeros(50, "float32")), V.astype("float32"), (V @ H).astype("float32"))
        assert distance(p.to_dense(state), H) < 1e-5

    def test_mixed_signs_need_a_falling_step(self) -> None:
        H, rng, off = spectral(40, 100.0), np.random.default_rng(0), {}
        values, vectors = np.linalg.eigh(H)
        H = (vectors * values * rng.choice([-1, 1], 40)) @ vectors.T
        inverse = (vectors / values) @ vectors.T
        V = rng.standard_normal((10_000, 40))
        for name, step, pairs in (("fixed", 0.1, 3000), ("annealed", Annealed(0.1, 1000), 10_000)):
            p = psgd(step=step)
            P = p.to_dense(p.sweep(p.init(np.zeros(40)), V[:pairs], V[:pairs] @ H))
            off[name] = np.linalg.norm(P - inverse) / np.linalg.norm(inverse)
        assert off["fixed"] > 0.15
        assert off["annealed"] < 0.06

    def test_whitening_finds_the_inverse_root_of_the_second_moment(self) -> None:
        C, rng = spectral(10, 10.0), np.random.default_rng(0)
        values, vectors = np.linalg.eigh(C)
        g = rng.standard_normal((4000, 10)) @ ((vectors * np.sqrt(values)) @ vectors.T)
        expected = (vectors / np.sqrt(values)) @ vectors.T
        for form in ("quad", "qeq", "procrustes"):
            p = psgd(form=form, step=Annealed(0.1, 200))
            P = p.to_dense(p.sweep(p.init(np.zeros(10)), None, g))
            assert np.linalg.norm(P - expected) < 0.08 * np.linalg.norm(expected)

    def test_a_low_rank_correction_is_found(self) -> None:
        rng = np.random.default_rng(0)
        U = np.linalg.qr(rng.standard_normal((40, 2)))[0]
        H = np.diag(np.exp(rng.random(40))) + 30 * U @ U.T
        V, off = rng.standard_normal((2000, 40)), {}
        for kind in ("low_rank", "diagonal"):
            p = psgd(kind, rank=2)
            P = p.to_dense(p.sweep(p.init(np.zeros(40)), V, V @ H))
            roots = np.linalg.eigvals(P @ H).real
            off[kind] = roots.max() / roots.min()
        assert off["low_rank"] < 2 < 10 < off["diagonal"]


class TestFit:
    def test_backends_agree(self, on: Case) -> None:
        H = spectral(6, 5.0)
        p = psgd(form="procrustes", step=0.5)

        def run(H: Any) -> Any:
            return fit_hessian(lambda v: H @ v, H[0, ...], preconditioner=p, tol=1e-3, check_every=40, rng=3)

        fit = on.call(run, H)
        assert bool(on.numpy(fit.code) == Status.CONVERGED)
        assert int(on.numpy(fit.steps)) % 40 == 0
        assert int(on.numpy(fit.hvps)) == int(on.numpy(fit.steps)) + 8 * (1 + int(on.numpy(fit.steps)) // 40)
        expected = run(H)
        assert int(on.numpy(fit.steps)) == int(expected.steps)
        np.testing.assert_allclose(on.numpy(fit.state.Q), expected.state.Q, atol=1e-9)

    def test_the_error_is_the_distance_from_the_inverse(self) -> None:
        for signs in (np.ones(20), np.resize([1.0, -1.0], 20)):
            values, vectors = np.linalg.eigh(spectral(20, 5.0))
            H, size = ((vectors * x) @ vectors.T for x in (values * signs, values))
            with pytest.warns(eq.ConvergenceWarning):
                fit = fit_hessian(lambda v, H=H: H @ v, np.zeros(20), tol=0.0, max_steps=600, probes=16)
            true = distance(fit.preconditioner.settings.to_dense(fit.state), size)
            assert 0.5 * true < float(fit.error) < 2 * true

    def test_products_are_counted_and_history_kept(self) -> None:
        H, calls = spectral(5, 4.0), []

        def hvp(v: Any) -> Any:
            calls.append(v)
            return H @ v

        fit = fit_hessian(hvp, np.zeros(5), check_every=50)
        assert fit.converged
        assert int(fit.hvps) == len(calls)
        assert fit.history is not None
        assert fit.history.step.tolist() == list(range(0, int(fit.steps) + 1, 50))
        assert float(fit.history.error[-1]) == float(fit.error) <= 1e-6
        again = fit_hessian(hvp, np.zeros(5), init=fit, tol=1e-5)
        assert int(again.steps) == 0

    def test_too_large_a_step_is_told(self) -> None:
        H = spectral(30, 1000.0).astype("float32")
        with pytest.warns(eq.ConvergenceWarning, match="Lower the step of the preconditioner or rescale"):
            fit = fit_hessian(lambda v: H @ v, np.zeros(30, "float32"), preconditioner=psgd(step=0.8), max_steps=3000)
        assert not fit.converged
        assert fit.status is Status.MAX_STEPS

    def test_what_a_stalled_fit_says(self) -> None:
        with pytest.warns(eq.ConvergenceWarning, match="step is too large for this matrix. Lower the step"):
            fit = fit_hessian(lambda v: v * v, np.ones(2), preconditioner=psgd("diagonal"), max_steps=12_000)
        assert fit.status is Status.STALLED

    def test_numbers_of_numpy(self) -> None:
        fit = fit_hessian(lambda v: 2 * v, np.array(2.0), tol=1e-3)
        assert fit.converged
        assert float(fit.preconditioner.matvec(np.array(1.0))) == pytest.approx(0.5, abs=2e-3)

    def test_what_hvp_may_return(self) -> None:
        with pytest.raises(ValueError, match=r"hvp must return shape \(3,\), that of like, got \(2,\)"):
            fit_hessian(lambda v: v[:2], np.zeros(3))
        with pytest.raises(TypeError, match="hvp must return an array, got float"):
            fit_hessian(lambda v: 1.0, np.zeros(3))
        with pytest.raises(TypeError, match="hvp must return dtype float64, that of like, got float32"):
            fit_hessian(lambda v: v.astype("float32"), np.zeros(3))
        with pytest.raises(TypeError, match="hvp must be callable, got ndarray"):
            fit_hessian(np.eye(3), np.zeros(3))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"preconditioner must be what psgd\(\) returns, got str"):
            fit_hessian(lambda v: v, np.zeros(3), preconditioner="dense")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="init must be a state of kind 'dense' for 3 numbers"):
            fit_hessian(lambda v: v, np.zeros(3), init=psgd().init(np.zeros(4)))
        with pytest.raises(TypeError, match="init must hold numpy arrays of dtype float64, as like does"):
            fit_hessian(lambda v: v, np.zeros(3), init=psgd().init(np.zeros(3, "f4")))
        low = psgd("low_rank", rank=2)
        with pytest.raises(ValueError, match="init must be a state of kind 'low_rank'"):
            fit_hessian(lambda v: v, np.zeros(3), preconditioner=low, init=psgd("low_rank", rank=1).init(np.zeros(3)))
        with pytest.warns(eq.ConvergenceWarning):
            fit = fit_hessian(lambda v: v * np.nan, np.zeros(3))
        assert fit.status is Status.NOT_FINITE

    def test_a_tensor_and_its_factors(self) -> None:
        rng = np.random.default_rng(0)
        A, B = spectral(4, 3.0), spectral(3, 3.0, 1)
        p = psgd("kronecker", max_skew=2.0)
        fit = fit_hessian(lambda v: A @ v @ B, rng.standard_normal((4, 3)), preconditioner=p)
        assert fit.converged
        assert distance(p.to_dense(fit.state), np.kron(A, B)) < 1e-5

    def test_products_by_autograd(self) -> None:
        x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

        def hvp(v: Any) -> Any:
            return torch.func.grad(lambda x: torch.func.grad(lambda x: (x**4).sum() / 12)(x) @ v)(x)

        fit = fit_hessian(hvp, x, tol=1e-4)
        np.testing.assert_allclose(fit.preconditioner.matvec(torch.ones(3).double()), 1 / x**2, atol=1e-3)
