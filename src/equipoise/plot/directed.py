"""Pictures that show a direction: ways there against ways back, and embeddings in the plane.

In the plane, places are symmetric; heights, colours and arrows are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..quasimetric import Embedding
from .quasimetric import Floats, table_of
from .shared import new_or_given, poles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["asymmetry", "embedding"]

LAYOUTS = ("height", "plane")
DISCOUNT = 0.9  # where the embedding has none
ARROWS = 60
LEAD = 0.1  # a smaller one is drawn as the little it is
MANY = 40  # points, from which on names are small
SIDES = (
    ((4.0, 0.0), "left", "center"),
    ((-4.0, 0.0), "right", "center"),
    ((0.0, 4.0), "center", "bottom"),
    ((0.0, -4.0), "center", "top"),
)
BESIDE = {"left": 0.0, "bottom": 0.0, "center": 0.5, "right": 1.0, "top": 1.0}


# ---------------------------------------------------------------------------------------------------------------------
# There against back


def asymmetry(D: Any, *, labels: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw by how much the way there is longer than the way back, D - D', as a heat map.

    Points are ordered by the mean of their row, so that those with long ways out come last: a hierarchy shows as two
    triangles, a symmetric table as nothing. A pair that is joined one way only counts as the largest difference of the
    others for the order, and has a colour of its own; so has a pair that is not joined at all.

    Parameters
    ----------
    D : array, shape (n, n)
        Distances, infinite where there is no way.
    labels : sequence of str, optional
        Names of the points; of many, every so-manieth is written.
    ax : matplotlib axes, optional
        Where to draw. A colour bar is placed beside it.

    Returns
    -------
    matplotlib.axes.Axes
        Its image holds the ordered differences: twice the limit of its colours for pairs that are joined one way only,
        masked for pairs that are not joined.

    Raises
    ------
    ValueError
        If the table is not square or not one of distances, or `labels` do not fit.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> D = np.array([[0.0, 1.0, 3.0], [2.0, 0.0, 1.0], [np.inf, np.inf, 0.0]])
    >>> ax = eq.plot.asymmetry(D, labels=["a", "b", "c"])
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['a', 'b', 'c']
    """
    given = table_of("D", D)
    n = len(given)
    if labels is not None and len(labels) != n:
        raise ValueError(f"labels must name each of the {n} points, got {len(labels)}")
    apart = np.isinf(given) & np.isinf(given.T)
    difference = np.where(apart, 0.0, given - np.where(apart, 0.0, given.T))
    finite = np.abs(difference[np.isfinite(difference)])
    most = float(finite.max()) or 1.0
    order = np.argsort(np.clip(difference, -most, most).mean(axis=1), kind="stable")

    ax = new_or_given(ax)
    shown = np.ma.array(np.clip(difference, -2.0 * most, 2.0 * most), mask=apart)[np.ix_(order, order)]
    image = ax.imshow(shown, cmap=signed(ax), vmin=-most, vmax=most, interpolation="nearest")
    one_way = bool(np.isinf(difference).any())
    bar = ax.figure.colorbar(image, ax=ax, extend="both" if one_way else "neither", label="way there minus way back")
    if one_way:
        told(bar, "no way back", "no way there")
    room = min(*ax.get_window_extent().size) * 72.0 / ax.figure.dpi  # in points, before a layout engine's
    stride = -(-n // max(2, int(room / 10.0)))
    if labels is not None:
        places = np.arange(0, n, stride)
        size = "x-small" if len(places) > 15 else "small"
        names = [labels[k] for k in order[::stride]]
        ax.set_yticks(places, names, fontsize=size)
        ax.set_xticks(places, names, fontsize=size, rotation=90)
    else:
        ax.set_xticks([])
        ax.set_yticks([])
    ax.set_xlabel("to" if not apart.any() else "to; grey: no way in either direction")
    ax.set_ylabel("from")
    return ax


def signed(ax: Axes) -> Any:
    """Poles, with what is beyond both ends, and what is neither, in colours that no number has."""
    from matplotlib.colors import to_rgb

    colours = poles(ax)
    paper = np.array(to_rgb(ax.get_facecolor()))
    ink = np.zeros(3) if paper.sum() > 1.5 else np.ones(3)
    under, over = (0.55 * np.array(to_rgb(colour)) + 0.45 * ink for colour in ("C0", "C1"))
    return colours.with_extremes(under=tuple(under), over=tuple(over), bad=tuple(0.72 * paper + 0.28 * ink))


def told(bar: Any, low: str, high: str) -> None:
    """What the two ends of a colour bar mean."""
    bar.ax.text(0.5, -0.07, low, transform=bar.ax.transAxes, ha="center", va="top", fontsize="x-small")
    bar.ax.text(0.5, 1.07, high, transform=bar.ax.transAxes, ha="center", va="bottom", fontsize="x-small")


# ---------------------------------------------------------------------------------------------------------------------
# In the plane


def embedding(
    embedding: Any,
    *,
    labels: Sequence[str] | None = None,
    count: int | None = None,
    layout: str = "height",
    ax: Axes | None = None,
) -> Axes:
    """Draw fitted points in the plane so that the direction of their distances shows.

    Distances are taken as closeness, g^d, which is 0 for points out of reach. The places of points come from the larger
    closeness of both directions, by classical scaling. The lead of a point, its mean closeness to the others less
    theirs to it, is the height or the colour: those that reach many stand at the top, those that many reach at the
    bottom. Where nobody leads, as on a ring, all have one height: take ``layout="plane"``.

    Arrows lead from points to their nearest ones where the way back is longer; the larger the difference, the darker
    the arrow.

    Parameters
    ----------
    embedding : Embedding, or array of shape (n, n)
        What was fitted, or any table of finite distances.
    labels : sequence of str, optional
        Names of the points. Those that have place are written, of points with many arrows first.
    count : int, optional
        How many arrows at most, one a point, those of the largest differences of closeness; by default 60.
    layout : {"height", "plane"}
        The lead as height over the first coordinate, or as colour in the plane of the first two.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Its collection holds the points, in their order; the arrows are its patches, and the names its texts.

    Raises
    ------
    ValueError
        If a table is not one of finite distances, `labels` do not fit, `count` is negative, or `layout` is unknown.
    ImportError
        If matplotlib is not installed.

    Notes
    -----
    Two coordinates keep little of what many latents hold: read distances off :func:`equipoise.plot.distances`.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> rise = np.arange(6.0)[None, :] - np.arange(6.0)[:, None]
    >>> stairs = np.abs(rise) + 3 * np.maximum(rise, 0)  # up is dear
    >>> ax = eq.plot.embedding(stairs, labels=["cellar", "hall", "first", "second", "third", "attic"])
    >>> height = ax.collections[0].get_offsets()[:, 1]
    >>> bool(np.all(np.diff(height) > 0)), len(ax.patches)
    (True, 5)
    """
    d = table_of("embedding", embedding.distances() if isinstance(embedding, Embedding) else embedding)
    n = len(d)
    if not np.isfinite(d).all():
        raise ValueError("embedding must hold finite distances")
    if labels is not None and len(labels) != n:
        raise ValueError(f"labels must name each of the {n} points, got {len(labels)}")
    if count is not None and count < 0:
        raise ValueError(f"count must be at least 0, got {count}")
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be 'height' or 'plane', got {layout!r}")
    g = embedding.discount if isinstance(embedding, Embedding) and embedding.discount else DISCOUNT
    near = g**d
    lead = (near.sum(axis=1) - near.sum(axis=0)) / (n - 1)
    place = scaled(np.maximum(near, near.T))
    if layout == "height":
        place = np.stack([place[:, 0], lead], axis=1)
    arrows = leading(near, min(n, ARROWS if count is None else count))

    ax = new_or_given(ax)
    most = max(float(np.abs(lead).max()), LEAD)
    size = float(np.clip(900.0 / n, 8.0, 36.0))
    style: dict[str, Any] = {"cmap": poles(ax), "vmin": -most, "vmax": most, "edgecolors": "0.5", "linewidths": 0.5}
    points = ax.scatter(place[:, 0], place[:, 1], c=lead, s=size, zorder=3, **style)
    draw_arrows(ax, place, near, arrows, math.sqrt(size))
    ax.margins(0.08)
    ax.set_xlabel("first coordinate")
    if layout == "plane":
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_ylabel("second coordinate")
        ax.figure.colorbar(points, ax=ax, label="lead")
    else:
        ax.set_ylim(-1.1 * most, 1.1 * most)
        ax.set_ylabel("lead: reached by many below, reaching many above")
    if labels is not None:
        weight = np.bincount([j for _, j in arrows], minlength=n) + np.abs(lead) / most
        write(ax, place, labels, np.argsort(-weight, kind="stable"))
    return ax


def scaled(closeness: Floats) -> Floats:
    """Classical scaling to two coordinates, each with its largest number positive; closeness is an inner product."""
    across = closeness.mean(axis=0)
    values, vectors = np.linalg.eigh(closeness - across - across[:, None] + across.mean())
    found = vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0.0))
    largest = found[np.abs(found).argmax(axis=0), np.arange(2)]
    return np.where(largest < 0, -found, found)


