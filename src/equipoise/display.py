"""How records look when they are printed: a line in a terminal, a table in a notebook.

A result of a million numbers is printed by what its user asks first: whether it converged, how far it is off, and the
shapes of what was found. Nothing is computed for it, and nothing of an array is read that has axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .arrays import library, shape_text

__all__ = ["brief", "line", "short_dtype", "table", "values"]

_TEXT = 60  # characters of a value whose class is not known here


def short_dtype(x: Any) -> str:
    """The dtype of `x` without the name of its library.

    Examples
    --------
    >>> import numpy as np
    >>> short_dtype(np.zeros(3))
    'float64'
    """
    return str(x.dtype).rpartition(".")[2]


def brief(x: Any) -> str:
    """A value in a few words: an array with axes by its shape, one without by its number where that is known.

    Examples
    --------
    >>> import numpy as np
    >>> brief(np.zeros((500, 2))), brief(np.asarray(0.1 + 0.2)), brief([1, 2, 3]), brief("sum")
    ('(500, 2)', '0.3', 'list of 3', "'sum'")
    """
    if library(x):
        return shape_text(x) if x.ndim else _number(x)
    if isinstance(x, np.generic):  # numpy's reductions give these
        x = x.item()
    if isinstance(x, float):
        return f"{x:.6g}"
    if x is None or isinstance(x, (bool, int)) or hasattr(x, "_data"):
        return repr(x)
    if isinstance(x, str):
        return repr(x if len(x) <= _TEXT else x[: _TEXT - 3] + "...")
    if isinstance(x, (tuple, list, dict)):
        return f"{type(x).__name__} of {len(x)}"
    name = getattr(x, "__qualname__", None)
    text = str(name) if name else repr(x)
    return text if len(text) <= _TEXT else type(x).__name__


def _number(x: Any) -> str:
    """The number in an array without axes, where it can be read."""
    known = values(x)
    if known is None:
        return "traced"
    number = known.item()
    return f"{number:.6g}" if isinstance(number, float) else str(number)


def values(x: Any) -> np.ndarray[Any, Any] | None:
    """The numbers of an array, or None where they cannot be read: under a transformation, on no device, or given away.

    Printing is no place to raise, whatever a library raises there.
    """
    from .backend import of

    try:
        return of(x).to_numpy(x) if of(x).readable(x) else None
    except Exception:
        return None


def line(x: Any, facts: Mapping[str, Any]) -> str:
    """``Name(field=value, ...)``: what :func:`repr` gives for a record."""
    return f"{type(x).__name__}({', '.join(f'{name}={_cell(value)}' for name, value in facts.items())})"


def _cell(x: Any) -> str:
    return f"{short_dtype(x)} {shape_text(x)}" if library(x) and x.ndim else brief(x)


def table(title: str, rows: Mapping[str, Any], caption: str = "") -> str:
    """Rows of names and values as HTML; it takes its colours from the page, dark or light."""
    import html  # whose table of entities takes time to import

    body = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(_described(value))}</td></tr>'
        for name, value in rows.items()
    )
    said = f"<br>{html.escape(caption)}" if caption else ""
    top = f"<strong>{html.escape(title)}</strong>{said}"
    return f'<div class="equipoise">{top}<table><tbody>{body}</tbody></table></div>'


def _described(x: Any) -> str:
    """A value in a table, where there is room for the library of an array."""
    if not library(x) or not x.ndim:
        return brief(x)[1:-1] if isinstance(x, str) else brief(x)
    device = str(getattr(x, "device", "cpu"))
    place = "" if "cpu" in device.lower() else f", {device}"
    return f"{short_dtype(x)} {shape_text(x)}, {library(x)}{place}"
