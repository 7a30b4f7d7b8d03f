"""A run that is followed: whatever was appended, cut or checkpointed between two looks, the history is the one read anew."""

from __future__ import annotations

import itertools
import os
import shutil
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivers.store_samples import LISTED, answered, asked, ended, header, new_run, settled, started, supervisor, worker
from drivers.sweeps import examples
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StateRefusedError, UserError
from orchestrator.reading.follower import RunFollower
from orchestrator.store.item_columns import ItemColumns
from orchestrator.store.job_history import JobHistory
from orchestrator.store.load import read_history
from orchestrator.store.places import Places
from orchestrator.store.records import Record, RunHeader, Started, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.run_store import RunStore
from orchestrator.store.settings_records import SlotsSet
from orchestrator.store.source_file import SourceFile
from orchestrator.store.spending import Spending

INDICES = st.integers(0, 5)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.just(LISTED),
    st.just(supervisor()),
    st.builds(worker, st.integers(0, 3)),
    st.builds(started, INDICES, st.integers(1, 3), st.integers(0, 9)),
    st.builds(ended, INDICES, st.integers(1, 3), st.sampled_from([Status.SUCCEEDED, Status.FAILED])),
    st.builds(settled, INDICES, st.sampled_from([Status.SKIPPED, Status.INTERRUPTED, Status.PENDING])),
    st.builds(asked, INDICES),
    st.builds(answered, INDICES, st.sampled_from(["approve", "reject"])),
    st.builds(SlotsSet, slots=st.integers(1, 9)),
)
GROUPS = st.lists(RECORDS, min_size=1, max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("append"), GROUPS),
    st.tuples(st.just("be killed"), GROUPS, st.floats(0, 1, exclude_max=True)),
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("look")),
)

_ticks = itertools.count(1)


def as_data(value: Any) -> Any:
    """All that a history holds, also where its lines stand; not the files themselves."""
    if isinstance(value, RunHistory | JobHistory | ItemColumns | Places | Spending):
        return {name: as_data(each) for name, each in vars(value).items() if name != "sources"}
    if isinstance(value, dict):
        return {key: as_data(each) for key, each in value.items()}
    return value.tolist() if isinstance(value, array) else value


def assert_up_to_date(follower: RunFollower, run_dir: RunDir) -> None:
    history = follower.reader.history
    anew = read_history(run_dir)
    assert as_data(history) == as_data(anew)
    for job_id, past in history.jobs.items():
        for index in range(6):
            assert past.record(index) == anew.jobs[job_id].record(index), "places are looked up in the right files"


class Writer:
    """What a supervisor does to the records of a run, and what is left when it is killed."""

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._store: RunStore | None = None

    @property
    def journal(self) -> Path:
        return self._run_dir.journal(read_history(self._run_dir).generation)

    def append(self, group: list[Record]) -> None:
        self._opened().append(group)
        self._tick()

    def checkpoint(self) -> None:
        self._opened().take_checkpoint()
        self._tick()

    def be_killed_within(self, group: list[Record], share: float) -> None:
        """A part of the group is in the file; the next writer cuts it off."""
        store = self._opened()
        begin = self.journal.stat().st_size
        store.append(group)
        end = self.journal.stat().st_size
        self.close()
        os.truncate(self.journal, begin + int((end - begin) * share))
        self._tick()

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self) -> RunStore:
        if self._store is None:
            self._store = RunStore.open(self._run_dir)
        return self._store

    def _tick(self) -> None:
        """No two writes happen at one time: a writer that was killed and the next one are processes."""
        os.utime(self.journal, ns=(0, next(_ticks) * 1_000_000))


