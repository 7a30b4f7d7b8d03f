"""The locks of a run's own slots: kept from one short attempt to the next, and by nobody longer than by what runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.store.run_dir import RunDir
from orchestrator.supervisor import slot_locks
from orchestrator.supervisor.slot_locks import SlotLocks
from orchestrator.system.locks.lock_file import is_free, note_of_holder


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    run_dir = RunDir.of(tmp_path, "r")
    run_dir.path.mkdir(parents=True)
    return run_dir


def taken(slots: SlotLocks, item: str) -> int:
    fd = slots.try_take(0, item)
    assert fd is not None
    return fd


def test_the_next_attempt_in_a_slot_finds_the_lock_taken_and_is_told_as_its_holder(run_dir: RunDir) -> None:
    slots, path = SlotLocks(run_dir), run_dir.slot_lock(0)
    first = taken(slots, "first")
    slots.attempt_ended(0, is_told=True)
    assert not is_free(path)
    assert taken(slots, "second") == first
    slots.let_go_of_idle()
    assert note_of_holder(path) == "second"
    slots.close()


def test_a_slot_in_which_nothing_is_started_again_is_free_after_the_turn(run_dir: RunDir) -> None:
    slots = SlotLocks(run_dir)
    taken(slots, "first")
    slots.attempt_ended(0, is_told=True)
    slots.let_go_of_idle()
    assert is_free(run_dir.slot_lock(0))


def test_a_run_inside_gets_its_turn_at_a_slot_in_which_one_attempt_follows_the_other(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = SlotLocks(run_dir)
    taken(slots, "first")
    monkeypatch.setattr(slot_locks, "LONGEST_KEPT_SECONDS", 0.0)
    slots.attempt_ended(0, is_told=True)
    other = SlotLocks(run_dir)
    taken(other, "of the run inside")
    assert slots.try_take(0, "second") is None
    other.close()


def test_what_a_killed_worker_has_left_keeps_the_slot(run_dir: RunDir) -> None:
    slots = SlotLocks(run_dir)
    left = os.dup(taken(slots, "first"))
    slots.attempt_ended(0, is_told=False)
    assert slots.try_take(0, "second") is None
    os.close(left)
    assert slots.try_take(0, "second") is not None
    slots.close()


def test_a_supervisor_that_leaves_takes_no_lock_from_what_runs_on(run_dir: RunDir) -> None:
    slots = SlotLocks(run_dir)
    in_worker = os.dup(taken(slots, "first"))
    slots.close()
    assert not is_free(run_dir.slot_lock(0))
    os.close(in_worker)
    assert is_free(run_dir.slot_lock(0))


def test_an_attempt_that_lacks_something_else_gives_its_slot_back_at_once(run_dir: RunDir) -> None:
    slots = SlotLocks(run_dir)
    taken(slots, "first")
    slots.give_back(0)
    assert is_free(run_dir.slot_lock(0))


def test_of_few_descriptors_none_is_spent_on_the_lock_of_a_slot(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_locks, "getrlimit", lambda _which: (8, 8))
    slots = SlotLocks(run_dir)
    travelling = taken(slots, "first")
    assert not slots.keeps(0)
    slots.attempt_ended(0, is_told=True)
    assert not is_free(run_dir.slot_lock(0))
    os.close(travelling)
    assert is_free(run_dir.slot_lock(0))
