"""A run whose copy of the jobs file is lost, or whose folder was renamed: what is recorded is told, and a way out is named."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from drivers.recorded_runs import RUN, lay_out

from orchestrator.cli.entry import main
from orchestrator.workers.faultpoints import arm
from orchestrator.workers.files import copying

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """A command line in this process, in the project of a recorded run: its exit code, what it printed and what it said."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    lay_out("6-bare-commits/interrupted", tmp_path)
    assert home.parent == tmp_path

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path / "project")
        capfd.readouterr()
        code = main(list(words))
        told = capfd.readouterr()
        return code, told.out, told.err

    return call


def gone(path: Path) -> None:
    path.unlink()


def not_utf8(path: Path) -> None:
    path.write_bytes(b"[jobs.work]\nshell = 'caf\xe9'\n")


def not_toml(path: Path) -> None:
    path.write_bytes(b"\x7fELF\n")


def of_another_run(path: Path) -> None:
    path.write_text("[jobs.other]\nshell = 'echo other'\n")


def in_another_order(path: Path) -> None:
    path.write_text("[jobs.report]\nshell = 'true'\n[jobs.work]\nfor_each = ['a']\nshell = 'true'\n")


LOSSES = [gone, not_utf8, not_toml, of_another_run, in_another_order]


@pytest.mark.parametrize("lose", LOSSES)
def test_a_run_without_its_jobs_file_is_told_by_its_records(lose: Callable[[Path], None], home: Path, cli: Cli) -> None:
    before = {words: cli(*words, RUN)[1] for words in [("status",), ("results",), ("list",)] if words != ("list",)}
    listed = cli("list")[1]
    path = home / "runs" / RUN / "jobs.toml"
    lose(path)
    assert cli("list") == (0, listed, "")
    for words in [("status", RUN), ("results", RUN), ("results", RUN, "--json"), ("why", RUN, "work:0"), ("logs", RUN, "work:0")]:
        code, printed, said = cli(*words)
        assert code == 0, said
        assert said.count("\n") == 1, said
        assert said.startswith(f"note: {path}: the run's own copy cannot be read: "), said
        assert printed == before.get(words[:1], printed) or words[-1] == "--json"
    assert json.loads(cli("results", RUN, "--json")[1])[0]["output"] == "did a"


@pytest.mark.parametrize("lose", LOSSES)
def test_what_would_go_on_by_the_file_says_in_two_lines_what_to_do(lose: Callable[[Path], None], home: Path, cli: Cli) -> None:
    run = home / "runs" / RUN
    lose(run / "jobs.toml")
    before = [(run / name).read_bytes() for name in ("checkpoint.json", "journal-1.jsonl")]
    for words in [("resume", RUN), ("cancel", RUN), ("retry", RUN, "work:0"), ("exec", RUN, "work:0")]:
        code, _, said = cli(*words)
        assert code == 2, said
        first, second = said.splitlines()
        assert first.startswith(f"orchestrate: {run}/jobs.toml: the run's own copy cannot be read: ")
        assert second.startswith("  put it back as it was, or take ")
    assert [(run / name).read_bytes() for name in ("checkpoint.json", "journal-1.jsonl")] == before


def with_another_letter(path: Path) -> None:
    """Still a file without mistakes, by which another command would run."""
    path.write_text(path.read_text().replace("ok", "oj"))


@pytest.mark.parametrize(
    ("name", "lose"), [("jobs.toml", gone), ("jobs.toml", with_another_letter), ("config.toml", with_another_letter)]
)
def test_an_update_gives_the_run_its_files_again(
    name: str, lose: Callable[[Path], None], home: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "orchestrate").mkdir()
    (tmp_path / "orchestrate" / "config.toml").write_text("[defaults]\nenv = { FILE = 'ok' }\n")
    project = tmp_path / "project"
    script = "echo {{ item }} >> own.txt; test {{ item }} = a || test -e $FILE # ok"
    (project / "own.toml").write_text(f"[run]\nslots = 1\n[jobs.go]\nfor_each = ['a', 'b']\nshell = '{script}'\n")
    assert cli("run", "own.toml", "--run-id", "own")[0] == 1
    (project / "ok").touch()
    lose(home / "runs" / "own" / name)
    code, _, said = cli("resume", "own")
    assert (code, "orchestrate resume own --update" in said) == (2, True), said
    code, _, said = cli("resume", "own", "--update")
    assert code == 0, said
    assert (project / "own.txt").read_text().split() == ["a", "b", "b"], "what had succeeded did not run again"
    assert cli("results", "own")[2] == ""
    [newest, *_] = sorted((home / "runs" / "own").glob("jobs*.toml"))
    for path in (newest, home / "runs" / "own" / "config.toml"):
        gone(path)
        assert f"{path}: the run's own copy cannot be read: " in cli("resume", "own")[2]


def test_a_run_folder_that_was_renamed_is_one_line_among_the_others(home: Path, cli: Cli) -> None:
    shutil.copytree(home / "runs" / RUN, home / "runs" / "copy-1")
    (home / "runs" / RUN).rename(home / "runs" / "not a run's name")
    shutil.copytree(home / "runs" / "copy-1", home / "runs" / "x" / "y")
    (home / "runs" / "file").touch()
    (home / "runs" / "loop").symlink_to("loop")
    code, printed, said = cli("list")
    assert code == 0, said
    assert len(printed.splitlines()) == 4, printed
    assert printed.count("unreadable") == 3, printed
    for words in [("doctor",), ("prune", "--older-than", "1d", "--dry-run"), ("status", "copy-1"), ("wait", "copy-1"), ("cost",)]:
        code, _, said = cli(*words)
        assert "internal error" not in said, said
        assert code in (0, 1, 2, 130), said


