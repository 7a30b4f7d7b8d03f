"""Read what an agent writes while it runs: its session, an error that it would retry in vain, its end.

Promise: every byte of its streams is read once and in order, also those that `max_output` cuts off: what is cut has been read
before. Memory does not grow with the stream, but for a line that is not complete. An agent that writes nothing costs
nothing where the kernel tells of a write, else two looks a second.

Refuses to handle: an agent that writes faster than it can be read, for seconds. Of the bytes that it is ahead only the last are
read. A skipped one may have been part of an error, so such an agent has not succeeded. Bytes that are written between the last
read and a cut are lost, too. Cuts while the agent runs therefore begin `LIVE_ROOM_BYTES` above the limit, where only such an
agent gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..attempt_end import AttemptEnd
from ..files.capture import CaptureFile
from ..processes.surroundings import Stream
from ..protocol import AgentTask, AttemptClass, EndReason
from .dialogue_pipe import DialoguePipe
from .formats import reader_of
from .stream_reader import AgentTold

LIVE_ROOM_BYTES = 64 * 1024 * 1024

_CHUNK_BYTES = 256 * 1024
_MOST_BYTES_A_LOOK = 1024 * 1024
_STDERR_TAIL_BYTES = 64 * 1024
_PATIENCE_SECONDS = 1.0
_LEFT_TO_READ_BYTES = 4 * 1024 * 1024
"""How long a look back at all that was written goes on, and how much is read then of what is left."""
_PAUSE_SECONDS = (0.1, 0.5)
"""Between two looks: while something comes, and at most, after a while in which nothing came."""
_SAID_BY_STREAM = (None, EndReason.FINDING, EndReason.LINGERING)
"""Ends of which the stream tells what they mean; any other end of ours means the same for an agent as for a command."""


class FollowedFile:
    """A captured stream, of which `read` tells `listener` what has come."""

    def __init__(self, capture: CaptureFile, listener: Callable[[bytes], None]) -> None:
        self._capture = capture
        self._listener = listener
        self._offset = 0
        self.has_skipped = False

    def written(self) -> int:
        """See `surroundings.Stream`."""
        return self._capture.written()

    def is_settled(self) -> bool:
        """See `surroundings.Stream`."""
        return self._capture.is_settled()

    def read(self, at_most: int) -> int:
        """Read on; how many bytes there were, fewer than `at_most` if that was all."""
        begin = self._offset
        while (left := at_most - (self._offset - begin)) > 0:
            chunk = self._capture.read_at(self._offset, min(left, _CHUNK_BYTES))
            if not chunk:
                break
            self._offset += len(chunk)
            self._listener(chunk)
        return self._offset - begin

    def read_rest(self, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """Read all that stands there now; after so long, of much that is left, only the end."""
        end = self._capture.size()
        give_up_at = time.monotonic() + patience_seconds
        while self._offset < end:
            if end - self._offset > _LEFT_TO_READ_BYTES and time.monotonic() >= give_up_at:
                self._offset = end - _LEFT_TO_READ_BYTES
                self.has_skipped = True
                self._listener(b"\n")  # what was begun is no part of what follows
            self.read(min(end - self._offset, _CHUNK_BYTES))

    def cut_to(self, limit: int) -> int:
        """See `surroundings.Stream`. Nothing is cut that was not read."""
        limit += LIVE_ROOM_BYTES
        if self._capture.size() > limit:
            self.read_rest()
        dropped = self._capture.dropped
        room = self._capture.cut_to(limit)
        if self._capture.dropped > dropped:
            self._offset = limit
        return room


class AgentWatch:
    """The `surroundings.Onlooker` of one agent. `on_session` hears each new id of its session."""

    def __init__(self, task: AgentTask, stdout: CaptureFile, stderr: CaptureFile, on_session: Callable[[str], None]) -> None:
        self.reader = reader_of(task.reading, time.time)
        self._task = task
        self._stderr = stderr
        self._on_session = on_session
        self._session_id = task.session_id
        followed = [FollowedFile(stdout, self.reader.feed)]
        self.streams: Sequence[Stream] = [*followed, stderr]
        if any(rule.stream == "stderr" for rule in task.reading.lines):
            followed.append(FollowedFile(stderr, self.reader.feed_stderr))
            self.streams = followed
        self._followed = followed
        self._pipe: DialoguePipe | None = None
        self._pause_seconds = 0.0
        self._has_unsaid = False
        self._quiet_since: float | None = None
        self._events_read = 0

    def open_dialogue(self, prompt: str) -> int | None:
        """The descriptor that is to become the agent's stdin, which its owner closes; None if its reader does not speak with it.

        `prompt` is what the agent would be given as its stdin. Called at most once, before the agent starts. Raises OSError.
        """
        dialogue = self.reader.dialogue
        if dialogue is None:
            return None
        self._pipe = DialoguePipe(dialogue)
        dialogue.begin(prompt)
        return self._pipe.their_end

    def close(self) -> None:
        """Close the agent's stdin if it is still open."""
        if self._pipe is not None:
            self._pipe.close()

    def look_at_streams(self) -> EndReason | None:
        """See `surroundings.Onlooker`."""
        read = [followed.read(_MOST_BYTES_A_LOOK) for followed in self._followed]
        self._tell_session()
        # Behind the reading: what has come may be a question.
        self._has_unsaid = self._pipe is not None and self._pipe.write_due()
        shortest, longest = _PAUSE_SECONDS
        if max(read) >= _MOST_BYTES_A_LOOK:
            self._pause_seconds = 0.0
        elif self._has_unsaid or any(read):
            self._pause_seconds = shortest
        else:
            self._pause_seconds = min(max(self._pause_seconds * 1.5, shortest), longest)
        return self._reason_to_end()

    def pause_seconds(self) -> float:
        """See `surroundings.Onlooker`."""
        return self._pause_seconds

    def due_at(self) -> float:
        """See `surroundings.Onlooker`."""
        # Something has come just now, or there is more to read or to say.
        if self._has_unsaid or self._pause_seconds < _PAUSE_SECONDS[1]:
            return 0.0
        return float("inf") if self._quiet_since is None else self._quiet_since + self._grace_seconds

    def has_told_its_end(self) -> bool:
        """See `surroundings.Onlooker`."""
        self._read_rest()
        return self.reader.has_ended and not self.reader.is_waiting

    def read_all(self) -> None:
        """Read all that was written, however long that takes: nobody waits for it."""
        for followed in self._followed:
            followed.read_rest(float("inf"))

    def classify_end(self, plain: AttemptEnd) -> tuple[AttemptEnd, AgentTold]:
        """What the attempt came to once its tree is gone; `plain` is what it would be for a command."""
        # All that the stream tells, then what that means beside the exit code.
        self._read_rest()
        size = self._stderr.size()
        tail = self._stderr.read_at(max(size - _STDERR_TAIL_BYTES, 0), _STDERR_TAIL_BYTES)
        told = self.reader.classify(exit_code=plain.exit_code, signal=plain.signal, ended_by=plain.ended_by, stderr=tail)
        self._tell_session()
        # An end of ours that no stream tells of stands, with the agent's last failure in its words.
        if plain.ended_by not in _SAID_BY_STREAM:
            last = self.reader.last_failure
            return (plain._replace(message=f"{plain.message}; it last told: {last}") if last else plain), told
        # A success of which not everything was read may have been taken back.
        if told.attempt_class is AttemptClass.OK and any(followed.has_skipped for followed in self._followed):
            words = "wrote faster than it could be read, so it may have told of an error"
            return plain._replace(attempt_class=AttemptClass.PROTOCOL_ERROR, message=words), told
        return plain._replace(attempt_class=told.attempt_class, message=told.message), told

    def _reason_to_end(self) -> EndReason | None:
        reader, now = self.reader, time.monotonic()
        # Counted from the last event: one that still tells something has not come to its end, whatever it told before.
        if not reader.has_ended:
            self._quiet_since = None
        elif self._quiet_since is None or reader.events != self._events_read:
            self._quiet_since, self._events_read = now, reader.events
        if self._quiet_since is not None:
            if now >= self._quiet_since + self._grace_seconds:
                return EndReason.LINGERING
        elif reader.finding is not None:
            return EndReason.FINDING
        return EndReason.EVENTS if self._has_too_many_events else None

    @property
    def _grace_seconds(self) -> float:
        """How long an agent that has told its end may be silent."""
        return self._task.task_grace_seconds if self.reader.is_waiting else self._task.exit_grace_seconds

    @property
    def _has_too_many_events(self) -> bool:
        return self._task.max_events is not None and self.reader.events > self._task.max_events

    def _read_rest(self) -> None:
        for followed in self._followed:
            followed.read_rest(0.0 if self._has_too_many_events else _PATIENCE_SECONDS)

    def _tell_session(self) -> None:
        if self.reader.session_id is not None and self.reader.session_id != self._session_id:
            self._session_id = self.reader.session_id
            self._on_session(self._session_id)
