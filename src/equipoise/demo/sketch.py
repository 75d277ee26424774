"""Least squares: every flight that left New York in a year, in full, by sketches with error bars, and in blocks.

A regression of the delay at arrival is solved to rounding; by one pass over the matrix that leaves a sketch, which says
how far each coefficient may be off; and by one pass over the file, in blocks that are forgotten. The full solution
tells whether the error bars hold it. Leverage scores then tell which patches of a photograph are like no others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot, sketch
from . import flights, peers
from .linear import photograph
from .report import Figure, Section, chart

__all__ = ["run"]

BLOCK, CHUNK = 2**15, 20_000  # flights that are read at a time; rows of a chunk for dask
SIDE, STRIDE = 8, 4  # pixels of a patch, and from one to the next
SHARE = 0.03  # of the patches that count as unusual
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


@dataclass
class Bars:
    """A sketched solution, where it came from, and how far the exact one is off in units of its error bars."""

    name: str
    result: Any
    seconds: float
    farthest: float

    def __str__(self) -> str:
        held = "all bars hold" if self.farthest <= 1.0 else "NOT all bars hold"
        rows = f"{self.result.kind} of {self.result.sketch_rows:,} rows, {self.seconds:.2f} s"
        return f"{rows}: {held}, the exact coefficient farthest off is at {self.farthest:.2f} of its bar"


def run(folder: Path, *, dtype: str = "float64", small: bool = False) -> Section:
    """Solve the regression in three ways; look for unusual patches of a photograph."""
    every, epsilon = (12, 0.4) if small else (1, 0.25)
    blocks = flights.chunks(BLOCK, every=every)
    A, b = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    n, d = A.shape
    print(f"flights: {blocks.read:,} read, a regression of {n:,} on {d} columns")

    with one_thread():
        full, seconds = least(lambda: sketch.lstsq(A, b))
        exact, peer = least(lambda: np.linalg.lstsq(A, b, rcond=None)[0])
    apart = float(np.max(np.abs(np.asarray(full.x, dtype=float) - exact)) / np.max(np.abs(exact)))
    print(f"  {full.method}: {seconds:.2f} s of CPU, backward error {full.error:.1e}")
    against = peers.beside("numpy.linalg.lstsq", peer, seconds)
    print(f"  numpy.linalg.lstsq: {peer:.2f} s, coefficients {apart:.0e} apart")

    bars = [barred("One pass", lambda: sketch.lstsq(A, b, epsilon=epsilon), exact)]
    bars.append(barred("One pass over the file", lambda: streamed(every, epsilon, d), exact))
    if find_spec("dask") is not None:
        bars.append(barred("One pass by dask", lambda: by_dask(A, b, epsilon), exact))
    for ways in bars:
        print(f"  {ways.name}: {ways}")

    picture = photograph("china.jpg")[:, :: 2 if small else 1, :: 2 if small else 1]
    patches, grid = cut(picture)
    scores = np.asarray(sketch.leverage_scores(patches, method="exact"))
    print(f"  leverage scores of {patches.shape[0]:,} patches, sum {scores.sum():.3f}")
    dropped = "; ".join(f"{count:,} {reason}" for reason, count in blocks.dropped.items())
    return Section(
        title="Least squares: which flights come late, and how sure that is",
        lead="Every flight that left New York in 2013: what do carrier, airport, hour, month, weekday and weather add "
        "to its delay? The full solution is as accurate as a direct solver's and takes a fraction of its time. A "
        "sketch meets each flight once, keeps a few rows, and gives every coefficient an error bar. The flights need "
        "not even be in memory.",
        rows=[
            _coefficients(folder, bars[0].result, exact),
            [*_patches(folder, picture, scores.reshape(grid)), _comparison(folder, small)],
        ],
        facts=[
            ("Solved by", f"sketch.lstsq, {full.method} with a sketch of {full.sketch_rows} rows"),
            ("Flights", f"{blocks.read:,} read, {n:,} taken. Left out: {dropped}"),
            ("Columns", f"{d}, condition {full.condition:.0f} when they are scaled to norm 1"),
            ("Residual", f"{full.residual_norm / np.sqrt(n - d):.1f} minutes a flight"),
            ("Backward error", f"{full.error:.1e}, tolerance {4 * rounding(dtype):.1e}"),
            ("Against numpy", against),
            ("Agreement", f"{apart:.0e}, the largest difference of a coefficient over the largest coefficient"),
            *((ways.name, str(ways)) for ways in bars),
            ("Error bars", "95 % for all coefficients at once; of the sketch alone, not of the model"),
            ("Leverage", f"scores of {patches.shape[0]:,} patches of {SIDE} x {SIDE} pixels; sum {scores.sum():.2f}"),
            ("Seconds", "CPU time of the process, one thread; least of two calls for the full solutions"),
            ("Status", f"{full.status.name}. {full.status}"),
        ],
        status=f"Converged: {n:,} flights, backward error {full.error:.1e}. {held(bars)}",
        peer=against,
        failure="" if full.converged else str(full.status),
    )


def held(bars: list[Bars]) -> str:
    """How the error bars did."""
    good = sum(ways.farthest <= 1.0 for ways in bars)
    return f"{good} of {len(bars)} sketched solutions have every exact coefficient within its error bar."


# ---------------------------------------------------------------------------------------------------------------------
# Solutions


def one_thread() -> Any:
    """Without it the linear algebra libraries would use as many threads as they like, and CPU time would mislead."""
    return import_module("threadpoolctl").threadpool_limits(1)  # comes with scikit-learn


def least(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and the lesser CPU time of two calls: the first may compile."""
    seconds = []
    for _ in range(2):
        start = time.process_time()
        done = work()
        seconds.append(time.process_time() - start)
    return done, min(seconds)


