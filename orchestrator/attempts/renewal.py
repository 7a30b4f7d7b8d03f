"""Whether an item with `creates` is done already, and if not, why it runs: as `make` says it, or as DVC does.

`creates_when = "missing"`: where a file is not there. `"newer"`: also where a source was changed after one of them was made.
`"changed"`: also where a source, or the work itself (its payload), is other than what they were made of.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from orchestrator.attempts.rendering import Prepared
from orchestrator.attempts.sources import SourceFiles, difference
from orchestrator.store.durable_file import write_whole
from orchestrator.store.made_of import MadeOf, Source, encode_made_of, note_path, read_made_of
from orchestrator.workers.protocol import MadeNote


class Renewal(msgspec.Struct, frozen=True):
    """`because`: why the item runs; empty: it is done. `note`: what its worker leaves when the files are made."""

    because: str
    note: MadeNote | None = None


class Renewals:
    """Of one run. `home`: where the notes lie; `is_told_only`: nothing is written there."""

    def __init__(self, home: Path, *, is_told_only: bool = False) -> None:
        self._home = home
        self._is_told_only = is_told_only
        self._files = SourceFiles()

    def look(self, prepared: Prepared, *, is_proven: bool = True, state: int = 0) -> Renewal:
        """`is_proven`: no failed attempt may have left the files as they are. `state`: as of `SourceFiles.paths`.

        Raises ItemRefused.
        """
        finals, folder = [each.final for each in prepared.creates], prepared.made_from
        missing = next((path for path in finals if not os.path.exists(path)), None)
        if missing is not None:
            because = f"{_shown(missing, folder)} is missing"
        else:
            because = "" if is_proven else "what a failed attempt left there counts for nothing"
        if prepared.creates_when == "missing" or (because and prepared.creates_when == "newer"):
            return Renewal(because)
        paths = self._files.paths(prepared.sources, folder, state)
        if prepared.creates_when == "newer":
            newer = self._files.newer(finals, paths, folder)
            return Renewal("" if newer is None else f"{newer[0]} is newer than {_shown(newer[1], folder)}")
        return self._changed(prepared, paths, finals, because)

    def _changed(self, prepared: Prepared, paths: Sequence[str], finals: Sequence[str], because: str) -> Renewal:
        path = note_path(self._home, finals)
        before = read_made_of(path)
        now = self._files.read(paths, prepared.made_from, before.sources if before is not None else ())
        note = MadeNote(str(path), encode_made_of(MadeOf(work=prepared.payload, sources=now, files=list(finals))))
        if because:
            pass
        elif before is None:
            because = f"it is not known what {_shown(finals[0], prepared.made_from)} was made of"
        elif words := difference(before.sources, now):
            because = words
        elif before.work != prepared.payload:
            because = "what it does has changed"
        elif not self._is_told_only and _times(before.sources) != _times(now):
            # Else what was only touched would be read each time.
            write_whole(path, note.data)
        return Renewal(because, note)


def _times(sources: Sequence[Source]) -> list[int]:
    return [source.mtime_ns for source in sources]


def _shown(path: str, folder: str) -> str:
    """A path as people write it: relative to the folder, if it lies there."""
    return path.removeprefix(f"{folder}/")
