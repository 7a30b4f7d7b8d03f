"""Where profiles lie, and which of them counts for a name.

`NAME.toml` is looked for in the folder `agents` beside the jobs file, then among the user's own
($XDG_CONFIG_HOME/orchestrate/agents), then among those that come with the program; the first takes the place of all others.
With `extends = "NAME"` a profile is the named one with some keys laid over it (tables key by key, all else as a whole); its
own name means the next one that is behind it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.language.decode import plain
from orchestrator.jobsfile.language.problems import Problems
from orchestrator.jobsfile.language.suggestions import did_you_mean, shown
from orchestrator.jobsfile.language.toml_text import parse_toml, read_text
from orchestrator.jobsfile.profiles.decode import Errors, decode_errors, decode_profile
from orchestrator.jobsfile.profiles.profile import Origin, Profile
from orchestrator.system.shipped_files import agent_errors_file, agents_folder

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class Profiles:
    """The profiles that a jobs file in `folder` (absolute; None: no jobs file) may name. Each is read when it is asked for."""

    def __init__(self, folder: str | None = None) -> None:
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        places: list[tuple[Origin, Path]] = []
        if folder is not None:
            places.append(("jobs file", Path(folder) / "agents"))
        self._places = [*places, ("user", Path(config) / "orchestrate" / "agents"), ("shipped", agents_folder())]
        self._read: dict[str, Profile] = {}
        self._errors: Errors | None = None

    def names(self) -> list[str]:
        """All that there are, in order."""
        found = {path.stem for _origin, place in self._places for path in place.glob("*.toml") if _NAME.fullmatch(path.stem)}
        return sorted(found)

    def get(self, name: str) -> Profile:
        """The profile. Raises UserError if there is none, JobsFileError for mistakes in it."""
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> Profile:
        found = self._files(name)
        if not found:
            raise UserError(f"there is no agent {shown(name)}{did_you_mean(name, self.names())}", "orchestrate agents lists them")
        origin, path = found[0]
        table, text = self._table(name, [])
        return decode_profile(table, name=name, origin=origin, path=str(path), text=text, common=self._common_errors())

    def _files(self, name: str) -> list[tuple[Origin, Path]]:
        if not _NAME.fullmatch(name):
            return []
        # Also what is no file, as a folder: it is told as what it is, and not that there is no such agent.
        return [(origin, place / f"{name}.toml") for origin, place in self._places if os.path.lexists(place / f"{name}.toml")]

    def _table(self, name: str, seen: list[Path]) -> tuple[dict[str, Any], str]:
        """What the first file of this name that is not in `seen` says, laid over what it extends; and its text."""
        # Its own name means the next file behind it: so a user's `claude` may extend the one that comes with the program.
        path = next((path for _origin, path in self._files(name) if path not in seen), None)
        if path is None:
            below = str(seen[-1])
            problem = f"{below}: extends: there is no {'other ' if self._files(name) else ''}agent {shown(name)}"
            raise JobsFileError(below, [problem + did_you_mean(name, [each for each in self.names() if each != name])])
        text = read_text(str(path))
        problems = Problems(str(path), text)
        table = plain(parse_toml(text, str(path)), (), problems)
        if lines := problems.lines():
            raise JobsFileError(str(path), lines)
        # Laid over key by key before anything is checked: what the base has wrong may be mended by what is above it.
        base = table.pop("extends", None)
        if base is None:
            return table, text
        if not isinstance(base, str):
            raise JobsFileError(str(path), [f"{path}: extends: expected the name of an agent"])
        return _laid_over(self._table(base, [*seen, path])[0], table), text

    def _common_errors(self) -> Errors:
        if self._errors is None:
            path = str(agent_errors_file())
            text = read_text(path)
            self._errors = decode_errors(parse_toml(text, path), text, path)
        return self._errors


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = _laid_over(below[key], above[key])
    return both
