"""The supervisor's own deadlines: a worker that is stopped keeps no limit, and its agent can stop it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from drivers.engine_driver import EngineDriver, OneAttempt
from drivers.processes import wait_until

from orchestrator.engines.engine import AttemptLost, OutcomeArrived
from orchestrator.engines.inline import InlineEngine
from orchestrator.engines.onlookers import stopped_processes
from orchestrator.system.locks.held import HeldLocks
from orchestrator.workers.processes.identity import process_state
from orchestrator.workers.protocol import AttemptClass, EndReason, Limits, Outcome

STOPS_ITS_WORKER_ONCE = ("sh", "-c", "kill -STOP $PPID; echo done")
STOPS_ITS_WORKER = (
    "sh",
    "-c",
    'trap "" TERM; while read -r _ _ _ parent _ < /proc/$$/stat && [ $parent = $PPID ]; do kill -STOP $PPID; sleep 0.01; done',
)
"""As long as that is its parent: left behind by a test that was killed, it would stop whatever gets that number next."""
Clock = Callable[[], float]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EngineDriver]:
    made = EngineDriver(tmp_path)
    yield made
    made.engine.close()


@pytest.fixture
def later() -> Clock:
    """A time that is ten seconds later at each call: the looks of the supervisor, without the waiting."""
    times = iter(range(10, 10_000, 10))
    began = time.monotonic()
    return lambda: began + next(times)


def until_stopped(driver: EngineDriver) -> str:
    """Until the worker is stopped; how the notes name it."""
    worker = driver.worker
    assert worker is not None
    wait_until(lambda: process_state(worker.pid, worker.start_ticks) == "T", "the worker is stopped")
    return f"worker 0 (process {worker.pid})"


def look(driver: EngineDriver, later: Clock, times: int = 2) -> None:
    """The first look sees that it is stopped, the second that it is so for long."""
    for _ in range(times):
        driver.told += driver.engine.look_at_workers(later())


@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_worker_that_is_stopped_is_continued_and_does_what_it_has_to(
    driver: EngineDriver, later: Clock, is_adopted: bool
) -> None:
    attempt = driver.begin(*STOPS_ITS_WORKER_ONCE)
    name = until_stopped(driver)
    assert [(each.pid, each.words) for each in stopped_processes(driver.worker)] == [
        (driver.worker.pid, "its worker, which is continued once")
    ]
    if is_adopted:
        driver.next_supervisor()
        driver.resume(attempt)
    look(driver, later, times=1)
    assert driver.notes()[is_adopted:] == [], "a stop of a moment is somebody's who knows what it is for"
    look(driver, later, times=1)
    assert driver.notes()[is_adopted:] == [f"job:0: {name} is stopped (SIGSTOP); it is continued, once"]
    over = driver.until_over()
    assert isinstance(over, OutcomeArrived)
    assert over.outcome.stdout.inline == b"done\n"
    assert driver.engine.next_look is None


@pytest.mark.parametrize("is_adopted", [False, True])
def test_one_that_is_stopped_again_is_killed_and_its_attempt_has_timed_out(
    driver: EngineDriver, later: Clock, is_adopted: bool
) -> None:
    attempt = driver.begin(*STOPS_ITS_WORKER)
    name = until_stopped(driver)
    if is_adopted:
        driver.next_supervisor()
        driver.resume(attempt)
    look(driver, later)
    until_stopped(driver)
    look(driver, later)
    over = driver.until_over()
    assert isinstance(over, AttemptLost)
    words = f"its {name} was stopped (SIGSTOP) again after it had been continued, and was killed"
    assert (over.ended_by, over.words) == (EndReason.TIMEOUT, f"timed out: {words}")


def test_one_that_ends_between_the_look_and_the_signal_is_told_by_its_end(
    driver: EngineDriver, later: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.begin("sleep", "60", limits=Limits(grace_seconds=0.1))
    assert driver.worker is not None
    os.kill(driver.worker.pid, signal.SIGKILL)
    os.waitpid(driver.worker.pid, 0)
    monkeypatch.setattr("orchestrator.engines.deadlines.process_state", lambda *_: "T")
    look(driver, later)
    assert isinstance(driver.until_over(), OutcomeArrived | AttemptLost), "it may not have begun yet"


def test_one_that_was_to_end_and_is_stopped_again_is_killed_and_has_ended_for_that_reason(
    driver: EngineDriver, later: Clock
) -> None:
    """And as soon as it was to end: its own grace would take ten minutes."""
    attempt = driver.begin(*STOPS_ITS_WORKER, limits=Limits(grace_seconds=600.0))
    name = until_stopped(driver)
    driver.engine.end(attempt, EndReason.CANCEL, 0.1)
    until_stopped(driver)
    look(driver, later)
    over = driver.until_over()
    assert isinstance(over, AttemptLost)
    words = f"its {name} was stopped (SIGSTOP) again after it had been continued, and was killed"
    assert (over.ended_by, over.words) == (EndReason.CANCEL, f"cancelled: {words}")


def begin_without_limits(driver: EngineDriver) -> OneAttempt:
    """Of an attempt with a timeout whose worker was never told of it: it stands for one that fails to keep it."""
    attempt = driver.attempt(worker=driver.prepare(), limits=Limits(timeout_seconds=5.0, grace_seconds=0.1))
    message = msgspec.structs.replace(driver.message(attempt, "sleep", "600"), limits=Limits(grace_seconds=0.1))
    driver.engine.start(attempt, message, HeldLocks(()))
    log = log_of(driver)
    wait_until(lambda: log.exists() and b'"spawned"' in log.read_bytes(), "the agent runs")
    return attempt


def log_of(driver: EngineDriver) -> Path:
    return driver.run_dir.worker_folder(0) / "log"


def test_a_worker_that_runs_and_keeps_no_limit_is_killed_once_all_patience_is_over(driver: EngineDriver, later: Clock) -> None:
    begin_without_limits(driver)
    look(driver, later, times=3)
    assert driver.notes() == []
    look(driver, later, times=10)
    over = driver.until_over()
    assert "it is continued, once" in driver.notes()[0]
    assert isinstance(over, AttemptLost)
    assert (over.ended_by, "did not keep its limits" in over.words) == (EndReason.TIMEOUT, True)


def test_a_worker_whose_agent_is_gone_is_left_alone_however_long_it_takes_to_settle(driver: EngineDriver, later: Clock) -> None:
    attempt = begin_without_limits(driver)
    log = log_of(driver)
    log.write_bytes(log.read_bytes().replace(b'"spawned"', b'"unknown"'))
    look(driver, later, times=40)
    assert driver.notes() == []
    driver.engine.end(attempt, EndReason.CANCEL, 0.0)
    assert isinstance(driver.until_over(), OutcomeArrived)


class TestAnAgentThatIsStopped:
    """Its worker lives. It waits on a thread of this very process here, so that its patience can be shortened."""

    @pytest.fixture(autouse=True)
    def impatience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orchestrator.workers.processes.watch._STOPPED_SECONDS", 0.0)

    def outcome(self, tmp_path: Path, script: str) -> Outcome:
        driver = EngineDriver(tmp_path, InlineEngine)
        driver.begin("sh", "-c", script)
        over = driver.until_over()
        driver.engine.close()
        assert isinstance(over, OutcomeArrived)
        return over.outcome

    def test_it_is_continued_once_and_the_second_time_it_has_timed_out(self, tmp_path: Path) -> None:
        found = self.outcome(tmp_path, "kill -STOP $$; echo continued; kill -STOP $$; echo done")
        assert (found.attempt_class, found.ended_by) == (AttemptClass.TIMEOUT, EndReason.STOPPED)
        assert found.message == "timed out: its process was stopped (SIGSTOP) again after it had been continued"
        assert (found.stdout.inline or b"").startswith(b"continued\n")

    def test_what_it_starts_may_be_stopped_as_it_likes(self, tmp_path: Path) -> None:
        script = (
            'sh -c "kill -STOP \\$\\$; exit 3" & until grep -q "^State:.T" /proc/$!/status; do :; done; kill -CONT $!; wait $!'
        )
        assert self.outcome(tmp_path, script).exit_code == 3
