"""`logs -f`: what a running item writes, as it comes, until the item has ended.

The worker's live file becomes the attempt's own file by a rename, so a descriptor opened once sees all of it. But a file that
stayed empty is used again by the worker's next attempt: before the first bytes are believed, the records must still say that
this attempt runs. From then on the file is this attempt's for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.cli.output import flush
from orchestrator.cli.sinks import Sink, Sinks, copy_stream
from orchestrator.cli.streams import open_stream
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.records import Status
from orchestrator.system.locks.holders import is_locked

if TYPE_CHECKING:
    from orchestrator.store.records import Started

_POLL_SECONDS = 0.1
_LOOK_SECONDS = 1.0
"""Reading a long history again costs CPU: no more often than this, unless the answer is needed at once."""

_BLOCK_BYTES = 1 << 16
_UNSETTLED = (Status.PENDING, Status.WAITING, Status.RUNNING)


def follow_item(reader: RunReader, job_id: str, index: int, sinks: Sinks, *, names: Sequence[str], lines: int | None) -> None:
    """Copy the streams `names` of the attempt that runs, and of those that come after it, until the item has ended.

    An item that has ended already is printed as it is. Ends, too, when nobody supervises the run and nothing of it runs.
    """
    watched = _Watched(reader, job_id, index, sinks)
    last_shown = 0
    while True:
        start = watched.start()
        if start is not None and start.attempt > last_shown and watched.is_going_on(start):
            _follow_attempt(watched, start, names, lines)
            last_shown, lines = start.attempt, None
        elif watched.has_ended():
            if watched.attempts() > last_shown:
                _print_attempt(watched, watched.attempts(), names, lines)
            return
        else:
            time.sleep(_POLL_SECONDS)
        watched.look()


class _Watched:
    """One item of a run that goes on: its records are read again when they have changed."""

    def __init__(self, reader: RunReader, job_id: str, index: int, sinks: Sinks) -> None:
        self._sinks = sinks
        self.reader = reader
        self.job_id = job_id
        self.index = index
        self._seen = self._moment()
        self._looked_at = time.monotonic()

    def look(self, *, at_once: bool = True) -> None:
        """Read the records again if they have changed (unless `at_once`, only if the last reading is old)."""
        now = time.monotonic()
        if not at_once and now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        moment = self._moment()
        if moment != self._seen:
            self._seen = moment
            self.reader = RunReader.read(self.reader.run_dir)

    def start(self) -> Started | None:
        """The start that has no recorded end."""
        return self.reader.history.open_starts.get((self.job_id, self.index))

    def is_going_on(self, start: Started) -> bool:
        """Whether this very attempt runs, as far as the last reading goes. Without a supervisor its slot's lock tells."""
        found = self.start()
        if found is None or found.sequence != start.sequence:
            return False
        return self.reader.is_alive or is_locked(self.reader.run_dir.slot_lock(start.slot))

    def has_ended(self) -> bool:
        """Whether nothing more will come of the item for now."""
        status = self.reader.history.jobs[self.job_id].status(self.index)
        return status not in _UNSETTLED or not self.reader.is_alive

    def attempts(self) -> int:
        """How many attempts there were."""
        return self.reader.history.jobs[self.job_id].attempts(self.index)

    def sink(self, attempt: int, name: str, lines: int | None) -> Sink:
        """Where stream `name` of that attempt goes."""
        return self._sinks.sink(self.job_id, self.index, attempt, name, lines)

    def _moment(self) -> tuple[int, ...]:
        run_dir = self.reader.run_dir
        try:
            journal = os.stat(run_dir.journal(self.reader.history.generation))
        except FileNotFoundError:
            return (-1,)  # a newer generation: always differs from what was seen
        return self.reader.history.generation, journal.st_size


class _Tail:
    """One live stream of one attempt: what of it has been copied."""

    def __init__(self, live: Path, sink: Sink) -> None:
        self._live = live
        self._sink = sink
        self._file: BinaryIO | None = None
        self.is_believed = False

    def read(self) -> bytes:
        """What has come since, at most a block: the first one again and again until it is believed."""
        if self._file is None:
            try:
                self._file = self._live.open("rb")
            except FileNotFoundError:
                return b""
        if not self.is_believed:
            self._file.seek(0)
        return self._file.read(_BLOCK_BYTES)

    def believe(self) -> None:
        """These bytes are this attempt's: begin at the place that the sink asks for."""
        self.is_believed = True
        if self._file is not None:
            self._file.seek(self._sink.begin(self._file))

    def copy(self) -> bool:
        """Copy what has come; whether anything had."""
        copied = False
        while block := self.read():
            self._sink.feed(block)
            copied = True
        self._sink.settle()
        return copied

    def end(self) -> None:
        """Nothing more will come."""
        self._sink.close()

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()


def _follow_attempt(watched: _Watched, start: Started, names: Sequence[str], lines: int | None) -> None:
    folder = watched.reader.run_dir.worker_folder(start.worker)
    tails = {name: _Tail(folder / name, watched.sink(start.attempt, name, lines)) for name in names if name != "check"}
    try:
        while True:
            arrived = [tail for tail in tails.values() if not tail.is_believed and tail.read()]
            watched.look(at_once=bool(arrived))
            is_over = not watched.is_going_on(start)
            if not is_over:
                for tail in arrived:
                    tail.believe()
            copied = [tail.copy() for tail in tails.values() if tail.is_believed]
            flush()
            if is_over:
                for tail in tails.values():
                    if tail.is_believed:
                        tail.end()
                flush()
                break
            if not any(copied):
                time.sleep(_POLL_SECONDS)
        unseen = [name for name in names if name not in tails or not tails[name].is_believed]
        _print_attempt(watched, start.attempt, unseen, lines)
    finally:
        for tail in tails.values():
            tail.close()


def _print_attempt(watched: _Watched, attempt: int, names: Sequence[str], lines: int | None) -> None:
    for name in names:
        stream = open_stream(watched.reader, watched.job_id, watched.index, attempt, name)
        if stream is not None:
            with stream:
                copy_stream(stream, watched.sink(attempt, name, lines))
