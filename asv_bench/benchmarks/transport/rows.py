"""The rows of the speed table: what is compared with what, on which problem, and what is aimed at.

A row is a claim of the form "ours takes 1/target of the time of the fastest of these peers that reaches the same true
error". Rows of one problem are measured together, in turn, in one process. ``beside`` are solvers whose figures belong
next to the row without being part of its claim: for want of a convergence test, as GeomLoss, or as a second peer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from .peers import Measured, measure, over
from .problems import Problem, make_problem

__all__ = ["ROWS", "SEED", "Case", "Row", "best_peer", "figures_of_rows"]

# Random assignment is a matter of luck: with this seed plain Sinkhorn needs 21,573 sweeps, with others over 60,000.
SEED = 1
ASSIGNMENT_BESIDE = ("kernel", "pot-kernel", "regot-ssns", "regot-newton")


@dataclass(frozen=True)
class Case:
    """A problem up to its seed, as `make_problem` takes it."""

    kind: str
    n: int
    fraction: float | None = None
    epsilon: float | None = None
    weights: str = "unequal"
    tol: float = 1e-6
    max_steps: int = 10_000

    def problem(self, seed: int) -> Problem:
        return make_problem(**{f.name: getattr(self, f.name) for f in fields(self)}, seed=seed)

    def __str__(self) -> str:
        name = {
            "random": "random costs",
            "cloud": "cloud 2-D",
            "gauss": "Gaussian clouds 2-D",
            "cloud10": "cloud 10-D",
            "cityblock": "L1 cloud 3-D",
        }[self.kind]
        epsilon = f"{self.fraction:g} range" if self.epsilon is None else f"1/{1.0 / self.epsilon:.0f}"
        return f"{name}, {self.weights} weights, n={self.n}, epsilon {epsilon}, L1 {self.tol:.0e}"


@dataclass(frozen=True)
class Row:
    """`ours` against the fastest of `peers`; `target` is how many times faster is aimed at. `slow`: not for asv."""

    key: str
    what: str
    case: Case
    ours: str
    peers: tuple[str, ...]
    target: float
    beside: tuple[str, ...] = ()
    slow: bool = False


def _newton_rows() -> list[Row]:
    """POT's other two are left out: at n=1000 ``sinkhorn_log`` takes 36 times as long as ``sinkhorn``, and
    ``sinkhorn_stabilized`` does not converge there."""
    fine: dict[str, Any] = {"tol": 1e-9, "max_steps": 30_000}  # L1 costs have taken POT over 10,000
    cases = {
        "plane": Case("cloud", 1000, 1e-3, **fine),
        "gauss": Case("gauss", 1000, 1e-3, **fine),
        "d10": Case("cloud10", 1000, 1e-3, **fine),
        "l1": Case("cityblock", 1000, 1e-3, **fine),
        "wide": Case("cloud", 1000, 1e-3, weights="wide", **fine),
        "plane-2000": Case("cloud", 2000, 1e-3, **fine),
        "plane-4000": Case("cloud", 4000, 1e-3, **fine),
        "l1-4000": Case("cityblock", 4000, 1e-3, **fine),
    }
    made = []
    for name, case in cases.items():
        slow = case.n > 1000
        beside = ("kernel", "geomloss", "geomloss-fine", "regot-newton") if name == "plane" else ("kernel",)
        pot = Row(f"newton-{name}", "SNS, POT", case, "newton", ("pot-kernel",), 10.0, beside, slow)
        regot = Row(f"newton-{name}-regot", "SNS, regot", case, "newton", ("regot-ssns",), 10.0, (), slow)
        made += [pot, regot]
    return made


def _sinkhorn_rows() -> list[Row]:
    log = Case("cloud", 500, 5e-3, tol=1e-6)
    beyond = Case("cloud", 4000, 2e-2, tol=1e-6)
    made = [
        Row("log-pot", "log Sinkhorn", log, "log", ("pot-log",), 10.0),
        Row("log-ott", "log Sinkhorn", log, "log", ("ott", "ott-points"), 4.0),
        Row("log-ott-relaxed", "log Sinkhorn, both relaxed", log, "log", ("ott-momentum",), 4.0),
        Row("plain-pot", "log Sinkhorn, not relaxed", log, "log-plain", ("pot-log",), 10.0),
        Row("plain-ott", "log Sinkhorn, not relaxed", log, "log-plain", ("ott", "ott-points"), 4.0),
        Row("kernel-4000", "kernel Sinkhorn beyond L3", beyond, "kernel-plain", ("pot-kernel",), 1.5, ("kernel",)),
    ]
    for n in (100, 300, 1000):
        case = Case("cloud", n, 1e-2, tol=1e-6)
        made.append(
            Row(
                f"kernel-{n}",
                "kernel Sinkhorn, cached",
                case,
                "kernel-plain",
                ("pot-kernel",),
                1.0,
                ("kernel", "numpy"),
            )
        )
    for n in (1000, 4000):
        case = Case("cloud", n, 2e-2, tol=1e-6)
        made.append(Row(f"points-{n}", "PointCloud, own dense cost", case, "points-plain", ("log-plain",), 1.0))
    return made


def _own_rows() -> list[Row]:
    assignment = Case("random", 500, epsilon=1 / 1200, weights="uniform", tol=1e-9, max_steps=100_000)
    coarse = Case("cloud", 1000, 5e-3, tol=1e-4)
    made = [
        Row("assignment", "SNS, plain log Sinkhorn", assignment, "newton", ("log-plain",), 300.0, ASSIGNMENT_BESIDE),
    ]
    for name in ("kernel-plain", "log-plain"):
        what = f"float32, own float64 ({name})"
        made.append(Row(f"float32-{name[:-6]}", what, coarse, f"{name}@float32", (f"{name}@float64",), 1.8))
    return made


ROWS: tuple[Row, ...] = (*_newton_rows(), *_own_rows(), *_sinkhorn_rows())


def figures_of_rows(
    rows: Iterable[Row], seed: int, *, rounds: int = 5, budget: float = 1.5
) -> Iterable[tuple[Case, list[Row], dict[str, Measured | str]]]:
    """Each problem with its rows and the figures of every solver that they name, measured in turn."""
    grouped: dict[Case, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.case, []).append(row)
    for case, members in grouped.items():
        names = dict.fromkeys(name for row in members for name in (row.ours, *row.peers, *row.beside))
        yield case, members, measure(case.problem(seed), names, rounds=rounds, budget=budget)


def best_peer(row: Row, found: dict[str, Measured | str]) -> tuple[str | None, float]:
    """The fastest of the row's peers that reaches the tolerance, and our time over its; None and NaN without one."""
    reached = {name: m for name in row.peers if isinstance(m := found[name], Measured) and m.reached}
    if not reached:
        return None, math.nan
    name = min(reached, key=lambda name: reached[name].seconds)
    return name, over(found[row.ours], reached[name])
