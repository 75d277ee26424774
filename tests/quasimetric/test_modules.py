from __future__ import annotations

import warnings

import equipoise_torch
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from equipoise_torch import IQE, PQE

from equipoise.quasimetric import ALPHA, iqe, pqe

from .problems import REDUCTIONS, shortest_paths


class TestModules:
    def test_they_are_the_functions(self) -> None:
        u, v = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0))
        head = IQE(3)
        assert abs(float(head.alpha.detach()) - ALPHA) < 1e-7
        torch.testing.assert_close(head(u, v), iqe(u, v, components=3))
        torch.testing.assert_close(head(u[:, None], v), head.pairwise(u, v))
        torch.testing.assert_close(head.pairwise(u), head.pairwise(u, u))
        for reduction in REDUCTIONS:
            torch.testing.assert_close(
                IQE(3, reduction=reduction)(u, v), iqe(u, v, components=3, reduction=reduction), rtol=1e-5, atol=1e-6
            )
        for measure in ("lebesgue", "gaussian"):
            other = PQE(3, measure=measure)
            torch.testing.assert_close(other(u, v), pqe(u, v, components=3, measure=measure))
            torch.testing.assert_close(other.pairwise(u, v), other(u[:, None], v))

    @pytest.mark.parametrize("make", [lambda: IQE(4), lambda: PQE(4), lambda: PQE(4, measure="gaussian")])
    def test_an_encoder_learns_directed_distances(self, make: object) -> None:
        torch.manual_seed(0)
        D = shortest_paths(10, 3, 0.5)
        encoder, head = torch.nn.Linear(10, 32), make()  # type: ignore[operator]
        aims = torch.tensor(0.9**D, dtype=torch.float32)
        parameters = [*encoder.parameters(), *head.parameters()]
        optimizer, losses = torch.optim.Adam(parameters, lr=0.05), []
        before = [p.detach().clone() for p in head.parameters()]
        for _ in range(40):
            optimizer.zero_grad()
            loss = ((0.9 ** head.pairwise(encoder(torch.eye(10))) - aims) ** 2).mean()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.7 * losses[0]
        assert all(not torch.equal(a, b) for a, b in zip(before, head.parameters(), strict=True))

    def test_state_and_names(self) -> None:
        head = IQE(3)
        assert set(head.state_dict()) == {"raw_alpha"}
        assert set(PQE(3).state_dict()) == {"raw_weights"}
        assert not list(IQE(3, reduction="sum").parameters())
        assert "3, reduction='maxmean'" in repr(head)
        assert "3, measure='lebesgue'" in repr(PQE(3))

    def test_parameters_may_be_a_batch_of_vmap(self) -> None:
        generator = torch.Generator().manual_seed(1)
        u, v, many = (torch.rand(*shape, generator=generator) for shape in ((5, 8), (5, 8), (3, 2)))
        of_alpha = torch.func.vmap(lambda alpha: iqe(u, v, components=2, alpha=alpha))(many[:, 0])
        of_weights = torch.func.vmap(lambda weights: pqe(u, v, components=2, weights=weights))(many)
        for k, weights in enumerate(many):
            torch.testing.assert_close(of_alpha[k], iqe(u, v, components=2, alpha=weights[0]))
            torch.testing.assert_close(of_weights[k], pqe(u, v, components=2, weights=weights))

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="components must be at least 1"):
            IQE(0)
        with pytest.raises(ValueError, match="reduction must be one of"):
            IQE(2, reduction="median")
        with pytest.raises(ValueError, match="measure must be one of"):
            PQE(2, measure="cauchy")
        with pytest.raises(ValueError, match="multiple of components"):
            PQE(4)(torch.zeros(3, 6), torch.zeros(3, 6))
        with pytest.raises(ValueError, match=r"u must have shape \(..., n, D\)"):
            IQE(3).pairwise(torch.zeros(6))
        for x in (np.zeros((3, 6)), jnp.zeros((3, 6)), None):
            for head in (IQE(3), PQE(3), PQE(3, measure="gaussian")):
                with pytest.raises(TypeError, match="u must be a torch tensor, got"):
                    head(x, torch.zeros(3, 6))
        with pytest.raises(TypeError, match=r"v must be a torch tensor, got numpy\.ndarray"):
            IQE(3).pairwise(torch.zeros(3, 6), np.zeros((3, 6)))  # type: ignore[arg-type]
        with pytest.raises(AttributeError, match="MRN"):
            equipoise_torch.MRN  # noqa: B018

    def test_they_are_no_torchscript(self) -> None:
        for module in (IQE(2), torch.nn.Sequential(torch.nn.Linear(4, 4), PQE(2))):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit is deprecated
                with pytest.raises(TypeError, match=r"torch\.jit\.script cannot compile [IP]QE"):
                    torch.jit.script(module)

    def test_a_pair_of_equal_points_does_not_spoil_a_batch(self) -> None:
        """As it does where a distance is a root."""
        x = torch.zeros(2, 8, requires_grad=True)
        for head in (IQE(2), PQE(2), PQE(2, measure="gaussian")):
            (grad,) = torch.autograd.grad(head.pairwise(x).sum(), x)
            assert torch.isfinite(grad).all()
        assert np.isfinite(float(IQE(2)(x[0], x[1]).detach()))
