"""The branch of an item gets a newer commit of its repository, by a merge; from then on its work counts from that commit.

Promise: it can be killed at any instruction and done again, and nothing that was done in the worktree is lost. All of that is
committed before git begins, and the record says that git is at work (`merging`): what a killed git has left is cleared away
then. A merge that stopped at a conflict stays as it is for an agent, also in its next attempt.
"""

from __future__ import annotations

from ..faultpoints import fault_point
from ..files.syncing import sync_trees
from ..protocol import WorkspaceTask
from ..wording import first_in_words
from .git import GitFailed, asked, commit_of, git, identity
from .pinned import Pinned
from .record import WorkspaceRecord, write_record
from .unfinished_merges import unresolved_files
from .worktrees import commit_all

_MERGE = ("-c", "rerere.enabled=false", "-c", "merge.verifySignatures=false")


def merge_onto(place: Pinned, record: WorkspaceRecord, task: WorkspaceTask) -> None:
    """Have the commit `task.onto` in the worktree, or its merge begun, with conflicts that an agent is to resolve.

    Raises GitFailed: a conflict that nobody would resolve, or another merge that is not finished; OSError.
    """
    onto = task.onto
    if onto is None or _is_ancestor(place, onto, record.base):
        return
    if record.merging:
        _clear_away(place, record, onto)
    # Begun before: an agent has more to do.
    if names := unresolved_files(place):
        if not _is_begun(place, onto):
            way = f"finish it in {task.path}, or give it up there (git merge --abort)"
            raise GitFailed(f"another merge was begun and is not finished; in conflict: {first_in_words(names)}; {way}")
        _leave_to_agent(place, task, names)
        return
    # What stands there is committed, also a merge whose conflicts are resolved.
    commit_all(place, record, task.message, task.litter)
    if not _is_ancestor(place, onto, "HEAD"):
        _note_merging(record, task.path, is_at_work=True)
        try:
            names = _merge(place, record, onto)
        except GitFailed as failed:
            # It refused before it touched anything; one that was ended may have left files half written.
            if failed.exit_code is not None and not failed.was_killed:
                _note_merging(record, task.path, is_at_work=False)
            raise
        fault_point("worker.workspace.merged")
        # Files that git has brought and a power cut left empty would count as the item's work.
        sync_trees([task.path, record.common_dir])
        _note_merging(record, task.path, is_at_work=False)
        if names:
            _leave_to_agent(place, task, names)
            return
    take_new_base(place, record, task)


def take_new_base(place: Pinned, record: WorkspaceRecord, task: WorkspaceTask) -> None:
    """Have the item's work count from `task.onto`; all of it is committed. Raises GitFailed: that was never merged; OSError."""
    onto = task.onto
    if onto is None or _is_ancestor(place, onto, record.base):
        return
    if not _is_ancestor(place, onto, "HEAD"):
        raise GitFailed(f"the merge of {onto[:12]} was given up, so its branch is not on the new base")
    record.base = onto
    write_record(task.path, record)


def _merge(place: Pinned, record: WorkspaceRecord, onto: str) -> list[str]:
    """Merge; the files in conflict. Raises GitFailed."""
    # What the user merges into this branch with otherwise, or how he wants it recorded, is not meant here.
    plain = ("-c", f"branch.{record.branch}.mergeOptions=", "-c", "merge.ff=true")
    try:
        git(place, *_MERGE, *plain, "merge", "--ff", "--commit", "--no-edit", "--no-verify", "--quiet", onto, env=identity(place))
    except GitFailed as failed:
        names = unresolved_files(place)
        if failed.was_killed or not names or not _is_begun(place, onto):
            raise
        return names
    return []


def _leave_to_agent(place: Pinned, task: WorkspaceTask, names: list[str]) -> None:
    """Let the conflict be for an agent. Raises GitFailed for a command, which has no use for it."""
    if task.resolves_conflicts:
        return
    assert task.onto is not None
    git(place, "merge", "--abort")
    raise GitFailed(f"its branch and {task.onto[:12]} change the same lines of {first_in_words(names)}: merge them by hand")


def _clear_away(place: Pinned, record: WorkspaceRecord, onto: str) -> None:
    """Take back what a killed git may have left of a merge that it was at. All else there was committed before."""
    if not _is_begun(place, onto) and not _is_ancestor(place, onto, "HEAD"):
        # Files that it added are not known to the index yet: taken in first, they go with the rest.
        git(place, "read-tree", "--reset", "-u", onto)
        git(place, "reset", "--hard", "--quiet")
    _note_merging(record, place.folder, is_at_work=False)


def _note_merging(record: WorkspaceRecord, path: str, *, is_at_work: bool) -> None:
    record.merging = is_at_work
    write_record(path, record)


def _is_begun(place: Pinned, onto: str) -> bool:
    return commit_of(place, "MERGE_HEAD") == onto


def _is_ancestor(place: Pinned, older: str, newer: str) -> bool:
    return asked(place, "merge-base", "--is-ancestor", older, newer) is not None