def barred(name: str, work: Callable[[], Any], exact: Floats) -> Bars:
    """A sketched solution beside the exact one."""
    start = time.process_time()
    result = work()
    seconds = time.process_time() - start
    off = np.abs(np.asarray(result.x) - exact) / np.asarray(result.coordinate_bound())
    return Bars(name, result, seconds, float(off.max()))


def streamed(every: int, epsilon: float, d: int) -> Any:
    """From the file, read once more and forgotten block by block; how many flights there are need not be known."""
    rows = 32 * -(-sketch.suggest_rows("sparse_sign", d, epsilon=epsilon) // 32)
    seen, start = sketch.accumulate(sketch.sketch_operator("sparse_sign", rows, None, rng=0, s=32)), 0
    for A, b in flights.chunks(BLOCK, every=every):
        seen, start = seen.update(A, b, start=start), start + b.size
    return seen.solve()


def by_dask(A: Floats, b: Floats, epsilon: float) -> Any:
    """The same call on a dask array: here of chunks in memory, elsewhere of files or of other machines."""
    chunked = import_module("dask.array").from_array(A, chunks=(CHUNK, -1))
    return sketch.lstsq(chunked, b, epsilon=epsilon)


def rounding(dtype: str) -> float:
    """The unit roundoff."""
    return 0.5 * float(np.finfo(dtype).eps)


# ---------------------------------------------------------------------------------------------------------------------
# Patches of a photograph


def cut(picture: Floats) -> tuple[Floats, tuple[int, int]]:
    """Its patches as rows, and how many there are down and across."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, (SIDE, SIDE), axis=(1, 2))[:, ::STRIDE, ::STRIDE]
    down, across = windows.shape[1:3]
    return np.moveaxis(windows, 0, 2).reshape(down * across, -1), (down, across)


def lit(picture: Floats, scores: Floats) -> Floats:
    """The picture in grey and dark but for the patches with the largest scores."""
    unusual = np.zeros(picture.shape[1:], dtype=bool)
    for i, j in np.argwhere(scores >= np.quantile(scores, 1.0 - SHARE)) * STRIDE:
        unusual[i : i + SIDE, j : j + SIDE] = True
    return np.where(unusual, picture, 0.35 * picture.mean(axis=0))


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def _coefficients(folder: Path, result: Any, exact: Floats) -> list[Figure]:
    """All coefficients with their bars."""
    names, short = flights.names(), flights.airlines()
    carriers = [k for k, name in enumerate(names) if name.startswith("carrier ")]
    hours = [k for k, name in enumerate(names) if name.startswith("hour ")]
    labels = [short.get(name.removeprefix("carrier "), name.removeprefix("hour ")) for name in names]
    reach = float(exact.min()) - 12.0, float(exact.max()) + 22.0

    def draw(figure: Any, **settings: Any) -> None:
        ax = figure.add_subplot()
        plot.coordinates(result, exact, ax=ax, **settings)
        ax.set(ylabel="minutes", ylim=reach)
        handles, _ = ax.get_legend_handles_labels()
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 0.98)}  # above, since bars may be anywhere
        ax.legend(handles, ["exact", "sketched"], fontsize="small", frameon=False, ncols=2, **place)

    return [
        chart(
            folder,
            "coefficients",
            draw,
            alt="Dots with error bars in ascending order, and marks of the exact coefficients inside of the bars",
            caption=f"All coefficients, from {result.sketch_rows:,} rows of a sketch. The bars hold all exact "
            "ones at once with a probability of 95 %; rare levels have long bars, some longer than the picture.",
            size=(4.4, 3.7),
        ),
        chart(
            folder,
            "carriers",
            lambda figure: draw(figure, names=labels, only=carriers),
            alt="The carriers by what they add to a delay, from Alaska to Frontier, each with an error bar",
            caption="What a carrier adds to the delay of the same flight with United. SkyWest, with 29 flights in the "
            "year, is what a sketch knows little about.",
            size=(4.4, 3.7),
        ),
        chart(
            folder,
            "hours",
            lambda figure: draw(figure, names=labels, only=hours, ascending=False),
            alt="Delays over the hour of departure: they rise from early morning to the evening",
            caption="What the hour of departure adds, against eight o'clock: delays pile up over the day.",
            size=(4.4, 3.7),
        ),
    ]


def _patches(folder: Path, picture: Floats, scores: Floats) -> list[Figure]:
    """The patches that no others can replace."""
    from matplotlib.image import imsave

    imsave(folder / "unusual.png", np.moveaxis(lit(picture, scores), 0, -1))

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        image = ax.imshow(scores, cmap="inferno", norm="log")
        figure.colorbar(image, ax=ax, shrink=0.7)
        ax.set(xticks=(), yticks=())

    return [
        chart(
            folder,
            "leverage",
            draw,
            alt="A map of leverage scores: the sky and the lake are dark, the roofs of the temple and the trees bright",
            caption="Leverage scores of the patches of a photograph: how much of what its columns span hangs on this "
            "one patch. Sky can be had from any other sky.",
            size=(4.4, 3.2),
        ),
        Figure(
            "unusual.png",
            "The photograph of a temple, dark but for rows of roof tiles, eaves and some leaves",
            f"The {100 * SHARE:g} % of patches with the largest scores: stripes of tiles, eaves before the sky, leaves "
            "in the sun.",
        ),
    ]


def _comparison(folder: Path, small: bool) -> Figure:
    """Which sketches allow error bars."""
    kinds, sizes = ("srht", ("sparse_sign", 16), "countsketch"), (16, 32) if small else (16, 32, 64, 128)

    def draw(figure: Any) -> None:
        import matplotlib as mpl

        ax = figure.add_subplot()
        ax.set_prop_cycle(color=[*mpl.rcParams["axes.prop_cycle"].by_key()["color"], "#3f9c78"])
        plot.sketch_comparison(kinds, sizes=sizes, seeds=4 if small else 20, ax=ax)
        ax.set_ylim(0.0, 1.35 * ax.get_ylim()[1])
        ax.legend(fontsize="small", frameon=False, loc="upper left")
        ax.set_ylabel("largest error, times sqrt(m)")

    return chart(
        folder,
        "sketches",
        draw,
        alt="Errors over the number of columns: two flat curves, and one that rises along a dashed line",
        caption="Not every sketch allows error bars. On a problem made to be bad, CountSketch errs by a factor that "
        "grows with the columns, as predicted; dense sketches keep what they promise.",
        size=(4.4, 3.7),
    )
