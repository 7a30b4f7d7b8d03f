"""How an attempt's output reaches stdout: as it is, without its secrets, or, of an agent, as lines that people can read."""

from __future__ import annotations

import io
import os
import time
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Protocol

from orchestrator.cli.output import flush, write_bytes, write_line, write_raw
from orchestrator.reading.shown_redactor import redactor_of
from orchestrator.system.redaction import Redactor

if TYPE_CHECKING:
    from orchestrator.jobsfile.profiles.load import Profiles
    from orchestrator.jobsfile.profiles.profile import Profile
    from orchestrator.jobsfile.profiles.shown_lines import ShownLines
    from orchestrator.reading.run_reader import RunReader

_BLOCK_BYTES = 1 << 16
_LINES_BEFORE = 300
"""Lines before the shown ones that are read, too: a private key that begins in them may go on in the lines that are shown."""


class Output(Protocol):
    """Takes what is shown."""

    def put(self, data: bytes) -> None:
        """Data, which may be cut anywhere: a terminal does not obey it."""
        ...

    def put_line(self, text: str) -> None:
        """A line of words."""
        ...

    def put_raw(self, data: bytes) -> None:
        """Data that a terminal may obey."""
        ...


class _Stdout:
    put = staticmethod(write_bytes)
    put_line = staticmethod(write_line)
    put_raw = staticmethod(write_raw)


STDOUT: Output = _Stdout()


class Sink(Protocol):
    """Takes one stream of one attempt. With `lines`, only the last lines of what comes before the first `settle` are shown."""

    def begin(self, stream: BinaryIO) -> int:
        """The offset (bytes) from which on it wants the stream."""
        ...

    def feed(self, data: bytes) -> None:
        """Take in the next bytes."""
        ...

    def settle(self) -> None:
        """Nothing more comes for now: show all that later bytes cannot change."""
        ...

    def close(self) -> None:
        """The stream has ended."""
        ...


class Sinks:
    """The sinks of one command. `is_raw`: they show every byte as it was written."""

    def __init__(self, reader: RunReader, *, is_raw: bool) -> None:
        self._reader = reader
        self._redactor = None if is_raw else redactor_of(reader)
        self._profiles: Profiles | None = None

    def sink(self, job_id: str, index: int, attempt: int, name: str, lines: int | None, out: Output = STDOUT) -> Sink:
        """The sink for the stream `name` (as of `open_stream`) of that attempt; `out` takes what it shows."""
        from orchestrator.jobsfile.model import AgentAction

        if self._redactor is None:
            return _Raw(lines, out)
        if not isinstance(self._reader.job(job_id).action, AgentAction) and name != "check":
            return _Redacted(self._redactor, lines, out)
        from orchestrator.jobsfile.profiles.shown_lines import ShownLines

        agent = _agent_of(self._reader, job_id, index, attempt)
        profile = self._profile(agent) if agent is not None and name == "stdout" else None
        shown_lines = ShownLines(profile, time.time)
        return _Readable(self._redactor, shown_lines, lines, out, before="[check] " if name == "check" else "")

    def _profile(self, agent: str) -> Profile | None:
        """The agent's profile; None if it is gone or cannot be read: then the stream is shown line by line."""
        from orchestrator.errors import UserError
        from orchestrator.jobsfile.profiles.load import Profiles

        if self._profiles is None:
            # As the run has kept them.
            jobs_file = self._reader.jobs_file
            self._profiles = Profiles(os.path.dirname(jobs_file.path), jobs_file.files)
        try:
            return self._profiles.get(agent)
        except UserError:
            return None


def copy_stream(stream: BinaryIO, sink: Sink, offset: int | None = None) -> None:
    """Give the stream to the sink, from `offset` on (None: from where the sink wants it), to the end."""
    stream.seek(sink.begin(stream) if offset is None else offset)
    while block := stream.read(_BLOCK_BYTES):
        sink.feed(block)
    sink.close()
    flush()


