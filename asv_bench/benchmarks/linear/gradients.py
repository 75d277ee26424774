"""Conjugate gradients for one linear system, here and elsewhere, to the same true residual.

Every answer is judged in float64 by |b - A x| / |b|, and one that is above the tolerance enters no ratio. SciPy stops
by that very number (``rtol=tol, atol=0``). lineax compares r and the last change of x with ``atol + rtol |.|``, entry
by entry; ``rtol=0, atol=tol |b|`` and its Euclidean norm make of it the same number and, for our matrices, no more. It
is jitted and warm, and is given the product as a function that XLA fuses, not a matrix. PyAMG's smoothed aggregation
preconditions SciPy's method, its set-up counted. Our own figures are those of the whole public call, and so contain
every check and all set-up; ``csr-ssor-first`` has never seen the pattern before.

What stands beside the ratios: algebraic multigrid needs a number of steps that does not grow with the grid, so it wins
on large grids, and on small ones without a shift.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..clock import cpu_seconds, keep_freed_memory

__all__ = ["PROBLEMS", "ROWS", "SOLVERS", "Measured", "measure", "over"]

TOL = 1e-8
SLACK = 1.05  # of the tolerance: what rounding may add between a solver's own look and the judge's


# ---------------------------------------------------------------------------------------------------------------------
# Problems


@dataclass(frozen=True)
class Problem:
    """A system: its matrix for SciPy, the stencil if it is one, and a random right-hand side."""

    matrix: Any
    stencil: Any
    b: Any


def heat(*grid: int) -> Problem:
    """One stiff step of Crank-Nicolson, 9.5e-3/2 (-Laplace) + 1, on a unit square or cube."""
    from equipoise.operators import Stencil

    return of_stencil(Stencil.laplacian(grid, spacing=1 / (grid[-1] + 1), scale=9.5e-3 / 2, shift=1.0))


def varying(*grid: int) -> Problem:
    """Diffusion with weights over two decades."""
    from equipoise.operators import Stencil

    rng = np.random.default_rng(0)
    shapes = [tuple(m - (k == axis) for k, m in enumerate(grid)) for axis in range(len(grid))]
    return of_stencil(Stencil.diffusion(tuple(np.exp(rng.standard_normal(s)) for s in shapes), shift=0.01))


def of_stencil(A: Any) -> Problem:
    import scipy.sparse as sp

    stored = A.to_csr()
    matrix = sp.csr_array((stored.data, stored.indices, stored.indptr), shape=stored.shape)
    return Problem(matrix, A, np.random.default_rng(1).standard_normal(A.grid))


def graph(n: int) -> Problem:
    """The Laplacian of a random graph, weights uniform, plus 0.01."""
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    edges = sp.random_array((n, n), density=4 / n, rng=rng, format="csr")
    edges = edges + edges.T
    edges.setdiag(0.0)
    matrix = sp.csr_array(sp.diags_array(np.asarray(edges.sum(axis=1)) + 0.01) - edges)
    return Problem(matrix, None, rng.standard_normal(n))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "heat-100": functools.partial(heat, 100, 100),
    "heat-200": functools.partial(heat, 200, 200),
    "heat-300": functools.partial(heat, 300, 300),
    "heat-157x333": functools.partial(heat, 157, 333),
    "heat-50^3": functools.partial(heat, 50, 50, 50),
    "varying-200": functools.partial(varying, 200, 200),
    "graph-20000": functools.partial(graph, 20_000),
}


# ---------------------------------------------------------------------------------------------------------------------
# Solvers: each is prepared once, and gives x and steps


def ours(kind: str, preconditioner: str, problem: Problem, *, first: bool = False) -> Callable[[], Any]:
    import equipoise as eq
    from equipoise.linear import ordering

    if kind == "stencil" and problem.stencil is None:
        raise NotImplementedError("this problem is no stencil")
    A = problem.stencil if kind == "stencil" else eq.operators.CSR.from_scipy(problem.matrix)
    b = problem.b if kind == "stencil" else problem.b.reshape(-1)
    made = {"none": None, "jacobi": eq.linear.Jacobi(), "ssor": eq.linear.SSOR()}[preconditioner]

    def run() -> Any:
        if first:
            ordering._memory.clear()
        found = eq.linear.cg(A, b, preconditioner=made, tol=TOL, max_steps=20_000)
        return found.x, int(found.steps)

    return run


def scipy_cg(problem: Problem, *, jacobi: bool = False, multigrid: bool = False) -> Callable[[], Any]:
    import scipy.sparse as sp
    from scipy.sparse.linalg import cg

    b = problem.b.reshape(-1)

    def run() -> Any:
        count = [0]

        def tick(x: Any) -> None:
            count[0] += 1

        M = sp.diags_array(1.0 / problem.matrix.diagonal()) if jacobi else None
        if multigrid:
            import pyamg

            M = pyamg.smoothed_aggregation_solver(sp.csr_matrix(problem.matrix)).aspreconditioner()
        x, _ = cg(problem.matrix, b, rtol=TOL, atol=0.0, maxiter=20_000, M=M, callback=tick)
        return x, count[0]

    return run


def lineax_cg(problem: Problem, *, jacobi: bool = False) -> Callable[[], Any]:
    import jax
    import jax.numpy as jnp
    import lineax
    from lineax.internal import two_norm

    if problem.stencil is None or not problem.stencil.constant:
        raise NotImplementedError("only for stencils of a few numbers")
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    A, size = problem.stencil, float(np.linalg.norm(problem.b))

    def product(x: Any) -> Any:
        out = float(A.center) * x
        around = jnp.pad(x, 1)
        for axis, w in enumerate(A.faces):
            inner = [slice(1, -1)] * x.ndim
            for side in (slice(None, -2), slice(2, None)):
                out = out - float(w) * around[(*inner[:axis], side, *inner[axis + 1 :])]
        return out

    struct = jax.ShapeDtypeStruct(problem.b.shape, jnp.float64)
    tags = lineax.positive_semidefinite_tag
    inverse = lineax.FunctionLinearOperator(lambda r: r / float(A.center), struct, tags)
    solver = lineax.CG(rtol=0.0, atol=TOL * size, norm=two_norm, max_steps=20_000)

    @jax.jit
    def solve(b: Any) -> Any:
        operator = lineax.FunctionLinearOperator(product, struct, tags)
        options = {"preconditioner": inverse} if jacobi else {}
        found = lineax.linear_solve(operator, b, solver, options=options, throw=False)
        return found.value, found.stats["num_steps"]

    b = jnp.asarray(problem.b)

    def run() -> Any:
        x, steps = solve(b)
        return np.asarray(x), int(steps)

    return run


SOLVERS: dict[str, Callable[[Problem], Callable[[], Any]]] = {
    **{
        f"{kind}-{m}": functools.partial(ours, kind, m)
        for kind in ("stencil", "csr")
        for m in ("ssor", "jacobi", "none")
    },
    "csr-ssor-first": functools.partial(ours, "csr", "ssor", first=True),
    "scipy-none": scipy_cg,
    "scipy-jacobi": functools.partial(scipy_cg, jacobi=True),
    "lineax-none": lineax_cg,
    "lineax-jacobi": functools.partial(lineax_cg, jacobi=True),
    "pyamg": functools.partial(scipy_cg, multigrid=True),
}


# ---------------------------------------------------------------------------------------------------------------------
# Figures


@dataclass(frozen=True)
class Measured:
    """Least CPU seconds of a solve, its steps, and the true residual of its answer."""

    seconds: float
    steps: int
    error: float

    @property
    def reached(self) -> bool:
        return self.error <= SLACK * TOL


def true_error(problem: Problem, x: Any) -> float:
    b = problem.b.reshape(-1)
    return float(np.linalg.norm(b - problem.matrix @ x.reshape(-1)) / np.linalg.norm(b))


def measure(problem: Problem, names: Any, *, rounds: int = 7, budget: float = 1.5) -> dict[str, Measured | str]:
    """Every solver in turn, in this process; for one that cannot be had, the reason in place of figures."""
    keep_freed_memory()
    found: dict[str, Measured | str] = {}
    runs: dict[str, Callable[[], Any]] = {}
    answers: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        try:
            runs[name] = SOLVERS[name](problem)
            answers[name] = runs[name]()  # compiles, and remembers patterns
        except (ImportError, NotImplementedError) as reason:
            runs.pop(name, None)
            found[name] = f"{name}: {reason}"
    for (name, _), seconds in zip(runs.items(), cpu_seconds(runs.values(), rounds=rounds, budget=budget), strict=True):
        x, steps = answers[name]
        found[name] = Measured(seconds, steps, true_error(problem, x))
    return found


def over(mine: Measured | str, peer: Measured | str) -> float:
    """Our CPU time over the peer's; NaN unless both answers are within the tolerance."""
    if isinstance(mine, str) or isinstance(peer, str) or not (mine.reached and peer.reached):
        return math.nan
    return mine.seconds / peer.seconds


