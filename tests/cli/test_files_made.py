"""`creates` through the command line: what is told as made was made by a success, and nothing that a failure made is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drivers.command_line import RunCli

JOBS = """
[defaults]
continue_on_error = true
retry = "0s"
[jobs.grows]
creates = "grown"
attempts = 2
shell = "echo line >> grown; test $(wc -l < grown) -eq 2"
[jobs.never]
creates = "never"
attempts = 2
shell = "echo {{ attempt.number }} > never; exit 1"
[jobs.convert]
creates = "film.mp4"
shell = "cat film.raw > {{ creates }} && rm film.raw; exit 1"
"""


TWICE = """
[jobs.pack]
for_each = { lines = "names" }
creates = "out/{{ item }}.gz"
shell = "mkdir -p out; echo {{ item }} > {{ creates }}"
"""


def results(run_cli: RunCli) -> dict[str, tuple[str, int, str | None]]:
    told = run_cli("results", "jobs.toml", "--json", "--fields", "item,status,attempts,error")
    assert told.returncode == 0, told.stderr
    return {each["item"]: (each["status"], each["attempts"], each["error"]) for each in json.loads(told.stdout)}


def test_a_failed_attempts_file_proves_nothing_and_is_lost_to_nobody(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "film.raw").write_text("an hour of it")
    told = run_cli("run", "jobs.toml")
    assert told.returncode == 1, told.stderr
    (kept,) = tmp_path.glob(".kept-1.*.mp4")
    assert kept.read_text() == "an hour of it"
    words = f"exit code 1 (what it had made is kept as {kept})"
    assert results(run_cli) == {
        "grows": ("succeeded", 2, None),
        "never": ("failed", 2, "exit code 1"),
        "convert": ("failed", 1, words),
    }
    assert f"FAILED convert: {words}" in told.stderr.splitlines()
    assert str(kept) in run_cli("why", "jobs.toml", "convert").stdout
    # A resume does not take the file for the work either, until a person has made it.
    assert run_cli("resume", "jobs.toml").returncode == 1
    assert results(run_cli)["never"] == ("failed", 4, "exit code 1")
    (tmp_path / "never").write_text("by hand")
    run_cli("resume", "jobs.toml")
    assert results(run_cli)["never"] == ("succeeded", 4, f"{tmp_path}/never exists")


def test_two_items_that_would_make_one_file_are_named_and_none_of_them_runs(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(TWICE)
    (tmp_path / "names").write_text("a\nb\n./a\n")
    words = "pack:0 and pack:2 would both make out/a.gz; name in it what tells them apart"
    planned = run_cli("plan", "jobs.toml")
    assert (planned.returncode, f"orchestrate: jobs.pack.creates: {words}" in planned.stderr) == (2, True)
    told = run_cli("run", "jobs.toml")
    assert (told.returncode, f"FAILED pack: creates: {words}" in told.stderr) == (1, True)
    assert not (tmp_path / "out").exists()
    # The list that failed does not stand: a resume makes it anew.
    (tmp_path / "names").write_text("a\nb\n")
    again = run_cli("resume", "jobs.toml")
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.gz", "b.gz"]


@pytest.mark.slow
@pytest.mark.parametrize(("writes", "begins"), [("{{ creates }}", 1), ("made", 4)], ids=["by the temporary name", "by its name"])
def test_a_worker_killed_before_it_could_tell_leaves_a_file_that_counts_only_if_it_came_by_the_rename(
    run_cli: RunCli, tmp_path: Path, writes: str, begins: int
) -> None:
    (tmp_path / "jobs.toml").write_text(
        f'[run]\nslots = 1\n[jobs.go]\ncreates = "made"\nshell = "echo began >> witness; echo whole > {writes}"\n'
    )
    # The lines of a worker are: begun, spawned, ended. The file stands by then. Three workers in a row are killed so.
    told = run_cli("run", "jobs.toml", "--progress", "lines", env={"ORCHESTRATE_WORKER_FAULT": "worker.log.write:3"})
    assert told.returncode == (0 if begins == 1 else 1), told.stderr
    assert run_cli("resume", "jobs.toml").returncode == 0
    assert (tmp_path / "witness").read_text() == "began\n" * begins
    assert (tmp_path / "made").read_text() == "whole\n"
    assert (f"{tmp_path}/made exists" in told.stderr) is (begins == 1)
