"""A damaged journal or checkpoint: never a crash, never a wrong outcome. Every truncation, every byte."""

from __future__ import annotations

import itertools
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from drivers.store_samples import LISTED, ended, header, new_run, read_journal, settled, started
from drivers.sweeps import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orchestrator.errors import StateRefusedError
from orchestrator.store.journal import Journal
from orchestrator.store.lines import EndLine, Line, SettledLine
from orchestrator.store.load import load_run
from orchestrator.store.records import ItemsListed, Started, Status
from orchestrator.store.run_dir import create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.store.salvage import read_whole
from orchestrator.store.whole_groups import whole_groups

GROUPS = [
    [LISTED, started(0)],
    [ended(0, output=b"\x00\xff{}\n"), started(1, sequence=1)],
    [ended(1, status=Status.FAILED)],
    [settled(2), settled(3, stale=True)],
]
LIGHT: list[list[Line]] = [
    [LISTED, started(0)],
    [EndLine("port", 0, 1, Status.SUCCEEDED), started(1, sequence=1)],
    [EndLine("port", 1, 1, Status.FAILED)],
    [SettledLine("port", 2, Status.SKIPPED), SettledLine("port", 3, Status.SKIPPED, stale=True)],
]
PREFIXES: list[list[Line]] = [[line for group in LIGHT[:count] for line in group] for count in range(len(LIGHT) + 1)]
ALL_FLIPS = [1 << bit for bit in range(8)] + [0xFF]
HOLE_BYTES = 16 << 20
SOME_FLIPS = [0x01, 0x20, 0xFF]
"""Another digit or letter, upper case for lower, every bit."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal-1.jsonl"
    journal = Journal.create(path, 1, "r1")
    for group in GROUPS:
        journal.append(group)
    journal.close()
    return path


def records(path: Path) -> list[Line]:
    return [line for line, _, _ in read_journal(path, 1, "r1")]


def ends_of_groups(whole: bytes) -> list[int]:
    """Where each group ends, the header's first: after the line end of each commit line."""
    ends = []
    offset = 0
    for line in whole.splitlines(keepends=True):
        offset += len(line)
        if line.startswith(b'{"type":"commit"'):
            ends.append(offset)
    return ends


def test_every_truncation_loads_the_groups_before_it_or_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    ends = ends_of_groups(whole)
    assert len(ends) == 1 + len(GROUPS)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        complete = [end for end in ends if end <= length]
        if not complete:
            with pytest.raises(StateRefusedError):
                records(path)
            continue
        read = read_journal(path, 1, "r1")
        assert [line for line, _, _ in read] == PREFIXES[len(complete) - 1]
        assert read.valid_bytes == complete[-1]
        assert read.torn == (length != complete[-1])


@pytest.mark.parametrize("flips", [SOME_FLIPS, pytest.param(ALL_FLIPS, marks=pytest.mark.slow)], ids=["some", "all"])
def test_every_damaged_byte_gives_a_prefix_or_a_refusal(path: Path, flips: list[int]) -> None:
    whole = path.read_bytes()
    last_group = ends_of_groups(whole)[-2]
    refused = 0
    for position in range(len(whole)):
        for flip in flips:
            damaged = bytearray(whole)
            damaged[position] ^= flip
            path.write_bytes(damaged)
            try:
                loaded = records(path)
            except StateRefusedError:
                refused += 1
                continue
            assert loaded in PREFIXES, (position, flip)
            # A bad group with a valid one after it is damage, and only a bad last group may pass for a torn tail.
            assert position >= last_group, (position, flip)
    assert refused >= last_group * len(flips)


def as_uncounted(whole: bytes) -> bytes:
    """The journal as a version wrote it that told no number, length and chain."""
    return re.sub(rb',"number":\d+,"length":\d+,"before":\d+', b"", whole)


def recommitted(journal: bytes) -> bytes:
    """Each commit line with the place that its group has now."""
    done, group = b"", b""
    for line in journal.splitlines(keepends=True):
        if line.startswith(b'{"type":"commit"'):
            line = re.sub(rb'"offset":\d+', b'"offset":%d' % len(done), line)
            done, group = done + group + line, b""
        else:
            group += line
    return done + group


@pytest.mark.parametrize("is_counted", [True, False])
def test_a_line_that_was_removed_is_damage_and_no_torn_tail(path: Path, is_counted: bool) -> None:
    """`sed -i 10d`: everything behind it stands at another place then. What is whole is still found."""
    whole = path.read_bytes() if is_counted else recommitted(as_uncounted(path.read_bytes()))
    path.write_bytes(whole)
    assert records(path) == PREFIXES[-1]
    lines = whole.splitlines(keepends=True)
    last_group = len(lines) - 1 - len(GROUPS[-1])
    for number in range(len(lines)):
        changed = b"".join(lines[:number] + lines[number + 1 :])
        path.write_bytes(changed)
        if number == len(lines) - 1 or (number >= last_group and not is_counted):
            assert records(path) == PREFIXES[-2], "its end alone is what a kill leaves, too"
            continue
        if not is_counted and number == last_group - 1:
            continue  # two groups became one, which nobody can tell from one that was cut
        with pytest.raises(StateRefusedError, match="damaged"):
            records(path)
        found = list(whole_groups(changed, 0, 1))
        assert len(found) >= len(GROUPS) - 1, "only the group itself is lost, and with its commit line perhaps the next"


