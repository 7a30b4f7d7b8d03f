"""What a session is asked for: by a command line, by a program, by the run that it is nested in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from orchestrator.core.events import Event
from orchestrator.errors import StateRefusedError
from orchestrator.jobsfile.model import JobsFile
from orchestrator.shared.nesting.ancestors import Nesting
from orchestrator.store.records import RunEnded
from orchestrator.store.settings_records import RunOptions
from orchestrator.supervisor.gates import Asker
from orchestrator.system.processors import usable_processors
from orchestrator.system.stop_signals import SIGNALS, StopSources

if TYPE_CHECKING:
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.supervisor.growth import Incoming


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`run`: what the command line chose. `nesting`: the items that this run is started by, if it is started by one.

    `first`: what is asked before anything starts (a cancel of a dead run). `replaced_by` (`RUN/ITEM`): on whose behalf that is.
    `ended`: how the run had ended, if it shall end so again: some items are cancelled, and the others stand where they stood.
    """

    run: RunOptions
    stops: StopSources = SIGNALS
    nesting: Nesting | None = None
    is_resumed: bool = False
    keep_failed: bool = False
    rerun_stale: bool = False
    is_update: bool = False
    """The run was just updated; so shall be its child runs that go on."""
    asker: Asker | None = None
    """Whom its gates can ask at once."""
    first: tuple[Event, ...] = ()
    replaced_by: str | None = None
    ended: RunEnded | None = None
    incoming: Incoming | None = None
    """The items of its one job, which still come."""
    notes: tuple[str, ...] = ()
    """What a person should know before anything starts."""

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Marks of the attempts that this run is nested in."""
        return tuple(self.nesting.marks) if self.nesting is not None else ()

    @property
    def attendant(self) -> Asker | None:
        """Whom gates can ask: nobody in a nested run, whose terminal is its parent's."""
        return self.asker if self.nesting is None else None


def slots_of_run(options: RunOptions, jobs_file: JobsFile) -> int:
    """How many items run at once; 0: inline."""
    return next(each for each in (options.slots, jobs_file.run.slots, usable_processors()) if each is not None)


def slots_as_seen(reader: RunReader) -> int:
    """As `slots_of_run`, for an onlooker: what was set since it began holds; 0 also where its jobs file cannot be read."""
    history = reader.history
    try:
        return history.slots_set or slots_of_run(history.header.options, reader.jobs_file)
    except StateRefusedError:
        return 0
