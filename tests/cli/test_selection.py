"""A part of a run through the command line: --only, --limit, and the rest of it later."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from drivers.command_line import RunCli

JOBS = """
[jobs.list]
command = ["printf", 'a\\nb\\nc\\nd\\ne\\n']
output = "lines"

[jobs.port]
for_each = "{{ jobs.list.output }}"
shell = "echo port-{{ item }} | tee -a ran"
max_failures = "20%"

[jobs.review]
for_each = { job = "port" }
label = "of {{ parent.output }}"
shell = "echo review-{{ item }} | tee -a ran"

[jobs.sum]
command = ["echo", "{{ jobs.review.outputs | select | join(' ') }}"]

[jobs.clean]
needs = ["sum"]
when = "always"
shell = "echo clean | tee -a ran"
"""


@pytest.fixture(autouse=True)
def jobs_file(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.toml"
    path.write_text(JOBS)
    return path


def ran(folder: Path) -> list[str]:
    """What has run since the last time, sorted: the order is not what these tests are about."""
    path = folder / "ran"
    words = sorted(path.read_text().split()) if path.exists() else []
    path.unlink(missing_ok=True)
    return words


def results(run_cli: RunCli, run: str = "jobs.toml") -> dict[str, tuple[str, str | None]]:
    told = run_cli("results", run, "--json", "--fields", "item,status,error")
    assert told.returncode == 0, told.stderr
    return {each["item"]: (each["status"], each["error"]) for each in json.loads(told.stdout)}


def test_one_item_of_a_chain_runs_with_what_it_needs_and_later_the_rest(run_cli: RunCli, tmp_path: Path) -> None:
    first = run_cli("run", "jobs.toml", "--run-id", "part", "--only", "review:3")
    assert first.returncode == 0, first.stderr
    assert ran(tmp_path) == ["port-d", "review-d"]
    assert "  3 of 13 items selected, 2 jobs left out (--only review:3); orchestrate resume part --all runs the rest" in (
        first.stderr.splitlines()
    )
    told = results(run_cli)
    assert told["port:3"] == ("succeeded", None)
    assert {told[item] for item in ("port:0", "review:4", "sum", "clean")} == {("skipped", "not selected (--only)")}
    assert run_cli("status").stdout.splitlines()[-1].startswith("3 of 13 items selected")

    # A resume keeps the selection: nothing is left to do. --all drops it, and what has run does not run again.
    assert run_cli("resume", "part").returncode == 0
    assert ran(tmp_path) == []
    rest = run_cli("resume", "part", "--all")
    assert rest.returncode == 0, rest.stderr
    assert "selected" not in rest.stderr
    assert ran(tmp_path) == sorted(["clean", *(f"{word}-{item}" for word in ("port", "review") for item in "abce")])
    assert {status for status, _ in results(run_cli).values()} == {"succeeded"}
    assert run_cli("logs", "part", "sum").stdout == "review-a review-b review-c review-d review-e\n"


def test_the_first_items_of_each_fan_out_and_then_others(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("run", "jobs.toml", "--limit", "2").returncode == 0
    assert ran(tmp_path) == ["clean", "port-a", "port-b", "review-a", "review-b"]
    assert json.loads(run_cli("status", "--json").stdout)["selection"] == {
        "only": [],
        "limit": 2,
        "items": 13,
        "selected": 7,
        "jobs_left_out": 0,
    }
    assert run_cli("logs", "jobs.toml", "sum").stdout == "review-a review-b\n"
    # Another selection takes the place of the first; what the first has run keeps its outcome.
    other = run_cli("resume", "--only", "port:[b-d]")
    assert other.returncode == 0, other.stderr
    assert ran(tmp_path) == ["port-c", "port-d"]
    told = results(run_cli)
    assert [told[f"port:{index}"][0] for index in range(5)] == ["succeeded"] * 4 + ["skipped"]
    assert told["review:0"] == ("succeeded", None)


def test_a_label_that_only_the_parents_output_tells_decides_when_the_item_starts(run_cli: RunCli, tmp_path: Path) -> None:
    told = run_cli("run", "jobs.toml", "--only", "review:of port-[bd]", "--only", "port:aa", "--only", "port:*")
    # Which items there are is known only once `list` has run, so only the end can tell that one that was asked for is missing.
    assert told.returncode == 2, told.stderr
    assert ran(tmp_path) == ["port-a", "port-b", "port-c", "port-d", "port-e", "review-b", "review-d"]
    words = "--only port:aa matches no item; did you mean port:a? (port has 5 items: a, b, c, d, e)"
    assert f"FAILED the run: {words}" in told.stderr.splitlines()
    assert results(run_cli)["review:0"] == ("skipped", "not selected (--only)")


@pytest.mark.slow
def test_a_failure_that_is_not_selected_stays_a_failure_and_what_was_selected_blocks_nothing(
    run_cli: RunCli, tmp_path: Path
) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.try]
for_each = ["a", "b", "c"]
shell = "echo {{ item }} >> ran; test {{ item }} != b -o -e mended"
continue_on_error = true
max_failures = "50%"
[jobs.after]
needs = ["try"]
shell = "echo after >> ran"
"""
    )
    # Half of what has run, or is to run, may fail: of two one, and of one none.
    assert run_cli("run", "jobs.toml", "--only", "try:[ab]", "--only", "after").returncode == 0
    assert run_cli("run", "jobs.toml", "--run-id", "r", "--only", "try:b").returncode == 1
    ran(tmp_path)
    (tmp_path / "mended").touch()
    other = run_cli("resume", "r", "--only", "try:c")
    assert other.returncode == 0, other.stderr
    assert ran(tmp_path) == ["c"]
    assert results(run_cli, "r")["try:1"] == ("failed", "exit code 1")
    # Nothing of `try` is selected that has not run, and that keeps nothing from running.
    assert run_cli("resume", "r", "--only", "try:b", "--only", "after").returncode == 0
    assert ran(tmp_path) == ["after", "b"]
    assert run_cli("run", "jobs.toml", "--only", "try:none", "--only", "after").returncode == 2
    assert ran(tmp_path) == []


