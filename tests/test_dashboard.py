"""The dashboard's own code: cleaning, comparing, the overview, the milestones. Nothing here runs asv."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
BENCH = ROOT / "asv_bench"
if str(BENCH) not in sys.path:
    sys.path.append(str(BENCH))

cleaning = importlib.import_module("dashboard.clean")
history = importlib.import_module("dashboard.history")
measuring = importlib.import_module("dashboard.measure")
pages = importlib.import_module("dashboard.pages")
regressions = importlib.import_module("dashboard.regressions")
BenchError = importlib.import_module("dashboard").BenchError
main = importlib.import_module("publish").main

COLUMNS = ["result", "params", "version", "started_at", "duration", "profile"]
HASH = "0123456789abcdef0123456789abcdef01234567"
RATIO = "linear.solve.Solve.track_ratio"
SIZES = [["'numpy'", "'torch'"], ["10", "300"]]
A, B, C = ((RATIO, ("'numpy'", size)) for size in ("10", "20", "300"))


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


# ---------------------------------------------------------------------------------------------------------------------
# Cleaning


def raw(values: list[Any], *, name: str = RATIO, started: int = 1) -> dict[str, Any]:
    """A result file as asv leaves it, with all that should not be in it."""
    python = sys.executable
    params = {"machine": platform.node(), "os": "Linux 6.1.0-host", "ram": str(24 * 2**30 + 12345), "python": python}
    return {
        "commit_hash": HASH,
        "env_name": f"existing-{python.replace('/', '_')}",
        "params": {"arch": "x86_64", "cpu": "AMD EPYC", "num_cpu": "2", **params},
        "python": python,
        "result_columns": COLUMNS,
        "results": {name: [values, SIZES, "v1", started, 0.5, python]},
        "durations": {"<build>": 0.1},
        "version": 2,
    }


def put(results: pathlib.Path, data: dict[str, Any], folder: str = "raw") -> None:
    (results / folder).mkdir(parents=True, exist_ok=True)
    path = sys.executable.replace("/", "_")
    (results / folder / f"{HASH[:8]}-existing-{path}.json").write_text(json.dumps(data))


def kept(results: pathlib.Path) -> dict[str, Any]:
    """The one file that is left of the commit's results."""
    assert [p.name for p in results.iterdir()] == ["reference"]
    (path,) = (results / "reference").glob(f"{HASH[:8]}-*.json")
    assert re.fullmatch(r"[0-9a-f]{8}-existing-py3\.\d+\.json", path.name)
    return json.loads(path.read_text())


def test_results_lose_every_name_and_path(tmp_path: pathlib.Path) -> None:
    put(tmp_path, raw([1.0, 2.0, 3.0, 4.0]), platform.node())
    (tmp_path / platform.node() / "machine.json").write_text(
        json.dumps({"machine": platform.node(), "os": "Linux 6.1"})
    )
    cleaning.clean(tmp_path)
    data = kept(tmp_path)
    assert data["results"][RATIO] == [[1.0, 2.0, 3.0, 4.0], SIZES, "v1", 1, 0.5]
    assert data["params"]["machine"] == "reference"
    assert data["params"]["os"] == "Linux"
    assert data["params"]["ram"] == "24 GiB"
    assert sys.prefix not in json.dumps(data)
    assert json.loads((tmp_path / "reference" / "machine.json").read_text()) == {"machine": "reference", "os": "Linux"}


def test_cleaning_twice_changes_nothing(tmp_path: pathlib.Path) -> None:
    put(tmp_path, raw([1.0, 2.0, 3.0, math.nan]))
    cleaning.clean(tmp_path)
    once = kept(tmp_path)
    cleaning.clean(tmp_path)
    assert json.dumps(kept(tmp_path)) == json.dumps(once)


def test_results_of_a_commit_are_joined_and_the_later_ones_count(tmp_path: pathlib.Path) -> None:
    for values, name in [([1.0] * 4, RATIO), ([2.0] * 4, "other"), ([3.0] * 4, RATIO)]:
        put(tmp_path, raw(values, name=name))
        cleaning.clean(tmp_path)
    assert {name: row[0] for name, row in kept(tmp_path)["results"].items()} == {RATIO: [3.0] * 4, "other": [2.0] * 4}


