"""Settings of a repository that run programs, say where to fetch from or what a change is: as they were when a run began.

An agent whose sandbox lets it commit can often write the configuration of the repository, too, and git would run what it names,
as the user. So what stands in a repository's own configuration is kept with the run before its first item starts, and what
was changed there since does not count in a call of ours. The user's settings for all repositories count always, and what runs
nothing (a new remote, a name) is as it stands. So is it with `info/exclude`, by which an item could have git pass over the new
files of all others. Of another `info/attributes` git cannot be told: a change there is heeded, and told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from typing import NamedTuple

import msgspec

from ..byte_text import encode_json, json_decoder, text_of_bytes
from ..files.opening import StrangeFileError, read_file
from ..files.syncing import replace_durably
from ..foreign import ForeignBytesError, decode_struct
from ..lazy_pattern import lazy_pattern
from .git import READING_SECONDS, GitFailed, git
from .git_folders import folders_of
from .pinned import Where, folder_of

_OWN = ("local", "worktree")
"""The scopes of one repository. git names these and `system`, `global`, `command`."""

_RUNS = lazy_pattern(
    r"filter\..*\.(clean|smudge|process|required)|merge\..*\.driver|core\.(attributesfile|excludesfile)", re.DOTALL
)
"""What our calls could run, and files that they read whole. Off in all of them: hooks, fsmonitor, editors, signing, programs that
show differences."""

_MEANS = {
    "core.autocrlf": "false",
    "core.bigfilethreshold": "512m",
    "core.checkstat": "default",
    "core.eol": "native",
    "core.filemode": "true",
    "core.ignorecase": "false",
    "core.safecrlf": "warn",
    "core.symlinks": "true",
    "core.trustctime": "true",
    "i18n.commitencoding": "UTF-8",
}
"""What decides which changes git sees and how it shows and commits them, each with what it means where nothing is said."""

_HOOK = lazy_pattern(r"(hook\..*)\.(command|event|enabled)", re.DOTALL)
"""A hook in the configuration, from git 2.54 on. Off for us, whoever has configured it."""

_FETCHES = lazy_pattern(
    r"(remote|url|credential|protocol|http|fetch)\..*|extensions\.partialclone|core\.(sshcommand|gitproxy|alternaterefs.*)",
    re.DOTALL,
)
"""What says where a fetch goes, and what it asks on the way."""
_IS_PARTIAL = lazy_pattern(r"remote\..*\.promisor|extensions\.partialclone", re.DOTALL)
"""git itself fetches what a partial clone lacks."""

_UNKNOWN_OPTION = 129
_ASKED = ("orchestrate.asked", "by variables")
"""A setting that we give git, to see that it heeds what it is given in this way."""

_TEXT_MERGE = "git merge-file --marker-size=%L %A %O %B"
"""As git merges a file for which no program is named. An empty word would leave one side out."""

_EXCLUDES, _ATTRIBUTES = "info/exclude", "info/attributes"
_LARGEST_INFO_BYTES = 1 << 20
"""Of one that is kept; a person's have a few lines."""

_WORD = lazy_pattern(r"[^\s'\"=;|&()<>$`]+")
"""Of a command line: what may be the path of a program in it."""


class Settled(NamedTuple):
    """The settings that count. `variables`: by which they do; `changed`: in words which were changed, and count as they were.

    `programs`: words of the commands that git runs for a file, which may be paths below the working tree; and the key of each.
    `excludes`: of a changed `info/exclude` what it was, else None. `has_new_attributes`: `info/attributes` was changed.
    """

    variables: dict[str, str]
    changed: list[str]
    programs: dict[str, str]
    excludes: str | None
    has_new_attributes: bool


class _Found(NamedTuple):
    """The settings that matter here: `own` of the repository, in order; `elsewhere`: for all repositories. `hooks`: their names,
    with the section."""

    own: list[tuple[str, str]]
    elsewhere: dict[str, str]
    hooks: list[str]


class RepositorySettings(msgspec.Struct, frozen=True):
    """The repository's own settings that matter here, in order, as they were when the run began: key and value.

    `root`: of its working tree (absolute); empty: the run's folder was in none; None: not kept, by an earlier version.
    `excludes`, `attributes`: what `info/exclude` and `info/attributes` said; None: not kept.
    """

    own: list[tuple[str, str]]
    root: str | None = None
    excludes: str | None = None
    attributes: str | None = None


_decode: Callable[[bytes], RepositorySettings] = json_decoder(RepositorySettings)


def keep_settings(where: Where | None, path: str) -> None:
    """Keep at `path` (absolute) the settings of the repository at `where` (None: there is none), unless those of one are kept.

    Survives power loss. One process at a time. Raises GitFailed, OSError.
    """
    kept = kept_settings(path)
    if kept is None or kept.root == "":
        found = RepositorySettings([], "")
        if where is not None:
            said = _said_beside(where, _EXCLUDES), _said_beside(where, _ATTRIBUTES)
            found = RepositorySettings(_settings(where).own, folder_of(where), *said)
        replace_durably(path, encode_json(found))


