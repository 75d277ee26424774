from __future__ import annotations

import html.parser
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import equipoise as eq
import equipoise.demo
from equipoise.__main__ import main
from equipoise.demo.transport import EPSILON, transfer


class Page(html.parser.HTMLParser):
    """Sees that every tag is closed, and what the page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.references += [str(given[k]) for k in ("src", "href") if k in given]
        if tag == "img":
            assert given["alt"]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class TestInfo:
    def test_for_programs(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "equipoise", "info", "--json"], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        assert found["equipoise"] == eq.__version__
        assert {"numpy", "torch", "jax", "cupy"} <= set(found["backends"])
        assert "transport.log_sweeps" in found["backends"]["numpy"]["overrides"]
        assert "transport.log_sweeps" in found["backends"]["torch"]["borrows"]
        assert found["backends"]["torch"]["threads"] >= 1
        assert "cpu" in found["backends"]["torch"]["devices"]

    def test_for_people(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info"]) == 0
        text = capsys.readouterr().out
        assert "numpy" in text
        assert "borrows from numpy   random.philox, transport.log_sweeps, transport.marginals" in text

    def test_an_unknown_command(self) -> None:
        with pytest.raises(SystemExit):
            main(["fly"])


class TestDemo:
    @pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
    def test_writes_a_whole_page(
        self, backend: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert eq.demo.main(backend, output=str(tmp_path / "new" / "report"), samples=150, shrink=8) == 0
        folder = tmp_path / "new" / "report"
        page = Page((folder / "index.html").read_text())
        assert page.open == ["meta"] or page.open == ["!doctype"] or page.open == []
        assert len(page.references) == 5
        assert all((folder / name).stat().st_size > 1000 for name in page.references)
        assert "http" not in (folder / "index.html").read_text()
        said = capsys.readouterr().out
        assert f"on {backend}" in said
        assert "1 of 1 demos" in said

    def test_a_failure_is_shown_and_counted(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def broken(folder: pathlib.Path, **size: Any) -> Any:
            raise ValueError("this <demo> is broken")

        monkeypatch.setattr(eq.demo, "DEMOS", {"broken": broken})
        assert eq.demo.main("numpy", output=str(tmp_path)) == 1
        assert "this &lt;demo&gt; is broken" in (tmp_path / "index.html").read_text()
        assert "ValueError" in capsys.readouterr().err

    def test_the_map_of_the_samples_is_the_barycentric_map_of_the_plan(self) -> None:
        rng = np.random.default_rng(0)
        x, y = 0.3 * rng.random((40, 3)), 0.3 * rng.random((30, 3))
        cost = ((x[:, None] - y[None]) ** 2).sum(axis=-1)
        result = eq.transport.sinkhorn(cost, epsilon=EPSILON, tol=1e-10, max_steps=100_000)
        mapped = transfer(x[None], y, result)[0]
        np.testing.assert_allclose(mapped, result.apply(y) / result.a[:, None], atol=1e-8)
