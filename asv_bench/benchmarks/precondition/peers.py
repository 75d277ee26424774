"""Updates of preconditioners in plain torch, written from the formulas as anybody would: what ours are held against.

Each peer is ``update(v, h)``, one pair, and keeps its state. `dense_eq` makes the matrix triu(a a^T - b b^T) and
multiplies by it, O(n^3); `dense_quad` takes products of rank two; `low_rank` is the textbook update with its balancing,
or "lean" without it and without the sum that bounds the last step; `kronecker` is one product and one triangle after
the other. They take the same steps as ours to rounding (`precondition.agreement`), but for the lean one. No checks, no
damping, no random numbers: ours are measured without damping too. torch is imported where it is used, so that asv's
forks, of a process that has read all of these modules, do not start with it.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["PEERS", "Kronecker", "dense_eq", "dense_quad", "low_rank"]

SMOOTHING = 0.9


class Bound:
    """L <- max(0.9 L + 0.1 ell, ell)."""

    def __init__(self) -> None:
        self.L = 0.0

    def step(self, ell: Any, step: float) -> float:
        ell = float(ell)
        self.L = max(SMOOTHING * self.L + (1 - SMOOTHING) * ell, ell)
        return step / self.L


class dense_eq:
    """Q upper triangular; Q -= mu triu(a a^T - b b^T) Q."""

    def __init__(self, Q: Any, step: float) -> None:
        self.Q, self.size, self.bound = Q, step, Bound()

    def update(self, v: Any, h: Any) -> None:
        import torch

        Q = self.Q
        a = Q @ h
        b = torch.linalg.solve_triangular(Q.T, v[:, None], upper=False)[:, 0]
        mu = self.bound.step(a @ a + b @ b, self.size)
        self.Q = Q - mu * (torch.triu(torch.outer(a, a) - torch.outer(b, b)) @ Q)

    def apply(self, g: Any) -> Any:
        return self.Q.T @ (self.Q @ g)


class dense_quad:
    """Q symmetric; half a step from the left, half a step from the right, and the symmetric part."""

    def __init__(self, Q: Any, step: float) -> None:
        self.Q, self.size, self.bound = Q, step, Bound()

    def update(self, v: Any, h: Any) -> None:
        import torch

        Q = self.Q
        a = Q @ (Q @ h)
        m = self.bound.step(a @ a + v @ v, self.size) / 2
        X = torch.stack([a, v], 1)
        signed = X * torch.tensor([m, -m], dtype=Q.dtype)
        p = Q - signed @ (X.T @ Q)
        p = p - (p @ signed) @ X.T
        self.Q = (p + p.T) / 2

    def apply(self, g: Any) -> Any:
        return self.Q @ (self.Q @ g)


class low_rank:
    """Q = (I + U V^T) diag(d)."""

    def __init__(self, U: Any, V: Any, d: Any, step: float, *, balance: bool) -> None:
        self.U, self.V, self.d, self.size, self.balance = U, V, d, step, balance
        self.bounds, self.count = [Bound(), Bound(), Bound()], 0

    def update(self, v: Any, h: Any) -> None:
        import torch

        if self.balance:
            self.balanced()
        U, V, d = self.U, self.V, self.d
        r = U.shape[1]
        K = torch.eye(r, dtype=U.dtype) + V.T @ U
        x = d * h
        a = x + U @ (V.T @ x)
        y = v / d
        b = y - V @ torch.linalg.solve(K.T, U.T @ y)
        Ph = d * (a + V @ (U.T @ a))
        Pv = (b - U @ torch.linalg.solve(K, V.T @ b)) / d
        if self.count % 2 == 0:
            aV, bV = a @ V, b @ V
            ell = a.norm() * (V @ aV).norm() + b.norm() * (V @ bV).norm()
            mu = self.bounds[0].step(ell, self.size)
            self.U = U - mu * (torch.outer(a, aV @ K) - torch.outer(b, bV @ K))
        else:
            aU, bU = a @ U, b @ U
            ell = a.norm() * (U @ aU).norm() + b.norm() * (U @ bU).norm()
            mu = self.bounds[1].step(ell, self.size)
            self.V = V - mu * (torch.outer(a + V @ aU, aU) - torch.outer(b + V @ bU, bU))
        up, down = h * Ph, v * Pv
        mu = self.bounds[2].step(up.abs().max() + down.abs().max(), self.size)
        self.d = d - mu * (up - down) * d
        self.count += 1

    def balanced(self) -> None:
        import torch

        U, V = self.U, self.V
        rho = torch.sqrt(U.norm() / V.norm())
        U, V = U / rho, V * rho
        UU, VV = U.T @ U, V.T @ V
        E = 0.1 * (UU - VV) / (UU.trace() + VV.trace())
        half = E @ E / 2
        self.U, self.V = U - U @ (E - half), V + V @ (E + half)

    def apply(self, g: Any) -> Any:
        x = self.d * g
        x = x + self.U @ (self.V.T @ x)
        return self.d * (x + self.V @ (self.U.T @ x))


class Kronecker:
    """Q = Q_1 x Q_2 over a matrix; "quad" with v integrated out, or "eq"."""

    def __init__(self, shape: tuple[int, int], dtype: Any, step: float, *, form: str) -> None:
        import torch

        self.Q = [torch.eye(n, dtype=dtype) for n in shape]
        self.bounds, self.size, self.form = [Bound(), Bound()], step, form
        signs = torch.randint(0, 2, (32, max(shape)), generator=torch.Generator().manual_seed(0))
        self.signs = (2 * signs - 1).to(dtype)

    def update(self, v: Any, h: Any) -> None:
        import torch

        A, B = self.Q
        m, n = h.shape
        if self.form == "quad":
            X = A @ (A @ h @ B) @ B
            changes = [(X @ X.T, n * torch.eye(m, dtype=h.dtype)), (X.T @ X, m * torch.eye(n, dtype=h.dtype))]
        else:
            X = A @ h @ B.T
            Y = torch.linalg.solve_triangular(A.T, v, upper=False)
            Y = torch.linalg.solve_triangular(B, Y, upper=True, left=False)
            changes = [(X @ X.T, Y @ Y.T), (X.T @ X, Y.T @ Y)]
        for k, (up, down) in enumerate(changes):
            Q = self.Q[k]
            mu = self.bounds[k].step(self.norm(up + down), self.size)
            if self.form == "quad":
                p = Q - (mu / 2) * ((up - down) @ Q)
                p = p - (mu / 2) * (p @ (up - down))
                self.Q[k] = (p + p.T) / 2
            else:
                self.Q[k] = Q - mu * (torch.triu(up - down) @ Q)

    def norm(self, T: Any) -> Any:
        """The spectral norm from below, by two rounds of power iteration with 32 rows."""
        import torch

        n = T.shape[0]
        row = T[(T * T).sum(1).argmax()]
        row = row / row.norm()
        random = self.signs[:, :n] / math.sqrt(n)
        X = row + torch.where(random @ row < 0, -1.0, 1.0)[:, None] * random
        for _ in range(2):
            X = (X / X.norm(dim=1, keepdim=True)) @ T
        return X.norm(dim=1).max()

    def apply(self, g: Any) -> Any:
        A, B = self.Q
        return A.T @ (A @ g @ B.T) @ B


PEERS = {
    "eq": "triangular, O(n^3)",
    "quad": "products of rank two",
    "balanced": "with balancing",
    "lean": "without balancing",
    "kronecker-quad": "v integrated out",
    "kronecker-eq": "with triangular solves",
}
