"""A git worktree for one item: added on a branch of its own, its changes committed there, forgotten by its repository.

What ties it to its repository is recorded as soon as git has made it (`ties.py`), and git is pinned to that from then on.

Adding and removing is done by one process at a time in a repository, of whatever run (`git.locked`); all else goes on side by
side. Submodules are left as git leaves them in a new worktree: empty.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from ..byte_text import bytes_of_text
from ..faultpoints import fault_point
from ..files.opening import StrangeFileError, open_file
from ..files.syncing import sync_file
from .branch_names import free_branch, is_named_by_us, other_names
from .git import GitFailed, asked, commit_of, common_folder, git, identity, locked
from .git_folders import waited_for_in_worktrees
from .left_locks import branch_lock, remove_branch_lock, remove_left_locks
from .pinned import Pinned
from .record import WorkspaceRecord, write_record
from .settings import keep_settings, settled
from .staging import stage_all, unstage
from .ties import put_back_tie, record_tie, refuse_other_tie
from .unfinished_merges import refuse_unfinished_merge
from .waiting_files import refuse_waiting_refs

_UNKNOWN = "is not a working tree"
"""What git says of a folder that it knows nothing of."""


class Committed(NamedTuple):
    """What a worktree has come to: the commit it is at, the branch (empty: none), what a person should know.

    `inner`: folders of repositories in it that were worked in, which it has nothing of.
    """

    commit: str
    branch: str
    note: str
    inner: list[str]


def add_worktree(
    path: str, record: WorkspaceRecord, base: str, env: Mapping[str, str], begin: Callable[[WorkspaceRecord], None]
) -> Pinned:
    """Add the worktree at `path` that `record` tells of; without a base: an item's first attempt, which starts from `base`.

    Where git has no room for its new branch, because of others, `record` has another name for it then.
    `begin` records what is about to be made, and clears away what was left at `path`. Raises GitFailed, OSError.
    """
    source = record.source
    common = common_folder(source)
    refuse_waiting_refs(common)
    with locked(source, common=common) as lock:
        mend_repository(common)
        # Before there is an agent that could change them.
        if record.settings_path:
            keep_settings(source, record.settings_path)
        env = {**env, **settled(source, record.settings_path).variables}
        is_first = not record.base
        if is_first:
            record.base = _resolved(source, base)
        else:
            # Killed before: no git of ours is at work here any more, for it would hold the lock that we hold.
            remove_branch_lock(os.path.join(common, branch_lock(record.branch)))
        tip = _tip(record, is_first=is_first)
        begin(record)
        if not is_first:
            forget_worktree(source, path)
        add = ("worktree", "add", "--quiet", "--no-checkout")
        if tip is not None:
            # Not by force: git then says whether the branch is checked out elsewhere.
            git(source, *add, path, record.branch, env=env, lock=lock)
        else:
            # By force: somebody may have deleted a run of this id, and git still knows its worktree.
            new = (*add, "--force", "--no-track")
            try:
                git(source, *new, "-b", record.branch, path, record.base, env=env, lock=lock)
            except GitFailed as failed:
                # Killed, it may have left the lock of the branch itself, which goes before the next try.
                if failed.was_killed:
                    raise
                free = free_branch(source, record.branch)
                if free == record.branch:
                    # Nothing is in its way but, perhaps, a lock that another item has left.
                    if not is_named_by_us(free):
                        raise
                    free = _numbered_branch(source, free)
                record.branch = free
                begin(record)
                git(source, *new, "-b", free, path, record.base, env=env, lock=lock)
    # Without the lock: checking out the files can take long.
    fault_point("worker.workspace.added")
    record.is_ours = True
    record_tie(path, record, common)
    write_record(path, record)
    # git does not, and if a power cut left it empty, git would refuse nearly all that the user asks of the repository. All else
    # that git keeps of a worktree may be lost until that is ready.
    sync_file(os.path.join(record.git_dir, "commondir"))
    # It has the settings of its repository still.
    worktree = Pinned(path, record.git_dir, common, env)
    git(worktree, "reset", "--hard", "--quiet")
    return worktree


def commit_all(worktree: Pinned, record: WorkspaceRecord, message: str, litter: Sequence[str] = ()) -> Committed:
    """Put everything on the branch, but not what `litter` (git's glob patterns, from the top) names.

    Commits that the agent made stay as they are. A merge that it has left unfinished is refused. Raises GitFailed, OSError.
    """
    mend_worktree(worktree, record)
    refuse_unfinished_merge(worktree)
    left = _leave_other_branch(worktree, record.branch)
    inner = stage_all(worktree, record.base)
    # Staged and taken out again: an exclusion of what git ignores is an error to `git add`.
    unstage(worktree, [f":(top,literal){name}" for name in record.included])
    if litter:
        # Back to how it was: what the repository itself has of such a name stays in it.
        git(worktree, "reset", "--quiet", "--", *(f":(top,glob){pattern}" for pattern in litter))
    # A merge is committed even where it was resolved to what the branch had: else what it merges would conflict again.
    is_changed = asked(worktree, "diff", "--cached", "--quiet", "--no-ext-diff", "--ignore-submodules=none") is None
    if is_changed or os.path.lexists(os.path.join(worktree.git_dir, "MERGE_HEAD")):
        fault_point("worker.workspace.committing")
        author = identity(worktree)
        git(worktree, "commit", "--quiet", "--no-verify", "--file=-", env=author, given=bytes_of_text(message))
    fault_point("worker.workspace.committed")
    head, branch, note = _on_branch(worktree, record.branch, left)
    return Committed(head, branch, note, inner)


def ignored_files(worktree: Pinned, record: WorkspaceRecord) -> list[str]:
    """What git ignores there, a folder by its name (`out/`), but for what was included. Raises GitFailed, OSError."""
    found = git(worktree, "ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z").split("\0")
    return [name for name in found if name and not any(f"{each}/".startswith(f"{name.rstrip('/')}/") for each in record.included)]


def mend_worktree(worktree: Pinned, record: WorkspaceRecord) -> None:
    """Make a worktree usable again: without the locks of a git that was killed, joined to its repository if its `.git` is gone.

    Only when every process of the attempt before has ended. Raises GitFailed: somebody holds the lock of its branch, or another
    `.git` stands there; OSError.
    """
    put_back_tie(worktree.folder, record)
    refuse_other_tie(worktree.folder, record)
    remove_left_locks(worktree, record.branch)


def mend_repository(common: str) -> None:
    """Make a repository usable again, whose common folder this is, for git looks at all of its worktrees.

    A power cut may have emptied what leads one to it: git then refuses nearly all. An item may have put a pipe in the place of a
    file of its own worktree: git then waits for it, and each later item with it. The caller holds the lock. Raises GitFailed:
    something else is there that git would wait for; OSError.
    """
    for path in waited_for_in_worktrees(common):
        # Where a link leads it may be somebody's.
        if os.path.islink(os.path.dirname(path)):
            raise GitFailed(f"{path} is no plain file, and git would wait for its end: git is not asked")
        os.unlink(path)
    worktrees = os.path.join(common, "worktrees")
    with suppress(FileNotFoundError):
        for name in os.listdir(worktrees):
            path = os.path.join(worktrees, name, "commondir")
            # Never through a link: an agent that commits may write here.
            with suppress(FileNotFoundError, StrangeFileError), open(open_file(path, os.O_RDWR), "r+") as file:
                if not file.read(1):
                    file.write("../..\n")


def remove_from_repository(path: str, record: WorkspaceRecord, *, is_over: bool) -> bool:
    """Have the repository forget the worktree, whose folder is gone; its branch, too, unless it has commits of its own.

    `is_over`: nobody goes on from the branch any more, so one that we named goes as well once it is merged. Whether the branch
    stays. Raises GitFailed, OSError.
    """
    branch = f"refs/heads/{record.branch}"
    common = common_folder(record.source)
    with locked(record.source, common=common) as lock:
        mend_repository(common)
        forget_worktree(record.source, path)
        told = git(record.source, "for-each-ref", "--format=%(objectname) %(worktreepath)", branch).splitlines()
        if not told or not record.is_ours:
            return bool(told)
        tip, _, elsewhere = told[0].partition(" ")
        is_ready_to_go = tip == record.base or (is_over and _is_landed(record, tip))
        if elsewhere or not is_ready_to_go:
            return True
        # Not by `git branch`, which locks the user's configuration as well: killed there it would leave that locked.
        try:
            env = settled(record.source, record.settings_path).variables
            git(record.source, "update-ref", "--no-deref", "-d", branch, tip, env=env, lock=lock)
        except GitFailed:  # somebody was quicker, or holds a lock
            return True
        return False


def _is_landed(record: WorkspaceRecord, tip: str) -> bool:
    if not is_named_by_us(record.branch):
        return False  # the user has named it, and may have a use for it
    return asked(record.source, "merge-base", "--is-ancestor", tip, "HEAD") is not None


def forget_worktree(source: str, path: str) -> None:
    """Have the repository know nothing of a worktree at `path`, whose folder is gone. The caller holds the lock."""
    try:
        git(source, "worktree", "remove", "--force", "--force", path)
    except GitFailed as failed:
        if _UNKNOWN not in str(failed):
            raise


def forget_missing(repository: str, below: str) -> list[str]:
    """Have the repository forget the worktrees below folder `below` that are gone; their paths. Raises GitFailed, OSError."""
    common = common_folder(repository)
    with locked(repository, common=common):
        mend_repository(common)
        gone = [
            path
            for path in _listed(repository)
            if path.startswith(os.path.realpath(below) + os.sep) and not os.path.lexists(path)
        ]
        for path in gone:
            forget_worktree(repository, path)
    return gone


def _listed(repository: str) -> list[str]:
    lines = git(repository, "worktree", "list", "--porcelain").split("\n")
    return [line.removeprefix("worktree ") for line in lines if line.startswith("worktree ")]


def _resolved(source: str, base: str) -> str:
    found = commit_of(source, base)
    if found is None:
        if base == "HEAD":
            # Its name may be known, and its object be lost.
            if lost := asked(source, "rev-parse", "--verify", "--quiet", "HEAD"):
                raise GitFailed(f"{source} is damaged: its commit {lost} is not there; git fsck shows what is lost")
            raise GitFailed(f"{source} has no commit yet, and a worktree starts from one")
        raise GitFailed(f"base: {source} has no commit {base!r}")
    return found


def _tip(record: WorkspaceRecord, *, is_first: bool) -> str | None:
    """The commit that the branch is at, if it is there and ours. Raises GitFailed for a branch that is somebody else's.

    Where another item has taken the name that we gave, `record` has another one then.
    """
    if asked(record.source, "check-ref-format", f"refs/heads/{record.branch}") is None or record.branch.startswith("-"):
        raise GitFailed(f"branch: {record.branch!r} cannot be the name of a branch")
    tip = commit_of(record.source, f"refs/heads/{record.branch}")
    # Killed between the record and the branch, or right behind it, we do not know whether we made it: then it is at its base.
    if tip is not None and not record.is_ours and (is_first or tip != record.base):
        if is_named_by_us(record.branch):
            record.branch = _numbered_branch(record.source, record.branch)
            return None
        raise GitFailed(f"branch: {record.branch} is there already, and not this item's; `branch` gives it another name")
    return tip


def _numbered_branch(source: str, branch: str) -> str:
    """The name of a branch that is not there, beside `branch`."""
    return next(name for name in other_names(branch) if commit_of(source, f"refs/heads/{name}") is None)


def _leave_other_branch(worktree: Pinned, branch: str) -> str:
    """The branch that the agent has gone to, if it is another than `branch`; empty: it has not.

    HEAD does not name it from now on. It may be one of the user's, which no commit of ours moves.
    """
    current = asked(worktree, "symbolic-ref", "--quiet", "HEAD")
    head = commit_of(worktree, "HEAD")
    if current is None or current == f"refs/heads/{branch}" or head is None:
        return ""
    git(worktree, "update-ref", "--no-deref", "HEAD", head)
    return current


def _on_branch(worktree: Pinned, branch: str, left: str) -> tuple[str, str, str]:
    """The commit, the branch that is at it, and a note. `left`: see `_leave_other_branch`.

    Ours follows the agent, unless something would be lost: then another branch of ours does.
    """
    head = git(worktree, "rev-parse", "HEAD")
    ours = f"refs/heads/{branch}"
    if asked(worktree, "symbolic-ref", "--quiet", "HEAD") == ours:
        return head, branch, ""
    tip = commit_of(worktree, ours)
    if tip is None or asked(worktree, "merge-base", "--is-ancestor", tip, head) is not None:
        git(worktree, "update-ref", "--no-deref", ours, head)
        return head, branch, ""
    name = left.removeprefix("refs/heads/")
    if not left or commit_of(worktree, left) != head:
        name = next(name for name in other_names(branch) if commit_of(worktree, f"refs/heads/{name}") in (None, head))
        git(worktree, "update-ref", "--no-deref", f"refs/heads/{name}", head)
    return head, name, f"its work is on {name}, and {branch} has other commits"
