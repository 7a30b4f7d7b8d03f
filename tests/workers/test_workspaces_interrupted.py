"""A workspace whose worker or git is killed, held up or given up: the next attempt goes on with what was done."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from drivers.git_repository import FakeGit, Repository
from drivers.processes import is_living, sees_open_files, wait_until
from drivers.sweeps import sweep
from drivers.worker_driver import WorkerDriver, may_be_locked
from drivers.workspace_items import WorkspaceItem, patch_of, report_of

from orchestrator.workers.protocol import AttemptClass, EndReason
from orchestrator.workers.workspaces.git import GitFailed, locked
from orchestrator.workers.workspaces.record import read_record

pytestmark = pytest.mark.usefixtures("no_git_configuration")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo", **{"a.txt": "a\n"})


def test_a_git_that_is_killed_while_it_commits_is_asked_once_more(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    real, killed = shutil.which("git"), tmp_path / "killed"
    lock = f'"$({real} rev-parse --git-dir)/index.lock"'
    kill = f'case " $* " in *" commit "*) [ -e {killed} ] || {{ : > {killed}; : > {lock}; kill -9 $$; }};; esac'
    (programs / "git").write_text(f'#!/bin/sh\n{kill}\nexec {real} "$@"\n')
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    worker = WorkerDriver(tmp_path)
    try:
        outcome = WorkspaceItem(worker.root, "worktree", repository.path).run(worker, "echo b >> a.txt")
    finally:
        worker.close()
    assert killed.exists()
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.OK, "")
    assert repository.git("show", f"{report_of(outcome).commit}:a.txt") == "a\nb"


@pytest.mark.parametrize("fault", sweep(["added", "committing", "kept", "recorded", "committed"], quick=3))
def test_a_worker_killed_anywhere_leaves_what_the_next_attempt_goes_on_with(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    item = WorkspaceItem(tmp_path, "worktree", repository.path)
    script = "echo $ORCHESTRATE_NTH >> b.txt"
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    monkeypatch.setenv("ORCHESTRATE_WORKER_FAULT", f"worker.workspace.{fault}")
    killed = WorkerDriver(tmp_path / "1")
    killed.start("/bin/sh", "-c", script, workspace=item.task, cwd=item.task.cwd, env={"ORCHESTRATE_NTH": "1"})
    assert killed.wait_exit() == -signal.SIGKILL
    killed.close()
    monkeypatch.delenv("ORCHESTRATE_WORKER_FAULT")
    next_one = WorkerDriver(tmp_path / "2")
    try:
        outcome = item.run(next_one, script, env={"ORCHESTRATE_NTH": "2"})
    finally:
        next_one.close()
    assert outcome.attempt_class is AttemptClass.OK, outcome.message
    report = report_of(outcome)
    assert report.commit == repository.head("orchestrate/run/port.0")
    assert repository.show(f"{report.commit}:b.txt") == ("2" if fault in ("recorded", "added") else "1\n2")


SLOW_GIT = """#!/bin/sh
case " $* " in *" worktree add "*) echo $$ > {folder}/pid.new; mv {folder}/pid.new {folder}/pid; read word < {folder}/gate;; esac
exec {git} "$@"
"""


@sees_open_files
def test_the_git_of_a_killed_worker_is_waited_for(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock until it has ended: two that add one worktree would leave half of each."""
    item = WorkspaceItem(tmp_path, "worktree", repository.path)
    for name in ("1", "2", "bin"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "gate")
    slow = tmp_path / "bin" / "git"
    slow.write_text(SLOW_GIT.format(folder=tmp_path, git=shutil.which("git")))
    slow.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
        killed = WorkerDriver(tmp_path / "1")
        killed.start("true", workspace=item.task, cwd=item.task.cwd)
        wait_until((tmp_path / "pid").exists, "git is about to add the worktree")
        killed.kill()
        killed.close()
    assert not may_be_locked(repository.path / ".git" / "orchestrate.lock")
    next_one = WorkerDriver(tmp_path / "2")
    try:
        next_one.start("/bin/sh", "-c", "echo 2 > b.txt", workspace=item.task, cwd=item.task.cwd)
        wait_until(lambda: is_open_by(next_one.pid, "orchestrate.lock"), "the next worker is at the lock")
        assert is_living(int((tmp_path / "pid").read_text()))
        (tmp_path / "gate").write_text("go\n")
        outcome = next_one.outcome()
    finally:
        next_one.close()
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.OK, "")
    assert repository.show("orchestrate/run/port.0:b.txt") == "2"


