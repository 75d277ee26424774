from __future__ import annotations

import functools
import pathlib
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

import equipoise as eq
from equipoise.demo import imports
from equipoise.demo.quasimetric import completed, floor, guessed, held_out, hops, symmetric
from equipoise.demo.report import Section, Table, write
from equipoise.demo.terrain import STEEP, UNIT, costs, lattice, slopes, terrain

G = 0.9


@functools.cache
def library() -> Any:
    return hops()


def directed(n: int, seed: int = 0) -> Any:
    """The hops of a random graph in which some cannot be reached."""
    rng = np.random.default_rng(seed)
    D = imports.hops(n, np.argwhere((rng.random((n, n)) < 1.3 / n) & ~np.eye(n, dtype=bool)))
    assert np.isinf(D).any()
    return D


class TestHeldOut:
    """What no fit has seen is told better than any symmetric distance could."""

    def test_pairs_come_with_both_directions(self) -> None:
        held = held_out(200, 0.2, seed=3)
        np.testing.assert_array_equal(held, held.T)
        assert not held.diagonal().any()
        assert 0.18 < held.mean() < 0.22
        assert (held != held_out(200, 0.2, seed=4)).any()

    def test_no_symmetric_distance_is_below_the_floor_and_one_is_on_it(self) -> None:
        D, rng = directed(20), np.random.default_rng(1)
        held = held_out(20, 0.5, seed=0)
        least = floor(D, held)
        assert least > 0.01
        for _ in range(50):
            d = rng.exponential(5.0, D.shape)
            assert guessed(d + d.T, D, held)[0] >= least
        with np.errstate(divide="ignore"):
            best = np.log((G**D + G**D.T) / 2) / np.log(G)
        np.testing.assert_allclose(guessed(best, D, held)[0], least, rtol=1e-12)

    def test_what_a_guess_is_worth(self) -> None:
        D = directed(25)
        held = held_out(25, 0.6, seed=0)
        out, known = held & np.isinf(D), held & np.isfinite(D)
        assert guessed(np.where(np.isinf(D), 1e4, D), D, held) == pytest.approx((0.0, 0.0, 1.0), abs=1e-12)
        assert guessed(np.ones_like(D), D, held)[2] == 0.5
        d = np.random.default_rng(0).integers(0, 6, D.shape).astype(float)
        above = d[out][:, None] - d[known]
        error, mean, area = guessed(d, D, held)
        assert area == pytest.approx(np.mean((above > 0) + 0.5 * (above == 0)))
        assert mean == pytest.approx(np.mean(np.abs(d[known] - D[known])))
        assert error == pytest.approx(np.mean((G ** d[held] - np.where(out, 0, G**D)[held]) ** 2))

    def test_shortest_ways_fill_in_what_they_can(self) -> None:
        D = directed(30)
        held = held_out(30, 0.3, seed=0)
        d = completed(D, held)
        np.testing.assert_array_equal(d[~held], D[~held])
        assert np.all(d >= D)
        assert np.mean(d[held] == D[held]) > 0.5
        np.testing.assert_array_equal(completed(D, np.zeros_like(held)), D)

    def test_the_euclidean_rival_is_a_distance_and_no_straw_man(self) -> None:
        points = np.random.default_rng(0).normal(0.0, 2.0, (25, 3))
        D = np.linalg.norm(points[:, None] - points, axis=2)  # its own kind of distance: it has to learn it
        d = symmetric(D, held_out(25, 0.1, seed=0), dim=3)
        np.testing.assert_allclose(d, d.T, atol=1e-12)
        assert not d.diagonal().any()
        assert np.abs(d - D).mean() < 0.1 * D.mean()

    @pytest.mark.parametrize("seed", [0, 1])
    def test_the_import_graph(self, seed: int) -> None:
        """The acceptance of the family: below the floor, that of pairs with ways there and back as well."""
        _, D = library()
        held = held_out(len(D), 0.2, seed=seed)
        with pytest.warns(eq.ConvergenceWarning):  # no need to wait for that
            found = eq.quasimetric.fit(D, dim=64, components=8, weights=(~held).astype(float), max_steps=100)
        d = np.asarray(found.distances())
        error, mean, area = guessed(d, D, held)
        assert error < floor(D, held) / 10  # about a twentieth, and after more steps less
        assert mean < 1.0
        assert area > 0.999
        both = held & np.isfinite(D) & np.isfinite(D.T)
        assert guessed_error(d, D, both) < floor(D, both) / 3
        rival = symmetric(D, held)
        assert guessed_error(rival, D, held) < 1.3 * floor(D, held)  # it does what it can
        assert error < guessed_error(rival, D, held) / 10


