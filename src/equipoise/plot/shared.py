"""What the pictures share: where they are drawn, numbers that a picture can be made of, colours, dashes and legends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..backend import of
from ..record import map_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["dashed", "legend", "new_or_given", "on_host", "plain_numbers", "poles", "pyplot", "shades"]

DASHES = ("-", "--", "-.", ":")


def pyplot() -> Any:
    """matplotlib's, or a sentence that says where to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plots need matplotlib; install it with `pip install 'equipoise[plot]'`") from error
    return plt


def new_or_given(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    return ax if ax is not None else pyplot().subplots(layout="constrained")[1]


def on_host(tree: Any) -> Any:
    """Every array of the tree as numpy's."""
    return map_arrays(lambda x: of(x).to_numpy(x), tree)


def shades(ax: Axes) -> Any:
    """From the colour of the paper, which means no mass, through the first of the cycle to that of the text."""
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    paper, ink = to_rgb(ax.get_facecolor()), to_rgb(mpl.rcParams["text.color"])
    if math.dist(paper, ink) < 0.3:
        ink = (0.0, 0.0, 0.0) if sum(paper) > 1.5 else (1.0, 1.0, 1.0)
    return LinearSegmentedColormap.from_list("mass", [paper, to_rgb("C0"), ink])


def poles(ax: Axes) -> Any:
    """From the first of the cycle through the colour of the paper, which means nothing, to the second."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    return LinearSegmentedColormap.from_list("poles", [to_rgb("C0"), to_rgb(ax.get_facecolor()), to_rgb("C1")])


def dashed(k: int) -> str:
    """How the k-th of several lines is dashed, so that they can be told apart without their colours."""
    return DASHES[k % len(DASHES)]


def legend(ax: Axes, **place: Any) -> None:
    """Without a frame, on paper that lets a little of what it covers through: names stay legible over lines."""
    ax.legend(edgecolor="none", framealpha=0.8, **place)


def plain_numbers(axis: Any) -> None:
    """20 and 50 in place of powers of ten: steps are counts, and seldom go over many decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())
