"""Names of branches that git can have beside those that are there.

git keeps a branch as a file: beside `src` there can be no `src/x`. Where a name is in the way of another, a number stands behind
the part that is (`src+2/x`): a sign that names of items hardly have, so that no other item wants the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from ..lazy_pattern import lazy_pattern
from .git import commit_of, git

OUR_BRANCHES = "orchestrate/"
"""What the names of branches begin with that nobody has named, if the repository has no branch `orchestrate`."""

_OURS = lazy_pattern(r"orchestrate(\+\d+)?/")


def is_named_by_us(branch: str) -> bool:
    """Whether nobody has named the branch."""
    return _OURS.match(branch) is not None


def free_branch(repository: str, wanted: str) -> str:
    """A name under which a branch can be made: `wanted`, unless there are branches above or below it.

    Whose `wanted` itself is, if it is there, is not asked here. Raises GitFailed, OSError.
    """
    *folders, last = wanted.split("/")
    above = ""
    for part in folders:
        names = (f"{above}{name}" for name in _numbered(part))
        above = f"{next(name for name in names if not _is_branch(repository, name))}/"
    names = (f"{above}{name}" for name in _numbered(last))
    return next(
        name for name in names if not _has_below(repository, name) and (name == wanted or not _is_branch(repository, name))
    )


def other_names(branch: str) -> Iterator[str]:
    """Names beside that of a branch which is there, without end: `x+2`, `x+3`."""
    names = _numbered(branch)
    next(names)
    return names


def _numbered(part: str) -> Iterator[str]:
    yield part
    yield from (f"{part}+{number}" for number in count(2))


def _is_branch(repository: str, name: str) -> bool:
    return commit_of(repository, f"refs/heads/{name}") is not None


def _has_below(repository: str, name: str) -> bool:
    return bool(git(repository, "for-each-ref", "--count=1", "--format=%(refname)", f"refs/heads/{name}/"))
