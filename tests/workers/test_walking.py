"""Folders in folders, more levels of them than Python has calls and the kernel has room for in a path."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.workers.files.copying import bytes_on_disk, copy_folder, keep_files, remove_folder
from orchestrator.workers.files.creates import fingerprint
from orchestrator.workers.files.patterns import matches
from orchestrator.workers.files.walking import remove_levels, walk

LEVELS = 200


def make_levels(folder: Path, levels: int, name: str = "d") -> None:
    folder.mkdir()
    at = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=at))
    os.close(at)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "deep"
    # pytest cannot.
    subprocess.run(["rm", "-rf", *(str(tmp_path / name) for name in ("deep", "copy", "d"))], check=True)


@pytest.fixture
def few_calls() -> Iterator[None]:
    """Python has room for fewer calls than there are levels."""
    limit, frame, depth = sys.getrecursionlimit(), sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    sys.setrecursionlimit(depth + LEVELS // 2)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.usefixtures("few_calls")
def test_folders_that_lie_deep_in_each_other_are_gone_through_and_removed(deep: Path, tmp_path: Path) -> None:
    make_levels(deep, LEVELS)
    path, folder = f"{'d/' * LEVELS}leaf", str(deep)
    before = fingerprint(folder)
    assert matches(["**/leaf"], folder) == [path]
    assert keep_files(["d"], folder, str(tmp_path), 0) == ([f"{tmp_path}/{path}"], [])
    assert fingerprint(folder) == before
    assert bytes_on_disk(folder) == 0
    with pytest.raises(OSError, match="folders lie too deep in each other to be copied"):
        copy_folder(folder, str(tmp_path / "copy"))
    remove_folder(folder)
    assert not deep.exists()


def test_what_has_a_longer_path_than_the_kernel_takes_is_removed(deep: Path) -> None:
    make_levels(deep, 20, "d" * 250)
    (deep / "0").mkdir()
    (deep / "0" / "link").symlink_to(deep.parent)
    (deep / "0").chmod(0)
    remove_levels(str(deep))
    assert not deep.exists()
    assert deep.parent.exists()


def test_a_walk_is_that_of_os_walk(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/d", "e"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "nowhere").symlink_to("missing")
    os.mkfifo(tmp_path / "fifo")
    assert stat.S_ISFIFO(os.lstat(tmp_path / "fifo").st_mode)
    both = [[(here, set(below), set(names)) for here, below, names in way(str(tmp_path))] for way in (walk, os.walk)]
    assert both[0] == both[1]
