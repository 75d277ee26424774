"""Formulas as drawings in the page, set by matplotlib when the pages are built: no script and no font is loaded.

MathML would be shorter, but looks right only where the reader has a mathematical font.
"""

from __future__ import annotations

import functools
import html
from typing import Any

import numpy as np
from docutils import nodes
from matplotlib import rc_context
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from sphinx.application import Sphinx

EM = 20.0  # units of the drawing
LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


@functools.cache
def drawing(tex: str) -> str:
    """`tex` as an SVG element in the colour of the text around it, on the same baseline."""
    with rc_context({"mathtext.fontset": "cm"}):
        path = TextPath((0, 0), f"${tex}$", size=EM)
    segments = []
    for points, code in path.iter_segments(simplify=False):
        turned = np.reshape(points, (-1, 2)) * (1, -1)  # in SVG y grows downwards
        numbers = () if code == Path.CLOSEPOLY else turned.ravel()
        segments.append(LETTERS[code] + " ".join(f"{v:.2f}" for v in numbers))
    box = path.get_extents()
    left, bottom, width, height = box.x0 - 1, box.y0 - 1, box.width + 2, box.height + 2
    style = f"width:{width / EM:.3f}em;height:{height / EM:.3f}em;vertical-align:{bottom / EM:.3f}em"
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(tex)}" style="{style}" fill="currentColor" '
        f'viewBox="{left:.2f} {-bottom - height:.2f} {width:.2f} {height:.2f}"><path d="{"".join(segments)}"/></svg>'
    )


def inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(drawing(node.astext()))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    lines = (" ".join(line.split()) for line in node.astext().split("\\\\"))
    translator.body.append("".join(f'<div class="formula-line">{drawing(line)}</div>\n' for line in lines))
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("formulas", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
