"""Which files a pattern names, whatever links there are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.workers.files.copying import keep_files
from orchestrator.workers.files.patterns import matches


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    for name in ("a/b/c.json", "a/d.json", "a/.h/e.json", "f.json", "-x y.json"):
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_text(name)
    outside.mkdir()
    for index in range(50):
        (outside / f"{index:02}.json").write_text("secret")
    (inside / "out").symlink_to(outside)
    for name in ("here", "there", "a/up"):
        (inside / name).symlink_to(inside)
    return inside


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("f.json", ["f.json"]),
        ("./a//d.json", ["a/d.json"]),
        ("*.json", ["-x y.json", "f.json"]),
        ("a", ["a"]),
        ("a/*.json", ["a/d.json"]),
        ("a/*/?.json", ["a/.h/e.json", "a/b/c.json", "a/up/f.json"]),
        ("**/[cde].json", ["a/.h/e.json", "a/b/c.json", "a/d.json"]),
        ("a/**/**/*.json", ["a/.h/e.json", "a/b/c.json", "a/d.json"]),
        ("a/b/**", ["a/b/c.json"]),
        ("here/a/b/*", ["here/a/b/c.json"]),
        ("f.json/*", []),
        ("missing/**", []),
    ],
)
def test_a_pattern_names_these_and_ends(folder: Path, pattern: str, found: list[str]) -> None:
    """Two links to their own folder lead to a thousand billion paths."""
    assert matches([pattern], str(folder), root=os.path.realpath(folder)) == found


def test_what_a_user_has_linked_may_be_elsewhere(folder: Path) -> None:
    assert matches(["out/0?.json"], str(folder)) == [f"out/0{index}.json" for index in range(10)]
    assert matches(["out/**/0?.json"], str(folder), root=os.path.realpath(folder)) == ["out"]


def test_a_folder_outside_is_one_note_and_notes_are_few(folder: Path, tmp_path: Path) -> None:
    for index in range(50):
        os.symlink(tmp_path / "outside" / f"{index:02}.json", folder / f"link{index:02}")
    kept, notes = keep_files(["out/**/*.json", "link*", "f.json"], str(folder), str(tmp_path / "kept"), 1 << 20)
    assert kept == [str(tmp_path / "kept" / "f.json")]
    assert notes[:2] == ["out leads out of the workspace", "link00 leads out of the workspace"]
    assert (len(notes), notes[-1]) == (21, "and 31 more")
