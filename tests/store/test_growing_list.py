"""The file of a list that grows, and what is read of it meanwhile."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest
from drivers.store_samples import ended, new_run, settled

from orchestrator.errors import StateUnwritableError
from orchestrator.store.growing_list import GrowingListFile, growth_in, settle
from orchestrator.store.item_list import ItemList, ListLostError, write_item_list
from orchestrator.store.list_records import ListGrew
from orchestrator.store.load import read_history
from orchestrator.store.records import ItemsListed
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.workers.faultpoints import arm

pytestmark = pytest.mark.usefixtures("disarmed")

GROUPS = [["a"], ["b", "c" * 700, "d"], [], [str(number) for number in range(300)], ["last"]]


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    run_dir = new_run(tmp_path / "home")
    (run_dir.path / "items").mkdir()
    return run_dir


def grown(run_dir: RunDir, *groups: list[str]) -> GrowingListFile:
    file = GrowingListFile(run_dir.items("port", 0), "port")
    for group in groups:
        for value in group:
            file.add(value)
        file.append()
    return file


def test_items_are_read_as_far_as_is_told_and_the_file_becomes_that_of_any_list(run_dir: RunDir, tmp_path: Path) -> None:
    path = run_dir.items("port", 0)
    file = grown(run_dir)
    read = ItemList(path, grown=file.told)
    assert [*read] == []
    known: list[str] = []
    for group in GROUPS:
        for value in group:
            file.add(value)
        told = file.append()
        # What stands behind it counts for nothing.
        os.pwrite(file._fd, b'"torn', told.size)
        known += group
        read.grow(told)
        for items in (read, ItemList(path, grown=told)):
            assert len(items) == len(known)
            assert [items[index] for index in range(len(items))] == known == [*items]
        os.ftruncate(file._fd, told.size)
    file.end()
    file.close()
    write_item_list(tmp_path / "items" / "whole.jsonl", known)
    assert path.read_bytes() == (tmp_path / "items" / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("damaged", [b"", b'"a"\n"x"\n', b'"a"\n"b'])
def test_a_list_that_grows_and_was_damaged_is_refused(run_dir: RunDir, damaged: bytes) -> None:
    told = grown(run_dir, ["a", "b"]).told
    run_dir.items("port", 0).write_bytes(damaged)
    with pytest.raises(ListLostError, match="checksum"):
        ItemList(run_dir.items("port", 0), grown=told)


def test_what_a_killed_writer_left_behind_is_cut_off(run_dir: RunDir) -> None:
    told = grown(run_dir, ["a", "b"]).told
    path = run_dir.items("port", 0)
    whole = path.read_bytes()
    path.write_bytes(whole + b'"c"\n"torn')
    assert settle(run_dir, told, 0) is None
    assert path.read_bytes() == whole
    path.unlink()
    assert settle(run_dir, told, 0) is None


def test_a_list_that_came_to_its_end_before_that_was_recorded_is_whole(run_dir: RunDir) -> None:
    file = grown(run_dir, ["a", "b"])
    told = file.told
    file.add("c")
    file.append()
    file.end()
    assert settle(run_dir, told, 0) == ItemsListed(job="port", count=3)


def test_where_its_records_are_lost_whole_lines_tell_how_far_a_list_stands(run_dir: RunDir) -> None:
    told = grown(run_dir, ["a", "b"]).told
    path = run_dir.items("port", 0)
    path.write_bytes(path.read_bytes() + b'"torn')
    assert growth_in(path, "port") == told
    path.unlink()
    assert growth_in(path, "port") is None


@pytest.mark.parametrize("point", ["growing_list.written", "growing_list.synced"])
def test_a_disk_that_is_full_is_told_and_nothing_is_written_any_more(run_dir: RunDir, point: str) -> None:
    file = grown(run_dir)
    file.add("a")
    arm(f"{point}:1:ENOSPC")
    with pytest.raises(StateUnwritableError, match=os.strerror(errno.ENOSPC)):
        file.append()
    arm(None)
    size = run_dir.items("port", 0).stat().st_size
    file.add("b")
    for write in (file.append, file.end):
        with pytest.raises(StateUnwritableError):
            write()
    assert (file.told.count, run_dir.items("port", 0).stat().st_size) == (0, size)


def test_records_and_checkpoints_tell_how_far_a_list_has_grown(run_dir: RunDir) -> None:
    steps = [ListGrew(job="port", count=1, size=4, crc=7), ended(0), ListGrew(job="port", count=3, size=12, crc=8), settled(1)]
    with closing(RunStore.open(run_dir)) as store:
        for step in steps:
            store.append([step])
        store.take_checkpoint()
    past = read_history(run_dir).jobs["port"]
    assert (past.count, past.growing) == (3, steps[2])
    assert [past.status(index).value for index in range(3)] == ["succeeded", "skipped", "pending"]
    with closing(RunStore.open(run_dir)) as store:
        store.append([ItemsListed(job="port", count=4)])
        store.take_checkpoint()
    past = read_history(run_dir).jobs["port"]
    assert (past.count, past.growing) == (4, None)
