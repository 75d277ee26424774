"""Handwritten digits: noisy gradients, curvature learned on the way, and where a quasi-Newton method wins.

A multinomial logistic regression is trained on batches of 32, with a preconditioner that is fitted to products with the
Hessian, by plain gradients with momentum, and by L-BFGS on pairs of gradients of one batch. The same pictures as sums
along their rows say the same in worse coordinates: what becomes of the best rate? Then all data at every step, where
L-BFGS wins; and a Hessian, its fit in three forms, and what is left of its eigenvalues.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..arrays import namespace
from ..backend import of
from ..precondition import fit_hessian, minimize, psgd
from ..result import ConvergenceWarning
from .report import Figure, Section, chart

__all__ = ["Digits", "run"]

BATCH, RIDGE, DAMPING = 32, 1e-4, 1e-2
MOMENTUM = 0.9
RATES = {"PSGD": (0.03, 0.1, 0.3, 1.0), "SGD": (1.0, 3.0, 10.0, 30.0), "L-BFGS": (0.3, 1.0, 3.0, 10.0)}
GIVEN, SUMMED = "pixels", "sums along rows"
FORMS = {"eq, step 1": ("eq", 1.0), "quad, step 0.1": ("quad", 0.1), "procrustes, step 0.25": ("procrustes", 0.25)}
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Path_ = list[tuple[float, float, float]]  # batches, CPU seconds, excess loss


def run(folder: Path, *, dtype: str = "float64", small: bool = False) -> Section:
    """Train on batches in three ways and two coordinates, then on all data, and fit a Hessian."""
    steps, whole = (40, 60) if small else (400, 300)
    digits = {GIVEN: Digits(dtype), SUMMED: Digits(dtype, summed=True)}
    n = len(digits[GIVEN].x)
    print(f"digits: {n:,} of them, batches of {BATCH}, {steps} steps")
    compiled(digits[GIVEN])
    grid = {where: searched(data, steps, 2 if small else 1) for where, data in digits.items()}
    best = {name: min(found, key=found.__getitem__) for name, found in grid[GIVEN].items()}
    paths = {name: trained(digits[GIVEN], name, rate, steps, seed=0) for name, rate in best.items()}
    for name, path in paths.items():
        print(f"  {name}, rate {best[name]:g}: excess loss {path[-1][2]:.1e}, {path[-1][1]:.2f} s")
    full = on_all_data(digits[GIVEN], whole)
    for name, (calls, excess) in full.items():
        print(f"  all data, {name}: excess loss {excess[-1]:.1e} after {calls[-1]:.0f} evaluations")
    H = digits[GIVEN].block(8) + DAMPING * np.eye(65)
    fits = fitted(H.astype(dtype), 2000 if small else 20_000)
    for name, fit in fits.items():
        print(f"  fit, {name}: {float(fit.error):.1e} after {int(fit.steps)} pairs")

    all_data = "; ".join(f"{k}: {e[-1]:.1e} after {c[-1]:.0f} evaluations" for k, (c, e) in full.items())
    good = [fit for fit in fits.values() if fit.converged]
    at = {where: {k: min(v, key=v.__getitem__) for k, v in grid[where].items()} for where in grid}
    return Section(
        title="Preconditioning: gradients that are only known by samples",
        lead="A regression on handwritten digits, which sees 32 of them at a time. Beside each gradient goes one "
        "product with the Hessian, at a random vector, and a preconditioner is fitted to these pairs on the way. It "
        "learns the coordinates of the problem, so that its rate can stay what it is where others have to be tuned "
        "anew. What it does not do is beat L-BFGS on a function that is known exactly: the last picture of the first "
        "row shows that on purpose.",
        rows=[
            [_batches(folder, paths, steps), _seconds(folder, paths), _all_data(folder, full)],
            [_rates(folder, grid, steps), *_fits(folder, fits, H)],
        ],
        facts=[
            ("Digits", f"{n:,} of 8 x 8 pixels, 650 unknowns, ridge {RIDGE:g}, batches of {BATCH}"),
            *(
                (name, f"rate {best[name]:g}, excess loss {path[-1][2]:.1e}, {path[-1][1]:.2f} s")
                for name, path in paths.items()
            ),
            ("Rates", f"best of {4 // (1 + small)} for each, on other batches than those shown"),
            *((f"In {where}", ", ".join(f"{k} {rate:g}" for k, rate in found.items())) for where, found in at.items()),
            ("Evaluations", "a step of PSGD takes a gradient and a product, one of L-BFGS two gradients, SGD's one"),
            ("All data", all_data),
            ("Hessian", f"of the weights of digit 8, 65 unknowns, damped by {DAMPING:g}"),
            *((f"Fit, {k}", f"{float(fit.error):.1e} after {int(fit.steps):,} pairs") for k, fit in fits.items()),
            ("Seconds", "CPU time of the process, without the compilation of kernels and the looks at the loss"),
            ("Status", f"{(good or list(fits.values()))[0].status.name}. {(good or list(fits.values()))[0].status}"),
        ],
        status=f"Converged: {len(good)} of {len(fits)} fits of the Hessian. Trained on {steps * BATCH:,} digits.",
        peer="All data: " + all_data,
        failure="" if good else str(next(iter(fits.values())).status),
    )


# ---------------------------------------------------------------------------------------------------------------------
# The problem


class Digits:
    """Multinomial logistic regression with a ridge; W has shape (65, 10). `summed` adds pixels up along each row.

    `loss`, `grad` and `product` take the library of W; numbers of batches are moved to it. All but them is numpy.
    """

    def __init__(self, dtype: str = "float64", *, summed: bool = False) -> None:
        images, labels = import_module("sklearn.datasets").load_digits(return_X_y=True)
        pixels = images.reshape(-1, 8, 8) / 16.0
        if summed:
            pixels = np.cumsum(pixels, axis=2) / 8.0
        self.x = np.concatenate([pixels.reshape(-1, 64), np.ones((len(pixels), 1))], axis=1).astype(dtype)
        self.y = np.eye(10, dtype=dtype)[labels]
        self.start = np.zeros((65, 10), dtype=dtype)
        self.calls: list[float] = []
        self.goal = self.solved().x.reshape(65, 10)
        self.least = float(self.loss(self.goal, wide(self.all)))

    @property
    def all(self) -> tuple[Floats, Floats]:
        return self.x, self.y

    def batch(self, seed: int) -> Callable[[int], tuple[Floats, Floats]]:
        """The data of step k."""

        def batch(k: int) -> tuple[Floats, Floats]:
            rows = np.random.default_rng((seed, k)).integers(0, len(self.x), BATCH)
            return self.x[rows], self.y[rows]

        return batch

    def loss(self, W: Any, data: Any) -> Any:
        x, y = beside(data, W)
        xp = namespace(W)
        z = of(W).matmul(x, W)
        z = z - xp.max(z, axis=1, keepdims=True)
        return xp.mean(xp.log(xp.sum(xp.exp(z), axis=1)) - xp.sum(z * y, axis=1)) + RIDGE / 2 * xp.sum(W * W)

    def grad(self, W: Any, data: Any) -> Any:
        x, y = beside(data, W)
        return of(W).matmul(namespace(W).matrix_transpose(x), chances(x, W) - y) / len(y) + RIDGE * W

    def product(self, W: Any, V: Any, data: Any) -> Any:
        """H V."""
        x, _ = beside(data, W)
        xp, p, d = namespace(W), chances(x, W), of(W).matmul(x, V)
        d = p * (d - xp.sum(p * d, axis=1, keepdims=True))
        return of(W).matmul(xp.matrix_transpose(x), d) / x.shape[0] + RIDGE * V

    def excess(self, W: Any) -> float:
        """The loss of all data less the least one."""
        return float(self.loss(np.asarray(of(W).to_numpy(W), dtype=np.float64), wide(self.all)) - self.least)

    def block(self, digit: int) -> Floats:
        """The part of the Hessian that belongs to one digit, at the solution, without the ridge."""
        x, _ = wide(self.all)
        p = chances(x, self.goal)[:, digit]
        return x.T @ (x * (p * (1.0 - p))[:, None]) / len(x)

    def solved(self) -> Any:
        """L-BFGS of scipy, which comes with scikit-learn; `calls` holds the losses of its evaluations."""
        data = wide(self.all)

        def both(w: Floats) -> tuple[float, Floats]:
            W = w.reshape(65, 10)
            self.calls.append(float(self.loss(W, data)))
            return self.calls[-1], self.grad(W, data).ravel()

        settings = {"maxiter": 2000, "maxfun": 2500, "ftol": 0.0, "gtol": 1e-7}
        solve = import_module("scipy.optimize").minimize
        return solve(both, np.zeros(650), jac=True, method="L-BFGS-B", options=settings)


def wide(data: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """In float64."""
    return data[0].astype(np.float64, copy=False), data[1].astype(np.float64, copy=False)


def beside(data: Any, W: Any) -> Any:
    """Data in the library of W, on its device."""
    return tuple(of(W).lend(part, W) for part in data)


def chances(x: Any, W: Any) -> Any:
    """Softmax of x W."""
    xp, z = namespace(W), of(W).matmul(x, W)
    e = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


# ---------------------------------------------------------------------------------------------------------------------
# Training


class Watched:
    """A gradient that remembers where it was taken, and when: the loss is looked at when the run is over."""

    def __init__(self, data: Digits, every: int) -> None:
        self.data, self.every, self.calls = data, every, 0
        self.begun = time.process_time()
        self.seen: list[tuple[int, float, Any]] = []

    def __call__(self, W: Any, batch: Any) -> Any:
        if self.calls % self.every == 0:
            self.keep(W)
        self.calls += 1
        return self.data.grad(W, batch)

    def keep(self, W: Any) -> None:
        self.seen.append((self.calls, time.process_time() - self.begun, np.array(of(W).to_numpy(W))))

    def path(self) -> Path_:
        return [(float(calls), seconds, self.data.excess(W)) for calls, seconds, W in self.seen]


def trained(data: Digits, name: str, rate: float, steps: int, *, seed: int) -> Path_:
    """Where a method went: batches, CPU seconds, excess losses. The rate falls to zero from the middle on."""
    watch = Watched(data, max(1, steps // 60))
    W = WAYS[name](data, watch, lambda k: rate * np.minimum(1.0, 2.0 * (1.0 - k / steps)), steps, data.batch(seed))
    watch.calls = steps
    watch.keep(W)
    return watch.path()


def by_psgd(data: Digits, grad: Watched, rate: Any, steps: int, batch: Any) -> Any:
    """A gradient and a product a step."""
    settings: dict[str, Any] = {"momentum": MOMENTUM, "tol": 0.0, "max_steps": steps, "history": False}
    settings |= {"learning_rate": lambda k: float(rate(float(k))), "preconditioner": psgd("kronecker")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = minimize(data.loss, data.start, grad=grad, hvp=data.product, batch=batch, **settings)
    return found.x


def by_sgd(data: Digits, grad: Watched, rate: Any, steps: int, batch: Any) -> Floats:
    """Gradients with momentum."""
    W, m = data.start, np.zeros_like(data.start)
    for k in range(steps):
        m = MOMENTUM * m + (1.0 - MOMENTUM) * grad(W, batch(k))
        W = W - float(rate(k)) * m
    return W


def by_lbfgs(data: Digits, grad: Watched, rate: Any, steps: int, batch: Any) -> Floats:
    """Both gradients of a pair from one batch (Schraudolph, Yu and Guenter 2007), ten pairs, no line search."""
    W, pairs = data.start, list[tuple[Floats, Floats]]()
    for k in range(steps):
        g = grad(W, batch(k))
        s = -float(rate(k)) * by_pairs(pairs, g)
        W = W + s
        y = data.grad(W, batch(k)) - g + 0.1 * s  # damped, as there
        if np.sum(s * y) > 1e-10 * np.sum(s * s) > 0.0:
            pairs = [*pairs[-9:], (s, y)]
    return W


def by_pairs(pairs: list[tuple[Floats, Floats]], g: Floats) -> Any:
    """The two loops of L-BFGS; the scale in the middle is the mean over the pairs."""
    q, kept = g.copy(), []
    for s, y in reversed(pairs):
        kept.append(np.sum(s * q) / np.sum(s * y))
        q = q - kept[-1] * y
    q = q * (np.mean([np.sum(s * y) / np.sum(y * y) for s, y in pairs]) if pairs else 0.1)
    for (s, y), a in zip(pairs, reversed(kept), strict=True):
        q = q + s * (a - np.sum(y * q) / np.sum(s * y))
    return q


WAYS: dict[str, Callable[..., Any]] = {"PSGD": by_psgd, "SGD": by_sgd, "L-BFGS": by_lbfgs}


def compiled(data: Digits) -> None:
    """A few steps, so that kernels are loaded."""
    trained(data, "PSGD", 0.1, 3, seed=0)


def searched(data: Digits, steps: int, every: int) -> dict[str, dict[float, float]]:
    """Excess losses by method and rate, on batches that nobody else sees."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            name: {rate: finite(trained(data, name, rate, steps, seed=100)[-1][2]) for rate in rates[::every]}
            for name, rates in RATES.items()
        }


