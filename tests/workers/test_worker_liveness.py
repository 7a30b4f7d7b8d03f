"""What others can tell of a worker without asking it: whether it lives, what its attempt holds, where it stands."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.command_line import RunCli
from drivers.processes import pids_in, sees_open_files, wait_until
from drivers.worker_driver import WorkerDriver, may_be_locked

from orchestrator.workers.launch import start_worker
from orchestrator.workers.processes.dead_tree import end_tree_of_dead_worker
from orchestrator.workers.protocol import LIVENESS_LOCK_NAME, WORKER_FOLDER_VARIABLE, AttemptClass, Begun, Holding


@pytest.fixture
def worker(worker: WorkerDriver) -> Iterator[WorkerDriver]:
    yield worker
    worker.close()
    end_tree_of_dead_worker(worker.log(), mark=worker.mark, grace_seconds=0, folder=str(worker.folder))


def is_alive(worker: WorkerDriver) -> bool:
    return not may_be_locked(worker.folder / LIVENESS_LOCK_NAME)


class TestLivenessLock:
    def test_it_is_held_from_the_start_to_the_exit(self, worker: WorkerDriver) -> None:
        assert is_alive(worker)
        worker.run("true")
        assert is_alive(worker)
        worker.disconnect()
        assert worker.wait_exit() == 0
        assert not is_alive(worker)

    def test_it_is_free_when_the_worker_is_killed_although_its_agent_lives(self, worker: WorkerDriver) -> None:
        worker.start("sh", "-c", "echo $$ >> pids; exec sleep 600")
        (agent,) = pids_in(worker.root / "pids", 1)
        worker.agent()
        worker.kill()
        assert not is_alive(worker)
        os.kill(agent, 0)

    def test_it_outlives_the_supervisor_as_the_worker_does(self, worker: WorkerDriver) -> None:
        os.mkfifo(worker.root / "go")
        worker.start("sh", "-c", "read line < go")
        worker.agent()
        worker.disconnect()
        assert is_alive(worker)
        (worker.root / "go").write_text("go\n")
        assert worker.wait_exit() == 0
        assert not is_alive(worker)

    def test_a_second_worker_does_not_move_in_with_a_living_one(self, worker: WorkerDriver) -> None:
        open_before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(BlockingIOError) as refused:
            start_worker(str(worker.folder))
        assert refused.value.errno == errno.EAGAIN
        assert len(os.listdir("/proc/self/fd")) == open_before
        assert worker.run("true").attempt_class is AttemptClass.OK

    def test_a_supervisor_without_streams_starts_a_worker_all_the_same(self, tmp_path: Path) -> None:
        """Then the numbers that a worker's descriptors get are those that the supervisor has them under."""
        folder = tmp_path / "workers"
        folder.mkdir()
        program = f"""if True:
            import os, sys
            sys.path[:0] = {sys.path!r}
            from pathlib import Path
            from drivers.worker_driver import may_be_locked
            from orchestrator.workers.launch import start_worker
            os.closerange(0, 100)
            pid, connection = start_worker({str(folder)!r})
            is_alive = not may_be_locked(Path({str(folder)!r}) / "alive.lock")
            connection.close()
            os._exit(10 * is_alive + os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
        done = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
        assert (done.returncode, (folder / "crash.log").read_text()) == (10, "")


class TestKeptLocks:
    def test_a_kept_lock_stays_its_supervisors(self, worker: WorkerDriver) -> None:
        names = ("slot", "pool", "token")
        locks = [worker.lock(worker.root / name) for name in names]
        worker.run("true", locks=locks, kept_locks=1)
        assert [may_be_locked(worker.root / name) for name in names] == [True, True, False]
        os.close(locks[2])
        assert may_be_locked(worker.root / "token")
        for lock in locks[:2]:
            os.close(lock)

    @sees_open_files
    def test_a_kept_lock_is_no_descriptor_left_in_the_worker(self, worker: WorkerDriver) -> None:
        def after_an_attempt() -> list[str]:
            locks = [worker.lock(worker.root / name) for name in ("slot", "token")]
            worker.run("true", locks=locks, kept_locks=1)
            for lock in locks:
                os.close(lock)
            return sorted(os.listdir(f"/proc/{worker.pid}/fd"))

        assert after_an_attempt() == after_an_attempt()

    @pytest.mark.parametrize("is_told_late", [False, True], ids=["gone during the attempt", "gone before it began"])
    def test_without_a_supervisor_a_kept_lock_is_let_go_and_its_waiters_are_told(
        self, worker: WorkerDriver, is_told_late: bool
    ) -> None:
        os.mkfifo(worker.root / "go")
        lock = worker.lock(worker.root / "token")
        locked_at = os.stat(worker.root / "token").st_mtime_ns
        # What escapes with the lock must not hold it for ever.
        keeper = subprocess.Popen(["sleep", "600"], pass_fds=[lock])
        worker.start("sh", "-c", "read line < go", locks=[lock], kept_locks=1)
        os.close(lock)
        if not is_told_late:
            worker.agent()
        worker.disconnect()
        (worker.root / "go").write_text("go\n")
        assert worker.wait_exit() == 0
        assert may_be_locked(worker.root / "token")
        assert os.stat(worker.root / "token").st_mtime_ns != locked_at
        keeper.kill()
        keeper.wait()


class TestWhatTheAgentIsTold:
    def test_the_log_tells_what_the_attempt_holds(self, worker: WorkerDriver) -> None:
        holding = Holding(
            run="/state/runs/a", root="/state/runs/r", item="port:3", lane="fast", pools=["p"], depth=1, max_depth=2
        )
        worker.run("true", holding=holding)
        worker.run("true")
        assert [line.holding for line in worker.log() if isinstance(line, Begun)] == [holding, None]

    def test_the_folder_is_in_the_environment_whatever_the_item_says(self, worker: WorkerDriver) -> None:
        for env in ({}, {WORKER_FOLDER_VARIABLE: "/elsewhere"}, {WORKER_FOLDER_VARIABLE: None}):
            outcome = worker.shell(f"echo ${WORKER_FOLDER_VARIABLE}", env=env)
            assert outcome.stdout.inline == f"{worker.folder}\n".encode()


@pytest.mark.parametrize("slots", [0, 1], ids=["inline", "local"])
def test_an_item_finds_its_living_worker_wherever_it_runs(run_cli: RunCli, tmp_path: Path, slots: int) -> None:
    jobs_file = tmp_path / "jobs.toml"
    look = f"cd ${WORKER_FOLDER_VARIABLE}; flock -n {LIVENESS_LOCK_NAME} echo dead || echo alive; grep -c begun log"
    jobs_file.write_text(f"[run]\nslots = {slots}\n[jobs.look]\nshell = '''{look}'''\n")
    done = run_cli("run", jobs_file, "--run-id", "r")
    assert done.returncode == 0, done.stderr
    assert run_cli("logs", "r", "look").stdout == "alive\n1\n"
    (lock,) = (tmp_path / "home").glob(f"runs/r/workers/*/{LIVENESS_LOCK_NAME}")
    wait_until(lambda: may_be_locked(lock), "nothing lives there any more")


def test_the_touch_of_two_releases_in_a_row_differs(worker: WorkerDriver) -> None:
    stamps = []
    for _ in range(3):
        lock = worker.lock(worker.root / "slot")
        worker.run("true", locks=[lock])
        stamps.append(os.stat(worker.root / "slot").st_mtime_ns)
        os.close(lock)
    assert len(set(stamps)) == 3
    assert stamps == sorted(stamps)
    assert stamps[-1] <= time.time_ns()
