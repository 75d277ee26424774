"""The page that a demo leaves behind: one folder with an ``index.html`` and its pictures, nothing from elsewhere."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Figure", "Section", "write"]


@dataclass
class Figure:
    """A picture of a section: its file beside the page, what it shows, and what to see in it."""

    file: str
    alt: str
    caption: str
    wide: bool = False


@dataclass
class Section:
    """What one family has to show; `failure` is a sentence if it failed."""

    title: str
    lead: str
    figures: list[Figure] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    failure: str = ""


STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6577; --paper: #fbfbf9; --card: #ffffff; --line: #e2e4e8;
        --bad: #b3261e; --good: #1b7f4b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ee; --soft: #a3acbd; --paper: #14171d; --card: #1c2129; --line: #2f3642; --bad: #ff8a80;
          --good: #6fd19c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 system-ui, sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.2rem 4rem; }
h1 { font-size: 2.2rem; line-height: 1.15; margin: 0 0 .3rem; } h2 { margin: 2.8rem 0 .4rem; font-size: 1.5rem; }
p { max-width: 46rem; } .soft { color: var(--soft); margin-top: 0; }
.figures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 1rem; margin: 1.4rem 0; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure.wide { grid-column: 1 / -1; } figure img { display: block; width: 100%; height: auto; background: #fff; }
figcaption { padding: .7rem .9rem; font-size: .92rem; color: var(--soft); }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line);
        font-size: .95rem; }
th, td { text-align: left; padding: .45rem .8rem; border-top: 1px solid var(--line); vertical-align: top; }
th { font-weight: 500; color: var(--soft); width: 14rem; } td { font-variant-numeric: tabular-nums; }
.status { font-weight: 600; color: var(--good); } .failed { color: var(--bad); }
@media (max-width: 45rem) {
  body { font-size: 16px; } h1 { font-size: 1.7rem; } main { padding-top: 1.4rem; }
  .figures { grid-template-columns: 1fr; } th { width: 9rem; } }
"""


def _figure(figure: Figure) -> str:
    kind = ' class="wide"' if figure.wide else ""
    return (
        f'<figure{kind}><img src="{html.escape(figure.file)}" alt="{html.escape(figure.alt)}">'
        f"<figcaption>{html.escape(figure.caption)}</figcaption></figure>"
    )


def _section(section: Section) -> str:
    state = f'<p class="status failed">Failed: {html.escape(section.failure)}</p>' if section.failure else ""
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in section.facts)
    pictures = "".join(map(_figure, section.figures))
    return (
        f"<section><h2>{html.escape(section.title)}</h2><p>{html.escape(section.lead)}</p>{state}"
        f'<div class="figures">{pictures}</div>' + (f"<table>{rows}</table>" if rows else "") + "</section>"
    )


def write(folder: Path, sections: list[Section], subtitle: str) -> Path:
    """Write ``index.html`` into `folder` and return its path."""
    body = "".join(map(_section, sections))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Equipoise: report</title>'
        f"<style>{STYLE}</style></head><body><main><h1>Equipoise</h1>"
        f'<p class="soft">{html.escape(subtitle)}</p>{body}</main></body></html>\n'
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path