def finite(x: float) -> float:
    """`x`, and infinity for NaN: a rate that lost its way is the worst of all."""
    return x if np.isfinite(x) else np.inf


def on_all_data(data: Digits, steps: int) -> dict[str, tuple[Floats, Floats]]:
    """Evaluations of gradients and products, and excess losses, with all data at every step."""
    excess = np.minimum.accumulate(data.calls) - data.least
    watch = Watched(data, max(1, steps // 60))
    by_psgd(data, watch, lambda k: 1.0 * np.minimum(1.0, 2.0 * (1.0 - k / steps)), steps, lambda k: data.all)
    path = np.array(watch.path())
    return {
        "L-BFGS": (np.arange(1.0, len(excess) + 1.0), np.maximum(excess, 1e-16)),
        "PSGD": (2.0 * path[:, 0] + 1.0, path[:, 2]),
    }


def fitted(H: Floats, most: int) -> dict[str, Any]:
    """A dense fit in every form, without damping, so that rounding is the floor."""
    found = {}
    for name, (form, step) in FORMS.items():
        p = psgd(form=form, step=step, scale="auto")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found[name] = fit_hessian(
                lambda v: of(v).matmul(of(v).lend(H, v), v), H[0], preconditioner=p, max_steps=most, history=True
            )
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Pictures

SIZE = (4.4, 3.7)


def _batches(folder: Path, paths: dict[str, Path_], steps: int) -> Figure:
    """Loss by batches."""

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        ax.set_prop_cycle(color=_colours())
        plot.optimizer({name: np.array(path)[1:, [0, 2]] for name, path in paths.items()}, ax=ax)
        ax.set(xlabel="batches", ylabel="excess loss of all digits")

    return chart(
        folder,
        "psgd-batches",
        draw,
        alt="Three excess losses over batches on a logarithmic scale",
        caption=f"The loss over {steps:,} batches of {BATCH}, each method at its best rate of four, all with the same "
        "schedule. The noise dies away at the end, where the rate goes to zero.",
        size=SIZE,
    )


def _seconds(folder: Path, paths: dict[str, Path_]) -> Figure:
    """Loss by CPU time."""

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        ax.set_prop_cycle(color=_colours())
        runs = {name: np.array(path)[1:, [1, 2]] for name, path in paths.items()}
        plot.optimizer(runs, against="seconds", ax=ax)
        ax.set(xlabel="CPU seconds", ylabel="excess loss of all digits", xscale="log")

    return chart(
        folder,
        "psgd-seconds",
        draw,
        alt="The same three losses over CPU time: plain gradients are through long before the others",
        caption="The same runs over CPU time. Gradients of so small a model cost next to nothing, and plain steps are "
        "through before the others have begun: a preconditioner pays where gradients are dear.",
        size=SIZE,
    )


def _all_data(folder: Path, full: dict[str, tuple[Floats, Floats]]) -> Figure:
    """Where L-BFGS wins."""

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        blue, _, green = _colours()
        ax.set_prop_cycle(color=[green, blue])
        plot.optimizer({name: np.stack(pair, axis=1) for name, pair in full.items()}, ax=ax)
        ax.set(xlabel="gradients and products with all data", ylabel="excess loss", xscale="log", ylim=(1e-12, None))

    return chart(
        folder,
        "psgd-all-data",
        draw,
        alt="Two excess losses over evaluations: that of L-BFGS falls to rounding, that of PSGD far less",
        caption="All data at every step, and no noise: L-BFGS with a line search wins, as it does on every smooth "
        "function that is known exactly. Take it there.",
        size=SIZE,
    )


def _rates(folder: Path, grid: dict[str, dict[str, dict[float, float]]], steps: int) -> Figure:
    """What becomes of the best rate."""

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        for (where, found), style in zip(grid.items(), ("-", "--"), strict=True):
            for (name, losses), color in zip(found.items(), _colours(), strict=True):
                losses = {rate: loss for rate, loss in losses.items() if np.isfinite(loss)}
                label = name if where == GIVEN else None
                ax.plot(list(losses), list(losses.values()), style, marker="o", markersize=4, color=color, label=label)
        ax.plot([], [], "--", color="0.5", label=SUMMED)
        ax.set(xscale="log", yscale="log", xlabel="rate", ylabel=f"excess loss after {steps} batches")
        ax.set_ylim(top=5.0)
        ax.legend(fontsize="small", frameon=False)

    return chart(
        folder,
        "psgd-rates",
        draw,
        alt="Excess losses over rates in two coordinates: the best rate of PSGD stays, the others move",
        caption="What a rate is worth, in pixels (full lines) and in sums along rows (dashed), which say the same in "
        "worse coordinates. The rate of PSGD stays, those of SGD and of L-BFGS have to be found anew.",
        size=SIZE,
    )


def _fits(folder: Path, fits: dict[str, Any], H: Floats) -> list[Figure]:
    """How a Hessian is fitted, and what is left of its eigenvalues."""

    def falling(figure: Any) -> None:
        ax = figure.add_subplot()
        ax.set_prop_cycle(color=_colours())
        plot.fit(fits, ax=ax)
        ax.legend(fontsize="small", frameon=False)

    def even(figure: Any) -> None:
        best = min(fits.values(), key=lambda fit: float(fit.error))
        plot.spectrum(
            best,
            lambda v: of(v).matmul(of(v).lend(H.astype(str(v.dtype).rpartition(".")[2]), v), v),
            ax=figure.add_subplot(),
        )

    return [
        chart(
            folder,
            "psgd-fit",
            falling,
            alt="Three errors over pairs on a logarithmic scale",
            caption="A preconditioner learns a Hessian from products with random vectors alone. Three forms of the "
            "update: small steps in a symmetric form, larger ones with a rotation, or triangular factors.",
            size=SIZE,
        ),
        chart(
            folder,
            "psgd-spectrum",
            even,
            alt="Eigenvalues of the Hessian over a decade, and those of the preconditioned one, all at 1",
            caption="What a solver meets: the eigenvalues of H, and those of P H, which are all 1.",
            size=SIZE,
        ),
    ]


def _colours() -> list[str]:
    """Three, in the light and in the dark."""
    import matplotlib as mpl

    return [*mpl.rcParams["axes.prop_cycle"].by_key()["color"][:2], "#3f9c78"]
