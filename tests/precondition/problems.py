"""Matrices to fit, and every update as its formula reads, with full matrices and no shortcut."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def spectral(n: int, cond: float, seed: int = 0) -> Array:
    """A symmetric positive definite matrix with log-spaced eigenvalues centred at 1."""
    rng = np.random.default_rng(seed)
    half = np.log10(cond) / 2
    O = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return (O * np.logspace(-half, half, n)) @ O.T


def outer(a: Array, b: Array) -> Array:
    """a a^T - b b^T."""
    return np.outer(a, a) - np.outer(b, b)


def bounds(a: Array, b: Array | None) -> float:
    return float(a @ a + (1.0 if b is None else b @ b))


def eq(Q: Array, v: Array, h: Array, step: float) -> Array:
    a, b = Q @ h, np.linalg.solve(Q.T, v)
    return Q - step / bounds(a, b) * np.triu(outer(a, b)) @ Q


def pull(a: Array, v: Array | None) -> Array:
    return np.outer(a, a) - (np.eye(a.size) if v is None else np.outer(v, v))


def quad(Q: Array, v: Array | None, h: Array, step: float) -> Array:
    a = Q @ Q @ h
    mu, E = step / bounds(a, v), pull(a, v)
    p = Q - mu / 2 * E @ Q
    p = p - mu / 2 * p @ E
    return (p + p.T) / 2


def qeq(Q: Array, v: Array | None, h: Array, step: float) -> Array:
    a = Q.T @ Q @ h
    return Q - step / bounds(a, v) * Q @ pull(a, v)


def procrustes(Q: Array, v: Array | None, h: Array, step: float) -> Array:
    a = Q.T @ Q @ h
    Q = Q - step / bounds(a, v) * pull(a, v) @ Q
    return rotated(Q)


def rotated(Q: Array) -> Array:
    R = Q.T - Q
    size = np.linalg.norm(R, 1)
    if size == 0:
        return Q
    R = R / size
    t, s = np.trace(R @ R @ Q), 0.125
    if t < 0:
        s = min(s, -np.trace(R @ Q) / t)
    return Q + s * (R @ Q + s / 2 * R @ R @ Q)


DENSE = {"eq": eq, "quad": quad, "qeq": qeq, "procrustes": procrustes}


def low_rank(U: Array, V: Array, d: Array, v: Array, h: Array, step: float, even: bool) -> tuple[Array, Array, Array]:
    """One fresh step, balanced first."""
    I, norm = np.eye(d.size), np.linalg.norm
    rho = np.sqrt(norm(U) / norm(V))
    U, V = U / rho, V * rho
    E = 0.1 * (U.T @ U - V.T @ V) / (np.trace(U.T @ U) + np.trace(V.T @ V))
    U, V = U - U @ (E - E @ E / 2), V + V @ (E + E @ E / 2)
    Q = (I + U @ V.T) @ np.diag(d)
    P, K = Q.T @ Q, np.eye(U.shape[1]) + V.T @ U
    a, b = Q @ h, np.linalg.solve(Q.T, v)
    F, G = h * (P @ h), v * np.linalg.solve(P, v)
    new_d = d - step / (abs(F).max() + abs(G).max()) * (F - G) * d
    if even:
        ell = norm(a) * norm(V @ V.T @ a) + norm(b) * norm(V @ V.T @ b)
        return U - step / ell * outer(a, b) @ V @ K, V, new_d
    ell = norm(a) * norm(U @ U.T @ a) + norm(b) * norm(U @ U.T @ b)
    return U, V - step / ell * (I + V @ U.T) @ outer(a, b) @ U, new_d


def xshape(M: Array) -> Array:
    """The diagonal and the antidiagonal of M, the middle of an odd one once."""
    n = M.shape[0]
    return M * (np.eye(n) + np.eye(n)[::-1] > 0)


def unfold(X: Array, axis: int) -> Array:
    return np.moveaxis(X, axis, 0).reshape(X.shape[axis], -1)


def kron(Qs: list[Array]) -> Array:
    """The product of all factors as one matrix."""
    out = np.eye(1)
    for Q in Qs:
        out = np.kron(out, np.diag(Q) if Q.ndim == 1 else Q)
    return out


def kronecker(Qs: list[Array], v: Array | None, h: Array, step: float, form: str, norm: Any) -> list[Array]:
    """One fresh step with the whole matrix; `norm` bounds T1 + T2."""
    shape, Q = h.shape, kron(Qs)
    if form == "eq":
        assert v is not None
        A, B = Q @ h.ravel(), np.linalg.solve(Q.T, v.ravel())
    else:
        A, B = Q.T @ Q @ h.ravel(), None if v is None else v.ravel()
    new = []
    for axis, factor in enumerate(Qs):
        n = shape[axis]
        X = unfold(A.reshape(shape), axis)
        T1, T2 = X @ X.T, h.size / n * np.eye(n)
        if B is not None:
            Y = unfold(B.reshape(shape), axis)
            T2 = Y @ Y.T
        if factor.ndim == 1:
            mu = step / np.diag(T1 + T2).max()
            new.append(factor * (1 - mu * np.diag(T1 - T2)))
            continue
        mu, E = step / float(norm(T1 + T2)), T1 - T2
        if form == "eq":
            new.append(factor - mu * np.triu(E) @ factor)
        elif form == "quad":
            p = factor - mu / 2 * E @ factor
            p = p - mu / 2 * p @ E
            new.append((p + p.T) / 2)
        elif form == "qeq":
            new.append(factor - mu * factor @ E)
        else:
            new.append(rotated(factor - mu * E @ factor))
    return new
