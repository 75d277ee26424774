from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.record import Opaque, as_data, fill, leaves, map_arrays, rebuild, record, static

from .backends import Case


@record
class Pair:
    first: object
    second: object
    name: str = static(default="pair")


@record
class Setting:
    size: int = static()
    name: str = static(default="x")


class TestRecord:
    def test_frozen(self) -> None:
        with pytest.raises(AttributeError):
            Pair(1, 2).first = 3  # type: ignore[misc]

    def test_with_data_compared_by_identity(self) -> None:
        pair = Pair(np.zeros(2), 2)
        assert pair == pair
        assert pair != Pair(pair.first, 2)

    def test_all_static_compared_by_value_and_hashable(self) -> None:
        assert Setting(3) == Setting(3) != Setting(4)
        assert len({Setting(3), Setting(3), Setting(4)}) == 2

    def test_text_must_be_static(self) -> None:
        with pytest.raises(TypeError, match=r"Wrong\.name is text and so must be declared static"):

            @record
            class Wrong:
                name: str

    def test_rebuild_runs_no_checks(self) -> None:
        @record
        class Checked:
            x: object

            def __post_init__(self) -> None:
                raise ValueError("checked")

        assert rebuild(Checked, [1], []).x == 1
        with pytest.raises(ValueError, match="checked"):
            Checked(1)

    def test_opaque(self) -> None:
        thing = object()
        assert as_data(thing) == Opaque(thing) != Opaque(object())
        assert as_data((1, 2)) == (1, 2)


class TestTrees:
    def test_the_same_object_if_nothing_changed(self) -> None:
        tree = (Pair(np.zeros(2), [np.ones(3)]), {"k": np.ones(1)}, 5)
        assert map_arrays(lambda x: x, tree) is tree

    def test_only_what_changed_is_new(self) -> None:
        kept, changed = Pair(np.zeros(2), 0), Pair(np.ones(2), 0)
        new = map_arrays(lambda x: x + 1 if x[0] == 1 else x, (kept, changed))
        assert new[0] is kept
        assert new[1].first[0] == 2
        assert new[1].name == "pair"

    def test_leaves_and_fill(self) -> None:
        tree = Pair((np.zeros(1), 7), {"a": np.ones(1), "b": None})
        filled = fill(tree, [x + 5 for x in leaves(tree)])
        assert [float(x[0]) for x in leaves(filled)] == [5, 6]
        assert filled.first[1] == 7

    def test_two_trees(self) -> None:
        a, b = Pair(np.zeros(1), [np.ones(1)]), Pair(np.full(1, 3.0), [np.full(1, 4.0)])
        assert [float(x[0]) for x in leaves(map_arrays(lambda x, y: x + y, a, b))] == [3, 5]

    def test_pytree_under_jax(self) -> None:
        pair = Pair(jax.numpy.ones(2), (jax.numpy.zeros(1), 2.0), name="named")
        doubled = jax.jit(lambda p: jax.tree.map(lambda x: 2 * x, p))(pair)
        assert doubled.name == "named"
        assert doubled.first.tolist() == [2, 2]
        assert float(doubled.second[1]) == 4

    def test_pytree_made_before_any_call_of_ours(self) -> None:
        code = (
            "import jax, jax.numpy as jnp\nfrom equipoise.record import record\n"
            "@record\nclass P:\n    x: object\n"
            "print(jax.jit(lambda p: p.x + 1)(P(jnp.zeros(1)))[0])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "1.0", done.stderr


class TestSaveAndLoad:
    def test_round_trip(self, tmp_path: pathlib.Path, on: Case) -> None:
        arrays = (on.array(np.arange(3.0)), on.array(np.arange(4)))
        tree = {"pair": Pair(arrays[0], [arrays[1], (1, None, True, "t", 2.5)], name="n"), "inf": float("inf")}
        eq.save(tmp_path / "tree", tree)
        back = eq.load(tmp_path / "tree")
        assert back["inf"] == float("inf")
        assert back["pair"].name == "n"
        assert back["pair"].first.tolist() == [0, 1, 2]
        assert back["pair"].second[0].dtype == np.int64
        assert back["pair"].second[1] == (1, None, True, "t", 2.5)
        moved = eq.load(tmp_path / "tree", like=arrays[0])
        assert type(moved["pair"].first) is type(arrays[0])

    def test_a_function_is_refused_and_its_place_named(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(TypeError, match=r"cannot store Pair.second\[0\]: function is neither"):
            eq.save(tmp_path / "x", Pair(1, [lambda: 0]))

    def test_bfloat16_is_refused(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(TypeError, match="bfloat16"):
            eq.save(tmp_path / "x", Pair(np.zeros(2, dtype=ml_dtypes.bfloat16), 1))
        with pytest.raises(TypeError, match="bfloat16"):
            eq.save(tmp_path / "x", Pair(torch.zeros(2, dtype=torch.bfloat16), 1))

    def test_a_foreign_file(self, tmp_path: pathlib.Path) -> None:
        np.savez(tmp_path / "x.npz", a=np.zeros(2))
        with pytest.raises(ValueError, match="not written by equipoise"):
            eq.load(tmp_path / "x.npz")

    def test_a_class_that_is_not_imported(self, tmp_path: pathlib.Path) -> None:
        header = json.dumps({"equipoise": 1, "tree": {"record": "os:system", "fields": {}}})
        np.savez(tmp_path / "x.npz", header=np.frombuffer(header.encode(), dtype=np.uint8))
        with pytest.raises(ValueError, match="class os:system; import its module os"):
            eq.load(tmp_path / "x.npz")

    def test_a_result_resumes_a_solve(self, tmp_path: pathlib.Path) -> None:
        cost = np.random.default_rng(0).random((6, 5))
        result = eq.transport.sinkhorn(cost, epsilon=0.1)
        eq.save(tmp_path / "r.npz", result)
        back = eq.load(tmp_path / "r.npz", like=torch.zeros(1))
        again = eq.transport.sinkhorn(torch.tensor(cost), epsilon=0.1, init=(back.f, back.g))
        assert int(again.steps) == 0
        assert back.converged
        assert back.status is eq.Status.CONVERGED
