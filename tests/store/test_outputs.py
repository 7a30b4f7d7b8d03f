"""Captured streams: read from the record or from their verified file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from orchestrator.store.captures import CaptureMismatch, read_capture, verify_capture
from orchestrator.store.outputs import BadOutputError, parse_output
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.protocol import Capture

DATA = b"x" * 5000


def capture_of(path: Path, data: bytes = DATA) -> Capture:
    return Capture(size=len(data), path=str(path), sha256=hashlib.sha256(data).hexdigest())


def test_a_small_stream_is_read_from_its_record_when_its_file_is_gone(tmp_path: Path) -> None:
    capture = Capture(size=3, path=str(tmp_path / "gone"), inline=b"abc")
    assert read_capture(capture, RunDir(tmp_path)) == b"abc"
    verify_capture(capture, RunDir(tmp_path))


def test_an_empty_stream_has_no_file(tmp_path: Path) -> None:
    assert read_capture(Capture(), RunDir(tmp_path)) == b""


@pytest.mark.parametrize("content", [None, b"", DATA[:-1], DATA + b"x", b"y" * 5000])
def test_a_file_that_is_not_what_was_recorded_is_a_mismatch(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "0-1.stdout"
    if content is not None:
        path.write_bytes(content)
    for read in (read_capture, verify_capture):
        with pytest.raises(CaptureMismatch, match=r"0-1\.stdout"):
            read(capture_of(path), RunDir(tmp_path))


def test_a_hole_of_a_tebibyte_behind_an_output_is_a_mismatch_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "0-1.stdout"
    path.write_bytes(DATA)
    os.truncate(path, 1 << 40)
    for read in (read_capture, verify_capture):
        with pytest.raises(CaptureMismatch, match="has 1099511627776 bytes, 5000 were recorded"):
            read(capture_of(path), RunDir(tmp_path))


def test_a_home_that_was_moved_still_has_its_outputs(tmp_path: Path) -> None:
    old, new = RunDir(tmp_path / "old"), RunDir(tmp_path / "new")
    path = Path(new.output_paths("port", 0, 1)[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    capture = capture_of(Path(old.output_paths("port", 0, 1)[0]))
    assert read_capture(capture, new) == DATA
    verify_capture(capture, new)


def test_a_byte_order_mark_is_none_of_an_output_that_is_json() -> None:
    assert parse_output("json", b'\xef\xbb\xbf{"a": 1}\r\n') == {"a": 1}
    assert parse_output("jsonl", b"\xef\xbb\xbf1\r\n2\r\n") == [1, 2]
    for kind, words in (("json", "the output is not JSON"), ("jsonl", "line 2")):
        with pytest.raises(BadOutputError, match=words):
            parse_output(kind, b"1\n\xef\xbb\xbf2\n")
