"""State that this user may not look at, as after a `sudo orchestrate` or a `chown` too many: told in words by each command."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivers.recorded_runs import RUN, lay_out

from orchestrator.cli.entry import main

CLOSED_CALLS = ("stat", "lstat", "open", "listdir", "scandir")


def close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look into the folder, or read the file: root, who may run the tests, may look into each."""
    is_file = folder.is_file()

    def guarded(really: Callable[..., Any], *, is_listing: bool) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **named: Any) -> Any:
            told = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
            if told.startswith(f"{folder}/") or (told == str(folder) and (is_listing or is_file)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), told)
            return really(path, *arguments, **named)

        return call

    for name in CLOSED_CALLS:
        monkeypatch.setattr(os, name, guarded(getattr(os, name), is_listing=name in ("listdir", "scandir")))


COMMANDS = [
    ["list"],
    ["status", RUN],
    ["why", RUN, "work:0"],
    ["logs", RUN],
    ["results", RUN],
    ["tokens", "list"],
    ["cancel", RUN],
    ["flush", RUN],
    ["set", RUN, "slots=2"],
    ["retry", RUN, "work:0"],
    ["resume", RUN],
    ["doctor", "--salvage", RUN],
    ["prune", "--older-than", "0s", "--dry-run"],
]


@pytest.mark.parametrize("closed", [".", "runs", f"runs/{RUN}"])
def test_a_folder_of_the_state_that_may_not_be_entered_is_told_in_two_lines(
    closed: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each of these commands said that it has a bug."""
    lay_out("6-bare-commits/interrupted", tmp_path)
    # Open again before the home is looked through for bugs of ours.
    with monkeypatch.context() as patched:
        close(home / closed, patched)
        for words in COMMANDS:
            code = main(words)
            said = capfd.readouterr()
            assert code in (0, 2), (words, said.err)
            if RUN in words:
                assert code == 2, words
                assert "Permission denied" in said.err, words
                assert "exists already" not in said.err, words
                assert said.err.count("\n") <= 2, (words, said.err)


def test_a_home_below_a_folder_that_may_not_be_entered_is_not_taken_for_empty(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        close(home.parent, patched)
        for words in (["list"], ["agents"], ["doctor"], ["tokens", "list"], ["run", "jobs.toml"]):
            assert (words, main(words)) == (words, 2)
            assert f"{home}: cannot be entered: Permission denied\n" in capfd.readouterr().err


def test_the_output_of_an_item_that_may_not_be_read_is_told_in_a_note(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lay_out("6-bare-commits/interrupted", tmp_path)
    with monkeypatch.context() as patched:
        close(home / "runs" / RUN / "outputs", patched)
        assert main(["logs", RUN, "work:0"]) == 0
        assert "cannot be read: Permission denied" in capfd.readouterr().err


@pytest.mark.parametrize("closed", ["folder", "record"])
def test_a_token_that_may_not_be_looked_at_is_told_in_words(
    closed: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lay_out("2-tokens/tokens", tmp_path)
    key = min(path.stem for path in (home / "tokens").glob("*.json"))
    record = home / "tokens" / f"{key}.json"
    with monkeypatch.context() as patched:
        close(record if closed == "record" else record.parent, patched)
        listed = 2 if closed == "folder" else 0
        told = [main(words) for words in (["tokens", "list"], ["prune", "--older-than", "1d", "--dry-run"])]
        assert told == [listed, listed]
        said = capfd.readouterr()
        assert "cannot be read: Permission denied" in (said.err if listed else said.out)
        if closed == "folder":
            assert main(["tokens", "forget", key]) == 74
            assert "Permission denied" in capfd.readouterr().err
