"""Settings of a repository that run programs or say where to fetch from: those count that were there when a run first used it.

An agent whose sandbox lets it commit can often write the configuration of the repository, too, and git would run what it names,
as the user. So what stands in a repository's own configuration is kept with the run before its first worktree is made, and what
was changed there since does not count in a call of ours. The user's settings for all repositories count always, and what runs
nothing (a new remote, a name) is as it stands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ..byte_text import encode_json, json_decoder
from ..files.opening import read_file
from ..files.syncing import replace_durably
from ..foreign import ForeignBytesError, decode_struct
from .git import GitFailed, git
from .pinned import Where

_OWN = ("local", "worktree")
"""The scopes of one repository. git names these and `system`, `global`, `command`."""

_RUNS = re.compile(r"filter\..*\.(clean|smudge|process|required)|merge\..*\.driver", re.DOTALL)
"""What our calls could run. Hooks, fsmonitor, editors, signing, programs that show differences are off in all of them."""

_FETCHES = re.compile(
    r"(remote|url|credential|protocol|http)\..*|extensions\.partialclone|core\.(sshcommand|gitproxy)", re.DOTALL
)
_IS_PARTIAL = re.compile(r"remote\..*\.promisor|extensions\.partialclone", re.DOTALL)
"""git itself fetches what a partial clone lacks."""

_UNKNOWN_OPTION = 129

_TEXT_MERGE = "git merge-file --marker-size=%L %A %O %B"
"""As git merges a file for which no program is named. An empty word would leave one side out."""


_PROGRAM = re.compile(r"filter\..*\.(clean|smudge|process)|merge\..*\.driver", re.DOTALL)
_WORD = re.compile(r"[^\s'\"=;|&()<>$`]+")


class Settled(NamedTuple):
    """The settings that count. `variables`: by which they do; `changed`: in words which were changed, and count as they were.

    `programs`: words of the commands that git runs for a file, which may be paths below the working tree; and the key of each.
    """

    variables: dict[str, str]
    changed: list[str]
    programs: dict[str, str]


class RepositorySettings(msgspec.Struct, frozen=True):
    """The repository's own settings that matter here, in order, as they were when the run first used it: key and value."""

    own: list[tuple[str, str]]


_decode: Callable[[bytes], RepositorySettings] = json_decoder(RepositorySettings)


def keep_settings(where: Where, path: str) -> None:
    """Keep at `path` (absolute) the settings of the repository at `where`, unless it was done before. Survives power loss.

    The caller holds the repository's lock. Raises GitFailed, OSError.
    """
    if not os.path.lexists(path):
        own, _ = _settings(where)
        replace_durably(path, encode_json(RepositorySettings(own)))


def settled(where: Where, path: str) -> Settled:
    """The settings that count at `where`: of the repository's own those at `path`; as they are, if nothing was kept there.

    Raises GitFailed, OSError.
    """
    now, elsewhere = _settings(where)
    kept = now
    if path and os.path.lexists(path):
        try:
            kept = decode_struct(_decode, read_file(path)).own
        except ForeignBytesError as error:
            raise GitFailed(f"{path}: {error}") from error
    variables, changed = _differing(kept, now, elsewhere)
    commands = {key: value for key, value in (*elsewhere.items(), *kept) if _PROGRAM.fullmatch(key)}
    words = ((word, key) for key, value in commands.items() for word in _WORD.findall(value))
    return Settled(variables, changed, {os.path.normpath(word): key for word, key in words if "/" in word or "." in word})


def _differing(
    kept: list[tuple[str, str]], now: list[tuple[str, str]], elsewhere: dict[str, str]
) -> tuple[dict[str, str], list[str]]:
    """See `settled`. `elsewhere`: what is set for all repositories."""
    before, after = dict(kept), dict(now)
    changed = sorted(key for key in before.keys() | after if _RUNS.fullmatch(key) and before.get(key) != after.get(key))
    # By variables: `-c` cannot say a key in whose middle there is a "=".
    variables: dict[str, str] = {}
    for number, key in enumerate(changed):
        neutral = elsewhere.get(key, _TEXT_MERGE if key.startswith("merge.") else "")
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = before.get(key, neutral)
    if changed:
        variables["GIT_CONFIG_COUNT"] = str(len(changed))
    # Where to fetch from is said by many settings, which add to each other: if one is new, nothing is fetched.
    is_elsewhere = [each for each in kept if _FETCHES.fullmatch(each[0])] != [each for each in now if _FETCHES.fullmatch(each[0])]
    if is_elsewhere and any(_IS_PARTIAL.fullmatch(key) for key in after):
        variables |= {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": ""}
        changed.append("where git fetches from")
    return variables, changed


def _settings(where: Where) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The repository's own settings that matter here, in order; and those from elsewhere."""
    try:
        parts = git(where, "config", "--list", "--show-scope", "-z").split("\0")
    except GitFailed as failed:
        if failed.exit_code != _UNKNOWN_OPTION:
            raise
        raise GitFailed("this git cannot say whose its settings are; git 2.31 or newer is needed") from failed
    told = [(scope, *setting.partition("\n")[::2]) for scope, setting in zip(parts[::2], parts[1::2], strict=False)]
    wanted = [each for each in told if any(kind.fullmatch(each[1]) for kind in (_RUNS, _FETCHES))]
    own = [(key, value) for scope, key, value in wanted if scope in _OWN]
    return own, {key: value for scope, key, value in wanted if scope not in _OWN}