def kept_settings(path: str) -> RepositorySettings | None:
    """What is kept at `path` (absolute; empty: nowhere); None: nothing. Raises GitFailed, OSError."""
    if not path or not os.path.lexists(path):
        return None
    try:
        return decode_struct(_decode, read_file(path))
    except ForeignBytesError as error:
        raise GitFailed(f"{path}: {error}") from error


def settled(where: Where, path: str) -> Settled:
    """The settings that count at `where`: of the repository's own those at `path`; as they are, if nothing was kept there.

    Raises GitFailed, OSError.
    """
    now, elsewhere, hooks = _settings(where)
    recorded = kept_settings(path)
    # An earlier version kept less.
    unkept = [each for each in now if recorded is not None and recorded.root is None and each[0] in _MEANS]
    kept = now if recorded is None else [*recorded.own, *unkept]
    values, changed = _differing(kept, now, elsewhere)
    values |= {f"{hook}.enabled": "false" for hook in hooks}
    variables = _as_variables(values.items())
    # Where to fetch from is said by many settings, which add to each other: if one is new, nothing is fetched.
    if _fetching(kept) != _fetching(now) and any(_IS_PARTIAL.fullmatch(key) for key, _ in now):
        variables |= {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": ""}
        changed.append("where git fetches from")
    commands = {key: value for key, value in (*elsewhere.items(), *kept) if _RUNS.fullmatch(key)}
    words = ((word, key) for key, value in commands.items() for word in _WORD.findall(value))
    programs = {os.path.normpath(word): key for word, key in words if "/" in word or "." in word}
    excludes, attributes = (None, None) if recorded is None else (recorded.excludes, recorded.attributes)
    has_new_excludes = excludes not in (None, _said_beside(where, _EXCLUDES))
    has_new_attributes = attributes not in (None, _said_beside(where, _ATTRIBUTES))
    changed += [_EXCLUDES] if has_new_excludes else []
    return Settled(variables, changed, programs, excludes if has_new_excludes else None, has_new_attributes)


def _said_beside(where: Where, name: str) -> str | None:
    """What a file of the repository says of its files, beside its commits; None: it is none that can be kept. Raises OSError."""
    folders = folders_of(where)
    if folders is None:
        return None
    try:
        return text_of_bytes(read_file(os.path.join(folders[1], name), _LARGEST_INFO_BYTES))
    except FileNotFoundError:
        return ""
    except StrangeFileError:
        return None


def _as_variables(settings: Collection[tuple[str, str]]) -> dict[str, str]:
    """The variables that give git these settings: `-c` cannot say a key in whose middle there is a "="."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))} if settings else {}
    for number, (key, value) in enumerate(settings):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _differing(
    kept: list[tuple[str, str]], now: list[tuple[str, str]], elsewhere: dict[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The values by which settings that were changed since count as they were; and which these are."""
    before, after = dict(kept), dict(now)
    unsaid = {**_MEANS, **elsewhere}
    counting = [key for key in before.keys() | after if _counts(key)]
    changed = sorted(key for key in counting if before.get(key, unsaid.get(key)) != after.get(key, unsaid.get(key)))
    neutral = {key: _TEXT_MERGE if key.startswith("merge.") else "" for key in changed}
    return {key: {**neutral, **unsaid, **before}[key] for key in changed}, changed


def _counts(key: str) -> bool:
    """Whether a setting counts as it was when the run began."""
    return key in _MEANS or _RUNS.fullmatch(key) is not None


def _fetching(settings: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [each for each in settings if _FETCHES.fullmatch(each[0])]


def _settings(where: Where) -> _Found:
    """See `_Found`. Raises GitFailed."""
    try:
        listing = ("config", "--list", "--show-scope", "-z")
        parts = git(where, *listing, env=_as_variables([_ASKED]), time_limit_seconds=READING_SECONDS).split("\0")
    except GitFailed as failed:
        if failed.exit_code != _UNKNOWN_OPTION:
            raise
        raise GitFailed("this git cannot say whose its settings are; git 2.31 or newer is needed") from failed
    told = [(scope, *setting.partition("\n")[::2]) for scope, setting in zip(parts[::2], parts[1::2], strict=False)]
    # An older one passes over it without a word, and would run what was changed.
    if ("command", *_ASKED) not in told:
        raise GitFailed("this git heeds no setting that it is given by variables; git 2.31 or newer is needed")
    # What we say ourselves with each call is none.
    told = [each for each in told if each[0] != "command"]
    wanted = [each for each in told if _counts(each[1]) or _FETCHES.fullmatch(each[1])]
    return _Found(
        [(key, value) for scope, key, value in wanted if scope in _OWN],
        {key: value for scope, key, value in wanted if scope not in _OWN},
        sorted({hook[1] for _, key, _ in told if (hook := _HOOK.fullmatch(key)) is not None}),
    )
