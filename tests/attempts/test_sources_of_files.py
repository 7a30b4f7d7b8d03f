"""Whether a file is older than what it is made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.attempts.sources import newer_source
from orchestrator.attempts.template_texts import ItemRefused


def write(folder: Path, **times: int) -> None:
    """`a__png=3`: the file `a.png` was changed at 3."""
    for name, at in times.items():
        path = folder / name.replace("__", ".")
        path.touch()
        os.utime(path, (at, at))


def newer(folder: Path, *sources: str) -> str | None:
    return newer_source([str(folder / "made")], sources, str(folder))


def test_a_file_is_older_than_the_first_source_that_was_changed_later(tmp_path: Path) -> None:
    write(tmp_path, made=5, a__png=4, b__png=5, c__png=6, d__txt=9)
    assert newer(tmp_path, "a.png", "b.png") is None
    assert newer(tmp_path, "a.png", "c.png", "d.txt") == "c.png"
    assert newer(tmp_path, "*.png") == "c.png"
    assert newer(tmp_path, "*.gif") is None, "a pattern may match nothing"
    assert newer(tmp_path, str(tmp_path / "c.png")) == str(tmp_path / "c.png")


def test_a_name_that_looks_like_a_pattern_is_the_file_that_is_called_so(tmp_path: Path) -> None:
    folder = tmp_path / "of[1]"
    folder.mkdir()
    write(folder, made=5, **{"a[1]__png": 4, "a1__png": 6})
    assert newer(folder, "a[1].png") is None
    (folder / "a[1].png").unlink()
    assert newer(folder, "a[1].png") == "a1.png"


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, made=5)
    with pytest.raises(ItemRefused, match=r"sources: in/a\.png: No such file or directory"):
        newer(tmp_path, "in/a.png")
