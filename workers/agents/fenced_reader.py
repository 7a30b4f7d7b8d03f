"""A reader of an agent's stream that may have a bug: what it raises is the failure of this attempt, and of nothing else.

Promise: no method raises. A reader that has raised goes on with what comes next, so that the agent is still ended in time and its
costs are known; its attempt is a `protocol_error`, whatever was told. `bug` is the traceback of the first bug.
"""

from __future__ import annotations

from collections.abc import Callable

from ..bugs import bug_in_words, traceback_of
from ..protocol import EndReason
from ..protocol.outcome import AttemptClass
from .failures import Finding
from .stream_reader import AgentTold, Dialogue, StreamReader


class FencedReader:
    """The `StreamReader` `reader`, behind a fence. `bug` is empty as long as nothing was raised."""

    def __init__(self, reader: StreamReader) -> None:
        self.bug = ""
        self._words = ""
        self._reader = reader

    @property
    def events(self) -> int:
        return self._reader.events

    @property
    def has_ended(self) -> bool:
        return self._reader.has_ended

    @property
    def is_waiting(self) -> bool:
        return self._reader.is_waiting

    @property
    def dialogue(self) -> Dialogue | None:
        return self._reader.dialogue

    @property
    def session_id(self) -> str | None:
        return self._reader.session_id

    @property
    def model(self) -> str | None:
        return self._reader.model

    @property
    def finding(self) -> Finding | None:
        """See `StreamReader`."""
        return self._reader.finding

    @property
    def last_failure(self) -> str:
        """See `StreamReader`."""
        return self._reader.last_failure

    def feed(self, data: bytes) -> None:
        """See `StreamReader`."""
        self._try_to_read(self._reader.feed, data)

    def feed_stderr(self, data: bytes) -> None:
        """See `StreamReader`."""
        self._try_to_read(self._reader.feed_stderr, data)

    def classify(self, *, exit_code: int | None, signal: int | None, ended_by: EndReason | None, stderr: bytes) -> AgentTold:
        """See `StreamReader`."""
        told: AgentTold | None = None
        try:
            told = self._reader.classify(exit_code=exit_code, signal=signal, ended_by=ended_by, stderr=stderr)
        except Exception as error:
            self._meet(error)
        if told is not None and not self.bug:
            return told
        if told is None:
            return AgentTold(AttemptClass.PROTOCOL_ERROR, self._words, None, None, None, None, None, None, [], None, [])
        # When a limit ends is no more certain than the rest: nobody waits for it.
        return told._replace(attempt_class=AttemptClass.PROTOCOL_ERROR, message=self._words, resets_at=None, reset_source=None)

    def _try_to_read(self, feed: Callable[[bytes], None], data: bytes) -> None:
        try:
            feed(data)
        except Exception as error:
            self._meet(error)

    def _meet(self, error: Exception) -> None:
        if not self.bug:
            self._words = bug_in_words("what it wrote", error)
            self.bug = traceback_of(error)
