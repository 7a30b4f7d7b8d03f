"""The lines of stdin that `each` takes for items: what they are, and how much of them is in memory."""

from __future__ import annotations

import io
import itertools
import os
from typing import BinaryIO, cast

import pytest
from drivers.sweeps import examples
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import each_lines
from orchestrator.cli.each_lines import item_lines
from orchestrator.errors import UserError
from orchestrator.workers.byte_text import lines_of


def told(data: bytes) -> tuple[list[str], list[str]]:
    """The items of that stdin, and the notes."""
    notes: list[str] = []
    return list(item_lines(io.BytesIO(data), notes.append)), notes


@examples(200)
@given(st.lists(st.sampled_from([b"\xef\xbb\xbf", b"a", b"\xff", b"\r", b"\n", b"\r\n"]), max_size=8).map(b"".join))
def test_items_are_the_lines_of_the_whole(data: bytes) -> None:
    assert told(data)[0] == lines_of(data)


def test_only_what_is_taken_away_is_told() -> None:
    assert told(b"a\r\nb\n") == (["a\r", "b"], [])
    assert [len(told(data)[1]) for data in (b"", b"\xef\xbb\xbf", b"a\nb\r\n", b"a\r\nb", b"\xef\xbb\xbfa\n")] == [0, 0, 0, 1, 1]


class Endless:
    """A stdin that never ends, and tells how much of it was read."""

    def __init__(self, line: bytes) -> None:
        self._line = line
        self.read = 0

    def readline(self) -> bytes:
        self.read += 1
        return self._line


def test_a_line_is_an_item_before_the_next_one_is_read() -> None:
    stream = Endless(b"a\n")
    assert list(itertools.islice(item_lines(cast("BinaryIO", stream), print), 5)) == ["a"] * 5
    assert stream.read == 5


def test_lines_that_end_in_crlf_are_held_in_a_file_and_a_folder_without_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(each_lines, "MOST_HELD_BYTES", 100)
    assert told(b"line\r\n" * 100)[0] == ["line"] * 100
    monkeypatch.setattr(each_lines.tempfile, "TemporaryFile", lambda **_: os.fdopen(os.open("/dev/full", os.O_RDWR), "w+b", 0))
    monkeypatch.setattr(each_lines.tempfile, "tempdir", "/full")
    with pytest.raises(UserError, match="no room in /full for the lines of stdin: No space left on device"):
        next(item_lines(cast("BinaryIO", Endless(b"line\r\n")), print))
