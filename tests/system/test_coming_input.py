"""A stream that is read while it still comes."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator

import pytest

from orchestrator.system import coming_input
from orchestrator.system.coming_input import ComingInput


class Pipe:
    """A pipe, by whose end that is read a stream is made."""

    def __init__(self) -> None:
        fd, self.writer = os.pipe()
        self.stream = ComingInput(fd)
        self.lines = io.BufferedReader(self.stream)
        self.fd = fd

    def close(self) -> None:
        self.stream.release()
        os.close(self.fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_what_comes_to_its_end_is_read_ahead_whole(pipe: Pipe) -> None:
    os.write(pipe.writer, b"a\nb\n")
    os.close(pipe.writer)
    assert pipe.stream.read_ahead(30.0)
    assert pipe.lines.read() == b"a\nb\n"


def test_what_has_no_end_is_read_ahead_as_far_as_that_is_cheap(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coming_input, "MOST_AHEAD_BYTES", 4)
    os.write(pipe.writer, b"a\nb\n")
    assert not pipe.stream.read_ahead(30.0)
    os.write(pipe.writer, b"c\n")
    os.close(pipe.writer)
    assert pipe.lines.readlines() == [b"a\n", b"b\n", b"c\n"]


def test_what_has_not_come_yet_is_not_waited_for_longer_than_was_said(pipe: Pipe) -> None:
    assert not pipe.stream.read_ahead(0.0)
    os.close(pipe.writer)
    assert pipe.lines.readlines() == []


def test_a_wait_is_told_before_it_begins(pipe: Pipe) -> None:
    waits: list[int] = []

    def write_more() -> None:
        waits.append(1)
        if len(waits) == 1:
            os.write(pipe.writer, b"b\n")
        else:
            os.close(pipe.writer)

    pipe.stream.before_wait = write_more
    os.write(pipe.writer, b"a\n")
    assert [*pipe.lines] == [b"a\n", b"b\n"]
    assert len(waits) == 2


def test_a_reader_that_waits_comes_to_its_end_when_the_stream_is_let_go_of_and_the_writer_hears_of_it(pipe: Pipe) -> None:
    waits, read = threading.Event(), []
    pipe.stream.before_wait = waits.set
    reader = threading.Thread(target=lambda: read.append(pipe.lines.readline()))
    reader.start()
    assert waits.wait(30.0)
    pipe.stream.let_go()
    reader.join(30.0)
    assert read == [b""]
    pipe.stream.end_writer()
    with pytest.raises(BrokenPipeError):
        os.write(pipe.writer, b"more")
    os.close(pipe.writer)
