"""What all pictures have in common: where they are drawn, what tells their lines apart, and a place in the gallery."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import equipoise as eq
from equipoise.plot.shared import dashed, legend

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
cost = np.random.default_rng(0).random((12, 9))


@pytest.mark.parametrize("name", eq.plot.__all__)
def test_takes_axes_and_returns_them(name: str) -> None:
    found = inspect.signature(getattr(eq.plot, name))
    axes = found.parameters.get("ax") or found.parameters["axes"]
    assert axes.kind is inspect.Parameter.KEYWORD_ONLY
    assert axes.default is None
    assert found.return_annotation == ("Axes" if axes.name == "ax" else "tuple[Axes, ...]")


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are in the repository alone")
def test_all_are_in_the_gallery() -> None:
    drawn = {name for path in EXAMPLES.glob("*.py") for name in re.findall(r"eq\.plot\.(\w+)\(", path.read_text())}
    assert drawn == set(eq.plot.__all__)


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are in the repository alone")
def test_all_examples_are_in_the_list_by_family() -> None:
    header = (EXAMPLES / "GALLERY_HEADER.rst").read_text()
    listed = re.findall(r"sphx_glr_gallery_(\w+)\.py", header)
    assert sorted(listed) == sorted(path.stem for path in EXAMPLES.glob("plot_*.py"))


def test_lines_differ_by_more_than_their_colours() -> None:
    results = [eq.transport.sinkhorn(cost, epsilon=epsilon, check_every=1) for epsilon in (0.5, 0.2, 0.1)]
    lines = eq.plot.convergence(*results).get_lines()
    assert len({line.get_linestyle() for line in lines}) == 3
    assert dashed(4) == dashed(0) != dashed(1)


def test_a_legend_has_paper_of_its_own() -> None:
    ax: Any = plt.subplots()[1]
    ax.plot([0, 1], label="a line")
    legend(ax, loc="lower left")
    frame = ax.get_legend().get_frame()
    assert ax.get_legend().get_frame_on()
    assert frame.get_edgecolor()[3] == 0
    assert 0.5 < frame.get_alpha() < 1


def test_counts_have_whole_ticks() -> None:
    places = np.arange(8.0)
    ring = (places[None, :] - places[:, None]) % 8
    ticks = eq.plot.distances(ring, ring).get_xticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))
