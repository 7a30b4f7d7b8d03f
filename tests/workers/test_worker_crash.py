"""Kills, closed sockets and full disks: no outcome is lost, no lock let go too early, no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from drivers.processes import is_living, pids_in, wait_until
from drivers.worker_driver import WorkerDriver, may_be_locked
from msgspec.structs import replace

from orchestrator.workers.processes.dead_tree import end_tree_of_dead_worker
from orchestrator.workers.processes.identity import boot_id, start_ticks
from orchestrator.workers.protocol import AttemptClass, Begun, Ended, LogLine, Spawned

MakeWorker = Callable[..., WorkerDriver]


@pytest.fixture
def make_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWorker]:
    made: list[WorkerDriver] = []

    def make(fault: str = "") -> WorkerDriver:
        monkeypatch.setenv("ORCHESTRATE_WORKER_FAULT", fault)
        made.append(WorkerDriver(tmp_path))
        return made[-1]

    yield make
    for driver in made:
        driver.close()
        end_tree_of_dead_worker(driver.log(), mark=driver.mark, grace_seconds=0, folder=str(driver.folder))


def kinds(driver: WorkerDriver) -> list[str]:
    return [type(line).__name__ for line in driver.log()]


def as_of_a_slow_spawn(lines: list[LogLine]) -> list[LogLine]:
    """The log of a worker that knows its agent's start only to a tick more."""
    return [
        replace(line, start_ticks=line.start_ticks - 1, ticks_more=line.ticks_more + 1) if isinstance(line, Spawned) else line
        for line in lines
    ]


