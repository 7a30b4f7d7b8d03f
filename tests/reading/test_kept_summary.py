"""`list` reads what was kept of a run that has ended, for as long as nothing was recorded since; else its records."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from drivers.store_samples import ended, header, started

from orchestrator.errors import StateRefusedError
from orchestrator.reading import shown_summary
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.reading.shown_summary import KeptSummaries, summary_of, told_again
from orchestrator.reading.told_items import Told, told_of
from orchestrator.store import kept_summary as kept_summaries
from orchestrator.store.kept_summary import keep_summary, kept_summary
from orchestrator.store.known_runs import recorded_birth
from orchestrator.store.records import ItemsListed, RunEnded
from orchestrator.store.run_dir import RunDir, create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.store.source_file import SourceFile
from orchestrator.views.end_report import NotedItem

ITEMS = 2000
JOBS = '[jobs.port]\nfor_each = "{{ range(2000) | list }}"\ncommand = ["true"]\n'
END = RunEnded(status="completed", at=9.0, exit_code=0)


def ended_run(home: Path, items: int) -> RunDir:
    """A run whose supervisor has ended as it should."""
    home.mkdir(exist_ok=True)
    run_dir = create_run_dir(home, "r1")
    store = RunStore.create(run_dir, msgspec.structs.replace(header("r1"), jobs={"port": True}), JOBS)
    lines = [
        line
        for index in range(items)
        for line in (started(index, sequence=index), ended(index, message="late" if index == 2 else ""))
    ]
    store.append([ItemsListed(job="port", count=items), *lines, END])
    store.take_checkpoint()
    reader = RunReader(run_dir, store.history, alive=False)
    told = told_of(reader, reader.jobs_file)
    keep_summary(run_dir, store.history, run_summary(reader), msgspec.to_builtins(told))
    store.close()
    return run_dir


def read_again(run_dir: RunDir) -> dict[str, object]:
    return run_summary(RunReader.read(run_dir))


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return ended_run(tmp_path / "home", 3)


def test_a_run_that_has_ended_costs_the_same_however_large_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = ended_run(tmp_path / "home", ITEMS)
    whole = read_again(run_dir)
    read = 0
    read_file = SourceFile.read

    def counted(self: SourceFile, offset: int, length: int) -> bytes:
        nonlocal read
        data = read_file(self, offset, length)
        read += len(data)
        return data

    monkeypatch.setattr(SourceFile, "read", counted)
    assert summary_of(run_dir) == whole
    assert read == 0
    assert KeptSummaries().birth(run_dir) == recorded_birth(run_dir)
    assert read < 10_000
    again = told_again(run_dir)
    assert again is not None
    assert again[0] == whole
    assert again[1].noted == [NotedItem("port:2", "file 2", "late")]
    assert read < 12_000, "also the first block of the checkpoint, which tells what the run is"
    assert run_dir.checkpoint.stat().st_size > 100 * ITEMS
    assert whole["counts"] == {"succeeded": ITEMS}


def test_what_status_tells_is_read_where_the_copy_of_the_jobs_file_is_not_as_it_was(run_dir: RunDir) -> None:
    assert told_again(run_dir) is not None
    run_dir.jobs_toml(0).write_text(JOBS + " ")
    assert told_again(run_dir) is None


def test_the_kept_format_is_another_if_the_summary_has_other_keys(run_dir: RunDir) -> None:
    keys = "run_id name status jobs_file started_at finished_at counts"
    keys += " cost_usd unknown_costs ledger error reason selection parent jobs"
    told = "failures noted questions is_each has_agents"
    assert (kept_summaries.FORMAT, list(read_again(run_dir)), Told.__struct_fields__) == (3, keys.split(), tuple(told.split()))


def append(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    store.append([RunEnded(status="failed", at=10.0, exit_code=1)])
    store.close()


def begin_anew(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    store.take_checkpoint()
    store.close()


def write_in_place(run_dir: RunDir) -> None:
    # One word of the records: the size stays.
    data = run_dir.checkpoint.read_bytes()
    run_dir.checkpoint.write_bytes(data.replace(b"completed", b"cancelled"))
    os.utime(run_dir.checkpoint, ns=(1, 1))


def edit_summary(run_dir: RunDir) -> None:
    run_dir.summary.write_bytes(run_dir.summary.read_bytes().replace(b"completed", b"cancelled"))


def tear_summary(run_dir: RunDir) -> None:
    os.truncate(run_dir.summary, run_dir.summary.stat().st_size // 2)


def replace_summary(data: bytes) -> Callable[[RunDir], None]:
    def replace(run_dir: RunDir) -> None:
        run_dir.summary.write_bytes(data + b"\n%d\n" % crc32(data))

    return replace


def be_of_another_version(run_dir: RunDir) -> None:
    line = run_dir.summary.read_bytes().partition(b"\n")[0].replace(b'{"format":3', b'{"format":2')
    replace_summary(line)(run_dir)


def put_a_fifo(run_dir: RunDir) -> None:
    run_dir.summary.unlink()
    os.mkfifo(run_dir.summary)


@pytest.mark.parametrize(
    "change",
    [
        *(append, begin_anew, write_in_place, edit_summary, tear_summary, be_of_another_version, put_a_fifo),
        *map(replace_summary, (b"", b"[" * 9999, b"{}", b"null", b'{"format":1,"generation":"x"}')),
        lambda run_dir: run_dir.summary.unlink(),
        lambda run_dir: os.truncate(run_dir.summary, 1 << 40),
    ],
)
def test_a_summary_that_no_longer_holds_is_as_none(run_dir: RunDir, change: Callable[[RunDir], None]) -> None:
    assert kept_summary(run_dir) is not None
    change(run_dir)
    assert kept_summary(run_dir) is None


def test_a_copy_of_a_run_that_has_another_name_is_still_refused(run_dir: RunDir) -> None:
    copy = run_dir.beside("r2")
    shutil.copytree(run_dir.path, copy.path)
    with pytest.raises(StateRefusedError, match="the folder was renamed, or copied"):
        summary_of(copy)


def test_a_run_that_is_supervised_again_is_read(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown_summary, "is_locked", lambda path, _seen=None: path == run_dir.supervisor_lock)
    monkeypatch.setattr(RunReader, "is_alive", True)
    assert summary_of(run_dir)["status"] == "running"


def test_a_disk_without_room_keeps_none(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    run_dir.summary.unlink()
    run_dir.summary.mkdir()
    (run_dir.summary / "held").touch()
    keep_summary(run_dir, store.history, {})
    store.close()
    assert kept_summary(run_dir) is None