@pytest.mark.parametrize(
    ("kind", "command", "way", "told"),
    sweep(
        [
            ("worktree", "worktree add", "cancel", "cancelled while its workspace was made"),
            ("worktree", "commit", "cancel", "cancelled while its changes were kept"),
            ("worktree", "commit", "drain", ""),
            ("worktree", "commit", "drain at once", "ended by a drain while its changes were kept"),
            ("copy", "write-tree", "SIGTERM", "ended by a drain while its workspace was made"),
            ("worktree", "reset", "timeout", "timed out after 0.1s while its workspace was made"),
        ],
        quick=3,
    ),
)
def test_an_end_is_heard_while_git_works_for_the_workspace(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, kind: str, command: str, way: str, told: str
) -> None:
    """Paid work that only has to be kept is given the grace of a drain."""
    item = WorkspaceItem(tmp_path, kind, repository.path, left_out=[str(tmp_path)])
    fake, gate, pid = FakeGit(tmp_path / "programs", monkeypatch), tmp_path / "gate", tmp_path / "pid"
    os.mkfifo(gate)
    fake.replace(command, f"echo $$ > {pid}.new; mv {pid}.new {pid}; read word < {gate}")
    worker = WorkerDriver(tmp_path)
    try:
        limits = {"timeout_seconds": 0.1} if way == "timeout" else {}
        start = worker.start("/bin/sh", "-c", "echo b >> a.txt", workspace=item.task, cwd=item.task.cwd, **limits)
        if way != "timeout":  # it may be over before
            wait_until(pid.exists, "git is at work")
        match way:
            case "cancel":
                worker.end(start)
            case "drain at once":
                worker.end(start, EndReason.DRAIN, 0.0)
            case "drain":
                worker.end(start, EndReason.DRAIN)
                gate.write_text("go\n")
            case "SIGTERM":
                os.kill(worker.pid, signal.SIGTERM)
            case _:
                assert way == "timeout"
        outcome = worker.outcome()
        assert outcome.message == told
        assert not pid.exists() or not is_living(int(pid.read_text()))
    finally:
        worker.close()
    # The next attempt finds nothing in its way, and what was done.
    (fake.folder / "git").unlink()
    again = WorkerDriver(tmp_path / "again")
    try:
        outcome = item.run(again, "echo c >> a.txt")
    finally:
        again.close()
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.OK, "")
    assert ("+b" in patch_of(outcome).decode().split("\n")) is (command == "commit")


def is_open_by(pid: int, name: str) -> bool:
    return any(file.path.endswith(f"/{name}") for file in psutil.Process(pid).open_files())


def test_a_lock_that_somebody_keeps_is_named_and_not_waited_for_for_ever(repository: Repository) -> None:
    with locked(str(repository.path)), pytest.raises(GitFailed) as told, locked(str(repository.path), patience_seconds=0.0):
        pass
    lock = repository.path / ".git" / "orchestrate.lock"
    assert str(told.value) == f"{lock}: another process has held this lock for 0 s; is one stopped?"


def test_a_git_that_was_killed_leaves_no_lock_in_the_way(worker: WorkerDriver, repository: Repository) -> None:
    item = WorkspaceItem(worker.root, "worktree", repository.path)
    outcome = item.run(worker, "touch $(git rev-parse --git-path index.lock); echo b >> a.txt; exit 1")
    assert outcome.attempt_class is AttemptClass.COMMAND_FAILED
    outcome = item.run(worker, "touch $(git rev-parse --git-path index.lock)")
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.OK, "")
    record = read_record(str(item.path))
    assert record is not None
    assert record.base != report_of(outcome).commit
