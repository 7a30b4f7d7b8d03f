"""Which sources an item has, and whether they have changed since its files were made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.attempts import sources as sources_module
from orchestrator.attempts.sources import SourceFiles, difference
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.store.made_of import Source


def write(folder: Path, **times: int) -> None:
    """`a__png=3`: the file `a.png` was changed at 3."""
    for name, at in times.items():
        path = folder / name.replace("__", ".")
        path.touch()
        os.utime(path, (at, at))


def newer(folder: Path, *sources: str) -> str | None:
    files = SourceFiles()
    found = files.newer([str(folder / "made")], files.paths(sources, str(folder), 0), str(folder))
    return None if found is None else found[0]


def read(files: SourceFiles, folder: Path, *paths: str, before: list[Source] | None = None) -> list[Source]:
    return files.read(files.paths(paths, str(folder), 0), str(folder), before or [])


def test_a_file_is_older_than_the_first_source_that_was_changed_later(tmp_path: Path) -> None:
    write(tmp_path, made=5, a__png=4, b__png=5, c__png=6, d__txt=9)
    assert newer(tmp_path, "a.png", "b.png") is None
    assert newer(tmp_path, "a.png", "c.png", "d.txt") == "c.png"
    assert newer(tmp_path, "*.png") == "c.png"
    assert newer(tmp_path, "*.gif") is None, "a pattern may match nothing"
    assert newer(tmp_path, str(tmp_path / "c.png")) == str(tmp_path / "c.png")


def test_of_several_files_the_oldest_counts(tmp_path: Path) -> None:
    write(tmp_path, one=5, two=3, a=4)
    made = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert SourceFiles().newer(made, ["a"], str(tmp_path)) == ("a", made[1])


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
    with pytest.raises(ItemRefused, match=r"sources: in/a\.png: No such file or directory"):
        read(SourceFiles(), tmp_path, "in/a.png")


def test_a_thousand_items_with_one_pattern_walk_its_folders_once_until_what_they_need_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = []
    walk = sources_module.matching_paths
    monkeypatch.setattr(sources_module, "matching_paths", lambda *asked: walked.append(asked) or walk(*asked))
    files = SourceFiles()
    (tmp_path / "a").touch()
    assert {tuple(files.paths(["**/*"], str(tmp_path), 0)) for _ in range(1000)} == {("a",)}
    (tmp_path / "b").touch()
    assert files.paths(["**/*"], str(tmp_path), 1) == ["a", "b"]
    assert len(walked) == 2


def test_a_folder_stands_for_what_is_in_it_and_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write(tmp_path, made=5)
    write(tmp_path / "in" / "deep", old=4, new=6)
    for folder in ("in/deep", "in"):
        os.utime(tmp_path / folder, (3, 3))
    assert [newer(tmp_path, source) for source in ("in", "i*", "in/**", "**/*")] == ["in/deep/new"] * 4
    files = SourceFiles()
    files.paths(["in"], str(tmp_path), 0)
    monkeypatch.setattr(sources_module, "matching_paths", None)
    assert [each.path for each in read(files, tmp_path, "in")] == ["in/deep/new", "in/deep/old"]


def test_what_goes_from_a_folder_while_it_is_looked_at_and_a_link_to_nothing_are_no_sources(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", a=4, b=6)
    write(tmp_path, made=5)
    os.utime(tmp_path / "in", (3, 3))
    (tmp_path / "in" / "link").symlink_to("nowhere")
    files = SourceFiles()
    paths = files.paths(["in", "in/*"], str(tmp_path), 0)
    (tmp_path / "in" / "b").unlink()
    os.utime(tmp_path / "in", (3, 3))
    assert files.newer([str(tmp_path / "made")], paths, str(tmp_path)) is None
    assert [each.path for each in files.read(paths, str(tmp_path), [])] == ["in/a"]


def test_contents_count_and_are_read_once_while_size_time_and_inode_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    digest = sources_module._digest
    monkeypatch.setattr(sources_module, "_digest", lambda place, path: opened.append(path) or digest(place, path))
    write(tmp_path, a=5)
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", b=6)
    before = read(SourceFiles(), tmp_path, "a", "sub")
    assert [each.path for each in before] == ["a", "sub/b"]
    opened.clear()
    assert read(SourceFiles(), tmp_path, "a", "sub", before=before) == before
    assert opened == []
    # Touched: it is read, and holds the same. Changed just now: its time is not trusted, and it is read each time.
    write(tmp_path, a=7)
    assert difference(before, read(SourceFiles(), tmp_path, "a", "sub", before=before)) == ""
    (tmp_path / "a").write_text("other")
    files = SourceFiles()
    assert [difference(before, read(files, tmp_path, "a", "sub", before=before)) for _ in range(2)] == ["a has changed"] * 2
    assert opened == ["a"] * 3
    (tmp_path / "a").unlink()
    (tmp_path / "sub" / "c").touch()
    assert difference(before, read(SourceFiles(), tmp_path, "sub")) == "sub/c is new"
    assert difference(before, before[1:]) == "a is gone"


def test_a_fifo_among_the_sources_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert [each.digest for each in read(SourceFiles(), tmp_path, "pipe")] == [""]