@examples(60)
@given(steps=st.lists(STEPS, max_size=12))
def test_the_followed_history_is_the_one_that_is_read_anew(steps: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    run_dir = new_run(tmp_path_factory.mktemp("home"))
    follower, writer = RunFollower(run_dir), Writer(run_dir)
    for step in [*steps, ("look",)]:
        match step:
            case ("append", group):
                writer.append(group)
            case ("be killed", group, share):
                writer.be_killed_within(group, share)
            case ("checkpoint",):
                writer.checkpoint()
            case _:
                follower.take_in_appended()
                assert_up_to_date(follower, run_dir)
    writer.close()


def test_a_group_is_there_once_its_last_byte_is_and_not_before(tmp_path: Path) -> None:
    """The journal grows byte by byte, with a look after each."""
    groups: list[list[Record]] = [
        [LISTED, started(0)],
        [ended(0, output=b"\x00\xff{}\n"), started(1)],
        [settled(2), supervisor()],
    ]
    run_dir = new_run(tmp_path)
    begun = run_dir.journal(1).read_bytes()
    writer = Writer(run_dir)
    ends = []
    for group in groups:
        writer.append(group)
        ends.append(run_dir.journal(1).stat().st_size)
    writer.close()
    whole = run_dir.journal(1).read_bytes()
    os.truncate(run_dir.journal(1), len(begun))
    follower = RunFollower(run_dir)
    seen = []
    with run_dir.journal(1).open("ab", buffering=0) as journal:
        for end in range(len(begun) + 1, len(whole) + 1):
            journal.write(whole[end - 1 : end])
            appended = follower.take_in_appended()
            assert appended is not None, "nothing is read twice"
            assert (end in ends) == bool(appended)
            seen += appended
            assert_up_to_date(follower, run_dir)
    assert [type(line).__name__ for line in seen] == [
        *("ItemsListed", "Started", "EndLine", "Started", "SettledLine", "SupervisorStarted")
    ]


class Counted:
    """What is read of files of runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = self.opens = 0
        read, start = SourceFile.read, SourceFile.__init__

        def reading(file: SourceFile, offset: int, length: int) -> bytes:
            data = read(file, offset, length)
            self.bytes += len(data)
            return data

        def starting(file: SourceFile, path: Path) -> None:
            self.opens += 1
            start(file, path)

        monkeypatch.setattr(SourceFile, "read", reading)
        monkeypatch.setattr(SourceFile, "__init__", starting)

    def of(self, look: Callable[[], object]) -> int:
        """Bytes that `look` reads. It opens no file."""
        before = self.bytes, self.opens
        look()
        assert self.opens == before[1]
        return self.bytes - before[0]


def test_a_look_reads_what_was_appended_however_long_the_history_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = new_run(tmp_path)
    writer, counted = Writer(run_dir), Counted(monkeypatch)
    follower = RunFollower(run_dir)
    read, sizes, count = [], [], 100
    for index in range(count):
        before = run_dir.journal(1).stat().st_size
        writer.append([started(index, sequence=index), ended(index, output=b"x" * (index % 7) * 100)])
        sizes.append(run_dir.journal(1).stat().st_size - before)
        read.append(counted.of(follower.take_in_appended))
        assert counted.of(follower.take_in_appended) == 0, "of a run that has done nothing since, nothing is read"
    commit_bytes = 200
    assert all(bytes_read <= size + commit_bytes for bytes_read, size in zip(read, sizes, strict=True))
    before = run_dir.journal(1).stat().st_size
    for index in range(count):
        writer.append([started(index, attempt=2, sequence=count + index)])
    grown = run_dir.journal(1).stat().st_size - before
    assert counted.of(follower.take_in_appended) <= 2 * grown, "many groups at once cost no more than their bytes, and blocks"
    assert_up_to_date(follower, run_dir)
    writer.close()


def test_a_tail_that_stays_torn_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = new_run(tmp_path)
    writer, counted = Writer(run_dir), Counted(monkeypatch)
    follower = RunFollower(run_dir)
    writer.be_killed_within([LISTED, started(0)], 0.9)
    assert counted.of(follower.take_in_appended) > 0
    assert counted.of(follower.take_in_appended) == 0
    writer.append([LISTED])
    assert follower.take_in_appended() == [LISTED], "the next writer cut the tail and went on"
    writer.close()


def test_a_group_that_is_as_long_as_the_torn_tail_before_it_is_seen(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    shutil.copytree(run_dir.path, tmp_path / "copy" / run_dir.run_id)
    other, writer = Writer(RunDir(tmp_path / "copy" / run_dir.run_id)), Writer(run_dir)
    other.append([started(0)])
    size = other.journal.stat().st_size
    other.close()
    writer.be_killed_within([started(1), started(2)], 0.9)
    os.truncate(run_dir.journal(1), size)
    follower = RunFollower(run_dir)
    writer.append([started(0)])
    assert run_dir.journal(1).stat().st_size == size
    assert follower.take_in_appended() == [started(0)]
    writer.close()


def test_a_checkpoint_between_two_looks_has_everything_read_anew_once(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    writer, follower = Writer(run_dir), RunFollower(run_dir)
    writer.append([LISTED, started(0)])
    writer.checkpoint()
    writer.append([ended(0)])
    assert follower.take_in_appended() is None, "which records are new is not known"
    assert_up_to_date(follower, run_dir)
    writer.append([started(1)])
    assert follower.take_in_appended() == [started(1)]
    writer.close()


def test_a_writer_that_was_killed_right_after_its_checkpoint_left_the_old_journal_behind(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    writer, follower = Writer(run_dir), RunFollower(run_dir)
    os.link(run_dir.journal(1), tmp_path / "kept")
    writer.checkpoint()
    writer.close()
    os.link(tmp_path / "kept", run_dir.journal(1))
    assert follower.take_in_appended() is None
    assert follower.reader.history.generation == 2


def rewritten(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def replaced(path: Path, data: bytes) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(data)
    other.replace(path)


@pytest.mark.parametrize("put", [rewritten, replaced])
@pytest.mark.parametrize("groups", [0, 1, 2, 3])
def test_a_journal_that_shrank_or_was_replaced_is_read_anew(
    tmp_path: Path, put: Callable[[Path, bytes], None], groups: int
) -> None:
    """As a backup that was copied over it would: shorter, as long as what was read, or longer."""
    run_dir = new_run(tmp_path)
    backup = tmp_path / "backup" / run_dir.run_id
    shutil.copytree(run_dir.path, backup)
    other = Writer(RunDir(backup))
    for index in range(groups):
        other.append([started(5 + index, attempt=3)])
    other.close()
    writer = Writer(run_dir)
    writer.append([started(0)])
    writer.append([started(1)])
    writer.close()
    follower = RunFollower(run_dir)
    put(run_dir.journal(1), RunDir(backup).journal(1).read_bytes())
    assert follower.take_in_appended() is None
    assert_up_to_date(follower, run_dir)
    assert len(follower.reader.history.open_starts) == groups


def test_a_journal_that_is_damaged_meanwhile_is_refused(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    follower, writer = RunFollower(run_dir), Writer(run_dir)
    size = run_dir.journal(1).stat().st_size
    writer.append([LISTED])
    writer.append([started(0)])
    writer.close()
    data = bytearray(run_dir.journal(1).read_bytes())
    data[size + 3] ^= 1
    run_dir.journal(1).write_bytes(data)
    with pytest.raises(StateRefusedError):
        follower.take_in_appended()


def test_a_run_that_is_pruned_meanwhile_is_gone(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    follower = RunFollower(run_dir)
    shutil.rmtree(run_dir.path)
    with pytest.raises(UserError):
        follower.take_in_appended()


def test_after_an_update_the_reader_has_the_new_jobs_file(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    follower, writer = RunFollower(run_dir), Writer(run_dir)
    before = follower.reader
    updated: RunHeader = header("r1")
    writer.append([updated])
    assert follower.take_in_appended() == [updated]
    assert follower.reader is not before
    assert_up_to_date(follower, run_dir)
    writer.append([started(0)])
    appended = follower.take_in_appended()
    assert appended is not None
    assert isinstance(appended[0], Started)
    writer.close()
