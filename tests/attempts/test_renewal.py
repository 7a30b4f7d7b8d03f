"""Why an item with `creates` runs, run after run, as its files, its sources and its command become other ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.attempts.rendering import Prepared, Surroundings, render_attempt
from orchestrator.attempts.renewal import Renewals
from orchestrator.jobsfile.load import load_text
from orchestrator.workers.files.made_note import leave_note, remove_note

JOB = '[jobs.a]\ncreates = ["a.pdf", "a.log"]\nsources = ["a.md", "tex"]\nshell = "COMMAND"\n'


class Runs:
    """Runs of one job in `folder`, each with a memory of its own."""

    def __init__(self, folder: Path, keys: str) -> None:
        self.folder, self.keys = folder, keys
        self._home = folder / "home"

    def prepared(self, command: str) -> Prepared:
        text = JOB.replace("COMMAND", command) + self.keys
        (job,) = load_text(text, path="jobs.toml", folder=str(self.folder)).jobs
        return render_attempt(job, {}, Surroundings(folder=str(self.folder), temporary_suffix="run"))

    def run(self, command: str = "make", *, fails: bool = False) -> str:
        """Why the item runs, and then it does; "": it is done."""
        renewal = Renewals(self._home).look(self.prepared(command))
        if renewal.because and renewal.note is not None:
            remove_note(renewal.note)
        if renewal.because and not fails:
            for name in ("a.pdf", "a.log"):
                (self.folder / name).write_text("made")
            if renewal.note is not None:
                assert leave_note(renewal.note) == ""
        return renewal.because


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tex").mkdir()
    for name in ("a.md", "tex/style.tex"):
        (tmp_path / name).write_text("as it was")
    return tmp_path


def test_what_has_changed_is_made_anew_and_what_was_only_touched_is_not(folder: Path) -> None:
    runs = Runs(folder, 'creates_when = "changed"')
    assert [runs.run(), runs.run()] == ["a.pdf is missing", ""]
    os.utime(folder / "a.md", (1 << 32, 1 << 32))
    assert runs.run() == ""
    (folder / "a.md").write_text("as it is")
    os.utime(folder / "a.md", (5, 5))
    assert [runs.run(), runs.run()] == ["a.md has changed", ""]
    (folder / "tex" / "more.tex").touch()
    assert [runs.run(), runs.run()] == ["tex/more.tex is new", ""]
    (folder / "tex" / "more.tex").unlink()
    assert [runs.run(), runs.run()] == ["tex/more.tex is gone", ""]
    assert [runs.run("other"), runs.run("other")] == ["what it does has changed", ""]
    (folder / "a.log").unlink()
    assert [runs.run("other"), runs.run("other")] == ["a.log is missing", ""]


def test_after_a_failure_nobody_knows_what_the_files_were_made_of(folder: Path) -> None:
    runs = Runs(folder, 'creates_when = "changed"')
    runs.run()
    (folder / "a.md").write_text("other")
    assert runs.run(fails=True) == "a.md has changed"
    # Also with the sources that the files were made of: the failure may have left others.
    (folder / "a.md").write_text("as it was")
    assert [runs.run(), runs.run()] == ["it is not known what a.pdf was made of", ""]


def test_what_was_only_touched_is_read_once_and_then_known_by_its_new_time(folder: Path) -> None:
    runs = Runs(folder, 'creates_when = "changed"')
    for name in ("a.md", "tex/style.tex"):
        os.utime(folder / name, (5, 5))
    runs.run()
    os.utime(folder / "a.md", (7, 7))
    told = Renewals(folder / "home", is_told_only=True)
    assert told.look(runs.prepared("make")).because == ""
    note = next((folder / "home" / "made").rglob("*.json"))
    before = note.read_bytes()
    assert runs.run() == ""
    assert b"7000000000" in note.read_bytes()
    assert b"7000000000" not in before, "who is only told writes nothing"


@pytest.mark.parametrize(("keys", "because"), [("", "a.md is newer than a.log"), ('creates_when = "missing"', "")])
def test_as_make_does_it_times_count_and_of_several_files_the_oldest(folder: Path, keys: str, because: str) -> None:
    runs = Runs(folder, keys)
    assert runs.run() == "a.pdf is missing"
    os.utime(folder / "a.log", (6, 6))
    for name, at in (("a.md", 7), ("tex", 5)):
        os.utime(folder / name, (at, at))
    assert runs.run() == because
    assert not (folder / "home").exists()
