"""The page that a demo leaves behind: one folder with an ``index.html`` and its pictures, nothing from elsewhere.

The page is XML as well as HTML, so that a parser can tell whether it is well-formed. Charts are drawn twice, for light
and for dark screens.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Figure", "Section", "Table", "chart", "write"]

Draw = Callable[[Any], object]


@dataclass
class Figure:
    """A picture of a section: its file beside the page, what it shows, and what to see in it."""

    file: str
    alt: str
    caption: str
    dark: str = ""  # the file for dark screens, if that is another


@dataclass
class Table:
    """Rows of one length under a head."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass
class Section:
    """What one family has to show; `failure` is a sentence if it failed, `status` one about how it went.

    `peer` says how another library does on the same problem.
    """

    title: str
    lead: str
    rows: list[list[Figure]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    table: Table | None = None
    status: str = ""
    peer: str = ""
    failure: str = ""


# ---------------------------------------------------------------------------------------------------------------------
# Charts


def _theme(ink: str, soft: str, card: str, pane: str, line: str, cycle: tuple[str, ...]) -> Any:
    """The colours of the page's style as matplotlib's settings."""
    from matplotlib.rcsetup import cycler

    inks = ("text.color", "axes.titlecolor")
    softs = ("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    panes = ("axes3d.xaxis.panecolor", "axes3d.yaxis.panecolor", "axes3d.zaxis.panecolor")
    return {
        **dict.fromkeys(inks, ink),
        **dict.fromkeys(softs, soft),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), card),
        **dict.fromkeys(panes, pane),
        "grid.color": line,
        "axes.prop_cycle": cycler(color=cycle),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 11,
        "axes.titlesize": 12,
    }


def chart(folder: Path, name: str, draw: Draw, *, alt: str, caption: str, size: tuple[float, float]) -> Figure:
    """Let `draw` fill a matplotlib figure of `size` inches, once for light and once for dark screens."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    themes = {
        name: _theme("#1c2330", "#5b6577", "#ffffff", "#f3f4f7", "#cdd2da", ("#2f6fb5", "#d9722e")),
        f"{name}-dark": _theme("#e7e9ee", "#a3acbd", "#1c2129", "#222832", "#48515f", ("#6fb1f5", "#f2a05c")),
    }
    for stem, theme in themes.items():
        with mpl.rc_context(theme):
            figure = Canvas(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
            draw(figure)
            figure.savefig(folder / f"{stem}.png", dpi=160)
    return Figure(f"{name}.png", alt, caption, dark=f"{name}-dark.png")


# ---------------------------------------------------------------------------------------------------------------------
# The page

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6577; --paper: #f6f6f3; --card: #ffffff; --line: #e2e4e8;
        --bad: #b3261e; --good: #1b7f4b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ee; --soft: #a3acbd; --paper: #14171d; --card: #1c2129; --line: #2f3642; --bad: #ff8a80;
          --good: #6fd19c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.6 system-ui, sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
h1 { font-size: 2.4rem; line-height: 1.1; letter-spacing: -.02em; margin: 0 0 .4rem; }
h2 { font-size: 1.55rem; line-height: 1.25; letter-spacing: -.01em; margin: 0 0 .5rem; }
p { max-width: 46rem; margin: 0 0 1rem; } .soft { color: var(--soft); }
section { border-top: 1px solid var(--line); margin-top: 2.2rem; padding-top: 2rem; }
nav a { color: inherit; } .overview td { width: 36%; } .overview .status { margin: 0; font-weight: 500; }
.status { font-weight: 600; color: var(--good); } .status.failed { color: var(--bad); }
.row { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 1.1rem; margin: 1.1rem 0; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }
figure img { display: block; width: 100%; height: auto; }
figcaption { padding: .8rem 1rem 1rem; font-size: .92rem; line-height: 1.5; color: var(--soft); }
table { border-collapse: collapse; width: 100%; margin-top: 1.6rem; font-size: .95rem; }
th, td { text-align: left; padding: .55rem .2rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 500; color: var(--soft); width: 11rem; padding-right: 1rem; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } thead th { width: auto; min-width: 5rem; }
@media (max-width: 56rem) {
  .row { grid-template-columns: minmax(0, 1fr); max-width: 34rem; } }
@media (max-width: 34rem) {
  .overview, .overview tbody, .overview tr, .overview th, .overview td { display: block; width: auto; border: 0; }
  .overview thead { display: none; } .overview tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
  body { font-size: 16px; } main { padding: 1.8rem 1rem 3rem; } h1 { font-size: 1.9rem; } th { width: 7.5rem; } }
"""


def _figure(figure: Figure) -> str:
    dark = ""
    if figure.dark:
        dark = f'<source srcset="{html.escape(figure.dark)}" media="(prefers-color-scheme: dark)" />'
    return (
        f'<figure><picture>{dark}<img src="{html.escape(figure.file)}" alt="{html.escape(figure.alt)}" /></picture>'
        f"<figcaption>{html.escape(figure.caption)}</figcaption></figure>\n"
    )


def _table(table: Table | None) -> str:
    if table is None:
        return ""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.head)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(x)}</td>" for x in rest)
        + "</tr>\n"
        for first, *rest in table.rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n'


def _state(section: Section) -> str:
    if section.failure:
        return f'<p class="status failed">Failed. {html.escape(section.failure)}</p>\n'
    return f'<p class="status">{html.escape(section.status)}</p>\n' if section.status else ""


def _section(number: int, section: Section) -> str:
    rows = "".join(f'<div class="row">\n{"".join(map(_figure, row))}</div>\n' for row in section.rows)
    facts = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>\n'
        for name, value in section.facts
    )
    return (
        f'<section id="part{number}">\n<h2>{html.escape(section.title)}</h2>\n<p>{html.escape(section.lead)}</p>\n'
        f"{_state(section)}{rows}{_table(section.table)}"
        + (f"<table><tbody>\n{facts}</tbody></table>\n" if facts else "")
        + "</section>\n"
    )


def _overview(sections: list[Section]) -> str:
    """What was solved, how well, and beside whom: a row a section, which leads to it."""
    rows = "".join(
        f'<tr><th scope="row"><a href="#part{k}">{html.escape(s.title)}</a></th>'
        f"<td>{_state(s)}</td><td>{html.escape(s.peer)}</td></tr>\n"
        for k, s in enumerate(sections)
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Problem", "How it went", "Beside others"))
    return f'<nav><table class="overview"><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></nav>\n'


def write(folder: Path, sections: list[Section], subtitle: str) -> Path:
    """Write ``index.html`` into `folder` and return its path."""
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1" />\n<title>Equipoise: report</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Equipoise</h1>\n"
        f'<p class="soft">{html.escape(subtitle)}</p>\n'
        + (_overview(sections) if len(sections) > 1 else "")
        + "".join(_section(k, section) for k, section in enumerate(sections))
        + "</main>\n</body>\n</html>\n"
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path
