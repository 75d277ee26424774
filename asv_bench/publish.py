"""Run the benchmarks, and make of their results a dashboard that works without a network.

``asv publish`` writes pages that load ten files from elsewhere, and stay blank where they cannot. Those files are
packages on npm: they are installed into a temporary folder, at the versions that ``package.json`` pins, copied beside
the pages, and the pages made to load the copies. None of them is kept in the repository.

Result files name the interpreter's path, the host and its kernel. They are cleaned after every run and before every
publication, so that results can be committed and pages shown to others.
"""

from __future__ import annotations

import argparse
import getpass
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / ".asv" / "results"
PAGES = HERE / ".asv" / "html"
MACHINE = "reference"  # what every machine is called: ratios are to be compared, not machines

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


# ---------------------------------------------------------------------------------------------------------------------
# Running


def asv(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "asv", *arguments], cwd=HERE, check=False).returncode


def run(arguments: list[str]) -> int:
    """Run the benchmarks in this environment and record them for the commit that is checked out.

    Without ``--set-commit-hash`` asv would not save what an existing environment has measured.
    """
    name_machine()
    if _git("status", "--porcelain", "--untracked-files=no"):
        print("There are uncommitted changes: the results will be recorded for the last commit all the same.")
    if "--quick" in arguments and "--dry-run" not in arguments:
        arguments = [*arguments, "--dry-run"]  # one sample each shows that they run, and no more
    commit = _git("rev-parse", "HEAD")
    code = asv(
        "run", "--python=same", f"--set-commit-hash={commit}", f"--machine={MACHINE}", "--show-stderr", *arguments
    )
    clean()
    return code


def name_machine() -> None:
    """Tell asv about this machine, under a neutral name: what ``asv machine --yes`` does, without the host's name."""
    from asv.machine import Machine, MachineCollection

    about = {**Machine.get_defaults(), "machine": MACHINE, "os": platform.system()}
    MachineCollection.save(MACHINE, about)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=HERE, check=True, capture_output=True, text=True).stdout.strip()


# ---------------------------------------------------------------------------------------------------------------------
# Cleaning


def clean(results: Path = RESULTS) -> None:
    """Take interpreter paths, host names and user names out of asv's result files.

    A file's name holds the interpreter's path as well: it gets a new one, and joins the results that already bear it.

    Raises
    ------
    ValueError
        If something of the kind is left in a file all the same; the sentence names the file, not what was found.
    """
    for folder in sorted(p for p in results.glob("*") if p.is_dir()):
        for path in sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime):
            data = json.loads(path.read_text())
            if path.name == "machine.json":
                target = results / MACHINE / path.name
                _neutralise(data)
            else:
                data = _clean_results(data)
                target = results / MACHINE / f"{data['commit_hash'][:8]}-{data['env_name']}.json"
                if target.exists() and target != path:
                    data = _merged(json.loads(target.read_text()), data)
            path.unlink()
            target.parent.mkdir(exist_ok=True)
            target.write_text(json.dumps(data, indent=4) + "\n")
            _check_clean(target)
        if not any(folder.iterdir()):
            folder.rmdir()


def _neutralise(about: dict[str, Any]) -> None:
    about["machine"] = MACHINE
    about["os"] = str(about.get("os") or platform.system()).split()[0]  # without the kernel's release
    if "/" in str(about.get("python", "")) or "\\" in str(about.get("python", "")):
        about["python"] = ".".join(platform.python_version_tuple()[:2])  # asv ran in this very interpreter


def _clean_results(data: dict[str, Any]) -> dict[str, Any]:
    """Results without traces; profiles, which name every source file, are dropped."""
    _neutralise(data["params"])
    python = data["params"]["python"]
    profile = data["result_columns"].index("profile")
    rows = {name: row[:profile] for name, row in data["results"].items()}
    return {**data, "python": python, "env_name": f"existing-py{python}", "results": rows}


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Results of two runs at one commit: the newer ones where both have some."""
    if old["result_columns"] != new["result_columns"]:
        return new
    return {**new, **{key: {**old[key], **new[key]} for key in ("results", "durations")}}


def _check_clean(path: Path) -> None:
    text = f"{path.name} {path.read_text()}"
    paths = {sys.prefix, sys.base_prefix, str(Path.home()), str(HERE), str(HERE.parent)}
    traces = {form for p in paths for form in (p, p.replace("/", "_")) if len(p) > 1}
    words = {platform.node(), getpass.getuser()} - {"", "localhost", "root"}
    if any(t in text for t in traces) or any(re.search(rf"\b{re.escape(w)}\b", text) for w in words):
        raise ValueError(f"{path.name} still names a path, a host or a user of this machine; do not commit it")


# ---------------------------------------------------------------------------------------------------------------------
# Publishing


def publish() -> int:
    """Write the pages, and make them work offline if npm is here to bring what they load."""
    clean()
    code = asv("publish", "--no-pull")
    if code:
        return code
    with tempfile.TemporaryDirectory() as folder:
        reason = install(Path(folder))
        if reason:
            print(f"{reason}: the pages are asv's own, which load their scripts from the network.")
        else:
            localise(PAGES, Path(folder) / "node_modules")
    pages = PAGES.relative_to(HERE.parent)
    print(f"To see it, in the project's folder: python3 -m http.server --bind 127.0.0.1 --directory {pages}")
    return 0


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
                raise ValueError(
                    f"asv's pages ask for {name}, for which publish.py knows no npm package: add it to ASSETS"
                )
            target = pages / "vendor" / Path(ASSETS[name]).name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(modules / ASSETS[name], target)
            return GUARDS.sub("", match[0].replace(address, f"vendor/{target.name}"))

        page.write_text(LOADED.sub(local, page.read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--run", action="store_true", help="run the benchmarks; further options go to `asv run`")
    action.add_argument("--clean", action="store_true", help="only take names and paths out of the result files")
    options, others = parser.parse_known_args()
    if others and not options.run:
        parser.error(f"unknown option {others[0]}; only --run passes options on, to `asv run`")
    if options.run:
        return run(others)
    if options.clean:
        clean()
        return 0
    return publish()


if __name__ == "__main__":
    sys.exit(main())
