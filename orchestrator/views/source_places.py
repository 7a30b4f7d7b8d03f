"""Which file and line of a repository a failure is about: what it names last in what it wrote, else the file that its item is."""

from __future__ import annotations

import os
import re

from orchestrator.views.failures import Failure
from orchestrator.workers.lazy_pattern import lazy_pattern

_PLACE = lazy_pattern(r'File "(?P<quoted>[^"]+)", line (?P<line>\d+)|(?P<path>[^\s:()"\'`,]+):(?P<number>\d+)\b')
"""As Python tells a place, and as most others do: `path:line:`."""


class SourcePlaces:
    """`root`: the repository; the file of the jobs lies in the folder where items work."""

    def __init__(self, root: str, jobs_file: str) -> None:
        self._root = os.path.realpath(root) if root else ""
        self._folders = [each for each in (os.path.dirname(jobs_file), self._root) if each]

    def of(self, failure: Failure) -> tuple[str, int | None] | None:
        """A path below the root, and a line of it; None: it names no file that is there."""
        if not self._root:
            return None
        for line in reversed(failure.tail):
            for found in reversed(list(_PLACE.finditer(line))):
                if (file := self._file(found["quoted"] or found["path"])) is not None:
                    return file, _number(found)
        file = self._file(failure.label) if failure.label else None
        return None if file is None else (file, None)

    def _file(self, path: str) -> str | None:
        for folder in self._folders:
            try:
                real = os.path.realpath(os.path.join(folder, path))
                if os.path.isfile(real) and os.path.commonpath([real, self._root]) == self._root:
                    return os.path.relpath(real, self._root)
            except (OSError, ValueError):  # too long, or with a NUL in it
                continue
        return None


def _number(found: re.Match[str]) -> int:
    return int((found["line"] or found["number"])[:9])
