"""What is staged of a workspace: its files as they are, whatever an index says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.git_repository import Repository

from orchestrator.workers.attempt_end import AttemptEnd
from orchestrator.workers.protocol import AttemptClass, WorkspaceTask
from orchestrator.workers.workspaces.changes import failure_in_words
from orchestrator.workers.workspaces.git import GitFailed, git
from orchestrator.workers.workspaces.pinned import Pinned
from orchestrator.workers.workspaces.record import WorkspaceRecord
from orchestrator.workers.workspaces.unfinished_merges import refuse_unfinished_merge
from orchestrator.workers.workspaces.workspace import Workspace
from orchestrator.workers.workspaces.worktrees import Committed, add_worktree, commit_all

pytestmark = pytest.mark.usefixtures("no_git_configuration")


class Item:
    """A worktree of the repository, in which a test plays the agent."""

    def __init__(self, root: Path, source: Repository) -> None:
        self.source = source
        self.path = root / "0"
        self._record = WorkspaceRecord(kind="worktree", source=str(source.path), branch="orchestrate/run/port.0")
        self.place = add_worktree(str(self.path), self._record, "HEAD", {}, lambda _: None)

    def git(self, *arguments: str) -> str:
        return self.source.git("-C", str(self.path), *arguments)

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_text(text)

    def keep(self) -> Committed:
        return commit_all(self.place, self._record, "port:0\n")

    def changed(self, commit: str) -> list[str]:
        return self.source.git("diff", "--name-status", "--no-renames", "-z", self.source.head(), commit).split("\0")[:-1]


def test_a_change_that_git_was_told_not_to_look_at_is_work_all_the_same(tmp_path: Path) -> None:
    names = ["a.txt", "two\nlines", "caf\udce9", "gone"]
    item = Item(tmp_path, Repository(tmp_path / "repo", **dict.fromkeys(names, "a\n")))
    for bit, name in zip(("assume-unchanged", "skip-worktree", "assume-unchanged", "skip-worktree"), names, strict=True):
        item.git("update-index", f"--{bit}", "--", name)
        item.write(name, "changed\n")
    (item.path / "gone").unlink()
    assert item.git("status", "--porcelain") == ""
    kept = item.keep()
    assert item.changed(kept.commit) == ["M", "a.txt", "M", "caf\udce9", "D", "gone", "M", "two\nlines"]


def test_a_sparse_checkout_stays_one_and_what_is_written_beside_it_is_work(tmp_path: Path) -> None:
    source = Repository(tmp_path / "repo", **{"in/a": "a\n", "out/b": "b\n", "out/c": "c\n"})
    source.git("sparse-checkout", "set", "in")
    item = Item(tmp_path, source)
    assert not (item.path / "out").exists()
    assert item.keep().commit == source.head(), "what is left out is not removed"
    item.write("out/b", "changed\n")
    item.write("out/new", "new\n")
    assert item.changed(item.keep().commit) == ["M", "out/b", "A", "out/new"]


def test_a_file_that_is_too_large_for_git_is_named_with_what_to_do(tmp_path: Path) -> None:
    source = Repository(tmp_path / "repo", **{"b.bin": "b\n"})
    item = Item(tmp_path, source)
    for name in ("a.bin", "b.bin"):
        item.write(name, "x")
    with (item.path / "a.bin").open("r+b") as file:
        file.truncate(3 << 30)
    failed = GitFailed("git diff: Out of memory, malloc failed (tried to allocate 18446744072636792941 bytes)", 128)
    words = "a.bin is too large for git (3 GiB), which keeps changed files as a patch; have git ignore it (.gitignore), or write"
    assert failure_in_words(failed, item.place, source.head()).startswith(words)
    (item.path / "a.bin").unlink()
    assert failure_in_words(failed, item.place, source.head()) == str(failed), "it is none of the files"


def test_a_file_in_conflict_is_read_within_bounds(tmp_path: Path) -> None:
    """An agent may have made it as long as it likes without writing it."""
    repository = Repository(tmp_path / "repo")
    listed = "".join(f"100644 {repository.head('HEAD:README')} {stage}\thuge\n" for stage in (1, 2, 3))
    place = Pinned(str(repository.path), f"{repository.path}/.git", f"{repository.path}/.git")
    git(place, "update-index", "--index-info", given=listed.encode())
    with (repository.path / "huge").open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(GitFailed, match="in conflict: huge"):
        refuse_unfinished_merge(place)


def test_what_git_ignores_is_named_where_it_goes_with_an_unchanged_workspace(tmp_path: Path) -> None:
    source = Repository(tmp_path / "repo", **{".gitignore": "out/\n*.log\n.env\n"})
    source.write(".env", "mine\n")
    path = tmp_path / "0"
    task = WorkspaceTask(
        kind="worktree",
        path=str(path),
        source=str(source.path),
        cwd=str(path),
        branch="orchestrate/run/port.0",
        message="port:0",
        patch_path=f"{path}.patch",
        artifacts_folder=f"{path}.files",
        include_from=str(source.path),
        include=[".env"],
    )
    workspace = Workspace(task, "mark")
    end = workspace.enter(lambda _: AttemptEnd(AttemptClass.OK))
    (path / "out").mkdir()
    (path / "out/report.md").write_text("an hour's work\n")
    (path / "a.log").touch()
    _, report = workspace.finish(end, f"{path}.live", 1000)
    assert report is not None
    assert not path.exists()
    assert report.note == "nothing was changed but what git ignores, which is not kept: a.log, out/"
