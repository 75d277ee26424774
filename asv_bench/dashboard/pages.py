"""The dashboard's pages: asv's own, with an overview at the top and every script beside them.

``asv publish`` writes pages that load ten files from elsewhere, and stay blank where they cannot. Those files are
packages on npm: they are installed into a temporary folder, at the versions that ``package.json`` pins, copied beside
the pages, and the pages made to load the copies. None of them is kept in the repository.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from . import HERE, MACHINE, PAGES, RESULTS, ROOT, BenchError
from .clean import clean
from .history import Milestone, milestones
from .measure import asv

OVERVIEW = HERE / "overview.html"
LINK = re.compile(r"""<a href="#([^"]+)">([^<]*)</a>""")
GRID = re.compile(r"""<div id="summarygrid-display"[^>]*>""")

# The last part of the address that asv's page loads -> the file of the npm package that takes its place.
ASSETS = {
    "jquery-3.3.1.min.js": "jquery/dist/jquery.min.js",
    "jquery.flot.min.js": "flot/jquery.flot.js",
    "jquery.flot.time.min.js": "flot/jquery.flot.time.js",
    "jquery.flot.selection.min.js": "flot/jquery.flot.selection.js",
    "jquery.flot.categories.min.js": "flot/jquery.flot.categories.js",
    "jquery.flot.orderBars.js": "flot-orderbars/js/jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupid-table-plugin/stupidtable.min.js",
    "md5.min.js": "blueimp-md5/js/md5.min.js",
    "bootstrap.min.js": "bootstrap/dist/js/bootstrap.min.js",
    "bootstrap.min.css": "bootstrap/dist/css/bootstrap.min.css",
}
LOADED = re.compile(r"""<(?:script|link)\b[^>]*?\b(?:src|href)\s*=\s*["'](https?://[^"']+)["'][^>]*>""")
GUARDS = re.compile(r"""\s+(?:integrity|crossorigin|referrerpolicy)\s*=\s*["'][^"']*["']""")


def publish() -> int:
    """Write the pages, and make them work offline if npm is here to bring what they load.

    Raises
    ------
    BenchError
        If no results are recorded.
    """
    clean()
    if not any((RESULTS / MACHINE).glob("*-*.json")):
        raise BenchError("no results are recorded yet: run make bench first")
    code = asv("publish", "--no-pull")
    if code:
        return code
    with tempfile.TemporaryDirectory() as folder:
        reason = install(Path(folder))
        if reason:
            print(f"{reason}: the pages are asv's own, which load their scripts from the network.")
        else:
            localise(PAGES, Path(folder) / "node_modules")
    index = PAGES / "index.html"
    drawn = {path.stem for path in (PAGES / "graphs" / "summary").glob("*.json")}
    listed = PAGES / "index.json"
    listed.write_text(json.dumps(told(json.loads(listed.read_text()), drawn, milestones())))
    index.write_text(with_overview(index.read_text(), linked(overview(), drawn)))
    pages = PAGES.relative_to(ROOT)
    print(f"To see it, in the project's folder: python3 -m http.server --bind 127.0.0.1 --directory {pages}")
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# The overview


def overview(fragment: Path = OVERVIEW, results: Path = RESULTS) -> str:
    """The text above the grid, with the milestones and the machine filled in."""
    about = results / MACHINE / "machine.json"
    machine = json.loads(about.read_text()) if about.exists() else {}
    known = [machine.get(key, "") for key in ("cpu", "arch", "os")]
    described = ", ".join(value for value in known if value) or "unknown"
    items = "\n".join(_item(milestone) for milestone in milestones())
    filled = fragment.read_text().replace("{machine}", html.escape(described))
    return filled.replace("{cores}", html.escape(str(machine.get("num_cpu", "?")))).replace("{milestones}", items)


def _item(milestone: Milestone) -> str:
    return f"<li>{html.escape(milestone.name)} <code>{milestone.commit[:8]}</code></li>"


def told(index: dict[str, Any], drawn: Collection[str], known: Sequence[Milestone]) -> dict[str, Any]:
    """What asv's pages are told, without benchmarks that have no results, and with milestones named as tags are."""
    benchmarks = {name: about for name, about in index["benchmarks"].items() if name in drawn}
    revisions = {commit: int(revision) for revision, commit in index["revision_to_hash"].items()}
    names = {milestone.name: revisions[milestone.commit] for milestone in known if milestone.commit in revisions}
    return {**index, "benchmarks": benchmarks, "tags": {**index["tags"], **names}}


def linked(text: str, drawn: Collection[str]) -> str:
    """The text without links to benchmarks that have no results: asv would answer them with an error."""
    return LINK.sub(lambda match: match[0] if match[1] in drawn else match[2], text)


def with_overview(page: str, text: str) -> str:
    """asv's index with `text` at the top of its grid; the other views hide the grid, and so the text.

    Raises
    ------
    ValueError
        If the page has no grid, as a newer asv's may.
    """
    if not GRID.search(page):
        raise ValueError("asv's page has no summarygrid-display any more: tell pages.py where the overview goes now")
    return GRID.sub(lambda match: match[0] + "\n" + text, page, count=1)


# ---------------------------------------------------------------------------------------------------------------------
# Pages that need no network


def install(folder: Path) -> str:
    """Install what ``package.json`` pins into `folder`; the reason if that does not work, else nothing."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    shutil.copy(HERE / "package.json", folder)
    flags = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent")
    done = subprocess.run([npm, "install", *flags], cwd=folder, check=False, capture_output=True)
    return "npm could not install the pages' scripts" if done.returncode else ""


def localise(pages: Path, modules: Path) -> None:
    """Make every page in `pages` load copies of what it would load from elsewhere.

    Raises
    ------
    ValueError
        If a page asks for something that `ASSETS` does not know, as a newer asv may.
    """
    for page in sorted(pages.glob("*.html")):

        def local(match: re.Match[str]) -> str:
            address = match[1]
            name = address.split("?")[0].rsplit("/", 1)[-1]
            if name not in ASSETS:
                raise ValueError(f"asv's pages ask for {name}, for which there is no npm package: add it to ASSETS")
            target = pages / "vendor" / Path(ASSETS[name]).name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(modules / ASSETS[name], target)
            return GUARDS.sub("", match[0].replace(address, f"vendor/{target.name}"))

        page.write_text(LOADED.sub(local, page.read_text()))
