"""Errors of this package name a page of the guide; those of others are left as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equipoise as eq
from equipoise import guide

DOCS = Path(__file__).parents[1] / "docs"
BAD = np.full((3, 3), np.nan)


def notes(call: Any) -> list[str]:
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    return [note for note in getattr(caught.value, "__notes__", ()) if note.startswith("The guide on this: ")]


@pytest.mark.parametrize(
    ("call", "page"),
    [
        (lambda: eq.transport.sinkhorn(BAD, epsilon=0.1), "transport"),
        (lambda: eq.transport.PointCloud(np.ones((2, 3)), np.ones((2, 2))), "transport"),
        (lambda: eq.linear.cg(BAD, np.ones(2)), "linear"),
        (lambda: eq.linear.FixedOmega(3.0), "linear"),
        (lambda: eq.sketch.sketch_operator("none", 3, 9, rng=0), "sketch"),
        (lambda: eq.sketch.lstsq(BAD, np.ones(3)), "sketch"),
        (lambda: eq.monotone.matrix_game(BAD), "monotone"),
        (lambda: eq.quasimetric.fit(BAD, dim=2, components=1), "quasimetric"),
        (lambda: eq.quasimetric.fit(np.ones((3, 3))), "quasimetric"),  # a call that lacks an argument
        (lambda: eq.precondition.psgd("none"), "precondition"),
        (lambda: eq.linear.ChebCB(grid=[3.0], context_range=(0.0, 1.0), rng=0), "linear"),
        (lambda: eq.operators.Stencil(4.0, (1.0,), (0,)), "operators"),
    ],
)
def test_an_error_names_the_page_once(call: Any, page: str) -> None:
    found = notes(call)
    assert len(found) == 1, found
    assert page in found[0]


def test_in_a_context_too() -> None:
    with eq.backend("torch"):
        assert len(notes(lambda: eq.transport.sinkhorn(BAD, epsilon=0.1))) == 1


def test_errors_of_the_users_own_function_get_no_note() -> None:
    def hvp(v: Any) -> Any:
        raise ValueError("mine")

    assert notes(lambda: eq.precondition.fit_hessian(hvp, np.ones(3))) == []


def test_other_packages_get_no_note() -> None:
    @eq.record
    class Mine:
        x: Any

    Mine.__module__ = "mylib.linear"

    assert notes(lambda: Mine()) == []  # type: ignore[call-arg]


def test_the_built_page_is_named_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide, "_DOCS", tmp_path)
    assert guide.page_of("equipoise.sketch.lstsq") == "docs/families/sketch.md"
    built = tmp_path / "_build" / "html" / "families" / "sketch.html"
    built.parent.mkdir(parents=True)
    built.touch()
    assert guide.page_of("equipoise.sketch.lstsq") == built.as_uri()


def test_every_page_that_is_named_exists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(guide, "_DOCS", tmp_path)
    modules = [*guide._FAMILIES, *guide._PAGES, "anything"]
    missing = [page for m in modules if not (DOCS.parent / (page := guide.page_of(f"equipoise.{m}"))).is_file()]
    assert not missing