GRIDS = [name for name in PROBLEMS if not name.startswith("graph")]
ROWS: list[tuple[str, str, str]] = [
    *((problem, "stencil-ssor", "scipy-none") for problem in GRIDS),
    *((problem, "csr-ssor", "scipy-none") for problem in PROBLEMS),
    *((problem, "csr-ssor-first", "scipy-none") for problem in ("heat-200", "graph-20000")),
    *(("heat-200", f"{kind}-{m}", f"scipy-{m}") for kind in ("stencil", "csr") for m in ("none", "jacobi")),
    *(("heat-200", f"stencil-{m}", f"lineax-{m}") for m in ("none", "jacobi")),
    ("heat-200", "stencil-ssor", "pyamg"),
    ("varying-200", "stencil-ssor", "pyamg"),
]


class ConjugateGradients:
    """Our time over a peer's, lower is better. Aims at 200 cells a side: stencil 0.06, sparse matrix 0.26."""

    params: ClassVar = [f"{problem}: {mine} / {peer}" for problem, mine, peer in ROWS]
    param_names: ClassVar = ["row"]

    def setup_cache(self) -> dict[str, tuple[Any, Any]]:
        found: dict[str, tuple[Any, Any]] = {}
        for name, make in PROBLEMS.items():
            rows = [row for row in ROWS if row[0] == name]
            solvers = [solver for row in rows for solver in row[1:]]
            try:
                figures = measure(make(), solvers)
            except ImportError as lacking:  # an old version
                figures = dict.fromkeys(solvers, str(lacking))
            found |= {f"{name}: {mine} / {peer}": (figures[mine], figures[peer]) for _, mine, peer in rows}
        return found

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def setup(self, table: dict[str, tuple[Any, Any]], row: str) -> None:
        for figures in table[row]:
            if isinstance(figures, str):
                raise NotImplementedError(figures)  # asv's way to skip
        self.mine, self.peer = table[row]

    def track_ratio(self, *case: Any) -> float:
        return over(self.mine, self.peer)

    def track_cpu_time(self, *case: Any) -> float:
        return 1e3 * self.mine.seconds

    def track_steps(self, *case: Any) -> int:
        return int(self.mine.steps)

    def track_true_error(self, *case: Any) -> float:
        return float(self.mine.error)

    track_ratio.unit = "of the peer's CPU time"  # type: ignore[attr-defined]
    track_cpu_time.unit = "ms"  # type: ignore[attr-defined]
    track_steps.unit = "steps"  # type: ignore[attr-defined]
    track_true_error.unit = "|b - A x| / |b|"  # type: ignore[attr-defined]


if __name__ == "__main__":
    bench = ConjugateGradients()
    for row, (mine, peer) in bench.setup_cache().items():
        print(f"{row:45} {over(mine, peer):7.3f}   {mine}   {peer}")
