"""Files that the user names: whatever stands there, nobody waits for ever, and no memory is filled."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from orchestrator.system import named_files
from orchestrator.system.named_files import open_named, read_named


def test_what_never_ends_is_refused_in_words_and_what_ends_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"abc")
    refusals = {"pipe": "nobody writes to it", "/dev/zero": "a device", "/dev/urandom": "a device", ".": "Is a directory"}
    for name, words in refusals.items():
        with pytest.raises(OSError, match=words):
            open_named(tmp_path / name)
    assert (read_named(tmp_path / "file"), read_named("/dev/null")) == (b"abc", b"")


def test_a_small_file_is_read_where_there_is_no_memory_for_a_large_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    tracemalloc.start()
    try:
        assert read_named(tmp_path / "file") == b"abc"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_larger_than_what_is_read_whole_is_refused_also_through_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_files, "LARGEST_BYTES", 1000)
    (tmp_path / "file").write_bytes(bytes(1001))
    reading, writing = os.pipe()
    try:
        os.write(writing, bytes(1001))
        for path in (tmp_path / "file", f"/dev/fd/{reading}"):
            with pytest.raises(OSError, match="it is larger than"):
                read_named(path)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_pipe_or_a_terminal_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent may keep it open, and whoever supervises its run would hear of nothing else."""
    monkeypatch.setattr(named_files, "_PATIENCE_SECONDS", 0.0)
    os.mkfifo(tmp_path / "pipe")
    ends = [os.open(tmp_path / "pipe", os.O_RDWR), *os.openpty()]
    (tmp_path / "terminal").symlink_to(os.ttyname(ends[-1]))
    try:
        os.write(ends[0], b"half of it")
        for name, words in {"pipe": "has not written all of it", "terminal": "it is a device"}.items():
            with pytest.raises(OSError, match=words):
                read_named(tmp_path / name)
        # By its own path it is meant.
        open_named(os.ttyname(ends[-1])).close()
        assert not named_files.is_of_devices("/dev/shm/pipe"), "below it lie ordinary folders"
    finally:
        for end in ends:
            os.close(end)
