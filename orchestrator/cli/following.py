"""`logs -f`: what a running item writes, as it comes, until the item has ended.

The worker's live file becomes the attempt's own file by a rename, so a descriptor opened once sees all of it. But a file that
stayed empty is used again by the worker's next attempt: before the first bytes are believed, the records must still say that
this attempt runs, and its worker's log that it runs no other. From then on the file is this attempt's for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.cli.output import flush
from orchestrator.cli.sinks import Sink, Sinks, copy_stream
from orchestrator.cli.streams import open_stream
from orchestrator.engines.onlookers import open_live_output, runs_now
from orchestrator.store.records import Status
from orchestrator.system.locks.holders import is_locked

if TYPE_CHECKING:
    from orchestrator.reading.follower import RunFollower
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.store.records import Started

_POLL_SECONDS = 0.1
_BLOCK_BYTES = 1 << 16
UNSETTLED = (Status.PENDING, Status.WAITING, Status.RUNNING)
"""Of an item in one of these states more may come."""


def follow_item(follower: RunFollower, job_id: str, index: int, sinks: Sinks, *, names: Sequence[str], lines: int | None) -> None:
    """Copy the streams `names` of the attempt that runs, and of those that come after it, until the item has ended.

    An item that has ended already is printed as it is. Ends, too, when nobody supervises the run and nothing of it runs.
    `lines`: only so many of what had been written before.
    """
    item = _FollowedItem(follower, job_id, index, sinks)
    last_shown = 0
    while True:
        start = item.start()
        if start is not None and start.attempt > last_shown and item.is_going_on(start):
            _follow_attempt(item, start, names, lines)
            last_shown, lines = start.attempt, None
        elif item.has_ended():
            # Attempts that came and went between two looks: of these the last one is shown.
            if item.attempts() > last_shown:
                _print_attempt(item, item.attempts(), names, lines)
            return
        else:
            time.sleep(_POLL_SECONDS)
        item.look_again()


class _FollowedItem:
    """One item of a run that goes on, and where its streams go."""

    def __init__(self, follower: RunFollower, job_id: str, index: int, sinks: Sinks) -> None:
        self._follower = follower
        self._sinks = sinks
        self.job_id = job_id
        self.index = index
        self._is_supervised = True
        self.look_again()

    @property
    def reader(self) -> RunReader:
        """The run as it was at the last look."""
        return self._follower.reader

    def look_again(self) -> None:
        """Take in what was recorded since the last look."""
        # The lock first: whatever a supervisor recorded before it let go is then seen, and nothing of the item is missed.
        self._is_supervised = self.reader.is_alive
        self._follower.take_in_appended()

    def start(self) -> Started | None:
        """The start that has no recorded end."""
        return self.reader.history.open_starts.get((self.job_id, self.index))

    def is_going_on(self, start: Started) -> bool:
        """Whether this very attempt runs, as far as the last look goes. Without a supervisor its slot's lock tells."""
        found = self.start()
        if found is None or found.sequence != start.sequence or not runs_now(self.reader.run_dir, start):
            return False
        return self._is_supervised or is_locked(self.reader.run_dir.slot_lock(start.slot))

    def has_ended(self) -> bool:
        """Whether nothing more will come of the item for now."""
        status = self.reader.history.jobs[self.job_id].status(self.index)
        return status not in UNSETTLED or not self._is_supervised

    def attempts(self) -> int:
        """How many attempts there were."""
        return self.reader.history.jobs[self.job_id].attempts(self.index)

    def sink(self, attempt: int, name: str, lines: int | None) -> Sink:
        """Where stream `name` of that attempt goes."""
        return self._sinks.sink(self.job_id, self.index, attempt, name, lines)


class _Tail:
    """One live stream of one attempt: what of it has been copied."""

    def __init__(self, open_file: Callable[[], BinaryIO | None], sink: Sink) -> None:
        self._open_file = open_file
        self._sink = sink
        self._file: BinaryIO | None = None
        self.is_believed = False

    def read_block(self) -> bytes:
        """What has come since, at most a block: the first one again and again until it is believed."""
        if self._file is None:
            self._file = self._open_file()
        if self._file is None:
            return b""
        if not self.is_believed:
            self._file.seek(0)
        return self._file.read(_BLOCK_BYTES)

    def believe_file(self) -> None:
        """The file is this attempt's: begin at the place that the sink asks for."""
        self.is_believed = True
        if self._file is not None:
            self._file.seek(self._sink.begin(self._file))

    def copy_arrived(self) -> bool:
        """Copy what has come; whether anything had."""
        copied = False
        while block := self.read_block():
            self._sink.feed(block)
            copied = True
        self._sink.settle()
        return copied

    def close_sink(self) -> None:
        """Nothing more will come."""
        self._sink.close()

    def close_file(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()


def _follow_attempt(item: _FollowedItem, start: Started, names: Sequence[str], lines: int | None) -> None:
    """Copy what the attempt writes until it has ended; then, from the files that it left, the streams that were not copied."""
    # A check writes after the attempt's own streams; what it wrote is printed at the end.
    tails = {
        name: _Tail(partial(open_live_output, item.reader.run_dir, start, name), item.sink(start.attempt, name, lines))
        for name in names
        if name != "check"
    }
    try:
        is_over = False
        while not is_over:
            # First the bytes, then the records: bytes that were there while the attempt ran are not those of the next one.
            arrived = [tail for tail in tails.values() if not tail.is_believed and tail.read_block()]
            item.look_again()
            is_over = not item.is_going_on(start)
            for tail in arrived if not is_over else ():
                tail.believe_file()
            # Copied once more when the attempt is over: all that it wrote had been written before its end was recorded.
            copied = [tail.copy_arrived() for tail in tails.values() if tail.is_believed]
            flush()
            if not is_over and not any(copied):
                time.sleep(_POLL_SECONDS)
        for tail in tails.values():
            if tail.is_believed:
                tail.close_sink()
        flush()
        unseen = [name for name in names if name not in tails or not tails[name].is_believed]
        _print_attempt(item, start.attempt, unseen, lines)
    finally:
        for tail in tails.values():
            tail.close_file()


def _print_attempt(item: _FollowedItem, attempt: int, names: Sequence[str], lines: int | None) -> None:
    """Print the streams `names` of an attempt as they are now."""
    for name in names:
        stream = open_stream(item.reader, item.job_id, item.index, attempt, name)
        if stream is not None:
            with stream:
                copy_stream(stream, item.sink(attempt, name, lines))
