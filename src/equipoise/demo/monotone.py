"""Games and inclusions: late flights by samples, a patrol through the standard library, and where sampling loses.

A model of late flights is fitted by four methods that count every flight they look at. Then a game: somebody breaks a
module of the standard library, somebody else watches one, and the farther away the watch, the worse; both mix. Last,
dense games, on which variance reduction is known to lose, and rock, paper, scissors, where plain gradients go round in
circles.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..monotone import (
    GameOperator,
    LogisticGradient,
    Product,
    Simplex,
    extragradient,
    extragradient_vr,
    halpern,
    halpern_vr,
    matrix_game,
)
from ..plot.shared import shades
from ..result import ConvergenceWarning
from . import flights, imports, peers
from .report import Figure, Section, chart

__all__ = ["patrol", "run"]

LATE = 15.0  # minutes
RIDGE = 1e-3
TOL = {"float64": 1e-5, "float32": 1e-4}
GAP = {"float64": 1e-6, "float32": 1e-3}
REACH = 0.8  # how fast the help of a watch fades with every import between
SHOWN = 14  # modules in the picture of the game
CYCLE = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])  # rock, paper, scissors
Floats = np.ndarray[Any, np.dtype[np.float64]]


def run(folder: Path, *, dtype: str = "float64", small: bool = False) -> Section:
    """Fit late flights in four ways, solve the patrol game, and compare methods on a dense game."""
    tol, aim = TOL[dtype], GAP[dtype]
    late, tried = fitted(tol, every=60 if small else 1, budget=8 if small else 30)
    n, best = late.n, tried["halpern_vr"][0]
    modules, payoff, depended = patrol()
    timed(lambda: matrix_game(payoff, tol=aim, max_steps=40, history=True))  # the first call compiles
    game, seconds = timed(lambda: matrix_game(payoff, tol=aim, max_steps=100_000, history=True))
    print(f"patrol: {len(modules)} modules, value {game.value:.6f}, gap {game.error:.1e}, {int(game.steps)} steps")
    peer = peers.scipy_linprog(payoff, seconds)
    size, epochs = (30, 20) if small else (200, 150)
    lost = on_a_dense_game(size, epochs)
    for name, gap in lost.items():
        print(f"  dense game {size} x {size}, {epochs} epochs, {name}: gap {gap:.1e}")

    failed = [result for result in (best, game) if not result.converged]
    return Section(
        title="Monotone inclusions: samples where they pay, and games",
        lead="Which flights are late? Four methods look for the same zero of the same operator, and every look at a "
        "flight is counted: to sample them and to keep the variance small is worth a lot here. Then a game on the "
        "import graph of Python's standard library, solved with bounds on its value; and dense games, where sampling "
        "loses.",
        rows=[
            [_calls(folder, tried, n, tol), _loss(folder, lost, size, epochs), _triangle(folder, small)],
            _patrol(folder, modules, payoff, depended, game, aim),
        ],
        facts=[
            (
                "Flights",
                f"{n:,}, late by more than {LATE:g} minutes or not, {late.A.shape[1]} columns, ridge {RIDGE:g}",
            ),
            *((name, told(result, spent, n)) for name, (result, spent) in tried.items()),
            ("Tolerance", f"{tol:.0e}, the norm of the gradient; an epoch is as many calls as there are flights"),
            (
                "For the record",
                "the operator is a gradient here, so that quasi-Newton and accelerated methods would do, too; "
                "the methods above do not use that",
            ),
            (
                "Patrol game",
                f"{len(modules)} modules, value {game.value:.6f}, {seconds:.2f} s, {int(game.steps):,} steps",
            ),
            ("Its gap", f"{game.error:.1e}, tolerance {aim:.0e}"),
            ("Against SciPy", peer),
            ("Watched", mixed(modules, game.x)),
            ("Broken", mixed(modules, game.y)),
            ("Dense game", f"{size} x {size}, gap after {epochs} epochs: " + listed(lost)),
            ("Seconds", "CPU time of the process, without the compilation of kernels, some seconds once on a machine"),
            ("Status", f"{game.status.name}. {game.status}"),
        ],
        status=f"Converged: {n:,} flights to {best.error:.1e} in {float(best.oracle_calls) / n:.0f} epochs; "
        f"the value of the game lies between {game.lower:.6f} and {game.upper:.6f}.",
        peer=peer,
        failure=str(failed[0].status) if failed else "",
    )


# ---------------------------------------------------------------------------------------------------------------------
# Late flights


def fitted(tol: float, *, every: int, budget: int) -> tuple[LogisticGradient, dict[str, tuple[Any, float]]]:
    """The sum, and what each method made of it in `budget` epochs: its result and its seconds."""
    A, delay, _ = flights.flights(every=every)
    late = LogisticGradient(A, np.where(delay > LATE, 1.0, -1.0), RIDGE)
    n, u0 = late.n, np.zeros(A.shape[1])
    print(f"late flights: {np.mean(delay > LATE):.1%} of {n:,}, a logistic regression on {A.shape[1]} columns")
    L = float(late.lipschitz)  # once for all
    shared: dict[str, Any] = {"lipschitz": L, "tol": tol, "history": True}
    ways: dict[str, Callable[[], Any]] = {
        "halpern": lambda: halpern(late, u0, max_steps=budget, check_every=1, **shared),
        "extragradient": lambda: extragradient(late, u0, max_steps=max(1, budget // 2), check_every=1, **shared),
        "halpern_vr, theory": lambda: halpern_vr(late, u0, schedule="theory", max_oracle_calls=budget * n, **shared),
        "halpern_vr": lambda: halpern_vr(late, u0, **shared),
    }
    timed(lambda: halpern_vr(late, u0, lipschitz=L, tol=tol, max_oracle_calls=2 * n))  # the first call compiles
    tried = {}
    for name, way in ways.items():
        tried[name] = timed(way)
        print(f"  {name}: {told(*tried[name], n)}")
    return late, tried


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and its CPU time; a budget that runs out is no news."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        done = work()
    return done, time.process_time() - start


def told(result: Any, seconds: float, n: int) -> str:
    """How far a method came with how many calls."""
    epochs = float(result.oracle_calls) / n
    reached = "converged" if result.converged else "not there yet"
    return f"{float(result.error):.1e} after {epochs:.0f} epochs, {seconds:.2f} s, {reached}"


# ---------------------------------------------------------------------------------------------------------------------
# Games


def patrol() -> tuple[tuple[str, ...], Floats, Floats]:
    """The modules, what breaking module i costs while module j is watched, shape (n, n), and who depends on each.

    A broken module harms those that import it, less so if the watch is near: ``dependents_i (1 - exp(-0.8 d_ij))``,
    with d the least number of imports, in either direction, that lead from one to the other. It is the burglar's game
    of the literature, with modules for houses.
    """
    modules, edges = imports.graph()
    near = imports.hops(len(modules), np.concatenate([edges, edges[:, ::-1]]))
    depended = np.bincount(edges[:, 1], minlength=len(modules)).astype(np.float64)
    return modules, depended[:, None] * (1.0 - np.exp(-REACH * near)), depended


def mixed(modules: tuple[str, ...], strategy: Any) -> str:
    """The modules that a strategy plays, the likeliest first."""
    order = np.argsort(-np.asarray(strategy))[:6]
    return ", ".join(f"{modules[k]} {float(strategy[k]):.0%}" for k in order if strategy[k] > 0.005)


def on_a_dense_game(size: int, epochs: int) -> dict[str, float]:
    """The duality gaps that methods reach on a random game with the same number of calls."""
    A = np.random.default_rng(0).uniform(-1.0, 1.0, (size, size))
    game, both = GameOperator(A), Product((Simplex(), size), (Simplex(), size))
    u0, calls = np.full(2 * size, 1.0 / size), epochs * size
    shared: dict[str, Any] = {"resolvent": both, "tol": 1e-9, "history": False}
    ways: dict[str, Callable[[], Any]] = {
        "matrix_game": lambda: matrix_game(A, tol=1e-9, max_steps=epochs, history=False),
        "extragradient": lambda: extragradient(game, u0, max_steps=epochs // 2, **shared),
        "extragradient_vr": lambda: extragradient_vr(game, u0, max_steps=calls // 4, **shared),
        "halpern_vr, lipschitz": lambda: halpern_vr(game, u0, mode="lipschitz", max_oracle_calls=calls, **shared),
    }
    found = {}
    for name, way in ways.items():
        result = timed(way)[0]
        x, y = (result.x, result.y) if name == "matrix_game" else (result.u[:size], result.u[size:])
        found[name] = float(np.max(A @ np.asarray(x, dtype=float)) - np.min(np.asarray(y, dtype=float) @ A))
    return found


def listed(gaps: dict[str, float]) -> str:
    """Names and gaps."""
    return ", ".join(f"{name} {gap:.1e}" for name, gap in gaps.items())


def played(way: str, steps: int) -> Floats:
    """The strategies of x when both play rock, paper, scissors by their gradients, with a look ahead, or anchored."""
    project, start = Product((Simplex(), 3), (Simplex(), 3)), np.array(2 * [0.5, 0.3, 0.2])
    game, step, u, seen = GameOperator(CYCLE), 0.12, start, [start[:3]]
    for k in range(steps):
        centre = start / (k + 2.0) + u * (k + 1.0) / (k + 2.0) if way == "anchored" else u
        ahead = u if way == "gradients" else project(centre - step * game.full(u), step)
        u = project(centre - step * game.full(ahead), step)
        seen.append(u[:3])
    return np.array(seen)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def _calls(folder: Path, tried: dict[str, tuple[Any, float]], n: int, tol: float) -> Figure:
    """Four errors over the calls."""

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        ax.set_prop_cycle(color=_colours())
        results = [result for result, _ in tried.values()]
        plot.convergence(*results, against="oracle_calls", labels=list(tried), tol=tol, ax=ax)
        ax.set(xlabel="epochs", ylabel="norm of the gradient", ylim=(0.5 * tol, None))
        ax.xaxis.set_major_formatter(lambda calls, _: f"{calls / n:g}")
        ax.xaxis.set_major_locator(_every(n, max(float(result.oracle_calls) for result in results)))
        ax.legend(fontsize="small", frameon=False)

    return chart(
        folder,
        "epochs",
        draw,
        alt="Four errors over epochs: one falls to the tolerance, two fall slowly, one hardly at all",
        caption="The norm of the gradient over the calls, in epochs of all flights. Samples win by far, in the "
        "restarted form; as published, with the steps of the theory, they lose. Ticks are restarts.",
        size=(4.4, 3.7),
    )


def _colours() -> list[str]:
    """Four, in the light and in the dark."""
    import matplotlib as mpl

    return ["0.55", "#3f9c78", *reversed(mpl.rcParams["axes.prop_cycle"].by_key()["color"])]


def _every(n: int, calls: float) -> Any:
    """Marks at whole epochs, about six of them."""
    from matplotlib.ticker import MultipleLocator

    epochs = calls / n / 6.0
    power = 10.0 ** np.floor(np.log10(epochs))
    return MultipleLocator(n * float(power * min((1.0, 2.0, 5.0, 10.0), key=lambda x: abs(x - epochs / power))))


def _loss(folder: Path, gaps: dict[str, float], size: int, epochs: int) -> Figure:
    """Who wins on a dense game."""

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        place = np.arange(len(gaps))[::-1]
        ax.hlines(place, min(gaps.values()) / 3.0, list(gaps.values()), color="0.5", linewidth=1)
        for k, (name, gap) in zip(place, gaps.items(), strict=True):
            ax.plot(gap, k, "o", color="C1" if name in ("halpern_vr, lipschitz", "extragradient_vr") else "C0")
        ax.set_xscale("log")
        ax.set_xlim(min(gaps.values()) / 3.0, 3.0 * max(gaps.values()))
        ax.set_yticks(place, [name.replace(", ", ",\n") for name in gaps])
        ax.set_ylim(-0.6, len(gaps) - 0.4)
        ax.set_xlabel("duality gap")
        ax.grid(axis="x", alpha=0.5)

    return chart(
        folder,
        "dense-game",
        draw,
        alt="Four gaps on a logarithmic scale: matrix_game has the least, both sampled methods the largest",
        caption=f"A dense game, {size} x {size}: the gaps after {epochs} epochs. Here sampling (orange) loses to both "
        "that read all of the matrix, and by more in time, for each sampled row costs a projection.",
        size=(4.4, 3.7),
    )


def _triangle(folder: Path, small: bool) -> Figure:
    """Rock, paper, scissors."""
    ways = {"gradients": 40 if small else 140, "extragradient": 300, "anchored": 300}
    paths = [played(way, steps) for way, steps in ways.items()]

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        ax.set_prop_cycle(color=_colours()[-1:] + _colours()[1:3])
        plot.simplex(*paths, labels=list(ways), ax=ax)
        ax.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(-0.08, 1.0))

    return chart(
        folder,
        "triangle",
        draw,
        alt="A triangle: one way circles along its edges, one spirals into the middle, one goes there directly",
        caption="Rock, paper, scissors. Players who follow their gradients chase each other for ever; with a look "
        "ahead they spiral into the middle, and an anchor leads them there without a detour.",
        size=(4.4, 3.7),
    )


def _patrol(
    folder: Path, modules: tuple[str, ...], payoff: Floats, depended: Floats, game: Any, aim: float
) -> list[Figure]:
    """The game where it is decided."""
    x, y = np.asarray(game.x, dtype=float), np.asarray(game.y, dtype=float)
    shown = np.argsort(-(depended + 1e3 * np.maximum(x, y)))[:SHOWN]
    shown = shown[np.argsort(-depended[shown], kind="stable")]
    names, harm = [modules[k] for k in shown], payoff @ x

    def heat(figure: Any) -> None:
        ax = figure.add_subplot()
        image = ax.imshow(payoff[np.ix_(shown, shown)], cmap=shades(ax), vmin=0.0, aspect="auto")
        figure.colorbar(image, ax=ax, label="harm", pad=0.03)
        ax.set_xticks(range(SHOWN), names, rotation=90, fontsize="x-small")
        ax.set_yticks(range(SHOWN), names, fontsize="x-small")
        ax.set(xlabel="watched", ylabel="broken")
        top, right = (ax.inset_axes(box) for box in ((0, 1.015, 1, 0.16), (1.015, 0, 0.16, 1)))
        top.bar(range(SHOWN), x[shown], color="C1")
        right.barh(range(SHOWN), y[shown], color="C1")
        top.set_xlim(ax.get_xlim())
        right.set_ylim(ax.get_ylim())
        for edge in (top, right):
            edge.axis("off")

    def even(figure: Any) -> None:
        ax = figure.add_subplot()
        ax.bar(range(SHOWN), depended[shown], 0.8, color="none", edgecolor="0.5", label="unwatched")
        ax.bar(range(SHOWN), harm[shown], 0.8, color="C0", label="under the mixed watch")
        ax.axhline(float(game.value), color="C1", linewidth=1.2, label=f"value {float(game.value):.2f}")
        ax.set_xticks(range(SHOWN), names, rotation=90, fontsize="small")
        ax.set_ylabel("harm")
        ax.legend(fontsize="small", frameon=False)

    def falling(figure: Any) -> None:
        ax = plot.convergence(game, tol=aim, ax=figure.add_subplot())
        ax.set(ylabel="duality gap", ylim=(0.5 * aim, None))

    return [
        chart(
            folder,
            "patrol",
            heat,
            alt="A heat map of payoffs with a pale diagonal, bars of both strategies along the top and the right",
            caption="What breaking one module costs while another is watched: those that import it, the more the "
            f"farther away the watch. The {SHOWN} modules that matter most; along the edges the mixed strategies.",
            size=(4.4, 3.7),
        ),
        chart(
            folder,
            "even",
            even,
            alt="Hollow bars of different heights, and filled ones of which the first are cut to one line",
            caption="The watch evens things out: every module worth breaking does the same harm on average, and no "
            "other one does more.",
            size=(4.4, 3.7),
        ),
        chart(
            folder,
            "game-gap",
            falling,
            alt="A gap on a logarithmic scale falls to the tolerance",
            caption="The distance between what one player is sure to earn and what the other is sure to pay at most: "
            "a proof of how close both are, at every look.",
            size=(4.4, 3.7),
        ),
    ]