def test_an_unfinished_run_goes_on_with_what_the_new_command_line_selects(run_cli: RunCli, tmp_path: Path) -> None:
    """A crontab line says all that is to be run: what an earlier line left out, or chose, does not count."""
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.go]
for_each = ["a", "b", "c"]
shell = "echo {{ item }} >> ran; test -e calm || kill -TERM $(cat pid)"
[jobs.last]
shell = "echo last >> ran"
"""
    )
    stop = ["sh", "-c", 'echo $$ > pid; exec "$@"', "sh"]
    argv = [*stop, sys.executable, "-m", "orchestrator", "run", "jobs.toml", "-j1", "--resume", "--limit", "2"]
    assert subprocess.run(argv, cwd=tmp_path, timeout=60, check=False, capture_output=True).returncode == 143
    assert ran(tmp_path) == ["a"]
    (tmp_path / "calm").touch()
    assert run_cli("run", "jobs.toml", "--resume").returncode == 0
    assert ran(tmp_path) == ["b", "c", "last"]
    assert len(json.loads(run_cli("list", "--json").stdout)) == 1


def test_mistakes_of_a_selection_are_told_before_anything_runs(run_cli: RunCli, home: Path) -> None:
    told = run_cli("run", "jobs.toml", "--only", "reveiw:3")
    assert (told.returncode, told.stderr.splitlines()) == (
        2,
        [
            "orchestrate: --only reveiw:3: no job is called so; did you mean review?",
            "  its jobs are: list, port, review, sum, clean; a pattern is JOB, JOB:INDEX or JOB:LABEL, also with * and ?",
        ],
    )
    assert run_cli("plan", "jobs.toml", "--only", "nope").returncode == 2
    assert run_cli("run", "jobs.toml", "--limit", "0").returncode == 2
    assert not list(home.glob("runs/*"))
    assert run_cli("run", "jobs.toml", "--limit", "1").returncode == 0
    assert run_cli("resume", "--only", "nope").returncode == 2
    both = run_cli("resume", "--all", "--limit", "2")
    assert (both.returncode, "--all cannot be given with --only or --limit" in both.stderr) == (2, True)


FILES = """
[jobs.build]
for_each = ["app/[id]/page.tsx", "app/i/page.tsx", "type"]
shell = "echo {{ item }} | tee -a ran"
"""


def test_a_pattern_that_matches_no_item_is_told_with_the_nearest_name_before_anything_runs(
    run_cli: RunCli, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "jobs.toml").write_text(FILES)
    words = [
        "orchestrate: --only build:typo matches no item; did you mean build:type?",
        "  build has 3 items: app/[id]/page.tsx, app/i/page.tsx, type",
    ]
    for command in ("run", "plan"):
        told = run_cli(command, "jobs.toml", "--only", "build:typo")
        assert (told.returncode, told.stderr.splitlines()) == (2, words)
    assert not list(home.glob("runs/*"))
    # The text of a label names its item alone, also where it could be read as a pattern for others.
    assert run_cli("run", "jobs.toml", "--only", "build:app/[id]/page.tsx").returncode == 0
    assert ran(tmp_path) == ["app/[id]/page.tsx"]
    told = run_cli("resume", "jobs.toml", "--only", "build:typo")
    assert (told.returncode, told.stderr.splitlines()) == (2, words)
    for command in ("logs", "cancel", "retry", "why"):
        told = run_cli(command, "jobs.toml", "build:typo")
        assert told.returncode == 2
        assert told.stderr.splitlines()[0].endswith("has no item 'build:typo'; did you mean build:type?"), command


def test_plan_shows_the_same_selection(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.port]
for_each = ["a", "b", "c"]
command = ["echo", "{{ item }}"]
[jobs.review]
for_each = { job = "port" }
command = ["echo", "{{ item }}"]
[jobs.sum]
needs = ["review"]
command = ["true"]
"""
    )
    assert run_cli("plan", "jobs.toml", "--only", "review:b").stdout.splitlines() == [
        "port  for each of 3 values",
        "  port:1 b",
        "    echo b",
        "  2 more, not selected",
        "review  follows port item by item",
        "  review:1 b",
        "    echo b",
        "  2 more, not selected",
        "sum  needs review",
        "  not selected",
    ]
    planned = json.loads(run_cli("plan", "jobs.toml", "--limit", "1", "--json").stdout)
    assert [(job["unselected"], [item["item"] for item in job["items"]]) for job in planned] == [
        (2, ["port:0"]),
        (2, ["review:0"]),
        (0, ["sum"]),
    ]


def test_each_takes_the_first_lines_and_the_rest_later(run_cli: RunCli) -> None:
    first = run_cli("each", "--run-id", "e", "--limit", "2", "--", "echo", stdin="a\nb\nc\n")
    assert (first.returncode, first.stdout) == (0, "a\nb\n"), first.stderr
    assert run_cli("resume", "e", "--all").returncode == 0
    assert run_cli("logs", "e", "each:2").stdout == "c\n"
