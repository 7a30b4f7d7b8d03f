"""What an agent leaves for git to wait for: it is told, and git is not asked."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from orchestrator.workers.workspaces.git import GitFailed, git
from orchestrator.workers.workspaces.git_folders import waited_for
from orchestrator.workers.workspaces.pinned import Pinned
from orchestrator.workers.workspaces.record import WorkspaceRecord
from orchestrator.workers.workspaces.ties import pinned_workspace
from orchestrator.workers.workspaces.waiting_files import refuse_waiting_files
from orchestrator.workers.workspaces.worktrees import mend_repository


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    """The git folder of a repository in the workspace."""
    home = tmp_path / "a" / "inner" / ".git"
    (home / "objects" / "pack").mkdir(parents=True)
    (home / "refs" / "heads").mkdir(parents=True)
    (home / "HEAD").write_text("ref: refs/heads/main\n")
    return home


@pytest.mark.parametrize("name", ["a/.gitignore", "b/.gitattributes", ".gitmodules"])
@pytest.mark.parametrize("is_link", [False, True])
def test_a_pipe_in_place_of_a_file_that_git_reads_is_refused(tmp_path: Path, name: str, is_link: bool) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "pipe" if is_link else path)
    if is_link:
        path.symlink_to(tmp_path / "pipe")
    words = f"^{path} is no plain file, and git would wait for its end: git is not asked. The work stays"
    with pytest.raises(GitFailed, match=words):
        refuse_waiting_files(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    ["HEAD", "refs/heads/main", "packed-refs", "config", "commondir", "objects/pack/x.idx", "a file of /dev", "huge", "link"],
)
def test_a_repository_inside_is_plain_or_refused(tmp_path: Path, inner: Path, name: str) -> None:
    refuse_waiting_files(str(tmp_path))
    match name:
        case "a file of /dev":
            (inner / "refs" / "heads" / "main").symlink_to("/dev/zero")
        case "huge":
            os.truncate(inner / "HEAD", 1 << 30)
        case "link":
            # By a file that names it, and with objects elsewhere in the workspace.
            inner.rename(tmp_path / "hidden")
            inner.write_text("gitdir: ../../hidden\n")
            (tmp_path / "hidden" / "objects" / "pack").rmdir()
            (tmp_path / "hidden" / "objects" / "pack").symlink_to(tmp_path / "packs")
            (tmp_path / "packs").mkdir()
            os.mkfifo(tmp_path / "packs" / "x.idx")
        case _:
            (inner / name).unlink(missing_ok=True)
            os.mkfifo(inner / name)
    with pytest.raises(GitFailed, match=r"is no plain file, and git would wait|is too large to be read"):
        refuse_waiting_files(str(tmp_path))


def test_other_pipes_and_links_are_nobody_s_business(tmp_path: Path, inner: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "a" / "HEAD")
    (tmp_path / "a" / ".gitignore").symlink_to("nowhere")
    (inner / "hooks").symlink_to("/")
    (tmp_path / ".git").write_text("gitdir: of its own\n")
    refuse_waiting_files(str(tmp_path))


OF_GIT = {
    "config": "config",
    "HEAD": "HEAD",
    "index": "index",
    "info/exclude": "info/exclude",
    "objects/info/alternates": "objects/info/alternates",
    "objects/pack/multi-pack-index": "objects/pack/multi-pack-index",
    "logs/HEAD": "logs/HEAD",
    "a link": "/dev/zero",
    "huge": "",
}


@pytest.mark.parametrize("kind", OF_GIT)
def test_git_is_not_asked_where_an_agent_that_commits_has_put_a_pipe_in_the_users_repository(
    tmp_path: Path, inner: Path, kind: str
) -> None:
    repository, place = inner.parent, inner / OF_GIT[kind]
    match kind:
        case "a link":
            (inner / "config").symlink_to("/dev/zero")
        case "huge":
            (inner / "config").touch()
            os.truncate(inner / "config", 1 << 30)
        case _:
            place.parent.mkdir(exist_ok=True)
            place.unlink(missing_ok=True)
            os.mkfifo(place)
    # As the user's checkout, as one of its worktrees, and pinned to it.
    worktree = tmp_path / "worktree"
    (inner / "worktrees" / "0").mkdir(parents=True)
    (inner / "worktrees" / "0" / "commondir").write_text("../..\n")
    worktree.mkdir()
    (worktree / ".git").write_text(f"gitdir: {inner}/worktrees/0\n")
    for where in (str(repository), str(worktree), Pinned(str(worktree), f"{inner}/worktrees/0", str(inner))):
        with pytest.raises(
            GitFailed,
            match=rf"^{inner}.*/(config|{kind}) is (no plain file|too large).*: git is not asked; put back what was there$",
        ):
            git(where, "config", "--list", time_limit_seconds=5)


def test_a_pipe_that_an_item_left_in_its_own_worktree_holds_up_no_other(tmp_path: Path, inner: Path) -> None:
    worktrees = inner / "worktrees"
    for name in ("gitdir", "commondir", "HEAD", "locked"):
        (worktrees / name).mkdir(parents=True)
        os.mkfifo(worktrees / name / name)
    (worktrees / "gitdir" / "HEAD").write_text("plain\n")
    mend_repository(str(inner))
    assert [path.name for path in worktrees.glob("*/*")] == ["HEAD"]
    # What leads elsewhere may be somebody's: nothing is removed there.
    os.mkfifo(tmp_path / "HEAD")
    (worktrees / "link").symlink_to(tmp_path)
    with pytest.raises(GitFailed, match="worktrees/link/HEAD is no plain file, and git would wait"):
        mend_repository(str(inner))
    assert (tmp_path / "HEAD").exists()


def test_a_ref_that_git_would_wait_for_is_told_before_git_is_asked_for_any(tmp_path: Path, inner: Path) -> None:
    os.mkfifo(inner / "refs" / "heads" / "other")
    record = WorkspaceRecord(kind="worktree", source="/", tie="gitdir: x\n", git_dir=str(inner), common_dir=str(inner))
    with pytest.raises(GitFailed, match=r"refs/heads/other is no plain file, and git would wait for its end: git is not asked"):
        pinned_workspace(str(tmp_path / "b"), record, {})


def test_what_is_no_repository_and_where_git_listens_itself_is_nobody_s_business(
    tmp_path: Path, inner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "config")
    # A bare name: a socket's path has room for 107 bytes, however deep the checkout and the temporary folder lie.
    monkeypatch.chdir(inner)
    with socket.socket(socket.AF_UNIX) as watcher:
        watcher.bind("fsmonitor--daemon.ipc")
        assert (waited_for(str(tmp_path)), waited_for(str(inner.parent))) == ("", "")


def test_no_git_works_in_a_workspace_that_was_not_looked_at(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".gitignore")
    with pytest.raises(GitFailed, match="git is not asked"):
        pinned_workspace(str(tmp_path), WorkspaceRecord(kind="copy", source="/"), {})
