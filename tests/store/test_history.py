"""The fold of a run's records, and that a checkpoint folds to the same."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from sys import getsizeof
from typing import Any

import pytest
from drivers.store_samples import LISTED, answered, asked, ended, new_run, settled, started, supervisor, worker
from drivers.sweeps import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.errors import StateRefusedError, UserError
from orchestrator.store.gate_records import GateAnswered
from orchestrator.store.item_columns import ItemColumns
from orchestrator.store.job_history import GateHistory
from orchestrator.store.load import read_history
from orchestrator.store.places import Places
from orchestrator.store.records import (
    ItemsChosen,
    ItemSettled,
    ItemsListed,
    JobClosed,
    ListingFailed,
    Record,
    Reopened,
    RunEnded,
    Status,
)
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.run_store import RunStore
from orchestrator.store.settings_records import Selection
from orchestrator.store.source_file import SourceFile
from orchestrator.workers.protocol import AgentReport


def observed(history: RunHistory) -> dict[str, Any]:
    """Everything that a history tells."""
    return {
        "header": history.header,
        "supervisor": history.supervisor,
        "workers": history.workers,
        "ended": history.ended,
        "open": history.open_starts,
        "next": (history.next_sequence, history.next_worker),
        "selection": history.selection,
        "tokens": history.done_tokens,
        "jobs": {
            job.id: (
                job.count,
                job.chosen,
                job.listing_failed,
                job.closed,
                job.counts(),
                [
                    (job.status(index), job.attempts(index), job.is_stale(index), job.record(index), job.last_end(index))
                    for index in range(12)
                ],
                {
                    index: (gate.question, gate.answer, gate.sent_back)
                    for index, gate in job.gates.items()
                    if gate != GateHistory()
                },
                [[job.round_end(index, number) for number in range(job.rounds_done(index) + 1)] for index in range(12)],
                {status: list(job.indices(status)) for status in Status},
                list(job.noted_successes()),
            )
            for job in history.jobs.values()
        },
    }


def history_of(tmp_path: Path, *records: Record) -> RunHistory:
    run_dir = new_run(tmp_path)
    store = RunStore.open(run_dir)
    for record in records:
        store.append([record])
    told = observed(store.history)
    store.close()
    history = read_history(run_dir)
    assert observed(history) == told
    return history


def test_an_item_goes_from_pending_to_running_to_its_end(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    store = RunStore.open(run_dir)
    store.append([LISTED])
    job = store.history.jobs["port"]
    assert (job.status(3), job.attempts(3), job.record(3)) == (Status.PENDING, 0, None)
    store.append([started(3, sequence=5)])
    assert (job.status(3), job.attempts(3), store.history.next_sequence) == (Status.RUNNING, 1, 6)
    assert store.history.open_starts == {("port", 3): started(3, sequence=5)}
    store.append([ended(3, status=Status.FAILED)])
    assert (job.status(3), job.record(3)) == (Status.FAILED, ended(3, status=Status.FAILED))
    assert list(job.indices(Status.FAILED)) == [3]
    assert store.history.open_starts == {}
    assert {status: count for status, count in job.counts().items() if count} == {Status.PENDING: 9, Status.FAILED: 1}
    store.close()


def test_a_stale_mark_keeps_the_outcome_and_a_new_end_takes_the_mark_away(tmp_path: Path) -> None:
    stale = settled(1, Status.SUCCEEDED, stale=True)
    job = history_of(tmp_path / "a", LISTED, started(1), ended(1), stale).jobs["port"]
    assert (job.is_stale(1), job.status(1), job.record(1), job.last_end(1)) == (True, Status.SUCCEEDED, stale, ended(1))
    job = history_of(tmp_path / "b", LISTED, started(1), ended(1), stale, started(1, 2, 1), ended(1, 2)).jobs["port"]
    assert (job.is_stale(1), job.record(1)) == (False, ended(1, 2))


def test_a_success_of_which_there_is_more_to_say_is_known_without_its_outcome(tmp_path: Path) -> None:
    def told(*records: Record) -> list[int]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return list(history_of(folder, LISTED, *records).jobs["port"].noted_successes())

    well, lingering, failed = ended(0), ended(1, message="it lingers"), ended(3, status=Status.FAILED, message="exit code 3")
    lost, denied = (
        replace(well, index=index, outcome=replace(well.outcome, agent=report))
        for index, report in (
            (2, AgentReport(agent="claude", notes=["nothing was said"])),
            (5, AgentReport(agent="claude", denials=["Bash"])),
        )
    )
    assert told(well, lingering, failed, denied, lost) == [1, 2, 5]
    # The last end counts. What settles the item since leaves the note with the success that it keeps.
    assert told(lingering, ended(1, 2)) == []
    assert told(lingering, settled(1, Status.SUCCEEDED, stale=True)) == [1]
    assert told(failed, settled(3, Status.SUCCEEDED)) == []


def test_items_take_ten_bytes_each_whether_they_come_one_by_one_or_many_at_once() -> None:
    places, columns = (Places(), Places()), (ItemColumns(), ItemColumns())
    for index in range(300):
        places[0].put(index, 0, 10 * index, 5)
        columns[0].put(index, Status.SUCCEEDED, 1)
    for first, count in ((0, 200), (200, 100)):
        places[1].put_all(first, 0, range(10 * first, 10 * (first + count), 10), [5] * count)
        columns[1].put_new(first, Status.SUCCEEDED, [1] * count)
    assert [places[1].get(index) for index in range(301)] == [places[0].get(index) for index in range(301)]
    assert vars(columns[0]) == vars(columns[1])
    for each in (*places, *columns):
        room = sum(getsizeof(value) for value in vars(each).values() if isinstance(value, bytearray | array))
        assert room / 300 < (10 if isinstance(each, Places) else 3)


def test_attempts_are_counted_however_many_an_item_has_had() -> None:
    columns = ItemColumns()
    columns.put_new(2, Status.SUCCEEDED, [1, 254, 255, 1000])
    columns.put(7, Status.RUNNING, 256)
    columns.put(6, Status.RUNNING)
    assert [columns.attempts(index) for index in range(9)] == [0, 0, 1, 254, 255, 1000, 0, 256, 0]
    columns.put(7, Status.FAILED)
    columns.put(5, Status.RUNNING, 3)
    assert (columns.attempts(7), columns.attempts(5)) == (256, 3)
    assert {status: [*columns.indices(status, 10)] for status in (Status.PENDING, Status.RUNNING, Status.SUCCEEDED)} == {
        Status.PENDING: [0, 1, 8, 9],
        Status.RUNNING: [5, 6],
        Status.SUCCEEDED: [2, 3, 4],
    }
    assert (columns.pending_in(1, 9), columns.pending_in(3, 5), columns.pending_in(8, 20)) == (2, 0, 12)


def test_what_is_folded_many_at_a_time_folds_as_each_by_itself(tmp_path: Path) -> None:
    """Successes in order are; whatever else is among them is not."""
    plain = [ended(index) for index in range(12)]
    other: dict[int, list[Record]] = {
        1: [replace(started(1), is_queued=True)],
        2: [ended(2, attempt=3)],
        3: [ended(3, status=Status.FAILED, message="exit code 3")],
        4: [ended(4, message="it lingers")],
        5: [replace(ended(5), token="work")],
        6: [],
        7: [ended(7), settled(7, Status.SUCCEEDED, stale=True)],
        8: [ended(8), started(8, attempt=2)],
        9: [ended(9, round_number=1), ended(9, attempt=2, round_number=2)],
        10: [ended(10), Reopened(job="port", indices=[10])],
    }
    for number, few in enumerate([{}, *({index: records} for index, records in other.items()), other]):
        run_dir = new_run(tmp_path / str(number))
        store = RunStore.open(run_dir)
        for each in [LISTED, *(record for end in plain for record in few.get(end.index, [end])), ended(0, job="other")]:
            store.append([each])
        told = observed(store.history)
        store.take_checkpoint()
        store.close()
        assert observed(read_history(run_dir)) == told, few


def test_an_item_that_was_settled_while_it_ran_keeps_its_number_of_attempts(tmp_path: Path) -> None:
    history = history_of(
        tmp_path, LISTED, started(1), ended(1, status=Status.WAITING), started(1, 2, 1), settled(1, Status.INTERRUPTED)
    )
    assert history.jobs["port"].attempts(1) == 2
    assert history.open_starts == {}


def test_a_later_supervisor_takes_back_the_last_word_of_the_run_and_of_its_jobs(tmp_path: Path) -> None:
    last_word = RunEnded(status="paused", at=9.0, exit_code=3)
    closed = JobClosed(job="port", status="failed")
    assert history_of(tmp_path / "a", supervisor(), LISTED, closed, last_word).ended == last_word
    history = history_of(tmp_path / "b", supervisor(), LISTED, closed, last_word, supervisor(101))
    assert (history.ended, history.jobs["port"].closed, history.supervisor) == (None, None, supervisor(101))


def test_each_round_of_a_loop_is_kept_and_round_1_begins_anew(tmp_path: Path) -> None:
    first, second = (ended(1, number, Status.WAITING, round_number=number) for number in (1, 2))
    failed = ended(1, 3, Status.WAITING)
    begun = [started(1, round_number=1), first, started(1, 2, round_number=2), second, started(1, 3, round_number=3), failed]
    job = history_of(tmp_path / "a", LISTED, *begun).jobs["port"]
    assert (job.rounds_done(1), job.round_end(1, 1), job.round_end(1, 2)) == (2, first, second)
    assert (job.last_end(1), job.round_end(1, 3), job.rounds_done(2)) == (failed, None, 0)
    assert history_of(tmp_path / "b", LISTED, *begun, started(1, 4, round_number=1)).jobs["port"].rounds_done(1) == 0


def test_an_answer_stands_until_the_gate_asks_anew(tmp_path: Path) -> None:
    steps: list[Record] = [LISTED, asked(1), answered(1, "reject")]
    job = history_of(tmp_path / "a", *steps).jobs["ship"]
    assert (job.status(1), job.is_asking(1), job.gates[1].answer) == (Status.WAITING, False, answered(1, "reject"))
    job = history_of(tmp_path / "b", *steps, asked(1)).jobs["ship"]
    assert (job.is_asking(1), job.gates[1].answer) == (True, None)
    job = history_of(tmp_path / "c", asked(1), settled(1, Status.INTERRUPTED, job="ship")).jobs["ship"]
    assert job.is_asking(1), "a stop leaves the question open"
    job = history_of(tmp_path / "d", asked(1), settled(1, Status.CANCELLED, job="ship")).jobs["ship"]
    assert not job.is_asking(1)


def test_what_a_gate_sends_back_is_pending_with_its_attempts_and_without_its_rounds(tmp_path: Path) -> None:
    back: list[Record] = [Reopened(job="port", indices=[1, 2]), Reopened(job="ship", indices=[1])]
    done = ended(1, 2, round_number=2)
    gate: list[Record] = [asked(1), answered(1, "reject")]
    closed = JobClosed(job="port", status="succeeded")
    history = history_of(tmp_path, LISTED, started(1, 2, round_number=2), done, closed, *gate, *back)
    port, ship = history.jobs["port"], history.jobs["ship"]
    assert (port.status(1), port.attempts(1), port.rounds_done(1), port.closed) == (Status.PENDING, 2, 0, None)
    assert (ship.status(1), ship.gates[1].question, ship.gates[1].sent_back) == (Status.PENDING, None, answered(1, "reject"))


def test_workers_of_earlier_supervisors_matter_only_while_they_have_an_open_start(tmp_path: Path) -> None:
    before = [supervisor(), worker(0), worker(1), LISTED, started(0, worker=1)]
    history = history_of(tmp_path, *before, supervisor(101), worker(2))
    assert history.workers == {1: worker(1), 2: worker(2)}
    assert history.next_worker == 3


def test_a_listing_that_failed_may_succeed_later(tmp_path: Path) -> None:
    failed = ListingFailed(job="port", message="no such file")
    assert history_of(tmp_path / "a", failed).jobs["port"].listing_failed == "no such file"
    job = history_of(tmp_path / "b", failed, ItemsListed(job="port", count=0)).jobs["port"]
    assert (job.count, job.listing_failed) == (0, None)


def test_jobs_stand_in_the_order_of_their_listing(tmp_path: Path) -> None:
    history = history_of(
        tmp_path, ItemsListed(job="z", count=1), ItemsListed(job="a", count=1), ended(0, job="a"), ended(0, job="z")
    )
    assert list(history.jobs) == ["z", "a"]


def test_what_is_not_selected_is_skipped_in_words_until_all_is_selected_again(tmp_path: Path) -> None:
    chosen = ItemsChosen(job="port", ranges=[(2, 4), (7, 8)], message="not selected (--only)")
    steps: list[Record] = [LISTED, ended(0), started(2), ended(2), ended(9, status=Status.FAILED), chosen, started(3)]
    job = history_of(tmp_path, *steps).jobs["port"]
    assert "".join(job.status(index).value[0] for index in range(10)) == "sssrssspsf"
    assert {status.value: count for status, count in job.counts().items() if count} == {
        "pending": 1,
        "running": 1,
        "succeeded": 2,
        "failed": 1,
        "skipped": 5,
    }
    assert (list(job.indices(Status.PENDING)), list(job.indices(Status.SKIPPED))) == ([7], [1, 4, 5, 6, 8])
    assert job.record(1) == ItemSettled(job="port", index=1, status=Status.SKIPPED, message="not selected (--only)")
    assert (job.unselected, job.has_none_chosen) == (7, False)
    job = history_of(tmp_path / "again", *steps, ItemsChosen(job="port")).jobs["port"]
    assert (job.counts()[Status.PENDING], job.record(1), job.unselected) == (6, None, 0)


STATUSES = st.sampled_from([Status.SUCCEEDED, Status.FAILED, Status.WAITING])
INDICES = st.integers(0, 9)
RECORDS = st.one_of(
    st.builds(started, INDICES, st.integers(1, 3), st.integers(0, 50), worker=st.integers(0, 3), round_number=st.integers(0, 3)),
    st.builds(
        ended,
        INDICES,
        st.integers(1, 3),
        STATUSES,
        output=st.binary(max_size=8),
        round_number=st.integers(0, 3),
        message=st.sampled_from(["", "said"]),
    ),
    st.builds(settled, INDICES, st.sampled_from([Status.SKIPPED, Status.INTERRUPTED, Status.CANCELLED]), stale=st.booleans()),
    st.builds(supervisor, st.integers(1, 5)),
    st.builds(worker, st.integers(0, 3)),
    st.just(RunEnded(status="failed", at=1.0)),
    st.just(JobClosed(job="port", status="failed")),
    st.builds(asked, st.integers(0, 2)),
    st.builds(answered, st.integers(0, 2), st.sampled_from(["approve", "reject"])),
    st.builds(settled, st.integers(0, 2), st.sampled_from([Status.SUCCEEDED, Status.INTERRUPTED]), job=st.just("ship")),
    st.builds(Reopened, job=st.sampled_from(["port", "ship"]), indices=st.lists(st.integers(0, 2), unique=True)),
    st.just(JobClosed(job="ship", status="succeeded")),
    st.builds(Selection, only=st.sampled_from([(), ("port:3",)]), limit=st.sampled_from([None, 2])),
    st.builds(ItemsChosen, job=st.just("port"), ranges=st.sampled_from([None, [], [(0, 2)], [(1, 4), (7, 10)]])),
)


def can_be(record: Record, history: RunHistory) -> bool:
    """Whether a supervisor may record it now: only what is asked is answered, and nothing that runs is sent back."""
    job = history.jobs.get(getattr(record, "job", ""))
    match record:
        case GateAnswered(index=index):
            return job is not None and index in job.gates and job.gates[index].question is not None
        case Reopened(indices=indices):
            return job is not None and all(job.status(index) not in (Status.RUNNING, Status.PENDING) for index in indices)
        case _:
            return True


@pytest.fixture
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is synced: a hundred histories need no power loss."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


@pytest.mark.usefixtures("_no_disk")
@examples(100, HealthCheck.function_scoped_fixture)
@given(steps=st.lists(RECORDS | st.just("checkpoint") | st.just("reopen"), max_size=25))
def test_neither_a_checkpoint_nor_a_reopening_changes_the_history(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    run_dir = new_run(tmp_path_factory.mktemp("home"))
    plain_dir = new_run(tmp_path_factory.mktemp("home"))
    store, plain = RunStore.open(run_dir), RunStore.open(plain_dir)
    for step in [LISTED, ItemsListed(job="ship", count=3), *steps]:
        if step == "checkpoint":
            store.take_checkpoint()
        elif step == "reopen":
            store.close()
            store = RunStore.open(run_dir)
        elif can_be(step, plain.history):
            store.append([step])
            plain.append([step])
    assert observed(store.history) == observed(plain.history)
    assert observed(read_history(run_dir)) == observed(plain.history)
    store.close()
    plain.close()


def test_a_run_that_does_not_exist_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run 'r9'"):
        read_history(RunDir(tmp_path / "runs" / "r9"))


def test_a_missing_journal_is_refused(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    run_dir.journal(1).unlink()
    with pytest.raises(StateRefusedError, match="missing"):
        read_history(run_dir)
    with pytest.raises(StateRefusedError, match="missing"):
        RunStore.open(run_dir)


def test_a_history_reads_records_of_a_generation_that_is_gone(tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    store = RunStore.open(run_dir)
    store.append([LISTED, ended(0)])
    history = read_history(run_dir)
    store.take_checkpoint()
    store.take_checkpoint()
    store.close()
    assert history.jobs["port"].record(0) == ended(0)


def test_what_came_of_an_item_is_read_once_however_often_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = history_of(tmp_path, LISTED, ended(0), ended(1), settled(1, Status.SUCCEEDED, stale=True)).jobs["port"]
    read: list[tuple[int, int]] = []
    whole = SourceFile.read

    def counted(source: SourceFile, offset: int, length: int) -> bytes:
        read.append((offset, length))
        return whole(source, offset, length)

    monkeypatch.setattr(SourceFile, "read", counted)
    assert [job.record(0), job.last_end(0), job.last_end(0), job.record(0)] == [ended(0)] * 4
    assert len(read) == 1
    assert [job.last_end(1), job.last_end(1), job.last_end(0)] == [ended(1), ended(1), ended(0)]
    assert len(read) == 3


def test_the_place_of_a_line_is_kept_however_far_or_long_it_is() -> None:
    places = Places()
    wanted = {
        0: (0, 0, 2),
        2: (1, 0, 1),
        3: (1, (1 << 40) - 1, (1 << 23) - 1),
        4: (0, 1 << 40, 7),
        5: (1, 5, 1 << 23),
        6: (1, 1 << 44, 1 << 30),
        900: (0, 316_000_000, 312),
    }
    for index, place in wanted.items():
        places.put(index, *place)
    assert {index: places.get(index) for index in wanted} == wanted
    assert (places.get(1), places.get(901), places.get(10**9), places.last) == (None, None, None, 900)
    places.put(1, 1, 0, 0)
    assert places.get(1) is None, "a record that was never written has no line"
    places.put(5, 0, 9, 11)
    places.remove(900)
    places.copy(7, places, 6)
    assert (places.get(5), places.get(900), places.get(7), places.last) == ((0, 9, 11), None, wanted[6], 7)