def test_results_of_two_machines_do_not_mix(tmp_path: pathlib.Path) -> None:
    put(tmp_path, raw([1.0] * 4))
    cleaning.clean(tmp_path)
    elsewhere = raw([2.0] * 4, name="other")
    elsewhere["params"]["cpu"] = "another"
    put(tmp_path, elsewhere)
    cleaning.clean(tmp_path)
    assert list(kept(tmp_path)["results"]) == ["other"]


def test_a_path_that_is_left_is_told_by_its_file_alone(tmp_path: pathlib.Path) -> None:
    put(tmp_path, raw([1.0], name=f"bench({ROOT})"))
    with pytest.raises(ValueError, match=f"{HASH[:8]}.*still names a path") as caught:
        cleaning.clean(tmp_path)
    assert str(ROOT) not in str(caught.value)


def test_committed_results_name_nothing() -> None:
    for path in (BENCH / "results").rglob("*-*.json"):
        text = path.read_text()
        assert path.parent.name == json.loads(text)["params"]["machine"] == "reference"
        assert not re.search(r"/(?:home|root|Users|tmp|usr|opt)\b|bin.python", text), path.name


# ---------------------------------------------------------------------------------------------------------------------
# Figures


BENCHMARKS = {RATIO: {"params": SIZES, "version": "v1"}, "house.track_plain": {"params": [], "version": "v1"}}


def test_cases_are_chosen_as_asv_chooses_them() -> None:
    assert len(measuring.cases(BENCHMARKS, measuring.SOLVES)) == 4
    assert measuring.cases(BENCHMARKS, r"^house") == [("house.track_plain", ())]
    assert measuring.cases(BENCHMARKS, r"Solve.*numpy.*300") == [(RATIO, ("'numpy'", "300"))]


def test_a_figure_that_failed_is_absent_and_a_skipped_one_is_nan() -> None:
    found = measuring.figures(raw([1.0, None, math.nan, 4.0]), BENCHMARKS)
    assert math.isnan(found.pop((RATIO, ("'torch'", "10"))))
    assert found == {(RATIO, ("'numpy'", "10")): 1.0, (RATIO, ("'torch'", "300")): 4.0}


def test_figures_of_another_version_do_not_count() -> None:
    assert measuring.figures(raw([1.0] * 4), {RATIO: {"params": SIZES, "version": "v2"}}) == {}


def test_recorded_results_are_of_that_commit_and_machine(tmp_path: pathlib.Path) -> None:
    put(tmp_path, raw([1.0] * 4))
    cleaning.clean(tmp_path)
    here = {"arch": "x86_64", "cpu": "AMD EPYC", "num_cpu": "2"}
    assert measuring.recorded(HASH, here, tmp_path)["commit_hash"] == HASH
    assert measuring.recorded(HASH, {**here, "cpu": "another"}, tmp_path) == {}
    assert measuring.recorded(HASH[:8] + "f" * 32, here, tmp_path) == {}


