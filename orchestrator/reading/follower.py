"""A run's history that is kept up to date while the run goes on: only what was appended is read.

Promise: after `take_in_appended` the history is the one that a reader would read anew at that moment. A look at a run that has
done nothing since costs some calls of `stat` and reads no byte; else it reads the groups that were appended, and one line more.

Invariant: the history is the fold of the checkpoint and of the journal's first `valid_bytes` bytes, in the two files that
stood in the run's folder at the last look. They stay open, so a place in them holds good.

Everything is read anew when the generation has moved, or the journal was replaced or has lost what was read. A torn tail is
not there yet. It takes no lock and writes nothing. It refuses what every reader refuses: state that is damaged, or newer.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.errors import StateRefusedError
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.lines import Line
from orchestrator.store.load import read_run
from orchestrator.store.places import JOURNAL
from orchestrator.store.records import RunHeader
from orchestrator.store.run_dir import RunDir


class RunFollower:
    """One run that is looked at again and again. `reader` is the run as it was at the last look; ask for it after each."""

    def __init__(self, run_dir: RunDir, tell_lost: Callable[[str], None] | None = None) -> None:
        """Read all that is recorded now. `tell_lost`: as of `RunReader`. Raises UserError (no such run), StateRefusedError."""
        self._run_dir = run_dir
        self._tell_lost = tell_lost
        self._read_anew()

    def take_in_appended(self) -> list[Line] | None:
        """Bring the history up to date; the records that are new, in order, or None if everything was read anew.

        Raises UserError (the run was pruned), StateRefusedError.
        """
        checkpoint, journal = self._loaded.checkpoint, self._loaded.journal
        # An open file keeps its number, so a file of another number at the path is another generation, or was put there by hand.
        if checkpoint.is_at_its_path() and journal.source.is_at_its_path():
            if not journal.has_changed():
                return []
            try:
                if journal.still_holds():
                    return self._fold_appended()
            except StateRefusedError:
                # A resume cuts a torn tail while we read it: two halves look like damage. Real damage is refused when read anew.
                pass
        self._read_anew()
        return None

    def _fold_appended(self) -> list[Line]:
        history, journal = self._loaded.history, self._loaded.journal
        appended: list[Line] = []
        journal.extend()
        for line, offset, length in journal:
            history.apply(line, JOURNAL, offset, length)
            appended.append(line)
        # An update gave the run another jobs file: the reader has loaded the one before.
        if any(isinstance(line, RunHeader) for line in appended):
            self.reader = RunReader(self._run_dir, history, tell_lost=self._tell_lost)
        return appended

    def _read_anew(self) -> None:
        self._loaded = read_run(self._run_dir)
        self.reader = RunReader(self._run_dir, self._loaded.history, tell_lost=self._tell_lost)
