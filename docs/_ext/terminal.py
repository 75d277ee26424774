"""What a notebook printed, as a terminal shows it.

A kernel sends its prints in pieces, as they fall in time, and the pages would show each piece in a box of its own. A
progress bar is drawn over and over; of such a line the last state counts.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

DRAWN_OVER = re.compile(r"[^\n]*\r(?=[^\n])")


def is_outputs(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and "cell_output" in node["classes"]


def is_next_piece(block: nodes.Node, before: nodes.Node | None) -> bool:
    return (
        isinstance(block, nodes.literal_block)
        and isinstance(before, nodes.literal_block)
        and block["classes"] == before["classes"]
    )


def write(block: nodes.literal_block, text: str) -> None:
    block.rawsource = text  # where it differs from the text there are no colours
    block[:] = [nodes.Text(text)]


def as_in_a_terminal(app: Sphinx, doctree: nodes.document) -> None:
    for outputs in list(doctree.findall(is_outputs)):
        whole: list[nodes.Node] = []
        for block in outputs.children:
            if is_next_piece(block, whole[-1] if whole else None):
                write(whole[-1], whole[-1].astext() + block.astext())
            else:
                whole.append(block)
        outputs[:] = whole
        for block in outputs.findall(nodes.literal_block):
            if "\r" in block.astext():
                write(block, DRAWN_OVER.sub("", block.astext()))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", as_in_a_terminal)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
