"""Starts that are queued behind another in its worker: what begins, what is given back, and what a kill leaves of them."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.engine_driver import EngineDriver, OneAttempt
from drivers.processes import LIMIT_SECONDS, wait_until

from orchestrator.engines import local
from orchestrator.engines.engine import OutcomeArrived
from orchestrator.engines.onlookers import runs_now
from orchestrator.system.locks.held import HeldLocks
from orchestrator.system.locks.lock_file import try_take
from orchestrator.workers.log import read_log
from orchestrator.workers.protocol import AttemptClass, Begun, EndReason, LeftAlone, Returned

WELL = ("/bin/true",)
BADLY = ("/bin/false",)
LONG = ("sleep", "600")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineDriver]:
    monkeypatch.setattr(local, "queue_seconds", lambda: 600.0)
    driver = EngineDriver(tmp_path)
    yield driver
    driver.engine.close()


def begun(engine: EngineDriver) -> list[int]:
    lines = read_log(str(engine.run_dir.worker_folder(0) / "log"))
    return [line.sequence for line in lines if isinstance(line, Begun)]


def wait_until_begun(engine: EngineDriver, sequence: int) -> None:
    wait_until(lambda: sequence in begun(engine), f"attempt {sequence} has begun")


def test_they_run_one_after_the_other_and_are_told_at_once(engine: EngineDriver) -> None:
    engine.begin_all(WELL, WELL, WELL)
    engine.until_told("OutcomeArrived", 2)
    assert engine.ends_and_returns() == [("OutcomeArrived", number) for number in range(3)]
    assert begun(engine) == [0, 1, 2]


def test_the_lock_of_their_slot_is_held_till_the_last_has_ended(engine: EngineDriver, tmp_path: Path) -> None:
    lock = try_take(str(tmp_path / "slot.lock"), "", tmp_path)
    assert lock is not None
    engine.begin_all(WELL, LONG, locks=HeldLocks([lock]))
    wait_until_begun(engine, 1)
    assert try_take(str(tmp_path / "slot.lock"), "", tmp_path) is None
    os.kill(engine.worker.pid, signal.SIGTERM) if engine.worker is not None else None
    engine.until_told("OutcomeArrived", 1)
    again = try_take(str(tmp_path / "slot.lock"), "", tmp_path)
    assert again is not None
    os.close(again)


def test_a_failure_gives_back_what_is_queued_behind_it_and_lets_no_other_worker_go_on(engine: EngineDriver) -> None:
    halt = engine.run_dir.worker_folder(0).parent / "halt"
    engine.begin_all(BADLY, WELL, WELL)
    engine.wait()
    assert engine.what_became() == [("QueuedReturned", 1), ("QueuedReturned", 2), ("OutcomeArrived", 0)]
    assert begun(engine) == [0]
    assert halt.read_bytes() != b""


def test_a_failure_of_one_behind_which_nothing_is_queued_lets_no_other_worker_go_on(engine: EngineDriver) -> None:
    halt = engine.run_dir.worker_folder(0).parent / "halt"
    engine.begin_all(WELL, WELL)
    engine.until_told("OutcomeArrived", 1)
    word = halt.read_bytes()
    engine.begin(*BADLY)
    engine.wait()
    assert halt.read_bytes() != word


def test_nothing_begins_that_was_queued_before_a_failure_was_heard_of(engine: EngineDriver) -> None:
    """Another worker has changed the word, and its end is still to be read: this supervisor knows nothing of it, and goes on."""
    engine.begin_all(WELL, WELL)
    engine.until_told("OutcomeArrived", 1)
    (engine.run_dir.worker_folder(0).parent / "halt").write_bytes(b"changed!")
    engine.begin_all(WELL, WELL)
    engine.until_told("OutcomeArrived", 2)
    assert engine.ends_and_returns()[2:] == [("QueuedReturned", 3), ("OutcomeArrived", 2)]
    # By the next turn it has read all that was sent before.
    engine.begin_all(WELL, WELL)
    engine.until_told("OutcomeArrived", 5)
    assert engine.ends_and_returns()[4:] == [("OutcomeArrived", 4), ("OutcomeArrived", 5)]


def test_nothing_queued_begins_once_the_halt_word_was_changed(engine: EngineDriver) -> None:
    changes = ("/bin/sh", "-c", f"printf 12345678 > {engine.run_dir.worker_folder(0).parent}/halt")
    engine.begin_all(changes, WELL)
    engine.wait()
    assert engine.what_became() == [("QueuedReturned", 1), ("OutcomeArrived", 0)]
    assert begun(engine) == [0]


def test_what_a_worker_writes_is_not_taken_for_that_of_an_attempt_whose_end_it_has_not_told_yet(engine: EngineDriver) -> None:
    ended, running, queued = (attempt.start for attempt in engine.begin_all(WELL, LONG, WELL))
    wait_until_begun(engine, 1)
    assert [runs_now(engine.run_dir, start) for start in (ended, running, queued)] == [False, True, False]
    os.kill(engine.worker.pid, signal.SIGTERM) if engine.worker is not None else None
    engine.until_told("OutcomeArrived", 1)


def test_what_lasts_long_runs_on_alone(engine: EngineDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "queue_seconds", lambda: 0.0)
    attempts = engine.begin_all(LONG, WELL)
    engine.wait()
    assert engine.what_became() == [("QueuedReturned", 1)]
    engine.engine.end(attempts[0], EndReason.CANCEL, None)
    engine.until_told("OutcomeArrived", 0)
    assert begun(engine) == [0]


def queue_that_waits(engine: EngineDriver, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[OneAttempt]:
    """One that is short and one that lasts, in a queue that waits for so long; what is told first of them is taken in."""
    monkeypatch.setattr(local, "queue_seconds", lambda: seconds)
    attempts = engine.begin_all(WELL, LONG)
    engine.wait()
    return attempts


def test_of_a_queue_of_which_the_last_lasts_the_others_are_told_and_that_it_runs(
    engine: EngineDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 0.2
    attempts = queue_that_waits(engine, monkeypatch, seconds)
    # On a machine so busy that the first lasts as long as that, the second is given back.
    while ("QueuedReturned", attempts[1].start.sequence) in engine.what_became():
        seconds *= 2
        attempts = queue_that_waits(engine, monkeypatch, seconds)
    first, last = (attempt.start.sequence for attempt in attempts)
    assert engine.what_became()[-3:] == [("OutcomeArrived", first), ("QueuedBegan", last), ("QueueRanLow", last)]
    engine.engine.end(attempts[1], EndReason.CANCEL, None)
    engine.until_told("OutcomeArrived", last)


def test_what_is_recalled_is_given_back_at_once_and_what_runs_is_told(engine: EngineDriver) -> None:
    attempts = engine.begin_all(WELL, LONG, WELL)
    wait_until_begun(engine, 1)
    engine.engine.recall()
    engine.until_told("QueuedReturned", 2)
    assert engine.what_became() == [("OutcomeArrived", 0), ("QueuedBegan", 1), ("QueueRanLow", 1), ("QueuedReturned", 2)]
    engine.engine.end(attempts[1], EndReason.CANCEL, None)
    engine.until_told("OutcomeArrived", 1)


def test_an_end_of_one_that_is_queued_gives_back_all_that_is(engine: EngineDriver) -> None:
    attempts = engine.begin_all(LONG, WELL, WELL)
    wait_until_begun(engine, 0)
    engine.engine.end(attempts[2], EndReason.CANCEL, None)
    engine.wait()
    assert engine.what_became() == [("QueuedReturned", 1), ("QueuedReturned", 2)]
    engine.engine.end(attempts[0], EndReason.CANCEL, None)
    engine.until_told("OutcomeArrived", 0)


def test_a_killed_worker_loses_what_ran_and_nothing_that_was_queued(engine: EngineDriver) -> None:
    engine.begin_all(WELL, LONG, WELL)
    wait_until_begun(engine, 1)
    assert engine.worker is not None
    os.kill(engine.worker.pid, signal.SIGKILL)
    engine.until_told("AttemptLost", 1)
    assert sorted(engine.ends_and_returns()) == [("AttemptLost", 1), ("OutcomeArrived", 0), ("QueuedReturned", 2)]


def test_nothing_queued_begins_once_the_supervisor_is_gone_and_the_next_one_finds_that(engine: EngineDriver) -> None:
    attempts = engine.begin_all(WELL, LONG, WELL)
    wait_until_begun(engine, 1)
    engine.next_supervisor()
    log = str(engine.run_dir.worker_folder(0) / "log")
    wait_until(lambda: Returned(sequence=2) in read_log(log), "what was queued is given back")
    attempts = [engine.resume(attempt, slot) for slot, attempt in enumerate(attempts)]
    ended = {event.sequence: event.outcome.attempt_class for event in engine.told if isinstance(event, OutcomeArrived)}
    assert ended == {0: AttemptClass.OK, 2: AttemptClass.NOT_BEGUN}
    engine.engine.end(attempts[1], EndReason.CANCEL, None)
    engine.until_told("OutcomeArrived", 1)
    assert begun(engine) == [0, 1]


def test_what_was_given_back_stands_in_the_log_if_nobody_records_it(engine: EngineDriver) -> None:
    attempts = engine.begin_all(LONG, WELL)
    wait_until_begun(engine, 0)
    engine.engine.recall()
    assert select.select(engine.engine.sources(), [], [], LIMIT_SECONDS)[0], "it is told"
    engine.next_supervisor()
    attempts = [engine.resume(attempt, slot) for slot, attempt in enumerate(attempts)]
    assert engine.what_became() == [("OutcomeArrived", 1)]
    engine.engine.end(attempts[0], EndReason.CANCEL, None)
    engine.until_told("OutcomeArrived", 0)


def test_what_a_worker_gives_back_after_it_was_adopted_does_not_wait_for_what_runs(engine: EngineDriver) -> None:
    attempts = engine.begin_all(LONG, WELL)
    wait_until_begun(engine, 0)
    assert engine.worker is not None
    os.kill(engine.worker.pid, signal.SIGSTOP)
    engine.next_supervisor()
    attempts = [engine.resume(attempt, slot) for slot, attempt in enumerate(attempts)]
    assert engine.what_became() == []
    os.kill(engine.worker.pid, signal.SIGCONT)
    engine.until_told("OutcomeArrived", 1)
    assert engine.what_became() == [("OutcomeArrived", 1)]
    engine.engine.end(attempts[0], EndReason.CANCEL, None)
    engine.until_told("OutcomeArrived", 0)
    assert begun(engine) == [0]


def test_of_a_killed_worker_without_a_log_all_that_it_was_given_is_lost(engine: EngineDriver) -> None:
    engine.begin_all(LONG, WELL, WELL)
    wait_until_begun(engine, 0)
    assert engine.worker is not None
    (engine.run_dir.worker_folder(0) / "log").unlink()
    os.kill(engine.worker.pid, signal.SIGKILL)
    for sequence in range(3):
        engine.until_told("AttemptLost", sequence)


def stands_at_a_gate(engine: EngineDriver) -> tuple[str, ...]:
    """A command that runs until the gate is opened."""
    return ("/bin/sh", "-c", f"until [ -e {engine.root}/gate ]; do sleep 0.01; done")


def test_what_is_added_while_others_run_follows_them_under_the_locks_that_they_have(engine: EngineDriver) -> None:
    lock = try_take(str(engine.root / "slot.lock"), "", engine.root)
    assert lock is not None
    engine.begin(*stands_at_a_gate(engine), locks=HeldLocks([lock]))
    engine.add(WELL, LONG)
    (engine.root / "gate").touch()
    wait_until_begun(engine, 2)
    assert try_take(str(engine.root / "slot.lock"), "", engine.root) is None
    os.kill(engine.worker.pid, signal.SIGTERM) if engine.worker is not None else None
    engine.until_told("OutcomeArrived", 2)
    assert begun(engine) == [0, 1, 2]
    assert engine.ends_and_returns() == [("OutcomeArrived", number) for number in range(3)]


def test_what_is_added_when_all_has_just_ended_begins_all_the_same_under_the_lock_of_its_slot(engine: EngineDriver) -> None:
    path = str(engine.root / "slot.lock")
    lock = try_take(path, "", engine.root)
    assert lock is not None
    engine.begin(*WELL)
    assert select.select(engine.engine.sources(), [], [], LIMIT_SECONDS)[0], "its end is told, and not heard"
    engine.add(WELL, WELL, LONG, WELL, locks=HeldLocks((), [lock]))
    # Whoever keeps it may be gone: the worker has it.
    os.close(lock)
    engine.until_told("QueueRanLow", 3)
    assert engine.ends_and_returns() == [("OutcomeArrived", number) for number in range(3)]
    assert try_take(path, "", engine.root) is None
    os.kill(engine.worker.pid, signal.SIGTERM) if engine.worker is not None else None
    engine.until_told("OutcomeArrived", 3)
    assert begun(engine) == [0, 1, 2, 3]


def test_what_is_added_too_late_does_not_begin_if_it_was_recalled_meanwhile(engine: EngineDriver) -> None:
    lock = try_take(str(engine.root / "slot.lock"), "", engine.root)
    assert lock is not None
    engine.begin(*WELL)
    assert select.select(engine.engine.sources(), [], [], LIMIT_SECONDS)[0], "its end is told, and not heard"
    assert engine.worker is not None
    os.kill(engine.worker.pid, signal.SIGSTOP)
    engine.add(WELL, locks=HeldLocks((), [lock]))
    engine.engine.recall()
    os.kill(engine.worker.pid, signal.SIGCONT)
    engine.until_told("QueuedReturned", 1)
    assert begun(engine) == [0]


def test_what_is_added_too_late_does_not_begin_if_something_failed_meanwhile(engine: EngineDriver) -> None:
    lock = try_take(str(engine.root / "slot.lock"), "", engine.root)
    assert lock is not None
    engine.begin(*BADLY)
    assert select.select([*engine.engine._by_fileno], [], [], LIMIT_SECONDS)[0], "its end is told, and not heard"  # type: ignore[attr-defined]
    engine.add(WELL, locks=HeldLocks((), [lock]))
    engine.until_told("QueuedReturned", 1)
    assert engine.what_became() == [("OutcomeArrived", 0), ("QueuedReturned", 1)]
    engine.begin(*WELL)
    engine.until_told("OutcomeArrived", 2)
    assert begun(engine) == [0, 2]


def test_what_is_added_without_a_lock_when_all_has_ended_is_given_back_and_the_worker_takes_the_next(
    engine: EngineDriver,
) -> None:
    engine.begin(*WELL)
    assert select.select(engine.engine.sources(), [], [], LIMIT_SECONDS)[0], "its end is told, and not heard"
    first, second = (attempt.start.sequence for attempt in engine.add(WELL, WELL))
    engine.until_told("QueuedReturned", second)
    assert engine.what_became() == [("OutcomeArrived", 0), ("QueuedReturned", first), ("QueuedReturned", second)]
    engine.begin(*WELL)
    engine.until_told("OutcomeArrived", 3)
    assert begun(engine) == [0, 3]


def test_what_is_added_behind_one_that_goes_on_alone_is_given_back_at_once(engine: EngineDriver) -> None:
    attempts = engine.begin_all(LONG, WELL)
    wait_until_begun(engine, 0)
    engine.engine.recall()
    engine.add(WELL)
    engine.until_told("QueuedReturned", 2)
    assert engine.what_became() == [("QueuedReturned", 1), ("QueuedReturned", 2)]
    engine.engine.end(attempts[0], EndReason.CANCEL, None)
    engine.until_told("OutcomeArrived", 0)
    assert begun(engine) == [0]


def test_what_is_added_after_a_failure_of_which_nobody_has_heard_never_begins(engine: EngineDriver) -> None:
    engine.begin(*stands_at_a_gate(engine))
    engine.add(WELL)
    engine.engine.sources()
    (engine.run_dir.worker_folder(0).parent / "halt").write_bytes(b"changed!")
    engine.add(WELL)
    (engine.root / "gate").touch()
    engine.until_told("OutcomeArrived", 0)
    assert engine.what_became() == [("QueuedReturned", 1), ("QueuedReturned", 2), ("OutcomeArrived", 0)]


def test_what_is_added_for_a_worker_that_is_dead_has_not_begun(engine: EngineDriver) -> None:
    engine.begin(*LONG)
    wait_until_begun(engine, 0)
    assert engine.worker is not None
    os.kill(engine.worker.pid, signal.SIGKILL)
    engine.add(WELL)
    engine.until_told("AttemptLost", 0)
    engine.add(WELL)
    engine.until_told("OutcomeArrived", 2)
    assert ("QueuedReturned", 1) in engine.what_became()


def test_what_a_supervisor_could_not_send_any_more_does_not_wait_for_what_runs(engine: EngineDriver) -> None:
    running = engine.begin(*LONG)
    wait_until_begun(engine, 0)
    unsent = engine.attempt(worker=0, is_queued=True)
    engine.next_supervisor()
    log = str(engine.run_dir.worker_folder(0) / "log")
    wait_until(lambda: LeftAlone(sequence=0) in read_log(log), "the worker has seen that it is alone")
    running, _ = (engine.resume(attempt, slot) for slot, attempt in enumerate((running, unsent)))
    assert engine.what_became() == [("OutcomeArrived", unsent.start.sequence)]
    engine.engine.end(running, EndReason.CANCEL, None)
    engine.until_told("OutcomeArrived", 0)
