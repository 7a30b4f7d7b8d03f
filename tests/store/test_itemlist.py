"""Item lists: written once, whole or not at all, read lazily."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from drivers.sweeps import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orchestrator.errors import StateRefusedError, StateUnwritableError
from orchestrator.store.item_list import ItemList, ListLostError, write_item_list
from orchestrator.store.opened_files import MOST_OPEN, OpenedFiles
from orchestrator.workers.faultpoints import arm

pytestmark = pytest.mark.usefixtures("disarmed")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "items" / "port.jsonl"


@examples(60, HealthCheck.function_scoped_fixture)
@given(values=st.lists(JSON, max_size=10))
def test_values_come_back_as_they_were(path: Path, values: list[Any]) -> None:
    assert write_item_list(path, iter(values)) == len(values)
    items = ItemList(path)
    assert len(items) == len(values)
    assert [items[index] for index in range(len(items))] == values == list(items)


@pytest.mark.parametrize("index", [-1, 3, 10**12])
def test_an_index_out_of_range_is_an_index_error(path: Path, index: int) -> None:
    write_item_list(path, ["a", "b", "c"])
    with pytest.raises(IndexError):
        ItemList(path)[index]


def test_every_truncation_and_every_damaged_byte_is_refused(path: Path) -> None:
    write_item_list(path, ["../a", {"count": 1, "crc": 2}, "new\nline"])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StateRefusedError):
            ItemList(path)
    for position in range(len(whole)):
        for flip in (1, 0x20, 0xFF):
            damaged = bytearray(whole)
            damaged[position] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(StateRefusedError):
                ItemList(path)


def test_a_list_that_is_cut_while_it_is_read_is_lost_and_no_bug(path: Path) -> None:
    write_item_list(path, ["a", "b"])
    items = ItemList(path)
    os.truncate(path, 6)
    assert items[0] == "a"
    with pytest.raises(ListLostError, match="item 1 cannot be read"):
        items[1]


def test_a_missing_list_is_refused(path: Path) -> None:
    with pytest.raises(StateRefusedError, match="missing"):
        ItemList(path)


def test_an_error_of_the_source_propagates_and_leaves_nothing(path: Path) -> None:
    def values() -> Iterator[str]:
        yield "a"
        raise ValueError("line 2 is not JSON")

    with pytest.raises(ValueError, match="line 2"):
        write_item_list(path, values())
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("point", ["file.written", "file.synced"])
def test_a_full_disk_is_told_and_leaves_nothing(path: Path, point: str) -> None:
    arm(f"{point}:1:ENOSPC")
    with pytest.raises(StateUnwritableError, match=r"port\.jsonl"):
        write_item_list(path, ["a"])
    assert list(path.parent.iterdir()) == []


def test_twenty_thousand_items_of_a_kilobyte_are_not_held_in_memory(path: Path) -> None:
    value = {"text": "x" * 1000}
    tracemalloc.start()
    try:
        write_item_list(path, ({"n": index, **value} for index in range(20_000)))
        items = ItemList(path)
        assert items[19_999]["n"] == 19_999
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 20_000_000
    assert peak < 4_000_000


@pytest.mark.parametrize("length", [1, 5, 200, 510, 511, 512, 513, 70_000])
def test_each_value_of_a_list_of_many_groups_is_found(path: Path, length: int) -> None:
    values = ["x" * (1 + (length + index * 7) % (length + 3)) + str(index) for index in range(70_000 // length + 300)]
    write_item_list(path, values)
    assert list(ItemList(path)) == values


def test_what_is_kept_of_a_list_of_small_values_is_a_fraction_of_a_byte_an_item(path: Path) -> None:
    write_item_list(path, range(40_000))
    tracemalloc.start()
    try:
        items = ItemList(path)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert items[39_999] == 39_999
    assert kept < 30_000


def test_the_lines_of_a_group_are_split_once_for_all_of_its_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "items" / "a"
    write_item_list(path, range(1000))
    opened, read = OpenedFiles(), []
    really_read = OpenedFiles._read
    monkeypatch.setattr(OpenedFiles, "_read", lambda *asked: read.append(asked) or really_read(*asked))
    assert list(ItemList(path, opened)) == list(range(1000))
    assert len(read) == len(set(read)) < 10


def test_of_many_lists_few_are_open_at_once_and_all_can_be_read(tmp_path: Path) -> None:
    paths = [tmp_path / "items" / f"{number}.jsonl" for number in range(40)]
    for number, path in enumerate(paths):
        write_item_list(path, [number, -number])
    opened = OpenedFiles()
    lists = [ItemList(path, opened) for path in paths]
    for index in (0, 1):
        assert [each[index] for each in lists] == [number * (1 - 2 * index) for number in range(40)]
    assert len(open_below(tmp_path)) == MOST_OPEN
    del opened, lists
    assert open_below(tmp_path) == []


def test_a_list_that_another_file_has_taken_the_place_of_is_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "items" / name for name in ("a", "b")]
    for path in paths:
        write_item_list(path, ["one", "two"])
    opened = OpenedFiles(1)
    first, _ = ItemList(paths[0], opened), ItemList(paths[1], opened)
    paths[0].unlink()
    with pytest.raises(StateRefusedError, match="missing"):
        first[0]
    write_item_list(paths[0], ["two", "one", "three"])
    with pytest.raises(StateRefusedError, match="is not the file that was read before"):
        first[0]


def test_lists_that_are_open_make_room_where_no_descriptor_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "items" / name for name in ("a", "b", "c")]
    for path in paths:
        write_item_list(path, [path.name])
    opened = OpenedFiles()
    lists = [ItemList(path, opened) for path in paths[:2]]
    really_open = os.open

    def open_few(path: Path, flags: int, mode: int = 0o777) -> int:
        if len(open_below(tmp_path)) == 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really_open(path, flags, mode)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_few)
        lists.append(ItemList(paths[2], opened))
    assert [each[0] for each in lists] == ["a", "b", "c"]


def open_below(folder: Path) -> list[str]:
    """What this process has open in the folder."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [path for path in found if path.startswith(str(folder))]
