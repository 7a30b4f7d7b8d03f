"""Who holds a lock, and the supervisor's own lock."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
from filelock import FileLock, Timeout

from orchestrator.errors import ExitCode, RunHeldError
from orchestrator.store.run_dir import RunDir
from orchestrator.store.supervisor_lock import SupervisorLock
from orchestrator.system.locks import holders
from orchestrator.system.locks.holders import holder_pid, is_locked
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.locks import unlock

HOLDER = """
import sys
from pathlib import Path
from orchestrator.store.supervisor_lock import SupervisorLock
from orchestrator.store.run_dir import RunDir
lock = SupervisorLock(RunDir(Path(sys.argv[1])))
lock.try_acquire()
print("held", flush=True)
sys.stdin.read()
"""


OTHER = "1: FLOCK  ADVISORY  WRITE 1 08:01:1 0 EOF\n"
"""A lock of somebody else's, as the kernel lists it."""


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process supervises the run in `folder`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()
            process.wait(timeout=60)


@pytest.fixture(params=["proc", "shared try"])
def _way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "proc" and not Path("/proc/locks").exists():
        pytest.skip("this system has no /proc/locks")
    if request.param == "shared try":
        monkeypatch.setattr(holders, "_PROC_LOCKS", tmp_path / "there is none")


@pytest.mark.usefixtures("_way")
def test_a_lock_is_seen_while_it_is_held_and_not_after_a_kill(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    assert not is_locked(run_dir.supervisor_lock)
    with held_elsewhere(tmp_path) as process:
        assert is_locked(run_dir.supervisor_lock)
        process.kill()
        process.wait(timeout=60)
        assert not is_locked(run_dir.supervisor_lock)
        assert run_dir.supervisor_lock.exists()


def test_a_list_without_a_lock_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "free.lock").touch()
    monkeypatch.setattr(holders, "_PROC_LOCKS", tmp_path / "locks")
    (tmp_path / "locks").touch()
    monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("a reader took a lock"))
    assert not is_locked(tmp_path / "free.lock")


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only /proc/locks tells who holds a lock")
def test_asking_takes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "_SURELY_WHOLE_BYTES", 1 << 30)  # however many locks this machine has just now
    with held_elsewhere(tmp_path) as process:
        monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("a reader took a lock"))
        assert is_locked(tmp_path / "supervisor.lock")
        assert holder_pid(tmp_path / "supervisor.lock") == process.pid
        (tmp_path / "free.lock").touch()
        assert not is_locked(tmp_path / "free.lock")
        assert holder_pid(tmp_path / "free.lock") is None


def test_a_second_supervisor_is_told_who_has_the_run(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    with held_elsewhere(tmp_path) as process:
        with pytest.raises(RunHeldError, match=f"supervised by process {process.pid} since ") as caught:
            SupervisorLock(run_dir).try_acquire(timeout_seconds=0.05)
        assert caught.value.exit_code is ExitCode.HELD
        for note in ('{"pid": "not to be trusted"', "[" * 5000, f'{{"pid": {process.pid}, "since": 1e300}}', "caf\xe9"):
            run_dir.supervisor_json.write_bytes(note.encode("latin-1"))
            with pytest.raises(RunHeldError):
                SupervisorLock(run_dir).try_acquire(timeout_seconds=0)
    lock = SupervisorLock(run_dir)
    lock.try_acquire()
    lock.release()


def test_a_released_lock_leaves_its_file_and_can_be_taken_again(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    first, second = SupervisorLock(run_dir), SupervisorLock(run_dir)
    first.try_acquire()
    inode = run_dir.supervisor_lock.stat().st_ino
    with pytest.raises(RunHeldError):
        second.try_acquire(timeout_seconds=0)
    first.release()
    second.try_acquire(timeout_seconds=0)
    assert run_dir.supervisor_lock.stat().st_ino == inode
    second.release()
    assert not is_locked(run_dir.supervisor_lock)


@pytest.mark.parametrize("count", [2000, (os.sysconf("SC_PAGE_SIZE") - 1) // len(OTHER)], ids=["many pieces", "no whole page"])
def test_a_lock_that_a_long_list_has_passed_over_is_held_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The kernel gives the list in pieces: when a lock goes meanwhile, one further on is in none of them.

    Its first piece ends where the next lock has no room in a page any more: seen were 4,071 bytes, and nothing behind them.
    """
    path = tmp_path / "lock"
    others = OTHER * count
    whole = f"{others}2: FLOCK  ADVISORY  WRITE 4321 {{}} 0 EOF\n"
    monkeypatch.setattr(holders, "_PROC_LOCKS", listed := Mock())
    listed.read_text.return_value = others
    fd = try_lock(path)
    assert fd is not None
    found = path.stat()
    whole = whole.format(f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}")
    assert is_locked(path)
    listed.read_text.side_effect = [others, whole]
    assert holder_pid(path) == 4321
    unlock(fd)
    listed.read_text.side_effect = None
    assert (is_locked(path), holder_pid(path)) == (False, None)


def test_a_forked_child_that_ends_does_not_free_the_lock(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    script = HOLDER.replace(
        'print("held"', "import os\nchild = os.fork()\nif child == 0: sys.exit()\nos.waitpid(child, 0)\nprint('held'"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            assert is_locked(run_dir.supervisor_lock)
            with pytest.raises(RunHeldError):
                SupervisorLock(run_dir).try_acquire(timeout_seconds=0)
        finally:
            process.kill()


def test_a_lock_of_ours_and_one_of_filelock_exclude_each_other(tmp_path: Path) -> None:
    """Earlier versions locked by that library: one of them may live beside us."""
    theirs = FileLock(tmp_path / "lock", blocking=False)
    with theirs:
        assert try_lock(tmp_path / "lock") is None
    held = try_lock(tmp_path / "lock")
    assert held is not None
    with pytest.raises(Timeout):
        theirs.acquire()
    unlock(held)
    theirs.acquire()
    theirs.release()


def test_a_lock_that_is_refused_with_eacces_is_held_by_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.EACCES, "Permission denied")))
    assert try_lock(tmp_path / "lock") is None
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    with pytest.raises(OSError, match="No locks available"):
        try_lock(tmp_path / "lock")


def test_the_lock_does_not_reach_a_spawned_process(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    lock = SupervisorLock(run_dir)
    lock.try_acquire()
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, close_fds=False) as process:
        lock.release()
        assert not is_locked(run_dir.supervisor_lock)
        process.kill()
    assert os.path.exists(run_dir.supervisor_lock)
