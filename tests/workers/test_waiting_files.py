"""What an agent leaves for git to wait for: it is told, and git is not asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.workers.workspaces.git import GitFailed
from orchestrator.workers.workspaces.record import WorkspaceRecord
from orchestrator.workers.workspaces.ties import pinned_workspace
from orchestrator.workers.workspaces.waiting_files import refuse_waiting_files


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


def test_no_git_works_in_a_workspace_that_was_not_looked_at(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".gitignore")
    with pytest.raises(GitFailed, match="git is not asked"):
        pinned_workspace(str(tmp_path), WorkspaceRecord(kind="copy", source="/"), {})
