"""What another run's item came to stays whole when that run is pruned: each file that its outcome names is kept."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from orchestrator.store import captures
from orchestrator.store.captures import keep_capture, read_capture
from orchestrator.store.kept_outcome import keep_outcome
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.protocol import AgentReport, AttemptClass, Capture, Outcome, WorkspaceReport

LARGE = 5000


def capture(folder: Path, name: str) -> Capture:
    """A stream that is too large for the record."""
    path, data = folder / f"0-1.{name}", name[0].encode() * LARGE
    path.write_bytes(data)
    return Capture(size=LARGE, path=str(path), sha256=hashlib.sha256(data).hexdigest())


def outcome_in(folder: Path) -> Outcome:
    artifact = folder / "0-1.files" / "out" / "a.json"
    artifact.parent.mkdir(parents=True)
    artifact.write_text("{}")
    return Outcome(
        attempt_class=AttemptClass.CHECK_FAILED,
        started_at=0.0,
        finished_at=1.0,
        duration_seconds=1.0,
        stdout=capture(folder, "stdout"),
        stderr=capture(folder, "err"),
        check=capture(folder, "check"),
        agent=AgentReport(agent="demo", text=capture(folder, "answer")),
        workspace=WorkspaceReport(
            kind="copy",
            path=str(folder / "work"),
            patch=capture(folder, "patch"),
            artifacts=[str(artifact)],
            artifacts_folder=str(folder / "0-1.files"),
        ),
    )


def test_all_that_an_outcome_names_is_kept_when_the_other_run_is_pruned(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", RunDir(tmp_path / "ours")
    theirs.mkdir()
    ours.path.mkdir()
    kept = keep_outcome(ours, "port", 3, outcome_in(theirs))
    shutil.rmtree(theirs)
    assert kept is not None
    assert kept.agent is not None
    assert kept.workspace is not None
    captures = (kept.stdout, kept.stderr, kept.check, kept.agent.text, kept.workspace.patch)
    assert [read_capture(each, ours)[:1] for each in captures] == [b"s", b"e", b"c", b"a", b"p"]
    (artifact,) = kept.workspace.artifacts
    assert Path(artifact).read_text() == "{}"
    assert Path(artifact).relative_to(kept.workspace.artifacts_folder) == Path("out/a.json")
    assert kept.workspace.path is None, "the folder itself goes with the run that has it"
    assert str(theirs) not in msgspec.json.encode(kept).decode()


@pytest.mark.parametrize("gone", ["0-1.stdout", "0-1.err", "0-1.check", "0-1.answer", "0-1.patch", "0-1.files/out/a.json"])
def test_an_outcome_of_which_a_part_is_gone_is_not_kept(tmp_path: Path, gone: str) -> None:
    outcome = outcome_in(tmp_path)
    (tmp_path / gone).unlink()
    (tmp_path / "ours").mkdir()
    assert keep_outcome(RunDir(tmp_path / "ours"), "port", 3, outcome) is None


def test_on_another_file_system_a_stream_is_copied_and_never_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(captures, "read_capture", None)
    target = tmp_path / "kept" / "stdout"
    kept = keep_capture(capture(tmp_path, "stdout"), RunDir(tmp_path), str(target))
    assert (kept.path, target.read_bytes()) == (str(target), b"s" * LARGE)
