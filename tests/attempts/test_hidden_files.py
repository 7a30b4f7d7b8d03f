"""Files that git was told not to look at, or to leave out: in the checkout that is landed in, in a workspace not finished."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.git_repository import Repository

from orchestrator.attempts.workspaces.changes import patch_so_far
from orchestrator.attempts.workspaces.landing import landing
from orchestrator.attempts.workspaces.landing_recovery import mark_landing, mark_of
from orchestrator.errors import UserError
from orchestrator.workers.workspaces.record import WorkspaceRecord
from orchestrator.workers.workspaces.ties import pinned_checkout
from orchestrator.workers.workspaces.worktrees import add_worktree

pytestmark = pytest.mark.usefixtures("no_git_configuration")


def test_nothing_is_landed_on_changes_that_git_was_told_not_to_look_at(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", **{"a.conf": "a\n", "b.conf": "b\n", "c.conf": "c\n"})
    for bit, name in (("assume-unchanged", "a.conf"), ("assume-unchanged", "b.conf"), ("skip-worktree", "c.conf")):
        repository.git("update-index", f"--{bit}", name)
    with landing(str(repository.path), print, repository.path.parent / "home") as where:
        assert where.branch == "main", "they are not changed"
    repository.write("a.conf", "mine\n")
    with (
        pytest.raises(UserError, match=r"repo: a\.conf: changed, but git is told"),
        landing(str(repository.path), print, repository.path.parent / "home"),
    ):
        pass
    repository.write("a.conf", "a\n")
    repository.write("c.conf", "mine\n")
    with landing(str(repository.path), print, repository.path.parent / "home"):
        repository.git("reset", "--hard")
    assert (repository.path / "c.conf").read_text() == "mine\n", "git leaves such a file alone"


def test_what_a_sparse_checkout_leaves_out_is_not_kept_as_removed_by_a_killed_landing(tmp_path: Path) -> None:
    repository = Repository(tmp_path, **{"in/a": "a\n", "out/b": "b\n"})
    repository.git("sparse-checkout", "set", "in")
    place = pinned_checkout(str(tmp_path))[0]
    mark_landing(mark_of(tmp_path / "home", place), place, repository.head())
    told: list[str] = []
    with landing(str(tmp_path), told.append, tmp_path / "home"):
        pass
    assert told == [f"a landing in {tmp_path} was killed: it is taken back"], "nothing was left"


def test_what_a_sparse_worktree_has_so_far_is_no_removal_of_what_it_leaves_out(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", **{"in/a": "a\n", "out/b": "b\n"})
    repository.git("sparse-checkout", "set", "in")
    path = str(tmp_path / "0")
    record = WorkspaceRecord(kind="worktree", source=str(repository.path), branch="orchestrate/run/port.0")
    add_worktree(path, record, "HEAD", {}, lambda _: None)
    assert patch_so_far(path, None) == b""
    (tmp_path / "0" / "new").write_text("new\n")
    assert [line for line in patch_so_far(path, None).splitlines() if line.startswith(b"diff")] == [b"diff --git a/new b/new"]
