"""Every link of the built pages leads somewhere, and nothing is loaded from elsewhere: `check_links.py FOLDER`.

Links inside the site are followed, anchors included. Links that leave it are not fetched, since pages are built without
a network: they have to be https and well formed, and `--list` prints them for a reader.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

LOADED = {"audio", "embed", "iframe", "img", "input", "object", "script", "source", "track", "video"}
LOADED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "manifest"}
IN_STYLES = re.compile(r"""(?:@import\s+(?:url\()?|url\()\s*["']?([^"')\s]+)""")
HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


class Page(HTMLParser):
    """The anchors of a page, and its links: (address, whether the page loads it by itself)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, bool]] = []
        self.in_style = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attributes if value is not None}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        self.in_style = tag == "style"
        loaded = tag in LOADED or (tag == "link" and bool(LOADED_LINKS & set(given.get("rel", "").lower().split())))
        self.links += [(given[name], loaded) for name in ("href", "src", "data", "poster") if name in given]
        self.links += [(part.split()[0], True) for part in given.get("srcset", "").split(",") if part.strip()]
        self.links += [(address, True) for address in IN_STYLES.findall(given.get("style", ""))]

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.links += [(address, True) for address in IN_STYLES.findall(data)]

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False


def problems(folder: Path, external: set[str]) -> Iterator[str]:
    """A line for each thing that is wrong; addresses outside the site are added to `external`."""
    paths = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.relative_to(folder).parts]
    if not paths:
        yield f"{folder}: there are no pages"
    pages = {path.resolve(): Page(path) for path in paths}
    for path, page in pages.items():
        for address, loaded in dict.fromkeys(page.links):
            wrong = look(address, loaded, path, pages, external)
            if wrong:
                yield f"{path.relative_to(folder.resolve())}: {address}: {wrong}"
    for path in sorted(folder.rglob("*.css")):
        for address in IN_STYLES.findall(path.read_text(encoding="utf-8")):
            if urlsplit(address).netloc:
                yield f"{path.relative_to(folder)}: {address}: is loaded from elsewhere"


def look(address: str, loaded: bool, path: Path, pages: dict[Path, Page], external: set[str]) -> str:
    """What is wrong with a link of the page `path`, or nothing."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "is not well formed"
    if parts.scheme in ("data", "mailto", "javascript"):
        return ""
    if parts.scheme or parts.netloc:
        external.add(address)
        return "is loaded from elsewhere" if loaded else outside(parts)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "no such file"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "no such anchor"
    return ""


def outside(parts: SplitResult) -> str:
    if parts.scheme != "https":
        return "is not https"
    if not HOST.fullmatch(parts.hostname or "") or re.search(r"\s", parts.geturl()):
        return "is not well formed"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pages are, docs/_build/html")
    parser.add_argument("--list", action="store_true", help="print the addresses outside the site")
    options = parser.parse_args()
    external: set[str] = set()
    found = list(problems(options.folder, external))
    print("\n".join(found or [f"links: all lead somewhere; {len(external)} addresses outside the site"]))
    if options.list:
        print("\n".join(sorted(external)))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