def test_python_is_asked_where_it_takes_the_code_from(tmp_path: pathlib.Path) -> None:
    for package in ("src/equipoise", "backends/equipoise_numpy"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    command = [sys.executable, "-c", measuring.probe_of(tmp_path)]
    environment = measuring.environment_of(tmp_path)
    assert environment["PYTHONPATH"] == environment["ASV_PYTHONPATH"]
    assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == 0
    without = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=without, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "equipoise would not be taken from the tree that is to be measured" in done.stderr


# ---------------------------------------------------------------------------------------------------------------------
# Comparing


def test_a_ratio_is_worse_beyond_fifteen_percent() -> None:
    verdict = regressions.judge({A: 1.0, B: 1.0, C: 1.16}, {A: 1.16, B: 1.14, C: 1.0}, [A, B, C])
    assert (verdict.worse, verdict.alike, verdict.better) == ([A], [B], [C])


def test_a_number_that_is_lost_is_named_and_one_that_never_was_is_not() -> None:
    verdict = regressions.judge({A: 0.5, B: math.nan}, {A: math.nan, C: 2.0}, [A, B, C])
    assert (verdict.lost, verdict.gained) == ([A], [C])
    assert verdict.suspects == [A]


def test_suspects_are_measured_again_until_they_are_cleared_twice_at_most() -> None:
    base, now, asked = {A: 1.0, B: 1.0}, {A: 1.3, B: 1.0}, []

    def again(suspects: list[Any]) -> None:
        asked.append(suspects)
        now[A] -= 0.05

    assert regressions.settle(base, now, [A, B], again).worse == [A]
    assert asked == [[A], [A]]
    assert regressions.settle(base, now, [A, B], again).worse == []
    assert asked == [[A]] * 3


class Bench:
    """Stands in for asv: figures of each side, run by run, the last of them from then on."""

    def __init__(self, patch: pytest.MonkeyPatch, base: list[Any], now: list[Any], *, known: Any = None) -> None:
        self.sides, self.calls = {"base": base, "head": now}, []
        patch.setattr(regressions, "commit_of", lambda name: "base")
        patch.setattr(regressions, "git", lambda *arguments: "head")
        patch.setattr(regressions, "discover", lambda: {RATIO: {"params": [], "version": "v1"}})
        patch.setattr(regressions, "worktree", lambda commit: contextlib.nullcontext(pathlib.Path("tree")))
        patch.setattr(regressions, "changed", lambda: known is None)
        patch.setattr(regressions, "name_machine", dict)
        patch.setattr(regressions, "recorded", lambda commit, machine: self.data(known) if commit == "base" else {})
        patch.setattr(regressions, "measure", self.measure)

    def data(self, value: Any) -> dict[str, Any]:
        return {"result_columns": COLUMNS, "results": {RATIO: [[value], [], "v1"]}}

    def measure(self, tree: pathlib.Path, commit: str, patterns: Iterable[str]) -> Any:
        assert all(re.search(pattern, RATIO) for pattern in patterns)
        self.calls.append(commit)
        values = self.sides[commit]
        value = values.pop(0) if len(values) > 1 else values[0]
        return measuring.Run(0, {RATIO: {"params": [], "version": "v1"}}, self.data(value))


@pytest.mark.parametrize(
    ("base", "now", "code", "runs"),
    [
        ([1.0], [1.14], 0, 2),
        ([1.0], [1.16], 1, 6),
        ([1.0], [1.16, 1.1], 0, 4),  # noise
        ([1.0, 0.9], [1.16, 1.1], 1, 6),  # the least of each side
        ([1.0], [math.nan], 1, 6),
        ([1.0], [None], 1, 6),
        ([math.nan], [1.0], 0, 2),
        ([1.0], [0.5], 0, 2),
    ],
)
def test_compare_says_by_its_code_whether_something_got_worse(
    base: list[Any], now: list[Any], code: int, runs: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    bench = Bench(monkeypatch, base, now)
    assert main(["--compare", "base"]) == code
    assert bench.calls == ["base", "head"] * (runs // 2)
    assert (RATIO in capsys.readouterr().out) == (code == 1 or now == [0.5])


def test_a_comparison_of_nothing_is_no_success(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    Bench(monkeypatch, [math.nan], [None])
    assert main(["--compare", "base"]) == 2
    assert "none of these ratios is a number on either side" in capsys.readouterr().err


def test_compare_tells_name_figures_and_factor(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    Bench(monkeypatch, [0.25], [0.3])
    main(["--compare", "base"])
    told = capsys.readouterr().out
    assert "Worse by more than 15%, lower is better:" in told
    assert re.search(rf"{re.escape(RATIO)} +0\.25 +0\.3 +1\.2\n", told)
    assert "1 worse, 0 lost, 0 better, 0 alike" in told


def test_compare_reuses_what_is_recorded_says_so_and_can_be_told_not_to(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    bench = Bench(monkeypatch, [1.0], [1.0], known=1.0)
    assert main(["--compare", "base"]) == 0
    assert bench.calls == ["head"]
    assert "Recorded results are used for 1 of 1 ratios of base" in capsys.readouterr().out
    bench.calls.clear()
    assert main(["--compare", "base", "--fresh"]) == 0
    assert bench.calls == ["base", "head"]


def test_compare_without_a_ratio_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    Bench(monkeypatch, [1.0], [1.0])
    assert main(["--compare", "base", "--bench", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("publish.py: no ratio matches 'nothing'")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_an_unknown_base_is_one_sentence_and_a_code_of_its_own(capsys: Any) -> None:
    assert main(["--compare", "no-such-commit"]) == 2
    assert capsys.readouterr().err == "publish.py: git knows no commit, branch or tag 'no-such-commit' here\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_asks_for_a_base() -> None:
    done = subprocess.run(
        ["make", "-n", "bench-compare", "BASE="], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "bench-compare needs a commit to compare with: make bench-compare BASE=main" in done.stderr


# ---------------------------------------------------------------------------------------------------------------------
# Pages


def test_the_overview_stands_at_the_top_of_the_grid() -> None:
    page = '<body><nav></nav><div id="summarygrid-display" style="top: 55px">\n</div></body>'
    assert '<div id="summarygrid-display" style="top: 55px">\n<p>how</p>' in pages.with_overview(page, "<p>how</p>")
    with pytest.raises(ValueError, match="summarygrid-display"):
        pages.with_overview("<body></body>", "<p>how</p>")


def test_the_overview_names_machine_and_milestones(tmp_path: pathlib.Path) -> None:
    (tmp_path / "reference").mkdir()
    about = {"cpu": "A <b> chip", "arch": "x86_64", "os": "Linux", "num_cpu": "2"}
    (tmp_path / "reference" / "machine.json").write_text(json.dumps(about))
    text = pages.overview(results=tmp_path)
    assert "A &lt;b&gt; chip, x86_64, Linux; 2 cores" in text
    assert all(f"<li>{m.name} <code>{m.commit[:8]}</code></li>" in text for m in history.milestones())
    assert not re.search(r"\{\w+\}", text)
    assert "http" not in text


def test_the_overview_links_to_benchmarks_that_there_are() -> None:
    linked = re.findall(r'href="#([^"]+)"', pages.OVERVIEW.read_text())
    assert len(linked) == len(pages.LINK.findall(pages.OVERVIEW.read_text())) > 12
    for name in linked:
        family, module, group, method = name.split(".")
        folder = BENCH / "benchmarks" / family
        assert f"class {group}" in (folder / f"{module}.py").read_text(), name
        shared = [*folder.glob("*.py"), *folder.parent.glob("*.py")]
        assert any(f"def {method}(" in path.read_text() for path in shared), name


def test_links_without_results_become_words() -> None:
    text = '<a href="#a.track_x">one</a>, <a href="#b.track_y">two</a>'
    assert pages.linked(text, {"a.track_x"}) == '<a href="#a.track_x">one</a>, two'


def test_pages_show_what_has_results_and_name_milestones_as_tags() -> None:
    index = {"benchmarks": {"a": {}, "b": {}}, "revision_to_hash": {"7": HASH, "9": "f" * 40}, "tags": {"v1": 3}}
    known = [history.Milestone(HASH, "Sinkhorn"), history.Milestone("e" * 40, "not measured")]
    told = pages.told(index, {"a"}, known)
    assert told["benchmarks"] == {"a": {}}
    assert told["tags"] == {"v1": 3, "Sinkhorn": 7}


def test_pages_load_copies_of_their_scripts(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "modules" / pages.ASSETS["jquery.flot.min.js"]
    target.parent.mkdir(parents=True)
    target.write_text("flot")
    page = tmp_path / "index.html"
    page.write_text('<script src="https://elsewhere/0.8/jquery.flot.min.js" integrity="sha512-x" async></script>')
    pages.localise(tmp_path, tmp_path / "modules")
    assert page.read_text() == '<script src="vendor/jquery.flot.js" async></script>'
    assert (tmp_path / "vendor" / "jquery.flot.js").read_text() == "flot"
    page.write_text('<script src="https://elsewhere/new.js"></script>')
    with pytest.raises(ValueError, match=r"ask for new\.js"):
        pages.localise(tmp_path, tmp_path / "modules")


# ---------------------------------------------------------------------------------------------------------------------
# Milestones


def test_milestones_are_a_hash_and_a_name_a_line(tmp_path: pathlib.Path) -> None:
    listed = tmp_path / "milestones.txt"
    listed.write_text(f"# why\n\n{HASH}  Linear systems\n")
    assert history.milestones(listed) == [history.Milestone(HASH, "Linear systems")]
    listed.write_text(f"# why\n{HASH[:8]}  Linear systems\n")
    with pytest.raises(ValueError, match=r"milestones\.txt, line 2: expected a hash of 40 digits and a name"):
        history.milestones(listed)


def test_milestones_are_commits_in_order() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    if git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("a shallow clone has no history")
    commits = [milestone.commit for milestone in history.milestones()]
    for earlier, later in zip(commits, [*commits[1:], "HEAD"], strict=True):
        git("merge-base", "--is-ancestor", earlier, later)


def test_history_refuses_a_milestone_that_is_not_there() -> None:
    with pytest.raises(BenchError, match="the milestones are Sinkhorn, "):
        history.history(names=["Nothing"])
