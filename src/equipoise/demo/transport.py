"""Colour transfer: one photograph takes the colours of another, by the optimal plan between their pixels' colours.

The plan is computed between samples of both pictures; the map extends to every pixel by the same formula that gives
it at the samples: a pixel of colour x goes to the mean of the target colours y_j with weights b_j exp((g_j - |x -
y_j|^2)/epsilon).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..progress import progress
from ..transport import TransportResult, sinkhorn
from .report import Figure, Section

__all__ = ["run"]

EPSILON = 2e-3  # colours lie in the unit cube: two that differ by 0.045 are told apart
TOL = 1e-6
Floats = np.ndarray[Any, np.dtype[np.float64]]


def run(folder: Path, *, samples: int = 1500, shrink: int = 1) -> Section:
    """Transfer the colours of ``flower.jpg`` to ``china.jpg``, both bundled with scikit-learn.

    `samples` pixels of each picture enter the transport problem; every `shrink`-th row and column of the pictures is
    kept.
    """
    from sklearn.datasets import load_sample_image

    source, palette = (
        np.asarray(load_sample_image(name), dtype=np.float64)[::shrink, ::shrink] / 255.0
        for name in ("china.jpg", "flower.jpg")
    )
    rng = np.random.default_rng(0)
    x, y = (image.reshape(-1, 3)[rng.integers(0, image[..., 0].size, samples)] for image in (source, palette))

    print(f"colour transfer: {samples} x {samples} colours, epsilon {EPSILON}, tol {TOL:.0e}")
    start = time.perf_counter()
    cost = ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=-1)
    with progress(mininterval=0.5):
        result = sinkhorn(cost, epsilon=EPSILON, tol=TOL, max_steps=20_000, check_every=5, history=True)
    solved = time.perf_counter() - start
    changed = transfer(source, y, result)
    mapped = time.perf_counter() - start - solved
    print(f"  {int(result.steps)} iterations, error {float(result.error):.2e}, {solved:.2f} s; map {mapped:.2f} s")
    print(f"  {result.status}")

    figures = draw(folder, source, palette, changed, x, y, result)
    return Section(
        title="Optimal transport: the colours of another picture",
        lead="The first picture takes the colours of the second. Colours are points in a cube; entropic optimal "
        "transport finds the cheapest way to turn one cloud of them into the other, and every pixel follows.",
        figures=figures,
        facts=[
            ("method", "transport.sinkhorn, log domain"),
            ("problem", f"{samples} x {samples} colours, squared distance, epsilon {EPSILON}"),
            ("iterations", str(int(result.steps))),
            ("error", f"{float(result.error):.2e} (L1 of both marginals), tolerance {TOL:.0e}"),
            ("transport cost", f"{float(result.transport_cost):.6f}"),
            ("seconds", f"{solved:.2f} to solve, {mapped:.2f} to map {source[..., 0].size:,} pixels"),
            ("status", str(result.status)),
        ],
        failure="" if result.converged else str(result.status),
    )


def transfer(image: Floats, y: Floats, result: TransportResult[Any]) -> Floats:
    """Map every pixel of `image`, colour by colour: pictures repeat most of theirs."""
    colours, where = np.unique(image.reshape(-1, 3), axis=0, return_inverse=True)
    new = np.empty_like(colours)
    for begin in range(0, len(colours), 2048):
        block = colours[begin : begin + 2048]
        distances = (block**2).sum(axis=1)[:, None] - 2 * block @ y.T + (y**2).sum(axis=1)
        scores = (np.asarray(result.g) - distances) / EPSILON
        weights = np.asarray(result.b) * np.exp(scores - scores.max(axis=1, keepdims=True))
        new[begin : begin + 2048] = weights @ y / weights.sum(axis=1, keepdims=True)
    return new[where.reshape(-1)].reshape(image.shape)


def draw(
    folder: Path, source: Floats, palette: Floats, changed: Floats, x: Floats, y: Floats, result: TransportResult[Any]
) -> list[Figure]:
    """The pictures of the section, as files in `folder`."""
    import matplotlib.pyplot as plt

    for name, image in (("source", source), ("palette", palette), ("changed", changed)):
        plt.imsave(folder / f"{name}.png", np.clip(image, 0, 1))

    figure, ax = plt.subplots(figsize=(10, 3.6), layout="constrained")
    plot.convergence(result, labels=["marginal error"], tol=TOL, ax=ax)
    figure.savefig(folder / "convergence.png", dpi=110)
    plt.close(figure)

    moved = transfer(x[None], y, result)[0]
    figure = plt.figure(figsize=(10, 3.9), layout="constrained")
    clouds = (("before", x, x), ("after", moved, moved), ("the palette", y, y))
    for k, (title, points, colours) in enumerate(clouds):
        cube: Any = figure.add_subplot(1, 3, k + 1, projection="3d")
        cube.scatter(*points.T, c=np.clip(colours, 0, 1), s=5, depthshade=False)
        cube.set(title=title, xlim=(0, 1), ylim=(0, 1), zlim=(0, 1), xlabel="red", ylabel="green", zlabel="blue")
        cube.tick_params(labelbottom=False, labelleft=False, labelright=False)
        cube.set_box_aspect(None, zoom=0.85)
        cube.view_init(elev=22, azim=-58)
    figure.savefig(folder / "clouds.png", dpi=110)
    plt.close(figure)
    return [
        Figure("source.png", "A temple under a blue sky", "Source: china.jpg."),
        Figure("palette.png", "An orange flower", "Its new colours: flower.jpg."),
        Figure("changed.png", "The temple in the colours of the flower", "Result: every pixel mapped."),
        Figure(
            "convergence.png",
            "The marginal error falls below the tolerance",
            "Error of the marginals against iterations, every fifth one looked at; the dashed line is the tolerance.",
            wide=True,
        ),
        Figure(
            "clouds.png",
            "Three clouds of colours in the unit cube",
            "The sampled colours before and after, and the palette that they were carried to.",
            wide=True,
        ),
    ]
