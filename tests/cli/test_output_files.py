"""The file of `-o`: replaced as a whole, but never something that is no file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.cli.output import replaced, write_to
from orchestrator.errors import UserError


def write_half(path: str) -> None:
    with replaced(path) as file:
        file.write(b"half")
        raise KeyError


def test_a_file_is_replaced_only_once_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    with pytest.raises(KeyError):
        write_half(str(path))
    assert (os.listdir(tmp_path), path.read_text()) == (["out"], "before")
    write_to(str(path), [b"all ", b"of it"])
    assert path.read_text() == "all of it"


def test_what_is_no_regular_file_is_written_and_stays_what_it_is(tmp_path: Path) -> None:
    """As root, /dev/null would become a file for everybody."""
    fifo, target, link = tmp_path / "fifo", tmp_path / "target", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to(target)
    target.write_text("longer than what comes")
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        for path in (fifo, link):
            write_to(str(path), [b"data"])
        assert os.read(reader, 10) == b"data"
    finally:
        os.close(reader)
    assert (stat.S_ISFIFO(fifo.lstat().st_mode), link.is_symlink(), target.read_text()) == (True, True, "data")


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "out"):
        with pytest.raises(UserError, match="cannot be written"):
            write_to(str(path), [b"data"])
