"""Records of a run that was updated: what they fold to, from the journal and from the checkpoint that follows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from drivers.store_samples import ended, header, settled, started

from orchestrator.store.load import read_history
from orchestrator.store.records import ItemSettled, ItemsListed, JobClosed, ListOutdated, RunEnded, RunHeader, Status
from orchestrator.store.run_dir import RunDir, create_run_dir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.run_store import RunStore
from orchestrator.supervisor.restored_jobs import RestoredJobs

FIRST = msgspec.structs.replace(header("r1"), jobs={"port": True, "sum": False, "old": False})
SECOND = msgspec.structs.replace(
    FIRST, jobs={"sum": True, "new": False, "port": True}, removed={"old": False}, revision=1, inputs={"a": 1}
)
THIRD = msgspec.structs.replace(SECOND, jobs={"old": False, "port": True}, removed={"sum": True, "new": False}, revision=2)


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    made = create_run_dir(tmp_path, "r1")
    store = RunStore.create(made, FIRST, "")
    store.append([ItemsListed(job=job, count=count) for job, count in (("port", 3), ("sum", 1), ("old", 1))])
    store.append([ended(index) for index in range(3)])
    store.append([ended(0, job="sum"), started(0, job="old"), ended(0, job="old"), JobClosed(job="port", status="succeeded")])
    store.append([RunEnded(status="completed", at=1.0)])
    store.close()
    return made


def updated(run_dir: RunDir, by: RunHeader, *records: ItemsListed | ListOutdated | ItemSettled) -> RunHistory:
    """The history after the update, which must read the same from the journal and from the checkpoint after it."""
    store = RunStore.open(run_dir)
    store.append([by, *records])
    first = told(read_history(run_dir))
    store.take_checkpoint()
    store.close()
    again = read_history(run_dir)
    assert told(again) == told(store.history) == first
    return again


def told(history: RunHistory) -> object:
    return history.header, [
        (
            (job.id, job.count, job.list_revision, job.is_outdated, job.gone, job.closed),
            [(job.status(index), job.attempts(index), job.record(index)) for index in range(job.count or 0)],
        )
        for job in history.jobs.values()
        if job.count is not None or job.id in history.header.jobs
    ]


def test_jobs_stand_in_the_order_of_the_new_file_and_removed_ones_behind_them(run_dir: RunDir) -> None:
    history = updated(run_dir, SECOND)
    assert list(history.jobs) == ["sum", "new", "port", "old"]
    assert (history.ended, history.jobs["port"].closed) == (None, None)
    assert history.jobs["port"].counts()[Status.SUCCEEDED] == 3


def test_a_job_that_is_another_kind_of_job_now_has_no_past(run_dir: RunDir) -> None:
    job = updated(run_dir, SECOND).jobs["sum"]
    assert (job.count, job.known) == (None, 0)


def test_a_removed_job_that_comes_back_has_its_past(run_dir: RunDir) -> None:
    updated(run_dir, SECOND)
    history = updated(run_dir, THIRD)
    assert list(history.jobs)[:2] == ["old", "port"]
    assert history.jobs["old"].last_end(0) == ended(0, job="old")
    # Of `new` nothing was ever recorded.
    assert list(updated(run_dir, msgspec.structs.replace(SECOND, revision=3)).jobs)[:3] == ["sum", "new", "port"]


def test_what_left_the_list_is_never_looked_at_again_unless_it_comes_back(run_dir: RunDir) -> None:
    left = ItemSettled(job="port", index=1, status=Status.SKIPPED, message="no longer in the list", gone=True)
    history = updated(run_dir, SECOND, ItemsListed(job="port", count=4, revision=1), left, settled(2))
    job = history.jobs["port"]
    assert (job.gone, job.is_void(1), job.is_void(0)) == ({1}, True, False)
    restored = RestoredJobs(history, {}, keep_failed=False, rerun_stale=False).of_job("port", None)
    assert [type(state).__name__ for state in restored.states] == ["Succeeded", "Skipped", "Pending", "Pending"]
    assert restored.gone == 1
    back = ItemSettled(job="port", index=1, status=Status.PENDING)
    job = updated(run_dir, THIRD, back).jobs["port"]
    assert (job.gone, job.is_set_back(1), job.is_set_back(2), job.is_set_back(3)) == (set(), True, False, False)
    assert job.last_end(1) == ended(1)


def test_a_list_is_outdated_until_it_is_evaluated_again(run_dir: RunDir) -> None:
    job = updated(run_dir, SECOND, ListOutdated(job="port")).jobs["port"]
    assert (job.is_outdated, job.count, job.list_revision) == (True, 3, 0)
    job = updated(run_dir, THIRD, ItemsListed(job="port", count=5, revision=1)).jobs["port"]
    assert (job.is_outdated, job.count, job.list_revision) == (False, 5, 1)
