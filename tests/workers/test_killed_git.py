"""A git that is killed, or given up: what it leaves stands in nobody's way, neither in the next attempt's nor in the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from drivers.git_repository import FakeGit, Repository
from drivers.processes import is_living, wait_until

from orchestrator.workers.attempt_end import AttemptEnd
from orchestrator.workers.interruption import Interrupted, heeding
from orchestrator.workers.processes.spawn import CannotStart
from orchestrator.workers.protocol import AttemptClass, WorkspaceReport, WorkspaceTask
from orchestrator.workers.workspaces import left_locks
from orchestrator.workers.workspaces.git import GitFailed, _words, git
from orchestrator.workers.workspaces.left_locks import remove_branch_lock
from orchestrator.workers.workspaces.workspace import Workspace
from orchestrator.workers.workspaces.worktrees import _resolved

pytestmark = pytest.mark.usefixtures("no_git_configuration")

BRANCH = "orchestrate/run/port.0"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo", **{"a.txt": "a\n"})


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGit:
    return FakeGit(tmp_path / "programs", monkeypatch)


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_locks, "_LEFT_SECONDS", 0.1)


def attempt(repository: Repository, words: str) -> tuple[AttemptEnd, WorkspaceReport | None]:
    """One attempt of the item, which adds a line to a file."""
    path = repository.path.parent / "workspaces" / "port" / "0"
    task = WorkspaceTask(
        kind="worktree",
        path=str(path),
        source=str(repository.path),
        cwd=str(path),
        branch=BRANCH,
        message="port:0",
        patch_path=f"{path}.patch",
        artifacts_folder=f"{path}.files",
        include_from=str(repository.path),
    )
    workspace = Workspace(task, "mark")
    try:
        end = workspace.enter(lambda _: AttemptEnd(AttemptClass.OK))
    except CannotStart as error:
        return AttemptEnd(AttemptClass.CANNOT_START, str(error)), None
    with (path / "b.txt").open("a") as file:
        file.write(f"{words}\n")
    return workspace.finish(end, f"{path}.live", 1000)


def locks_in(repository: Repository) -> list[str]:
    """Lock files of git's that lie in the repository."""
    return [path.name for path in (repository.path / ".git").rglob("*.lock") if not path.name.startswith("orchestrate")]


def test_a_git_that_was_killed_while_it_made_the_branch_is_no_hindrance(repository: Repository, fake_git: FakeGit) -> None:
    lock = repository.path / f".git/refs/heads/{BRANCH}.lock"
    fake_git.replace("worktree add", f"mkdir -p {lock.parent}; : > {lock}; kill -9 $$")
    end, report = attempt(repository, "once")
    assert (end.attempt_class, end.message) == (AttemptClass.OK, "")
    assert report is not None
    assert (repository.show(f"{BRANCH}:b.txt"), locks_in(repository)) == ("once", [])


def test_a_lock_on_the_branch_of_an_item_that_never_began_is_left_alone(repository: Repository) -> None:
    lock = repository.path / f".git/refs/heads/{BRANCH}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    end, report = attempt(repository, "once")
    assert (end.attempt_class, report and report.branch) == (AttemptClass.OK, f"{BRANCH}+2"), end.message
    assert lock.exists()


def test_a_lock_that_somebody_holds_is_waited_for_and_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"
    with lock.open("w"), pytest.raises(GitFailed, match=f"process {os.getpid()} holds this lock"):
        remove_branch_lock(str(lock))
    assert lock.exists()
    # One git after the other takes it, for a moment each, however long that goes on: none is robbed.
    turns = iter(range(8))

    def next_turn(_seconds: float) -> None:
        lock.unlink()
        if next(turns, None) is not None:
            lock.touch()

    monkeypatch.setattr(left_locks, "_LEFT_SECONDS", 0.0)
    monkeypatch.setattr(left_locks, "pause", next_turn)
    remove_branch_lock(str(lock))
    assert next(turns, None) is None