def leading(near: Floats, count: int) -> list[tuple[int, int]]:
    """From points to their nearest ones, where the way back is longer; the largest differences come first."""
    nearest = (near - 2.0 * np.eye(len(near))).argmax(axis=1)
    i = np.arange(len(near))
    gain = near[i, nearest] - near[nearest, i]
    order = np.argsort(-gain, kind="stable")
    return [(int(k), int(nearest[k])) for k in order if gain[k] > 0][:count]


def draw_arrows(ax: Axes, place: Floats, near: Floats, arrows: list[tuple[int, int]], wide: float) -> None:
    """Slightly bent, so that there and back do not cover each other; darker for larger differences."""
    from matplotlib.patches import FancyArrowPatch

    gain = np.array([near[i, j] - near[j, i] for i, j in arrows])
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7, "connectionstyle": "arc3,rad=0.12"}
    style |= {"shrinkA": 0.5 * wide, "shrinkB": 0.5 * wide, "linewidth": 0.8, "color": "0.5", "zorder": 2}
    for (i, j), alpha in zip(arrows, 0.2 + 0.6 * gain / gain.max(initial=1e-300), strict=True):
        ax.add_patch(FancyArrowPatch(tuple(place[i]), tuple(place[j]), alpha=float(alpha), **style))


def write(ax: Axes, place: Floats, labels: Sequence[str], order: Any) -> None:
    """Names beside their points, each where it covers nothing; who finds no place goes without."""
    from matplotlib.patheffects import withStroke

    figure: Any = ax.figure
    high = 7.0 if len(labels) > MANY else 9.0
    halo = [withStroke(linewidth=1.5, foreground=ax.get_facecolor())]
    figure.draw_without_rendering()  # a layout engine settles where the axes are
    points = 72.0 / figure.dpi
    frame = ax.get_window_extent().extents * points
    at = ax.transData.transform(place) * points
    taken = [(x - 2.0, y - 2.0, x + 2.0, y + 2.0) for x, y in at.tolist()]
    for k in order:
        wide = 0.6 * high * len(labels[k])
        for (dx, dy), ha, va in SIDES:
            left, low = at[k, 0] + dx - BESIDE[ha] * wide, at[k, 1] + dy - BESIDE[va] * high
            box = (left, low, left + wide, low + high)
            inside = left >= frame[0] and box[2] <= frame[2] and low >= frame[1] and box[3] <= frame[3]
            if inside and not any(overlap(box, other) for other in taken):
                taken.append(box)
                side: dict[str, Any] = {"ha": ha, "va": va, "fontsize": high, "path_effects": halo, "zorder": 4}
                ax.annotate(labels[k], place[k], (dx, dy), textcoords="offset points", **side)
                break


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two boxes (left, low, right, high) share a point."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
