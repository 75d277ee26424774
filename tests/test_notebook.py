"""The notebook of the docs is committed as somebody would type it; the build of the pages runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "newcomer.ipynb"


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def test_it_has_no_outputs(notebook: dict[str, Any]) -> None:
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def test_it_knows_nothing_of_the_machine_that_ran_it(notebook: dict[str, Any]) -> None:
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert notebook["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def test_its_pages_exist(notebook: dict[str, Any]) -> None:
    last = "".join(notebook["cells"][-1]["source"])
    pages = [part.split(")")[0].removeprefix("path:") for part in last.split("](")[1:]]
    made = {"gallery/index.rst"}  # by the build
    assert pages
    assert all((NOTEBOOK.parent / page).is_file() for page in pages if page not in made)