def test_a_cut_end_of_the_journal_is_told_and_lost_folders_are_made_again(home: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "project" / "own.toml").write_text("[jobs.go]\nshell = 'test -e ok'\n")
    assert cli("run", "own.toml", "--run-id", "own")[0] == 1
    (tmp_path / "project" / "ok").touch()
    run = home / "runs" / "own"
    for folder in ("slots", "workers", "outputs"):
        shutil.rmtree(run / folder)
    [journal] = run.glob("journal-*.jsonl")
    assert cli("set", "own", "slots=1")[0] == 0
    whole = journal.read_bytes()
    last = whole.rindex(b'{"type":"commit"')
    journal.write_bytes(whole[: last - 2] + b"x" + whole[last - 1 :])
    code, _, said = cli("resume", "own")
    assert code == 0, said
    assert "the last group of the journal was damaged and is cut off" in said
    assert any(path.name in said for path in run.glob("journal-*.torn-*"))


def test_a_run_that_has_lost_its_checkpoint_is_told_by_all_commands_and_goes_with_its_age(
    home: Path, tmp_path: Path, cli: Cli
) -> None:
    (home / "runs" / RUN / "checkpoint.json").unlink()
    (tmp_path / "project" / "own.toml").write_text("[jobs.work]\nshell = 'true'\n")
    calls = ["status @", "why @ work:0", "results @", "logs @ work:0", "resume @", "cancel @", "retry @ work:0", "wait @"]
    calls += ["run own.toml --run-id @", "run own.toml --run-id @ --resume", "doctor --salvage @", "status"]
    for call in calls:
        code, printed, said = cli(*call.replace("@", RUN).split())
        assert (code, printed) == (2, ""), (call, printed, said)
        first, second = said.splitlines()
        assert first.endswith("checkpoint.json: missing, and the folder holds records of a run"), (call, said)
        assert second.startswith("  put it back: "), (call, said)
    assert f"{RUN}  unreadable" in cli("list")[1]
    for words in (["1d"], ["0s", "--keep-failed"], ["0s", "--dry-run"]):
        assert cli("prune", "--older-than", *words)[0] == 0
        assert (home / "runs" / RUN).exists()
    assert f"removed {RUN} (without a checkpoint, " in cli("prune", "--older-than", "0s")[1]
    assert not (home / "runs" / RUN).exists()


def test_what_a_killed_prune_has_left_is_no_run_and_goes_with_the_next_whatever_its_age(
    home: Path, tmp_path: Path, cli: Cli
) -> None:
    arm("prune.marked:1:EIO")
    assert cli("prune", "--older-than", "0s")[0] == 74
    arm(None)
    (tmp_path / "project" / "own.toml").write_text("[jobs.work]\nshell = 'true'\n")
    assert "there are no runs yet" in cli("status")[2]
    assert "only half removed" in cli("run", "own.toml", "--run-id", RUN)[2]
    assert f"removed {RUN} (half removed, " in cli("prune", "--older-than", "1d")[1]
    assert not (home / "runs" / RUN).exists()


def test_a_file_that_may_not_be_removed_leaves_its_run_and_holds_up_no_other(
    home: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project" / "own.toml").write_text("[jobs.work]\nfor_each = []\nshell = 'true'\n")
    assert cli("run", "own.toml", "--run-id", "older")[0] == 0
    really = copying.remove_folder

    def refused(path: str) -> None:
        if RUN in path:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), f"{path}/theirs")
        really(path)

    monkeypatch.setattr(copying, "remove_folder", refused)
    code, said, noted = cli("prune", "--older-than", "0s")
    assert (code, "removed older (" in said) == (74, True)
    assert f"note: {RUN} is left: {home}/runs/{RUN}/" in noted
    assert "/theirs cannot be removed: Operation not permitted; remove it by hand, then prune again" in noted
    monkeypatch.setattr(copying, "remove_folder", really)
    assert f"removed {RUN} (half removed, " in cli("prune", "--older-than", "1d")[1]


@pytest.mark.parametrize("lose", [gone, of_another_run])
def test_a_run_without_a_list_of_items_is_told_but_for_its_values(lose: Callable[[Path], None], home: Path, cli: Cli) -> None:
    path = home / "runs" / RUN / "items" / "work.jsonl"
    assert cli("doctor", "--salvage", RUN)[:2] == (0, f"run {RUN} can be read: nothing is to be salvaged\n")
    lose(path)
    told = json.loads(cli("results", RUN, "--json")[1])
    assert [each["value"] for each in told] == [None] * 6
    assert told[0]["output"] == "did a"
    assert told[0]["error"].startswith(f"{path}: ")
    assert cli("status", RUN)[0] == 0
    assert cli("logs", RUN)[0] == 0
    code, printed, _ = cli("doctor", "--salvage", RUN)
    assert code == 1
    assert f"  lost: the list of job work: {path}: " in printed
    assert printed.splitlines()[-1] == (f"this lists the items anew and keeps what succeeded: orchestrate resume {RUN} --update")
    assert json.loads(cli("doctor", "--salvage", RUN, "--json")[1])["damaged"] is True
