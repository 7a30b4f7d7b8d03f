"""The journal: groups in one write, a commit line each, and nothing after a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drivers.store_samples import LISTED, ended, read_journal, started

from orchestrator.errors import StateRefusedError, StateUnwritableError
from orchestrator.store.journal import Journal
from orchestrator.store.lines import EndLine
from orchestrator.store.records import Started, Status
from orchestrator.workers.faultpoints import arm

pytestmark = pytest.mark.usefixtures("disarmed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal-1.jsonl"


def test_what_was_appended_is_read_in_order_with_the_place_of_each_line(path: Path) -> None:
    journal = Journal.create(path, 1, "r1")
    places = journal.append([LISTED, started(0)]) + journal.append([ended(0)])
    journal.close()
    read = read_journal(path, 1, "r1")
    lines = list(read)
    assert [line for line, _, _ in lines] == [LISTED, started(0), EndLine("port", 0, 1, Status.SUCCEEDED)]
    assert [(offset, length) for _, offset, length in lines] == places
    assert not read.torn
    assert read.valid_bytes == path.stat().st_size


def test_each_group_is_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.create(path, 1, "r1")
    writes: list[int] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    before = journal.size
    journal.append([started(index) for index in range(50)])
    journal.close()
    assert writes == [journal.size - before]


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS", "EDQUOT"])
def test_a_failed_write_closes_the_journal_for_ever(path: Path, error: str) -> None:
    journal = Journal.create(path, 1, "r1")
    journal.append([ended(0)])
    arm(f"journal.write:1:{error}")
    with pytest.raises(StateUnwritableError, match="journal-1"):
        journal.append([ended(1)])
    arm(None)
    with pytest.raises(StateUnwritableError, match="journal-1"):
        journal.append([ended(2)])
    journal.close()
    assert [line.index for line, _, _ in read_journal(path, 1, "r1") if isinstance(line, EndLine)] == [0]


def test_a_short_write_closes_the_journal_and_readers_ignore_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.create(path, 1, "r1")
    journal.append([ended(0)])
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:-5]))
        with pytest.raises(StateUnwritableError, match="cut short"):
            journal.append([ended(1)])
    with pytest.raises(StateUnwritableError):
        journal.append([ended(2)])
    journal.close()
    read = read_journal(path, 1, "r1")
    assert [line.index for line, _, _ in read if isinstance(line, EndLine)] == [0]
    assert read.torn


def test_a_record_that_cannot_be_encoded_writes_nothing_and_harms_nothing(path: Path) -> None:
    journal = Journal.create(path, 1, "r1")
    with pytest.raises(UnicodeEncodeError):
        journal.append([ended(0), started(1, job="\ud83d")])
    journal.append([ended(1)])
    journal.close()
    assert [line.index for line, _, _ in read_journal(path, 1, "r1") if isinstance(line, EndLine)] == [1]


def test_bytes_that_are_not_utf8_are_read_back_as_they_were_recorded(path: Path) -> None:
    journal = Journal.create(path, 1, "r1")
    journal.append([ended(0), started(1, job="caf\udce9"), ended(2)])
    journal.close()
    lines = [line for line, _, _ in read_journal(path, 1, "r1")]
    assert [line.index for line in lines if isinstance(line, EndLine)] == [0, 2]
    assert [line.job for line in lines if isinstance(line, Started)] == ["caf\udce9"]


def test_a_closed_journal_refuses(path: Path) -> None:
    journal = Journal.create(path, 1, "r1")
    journal.close()
    with pytest.raises(StateUnwritableError):
        journal.append([ended(0)])


@pytest.mark.parametrize(("generation", "run"), [(2, "r1"), (1, "r2")])
def test_a_journal_of_another_run_or_generation_is_refused(path: Path, generation: int, run: str) -> None:
    Journal.create(path, 1, "r1").close()
    with pytest.raises(StateRefusedError):
        list(read_journal(path, generation, run))


def test_a_newer_format_is_refused_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.journal.FORMAT", 2)
    Journal.create(path, 1, "r1").close()
    monkeypatch.undo()
    with pytest.raises(StateRefusedError, match="format 2 is newer"):
        list(read_journal(path, 1, "r1"))


def test_a_group_larger_than_many_blocks_is_read_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.journal.BLOCK_BYTES", 256)
    journal = Journal.create(path, 1, "r1")
    journal.append([ended(index, output=b"x" * 1000) for index in range(40)])
    journal.append([ended(40, status=Status.FAILED)])
    journal.close()
    ends = [line for line, _, _ in read_journal(path, 1, "r1")]
    assert [end.index for end in ends if isinstance(end, EndLine)] == list(range(41))


def test_a_reader_ignores_what_is_appended_after_it_began(path: Path) -> None:
    journal = Journal.create(path, 1, "r1")
    journal.append([ended(0)])
    read = read_journal(path, 1, "r1")
    journal.append([ended(1)])
    journal.close()
    assert [line.index for line, _, _ in read if isinstance(line, EndLine)] == [0]