def test_a_git_that_is_given_up_removes_its_locks_and_ends_what_it_started(
    tmp_path: Path, repository: Repository, fake_git: FakeGit
) -> None:
    lock, child = tmp_path / "lock", tmp_path / "child"
    tell = f"sleep 600 & echo $! > {child}.new; mv {child}.new {child}"
    fake_git.replace("add", f": > {lock}; trap 'rm {lock}; exit 1' TERM; {tell}; kill -STOP $$; wait")

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return not child.exists()

    with pytest.raises(Interrupted), heeding(wait):
        git(str(repository.path), "add", "--all")
    assert not lock.exists()
    wait_until(lambda: not is_living(int(child.read_text())), "what it had started has ended")
    fake_git.replace("status", "sleep 600")
    with pytest.raises(GitFailed, match=r"git status did not end in 0\.01 s"):
        git(str(repository.path), "status", time_limit_seconds=0.01)


def test_what_only_reads_writes_nothing_in_the_users_checkout(repository: Repository) -> None:
    index = repository.path / ".git" / "index"
    before = index.read_bytes()
    os.utime(repository.path / "a.txt", (1, 1))
    assert git(str(repository.path), "status", "--porcelain") == ""
    assert index.read_bytes() == before
    repository.git("status")
    assert index.read_bytes() != before, "git itself would have written it"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["worktree add", "reset", "add", "commit"])
@pytest.mark.parametrize("whole", [True, False])
def test_git_killed_at_each_call_that_writes(
    tmp_path: Path, repository: Repository, fake_git: FakeGit, command: str, whole: bool
) -> None:
    """`whole`: with the processes that it starts, each at its own call of that number."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    calls = "rename,link,unlink,mkdir,write,ftruncate"
    for count in range(1, 200):
        trace = tmp_path / "trace"
        inject = f"strace {'-f' if whole else ''} -qq -o {trace} -e trace={calls} -e inject={calls}:signal=KILL:when={count}"
        fake_git.replace(command, f'{inject} $git "$@"; exit 137')
        end, _ = attempt(repository, str(count))
        if end.attempt_class is not AttemptClass.OK:
            end, _ = attempt(repository, str(count))
        assert (end.attempt_class, end.message) == (AttemptClass.OK, "")
        assert locks_in(repository) == []
        subprocess.run(["git", "fsck"], cwd=repository.path, check=True, capture_output=True)
        if "killed by SIGKILL" not in trace.read_text():
            assert count > 1, "the command never came there"
            return
        shutil.rmtree(repository.path.parent / "workspaces")
        repository.git("worktree", "remove", "--force", "--force", str(repository.path.parent / "workspaces" / "port" / "0"))
        repository.git("branch", "-D", BRANCH)
    raise AssertionError(f"{command} makes more calls than this test can tell")


def test_a_repository_that_has_no_commit_yet_and_one_that_lost_it_are_told_apart(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo")
    commit = repository.head()
    (repository.path / f".git/objects/{commit[:2]}/{commit[2:]}").unlink()
    with pytest.raises(GitFailed, match=f"is damaged: its commit {commit} is not there"):
        _resolved(str(repository.path), "HEAD")
    (repository.path / ".git/refs/heads/main").unlink()
    with pytest.raises(GitFailed, match="has no commit yet"):
        _resolved(str(repository.path), "HEAD")


def test_what_git_lists_below_its_words_is_told_with_them() -> None:
    """As a git says it that is older than the repository (`--ref-format=reftable`)."""
    said = "fatal: unknown repository extensions found:\n\tobjectformat\n\trefstorage\n"
    told = "git rev-parse: unknown repository extensions found: objectformat, refstorage"
    assert _words(said, ("rev-parse",), 128) == told


def test_a_repository_of_another_user_is_told_with_what_to_do() -> None:
    said = "fatal: detected dubious ownership in repository at '/r'\nTo add an exception for this directory, call:\n"
    told = _words(said, ("-c", "a=b", "rev-parse"), 128)
    assert told.startswith("git rev-parse: detected dubious ownership in repository at '/r'; it is another user's")
    assert "git config --global --add safe.directory" in told