class _Raw:
    def __init__(self, lines: int | None, out: Output) -> None:
        self._lines = lines
        self._out = out

    def begin(self, stream: BinaryIO) -> int:
        return 0 if self._lines is None else tail_start(stream, self._lines)

    def feed(self, data: bytes) -> None:
        self._out.put_raw(data)

    def settle(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Redacted:
    def __init__(self, redactor: Redactor, lines: int | None, out: Output) -> None:
        self._stream = redactor.stream()
        self._lines = lines
        self._out = out
        self._kept: list[bytes] | None = None if lines is None else []

    def begin(self, stream: BinaryIO) -> int:
        return 0 if self._lines is None else tail_start(stream, self._lines + _LINES_BEFORE)

    def feed(self, data: bytes) -> None:
        self._write(self._stream.feed(data))

    def settle(self) -> None:
        self._write(self._stream.settle())
        self._catch_up()

    def close(self) -> None:
        self._write(self._stream.close())
        self._catch_up()

    def _write(self, data: bytes) -> None:
        if self._kept is None:
            self._out.put(data)
        else:
            self._kept.append(data)

    def _catch_up(self) -> None:
        if self._kept is not None and self._lines is not None:
            kept = b"".join(self._kept)
            self._kept = None
            self._out.put(kept[tail_start(io.BytesIO(kept), self._lines) :])


class _Readable:
    def __init__(self, redactor: Redactor, shown_lines: ShownLines, lines: int | None, out: Output, *, before: str) -> None:
        self._before = before
        self._out = out
        self._stream = redactor.stream()
        self._shown = shown_lines
        self._kept: deque[str] | None = None if lines is None else deque(maxlen=lines)

    def begin(self, stream: BinaryIO) -> int:  # noqa: ARG002 - an event is told by those before it
        return 0

    def feed(self, data: bytes) -> None:
        for line in self._shown.feed(self._stream.feed(data)):
            self._write(line)

    def settle(self) -> None:
        self._catch_up()

    def close(self) -> None:
        for line in self._shown.feed(self._stream.close()):
            self._write(line)
        for line in self._shown.close():
            self._write(line)
        self._catch_up()

    def _write(self, line: str) -> None:
        line = self._before + line
        if self._kept is None:
            self._out.put_line(line)
        else:
            self._kept.append(line)

    def _catch_up(self) -> None:
        kept, self._kept = self._kept, None
        for line in kept or ():
            self._out.put_line(line)


def tail_start(stream: BinaryIO, lines: int) -> int:
    """The offset at which the last `lines` lines of `stream` begin. A last line without newline counts as one."""
    end = stream.seek(0, io.SEEK_END)
    if lines == 0 or end == 0:
        return end
    # Backwards, block by block, so that the end of a large file is found without reading the file. The newline that ends the last
    # line separates nothing.
    position, wanted = end - 1, lines
    while position > 0:
        start = max(position - _BLOCK_BYTES, 0)
        stream.seek(start)
        block = stream.read(position - start)
        at = block.rfind(b"\n")
        while at >= 0:
            wanted -= 1
            if wanted == 0:
                return start + at + 1
            at = block.rfind(b"\n", 0, at)
        position = start
    return 0


def _agent_of(reader: RunReader, job_id: str, index: int, attempt: int) -> str | None:
    """The name of the agent of that attempt, as it was recorded or kept; else as the jobs file says; else None."""
    from orchestrator.jobsfile.model import AgentAction
    from orchestrator.workers.agents.attempt_record import kept_record, record_path

    running = reader.history.open_starts.get((job_id, index))
    if running is not None and running.attempt == attempt and running.agent is not None:
        return running.agent
    ended = reader.history.jobs[job_id].last_end(index)
    if ended is not None and ended.attempt == attempt and ended.outcome.agent is not None:
        return ended.outcome.agent.agent
    kept = kept_record(record_path(reader.run_dir.output_paths(job_id, index, attempt)[0]))
    if kept is not None and kept.agent is not None:
        return kept.agent.agent
    action = reader.job(job_id).action
    return action.agent.source if isinstance(action, AgentAction) and action.agent.is_static else None
