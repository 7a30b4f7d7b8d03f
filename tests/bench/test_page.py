"""The page of the benchmarks: what stands on it, what it is made of, and that no other page tells a figure of its own."""

from __future__ import annotations

import re
import time
from pathlib import Path
from xml.etree import ElementTree

import contest
import pytest
from contest import Contest, Outcome, Spread, Standing
from contestants import Contestant, Size
from findings import Findings
from goals import goals
from idling import IdleAgents
from many_runs import ManyRuns
from meter import Reading
from picture import curves, draw
from recorded import record_run
from report import Sitting, render
from scaling import Commands, Scale
from starts import CHILD, NESTED, ONE, VERSION, Gaps, StartUp

from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.store.kept_summary import kept_summary
from orchestrator.store.load import load_run
from orchestrator.store.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"


def one(value: float) -> Spread:
    return Spread.of([value])


def standing(name: str, ratio: float) -> Standing:
    return Standing(name, one(ratio), one(ratio), one(ratio), one(ratio))


def whole_findings() -> Findings:
    sizes = [Size(10, 2, 3), Size(1_000, 16, 3), Size(10_000, 2, 3), Size(10_000, 16, 3)]
    standings = [standing("xargs", 1.0), standing("orchestrate", 1.25), standing("parallel", 6.0)]
    return Findings(
        [Contestant(name, "runs", lambda _folder, _count, _slots: []) for name in ("xargs", "orchestrate", "parallel", "ninja")],
        {size: Outcome(standings, 3, 1, 0.1 if size.slots == 2 else 0.2) for size in sizes},
        {"ninja": "ninja is not installed"},
        [Scale(count, 10_000, 1.25, 600.0, 0.5, 50 << 20, 1.0) for count in (10_000, 1_000_000)],
        Commands(1_000_000, {"status": 0.2, "list": 0.1, "resume": 0.6, "results": 9.0}, 300_000_000),
        [StartUp(name, 100.0, 90.0, 0.9, 0.9) for name in (VERSION, ONE, NESTED, CHILD)],
        Gaps(1_000, 0.3, 1.0, 1.2, 3.0, 1.1, 2.0),
        IdleAgents(64, 20.0, 66, 0.5, 4.0),
        ManyRuns(1_000, 0.1, 1.0, 1.0),
        failed={"chains": "it broke"},
    )


def test_the_page_says_what_is_reached_and_what_stayed_noisy_or_was_not_measured() -> None:
    found = whole_findings()
    page = render(found, Sitting("1 May", "abc", "ext4", 0.1, 1.9, 11.0))
    told = dict(re.findall(r"^\| (.+) \| [^|]+ \| [^|]+ \| (yes|no) \|$", page, re.MULTILINE))
    assert list(told) == [goal.what for goal in goals(found)]
    assert len(told) == 29
    assert [what for what, reached in told.items() if reached == "no"] == ["`resume` of a finished run of 1,000,000, s"]
    assert page.count("stayed noisy") == 2
    for words in ("1 May", "commit abc", "before: 0.1; after: 1.9", "ninja is not installed", "**chains**: it broke"):
        assert words in page


def test_the_picture_has_a_line_and_a_bar_for_each_and_ours_goes_to_a_million() -> None:
    found = whole_findings()
    assert [count for count, _ in curves(found)["orchestrate"]] == [10, 10_000, 1_000_000]
    tags = [each.tag.rpartition("}")[2] for each in ElementTree.fromstring(draw(found)).iter()]
    assert tags.count("polyline") == 3
    assert tags.count("rect") == 1 + 2 * 3
    assert ElementTree.fromstring(draw(Findings())).attrib["viewBox"]


def test_a_noisy_round_is_measured_again_and_who_fails_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    floor = iter([1.0, 1.5, 1.0, 1.05])

    def measured(argv: list[str], _folder: Path) -> Reading:
        if argv == ["bad"]:
            raise contest.BenchError("exit code 1 of bad\nand more")
        seconds = next(floor) if argv == ["floor"] else 2.0
        return Reading(0, seconds, seconds, seconds, 0, 0)

    monkeypatch.setattr(contest, "measured", measured)
    entrants = [
        Contestant(name, "", lambda _folder, _count, _slots, name=name: [name])  # type: ignore[misc]
        for name in ("floor", "xargs", "bad")
    ]
    size = Size(1_000, 2, 3)
    held = Contest([size], entrants, tmp_path)
    held.hold()
    assert held.outcomes()[size].is_noisy
    held.repeat_noisy(time.monotonic() + 60)
    outcome = held.outcomes()[size]
    assert (outcome.repeated, outcome.is_noisy) == (1, False)
    assert [each.name for each in outcome.standings] == ["floor", "xargs"]
    assert held.failed == {"bad": "exit code 1 of bad"}


@pytest.mark.parametrize(("done", "status"), [(12, "completed"), (8, "interrupted")])
def test_a_run_that_the_bench_records_is_a_run_as_any_other(done: int, status: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    jobs_file = tmp_path / "jobs.toml"
    jobs_file.write_text('[jobs.noop]\nfor_each = { lines = "items.txt" }\ncommand = ["{{ item }}"]\n')
    record_run(home, "bench", jobs_file, ["true"] * 12, done)
    run_dir = RunDir.of(home, "bench")
    summary = run_summary(RunReader(run_dir, load_run(run_dir).history, alive=False))
    assert (summary["status"], summary["counts"]["succeeded"]) == (status, done)
    assert (kept_summary(run_dir) is not None) == (status == "completed")


UNIT = (
    r"(?:ms|µs) of CPU|(?:ms|µs|s|seconds?) an? (?:item|job|run|start)|% of a core|times (?:as fast|faster|slower|dearer|cheaper)"
    r"|(?:items|jobs|runs|starts) (?:a|per) second|[\u00d7÷] ?(?:xargs|make|ninja|GNU parallel|bare Python)"
)
FIGURE = re.compile(rf"(\d[\d.,]*)\s?(?:{UNIT})")


def test_no_page_tells_how_fast_it_is_but_by_the_figures_of_the_benchmarks() -> None:
    """Where it fails: leave the figure out and link to docs/benchmarks.md, which `make bench` writes."""
    assert FIGURE.findall("1.4 \u00d7 xargs, 0.3 ms an item, 5 % of a core, 3 times faster, 900 items a second") == [
        *("1.4", "0.3", "5", "3", "900")
    ]
    page = PAGE.read_text("utf-8") if PAGE.exists() else ""
    measured = set(re.findall(r"\d[\d.,]*\d|\d", page))
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
        for match in FIGURE.finditer(path.read_text("utf-8"))
        if path != PAGE and match[1].rstrip(".,") not in measured
    ]
    assert found == []