class TestSupervisorGone:
    def test_an_idle_worker_exits(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        worker.run("true")
        worker.disconnect()
        assert worker.wait_exit() == 0

    def test_a_running_attempt_is_finished_and_its_outcome_left_in_the_log(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        os.mkfifo(worker.root / "go")
        worker.start("sh", "-c", "read line < go; echo $line; exit 3")
        worker.agent()
        worker.disconnect()
        (worker.root / "go").write_text("done\n")
        assert worker.wait_exit() == 0
        (outcome,) = worker.logged_outcomes().values()
        assert (outcome.exit_code, outcome.stdout.inline) == (3, b"done\n")
        assert worker.crash_log() == ""

    def test_the_timeout_still_holds(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        worker.start("sleep", "600", timeout_seconds=0.5)
        worker.agent()
        worker.disconnect()
        assert worker.wait_exit() == 0
        (outcome,) = worker.logged_outcomes().values()
        assert outcome.attempt_class is AttemptClass.TIMEOUT

    def test_a_start_that_outlives_its_sender_is_carried_out_once(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        worker.start("sh", "-c", "echo ran >> witness")
        worker.disconnect()
        assert worker.wait_exit() == 0
        assert (worker.root / "witness").read_text() == "ran\n"
        assert len(worker.logged_outcomes()) == 1

    def test_a_worker_that_can_neither_log_nor_tell_says_so(self, make_worker: MakeWorker) -> None:
        worker = make_worker("worker.log.write:3:ENOSPC")
        os.mkfifo(worker.root / "go")
        worker.start("sh", "-c", "read line < go")
        worker.agent()
        worker.disconnect()
        (worker.root / "go").write_text("go\n")
        assert worker.wait_exit() == 74
        assert "No space left on device" in worker.crash_log()


class TestWorkerKilled:
    @pytest.mark.parametrize(
        ("point", "logged"),
        [
            ("worker.begun", ["Begun"]),
            ("worker.spawned", ["Begun"]),
            ("worker.logged", ["Begun", "Spawned", "Ended"]),
            ("worker.sent", ["Begun", "Spawned", "Ended"]),
        ],
    )
    def test_the_log_tells_how_far_it_came(self, make_worker: MakeWorker, point: str, logged: list[str]) -> None:
        worker = make_worker(point)
        worker.start("sh", "-c", "sleep 0.1; exit 3")
        assert worker.wait_exit() == -signal.SIGKILL
        assert kinds(worker) == logged
        assert [outcome.exit_code for outcome in worker.logged_outcomes().values()] == [3] * logged.count("Ended")

    def test_an_agent_that_no_line_names_is_found_by_its_mark(self, make_worker: MakeWorker) -> None:
        worker = make_worker("worker.spawned")
        worker.start("sh", "-c", "echo $$ >> pids; exec sleep 600")
        assert worker.wait_exit() == -signal.SIGKILL
        (pid,) = pids_in(worker.root / "pids", 1)
        assert end_tree_of_dead_worker(worker.log(), mark=worker.mark, grace_seconds=10) == 1
        assert not is_living(pid)

    @pytest.mark.parametrize(
        "script",
        [
            "sleep 600 & echo $! >> pids",
            "setsid sh -c 'echo $$ >> pids; exec sleep 600' &",
            "(sh -c 'echo $$ >> pids; exec sleep 600' &)",
            "(env -i sh -c 'echo $$ >> pids; exec sleep 600' >/dev/null 2>&1 200>&- &)",
            "(env -i setsid sh -c 'echo $$ >> pids; exec sleep 600' </dev/null 200>&- &)",
            "sh -c 'trap \"\" TERM; echo $$ >> pids; while :; do sleep 600; done' &",
            "ORCHESTRATE_MARK=$ORCHESTRATE_MARK/inner setsid sh -c 'echo $$ >> pids; exec sleep 600' >/dev/null 2>&1 &",
        ],
        ids=["child", "session", "double fork", "no environment", "daemon with our output", "ignores SIGTERM", "nested mark"],
    )
    def test_the_tree_it_leaves_is_found_and_ended(self, make_worker: MakeWorker, script: str) -> None:
        worker = make_worker()
        worker.start("sh", "-c", f"{script}\necho $$ >> pids; while :; do sleep 600; done")
        pids = pids_in(worker.root / "pids", 2)
        worker.agent()
        worker.kill()
        assert all(map(is_living, pids))
        lines = as_of_a_slow_spawn(worker.log())
        ended = end_tree_of_dead_worker(lines, mark=worker.mark, grace_seconds=0.2, folder=str(worker.folder))
        assert ended >= 2
        assert not any(map(is_living, pids))

    def test_a_process_that_has_become_another_users_is_told_and_left_alone(
        self, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker = make_worker()
        worker.start("sh", "-c", 'trap "" TERM; echo $$ >> pids; while :; do sleep 0.05; done')
        (pid,) = pids_in(worker.root / "pids", 1)
        worker.agent()
        worker.kill()
        kill = psutil.Process.kill

        def refuse(process: psutil.Process) -> None:
            if process.pid == pid:
                raise psutil.AccessDenied(pid)
            kill(process)

        told: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(psutil.Process, "kill", refuse)
            end_tree_of_dead_worker(
                worker.log(), mark=worker.mark, grace_seconds=0.1, folder=str(worker.folder), tell=told.append
            )
        assert is_living(pid)
        assert told == [f"process {pid} is another user's, may not be signalled, and is left alone"]

    def test_nothing_to_end_is_no_trouble(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        worker.run("true")
        worker.kill()
        assert end_tree_of_dead_worker(worker.log(), mark=worker.mark, grace_seconds=10) == 0
        assert end_tree_of_dead_worker([], mark="no such mark", grace_seconds=10) == 0


class TestStrangers:
    """A process that merely has the number of an agent is never touched."""

    @pytest.fixture
    def stranger(self) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
            yield process
            process.kill()

    def test_another_start_time(self, stranger: subprocess.Popen[bytes]) -> None:
        ticks = start_ticks(stranger.pid)
        assert ticks is not None
        lines = [Begun(sequence=0, boot_id=boot_id(), mark="m"), Spawned(sequence=0, pid=stranger.pid, start_ticks=ticks - 1)]
        assert end_tree_of_dead_worker(lines, mark="m", grace_seconds=0) == 0
        assert stranger.poll() is None

    def test_another_boot(self, stranger: subprocess.Popen[bytes]) -> None:
        ticks = start_ticks(stranger.pid)
        assert ticks is not None
        lines = [Begun(sequence=0, boot_id="earlier", mark="m"), Spawned(sequence=0, pid=stranger.pid, start_ticks=ticks)]
        assert end_tree_of_dead_worker(lines, mark="m", grace_seconds=0) == 0
        assert stranger.poll() is None

    def test_a_mark_that_only_begins_alike(self) -> None:
        with subprocess.Popen(["sleep", "600"], env={**os.environ, "ORCHESTRATE_MARK": "mark-12"}) as process:
            assert end_tree_of_dead_worker([], mark="mark-1", grace_seconds=0) == 0
            assert process.poll() is None
            process.kill()

    def test_a_reader_of_the_output(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        worker.start("sleep", "600")
        worker.agent()
        with subprocess.Popen(["tail", "-f", worker.folder / "stdout"], stdout=subprocess.DEVNULL) as reader:
            worker.kill()
            assert end_tree_of_dead_worker(worker.log(), mark=worker.mark, grace_seconds=10, folder=str(worker.folder)) == 1
            assert reader.poll() is None
            reader.kill()

    def test_ourselves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also when a shell of ours carries the mark, as after `exec`."""
        script = (
            "import os; from orchestrator.workers.processes.dead_tree import end_tree_of_dead_worker;"
            "print(end_tree_of_dead_worker([], mark='here', grace_seconds=0))"
        )
        monkeypatch.setenv("ORCHESTRATE_MARK", "here")
        told = subprocess.run(
            ["sh", "-c", '"$0" -c "$1"; echo alive', os.sys.executable, script],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert told.stdout == "0\nalive\n"


class TestLocks:
    def test_the_lock_is_held_while_the_agent_lives_and_free_after(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        path = worker.root / "slot"
        lock = worker.lock(path)
        os.mkfifo(worker.root / "go")
        worker.start("sh", "-c", "read line < go", locks=[lock])
        os.close(lock)
        worker.agent()
        assert not may_be_locked(path)
        (worker.root / "go").write_text("go\n")
        worker.outcome()
        assert may_be_locked(path)

    def test_the_agent_holds_the_lock_when_its_worker_is_killed(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        path = worker.root / "slot"
        lock = worker.lock(path)
        worker.start("sleep", "600", locks=[lock])
        os.close(lock)
        worker.agent()
        worker.kill()
        assert not may_be_locked(path)
        end_tree_of_dead_worker(worker.log(), mark=worker.mark, grace_seconds=10)
        assert may_be_locked(path)

    def test_an_agent_cannot_unlock_what_it_keeps_held(self, make_worker: MakeWorker) -> None:
        """It tries all that it has; its worker lives, and then nobody lives but the agent."""
        worker = make_worker()
        os.mkfifo(worker.root / "go")
        paths = [worker.root / name for name in ("slot", "pool", "token")]
        unlock = "for fd in $(ls /proc/$$/fd); do flock -u $fd; done; flock -u 200; flock -u 201"
        worker.start("sh", "-c", f"{unlock}; touch tried; read line < go; sleep 600", locks=[worker.lock(path) for path in paths])
        worker.disconnect_locks()
        wait_until((worker.root / "tried").exists, "it has tried")
        assert not any(map(may_be_locked, paths))
        worker.kill()
        assert not any(map(may_be_locked, paths))
        end_tree_of_dead_worker(worker.log(), mark=worker.mark, grace_seconds=10)
        assert all(map(may_be_locked, paths))

    @pytest.mark.parametrize("fault", ["", "worker.locks.carried:1:ETOOMANYREFS"], ids=["carried", "no more may be carried"])
    def test_the_locks_go_with_the_agent_however_they_are_kept(self, make_worker: MakeWorker, fault: str) -> None:
        worker = make_worker(fault)
        paths = [worker.root / name for name in ("slot", "token")]
        worker.start("sleep", "600", locks=[worker.lock(path) for path in paths])
        worker.disconnect_locks()
        worker.agent()
        worker.kill()
        assert not any(map(may_be_locked, paths))
        end_tree_of_dead_worker(worker.log(), mark=worker.mark, grace_seconds=10)
        assert all(map(may_be_locked, paths))

    def test_a_lock_dies_with_a_message_that_nobody_reads(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        os.kill(worker.pid, signal.SIGSTOP)
        path = worker.root / "slot"
        lock = worker.lock(path)
        worker.start("true", locks=[lock])
        os.close(lock)
        assert not may_be_locked(path)
        worker.disconnect()
        worker.kill()
        assert may_be_locked(path)

    def test_what_escaped_with_the_descriptor_does_not_keep_the_lock(self, make_worker: MakeWorker) -> None:
        worker = make_worker()
        path = worker.root / "slot"
        lock = worker.lock(path)
        # This test itself is what got away: it holds the same open file.
        worker.run("true", locks=[lock])
        assert may_be_locked(path)
        os.close(lock)

    @pytest.mark.parametrize("argv", [["missing"], ["true", "x" * 200_000]])
    def test_an_attempt_that_cannot_start_lets_go(self, make_worker: MakeWorker, argv: list[str]) -> None:
        worker = make_worker()
        path = worker.root / "slot"
        worker.run(*argv, locks=[worker.lock(path)])
        assert may_be_locked(path)


class TestDiskFull:
    def test_no_agent_starts_that_could_not_be_recorded(self, make_worker: MakeWorker) -> None:
        worker = make_worker("worker.log.write:1:ENOSPC")
        outcome = worker.shell("echo ran > witness")
        assert outcome.attempt_class is AttemptClass.STATE_ERROR
        assert outcome.message == "the worker's log cannot be written: No space left on device"
        assert not (worker.root / "witness").exists()

    def test_an_outcome_that_cannot_be_logged_is_still_told(self, make_worker: MakeWorker) -> None:
        worker = make_worker("worker.log.write:3:ENOSPC")
        assert worker.shell("exit 3").exit_code == 3
        assert kinds(worker) == ["Begun", "Spawned"]

    def test_an_output_that_does_not_fit_keeps_its_exit_code(self, make_worker: MakeWorker) -> None:
        worker = make_worker("worker.capture:1:ENOSPC")
        outcome = worker.shell("echo a; exit 0")
        assert (outcome.attempt_class, outcome.exit_code) == (AttemptClass.STATE_ERROR, 0)
        assert "No space left on device" in outcome.message


def test_our_own_bug_leaves_a_traceback_and_exit_code_70(make_worker: MakeWorker) -> None:
    worker = make_worker()
    worker.start("sleep", "600")
    worker.agent()
    worker.start("true")
    assert worker.wait_exit() == 70
    assert "came while another attempt runs" in worker.crash_log()


def test_the_log_is_emptied_once_the_journal_has_its_outcomes(make_worker: MakeWorker) -> None:
    worker = make_worker()
    text = "x" * 4000
    for _ in range(20):
        worker.shell(f"echo {text}")
    assert (worker.folder / "log").stat().st_size > 65536
    worker.run("true", recorded_through=18)
    assert len(worker.logged_outcomes()) == 21
    worker.run("true", recorded_through=20)
    assert list(worker.logged_outcomes()) == [21]


def test_a_large_start_goes_by_a_file_that_is_removed(make_worker: MakeWorker) -> None:
    worker = make_worker()
    assert worker.run("wc", "-c", stdin="x" * 1_000_000).stdout.inline == b"1000000\n"
    wait_until(lambda: not list(worker.folder.glob("message*")), "the message file is gone")


def test_ended_lines_are_what_was_told(make_worker: MakeWorker) -> None:
    worker = make_worker()
    outcome = worker.shell("echo a; exit 3")
    (line,) = [line for line in worker.log() if isinstance(line, Ended)]
    assert line.outcome == outcome
