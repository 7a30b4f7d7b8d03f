"""Which commit is merged for an item: its own, unless that would land something else than its patch shows.

git merges what has come since the last commit that both sides have. An agent may have put its files on top of any commit that it
found: on one that the user has made since, for one. Then git takes the item for the one that has taken the user's work back.

Promise: a merge brings what lies between the item's base and its commit, as `orchestrate diff` shows it.
"""

from __future__ import annotations

from collections.abc import Set

import msgspec

from orchestrator.workers.workspaces.git import IDENTITY, asked, git
from orchestrator.workers.workspaces.pinned import Pinned

NOT_AS_IT_IS = "it was built on commits that its base does not have, so its files were landed as one commit on top of that"


class ItemCommit(msgspec.Struct, frozen=True):
    """What an item has come to: `commit`, and the commit `base` that it started from. None: not known."""

    commit: str
    base: str | None = None


def commit_to_merge(place: Pinned, item: ItemCommit, trailer: str) -> str:
    """The commit to merge into the checkout at `place`: that of the item, or one with its files on top of its base.

    `trailer`: the line by which earlier landings of the item are found. The same is made from the same. Raises GitFailed.
    """
    base = item.base
    if base is None:
        return item.commit
    met = (asked(place, "merge-base", "--all", "HEAD", item.commit) or "").split()
    foreign = [each for each in met if asked(place, "merge-base", "--is-ancestor", each, base) is None]
    # An item that is landed once more goes on from what it has landed. One that shares no commit at all cannot be merged.
    if met and (not foreign or _landed_by(place, trailer).issuperset(foreign)):
        return item.commit
    author = {
        f"GIT_{role}_{key}": IDENTITY[part] for role in ("AUTHOR", "COMMITTER") for part, key in enumerate(("NAME", "EMAIL"))
    }
    date = f"@{git(place, 'log', '-1', '--format=%ct', base)} +0000"
    return git(
        place,
        *("commit-tree", "-p", base, "-m", f"The files of {item.commit}", f"{item.commit}^{{tree}}"),
        env={**author, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
    )


def landing_of_patch(place: Pinned, trailer: str, files: Set[str]) -> str | None:
    """The commit in HEAD's history that has landed the patch of which this is the trailer; None: there is none. Raises GitFailed.

    `files`: those that the patch changes. A commit of an agent may have the trailer, too: one that came by a merge is believed
    only if it changes them.
    """
    first = set(git(place, "rev-list", "--first-parent", *_telling(trailer), "HEAD").split())
    for commit, *lines in _told(place, "%H", trailer):
        if trailer not in map(str.strip, lines):
            continue
        whole = ("--root", "--no-commit-id", "--name-only", "-r", "-z", "--no-renames", "-m", "--first-parent")
        if commit in first or files <= set(git(place, "diff-tree", *whole, commit).split("\0")):
            return commit
    return None


def _landed_by(place: Pinned, trailer: str) -> set[str]:
    """The commits that earlier landings of the item have merged."""
    landings = _told(place, "%P", trailer, "--first-parent")
    return {parent for parents, *lines in landings if trailer in lines for parent in parents.split()[1:]}


def _told(place: Pinned, what: str, trailer: str, *options: str) -> list[list[str]]:
    """Of each commit in HEAD's history in whose message the trailer is found: what is asked for, and the lines of its message."""
    told = git(place, "log", "-z", f"--format={what}%n%B", *_telling(trailer), *options, "HEAD")
    return [each.split("\n") for each in told.split("\0") if each]


def _telling(trailer: str) -> tuple[str, str]:
    return "--fixed-strings", f"--grep={trailer}"
