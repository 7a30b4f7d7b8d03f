"""A worktree gets a new base before an attempt: by a merge, also where the one before was killed in its midst."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from drivers.git_repository import Repository

from orchestrator.workers.attempt_end import AttemptEnd
from orchestrator.workers.processes.spawn import CannotStart
from orchestrator.workers.protocol import AttemptClass, WorkspaceReport, WorkspaceTask
from orchestrator.workers.workspaces.record import read_record, write_record
from orchestrator.workers.workspaces.workspace import Workspace

pytestmark = pytest.mark.usefixtures("no_git_configuration")

OK = AttemptEnd(AttemptClass.OK)


class Item:
    """An item that has changed a.txt in a worktree, and is to be on `onto` next, which has changed it, too, or has a b.txt."""

    def __init__(self, root: Path, *, in_conflict: bool, is_agents: bool = True) -> None:
        self.source = Repository(root / "repo", **{"a.txt": "a\n"})
        self.path = root / "state/workspaces/port/0"
        self._outputs = root / "state/outputs"
        self._outputs.mkdir(parents=True)
        self.first = self.source.head()
        self._is_agents = is_agents
        self.enter(None)
        self.write("a.txt", "the item's\n")
        self.write("new.txt", "new\n")
        self.source.write(*(("a.txt", "the user's\n") if in_conflict else ("b.txt", "b\n")))
        self.onto = self.source.commit("meanwhile")

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def git(self, *arguments: str) -> str:
        return self.source.git("-C", str(self.path), *arguments)

    def enter(self, onto: str | None) -> Workspace:
        task = WorkspaceTask(
            kind="worktree",
            path=str(self.path),
            source=str(self.source.path),
            cwd=str(self.path),
            branch="orchestrate/r/port.0",
            message="port:0\n",
            patch_path=str(self._outputs / "patch"),
            onto=onto,
            resolves_conflicts=self._is_agents,
        )
        workspace = Workspace(task, "mark")
        workspace.enter(lambda _: OK)
        return workspace

    def finish(self, workspace: Workspace) -> tuple[AttemptEnd, WorkspaceReport]:
        end, report = workspace.finish(OK, str(self._outputs / "live"), 1 << 20)
        assert report is not None
        return end, report

    @property
    def base(self) -> str:
        record = read_record(str(self.path))
        assert record is not None
        assert not record.merging
        return record.base

    def is_merged(self) -> bool:
        return self.git("merge-base", "HEAD", self.onto) == self.onto


def half_merged(item: Item) -> None:
    """git was killed while it wrote files: no merge is begun, and nothing of it is in the index."""
    record = read_record(str(item.path))
    assert record is not None
    item.git("add", "--all")
    item.git("commit", "-qm", "so far")
    record.merging = True
    write_record(str(item.path), record)
    item.write("a.txt", "")
    item.write("b.txt", "half")


def begun(item: Item) -> None:
    """The worker was killed when git had merged, and before that had committed."""
    item.git("add", "--all")
    item.git("commit", "-qm", "so far")
    item.git("merge", "-q", "--no-ff", "--no-commit", item.onto)


def committed(item: Item) -> None:
    begun(item)
    item.git("commit", "-qm", "merged")


@pytest.mark.parametrize("killed", [lambda _: None, half_merged, begun, committed])
def test_a_merge_of_a_new_base_is_gone_on_with_wherever_it_was_killed(tmp_path: Path, killed: Callable[[Item], None]) -> None:
    item = Item(tmp_path, in_conflict=False)
    killed(item)
    for _ in range(2):
        workspace = item.enter(item.onto)
        assert (item.base, item.is_merged(), item.git("status", "--porcelain")) == (item.onto, True, "")
    _, report = item.finish(workspace)
    assert report.base == item.onto
    assert item.git("diff", "--name-only", item.onto, str(report.commit)).split() == ["a.txt", "new.txt"]


def test_a_conflict_stays_for_the_agent_and_what_it_resolved_stays_for_its_next_attempt(tmp_path: Path) -> None:
    item = Item(tmp_path, in_conflict=True)
    end, _ = item.finish(item.enter(item.onto))
    assert "is not finished; in conflict: a.txt" in end.message
    assert item.base == item.first
    half = (item.path / "a.txt").read_text().replace("the user's", "both")
    item.write("a.txt", half)
    workspace = item.enter(item.onto)
    assert (item.path / "a.txt").read_text() == half
    assert item.git("diff", "--name-only", "--diff-filter=U") == "a.txt"
    # Resolved to what the branch had: also that is a merge.
    item.write("a.txt", "the item's\n")
    end, report = item.finish(workspace)
    assert (end.attempt_class, report.base, item.is_merged()) == (AttemptClass.OK, item.onto, True)


def test_an_agent_that_gives_the_merge_up_has_not_succeeded(tmp_path: Path) -> None:
    item = Item(tmp_path, in_conflict=True)
    workspace = item.enter(item.onto)
    item.git("merge", "--abort")
    end, _ = item.finish(workspace)
    assert end.attempt_class is AttemptClass.COMMAND_FAILED
    assert "was given up" in end.message
    assert item.base == item.first


def test_a_conflict_of_a_command_is_taken_back_and_told(tmp_path: Path) -> None:
    item = Item(tmp_path, in_conflict=True, is_agents=False)
    with pytest.raises(CannotStart, match=r"change the same lines of a\.txt: merge them by hand"):
        item.enter(item.onto)
    assert (item.base, item.git("status", "--porcelain")) == (item.first, "")
    assert (item.path / "a.txt").read_text() == "the item's\n"


def test_a_base_that_the_item_has_passed_already_stays(tmp_path: Path) -> None:
    item = Item(tmp_path, in_conflict=False)
    item.enter(item.onto)
    item.enter(item.first)
    assert item.base == item.onto


def test_what_git_refuses_to_merge_leaves_the_worktree_as_it_was(tmp_path: Path) -> None:
    item = Item(tmp_path, in_conflict=False)
    item.source.git("checkout", "-q", "--orphan", "other")
    with pytest.raises(CannotStart, match="unrelated histories"):
        item.enter(item.source.commit("no common commit"))
    assert item.base == item.first


def test_a_merge_that_is_not_finished_is_in_the_way_of_another_and_stays(tmp_path: Path) -> None:
    item = Item(tmp_path, in_conflict=True)
    item.enter(item.onto)
    with pytest.raises(CannotStart, match=r"another merge was begun and is not finished; in conflict: a\.txt; finish it in"):
        item.enter(item.source.commit("later"))
    assert item.git("rev-parse", "MERGE_HEAD") == item.onto
