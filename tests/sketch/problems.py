"""Least-squares problems, and exact answers, that several tests share."""

from __future__ import annotations

import numpy as np


def conditioned(
    n: int, d: int, kappa: float, residual: float, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A of norm 1 and of that condition, b, and the solution x of norm 1 with |b - A x| = residual."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((n, d)))[0]
    V = np.linalg.qr(rng.standard_normal((d, d)))[0]
    A = (U * np.logspace(0, -np.log10(kappa), d)) @ V.T
    x = rng.standard_normal(d)
    x /= np.linalg.norm(x)
    r = rng.standard_normal(n)
    r -= U @ (U.T @ r)
    return A, A @ x + r * (residual / np.linalg.norm(r)), x


def backward_error(A: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """The estimate of Karlson and Walden by all singular values of A with columns of norm 1, relative to |A|."""
    scale = np.linalg.norm(A, axis=0)
    scale[scale == 0] = 1
    A, x = A / scale, x * scale
    _, s, Vt = np.linalg.svd(A, full_matrices=False)
    frobenius, r = np.linalg.norm(A), b - A @ x
    theta = frobenius / np.linalg.norm(b)
    q = 1 + theta**2 * (x @ x)
    w = Vt @ (A.T @ r) / np.sqrt(np.maximum(s, 30 * 2.0**-53 * s[0]) ** 2 + theta**2 * (r @ r) / q)
    return float(theta / np.sqrt(q) * np.linalg.norm(w) / frobenius)


def adversarial(d: int, m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A = [I; 0] and b of norm 1 on 2m/d rows below: x* = 0, and every share of a hit is an error of 1/sqrt(k)."""
    A, b, k = np.zeros((n, d)), np.zeros(n), 2 * m // d
    A[:d] = np.eye(d)
    b[d : d + k] = 1 / np.sqrt(k)
    return A, b
