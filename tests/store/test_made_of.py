"""Notes of what files were made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.store.made_of import MadeOf, encode_made_of, note_path, notes_of_gone_files


def noted(home: Path, *files: Path, at: float = 5.0) -> Path:
    path = note_path(home, map(str, files))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_made_of(MadeOf(work="w", sources=[], files=[str(file) for file in files])))
    os.utime(path, (at, at))
    return path


def test_a_note_is_forgotten_when_none_of_its_files_is_left_and_it_is_old(tmp_path: Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.touch()
    forgotten = {noted(tmp_path, gone), noted(tmp_path, there / "below" / "a file")}
    noted(tmp_path, there)
    noted(tmp_path, there, gone)
    noted(tmp_path, tmp_path / "young", at=7.0)
    noted(tmp_path)
    assert set(notes_of_gone_files(tmp_path, 6.0)) == forgotten


def test_a_file_in_a_folder_that_cannot_be_entered_may_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(tmp_path, tmp_path / "closed" / "file")

    def refused(path: str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "lstat", refused)
    assert not list(notes_of_gone_files(tmp_path, 6.0))
