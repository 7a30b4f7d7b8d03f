"""The worker's log: whatever happens to the file, no line reads as something that was not written."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from orchestrator.workers import faultpoints
from orchestrator.workers.log import FORGET_ABOVE_BYTES, LogWriter, begin_log, encode_line, find_log, parse_log, read_log
from orchestrator.workers.protocol import AttemptClass, Begun, Capture, Ended, LogLine, Outcome, Spawned

OUTCOME = Outcome(
    attempt_class=AttemptClass.OK,
    started_at=1.5,
    finished_at=2.5,
    duration_seconds=1.0,
    exit_code=0,
    stdout=Capture(size=3, path="/o", inline=b"\0\n\xff"),
)
LINES: list[LogLine] = [
    Begun(sequence=7, boot_id="b", mark="run/7 \u00e4\n"),
    Spawned(sequence=7, pid=123, start_ticks=456),
    Ended(sequence=7, outcome=OUTCOME),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def write(path: Path, lines: list[LogLine]) -> None:
    writer = LogWriter(str(path))
    for line in lines:
        writer.append(line)
    writer.close()


def test_lines_come_back_as_they_were(path: Path) -> None:
    write(path, LINES)
    assert read_log(str(path)) == LINES
    assert path.read_bytes().count(b"\n") == 1 + len(LINES)


def test_a_hole_of_zeros_takes_one_line_and_no_memory(path: Path) -> None:
    """As a power cut leaves it, for no line is durable."""
    hole = 16 << 20
    write(path, LINES)
    with path.open("r+b") as file:
        file.seek(hole, os.SEEK_END)
        file.write(encode_line(LINES[0]) + encode_line(LINES[1]))
        file.truncate(file.tell() + hole)
    tracemalloc.start()
    assert read_log(str(path)) == [*LINES, LINES[1]]
    assert tracemalloc.get_traced_memory()[1] < hole // 8
    tracemalloc.stop()


def test_a_missing_log_has_no_lines(path: Path) -> None:
    assert read_log(str(path)) == []


def test_every_truncation_leaves_a_prefix() -> None:
    data = b"".join(encode_line(line) for line in LINES)
    ends = [len(b"".join(encode_line(line) for line in LINES[:count])) for count in range(len(LINES) + 1)]
    for length in range(len(data) + 1):
        assert parse_log(data[:length]) == LINES[: sum(end <= length for end in ends[1:])]


def test_every_damaged_byte_loses_lines_and_changes_none() -> None:
    data = b"".join(encode_line(line) for line in LINES)
    for place in range(len(data)):
        for value in {data[place] ^ 1, data[place] ^ 0x80, 0, 10, 32} - {data[place]}:
            read = parse_log(data[:place] + bytes([value]) + data[place + 1 :])
            assert len(read) < len(LINES)
            assert [line for line in LINES if line in read] == read


def test_a_line_of_a_kind_unknown_to_us_is_skipped(path: Path) -> None:
    import zlib

    body = b'{"type":"paused","sequence":1}'
    path.write_bytes(b"%b %08x\n" % (body, zlib.crc32(body)) + b" 00000000\n\n" + encode_line(LINES[0]))
    assert read_log(str(path)) == LINES[:1]


def test_a_line_after_a_failed_one_stands_apart(path: Path) -> None:
    writer = LogWriter(str(path))
    writer.append(LINES[0])
    faultpoints.arm("worker.log.write:1:ENOSPC")
    with pytest.raises(OSError, match="No space left"):
        writer.append(LINES[1])
    faultpoints.arm(None)
    with path.open("ab") as file:
        file.write(encode_line(LINES[1])[:10])  # what a short write leaves
    writer.append(LINES[2])
    writer.close()
    assert read_log(str(path)) == [LINES[0], LINES[2]]


def test_a_short_log_is_not_forgotten_and_a_long_one_is(path: Path) -> None:
    writer = LogWriter(str(path))
    writer.append(LINES[0])
    writer.forget()
    assert read_log(str(path)) == LINES[:1]
    while path.stat().st_size <= FORGET_ABOVE_BYTES:
        writer.append(LINES[2])
    writer.forget()
    assert find_log(str(path)) == []
    writer.append(LINES[1])
    writer.close()
    assert read_log(str(path)) == [LINES[1]]


def test_a_log_that_was_emptied_tells_nothing_until_it_is_written_to(path: Path) -> None:
    begin_log(str(path))
    assert find_log(str(path)) == []
    writer = LogWriter(str(path))
    while path.stat().st_size <= FORGET_ABOVE_BYTES:
        writer.append(LINES[2])
    os.truncate(path, 0)
    assert find_log(str(path)) is None
    writer.forget()
    writer.append(LINES[1])
    writer.close()
    assert find_log(str(path)) == [LINES[1]]
