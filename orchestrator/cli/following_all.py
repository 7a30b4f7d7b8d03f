"""`logs -f` of several items: what all that run write, as it comes, each line behind the name of its item.

No file stays open between two looks, so it costs as little where hundreds run: of each stream the size is asked, and what was
added is read. Whether that was this attempt's is known afterwards, as in `cli.following`: the file of a worker whose attempt
wrote nothing is its next attempt's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.cli.following import UNSETTLED
from orchestrator.cli.output import flush, is_terminal, write_bytes, write_raw
from orchestrator.cli.sinks import Sink, Sinks, copy_stream
from orchestrator.cli.streams import open_stream
from orchestrator.engines.onlookers import live_output_size, open_live_output, runs_now
from orchestrator.reading.item_names import label_of
from orchestrator.store.lines import EndLine
from orchestrator.system.redaction import of_this_process
from orchestrator.system.wording import shown, title

if TYPE_CHECKING:
    from orchestrator.reading.follower import RunFollower
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.store.lines import Line
    from orchestrator.store.records import Started
    from orchestrator.store.run_dir import RunDir
    from orchestrator.store.run_history import RunHistory

Item = tuple[str, int]

_LOOK_SECONDS = 0.2
_BLOCK_BYTES = 1 << 16
_LABEL_WIDTH = 30
_COLOURS = (36, 33, 32, 35, 34, 31)


class FollowedItems:
    """The items `wanted` of a run (None: all). `names`: which streams; `lines`: only so many of what had been written before."""

    def __init__(
        self, follower: RunFollower, wanted: Collection[Item] | None, sinks: Sinks, *, names: Sequence[str], lines: int | None
    ) -> None:
        self._follower = follower
        self._wanted = wanted
        self._sinks = sinks
        self._names = names
        self._lines = lines
        self._followed: dict[Item, _FollowedAttempt] = {}
        self._last_shown: dict[Item, int] = {}
        """By item the last attempt of which something was shown."""

    def follow(self) -> None:
        """Until nobody supervises the run and nothing of it runs, or all that is wanted has ended."""
        # What had ended before is not followed: `logs` without -f prints it.
        history = self._follower.reader.history
        self._last_shown = {item: start.attempt - 1 for item, start in history.open_starts.items()}
        self._begin_new(self._lines)
        self._copy_arrived()
        # What was empty until now had nothing before.
        for each in self._followed.values():
            each.show_all_to_come()
        while True:
            # The lock first: whatever a supervisor recorded before it let go is then seen.
            is_alive = self._follower.reader.is_alive
            arrived = self._copy_arrived()
            before = self._follower.reader.history
            appended = self._follower.take_in_appended()
            self._end_over()
            for item, attempt in _ended(appended) if appended is not None else _new_since(before, self._follower.reader.history):
                self._show_whole(item, attempt)
            self._begin_new()
            flush()
            if not self._followed and (not is_alive or self._is_all_settled()):
                return
            if not arrived:
                time.sleep(_LOOK_SECONDS)

    def _copy_arrived(self) -> bool:
        """Show what has come since the last look; whether anything had."""
        run_dir = self._follower.reader.run_dir
        return bool([each for each in self._followed.values() if each.copy_arrived(run_dir)])

    def _begin_new(self, lines: int | None = None) -> None:
        for item, start in self._follower.reader.history.open_starts.items():
            if self._is_wanted(item) and item not in self._followed and start.attempt > self._last_shown.get(item, 0):
                self._followed[item] = self._attempt(item, start.attempt, start, lines)

    def _end_over(self) -> None:
        reader = self._follower.reader
        for item, each in [*self._followed.items()]:
            start = reader.history.open_starts.get(item)
            if start is None or each.start is None or start.sequence != each.start.sequence:
                del self._followed[item]
                each.finish(reader)

    def _show_whole(self, item: Item, attempt: int) -> None:
        """Show an attempt that came and went between two looks."""
        if self._is_wanted(item) and attempt > self._last_shown.get(item, 0):
            self._attempt(item, attempt, None).finish(self._follower.reader)

    def _attempt(self, item: Item, attempt: int, start: Started | None, lines: int | None = None) -> _FollowedAttempt:
        reader = self._follower.reader
        self._last_shown[item] = attempt
        name = title(reader.item_name(*item), label_of(reader, *item), _LABEL_WIDTH)
        colour = _COLOURS[len(self._last_shown) % len(_COLOURS)] if is_terminal() and not os.environ.get("NO_COLOR") else None
        streams = {}
        for stream in self._names:
            out = _BehindName(name, colour)
            streams[stream] = _Stream(partial(self._sinks.sink, *item, attempt, stream, out=out), lines, out)
        return _FollowedAttempt(item, attempt, start, streams)

    def _is_wanted(self, item: Item) -> bool:
        return self._wanted is None or item in self._wanted

    def _is_all_settled(self) -> bool:
        jobs = self._follower.reader.history.jobs
        return self._wanted is not None and all(jobs[job].status(index) not in UNSETTLED for job, index in self._wanted)


class _Stream:
    """One stream of one attempt: where it goes, and how much of it was shown."""

    def __init__(self, make_sink: Callable[..., Sink], lines: int | None, out: _BehindName) -> None:
        self._make_sink = make_sink
        self.sink = make_sink(lines=lines)
        self.out = out
        self.offset: int | None = None

    def show_all_to_come(self) -> None:
        """If nothing was there yet, show all that comes, and not its last lines."""
        if self.offset is None:
            self.sink = self._make_sink(lines=None)


class _FollowedAttempt:
    """One attempt. `start` None: it has ended."""

    def __init__(self, item: Item, attempt: int, start: Started | None, streams: dict[str, _Stream]) -> None:
        self.start = start
        self._item = item
        self._attempt = attempt
        self._streams = streams

    def copy_arrived(self, run_dir: RunDir) -> bool:
        """Show what has come since the last look; whether anything had."""
        assert self.start is not None
        found: list[tuple[_Stream, int, bytes]] = []
        for name, stream in self._streams.items():
            # A check writes behind the attempt's own streams; what it wrote is shown at the end.
            if name == "check" or live_output_size(run_dir, self.start, name) <= (stream.offset or 0):
                continue
            file = open_live_output(run_dir, self.start, name)
            if file is None:
                continue
            with file:
                begin = stream.sink.begin(file) if stream.offset is None else stream.offset
                file.seek(begin)
                if data := file.read(_BLOCK_BYTES):
                    found.append((stream, begin, data))
        # Bytes that were there while the attempt ran are not those of the next one.
        if not found or not runs_now(run_dir, self.start):
            return False
        for stream, begin, data in found:
            stream.sink.feed(data)
            stream.offset = begin + len(data)
            if len(data) < _BLOCK_BYTES:
                stream.sink.settle()
        return True

    def show_all_to_come(self) -> None:
        """Of each stream that had nothing yet."""
        for stream in self._streams.values():
            stream.show_all_to_come()

    def finish(self, reader: RunReader) -> None:
        """Show the rest, from the files that the attempt has left."""
        for name, stream in self._streams.items():
            file = open_stream(reader, *self._item, self._attempt, name)
            if file is not None:
                with file:
                    copy_stream(file, stream.sink, stream.offset)
            stream.out.finish()


class _BehindName:
    """Takes what the streams of one item are to show, and writes its whole lines behind the item's name."""

    def __init__(self, name: str, colour: int | None) -> None:
        self._name = f"{name} | ".encode()
        if colour is not None:
            self._name = b"\x1b[%dm%s\x1b[0m" % (colour, self._name)
        self._rest = b""

    def put(self, data: bytes) -> None:
        """As `cli.output.write_bytes`."""
        self._write(data, is_raw=False)

    def put_line(self, text: str) -> None:
        """As `cli.output.write_line`."""
        self._write(shown(of_this_process().redact_text(text)).encode() + b"\n", is_raw=False)

    def put_raw(self, data: bytes) -> None:
        """As `cli.output.write_raw`."""
        self._write(data, is_raw=True)

    def finish(self) -> None:
        """Nothing more comes: what is left is a line, too."""
        if self._rest:
            self._write(b"\n", is_raw=False)

    def _write(self, data: bytes, *, is_raw: bool) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            write_raw(self._name)
            (write_raw if is_raw else write_bytes)(line + b"\n")


def _ended(appended: Sequence[Line]) -> Iterator[tuple[Item, int]]:
    """The attempts that ended."""
    return (((line.job, line.index), line.attempt) for line in appended if isinstance(line, EndLine))


def _new_since(before: RunHistory, now: RunHistory) -> Iterator[tuple[Item, int]]:
    """The last attempts that were not there before, and run no more: all was written anew meanwhile."""
    for job_id, past in now.jobs.items():
        known = before.jobs.get(job_id)
        for index in range(past.known):
            attempt = past.attempts(index)
            if attempt > (0 if known is None else known.attempts(index)) and (job_id, index) not in now.open_starts:
                yield (job_id, index), attempt
