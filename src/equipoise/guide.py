"""Errors name the page of the guide that explains what was called, in a note below their sentence.

The page is the built one where the documentation has been built beside an editable install, and its source otherwise.
Only errors of this package get a note: not those of a user's own function, nor of a library below.
"""

from __future__ import annotations

import functools
import os.path
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["guided", "page_of", "point"]

P = ParamSpec("P")
R = TypeVar("R")

_FAMILIES = {"transport", "linear", "sketch", "monotone", "quasimetric", "precondition"}
_PAGES = {"operators": "api/operators.rst", "backend": "backends.md", "plot": "api/plot.rst", "record": "core.md"}
_NOTE = "The guide on this: "
_DOCS = os.path.join(os.path.dirname(__file__), "..", "..", "docs")


def page_of(module: str) -> str:
    """The page for a module of this package: an address where it has been built, else the name of its source.

    Examples
    --------
    >>> page_of("equipoise.transport.sinkhorn").rpartition("/")[2].partition(".")[0]
    'transport'
    """
    from pathlib import Path  # takes a tenth of the time of importing numpy

    part = (*module.split("."), "")[1]
    source = f"families/{part}.md" if part in _FAMILIES else _PAGES.get(part, "start.md")
    built = Path(_DOCS).resolve() / "_build" / "html" / Path(source).with_suffix(".html")
    return built.as_uri() if built.is_file() else f"docs/{source}"


def point(error: BaseException, module: str) -> None:
    """Add the note to `error`, if it was raised in this package and has none yet; `module` is of what was called."""
    if module.partition(".")[0] != __name__.partition(".")[0]:  # a record or public function of somebody else's
        return
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    if not isinstance(where, str) or not where.startswith("equipoise"):
        return
    if not any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
        error.add_note(f"{_NOTE}{page_of(module)}")


def guided(fn: Callable[P, R]) -> Callable[P, R]:
    """Make the errors of `fn` name its page, as those of every ``@public`` function do."""

    @functools.wraps(fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return fn(*args, **kwargs)
        except (ValueError, TypeError) as error:
            point(error, fn.__module__)
            raise

    return wrapper
