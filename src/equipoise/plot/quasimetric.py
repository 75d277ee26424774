"""Pictures of fitted distances: beside the given ones, and the intervals that they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import library
from ..quasimetric import Embedding, iqe
from ..quasimetric.checks import check_sides
from .shared import new_or_given, on_host, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["distances", "intervals", "table_of"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

MOST_DOTS = 2000  # unordered pairs drawn one by one; more become a density
FEW = 30  # different given distances that get a column of their own
ROWS = 60  # of a density
SQUASHED = 1.6  # times the largest given distance: beyond, fitted ones are drawn on a logarithmic scale
GOLDEN = 0.6180339887498949


# ---------------------------------------------------------------------------------------------------------------------
# Given against fitted


def distances(embedding: Any, D: Any, *, joined: int = 60, ax: Axes | None = None) -> Axes:
    """Draw fitted distances over given ones, with the two directions of a pair joined by a thin line.

    On the diagonal a distance is kept exactly. A line along it joins two directions that differ as they should; a level
    one has lost the direction, as every symmetric embedding has to. Pairs without a way stand in a band of their own
    at the right. They have no distance to be kept; it is enough that they lie above the others.

    Up to 2000 pairs are dots, which stand side by side where the given distances are few; more are a density.

    Parameters
    ----------
    embedding : Embedding, or array of shape (n, n)
        What was fitted: the result of :func:`equipoise.quasimetric.fit`, or any table of distances.
    D : array, shape (n, n)
        The given distances, infinite where there is no way.
    joined : int
        How many pairs, at most, are joined by lines. If there are more, a fixed choice of them.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its first line is the diagonal; its first collection holds the lines that join.

    Raises
    ------
    ValueError
        If a table is not square or not one of distances, the two do not fit, or `joined` is negative.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> ring = (np.arange(8)[None, :] - np.arange(8)[:, None]) % 8 * 1.0
    >>> found = eq.quasimetric.fit(ring, dim=32, components=4, tol=0.1)
    >>> ax = eq.plot.distances(found, ring)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('given distance', 'fitted distance')
    """
    fitted = table_of("embedding", embedding.distances() if isinstance(embedding, Embedding) else embedding)
    given = table_of("D", D)
    if fitted.shape != given.shape:
        raise ValueError(f"D must be between the {len(fitted)} points of the embedding, got a table of {len(given)}")
    if not np.isfinite(fitted).all():
        raise ValueError("embedding must hold finite distances")
    if joined < 0:
        raise ValueError(f"joined must be at least 0, got {joined}")

    ax = new_or_given(ax)
    i, j = np.triu_indices(len(given), k=1)
    x, y = np.stack([given[i, j], given[j, i]]), np.stack([fitted[i, j], fitted[j, i]])
    known = np.isfinite(x)
    most = float(x[known].max(initial=0.0)) or 1.0
    values = np.unique(x[known])
    step = float(np.diff(values).min()) if 1 < len(values) <= FEW else most / FEW if len(values) > FEW else most
    edge, wide = most + 0.75 * step, max(1.5 * step, 0.12 * most)  # where the band begins, and its width
    ax.plot([0.0, most], [0.0, most], color="0.5", linewidth=1, zorder=1.5)

    if i.size <= MOST_DOTS:
        place = spread(x, step if len(values) <= FEW else 0.0, edge, wide)
        ax.plot(place.ravel(), y.ravel(), "o", color="C0", markersize=3.5, markeredgewidth=0, alpha=0.6)
    else:
        place = np.where(known, x, edge + 0.5 * wide)
        density(ax, x, y, values, (edge, wide))
    chosen = some_of(known, joined)
    join(ax, place[:, chosen], y[:, chosen], dots=i.size > MOST_DOTS)
    ax.set_xlabel("given distance")
    ax.set_ylabel("fitted distance")
    scale(ax, most, float(y.max()))
    if np.all(values == np.round(values)):
        ax.locator_params(axis="x", integer=True)  # counts have whole ticks
    band(ax, edge, wide, bool(known.all()))
    return ax


def spread(x: Floats, step: float, edge: float, wide: float) -> Floats:
    """Where dots stand: beside each other around a given distance that many pairs share, and all over the band."""
    known = np.isfinite(x)
    side = (GOLDEN * np.arange(1, x.size + 1)).reshape(x.shape[::-1]).T % 1.0 - 0.5
    return np.where(known, np.where(known, x, 0.0) + 0.5 * step * side, edge + (0.5 + 0.8 * side) * wide)


def some_of(known: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Pairs to join: as many of those with both ways as of those with one, and none without."""
    draw, ways = np.random.default_rng(0), known.sum(axis=0)
    both, one = (draw.permutation(np.flatnonzero(ways == k)) for k in (2, 1))
    first = max(count - count // 2, count - one.size)
    return np.sort(np.concatenate([both[:first], one[: count - both[:first].size]]))


def density(ax: Axes, x: Floats, y: Floats, values: Floats, limits: tuple[float, float]) -> None:
    """How many pairs there are around each given and fitted distance; one column is the band."""
    from matplotlib.colors import LogNorm

    edge, wide = limits
    known = np.isfinite(x)
    middles = values if len(values) <= FEW else np.linspace(values[0], values[-1], ROWS)
    between = 0.5 * (middles[1:] + middles[:-1])
    half = 0.5 * float(np.diff(middles).min()) if len(middles) > 1 else edge - float(values.max(initial=0.0))
    columns = np.concatenate([[middles[0] - half], between, [middles[-1] + half]]) if len(middles) else np.zeros(2)
    most = float(values.max(initial=1.0))
    rows = np.linspace(0.0, most * SQUASHED, ROWS + 1)
    if y.max() > rows[-1]:
        rows = np.concatenate([rows, np.geomspace(rows[-1], y.max(), ROWS // 3)[1:]])
    counted = np.histogram2d(y[known], x[known], bins=(rows, columns))[0]
    out = np.histogram(y[~known], bins=rows)[0][:, None]
    top = max(counted.max(), out.max(), 2.0)
    settings: dict[str, Any] = {"cmap": shades(ax), "norm": LogNorm(0.5, top), "zorder": 1}
    mesh = ax.pcolormesh(columns, rows, np.ma.masked_equal(counted, 0), **settings)
    if out.any():
        ax.pcolormesh([edge, edge + wide], rows, np.ma.masked_equal(out, 0), **settings)
    ax.figure.colorbar(mesh, ax=ax, label="pairs")


def join(ax: Axes, x: Floats, y: Floats, *, dots: bool) -> None:
    """A thin line from one direction to the other of each pair."""
    from matplotlib.collections import LineCollection

    lines = np.stack([x, y], axis=-1).swapaxes(0, 1)
    ax.add_collection(LineCollection(list(lines), colors="C1", linewidths=0.7, alpha=0.6, zorder=2))
    if dots:
        ax.plot(x.ravel(), y.ravel(), ".", color="C1", markersize=2.5, zorder=2)


def scale(ax: Axes, most: float, top: float) -> None:
    """Linear as far as the given distances go; what is fitted far beyond must not press all else to the ground."""
    if top <= SQUASHED * most:
        ax.set_ylim(-0.03 * most, 1.04 * max(top, most))
        return
    from matplotlib.ticker import MaxNLocator

    linear = SQUASHED * most
    ax.set_yscale("symlog", linthresh=linear, linscale=1.5)
    ticks = [t for t in MaxNLocator(5).tick_values(0.0, linear) if 0 <= t <= linear]
    rounded = [m * 10.0**k for k in range(-3, 12) for m in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)]
    above = [t for t in rounded if 1.15 * linear < t <= top]
    ticks += above[:: -(-len(above) // 4)] if above else []
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_tick_params(which="minor", length=0)
    ax.set_ylim(-0.03 * most, 1.1 * top)
    ax.axhline(linear, color="0.5", linewidth=0.6, linestyle=":")
    ax.set_ylabel("fitted distance, logarithmic above the dotted line")


def band(ax: Axes, edge: float, wide: float, empty: bool) -> None:
    """The place of pairs without a way."""
    most = edge if empty else edge + wide
    ax.set_xlim(-0.03 * most, most)
    if empty:
        return
    ax.axvspan(edge, edge + wide, color="0.5", alpha=0.12, linewidth=0, zorder=0)
    ticks = [t for t in ax.get_xticks() if 0 <= t < edge - 0.25 * wide]
    ax.set_xticks([*ticks, edge + 0.5 * wide], [*(f"{t:g}" for t in ticks), "no way"])


# ---------------------------------------------------------------------------------------------------------------------
# Intervals


def intervals(u: Any, v: Any, *, components: int, ax: Axes | None = None) -> Axes:
    """Draw what the interval quasimetric from `u` to `v` measures: intervals, and their unions.

    Every latent is a thin line from u_j to v_j, if v_j is larger, and a ring at u_j otherwise. The thick bar of a
    component is the union of its lines, and its length stands at the right.

    Parameters
    ----------
    u, v : array, shape (D,)
        The points to go from and to.
    components : int
        How many components there are, as for :func:`equipoise.quasimetric.iqe`.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its collections are the latents and the bars; its texts are the lengths.

    Raises
    ------
    TypeError, ValueError
        As for :func:`equipoise.quasimetric.iqe`, or if `u` or `v` is no single finite point.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> u, v = np.array([0.0, 0.5, 3.0, 1.0]), np.array([1.0, 2.0, 2.0, 1.5])
    >>> ax = eq.plot.intervals(u, v, components=2)
    >>> [text.get_text() for text in ax.texts]
    ['2', '0.5', 'length']
    """
    from matplotlib.collections import LineCollection

    k = check_sides(u, v, components)
    if u.ndim != 1 or v.ndim != 1:
        raise ValueError(f"intervals draws one pair of points, (D,), got {tuple(u.shape)} and {tuple(v.shape)}")
    left, right = (np.asarray(on_host(x), dtype=float).reshape(k, -1) for x in (u, v))
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        raise ValueError("intervals draws finite points, got a NaN or an infinite number")
    lengths = iqe(left.ravel(), right.ravel(), components=k, reduction="none")
    l = left.shape[1]
    order = np.argsort(left, axis=1, kind="stable")
    left, right = np.take_along_axis(left, order, axis=1), np.take_along_axis(right, order, axis=1)
    height = np.arange(k)[:, None] + np.linspace(-0.38, 0.18, l) if l > 1 else np.arange(k)[:, None] - 0.1

    ax = new_or_given(ax)
    tall = right > left
    thin = [((a, h), (e, h)) for a, e, h in zip(left[tall], right[tall], height[tall], strict=True)]
    ax.add_collection(LineCollection(thin, colors="C0", linewidths=1.2 if k * l <= 48 else 0.8, label="latents"))
    bars = [((a, i + 0.32), (e, i + 0.32)) for i in range(k) for a, e in covered(left[i], right[i])]
    thick = max(2.0, min(6.0, 40.0 / k))
    ax.add_collection(LineCollection(bars, colors="C1", linewidths=thick, capstyle="butt", label="their union"))
    ax.plot(left[~tall], height[~tall], "o", color="0.5", markersize=2.5, markerfacecolor="none", label="empty")
    for i, length in enumerate(np.asarray(lengths).tolist()):
        ax.annotate(
            f"{length:.3g}", (1.01, i + 0.32), xycoords=("axes fraction", "data"), va="center", fontsize="small"
        )
    ax.annotate("length", (1.01, 0.985), xycoords="axes fraction", va="top", fontsize="small")
    ax.hlines(np.arange(k) - 0.5, 0, 1, transform=ax.get_yaxis_transform(), color="0.5", linewidth=0.4)
    ax.set_ylim(k - 0.5, -0.5 - 0.1 * k)  # the legend has the room above
    ax.set_yticks(range(k), [f"{i}" for i in range(k)])
    ax.margins(x=0.03)
    ax.autoscale_view(scaley=False)
    ax.set_xlabel("latent")
    ax.set_ylabel("component")
    ax.legend(frameon=False, loc="upper left", ncols=3, borderaxespad=0.2)
    return ax


def covered(left: Floats, right: Floats) -> list[tuple[float, float]]:
    """The maximal intervals of a union, for ascending left ends."""
    found: list[tuple[float, float]] = []
    for a, e in zip(left.tolist(), right.tolist(), strict=True):
        if e <= a:
            continue
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], e))
        else:
            found.append((a, e))
    return found


def table_of(name: str, x: Any) -> Floats:
    """A square table of distances in numpy's numbers, if it is one."""
    table = np.asarray(on_host(x) if library(x) else x, dtype=float)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        raise ValueError(f"{name} must be a table of distances (n, n), n of at least 2, got shape {table.shape}")
    wrong = ~(table >= 0)
    if wrong.any():
        index = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise ValueError(f"{name} must hold distances of at least 0 (or infinite), got {table[index]} at index {index}")
    if table.diagonal().any():
        at = int(np.argmax(table.diagonal() != 0))
        raise ValueError(f"{name} must be zero on the diagonal, got {table[at, at]} at index {(at, at)}")
    return table
