"""What an engine promises: each attempt that it was given ends with exactly one event, and its locks are free then."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest
from drivers.control_groups import ControlGroups
from drivers.engine_driver import EngineDriver
from drivers.processes import without_threads

from orchestrator.core.events import Verdict
from orchestrator.engines.adopted import POLL_SECONDS
from orchestrator.engines.engine import AttemptLost, OutcomeArrived
from orchestrator.engines.inline import InlineEngine
from orchestrator.engines.local import LocalEngine
from orchestrator.store.outcomes import verdict_of
from orchestrator.store.records import WorkerStarted
from orchestrator.system.locks.held import HeldLocks
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.log import LogWriter, begin_log
from orchestrator.workers.protocol import AttemptClass, Begun, Ended, EndReason, Limits, Outcome

LONG = ("sleep", "600")
PATIENT = Limits(grace_seconds=600.0)
WITHOUT_END = ("sh", "-c", 'trap "" TERM; echo begun; while :; do sleep 0.01; done')
"""It heeds no SIGTERM."""


@pytest.fixture
def driver(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EngineDriver]:
    """With workers, unless the test says otherwise."""
    made = EngineDriver(tmp_path, getattr(request, "param", LocalEngine))
    yield made
    made.engine.close()


ANY_ENGINE = pytest.mark.parametrize("driver", [LocalEngine, InlineEngine], indirect=True)


def lock(path: Path) -> int:
    fd = try_lock(path)
    assert fd is not None
    return fd


def has_ended(pid: int) -> bool:
    """Whether it ends at once: it is not reaped."""
    with open(os.pidfd_open(pid)) as ended:
        return bool(select.select([ended], [], [], 10)[0])


def until_written(path: Path) -> None:
    """Until the attempt has written something."""
    while not (path.exists() and path.stat().st_size):
        os.sched_yield()


@ANY_ENGINE
def test_an_attempt_ends_once_and_its_locks_are_free_then(driver: EngineDriver, tmp_path: Path) -> None:
    slot, token = tmp_path / "slot.lock", tmp_path / "token.lock"
    kept = lock(token)
    driver.begin("echo", "done", locks=HeldLocks([lock(slot)], [kept]))
    over = driver.until_over()
    assert isinstance(over, OutcomeArrived)
    assert (over.outcome.attempt_class, over.outcome.stdout.inline) == (AttemptClass.OK, b"done\n")
    assert not is_locked(slot)
    assert is_locked(token), "the lock of a token outlives its attempt"
    os.close(kept)
    assert not is_locked(token)
    assert driver.is_silent()


@ANY_ENGINE
@pytest.mark.parametrize("reason", [EndReason.CANCEL, EndReason.DRAIN])
def test_an_attempt_that_is_asked_to_end_ends_once_for_that_reason(driver: EngineDriver, reason: EndReason) -> None:
    attempt = driver.begin(*LONG, limits=PATIENT)
    driver.engine.end(attempt, reason, None)
    over = driver.until_over()
    assert isinstance(over, OutcomeArrived)
    assert (over.outcome.attempt_class, over.outcome.ended_by) == (AttemptClass.CANCELLED, reason)
    driver.engine.end(attempt, reason, 0.0)
    assert driver.is_silent(), "one that has ended cannot be ended"


@ANY_ENGINE
def test_a_second_end_with_less_grace_comes_before_the_first(driver: EngineDriver) -> None:
    attempt = driver.begin(*WITHOUT_END, limits=PATIENT)
    until_written(driver.run_dir.worker_folder(0) / "stdout")
    driver.engine.end(attempt, EndReason.DRAIN, None)
    driver.engine.end(attempt, EndReason.DRAIN, 0.0)
    over = driver.until_over()
    assert isinstance(over, OutcomeArrived)
    assert over.outcome.signal == signal.SIGKILL


@ANY_ENGINE
def test_a_worker_is_told_once_and_serves_one_attempt_after_the_other(driver: EngineDriver) -> None:
    first = driver.engine.prepare(0)
    assert first.record is not None
    assert driver.engine.prepare(0).record is None
    for _ in range(2):
        driver.told = []
        attempt = driver.begin("true")
        assert attempt.start.worker == first.number
        driver.until_over()


def test_what_is_idle_ends_before_it_is_waited_for_and_what_runs_goes_on(driver: EngineDriver) -> None:
    idle = driver.engine.prepare(1).record
    attempt = driver.begin(*LONG)
    assert isinstance(driver.worker, WorkerStarted)
    driver.engine.let_idle_go()
    assert idle is not None
    assert has_ended(idle.pid)
    driver.engine.end(attempt, EndReason.CANCEL, 0.0)
    driver.until_over()


@ANY_ENGINE
def test_the_record_of_a_worker_has_the_form_that_it_always_had(driver: EngineDriver) -> None:
    record = driver.engine.prepare(0).record
    assert record is not None
    assert msgspec.json.encode(record) == (
        b'{"type":"worker","worker":0,"pid":%d,"start_ticks":%d,"boot_id":"%s"}'
        % (record.pid, record.start_ticks, record.boot_id.encode())
    )


class TestAWorkerThatDies:
    def test_its_attempt_is_lost_once_its_tree_is_gone(self, driver: EngineDriver, tmp_path: Path) -> None:
        slot = tmp_path / "slot.lock"
        driver.begin(*WITHOUT_END, locks=HeldLocks([lock(slot)]))
        until_written(driver.run_dir.worker_folder(0) / "stdout")
        worker = psutil.Process(self.pid(driver))
        tree = worker.children(recursive=True)
        worker.kill()
        over = driver.until_over()
        assert isinstance(over, AttemptLost)
        assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in tree)
        assert not is_locked(slot)
        assert driver.notes()[0] == "worker 0 was ended by signal 9"
        assert driver.notes()[1] == "job:0: worker 0 was ended by signal 9; ending what it left behind"

    @pytest.mark.parametrize("is_of_the_kernel", [True, False])
    def test_what_the_kernel_killed_meanwhile_for_want_of_memory_is_told_with_it(
        self, driver: EngineDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_of_the_kernel: bool
    ) -> None:
        groups = ControlGroups(tmp_path)
        groups.read_in_workers(monkeypatch)
        driver.begin("sh", "-c", f"{groups.kill if is_of_the_kernel else ':'}; echo begun; exec sleep 600")
        until_written(driver.run_dir.worker_folder(0) / "stdout")
        os.kill(self.pid(driver), signal.SIGKILL)
        over = driver.until_over()
        assert isinstance(over, AttemptLost)
        words = "; the kernel killed a process here for want of memory" if is_of_the_kernel else ""
        assert over.words == f"worker 0 ended before the attempt did{words}"

    def test_while_its_tree_is_ended_it_has_no_living_worker_and_an_end_in_a_hurry_is_heeded(self, driver: EngineDriver) -> None:
        attempt = driver.begin(*WITHOUT_END, limits=PATIENT)
        until_written(driver.run_dir.worker_folder(0) / "stdout")
        assert driver.engine.has_living_worker(0)
        os.kill(self.pid(driver), signal.SIGKILL)
        self.until_dead(driver)
        driver.engine.end(attempt, EndReason.DRAIN, 0.0)
        assert isinstance(driver.until_over(), AttemptLost)

    def test_without_a_thread_its_tree_is_ended_once_there_is_one(self, driver: EngineDriver) -> None:
        self.begin_and_kill(driver)
        with without_threads():
            self.until_dead(driver)
            driver.told += driver.engine.look_at_workers(time.monotonic() + 1)
            assert driver.is_silent()
        assert "no room on this machine just now for a thread; tried again" in driver.notes()[-1]
        assert isinstance(driver.until_over(), AttemptLost)

    def test_without_a_thread_for_long_its_tree_is_ended_all_the_same(self, driver: EngineDriver) -> None:
        self.begin_and_kill(driver)
        with without_threads():
            self.until_dead(driver)
            driver.engine.look_at_workers(time.monotonic() + 60)
            assert isinstance(driver.until_over(), AttemptLost)

    def test_an_attempt_that_was_prepared_for_it_is_not_begun_and_never_sent(self, driver: EngineDriver, tmp_path: Path) -> None:
        slot = tmp_path / "slot.lock"
        driver.prepare()
        os.kill(self.pid(driver), signal.SIGKILL)
        driver.wait()
        assert driver.notes() == ["worker 0 was ended by signal 9"]
        attempt = driver.attempt(worker=0)
        # What ended the worker may be a machine without room for a process, which has none for a thread either.
        with without_threads():
            driver.engine.start(attempt, driver.message(attempt, "true"), HeldLocks([lock(slot)]))
        assert not is_locked(slot)
        over = driver.until_over()
        assert isinstance(over, OutcomeArrived)
        assert over.outcome.attempt_class is AttemptClass.NOT_BEGUN
        assert over.outcome.message == "it was not begun: worker 0 was ended by signal 9"
        driver.told = []
        assert isinstance(driver.run("true")[-1], OutcomeArrived), "the slot has another worker then"

    def pid(self, driver: EngineDriver) -> int:
        assert driver.worker is not None
        return driver.worker.pid

    def begin_and_kill(self, driver: EngineDriver) -> None:
        """SIGKILL to the worker of an attempt without an end, once that runs."""
        driver.begin(*WITHOUT_END)
        until_written(driver.run_dir.worker_folder(0) / "stdout")
        os.kill(self.pid(driver), signal.SIGKILL)

    def until_dead(self, driver: EngineDriver) -> None:
        while driver.engine.has_living_worker(0):
            driver.wait()


class TestTheNextSupervisor:
    @pytest.mark.parametrize("has_pidfd", [True, False])
    def test_it_adopts_what_still_runs_and_takes_its_outcome(
        self, driver: EngineDriver, monkeypatch: pytest.MonkeyPatch, *, has_pidfd: bool
    ) -> None:
        if not has_pidfd:
            monkeypatch.delattr(os, "pidfd_open")
        attempt = driver.begin("sh", "-c", f"until test -e {driver.root}/go; do sleep 0.01; done; echo done")
        driver.next_supervisor()
        driver.resume(attempt)
        assert driver.worker is not None
        assert driver.notes() == [f"adopted job:0, which worker 0 (pid {driver.worker.pid}) still runs"]
        look = driver.engine.next_look
        assert look is not None
        assert (look <= time.monotonic() + POLL_SECONDS) is not has_pidfd, "the deadline alone is looked at less often"
        (driver.root / "go").touch()
        over = driver.until_over()
        assert isinstance(over, OutcomeArrived)
        assert over.outcome.stdout.inline == b"done\n"

    @pytest.mark.parametrize("driver", [LocalEngine, InlineEngine], indirect=True, ids=["local", "inline after local"])
    def test_it_ends_what_it_has_adopted_and_knows_why(self, driver: EngineDriver) -> None:
        driver.use(LocalEngine)
        attempt = driver.begin("sh", "-c", "echo begun; exec sleep 600")
        until_written(driver.run_dir.worker_folder(0) / "stdout")
        driver.next_supervisor()
        driver.resume(attempt)
        driver.engine.end(attempt, EndReason.CANCEL, None)
        over = driver.until_over()
        assert isinstance(over, OutcomeArrived)
        assert (over.outcome.ended_by, over.outcome.message) == (EndReason.CANCEL, "cancelled"), "a signal tells no reason"

    def test_what_ended_meanwhile_is_told_at_once(self, driver: EngineDriver) -> None:
        attempt = driver.begin("echo", "done")
        driver.until_over()
        driver.next_supervisor()
        driver.resume(attempt)
        assert isinstance(driver.until_over(), OutcomeArrived)
        assert driver.is_silent()

    @pytest.mark.parametrize("harm", [os.unlink, partial(os.truncate, length=0)], ids=["removed", "emptied"])
    def test_what_ended_meanwhile_and_whose_log_is_gone_is_lost_and_told(
        self, driver: EngineDriver, harm: Callable[[Path], None]
    ) -> None:
        attempt = driver.begin("echo", "done")
        driver.until_over()
        driver.next_supervisor()
        harm(driver.run_dir.worker_folder(0) / "log")
        driver.resume(attempt)
        over = driver.until_over()
        assert isinstance(over, AttemptLost)
        assert over.words == "nothing tells how it ended: the log of worker 0 is gone or was emptied"
        assert driver.notes() == [f"job:0: an attempt was started, and {over.words}; ending what it may have left behind"]

    def test_what_stopped_the_last_supervisor_is_no_verdict_on_the_item(self, driver: EngineDriver) -> None:
        outcome = Outcome(
            attempt_class=AttemptClass.STATE_ERROR, started_at=1.0, finished_at=2.0, duration_seconds=1.0, message="disk full"
        )
        attempt = driver.attempt(worker=0)
        folder = driver.run_dir.worker_folder(0)
        folder.mkdir(parents=True)
        log = LogWriter(str(folder / "log"))
        log.append(Begun(sequence=attempt.start.sequence, boot_id="b", mark="m"))
        log.append(Ended(sequence=attempt.start.sequence, outcome=outcome))
        log.close()
        driver.resume(attempt)
        over = driver.until_over()
        assert isinstance(over, AttemptLost)
        assert over.words == "disk full"

    @pytest.mark.parametrize(
        "worker",
        [
            WorkerStarted(worker=0, pid=os.getpid(), start_ticks=1, boot_id="of another boot"),
            WorkerStarted(worker=0, data="of an engine elsewhere"),
        ],
    )
    def test_what_no_worker_has_begun_is_no_loss_and_no_death(self, driver: EngineDriver, worker: WorkerStarted) -> None:
        driver.worker = worker
        driver.run_dir.worker_folder(0).mkdir(parents=True)
        begin_log(str(driver.run_dir.worker_folder(0) / "log"))
        driver.resume(driver.attempt(worker=0))
        over = driver.until_over()
        assert isinstance(over, OutcomeArrived)
        assert over.outcome.message == "it was not begun when its supervisor ended"
        assert verdict_of(over.outcome, None) is Verdict.DRAINED, "it is tried again at once, and counts for nothing"


def test_an_inline_attempt_ends_with_its_supervisor_and_leaves_its_outcome(tmp_path: Path) -> None:
    driver = EngineDriver(tmp_path, InlineEngine)
    attempt = driver.begin("sh", "-c", "echo begun; exec sleep 600")
    until_written(driver.run_dir.worker_folder(0) / "stdout")
    driver.use(LocalEngine)
    driver.next_supervisor()
    driver.resume(attempt)
    over = driver.until_over()
    driver.engine.close()
    assert isinstance(over, OutcomeArrived)
    assert over.outcome.ended_by is EndReason.DRAIN