def test_a_hole_that_ends_in_the_last_group_is_damage_and_no_torn_tail(path: Path) -> None:
    """The last commit line stands whole and in its place, and tells by its number that groups before it are lost."""
    whole = path.read_bytes()
    ends = ends_of_groups(whole)
    commit = whole.rindex(b'{"type":"commit"')
    for start, end in itertools.product(ends[:-2], (ends[-2] + 1, commit - 1, commit)):
        path.write_bytes(whole[:start] + bytes(end - start) + whole[end:])
        with pytest.raises(StateRefusedError, match=f"damaged at byte {start}"):
            records(path)
    # A hole in the last group alone is what a power loss leaves.
    path.write_bytes(whole[: ends[-2]] + bytes(commit - ends[-2]) + whole[commit:])
    assert records(path) == PREFIXES[-2]


def make_hole(path: Path, behind: bytes = b"") -> None:
    """Zeros behind the last group, as a power cut leaves them, and something behind those."""
    with path.open("r+b") as file:
        file.seek(HOLE_BYTES, os.SEEK_END)
        file.write(behind)
        file.truncate()


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes of memory that were in use at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("behind", [b"", b'"}\n{"type":"start","job":"po'], ids=["to the end", "within"])
def test_gigabytes_of_zeros_behind_the_last_group_are_a_torn_tail_that_takes_no_memory(tmp_path: Path, behind: bytes) -> None:
    run_dir = new_run(tmp_path)
    store = RunStore.open(run_dir)
    for group in GROUPS:
        store.append(group)
    store.close()
    whole = run_dir.journal(1).read_bytes()
    make_hole(run_dir.journal(1), behind)
    assert peak_of(lambda: load_run(run_dir)) < HOLE_BYTES // 8
    assert peak_of(lambda: RunStore.open(run_dir).close()) < HOLE_BYTES // 8
    assert run_dir.journal(1).read_bytes() == whole
    (aside,) = run_dir.path.glob("journal-1.torn-*")
    assert aside.read_bytes().strip(b"\0") == behind
    assert aside.stat().st_size < HOLE_BYTES // 8


def test_a_whole_group_behind_gigabytes_of_zeros_is_damage_that_can_be_salvaged(tmp_path: Path) -> None:
    run_dir = create_run_dir(tmp_path, "r1")
    store = RunStore.create(run_dir, msgspec.structs.replace(header("r1"), jobs={"port": True}), "")
    for group in GROUPS:
        store.append(group)
    store.close()
    whole = run_dir.journal(1).read_bytes()
    end = ends_of_groups(whole)[-2]
    run_dir.journal(1).write_bytes(whole[:end])
    make_hole(run_dir.journal(1), whole[end:])
    with pytest.raises(StateRefusedError, match=f"damaged at byte {end}"):
        load_run(run_dir)
    assert peak_of(lambda: read_whole(run_dir)) < HOLE_BYTES // 8
    salvage = read_whole(run_dir)
    assert (salvage.groups, salvage.gaps, salvage.missing) == (1 + len(GROUPS), [(end, end + HOLE_BYTES)], [])


def test_a_checkpoint_of_zeros_is_refused_without_being_read(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    run_dir.checkpoint.write_bytes(b"")
    make_hole(run_dir.checkpoint)

    def load() -> None:
        with pytest.raises(StateRefusedError):
            load_run(run_dir)

    assert peak_of(load) < HOLE_BYTES // 8


def test_groups_that_changed_places_or_were_doubled_are_damage(path: Path) -> None:
    whole = path.read_bytes()
    ends = [0, *ends_of_groups(whole)]
    groups = [whole[start:end] for start, end in itertools.pairwise(ends)]
    for one, other in itertools.combinations(range(1, len(groups)), 2):
        swapped = list(groups)
        swapped[one], swapped[other] = groups[other], groups[one]
        for changed in (swapped, [*groups[: one + 1], *groups[one:]]):
            for text in (b"".join(changed), recommitted(b"".join(changed))):
                path.write_bytes(text)
                with pytest.raises(StateRefusedError, match="damaged at byte"):
                    records(path)


@examples(150, HealthCheck.function_scoped_fixture)
@given(data=st.data())
def test_any_bytes_in_any_place_never_crash_nor_invent(path: Path, data: st.DataObject) -> None:
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(start + 40, len(whole))))
    junk = data.draw(st.binary(max_size=40) | st.sampled_from([b"\n", b"\n\n", b"\0" * 4096, b'{"type":"commit"}\n']))
    path.write_bytes(whole[:start] + junk + whole[end:])
    try:
        loaded = records(path)
    except StateRefusedError:
        return
    finally:
        path.write_bytes(whole)
    assert loaded in PREFIXES


def test_every_damage_or_truncation_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    store = RunStore.open(run_dir)
    store.append([LISTED, started(0)])
    store.append([ended(0), settled(1)])
    store.take_checkpoint()
    store.close()
    whole = run_dir.checkpoint.read_bytes()
    assert load_run(run_dir).history.jobs["port"].count == 10
    for length in range(len(whole)):
        run_dir.checkpoint.write_bytes(whole[:length])
        with pytest.raises(StateRefusedError):
            load_run(run_dir)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        run_dir.checkpoint.write_bytes(damaged)
        # A damaged generation may name a journal that does not exist: then the loader says so in another way.
        with pytest.raises((StateRefusedError, FileNotFoundError)):
            load_run(run_dir)


def test_the_samples_hold_every_kind_that_a_line_is_folded_from() -> None:
    assert {type(line) for line in PREFIXES[-1]} == {ItemsListed, Started, EndLine, SettledLine}