def guessed_error(d: Any, D: Any, held: Any) -> float:
    return float(np.mean((G**d - G**D)[held] ** 2))


class TestHops:
    def test_a_part_keeps_its_distances(self) -> None:
        modules, D = library()
        names, part = hops(40)
        assert len(names) == 40
        assert {"sys", "os", "re", "logging"} <= set(names)
        kept = [modules.index(name) for name in names]
        np.testing.assert_array_equal(part, D[np.ix_(kept, kept)])


class TestTerrain:
    def test_a_step_up_is_dear_and_a_step_down_costs_its_length(self) -> None:
        heights = np.array([[0.0, 2 * STEEP, 2 * STEEP], [0.0, 0.0, 0.0]])
        step = UNIT * slopes(heights).toarray()
        assert step[0, 1] == pytest.approx(5.0)
        assert step[1, 0] == step[1, 2] == step[3, 4] == pytest.approx(1.0)
        assert step[0, 4] == step[1, 3] == pytest.approx(np.sqrt(2))
        assert step[3, 1] == pytest.approx(np.sqrt(2) * (1 + (2 / np.sqrt(2)) ** 2))
        assert step[0, 2] == step[0, 5] == 0.0  # no neighbours
        np.testing.assert_array_equal((step > 0).sum(axis=1), [3, 5, 3, 3, 5, 3])

    def test_costs_are_a_quasimetric_with_a_direction(self) -> None:
        heights = np.random.default_rng(0).random((6, 7)) * 3 * STEEP
        ways = slopes(heights)
        C = costs(ways, np.arange(42))
        assert np.all(C[:, :, None] + C[None] >= C[:, None, :] - 1e-12)
        assert np.abs(C - C.T).max() > 0.1
        np.testing.assert_allclose(costs(ways.T.tocsr(), [5])[0], C[:, 5])
        flat = costs(slopes(np.zeros((6, 7))), np.arange(42))
        np.testing.assert_allclose(flat, flat.T)
        assert UNIT * flat[0, 41] == pytest.approx(5 * np.sqrt(2) + 1)

    def test_the_flower_is_higher_than_what_is_behind(self) -> None:
        heights = terrain(10)
        assert heights.shape == (42, 64)
        assert 0.0 <= heights.min() < heights.max() <= 1.0
        assert heights[22, 25] > 3 * heights[30, 10]

    def test_the_lattice(self) -> None:
        down, right = lattice((20, 13))
        np.testing.assert_array_equal(down, [0, 6, 12, 18])
        np.testing.assert_array_equal(right, [0, 6, 12])
        down, right = lattice((17, 16), 4)
        np.testing.assert_array_equal(down, [0, 4, 8, 12, 16])
        np.testing.assert_array_equal(right, [1, 5, 9, 13])


class TestTable:
    def test_rows_under_a_head(self, tmp_path: pathlib.Path) -> None:
        table = Table(("a", "<b>"), [("x & y", "1"), ("z", "<2>")])
        root = ElementTree.fromstring(write(tmp_path, [Section("T", "L", table=table)], "S").read_text())
        rows = [[cell.text for cell in row] for row in root.iter("tr")]
        assert rows == [["a", "<b>"], ["x & y", "1"], ["z", "<2>"]]
