"""Where profiles lie, and which of them counts for a name.

`NAME.toml` is looked for in the folder `agents` beside the jobs file (as it was when the run was made), then among the user's own
($XDG_CONFIG_HOME/orchestrate/agents), then among those that come with the program; the first takes the place of all others.
With `extends = "NAME"` a profile is the named one with some keys laid over it (tables key by key, all else as a whole); its
own name means the next one that is behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.kept_files import FROM_DISK, Files
from orchestrator.jobsfile.language.decode import plain
from orchestrator.jobsfile.language.problems import Problems
from orchestrator.jobsfile.language.suggestions import did_you_mean, shown
from orchestrator.jobsfile.language.toml_text import parse_toml, read_text
from orchestrator.jobsfile.profiles.decode import Errors, decode_errors, decode_profile
from orchestrator.jobsfile.profiles.profile import Origin, Profile
from orchestrator.system.shipped_files import agent_errors_file, agents_folder
from orchestrator.workers.lazy_pattern import lazy_pattern

_NAME = lazy_pattern(r"[a-z0-9][a-z0-9_.-]{0,63}")


def profiles_beside(folder: str) -> Path:
    """Where the profiles lie that belong to a jobs file in `folder`."""
    return Path(folder) / "agents"


class _Place(NamedTuple):
    """A folder with profiles, and what reads them."""

    origin: Origin
    folder: Path
    files: Files = FROM_DISK

    def path_of(self, name: str) -> str:
        return str(self.folder / f"{name}.toml")


class Profiles:
    """The profiles that a jobs file in `folder` (absolute; None: no jobs file) may name. Each is read when it is asked for.

    `files` reads those beside it; the others are nobody's but the user's, and are read from the disk.
    """

    def __init__(self, folder: str | None = None, files: Files = FROM_DISK) -> None:
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        self._places = [_Place("user", Path(config) / "orchestrate" / "agents"), _Place("shipped", agents_folder())]
        if folder is not None:
            self._places.insert(0, _Place("jobs file", profiles_beside(folder), files))
        self._read: dict[str, Profile] = {}

    def names(self) -> list[str]:
        """All that there are, in order."""
        stems = {Path(path).stem for place in self._places for path in place.files.profile_paths(str(place.folder))}
        return sorted(filter(_NAME.fullmatch, stems))

    def get(self, name: str) -> Profile:
        """The profile. Raises UserError if there is none, JobsFileError for mistakes in it."""
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> Profile:
        place = next(self._places_of(name), None)
        if place is None:
            raise UserError(f"there is no agent {shown(name)}{did_you_mean(name, self.names())}", "orchestrate agents lists them")
        table, text = self._table(name, [])
        path, errors = place.path_of(name), str(agent_errors_file())
        common = _errors_of(read_text(errors), errors)
        return decode_profile(table, name=name, origin=place.origin, path=path, text=text, common=common)

    def _places_of(self, name: str) -> Iterator[_Place]:
        """Those that have a profile of this name, the one that counts first."""
        if _NAME.fullmatch(name):
            yield from (place for place in self._places if place.files.is_profile(place.path_of(name)))

    def _table(self, name: str, seen: list[str]) -> tuple[dict[str, Any], str]:
        """What the first file of this name that is not in `seen` says, laid over what it extends; and its text."""
        # Its own name means the next file behind it: so a user's `claude` may extend the one that comes with the program.
        place = next((place for place in self._places_of(name) if place.path_of(name) not in seen), None)
        if place is None:
            below = seen[-1]
            problem = f"{below}: extends: there is no {'other ' if any(self._places_of(name)) else ''}agent {shown(name)}"
            raise JobsFileError(below, [problem + did_you_mean(name, [each for each in self.names() if each != name])])
        path = place.path_of(name)
        text = read_text(path, place.files.read)
        table = _table_of(text, path)
        # Laid over key by key before anything is checked: what the base has wrong may be mended by what is above it.
        base = table.get("extends")
        if base is None:
            return table, text
        if not isinstance(base, str):
            raise JobsFileError(path, [f"{path}: extends: expected the name of an agent"])
        own = {key: value for key, value in table.items() if key != "extends"}
        return _laid_over(self._table(base, [*seen, path])[0], own), text


# Both are remembered by the text: a run reads its profiles to check its file, to check its copy of that, and to start agents.


@cache
def _table_of(text: str, path: str) -> dict[str, Any]:
    """What a profile's text says, for nobody to change. Raises JobsFileError."""
    problems = Problems(path, text)
    table: dict[str, Any] = plain(parse_toml(text, path), (), problems)
    if lines := problems.lines():
        raise JobsFileError(path, lines)
    return table


@cache
def _errors_of(text: str, path: str) -> Errors:
    """The errors that all profiles have in common. Raises JobsFileError."""
    return decode_errors(parse_toml(text, path), text, path)


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = _laid_over(below[key], above[key])
    return both
